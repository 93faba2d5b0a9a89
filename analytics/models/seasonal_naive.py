"""What was, will be: persistence, the same hour of yesterday or last week, and means of them. The measure of all others."""

import numpy as np

from analytics.models import Model
from twin.frame import Floats

NAIVE_DAY = "seasonal_naive_day"
NAIVE_WEEK = "seasonal_naive_week"
PERSISTENCE = "persistence"
MEDIAN_WEEKS = 6  # that the usual week is taken over: a holiday or an outage in one of them does not bend it


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


def _month_mean(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, day, 28)


def _week_mean(history: Floats, horizon: int, day: int) -> Floats:
    return seasonal_mean(history, horizon, 7 * day, 4)


def _median_week(history: Floats, horizon: int, day: int) -> Floats:
    week = 7 * day
    seasons = min(MEDIAN_WEEKS, len(history) // week)
    shape = np.median(history[len(history) - seasons * week :].reshape(seasons, week), axis=0)
    return np.asarray(shape[np.arange(horizon) % week], dtype=np.float64)


def _last(history: Floats, horizon: int, day: int) -> Floats:
    return np.full(horizon, history[-1])


MODELS = (
    Model(PERSISTENCE, lambda horizon, day: 1, _last, baseline=True, near=True),
    Model(NAIVE_DAY, lambda horizon, day: day, _day, baseline=True, near=True),
    Model(NAIVE_WEEK, lambda horizon, day: 7 * day, _week, baseline=True),
    Model("mean_day", lambda horizon, day: 3 * day, _day_mean),
    Model("mean_month", lambda horizon, day: 15 * day, _month_mean),
    Model("mean_week", lambda horizon, day: 14 * day, _week_mean),
    Model("median_week", lambda horizon, day: 28 * day, _median_week),
)
