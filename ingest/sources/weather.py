"""The weather at the site as Open-Meteo gives it (open-meteo.com, or a server of one's own that speaks the same).

Source of the format: open-meteo.com/en/docs (``temperature_2m``, ``relative_humidity_2m``, ``wet_bulb_temperature_2m``,
``shortwave_radiation_instant``: global irradiance at the time itself, not the mean of the hour before, ``wind_speed_10m``).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from ingest.registry import Opened
from ingest.sources.outlook import Asking, Outlook, OutlookSource, Values, finite, moment, part, the_asset
from ingest.wire import shown
from twin.errors import ConfigError, Problem, SourceError
from twin.site import Site

# variable of the service -> metric, unit that must be meant, factor
_VARIABLES = {
    "temperature_2m": ("dry_bulb_c", "°C", 1.0),
    "wet_bulb_temperature_2m": ("wet_bulb_c", "°C", 1.0),
    "relative_humidity_2m": ("humidity_frac", "%", 0.01),
    "shortwave_radiation_instant": ("irradiance_w_per_m2", "W/m²", 1.0),
    "wind_speed_10m": ("wind_mps", "m/s", 1.0),
}


class Options(BaseModel):
    """What a ``[[source]]`` of type ``weather`` may say. ``latitude`` and ``longitude`` in degrees; ``asset``: id of the
    weather asset where there are several; ``horizon_h``: how many hours ahead are kept; ``url``: another server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    asset: str = ""
    every_s: float = Field(default=900.0, ge=60, le=86400)
    horizon_h: int = Field(default=72, ge=0, le=384)
    url: str = Field(default="https://api.open-meteo.com/v1/forecast", pattern="^https?://")


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The source. ``ConfigError`` where the site has no such weather asset."""
    row = the_asset(site, "weather", options.asset)
    if isinstance(row, str):
        raise ConfigError([Problem(f"source {name}", row)])
    asking = Asking(options.every_s)

    async def ask(now: datetime) -> Outlook:
        return await open_meteo(asking, options)

    return Opened([OutlookSource(name, options.every_s, "weather", row, asking, ask)])


async def open_meteo(asking: Asking, options: Options) -> Outlook:
    """What the service says now."""
    variables = ",".join(_VARIABLES)
    url = URL(options.url).update_query(
        latitude=f"{options.latitude:g}",
        longitude=f"{options.longitude:g}",
        current=variables,
        hourly=variables,
        forecast_hours=str(options.horizon_h + 1),
        timezone="GMT",
        timeformat="unixtime",
        wind_speed_unit="ms",
    )
    data = await asking.json(url)
    where = shown(url.with_query(None))
    if not isinstance(data, dict) or not isinstance(data.get("current"), dict):
        raise SourceError(f"{where}: the answer has no current weather")
    now = [(moment(where, data["current"].get("time")), _values(where, data, "current", data["current"]))]
    hourly = part(where, data, "hourly")
    strange = [name for name, column in hourly.items() if not isinstance(column, list)]
    if strange:
        raise SourceError(f"{where}: hourly {strange[0][:40]} is no list")
    future = []
    for i, time in enumerate(hourly.get("time", ())):
        step = {name: column[i] for name, column in hourly.items() if name in _VARIABLES and i < len(column)}
        future.append((moment(where, time), _values(where, data, "hourly", step)))
    # the service does not say when its model ran; its steps are of whole hours, and so is what is told apart
    issued = now[0][0].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return Outlook([one for one in now if one[1]], [one for one in future if one[1]], issued)


def _values(where: str, data: Mapping[str, Any], kind: str, said: Mapping[str, Any]) -> Values:
    units = part(where, data, f"{kind}_units")
    found = {}
    for name, (metric, unit, factor) in _VARIABLES.items():
        value = said.get(name)
        if value is None:
            continue
        if units.get(name) != unit:
            raise SourceError(f"{where}: {name} comes in {units.get(name)!r}, not in {unit}; ask for metric units")
        found[metric] = finite(f"{where}: {name}", value) * factor
    return found
