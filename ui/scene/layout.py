"""Where everything stands: the positions that a site's tables give, and sensible ones for what they leave out.

``x_m``, ``y_m`` are the middle of an asset's footprint, ``z_m`` its underside. What has no position stands where one would look
for it: racks in lines of their row, nodes by their rack unit, GPUs side by side in their node, units in a strip west of their
hall's racks, plant in a yard north of the halls. Halls and rows are as large as what stands in them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from twin.frame import Bytes, Floats, Ints
from twin.kinds import KINDS
from twin.site import Bools, Site
from ui.scene.sizes import (
    HALL_GAP_M,
    IN_RACK,
    LOOKS,
    PLINTH_M,
    RACK_PITCH_M,
    RACK_U,
    RACKS_PER_LINE,
    ROW_PITCH_M,
    U_M,
    Level,
    Look,
)

NOT_DRAWN = 255
_STRIP_M, _UNIT_M, _YARD_M = 3.6, 1.8, 8.0  # west strip from the racks, step along it, step in the yard


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """For each of a site's N assets: ``foot`` float64[N, 3] (m; middle of the footprint, underside), ``size`` float64[N, 3]
    (m), ``level`` uint8[N] (``NOT_DRAWN``: has none), ``hall`` int32[N] (row of the hall that holds it; the count of halls
    where none does), ``turned`` bool[N]: stands with its width along y."""

    foot: Floats
    size: Floats
    level: Bytes
    hall: Ints
    turned: Bools


def places(site: Site) -> Places:
    """Places for all that can be drawn; finite for each asset whose level is not ``NOT_DRAWN``."""
    made = _Layout(site)
    made.outlines()
    made.racks_in_halls()
    made.units()
    made.pumps()
    made.in_racks()
    made.gpus()
    made.plates()
    made.foot[:, 2] = np.where(np.isnan(made.foot[:, 2]), 0.0, made.foot[:, 2])
    return Places(made.foot, made.size, made.level, made.hall, made.turned)


class _Layout:
    """The arrays while they fill."""

    def __init__(self, site: Site) -> None:
        self.site, n = site, len(site.ids)
        nothing = np.full(n, np.nan)
        self.foot = np.column_stack([site.numbers.get(name, nothing) for name in ("x_m", "y_m", "z_m")])
        self.size, self.level = np.zeros((n, 3)), np.full(n, NOT_DRAWN, dtype=np.uint8)
        self.turned = np.zeros(n, dtype=np.bool_)
        self.hall, self.rack = (self._holder(kind) for kind in ("hall", "rack"))
        self.halls = site.count("hall")
        self.hall = np.where(self.hall < 0, self.halls, self.hall).astype(np.int32)

    def _holder(self, container: str) -> Ints:
        """int32[N]: row of the ``container`` that holds each asset (or that it is), -1 where none does."""
        found = np.full(len(self.site.ids), -1, dtype=np.int32)
        for kind in KINDS:
            if self.site.count(kind):
                found[self.site.of_kind(kind)] = self.site.within(kind, container)
        return found

    def outlines(self) -> None:
        """Sizes and levels; those of what stands in a rack are smaller."""
        for kind, look in LOOKS.items():
            mine = self.site.of_kind(kind)
            self._look(mine, look)
            if kind in IN_RACK:
                self._look(mine[self.rack[mine] >= 0], IN_RACK[kind])
        units = self.site.numbers.get("height_u", np.full(len(self.site.ids), np.nan))
        racks, nodes = self.site.of_kind("rack"), self.site.of_kind("node")
        inside = np.flatnonzero((self.level == Level.NODE) & ~np.isnan(units))
        tall = np.where(np.isnan(units[racks]), RACK_U, units[racks])
        self.size[racks, 2] = tall * U_M + PLINTH_M
        cdus = self.site.of_kind("cdu")
        cdus = cdus[(self.level[cdus] == Level.RACK) & ~np.isnan(units[cdus])]
        self.size[cdus, 2] = units[cdus] * U_M
        self.size[inside, 2] = units[inside] * U_M * 0.96
        storage = self.site.of_kind("storage")
        self.level[storage[np.isin(self.site.parent[storage], nodes)]] = NOT_DRAWN  # a file system of a server is no box
        loose = nodes[self.rack[nodes] < 0]
        self.level[loose[np.isnan(self.foot[loose, 0])]] = NOT_DRAWN

    def _look(self, where: Ints, look: Look) -> None:
        self.level[where] = look.level
        self.size[where] = look.wide_m, look.deep_m, look.high_m

    def _open(self, where: Ints) -> Ints:
        """Those of ``where`` that are drawn and have no place."""
        lost: Ints = where[(self.level[where] != NOT_DRAWN) & np.isnan(self.foot[where, :2]).any(1)]
        return lost

    def racks_in_halls(self) -> None:
        """Lines of racks where none are given; halls beside each other."""
        racks, halls = self.site.of_kind("rack"), self.site.of_kind("hall")
        at = self.foot[halls] if len(halls) else np.zeros((0, 3))
        unplaced = []
        for hall in range(self.halls + 1):
            mine = racks[self.hall[racks] == hall]
            known = mine[~np.isnan(self.foot[mine, :2]).any(1)]
            self._shape(known)
            todo = self._open(mine)
            given = hall < self.halls and not np.isnan(at[hall, :2]).any()
            if len(todo) and (given or len(known)):
                corner = at[hall, :2] + (6.0, 0.0) if given else self.foot[known, :2].min(0)
                north_m = self.foot[known, 1].max() + ROW_PITCH_M if len(known) else corner[1]
                self._lines(todo, float(corner[0]), float(north_m))
            elif len(todo):
                unplaced.append(todo)
            elif hall < self.halls and not len(mine) and not given:
                unplaced.append(halls[hall : hall + 1])
        self._side_by_side(unplaced)

    def _side_by_side(self, groups: list[Ints]) -> None:
        """Groups of racks (a hall each) in a grid east of all that has a place; a hall without racks keeps a room free."""
        east_m = np.nanmax(self.foot[:, 0], initial=-HALL_GAP_M) + HALL_GAP_M + 6.0 if groups else 0.0
        columns = int(np.ceil(np.sqrt(len(groups)))) if groups else 1
        for group in groups:
            self._lines(group, 0.0, 0.0)
        spans = np.array([np.ptp(self.foot[group, :2], axis=0) for group in groups]) if groups else np.zeros((0, 2))
        step = spans.max(0) + np.array([HALL_GAP_M + 12.0, HALL_GAP_M + 4.0]) if len(spans) else np.zeros(2)
        for i, group in enumerate(groups):
            self.foot[group, 0] += east_m + (i % columns) * step[0]
            self.foot[group, 1] += (i // columns) * step[1]
            if self.site.kind_of[group[0]] == list(KINDS).index("hall"):
                self.foot[group, 2] = 0.0

    def _lines(self, racks: Ints, west_m: float, south_m: float) -> None:
        """Racks without a place, in lines of their rows; those of no row in lines of ``RACKS_PER_LINE``."""
        rows = self.site.of_kind("row")
        parent = self.site.parent[racks]
        line = np.where(np.isin(parent, rows), parent, -1)
        at_m = south_m
        for one in np.unique(line):
            mine = racks[line == one]
            for start in range(0, len(mine), RACKS_PER_LINE):
                part = mine[start : start + RACKS_PER_LINE]
                self.foot[part, 0] = west_m + RACK_PITCH_M * np.arange(len(part))
                self.foot[part, 1] = at_m
                at_m += ROW_PITCH_M

    def _shape(self, racks: Ints) -> None:
        """How racks with given places stand: their pitch gives the width, the axis of their neighbours the direction."""
        if len(racks) < 2:
            return
        at = self.foot[racks, :2]
        far_m, near = cKDTree(at).query(at, k=2)
        pitch_m = float(np.median(far_m[:, 1]))
        if pitch_m < 0.05:
            return  # all in one spot: nothing to learn
        step = np.abs(at - at[near[:, 1]])
        self.turned[racks] = np.median(step[:, 1]) > np.median(step[:, 0])
        self.size[racks, 0] = min(0.8, 0.96 * pitch_m)

    def units(self) -> None:
        """What stands on floors and has no place: in a strip west of its hall's racks, or in the yard."""
        racks = self.site.of_kind("rack")
        stand = np.flatnonzero(np.isin(self.level, (Level.RACK, Level.HIDDEN))).astype(np.int32)
        stand = stand[~np.isin(stand, self.site.of_kind("pump"))]
        todo = self._open(stand)
        for hall in np.unique(self.hall[todo[self.hall[todo] < self.halls]]):
            mine = todo[self.hall[todo] == hall]
            near = racks[self.hall[racks] == hall]
            base = self.site.of_kind("hall")[hall]
            corner = self.foot[near, :2].min(0) if len(near) else self.foot[base, :2] + (_STRIP_M, 0.0)
            along = np.arange(len(mine))
            self.foot[mine, 0] = corner[0] - _STRIP_M - 2.0 * (along % 2)
            self.foot[mine, 1] = corner[1] + _UNIT_M * (along // 2)
        yard = todo[self.hall[todo] == self.halls]
        if len(yard):
            known = self.foot[~np.isnan(self.foot[:, :2]).any(1)]
            north_m = known[:, 1].max() + _YARD_M if len(known) else 0.0
            west_m = known[:, 0].min() if len(known) else 0.0
            order = yard[np.argsort(self.site.kind_of[yard], kind="stable")]
            _, line = np.unique(self.site.kind_of[order], return_inverse=True)
            place = np.arange(len(order)) - np.searchsorted(line, line)
            self.foot[order, 0] = west_m + _YARD_M * place
            self.foot[order, 1] = north_m + _YARD_M * line

    def pumps(self) -> None:
        """Pumps and valves beside what they belong to."""
        parts = np.concatenate([self.site.of_kind(kind) for kind in ("pump", "valve")])
        todo = self._open(parts)
        parent = self.site.parent[todo]
        first = np.searchsorted(np.sort(parent), np.sort(parent))
        nth = np.empty(len(todo))
        nth[np.argsort(parent, kind="stable")] = np.arange(len(todo)) - first
        unit = np.isin(parent, self.site.of_kind("cdu"))
        inside = todo[unit]
        self.level[inside] = Level.NODE
        self.size[inside] = 0.3, 0.4, 0.4
        base = self.foot[np.maximum(parent, 0)]
        lone = np.isnan(base[:, :2]).any(1) | (parent < 0)
        base[lone] = np.nanmin(np.vstack([self.foot, np.zeros(3)]), axis=0)
        self.foot[todo, :2] = base[:, :2] + np.column_stack(
            [np.where(unit, 0.34 * nth - 0.17, 1.0 + nth), np.where(unit, 0.0, -1.2)]
        )
        self.foot[inside, 2] = base[unit, 2] + 0.15
        self.foot[todo[~unit], 2] = 0.0

    def in_racks(self) -> None:
        """Nodes, switches and strips in their racks: by rack unit where given, else from below."""
        racks = self.site.of_kind("rack")
        inside = np.flatnonzero((self.level == Level.NODE) & (self.rack >= 0))
        inside = inside[np.isnan(self.foot[inside]).any(1)]
        if not len(inside):
            return
        rack = racks[self.rack[inside]]
        base, turned = self.foot[rack], self.turned[rack]
        self.turned[inside] = turned
        is_pdu = np.isin(inside, self.site.of_kind("pdu"))
        side, back = self._nth(inside, is_pdu)
        off = np.zeros((len(inside), 2))
        off[is_pdu] = np.column_stack([np.where(side % 2, 0.26, -0.26)[is_pdu], (0.5 - 0.08 * (side // 2))[is_pdu]])
        off = np.where(turned[:, None], off[:, ::-1], off)
        missing = np.isnan(self.foot[inside, :2]).any(1)
        self.foot[inside[missing], :2] = (base[:, :2] + off)[missing]
        u = self.site.numbers.get("u", np.full(len(self.site.ids), np.nan))[inside]
        room_m = self.size[rack, 2] - 2 * PLINTH_M
        step_m = np.minimum(room_m / np.maximum(back, 1), 5 * U_M)
        low_m = np.where(np.isnan(u), PLINTH_M + side * step_m, (u - 1) * U_M)
        low_m = np.where(is_pdu, 0.25, low_m)
        stacked = np.isnan(u) & ~is_pdu
        self.size[inside[stacked], 2] = np.minimum(self.size[inside[stacked], 2], 0.94 * step_m[stacked])
        flat = np.isnan(self.foot[inside, 2])
        self.foot[inside[flat], 2] = (base[:, 2] + low_m)[flat]
        self.level[rack[np.isnan(base[:, 0])]] = NOT_DRAWN

    def _nth(self, inside: Ints, is_pdu: Bools) -> tuple[Ints, Ints]:
        """For each thing in a rack: which of its sort (strips apart) it is there, and how many of them there are."""
        key = self.rack[inside].astype(np.int64) * 2 + is_pdu
        order = np.argsort(key, kind="stable")
        _, back, counts = np.unique(key, return_inverse=True, return_counts=True)
        nth = np.empty(len(inside), dtype=np.int32)
        nth[order] = np.arange(len(inside)) - np.searchsorted(key[order], key[order])
        return nth, counts[back].astype(np.int32)

    def gpus(self) -> None:
        """GPUs in their nodes, four side by side."""
        gpus = self.site.of_kind("gpu")
        node = self.site.parent[gpus]
        drawn = (node >= 0) & (self.level[np.maximum(node, 0)] != NOT_DRAWN)
        self.level[gpus[~drawn]] = NOT_DRAWN
        gpus, node = gpus[drawn], node[drawn]
        self.turned[gpus] = self.turned[node]
        self.size[gpus, 2] = 0.6 * self.size[node, 2]
        order = np.argsort(node, kind="stable")
        nth = np.empty(len(gpus))
        nth[order] = np.arange(len(gpus)) - np.searchsorted(node[order], node[order])
        lines = np.ceil(np.bincount(node, minlength=len(self.site.ids))[node] / 4)
        deep_m = np.minimum(0.35, 0.8 / np.maximum(lines, 1))
        self.size[gpus, 1] = 0.78 * deep_m
        off = np.column_stack([(nth % 4 - 1.5) * 0.12, (nth // 4 - (lines - 1) / 2) * deep_m])
        off = np.where(self.turned[gpus][:, None], off[:, ::-1], off)
        missing = np.isnan(self.foot[gpus, :2]).any(1)
        self.foot[gpus[missing], :2] = (self.foot[node, :2] + off)[missing]
        low_m = np.where(np.isnan(self.foot[gpus, 2]), self.foot[node, 2], self.foot[gpus, 2])
        self.foot[gpus, 2] = low_m + 0.2 * self.size[node, 2]

    def plates(self) -> None:
        """Halls and rows under what stands in them; rows and halls that hold nothing are not drawn, or are a bare room."""
        stands = np.flatnonzero(self.level == Level.RACK)
        for kind, margin_m in (("row", 0.3), ("hall", 1.6)):
            holders = self.site.of_kind(kind)
            inside = self._holder(kind)[stands]
            mine, row = stands[inside >= 0], inside[inside >= 0]
            low, high = np.full((len(holders), 2), np.inf), np.full((len(holders), 2), -np.inf)
            half = np.where(self.turned[mine][:, None], self.size[mine, 1::-1], self.size[mine, :2]) / 2
            np.minimum.at(low, row, self.foot[mine, :2] - half)
            np.maximum.at(high, row, self.foot[mine, :2] + half)
            held = np.isfinite(low[:, 0])
            some = holders[held]
            self.foot[some, :2] = (low[held] + high[held]) / 2
            self.foot[some, 2] = -0.06 if kind == "hall" else -0.02
            self.size[some, :2] = high[held] - low[held] + 2 * margin_m
            empty = holders[~held]
            if kind == "row":
                self.level[empty] = NOT_DRAWN
            else:
                self.size[empty, :2] = 6.0, 6.0
                self.foot[empty] = np.where(np.isnan(self.foot[empty]), 0.0, self.foot[empty])
        self.level[np.isnan(self.foot[:, :2]).any(1)] = NOT_DRAWN
