"""What a report says of plans: of one that begins in one week and is judged in the next, each week its part."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from small import small_site

from energy.account.book import Given
from energy.ledger import TOPIC, summary
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.ports import Records, Store
from twin.site import Site
from ui.report.compose import compose
from ui.report.gather import gather
from ui.report.span import Span, span_of
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
FIRST, SECOND, BOTH = (span_of(text, ZONE) for text in ("2026-W46", "2026-W47", "2026-11-09/2026-11-23"))
HOUR = timedelta(hours=1)
BEGUN = "Plans carried out: 2; of them not judged by the end of the span: {n}."
NOT_BEGUN = "No plan was begun: 0 were advised, 0 refused by the guard."
JUDGED = (
    "Plans judged: 1, of which 1 saved, 0 lost and 0 left it open: −20,000 kWh together, 80% between −24,000 and −16,000 kWh. "
    "A plan is judged when it is over."
)


def booked(records: Records) -> None:
    """A plan begun on Sunday at 23:00 and judged on Monday at 03:00; one that ended in between without enough data."""
    for plan in ("p0", "p1"):
        records.append(TOPIC, FIRST.end - HOUR, {"entry": "expected", "plan": plan, "lever": "supply", "effect_w": -5e3})
    told = {"entry": "measured", "plan": "p0", "note": "saved", "expected_kwh": -20e3, "change_kwh": -20e3}
    records.append(TOPIC, SECOND.start + 3 * HOUR, {**told, "low_kwh": -24e3, "high_kwh": -16e3})


def of_plans(site: Site, store: Store, records: Records, span: Span) -> list[str]:
    report = compose(gather(site, store, records, span, Given()))
    said = [words("en").sentence(message) for message in report.sections[0].lead]
    return [one for one in said if "plan" in one.lower() and "kWh less" not in one]


def test_a_plan_that_begins_in_one_week_and_is_judged_in_the_next_stands_in_both(tmp_path: Path) -> None:
    site = small_site()
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    booked(records)
    found = {span.label: of_plans(site, store, records, span) for span in (FIRST, SECOND, BOTH)}
    assert found == {
        FIRST.label: [BEGUN.format(n=2)],
        SECOND.label: [NOT_BEGUN, JUDGED],
        BOTH.label: [BEGUN.format(n=1), JUDGED],
    }
    records.append(TOPIC, SECOND.start + 4 * HOUR, {"entry": "measured", "plan": "p1", "note": "not enough data to judge"})
    too_little = "Plans that were over and could not be judged, for too little was read: 1."
    assert of_plans(site, store, records, SECOND) == [NOT_BEGUN, JUDGED, too_little]
    assert of_plans(site, store, records, BOTH) == ["Plans carried out: 2.", JUDGED, too_little]


def test_weeks_sum_to_the_fortnight(tmp_path: Path) -> None:
    records = open_records(tmp_path / "records.db")
    booked(records)
    first, second, both = (summary(records, span.start, span.end) for span in (FIRST, SECOND, BOTH))
    for name in ("carried_out", "saved", "lost", "undecided", "not_judged", "expected_kwh", "change_kwh"):
        assert getattr(first, name) + getattr(second, name) == getattr(both, name), name
    assert (first.waiting, second.waiting, both.waiting) == (2, 0, 1)
    assert (first.change_kwh, second.change_kwh) == (0, -20e3)
