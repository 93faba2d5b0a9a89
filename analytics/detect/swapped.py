"""Two sensors with each other's wires: each misses what its own asset should show and fits what the other's should.

A swap is not seen against the past where it was there from the first day, so what physics asks of each asset is held against
the readings themselves. A pair is believed when, while the loads of the two move apart, each misses its own by far more than
it misses the other's.
"""

import numpy as np

from twin.frame import Floats, Ints

FADE = 1 / 20  # weight of the newest look
LEAST_LOOKS = 20
MOST_SUSPECTS = 40  # assets that miss their own most are paired up; a swap moves two
_LEAST = 1e-4


class Swaps:
    """Of n sensors, in 2 n numbers and a few more for each pair of suspects. ``floor``: how far off its own a reading must be,
    in the unit of the readings or in logs."""

    def __init__(self, n: int, floor: float) -> None:
        self._floor = floor
        self._off: Floats = np.zeros(n)
        self._pairs: dict[tuple[int, int], tuple[float, float, int]] = {}  # mean squares: to its own, to the other's; looks

    def update(self, reading: Floats, asked: Floats) -> tuple[Floats, Ints]:
        """(float64[n], int64[n]): how many times better a sensor fits another asset, and which (-1 and 0 where there is none).
        ``reading``: float64[n]; ``asked``: what physics or the parts ask for; NaN where not known."""
        miss = reading - asked
        self._off += np.where(np.isfinite(miss), FADE * (np.abs(miss) - self._off), 0.0)
        suspects = np.flatnonzero(np.isfinite(miss) & (self._off > self._floor / 2))
        suspects = np.sort(suspects[np.argsort(-self._off[suspects], kind="stable")[:MOST_SUSPECTS]])
        pairs: dict[tuple[int, int], tuple[float, float, int]] = {}
        for at, i in enumerate(suspects.tolist()):
            for j in suspects[at + 1 :].tolist():
                own, other, looks = self._pairs.get((i, j), (0.0, 0.0, 0))
                weight = max(FADE, 1 / (looks + 1))
                own += weight * ((miss[i] ** 2 + miss[j] ** 2) / 2 - own)
                across = ((reading[i] - asked[j]) ** 2 + (reading[j] - asked[i]) ** 2) / 2
                pairs[i, j] = (own, other + weight * (across - other), min(looks + 1, LEAST_LOOKS))
        self._pairs = pairs
        return self._best()

    def _best(self) -> tuple[Floats, Ints]:
        times, partner = np.zeros(len(self._off)), np.full(len(self._off), -1)
        for (i, j), (own, other, looks) in self._pairs.items():
            if looks < LEAST_LOOKS or own < self._floor**2:
                continue
            ratio = float(np.sqrt(own / max(other, (_LEAST * self._floor) ** 2)))
            for a, b in ((i, j), (j, i)):
                if ratio > times[a]:
                    times[a], partner[a] = ratio, b
        return times, partner
