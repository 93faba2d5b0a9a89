"""The guard's rule for tenants: no plan makes one wait longer beside the others than is fair, whatever was ordered since it was
made.

Levers keep to ``energy.shift.fair`` for what each of them adds in its round. A plan that waits for a person knows nothing of
what was approved meanwhile: so it is held here, as it is begun, against what all were told by then (``energy.waiting``). Nor is
a plan's own word taken for when its jobs would start without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from energy.guard_orders import Case, Found, by_pool, few, rows_of, tables_of
from energy.levers import QueueNow, Waits
from energy.levers.jobs_ahead import pools, reserved_jobs, reserved_spans
from energy.memory import TIMED
from energy.ordering import HELD_FOR
from energy.shift.fair import bearable
from energy.waiting import gpu_s
from twin.frame import Floats, Ints
from twin.job import JobState
from twin.order import Orders, Verb

# A lever counts in the slots of its signal, and orders in seconds some minutes later: so much more is what it meant to be fair.
ROUNDED_S = 3600.0
HOLDS = (Verb.HOLD, Verb.SUSPEND)  # say no time: they stay in force until somebody ends them, ``HELD_FOR`` at the most
EVER_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class _Sums:
    """By tenant, float64[k]: GPU-seconds that may wait, and these times the seconds that they were told to."""

    held: Floats
    waited: Floats

    @property
    def mean_s(self) -> Floats:
        """How long the work of each waits in the mean."""
        return self.waited / np.maximum(self.held, 1e-9)


def _fair(case: Case) -> Found:
    """What answers the grid, or keeps the contracted power, counts as waiting and is not bound by it."""
    first = next((queue.waits for queue, _, _ in tables_of(case) if queue.waits is not None), None)
    if first is None or case.plan.request:
        return
    was = now = _Sums(first.held_gpu_s, first.wait_s * first.held_gpu_s)
    for queue, table, _ in tables_of(case):
        if queue.waits is not None and table.verb in (*TIMED, *HOLDS) and not table.undo:
            now = _then(now, queue, queue.waits, table, case.now.timestamp())
    most_s = bearable(now.held, now.mean_s, first.least_s)
    for k in np.flatnonzero((now.waited > was.waited * (1 + 1e-9)) & (now.mean_s > most_s + ROUNDED_S)).tolist():
        yield {"tenant": first.tenants[k], "hours": now.mean_s[k] / 3600, "most": most_s / 3600}


def _then(sums: _Sums, queue: QueueNow, of: Waits, table: Orders, now_s: float) -> _Sums:
    """The sums once ``table`` is in force: an order that holds a job already is changed by it, and not added to."""
    held, waited, size = sums.held.copy(), sums.waited.copy(), gpu_s(queue.jobs)
    holds = table.verb in HOLDS
    begins_s = np.full(len(table), now_s + HELD_FOR.total_seconds()) if holds else np.maximum(table.values, now_s)
    told_s = _believed_s(queue, table, now_s)
    for i, row in rows_of(queue, table):
        if row < 0:
            continue
        begin_s, would_s = float(begins_s[i]), float(of.would_s[row])
        if np.isnan(would_s):
            would_s = float(told_s[i]) if begin_s > now_s else begin_s
        wait_s = of.before_s[row] + max(begin_s - would_s, 0.0)
        if holds:
            wait_s = max(wait_s, of.asked_s[row])  # a begin time that stands is not taken back by it
        owner, counted = of.owner[row], of.counted[row] * size[row]
        held[owner] += size[row] - counted
        waited[owner] += size[row] * wait_s - counted * of.asked_s[row]
    return _Sums(held, waited)


def _believed_s(queue: QueueNow, table: Orders, now_s: float) -> Floats:
    """float64[m]: when each job of ``table`` would start without it: as the plan says, but no later than the guard sees that
    itself; now where nothing is said."""
    told_s = np.full(len(table), now_s) if table.would_s is None else np.nan_to_num(table.would_s, nan=now_s)
    if (told_s > now_s).any():
        known = np.array([(i, row) for i, row in rows_of(queue, table) if row >= 0], dtype=np.int32).reshape(-1, 2)
        at, rows = known[:, 0], known[:, 1]
        told_s[at] = np.minimum(told_s[at], _latest_s(queue, rows, now_s)[rows] + ROUNDED_S)
    return told_s


def _latest_s(queue: QueueNow, asked: Ints, now_s: float) -> Floats:
    """float64[n]: when each job would start at the latest with no order of ours. Simulated as for ``consequence``, but counted
    as levers do, so that a right one is believed: in whole slots, the jobs ``asked`` behind all others, and nobody sooner than
    who is before him. Who says no end has none; at once where nothing is known of the room."""
    jobs, terms = queue.jobs, queue.jobs.terms
    lasts_s = np.where(jobs.lasts_s > 0, np.ceil(jobs.lasts_s / ROUNDED_S) * ROUNDED_S, EVER_S)
    state = np.where(jobs.state == JobState.SUSPENDED, JobState.RUNNING, jobs.state).astype(np.uint8)  # it keeps what it holds
    came_s = np.nan_to_num(jobs.submit_s, nan=now_s)
    came_s[asked] += EVER_S
    own_s = np.where(terms.noted == 1, 0.0, np.nan_to_num(terms.begin_s, nan=0.0))
    jobs = replace(jobs, state=state, submit_s=came_s, limit_s=lasts_s, agreed=replace(terms, runs_s=lasts_s))
    rows = np.flatnonzero((state <= JobState.RUNNING) & (jobs.gpus > 0) & ~reserved_jobs(queue))
    (room, pool), kept = pools(queue), reserved_spans(queue.cluster, now_s)
    starts_s: Floats = np.fmax(np.fmax(by_pool(jobs, rows, own_s, pool, room, now_s, kept), own_s), now_s)
    for p in range(len(room)):
        waits = rows[(pool[rows] == p) & (state[rows] == JobState.PENDING)]
        waits = waits[np.argsort(came_s[waits], kind="stable")]
        starts_s[waits] = np.maximum.accumulate(starts_s[waits])
    return starts_s


# rule -> (what it finds, what it says of it), as in ``energy.guard``
FAIR_RULES: Mapping[str, tuple[Callable[[Case], Found], str]] = {
    "fair": (
        few(_fair),
        "With what was ordered before, the work of {tenant} would wait {hours:.1f} h in the mean; beside the others "
        "{most:.1f} h are fair",
    ),
}
