"""What the configuration gives for an account beside the meters: tariff, factors, contracts, tenants."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from energy.account.book import Given
from energy.account.carbon import Contract
from energy.account.factors import factor_of
from energy.account.grids import Supply, supplied
from energy.account.tariff import SHIPPED, Tariff, load_tariff
from energy.place.atlas import Atlas
from twin.errors import ConfigError, Problem
from twin.site import Site
from ui.config import Config, EnergySection
from ui.places import atlas_of

MAX_TENANTS = 100_000


def given_by(section: EnergySection, site: Site) -> Callable[[], Given]:
    """What ``[energy]`` gives, read anew at each call."""
    return lambda: given_of(section, site)


def given_of(section: EnergySection, site: Site) -> Given:
    """What ``[energy]`` gives for an account of ``site``; ``ConfigError`` with every problem."""
    problems: list[Problem] = []
    factor = None
    if section.region:
        try:
            factor = factor_of(section.region).gco2_per_kwh
        except KeyError as error:
            problems.append(Problem("[energy] region", str(error.args[0])))
    tariff: Tariff | None = None
    tenants: Mapping[str, str] = {}
    supply: Supply | None = None
    try:
        if section.tariff or section.tariff_file:
            tariff = _tariff(section)
        tenants = _tenants(section.tenants) if section.tenants else {}
        supply = supply_of(atlas_of(section, site), site)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    contracts = [
        Contract(one.name, one.share_frac, 0.0, one.gco2_per_kwh, one.renewable, one.kwh_per_year) for one in section.contract
    ]
    return Given(
        contracts=contracts,
        average_gco2_per_kwh=factor,
        residual_gco2_per_kwh=section.residual_mix_gco2_per_kwh,
        tariff=tariff,
        spot=section.spot,
        currency=section.currency or (tariff.currency if tariff else ""),
        tenants=tenants,
        supply=supply,
    )


def _tariff(section: EnergySection) -> Tariff:
    ships = sorted(path.stem for path in SHIPPED.glob("*.toml"))
    if not section.tariff_file and section.tariff not in ships and not Path(section.tariff).is_file():
        what = f"none that ships is called {section.tariff!r}; there are {', '.join(ships)}; one of your own is tariff_file = …"
        raise ConfigError([Problem("[energy] tariff", what)])
    return load_tariff(section.tariff_file or section.tariff)


def supply_of(atlas: Atlas, site: Site) -> Supply | None:
    """Which hall hangs on which grid, by the places that name a hall, else by what feeds it; see ``supplied``."""
    return supplied(site, {place.hall: place.grid for place in atlas.places if place.hall}, placed=bool(atlas.places))


def zones_of(config: Config, site: Site) -> Mapping[str, str]:
    """Zone of each grid for which one source names one."""
    found: dict[str, set[str]] = {}
    first = site.ids_of("grid")[:1]
    for source in config.sources:
        zone = getattr(source.options, "zone", "")
        if source.type == "grid" and zone and (asset := getattr(source.options, "asset", "") or "".join(first)):
            found.setdefault(asset, set()).add(zone)
    return {asset: zones.pop() for asset, zones in found.items() if len(zones) == 1}


def _tenants(path: Path) -> Mapping[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error})")]) from None
    if len(rows) > MAX_TENANTS or (rows and not {"project", "tenant"} <= set(rows[0])):
        raise ConfigError([Problem(str(path), f"is no CSV with the columns project,tenant of at most {MAX_TENANTS} rows")])
    return {row["project"]: row["tenant"] for row in rows}
