"""Two centres, two grids, a real federation of two Slurm clusters: waiting jobs whose owners agreed are sent to the cluster
where power is cleaner, nobody else's is touched, and what has not begun comes home, whoever dies meanwhile."""

import asyncio
import re
import signal
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from devices import opened
from moving_centre import FAR, SLOT_S, Grids, centre_of, read_anew

from energy.notes import TOPIC
from energy.place.atlas import Atlas, Place, Route
from ingest.queues.mark import owners_words
from twin.job import JobState, NodeState
from twin.load import Row, build_site
from twin.order import FEDERATED_ORDERS, Result, Verb, orders
from ui.benches.slurm_federation import NAMES, NODES, PORTS, SlurmFederation, federation_lacking, slurm_federation
from ui.benches.slurm_server import GPUS, free_ports
from ui.switch import Wish, wish

pytestmark = pytest.mark.server
HOME, AWAY = ("east/batch", "west/batch"), ("west/batch", "east/batch")
ATLAS = Atlas(
    tuple(Place(name, "slurm", (), f"grid-{name}", cluster=name) for name in NAMES), (Route(("east", "west"), 12e-3),)
)


def site():
    rows = [{"id": name, "kind": "hall"} for name in NAMES]
    rows += [{"id": "slurm", "kind": "queue"}, {"id": "grid-east", "kind": "grid"}, {"id": "grid-west", "kind": "grid"}]
    rows += [{"id": f"rack-{name}", "kind": "rack", "parent": name} for name in NAMES]
    for name in NAMES:
        for node in (f"{name[0]}{i:02d}" for i in range(1, NODES + 1)):
            rows.append({"id": node, "kind": "node", "parent": f"rack-{name}"})
            rows += [{"id": f"{node}/{g}", "kind": "gpu", "parent": node, "index": str(g)} for g in range(GPUS)]
    return build_site("two-centres", "UTC", [Row("test", row) for row in rows])


@pytest.fixture(scope="module")
def both():
    if lack := federation_lacking():
        pytest.skip(f"a real federation of Slurm clusters needs {lack}")
    with (
        tempfile.TemporaryDirectory(prefix="icctwin-federation-") as folder,
        slurm_federation(Path(folder), free_ports(PORTS)) as federation,
    ):
        yield federation


def run(both: SlurmFederation, *words, at="east"):
    return both.clusters[at].run(*words)


def submit(both, comment, *words, run_="sleep 300", at="east"):
    line = ("sbatch", "--parsable", "-o", "/dev/null", "-t", "5", "--comment", comment, *words, "--wrap", run_)
    return run(both, *line, at=at).partition(";")[0]


def shown(both, job, what, at="east"):
    try:
        return run(both, "squeue", "--local", "-h", "-j", job, "-t", "all", "-o", what, at=at)
    except subprocess.CalledProcessError:
        return ""  # it has no copy of it


async def until(ask, wanted):
    for _ in range(600):
        if ask() == wanted:
            return
        await asyncio.sleep(0.05)
    assert ask() == wanted


@pytest.fixture
async def queue(both):
    centre = opened("slurm", site(), queue="slurm", every_s=1.0, timeout_s=20, **both.options)
    yield centre.queues[0]
    await centre.sources[0].close()
    await clear(both)


async def clear(both):
    def busy():
        for name in NAMES:  # a copy may start while another is cancelled
            run(both, "scancel", "--user=root", at=name)
        return [run(both, "squeue", "--local", "-h", "-t", "pending,running,completing", at=name) for name in NAMES]

    await until(busy, ["", ""])


async def seen(queue, job):
    jobs, _ = await read_anew(queue)
    at = list(jobs.ids).index(job)
    return jobs.partitions[at], JobState(jobs.state[at])


