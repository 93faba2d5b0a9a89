"""A warm-water loop as the tuner sees it: supply temperature, flow and tower water, by the twin's physics as terms.

Load warms the loop, a plate exchanger hands the heat to towers. Three things are paid: pumps (cube of flow, and the towers'
own pump for what the exchanger then needs), tower fans (the nearer to the wet bulb the dearer), leakage in the chips.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from energy.tune.case import Case, Part, columns
from energy.tune.knobs import Knob
from energy.tune.water import dew_point_c
from twin.frame import Floats
from twin.physics import cdu, tower
from twin.physics.coldplate import junction_c

PG25_JPKGK, WATER_JPKGK, PG25_KGPM3 = 3957.0, 4180.0, 1012.5  # at 35 °C; twin.physics.coolant has them over temperature
FAN_EXPONENT = 2.6  # twin.params, PlantParams.fan_exponent
RANGE_K = 8.0  # of towers at full load
LEAST_K = 1.0  # supply over tower water
_NOT_REACHED_K = 0.3  # supply further than this over its set point: towers give what they can
_ADAPT = 0.2  # of what a reading shows of the towers
_FLOWS = np.linspace(0.05, 1.2, 24)  # shares of design flow of tower water at which the exchanger is looked up


@dataclass(frozen=True, slots=True)
class WarmLoop:
    """``it_w``: heat at full load; ``design_kgps``: loop flow at full pump; ``exchanger_wpk``: UA; ``own``: supply, flow and
    gap that the plant has by itself; ``plate_k``: chip over coolant at full load and design flow.

    Bounds: supply between ``supply_c`` and never above ``class_c``, where the water class ends; ``dew_margin_k`` over the dew
    point of the room, whose air comes from outside and is dried to ``dried_c``; return and junction at most ``return_c`` and
    ``junction_c``; flow over design at least ``least_flow_frac``. ``jump_frac``: the largest rise of load, over full load,
    before a decision has worked; ``peak_frac``: the highest load that the machine can draw; ``overshoot_k``: of supply after
    such a jump; ``dew_rise_k``: of the room's dew point. ``approach_frac``: how near towers come to the wet bulb, over the
    correlation's approach; learned.
    """

    it_w: float
    design_kgps: float
    exchanger_wpk: float
    supply_c: tuple[float, float] = (17.0, 32.0)
    own: tuple[float, float, float] = (25.0, 0.9, 3.0)
    class_c: float = 33.0
    return_c: float = 45.0
    junction_c: float = 75.0
    least_flow_frac: float = 0.3
    plate_k: float = 28.0
    jump_frac: float = 0.7
    peak_frac: float = 1.0
    overshoot_k: float = 0.5
    dew_margin_k: float = 2.0
    dried_c: float = 15.0
    dew_rise_k: float = 1.0
    approach_frac: float = 1.0
    plate_exponent: float = 1 / 3  # twin.params, LoopParams.plate_exponent

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Supply temperature, flow over design, and how much colder tower water is ordered."""
        supply, flow, gap = self.own
        return (
            Knob("supply_set_c", *self.supply_c, 1.0, 1.0, supply),
            Knob("flow_frac", self.least_flow_frac, 1.0, 0.05, 0.1, flow),
            Knob("tower_gap_k", 1.0, 6.0, 1.0, 1.0, gap),
        )

    @property
    def margins(self) -> tuple[str, ...]:
        """What must stay above 0."""
        return ("return_k", "junction_k", "class_k", "dew_k")

    @property
    def reserves(self) -> tuple[float, ...]:
        """Kept off those: supply overshoots while towers catch up with a jump of load; air may get more humid."""
        return (self.overshoot_k, self.overshoot_k, 0.0, self.dew_rise_k)

    def limits(self, case: Case) -> Floats:
        """float64[..., 4]: room to the highest return, junction and water class, and over the dew point [K]."""
        supply, flow, _ = self._reached(case)
        dew = np.minimum(dew_point_c(case.dry_bulb_c, case.wet_bulb_c), self.dried_c)
        made = self.measured(supply, supply + self.rise(case.load_frac, flow), flow, case.load_frac, dew)
        # how cold supply is ordered, not how cold it gets, is what may not be below the dew point
        made["dew_k"] = case.knobs[..., 0] - dew - self.dew_margin_k
        return columns(*(made[name] for name in self.margins))

    def measured(
        self, supply_c: Floats, return_c: Floats, flow_frac: Floats, load_frac: Floats, dew_c: Floats
    ) -> dict[str, Floats]:
        """The same margins from what sensors read: both temperatures of the loop, its flow, how loaded the chips are, and the
        dew point of the room."""
        chip = junction_c(return_c, self.plate_k * load_frac, 1.0, flow_frac, self.plate_exponent)
        return {
            "return_k": np.asarray(self.return_c - return_c),
            "junction_k": np.asarray(self.junction_c - chip),
            "class_k": np.asarray(self.class_c - supply_c),
            "dew_k": np.asarray(supply_c - dew_c - self.dew_margin_k),
        }

    def adapted(self, case: Case, margins: Mapping[str, float]) -> "WarmLoop":
        """With ``approach_frac`` nearer to what supply shows: where towers could not hold it, how near they came; where they
        could, that they come as near as that asked."""
        ordered_c, got_c = float(case.knobs[0]), self.class_c - margins.get("class_k", float("nan"))
        full_k = float(self._approach(case)) / self.approach_frac
        shown = (got_c - LEAST_K - float(case.wet_bulb_c)) / max(full_k, 0.1)
        held = got_c <= ordered_c + _NOT_REACHED_K
        if not np.isfinite(shown) or (held and shown >= self.approach_frac):
            return self
        return replace(self, approach_frac=float(np.clip(self.approach_frac + _ADAPT * (shown - self.approach_frac), 0.2, 2.0)))

    def _approach(self, case: Case) -> Floats:
        """How near towers come to the wet bulb with all their air [K]."""
        near = tower.approach_k(case.wet_bulb_c, RANGE_K, np.maximum(case.load_frac, 0.3))
        return np.asarray(self.approach_frac * near)

    def rise(self, load_frac: Floats, flow_frac: Floats) -> Floats:
        """Coolant over the load [K]."""
        return np.asarray(load_frac * self.it_w / (np.maximum(flow_frac, 0.05) * self.design_kgps * PG25_JPKGK))

    def _reached(self, case: Case) -> tuple[Floats, Floats, Floats]:
        """Settings as the weather lets them be: towers come no nearer to the wet bulb than with all their air."""
        supply, flow, gap = np.moveaxis(case.knobs, -1, 0)
        water = np.maximum(supply - gap, case.wet_bulb_c + self._approach(case))
        return np.maximum(supply, water + LEAST_K), flow, water

    def parts(self) -> Mapping[str, Part]:
        """Metered parts of facility power with the prior of their terms, over ``it_w``."""
        return {
            "it": Part((1.0, 0.0015, 0.0), (0.05, 0.001, 0.01), 0.003),
            "pump": Part((0.0, 0.008, 0.0), (0.001, 0.003, 0.002), 0.0005),
            "tower_pump": Part((0.001, 0.002, 0.006), (0.001, 0.002, 0.003), 0.001),
            "tower": Part((0.0, 0.02, 0.0, 0.0, 0.0), (0.001, 0.008, 0.01, 0.01, 0.3), 0.002),
        }

    def terms(self, case: Case) -> Mapping[str, Floats]:
        """part -> float64[..., p]."""
        supply, flow, water = self._reached(case)
        load, one = case.load_frac, np.ones(1)
        need = self._tower_flow(supply, flow, water, load)
        span = load * self.it_w / (need * self.design_kgps * WATER_JPKGK)
        near_k = (water - case.wet_bulb_c) / self.approach_frac
        air = tower.air_frac(near_k, case.wet_bulb_c, np.clip(span, 2.0, 20.0))
        fans = air**FAN_EXPONENT
        near = 1.0 / np.maximum(water - case.wet_bulb_c, 2.0)
        return {
            "it": columns(load, load * (supply - 25.0), one),
            "pump": columns(one, flow**3, flow),
            "tower_pump": columns(one, need, need**3),
            "tower": columns(one, load * fans, load * near, (load * span * near) ** 2, load * near**2),
        }

    def _tower_flow(self, supply: Floats, flow: Floats, water: Floats, load: Floats) -> Floats:
        """Share of design flow of tower water with which the exchanger holds ``supply``: ε-NTU, looked up over ``_FLOWS``.

        What the exchanger moves per kelvin between its inlets depends on both flows alone: a row for each flow there is."""
        flows, rows = np.unique(np.maximum(flow, 0.05), return_inverse=True)
        hot_wpk = flows[:, None] * self.design_kgps * PG25_JPKGK
        moved_wpk = cdu.exchanged_heat_w(1.0, 0.0, hot_wpk, _FLOWS * self.design_kgps * WATER_JPKGK, self.exchanger_wpk)
        apart_k = np.maximum(supply + self.rise(load, flow) - water, 1e-3)
        asked_wpk, rows = np.broadcast_arrays(load * self.it_w / apart_k, rows.reshape(np.shape(flow)))
        at = np.minimum((moved_wpk[rows] < asked_wpk[..., None]).sum(axis=-1), len(_FLOWS) - 1)
        below = np.maximum(at - 1, 0)
        under = moved_wpk[rows, below]
        step_wpk = np.maximum(moved_wpk[rows, at] - under, 1.0)
        part = np.clip((asked_wpk - under) / step_wpk, 0.0, 1.0)
        return np.asarray(_FLOWS[below] + part * (_FLOWS[at] - _FLOWS[below]))
