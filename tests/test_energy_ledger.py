"""The ledger finds a saving that was put in, finds none where none was, shows losses, and never counts an hour twice."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from energy_house import SETPOINT, MemoryRecords, MemoryStore, Physics, a_plan, hall, read

from energy.act import Desk
from energy.ledger import MIN_SAMPLES, book, fit_baseline, measure, summary
from energy.plan import Mode, Refusal, Verdict
from twin.frame import Frame, Origin
from twin.message import Message
from twin.ports import Action

NOW = datetime(2026, 7, 8, 0, tzinfo=UTC)
START = NOW - timedelta(days=7)
SITE = hall()


def centre(rng: np.random.Generator, saved_w: float = 0.0, leak_w: float = 0.0, hours: int = 4) -> MemoryStore:
    """Eight days of a 1 MW centre, each minute: facility = 1.05 IT + 4 kW/K of wet bulb + noise that lasts; from ``NOW`` for
    ``hours`` the plant saves ``saved_w`` while IT draws ``leak_w`` more."""
    n = 8 * 1440
    hour = np.arange(n) / 60
    it_w = 1e6 + 1.5e5 * np.sin(2 * np.pi * hour / 24) + 4e4 * np.sin(2 * np.pi * hour / 5.3)
    wet_c = 18 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + 2 * np.sin(2 * np.pi * hour / 91)
    noise = np.zeros(n // 15)
    for i in range(1, len(noise)):
        noise[i] = 0.8 * noise[i - 1] + rng.normal(0, 1500)
    facility_w = 1.05 * it_w + 4000 * wet_c + np.repeat(noise, 15)
    acted = (hour >= 7 * 24) & (hour < 7 * 24 + hours)
    it_w = it_w + leak_w * acted
    facility_w = facility_w + acted * (1.05 * leak_w - saved_w)
    store = MemoryStore()
    store.put("site", "it_power_w", START, 60, it_w)
    store.put("site", "facility_power_w", START, 60, facility_w)
    store.put("weather", "wet_bulb_c", START, 3600, wet_c[::60])
    return store


def test_the_baseline_finds_the_coefficients_that_made_the_data() -> None:
    rng = np.random.default_rng(1)
    it_w, wet_c = rng.uniform(5e5, 1.5e6, 500), rng.uniform(0, 28, 500)
    fit = fit_baseline(it_w, wet_c, 3e4 + 1.08 * it_w + 2500 * wet_c + rng.normal(0, 500, 500))
    assert fit is not None
    np.testing.assert_allclose(fit.coefficients, [3e4, 1.08, 2500], rtol=0.02)
    assert fit.residual_w == pytest.approx(500, rel=0.15)
    expected_w, error_w = fit.expected(np.array([1e6, 1.2e6]), np.array([10.0, 20.0]))
    assert expected_w == pytest.approx(3e4 + 1.08 * 1.1e6 + 2500 * 15, abs=4 * error_w)


def test_a_constant_column_or_too_few_samples_do_not_fool_it() -> None:
    rng = np.random.default_rng(2)
    it_w = rng.uniform(5e5, 1.5e6, 200)
    still = fit_baseline(it_w, np.full(200, 20.0), 1.1 * it_w)
    assert still is not None
    assert still.expected(it_w, np.full(200, 20.0))[0] == pytest.approx(1.1 * it_w.mean(), rel=1e-6)
    few = slice(0, MIN_SAMPLES - 1)
    assert fit_baseline(it_w[few], it_w[few], it_w[few]) is None


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """40 seeded centres, 10 kW saved: the 80 % interval holds it in 65-95 %."""
    window = (NOW, NOW + timedelta(hours=4))
    found = [measure(centre(np.random.default_rng(seed), 10e3), window, [window]) for seed in range(40)]
    hits = sum(m.low_w <= -10e3 <= m.high_w for m in found if m)
    assert len([m for m in found if m]) == 40
    assert 26 <= hits <= 38
    assert np.mean([m.change_w for m in found if m]) == pytest.approx(-10e3, abs=700)


def test_leakage_is_not_taken_for_load() -> None:
    """A warmer setpoint that saves 40 kW in the plant and costs 60 kW of leakage is a loss, although PUE falls. Judged by IT
    power alone it would look like a saving: the trap that the ledger's correction is for."""
    store = centre(np.random.default_rng(3), saved_w=40e3, leak_w=60e3)
    window = (NOW, NOW + timedelta(hours=4))
    naive, honest = measure(store, window, [window]), measure(store, window, [window], it_shift_w=60e3)
    assert naive is not None
    assert honest is not None
    assert naive.high_w < 0
    assert honest.change_w == pytest.approx(1.05 * 60e3 - 40e3, abs=5000)


