"""Electrical power and water of the cooling machines, over a chunk at once, from what the water did."""

from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints
from twin.params import Params
from twin.physics import drycooler, tower
from twin.physics.chiller import bank_power_w, cop_ratio
from twin.physics.water import AIR_JPKGK, evaporated_kgps, makeup_kgps, pad_kgps
from twin.sim.circuit import Circuit
from twin.sim.record import Record
from twin.sim.reject import Air, Plant
from twin.sim.setting import Setting
from twin.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """``at``: int32[m] global positions; ``power_w``: float64[m, t] into each; ``cdu_w``, ``pumps_w``, ``fans_w``, ``air_w``,
    ``chillers_w``: float64[t], the same by sort. ``water_kgps``, ``rejected_w`` (to the air outside), ``reused_w``:
    float64[t]."""

    at: Ints
    power_w: Floats
    cdu_w: Floats
    pumps_w: Floats
    fans_w: Floats
    air_w: Floats
    chillers_w: Floats
    water_kgps: Floats
    rejected_w: Floats
    reused_w: Floats


class Machines:
    """Ratings of pumps, fans and chillers as the site gives them, else from the parameters."""

    def __init__(self, site: Site, circuit: Circuit, plant: Plant, params: Params) -> None:
        self.site, self.c, self.plant, self.params = site, circuit, plant, params
        p = params.plant
        rated = site.numbers.get("rated_w", np.full(len(site.ids), np.nan))
        stations = rated[circuit.station_at] if len(circuit.station_at) else np.empty(0)
        is_cdu = np.array([site.kind(site.ids[at]) == "cdu" for at in circuit.station_at.tolist()], dtype=np.bool_)
        assumed = circuit.station_heat_w * p.cdu_rated_frac
        self.station_w = np.where(is_cdu, np.where(np.isnan(stations), assumed, stations), 0.0)
        row = np.where(is_cdu, site.row_of[circuit.station_at], 0)
        base, cubic = (params.learned.column(site, f"cdu:pump_{name}_frac", np.nan) for name in ("base", "cubic"))
        known = is_cdu & ~np.isnan(np.append(base, np.nan)[row])
        self.standing_w = np.where(known, np.append(base, 0.0)[row] * self.station_w, 0.0)  # of a CDU's pumps, at any speed
        self.station_w = np.where(known, np.append(cubic, 0.0)[row] * self.station_w, self.station_w)
        heat = np.zeros(len(circuit.loop_at))
        np.add.at(heat, circuit.station_loop, circuit.station_heat_w)
        np.add.at(heat, circuit.room_loop[circuit.room_loop >= 0], circuit.room_heat_w[circuit.room_loop >= 0])
        pumps = site.of_kind("pump")
        self.loop_w, self.loop_pumps = np.zeros(len(heat)), []
        self.loop_curve = np.tile([0.0, 1.0, 3.0], (len(heat), 1))  # power at no speed, what full speed adds, by which power
        learnt = ("base_frac", "rise_frac", "exponent_ratio")
        curves = np.stack([params.learned.column(site, f"pump:{x}", (0.0, 1.0, 3.0)[i]) for i, x in enumerate(learnt)], axis=1)
        for i, at in enumerate(circuit.loop_at.tolist()):
            mine = pumps[site.parent[pumps] == at] if at >= 0 else pumps[:0]
            moved = np.nansum(site.numbers["rated_kgps"][mine]) * circuit.loop_jpkgk[i] if "rated_kgps" in site.numbers else 0.0
            moved = moved if moved > 0 else 1.5 * circuit.loop_wpk[i]
            power = float(np.nansum(rated[mine]))
            self.loop_w[i] = power * circuit.loop_wpk[i] / moved if power > 0 else 0.0
            if len(mine):
                self.loop_curve[i] = np.average(
                    curves[site.row_of[mine]],
                    axis=0,
                    weights=rated[mine] if power > 0 and not np.isnan(rated[mine]).any() else None,
                )
            self.loop_pumps.append(mine)
        for root, i in enumerate(circuit.plant_loop.tolist()):
            family = circuit.loop_plant == root
            if plant.open[root] and not self.loop_w[family].any():
                self.loop_w[i] = float(circuit.plant_heat_w[root]) * p.pump_frac
        room = site.within("crah", "hall")
        crahs, room = site.of_kind("crah")[room >= 0], room[room >= 0]
        fans = np.bincount(room, weights=np.nan_to_num(rated[crahs]), minlength=len(circuit.room_heat_w)) if len(crahs) else 0.0
        self.room_w = np.where(np.asarray(fans) > 0, fans, circuit.room_heat_w * p.air_fan_frac)
        self.condenser_w = np.array(
            [np.where(np.isnan(rated[at]), p.pump_frac * heat_w / max(len(at), 1), rated[at]).sum()
             for at, heat_w in zip(circuit.machines["pump"], circuit.plant_heat_w.tolist(), strict=True)]
        )  # fmt: skip
        self.at, self.share = self._places(rated)
        self.fans_ratio = self.chillers_ratio = 1.0

    def scale(self, pumps_ratio: float, fans_ratio: float, chillers_ratio: float) -> None:
        """Draw so many times what the ratings say: a member of an ensemble."""
        self.station_w, self.loop_w = self.station_w * pumps_ratio, self.loop_w * pumps_ratio
        self.standing_w = self.standing_w * pumps_ratio
        self.condenser_w = self.condenser_w * pumps_ratio
        self.room_w = self.room_w * fans_ratio
        self.fans_ratio, self.chillers_ratio = fans_ratio, chillers_ratio

    def _places(self, rated: Floats) -> tuple[Ints, list[tuple[str, int, Ints, Floats]]]:
        """Where each sort's power goes: (sort, its index, rows among the places, share of each)."""
        site, c = self.site, self.c
        places: dict[int, int] = {}
        shares = []

        def put(sort: str, index: int, positions: Ints) -> None:
            here = positions if len(positions) else site.of_kind("site")
            weight = np.nan_to_num(rated[here])
            weight = weight if weight.sum() > 0 and (weight > 0).all() else np.ones(len(here))
            rows = np.array([places.setdefault(at, len(places)) for at in here.tolist()], dtype=np.int32)
            shares.append((sort, index, rows, weight / weight.sum()))

        for s, at in enumerate(c.station_at.tolist()):
            put("cdu", s, np.array([at], dtype=np.int32))
        for i in range(len(c.loop_at)):
            put("loop", i, self.loop_pumps[i])
        halls, crahs = site.of_kind("hall"), site.of_kind("crah")
        for h in range(len(c.room_loop)):
            mine = crahs[site.within("crah", "hall") == h] if len(crahs) else crahs
            put("room", h, mine if len(mine) else halls[h : h + 1])
        for p in range(len(c.plant_loop)):
            put("fans", p, np.concatenate([c.machines["tower"][p], c.machines["drycooler"][p]]))
            put("chillers", p, c.machines["chiller"][p])
            put("condenser", p, c.machines["pump"][p])
        return np.array(list(places), dtype=np.int32), shares

    def drawn(self, record: Record, air: Air, setting: Setting) -> Drawn:
        """Power and water of all machines over the chunk of ``record``."""
        c, p, steps = self.c, self.params.plant, len(air.wet_bulb_c)
        station = np.tile((self.standing_w + self.station_w * setting.speed_frac**3) * setting.running_frac, (steps, 1))
        base, rise, exponent = self.loop_curve.T
        loop = self.loop_w * (base + rise * np.maximum(record.loop_wpk / c.loop_wpk, p.least_pump_speed_frac) ** exponent)
        loop = np.where(record.loop_wpk > 0, loop, 0.0)
        share = record.room_air_frac
        room = self.room_w * np.where(c.room_crah > 0, share**p.fan_exponent, share)
        fans, chillers = np.zeros((steps, len(c.plant_loop))), np.zeros((steps, len(c.plant_loop)))
        water, rejected = np.zeros(steps), np.zeros(steps)
        for i in range(len(c.plant_loop)):
            if self.plant.open[i]:
                fans[:, i], chillers[:, i], more, out = self._rejection(i, record, air, setting)
                water += more
                rejected += out
        condenser = self.condenser_w * (record.chilled_w > 0)  # of constant speed, as long as a chiller runs; assumed
        columns = {"cdu": station, "loop": loop, "room": room, "fans": fans, "chillers": chillers, "condenser": condenser}
        power = np.zeros((len(self.at), steps))
        for sort, index, rows, weight in self.share:
            left = weight * ~setting.out[self.at[rows]]  # what is out leaves its part to the others
            columns[sort][:, index] *= left.any()
            power[rows] += (left / max(left.sum(), 1e-12))[:, None] * columns[sort][:, index]
        return Drawn(
            self.at, power, station.sum(1), loop.sum(1) + condenser.sum(1), fans.sum(1), room.sum(1), chillers.sum(1), water,
            rejected, record.reused_w.sum(1),
        )  # fmt: skip

    def _rejection(self, i: int, record: Record, air: Air, setting: Setting) -> tuple[Floats, Floats, Floats, Floats]:
        """Fans, chillers [W], water [kg/s] and heat to the air outside [W] of one plant."""
        c, p, q, plant = self.c, self.params.plant, self.params.loops, self.plant
        w, chilled = record.plant_wpk[:, i], record.chilled_w[:, i]
        warm = record.plant_return_c[:, i] - np.divide(record.reused_w[:, i], w, out=np.zeros(len(w)), where=w > 0)
        free_w = w * np.maximum(warm - record.free_c[:, i], 0.0)
        span = np.clip(np.divide(free_w + chilled, w, out=np.full(len(w), p.range_k), where=w > 0), 1.1111, 22.2222)
        wanted = record.free_c[:, i] - p.exchanger_k
        towers, alive, most = plant.towers[i] > 0, float(setting.alive["chiller"][i]), float(setting.fan_limit_frac[i])
        if towers:
            cells = float(setting.alive["tower"][i]) * float(c.loop_wpk[c.plant_loop[i]])  # water that the cells are made for
            crowded = np.maximum(w / cells, 1.0) if cells > 0 else np.ones(len(w))
            needed = tower.air_frac(wanted - air.wet_bulb_c, air.wet_bulb_c, span)
            air_frac = np.minimum(crowded * needed, 1.0)
            condenser = air.wet_bulb_c + tower.approach_k(air.wet_bulb_c, span, 1.0 / most) + span
            assumed, there = p.tower_fan_frac, "tower"
        else:
            entering = plant.entering_c(i, air)
            air_frac = drycooler.air_frac(wanted, entering, span, p.dry_approach_k)
            condenser = entering + drycooler.approach_k(most, span, p.dry_approach_k) + span
            assumed, there = p.dry_fan_frac, "drycooler"
        air_frac = np.minimum(np.where(chilled > 0, 1.0, air_frac), most)
        units = plant.chillers[i] * alive
        cop = cop_ratio(float(setting.goal_c[i]), condenser, p.carnot_frac)
        unit_w = plant.capacity_w["chiller"][i] / max(plant.chillers[i], 1)
        chillers = self.chillers_ratio * bank_power_w(chilled, unit_w, units, cop) if units else np.zeros(len(w))
        rejected = free_w + chilled + chillers
        blowing = 1.0 if not (plant.towers[i] or plant.dry[i]) else float(setting.alive[there][i])
        rated_w = rejected * self.fans_ratio * self._fan_frac(there, i, assumed) * (blowing > 0)
        fans = p.fan_base_frac * rated_w
        fans += tower.fan_power_w(air_frac, (p.fan_full_frac - p.fan_base_frac) * rated_w, p.fan_exponent)
        if towers:
            water = makeup_kgps(evaporated_kgps(rejected), q.cycles_ratio)
        elif plant.dry[i]:
            blown = rejected / (AIR_JPKGK * q.air_rise_k)
            water = pad_kgps(blown, air.dry_bulb_c, entering)
        else:
            water = np.zeros(len(w))
        return fans, chillers, water, rejected

    def _fan_frac(self, kind: str, i: int, assumed_frac: float) -> float:
        """Fan power over heat at design: of the machines' own figures where both are given."""
        at = self.c.machines[kind][i]
        numbers = self.site.numbers
        if not len(at) or "rated_heat_w" not in numbers or "rated_w" not in numbers:
            return assumed_frac
        heat, power = float(numbers["rated_heat_w"][at].sum()), float(numbers["rated_w"][at].sum())
        return power / heat if heat > 0 and power > 0 else assumed_frac
