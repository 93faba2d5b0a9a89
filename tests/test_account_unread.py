"""A GPU that a run holds draws power while nobody reads it: its holder pays for it, by an estimate that is told."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from small import small_site

from energy.account.book import IDLE, UNSEEN, Given
from energy.account.named import Names
from energy.account.runs import TOPIC
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame, Origin
from ui.report.compose import compose
from ui.report.document import Report
from ui.report.gather import gather
from ui.report.scope import scope_of
from ui.report.span import span_of
from ui.words import words

DAY = span_of("2026-11-10/2026-11-11", ZoneInfo("Asia/Shanghai"))
Watts = Callable[[float], np.ndarray]  # of the 16 GPUs, by the hours since the day began; NaN where not read
ALL = np.full(16, 300.0)


def but(silent: slice, watts: float = np.nan) -> np.ndarray:
    """All at 300 W, but for those of ``silent``."""
    found = ALL.copy()
    found[silent] = watts
    return found


def reported(
    folder: Path, measured: Watts, modelled: Watts | None = None, held: tuple[range, range] = (range(8), range(8, 16)),
    hours: float = 24, scope: str = "centre",
) -> Report:  # fmt: skip
    """A day at 12 kW, 10 of them IT's. pA and pB each hold GPUs, for the first ``hours`` of it."""
    site = small_site()
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    frames: list[Frame] = []
    for k in range(96):
        at = DAY.start + timedelta(minutes=15 * k)
        site_w = {"facility_power_w": 12e3, "it_power_w": 10e3}
        frames.append(Frame("site", at, site.all_rows("site"), {name: np.array([watts]) for name, watts in site_w.items()}))
        for watts, origin in ((measured, Origin.MEASURED), (modelled, Origin.MODELLED)):
            if watts is not None and len(rows := np.flatnonzero(np.isfinite(watts(k / 4)))):
                frames.append(Frame("gpu", at, rows.astype(np.int32), {"power_w": watts(k / 4)[rows]}, origin))
    store.append(frames)
    begun_s, names = DAY.start.timestamp(), Names(site.ids_of("gpu"))
    for who, rows in zip("AB", held, strict=True):
        run = {
            "key": f"q/{who}@{begun_s:.0f}",
            "job": who,
            "user": who,
            "project": f"p{who}",
            "partition": "",
            "start_s": begun_s,
        }
        records.append(TOPIC, DAY.start, {"entry": "begun", **run, "held": names.named(rows)})
        over = {"entry": "ended", "key": run["key"], "end_s": begun_s + 3600 * hours, "end_told": True}
        records.append(TOPIC, DAY.start + timedelta(hours=hours), over)
    made = compose(gather(site, store, records, DAY, Given(), scope_of(scope)))
    store.close()
    return made


def kwh(report: Report) -> dict[str, float]:
    """Facility energy of each project; it sums to the meter."""
    (table,) = (one for one in report.tables() if one.key == "by_project")
    found = {str(row[0]): float(row[3]) for row in table.rows}  # type: ignore[arg-type]
    assert sum(found.values()) == pytest.approx(12 * 24, abs=1e-9)
    return found


def unread_h(report: Report) -> list[float]:
    """GPU hours that the section on utilisation says were estimated."""
    lead = next(one for one in report.sections if one.key == "use").lead
    texts = {one.text: one.params for one in lead if "were not read: their part" in one.text}
    assert all(words("zh").sentence(one) != words("en").sentence(one) for one in lead)
    return [float(params["hours"]) for params in texts.values()]  # type: ignore[arg-type]


def test_two_who_are_read_pay_for_what_they_drew(tmp_path: Path) -> None:
    report = reported(tmp_path, lambda hour: but(slice(8, 16), 100.0))
    assert kwh(report) == pytest.approx({"pA": 216, "pB": 72, IDLE: 0, UNSEEN: 0})
    assert unread_h(report) == []


