"""Calibration: a fit recovers the truth with an interval that holds it, refuses what cannot be known, and mends the twin."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.hall import START, Kept, hall_site, plant, polled
from twin.adopt import MOST_ADOPTIONS, entry_of, in_force, load_adoptions, save_adoptions, undo
from twin.calibrate import propose
from twin.errors import ConfigError
from twin.estimate import Z80, solve, uncertainty
from twin.fit import NO_BETTER, Fit, Knob, Record, best_fit, fit, score
from twin.frame import Frame
from twin.history import History
from twin.params import Params
from twin.solution import reconciled
from twin.state import State

GPUS, HOURS, STEP_S = 256, 3, 30


def record(target: np.ndarray, *inputs: np.ndarray, present: np.ndarray | None = None) -> Record:
    time_s = 1.8e9 + 60.0 * np.arange(len(target))
    now = np.full(len(target), np.nan) if present is None else present

    def expect(x: np.ndarray) -> np.ndarray:
        return sum((value * column for value, column in zip(x, inputs, strict=True)), np.zeros(len(target)))

    return Record(time_s, target, expect, np.where(np.isnan(now), 0.5 * target, now))


def test_scores_are_those_of_ashrae_guideline_14() -> None:
    """By hand: readings 10, 20, 30 against 9, 21, 27: Σd = 3, Σd² = 11, mean 20, n - 1 = 2."""
    made = score(np.array([10.0, 20, 30]), np.array([9.0, 21, 27]))
    assert made.cvrmse_frac == pytest.approx(np.sqrt(11 / 2) / 20)
    assert made.nmbe_frac == pytest.approx(3 / (2 * 20))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    held = 0
    for _ in range(60):
        x, y = rng.uniform(1, 3, (2, 200))
        target = 2 * x + 3 * y + 0.3 * rng.normal(size=200)
        made = fit("t", "", [Knob("a", 1.0, 0, 10), Knob("b", 1.0, 0, 10)], record(target, x, y))
        assert made.sound
        held += sum(value.low <= truth <= value.high for value, truth in zip(made.values, (2, 3), strict=True))
    assert 0.88 <= held / 120 <= 1.0


def test_readings_that_resemble_their_neighbours_count_for_fewer() -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    x = rng.uniform(1, 3, 400)
    white, slow = rng.normal(size=400), np.zeros(400)
    for i in range(1, 400):
        slow[i] = 0.95 * slow[i - 1] + np.sqrt(1 - 0.95**2) * rng.normal()
    made = [fit("t", "", [Knob("a", 1.0, 0, 10)], record(2 * x + 0.2 * noise, x)).values[0] for noise in (white, slow)]
    width = [value.high - value.low for value in made]
    assert width[1] > 3 * width[0]


def test_outliers_do_not_move_a_fit() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    x = rng.uniform(1, 3, 300)
    target = 2 * x + 0.02 * rng.normal(size=300)
    target[rng.integers(0, 210, 20)] += 30.0
    assert fit("t", "", [Knob("a", 1.0, 0, 10)], record(target, x)).values[0].value == pytest.approx(2, rel=0.01)


def test_what_moves_together_cannot_be_told_apart() -> None:
    x = np.random.Generator(np.random.PCG64(8)).uniform(1, 3, 300)
    both = record(5 * x, x, x * 1.0001)
    refused = fit("t", "", [Knob("a", 1.0, 0, 10), Knob("b", 1.0, 0, 10)], both)
    assert not refused.sound
    assert not refused.known
    assert "tell a, b apart" in str(refused.why)
    fewer = best_fit("t", "", [[Knob("a", 1.0, 0, 10), Knob("b", 1.0, 0, 10)], [Knob("a", 1.0, 0, 10)]],
                     lambda knobs: both if len(knobs) == 2 else record(5 * x, x))  # fmt: skip
    assert fewer.sound
    assert fewer.values[0].value == pytest.approx(5)


def test_a_fit_is_refused_that_is_no_better_unknown_too_short_bounded_or_wrong() -> None:
    rng = np.random.Generator(np.random.PCG64(9))
    x = rng.uniform(1, 3, 300)
    noise = 0.05 * rng.normal(size=300)
    knob = [Knob("a", 1.0, 0, 10)]
    assert fit("t", "", knob, record(2 * x + noise, x, present=2 * x)).why.text == NO_BETTER
    assert "only 28 readings" in str(fit("t", "", knob, record((2 * x)[:40], x[:40])).why)
    assert "is not known" in str(fit("t", "", knob, record(1e-4 * x + noise, x)).why)
    assert "rests on its bound 1.5" in str(fit("t", "", [Knob("a", 1.0, 0.5, 1.5)], record(2 * x + noise, x)).why)
    later = np.where(np.arange(300) < 220, 2 * x, 6 * x)
    assert "beyond ASHRAE" in str(fit("t", "", knob, record(later, x)).why), "judged on the later part"
    silent = fit("t", "", knob, record(np.full(300, np.nan), x))
    assert not silent.sound


# --- on a simulated hall


async def _hours(opened: object, kept: Kept, start_s: int, end_s: int, step_s: int = STEP_S) -> None:
    for t in range(start_s, end_s, step_s):
        kept.append(await polled(opened, START + timedelta(seconds=t)))  # type: ignore[arg-type]


def _silenced(frames: Sequence[Frame]) -> list[Frame]:
    """Without any power meter but those of GPUs, switches and storage."""
    hidden = ("node", "rack", "hall", "pdu", "ups", "transformer", "meter", "cdu", "pump", "chiller", "tower")
    made = []
    for frame in frames:
        values = {name: column for name, column in frame.values.items() if frame.kind not in hidden or name != "power_w"}
        made += [replace(frame, values=values)] if values else []
    return made


async def test_calibration_mends_a_twin_that_is_too_high_and_its_band_then_holds() -> None:
    """From GPU telemetry and processors alone, against the hall's meters of hours that no fit has seen."""
    opened, kept = plant(GPUS), Kept(hall_site(GPUS))
    site = kept.site
    await _hours(opened, kept, 0, HOURS * 3600)
    history = History(site, kept, START, START + timedelta(hours=HOURS), 60.0)  # type: ignore[arg-type]
    fits = propose(history, Params())
    by_name = {one.name: one for one in fits}
    assert {"node", "loss of ups", "loss of pdu", "pump", "fans", "exchanger", "flow share", "liquid share"} <= set(by_name)
    assert by_name["node"].sound
    assert by_name["node"].present.nmbe_frac < -0.04, "too high before"
    assert abs(by_name["node"].validate.nmbe_frac) < 0.01
    entry = json.loads(json.dumps(entry_of(fits, (history.start, history.end), history.end, "test")))
    better = in_force(site, Params(), [entry])
    off: dict[str, list[float]] = {"before": [], "after": [], "inside": []}
    for minute in range(15, 195, 15):
        now = history.end + timedelta(minutes=minute)
        frames = await polled(opened, now)
        state, whole = State(site), State(site)
        for frame in _silenced(frames):
            state.absorb(frame, now)
        for frame in frames:
            whole.absorb(frame, now)
        truth = float(solve(site, whole, Params(), now).metered.it.value[0])
        for name, params in (("before", Params()), ("after", better)):
            model = reconciled(site, state, params, now, solve(site, state, params, now))
            off[name].append(model.totals.it_w / truth - 1)
        off["inside"].append(abs(model.totals.it_w - truth) <= Z80 * uncertainty(model, better)["it_power_w"])
    before, after = (np.array(off[name]) for name in ("before", "after"))
    assert before.mean() > 0.04
    assert abs(after.mean()) < 0.01
    assert np.sqrt((after**2).mean()) < 0.25 * np.sqrt((before**2).mean())
    assert 0.6 <= np.mean(off["inside"]) <= 1.0


