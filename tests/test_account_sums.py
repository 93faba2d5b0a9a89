"""Sums hold the time that was read and no more, whatever the step; a peak has one meaning; prices follow the zone's clock."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from energy_house import MemoryStore

from energy.account.book import Account, Given, account, account_of
from energy.account.carbon import Contract, carbon
from energy.account.meters import read_meters
from energy.account.part import part_account
from energy.account.tariff import Demand, Rule, Tariff, bill

START = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
FLAT = Tariff(name="t", source="s", dated=date(2026, 1, 1), timezone="UTC", per_kwh={"flat": 1.0, "peak": 2.0})


def read(every_s: float, facility_w: np.ndarray, it_w: np.ndarray) -> MemoryStore:
    store = MemoryStore()
    store.put("site", "facility_power_w", START, every_s, facility_w)
    store.put("site", "it_power_w", START, every_s, it_w)
    return store


def over(store: MemoryStore, hours: float, step_s: float, given: Given | None = None) -> Account:
    return account(store, START, START + hours * HOUR, given or Given(), step_s=step_s)


@pytest.mark.parametrize("step_s", [60.0, 300.0, 900.0, 3600.0])
def test_a_step_that_was_read_in_part_counts_for_that_part(step_s: float) -> None:
    """Seven minutes of an hour, at 3 kW of IT and 3.6 kW in all, priced at 1 a kWh and 500 g."""
    store = read(60.0, np.full(7, 3.6e3), np.full(7, 3e3))
    store.put("grid", "carbon_gco2_per_kwh", START, 3600.0, np.array([500.0]))
    made = over(store, 1, step_s, Given(tariff=FLAT))
    assert made.bill is not None
    assert (made.it_kwh, made.facility_kwh, made.coverage_frac) == pytest.approx((0.35, 0.42, 7 / 60))
    assert (made.it_read_kwh, made.it_read_frac) == pytest.approx((0.35, 7 / 60))
    assert (made.carbon.location_kg, made.bill.cost, made.indicators.pue_ratio) == pytest.approx((0.21, 0.42, 1.2))


@pytest.mark.parametrize("every_s", [15.0, 80.0, 300.0, 900.0, 3600.0])
def test_a_meter_that_is_read_seldom_is_read_all_the_time(every_s: float) -> None:
    count = int(6 * 3600 / every_s)
    made = over(read(every_s, np.full(count, 1.2e3), np.full(count, 1e3)), 6, 3600.0)
    assert (made.coverage_frac, made.it_kwh, made.it_read_frac) == pytest.approx((1.0, 6.0, 1.0))


def test_of_an_hour_both_meters_count_over_the_same_time() -> None:
    """The facility's meter is read for the first half alone, in which IT takes 4 of its 10 kW; then IT takes 8."""
    it_w = np.repeat([4e3, 8e3], 30)
    made = over(read(60.0, np.where(it_w < 5e3, 10e3, np.nan), it_w), 1, 3600.0)
    assert (made.facility_kwh, made.it_kwh, made.coverage_frac) == pytest.approx((5.0, 2.0, 0.5))
    assert (made.it_read_kwh, made.it_read_frac) == pytest.approx((6.0, 1.0))


def test_a_peak_is_what_the_grid_gave_and_the_bill_says_the_same() -> None:
    """20 kW for a quarter of an hour, of which 15 kW are made on the spot; 12 kW in the next; the hour ends within a step."""
    facility_w = np.repeat([10e3, 20e3, 12e3, 10e3], 15)
    store = read(60.0, facility_w, np.full(60, 5e3))
    store.put("pv", "power_w", START, 60.0, np.repeat([0.0, -15e3, 0.0, 0.0], 15))
    demand = FLAT.model_copy(update={"demand": Demand(per_kw_month=30.0)})
    made = account(store, START, START + timedelta(minutes=32), Given(tariff=demand), step_s=900.0)
    assert (made.peak_w, made.peak_s) == (12e3, START.timestamp() + 1800)
    assert made.bill is not None
    assert made.bill.months[0].peak_w == 12e3, "the two minutes of the last quarter are what was read of it"
    assert made.grid_kwh == pytest.approx(10 * 0.25 + 5 * 0.25 + 12 / 30)


