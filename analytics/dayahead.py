"""Prices of the day ahead from the days before: all hours of a market's next day at once, as its auction sets them.

A kernel ridge regression (Saunders, Gammerman & Vovk 1998, ICML; Rasmussen & Williams 2006, Gaussian Processes for Machine
Learning, 2.2 and 4.2.4) on what LEAR regresses on (Lago, Marcjasz, De Schutter & Weron 2021, Applied Energy 293, 116983): every
hour of one, two and seven days ago, the day of the week, and what is told of the day beforehand (load and wind forecasts,
another's price forecast), after a variance-stabilising transform (asinh of the median-scaled price: Uniejewski, Weron & Ziel
2018, IEEE Trans. Power Syst. 33). The kernel is a sum: a straight line in all of it, as in LEAR; the usual day of such a kind
and season; and days of that kind and season that began from prices like these, which no straight line can say.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from analytics.known import REST, WORK
from analytics.known import calendar as calendar_steps
from twin.frame import Floats, Ints
from twin.site import Bools

LAGS_D = (1, 2, 7)
WINDOW_D, LEAST_D = 728, 28  # days that a fit looks at; with fewer than the least there is none
PENALTY = 2.0  # variance of what cannot be foreseen, in that of what each part of the kernel says
REFIT_D = 7  # days that a fit serves where every slot is foreseen
SKILL_D = 56  # days by which own and told forecasts are weighed
_EVENING = 6  # the last sixth of yesterday counts twice: what the wind does then, it does at night
_WIDEST = 6.0  # of the transformed price: an asinh of 6 is 200 spreads from the median
_DAY_S, _YEAR_D = 86_400.0, 365.25


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """Of each day: ``weekday``: int32[d], 0 Monday; ``holiday``: bool[d]; ``day_of_year``: int32[d], 1 the first of January."""

    weekday: Ints
    holiday: Bools
    day_of_year: Ints

    def first(self, days: int) -> "Calendar":
        """The first ``days`` of it."""
        return Calendar(self.weekday[:days], self.holiday[:days], self.day_of_year[:days])

    def at(self, days: NDArray[np.intp]) -> "Calendar":
        """Those days of it."""
        return Calendar(self.weekday[days], self.holiday[days], self.day_of_year[days])


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """``price``: float64[d, s], the days known so far; ``calendar`` of these and the day to come, d + 1; ``told``:
    float64[d + 1, k], what is known of each day the day before (k may be 0)."""

    price: Floats
    calendar: Calendar
    told: Floats

    def until(self, day: int) -> "Days":
        """What was known before ``day`` began."""
        return Days(self.price[:day], self.calendar.first(day + 1), self.told[: day + 1])


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Prices are scaled by ``middle`` and ``scale``, what was known of a day by ``mean`` and ``spread`` (float64[c]); ``known``
    float64[m, c] and ``kind`` float64[m, j]: those of the days learnt from, their ``factors`` float64[m, s]; ``usual``:
    float64[s]."""

    middle: float
    scale: float
    mean: Floats
    spread: Floats
    known: Floats
    kind: Floats
    factors: Floats
    usual: Floats


def fit(days: Days, at: NDArray[np.intp] | None = None) -> Fitted | None:
    """Learn from the days known, or of these from ``at`` alone (none below the deepest lag); None where there are under
    ``LEAST_D`` of them beside those that the lags take."""
    n, deepest = len(days.price), max(LAGS_D)
    if at is None:
        at = np.arange(max(deepest, n - WINDOW_D), n)
    if len(at) < LEAST_D:
        return None
    recent = days.price[at[0] - deepest :]
    middle = float(np.median(recent))
    scale = 1.4826 * float(np.median(np.abs(recent - middle))) or float(recent.std()) or 1.0
    eased = np.arcsinh((days.price - middle) / scale)
    known = _known(days, eased, at)
    mean, spread = known.mean(axis=0), _spread(known, days.told.shape[1])
    known, kind = (known - mean) / spread, _kind(days.calendar, at)
    usual = eased[at].mean(axis=0)
    alike = _alike(known, kind, known, kind) + PENALTY * np.eye(len(at))
    factors = np.asarray(solve(alike, eased[at] - usual, assume_a="pos"))
    return Fitted(middle, scale, mean, spread, known, kind, factors, usual)


def day_ahead(days: Days, fitted: Fitted | None) -> Floats:
    """float64[s]: the prices of the day after the last; the mean of the last week where nothing could be learnt."""
    if fitted is None:
        return np.asarray(days.price[-7:].mean(axis=0))
    eased = np.arcsinh((days.price - fitted.middle) / fitted.scale)
    at = np.array([len(days.price)])
    known = (_known(days, eased, at) - fitted.mean) / fitted.spread
    alike = _alike(known, _kind(days.calendar, at), fitted.known, fitted.kind)
    foreseen = np.clip(alike[0] @ fitted.factors + fitted.usual, -_WIDEST, _WIDEST)
    return np.asarray(np.sinh(foreseen) * fitted.scale + fitted.middle)


