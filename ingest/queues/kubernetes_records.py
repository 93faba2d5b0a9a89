"""Objects of Kubernetes and of Kueue as records of ours.

Kubernetes does not say which GPU of a node a pod holds; where pods of one job hold all of a node's, they are known.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ingest.queues.mark import Mark, Word, mark_said
from ingest.queues.tables import JobRecord, NodeRecord
from twin.job import JobState, NodeState

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "huawei.com/Ascend910", "gpu.intel.com/i915")
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
# labels or annotations of a Job: what its owner agrees to, beside the words of a mark with their values (icctwin/deadline)
OURS = "icctwin/"
_FLAGS = {("deferrable", "true"): "on", ("deferrable", "false"): "off", ("interruptible", "true"): "interruptible"}
_NO = ("interruptible", "false")  # says what goes without saying
USER = "icctwin/user"  # whose it is
# annotations of ours
BEGIN = "icctwin/begin"  # when it may start; s since 1970
NOTE = "icctwin/note"  # what its owner reads
_QUANTITY = re.compile(r"(\d+)")
_NAN = float("nan")


def labels_of(meta: Any) -> Mapping[str, str]:
    """Labels and annotations together; a label wins."""
    return {**(meta.get("annotations") or {}), **(meta.get("labels") or {})}


def gpus_of(node: Any, resources: Sequence[str]) -> int:
    """GPUs that a node can give out."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return sum(_whole(allocatable.get(name)) for name in resources)


def node_record(node: Any, here: "Pods", capacity: Mapping[str, int]) -> NodeRecord:
    """One node."""
    name = str(node["metadata"]["name"])
    conditions = {one["type"]: one["status"] for one in (node.get("status") or {}).get("conditions") or ()}
    used, gpus = here.used[name], capacity[name]
    if conditions.get("Ready") != "True":
        state = NodeState.DOWN
    elif (node.get("spec") or {}).get("unschedulable"):
        state = NodeState.DRAINED
    elif not used:
        state = NodeState.IDLE
    else:
        state = NodeState.ALLOCATED if used >= gpus else NodeState.MIXED
    return NodeRecord(name, state, gpus, used)


def job_record(job: Any, here: "Pods", capacity: Mapping[str, int], resources: Sequence[str]) -> JobRecord | None:
    """A Job that asks for GPUs; None for all others."""
    meta, spec, status = job["metadata"], job["spec"], job.get("status") or {}
    uid = str(meta["uid"])
    each = _asked(spec["template"]["spec"], resources)
    wanted = each * int(spec.get("parallelism", 1) or 0)
    held = here.gpus[uid]
    if not (wanted or held or each):
        return None
    ended = {one["type"] for one in status.get("conditions") or () if one.get("status") == "True"}
    if "Complete" in ended:
        state = JobState.COMPLETED
    elif "Failed" in ended:
        state = JobState.FAILED
    elif here.running[uid]:
        state = JobState.RUNNING
    else:
        state = JobState.PENDING  # suspended by Kueue or by hand, or not yet placed: it waits
    labels, mark = labels_of(meta), mark_at(meta)
    last = next((one.get("lastTransitionTime") for one in status.get("conditions") or () if one["type"] in ended), None)
    return JobRecord(
        id=f"{meta['namespace']}/{meta['name']}",
        name=str(meta["name"]),
        user=str(labels.get(USER) or meta["namespace"]),
        project=str(meta["namespace"]),
        partition=str(labels.get(QUEUE_NAME) or meta["namespace"]),
        state=state,
        gpus=held if state == JobState.RUNNING else wanted or each,
        submit_s=_time(meta.get("creationTimestamp")),
        start_s=_time(status.get("startTime")),
        end_s=_time(status.get("completionTime") or last),
        limit_s=float(spec.get("activeDeadlineSeconds") or _NAN),
        deadline_s=mark.deadline_s,
        deferrable=mark.agreed,
        held=here.whole_nodes(uid, capacity),
        begin_s=_seconds(labels.get(BEGIN)) if state == JobState.PENDING else _NAN,
        # Kueue suspends what waits; who else does holds it
        stopped=state == JobState.PENDING and bool(spec.get("suspend")) and QUEUE_NAME not in labels,
        interruptible=mark.interruptible,
        noted=NOTE in labels,
        runs_s=mark.runs_s,
        unread=bool(mark.wrong),
    )


def mark_at(meta: Any) -> Mark:
    """What the owner of a Job agrees to. Whatever else its labels and annotations say of icctwin, or say once so and once
    otherwise, is no consent."""
    both = ((str(key), str(value)) for place in ("labels", "annotations") for key, value in (meta.get(place) or {}).items())
    pairs = {pair for pair in both if "icctwin" in pair[0].lower() and pair[0] not in (BEGIN, NOTE, USER)}
    said = [_word(key.removeprefix(OURS), value) for key, value in sorted(pairs)]
    words = [word for word in said if word != _NO or ("interruptible", None) in said]
    mark = mark_said(words, _time(meta.get("creationTimestamp")))
    return mark if ("on", None) in said else replace(mark, agreed=False, interruptible=False)


