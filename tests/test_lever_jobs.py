"""Levers on jobs: a signal with a rhythm is followed, one without is left alone; deadlines, owners and room are kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import rows

from energy.ahead import half_width, signal_ahead
from energy.guard import Limits, guard
from energy.guard_orders import resting
from energy.levers import QueueNow, no_outlook, open_lever
from energy.levers.jobs_ahead import pools
from energy.plan import Done
from twin.frame import frame_of
from twin.job import Cluster, Jobs, JobState
from twin.load import build_site
from twin.order import Terms, Verb
from twin.state import State

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = 3600.0
SITE = build_site("s", "UTC", rows("id=net kind=grid", "id=slurm kind=queue"))
METRIC = "carbon_gco2_per_kwh"
DAYS = 50


def signal(amplitude=100.0, noise=5.0, seed=1, now=NOW, horizon=48):
    """A sine over the day, lowest at midnight, on 300 g/kWh."""
    rng = np.random.Generator(np.random.PCG64(seed))
    time_s = now.timestamp() // HOUR * HOUR + HOUR * np.arange(-24 * DAYS, 0)
    values = 300 - amplitude * np.cos(2 * np.pi * time_s / 86400) + noise * rng.standard_normal(len(time_s))
    return signal_ahead(METRIC, time_s, values, HOUR, now, horizon)


def jobs(*columns, state=JobState.PENDING):
    """Rows of (gpus, limit [h], deadline [h from now; None], deferrable)."""
    n = len(columns)
    t = NOW.timestamp()
    gpus, limit, due, wants = zip(*columns, strict=True)
    flags = np.array(wants, dtype=np.uint8)
    nan = np.full(n, np.nan)
    states = np.full(n, state, dtype=np.uint8)
    running = states == JobState.RUNNING
    none = np.zeros(n, dtype=np.uint8)
    return Jobs(
        [str(i) for i in range(n)], ["j"] * n, ["u"] * n, ["batch"] * n, states, np.array(gpus, dtype=np.int32),
        np.full(n, t - 60.0),
        np.where(running, t - 2 * HOUR, np.nan), nan, HOUR * np.array(limit, dtype=np.float64),
        np.array([np.nan if d is None else t + d * HOUR for d in due]), flags, np.empty(0, np.int32), np.empty(0, np.int32),
        Terms(nan, none, running.astype(np.uint8) & flags, none, nan),
    )  # fmt: skip


def cluster(nodes=8, gpus=8):
    return Cluster(
        [f"n{i}" for i in range(nodes)], np.full(nodes, -1, np.int32), np.zeros(nodes, np.uint8),
        np.full(nodes, gpus, np.int32),
        np.zeros(nodes, np.int32), ["batch", "prod"], np.ones(2, np.uint8),
        np.array([[p, i] for p in range(2) for i in range(nodes)], dtype=np.int32), [], np.empty(0), np.empty(0),
        np.empty((0, 2), np.int32),
    )  # fmt: skip


def outlook(table, seen=None, nodes=8):
    return replace(no_outlook(), signal=seen or signal(), queues=(QueueNow("slurm", table, cluster(nodes)),))


def proposed(table, seen=None, name="job_start", nodes=8, now=NOW):
    return open_lever(name).propose(SITE, State(SITE), table, outlook(table, seen, nodes), now)


def state():
    made = State(SITE)
    for kind, values in (("grid", {METRIC: 300.0}), ("queue", {"waiting_count": 1.0})):
        made.absorb(frame_of(kind, NOW, 0, **values), NOW)
    return made


def begins(plan):
    return {t: (v - NOW.timestamp()) / HOUR for t, v in zip(plan.orders[-1][1].targets, plan.orders[-1][1].values, strict=True)}


def refused(plan, table, limits=None, history=(), of=None, nodes=8):
    verdict = guard(
        plan, SITE, of or state(), (), NOW, limits or Limits(), history, (QueueNow("slurm", table, cluster(nodes)),)
    )
    return {refusal.rule for refusal in verdict.refusals}


def test_what_may_wait_waits_for_midnight_and_the_others_are_left_alone():
    table = jobs((8, 4, 30, 1), (8, 4, 30, 0), (8, 4, 4.5, 1), (8, 4, None, 1))
    plan = proposed(table)
    got = begins(plan)
    assert set(got) == {"0", "3"}  # 1 has not agreed; 2 has no time before its deadline
    assert all(9 <= hour <= 12 for hour in got.values())
    assert plan.gain.low_frac <= plan.gain.change_frac <= plan.gain.high_frac < -0.2
    assert "icctwin:off" in plan.orders[0][1].texts[0]
    assert refused(plan, table) == set()
    again = proposed(table, now=NOW + timedelta(seconds=60))
    assert again.key == plan.key


@pytest.mark.parametrize("seen", [signal(amplitude=0, noise=20), signal(amplitude=2, noise=40, seed=3)])
def test_a_signal_that_cannot_be_foreseen_moves_nothing(seen):
    assert proposed(jobs((8, 4, 30, 1), (16, 2, None, 1)), seen) is None


def test_an_interval_from_few_errors_is_wider_than_one_from_many():
    """Of -3..3: deviation 2.1602, t of 6 degrees of freedom 1.4398, and sqrt(8/7); of very many, the normal's 1.2816."""
    assert half_width(np.arange(-3.0, 4.0)) == pytest.approx(1.4398 * 2.1602 * 1.0690, abs=1e-3)
    many = np.tile([-1.0, 1.0], 50_000)
    assert half_width(many) == pytest.approx(1.2816, abs=1e-3)
    rng = np.random.Generator(np.random.PCG64(1))
    eight, comes = rng.standard_normal((20_000, 8)), rng.standard_normal(20_000)
    inside = [abs(one - errors.mean()) <= half_width(errors) for errors, one in zip(eight, comes, strict=True)]
    assert np.mean(inside) == pytest.approx(0.80, abs=0.01)  # a normal's width holds 73 %


