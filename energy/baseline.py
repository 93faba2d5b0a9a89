"""What a span would have taken, from how the weeks before it went: the whole-facility regression of IPMVP's option C.

Daily facility energy on daily IT energy and mean wet bulb, by ordinary least squares over the days before. The saving is what
the model expects less what was metered; its uncertainty is that of a sum of predicted days, with residuals that may lean on
each other. Formulas: ASHRAE Guideline 14-2014, section 4.2.11 and annex B (CV(RMSE), autocorrelated residuals); IPMVP Core
Concepts 2022, option C. A baseline that the guideline would not accept is not used, and says why.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import stdtrit

from twin.frame import Floats

LEAST_DAYS = 21
WORST_CV_FRAC = 0.10  # of daily energy; the guideline allows 0.20-0.30 for whole buildings, which hide any saving of a plant
CONFIDENCE_FRAC = 0.8


class Verdict(StrEnum):
    """Whether a saving can be shown, and why not."""

    SHOWN = "shown"
    TOO_SHORT = "No saving against the weeks before can be shown: they have fewer than 21 whole days."
    TOO_LOOSE = "No saving against the weeks before can be shown: load and weather do not explain their energy."
    OUTSIDE = "No saving against the weeks before can be shown: load or weather were beyond what they had."
    NO_DAYS = "No saving against the weeks before can be shown: no whole day of the span was read."


@dataclass(frozen=True, slots=True)
class Saving:
    """kWh over the days that count (``days``): expected less metered, with its interval of ``CONFIDENCE_FRAC``; NaN and a
    reason where it cannot be shown. ``cv_frac``: CV(RMSE) of the model on its own past, which is ``fitted_days`` long."""

    verdict: Verdict
    kwh: float
    low_kwh: float
    high_kwh: float
    expected_kwh: float
    metered_kwh: float
    days: int
    cv_frac: float
    fitted_days: int


def saving(past_days: Floats, span_days: Floats) -> Saving:
    """``past_days`` and ``span_days``: float64[days, 3] of facility kWh, IT kWh and mean wet bulb [°C]; a day with a NaN does
    not count. Without any wet bulb the model rests on IT energy alone."""
    with_bulb = bool(np.isfinite(past_days[:, 2]).any() and np.isfinite(span_days[:, 2]).any())
    columns = (0, 1, 2) if with_bulb else (0, 1)
    past, now = (table[np.isfinite(table[:, columns]).all(axis=1)][:, columns] for table in (past_days, span_days))
    if not len(now):
        return _none(Verdict.NO_DAYS, 0, np.nan, len(past))
    if len(past) < LEAST_DAYS:
        return _none(Verdict.TOO_SHORT, len(now), np.nan, len(past))
    x, y = np.column_stack([np.ones(len(past)), past[:, 1:]]), past[:, 0]
    scale = np.fmax(np.abs(x).max(axis=0), np.full(x.shape[1], 1e-12))
    factors, _, rank, _ = np.linalg.lstsq(x / scale, y, rcond=1e-8)
    residual = y - x / scale @ factors
    free = max(len(y) - int(rank), 1)
    variance = float(residual @ residual) / free
    mean_kwh = float(y.mean())
    cv_frac = float(np.sqrt(variance)) / mean_kwh if mean_kwh > 0 else np.inf
    if cv_frac > WORST_CV_FRAC:
        return _none(Verdict.TOO_LOOSE, len(now), cv_frac, len(past))
    low, high = past[:, 1:].min(axis=0), past[:, 1:].max(axis=0)
    room = 0.1 * np.maximum(high - low, 1e-9)
    mean = now[:, 1:].mean(axis=0)
    if ((mean < low - room) | (mean > high + room)).any():
        return _none(Verdict.OUTSIDE, len(now), cv_frac, len(past))
    at = np.column_stack([np.ones(len(now)), now[:, 1:]]) / scale
    expected, metered = float((at @ factors).sum()), float(now[:, 0].sum())
    spread = _spread(x / scale, at.sum(axis=0), variance, residual, len(now))
    wide = float(stdtrit(free, 0.5 + CONFIDENCE_FRAC / 2)) * spread
    saved = expected - metered
    return Saving(Verdict.SHOWN, saved, saved - wide, saved + wide, expected, metered, len(now), cv_frac, len(past))


def _spread(x: Floats, at: Floats, variance: float, residual: Floats, days: int) -> float:
    """Standard error of the sum over ``days``: of the fit and of the days' own scatter, both with the lag-1 autocorrelation of
    the residuals: days that lean on each other are as few as n (1 - r) / (1 + r) that do not. In a short series r comes out low
    by (1 + 3 r) / n (Marriott & Pope 1954), which is put right."""
    count = len(residual)
    lean = float(residual[1:] @ residual[:-1]) / max(float(residual @ residual), 1e-300)
    lean = min(max((count * lean + 1) / (count - 3), 0.0), 0.95)
    inverse = np.linalg.pinv(x.T @ x)
    return float(np.sqrt(variance * (1 + lean) / (1 - lean) * (at @ inverse @ at + days)))


def _none(why: Verdict, days: int, cv_frac: float, fitted_days: int) -> Saving:
    return Saving(why, np.nan, np.nan, np.nan, np.nan, np.nan, days, float(cv_frac), fitted_days)