# --- adopting


def _fits() -> list[Fit]:
    rng = np.random.Generator(np.random.PCG64(3))
    x = rng.uniform(1, 3, 300)
    flow, house = 9 * x + 0.1 * rng.normal(size=300), 7.0 + 0.1 * rng.normal(size=300)
    return [
        fit("flow", "h1-a-cdu1", [Knob("flow_per_speed_kgps", 5.0, 0, 99)], record(flow, x)),
        fit("house", "", [Knob("house_w", 0.0, 0, 1e9)], record(house, np.ones(300))),
    ]


def test_adoption_is_kept_with_where_it_comes_from_and_is_taken_back_whole(tmp_path: Path) -> None:
    site, path = hall_site(64), tmp_path / "calibration.json"
    assert load_adoptions(path) == []
    save_adoptions(path, [entry_of(_fits(), (START, START), START, "someone")])
    (entry,) = load_adoptions(path)
    assert (entry["by"], entry["undone"], len(entry["fits"])) == ("someone", None, 2)
    params = in_force(site, Params(), [entry])
    assert params.house_w == pytest.approx(7, rel=0.02)
    assert params.learned.column(site, "cdu:flow_per_speed_kgps", np.nan)[0] == pytest.approx(9, rel=0.01)
    entries, undone = undo([entry], START)
    assert undone is not None
    assert undone["undone"] == START.isoformat()
    bare = in_force(site, Params(), entries)
    assert not bare.learned.columns
    assert bare.house_w == 0
    assert undo(entries, START)[1] is None
    save_adoptions(path, [entry] * (MOST_ADOPTIONS + 5))
    assert len(load_adoptions(path)) == MOST_ADOPTIONS
    undone = [{**entry, "undone": str(i)} for i in range(MOST_ADOPTIONS)]
    save_adoptions(path, [{**entry, "by": "in force"}, *undone])
    assert [one["undone"] for one in load_adoptions(path)][:2] == [None, "1"], "what is in force stays, the oldest undone goes"


_UNKNOWN = {"name": "spin", "asset": "", "values": [], "sound": True}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "no calibration of format 1"),
        ('{"format": 9, "adoptions": []}', "no calibration of format 1"),
        (json.dumps({"format": 1, "adoptions": [{"fits": [_UNKNOWN]}]}), "no fit is called 'spin'"),
    ],
)
def test_a_file_that_is_not_ours_is_one_clear_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        in_force(hall_site(64), Params(), load_adoptions(path), str(path))
