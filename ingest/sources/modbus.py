"""Reads and sets devices over Modbus TCP: cooling units, chillers, pumps, power meters, anything with a mapping of its
registers.

What a mapping (``ingest.mappings.device``) says beside its ``[[metric]]``s::

    unit = 1                      # unit id of all registers that name none
    order = "ABCD"                # bytes of a 32-bit value as they come: ABCD, CDAB (swapped words), BADC, DCBA
    gap = 0                       # unnamed registers that may be read along between two named ones, to save a request

    [[register]]
    name = "supply_temp"          # of the point; names and labels together tell points apart
    labels = { pump = "1" }
    table = "input"               # coil, discrete, input, holding
    address = 490                 # as on the wire, from 0
    at = 30491                    # instead of both: as vendors number them, 1-, 10001-, 30001- and 40001-
    type = "int16"                # uint16, int32, uint32, int64, uint64, float32, float64
    bit = 3                       # one bit of the register (0 is the lowest), as 0 or 1

Scale and offset stand in ``[[metric]]``, and what a device sends for "no value" in ``blanks``. Neighbouring registers are
read in one request. Orders (``[[set]]``) go to holding registers and coils; a bit of a register is not written.
"""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import Bound, DeviceTable, Points, points
from ingest.registry import Opened
from ingest.sources.device import DeviceOptions, host_port, library, source_names
from ingest.sources.device_targets import open_targets
from twin.errors import SourceError
from twin.site import Site

PORT = 502
MAX_REGISTERS = 125  # of one request, by the standard
MAX_BITS = 2000
MAX_GAP = 64
_WIDTH = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "int64": 4, "uint64": 4, "float32": 2, "float64": 4}
Block = Literal["coil", "discrete", "input", "holding"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]


