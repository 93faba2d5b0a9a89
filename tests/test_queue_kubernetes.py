"""Kubernetes: a faithful small API server (pages, tokens, optional Kueue) gives jobs, pods of other controllers, and nodes."""

import math
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import NOW, Serving, columns, endless, garbage, opened, poll, refused, silent, tcp

from twin.job import JobState, NodeState
from twin.load import Row, build_site

KINDS = ("jobs", "pods", "nodes", "workloads", "clusterqueues")


def site():
    rows = [{"id": "hall", "kind": "hall"}, {"id": "rack", "kind": "rack", "parent": "hall"}, {"id": "k8s", "kind": "queue"}]
    for name in ("n1", "n2", "n3"):
        rows.append({"id": name, "kind": "node", "parent": "rack", "hostname": f"{name}.cluster"})
        rows += [{"id": f"{name}/{i}", "kind": "gpu", "parent": name, "index": str(i)} for i in range(4)]
    return build_site("s", "UTC", [Row("test", row) for row in rows])


def stamp(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spec(gpus, node=None, containers=1):
    one = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "4"}}}
    return {"containers": [one] * containers, **({"nodeName": node} if node else {})}


def job(name, gpus, parallelism=1, status=None, suspend=False, **meta):
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": f"job-{name}", "creationTimestamp": stamp(1000), **meta},
        "spec": {
            "parallelism": parallelism,
            "suspend": suspend,
            "template": {"spec": spec(gpus)},
            "activeDeadlineSeconds": 3600,
        },
        "status": status or {},
    }


def pod(name, gpus, node=None, phase="Running", owner=None, kind="Job", containers=1):
    references = [{"kind": kind, "name": owner[1], "uid": owner[0], "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": f"pod-{name}", "ownerReferences": references,
                     "creationTimestamp": stamp(1100)},
        "spec": spec(gpus, node, containers),
        "status": {"phase": phase, "startTime": stamp(1200)},
    }  # fmt: skip


def node(name, ready="True", unschedulable=False, gpus=4):
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    status = {"allocatable": {"nvidia.com/gpu": str(gpus), "cpu": "128"}, "conditions": conditions}
    return {"metadata": {"name": name}, "spec": {"unschedulable": unschedulable}, "status": status}


def workload(name, kind, gpus, count, admitted=False):
    conditions = [{"type": "Admitted", "status": "True" if admitted else "False"}]
    return {
        "metadata": {"name": f"{kind.lower()}-{name}-1", "namespace": "ml", "creationTimestamp": stamp(900),
                     "ownerReferences": [{"kind": kind, "name": name, "uid": f"w-{name}"}]},
        "spec": {"queueName": "research", "podSets": [{"count": count, "template": {"spec": spec(gpus)}}]},
        "status": {"conditions": conditions},
    }  # fmt: skip


CLUSTER = {
    "jobs": [
        job("train", 4, 2, {"startTime": stamp(2000)}, labels={"kueue.x-k8s.io/queue-name": "research"}),
        job("wait", 2, 3, suspend=True, annotations={"icctwin/deferrable": "true", "icctwin/deadline": "2026-12-01T00:00:00Z"}),
        job("done", 1, status={"startTime": stamp(2000), "completionTime": stamp(3000), "conditions": [{"type": "Complete",
        "status": "True"}]}), job("broke", 1, status={"conditions": [{"type": "Failed", "status": "True",
        "lastTransitionTime": stamp(2500)}]}), job("cpu-only", 0),
    ],
    "pods": [
        pod("train-0", 4, "n1.cluster", owner=("job-train", "train")),
        pod("train-1", 2, "n2.cluster", owner=("job-train", "train"), containers=2),
        pod("ray-0", 1, "n3.cluster", owner=("ray", "ray"), kind="RayCluster"),
        pod("ray-1", 1, "n3.cluster", owner=("ray", "ray"), kind="RayCluster"),
        pod("notebook", 1, phase="Pending"),
        pod("old", 4, "n1.cluster", phase="Succeeded"),
        pod("web", 0, "n1.cluster"),
    ],
    "nodes": [node("n1.cluster"), node("n2.cluster", unschedulable=True), node("n3.cluster"), node("x9", ready="Unknown")],
    "workloads": [workload("torch", "PyTorchJob", 8, 2), workload("ray", "RayCluster", 1, 2, admitted=True),
    workload("train", "Job", 4, 2)], "clusterqueues": [{"metadata": {"name": "research"}, "spec": {}}, {"metadata":
    {"name": "night"}, "spec": {"stopPolicy": "Hold"}}],
}  # fmt: skip


class Api(Serving):
    """Lists by pages of at most two objects, whoever asks for more; refuses other tokens; may lack Kueue."""

    def __init__(self, objects, *, kueue=True):
        self.objects, self.kueue, self.pages = objects, kueue, 0
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1")

    async def _handle(self, request):
        kind = request.path.rpartition("/")[2]
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({"kind": "Status", "apiVersion": "v1", "message": "Unauthorized", "code": 401}, status=401)
        if kind not in self.objects or ("kueue" in request.path and not self.kueue):
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        self.pages += 1
        start = int(request.query.get("continue", 0))
        size = min(int(request.query["limit"]), 2)
        rest = len(self.objects[kind]) > start + size
        return web.json_response(
            {"items": self.objects[kind][start : start + size], "metadata": {"continue": str(start + size) if rest else ""}}
        )


