"""Prices of the day ahead: nothing is seen of the day that is foreseen, which a planted leak shows to be looked at; rhythms are
learnt; two forecasts are weighed by how they came true."""

import numpy as np
import pytest

from analytics import dayahead
from analytics.dayahead import LEAST_D, Calendar, Days, backcast, day_ahead, fit, weighed
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
