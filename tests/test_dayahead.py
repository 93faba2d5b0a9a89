"""Prices of the day ahead: nothing is seen of the day that is foreseen, which a planted leak shows to be looked at; rhythms are
learnt; two forecasts are weighed by how they came true."""

from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest

from analytics import dayahead
from analytics.dayahead import LAGS_D, LEAST_D, Calendar, Days, backcast, day_ahead, fit, market_days, rolling, weighed
from energy.ahead import signal_ahead
from energy.shift.bench_price import of_oracle

SLOTS, DAYS, FIRST = 6, 72, 60
HOURS = 4 * np.arange(SLOTS)


def prices(seed=3, days=DAYS):
    """Two peaks a day, cheap weekends, and a level that wanders; with what was told of each day's wind."""
    rng = np.random.default_rng(seed)
    weekday = (np.arange(days) % 7).astype(np.int32)
    shape = 40 + 15 * np.sin(2 * np.pi * (HOURS - 6) / 12)
    wind = rng.normal(0, 1, (days, 1))
    level = np.cumsum(rng.normal(0, 1.5, days))
    price = shape + level[:, None] - 12 * (weekday >= 5)[:, None] - 8 * wind + rng.normal(0, 2, (days, SLOTS))
    return price, Calendar(weekday, np.zeros(days, dtype=np.bool_), np.arange(1, days + 1, dtype=np.int32)), wind


def changed_at_or_before(day):
    """The largest change in what was foreseen of days up to ``day`` when ``day`` and all after it come otherwise."""
    price, year, told = prices()
    other, said = price.copy(), told.copy()
    other[day:] += 500.0
    said[day + 1 :] += 9.0  # what is told of a day is known the day before: of ``day`` itself it may be used
    first = backcast(price, year, told, FIRST)
    second = backcast(other, year, said, FIRST)
    seen = slice(FIRST, day + 1)
    assert np.isfinite(first[seen]).all()
    assert np.isnan(first[:FIRST]).all()
    return float(np.abs(first[seen] - second[seen]).max())


@pytest.mark.parametrize("day", [FIRST + 1, FIRST + 5])
def test_no_forecast_sees_the_day_that_it_is_of(day):
    assert changed_at_or_before(day) == 0.0


@pytest.mark.parametrize("leak", ["lag", "fit", "told"])
def test_a_planted_leak_is_caught(monkeypatch, leak):
    """A lag of the day itself; a fit on all days; a word that only the next day brings."""
    price = prices()[0]
    if leak == "lag":

        def seen(days, fitted):
            d = len(days.price)
            return price_now[d] if d < len(price_now) else days.price[-1]

        def replay(whole, *more):
            nonlocal price_now
            price_now = whole
            return real(whole, *more)

        price_now, real = price, dayahead.backcast
        monkeypatch.setattr(dayahead, "day_ahead", seen)
        monkeypatch.setitem(globals(), "backcast", replay)
    elif leak == "fit":
        real_fit, real_cast = dayahead.fit, dayahead.backcast

        def replay(whole, year, said, first):
            everything = real_fit(Days(whole, year, said))
            monkeypatch.setattr(dayahead, "fit", lambda days: everything)
            return real_cast(whole, year, said, first)

        monkeypatch.setitem(globals(), "backcast", replay)
    else:
        real_cast = dayahead.backcast
        monkeypatch.setitem(
            globals(), "backcast", lambda whole, year, said, first: real_cast(whole, year, np.roll(said, -1, axis=0), first)
        )
    assert changed_at_or_before(FIRST + 5) > 0


def test_it_beats_the_last_week_and_yesterday_on_days_with_a_rhythm():
    price, year, told = prices(days=130)
    seen = backcast(price, year, told, 100)
    error = np.abs(seen[100:] - price[100:]).mean()
    yesterday = np.abs(price[99:-1] - price[100:]).mean()
    week = np.abs(np.array([price[d - 7 : d].mean(axis=0) for d in range(100, 130)]) - price[100:]).mean()
    assert error < 0.7 * min(yesterday, week)


def test_a_first_holiday_is_foreseen_as_a_sunday():
    price, year, told = prices(days=130)
    day = 128  # a Wednesday
    usual = backcast(price, year, told, day)[day]
    year.holiday[day] = True
    assert (backcast(price, year, told, day)[day] - usual).mean() < -5  # of the 12 that a Sunday is cheaper


