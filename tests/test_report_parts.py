"""Reports of halls, tenants and projects: over any span the parts sum to the centre, and each part's own sums are its own."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from analytics.kpis import exposure_per_event
from energy.account.book import Given, account_of
from energy.account.carbon import Contract
from energy.account.meters import Meters, read_meters
from energy.account.part import part_account
from energy.account.runs import TOPIC, RunLog, Runs, read_runs
from energy.account.share import covered, holds_of
from energy.account.tariff import Demand, load_tariff
from energy.place.atlas import Atlas, Place
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.errors import ConfigError
from twin.event import TOPIC as EVENTS
from twin.frame import Frame
from twin.job import Jobs, JobState
from twin.load import Row, build_site
from twin.ports import Records, Store
from twin.site import Site
from ui.given import supply_of
from ui.report.compose import compose
from ui.report.document import Report, Table
from ui.report.gather import gather
from ui.report.scope import Scope, part_of, scope_of, scopes_of
from ui.report.span import span_of

ZONE = ZoneInfo("Asia/Shanghai")
SPANS = ("2026-W46", "2026-11", "2026-Q4", "2026-11-03/2026-11-12")
TENANTS = {"p1": "acme", "p2": "acme", "p3": "bee"}
GIVEN = Given(
    average_gco2_per_kwh=500.0,
    tenants=TENANTS,
    tariff=load_tariff("guangdong-2021").model_copy(update={"demand": Demand(per_kw_month=32.0)}),
    contracts=[Contract("wind", kwh=900.0), Contract("sun", share_frac=0.2)],
)
GPUS = [f"g{k}" for k in range(12)]
BEGIN, HOURS = datetime(2026, 11, 1, tzinfo=ZONE), 30 * 24


class House(NamedTuple):
    site: Site
    store: Store
    records: Records


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """November of two halls and a rack that stands in none: meters and GPUs that are silent now and then, twenty runs."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(7)
    lines = [{"id": "h1", "kind": "hall"}, {"id": "h2", "kind": "hall"}]
    lines += [{"id": "r1", "kind": "rack", "parent": "h1"}, {"id": "r2", "kind": "rack", "parent": "h2"}]
    lines += [{"id": "r3", "kind": "rack", "parent": "h2"}, {"id": "c1", "kind": "cdu", "parent": "h2"}]
    lines += [{"id": f"n{r}", "kind": "node", "parent": f"r{r}"} for r in (1, 2, 3)]
    lines += [{"id": f"g{k}", "kind": "gpu", "parent": f"n{1 + k // 4}"} for k in range(12)]
    site = build_site("parts", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    frames: list[Frame] = []
    for k in range(HOURS):
        at = BEGIN + timedelta(hours=k)
        gpu = rng.uniform(100, 700, 12)
        it_w = 1.3 * gpu.sum()
        if k % 50 != 7:  # else no meter spoke
            meters = {"facility_power_w": 1.2 * it_w + 500, "it_power_w": it_w, "cooling_power_w": 0.1 * it_w}
            frames.append(Frame("site", at, site.all_rows("site"), {name: np.array([value]) for name, value in meters.items()}))
        if k % 40 != 3:  # else no rack spoke
            frames.append(Frame("rack", at, site.all_rows("rack"), {"power_w": 1.3 * gpu.reshape(3, 4).sum(axis=1)}))
        if k % 60 != 5:  # else no GPU spoke
            frames.append(Frame("gpu", at, site.all_rows("gpu"), {"power_w": gpu, "util_frac": np.full(12, 0.5)}))
        frames.append(Frame("cdu", at, site.all_rows("cdu"), {"power_w": np.array([60.0])}))
    store.append(frames)
    for k in range(20):
        start_s = BEGIN.timestamp() + float(rng.uniform(0, 25 * 86400))
        end_s, first = start_s + float(rng.uniform(3e3, 4e5)), int(rng.integers(0, 10))
        key = f"q/{k}@{start_s:.0f}"
        run = {"key": key, "job": str(k), "user": f"u{k % 5}", "project": f"p{1 + k % 4}", "partition": "ab"[k % 2],
               "start_s": start_s, "submit_s": start_s - 60.0 * k, "gpus": [[first, first + 2]]}  # fmt: skip
        records.append(TOPIC, BEGIN, {"entry": "begun", **run})
        records.append(
            TOPIC, BEGIN, {"entry": "ended", "key": key, "end_s": end_s, "end_told": True, "how": "failed" if k % 4 else ""}
        )
    return House(site, store, records)


def reported(house: House, span: str, scope: str = "centre") -> Report:
    return compose(gather(*house, span_of(span, ZONE), GIVEN, scope_of(scope)))


def figures(report: Report) -> dict[str, float]:
    return {figure.key: figure.value for section in report.sections for figure in section.figures}


def table(report: Report, key: str) -> Table:
    return next(one for one in report.tables() if one.key == key)


SUMS = ("facility_kwh", "it_kwh", "carbon_location_kg", "carbon_market_kg", "cost")


@pytest.mark.parametrize("span", SPANS)
def test_parts_of_every_kind_sum_to_the_centre(house: House, span: str) -> None:
    over = span_of(span, ZONE)
    runs = read_runs(house.records, over.start, over.end, house.site.ids_of("gpu"))
    meters = read_meters(house.store, over.start, over.end, 3600.0)
    whole, values = account_of(meters, over.start, over.end, GIVEN)
    for kind in ("hall", "tenant", "project"):
        scopes = scopes_of([f"{kind}s"], house.site, runs, GIVEN)
        assert len(scopes) >= 2
        pieces = [part_of(scope, house.site, runs, GIVEN).piece(house.store, meters) for scope in scopes]
        took = [(piece.share, piece.share if piece.cooling_frac is None else piece.cooling_frac) for piece in pieces]
        share, cooling = np.nansum(took, axis=0)  # NaN where nobody spoke
        assert (share <= 1 + 1e-12).all()
        rest = 1 - share, 1 - cooling  # idle, unseen, and what stands in no hall
        parts = [part_account(whole, meters, of_it, GIVEN, of_cooling) for of_it, of_cooling in (*took, rest)]
        for name in ("facility_kwh", "it_kwh", "cooling_kwh", "grid_kwh"):
            assert sum(getattr(part, name) for part in parts) == pytest.approx(getattr(whole, name), rel=1e-9), (kind, name)
        assert sum(part.carbon.location_kg for part in parts) == pytest.approx(whole.carbon.location_kg, rel=1e-9)
        assert sum(part.carbon.market_kg for part in parts) == pytest.approx(whole.carbon.market_kg, rel=1e-9)
        assert whole.bill is not None
        assert whole.bill.demand_cost > 0
        assert sum(part.bill.cost for part in parts if part.bill) == pytest.approx(whole.bill.cost, rel=1e-9)
    assert values[:, 1].sum() == pytest.approx(whole.facility_kwh, rel=1e-12)


@pytest.mark.parametrize("span", SPANS[:2])
def test_a_tenants_report_says_what_its_row_in_the_centres_says(house: House, span: str) -> None:
    rows = {row[0]: row for row in table(reported(house, span), "by_tenant").rows}
    names = {"facility_kwh": 3, "it_kwh": 2, "carbon_location_kg": 4, "carbon_market_kg": 5, "cost": 6}
    for tenant in ("acme", "bee"):
        part = reported(house, span, f"tenant:{tenant}")
        found = figures(part)
        for name, column in names.items():
            assert found[name] == pytest.approx(float(rows[tenant][column]), rel=1e-9), (tenant, name)
        assert found["held_h"] == pytest.approx(float(rows[tenant][1]), rel=1e-9)
        users = np.array([[float(cell) for cell in row[1:]] for row in table(part, "by_user").rows])
        assert users[:, 2].sum() == pytest.approx(found["facility_kwh"], rel=1e-9)
        assert (users[-2:] == 0).all(), "of what a tenant took nothing is idle or unseen"
        assert str(part.said[0]).startswith(tenant)


def test_a_gpu_that_two_projects_hold_together_is_half_of_each(house: House) -> None:
    """In every figure of hours of a project's own report, so they sum to those of the centre."""
    rows = {str(row[0]): float(row[1]) for row in table(reported(house, "2026-11"), "by_project").rows}
    parts = {name: reported(house, "2026-11", f"project:{name}") for name in ("p1", "p2", "p3", "p4")}
    for name, part in parts.items():
        by_user = sum(float(row[1]) for row in table(part, "by_user").rows)
        told = [figures(part)["held_h"], float(table(part, "sizes").total[2]), by_user]
        assert told == pytest.approx([rows[name]] * 3, rel=1e-9)
    runs = read_runs(house.records, BEGIN, BEGIN + timedelta(days=30), house.site.ids_of("gpu"))
    alone = (runs.gpus * (runs.end_s - runs.start_s)).sum() / 3600
    assert sum(rows[name] for name in parts) < 0.99 * alone, "some are held together"


def test_a_halls_report_is_of_its_own_gpus_and_its_runs_parts_sum_to_it(house: House) -> None:
    parts = {hall: reported(house, "2026-11", f"hall:{hall}") for hall in ("h1", "h2")}
    gpu_h = {hall: figures(part)["gpu_h"] for hall, part in parts.items()}
    assert gpu_h == {"h1": 4 * 720, "h2": 8 * 720}
    for part in parts.values():
        rows = np.array([[float(cell) for cell in row[1:]] for row in table(part, "by_job").rows])
        assert rows[:, 2].sum() == pytest.approx(figures(part)["facility_kwh"], rel=1e-9)
    whole = reported(house, "2026-11")
    halls = {row[0]: row for row in table(whole, "halls").rows}
    for hall, part in parts.items():
        assert float(halls[hall][1]) == pytest.approx(figures(part)["it_kwh"], rel=1e-9)
    cooling = sum(float(row[3]) for row in halls.values())
    assert float(halls["h2"][4]) > float(halls["h1"][4]), "the CDU that stands in it counts as its own"
    assert cooling == pytest.approx(float(table(whole, "halls").total[3]), rel=1e-11)


def test_cooling_in_a_hall_is_that_halls_own_and_its_report_says_what_its_row_says(tmp_path: Path) -> None:
    """Of 1.2 kW of cooling 0.24 stand in h1 (a pump inside its CDU is in the CDU's), 0.36 in h2; 0.6 kW of the plant and 0.8 kW
    of losses go by IT power, one to three. For the last quarter of the day the rack of h2 is silent: h1 has what it read."""
    lines = [{"id": f"h{k}", "kind": "hall"} for k in (1, 2)] + [
        {"id": f"r{k}", "kind": "rack", "parent": f"h{k}"} for k in (1, 2)
    ]
    lines += [{"id": "c1", "kind": "cdu", "parent": "r1"}, {"id": "a1", "kind": "crah", "parent": "h1"}]
    lines += [{"id": f"p{k}", "kind": "pump", "parent": parent} for k, parent in enumerate(("c1", "h1"))]
    lines += [{"id": "ch1", "kind": "chiller"}, {"id": "ch2", "kind": "chiller", "parent": "h2"}]
    site = build_site("own", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    house = House(site, open_store(tmp_path / "store", site), open_records(tmp_path / "records.db"))
    span = span_of("2026-11-03/2026-11-04", ZONE)
    powers = {"cdu": [150.0], "crah": [40.0], "pump": [30.0, 50.0], "chiller": [500.0, 360.0]}
    site_w = {"facility_power_w": np.array([6e3]), "it_power_w": np.array([4e3]), "cooling_power_w": np.array([1.2e3])}
    for k in range(4 * 24):
        at = span.start + timedelta(minutes=15 * k)
        columns = {kind: {"power_w": np.array(value)} for kind, value in powers.items()}
        columns |= {"rack": {"power_w": np.array([1e3, 3e3 if k < 72 else np.nan])}, "site": site_w}
        house.store.append([Frame(kind, at, site.all_rows(kind), values) for kind, values in columns.items()])
    made = table(reported(house, span.label), "halls")
    rows = {str(row[0]): [float(cell) for cell in row[1:]] for row in made.rows}
    assert rows["h1"] == pytest.approx([24 * 1.0, 24 / 96, 24 * 0.39, 1.39, 24 * 1.59, 1.59, 1.0], rel=1e-9)
    assert rows["h2"] == pytest.approx([18 * 3.0, 54 / 96, 18 * 0.81, 1.27, 18 * 4.41, 1.47, 0.75], rel=1e-9)
    for hall, row in rows.items():
        own = figures(reported(house, span.label, f"hall:{hall}"))
        assert [own[name] for name in ("it_kwh", "ppue_ratio", "facility_kwh", "pue_ratio", "coverage_frac")] == pytest.approx(
            [row[0], *row[3:]], rel=1e-9
        )
    assert made.note is not None
    assert made.note.params["left"] == pytest.approx(6 * 4.41), "what nobody can be given is named"


def test_halls_on_two_grids_have_each_its_own_and_the_centre_their_mix(tmp_path: Path) -> None:
    """A megawatt on 50 and three on 700 g/kWh; for two hours nobody says what the second grid emits."""
    lines = [{"id": f"h{k}", "kind": "hall"} for k in (1, 2)] + [{"id": name, "kind": "grid"} for name in ("hydro", "coal")]
    lines += [{"id": f"r{k}", "kind": "rack", "parent": f"h{k}"} for k in (1, 2)]
    site = build_site("grids", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    span = span_of("2026-11-03/2026-11-04", ZONE)
    for k in range(4 * 24):
        at = span.start + timedelta(minutes=15 * k)
        carbon = np.array([50.0, 700.0 if not 48 <= k < 64 else np.nan])
        store.append([
            Frame("site", at, site.all_rows("site"), {"facility_power_w": np.array([4.4e6]), "it_power_w": np.array([4e6])}),
            Frame("rack", at, site.all_rows("rack"), {"power_w": np.array([1e6, 3e6])}),
            Frame("grid", at, site.all_rows("grid"), {"carbon_gco2_per_kwh": carbon, "price_per_mwh": np.array([20.0, 60.0])}),
        ])  # fmt: skip
    places = tuple(Place(hall, "q", (hall,), grid, hall) for hall, grid in (("h1", "hydro"), ("h2", "coal")))
    given = Given(supply=supply_of(Atlas(places), site), currency="CNY")
    centre, hydro, coal = (
        gather(site, store, records, span, given, scope_of(name)).account for name in ("centre", "hall:h1", "hall:h2")
    )
    read_h = 24 * centre.carbon.coverage_frac
    assert 20 <= read_h < 24, "a step in which one of the two is not known is in no sum"
    assert centre.carbon.location_kg == pytest.approx(read_h * 1.1 * (1000 * 50 + 3000 * 700) * 1e-3)
    assert hydro.carbon.location_kg == pytest.approx(24 * 1.1 * 1000 * 50e-3)
    assert coal.carbon.location_kg == pytest.approx(read_h * 1.1 * 3000 * 700e-3)
    costs = [one.bill.cost for one in (centre, hydro, coal) if one.bill]
    assert costs == [pytest.approx(24 * 1.1 * mwh) for mwh in (20 + 3 * 60, 20, 3 * 60)]
    assert supply_of(Atlas((Place("a", "q", ("p",), "hydro", "h2"),)), site) is None, "all on the first: nothing to mix"


def test_waits_by_partition_and_size_and_what_ended_runs(house: House) -> None:
    at = BEGIN + timedelta(days=1)
    whole = reported(house, "2026-11")
    waits = table(whole, "waits")
    assert {row[0] for row in waits.rows} == {"a", "b"}
    assert sum(float(row[2]) for row in waits.rows) == float(waits.total[2]) == 20
    assert float(waits.total[3]) == pytest.approx(60 * 9.5)
    runs = read_runs(house.records, BEGIN, BEGIN + timedelta(days=30), house.site.ids_of("gpu"))
    failed = [
        i for i, how in enumerate(runs.ends) if how == "failed" and runs.end_s[i] < (BEGIN + timedelta(days=30)).timestamp()
    ]
    blamed = failed[0]
    when = datetime.fromtimestamp(float(runs.end_s[blamed]) - 30, ZONE)
    gpu = house.site.ids_of("gpu")[int(runs.gpu[runs.run_of == blamed][0])]
    event = {"asset": gpu, "code": "xid/79", "severity": "critical", "meaning": "fell off the bus", "source": "s"}
    house.records.append(EVENTS, when, event)
    rows = {row[0]: row for row in table(reported(house, "2026-11"), "interruptions").rows}
    assert rows["xid/79"][1] == "fell off the bus"
    assert float(rows["xid/79"][2]) >= 1
    assert sum(float(row[2]) for row in rows.values()) == len(failed)
    rate = exposure_per_event(float(table(whole, "sizes").total[2]), len(failed))
    told = figures(whole)
    assert [told[f"mtti{end}_gpu_h"] for end in ("_low", "", "_high")] == pytest.approx([rate.low, rate.value, rate.high])
    components = {row[0]: row for row in table(reported(house, "2026-11"), "components").rows}
    assert float(components["gpu"][2]) == 1
    assert float(components["gpu"][3]) == pytest.approx(12 * 720 * 3600)
    found = figures(reported(house, "2026-11"))
    assert (found["failures_count"], found["missed_count"]) == (1, 1)
    house.records.append("finding", at, {"phase": "began", "sort": "failure", "asset": gpu, "metric": "m", "question": "xid"})
    found = figures(reported(house, "2026-11"))
    assert (found["foretold_count"], found["missed_count"]) == ((1, 0) if when > at else (0, 1))


@pytest.mark.parametrize("text", ["hall", "moon:x", "centre:x", "hall:\n", "", "tenant:" + "x" * 300])
def test_what_is_no_part_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="hall:NAME"):
        scope_of(text)


def test_two_names_are_never_one_file() -> None:
    names = ["a/b", "a b", "a-b", "甲", "乙", "../x", "x" * 200]
    slugs = [Scope("tenant", name).slug for name in names]
    assert len(set(slugs)) == len(names)
    assert all("/" not in slug and len(slug) < 100 for slug in slugs)


def test_covered_is_what_holds_say_to_the_second() -> None:
    rng = np.random.default_rng(3)
    start = rng.uniform(-2000, 9000, 40)
    runs = Runs(["x"] * 40, ["x"] * 40, ["x"] * 40, ["x"] * 40, start, start + rng.uniform(1, 5000, 40),
                rng.integers(0, 5, 40).astype(np.int32), np.arange(40, dtype=np.int32))  # fmt: skip
    cover = covered(holds_of(runs, 0.0, 7200.0), 0.0, 900.0, 8, 5)
    grid = np.arange(0.5, 7200, 1.0)
    for gpu in range(5):
        mine = runs.gpu == gpu
        busy = ((runs.start_s[mine, None] <= grid) & (runs.end_s[mine, None] > grid)).any(axis=0)
        assert np.allclose(cover[:, gpu], busy.reshape(8, 900).mean(axis=1), atol=4e-2 / 9)


def test_runs_noted_before_get_their_submission_at_the_first_look(tmp_path: Path) -> None:
    records, now = open_records(tmp_path / "records.db"), BEGIN
    start_s = now.timestamp() - 100
    old = {
        "key": f"q/7@{start_s:.0f}",
        "job": "7",
        "user": "u",
        "project": "p",
        "partition": "a",
        "start_s": start_s,
        "gpus": [[0, 1]],
    }
    records.append(TOPIC, now - timedelta(seconds=90), {"entry": "begun", **old})  # as releases before wrote it
    assert np.isnan(read_runs(records, now - timedelta(days=1), now, GPUS).wait_s).all()
    log = RunLog(GPUS)
    assert log.note(records, {"q": _jobs(JobState.RUNNING, start_s)}, now) == 1
    assert log.note(records, {"q": _jobs(JobState.RUNNING, start_s)}, now) == 0
    assert RunLog(GPUS).note(records, {"q": _jobs(JobState.RUNNING, start_s)}, now) == 0, "told once, whoever leads"
    assert log.note(records, {"q": _jobs(JobState.FAILED, start_s, start_s + 50)}, now) == 1
    found = read_runs(records, now - timedelta(days=1), now, GPUS)
    assert (found.wait_s.tolist(), list(found.ends)) == ([40.0], ["failed"])


def _jobs(state: JobState, start_s: float, end_s: float = float("nan")) -> Jobs:
    nan, rows = np.array([np.nan]), np.array([0, 1] if state is JobState.RUNNING else [], dtype=np.int32)
    submit, start, end = (np.array([value]) for value in (start_s - 40, start_s, end_s))
    now, two, none = np.array([state], dtype=np.uint8), np.array([2], dtype=np.int32), np.zeros(1, dtype=np.uint8)
    return Jobs(["7"], ["n"], ["u"], ["a"], now, two, submit, start, end, nan, nan, none, rows, np.zeros_like(rows))


def test_a_meter_of_a_part_is_none_where_the_centres_is_none(house: House) -> None:
    over = span_of("2026-Q4", ZONE)
    meters: Meters = read_meters(house.store, over.start, over.end, 3600.0)
    whole, _ = account_of(meters, over.start, over.end, GIVEN)
    runs = read_runs(house.records, over.start, over.end, house.site.ids_of("gpu"))
    part = part_account(
        whole, meters, part_of(scope_of("hall:h1"), house.site, runs, GIVEN).piece(house.store, meters).share, GIVEN
    )
    assert part.coverage_frac == pytest.approx(whole.coverage_frac)
    assert part.peak_w < whole.peak_w


def test_a_centre_that_has_no_gpu_is_reported_too(tmp_path: Path) -> None:
    lines = [{"id": "h1", "kind": "hall"}, {"id": "r1", "kind": "rack", "parent": "h1"}]
    site = build_site("bare", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    hours = [datetime(2026, 11, 9, tzinfo=ZONE) + timedelta(hours=k) for k in range(7 * 24)]
    meters = {"facility_power_w": np.array([1200.0]), "it_power_w": np.array([1000.0])}
    store.append([Frame("site", hour, site.all_rows("site"), meters) for hour in hours])
    found = figures(reported(House(site, store, records), "2026-W46"))
    assert found["facility_kwh"] == pytest.approx(1.2 * len(hours), rel=0.01)
