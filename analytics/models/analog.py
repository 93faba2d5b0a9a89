"""Analogs: the past moments at the same hour after which two days had looked like the last two, and what came then.

The method of analogues (Lorenz, Journal of the Atmospheric Sciences 26 (1969) 636), with the level of today.
"""

import numpy as np

from analytics.models import CannotFit, Model
from twin.frame import Floats

NEIGHBOURS = 12
LEAST_PAST = 6
SAME_WEEKDAY = 0.8  # by which a distance counts on the same day of the week
FADE_A_DAY = 0.5  # of the difference of levels, what is left a day later


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    n, window = len(history), 2 * day
    ends = np.arange(n - day, window - 1, -day)  # positions of first steps ahead, at this hour of the day
    ends = ends[ends <= n - horizon]
    if len(ends) < LEAST_PAST:
        raise CannotFit(f"{len(ends)} past moments, {LEAST_PAST} are needed")
    now = history[n - window :]
    then = history[ends[:, None] + np.arange(-window, 0)]
    weight = np.linspace(0.3, 1.0, window) ** 2
    apart = np.sqrt(((then - now) ** 2 * weight).mean(axis=1))
    apart *= np.where((n - ends) // day % 7 == 0, SAME_WEEKDAY, 1.0)
    nearest = np.argsort(apart, kind="stable")[:NEIGHBOURS]
    least = max(float(history.std()) * 1e-6, 1e-300)
    share = (np.maximum(apart[nearest], least) / least) ** -2.0
    share /= share.sum()
    came = history[ends[nearest, None] + np.arange(horizon)]
    shift = now[-day:].mean() - then[nearest, -day:].mean(axis=1)
    fade = FADE_A_DAY ** (np.arange(horizon) / day)
    return np.asarray(share @ (came + shift[:, None] * fade), dtype=np.float64)


MODELS = (Model("analog", lambda horizon, day: (LEAST_PAST + 2) * day + horizon, _fit_predict),)
