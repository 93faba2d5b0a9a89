"""Many orders to Slurm at once: what they cost, and what becomes of those that do not fit the rest. Here the cluster is a table
in memory behind the calls of ``SlurmRest``; the real one is in ``test_slurm_orders`` and the bench."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ingest.queues.slurm import Options
from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_orders import ALONE, TOGETHER, SlurmOrders
from ingest.queues.slurm_records import node_record
from twin.errors import SourceError
from twin.job import NodeState
from twin.order import Result, Verb, orders

NOW = datetime(2026, 11, 2, tzinfo=UTC)
LATER_S = NOW.timestamp() + 36_000
MARK = "icctwin:deadline=2036-12-01T06:00Z"


class Cluster:
    """Jobs by number, as slurmrestd 0.0.38 tells of them; it counts what it is asked, and ``broken`` lists fail."""

    alone, settle_s = True, 0.0

    def __init__(self, count):
        self.table = {str(i): self.waiting(i) for i in range(1, count + 1)}
        self.listed = count
        self.calls = {"list": 0, "one": 0, "write": 0}
        self.broken: set[int] = set()
        self.deaf: set[str] = set()

    @staticmethod
    def waiting(i):
        return {"job_id": i, "job_state": "PENDING", "comment": MARK, "priority": 10, "eligible_time": 0, "submit_time": 1,
                "name": "j", "user_name": "u", "partition": "p", "restart_cnt": 0}  # fmt: skip

    async def jobs(self):
        self.calls["list"] += 1
        if self.calls["list"] in self.broken:
            raise SourceError("the list does not come")
        return [dict(one) for one in self.table.values()]

    async def job(self, number):
        self.calls["one"] += 1
        found = self.table.get(number)
        return None if found is None else dict(found)

    async def update_job(self, number, body):
        self.calls["write"] += 1
        if number in self.deaf:
            return ""  # answers 200, as slurmrestd does to keys that it does not know
        job = self.table[number]
        job["comment"] = body.get("comment", job["comment"])
        job["eligible_time"] = body.get("begin_time", job["eligible_time"])
        if "hold" in body:
            job["state_reason"] = "JobHeldAdmin" if body["hold"] else "None"
        return ""


def made(count):
    cluster = Cluster(count)
    options = Options(queue="q", url="unix:/nowhere")
    return cluster, SlurmOrders(options, cluster, None, lambda job: "" if "_" in job else job)


async def test_each_of_many_orders_costs_one_call_and_two_looks_at_the_list_for_all():
    cluster, slurm = made(1000)
    ids = list(cluster.table)
    got = await slurm.order(orders(Verb.BEGIN, ids, LATER_S, "waits"), NOW)
    assert got.count(Result.DONE) == 1000
    assert cluster.calls == {"list": 1 + 1000 // TOGETHER, "one": 0, "write": 1000}
    again = await slurm.order(orders(Verb.BEGIN, ids, LATER_S, "waits"), NOW)
    assert again.count(Result.SAME) == 1000
    assert cluster.calls == {"list": 2 + 1000 // TOGETHER, "one": 0, "write": 1000}


async def test_a_job_that_is_let_go_starts_at_once_though_our_clock_is_an_hour_ahead():
    cluster, slurm = made(3)
    for job in cluster.table.values():
        job |= {"submit_time": int(NOW.timestamp()) - 60, "eligible_time": LATER_S}
    got = await slurm.order(orders(Verb.BEGIN, list(cluster.table), 0.0, "", undo=True), NOW + timedelta(hours=1))
    assert got.count(Result.DONE) == 3
    assert all(job["eligible_time"] <= NOW.timestamp() for job in cluster.table.values())


async def test_a_few_orders_in_a_long_queue_are_asked_for_one_by_one():
    cluster, slurm = made(5000)
    got = await slurm.order(orders(Verb.HOLD, ["7", "8"], texts="x"), NOW)
    assert list(got.results) == [Result.DONE] * 2
    assert cluster.calls == {"list": 0, "one": 4, "write": 2}


async def test_receipts_stand_in_the_rows_of_their_orders():
    cluster, slurm = made(20)
    cluster.table["2"]["comment"] = "icctwin:off"
    cluster.table["3"]["job_state"] = "COMPLETED"
    cluster.table["4"]["eligible_time"] = LATER_S + 900
    cluster.table["5"]["job_state"] = 7  # of no shape that is known
    cluster.deaf.add("6")
    ids = ["1", "2", "3", "4", "5", "6", "no;job", "99", "8"]
    expected = np.array([np.nan, np.nan, np.nan, LATER_S, np.nan, np.nan, np.nan, np.nan, np.nan])
    got = await slurm.order(orders(Verb.BEGIN, ids, LATER_S, "waits", expected=expected), NOW)
    wanted = ["done", "refused", "gone", "refused", "failed", "failed", "failed", "gone", "done"]
    assert [str(one) for one in got.results] == wanted, got.why
    assert "a person has changed it" in got.why[3]
    assert cluster.table["2"]["comment"] == "icctwin:off"


@pytest.mark.parametrize("broken", [{1}, {2}, {1, 2}])
async def test_where_the_list_does_not_come_each_is_asked_for_by_itself(broken):
    cluster, slurm = made(100)
    cluster.broken = broken
    got = await slurm.order(orders(Verb.BEGIN, list(cluster.table), LATER_S, "waits"), NOW)
    assert got.count(Result.DONE) == 100
    assert cluster.calls["one"] == 100 * len(broken)


async def test_up_to_so_many_are_looked_at_just_before_they_are_written():
    cluster, slurm = made(ALONE)
    assert (await slurm.order(orders(Verb.BEGIN, list(cluster.table), LATER_S, "waits"), NOW)).count(Result.DONE) == ALONE
    assert cluster.calls == {"list": 1, "one": ALONE, "write": ALONE}


@pytest.mark.parametrize("stale", [False, True])
async def test_an_order_for_a_task_never_goes_to_its_array(stale):
    """Also where an old list says that its number is the array's: the last task has that, and it has ended."""
    cluster, slurm = made(3)
    if stale:
        slurm = SlurmOrders(Options(queue="q", url="unix:/nowhere"), cluster, None, lambda job: {"2_4": "2"}.get(job, ""))
    cluster.table["2"] |= {"array_job_id": 2, "array_task_id": {"set": False}, "array_task_string": "7-99"}
    cluster.table["3"] |= {"array_job_id": 2, "array_task_id": {"set": True, "number": 5}}
    before = {number: dict(job) for number, job in cluster.table.items()}
    gone = await slurm.order(orders(Verb.BEGIN, ["2_4"], 0.0, undo=True), NOW)
    assert list(gone.results) == [Result.GONE], gone.why
    assert cluster.table == before
    done = await slurm.order(orders(Verb.BEGIN, ["2_5", "2"], LATER_S, "waits"), NOW)
    assert list(done.results) == [Result.DONE] * 2, done.why
    assert cluster.table["3"]["eligible_time"] == LATER_S
    cluster.broken = {cluster.calls["list"] + 1}
    unknown = await slurm.order(orders(Verb.BEGIN, ["2_4"], 0.0, undo=True), NOW)
    assert list(unknown.results) == [Result.GONE if stale else Result.FAILED]


