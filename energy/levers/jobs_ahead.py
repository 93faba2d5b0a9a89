"""What levers on jobs share: which jobs may move, within which slots, and what room the cluster has then."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from energy.ahead import SignalAhead
from energy.levers import QueueNow
from energy.shift import Work
from energy.shift.decompose import cheapest
from twin.frame import Floats, Ints
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.order import Tie
from twin.site import Bools, Site

GPU_W = 1_000.0  # of a GPU with its share of the server and its cooling; assumed, as in energy.shift.tables
LONGEST_WAIT_S = 86_400.0  # beyond its submission, however far its deadline lies: no job starves
RESERVE = 2  # slots before its deadline that a job is planned to be done
MAX_JOBS = 5_000  # that one plan moves
TURN_S = 300.0  # between two plans: where more wait, each plan looks at the next ones, so that all have their turn


@dataclass(frozen=True, slots=True, eq=False)
class Movable:
    """Jobs that may move: rows in the queue's table, the pool of nodes that each runs on, and what they are as work in slots
    of the signal; ``latest``: int32[n], last slot in which each may start."""

    rows: Ints
    pool: Ints
    work: Work
    latest: Ints


def waits_with_consent(jobs: Jobs) -> Bools:
    """bool[n]: jobs that wait, whose owner, partition or account agreed, whose size and length are known, and which are tied to
    nothing (``twin.order.Tie``)."""
    agreed = (jobs.state == JobState.PENDING) & (jobs.deferrable == 1) & (jobs.terms.tied == 0)
    return np.asarray(agreed & (jobs.lasts_s > 0) & (jobs.gpus > 0))


def in_turns(waits: Bools, now_s: float, most: int | None = None) -> Ints:
    """int32[m]: rows of those of ``waits`` (bool[n]) that are looked at now: all, or ``most`` of them (None: ``MAX_JOBS``),
    others each turn."""
    most = MAX_JOBS if most is None else most
    rows = np.flatnonzero(waits).astype(np.int32)
    if len(rows) <= most:
        return rows
    first = int(now_s // TURN_S) * most % len(rows)
    return np.sort(np.roll(rows, -first)[:most])


def movable(queue: QueueNow, rows: Ints, left_s: Floats, signal: SignalAhead, now_s: float, wait_s: float) -> Movable:
    """``rows`` of ``queue`` with ``left_s`` still to run, those left out that have no window. A window ends where a reservation
    leaves a job no room: by then its limit must be over, however short it is expected to run, or its scheduler starts it no
    sooner than behind the reservation."""
    jobs = queue.jobs
    span = signal.step_s
    length = np.maximum(np.ceil(left_s / span - 1e-9), 1)
    submit_s = np.where(np.isnan(jobs.submit_s[rows]), now_s, jobs.submit_s[rows])
    due_s = np.fmin(jobs.deadline_s[rows], submit_s + min(wait_s, queue.longest_wait_s) + left_s)
    asks_s = np.fmax(np.where(np.isnan(jobs.limit_s[rows]), math.inf, jobs.limit_s[rows]), left_s)
    shut_s = _shut_s(queue, rows, now_s)
    bounded = np.isfinite(shut_s)
    due_s[bounded] = np.fmin(due_s[bounded], shut_s[bounded] - (asks_s - left_s)[bounded])
    # a job that starts within a slot ends within one: a slot is lost at the end
    due = np.floor((due_s - signal.begin_s) / span + 1e-9) - 1
    # by its whole window, not by what is left of it: else the reserve would be planned away as the deadline comes near
    roomy = (due_s - submit_s) / span - length > 2 * RESERVE + 1
    due = np.minimum(np.where(roomy, due - RESERVE, due), len(signal.ahead))
    latest = (due - length).astype(np.int32)
    kept = latest > 0
    rows, length, due, latest = rows[kept], length[kept], due[kept], latest[kept]
    gpus = jobs.gpus[rows].astype(np.float64)
    none = np.zeros(len(rows), dtype=np.int32)
    work = Work(gpus, GPU_W * gpus, length.astype(np.int32), none, due.astype(np.int32), np.zeros(len(rows), dtype=np.bool_))
    return Movable(rows, pools(queue)[1][rows], work, latest)


def pools(queue: QueueNow) -> tuple[Floats, Ints]:
    """float64[p]: usable GPUs of each pool of nodes; int32[n]: the pool of each job. Partitions that share a node share a pool;
    a job of a partition that is not known, and all where the queue tells of no nodes, are in the first."""
    room, of = partition_pools(queue.cluster)
    return room, np.array([of.get(name, 0) for name in queue.jobs.partitions], dtype=np.int32)


def partition_pools(cluster: Cluster | None) -> tuple[Floats, Mapping[str, int]]:
    """float64[p]: usable GPUs of each pool of nodes; the pool of each partition."""
    if cluster is None or not len(cluster.nodes):
        return np.array([math.inf]), {}
    pool, of = node_pools(cluster)
    room = np.zeros(max(of.values(), default=0) + 1)
    np.add.at(room, pool[pool >= 0], _usable(cluster)[pool >= 0])
    return room, of


def assets_of(cluster: Cluster | None, site: Site) -> Mapping[str, str]:
    """The site's id of each node by what its scheduler calls it; its own name where the site does not know it."""
    if cluster is None:
        return {}
    ids = site.ids_of("node")
    return {name: ids[row] if row >= 0 else name for name, row in zip(cluster.nodes, cluster.rows.tolist(), strict=True)}


