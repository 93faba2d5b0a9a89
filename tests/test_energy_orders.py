"""The desk and schedulers: written down before it is sent, followed, taken back; by whoever is left when its process dies."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords, hall
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.act import Desk, Stage
from energy.ordering import BATCH, HELD_FOR, PAUSED_FOR, SEEN_IN
from energy.plan import Effect, Gain, Mode, Plan, Verdict
from twin.errors import SourceError
from twin.job import Jobs, JobState
from twin.message import Message
from twin.order import Receipt, Result, Terms, Verb, orders, receipts
from twin.state import State

SITE = hall()
T = NOW.timestamp()
HOUR = 3600.0


class Killed(BaseException):
    """The process is gone: nothing more is written."""


@dataclass
class Scheduler:
    """Jobs that wait with a begin time and a note; takes orders as a queue does. ``dies_at``: the order in which the process is
    killed, before or after it was written; ``deaf``: answers nothing."""

    begin: dict = field(default_factory=dict)
    held: set = field(default_factory=set)
    noted: set = field(default_factory=set)
    off: set = field(default_factory=set)
    n: int = 4
    writes: int = 0
    dies_at: int = 0
    after: bool = False
    deaf: bool = False
    releases_itself: bool = True

    def jobs(self):
        ids = [str(i) for i in range(self.n)]
        nan, none = np.full(self.n, np.nan), np.zeros(self.n, np.uint8)
        flags = [np.array([i in some for i in ids], dtype=np.uint8) for some in (self.held, self.noted)]
        begins = np.array([self.begin.get(i, np.nan) for i in ids])
        return Jobs(
            ids, ids, ids, ids, np.full(self.n, JobState.PENDING, np.uint8), np.ones(self.n, np.int32), np.full(self.n, T), nan,
            nan, np.full(self.n, HOUR), nan, np.array([i not in self.off for i in ids], dtype=np.uint8),
            np.empty(0, np.int32), np.empty(0, np.int32), Terms(begins, flags[0], none, flags[1], nan),
        )  # fmt: skip

    async def order(self, table, now):
        if self.deaf:
            raise SourceError("slurmctld does not answer")
        return receipts([self._one(table, i, now) for i in range(len(table))])

    def _one(self, table, i, now):
        job, value = table.targets[i], float(table.values[i])
        was = self.begin.get(job, np.nan)
        if job in self.off and not table.undo:
            return Receipt(Result.REFUSED, was, why="its owner has not agreed")
        wanted = np.nan if table.expected is None else table.expected[i]
        if not np.isnan(wanted) and abs(np.nan_to_num(was) - wanted) > 2:
            return Receipt(Result.REFUSED, was, why="a person has changed it")
        self.writes += 1
        if self.writes == self.dies_at and not self.after:
            raise Killed
        if table.verb is Verb.BEGIN:
            self.held.discard(job)
            self.begin.pop(job, None)
            if value > now.timestamp():
                self.begin[job] = value
            (self.noted.add if table.texts[i] else self.noted.discard)(job)
        elif table.verb in (Verb.HOLD, Verb.PAUSE):
            self.held.add(job)
        elif table.verb is Verb.RELEASE:
            self.held.discard(job)
        if self.writes == self.dies_at:
            raise Killed
        return Receipt(Result.DONE, was, value)


def plan(*tables, key="p1"):
    gain = Gain("carbon_gco2_per_kwh", 10.0, -0.2, -0.3, -0.1)
    made = tuple(("slurm", table) for table in tables)
    return Plan(key, "job_start", (), Message("test"), Effect(0, 0, 0, 0), NOW, NOW + timedelta(minutes=10), made, gain)


def begin(*jobs, hours=6.0, key="p1"):
    return plan(orders(Verb.BEGIN, list(jobs), T + hours * HOUR, "waits"), key=key)


def desk(scheduler, records, now=NOW):
    return Desk(SITE, records, {}, now, {"slurm": scheduler})


async def auto(d, p, now=NOW):
    return await d.decide(p, Verdict(p.key, ()), Mode.AUTO, State(SITE), now)


def stages(records):
    return [record["stage"] for _, topic, _, record in records.all if topic == "audit"]


async def test_a_begin_time_ends_by_itself_and_its_words_are_cleared_away():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    assert (await auto(d, begin("0", "1"))).stage is Stage.DONE
    assert slurm.begin == {"0": T + 6 * HOUR, "1": T + 6 * HOUR}
    assert {entry.sure for entry in d.ordered} == {True}
    await d.revert_due(State(SITE), NOW + timedelta(hours=5))
    assert len(d.ordered) == 2
    d = desk(slurm, records, NOW + timedelta(hours=6))  # also by the next process
    await d.revert_due(State(SITE), NOW + timedelta(hours=6, seconds=1))
    assert (d.ordered, slurm.noted) == ((), set())
    assert stages(records) == ["begun", "done", "reverting", "reverted"]
    first = records.all[0][3]
    assert (first["who"], first["targets"], first["values"]) == ("icctwin", ["0", "1"], [T + 6 * HOUR] * 2)
    assert first["gain"]["change_frac"] == -0.2


async def test_an_owners_begin_time_that_is_back_is_not_taken_for_a_stray_by_an_old_list():
    slurm, records = Scheduler(), MemoryRecords()
    slurm.begin["0"] = T + HOUR
    d = desk(slurm, records)
    await auto(d, plan(orders(Verb.BEGIN, ["0"], T + 6 * HOUR, "waits", expected=np.array([T + HOUR]))))
    old = slurm.jobs()
    await d.revert_orders(NOW, all_now=True)
    assert slurm.begin == {"0": T + HOUR}
    await d.release_strays("slurm", old, NOW)
    assert slurm.begin == {"0": T + HOUR}
    assert d.hands_off("slurm") == frozenset()
    slurm.begin["1"], slurm.noted = T + 2 * HOUR, {"1"}  # of a process whose records are lost
    await d.release_strays("slurm", slurm.jobs(), NOW)
    assert slurm.begin == {"0": T + HOUR}


async def test_whoever_takes_a_job_out_or_changes_it_has_it_for_good():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    await auto(d, begin("0", "1", "2"))
    later = NOW + timedelta(minutes=10)
    slurm.off.add("0")
    slurm.begin["1"] = T + 99 * HOUR
    for _ in range(SEEN_IN):
        await d.follow("slurm", slurm.jobs(), later)
    assert slurm.begin == {"1": T + 99 * HOUR, "2": T + 6 * HOUR}
    assert d.hands_off("slurm") == desk(slurm, records, later).hands_off("slurm") == {"0", "1"}
    assert [entry.target for entry in d.ordered] == ["2"]
    slurm.off.clear()
    why = [record["why"]["text"] for _, _, _, record in records.all if record["stage"] == "left"]
    assert sorted(why) == ["A person has changed it", "Its owner has taken it out"]


async def test_what_a_scheduler_that_was_killed_has_forgotten_is_taken_back_again():
    """It comes up with begin times that were let go last; where the note went by an owner's word, no stray is known by it."""
    slurm, records = Scheduler(), MemoryRecords()
    slurm.begin["2"] = T + 6 * HOUR
    d = desk(slurm, records)
    await auto(d, begin("0", "1"))
    await auto(d, plan(orders(Verb.BEGIN, ["2"], T + 6 * HOUR, "waits", expected=np.array([T + 6 * HOUR])), key="p2"))
    old, slurm.off = slurm.jobs(), {"0"}
    await d.follow("slurm", slurm.jobs(), NOW)
    await d.revert_orders(NOW, all_now=True)
    for _ in range(SEEN_IN):
        await d.follow("slurm", old, NOW)  # the same list of before says nothing of what came since
    await d.follow("slurm", slurm.jobs(), NOW)
    assert (slurm.begin, slurm.noted) == ({"2": T + 6 * HOUR}, set())
    slurm.begin |= {"0": T + 6 * HOUR + 1, "1": T + 6 * HOUR + 60}  # a minute later is somebody else's
    written = slurm.writes
    for one in (d, desk(slurm, records)):  # also by the next process
        slurm.begin["0"] = T + 6 * HOUR
        for _ in range(SEEN_IN):
            assert slurm.begin["0"] == T + 6 * HOUR
            await one.follow("slurm", slurm.jobs(), NOW)
        assert slurm.begin == {"1": T + 6 * HOUR + 60, "2": T + 6 * HOUR}
    assert slurm.writes == written + 2
    why = [record["why"] for *_, record in records.all if record["stage"] == "reverting"]
    assert why[-1]["text"] == "Its scheduler has lost that it was let go"
    slurm.begin["0"] = T + 6 * HOUR
    for _ in range(SEEN_IN):
        await d.follow("slurm", slurm.jobs(), NOW + timedelta(hours=7))
    assert slurm.writes == written + 2, "what has passed holds nobody"


