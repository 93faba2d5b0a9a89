"""Prices of the day ahead from the days before: all hours of a market's next day at once, as its auction sets them.

The regressors are those of LEAR (Lago, Marcjasz, De Schutter & Weron 2021, Applied Energy 293, 116983): every hour of one,
two, three, seven (here also fourteen) days ago, the day of the week, and what is told of the day beforehand (load and wind
forecasts, another's price forecast), after a variance-stabilising transform (asinh of the median-scaled price: Uniejewski,
Weron & Ziel 2018, IEEE Trans. Power Syst. 33). The mean of a LASSO, as there, and of a ridge: on two markets the mean chose
cheap hours better than either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.models.autoregression import BLOCK
from twin.frame import Floats, Ints
from twin.site import Bools

LAGS_D = (1, 2, 3, 7, 14)
WINDOW_D, LEAST_D = 364, 28  # days that a fit looks at; with fewer than the least there is none
PENALTY, ALPHA = 1.0, 0.05  # of the ridge, a sample; of the LASSO
REFIT_D = 3  # days between two fits of a backcast
SKILL_D = 56  # days by which own and told forecasts are weighed
_WIDEST = 6.0  # of the transformed price: an asinh of 6 is 200 spreads from the median


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """``price``: float64[d, s], the days known so far; ``weekday``: int32[d + 1], 0 Monday, and ``holiday``: bool[d + 1], that
    of the day to come too; ``told``: float64[d + 1, k], what is known of each day the day before (k may be 0)."""

    price: Floats
    weekday: Ints
    holiday: Bools
    told: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A regression for every hour: prices are scaled by ``middle`` and ``scale``, columns by ``mean`` and ``spread``
    (float64[c]); ``factors``: float64[c, s]; ``usual``: float64[s]."""

    middle: float
    scale: float
    mean: Floats
    spread: Floats
    factors: Floats
    usual: Floats


def fit(days: Days) -> Fitted | None:
    """Learn from the days known; None where there are under ``LEAST_D`` of them beside those that the lags take."""
    n, deepest = len(days.price), max(LAGS_D)
    if n < deepest + LEAST_D:
        return None
    first = max(deepest, n - WINDOW_D)
    recent = days.price[max(0, first - 7) :]
    middle = float(np.median(recent))
    scale = 1.4826 * float(np.median(np.abs(recent - middle))) or float(recent.std()) or 1.0
    eased = np.arcsinh((days.price - middle) / scale)
    columns, target = _columns(days, eased, np.arange(first, n)), eased[first:]
    mean, spread, usual = columns.mean(axis=0), columns.std(axis=0) + 1e-9, target.mean(axis=0)
    unit = (columns - mean) / spread
    factors = (_ridge(unit, target - usual, PENALTY) + _lasso(unit, target - usual, ALPHA)) / 2
    return Fitted(middle, scale, mean, spread, factors, usual)


def day_ahead(days: Days, fitted: Fitted | None) -> Floats:
    """float64[s]: the prices of the day after the last; the mean of the last week where nothing could be learnt."""
    if fitted is None:
        return np.asarray(days.price[-7:].mean(axis=0))
    eased = np.arcsinh((days.price - fitted.middle) / fitted.scale)
    unit = (_columns(days, eased, np.array([len(days.price)])) - fitted.mean) / fitted.spread
    foreseen = np.clip(unit[0] @ fitted.factors + fitted.usual, -_WIDEST, _WIDEST)
    return np.asarray(np.sinh(foreseen) * fitted.scale + fitted.middle)


def _columns(days: Days, eased: Floats, at: NDArray[np.intp]) -> Floats:
    """float64[m, c]: what was known of each day of ``at`` before it began."""
    lags = [eased[at - lag] for lag in LAGS_D]
    week = np.mean([eased[at - lag] for lag in range(1, 8)], axis=0)
    last = eased[at - 1]
    edges = np.column_stack([last.min(axis=1), last.max(axis=1), last.mean(axis=1)])
    calendar = np.column_stack([days.weekday[at, None] == np.arange(7), *(days.holiday[at - lag] for lag in (0, 1, 7))])
    return np.column_stack([*lags, week, edges, calendar, days.told[at]])


def _ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """float64[c, s]: a ridge for every column of ``y`` (Hoerl & Kennard 1970), multiplied in blocks as ``ridge`` does."""
    n, c = x.shape
    whole = np.zeros((-(-n // BLOCK) * BLOCK, c + y.shape[1]))
    whole[:n, :c], whole[:n, c:] = x, y
    blocks = whole.reshape(-1, BLOCK, whole.shape[1])
    products = (blocks[:, :, :c].transpose(0, 2, 1) @ blocks).sum(axis=0)
    return np.asarray(np.linalg.solve(products[:, :c] + penalty * n * np.eye(c), products[:, c:]))


def _lasso(x: Floats, y: Floats, alpha: float) -> Floats:
    """float64[c, s]: a LASSO for every column of ``y`` (Tibshirani 1996), by coordinate descent as scikit-learn does it."""
    from sklearn.linear_model import Lasso

    # loose on purpose: on two markets a tighter one chose no other hours and took ten times as long
    found = Lasso(alpha=alpha, fit_intercept=False, max_iter=1000, tol=1e-3).fit(x, y)
    return np.asarray(found.coef_, dtype=np.float64).reshape(y.shape[1], x.shape[1]).T


def backcast(price: Floats, weekday: Ints, holiday: Bools, told: Floats, first: int) -> Floats:
    """float64[d, s]: for each day from ``first`` on what would have been foreseen the day before (NaN before that)."""
    seen: Floats = np.full(price.shape, np.nan)
    fitted: Fitted | None = None
    for d in range(first, len(price)):
        days = Days(price[:d], weekday[: d + 1], holiday[: d + 1], told[: d + 1])
        if (d - first) % REFIT_D == 0:
            fitted = fit(days)
        seen[d] = day_ahead(days, fitted)
    return seen


def weighed(own: Floats, told: Floats, price: Floats, first: int) -> Floats:
    """float64[d, s]: own and another's forecast (float64[d, s]) in one, each weighed by the inverse of its mean squared error
    of the last ``SKILL_D`` days known (Bates & Granger 1969, Oper. Res. Q. 20); the own one alone where the other is silent,
    and on the first day after such a silence."""
    out = own.copy()
    for d in range(first, len(price)):
        past = slice(max(first, d - SKILL_D), d)
        if np.isnan(told[d]).any():
            continue
        errors = [(one[past] - price[past]) ** 2 for one in (own, told)]
        if d > first and not all(np.isfinite(error).any() for error in errors):
            continue  # the other spoke on none of those days: nothing says how good it is
        weights = [1 / max(float(np.nanmean(error)), 1e-9) if d > first else 1.0 for error in errors]
        out[d] = (weights[0] * own[d] + weights[1] * told[d]) / sum(weights)
    return out