def test_a_step_of_only_whole_hours_is_read_from_end_to_end() -> None:
    """Of the first hours, minutes are gone: the store answers for them by the hour alone."""

    class Aged(MemoryStore):
        def series(self, kind, metrics, start, end, step_s=None, *more, **options):  # type: ignore[no-untyped-def]
            found = super().series(kind, metrics, start, end, step_s, *more, **options)
            for column in found.values.values():
                column[(found.time_s < START.timestamp() + 7200) & (step_s < 3600)] = np.nan
            return found

    store = Aged()
    store.data = read(60.0, np.full(150, 1.2e3), np.full(150, 1e3)).data
    made = over(store, 3, 3600.0)
    assert (made.it_kwh, made.coverage_frac) == pytest.approx((2.5, 2.5 / 3))


def test_meters_that_nobody_read_have_no_time() -> None:
    meters = read_meters(MemoryStore(), START, START + HOUR, 900.0)
    assert meters.length_s.tolist() == meters.it_alone_s.tolist() == [0.0] * 4
    assert not meters.known.any()


def test_periods_follow_a_clock_that_is_put_forward_off_the_hour() -> None:
    """Lord Howe Island, 2026-10-04: at 02:00, 15:30 UTC, it is 02:30. A megawatt from midnight on, dear from 02:30 to 05:00."""
    tariff = FLAT.model_copy(update={"timezone": "Australia/Lord_Howe", "rule": [Rule(period="peak", hours=[(2.5, 5)])]})
    at = datetime(2026, 10, 3, 13, 30, tzinfo=UTC).timestamp() + 900.0 * np.arange(4 * 8)
    assert bill(tariff, at, np.full(len(at), 1e6), 900.0).energy_kwh == pytest.approx({"peak": 2500.0, "flat": 5500.0})


@pytest.mark.parametrize(("month", "hours"), [(3, 743), (11, 721)])
def test_a_month_in_which_clocks_change_is_charged_once_whole_or_in_parts(month: int, hours: int) -> None:
    """A kilowatt at 40 a month in Chicago, where March 2026 lacks an hour and November has one more."""
    tariff = FLAT.model_copy(update={"timezone": "America/Chicago", "demand": Demand(per_kw_month=40.0)})
    begin = datetime(2026, month, 1, tzinfo=ZoneInfo("America/Chicago")).timestamp()
    at = begin + 3600.0 * np.arange(hours)
    whole, first, rest = (bill(tariff, some, np.full(len(some), 1e3), 3600.0) for some in (at, at[:360], at[360:]))
    assert [one.days_frac for one in whole.months] == [1.0]
    assert whole.demand_cost == pytest.approx(40, rel=1e-12)
    assert first.demand_cost == pytest.approx(40 * 360 / hours)
    assert first.demand_cost + rest.demand_cost == pytest.approx(40, rel=1e-12)


def test_demand_is_charged_for_the_days_that_the_tariff_holds() -> None:
    """February at a kilowatt; the tariff ends with its first day."""
    ending = FLAT.model_copy(update={"until": date(2026, 2, 1), "demand": Demand(per_kw_month=40.0)})
    at = datetime(2026, 2, 1, tzinfo=ZoneInfo(FLAT.timezone)).timestamp() + 900.0 * np.arange(28 * 96)
    made = bill(ending, at, np.full(len(at), 1e3), 900.0)
    assert (made.demand_cost, made.months[0].days_frac) == (pytest.approx(40 / 28), pytest.approx(1 / 28))
    assert bill(ending, at[96:], np.full(27 * 96, 1e3), 900.0).months == ()


