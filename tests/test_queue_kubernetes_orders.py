"""Orders to Kubernetes, against an API server that keeps to what is documented: JSON merge patches (RFC 7386), a conflict where
the version that was read is not the newest any more, a Kueue that puts right whoever suspends what it manages."""

import asyncio
from copy import deepcopy

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import NOW, Serving, opened
from test_queue_kubernetes import job, node, pod, site, workload

from ingest.queues.kubernetes_records import NOTE
from twin.order import Result, Verb, orders

LATER = NOW.timestamp() + 7200
AGREED = {"icctwin/deferrable": "true"}
QUEUE = {"kueue.x-k8s.io/queue-name": "research"}
BATCH, CORE, KUEUE = "/apis/batch/v1/namespaces/ml/jobs", "/api/v1/nodes", "/apis/kueue.x-k8s.io/v1beta1"
PODS = "/api/v1/namespaces/ml/pods"


def merged(value, patch):
    made = dict(value)
    for key, new in patch.items():
        if new is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key) or {}, new) if isinstance(new, dict) else new
    return made


class Server(Serving):
    """Objects by path. ``race``: path -> what a person does between our reading and our patch."""

    def __init__(self, objects):
        self.objects = {path: deepcopy(one) for path, one in objects.items()}
        self.race, self.patched = {}, []
        for one in self.objects.values():
            one["metadata"]["resourceVersion"] = "1"
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        app.router.add_patch("/{path:.*}", self._patch)
        self._server = TestServer(app, host="127.0.0.1")

    async def _get(self, request):
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        group, _, kind = request.path.rpartition("/")
        mine = [path for path in self.objects if path.startswith(group) and path.split("/")[-2] == kind]
        items = [self.objects[path] for path in mine]
        known = request.path.rpartition("/")[2] in ("workloads", "jobs", "pods", "nodes", "clusterqueues")
        return web.json_response({"items": items, "metadata": {}} if known else {}, status=200 if known else 404)

    async def _patch(self, request):
        assert request.content_type == "application/merge-patch+json"
        if request.path not in self.objects:
            return web.json_response({"message": "not found"}, status=404)
        if request.path in self.race:
            self.change(request.path, self.race.pop(request.path))
        body, here = await request.json(), self.objects[request.path]
        wanted = body["metadata"].pop("resourceVersion", None)
        if wanted != here["metadata"]["resourceVersion"]:
            return web.json_response({"message": "the object has been modified"}, status=409)
        self.patched.append((request.path, body))
        self.change(request.path, body)
        return web.json_response(self.objects[request.path])

    def change(self, path, patch):
        here = merged(self.objects[path], patch)
        if QUEUE.items() <= (here["metadata"].get("labels") or {}).items() and "suspend" in patch.get("spec", {}):
            here["spec"]["suspend"] = False  # Kueue owns it
        here["metadata"]["resourceVersion"] = str(int(here["metadata"]["resourceVersion"]) + 1)
        self.objects[path] = here


def objects():
    managed = workload("train", "Job", 4, 2)
    managed["metadata"]["ownerReferences"][0]["uid"] = "job-train"
    return {
        f"{BATCH}/wait": job("wait", 2, annotations=AGREED),
        f"{BATCH}/mine": job("mine", 2),
        f"{BATCH}/held": job("held", 2, suspend=True, annotations=AGREED),
        f"{BATCH}/runs": job("runs", 2, status={"active": 1}, annotations=AGREED),
        f"{BATCH}/pausable": job("pausable", 2, status={"active": 1}, annotations={**AGREED, "icctwin/interruptible": "true"}),
        f"{BATCH}/over": job("over", 2, status={"conditions": [{"type": "Complete", "status": "True"}]}, annotations=AGREED),
        f"{BATCH}/train": job("train", 4, labels=QUEUE, annotations=AGREED),
        f"{KUEUE}/namespaces/ml/workloads/job-train-1": managed,
        f"{KUEUE}/clusterqueues/research": {"metadata": {"name": "research"}, "spec": {}},
        f"{KUEUE}/namespaces/ml/localqueues/mine": {"metadata": {"name": "mine"}, "spec": {"stopPolicy": "Hold"}},
        f"{CORE}/n1": node("n1"),
        f"{CORE}/n2": node("n2", unschedulable=True),
    }


@pytest.fixture
async def field(tmp_path):
    (tmp_path / "token").write_text("secret")
    async with Server(objects()) as server:
        centre = opened("kubernetes", site(), queue="k8s", url=server.url, token_file=tmp_path / "token")

        async def told(verb, *targets, values=np.nan, texts="", **more):
            got = await centre.queues[0].order(orders(verb, list(targets), values, texts, **more), NOW)
            return list(got.results)

        yield server, told, centre.queues[0]
        await centre.sources[0].close()


async def test_a_job_waits_suspended_with_its_time_and_is_let_go(field):
    server, told, queue = field
    path = f"{BATCH}/wait"
    assert await told(Verb.BEGIN, "ml/wait", values=LATER, texts="cleaner power") == [Result.DONE]
    assert server.objects[path]["spec"]["suspend"] is True
    assert server.objects[path]["metadata"]["annotations"][NOTE] == "cleaner power"
    assert await told(Verb.BEGIN, "ml/wait", values=LATER, texts="cleaner power") == [Result.SAME]
    jobs = await queue.jobs(NOW)
    at = jobs.ids.index("ml/wait")
    assert (jobs.terms.begin_s[at], jobs.terms.noted[at], jobs.terms.held[at]) == (pytest.approx(LATER, abs=1), 1, 1)
    assert not queue.releases_itself
    other = await told(Verb.BEGIN, "ml/wait", values=0.0, undo=True, expected=np.array([LATER + 999]))
    assert other == [Result.REFUSED]
    assert await told(Verb.BEGIN, "ml/wait", values=0.0, undo=True, expected=np.array([LATER])) == [Result.DONE]
    assert server.objects[path]["spec"]["suspend"] is False
    assert NOTE not in server.objects[path]["metadata"]["annotations"]