def test_a_move_with_nine_days_behind_it_holds_what_its_interval_says():
    """A walk about a sine whose hours resemble each other (0.97), foreseen from nine days, eight of them judged. Of the moves
    into the four hours that look cheapest, those that surely save bring less than the low end more often than 10 %, for what
    is chosen is chosen by its errors too."""
    hits, n, less = 0, 400, list[bool]()
    for seed in range(n):
        rng = np.random.Generator(np.random.PCG64(seed))
        walk, steps = np.zeros(24 * 9 + 72 + 500), 12.0 * rng.standard_normal(24 * 9 + 72 + 500)
        for i in range(1, len(walk)):
            walk[i] = 0.97 * walk[i - 1] + steps[i]
        now = NOW + timedelta(hours=int(rng.integers(24)))
        time_s = now.timestamp() + HOUR * np.arange(-24 * 9, 72)
        values = 300 - 60 * np.cos(2 * np.pi * time_s / 86400) + walk[500:]
        seen, came = signal_ahead(METRIC, time_s[:-72], values[:-72], HOUR, now, 48), values[-72:]
        _, low, high = seen.gain(10, 4)
        hits += low <= came[:4].mean() - came[10:14].mean() <= high
        best = min(range(1, 21), key=lambda start, ahead=seen.ahead: ahead[start : start + 4].mean())
        _, low, _ = seen.gain(best, 4)
        less += [came[:4].mean() - came[best : best + 4].mean() < low] if low > 0 else []
    assert hits / n == pytest.approx(0.8125, abs=0.005)  # 0.7625 by a normal's width
    assert np.mean(less) == pytest.approx(0.1324, abs=0.005)  # 0.1792 by it


@pytest.mark.parametrize(("name", "state"), [("job_start", JobState.PENDING), ("job_shift", JobState.RUNNING)])
def test_where_power_costs_less_than_nothing_the_owner_reads_what_the_plan_says(name, state):
    """A sine of 220 about -100: what is saved of a price below nothing is saved all the same."""
    seen = signal(amplitude=220)
    seen = replace(seen, past=seen.past - 400, foreseen=seen.foreseen - 400)
    plan = proposed(jobs((8, 10, 46, 1), state=state), seen, name)
    assert plan.gain.change_frac < -1
    (text,) = plan.orders[-1][1].texts
    assert f", about {-plan.gain.change_frac:.0%} less;" in text


