"""What models say, averaged: with weights from the errors that they made from past moments of the very series.

No model wins on all series, so none is chosen once. Each range of leads has its own weights, errors of long ago fade, and a
model that does much worse than the daily seasonal naive is switched off there until it does not.
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
MEMBER_OFF_RATIO = (
    1.5  # of the naive's error, at which a model is left out of the mean; weights do the rest: at 1 a model comes
)
# and goes by chance, which cost 1 % of the week's error on the series that choose
OFF_ORIGINS = 8  # past moments that must agree before a model is switched off
OFF_NEWEST = 24  # past moments that the blend as a whole is held to
OFF_RATIO = 1.2  # of a baseline's error, at which the blend gives way to it: chance alone must not switch


def blended(rolling: Rolling, buckets: Sequence[slice], day: int, power: float = POWER) -> Floats:
    """float64[k, h]: at every origin the weighted mean of the models; before there is anything to weigh by, their median."""
    said = np.stack(list(rolling.said.values()))
    able = np.isfinite(said[:, :, 0])
    out = np.full(rolling.truth.shape, np.nan)
    for bucket in buckets:
        weight = _weights(rolling, bucket, day, power) * able
        total = weight.sum(axis=0)
        mean = np.einsum(
            "mk,mkb->kb", weight / np.where(total > 0, total, 1.0), np.where(able[:, :, None], said[:, :, bucket], 0.0)
        )
        for i in np.flatnonzero(total <= 0).tolist():
            mean[i] = np.median(said[able[:, i], i, bucket], axis=0)
        out[:, bucket] = mean
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
    able = np.isfinite([said[-1, 0] for said in rolling.said.values()])
    columns = [_weights(rolling, bucket, day, POWER)[:, -1] * able for bucket in buckets]
    table = np.column_stack([weight / max(float(weight.sum()), 1e-300) for weight in columns])
    return dict(zip(rolling.said, table, strict=True))


def trust(rolling: Rolling, buckets: Sequence[slice], day: int) -> Floats:
    """float64[m, k]: each model's share in the blend at each origin, in the mean over the ranges of leads."""
    able = np.isfinite([said[:, 0] for said in rolling.said.values()])
    weights = [_weights(rolling, bucket, day, POWER) * able for bucket in buckets]
    return np.asarray(np.mean([weight / np.maximum(weight.sum(axis=0), 1e-300) for weight in weights], axis=0))


def _weights(rolling: Rolling, bucket: slice, day: int, power: float) -> Floats:
    """float64[m, k]: of each model at each origin, from the errors of the origins whose truths were known by then relative to
    those of persistence at the same steps; 0 with fewer than ``MIN_PATHS`` origins, and for what is switched off."""
    names, origins = list(rolling.said), rolling.origins
    error = np.abs(np.stack([rolling.said[name][:, bucket] for name in names]) - rolling.truth[:, bucket])
    reference = error[names.index(PERSISTENCE)]
    both = np.isfinite(error) & np.isfinite(reference)
    mine, theirs = np.where(both, error, 0.0).sum(axis=2), np.where(both, reference, 0.0).sum(axis=2)
    seen = np.zeros((len(origins), len(origins)))
    for i, origin in enumerate(origins.tolist()):
        seen[i, known_by(origins, bucket.stop, origin)] = 1.0
    fade = seen * 0.5 ** ((origins[:, None] - origins) / (HALF_LIFE_DAYS * day))
    count = both.any(axis=2) @ seen.T
    relative = np.maximum((mine @ fade.T) / np.maximum(theirs @ fade.T, 1e-300), 1e-3)
    weights = np.where(count >= MIN_PATHS, relative**-power, 0.0)
    if NAIVE_DAY in names:
        naive = np.where(count >= MIN_PATHS, relative, np.inf)[names.index(NAIVE_DAY)]
        weights[(relative >= MEMBER_OFF_RATIO * naive) & (count >= OFF_ORIGINS) & ~_baselines(names)[:, None]] = 0.0
    return weights


def _baselines(names: Sequence[str]) -> "np.ndarray":
    known = {model.name for model in all_models() if model.baseline}
    return np.array([name in known for name in names])
