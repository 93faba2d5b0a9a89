"""Slurm: a real cluster from Debian over JWT, over its socket and by command; telegraf's recorded answers; later shapes."""

import asyncio
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import NOW, columns, endless, garbage, opened, poll, refused, silent, tcp
from servers import running_slurm

from ingest.queues.slurm_records import gpus_in, hosts, number
from twin.frame import Origin
from twin.job import JobState, NodeState
from twin.load import Row, build_site
from twin.order import Result, Verb, orders
from twin.ports import Action, Capacity

NODES, GPUS = 2, 8


def site(names=("gpu01", "gpu02")):
    rows = [{"id": "hall", "kind": "hall"}, {"id": "rack", "kind": "rack", "parent": "hall"}, {"id": "slurm", "kind": "queue"}]
    for name in names:
        rows.append({"id": name, "kind": "node", "parent": "rack"})
        rows += [{"id": f"{name}/{i}", "kind": "gpu", "parent": name, "index": str(i)} for i in range(GPUS)]
    return build_site("s", "UTC", [Row("test", row) for row in rows])


@pytest.fixture(scope="module")
def slurm():
    """A real Slurm with a running job, one held, an array, a reservation and a drained node."""
    with running_slurm(NODES) as cluster:
        run = cluster.run
        shell = ("-o", "/dev/null", "--wrap", "sleep 300")
        run("sbatch", "-w", "gpu01", "--gpus-per-node=2", "-J", "train", "-t", "90", "--comment", "deferrable please", *shell)
        run("sbatch", "-N2", "--gres=gpu:8", "-J", "big", "--begin=now+3600", *shell)
        run("sbatch", "--array=0-3%2", "--gpus=1", "-H", "-J", "sweep", "--deadline=now+30days", *shell)
        run(
            "scontrol",
            "create",
            "reservation",
            "ReservationName=fix",
            "StartTime=now+7200",
            "Duration=60",
            "Nodes=gpu02",
            "Users=root",
        )
        run("scontrol", "update", "NodeName=gpu02", "State=DRAIN", "Reason=test")
        cluster.wait_for(lambda: "RUNNING" in run("squeue", "-h", "-o", "%T"))
        yield cluster


def options(cluster, tmp_path, way):
    token = tmp_path / "token"
    token.write_text(cluster.token)
    rest = {"url": cluster.url, "user": "root", "token_file": token}
    return {
        "jwt": rest,
        "socket": {"url": f"unix:{cluster.folder}/rest/socket"},
        "commands": {"commands": True, "conf": cluster.conf},
        "fallback": {"url": "http://127.0.0.1:9", "user": "root", "token_file": token, "commands": True, "conf": cluster.conf},
    }[way]