def test_a_window_without_data_is_not_judged() -> None:
    store = centre(np.random.default_rng(4))
    assert measure(store, (NOW + timedelta(days=2), NOW + timedelta(days=2, hours=1)), []) is None
    assert measure(store, (START, START + timedelta(hours=4)), []) is None


@dataclass
class Obeys:
    async def apply(self, action: Action, now: datetime) -> Frame:
        row = np.array([SITE.row(action.asset)], dtype=np.int32)
        return Frame("cdu", now, row, {SETPOINT: np.array([action.value])}, Origin.COMMANDED)


def carried_out(records: MemoryRecords, mode: Mode = Mode.AUTO) -> None:
    """A plan at ``NOW`` and, in its place, a second one an hour later; both end two hours after the second."""
    d = Desk(SITE, records, {"c1": Obeys()}, NOW)
    for hours, aim in ((0, 31.0), (1, 32.0)):
        now = NOW + timedelta(hours=hours)
        plan = a_plan(("c1", aim), now=now, key=f"p{hours}")
        asyncio.run(d.decide(plan, Verdict(plan.key, ()), mode, read(SITE, Physics(), 24.0, aim - 1, now), now))
    for minute in range(2):
        asyncio.run(d.revert_due(read(SITE, Physics(), 24.0, 32.0, NOW), NOW + timedelta(hours=3, minutes=minute)))


def test_the_books_show_wins_and_losses_once_each() -> None:
    records, store = MemoryRecords(), centre(np.random.default_rng(5), saved_w=15e3, hours=4)
    carried_out(records)
    later = NOW + timedelta(hours=5)
    entries = book(records, store, later)
    assert [(e["entry"], e["plan"], e["note"]) for e in entries] == [
        ("expected", "p0", "carried out"),
        ("measured", "p0", "saved"),
        ("expected", "p1", "carried out"),
        ("measured", "p1", "saved"),
    ]
    assert [(e["start"], e["end"]) for e in entries if e["entry"] == "measured"] == [
        (NOW.isoformat(), (NOW + timedelta(hours=1)).isoformat()),  # until the second took over
        ((NOW + timedelta(hours=1)).isoformat(), (NOW + timedelta(hours=3, minutes=1)).isoformat()),
    ]
    # the second is judged with what it took over: 2 K in force, of which 1 K was its own
    assert [e["expected_w"] for e in entries if e["entry"] == "measured"] == [-1000.0, -2000.0]
    assert book(records, store, later + timedelta(minutes=15)) == []
    s = summary(records, NOW, later + timedelta(hours=1))
    assert (s.advised, s.carried_out, s.saved, s.lost, s.undecided, s.not_judged) == (0, 2, 2, 0, 0, 0)
    assert s.low_kwh < s.change_kwh < s.high_kwh < 0
    assert s.change_kwh == pytest.approx(-15 * 3, rel=0.35)
    worse = MemoryRecords()
    carried_out(worse)
    book(worse, centre(np.random.default_rng(5), saved_w=-15e3), later)
    s = summary(worse, NOW, later + timedelta(hours=1))
    assert (s.saved, s.lost) == (0, 2)
    assert s.change_kwh > 0