class Register(BaseModel):
    """One ``[[register]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    labels: dict[str, str] = {}
    unit: int | None = Field(default=None, ge=0, le=255)
    table: Block | None = None
    address: int | None = Field(default=None, ge=0, le=65_535)
    at: int | None = None
    type: Annotated[
        Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = "uint16"
    order: Order | None = None
    bit: int | None = Field(default=None, ge=0, le=15)

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.at is None) == (self.table is None or self.address is None):
            raise ValueError(f"register {self.name}: give table and address, or at")
        block, address = self.place
        if not 0 <= address <= 65_536 - self.width:
            raise ValueError(f"register {self.name}: at {self.at} is no register")
        if self.bit is not None and (block in ("coil", "discrete") or self.width > 1):
            raise ValueError(f"register {self.name}: bit is of a 16-bit register")
        return self

    @property
    def place(self) -> tuple[Block, int]:
        """Its block, and its address from 0."""
        if self.at is None:
            return self.table or "holding", self.address or 0
        base = 100_000 if self.at > 100_000 else 0  # 6-digit numbering: 300001-, 400001-
        digit = self.at // (100_000 if base else 10_000)
        names: dict[int, Block] = {0: "coil", 1: "discrete", 3: "input", 4: "holding"}
        if digit not in names:
            raise ValueError(f"register {self.name}: at {self.at} is neither 1-, 10001-, 30001- nor 40001-")
        return names[digit], self.at - digit * (base or 10_000) - 1

    @property
    def width(self) -> int:
        """Registers, or bits, that it takes."""
        return 1 if self.place[0] in ("coil", "discrete") else _WIDTH[self.type]


class ModbusTable(DeviceTable):
    """A mapping of registers."""

    unit: int = Field(default=1, ge=0, le=255)
    order: Order = "ABCD"
    gap: int = Field(default=0, ge=0, le=MAX_GAP)
    register_: tuple[Register, ...] = Field(alias="register", min_length=1, max_length=5000)

    @model_validator(mode="after")
    def _stand_once(self) -> Self:
        often = Counter((one.name, *sorted(one.labels.items())) for one in self.register_)
        for (name, *labels), count in often.items():
            if count > 1:
                said = f" with {dict(labels)}" if labels else ""  # type: ignore[arg-type]
                raise ValueError(f"register {name!r}{said} stands {count} times; tell them apart by labels")
        return self

    def requests(self) -> list["Request"]:
        """What to ask, neighbours together."""
        places: dict[tuple[int, Block], list[Register]] = {}
        for one in self.register_:
            places.setdefault((self.unit if one.unit is None else one.unit, one.place[0]), []).append(one)
        made: list[Request] = []
        for (unit, block), some in places.items():
            limit = MAX_BITS if block in ("coil", "discrete") else MAX_REGISTERS
            some.sort(key=lambda one: (one.place[1], one.width))
            for one in some:
                start, end = one.place[1], one.place[1] + one.width
                last = made[-1] if made and (made[-1].unit, made[-1].block) == (unit, block) else None
                if last and start - last.end <= self.gap and max(end, last.end) - last.start <= limit:
                    last.end = max(last.end, end)
                    last.registers.append(one)
                else:
                    made.append(Request(unit, block, start, end, [one]))
        return made


@dataclass
class Request:
    """One question: ``registers`` within [``start``, ``end``) of ``block`` of ``unit``."""

    unit: int
    block: Block
    start: int
    end: int
    registers: list[Register]


class ModbusOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``modbus`` may say: what any device may. Modbus knows no password."""

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is neither host nor host:port."""
        super().check_target(target)
        host_port(target, PORT)


Options = ModbusOptions


def source_ids(name: str, options: ModbusOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return source_names(name, options)


def build(name: str, options: ModbusOptions, site: Site) -> Opened:
    """One source a target, with actuators for what its mapping lets be set. ``ConfigError`` for what does not fit."""
    client, errors = library("pymodbus.client", f"source {name}"), library("pymodbus.exceptions", f"source {name}")

    def reach(target: str, table: ModbusTable, bound: Bound, source: str) -> ModbusReach:
        return ModbusReach(target, table, client, errors, options.timeout_s)

    return open_targets(name, options, site, "modbus", ModbusTable, reach)


class ModbusReach:
    """One device, or several behind one gateway. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: ModbusTable, lib: ModuleType, errors: ModuleType, timeout_s: float) -> None:
        self._target, self._table, self._lib, self._errors, self._timeout_s = target, table, lib, errors, timeout_s
        self._requests = table.requests()
        self._client: Any = None

    async def read(self, now: datetime) -> Points:
        """All registers of the mapping."""
        client = await self._connected()
        found: dict[int, float] = {}
        for request in self._requests:
            words = await self._ask(client, request)
            for one in request.registers:
                at = one.place[1] - request.start
                found[id(one)] = self._value(one, words[at : at + one.width])
        return points((one.name, one.labels, found[id(one)]) for one in self._table.register_)

    async def write(self, series: Series, value: float) -> None:
        """Write the register or coil of ``series``; one register with function 6, several with 16."""
        one = next((r for r in self._table.register_ if (r.name, r.labels) == (series[0], series[1])), None)
        one = one or next((r for r in self._table.register_ if r.name == series[0]), None)
        if one is None or one.bit is not None or one.place[0] not in ("coil", "holding"):
            raise SourceError(f"{self._target}: {series[0]} is no holding register or coil that can be written")
        client, unit = await self._connected(), self._table.unit if one.unit is None else one.unit
        block, address = one.place
        if block == "coil":
            await self._said(client.write_coil(address, value >= 0.5, device_id=unit), f"coil {address}")
            return
        kind = client.DATATYPE[one.type.upper()]
        number = value if one.type.startswith("float") else round(value)
        try:
            words = [self._swapped(word, one) for word in client.convert_to_registers(number, kind, self._words(one))]
        except (OverflowError, struct.error) as error:
            raise SourceError(f"{self._target}: {value:g} does not fit {series[0]}, a {one.type} ({error})") from None
        sent = (
            client.write_register(address, words[0], device_id=unit)
            if len(words) == 1
            else client.write_registers(address, words, device_id=unit)
        )
        await self._said(sent, f"holding register {address}")

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> Any:
        if self._client is None:
            host, port = host_port(self._target, PORT)
            self._client = self._lib.AsyncModbusTcpClient(
                host, port=port, timeout=self._timeout_s, retries=0, reconnect_delay=0, name="icctwin"
            )
        if not self._client.connected and not await self._client.connect():
            await self.close()
            raise SourceError(f"{self._target}: no connection; is it running and the address right?")
        return self._client

    async def _ask(self, client: Any, request: Request) -> list[int]:
        ask = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "input": client.read_input_registers,
            "holding": client.read_holding_registers,
        }[request.block]
        count = request.end - request.start
        what = f"{count} {request.block} from {request.start} of unit {request.unit}"
        answer = await self._said(ask(request.start, count=count, device_id=request.unit), what)
        words = answer.bits if request.block in ("coil", "discrete") else answer.registers
        if len(words) < count:
            await self.close()
            raise SourceError(f"{self._target}: gives {len(words)} instead of {what}")
        return [int(word) for word in words]

    async def _said(self, answer: Any, what: str) -> Any:
        """The answer; a broken connection is closed, so that the next poll begins afresh."""
        try:
            said = await answer
        except (self._errors.ModbusException, OSError) as error:
            await self.close()
            raise SourceError(f"{self._target}: no answer to {what} ({' '.join(str(error).split())})") from None
        except BaseException:  # out of time: a late answer must not be taken for the next one's
            await self.close()
            raise
        if said.isError():
            code = getattr(said, "exception_code", None)
            why = _EXCEPTIONS.get(code, f"exception {code}") if code is not None else "an error"
            raise SourceError(f"{self._target}: answers {what} with {why}")
        return said

    def _value(self, one: Register, words: Sequence[int]) -> float:
        if one.place[0] in ("coil", "discrete"):
            return float(words[0])
        words = [self._swapped(word, one) for word in words]
        if one.bit is not None:
            return float(words[0] >> one.bit & 1)
        kind = self._client.DATATYPE[one.type.upper()]
        return float(self._client.convert_from_registers(words, kind, self._words(one)))

    def _words(self, one: Register) -> str:
        return "little" if (one.order or self._table.order) in ("CDAB", "DCBA") else "big"

    def _swapped(self, word: int, one: Register) -> int:
        """A register with its bytes in the standard's order."""
        return (word & 0xFF) << 8 | word >> 8 if (one.order or self._table.order) in ("BADC", "DCBA") else word


_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address; does the mapping fit the device? gap = 0 reads no register that is not named",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge only",
    6: "device busy",
    10: "gateway path unavailable",
    11: "no answer behind the gateway; is the unit right?",
}
