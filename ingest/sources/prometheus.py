"""Scrapes exposition endpoints: GPUs' dcgm-exporter, node_exporter, anything with ``/metrics`` and a mapping table.

Each configured target is a source of its own, with a ``source`` asset of its own, so that one dead exporter is seen as one.
Targets that a discovery finds share the source that has the discovery: which of them fail, its reasons say.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.mappings import Mapping, load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.pool import Reading
from ingest.registry import Opened, no_node
from ingest.sources.discovery import Discovery, file_directory, http_directory
from ingest.sources.scrape import Door, ScrapeOptions, Scraper, Target
from twin.errors import ConfigError, Problem
from twin.event import Event
from twin.frame import Frame
from twin.site import Site

MAX_TARGETS = 20_000

_Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Options(ScrapeOptions):
    """What a ``[[source]]`` of type ``prometheus`` may say.

    ``targets``: URLs or ``host:port`` (``scheme`` and ``metrics_path`` are then meant, with ``params`` as query); ``file_sd``,
    ``http_sd``: paths (``*`` in their last part) and URLs that list targets as Prometheus' own discoveries do, read anew
    every ``refresh_s``; ``through``: URL of an exporter that reads the targets for us (``?target=``), as ipmi_exporter does;
    ``mapping``: the name of a table that comes with icctwin, the path of one's own, or "auto": the one that knows most names
    of the page; ``node``: id of the node that the target speaks of, where its labels and its host do not tell;
    ``assets``: kind -> id of the one asset that its series of this kind speak of (the queue of a slurm exporter, the storage of
    a Ceph cluster); ``labels``: of all targets, one of which may name their node (node, hostname, host, nodename, instance);
    ``honour_timestamps``: whether the page's timestamps count, not the time of reading. A secret belongs into
    ``bearer_token_file`` or ``password_file``, never into the configuration.
    """

    targets: _Texts = Field(default=(), max_length=MAX_TARGETS)
    file_sd: _Texts = Field(default=(), max_length=100)
    http_sd: _Texts = Field(default=(), max_length=100)
    refresh_s: float = Field(default=60.0, ge=1, le=86400)
    scheme: str = Field(default="http", pattern="^https?$")
    metrics_path: str = Field(default="/metrics", pattern="^/")
    params: dict[str, str] = Field(default={})
    through: str = ""
    node: str = ""
    assets: dict[str, str] = Field(default={})
    labels: dict[str, str] = Field(default={})

    @property
    def discovers(self) -> bool:
        """Whether targets may come and go."""
        return bool(self.file_sd or self.http_sd)

    @field_validator("targets", "http_sd")
    @classmethod
    def _are_urls(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            target_url(target)
        return targets

    @field_validator("through")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value:
            target_url(value)
        return value

    @field_validator("file_sd")
    @classmethod
    def _files_beside_the_configuration(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        folder = (info.context or {}).get("folder")
        return value if folder is None else tuple(str(Path(folder) / one) for one in value)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.targets and not self.discovers:
            raise ValueError("nothing to read; give targets, file_sd or http_sd")
        if self.node and (len(self.targets) > 1 or self.discovers):
            many = "a discovery" if self.discovers else f"{len(self.targets)} targets"
            raise ValueError(f"node names one node, but there are {many}; give each node a source of its own")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together; give both or none")
        if self.username and self.bearer_token_file:
            raise ValueError("username and bearer_token_file exclude each other; leave one")
        if self.password_file and not self.username:
            raise ValueError("password_file without username; give both")
        if not self.discovers:
            _names("x", self)
        return self

    def target(self, text: str, labels: dict[str, str] | None = None) -> Target:
        """The target that ``text`` means; ``labels`` may name another scheme, path and parameters (``__scheme__`` ...), as
        in Prometheus. ``ValueError`` where it is none."""
        said = {**self.labels, **(labels or {})}
        scheme, path = said.get("__scheme__", self.scheme), said.get("__metrics_path__", self.metrics_path)
        given = {name.removeprefix("__param_"): value for name, value in said.items() if name.startswith("__param_")}
        plain = {name: value for name, value in said.items() if not name.startswith("__")}
        url = target_url(text, scheme, path, {**self.params, **given})
        host = url.host or ""
        if self.through:
            url = target_url(self.through, scheme, path, {**self.params, **given}).update_query(target=text)
        return Target(url, host, plain)


def target_url(target: str, scheme: str = "http", path: str = "/metrics", params: dict[str, str] | None = None) -> URL:
    """URL of a target as configured; ``ValueError`` where it is none or holds a password."""
    url = URL(target if "://" in target else f"{scheme}://{target}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{target!r} is neither host:port nor an http or https URL")
    if url.user or url.password:
        raise ValueError("a target holds a user or password, a secret that must not stand here; use password_file")
    return (url if url.path not in ("", "/") else url.with_path(path).with_query(url.query)).update_query(params or {})


def _names(name: str, options: Options) -> list[str]:
    """One id a target: the source's name where there is one target, else with host and port, and path where these repeat."""
    if len(options.targets) == 1:
        return [name]
    if options.through:
        places = list(options.targets)
        names = [f"{name}/{place}" for place in places]
    else:
        urls = [options.target(target).url for target in options.targets]
        places = [f"{url.host_subcomponent}:{url.port}" for url in urls]
        often = Counter(places)
        names = [f"{name}/{at}{url.path_qs if often[at] > 1 else ''}" for at, url in zip(places, urls, strict=True)]
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"target {twice[0].partition('/')[2]} stands {names.count(twice[0])} times; leave one")
    return names


