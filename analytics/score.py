"""Backtests: what models would have said at past moments, and how good that was.

Rules kept here: a forecast sees nothing at or after its origin; a step that was not measured is never judged; models are
compared on the same origins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from analytics.models import CannotFit, Model
from twin.frame import Floats, Ints

QUANTILES = (0.1, 0.5, 0.9)
PEAK_WITHIN_S = 3600.0


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


def past_origins(n: int, horizon: int, first: int, day: int, most: int) -> Ints:
    """int32[k]: at most ``most`` origins in ``[first, n - horizon]``, the newest last, at varied hours of the day.

    They lie as far apart as ``most`` of them allow, at most 41 hours, with a spacing that shares no divisor with the day."""
    newest = n - horizon
    if newest < first:
        return np.empty(0, dtype=np.int32)
    apart = max(1, min((newest - first) // max(most - 1, 1), round(41 / 24 * day)))
    while gcd(apart, day) > 1:
        apart -= 1
    count = min(most, (newest - first) // apart + 1)
    return (newest - apart * np.arange(count)[::-1]).astype(np.int32)


def roll(
    values: Floats, filled: Floats, origins: Ints, horizon: int, day: int, models: Sequence[Model], history: int
) -> Rolling:
    """What ``models`` say at ``origins``, each from the ``history`` steps before it. ``values``: float64[n], NaN where nothing
    was measured; ``filled``: the same without NaN, made from the past alone. An origin at n gives a truth of NaN."""
    k = len(origins)
    truth, scale = np.full((k, horizon), np.nan), np.full(k, np.nan)
    said = {model.name: np.full((k, horizon), np.nan) for model in models}
    for i, origin in enumerate(int(o) for o in origins):
        known = values[origin : origin + horizon]
        truth[i, : len(known)] = known
        past = filled[max(0, origin - history) : origin]
        scale[i] = naive_scale(past, day)
        for model in models:
            if len(past) >= model.least(horizon, day):
                try:
                    path = model.fit_predict(past, horizon, day)
                except CannotFit:
                    continue
                if np.isfinite(path).all():
                    said[model.name][i] = path
    return Rolling(origins, truth, said, scale)


def naive_scale(history: Floats, day: int) -> float:
    """Mean absolute difference between steps a day apart (of neighbours, where the history is no longer than a day): the
    denominator of MASE (Hyndman & Koehler 2006). NaN where it is 0 or there is none."""
    season = day if len(history) > day else 1
    if len(history) <= season:
        return float("nan")
    scale = float(np.abs(history[season:] - history[:-season]).mean())
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