async def test_a_list_that_is_older_than_the_order_is_no_persons_hand_though_the_clock_jumps():
    """The list that was there and the one on its way when eight begin times were sent show the owners' own; our clock jumps an
    hour ahead meanwhile. Then one owner takes his job out."""
    slurm, records = Scheduler(), MemoryRecords()
    d, ahead = desk(slurm, records), NOW + timedelta(hours=1)
    there, coming = slurm.jobs(), slurm.jobs()
    await auto(d, begin("0", "1", "2"))
    for jobs in (there, there, coming, coming, slurm.jobs()):
        await d.follow("slurm", jobs, ahead)
    assert {entry.target for entry in d.ordered} == {"0", "1", "2"}
    slurm.off.add("0")
    await d.follow("slurm", slurm.jobs(), ahead)
    assert slurm.begin == {"1": T + 6 * HOUR, "2": T + 6 * HOUR}


async def test_a_job_taken_out_between_two_plans_is_still_let_go():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    await auto(d, begin("0"))
    slurm.off.add("0")
    await auto(d, begin("0", hours=8, key="p2"))
    assert slurm.begin == {"0": T + 6 * HOUR}
    for one in (d, desk(slurm, records)):
        assert [(entry.target, entry.value) for entry in one.ordered] == [("0", T + 6 * HOUR)]
    await d.follow("slurm", slurm.jobs(), NOW)
    assert slurm.begin == {}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.booleans())
