"""How long tenants wait for us, live: what each job was told to wait, beside all the work that may wait, by whose it is.

What counts are the jobs that were submitted in the last two days and that their owners agreed may wait, or that we told to:
those in the queues' tables, and those that ended since, from the notes. How long each was told to wait stands in the audit. So
a restart knows both, and what is older is forgotten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from energy.account.book import tenant_of
from energy.levers import QueueNow, Waits
from energy.levers.jobs_ahead import Movable
from energy.memory import Asked
from energy.notes import MEMORY
from energy.shift.fair import LEAST_S, Whose
from twin.frame import Floats, Ints
from twin.job import Jobs


@dataclass(frozen=True, slots=True)
class Ended:
    """A job of a queue that ended: whose it was, when it was submitted (s since 1970), and its GPU-seconds."""

    user: str
    project: str
    submit_s: float
    gpu_s: float


def owner_of(user: str, project: str, tenants: Mapping[str, str]) -> str:
    """Whose a job is: its project's tenant by the operator's table, else its project's, else its user's."""
    return tenant_of(project, tenants) or user


def gpu_s(jobs: Jobs) -> Floats:
    """float64[n]: what each job takes, to its limit; 0 where that is not known."""
    return np.nan_to_num(jobs.gpus * jobs.lasts_s)


def waits_of(
    queues: Sequence[QueueNow],
    ended: Mapping[tuple[str, str], Ended],
    asked: Mapping[str, Mapping[str, Asked]],
    tenants: Mapping[str, str],
    now_s: float,
    least_s: float = LEAST_S,
) -> Mapping[str, Waits]:
    """What each queue's jobs wait, and tenants in all. ``ended`` by queue and job, ``asked`` by queue;
    ``least_s``: waiting that is open to all."""
    names: dict[str, int] = {}
    since_s = now_s - MEMORY.total_seconds()
    sums: list[tuple[int, float, float]] = []
    rows = {queue.name: _rows(queue.jobs, asked.get(queue.name, {}), names, tenants, now_s) for queue in queues}
    listed = {(queue.name, job) for queue in queues for job in queue.jobs.ids}
    for key, job in ended.items():
        if key not in listed and job.submit_s >= since_s:
            told = asked.get(key[0], {}).get(key[1])
            owner = names.setdefault(owner_of(job.user, job.project, tenants), len(names))
            sums.append((owner, job.gpu_s, told.wait_s if told else 0.0))
    held, waited = np.zeros(len(names)), np.zeros(len(names))
    for owner, work, wait_s in sums:
        held[owner] += work
        waited[owner] += work * wait_s
    for queue in queues:
        of, size = rows[queue.name], np.where(rows[queue.name].counted, gpu_s(queue.jobs), 0.0)
        held += np.bincount(of.owner, size, len(names))
        waited += np.bincount(of.owner, size * of.asked_s, len(names))
    mean_s = waited / np.maximum(held, 1e-9)
    return {
        name: replace(of, held_gpu_s=held, wait_s=mean_s, tenants=tuple(names), least_s=least_s) for name, of in rows.items()
    }


def _rows(jobs: Jobs, asked: Mapping[str, Asked], names: dict[str, int], tenants: Mapping[str, str], now_s: float) -> Waits:
    """The columns of one queue's jobs; ``names`` gets the tenants that are new."""
    n, none = len(jobs), np.empty(0)
    owner, would_s = np.zeros(n, dtype=np.int32), np.full(n, np.nan)
    before_s, asked_s = np.zeros(n), np.zeros(n)
    projects = jobs.projects or [""] * n
    for i, job in enumerate(jobs.ids):
        owner[i] = names.setdefault(owner_of(jobs.users[i], projects[i], tenants), len(names))
        if (told := asked.get(job)) is not None:
            asked_s[i] = before_s[i] = told.wait_s
            if told.begin_s > now_s:
                before_s[i], would_s[i] = told.before_s, told.would_s
    recent = ~(jobs.submit_s < now_s - MEMORY.total_seconds())
    counted = recent & ((jobs.deferrable == 1) | (asked_s > 0)) & (jobs.gpus > 0)
    return Waits(owner, counted, before_s, would_s, asked_s, none, none, ())


def would_start_s(queue: QueueNow, rows: Ints, usual_s: Floats) -> Floats:
    """float64[m]: when the jobs at ``rows`` would have started without us: as was known at the first of the orders that hold
    them now, else ``usual_s``."""
    known_s = np.full(len(rows), np.nan) if queue.waits is None else queue.waits.would_s[rows]
    return np.where(np.isfinite(known_s), known_s, usual_s)


class Tally:
    """The tenants' sums while one plan is made, queue after queue."""

    def __init__(self, queues: Sequence[QueueNow]) -> None:
        first = next((queue.waits for queue in queues if queue.waits is not None), None)
        self._held, self._waited = (
            (np.empty(0), np.empty(0)) if first is None else (first.held_gpu_s, first.wait_s * first.held_gpu_s)
        )

    def whose(self, queue: QueueNow, free: Movable, usual: Ints, stands: Ints, step_s: float, begin_s: float) -> Whose | None:
        """Whose the work is that may move, where each would start with nothing more asked of it (``usual``, int32[n], or where
        a begin time of ours ``stands``, -1: none), in slots of ``step_s`` from ``begin_s`` on. None: nobody says."""
        of, rows = queue.waits, free.rows
        if of is None:
            return None
        size = gpu_s(queue.jobs)[rows] / step_s
        would = np.where(np.isfinite(of.would_s[rows]), (of.would_s[rows] - begin_s) / step_s, usual)
        zero = would - of.before_s[rows] / step_s
        k, counted = len(self._held), of.counted[rows]
        known = np.where(counted, size, 0.0)
        others = self._held / step_s - np.bincount(of.owner[rows], known, k)
        waited = self._waited / step_s**2 - np.bincount(of.owner[rows], known * of.asked_s[rows] / step_s, k)
        base = np.maximum(usual, stands).astype(np.int32)
        owner, least = of.owner[rows], max(of.least_s / step_s, 1.0)
        return Whose(owner, size, zero, base, np.maximum(others, 0.0), np.maximum(waited, 0.0), least)

    def take(self, whose: Whose | None, at: Ints, step_s: float) -> None:
        """The work of ``whose`` starts ``at``."""
        if whose is not None:
            self._held = whose.held * step_s
            self._waited = whose.waits(at) * whose.held * step_s**2
