"""What services tell, with three clocks: a replay knows only what was available then, and a planted leak is caught; a service
that falls silent is believed by its last word for a day, then our own forecast speaks, from values as old as they are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from faces_harness import DayStore, Hands
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lever_jobs import HOUR, METRIC, NOW, SITE, begins, jobs, proposed, refused, signal

from analytics import told as telling
from analytics.forecast import Forecast
from analytics.score import unscored
from analytics.told import FRESH_S, KEPT, LATE_S, TOPIC, LeakError, Word, Words, known_then, read_words, table, word_of
from energy.ahead import Basis, SignalAhead, signal_ahead
from energy.plan import Gain
from ingest.stores.records import open_records
from twin.frame import TOLD, Frame, Origin, frame_of
from twin.state import State
from ui.benches.wall_process import NoRecords
from ui.signals import READ_EVERY_S, SignalLog, StandIn, stand_in
from ui.view import Live

KEY = ("grid", 0, METRIC)
NOW_S = NOW.timestamp()
DAYS = 45


def word(available_s: float, valid_s: object, values: object, issued_s: float | None = None) -> Word:
    columns = np.asarray(valid_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    return Word(KEY, "service", Origin.FORECAST, available_s if issued_s is None else issued_s, available_s, *columns)


def past(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hours, values whose level jumps by chance each day, and the next two days that nobody can know."""
    rng = np.random.default_rng(seed)
    time_s = NOW_S + HOUR * np.arange(-24 * DAYS, 48)
    level = np.repeat(rng.normal(0, 60, DAYS + 2), 24)
    values = 300 + level - 60 * np.cos(2 * np.pi * time_s / 86400) + rng.normal(0, 3, len(time_s))
    return time_s[:-48], values[:-48], values[-48:]


def spoken(noise: float = 0.0, until: int = 0, every: int = 6, seed: int = 1) -> Words:
    """Words of a service that knows the next two days but for ``noise``, up to ``until`` hours from now."""
    time_s, values, ahead = past()
    whole_s, whole = np.append(time_s, NOW_S + HOUR * np.arange(48)), np.append(values, ahead)
    rng = np.random.default_rng(seed)
    at = [i for i in range(24, len(time_s) + until + 1) if i % every == 0]
    return Words(
        [
            word(whole_s[i] - 60, whole_s[i : i + 48], whole[i : i + 48] + rng.normal(0, noise, len(whole[i : i + 48])))
            for i in at
        ]
    )


def seen(words: Words | None, lost: int = 0, horizon: int = 24) -> SignalAhead | None:
    """The signal now, the last ``lost`` hours of which were not read."""
    time_s, values, _ = past()
    values = values.copy()
    values[len(values) - lost :] = np.nan
    return signal_ahead(METRIC, time_s, values, HOUR, NOW, horizon, words=words)


# three clocks


def test_a_word_counts_from_when_it_was_available_whatever_it_says_of_itself() -> None:
    hours = NOW_S + HOUR * np.arange(4)
    early, revised = word(NOW_S - 600, hours, [10, 20, 30, 40]), word(NOW_S + 600, hours, [11, 21, 31, 41], NOW_S - 3600)
    words = Words([revised, early])
    np.testing.assert_array_equal(words.at(NOW_S, hours, HOUR).values, [10, 20, 30, 40])
    np.testing.assert_array_equal(words.at(NOW_S + 601, hours, HOUR).values, [11, 21, 31, 41])
    assert np.isnan(words.at(NOW_S - 601, hours, HOUR).values).all()
    look = words.at(NOW_S + 601, hours, HOUR)
    assert (look.issued_s[0], look.available_s[0]) == (NOW_S - 3600, NOW_S + 600)


