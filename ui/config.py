"""The configuration of a centre (``site.toml``): read, checked against the registries, every problem at once with its line."""

import os
import re
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from energy.levers import LEVERS
from energy.place import TRANSFER_KWH_PER_GB
from energy.plan import Mode
from ingest.broker import Address
from ingest.precedence import FIRST, LAST
from ingest.registry import SOURCES, source_module
from ingest.shard import MAX_SHARDS
from ingest.stores.registry import StoreOptions
from twin.errors import ConfigError, Problem, meant
from twin.load import Row, load_site
from twin.plain import escaped, steers
from twin.site import Site
from ui.access.section import SINGLE, AccessSection, refuses
from ui.limits import LimitsSection, PlantSection
from ui.lines import Written, line_of
from ui.own import TASK
from ui.refusing import refusals, toml_refusal
from ui.report.section import REPORTS, ReportSection
from ui.roles import part_names


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteSection(_Section):
    """``[site]``: what the centre is; paths are relative to the file."""

    name: str = Field(min_length=1, max_length=100)
    timezone: str = "UTC"
    assets: Path = Path("assets.csv")
    links: Path | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            near = meant(value, available_timezones()) or "an IANA name such as Asia/Shanghai"
            raise ValueError(f"no time zone {value!r}; write {near}") from error
        return value


class StoreSection(_Section, StoreOptions):
    """``[store]``: where values are kept and for how long."""


