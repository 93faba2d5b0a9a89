"""Scrapes one exposition endpoint: fetches its page, reads it the fast way or the slow one, binds it to assets."""

import asyncio
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter

import aiohttp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from yarl import URL

from ingest.lean import Buffers, Line, NotLean
from ingest.mappings import Mapping, best_mapping, known_mappings
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.mappings.pool import Reading
from ingest.sources.exposition import Garbage, Page, Reader
from ingest.wire import MAX_BODY_BYTES, TIMEOUT_S, Answer, Login, Tls, fetch, new_session, shown
from twin.errors import SourceError
from twin.event import Event
from twin.frame import Floats, Frame
from twin.site import Site

MAX_SAMPLES = 500_000  # of one page; more are labels run wild
CONNECTIONS = 0  # as many as there are targets: how many are asked at once is for who polls them
# As Prometheus asks: OpenMetrics before the text format; no protobuf, and names that need no quotes.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
)
_OPENMETRICS = "application/openmetrics-text"
_TEXT = ("text/plain", "")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token")
_NODE_LABELS = ("node", "hostname", "host", "nodename", "instance")  # what a target's own labels may call its node
_YEAR_S = 31_536_000.0  # a timestamp below it is of 1970
_BORN_S = 1e9  # September 2001: no exporter is older


class ScrapeOptions(BaseModel):
    """How each target is asked and what becomes of its page; what the fields mean, ``ingest.sources.prometheus`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mapping: str = "auto"
    every_s: float = Field(default=15.0, ge=0.1, le=3600)
    timeout_s: float = Field(default=TIMEOUT_S, gt=0, le=300)
    headers: dict[str, str] = Field(default={})
    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, gt=0)
    max_samples: int = Field(default=MAX_SAMPLES, gt=0)
    honour_timestamps: bool = True

    @field_validator("mapping", "bearer_token_file", "password_file", "ca_file", "cert_file", "key_file")
    @classmethod
    def _beside_the_configuration(cls, value: str | Path | None, info: ValidationInfo) -> str | Path | None:
        folder = (info.context or {}).get("folder")
        if folder is None or value is None or value in (*known_mappings(), "auto"):
            return value
        return type(value)(folder / value)

    @field_validator("headers")
    @classmethod
    def _hold_no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(f"{name} is a secret and must not stand in a configuration; use bearer_token_file")
        return headers


class Door:
    """The connections of one source, shared by its targets; opened at the first request, and again after a ``close``."""

    def __init__(self, options: ScrapeOptions) -> None:
        self._options = options
        self._tls = Tls(options.ca_file, options.cert_file, options.key_file, options.server_name)
        self._login = Login(options.bearer_token_file, options.username, options.password_file)
        self._session: aiohttp.ClientSession | None = None
        self._buffers = Buffers()
        self._plain = {"User-Agent": "icctwin", **options.headers}
        self._page_headers = {"Accept": ACCEPT, **self._plain}

    def line(self, url: URL) -> Line | None:
        """A connection of its own for a target that is asked for ever; None where only the full client can ask it."""
        return Line(url, self._buffers, self._options.max_body_bytes) if url.scheme == "http" else None

    async def ask(self, line: Line) -> Answer:
        """See ``ingest.lean.Line.get``."""
        login = self._login.headers()
        return await line.get({**self._page_headers, **login} if login else self._page_headers, self._options.timeout_s)

    async def get(self, url: URL, accept: str = ACCEPT) -> Answer:
        """See ``ingest.wire.fetch``."""
        options = self._options
        if self._session is None:
            self._session = new_session(options.every_s, self._tls, CONNECTIONS)
        headers = {"Accept": accept, **self._plain, **self._login.headers()}
        return await fetch(self._session, url, headers, options.timeout_s, options.max_body_bytes, options.server_name)

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint: where it is asked, ``host`` that it speaks of, and labels that a discovery gives it."""

    url: URL
    host: str
    labels: Map[str, str] = field(default_factory=dict)