def test_without_a_signal_nothing_is_proposed():
    table = jobs((8, 4, 30, 1))
    view = (QueueNow("slurm", table, cluster()),)
    for name in ("job_start", "job_shift"):
        assert open_lever(name).propose(SITE, State(SITE), table, replace(no_outlook(), queues=view), NOW) is None
    short = np.arange(12.0)
    assert signal_ahead(METRIC, NOW.timestamp() - HOUR * (12 - short), 300 + short, HOUR, NOW, 48) is None
    old = NOW.timestamp() - HOUR * np.arange(100, 25, -1)  # nobody has told it for over a day
    assert signal_ahead(METRIC, old, np.full(len(old), 300.0), HOUR, NOW, 48) is None


def test_a_begin_time_that_stands_is_kept_and_taken_back_when_there_is_no_more_time():
    table = jobs((8, 4, 30, 1), (8, 4, 30, 1))
    first = begins(proposed(table))
    stands = np.array([first["0"], first["1"]]) * HOUR + NOW.timestamp()
    ours = np.ones(2, np.uint8)
    noted = replace(table, agreed=replace(table.terms, begin_s=stands, noted=ours))
    assert proposed(noted) is None
    due = table.deadline_s.copy()
    due[1] = NOW.timestamp() + 5 * HOUR  # its owner wants it sooner now
    hurry = replace(noted, deadline_s=due)
    plan = proposed(hurry)
    assert (list(plan.orders[0][1].targets), plan.orders[0][1].values.tolist()) == (["1"], [0.0])
    assert plan.orders[0][1].expected.tolist() == [stands[1]]
    assert refused(plan, hurry, Limits(orders_per_hour=0), of=State(SITE)) == set()  # letting go is always allowed
    assert refused(plan, hurry, Limits(stop=True)) == {"stop"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(1, 32), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 46)), st.integers(0, 1)),
        min_size=1,
        max_size=25,
    ),
    st.integers(4, 10),
)
def test_no_plan_passes_a_deadline_the_longest_wait_or_the_room(columns, nodes):
    table = jobs(*columns)
    plan = proposed(table, SEEN, nodes=nodes)
    if plan is None:
        return
    got = begins(plan)
    taken = np.zeros(200)
    for job, hour in got.items():
        gpus, limit, due, wants = columns[int(job)]
        assert wants
        assert 0 < hour <= 24
        assert due is None or hour + limit <= due
        taken[round(hour) : round(hour) + limit] += gpus
    assert taken.max() <= 8 * nodes
    assert refused(plan, table, nodes=nodes) <= {"consequence"}


SEEN = signal()


@pytest.mark.parametrize(("verb", "ago_s", "rules"), [
    (Verb.BEGIN, 60, {"order_dwell"}), (Verb.MOVE, 60, {"order_dwell"}), (Verb.PAUSE, 599, {"order_dwell"}),
    (Verb.MOVE, 600, set()), (Verb.WEIGHT, 60, set()),
])  # fmt: skip
def test_a_job_rests_between_two_orders_whatever_they_say(verb, ago_s, rules):
    table = jobs((8, 4, 30, 1))
    done = [Done("0", verb, NOW - timedelta(seconds=ago_s))]  # a node may be called as a job is
    assert refused(proposed(table), table, history=done) == rules


def test_the_guard_names_each_rule():
    table = jobs((8, 4, 30, 1), (8, 4, 30, 0))
    plan = proposed(table)
    queue, order = plan.orders[0]
    late = replace(order, values=np.array([NOW.timestamp() + 27 * HOUR]))
    other = replace(order, targets=["1"])
    faults = {
        "unknown_queue": replace(plan, orders=(("other", order),)),
        "gain": replace(plan, gain=replace(plan.gain, high_frac=0.01)),
        "agreed": replace(plan, orders=((queue, other),)),
        "wait": plan,
        "deadline": replace(plan, orders=((queue, late),)),
        "order_rate": plan,
        "order_dwell": plan,
        "order_stale": plan,
    }
    limits = {
        "wait": Limits(longest_wait_s=HOUR),
        "order_rate": Limits(orders_per_hour=0),
        "deadline": Limits(longest_wait_s=1e6),
    }
    history = {"order_dwell": (Done("0", Verb.BEGIN, NOW - timedelta(seconds=30)),)}
    for rule, bad in faults.items():
        got = refused(bad, table, limits.get(rule), history.get(rule, ()), State(SITE) if rule == "order_stale" else None)
        assert rule in got, rule
        assert got <= {rule, "consequence"} | ({"order_stale"} if rule == "order_stale" else set()), rule


