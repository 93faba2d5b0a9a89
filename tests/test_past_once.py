"""A simulated plant makes up its past once: no start after the first changes what the store holds."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from whole_centre import write_centre

from energy.account.runs import read_runs
from ui.app import Centre
from ui.backup import backup
from ui.config import load_config
from ui.report.from_live import about_of
from ui.report.make import make
from ui.report.scope import scope_of
from ui.report.span import span_of
from ui.restoring import restore
from ui.tasks import VirtualClock, run_virtual

START = datetime(2026, 11, 23, 1, tzinfo=UTC)  # a Monday, an hour after its week
WEEK = timedelta(days=7)


@dataclass
class Known:
    """What a centre says of the hours before its first start, and the report of the week that was over then."""

    rows: list[np.ndarray]
    runs: list[tuple[str, float, float]]
    report: Any


def config(folder: Path) -> Path:
    folder.mkdir()
    path = write_centre(folder)
    path.write_text(path.read_text().replace('type = "simulated"\n', 'type = "simulated"\nhistory_days = 2\nfaults = false\n'))
    return path


def live(path: Path, at: datetime) -> Known:
    """A start at ``at`` and three minutes of life; what is known at its end."""
    clock = VirtualClock(at)
    centre = Centre(load_config(path), clock, wait=True, pace_s=30)
    loop = asyncio.new_event_loop()
    try:
        centre.make_past()
        run_virtual(centre.tasks, clock, at + timedelta(minutes=3), centre.health, loop)
        loop.run_until_complete(centre.collector.close())
        return known(centre)
    finally:
        loop.close()
        asyncio.set_event_loop(None)
        centre.close()


def known(centre: Centre) -> Known:
    names = ["it_power_w", "facility_power_w"]
    site = centre.store.series("site", names, START - WEEK, START)
    racks = centre.store.series("rack", ["power_w"], START - WEEK, START)
    rows = [site.time_s, *(site.values[name] for name in names), racks.time_s, racks.values["power_w"]]
    runs = read_runs(centre.records, START - WEEK, START, centre.site.ids_of("gpu"))
    held = zip(runs.jobs or runs.ids, runs.start_s.tolist(), np.minimum(runs.end_s, START.timestamp()).tolist(), strict=True)
    section = centre.config.report.model_copy(update={"picture": False})
    about = about_of(centre.live, section, START + timedelta(hours=2))
    made = make(about, span_of("2026-W47", ZoneInfo(centre.site.timezone)), scope_of("centre"))
    report = json.loads(made.files(["en"], ["json"]).files[0][1])
    use = report["sections"]["use"]
    del use["figures"]["run_median_s"], use["tables"]["sizes"]  # runs that went on then are over by now: they took longer
    return Known(rows, sorted(held), report)


def test_neither_a_second_start_nor_one_of_a_backup_rewrites_the_past(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = config(tmp_path / "a")
    first = live(path, START)
    assert "made up: the store was empty" in caplog.text
    assert len(first.rows[0]) > 48
    assert len(first.runs) > 10
    backup(path, tmp_path / "kept.tar.gz", START, "0")
    again = live(path, START + timedelta(minutes=10))
    assert "no past is made up: the store holds one" in caplog.text
    back = restore(tmp_path / "kept.tar.gz", tmp_path / "b")
    for other in (again, live(back.config, START + timedelta(minutes=20))):
        for mine, theirs in zip(first.rows, other.rows, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert other.runs == first.runs
        assert other.report == first.report
