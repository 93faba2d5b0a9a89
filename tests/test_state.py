"""The live state against a model in plain Python: whatever order frames come in, nothing is newer than it is or lost."""

import sys
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import small_site
from twin.frame import Frame, Origin, Quality
from twin.state import REPLAY_S, State

T0 = datetime(2026, 11, 1, tzinfo=UTC)
SITE = small_site()
N = SITE.count("gpu")
NAN = float("nan")


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def power(second: float, values: dict[int, float], grades: dict[int, int] | None = None) -> Frame:
    rows = np.array(sorted(values), dtype=np.int32)
    quality = {"power_w": np.array([(grades or {}).get(r, 0) for r in rows], dtype=np.uint8)} if grades else {}
    return Frame("gpu", at(second), rows, {"power_w": np.array([values[r] for r in rows])}, quality=quality)


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[float, Frame]]:
    """(arrival second, frame) in order of arrival: partial, late, repeated, out of order, of any quality."""
    made = []
    for second in draw(st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True)):
        rows = draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True))
        values = {r: NAN if draw(st.booleans()) and draw(st.booleans()) else second * 100.0 + r for r in rows}
        made.append((second, values, {r: draw(st.sampled_from([0, 0, 0, 1, 2])) for r in rows}))
    sent = [(second + draw(st.integers(0, 200)), power(second, values, grades)) for second, values, grades in made * 2]
    return sorted(sent, key=lambda item: item[0])


@settings(max_examples=60)
@given(deliveries())
def test_only_the_newest_believable_value_stays(sent: list[tuple[float, Frame]]) -> None:
    state, best = State(SITE), {}
    for arrival, frame in sent:
        state.absorb(frame, at(arrival))
        for row, value, grade in zip(frame.rows, frame.values["power_w"], frame.quality["power_w"], strict=True):
            if not np.isnan(value) and grade < Quality.BAD:
                best[row] = max(best.get(row, (-np.inf, NAN, 0)), (frame.time_s, value, grade), key=lambda b: b[0])
    column = state.newest("gpu", "power_w")
    for row in range(N):
        time_s, value, grade = best.get(row, (-np.inf, NAN, 0))
        assert column.time_s[row] == time_s
        assert column.quality[row] == grade
        np.testing.assert_equal(column.value[row], value)


@given(skew=st.floats(-200, 7200), late=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 25)), min_size=1, max_size=20))
def test_a_skewed_clock_never_makes_a_value_newer_than_its_arrival(skew: float, late: list[tuple[int, int]]) -> None:
    """Truth is made every second with a clock off by ``skew``; frames arrive late, twice and out of order."""
    state, first, newest_made = State(SITE), {}, -1
    for arrival, made in sorted((made + delay, made) for made, delay in late + late):
        state.absorb(power(made + skew, {0: float(made)}), at(arrival))
        first.setdefault(made, arrival)
        newest_made = max(newest_made, made)
        column = state.newest("gpu", "power_w")
        assert column.value[0] == newest_made, "an older value replaced a newer one of the same clock"
        assert column.time_s[0] <= at(first[newest_made]).timestamp(), "newer than when it was first heard"


def test_a_clock_that_ran_ahead_does_not_block_the_truth_that_follows() -> None:
    state = State(SITE)
    state.absorb(power(3600, {0: 1.0}), at(0))
    assert state.column("gpu", "power_w", at(0))[0] == 1.0
    state.absorb(power(1, {0: 2.0}), at(1))  # set right by an hour
    assert state.column("gpu", "power_w", at(1))[0] == 2.0
    state.absorb(power(40, {1: 1.0}), at(10))  # 30 s ahead, then right
    state.absorb(power(11, {1: 2.0}), at(11))
    state.absorb(power(41, {1: 3.0}), at(41))
    assert state.column("gpu", "power_w", at(41))[1] == 3.0
    assert REPLAY_S < 90  # so a clock set right by less is believed again before its values are stale


