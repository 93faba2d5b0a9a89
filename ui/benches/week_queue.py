"""The scheduler of the simulated week: it lives outside the centre, keeps what it was ordered when the centre dies, and counts
by itself what it should not have been ordered. It stands in for Slurm, whose clock cannot be set.

As Slurm does: a begin time releases itself, what is not pending cannot be given one, an order that is so already is not written
again, a job whose owner has not agreed is refused by the adapter, an order that expects something else than what is there too.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from twin.errors import SourceError
from twin.frame import Floats
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.order import Orders, Receipt, Receipts, Result, Terms, Verb, receipts

RUNS_S, LIMIT_S, GPUS_EACH = 3600.0, 7200.0, 4
GRACE_S, DUE_S = 600.0, 10 * 3600.0  # what marked jobs give to be looked at, and by when they must have ended
LONGEST_WAIT_S = 86_400.0 + 60.0
KEPT_S = 3600.0  # how long an ended job is shown


def spares(point: str) -> None:
    """A world that kills nobody."""


@dataclass(slots=True)
class Job:
    """As the scheduler has it; ``marked``: its owner lets it wait until ``due_s``. Times in s since 1970, NaN: none."""

    id: str
    marked: bool
    submit_s: float
    due_s: float
    begin_s: float = math.nan
    note: str = ""
    start_s: float = math.nan
    end_s: float = math.nan


@dataclass(slots=True)
class Written:
    """An order that changed something."""

    at_s: float
    job: str
    begin_s: float


@dataclass
class StandIn:
    """``twin.ports.Queue``, ``Capacity`` and ``Steerable`` over one partition of ``nodes`` nodes with 8 GPUs each. ``away``: it
    answers nothing; ``die``: called beside each order, before and after it is written, by a world that kills."""

    name: str
    node_rows: tuple[int, ...]
    away: bool = False
    waiting: dict[str, Job] = field(default_factory=dict)  # and running, and lately ended
    written: list[Written] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    submitted: int = 0
    moved: set[str] = field(default_factory=set)
    late: int = 0

    clock_s: float = 0.0  # its own, which nobody sets wrong
    die: Callable[[str], None] = spares
    releases_itself: bool = True

    def submit(self, now_s: float, marked: bool) -> None:
        """An owner brings a job."""
        self.submitted += 1
        job = Job(str(self.submitted), marked, now_s, now_s + DUE_S if marked else math.nan)
        job.begin_s = now_s + GRACE_S if marked else math.nan
        self.waiting[job.id] = job

    def advance(self, now_s: float) -> None:
        """Start what can start, in the order of submission, and end what is done."""
        free = 8 * len(self.node_rows)
        for job in list(self.waiting.values()):
            if job.end_s <= now_s - KEPT_S:
                del self.waiting[job.id]
            elif job.start_s <= now_s < job.end_s:
                free -= GPUS_EACH
        for job in self.waiting.values():
            if math.isnan(job.start_s) and free >= GPUS_EACH and not job.begin_s > now_s:
                job.start_s, job.end_s = now_s, now_s + RUNS_S
                self.late += job.end_s > job.due_s
                free -= GPUS_EACH

    async def jobs(self, now: datetime) -> Jobs:
        """See ``twin.ports.Queue``."""
        self._asked()
        rows = list(self.waiting.values())
        n = len(rows)
        begun = self._column("start_s")
        state = np.where(np.isnan(begun), JobState.PENDING, JobState.RUNNING).astype(np.uint8)
        state[self._column("end_s") <= self.clock_s] = JobState.COMPLETED
        marked = np.array([job.marked for job in rows], dtype=np.uint8)
        noted = np.array([bool(job.note) for job in rows], dtype=np.uint8)
        none, words = np.zeros(n, dtype=np.uint8), ["main"] * n
        terms = Terms(self._column("begin_s"), none, none, noted, np.full(n, RUNS_S))
        limit, ids = np.full(n, LIMIT_S), [job.id for job in rows]
        held = np.empty(0, dtype=np.int32)
        return Jobs(
            ids, ids, ["owner"] * n, words, state, np.full(n, GPUS_EACH, dtype=np.int32), self._column("submit_s"), begun,
            self._column("end_s"), limit, self._column("due_s"), marked, held, held, terms,
        )  # fmt: skip

    async def cluster(self, now: datetime) -> Cluster:
        """See ``twin.ports.Capacity``."""
        self._asked()
        n = len(self.node_rows)
        used = sum(not math.isnan(job.start_s) and job.end_s > self.clock_s for job in self.waiting.values()) * GPUS_EACH
        busy = np.clip(used - 8 * np.arange(n), 0, 8).astype(np.int32)
        state = np.where(busy == 0, NodeState.IDLE, NodeState.MIXED).astype(np.uint8)
        pairs = np.stack([np.zeros(n, dtype=np.int32), np.arange(n, dtype=np.int32)], axis=1)
        nothing = np.empty(0)
        return Cluster(
            [f"n{i}" for i in range(n)], np.array(self.node_rows, dtype=np.int32), state, np.full(n, 8, dtype=np.int32), busy,
            ["main"], np.ones(1, dtype=np.uint8), pairs, (), nothing, nothing, np.empty((0, 2), dtype=np.int32),
        )  # fmt: skip

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """See ``twin.ports.Steerable``."""
        self._asked()
        return receipts([self._one(orders, i) for i in range(len(orders))])

    def _asked(self) -> None:
        if self.away:
            raise SourceError(f"{self.name} does not answer")

    def _column(self, name: str) -> Floats:
        return np.array([getattr(job, name) for job in self.waiting.values()], dtype=np.float64)

    def _one(self, orders: Orders, i: int) -> Receipt:
        job = self.waiting.get(orders.targets[i])
        if job is None or not math.isnan(job.start_s):
            return Receipt(Result.GONE, why="it does not wait any more")
        if orders.verb is not Verb.BEGIN:
            return Receipt(Result.FAILED, why=f"{orders.verb} is not known here")
        value, was = float(orders.values[i]), job.begin_s
        if not job.marked and not orders.undo:
            return Receipt(Result.REFUSED, was, why="its owner has not agreed")
        wanted = math.nan if orders.expected is None else float(orders.expected[i])
        if not math.isnan(wanted) and abs((0.0 if math.isnan(was) else was) - wanted) > 2:
            return Receipt(Result.REFUSED, was, why="somebody has changed it")
        free = value == 0 and math.isnan(was)  # one that was let go is not let go again
        if (value == was or free) and orders.texts[i] == job.note:
            return Receipt(Result.SAME, was, value)
        self.die("order before")
        self._write(job, value, orders.texts[i])
        self.die("order after")
        return Receipt(Result.DONE, was, value)

    def _write(self, job: Job, begin_s: float, note: str) -> None:
        """What the world counts against us: a job of nobody's consent, a time beyond its bounds, the same order twice."""
        later = begin_s > self.clock_s
        self.wrong["touched_without_consent"] += not job.marked
        self.wrong["out_of_bounds"] += later and (begin_s + RUNS_S > job.due_s or begin_s > job.submit_s + LONGEST_WAIT_S)
        last = next((one for one in reversed(self.written) if one.job == job.id), None)
        self.wrong["doubled"] += last is not None and last.begin_s == begin_s
        self.written.append(Written(self.clock_s, job.id, begin_s))
        self.moved |= {job.id} if later else set()
        job.begin_s, job.note = (begin_s if later else math.nan), note
