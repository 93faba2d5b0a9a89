"""What plants do with heat: reuse, economiser, chillers; how cold the air outside lets water become."""

import math
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats
from twin.params import Params
from twin.physics import tower
from twin.physics.coldplate import junction_c
from twin.physics.drycooler import entering_c, leaving_c
from twin.sim.circuit import REJECTORS, Circuit
from twin.sim.fleet import Fleet
from twin.sim.setting import Setting
from twin.site import Site

_SPAN_K = (1.1111, 22.2222)  # ranges of the YorkCalc correlation


@dataclass(frozen=True, slots=True, eq=False)
class Air:
    """The air outside over a chunk, float64[t] °C."""

    wet_bulb_c: Floats
    dry_bulb_c: Floats


class Plant:
    """All plants of a circuit; ``apart_room_w`` float64[h]: steady heat of IT outside of racks in each room."""

    def __init__(self, site: Site, circuit: Circuit, fleet: Fleet, params: Params, economiser: str) -> None:
        self.c, self.params, self.economiser = circuit, params, economiser
        self.fleet = fleet
        plants = range(len(circuit.plant_loop))
        self.towers, self.dry, self.chillers = (
            [len(circuit.machines[kind][p]) for p in plants] for kind in ("tower", "drycooler", "chiller")
        )
        pads = site.number("drycooler", "pad_frac", params.loops.pad_frac)
        at = [site.row_of[circuit.machines["drycooler"][p]] for p in plants]
        self.pad_frac = [float(pads[rows].mean()) if len(rows) else 0.0 for rows in at]
        self.open = [any(len(circuit.machines[kind][p]) for kind in REJECTORS) for p in plants]
        self.free_only = [p for p in plants if self.towers[p] + self.dry[p] and not self.chillers[p]]
        self.capacity_w = {kind: [self._capacity_w(site, kind, p) for p in plants] for kind in REJECTORS}
        hall = np.full(len(site.ids), -1, dtype=np.int32)
        for kind in ("switch", "storage", "node"):
            hall[site.of_kind(kind)] = site.within(kind, "hall")
        room = hall[fleet.apart]
        self.apart_room_w = np.bincount(
            room[room >= 0], weights=fleet.apart_w[room >= 0], minlength=len(circuit.room_loop)
        ).astype(np.float64)

    def _capacity_w(self, site: Site, kind: str, p: int) -> float:
        """Heat that all machines of a kind carry at design [W]: their own figure, a chiller's from its power, else an even
        part of the plant's design with one to spare."""
        at, plant = self.c.machines[kind][p], self.params.plant
        if not len(at):
            return 0.0
        n = len(at)
        unknown = np.full(n, np.nan)
        given = site.numbers["rated_heat_w"][at] if "rated_heat_w" in site.numbers else unknown
        power = site.numbers["rated_w"][at] if "rated_w" in site.numbers else unknown
        design = 1.1 * float(self.c.plant_heat_w[p]) / max(n - 1, 1)
        assumed = power * plant.chiller_cop if kind == "chiller" else unknown
        return float(np.where(np.isnan(given), np.where(np.isnan(assumed), design, assumed), given).sum())

    def chip_rise_k(self, rack_w: Floats, setting: Setting) -> Floats:
        """float64[t, b]: how far the hottest chips of each branch lie above its coolant when racks draw ``rack_w`` [t, r]."""
        fleet, c, p = self.fleet, self.c, self.params.loops
        chips = fleet.per_rack(fleet.gpus.astype(np.float64))
        rated = np.divide(fleet.per_rack(fleet.gpus * fleet.gpu_rated_w), chips, out=np.zeros(len(chips)), where=chips > 0)
        span = np.maximum(fleet.full_w - fleet.base_w, 1.0)
        load = np.clip((rack_w - fleet.base_w) / span, 0.0, 1.0)[:, c.rack]
        chip = rated[c.rack] * (self.params.node.gpu_idle_frac + (1 - self.params.node.gpu_idle_frac) * load)
        bare = np.isin(c.rack, fleet.rack[fleet.position == fleet.site.of_kind("rack")[fleet.rack]])
        chip = np.where(bare, self.params.node.gpu_w * load, chip)  # a rack of unknown content: chips of the usual kind
        return junction_c(0.0, chip, p.plate_wpk, setting.branch_frac, p.plate_exponent)

    def idle_rise_k(self, setting: Setting) -> Floats:
        """float64[b]: the same with every chip idle."""
        rise: Floats = self.chip_rise_k(self.fleet.base_w[None, :], setting)[0]
        return rise

    def moving_frac(self, rack_w: Floats) -> Floats:
        """float64[t, b]: what part of the power of each branch's rack follows the load of its chips."""
        moving = np.maximum(rack_w - self.fleet.base_w, 0.0)
        share: Floats = np.divide(moving, rack_w, out=np.zeros_like(moving), where=rack_w > 0)[:, self.c.rack]
        return share

    def prepare(self, air: Air, setting: Setting) -> None:
        """Take over the weather of a chunk and what of the plant is alive."""
        p = self.params.plant
        self.wet: list[float] = air.wet_bulb_c.tolist()
        self.air_c: list[list[float]] = [self.entering_c(i, air).tolist() for i in range(len(self.pad_frac))]
        self.cold: list[list[float]] = cold_coefficients(air.wet_bulb_c).tolist() if any(self.towers) else []
        self.alive: dict[str, list[float]] = {kind: setting.alive[kind].tolist() for kind in REJECTORS}
        self.goal: list[float] = setting.goal_c.tolist()
        self.fan_limit: list[float] = setting.fan_limit_frac.tolist()
        self.design_wpk: list[float] = self.c.loop_wpk[self.c.plant_loop].tolist()
        self.exchanger_k = p.exchanger_k

    def entering_c(self, p: int, air: Air) -> Floats:
        """float64[t]: air into the coils of plant ``p`` [°C], behind its wetted pads where it has some."""
        assisted = np.where(air.dry_bulb_c > self.params.loops.pad_above_c, 1.0, 0.0)
        return entering_c(air.dry_bulb_c, air.wet_bulb_c, self.pad_frac[p], assisted)

    def coldest_c(self, p: int, t: int, w: float, back_c: float) -> float:
        """How cold plant ``p`` could make ``w`` [W/K] of water that comes back at ``back_c``, with all air that may move [°C].

        Towers: YorkCalc at the range that it then has, cells staged with the flow (liquid to gas 1, more where cells are
        missing). Dry coolers: the effectiveness of design, less where machines are missing. Both behind a plate exchanger.
        """
        plant = self.params.plant
        if self.towers[p]:
            alive = self.alive["tower"][p]
            if alive <= 0:
                return back_c
            ratio = min(max(w / (self.design_wpk[p] * alive), 1.0) / self.fan_limit[p], 8.0)
            k = self.cold[t]
            a = k[0] + ratio * (k[3] + ratio * k[6])
            b = k[1] + ratio * (k[4] + ratio * k[7])
            c = k[2] + ratio * (k[5] + ratio * k[8])
            # the range is what the approach leaves of the way from return to wet bulb: a + b·r + c·r² + r = head
            head = back_c - self.wet[t] - self.exchanger_k
            root = math.sqrt(max((b + 1) ** 2 + 4 * c * (head - a), 0.0))
            span = min(max(2 * (head - a) / (b + 1 + root), _SPAN_K[0]), _SPAN_K[1])
            return self.wet[t] + a + span * (b + span * c) + self.exchanger_k
        alive = self.alive["drycooler"][p]
        if alive <= 0:
            return back_c
        whole = float(leaving_c(back_c, self.air_c[p][t], plant.range_k, plant.dry_approach_k))
        return back_c - alive * self.fan_limit[p] * (back_c - whole) + self.exchanger_k

    def reject(self, p: int, t: int, w: float, back_c: float, chilled_w: float, h: float) -> tuple[float, float, float, float]:
        """Heat reused [W], temperature behind towers or dry coolers, temperature out [°C], heat that chillers carry [W].

        ``w``: flow [W/K] that comes back at ``back_c``; ``chilled_w``: of the step before; ``h``: length of this one [s].
        """
        goal = self.goal[p]
        if not self.open[p]:
            return 0.0, goal, goal, 0.0  # facility water from elsewhere
        if w <= 0:
            return 0.0, back_c, back_c, 0.0
        reused = min(self.capacity_w["heatreuse"][p] * self.alive["heatreuse"][p], max(w * (back_c - goal), 0.0))
        warm = back_c - reused / w
        outside = self.towers[p] + self.dry[p] > 0
        free = warm
        if outside and (self.economiser != "none" or not self.chillers[p]):  # who has no chillers has nothing else
            cold = self.coldest_c(p, t, w, back_c)
            free = min(warm, max(goal, cold))
            if self.economiser == "switched" and self.chillers[p] and cold > goal:
                free = warm
        if not self.chillers[p]:
            return reused, free, free, 0.0
        rejecting = not outside or self.alive["tower"][p] + self.alive["drycooler"][p] > 0
        most = self.capacity_w["chiller"][p] * self.alive["chiller"][p] * rejecting
        need = min(max(w * (free - goal), 0.0), most)
        chilled = min(chilled_w + (need - chilled_w) * min(h / self.params.loops.chiller_lag_s, 1.0), need) if most else 0.0
        return reused, free, free - chilled / w, chilled


def cold_coefficients(wet_bulb_c: Floats) -> Floats:
    """float64[t, 9]: YorkCalc's approach as a polynomial of liquid-to-gas ratio and range (powers 0-2 each) at each wet bulb.

    Taken from nine values of ``twin.physics.tower.approach_k``, which is such a polynomial.
    """
    ratios, spans = np.array([0.5, 1.0, 2.0]), np.array([2.0, 8.0, 20.0])
    values = tower.approach_k(wet_bulb_c[:, None, None], spans[None, None, :], ratios[None, :, None])
    powers = np.arange(3)
    left, right = np.linalg.inv(ratios[:, None] ** powers), np.linalg.inv(spans[:, None] ** powers)
    found: Floats = np.einsum("lr,trs,ms->tlm", left, values, right).reshape(len(wet_bulb_c), 9)
    return found