def test_energy_that_has_a_spot_price_is_told_from_energy_without() -> None:
    """A price told at 00:00 and 01:00 holds up to the step that begins at 03:00, for 3.25 of 8 hours."""
    store = read(900.0, np.full(32, 12e3), np.full(32, 10e3))
    store.put("grid", "price_per_mwh", START, 3600.0, np.array([100.0, 100.0]))
    made = over(store, 8, 900.0, Given(currency="EUR")).bill
    assert made is not None
    assert (made.energy_kwh["spot"], made.priced_kwh["spot"], made.cost) == pytest.approx((96.0, 39.0, 3.9))


def test_saturday_is_no_workday() -> None:
    tariff = FLAT.model_copy(update={"rule": [Rule(period="peak", hours=[(0, 24)], days="workday")]})
    at = START.timestamp() + 3600.0 * np.arange(24 * 7)
    assert bill(tariff, at, np.full(len(at), 1e3), 3600.0).energy_kwh == pytest.approx({"peak": 120.0, "flat": 48.0})


def test_contracts_of_more_than_all_energy_count_no_kwh_twice() -> None:
    """Two of 300 kWh for 400 that were taken: the first has 300 at 10 g, the second the last 100 at 20 g."""
    kwh = np.full(4, 100.0)
    both = [Contract("wind", kwh=300, gco2_per_kwh=10), Contract("sun", kwh=300, gco2_per_kwh=20)]
    made = carbon(kwh, np.full(4, 500.0), kwh, contracts=both)
    assert (made.market_kg, made.contracted_kwh, made.renewable_kwh) == pytest.approx((5.0, 400.0, 400.0))


@pytest.mark.parametrize(("read_h", "hours"), [(168, 168), (84, 168), (84, 84), (24, 168)])
def test_what_is_bought_for_a_year_counts_for_the_time_that_was_read(read_h: int, hours: int) -> None:
    """Half of 12 kW is bought for the year: it is half of what was read, of a week that was read in part or is not yet over."""
    store = read(900.0, np.full(4 * read_h, 12e3), np.full(4 * read_h, 10e3))
    store.put("grid", "carbon_gco2_per_kwh", START, 900.0, np.full(4 * read_h, 500.0))
    made = over(store, hours, 900.0, Given(contracts=[Contract("ppa", yearly_kwh=6 * 8760)]))
    assert made.facility_kwh == pytest.approx(12 * read_h)
    assert made.indicators.ref_frac == pytest.approx(0.5)
    assert (made.carbon.location_kg, made.carbon.market_kg) == pytest.approx((6 * read_h, 3 * read_h))


def test_a_contract_says_its_volume_once() -> None:
    for bad in ({"share_frac": 0.5, "yearly_kwh": 1.0}, {"kwh": 1.0, "yearly_kwh": 1.0}, {"yearly_kwh": -1.0}):
        with pytest.raises(ValueError, match="not both"):
            Contract("ppa", **bad)


def test_market_based_carbon_of_a_part_follows_when_it_took_its_energy() -> None:
    """Two hours of 12 kW at 800 and 400 g; one part took the first, the other the second. Then half is bought at 20 g, and then
    the rest is of a residual mix of 600 g."""
    store = read(60.0, np.full(120, 12e3), np.full(120, 10e3))
    store.put("grid", "carbon_gco2_per_kwh", START, 3600.0, np.array([800.0, 400.0]))
    half = [Contract("sun", share_frac=0.5, gco2_per_kwh=20)]
    plain, bought, mixed = Given(), Given(contracts=half), Given(contracts=half, residual_gco2_per_kwh=600.0)
    meters = read_meters(store, START, START + 2 * HOUR, 900.0)
    for given, expected in ((plain, (9.6, 4.8)), (bought, (4.92, 2.52)), (mixed, (3.72, 3.72))):
        whole, _ = account_of(meters, START, START + 2 * HOUR, given)
        parts = [part_account(whole, meters, np.repeat(share, 4), given) for share in ([1.0, 0.0], [0.0, 1.0])]
        assert [part.carbon.market_kg for part in parts] == pytest.approx(expected)
        assert sum(expected) == pytest.approx(whole.carbon.market_kg)
