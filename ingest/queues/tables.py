"""What queues share: records of a scheduler as the columns of ``twin.job``, with the site's rows of nodes and GPUs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from ingest.mappings.assets import Assets
from twin.errors import ConfigError, Problem
from twin.frame import Bytes, Frame, Ints, frame_of
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.order import Terms
from twin.site import Site

MAX_JOBS = 1_000_000
_NAN = math.nan
_ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@dataclass(slots=True)
class JobRecord:
    """One job on its way into the columns. ``held``: (node's name, numbers of its GPUs; None: all that it has); ``begin_s``:
    earliest start; ``stopped``: somebody holds it back; ``interruptible``: it may be paused; ``noted``: words of ours stand
    at it; ``runs_s``: how long its owner expects it to run; the last four: see ``twin.order.Terms``."""

    id: str
    name: str
    user: str
    partition: str
    state: JobState
    gpus: int
    submit_s: float = _NAN
    start_s: float = _NAN
    end_s: float = _NAN
    limit_s: float = _NAN
    deadline_s: float = _NAN
    deferrable: bool = False
    held: Sequence[tuple[str, Sequence[int] | None]] = ()
    begin_s: float = _NAN
    stopped: bool = False
    interruptible: bool = False
    noted: bool = False
    project: str = ""
    runs_s: float = _NAN
    reach_s: float = 0.0
    data_bytes: float = _NAN
    unfit: bool = False
    tied: int = 0
    unread: bool = False


@dataclass(slots=True)
class NodeRecord:
    """One node on its way into the columns."""

    name: str
    state: NodeState
    gpus: int
    gpus_used: int
    partitions: Sequence[str] = ()


@dataclass(slots=True)
class Reservation:
    """A span of time in which nodes are kept for somebody."""

    name: str
    start_s: float
    end_s: float
    nodes: Sequence[str] = field(default_factory=list)


class Places:
    """Nodes of a site by what a scheduler calls them, and their GPUs by number."""

    def __init__(self, site: Site) -> None:
        self._site, self._assets = site, Assets(site)
        self._nodes: dict[str, int] = {}
        self._gpus: dict[int, dict[int, int]] = {}
        index = site.number("gpu", "index").tolist()
        for row, (node, number) in enumerate(zip(site.within("gpu", "node").tolist(), index, strict=True)):
            mine = self._gpus.setdefault(node, {})
            mine[int(number) if number == number else len(mine)] = row

    def node(self, name: str) -> int:
        """Row of the node, -1 where the site does not know it."""
        if name not in self._nodes:
            row = self._assets.node(name)
            self._nodes[name] = -1 if row is None else row
        return self._nodes[name]

    def gpus(self, name: str, numbers: Sequence[int] | None) -> list[int]:
        """Rows of a node's GPUs with these numbers, of all where ``numbers`` is None; those that the site does not know are
        left out."""
        mine = self._gpus.get(self.node(name), {})
        return list(mine.values()) if numbers is None else [mine[number] for number in numbers if number in mine]


def jobs_of(records: Sequence[JobRecord], places: Places) -> Jobs:
    """The records as columns. Running jobs alone hold GPUs; a job that has not ended has no end, one that waits no start."""
    rows: list[int] = []
    job_of: list[int] = []
    for i, one in enumerate(records):
        if one.state in (JobState.RUNNING, JobState.SUSPENDED):
            for node, numbers in one.held:
                found = places.gpus(node, numbers)
                rows += found
                job_of += [i] * len(found)

    def floats(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([getattr(one, name) for one in records], dtype=np.float64)

    def flags(name: str) -> Bytes:
        return np.array([getattr(one, name) for one in records], dtype=np.uint8)

    state = np.array([one.state for one in records], dtype=np.uint8)
    ended = np.isin(state, _ENDED)
    return Jobs(
        ids=[one.id for one in records],
        names=[one.name for one in records],
        users=[one.user for one in records],
        partitions=[one.partition for one in records],
        state=state,
        gpus=np.array([one.gpus for one in records], dtype=np.int32),
        submit_s=floats("submit_s"),
        start_s=np.where(state == JobState.PENDING, np.nan, floats("start_s")),
        end_s=np.where(ended, floats("end_s"), np.nan),
        limit_s=floats("limit_s"),
        deadline_s=floats("deadline_s"),
        deferrable=flags("deferrable"),
        rows=np.array(rows, dtype=np.int32),
        job_of=np.array(job_of, dtype=np.int32),
        projects=[one.project for one in records],
        agreed=Terms(
            *(floats("begin_s"), flags("stopped"), flags("interruptible"), flags("noted"), floats("runs_s")),
            *(floats("reach_s"), floats("data_bytes"), flags("unfit"), flags("tied"), flags("unread")),
        ),
    )


def cluster_of(
    nodes: Sequence[NodeRecord], partitions: Sequence[tuple[str, bool]], reservations: Sequence[Reservation], places: Places
) -> Cluster:
    """The records as columns; what a partition or reservation names and is no node of the queue is left out."""
    at = {one.name: i for i, one in enumerate(nodes)}
    members = {name: i for i, (name, _) in enumerate(partitions)}
    held = [(members[name], i) for i, one in enumerate(nodes) for name in one.partitions if name in members]
    kept = [(i, at[name]) for i, one in enumerate(reservations) for name in one.nodes if name in at]
    return Cluster(
        nodes=[one.name for one in nodes],
        rows=np.array([places.node(one.name) for one in nodes], dtype=np.int32),
        state=np.array([one.state for one in nodes], dtype=np.uint8),
        gpus=np.array([one.gpus for one in nodes], dtype=np.int32),
        gpus_used=np.array([one.gpus_used for one in nodes], dtype=np.int32),
        partitions=[name for name, _ in partitions],
        partition_up=np.array([up for _, up in partitions], dtype=np.uint8),
        partition_nodes=_pairs(held),
        reservations=[one.name for one in reservations],
        reservation_start_s=np.array([one.start_s for one in reservations], dtype=np.float64),
        reservation_end_s=np.array([one.end_s for one in reservations], dtype=np.float64),
        reservation_nodes=_pairs(kept),
    )


def _pairs(found: Iterable[tuple[int, int]]) -> Ints:
    return np.array(list(found), dtype=np.int32).reshape(-1, 2)


def frames_of(jobs: Jobs, cluster: Cluster, site: Site, queue: str, now: datetime, source: str) -> list[Frame]:
    """What a queue says as readings: of the queue itself, and of the nodes that the site knows."""
    usable = cluster.state < NodeState.DRAINED
    whole = frame_of(
        "queue",
        now,
        site.row(queue),
        source=source,
        running_count=float(jobs.count(JobState.RUNNING)),
        waiting_count=float(jobs.count(JobState.PENDING)),
        gpus_allocated_count=float(jobs.gpus_in(JobState.RUNNING)),
        gpus_waiting_count=float(jobs.gpus_in(JobState.PENDING)),
        gpus_usable_count=float(cluster.gpus[usable].sum()),
        nodes_usable_count=float(np.count_nonzero(usable)),
        nodes_unusable_count=float(np.count_nonzero(~usable)),
    )
    known, first = np.unique(cluster.rows, return_index=True)  # a frame has each row once
    first = first[known >= 0]
    if not len(first):
        return [whole]
    values = {"usable_flag": usable[first].astype(np.float64)}
    return [whole, Frame("node", now, cluster.rows[first], values, source=source)]


def check_queue(name: str, queue: str, site: Site) -> None:
    """``ConfigError`` where ``queue`` is no queue of the site."""
    if queue not in site.position or site.kind(queue) != "queue":
        known = ", ".join(site.ids_of("queue")) or f"none; add a row {queue},queue to the assets"
        raise ConfigError([Problem(f"source {name}", f"queue {queue!r} is no queue of the site; known: {known}")])


def numbers_in(text: str, limit: int = 100_000) -> list[int]:
    """``0-2,7`` or, with a step, ``0-8:2`` as numbers; ``ValueError`` where it is none or over ``limit`` of them."""
    found: list[int] = []
    for part in text.split(","):
        ends, _, step = part.strip().partition(":")
        low, _, high = ends.partition("-")
        span = range(int(low), int(high or low) + 1, int(step or 1))
        if len(found) + len(span) > limit:
            raise ValueError(f"more than {limit} numbers in one range")
        found += span
    return found
