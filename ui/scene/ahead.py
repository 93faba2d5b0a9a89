"""Runs of the offline twin as pictures: what is foreseen for racks and their water, and what a scenario would do to them.

A forecast of power is one number for a hall. Its racks are given shares as they draw now, and the twin then works out what
that does to the water, under the weather that is foreseen. So a picture of tomorrow holds together: powers add up to the
forecast and temperatures follow from powers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from analytics.forecast import Forecast
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Origin
from twin.params import Params
from twin.sim.grow import grown
from twin.sim.outlook import Line, Outlook
from twin.sim.scenario import Scenario
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace
from twin.simulate import Trajectory, simulate
from twin.site import Site
from twin.state import State
from ui.scene.moments import HOUR_S, foreseen

HOURS_AHEAD = 24
MAX_MOMENTS = 288  # of a run that are kept
_STEP_S = 300.0
_TABLES = ("rack", "cdu")


@dataclass
class _Memory:
    """A sink that keeps every ``every``-th step of racks and CDUs, as float32."""

    every: int
    tables: Sequence[str] = _TABLES
    seen: dict[str, int] = field(default_factory=dict)
    kept: dict[str, dict[str, list[Floats]]] = field(default_factory=dict)

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Keep what of a chunk falls on the grid."""
        assets = max(len(columns["asset"]), 1)
        steps = len(columns["time_s"]) // assets
        if not steps:
            return  # a site without any
        before = self.seen.get(table, 0)
        self.seen[table] = before + steps
        take = np.flatnonzero((before + np.arange(steps)) % self.every == 0)
        rows = self.kept.setdefault(table, {})
        for name, column in columns.items():
            if name != "asset":
                grid = np.asarray(column, dtype=np.float64).reshape(steps, -1)[take]
                rows.setdefault(name, []).append(grid[:, 0] if name == "time_s" else grid.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a run, by time: ``time_s`` float64[t], beginnings of steps; ``columns``: (kind, metric) -> float32[t, n],
    the racks that the scenario adds after those of ``site``; ``grown``: the site with them."""

    site: Site
    grown: Site
    time_s: Floats
    columns: Mapping[tuple[str, str], Floats]
    trajectory: Trajectory

    def at(self, time_s: float) -> "Moment":
        """The picture of the kept step that ``time_s`` falls in; the ends are held."""
        i = int(np.clip(np.searchsorted(self.time_s, time_s, side="right") - 1, 0, len(self.time_s) - 1))
        return Moment(self, i)

    @property
    def span_s(self) -> tuple[float, float]:
        """Beginning and end of what is kept, s since 1970."""
        return float(self.time_s[0]), float(self.time_s[-1])


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a run, as a picture asks for it."""

    run: Run
    i: int

    def __call__(self, kind: str, name: str) -> Floats:
        """float64[n], NaN where a run does not say it."""
        site, n = self.run.site, self.run.site.count(kind)
        grid = self.run.columns.get((kind, name))
        if grid is not None:
            return grid[self.i, :n].astype(np.float64)
        if kind == "rack" and name == "supply_temp_c" and ("cdu", name) in self.run.columns:
            return _of_cdus(site, self("cdu", name))
        if kind in ("row", "hall") and name in ("power_w", "it_power_w"):
            grid = self.run.columns.get(("rack", "power_w"))  # with the racks that are added: they stand in the same halls
            known = np.full(self.run.grown.count("rack"), np.nan) if grid is None else grid[self.i].astype(np.float64)
            return self.run.grown.sum_into("rack", kind, known)
        return np.full(n, np.nan)

    def added(self, name: str) -> Floats:
        """float64[k]: ``name`` of the racks that the scenario adds, NaN where a run does not say it."""
        n = self.run.site.count("rack")
        grid = self.run.columns.get(("rack", name))
        if grid is None:
            return np.full(self.run.grown.count("rack") - n, np.nan)
        return grid[self.i, n:].astype(np.float64)


def _of_cdus(site: Site, supply_c: Floats) -> Floats:
    """float64[racks]: supply temperature of the CDUs of each rack, weighed by their shares."""
    cdu, rack, share = site.linked("cools", "cdu", "rack")
    total, weight = np.zeros(site.count("rack")), np.zeros(site.count("rack"))
    np.add.at(total, rack, share * supply_c[cdu])
    np.add.at(weight, rack, share)
    mean: Floats = np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)
    return mean