@pytest.mark.server
@pytest.mark.parametrize("way", ["jwt", "socket", "commands", "fallback"])
async def test_a_real_cluster_is_read_alike_whichever_way(slurm, tmp_path, way):
    of = site()
    centre = opened("slurm", of, queue="slurm", timeout_s=20, **options(slurm, tmp_path, way))
    (source,), (queue,) = centre.sources, centre.queues
    now = datetime.now(UTC)
    try:
        frames = await poll(source, now)
        jobs, cluster = await queue.jobs(now), await queue.cluster(now)
    finally:
        await source.close()
    assert isinstance(queue, Capacity)
    by_name = {name: i for i, name in enumerate(jobs.names)}
    train, big, sweep = (by_name[name] for name in ("train", "big", "sweep"))
    assert len(jobs) == 3
    assert jobs.state.tolist() == [JobState.RUNNING if i == train else JobState.PENDING for i in range(3)]
    assert (jobs.gpus[train], jobs.gpus[big], jobs.gpus[sweep]) == (2, 16, 4)
    assert jobs.rows.tolist() == [of.row("gpu01/0"), of.row("gpu01/1")]
    assert jobs.job_of.tolist() == [train, train]
    assert (jobs.limit_s[train], jobs.limit_s[big]) == (5400, 3600)
    assert abs(jobs.start_s[train] - now.timestamp()) < 120
    assert math.isnan(jobs.start_s[big])  # expected is not started
    assert np.isnan(jobs.end_s).all()
    assert jobs.deadline_s[sweep] == pytest.approx(now.timestamp() + 30 * 86400, abs=200)
    assert jobs.deferrable.tolist() == [int(i == train) for i in range(3)]
    assert (cluster.nodes, cluster.rows.tolist()) == (["gpu01", "gpu02"], [of.row("gpu01"), of.row("gpu02")])
    assert cluster.state.tolist() == [NodeState.MIXED, NodeState.DRAINED]
    assert (cluster.gpus.tolist(), cluster.gpus_used.tolist()) == ([8, 8], [2, 0])
    assert cluster.partition_nodes.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert (cluster.reservations, cluster.reservation_nodes.tolist()) == (["fix"], [[0, 1]])
    assert cluster.reservation_end_s[0] - cluster.reservation_start_s[0] == 3600
    assert cluster.reservation_start_s[0] == pytest.approx(now.timestamp() + 7200, abs=200)
    if way in ("jwt", "socket"):  # Slurm 22.05 has no command that prints these as JSON
        assert (cluster.partitions, cluster.partition_up.tolist()) == (["batch", "night"], [1, 0])
    assert columns(frames["queue"]) == {
        "running_count": [1],
        "waiting_count": [2],
        "gpus_allocated_count": [2],
        "gpus_waiting_count": [20],
        "gpus_usable_count": [8],
        "nodes_usable_count": [1],
        "nodes_unusable_count": [1],
    }
    assert columns(frames["node"]) == {"usable_flag": [1, 0]}


@pytest.mark.server
async def test_a_bad_token_and_an_unknown_site_are_told_clearly(slurm, tmp_path):
    said = options(slurm, tmp_path, "jwt")
    said["token_file"].write_text("eyJhbGciOiJIUzI1NiJ9.e30.wrong")
    centre = opened("slurm", site(), queue="slurm", **said)
    assert "is the token in token_file that user's" in await refused(centre.sources[0].poll(NOW))
    await centre.sources[0].close()
    centre = opened("slurm", site(("other",)), queue="slurm", **options(slurm, tmp_path, "socket"))
    assert "node" not in await poll(centre.sources[0])
    assert centre.sources[0].unmapped == NODES
    await centre.sources[0].close()


class Recorded:
    """slurmrestd as recorded: a description that offers ``version``, and a folder of its answers."""

    def __init__(self, answers, version):
        self.answers, self.version, self.asked = answers, version, []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1")

    async def __aenter__(self):
        await self._server.start_server()
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    @property
    def url(self):
        return str(self._server.make_url("/"))

    async def _handle(self, request):
        self.asked.append(request.path)
        if request.path == "/openapi/v3":
            old = "v0.0.36"
            return web.json_response({"paths": {f"/slurm/{v}/{p}": {} for v in (old, self.version) for p in ("jobs", "nodes")}})
        part = Path(request.path).name
        if request.path.startswith(f"/slurm/{self.version}/") and part in self.answers:
            return web.json_response(self.answers[part])
        return web.json_response({"errors": [{"error": "no such"}]}, status=404)


def recorded(service, tmp_path, of=None, **more):
    (tmp_path / "token").write_text("topSecret")
    return opened("slurm", of or site(), queue="slurm", url=service.url, user="root", token_file=tmp_path / "token", **more)


