"""Which job runs when and where: a queue before a machine of equal slots, driven by events.

A slot is a node, or a single GPU where a trace has jobs of less than a node. Policies:

- ``fcfs``: first come, first served; who does not fit makes all wait.
- ``easy``: as fcfs, but a job behind may start if it does not delay the first one (Lifka, "The ANL/IBM SP scheduling
  system", 1995; with the run times that jobs ask for as the estimate).
- ``priority``: by priority, then by submission, with the backfilling of ``easy`` (what Slurm's multifactor plug-in does).
- ``conservative``: each of the first ``RESERVED`` holds a reservation that is never put off (Feitelson & Weil, 1998).
- ``recorded``: as the trace says; what does not fit then is left out and counted.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints
from twin.sim.reserve import Places
from twin.sim.trace import Trace
from twin.site import Bools

WINDOW = 500  # waiting jobs that backfilling looks at, as Slurm's bf_max_job_test
RESERVED = 50  # waiting jobs that hold a reservation under ``conservative``
NO_ROOM = "it did not fit when it was recorded to start"
TOO_LARGE = "it asks for more than the site has"


class Policy(StrEnum):
    """Who may start next."""

    FCFS = "fcfs"
    EASY = "easy"
    PRIORITY = "priority"
    CONSERVATIVE = "conservative"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Per job: ``start_s`` (NaN: not within the horizon), ``end_s``. ``job``/``slot``: int32[m], who holds which slot.
    ``left_out``: reason -> (how many jobs, the first one's id)."""

    start_s: Floats
    end_s: Floats
    job: Ints
    slot: Ints
    left_out: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Slots that are kept from a queue for a while, as reservations do: ``slots`` (int32[k]) from each of ``begin_s``
    (float64[k], s, increasing) to the next, the last of them for good. Who came before the first keeps what he has."""

    begin_s: Floats
    slots: Ints


class _Beside:
    """What is left in each span of ``Kept`` beside those who run, to their limits."""

    def __init__(self, kept: Kept, slots: int) -> None:
        self.kept, self.slots = kept, slots
        self.begin_s: list[float] = kept.begin_s.tolist()
        self.left = slots - kept.slots.astype(np.int64)

    def _spans(self, begin_s: float, end_s: float) -> slice:
        return slice(max(bisect_right(self.begin_s, begin_s) - 1, 0), bisect_left(self.begin_s, end_s))

    def hold(self, wanted: int, begin_s: float, end_s: float) -> None:
        """Take (or, below 0, give back) slots for a while."""
        self.left[self._spans(begin_s, end_s)] -= wanted

    def fits(self, wanted: int, came_s: float, begin_s: float, end_s: float) -> bool:
        """Whether nothing that is kept stands against so many slots until ``end_s``."""
        spans = self.left[self._spans(begin_s, end_s)]
        return came_s < self.begin_s[0] or not len(spans) or bool(spans.min() >= wanted)

    def shadow(self, wanted: int, lasts_s: float, now: float, ends_s: Floats, held: Ints) -> tuple[float, int]:
        """When so many slots are free for ``lasts_s``, by when those who run end, and how many are then left over."""
        freed = np.concatenate(([0], np.cumsum(held)))
        times = np.union1d(np.maximum(ends_s, now), self.kept.begin_s[self.kept.begin_s > now])
        span = np.maximum(np.searchsorted(self.kept.begin_s, times, side="right") - 1, 0)
        runs = freed[-1] - freed[np.searchsorted(ends_s, times, side="right")]
        left = self.slots - self.kept.slots[span] - runs
        short = np.where(left < wanted, times, np.inf)
        next_short = np.minimum.accumulate(short[::-1])[::-1] if len(times) else short
        found = np.flatnonzero(next_short >= times + lasts_s)
        if not len(found):
            return np.inf, 0
        at = float(times[found[0]])
        return at, int(left[(times >= at) & (times < at + lasts_s)].min()) - wanted


class _Machine:
    """Free slots, who holds which, and what power is left under a cap. First fit: the lowest free slots."""

    def __init__(self, slots: int, spare_w: float) -> None:
        self.free = np.ones(slots, dtype=np.bool_)
        self.count, self.spare_w = slots, spare_w
        self.held: dict[int, Ints] = {}
        self.job: list[Ints] = []
        self.slot: list[Ints] = []

    def take(self, job: int, wanted: int, power_w: float) -> None:
        slots = np.flatnonzero(self.free)[:wanted].astype(np.int32)
        self.free[slots] = False
        self.count -= wanted
        self.spare_w -= power_w
        self.held[job] = slots
        self.job.append(np.full(wanted, job, dtype=np.int32))
        self.slot.append(slots)

    def give(self, job: int, power_w: float) -> None:
        slots = self.held.pop(job)
        self.free[slots] = True
        self.count += len(slots)
        self.spare_w += power_w


class _Run:
    """One run of a policy over a trace."""

    def __init__(self, trace: Trace, policy: Policy, wanted: Ints, slots: int, power_w: Floats, spare_w: float) -> None:
        n = len(trace)
        self.policy, self.trace, self.wanted, self.power_w = policy, trace, wanted, power_w
        self.slots = slots
        self.machine = _Machine(slots, spare_w)
        self.start, self.end = np.full(n, np.nan), np.full(n, np.nan)
        self.limit = np.where(np.isnan(trace.limit_s), trace.run_s, np.maximum(trace.limit_s, 1.0))
        self.hold = np.maximum(self.limit, trace.run_s)  # reserved; a job that overran its limit had its slots all the same
        self.places = Places(slots)  # for ``conservative``
        self.ends: list[tuple[float, int]] = []  # heap of real ends
        self.expected: list[tuple[float, int]] = []  # sorted: when running jobs end at the latest
        self.queue: list[int] = []  # sorted by rank
        self.begun: list[int] = []  # in the order in which they start
        first = (-trace.priority if policy is Policy.PRIORITY else np.zeros(n)).tolist()
        self.rank = [(p, s, i) for i, (p, s) in enumerate(zip(first, trace.submit_s.tolist(), strict=True))]
        self.left_out: dict[str, tuple[int, str]] = {}
        self.beside: _Beside | None = None
        self.asks = self.limit  # for how long each must find room beside what is kept

    def keep(self, kept: Kept, asks_s: Floats | None) -> None:
        self.beside = _Beside(kept, self.slots)
        self.asks = self.limit if asks_s is None else np.fmax(asks_s, self.limit)

    def refuse(self, job: int, reason: str) -> None:
        count, first = self.left_out.get(reason, (0, self.trace.ids[job]))
        self.left_out[reason] = (count + 1, first)

    def fits(self, job: int, now: float) -> bool:
        wanted = int(self.wanted[job])
        if wanted > self.machine.count or self.power_w[job] > self.machine.spare_w:
            return False
        came_s, end_s = float(self.trace.submit_s[job]), now + float(self.asks[job])
        return self.beside is None or self.beside.fits(wanted, came_s, now, end_s)

    def begin(self, job: int, now: float) -> None:
        self.machine.take(job, int(self.wanted[job]), float(self.power_w[job]))
        self.begun.append(job)
        self.start[job], self.end[job] = now, now + self.trace.run_s[job]
        heapq.heappush(self.ends, (float(self.end[job]), job))
        insort(self.expected, (now + float(self.limit[job]), job))
        if self.beside is not None:
            self.beside.hold(int(self.wanted[job]), now, now + float(self.limit[job]))

    def finish(self, job: int) -> None:
        self.machine.give(job, float(self.power_w[job]))
        entry = (float(self.start[job]) + float(self.limit[job]), job)
        if self.beside is not None:
            self.beside.hold(-int(self.wanted[job]), float(self.start[job]), entry[0])
        del self.expected[bisect_left(self.expected, entry)]
        if self.policy is Policy.CONSERVATIVE:
            self.places.advance(float(self.end[job]))
            self.places.drop(job, int(self.wanted[job]))

    def enqueue(self, job: int) -> None:
        if self.policy is Policy.PRIORITY:
            insort(self.queue, job, key=lambda j: self.rank[j])
        else:
            self.queue.append(job)

    def leave(self, job: int) -> bool:
        """Take ``job`` out of the queue; False where it is not in it. By bisection: queues may be as long as the trace."""
        at = bisect_left(self.queue, self.rank[job], key=lambda j: self.rank[j])
        if at == len(self.queue) or self.queue[at] != job:
            return False
        del self.queue[at]
        return True

    def serve(self, now: float) -> None:
        """Start whoever may start at ``now``."""
        if self.policy is Policy.CONSERVATIVE:
            self._reserve(now)
            return
        head = 0
        while head < len(self.queue) and self.fits(self.queue[head], now):
            self.begin(self.queue[head], now)
            head += 1
        del self.queue[:head]
        if self.queue and self.policy is not Policy.FCFS and self.machine.count:
            self._backfill(now)

    def _shadow(self, job: int, now: float) -> tuple[float, int]:
        """When ``job`` can start at the latest, and how many slots it then leaves over."""
        slots, spare_w = self.machine.count, self.machine.spare_w
        if self.beside is not None:
            ends_s = np.array([end for end, _ in self.expected])
            held = self.wanted[[other for _, other in self.expected]]
            return self.beside.shadow(int(self.wanted[job]), float(self.asks[job]), now, ends_s, held)
        for end, other in self.expected:
            slots += int(self.wanted[other])
            spare_w += float(self.power_w[other])
            if slots >= self.wanted[job] and spare_w >= self.power_w[job]:
                return max(end, now), slots - int(self.wanted[job])
        return np.inf, 0

    def _backfill(self, now: float) -> None:
        behind = np.array(self.queue[1 : WINDOW + 1], dtype=np.int64)
        if not len(behind) or self.wanted[behind].min() > self.machine.count:
            return
        shadow, extra = self._shadow(self.queue[0], now)
        started: set[int] = set()
        short = now + self.limit[behind] <= shadow
        for job, brief, wanted in zip(behind.tolist(), short.tolist(), self.wanted[behind].tolist(), strict=True):
            if wanted > self.machine.count or not (brief or wanted <= extra) or not self.fits(job, now):
                continue
            self.begin(job, now)
            started.add(job)
            extra -= 0 if brief else wanted
            if not self.machine.count:
                break
        if started:  # all from within the window: what waits beyond is not looked at
            self.queue[1 : WINDOW + 1] = [job for job in behind.tolist() if job not in started]

    def _reserve(self, now: float) -> None:
        """Start, in order, whoever finds room from now on beside the reservations of the others; the first ``RESERVED`` that
        wait hold one, which is never put off while there is power. Who starts before its time leaves its place to others."""
        places, begun = self.places, -1
        places.advance(now)
        while begun and self.queue:
            window = self.queue[:RESERVED]
            for job in window:
                if job not in places.start:
                    places.reserve(job, int(self.wanted[job]), float(self.hold[job]))
            started = self._sooner(np.array(window), now)
            self.queue[:RESERVED] = [job for job in window if job not in started]
            begun = len(started)

    def _sooner(self, window: NDArray[np.int64], now: float) -> set[int]:
        places, started, at = self.places, set(), 0
        starts = np.array([places.start[job] for job in window.tolist()])
        while at < len(window) and self.machine.count:
            found = places.sooner(starts[at:], self.wanted[window[at:]].astype(np.int64), self.hold[window[at:]]) + at
            fitting = next((i for i in found.tolist() if self.fits(int(window[i]), now)), None)
            if fitting is None:
                break
            job, at = int(window[fitting]), fitting + 1
            places.drop(job, int(self.wanted[job]))
            places.take(job, int(self.wanted[job]), now, float(self.hold[job]))
            self.begin(job, now)
            started.add(job)
        return started


def schedule(
    trace: Trace,
    policy: Policy,
    wanted: Ints,
    slots: int,
    end_s: float,
    power_w: Floats | None = None,
    spare_w: float = np.inf,
    kept: Kept | None = None,
    asks_s: Floats | None = None,
) -> Schedule:
    """Run ``policy`` over ``trace`` until ``end_s``.

    ``wanted``: int32[n] slots of each job, of ``slots`` in all; ``power_w``: what each job adds, held under ``spare_w`` [W]: a
    job that would pass it waits as one without room. A job larger than the machine (or than the power) is left out and counted.
    ``kept``: what is kept from them (under ``easy``, and without a limit of power), beside which each must find room for its
    ``asks_s`` (float64[n], s; no less than its limit), though it runs for less. ``ValueError`` for another policy.
    """
    added = np.zeros(len(trace)) if power_w is None else np.maximum(power_w, 0.0)
    run = _Run(trace, policy, wanted, slots, added, spare_w)
    if kept is not None:
        if policy is not Policy.EASY or np.isfinite(spare_w):
            raise ValueError(f"slots are kept under {Policy.EASY} without a limit of power, and not under {policy}")
        run.keep(kept, asks_s)
    turns = [] if kept is None else kept.begin_s.tolist()
    recorded = policy is Policy.RECORDED
    when = np.where(np.isnan(trace.start_s), trace.submit_s, trace.start_s) if recorded else trace.submit_s
    arrivals = np.argsort(when, kind="stable")
    arrivals = arrivals[when[arrivals] < end_s].tolist()
    at = 0
    while at < len(arrivals) or run.ends or (turns and run.queue):
        arrive = float(when[arrivals[at]]) if at < len(arrivals) else np.inf
        now = min(arrive, run.ends[0][0] if run.ends else np.inf, turns[0] if turns else np.inf)
        turns = turns[bisect_right(turns, now) :]
        if now >= end_s:
            break
        while run.ends and run.ends[0][0] <= now:
            run.finish(heapq.heappop(run.ends)[1])
        while at < len(arrivals) and when[arrivals[at]] <= now:
            _arrive(run, arrivals[at], now, recorded)
            at += 1
        run.serve(now)
    none = np.empty(0, dtype=np.int32)
    held = run.machine
    return Schedule(run.start, run.end, np.concatenate([none, *held.job]), np.concatenate([none, *held.slot]), run.left_out)


def first_room(trace: Trace, policy: Policy, wanted: Ints, slots: Ints, may: Bools, home: Ints) -> tuple[Floats, Ints]:
    """When and where each job starts that waits in several clusters at once, as those of a federation let it: wherever there is
    room first, and at home where there is room as it comes.

    ``slots``: int32[p] of each cluster; ``may``: bool[n, p], where each may start; ``home``: int32[n], where it was submitted.
    Gives float64[n], start (NaN: it is larger than any of its clusters), and int32[n], its cluster (-1)."""
    runs = [_Run(trace, policy, wanted, most, np.zeros(len(trace)), np.inf) for most in slots.tolist()]
    arrivals, at = np.argsort(trace.submit_s, kind="stable").tolist(), 0
    while at < len(arrivals) or any(run.ends for run in runs):
        ends = [run.ends[0][0] if run.ends else np.inf for run in runs]
        p = int(np.argmin(ends))
        if at < len(arrivals) and trace.submit_s[arrivals[at]] < ends[p]:
            _come(runs, arrivals[at], may, home, float(trace.submit_s[arrivals[at]]))
            at += 1
            continue
        now = ends[p]
        while runs[p].ends and runs[p].ends[0][0] <= now:
            runs[p].finish(heapq.heappop(runs[p].ends)[1])
        _serve(runs, [p], now)
    starts = np.array([run.start for run in runs])
    found = np.isfinite(starts).any(axis=0)
    where = np.where(found, np.argmax(np.isfinite(starts), axis=0), -1).astype(np.int32)
    return np.where(found, starts[where, np.arange(len(trace))], np.nan), where


def _come(runs: list[_Run], job: int, may: Bools, home: Ints, now: float) -> None:
    """A job is submitted: to its home, and where that does not start it at once to the others as well."""
    fits = [p for p in np.flatnonzero(may[job]).tolist() if runs[p].wanted[job] <= runs[p].slots]
    fits.sort(key=lambda p: p != home[job])
    for n, p in enumerate(fits):
        if n and np.isfinite(runs[fits[0]].start[job]):
            return
        runs[p].enqueue(job)
        if n == 0:
            _serve(runs, [p], now)
    _serve(runs, fits[1:], now)


def _serve(runs: list[_Run], todo: list[int], now: float) -> None:
    """Start whoever may start in the clusters ``todo``; what starts in one waits in no other any more."""
    todo = list(todo)
    while todo:
        p = todo.pop(0)
        before = len(runs[p].begun)
        runs[p].serve(now)
        for job in runs[p].begun[before:]:
            todo += [q for q, other in enumerate(runs) if q != p and other.leave(job)]


def _arrive(run: _Run, job: int, now: float, recorded: bool) -> None:
    if run.wanted[job] > run.slots or run.power_w[job] > run.machine.spare_w + _running_w(run):
        run.refuse(job, TOO_LARGE)
    elif not recorded:
        run.enqueue(job)
    elif run.fits(job, now):
        run.begin(job, now)
    else:
        run.refuse(job, NO_ROOM)


def _running_w(run: _Run) -> float:
    return float(sum(run.power_w[job] for job in run.machine.held)) if np.isfinite(run.machine.spare_w) else np.inf