class Scraper:
    """Reads one target again and again. ``node``: row of the node that the configuration says it speaks of;
    ``given``: rows, by kind, of other assets that it speaks of.

    ``unmapped`` and ``unmapped_names`` are of its last page: series, and a few of their names, of no known asset or metric;
    ``mapping_name`` is what it is read with.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        options: ScrapeOptions,
        mapping: Mapping | None,
        site: Site,
        assets: Assets,
        door: Door,
        node: int | None,
        given: Map[str, int],
    ) -> None:
        self._name, self.target, self._options, self._shown = name, target, options, shown(target.url)
        self._given = given
        self._mapping, self._site, self._assets, self._door = mapping, site, assets, door
        self._fixed = node is not None
        self._node = node if node is not None else _node_of(target, assets)
        self._reader = Reader(openmetrics=False)
        self._line = door.line(target.url)
        self._learning: asyncio.Task[Page] | None = None
        self._binding: Binding | None = None
        self._events: list[Event] = []
        self.mapping_name = "" if mapping is None else options.mapping

    @property
    def unmapped(self) -> int:
        """Series of the last page that belong to no known asset or metric."""
        return self._binding.unmapped if self._binding else 0

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of such series, a bounded number of them, in the order of the page."""
        return self._binding.unmapped_names if self._binding else ()

    async def scrape(self, now: datetime) -> list[Frame]:
        """Fetch, read and map once. ``SourceError`` where the endpoint does not answer with a whole, well-formed page."""
        found = await self.read(now)
        return found.frames() if isinstance(found, Reading) else found

    async def read(self, now: datetime) -> Reading | list[Frame]:
        """Fetch and read once; frames where the page's own times count."""
        clock_s = perf_counter()
        answer = await self._fetched()
        return self._bound(await self._page(answer), now, clock_s)

    def _bound(self, page: Page, now: datetime, clock_s: float) -> Reading | list[Frame]:
        """A page that was asked for at ``clock_s`` of a clock that never jumps."""
        series, binding, url = page.layout.series, self._binding, self._shown
        if len(series) > self._options.max_samples:
            what = f"{len(series)} samples on the page, over max_samples = {self._options.max_samples}"
            raise SourceError(f"{url}: {what}; a label that never repeats? Drop it in the exporter, or raise the limit")
        if binding is None or binding.series is not series:
            binding = self._bind(series, now)
        if binding.empty:
            raise SourceError(f"{url}: {self._homeless(series)}")
        times_s = page.times_s if self._options.honour_timestamps else None
        every_s = self._options.every_s
        if times_s is None:
            return Reading(binding, page.values, now, clock_s, every_s, self._name)
        if not self._reader.openmetrics:
            times_s = in_seconds(times_s)
        return binding.frames(page.values, times_s, now, clock_s, every_s, self._name)

    def take_events(self) -> list[Event]:
        """What was found of the assets themselves (moved, replaced, renamed) since this was last asked."""
        taken, self._events = self._events, []
        return taken

    async def close(self) -> None:
        """Hang up, and wait for a page that is still being read."""
        if self._line is not None:
            self._line.close()
        if self._learning is not None:
            await asyncio.gather(self._learning, return_exceptions=True)

    async def _fetched(self) -> Answer:
        if self._line is not None:
            try:
                return await self._door.ask(self._line)
            except NotLean:
                self._line = None  # once is enough: the full client goes on with it
        return await self._door.get(self.target.url)

    def _bind(self, series: Sequence[tuple[str, Map[str, str]]], now: datetime) -> Binding:
        if self._mapping is None:
            found = best_mapping({name for name, _ in series})
            if found is None:
                what = "no mapping that comes with icctwin knows any of its names; write one and name it as mapping"
                raise SourceError(f"{self._shown}: {what}")
            self.mapping_name, self._mapping = found
        binding = Binding(self._mapping, self._site, self._assets, series, self._node, self._fixed, self._given)
        if self._binding is not None:
            binding.inherit(self._binding)
        self._events += binding.events(now, self._name, self._binding)
        self._binding = binding
        return binding

    def _homeless(self, series: Sequence[tuple[str, Map[str, str]]]) -> str:
        """Why none of ``series`` has found its asset."""
        names = {name for name, _ in series}
        if self._mapping is None or self._mapping.names & names:
            what = f"none of its {len(series)} series belongs to an asset of the site"
            return f"{what}; set node, or hostname of the node to what the exporter calls it"
        what, best = f"the mapping {self.mapping_name} knows none of its {len(names)} metrics", best_mapping(names)
        return f"{what}; {best[0]} knows them: set mapping to that" if best else f"{what}; write one and name it as mapping"

    async def _page(self, answer: Answer) -> Page:
        """The page that came, read the fast way or, in a thread, the slow one."""
        url = self._shown
        if answer.content_type not in (_OPENMETRICS, *_TEXT):
            raise SourceError(f"{url}: sends {answer.content_type}, no exposition page; is the path right?")
        if self._learning is not None and not self._learning.done():
            raise SourceError(f"{url}: its last page is still being read; it is large and changes much: raise every_s")
        self._learning = None
        if self._reader.openmetrics != (answer.content_type == _OPENMETRICS):
            self._reader = Reader(answer.content_type == _OPENMETRICS)
        page = self._reader.read(answer.text)
        if page is not None:
            return page
        self._learning = asyncio.create_task(asyncio.to_thread(self._reader.learn, answer.text))
        self._learning.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be waiting
        try:
            # shielded: when the poll runs out of time the thread goes on, and what it learns serves the next poll
            return await asyncio.shield(self._learning)
        except Garbage as error:
            raise SourceError(f"{url}: the page is refused: {error}") from None


def _node_of(target: Target, assets: Assets) -> int | None:
    """Row of the node that a target's labels or host name."""
    names = [target.labels[label] for label in _NODE_LABELS if target.labels.get(label)]
    return next((row for row in map(assets.node, [*names, target.host]) if row is not None), None)


def in_seconds(times_s: Floats) -> Floats:
    """Times of a text page, whose timestamps are milliseconds: those which some exporters send as seconds put right.

    Such a one lies in 1970 when read as milliseconds; it is taken as seconds where that makes it later than 2001.
    """
    with np.errstate(invalid="ignore"):
        return np.where((times_s < _YEAR_S) & (times_s * 1000 >= _BORN_S), times_s * 1000, times_s)
