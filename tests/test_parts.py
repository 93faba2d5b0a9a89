"""Parts that wear out or are wired wrongly, as the live detectors see them: swapped sensors, power supplies, batteries, disks;
what is worked on, and what outcomes teach."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator
from watching import START, Told, hall, smart

from analytics.detect import disk_health, lives, outcomes, survival
from analytics.detect.batteries import END_FRAC, PEUKERT, Batteries
from analytics.detect.resting import worked_on
from analytics.detect.swapped import Swaps
from analytics.detect.told import QUESTIONS
from analytics.finding import record_of
from analytics.oncall.silence import Quiet, make_silence
from ingest.stores.records import open_records
from twin.state import State

DAY_S = 86400.0


def racks_at_work(told: Told, steps: int, swap: bool) -> None:
    rng = Generator(PCG64(1))
    n = told.site.count("rack")
    load = np.full(n, 4e4)
    for _ in range(steps):
        load = np.clip(load * np.exp(rng.normal(0, 0.05, n)), 1e4, 9e4)
        meter = load * np.exp(rng.normal(0, 0.003, n))
        if swap:
            meter[[1, 4]] = meter[[4, 1]]
        told.step(30, node={"power_w": load}, rack={"power_w": meter})


def test_two_meters_that_are_swapped_name_each_other_and_are_no_drift() -> None:
    told = Told(hall())
    racks_at_work(told, 120, swap=False)
    assert told.found == {}
    racks_at_work(told, 90, swap=True)
    swapped = {asset: f for (question, asset), f in told.found.items() if question == "sensor_swapped"}
    assert set(swapped) == {"r1", "r4"}
    assert "is that of r4" in str(swapped["r1"].summary)
    assert not [key for key in told.found if key[0] == "rack_power"]


def test_a_meter_that_drifts_is_no_swap() -> None:
    rng = Generator(PCG64(2))
    swaps, load = Swaps(5, 0.03), np.zeros(5)
    for i in range(200):
        load = load + rng.normal(0, 0.05, 5)
        drift = np.array([0.0, 0.002 * i, 0.0, -0.002 * i, 0.0])
        times, _ = swaps.update(load + drift + rng.normal(0, 0.003, 5), load)
    assert times.max() < 2.5


def test_a_power_supply_that_predicts_its_failure_is_found_before_it_fails() -> None:
    told = Told(hall())
    for code in (0.0, 0.0, 1.0, 1.0, 1.0):
        told.step(60, node={"psu_code": np.array([0, code, 0, 0, 0, 0.0])})
    finding = told.found["psu", "n1"]
    assert "predicts its failure" in str(finding.summary)
    assert finding.lead_s > DAY_S
    assert [key for key in told.found if key[0] == "psu"] == [("psu", "n1")]


@given(st.floats(0.55, 0.98), st.floats(1e5, 8e5), st.floats(1e5, 8e5))
def test_capacity_is_read_from_runtime_whatever_the_load(left: float, first_w: float, then_w: float) -> None:
    batteries, one = Batteries(1), np.ones(1)
    for i in range(200):
        capacity, load_w = (1.0, first_w) if i < 40 else (left, then_w)
        runtime_s = capacity * 600.0 * (5e5 / load_w) ** PEUKERT
        seen = batteries.update(runtime_s * one, load_w * one, one, 25 * one)
    assert seen[0] == pytest.approx(left, abs=0.01)


def test_a_battery_that_fades_is_found_with_the_time_that_is_left_and_heat_shortens_it() -> None:
    told, lead_s = Told(hall()), {}
    for temp_c in (25.0, 41.6):
        for i in range(260):
            capacity = 1.0 - 0.17 * min(1.0, max(0, i - 40) / 100)
            ups = {"battery_runtime_s": 600 * capacity, "power_w": 4e5, "charge_frac": 1.0, "battery_temp_c": temp_c}
            told.step(60, ups={name: np.array([value]) for name, value in ups.items()})
        finding = told.found["ups_battery", "u"]
        assert "83 %" in str(finding.summary)
        lead_s[temp_c] = finding.lead_s
    assert lead_s[25.0] == pytest.approx((0.83 - END_FRAC) / 0.2 * 5 * 365.25 * DAY_S, rel=0.1)
    assert lead_s[41.6] == pytest.approx(lead_s[25.0] / 4, rel=0.1)  # 2 x 8.3 K above


def test_disks_are_judged_by_their_counts_and_by_what_they_say_of_themselves() -> None:
    told = Told(hall())
    told.step(60, disk=smart())
    assert told.found == {}
    told.step(600, disk=smart(pending_count=(2, 24.0), reallocated_count=(2, 60.0), failing_flag=(5, 1.0)))
    assert set(told.found) == {("disk_hazard", "d2"), ("disk_hazard", "d5")}
    finding = told.found["disk_hazard", "d2"]
    assert "reallocated 60" in str(finding.summary)
    assert finding.lead_s == 13.5 * DAY_S
    assert 0 < finding.confidence < 0.5
    assert "Copy" in str(finding.action)
    assert "health check" in str(told.found["disk_hazard", "d5"].summary)


def test_what_a_disk_did_is_not_held_against_the_one_that_replaced_it() -> None:
    told, dying = Told(hall()), ("reallocated_count", "reported_uncorrected_count", "command_timeout_count")
    for errors in (0.0, 100.0, 400.0):
        told.step(600, disk=smart(**dict.fromkeys(dying, (2, errors))))
    told.step(600)
    assert set(told.found) == {("disk_hazard", "d2")}  # not read for a while: nothing is over
    told.step(600, disk=smart(powered_on_s=(2, 60.0)))
    assert told.found == {}
    told.step(600, disk=smart(powered_on_s=(2, 660.0), **dict.fromkeys(dying, (2, 400.0))))
    assert set(told.found) == {("disk_hazard", "d2")}


@given(st.sampled_from(sorted(disk_health.COUNTS)), st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_of_a_count_never_lowers_a_hazard(name: str, count: int, more: int) -> None:
    none = {each: np.zeros(2) for each in disk_health.COUNTS}
    judged = disk_health.judge(none | {name: np.array([float(count), float(count + more)])}, none, *np.zeros((3, 2)))
    assert judged.hazard[0] <= judged.hazard[1] < 1


def test_a_disk_that_says_nothing_has_no_hazard() -> None:
    silent = {name: np.full(1, np.nan) for name in disk_health.COUNTS}
    assert np.isnan(disk_health.judge(silent, silent, *np.full((3, 1), np.nan)).hazard).all()


# --- what is worked on


def test_what_is_in_maintenance_is_not_found_teaches_nothing_and_is_watched_again() -> None:
    told = Told(hall())
    now_s = START.timestamp()
    window = make_silence("m", ["rack=r1"], "plan", "recabling", now_s, now_s + DAY_S, Quiet.MAINTENANCE)
    said = make_silence("s", ["rack=r2"], "ann", "too loud", now_s, now_s + DAY_S)
    broken = {"node": {"psu_code": np.array([0, 2, 2, 0, 0, 0.0])}}
    told.resting = worked_on(told.site, [window, said], now_s)
    assert {kind: np.flatnonzero(rows).tolist() for kind, rows in told.resting.items()} == {
        "rack": [1],
        "node": [1],
        "disk": [1],
    }
    for _ in range(4):
        told.step(60, **broken)
    assert set(told.found) == {("psu", "n2")}  # a silence keeps a page quiet, not a finding
    told.resting = worked_on(told.site, [window], now_s + 2 * DAY_S)
    for _ in range(4):
        told.step(60, **broken)
    assert set(told.found) == {("psu", "n1"), ("psu", "n2")}


# --- what outcomes teach


def test_an_xid_that_was_mostly_a_false_alarm_weighs_less_and_lead_is_measured(tmp_path: Path) -> None:
    records = open_records(tmp_path / "records.db")
    told = Told(hall())
    told.step(60, disk=smart(failing_flag=(0, 1.0)))
    finding = told.found["disk_hazard", "d0"]
    records.append("finding", told.now, {"phase": "began", **record_of(finding)})
    for _ in range(5):
        outcomes.note(records, finding.key, "replaced", told.now + timedelta(days=3))
    for code, verdict in ((48, "replaced"), (13, "false_alarm")):
        key = f"gpu_hazard:g{code}:xid_code"
        began = {"phase": "began", "key": key, "since": START.isoformat(), "summary": {"params": {"code": code}}}
        records.append("finding", told.now, began)
        for _ in range(30):
            outcomes.note(records, key, verdict, told.now)
    learnt = outcomes.read(records)
    records.close()
    assert learnt.lead_s["disk_hazard"] == pytest.approx(3 * DAY_S, abs=120)
    assert learnt.shift[13] < -1 < 1 < learnt.shift[48]
    assert abs(learnt.shift[13]) <= outcomes.MOST_SHIFT
    assert len(learnt.replaced) == 35
    assert {(one.asset, one.model, one.age_s) for one in learnt.replaced if one.asset == "d0"} == {("d0", "B", 2e7)}


def test_an_outcome_is_that_of_the_newest_finding_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, key = open_records(tmp_path / "records.db"), "gpu_hazard:g1:xid_code"
    monkeypatch.setattr(outcomes, "_LOOKED_AT", 2)
    for day, code in ((0, 13), (100, 31), (200, 79)):
        since = START + timedelta(days=day)
        params = {"code": code, "age_s": day * DAY_S, "model": "H100"}
        records.append(
            "finding", since, {"phase": "began", "key": key, "since": since.isoformat(), "summary": {"params": params}}
        )
    outcomes.note(records, key, "replaced", START + timedelta(days=200, hours=2))
    noted = records.read("outcome")[0][2]
    outcomes.note(records, "psu:n1:psu_code", "repaired", START + timedelta(days=201))
    monkeypatch.setattr(outcomes, "KEPT", 1)
    assert outcomes.read(records).true == {"psu": 1}, "what is learnt from is the newest"
    records.close()
    assert (noted["code"], noted["age_s"]) == (79, 200 * DAY_S)
    assert noted["noted_s"] - noted["began_s"] == 7200


def test_what_replaced_a_lemon_is_none_and_a_record_that_cannot_be_read_is_left_out() -> None:
    verdicts = ("drained", "reset", "replaced", "drained")
    told = [{"key": "gpu_hazard:g1:xid_code", "verdict": one, "code": "48"} for one in verdicts]
    assert outcomes.learn(told[:2]).excluded == {"g1": 2}
    learnt = outcomes.learn(told)
    assert learnt.excluded == {"g1": 1}
    assert learnt.shift == {}  # a code that is no number


def test_each_question_begins_with_what_its_author_believes() -> None:
    assert set(outcomes.PRIOR) == set(QUESTIONS)


def test_a_question_that_cries_wolf_gets_a_higher_limit_and_never_more_than_double() -> None:
    wrong = [{"key": f"straggler:g{i}:sm_clock_hz", "verdict": "false_alarm"} for i in range(200)]
    assert outcomes.learn(wrong[:4]).stricter("straggler") == 1.0
    assert 1.0 < outcomes.learn(wrong[:40]).stricter("straggler") < outcomes.learn(wrong).stricter("straggler") <= 2.0
    assert outcomes.learn([{**one, "verdict": "confirmed"} for one in wrong]).stricter("straggler") == 1.0


def test_limits_leads_and_weights_are_counted_as_by_hand() -> None:
    """Twenty wrong ones beside 8 and 2 leave 8 of 30 right; ten right ones beside 5 and 5 have odds of 3. A lead is measured of
    those that were true and had begun."""

    def told(question: str, verdict: str, count: int, **more: float) -> list[dict[str, object]]:
        return [{"key": f"{question}:g1:x", "verdict": verdict, **more} for _ in range(count)]

    assert outcomes.learn(told("straggler", "false_alarm", 20)).stricter("straggler") == pytest.approx(2 - 2 * 8 / 30)
    assert outcomes.learn(told("gpu_hazard", "false_alarm", 5)).stricter("gpu_hazard") == pytest.approx(1 + 1 / 3)
    codes = [("reset", 10, 48), ("false_alarm", 10, 13), ("reset", 1000, 79)]
    shift = outcomes.learn([one for verdict, n, code in codes for one in told("gpu_hazard", verdict, n, code=code)]).shift
    assert shift == pytest.approx({48: np.log(3), 13: -np.log(3), 79: outcomes.MOST_SHIFT})
    assert outcomes.learn(told("disk_hazard", "replaced", 9, code=48)).shift == {}
    true = [one for noted_s in (100, 200, 300, 400, 1e6) for one in told("psu", "replaced", 1, began_s=50, noted_s=noted_s)]
    other = [*told("psu", "false_alarm", 9, began_s=0, noted_s=9e9), *told("psu", "repaired", 9, began_s=50, noted_s=40)]
    learnt = outcomes.learn([*other, *told("psu", "replaced", 1), *reversed(true), {"key": "psu:n1", "verdict": "replaced"}])
    assert learnt.lead_s == {"psu": 250.0}
    assert [one.at_s for one in learnt.replaced] == [100, 200, 300, 400, 1e6], "of one no day is known, of one no asset"
    assert outcomes.learn([*other, *true[1:]]).lead_s == {}
    assert (learnt.true["psu"], learnt.false["psu"]) == (15, 9)


def test_baselines_find_the_wear_and_the_bad_model_again_that_lives_were_made_with() -> None:
    rng = Generator(PCG64(4))
    n, year_s = 6000, 365.25 * DAY_S
    models = np.where(rng.random(n) < 0.3, "bad", "good")
    life_s = 8 * year_s * rng.weibull(2.0, n) / np.where(models == "bad", 3.0, 1.0) ** 0.5  # hazard thrice as high
    entry_s = rng.uniform(0, 3, n) * year_s
    end_s = np.minimum(life_s, entry_s + 2 * year_s)
    lived = life_s > entry_s
    made = survival.fit(entry_s[lived], end_s[lived], (life_s <= entry_s + 2 * year_s)[lived], models[lived].tolist())
    assert made is not None
    assert made.factor["bad"] / made.factor["good"] == pytest.approx(3.0, rel=0.15)
    young, old = made.chance(np.array([1.0, 4.0]) * year_s, ["good", "good"], 30 * DAY_S)
    assert old / young == pytest.approx(4.0, rel=0.3)  # a Weibull hazard of shape 2 rises with age
    assert young == pytest.approx(2 / 8**2 * 30 / 365.25, rel=0.25)
    assert made.chance(np.array([np.nan]), ["never seen"], 30 * DAY_S)[0] > 0


def test_a_model_with_three_failures_says_little_and_too_few_failures_nothing() -> None:
    entry, end, failed = np.zeros(400), np.full(400, 1e7), np.arange(400) % 16 == 0
    models = ["new" if i < 3 else "old" for i in range(400)]
    failed[:3] = True
    made = survival.fit(entry, end + np.arange(400), failed, models)
    assert made is not None
    assert 1.0 < made.factor["new"] < 2.0
    assert survival.fit(entry, end, np.arange(400) < survival.LEAST_FAILURES - 1, models) is None
    entry[1:], end[0] = 1e6, 1e5
    alone = survival.fit(entry, end, np.arange(400) < survival.LEAST_FAILURES, models)
    assert alone is not None
    assert alone.hazard[1] == 1 / survival.LEAST_FAILURES, "one that fails where no other is seen does not decide for all"


def test_the_chance_of_a_failure_is_that_of_its_age_and_of_its_model() -> None:
    """A cumulative hazard that grows by 0.1, 0.2 and 0.3 in the first, second and third year; and one known for 100 days."""
    year_s = 365.0 * DAY_S
    known = survival.Baseline(np.arange(4) * year_s, np.array([0.0, 0.1, 0.3, 0.6]), {"bad": 3.0}, 99)
    ages, models = np.array([0.0, 0.5, 1.0, 9.0, np.nan, 0.5]), [*["new"] * 5, "bad"]
    rates = np.array([0.1, 0.1, 0.15, 0.3, 0.2, 0.3])
    assert known.chance(ages * year_s, models, year_s) == pytest.approx(1 - np.exp(-rates))
    short = survival.Baseline(np.array([0.0, 100.0]) * DAY_S, np.array([0.0, 0.1]), {}, 99)
    assert short.chance(np.array([50.0 * DAY_S]), ["new"], 10 * DAY_S) == pytest.approx([1 - np.exp(-0.01)])


def test_the_centre_learns_lives_from_its_inventory_and_its_outcome_log() -> None:
    site = hall(60)
    state = State(site)
    # every second one is of model A; the inventory does not know of the change, the outcome log knows some ages
    replaced = [
        outcomes.Replaced(
            f"d{i}", (START - timedelta(days=i)).timestamp(), 8e7 if i % 4 == 1 else np.nan, "A" if i % 4 == 1 else ""
        )
        for i in range(59, 0, -2)
    ]
    made = lives.learn(site, state, replaced, START)
    assert set(made) == {"disk"}
    assert made["disk"].failures == len(replaced) - 1  # with the first, watching begins
    assert made["disk"].factor["A"] > 1.5 > 0.8 > made["disk"].factor["B"]
    assert lives.learn(site, state, replaced[:5], START) == {}


def test_a_battery_ages_twice_as_fast_at_8_3_k_more_and_lasts_by_peukert() -> None:
    """IEEE Std 1188-2005: half the life at 33.3 °C, and no more than the whole at 15 °C; five years take 20 %, so a tenth lasts
    two and a half. At twice the load a battery as good as new runs for 2^1.2 times less; at 80 % of that it is at its end."""
    ups = Batteries(4)
    temp_c, charge = np.array([25.0, 33.3, 15.0, np.nan]), np.ones(4)
    for _ in range(60):
        ups.update(np.full(4, 600.0), np.full(4, 1e5), charge, temp_c)
    years = [ups.lead_s(0.9, row, END_FRAC) / (365.25 * 86400) for row in range(4)]
    assert years == pytest.approx([2.5, 1.25, 2.5, 2.5])
    assert ups.lead_s(0.7, 0, END_FRAC) == 0
    for _ in range(600):
        left = ups.update(600.0 * np.array([1.0, 1.0, 0.8, 0.8]) / 2**1.2, np.full(4, 2e5), charge, temp_c)
    assert left == pytest.approx([1.0, 1.0, 0.8, 0.8], rel=1e-6)
    assert np.isfinite(ups.update(np.full(4, 1.0), np.full(4, 1e5), 0.96 * charge, temp_c)).all()
    assert ups.update(np.full(4, 1.0), np.full(4, 1e5), 0.96 * charge, temp_c) == pytest.approx(left), "not full: not compared"


def test_a_life_is_seen_from_the_first_note_on_and_begins_anew_with_each_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noted from 30 days ago on, when disks of 2024-01-31 were 975 days old. ``d1`` was replaced 20 and 5 days ago, ``d2`` 10
    days ago by a record that knows it better, the young one before the day of the inventory, the nameless one has no day."""
    more = [
        {"id": name, "kind": "disk", "parent": "n0", "installed": day} for name, day in (("young", "2026-10-30"), ("old", ""))
    ]
    site, told = hall(30, *more), list[tuple[object, ...]]()
    unknown = [("d0", 30), ("d1", 20), ("d1", 5), ("d3", 20), ("young", 5), ("old", 5), *((f"d{i}", 1) for i in range(10, 26))]
    replaced = [outcomes.Replaced(one, (START - timedelta(days=ago)).timestamp(), np.nan, "") for one, ago in unknown]
    for one, ago, age in (("d2", 10, 3000), ("d3", 5, 100)):
        replaced.append(outcomes.Replaced(one, (START - timedelta(days=ago)).timestamp(), age * DAY_S, "C"))
    replaced.sort(key=lambda one: one.at_s)

    def fit(entry_s: np.ndarray, exit_s: np.ndarray, failed: np.ndarray, models: tuple[str, ...]) -> None:
        told.extend(zip((entry_s / DAY_S).round(3), (exit_s / DAY_S).round(3), failed.tolist(), models, strict=True))

    monkeypatch.setattr(survival, "fit", fit)
    lives.learn(site, State(site), replaced, START)
    ended, living = [one for one in told if one[2]], [one for one in told if not one[2]]
    first, second = (975.0, 975.0, True, "B"), [(975.0, 985.0, True, "A"), (0.0, 15.0, True, "A")]
    used = (85.0, 100.0, True, "C")  # d3 was put in 15 days before, and had run elsewhere
    assert {first, *second, (2980.0, 3000.0, True, "C"), used} <= set(ended)
    assert len(ended) == 6 + 16, "neither of which no age is known, nor one that went before it came"
    assert {one[:2] for one in living} == {(975.0, 1005.0), (0.0, 1.0), (0.0, 2.0), (0.0, 5.0), (0.0, 10.0), (0.0, 30.0)}
    assert len(living) == 32
    young, old = ([one for one in living if one[1] == days] for days in (2.0, 5.0))
    assert (len(young), len(old)) == (1, 3), "the old one counts from its replacement, as d1 and d3 do"


