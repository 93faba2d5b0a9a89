"""Reads and sets devices over BACnet/IP (ASHRAE 135): chillers, air handlers, pumps, valves, whatever building controls show.

What a mapping (``ingest.mappings.device``) says beside its ``[[metric]]``s::

    multiple = true               # the device knows ReadPropertyMultiple; false for an old one
    priority = 10                 # of orders, 1-16 (ASHRAE 135, clause 19.2: 8 is a person at a panel)

    [[object]]
    name = "supply_temp"          # of the point; names and labels together tell points apart
    labels = { pump = "1" }
    object = "analog-input,1"     # type and instance
    property = "present-value"
    priority = 9                  # another than the table's

Binary values are 0 (inactive) and 1 (active), multi-state values their number. An object that reports a fault, or is out
of service, has no value. An order of ours stays in the object's priority array until it is given back: then Null is written at
our priority, and whatever else commands the object (the building's schedule) has it again. An object without such an array is
written its former value.
"""

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import DeviceTable, Points, Value, points
from ingest.registry import Opened
from ingest.sources.device import DeviceOptions, library, source_names
from ingest.sources.device_targets import open_targets
from twin.errors import SourceError
from twin.site import Site

PORT = 47_808
AT_ONCE = 20  # objects in one request: what a controller answers in one datagram of 1,476 bytes
_BAD_FLAGS = (1, 3)  # status flags: in-alarm, fault, overridden, out-of-service


class Object(BaseModel):
    """One ``[[object]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    labels: dict[str, str] = {}
    object: str = Field(pattern=r"^[a-z-]+,\d+$")
    property: str = Field(default="present-value", pattern="^[a-z-]+$")
    priority: int | None = Field(default=None, ge=1, le=16)


class BacnetTable(DeviceTable):
    """A mapping of objects."""

    multiple: bool = True
    priority: int = Field(default=10, ge=1, le=16)
    object: tuple[Object, ...] = Field(min_length=1, max_length=5000)

    @model_validator(mode="after")
    def _stand_once(self) -> Self:
        often = Counter((one.name, *sorted(one.labels.items())) for one in self.object)
        for (name, *_), count in often.items():
            if count > 1:
                raise ValueError(f"object {name!r} stands {count} times; tell them apart by labels")
        return self


class BacnetOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``bacnet`` may say.

    ``bind``: our own address on the building's network, ``address/prefix:port``; ``device``: the instance that we have
    there, which must be ours alone. A target is ``host``, ``host:port`` or, behind a router, ``network:address``.
    """

    bind: str = Field(pattern=r"^[0-9.]+(/\d+)?(:\d+)?$")
    device: int = Field(default=4_190_000, ge=0, le=4_194_302)

    @field_validator("bind")
    @classmethod
    def _has_a_prefix(cls, value: str) -> str:
        address, _, port = value.partition(":")
        if not 0 < int(port or PORT) < 65_536:
            raise ValueError(f"{port} is no port")
        return f"{address if '/' in address else address + '/24'}:{port or PORT}"


Options = BacnetOptions


