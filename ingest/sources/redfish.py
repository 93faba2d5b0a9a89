"""Reads and sets controllers over Redfish: servers, cooling units, rack PDUs, power shelves (DMTF DSP0266, DSP0268).

What a mapping (``ingest.mappings.device``) says beside its ``[[metric]]``s::

    [[resource]]
    path = "ThermalEquipment/CDUs/*/PrimaryCoolantConnectors/*"   # links to follow from the service root; * is each member
    labels = { pump = "/Pumps/([^/]+)$" }   # label -> what a pattern finds in the resource's URI

A platform that has no such link is read without it, so old (Power, Thermal) and new (PowerSubsystem, ThermalSubsystem,
EnvironmentMetrics) stand side by side in one table. A point is ``Type.Property``
(``CoolantConnector.FlowLitersPerMinute``), for a sensor excerpt its reading, for a control excerpt
``Type.Property.SetPoint``. Its labels: ``path`` (URI), ``id``, ``uuid`` (of the resource or the next above it that has
one); in a list also ``item``, ``name`` and ``context`` (the physical context, else the name).

What stands in between is asked for again every ``REDISCOVER_S`` only, what is polled with the ETag that it had, if that is a
strong one: a weak one may stand still while readings move (RFC 9110, 8.8.1). Conditions, and health that is not OK without
any, become events once; so do server-sent events, where the service streams them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.mappings.bind import Series
from ingest.mappings.device import Bound, Points, Value, points
from ingest.registry import Opened
from ingest.rest import Reply, Rest
from ingest.sources.device import DeviceOptions, beside, source_names
from ingest.sources.device_targets import open_targets
from ingest.sources.redfish_events import Conditions, Stream, Teller
from ingest.sources.redfish_points import RedfishTable, Resource, flat, members
from ingest.wire import Tls, read_secret
from twin.errors import SourceError
from twin.event import Event
from twin.site import Site

ROOT = "/redfish/v1/"
REDISCOVER_S = 900.0
RELOOK_S = 60.0  # where something on the way to resources fails
MAX_RESOURCES = 2000  # of one target
MAX_PAGES = 100  # of one collection
AT_ONCE = 2  # a controller has one slow processor
MAX_BODY_BYTES = 4 * 2**20


class RedfishOptions(DeviceOptions):
    """What a ``[[source]]`` of type ``redfish`` may say.

    ``user`` and ``password_file``: whom to log in as, by a session or, with ``auth = "basic"``, at each request.
    ``fingerprint``:
    SHA-256 of the controller's certificate, where no authority signed it. ``events``: whether to listen to its events.
    """

    mapping: str = "standard"
    user: str = ""
    password_file: Path | None = None
    auth: Literal["session", "basic"] = "session"
    ca_file: Path | None = None
    fingerprint: str = Field(default="", pattern="^([0-9a-fA-F]{64})?$")
    events: bool = True
    timeout_s: float = Field(default=20.0, gt=0, le=300)
    every_s: float = Field(default=30.0, ge=0.1, le=3600)

    @field_validator("password_file", "ca_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        return self

    def check_target(self, target: str) -> None:
        """``ValueError`` where ``target`` is neither host:port nor an http or https URL."""
        super().check_target(target)
        base_of(target)


Options = RedfishOptions


def base_of(target: str) -> URL:
    """The server of a target; https where nothing is said. ``ValueError`` where it is none or holds a password."""
    url = URL(target if "://" in target else f"https://{target}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{target!r} is neither host:port nor an http or https URL")
    if url.user or url.password:
        raise ValueError("a target holds a user or password, a secret that must not stand here; use user and password_file")
    return url.origin()


def source_ids(name: str, options: RedfishOptions) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return source_names(name, options)


def build(name: str, options: RedfishOptions, site: Site) -> Opened:
    """One source a target. ``ConfigError`` for a mapping that is wrong and assets that the site does not have."""

    def reach(target: str, table: RedfishTable, bound: Bound, source: str) -> RedfishReach:
        return RedfishReach(target, table, options, bound, source)

    return open_targets(name, options, site, "redfish", RedfishTable, reach)


class Sick(SourceError):
    """A resource that the service breaks on."""


class RedfishReach:
    """One service. See ``ingest.sources.device.Reach``."""

    def __init__(self, target: str, table: RedfishTable, options: RedfishOptions, bound: Bound, source: str) -> None:
        self._table, self._options = table, options
        self._rest = Rest(
            base_of(target),
            options.every_s,
            tls=Tls(options.ca_file),
            fingerprint=options.fingerprint,
            timeout_s=options.timeout_s,
            max_body_bytes=MAX_BODY_BYTES,
        )
        self._token, self._session = "", ""
        self._tags: dict[str, tuple[str, Any]] = {}  # URI -> ETag, body
        self._found: list[Resource] = []
        self._found_at: datetime | None = None
        self._unfound: dict[str, str] = {}  # what leads to resources and fails -> why
        self._told: dict[str, list[tuple[str, dict[str, str]]]] = {}  # path -> points that it had
        self.troubles: dict[str, str] = {}  # path -> why it is not read; see ``twin.ports.Troubled``
        teller = Teller(table, bound, source)
        self._conditions, self._stream = Conditions(teller), Stream(teller)
        self._gate, self._door = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

    async def read(self, now: datetime) -> Points:
        """All resources of the mapping that this service has. One that the service breaks on (status 500 and above) is a
        trouble, and its points are unknown, as is every metric made with them; ``SourceError`` where it breaks on all."""
        look_s = RELOOK_S if self._unfound else REDISCOVER_S
        if self._found_at is None or (now - self._found_at).total_seconds() >= look_s:
            self._found, self._found_at = await self._discover(), now
            self._told = {one.path: self._told[one.path] for one in self._found if one.path in self._told}
        bodies = await asyncio.gather(*(self._if_well(one.path) for one in self._found))
        read: list[tuple[str, dict[str, str], Value]] = []
        blank: list[tuple[str, dict[str, str], Value]] = []
        gone: set[str] = set()
        self.troubles = dict(self._unfound)
        for one, body in zip(self._found, bodies, strict=True):
            if isinstance(body, Sick):
                self.troubles[one.path] = str(body)
                blank += [(name, labels, None) for name, labels in self._told.get(one.path, ())]
                continue
            if body is None:
                gone.add(one.path)
                continue
            self._conditions.see(one, body, now)
            found = list(flat(one, body, self._table.names))
            self._told[one.path] = [(name, labels) for name, labels, _ in found]
            read += found
        if gone:  # a new look will tell
            self._found, self._found_at = [one for one in self._found if one.path not in gone], None
        if self.troubles and not read:
            raise SourceError(next(iter(self.troubles.values())))
        self._conditions.settle(now, whole=not self.troubles)
        if self._options.events:
            await self._listen(now)
        whole = points([*read, *blank])
        return replace(whole, fresh=np.arange(len(whole.series)) < len(read)) if blank else whole

    async def write(self, series: Series, value: float) -> None:
        """PATCH the set point of a control excerpt, within what the service itself says it allows."""
        name, labels = series
        path, keys = labels.get("path", ""), name.split(".")[1:]
        if not path or len(keys) < 2 or keys[-1] != "SetPoint" or "item" in labels:
            raise SourceError(f"{self._rest.base}: {name} is no set point of a resource and cannot be written")
        reply = await self._ask("GET", path)
        control: Any = reply.body if reply.ok and isinstance(reply.body, dict) else {}
        for key in keys[:-1]:
            control = control.get(key) if isinstance(control, dict) else None
        if not isinstance(control, dict):
            raise SourceError(f"{self._rest.base}{path}: has no {'.'.join(keys[:-1])} to set")
        low, high = control.get("AllowableMin"), control.get("AllowableMax")
        if (low is not None and value < low) or (high is not None and value > high):
            raise SourceError(f"{self._rest.base}{path}: {keys[-2]} takes {low} to {high}, not {value:g}")
        order: Any = {"SetPoint": value}
        for key in reversed(keys[:-1]):
            order = {key: order}
        tag = reply.headers.get("ETag")
        done = await self._ask("PATCH", path, order, {"If-Match": tag} if tag else {})
        self._tags.pop(path, None)
        if not done.ok:
            raise SourceError(f"{self._rest.base}{path}: refuses the order with status {done.status}{said(done)}")

    def take_events(self) -> Sequence[Event]:
        """Conditions that came or went, and what the service sent of itself."""
        return [*self._conditions.take(), *self._stream.take()]

    async def close(self) -> None:
        """End the session on the controller, which has few, and let go of the connections."""
        await self._stream.close()
        if self._session:
            session, self._session = self._session, ""
            with suppress(SourceError):  # it times out by itself
                await self._rest.send("DELETE", session, headers={"X-Auth-Token": self._token})
        self._token = ""
        await self._rest.close()

    async def _discover(self) -> list[Resource]:
        """The resources that the mapping's paths lead to; a path that this service does not have leads nowhere. Where the
        service breaks on the way, what was found before is still there: a leak detector that is not seen is not dry."""
        root = await self._body(ROOT)
        if not isinstance(root, dict):
            raise SourceError(f"{self._rest.base}{ROOT}: no Redfish service root; is the address right?")
        kept: dict[str, Any] = {ROOT: root}
        found: dict[str, Resource] = {}
        for pattern in self._table.resource:
            ends = [Resource(ROOT, "ServiceRoot", "", {})]
            *between, last = pattern.path.split("/")
            for step in between:
                ends = [one for end in ends for one in await self._next(end, step, kept)]
            for one in [one for end in ends for one in await self._next(end, last, kept)]:
                if one.path not in found:
                    found[one.path] = Resource(one.path, one.kind, one.uuid, pattern.read(one.path))
                if len(found) > MAX_RESOURCES:
                    raise SourceError(f"{self._rest.base}: more than {MAX_RESOURCES} resources; name less in the mapping")
        self._unfound = {path: str(body) for path, body in kept.items() if isinstance(body, Sick)}
        for one in self._found if self._unfound else ():
            if len(found) < MAX_RESOURCES:
                found.setdefault(one.path, one)
        return list(found.values())

    async def _next(self, here: Resource, step: str, kept: dict[str, Any]) -> list[Resource]:
        """Where ``step`` leads from ``here``: to a link, or for ``*`` to each member."""
        if here.path not in kept:
            kept[here.path] = await self._if_well(here.path)
        body = kept[here.path]
        if not isinstance(body, dict):
            return []
        uuid = str(body.get("UUID") or here.uuid)
        paths = members(body, step)
        for _ in range(MAX_PAGES if step == "*" else 0):
            following = body.get("Members@odata.nextLink")
            body = await self._body(following) if isinstance(following, str) else None
            if not isinstance(body, dict):
                break
            paths += members(body, step)
        return [Resource(path, here.kind if step == "*" else step, uuid, {}) for path in paths]

    async def _if_well(self, path: str) -> Any:
        """The resource at ``path``; the ``Sick`` that it raises."""
        try:
            return await self._body(path)
        except Sick as error:
            return error

    async def _body(self, path: str) -> Any:
        """The resource at ``path``, None where there is none; asked for with the strong ETag that it had."""
        tag, was = self._tags.get(path, ("", None))
        async with self._gate:
            reply = await self._ask("GET", path, headers={"If-None-Match": tag} if tag else {})
        if reply.status == 304 and tag:
            return was
        if reply.status in (404, 405, 410):
            return None
        if not reply.ok or not isinstance(reply.body, dict):
            sort = Sick if reply.status >= 500 else SourceError
            raise sort(f"{self._rest.base}{path}: status {reply.status}{said(reply)}; a resource is expected")
        tag = str(reply.headers.get("ETag") or reply.body.get("@odata.etag") or "")
        if tag and not tag.startswith("W/"):
            self._tags[path] = tag, reply.body
        return reply.body

    async def _ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request as the user, logged in anew where the session has ended."""
        for attempt in range(2):
            who = await self._who()
            reply = await self._rest.send(method, path, body, {**(headers or {}), **who})
            if reply.status != 401 or attempt or not self._options.user or self._options.auth == "basic":
                break
            if who.get("X-Auth-Token") == self._token:  # nobody else has logged in anew meanwhile
                self._token = self._session = ""
        if reply.status in (401, 403):
            raise SourceError(f"{self._rest.base}{path}: status {reply.status}; check user, password_file and their rights")
        return reply

    async def _who(self) -> dict[str, str]:
        options = self._options
        if not options.user or options.password_file is None:
            return {}
        password = read_secret(options.password_file)
        if options.auth == "basic":
            import aiohttp

            return {"Authorization": aiohttp.BasicAuth(options.user, password, "utf-8").encode()}
        async with self._door:
            return await self._log_in(password)

    async def _log_in(self, password: str) -> dict[str, str]:
        """The token of the one session, opened where there is none."""
        options = self._options
        if not self._token:
            wanted = {"UserName": options.user, "Password": password}
            reply = await self._rest.send("POST", f"{ROOT}SessionService/Sessions", wanted)
            self._token = str(reply.headers.get("X-Auth-Token", ""))
            if not reply.ok or not self._token:
                raise SourceError(f"{self._rest.base}: the login was refused with status {reply.status}{said(reply)}")
            self._session = URL(str(reply.headers.get("Location", ""))).path
        return {"X-Auth-Token": self._token}

    async def _listen(self, now: datetime) -> None:
        if self._stream.wanted(now):
            service = await self._body(f"{ROOT}EventService")
            uri = service.get("ServerSentEventUri") if isinstance(service, dict) else None
            if isinstance(uri, str):
                self._stream.start(self._rest.lines(uri, await self._who()), now)
            else:
                self._stream.none()


def said(reply: Reply) -> str:
    """What the service says of an error, as a clause; "" where it says nothing."""
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    if not isinstance(error, dict):
        return ""
    extended = error.get("@Message.ExtendedInfo")
    first = extended[0] if isinstance(extended, list) and extended and isinstance(extended[0], dict) else error
    text = " ".join(str(first.get("Message") or first.get("message") or "").split())[:200]
    return f" ({text})" if text else ""
