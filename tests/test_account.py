"""Accounts: bills and ratios worked out by hand, parts that sum to the meter, and average never mixed with marginal."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from energy_house import MemoryRecords
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from energy.account.book import IDLE, UNSEEN, Given, account
from energy.account.carbon import Contract, carbon
from energy.account.factors import factor_of
from energy.account.indicators import embodied_share_kg, indicators, sci_kg_per_unit
from energy.account.runs import Recent, RunLog, Runs, read_runs
from energy.account.share import holds_of
from energy.account.tariff import Demand, Tariff, bill, billed_demand_w, load_tariff
from twin.errors import ConfigError
from twin.frame import Floats, Ints, Origin
from twin.job import Jobs, JobState
from twin.ports import How, Series

START = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
S0 = START.timestamp()
GPUS = [f"g{i}" for i in range(16)]


class Tables:
    """A store of whole tables on one grid of steps: (kind, metric, origin) -> float64[t, n]."""

    def __init__(self, step_s: float = 300.0) -> None:
        self.step_s, self.data = step_s, {}  # type: ignore[var-annotated]

    def put(self, kind: str, name: str, values: Floats, origin: Origin = Origin.MEASURED) -> None:
        self.data[kind, name, origin] = np.asarray(values, dtype=np.float64).reshape(len(values), -1)

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        assert step_s in (60.0, self.step_s), "asked in minutes it gives the ones that it has"
        tables = {m: self.data[kind, m, origin] for m in metrics if (kind, m, origin) in self.data}
        if not tables:
            return Series(np.empty(0), np.empty(0, "i4"), {m: np.empty((0, 0)) for m in metrics})
        n = len(next(iter(tables.values())))
        time_s = S0 + self.step_s * np.arange(n)
        take = (time_s >= start.timestamp()) & (time_s < end.timestamp())
        width = next(iter(tables.values())).shape[1]
        values = {m: tables[m][take] if m in tables else np.full((int(take.sum()), width), np.nan) for m in metrics}
        return Series(time_s[take], np.arange(width, dtype=np.int32), values)


def runs_of(*rows: tuple[str, float, float, list[int]]) -> Runs:
    """(id, hour begun, hour over, GPUs); user and project are the id's first letter."""
    gpu = np.array([g for row in rows for g in row[3]], dtype=np.int32)
    of = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row[3]) for row in rows])
    names = [row[0] for row in rows]
    begin, end = (np.array([S0 + 3600 * row[i] for row in rows]) for i in (1, 2))
    return Runs(names, [n[0] for n in names], [n[0] for n in names], ["p"] * len(rows), begin, end, gpu, of)


