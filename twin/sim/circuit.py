"""The cooling of a site as columns, compiled from its graph: branches, stations, loops, rooms and plants.

A *branch* is a rack on a station; a *station* is a CDU (or a loop that cools racks directly); a *loop* is facility water, in a
tree whose root is a *plant* with what gives heat to the air outside. Nothing here says how many there are of anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.coolants import USUAL, heat_jpkgk
from twin.cooling import rack_liquid_frac
from twin.errors import Problem, SiteError
from twin.flow import carrier, is_target
from twin.frame import Floats, Ints
from twin.params import Params
from twin.physics.cdu import effectiveness_frac
from twin.site import Bools, Site

REJECTORS = ("chiller", "tower", "drycooler", "heatreuse")
SECONDARY_C, PRIMARY_C = 35.0, 25.0  # at which the coolants' heat is taken; it moves by 0.3 % over 10 K


@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    """All arrays. Branches (b): ``rack`` (row), ``station``, ``share`` of the rack's liquid, ``liquid_frac``, ``branch_wpk``
    (design capacity rate), in order of stations. Stations (s): ``station_at`` (global position of its CDU or loop),
    ``station_loop``, ``station_wpk``, ``primary_wpk``, ``station_heat_w``. Loops (l): ``loop_at`` (-1: not described),
    ``loop_parent`` (-1: a root), ``loop_plant``, ``loop_wpk``, in order from the roots. Rooms (h): halls, ``room_loop`` (-1:
    nothing takes its air's heat), ``room_heat_w``, ``room_crah`` (how many air handlers). Plants (p): ``plant_loop``,
    ``plant_heat_w``, ``goal_c`` and ``machines``: kind -> per plant the global positions (``pump``: of condensers).
    ``assumed``: sentences about what the graph leaves open. ``station_jpkgk``, ``loop_jpkgk``: specific heat of what flows in
    stations' secondary sides and in loops.
    """

    rack: Ints
    station: Ints
    share: Floats
    liquid_frac: Floats
    branch_wpk: Floats
    station_at: Ints
    station_loop: Ints
    station_heat_w: Floats
    station_wpk: Floats
    primary_wpk: Floats
    loop_at: Ints
    loop_parent: Ints
    loop_plant: Ints
    loop_wpk: Floats
    rack_room: Ints
    room_loop: Ints
    room_heat_w: Floats
    room_crah: Ints
    plant_loop: Ints
    plant_heat_w: Floats
    goal_c: Floats
    machines: dict[str, list[Ints]]
    assumed: Sequence[str]
    station_jpkgk: Floats
    loop_jpkgk: Floats

    @property
    def branch_kgps(self) -> Floats:
        """float64[b]: design flow of each branch [kg/s]."""
        return self.branch_wpk / self.station_jpkgk[self.station]

    @property
    def station_kgps(self) -> Floats:
        """float64[s]: design flow of each station's secondary side [kg/s]."""
        return self.station_wpk / self.station_jpkgk

    @property
    def described(self) -> Bools:
        """bool[p]: plants that have something which gives heat to the air outside (or to somebody who wants it)."""
        return np.array([any(len(self.machines[kind][p]) for kind in REJECTORS) for p in range(len(self.plant_loop))])


def circuit_of(site: Site, full_w: Floats, params: Params) -> Circuit:
    """The circuit of ``site`` whose racks draw ``full_w`` [W] at most. ``SiteError`` with every loop that has no pump."""
    return _Compiler(site, full_w, params).circuit()


class _Compiler:
    def __init__(self, site: Site, full_w: Floats, params: Params) -> None:
        self.site, self.full_w, self.params = site, full_w, params
        self.cools = site.links["cools"]
        self.above: dict[int, list[tuple[int, float]]] = {}
        for source, target, share in zip(self.cools.source, self.cools.target, self.cools.share, strict=True):
            self.above.setdefault(int(target), []).append((int(source), float(share)))
        self.assumed: list[str] = []
        self.loops: list[int] = []  # global positions; -1 for the one that is not described

    def kind(self, at: int) -> str:
        return self.site.kind(self.site.ids[at])

    def _heat_jpkgk(self, at: int) -> float:
        """Specific heat of what flows in the CDU or loop at ``at`` (-1: facility water from elsewhere)."""
        kind = self.kind(at) if at >= 0 else "loop"
        named = self.site.texts["coolant"][at] if at >= 0 and "coolant" in self.site.texts else ""
        return float(heat_jpkgk(named or USUAL[kind], np.array(SECONDARY_C if kind == "cdu" else PRIMARY_C)))

    def circuit(self) -> Circuit:
        site, p = self.site, self.params
        branches = self._branches()
        stations = sorted({b[1] for b in branches}, key=lambda at: at)
        index = {at: i for i, at in enumerate(stations)}
        branches.sort(key=lambda b: (index[b[1]], b[0]))
        rack = np.array([b[0] for b in branches], dtype=np.int32)
        station = np.array([index[b[1]] for b in branches], dtype=np.int32)
        share = np.array([b[2] for b in branches])
        liquid = rack_liquid_frac(site, p)
        heat = self.full_w[rack] * liquid[rack] * share
        branch_wpk = np.maximum(heat, 1.0) / p.plant.range_k
        station_jpkgk = np.array([self._heat_jpkgk(at) for at in stations])
        rated = site.number("rack", "rated_kgps")[rack] * station_jpkgk[station] * share
        branch_wpk = np.where(rated > 0, rated, branch_wpk)
        n = len(stations)
        station_heat = np.bincount(station, weights=heat, minlength=n).astype(np.float64, copy=False)
        station_wpk = np.bincount(station, weights=branch_wpk, minlength=n).astype(np.float64, copy=False)
        loop_of = [self._loop_of(at) for at in stations]
        rooms, rack_room, room_loop, room_crah = self._rooms(loop_of[0] if loop_of else None)
        wet = np.zeros(len(self.full_w))
        np.add.at(wet, rack, liquid[rack] * share)
        air = np.bincount(rack_room, weights=self.full_w * (1 - wet), minlength=rooms).astype(np.float64)
        parent, plant, roots = self._tree()
        loop = np.array(loop_of, dtype=np.int32)
        primary_wpk = np.maximum(station_heat, 1.0) / p.plant.range_k
        count = len(self.loops)
        flow = np.bincount(loop, weights=primary_wpk, minlength=count).astype(np.float64)
        take = room_loop >= 0
        flow += np.bincount(room_loop[take], weights=air[take] / p.plant.range_k, minlength=count)
        load = np.bincount(loop, weights=station_heat, minlength=count).astype(np.float64)
        load += np.bincount(room_loop[take], weights=air[take], minlength=count)
        for i in range(count - 1, -1, -1):
            if parent[i] >= 0:
                flow[parent[i]] += flow[i]
                load[parent[i]] += load[i]
        self._check_pumps(parent, flow)
        machines = self._machines(roots)
        cold = self._cold_c(station_heat, station_wpk, primary_wpk)
        goals = self._goals(cold, plant[loop], plant, room_loop, room_crah, len(roots))
        return Circuit(
            rack, station, share, liquid[rack], branch_wpk, np.array(stations, dtype=np.int32), loop, station_heat, station_wpk,
            primary_wpk, np.array(self.loops, dtype=np.int32), parent, plant, np.maximum(flow, 1e-6), rack_room, room_loop, air,
            room_crah, np.array(roots, dtype=np.int32), np.maximum(load[roots], 1.0), goals, machines,
            tuple(dict.fromkeys(self.assumed)), station_jpkgk, np.array([self._heat_jpkgk(at) for at in self.loops]),
        )  # fmt: skip

    def _branches(self) -> list[tuple[int, int, float]]:
        """(row of the rack, position of the CDU or loop that cools it, share): the nearest at or above the rack."""
        site = self.site
        racks = site.of_kind("rack")
        at = carrier(site, racks, is_target(site, "cools"))
        found = []
        for row, here in enumerate(at.tolist()):
            wet = [(s, share) for s, share in self.above.get(here, ()) if self.kind(s) in ("cdu", "loop")]
            if self.full_w[row] > 0:
                found += [(row, s, share) for s, share in wet if share > 0]
        return found

    def _number_of(self, at: int) -> int:
        """Index of the loop at a position, added where it is new (after those above it)."""
        if at not in self.loops:
            if at >= 0:
                for s, _ in self.above.get(at, ()):
                    if self.kind(s) == "loop":
                        self._number_of(s)
            self.loops.append(at)
        return self.loops.index(at)

    def _loop_of(self, at: int) -> int:
        if self.kind(at) == "loop":
            return self._number_of(at)
        feeding = sorted((s for s in self.above.get(at, ()) if self.kind(s[0]) == "loop"), key=lambda s: -s[1])
        if len(feeding) > 1:
            self.assumed.append(
                f"{self.site.ids[at]} has several loops; all of its heat goes to {self.site.ids[feeding[0][0]]}"
            )
        if not feeding:
            self.assumed.append(f"no loop cools {self.site.ids[at]}: facility water of a fixed temperature is assumed")
        return self._number_of(feeding[0][0] if feeding else -1)

    def _rooms(self, fallback: int | None) -> tuple[int, Ints, Ints, Ints]:
        site = self.site
        halls = site.of_kind("hall")
        rack_room = site.within("rack", "hall")
        loop = np.full(len(halls), -1, dtype=np.int32)
        crahs = np.zeros(len(halls), dtype=np.int32)
        for at, room in zip(site.of_kind("crah").tolist(), site.within("crah", "hall").tolist(), strict=True):
            if room < 0:
                self.assumed.append(f"{site.ids[at]} stands in no hall and is left out; give it the hall whose air it cools")
                continue
            loop[room] = self._loop_of(at)
            crahs[room] += 1
        open_ = [row for row in range(len(halls)) if loop[row] < 0]
        for row in open_:
            feeding = [s for s, _ in self.above.get(int(halls[row]), ()) if self.kind(s) in ("loop", "cdu")]
            if feeding:
                loop[row] = self._loop_of(feeding[0])
            elif fallback is not None:
                loop[row] = fallback
        if (loop[open_] >= 0).any():
            self.assumed.append(
                "halls without air handlers (crah) give their air's heat to the facility water; no air temperature"
            )
        return len(halls), rack_room, loop, crahs

    def _tree(self) -> tuple[Ints, Ints, list[int]]:
        parent = np.full(len(self.loops), -1, dtype=np.int32)
        for i, at in enumerate(self.loops):
            feeding = [s for s, _ in self.above.get(at, ()) if self.kind(s) == "loop"]
            if feeding:
                parent[i] = self.loops.index(feeding[0])
        roots = [i for i in range(len(self.loops)) if parent[i] < 0]
        plant = np.full(len(self.loops), -1, dtype=np.int32)
        for i in range(len(self.loops)):  # parents come first
            plant[i] = roots.index(i) if parent[i] < 0 else plant[parent[i]]
        return parent, plant, roots

    def _check_pumps(self, parent: Ints, flow: Floats) -> None:
        """A loop that carries heat needs a pump in it, in a loop above or below it, or a rated one in the site."""
        site = self.site
        homes = set(site.parent[site.of_kind("pump")].tolist())
        plain = any(self.kind(home) in ("site", "hall") for home in homes)
        has = [at < 0 or plain or at in homes for at in self.loops]
        above: list[set[int]] = []  # each loop and those that feed it; parents come first
        for i, up in enumerate(parent.tolist()):
            above.append({i} | (above[up] if up >= 0 else set()))
        problems = []
        for i, at in enumerate(self.loops):
            if flow[i] > 0 and not any(pumped and (j in above[i] or i in above[j]) for j, pumped in enumerate(has)):
                problems.append(Problem(site.ids[at], "a loop without a pump cannot carry heat; add a pump with it as parent"))
        if problems:
            raise SiteError(problems)

    def _machines(self, roots: list[int]) -> dict[str, list[Ints]]:
        """What cools each root loop, directly or through a chiller and its condenser's loop, whose pumps are ``pump``."""
        site = self.site
        found: dict[str, list[Ints]] = {kind: [] for kind in (*REJECTORS, "pump")}
        for root in roots:
            seen: set[int] = set()
            todo = [self.loops[root]]
            while todo:
                for s, _ in self.above.get(todo.pop(), ()):
                    if s not in seen and self.kind(s) in (*REJECTORS, "loop"):  # above a root no loop but those of condensers
                        seen.add(s)
                        todo.append(s)
            pumps = site.of_kind("pump")
            seen |= set(pumps[np.isin(site.parent[pumps], list(seen))].tolist())
            for kind, each in found.items():
                each.append(np.array(sorted(s for s in seen if self.kind(s) == kind), dtype=np.int32))
        return found

    def _cold_c(self, heat_w: Floats, secondary_wpk: Floats, primary_wpk: Floats) -> Floats:
        """float64[s]: facility water that each CDU needs to hold its supply at design heat and flows [°C].

        Q = e·C_s·(supply + Q/C_s - cold), e the exchanger's effectiveness on the secondary stream (Incropera, table 11.3).
        """
        p = self.params.plant
        least, most = np.minimum(primary_wpk, secondary_wpk), np.maximum(primary_wpk, secondary_wpk)
        reach = effectiveness_frac(p.cdu_ntu * primary_wpk / least, least / most) * least / secondary_wpk
        rise = heat_w / secondary_wpk
        return np.asarray(p.supply_c + rise - rise / reach)

    def _goals(self, cold_c: Floats, home: Ints, plant: Ints, room_loop: Ints, crahs: Ints, plants: int) -> Floats:
        """Supply temperature that each plant holds [°C]: what its most demanding CDU needs, colder where air handlers ask."""
        goal = np.full(plants, np.inf)
        np.minimum.at(goal, home, cold_c)
        for room in np.flatnonzero(crahs > 0).tolist():
            at = plant[room_loop[room]]
            goal[at] = min(goal[at], self.params.plant.chilled_c)
        return np.where(np.isfinite(goal), goal, self.params.plant.chilled_c)