async def test_what_kueue_manages_is_made_inactive_and_never_suspended(field):
    server, told, _ = field
    assert await told(Verb.BEGIN, "ml/train", values=LATER, texts="later") == [Result.DONE]
    assert server.objects[f"{KUEUE}/namespaces/ml/workloads/job-train-1"]["spec"]["active"] is False
    assert await told(Verb.BEGIN, "ml/train", values=0.0, undo=True) == [Result.DONE]
    assert server.objects[f"{KUEUE}/namespaces/ml/workloads/job-train-1"]["spec"]["active"] is True
    assert not [body for path, body in server.patched if path == f"{BATCH}/train" and "spec" in body]


async def test_a_job_waits_while_none_of_its_pods_has_a_node_and_nothing_of_what_has_begun_waits_longer(field):
    server, told, _ = field
    server.objects |= {
        f"{BATCH}/queued": job("queued", 2, status={"active": 2, "ready": 0}, annotations=AGREED),
        f"{PODS}/queued-0": pod("queued-0", 2, phase="Pending", owner=("job-queued", "queued")),
        f"{PODS}/queued-1": pod("queued-1", 2, phase="Pending", owner=("job-queued", "queued")),
        f"{PODS}/other": pod("other", 2, "n1", owner=("job-other", "other")),
    }
    server.objects[f"{BATCH}/queued"]["metadata"]["resourceVersion"] = "1"
    for change in ({"spec": {"nodeName": "n1"}}, {"metadata": {"ownerReferences": []}}):  # placed, or not to be seen
        whole = server.objects[f"{PODS}/queued-1"]
        server.objects[f"{PODS}/queued-1"] = merged(whole, change)
        assert await told(Verb.BEGIN, "ml/queued", values=LATER, texts="x") == [Result.GONE]
        server.objects[f"{PODS}/queued-1"] = whole
    assert await told(Verb.BEGIN, "ml/runs", "ml/pausable", values=LATER, texts="x") == [Result.GONE] * 2
    assert await told(Verb.BEGIN, "ml/runs", values=0.0) == [Result.GONE]
    assert server.patched == []
    assert await told(Verb.BEGIN, "ml/queued", values=LATER, texts="x") == [Result.DONE]
    assert server.objects[f"{BATCH}/queued"]["spec"]["suspend"] is True
    assert await told(Verb.PAUSE, "ml/pausable", texts="paused") == [Result.DONE]
    assert await told(Verb.BEGIN, "ml/pausable", values=LATER, texts="paused") == [Result.DONE], "of what rests already"


async def test_owners_and_persons_come_first(field):
    server, told, _ = field
    before = deepcopy(server.objects)
    for name in ("mine", "held", "runs"):
        for verb in (Verb.BEGIN, Verb.HOLD, Verb.PAUSE):
            late = name == "runs" and verb is Verb.BEGIN
            assert await told(verb, f"ml/{name}", values=LATER, texts="x") == [Result.GONE if late else Result.REFUSED]
    assert await told(Verb.HOLD, "ml/over", "ml/none", "ml", "../../api") == [Result.GONE] * 2 + [Result.FAILED] * 2
    assert await told(Verb.PRIORITY, "ml/wait", values=5.0) == [Result.FAILED]
    assert server.objects == before
    assert await told(Verb.PAUSE, "ml/pausable", texts="paused") == [Result.DONE]
    assert await told(Verb.RESUME, "ml/pausable", undo=True) == [Result.DONE]


async def test_what_a_person_changes_in_between_is_not_overwritten(field):
    server, told, _ = field
    path = f"{BATCH}/wait"
    server.race[path] = {"metadata": {"annotations": {"icctwin/deferrable": "false"}}}
    assert await told(Verb.BEGIN, "ml/wait", values=LATER, texts="x") == [Result.REFUSED]
    assert server.objects[path]["metadata"]["annotations"] == {"icctwin/deferrable": "false"}
    assert await told(Verb.BEGIN, "ml/wait", values=LATER, texts="x") == [Result.REFUSED]


async def test_queues_are_stopped_and_nodes_cordoned_and_given_back(field):
    server, told, _ = field
    assert await told(Verb.STOP, "research") == [Result.DONE]
    assert server.objects[f"{KUEUE}/clusterqueues/research"]["spec"]["stopPolicy"] == "Hold"
    assert await asyncio.gather(told(Verb.STOP, "research"), told(Verb.STOP, "ml/mine")) == [[Result.SAME]] * 2
    assert await told(Verb.START, "research", undo=True) == [Result.DONE]
    assert await told(Verb.START, "ml/mine", undo=True) == [Result.REFUSED]  # a person has stopped it
    assert await told(Verb.DRAIN, "n1", texts="a CDU rests") == [Result.DONE]
    assert server.objects[f"{CORE}/n1"]["spec"]["unschedulable"] is True
    assert await told(Verb.DRAIN, "n1", texts="a CDU rests") == [Result.SAME]
    assert await told(Verb.UNDRAIN, "n1", "n2", undo=True) == [Result.DONE, Result.REFUSED]
    assert await told(Verb.DRAIN, "n9", texts="x") == [Result.GONE]
