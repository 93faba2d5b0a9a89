"""What all sources of devices share: targets and their assets, a poll within its time, and orders that are bounded and
read back.

A protocol's module adds a ``Reach`` (read all points, write one, let go) and the section of its mapping that says what to read.
"""

import asyncio
import importlib
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.mappings import FOLDER, known_mappings
from ingest.mappings.bind import Series
from ingest.mappings.device import Bound, Points, Setting
from twin.errors import ConfigError, Problem, SourceError
from twin.event import Event
from twin.frame import Frame, Origin, frame_of
from twin.metrics import metric
from twin.ports import Action, Eventful, Troubled
from twin.site import Site

MAX_TARGETS = 20_000
SETTLES_S, LOOK_S = 2.0, 0.02  # how long a listened-to device may take to report what it was told, and between two looks
ROUNDING = 1e-6  # of a metric's step: what two readings of one setpoint may differ by and still be the same


def _as_table(value: Any) -> Any:
    """Targets as configured (one, a list, a table target -> asset) as a table; "" where no asset is named."""
    if isinstance(value, str):
        return {value: ""}
    if isinstance(value, list):
        twice = [target for target, count in Counter(map(str, value)).items() if count > 1]
        if twice:
            raise ValueError(f"target {twice[0]!r} stands twice; leave one")
        return dict.fromkeys(value, "")
    return value


class DeviceOptions(BaseModel):
    """What a ``[[source]]`` of any device may say.

    ``targets``: an address, a list of addresses, or a table address -> id of the asset that it is; where no asset is named
    it is the one whose ``address`` in the site is the target's host. ``mapping``: the name of a table that comes with
    icctwin or the path of one's own; ``places``: label -> value -> id of an asset, for what a device numbers
    in its own way; ``orders``: whether what its mapping lets be set may be ordered here, or for which assets alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: Annotated[dict[str, str], BeforeValidator(_as_table)] = Field(min_length=1, max_length=MAX_TARGETS)
    mapping: str
    every_s: float = Field(default=10.0, ge=0.1, le=3600)
    timeout_s: float = Field(default=5.0, gt=0, le=300)
    places: dict[str, dict[str, str]] = {}
    orders: bool | tuple[str, ...] = True

    @field_validator("mapping")
    @classmethod
    def _beside_the_configuration(cls, value: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder")
        shipped = {name for family in FOLDER.iterdir() if family.is_dir() for name in known_mappings(family)}
        return value if folder is None or value in shipped else str(folder / value)

    @model_validator(mode="after")
    def _addresses_are_some(self) -> Self:
        for target in self.targets:
            self.check_target(target)
        return self

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is no address of this protocol."""
        if not host_of(target):
            raise ValueError(f"{target!r} names no host; write host or host:port")


def beside(value: Path | None, info: ValidationInfo) -> Path | None:
    """A path of an option, meant from the folder of the configuration."""
    folder = (info.context or {}).get("folder")
    return value if folder is None or value is None else Path(folder / value)


def host_of(target: str) -> str:
    """The host of ``host``, ``host:port``, ``[v6]:port`` or a URL; "" where there is none."""
    bare = target.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0] if bare.count(":") == 1 else bare


def host_port(target: str, port: int) -> tuple[str, int]:
    """Host and port of a target; ``ValueError`` where its port is none."""
    host = host_of(target)
    bare = target.rpartition("://")[2].partition("/")[0]
    rest = bare.rpartition("]")[2] if "[" in bare else bare
    tail = rest.rpartition(":")[2] if rest.count(":") == 1 else ""
    if not tail:
        return host, port
    if not tail.isdecimal() or not 0 < int(tail) < 65_536:
        raise ValueError(f"{target!r}: {tail!r} is no port")
    return host, int(tail)


def source_names(name: str, options: DeviceOptions) -> list[str]:
    """Ids of the ``source`` assets: the source's name where there is one target, else with the target behind it."""
    return [name] if len(options.targets) == 1 else [f"{name}/{target}" for target in options.targets]


