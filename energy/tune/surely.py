"""How wide an interval must be to hold what it says: conformal prediction that adapts as it runs.

A day's score is how far the day's mean power was off what the parameters of the day before expected of the settings in force,
over the half-width that was said. Intervals are then as many times wider as the quantile of past scores asks, at a level that
moves with each hit and miss: Gibbs & Candès, "Adaptive conformal inference under distribution shift" (NeurIPS 2021). What the
plant would have drawn at its own settings is never measured while others are in force; that a model which is a day old is as
wrong of the settings in force as of the plant's own is what is assumed here, and what a bench on a plant that can be run twice
checks (``icctwin bench cooling``: ``effect_coverage_frac``).
"""

from collections import deque

import numpy as np

AIM = 0.8  # share of days that the interval is to hold
_KEPT_DAYS = 90
_STEP = 0.05  # of the level at each miss; Gibbs & Candès use 0.005 for thousands of steps, a year has 365
_LEVELS = (0.3, 0.98)
_LEAST, _MOST = 0.25, 8.0  # times that an interval may be widened
# before anything was scored: as if errors were normal with the spread that was said
_PRIOR = (0.1, 0.3, 0.5, 0.8, 1.0, 1.3)


class Surely:
    """The factor on half-widths. ``steps``: decisions in a day."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._scores: deque[float] = deque(_PRIOR, maxlen=_KEPT_DAYS)
        self._off: list[float] = []
        self._said: list[float] = []
        self.level = AIM
        self.hits = self.days = 0

    @property
    def times(self) -> float:
        """By how much half-widths are to be multiplied."""
        return float(np.clip(np.quantile(self._scores, self.level), _LEAST, _MOST))

    def take(self, off: float, said: float) -> None:
        """One decision: how far power was ``off``, and the half-width ``said`` before it was widened. NaN does not count."""
        if not (np.isfinite(off) and np.isfinite(said) and said > 0):
            return
        self._off.append(off)
        self._said.append(said)
        if len(self._off) == self._steps:
            self._close(abs(float(np.mean(self._off))) / float(np.mean(self._said)))
            self._off, self._said = [], []

    def _close(self, score: float) -> None:
        hit = score <= self.times
        self.days, self.hits = self.days + 1, self.hits + hit
        self.level = float(np.clip(self.level + _STEP * (AIM - hit), *_LEVELS))
        self._scores.append(score)
