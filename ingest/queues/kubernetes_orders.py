"""Orders to Kubernetes: Jobs suspended, Kueue's workloads and queues stopped, nodes cordoned; each read, patched, read back.

A Job that Kueue manages is never suspended here: Kueue owns that field; its workload is made inactive instead. Each patch
carries the version of what was read, so that what a person or a controller changes in between is not overwritten (status 409):
then all is looked at anew, once. Kubernetes has no begin time: a Job that is to start later is suspended, its time is written
beside, and somebody must let it go. So what is held has words of ours for as long as it is held: they come first and go last,
and an order of which a part may be in force says so (``Result.HALF``).
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from yarl import URL

from ingest.queues.kubernetes_records import BEGIN, NOTE, QUEUE_NAME, labels_of, mark_at
from ingest.queues.mark import Mark
from ingest.rest import Reply
from twin.errors import SourceError
from twin.order import OF_JOBS, Orders, Receipt, Receipts, Result, Verb, receipts

AT_ONCE = 8
LOOKS = 2  # at what is changed under our hands, before an order fails
KUEUE = "/apis/kueue.x-k8s.io/v1beta1"
REASON = "icctwin/reason"  # annotation of a node that we cordoned
MERGE = {"Content-Type": "application/merge-patch+json"}
NEAR_S = 2.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SUSPENDS = (Verb.BEGIN, Verb.HOLD, Verb.PAUSE, Verb.SUSPEND)
_LIVE = ("Pending", "Running")  # phases of a pod that has not ended
_SHAPES = (KeyError, TypeError, ValueError, AttributeError)  # what an object of a shape that is not known raises


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
    def mark(self) -> Mark:
        return mark_at(self.raw["metadata"])

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
    def note(self) -> str:
        return self.labels.get(NOTE, "")

    @property
    def bare(self) -> bool:
        """Whether no words of ours stand at it."""
        return math.isnan(self.begin_s) and NOTE not in self.labels

    @property
    def over(self) -> bool:
        ended = (self.raw.get("status") or {}).get("conditions") or ()
        return any(one["type"] in ("Complete", "Failed") and one.get("status") == "True" for one in ended)


@dataclass(frozen=True, slots=True)
class _Ask:
    """How a Job is to be: held or not, with which begin time (s since 1970; NaN: none) and words (empty: none)."""

    stop: bool
    begin_s: float
    note: str

    def is_so(self, job: _Job) -> bool:
        """Whether it is."""
        same_time = (math.isnan(self.begin_s) and math.isnan(job.begin_s)) or abs(job.begin_s - self.begin_s) <= NEAR_S
        return job.stopped == self.stop and same_time and job.note == self.note


class _Changed(Exception):
    """What was read is not the newest any more, and was not written over. ``half``: a part of the order is written already, and
    the rest can be written after a further look."""

    half = False


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
                why, half = "", False
                for _ in range(LOOKS):
                    try:
                        return await one(orders, i, now.timestamp())
                    except _Changed as error:
                        why, half = str(error), half or error.half
                    except SourceError as error:
                        why = str(error)
                        break
                    except _SHAPES as error:
                        why = f"an object of a shape that is not known ({error})"
                        break
                return Receipt(Result.HALF if half else Result.FAILED, why=why)

        return receipts(await asyncio.gather(*map(bounded, range(len(orders)))))

    # jobs

    async def _of_job(self, orders: Orders, i: int, now_s: float) -> Receipt:
        target = orders.targets[i]
        place = _place(target)
        if place is None:
            return Receipt(Result.FAILED, why=f"{target[:60]!r} is no namespace/name of a Job")
        job = await self._job(*place)
        no = self._objection(orders, i, job)
        if no is None and job is not None and not orders.undo and not job.stopped and orders.verb in _SUSPENDS:
            no = await self._running(orders.verb, place[0], job)
        if no is not None or job is None:
            return no or Receipt(Result.GONE)
        ask = _asked(orders, i, job, now_s)
        if ask.is_so(job):
            return Receipt(Result.SAME, job.begin_s, job.begin_s, job.note)
        try:
            wrong, unsure = await self._write(place, job, ask), False
        except SourceError as error:
            wrong, unsure = str(error), True
        return await self._came(place, job, ask, wrong, unsure)

    async def _came(self, place: tuple[str, str], job: _Job, ask: _Ask, wrong: str, unsure: bool) -> Receipt:
        """What a Job shows after it was written; ``unsure``: what was not answered may still be done."""
        before, said = job.begin_s, job.note
        try:
            after = await self._job(*place)
            if after is not None and ask.is_so(after):
                return Receipt(Result.DONE, before, after.begin_s, said)
            if after is None or after.over:
                return Receipt(Result.GONE, before, said=said, why=wrong or "it ended meanwhile")
        except (SourceError, *_SHAPES) as error:
            why = f"{wrong or 'it was written'}; it could not be read back: {error}"
            return Receipt(Result.HALF, before, said=said, why=why)
        as_before = not unsure and _Ask(job.stopped, before, said).is_so(after)
        why = wrong or "the API server took it and shows something else"
        return Receipt(Result.FAILED if as_before else Result.HALF, before, after.begin_s, said, why)

    def _objection(self, orders: Orders, i: int, job: _Job | None) -> Receipt | None:
        verb = orders.verb
        if job is None or job.over:
            return Receipt(Result.GONE, why="there is no such Job any more" if job is None else "it is over")
        if verb not in (*_SUSPENDS, Verb.RELEASE, Verb.RESUME, Verb.COMMENT):
            return Receipt(Result.FAILED, why=f"Kubernetes has no order {verb} for Jobs")
        if job.managed and job.workload is None:
            return Receipt(Result.FAILED, why="Kueue manages it and has made no workload of it yet")
        if orders.undo:
            wanted = math.nan if orders.expected is None else float(orders.expected[i])
            # without words it is let go already, or its way back ended after the words, as that of older releases could
            ended = job.bare and (job.managed or not job.stopped)
            if not math.isnan(wanted) and not abs(job.begin_s - wanted) <= NEAR_S and not ended:
                return Receipt(Result.REFUSED, job.begin_s, why="a person has changed it")
            return None
        if not job.mark.agreed:
            return Receipt(Result.REFUSED, job.begin_s, why="its owner has not agreed, or not any more")
        if job.stopped and NOTE not in job.labels:
            return Receipt(Result.REFUSED, job.begin_s, why="a person holds it")
        return None

    async def _running(self, verb: Verb, namespace: str, job: _Job) -> Receipt | None:
        """Why what runs is not held: a begin time is past where it has begun, and only who has agreed is interrupted."""
        if (verb is not Verb.BEGIN and job.mark.interruptible) or not await self._runs(namespace, job):
            return None
        if verb is Verb.BEGIN:
            return Receipt(Result.GONE, job.begin_s, why="it runs")
        return Receipt(Result.REFUSED, job.begin_s, why="it runs, and its owner has not agreed to be interrupted")

    async def _runs(self, namespace: str, job: _Job) -> bool:
        """Whether a pod of it has a node; one that is not seen has. ``status.active`` of a Job counts those without one too
        (Kubernetes API, JobStatus: "the number of pending and running pods")."""
        chosen = ((job.raw["spec"].get("selector") or {}).get("matchLabels") or {}).items()
        path = URL(f"/api/v1/namespaces/{namespace}/pods")
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in chosen)} if chosen else {}
        body = await self._get(str(path.with_query(query)))
        live = [pod for pod in (body or {}).get("items") or () if _of(pod, job) and pod["status"]["phase"] in _LIVE]
        return job.active > len(live) or any(pod["spec"].get("nodeName") for pod in live)

    async def _write(self, place: tuple[str, str], job: _Job, ask: _Ask) -> str:
        """Write; a clause of what is wrong. Words come before a hold and go after it: were we to die between, whoever comes
        after us finds by them what is to be let go."""
        if not job.managed:
            return await self._say(place, job, ask, {"suspend": ask.stop})
        if ask.stop == job.stopped:
            return await self._say(place, job, ask)
        if not ask.stop:
            return await self._let_go(place, job, ask)
        if wrong := await self._say(place, job, ask):
            return wrong
        changed: _Changed | None = None
        try:
            wrong = await self._activate(place[0], job, False)
        except _Changed as error:
            wrong, changed = str(error), error
        if wrong and (stays := await self._unsay(place, job)):
            return f"{wrong}; what was said at it stays: {stays}"
        if changed is not None:
            raise changed
        return wrong

    async def _let_go(self, place: tuple[str, str], job: _Job, ask: _Ask) -> str:
        if wrong := await self._activate(place[0], job, True):
            return wrong
        try:
            return await self._say(place, job, ask)
        except _Changed as error:
            error.half = True
            raise

    async def _say(self, place: tuple[str, str], job: _Job, ask: _Ask, spec: Mapping[str, Any] | None = None) -> str:
        marks = {NOTE: ask.note or None, BEGIN: None if math.isnan(ask.begin_s) else f"{ask.begin_s:.0f}"}
        body = {"metadata": {"annotations": marks, "resourceVersion": job.raw["metadata"].get("resourceVersion")}}
        return await self._patch(_path(place), {**body, "spec": spec} if spec else body)

    async def _unsay(self, place: tuple[str, str], job: _Job) -> str:
        """Say again what was said before; why that could not be done."""
        try:
            now = await self._job(*place)
            return "" if now is None else await self._say(place, now, _Ask(job.stopped, job.begin_s, job.note))
        except _Changed as error:
            return str(error)

    async def _activate(self, namespace: str, job: _Job, active: bool) -> str:
        meta = (job.workload or {})["metadata"]
        change = {"metadata": {"resourceVersion": meta.get("resourceVersion")}, "spec": {"active": active}}
        return await self._patch(f"{KUEUE}/namespaces/{namespace}/workloads/{meta['name']}", change)

    async def _job(self, namespace: str, name: str) -> _Job | None:
        raw = await self._get(_path((namespace, name)))
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
        wrong, after = await self._patched(path, {"metadata": meta, "spec": {"unschedulable": cordon or None}})
        if after is None:
            return Receipt(Result.HALF, float(was), said=said, why=wrong)
        shown = bool((after.get("spec") or {}).get("unschedulable"))
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
        wrong, after = await self._patched(path, {"metadata": meta, "spec": {"stopPolicy": policy}})
        if after is None:
            return Receipt(Result.HALF, float(was != "None"), said=was, why=wrong)
        shown = (after.get("spec") or {}).get("stopPolicy") or "None"
        result = Result.DONE if shown == policy and not wrong else Result.FAILED
        return Receipt(result, float(was != "None"), float(shown != "None"), was, wrong)

    async def _get(self, path: str) -> Any | None:
        reply = await self._send("GET", path)
        if reply.status == 404:
            return None
        if not reply.ok or not isinstance(reply.body, dict):
            raise SourceError(f"{path}: status {reply.status}{_said(reply)}")
        return reply.body

    async def _patch(self, path: str, body: Any) -> str:
        """A clause of what is wrong; ``SourceError`` where nobody knows what became of it."""
        reply = await self._send("PATCH", path, body, MERGE)
        if reply.status == 409:
            raise _Changed(f"status 409{_said(reply)}; it was changed meanwhile")
        wrong = "" if reply.ok else f"status {reply.status}{_said(reply)}"
        if reply.status >= 500:
            raise SourceError(f"{path}: {wrong}")
        return wrong

    async def _patched(self, path: str, body: Any) -> tuple[str, Any | None]:
        """Patch; a clause of what is wrong, and what is there then (None: not known)."""
        try:
            return await self._patch(path, body), await self._get(path) or {}
        except SourceError as error:
            return str(error), None


def _place(target: str) -> tuple[str, str] | None:
    namespace, _, name = target.partition("/")
    return (namespace, name) if _NAME.fullmatch(namespace) and _NAME.fullmatch(name) else None


def _of(pod: Any, job: _Job) -> bool:
    uid = job.raw["metadata"]["uid"]
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())


def _path(place: tuple[str, str]) -> str:
    return f"/apis/batch/v1/namespaces/{place[0]}/jobs/{place[1]}"


def _asked(orders: Orders, i: int, job: _Job, now_s: float) -> _Ask:
    """How the order wants the Job. A way back never holds it: begin times are ours alone, and nobody would let it go again."""
    verb, later = orders.verb, bool(orders.values[i] > now_s)
    stop = verb in _SUSPENDS and not orders.undo and (later or verb is not Verb.BEGIN)
    begin_s = float(orders.values[i]) if verb is Verb.BEGIN and stop else math.nan
    if verb is Verb.COMMENT:
        stop, begin_s = job.stopped, job.begin_s
    return _Ask(stop, begin_s, orders.texts[i] or ("held by icctwin" if stop else ""))  # by its words we know what is ours


def _said(reply: Reply) -> str:
    message = reply.body.get("message") if isinstance(reply.body, dict) else None
    return f" ({' '.join(str(message).split())[:200]})" if message else ""
