"""An open cooling tower: how near it comes to the wet bulb, the air it needs for that, and its fan."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers

# YorkCalc, coefficients 1-27 [°C] in order: by power (0, 1, 2) of the liquid-to-gas ratio, then of the range, then of the wet
# bulb. EnergyPlus Engineering Reference, "Variable Speed Cooling Towers"; Modelica Buildings library, YorkCalc.
_YORK = np.array([
    -0.359741205, -0.055053608, 0.0023850432,
    0.173926877, -0.0248473764, 0.00048430224,
    -0.005589849456, 0.0005770079712, -0.00001342427256,
    2.84765801111111, -0.121765149, 0.0014599242,
    1.680428651, -0.0166920786, -0.0007190532,
    -0.025485194448, 0.0000487491696, 0.00002719234152,
    -0.0653766255555556, -0.002278167, 0.0002500254,
    -0.0910565458, 0.00318176316, 0.000038621772,
    -0.0034285382352, 0.00000856589904, -0.000001516821552,
]).reshape(3, 3, 3)  # fmt: skip
_MAX_RATIO = 8.0  # liquid to gas, of the correlation
_LEAST_AIR_FRAC = 0.25  # the correlation is monotonic down to here, and a drive turns no slower; assumed


def _polynomial(wet_bulb_c: Numbers, range_k: Numbers) -> tuple[Floats, Floats, Floats]:
    """Coefficients of the approach [K] as a quadratic of the liquid-to-gas ratio; inputs held inside the correlation."""
    wet = np.clip(np.asarray(wet_bulb_c, dtype=np.float64), -34.4, 29.4444)
    span = np.clip(np.asarray(range_k, dtype=np.float64), 1.1111, 22.2222)
    # the wet bulb first, in its own shape: where it is one for many ranges, most of the work is done once
    of_wet = np.tensordot(_YORK, np.stack([np.ones_like(wet), wet, wet * wet]), axes=(2, 0))
    first, second, third = (by[0] + span * (by[1] + span * by[2]) for by in of_wet)
    return first, second, third


def approach_k(wet_bulb_c: Numbers, range_k: Numbers, liquid_gas_ratio: Numbers) -> Floats:
    """How far above the wet bulb the water leaves [K], at ``range_k`` of cooling.

    ``liquid_gas_ratio`` is water flow over air flow, each as a share of design (0-8). YorkCalc correlation; valid for wet
    bulbs of -34.4 to 29.4 °C and ranges of 1.1 to 22.2 K, at whose edges inputs are held.
    """
    a, b, c = _polynomial(wet_bulb_c, range_k)
    ratio = np.minimum(liquid_gas_ratio, _MAX_RATIO)
    return np.asarray(a + ratio * (b + ratio * c))


def air_frac(wanted_approach_k: Numbers, wet_bulb_c: Numbers, range_k: Numbers) -> Floats:
    """Share of design air (0.25-1) with which a cell at design water flow leaves its water at ``wanted_approach_k``.

    1 where even all the air is not enough, 0.25 where less would do.
    """
    return np.asarray(1 / np.clip(liquid_gas_ratio(wanted_approach_k, wet_bulb_c, range_k), 1.0, 1 / _LEAST_AIR_FRAC))


def liquid_gas_ratio(wanted_approach_k: Numbers, wet_bulb_c: Numbers, range_k: Numbers) -> Floats:
    """Water over air, each as a share of design, at which water leaves at ``wanted_approach_k``: the inverse of ``approach_k``,
    a root of its quadratic. Negative where no air is enough.
    """
    a, b, c = _polynomial(wet_bulb_c, range_k)
    a = a - wanted_approach_k
    inside = np.maximum(b * b - 4 * a * c, 0.0)  # at 0 the quadratic has its top: as far as less air can go
    return np.asarray(-2 * a / (b + np.sqrt(inside)))  # the root that stays finite as c goes through 0


def fan_power_w(air_share_frac: Numbers, rated_w: Numbers, exponent: Numbers) -> Floats:
    """Power of a fan with variable speed [W]: P_rated · (air share)^exponent.

    The affinity law says 3; drives and motors lose at low speed, and ASHRAE 90.1-2016 6.5.5.2.1 asks for no more than 30 % of
    design power at 50 % of air, which is an exponent of 1.74 or more.
    """
    return np.asarray(rated_w * np.asarray(air_share_frac, dtype=np.float64) ** exponent)
