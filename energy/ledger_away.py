"""GPUs that a scheduler gave no job, and when: the free ones of nodes that are down, drained or reserved, as its list of nodes
showed them. The ledger replays them as held by somebody: else what began late for want of a drained node would seem to have
begun late by chance, and what would have been, sooner than it could.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from energy.ledger_seen import RENEWED
from energy.levers.jobs_ahead import node_pools
from twin.frame import Floats, Ints
from twin.job import Cluster, NodeState
from twin.ports import Records

# Topic: of each pool of nodes of a queue its partitions, its GPUs, and how many of these are away, from then on.
AWAY = "away"
KEPT = 20_000  # notes, of which there is one a look at most, and one a day at least
NEWEST = RENEWED + timedelta(hours=6)  # before a moment the note that tells of it stands at the most so long
Pools = list[dict[str, Any]]


class AwayWatch:
    """Writes down what a queue's nodes cannot give, when it changes."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._last: dict[str, tuple[datetime, Pools]] = {}

    def see(self, queue: str, cluster: Cluster | None, now: datetime) -> None:
        """Look at a queue's nodes as just read; ``None`` says nothing of them."""
        if cluster is None or not len(cluster.nodes):
            return
        noted, was = self._last.get(queue, (None, None))
        pools = _pools(cluster, now.timestamp())
        if noted is None or was != pools or now - noted >= RENEWED:
            self._records.append(AWAY, now, {"queue": queue, "pools": pools})
            self._records.trim(AWAY, KEPT)
            self._last[queue] = now, pools


def _pools(cluster: Cluster, now_s: float) -> Pools:
    pool, of = node_pools(cluster)
    gone = cluster.state >= NodeState.RESERVED
    begun, over = ~(cluster.reservation_start_s > now_s), cluster.reservation_end_s <= now_s
    pairs = cluster.reservation_nodes
    gone[pairs[(begun & ~over)[pairs[:, 0]], 1]] = True
    away = np.where(gone, np.maximum(cluster.gpus - cluster.gpus_used, 0), 0)
    here = pool >= 0
    whole, lacks = (np.bincount(pool[here], column[here], max(of.values(), default=0) + 1) for column in (cluster.gpus, away))
    names: dict[int, list[str]] = {}
    for name, at in sorted(of.items()):
        names.setdefault(at, []).append(name)
    return [{"partitions": names.get(p, []), "gpus": int(whole[p]), "away": int(lacks[p])} for p in range(len(whole))]


@dataclass(frozen=True, slots=True, eq=False)
class Away:
    """Columns over k spans of time in which ``gpus`` of a ``place`` were away; ``whole``: int32[p], GPUs of each place at the
    most (empty: not known)."""

    place: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    start_s: Floats = field(default_factory=lambda: np.empty(0))
    end_s: Floats = field(default_factory=lambda: np.empty(0))
    gpus: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    whole: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.place)


def away_of(
    records: Records, queue: str, at: Callable[[Sequence[str]], int], places: int, since: datetime, now: datetime
) -> Away:
    """What was away of ``queue`` from ``since`` to ``now``; ``at``: the place of a pool with these partitions, of ``places``.
    Of the time before the first note all nodes count as there."""
    read = records.read(AWAY, since - NEWEST, None, KEPT, newest=True)
    notes = sorted(((time, r["pools"]) for _, time, r in read if r["queue"] == queue and time <= now), key=lambda one: one[0])
    if not notes:
        return Away()
    gives = np.zeros((len(notes), places))
    whole = np.zeros((len(notes), places))
    for row, (_, pools) in enumerate(notes):
        for one in pools:
            p = at(one["partitions"])
            whole[row, p] += one["gpus"]
            gives[row, p] += one["gpus"] - one["away"]
    most = whole.max(axis=0).astype(np.int32)
    time_s = [max(time, since).timestamp() for time, _ in notes]
    spans = [(p, *span) for p in range(places) for span in _spans(time_s, (most[p] - gives[:, p]).tolist(), now.timestamp())]
    place, start_s, end_s, gpus = (np.array(column) for column in zip(*spans, strict=True)) if spans else (np.empty(0),) * 4
    return Away(place.astype(np.int32), start_s.astype(np.float64), end_s.astype(np.float64), gpus.astype(np.int32), most)


def _spans(time_s: Sequence[float], level: Sequence[float], end_s: float) -> list[tuple[float, float, float]]:
    """(start, end, GPUs) of spans that add up to ``level``, a step function from each of ``time_s`` on: what came last goes
    first."""
    found, open_, was = list[tuple[float, float, float]](), list[tuple[float, float]](), 0.0
    for (at_s, now), (next_s, _) in pairwise([*zip(time_s, level, strict=True), (end_s, 0.0)]):
        if next_s <= at_s:
            continue  # nothing lasts no time
        if now > was:
            open_.append((at_s, now - was))
        less = was - now
        while less > 0:
            start_s, gpus = open_.pop()
            ended = min(gpus, less)
            found.append((start_s, at_s, ended))
            less -= ended
            if gpus > ended:
                open_.append((start_s, gpus - ended))
        was = now
    return [*found, *((start_s, end_s, gpus) for start_s, gpus in open_)]
