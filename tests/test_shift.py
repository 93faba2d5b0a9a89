"""Shifting in time: plans keep capacity and windows, come near the exact optimum, and never look into the future."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.signal import SignalModel, hindcast
from energy.shift import Schedule, Work, solve
from energy.shift.bench_work import random_work
from energy.shift.decompose import decompose
from energy.shift.exact import optimum
from energy.shift.offline import Terms, plan_file
from energy.shift.rolling import Past, replay, trust
from energy.shift.tables import read_jobs
from twin.errors import ConfigError
from twin.frame import Floats
from ui.cli import main

DAY = 24


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def holds(work: Work, capacity: Floats, made: Schedule) -> None:
    """What every plan keeps, whatever it costs."""
    slots = np.arange(len(capacity))
    assert (work.gpus @ made.running <= capacity + 1e-9).all()
    assert not (made.running & (slots < work.earliest[:, None])).any()
    assert (made.running.sum(axis=1) == np.where(made.unplaced, 0, work.length)).all()
    whole = ~work.interruptible & ~made.unplaced
    assert (made.end[whole] - made.start[whole] == work.length[whole]).all()
    assert (made.late == (made.unplaced | (made.end > work.due))).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.2, 1.6))
def test_a_plan_keeps_capacity_windows_and_lengths(seed: int, jobs: int, load_frac: float) -> None:
    work, price, capacity = random_work(rng(seed), jobs, 60, load_frac)
    made = decompose(work, price, capacity)
    holds(work, capacity, made)
    if not made.late.any():
        assert made.cost >= made.bound - 1e-6 * abs(made.bound)


@pytest.mark.parametrize(("seed", "jobs"), [(1, 6), (2, 12), (4, 18)])
def test_the_exact_optimum_lies_between_bound_and_plan(seed: int, jobs: int) -> None:
    work, price, capacity = random_work(rng(seed), jobs, 48, 0.7)
    capacity = np.maximum(capacity, 34.0)  # the largest job fits, with a little beside it
    best, fast = optimum(work, price, capacity, 5.0), decompose(work, price, capacity)
    assert best is not None
    holds(work, capacity, best)
    assert not best.late.any()
    assert fast.late.any() or fast.bound <= best.cost * (1 + 1e-9)
    assert best.cost <= solve(work, price, capacity).cost * (1 + 6e-4)  # HiGHS stops within 5e-4


def test_two_thousand_jobs_are_within_half_a_percent_of_the_bound() -> None:
    work, price, capacity = random_work(rng(2), 2000, 96, 0.6)
    made = solve(work, price, capacity)
    holds(work, capacity, made)
    assert not made.late.any()
    assert 0 <= made.gap_frac < 0.005


def test_a_plan_worked_out_by_hand() -> None:
    one = np.ones(2)
    work = Work(one, np.array([10.0, 20.0]), np.array([1, 2], "i4"), np.array([0, 0], "i4"), np.array([4, 4], "i4"), one < 0)
    made = solve(work, np.array([5.0, 1.0, 2.0, 1.0]), np.ones(4))
    # the pair costs 20·(1+2) = 20·(2+1) = 60 in slots 1-2 or 2-3; the single one takes the other slot of price 1
    assert made.cost == pytest.approx(70.0)
    assert made.running.sum(axis=0).max() == 1


def test_what_cannot_be_in_time_is_late_and_what_has_no_room_is_said() -> None:
    one = np.ones(3)
    due = np.array([2, 2, 2], "i4")
    work = Work(one, one, np.full(3, 2, "i4"), np.zeros(3, "i4"), due, one < 0)
    made = solve(work, np.ones(4), np.ones(4))
    holds(work, np.ones(4), made)
    assert sorted(made.start.tolist()) == [-1, 0, 2]
    assert made.late.sum() == 2
    assert np.isnan(made.bound)
    pair = work.only(np.arange(2))
    soon = decompose(pair, np.array([1.0, 1, 5, 5, 1, 1]), np.ones(6))
    assert sorted(soon.start.tolist()) == [0, 2], "as little late as can be, however dear"


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("gpus", 0.0, "must be above 0"),
        ("power_w", np.nan, "must be above 0"),
        ("length", 0, "must be above 0"),
        ("earliest", -1, "earliest not below"),
    ],
)
def test_columns_that_make_no_problem_are_refused(column: str, value: float, says: str) -> None:
    work, price, capacity = random_work(rng(1), 3, 48, 0.5)
    getattr(work, column)[1] = value
    with pytest.raises(ValueError, match=f"work 1: .*{says}"):
        solve(work, price, capacity)


@pytest.mark.parametrize(("price", "capacity"), [(np.nan, 1.0), (np.inf, 1.0), (1.0, np.inf), (1.0, -1.0)])
def test_a_price_or_a_capacity_that_cannot_be_is_refused(price: float, capacity: float) -> None:
    with pytest.raises(ValueError, match="not a finite number, or a capacity is below 0"):
        solve(random_work(rng(1), 3, 48, 0.5)[0], np.full(48, price), np.full(48, capacity))


# --- forecasts and decisions from the past alone ----------------------------------------------------------------------


def signal(days: int, seed: int) -> Floats:
    """A made-up grid: a day's wave whose height wanders, and weather that lasts."""
    r, t = rng(seed), np.arange(days * DAY)
    weather = np.zeros(len(t))
    for i in range(1, len(t)):
        weather[i] = 0.97 * weather[i - 1] + 6 * r.standard_normal()
    return np.asarray(300 + 80 * np.cos(2 * np.pi * (t - 19) / DAY) + weather)


