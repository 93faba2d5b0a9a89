"""The last two readings of each series that is part of something: what grew is the series' own, whatever it came with, and a
part that comes late finds the rest of its moment."""

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats

Slots = NDArray[np.intp]
_LAST, _BEFORE = slice(0, 2), slice(2, 4)  # rows: time and value of the last one, and of the one before


class Readings:
    """Times [s] and values by slot; a slot is a series."""

    def __init__(self) -> None:
        self._table = np.full((4, 1024), np.nan)
        self._count = 0

    def add(self) -> int:
        """A slot for one more series."""
        if self._count == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.full_like(self._table, np.nan)], axis=1)
        self._count += 1
        return self._count - 1

    def before(self, slots: Slots, time_s: float) -> tuple[Floats, Floats]:
        """float64[n] values and times of the last readings before ``time_s``, NaN where none is known."""
        last_s, last = self._table[_LAST, slots]
        newer = last_s < time_s  # not so of NaN
        if newer.all():  # as it mostly is
            return last, last_s
        before_s, before = self._table[_BEFORE, slots]
        older = before_s < time_s
        return (
            np.where(newer, last, np.where(older, before, np.nan)),
            np.where(newer, last_s, np.where(older, before_s, np.nan)),
        )

    def at(self, slots: Slots, time_s: float) -> Floats:
        """float64[n]: the readings of ``time_s`` itself, NaN where the last one is of another time."""
        last_s, last = self._table[_LAST, slots]
        return np.where(last_s == time_s, last, np.nan)

    def note(self, slots: Slots, time_s: float, values: Floats) -> None:
        """float64[n] ``values``, read at ``time_s``; each slot once. Of one time the later counts."""
        last = self._table[_LAST, slots]
        last_s = last[0]
        if (last_s < time_s).all():  # as it mostly is
            self._table[_BEFORE, slots] = last
            self._table[0, slots], self._table[1, slots] = time_s, values
            return
        before_s = self._table[2, slots]
        new = ~(last_s >= time_s)
        self._table[_BEFORE, slots[new]] = last[:, new]
        self._put(_LAST, slots, new | (last_s == time_s), time_s, values)
        self._put(_BEFORE, slots, (last_s > time_s) & ~(before_s > time_s), time_s, values)

    def _put(self, which: slice, slots: Slots, where: NDArray[np.bool_], time_s: float, values: Floats) -> None:
        some = slots[where]
        self._table[which, some] = np.stack([np.full(len(some), time_s), values[where]])
