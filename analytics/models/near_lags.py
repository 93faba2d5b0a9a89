"""The next minutes: for each lead its own regression of the change from the last value, on the newest changes, on how far the
last value lies off what was in the last hours and at this time of past days, and on what the same minutes did then.

One model for all leads of a day loses to persistence in the first quarter of an hour; power read every five minutes is near a
random walk whose changes hang together over two steps and are partly taken back within the hour, and that little is all that
can be used. The regression is of the median, for large changes would lead one of the mean (iterated least squares:
Schlossmacher, JASA 68 (1973) 857). Tried on the series that choose and no better: trees, and what neighbouring power domains
did.
"""

import numpy as np

from analytics.models import Model
from analytics.models.autoregression import ridge
from twin.frame import Floats

CHANGES = 6  # newest ones; 4 and 12 are alike
BACK = (
    12,
    24,
    72,
    288,
)  # parts of a day of ``FINE_DAY`` x 3 steps (an hour to a day) whose mean the last value is held against
PAST_DAYS = 5
PENALTY = 1e-3
ROUNDS, LEAST_RESIDUAL = 3, 0.1  # of the iteration; what counts as 0, in medians of the first residuals
HALF_LIFE_DAYS = 14
LEARN_DAYS = 14  # of newest history that it looks at
FINE_DAY = 96  # steps a day from which on a series is one of minutes
NEVER = 2**31


def _least(horizon: int, day: int) -> int:
    """An hour ahead at most: beyond, others are better."""
    return 3 * day if day >= FINE_DAY and horizon <= day // 24 else NEVER


def _windows(day: int) -> list[int]:
    return [max(2, part * day // 288) for part in BACK]


def _features(z: Floats, sums: Floats, origin: "np.ndarray", lead: int, day: int, days: int) -> Floats:
    """float64[m, k] at ``origin``: positions of the first unknown step; ``sums``: float64[n + 1], running sums of ``z``;
    ``days``: how many past ones are looked at."""
    last = z[origin - 1]
    back = day * -(-lead // day) * np.arange(1, days + 1)[:, None]
    was, came = z[origin - 1 - back], z[origin - 1 + lead - back]
    columns = [z[origin - 1 - i] - z[origin - 2 - i] for i in range(CHANGES)]
    columns += [last - (sums[origin] - sums[origin - window]) / window for window in _windows(day)]
    columns += [came[0] - was[0], last - was[0], (came - was).mean(axis=0), last - was.mean(axis=0)]
    return np.column_stack([*columns, np.ones(len(origin))])


def _median_fit(x: Floats, y: Floats, weight: Floats) -> Floats:
    """float64[k]: least absolute errors of ``y`` (float64[n]) on ``x`` (float64[n, k])."""
    factors = ridge(x, y, weight, PENALTY)
    least = LEAST_RESIDUAL * max(float(np.median(np.abs(y - x @ factors))), 1e-300)
    for _ in range(ROUNDS):
        factors = ridge(x, y, weight / np.maximum(np.abs(y - x @ factors), least), PENALTY)
    return factors


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    recent = history[-LEARN_DAYS * day :] if day >= FINE_DAY else history
    n, last = len(recent), float(recent[-1])
    days = max(1, min(PAST_DAYS, n // (3 * day)))
    sums = np.concatenate([np.zeros(1), np.cumsum(recent)])
    out = np.full(horizon, last)
    for lead in range(1, horizon + 1):
        first = max(days * day * -(-lead // day), max(_windows(day)), CHANGES) + 1
        origin = np.arange(first, n - lead + 1)
        if len(origin) <= 4 * CHANGES:
            continue
        x = _features(recent, sums, origin, lead, day, days)
        size = x.std(axis=0)
        size[size <= 0] = 1.0
        weight = 0.5 ** ((n - origin) / (HALF_LIFE_DAYS * day))
        factors = _median_fit(x / size, recent[origin - 1 + lead] - recent[origin - 1], weight)
        out[lead - 1] += float(_features(recent, sums, np.array([n]), lead, day, days)[0] / size @ factors)
    return out


MODELS = (Model("near_lags", _least, _fit_predict, near=True),)
