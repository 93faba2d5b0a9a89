"""The ports: what the rest of icctwin asks of the outside, whoever answers. ``ui.app`` alone joins them to protocols."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from twin.event import Event
from twin.frame import Floats, Frame, Ints, Origin
from twin.job import Cluster, Jobs
from twin.order import Orders, Receipts


class Clock(Protocol):
    """What time it is; a virtual one in tests and replay."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...


class Source(Protocol):
    """Reads one endpoint of one protocol. Holds no logic beyond names, units and signs."""

    @property
    def name(self) -> str:
        """Id of the source's own asset (kind ``source``)."""
        ...

    @property
    def every_s(self) -> float:
        """How often it wants to be polled."""
        ...

    @property
    def unmapped(self) -> int:
        """Series of the last poll that belong to no known asset or metric."""
        ...

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Read once. All of the answer or ``SourceError``; never half, never an old value as a new one."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Eventful(Protocol):
    """A source that also tells of events; asked after each poll, whether that succeeded or not."""

    def take_events(self) -> Sequence[Event]:
        """What happened since this was last asked; each event is given once."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A source that can name what it could not place."""

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of series that belong to no known asset or metric, a bounded number of them."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A source that may tell only what others say when it pleases them (a broker's clients)."""

    @property
    def listens(self) -> bool:
        """Whether it is so: a poll without a value is then no answer yet."""
        ...


@runtime_checkable
class Troubled(Protocol):
    """A source that may be up and yet not whole."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Part of it -> what is wrong with that at the last poll."""
        ...


@runtime_checkable
class Manifold(Troubled, Protocol):
    """A source of many endpoints that share its health: it is up while one of them answers. ``troubles``: by endpoint, or the
    list that endpoints come from."""

    @property
    def targets(self) -> int:
        """How many endpoints there are."""
        ...

    @property
    def targets_down(self) -> int:
        """How many of them failed at the last poll."""
        ...


class How(StrEnum):
    """How values that fall into one step become one."""

    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    LAST = "last"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """``time_s``: float64[t], starts of steps (or times of samples), increasing; ``values``: metric -> float64[t, n] for
    the n ``rows`` asked for, NaN where there was nothing believable."""

    time_s: Floats
    rows: Ints
    values: Mapping[str, Floats]


class Store(Protocol):
    """Keeps frames. One process appends; any number of processes read meanwhile."""

    def append(self, frames: Sequence[Frame]) -> None:
        """Keep ``frames``. When it returns they survive a killed process; of two values for the same asset, metric,
        origin, band and time, the later append counts."""
        ...

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        """Values in ``[start, end)`` in steps of ``step_s`` aligned to multiples of it since 1970 (None: as stored),
        for ``rows`` of ``kind`` (None: all). Bad values do not count. Served from rollups where those are exact."""
        ...

    def latest(self, since: datetime) -> Sequence[Frame]:
        """Frames that rebuild the live state after a start: the newest value of everything not older than ``since``."""
        ...

    def maintain(self, now: datetime) -> None:
        """Compact, roll up and drop what is past the limits of age and size. Bounded work a call; call it again."""
        ...

    def size_bytes(self) -> int:
        """On disk, everything counted."""
        ...

    def close(self) -> None:
        """Finish what is begun."""
        ...


class Records(Protocol):
    """Append-only notes that are not values over time: alerts, plans, audit, ledger. A record is a JSON object."""

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        """Keep a record, durable on return; gives its number, which only grows."""
        ...

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        """Keep all of them in this order, or none; durable on return."""
        ...

    def append_next(self, topic: str, time: datetime, make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> int:
        """The same with the record that ``make`` gives for the newest of ``topic`` (None: there is none); nobody else appends
        to ``topic`` by this call meanwhile. ``Damaged`` where the newest cannot be read."""
        ...

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        """Records in ``[start, end)`` with a number above ``after``, at most ``limit``: the oldest, or with ``newest`` the
        newest, in the order of their numbers. ``Damaged`` names the first of them that cannot be read."""
        ...

    def trim(self, topic: str, keep: int) -> None:
        """Drop all but the newest ``keep`` records of ``topic``: for what is a state and not a history."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to change: set ``metric`` of ``asset`` to ``value``, at the latest undone at ``until``. ``last``: it ends what
    we ordered there, so a device that keeps orders beside those of others may take ours back instead of writing ``value``."""

    asset: str
    metric: str
    value: float
    until: datetime
    key: str  # the same key is the same action, however often it is sent
    last: bool = False


class Actuator(Protocol):
    """Carries actions out on one device or scheduler and reads them back."""

    async def apply(self, action: Action, now: datetime) -> Frame:
        """Do it and read it back: a ``commanded`` frame of what the device now says. ``SourceError`` where it cannot."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """An actuator that does not set all that can be set of its assets."""

    def takes(self, asset: str) -> frozenset[str]:
        """Metrics of ``asset`` that it sets."""
        ...


@runtime_checkable
class Relinquishing(Protocol):
    """An actuator of a device that keeps our orders beside those of others (BACnet's priority array)."""

    def relinquished(self, action: Action) -> bool:
        """Whether ``action``, which was applied, took our order back: the device then stands where others have it."""
        ...

    def keeps(self) -> bool:
        """Whether an order of ours may stand there beside what the device reports, until it is taken back."""
        ...


class Queue(Protocol):
    """A cluster's job scheduler."""

    @property
    def name(self) -> str:
        """Id of the queue's asset (kind ``queue``)."""
        ...

    async def jobs(self, now: datetime) -> Jobs:
        """Pending, running and lately ended jobs. ``SourceError`` where the scheduler does not answer."""
        ...


@runtime_checkable
class Capacity(Protocol):
    """A queue that also tells what it can give out."""

    async def cluster(self, now: datetime) -> Cluster:
        """Nodes, partitions and reservations. ``SourceError`` where the scheduler does not answer."""
        ...


@runtime_checkable
class Steerable(Protocol):
    """A queue that takes orders."""

    @property
    def releases_itself(self) -> bool:
        """Whether a begin time starts its job without us; where not, it is taken back when we stop."""
        ...

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Write each order and read it back. What cannot be done of one is its receipt's; never half a table unsaid."""
        ...
