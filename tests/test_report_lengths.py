"""A span beside one that is shorter or longer: months, and weeks in which clocks change."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from small import small_site

from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from ui.report.beside import UNEVEN
from ui.report.compose import compose
from ui.report.document import Figure, Report
from ui.report.gather import gather
from ui.report.span import span_of
from ui.words import words

SHANGHAI = ZoneInfo("Asia/Shanghai")


def reported(
    folder: Path,
    text: str,
    zone: ZoneInfo = SHANGHAI,
    now: datetime | None = None,
    power_w: Callable[[float], float] = lambda _: 12e3,
) -> Report:
    """The report of a span that, with the one before it, was read each quarter of an hour; 16 GPUs at 500 W."""
    site, span = small_site(), span_of(text, zone)
    store, frames = open_store(folder / "store", site), list[Frame]()
    for at_s in np.arange(span.before().start.timestamp(), (now or span.end).timestamp(), 900.0).tolist():
        at = datetime.fromtimestamp(at_s, UTC)
        columns = {"facility_power_w": np.array([power_w(at_s)]), "it_power_w": np.array([10e3])}
        frames.append(Frame("site", at, site.all_rows("site"), columns))
        frames.append(Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.full(16, 500.0)}))
    store.append(frames)
    made = compose(gather(site, store, open_records(folder / "records.db"), span, Given(average_gco2_per_kwh=500.0), now=now))
    store.close()
    return made


def figures(report: Report) -> dict[str, Figure]:
    return {one.key: one for section in report.sections for one in section.figures}


def said(report: Report) -> list[str]:
    return [words("en").sentence(message) for message in report.said]


def test_a_month_that_was_longer_counts_to_its_last_day(tmp_path: Path) -> None:
    """30 kW for the quarter from noon of 31 October: October's own report has that day too."""
    peak_s = datetime(2026, 10, 31, 12, tzinfo=SHANGHAI).timestamp()
    found = figures(reported(tmp_path, "2026-11", power_w=lambda at_s: 30e3 if at_s == peak_s else 12e3))
    assert (found["facility_kwh"].value, found["facility_kwh"].was) == (8640, pytest.approx(31 * 24 * 12 + 18 / 4))
    assert (found["peak_w"].value, found["peak_w"].was) == (12e3, 30e3)
    assert (found["gpu_h"].value, found["gpu_h"].was) == (720 * 16, 744 * 16)
    assert found["peak_w"].change_frac == pytest.approx(-0.6), "what is no sum is compared as it is"


def test_sums_of_months_are_compared_by_the_hour(tmp_path: Path) -> None:
    """The same power in March as in February."""
    report = reported(tmp_path, "2026-03")
    found = figures(report)
    assert (found["facility_kwh"].value, found["facility_kwh"].was) == (pytest.approx(8928), pytest.approx(8064))
    for key in ("facility_kwh", "it_kwh", "carbon_location_kg", "gpu_h"):
        assert found[key].change_frac == pytest.approx(0, abs=1e-9), key
    assert said(report)[0] == "The centre took in 8,928 kWh, 0.0% against the span before."
    assert said(report)[1] == UNEVEN
    assert words("zh")(UNEVEN) != UNEVEN


def test_a_week_in_which_clocks_change_stands_beside_a_whole_one(tmp_path: Path) -> None:
    report = reported(tmp_path, "2026-W10", ZoneInfo("America/Chicago"))
    facility = figures(report)["facility_kwh"]
    assert (facility.value, facility.was, facility.change_frac) == (
        pytest.approx(167 * 12), pytest.approx(168 * 12), pytest.approx(0, abs=1e-9))  # fmt: skip


def test_a_span_that_is_not_over_is_compared_as_far_as_it_is(tmp_path: Path) -> None:
    """Asked for after three days, of which the last took twice as much, and with the last day of February nowhere in sight."""
    now, third_s = datetime(2026, 3, 4, tzinfo=SHANGHAI), datetime(2026, 3, 3, tzinfo=SHANGHAI).timestamp()
    report = reported(tmp_path, "2026-03", now=now, power_w=lambda at_s: 24e3 if at_s >= third_s else 12e3)
    facility = figures(report)["facility_kwh"]
    assert (facility.value, facility.was, facility.change_frac) == (
        pytest.approx(96 * 12), pytest.approx(72 * 12), pytest.approx(1 / 3))  # fmt: skip
    assert UNEVEN not in said(report)