async def test_telegrafs_recorded_answers_give_telegrafs_values(shared_data, tmp_path):
    folder = shared_data / "telegraf" / "slurm" / "gather"
    answers = {path.stem: json.loads(path.read_text()) for path in (folder / "responses").glob("*.json")}
    wanted = {}
    for line in (folder / "expected.out").read_text().splitlines():
        head, _, rest = line.partition(" ")
        if head.startswith("slurm_jobs"):
            tags = dict(tag.split("=", 1) for tag in head.split(",")[1:])
            fields = dict(field.split("=", 1) for field in rest.rpartition(" ")[0].split(",") if "=" in field)
            wanted[tags["job_id"]] = (tags["name"], *(fields[n].strip('"') for n in ("partition", "state", "submit_time",
            "start_time")),
                                      fields["time_limit"])  # fmt: skip
    names = ("naboo145", "naboo146", "naboo147")
    of = site(names)
    async with Recorded(answers, "v0.0.38") as service:
        centre = recorded(service, tmp_path, of)
        jobs, cluster = await centre.queues[0].jobs(NOW), await centre.queues[0].cluster(NOW)
        await centre.sources[0].close()
    assert len(wanted) == 3
    got = {}
    for i, job in enumerate(jobs.ids):
        start = jobs.start_s[i]
        got[job] = (jobs.names[i], jobs.partitions[i], JobState(jobs.state[i]).name, f"{jobs.submit_s[i]:.0f}i",
        f"{start:.0f}i",
                    f"{jobs.limit_s[i] / 60:.0f}i")  # fmt: skip
    assert got == wanted
    assert cluster.nodes == list(names)
    assert cluster.state.tolist() == [NodeState.DRAINED, NodeState.DRAINED, NodeState.ALLOCATED]
    assert cluster.partitions == ["atlas"]
    assert len(service.asked) == 5  # jobs and capacity are asked for once


async def test_telegrafs_answers_that_broke_it_do_not_break_us(shared_data, tmp_path):
    folder = shared_data / "telegraf" / "slurm" / "panic" / "responses"
    answers = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    async with Recorded(answers, "v0.0.38") as service:
        centre = recorded(service, tmp_path)
        jobs = await centre.queues[0].jobs(NOW)
        await centre.sources[0].close()
    assert len(jobs) == len(answers["jobs"]["jobs"])


def wrapped(value):
    return {"set": value is not None, "infinite": False, "number": value or 0}


async def test_the_shapes_of_later_versions_are_read_and_the_newest_is_taken(tmp_path):
    job = {
        "job_id": 71, "name": "train", "user_name": "ada", "partition": "batch", "job_state": ["RUNNING", "COMPLETING"],
        "submit_time": wrapped(1000), "start_time": wrapped(2000), "end_time": wrapped(9000), "time_limit": wrapped(60),
        "deadline": wrapped(0), "array_job_id": wrapped(70), "array_task_id": wrapped(1), "tres_alloc_str":
        "cpu=4,gres/gpu=2,gres/gpu:h100=2", "gres_detail": ["gpu:h100:2(IDX:3,5)"], "job_resources": {"nodes":
        {"allocation": [{"name": "gpu02"}]}}, "comment": "", "qos": "scavenge",
    }  # fmt: skip
    waiting = {**job, "job_id": 72, "job_state": ["PENDING"], "array_job_id": wrapped(None), "array_task_id": wrapped(None),
               "gres_detail": [], "tres_alloc_str": "", "tres_req_str": "cpu=1,gres/gpu=4", "array_task_string": "2-9:2%1",
               "qos": "high", "time_limit": {"set": True, "infinite": True, "number": 0}, "job_resources": None}  # fmt: skip
    nodes = [{"name": "gpu02", "state": ["IDLE", "DRAIN"], "gres": "gpu:h100:8(S:0-1)", "gres_used": "gpu:h100:2(IDX:3,5)",
    "partitions": ["batch"]},
             {"name": "gpu01", "state": ["IDLE", "NOT_RESPONDING"], "gres": "gpu:8", "gres_used": "gpu:0", "partitions":
             ["batch"]}]  # fmt: skip
    answers = {
        "jobs": {"jobs": [job, waiting], "errors": [], "warnings": []},
        "nodes": {"nodes": nodes},
        "partitions": {"partitions": [{"name": "batch", "partition": {"state": ["UP"]}}]},
        "reservations": {
            "reservations": [{"name": "r", "start_time": wrapped(5), "end_time": wrapped(9), "node_list": "gpu[01-02]"}]
        },
    }
    async with Recorded(answers, "v0.0.43") as service:
        of = site()
        centre = recorded(service, tmp_path, of, deferrable_qos=["scavenge"])
        jobs, cluster = await centre.queues[0].jobs(NOW), await centre.queues[0].cluster(NOW)
        await centre.sources[0].close()
    assert (list(jobs.ids), jobs.gpus.tolist()) == (["70_1", "72"], [2, 16])
    assert jobs.rows.tolist() == [of.row("gpu02/3"), of.row("gpu02/5")]
    np.testing.assert_array_equal(jobs.limit_s, [3600, np.nan])
    assert jobs.deferrable.tolist() == [1, 0]
    assert cluster.state.tolist() == [NodeState.DRAINED, NodeState.DOWN]
    assert cluster.reservation_nodes.tolist() == [[0, 1], [0, 0]]
    assert any("/v0.0.43/jobs" in path for path in service.asked)


