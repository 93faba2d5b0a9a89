"""Detectors and their judge: hand-worked cases, faults of several kinds, recorded data, and what must not work (leaks,
chance)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from analytics.detect import bench, ceiling, novelty, shift
from analytics.detect.judge import held, judge_events, point_adjusted_f1, spans, summed, vus_pr
from analytics.detect.table import detect, read_labels, read_table
from twin.errors import ConfigError
from twin.message import Message
from ui.cli import main


def flags(text: str) -> np.ndarray:
    return np.array([c == "#" for c in text])


# --- the judge


def test_events_are_judged_as_a_person_would() -> None:
    """A row is ten seconds: 14 of the 22 rows are quiet."""
    truth, time_s = flags("....####......####...."), 10 * np.arange(22.0)
    alarm = flags(".#....##.#........####")
    events = judge_events(time_s, alarm, truth, merge_s=0.0)
    # 1 is a false alarm; 6 finds the first event after 20 s; 9 is false again; 18 comes after the second event has ended
    assert (events.events, events.found, events.false, events.delay_s.tolist()) == (2, 1, 3, [20.0])
    assert events.f1 == pytest.approx(2 / 6)
    assert events.false_per(70.0) == pytest.approx(1.5)
    assert summed([events, events]).quiet_s == 280.0
    for merge_s, false in ((20.0, 2), (19.0, 3)):  # from 7 to 9
        merged = judge_events(time_s, alarm, truth, merge_s)
        assert (merged.found, merged.false) == (1, false)
    early = judge_events(time_s, alarm, truth, 0.0, early_s=30.0)
    assert (early.found, early.false, early.delay_s.tolist()) == (1, 2, [0.0]), "an alarm that may come first is no less late"
    assert judge_events(time_s, flags(".......#.........#...."), truth, 0.0).delay_s.tolist() == [30.0, 30.0], "in its last row"


def test_an_alarm_holds_until_it_was_calm_for_long_and_then_begins_anew() -> None:
    """``H``: above, ``L``: below, three rows of either; between both a run breaks off."""
    said = "HLHHH-LL-LLLHHH"
    above, below = (np.array([c == level for c in said]) for level in "HL")
    assert held(above, below, hold=3, calm=3).tolist() == flags("....#######...#").tolist()


def test_an_alarm_that_is_always_on_finds_nothing() -> None:
    truth = flags("....####......####....")
    events = judge_events(np.arange(22.0), np.ones(22, dtype=bool), truth, merge_s=1.0)
    assert (events.found, events.false) == (0, 1)


def test_second_alarms_in_one_event_do_not_make_it_more_precise() -> None:
    events = judge_events(np.arange(10.0), flags("#.#.#.#.#."), flags("..######.."), merge_s=0.0)
    assert events.precision == pytest.approx(1 / 3)


def test_volume_under_the_surface_is_one_for_a_perfect_score_and_near_the_base_rate_for_chance() -> None:
    rng = Generator(PCG64(1))
    truth = np.zeros(1000, dtype=bool)
    truth[400:500] = True
    assert vus_pr(truth, truth.astype(float), buffer=0) == pytest.approx(1.0, abs=0.02)
    chance = np.mean([vus_pr(truth, rng.random(1000), buffer=0) for _ in range(20)])
    assert 0.06 < chance < 0.16


def test_volume_under_the_surface_by_hand() -> None:
    """Points (recall, precision), joined from (0, 1). Of a score that says nothing (1, 1/4). Of two events of which one leads,
    half of the rows times half of the events: (1/4, 1), (1, 1/2). With a buffer the row before an event counts √(1 - 1/5)."""
    assert vus_pr(flags("...#"), np.zeros(4), buffer=0) == pytest.approx(5 / 8)
    assert vus_pr(flags("#..#"), np.array([1.0, 0, 0, 0]), buffer=0) == pytest.approx(1 / 4 + 3 / 4 * 3 / 4)
    near, far = 0.8**0.5, 0.6**0.5  # rows 4 and 7, row 3: two before the event, one after its last
    label = 2 + 2 * near + far
    recall, precision = near / ((2 + label) / 2), label / 10
    wide = recall * (1 + near) / 2 + (1 - recall) * (near + precision) / 2
    narrow = 0.2 / 2  # (0, 0), (1, 1/5)
    assert vus_pr(flags(".....##..."), np.eye(10)[4], buffer=5) == pytest.approx((narrow + wide) / 2)
    assert point_adjusted_f1(flags("#..#"), np.array([1.0, 0, 0, 0])) == pytest.approx(2 / 3), "one of two, no false one"


def test_the_soonest_of_many_rules_may_cost_neither_events_nor_peace() -> None:
    """Two runs of an hour with an event each: a rule that is sooner but misses one, one that is sooner with a false alarm an
    hour in each, and one that is only sooner."""
    time_s, truth = np.arange(3600.0), np.zeros(3600, dtype=bool)
    truth[2000:2300] = True
    runs = [(time_s, np.zeros((3600, 1)), truth)] * 2

    def alarm(*starts: int) -> np.ndarray:
        return np.isin(np.arange(3600), [row for start in starts for row in range(start, start + 9)])

    def judged(run: bench.Run, alarm: np.ndarray) -> bench.Events:
        return judge_events(run[0], alarm, run[2], merge_s=30.0)

    own = [alarm(2060), alarm(2060)]
    tried = [own, [alarm(2001), alarm()], [alarm(100, 2002)] * 2, [alarm(2030), alarm(2040)]]
    best = ceiling.soonest(runs, own, judged, iter(tried))
    assert best is not None
    assert sorted(best.delay_s.tolist()) == [30.0, 40.0]
    assert ceiling.in_a_run(flags("##.###.#"), 3).tolist() == flags(".....#..").tolist()


# --- shift, on a plant of our own making


def plant(rng: np.random.Generator, n: int = 1400) -> np.ndarray:
    """A loop: speed that wanders, flow that follows it, pressure, a vibration, and a temperature that drifts by itself."""
    speed = 0.7 + 0.03 * np.sin(np.arange(n) / 40) + rng.normal(0, 0.01, n)
    flow = 40 * speed + rng.normal(0, 0.2, n)
    pressure = 2.0 + rng.normal(0, 0.05, n)
    vibration = 0.2 + np.abs(rng.normal(0, 0.02, n))
    temperature = 60 + np.cumsum(rng.normal(0, 0.03, n))
    return np.column_stack([speed, flow, pressure, vibration, temperature])


def _step(x: np.ndarray, rng: np.random.Generator) -> None:
    x[900:, 2] -= 0.12


def _ramp(x: np.ndarray, rng: np.random.Generator) -> None:
    x[900:, 3] += np.linspace(0, 0.15, 500)


def _restless(x: np.ndarray, rng: np.random.Generator) -> None:
    x[900:, 2] += rng.normal(0, 0.3, 500)


def _stuck(x: np.ndarray, rng: np.random.Generator) -> None:
    x[900:, 1] = x[900, 1]


def _untied(x: np.ndarray, rng: np.random.Generator) -> None:
    """The flow leaves the speed that it follows by less than either wanders."""
    x[900:, 1] -= 0.8


@pytest.mark.parametrize("fault", [_step, _ramp, _restless, _stuck, _untied])
def test_faults_of_every_kind_are_found_and_blamed_on_nothing_before(fault: Callable[..., None]) -> None:
    rng = Generator(PCG64(3))
    x = plant(rng)
    fault(x, rng)
    learnt = shift.fit(x[:600])
    assert isinstance(learnt, shift.Shift)
    alarm = shift.score(learnt, x, 600).alarm
    assert not alarm[:900].any()
    assert alarm[900:].any(), fault.__name__
    assert int(np.flatnonzero(alarm)[0]) < 900 + 300


def test_quiet_plants_raise_less_than_one_alarm_in_three_hours() -> None:
    alarms = 0
    for seed in range(30):
        x = plant(Generator(PCG64(seed)))
        learnt = shift.fit(x[:600])
        assert isinstance(learnt, shift.Shift)
        alarms += len(spans(shift.score(learnt, x, 600).alarm))
    assert alarms <= 30 * 800 / 3600 / 3


def test_what_ties_columns_is_not_believed_where_it_was_never_seen() -> None:
    """Two columns on a curve: what looked like a line where they were learnt is none farther out."""
    alarms = 0
    for seed in range(20):
        rng = Generator(PCG64(seed))
        base = np.cumsum(rng.normal(0, 0.05, 3000))
        x = np.column_stack([base, base + 0.1 * base**2, np.zeros(3000)]) + rng.normal(0, 0.1, (3000, 3))
        learnt = shift.fit(x[:600])
        assert isinstance(learnt, shift.Shift)
        alarms += len(spans(shift.score(learnt, x, 600).alarm))
    assert alarms <= 5  # 3 where nothing was tied, over 20 where ties were believed everywhere


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(650, 1300))
def test_no_score_knows_what_comes_after_it(seed: int, cut: int) -> None:
    rng = Generator(PCG64(seed))
    x = plant(rng)
    other = x.copy()
    other[cut:] = rng.normal(1000, 100, other[cut:].shape)
    learnt = shift.fit(x[:600])
    assert isinstance(learnt, shift.Shift)
    np.testing.assert_array_equal(shift.score(learnt, x, 600).score[:cut], shift.score(learnt, other, 600).score[:cut])
    time_s = np.arange(1400.0) * 300
    both = [novelty.score(time_s, table[:, 1], 600) for table in (x, other)]
    assert isinstance(both[0], tuple)
    assert isinstance(both[1], tuple)
    np.testing.assert_array_equal(both[0][0][:cut], both[1][0][:cut])


def test_a_silent_column_is_no_news_and_a_constant_one_no_crash() -> None:
    x = plant(Generator(PCG64(5)))
    x[:, 3] = 0.2
    learnt = shift.fit(x[:600])
    assert isinstance(learnt, shift.Shift)
    x[900:, 0] = np.nan
    scored = shift.score(learnt, x, 600)
    assert np.isfinite(scored.score).all()
    assert not scored.alarm.any()
    x[1000:, 3] = 0.5
    assert shift.score(learnt, x, 600).alarm[1000:].any()


def test_columns_that_stood_still_while_it_learnt_alarm_while_they_move_and_not_for_ever() -> None:
    x = np.tile([50.1, 0.0], (1400, 1))
    x[900:910, 0] = 50.3
    learnt = shift.fit(x[:600])
    assert isinstance(learnt, shift.Shift)
    scored = shift.score(learnt, x, 600)
    assert (scored.score[:900] < 0.01).all()
    assert scored.alarm[900:920].any()
    assert not scored.alarm[1100:].any()


# --- recorded data


def test_chance_gets_what_it_deserves_and_point_adjustment_is_seen_to_lie(shared_data: Path) -> None:
    rng = Generator(PCG64(1))
    runs = bench.read_pump_runs(shared_data / "analytics" / "pump-loop" / "valve1")
    truths = [truth[400:] for _, _, truth in runs]
    adjusted = np.mean([point_adjusted_f1(truth, rng.random(len(truth))) for truth in truths])
    assert adjusted > 0.9
    figures, against = bench.bench_pump(runs, rng)
    assert against["random_event_f1_pump"] < 0.1
    assert against["alarm_always_event_f1_pump"] == 0.0
    assert against["random_vus_pr_pump"] < 0.6 < 0.9 < figures["vus_pr_pump"]


def test_pump_faults_are_found_with_limits_from_the_calibration_only(shared_data: Path) -> None:
    runs = bench.read_pump_runs(shared_data / "analytics" / "pump-loop" / "valve1")
    figures, against = bench.bench_pump(runs, Generator(PCG64(1)))
    assert figures["vus_pr_pump"] >= 0.92 > against["mewma_vus_pr_pump"]
    assert figures["event_f1_pump"] >= 0.93
    assert figures["false_alarms_per_hour_pump"] <= 1.0


def test_hours_without_a_fault_stay_quiet(shared_data: Path) -> None:
    table = read_table(shared_data / "analytics" / "pump-loop" / "anomaly-free" / "anomaly-free.csv")
    made = detect(table)
    assert not isinstance(made, Message)
    assert len(spans(made.alarm)) <= 1
    assert len(table.time_s) - made.calibrated > 2 * 3600


def test_cloud_series_are_judged_better_than_the_best_published(shared_data: Path) -> None:
    figures, against = bench.bench_it(bench.read_it_series(shared_data / "analytics" / "it-anomalies"), Generator(PCG64(1)))
    assert figures["event_f1_it"] >= 0.67
    assert figures["recall_it"] >= 0.75
    assert figures["false_alarms_per_week_it"] <= 1.0
    assert max(against["random_event_f1_it"], against["robust_z_event_f1_it"]) < figures["event_f1_it"] - 0.1


# --- files and the command


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table_file(folder: Path, leak: bool = False) -> Path:
    x = plant(Generator(PCG64(3)))
    _step(x, Generator(PCG64(4)))
    head = "time,speed,flow,pressure,vibration,temperature" + (",anomaly" if leak else "")
    rows = [
        f"{1_800_000_000 + i},{','.join(f'{v:.6g}' for v in row)}{f',{int(i >= 900)}' if leak else ''}"
        for i, row in enumerate(x)
    ]
    return write(folder / ("leak.csv" if leak else "in.csv"), "\n".join([head, *rows]))


def test_the_command_scores_every_row_and_judges_by_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = table_file(tmp_path), tmp_path / "out.csv"
    labels = write(tmp_path / "labels.csv", "start,end\n2027-01-15T08:15:00Z,2027-01-15T08:23:20Z\n")
    command = ["detect", "--input", str(source), "--out", str(out), "--score", str(labels), "--calibrate", "600", "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["event_f1"] == 1.0
    assert said["random_event_f1"] < 0.5
    lines = out.read_text().splitlines()
    assert lines[0] == "time,score,alarm,metric"
    assert len(lines) == 1401
    assert lines[-1].endswith(",1,pressure")


def test_a_column_of_labels_is_never_looked_at(tmp_path: Path) -> None:
    with_labels, without = read_table(table_file(tmp_path, leak=True)), read_table(table_file(tmp_path))
    assert with_labels.left_out == ["anomaly"]
    first, second = detect(with_labels), detect(without)
    assert not isinstance(first, Message)
    assert not isinstance(second, Message)
    np.testing.assert_array_equal(first.score, second.score)


def test_a_column_that_came_later_than_what_is_learnt_from_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = table_file(tmp_path).read_text().splitlines()
    late = [f"{row},{i if i >= 700 else ''}" for i, row in enumerate(rows)]
    source, out = write(tmp_path / "late.csv", "\n".join([f"{head},late", *late])), tmp_path / "out.csv"
    assert main(["detect", "--input", str(source), "--out", str(out), "--calibrate", "600"]) == 0
    assert "not looked at: late" in capsys.readouterr().err
    assert out.read_text().splitlines()[-1].endswith(",1,pressure")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the first column is ''"),
        ("when,a\n1,2\n", "must be time"),
        ("time\n1\n", "no column beside the time"),
        ("time,a\n1,2\nsoon,3\n", "time is 'soon'"),
        ("time,a\n2,2\n1,3\n", "earlier"),
        ("time,a\n1,2\n2,inf\n", "'inf' is no finite number"),
        ("time,a\n1,2\n2,high\n", "'high' is no finite number"),
        ("time,a\n1,2\n2,3,4\n", "3 cells"),
        ("time,a\n1,\n2,\n", "nothing to judge"),
        ("time,a,a\n1,2,3\n", "same name"),
    ],
)
def test_bad_tables_are_refused_in_one_clear_sentence(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read_table(write(tmp_path / "t.csv", text))


def test_short_tables_and_wrong_usage_end_with_their_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = write(tmp_path / "s.csv", "time,a,b\n" + "\n".join(f"{i},{i},{i}" for i in range(50)))
    assert main(["detect", "--input", str(short), "--out", str(tmp_path / "o.csv")]) == 1
    assert "to learn from" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()
    assert main(["detect", "--input", str(short)]) == 2
    assert main(["detect", "--input", str(tmp_path / "none.csv"), "--out", str(tmp_path / "o.csv")]) == 2


def test_an_outcome_is_noted_for_the_centre_and_nonsense_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    config = write(tmp_path / "site.toml", '[site]\nname = "x"\nassets = "assets.csv"\n[store]\npath = "store"\n')
    told = ["detect", "--config", str(config), "--outcome"]
    assert main([*told, "straggler:g1:sm_clock_hz=false_alarm"]) == 0
    assert main([*told, "straggler=perhaps"]) == 2
    assert "no outcome" in capsys.readouterr().err
    assert main(["detect", "--cards", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert {card["name"] for card in cards} >= {"shift", "novelty", "disks", "cause", "live"}
    assert all(card["weak"] for card in cards)


def test_labels_may_be_windows_or_rows(tmp_path: Path) -> None:
    time_s = np.arange(5.0)
    windows = read_labels(write(tmp_path / "w.csv", "start,end\n1,2\n4,9\n"), time_s)
    rows = read_labels(write(tmp_path / "r.csv", "time;anomaly\n0;0\n1;1\n3;0\n4;1\n"), time_s)
    assert windows.tolist() == rows.tolist() == [False, True, True, False, True]
    late = read_labels(write(tmp_path / "l.csv", "time,anomaly\n2,1\n4,0\n"), time_s)
    assert late.tolist() == [False, False, True, True, False]  # before the first label nothing was said
    for header in ("time,anomaly", "start,end"):
        assert not read_labels(write(tmp_path / "e.csv", f"{header}\n"), time_s).any()
    with pytest.raises(ConfigError, match="start,end or time,anomaly"):
        read_labels(write(tmp_path / "x.csv", "a,b\n1,2\n"), time_s)
