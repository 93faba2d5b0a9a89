"""Places between which jobs may move: read from ``[energy]`` and checked against the site; and what their ledger rests on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np

from energy.ledger_jobs import Grounds
from energy.levers import QueueNow
from energy.levers.jobs_ahead import partition_pools
from energy.place.atlas import Atlas, Place, Route
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.site import Site
from ui.config import EnergySection, PlaceSection, RouteSection
from ui.view import Live

Read = Callable[[datetime, datetime, int], tuple[Floats, Floats]]


def atlas_of(section: EnergySection, site: Site) -> Atlas:
    """The places and routes of ``[energy]``; ``ConfigError`` with every problem."""
    problems: list[Problem] = []
    places = [_place(one, site, problems) for one in section.place]
    seen: dict[tuple[str, str], str] = {}
    for one in places:
        for partition in one.partitions:
            other = seen.setdefault((one.queue, partition), one.name)
            if other != one.name:
                what = f"partition {partition!r} of {one.queue} is in {other} already; a partition stands in one place"
                problems.append(Problem(f"[[energy.place]] {one.name}", what))
    names = [one.name for one in places]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [Problem(f"[[energy.place]] {name}", "two places have this name; each needs its own") for name in twice]
    routes = _routes(section.route, {one.name: one for one in places}, problems)
    if problems:
        raise ConfigError(problems)
    return Atlas(tuple(places), tuple(routes))


def _place(one: PlaceSection, site: Site, problems: list[Problem]) -> Place:
    grids = site.ids_of("grid")
    grid = one.grid or (grids[0] if grids else "")
    for kind, asset in (("queue", one.queue), ("grid", grid), *((("hall", one.hall),) if one.hall else ())):
        if asset not in site.position or site.kind(asset) != kind:
            known = ", ".join(site.ids_of(kind)[:10]) or f"none; add a row of kind {kind} to the assets"
            problems.append(Problem(f"[[energy.place]] {one.name}", f"{asset!r} is no {kind} of the site; known: {known}"))
    return Place(one.name, one.queue, tuple(one.partitions), grid, one.hall, one.facility_ratio)


def _routes(sections: Sequence[RouteSection], known: Mapping[str, Place], problems: list[Problem]) -> list[Route]:
    routes: list[Route] = []
    for one in sections:
        here, there = one.between
        where = f"[[energy.route]] {here} - {there}"
        missing = [name for name in (here, there) if name not in known]
        if missing or here == there:
            what = f"{missing[0]!r} is no place" if missing else "a route joins two places"
            problems.append(Problem(where, f"{what}; places are {', '.join(known) or 'none'}"))
        elif known[here].queue != known[there].queue:
            what = (
                f"{here} is in {known[here].queue} and {there} in {known[there].queue}: a job cannot be moved from one "
                "scheduler to another without being submitted anew, which icctwin does not do; join partitions of one scheduler"
            )
            problems.append(Problem(where, what))
        elif any({here, there} == set(route.between) for route in routes):
            problems.append(Problem(where, "this route stands here twice; write it once"))
        else:
            rate_bps = np.inf if one.rate_gbps is None else 1e9 * one.rate_gbps
            routes.append(Route((here, there), 1e-3 * one.latency_ms, rate_bps, one.kwh_per_gb))
    return routes


def grounds(live: Live, atlas: Atlas, queue: QueueNow, read: Read, start: datetime, end: datetime) -> Grounds | None:
    """What the ledger of a queue rests on: the GPUs of its places and their signals from ``start`` to ``end``, for a kWh of IT;
    what stands in none of them is the last place, on the site's first grid. None where room or signal is not known."""
    room, of = partition_pools(queue.cluster)
    if not np.isfinite(room).all():
        return None
    mine = [atlas.places[i] for i in atlas.of(queue.name)]
    pools = [{of[name] for name in place.partitions if name in of} for place in mine]
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
    partitions = {name: i for i, place in enumerate(mine) for name in place.partitions}
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
