"""Demand response: budgets and floors are kept, the measured sweep's ceiling is reached, and the proof is arithmetic."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.respond import Curve, Loads
from energy.respond.bench import carry_out, recorded_loads, recorded_meter
from energy.respond.divide import divide, uniform_cap
from energy.respond.plan import Battery, Connection, course, respond
from energy.respond.proof import before, prove
from energy.respond.track import LOOKS, Trim
from ingest.curtail import read_request
from twin.curtail import Interval, Request
from twin.errors import SourceError
from twin.frame import Floats
from ui.cli import main

NOW = datetime(2026, 7, 1, 8, tzinfo=UTC)
T0 = NOW.timestamp()
CAPS = np.array([100.0, 200, 300, 400])


def curve(*throughput: float) -> Curve:
    return Curve(CAPS, CAPS - 10, np.array(throughput))


STEEP, FLAT = curve(0.25, 0.5, 0.75, 1.0), curve(0.4, 0.8, 0.95, 1.0)


def loads(*rows: tuple[str, float, int, float, bool]) -> Loads:
    """(id, GPUs, curve 0 steep or 1 flat, floor, pausable)."""
    n = len(rows)
    columns = [np.array([row[i] for row in rows], dtype=np.float64) for i in (1, 3)]
    which = np.array([row[2] for row in rows], dtype=np.int32)
    stops = np.array([row[4] for row in rows], dtype=np.bool_)
    return Loads([r[0] for r in rows], columns[0], which, columns[1], np.ones(n), stops, np.full(n, 50.0), [STEEP, FLAT])


def request(begin_min: float = 10, hours: float = 1.0, received_min: float = 0, **asked: float) -> Request:
    one = Interval(T0 + 60 * begin_min, T0 + 60 * begin_min + 3600 * hours, **asked)
    return Request("r", T0 + 60 * received_min, (one,))


# --- dividing ---------------------------------------------------------------------------------------------------------


def test_the_job_that_loses_least_gives_first() -> None:
    """10 GPUs each: the flat one falls from 390 to 190 W a GPU at a loss of 0.2, the steep one at twice and more."""
    both = loads(("steep", 10, 0, 0.1, False), ("flat", 10, 1, 0.1, False))
    made = divide(both, 7800 - 2000)
    assert made.cap_w.tolist() == pytest.approx([400, 200])
    assert made.weighted_frac(both) == pytest.approx(0.9)
    assert made.bound_frac == pytest.approx(0.9)
    kept = divide(loads(("steep", 10, 0, 0.1, False), ("flat", 10, 1, 0.95, False)), 5800)
    assert kept.throughput_frac[1] == pytest.approx(0.95)  # its floor binds, the steep one pays the rest
    assert kept.power_w.sum() == pytest.approx(5800)


def test_a_job_pauses_only_where_floors_are_not_enough() -> None:
    one = loads(("a", 10, 0, 0.9, True), ("b", 10, 1, 0.9, False))
    assert not divide(one, one.least_w.sum() + 1, may_pause=False).paused.any()
    deep = divide(one, 4400)
    assert deep.paused.tolist() == [True, False]
    assert deep.power_w[0] == pytest.approx(500)
    assert divide(one, 4400, may_pause=False).power_w.sum() == pytest.approx(
        one.least_w.sum()
    )  # cannot, and says what it draws


curves = st.lists(st.floats(0.05, 1.0), min_size=3, max_size=5, unique=True).map(sorted)
jobs = st.tuples(st.integers(1, 64), st.integers(0, 2), st.floats(0, 1), st.booleans(), st.floats(0.1, 5))


@settings(max_examples=50, deadline=None)
@given(st.lists(jobs, min_size=1, max_size=7), st.lists(curves, min_size=3, max_size=3), st.floats(0.1, 1.1), st.booleans())
def test_no_division_breaks_a_budget_a_floor_or_its_bound(
    rows: list[tuple[int, int, float, bool, float]], shapes: list[list[float]], share: float, may_pause: bool
) -> None:
    made_of = []
    for shape in shapes:
        through = np.array(shape) / shape[-1]
        caps = 100.0 + 60 * np.arange(len(shape))
        if (np.diff(through) < 1e-3).any():
            through = np.linspace(0.2, 1.0, len(shape))
        made_of.append(Curve(caps, caps - 20, through))
    column = [np.array([row[i] for row in rows], dtype=np.float64) for i in range(5)]
    which, stops = column[1].astype(np.int32), column[3] > 0
    all_ = Loads(
        [str(i) for i in range(len(rows))], column[0], which, column[2], column[4], stops, np.full(len(rows), 30.0), made_of
    )
    budget_w = share * float(all_.full_w.sum())
    made = divide(all_, budget_w, may_pause)
    least_w = np.where(may_pause & stops, np.minimum(all_.least_w, 30 * all_.gpus), all_.least_w).sum()
    assert made.power_w.sum() <= max(budget_w, least_w) * (1 + 1e-6)
    assert (made.throughput_frac[~made.paused] >= all_.floor_frac[~made.paused] - 1e-6).all()
    assert not (made.paused & ~(stops & may_pause)).any()
    assert made.weighted_frac(all_) <= made.bound_frac + 1e-6
    rises = all_.least_w.sum() <= budget_w
    if rises:
        assert made.weighted_frac(all_) >= uniform_cap(all_, budget_w).weighted_frac(all_) - 2e-3 or bool(
            (uniform_cap(all_, budget_w).throughput_frac < all_.floor_frac - 1e-9).any()
        )


# --- plans ------------------------------------------------------------------------------------------------------------

TEN = loads(("steep", 10, 0, 0.1, False), ("flat", 10, 1, 0.1, False))
CENTRE = Connection(baseline_w=10_000.0, other_w=10_000.0 - 7800.0)


def test_a_plan_is_down_before_and_back_after_without_a_rebound() -> None:
    made = respond(request(cut_w=2000.0), TEN, CENTRE)
    asked = np.isfinite(made.target_w)
    assert made.time_s[asked][0] == T0 + 600
    assert asked.sum() == 60
    assert (made.expected_w[asked] <= 8000).all()
    assert made.expected_w[asked] == pytest.approx(8000 * 0.998)
    assert (made.expected_w <= CENTRE.baseline_w + 1e-6).all()
    assert np.isnan(made.cap_w[made.time_s < T0 + 600 - 240]).all()  # not sooner than it takes
    after = made.expected_w[made.time_s >= T0 + 600 + 3600]
    assert (np.diff(after) >= -1e-9).all()
    assert after[-1] < CENTRE.baseline_w + 1e-6
    assert np.diff(made.expected_w).max() <= 2016 / 20 + 1e-6  # let up over twenty minutes
    assert made.short_w == 0


def test_what_cannot_be_met_is_said_and_met_as_far_as_it_goes() -> None:
    deep = respond(request(limit_w=3000.0), TEN, CENTRE)
    assert deep.why is not None
    assert "cannot be met whole" in str(deep.why)
    assert deep.short_w == pytest.approx(10_000 - 7800 + TEN.least_w.sum() - 3000)
    kind = Request("r", T0, request(limit_w=3000.0).intervals, best_effort=True)
    assert "no job need pause" in str(respond(kind, TEN, CENTRE).why)


def test_a_battery_and_held_work_spare_the_jobs() -> None:
    """A cut of 2 kW for an hour (and its ramps): the battery has 1 kW for it, held work another 0.5 kW."""
    plain = respond(request(cut_w=2000.0), TEN, CENTRE)
    battery = Battery(1000.0, 1500 * 3600.0)
    spared = respond(request(cut_w=2000.0), TEN, CENTRE, battery)
    assert spared.throughput_frac > plain.throughput_frac + 0.02
    assert spared.battery_w.max() <= 1000
    assert spared.battery_w.sum() * 60 / (1 - battery.loss_frac) <= battery.energy_j * (1 + 1e-9)
    small = respond(request(cut_w=2000.0), TEN, CENTRE, Battery(1000.0, 300 * 3600.0))
    assert small.battery_w.sum() * 60 / 0.95 == pytest.approx(300 * 3600, rel=1e-6)
    held = respond(request(cut_w=2000.0), TEN, Connection(10_500.0, 2200.0, held_w=500.0))
    assert held.throughput_frac > plain.throughput_frac


def test_a_watt_less_of_the_jobs_is_more_than_a_watt_at_the_meter() -> None:
    """With 1.25 W at the meter for a W in the jobs, a cut of 2 kW takes 1.6 kW from them."""
    connection = Connection(10_000.0, 2200.0, facility_ratio=1.25, margin_frac=0.0)
    made = respond(request(cut_w=2000.0), TEN, connection)
    inside = np.isfinite(made.target_w)
    power = [np.interp(made.cap_w[inside][5, j], CAPS, CAPS - 10) * 10 if cap == cap else 3900.0
             for j, cap in enumerate(made.cap_w[inside][5])]  # fmt: skip
    assert sum(power) == pytest.approx(7800 - 1600, rel=1e-3)
    assert made.expected_w[inside] == pytest.approx(8000)


def test_a_limit_above_the_baseline_is_aimed_at_itself_and_a_battery_gives_what_the_load_is_over_it() -> None:
    """1200 W over a baseline of 1000 W, and a load of 1500 W when it comes: 1200 less 0.2 % from one minute before on."""
    asked = request(limit_w=1200.0)
    held = course(asked, Connection(1000.0, 0.0, load_w=1500.0), Battery(400.0, 3.6e6))
    bound = np.isfinite(held.ours_w)
    assert held.time_s[bound][[0, -1]].tolist() == [T0 + 600 - 60, T0 + 600 + 3600 - 60]
    assert held.ours_w[bound] == pytest.approx(1197.6)
    assert held.battery_w[bound] == pytest.approx(302.4)
    assert not held.battery_w[~bound].any()
    assert not course(asked, Connection(1000.0, 0.0), Battery(400.0, 3.6e6)).battery_w.any()


# --- following and proving --------------------------------------------------------------------------------------------


def test_power_is_taken_back_at_once_and_given_back_slowly() -> None:
    trim = Trim().step(105.0, 100.0)
    assert trim.trim_w < -3
    for _ in range(LOOKS - 1):
        assert trim.trim_w == (trim := trim.step(95.0, 100.0)).trim_w
    assert trim.step(95.0, 100.0).trim_w > trim.trim_w
    dip = Trim()
    for k in range(3 * LOOKS):
        dip = dip.step(80.0 if k % LOOKS else 100.0, 100.0)  # dips between minutes at the aim move nothing
    assert dip.trim_w == 0
    assert Trim(3.0).step(float("nan"), 100.0).trim_w == 3.0


def test_no_look_moves_the_budget_further_than_it_may() -> None:
    """0.15 of an aim of 100 W, so what was taken for an hour of a meter that is stuck is given back within four looks."""
    low = high = Trim()
    for _ in range(60):
        low = low.step(200.0, 100.0)
    assert low.trim_w == -15
    for _ in range(600):
        high = high.step(0.0, 100.0)
    assert high.trim_w == 15
    assert high.step(125.2, 100.0).trim_w == pytest.approx(15 - 0.8 * 25)


def meter(*pieces: tuple[int, float]) -> tuple[Floats, Floats]:
    power = np.concatenate([np.full(n, w) for n, w in pieces])
    return T0 + 60.0 * np.arange(len(power)), power


def test_a_proof_by_hand() -> None:
    """100 kW before; ordered at 0:00, at 74 kW from 0:03, one minute of 76 kW, back at 1:05 with a quarter at 102 kW."""
    time_s, power = meter((60, 100e3), (3, 90e3), (30, 74e3), (1, 76e3), (29, 74e3), (2, 90e3), (15, 102e3), (60, 100e3))
    ordered = T0 + 3600
    target = np.where((time_s >= ordered + 180) & (time_s < ordered + 3780), 75e3, np.inf)
    base = before(time_s, power, ordered)
    assert base == 100e3
    made = prove(time_s, power, target, base, ordered, "before")
    assert made.in_place_s == 180
    assert (made.short_steps, made.worst_short_frac) == (1, pytest.approx(76 / 75 - 1))
    assert made.cut_kwh == pytest.approx((59 * 26 + 24) / 60)
    assert made.asked_kwh == pytest.approx(25)
    assert made.rebound_frac == pytest.approx(0.02)
    assert made.restore_s == 120
    gone = power.copy()
    gone[70:80] = np.nan
    assert prove(time_s, gone, target, base, ordered, "before").coverage_frac == pytest.approx(50 / 60)
    with pytest.raises(ValueError, match="never read"):
        prove(time_s, np.full(len(time_s), np.nan), target, base, ordered, "before")


@pytest.mark.parametrize(("draws_w", "short"), [(12e6, 60), (1.0, 60), (0.0, 0)])
def test_a_request_for_no_power_at_all_is_kept_by_no_power_only(draws_w: float, short: int) -> None:
    time_s, power = meter((60, 12e6), (60, draws_w), (60, 12e6))
    target = np.where((time_s >= time_s[60]) & (time_s < time_s[120]), 0.0, np.inf)
    made = prove(time_s, power, target, 12e6, float(time_s[60]), "before")
    assert made.short_steps == short
    assert made.worst_short_frac == pytest.approx(draws_w / 12e6)
    assert np.isnan(made.in_place_s) == (short > 0)


# --- the measured event -----------------------------------------------------------------------------------------------


def test_the_measured_sweep_reaches_its_ceiling(shared_data: Path) -> None:
    """Ceilings of the six jobs on 256 GPUs by linear programming; no minute short by over 1 % on a fleet of another model."""
    folder = shared_data / "energy" / "demand-response"
    six = recorded_loads(folder)
    _, power_w = recorded_meter(folder)
    full_w = float(six.full_w.sum())
    assert full_w == pytest.approx(power_w[:30].mean(), rel=0.015)
    for cut, ceiling in ((0.10, 0.968), (0.15, 0.947), (0.20, 0.923), (0.25, 0.897), (0.30, 0.868), (0.35, 0.833)):
        made = divide(six, (1 - cut) * full_w, may_pause=False)
        assert made.bound_frac == pytest.approx(ceiling, abs=6e-4)
        assert made.weighted_frac(six) == pytest.approx(made.bound_frac, abs=1.2e-3)
        assert (made.throughput_frac >= six.floor_frac - 1e-9).all()
    level = power_w[:89]
    ran = carry_out(six, level / level.mean(), np.random.Generator(np.random.PCG64(3)))
    asked = np.isfinite(ran.target_w)
    ordered = float(ran.time_s[asked][0]) - 240
    proof = prove(ran.time_s, ran.meter_w, ran.target_w, before(ran.time_s, ran.meter_w, ordered), ordered, "before")
    assert proof.mean_cut_frac > 0.25
    assert proof.short_steps == 0
    assert proof.in_place_s <= 240
    assert proof.rebound_frac < 0.005
    assert ran.least_over_floor_frac >= 0
    assert ran.throughput_frac > 0.885


# --- requests as they come --------------------------------------------------------------------------------------------

EVENT = {
    "id": "ev1",
    "programID": "p",
    "payloadDescriptors": [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}],
    "intervalPeriod": {"start": "2026-07-01T09:00:00Z", "duration": "PT1H"},
    "intervals": [
        {"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [800]}]},
        {"id": 1, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-50.5]}]},
    ],
}
TARGET = {
    "specversion": "1.0.2",
    "type": "grid.loadtarget.set.v1",
    "source": "//grid/v1/isv/acme",
    "correlationid": "c1",
    "data": {
        "targets": [
            {
                "interval": {"start_time": "2026-07-01T09:00:00Z", "end_time": "2026-07-01T12:00:00Z"},
                "feed_tags": ["main-a"],
                "load_constraint": {"value": 1.2, "unit": "megawatt"},
                "strategy": {"best_effort": True},
            }
        ]
    },
}


def test_requests_of_both_kinds_are_read() -> None:
    event = read_request(EVENT, NOW)
    assert event is not None
    assert [(i.begin_s - T0, i.end_s - T0) for i in event.intervals] == [(3600, 7200), (7200, 10800)]
    assert (event.intervals[0].limit_w, event.intervals[1].cut_w, event.notice_s) == (800e3, 50.5e3, 3600)
    assert event.intervals[1].target_w(1e6) == 949.5e3
    target = read_request(TARGET, NOW)
    assert target is not None
    assert (target.intervals[0].limit_w, target.feeds, target.best_effort, target.key) == (1.2e6, ("main-a",), True, "c1")
    free = {**TARGET, "data": {"targets": [{"interval": {}, "load_constraint": None}]}}
    assert read_request(free, NOW) is None


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ([], "a request is a JSON object"),
        ({"type": "grid.powerstate.status.v1"}, "neither an OpenADR 3 event"),
        ({**TARGET, "data": "e30.e30.sig"}, "is signed"),
        ({**EVENT, "intervals": [{"payloads": [{"type": "PRICE", "values": [1]}]}]}, "none of its intervals"),
        ({**EVENT, "intervalPeriod": {"start": "2026-07-01T09:00:00", "duration": "PT1H"}}, "no time zone"),
        ({**EVENT, "intervalPeriod": {"start": "2026-07-01T09:00:00Z", "duration": "an hour"}}, "no duration"),
        ({**EVENT, "intervals": [{"payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [1, 2]}]}]}, "2 values"),
        ({**EVENT, "intervals": [{"payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [9]}]}]}, "draw more"),
        ({**EVENT, "intervals": [{}] * 1000}, "at most 288"),
        ({**EVENT, "intervals": [None]}, "intervals.0: is no object"),
        ({**EVENT, "intervalPeriod": "tomorrow"}, "intervalPeriod: is no object"),
        ({**EVENT, "payloadDescriptors": ["PRICE"]}, "payloadDescriptors.0: is no object"),
        ({**EVENT, "intervalPeriod": {"start": "0000-00-00", "duration": "PT1H"}}, "out of range"),
        ({**EVENT, "intervalPeriod": {"start": "2026-07-01T09:00:00Z", "duration": "P99999999999D"}}, "cannot be read"),
        ({**EVENT, "intervalPeriod": {"start": "9999-12-31T09:00:00Z", "duration": "P9D"}}, "cannot be read"),
        ({**EVENT, "intervals": EVENT["intervals"][1:], "intervalPeriod": {}}, "without a duration says nothing"),
        ({**TARGET, "data": {"targets": [{"load_constraint": {"value": "1", "unit": "watt"}}]}}, "value"),
    ],
)
def test_a_request_that_cannot_be_understood_is_one_sentence(message: object, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read_request(message, NOW)


@pytest.mark.parametrize("duration", [{}, {"duration": "PT0S"}, {"duration": None}, {"duration": "P9999Y"}])
def test_a_limit_without_an_end_holds_until_it_is_taken_back(duration: dict[str, str | None]) -> None:
    period = {"start": "2026-07-01T09:00:00Z", **duration}
    event = read_request({**EVENT, "intervals": EVENT["intervals"][:1], "intervalPeriod": period}, NOW)
    assert event is not None
    assert (event.begin_s - T0, event.end_s, event.intervals[0].limit_w) == (3600, math.inf, 800e3)


def test_the_command_plans_a_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    period = {"start": "2099-07-01T09:00:00Z", "duration": "PT1H"}
    event = {**EVENT, "intervalPeriod": period, "intervals": [{"payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [8]}]}]}
    (tmp_path / "e.json").write_text(json.dumps(event))
    rows = [f"{name},{cap:.0f},{cap - 10:.0f},{t}" for name, c in (("s", STEEP), ("f", FLAT))
            for cap, t in zip(CAPS, c.throughput_frac, strict=True)]  # fmt: skip
    (tmp_path / "c.csv").write_text("workload,cap_w,power_w,throughput\n" + "\n".join(rows))
    (tmp_path / "l.csv").write_text("job,gpus,workload,floor\nsteep,10,s,0.1\nflat,10,f,0.1\n")
    words = ["respond", "--request", str(tmp_path / "e.json"), "--loads", str(tmp_path / "l.csv"), "--curves",
             str(tmp_path / "c.csv"), "--out", str(tmp_path / "o.csv"), "--json"]  # fmt: skip
    assert main([*words, "--baseline-kw", "10"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["throughput_frac"] == pytest.approx(0.9, abs=2e-3)
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0] == "time,target_w,expected_w,battery_w,hold,steep,flat"
    assert any(",8000," in line and line.endswith(",200") for line in lines)
    assert main([*words, "--baseline-kw", "5"]) == 2
    assert "the jobs alone draw 7.8 kW" in capsys.readouterr().err
    (tmp_path / "l.csv").write_text("job,gpus,workload,floor\nsteep,10,x,0.1\nflat,-1,f,7\n")
    assert main([*words, "--baseline-kw", "10"]) == 2
    err = capsys.readouterr().err
    assert "l.csv:2: workload 'x' has no curve" in err
    assert "l.csv:3: gpus is '-1'" in err
