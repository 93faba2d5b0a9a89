"""Listens for SNMP traps and informs (v2c, v3) and tells of them as events: links, breakers, batteries, sensors out of range.

What a mapping says (family ``snmp_traps``)::

    [binds]                           # label -> object whose value comes with a trap, without its instance
    device = "1.3.6.1.2.1.31.1.1.1.1"

    [assets.port]                     # which asset inside the sender it is of, as in every mapping; none: the sender itself
    device = ["device"]

    [[trap]]
    oid = "1.3.6.1.6.3.1.1.5.3"       # snmpTrapOID, or the beginning of it
    code = "link/down"
    meaning = "The link {device} went down"   # {label} and {1}, {2}, … (the values that came, in order) are filled in
    severity = "warning"

A trap that no ``[[trap]]`` knows is an event ``snmp/<oid>``. The asset is the one whose ``address`` the sender has, or
that ``senders`` names; what comes from others is counted as unmapped and told of the source itself.
"""

import asyncio
import re
import socket
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ingest.mappings import FOLDER, known_mappings, read_toml
from ingest.mappings.device import Inside
from ingest.registry import Opened
from ingest.sources.device import beside, host_port, library
from ingest.sources.snmp import Oid, oid_of
from ingest.sources.snmp_set import AUTH, PRIV
from ingest.wire import read_secret
from twin.errors import ConfigError, Problem, SourceError
from twin.event import Event, Severity
from twin.frame import Frame
from twin.site import Site

FAMILY = "snmp_traps"
PORT = 162
MAX_EVENTS = 1000  # that wait to be taken; of a storm the oldest go, and are counted
MAX_TEXT = 200
_TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_UPTIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
_FIELD = re.compile(r"\{(\w+)\}")


