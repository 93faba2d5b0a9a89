"""Dynamic regression: what known futures explain (weather, committed GPUs, maintenance), waves, and a remainder that fades.

Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 10.1 and 10.5. A driver acts through a line with bends
(cooling begins somewhere) and differently at each time of day; in two steps, as in ``harmonic``.
"""

import numpy as np

from analytics.models import CannotFit
from analytics.models.autoregression import continue_remainder, ridge
from analytics.models.harmonic import HALF_LIFE_DAYS, waves
from twin.frame import Floats

BENDS = (0.25, 0.5, 0.75)  # quantiles of a driver at which its line bends
PENALTY = 1e-4
LEAST_DAYS = 14
LEAST_KNOWN_FRAC = 0.5


def fit_predict(history: Floats, past: Floats, ahead: Floats, day: int) -> Floats:
    """float64[h]: the next steps after ``history`` (float64[n]); ``past`` float64[n, c]: the drivers as they were, NaN where
    unknown; ``ahead`` float64[h, c]: as they are said to become."""
    n, horizon = len(history), len(ahead)
    known = np.count_nonzero(np.isfinite(past), axis=1) == past.shape[1]
    if n < LEAST_DAYS * day or known.mean() < LEAST_KNOWN_FRAC:
        raise CannotFit("too little is known of the drivers")
    mean, spread = past[known].mean(axis=0), past[known].std(axis=0)
    alive = spread > 0
    if not alive.any():
        raise CannotFit("the drivers are constant")
    both = (np.vstack([past, ahead])[:, alive] - mean[alive]) / spread[alive]
    low, high = both[:n][known].min(axis=0), both[:n][known].max(axis=0)
    both = np.clip(np.where(np.isfinite(both), both, 0.0), low, high)  # a line is not continued beyond what was seen
    steps = np.arange(n + horizon, dtype=np.float64) - n
    x = np.column_stack([waves(steps, day), *(_bent(column, known, n, steps, day) for column in both.T)])
    weight = 0.5 ** (-steps[:n] / (HALF_LIFE_DAYS * 2 * day)) * known
    factors = ridge(x[:n], history, weight, PENALTY)
    lags = (1, 2, 3, day, day + 1) if day > 3 else (1, 2, 3)
    return x[n:] @ factors + continue_remainder(history - x[:n] @ factors, horizon, lags)


def _bent(column: Floats, known: "np.ndarray", n: int, steps: Floats, day: int) -> Floats:
    """float64[n + h, k]: a driver, its bends, its mean over the last day, and how it acts by the hour."""
    bends = np.unique(np.quantile(column[:n][known], BENDS))
    sums = np.concatenate([np.zeros(1), np.cumsum(column)])
    back = np.minimum(np.arange(1, len(column) + 1), day)
    mean = (sums[1:] - sums[np.arange(1, len(column) + 1) - back]) / back
    angle = 2 * np.pi / day * steps
    by_hour = [column * wave(k * angle) for k in (1, 2) for wave in (np.sin, np.cos)]
    return np.column_stack([column, mean, *(np.maximum(column - bend, 0.0) for bend in bends), *by_hour])
