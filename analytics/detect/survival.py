"""How often an asset fails before anything speaks against it: by its age and by its model.

The shape over age is that of all assets together: Kaplan and Meier's survival with late entry (statsmodels' ``SurvfuncRight``;
assets are seen from some age on and most still live). A model counts by its standardised ratio, failures seen over failures
that its assets' ages ask for, drawn towards 1 as much as ``OWN_FAILURES`` failures weigh (a gamma prior), so that three drives
of a new model say little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats
from twin.site import Bools

OWN_FAILURES = 5.0  # of a model, that count as much as the pool
LEAST_FAILURES = 20  # of all, below which there is no shape over age to speak of
BAND_S = 90 * 86400.0  # hazard is told as the mean over so much age, to both sides


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """``age_s``, ``hazard``: float64[k], ages and the cumulative hazard up to them; ``factor``: by model; ``failures``: how
    many it was learnt from."""

    age_s: Floats
    hazard: Floats
    factor: Mapping[str, float]
    failures: int

    def chance(self, age_s: Floats, models: Sequence[str], horizon_s: float) -> Floats:
        """float64[n]: probability of a failure within ``horizon_s``; an unknown age (NaN) counts as the mean one, an unknown
        model as the pool. Ages beyond those seen count as the oldest seen."""
        low, high = float(self.age_s[0]), float(self.age_s[-1])
        at = np.where(np.isfinite(age_s), age_s, (low + high) / 2)
        start = np.clip(at - BAND_S, low, max(low, high - 2 * BAND_S))
        end = np.minimum(start + 2 * BAND_S, high)
        rate = (np.interp(end, self.age_s, self.hazard) - np.interp(start, self.age_s, self.hazard)) / np.maximum(
            end - start, 1.0
        )
        factor = np.array([self.factor.get(model, 1.0) for model in models])
        return np.asarray(-np.expm1(-rate * factor * horizon_s))


def fit(entry_s: Floats, exit_s: Floats, failed: Bools, models: Sequence[str]) -> Baseline | None:
    """From the lives of n assets: seen from age ``entry_s`` to ``exit_s`` (float64[n]), at whose end they failed or not. None
    where fewer than ``LEAST_FAILURES`` failed."""
    from statsmodels.duration.survfunc import SurvfuncRight  # takes a second to load

    seen = exit_s > entry_s
    entry_s, exit_s, failed = entry_s[seen], exit_s[seen], failed[seen]
    if np.count_nonzero(failed) < LEAST_FAILURES:
        return None
    names, of = np.unique(np.asarray(models)[seen], return_inverse=True)
    # where but a handful is at risk, as with late entry at the youngest age, one failure would decide for all
    curve = SurvfuncRight(exit_s, failed.astype(np.int64), entry=entry_s)
    at_risk = np.maximum(np.asarray(curve.n_risk, dtype=np.float64), LEAST_FAILURES)
    ages = np.concatenate([[float(entry_s.min())], np.asarray(curve.surv_times, dtype=np.float64)])
    hazard = np.concatenate([[0.0], np.cumsum(np.asarray(curve.n_events, dtype=np.float64) / at_risk)])
    asked = np.interp(exit_s, ages, hazard) - np.interp(entry_s, ages, hazard)
    seen_of = np.bincount(of, weights=failed.astype(np.float64), minlength=len(names))
    asked_of = np.bincount(of, weights=asked, minlength=len(names))
    factor = (seen_of + OWN_FAILURES) / (asked_of + OWN_FAILURES)
    return Baseline(ages, hazard, dict(zip(names.tolist(), factor.tolist(), strict=True)), int(np.count_nonzero(failed)))