def _known(days: Days, eased: Floats, at: NDArray[np.intp]) -> Floats:
    """float64[m, c]: prices before each day of ``at`` and, last, what was told of it. Yesterday weighs most."""
    slots = eased.shape[1]
    evening = np.where(np.arange(slots) >= slots - max(1, slots // _EVENING), 2.0, 1.0)
    week = np.mean([eased[at - lag] for lag in range(1, 8)], axis=0)
    return np.column_stack([evening * eased[at - 1], *(eased[at - lag] / 2 for lag in LAGS_D[1:]), week, days.told[at]])


def _spread(known: Floats, told: int) -> Floats:
    """float64[c]: one for all prices, whose relative weights are meant; for what is told each column's own. Both with the root
    of their number, so that a mean of squares is left."""
    own = known.shape[1] - told
    spread = np.full(known.shape[1], np.sqrt(own * known[:, :own].var(axis=0).mean()) + 1e-9)
    spread[own:] = known[:, own:].std(axis=0) * np.sqrt(max(told, 1)) + 1e-9
    return spread


def _kind(calendar: Calendar, at: NDArray[np.intp]) -> Floats:
    """float64[m, 5]: is it a Sunday or a holiday, a Saturday, a Monday; where the year, and so the sun, stands."""
    weekday, angle = calendar.weekday[at], 2 * np.pi * calendar.day_of_year[at] / _YEAR_D
    free = (weekday == 6) | calendar.holiday[at]
    return np.column_stack([free, (weekday == 5) & ~free, (weekday == 0) & ~free, np.cos(angle), np.sin(angle)])


def _alike(known: Floats, kind: Floats, others: Floats, their_kind: Floats) -> Floats:
    """float64[a, b]: the kernel, how much each day says of each other."""
    straight = known @ others.T + kind @ their_kind.T / 2
    same_kind = np.exp(-_squares(kind, their_kind) / 2)
    return np.asarray(straight + same_kind * (0.5 + np.exp(-_squares(known, others) / 2)))


def _squares(a: Floats, b: Floats) -> Floats:
    """float64[a, b]: squared distances of the rows."""
    return np.asarray((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T)


def backcast(price: Floats, calendar: Calendar, told: Floats, first: int) -> Floats:
    """float64[d, s]: for each day from ``first`` on what would have been foreseen the day before (NaN before that)."""
    seen: Floats = np.full(price.shape, np.nan)
    whole = Days(price, calendar, told)
    for d in range(first, len(price)):
        days = whole.until(d)
        seen[d] = day_ahead(days, fit(days))
    return seen


def market_days(time_s: Floats, zone: str, country: str) -> Calendar:
    """What day it is there at each of ``time_s`` (float64[n], s since 1970, evenly apart); ``zone``, ``country`` as
    ``analytics.known.calendar`` has them. A day of work at a weekend is a Tuesday."""
    step_s = float(time_s[1] - time_s[0]) if len(time_s) > 1 else _DAY_S
    steps = calendar_steps(float(time_s[0]), len(time_s), step_s, zone, country)
    weekday = np.where(steps.kind == WORK, 1, steps.place * step_s // _DAY_S).astype(np.int32)
    dates = time_s.astype("datetime64[s]").astype("datetime64[D]")
    return Calendar(weekday, steps.kind == REST, 1 + (dates - dates.astype("datetime64[Y]")).astype(np.int32))


def rolling(values: Floats, year: Calendar, day: int, first: int) -> Floats:
    """float64[n + 1 - first, day]: what the 24 hours from each slot on were expected to be at its begin, as if a day began with
    it; from ``first`` on, the present one last. ``values``: float64[n], the slots so far, no NaN; ``year``: of each slot and
    the present one (n + 1), the day which most of its 24 hours belong to. NaN where too little was known.
    """
    n = len(values)
    seen: Floats = np.full((n + 1 - first, day), np.nan)
    for phase in range(min(day, n + 1)):
        begins = np.arange(phase, n + 1, day)
        whole = values[phase : begins[-1]].reshape(-1, day)
        days, fitted, since = Days(whole, year.at(begins), np.empty((len(begins), 0))), None, -REFIT_D
        for d in range(int(np.searchsorted(begins, first)), len(begins)):
            known = days.until(d)
            if d - since >= REFIT_D or fitted is None:
                fitted, since = fit(known), d
            if fitted is not None:
                seen[begins[d] - first] = day_ahead(known, fitted)
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