def _usable(cluster: Cluster) -> Floats:
    """float64[n]: GPUs of each node that jobs are given."""
    return np.where(cluster.state < NodeState.DRAINED, cluster.gpus, 0).astype(np.float64)


def node_pools(cluster: Cluster) -> tuple[Ints, Mapping[str, int]]:
    """int32[n]: the pool of each node, -1 of one in no partition; the pool of each partition."""
    _, pool_of = np.unique(_joined(cluster), return_inverse=True)
    pairs = cluster.partition_nodes
    pool = np.full(len(cluster.nodes), -1 if len(pairs) else 0, dtype=np.int32)
    pool[pairs[:, 1]] = pool_of[pairs[:, 0]]
    return pool, {name: int(pool_of[i]) for i, name in enumerate(cluster.partitions)}


def reserved_gpus(cluster: Cluster, edges_s: Floats) -> Floats:
    """float64[p, k]: GPUs of each pool that reservations keep from other jobs, at some time in each of the k spans between
    ``edges_s`` (float64[k + 1], increasing). Nodes count as a whole, though a reservation may be for some of their cores."""
    kept = np.zeros((len(partition_pools(cluster)[0]), len(edges_s) - 1))
    nodes, at = np.unique(cluster.reservation_nodes[:, 1], return_inverse=True)
    begin_s, end_s = np.nan_to_num(cluster.reservation_start_s, nan=-math.inf), cluster.reservation_end_s
    held = np.zeros((len(nodes), kept.shape[1]), dtype=np.bool_)
    for r in range(len(cluster.reservations)):
        meets = (begin_s[r] < edges_s[1:]) & ~(end_s[r] <= edges_s[:-1])
        held[np.ix_(at[cluster.reservation_nodes[:, 0] == r], meets)] = True
    pool = node_pools(cluster)[0][nodes]
    np.add.at(kept, pool[pool >= 0], (_usable(cluster)[nodes, None] * held)[pool >= 0])
    return kept


def reserved_spans(cluster: Cluster | None, now_s: float) -> tuple[Floats, Floats]:
    """float64[k]: when what reservations keep changes, from now on; float64[p, k]: GPUs of each pool that they keep from then
    on. k is 0 where there are no reservations."""
    if cluster is None or not len(cluster.reservations):
        return np.empty(0), np.empty((len(partition_pools(cluster)[0]), 0))
    times_s = np.concatenate([cluster.reservation_start_s, cluster.reservation_end_s])
    begin_s: Floats = np.unique(np.concatenate([[now_s], times_s[times_s > now_s]])).astype(np.float64)
    edges_s = np.array([*begin_s.tolist(), math.inf], dtype=np.float64)
    return begin_s, reserved_gpus(cluster, edges_s)


def _shut_s(queue: QueueNow, rows: Ints, now_s: float) -> Floats:
    """float64[m]: when reservations first leave too few GPUs for each of ``rows``; infinity where they never do."""
    begin_s, kept = reserved_spans(queue.cluster, now_s)
    usable, pool = pools(queue)
    of = pool[rows]
    short = (kept[of] > 0) & ((usable[:, None] - kept)[of] < queue.jobs.gpus[rows, None])
    return np.asarray(np.where(short, begin_s, math.inf).min(axis=1, initial=math.inf))


