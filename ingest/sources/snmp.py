"""Reads devices over SNMP v2c and v3: PDUs, UPSes, CRACs, switches, anything with a mapping of its OIDs.

What a mapping (``ingest.mappings.device``) says beside its ``[[metric]]``s, by OIDs as the device's MIB gives them::

    [scalars]                                   # point -> OID with its instance
    upsOutputSource = "1.3.6.1.2.1.33.1.4.1.0"

    [[table]]                                   # columns of one conceptual table; a point for each row
    oid = "1.3.6.1.2.1.31.1.1.1"                # of the entry
    columns = { ifHCInOctets = 6 }              # point -> number of the column
    labels = { device = "1.3.6.1.2.1.31.1.1.1.1" }   # label -> column, of any table that has the same index
    digits = "1.3.6.1.4.1.13742.6.3.3.4.1.7"    # column with the decimal digits that the values are to be read with
    si_scale = "1.3.6.1.2.1.99.1.1.1.2"         # column with the SI prefix of the values (EntitySensorDataScale, RFC 3433)

Each point of a table has the labels ``index`` (all of its index) and ``index1``, ``index2``, … (its parts). ``[[set]]``
writes with the type that the object has when it is read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import MAX_POINTS, DeviceTable, Points, Value, points
from ingest.registry import Opened
from ingest.sources.device import DeviceOptions, beside, host_port, library, open_targets, source_names
from ingest.wire import read_secret
from twin.errors import SourceError
from twin.site import Site

PORT = 161
REPETITIONS = 20  # rows asked for in one request
AT_ONCE = 20  # objects in one request
RETRIES = 1  # within a poll: a datagram may be lost
_OID = re.compile(r"\.?\d+(\.\d+)+")
_SI_EXPONENT = {code: 3 * (code - 9) for code in range(1, 18)}  # EntitySensorDataScale: yocto is 1, units 9, yotta 17
Oid = tuple[int, ...]


class Columns(BaseModel):
    """One ``[[table]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    oid: str
    columns: dict[str, int] = Field(min_length=1)
    labels: dict[str, str] = {}
    digits: str = ""
    si_scale: str = ""

    @model_validator(mode="after")
    def _are_oids(self) -> Self:
        for text in (self.oid, self.digits, self.si_scale, *self.labels.values()):
            if text:
                oid_of(text)
        return self

    def asked(self) -> dict[str, Oid]:
        """Column of each point, label and exponent, by a name that tells these apart."""
        entry = oid_of(self.oid)
        wanted = {f"point {name}": (*entry, number) for name, number in self.columns.items()}
        wanted |= {f"label {name}": oid_of(text) for name, text in self.labels.items()}
        exponents = {"digits": self.digits, "si_scale": self.si_scale}
        return wanted | {name: oid_of(text) for name, text in exponents.items() if text}


class SnmpTable(DeviceTable):
    """A mapping of OIDs."""

    scalars: dict[str, str] = Field(default={})
    table: tuple[Columns, ...] = ()

    @field_validator("scalars")
    @classmethod
    def _are_oids(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            oid_of(text)
        return value

    def oid(self, series: Series) -> Oid:
        """OID of a point; ``SourceError`` where the table does not have it, or reads it with digits of its own."""
        name, labels = series
        if name in self.scalars:
            return oid_of(self.scalars[name])
        for one in self.table:
            if name in one.columns and not (one.digits or one.si_scale) and labels.get("index"):
                return *oid_of(one.oid), one.columns[name], *oid_of("0." + labels["index"])[1:]
        raise SourceError(f"point {name} is not one that can be written; name a scalar or a column without digits")


class SnmpOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``snmp`` may say.

    Version 2c with the community in ``community_file`` (without one: "public"); version 3 where ``user`` is given, with
    the pass phrases in ``auth_file`` and ``priv_file``. Secrets stand in files, never in the configuration.
    """

    user: str = ""
    auth: Literal["MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"] = "SHA256"
    priv: Literal["DES", "AES", "AES192", "AES256"] = "AES"
    community_file: Path | None = None
    auth_file: Path | None = None
    priv_file: Path | None = None

    @field_validator("community_file", "auth_file", "priv_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.user and self.community_file:
            raise ValueError("user is of version 3 and community_file of version 2c; leave one")
        if self.priv_file and not self.auth_file:
            raise ValueError("priv_file needs auth_file: version 3 has no privacy without authentication")
        if self.auth_file and not self.user:
            raise ValueError("auth_file needs user")
        return self

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is neither host nor host:port."""
        super().check_target(target)
        host_port(target, PORT)


Options = SnmpOptions


def oid_of(text: str) -> Oid:
    """The numbers of an OID; ``ValueError`` where it is none."""
    if not _OID.fullmatch(text):
        raise ValueError(f"{text!r} is no OID; write numbers with dots between")
    return tuple(int(part) for part in text.strip(".").split("."))


def source_ids(name: str, options: SnmpOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return source_names(name, options)


def build(name: str, options: SnmpOptions, site: Site) -> Opened:
    """One source a target. ``ConfigError`` for a mapping that is wrong and assets that the site does not have."""
    agent = Agent.of(options, f"source {name}")
    return open_targets(name, options, site, "snmp", SnmpTable, lambda target, table, *_: SnmpReach(target, table, agent))


@dataclass
class Agent:
    """The one SNMP engine of a ``[[source]]``, made at the first poll and closed with the last of its targets."""

    lib: ModuleType
    error: type[Exception]  # the library's base of errors
    options: SnmpOptions
    engine: Any = None
    users: int = 0
    secrets: tuple[str, ...] = ()
    auth: Any = None

    @classmethod
    def of(cls, options: SnmpOptions, where: str) -> Self:
        """One for ``options``; ``ConfigError`` at ``where`` while the library is missing."""
        lib, error = library("pysnmp.hlapi.v3arch.asyncio", where), library("pysnmp.error", where).PySnmpError
        return cls(lib, error, options)

    def take(self) -> Any:
        """The engine, for one more target."""
        if self.engine is None:
            self.engine = self.lib.SnmpEngine()
        self.users += 1
        return self.engine

    def give(self) -> None:
        """One target less."""
        self.users -= 1
        if self.users == 0 and self.engine is not None:
            self.engine.close_dispatcher()
            self.engine = None

    def credentials(self) -> Any:
        """Who asks; secrets are read anew each time, so that they may be rotated."""
        options, lib = self.options, self.lib
        files = (options.community_file, options.auth_file, options.priv_file)
        secrets = tuple(read_secret(file) if file else "" for file in files)
        if self.auth is not None and secrets == self.secrets:
            return self.auth
        community, auth, priv = secrets
        if not options.user:
            self.auth = lib.CommunityData(f"c{abs(hash(community))}", community or "public", mpModel=1)
        else:
            self.auth = lib.UsmUserData(
                options.user,
                auth or None,
                priv or None,
                authProtocol=getattr(lib, AUTH[options.auth]) if auth else lib.USM_AUTH_NONE,
                privProtocol=getattr(lib, PRIV[options.priv]) if priv else lib.USM_PRIV_NONE,
            )
        self.secrets = secrets
        return self.auth


AUTH = {
    "MD5": "USM_AUTH_HMAC96_MD5",
    "SHA": "USM_AUTH_HMAC96_SHA",
    "SHA224": "USM_AUTH_HMAC128_SHA224",
    "SHA256": "USM_AUTH_HMAC192_SHA256",
    "SHA384": "USM_AUTH_HMAC256_SHA384",
    "SHA512": "USM_AUTH_HMAC384_SHA512",
}
PRIV = {
    "DES": "USM_PRIV_CBC56_DES",
    "AES": "USM_PRIV_CFB128_AES",
    "AES192": "USM_PRIV_CFB192_AES",
    "AES256": "USM_PRIV_CFB256_AES",
}


class SnmpReach:
    """One agent. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: SnmpTable, agent: Agent) -> None:
        self._target, self._table, self._agent = target, table, agent
        self._place = host_port(target, PORT)
        self._transport: Any = None
        self._rows: dict[str, int] = {}  # how many each table had, so that a request asks for no more than it needs

    async def read(self, now: datetime) -> Points:
        """All scalars and tables of the mapping."""
        found: list[tuple[str, dict[str, str], Value]] = []
        names = list(self._table.scalars)
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            values = await self._get([oid_of(self._table.scalars[name]) for name in some])
            found += [(name, {}, plain(value)) for name, value in zip(some, values, strict=True) if value is not None]
        for table in self._table.table:
            rows = await self._walk(table.asked(), self._rows.get(table.oid, REPETITIONS))
            self._rows[table.oid] = max((len(column) for column in rows.values()), default=0)
            found += _points_of(table, rows)
        return points(found)

    async def write(self, series: Series, value: float) -> None:
        """SET the object of ``series``, in the type that it has."""
        lib, oid = self._agent.lib, self._table.oid(series)
        (held,) = await self._get([oid])
        if held is None:
            raise SourceError(f"{self._target}: there is no object {_dotted(oid)} to set")
        if not isinstance(held, int | lib.Integer):
            raise SourceError(f"{self._target}: object {_dotted(oid)} is no number and is not set")
        await self._ask(lib.set_cmd, lib.ObjectType(lib.ObjectIdentity(oid), type(held)(round(value))))

    async def objects(self, oids: Sequence[str]) -> list[Any]:
        """The objects at these OIDs as the agent gives them; None for each that it does not have."""
        return await self._get([oid_of(oid) for oid in oids])

    async def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport = None
            self._agent.give()

    async def _get(self, oids: Sequence[Oid]) -> list[Any]:
        """The objects at ``oids``; None for each that the agent does not have."""
        lib = self._agent.lib
        binds = await self._ask(lib.get_cmd, *(lib.ObjectType(lib.ObjectIdentity(oid)) for oid in oids))
        missing = (lib.NoSuchObject, lib.NoSuchInstance, lib.EndOfMibView, lib.Null)
        return [None if isinstance(value, missing) else value for _, value in binds]

    async def _walk(self, columns: Mapping[str, Oid], rows_expected: int) -> dict[str, dict[Oid, Any]]:
        """Each column's values by index, all columns walked side by side."""
        lib = self._agent.lib
        rows: dict[str, dict[Oid, Any]] = {name: {} for name in columns}
        ahead = dict(columns)
        count = 0
        while ahead:
            some = dict(list(ahead.items())[:AT_ONCE])
            objects = [lib.ObjectType(lib.ObjectIdentity(oid)) for oid in some.values()]
            binds = await self._ask(lib.bulk_cmd, 0, min(rows_expected + 1, REPETITIONS), *objects)
            count += len(binds)
            if count > MAX_POINTS:
                raise SourceError(f"{self._target}: more than {MAX_POINTS} objects in one table; map less of it")
            for at, (name, oid) in enumerate(some.items()):
                last = _kept(rows[name], columns[name], oid, binds[at :: len(some)], lib.EndOfMibView)
                if last is None:
                    del ahead[name]
                else:
                    ahead[name] = last
        return rows

    async def _ask(self, command: Any, *wanted: Any) -> Sequence[tuple[Any, Any]]:
        """One request; ``SourceError`` where the agent does not answer or says no."""
        lib, agent = self._agent.lib, self._agent
        auth = agent.credentials()
        if self._transport is None:
            timeout_s = agent.options.timeout_s / (2 + RETRIES)
            try:
                self._transport = await lib.UdpTransportTarget.create(self._place, timeout=timeout_s, retries=RETRIES)
            except (OSError, agent.error) as error:
                raise SourceError(f"{self._target}: is no address that can be asked ({error})") from None
            agent.take()
        try:
            wrong, status, index, binds = await command(
                agent.engine, auth, self._transport, lib.ContextData(), *wanted, lookupMib=False
            )
        except agent.error as error:
            raise SourceError(f"{self._target}: broken SNMP ({type(error).__name__}: {_line(error)})") from None
        if wrong:
            late = "imeout" in type(wrong).__name__ + str(wrong)
            hint = "; is it the right address, version and community or user?" if late else ""
            raise SourceError(f"{self._target}: {_line(wrong)}{hint}")
        if status:
            raise SourceError(f"{self._target}: refuses with {status.prettyPrint()} at object {int(index)}")
        return list(binds)


def plain(value: Any) -> Value:
    """A number where it is one, or the text of one; else text."""
    try:
        return float(int(value))
    except (TypeError, ValueError):
        pass
    text = bytes(value).decode("utf-8", "replace").strip("\0 ") if hasattr(value, "asOctets") else str(value.prettyPrint())
    try:
        return float(text)
    except ValueError:
        return text


def _kept(rows: dict[Oid, Any], column: Oid, asked: Oid, binds: Sequence[tuple[Any, Any]], end: type) -> Oid | None:
    """Put what belongs to ``column`` into ``rows``; the OID to go on from, None where the column has ended."""
    last = asked
    for name, value in binds:
        oid = tuple(name)
        if oid[: len(column)] != column or isinstance(value, end) or oid <= last:  # an agent that goes back would never end
            return None
        rows[oid[len(column) :]] = value
        last = oid
    return last if binds else None


def _points_of(table: Columns, rows: Mapping[str, Mapping[Oid, Any]]) -> Iterator[tuple[str, dict[str, str], Value]]:
    digits, scale = rows.get("digits", {}), rows.get("si_scale", {})
    for name in table.columns:
        for index, raw in rows[f"point {name}"].items():
            value = plain(raw)
            if isinstance(value, float) and (table.digits or table.si_scale):
                exponent = -int(digits.get(index, 0)) + _SI_EXPONENT.get(int(scale.get(index, 9)), 0)
                value *= 10.0**exponent
            labels = {"index": ".".join(map(str, index))}
            labels |= {f"index{i}": str(part) for i, part in enumerate(index, 1)}
            for label in table.labels:
                text = rows[f"label {label}"].get(index)
                if text is not None:
                    labels[label] = text_of(text)
            yield name, labels, value


def text_of(value: Any) -> str:
    """A value as text, as a label has it."""
    said = plain(value)
    return f"{said:g}" if isinstance(said, float) else said or ""


def _dotted(oid: Oid) -> str:
    return ".".join(map(str, oid))


def _line(error: object) -> str:
    return " ".join(str(error).split())
