"""A water chiller: how its efficiency goes with lift and with load."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers

_KELVIN = 273.15
# Input ratio at part load of a centrifugal chiller: COMNET / DOE-2 default curve (also Modelica Buildings, ElectricEIR)
_PART_LOAD = (0.17149273, 0.58820208, 0.23737257)
_LEAST_LIFT_K = 5.0


def cop_ratio(leaving_c: Numbers, condenser_c: Numbers, carnot_frac: Numbers) -> Floats:
    """Coefficient of performance at full load: ``carnot_frac`` of Carnot between chilled water leaving the evaporator at
    ``leaving_c`` and water leaving the condenser at ``condenser_c`` [°C]; the lift is held at 5 K or more.

    η · T_e / (T_c - T_e), T in kelvin. Gordon & Ng, "Cool Thermodynamics" (2000): losses take a nearly fixed share.
    """
    lift = np.maximum(np.asarray(condenser_c) - leaving_c, _LEAST_LIFT_K)
    return np.asarray(carnot_frac * (np.asarray(leaving_c) + _KELVIN) / lift)


def part_load_frac(load_frac: Numbers) -> Floats:
    """Electrical power over power at full load, at ``load_frac`` (0-1) of capacity: 0.171 + 0.588·x + 0.237·x²."""
    x = np.asarray(load_frac)
    return np.asarray(_PART_LOAD[0] + x * (_PART_LOAD[1] + x * _PART_LOAD[2]))


def bank_power_w(heat_w: Numbers, unit_w: Numbers, units: Numbers, cop: Numbers) -> Floats:
    """Electrical power [W] of equal chillers that share ``heat_w``, as many of them running as can carry it and take least.

    ``unit_w``: cooling capacity of each [W]; ``units``: how many there are; ``cop``: at full load. 0 where there is no heat.
    With m running it is (0.171·m·u + 0.588·Q + 0.237·Q²/(m·u)) / COP, least at m = Q/u · √(0.237/0.171); it never falls with
    more heat.
    """
    heat = np.asarray(heat_w)
    fewest, best = np.clip(np.ceil(heat / unit_w), 1, units), heat / unit_w * np.sqrt(_PART_LOAD[2] / _PART_LOAD[0])
    powers_w = []
    for count in (np.floor(best), np.ceil(best)):
        capacity_w = np.clip(count, fewest, units) * unit_w
        powers_w.append(capacity_w / cop * part_load_frac(heat / capacity_w))
    return np.asarray(np.where(heat > 0, np.minimum(*powers_w), 0.0 * heat))
