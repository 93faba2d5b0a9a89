"""The stores by the name that a configuration gives as ``type``, and what such a configuration may say."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from ingest.stores.embedded.retention import USUAL, Retention
from ingest.stores.embedded.segments import open_store
from ingest.stores.kept import Kept
from ingest.stores.server import Server
from twin.site import Site

DAY_S = 86_400.0


class StoreOptions(BaseModel):
    """``[store]``: where values are kept and for how long.

    ``path``: a folder of this machine, for the embedded store and for what waits for any other (the spool); ``url``: a
    server's address, for a cluster of VictoriaMetrics that of vminsert with its prefix (``…:8480/insert/0/influx``) and as
    ``read_url`` that of vmselect (``…:8481/select/0/prometheus``); ``database``: InfluxDB's, or version 2's bucket;
    ``dialect``: InfluxDB's version, found out where it is ``auto``. Secrets stand in files: ``token_file``, or ``user`` and
    ``password_file``.
    """

    type: Literal["embedded", "influxdb", "victoriametrics"] = "embedded"
    path: Path = Path("var/store")
    raw_days: float = Field(round(USUAL.raw_s / DAY_S), gt=0)
    minute_days: float = Field(round(USUAL.minute_s / DAY_S), gt=0)
    hour_days: float = Field(round(USUAL.hour_s / DAY_S), gt=0)
    max_bytes: int = Field(USUAL.max_bytes, ge=10_000_000)
    spool_bytes: int = Field(20_000_000_000, ge=100_000_000)
    url: str = ""
    read_url: str = ""
    database: str = Field("icctwin", pattern=r"^[\w.-]+$")
    org: str = ""
    dialect: Literal["auto", "v1", "v2", "v3"] = "auto"
    token_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.type != "embedded" and not self.url.startswith(("http://", "https://")):
            raise ValueError(f'a store of type {self.type} needs url = "http://…" or "https://…"')
        if "@" in self.url or "@" in self.read_url:
            raise ValueError("a url holds a password, a secret that must not stand here; use user and password_file")
        if any(sign in url for url in (self.url, self.read_url) for sign in "?#"):
            raise ValueError("a url has no query, in which a secret may stand; use token_file, or user and password_file")
        if self.token_file and self.password_file:
            raise ValueError("token_file and password_file are two ways to say who asks; leave one")
        return self

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.path) if self.type == "embedded" else self.url


def server_of(options: StoreOptions, url: str) -> Server:
    """The server at ``url``, asked as ``options`` says."""
    scheme = (
        "Basic" if options.password_file else "Bearer" if options.dialect == "v3" or options.type != "influxdb" else "Token"
    )
    secret = options.password_file or options.token_file
    return Server(url, scheme=scheme, secret_file=secret, user=options.user, ca_file=options.ca_file)


def open_kept(options: StoreOptions, site: Site, *, readonly: bool = False) -> Kept:
    """The store that ``options`` speak of, bound to ``site``. A server is asked nothing yet; ``ConfigError`` and
    ``StoreError`` as ``open_store`` has them for the embedded one."""
    if options.type == "embedded":
        kept = options
        retention = Retention(kept.raw_days * DAY_S, kept.minute_days * DAY_S, kept.hour_days * DAY_S, kept.max_bytes)
        return open_store(options.path, site, readonly=readonly, retention=retention)
    if options.type == "influxdb":
        from ingest.stores.influxdb import InfluxStore

        dialect = None if options.dialect == "auto" else options.dialect
        return InfluxStore(server_of(options, options.url), site, options.database, dialect, options.org, readonly)
    from ingest.stores.victoriametrics import VictoriaStore

    insert = server_of(options, options.url)
    return VictoriaStore(insert, server_of(options, options.read_url) if options.read_url else insert, site, readonly)