class Trap(BaseModel):
    """One ``[[trap]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    oid: str
    code: str = Field(pattern=r"^[a-z0-9_]+/[\w.-]+$")
    meaning: str = Field(min_length=1)
    severity: Severity = "warning"

    @field_validator("oid")
    @classmethod
    def _is_an_oid(cls, value: str) -> str:
        oid_of(value)
        return value


class TrapTable(BaseModel):
    """A mapping of traps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    binds: dict[str, str] = {}
    assets: dict[str, dict[str, tuple[str, ...]]] = {}
    trap: tuple[Trap, ...] = Field(min_length=1, max_length=2000)

    @field_validator("binds")
    @classmethod
    def _are_oids(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            oid_of(text)
        return value


class Options(BaseModel):
    """What a ``[[source]]`` of type ``snmp_traps`` may say.

    ``listen``: address and port; ``community_file`` (without one: "public"); version 3 where ``user`` is given, with the
    engine ids (hex) of the senders in ``engines``, for a sender of traps is known by these. ``senders``: address -> id of
    the asset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = f"0.0.0.0:{PORT}"
    mapping: str = "standard"
    senders: dict[str, str] = {}
    community_file: Path | None = None
    user: str = ""
    auth: Literal["MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"] = "SHA256"
    priv: Literal["DES", "AES", "AES192", "AES256"] = "AES"
    auth_file: Path | None = None
    priv_file: Path | None = None
    engines: tuple[str, ...] = ()
    every_s: float = Field(default=1.0, ge=0.1, le=60)

    @field_validator("community_file", "auth_file", "priv_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @field_validator("mapping")
    @classmethod
    def _mapping_beside(cls, value: str, info: ValidationInfo) -> str:
        shipped = known_mappings(FOLDER / FAMILY)
        return value if value in shipped else str(beside(Path(value), info))

    @model_validator(mode="after")
    def _fit(self) -> Self:
        host_port(self.listen, PORT)
        if bool(self.user) != bool(self.engines and self.auth_file):
            raise ValueError("version 3 needs user, auth_file and engines together")
        for engine in self.engines:
            bytes.fromhex(engine)
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The listener. ``ConfigError`` for a mapping that is wrong and assets that the site does not have."""
    known = known_mappings(FOLDER / FAMILY)
    path = FOLDER / FAMILY / f"{options.mapping}.toml" if options.mapping in known else Path(options.mapping)
    try:
        table = TrapTable.model_validate(read_toml(path, known))
    except ValidationError as error:
        said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigError([Problem(f"source {name}: {path}", what) for what in said]) from None
    strange = [asset for asset in options.senders.values() if asset not in site.position]
    if strange:
        raise ConfigError([Problem(f"source {name}", f"senders: the site has no asset {asset!r}") for asset in strange])
    parts = ("entity.engine", "entity.config", "entity.rfc3413.ntfrcv", "carrier.asyncio.dgram.udp", "error")
    lib = {part.rpartition(".")[2]: library(f"pysnmp.{part}", f"source {name}") for part in parts}
    lib["names"] = library("pysnmp.hlapi.v3arch.asyncio", f"source {name}")
    return Opened([TrapSource(name, options, table, site, lib)])


class TrapSource:
    """The listener. See ``twin.ports.Source`` and ``twin.ports.Eventful``."""

    def __init__(self, name: str, options: Options, table: TrapTable, site: Site, lib: dict[str, ModuleType]) -> None:
        self._name, self._options, self._table, self._site, self._lib = name, options, table, site, lib
        self._binds = {label: oid_of(text) for label, text in table.binds.items()}
        self._traps = sorted(((oid_of(one.oid), one) for one in table.trap), key=lambda pair: -len(pair[0]))
        column = site.texts.get("address") or [""] * len(site.ids)
        self._senders = {address: asset for asset, address in zip(site.ids, column, strict=True) if address} | options.senders
        self._inside: dict[str, Inside] = {}
        self._waiting: deque[tuple[float, str, str, str, Severity]] = deque(maxlen=MAX_EVENTS)
        self._strangers, self._lost, self._offset_s = 0, 0, 0.0
        self._engine: Any = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two looks at what has come."""
        return self._options.every_s

    @property
    def unmapped(self) -> int:
        """Traps since the start from senders that the site does not know, or lost in a storm."""
        return self._strangers + self._lost

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Listen. ``SourceError`` where the address cannot be listened at."""
        self._offset_s = now.timestamp() - asyncio.get_running_loop().time()
        if self._engine is None:
            self._engine = self._listen()
            await asyncio.sleep(0)  # the library begins
        return []

    def take_events(self) -> Sequence[Event]:
        """Traps that have come since this was last asked."""
        taken = []
        while self._waiting:
            clock_s, asset, code, meaning, severity = self._waiting.popleft()
            time = datetime.fromtimestamp(clock_s + self._offset_s, UTC)
            taken.append(Event(time, asset, code, meaning, self._name, severity))
        return taken

    async def close(self) -> None:
        """Stop listening."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            engine.close_dispatcher()

    def _listen(self) -> Any:
        options, lib = self._options, self._lib
        where = host_port(options.listen, PORT)
        listener = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:  # bound here: the library would bind later, and fail where nobody looks
            listener.setblocking(False)
            listener.bind(where)
        except OSError as error:
            listener.close()
            why = "ports below 1024 need the right to listen there" if where[1] < 1024 else "is it in use?"
            raise SourceError(f"{self._name}: cannot listen on {options.listen} ({error.strerror or error}); {why}") from None
        engine, config, udp = lib["engine"].SnmpEngine(), lib["config"], lib["udp"]
        config.add_transport(engine, udp.DOMAIN_NAME, udp.UdpTransport().open_server_mode(sock=listener))
        config.add_v1_system(engine, "traps", read_secret(options.community_file) if options.community_file else "public")
        if options.user and options.auth_file:
            auth, priv = read_secret(options.auth_file), read_secret(options.priv_file) if options.priv_file else None
            for number in options.engines:
                config.add_v3_user(
                    engine,
                    options.user,
                    getattr(lib["names"], AUTH[options.auth]),
                    auth,
                    getattr(lib["names"], PRIV[options.priv]) if priv else lib["names"].USM_PRIV_NONE,
                    priv,
                    securityEngineId=lib["names"].OctetString(hexValue=number),
                )
        lib["ntfrcv"].NotificationReceiver(engine, self._take)
        return engine

    def _take(self, engine: Any, reference: Any, engine_id: Any, context: Any, binds: Any, _: Any) -> None:
        """One trap, as the library hands it over."""
        _, address = engine.message_dispatcher.get_transport_info(reference)
        said = [(tuple(oid), value) for oid, value in binds]
        trap = next((tuple(value) for oid, value in said if oid == _TRAP_OID), ())
        values = [(oid, _shown(value)) for oid, value in said if oid not in (_TRAP_OID, _UPTIME)]
        labels = {label: text for label, start in self._binds.items() for oid, text in values if oid[: len(start)] == start}
        sender = str(address[0])
        known = next((one for start, one in self._traps if trap[: len(start)] == start), None)
        dotted = ".".join(map(str, trap))
        code = known.code if known else f"snmp/{dotted or 'trap'}"
        words = labels | {str(i): text for i, (_, text) in enumerate(values, 1)}
        told = f"Trap {dotted}: {', '.join(text for _, text in values)}"
        meaning = _FIELD.sub(lambda field: words.get(field[1], ""), known.meaning) if known else told
        asset = self._asset(sender, labels)
        if not asset:
            self._strangers += 1
            asset, meaning = self._name, f"From {sender}, which no asset has as its address: {meaning}"
        self._lost += len(self._waiting) == MAX_EVENTS
        severity: Severity = known.severity if known else "info"
        self._waiting.append((asyncio.get_running_loop().time(), asset, code, meaning[: 2 * MAX_TEXT], severity))

    def _asset(self, sender: str, labels: dict[str, str]) -> str:
        """Id of the asset inside the sender that the labels name, else of the sender; "" where the site does not know it."""
        home = self._senders.get(sender, "")
        if not home:
            return ""
        inside = self._inside.setdefault(home, Inside(self._site, home))
        for kind, keys in self._table.assets.items():
            row = inside.find(kind, keys, labels, None)
            if row is not None:
                return self._site.ids_of(kind)[row]
        return home


def _shown(value: Any) -> str:
    """What pysnmp gives, as text for people."""
    said = bytes(value).decode("utf-8", "replace").strip("\0 ") if hasattr(value, "asOctets") else str(value.prettyPrint())
    return "".join(ch if ch.isprintable() else "?" for ch in said)[:MAX_TEXT]
