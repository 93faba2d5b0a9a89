"""Scrapes exposition endpoints: GPUs' dcgm-exporter, node_exporter, anything with ``/metrics`` and a mapping table.

Each target is a source of its own, with a ``source`` asset of its own, so that one dead exporter is seen as one.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Annotated, Self

import aiohttp
import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.mappings import Mapping, known_mappings, load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.registry import Opened
from ingest.sources.exposition import Garbage, Page, Reader
from ingest.wire import MAX_BODY_BYTES, TIMEOUT_S, Answer, fetch, new_session, read_secret
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Floats, Frame
from twin.site import Site

MAX_TARGETS = 20_000
# As Prometheus asks: OpenMetrics before the text format; no protobuf, and names that need no quotes.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
)
_OPENMETRICS = "application/openmetrics-text"
_TEXT = ("text/plain", "")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token")
_YEAR_S = 31_536_000.0  # a timestamp below it is of 1970
_BORN_S = 1e9  # September 2001: no exporter is older

_Targets = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Options(BaseModel):
    """What a ``[[source]]`` of type ``prometheus`` may say.

    ``targets``: URLs or ``host:port`` (``http`` and ``/metrics`` are then meant); ``mapping``: the name of a table that
    comes with icctwin or the path of one's own; ``node``: id of the node that the target speaks of, where its labels and
    its host do not tell; ``honour_timestamps``: whether the page's timestamps count, not the time of reading. A secret
    belongs into ``bearer_token_file``, never into the configuration.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: _Targets = Field(min_length=1, max_length=MAX_TARGETS)
    mapping: str
    node: str = ""
    every_s: float = Field(default=15.0, ge=0.1, le=3600)
    timeout_s: float = Field(default=TIMEOUT_S, gt=0, le=300)
    headers: dict[str, str] = {}
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, gt=0)
    honour_timestamps: bool = True

    @field_validator("targets")
    @classmethod
    def _are_urls(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            target_url(target)
        return targets

    @field_validator("mapping", "bearer_token_file", "ca_file")
    @classmethod
    def _beside_the_configuration(cls, value: str | Path | None, info: ValidationInfo) -> str | Path | None:
        folder = (info.context or {}).get("folder")
        if folder is None or value is None or value in known_mappings():
            return value
        return type(value)(folder / value)

    @field_validator("headers")
    @classmethod
    def _hold_no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(f"{name} is a secret and must not stand in a configuration; use bearer_token_file")
        return headers

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.node and len(self.targets) > 1:
            raise ValueError(f"node names one node, but there are {len(self.targets)} targets; give each a source of its own")
        _names("x", self)
        return self


def target_url(target: str) -> URL:
    """URL of a target as configured; ``ValueError`` where it is none or holds a password."""
    url = URL(target if "://" in target else f"http://{target}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{target!r} is neither host:port nor an http or https URL")
    if url.user or url.password:
        raise ValueError("a target holds a user or password, a secret that must not stand here; use bearer_token_file")
    return url if url.path not in ("", "/") else url.with_path("/metrics").with_query(url.query)


def _names(name: str, options: Options) -> list[str]:
    """One id a target: the source's name where there is one target, else with host and port, and path where these repeat."""
    if len(options.targets) == 1:
        return [name]
    urls = [target_url(target) for target in options.targets]
    places = [f"{url.host_subcomponent}:{url.port}" for url in urls]
    often = Counter(places)
    names = [f"{name}/{at}{url.path_qs if often[at] > 1 else ''}" for at, url in zip(places, urls, strict=True)]
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"target {twice[0].partition('/')[2]} stands {names.count(twice[0])} times; leave one")
    return names


