"""Availability is one measure: what the API says of a day is what the report says of it, and both as it is defined."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import rows, small_site
from test_known import jobs

from analytics.kpis import able_frac
from energy.account.book import Given
from energy.account.runs import no_runs
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.job import JobState
from twin.load import build_site
from twin.state import State
from ui.able import by_hour
from ui.faces.api_forecast import _available as available
from ui.faces.api_forecast import _placed as placed
from ui.report.gather import _heard as heard_of
from ui.report.scope import CENTRE, part_of
from ui.report.span import span_of
from ui.report.tokens import tokens_of
from ui.report.used import use_of
from ui.view import Live

START = datetime(2026, 11, 9, tzinfo=UTC)
HOURS = 24
NOW = START + timedelta(hours=HOURS)


def test_able_by_hand() -> None:
    nan = np.nan
    able = able_frac(np.array([[True, True, True, False]]), np.array([[nan, 0.25, 1, nan]]), np.array([[nan, 0.5, 1, 1]]))
    assert able[0] == pytest.approx([1.0, 0.5, 0.0, nan], nan_ok=True)


def test_drained_unhealthy_and_silent_gpus_are_not_available_to_any_face(tmp_path: Path) -> None:
    """A node of four is drained for six hours, one GPU called unhealthy all day, one silent for half of it."""
    site = small_site()
    frames: list[Frame] = []
    for hour in range(HOURS):
        at = START + timedelta(hours=hour)
        power, unhealthy = np.full(16, 500.0), np.zeros(16)
        power[15] = np.nan if hour >= 12 else 500.0
        unhealthy[8] = 1.0
        frames.append(Frame("gpu", at, site.all_rows("gpu"), {"power_w": power, "unhealthy_flag": unhealthy}))
        frames.append(Frame("node", at, site.all_rows("node"), {"usable_flag": np.array([hour >= 6, 1, 1, 1], dtype=float)}))
    store = open_store(tmp_path / "store", site)
    store.append(frames)
    able_h = 16 * HOURS - 4 * 6 - 24 - 12
    live = Live(site, State(site), store, open_records(tmp_path / "r.db"), Hands(NOW), START)
    assert available(live, START, NOW) == (("availability_frac", able_h / (16 * HOURS), 1 - 12 / (16 * HOURS)),)
    use = use_of(site, store, part_of(CENTRE, site, no_runs(), Given()), START, NOW)
    store.close()
    assert use.able.sum() == able_h
    assert use.usable.sum(axis=0).tolist() == [18, 24, 24, 24]


def test_gpus_of_a_drained_node_are_not_idle_ones_that_a_task_could_use(tmp_path: Path) -> None:
    """Two GPUs of a node are held; half of the tasks want two, half want four, which those other two cannot give."""
    site = small_site()
    state = State(site)
    live = Live(site, state, DayStore(), open_records(tmp_path / "r.db"), Hands(NOW), START)
    table = jobs((JobState.RUNNING, 2, 0, 0, 9), (JobState.PENDING, 4, 0, np.nan, 9))
    live.jobs = replace(table, rows=np.array([0, 1], dtype=np.int32), job_of=np.zeros(2, dtype=np.int32))
    ((_, everything, _),) = placed(live, NOW)
    assert everything == pytest.approx(0.5 * 2 / 14)
    state.absorb(Frame("node", NOW, site.all_rows("node"), {"usable_flag": np.array([1.0, 1, 1, 0])}), NOW)
    ((_, left, _),) = placed(live, NOW)
    assert left == pytest.approx(0.5 * 2 / 10)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Asia/Kolkata", 4, 24.0), ("Asia/Kathmandu", 4, 24.0), ("Europe/Berlin", 4, 24.0), ("Australia/Lord_Howe", 5, 24.5)],
)
def test_an_hour_is_the_zones_own_and_what_is_before_and_after_the_span_is_not_counted(
    zone: str, day: int, hours: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """India is half an hour off UTC's hours, Nepal a quarter; Lord Howe's clock goes back by half an hour on the fifth."""
    monkeypatch.setattr("ui.able.PORTION_VALUES", 40)  # ten hours at once: a span of several portions is one
    lines = ("id=h kind=hall", "id=r kind=rack parent=h", "id=n kind=node parent=r", "id=g kind=gpu parent=n")
    site, span = build_site("z", zone, rows(*lines)), span_of(f"2026-04-0{day}/2026-04-0{day + 1}", ZoneInfo(zone))
    store, frames = open_store(tmp_path / "store", site), list[Frame]()
    for k in range(-12, 26 * 12):
        at = span.start + timedelta(minutes=5 * k)
        frames.append(Frame("node", at, site.all_rows("node"), {"tokens_per_s": np.array([1e2]), "power_w": np.array([5e3])}))
        frames.append(Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.array([100.0 * (k // 12)])}))
        if k // 12 not in (3, 4):
            frames.append(Frame("rack", at, site.all_rows("rack"), {"power_w": np.array([5e3])}))
    store.append(frames)
    heard = heard_of(site, store, span.start, span.end)
    told, read = tokens_of(site, store, span.start, span.end), by_hour(site, store, "gpu", "power_w", span.start, 24)
    store.close()
    assert told is not None
    assert (told.count, told.node_kwh, told.gpu_h) == (hours * 360_000, hours * 5, hours)
    assert read[:, 0].tolist() == [100.0 * hour for hour in range(24)]
    assert heard == {"gpu": 1, "node": 1, "rack": (np.ceil(hours) - 2) / np.ceil(hours)}
