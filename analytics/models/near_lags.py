"""The next minutes: for each lead its own regression of the change from the last value, on the newest changes and on what the
same minutes of yesterday did.

One model for all leads of a day loses to persistence in the first quarter of an hour; power read every five minutes is near a
random walk whose changes hang together over two steps, and that little is all that can be used.
"""

import numpy as np

from analytics.models import Model
from analytics.models.autoregression import ridge
from twin.frame import Floats

LAGS = (1, 2, 3)  # 12 and more were tried and were no better on the series that choose
PENALTY = 1e-3
HALF_LIFE_DAYS = 14
LEARN_DAYS = 28  # of newest history that it looks at
FINE_DAY = 96  # steps a day from which on a series is one of minutes
NEVER = 2**31


def _least(horizon: int, day: int) -> int:
    """An hour ahead at most: beyond, others are better."""
    return 3 * day if day >= FINE_DAY and horizon <= day // 24 else NEVER


def _features(z: Floats, origin: "np.ndarray", lead: int, day: int) -> Floats:
    """float64[m, k] at ``origin``: positions of the first unknown step."""
    last = z[origin - 1]
    back = day * -(-lead // day)
    was = z[origin - 1 - back]
    columns = [*(last - z[origin - 1 - lag] for lag in LAGS), z[origin - 1 + lead - back] - was, last - was]
    return np.column_stack([*columns, np.ones(len(origin))])


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    recent = history[-LEARN_DAYS * day :] if day >= FINE_DAY else history
    n, last = len(recent), float(recent[-1])
    out = np.full(horizon, last)
    for lead in range(1, horizon + 1):
        origin = np.arange(day * -(-lead // day) + max(LAGS) + 1, n - lead + 1)
        if len(origin) <= 2 * len(LAGS):
            continue
        x = _features(recent, origin, lead, day)
        size = x.std(axis=0)
        size[size <= 0] = 1.0
        weight = 0.5 ** ((n - origin) / (HALF_LIFE_DAYS * day))
        factors = ridge(x / size, recent[origin - 1 + lead] - recent[origin - 1], weight, PENALTY)
        out[lead - 1] += float(_features(recent, np.array([n]), lead, day)[0] / size @ factors)
    return out


MODELS = (Model("near_lags", _least, _fit_predict, near=True),)
