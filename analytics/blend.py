"""What models say, averaged: with weights from the errors that they made from past moments of the very series.

No model wins on all series, so none is chosen once. Each range of leads has its own weights, errors of long ago fade, and a
model that does no better than the daily seasonal naive is switched off there until it does.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from analytics.conformal import MIN_PATHS, known_by
from analytics.models import all_models
from analytics.models.seasonal_naive import NAIVE_DAY, PERSISTENCE
from analytics.score import Rolling
from twin.frame import Floats

NEAR_POWER = 8  # of the next hour, whose few models are alike
POWER = 3  # weights are errors to the minus this; 2 to 4 are alike on other recorded series, 8 is worse, so is stacking
HALF_LIFE_DAYS = 28.0  # of an error's weight; 21 and 35 are alike
OFF_ORIGINS = 8  # past moments that must agree before a model is switched off
OFF_NEWEST = 24  # past moments that the blend as a whole is held to
OFF_RATIO = 1.2  # of a baseline's error, at which the blend gives way to it: chance alone must not switch


def blended(rolling: Rolling, buckets: Sequence[slice], day: int, power: float = POWER) -> Floats:
    """float64[k, h]: at every origin the weighted mean of the models; before there is anything to weigh by, their median."""
    names = list(rolling.said)
    said = np.stack([rolling.said[name] for name in names])
    error = np.abs(said - rolling.truth)
    out = np.full(rolling.truth.shape, np.nan)
    for i, origin in enumerate(rolling.origins):
        able = np.isfinite(said[:, i, 0])
        for bucket in buckets:
            known = known_by(rolling.origins, bucket.stop, int(origin))
            weights = _weights(error[:, known, bucket], (int(origin) - rolling.origins[known]) / day, names, power)
            weights[~able] = 0.0
            if len(known) >= MIN_PATHS and weights.sum() > 0:
                out[i, bucket] = np.tensordot(weights[able] / weights.sum(), said[able, i, bucket], axes=1)
            else:
                out[i, bucket] = np.median(said[able, i, bucket], axis=0)
    return out


def guarded(blend: Floats, rolling: Rolling, buckets: Sequence[slice]) -> Floats:
    """float64[k, h]: ``blend``, and in its place at each origin and range of leads the baseline that by then had done better,
    if one had: a procedure that stops beating its baselines is switched off until it beats them again."""
    names = [name for name in rolling.said if name in {model.name for model in all_models() if model.baseline}]
    said = np.stack([blend, *(rolling.said[name] for name in names)])
    error = np.abs(said - rolling.truth)
    out = blend.copy()
    for i, origin in enumerate(rolling.origins):
        able = np.isfinite(said[:, i, 0])
        for bucket in buckets:
            known = known_by(rolling.origins, bucket.stop, int(origin))
            both = error[:, known, bucket][able]
            both = both[:, np.isfinite(both[:, :, 0]).all(axis=0)]
            if both.shape[1] < OFF_ORIGINS:
                continue
            newest = both[:, -OFF_NEWEST:]
            means = np.nanmean(newest, axis=(1, 2))
            if means[0] > OFF_RATIO * means.min():
                out[i, bucket] = said[able][means.argmin(), i, bucket]
    return out


def shares(rolling: Rolling, buckets: Sequence[slice], day: int) -> Mapping[str, Floats]:
    """Model -> float64[buckets]: its share in the blend at the last origin; 0 where it is switched off or not able."""
    names = list(rolling.said)
    last = len(rolling.origins) - 1
    origin = int(rolling.origins[last])
    able = np.isfinite([rolling.said[name][last, 0] for name in names])
    columns = []
    for bucket in buckets:
        known = known_by(rolling.origins, bucket.stop, origin)
        error = np.abs(np.stack([rolling.said[name][known, bucket] for name in names]) - rolling.truth[known, bucket])
        weights = np.where(able, _weights(error, (origin - rolling.origins[known]) / day, names, POWER), 0.0)
        columns.append(weights / max(float(weights.sum()), 1e-300))
    return dict(zip(names, np.column_stack(columns), strict=True))


def _weights(error: Floats, age_days: Floats, names: Sequence[str], power: float) -> Floats:
    """float64[m]: from errors (float64[m, k, b], NaN where a model was not able or nothing was measured) relative to those of
    persistence at the same origins; 0 with fewer than ``MIN_PATHS`` origins, and for what is switched off."""
    fade = np.broadcast_to(0.5 ** (age_days / HALF_LIFE_DAYS)[:, None], error.shape[1:])
    reference = error[names.index(PERSISTENCE)]
    relative, origins = np.full(len(error), np.inf), np.zeros(len(error))
    for m, mine in enumerate(error):
        both = np.isfinite(mine) & np.isfinite(reference)
        origins[m] = np.count_nonzero(both.any(axis=1))
        if origins[m] >= MIN_PATHS:
            base = max(float((reference[both] * fade[both]).sum()), 1e-300)
            relative[m] = max(float((mine[both] * fade[both]).sum()) / base, 1e-3)
    weights = np.where(np.isfinite(relative), relative**-power, 0.0)
    if NAIVE_DAY in names and np.isfinite(naive := relative[names.index(NAIVE_DAY)]):
        weights[(relative >= naive) & (origins >= OFF_ORIGINS) & ~_baselines(names)] = 0.0
    return weights


def _baselines(names: Sequence[str]) -> "np.ndarray":
    known = {model.name for model in all_models() if model.baseline}
    return np.array([name in known for name in names])
