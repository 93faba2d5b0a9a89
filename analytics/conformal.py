"""Intervals that are right as often as they say: from the errors that the same forecasts made before, adapted as truths arrive.

A forecast's own idea of its spread cannot be trusted (nominal 80 % bands of quantile trees held 15-56 % of the truths on three
of four recorded families). Here an edge is the median plus a quantile of past errors at the same lead, and the level of that
quantile is moved after each truth: Gibbs & Candès, Adaptive conformal inference under distribution shift (NeurIPS 2021).
"""

from collections.abc import Sequence

import numpy as np

from twin.frame import Floats, Ints

TAIL = 0.1  # of truths below p10, and above p90
RATE = 0.005  # by how much a level moves, times the error in the share of truths outside; the rate that the paper uses
LEVEL_BOUNDS = (0.01, 0.25)
MIN_PATHS = 3  # past forecasts with known truths, before an interval is given
# Ends of lead buckets [s]: errors grow with the lead, quickly at first.
BUCKET_ENDS_S = (900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, 86400.0, 2 * 86400.0, 4 * 86400.0)


def lead_buckets(horizon: int, step_s: float) -> list[slice]:
    """The steps ahead in groups of similar lead; together they are all steps."""
    ends = sorted({min(horizon, max(1, int(end // step_s))) for end in BUCKET_ENDS_S} | {horizon})
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def known_by(origins: Ints, horizon: int, now: int) -> Ints:
    """Positions of the origins whose whole horizon has passed at step ``now``."""
    return np.flatnonzero(origins + horizon <= now).astype(np.int32)


def intervals(median: Floats, truth: Floats, origins: Ints, buckets: Sequence[slice]) -> tuple[Floats, Floats]:
    """(p10, p90), float64[k, h] each: for every forecast from the errors of those whose truths were known by then.

    ``median``: float64[k, h], NaN in the rows without a forecast; ``truth``: float64[k, h], NaN where unknown. The answer is
    NaN where fewer than ``MIN_PATHS`` forecasts can be learnt from."""
    low, high = np.full(median.shape, np.nan), np.full(median.shape, np.nan)
    error = truth - median
    horizon = median.shape[1]
    for bucket in buckets:
        levels = np.array([TAIL, TAIL])
        seen = 0
        for i, origin in enumerate(origins):
            usable = [j for j in known_by(origins, horizon, int(origin)) if np.isfinite(error[j, bucket]).any()]
            for j in usable[seen:]:  # these truths arrived since the forecast before
                levels = _adapted(levels, truth[j, bucket], low[j, bucket], high[j, bucket])
            seen = len(usable)
            if len(usable) >= MIN_PATHS and np.isfinite(median[i, bucket]).all():
                pool = error[usable, bucket]
                pool = pool[np.isfinite(pool)]
                # n + 1 instead of n, as conformal prediction asks; errors of one path hang together, so paths are counted
                inside = np.minimum((1 - levels) * (1 + 1 / len(usable)), 1.0)
                low[i, bucket] = median[i, bucket] + np.quantile(pool, 1 - inside[0])
                high[i, bucket] = median[i, bucket] + np.quantile(pool, inside[1])
    return np.minimum(low, median), np.maximum(high, median)


def _adapted(levels: Floats, truth: Floats, low: Floats, high: Floats) -> Floats:
    """The levels of both edges after one forecast's truths are known."""
    known = np.isfinite(truth) & np.isfinite(low)
    if not known.any():
        return levels
    outside = np.array([np.mean(truth[known] < low[known]), np.mean(truth[known] > high[known])])
    return np.clip(levels + RATE * (TAIL - outside), *LEVEL_BOUNDS)
