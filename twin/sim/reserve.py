"""Places in time for jobs that wait: free slots from now on, and who has reserved which of them (conservative backfilling)."""

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats


class Places:
    """``slots`` that are free for ever, until jobs take some. ``free[i]`` holds from ``times[i]`` to the next; times s;
    ``start``: job -> when its reservation begins."""

    def __init__(self, slots: int) -> None:
        self.times: Floats = np.array([-np.inf])
        self.free: NDArray[np.int64] = np.array([slots], dtype=np.int64)
        self.start: dict[int, float] = {}
        self._end: dict[int, float] = {}

    def advance(self, now: float) -> None:
        """Forget what lies before ``now``, and times at which nothing changes."""
        first = int(self.times.searchsorted(now, side="right")) - 1
        keep = np.ones(len(self.free) - first, dtype=np.bool_)
        np.not_equal(self.free[first + 1 :], self.free[first:-1], out=keep[1:])
        self.times, self.free = self.times[first:][keep], self.free[first:][keep]
        self.times[0] = now

    def reserve(self, job: int, wanted: int, run_s: float) -> None:
        """Give ``job`` its earliest place."""
        enough = self.free >= wanted
        good, bad = enough.nonzero()[0], (~enough).nonzero()[0]
        ends = np.append(self.times[bad], np.inf)[bad.searchsorted(good)]
        self.take(job, wanted, float(self.times[good[(ends >= self.times[good] + run_s).argmax()]]), run_s)

    def take(self, job: int, wanted: int, start: float, run_s: float) -> None:
        """Hold ``wanted`` slots for ``job`` from ``start`` on, wherever that is."""
        self.start[job], self._end[job] = start, start + run_s
        self._add(start, start + run_s, -wanted)

    def drop(self, job: int, wanted: int) -> None:
        """Free what ``job`` still holds from now on."""
        now, start, end = float(self.times[0]), self.start.pop(job), self._end.pop(job)
        if end > now:
            self._add(max(start, now), end, wanted)

    def sooner(self, starts: Floats, wanted: NDArray[np.int64], run_s: Floats) -> NDArray[np.intp]:
        """Which of the jobs that hold places from ``starts`` on could have theirs from now on, were they asked alone."""
        least = np.minimum.accumulate(self.free)
        until = np.minimum(self.times[0] + run_s, starts)  # beyond its own start it has its room
        last = np.maximum(self.times.searchsorted(until, side="left") - 1, 0)
        found: NDArray[np.intp] = ((least[last] >= wanted) | (starts <= self.times[0])).nonzero()[0]
        return found

    def _add(self, start: float, end: float, slots: int) -> None:
        first, last = self._edge(start), self._edge(end)
        self.free[first:last] += slots

    def _edge(self, time_s: float) -> int:
        """Index of ``time_s`` among the times, made one where it is not."""
        i = int(self.times.searchsorted(time_s))
        if i == len(self.times) or self.times[i] != time_s:
            self.times = np.concatenate([self.times[:i], [time_s], self.times[i:]])
            self.free = np.concatenate([self.free[:i], self.free[i - 1 : i], self.free[i:]])
        return i
