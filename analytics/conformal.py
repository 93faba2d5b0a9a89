"""Intervals that are right as often as they say: from the errors that the same forecasts made before, adapted as truths arrive.

A forecast's own idea of its spread cannot be trusted (nominal 80 % bands of quantile trees held 15-56 % of the truths on three
of four recorded families). Here an edge is the median plus a quantile of past errors at the same lead, and the level of that
quantile is moved after each truth: Gibbs & Candès, Adaptive conformal inference under distribution shift (NeurIPS 2021). Errors
are first set in relation to what is usual at that hour of the day (Lei et al., Distribution-free predictive inference for
regression, JASA 113 (2018) 1094, 5.2: locally weighted conformal inference), so that a band is wide where the day is uncertain.
A step is learnt from once it has passed: the last range of a week ahead takes three days to pass, and its band need not wait.
"""

from collections.abc import Sequence

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Bools

TAIL = 0.1  # of truths below p10, and above p90
RATE = 0.01  # by how much a level moves, times the error in the share of truths outside; the paper uses 0.005
LEVEL_BOUNDS = (0.01, 0.25)
MIN_PATHS = 3  # past forecasts whose whole range has passed, before an interval is given
FEW = 0.5  # by which levels move out, over the number of paths; 1 suits errors that are independent, and is too wide here
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


def passed(origins: Ints, ahead: slice, now: int) -> Bools:
    """bool[k, b]: which of the steps ``ahead`` (of every origin) have passed at step ``now``, so that what came is known."""
    return np.asarray(origins[:, None] + np.arange(ahead.start, ahead.stop) < now)


def intervals(
    median: Floats, truth: Floats, origins: Ints, buckets: Sequence[slice], day: int | None = None, apart: int = 1
) -> tuple[Floats, Floats]:
    """(p10, p90), float64[k, h] each: for every forecast from the errors of the steps that had passed by then.

    ``median``: float64[k, h], NaN in the rows without a forecast; ``truth``: float64[k, h], NaN where unknown; ``day``: steps
    in 24 h, for errors in relation to what is usual at that hour (None: no such relation); ``apart``: steps from which on two
    forecasts count as two, for their errors hang together below. The answer is NaN where fewer than ``MIN_PATHS`` forecasts
    have passed as a whole: the first steps of a few say too little of a range."""
    low, high = np.full(median.shape, np.nan), np.full(median.shape, np.nan)
    error = truth - median
    for bucket in buckets:
        levels = np.array([TAIL, TAIL])
        measured = np.isfinite(error[:, bucket])
        learnt = np.zeros_like(measured)
        hours = _hours(origins, bucket, day)
        for i, origin in enumerate(origins.tolist()):
            known = passed(origins, bucket, origin) & measured
            levels = _adapted(levels, known & ~learnt, truth[:, bucket], low[:, bucket], high[:, bucket])
            learnt = known
            whole = measured[known_by(origins, bucket.stop, origin)].any(axis=1)
            if np.count_nonzero(whole) >= MIN_PATHS and np.isfinite(median[i, bucket]).all():
                past = error[:, bucket][known]
                usual = _usual(past, hours[known])
                # n + 1 instead of n, as conformal prediction asks; errors of one path hang together, so paths are counted, and
                # those of one day count as one
                paths = origins[known.any(axis=1)]
                count = min(len(paths), 1 + (paths[-1] - paths[0]) / apart)
                inside = np.minimum((1 - levels) * (1 + FEW / count), 1.0)
                edges = np.quantile(past / usual[hours[known]], (1 - inside[0], inside[1]))
                low[i, bucket] = median[i, bucket] + edges[0] * usual[hours[i]]
                high[i, bucket] = median[i, bucket] + edges[1] * usual[hours[i]]
    return np.minimum(low, median), np.maximum(high, median)


def _hours(origins: Ints, bucket: slice, day: int | None) -> Ints:
    """int32[k, b]: the hour of the day of each step ahead, counted from that of the series' first step."""
    steps = origins[:, None] + np.arange(bucket.start, bucket.stop)
    return (np.zeros_like(steps) if day is None else steps % day * HOURS // day).astype(np.int32)


def _usual(error: Floats, hours: Ints) -> Floats:
    """float64[24]: the usual size of an error at each hour of the day, above 0; few errors weigh towards that of the day.
    ``error``: float64[n]; ``hours``: int32[n], of each."""
    size = np.abs(error)
    mean = max(float(size.mean()), 1e-300)
    count = np.bincount(hours, minlength=HOURS)
    total = np.bincount(hours, weights=size, minlength=HOURS)
    usual = (total + USUAL_ERRORS * mean) / (count + USUAL_ERRORS)
    return np.asarray((2 * usual + np.roll(usual, 1) + np.roll(usual, -1)) / 4)


def _adapted(levels: Floats, fresh: Bools, truth: Floats, low: Floats, high: Floats) -> Floats:
    """The levels of both edges after the steps ``fresh`` (bool[k, b], as the others are [k, b]) have passed. All steps of a
    forecast together, whenever they pass, move a level as far as the paper's one truth does."""
    held_to = fresh & np.isfinite(low)
    outside = np.array([np.count_nonzero((truth < low) & held_to), np.count_nonzero((truth > high) & held_to)])
    moved = RATE * (TAIL * np.count_nonzero(held_to) - outside) / truth.shape[1]
    return np.asarray(np.clip(levels + moved, *LEVEL_BOUNDS))