def test_killed_at_any_order_the_next_process_knows_what_is_in_force(dies_at, after, again):
    """Three jobs get a begin time, one of them is paused first; the process dies before or after any write."""
    slurm, records = Scheduler(dies_at=dies_at, after=after), MemoryRecords()
    two = plan(orders(Verb.PAUSE, ["3"]), orders(Verb.BEGIN, ["3"], T + 5 * HOUR, "paused"), key="p2")

    async def life():
        d = desk(slurm, records)
        await auto(d, begin("0", "1", "2"))
        await auto(d, two)

    with pytest.raises(Killed):
        asyncio.run(life())
    assert slurm.writes == dies_at
    later = NOW + PAUSED_FOR + timedelta(seconds=5)

    async def next_life():
        d = desk(slurm, records, later)
        if again:  # the same plans are proposed again: what is so already is not written twice
            await auto(d, begin("0", "1", "2"), later)
        await d.follow("slurm", slurm.jobs(), later)
        await d.revert_due(State(SITE), later)
        assert not slurm.held  # nothing is left merely held
        assert {e.target for e in d.ordered} == set(slurm.begin)
        assert all(e.sure for e in d.ordered)
        await d.revert_due(State(SITE), later, all_now=True)
        assert (slurm.begin, slurm.held, slurm.noted, d.ordered) == ({}, set(), set(), ())

    asyncio.run(next_life())


@pytest.mark.parametrize("after", [False, True])
async def test_a_pause_that_death_cut_off_is_taken_back_at_once_by_the_next_process(after):
    """The process dies before it says until when, or before it hears that the job was paused."""
    slurm, records = Scheduler(dies_at=1 if after else 2, after=after), MemoryRecords()
    two = plan(orders(Verb.PAUSE, ["3"]), orders(Verb.BEGIN, ["3"], T + 5 * HOUR, "paused"), key="p2")
    with pytest.raises(Killed):
        await auto(desk(slurm, records), two)
    assert slurm.held == {"3"}
    soon = NOW + timedelta(seconds=6)
    d = desk(slurm, records, soon)
    for _ in range(2):  # that its begin time was never written is found first
        await d.follow("slurm", slurm.jobs(), soon)
    assert (slurm.held, slurm.begin, d.ordered) == (set(), {}, ())
    assert "died before it had a begin time" in str(records.all)