def test_what_our_own_clock_noted_before_it_was_set_back_gives_way() -> None:
    state = State(SITE)
    state.absorb(power(3600, {0: 1.0, 1: 1.0}), at(3600))  # our clock stood an hour ahead
    state.absorb(power(10, {0: 2.0}), at(10))
    assert state.column("gpu", "power_w", at(10))[0] == 2.0
    state.absorb(power(4, {0: 3.0}), at(11))  # from then on late is late again
    assert state.column("gpu", "power_w", at(11))[0] == 2.0
    assert state.newest("gpu", "power_w").time_s[1] == at(3600).timestamp(), "nobody has read it anew"


def test_a_repeated_frame_of_a_fast_clock_still_goes_stale() -> None:
    state, frame = State(SITE), power(3600, {0: 1.0})
    for second in range(0, 200, 10):
        state.absorb(frame, at(second))
    assert np.isnan(state.column("gpu", "power_w", at(91))[0])
    assert state.age_s("gpu", "power_w", at(200))[0] == 200


def test_stale_silent_and_bad_are_nan_and_better_quality_wins_a_tie() -> None:
    state = State(SITE)
    state.absorb(power(0, {0: 5.0, 1: 6.0, 2: 7.0}, {0: Quality.SUSPECT, 1: Quality.BAD}), at(0))
    np.testing.assert_equal(state.column("gpu", "power_w", at(90))[:4], [5.0, NAN, 7.0, NAN])
    assert np.isnan(state.column("gpu", "power_w", at(90.5))).all()
    state.absorb(power(0, {0: 4.0, 2: 8.0}), at(5))
    np.testing.assert_equal(state.newest("gpu", "power_w").value[:3], [4.0, NAN, 7.0])
    assert state.newest("gpu", "power_w").quality[0] == Quality.GOOD


def test_origins_and_bands_are_apart_and_forecasts_are_left_out() -> None:
    state, row = State(SITE), np.zeros(1, dtype=np.int32)
    for i, (origin, band) in enumerate(
        [(Origin.MEASURED, ""), (Origin.MODELLED, ""), (Origin.MODELLED, "p90"), (Origin.COMMANDED, ""), (Origin.FORECAST, "")]
    ):
        state.absorb(Frame("site", T0, row, {"it_power_w": np.array([float(i)])}, origin, band=band), T0)
    assert [state.one("site", "it_power_w", T0, origin=o, band=b) for _, _, o, b in state.known()] == [3.0, 0.0, 1.0, 2.0]


def test_a_reader_never_sees_parts_of_different_frames() -> None:
    """Each frame's value, time and quality tell one number; readers look while a writer absorbs as fast as it can."""
    state, stop, torn, seen = State(SITE), threading.Event(), [], set()
    rows = SITE.all_rows("gpu")

    def read() -> None:
        while not stop.is_set():
            value, time_s, quality = state.newest("gpu", "power_w")
            k = value[0]
            if not np.isnan(k):
                seen.add(k)
                whole = (value == k).all() and (time_s == T0.timestamp() + k).all() and (quality == k % 2).all()
                torn.extend([] if whole else [k])
            fresh = state.column("gpu", "power_w", at(1e5))
            torn.extend([] if np.isnan(fresh).all() or len(set(fresh)) == 1 else ["column"])

    readers = [threading.Thread(target=read) for _ in range(2)]
    was = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # change threads as often as can be, so that a torn column is met
    try:
        for reader in readers:
            reader.start()
        for k in range(1, 100_000):
            if k > 500 and len(seen) > 1:  # a busy machine may let the readers run but once in so many
                break
            quality = {"power_w": np.full(N, k % 2, dtype=np.uint8)}
            state.absorb(Frame("gpu", at(k), rows, {"power_w": np.full(N, float(k))}, quality=quality), at(k))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(was)
    assert not torn
    assert len(seen) > 1, "the readers never saw the state change"
