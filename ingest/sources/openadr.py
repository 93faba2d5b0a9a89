"""Requests of the grid over OpenADR 3: the role of a VEN that polls its VTN for the events of its programs.

Source of the format: the OpenAPI of OpenADR 3.0.1 (openadr.org; ``GET /programs``, ``GET /events``, ``POST /auth/token`` with
OAuth2 client credentials, pages of at most 50). The client libraries of PyPI want a newer Python (openadr3-client) or bring
thirty packages for three calls (openadr3). What of an event is understood, ``ingest.curtail`` says; a VTN's events on prices
or of other payloads are left to whoever wants them, and counted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.answers import STEP_S, Readings
from ingest.curtail import read_request
from ingest.registry import Opened
from ingest.rest import Rest
from ingest.sources.device import beside
from ingest.wire import Tls, read_secret
from twin.curtail import Asked, PowerState, Request
from twin.errors import SourceError
from twin.frame import Frame
from twin.site import Site

PAGE = 50  # the most that a VTN gives at once
MAX_EVENTS = 1000
MAX_PROGRAMS = 50
MAX_BODY_BYTES = 4 * 2**20
RENEW_S = 60.0  # before a token ends


class Options(BaseModel):
    """What a ``[[source]]`` of type ``openadr`` may say.

    ``url``: of the VTN with its base path; ``programs``: names of the programs that we take part in (none: all that the VTN
    shows us); ``token_file``: a bearer token; or ``client_id`` and ``client_secret_file`` for OAuth2, with ``token_url`` where
    that is not the VTN's own ``/auth/token``; ``target_type`` and ``target_values``: whom events must be meant for;
    ``report_as``: our name in reports of what the meter shows while an event lasts (none: nothing is reported), sent every
    ``report_every_s`` and when it is over.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern="^https?://")
    programs: tuple[str, ...] = ()
    token_file: Path | None = None
    client_id: str = ""
    client_secret_file: Path | None = None
    token_url: str = Field(default="", pattern="^(https?://.*)?$")
    target_type: str = ""
    target_values: tuple[str, ...] = ()
    report_as: str = Field(default="", max_length=128)
    report_every_s: float = Field(default=300.0, ge=60, le=3600)
    ca_file: Path | None = None
    every_s: float = Field(default=30.0, ge=5, le=3600)
    timeout_s: float = Field(default=10.0, gt=0, le=300)

    @field_validator("token_file", "client_secret_file", "ca_file")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> "Options":
        if URL(self.url).user or URL(self.url).password:
            raise ValueError("url holds a secret; write token_file or client_secret_file")
        if bool(self.client_id) != bool(self.client_secret_file):
            raise ValueError("client_id and client_secret_file belong together")
        if self.client_id and self.token_file:
            raise ValueError("give either token_file or client_id, not both")
        if bool(self.target_type) != bool(self.target_values):
            raise ValueError("target_type and target_values belong together")
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The source, which brings requests and no values."""
    ven = Ven(name, options)
    return Opened([ven], askers=[ven])


class Ven:
    """One VTN, polled. See ``twin.ports.Source`` and ``twin.curtail.Asker``."""

    def __init__(self, name: str, options: Options) -> None:
        self._name, self._options = name, options
        tls = Tls(options.ca_file)
        limits: dict[str, Any] = {"timeout_s": options.timeout_s, "max_body_bytes": MAX_BODY_BYTES}
        self._base = URL(options.url.rstrip("/"))
        self._rest = Rest(self._base.origin(), options.every_s, tls=tls, **limits)
        token_url = URL(options.token_url) if options.token_url else self._base / "auth/token"
        self._token_path = token_url.raw_path_qs
        self._issuer = Rest(token_url.origin(), options.every_s, tls=tls, **limits)
        self._token, self._until = "", datetime.min.replace(tzinfo=UTC)
        self._now = self._until
        # id of an event -> it as it came, and what it asks (a sentence: why nothing that is understood)
        self._known: dict[str, tuple[Any, Request | str]] = {}
        self._news: list[Asked] = []
        self._first = True
        self._readings = Readings(name)
        self.unmapped = 0  # events of the last poll that ask for nothing that is understood

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two polls."""
        return self._options.every_s

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Such events and why, at most ``PAGE``. See ``twin.ports.Naming``."""
        return [f"event {key[:60]}: {why}" for key, (_, why) in self._known.items() if isinstance(why, str)][:PAGE]

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Ask for all events. ``SourceError`` where the VTN does not answer whole: then what it asked stands."""
        self._now = now
        events = await self._events()
        fresh: dict[str, tuple[Any, Request | str]] = {}
        for event in events:
            key = str(event.get("id") or "")
            was = self._known.get(key)
            fresh[key] = was if was is not None and was[0] == event else (event, _read(event, now))
        self.unmapped = sum(isinstance(request, str) for _, request in fresh.values())
        before = [request for _, request in self._known.values() if isinstance(request, Request)]
        standing = [request for _, request in fresh.values() if isinstance(request, Request)]
        self._known = fresh
        if self._first or standing != before:
            self._first = False
            self._news.append(Asked(self._name, tuple(standing)))
        await self._report(now)
        return ()

    def inform(self, state: PowerState) -> None:
        """See ``twin.curtail.Informed``."""
        if self._options.report_as:
            self._readings.take(state)

    async def _report(self, now: datetime) -> None:
        """Send what has come together of each event; what the VTN does not take is tried again with the next poll."""
        for key in self._readings.events:
            event, request = self._known.get(key, ({}, ""))
            over = isinstance(request, str) or request.end_s <= now.timestamp()
            if not over and not self._readings.due(key, round(self._options.report_every_s / STEP_S)):
                continue
            body = self._readings.report(key, str(event.get("programID", "")), self._options.report_as)
            reply = await self._rest.send(
                "POST", f"{self._base.raw_path.rstrip('/')}/reports", body, await self._headers(anew=False)
            )
            if not reply.ok:
                said = reply.body.get("title") if isinstance(reply.body, Mapping) else ""
                raise SourceError(f"{self._base}/reports: status {reply.status}{f' ({said})' if said else ''}")
            self._readings.sent(key)

    def asked(self) -> Sequence[Asked]:
        """See ``twin.curtail.Asker``."""
        news, self._news = self._news, []
        return news

    async def close(self) -> None:
        """Let go of the connections."""
        await self._rest.close()
        await self._issuer.close()

    async def _events(self) -> list[Mapping[str, Any]]:
        """Events of our programs, page by page."""
        names = self._options.programs
        if not names:
            return await self._all("events", {})
        programs = {str(one.get("programName")): str(one.get("id")) for one in await self._all("programs", {})}
        missing = [name for name in names if name not in programs]
        if missing:
            shown = ", ".join(sorted(programs)[:MAX_PROGRAMS]) or "none"
            raise SourceError(f"{self._base}: shows us no program {missing[0]!r}; it shows {shown}")
        found: list[Mapping[str, Any]] = []
        for name in names:
            found += await self._all("events", {"programID": programs[name]})
        return found

    async def _all(self, what: str, asked: Mapping[str, str]) -> list[Mapping[str, Any]]:
        options, found = self._options, list[Mapping[str, Any]]()
        query: list[tuple[str, str]] = list(asked.items())
        if options.target_type and what == "events":
            query += [("targetType", options.target_type), *(("targetValues", value) for value in options.target_values)]
        while True:
            page = [*query, ("skip", str(len(found))), ("limit", str(PAGE))]
            reply = await self._get(f"{self._base.raw_path.rstrip('/')}/{what}?{urlencode(page)}")
            if not isinstance(reply, list) or not all(isinstance(one, Mapping) for one in reply):
                raise SourceError(f"{self._base}/{what}: the answer is no list of objects; is url that of an OpenADR 3 VTN?")
            found += reply
            if len(reply) < PAGE:
                return found
            if len(found) >= MAX_EVENTS:
                raise SourceError(f"{self._base}/{what}: more than {MAX_EVENTS}; name your programs, or whom events are for")

    async def _get(self, path: str) -> Any:
        for again in (False, True):
            reply = await self._rest.get(path, await self._headers(anew=again))
            if reply.status in (401, 403) and self._options.client_id and not again:
                continue  # it ended sooner than it said
            if reply.ok:
                return reply.body
            break
        said = reply.body.get("title") or reply.body.get("detail") if isinstance(reply.body, Mapping) else ""
        hint = "; check token_file, or client_id and its scopes" if reply.status in (401, 403) else ""
        raise SourceError(f"{self._base}: status {reply.status}{f' ({said})' if said else ''}{hint}")

    async def _headers(self, *, anew: bool) -> Mapping[str, str]:
        options = self._options
        if options.token_file:
            return {"Authorization": f"Bearer {read_secret(options.token_file)}"}
        if not options.client_id or options.client_secret_file is None:
            return {}
        if anew or self._now >= self._until:
            secret = read_secret(options.client_secret_file)
            form = {"grant_type": "client_credentials", "client_id": options.client_id, "client_secret": secret}
            reply = await self._issuer.form(self._token_path, form)
            token = reply.body.get("access_token") if isinstance(reply.body, Mapping) else None
            if not reply.ok or not isinstance(token, str):
                raise SourceError(f"{self._base}: no token for client_id {options.client_id!r} (status {reply.status})")
            self._token = token
            lasts = reply.body.get("expires_in")
            lasts_s = float(lasts) if isinstance(lasts, int | float) else 600.0
            self._until = self._now + timedelta(seconds=max(lasts_s - RENEW_S, 0.0))
        return {"Authorization": f"Bearer {self._token}"}


def _read(event: Mapping[str, Any], now: datetime) -> Request | str:
    """What an event asks, or why it asks nothing. It was known when it was made, or we would count its notice from our own
    start."""
    try:
        created = datetime.fromisoformat(str(event.get("createdDateTime")))
        received = created if created.tzinfo and timedelta() <= now - created else now
    except ValueError:
        received = now
    try:
        return read_request(event, received) or "asks for nothing"
    except SourceError as error:
        return str(error)