def centre(steps: int = 288, gpus: int = 4) -> Tables:
    store = Tables()
    store.put("site", "facility_power_w", np.full(steps, 13e3))
    store.put("site", "it_power_w", np.full(steps, 10e3))
    store.put("site", "cooling_power_w", np.full(steps, 2e3))
    store.put("gpu", "power_w", np.tile(1000.0 * (1 + np.arange(gpus)), (steps, 1)))
    store.put("grid", "carbon_gco2_per_kwh", np.full(steps, 500.0))
    store.put("grid", "marginal_carbon_gco2_per_kwh", np.full(steps, 800.0))
    store.put("grid", "price_per_mwh", np.repeat([300.0, 600.0], steps // 2))
    return store


# --- ratios and published definitions ---------------------------------------------------------------------------------


def test_ratios_by_hand() -> None:
    """12 GWh of which 10 GWh IT, 1.5 GWh cooling; 18,000 m3 of water, 6,000 t CO2, 2.4 GWh of heat sold, 3 GWh green."""
    one = indicators(12e6, 10e6, 1.5e6, 18e6, 6e6, 2.4e6, 3e6)
    assert one.pue_ratio == pytest.approx(1.2)
    assert one.ppue_ratio == pytest.approx(1.15)
    assert one.wue_kg_per_kwh == pytest.approx(1.8)  # the industry's usual figure
    assert one.cue_kg_per_kwh == pytest.approx(0.6)
    assert one.cue_kg_per_kwh == pytest.approx(0.5 * one.pue_ratio)  # CUE = factor times PUE (The Green Grid, WP 32)
    assert one.erf_frac == pytest.approx(0.2)
    assert one.ref_frac == pytest.approx(0.25)
    assert np.isnan(indicators(12e6, 10e6).wue_kg_per_kwh)
    assert indicators(12.0, 12.024).pue_ratio == pytest.approx(1 / 1.002), "the ratio stands as it was read"
    with pytest.raises(ValueError, match="reused energy of 13 kWh is more than the 12 kWh"):
        indicators(12.0, 10.0, reused_kwh=13.0)


def test_software_carbon_intensity_by_hand() -> None:
    """((E·I)+M)/R: 100 kWh at 0.5 kg/kWh and 1/4 of a server of 1,600 kg for a year of its four, for 1,000 answers."""
    embodied = embodied_share_kg(1600.0, 365 * 86400.0, 4 * 365 * 86400.0, 0.25)
    assert embodied == pytest.approx(100.0)
    assert sci_kg_per_unit(100.0, 0.5, embodied, 1000) == pytest.approx(0.15)
    with pytest.raises(ValueError, match="0 functional units"):
        sci_kg_per_unit(1.0, 1.0, 0.0, 0)


def test_chinese_factors_are_those_published() -> None:
    assert factor_of("华东").kg_per_kwh == 0.5500
    assert factor_of("CN").kg_per_kwh == 0.5306
    assert factor_of("CN", 2022).kg_per_kwh == 0.5366
    for bad in (("Atlantis", None), ("CN-east", 1999)):
        with pytest.raises(KeyError, match="no emission factor"):
            factor_of(*bad)


# --- tariffs ----------------------------------------------------------------------------------------------------------


def test_a_day_in_guangdong_by_hand() -> None:
    """1 MW through a day of July: valley 8 h, peak 10-11, 14-15 and 17-19 (4 h), sharp 11-12 and 15-17 (3 h), flat 9 h."""
    tariff = load_tariff("guangdong-2021")
    at = datetime(2026, 7, 1, tzinfo=UTC).timestamp() - 8 * 3600 + 900.0 * np.arange(96)
    made = bill(tariff, at, np.full(96, 1e6), 900.0)
    assert made.energy_kwh == pytest.approx({"valley": 8000, "peak": 4000, "sharp": 3000, "flat": 9000})
    assert made.cost == pytest.approx(8000 * 0.38 + 4000 * 1.7 + 3000 * 2.125 + 9000)
    winter = bill(tariff, at - 181 * 86400, np.full(96, 1e6), 900.0)
    assert winter.energy_kwh == pytest.approx({"valley": 8000, "peak": 7000, "flat": 9000})


def test_a_tariff_prices_nothing_after_its_last_day() -> None:
    """1 MW at 1 a kWh from noon of the last day of February, as its zone counts it, to the noon of March 2."""
    tariff = Tariff(name="t", source="s", dated=date(2025, 1, 1), until=date(2026, 2, 28), per_kwh={"flat": 1.0},
                    demand=Demand(per_kw_month=30.0))  # fmt: skip
    at = datetime(2026, 2, 28, 4, tzinfo=UTC).timestamp() + 900.0 * np.arange(4 * 48)
    made = bill(tariff, at, np.full(4 * 48, 1e6), 900.0)
    assert made.energy_kwh == {"flat": pytest.approx(48e3)}
    assert made.energy_cost == {"flat": pytest.approx(12e3)}
    assert made.priced_kwh == {"flat": pytest.approx(12e3)}
    assert made.coverage_frac == pytest.approx(12 / 48)
    assert [(month.month, month.cost) for month in made.months] == [("2026-02", pytest.approx(1000 * 30 * 0.5 / 28))]
    assert made.ended == date(2026, 2, 28)
    assert bill(tariff, at[:48], np.full(48, 1e6), 900.0).ended is None
    assert np.isnan(bill(tariff, at[48:], np.full(144, 1e6), 900.0).cost), "nothing priced is no cost of nothing"


def test_every_tariff_that_ships_keeps_the_national_spreads() -> None:
    for name, spread in (("national-2021-wide", 4.0), ("national-2021", 3.0), ("guangdong-2021", 4.0)):
        price = load_tariff(name).per_kwh
        assert price["peak"] / price["valley"] >= spread * 0.999
        assert price["sharp"] >= 1.2 * price["peak"] - 1e-9


def test_demand_is_billed_by_contract_or_peak() -> None:
    """1,000 kW contracted: 1,040 kW is within 5 %, 1,150 kW is 100 kW beyond it, and those count twice."""
    contract = Demand(per_kw_month=40, basis="contracted", contracted_kw=1000)
    assert billed_demand_w(contract, 1040e3) == 1000e3
    assert billed_demand_w(contract, 1150e3) == pytest.approx(1200e3)
    assert billed_demand_w(Demand(per_kw_month=40, contracted_kw=900), 800e3) == 900e3
    tariff = Tariff(
        name="t", source="s", dated=START.date(), timezone="UTC", per_kwh={"flat": 0.5}, demand=Demand(per_kw_month=30)
    )
    at = S0 + 300.0 * np.arange(288 * 2)
    power = np.full(len(at), 1e6)
    power[30:33] = 2e6  # a quarter of an hour by the clock
    power[100] = 9e6  # five minutes of one: (9 + 1 + 1) / 3
    month = bill(tariff, at, power, 300.0).months[0]
    assert (month.month, month.peak_w) == ("2026-11", pytest.approx(11e6 / 3))
    assert month.cost == pytest.approx(11e3 / 3 * 30 * 2 / 30)


def test_a_bad_tariff_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('name="x"\nsource="y"\ndated=2026-01-01\n[per_kwh]\nflat=1.0\n[[rule]]\nperiod="peak"\nhours=[[22, 6]]\n')
    with pytest.raises(ConfigError, match="cut a night in two"):
        load_tariff(file)
    with pytest.raises(ConfigError, match=r"one that ships: .*national-2021"):
        load_tariff("nowhere")


# --- carbon -----------------------------------------------------------------------------------------------------------


def test_contracts_change_market_based_carbon_alone() -> None:
    kwh, average, marginal = np.full(4, 100.0), np.array([500.0, 500, 300, 300]), np.full(4, 800.0)
    none = carbon(kwh, average, marginal)
    assert (none.location_kg, none.market_kg, none.marginal_kg) == pytest.approx((160, 160, 320))
    wind = Contract("wind", share_frac=0.5)
    half = carbon(kwh, average, marginal, own_kwh=50, contracts=[wind], residual_gco2_per_kwh=600)
    assert (half.location_kg, half.market_kg, half.renewable_kwh) == pytest.approx((160, 120, 250))
    volume = carbon(kwh, average, marginal, contracts=[Contract("hydro", kwh=1000, gco2_per_kwh=10)])
    assert volume.market_kg == pytest.approx(4.0)  # more was bought than used: only what was used counts
    with pytest.raises(ValueError, match="more than all"):
        carbon(kwh, average, marginal, contracts=[wind, Contract("sun", share_frac=0.6)])
    gap = carbon(kwh, np.array([500.0, np.nan, np.nan, np.nan]), marginal)
    assert (gap.location_kg, gap.coverage_frac) == pytest.approx((50, 0.25))


# --- whose it was -----------------------------------------------------------------------------------------------------


def test_a_day_shared_by_hand() -> None:
    """GPUs draw 1 to 4 kW of 10; ``a`` holds the 4 kW one all day, ``b`` the 3 kW one for six hours and 100 s."""
    made = account(
        centre(), START, START + timedelta(days=1), Given(), runs_of(("a1", 0, 24, [3]), ("b1", 6, 12 + 100 / 3600, [2])),
        "project", 4
    )  # fmt: skip
    assert made.facility_kwh == pytest.approx(13 * 24)
    assert made.indicators.pue_ratio == pytest.approx(1.3)
    assert made.carbon.location_kg == pytest.approx(13 * 24 * 0.5)
    assert made.carbon.marginal_kg == pytest.approx(13 * 24 * 0.8)
    split = made.split
    assert split is not None
    assert split.names == ["a", "b", IDLE, UNSEEN]
    hours = 6 + 100 / 3600
    assert split.column("it_kwh").tolist() == pytest.approx([4 * 24, 3 * hours, 240 - 96 - 3 * hours, 0])
    assert split.column("facility_kwh")[0] == pytest.approx(13 * 24 * 0.4)
    # b ran from 6:00, half a day at 0.3 and half at 0.6 a kWh: all but 100 s in the cheap half
    assert split.column("cost")[1] == pytest.approx(13 * 0.3 * (6 * 0.3 + 100 / 3600 * 0.6))
    assert split.gpu_s.tolist() == pytest.approx([86400, 3600 * hours, 3600 * (4 * 24 - 24 - hours), 0]), "idle hours too"
    assert split.sum_error_frac < 1e-12


runs = st.lists(
    st.tuples(st.floats(-2, 24), st.floats(0.01, 12), st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@cases(runs, st.integers(0, 10**6), st.sampled_from(["job", "user", "tenant"]), st.integers(2, 40))
def test_parts_sum_to_the_meter_whatever_overlaps_or_is_missing(
    rows: list[tuple[float, float, list[int]]], seed: int, by: str, chunk: int
) -> None:
    r, steps = np.random.default_rng(seed), 288
    store = Tables()
    facility, it, gpu = r.uniform(5e3, 2e4, steps), r.uniform(2e3, 5e3, steps), r.uniform(0, 700, (steps, 6))
    facility[r.random(steps) < 0.1] = np.nan
    gpu[r.random((steps, 6)) < 0.1] = np.nan
    gpu[r.random(steps) < 0.05] = 0.0  # nothing of the GPUs, while the meter reads on
    for kind, name, values in (("site", "facility_power_w", facility), ("site", "it_power_w", it), ("gpu", "power_w", gpu)):
        store.put(kind, name, values)
    store.put("grid", "carbon_gco2_per_kwh", r.uniform(100, 900, steps))
    store.put("grid", "price_per_mwh", r.uniform(-100, 900, steps))
    held = runs_of(*((f"{'abc'[i % 3]}{i}", a, a + b, gpus) for i, (a, b, gpus) in enumerate(rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("energy.account.power.CHUNK_VALUES", 6 * chunk)
        made = account(store, START, START + timedelta(days=1), Given(), held, by, 6)  # type: ignore[arg-type]
    split = made.split
    assert split is not None
    assert split.sum_error_frac < 1e-9
    assert (split.column("facility_kwh") >= -1e-9).all()
    assert split.column("facility_kwh").sum() == pytest.approx(made.facility_kwh, rel=1e-9)
    assert split.column("carbon_location_kg").sum() == pytest.approx(made.carbon.location_kg, rel=1e-9)
    assert made.bill is not None
    assert split.column("cost").sum() == pytest.approx(made.bill.cost, rel=1e-9)
    holds = holds_of(held, S0, S0 + 86400)
    for one in range(6):  # no moment of a GPU is given away twice
        mine = holds.gpu == one
        for t in np.unique(holds.begin_s[mine]):
            assert holds.share[mine & (holds.begin_s <= t) & (holds.end_s > t)].sum() == pytest.approx(1.0)


def test_the_demand_charge_and_own_generation_are_shared_too() -> None:
    store = centre()
    store.put("pv", "power_w", np.repeat([0.0, -20e3], 144))  # more than the centre needs for half a day
    tariff = Tariff(
        name="t", source="s", dated=START.date(), timezone="UTC", per_kwh={"flat": 1.0}, demand=Demand(per_kw_month=30)
    )
    made = account(
        store, START, START + timedelta(days=1), Given(tariff=tariff), runs_of(("a1", 0, 24, [0, 1, 2, 3])), "user", 4
    )
    assert (made.own_kwh, made.grid_kwh) == pytest.approx((156, 156))
    assert made.carbon.location_kg == pytest.approx(78)
    assert made.indicators.ref_frac == pytest.approx(0.5)
    assert made.bill is not None
    assert made.split is not None
    assert made.bill.cost == pytest.approx(156 + 13 * 30 / 30)
    assert made.split.column("cost")[0] == pytest.approx(made.bill.cost)


def test_the_twins_word_counts_where_no_meter_spoke_and_is_told_apart() -> None:
    store = centre()
    facility = np.full(288, 13e3)
    facility[72:] = np.nan
    store.put("site", "facility_power_w", facility)
    store.put("site", "facility_power_w", np.full(288, 14e3), Origin.MODELLED)
    store.put("site", "it_power_w", np.full(288, 10e3), Origin.MODELLED)
    both = account(store, START, START + timedelta(days=1), Given())
    assert (both.facility_kwh, both.modelled_frac, both.coverage_frac) == pytest.approx((13 * 6 + 14 * 18, 0.75, 1.0))
    alone = account(store, START, START + timedelta(days=1), Given(), whose="measured")
    assert (alone.facility_kwh, alone.modelled_frac, alone.coverage_frac) == pytest.approx((13 * 6, 0, 0.25))


def test_the_twins_word_on_it_is_told_apart_also_where_nothing_is_known_of_the_facility() -> None:
    store = Tables()
    it_w = np.full(288, np.nan)
    it_w[:72] = 10e3
    store.put("site", "it_power_w", it_w)
    store.put("site", "it_power_w", np.full(288, 12e3), Origin.MODELLED)
    made = account(store, START, START + timedelta(days=1), Given())
    assert (made.coverage_frac, made.it_read_frac, made.it_modelled_frac) == pytest.approx((0, 1, 0.75))
    assert made.it_read_kwh == pytest.approx(10 * 6 + 12 * 18)


# --- runs -------------------------------------------------------------------------------------------------------------


def queue(now: datetime, *rows: tuple[str, JobState, float, float, list[int]]) -> Jobs:
    """(id, state, start hour, end hour, GPUs)."""
    ids = [row[0] for row in rows]
    nan, flags = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.uint8)
    begin, end = (np.array([S0 + 3600 * row[i] for row in rows]) for i in (2, 3))
    gpu = np.array([g for row in rows for g in row[4]], dtype=np.int32)
    of = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row[4]) for row in rows])
    state = np.array([row[1] for row in rows], dtype=np.uint8)
    return Jobs(ids, ids, ids, ids, state, np.ones(len(rows), "i4"), begin, begin, end, nan, nan, flags, gpu, of,
                projects=[f"p-{one}" for one in ids])  # fmt: skip


def test_a_run_of_months_is_in_every_account_of_them() -> None:
    """Training for 100 days on four GPUs, looked at each day; icctwin starts again on day 50 and is away from day 60 to 70."""
    records, log = MemoryRecords(), RunLog(GPUS)
    go, done, nan = JobState.RUNNING, JobState.COMPLETED, float("nan")
    for hour in range(0, 24 * 100, 24):
        if hour == 24 * 50:
            log = RunLog(GPUS)
        if not 24 * 60 <= hour < 24 * 70:
            now = START + timedelta(hours=hour)
            log.note(records, {"q": queue(now, ("j1", go, 0, nan, [0, 1, 2, 3]))}, now)
    assert len(records.all) < 20, "about one note a week"
    over = START + timedelta(days=100)
    log.note(records, {"q": queue(over, ("j1", done, 0, 2400.0, []))}, over)
    for day in (0, 34, 36, 65, 99):
        found = read_runs(records, START + timedelta(days=day), START + timedelta(days=day + 1), GPUS)
        assert (found.ids, found.gpu.tolist(), found.start_s.tolist()) == (["j1"], [0, 1, 2, 3], [S0]), day
        assert found.end_s.tolist() == [S0 + 3600 * 2400.0]
    assert read_runs(records, over, over + timedelta(days=1), GPUS).ids == []


def test_runs_are_noted_once_and_survive_a_restart() -> None:
    records, log = MemoryRecords(), RunLog(GPUS)
    go, done, nan = JobState.RUNNING, JobState.COMPLETED, float("nan")
    hour = [START + timedelta(hours=h) for h in range(6)]
    assert log.note(records, {"q": queue(hour[0], ("j1", go, 0, nan, [0, 1, 2, 5]), ("j2", go, 0, nan, [3]))}, hour[0]) == 2
    assert log.note(records, {"q": queue(hour[1], ("j1", go, 0, nan, [0, 1, 2, 5]), ("j2", go, 0, nan, [3]))}, hour[1]) == 0
    after = RunLog(GPUS)  # icctwin was started again; j1 ended and says when, j2 has vanished
    assert after.note(records, {"q": queue(hour[3], ("j1", done, 0, 2.5, []))}, hour[3]) == 2
    assert after.note(records, {"q": queue(hour[4], ("j1", done, 0, 2.5, []))}, hour[4]) == 0
    found = read_runs(records, START, hour[5], GPUS)
    assert (found.ids, found.projects) == (["j1", "j2"], ["p-j1", "p-j2"])
    assert ((found.end_s - S0) / 3600).tolist() == [2.5, 3.0]
    assert found.gpu.tolist() == [0, 1, 2, 5, 3]
    assert read_runs(records, hour[4], hour[5], GPUS).ids == []
    # a queue that does not answer ends nothing
    assert RunLog(GPUS).note(records, {}, hour[5]) == 0


def test_only_the_first_start_of_a_job_waited_and_each_queue_counts_its_own_jobs() -> None:
    """Job 7 of one queue is paused and goes on, that of the other is over, and one of the same name comes after it."""
    records, log = MemoryRecords(), RunLog(GPUS)
    recent = Recent(records, GPUS)
    go, done, wait, nan = JobState.RUNNING, JobState.COMPLETED, JobState.PENDING, float("nan")

    def look(hour: float, a: tuple[JobState, float, float], b: tuple[JobState, float, float], came: float = 0) -> None:
        now = START + timedelta(hours=hour)
        tables = {"a": queue(now, ("7", *a, [0])), "b": queue(now, ("7", *b, [1]))}
        log.note(records, {name: replace(one, submit_s=np.array([S0 + 3600 * came])) for name, one in tables.items()}, now)

    look(3, (go, 1, nan), (go, 3, nan))
    look(60, (wait, nan, nan), (done, 3, 50))
    look(70, (go, 70, nan), (go, 70, nan), came=61)  # a requeue is counted as a submission

    def waits(hour: float) -> list[float]:
        start, end = START + timedelta(hours=hour), START + timedelta(hours=100)
        found = read_runs(records, start, end, GPUS)
        assert np.array_equal(recent.read(start, end).wait_s, found.wait_s, equal_nan=True)
        return (found.only(np.ones(len(found), dtype=np.bool_)).wait_s / 3600).tolist()

    assert waits(0) == pytest.approx([1, 3, nan, 9], nan_ok=True)
    assert waits(2) == pytest.approx([nan, 3, nan, 9], nan_ok=True), "it began before that"
    assert waits(65) == pytest.approx([nan, 9], nan_ok=True)
