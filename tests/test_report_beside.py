"""Use and reliability in a report, beside the span before and the same of a year ago."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from energy.account.runs import TOPIC
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.event import TOPIC as EVENTS
from twin.frame import Frame
from twin.load import Row, build_site
from ui.oncall.service import ALERT_LOG
from ui.report.beside import UNREAD
from ui.report.compose import compose
from ui.report.document import Report
from ui.report.gather import gather
from ui.report.scope import scope_of
from ui.report.span import span_of
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
SPAN, BEFORE, YEAR = (
    span_of(text, ZONE) for text in ("2026-11-03/2026-11-04", "2026-11-02/2026-11-03", "2025-11-04/2025-11-05")
)
DAYS = ((SPAN, 24, 0.6, (2, 12)), (BEFORE, 24, 0.3, (4, 12)), (YEAR, 12, 0.4, (3, 12)))  # hours read, busy, (GPUs, hours) held


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Four GPUs in two spans of a day and, of a year ago, half a day; alerts and what broke in the span before alone."""
    folder = tmp_path_factory.mktemp("beside")
    lines = [
        {"id": "h1", "kind": "hall"},
        {"id": "r1", "kind": "rack", "parent": "h1"},
        {"id": "n1", "kind": "node", "parent": "r1"},
    ]
    lines += [{"id": f"g{k}", "kind": "gpu", "parent": "n1"} for k in range(4)]
    site = build_site("beside", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    for span, hours, busy, (gpus, held_h) in sorted(DAYS, key=lambda day: day[0].start):
        frames: list[Frame] = []
        for k in range(4 * hours):
            at = span.start + timedelta(minutes=15 * k)
            columns = {"power_w": np.full(4, 500.0), "util_frac": np.full(4, busy)}
            frames.append(Frame("gpu", at, site.all_rows("gpu"), columns))
        store.append(frames)
        start_s = span.start.timestamp()
        run = {"key": f"q/{start_s:.0f}", "job": span.label, "user": "u", "project": "p", "partition": "a", "start_s": start_s,
               "submit_s": start_s - 60, "gpus": [[0, gpus - 1]]}  # fmt: skip
        records.append(TOPIC, span.start, {"entry": "begun", **run})
        ended = {"entry": "ended", "key": run["key"], "end_s": start_s + 3600 * held_h, "end_told": True, "how": ""}
        records.append(TOPIC, span.start + timedelta(hours=held_h), ended)
    at = BEFORE.start + timedelta(hours=1)
    for k in range(3):
        records.append(ALERT_LOG, at, {"phase": "firing", "rule": "hot", "asset": "g0", "key": f"hot@{k}"})
    broke = {"asset": "n1", "code": "psu", "severity": "critical", "meaning": "it failed", "source": "s"}
    records.append(EVENTS, at, broke)
    reports = {
        label: compose(gather(site, store, records, span, Given(), scope_of(label)))
        for label, span in (("centre", SPAN), ("project:p", SPAN))
    }
    reports["before"] = compose(gather(site, store, records, BEFORE, Given()))
    store.close()
    return reports


def beside(report: Report) -> dict[str, list[float]]:
    return {one.key: [one.value, one.was, one.year] for section in report.sections for one in section.figures}


def test_use_and_reliability_stand_beside_the_span_before_and_a_year_ago(made: dict[str, Report]) -> None:
    found, none = beside(made["centre"]), np.nan
    for key, expected in {
        "held_frac": [24 / 96, 48 / 96, 36 / 48],
        "busy_frac": [0.6, 0.3, 0.4],
        "run_median_s": [12 * 3600.0] * 3,
        "gpu_h": [96.0, 96.0, none],  # half of the day of a year ago was read: no sum stands beside a whole one
        "held_h": [24.0, 48.0, none],
        "runs_count": [1.0, 1.0, none],
        "alerts_count": [0.0, 3.0, none],
        "failures_count": [0.0, 1.0, none],
    }.items():
        assert found[key] == pytest.approx(expected, rel=1e-9, nan_ok=True), key
    assert {one.key for one in made["centre"].head if np.isfinite(one.was)} >= {"held_frac", "busy_frac"}, "on the first page"
    assert not [m for section in made["centre"].sections for m in section.lead if m.text == UNREAD]
    of_project = beside(made["project:p"])
    assert of_project["held_h"] == pytest.approx([24.0, 48.0, none], nan_ok=True)


def test_what_nobody_read_or_watched_has_nothing_beside_it_and_it_is_said(made: dict[str, Report]) -> None:
    report = made["before"]  # the day before it was not read; a year before only its own day's neighbour was
    found = beside(report)
    for key in ("held_frac", "busy_frac", "gpu_h", "alerts_count", "failures_count"):
        assert np.isnan(found[key][1:]).all(), key
    said = [m for section in report.sections if section.key != "energy" for m in section.lead if m.text == UNREAD]
    assert len(said) == 2
    assert words("zh").sentence(said[0]) != words("en").sentence(said[0])
