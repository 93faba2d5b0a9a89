"""What models of this folder share: a remainder that fades from its last values."""

import numpy as np

from analytics.models import CannotFit
from twin.frame import Floats

# Rows multiplied at once: few enough that OpenBLAS does it on the calling thread. For matrices of this size its worker threads
# cost ten times the processor time they save, and on a busy machine it waits for them.
BLOCK = 256


def ridge(x: Floats, y: Floats, weight: Floats, penalty: float) -> Floats:
    """float64[k]: least squares of ``y`` (float64[n]) on ``x`` (float64[n, k]) under weights float64[n], with ``penalty`` times
    the mean weighted square of ``x`` on the squares of the coefficients (Hoerl & Kennard 1970)."""
    n, k = x.shape
    root = np.sqrt(weight)
    both = np.zeros((-(-n // BLOCK) * BLOCK, k + 1))
    both[:n, :k], both[:n, k] = x * root[:, None], y * root
    blocks = both.reshape(-1, BLOCK, k + 1)
    products = (blocks.transpose(0, 2, 1) @ blocks).sum(axis=0)
    gram = products[:k, :k] + np.eye(k) * (penalty * np.trace(products[:k, :k]) / k + 1e-12)
    try:
        return np.asarray(np.linalg.solve(gram, products[:k, k]), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise CannotFit(f"the normal equations are singular ({error})") from error


def continue_remainder(remainder: Floats, horizon: int, lags: tuple[int, ...]) -> Floats:
    """float64[h]: ``remainder`` (float64[n], around 0) continued by an autoregression on ``lags``; it fades to 0.

    Bounded by the largest remainder seen: an autoregression whose estimate is not stationary would run away."""
    deepest = max(lags)
    if len(remainder) < 3 * deepest:
        return np.zeros(horizon)
    x = np.column_stack([remainder[deepest - lag : len(remainder) - lag] for lag in lags])
    factors = ridge(x, remainder[deepest:], np.ones(len(x)), 1e-3)
    bound = float(np.abs(remainder).max())
    path = np.concatenate([remainder[-deepest:], np.zeros(horizon)])
    for i in range(deepest, len(path)):
        path[i] = min(bound, max(-bound, sum(f * path[i - lag] for f, lag in zip(factors, lags, strict=True))))
    return path[deepest:]
