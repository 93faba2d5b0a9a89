"""How wide an interval must be to hold what it says: conformal prediction that adapts as it runs.

A day's score is how wrong the model was, over the half-width that was said. Intervals are then as many times wider as the
quantile of past scores asks, at a level that moves with each hit and miss: Gibbs & Candès, "Adaptive conformal inference under
distribution shift" (NeurIPS 2021).

What is said is a change against the plant's own settings, and what the plant would have drawn at those is never measured while
others are in force. That the model of the day before is right of the settings in force says little of the own ones, which may
not have been seen for months: intervals narrowed on that alone held 36-57 % of days. So a score is made of all that shows how
wrong a model gets of what it does not see: how far the day's mean power was off what the model of the day before and those of
one and two weeks before expected (they had not seen that weather or those settings), and by how much the change that the older
ones would have said was revised since. The two are independent as far as can be told and add in squares. What no score shows
is a share of the change itself, ``LEFT_FRAC``. On a plant that can be run twice the coverage is checked (``icctwin bench
cooling``: ``effect_coverage_frac``).
"""

from collections import deque

import numpy as np

from twin.frame import Floats

AIM = 0.8  # share of days that the interval is to hold
AGES_DAYS = (1, 7, 14)  # of the models that are asked
# What own settings hide besides: the loop and the milder hall in Port Angeles and Lisbon, which no bench judges, held 58-86 %
# of days without it and hold 73-89 % with it.
UNSEEN = 1.2
# Of the change against own settings: half of an 80 % interval for what they would cost after seasons without them. Of 0, 0.05,
# 0.1, ... the least with which days of a whole year were held at the mean of 80 % in four cases that no bench judges (loop in
# Denver and Sterling, both halls in Denver: 97, 70, 82 and 72 %; 66, 67, 60 and 48 % without it).
LEFT_FRAC = 0.15
_KEPT_DAYS = 90
_STEP = 0.05  # of the level at each miss; Gibbs & Candès use 0.005 for thousands of steps, a year has 365
_LEVELS = (0.3, 0.98)
_LEAST, _MOST = 0.1, 8.0  # times that an interval may be widened
# before anything was scored: as if errors were normal with the spread that was said
_PRIOR = (0.1, 0.3, 0.5, 0.8, 1.0, 1.3)


class Surely:
    """The factor on half-widths. ``steps``: decisions in a day."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._scores: deque[float] = deque(_PRIOR, maxlen=_KEPT_DAYS)
        self._wrong: list[Floats] = []
        self._said: list[float] = []
        self.level = AIM
        self.hits = self.days = 0

    @property
    def times(self) -> float:
        """By how much half-widths are to be multiplied."""
        return float(np.clip(np.quantile(self._scores, self.level), _LEAST, _MOST))

    def take(self, off_frac: Floats, revised_frac: Floats, said_frac: float) -> None:
        """One decision: how far power was off what models of ``AGES_DAYS`` expected [a], by how much the change that they say
        is another now [a] (NaN: there was none so old, or it is not asked), and the half-width said before it was widened.
        Where the first of ``off_frac`` or what was said is NaN, it does not count."""
        if not (np.isfinite(off_frac[0]) and np.isfinite(said_frac) and said_frac > 0):
            return
        self._wrong.append(np.stack([off_frac, revised_frac]))
        self._said.append(said_frac)
        if len(self._said) == self._steps:
            square = np.mean(self._wrong, axis=0) ** 2  # NaN of an age that was not there all day
            known = [row[np.isfinite(row)] for row in square]
            score = np.sqrt(sum(float(row.mean()) for row in known if len(row)))
            self._close(score / float(np.mean(self._said)))
            self._wrong, self._said = [], []

    def _close(self, score: float) -> None:
        hit = score <= self.times
        self.days, self.hits = self.days + 1, self.hits + hit
        self.level = float(np.clip(self.level + _STEP * (AIM - hit), *_LEVELS))
        self._scores.append(score)
