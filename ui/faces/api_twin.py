"""``/api/v1/{simulate,replay,what-if}``: questions to the offline twin. They compute and change nothing; one runs at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from twin.errors import ConfigError
from twin.frame import Floats, Origin
from twin.sim.examples import example_jobs
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.trace import Trace, checked, trace_of, trace_of_queue
from twin.sim.whatif import Comparison, compare
from twin.simulate import Trajectory, simulate
from ui.calibrating import told_beyond
from ui.faces.answers import Failure
from ui.faces.push import Pulse
from ui.scenario import ScenarioIn
from ui.view import Live

MAX_HOURS, MAX_STEPS, MAX_MEMBERS, MAX_JOBS, MAX_POINTS = 168.0, 20_000, 16, 10_000, 288
MAX_AGE_S, MAX_COUNT = 4e8, 1_000_000  # of a job: a dozen years, and more than any cluster has
Work = Literal["example", "queue"]
_T = TypeVar("_T")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = 24.0
    step_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 1


class SimulateIn(_Asked):
    """One run from now on. ``work``: made-up jobs (``example``) or those of the live queue, at their time limits."""

    work: Work = "example"
    scenario: ScenarioIn = ScenarioIn()


class WhatIfIn(_Asked):
    """Two scenarios on the same jobs and weather, with ``members`` pairs of draws for the uncertainty."""

    work: Work = "example"
    base: ScenarioIn = ScenarioIn(name="base")
    other: ScenarioIn
    members: Annotated[int, Field(ge=0, le=MAX_MEMBERS)] = 4


class JobIn(BaseModel):
    """One recorded job; times in s from the run's beginning."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: str = Field(max_length=100)
    submit_s: float = Field(ge=-MAX_AGE_S, le=MAX_AGE_S)
    run_s: float = Field(ge=0, le=MAX_AGE_S)
    start_s: float | None = Field(None, ge=-MAX_AGE_S, le=MAX_AGE_S)
    limit_s: float | None = Field(None, ge=0, le=MAX_AGE_S)
    nodes: int = Field(0, ge=0, le=MAX_COUNT)
    gpus: int = Field(0, ge=0, le=MAX_COUNT)
    gpu_util_frac: float | None = Field(None, ge=0, le=1)
    node_w: float | None = Field(None, ge=0, le=1e7)


class ReplayIn(_Asked):
    """Recorded jobs through the twin, under the scenario's policy (``recorded``: when they really started)."""

    jobs: Annotated[Sequence[JobIn], Field(min_length=1, max_length=MAX_JOBS)]
    scenario: ScenarioIn = ScenarioIn(name="replay")


class LimitOut(BaseModel):
    """Something passes a limit: when, from the beginning and from the last fault before it."""

    asset: str
    what: str
    time_s: float
    after_fault_s: float | None
    loading_frac: float | None = None


