"""The best course of settings over a horizon: dynamic programming over the lattice, ramps kept, exact on the grid."""

from collections.abc import Sequence

import numpy as np

from energy.tune.knobs import Knob, lattice, within_ramp
from energy.tune.moves import both_ways
from twin.frame import Floats, Ints


class Courses:
    """All settings of some knobs, and from each those that one decision reaches. ``moving_frac``: cost of a knob's full ramp,
    until ``charge`` tells better."""

    def __init__(self, knobs: Sequence[Knob], moving_frac: float) -> None:
        self.knobs, self._moving = tuple(knobs), np.full(2 * len(knobs), moving_frac)
        self.states = lattice(knobs)
        self._ramp = np.array([knob.ramp for knob in knobs])
        reach = np.stack([within_ramp(knobs, self.states, state) for state in self.states])  # in rows: all at once fill memory
        most = int(reach.sum(axis=1).max())
        # neighbours of each state, its own number in the places that are left over
        self._next: Ints = np.tile(np.arange(len(self.states), dtype=np.int32)[:, None], (1, most))
        for row, hits in enumerate(reach):
            self._next[row, : hits.sum()] = np.flatnonzero(hits)
        self._ways = both_ways((self.states[self._next] - self.states[:, None]) / self._ramp)
        self._moved = self._ways @ self._moving

    def charge(self, moving_frac: Floats) -> None:
        """From now on a full ramp of each knob up, and then down, costs ``moving_frac`` [2k]."""
        if not np.array_equal(moving_frac, self._moving):
            self._moving = moving_frac
            self._moved = self._ways @ moving_frac

    def _cost(self, start: Floats, end: Floats) -> Floats:
        return np.asarray(both_ways((end - start) / self._ramp) @ self._moving)

    def best(self, cost: Floats, begin: Floats, resting: Sequence[int] = ()) -> tuple[Floats, float]:
        """Settings of the next step [k] and the cost of the best course from ``begin`` [k] on.

        ``cost`` [h, m] of each state in each step of the horizon, inf where it must not be; ``resting`` knobs do not move in
        the first step. Where every course meets inf, the cost is inf and the settings are those of ``begin``.
        """
        onward = cost[-1]
        for step in cost[-2::-1]:
            onward = step + (self._moved + onward[self._next]).min(axis=1)
        first = within_ramp(self.knobs, self.states, begin, resting)
        total = np.where(first, onward + self._cost(begin, self.states), np.inf)
        best = int(total.argmin())
        return (self.states[best].copy(), float(total[best])) if np.isfinite(total[best]) else (begin, float("inf"))
