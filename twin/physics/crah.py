"""Air handlers: a room's air against water through a coil, and the fans that move it."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def coil_heat_w(air_c: Numbers, water_c: Numbers, air_frac: Numbers, design_wpk: Numbers) -> Floats:
    """Heat [W] from return air to water: Q = a · G · (T_air - T_water); below 0 where the water warms the air.

    ``design_wpk`` G is the coil's heat per kelvin of difference between the two inlets with all air (ε · C_air), ``air_frac``
    a the share of it that blows. Holding ε as air slows is on the safe side: it rises. Source: ε-NTU (Incropera, chapter 11).
    """
    return np.asarray(np.asarray(air_frac) * design_wpk * (np.asarray(air_c) - water_c))


def needed_air_frac(heat_w: Numbers, air_c: Numbers, water_c: Numbers, design_wpk: Numbers) -> Floats:
    """Share of air (0-1) with which the coil takes ``heat_w``: the inverse of ``coil_heat_w``; 1 where all is not enough."""
    head_k = np.maximum(np.asarray(air_c) - water_c, 1e-9)
    return np.asarray(np.clip(np.asarray(heat_w) / (np.asarray(design_wpk) * head_k), 0.0, 1.0))
