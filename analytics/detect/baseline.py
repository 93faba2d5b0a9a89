"""What an asset's residual usually is, learnt as it streams by: a mean, a spread, and how far the smoothed residual is off
now."""

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Bools

WARM = 60  # values of an asset before it is judged
SMOOTH = 0.25  # weight of the newest value
ADAPT = 1 / 500  # how fast the mean follows while all is well
CALM_Z = 3.0


class Baseline:
    """Of n assets, in 4 n numbers. ``floor``: what is never taken for more than noise, in the residual's unit."""

    def __init__(self, n: int, floor: float) -> None:
        self._floor = floor
        self._seen: Ints = np.zeros(n, dtype=np.int32)
        self._mean, self._square, self._fast = np.zeros(n), np.zeros(n), np.zeros(n)

    def update(self, residual: Floats) -> Floats:
        """float64[n]: how many spreads the smoothed residual is from its mean; NaN where it is not known or still being learnt.
        A value that is far off moves no mean."""
        known = np.isfinite(residual)
        x = np.where(known, residual, 0.0)
        first = known & (self._seen == 0)
        self._fast = np.where(first, x, np.where(known, self._fast + SMOOTH * (x - self._fast), self._fast))
        learning = known & (self._seen < WARM)
        self._seen += known
        self._learn(learning, x)
        spread = np.sqrt(np.maximum(self._square / np.maximum(np.minimum(self._seen, WARM) - 1, 1), 0.0))
        z = (self._fast - self._mean) / np.maximum(np.hypot(spread, self._floor), 1e-12)
        calm = known & ~learning & (np.abs(z) < CALM_Z)
        self._mean += np.where(calm, ADAPT * (x - self._mean), 0.0)
        return np.where(known & ~learning, z, np.nan)

    def _learn(self, learning: Bools, x: Floats) -> None:
        """Welford's running mean and sum of squares."""
        away = x - self._mean
        self._mean += np.where(learning, away / np.maximum(self._seen, 1), 0.0)
        self._square += np.where(learning, away * (x - self._mean), 0.0)


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
        self._last, self.grown = np.full(n, np.nan), np.zeros(n)

    def update(self, count: Floats, after_s: float) -> Floats:
        """float64[n]: growth as it stands, ``after_s`` after the last update."""
        step = np.maximum(np.nan_to_num(count - self._last), 0.0)
        self._last = np.where(np.isfinite(count), count, self._last)
        self.grown = self.grown * np.exp(-after_s / self._memory_s) + step
        return self.grown

    def forget(self, rows: Bools) -> None:
        """``rows``: bool[n], where another asset stands now: what the former one's counters did is not its own."""
        self.grown = np.where(rows, 0.0, self.grown)
        self._last = np.where(rows, np.nan, self._last)