def test_the_guard_simulates_the_consequence():
    """One node of 8: at midnight a job that waits for it has no room any more before its deadline."""
    table = jobs((8, 10, 27, 1), (8, 20, 34, 1))
    plan = proposed(jobs((8, 10, 27, 1)), nodes=1)
    assert begins(plan)["0"] > 4
    assert refused(plan, table, nodes=1) == {"consequence"}
    assert refused(plan, table, nodes=2) == set()


def test_running_jobs_are_paused_when_that_surely_pays_and_goes_on_by_itself():
    table = jobs((16, 12, 40, 1), (16, 12, 40, 0), state=JobState.RUNNING)
    plan = proposed(table, signal(now=NOW, amplitude=220), "job_shift")
    assert [table.verb for _, table in plan.orders] == [Verb.PAUSE, Verb.BEGIN]
    assert list(plan.orders[0][1].targets) == list(plan.orders[1][1].targets) == ["0"]
    assert begins(plan)["0"] >= 2
    assert plan.gain.high_frac < 0
    assert refused(plan, table) == set()
    fresh = replace(table, start_s=np.full(2, NOW.timestamp() - 600))
    assert proposed(fresh, signal(amplitude=220), "job_shift") is None  # it has only begun


def test_partitions_that_share_nodes_share_their_room():
    shared = QueueNow("slurm", jobs((1, 1, None, 1)), cluster(nodes=4))
    assert pools(shared)[0].tolist() == [32.0]
    apart = replace(
        shared, cluster=replace(shared.cluster, partition_nodes=np.array([[0, 0], [0, 1], [1, 2], [1, 3]], np.int32))
    )
    assert pools(apart)[0].tolist() == [16.0, 16.0]


def test_more_jobs_than_one_plan_looks_at_all_have_their_turn(monkeypatch):
    monkeypatch.setattr("energy.levers.jobs_ahead.MAX_JOBS", 3)
    table = jobs(*[(1, 4, 40, 1)] * 7)
    moved = set()
    for turn in range(3):
        plan = proposed(table, now=NOW + timedelta(seconds=300 * turn))
        targets = set(plan.orders[0][1].targets)
        assert len(targets) <= 3
        moved |= targets
    assert moved == set(table.ids)


@pytest.mark.parametrize(("left", "moved"), [(9, 4), (4, 4), (3, 3), (0, 0), (-2, 0)])
def test_a_plan_orders_no_more_than_the_hour_has_left(left, moved):
    table = jobs(*[(1, 4, 40, 1)] * 4)
    plan = open_lever("job_start").propose(SITE, State(SITE), table, replace(outlook(table), orders_left_count=left), NOW)
    assert (0 if plan is None else plan.count) == moved
    if plan is not None:
        assert "order_rate" not in refused(plan, table, Limits(orders_per_hour=max(left, 0)))


def test_a_job_is_let_go_though_another_was_ordered_a_moment_ago():
    """The owner of 0 wants it sooner now; a better hour for 1 was found five minutes after its last order."""
    table = jobs((8, 4, 30, 1), (8, 4, 30, 1))
    stands = NOW.timestamp() + HOUR * np.array([begins(proposed(table))["0"], 3])
    noted = replace(table, agreed=replace(table.terms, begin_s=stands, noted=np.ones(2, np.uint8)))
    hurry = replace(noted, deadline_s=np.array([NOW.timestamp() + 5 * HOUR, noted.deadline_s[1]]))
    ordered = [Done("1", Verb.BEGIN, NOW - timedelta(minutes=5))]
    assert resting(ordered, NOW, Limits().order_dwell_s) == {"1"}
    plans = []
    for rests in ((), ("0", "1")):
        queues = (QueueNow("slurm", hurry, cluster(), rests=frozenset(rests)),)
        seen = replace(no_outlook(), signal=signal(), queues=queues)
        plans.append(open_lever("job_start").propose(SITE, State(SITE), hurry, seen, NOW))
    both, one = plans
    assert (set(begins(both)), refused(both, hurry, history=ordered)) == ({"0", "1"}, {"order_dwell"})
    assert (one.orders[0][1].targets, one.orders[0][1].values.tolist()) == (["0"], [0.0])
    assert refused(one, hurry, history=ordered) == set()
