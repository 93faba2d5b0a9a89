"""Known futures: the calendar that China publishes, jobs and their limits by hand, maintenance, special days."""

from datetime import UTC, datetime

import numpy as np
import pytest

from analytics.known import (
    REST,
    WORK,
    Calendar,
    calendar,
    committed_gpus,
    has_holidays,
    maintenance,
    special_effect,
    words_driver,
)
from analytics.models.driven import fit_predict
from twin.errors import ConfigError
from twin.job import Jobs, JobState, no_jobs

HOUR_S = 3600.0


def seconds(*of: int) -> float:
    return datetime(*of, tzinfo=UTC).timestamp()  # type: ignore[misc]


def test_the_calendar_knows_days_off_and_the_weekends_worked_for_them() -> None:
    """State Council General Office, arrangement of 2026: Spring Festival 15-23 February, work on Saturdays 14 and 28."""
    when = calendar(seconds(2026, 2, 13, 16), 15 * 24, HOUR_S, "Asia/Shanghai", "CN")  # 14 February 0:00 in Shanghai
    assert when.kind[::24].tolist() == [WORK, 0, *[REST] * 5, 0, 0, REST, 0, 0, 0, 0, WORK]
    assert when.place[0] == 5 * 24  # a Saturday
    assert when.place[48] == 0


def test_hours_that_come_twice_keep_their_place_in_the_week() -> None:
    when = calendar(seconds(2026, 10, 25, 0), 4, HOUR_S, "Europe/Berlin", "")  # the clocks go back at 1:00 UTC
    assert (when.place % 24).tolist() == [2, 2, 3, 4]


