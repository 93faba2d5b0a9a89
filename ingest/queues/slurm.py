"""Slurm as a queue: jobs, nodes, partitions, reservations over slurmrestd (JWT on the network, or its socket), or by its
commands; and the orders that it takes. Several clusters of a federation are one queue.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.queues.port import ScheduledQueue, Scheduler
from ingest.queues.slurm_caps import caps_of
from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_federation import MAX_CLUSTERS, Federation, Member
from ingest.queues.slurm_orders import SlurmOrders
from ingest.queues.slurm_records import job_record, node_record, number, partition_of, reservation_of
from ingest.queues.slurm_rest import SlurmRest
from ingest.queues.slurm_siblings import OLD
from ingest.queues.slurm_ties import tie
from ingest.queues.tables import JobRecord, check_queue, cluster_of, jobs_of
from ingest.registry import Opened
from ingest.sources.device import beside
from twin.errors import SourceError
from twin.job import Cluster, Jobs
from twin.order import FEDERATED_ORDERS, Orders, Receipt, Receipts, Result, Verb, orders, receipts
from twin.site import Site


class Options(BaseModel):
    """What a ``[[source]]`` of type ``slurm`` may say.

    ``queue``: id of the queue's asset; ``url``: of slurmrestd, or ``unix:/path`` of its socket; ``user`` and
    ``token_file``: whom the JWT is for. ``commands``: whether to use Slurm's commands where slurmrestd does not answer or has
    no call (without ``url``: always), with ``conf`` as their slurm.conf. A job is deferrable where its partition, QOS or
    account is named here, or its comment has the word or a mark (``icctwin:deadline=…;interruptible``); ``icctwin:off`` takes
    it out. ``orders``: whether orders are taken at all; ``pause_signal``: at which an interruptible job saves itself and exits
    with Slurm's ``RequeueExitHold``, within ``pause_s``; ``restart_s``: how long a requeued job rests (Slurm's ``cred_expire``
    and a second). ``cap``: the site's tool that caps a node's power, ``{node}`` and ``{watts}`` filled in, and ``cap_read`` one
    that prints the cap in watts. ``federation``: instead of ``url``, the clusters of a federation by their names; a partition
    of theirs is called ``<cluster>/<partition>``, here and everywhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str
    url: str = ""
    user: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    commands: bool = False
    conf: Path | None = None
    every_s: float = Field(default=15.0, ge=1, le=3600)
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    deferrable_partitions: tuple[str, ...] = ()
    deferrable_qos: tuple[str, ...] = ()
    deferrable_accounts: tuple[str, ...] = ()
    deferrable_comment: str = "deferrable"
    orders: bool = True
    pause_signal: str = Field(default="USR1", pattern=r"^[A-Z0-9]{2,9}$")
    pause_s: float = Field(default=30.0, gt=0, le=600)
    restart_s: float = Field(default=121.0, ge=0, le=3600)
    cap: tuple[str, ...] = ()
    cap_read: tuple[str, ...] = ()
    federation: Mapping[str, Member] = Field(default_factory=dict, max_length=MAX_CLUSTERS)

    @field_validator("token_file", "ca_file", "conf")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.url and not self.commands and not self.federation:
            raise ValueError("give url (of slurmrestd), commands = true, or the clusters of a federation")
        if self.federation and (self.url or len(self.federation) < 2):
            raise ValueError("a federation has two clusters or more, each with its url, and no url of its own")
        if self.federation and self.cap:
            raise ValueError("power is not capped through a federation; give each cluster a source of its own for that")
        if self.url:
            _check_url(self.url, self.user, self.token_file)
        for name, one in self.federation.items():
            if not name or set(name) & set("/,"):
                raise ValueError(f"{name!r} is no name of a cluster")
            _check_url(one.url, one.user or self.user, one.token_file or self.token_file)
        if bool(self.cap) is not bool(self.cap_read):
            raise ValueError("cap and cap_read go together: what is set is read back")
        return self


