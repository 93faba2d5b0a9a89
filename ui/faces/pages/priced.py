"""The price of energy on the page ``/energy``: now and next, by the tariff's period where there is one, and what today cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from analytics.forecast import Forecast
from energy.account.book import Given
from energy.account.grids import on_grids
from energy.account.meters import read_meters
from energy.account.tariff import PERIODS, Tariff
from twin.errors import ConfigError
from ui.faces.pages.texts import Cell, Table, cell, plain, when
from ui.past import DAY
from ui.reading import Reading, derived
from ui.view import Live, View
from ui.words import DASH, Words

STEP_S = 900.0  # of a bill: a quarter of an hour
AHEAD_S = 48 * 3600.0  # in which the next period is looked for
PLAIN = "one rate"
_PERIODS = {name: f"{name} rate" for name in PERIODS}
NEXT = '<div class="next" data-l="next"></div>'


@dataclass(frozen=True, slots=True)
class Priced:
    """``cost_today``: in ``currency`` since midnight there, of ``known_frac`` of the time; ``tariff`` that counts."""

    cost_today: float
    known_frac: float
    tariff: Tariff | None
    currency: str = ""


def _given(live: Live) -> Given:
    try:
        return live.given()
    except ConfigError:
        return Given()  # a file went away since the start: `icctwin check` names it


def read_priced(live: Live, now: datetime) -> Priced:
    """What was drawn from the grid today by its price, as an account has both: each price by the time in which it was told, the
    grid's where no tariff counts."""
    given = _given(live)
    tariff = None if given.spot else given.tariff  # its periods count where the grid's price series does not
    currency = tariff.currency if tariff else given.currency
    midnight = now.astimezone(ZoneInfo(live.site.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    start = max(midnight, now - DAY)
    if start >= now:
        return Priced(np.nan, 0.0, tariff, currency)
    meters = on_grids(live.store, read_meters(live.store, start, now, STEP_S), live.supply)
    price = tariff.price_per_mwh(meters.time_s) if tariff else meters.price_per_mwh
    known = meters.known & np.isfinite(price)
    cost = float((meters.kwh(meters.drawn_w)[known] * price[known]).sum() / 1e3) if known.any() else np.nan
    return Priced(cost, float(meters.length_s[known].sum()) / (now - start).total_seconds(), tariff, currency)


def table(priced: Priced | None, view: View, forecasts: Sequence[Forecast], words: Words) -> Table:
    """Numbers and texts of the tiles on price and cost."""
    tariff, currency = (priced.tariff, priced.currency) if priced else (None, "")
    now, upcoming = _by_tariff(tariff, view, words) if tariff else _by_market(view, forecasts, currency, words)
    cost = priced.cost_today if priced else np.nan
    share = priced.known_frac if priced and np.isfinite(cost) else np.nan
    return {
        "n.price": _in(currency, now),
        "n.cost": _in(currency, cell(words, _hourly(tariff, view) if tariff else view.centre.cost_rate)),
        "n.cost_today": _money(cost, currency, words),
        "n.cost_known": plain(words, share, "frac"),
        "t.period": _rate(tariff, view.time, words) if tariff else words("market"),
        "l.next": [upcoming or {"k": "", "c": [DASH]}],
    }


def _money(amount: float, currency: str, words: Words) -> Cell:
    """An amount, in thousands or millions where it is that large."""
    scale, prefix = next(((s, p) for s, p in ((1e6, "M"), (1e3, "k")) if abs(amount) >= 10 * s), (1.0, ""))
    made = plain(words, amount / scale, "per_h")
    return {**made, "u": f"{prefix} {currency}".strip() if np.isfinite(amount) else ""}


def _in(currency: str, made: Cell) -> Cell:
    """A price or a rate with the name of its money before what it is for."""
    return {**made, "u": f"{currency}{made['u']}"} if currency and str(made.get("u", "")).startswith("/") else made


def _hourly(tariff: Tariff, view: View) -> Reading:
    """What an hour of the power that is drawn now costs by the tariff."""
    power = view.centre.facility_power
    price = float(tariff.price_per_mwh(np.array([view.time.timestamp()]))[0])
    return derived(power.value / 1e6 * price, "per_h", (power,))


def _by_tariff(tariff: Tariff, view: View, words: Words) -> tuple[Cell, Cell | None]:
    """The price now, and a row: when the next period begins and what it costs."""
    time_s = view.time.timestamp() // STEP_S * STEP_S + STEP_S * np.arange(int(AHEAD_S / STEP_S), dtype=np.float64)
    price, period = tariff.price_per_mwh(time_s), tariff.periods(time_s)
    now = plain(words, float(price[0]), "per_mwh")
    change = np.flatnonzero(period != period[0])
    if not len(change):
        return now, {"k": "", "c": [words(PLAIN)]}
    i = int(change[0])
    then = [_period(int(period[i]), words), when(float(time_s[i])), {**plain(words, float(price[i]), "per_mwh"), "u": ""}]
    return now, {"k": "", "c": then}


def _rate(tariff: Tariff, now: datetime, words: Words) -> str:
    at_s = np.array([now.timestamp()])
    return _period(int(tariff.periods(at_s)[0]), words) if tariff.holds(at_s)[0] else words("the tariff has ended")


def _period(position: int, words: Words) -> str:
    return words(_PERIODS[PERIODS[position]])


def _by_market(view: View, forecasts: Sequence[Forecast], currency: str, words: Words) -> tuple[Cell, Cell | None]:
    """The price as the grid tells it, and a row: the next hour's as it is foreseen (the chart has its interval)."""
    now = cell(words, view.centre.price)
    at_s = view.time.timestamp()
    mean, begins_s = 0.0, np.inf
    for row, share in _carried(view):
        mine = [one for one in forecasts if (one.kind, one.metric, one.row) == ("grid", "price_per_mwh", row)]
        newest = max(mine, key=lambda one: one.issued, default=None)
        if newest is None:
            return now, None
        after = np.flatnonzero(newest.time_s > at_s)
        if not len(after) or begins_s not in (np.inf, float(newest.time_s[after[0]])):
            return now, None
        begins_s = float(newest.time_s[after[0]])
        mean += share * float(newest.p50[after[0]])
    return now, {"k": "", "c": [when(begins_s), _in(currency, plain(words, mean, "per_mwh"))]} if np.isfinite(
        begins_s
    ) else None


def _carried(view: View) -> list[tuple[int, float]]:
    """(row of a grid, share of the power that it carries now), of those that carry some; none where that is not known."""
    if not view.grids:
        return [(0, 1.0)]
    return [(row, one.share.value) for row, one in enumerate(view.grids) if one.share.known and one.share.value > 0]
