"""Pressures of facility water: the loops with their pumps, pipes and the valves of what they cool, as one network.

Valves of consumers follow their control. What limits them is what the network gives each when all are open at once, with the
pumps that run: solved anew whenever a pump, a loop or a valve changes (``twin.sim.network``).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats
from twin.params import Params
from twin.physics.hydraulics import opening_frac, pressure_drop_pa, pump_head_pa
from twin.sim.circuit import Circuit
from twin.sim.network import Network, solve_network
from twin.site import Bools, Site

OVERSIZED_RATIO = 1.5  # all pumps of a loop together over its design flow: of two, one out leaves three quarters; assumed
_PASSED_FRAC = 0.01  # of the design head, in the pipes of a loop that passes on what others lift; assumed


class Open(NamedTuple):
    """What there is with every valve open, as capacity rates [W/K]: float64[s] of each station, float64[h] of each room,
    float64[l] through each loop. inf where no pump is described that could limit it."""

    station_wpk: Floats
    room_wpk: Floats
    loop_wpk: Floats


class _Ways:
    """Ways of a network while it is put together."""

    def __init__(self) -> None:
        self.tail: list[int] = []
        self.head: list[int] = []
        self.resistance: list[float] = []
        self.gain_pa: list[float] = []
        self.one_way: list[bool] = []

    def add(self, tail: int, head: int, resistance: float, gain_pa: float = 0.0, one_way: bool = False) -> int:
        """Its number."""
        for column, value in zip(
            (self.tail, self.head, self.resistance, self.gain_pa, self.one_way),
            (tail, head, resistance, gain_pa, one_way),
            strict=True,
        ):
            column.append(value)  # type: ignore[attr-defined]
        return len(self.tail) - 1


class Facility:
    """All facility loops of a circuit; ``pumps``: rows of the pumps of each loop."""

    def __init__(self, site: Site, circuit: Circuit, pumps: Sequence[NDArray[np.integer[Any]]], params: Params) -> None:
        self.site, self.c, self.pumps, self.params = site, circuit, pumps, params
        self.wet_rooms = np.flatnonzero(circuit.room_loop >= 0)
        self._known: dict[bytes, Open] = {}

    def open(self, out: Bools, opening: Floats, stuck: Floats) -> Open:
        """``out``: bool[N], what does not run; ``opening``: float64[l], travel of each loop's own valve (1: open); ``stuck``:
        float64[s], travel of stations' valves that are stuck, NaN for those that control. ``ConfigError`` where the pressures
        do not settle."""
        pumps = self.site.of_kind("pump")
        running = [~out[pumps[mine]] if at < 0 or not out[at] else np.zeros(len(mine), dtype=np.bool_)
                   for mine, at in zip(self.pumps, self.c.loop_at.tolist(), strict=True)]  # fmt: skip
        dead = np.array([at >= 0 and bool(out[at]) for at in self.c.loop_at.tolist()], dtype=np.bool_)
        key = b"".join([*(one.tobytes() for one in running), dead.tobytes(), opening.tobytes(), stuck.tobytes()])
        if key not in self._known:
            self._known = {key: self._solved(running, dead, opening, stuck)}
        return self._known[key]

    def _solved(self, running: Sequence[Bools], dead: Bools, opening: Floats, stuck: Floats) -> Open:
        c, p = self.c, self.params.loops
        if not any(len(mine) for mine in self.pumps):
            return self._unlimited(dead, opening)
        design = c.loop_wpk / c.loop_jpkgk
        ways, loops = _Ways(), len(c.loop_at)  # place 0: all returns, held at 0 Pa; then supplies, then behind pumps
        valve = opening_frac(opening, p.rangeability_ratio)
        moved = self._moved()
        through = []
        for i in range(loops):
            parent, own = int(c.loop_parent[i]), len(self.pumps[i]) > 0
            start = source = 0 if parent < 0 else 1 + parent
            if own:
                start = 1 + loops + i
                self._add_pumps(ways, i, source, start, running[i], float(design[i]))
            # who has no pumps passes on what others lift, through pipes that count as theirs; nobody's pumps are not described
            gain = 0.0 if own or moved[i] else p.shutoff_ratio * p.primary_pa
            pipe_pa = p.primary_pa * ((1 - p.branch_frac) if own or gain else _PASSED_FRAC)
            pipe = pressure_drop_pa(1.0, design[i], pipe_pa, 0.0 if dead[i] else valve[i])
            through.append(ways.add(start, 1 + i, float(pipe), gain, one_way=gain > 0))
        first = len(ways.tail)
        self._add_consumers(ways, stuck)
        flow, _ = solve_network(self._network(ways, 1 + 2 * loops), "facility loops")
        flow = np.maximum(flow, 0.0)
        stations = len(c.station_at)
        rooms = np.full(len(c.room_loop), np.inf)
        rooms[self.wet_rooms] = flow[first + stations :] * c.loop_jpkgk[c.room_loop[self.wet_rooms]]
        return Open(flow[first : first + stations] * c.loop_jpkgk[c.station_loop], rooms, flow[through] * c.loop_jpkgk)

    def _moved(self) -> list[bool]:
        """Whether a loop above or below each, or beside it under one above, has pumps that are described."""
        plants = {int(self.c.loop_plant[i]) for i, mine in enumerate(self.pumps) if len(mine)}
        return [int(plant) in plants for plant in self.c.loop_plant.tolist()]

    def _add_pumps(self, ways: _Ways, loop: int, tail: int, head: int, running: Bools, design_kgps: float) -> None:
        """Each pump of a loop by itself, side by side, with its check valve."""
        p, mine = self.params.loops, self.pumps[loop]
        rated = self.site.number("pump", "rated_kgps")[mine]
        each = np.where(rated > 0, rated, OVERSIZED_RATIO * design_kgps / len(mine))
        shutoff = float(pump_head_pa(0.0, 1.0, 1.0, p.primary_pa, p.shutoff_ratio))
        for kgps, runs in zip(each.tolist(), running.tolist(), strict=True):
            curve = shutoff - float(pump_head_pa(1.0, 1.0, kgps, p.primary_pa, p.shutoff_ratio))
            ways.add(tail, head, curve if runs else np.inf, shutoff if runs else 0.0, one_way=True)

    def _add_consumers(self, ways: _Ways, stuck: Floats) -> None:
        """Stations and rooms: with every valve open each takes its design flow at design head (and the only one that is open
        up to ``valve_ratio`` of it, as pipes then take little)."""
        c, p = self.c, self.params.loops
        head_pa = p.primary_pa * p.branch_frac
        open_kgps = c.primary_wpk / c.loop_jpkgk[c.station_loop]
        travel = np.where(np.isnan(stuck), 1.0, opening_frac(np.nan_to_num(stuck), p.rangeability_ratio))
        for s, loop in enumerate(c.station_loop.tolist()):
            ways.add(1 + loop, 0, float(pressure_drop_pa(1.0, open_kgps[s], head_pa, travel[s])))
        for room in self.wet_rooms.tolist():
            loop = int(c.room_loop[room])
            kgps = max(c.room_heat_w[room], 1.0) / self.params.plant.range_k / c.loop_jpkgk[loop]
            ways.add(1 + loop, 0, float(pressure_drop_pa(1.0, kgps, head_pa)))

    def _network(self, ways: _Ways, places: int) -> Network:
        """Places that no way touches are left out of it by holding them."""
        used = np.zeros(places, dtype=np.bool_)
        used[ways.tail], used[ways.head] = True, True
        used[0] = False
        return Network(
            places, np.array(ways.tail, dtype=np.int32), np.array(ways.head, dtype=np.int32), np.array(ways.resistance),
            np.array(ways.gain_pa), np.array(ways.one_way, dtype=np.bool_), np.flatnonzero(~used).astype(np.int32),
        )  # fmt: skip

    def _unlimited(self, dead: Bools, opening: Floats) -> Open:
        """No pump of any loop is described: nothing limits but loops that stand and their valves."""
        c, p = self.c, self.params.loops
        share = np.where(opening < 1, opening_frac(opening, p.rangeability_ratio) * OVERSIZED_RATIO, np.inf)
        share = np.where(dead, 0.0, share)
        for i, parent in enumerate(c.loop_parent.tolist()):  # parents come first
            share[i] = min(share[i], share[parent]) if parent >= 0 else share[i]
        rooms = np.full(len(c.room_loop), np.inf)
        at = c.room_loop[self.wet_rooms]
        rooms[self.wet_rooms] = share[at] * c.room_heat_w[self.wet_rooms] / self.params.plant.range_k
        return Open(share[c.station_loop] * c.primary_wpk, rooms, share * c.loop_wpk)
