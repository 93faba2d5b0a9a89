"""The guard's rules for jobs that are to run elsewhere: only between places that the operator names, as far as their owners
bear it, with data that can be there in time, and where both grids are known now.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from energy.guard_orders import Case, Found, few, rows_of, tables_of
from energy.levers import QueueNow, believed
from energy.levers.jobs_ahead import partition_pools
from energy.memory import TIMED
from energy.place.atlas import latency_class
from twin.frame import Origin
from twin.order import Orders, Verb

NEAR_S = 2.0


def _moves(case: Case) -> Iterator[tuple[QueueNow, Orders, int, int, int, int]]:
    """Queue, table, position in it, row of the job (-1: not known), its home and where it is to go, as positions of places."""
    atlas = case.limits.atlas
    for queue, table, _ in tables_of(case):
        if table.verb is Verb.MOVE and not table.undo:
            for i, row in rows_of(queue, table):
                here, there = table.where[i]
                home = queue.homes.get(table.targets[i], here)
                yield queue, table, i, row, atlas.at(queue.name, home), atlas.at(queue.name, there)


def _place(case: Case) -> Found:
    for queue, table, i, row, home, there in _moves(case):
        cluster, (here, name) = queue.cluster, table.where[i]
        up = cluster is not None and any(
            one == name and flag for one, flag in zip(cluster.partitions, cluster.partition_up, strict=True)
        )
        if home < 0 or there < 0 or not up:
            yield {"partition": here if home < 0 else name, "queue": queue.name}
        elif row >= 0 and queue.jobs.partitions[row] != here:
            yield {"partition": here, "queue": queue.name}


def _room(case: Case) -> Found:
    for queue, table, i, row, _, there in _moves(case):
        room, of = partition_pools(queue.cluster)
        most = float(room[of[table.where[i][1]]]) if table.where[i][1] in of else math.inf
        if row >= 0 and there >= 0 and queue.jobs.gpus[row] > most:
            yield {"job": table.targets[i], "gpus": int(queue.jobs.gpus[row]), "partition": table.where[i][1], "most": most}


def _reach(case: Case) -> Found:
    atlas = case.limits.atlas
    for queue, table, i, row, home, there in _moves(case):
        reach_s = float(queue.jobs.terms.reach_s[row]) if row >= 0 else 0.0
        if min(home, there) >= 0 and atlas.may(home, there, reach_s, 0.0) == "far":
            away_s = float(atlas.latency_s[home, there])
            yield {"job": table.targets[i], "away": latency_class(away_s), "most_ms": 1e3 * reach_s}


def _data(case: Case) -> Found:
    atlas = case.limits.atlas
    for queue, table, i, row, home, there in _moves(case):
        if row < 0 or min(home, there) < 0:
            continue
        size = float(queue.jobs.terms.data_bytes[row])
        if atlas.may(home, there, math.inf, size) == "data":
            yield {"job": table.targets[i], "late_s": math.inf}
        elif (sent_s := atlas.transfer_s(home, there, size)) > 0:
            late_s = case.now.timestamp() + sent_s - float(table.values[i])
            if late_s > NEAR_S:
                yield {"job": table.targets[i], "late_s": late_s}


def _grid(case: Case) -> Found:
    """Also of what only starts later in a place of its own."""
    gain, atlas = case.plan.gain, case.limits.atlas
    asked = {place for *_, home, there in _moves(case) for place in (home, there) if place >= 0}
    for queue, table, delays in tables_of(case):
        if table.verb in TIMED:
            found = (
                atlas.at(queue.name, queue.jobs.partitions[row]) for i, row in rows_of(queue, table) if row >= 0 and delays[i]
            )
            asked |= {place for place in found if place >= 0}
    if gain is None or not asked:
        return
    known = believed(case.state, "grid", gain.signal, case.now)
    foreseen = case.state.column("grid", gain.signal, case.now, Origin.MODELLED)
    for i in sorted(asked):
        place = atlas.places[i]
        row = case.site.row(place.grid)
        if not (np.isfinite(known[row]) or np.isfinite(foreseen[row])):
            yield {"place": place.name, "what": f"{place.grid} {gain.signal}"}


# rule -> (what it finds, what it says of it), as in ``energy.guard``
MOVE_RULES: Mapping[str, tuple[Callable[[Case], Found], str]] = {
    "place": (few(_place), "Partition {partition} of {queue} is no place that is known, or takes no jobs now"),
    "room": (few(_room), "Job {job} asks for {gpus} GPUs, and {partition} has {most:.0f}"),
    "reach": (few(_reach), "Job {job} would run {away} from where its data is; its owner allows {most_ms:g} ms"),
    "data": (
        few(_data),
        "Job {job} would start {late_s:.0f} s before its data is there, by what its owner says of it",
    ),
    "grid_stale": (_grid, "{what} in {place} is not known or not fresh; a stale value is never acted on"),
}
