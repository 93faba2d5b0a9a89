"""Direct regression on lags: for each lead its own ridge regression on what was known when the forecast was made.

What a boosted tree would be given (last values, means of the last day and week, the same hour of past days and weeks, waves of
the week) without the tree, which costs seconds for each of its many leads and needs more history than a month.
"""

from functools import lru_cache

import numpy as np

from analytics.models import CannotFit, Model
from analytics.models.autoregression import ridge
from analytics.models.coarse import coarsely, hours_least
from twin.frame import Floats

PENALTY = 0.2
HALF_LIFE_DAYS = 56
WEEK_WAVES = (1, 2, 7, 14, 21)  # the 7th, 14th and 21st wave of a week are the first three of a day
LEADS = 24  # that get their own regression; between them coefficients are interpolated
LEAST_EXAMPLES = 72
PLAIN = 12  # features that are no waves


def _least(horizon: int, day: int) -> int:
    return _reach(horizon, day) + horizon + max(LEAST_EXAMPLES, 3 * day)


def _reach(lead: int, day: int) -> int:
    """How far behind the last known step the features of ``lead`` look."""
    week = 7 * day
    return max(week * -(-lead // week), day * -(-lead // day) + 2 * day, week) + 2


def _features(z: Floats, sums: Floats, origin: "np.ndarray", lead: "np.ndarray | int", day: int, second_week: bool) -> Floats:
    """float64[m, k] at ``origin`` (positions of the first unknown step) for one ``lead`` or for one each; ``sums``: float64[n +
    1], running sums of ``z``."""
    week = 7 * day
    target = origin - 1 + lead
    yesterday, last_week = target - day * -(-lead // day), target - week * -(-lead // week)
    x = np.empty((len(origin), PLAIN + 2 * len(WEEK_WAVES)))
    level = z[origin - 1]
    columns = [level, z[origin - 2], z[origin - 1 - day], z[origin - 1 - week]]
    columns += [(sums[origin] - sums[origin - day]) / day, (sums[origin] - sums[origin - week]) / week]
    columns += [z[yesterday], z[yesterday - day], z[yesterday - 2 * day], z[last_week]]
    columns += [z[last_week - week] if second_week else np.zeros(len(origin)), np.ones(len(origin))]
    for i, column in enumerate(columns):
        x[:, i] = column
    x[:, PLAIN:] = _week_waves(week)[(target - len(z)) % week]
    return x


@lru_cache(maxsize=8)
def _week_waves(week: int) -> Floats:
    """float64[week, 2 waves]."""
    angle = 2 * np.pi / week * np.arange(week)
    return np.column_stack([wave(k * angle) for k in WEEK_WAVES for wave in (np.sin, np.cos)])


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    n, spread = len(history), float(history.std())
    if spread == 0:
        raise CannotFit("the history is constant")
    mean = float(history.mean())
    z = (history - mean) / spread
    sums = np.concatenate([[0.0], np.cumsum(z)])
    second_week = n - _reach(horizon, day) - 7 * day - horizon >= 14 * day
    leads = np.unique(np.linspace(1, horizon, min(horizon, LEADS)).round().astype(int))
    fitted = np.array([_coefficients(z, sums, int(lead), day, second_week) for lead in leads])
    every = np.arange(1, horizon + 1)
    factors = np.column_stack([np.interp(every, leads, column) for column in fitted.T])
    features = _features(z, sums, np.full(horizon, n), every, day, second_week)
    return np.asarray(mean + spread * (features * factors).sum(axis=1))


def _coefficients(z: Floats, sums: Floats, lead: int, day: int, second_week: bool) -> Floats:
    n = len(z)
    origin = np.arange(_reach(lead, day) + (7 * day if second_week else 0), n - lead + 1)
    x = _features(z, sums, origin, lead, day, second_week)
    weight = 0.5 ** ((n - origin) / (HALF_LIFE_DAYS * day))
    return ridge(x, z[origin - 1 + lead], weight, PENALTY)


MODELS = (Model("lag_ridge", hours_least(_least), coarsely(_fit_predict)),)