def test_what_a_straight_line_cannot_say_is_learnt():
    """A morning is cheap after an evening far from usual, to either side."""
    rng = np.random.default_rng(8)
    evening = rng.choice([-20.0, 0.0, 20.0], 400)
    price = 50 + rng.normal(0, 1, (400, SLOTS))
    price[:, SLOTS // 2 :] += evening[:, None]
    price[1:, : SLOTS // 2] -= np.where(evening[:-1] == 0, 0.0, 15.0)[:, None]
    day = np.arange(400, dtype=np.int32)
    year = Calendar(day % 7, np.zeros(400, dtype=np.bool_), day % 365 + 1)
    morning = backcast(price, year, np.empty((400, 0)), 300)[300:, : SLOTS // 2]
    calm = evening[299:-1] == 0
    assert morning[calm].mean() - morning[~calm].mean() > 5


def test_the_share_of_the_perfect_saving_by_hand():
    """Two days: of 30 that can be saved against 09:00, the first saves 10 of 10, the second 5 of 20."""
    price = np.full((2, 24), 100.0)
    price[0, 3], price[1, 3], price[1, 14] = 90.0, 95.0, 80.0
    seen = np.full((2, 24), 50.0)
    seen[:, 3] = 40.0
    share, error = of_oracle(price, seen, 1, first=0)
    assert share == pytest.approx(0.5)
    assert error == pytest.approx(np.sqrt(2) * 5 / 30)  # 5 above and 5 below half of what could be saved


def test_with_few_days_nothing_is_learnt_and_the_last_week_speaks():
    price, year, told = prices(days=7 + LEAST_D)
    days = Days(price, year, told).until(7 + LEAST_D - 1)
    assert fit(days) is None
    np.testing.assert_allclose(day_ahead(days, None), price[-8:-1].mean(axis=0))


def by_slot(year, days):
    """Of each slot and the present one: the day which most of its 24 hours belong to."""
    return year.at(np.minimum((np.arange(days * SLOTS + 1) + SLOTS // 2) // SLOTS, days - 1))


@pytest.mark.parametrize("slot", [FIRST * SLOTS, FIRST * SLOTS + 4, DAYS * SLOTS - 1])
def test_no_slot_sees_itself_or_what_comes(slot):
    price, year, _ = prices()
    other = price.ravel().copy()
    other[slot:] += 500.0
    seen = [rolling(values, by_slot(year, DAYS), SLOTS, FIRST * SLOTS) for values in (price.ravel(), other)]
    row = slot - FIRST * SLOTS
    np.testing.assert_array_equal(seen[0][: row + 1], seen[1][: row + 1])
    assert np.isfinite(seen[0]).all()
    assert not np.array_equal(seen[0][-1], seen[1][-1])


def test_a_slot_at_midnight_sees_what_a_day_does_and_too_few_days_nothing():
    price, year, _ = prices()
    seen = rolling(price.ravel(), by_slot(year, DAYS), SLOTS, 0)
    days = Days(price[:-1], year, np.empty((DAYS, 0)))
    fitted = fit(days.until(max(LAGS_D) + LEAST_D))
    np.testing.assert_allclose(seen[(max(LAGS_D) + LEAST_D) * SLOTS], day_ahead(days.until(max(LAGS_D) + LEAST_D), fitted))
    assert np.isnan(seen[: (max(LAGS_D) + LEAST_D) * SLOTS]).all()
    assert rolling(np.empty(0), by_slot(year, 0), SLOTS, 0).shape == (1, SLOTS)


def test_days_of_a_market_are_those_of_its_zone_and_country():
    """Shanghai: Monday 5 October 2026 is a holiday; Saturday the tenth is worked for it; 16:00 UTC is the next day."""
    time_s = np.arange("2026-10-04T16", "2026-10-11T16", dtype="datetime64[h]").astype("datetime64[s]").astype(float)
    year = market_days(time_s, "Asia/Shanghai", "CN")
    assert year.weekday[[0, 23, 24, 5 * 24]].tolist() == [0, 0, 1, 1]
    assert year.holiday[[0, 5 * 24]].tolist() == [True, False]
    assert year.day_of_year[12] == 278


def test_levers_foresee_a_price_by_its_days_and_its_error_with_it():
    """Weekends are cheap, which no mean of the same hour says; what was foreseen before is judged with what is foreseen now."""
    start, days = datetime(2026, 6, 29, tzinfo=UTC), 100  # a Monday
    hourly = np.repeat(prices(days=days)[0], 4, axis=1).ravel()
    now, time_s = start + timedelta(days=days), start.timestamp() + 3600.0 * np.arange(len(hourly))
    year = partial(market_days, zone="UTC", country="")
    plain, market = (signal_ahead("price_per_mwh", time_s, hourly, 3600.0, now, 48, year=of) for of in (None, year))
    came = np.lib.stride_tricks.sliding_window_view(hourly, 24)[len(hourly) + 1 - len(market.foreseen) :]
    missed = [np.abs(one.foreseen[: len(came), :24] - came).mean() for one in (plain, market)]
    assert missed[1] < 0.9 * missed[0]
    np.testing.assert_array_equal(plain.foreseen[:, 24:], market.foreseen[:, 24:])
    late = signal_ahead("price_per_mwh", time_s[:-1], hourly[:-1], 3600.0, now, 48, year=year)
    assert late.unheard == 1
    assert np.isfinite(late.ahead).all()


def test_two_forecasts_are_weighed_by_their_errors_of_days_that_are_over():
    rng = np.random.default_rng(5)
    price = rng.normal(50, 10, (80, SLOTS))
    good, bad = price + rng.normal(0, 1, price.shape), price + rng.normal(0, 3, price.shape)
    both = weighed(bad, good, price, 10)
    late = slice(40, 80)
    # by the inverse of 9 and 1: a tenth and nine tenths
    np.testing.assert_allclose(both[late], 0.1 * bad[late] + 0.9 * good[late], atol=0.5)
    silent = good.copy()
    silent[50] = np.nan
    np.testing.assert_allclose(weighed(bad, silent, price, 10)[50], bad[50])
    silent[:50] = np.nan  # it speaks again from the day after on, and nothing says yet how good it is
    again = weighed(bad, silent, price, 10)
    np.testing.assert_allclose(again[51], bad[51])
    np.testing.assert_allclose(again[60:], 0.1 * bad[60:] + 0.9 * good[60:], atol=0.8)
    other = price.copy()
    other[60:] += 100
    np.testing.assert_allclose(weighed(bad, good, other, 10)[:61], both[:61])