async def test_a_sick_slurmrestd_is_one_clear_error(tmp_path):
    (tmp_path / "token").write_text("t")
    said = {"queue": "slurm", "user": "root", "token_file": tmp_path / "token", "timeout_s": 0.4}
    for answer in (silent, garbage, endless):
        async with tcp(answer) as port:
            centre = opened("slurm", site(), url=f"http://127.0.0.1:{port}", **said)
            assert f"127.0.0.1:{port}" in await refused(centre.queues[0].jobs(NOW))
            await centre.sources[0].close()
    errors = {"errors": [{"error": "Unable to contact slurm controller"}], "jobs": []}
    empty = {part: {part: []} for part in ("nodes", "partitions", "reservations")}
    strange = {"jobs": {"jobs": [{"no": 1}]}, **empty}
    for answers, says in (({"jobs": errors}, "Unable to contact"), (strange, "shape that is not known")):
        async with Recorded(answers, "v0.0.38") as service:
            centre = recorded(service, tmp_path)
            assert says in await refused(centre.queues[0].jobs(NOW))
            await centre.sources[0].close()
    centre = opened("slurm", site(), queue="slurm", commands=True, conf=tmp_path / "none.conf", timeout_s=0.5)
    assert "squeue --json" in await refused(centre.queues[0].jobs(NOW))


@pytest.mark.parametrize(("text", "names"), [
    ("", []), ("a", ["a"]), ("gpu[01-03,7],login1", ["gpu01", "gpu02", "gpu03", "gpu7", "login1"]),
    ("r[1-2]n[08-09]-ib", ["r1n08-ib", "r1n09-ib", "r2n08-ib", "r2n09-ib"]),
])  # fmt: skip
def test_lists_of_hosts_are_spelt_out(text, names):
    assert hosts(text) == names


def test_a_list_of_hosts_has_a_bound():
    with pytest.raises(ValueError, match="more than"):
        hosts("a[1-99999]b[1-99]")


@pytest.mark.parametrize(("text", "count"), [
    ("cpu=4,gres/gpu=2,gres/gpu:h100=2", 2), ("gres:gpu:8", 8), ("gpu:h100:4(IDX:0-3)", 4),
    ("gres/gpu:a100=4,gres/gpu:h100=2", 6), ("cpu=1,mem=4G,node=1,billing=1", 0), ("gpu:8", 8), ("gpu:h100:8(S:0-1)", 8),
    ("", 0), (None, 0), ("gres/gpumem=80G", 0),
])  # fmt: skip
def test_gpus_are_counted_in_every_spelling(text, count):
    assert gpus_in(text) == count


def test_numbers_are_read_plain_and_wrapped():
    assert number(7) == number(wrapped(7)) == 7
    for none in (None, True, "7", wrapped(None), {"set": True, "infinite": True, "number": 5}):
        assert math.isnan(number(none))


async def test_the_scheduler_is_asked_once_in_its_interval(shared_data, tmp_path):
    folder = shared_data / "telegraf" / "slurm" / "gather" / "responses"
    answers = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    async with Recorded(answers, "v0.0.38") as service:
        centre = recorded(service, tmp_path, every_s=15)
        await asyncio.gather(*(centre.queues[0].jobs(NOW + timedelta(seconds=s)) for s in (0, 2, 5, 10)))
        assert len(service.asked) == 5
        await centre.queues[0].jobs(NOW + timedelta(seconds=15))
        assert len(service.asked) == 9
        await centre.sources[0].close()


