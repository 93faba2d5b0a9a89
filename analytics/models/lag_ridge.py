"""Direct regression on lags: for each lead its own ridge regression on what was known when the forecast was made.

What a boosted tree would be given (last values, means of the last day and week, the same hour of past days and weeks, waves of
the week) without the tree, which costs seconds for each of its many leads and needs more history than a month.
"""

import numpy as np

from analytics.models import CannotFit, Model
from analytics.models.autoregression import ridge
from twin.frame import Floats

PENALTY = 0.02
HALF_LIFE_DAYS = 28
WEEK_WAVES = (1, 2, 7, 14, 21)  # the 7th, 14th and 21st wave of a week are the first three of a day
LEADS = 48  # that get their own regression; between them coefficients are interpolated
LEAST_EXAMPLES = 72


def _least(horizon: int, day: int) -> int:
    return _reach(horizon, day) + horizon + max(LEAST_EXAMPLES, 3 * day)


def _reach(lead: int, day: int) -> int:
    """How far behind the last known step the features of ``lead`` look."""
    week = 7 * day
    return max(week * -(-lead // week), day * -(-lead // day) + 2 * day, week) + 2


def _features(z: Floats, sums: Floats, origin: np.ndarray, lead: int, day: int, second_week: bool) -> Floats:
    """float64[m, k] at ``origin`` (positions of the first unknown step); ``sums``: float64[n + 1], running sums of ``z``."""
    week = 7 * day
    target = origin - 1 + lead
    yesterday, last_week = target - day * -(-lead // day), target - week * -(-lead // week)
    columns = [z[origin - 1], z[origin - 2], z[origin - 1 - day], z[origin - 1 - week]]
    columns += [(sums[origin] - sums[origin - day]) / day, (sums[origin] - sums[origin - week]) / week]
    columns += [z[yesterday], z[yesterday - day], z[yesterday - 2 * day], z[last_week]]
    columns.append(z[last_week - week] if second_week else np.zeros(len(origin)))
    angle = 2 * np.pi / week * ((target - len(z)) % week)
    columns += [wave(k * angle) for k in WEEK_WAVES for wave in (np.sin, np.cos)]
    return np.column_stack([*columns, np.ones(len(origin))])


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
    here = np.array([n])
    out = np.empty(horizon)
    for i in range(horizon):
        factors = [np.interp(i + 1, leads, column) for column in fitted.T]
        out[i] = (_features(z, sums, here, i + 1, day, second_week) @ factors)[0]
    return mean + spread * out


def _coefficients(z: Floats, sums: Floats, lead: int, day: int, second_week: bool) -> Floats:
    n = len(z)
    origin = np.arange(_reach(lead, day) + (7 * day if second_week else 0), n - lead + 1)
    x = _features(z, sums, origin, lead, day, second_week)
    weight = 0.5 ** ((n - origin) / (HALF_LIFE_DAYS * day))
    return ridge(x, z[origin - 1 + lead], weight, PENALTY)


MODELS = (Model("lag_ridge", _least, _fit_predict),)