@pytest.mark.parametrize("from_h", [0, 12, 23])
def test_an_exporter_that_falls_silent_moves_no_bill(tmp_path: Path, from_h: int) -> None:
    """From some hour on nothing is read of pB's GPUs, which draw as much as pA's."""
    report = reported(tmp_path, lambda hour: but(slice(8, 16)) if hour >= from_h else ALL)
    assert kwh(report) == pytest.approx({"pA": 144, "pB": 144, IDLE: 0, UNSEEN: 0})
    assert unread_h(report) == [pytest.approx(8 * (24 - from_h))]


def test_one_silent_gpu_takes_what_its_like_take(tmp_path: Path) -> None:
    """Seven of pB's draw 100 W: the eighth counts as the mean of the 15, 9/15 of 300 W and 7/15 of 100 W, beside 3100 W."""
    mean = (8 * 300 + 7 * 100) / 15
    report = reported(tmp_path, lambda hour: np.where(np.arange(16) == 15, np.nan, but(slice(8, 16), 100.0)))
    assert kwh(report)["pB"] == pytest.approx(288 * (700 + mean) / (3100 + mean))
    assert unread_h(report) == [pytest.approx(24)]


def test_the_twins_word_of_a_silent_gpu_counts_before_the_mean_and_after_the_meter(tmp_path: Path) -> None:
    """Of pB's GPUs, which nobody reads, it says 100 W; of pA's, which are read, 900 W."""
    report = reported(tmp_path, lambda hour: but(slice(8, 16)), lambda hour: np.repeat([900.0, 100.0], 8))
    assert kwh(report) == pytest.approx({"pA": 216, "pB": 72, IDLE: 0, UNSEEN: 0})
    assert unread_h(report) == [pytest.approx(8 * 24)]


def test_a_silent_gpu_counts_while_it_is_held_and_no_longer(tmp_path: Path) -> None:
    """Both end at 12:05, a third into a quarter of an hour: until then they share alike, then pA's GPUs are all that is read.
    In that quarter pA's draw 8 x 300 W all along, pB's a third of that."""
    report = reported(tmp_path, lambda hour: but(slice(8, 16)), hours=12 + 1 / 12)
    each = 12 * 12 / 2 + 3 * (1 / 3) / (4 / 3)
    assert kwh(report) == pytest.approx({"pA": each, "pB": each, IDLE: 288 - 2 * each, UNSEEN: 0})
    assert unread_h(report) == [pytest.approx(8 * (12 + 1 / 12))]


def test_where_no_gpu_that_is_held_is_known_nobody_can_say_who_took_it(tmp_path: Path) -> None:
    """GPUs 8 to 15 are read and nobody holds them: from 18:00 on nothing is read of those that are held."""
    held = (range(4), range(4, 8))
    report = reported(tmp_path, lambda hour: ALL if hour < 18 else but(slice(0, 8)), held=held)
    assert kwh(report) == pytest.approx({"pA": 54, "pB": 54, IDLE: 108, UNSEEN: 72})
    assert unread_h(report) == []


@pytest.mark.parametrize("who", ["pA", "pB"])
def test_a_projects_own_report_says_what_its_row_in_the_centres_does(tmp_path: Path, who: str) -> None:
    """Two GPUs are held by both for the day, and two of pB's are silent from 06:00 on."""

    def watts(hour: float) -> np.ndarray:
        return but(slice(14, 16)) if hour >= 6 else but(slice(8, 16), 200.0)

    held = (range(10), range(8, 16))
    (tmp_path / "centre").mkdir()
    (tmp_path / "part").mkdir()
    row = kwh(reported(tmp_path / "centre", watts, held=held))[who]
    part = reported(tmp_path / "part", watts, held=held, scope=f"project:{who}")
    figures = {one.key: one.value for section in part.sections for one in section.figures}
    assert figures["facility_kwh"] == pytest.approx(row, rel=1e-12)
    assert unread_h(part) == ([pytest.approx(2 * 18)] if who == "pB" else [])
