"""Plans: some actions, one reason, one expected effect with its uncertainty; and what the guard says of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twin.message import Message
from twin.ports import Action


class Mode(StrEnum):
    """How far a lever may go by itself. ``advise`` is the default and never touches the plant."""

    ADVISE = "advise"
    APPROVE = "approve"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Effect:
    """Expected change of mean facility power [W, negative saves] over ``horizon_s`` with its 80 % interval.

    ``it_power_w`` is the part of it that arises inside IT equipment (leakage): who judges the effect by a baseline on
    IT power must not count it as load.
    """

    facility_power_w: float
    low_w: float
    high_w: float
    horizon_s: float
    it_power_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a lever proposes. ``key`` identifies it: the same proposal made again has the same key."""

    key: str
    lever: str
    actions: tuple[Action, ...]
    reason: Message
    effect: Effect
    made: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule of the guard that says no, and why."""

    rule: str
    why: Message


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says of a plan: allowed where nothing refuses. Whether it is carried out is for the mode."""

    plan: str
    refusals: tuple[Refusal, ...]

    @property
    def allowed(self) -> bool:
        """No rule refuses."""
        return not self.refusals
