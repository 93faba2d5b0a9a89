"""The cooling plant as a whole: power against heat, supply temperature and the air outside.

One facility loop: pumps carry the heat to towers (or dry coolers) through a plate exchanger; chillers trim what the air
outside cannot do (a water-side economiser in series). Steady state, no storage.
"""

from typing import NamedTuple

import numpy as np

from twin.frame import Floats
from twin.params import PlantParams
from twin.physics import Numbers, chiller, drycooler, pump, tower


class PlantPower(NamedTuple):
    """Electrical power of the plant's parts [W], and what it says of the weather. All of one broadcast shape."""

    pumps_w: Floats
    fans_w: Floats
    chillers_w: Floats
    chiller_share_frac: Floats  # of the heat that compressors carry, 0-1
    short_k: Floats  # how far above the wanted supply the water stays because there is no chiller

    @property
    def total_w(self) -> Floats:
        """All parts [W]."""
        return np.asarray(self.pumps_w + self.fans_w + self.chillers_w)


class PlantSize(NamedTuple):
    """What the plant was built for: heat [W], and which machines there are. ``chillers`` 0: none; ``chiller_w``: capacity
    of one [W]; without ``towers`` heat goes to dry coolers or air-cooled condensers, and the air's temperature is dry bulb."""

    heat_w: float
    towers: bool
    chillers: int
    chiller_w: float


def plant_power(
    heat_w: Numbers,
    supply_c: Numbers,
    outdoor_c: Numbers,
    size: PlantSize,
    plant: PlantParams,
    fan_limit_frac: Numbers = 1.0,
) -> PlantPower:
    """Power of a plant that takes ``heat_w`` and supplies facility water at ``supply_c`` [°C].

    ``fan_limit_frac``: share of design air that fans may move at most (air goes with speed).
    ``outdoor_c``: wet bulb where there are towers, else dry bulb [°C]. Pumps: flow follows heat down to a least speed, power by
    the affinity law. Fans: as much air as the wanted temperature asks for, cells staged with the load. Chillers carry the
    share (coldest water the air can give - wanted) / range of the heat, 0 to 1, at a share of Carnot and the DOE-2 part-load
    curve; while they run the fans run as fast as they may. Never falls with more heat or warmer air, never rises with a warmer
    supply.
    """
    heat = np.asarray(heat_w, dtype=np.float64)
    span = plant.range_k
    pumps = pump.affine_power_w(np.maximum(heat / size.heat_w, plant.least_pump_speed_frac), size.heat_w * plant.pump_frac)
    wanted = np.asarray(supply_c) - plant.exchanger_k
    if size.towers:
        coldest = outdoor_c + tower.approach_k(outdoor_c, span, 1.0 / np.asarray(fan_limit_frac))
        air, fan_frac = tower.air_frac(wanted - outdoor_c, outdoor_c, span), plant.tower_fan_frac
    else:
        coldest = np.asarray(outdoor_c + drycooler.approach_k(fan_limit_frac, span, plant.dry_approach_k))
        air, fan_frac = drycooler.air_frac(wanted, outdoor_c, span, plant.dry_approach_k), plant.dry_fan_frac
    above_k = np.maximum(coldest - wanted, 0.0)
    share = np.minimum(above_k / span, 1.0) if size.chillers else 0.0 * above_k
    cop = chiller.cop_ratio(supply_c, coldest + span, plant.carnot_frac)
    chillers = chiller.bank_power_w(heat * share, size.chiller_w, size.chillers, cop) if size.chillers else 0.0 * (heat + share)
    fans = tower.fan_power_w(np.minimum(air, fan_limit_frac), (heat + chillers) * fan_frac, plant.fan_exponent)
    short = 0.0 * above_k if size.chillers else above_k
    parts = np.broadcast_arrays(pumps, fans, chillers, share, short)
    return PlantPower(*(np.asarray(part) for part in parts))
