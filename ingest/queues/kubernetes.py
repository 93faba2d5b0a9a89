"""Kubernetes as a queue: Jobs, Pods with GPUs of whatever controller, Nodes, and Kueue's queues where it is installed.

The API server is asked in pages, with a token; to read it needs the right to list jobs, pods, nodes (and Kueue's workloads and
clusterqueues), to take orders the right to get and patch what is ordered. It is asked over the HTTP client that every source
here shares: five paths and a merge patch need no generated client, and one way of limits, certificates, time-outs serves all.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from yarl import URL

from ingest.queues.kubernetes_orders import KUEUE, KubernetesOrders
from ingest.queues.kubernetes_records import GPU_RESOURCES, Pods, gpus_of, job_record, node_record, workload_record
from ingest.queues.port import ScheduledQueue, Scheduler
from ingest.queues.tables import check_queue, cluster_of, jobs_of
from ingest.registry import Opened
from ingest.rest import Reply, Rest
from ingest.sources.device import beside
from ingest.wire import Tls, read_secret
from twin.errors import SourceError
from twin.job import Cluster, Jobs
from twin.order import Orders, Receipt, Receipts, Result, receipts
from twin.site import Site

PAGE = 500  # objects of one answer
MAX_OBJECTS = 200_000
MAX_BODY_BYTES = 128 * 2**20


class Options(BaseModel):
    """What a ``[[source]]`` of type ``kubernetes`` may say.

    ``queue``: id of the queue's asset; ``url``: of the API server; ``token_file`` and ``ca_file`` as a pod finds them below
    ``/var/run/secrets/kubernetes.io/serviceaccount``; ``cert_file`` and ``key_file`` instead of a token;
    ``gpu_resources``: names of the resources that are accelerators; ``orders``: whether orders are taken.
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
    orders: bool = True

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
    return Opened([cluster], queues=[ScheduledQueue(options.queue, cluster)])


class Kubernetes(Scheduler):
    """One cluster."""

    releases_itself = False  # Kubernetes has no begin time: what is suspended waits for us, or for the watchdog

    def __init__(self, name: str, options: Options, site: Site) -> None:
        super().__init__(name, options.queue, site, options.every_s)
        self._options = options
        self._rest: Rest | None = None
        self._orders = KubernetesOrders(self._send)

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """See ``twin.ports.Steerable``."""
        if not self._options.orders:
            no = Receipt(Result.REFUSED, why=f"source {self._name} takes no orders; allow them with orders = true")
            return receipts([no] * len(orders))
        return await self._orders.order(orders, now)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._rest is not None:
            await self._rest.close()
            self._rest = None

    async def _fresh(self) -> tuple[Jobs, Cluster]:
        lists = [await self._all(path) for path in ("/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/nodes")]
        kueue = [await self._all(f"{KUEUE}/{what}", optional=True) for what in ("workloads", "clusterqueues")]
        return await asyncio.to_thread(self._tables, *lists, *kueue)

    async def _send(self, method: str, path: str, body: Any = None, more: Mapping[str, str] | None = None) -> Reply:
        options = self._options
        if self._rest is None:
            tls = Tls(options.ca_file, options.cert_file, options.key_file)
            limits = {"timeout_s": options.timeout_s, "max_body_bytes": MAX_BODY_BYTES}
            self._rest = Rest(URL(options.url).origin(), options.every_s, tls=tls, **limits)  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {read_secret(options.token_file)}"} if options.token_file else {}
        return await self._rest.send(method, path, body, {**headers, **(more or {})})

    async def _all(self, path: str, *, optional: bool = False) -> list[Any]:
        """All objects of one kind, page by page; none where an ``optional`` kind is not known there."""
        found: list[Any] = []
        token = ""
        while True:
            query = {"limit": str(PAGE), **({"continue": token} if token else {})}
            reply = await self._send("GET", str(URL(path).with_query(query)))
            if optional and reply.status in (403, 404):
                return []
            if not reply.ok or not isinstance(reply.body, dict) or not isinstance(reply.body.get("items"), list):
                message = reply.body.get("message") if isinstance(reply.body, dict) else None
                hint = "; check token_file and its rights to list" if reply.status in (401, 403) else ""
                said = f" ({' '.join(str(message).split())[:200]})" if message else ""
                raise SourceError(f"{self._options.url}{path}: status {reply.status}{said}{hint}")
            found += reply.body["items"]
            token = str((reply.body.get("metadata") or {}).get("continue") or "")
            if not token:
                return found
            if len(found) > MAX_OBJECTS:
                raise SourceError(f"{self._options.url}{path}: more than {MAX_OBJECTS} objects")

    def _tables(
        self, jobs: list[Any], pods: list[Any], nodes: list[Any], workloads: list[Any], queues: list[Any]
    ) -> tuple[Jobs, Cluster]:
        resources = self._options.gpu_resources
        try:
            here = Pods(pods, resources)
            capacity = {str(node["metadata"]["name"]): gpus_of(node, resources) for node in nodes}
            known = {str(job["metadata"]["uid"]) for job in jobs}
            made = (job_record(job, here, capacity, resources) for job in jobs)
            records = [one for one in made if one is not None]
            records += [here.record(uid, capacity) for uid in here.owners if uid not in known]
            told = {(one.partition, one.name) for one in records}
            waiting = (workload_record(one, resources) for one in workloads)
            records += [one for one in waiting if one is not None and (one.partition, one.name) not in told]
            cluster = cluster_of(
                [node_record(node, here, capacity) for node in nodes],
                [(str(q["metadata"]["name"]), (q.get("spec") or {}).get("stopPolicy", "None") == "None") for q in queues],
                [],
                self._places,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise SourceError(
                f"{self._name}: an object of a shape that is not known ({type(error).__name__}: {error})"
            ) from None
        return jobs_of(records, self._places), cluster
