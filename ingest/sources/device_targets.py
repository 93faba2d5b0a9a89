"""Opens a source for each target of a device's configuration: which asset each is, and what may be set at it."""

from collections.abc import Callable
from typing import TypeVar

from ingest.mappings import FOLDER, load_table
from ingest.mappings.device import Bound, DeviceTable, Setting
from ingest.registry import Opened
from ingest.sources.device import DeviceActuator, DeviceOptions, DeviceSource, Reach, host_of, source_names
from twin.errors import ConfigError, Problem
from twin.ports import Actuator, Source
from twin.site import Site

T = TypeVar("T", bound=DeviceTable)


def open_targets(
    name: str,
    options: DeviceOptions,
    site: Site,
    family: str,
    shape: type[T],
    reach_of: Callable[[str, T, Bound, str], Reach],
    *,
    homeless: bool = False,
) -> Opened:
    """A source a target, with the actuators that its mapping allows. ``homeless``: a target is no asset itself, as a broker.
    ``ConfigError`` with every problem: mapping, targets and assets that do not fit."""
    table = _load(name, options, family, shape)
    problems = [Problem(f"source {name}", what) for what in _strange(table, options, site)]
    homes: list[str] = []
    for target, said in options.targets.items():
        try:
            homes.append("" if homeless and not said else _home(target, said, table, site))
        except ValueError as error:
            problems.append(Problem(f"source {name}", str(error)))
    if problems:
        raise ConfigError(problems)
    sources: list[Source] = []
    actuators: dict[str, Actuator] = {}
    for source_name, target, home in zip(source_names(name, options), options.targets, homes, strict=True):
        bound = Bound(table, site, home, options.places)
        reach = reach_of(target, table, bound, source_name)
        source = DeviceSource(source_name, target, reach, bound, options)
        sources.append(source)
        for asset, settings in settable(table, site, home).items():
            if options.orders is True or (options.orders and asset in options.orders):
                actuators[asset] = DeviceActuator(source, reach, bound, site, settings)
    return Opened(sources, actuators=actuators)


def _load(name: str, options: DeviceOptions, family: str, shape: type[T]) -> T:
    try:
        return load_table(options.mapping, shape, FOLDER / family)
    except ConfigError as error:
        raise ConfigError([Problem(f"source {name}: {one.where}", one.what) for one in error.problems]) from None


def _strange(table: DeviceTable, options: DeviceOptions, site: Site) -> list[str]:
    """Assets that mapping or options name and the site does not have."""
    found = [
        f"mapping {options.mapping}: the site has no {entry.kind} {entry.asset!r}"
        for entry in table.metric
        if entry.asset and (entry.asset not in site.position or site.kind(entry.asset) != entry.kind)
    ]
    if not isinstance(options.orders, bool):
        found += [f"orders: the site has no asset {asset!r}" for asset in options.orders if asset not in site.position]
    for label, values in options.places.items():
        found += [f"places.{label}: the site has no asset {asset!r}" for asset in values.values() if asset not in site.position]
    return found


def _home(target: str, said: str, table: DeviceTable, site: Site) -> str:
    """Id of the asset that ``target`` is; ``ValueError`` where that cannot be said."""
    kinds = table.device or tuple({entry.kind for entry in table.metric})
    if said:
        if said not in site.position:
            turned = f'; write it the other way round, address = asset: "{said}" = "{target}"'
            raise ValueError(f"target {target}: the site has no asset {said!r}{turned if target in site.position else ''}")
        if table.device and site.kind(said) not in kinds:
            raise ValueError(f"target {target}: {said!r} is a {site.kind(said)}; the mapping is for {', '.join(kinds)}")
        return said
    host = host_of(target)
    found = [
        asset for kind in kinds for asset, at in zip(site.ids_of(kind), site.text(kind, "address"), strict=True) if at == host
    ]
    if len(found) == 1:
        return found[0]
    if not found and not table.device:
        return ""
    how = f'write targets = {{ "{target}" = "id of the {kinds[0]}" }}, or give the asset this address'
    raise ValueError(f"target {target}: {'no' if not found else 'more than one'} {'/'.join(kinds)} has address {host}; {how}")


def settable(table: DeviceTable, site: Site, home: str) -> dict[str, dict[str, Setting]]:
    """Asset -> metric -> setting, for the target itself and what is inside it (everything, where there is no target's
    asset)."""
    found: dict[str, dict[str, Setting]] = {}
    for setting in table.settings:
        entry = table.entry(setting.kind, setting.metric)
        for asset in [entry.asset] if entry and entry.asset else site.ids_of(setting.kind):
            itself = home == asset and setting.kind in table.device and setting.kind not in table.assets
            if itself or not home or (setting.kind in table.assets and home in _above(site, asset)) or (entry and entry.asset):
                found.setdefault(asset, {})[setting.metric] = setting
    return found


def _above(site: Site, asset: str) -> list[str]:
    """Ids of all that contains ``asset``."""
    here, ids = int(site.parent[site.position[asset]]), []
    while here >= 0:
        ids.append(site.ids[here])
        here = int(site.parent[here])
    return ids