@pytest.mark.parametrize(("zone", "country", "says"), [("Mars/Base", "", "no time zone"), ("UTC", "XX", "no holidays known")])
def test_unknown_places_are_told(zone: str, country: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        calendar(0.0, 24, HOUR_S, zone, country)


def test_zones_of_no_country_have_no_holidays() -> None:
    """``Etc/UTC``, as Debian writes it, is in the country ZZ."""
    assert [has_holidays(country) for country in ("CN", "DE", "ZZ", "001", "")] == [True, True, False, False, False]


@pytest.mark.parametrize(("country", "zone", "off"), [("SA", "Asia/Riyadh", (4, 5)), ("DE", "Europe/Berlin", (5, 6))])
def test_a_day_off_is_like_the_weekend_of_its_country(country: str, zone: str, off: tuple[int, int]) -> None:
    when = calendar(seconds(2026, 5, 4), 8 * 7 * 24, HOUR_S, zone, country)
    assert when.weekend == set(off)
    weekday = when.place // 24
    kind = np.zeros(len(weekday), dtype=np.int8)
    ahead = np.arange(len(kind)) >= 7 * 7 * 24
    kind[ahead & (weekday == 1)] = REST
    history = np.where(np.isin(weekday, off), 40.0, 100.0)[~ahead]
    effect = special_effect(history, Calendar(kind, when.place, when.weekend), 24)
    assert effect[kind == REST] == pytest.approx(-60.0)  # a Tuesday off


def test_a_day_off_is_taken_for_a_sunday_until_days_off_were_seen() -> None:
    when = calendar(seconds(2026, 8, 23, 16), 50 * 24, HOUR_S, "Asia/Shanghai", "CN")  # from Monday 24 August
    n = 38 * 24  # to the day before the National Day
    workday = when.place // 24 < 5
    history = np.where(workday, 10.0, 4.0)[:n]
    effect = special_effect(history, when, 24)
    off = (when.kind == REST) & (np.arange(len(workday)) >= n)
    assert off.sum() >= 5 * 24
    # two Sundays' worth of what is usual (-6), and one day off in September that stood at the level of a working day (0)
    assert effect[off] == pytest.approx(-4.0)
    assert (effect[when.kind == 0] == 0).all()


def test_where_the_weekend_is_friday_and_saturday_a_day_off_is_a_saturday() -> None:
    """Saudi Arabia's Founding Day falls on a Sunday, which is a day of work there; none was seen before it."""
    when = calendar(seconds(2026, 1, 3, 21), 50 * 24, HOUR_S, "Asia/Riyadh", "SA")  # from Sunday 4 January
    history = np.where(np.isin(when.place // 24, (4, 5)), 40.0, 100.0)[: 49 * 24]
    effect = special_effect(history, when, 24)
    assert effect[49 * 24 :].tolist() == [-60.0] * 24
    assert (effect[: 49 * 24] == 0).all()


def jobs(*rows: tuple[JobState, int, float, float, float]) -> Jobs:
    """(state, gpus, submitted, started, limit), times in hours."""
    n = len(rows)
    state, gpus, submit, start, limit = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    empty, nothing = no_jobs(), np.full(n, np.nan)
    names = [str(i) for i in range(n)]
    hours = [column * HOUR_S for column in (submit, start, limit)]
    return Jobs(
        names, names, names, names, state.astype(np.uint8), gpus.astype(np.int32), hours[0], hours[1], nothing, hours[2],
        nothing, np.zeros(n, dtype=np.uint8), empty.rows, empty.job_of,
    )  # fmt: skip


def test_committed_gpus_by_hand() -> None:
    """Of 8 GPUs: 4 until hour 2.5 and 2 without end; 6 wait for the 4, then run for an hour; 1 may not overtake them."""
    run, wait, nan = JobState.RUNNING, JobState.PENDING, float("nan")
    table = jobs((run, 4, -1, -0.5, 3), (run, 2, -1, -1, nan), (wait, 6, -0.9, nan, 1), (wait, 1, -0.8, nan, 1))
    held = committed_gpus(table, datetime.fromtimestamp(0, UTC), 6, HOUR_S, 8)
    assert held.tolist() == pytest.approx([6, 6, 0.5 * 6 + 0.5 * 8, 0.5 * 8 + 0.5 * 3, 0.5 * 3 + 0.5 * 2, 2])
    assert committed_gpus(no_jobs(), datetime.fromtimestamp(0, UTC), 3, HOUR_S, 8).tolist() == [0, 0, 0]


def test_a_job_larger_than_the_centre_holds_up_and_ends() -> None:
    table = jobs((JobState.PENDING, 99, 0, float("nan"), 1), (JobState.PENDING, 1, 0, float("nan"), 1))
    assert committed_gpus(table, datetime.fromtimestamp(0, UTC), 3, HOUR_S, 8).tolist() == [0, 0, 0]


def test_maintenance_is_a_share_of_each_step() -> None:
    windows = [(1.5 * HOUR_S, 3 * HOUR_S, 0.5), (2 * HOUR_S, 2.5 * HOUR_S, 0.8)]
    assert maintenance(windows, 0.0, 4, HOUR_S).tolist() == pytest.approx([0, 0.25, 0.9, 0])
    with pytest.raises(ValueError, match="ends before it starts"):
        maintenance([(5.0, 1.0, 0.5)], 0.0, 4, HOUR_S)


def test_a_driver_explains_what_the_past_cannot() -> None:
    """Cooling begins at 18 degrees: the driven model foresees a heat wave that the history alone gives no sign of."""
    rng = np.random.default_rng(2)
    hours = np.arange(40 * 24.0)
    air = 18 + 6 * np.sin(2 * np.pi * hours / 24) + np.repeat(rng.normal(0, 3, 40), 24)
    power = 100 + 3 * np.maximum(air - 18, 0) + rng.normal(0, 1, len(air))
    n = 38 * 24
    said = fit_predict(power[:n], air[:n, None], air[n:, None], 24)
    assert np.abs(said - power[n:]).mean() < 2.5
    assert np.abs(power[n - 48 : n] - power[n:]).mean() > 5


def test_words_of_the_past_and_of_the_future_are_of_one_kind() -> None:
    issued = np.arange(50.0) * HOUR_S
    said = 100 + np.arange(50.0)[:, None] + np.arange(30.0)
    driver = words_driver("committed", HOUR_S, issued, said, 12)
    assert driver.past(0.0, 50)[12:15].tolist() == [112, 113, 114]
    ahead = driver.ahead(20.4 * HOUR_S, 24)
    assert ahead is not None
    assert ahead[:2].tolist() == [120, 121]
    assert driver.ahead(80 * HOUR_S, 24) is None  # a word older than a day counts no more
