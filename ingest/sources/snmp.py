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

Reading is gufo-snmp's (compiled; a sixth of pysnmp's processor time for a whole poll), which sets nothing; setting is pysnmp's.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import MAX_POINTS, Bound, DeviceTable, Points, Value, points
from ingest.registry import Opened
from ingest.sources.device import DeviceOptions, beside, host_port, library, source_names
from ingest.sources.device_targets import open_targets
from ingest.sources.snmp_set import Setter
from ingest.wire import number, read_secret
from twin.errors import SourceError
from twin.site import Site

PORT = 161
REPETITIONS = 20  # rows asked for in one request
AT_ONCE = 20  # objects in one request
RETRIES = 1  # within a poll: a datagram may be lost
_OID = re.compile(r"\.?\d+(\.\d+)+")
# EntitySensorDataScale: yocto is 1, units 9, yotta 17
_SI_EXPONENT: dict[float, int] = {code: 3 * (code - 9) for code in range(1, 18)}
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
    where = f"source {name}"
    lib, aio = library("gufo.snmp", where), library("gufo.snmp.aio", where)

    def reach(target: str, table: SnmpTable, bound: Bound, source: str) -> SnmpReach:
        setter = Setter.of(target, options, where) if table.settings else None
        return SnmpReach(target, table, options, lib, aio, setter)

    return open_targets(name, options, site, "snmp", SnmpTable, reach)