async def test_what_does_not_release_itself_ends_and_what_is_refused_is_tried_again():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    await auto(d, plan(orders(Verb.HOLD, ["0"], texts="a power limit")))
    assert slurm.held == {"0"}
    slurm.deaf = True
    end = NOW + HELD_FOR
    for k in range(3):
        await d.revert_due(State(SITE), end + timedelta(seconds=5 * k))
    assert d.health(end).values["overdue_reverts_count"].tolist() == [1.0]
    assert stages(records).count("revert_failed") == 1  # said once, not at every try
    slurm.deaf = False
    await d.revert_due(State(SITE), end + timedelta(minutes=1))
    assert (slurm.held, d.ordered) == (set(), ())


async def test_a_scheduler_that_does_not_answer_leaves_nothing_in_force():
    slurm, records = Scheduler(deaf=True), MemoryRecords()
    d = desk(slurm, records)
    assert (await auto(d, begin("0", "1"))).stage is Stage.FAILED
    assert d.ordered == ()
    slurm.deaf = False
    assert (await auto(d, begin("0", "1"))).stage is Stage.DONE  # the same plan, when it answers again


async def test_what_has_lost_its_record_is_let_go_by_its_note():
    slurm, records = Scheduler(), MemoryRecords()
    await auto(desk(slurm, records), begin("0", "1"))
    d = desk(slurm, MemoryRecords())
    await d.release_strays("slurm", slurm.jobs(), NOW)
    assert (slurm.begin, slurm.noted) == ({}, set())


async def test_many_orders_are_written_down_in_parts_and_a_pause_that_fails_gets_no_begin_time():
    slurm, records = Scheduler(n=2 * BATCH + 1), MemoryRecords()
    await auto(desk(slurm, records), begin(*map(str, range(2 * BATCH + 1))))
    assert [len(record["targets"]) for _, _, _, record in records.all if record["stage"] == "begun"] == [BATCH, BATCH, 1]
    slurm.off.add("7")
    p = plan(orders(Verb.PAUSE, ["7", "8"]), orders(Verb.BEGIN, ["7", "8"], T + 3 * HOUR, "paused"), key="p3")
    got = await auto(desk(slurm, records), p)
    assert str(got.why) == "2 of 3 orders are in force"
    assert slurm.begin["7"] == T + 6 * HOUR
    assert slurm.begin["8"] == T + 3 * HOUR


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.APPROVE])
async def test_only_auto_orders_by_itself_and_a_yes_carries_a_name(mode):
    slurm, records = Scheduler(), MemoryRecords()
    d, p = desk(slurm, records), begin("0")
    await d.decide(p, Verdict(p.key, ()), mode, State(SITE), NOW)
    assert slurm.writes == 0
    if mode is Mode.APPROVE:
        assert (await d.approve(p.key, "li", Verdict(p.key, ()), State(SITE), NOW)).stage is Stage.DONE
        assert (await d.approve(p.key, "li", Verdict(p.key, ()), State(SITE), NOW)).stage is Stage.REFUSED  # once
        assert [r["who"] for _, _, _, r in records.all if r["stage"] == "begun"] == ["li"]
        other = replace(begin("1", key="p9"))
        await d.decide(other, Verdict("p9", ()), mode, State(SITE), NOW)
        assert d.reject("p9", "li", NOW).stage is Stage.REJECTED
        assert d.waiting == ()


async def test_a_job_never_starts_before_its_owners_own_begin_time():
    slurm, records = Scheduler(begin={"0": T + HOUR}), MemoryRecords()
    d = desk(slurm, records)
    table = orders(Verb.BEGIN, ["0"], T + 6 * HOUR, "waits", expected=np.array([T + HOUR]))
    await auto(d, plan(table))
    assert slurm.begin == {"0": T + 6 * HOUR}
    await auto(desk(slurm, records), plan(orders(Verb.BEGIN, ["0"], 0.0), key="p2"))  # a later plan lets it go
    assert slurm.begin == {"0": T + HOUR}
    other = Scheduler(begin={"0": T + HOUR})
    d = desk(other, MemoryRecords())
    await auto(d, plan(table))
    await d.revert_due(State(SITE), NOW, all_now=True)
    assert other.begin == {"0": T + HOUR}
