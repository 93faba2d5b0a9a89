"""Orders to Kubernetes: Jobs suspended, Kueue's workloads and queues stopped, nodes cordoned; each read, patched, read back.

A Job that Kueue manages is never suspended here: Kueue owns that field; its workload is made inactive instead. Each patch
carries the version of what was read, so that what a person changes in between is not overwritten (status 409, and the order
fails). Kubernetes has no begin time: a Job that is to start later is suspended, its time is written beside, and somebody must
let it go.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ingest.queues.kubernetes_records import BEGIN, INTERRUPTIBLE, NOTE, QUEUE_NAME, agreed, labels_of
from ingest.rest import Reply
from twin.errors import SourceError
from twin.order import OF_JOBS, Orders, Receipt, Receipts, Result, Verb, receipts

AT_ONCE = 8
KUEUE = "/apis/kueue.x-k8s.io/v1beta1"
REASON = "icctwin/reason"  # annotation of a node that we cordoned
MERGE = {"Content-Type": "application/merge-patch+json"}
NEAR_S = 2.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SUSPENDS = (Verb.BEGIN, Verb.HOLD, Verb.PAUSE, Verb.SUSPEND)


class Send(Protocol):
    """A request to the API server."""

    def __call__(self, method: str, path: str, body: Any = None, more: Mapping[str, str] | None = None) -> Awaitable[Reply]:
        """``SourceError`` where no whole answer comes."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    """A Job, and the workload that Kueue has made of it (None: Kueue does not manage it)."""

    raw: Any
    workload: Any | None
    managed: bool

    @property
    def labels(self) -> Mapping[str, str]:
        return labels_of(self.raw["metadata"])

    @property
    def stopped(self) -> bool:
        if self.managed:
            return self.workload is not None and (self.workload.get("spec") or {}).get("active", True) is False
        return bool((self.raw.get("spec") or {}).get("suspend"))

    @property
    def begin_s(self) -> float:
        try:
            return float(self.labels.get(BEGIN, "nan"))
        except ValueError:
            return math.nan

    @property
    def active(self) -> int:
        return int((self.raw.get("status") or {}).get("active") or 0)

    @property
    def over(self) -> bool:
        ended = (self.raw.get("status") or {}).get("conditions") or ()
        return any(one["type"] in ("Complete", "Failed") and one.get("status") == "True" for one in ended)


class KubernetesOrders:
    """The write side of one cluster."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Carry ``orders`` out, ``AT_ONCE`` at a time."""
        limit = asyncio.Semaphore(AT_ONCE)
        one = self._of_job if orders.verb in OF_JOBS else self._of_other

        async def bounded(i: int) -> Receipt:
            async with limit:
                try:
                    return await one(orders, i, now.timestamp())
                except SourceError as error:
                    return Receipt(Result.FAILED, why=str(error))
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    return Receipt(Result.FAILED, why=f"an object of a shape that is not known ({error})")

        return receipts(await asyncio.gather(*map(bounded, range(len(orders)))))

    # jobs

    async def _of_job(self, orders: Orders, i: int, now_s: float) -> Receipt:
        verb, target = orders.verb, orders.targets[i]
        place = _place(target)
        if place is None:
            return Receipt(Result.FAILED, why=f"{target[:60]!r} is no namespace/name of a Job")
        job = await self._job(*place)
        no = self._objection(orders, i, job, now_s)
        if no is not None or job is None:
            return no or Receipt(Result.GONE)
        stop = verb in _SUSPENDS and not (verb is Verb.BEGIN and not orders.values[i] > now_s)
        if verb is Verb.COMMENT:
            stop = job.stopped
        begin_s = float(orders.values[i]) if verb is Verb.BEGIN and stop else math.nan
        if verb is Verb.COMMENT:
            begin_s = job.begin_s
        before, said = job.begin_s, job.labels.get(NOTE, "")
        note = orders.texts[i] or ("held by icctwin" if stop else "")  # by its words we know what is ours
        if _is_so(job, stop, begin_s, note):
            return Receipt(Result.SAME, before, before, said)
        wrong = await self._write(place, job, stop, begin_s, note)
        after = await self._job(*place)
        if after is not None and _is_so(after, stop, begin_s, note):
            return Receipt(Result.DONE, before, after.begin_s, said)
        if after is None or after.over:
            return Receipt(Result.GONE, before, said=said, why=wrong or "it ended meanwhile")
        return Receipt(Result.FAILED, before, after.begin_s, said, wrong or "the API server took it and shows something else")

    def _objection(self, orders: Orders, i: int, job: _Job | None, now_s: float) -> Receipt | None:
        verb = orders.verb
        if job is None or job.over:
            return Receipt(Result.GONE, why="there is no such Job any more" if job is None else "it is over")
        if verb not in (*_SUSPENDS, Verb.RELEASE, Verb.RESUME, Verb.COMMENT):
            return Receipt(Result.FAILED, why=f"Kubernetes has no order {verb} for Jobs")
        if job.managed and job.workload is None:
            return Receipt(Result.FAILED, why="Kueue manages it and has made no workload of it yet")
        if orders.undo:
            wanted = math.nan if orders.expected is None else float(orders.expected[i])
            if not math.isnan(wanted) and not abs(job.begin_s - wanted) <= NEAR_S:
                return Receipt(Result.REFUSED, job.begin_s, why="a person has changed it")
            return None
        if not agreed(job.labels):
            return Receipt(Result.REFUSED, job.begin_s, why="its owner has not agreed, or not any more")
        if job.stopped and NOTE not in job.labels:
            return Receipt(Result.REFUSED, job.begin_s, why="a person holds it")
        if job.active and verb in _SUSPENDS and job.labels.get(INTERRUPTIBLE) != "true":
            if verb is Verb.BEGIN and not orders.values[i] > now_s:
                return None
            return Receipt(Result.REFUSED, job.begin_s, why="it runs, and its owner has not agreed to be interrupted")
        return None

    async def _write(self, place: tuple[str, str], job: _Job, stop: bool, begin_s: float, note: str) -> str:
        """The words first, then what they explain: were we to die between, there is nothing without words."""
        marks = {NOTE: note or None, BEGIN: None if math.isnan(begin_s) else f"{begin_s:.0f}"}
        body: dict[str, Any] = {
            "metadata": {"annotations": marks, "resourceVersion": job.raw["metadata"].get("resourceVersion")}
        }
        if not job.managed:
            body["spec"] = {"suspend": stop}
        wrong = await self._patch(f"/apis/batch/v1/namespaces/{place[0]}/jobs/{place[1]}", body)
        if wrong or not job.managed or job.workload is None:
            return wrong
        meta = job.workload["metadata"]
        change = {"metadata": {"resourceVersion": meta.get("resourceVersion")}, "spec": {"active": not stop}}
        return await self._patch(f"{KUEUE}/namespaces/{place[0]}/workloads/{meta['name']}", change)

    async def _job(self, namespace: str, name: str) -> _Job | None:
        raw = await self._get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
        if raw is None:
            return None
        managed = QUEUE_NAME in labels_of(raw["metadata"])
        return _Job(raw, await self._workload(namespace, raw) if managed else None, managed)

    async def _workload(self, namespace: str, job: Any) -> Any | None:
        body = await self._get(f"{KUEUE}/namespaces/{namespace}/workloads")
        uid = job["metadata"].get("uid")
        for one in (body or {}).get("items") or ():
            if any(owner.get("uid") == uid for owner in one["metadata"].get("ownerReferences") or ()):
                return one
        return None

    # nodes and queues

    async def _of_other(self, orders: Orders, i: int, now_s: float) -> Receipt:
        target, verb = orders.targets[i], orders.verb
        if not all(map(_NAME.fullmatch, target.split("/", 1))):
            return Receipt(Result.FAILED, why=f"{target[:60]!r} is no name")
        if verb in (Verb.DRAIN, Verb.UNDRAIN):
            return await self._node(f"/api/v1/nodes/{target}", verb is Verb.DRAIN, orders.texts[i])
        if verb not in (Verb.STOP, Verb.START):
            return Receipt(Result.FAILED, why=f"Kubernetes has no order {verb}")
        namespace, _, name = target.rpartition("/")
        path = f"{KUEUE}/namespaces/{namespace}/localqueues/{name}" if namespace else f"{KUEUE}/clusterqueues/{name}"
        return await self._stop(path, "Hold" if verb is Verb.STOP else "None", orders.undo)

    async def _node(self, path: str, cordon: bool, text: str) -> Receipt:
        node = await self._get(path)
        if node is None:
            return Receipt(Result.GONE, why="there is no such node")
        was = bool((node.get("spec") or {}).get("unschedulable"))
        said = (node["metadata"].get("annotations") or {}).get(REASON, "")
        if was == cordon and (not cordon or said == text):
            return Receipt(Result.SAME, float(was), float(was), said)
        if was and not said:
            return Receipt(Result.REFUSED, float(was), float(was), why="a person has cordoned it")
        meta = {"annotations": {REASON: text if cordon else None}, "resourceVersion": node["metadata"].get("resourceVersion")}
        wrong = await self._patch(path, {"metadata": meta, "spec": {"unschedulable": cordon or None}})
        after = await self._get(path)
        shown = bool(((after or {}).get("spec") or {}).get("unschedulable"))
        result = Result.DONE if shown == cordon and not wrong else Result.FAILED
        return Receipt(result, float(was), float(shown), said, wrong)

    async def _stop(self, path: str, policy: str, undo: bool) -> Receipt:
        queue = await self._get(path)
        if queue is None:
            return Receipt(Result.GONE, why="there is no such queue")
        was = (queue.get("spec") or {}).get("stopPolicy") or "None"
        ours = NOTE in (queue["metadata"].get("annotations") or {})
        if was == policy:
            return Receipt(Result.SAME, float(was != "None"), float(was != "None"), was)
        if was != "None" and not ours:
            return Receipt(Result.REFUSED, 1.0, 1.0, was, "a person has stopped it")
        note = "stopped by icctwin" if policy != "None" else None
        meta = {"annotations": {NOTE: note}, "resourceVersion": queue["metadata"].get("resourceVersion")}
        wrong = await self._patch(path, {"metadata": meta, "spec": {"stopPolicy": policy}})
        after = ((await self._get(path) or {}).get("spec") or {}).get("stopPolicy") or "None"
        result = Result.DONE if after == policy and not wrong else Result.FAILED
        return Receipt(result, float(was != "None"), float(after != "None"), was, wrong)

    async def _get(self, path: str) -> Any | None:
        reply = await self._send("GET", path)
        if reply.status == 404:
            return None
        if not reply.ok or not isinstance(reply.body, dict):
            raise SourceError(f"{path}: status {reply.status}{_said(reply)}")
        return reply.body

    async def _patch(self, path: str, body: Any) -> str:
        reply = await self._send("PATCH", path, body, MERGE)
        if reply.ok:
            return ""
        changed = "; it was changed meanwhile" if reply.status == 409 else ""
        return f"status {reply.status}{_said(reply)}{changed}"


def _place(target: str) -> tuple[str, str] | None:
    namespace, _, name = target.partition("/")
    return (namespace, name) if _NAME.fullmatch(namespace) and _NAME.fullmatch(name) else None


def _is_so(job: _Job, stop: bool, begin_s: float, note: str) -> bool:
    same_time = (math.isnan(begin_s) and math.isnan(job.begin_s)) or abs(job.begin_s - begin_s) <= NEAR_S
    return job.stopped == stop and same_time and job.labels.get(NOTE, "") == note


def _said(reply: Reply) -> str:
    message = reply.body.get("message") if isinstance(reply.body, dict) else None
    return f" ({' '.join(str(message).split())[:200]})" if message else ""