def source_ids(name: str, options: BacnetOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return source_names(name, options)


def build(name: str, options: BacnetOptions, site: Site) -> Opened:
    """One source a target, with actuators for what its mapping lets be set. ``ConfigError`` for what does not fit."""
    ours = Own(libraries(f"source {name}"), options)
    return open_targets(name, options, site, "bacnet", BacnetTable, lambda target, table, *_: BacnetReach(target, table, ours))


def libraries(where: str) -> dict[str, ModuleType]:
    """Parts of bacpypes3; ``ConfigError`` at ``where`` while it is missing."""
    wanted = ("app", "local.device", "local.networkport", "pdu", "primitivedata", "basetypes", "apdu")
    return {part: library(f"bacpypes3.{part}", where) for part in wanted}


@dataclass
class Own:
    """Our own device on the building's network, one for all targets of a ``[[source]]``: made at the first poll."""

    lib: dict[str, ModuleType]
    options: BacnetOptions
    app: Any = None
    users: int = 0

    def take(self) -> Any:
        """The application, for one more target. ``SourceError`` where its address cannot be used."""
        if self.app is None:
            lib, options = self.lib, self.options
            device = lib["local.device"].DeviceObject(
                objectIdentifier=("device", options.device),
                objectName=f"icctwin {options.device}",
                vendorIdentifier=999,  # ASHRAE's for those who have none of their own
                numberOfApduRetries=1,
                apduTimeout=round(1000 * options.timeout_s / 3),
            )
            address, _, number = options.bind.partition(":")
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # the library would fail where nobody looks
                    probe.bind((address.partition("/")[0], int(number)))
                port = lib["local.networkport"].NetworkPortObject(
                    options.bind, objectIdentifier=("network-port", 1), objectName="network"
                )
                self.app = lib["app"].Application.from_object_list([device, port])
            except (OSError, ValueError) as error:
                raise SourceError(f"bind {options.bind}: cannot be used ({error}); is it an address of this machine?") from None
        self.users += 1
        return self.app

    def give(self) -> None:
        """One target less."""
        self.users -= 1
        if self.users == 0 and self.app is not None:
            self.app.close()
            self.app = None


class BacnetReach:
    """One device. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: BacnetTable, own: Own) -> None:
        self._target, self._table, self._own = target, table, own
        self._app: Any = None
        self._address: Any = None

    async def read(self, now: datetime) -> Points:
        """All objects of the mapping."""
        found: list[tuple[str, dict[str, str], Value]] = []
        objects = self._table.object
        step = AT_ONCE if self._table.multiple else 1
        for start in range(0, len(objects), step):
            some = objects[start : start + step]
            values = await (self._many(some) if self._table.multiple else self._one(some[0]))
            found += [(one.name, one.labels, value) for one, value in zip(some, values, strict=True)]
        return points(found)

    async def write(self, series: Series, value: float) -> None:
        """Write the object's property, with its priority."""
        one = self._ordered(series)
        said: Any = value
        kind = one.object.partition(",")[0]
        if kind.startswith("binary"):
            said = "active" if value >= 0.5 else "inactive"
        elif not kind.startswith(("analog", "large-analog")):
            said = round(value)
        await self._write(one, said)

    async def relinquish(self, series: Series) -> bool:
        """Write Null at our priority, where the object has a priority array."""
        one = self._ordered(series)
        if await self._if_any(one, "priority-array") is None:
            return False
        await self._write(one, self._own.lib["primitivedata"].Null(()))
        return True

    def _ordered(self, series: Series) -> Object:
        """The object that is meant by ``series``, which must be a number."""
        one = next((o for o in self._table.object if (o.name, o.labels) == (series[0], series[1])), None)
        one = one or next((o for o in self._table.object if o.name == series[0]), None)
        if one is None:
            raise SourceError(f"{self._target}: the mapping names no object {series[0]!r}")
        kind = one.object.partition(",")[0]
        if not kind.startswith(("analog", "binary", "multi-state", "integer", "large-analog", "positive-integer")):
            raise SourceError(f"{self._target}: {one.object} is no number and is not written")
        return one

    async def _write(self, one: Object, said: Any) -> None:
        priority = one.priority or self._table.priority
        app, address = self._reached()
        await self._said(
            app.write_property(address, self._id(one), one.property, said, None, priority), f"writing {one.object}"
        )

    async def close(self) -> None:
        """Let go of our own device, where this was its last target."""
        if self._app is not None:
            self._app = None
            self._own.give()

    async def _many(self, some: Sequence[Object]) -> list[Value]:
        wanted: list[Any] = []
        for one in some:
            wanted += [self._id(one), [one.property, "status-flags"] if one.property == "present-value" else [one.property]]
        app, address = self._reached()
        answer = await self._said(app.read_property_multiple(address, wanted), f"{some[0].object} and {len(some) - 1} more")
        said: dict[tuple[str, str], Any] = {}
        for identifier, name, _, value in answer:
            said[str(identifier), str(name)] = value
        error = self._own.lib["basetypes"].ErrorType
        values: list[Value] = []
        for one in some:
            value = said.get((one.object, one.property))
            if value is None or isinstance(value, error):
                why = value if value is None else f"{value.errorClass}: {value.errorCode}"
                raise SourceError(
                    f"{self._target}: does not give {one.property} of {one.object} ({why}); does the mapping fit?"
                )
            flags = said.get((one.object, "status-flags"))
            values.append(None if flags is not None and _bad(flags) else _number(value))
        return values

    async def _one(self, one: Object) -> list[Value]:
        app, address = self._reached()
        value = await self._said(app.read_property(address, self._id(one), one.property), one.object)
        if one.property != "present-value":
            return [_number(value)]
        flags = await self._if_any(one, "status-flags")
        return [None if flags is not None and _bad(flags) else _number(value)]

    async def _if_any(self, one: Object, name: str) -> Any:
        """A property that not every object has; None of one that has it not."""
        app, address = self._reached()
        apdu = self._own.lib["apdu"]
        try:
            said = await app.read_property(address, self._id(one), name)
        except (apdu.ErrorPDU, apdu.RejectPDU):
            return None
        except (apdu.ErrorRejectAbortNack, OSError) as error:
            raise SourceError(f"{self._target}: does not answer of {one.object} ({' '.join(str(error).split())})") from None
        return None if isinstance(said, (apdu.ErrorPDU, apdu.RejectPDU)) else said

    def _reached(self) -> tuple[Any, Any]:
        if self._app is None:
            self._app = self._own.take()
        if self._address is None:
            try:
                self._address = self._own.lib["pdu"].Address(self._target)
            except ValueError as error:
                raise SourceError(f"{self._target}: is no BACnet address ({error})") from None
        return self._app, self._address

    def _id(self, one: Object) -> Any:
        return self._own.lib["primitivedata"].ObjectIdentifier(one.object)

    async def _said(self, answer: Any, what: str) -> Any:
        try:
            said = await answer
        except self._own.lib["apdu"].ErrorRejectAbortNack as error:
            said = error
        except OSError as error:
            raise SourceError(f"{self._target}: no way to it ({error})") from None
        if isinstance(said, self._own.lib["apdu"].ErrorRejectAbortNack):
            why = " ".join(str(said).split())
            late = "abort" in type(said).__name__.lower()
            hint = "; is it running, and the address right?" if late else "; does the mapping fit the device?"
            raise SourceError(f"{self._target}: refuses {what} ({why}){hint}")
        return said


def _bad(flags: Any) -> bool:
    """Whether status flags say fault or out of service."""
    return any(i < len(flags) and flags[i] for i in _BAD_FLAGS)


def _number(value: Any) -> Value:
    """Numbers, and enumerations by their number; text as it is."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
