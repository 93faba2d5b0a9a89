"""Places that jobs may run in, live: what power is like there, what waits and runs there, and what their ledger rests on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from energy.ledger_jobs import Grounds
from energy.levers import QueueNow
from energy.levers.jobs_ahead import partition_pools
from energy.levers.move_ground import facility_ratio
from energy.place.atlas import Atlas, Place
from twin.frame import Floats
from twin.job import JobState
from ui.view import Live

Read = Callable[[datetime, datetime, int], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Placed:
    """One place as it stands: ``signal``: what a kWh of its grid costs now (NaN: not fresh), ``facility_ratio``: the facility's
    power over IT's there, jobs that wait and run in its partitions, and the ``ways`` from it: name and round trip [s]."""

    place: Place
    signal: float
    facility_ratio: float
    waiting: int
    running: int
    ways: Sequence[tuple[str, float]]


def placed(live: Live) -> list[Placed]:
    """All places as they stand now."""
    now, jobs, atlas = live.clock.now(), live.jobs, live.atlas
    counts = Counter(zip(jobs.partitions, jobs.state.tolist(), strict=True))
    found, named = [], sorted(set(jobs.partitions))
    for i, one in enumerate(atlas.places):
        value = float(live.state.column("grid", live.signal, now)[live.site.row(one.grid)])
        held = [sum(counts[name, state] for name in one.of(named)) for state in (JobState.PENDING, JobState.RUNNING)]
        away_s = atlas.latency_s[i].tolist()
        ways = [(other.name, s) for k, (other, s) in enumerate(zip(atlas.places, away_s, strict=True)) if k != i and s < np.inf]
        found.append(Placed(one, value, facility_ratio(one, live.site, live.state, now), held[0], held[1], ways))
    return found


def on_grids(atlas: Atlas, queue: QueueNow, site_grid: str) -> list[str]:
    """The grid that each job of a queue stands on; empty where that is the site's, or not said."""
    grids = [place.grid if place.grid != site_grid else "" for place in atlas.places]
    at = [atlas.at(queue.name, name) for name in queue.jobs.partitions]
    return [grids[i] if i >= 0 else "" for i in at]


def grounds(live: Live, atlas: Atlas, queue: QueueNow, read: Read, start: datetime, end: datetime) -> Grounds | None:
    """What the ledger of a queue rests on: the GPUs of its places and their signals from ``start`` to ``end``, for a kWh of IT;
    what stands in none of them is the last place, on the site's first grid. None where room or signal is not known."""
    room, of = partition_pools(queue.cluster)
    if not np.isfinite(room).all():
        return None
    mine = [atlas.places[i] for i in atlas.of(queue.name)]
    pools = [{of[name] for name in place.of(of)} for place in mine]
    rest = set(range(len(room))) - set().union(*pools)
    gpus = [int(room[sorted(pool)].sum()) for pool in (*pools, rest)]
    time_s, columns = np.empty(0), list[Floats]()
    for place in (*mine, None):
        time_s, told = read(start, end, live.site.row(place.grid) if place else 0)
        known = ~np.isnan(told)
        if known.sum() < 2:
            return None
        values = np.interp(time_s, time_s[known], told[known])
        columns.append(values * _ratio(live, place, time_s, start, end) if place else values)
    partitions = {name: i for i, place in enumerate(mine) for name in place.of(of)}
    at = np.array(atlas.of(queue.name), dtype=np.intp)
    sent = np.zeros((len(gpus), len(gpus)))
    if len(at):
        sent[:-1, :-1] = atlas.j_per_byte[np.ix_(at, at)]
    return Grounds(partitions, np.array(gpus, dtype=np.int32), time_s, np.array(columns), sent)


def _ratio(live: Live, place: Place, time_s: Floats, start: datetime, end: datetime) -> Floats:
    """float64[t]: facility over IT power of a place in each step, as its hall's meters had it; else as it is written."""
    written = np.full(len(time_s), place.facility_ratio)
    if not place.hall or len(time_s) < 2:
        return written
    names, rows = ("it_power_w", "cooling_power_w"), np.array([live.site.row(place.hall)], dtype=np.int32)
    told = live.store.series("hall", names, start, end, float(time_s[1] - time_s[0]), rows=rows)
    it_w, cooling_w = (told.values[name][:, 0] for name in names)
    known = (it_w > 0) & (cooling_w >= 0)
    if len(it_w) != len(time_s) or not known.any():
        return written
    return np.interp(time_s, time_s[known], 1 + cooling_w[known] / it_w[known])