async def test_a_job_of_the_federation_is_read_once_and_sent_once(both, queue):
    now = datetime.now(UTC)
    own_s, note = now.timestamp() // 1 + 3600, "runs in west"
    job, near, bound = (
        submit(both, comment, "--gpus=1", "--begin=now+3600", *words)
        for comment, words in ((FAR, ()), ("icctwin:runs=60s", ()), (FAR, ("--cluster-constraint=east",)))
    )
    await until(lambda: shown(both, job, "%T", at="west"), "PENDING")
    jobs, cluster = await read_anew(queue)
    assert sorted(jobs.ids) == sorted([job, near, bound])
    assert set(jobs.partitions) == {"east/batch"}
    assert set(cluster.partitions) == {f"{name}/{partition}" for name in NAMES for partition in ("batch", "night")}
    assert (cluster.rows >= 0).all()
    table = orders(Verb.MOVE, [job, near, bound], own_s, note, where=[HOME] * 3)
    got = await queue.order(table, now)
    assert list(got.results) == [Result.DONE, Result.REFUSED, Result.REFUSED], got.why
    assert (shown(both, job, "%T"), shown(both, job, "%T %k", at="west")) == ("REVOKED", f"PENDING {FAR} [icctwin: {note}]")
    assert [shown(both, other, "%T") for other in (near, bound)] == ["PENDING"] * 2
    assert (await queue.order(table, now)).results[0] is Result.SAME
    assert await seen(queue, job) == ("west/batch", JobState.PENDING)
    back = orders(Verb.MOVE, [job], own_s, undo=True, expected=np.array([own_s]), where=[AWAY])
    assert list((await queue.order(back, now)).results) == [Result.DONE]
    assert shown(both, job, "%T %k") == f"PENDING {FAR}"
    assert await seen(queue, job) == ("east/batch", JobState.PENDING)
    run(both, "scontrol", "update", f"JobId={job}", "ClusterFeatures=west")  # a person sends it, and it is theirs
    got = await queue.order(orders(Verb.MOVE, [job], own_s, note, where=[AWAY]), now)
    assert list(got.results) == [Result.REFUSED]
    assert list((await read_anew(queue))[0].terms.reach_s > 0) == [False] * 3


async def test_no_more_is_changed_at_a_time_than_a_federation_passes_on(both, queue):
    jobs = [submit(both, FAR, "--gpus=1", "--begin=now+3600") for _ in range(3)]
    await until(lambda: [shown(both, job, "%T", at="west") for job in jobs], ["PENDING"] * 3)
    own_s = datetime.now(UTC).timestamp() // 1 + 4000
    more = jobs + ["1"] * (FEDERATED_ORDERS - 2)
    got = await queue.order(orders(Verb.BEGIN, more, own_s, "later"), datetime.now(UTC))
    assert list(got.results) == [Result.DONE] * 3 + [Result.GONE] * (FEDERATED_ORDERS - 3) + [Result.REFUSED]
    begin = datetime.fromtimestamp(own_s, UTC).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    assert {shown(both, job, "%S", at=name) for job in jobs for name in NAMES} == {begin}  # in every copy
    for verb in (Verb.PAUSE, Verb.HOLD, Verb.DRAIN):
        got = await queue.order(orders(verb, jobs[:1]), datetime.now(UTC))
        assert list(got.results) == [Result.REFUSED]


async def test_a_cluster_that_dies_takes_no_more_jobs_and_gives_back_those_that_wait(both, queue):
    own_s = datetime.now(UTC).timestamp() // 1 + 3600
    away, home = (submit(both, FAR, "--gpus=1", "--begin=now+3600") for _ in range(2))
    await until(lambda: [shown(both, job, "%T", at="west") for job in (away, home)], ["PENDING"] * 2)
    got = await queue.order(orders(Verb.MOVE, [away], own_s, "runs there", where=[HOME]), datetime.now(UTC))
    assert list(got.results) == [Result.DONE]
    await read_anew(queue)
    both.end_controller("west", signal.SIGKILL)
    try:
        jobs, cluster = await read_anew(queue)
        at = {job: name for job, name in zip(jobs.ids, jobs.partitions, strict=True) if job in (away, home)}
        assert at == {away: "west/batch", home: "east/batch"}
        down = [name[0] for name, state in zip(cluster.nodes, cluster.state, strict=True) if state == NodeState.DOWN]
        assert down == ["w"] * NODES
        assert {name for name, up in zip(cluster.partitions, cluster.partition_up, strict=True) if up} == {"east/batch"}
        source = queue._scheduler
        assert (source.targets, source.targets_down, list(source.troubles)) == (2, 1, ["west"])
        got = await queue.order(orders(Verb.MOVE, [home], own_s, "runs there", where=[HOME]), datetime.now(UTC))
        assert list(got.results) == [Result.FAILED]
        assert "west" in got.why[0]
        assert shown(both, home, "%T %k") == f"PENDING {FAR}"  # nothing was written
        back = orders(Verb.MOVE, [away], own_s, undo=True, expected=np.array([own_s]), where=[AWAY])
        assert list((await queue.order(back, datetime.now(UTC))).results) == [Result.DONE]
        assert shown(both, away, "%T %k") == f"PENDING {FAR}"
    finally:
        both.start_controller("west")


