"""Energy adds up, gaps count for nothing on either side, and a ratio is called what the standard lets it be called."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from energy_house import MemoryStore
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_site

from energy.account.book import Account, Given, account
from energy.kpi import Category, held, pue_name
from ingest.stores import Retention, open_store
from twin.frame import Frame, frame_of
from ui.accounting import plain

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = START + timedelta(days=1)


def filled(facility_w: np.ndarray, it_w: np.ndarray, step_s: float = 60.0) -> MemoryStore:
    store = MemoryStore()
    store.put("site", "facility_power_w", START, step_s, facility_w)
    store.put("site", "it_power_w", START, step_s, it_w)
    return store


def kpis(store: MemoryStore, start: datetime, end: datetime, step_s: float = 60.0) -> Account:
    return account(store, start, end, Given(), step_s=step_s)


def test_a_day_by_hand() -> None:
    """1.2 MW for 24 h on 1 MW of IT; 500 g/kWh for half the day, 600 for the rest; 400 a MWh."""
    store = filled(np.full(1440, 1.2e6), np.full(1440, 1e6))
    store.put("grid", "carbon_gco2_per_kwh", START, 3600, np.repeat([500.0, 600.0], 12))
    store.put("grid", "price_per_mwh", START, 3600, np.full(24, 400.0))
    k = kpis(store, START, DAY)
    assert k.facility_kwh == pytest.approx(28_800)
    assert k.it_kwh == pytest.approx(24_000)
    assert k.indicators.pue_ratio == pytest.approx(1.2)
    assert k.pue_name == "iPUE1 (24 h)"
    assert k.carbon.location_kg == pytest.approx(28_800 * 0.55)
    assert k.bill is not None
    assert k.bill.cost == pytest.approx(28.8 * 400)
    assert (k.coverage_frac, k.carbon.coverage_frac, k.bill.coverage_frac) == pytest.approx((1, 1, 1))


def test_the_ratio_is_one_of_energies_not_a_mean_of_ratios() -> None:
    k = kpis(filled(np.repeat([3e6, 1.1e6], 720), np.repeat([1e6, 1e6], 720)), START, DAY)
    assert k.indicators.pue_ratio == pytest.approx(2.05)
    light = kpis(filled(np.repeat([3e5, 1.1e6], 720), np.repeat([1e5, 1e6], 720)), START, DAY)
    assert light.indicators.pue_ratio == pytest.approx(1.4e6 / 1.1e6)


def test_a_gap_in_one_counts_in_neither() -> None:
    facility_w, it_w = np.full(1440, 1.3e6), np.full(1440, 1e6)
    facility_w[100:460] = np.nan
    it_w[400:700] = np.nan
    k = kpis(filled(facility_w, it_w), START, DAY)
    assert k.coverage_frac == pytest.approx(840 / 1440)
    assert k.it_kwh == pytest.approx(1000 * 14)
    assert k.indicators.pue_ratio == pytest.approx(1.3)


def test_nothing_known_is_nan_and_never_zero() -> None:
    k = kpis(MemoryStore(), START, DAY)
    assert k.coverage_frac == 0
    assert all(np.isnan([k.facility_kwh, k.it_kwh, k.indicators.pue_ratio, k.carbon.location_kg]))
    assert k.bill is None
    with pytest.raises(ValueError, match="use a longer step"):
        kpis(MemoryStore(), START, DAY, step_s=0.01)
    with pytest.raises(ValueError, match="empty"):
        kpis(MemoryStore(), START, START)


powers = st.lists(st.floats(1e3, 1e7), min_size=24, max_size=24)


@settings(max_examples=60, deadline=None)
@given(powers, st.lists(st.booleans(), min_size=24, max_size=24), st.integers(1, 23), st.integers(0, 3599))
def test_energy_is_conserved_where_an_interval_is_cut(watts: list[float], gaps: list[bool], hour: int, second: int) -> None:
    """However a day is cut in two, also inside a step, the parts sum to the whole."""
    it_w = np.repeat(np.where(gaps, np.nan, watts), 60)
    store = filled(1.25 * it_w, it_w)
    cut = START + timedelta(hours=hour, seconds=second)
    whole, left, right = (kpis(store, a, b) for a, b in ((START, DAY), (START, cut), (cut, DAY)))
    # a minute that the cut goes through is read from the samples on either side of it
    grain_kwh = 2 * max(watts) / 6e4
    parts_kwh = np.nansum([left.it_kwh, right.it_kwh])
    assert parts_kwh == pytest.approx(np.nan_to_num(whole.it_kwh), abs=grain_kwh)
    if not np.isnan(whole.indicators.pue_ratio):
        assert whole.indicators.pue_ratio == pytest.approx(1.25)


def test_a_grid_signal_that_is_too_old_prices_nothing() -> None:
    store = filled(np.full(1440, 1e6), np.full(1440, 9e5))
    store.put("grid", "carbon_gco2_per_kwh", START - timedelta(hours=1), 3600, np.array([300.0, 400.0]))
    k = kpis(store, START, DAY)
    assert k.carbon.coverage_frac == pytest.approx(121 / 1440)  # two hours of validity, the edge included
    assert k.carbon.location_kg == pytest.approx(1000 / 60 * 121 * 0.4)
    time_s = START.timestamp() + np.array([-7200.0, 0.0, 7200.0, 7260.0])
    seen = held(store, "grid", "carbon_gco2_per_kwh", time_s, 60.0, START, DAY)
    np.testing.assert_array_equal(seen, [np.nan, 400.0, 400.0, np.nan])


def test_a_step_has_the_price_of_its_own_time() -> None:
    """20 kW in the hours that cost 100 a MWh and 10 kW in those that cost nothing, polled each five minutes, 20 s past."""
    watts = np.tile(np.repeat([10e3, 20e3], 60), 12)
    store = filled(watts, 0.8 * watts)
    store.put("grid", "price_per_mwh", START + timedelta(seconds=20), 300, np.tile(np.repeat([0.0, 100.0], 12), 12))
    for step_s in (60.0, 300.0, 900.0, 3600.0):
        bill = kpis(store, START, DAY, step_s).bill
        assert bill is not None
        assert bill.cost == pytest.approx(12 * 20 * 0.1, abs=1e-9), step_s


def test_what_is_held_is_the_last_value_and_not_the_mean_of_its_step() -> None:
    store = MemoryStore()
    store.put("grid", "price_per_mwh", START, 1800, np.array([100.0, 300.0]))
    time_s = START.timestamp() + 3600.0 * np.arange(4)
    seen = held(store, "grid", "price_per_mwh", time_s, 3600.0, START, DAY)
    np.testing.assert_array_equal(seen, [200.0, 300.0, 300.0, np.nan])


def test_carbon_and_cost_of_what_only_rollups_hold(tmp_path: Path) -> None:
    """Five days of 10 kW at 500 g and 100 a MWh, read each 5 minutes; of the second minutes are left, of the first hours."""
    site = small_site()
    keep = Retention(raw_s=86_400, minute_s=3 * 86_400, hour_s=400 * 86_400, max_bytes=10**9)
    store, frames = open_store(tmp_path, site, retention=keep), list[Frame]()
    for hour in range(5 * 24):
        for at in (START + timedelta(hours=hour, minutes=5 * k) for k in range(12)):
            frames += [frame_of("site", at, 0, facility_power_w=1e4, it_power_w=8e3)]
            frames += [frame_of("grid", at, 0, carbon_gco2_per_kwh=500.0, price_per_mwh=100.0)]
        if hour % 6 == 5:
            store.append(frames)
            store.maintain(frames[-1].time)
            frames = []
    for _ in range(12):
        store.maintain(START + timedelta(days=5))
    assert not np.isfinite(
        store.series("grid", ("price_per_mwh",), START, START + 3 * (DAY - START)).values["price_per_mwh"]
    ).any()
    for day, step_s in ((0, 3600.0), (2, 300.0)):
        made = kpis(store, START + timedelta(days=day), START + timedelta(days=day + 1), step_s)
        assert (made.facility_kwh, made.coverage_frac) == pytest.approx((240, 1)), day
        assert (made.carbon.location_kg, made.carbon.coverage_frac) == pytest.approx((120, 1)), day
        assert made.bill is not None
        assert made.bill.cost == pytest.approx(24), day
    store.close()


def test_names_by_period_and_category() -> None:
    year, month = timedelta(days=365), timedelta(days=30)
    assert pue_name(Category.PDU_OUTPUT, year, year - timedelta(days=3)) == "PUE2"
    assert pue_name(Category.PDU_OUTPUT, year, year - timedelta(days=5)) == "iPUE2 (8640 h)", "no year was measured"
    assert pue_name(Category.IT_INPUT, month, month) == "iPUE3 (720 h)"
    assert pue_name(Category.IT_INPUT, year, 0.26 * timedelta(hours=1399.68)) == "iPUE3 (364 h)"
    assert pue_name(Category.UPS_OUTPUT, month, timedelta(minutes=1)) == "iPUE1 (momentary)"
    assert pue_name(Category.UPS_OUTPUT, month, timedelta()) == "", "nothing was measured, so nothing is called so"


def test_the_name_says_the_hours_that_were_read() -> None:
    known = np.where(np.arange(1440) < 600, 1.2e6, np.nan)
    assert kpis(filled(known, np.full(1440, 1e6)), START, DAY).pue_name == "iPUE1 (10 h)"
    silent = kpis(filled(np.full(1440, np.nan), np.full(1440, 1e6)), START, DAY)
    assert plain(silent)["pue_name"] is None


def test_only_the_part_of_a_step_inside_the_interval_counts() -> None:
    """1 MW over 3,525 s, cut from the middle of a minute to the quarter of another, read each 15 s."""
    store = filled(np.full(5760, 1.2e6), np.full(5760, 1e6), step_s=15)
    k = kpis(store, START + timedelta(seconds=30), START + timedelta(seconds=3555))
    assert k.it_kwh == pytest.approx(1000 * 3525 / 3600)
    assert k.coverage_frac == pytest.approx(1.0)