class Later(Recorded):
    """slurmrestd of a later version: wrapped values in, nodes that can be changed, and 200 with errors where it says no."""

    def __init__(self):
        job = {
            "job_id": 71, "name": "train", "user_name": "ada", "partition": "batch", "job_state": ["PENDING"], "comment":
            "icctwin:on", "submit_time": wrapped(1000), "eligible_time": wrapped(1000), "time_limit": wrapped(60),
            "priority": wrapped(7), "restart_cnt": 0, "state_reason": "Resources", "deadline": wrapped(0),
        }  # fmt: skip
        node = {"name": "gpu02", "state": ["IDLE"], "gres": "gpu:8", "gres_used": "gpu:0", "reason": "", "weight": 1}
        super().__init__({"jobs": {"jobs": [job]}, "nodes": {"nodes": [node]}}, "v0.0.43")
        self.wrote = []

    async def _handle(self, request):
        base = f"/slurm/{self.version}"
        if request.path == "/openapi/v3":
            calls = {"/jobs": ["get"], "/job/{job_id}": ["get", "post", "delete"], "/node/{node_name}": ["get", "post"]}
            return web.json_response({"paths": {base + path: {verb: {} for verb in verbs} for path, verbs in calls.items()}})
        part = "jobs" if "/job/" in request.path else "nodes"
        (one,) = self.answers[part][part]
        if request.method == "POST":
            body = await request.json()
            self.wrote.append(body)
            if body.get("priority", {}).get("number") == 0:
                return web.json_response({"errors": [{"error": "Access/permission denied", "error_number": 2002}]})
            taken = {"begin_time": "eligible_time"}
            one |= {taken.get(name, name): value for name, value in body.items()}
        return web.json_response(self.answers[part])


async def test_orders_take_the_shapes_of_later_versions_and_200_with_errors_is_no_yes(tmp_path):
    async with Later() as service:
        centre = recorded(service, tmp_path)

        async def told(verb, target, *more):
            return await centre.queues[0].order(orders(verb, [target], *more), NOW)

        later_s = NOW.timestamp() + 7200
        assert list((await told(Verb.BEGIN, "71", later_s, "waits")).results) == [Result.DONE]
        assert service.wrote[-1]["begin_time"] == wrapped(int(later_s))
        no = await told(Verb.PRIORITY, "71", 0.0)
        assert (list(no.results), list(no.why)) == ([Result.FAILED], ["Access/permission denied"])
        assert list((await told(Verb.DRAIN, "gpu02", np.nan, "a CDU rests")).results) == [Result.DONE]
        assert service.wrote[-1] == {"state": ["DRAIN"], "reason": "icctwin: a CDU rests"}
        no = await told(Verb.SUSPEND, "71")
        assert list(no.results) == [Result.GONE]  # it does not run
        await centre.sources[0].close()
    async with Later() as service:
        centre = recorded(service, tmp_path, orders=False)
        no = await centre.queues[0].order(orders(Verb.BEGIN, ["71"], later_s), NOW)
        assert (list(no.results), service.wrote) == ([Result.REFUSED], [])
        await centre.sources[0].close()


async def test_a_power_cap_goes_by_the_sites_own_tool_and_is_read_back(tmp_path):
    tool = tmp_path / "cap"
    tool.write_text(f'#!/bin/sh\nif [ "$1" = set ]; then echo "$3" > {tmp_path}/$2; else cat {tmp_path}/$2; fi\n')
    tool.chmod(0o755)
    said = {"url": "http://127.0.0.1:9", "user": "root", "token_file": tmp_path / "token"}
    caps = {"cap": [str(tool), "set", "{node}", "{watts}"], "cap_read": [str(tool), "get", "{node}"]}
    centre = opened("slurm", site(), queue="slurm", **said, **caps)
    act = Action("gpu01", "power_cap_w", 5600.0, NOW + timedelta(hours=1), "k")
    frame = await centre.actuators["gpu01"].apply(act, NOW)
    assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"power_cap_w": [5600.0]})
    (tmp_path / "gpu02").write_text("broken")
    tool.write_text(f"#!/bin/sh\ncat {tmp_path}/gpu02\n")
    assert "should print watts" in await refused(centre.actuators["gpu02"].apply(replace(act, asset="gpu02"), NOW))
    await centre.sources[0].close()