class TrajectoryOut(BaseModel):
    """What came of a run; ``summary`` and ``series`` carry units in their names, null is what cannot be said."""

    scenario: str
    start: datetime
    step_s: float
    summary: dict[str, float | None]
    series_step_s: float
    series: dict[str, list[float | None]]
    limits: list[LimitOut]
    notes: list[str]

    @staticmethod
    def of(t: Trajectory) -> "TrajectoryOut":
        """With series of at most ``MAX_POINTS`` means."""
        count = len(next(iter(t.series.values())))
        fold = -(-count // MAX_POINTS)
        series = {name: _plain(_folded(column, fold)) for name, column in t.series.items()}
        return TrajectoryOut(
            scenario=t.scenario,
            start=datetime.fromtimestamp(t.start_s, UTC),
            step_s=t.step_s,
            summary=dict(t.summary),
            series_step_s=t.steps * t.step_s / count * fold,
            series=series,
            limits=[LimitOut(**limit) for limit in t.limits],
            notes=list(t.notes),
        )


class DifferenceOut(BaseModel):
    """One quantity of both runs; the interval is p10 to p90 of what the draws say."""

    name: str
    base: float | None
    other: float | None
    difference: float | None
    difference_p10: float | None
    difference_p90: float | None


class ComparisonOut(BaseModel):
    """Two runs side by side."""

    members: int
    rows: list[DifferenceOut]
    base: TrajectoryOut
    other: TrajectoryOut


class Busy(Exception):
    """Another run is going on."""


class Runner:
    """Runs the twin for faces: on a thread of the server's pool, one run at a time."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._busy = False  # read and set on the event loop alone

    async def alone(self, work: Callable[[], _T]) -> _T:
        """What ``work`` gives; raises ``Busy`` while another run goes on."""

        if self._busy:
            raise Busy
        self._busy = True
        try:
            return await run_in_threadpool(work)
        finally:
            self._busy = False

    def start_s(self) -> float:
        """The beginning of every run: now, to the minute."""
        return self.live.clock.now().timestamp() // 60 * 60

    def outlook(self) -> Outlook:
        """Weather and grid as they are now, held; what does not read is assumed or not accounted for."""
        now, start_s = self.live.clock.now(), self.start_s()
        lines = {}
        for kind, name in _SIGNALS:
            value = next((v for v in self.live.state.column(kind, name, now, Origin.MEASURED).tolist() if np.isfinite(v)), None)
            if value is not None:
                lines[name] = Line(np.array([start_s, start_s + MAX_HOURS * 3600]), np.array([value, value]))
        return outlook_of(lines)

    def work(self, work: Work, hours: float, seed: int) -> Trace:
        """Jobs of the live queue, or made up."""
        if work == "queue":
            return trace_of_queue(self.live.jobs, self.start_s())
        rng = np.random.Generator(np.random.PCG64(seed))
        return example_jobs(fleet_of(self.live.site, self.live.fitted.params), hours * 3600, self.start_s(), rng)

    def compare(self, asked: WhatIfIn) -> Comparison:
        """Two scenarios side by side."""
        base, other = asked.base, asked.other
        fitted = self.live.fitted
        made = compare(
            self.live.site,
            self.work(asked.work, asked.hours, asked.seed),
            base.params(fitted.params),
            self.outlook(),
            asked.hours * 3600,
            asked.step_s,
            scenarios=(base.scenario(), other.scenario()),
            rng=np.random.Generator(np.random.PCG64(asked.seed)),
            members=asked.members,
            start_s=self.start_s(),
            other_params=other.params(fitted.params),
        )
        return replace(made, base=told_beyond(made.base, fitted.ranges), other=told_beyond(made.other, fitted.ranges))

    def simulate(self, asked: _Asked, jobs: Trace, scenario: ScenarioIn) -> Trajectory:
        """One run from now on."""
        site, fitted, span_s = self.live.site, self.live.fitted, asked.hours * 3600
        about = (site, jobs, scenario.params(fitted.params), self.outlook(), span_s, asked.step_s)
        return told_beyond(simulate(*about, start_s=self.start_s(), scenario=scenario.scenario()), fitted.ranges)


_SIGNALS = (
    ("weather", "wet_bulb_c"),
    ("weather", "dry_bulb_c"),
    ("grid", "carbon_gco2_per_kwh"),
    ("grid", "price_per_mwh"),
)


def add_twin(server: FastAPI, pulse: Pulse) -> Runner:
    """Serve the twin's questions on ``server``."""
    runner = Runner(pulse.live)
    router = APIRouter(prefix="/api/v1", responses={422: {"model": Failure}, 429: {"model": Failure}})

    async def answered(asked: _Asked, work: Callable[[], _T]) -> _T:
        return await _answered(runner, asked, work)

    @router.post("/simulate")
    async def run_simulate(asked: SimulateIn) -> TrajectoryOut:
        """Run the offline twin from now on, under a scenario."""

        def work() -> TrajectoryOut:
            jobs = runner.work(asked.work, asked.hours, asked.seed)
            return TrajectoryOut.of(runner.simulate(asked, jobs, asked.scenario))

        return await answered(asked, work)

    @router.post("/replay")
    async def run_replay(asked: ReplayIn) -> TrajectoryOut:
        """Run recorded jobs through the twin."""

        def work() -> TrajectoryOut:
            jobs = checked(_trace(asked.jobs, runner.start_s()), "job")
            return TrajectoryOut.of(runner.simulate(asked, jobs, asked.scenario))

        return await answered(asked, work)

    @router.post("/what-if")
    async def run_what_if(asked: WhatIfIn) -> ComparisonOut:
        """Compare two scenarios, with how sure the difference is."""

        def work() -> ComparisonOut:
            made = runner.compare(asked)
            rows = [DifferenceOut(**{name: getattr(row, name) for name in row.__slots__}) for row in made.rows]
            base, other = TrajectoryOut.of(made.base), TrajectoryOut.of(made.other)
            return ComparisonOut(members=made.members, rows=rows, base=base, other=other)

        return await answered(asked, work)

    server.include_router(router)
    return runner


async def _answered(runner: Runner, asked: _Asked, work: Callable[[], _T]) -> _T:
    if asked.hours * 3600 / asked.step_s > MAX_STEPS:
        raise HTTPException(422, f"These are more than {MAX_STEPS} steps; ask for fewer hours or a longer step_s.")
    try:
        return await runner.alone(work)
    except ConfigError as error:
        raise HTTPException(422, "; ".join(str(problem) for problem in error.problems[:10]) + ".") from error
    except Busy as error:
        raise HTTPException(429, "Another run of the twin goes on; ask again in some seconds.") from error


def _trace(jobs: Sequence[JobIn], start_s: float) -> Trace:
    def column(name: str) -> Floats:
        return np.array([np.nan if getattr(job, name) is None else getattr(job, name) for job in jobs], dtype=np.float64)

    names = ("limit_s", "gpu_util_frac", "node_w")
    made: dict[str, Any] = {name: column(name) for name in names}
    nodes, gpus = (column(name).astype(np.int32) for name in ("nodes", "gpus"))
    return trace_of(
        [job.job for job in jobs],
        start_s + column("submit_s"),
        column("run_s"),
        start_s=start_s + column("start_s"),
        nodes=nodes,
        gpus=gpus,
        **made,
    )


def _folded(column: Floats, fold: int) -> Floats:
    full = len(column) // fold * fold
    means = column[:full].reshape(-1, fold).mean(axis=1)
    return np.append(means, column[full:].mean()) if full < len(column) else means


def _plain(column: Floats) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in column.tolist()]
