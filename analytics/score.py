"""Backtests: what models would have said at past moments, and how good that was.

Rules kept here: a forecast sees nothing at or after its origin; a step that was not measured is never judged; models are
compared on the same origins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from twin.frame import Floats, Ints

QUANTILES = (0.1, 0.5, 0.9)
PEAK_WITHIN_S = 3600.0
RELIABILITY_BINS = 10


@dataclass(frozen=True, slots=True)
class Score:
    """How the procedure did from past moments of the same series, beside the seasonal naive forecast of one day.

    ``mase``: mean absolute error over that of the in-sample daily seasonal naive (Hyndman & Koehler 2006);
    ``pinball_vs_naive_frac``: mean pinball loss at 0.1, 0.5, 0.9 over that of the naive, whose intervals are the quantiles of
    its own past errors by lead; ``coverage_80_frac``: share of truths inside p10-p90; ``origins``: from how many past moments
    it was judged. With none, and where the series is constant, the figures are NaN.
    """

    model: str
    mase: float
    naive_mase: float
    pinball_vs_naive_frac: float
    coverage_80_frac: float
    origins: int


def unscored(model: str) -> Score:
    """Of a forecast that could not be judged."""
    nothing = float("nan")
    return Score(model, nothing, nothing, nothing, nothing, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Rolling:
    """What models said at k origins. ``origins``: int32[k], increasing, position of the first step foreseen; ``truth``:
    float64[k, h], NaN where nothing was measured or it is still to come; ``said``: model -> float64[k, h], NaN in the rows
    where the model could not; ``scale``: float64[k], mean absolute error of the daily seasonal naive within each history."""

    origins: Ints
    truth: Floats
    said: Mapping[str, Floats]
    scale: Floats

    @property
    def horizon(self) -> int:
        """Steps foreseen."""
        return int(self.truth.shape[1])


def past_origins(newest: int, first: int, day: int, most: int, base: int = 0) -> Ints:
    """int32[k]: at most ``most`` origins in ``[first, newest]``, in order, at varied hours of the day.

    They lie as far apart as ``most`` of them allow, at most 41 hours, with a spacing that shares no divisor with the day, and
    on multiples of it counted from ``-base``: a series that has grown meets most of its former origins again."""
    if newest < first:
        return np.empty(0, dtype=np.int32)
    apart = max(1, min((newest - first) // max(most - 1, 1), round(41 / 24 * day)))
    shorter = next(near for near in range(apart, 0, -1) if gcd(near, day) == 1)
    if 2 * shorter < apart:  # of a short series: origins an hour apart would all stand at its end and say the same
        shorter = next(near for near in range(apart, apart + day + 1) if gcd(near, day) == 1)
    apart = shorter
    last = newest - (newest + base) % apart
    count = min(most, (last - first) // apart + 1) if last >= first else 0
    return (last - apart * np.arange(count)[::-1]).astype(np.int32)


def naive_scale(history: Floats, day: int) -> float:
    """Mean absolute difference between steps a day apart (of neighbours, where the history is no longer than a day): the
    denominator of MASE (Hyndman & Koehler 2006). ``history``: NaN in gaps, whose steps count for nothing; one that was filled
    or closed up has other differences. NaN where it is 0 or there is none."""
    season = day if len(history) > day else 1
    apart = np.abs(history[season:] - history[:-season]) if len(history) > season else np.empty(0)
    known = np.isfinite(apart)
    scale = float(apart[known].mean()) if known.any() else 0.0
    return scale if scale > 0 else float("nan")


def pinball(truth: Floats, said: Floats, quantile: float) -> Floats:
    """Loss of a quantile forecast, element by element (Koenker & Bassett 1978)."""
    error = truth - said
    return np.maximum(quantile * error, (quantile - 1) * error)


def mean_pinball(truth: Floats, bands: Sequence[Floats]) -> float:
    """Mean pinball loss over the three quantiles and all steps with a truth."""
    return float(np.mean([np.nanmean(pinball(truth, band, q)) for band, q in zip(bands, QUANTILES, strict=True)]))


def mase(truth: Floats, said: Floats, scale: Floats) -> float:
    """Mean absolute scaled error over origins (rows) with their own scale, NaN where nothing can be judged."""
    scaled = np.abs(truth - said) / scale[:, None]
    return float(np.nanmean(scaled)) if np.isfinite(scaled).any() else float("nan")


def coverage(truth: Floats, low: Floats, high: Floats) -> float:
    """Share of known truths inside ``[low, high]``."""
    known = np.isfinite(truth) & np.isfinite(low)
    return float(np.mean((truth >= low)[known] & (truth <= high)[known])) if known.any() else float("nan")


def peak_hit(truth: Floats, said: Floats, day: int) -> float:
    """Share of days ahead whose highest step was foreseen within an hour, round the clock. Days with a gap are left out."""
    hits = []
    within = max(1, round(PEAK_WITHIN_S / 86400 * day))
    for start in range(0, truth.shape[1] - day + 1, day):
        for real, foreseen in zip(truth[:, start : start + day], said[:, start : start + day], strict=True):
            if np.isfinite(real).all() and np.isfinite(foreseen).all():
                apart = abs(int(real.argmax()) - int(foreseen.argmax()))
                hits.append(min(apart, day - apart) <= within)
    return float(np.mean(hits)) if hits else float("nan")


def brier(probability: Floats, came: "np.ndarray") -> float:
    """Mean squared difference of probabilities and what came, 0 or 1 (Brier, Monthly Weather Review 78 (1950) 1)."""
    known = np.isfinite(probability)
    return float(((probability[known] - came[known]) ** 2).mean()) if known.any() else float("nan")


def reliability(probability: Floats, came: "np.ndarray") -> tuple[Floats, Floats, Ints]:
    """(mean probability, share that came, count) in ``RELIABILITY_BINS`` equal bins of probability; NaN in empty bins."""
    known = np.isfinite(probability)
    bins = np.minimum((probability[known] * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    count = np.bincount(bins, minlength=RELIABILITY_BINS)
    with np.errstate(invalid="ignore"):
        said = np.bincount(bins, weights=probability[known], minlength=RELIABILITY_BINS) / count
        was = np.bincount(bins, weights=came[known].astype(np.float64), minlength=RELIABILITY_BINS) / count
    return said, was, count.astype(np.int32)


def reliability_gap(probability: Floats, came: "np.ndarray") -> float:
    """Mean distance of probability and frequency over bins, by their count: the expected calibration error."""
    said, was, count = reliability(probability, came)
    full = count > 0
    return float((np.abs(said - was)[full] * count[full]).sum() / count.sum()) if full.any() else float("nan")
