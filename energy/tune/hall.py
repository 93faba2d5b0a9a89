"""An air-cooled hall with chilled water as the tuner sees it: the twin's physics as terms, whose weight is learned.

Two or more air systems with outdoor-air economisers, a chilled-water plant behind coils, towers. Terms come from
``twin.physics``; what a term is worth at this plant is ``energy.tune.learn``'s affair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy.tune.case import Case, Part, columns
from energy.tune.knobs import Knob
from twin.frame import Floats
from twin.physics import chiller, tower

SUPPLY_C, CONDENSER_C, ROOM_C = 18.0, 20.0, 23.0  # what the plant does by itself
RISE_K = 8.0  # of air over IT at all air and full load; twin.params, LoopParams.air_rise_k is of a well-contained hall
RECIRCULATED_FRAC, FAN_K = 0.1, 0.4  # of the air that servers take in, at all air; what fans warm supply air by
_RECIRCULATED_EXPONENT = 0.75  # how it grows as less air is blown than servers draw; found on Denver
CONDENSER_RANGE_K = 5.0  # of towers at design (ASHRAE 90.1 table 6.8.1-7: 95/85 °F is 5.6 K)
FAN_EXPONENT = 2.6  # twin.params, PlantParams.fan_exponent
CARNOT_FRAC, CHILLED_C = 0.63, 7.0  # twin.params, PlantParams.carnot_frac; chilled water as the plant has it
_ON_FRAC = 0.08  # heat over full load from which a chiller surely runs
_HEAT_KNOTS = (0.0, 0.01, 0.03, 0.08, 0.2, 0.5, 1.0)  # heat on the chiller over full load: pumps come with its first bit
_LEAST_AIR_FRAC = 0.4  # of air terminals
TOWER_FAN_FRAC, PUMP_FRAC = 0.0127, 0.012  # twin.params, PlantParams
_WET_KNOTS = (-16.0, -10.0, -7.0, -4.0, -1.0, 2.0, 6.0, 12.0)  # wet bulb less supply [K]
_NEAR_KNOTS = (-6.0, -2.0, 0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 12.0)  # condenser water less wet bulb [K]: towers hit a wall there
_COLD_KNOTS = (-8.0, -3.0, 0.0, 3.0, 6.0, 10.0, 15.0)  # dry bulb less supply [K]


@dataclass(frozen=True, slots=True)
class AirSystem:
    """One air system as its own controller is set: dry bulb above which it takes no outdoor air; indirect evaporative cooler
    wet above ``wet_from_c`` of dry bulb and up to ``wet_to_c`` of wet bulb, ``effect_frac`` effective (0: there is none)."""

    economiser_c: float
    wet_from_c: float = 22.0
    wet_to_c: float = 24.0
    effect_frac: float = 0.7


@dataclass(frozen=True, slots=True)
class AirHall:
    """``it_w``: IT power at full load, a scale; ``inlet_c``: lowest and highest IT inlet that the operator allows (ASHRAE
    class); ``supply_c``, ``room_c``: lowest and highest supply and return air; ``jump_frac``: the largest rise of load that may
    come before a decision has worked; ``peak_frac``: the highest load."""

    it_w: float
    systems: tuple[AirSystem, ...] = (AirSystem(16.0), AirSystem(23.0, 20.0))
    inlet_c: tuple[float, float] = (15.0, 27.0)
    supply_c: tuple[float, float] = (13.0, 24.0)
    room_c: tuple[float, float] = (21.0, 31.0)
    jump_frac: float = 0.3
    peak_frac: float = 1.0

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Supply air, condenser water, and return air, which says how much air fans blow."""
        return (
            Knob("supply_air_c", *self.supply_c, 1.0, 1.0, SUPPLY_C),
            Knob("condenser_c", 14.0, 29.0, 3.0, 3.0, CONDENSER_C, dwell=2),
            Knob("room_c", *self.room_c, 1.0, 2.0, ROOM_C),
        )

    @property
    def margins(self) -> tuple[str, ...]:
        """What must stay above 0."""
        return ("inlet_high_k", "inlet_low_k")

    @property
    def reserves(self) -> tuple[float, ...]:
        """Air follows its set point within a step; too cold an inlet harms nothing at once: its spread alone is kept off."""
        return (0.0, -0.3)

    def limits(self, case: Case) -> Floats:
        """float64[..., 2]: room to the inlet's bounds [K]."""
        inlet = self._inlet(case)
        return columns(self.inlet_c[1] - inlet, inlet - self.inlet_c[0])

    def adapted(self, case: Case, margins: Mapping[str, float]) -> "AirHall":
        """Itself: what is learned of it are the weights of its terms."""
        return self

    def parts(self) -> Mapping[str, Part]:
        """Metered parts of facility power with the prior of their terms, over ``it_w``: IT, the fans that blow the air, and
        all that makes it cold. The twin's guess at the last has weight 1; what it leaves out is a response in lines of hinges
        (dry bulb, wet and dry bulb less supply, condenser water less wet bulb, heat on the chiller), 0 until it was learned."""
        hinges = 2 * len(self._dry_knots()) + len(_WET_KNOTS) + len(_COLD_KNOTS) + len(_NEAR_KNOTS) + len(_HEAT_KNOTS)
        curve = 2 * len(self._supply_knots())
        return {
            "it": Part((1.0, 0.05, 0.02, 0.0, *(0.0,) * (curve + 3)), (0.4, 0.2, 0.1, 0.1, *(0.1,) * (curve + 3)), 0.003),
            "fan": Part((0.02, 0.02, 0.02), (0.02, 0.02, 0.03), 0.001),
            "cold": Part((1.0, *(0.0,) * hinges), (0.3, *(0.04,) * hinges), 0.003),
        }

    def terms(self, case: Case) -> Mapping[str, Floats]:
        """part -> float64[..., p]."""
        supply, dry, wet, load = case.knobs[..., 0], case.dry_bulb_c, case.wet_bulb_c, case.load_frac
        inlet, blown = self._inlet(case), self._blown(case)
        one, x, y = np.ones(1), (supply - SUPPLY_C) / 10.0, (inlet - SUPPLY_C) / 10.0
        outside = _hinges(dry, self._dry_knots())
        frac, on, heat = self._cold_frac(case)
        cold = [frac[..., None], outside, outside * x[..., None]]
        cold += [_hinges(wet - supply, _WET_KNOTS), _hinges(dry - supply, _COLD_KNOTS)]
        cold += [on[..., None] * _hinges(case.knobs[..., 1] - wet, _NEAR_KNOTS), _hinges(heat, _HEAT_KNOTS)]
        curve = _hinges(inlet, self._supply_knots())
        back = (self._returned(case) - supply) / 10.0
        it = [columns(load, one, load * y, y), curve, load[..., None] * curve, columns(back, load * back, back / blown)]
        return {
            "it": _beside(it),
            "fan": columns(one, blown, blown**FAN_EXPONENT),
            "cold": _beside(cold),
        }

    def _returned(self, case: Case) -> Floats:
        """Return air [°C]: as set, between what all air and the least of it bring."""
        supply, rise = case.knobs[..., 0], case.load_frac * RISE_K
        return np.asarray(np.clip(case.knobs[..., 2], supply + rise, supply + np.maximum(rise / _LEAST_AIR_FRAC, 0.5)))

    def _blown(self, case: Case) -> Floats:
        """Air over design (0-1): heat balance of the room."""
        rise = np.maximum(self._returned(case) - case.knobs[..., 0], 0.5)
        return np.asarray(np.clip(case.load_frac * RISE_K / rise, _LEAST_AIR_FRAC, 1.0))

    def _inlet(self, case: Case) -> Floats:
        """What servers take in [°C]: supply air, and a little of what they gave off."""
        supply = case.knobs[..., 0]
        back = RECIRCULATED_FRAC / self._blown(case) ** _RECIRCULATED_EXPONENT
        return np.asarray(supply + FAN_K + back * (self._returned(case) - supply))

    def _supply_knots(self) -> tuple[float, ...]:
        """Knots of supply air: what IT draws over its inlet is a curve of its own (fans of servers, leakage)."""
        return tuple(np.linspace(*self.supply_c, 6).tolist())

    def _dry_knots(self) -> tuple[float, ...]:
        """Knots of dry bulb: a pair where an economiser shuts, so that the response may step there."""
        steps = (edge for system in self.systems for edge in (system.economiser_c, system.economiser_c + 0.1))
        return tuple(sorted({-10.0, 2.0, 6.0, 11.0, 19.0, 27.0, 31.0, 36.0, *steps}))

    def _cold_frac(self, case: Case) -> tuple[Floats, Floats, Floats]:
        """Power of chiller, pumps and tower fans over ``it_w`` by the twin's physics, how surely a chiller runs (0-1), and the
        heat on it over ``it_w``."""
        condenser = case.knobs[..., 1]
        left = sum(self._left(system, case) for system in self.systems) / len(self.systems)
        heat = case.load_frac * left
        on = 1 - np.exp(-heat / _ON_FRAC)
        warm = np.maximum(condenser, case.wet_bulb_c + 3.0) + CONDENSER_RANGE_K
        air = tower.air_frac(condenser - case.wet_bulb_c, case.wet_bulb_c, CONDENSER_RANGE_K) ** FAN_EXPONENT
        fans = on * air * TOWER_FAN_FRAC
        return np.asarray(heat / chiller.cop_ratio(CHILLED_C, warm, CARNOT_FRAC) + fans + on * 2 * PUMP_FRAC), on, heat

    def _left(self, system: AirSystem, case: Case) -> Floats:
        """Share of the heat that outdoor air and evaporation leave to the coil (0-1)."""
        supply, dry, wet, back = case.knobs[..., 0], case.dry_bulb_c, case.wet_bulb_c, self._returned(case)
        entering = np.where(dry <= system.economiser_c, np.clip(dry, supply, back), back)
        sink = np.where((dry > system.wet_from_c) & (wet <= system.wet_to_c), wet, dry)
        # its own control shuts the cooler where outdoor air is warmer than what it is to cool, however dry
        taken = np.where(dry < entering, system.effect_frac * np.maximum(entering - sink, 0.0), 0.0)
        return np.asarray(np.clip((entering - supply - taken) / np.maximum(back - supply, 0.5), 0.0, 1.0))


def _beside(parts: Sequence[Floats]) -> Floats:
    """float64[..., p]: blocks of terms side by side, broadcast over their cases."""
    shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return np.concatenate([np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts], axis=-1)


def _hinges(values: Floats, knots: Sequence[float]) -> Floats:
    """float64[..., k]: weights of linear interpolation between ``knots``, held beyond the outer ones."""
    edges = np.asarray(knots)
    inner = np.clip(values, edges[0], edges[-1])[..., None]
    rising = np.clip((inner - edges[:-1]) / np.diff(edges), 0.0, 1.0)  # 1 once a knot is passed
    made = np.zeros((*rising.shape[:-1], len(knots)))
    made[..., 0] = 1.0
    made[..., 1:] += rising
    made[..., :-1] -= rising
    return made