def source_ids(name: str, options: Options) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target."""
    return _names(name, options)


def build(name: str, options: Options, site: Site) -> Opened:
    """One source a target. ``ConfigError`` for a mapping that is wrong and for assets that the site does not have."""
    where = f"source {name}"
    try:
        mapping = load_mapping(options.mapping)
    except ConfigError as error:
        raise ConfigError([Problem(f"{where}: {one.where}", one.what) for one in error.problems]) from None
    problems = [
        Problem(where, f"mapping {options.mapping}: the site has no {entry.kind} {entry.asset!r}")
        for entry in mapping.metric
        if entry.asset and (entry.asset not in site.position or site.kind(entry.asset) != entry.kind)
    ]
    node = None
    if options.node:
        if options.node in site.position and site.kind(options.node) == "node":
            node = site.row(options.node)
        else:
            known = site.ids_of("node")
            shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            problems.append(Problem(where, f"node {options.node!r} is no node of the site; known: {shown or 'none'}"))
    if problems:
        raise ConfigError(problems)
    assets = Assets(site)
    targets = zip(source_ids(name, options), options.targets, strict=True)
    return Opened([PrometheusSource(one, target_url(target), options, mapping, site, assets, node) for one, target in targets])


class PrometheusSource:
    """Scrapes one target. See ``twin.ports.Source``."""

    def __init__(
        self, name: str, url: URL, options: Options, mapping: Mapping, site: Site, assets: Assets, node: int | None
    ) -> None:
        self._name, self._url, self._options = name, url, options
        self._mapping, self._site, self._assets = mapping, site, assets
        self._fixed = node is not None
        self._node = node if node is not None else assets.node(url.host or "")
        self._session: aiohttp.ClientSession | None = None
        self._reader = Reader(openmetrics=False)
        self._learning: asyncio.Task[Page] | None = None
        self._binding: Binding | None = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two scrapes."""
        return self._options.every_s

    @property
    def unmapped(self) -> int:
        """Series of the last page that belong to no known asset or metric."""
        return self._binding.unmapped if self._binding else 0

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Scrape once. ``SourceError`` where the endpoint does not answer with a whole, well-formed page."""
        options = self._options
        if self._session is None:
            self._session = new_session(options.every_s, options.ca_file)
        headers = {"Accept": ACCEPT, "User-Agent": "icctwin", **options.headers}
        if options.bearer_token_file:
            headers["Authorization"] = f"Bearer {read_secret(options.bearer_token_file)}"
        clock_s = perf_counter()
        answer = await fetch(self._session, self._url, headers, options.timeout_s, options.max_body_bytes)
        return self.frames(await self._page(answer), now, clock_s)

    def frames(self, page: Page, now: datetime, clock_s: float) -> list[Frame]:
        """Frames of a page that was asked for at ``clock_s`` of a clock that never jumps."""
        series, binding = page.layout.series, self._binding
        if binding is None or binding.series is not series:
            binding = Binding(self._mapping, self._site, self._assets, series, self._node, self._fixed)
            if self._binding is not None:
                binding.inherit(self._binding)
            self._binding = binding
        if binding.empty:
            what = f"none of its {len(series)} series belongs to an asset of the site"
            raise SourceError(f"{self._url}: {what}; set node, or hostname of the node to what the exporter calls it")
        times_s = page.times_s if self._options.honour_timestamps else None
        if times_s is not None and not self._reader.openmetrics:
            times_s = in_seconds(times_s)
        return binding.frames(page.values, times_s, now, clock_s, self.every_s, self._name)

    async def _page(self, answer: Answer) -> Page:
        """The page that came, read the fast way or, in a thread, the slow one."""
        if answer.content_type not in (_OPENMETRICS, *_TEXT):
            raise SourceError(f"{self._url}: sends {answer.content_type}, no exposition page; is the path right?")
        if self._learning is not None and not self._learning.done():
            raise SourceError(f"{self._url}: its last page is still being read; it is large and changes much: raise every_s")
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
            raise SourceError(f"{self._url}: the page is refused: {error}") from None

    async def close(self) -> None:
        """Let go of the connection and wait for a page that is still being read."""
        if self._learning is not None:
            await asyncio.gather(self._learning, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


def in_seconds(times_s: Floats) -> Floats:
    """Times of a text page, whose timestamps are milliseconds: those which some exporters send as seconds put right.

    Such a one lies in 1970 when read as milliseconds; it is taken as seconds where that makes it later than 2001.
    """
    with np.errstate(invalid="ignore"):
        return np.where((times_s < _YEAR_S) & (times_s * 1000 >= _BORN_S), times_s * 1000, times_s)