def _word(name: str, value: str) -> Word:
    pair = (name, value.lower())
    flag = _FLAGS.get(pair)
    return (flag, None) if flag else _NO if pair == _NO else (name, value)


def _seconds(said: Any) -> float:
    try:
        return float(said)
    except (TypeError, ValueError):
        return _NAN


def workload_record(one: Any, resources: Sequence[str]) -> JobRecord | None:
    """A workload of Kueue that waits and is no Job: of a PyTorchJob, a RayCluster, a LeaderWorkerSet."""
    meta, spec, status = one["metadata"], one["spec"], one.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    gpus = sum(int(s.get("count", 1)) * _asked(s["template"]["spec"], resources) for s in spec.get("podSets") or ())
    owners = [owner for owner in meta.get("ownerReferences") or () if owner.get("kind") != "Job"]
    if not gpus or not owners or conditions.get("Admitted") == "True" or conditions.get("Finished") == "True":
        return None
    return JobRecord(
        id=f"{meta['namespace']}/{owners[0]['name']}",
        name=str(owners[0]["name"]),
        user=str(meta["namespace"]),
        project=str(meta["namespace"]),
        partition=str(spec.get("queueName") or meta["namespace"]),
        state=JobState.PENDING,
        gpus=gpus,
        submit_s=_time(meta.get("creationTimestamp")),
    )


class Pods:
    """Pods that hold or want GPUs, by the controller that owns them (a bare pod owns itself)."""

    def __init__(self, pods: Sequence[Any], resources: Sequence[str]) -> None:
        self.used: dict[str, int] = defaultdict(int)  # node -> GPUs
        self.gpus: dict[str, int] = defaultdict(int)  # owner -> GPUs of running pods
        self.running: dict[str, int] = defaultdict(int)
        self.owners: dict[str, list[Any]] = defaultdict(list)
        self._on: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))  # owner -> node -> GPUs
        self._asked: dict[str, int] = defaultdict(int)
        for pod in pods:
            phase, gpus = (pod.get("status") or {}).get("phase"), _asked(pod["spec"], resources)
            if not gpus or phase not in ("Pending", "Running"):
                continue
            owner = self._owner(pod)
            self.owners[owner].append(pod)
            self._asked[owner] += gpus
            node = pod["spec"].get("nodeName")
            if node:  # it holds them from when it is placed
                self.used[str(node)] += gpus
            if phase == "Running" and node:
                self.gpus[owner] += gpus
                self.running[owner] += 1
                self._on[owner][str(node)] += gpus

    @staticmethod
    def _owner(pod: Any) -> str:
        owners = pod["metadata"].get("ownerReferences") or ()
        controller = next((one for one in owners if one.get("controller")), None)
        return str((controller or pod["metadata"])["uid"])

    def whole_nodes(self, owner: str, capacity: Mapping[str, int]) -> list[tuple[str, None]]:
        """Nodes all of whose GPUs this owner's pods hold."""
        mine = self._on.get(owner, {})
        return [(node, None) for node, gpus in mine.items() if gpus and gpus == capacity.get(node)]

    def record(self, owner: str, capacity: Mapping[str, int]) -> JobRecord:
        """The pods of one owner that is no Job, as one job."""
        pods = self.owners[owner]
        meta = pods[0]["metadata"]
        controller = next((one for one in meta.get("ownerReferences") or () if one.get("controller")), meta)
        starts = [_time((pod.get("status") or {}).get("startTime")) for pod in pods]
        return JobRecord(
            id=f"{meta['namespace']}/{controller['name']}",
            name=str(controller["name"]),
            user=str(meta["namespace"]),
            project=str(meta["namespace"]),
            partition=str((meta.get("labels") or {}).get(QUEUE_NAME) or meta["namespace"]),
            state=JobState.RUNNING if self.running[owner] else JobState.PENDING,
            gpus=self.gpus[owner] if self.running[owner] else self._asked[owner],
            submit_s=min(_time(pod["metadata"].get("creationTimestamp")) for pod in pods),
            start_s=min(starts),
            held=self.whole_nodes(owner, capacity),
        )


def _asked(spec: Any, resources: Sequence[str]) -> int:
    """GPUs of one pod: of its containers together, or of its greediest init container."""
    together = sum(_limits(spec.get("containers"), resources))
    return max([together, *_limits(spec.get("initContainers"), resources)])


def _limits(containers: Any, resources: Sequence[str]) -> Iterator[int]:
    for one in containers or ():
        limits = (one.get("resources") or {}).get("limits") or {}
        yield sum(_whole(limits.get(name)) for name in resources)


def _whole(quantity: Any) -> int:
    """A quantity of devices: they come whole."""
    match = _QUANTITY.fullmatch(str(quantity)) if quantity is not None else None
    return int(match[1]) if match else 0


def _time(said: Any) -> float:
    try:
        return datetime.fromisoformat(str(said)).timestamp() if said else _NAN
    except ValueError:
        return _NAN
