"""Hours for a series of minutes: what is asked of a day or a week ahead does not need each minute, and costs a tenth
without."""

from collections.abc import Callable
from functools import wraps

import numpy as np

from twin.frame import Floats

HOURS = 24
FINE_DAY = 48  # steps a day above which a series is fine


def coarsely(fit_predict: Callable[[Floats, int, int], Floats]) -> Callable[[Floats, int, int], Floats]:
    """``fit_predict`` on hourly means where the day has more than ``FINE_DAY`` steps in whole hours; what it says is laid
    through the middles of the hours, beginning at the last value."""

    @wraps(fit_predict)
    def through_hours(history: Floats, horizon: int, day: int) -> Floats:
        if day <= FINE_DAY or day % HOURS:
            return fit_predict(history, horizon, day)
        group = day // HOURS
        hours = history[len(history) % group :].reshape(-1, group).mean(axis=1)
        said = fit_predict(hours, -(-horizon // group) + 1, HOURS)
        middles = np.concatenate([[0.0], (np.arange(len(said)) + 0.5) * group + 0.5])
        out: Floats = np.interp(np.arange(1.0, horizon + 1), middles, np.concatenate([history[-1:], said]))
        return out

    return through_hours


def hours_least(least: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """``least`` of a model that works ``coarsely``."""

    @wraps(least)
    def through_hours(horizon: int, day: int) -> int:
        if day <= FINE_DAY or day % HOURS:
            return least(horizon, day)
        group = day // HOURS
        return (least(-(-horizon // group) + 1, HOURS) + 1) * group

    return through_hours