def test_capacity_is_a_mean_of_thirty_looks_beside_the_best_that_it_ever_was() -> None:
    """By hand: of a hundred looks at 600 s one at 240 s takes a thirtieth; the best is not asked before twenty were seen, and
    counts also from before this process began."""

    def looked(*runtimes_s: float) -> tuple[Batteries, float]:
        ups = Batteries(1)
        for runtime_s in runtimes_s:
            left = ups.update(np.array([runtime_s]), np.full(1, 1e5), np.ones(1), np.full(1, 25.0))
        return ups, float(left[0])

    assert looked(*[600.0] * 100, 240.0)[1] == pytest.approx(1 - 0.6 / 30)
    assert looked(*[600.0] * 20, 240.0)[1] == pytest.approx(1 - 0.6 / 21), "a mean of all as long as there are fewer"
    assert np.isnan(looked(*[600.0] * 19)[1])
    assert looked(*[600.0] * 20)[1] == 1.0
    assert looked(6000.0, *[600.0] * 19)[1] == 1.0, "one wild look at first is no best"
    assert looked(*[600.0] * 30, 0.0, 0.0)[1] == pytest.approx(1.0), "no runtime is no look"
    for before_s, left in ((1200.0, 0.5), (300.0, 1.0)):
        ups, _ = looked(*[600.0] * 30)
        ups.precede(looked(*[before_s] * 30)[0])
        assert ups.update(np.full(1, 600.0), np.full(1, 1e5), np.ones(1), np.full(1, 25.0))[0] == pytest.approx(left)
    faded, seen = looked(*[600.0] * 30, *[300.0] * 300)
    faded.precede(looked(*[300.0] * 30)[0])
    assert faded.update(np.full(1, 300.0), np.full(1, 1e5), np.ones(1), np.full(1, 25.0))[0] == pytest.approx(seen, abs=1e-3)
    assert seen == pytest.approx(0.5, abs=1e-3)
