"""Plans: some actions, one reason, one expected effect with its uncertainty; and what the guard says of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twin.message import Message
from twin.order import Orders
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
class Gain:
    """What shifting work in time is expected to change: the sum over the moved work's energy of the grid's metric ``signal``
    (carbon, or money), as a share of what it would be without (negative saves), with its 80 % interval. ``basis``: whose
    forecast that rests on (``energy.ahead.Basis``)."""

    signal: str
    energy_kwh: float
    change_frac: float
    low_frac: float
    high_frac: float
    basis: str = "own"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a lever proposes. ``key`` identifies it: the same proposal made again has the same key.

    ``actions`` set metrics of assets; ``orders`` are for schedulers (queue's id, what it is told), carried out in their order,
    and ``gain`` is what those are expected to bring; ``effect`` is then of no power. ``request``: key of the grid's request
    that it answers, or *contract*: then it need not save anything; what answers a request is followed each minute, and each of
    its actions stands for itself."""

    key: str
    lever: str
    actions: tuple[Action, ...]
    reason: Message
    effect: Effect
    made: datetime
    expires: datetime
    orders: tuple[tuple[str, Orders], ...] = ()
    gain: Gain | None = None
    request: str = ""

    @property
    def count(self) -> int:
        """How many things it changes."""
        return len(self.actions) + sum(len(table) for _, table in self.orders)


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


ANSWERS = ("power_cap_w", "power_setpoint_w")  # metrics by which requests of the grid are answered


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was begun, by whichever plan. ``moved``: it set another value than there was, and did not renew one."""

    asset: str
    metric: str
    time: datetime
    moved: bool = True
