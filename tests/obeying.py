"""Two cooling units that can be told a setpoint and misbehave, with a desk, plans and verdicts: for tests of acting."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from energy_house import NOW, SETPOINT, MemoryRecords, Physics, a_plan, hall, read

from energy.act import Desk, Stage
from energy.plan import Plan, Refusal, Verdict
from twin.errors import SourceError
from twin.frame import Frame, Origin
from twin.message import Message
from twin.ports import Action
from twin.state import State

SITE = hall()
GOOD = a_plan(("c1", 31.0), ("c2", 31.0))
LATE = NOW + timedelta(hours=3)


@dataclass
class Plant:
    """Two CDUs that can be told a setpoint; ``dead`` ones do not answer, ``deaf`` ones answer with their old value,
    ``mute`` ones with nothing."""

    values: dict[str, float] = field(default_factory=lambda: {"c1": 30.0, "c2": 30.0})
    dead: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    orders: list[tuple[str, float]] = field(default_factory=list)
    die_at: int = 0  # the process is killed at this order

    async def apply(self, action: Action, now: datetime) -> Frame:
        self.orders.append((action.asset, action.value))
        if len(self.orders) == self.die_at:
            raise asyncio.CancelledError
        if action.asset in self.dead:
            raise SourceError("no answer")
        if action.asset not in self.deaf:
            self.values[action.asset] = action.value
        row = np.array([SITE.row(action.asset)], dtype=np.int32)
        read = np.nan if action.asset in self.mute else self.values[action.asset]
        return Frame("cdu", now, row, {action.metric: np.array([read])}, Origin.COMMANDED)


def desk(plant: Plant, records: MemoryRecords, now: datetime = NOW) -> Desk:
    return Desk(SITE, records, {"c1": plant, "c2": plant}, now)


def state(plant: Plant, now: datetime = NOW) -> State:
    made = read(SITE, Physics(), 24.0, 30.0, now)
    values = np.array([plant.values["c1"], plant.values["c2"]])
    made.absorb(Frame("cdu", now + timedelta(seconds=1), SITE.all_rows("cdu"), {SETPOINT: values}), now + timedelta(seconds=1))
    return made


def yes(plan: Plan = GOOD) -> Verdict:
    return Verdict(plan.key, ())


def no(plan: Plan = GOOD) -> Verdict:
    return Verdict(plan.key, (Refusal("stop", Message("the stop switch is set")),))


def reasons(records: MemoryRecords, *stages: Stage) -> list[tuple[str, str]]:
    """Which asset went back, and why, as the audit has it."""
    return [(r["asset"], (r["why"] or {}).get("text", "")) for _, _, _, r in records.all if r["stage"] in stages]
