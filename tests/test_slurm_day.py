"""A compressed day on a real Slurm of six nodes: a hundred jobs of mixed consent, auto mode, some of which save themselves and
are paused; icctwin is killed ten times, slurmctld restarted twice. What happened is taken from Slurm's log and job records; the
audit must explain it."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from servers import running_slurm

from energy.notes import Stage
from twin.order import Verb
from ui.benches.slurm_check import after_out, changes, due_s, job_of, judge, touched, unexplained, unreleased
from ui.benches.slurm_day import PAST_SLOTS, DayRun
from ui.benches.slurm_jobs import DAY_SLOTS, SLOT_S, read_carbon, wanted_jobs

pytestmark = pytest.mark.server
JOBS, KILLS, RESTARTS = 100, 10, 2
NODES = 6


@pytest.fixture(scope="module")
def day(tmp_path_factory, fixtures):
    """The recorded CAISO spring where it is at hand, else a made-up sunny grid."""
    recorded = fixtures.parent.parent / "shared" / "data" / "energy" / "carbon" / "CISO-2022-hourly.csv"
    path, first = (recorded, 24 * 120) if recorded.exists() else (fixtures / "carbon" / "solar-grid-hourly.csv", 0)
    carbon = read_carbon(path, first, PAST_SLOTS + 3 * DAY_SLOTS)
    with running_slurm(NODES) as server:
        wanted = wanted_jobs(JOBS, np.random.Generator(np.random.PCG64(7)))
        yield DayRun(server, tmp_path_factory.mktemp("acting"), carbon, wanted).run(KILLS, RESTARTS)


def test_the_day_was_what_it_should_be(day):
    assert (len(day.jobs), day.killed, day.controller_restarts) == (JOBS, KILLS, RESTARTS)
    assert day.killed_mid_write >= KILLS // 2
    assert {job["job_state"] for job in day.jobs} == {"COMPLETED"}
    assert Counter(record["stage"] for record in day.audit)[Stage.BEGUN] > 5


def test_no_job_is_touched_whose_owner_has_not_agreed(day):
    assert sum(one.kind == "plain" for one in day.wanted) > 20
    assert touched(day) == []


def test_who_takes_a_job_out_is_heard_and_it_is_not_ordered_again(day):
    heard = after_out(day)  # the others were over before
    assert heard
    for job, count in heard.items():
        assert count <= 1  # let go, once
        assert job_of(day)[job]["comment"] == "icctwin:off"


def test_no_plan_makes_a_job_late(day):
    """By the last begin time that was ordered of each, and by when it really ended."""
    planned = {}
    for record in day.audit:
        if record["stage"] == "begun" and record["verb"] == Verb.BEGIN:
            planned.update({job: value for job, value in zip(record["targets"], record["values"], strict=True) if value})
    assert len(planned) > 20
    for job, one in zip(day.ids, day.wanted, strict=True):
        if job in planned and one.kind != "saves":  # of which part has run
            assert planned[job] + one.length * SLOT_S <= due_s(day, one)
    assert judge(day).late == []


def paused(day):
    """Job -> when the audit says that it was paused."""
    found = defaultdict(list)
    for record in day.audit:
        if record["stage"] == "begun" and record["verb"] == Verb.PAUSE:
            for job in record["targets"]:
                found[job].append(record["time_s"])
    return found


def test_jobs_that_save_themselves_are_paused_in_dirty_hours_and_lose_no_work(day):
    kinds = dict(zip(day.ids, day.wanted, strict=True))
    ran_s = dict(zip(day.ids, day.ran_s, strict=True))
    again = {job for job, record in job_of(day).items() if record["restart_cnt"] > 0}
    assert len(again) > 3
    assert {kinds[job].kind for job in again} == {"saves"}, "nobody else is interrupted"
    assert again <= set(paused(day)), "and each by us, as the audit says"
    for job, one in kinds.items():
        if one.kind == "saves":
            whole_s = one.length * SLOT_S - 0.2
            assert whole_s <= ran_s[job] < whole_s + SLOT_S, "it goes on where it was, and ends when it is done"
    at = [(max(paused(day)[job]), job_of(day)[job]["start_time"]) for job in again]
    stopped, went_on = (float(np.mean([day.carbon_at(np.array([pair[k]]))[0] for pair in at])) for k in (0, 1))
    assert went_on < 0.9 * stopped


def test_every_hold_is_released_and_no_words_of_ours_are_left(day):
    assert unreleased(day) == []
    assert judge(day).clean


def test_the_audit_explains_each_change_that_slurm_saw(day):
    assert sum(changes(day).values()) > 20
    assert unexplained(day) == []
    wrote = defaultdict(list)
    for record in day.audit:
        if record["stage"] == "begun":
            assert record["who"] == "icctwin"
            assert record["reason"]["text"]
            assert len(record["before"]) == len(record["values"]) == len(record["until"]) == len(record["targets"])
            wrote[record["plan"]].append(record)
    for record in day.audit:
        if record["stage"] == "done" and "results" in record:
            assert record["plan"] in wrote


def test_the_work_that_moved_ran_on_cleaner_power(day):
    """Each job as it ran beside when it would have been looked at: the moved ones together on at least a tenth less carbon."""
    moved, usual = 0.0, 0.0
    for job, one in zip(day.ids, day.wanted, strict=True):
        record = job_of(day)[job]
        if one.kind in ("soon", "day", "late") and record["start_time"] - record["submit_time"] > 4 * SLOT_S:
            run = np.arange(0, one.length * SLOT_S, SLOT_S / 4)
            moved += one.gpus * float(day.carbon_at(record["start_time"] + run).sum())
            usual += one.gpus * float(day.carbon_at(record["submit_time"] + run).sum())
    assert usual > 0
    assert moved < 0.9 * usual
