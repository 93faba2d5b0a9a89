"""What the embedded store holds on to when the machine's clock is wrong, and what it makes of values that come weeks late."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from small import small_site

from ingest.stores import Retention, SegmentStore, open_store
from ingest.stores.copy import copy, span_of
from ingest.stores.errors import LeftOut
from twin.frame import TOLD, Origin, frame_of

SITE = small_site()
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEEP = Retention(raw_s=14 * 86_400, minute_s=90 * 86_400, hour_s=400 * 86_400, max_bytes=10**9)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    store = open_store(tmp_path, SITE, retention=KEEP)
    yield store
    store.close()


def fill(store: SegmentStore, start: datetime, minutes: int, value: float = 300.0, metric: str = "carbon_gco2_per_kwh") -> None:
    store.append([frame_of("grid", start + timedelta(minutes=k), 0, **{metric: value + k}) for k in range(minutes)])


def upkeep(store: SegmentStore, now: datetime, times: int = 4) -> None:
    for _ in range(times):
        store.maintain(now)


def said(store: SegmentStore, start: datetime, step_s: float | None = None, metric: str = "carbon_gco2_per_kwh") -> list[float]:
    table = store.series("grid", [metric], start, start + timedelta(hours=2), step_s).values[metric]
    return table[~np.isnan(table)].tolist()


@pytest.mark.parametrize("days", [2, 1000])
def test_a_clock_that_was_ahead_for_hours_forgets_nothing_and_holds_up_nothing(
    store: SegmentStore, tmp_path: Path, days: int
) -> None:
    for day in range(3):
        fill(store, START + day * DAY, 60)
        for hour in range(0, 24, 4):  # the clock is believed by now
            upkeep(store, START + day * DAY + timedelta(hours=hour + 2))
    ahead = START + 3 * DAY + days * DAY
    for hours in range(20):  # what is read meanwhile has that time too
        fill(store, ahead + timedelta(hours=hours), 2)
        upkeep(store, ahead + timedelta(hours=hours, minutes=15))
    for day in range(3):
        assert said(store, START + day * DAY) == [300.0 + k for k in range(60)]
    right = START + 3 * DAY + timedelta(hours=20)
    for hour in range(3):
        fill(store, right + timedelta(hours=hour), 30)
        upkeep(store, right + timedelta(hours=hour + 1, minutes=1))
    assert not store._pending, "nothing waits for the time that the clock once showed"
    assert len(list(tmp_path.glob("journal-*.db"))) == 1
    assert said(store, right, 3600.0) == [314.5, 314.5]


def test_a_clock_that_goes_on_for_a_day_is_believed_also_over_a_restart_and_after_a_long_rest(tmp_path: Path) -> None:
    store = open_store(tmp_path, SITE, retention=KEEP)
    fill(store, START, 60)
    upkeep(store, START + timedelta(hours=2))
    store.close()
    for hour in range(0, 40, 8):
        now = START + 30 * DAY + timedelta(hours=hour)  # the machine was off for a month
        store = open_store(tmp_path, SITE, retention=KEEP)
        upkeep(store, now)
        assert (said(store, START) == []) == (hour >= 24)
        assert len(said(store, START, 60.0)) == 60
        store.close()


def months_old(store: SegmentStore, age: timedelta) -> datetime:
    """A store that has let go of raw values (and minutes) of a day of which it has an hour; when that began."""
    fill(store, START, 60)
    for now in (
        START + timedelta(hours=2),
        START + age - 2 * DAY,
        *(START + age - timedelta(hours=30 - 10 * k) for k in range(4)),
    ):
        upkeep(store, now)
    assert said(store, START) == []
    return START + age


def test_what_comes_when_its_raw_values_are_gone_still_becomes_minutes_and_hours(store: SegmentStore) -> None:
    now = months_old(store, 20 * DAY)
    fill(store, START, 60, 900.0)  # of the same asset: what is known of those minutes stays
    fill(store, START + timedelta(hours=1), 60, 400.0)  # of a time that nobody has told of
    fill(store, START, 120, 500.0, "price_per_mwh")
    upkeep(store, now + timedelta(minutes=20), 40)
    assert said(store, START, 60.0) == [*(300.0 + k for k in range(60)), *(400.0 + k for k in range(60))]
    assert said(store, START, 3600.0) == [329.5, 429.5]
    assert said(store, START, 60.0, "price_per_mwh") == [500.0 + k for k in range(120)]
    assert said(store, START) == []


def test_what_comes_when_its_minutes_are_gone_too_becomes_hours_and_spoils_none(store: SegmentStore) -> None:
    now = months_old(store, 100 * DAY)
    assert said(store, START, 60.0) == []
    fill(store, START, 5, 900.0)
    fill(store, START + timedelta(hours=1), 60, 400.0)
    upkeep(store, now + timedelta(minutes=20), 40)
    upkeep(store, now + timedelta(minutes=40), 40)
    assert said(store, START, 3600.0) == [329.5, 429.5]


def test_what_is_older_than_all_that_is_kept_is_said_to_be_left_out(store: SegmentStore) -> None:
    months_old(store, 440 * DAY)
    assert said(store, START, 3600.0) == []
    new = frame_of("grid", START + 440 * DAY, 0, carbon_gco2_per_kwh=1.0)
    with pytest.raises(LeftOut, match="hour_days") as left:
        store.append([frame_of("grid", START, 0, carbon_gco2_per_kwh=1.0, price_per_mwh=2.0), new])
    assert left.value.samples == 2
    assert said(store, START + 440 * DAY) == [1.0]


def test_a_copy_has_what_services_foresee_and_what_only_rollups_still_know(store: SegmentStore, tmp_path: Path) -> None:
    now = months_old(store, 20 * DAY)
    today = now - timedelta(hours=now.hour)
    fill(store, today, 30, 500.0)
    for band, value in (("", 1.0), ("p10", 2.0), (TOLD, 3.0)):
        store.append([replace(frame_of("grid", today, 0, Origin.FORECAST, price_per_mwh=value), band=band)])
    upkeep(store, now + timedelta(hours=3), 9)
    start = span_of(store, SITE, ("grid",), START - 200 * DAY, now)
    assert START - timedelta(days=1) < start <= START
    target = open_store(tmp_path / "target", SITE, retention=KEEP)
    spans = (start, START + timedelta(hours=2)), (today, today + timedelta(minutes=40))
    steps = [step for since, until in spans for step in copy(store, target, SITE, since, until, tmp_path / "progress.json")]
    assert (sum(step.samples for step in steps), sum(step.means for step in steps)) == (60 + 30 + 3, 60)
    assert len(steps) == 1 + 4, "a day of what only rollups know at once, else ten minutes"
    assert said(target, START) == said(store, START, 60.0) == [300.0 + k for k in range(60)]
    assert said(target, today) == [500.0 + k for k in range(30)]
    for band, value in (("", 1.0), ("p10", 2.0), (TOLD, 3.0)):
        found = target.series("grid", ["price_per_mwh"], today, today + DAY, origin=Origin.FORECAST, band=band)
        assert found.values["price_per_mwh"].tolist() == [[value]]
    target.close()


def test_where_minutes_are_gone_too_hours_are_copied(store: SegmentStore, tmp_path: Path) -> None:
    months_old(store, 100 * DAY)
    target = open_store(tmp_path / "target", SITE, retention=KEEP)
    for _ in copy(store, target, SITE, START - timedelta(hours=12), START + timedelta(hours=2), tmp_path / "progress.json"):
        pass
    assert said(target, START, 3600.0) == [329.5]
    target.close()