def _check_url(said: str, user: str, token_file: Path | None) -> None:
    """``ValueError`` where a slurmrestd cannot be spoken to so."""
    if said.startswith("unix:/"):
        return
    url = URL(said)
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
        raise ValueError(f"url {said!r} is neither http(s)://host:port nor unix:/path, or holds a secret")
    if not (user and token_file):
        raise ValueError("slurmrestd on the network wants user and token_file")


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The queue, and a source that tells of it in numbers. ``ConfigError`` where the site has no such queue."""
    check_queue(name, options.queue, site)
    slurm = FederatedSlurm(name, options, site) if options.federation else Slurm(name, options, site)
    caps = caps_of(options, site) if options.cap and options.orders else {}
    return Opened([slurm], queues=[ScheduledQueue(options.queue, slurm)], actuators=caps)


class Slurm(Scheduler):
    """One cluster."""

    def __init__(self, name: str, options: Options, site: Site) -> None:
        super().__init__(name, options.queue, site, options.every_s)
        o = self._options = options
        self.rest: SlurmRest | Federation | None = None
        self._commands: Commands | None = None
        if o.federation:
            self.rest = _federation(o)
        else:
            self.rest = SlurmRest(o.url, o.user, o.token_file, o.ca_file, o.every_s, o.timeout_s) if o.url else None
            self._commands = Commands(o.conf, o.timeout_s) if o.commands else None
        self._tasks: dict[str, str] = {}  # id of a task of an array -> its own number
        self._orders = SlurmOrders(o, self.rest, self._commands, lambda job: self._tasks.get(job, "" if "_" in job else job))

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """See ``twin.ports.Steerable``."""
        if not self._options.orders:
            no = Receipt(Result.REFUSED, why=f"source {self._name} takes no orders; allow them with orders = true")
            return receipts([no] * len(orders))
        return await self._orders.order(orders, now)

    async def close(self) -> None:
        """Let go of the connection."""
        if self.rest is not None:
            await self.rest.close()

    async def _fresh(self) -> tuple[Jobs, Cluster]:
        """By REST; by command where there is none, or where it does not answer and the configuration allows that."""
        refused: list[str] = []
        ways = [way.tables for way in (self.rest, self._commands) if way is not None]
        for ask in ways:
            try:
                bodies = await ask()
            except SourceError as error:
                refused.append(str(error))
            else:
                return await asyncio.to_thread(self._tables, *bodies)  # 10,000 jobs are half a second of work
        raise SourceError("; and by command: ".join(refused))

    def _tables(self, jobs: Any, nodes: Any, partitions: Any, reservations: Any) -> tuple[Jobs, Cluster]:
        try:
            records = [self._record(one) for one in jobs]
            tie(jobs, records)
            self._tasks = {
                record.id: f"{number(one['job_id']):.0f}" for record, one in zip(records, jobs, strict=True) if "_" in record.id
            }
            cluster = cluster_of(
                [node_record(one) for one in nodes],
                [partition_of(one) for one in partitions],
                [reservation_of(one) for one in reservations],
                self._places,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"an answer of a shape that is not known ({type(error).__name__}: {error})"
            raise SourceError(f"{self._name}: {what}; which version of Slurm is it?") from None
        return jobs_of(records, self._places), cluster

    def _record(self, job: Any) -> JobRecord:
        return job_record(job, self._options)


class FederatedSlurm(Slurm):
    """The clusters of a federation. See ``twin.ports.Manifold``: it is up while one of them answers."""

    rest: Federation

    @property
    def targets(self) -> int:
        """How many clusters there are."""
        return len(self.rest.members)

    @property
    def targets_down(self) -> int:
        """How many of them did not answer when they were last asked."""
        return len(self.rest.troubles)

    @property
    def troubles(self) -> Mapping[str, str]:
        """Cluster -> what is wrong with it."""
        return self.rest.troubles

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Begin times, moves and words, ``FEDERATED_ORDERS`` at a time; what is taken back is not bounded."""
        if orders.verb not in FEDERATED:
            no = Receipt(Result.REFUSED, why=f"jobs and nodes of a federation are not told to {orders.verb}")
            return receipts([no] * len(orders))
        few = len(orders) if orders.undo else min(len(orders), FEDERATED_ORDERS)
        got = await super().order(_first(orders, few), now)
        wait = Receipt(Result.REFUSED, why=f"a federation passes on one change a second; {few} a time, and this is one more")
        return _with(got, [wait] * (len(orders) - few))

    def _record(self, job: Any) -> JobRecord:
        """As of one cluster; it is not paused, and what is none of the federation's is not touched."""
        record = super()._record(job)
        record.interruptible = False
        if job[OLD]:
            record.id, record.deferrable = f"{job[OLD]}:{record.id}", False
        return record


FEDERATED = (Verb.BEGIN, Verb.MOVE, Verb.COMMENT)


def _federation(o: Options) -> Federation:
    members = {
        name: SlurmRest(
            one.url, one.user or o.user, one.token_file or o.token_file, one.ca_file or o.ca_file, o.every_s, o.timeout_s
        )
        for name, one in o.federation.items()
    }
    commands = {name: Commands(one.conf or o.conf, o.timeout_s) for name, one in o.federation.items() if o.commands}
    return Federation(members, {name: one.feature or name for name, one in o.federation.items()}, commands)


def _first(table: Orders, n: int) -> Orders:
    """The first rows of a table."""
    expected = None if table.expected is None else table.expected[:n]
    texts, where = table.texts[:n], table.where[:n]
    return orders(table.verb, table.targets[:n], table.values[:n], texts, undo=table.undo, expected=expected, where=where)


def _with(got: Receipts, more: Sequence[Receipt]) -> Receipts:
    rows = zip(got.results, got.before.tolist(), got.after.tolist(), got.said, got.why, strict=True)
    return receipts([*(Receipt(*row) for row in rows), *more])
