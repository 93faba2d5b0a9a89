"""The desk and moved jobs: it knows the way home, brings back who cannot run there, and hears persons."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from energy_house import MemoryRecords
from test_lever_jobs import HOUR, METRIC, NOW, jobs
from test_lever_move import SITE, T

from energy.act import Desk
from energy.notes import Stage
from energy.ordering import MOVED_FOR, SEEN_IN
from energy.plan import Effect, Gain, Mode, Plan, Verdict
from twin.job import JobState
from twin.message import Message
from twin.order import Receipt, Result, Terms, Verb, orders, receipts
from twin.state import State


class Scheduler:
    """Two partitions; jobs with a begin time and words of ours; ``fails``: takes a move by half and says that it failed."""

    releases_itself = True

    def __init__(self, n=3):
        self.where = {str(i): "batch" for i in range(n)}
        self.begin = dict.fromkeys(self.where, np.nan)
        self.noted, self.runs, self.unfit, self.fails = set(), set(), set(), False

    def jobs(self):
        ids = list(self.where)
        made = jobs(*[(1, 4, 30, 1)] * len(ids))
        flags = [np.array([i in some for i in ids], dtype=np.uint8) for some in (self.noted, self.unfit)]
        none, nan = np.zeros(len(ids), np.uint8), np.full(len(ids), np.nan)
        begins = np.array([self.begin[i] for i in ids])
        terms = Terms(begins, none, none, flags[0], nan, np.full(len(ids), 0.04), nan, flags[1])
        states = np.array([JobState.RUNNING if i in self.runs else JobState.PENDING for i in ids], dtype=np.uint8)
        return replace(made, ids=ids, partitions=[self.where[i] for i in ids], agreed=terms, state=states)

    async def order(self, told, now):
        return receipts([self._one(told, i, now) for i in range(len(told))])

    def _one(self, told, i, now):
        job, was = told.targets[i], self.begin[told.targets[i]]
        waits = job not in self.runs
        if told.verb is Verb.MOVE and waits:
            if self.where[job] not in told.where[i]:
                return Receipt(Result.REFUSED, was, why="a person has moved it")
            self.where[job] = told.where[i][1]
        if waits:
            self.begin[job] = told.values[i] if told.values[i] > now.timestamp() else np.nan
        (self.noted.add if told.texts[i] else self.noted.discard)(job)
        if self.fails:
            return Receipt(Result.FAILED, was, why="half of it")
        return Receipt(Result.DONE, was, told.values[i])


def a_plan(verb, *ids, hours=2.0, key="p1", **more):
    gain = Gain(METRIC, 10.0, -0.2, -0.3, -0.1)
    where = [("batch", "west")] * len(ids) if verb is Verb.MOVE else ()
    made = (("slurm", orders(verb, list(ids), T + hours * HOUR if hours else 0.0, "ours", where=where, **more)),)
    return Plan(key, "job_move", (), Message("test"), Effect(0, 0, 0, 0), NOW, NOW + timedelta(minutes=10), made, gain)


def desk(slurm, records, now=NOW):
    return Desk(SITE, records, {}, now, {"slurm": slurm})


async def auto(d, p, now=NOW):
    return await d.decide(p, Verdict(p.key, ()), Mode.AUTO, State(SITE), now)


async def test_the_way_home_is_known_whatever_a_job_was_told_since():
    slurm, records = Scheduler(), MemoryRecords()
    slurm.begin["0"] = T + HOUR  # its owner's
    d = desk(slurm, records)
    await auto(d, a_plan(Verb.BEGIN, "0", hours=6.0, expected=np.array([T + HOUR])))
    await auto(d, a_plan(Verb.MOVE, "0", "1", hours=2.0, key="p2"))
    await auto(d, a_plan(Verb.BEGIN, "0", hours=4.0, key="p3"))
    assert slurm.where == {"0": "west", "1": "west", "2": "batch"}
    d = desk(slurm, records)  # also by the next process
    assert {entry.target: entry.where for entry in d.ordered} == {"0": ("batch", "west"), "1": ("batch", "west")}
    await d.revert_orders(NOW, all_now=True, but_begins=True)
    assert slurm.where["1"] == "west"  # it releases itself
    await d.revert_orders(NOW, all_now=True)
    assert set(slurm.where.values()) == {"batch"}
    assert (slurm.begin["0"], slurm.noted, d.ordered) == (T + HOUR, set(), ())


async def test_who_still_waits_long_after_its_time_goes_home_and_who_runs_is_let_go():
    slurm, records = Scheduler(), MemoryRecords()
    d = desk(slurm, records)
    await auto(d, a_plan(Verb.MOVE, "0", "1", hours=0))
    slurm.runs.add("1")
    await d.follow("slurm", slurm.jobs(), NOW + timedelta(minutes=5))
    assert [entry.target for entry in d.ordered] == ["0"]
    assert slurm.noted == {"0"}
    await d.revert_due(State(SITE), NOW + MOVED_FOR - timedelta(seconds=1))
    assert slurm.where["0"] == "west"
    await d.revert_due(State(SITE), NOW + MOVED_FOR)
    assert slurm.where == {"0": "batch", "1": "west", "2": "batch"}
    assert d.ordered == ()


async def test_what_can_never_run_there_and_what_failed_by_half_is_brought_home_and_persons_are_heard():
    slurm, records = Scheduler(), MemoryRecords()
    d, later = desk(slurm, records), NOW + timedelta(minutes=5)
    await auto(d, a_plan(Verb.MOVE, "0", "1"))
    slurm.unfit.add("0")
    slurm.where["1"] = "brief"  # a person
    for _ in range(SEEN_IN):
        await d.follow("slurm", slurm.jobs(), later)
    assert slurm.where == {"0": "batch", "1": "brief", "2": "batch"}
    assert d.hands_off("slurm") == {"0", "1"}
    assert d.ordered == ()
    slurm.fails = True
    assert (await auto(d, a_plan(Verb.MOVE, "2", key="p2"), NOW)).stage is Stage.FAILED
    assert slurm.where["2"] == "west"
    slurm.fails = False
    await d.revert_due(State(SITE), NOW)
    assert slurm.where["2"] == "batch"
    assert d.ordered == ()
