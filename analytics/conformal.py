"""Intervals that are right as often as they say: from the errors that the same forecasts made before, adapted as truths arrive.

A forecast's own idea of its spread cannot be trusted (nominal 80 % bands of quantile trees held 15-56 % of the truths on three
of four recorded families). Here an edge is the median plus a quantile of past errors at the same lead, and the level of that
quantile is moved after each truth: Gibbs & Candès, Adaptive conformal inference under distribution shift (NeurIPS 2021). Errors
are first set in relation to what is usual at that hour of the day (Lei et al., Distribution-free predictive inference for
regression, JASA 113 (2018) 1094, 5.2: locally weighted conformal inference), so that a band is wide where the day is uncertain.
"""

from collections.abc import Sequence

import numpy as np

from twin.frame import Floats, Ints

TAIL = 0.1  # of truths below p10, and above p90
RATE = 0.01  # by how much a level moves, times the error in the share of truths outside; the paper uses 0.005
LEVEL_BOUNDS = (0.01, 0.25)
MIN_PATHS = 3  # past forecasts with known truths, before an interval is given
FEW = (
    0.5  # by which levels move out, over the number of paths; 1 is sure for errors that hang together not at all, and too wide
)
HOURS = 24
USUAL_ERRORS = 6.0  # errors of an hour of the day that count as much as those of the whole day; chosen on other series
# Ends of lead buckets [s]: errors grow with the lead, quickly at first.
BUCKET_ENDS_S = (300.0, 600.0, 900.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, 86400.0, 2 * 86400.0, 4 * 86400.0)


def lead_buckets(horizon: int, step_s: float) -> list[slice]:
    """The steps ahead in groups of similar lead; together they are all steps."""
    ends = sorted({min(horizon, max(1, int(end // step_s))) for end in BUCKET_ENDS_S} | {horizon})
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def known_by(origins: Ints, ahead: int, now: int) -> Ints:
    """Positions of the origins whose next ``ahead`` steps have passed at step ``now``."""
    return np.flatnonzero(origins + ahead <= now).astype(np.int32)


def intervals(
    median: Floats, truth: Floats, origins: Ints, buckets: Sequence[slice], day: int | None = None, apart: int = 1
) -> tuple[Floats, Floats]:
    """(p10, p90), float64[k, h] each: for every forecast from the errors of those whose truths were known by then.

    ``median``: float64[k, h], NaN in the rows without a forecast; ``truth``: float64[k, h], NaN where unknown; ``day``: steps
    in 24 h, for errors in relation to what is usual at that hour (None: no such relation); ``apart``: steps from which on two
    forecasts count as two, for their errors hang together below. The answer is NaN where fewer than ``MIN_PATHS`` forecasts can
    be learnt from."""
    low, high = np.full(median.shape, np.nan), np.full(median.shape, np.nan)
    error = truth - median
    for bucket in buckets:
        levels = np.array([TAIL, TAIL])
        seen = 0
        learnable = np.count_nonzero(np.isfinite(error[:, bucket]), axis=1) > 0
        hours = _hours(origins, bucket, day)
        for i, origin in enumerate(origins):
            usable = [j for j in known_by(origins, bucket.stop, int(origin)) if learnable[j]]
            for j in usable[seen:]:  # these truths arrived since the forecast before
                levels = _adapted(levels, truth[j, bucket], low[j, bucket], high[j, bucket])
            seen = len(usable)
            if len(usable) >= MIN_PATHS and np.isfinite(median[i, bucket]).all():
                usual = _usual(error[usable, bucket], hours[usable])
                pool = (error[usable, bucket] / usual[hours[usable]]).ravel()
                pool = pool[np.isfinite(pool)]
                # n + 1 instead of n, as conformal prediction asks; errors of one path hang together, so paths are counted, and
                # those of one day count as one
                count = min(len(usable), 1 + (origins[usable[-1]] - origins[usable[0]]) / apart)
                inside = np.minimum((1 - levels) * (1 + FEW / count), 1.0)
                edges = np.quantile(pool, (1 - inside[0], inside[1]))
                low[i, bucket] = median[i, bucket] + edges[0] * usual[hours[i]]
                high[i, bucket] = median[i, bucket] + edges[1] * usual[hours[i]]
    return np.minimum(low, median), np.maximum(high, median)


def _hours(origins: Ints, bucket: slice, day: int | None) -> Ints:
    """int32[k, b]: the hour of the day of each step ahead, counted from that of the series' first step."""
    steps = origins[:, None] + np.arange(bucket.start, bucket.stop)
    return (np.zeros_like(steps) if day is None else steps % day * HOURS // day).astype(np.int32)


def _usual(error: Floats, hours: Ints) -> Floats:
    """float64[24]: the usual size of an error at each hour of the day, above 0; few errors weigh towards that of the day."""
    known = np.isfinite(error)
    size = np.abs(error[known])
    mean = max(float(size.mean()), 1e-300)
    count = np.bincount(hours[known], minlength=HOURS)
    total = np.bincount(hours[known], weights=size, minlength=HOURS)
    usual = (total + USUAL_ERRORS * mean) / (count + USUAL_ERRORS)
    return np.asarray((2 * usual + np.roll(usual, 1) + np.roll(usual, -1)) / 4)


def _adapted(levels: Floats, truth: Floats, low: Floats, high: Floats) -> Floats:
    """The levels of both edges after one forecast's truths are known."""
    known = np.isfinite(truth) & np.isfinite(low)
    if not known.any():
        return levels
    outside = np.array([np.mean(truth[known] < low[known]), np.mean(truth[known] > high[known])])
    return np.clip(levels + RATE * (TAIL - outside), *LEVEL_BOUNDS)
