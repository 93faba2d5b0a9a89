"""A simulated hall watched by the twin: polls, estimates, and what is kept of it in memory for calibration."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from ingest.registry import Opened
from ingest.sources import simulated
from twin.estimate import estimate
from twin.frame import Frame, Ints, Origin
from twin.load import Row, build_site
from twin.params import Params
from twin.ports import How, Series
from twin.site import Site
from twin.state import State

START = datetime(2026, 11, 18, 2, tzinfo=UTC)


def hall_site(gpus: int, moved: tuple[str, str] | None = None) -> Site:
    """The demo's site; ``moved``: an asset and the parent that the tables wrongly name for it."""
    assets, links = simulated.demo_rows(gpus)
    for row in assets:
        if moved and row.cells["id"] == moved[0]:
            row.cells["parent"] = moved[1]
    sources = [Row("t", {"id": id_, "kind": "source"}) for id_ in simulated.source_ids("sim", simulated.Options())]
    return build_site("demo", "Asia/Shanghai", [*assets, *sources], links)


def plant(gpus: int, faults: Sequence[dict[str, object]] = (), seed: int = 1) -> Opened:
    """A simulated hall with these faults and no others."""
    options = simulated.Options(faults=tuple(faults) or False, seed=seed)  # type: ignore[arg-type]
    return simulated.build("sim", options, hall_site(gpus))


async def polled(opened: Opened, now: datetime) -> list[Frame]:
    """All frames of all sources at ``now``."""
    return [frame for source in opened.sources for frame in await source.poll(now)]


async def watch(
    opened: Opened, site: Site, params: Params, end_s: int, step_s: int
) -> AsyncIterator[tuple[int, dict[tuple[str, str], np.ndarray]]]:
    """The live estimator over a stretch of time: seconds and residual scores after each step, its own modelled values taken
    back in as the live state does."""
    state = State(site)
    for t in range(0, end_s, step_s):
        now = START + timedelta(seconds=t)
        for frame in await polled(opened, now):
            state.absorb(frame, now)
        for frame in estimate(site, state, params, now):
            state.absorb(frame, now)
        yield t, scores(site, state, now)


def scores(site: Site, state: State, now: datetime) -> dict[tuple[str, str], np.ndarray]:
    """All residual scores by kind and name."""
    return {
        (kind, name): state.column(kind, name, now, Origin.MODELLED)
        for kind, name, origin, band in state.known()
        if origin is Origin.MODELLED and name.endswith("score_ratio") and not band
    }


class Kept:
    """Implements what calibration asks of the store's port, over frames in memory: means over steps."""

    def __init__(self, site: Site) -> None:
        self.site, self.frames = site, []  # type: ignore[var-annotated]

    def append(self, frames: Sequence[Frame]) -> None:
        self.frames += frames

    def series(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, step_s: float | None = None,
        how: How = How.MEAN, rows: Ints | None = None, origin: Origin = Origin.MEASURED, band: str = "",
    ) -> Series:  # fmt: skip
        assert step_s
        assert how is How.MEAN
        mine = [f for f in self.frames if f.kind == kind and f.origin is origin and start <= f.time < end]
        times = np.unique([np.floor(f.time_s / step_s) * step_s for f in mine])
        n = self.site.count(kind)
        total = {name: np.zeros((len(times), n)) for name in metrics}
        seen = {name: np.zeros((len(times), n)) for name in metrics}
        for f in mine:
            at = int(np.searchsorted(times, np.floor(f.time_s / step_s) * step_s))
            for name in set(metrics) & set(f.values):
                known = ~np.isnan(f.values[name])
                total[name][at, f.rows[known]] += f.values[name][known]
                seen[name][at, f.rows[known]] += 1
        rows = self.site.all_rows(kind) if rows is None else rows
        values = {name: np.where(seen[name] > 0, total[name] / np.maximum(seen[name], 1), np.nan)[:, rows] for name in metrics}
        return Series(times, rows, values)
