"""Dynamic harmonic regression: waves of a day and a week plus a remainder that fades.

Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 10.5; fitted here in two steps, weighted least squares
for the waves and an autoregression for what they leave, which takes milliseconds where a full likelihood takes seconds.
"""

import numpy as np

from analytics.models import Model
from analytics.models.autoregression import continue_remainder, ridge
from twin.frame import Floats

DAY_WAVES = 8
WEEK_WAVES = 6
WEEK_FROM_DAYS = 14  # of history, before the waves of a week are looked for
HALF_LIFE_DAYS = 28  # of an observation's weight


def waves(steps: Floats, day: int, week: bool = True) -> Floats:
    """float64[n, k]: 1, then sine and cosine of the waves of a day and of a ``week`` at ``steps`` (any origin)."""
    columns = [np.ones(len(steps))]
    for season, most in ((day, DAY_WAVES), (7 * day, WEEK_WAVES if week else 0)):
        for k in range(1, min(most, (season - 1) // 2) + 1):
            if season == day or k % 7:  # the seventh wave of a week is the first of a day
                angle = 2 * np.pi * k / season * steps
                columns += [np.sin(angle), np.cos(angle)]
    return np.column_stack(columns)


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    n = len(history)
    steps = np.arange(n + horizon, dtype=np.float64) - n
    x = waves(steps, day, week=n >= WEEK_FROM_DAYS * day)
    factors = ridge(x[:n], history, 0.5 ** (-steps[:n] / (HALF_LIFE_DAYS * day)), 1e-6)
    lags = (1, 2, 3, day, day + 1) if day > 3 else (1, 2, 3)
    return x[n:] @ factors + continue_remainder(history - x[:n] @ factors, horizon, lags)


MODELS = (Model("harmonic", lambda horizon, day: max(5 * day, 21), _fit_predict, near=True),)
