"""What was, will be: persistence, the same hour of yesterday or last week, and means of them. The measure of all others."""

import numpy as np

from analytics.models import Model
from twin.frame import Floats

NAIVE_DAY = "seasonal_naive_day"
NAIVE_WEEK = "seasonal_naive_week"
PERSISTENCE = "persistence"


def seasonal_mean(history: Floats, horizon: int, season: int, most: int) -> Floats:
    """float64[h]: mean of the last ``most`` seasons (of as many as there are) at the same place in the season."""
    seasons = min(most, len(history) // season)
    shape: Floats = history[len(history) - seasons * season :].reshape(seasons, season).mean(axis=0)
    return shape[np.arange(horizon) % season]


def _day(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, day, 1)


def _week(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, 7 * day, 1)


def _day_mean(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, day, 7)


def _week_mean(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, 7 * day, 4)


def _last(history: Floats, horizon: int, day: int) -> Floats:
    return np.full(horizon, history[-1])


MODELS = (
    Model(PERSISTENCE, lambda horizon, day: 1, _last, baseline=True, near=True),
    Model(NAIVE_DAY, lambda horizon, day: day, _day, baseline=True, near=True),
    Model(NAIVE_WEEK, lambda horizon, day: 7 * day, _week, baseline=True),
    Model("mean_day", lambda horizon, day: 3 * day, _day_mean),
    Model("mean_week", lambda horizon, day: 14 * day, _week_mean),
)
