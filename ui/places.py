"""Places between which jobs may move: read from ``[energy]`` and checked against the site."""

from collections.abc import Mapping, Sequence

import numpy as np

from energy.place.atlas import Atlas, Place, Route
from twin.errors import ConfigError, Problem
from twin.site import Site
from ui.config import EnergySection, PlaceSection, RouteSection


def atlas_of(section: EnergySection, site: Site) -> Atlas:
    """The places and routes of ``[energy]``; ``ConfigError`` with every problem."""
    problems: list[Problem] = []
    places = [_place(one, site, problems) for one in section.place]
    seen: dict[tuple[str, str], str] = {}
    federated = {one.queue for one in places if one.cluster}
    for one in sorted(places, key=lambda place: bool(place.partitions)):  # whole clusters first
        if one.queue in federated and not one.cluster:
            what = f"other places of {one.queue} name a cluster of its federation; say in which this one stands, by cluster = …"
            problems.append(Problem(f"[[energy.place]] {one.name}", what))
        for partition in one.says:
            other = seen.setdefault((one.queue, partition), one.name)
            whole = seen.get((one.queue, f"{one.cluster}/*"), one.name) if one.cluster else one.name
            if {other, whole} != {one.name}:
                first = other if other != one.name else whole
                what = f"partition {partition!r} of {one.queue} is in {first} already; a partition stands in one place"
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
    partitions = tuple(f"{one.cluster}/{name}" if one.cluster else name for name in one.partitions)
    return Place(one.name, one.queue, partitions, grid, one.hall, one.facility_ratio, one.cluster)


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
