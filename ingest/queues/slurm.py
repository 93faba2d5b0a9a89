"""Slurm as a queue: jobs, nodes, partitions, reservations over slurmrestd (JWT on the network, or its socket), or by its
commands; and the orders that it takes.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.queues.port import ScheduledQueue, Scheduler
from ingest.queues.slurm_caps import caps_of
from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_orders import SlurmOrders
from ingest.queues.slurm_records import job_record, node_record, number, partition_of, reservation_of
from ingest.queues.slurm_rest import SlurmRest
from ingest.queues.tables import check_queue, cluster_of, jobs_of
from ingest.registry import Opened
from ingest.sources.device import beside
from twin.errors import SourceError
from twin.job import Cluster, Jobs
from twin.order import Orders, Receipt, Receipts, Result, receipts
from twin.site import Site


class Options(BaseModel):
    """What a ``[[source]]`` of type ``slurm`` may say.

    ``queue``: id of the queue's asset; ``url``: of slurmrestd, or ``unix:/path`` of its socket; ``user`` and
    ``token_file``: whom the JWT is for. ``commands``: whether to use Slurm's commands where slurmrestd does not answer or has
    no call (without ``url``: always), with ``conf`` as their slurm.conf. A job is deferrable where its partition, QOS or
    account is named here, or its comment has the word or a mark (``icctwin:deadline=…;interruptible``); ``icctwin:off`` takes
    it out. ``orders``: whether orders are taken at all; ``pause_signal``: at which an interruptible job saves itself and exits
    with Slurm's ``RequeueExitHold``, within ``pause_s``; ``restart_s``: how long a requeued job rests (Slurm's ``cred_expire``
    and a second). ``cap``: the site's tool that caps a node's power, ``{node}`` and
    ``{watts}`` filled in, and ``cap_read`` one that prints the cap in watts.
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

    @field_validator("token_file", "ca_file", "conf")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.url and not self.commands:
            raise ValueError("give url (of slurmrestd), or commands = true")
        if self.url and not self.url.startswith("unix:/"):
            url = URL(self.url)
            if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
                raise ValueError(f"url {self.url!r} is neither http(s)://host:port nor unix:/path, or holds a secret")
            if not (self.user and self.token_file):
                raise ValueError("slurmrestd on the network wants user and token_file")
        if bool(self.cap) is not bool(self.cap_read):
            raise ValueError("cap and cap_read go together: what is set is read back")
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The queue, and a source that tells of it in numbers. ``ConfigError`` where the site has no such queue."""
    check_queue(name, options.queue, site)
    slurm = Slurm(name, options, site)
    caps = caps_of(options, site) if options.cap and options.orders else {}
    return Opened([slurm], queues=[ScheduledQueue(options.queue, slurm)], actuators=caps)


class Slurm(Scheduler):
    """One cluster."""

    def __init__(self, name: str, options: Options, site: Site) -> None:
        super().__init__(name, options.queue, site, options.every_s)
        o = self._options = options
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
        options = self._options
        try:
            records = [job_record(one, options) for one in jobs]
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