def reserved_jobs(queue: QueueNow) -> Bools:
    """bool[n]: jobs that run, or are to run, in a reservation: they take nothing of what reservations leave to others."""
    known = queue.cluster is not None and len(queue.cluster.reservations) > 0
    return np.asarray(((queue.jobs.terms.tied & Tie.RESERVED) > 0) & known)


def _joined(cluster: Cluster) -> Ints:
    """int32[p]: the lowest partition that each partition shares nodes with, through whomever."""
    label = np.arange(max(len(cluster.partitions), 1), dtype=np.int32)
    for _ in range(len(label)):
        lowest = np.full(len(cluster.nodes), len(label), dtype=np.int32)
        np.minimum.at(lowest, cluster.partition_nodes[:, 1], label[cluster.partition_nodes[:, 0]])
        new = label.copy()
        np.minimum.at(new, cluster.partition_nodes[:, 0], lowest[cluster.partition_nodes[:, 1]])
        if np.array_equal(new, label):
            break
        label = new
    return label


def room(queue: QueueNow, moving: Ints, signal: SignalAhead, now_s: float) -> list[Floats]:
    """float64[h] for each pool: GPUs that are left for the jobs at ``moving``. Running jobs hold theirs to their limit; what
    waits and does not move takes its own as soon as there is room; what is reserved is not theirs."""
    jobs = queue.jobs
    usable, pool = pools(queue)
    slots = len(signal.ahead)
    others = ~reserved_jobs(queue)
    others[moving] = False
    left = [np.full(slots, min(free, 1e9)) for free in usable]
    if queue.cluster is not None and len(queue.cluster.reservations):
        edges_s: Floats = (signal.begin_s + signal.step_s * np.arange(slots + 1)).astype(np.float64)
        edges_s[0] = max(edges_s[0], now_s)
        left = [rest - kept for rest, kept in zip(left, reserved_gpus(queue.cluster, edges_s), strict=True)]
    ends_s = np.where(np.isnan(jobs.lasts_s), math.inf, jobs.start_s + jobs.lasts_s)
    for j in np.flatnonzero(others & np.isin(jobs.state, (JobState.RUNNING, JobState.SUSPENDED))).tolist():
        over = (ends_s[j] - signal.begin_s) / signal.step_s
        left[pool[j]][: slots if not over < slots else max(math.ceil(over), 1)] -= jobs.gpus[j]
    waiting = np.flatnonzero(others & (jobs.state == JobState.PENDING) & (jobs.terms.held == 0) & (jobs.gpus > 0))
    for p, rest in enumerate(left):
        _seated(jobs, waiting[pool[waiting] == p], rest, signal, now_s)
    return [np.maximum(rest, 0.0) for rest in left]


def _seated(jobs: Jobs, rows: Ints, rest: Floats, signal: SignalAhead, now_s: float) -> None:
    """Seat jobs that do not move, in the order of submission, each at its first room; they leave ``rest``."""
    rows = rows[np.argsort(jobs.submit_s[rows], kind="stable")][:MAX_JOBS]
    if not len(rows):
        return
    slots = len(rest)
    limit_s = np.where(np.isnan(jobs.lasts_s[rows]), slots * signal.step_s, jobs.lasts_s[rows])
    length = np.clip(np.ceil(limit_s / signal.step_s), 1, slots).astype(np.int32)
    begin_s = np.fmax(jobs.terms.begin_s[rows], now_s)
    earliest = np.clip((begin_s - signal.begin_s) // signal.step_s, 0, slots - 1).astype(np.int32)
    length = np.minimum(length, slots - earliest)
    gpus = jobs.gpus[rows].astype(np.float64)
    due = np.full(len(rows), slots, dtype=np.int32)
    work = Work(gpus, GPU_W * gpus, length, earliest, due, np.zeros(len(rows), dtype=np.bool_))
    order = np.arange(slots, dtype=np.float64)
    for j in range(len(rows)):
        found = cheapest(work, j, rest, order, slots)
        if found is not None:
            rest[found] -= gpus[j]
