"""Theta: a level that follows the series and half of its trend, on what the usual week (or day) leaves.

Assimakopoulos & Nikolopoulos, International Journal of Forecasting 16 (2000) 521; here in its form as simple exponential
smoothing with drift (Hyndman & Billah, IJF 19 (2003) 287). The smoothing factor is that of a grid with the smallest one-step
error.
"""

import numpy as np
from scipy.signal import lfilter

from analytics.models import Model
from twin.frame import Floats

WEEKS = 8  # of history that it looks at
USUAL_DAYS = 28  # over which the usual day is taken
FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95)


def usual(history: Floats, season: int) -> Floats:
    """float64[season]: the median over seasons of how each place lies to its season's mean; the last place is the newest."""
    seasons = history[len(history) % season :].reshape(-1, season)
    shape: Floats = np.median(seasons - seasons.mean(axis=1, keepdims=True), axis=0)
    return shape


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    season = 7 * day if len(history) >= 14 * day else day
    recent = history[-min(WEEKS * 7 * day, len(history) // season * season) :]
    shape = usual(recent, season)
    rest = recent - np.tile(shape, len(recent) // season)
    level, factor = _level(rest)
    n = len(rest)
    place = np.arange(n) - (n - 1) / 2
    drift = float(place @ rest / (place @ place)) / 2
    # after n values the smoothed level of a line lags by its slope over the factor (Hyndman & Billah)
    steps = np.arange(horizon) + (1 - (1 - factor) ** n) / factor
    return np.asarray(level + drift * steps + shape[np.arange(horizon) % season], dtype=np.float64)


def _by_day(history: Floats, horizon: int, day: int) -> Floats:
    """Of a day's season alone, without drift: where weeks are few or unlike each other, their season is mostly noise."""
    recent = history[-WEEKS * 7 * day :]
    recent = recent[len(recent) % day :]
    shape = usual(recent[-USUAL_DAYS * day :], day)
    level, _ = _level(recent - np.tile(shape, len(recent) // day))
    return np.asarray(level + shape[np.arange(horizon) % day], dtype=np.float64)


def _level(rest: Floats) -> tuple[float, float]:
    """(smoothed level after the last value, factor)."""
    best = (np.inf, float(rest[-1]), FACTORS[-1])
    for factor in FACTORS:
        smooth, _ = lfilter([factor], [1.0, factor - 1.0], rest, zi=[(1 - factor) * rest[0]])
        error = float(((rest[1:] - smooth[:-1]) ** 2).sum())
        best = min(best, (error, float(smooth[-1]), factor))
    return best[1], best[2]


MODELS = (
    Model("theta", lambda horizon, day: 4 * day, _fit_predict),
    Model("theta_day", lambda horizon, day: 8 * day, _by_day),
)
