"""A liquid-cooled site as the live tuner sees it: plant water and coolant by the twin's physics, whose weight is learned.

Towers carry what they can at a wet bulb, with fans as fast as they may turn, chillers the rest, as many of them as may run;
CDUs need more facility water the nearer plant water comes to their coolant; chips leak with coolant. What each term is worth at
this site is ``energy.tune.learn``'s affair.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from energy.response import Params
from energy.tune.bank import Bank
from energy.tune.case import Case, Part, columns
from energy.tune.fans import Fans
from energy.tune.knobs import Knob
from twin.frame import Floats
from twin.physics import chiller, tower

FAN_EXPONENT, CARNOT_FRAC = 2.6, 0.5  # twin.params, PlantParams; a machine of its age and size between the twin's bounds
RANGE_K = 8.0  # of plant water over its load, where nothing else is known
APPROACH_K, HEAD_K = 6.0, 6.0  # towers over wet bulb with heat exchanger; condenser over tower water
TOWER_FAN_FRAC, PUMP_FRAC = 0.012, 0.01  # of IT power at design; twin.params, PlantParams
_MAGNUS_A, _MAGNUS_B_C, _MAGNUS_E0_PA = 17.62, 243.12, 611.2  # WMO-No. 8, annex 4.B, over water
_PSYCHROMETER_PER_K = 6.53e-4  # WMO-No. 8, annex 4.B: e = e'w - 0.000653 (1 + 0.000944 t') p (t - t')
_AIR_PA = 101_325.0
HELD_K = 1.5  # plant water further than this over its setpoint: those chillers that may run are too few


@dataclass(frozen=True, slots=True)
class WaterSite:
    """``it_w``: a scale, IT power as first read; ``own``: plant water and coolant [°C] that the site has by itself (one value:
    coolant alone can be set, plant water follows ``params.gap_k`` below); ``bank``: its chillers, where it can be set how many
    run at most, which then follows the waters in the settings; ``fans``: of its towers, where it can be set how fast they turn
    at most, which is then the last; ``junction_k``: room of the hottest chip at its full load to where it throttles, at own
    settings; ``highest_c``: where the water class ends; ``least_gap_k``: between the waters. All other bounds are those of
    ``params``."""

    it_w: float
    own: tuple[float, ...]
    junction_k: float
    params: Params
    highest_c: float
    least_gap_k: float
    bank: Bank | None = None
    fans: Fans | None = None
    jump_frac: float = 0.0  # chips are judged at full load already
    peak_frac: float = 1.5

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Plant water and coolant, or coolant alone, within five kelvin of the site's own settings; how many chillers run; how
        fast fans may turn."""
        names = ("plant_water_c", "coolant_c")[-len(self.own) :]
        grid = 1.0 if self.bank and self.fans else 0.5  # all settings together are bounded
        waters = tuple(
            Knob(name, max(own - 5.0, min(self.params.lowest_c, own)), max(min(own + 5.0, self.highest_c), own), grid, 1.0, own)
            for name, own in zip(names, self.own, strict=True)
        )
        return (*waters, *(one.knob for one in (self.bank, self.fans) if one is not None))

    @property
    def margins(self) -> tuple[str, ...]:
        """What must stay above 0."""
        return ("junction_k", "dew_k", "gap_k", *(("held_k",) if self.bank or self.fans else ()))

    @property
    def reserves(self) -> tuple[float, ...]:
        """Chips are handed back half way into the margin that a plan keeps off throttling; a gap is of setpoints, and exact."""
        return (0.5 * self.params.throttle_margin_k, 0.0, -0.3, *((0.2,) if self.bank or self.fans else ()))

    def limits(self, case: Case) -> Floats:
        """float64[..., c]: room of the hottest chip, over the dew point, between both waters, and to plant water that is not
        held [K]."""
        water, coolant = self.waters(case.knobs)
        over = self._over_k(case, water)
        made = self.measured(water, coolant, dew_point_c(case.dry_bulb_c, case.wet_bulb_c), self.junction_k, over)
        made["junction_k"] = made["junction_k"] - (coolant - self.own[-1])
        return columns(*(made[name] for name in self.margins))

    def measured(
        self, water_c: Floats, coolant_c: Floats, dew_c: Floats, junction_k: float, over_k: Floats | float = 0.0
    ) -> dict[str, Floats]:
        """The margins from both waters, the dew point of the air, what chips have left to ``throttle_margin_k``, and how far
        plant water is over its setpoint."""
        p = self.params
        held = {"held_k": np.asarray(HELD_K - over_k)} if self.bank or self.fans else {}
        return {
            "junction_k": np.asarray(junction_k + 0.5 * p.throttle_margin_k),
            "dew_k": np.asarray(np.minimum(water_c, coolant_c) - dew_c - p.dew_margin_k),
            "gap_k": np.asarray(coolant_c - water_c - self.least_gap_k),
            **held,
        }

    def adapted(self, case: Case, margins: Mapping[str, float]) -> "WaterSite":
        """Itself: what is learned of it are the weights of its terms."""
        return self

    def parts(self) -> Mapping[str, Part]:
        """Metered parts of facility power with the prior of their terms, over ``it_w``."""
        staged = ((1.0,), (0.5,)) if self.bank else ((), ())
        if self.fans is None:
            cold = {"cold": Part((1.0, 1.0, 0.002, *staged[0]), (0.4, 0.5, 0.01, *staged[1]), 0.003)}
        else:  # each by its own meters: what a limit spares stands in the one, what it costs in the other
            cold = {
                "chill": Part((1.0, 0.001, 0.0, *staged[0]), (0.4, 0.01, 0.3, *staged[1]), 0.003),
                "fan": Part((0.0, 1.0, 0.0), (0.5, 0.5, 0.005), 0.001),
            }
        return {
            "it": Part((1.0, 0.002, 0.0), (0.05, 0.0008, 0.05), 0.005),  # leakage: the low side of energy.response
            **cold,
            "pump": Part((0.005, 0.005, 1.0), (0.02, 0.02, 0.4), 0.001),
        }

    def terms(self, case: Case) -> Mapping[str, Floats]:
        """part -> float64[..., p]."""
        water, coolant = self.waters(case.knobs)
        load, one = case.load_frac, np.ones(1)
        own_water, own_coolant = self.waters(np.asarray(self.own))
        # what a gap costs is told apart from what pumps take anyway: only a move can teach it
        flow = self._flow(coolant - water) ** 3 - self._flow(own_coolant - own_water) ** 3
        return {
            "it": columns(load, load * (coolant - self.own[-1]), one),
            **self._cold(case, water),
            "pump": columns(one, load, PUMP_FRAC * load * flow),
        }

    def _cold(self, case: Case, water_c: Floats) -> dict[str, Floats]:
        """part -> float64[..., p]: of what makes water cold."""
        load, wet, one = case.load_frac, case.wet_bulb_c, np.ones(1)
        left = self._left(case, water_c)
        chilled = load * left / self._cop(case, water_c)
        staged = [] if self.bank is None else [chilled * self.bank.surplus_frac(load * left, self._count(case))]
        if self.fans is None:
            air = np.where(left > 0, 1.0, tower.air_frac(np.maximum(water_c - wet, 1.0), wet, RANGE_K))
            return {"cold": columns(chilled, TOWER_FAN_FRAC * load * air**FAN_EXPONENT, one, *staged)}
        limit, full = case.knobs[..., -1], self.fans.full_frac
        air = np.minimum(self.fans.speed_frac(load, water_c - wet, wet), limit) ** FAN_EXPONENT
        # what a limit costs is told apart from what chillers take anyway: only a move can teach it
        own = case._replace(knobs=np.concatenate([case.knobs[..., :-1], np.ones_like(limit)[..., None]], axis=-1))
        free = load * self._left(own, water_c) / self._cop(own, water_c)
        return {"chill": columns(chilled, one, chilled - free, *staged), "fan": columns(full * load * air, full * air, one)}

    def _cop(self, case: Case, water_c: Floats) -> Floats:
        return chiller.cop_ratio(water_c - 2.0, case.wet_bulb_c + self._approach_k(case) + HEAD_K, CARNOT_FRAC)

    def _approach_k(self, case: Case) -> Floats | float:
        """How near the wet bulb towers bring plant water at most [K]."""
        if self.fans is None:
            return APPROACH_K
        return self.fans.approach_k(case.load_frac, case.knobs[..., -1], case.wet_bulb_c)

    def _count(self, case: Case) -> Floats:
        """How many chillers may run."""
        return np.asarray(case.knobs[..., len(self.own)])

    def _flow(self, gap_k: Floats) -> Floats:
        """Facility water over its design at a gap between both waters: heat balance of an exchanger with area to spare."""
        return np.asarray((RANGE_K + self.params.gap_k) / (RANGE_K + np.maximum(gap_k, 0.0)))

    def _left(self, case: Case, water_c: Floats) -> Floats:
        """Share of the heat that towers cannot take (0-1)."""
        return np.asarray(np.clip((case.wet_bulb_c + self._approach_k(case) - water_c) / self._range_k(case), 0.0, 1.0))

    def _range_k(self, case: Case) -> Floats | float:
        """Range of plant water over its load [K]."""
        return RANGE_K if self.fans is None else self.fans.span_k(case.load_frac)

    def _over_k(self, case: Case, water_c: Floats) -> Floats | float:
        """How far plant water gets over its setpoint, where those chillers that may run cannot carry what is left [K]."""
        if self.bank is None and self.fans is None:
            return 0.0
        heat = case.load_frac * self._left(case, water_c)
        if self.bank is not None:
            short = self.bank.left_frac(heat, self._count(case))
        else:
            short = np.zeros(()) if self.fans is None else self.fans.left_frac(heat)
        return short / np.maximum(case.load_frac, 1e-3) * self._range_k(case)

    def staged(
        self,
        case: Case,
        running_count: float,
        most_count: float,
        speed_frac: float = math.nan,
        near_k: float = math.nan,
        range_k: float = math.nan,
    ) -> "WaterSite":
        """Itself, or with its chillers' sequence as ``running_count`` of them show it, of which ``most_count`` may run, and its
        towers as ``near_k`` above the wet bulb, with fans at ``speed_frac``, and the water's ``range_k`` show them: ``case`` is
        that reading's, without axes."""
        water, _ = self.waters(case.knobs)
        bank, fans = self.bank, self.fans
        if bank is not None:
            bank = bank.staged(float(case.load_frac * self._left(case, water)), running_count, most_count)
        if fans is not None:
            load, wet = float(case.load_frac), float(case.wet_bulb_c)
            fans = fans.ranged(load, range_k).turned(load, near_k, wet, speed_frac)
        return self if (bank, fans) == (self.bank, self.fans) else replace(self, bank=bank, fans=fans)

    def waters(self, settings: Floats) -> tuple[Floats, Floats]:
        """Plant water and coolant [°C] of settings [..., k]."""
        coolant = np.asarray(settings[..., len(self.own) - 1])
        return (np.asarray(settings[..., 0]) if len(self.own) > 1 else coolant - self.params.gap_k), coolant


def dew_point_c(dry_bulb_c: Floats, wet_bulb_c: Floats) -> Floats:
    """Dew point [°C] of air at sea level from its dry and wet bulb: WMO-No. 8, annex 4.B."""
    over_pa = _MAGNUS_E0_PA * np.exp(_MAGNUS_A * wet_bulb_c / (_MAGNUS_B_C + wet_bulb_c))
    vapour_pa = over_pa - _PSYCHROMETER_PER_K * (1 + 0.000944 * wet_bulb_c) * _AIR_PA * (dry_bulb_c - wet_bulb_c)
    gamma = np.log(np.maximum(vapour_pa, 1.0) / _MAGNUS_E0_PA)
    return np.asarray(_MAGNUS_B_C * gamma / (_MAGNUS_A - gamma))
