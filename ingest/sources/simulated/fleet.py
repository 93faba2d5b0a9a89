"""Who stands where: the site's links and containers as index arrays, as the plant needs them, with what is missing named."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.site import Site

Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

_NEEDED = (
    "gpu",
    "node",
    "rack",
    "hall",
    "cdu",
    "loop",
    "pump",
    "chiller",
    "tower",
    "transformer",
    "ups",
    "pdu",
    "meter",
    "grid",
    "weather",
    "queue",
)
_LOADS = ("rack", "switch", "storage", "cdu", "pump", "chiller", "tower")
FEEDERS = ("pdu", "ups", "transformer")  # in the order in which power is summed upwards


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Power links from one kind of feeder to one kind it feeds: rows of both and the share of the load."""

    feeder: str
    fed: str
    source: Index
    target: Index
    share: Floats


@dataclass(frozen=True, eq=False)
class Fleet:
    """Rows of containers and neighbours: ``gpu_node`` is, for each GPU, the row of its node, and so on.

    ``node_gpus``: all GPU rows sorted by node, those of node i at ``node_start[i]:node_start[i + 1]``; ``plant_loop``: row of
    the loop that the chillers cool; ``pump_cdu``/``pump_loop``: -1 where a pump belongs to none.
    """

    site: Site
    gpu_node: Index
    gpu_rack: Index
    node_rack: Index
    node_width: Index
    node_start: Index
    node_gpus: Index
    rack_cdu: Index
    rack_hall: Index
    cdu_loop: Index
    plant_loop: int
    pump_cdu: Index
    pump_loop: Index
    switch_rack: Index
    port_switch: Index
    feeds: Sequence[Feed]

    def count(self, kind: str) -> int:
        """How many assets of ``kind`` the site has."""
        return self.site.count(kind)

    def id_of(self, kind: str, row: int) -> str:
        """Id of one asset."""
        return str(self.site.ids[int(self.site.of_kind(kind)[row])])


def fleet_of(site: Site) -> Fleet:
    """The fleet of ``site``. Raises ``ConfigError`` with everything that the simulated plant needs and the site lacks."""
    problems = [
        Problem("simulated source", f"the site has no {kind}; use the tables of 'icctwin demo' or add one")
        for kind in _NEEDED
        if not site.count(kind)
    ]
    if problems:
        raise ConfigError(problems)
    gpu_node, node_rack = _within(site, "gpu", "node"), _within(site, "node", "rack")
    rack_cdu = _cooled_by(site, "cdu", "rack", problems)
    cdu_loop = _cooled_by(site, "loop", "cdu", problems)
    chilled = np.unique(site.linked("cools", "chiller", "loop")[1])
    if len(chilled) != 1:
        problems.append(Problem("simulated source", f"the chillers cool {len(chilled)} loops; the plant has exactly one"))
    elif np.any(cdu_loop == chilled[0]):
        problems.append(Problem("simulated source", "a CDU hangs on the plant loop; give each hall a loop between"))
    pump_cdu = _within(site, "pump", "cdu")
    for row in np.flatnonzero(np.bincount(pump_cdu[pump_cdu >= 0], minlength=site.count("cdu")) == 0)[:10]:
        what = f"CDU {site.ids_of('cdu')[row]!r} contains no pump; add one with it as parent"
        problems.append(Problem("simulated source", what))
    if problems:
        raise ConfigError(problems)
    width = np.bincount(gpu_node, minlength=site.count("node"))
    return Fleet(
        site,
        gpu_node,
        node_rack[gpu_node],
        node_rack,
        width,
        np.concatenate([[0], np.cumsum(width)]),
        np.argsort(gpu_node, kind="stable"),
        rack_cdu,
        _within(site, "rack", "hall"),
        cdu_loop,
        int(chilled[0]),
        pump_cdu,
        _within(site, "pump", "loop"),
        _within(site, "switch", "rack"),
        _within(site, "port", "switch"),
        tuple(_feeds(site)),
    )


def _within(site: Site, kind: str, container: str) -> Index:
    return site.within(kind, container).astype(np.intp)


def _cooled_by(site: Site, source_kind: str, kind: str, problems: list[Problem]) -> Index:
    """For each asset of ``kind`` the row of the one ``source_kind`` that cools it; a problem where it is not one."""
    source, target, _ = site.linked("cools", source_kind, kind)
    count = np.bincount(target, minlength=site.count(kind))
    for row in np.flatnonzero(count != 1)[:10]:
        what = f"{kind} {site.ids_of(kind)[row]!r} is cooled by {count[row]} assets of kind {source_kind}; link exactly one"
        problems.append(Problem("simulated source", what))
    found = np.zeros(site.count(kind), dtype=np.intp)
    found[target] = source
    return found


def _feeds(site: Site) -> list[Feed]:
    """Power links by kinds, feeders in the order in which loads are summed upwards."""
    feeds = []
    for i, feeder in enumerate(FEEDERS):
        for fed in (*_LOADS, *FEEDERS[:i]):
            source, target, share = site.linked("feeds", feeder, fed)
            if len(source):
                feeds.append(Feed(feeder, fed, source.astype(np.intp), target.astype(np.intp), share))
    return feeds


def summed(where: Index, values: Floats, n: int) -> Floats:
    """float64[n]: ``values`` summed into the rows that ``where`` names."""
    return np.bincount(where, weights=values, minlength=n).astype(np.float64, copy=False)