@pytest.fixture
async def day(both):
    """A home that is full, and jobs of all kinds that wait in it; the west has room in one of its nodes."""
    full = [submit(both, "", "--gpus=8", "-N1", "--cluster-constraint=east") for _ in range(NODES)]
    full += [submit(both, "", "--gpus=8", "-N1", "--cluster-constraint=west", at="west") for _ in range(NODES)]
    for job in full:
        at = "east" if int(job) >> 26 == 1 else "west"
        await until(lambda job=job, at=at: shown(both, job, "%T", at=at), "RUNNING")
    yield {
        "goes": submit(both, FAR, "--gpus=2", run_="sleep 1"),
        "later": submit(both, FAR, "--gpus=2", "--begin=now+600"),
        "plain": submit(both, "", "--gpus=2", "--begin=now+600"),
        "waits": submit(both, "icctwin:runs=60s", "--gpus=2", "--begin=now+600"),
        "near": submit(both, "icctwin:runs=60s;latency=5ms", "--gpus=2", "--begin=now+600"),
        "bound": submit(both, FAR, "--gpus=2", "--cluster-constraint=east"),
        "out": submit(both, "icctwin:off", "--gpus=2", "--begin=now+600"),
        "room": full[-1],
    }
    await clear(both)


async def test_jobs_go_where_power_is_cleaner_and_a_stop_brings_home_what_waits(both, day, tmp_path):
    store = Grids(datetime.now(UTC).timestamp() // SLOT_S * SLOT_S)
    async with centre_of(site(), ATLAS, both.options, tmp_path, store) as centre:
        cut = asyncio.ensure_future(centre.look())  # which dies as soon as it has written
        await until(lambda: [shown(both, day[kind], "%T") for kind in ("goes", "later")], ["REVOKED"] * 2)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
    async with centre_of(site(), ATLAS, both.options, tmp_path, store) as again:
        # the next process knows by the audit where they are at home
        await moved(both, day, again)
        both.wait_answered([day["goes"]])
        both.end_controller("west")
        both.start_controller("west")
        run(both, "scancel", day["room"], at="west")
        run(both, "scontrol", "update", f"JobId={day['goes']}", "StartTime=now")  # its owner will not wait; but it is sent
        await until(lambda: shown(both, day["goes"], "%T", at="west"), "COMPLETED")
        assert await seen(again.queue, day["goes"]) == ("west/batch", JobState.COMPLETED)
        await stopped(both, day, again)


async def moved(both, day, centre):
    await centre.look()
    for kind in ("goes", "later"):
        assert await seen(centre.queue, day[kind]) == ("west/batch", JobState.PENDING), kind
        said = shown(both, day[kind], "%k")
        assert owners_words(said) == FAR
        assert "runs in west (5-20 ms away)" in said
        await until(lambda kind=kind, said=said: shown(both, day[kind], "%k", at="west") == said, True)
    for kind in ("plain", "waits", "near", "bound", "out"):
        assert await seen(centre.queue, day[kind]) == ("east/batch", JobState.PENDING), kind
        assert "[icctwin" not in shown(both, day[kind], "%k"), kind
    assert centre.acting._homes("slurm") == {day["goes"]: "east/batch", day["later"]: "east/batch"}
    log = (both.clusters["east"].folder / "slurmctld.log").read_text(errors="replace")
    told = {job for job in re.findall(r"setting comment to .* for JobId=(\d+)", log) if job in day.values()}
    assert told == {day["goes"], day["later"]}


async def stopped(both, day, centre):
    wish(centre.records, Wish("stop", "li", why="enough"), centre.clock.now())
    await centre.look()
    assert shown(both, day["later"], "%T %k") == f"PENDING {FAR}"
    assert await seen(centre.queue, day["later"]) == ("east/batch", JobState.PENDING)
    await centre.look()
    assert not centre.acting.desk.ordered
    audit = [record for _, _, record in centre.records.read(TOPIC, limit=1000)]
    begun = [record for record in audit if record["stage"] == "begun"]
    assert sorted(job for record in begun for job in record["targets"]) == sorted([day["goes"], day["later"]])
    for record in begun:
        assert record["reason"]["params"]["places"] == "west"
        assert record["where"] == [list(HOME)] * len(record["targets"])
    assert any(record["stage"] == "reverted" and day["later"] in record.get("targets", ()) for record in audit)