def source_ids(name: str, options: Options) -> Sequence[str]:
    """Ids of the ``source`` assets, one a target; one for all that a discovery finds."""
    return [name] if options.discovers else _names(name, options)


def build(name: str, options: Options, site: Site) -> Opened:
    """One source a target. ``ConfigError`` for a mapping that is wrong and for assets that the site does not have."""
    where = f"source {name}"
    mapping = _mapping(where, options)
    problems = [
        Problem(where, f"mapping {options.mapping}: the site has no {entry.kind} {entry.asset!r}")
        for entry in (mapping.metric if mapping else ())
        if entry.asset and (entry.asset not in site.position or site.kind(entry.asset) != entry.kind)
    ]
    node = None
    if options.node:
        if options.node in site.position and site.kind(options.node) == "node":
            node = site.row(options.node)
        else:
            problems.append(no_node(where, options.node, site))
    given = {}
    for kind, asset in options.assets.items():
        if asset in site.position and site.kind(asset) == kind:
            given[kind] = site.row(asset)
        else:
            problems.append(Problem(where, f"assets.{kind}: the site has no {kind} {asset!r}"))
    if problems:
        raise ConfigError(problems)
    assets, door = Assets(site), Door(options)

    def scraper(named: str, target: Target) -> Scraper:
        return Scraper(named, target, options, mapping, site, assets, door, node, given)

    if options.discovers:
        directories = [file_directory(pattern) for pattern in options.file_sd]
        directories += [http_directory(URL(url), door) for url in options.http_sd]
        fixed = [options.target(text) for text in options.targets]
        return Opened([Discovery(name, options.every_s, options.refresh_s, options.target, directories, fixed, scraper, door)])
    targets = zip(source_ids(name, options), options.targets, strict=True)
    return Opened([PrometheusSource(one, options.every_s, scraper(one, options.target(text)), door) for one, text in targets])


def _mapping(where: str, options: Options) -> Mapping | None:
    if options.mapping == "auto":
        return None
    try:
        return load_mapping(options.mapping)
    except ConfigError as error:
        raise ConfigError([Problem(f"{where}: {one.where}", one.what) for one in error.problems]) from None


class PrometheusSource:
    """Scrapes one target. See ``twin.ports.Source`` and ``twin.ports.Eventful``."""

    def __init__(self, name: str, every_s: float, scraper: Scraper, door: Door) -> None:
        self._name, self._every_s, self._scraper, self._door = name, every_s, scraper, door

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two scrapes."""
        return self._every_s

    @property
    def unmapped(self) -> int:
        """Series of the last page that belong to no known asset or metric."""
        return self._scraper.unmapped

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of such series, a bounded number of them."""
        return self._scraper.unmapped_names

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Scrape once. ``SourceError`` where the endpoint does not answer with a whole, well-formed page."""
        return await self._scraper.scrape(now)

    async def read_page(self, now: datetime) -> Reading | Sequence[Frame]:
        """See ``ingest.mappings.pool.Pooled``."""
        return await self._scraper.read(now)

    def take_events(self) -> Sequence[Event]:
        """What was found of the assets themselves: moved, replaced, renamed."""
        return self._scraper.take_events()

    async def close(self) -> None:
        """Let go of the connection and wait for a page that is still being read."""
        await self._scraper.close()
        await self._door.close()