class WallSection(_Section):
    """``[wall]``: where the faces listen. Anything but loopback shows the centre to the network. ``tls_cert`` and ``tls_key``:
    files (PEM) with which it speaks TLS by itself, where no proxy in front does."""

    host: str = "127.0.0.1"
    port: int = Field(8050, ge=1, le=65535)
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def address(self, port: int) -> str:
        """Where it is opened, once it listens on ``port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls_cert else ''}://{host}:{port}"

    @model_validator(mode="after")
    def _both_or_none(self) -> "WallSection":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; write both or neither")
        return self


class AlertSection(_Section):
    """``[alerts]``: the rule file or a folder of them (none: the rules that ship), and the on-call file (none: nobody is
    told)."""

    rules: Path | None = None
    oncall: Path | None = None


class ContractSection(_Section):
    """``[[energy.contract]]``: ``share_frac`` of what is drawn in each step, or ``kwh_per_year``, with its own factor."""

    name: str = Field(min_length=1, max_length=100)
    share_frac: float = Field(0.0, ge=0, le=1)
    kwh_per_year: float = Field(0.0, ge=0)
    gco2_per_kwh: float = Field(0.0, ge=0)
    renewable: bool = True


class PlaceSection(_Section):
    """``[[energy.place]]``: ``partitions`` of ``queue`` that stand in one hall or centre; jobs that are moved there wait in the
    first of them. ``cluster``: of a federation, with all its partitions or those that are named; jobs that are moved there wait
    in the partition of the same name. ``grid``: the asset whose signal counts there (none: the site's first). What a watt of IT
    takes there, cooling included: by the meters of ``hall``, else ``facility_ratio``."""

    name: str = Field(min_length=1, max_length=60)
    queue: str
    cluster: str = Field("", max_length=60, pattern=r"^[^/,\s]*$")
    partitions: Sequence[str] = Field((), max_length=100)
    grid: str = ""
    hall: str = ""
    facility_ratio: float = Field(1.0, ge=1, le=5)

    @model_validator(mode="after")
    def _somewhere(self) -> "PlaceSection":
        if not (self.cluster or self.partitions):
            raise ValueError("name its partitions, or its cluster of a federation")
        return self


class RouteSection(_Section):
    """``[[energy.route]]``: a way ``between`` two places by which jobs may move: ``latency_ms`` of a round trip, ``rate_gbps``
    that their data travels at with ``kwh_per_gb`` (no ``rate_gbps``: both use the same storage, and nothing travels)."""

    between: Sequence[str] = Field(min_length=2, max_length=2)
    latency_ms: float = Field(gt=0, le=1000)
    rate_gbps: float | None = Field(None, gt=0, le=1e6)
    kwh_per_gb: float = Field(TRANSFER_KWH_PER_GB, ge=0, le=10)


class EnergySection(_Section):
    """``[energy]``: how far each lever may go; what is not named stays in advise. ``signal``: the metric of the grid that work
    is shifted by. ``tariff``: name of one that ships, or ``tariff_file``; ``spot``: the grid's price series counts in its
    place; ``currency`` of that series, such as ``CNY``; ``region``: whose emission factor counts where no intensity is
    read; ``residual_mix_gco2_per_kwh``: of what no contract covers, market-based (none: as location-based); ``tenants``: CSV
    with ``project,tenant``; ``contract``: power purchase agreements and certificates; ``place`` and ``route``: between which
    halls and centres jobs may move; ``limits``: what the guard lets pass; ``plant``: what the levers on water must know."""

    modes: Mapping[str, Mode] = {}
    signal: Literal["carbon_gco2_per_kwh", "marginal_carbon_gco2_per_kwh", "price_per_mwh"] = "carbon_gco2_per_kwh"
    tariff: str = ""
    tariff_file: Path | None = None
    spot: bool = False
    currency: str = Field("", max_length=3, pattern="^([A-Z]{3})?$")
    region: str = ""
    residual_mix_gco2_per_kwh: float | None = Field(None, ge=0, le=2000)
    tenants: Path | None = None
    contract: Sequence[ContractSection] = ()
    place: Sequence[PlaceSection] = Field((), max_length=100)
    route: Sequence[RouteSection] = Field((), max_length=1000)
    limits: LimitsSection = LimitsSection.model_validate({})
    plant: PlantSection = PlantSection.model_validate({})

    @field_validator("modes")
    @classmethod
    def _known_levers(cls, value: Mapping[str, Mode]) -> Mapping[str, Mode]:
        known = ", ".join(LEVERS)
        for lever in value:
            if lever not in LEVERS:
                near = meant(lever, LEVERS)
                raise ValueError(f"no lever {lever!r}; {f'did you mean {near}?' if near else f'levers are {known}'}")
        return value


# what of libpq's connection string holds no secret
_DSN = {"host", "hostaddr", "port", "dbname", "user", "application_name", "target_session_attrs", "connect_timeout"}
_DSN |= {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "gssencmode"}


class ClusterSection(_Section):
    """``[cluster]``: what several processes of one centre share. ``broker``: ``mqtt://host:1883`` or ``mqtts://host:8883``
    for live frames; ``postgres``: ``host=… dbname=… user=…`` for alerts, plans and audit; ``shards``: how many ingest
    processes there are."""

    broker: str = Field("", pattern=r"^(mqtts?://[^@/]+)?$")
    broker_user: str = ""
    broker_password_file: Path | None = None
    ca_file: Path | None = None
    postgres: str = ""
    postgres_password_file: Path | None = None
    shards: int = Field(0, ge=0, le=MAX_SHARDS)

    @field_validator("postgres")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        if "@" in value or any(one.partition("=")[0] not in _DSN for one in value.split()):
            raise ValueError("may hold a password, a secret that must not stand here; write host=… dbname=… user=… and "
                             "postgres_password_file")  # fmt: skip
        return value

    @property
    def address(self) -> Address | None:
        """Where the broker is."""
        if not self.broker:
            return None
        url = urlsplit(self.broker)
        port = url.port or (8883 if url.scheme == "mqtts" else 1883)
        tls = (self.ca_file or Path(ssl.get_default_verify_paths().cafile or "")) if url.scheme == "mqtts" else None
        return Address(url.hostname or "", port, self.broker_user, self.broker_password_file, tls)


class TwinSection(_Section):
    """``[twin]``: whether what the daily calibration finds sound is put in force by itself, or waits for a person."""

    adopt: bool = False


@dataclass(frozen=True, slots=True)
class SourceSection:
    """One ``[[source]]``: its name, its type and the options of that type, checked. ``precedence``: where several tell the same
    metric of an asset, the lowest number counts, the next where that is stale."""

    name: str
    type: str
    options: BaseModel
    precedence: int = FIRST

    @property
    def asset_ids(self) -> Sequence[str]:
        """Ids of the source assets that it reports under."""
        return source_module(self.type).source_ids(self.name, self.options)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, checked; paths are absolute. ``written``: the file that it was read from."""

    site: SiteSection
    store: StoreSection
    wall: WallSection
    alerts: AlertSection
    energy: EnergySection
    cluster: ClusterSection
    twin: TwinSection
    sources: Sequence[SourceSection]
    access: AccessSection = SINGLE
    report: ReportSection = REPORTS
    written: Written | None = field(default=None, compare=False, repr=False)


SECTIONS: Mapping[str, type[BaseModel]] = {
    "site": SiteSection,
    "store": StoreSection,
    "wall": WallSection,
    "alerts": AlertSection,
    "energy": EnergySection,
    "cluster": ClusterSection,
    "twin": TwinSection,
    "access": AccessSection,
    "report": ReportSection,
}
MAX_SOURCES = 10_000
# whoever wrote a secret where none belongs sees it in no log
_SECRETS = ("secret", "password", "passphrase", "token", "bearer", "credential", "key", "auth", "community")
_USERINFO = re.compile(r"(://)\S*@")


def load_config(path: Path) -> Config:
    """The configuration in ``path``; ``ConfigError`` with every problem found."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(text)
    except OSError as error:
        what = f"cannot be read ({error.strerror}); name your site.toml with --config, or write one with 'icctwin init'"
        raise ConfigError([Problem(str(path), what)]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        line, what = toml_refusal(error)
        raise ConfigError([Problem(f"{path}:{line}" if line else str(path), what)]) from error
    return _Reader(path, text).read(raw)


def build_rows(config: Config, tasks: Sequence[str]) -> list[Row]:
    """Asset rows of what is ours: one for each source, task and process."""
    own = [(f"[[source]] {one.name}", asset, "source") for one in config.sources for asset in one.asset_ids]
    own += [("(icctwin's own)", f"{TASK}{name}", "task") for name in tasks]
    processes = ["icctwin", *(f"icctwin/{name}" for name in part_names(config.cluster.shards))]
    own += [("(icctwin's own)", name, "process") for name in processes]
    return [Row(where, {"id": name, "kind": kind}) for where, name, kind in own]


def site_of(config: Config, tasks: Sequence[str]) -> Site:
    """The site that ``config`` describes, with our own sources, tasks and process; ``SiteError`` with every problem."""
    section = config.site
    return load_site(section.name, section.timezone, section.assets, section.links, build_rows(config, tasks))


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()
        self._problems: list[Problem] = []

    def read(self, raw: dict[str, Any]) -> Config:
        written = Written(self._path, self._lines, dict(raw))
        entries = raw.pop("source", [])
        raw.setdefault("access", {"mode": "single"})
        sections: dict[str, Any] = {name: self._section(name, model, raw.pop(name, {})) for name, model in SECTIONS.items()}
        if sections["wall"] and sections["access"] and (why := refuses(sections["access"], sections["wall"].host)):
            self._problem(("wall", "host"), why)
        wall, access = sections["wall"], sections["access"]
        if wall and access and wall.tls_cert and access.url.startswith("http:"):
            self._problem(("access", "url"), "begins with http, and the wall speaks TLS; write the address that people open")
        for name in raw:
            near = meant(name, ("source", *SECTIONS))
            known = f"sections are {', '.join(SECTIONS)}, [source]"
            self._problem((name,), f"no section {name!r}; {f'did you mean {near}?' if near else known}")
        if not isinstance(entries, list):
            self._problem(("source",), "sources are a list; write [[source]] with two brackets")
            entries = []
        sources = [self._source(i, entry) for i, entry in enumerate(entries[:MAX_SOURCES])]
        if len(entries) > MAX_SOURCES:
            self._problem(("source",), f"{len(entries)} sources; the most is {MAX_SOURCES}")
        self._unique([source.name if source else "" for source in sources])
        cluster = sections["cluster"]
        if cluster and cluster.shards > 1 and any(source.precedence != FIRST for source in sources if source):
            what = "precedence holds among the sources of one process; write shards = 1, or leave precedence out"
            self._problem(("cluster", "shards"), what)
        if self._problems:
            raise ConfigError(self._problems)
        return Config(**sections, sources=tuple(source for source in sources if source), written=written)

    def _section(self, name: str, model: type[BaseModel], values: Any) -> BaseModel | None:
        try:
            section = model.model_validate(values)
        except ValidationError as error:
            self._refused((name,), error, model)
            return None
        return _with_paths(section, self._path.parent.resolve())

    def _source(self, i: int, entry: Any) -> SourceSection | None:
        if not isinstance(entry, dict):
            self._problem(("source", i), "a source is a table; write [[source]] with two brackets, its keys below")
            return None
        options = dict(entry)
        name, kind = options.pop("name", None), options.pop("type", None)
        precedence = self._precedence(i, options.pop("precedence", FIRST))
        if not isinstance(name, str) or not name:
            self._problem(("source", i), 'a source without a name; write name = "…"')
            return None
        if steers(name):
            what = f"source '{escaped(name[:100])}': its name begins a line or steers a terminal; write letters and digits"
            self._problem(("source", i, "name"), what)
            return None
        if not isinstance(kind, str) or kind not in SOURCES:
            near = meant(str(kind), SOURCES)
            hint = f"did you mean {near}?" if near else f"types are {', '.join(SOURCES)}"
            self._problem(("source", i, "type"), f"source {name!r}: no type {kind!r}; {hint}")
            return None
        model = source_module(kind).Options
        try:
            context = {"folder": self._path.parent.resolve()}
            return SourceSection(name, kind, model.model_validate(options, context=context), precedence)
        except ValidationError as error:
            self._refused(("source", i), error, model)
            return None

    def _precedence(self, i: int, value: Any) -> int:
        if type(value) is int and FIRST <= value <= LAST:
            return value
        what = f"precedence is a number from {FIRST} (counts before all others) to {LAST}, where several tell the same metric"
        self._problem(("source", i, "precedence"), what)
        return FIRST

    def _unique(self, names: Sequence[str]) -> None:
        for i, name in enumerate(names):
            if name and name in names[:i]:
                self._problem(("source", i, "name"), f"two sources are named {name!r}; every name is an asset of its own")

    def _refused(self, place: tuple[str | int, ...], error: ValidationError, model: type[BaseModel]) -> None:
        head = f"[[source]] {int(place[1]) + 1}" if len(place) > 1 else f"[{place[0]}]"
        for inside, said, one in refusals(error, model):
            key = ".".join(str(part) for part in inside)
            self._problem((*place, *inside), f"{head} {said}{_got(key, one)}")

    def _problem(self, place: tuple[str | int, ...], what: str) -> None:
        self._problems.append(Problem(f"{self._path}:{line_of(self._lines, place)}", _USERINFO.sub(r"\1…@", what)))


def _got(key: str, error: Mapping[str, Any]) -> str:
    """What stands there, in brackets; not where that may be a secret: by the name of its key, by what the refusal speaks of, by
    what it looks like, or under a key that nobody here knows. Of a whole table nothing is shown."""
    value, said = error.get("input"), str(error["msg"]).lower()
    if isinstance(value, Mapping | list | tuple):
        return ""
    named = not key.endswith("_file") and any(word in key.lower() for word in _SECRETS)
    looks = _USERINFO.search(str(value)) or any(word in str(value).lower() for word in ("password", "secret", "token"))
    if named or looks or "secret" in said or "password" in said:
        return " (got a secret, not shown; secrets stand in files of their own)"
    return "" if error["type"] in ("extra_forbidden", "missing") else f" (got {str(value)[:80]!r})"


def _with_paths(section: BaseModel, here: Path) -> BaseModel:
    """``section`` and the tables inside it with their paths made absolute from ``here``. A link stays what it is: what it leads
    to is swapped under a running process, by certbot and by kubelet."""
    new: dict[str, Any] = {key: Path(os.path.abspath(here / value)) for key, value in section if isinstance(value, Path)}
    new |= {key: _with_paths(value, here) for key, value in section if isinstance(value, BaseModel)}
    return section.model_copy(update=new)
