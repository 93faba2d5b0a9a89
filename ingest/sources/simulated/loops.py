"""The liquid side: racks, CDUs, hall loops, plant loop, chillers and towers.

Every body of water is a well-mixed tank. The ring of a CDU (racks, return, heat exchanger, supply) is solved by backward Euler
in closed form; the plant's ring is closed by its buffer, whose outflow holds over a step. Both stay bounded for any step up to
``STEP_S`` and conserve energy exactly: ``heat_in_j - heat_out_j`` is what ``stored_j`` gained.

CDUs hold their supply temperature by their facility-water valve (integral and proportional action, gain scheduled by the
temperatures at hand), towers and chillers the plant's supply temperature. Deliberately other than a twin would assume:
heat-transfer coefficients that fall with flow (exponent 0.7), flow shares by valve trim, a part of each rack's heat that
escapes into the room, fouling that creeps over weeks, a tower that is not YorkCalc, set-point sensors with a bias.
"""

import numpy as np

from ingest.sources.simulated.effects import Effects
from ingest.sources.simulated.fleet import Fleet, summed
from ingest.sources.simulated.layout import CHILLER_COP, CP_PG25, CP_WATER, PRIMARY_RISE_K, RACK_RISE_K, TOWER_W_PER_W
from twin.frame import Floats

STEP_S = 300.0  # longest step of the loops; the buffer must hold more than what passes in it
_BUFFER_S = 450.0  # of design flow: the store of water that carries the halls while chillers start
CDU_SETPOINT_C, PLANT_SETPOINT_C = 32.0, 25.0
OWN = {"cdu": CDU_SETPOINT_C, "loop": PLANT_SETPOINT_C, "tower": 1.0}  # supply [°C]; most that a fan may turn
BOUNDS = {"cdu": (24.0, 42.0), "loop": (15.0, 34.0), "tower": (0.3, 1.0)}  # what the devices let anyone order
RAMP_K_PER_S = 0.5 / 60.0  # how fast a device moves to a new setpoint
_NTU = 3.4  # of a clean CDU at design flows
_SPEED_LAG_S, _VALVE_LAG_S, _FAN_LAG_S = 6.0, 110.0, 45.0
_APPROACH_K, _FREE_K = 4.6, 1.4  # tower at design; exchanger between tower and plant water
_FAN_MIN = 0.22
SHUTOFF_RATIO = 1.3  # a pump's head at no flow, over that where it works: a flat curve, as side by side asks for
STAGE_FRAC = 0.92  # load of the chillers that run at which the plant's own sequence starts a further one
_CALLED_K, _CALLED_S, _CALM_K = 2.0, 300.0, 0.3  # water so far over its setpoint for so long: the sequence heeds no limit
_DRIFT = 0.1  # of the design flow goes round by its own warmth where no pump turns
_FOULING_S = 60 * 86400.0  # a third of a CDU's resistance comes in two months


def effectiveness(ntu: Floats, ratio: Floats) -> Floats:
    """Of a counterflow exchanger by NTU and capacity ratio (Incropera, table 11.3), both float64[n]."""
    r = np.minimum(ratio, 0.9999)
    gone = np.exp(-ntu * (1.0 - r))
    return (1.0 - gone) / (1.0 - r * gone)


def side_by_side(head: Floats) -> tuple[Floats, float]:
    """Pumps between the same two headers, at one speed, that together deliver what as many good ones would: flow of each over a
    good one's (float64[n]), and their speed over a good one's. ``head``: float64[n], what is left of each one's head at no flow
    (above 0, at most 1). Head falls with the square of flow and moves by the affinity laws; a check valve lets nothing back."""

    def share(square: float) -> Floats:
        return np.sqrt(np.maximum(SHUTOFF_RATIO * head * square - 1.0, 0.0) / (SHUTOFF_RATIO - 1.0))

    low, high = 1.0, 1.0 / float(head.min())  # of speed squared: all good, all as bad as the worst
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle).sum() < len(head) else (low, middle)
    return share(high), float(np.sqrt(high))


