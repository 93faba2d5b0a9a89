"""The power chain over a chunk at once: from racks and machines up the ``feeds`` links, with losses, feeds lost and limits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from twin.flow import MAX_DEPTH, carrier, is_target
from twin.frame import Floats, Ints
from twin.losses import CHAIN, losses_of
from twin.params import Params
from twin.physics.chain import loss_w
from twin.sim.fleet import Fleet
from twin.site import Bools, Links, Site


@dataclass(frozen=True, slots=True, eq=False)
class Power:
    """One chunk over the chain's assets: float64[a, t] W. ``own`` need, ``into``, ``loss``; ``dead_w`` float64[t]: need of IT
    that no feed reaches any more (batteries apart)."""

    own: Floats
    into: Floats
    loss: Floats
    dead_w: Floats


class Chain:
    """Every asset that a ``feeds`` link names, and every load. Columns: ``at`` (global positions), ``rated_w``, ``has_device``.

    A load stands at the nearest asset at or above it that is fed; a rack that is not fed itself draws through its nodes' feeds.
    An asset of which one feed is lost draws all from those left (N+1, 2N), from one that stands by (share 0) once no other is;
    one without any is dead.
    """

    def __init__(self, site: Site, fleet: Fleet, machines: Ints, params: Params, loss_ratio: float = 1.0) -> None:
        self.site, self.params = site, params
        links = site.links["feeds"]
        fed = is_target(site, "feeds")
        rack_at, rack_row, rack_share = _rack_carriers(site, fleet, fed)
        apart, drawing = carrier(site, fleet.apart, fed), carrier(site, machines, fed)
        self.at = np.unique(np.concatenate([links.source, links.target, rack_at, apart, drawing])).astype(np.int32)
        number = np.full(len(site.ids), -1, dtype=np.int64)
        number[self.at] = np.arange(len(self.at))
        n, racks = len(self.at), len(fleet.steady_w)
        self.of_racks = csr_array((rack_share, (number[rack_at], rack_row)), shape=(n, racks))
        self.of_machines = csr_array(
            (np.ones(len(drawing)), (number[drawing], np.arange(len(drawing)))), shape=(n, len(drawing))
        )
        self.apart_w = np.bincount(number[apart], weights=fleet.apart_w, minlength=n).astype(np.float64)
        self.source, self.target, self.given = number[links.source], number[links.target], links.share
        self.rated_w, curve = self._curves()
        self.curve = (curve[0] * loss_ratio, curve[1] * loss_ratio, curve[2] * loss_ratio)
        self.described = bool(np.isin(self.at[np.unique(self.source)], _positions(site, CHAIN)).any())
        nobody = np.zeros(len(site.ids), dtype=np.bool_)
        self.lose(nobody, nobody)

    def _curves(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        site, n = self.site, len(self.site.ids)
        rated, a, b, c = np.full(n, np.nan), np.zeros(n), np.zeros(n), np.zeros(n)
        found = losses_of(site, self.params)
        rated[found.at] = found.rated_w
        for column, frac in zip((a, b, c), (found.no_load_frac, found.linear_frac, found.square_frac), strict=True):
            column[found.at] = frac * found.loss_ratio
        return rated[self.at], (a[self.at], b[self.at], c[self.at])

    def lose(self, out: Bools, charged: Bools) -> None:
        """Devices at which ``out`` (bool[N]) are gone: shares are divided anew over the feeds that still live. UPSs at which
        ``charged`` (bool[N]) run from their batteries when they have lost their feeds: then ``on_battery``, bool[a]."""
        n = len(self.at)
        dead = out[self.at].copy()
        fed = np.bincount(self.target, minlength=n) > 0
        bridges = fed & charged[self.at]
        fed &= ~bridges
        for _ in range(MAX_DEPTH):
            live = ~dead[self.source]
            reached = np.bincount(self.target[live], minlength=n) > 0
            new = out[self.at] | (fed & ~reached)
            if np.array_equal(new, dead):
                break
            dead = new
        self.on_battery = bridges & ~dead & (np.bincount(self.target[~dead[self.source]], minlength=n) == 0)
        live = ~dead[self.source] & ~dead[self.target]
        left = np.bincount(self.target[live], weights=self.given[live], minlength=n)
        stands_by = live & (left[self.target] <= 0)  # feeds of share 0, once those that carry are gone: they carry all, alike
        given = np.where(stands_by, 1.0, self.given)
        left = np.bincount(self.target[live], weights=given[live], minlength=n)
        share = np.where(live, given / np.maximum(left[self.target], 1e-12), 0.0)
        self.dead, self.share = dead, share
        self.up = csr_array((share, (self.source, self.target)), shape=(n, n))
        self.levels = _levels(self.source[live], self.target[live], n)

    @property
    def links(self) -> Links:
        """The links as they are now, by number within the chain."""
        return Links(self.source.astype(np.int32), self.target.astype(np.int32), self.share)

    def carry(self, rack_w: Floats, machine_w: Floats) -> Power:
        """Sums ``rack_w`` float64[t, racks] and ``machine_w`` float64[m, t] up the chain."""
        own = self.of_racks @ np.ascontiguousarray(rack_w.T) + self.apart_w[:, None]
        dead_w = own[self.dead].sum(0)
        own = own + self.of_machines @ machine_w
        own[self.dead] = 0.0
        into, loss = own.copy(), np.zeros_like(own)
        for rows in self.levels:
            out = own[rows] + self.up[rows] @ into
            lost = self._loss(rows, out)
            loss[rows], into[rows] = lost, out + lost
        return Power(own, into, loss, dead_w)

    def _loss(self, rows: Ints, out: Floats) -> Floats:
        a, b, c = (column[rows][:, None] for column in self.curve)
        rated = self.rated_w[rows][:, None]
        rated = np.where(np.isnan(rated), np.maximum(out, 1.0) / self.params.chain.unrated_load_frac, rated)
        lost: Floats = np.where((a + b + c > 0) & ~self.dead[rows][:, None], loss_w(out, rated, a, b, c), 0.0)
        return lost


def _positions(site: Site, kinds: tuple[str, ...]) -> Ints:
    return np.concatenate([site.of_kind(kind) for kind in kinds])


def _rack_carriers(site: Site, fleet: Fleet, fed: Bools) -> tuple[Ints, Ints, Floats]:
    """(position, row of rack, share of its power): where each rack's power enters the chain."""
    racks = site.of_kind("rack")
    at = carrier(site, racks, fed)
    loose = ~fed[at]  # neither the rack nor anything above it is fed
    nodes = fleet.position[fed[fleet.position]]
    rows = fleet.rack[fed[fleet.position]]
    take = loose[rows]
    nodes, rows = nodes[take], rows[take]
    per = np.bincount(rows, minlength=len(racks))
    whole = np.flatnonzero(~loose | (per == 0))
    return (
        np.concatenate([at[whole], nodes]),
        np.concatenate([whole, rows]).astype(np.int32),
        np.concatenate([np.ones(len(whole)), 1.0 / per[rows]]),
    )


def _levels(source: Any, target: Any, n: int) -> list[Ints]:
    """Rows in an order in which whatever a row feeds comes before it: leaves first."""
    depth = np.zeros(n, dtype=np.int64)
    for _ in range(MAX_DEPTH):
        deeper = np.zeros(n, dtype=np.int64)
        np.maximum.at(deeper, source, depth[target] + 1)
        if np.array_equal(deeper, depth):
            return [np.flatnonzero(depth == level).astype(np.int32) for level in range(int(depth.max(initial=0)) + 1)]
        depth = deeper
    raise ValueError(f"the links are deeper than {MAX_DEPTH} or form a cycle; build the site with twin.load")
