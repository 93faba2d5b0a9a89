"""The time and the saving of a report: calendar spans, and a baseline that shows a saving only where it can."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.baseline import Verdict, saving
from twin.errors import ConfigError
from ui.report.span import last_over, span_of

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "first", "days", "before", "year"),
    [
        ("2026-W46", date(2026, 11, 9), 7, "2026-W45", "2025-W46"),
        ("2026-W01", date(2025, 12, 29), 7, "2025-W52", "2025-W01"),
        ("2026-W53", date(2026, 12, 28), 7, "2026-W52", "2025-W52"),
        ("2026-02", date(2026, 2, 1), 28, "2026-01", "2025-02"),
        ("2026-Q4", date(2026, 10, 1), 92, "2026-Q3", "2025-Q4"),
        ("2026", date(2026, 1, 1), 365, "2025", "2025"),
        ("2026-11-01/2026-11-15", date(2026, 11, 1), 14, "2026-10-18/2026-11-01", "2025-11-02/2025-11-16"),
    ],
)
def test_spans_are_those_of_the_calendar(text: str, first: date, days: int, before: str, year: str) -> None:
    span = span_of(text, ZONE)
    assert (span.first, len(span.days), span.before().label, span.year_ago().label) == (first, days, before, year)


def test_a_day_of_the_clock_change_is_as_long_as_it_is() -> None:
    span = span_of("2026-10-25/2026-10-26", ZoneInfo("Europe/Berlin"))
    assert span.end - span.start == timedelta(hours=25)
    assert last_over("week", datetime(2026, 11, 16, 1, tzinfo=UTC), ZONE).label == "2026-W46"


@pytest.mark.parametrize(
    "text",
    ["2026-W54", "2026-13", "26-W01", "2026-11-15/2026-11-01", "2024-01-01/2026-01-01", "last", "", "0001", "0001-W01",
     "0001-01-01/0001-01-08", "1969-12", "3000-01", "9999", "9999-W52"],
)  # fmt: skip
def test_what_is_no_span_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"2026-W46|400 days"):
        span_of(text, ZONE)


def days(rng: np.random.Generator, count: int, saved_frac: float = 0.0, lean: float = 0.0) -> np.ndarray:
    """Days of a plant: facility kWh from IT kWh and wet bulb with 1 % scatter; each day keeps ``lean`` of the last's."""
    it, bulb = rng.uniform(20e3, 30e3, count), rng.uniform(5.0, 25.0, count)
    scatter = rng.normal(0, 1, count)
    for k in range(1, count):
        scatter[k] = lean * scatter[k - 1] + np.sqrt(1 - lean**2) * scatter[k]
    facility = (2000 + 1.1 * it + 60 * bulb) * (1 + 0.01 * scatter) * (1 - saved_frac)
    return np.column_stack([facility, it, bulb])


def test_the_baseline_finds_a_planted_saving_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        now = days(rng, 7, saved_frac=0.04)
        found = saving(days(rng, 56), now)
        truth = now[:, 0].sum() / 0.96 * 0.04
        inside += found.low_kwh <= truth <= found.high_kwh
    assert 0.72 <= inside / 200 <= 0.90  # 80 % is what it says


@pytest.mark.parametrize("lean", [0.0, 0.5, 0.7])
@pytest.mark.parametrize("count", [7, 92, 365])
def test_days_that_lean_on_each_other_leave_the_interval_as_wide_as_it_says(count: int, lean: float) -> None:
    """The same plant before and in the span: nothing is saved, and 80 % of the intervals are to hold that."""
    rng, inside = np.random.default_rng(3), 0
    for _ in range(300):
        both = days(rng, 56 + count, lean=lean)
        found = saving(both[:56], both[56:])
        inside += found.low_kwh <= 0 <= found.high_kwh
    assert 0.73 <= inside / 300 <= 0.90


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.sampled_from([0.0, np.nan]))
def test_a_baseline_that_cannot_carry_a_saving_shows_none(seed: int, count: int, hole: float) -> None:
    rng = np.random.default_rng(seed)
    past, now = days(rng, count), days(rng, 7)
    now[:, 0] += hole
    found = saving(past, now)
    if count < 21 or np.isnan(hole):
        assert found.verdict in (Verdict.TOO_SHORT, Verdict.NO_DAYS)
        assert np.isnan(found.kwh)
    wild = past.copy()
    wild[:, 0] *= rng.uniform(0.5, 1.5, count)
    assert saving(wild, days(rng, 7)).verdict in (Verdict.TOO_SHORT, Verdict.TOO_LOOSE)
    hot = days(rng, 7)
    hot[:, 2] += 30
    assert saving(days(rng, 56), hot).verdict is Verdict.OUTSIDE