def run_of(
    site: Site,
    work: Trace | Telemetry,
    params: Params,
    outlook: Outlook,
    horizon_s: float,
    step_s: float,
    *,
    start_s: float,
    scenario: Scenario | None = None,
) -> Run:
    """Run the twin and keep at most ``MAX_MOMENTS`` moments of racks and CDUs. ``ConfigError`` as ``simulate``."""
    steps = max(int(horizon_s / step_s), 1)
    memory = _Memory(-(-steps // MAX_MOMENTS))
    made = simulate(site, work, params, outlook, horizon_s, step_s, start_s=start_s, scenario=scenario, sink=memory)
    columns: dict[tuple[str, str], Floats] = {}
    time_s = np.zeros(0)
    for table, rows in memory.kept.items():
        time_s = np.concatenate(rows.pop("time_s")) - step_s / 2  # a step is told by its middle
        columns |= {(table, name): np.concatenate(parts) for name, parts in rows.items()}
    if not len(time_s):
        raise ConfigError([Problem("scene", "the site has no rack, so that a run shows nothing; add racks to its tables")])
    return Run(site, grown(site, scenario.added) if scenario else site, time_s, columns, made)


def day_ahead(site: Site, state: State, forecasts: Sequence[Forecast], outlook: Outlook, now: datetime, params: Params) -> Run:
    """The next day of racks and water as the forecasts of IT power have it. ``ConfigError`` where nothing is foreseen yet, or
    no rack's power is known."""
    start_s = now.timestamp() // 60 * 60
    time_s = start_s + HOUR_S * np.arange(HOURS_AHEAD + 1.0)
    rack_w = state.column("rack", "power_w", now)
    rack_w = np.where(np.isnan(rack_w), state.column("rack", "power_w", now, Origin.MODELLED), rack_w)
    known = np.isfinite(rack_w)
    ratio = _ratios(site, forecasts, rack_w, time_s)
    if ratio is None or not known.any():
        why = "nothing is foreseen yet" if ratio is None else "the power of no rack is known"
        raise ConfigError([Problem("forecast", f"{why}, so that there is no picture of the day ahead; ask again later")])
    ids = tuple(id_ for id_, told in zip(site.ids_of("rack"), known.tolist(), strict=True) if told)
    power_w = np.clip(rack_w[known] * ratio[:, known], 0.0, None)
    lines = {**outlook.lines, **_weather(forecasts, start_s)}
    work = Telemetry(time_s, ids, power_w)
    return run_of(site, work, params, Outlook(lines), HOURS_AHEAD * HOUR_S, _STEP_S, start_s=start_s)


def _ratios(site: Site, forecasts: Sequence[Forecast], rack_w: Floats, time_s: Floats) -> Floats | None:
    """float64[t, racks]: foreseen power over the power now, of each rack's hall, of the site where its hall is not foreseen."""
    whole = foreseen(forecasts, "site", 0, "it_power_w", time_s)
    halls = [foreseen(forecasts, "hall", row, "it_power_w", time_s) for row in range(site.count("hall"))]
    now_w = float(np.nansum(rack_w))
    hall_w = site.sum_into("rack", "hall", rack_w)
    where = site.within("rack", "hall")
    if whole is None and all(one is None for one in halls):
        return None
    ratio = np.ones((len(time_s), len(rack_w)))
    if whole is not None:
        ratio[:] = (whole / max(now_w, 1.0))[:, None]
    for row, one in enumerate(halls):
        if one is not None and hall_w[row] > 0:
            ratio[:, where == row] = (one / hall_w[row])[:, None]
    return _held(ratio)


def _held(ratio: Floats) -> Floats:
    """The last known step goes on where a forecast ends before the day does."""
    known = np.isfinite(ratio)
    at = np.maximum.accumulate(np.where(known, np.arange(len(ratio))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(ratio, at, axis=0), nan=1.0)


def _weather(forecasts: Sequence[Forecast], start_s: float) -> dict[str, Line]:
    """The wet bulb as foreseen, where it is."""
    mine = [f for f in forecasts if (f.kind, f.metric) == ("weather", "wet_bulb_c") and f.time_s[-1] > start_s]
    return {"wet_bulb_c": Line(mine[-1].time_s, mine[-1].p50)} if mine else {}