class SnmpReach:
    """One agent. See ``ingest.sources.device.Reach``."""

    def __init__(
        self,
        target: str,
        table: SnmpTable,
        options: SnmpOptions,
        lib: ModuleType,
        aio: ModuleType,
        setter: Setter | None = None,
    ) -> None:
        self._target, self._table, self._options, self._setter = target, table, options, setter
        self._lib, self._aio = lib, aio
        self._session: Any = None
        self._secrets: tuple[str, ...] = ()

    async def read(self, now: datetime) -> Points:
        """All scalars and tables of the mapping."""
        found: list[tuple[str, dict[str, str], Value]] = []
        scalars = self._table.scalars
        values = await self.objects(list(scalars.values()))
        found += [(name, {}, plain(value)) for name, value in zip(scalars, values, strict=True) if value is not None]
        for table in self._table.table:
            rows = {name: await self._walk(oid) for name, oid in table.asked().items()}
            found += _points_of(table, rows)
        return points(found)

    async def write(self, series: Series, value: float) -> None:
        """SET the object of ``series``, in the type that it has."""
        if self._setter is None:
            raise SourceError(f"{self._target}: its mapping lets nothing be set")
        await self._setter.set(self._table.oid(series), value)

    async def objects(self, oids: Sequence[str]) -> list[Any]:
        """The objects at these OIDs as the agent gives them; None for each that it does not have."""
        found: dict[str, Any] = {}
        wanted = [dotted(oid_of(oid)) for oid in oids]
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            found |= await self._asked(partial(_many, some))
        return [found.get(oid) for oid in wanted]

    async def close(self) -> None:
        """Let go of the sockets."""
        self._session = None
        if self._setter is not None:
            self._setter.close()

    async def _walk(self, column: Oid) -> dict[Oid, Any]:
        """A column's values by index."""

        async def walked(session: Any) -> dict[Oid, Any]:
            rows: dict[Oid, Any] = {}
            last = column
            async for text, value in session.getbulk(dotted(column), REPETITIONS):
                oid = oid_of(text)
                if oid <= last:  # an agent that goes back would never end
                    break
                rows[oid[len(column) :]] = value
                last = oid
                if len(rows) > MAX_POINTS:
                    raise SourceError(f"{self._target}: more than {MAX_POINTS} objects in one table; map less of it")
            return rows

        found: dict[Oid, Any] = await self._asked(walked)
        return found

    async def _asked(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        """What ``ask`` gets of the session, asked once more where a datagram was lost; ``SourceError`` where the agent does not
        answer or what it says is no SNMP."""
        lib = self._lib
        for left in range(RETRIES, -1, -1):
            try:
                return await ask(await self._opened())
            except TimeoutError:
                self._session = None  # a late answer must not be taken for the next one's
                if not left:
                    hint = "is it the right address, version and community or user?"
                    raise SourceError(f"{self._target}: no answer; {hint}") from None
            except lib.NoSuchInstance:
                return {}
            except lib.SnmpAuthError as error:
                self._session = None
                raise SourceError(
                    f"{self._target}: refuses the user ({line(error)}); check user, auth_file and priv_file"
                ) from None
            except (lib.SnmpError, OSError, ValueError) as error:
                self._session = None
                raise SourceError(f"{self._target}: broken SNMP ({type(error).__name__}: {line(error)})") from None
        return {}

    async def _opened(self) -> Any:
        """The session, opened anew where a secret was changed."""
        options = self._options
        files = (options.community_file, options.auth_file, options.priv_file)
        secrets = tuple(read_secret(file) if file else "" for file in files)
        if self._session is not None and secrets == self._secrets:
            return self._session
        self._secrets = secrets
        host, port = host_port(self._target, PORT)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise SourceError(f"{self._target}: its name has no address ({error.strerror or error})") from None
        session = self._aio.SnmpSession(
            addr=found[0][4][0],
            port=port,
            community=secrets[0] or "public",
            user=self._user(*secrets[1:]) if options.user else None,
            timeout=options.timeout_s / (2 + RETRIES),
            max_repetitions=REPETITIONS,
        )
        if options.user:
            await session.refresh()  # asks who the agent is, as version 3 wants it
        self._session = session
        return session

    def _user(self, auth: str, priv: str) -> Any:
        lib, options = self._lib, self._options
        keys = {"auth_key": getattr(lib, AUTH_KEYS[options.auth])(auth.encode())} if auth else {}
        keys |= {"priv_key": getattr(lib, PRIV_KEYS[options.priv])(priv.encode())} if priv else {}
        return lib.User(options.user, **keys)


AUTH_KEYS = {"MD5": "Md5Key", "SHA": "Sha1Key"} | {f"SHA{n}": f"Sha{n}Key" for n in (224, 256, 384, 512)}
PRIV_KEYS = {"DES": "DesKey", "AES": "Aes128Key", "AES192": "Aes192Key", "AES256": "Aes256Key"}


async def _many(oids: Sequence[str], session: Any) -> dict[str, Any]:
    found: dict[str, Any] = await session.get_many(oids)
    return found


def plain(value: Any) -> Value:
    """A number where it is one, or the text of one; else text."""
    if isinstance(value, int | float):
        return float(value)
    text = value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else str(value)
    try:
        return float(text)
    except ValueError:
        return text


def _points_of(table: Columns, rows: Mapping[str, Mapping[Oid, Any]]) -> Iterator[tuple[str, dict[str, str], Value]]:
    digits, scale = rows.get("digits", {}), rows.get("si_scale", {})
    for name in table.columns:
        for index, raw in rows[f"point {name}"].items():
            value = plain(raw)
            if isinstance(value, float) and (table.digits or table.si_scale):
                si = number(f"si_scale of {name}", plain(scale.get(index, 9)))
                value = number(name, value, _SI_EXPONENT.get(si, 0) - number(f"digits of {name}", plain(digits.get(index, 0))))
            labels = {"index": ".".join(map(str, index))}
            labels |= {f"index{i}": str(part) for i, part in enumerate(index, 1)}
            for label in table.labels:
                text = rows[f"label {label}"].get(index)
                if text is not None:
                    labels[label] = text_of(text)
            yield name, labels, value


def text_of(value: Any) -> str:
    """A value as text, as a label has it: what is told as text stays as it is, also where it looks like a number."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def dotted(oid: Oid) -> str:
    """An OID as text."""
    return ".".join(map(str, oid))


def line(error: object) -> str:
    """An error in one line."""
    return " ".join(str(error).split())
