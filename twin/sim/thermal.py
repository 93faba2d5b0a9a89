"""The water, stepped: racks, CDUs, rooms, loops and plants, with what they hold and how long it takes on its way.

Every body is well mixed; pipes delay as their content does (transport delay is held mass over flow). The ring of each CDU is
solved implicitly in closed form and facility water from root to leaf and back, so that any step up to ``STEP_S`` is stable and
energy is conserved to rounding: what goes in, less what plants reject, is what the bodies gained.
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from twin.frame import Floats
from twin.params import Params
from twin.physics.crah import coil_heat_w, needed_air_frac
from twin.physics.node import leaking_power_w
from twin.sim.circuit import Circuit
from twin.sim.exchange import TINY, Curves
from twin.sim.record import Fixed, Record, empty_record
from twin.sim.reject import Air, Plant
from twin.sim.setting import Setting
from twin.site import Bools

STEP_S = 60.0  # longest step of the water; longer ones are divided
_LEAST_FLOW = 0.05  # of a loop's design flow that goes round in any case, through bypasses
_LEAST_AIR_FRAC = 0.2  # of an air handler's fans
_STILL_K, _SETTLE = 1e-5, 16


class Water:
    """The state of all water of a circuit, stepped by ``advance``. ``pump_w``: power of each station's pumps at any speed and
    what full speed adds; ``fan_w``: rated power of each room's fans, as they heat what they move; ``loop_pump_w``: of each
    loop's pumps at design flow."""

    def __init__(
        self, circuit: Circuit, params: Params, pump_w: tuple[Floats, Floats], fan_w: Floats, loop_pump_w: Floats, plant: Plant
    ) -> None:
        c, p = circuit, params.loops
        self.c, self.params, self.plant = circuit, params, plant
        self.pump_w, self.fan_w, self.loop_pump_w = pump_w, fan_w, loop_pump_w
        self.branch_jpk = (p.rack_s + p.metal_s) * c.branch_wpk
        self.return_jpk, self.supply_jpk = p.return_s * c.station_wpk, p.supply_s * c.station_wpk
        self.leg_jpk = p.leg_s * c.loop_wpk
        self.buffer_jpk = p.buffer_s * c.loop_wpk[c.plant_loop]
        self.room_jpk = np.maximum(c.room_heat_w, 1.0) / p.air_rise_k * p.air_s
        self.stations, self.loops = len(c.station_at), len(c.loop_at)
        self.rooms, self.racks = len(c.room_loop), len(c.rack_room)
        self.cooled_room, self.room_taken = c.room_crah > 0, (c.room_loop >= 0) * 1.0
        self.any_cooled, self.room_design_w = bool(self.cooled_room.any()), np.maximum(c.room_heat_w, 1.0)
        self.room_of, self.room_at = np.flatnonzero(c.room_loop >= 0), c.room_loop[c.room_loop >= 0]
        self.levels = _levels(circuit)
        self.rack_share = np.bincount(c.rack, weights=c.share * c.liquid_frac, minlength=self.racks).astype(np.float64)
        self.on = np.ones(len(c.rack))
        self.idle_rise_k = np.zeros(len(c.rack))
        self.tripped = False  # in this step
        self.trips: list[tuple[float, int]] = []  # (time since 1970, row of the rack)
        goal = c.goal_c
        water_c = goal[c.loop_plant[np.maximum(c.room_loop, 0)]] if self.loops else np.zeros(self.rooms)
        self.room_most_wpk = p.valve_ratio * self.room_design_w / params.plant.range_k  # with the valves of coils open
        self.coil_wpk = p.coil_ratio * np.maximum(c.room_heat_w, 1.0) / np.maximum(p.room_c - water_c, 4.0)
        self.room_c = np.full(self.rooms, p.room_c)
        self.loop_return_c = np.full(self.loops, 30.0)
        self.loop_supply_c = goal[c.loop_plant] if self.loops else np.empty(0)
        self.buffer_c = goal.copy()
        self.supply_c = np.full(self.stations, params.plant.supply_c)
        self.return_c, self.branch_c = self.supply_c + 5.0, np.full(len(c.rack), params.plant.supply_c + 5.0)
        self.reach = np.full(self.stations, 0.5)  # where the valves of CDUs stand, as what they would let through
        self.passing = self.reach  # what they do let through, where the loop has less
        self.chilled_w = np.zeros(len(goal))
        self.setting: Setting | None = None

    def begin(self, setting: Setting, liquid_w: Floats) -> None:
        """Take over a setting; at the first, every body at the temperature at which ``liquid_w`` [b] passes steadily."""
        first, self.setting = self.setting is None, setting
        c = self.c
        self.flow_wpk = np.bincount(c.station, weights=setting.branch_wpk, minlength=self.stations).astype(np.float64)
        self.curves = Curves(c, setting, self.params, self.flow_wpk)
        self.any_stuck = bool((~np.isnan(setting.stuck_frac)).any())
        self.limit_wpk = setting.open.loop_wpk
        self.spun_w = (self.pump_w[0] + self.pump_w[1] * setting.speed_frac**3) * setting.running_frac
        self.reference_c = self.params.plant.supply_c + self.params.plant.range_k * 0.8  # leakage counts from here
        if first:
            moving = np.maximum(self.flow_wpk, TINY)
            self.supply_c = setting.setpoint_c.copy()
            self.branch_c = self.supply_c[c.station] + liquid_w / np.maximum(setting.branch_wpk, TINY)
            heat = np.bincount(c.station, weights=liquid_w, minlength=self.stations)
            self.return_c = self.supply_c + heat / moving
            self.buffer_c = setting.goal_c.copy()
            self.loop_supply_c = setting.goal_c[c.loop_plant] if self.loops else self.loop_supply_c
            self.loop_return_c = self.loop_supply_c + self.params.plant.range_k * 0.8

    def stored_j(self) -> float:
        """Heat in all bodies above 0 °C [J]."""
        held = [(self.branch_jpk, self.branch_c), (self.return_jpk, self.return_c), (self.supply_jpk, self.supply_c)]
        held += [(self.leg_jpk, self.loop_return_c), (self.leg_jpk, self.loop_supply_c), (self.buffer_jpk, self.buffer_c)]
        air = float(self.room_jpk[self.cooled_room] @ self.room_c[self.cooled_room])
        return float(sum(float(capacity @ temp) for capacity, temp in held)) + air

    def advance(self, rack_w: Floats, air: Air, start_s: float, step_s: float) -> Record:
        """Step through a chunk: ``rack_w`` float64[t, racks] and ``air`` over the same steps of ``step_s``, from
        ``start_s``."""
        if self.setting is None:
            raise ValueError("water without a setting; call begin first")
        c, steps = self.c, len(rack_w)
        self.plant.prepare(air, self.setting)
        liquid = rack_w[:, c.rack] * (c.share * c.liquid_frac)
        dry = rack_w * (1 - self.rack_share)
        room = self._room_sums(dry) + self.plant.apart_room_w
        lean = dry[:, c.rack] * c.share
        rise = self.plant.chip_rise_k(rack_w, self.setting)
        self.idle_rise_k = self.plant.idle_rise_k(self.setting)
        moving = self.plant.moving_frac(rack_w)
        record = empty_record(steps, len(c.rack), self.stations, self.rooms, self.loops, len(c.plant_loop))
        divided = self._divided(step_s)
        fixed = self._fixed(step_s / divided)
        before_j = self.stored_j()
        for t in range(steps):
            for _ in range(divided):
                self._step(t, liquid[t], room[t], lean[t], (rise[t], moving[t]), fixed, record, 1.0 / divided)
            record.branch_c[t], record.supply_c[t], record.return_c[t] = self.branch_c, self.supply_c, self.return_c
            record.room_c[t], record.loop_c[t], record.loop_back_c[t] = self.room_c, self.loop_supply_c, self.loop_return_c
            record.buffer_c[t] = self.buffer_c
            if self.tripped:
                self._note_trips(start_s + (t + 1) * step_s)
        gained_w = np.diff(self._stored_j(record), prepend=before_j) / step_s
        record.gap_w[:] = gained_w - record.moved_w
        return record

    def settle(self, rack_w: Floats, air: Air) -> bool:
        """Bring all water to where it stays under a steady ``rack_w`` float64[racks] and the first moment of ``air``.

        Whether it came there: it steps through time until nothing moves by ``_STILL_K`` in a minute, at most ``_SETTLE`` half
        hours.
        """
        steps = 30
        constant = Air(np.repeat(air.wet_bulb_c[:1], steps), np.repeat(air.dry_bulb_c[:1], steps))
        still = False
        for _ in range(_SETTLE):
            record = self.advance(np.tile(rack_w, (steps, 1)), constant, 0.0, STEP_S)
            moved = [
                np.abs(column[-1] - column[-2]).max(initial=0.0) for column in (record.branch_c, record.loop_c, record.room_c)
            ]
            still = max(moved) < _STILL_K
            if still:
                break
        self.on[:], self.trips = 1.0, []
        return still

    def _room_sums(self, dry: Floats) -> Floats:
        """float64[t, h]: heat of racks that no liquid takes, by room."""
        into = csr_array((np.ones(self.racks), (np.arange(self.racks), self.c.rack_room)), shape=(self.racks, self.rooms))
        sums: Floats = dry @ into
        return sums

    def _stored_j(self, record: Record) -> Floats:
        """float64[t]: what all bodies held at the end of each step [J]."""
        held = record.branch_c @ self.branch_jpk + record.return_c @ self.return_jpk + record.supply_c @ self.supply_jpk
        held = held + (record.loop_c + record.loop_back_c) @ self.leg_jpk + record.buffer_c @ self.buffer_jpk
        total: Floats = held + record.room_c[:, self.cooled_room] @ self.room_jpk[self.cooled_room]
        return total

    def _note_trips(self, time_s: float) -> None:
        known = {rack for _, rack in self.trips}
        self.trips += [(time_s, int(r)) for r in np.unique(self.c.rack[self.on == 0]) if int(r) not in known]
        self.tripped = False

    def _divided(self, step_s: float) -> int:
        """Parts of a step that are short enough for the control and for the buffer, which must hold more than passes."""
        most = self.params.loops.valve_ratio + _LEAST_FLOW
        return max(1, int(np.ceil(step_s / min(STEP_S, 0.9 * self.params.loops.buffer_s / most))))

    def _fixed(self, h: float) -> Fixed:
        """What a step of ``h`` seconds needs and that does not change under a setting."""
        c, s = self.c, self.setting
        if s is None:
            raise ValueError("water without a setting; call begin first")
        n, flow = self.stations, np.maximum(self.flow_wpk, TINY)
        a = h * s.branch_wpk / self.branch_jpk
        b, d = h * self.flow_wpk / self.return_jpk, h * self.flow_wpk / self.supply_jpk
        weight = s.branch_wpk / flow[c.station] if n else np.empty(0)
        follow = a / (1 + a)
        carried = np.bincount(c.station, weights=weight * follow, minlength=n)
        return Fixed(
            h, h / self.branch_jpk / (1 + a), 1 / (1 + a), follow, weight, b / (1 + b), 1 / (1 + b), b * carried / (1 + b), d,
            h * self.spun_w / self.supply_jpk, self.spun_w / flow, -float(np.expm1(-h / self.params.loops.valve_lag_s)),
            float(self.spun_w.sum()), c.rack_room[c.rack],
        )  # fmt: skip

    def _step(
        self,
        t: int,
        liquid: Floats,
        room: Floats,
        lean: Floats,
        chips: tuple[Floats, Floats],
        f: Fixed,
        record: Record,
        part: float,
    ) -> None:
        """One step; ``part``: of the recorded one; ``chips``: how far they lie above their coolant [K], and what part of their
        racks' power follows their load."""
        c, k = self.c, self.params.loops.leak_per_k
        if self.stations:
            factor = leaking_power_w(self.on, self.branch_c, self.reference_c, k)
            if (self.branch_c + chips[0]).max() > self.params.loops.junction_limit_c:
                slow = self._held(chips[0])
                record.slowed[t] += (1 - slow) * part
                factor = factor * self.on * (1 - chips[1] * (1 - slow))
            q = liquid * factor
            moved = lean * (factor - 1)
            room = room + np.bincount(f.room, weights=moved, minlength=self.rooms)
            record.factor[t] += factor * part
        else:
            q = liquid
        if not self.loops:
            return
        primary = self._facility_flow(f)
        room_heat, room_wpk, air_share, air_w = self._air(room, f.h)
        flow, own = self._loop_flows(primary, room_wpk)
        self._legs_out(flow, f.h)
        heat = self._secondary(q, f)
        pumps = self.loop_pump_w * (flow / c.loop_wpk) ** 3
        self._legs_back(flow, own, heat, room_heat, pumps, f.h)
        out = self._reject(t, flow, f.h, record, part)
        record.station_w[t] += heat * part
        record.primary_wpk[t] += primary * part
        record.loop_wpk[t] += flow * part
        record.room_air_frac[t] += air_share * part
        record.moved_w[t] += (float(q.sum()) + f.spun_w + air_w + float(pumps.sum()) - out) * part

    def _held(self, rise_k: Floats) -> Floats:
        """Chips slow down so that they stay at their limit; share of what they draw above idle that is left to each branch's.
        Those that get too hot all the same switch off."""
        p, idle = self.params.loops, self.idle_rise_k
        span = np.maximum(rise_k - idle, TINY)
        slow = np.clip((p.junction_limit_c - self.branch_c - idle) / span, p.slowed_least_frac, 1.0)
        hot = self.branch_c + idle + slow * (rise_k - idle) > p.junction_trip_c
        if hot.any():
            self.on[hot] = 0.0
            self.tripped = True
        return np.asarray(slow)

    def _facility_flow(self, f: Fixed) -> Floats:
        """Valves follow what holds the supply at its setpoint, with their lag; flow [W/K] of each station's facility side."""
        s, c = self.setting, self.c
        if s is None or not self.stations:
            return np.empty(0)
        cold = self.loop_supply_c[c.station_loop]
        span = np.maximum(self.return_c - cold, 0.1)
        wanted = np.minimum(np.maximum((self.return_c - s.setpoint_c + f.warmed_k) / span, 0.0), self.curves.reach_most)
        self.reach += (wanted - self.reach) * f.valve
        share = self.curves.share(np.minimum(self.reach / self.curves.reach_most, 1.0))
        if self.any_stuck:
            stuck = ~np.isnan(s.stuck_frac)
            share = np.where(stuck, s.stuck_frac, share)
            self.reach = np.where(stuck, self.curves.reach(share), self.reach)
        self.passing = self.reach
        return share * self.curves.live_wpk

    def _air(self, room: Floats, h: float) -> tuple[Floats, Floats, Floats, float]:
        """Rooms, into whose air ``room`` [W] goes: heat to water [W], water they take [W/K], share of air, and all that went
        into air that water cools [W]."""
        c, s = self.c, self.setting
        share = room / self.room_design_w
        fans = self.fan_w * share
        if s is None or not self.any_cooled:
            heat = (room + fans) * self.room_taken
            return heat, self._room_water(heat), share, float(heat.sum())
        water = self.loop_supply_c[np.maximum(c.room_loop, 0)]
        goal = room + self.room_jpk * (self.room_c - self.params.loops.room_c) / 120.0
        asked = needed_air_frac(goal, self.room_c, water, self.coil_wpk)
        blown = np.maximum(asked, _LEAST_AIR_FRAC) * s.room_frac
        share = np.where(self.cooled_room, blown, share)
        fans = np.where(self.cooled_room, self.fan_w * share**self.params.plant.fan_exponent, fans)
        g = share * self.coil_wpk
        new = (self.room_c + h / self.room_jpk * (room + fans + g * water)) / (1 + h * g / self.room_jpk)
        self.room_c = np.where(self.cooled_room, new, self.room_c)
        heat = np.where(self.cooled_room, coil_heat_w(self.room_c, water, share, self.coil_wpk), room + fans) * self.room_taken
        air_w = float(((room + fans) * self.room_taken).sum())
        return heat, self._room_water(heat), share, air_w

    def _room_water(self, heat_w: Floats) -> Floats:
        """float64[h]: water that takes rooms' heat [W/K], as far as their valves let it through."""
        return np.asarray(np.clip(heat_w / self.params.plant.range_k, 0.0, self.room_most_wpk))

    def _loop_flows(self, primary: Floats, rooms: Floats) -> tuple[Floats, Floats]:
        """Flow of each loop [W/K] (whole, and what its own consumers take), less where its pumps cannot move it."""
        c = self.c
        own = np.bincount(c.station_loop, weights=primary, minlength=self.loops) + _LEAST_FLOW * c.loop_wpk
        if len(self.room_of):
            own += np.bincount(self.room_at, weights=rooms[self.room_of], minlength=self.loops)
        flow = self._gathered(own)
        if (flow <= self.limit_wpk).all():
            return flow, own
        short = flow > self.limit_wpk
        for child, parent in self.levels:
            short[child] |= short[parent]
        return self._clipped(primary, rooms, short)

    def _clipped(self, primary: Floats, rooms: Floats, short: Bools) -> tuple[Floats, Floats]:
        """Flow of each loop where those that are ``short`` give each consumer what it has with all valves open."""
        c, given = self.c, self.setting.open if self.setting else None
        if given is None:
            raise ValueError("water without a setting; call begin first")
        primary[:] = np.where(short[c.station_loop], np.minimum(primary, given.station_wpk), primary)
        self.passing = self.curves.reach(primary / self.curves.most_wpk)
        own = np.bincount(c.station_loop, weights=primary, minlength=self.loops).astype(np.float64)
        own += _LEAST_FLOW * c.loop_wpk * ~short  # bypasses shut first
        if len(self.room_of):
            taken = np.where(short[self.room_at], np.minimum(rooms, given.room_wpk)[self.room_of], rooms[self.room_of])
            own += np.bincount(self.room_at, weights=taken, minlength=self.loops)
        return self._gathered(own), own

    def _gathered(self, own: Floats) -> Floats:
        """Flow of each loop: its own consumers and all loops below it."""
        flow = own.copy()
        for child, parent in reversed(self.levels):
            flow += np.bincount(parent, weights=flow[child], minlength=self.loops)
        return flow

    def _legs_out(self, flow: Floats, h: float) -> None:
        """Facility water from the plants' buffers to the leaves of the tree."""
        c = self.c
        g = h * flow / self.leg_jpk
        roots = c.plant_loop
        self.loop_supply_c[roots] = (self.loop_supply_c[roots] + g[roots] * self.buffer_c) / (1 + g[roots])
        for child, parent in self.levels:
            self.loop_supply_c[child] = (self.loop_supply_c[child] + g[child] * self.loop_supply_c[parent]) / (1 + g[child])

    def _secondary(self, q: Floats, f: Fixed) -> Floats:
        """Racks, return, exchanger and supply of every CDU, implicitly; heat to facility water [W]."""
        if not self.stations:
            return np.empty(0)
        at, e = self.c.station, self.passing
        still = self.branch_c * f.kept + f.heating * q
        alpha = self.return_c * f.return_kept + f.return_mix * np.bincount(
            at, weights=f.weight * still, minlength=self.stations
        )
        cold = self.loop_supply_c[self.c.station_loop]
        d = f.supply_mix
        passed = d - d * e
        self.supply_c = (self.supply_c + passed * alpha + d * e * cold + f.supply_heat_k) / (1 + d - passed * f.return_follow)
        self.return_c = alpha + f.return_follow * self.supply_c
        self.branch_c = still + f.follow * self.supply_c[at]
        heat: Floats = e * self.flow_wpk * (self.return_c - cold)
        return heat

    def _legs_back(self, flow: Floats, own: Floats, heat: Floats, rooms: Floats, pumps: Floats, h: float) -> None:
        """Facility water from the leaves back to the roots, with the heat of consumers and pumps."""
        c = self.c
        carried = own * self.loop_supply_c + pumps
        carried += np.bincount(c.station_loop, weights=heat, minlength=self.loops)
        if len(self.room_of):
            carried += np.bincount(self.room_at, weights=rooms[self.room_of], minlength=self.loops)
        g = h * flow / self.leg_jpk

        def settle(rows: Any) -> None:
            # C·(T' - T) = h·(what comes in - flow·T'), which holds where nothing flows as well
            self.loop_return_c[rows] = (self.loop_return_c[rows] + h * carried[rows] / self.leg_jpk[rows]) / (1 + g[rows])

        for child, parent in reversed(self.levels):
            settle(child)
            carried += np.bincount(parent, weights=flow[child] * self.loop_return_c[child], minlength=self.loops)
        settle(c.plant_loop)

    def _reject(self, t: int, flow: Floats, h: float, record: Record, part: float) -> float:
        """What the plants give away [W], and the buffers behind them."""
        c, lost = self.c, 0.0
        for p, loop in enumerate(c.plant_loop.tolist()):
            w, back = float(flow[loop]), float(self.loop_return_c[loop])
            reused, free_c, out_c, chilled = self.plant.reject(p, t, w, back, float(self.chilled_w[p]), h)
            self.chilled_w[p] = chilled
            self.buffer_c[p] += h * w / self.buffer_jpk[p] * (out_c - self.buffer_c[p])
            lost += w * (back - out_c)
            record.plant_wpk[t, p] += w * part
            record.plant_return_c[t, p] += back * part
            record.reused_w[t, p] += reused * part
            record.free_c[t, p] += free_c * part
            record.out_c[t, p] += out_c * part
            record.chilled_w[t, p] += chilled * part
        return lost


def _levels(circuit: Circuit) -> list[tuple[Any, Any]]:
    """(children, their parents) from the roots outwards."""
    depth = np.zeros(len(circuit.loop_at), dtype=np.int64)
    for i, parent in enumerate(circuit.loop_parent.tolist()):
        depth[i] = depth[parent] + 1 if parent >= 0 else 0
    found = []
    for level in range(1, int(depth.max(initial=0)) + 1):
        child = np.flatnonzero(depth == level)
        found.append((child, circuit.loop_parent[child]))
    return found
