"""A life of the simulated centre under the lever ``tune``: what it shows is read, planned by, guarded, ordered, given back."""

from datetime import datetime, timedelta

import numpy as np
from energy_house import MemoryRecords

from energy.act import Desk, Stage
from energy.guard import Limits, guard
from energy.levers import no_outlook
from energy.levers.tune import EVERY_S, NEEDS, Tune
from energy.plan import Effect, Mode, Plan, Verdict
from energy.response import Params as OperatorParams
from ingest.sources.simulated import Options, backfill, build, plant_of
from twin.estimate import estimate
from twin.frame import Floats
from twin.job import no_jobs
from twin.message import Message
from twin.params import Params
from twin.ports import Action
from twin.site import Site
from twin.state import State

STEP_MIN = 5.0
# both waters stay where they are, in rooms that are drier than the air outside: what is left is how chillers and fans run
STILL = OperatorParams(lowest_c=32.0, highest_c=25.0, dew_margin_k=-4.0)


class Life:
    """One life from ``start`` on; ``days`` before it were lived by the plant's own control: the lever remembers them."""

    def __init__(self, site: Site, options: Options, mode: Mode, start: datetime, days: float = 0.0) -> None:
        self.site, self.mode, self.now = site, mode, start
        self.opened = build("sim", options, site)
        self.plant, self.state, self.records = plant_of(self.opened), State(site), MemoryRecords()
        self.desk = Desk(site, self.records, self.opened.actuators, start)
        self.lever, self.loop = Tune(params=STILL), site.row("plant-loop")
        if days:
            self.lever.remember(site, *self._past(start, days))
        self.running: list[int] = []
        self.limits: list[int] = []
        self.fan: list[float] = []
        self.fan_limit: list[float] = []
        self.cold_w: list[float] = []
        self.over_k: list[float] = []

    def _past(self, end: datetime, days: float) -> tuple[Floats, dict[tuple[str, str], Floats]]:
        """What the store would give of the days before: columns, a decision apart; IT power by the halls' meters."""
        site, start = self.site, end - timedelta(days=days)
        rows: list[dict[tuple[str, str], Floats]] = []
        for frames in backfill(self.plant, site, start, end, EVERY_S):
            row = {(kind, name): np.full(site.count(kind), np.nan) for kind, names in NEEDS.items() for name in names}
            for frame in frames:
                for name in set(frame.values) & set(NEEDS.get(frame.kind, ())):
                    row[frame.kind, name][frame.rows] = frame.values[name]
                if frame.kind == "hall":
                    row["site", "it_power_w"][:] = frame.values["power_w"].sum()
            rows.append(row)
        time_s = start.timestamp() + EVERY_S * np.arange(len(rows))
        return time_s, {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    async def go(self, minutes: float, step: float = STEP_MIN, plans: bool = True) -> None:
        """Read every ``step`` minutes; plans every ten, and the end of what has ended with each look."""
        end = self.now + timedelta(minutes=minutes)
        while self.now < end:
            await self.look()
            if plans and self.now.minute % 10 == 0:
                await self.plan()
            why = self.lever.withdraw(self.site, self.state, self.now)
            if why is not None:
                await self.desk.end("tune:", self.state, self.now, why)
            await self.desk.revert_due(self.state, self.now)
            self.now += timedelta(minutes=step)

    async def look(self) -> None:
        for source in self.opened.sources:
            for frame in await source.poll(self.now):
                self.state.absorb(frame, self.now)
        for frame in estimate(self.site, self.state, Params(), self.now):
            self.state.absorb(frame, self.now)
        loops = self.plant.loops
        self.running.append(loops.chillers_on)
        self.limits.append(loops.limit)
        self.fan.append(float(loops.fan.mean()))
        self.fan_limit.append(float(loops.fan_limit.mean()))
        self.cold_w.append(float(loops.chiller_w.sum() + loops.tower_w.sum()))
        self.over_k.append(loops.plant_c - float(loops.setpoint_c["loop"][self.loop]))

    async def plan(self) -> None:
        plan = self.lever.propose(self.site, self.state, no_jobs(), no_outlook(), self.now)
        if plan is not None:
            await self.desk.decide(plan, self.verdict(plan), self.mode, self.state, self.now)

    def verdict(self, plan: Plan) -> Verdict:
        return guard(plan, self.site, self.state, (), self.now, Limits(), self.desk.history(self.now))

    async def order(self, name: str, *aims: tuple[str, float]) -> Stage:
        """By force: past lever and guard."""
        key = f"tune:{name}{aims}{self.now}"
        until = self.now + timedelta(hours=1)
        actions = tuple(Action(asset, name, value, until, f"{key}/{asset}") for asset, value in aims)
        plan = Plan(key, "tune", actions, Message("x"), Effect(-1.0, -1.0, -1.0, 3600.0), self.now, until)
        return (await self.desk.decide(plan, Verdict(plan.key, ()), Mode.AUTO, self.state, self.now)).stage

    def audit(self, name: str) -> list[dict]:
        """The audit's steps on a metric, in order."""
        return [r for _, topic, _, r in self.records.all if topic == "audit" and r.get("metric") == name]