async def test_a_begin_time_that_goes_by_command_means_the_same_in_every_zone(monkeypatch):
    """scontrol reads it in the zone of its own environment; ours may be another."""
    cluster, _ = made(1)
    real = Commands(None, 5.0)

    class ByCommand(Commands):
        async def jobs(self):
            return await cluster.jobs()

        async def run(self, *words):
            said = dict(word.partition("=")[::2] for word in words)
            cluster.table["1"]["comment"] = said["Comment"]
            cluster.table["1"]["eligible_time"] = int(await real.run("date", "-d", said["StartTime"], "+%s"))
            return b""

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        by_command = SlurmOrders(Options(queue="q", commands=True), None, ByCommand(None, 5.0), lambda job: job)
        got = await by_command.order(orders(Verb.BEGIN, ["1"], LATER_S, "waits"), NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (list(got.results), cluster.table["1"]["eligible_time"]) == ([Result.DONE], LATER_S)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["IDLE", "CLOUD", "POWERED_DOWN"], NodeState.IDLE),  # Slurm saves energy: it wakes up for the next job
        (["IDLE", "POWERING_DOWN"], NodeState.IDLE),
        (["DOWN", "POWERED_DOWN"], NodeState.DOWN),
        (["IDLE", "POWERED_DOWN", "NOT_RESPONDING"], NodeState.DOWN),
        (["IDLE", "DRAIN", "POWERED_DOWN"], NodeState.DRAINED),
    ],
)
def test_a_node_that_slurm_powered_down_is_still_there(states, state):
    assert node_record({"name": "n1", "state": states, "gres": "gpu:h100:8"}).state == state
