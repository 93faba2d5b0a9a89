"""Orders to a real Slurm: written once, read back, taken back; what an owner has not agreed to is not touched."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from devices import opened
from servers import running_slurm
from test_queue_slurm import site

from twin.order import Result, Verb, orders
from ui.benches.slurm_server import RESTART_S

pytestmark = pytest.mark.server
SLEEP = ("-o", "/dev/null", "--wrap", "sleep 300")
MARK = "icctwin:deadline=2036-12-01T06:00Z;interruptible"
SAVES = "trap 'exit 85' USR1; for i in $(seq 3000); do sleep 0.1; done"


@pytest.fixture(scope="module")
def slurm():
    with running_slurm(2) as cluster:
        yield cluster


@pytest.fixture(params=["rest", "commands"])
async def queue(slurm, request):
    """The queue over REST with commands for what that lacks, and by commands alone."""
    said = slurm.options if request.param == "rest" else {"commands": True, "conf": slurm.conf, "restart_s": RESTART_S}
    centre = opened("slurm", site(), queue="slurm", timeout_s=20, **said)
    yield centre.queues[0]
    await centre.sources[0].close()
    slurm.run("scancel", "--user=root")


def submit(slurm, *words, comment=MARK, script=None):
    last = ("-o", "/dev/null", "--wrap", script) if script else SLEEP
    return slurm.run("sbatch", "--parsable", "--gpus=1", "--comment", comment, *words, *last)


def shown(slurm, job, what):
    return slurm.run("squeue", "-h", "-j", job, "-o", what)


def soon():
    return datetime.now(UTC) + timedelta(hours=2)


async def test_a_begin_time_is_set_once_said_to_the_owner_and_taken_back(slurm, queue):
    job, now, until = submit(slurm, "-H"), datetime.now(UTC), soon()
    note = "waits for cleaner power"
    first = await queue.order(orders(Verb.BEGIN, [job], until.timestamp(), note), now)
    assert (list(first.why), list(first.results)) == ([""], [Result.DONE])
    assert first.after[0] == pytest.approx(until.timestamp(), abs=2)
    assert shown(slurm, job, "%T %k") == f"PENDING {MARK} [icctwin: {note}]"
    assert abs(datetime.fromisoformat(shown(slurm, job, "%S")).astimezone() - until) < timedelta(seconds=3)
    again = await queue.order(orders(Verb.BEGIN, [job], until.timestamp(), note), now)
    assert list(again.results) == [Result.SAME]
    back = await queue.order(orders(Verb.BEGIN, [job], 0.0, undo=True, expected=np.array([until.timestamp()])), now)
    assert list(back.results) == [Result.DONE]
    slurm.wait_for(lambda: shown(slurm, job, "%T") == "RUNNING")
    assert shown(slurm, job, "%k") == MARK
    late = await queue.order(orders(Verb.BEGIN, [job], until.timestamp(), note), now)
    assert list(late.results) == [Result.GONE]
    assert shown(slurm, job, "%T") == "RUNNING"


@pytest.mark.parametrize("comment", ["", "icctwin:off", "icctwin:deadline=whenever", "my own words"])
async def test_who_has_not_agreed_is_not_touched(slurm, queue, comment):
    job = submit(slurm, "-H", comment=comment)
    for verb in (Verb.BEGIN, Verb.HOLD, Verb.PRIORITY, Verb.COMMENT):
        got = await queue.order(orders(verb, [job], soon().timestamp(), "x"), datetime.now(UTC))
        assert list(got.results) == [Result.REFUSED]
    assert shown(slurm, job, "%r %k") == f"JobHeldUser {comment}".strip()


async def test_who_takes_a_job_out_while_all_are_listed_is_heard(slurm, queue, monkeypatch):
    rest = queue._scheduler.rest
    if rest is None:
        return  # by command there is but the list
    jobs = [submit(slurm, "--begin=now+3600") for _ in range(12)]  # so many that one list of all would cost less
    await queue.jobs(datetime.now(UTC))
    real, said = type(rest).jobs, []

    async def slow(self):
        found = await real(self)
        if not said:
            said.append(slurm.run("scontrol", "update", f"JobId={jobs[0]}", "Comment=icctwin:off"))
        return found

    monkeypatch.setattr(type(rest), "jobs", slow)
    got = await queue.order(orders(Verb.BEGIN, jobs, soon().timestamp(), "waits"), datetime.now(UTC))
    assert said, "it was listed, if only to be read back"
    assert list(got.results)[1:] == [Result.DONE] * 11
    assert shown(slurm, jobs[0], "%k") == "icctwin:off"


async def test_what_a_person_has_changed_is_left_alone(slurm, queue):
    job, now, until = submit(slurm, "--begin=now+3600"), datetime.now(UTC), soon()
    await queue.order(orders(Verb.BEGIN, [job], until.timestamp(), "waits"), now)
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+10800")
    back = await queue.order(orders(Verb.BEGIN, [job], 0.0, undo=True, expected=np.array([until.timestamp()])), now)
    assert list(back.results) == [Result.REFUSED]
    assert "a person has changed it" in back.why[0]


async def test_hold_priority_and_release_are_read_back(slurm, queue):
    job, now = submit(slurm, "--begin=now+3600"), datetime.now(UTC)
    assert list((await queue.order(orders(Verb.PRIORITY, [job], 5000.0), now)).results) == [Result.DONE]
    assert list((await queue.order(orders(Verb.HOLD, [job], texts="a power limit"), now)).results) == [Result.DONE]
    assert shown(slurm, job, "%r") in ("JobHeldUser", "JobHeldAdmin")
    assert list((await queue.order(orders(Verb.HOLD, [job], texts="a power limit"), now)).results) == [Result.SAME]
    assert list((await queue.order(orders(Verb.RELEASE, [job], undo=True), now)).results) == [Result.DONE]
    assert "JobHeld" not in shown(slurm, job, "%r")


async def test_a_running_job_is_paused_by_its_own_checkpoint_suspended_and_requeued(slurm, queue):
    job, now, until = submit(slurm, script=SAVES), datetime.now(UTC), soon()
    stubborn = submit(slurm, comment="icctwin:deadline=+8h", script=SAVES)
    for one in (job, stubborn):
        slurm.wait_for(lambda one=one: shown(slurm, one, "%T") == "RUNNING")
    await asyncio.sleep(0.2)  # until the script has set its trap
    got = await queue.order(orders(Verb.PAUSE, [job, stubborn]), now)
    assert list(got.results) == [Result.DONE, Result.REFUSED]
    got = await queue.order(orders(Verb.BEGIN, [job], until.timestamp(), "paused"), now)
    assert list(got.results) == [Result.DONE]
    assert shown(slurm, job, "%T") == "PENDING"
    got = await queue.order(orders(Verb.BEGIN, [job], 0.0, undo=True), now)
    slurm.wait_for(lambda: shown(slurm, job, "%T") == "RUNNING")
    assert list((await queue.order(orders(Verb.SUSPEND, [job]), now)).results) == [Result.DONE]
    assert list((await queue.order(orders(Verb.SUSPEND, [job]), now)).results) == [Result.SAME]
    assert shown(slurm, job, "%T") == "SUSPENDED"
    assert list((await queue.order(orders(Verb.RESUME, [job], undo=True), now)).results) == [Result.DONE]
    assert list((await queue.order(orders(Verb.REQUEUE, [job]), now)).results) == [Result.DONE]
    assert shown(slurm, job, "%T") == "PENDING"


async def test_nodes_are_drained_with_a_reason_and_never_taken_from_a_person(slurm, queue):
    now = datetime.now(UTC)
    say = ("sinfo", "-h", "-N", "-n", "gpu02", "-p", "batch", "-o", "%T|%E|%w|%b")
    was = slurm.run(*say)
    assert list((await queue.order(orders(Verb.DRAIN, ["gpu02"], texts="a CDU rests"), now)).results) == [Result.DONE]
    state, reason, *_ = slurm.run(*say).split("|")
    assert (state[:5], reason) == ("drain", "icctwin: a CDU rests")
    assert list((await queue.order(orders(Verb.DRAIN, ["gpu02"], texts="a CDU rests"), now)).results) == [Result.SAME]
    assert list((await queue.order(orders(Verb.UNDRAIN, ["gpu02"], undo=True), now)).results) == [Result.DONE]
    assert list((await queue.order(orders(Verb.WEIGHT, ["gpu02"], 7.0), now)).results) == [Result.DONE]
    got = await queue.order(orders(Verb.FEATURES, ["gpu02"], texts="liquid,h100,cool"), now)
    assert (list(got.results), list(got.said)) == ([Result.DONE], ["h100,liquid"]), got.why
    assert slurm.run(*say).split("|")[1:3] == ["none", "7"]
    await queue.order(orders(Verb.WEIGHT, ["gpu02"], 1.0), now)
    await queue.order(orders(Verb.FEATURES, ["gpu02"], texts=got.said[0]), now)
    assert [sorted(word.split(",")) for word in slurm.run(*say).split("|")[1:]] == [
        sorted(word.split(",")) for word in was.split("|")[1:]
    ]
    slurm.run("scontrol", "update", "NodeName=gpu02", "State=DRAIN", "Reason=bad fan")
    try:
        for verb in (Verb.DRAIN, Verb.UNDRAIN):
            assert list((await queue.order(orders(verb, ["gpu02"], texts="x"), now)).results) == [Result.REFUSED]
    finally:
        slurm.run("scontrol", "update", "NodeName=gpu02", "State=RESUME")
    assert list((await queue.order(orders(Verb.DRAIN, ["gpu99", "a b;reboot"]), now)).results) == [Result.GONE, Result.FAILED]