def nightly(days: int, first: int) -> tuple[Work, np.ndarray]:
    at = DAY * np.arange(first, days - 2) + 1
    ones = np.ones(len(at))
    columns = [np.asarray(c, dtype=np.int32) for c in (ones, at - 8, at + 9)]
    return Work(ones, ones, *columns, ones < 0), at.astype(np.int32)


def test_no_decision_knows_the_future() -> None:
    days, cut = 90, 80 * DAY
    truth = signal(days, 1)
    other = truth.copy()
    other[cut:] = rng(9).uniform(50, 900, len(truth) - cut)
    work, usual = nightly(days, 60)
    seen, seen_other = (hindcast(y, DAY, DAY) for y in (truth, other))
    assert np.array_equal(seen[: cut + 1], seen_other[: cut + 1], equal_nan=True)
    ours, theirs = (replay(work, Past(y, s, DAY), nominal=usual) for y, s in ((truth, seen), (other, seen_other)))
    assert np.array_equal(ours.running[:, :cut], theirs.running[:, :cut])
    # a leak is seen: forecasts that are the truth itself change with it
    leak = np.lib.stride_tricks.sliding_window_view(np.append(other, np.zeros(DAY)), DAY)[: len(other)]
    assert not np.array_equal(replay(work, Past(other, leak, DAY), nominal=usual).running[:, :cut], ours.running[:, :cut])


def test_trust_is_earned_over_seven_days_whose_outcome_is_known() -> None:
    """A day whose 23rd hour costs 1 and all others 10, foreseen as it comes: an hour's job may wait a day for it. Had it come
    to cost a million yesterday, that is known at once or, three hours late, not yet."""
    wave = np.where(np.arange(30 * DAY) % DAY == 22, 1.0, 10.0)
    seen = np.stack([wave[t : t + DAY] for t in range(29 * DAY)])

    def trusts(days: int, delay: int = 0, truth: Floats = wave, window: int = DAY) -> bool:
        begin = days * DAY
        return trust(Past(truth, seen, DAY, delay), begin, begin, 1, begin + window, False)

    assert [trusts(days) for days in (6, 7)] == [False, True]
    assert [trusts(days, delay=3) for days in (7, 8)] == [False, True]
    other = wave.copy()
    other[20 * DAY - 2] = 1e6
    assert [trusts(20, delay, other) for delay in (0, 3)] == [False, True]
    assert not trusts(20, window=1), "it has no slot to wait for"


def test_a_delay_hides_the_newest_values() -> None:
    truth = signal(70, 2)
    other = truth.copy()
    other[65 * DAY - 3 :] += 500
    late = hindcast(truth, DAY, 12, delay=3)
    assert np.array_equal(late[65 * DAY], hindcast(other, DAY, 12, delay=3)[65 * DAY])
    assert not np.array_equal(late[65 * DAY + 1], hindcast(other, DAY, 12, delay=3)[65 * DAY + 1])


def test_the_regression_beats_the_mean_day_where_weather_lasts() -> None:
    truth = signal(120, 3)
    seen = hindcast(truth, DAY, DAY, first=80 * DAY)
    at = np.arange(80 * DAY, len(truth) - DAY)
    mean_day = np.mean([truth[at - DAY * d] for d in range(1, 8)], axis=0)
    assert np.abs(seen[at, 0] - truth[at]).mean() < 0.4 * np.abs(mean_day - truth[at]).mean()
    assert SignalModel(DAY, DAY).sure(80 * DAY)


