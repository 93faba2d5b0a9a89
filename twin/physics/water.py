"""Water that evaporates: in towers, on the pads of dry coolers, and what must be let off with its salts."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers

LATENT_JPKG = 2.431e6  # heat of evaporation at 29 °C, ASHRAE Handbook Fundamentals, psychrometrics: 1.481 L per kWh
AIR_JPKGK = 1006.0  # specific heat of dry air, same source


def evaporated_kgps(heat_w: Numbers) -> Floats:
    """Water that carries ``heat_w`` away by evaporating [kg/s]: Q / r, 1.481 L per kWh.

    All of a tower's heat is taken as latent; the sensible part (a tenth to a quarter in cool weather) makes this an upper
    bound.
    """
    return np.asarray(np.asarray(heat_w) / LATENT_JPKG)


def makeup_kgps(evaporation_kgps: Numbers, cycles_ratio: Numbers) -> Floats:
    """Make-up of a tower [kg/s]: evaporation and blow-down E / (CoC - 1), together E · CoC / (CoC - 1).

    Drift (some 0.002 % of the flow) is left out. ASHRAE Handbook HVAC Systems and Equipment, cooling towers.
    """
    cycles = np.asarray(cycles_ratio)
    return np.asarray(np.asarray(evaporation_kgps) * cycles / (cycles - 1.0))


def pad_kgps(air_kgps: Numbers, dry_bulb_c: Numbers, entering_c: Numbers) -> Floats:
    """Water that pads evaporate [kg/s] to cool ``air_kgps`` of outdoor air from dry bulb to ``entering_c`` [°C].

    Adiabatic saturation: what the air loses as sensible heat the water takes as latent. ASHRAE Handbook Fundamentals.
    """
    cooled_k = np.maximum(np.asarray(dry_bulb_c) - entering_c, 0.0)
    return np.asarray(np.asarray(air_kgps) * AIR_JPKGK * cooled_k / LATENT_JPKG)
