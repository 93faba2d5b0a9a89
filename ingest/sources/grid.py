"""Carbon intensity and price of the grid: Electricity Maps, WattTime, ENTSO-E, the GB Carbon Intensity API, or a table.

What each service sends, ``ingest.sources.grid_services`` says.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ingest.registry import Opened
from ingest.sources.grid_services import SERVICES, Service
from ingest.sources.outlook import Asking, Outlook, OutlookSource, the_asset
from ingest.wire import Login
from twin.errors import ConfigError, Problem
from twin.site import Site

Provider = Literal["electricitymaps", "watttime", "entsoe", "gb", "csv"]
# provider -> what it cannot do without
_NEEDS = {
    "electricitymaps": ("zone", "token_file"),
    "watttime": ("zone", "username", "password_file"),
    "entsoe": ("zone", "token_file"),
    "gb": (),
    "csv": ("path",),
}


class Options(BaseModel):
    """What a ``[[source]]`` of type ``grid`` may say.

    ``provider``: who is asked; ``zone``: the zone of Electricity Maps (DE), the region of WattTime (CAISO_NORTH), the EIC code
    of ENTSO-E's bidding zone (10Y1001A1001A82H); ``token_file``, ``username``, ``password_file``: the login; ``signal``: of
    WattTime; ``sequence``: of ENTSO-E, which auction where a zone has several (none: the lowest that is there); ``path``: of
    a CSV file with ``time`` (ISO 8601 with zone) and metrics of the grid as columns; ``asset``: id of the grid asset where
    there are several; ``url``: another server that speaks the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Provider
    zone: str = Field(default="", pattern=r"^[\w.-]*$")
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    signal: Literal["co2_moer", "co2_aoer"] = "co2_moer"
    sequence: int | None = Field(default=None, ge=1, le=99)
    path: Path | None = None
    asset: str = ""
    every_s: float = Field(default=900.0, ge=60, le=86400)
    url: str = Field(default="", pattern="^(https?://.*)?$")

    @field_validator("token_file", "password_file", "path")
    @classmethod
    def _beside_the_configuration(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        folder = (info.context or {}).get("folder")
        return value if folder is None or value is None else Path(folder / value)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        missing = [name for name in _NEEDS[self.provider] if not getattr(self, name)]
        if missing:
            raise ValueError(f"provider {self.provider} needs {', '.join(missing)}")
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The source. ``ConfigError`` where the site has no such grid asset."""
    row = the_asset(site, "grid", options.asset)
    if isinstance(row, str):
        raise ConfigError([Problem(f"source {name}", row)])
    asking = Asking(options.every_s)
    login = Login(options.token_file, options.username, options.password_file)
    said = options.zone, options.url, options.signal, options.path, options.sequence
    service: Service = SERVICES[options.provider](asking, login, *said)

    async def ask(now: datetime) -> Outlook:
        return await service.ask(now)

    return Opened([OutlookSource(name, options.every_s, "grid", row, asking, ask)])
