"""The judge marks and never edits: stuck, jumping, skewed, doubled and impossible readings, and balances that do not close."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small import small_site

from ingest.collect import Collector
from ingest.judge import Judge, doubts
from twin.frame import Frame, Origin, Quality, frame_of
from twin.metrics import METRICS
from ui.tasks import VirtualClock

START = datetime(2026, 11, 22, tzinfo=UTC)
GOOD, SUSPECT, BAD = Quality.GOOD, Quality.SUSPECT, Quality.BAD


def site():
    return small_site("id=c kind=cdu parent=h1")


SITE = site()


def grades(judge, kind, metric, *readings):
    """The quality of each of (second, value) of the first asset of ``kind``."""
    found = []
    for second, value in readings:
        when = START + timedelta(seconds=second)
        frame = judge.judge(frame_of(kind, when, 0, **{metric: value}), when)
        assert frame.values[metric][0] == value, "values are never edited"
        found.append(int(frame.quality.get(metric, [GOOD])[0]))
    return found


def test_a_sensor_that_never_moves_is_suspect_until_it_does():
    readings = [(600 * i, 31.5) for i in range(9)] + [(5400, 31.6), (6000, 31.6)]
    assert grades(Judge(site()), "cdu", "supply_temp_c", *readings) == [GOOD] * 7 + [SUSPECT] * 2 + [GOOD] * 2


def test_what_may_rest_is_not_stuck():
    assert grades(Judge(site()), "gpu", "temp_c", *[(3600 * i, 35) for i in range(9)]) == [GOOD] * 9
    assert grades(Judge(site()), "cdu", "flow_kgps", *[(3600 * i, 0) for i in range(9)]) == [GOOD] * 9  # it is switched off


def test_a_counter_of_energy_that_stands_is_suspect():
    assert grades(Judge(site()), "gpu", "energy_j", (0, 5e6), (900, 5e6), (1900, 5e6), (2000, 5.05e6)) == [0, 0, SUSPECT, 0]


@pytest.mark.parametrize("step_j", [1.0, 3.6e5, 3.6e6])
@pytest.mark.parametrize("power_w", [(800.0, 800.0), (3000.0, 3000.0), (9000.0, 800.0), (800.0, 9000.0)])
def test_a_counter_that_counts_in_whole_kwh_neither_stands_still_nor_jumps(step_j, power_w):
    """Read each 30 s for 12 h, with other power from the middle on; then 999 MWh more at once, and nothing after that."""
    judge, energy_j, readings = Judge(site()), 3.6e9, []
    for i in range(1440):
        readings.append((30 * i, energy_j // step_j * step_j))
        energy_j += 30 * power_w[i >= 720]
    assert grades(judge, "node", "energy_j", *readings) == [GOOD] * 1440
    after = [(43_200 + s, 3.6e12) for s in (0, 1770, 20 * 4530 + 30)]
    assert grades(judge, "node", "energy_j", *after) == [SUSPECT, GOOD, SUSPECT]


def test_a_counter_that_was_seen_to_step_twice_stands_no_longer_than_twenty_times_as_long():
    steps = [(0, 1e9), (30, 1.0036e9), (430, 1.0072e9), (8430, 1.0072e9), (8460, 1.0072e9)]
    assert grades(Judge(site()), "node", "energy_j", *steps) == [GOOD, GOOD, GOOD, GOOD, SUSPECT]
    metered = Judge(small_site("id=m kind=meter"))  # and before that no longer than ten hours
    hours = [(0, 1000.0), (36_000, 1000.0), (36_060, 1000.0), (36_120, 1001.0)]
    assert grades(metered, "meter", "energy_kwh", *hours) == [GOOD, GOOD, SUSPECT, GOOD]


@pytest.mark.parametrize(
    ("kind", "metric", "readings", "expected"),
    [
        # a spike goes and comes back: two steps that physics does not make
        ("cdu", "supply_temp_c", [(0, 30), (1, 30.5), (2, 55), (3, 30.6), (4, 30.4)], [0, 0, SUSPECT, SUSPECT, 0]),
        # a new level is believed once it stays
        ("cdu", "supply_temp_c", [(0, 30), (1, 45), (2, 45.2), (3, 45.1)], [0, SUSPECT, 0, 0]),
        # the same step over an hour is none
        ("cdu", "supply_temp_c", [(0, 30), (3600, 45)], [0, 0]),
        # 10 MJ in a second through a GPU
        ("gpu", "energy_j", [(0, 1e6), (1, 11e6), (2, 11.0005e6)], [0, SUSPECT, 0]),
        # a counter that starts anew is no jump
        ("gpu", "energy_j", [(0, 1e9), (1, 500.0)], [0, 0]),
        ("gpu", "temp_c", [(0, 35), (1, 70), (2, 130.5)], [0, 0, BAD]),
    ],
)
def test_a_jump_is_suspect(kind, metric, readings, expected):
    assert grades(Judge(site()), kind, metric, *readings) == expected


def test_another_value_for_a_time_that_had_one_is_suspect_and_the_same_one_is_counted():
    judge = Judge(site())
    assert grades(judge, "gpu", "power_w", (0, 500), (1, 510), (1, 510)) == [0, 0, 0]
    assert judge.repeated is not None
    assert judge.repeated.tolist() == [1]
    assert grades(judge, "gpu", "power_w", (1, 520)) == [SUSPECT]
    assert judge.repeated is None


def test_what_comes_late_is_neither_compared_nor_remembered():
    assert grades(Judge(site()), "cdu", "supply_temp_c", (100, 30), (50, 60), (101, 30.2)) == [0, 0, 0]


def test_a_clock_that_ran_ahead_does_not_blind_the_judge_for_what_follows():
    judge = Judge(site())
    ahead = frame_of("cdu", START + timedelta(hours=1), 0, supply_temp_c=30.0)
    assert judge.judge(ahead, START).quality["supply_temp_c"].tolist() == [SUSPECT]
    assert grades(judge, "cdu", "supply_temp_c", (1, 30.1), (2, 60), (3599, 31), (3600, 31.2)) == [0, SUSPECT, 0, 0]


def test_a_value_that_cannot_be_does_not_make_the_next_one_suspect():
    readings = (0, 30), (1, 30.1), (2, 6553.5), (3, 30.1), (4, 30.2)
    assert grades(Judge(site()), "cdu", "supply_temp_c", *readings) == [0, 0, BAD, 0, 0]


def test_jumps_are_seen_again_after_our_own_clock_was_an_hour_ahead_and_is_right_again():
    readings = (0, 30), (3600, 30), (2, 30), (3, 50), (4, 50.2)
    assert grades(Judge(site()), "cdu", "supply_temp_c", *readings) == [0, 0, 0, SUSPECT, 0]


def test_a_clock_ahead_is_suspect_and_one_behind_is_told_by_its_lag():
    ahead = Judge(site()).judge(frame_of("weather", START + timedelta(hours=1), 0, wet_bulb_c=20.0), START)
    assert (ahead.time, ahead.quality["wet_bulb_c"].tolist()) == (START, [SUSPECT])


async def test_the_lag_of_a_source_shows_a_clock_an_hour_back():
    class Behind:
        name, every_s, unmapped = "s1", 1.0, 0

        async def poll(self, now):
            return [frame_of("weather", now - timedelta(hours=1), 0, wet_bulb_c=20.0)]

        async def close(self):
            pass

    clock = VirtualClock(START)
    collector = Collector(site(), [Behind()], clock, lambda frames: None)
    await collector.tick(clock.now())
    await collector.drain()
    await collector.tick(clock.now())
    await collector.drain()
    health = collector.health(clock.now()).values
    assert (health["lag_s"].tolist(), health["duplicates_count"].tolist()) == ([3600], [0])


CDU = {"flow_kgps": 0.721, "supply_temp_c": 25.0, "return_temp_c": 35.0}  # the CDU of DMTF's mockup: 42 l/min, 10 K


@pytest.mark.parametrize(
    ("heat_w", "more", "expected"),
    [
        (28_650, {}, GOOD),  # 0.721 kg/s x 3,974 J/kg/K x 10 K
        (30_100, {}, GOOD),  # with water
        (25_480, {}, SUSPECT),  # what the mockup says: 11 % less
        (40_000, {}, SUSPECT),
        (28_650, {"return_temp_c": 15.0}, SUSPECT),  # it would flow backwards
        (-28_650, {"return_temp_c": 15.0}, GOOD),  # it does: the loop takes heat from the room, or from its pump
        (-30_100, {"return_temp_c": 15.0}, GOOD),
        (-25_480, {"return_temp_c": 15.0}, SUSPECT),
        (-40_000, {"return_temp_c": 15.0}, SUSPECT),
        (0, {"return_temp_c": 25.0}, GOOD),  # nothing flows, within 0.1 K: 302 W of water
        (-290, {"return_temp_c": 25.0}, GOOD),
        (-310, {"return_temp_c": 25.0}, SUSPECT),
        (25_480, {"flow_kgps": np.nan}, GOOD),  # what is not known refutes nothing
    ],
)
def test_heat_must_be_what_flow_and_temperatures_carry(heat_w, more, expected):
    frame = Judge(site()).judge(frame_of("cdu", START, 0, heat_w=heat_w, **{**CDU, **more}), START)
    assert int(frame.quality.get("heat_w", [GOOD])[0]) == expected


def test_the_parts_of_a_rack_or_node_take_no_more_than_it():
    of = site()
    judge = Judge(of)
    judge.judge(Frame("gpu", START, of.all_rows("gpu"), {"power_w": np.full(of.count("gpu"), 600.0)}), START)
    node = judge.judge(
        Frame("node", START, of.all_rows("node"), {"power_w": np.array([2900.0, 1500.0, np.nan, 2450.0])}), START
    )
    assert node.quality["power_w"].tolist() == [GOOD, SUSPECT, GOOD, GOOD]
    rack = judge.judge(Frame("rack", START, of.all_rows("rack"), {"power_w": np.array([1000.0, 5200.0])}), START)
    assert rack.quality["power_w"].tolist() == [SUSPECT, GOOD]
    late = START + timedelta(minutes=5)  # the GPUs have said nothing since
    assert judge.judge(Frame("rack", late, of.all_rows("rack"), {"power_w": np.array([1000.0, 5200.0])}), late).quality == {}


def test_what_a_source_doubts_stays_doubted_and_forecasts_are_not_compared():
    judge = Judge(site())
    doubt = {"power_w": np.array([SUSPECT], dtype=np.uint8)}
    rows = np.array([0], dtype=np.int32)
    assert judge.judge(Frame("gpu", START, rows, {"power_w": np.array([5.0])}, quality=doubt), START).quality == doubt
    bad = judge.judge(Frame("gpu", START, rows, {"power_w": np.array([-5.0])}, quality=doubt), START)
    assert bad.quality["power_w"].tolist() == [BAD]
    later = START + timedelta(hours=3)
    foreseen = Frame("cdu", later, rows, {"supply_temp_c": np.array([80.0])}, Origin.FORECAST)
    judge.judge(frame_of("cdu", START, 0, supply_temp_c=30.0), START)
    assert judge.judge(foreseen, START) is foreseen


@given(st.data())
def test_any_frame_comes_back_with_its_values_and_never_better_than_its_range_allows(data):
    of = SITE
    judge = Judge(of)
    kind = data.draw(st.sampled_from(["gpu", "cdu", "rack", "node"]))
    names = data.draw(st.lists(st.sampled_from(list(METRICS[kind])), min_size=1, max_size=4, unique=True))
    n = of.count(kind)
    for _ in range(data.draw(st.integers(1, 4))):
        when = START + timedelta(seconds=data.draw(st.integers(0, 10_000)))
        columns = {m: data.draw(arrays(np.float64, n, elements=st.floats())) for m in names}
        frame = Frame(kind, when, of.all_rows(kind), columns)
        judged = judge.judge(frame, START + timedelta(seconds=10_000))
        assert judged.values is frame.values
        for name, column in columns.items():
            row = METRICS[kind][name]
            grade = judged.quality.get(name, np.zeros(n, dtype=np.uint8))
            assert ((grade == BAD) == ((column < row.low) | (column > row.high))).all()
        counted = doubts(judged)
        assert (0 if counted is None else counted.sum()) == sum(int((q > 0).sum()) for q in judged.quality.values())