def test_however_much_else_is_in_the_ledger_nothing_is_entered_twice() -> None:
    """A day of 20,000 moved jobs, and four orders to each GPU of a large centre, since the plan was booked."""
    records, store = MemoryRecords(), centre(np.random.default_rng(5), saved_w=15e3)
    carried_out(records)
    later = NOW + timedelta(hours=5)
    assert len(book(records, store, later)) == 4
    count = len(records.all)
    job, cap = {"entry": "job", "queue": "q", "job": "1", "plan": "", "start_s": 0.0}, {"stage": "done", "plan": "cap"}
    records.all += [(count + k, "ledger", later, job) for k in range(1, 20_002)]
    records.all += [(count + 20_001 + k, "audit", later, cap) for k in range(1, 20_002)]
    assert book(records, store, later + timedelta(minutes=15)) == []
    assert summary(records, NOW, later + timedelta(hours=1)).carried_out == 2
    # an entry that an older release wrote twice counts once
    was = summary(records, NOW, later + timedelta(hours=1))
    again = [one for one in records.all if one[1] == "ledger" and one[3]["entry"] == "measured"]
    records.all += [(len(records.all) + k, topic, time, one) for k, (_, topic, time, one) in enumerate(again, 1)]
    assert summary(records, NOW, later + timedelta(hours=1)) == was


def test_plans_in_force_together_are_expected_together() -> None:
    records, store = MemoryRecords(), centre(np.random.default_rng(5), saved_w=15e3)
    d = Desk(SITE, records, {"c1": Obeys(), "c2": Obeys()}, NOW)
    for hours, asset in ((0, "c1"), (1, "c2")):
        now = NOW + timedelta(hours=hours)
        plan = a_plan((asset, 31.0), now=now, key=asset)
        asyncio.run(d.decide(plan, Verdict(plan.key, ()), Mode.AUTO, read(SITE, Physics(), 24.0, 30.0, now), now))
    asyncio.run(d.revert_due(read(SITE, Physics(), 24.0, 31.0, NOW), NOW + timedelta(hours=3)))
    measured = [e for e in book(records, store, NOW + timedelta(hours=4)) if e["entry"] == "measured"]
    assert [e["expected_w"] for e in measured] == [-1000.0, -2000.0]


def test_a_refused_plan_is_in_the_books_as_refused() -> None:
    records = MemoryRecords()
    plan, verdict = a_plan(("c1", 31.0)), Verdict("p1", (Refusal("stop", Message("stopped")),))
    seen = read(SITE, Physics(), 24.0, 30.0, NOW)
    asyncio.run(Desk(SITE, records, {}, NOW).decide(plan, verdict, Mode.AUTO, seen, NOW))
    entries = book(records, MemoryStore(), NOW + timedelta(hours=1))
    assert [(e["entry"], e["note"]) for e in entries] == [("refused", "not carried out: the guard refused")]
    s = summary(records, NOW, NOW + timedelta(hours=2))
    assert (s.refused, s.advised, s.carried_out) == (1, 0, 0)


def test_advice_is_noted_as_not_carried_out() -> None:
    records = MemoryRecords()
    carried_out(records, Mode.ADVISE)
    entries = book(records, centre(np.random.default_rng(6)), NOW + timedelta(hours=5))
    assert [(e["entry"], e["note"], e["effect_w"]) for e in entries] == [("advised", "not carried out", -1000.0)] * 2
    s = summary(records, NOW, NOW + timedelta(hours=6))
    assert (s.advised, s.carried_out, s.change_kwh) == (2, 0, 0)


def test_days_with_something_in_force_do_not_become_the_baseline() -> None:
    """Two days before, the same lever saved 30 kW for two days: taken for normal, they would hide part of today's saving."""
    store = centre(np.random.default_rng(7), saved_w=30e3)
    time_s, facility_w = store.data["site", "facility_power_w"]
    before = (NOW - timedelta(days=4), NOW - timedelta(days=1))
    facility_w[(time_s >= before[0].timestamp()) & (time_s < before[1].timestamp())] -= 30e3
    window = (NOW, NOW + timedelta(hours=4))
    honest, fooled = measure(store, window, [before, window]), measure(store, window, [window])
    assert honest is not None
    assert fooled is not None
    assert honest.change_w == pytest.approx(-30e3, abs=5e3)
    assert fooled.change_w > -22e3