def centre(url, tmp_path, token="secret", **more):
    (tmp_path / "token").write_text(token)
    return opened("kubernetes", site(), queue="k8s", url=url, token_file=tmp_path / "token", **more)


async def test_jobs_pods_of_other_controllers_and_nodes_become_columns(tmp_path):
    of = site()
    async with Api(CLUSTER) as api:
        here = centre(api.url, tmp_path)
        frames = await poll(here.sources[0])
        jobs, cluster = await here.queues[0].jobs(NOW), await here.queues[0].cluster(NOW)
        await here.sources[0].close()
    by = {name: (JobState(jobs.state[i]).name, int(jobs.gpus[i]), jobs.partitions[i]) for i, name in enumerate(jobs.names)}
    assert by == {
        "train": ("RUNNING", 8, "research"),
        "wait": ("PENDING", 6, "ml"),
        "done": ("COMPLETED", 1, "ml"),
        "broke": ("FAILED", 1, "ml"),
        "ray": ("RUNNING", 2, "ml"),
        "notebook": ("PENDING", 1, "ml"),
        "torch": ("PENDING", 16, "research"),
    }
    at = {name: i for i, name in enumerate(jobs.names)}
    train, wait, done = at["train"], at["wait"], at["done"]
    assert jobs.ids[train] == "ml/train"
    # all of n1 and n2 are its own; which two of n3 the other holds is not known
    assert jobs.rows.tolist() == [of.row(f"n{n}/{i}") for n in (1, 2) for i in range(4)]
    assert set(jobs.job_of.tolist()) == {train}
    assert (jobs.submit_s[train], jobs.start_s[train], jobs.limit_s[train]) == (1000, 2000, 3600)
    assert (jobs.start_s[done], jobs.end_s[done], jobs.end_s[at["broke"]]) == (2000, 3000, 2500)
    assert math.isnan(jobs.start_s[wait])
    assert jobs.deferrable.tolist() == [int(i == wait) for i in range(len(jobs))]
    assert jobs.deadline_s[wait] == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert cluster.state.tolist() == [NodeState.ALLOCATED, NodeState.DRAINED, NodeState.MIXED, NodeState.DOWN]
    assert (cluster.gpus.tolist(), cluster.gpus_used.tolist()) == ([4] * 4, [4, 4, 2, 0])
    assert cluster.rows.tolist() == [0, 1, 2, -1]
    assert (cluster.partitions, cluster.partition_up.tolist()) == (["research", "night"], [1, 0])
    assert columns(frames["queue"]) == {
        "running_count": [2],
        "waiting_count": [3],
        "gpus_allocated_count": [10],
        "gpus_waiting_count": [23],
        "gpus_usable_count": [8],
        "nodes_usable_count": [2],
        "nodes_unusable_count": [2],
    }
    assert columns(frames["node"]) == {"usable_flag": [1, 0, 1]}
    assert here.sources[0].unmapped == 1
    assert api.pages == 3 + 4 + 2 + 2 + 1  # once, in pages


async def test_a_cluster_without_kueue_is_read_without_it(tmp_path):
    async with Api(CLUSTER, kueue=False) as api:
        here = centre(api.url, tmp_path)
        jobs, cluster = await here.queues[0].jobs(NOW), await here.queues[0].cluster(NOW)
        await here.sources[0].close()
    assert "torch" not in jobs.names
    assert cluster.partitions == []


async def test_a_sick_api_server_is_one_clear_error(tmp_path):
    async with Api(CLUSTER) as api:
        here = centre(api.url, tmp_path, token="other")
        assert "status 401 (Unauthorized); check token_file" in await refused(here.queues[0].jobs(NOW))
        await here.sources[0].close()
    async with Api({"jobs": [{"metadata": {}}], "pods": [], "nodes": []}) as api:
        here = centre(api.url, tmp_path)
        assert "shape that is not known" in await refused(here.queues[0].jobs(NOW))
        await here.sources[0].close()
    for answer in (silent, garbage, endless):
        async with tcp(answer) as port:
            here = centre(f"http://127.0.0.1:{port}", tmp_path, timeout_s=0.4)
            assert f"127.0.0.1:{port}" in await refused(here.queues[0].jobs(NOW))
            await here.sources[0].close()


def test_a_queue_that_the_site_does_not_have_and_a_secret_in_a_url_are_refused():
    with pytest.raises(Exception, match="is no queue of the site; known: k8s"):
        opened("kubernetes", site(), queue="other", url="https://k")
    with pytest.raises(ValueError, match="holds a secret"):
        opened("kubernetes", site(), queue="k8s", url="https://u:p@k")
