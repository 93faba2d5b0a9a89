"""What the processes of one centre share besides the store: records, live frames, and who of them leads."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from energy.account.runs import TOPIC as RUNS
from ingest.broker import Broker
from ingest.stores.postgres import Leader, PostgresRecords, Session
from ingest.stores.records import open_records
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Frame
from twin.ports import Records, Store
from twin.site import Site
from ui.access.audit import Audited, audited
from ui.config import Config
from ui.roles import Part

log = logging.getLogger(__name__)

LOOKED_BACK = timedelta(days=400)  # as far as a simulated plant makes up a past
LEADER_ASKED = timedelta(seconds=1)  # how often whether we lead is asked


def records_of(config: Config) -> Audited:
    """The records that all processes of a centre share: of its PostgreSQL where it has one, else a file beside the store."""
    cluster = config.cluster
    if cluster.postgres:
        return audited(PostgresRecords(Session(cluster.postgres, cluster.postgres_password_file)))
    return audited(open_records(config.store.path / "records.db"))


class Shared:
    """Of one process. Where a centre is one process, records are a file, nobody else listens, and it leads."""

    def __init__(self, config: Config, site: Site, part: Part, hear: Callable[[Sequence[Frame]], None]) -> None:
        """``hear`` takes what other processes tell."""
        cluster = config.cluster
        self._leader: Leader | None = None
        if cluster.postgres and "tasks" in part.roles:
            self._leader = Leader(Session(cluster.postgres, cluster.postgres_password_file), site.name)
        address = cluster.address if part.name else None
        self._broker = Broker(address, site, part.name, hear) if address else None
        self.leading = self._leader is None and "tasks" in part.roles
        self._asked: datetime | None = None
        self.records = records_of(config)  # the last, for it alone opens something at once

    def leads(self, now: datetime) -> bool:
        """Whether this process leads; asked anew at most every second."""
        if self._leader is not None and (self._asked is None or not timedelta() <= now - self._asked < LEADER_ASKED):
            self._asked = now
            self.leading = self._leader.leads()
        return self.leading

    def tell(self, frames: Sequence[Frame]) -> None:
        """Let the other processes know."""
        if self._broker is not None:
            self._broker.put(frames)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen."""
        if self._broker is not None:
            asyncio.run_coroutine_threadsafe(self._broker.start(), loop).result()

    def look(self) -> None:
        """Raise what broke the listening or telling since this was last asked."""
        if self._broker is not None:
            self._broker.look()

    async def hush(self) -> None:
        """Listen no more."""
        if self._broker is not None:
            await self._broker.close()

    def close(self) -> None:
        """Let go of everything; another process may lead."""
        if self._leader is not None:
            self._leader.close()
        self.records.close()


def remembered(store: Store, since: datetime) -> Sequence[Frame]:
    """The newest values of before the start; a store on a server may be away, and then life begins without them."""
    try:
        return store.latest(since)
    except SourceError as error:
        log.error("the newest values of before are not known: %s", error)
        return ()


def unlived(store: Store, records: Records, now: datetime) -> bool:
    """Whether nothing is kept of a life before ``now``: no run of a job, no power of the centre. ``SourceError`` where they do
    not answer."""
    if records.read(RUNS, limit=1):
        return False
    power_w = store.series("site", ["it_power_w"], now - LOOKED_BACK, now + LOOKED_BACK, 86400.0).values["it_power_w"]
    return not bool(np.isfinite(power_w).any())


def check_part(config: Config, part: Part) -> None:
    """``ConfigError`` where ``part`` needs what ``config`` does not name."""
    cluster = config.cluster
    if not part.name:
        return
    problems = []
    if part.name not in ("tasks", "wall") and part.shard.count != max(1, cluster.shards):
        what = f"--shard {part.shard} speaks of {part.shard.count} processes, the configuration of {max(1, cluster.shards)}"
        problems.append(Problem("[cluster] shards", what))
    if not cluster.shards:
        problems.append(
            Problem("[cluster] shards", "a centre of several processes says how many of them ingest; write shards = 1")
        )
    if not cluster.broker:
        problems.append(
            Problem("[cluster] broker", 'several processes need a broker for live frames; write "mqtt://host:1883"')
        )
    if config.store.type == "embedded" and part.roles != {"wall"} and (cluster.shards > 1 or part.roles == {"tasks"}):
        what = "one process alone can write the embedded store; use influxdb or victoriametrics for several"
        problems.append(Problem("[store] type", what))
    if problems:
        raise ConfigError(problems)
