"""What an asset's residual usually is, learnt as it streams by: a mean, a spread, and how far the smoothed residual is off now.

What is wrong while it is learnt must not stay usual for ever. So values of an asset's first hours are remembered, evenly spread
over them, and its mean and spread are those of what the most of them agree on (median and MAD say which to begin with:
Rousseeuw & Croux, JASA 88 (1993) 1273): a bad start is outvoted as normal values come, and the spread narrows with it. What is
judged to be far off counts a third, so that a fault in these hours has to last three times as long as all before it to be
taken for usual. After them nothing but a slow drift moves what is usual.
"""

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints
from twin.site import Bools

WARM = 60  # values of an asset before it is judged
YOUNG = 2048  # values in which what is usual may turn out to be something else: 6 h of one in 10 s
SLOTS = 64  # of them that are remembered; when all are taken every second one goes
LEARN_EVERY = 8  # remembered values
DOUBT = 3  # what is far off counts one in so many
CUT, CUTS = 3.0, 3  # spreads up to which a remembered value belongs to the most, and how often that is asked anew
SMOOTH = 0.25  # weight of the newest value
ADAPT = 1 / 500  # how fast the mean follows while all is well
CALM_Z = 3.0
_SD_OF_MAD = 1.4826  # of a normal distribution: 1 over its upper quartile


class Baseline:
    """Of n assets, in 6 n numbers and ``SLOTS`` n small ones. ``floor``: what is never taken for more than noise, in the
    residual's unit."""

    def __init__(self, n: int, floor: float) -> None:
        self._floor = floor
        self._seen: Ints = np.zeros(n, dtype=np.int32)
        self._mean, self._spread, self._fast = np.zeros(n), np.zeros(n), np.zeros(n)
        self._kept: NDArray[np.float32] = np.zeros((n, SLOTS), dtype=np.float32)
        self._count: Ints = np.zeros(n, dtype=np.int32)  # of the slots that are taken
        self._apart: Ints = np.ones(n, dtype=np.int32)  # values from one that is remembered to the next
        self._due: Ints = np.zeros(n, dtype=np.int32)  # ``DOUBT`` for each value since the last that is remembered

    def update(self, residual: Floats) -> Floats:
        """float64[n]: how many spreads the smoothed residual is from its mean; NaN where it is not known or still being learnt.
        A value that is far off moves no mean, unless most of an asset's first hours were so."""
        known = np.isfinite(residual)
        x = np.where(known, residual, 0.0)
        first = known & (self._seen == 0)
        self._fast = np.where(first, x, np.where(known, self._fast + SMOOTH * (x - self._fast), self._fast))
        judged = known & (self._seen >= WARM)
        z = (self._fast - self._mean) / np.maximum(np.hypot(self._spread, self._floor), 1e-12)
        calm = np.abs(z) < CALM_Z
        self._mean += np.where(judged & calm, ADAPT * (x - self._mean), 0.0)
        young = known & (self._seen < YOUNG)
        self._seen += known
        if young.any():
            self._remember(young, x, judged & ~calm)
        return np.where(judged, z, np.nan)

    def _remember(self, young: Bools, x: Floats, doubted: Bools) -> None:
        self._due += np.where(young, np.where(doubted, 1, DOUBT), 0).astype(np.int32)
        rows = np.flatnonzero(young & (self._due >= DOUBT * self._apart))
        self._due[rows] = 0
        self._kept[rows, self._count[rows]] = x[rows]
        self._count[rows] += 1
        count, seen = self._count[rows], self._seen[rows]
        ready = (seen == WARM) | ((seen > WARM) & (count % LEARN_EVERY == 0))
        for size in np.unique(count[ready]).tolist():
            self._learn(rows[ready & (count == size)], size)
        full = rows[count == SLOTS]
        self._kept[full, : SLOTS // 2] = self._kept[full, ::2]
        self._count[full] = SLOTS // 2
        self._apart[full] *= 2

    def _learn(self, rows: NDArray[np.intp], size: int) -> None:
        """Mean and spread of what most of the ``size`` remembered values of each of ``rows`` agree on."""
        kept = self._kept[rows, :size].astype(np.float64)
        middle = np.median(kept, axis=1, keepdims=True)
        half, most = np.quantile(np.abs(kept - middle), (0.5, 0.75), axis=1, keepdims=True)
        spread = np.where(half > 0, _SD_OF_MAD * half, most)  # of a coarse sensor most values are the same, and no noise at all
        for _ in range(CUTS):
            belongs = np.abs(kept - middle) <= CUT * np.maximum(spread, self._floor)
            count = np.maximum(belongs.sum(axis=1, keepdims=True), 2)
            middle = np.where(belongs, kept, 0.0).sum(axis=1, keepdims=True) / count
            spread = np.sqrt(np.where(belongs, (kept - middle) ** 2, 0.0).sum(axis=1, keepdims=True) / (count - 1))
        self._mean[rows], self._spread[rows] = middle[:, 0], spread[:, 0]


class Repeats:
    """Whether sensors repeat themselves more than they ever do: of n sensors, in 4 n numbers."""

    def __init__(self, n: int) -> None:
        self._last, self._same = np.full(n, np.nan), np.zeros(n)
        self._changes, self._seen = np.zeros(n), np.zeros(n)

    def update(self, value: Floats, fresh: Bools) -> Floats:
        """float64[n]: -log10 of the chance that an honest sensor repeats its value so often in a run, by how often it changed
        so far; 0 while that is not known. ``fresh``: which were read anew."""
        known = fresh & np.isfinite(value)
        changed = known & (value != self._last)
        self._same = np.where(changed, 0.0, self._same + known)
        self._seen += known
        self._changes += changed
        self._last = np.where(known, value, self._last)
        share = np.clip((self._changes + 1) / (self._seen - self._same + 2), 0.0, 0.95)
        ready = self._seen - self._same >= WARM
        return np.where(ready, -self._same * np.log10(1 - share), 0.0)


class Growth:
    """How much counters grew lately: growth that fades with ``memory_s``. A counter that restarts has not grown."""

    def __init__(self, n: int, memory_s: float) -> None:
        self._memory_s = memory_s
        self._first, self._last, self.grown = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)

    def update(self, count: Floats, after_s: float) -> Floats:
        """float64[n]: growth as it stands, ``after_s`` after the last update."""
        step = np.maximum(np.nan_to_num(count - self._last), 0.0)
        self._last = np.where(np.isfinite(count), count, self._last)
        self._first = np.where(np.isfinite(self._first), self._first, count)
        self.grown = self.grown * np.exp(-after_s / self._memory_s) + step
        return self.grown

    def fade(self, after_s: float) -> None:
        """So long nothing was heard of any of them."""
        self.grown = self.grown * np.exp(-after_s / self._memory_s)

    def precede(self, past: "Growth", after_s: float) -> None:
        """Take over what grew before this one's first update, which was ``after_s`` ago, and up to it."""
        self.grown = self.grown + past.update(self._first, 0.0) * np.exp(-after_s / self._memory_s)
        self._last = np.where(np.isfinite(self._last), self._last, past._last)

    def forget(self, rows: Bools) -> None:
        """``rows``: bool[n], where another asset stands now: what the former one's counters did is not its own."""
        self.grown = np.where(rows, 0.0, self.grown)
        self._first, self._last = (np.where(rows, np.nan, value) for value in (self._first, self._last))
