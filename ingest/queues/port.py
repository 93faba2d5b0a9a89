"""What schedulers share: one reading for whoever asks within an interval, counted into frames; and the port that others see."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime

from ingest.queues.tables import Places, frames_of
from twin.frame import Frame
from twin.job import Cluster, Jobs
from twin.order import Orders, Receipts
from twin.site import Site

EARLY_S = 0.5  # a task that comes so much early finds an answer that is due, not one that is old for another round


class Scheduler(ABC):
    """One cluster. See ``twin.ports.Source``. It is asked once in ``every_s`` at most, however often its queue is."""

    releases_itself = True  # a begin time starts its job without us

    def __init__(self, name: str, queue: str, site: Site, every_s: float) -> None:
        self._name, self._queue, self._site, self._every_s = name, queue, site, every_s
        self._early_s = min(0.1 * every_s, EARLY_S)
        self._places = Places(site)
        self._lock = asyncio.Lock()
        self._read: tuple[datetime, Jobs, Cluster] | None = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two readings."""
        return self._every_s

    @property
    def unmapped(self) -> int:
        """Nodes of the cluster that the site does not know."""
        return int((self._read[2].rows < 0).sum()) if self._read else 0

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Jobs and nodes, counted. ``SourceError`` where the scheduler does not answer whole."""
        jobs, cluster = await self.newest(now)
        return frames_of(jobs, cluster, self._site, self._queue, now, self._name)

    async def newest(self, now: datetime) -> tuple[Jobs, Cluster]:
        """What the scheduler says, at most ``every_s`` ago."""
        async with self._lock:
            if self._read is None or not 0 <= (now - self._read[0]).total_seconds() < self._every_s - self._early_s:
                self._read = None
                self._read = (now, *await self._fresh())
            return self._read[1:]

    @abstractmethod
    async def _fresh(self) -> tuple[Jobs, Cluster]:
        """Ask. ``SourceError`` where there is no whole answer."""

    @abstractmethod
    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """See ``twin.ports.Steerable``."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection."""


class ScheduledQueue:
    """The jobs of one cluster. See ``twin.ports.Queue``, ``Capacity`` and ``Steerable``."""

    def __init__(self, queue: str, scheduler: Scheduler) -> None:
        self._queue, self._scheduler = queue, scheduler

    @property
    def name(self) -> str:
        """Id of the queue's asset."""
        return self._queue

    @property
    def releases_itself(self) -> bool:
        """Whether a begin time starts its job without us."""
        return self._scheduler.releases_itself

    async def jobs(self, now: datetime) -> Jobs:
        """Pending, running and lately ended jobs."""
        return (await self._scheduler.newest(now))[0]

    async def cluster(self, now: datetime) -> Cluster:
        """Nodes, partitions and reservations."""
        return (await self._scheduler.newest(now))[1]

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Write each order and read it back."""
        return await self._scheduler.order(orders, now)
