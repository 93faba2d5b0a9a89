"""From reading to proven effect on the simulated hall, whose plant shares no equation with the lever.

The same seed lived twice, once left alone and once steered, gives the true effect of a plan."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from energy_house import SETPOINT, MemoryRecords

from energy.act import Desk, Stage
from energy.guard import Limits, guard
from energy.levers import no_outlook, open_lever, site_power_w
from energy.plan import Mode, Plan
from ingest.sources.simulated import Options, build, source_ids
from ingest.sources.simulated.layout import demo_rows
from twin.errors import SourceError
from twin.estimate import estimate
from twin.job import no_jobs
from twin.load import Row, build_site
from twin.params import Params
from twin.state import State

GPUS = 512
OPTIONS = Options(gpus=GPUS, seed=1)
ASSETS, LINKS = demo_rows(GPUS)
SITE = build_site("demo", "UTC", [*ASSETS, *(Row("s", {"id": i, "kind": "source"}) for i in source_ids("sim", OPTIONS))], LINKS)


class Hall:
    """One life of the simulated hall."""

    def __init__(self, mode: Mode, start: datetime) -> None:
        opened = build("sim", OPTIONS, SITE)
        self.sources, self.mode, self.state, self.records = opened.sources, mode, State(SITE), MemoryRecords()
        self.desk = Desk(SITE, self.records, opened.actuators, start)
        self.plan: Plan | None = None
        self.stages: list[Stage] = []

    async def live(self, now: datetime) -> float:
        """Read everything; gives facility power [W], NaN where a source is silent."""
        for source in self.sources:
            try:
                frames = await source.poll(now)
            except SourceError:
                continue
            for frame in frames:
                self.state.absorb(frame, now)
        for frame in estimate(SITE, self.state, Params(), now):
            self.state.absorb(frame, now)
        return site_power_w(self.state, "facility_power_w", now)

    async def decide(self, now: datetime) -> None:
        self.plan = open_lever("supply_temperature").propose(SITE, self.state, no_jobs(), no_outlook(), now)
        assert self.plan is not None
        verdict = guard(self.plan, SITE, self.state, (), now, Limits(), self.desk.history(now))
        assert verdict.allowed, [str(refusal.why) for refusal in verdict.refusals]
        outcome = await self.desk.decide(self.plan, verdict, self.mode, self.state, now)
        self.stages.append(outcome.stage)

    def setpoint_c(self, asset: str) -> float:
        kind = SITE.kind(asset)
        return float(self.state.newest(kind, SETPOINT).value[SITE.row(asset)])


@pytest.mark.parametrize(("month", "hour"), [(7, 12), (11, 12)])  # warm: raise the plant's water; cold: lower the GPUs'
async def test_what_the_lever_promises_the_hall_delivers(month: int, hour: int) -> None:
    start = datetime(2026, month, 20, hour, tzinfo=UTC)
    halls = {mode: Hall(mode, start) for mode in (Mode.ADVISE, Mode.AUTO)}
    power_w: dict[Mode, list[float]] = {mode: [] for mode in halls}
    for minute in range(0, 46, 2):
        now = start + timedelta(minutes=minute)
        for mode, hall in halls.items():
            seen_w = await hall.live(now)
            if minute == 8:
                await hall.decide(now)
            if minute >= 30:
                power_w[mode].append(seen_w)
    left, steered = halls[Mode.ADVISE], halls[Mode.AUTO]
    assert left.stages + steered.stages == [Stage.ADVISED, Stage.DONE]
    assert left.plan is not None
    assert steered.plan is not None
    assert left.plan.key == steered.plan.key
    effect = left.plan.effect
    true_w = float(np.mean(power_w[Mode.AUTO]) - np.mean(power_w[Mode.ADVISE]))
    assert true_w < 0
    assert 0.2 < true_w / effect.facility_power_w < 5  # of one hour, while load and weather move on
    for action in left.plan.actions:
        assert steered.setpoint_c(action.asset) == pytest.approx(action.value, abs=0.2)
        assert abs(left.setpoint_c(action.asset) - action.value) > 0.5  # advice moved nothing
    end = left.plan.actions[0].until
    await steered.live(end)
    await steered.desk.revert_due(steered.state, end)
    for minute in (1, 2, 4):
        await steered.live(end + timedelta(minutes=minute))
    assert steered.desk.in_force == ()
    for action in left.plan.actions:
        assert steered.setpoint_c(action.asset) == pytest.approx(left.setpoint_c(action.asset), abs=0.2)
