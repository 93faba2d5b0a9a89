"""An interval that begins or ends within a step, or was read for a few minutes of it, holds no more GPU hours than that."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from energy_house import MemoryStore
from small import small_site

from energy.account.book import IDLE, UNSEEN, Account, Given, account
from energy.account.runs import Runs, no_runs
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from ui.report.compose import compose
from ui.report.gather import gather
from ui.report.span import span_of

START = datetime(2026, 11, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NONE = np.empty(0, dtype=np.int32)


def run(begin_min: float, end_min: float) -> Runs:
    """One run of "a" on the only GPU."""
    begin_s, end_s = (np.array([START.timestamp() + 60 * at]) for at in (begin_min, end_min))
    return Runs(["1"], ["a"], ["a"], ["p"], begin_s, end_s, np.zeros(1, np.int32), np.zeros(1, np.int32))


def made(first: int, last: int, step_s: float, runs: Runs, read_min: tuple[int, int] = (0, 60)) -> Account:
    """Of these minutes, at 12 kW, 10 of them IT's, which were read from minute to minute as ``read_min`` says."""
    store, count = MemoryStore(), read_min[1] - read_min[0]
    for kind, name, watts in (("site", "facility_power_w", 12e3), ("site", "it_power_w", 10e3), ("gpu", "power_w", 500.0)):
        store.put(kind, name, START + read_min[0] * MINUTE, 60.0, np.full(count, watts))
    return account(store, START + first * MINUTE, START + last * MINUTE, Given(), runs, "user", 1, step_s)


def told(one: Account) -> dict[str, tuple[float, float]]:
    """(GPU minutes, facility energy in minutes at 12 kW) of each."""
    assert one.split is not None
    kwh = one.split.column("facility_kwh") / 0.2
    return dict(zip(one.split.names, zip(one.split.gpu_s / 60, kwh, strict=True), strict=True))


@pytest.mark.parametrize("step_s", [60.0, 300.0, 900.0, 3600.0])
def test_idle_hours_are_those_that_were_read(step_s: float) -> None:
    """Ten minutes of fifty: the first were not read, and what comes after is not over."""
    assert told(made(0, 50, step_s, no_runs(), (40, 50)))[IDLE] == pytest.approx((10, 10))


@pytest.mark.parametrize("step_s", [60.0, 300.0, 900.0, 3600.0])
def test_a_run_that_goes_on_holds_its_gpu_within_the_interval_and_all_that_it_took_there(step_s: float) -> None:
    one = told(made(10, 50, step_s, run(-90, np.inf)))
    assert one == {"a": pytest.approx((40, 40)), IDLE: pytest.approx((0, 0), abs=1e-9), UNSEEN: (0, 0)}


@pytest.mark.parametrize("step_s", [60.0, 300.0, 900.0])
def test_the_last_step_ends_where_the_interval_does(step_s: float) -> None:
    """The run begins at minute 45 of 50 and goes on; nobody has the GPU before."""
    one = told(made(10, 50, step_s, run(45, np.inf)))
    assert one == {"a": pytest.approx((5, 5)), IDLE: pytest.approx((35, 35)), UNSEEN: (0, 0)}


def test_a_report_of_a_day_whose_reading_began_twelve_minutes_ago(tmp_path: Path) -> None:
    """16 GPUs for 12 minutes are 3.2 hours, not one or a quarter for each."""
    site, now = small_site(), datetime(2026, 11, 10, 11, 50, tzinfo=UTC)
    store = open_store(tmp_path / "store", site)
    for k in range(12):
        at = now - timedelta(minutes=12 - k)
        store.append([
            Frame("site", at, site.all_rows("site"), {"facility_power_w": np.array([12e3]), "it_power_w": np.array([10e3])}),
            Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.full(16, 300.0)}),
        ])  # fmt: skip
    day = span_of("2026-11-10/2026-11-11", ZoneInfo("Asia/Shanghai"))
    report = compose(gather(site, store, open_records(tmp_path / "records.db"), day, Given(), now=now))
    store.close()
    (table,) = (one for one in report.tables() if one.key == "by_user")
    assert {row[0]: row[1] for row in table.rows}[IDLE] == pytest.approx(3.2)
