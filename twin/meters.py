"""What the meters say of racks, halls and the site, as far as they cover them; NaN where one that is needed is silent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from twin.coolants import heat_of, names_of
from twin.flow import is_target
from twin.frame import Floats, Ints
from twin.physics.cdu import carried_heat_w
from twin.site import Bools, Site
from twin.state import State

COOLING_KINDS = ("cdu", "pump", "chiller", "tower", "drycooler", "crah")
METERED_KINDS = ("meter", "transformer", "ups", "pdu")  # whose power may be that of the connection


class Known(NamedTuple):
    """Readings, or sums of readings: float64[n] W (NaN: unknown) and float64[n] s since 1970 of the oldest in each."""

    value: Floats
    time_s: Floats


_Column = Callable[[str], Known]  # kind -> its power_w


@dataclass(frozen=True, slots=True, eq=False)
class Metered:
    """What is wholly metered [W]: IT of each rack and hall by row, heat of each CDU by row; ``it``, ``cooling`` and
    ``facility`` (what the centre takes in from the grid, its own generation and storage) of the site as one value."""

    rack: Known
    hall: Known
    cdu_heat: Floats
    it: Known
    cooling: Known
    facility: Known


def read_meters(site: Site, state: State, now: datetime) -> Metered:
    """All sums that fresh readings in ``state`` cover whole; a sum is as old as the oldest reading in it.

    A rack: its own reading, else its PDUs, else its meters, else its nodes and switches; each only where all of them read. A
    hall: its own reading, else its racks that hold or ever drew anything, switches and storage. The site: all halls and what
    stands outside them. Cooling: every machine, pumps inside a CDU
    counted with it. The facility: see ``connection``.
    """

    def column(kind: str) -> Known:
        return Known(state.column(kind, "power_w", now), state.newest(kind, "power_w").time_s)

    own = column("rack")
    rack = own
    for kinds in (("pdu",), ("meter",), ("node", "switch")):
        rack = _else(rack, _whole(site.count("rack"), [(site.within(kind, "rack"), column(kind)) for kind in kinds]))
    used = _in_use(site, "rack", rack) | np.isfinite(own.time_s) | ~np.isnan(site.number("rack", "rated_w"))
    racks = Known(rack.value[used], rack.time_s[used])
    loose = [(kind, _loose(site, kind, column(kind)), column(kind)) for kind in ("switch", "storage")]
    in_hall = [(np.where(take, site.within(kind, "hall"), -1), known) for kind, take, known in loose]
    hall = _else(column("hall"), _whole(site.count("hall"), [(site.within("rack", "hall")[used], racks), *in_hall]))
    homes = site.within("rack", "hall")[used]
    used = _in_use(site, "hall", hall)
    used[homes[homes >= 0]] = True
    halls = Known(hall.value[used], hall.time_s[used])
    in_site = [(np.where(take & (site.within(kind, "hall") < 0), 0, -1), known) for kind, take, known in loose]
    machines = [(np.zeros(site.count(kind), dtype=np.int32), column(kind)) for kind in COOLING_KINDS]
    machines[1] = (np.where(site.within("pump", "cdu") < 0, 0, -1).astype(np.int32), column("pump"))
    return Metered(
        rack,
        hall,
        _cdu_heat(site, state, now),
        _whole(1, [(np.zeros(len(halls.value), dtype=np.int32), halls), *in_site]),
        _whole(1, machines),
        _facility(site, column),
    )


def _else(first: Known, second: Known) -> Known:
    silent = np.isnan(first.value)
    return Known(np.where(silent, second.value, first.value), np.where(silent, second.time_s, first.time_s))


def _whole(size: int, parts: Iterable[tuple[Ints, Known]]) -> Known:
    """Sums over each of ``size`` containers of parts that name theirs (-1: none); NaN where one is silent or none there."""
    total, seen, oldest = np.zeros(size), np.zeros(size), np.full(size, np.inf)
    for home, known in parts:
        inside = home >= 0
        total += np.bincount(home[inside], weights=known.value[inside], minlength=size)
        seen += np.bincount(home[inside], minlength=size)
        np.minimum.at(oldest, home[inside], known.time_s[inside])
    return Known(np.where(seen > 0, total, np.nan), oldest)


def _all(known: Known) -> Known:
    return _whole(1, [(np.zeros(len(known.value), dtype=np.int32), known)])


def _in_use(site: Site, container: str, known: Known) -> Bools:
    """bool[n]: containers that must read for a sum to be whole: those that hold switches, or nodes of which it is known what
    they may draw (by their GPUs or rating: what is not known the model leaves out as well), or that read anyway."""
    used = ~np.isnan(known.value)
    node = ~np.isnan(site.number("node", "rated_w"))
    gpu_home = site.within("gpu", "node")
    node[gpu_home[gpu_home >= 0]] = True
    for kind, counts in (("node", node), ("switch", np.ones(site.count("switch"), dtype=np.bool_))):
        home = site.within(kind, container)[counts]
        used[home[home >= 0]] = True
    return used


def _loose(site: Site, kind: str, known: Known) -> Bools:
    """bool[n]: IT that draws power of its own outside racks and nodes; a file system without rating or reading is none."""
    outside = (site.within(kind, "rack") < 0) & (site.within(kind, "node") < 0)
    return outside if kind == "switch" else outside & (~np.isnan(site.number(kind, "rated_w")) | ~np.isnan(known.value))


def connection(site: Site) -> Ints:
    """Positions of the devices whose power together is what comes in at the centre's connection: those at the top of ``feeds``
    (the grid left out); where no meter is linked, the one meter that stands directly in the site. Empty where nothing says
    which they are."""
    meters, feeds = site.of_kind("meter"), site.links["feeds"]
    in_site: Ints = meters[site.parent[meters] == site.of_kind("site")[0]]
    if len(in_site) == 1 and not np.isin(meters, np.concatenate([feeds.source, feeds.target])).any():
        return in_site
    return _top(site)


def _facility(site: Site, column: _Column) -> Known:
    """What the centre takes in: what meters at its ``connection`` read, less what batteries and photovoltaics take (they
    deliver as negative power), each only if all of them read."""
    value, time_s = np.full(len(site.ids), np.nan), np.full(len(site.ids), -np.inf)
    for kind in METERED_KINDS:
        here = site.of_kind(kind)
        value[here], time_s[here] = column(kind)
    at = connection(site)
    top = _all(Known(value[at], time_s[at]))
    stores = _whole(1, [(np.zeros(site.count(kind), dtype=np.int32), column(kind)) for kind in ("battery", "pv")])
    if not site.count("battery") + site.count("pv"):
        return top
    return Known(top.value - stores.value, np.minimum(top.time_s, stores.time_s))


def _top(site: Site) -> Ints:
    """Positions of all devices that only the grid feeds; storage is left out."""
    feeds = site.links["feeds"]
    outside = np.isin(feeds.source, np.concatenate([site.of_kind(kind) for kind in ("grid", "battery", "pv")]))
    fed = is_target(site, "feeds")
    fed[feeds.target[outside]] = False
    fed[feeds.target[~outside]] = True
    top = np.setdiff1d(np.concatenate([feeds.source[~outside], feeds.target[outside]]), np.flatnonzero(fed))
    return np.setdiff1d(top, site.of_kind("battery"))


def _cdu_heat(site: Site, state: State, now: datetime) -> Floats:
    """Heat of each CDU [W]: its own figure, else Q = ṁ · cp · ΔT of its secondary side at the mean temperature."""
    own, supply, back, flow = (
        state.column("cdu", name, now) for name in ("heat_w", "supply_temp_c", "return_temp_c", "flow_kgps")
    )
    cp = heat_of(names_of(site, "cdu"))((supply + back) / 2)
    return np.where(np.isnan(own), carried_heat_w(flow, cp, back - supply), own)
