"""What a plan owes beside its slots: the peak, power limits, and tenants who wait alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.shift import Work
from energy.shift.bench_work import random_work
from energy.shift.decompose import decompose
from energy.shift.fair import FAIR_RATIO, solve_fair, waits
from energy.shift.offline import Terms, plan_file
from energy.shift.peak import Peak, solve_peak, waiting_at_most
from twin.errors import ConfigError


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(0.2, 1.4), st.floats(0.3, 1.2))
def test_no_plan_draws_more_than_its_limit(seed: int, jobs: int, load_frac: float, tight: float) -> None:
    work, price, capacity = random_work(np.random.default_rng(seed), jobs, 60, load_frac)
    limit_w = np.full(60, max(tight * float(work.power_w @ work.length) / 60, float(work.power_w.max())))
    made = decompose(work, price, capacity, limit_w)
    assert (work.power_w @ made.running <= limit_w * (1 + 1e-9)).all()
    assert (work.gpus @ made.running <= capacity + 1e-9).all()
    assert (made.running.sum(axis=1) == np.where(made.unplaced, 0, work.length)).all()
    if not made.late.any():
        assert made.cost >= made.bound - 1e-6 * abs(made.bound)


def test_a_power_limit_that_never_binds_changes_nothing() -> None:
    work, price, capacity = random_work(np.random.default_rng(3), 30, 60, 0.6)
    plain, limited = decompose(work, price, capacity), decompose(work, price, capacity, np.full(60, 1e12))
    assert np.array_equal(plain.running, limited.running)


def test_a_demand_charge_by_hand() -> None:
    """Four slots at 1, 2, 2, 2; two jobs of 10 kW and one slot each. Together in the first they cost 20 and draw 20 kW;
    apart 30 and 10 kW: from 1 a kW on it pays to part them, unless so much was drawn this month already."""
    ones = np.ones(2)
    work = Work(ones, 10e3 * ones, ones.astype("i4"), np.zeros(2, "i4"), np.full(2, 4, "i4"), ones < 0)
    price, room = np.array([1.0, 2, 2, 2]) * 1e-3, np.full(4, 4.0)
    base, free = np.full(4, 5e3), np.full(4, np.inf)
    cheap = solve_peak(work, price, room, Peak(base, free, cost=0.5e-3))
    assert (cheap.peak_w, cheap.schedule.cost) == (25e3, pytest.approx(20))
    dear = solve_peak(work, price, room, Peak(base, free, cost=2e-3))
    assert (dear.peak_w, dear.cost) == (15e3, pytest.approx(30 + 2e-3 * 15e3))
    known = solve_peak(work, price, room, Peak(base, free, cost=2e-3, known_w=25e3))
    assert (known.peak_w, known.cost) == (25e3, pytest.approx(20))
    limited = solve_peak(work, price, room, Peak(base, np.array([14e3, 16e3, 16e3, 16e3])))
    assert limited.peak_w == 15e3
    assert not limited.schedule.running[:, 0].any()
    both = solve_peak(work, price, room, Peak(base, np.array([14e3, 26e3, 26e3, 26e3]), cost=2e-3))
    assert not both.schedule.running[:, 0].any(), "a limit is kept however much a peak costs"
    assert (both.peak_w, both.cost) == (15e3, pytest.approx(40 + 2e-3 * 15e3))
    urgent = solve_peak(replace(work, due=np.ones(2, "i4")), price, room, Peak(base, free, cost=1.0))
    assert urgent.peak_w == 25e3, "nobody is late, or left out, for a lower peak"
    assert not urgent.schedule.late.any()


def test_a_peak_price_lowers_the_peak_of_a_centre_and_the_bill() -> None:
    work, price, capacity = random_work(np.random.default_rng(4), 40, 72, 0.3)
    base, free = np.full(72, 20e3), np.full(72, np.inf)
    plain = solve_peak(work, price, capacity, Peak(base, free))
    charge = 40 * float(np.abs(price).mean())
    owed = plain.schedule.cost + charge * plain.peak_w
    made = solve_peak(work, price, capacity, Peak(base, free, cost=charge))
    assert made.peak_w < plain.peak_w
    assert made.cost < owed
    assert made.schedule.late.sum() <= plain.schedule.late.sum()


def test_nobody_waits_much_more_than_the_others() -> None:
    """One tenant's jobs all want the dear evening, the other's the cheap night: without fairness the first alone waits."""
    r = np.random.default_rng(1)
    n = 60
    owner = np.repeat([0, 1], n // 2).astype(np.int32)
    nominal = np.where(owner == 0, 18, 26).astype(np.int32) + r.integers(0, 4, n).astype(np.int32)
    length = np.full(n, 2, dtype=np.int32)
    price = np.where((np.arange(96) % 24) >= 17, 900.0, 300.0)
    work = Work(np.ones(n), np.full(n, 700.0), length, nominal, nominal + 40, np.zeros(n, np.bool_))
    plain = decompose(work, price, np.full(96, 20.0))
    made = solve_fair(work, price, np.full(96, 20.0), nominal, owner)
    each = waits(work, made, nominal, owner)
    before = np.array([(plain.end - nominal - length)[owner == k].mean() for k in (0, 1)])
    assert before.max() > FAIR_RATIO * before.mean()
    assert each.max() <= max(FAIR_RATIO * each.mean(), 1.0)
    assert not made.late.any()


def test_the_command_plans_fairly_and_with_a_longest_wait(tmp_path: Path) -> None:
    """Four days: acme's jobs all want the dear evening, bee's the cheap night."""
    at = [datetime(2026, 11, 2, tzinfo=UTC) + timedelta(hours=h) for h in range(96)]
    dear = [900 if h % 24 >= 17 else 300 for h in range(96)]
    (tmp_path / "signal.csv").write_text(
        "time,value\n" + "".join(f"{t.isoformat()},{v}\n" for t, v in zip(at, dear, strict=True))
    )
    rows = [f"{who}{k},{at[first + k % 4].isoformat()},{at[first + 44].isoformat()},2,{who}\n"
            for who, first in (("acme", 18), ("bee", 26)) for k in range(12)]  # fmt: skip
    (tmp_path / "jobs.csv").write_text("id,earliest,deadline,duration_h,tenant\n" + "".join(rows))

    def waiting(**terms: float) -> dict[str, float]:
        said = plan_file(tmp_path / "jobs.csv", tmp_path / "signal.csv", tmp_path / "plan.csv", Terms(20.0, **terms))
        assert said["late"] == 0
        return dict(said["wait_h"])

    plain, fair = waiting(), waiting(fair=True, fair_wait_s=3600.0)
    assert plain["acme"] > FAIR_RATIO * sum(plain.values()) / 2
    assert fair["acme"] <= max(FAIR_RATIO * sum(fair.values()) / 2, 1.0)
    assert max(waiting(longest_wait_s=3 * 3600.0).values()) <= 3
    with pytest.raises(ConfigError, match="leave --causal out"):
        waiting(fair=True, causal=True)


def test_added_waiting_has_a_bound() -> None:
    work, price, capacity = random_work(np.random.default_rng(7), 40, 96, 0.2)
    short = waiting_at_most(work, work.earliest, 6)
    made = decompose(short, price, capacity * 10)
    assert (made.end <= work.earliest + work.length + 6).all()
    assert (short.due <= work.due).all()
    later = waiting_at_most(work, work.earliest + 3, 6)
    assert (later.due == np.minimum(work.due, work.earliest + 3 + work.length + 6)).all()
    early = waiting_at_most(work, work.earliest - 30, 6)  # would have run before it may
    assert (early.due == np.minimum(work.due, work.earliest + work.length)).all()
