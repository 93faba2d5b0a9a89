"""The geometry of a site as columns: one row a box, runs of pipe, cables. Made once for a site, and known by its hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.frame import Bytes, Floats, Ints
from twin.kinds import KINDS
from twin.site import Site
from ui.scene.layout import NOT_DRAWN, Places, places
from ui.scene.routes import Pipes, cables, pipes
from ui.scene.sizes import TRAY_M, TRAY_OVER_M, Level

LEVELS = 4  # that boxes are drawn at


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """All that is drawn of one site. Lengths in m: x east, y north, z up.

    Boxes are sorted by level, then hall, rack and kind, so that the boxes of a level, and of a hall within it, lie together;
    assets without a box (loops, the grid) follow with size 0, trays without an asset last. ``asset`` int32[n]: global position
    in the site, -1 for none; ``kind`` uint8[n]: index into ``twin.kinds.KINDS``; ``row`` int32[n]: row within the kind;
    ``parent`` int32[n]: box that holds it, -1 for none; ``level`` uint8[n]; ``hall`` int32[n]: row of the hall, the count of
    halls where none holds it; ``centre``, ``size`` float32[n, 3].

    ``span`` int32[LEVELS, halls + 1, 2]: where the boxes of a level and hall begin and end. ``box_of`` int32[N]: box of each
    asset, -1 for none. ``cable`` float32[m, 5, 3] with ``feed`` int32[m, 2]: boxes that each cable joins; ``cool`` int32[q, 2]:
    the same of the links that cool.
    """

    site: Site
    asset: Ints
    kind: Bytes
    row: Ints
    parent: Ints
    level: Bytes
    hall: Ints
    centre: NDArray[np.float32]
    size: NDArray[np.float32]
    turned: Bytes
    span: Ints
    box_of: Ints
    pipes: Pipes
    cable: NDArray[np.float32]
    feed: Ints
    cool: Ints
    hash: str

    @property
    def drawn(self) -> int:
        """How many boxes stand for assets at some level."""
        return int(self.span[:, :, 1].max(initial=0))

    def ids(self) -> Sequence[str]:
        """Id of each box's asset, "" for none."""
        return [self.site.ids[at] if at >= 0 else "" for at in self.asset.tolist()]


def geometry(site: Site) -> Geometry:
    """The geometry of ``site``; empty columns where it has nothing that can be drawn."""
    placed = places(site)
    shown = np.flatnonzero(placed.level != NOT_DRAWN).astype(np.int32)
    rack = _racks(site)
    order = shown[np.lexsort((shown, site.kind_of[shown], rack[shown], placed.hall[shown], placed.level[shown]))]
    trays = _trays(site, placed)
    n, more = len(order), len(trays)
    box_of = np.full(len(site.ids), -1, dtype=np.int32)
    box_of[order] = np.arange(n, dtype=np.int32)
    size = placed.size[order]
    size = np.where(placed.turned[order][:, None] & (size[:, :1] > 0), size[:, [1, 0, 2]], size)
    centre = placed.foot[order] + np.column_stack([np.zeros((n, 2)), size[:, 2] / 2])
    runs = pipes(site, placed)
    source, target, way = cables(site, placed)
    halls = site.count("hall")
    columns: dict[str, NDArray[Any]] = {
        "asset": np.concatenate([order, np.full(more, -1)]).astype(np.int32),
        "kind": np.concatenate([site.kind_of[order], np.full(more, 255)]).astype(np.uint8),
        "row": np.concatenate([site.row_of[order], np.zeros(more)]).astype(np.int32),
        "parent": np.concatenate([_parents(site, order, box_of), np.full(more, -1)]).astype(np.int32),
        "level": np.concatenate([placed.level[order], np.full(more, Level.HIDDEN)]).astype(np.uint8),
        "hall": np.concatenate([placed.hall[order], np.full(more, halls)]).astype(np.int32),
        "centre": np.concatenate([centre, trays[:, 0]]).astype(np.float32),
        "size": np.concatenate([size, trays[:, 1]]).astype(np.float32),
        "turned": np.concatenate([placed.turned[order], np.zeros(more)]).astype(np.uint8),
        "cable": way,
        "feed": np.column_stack([box_of[source], box_of[target]]).astype(np.int32),
        "cool": _cool(site, box_of),
    }
    ids = "\n".join(site.ids).encode()
    told = [*columns.values(), runs.points, runs.first, runs.owner, runs.temp_key, runs.flow_key]
    digest = hashlib.sha256(ids)
    for column in told:
        digest.update(np.ascontiguousarray(column).tobytes())
    span = _spans(placed, order, halls)
    return Geometry(site, **columns, span=span, box_of=box_of, pipes=runs, hash=digest.hexdigest()[:16])


def _racks(site: Site) -> Ints:
    """int32[N]: row of the rack that holds each asset, -1 for none."""
    found = np.full(len(site.ids), -1, dtype=np.int32)
    for kind in KINDS:
        if site.count(kind):
            found[site.of_kind(kind)] = site.within(kind, "rack")
    return found


def _parents(site: Site, order: Ints, box_of: Ints) -> Ints:
    """Box of the nearest container that is drawn."""
    here = site.parent[order].copy()
    while (lost := (here >= 0) & (box_of[np.maximum(here, 0)] < 0)).any():
        here[lost] = site.parent[here[lost]]
    return np.where(here >= 0, box_of[np.maximum(here, 0)], -1).astype(np.int32)


def _cool(site: Site, box_of: Ints) -> Ints:
    links = site.links["cools"]
    both = np.column_stack([box_of[links.source], box_of[links.target]])
    return both[(both >= 0).all(1)].astype(np.int32)


def _spans(placed: Places, order: Ints, halls: int) -> Ints:
    span = np.zeros((LEVELS, halls + 1, 2), dtype=np.int32)
    key = placed.level[order].astype(np.int64) * (halls + 1) + placed.hall[order]
    for level in range(LEVELS):
        for hall in range(halls + 1):
            here = level * (halls + 1) + hall
            span[level, hall] = np.searchsorted(key, [here, here + 1])
    return span


def _trays(site: Site, placed: Places) -> Floats:
    """float64[k, 2, 3]: centre and size of a cable tray over each line of two racks or more."""
    racks = site.of_kind("rack")
    racks = racks[placed.level[racks] == Level.RACK]
    along = placed.turned[racks].astype(int)
    at = placed.foot[racks, :2]
    across = np.where(along == 1, at[:, 0], at[:, 1])
    run = np.where(along == 1, at[:, 1], at[:, 0])
    keys = np.column_stack([placed.hall[racks], along, np.round(across, 1)])
    _, line = np.unique(keys, axis=0, return_inverse=True) if len(racks) else (None, np.zeros(0, dtype=int))
    trays = []
    for one in range(int(line.max(initial=-1)) + 1):
        mine = line == one
        if np.count_nonzero(mine) < 2:
            continue
        middle, length = (run[mine].min() + run[mine].max()) / 2, np.ptp(run[mine]) + 1.0
        top = placed.foot[racks[mine], 2] + placed.size[racks[mine], 2]
        centre = [middle, across[mine].mean(), top.max() + TRAY_OVER_M]
        size = [length, TRAY_M[0], TRAY_M[1]]
        if along[mine][0]:
            centre[:2], size[:2] = centre[1::-1], size[1::-1]
        trays.append([centre, size])
    return np.array(trays) if trays else np.zeros((0, 2, 3))