def test_where_the_signal_is_noise_the_job_is_left_alone() -> None:
    """No shape to learn: what is saved is nothing, within what a coin would lose."""
    truth = rng(5).uniform(200, 400, 200 * DAY)
    work, usual = nightly(200, 60)
    done = replay(work, Past(truth, hindcast(truth, DAY, DAY), DAY), nominal=usual)
    against = Past(truth, -hindcast(truth, DAY, DAY), DAY)
    assert abs(done.saved_frac) < 0.03
    worst = replay(work, against, nominal=usual)
    assert worst.trusted.mean() < 0.7


def wandering(hours: int, tau_h: float, seed: int) -> Floats:
    """An AR(1) of unit spread that forgets in ``tau_h``: wind."""
    keep, noise = np.exp(-1 / tau_h), rng(seed).standard_normal(hours)
    made = np.zeros(hours)
    for t in range(1, hours):
        made[t] = keep * made[t - 1] + np.sqrt(1 - keep**2) * noise[t]
    return made


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_on_grids_without_any_shape_it_abstains_and_on_others_it_does_not_lose(seed: int) -> None:
    """Made-up grids: white noise; wind on a weak day; a day whose rhythm turns round; a drift; slow wind."""
    hours, t = 150 * DAY, np.arange(150 * DAY)
    phase = np.where(t < 0.6 * hours, 0, 12)
    grids = {
        "noise": 400 + 60 * rng(seed).standard_normal(hours),
        "wind": 350 + 25 * np.cos(2 * np.pi * t / DAY) + 90 * wandering(hours, 30, seed),
        "turns": 350 - 80 * np.cos(2 * np.pi * (t - phase) / DAY) + 30 * wandering(hours, 12, seed),
        "drifts": 400 - 0.05 * t - 30 * np.cos(2 * np.pi * t / DAY) + 40 * wandering(hours, 60, seed),
        "lulls": 350 - 10 * np.cos(2 * np.pi * t / DAY) + 60 * wandering(hours, 120, seed),
    }
    work, usual = nightly(150, 60)
    for name, values in grids.items():
        truth = np.maximum(values, 20.0)
        done = replay(work, Past(truth, hindcast(truth, DAY, DAY), DAY), nominal=usual)
        if name == "noise":
            assert done.trusted.mean() < 0.02, "what paid by luck is no reason"
            assert abs(done.saved_frac) < 0.003
        elif name in {"drifts", "lulls"}:  # the usual hour is the best one nearly: less is left to gain than what wanders
            assert abs(done.saved_frac) < 0.001
            assert done.trusted.mean() < 0.3
        else:
            assert done.saved_frac > 0.01, name


def test_a_forecast_that_is_wrong_loses_trust_and_costs_nothing_more() -> None:
    truth = signal(120, 4)
    work, usual = nightly(120, 60)
    upside_down = Past(truth, -hindcast(truth, DAY, DAY), DAY)
    done = replay(work, upside_down, nominal=usual)
    assert not done.trusted.any()
    assert done.saved_frac == 0.0


def test_under_a_capacity_nothing_runs_over_it() -> None:
    truth, r = signal(75, 6), rng(6)
    arrival = np.sort(r.integers(50 * DAY, 70 * DAY, 60)).astype(np.int32)
    length = r.integers(2, 20, 60).astype(np.int32)
    gpus = 2.0 ** r.integers(0, 3, 60)
    work = Work(gpus, gpus * 700, length, arrival, arrival + length + 30, r.random(60) < 0.5)
    done = replay(work, Past(truth, hindcast(truth, DAY, 3 * DAY), DAY), np.full(len(truth), 12.0), every=2)
    assert (gpus @ done.running <= 12).all()
    assert (done.running.sum(axis=1) == length).all()
    assert not (done.running & (np.arange(len(truth)) < arrival[:, None])).any()
    assert done.saved_frac > 0


@pytest.mark.parametrize("grid", ["CISO", "ERCO", "NYIS", "PJM"])
def test_no_recorded_grid_loses(shared_data: Path, grid: str) -> None:
    from energy.shift.bench import GRIDS, _carbon, _protocols

    truth = _carbon(shared_data / "energy" / "carbon" / f"{grid}-2022-hourly.csv")
    name, work, usual = _protocols(len(truth), GRIDS[grid], rng(1))[0]
    assert name == "nightly"
    assert replay(work, Past(truth, hindcast(truth, DAY, 17), DAY), nominal=usual).saved_frac > 0


# --- the command ------------------------------------------------------------------------------------------------------

START = datetime(2026, 3, 1, tzinfo=UTC)


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


