"""Pipes from the links that cool, cables from the links that feed.

Sources that cool the same targets share a header, a straight pipe at one height; each source rises to it and each target
comes down from it, racks by a manifold behind them. Each run of pipe exists twice, supply and return, in the direction of its
flow, and names who tells its temperature and flow: its own end where that is measured, else the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from twin.frame import Bytes, Floats, Ints
from twin.kinds import KINDS
from twin.site import Site
from ui.scene.layout import NOT_DRAWN, Places
from ui.scene.sizes import Level

SUPPLY, RETURN = 0, 1
_KIND = tuple(KINDS)
_HEIGHT_M: Mapping[str, float] = MappingProxyType({"cdu": 2.6, "loop": 3.2, "chiller": 4.0, "tower": 4.8, "drycooler": 4.8})
_PAIR_M = 0.22  # between supply and return
_SPEED_MPS, _WATER_KGPM3 = 1.5, 1000.0  # usual design speed in steel pipes (ASHRAE Handbook Fundamentals 2021, ch. 22)
_RADIUS_M: Mapping[str, float] = MappingProxyType({"rack": 0.025, "cdu": 0.07, "loop": 0.14})
_MANIFOLD_END_M = 0.2
CABLE_POINTS = 5
_TRAY_M = 2.95
_NEAR_M = 1.0  # a cable inside a cabinet is not drawn
# Who tells of the water: (kind, as the target of a link or as its source) -> metrics of supply, return and flow.
_TELLS: Mapping[tuple[str, str], tuple[str, str, str]] = MappingProxyType(
    {
        ("rack", "target"): ("supply_temp_c", "return_temp_c", "flow_kgps"),
        ("cdu", "target"): ("primary_supply_temp_c", "primary_return_temp_c", "primary_flow_kgps"),
        ("loop", "target"): ("supply_temp_c", "return_temp_c", "flow_kgps"),
        ("cdu", "source"): ("supply_temp_c", "return_temp_c", "flow_kgps"),
        ("loop", "source"): ("supply_temp_c", "return_temp_c", "flow_kgps"),
        ("chiller", "source"): ("supply_temp_c", "return_temp_c", ""),
        ("tower", "source"): ("supply_temp_c", "return_temp_c", ""),
        ("drycooler", "source"): ("supply_temp_c", "return_temp_c", ""),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Pipes:
    """``points`` float32[m, 3] (m) of p runs, run i from ``first[i]`` to ``first[i + 1]`` (int32[p + 1]) in the direction of
    flow; ``owner`` int32[p]: the asset whose run it is; ``side`` uint8[p]; ``radius`` float32[p] (m).

    ``keys``: (kind, metric) pairs; ``temp_key``, ``temp_row``, ``flow_key``, ``flow_row`` int32[p, 2]: who tells temperature
    and flow, first choice before second, -1 for nobody."""

    points: Floats
    first: Ints
    owner: Ints
    side: Bytes
    radius: Floats
    keys: Sequence[tuple[str, str]]
    temp_key: Ints
    temp_row: Ints
    flow_key: Ints
    flow_row: Ints


@dataclass
class _Found:
    """Runs as they are found."""

    site: Site
    places: Places
    points: list[Floats] = field(default_factory=list)
    counts: list[Ints] = field(default_factory=list)
    owner: list[Ints] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    radius: list[float] = field(default_factory=list)
    keys: dict[tuple[str, str], int] = field(default_factory=dict)
    tells: list[Ints] = field(default_factory=list)

    def add(self, runs: Floats, owners: Ints, side: int, role: str, other: tuple[int, str]) -> None:
        """``runs`` float64[k, n, 3], each of its owner, who tells of it in ``role``; ``other`` (asset, role) where not it."""
        k, n, _ = runs.shape
        self.points.append(runs.reshape(-1, 3))
        self.counts.append(np.full(k, n, dtype=np.int32))
        self.owner.append(owners)
        self.side += [side] * k
        rated = self.site.numbers.get("rated_kgps")
        for asset in owners.tolist():
            kind = _KIND[self.site.kind_of[asset]]
            flow_kgps = float("nan") if rated is None else float(rated[asset])
            wide_m = np.sqrt(flow_kgps / (_WATER_KGPM3 * _SPEED_MPS * np.pi))
            self.radius.append(float(np.clip(wide_m, 0.02, 0.3)) if wide_m == wide_m else _RADIUS_M.get(kind, 0.1))
            both = (self._told(asset, role, side), self._told(*other, side))
            self.tells.append(np.array(both, dtype=np.int32))

    def _told(self, asset: int, role: str, side: int) -> tuple[int, int, int]:
        """(key of temperature, key of flow, row) of what ``asset`` tells; -1 where it tells nothing."""
        kind = _KIND[self.site.kind_of[asset]]
        names = _TELLS.get((kind, role))
        if names is None:
            return -1, -1, 0
        flow = self._key(kind, names[2]) if names[2] else -1
        return self._key(kind, names[side]), flow, int(self.site.row_of[asset])

    def _key(self, kind: str, name: str) -> int:
        return self.keys.setdefault((kind, name), len(self.keys))


def pipes(site: Site, places: Places) -> Pipes:
    """All runs of pipe between assets that have a place."""
    found = _Found(site, places)
    for sources, targets in _headers(site, places):
        _header(found, sources, targets)
    none = np.zeros((0, 3))
    tells = np.stack(found.tells) if found.tells else np.zeros((0, 2, 3), dtype=np.int32)
    return Pipes(
        np.concatenate([none, *found.points]).astype(np.float32),
        np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, dtype=np.int32), *found.counts]))]).astype(np.int32),
        np.concatenate([np.zeros(0, dtype=np.int32), *found.owner]).astype(np.int32),
        np.array(found.side, dtype=np.uint8),
        np.array(found.radius, dtype=np.float32),
        tuple(found.keys),
        tells[:, :, 0],
        tells[:, :, 2],
        tells[:, :, 1],
        tells[:, :, 2],
    )


def _headers(site: Site, places: Places) -> Iterator[tuple[Ints, Ints]]:
    """(sources, targets): sources that cool the very same targets, together."""
    links = site.links["cools"]
    drawn = (places.level[links.source] != NOT_DRAWN) & (places.level[links.target] != NOT_DRAWN)
    source, target = links.source[drawn], links.target[drawn]
    order = np.argsort(source, kind="stable")
    source, target = source[order], target[order]
    each, first = np.unique(source, return_index=True)
    shared: dict[bytes, list[int]] = {}
    of: dict[bytes, Ints] = {}
    for asset, mine in zip(each.tolist(), np.split(target, first[1:])[: len(each)], strict=True):
        key = np.sort(mine).tobytes()
        shared.setdefault(key, []).append(asset)
        of[key] = np.unique(mine)
    for key, sources in shared.items():
        yield np.array(sources, dtype=np.int32), of[key]


def _header(found: _Found, sources: Ints, targets: Ints) -> None:
    foot = found.places.foot
    every = np.concatenate([sources, targets])
    spread = np.ptp(foot[every, :2], axis=0)
    along = 0 if spread[0] >= spread[1] else 1
    across = 1 - along
    alone = len(sources) == 1
    line_m = float(foot[targets, across].mean() if alone else (foot[targets, across].mean() + foot[sources, across].mean()) / 2)
    kind = _KIND[found.site.kind_of[sources[0]]]
    high_m = max(_HEIGHT_M.get(kind, 3.4), float((foot[every, 2] + found.places.size[every, 2]).max()) + 0.15 if alone else 0.0)
    lead, end = (int(sources[0]), "source"), (int(targets[0]), "target")
    for side in (SUPPLY, RETURN):
        shift_m = side * _PAIR_M
        at, height_m = line_m + shift_m, high_m + shift_m
        rise = _branches(found.places, sources, along, at, height_m, side)[:, ::-1]
        down = _branches(found.places, targets, along, at, height_m, side)
        trunk = _trunk(foot[sources, along], foot[every, along], along, at, height_m)
        for runs, owners, role, other in (
            (rise, sources, "source", end),
            (trunk, np.repeat(sources[:1], len(trunk)), "source", end),
            (down, targets, "target", lead),
        ):
            if len(runs):
                found.add(runs if side == SUPPLY else runs[:, ::-1], owners, side, role, other)


def _trunk(source_m: Floats, every_m: Floats, along: int, at_m: float, height_m: float) -> Floats:
    """float64[k, 2, 3]: the header from where a single source joins it towards both ends, or end to end."""
    low, high = float(every_m.min()), float(every_m.max())
    start = float(source_m[0]) if len(source_m) == 1 else low
    runs = np.zeros((2, 2, 3))
    runs[:, :, 1 - along], runs[:, :, 2] = at_m, height_m
    runs[:, 0, along], runs[0, 1, along], runs[1, 1, along] = start, low, high
    return runs[np.abs(runs[:, 1, along] - start) > 0.05]


def _branches(places: Places, assets: Ints, along: int, at_m: float, height_m: float, side: int) -> Floats:
    """float64[k, 3, 3]: from the header over to each asset and down to it; racks have their manifold behind them."""
    foot, size, turned = places.foot[assets], places.size[assets], places.turned[assets]
    rack = (places.level[assets] == Level.RACK) & (size[:, 2] > 1.2) & (size[:, 0] < 0.81) & (size[:, 1] > 0.9)
    hidden = places.level[assets] == Level.HIDDEN
    end = foot[:, :2].copy()
    aside = np.where(rack, 0.15, 0.12) * (1 if side == SUPPLY else -1)
    back = np.where(rack, size[:, 1] / 2 + 0.07, 0.0)
    end[:, 0] += np.where(turned, back, aside)
    end[:, 1] += np.where(turned, aside, back)
    low = np.where(rack, foot[:, 2] + _MANIFOLD_END_M, foot[:, 2] + size[:, 2])
    low = np.where(hidden, height_m, low)
    runs = np.empty((len(assets), 3, 3))
    runs[:, 0, along], runs[:, 0, 1 - along] = end[:, along], at_m
    runs[:, 1, :2] = runs[:, 2, :2] = end
    runs[:, :2, 2], runs[:, 2, 2] = height_m, low
    return runs


def cables(site: Site, places: Places) -> tuple[Ints, Ints, Floats]:
    """Links that feed, between assets that have a place: source int32[m], target int32[m] (global positions) and their way
    over the trays, float32[m, 5, 3]; all points of one inside a cabinet are the same."""
    links = site.links["feeds"]
    drawn = (places.level[links.source] != NOT_DRAWN) & (places.level[links.target] != NOT_DRAWN)
    source, target = links.source[drawn], links.target[drawn]
    here, there = places.foot[source], places.foot[target]
    tops = [foot[:, 2] + places.size[at, 2] for foot, at in ((here, source), (there, target))]
    tray_m = np.maximum(_TRAY_M, np.maximum(*tops) + 0.1)
    way = np.empty((len(source), CABLE_POINTS, 3))
    way[:, :2, :2], way[:, 3:, :2] = here[:, None, :2], there[:, None, :2]
    way[:, 2, 0], way[:, 2, 1] = there[:, 0], here[:, 1]
    way[:, 1:4, 2] = tray_m[:, None]
    way[:, 0, 2], way[:, 4, 2] = tops[0], tops[1]
    near = np.hypot(*(here - there)[:, :2].T) < _NEAR_M
    way[near] = way[near][:, :1]
    return source, target, way.astype(np.float32)