def library(name: str, what: str) -> ModuleType:
    """A library that only this protocol needs; ``ConfigError`` of one sentence where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        wanted = name.partition(".")[0]
        raise ConfigError([Problem(what, f"needs the library {wanted}, which is not installed; run: make field")]) from None


class Reach(Protocol):
    """One target in its own protocol. Whatever fails is a ``SourceError`` of one sentence that names the target."""

    async def read(self, now: datetime) -> Points:
        """All points, whole or not at all."""
        ...

    async def write(self, series: Series, value: float) -> None:
        """Order ``value`` (in the device's own unit) at the point ``series``."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Listening(Protocol):
    """A ``Reach`` that listens: its readings are what came since the last one, so it has another answer to "how is it now?"."""

    async def last(self, now: datetime) -> Points:
        """The newest of all points that are not too old to be believed; nothing is taken away from the next reading."""
        ...


@runtime_checkable
class Arrayed(Protocol):
    """A ``Reach`` whose device keeps our orders beside those of others."""

    async def relinquish(self, series: Series) -> bool:
        """Take back what we ordered at ``series``; False where the device keeps no orders there, and nothing was done."""
        ...


class DeviceSource:
    """Polls one target. See ``twin.ports.Source``."""

    def __init__(self, name: str, target: str, reach: Reach, bound: Bound, options: DeviceOptions) -> None:
        self._name, self._target, self._reach, self._bound, self._options = name, target, reach, bound, options

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
        """Points of the last reading that belong to no known asset or metric."""
        return self._bound.unmapped

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of such points, a bounded number of them. See ``twin.ports.Naming``."""
        return self._bound.unmapped_names

    @property
    def listens(self) -> bool:
        """Whether it waits for what the target says. See ``twin.ports.Hearing``."""
        return isinstance(self._reach, Listening)

    @property
    def troubles(self) -> Mapping[str, str]:
        """Parts of the target that fail while the rest is read. See ``twin.ports.Troubled``."""
        return self._reach.troubles if isinstance(self._reach, Troubled) else {}

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Read once. ``SourceError`` where the target does not answer whole and in time."""
        clock_s = perf_counter()
        read = await self.read(now)
        return self._bound.frames(read, now, clock_s, self.every_s, self._name)

    async def read(self, now: datetime) -> Points:
        """All points of the target, within its time."""
        return await self._within(self._reach.read(now))

    async def last(self, now: datetime) -> Points:
        """How the target stands now: read anew, or the newest that it has told."""
        return await self._within(self._reach.last(now) if isinstance(self._reach, Listening) else self._reach.read(now))

    async def _within(self, reading: Awaitable[Points]) -> Points:
        limit_s = self._options.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await reading
        except SourceError as error:
            if self._target in str(error):
                raise
            raise SourceError(f"{self._target}: {error}") from None
        except TimeoutError:
            raise SourceError(
                f"{self._target}: no whole answer within {limit_s:g} s; the device or the network is slow"
            ) from None

    def take_events(self) -> Sequence[Event]:
        """What the target told of itself since this was last asked. See ``twin.ports.Eventful``."""
        taken, self._bound.events = self._bound.events, []
        return [*taken, *(self._reach.take_events() if isinstance(self._reach, Eventful) else ())]

    async def close(self) -> None:
        """Let go of the target."""
        await self._reach.close()


class DeviceActuator:
    """Orders what ``[[set]]`` of the mapping allows at one target, and says what the device then reports.

    Refused with ``SourceError``: another metric, a value outside the device's bounds, one further than the metric's step
    from what the device reports now, an order whose time is over, and any setpoint that the device does not report.
    """

    def __init__(self, source: DeviceSource, reach: Reach, bound: Bound, site: Site, settings: Mapping[str, Setting]) -> None:
        self._source, self._reach, self._bound, self._site, self._settings = source, reach, bound, site, settings
        self._relinquished: set[tuple[str, str]] = set()  # asset and metric that are others' again
        self._busy = asyncio.Lock()

    async def apply(self, action: Action, now: datetime) -> Frame:
        """Do it and read it back."""
        setting = self._settings.get(action.metric)
        if setting is None:
            can = f"{self._source.name}; it takes {', '.join(self._settings)}"
            raise SourceError(f"{action.asset}: {action.metric} cannot be set at {can}")
        if not setting.low <= action.value <= setting.high:
            takes = f"the device takes {setting.low:g} to {setting.high:g}"
            raise SourceError(f"{action.asset}: {action.metric} {action.value:g} is refused; {takes}")
        if action.until <= now:
            raise SourceError(f"{action.asset}: the order for {action.metric} had ended at {action.until}; send a new one")
        async with self._busy:
            return await self._order(action, setting, now)

    def takes(self, asset: str) -> frozenset[str]:
        """See ``twin.ports.Choosing``."""
        return frozenset(self._settings)

    def relinquished(self, action: Action) -> bool:
        """See ``twin.ports.Relinquishing``."""
        return action.last and (action.asset, action.metric) in self._relinquished

    def keeps(self) -> bool:
        """See ``twin.ports.Relinquishing``."""
        return isinstance(self._reach, Arrayed)

    async def _order(self, action: Action, setting: Setting, now: datetime) -> Frame:
        entry, row = self._bound.table.entry(setting.kind, setting.metric), self._site.row(action.asset)

        async def reported() -> tuple[float, Series]:
            read = await self._source.last(now)
            at = self._bound.point(read, entry, row) if entry else None
            if at is None or entry is None:
                raise SourceError(f"{action.asset}: {self._source.name} reports no {action.metric}; nothing is ordered blindly")
            raw = self._bound.table.number(read.series[at][0], read.values[at])
            return raw * entry.scale + entry.offset, read.series[at]

        here, series = await reported()
        scale, offset = (entry.scale, entry.offset) if entry else (1.0, 0.0)
        step = metric(setting.kind, setting.metric).step or 0.0
        if not abs(action.value - here) <= step * (1 + ROUNDING):  # NaN too
            far = f"stands at {here:g} and may move by {step:g} at once; {action.value:g} is too far"
            raise SourceError(f"{action.asset}: {action.metric} {far}")
        target = (setting.write, series[1]) if setting.write else series
        limit_s = 2 * self._source.every_s + 10
        try:
            async with asyncio.timeout(limit_s):
                self._relinquished.discard((action.asset, action.metric))
                if action.last and isinstance(self._reach, Arrayed) and await self._reach.relinquish(target):
                    self._relinquished.add((action.asset, action.metric))
                else:
                    await self._reach.write(target, (action.value - offset) / scale)
        except TimeoutError:
            raise SourceError(f"{action.asset}: the order was not taken within {limit_s:g} s; read what stands there") from None
        held, _ = await reported()
        if isinstance(self._reach, Listening):  # what was heard first after the order may be of another device
            ends_s = asyncio.get_running_loop().time() + SETTLES_S
            while abs(held - action.value) > ROUNDING * max(step, 1.0) and asyncio.get_running_loop().time() < ends_s:
                await asyncio.sleep(LOOK_S)
                held, _ = await reported()
        return frame_of(setting.kind, now, row, origin=Origin.COMMANDED, source=self._source.name, **{action.metric: held})
