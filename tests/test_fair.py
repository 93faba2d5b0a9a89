"""Fairness between tenants: one rule for plans and for a live queue; what was asked is known after a restart."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords
from faces_harness import DayStore, Hands
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acting import Proposes, Waits, allowed
from test_energy_orders import HOUR, SITE, Scheduler, T, auto, begin, desk
from test_lever_jobs import NOW as NOON
from test_lever_jobs import jobs, outlook, proposed, signal

from analytics.signal import hindcast
from energy.account.book import Given
from energy.ledger_seen import Watcher
from energy.levers import open_lever
from energy.plan import Mode
from energy.shift.bench_fair import Centre, Load, lived
from energy.shift.fair import FAIR_RATIO, Whose, bearable, granted
from energy.waiting import owner_of, waits_of
from ingest.stores.records import open_records
from twin.job import JobState
from twin.order import Verb, orders
from twin.state import State
from ui.acting import Acting
from ui.view import Live

# --- the rule


@pytest.mark.parametrize(
    ("held", "waits", "most"),
    [
        ([1, 1], [4, 4], 6),  # alike: 1.5 times the mean
        ([1, 1], [10, 2], 6),  # cut to 6: the mean is 4
        ([3, 1], [8, 0], 9),  # who holds most of the work is compared with itself
        ([1, 1, 1], [9, 0, 0], 1),  # nobody else waits: what is open to all
        ([5], [20], 30),
    ],
)
def test_what_is_bearable_by_hand(held, waits, most):
    assert bearable(np.array(held, float), np.array(waits, float), 1.0) == pytest.approx(most)


tenths = st.integers(0, 300).map(lambda n: n / 10)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 64), st.integers(0, 10), st.integers(0, 30), tenths), max_size=25),
    st.lists(st.tuples(st.integers(0, 50), tenths), min_size=5, max_size=5),
    st.booleans(),
)
def test_nobody_is_given_more_than_is_fair(pieces, before, whole):
    owner, size, base, more, worth = (np.array(column) for column in zip(*pieces, strict=True)) if pieces else [np.empty(0)] * 5
    others = np.array([held for held, _ in before], dtype=float)
    waited = others * np.array([each for _, each in before])
    base = base.astype(np.int32)
    whose = Whose(owner.astype(np.int32), size.astype(float), base - 0.5, base, others, waited, 2.0)
    at = (base + more).astype(np.int32)
    got = granted(whose, at, worth, whole)
    assert ((got >= base) & (got <= at)).all()
    assert not whole or ((got == base) | (got == at)).all()
    waits, most = whose.waits(got), whose.bearable(got)
    given_more = np.unique(whose.owner[got > base])
    assert (waits[given_more] <= most + 1e-6).all()
    alone = replace(whose, owner=np.zeros(len(at), dtype=np.int32), others=others[:1], waited=waited[:1])
    assert np.array_equal(granted(alone, at, worth, whole), at)


# --- the lever, round after round

DAY, HORIZON, FIRST = 24, 48, 46 * 24
TRUTH = 300 - 150 * np.cos(2 * np.pi * np.arange(FIRST + 8 * DAY) / DAY)  # cleanest at midnight
SEEN = hindcast(TRUTH, DAY, HORIZON)
SIGNALS = {}  # made once for all examples


def load(rows):
    """Rows of (who, hour after the first, hours, hours to spare, GPUs)."""
    rows = sorted(rows, key=lambda row: row[1])
    users, come, length, spare, gpus = zip(*rows, strict=True)
    come, length, spare, gpus = (np.array(column, dtype=np.int32) for column in (come, length, spare, gpus))
    return Load(users, FIRST + come, length, FIRST + come + length + spare, gpus)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), *(st.integers(*ends) for ends in ((0, 40), (1, 8), (0, 30), (1, 16)))),
        min_size=3,
        max_size=16,
    ),
    st.integers(16, 40),
)
def test_whatever_comes_no_round_gives_a_tenant_more_than_is_fair(rows, gpus):
    centre, lever = Centre(load(rows), TRUTH, SEEN, gpus, least_s=2 * HOUR, signals=SIGNALS), open_lever("job_start")
    least = centre.least_s
    for hour in range(FIRST, FIRST + 44):
        come = centre.load.submit <= hour
        at = np.flatnonzero(come & ~(centre.start_h + centre.load.length <= hour))
        was = {job: asked.wait_s for (_, job), asked in centre.memory.asked.items()}
        if centre.round(hour, lever) is None:
            continue
        queue = centre.queue(at, hour)
        now = {job: asked.wait_s for (_, job), asked in centre.memory.asked.items()}
        rows = enumerate(queue.jobs.ids)
        more = {int(queue.waits.owner[i]) for i, job in rows if now.get(job, 0.0) > was.get(job, 0.0) + 1}
        each = queue.waits.wait_s
        most = bearable(queue.waits.held_gpu_s, each, least)
        assert all(each[k] <= most + 1 for k in more), (hour, each / HOUR, most / HOUR)


def evening_and_night(days=3):
    """One whose jobs come as power gets dirty, and one, with as many, who stands in clean hours already."""
    rows = [("night", DAY * day + k, 2, 4, 8) for day in range(days) for k in range(4)]
    return load(rows + [("evening", DAY * day + 12 + k, 2, 20, 8) for day in range(days) for k in range(4)])


def test_without_the_rule_one_tenant_gives_all_the_waiting_and_with_it_not():
    lever, both = open_lever("job_start"), evening_and_night()
    at_once = lived(both, TRUTH, SEEN, 1000, None)
    plain, fair, strict = (
        lived(both, TRUTH, SEEN, 1000, lever, rule, least_s) for rule, least_s in ((False, 0.0), (True, 6 * HOUR), (True, HOUR))
    )
    waits = [one.waits_h(at_once) for one in (plain, fair, strict)]
    assert waits[0]["evening"] > 0.9 * sum(waits[0].values())
    assert waits[0]["evening"] > 8
    assert waits[1]["evening"] <= 6.5
    assert waits[2]["evening"] <= 1.5
    assert at_once.cost > strict.cost > fair.cost > plain.cost


def test_a_centre_of_one_tenant_saves_what_it_would_without_the_rule():
    lever, one = open_lever("job_start"), load([("a", 12 + k, 2, 20, 8) for k in range(8)])
    plain, fair = (lived(one, TRUTH, SEEN, 32, lever, rule, HOUR) for rule in (False, True))
    assert np.array_equal(plain.start_h, fair.start_h)
    assert np.nanmax(fair.start_h - one.submit) > 6


def test_a_single_job_that_waited_long_shuts_nobody_out():
    """A tenant of one job a day waits with the others; one whose only job waited longest has its next one looked at again."""
    lever = open_lever("job_start")
    rows = [("many", 12 + k, 2, 20, 8) for k in range(6)] + [("once", 12, 2, 20, 8), ("once", 24 + 12, 2, 20, 8)]
    many = [("many", 24 + 12 + k, 2, 20, 8) for k in range(6)]
    centre = lived(load(rows + many), TRUTH, SEEN, 1000, lever, True, HOUR)
    mine = np.flatnonzero(np.array(centre.load.users) == "once")
    assert (centre.start_h - centre.load.submit)[mine].min() >= 6


def test_running_jobs_are_paused_no_longer_than_is_fair_and_a_pause_counts():
    table = replace(jobs((16, 12, 40, 1), (16, 12, 40, 1), state=JobState.RUNNING), users=["a", "b"])
    seen = signal(amplitude=220)
    assert set(proposed(table, seen, "job_shift").orders[1][1].targets) == {"0", "1"}
    view = outlook(table, seen)
    (queue,) = view.queues
    waits = waits_of([queue], {}, {}, {}, NOON.timestamp(), HOUR)["slurm"]
    waits.wait_s[0] = 30 * HOUR  # the first has waited for long, the other not at all
    given_up = replace(view, queues=(replace(queue, waits=waits),))
    plan = open_lever("job_shift").propose(SITE, State(SITE), table, given_up, NOON)
    assert list(plan.orders[1][1].targets) == ["1"]
    assert plan.orders[1][1].would_s.tolist() == [NOON.timestamp()]


# --- what was asked, after a restart


def asked_h(d):
    return {job: one.wait_s / HOUR for job, one in d.asked("slurm").items()}


def would(*jobs, hours, since, key):
    plan = begin(*jobs, hours=hours, key=key)
    table = orders(
        Verb.BEGIN, list(jobs), T + hours * HOUR if hours else 0.0, "waits", would_s=np.full(len(jobs), T + since * HOUR)
    )
    return replace(plan, orders=(("slurm", table),))


async def test_what_jobs_were_told_to_wait_is_counted_once_and_known_after_a_restart():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    await auto(d, would("0", "1", "2", hours=6, since=1, key="p1"))
    assert asked_h(d) == {"0": 5, "1": 5, "2": 5}
    await auto(d, would("0", hours=8, since=3, key="p2"), NOW + timedelta(hours=2))  # it would have started long ago
    await auto(d, would("1", hours=0, since=0, key="p3"), NOW + timedelta(hours=3))  # let go
    slurm.off.add("2")  # its owner
    await d.follow("slurm", slurm.jobs(), NOW + timedelta(hours=4))
    slurm.off.add("3")
    await auto(d, would("3", hours=6, since=0, key="p4"), NOW + timedelta(hours=4))  # refused: nothing was asked
    wanted = {"0": 7, "1": 2, "2": 3}
    assert asked_h(d) == pytest.approx(wanted)
    again = desk(slurm, records, NOW + timedelta(hours=5))
    assert asked_h(again) == pytest.approx(wanted)
    await auto(again, would("0", hours=12, since=9, key="p5"), NOW + timedelta(hours=9))  # it had begun, and was paused
    assert asked_h(again)["0"] == pytest.approx(10)
    again.history(NOW + timedelta(days=2, hours=8))
    assert set(asked_h(again)) == {"0"}  # the last two days


class Listens(Proposes):
    """What a lever hears."""

    def propose(self, site, state, jobs, outlook, now):
        (self.queue,) = outlook.queues
        return super().propose(site, state, jobs, outlook, now)


async def test_levers_hear_what_tenants_wait_by_the_operators_table_and_so_does_the_next_process(tmp_path):
    records, clock, slurm, heard = open_records(tmp_path / "records.db"), Hands(NOW), Waits(), []
    live = Live(SITE, State(SITE), DayStore(), records, clock, NOW, folder=tmp_path, modes={"job_start": Mode.AUTO})
    live.given = lambda: Given(tenants={"p0": "acme", "p1": "acme"})
    plan = would("0", "1", hours=6, since=0, key="p1")
    for _ in range(2):
        lever = Listens(plan)
        acting = Acting(live, lambda frames: None, [slurm], {}, tmp_path, levers={"job_start": lever})
        acting._judged = allowed(acting)
        for _ in range(2):
            clock.skip(1.0)
            acting.seen("slurm", replace(Scheduler.jobs(slurm), projects=["p0", "p1", "", "p3"]), None)
            await acting.plans(clock.now())
        heard.append(lever.queue.waits)
    records.close()
    for waits in heard:
        assert waits.owner.tolist() == [0, 0, 1, 2]  # acme, the user of no project, p3
        assert waits.held_gpu_s.tolist() == [2 * HOUR, HOUR, HOUR]
        assert (waits.wait_s / HOUR).tolist() == pytest.approx([6, 0, 0], abs=0.01)
        assert waits.least_s == 6 * HOUR


def test_work_that_ended_counts_for_two_days_and_after_a_restart():
    records = MemoryRecords()
    one = jobs((8, 4, None, 1), (8, 4, None, 0))
    t = NOON.timestamp()
    over = replace(one, state=np.full(2, JobState.COMPLETED, np.uint8), start_s=np.full(2, t), end_s=np.full(2, t + HOUR))
    for watcher in (first := Watcher(records), Watcher(records)):
        watcher.see("slurm", over, NOON + timedelta(hours=2))
        assert [(key, ended.user, ended.gpu_s) for key, ended in watcher.ended.items()] == [(("slurm", "0"), "u", 32 * HOUR)]
    waits = waits_of(outlook(over).queues, first.ended, {}, {}, t + 2 * HOUR)["slurm"]
    assert waits.held_gpu_s.tolist() == [32 * HOUR]  # once, and not the other's
    first.see("slurm", one, NOON + timedelta(days=3))
    assert first.ended == {}


async def test_a_clock_that_is_ahead_for_a_moment_forgets_no_wait():
    d = desk(Scheduler(), MemoryRecords())
    await auto(d, would("0", "1", hours=12, since=0, key="p1"))
    assert [len(d.history(NOW + timedelta(days=ahead))) for ahead in (0, 3, 0)] == [2, 2, 2]
    assert asked_h(d) == {"0": 12, "1": 12}


def test_whose_a_job_is():
    tenants = {"llm": "acme"}
    found = [owner_of(user, project, tenants) for user, project in (("li", "llm"), ("li", "vision"), ("li", ""))]
    assert found == ["acme", "vision", "li"]
    assert FAIR_RATIO >= 1  # else who waits alone would be over its own mean