def test_older_words_fill_what_the_newest_leaves_open_and_expire_after_a_day() -> None:
    hours = NOW_S + HOUR * np.arange(4)
    words = Words([word(NOW_S - 7200, hours, [1, 2, 3, 4]), word(NOW_S - 60, hours[2:], [30, 40])])
    np.testing.assert_array_equal(words.at(NOW_S, hours, HOUR).values, [1, 2, 30, 40])
    late = NOW_S - 60 + LATE_S + 1
    assert np.isnan(words.at(late, np.array([late // HOUR * HOUR]), HOUR).values).all()


def test_steps_finer_than_a_slot_are_their_mean_and_coarser_ones_hold() -> None:
    fine = word(NOW_S, NOW_S + 900 * np.arange(8), [1, 2, 3, 4, 10, 10, 10, 10])
    np.testing.assert_array_equal(telling.meant(fine, np.array([NOW_S, NOW_S + HOUR]), HOUR), [2.5, 10])
    coarse = word(NOW_S, NOW_S + HOUR * np.arange(2), [5, 6])
    np.testing.assert_array_equal(telling.meant(coarse, NOW_S + 900 * np.array([-1, 0, 3, 4, 7]), 900), [np.nan, 5, 5, 6, 6])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_nothing_that_becomes_known_later_changes_what_was_seen(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    hours = NOW_S + HOUR * np.arange(-24, 48)
    made = [
        word(NOW_S + HOUR * rng.uniform(-24, 24), hours, rng.normal(300, 50, len(hours)), NOW_S + HOUR * rng.uniform(-48, 24))
        for _ in range(count)
    ]
    begins_s = NOW_S + HOUR * np.arange(-20, 1)
    changed = [one if one.available_s <= NOW_S else replace(one, values=one.values + 500) for one in made]
    np.testing.assert_array_equal(table(Words(made), begins_s, HOUR, 24), table(Words(changed), begins_s, HOUR, 24))


def test_a_planted_leak_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that looks by when words say that they were issued: revisions that came two days later claim to be of then,
    and know the truth. By that clock every move pays; the check of each look stops it."""
    time_s, values, _ = past()
    wise = [
        word(time_s[i] + 48 * HOUR, time_s[i : i + 48], values[i : i + 48], time_s[i] - 60)
        for i in range(0, len(time_s) - 48, 6)
    ]
    assert np.isnan(table(Words(wise), time_s[-24 * 8 : -24 * 6], HOUR, 1)).all(), "they tell of what is over"
    honest = seen(Words(wise))
    assert honest is not None

    def by_issue(self: Words, at_s: float) -> list[int]:
        order = sorted(range(len(self._words)), key=lambda i: self._words[i].issued_s)
        known = [i for i in order if self._words[i].issued_s <= at_s]
        return known[: -telling.LOOKED_BACK - 1 : -1]

    monkeypatch.setattr(Words, "_known", by_issue)
    with pytest.raises(LeakError, match="became known only at"):
        seen(Words(wise))
    monkeypatch.setattr(telling, "known_then", lambda at_s, available_s: None)  # nobody looks: that is what it would have done
    leaky = seen(Words(wise))
    assert leaky is not None
    miss, leaked = (np.nanmean(np.abs(_errors(one))) for one in (honest, leaky))
    assert leaked < 0.5 * miss


def _errors(one: SignalAhead) -> np.ndarray:
    m = len(one.foreseen) - 1
    return one.foreseen[:-25, :24] - np.array([one.past[len(one.past) - m + i :][:24] for i in range(m - 24)])


def test_the_check_names_when_it_became_known() -> None:
    known_then(NOW_S, np.array([NOW_S, NOW_S - 1, np.nan]))
    with pytest.raises(LeakError, match=r"1 values used at 2026-07-01T12:00:00.* only at 2026-07-01T12:00:01"):
        known_then(NOW_S, np.array([NOW_S + 1, np.nan]))


# what plans make of it


def test_the_services_own_forecast_counts_before_ours_and_is_told_apart() -> None:
    own, told = seen(None), seen(spoken(noise=3.0))
    assert own is not None
    assert told is not None
    ahead = past()[2][:24]
    assert np.abs(told.ahead - ahead).mean() < 0.3 * np.abs(own.ahead - ahead).mean()
    assert (own.basis(24), told.basis(24)) == (Basis.OWN, Basis.TOLD)
    sure = [one.gain(8, 2)[2] - one.gain(8, 2)[1] for one in (own, told)]
    assert sure[1] < sure[0], "what has come true is narrower"


def test_a_service_that_is_worse_than_our_own_forecast_is_not_followed() -> None:
    worse = seen(spoken(noise=400.0))
    assert worse is not None
    assert worse.basis(24) is Basis.OWN


def test_a_silent_service_is_believed_by_its_last_word_then_ours_speaks_and_then_nobody() -> None:
    late, silent, dead = seen(spoken(3.0, until=-12), lost=12), seen(spoken(3.0, until=-30), lost=12), seen(None, lost=25)
    assert late is not None
    assert silent is not None
    assert (late.basis(24), silent.basis(24), dead) == (Basis.LATE, Basis.OWN, None)
    np.testing.assert_allclose(late.ahead, past()[2][:24], atol=15)
    assert silent.unheard == 12
    fresh = seen(None)
    assert fresh is not None
    assert silent.gain(6, 2)[2] - silent.gain(6, 2)[1] > 0
    wide = [np.std(one._errors_of(2, 2, 0)) for one in (fresh, silent)]
    assert wide[1] != wide[0], "what is as old as that came true otherwise"


def test_hours_that_nobody_has_told_judge_nothing() -> None:
    """The last value is held in them; were it taken for what came, errors would look smaller than they are."""
    silent = seen(None, lost=12)
    assert silent is not None
    n, m = len(silent.past), len(silent.foreseen) - 1
    last = 12 + 2
    first = n - silent.day * -(-(last + 12) // silent.day)
    assert first + last <= n - 12
    came = silent.past[first + 12 : first + 14].mean()
    seen_then = silent.foreseen[first - (n - m)]
    errors = silent._errors_of(12, 2, 0)
    usual = silent.past[first : first + 2].mean() - came
    assert errors[0] == pytest.approx(usual - (seen_then[:2].mean() - seen_then[12:14].mean()))


def test_a_plan_says_whose_forecast_it_rests_on_and_the_guard_takes_a_stand_in() -> None:
    plan = proposed(jobs((8, 4, 30, 1), (16, 6, 40, 1)))
    assert isinstance(plan.gain, Gain)
    assert plan.gain.basis == "own"
    assert begins(plan)
    nobody = State(SITE)
    nobody.absorb(frame_of("queue", NOW, 0, waiting_count=1.0), NOW)
    table_ = jobs((8, 4, 30, 1), (16, 6, 40, 1))
    assert refused(plan, table_, of=nobody) == {"order_stale"}
    nobody.absorb(frame_of("grid", NOW, 0, Origin.MODELLED, "own-forecast", **{METRIC: 310.0}), NOW)
    assert refused(plan, table_, of=nobody) == set()


def test_a_day_of_forecasts_without_a_service_is_as_before() -> None:
    assert signal().basis(24) is Basis.OWN


# kept, and stood in for


def frames(now: datetime, values: list[float], issued: datetime) -> list[Frame]:
    rows = np.zeros(1, dtype=np.int32)
    made = [
        Frame("grid", now.replace(minute=0) + timedelta(hours=1 + i), rows, {METRIC: np.array([value])}, Origin.FORECAST,
              "service", TOLD, issued=issued)
        for i, value in enumerate(values)
    ]  # fmt: skip
    return [*made, frame_of("grid", now, 0, Origin.MEASURED, "service", **{METRIC: 333.0})]


def test_words_survive_with_their_clocks_and_readings_are_kept_a_few_an_hour(tmp_path) -> None:
    records = open_records(tmp_path / "r.db")
    log = SignalLog(records)
    issued = NOW - timedelta(minutes=20)
    for minute in range(31):
        at = NOW + timedelta(minutes=minute)
        log.note(frames(at, [200.0, 210.0], issued) if minute == 0 else frames(at, [], issued), at)
    log.flush(NOW)
    words = read_words(records, KEY, NOW - timedelta(hours=1))
    newest = words.newest(NOW_S)
    assert newest is not None
    assert (newest.issued_s, newest.available_s) == (issued.timestamp(), NOW_S)
    np.testing.assert_array_equal(newest.valid_s, NOW_S + HOUR * np.array([1, 2]))
    np.testing.assert_array_equal(newest.values, [200, 210])
    readings = read_words(records, KEY, NOW - timedelta(hours=1), Origin.MEASURED)
    assert len(readings) == 30 * 60 // READ_EVERY_S + 1
    kept = [record for _, _, record in records.read(TOPIC, limit=10)]
    assert word_of(kept[0]).record() == kept[0]
    records.append(TOPIC, NOW, {"garbage": 1})
    assert len(read_words(records, KEY, NOW - timedelta(hours=1))) == 1
    records.close()


def test_what_waits_for_the_records_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.signals.MAX_WAITING", 5)
    log = SignalLog(NoRecords())
    for i in range(9):
        log.note(frames(NOW, [float(i)], NOW + timedelta(minutes=i))[:1], NOW)
    assert log.dropped == 4
    assert KEPT == 20_000


def live_with(tmp_path) -> Live:
    return Live(SITE, State(SITE), DayStore(), open_records(tmp_path / "r.db"), Hands(NOW), NOW)


def own_forecast(value: float) -> Forecast:
    time_s = NOW_S + HOUR * np.arange(24)
    band = np.full(24, value)
    return Forecast("grid", 0, METRIC, NOW, time_s, band - 10, band, band + 10, unscored("blend"))


def test_a_stand_in_is_the_last_word_then_our_forecast_and_a_reading_wins(tmp_path) -> None:
    live = live_with(tmp_path)
    live.forecasts = (own_forecast(280.0),)
    published: list[Frame] = []
    duty = StandIn(live, published.extend)
    log = SignalLog(live.records)
    log.note(frames(NOW, [200.0] * 40, NOW)[:-1], NOW)
    log.flush(NOW)

    def said(hours: float) -> tuple[float, str] | None:
        published.clear()
        duty.run(NOW + timedelta(hours=hours))
        mine = [one for one in published if METRIC in one.values]
        return (float(mine[0].values[METRIC][0]), mine[0].source) if mine else None

    live.state.absorb(frame_of("grid", NOW, 0, **{METRIC: 333.0}), NOW)
    assert said(0.5) is None, "what is read needs no stand-in"
    assert said(2.5) == (200.0, "told-late")
    assert {one.origin for one in published} == {Origin.MODELLED}
    assert stand_in(read_words(live.records, KEY, NOW), (), 0, METRIC, NOW + timedelta(seconds=FRESH_S)) == (200.0, Basis.TOLD)
    live.forecasts = (replace(own_forecast(280.0), time_s=NOW_S + HOUR * np.arange(24.0, 48)),)
    assert said(25.5) == (280.0, "own-forecast")
    assert said(60.0) is None
    again = NOW + timedelta(hours=25.6)
    live.state.absorb(frame_of("grid", again, 0, **{METRIC: 340.0}), again)
    assert said(25.7) is None
    assert datetime.fromtimestamp(NOW_S, UTC) == NOW
    live.records.close()