class Loops:
    """All water. Attributes are the truth now, by row of their kind; powers [W], flows [kg/s], temperatures [°C]."""

    def __init__(self, fleet: Fleet, effects: Effects, rng: np.random.Generator, stage_frac: float = STAGE_FRAC) -> None:
        self._fleet, self._effects, self._stage_frac = fleet, effects, stage_frac
        site = fleet.site
        r, c, loops = (fleet.count(kind) for kind in ("rack", "cdu", "loop"))
        rack_w = site.number("rack", "rated_w", 86e3)
        self.cdu_heat_w = summed(fleet.rack_cdu, rack_w, c)
        self.cdu_kgps = self.cdu_heat_w / (CP_PG25 * RACK_RISE_K)  # secondary, design
        self._valve_kgps = 1.35 * self.cdu_heat_w / (CP_WATER * PRIMARY_RISE_K)  # primary, valve open
        share = rack_w * rng.normal(1.0, 0.04, r)
        self._share = share / summed(fleet.rack_cdu, share, c)[fleet.rack_cdu]
        self._caught = rng.uniform(0.93, 0.985, r)  # part of a rack's heat that its liquid takes
        self._rack_kg = 22.0 * rack_w / (CP_PG25 * RACK_RISE_K)
        self._ua = _NTU * self.cdu_kgps * CP_PG25 * rng.normal(1.0, 0.05, c)
        self._return_kg, self._supply_kg = 14.0 * self.cdu_kgps, 26.0 * self.cdu_kgps
        self.age_s = rng.uniform(0, 40 * 86400.0, c)  # since the exchanger was cleaned
        self.hall_kgps = np.maximum(summed(fleet.cdu_loop, self._valve_kgps, loops), 1e-9)
        self.hall_design_kgps = self.hall_kgps.copy()
        self.hall_design_kgps[fleet.plant_loop] = float(self._valve_kgps.sum())
        self.tower_rate_w_per_k = float(self._valve_kgps.sum()) * CP_WATER  # of the towers' own water
        self._hall_kg = 60.0 * self.hall_kgps
        self._buffer_kg = _BUFFER_S * float(self._valve_kgps.sum()) * 1.15
        self.plant_heat_w = float(self.cdu_heat_w.sum())
        self.rack_c, self.return_c, self.supply_c = np.full(r, 36.0), np.full(c, 36.0), np.full(c, CDU_SETPOINT_C)
        self.hall_return_c, self.plant_c = np.full(loops, 30.0), PLANT_SETPOINT_C
        self.plant_return_c = 30.0
        self.ordered_c = {"cdu": np.full(c, CDU_SETPOINT_C), "loop": np.full(loops, PLANT_SETPOINT_C)}
        self.setpoint_c = {kind: ordered.copy() for kind, ordered in self.ordered_c.items()}
        self._bias_k = rng.normal(0.0, 0.15, c)
        self.wanted = np.full(c, 0.7)  # effectiveness that the valve's controller asks for
        flow = np.linspace(0.06, 1.0, 60)
        c1 = flow * 1.35 * RACK_RISE_K / PRIMARY_RISE_K  # capacity rate of primary over secondary, design
        small = np.minimum(c1, 1.0)
        self._asked, self._opening = effectiveness(_NTU / small, small / np.maximum(c1, 1.0)) * small, flow
        self.primary_kgps = 0.6 * self._valve_kgps
        self.primary_return_c = np.full(c, 32.0)
        self.speed, self.flow_kgps = np.full(c, 0.8), self.cdu_kgps.copy()
        self.cdu_w, self.heat_w = np.zeros(c), np.zeros(c)
        self._pumps(rng)
        self.rack_kgps = self._share * self.flow_kgps[fleet.rack_cdu]
        self.rack_heat_w = np.zeros(r)
        self.hall_flow_kgps = np.zeros(loops)
        self.free_w, self.chilled_w, self.tower_c = 0.0, 0.0, 18.0
        self.fan = np.full(fleet.count("tower"), 0.3)  # speed of each tower's
        self.fan_limit = np.ones(fleet.count("tower"))  # that its control may reach at most
        self.chillers_on = 0
        self.limit = fleet.count("chiller")  # how many its sequence may run at once
        self.warm_s, self.called = 0.0, False
        self.chiller_w, self.tower_w = np.zeros(fleet.count("chiller")), np.zeros(fleet.count("tower"))
        self.condenser_c = self.evaporator_c = 20.0
        self._chiller_cap_w = site.number("chiller", "rated_w", 1e5) * CHILLER_COP
        self._tower_rated_w = site.number("tower", "rated_w", 1.2 * TOWER_W_PER_W * self.plant_heat_w)
        self.heat_in_j = self.heat_out_j = 0.0

    def _pumps(self, rng: np.random.Generator) -> None:
        fleet = self._fleet
        p = fleet.count("pump")
        self._pump_rated_w = fleet.site.number("pump", "rated_w", 1e4) * rng.normal(1.0, 0.03, p)
        self._pump_rated_kgps = fleet.site.number("pump", "rated_kgps", 1.0)
        self.pump_w, self.pump_speed, self.pump_kgps, self.pump_pa = (np.zeros(p) for _ in range(4))
        inside = np.flatnonzero(fleet.pump_cdu >= 0)
        self._of_cdu = [inside[fleet.pump_cdu[inside] == c] for c in range(fleet.count("cdu"))]
        self.duty = np.array([pumps[0] for pumps in self._of_cdu], dtype=np.intp)
        self._of_loop = np.flatnonzero(fleet.pump_loop >= 0)

    # --- a step

    def advance(self, rack_w: Floats, wet_c: float, air_c: float, dt_s: float) -> None:
        """Advance ``dt_s`` with mean heat ``rack_w`` [W] set free in each rack, under a wet bulb and air of [°C]."""
        count = max(1, int(np.ceil(dt_s / STEP_S)))
        h = dt_s / count
        liquid_w = rack_w * self._caught
        room_w = float((rack_w - liquid_w).sum()) * (1.0 - 0.004 * (22.0 - air_c))  # the rest passes through the walls
        for _ in range(count):
            self._move_setpoints(h)
            self._turn_pumps(h)
            drop_w = self._secondary(liquid_w, h)
            self._plant(drop_w, room_w, wet_c, h)
        self.age_s += dt_s

    def ordered(self, kind: str) -> Floats:
        """What CDUs and loops (supply, °C) or towers (limit of the fan, 0-1) are ordered now, by row; may be written to."""
        return self.fan_limit if kind == "tower" else self.ordered_c[kind]

    def _move_setpoints(self, h: float) -> None:
        for kind, ordered in self.ordered_c.items():
            now = self.setpoint_c[kind]
            now += np.clip(ordered - now, -RAMP_K_PER_S * h, RAMP_K_PER_S * h)

    def _turn_pumps(self, h: float) -> None:
        """CDU pumps: one on duty, one standing by; worn ones turn faster for the same flow, until they fail."""
        effects = self._effects
        if effects.pump_dead.any():
            self._take_over()
        head = effects.pump_head[self.duty] * ~effects.pump_dead[self.duty]
        goal = np.where(head > 0, np.minimum(1.0, 0.8 / np.maximum(head, 0.3)), 0.0)
        self.speed += (goal - self.speed) * -np.expm1(-h / _SPEED_LAG_S)
        self.flow_kgps = self.cdu_kgps * np.maximum(self.speed / 0.8 * head, _DRIFT)
        if effects.rack_leak.any():
            leaking = summed(self._fleet.rack_cdu, effects.rack_leak.astype(np.float64), len(head))
            self.flow_kgps *= 1.0 - 0.01 * np.minimum(leaking, 10)
        self.pump_speed[:], self.pump_w[:], self.pump_kgps[:], self.pump_pa[:] = 0.0, 0.0, 0.0, 0.0
        on = self.duty
        self.pump_speed[on], self.pump_kgps[on] = self.speed, self.flow_kgps
        self.pump_w[on] = self._pump_rated_w[on] * (0.03 + 0.97 * self.speed**2.9) * (1.0 + 0.6 * (1.0 - head)) * (head > 0)
        self.pump_pa[on] = 2.5e5 * (self.flow_kgps / self.cdu_kgps) ** 1.9
        self.cdu_w = self.pump_w[on] + 0.0004 * self.cdu_heat_w

    def _take_over(self) -> None:
        """The standby pump starts from rest where the one on duty has failed."""
        dead = self._effects.pump_dead
        for c in np.flatnonzero(dead[self.duty]).tolist():
            good = [pump for pump in self._of_cdu[c] if not dead[pump]]
            self.speed[c] = 0.0
            if good:
                self.duty[c] = good[0]

    def _secondary(self, liquid_w: Floats, h: float) -> Floats:
        """Racks, return, exchanger and supply of every CDU, implicitly; heat that leaves to facility water [W]."""
        at = self._fleet.rack_cdu
        cp, m = CP_PG25, self.flow_kgps
        self.rack_kgps = self._share * m[at]
        a = h * self.rack_kgps / self._rack_kg
        still = (self.rack_c + h * liquid_w / (self._rack_kg * cp)) / (1 + a)
        follow = a / (1 + a)
        mixed = summed(at, self._share * still, len(m))
        carried = summed(at, self._share * follow, len(m))
        b, d = h * m / self._return_kg, h * m / self._supply_kg
        alpha, beta = (self.return_c + b * mixed) / (1 + b), b * carried / (1 + b)
        self._valve(h)
        e = self._exchange()
        into_c = self.plant_c
        warmed_k = self.pump_w[self.duty] / (m * cp)
        supply = self.supply_c + d * ((1 - e) * alpha + e * into_c + warmed_k)
        self.supply_c = supply / (1 + d - d * (1 - e) * beta)
        self.return_c = alpha + beta * self.supply_c
        self.rack_c = still + follow * self.supply_c[at]
        self.rack_heat_w = self.rack_kgps * cp * (self.rack_c - self.supply_c[at])
        self.heat_w = e * m * cp * (self.return_c - into_c)
        self.primary_return_c = into_c + self.heat_w / (self.primary_kgps * CP_WATER)
        self.heat_in_j += h * (float(liquid_w.sum()) + float(self.pump_w[self.duty].sum()))
        return self.heat_w

    def _valve(self, h: float) -> None:
        error_k = self.supply_c + self._bias_k - self.setpoint_c["cdu"]
        span_k = np.maximum(self.return_c - self.plant_c, 3.0)
        self.wanted = np.clip(self.wanted - np.expm1(-h / _VALVE_LAG_S) * error_k / span_k, self._asked[0], self._asked[-1])
        nudge = 0.6 * float(np.exp(-h / 60.0))  # proportional action, none in steps longer than the water needs
        opening = np.interp(self.wanted + nudge * error_k / span_k, self._asked, self._opening)
        self.primary_kgps = opening * self._valve_kgps

    def _exchange(self) -> Floats:
        """Part of the secondary's possible cooling that each exchanger reaches."""
        m1, m2 = self.primary_kgps, self.flow_kgps
        fouled = 1.0 + 0.33 * np.minimum(self.age_s / _FOULING_S, 2.0)
        thin = (self._valve_kgps / 1.35 / m1) ** 0.7 + (self.cdu_kgps / m2) ** 0.7
        ua = self._ua * self._effects.cdu_transfer * 2.0 / (thin * fouled) * 1.15
        c1, c2 = m1 * CP_WATER, m2 * CP_PG25
        small, large = np.minimum(c1, c2), np.maximum(c1, c2)
        reached: Floats = effectiveness(ua / small, small / large) * small / c2
        return reached

    def _plant(self, drop_w: Floats, room_w: float, wet_c: float, h: float) -> None:
        """Hall loops, plant loop, towers, chillers, buffer."""
        fleet, cp, x = self._fleet, CP_WATER, self._fleet.plant_loop
        n = len(self.hall_return_c)
        halls = summed(fleet.cdu_loop, self.primary_kgps, n) + 0.05 * self.hall_kgps
        halls[x] = 0.0
        total = float(halls.sum())
        self.hall_flow_kgps = halls.copy()
        self.hall_flow_kgps[x] = total
        pumps_w = self._loop_pumps()
        heat_w = summed(fleet.cdu_loop, drop_w, n) + room_w * halls / total
        heat_w += np.where(np.arange(n) == x, 0.0, pumps_w)
        live = halls > 0
        into_c = self.plant_c + heat_w[live] / (halls[live] * cp)
        c = h * halls[live] / self._hall_kg[live]
        self.hall_return_c[live] = (self.hall_return_c[live] + c * into_c) / (1 + c)
        self.plant_return_c = float((halls[live] * self.hall_return_c[live]).sum()) / total + float(pumps_w[x]) / (total * cp)
        self.hall_return_c[x] = self.plant_return_c
        out_c = self._reject(total * cp, wet_c, h)
        self.plant_c += h * total / self._buffer_kg * (out_c - self.plant_c)
        self.heat_in_j += h * (room_w + float(pumps_w.sum()))
        self.heat_out_j += h * total * cp * (self.plant_return_c - out_c)

    def _loop_pumps(self) -> Floats:
        """Set the pumps of the loops by the flow asked of them; power [W] by loop."""
        fleet, mine = self._fleet, self._of_loop
        loop = fleet.pump_loop[mine]
        dead = self._effects.pump_dead[mine]
        running = np.maximum(summed(loop, (~dead).astype(np.float64), fleet.count("loop")), 1.0)
        flow = np.where(dead, 0.0, self.hall_flow_kgps[loop] / running[loop])
        speed = np.clip(flow / self._pump_rated_kgps[mine], 0.0, 1.0)
        self.pump_pa[mine] = np.where(dead, 0.0, 5e4 + 1.4e5 * speed**2)
        head = self._effects.pump_head[mine]
        for worn in np.unique(loop[(head < 1.0) & ~dead]).tolist():
            at = np.flatnonzero((loop == worn) & ~dead)
            share, faster = side_by_side(head[at])
            flow[at] *= share
            speed[at] = np.minimum(speed[at] * faster, 1.0)
        self.pump_kgps[mine], self.pump_speed[mine] = flow, speed
        self.pump_w[mine] = self._pump_rated_w[mine] * np.where(dead, 0.0, 0.06 + 0.94 * speed**2.7)
        return summed(loop, self.pump_w[mine], fleet.count("loop"))

    def _reject(self, rate_w_per_k: float, wet_c: float, h: float) -> float:
        """Towers first, chillers for the rest: temperature of the water that goes back [°C]."""
        goal_c = float(self.setpoint_c["loop"][self._fleet.plant_loop]) + 0.12
        load = max(self.free_w + self.chilled_w, 0.02 * self.plant_heat_w) / (1.1 * self.plant_heat_w)
        k = _APPROACH_K * load**0.75 * (1.0 + 0.02 * (18.0 - wet_c))
        need = (k / max(goal_c - _FREE_K - wet_c, 0.4)) ** 1.25
        self.fan += (self._turned(min(1.0, max(_FAN_MIN, need))) - self.fan) * -float(np.expm1(-h / _FAN_LAG_S))
        self.tower_c = wet_c + k / float(self.fan.mean()) ** 0.8
        back_c = self.plant_return_c
        free_c = min(back_c, max(goal_c, self.tower_c + _FREE_K))
        self.free_w = rate_w_per_k * (back_c - free_c)
        most = self._may_run(h)
        self.chilled_w = min(max(0.0, rate_w_per_k * (free_c - goal_c)), float(self._chiller_cap_w[:most].sum()))
        if self.chilled_w < 0.004 * self.plant_heat_w:
            self.chilled_w = 0.0  # too little to start a compressor for
        self._chill(goal_c, most)
        self.tower_w = self._tower_rated_w * (0.02 + 0.98 * self.fan**2.8)
        return free_c - self.chilled_w / rate_w_per_k

    def _turned(self, need: float) -> Floats:
        """Speeds that fans are told for ``need`` of all air together: those that may turn faster stand in for the others. The
        plant's own protection heeds no limit."""
        limit = np.ones(len(self.fan)) if self.called else self.fan_limit
        reached = np.sort(limit)
        given = np.minimum(reached[:, None], reached).mean(axis=1)  # all air together with the signal at each limit
        return np.minimum(limit, float(np.interp(need, [0.0, *given], [0.0, *reached])))

    def _may_run(self, h: float) -> int:
        """How many chillers may run: as ordered, and all of them while the plant protects itself."""
        over_k = self.plant_c - float(self.setpoint_c["loop"][self._fleet.plant_loop])
        self.warm_s = self.warm_s + h if over_k > _CALLED_K else 0.0
        self.called = self.warm_s >= _CALLED_S or (self.called and over_k > _CALM_K)
        return len(self._chiller_cap_w) if self.called else self.limit

    def _chill(self, goal_c: float, most: int) -> None:
        """Compressors: as many as the sequence wants and may run, by a part of Carnot between their two waters."""
        self.chiller_w = np.full(len(self._chiller_cap_w), 150.0)  # controls
        self.chillers_on = int(np.ceil(self.chilled_w / float(self._chiller_cap_w[0]) / self._stage_frac))
        self.evaporator_c, self.condenser_c = goal_c - 1.5, self.tower_c + 6.0
        if not self.chillers_on:
            return
        self.chillers_on = min(self.chillers_on, most)
        part = self.chilled_w / self.chillers_on / float(self._chiller_cap_w[0])
        lift_k = max(self.condenser_c - self.evaporator_c, 7.0)
        cop = min(11.0, 0.47 * (self.evaporator_c + 273.15) / lift_k) * (0.72 + 0.28 * min(1.0, part))
        self.chiller_w[: self.chillers_on] += self.chilled_w / self.chillers_on / cop

    def stored_j(self) -> float:
        """Heat in all water above 0 °C."""
        pg = self._rack_kg @ self.rack_c + self._return_kg @ self.return_c + self._supply_kg @ self.supply_c
        live = np.arange(len(self.hall_return_c)) != self._fleet.plant_loop
        water = self._hall_kg[live] @ self.hall_return_c[live] + self._buffer_kg * self.plant_c
        return float(pg * CP_PG25 + water * CP_WATER)
