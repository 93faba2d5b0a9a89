"""Kubernetes as a queue: Jobs, Pods with GPUs of whatever controller, Nodes, and Kueue's queues where it is installed.

The API server is asked in pages, with a token; the right to list jobs, pods, nodes (and Kueue's workloads and
clusterqueues) is all it needs. Kubernetes does not say which GPU of a node a pod holds; where pods of one job hold all of
a node's, they are known.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from yarl import URL

from ingest.queues.tables import JobRecord, NodeRecord, Places, check_queue, cluster_of, frames_of, jobs_of
from ingest.registry import Opened
from ingest.rest import Rest
from ingest.sources.device import beside
from ingest.wire import Tls, read_secret
from twin.errors import SourceError
from twin.frame import Frame
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.site import Site

PAGE = 500  # objects of one answer
MAX_OBJECTS = 200_000
MAX_BODY_BYTES = 128 * 2**20
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "huawei.com/Ascend910", "gpu.intel.com/i915")
DEFERRABLE = "icctwin/deferrable"  # label or annotation of a Job: "true"
DEADLINE = "icctwin/deadline"  # annotation of a Job: a time in ISO 8601
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta1"
_QUANTITY = re.compile(r"(\d+)")
_NAN = float("nan")


class Options(BaseModel):
    """What a ``[[source]]`` of type ``kubernetes`` may say.

    ``queue``: id of the queue's asset; ``url``: of the API server; ``token_file`` and ``ca_file`` as a pod finds them below
    ``/var/run/secrets/kubernetes.io/serviceaccount``; ``cert_file`` and ``key_file`` instead of a token;
    ``gpu_resources``: names of the resources that are accelerators.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str
    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    every_s: float = Field(default=15.0, ge=1, le=3600)
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    gpu_resources: tuple[str, ...] = GPU_RESOURCES

    @field_validator("token_file", "ca_file", "cert_file", "key_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        url = URL(value)
        if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
            raise ValueError(f"{value!r} is no http or https URL, or holds a secret")
        return value


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The queue, and a source that tells of it in numbers. ``ConfigError`` where the site has no such queue."""
    check_queue(name, options.queue, site)
    cluster = Kubernetes(name, options, site)
    return Opened([cluster], queues=[KubernetesQueue(options.queue, cluster)])


class Kubernetes:
    """One cluster. See ``twin.ports.Source``."""

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self._name, self._options, self._site = name, options, site
        self._places = Places(site)
        self._rest: Rest | None = None
        self._lock = asyncio.Lock()
        self._read: tuple[datetime, Jobs, Cluster] | None = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two readings."""
        return self._options.every_s

    @property
    def unmapped(self) -> int:
        """Nodes of the cluster that the site does not know."""
        return int((self._read[2].rows < 0).sum()) if self._read else 0

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Jobs and nodes, counted. ``SourceError`` where the API server does not answer whole."""
        jobs, cluster = await self.newest(now)
        return frames_of(jobs, cluster, self._site, self._options.queue, now, self._name)

    async def newest(self, now: datetime) -> tuple[Jobs, Cluster]:
        """What the API server says, at most ``every_s`` ago."""
        async with self._lock:
            if self._read is None or not 0 <= (now - self._read[0]).total_seconds() < 0.9 * self.every_s:
                self._read = None
                lists = [await self._all(path) for path in ("/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/nodes")]
                kueue = [await self._all(f"{_KUEUE}/{what}", optional=True) for what in ("workloads", "clusterqueues")]
                self._read = (now, *await asyncio.to_thread(self._tables, *lists, *kueue))
            return self._read[1:]

    async def close(self) -> None:
        """Let go of the connection."""
        if self._rest is not None:
            await self._rest.close()
            self._rest = None

    async def _all(self, path: str, *, optional: bool = False) -> list[Any]:
        """All objects of one kind, page by page; none where an ``optional`` kind is not known there."""
        options = self._options
        if self._rest is None:
            tls = Tls(options.ca_file, options.cert_file, options.key_file)
            limits = {"timeout_s": options.timeout_s, "max_body_bytes": MAX_BODY_BYTES}
            self._rest = Rest(URL(options.url).origin(), options.every_s, tls=tls, **limits)  # type: ignore[arg-type]
        found: list[Any] = []
        token = ""
        while True:
            query = {"limit": str(PAGE), **({"continue": token} if token else {})}
            headers = {"Authorization": f"Bearer {read_secret(options.token_file)}"} if options.token_file else {}
            reply = await self._rest.get(str(URL(path).with_query(query)), headers)
            if optional and reply.status in (403, 404):
                return []
            if not reply.ok or not isinstance(reply.body, dict) or not isinstance(reply.body.get("items"), list):
                message = reply.body.get("message") if isinstance(reply.body, dict) else None
                hint = "; check token_file and its rights to list" if reply.status in (401, 403) else ""
                said = f" ({' '.join(str(message).split())[:200]})" if message else ""
                raise SourceError(f"{options.url}{path}: status {reply.status}{said}{hint}")
            found += reply.body["items"]
            token = str((reply.body.get("metadata") or {}).get("continue") or "")
            if not token:
                return found
            if len(found) > MAX_OBJECTS:
                raise SourceError(f"{options.url}{path}: more than {MAX_OBJECTS} objects")

    def _tables(
        self, jobs: list[Any], pods: list[Any], nodes: list[Any], workloads: list[Any], queues: list[Any]
    ) -> tuple[Jobs, Cluster]:
        try:
            here = _Pods(pods, self._options.gpu_resources)
            capacity = {str(node["metadata"]["name"]): self._gpus(node) for node in nodes}
            known = {str(job["metadata"]["uid"]) for job in jobs}
            records = [one for one in (self._job(job, here, capacity) for job in jobs) if one is not None]
            records += [here.record(uid, capacity) for uid in here.owners if uid not in known]
            told = {(one.partition, one.name) for one in records}
            records += [
                one for one in map(self._workload, workloads) if one is not None and (one.partition, one.name) not in told
            ]
            cluster = cluster_of(
                [self._node(node, here, capacity) for node in nodes],
                [(str(q["metadata"]["name"]), (q.get("spec") or {}).get("stopPolicy", "None") == "None") for q in queues],
                [],
                self._places,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise SourceError(
                f"{self._name}: an object of a shape that is not known ({type(error).__name__}: {error})"
            ) from None
        return jobs_of(records, self._places), cluster

    def _gpus(self, node: Any) -> int:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        return sum(_whole(allocatable.get(name)) for name in self._options.gpu_resources)

    def _node(self, node: Any, here: "_Pods", capacity: Mapping[str, int]) -> NodeRecord:
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

    def _job(self, job: Any, here: "_Pods", capacity: Mapping[str, int]) -> JobRecord | None:
        """A Job that asks for GPUs; None for all others."""
        meta, spec, status = job["metadata"], job["spec"], job.get("status") or {}
        uid = str(meta["uid"])
        each = _asked(spec["template"]["spec"], self._options.gpu_resources)
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
        labels = {**(meta.get("annotations") or {}), **(meta.get("labels") or {})}
        last = next((one.get("lastTransitionTime") for one in status.get("conditions") or () if one["type"] in ended), None)
        return JobRecord(
            id=f"{meta['namespace']}/{meta['name']}",
            name=str(meta["name"]),
            user=str(labels.get("icctwin/user") or meta["namespace"]),
            partition=str(labels.get(QUEUE_NAME) or meta["namespace"]),
            state=state,
            gpus=held if state == JobState.RUNNING else wanted or each,
            submit_s=_time(meta.get("creationTimestamp")),
            start_s=_time(status.get("startTime")),
            end_s=_time(status.get("completionTime") or last),
            limit_s=float(spec.get("activeDeadlineSeconds") or _NAN),
            deadline_s=_time(labels.get(DEADLINE)),
            deferrable=str(labels.get(DEFERRABLE)).lower() == "true",
            held=here.whole_nodes(uid, capacity),
        )

    def _workload(self, one: Any) -> JobRecord | None:
        """A workload of Kueue that waits and is no Job: of a PyTorchJob, a RayCluster, a LeaderWorkerSet."""
        meta, spec, status = one["metadata"], one["spec"], one.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        gpus = sum(
            int(s.get("count", 1)) * _asked(s["template"]["spec"], self._options.gpu_resources)
            for s in spec.get("podSets") or ()
        )
        owners = [owner for owner in meta.get("ownerReferences") or () if owner.get("kind") != "Job"]
        if not gpus or not owners or conditions.get("Admitted") == "True" or conditions.get("Finished") == "True":
            return None
        return JobRecord(
            id=f"{meta['namespace']}/{owners[0]['name']}",
            name=str(owners[0]["name"]),
            user=str(meta["namespace"]),
            partition=str(spec.get("queueName") or meta["namespace"]),
            state=JobState.PENDING,
            gpus=gpus,
            submit_s=_time(meta.get("creationTimestamp")),
        )


class KubernetesQueue:
    """The jobs of one cluster. See ``twin.ports.Queue`` and ``twin.ports.Capacity``."""

    def __init__(self, queue: str, cluster: Kubernetes) -> None:
        self._queue, self._cluster = queue, cluster

    @property
    def name(self) -> str:
        """Id of the queue's asset."""
        return self._queue

    async def jobs(self, now: datetime) -> Jobs:
        """Pending, running and lately ended jobs that ask for GPUs."""
        return (await self._cluster.newest(now))[0]

    async def cluster(self, now: datetime) -> Cluster:
        """Nodes, and Kueue's cluster queues as partitions."""
        return (await self._cluster.newest(now))[1]


class _Pods:
    """Pods that hold or want GPUs, by the controller that owns them (a bare pod owns itself)."""

    def __init__(self, pods: Sequence[Any], resources: Sequence[str]) -> None:
        self.used: dict[str, int] = defaultdict(int)  # node -> GPUs
        self.gpus: dict[str, int] = defaultdict(int)  # owner -> GPUs of running pods
        self.running: dict[str, int] = defaultdict(int)
        self.owners: dict[str, list[Any]] = defaultdict(list)
        self._on: dict[tuple[str, str], int] = defaultdict(int)  # owner, node -> GPUs
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
                self._on[owner, str(node)] += gpus

    @staticmethod
    def _owner(pod: Any) -> str:
        owners = pod["metadata"].get("ownerReferences") or ()
        controller = next((one for one in owners if one.get("controller")), None)
        return str((controller or pod["metadata"])["uid"])

    def whole_nodes(self, owner: str, capacity: Mapping[str, int]) -> list[tuple[str, None]]:
        """Nodes all of whose GPUs this owner's pods hold."""
        mine = ((node, gpus) for (who, node), gpus in self._on.items() if who == owner)
        return [(node, None) for node, gpus in mine if gpus and gpus == capacity.get(node)]

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