def files(folder: Path, days: int = 60) -> list[str]:
    values = signal(days, 7)
    at = [START + timedelta(hours=i) for i in range(len(values))]
    series = write(folder / "s.csv", "time,value", *(f"{t.isoformat()},{v:.3f}" for t, v in zip(at, values, strict=True)))
    jobs = [
        f"j{i},{at[1000 + 7 * i].isoformat()},{at[1000 + 7 * i + 30].isoformat()},{3 + i % 5},{1 + i % 4},{i % 2}"
        for i in range(40)
    ]
    work = write(folder / "j.csv", "id,earliest,deadline,duration_h,gpus,interruptible", *jobs)
    return ["plan", "--jobs", str(work), "--signal", str(series), "--out", str(folder / "o.csv"), "--json"]


@pytest.mark.parametrize("more", [[], ["--capacity", "9"], ["--causal"], ["--causal", "--delay", "2", "--capacity", "9"]])
def test_plan_writes_runs_that_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main([*files(tmp_path), *more]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"j{i}" for i in range(40)]
    for i, row in enumerate(rows):
        runs = [[datetime.fromisoformat(t) for t in run.split("/")] for run in row["runs"].split(";")]
        assert sum((b - a for a, b in runs), timedelta()) == timedelta(hours=3 + i % 5)
        assert len(runs) == 1 or i % 2
        assert runs[0][0] == datetime.fromisoformat(row["start"]) >= START + timedelta(hours=1000 + 7 * i)
        assert (runs[-1][1] > START + timedelta(hours=1000 + 7 * i + 30)) == bool(int(row["late"]))
    assert said["late"] == sum(int(row["late"]) for row in rows)
    assert said["saved_frac"] > 0


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("id,earliest,deadline", "a,0,1", "j.csv:1: has no column duration_s or duration_min or duration_h"),
        ("id,earliest,deadline,duration_h", "a,soon,7200,1", "j.csv:2: earliest is 'soon'; write ISO 8601 with a zone"),
        ("id,earliest,deadline,duration_h", "a,2026-01-01T00:00,2026-01-02T00:00Z,1", "j.csv:2: earliest is"),
        ("id,earliest,deadline,duration_h", "a,7200,3600,1", "j.csv:2: deadline is not after earliest"),
        ("id,earliest,deadline,duration_h", "a,0,7200,-1", "j.csv:2: duration_h is '-1'; write a number above 0"),
        ("id,earliest,deadline,duration_h", "a,0,7200,1\na,0,7200,1", "j.csv:3: id 'a' stands twice (first in line 2)"),
        ("id,earliest,deadline,duration_h,interruptible", "a,0,7200,1,maybe", "j.csv:2: interruptible is 'maybe'"),
        ("id,earliest,deadline,duration_h", ",0,7200,1", "j.csv:2: id is ''"),
    ],
)
def test_a_bad_job_is_one_sentence_with_its_line(tmp_path: Path, header: str, row: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_jobs(write(tmp_path / "j.csv", header, row))
    assert any(says in str(problem) for problem in caught.value.problems), caught.value.problems


def test_a_signal_with_a_hole_is_bridged_and_said_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = files(tmp_path)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join(lines[:500] + lines[503:]))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["filled_steps"] == 3
    (tmp_path / "s.csv").write_text("\n".join(lines[:500] + lines[504:]))
    assert main(words) == 2
    assert "misses 4 steps from step 500 on" in capsys.readouterr().err


def test_what_a_plan_of_a_file_saves_by_hand(tmp_path: Path) -> None:
    """Half hours at 10, 20, 30, 4, 5 and 50 a kWh. Two GPUs of a kW for 40 minutes, two half hours, would start in the second
    one: 50, and 9 in the last two before they are due. 500 W for half an hour fit into the second alone: 5 in any case."""
    series = write(tmp_path / "s.csv", "time,value", *(f"{1800 * i},{v}" for i, v in enumerate((10, 20, 30, 4, 5, 50))))
    header = "id,earliest,deadline,duration_min,gpus,nominal,power_w"
    rows = ["a,0,9000,40,2,1800,", "b,100,3700,30,1,,500"]
    said = plan_file(write(tmp_path / "j.csv", header, *rows), series, tmp_path / "o.csv", Terms())
    assert (said["signal_sum_at_once"], said["signal_sum"]) == (pytest.approx(55.0), pytest.approx(14.0))
    assert said["saved_frac"] == pytest.approx(1 - 14 / 55)
    starts = [row["start"] for row in csv.DictReader((tmp_path / "o.csv").read_text().splitlines())]
    assert [datetime.fromisoformat(one).timestamp() for one in starts] == [3 * 1800, 1800]
    with pytest.raises(ConfigError, match="job 'c' may start outside the signal"):
        plan_file(write(tmp_path / "j.csv", header, "c,10800,12600,30,1,,"), series, tmp_path / "o.csv", Terms())
