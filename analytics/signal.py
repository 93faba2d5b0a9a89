"""What a grid signal (carbon intensity, price) will do next, seen from any past moment with only what was known then.

A plan that waits asks the same question again at every step, thousands of times a replayed year, so the procedure of
``analytics.forecast`` (several models, an interval, a score) is too dear here. One direct regression instead: the mean day of
the last two weeks, corrected by how the last day ran off it. Where there is too little past for that it falls back to means of
the same hour, and where there is not even a day, nothing is foreseen.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.models.autoregression import ridge
from twin.frame import Floats

PROFILE_DAYS, SHORT_DAYS, LONG_DAYS, WEEKS = 14, 7, 21, 4
LAGS = 24  # last values, spread over a day
PENALTY = 0.01
REFIT_DAYS, LEARN_DAYS, MOST_DAYS = 7, 15, 400
MAX_HORIZON_DAYS = 14

_Origins = NDArray[np.intp]


@dataclass
class SignalModel:
    """A regression for each lead time, fitted to one signal's past.

    ``day``: steps in 24 hours; ``horizon``: steps ahead that it will be asked for, at most ``MAX_HORIZON_DAYS`` days.
    """

    day: int
    horizon: int
    _factors: list[tuple[int, int, Floats]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.day >= 1 and 1 <= self.horizon <= MAX_HORIZON_DAYS * self.day):
            raise ValueError(f"a horizon of {self.horizon} steps is not between 1 step and {MAX_HORIZON_DAYS} days")

    @property
    def deepest(self) -> int:
        """Steps of past that one prediction looks at."""
        return max(LONG_DAYS + 1 + self.horizon // self.day, 7 * (WEEKS + self.horizon // (7 * self.day))) * self.day + self.day

    def sure(self, known: int) -> bool:
        """Whether ``known`` steps of past are enough for the regression."""
        return known >= self.deepest + self.horizon + LEARN_DAYS * self.day

    def fit(self, values: Floats) -> None:
        """Learn from ``values`` (float64[n], no NaN), the whole past; does nothing where that is too short."""
        self._factors = []
        n = len(values)
        if not self.sure(n):
            return
        stride = max(1, self.day // 12)
        origins = np.arange(max(self.deepest, n - MOST_DAYS * self.day), n - self.horizon + 1, stride)
        base, own, last, summed = self._features(values, origins)
        target = np.stack([values[origins + lead] for lead in range(self.horizon)], axis=1) - base
        for a, b in self._blocks():
            shared = last if b <= self.day else summed
            x = _design(shared, own, a, b)
            self._factors.append((a, b, ridge(x, target[:, a:b].ravel(), np.ones(len(x)), PENALTY)))

    def predict(self, values: Floats, origins: _Origins) -> Floats:
        """float64[m, horizon]: what comes in the steps from each of ``origins`` on (positions in ``values``, each at least
        ``deepest``), from the values before it."""
        base, own, last, summed = self._features(values, origins)
        if not self._factors:
            return base + own[0]
        for a, b, factors in self._factors:
            shared = last if b <= self.day else summed
            base[:, a:b] += (_design(shared, own, a, b) @ factors).reshape(len(origins), b - a)
        return base

    def _blocks(self) -> list[tuple[int, int]]:
        """Leads that share a regression: each step of the first day (at most 24), then ever longer ones."""
        short, quarter = max(1, self.day // 24), max(1, self.day // 4)
        edges = [*range(0, self.day, short), *range(self.day, 2 * self.day, quarter)]
        edges += [*range(2 * self.day, self.horizon + self.day, self.day)]
        inside = [edge for edge in edges if edge < self.horizon]
        return list(zip(inside, [*inside[1:], self.horizon], strict=True))

    def _features(self, values: Floats, origins: _Origins) -> tuple[Floats, list[Floats], Floats, Floats]:
        """The mean day (float64[m, h]), what other means say beside it, and how the last day ran off its own mean: by step
        (float64[m, LAGS]) and summed up (float64[m, 3])."""
        day, lead = self.day, np.arange(self.horizon)
        newest = origins[:, None] + lead - day * (lead // day + 1)  # the same hour of the last day known
        days = np.stack([values[newest - day * d] for d in range(LONG_DAYS)])
        base = days[:PROFILE_DAYS].mean(axis=0)
        weeks = origins[:, None] + lead - 7 * day * (lead // (7 * day) + 1)
        weekly = np.stack([values[weeks - 7 * day * w] for w in range(WEEKS)])
        own = [days[:SHORT_DAYS].mean(axis=0), days.mean(axis=0), days[0], days[1], weekly[0], weekly.mean(axis=0)]
        back = origins[:, None] - 1 - (np.arange(LAGS) * day) // LAGS
        off = values[back] - np.mean([values[back - day * d] for d in range(1, PROFILE_DAYS + 1)], axis=0)
        summed = np.column_stack([off[:, 0], off[:, : LAGS // 4].mean(axis=1), off.mean(axis=1)])
        return base, [column - base for column in own], off, summed


def _design(shared: Floats, own: list[Floats], a: int, b: int) -> Floats:
    """float64[m·(b-a), k]: one row for each origin and lead of ``[a, b)``."""
    return np.column_stack([np.repeat(shared, b - a, axis=0), *(column[:, a:b].ravel() for column in own)])


def hindcast(values: Floats, day: int, horizon: int, first: int = 0, delay: int = 0) -> Floats:
    """float32[n, horizon]: for each step of ``values`` (float64[n], no NaN) from ``first`` on, what would have been foreseen at
    its begin for it and the steps after it, from values at least ``delay`` steps older than the step before it.

    The model is fitted anew every ``REFIT_DAYS``, from the past of that moment. NaN where less than a day was known.
    """
    n = len(values)
    model = SignalModel(day, horizon + delay)
    seen: Floats = np.full((n, horizon), np.nan)
    for begin in range(first, n, REFIT_DAYS * day):
        known = begin - delay
        model.fit(values[: max(known, 0)])
        at = np.arange(begin, min(begin + REFIT_DAYS * day, n))
        deep = at[at - delay >= model.deepest]
        if len(deep):
            seen[deep] = model.predict(values, deep - delay)[:, delay:]
        for origin in at[at - delay < model.deepest].tolist():
            if origin - delay >= day:
                seen[origin] = same_hour(values[: origin - delay], day, horizon + delay)[delay:]
    return seen


def same_hour(values: Floats, day: int, horizon: int) -> Floats:
    """float64[h]: the mean of each hour of the day over the last ``SHORT_DAYS`` whole days of ``values`` (at least one)."""
    days = min(SHORT_DAYS, len(values) // day)
    mean = values[len(values) - days * day :].reshape(days, day).mean(axis=0)
    return np.asarray(np.resize(mean, horizon))
