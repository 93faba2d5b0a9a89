"""Pipes, valves and pump curves: pressure against mass flow."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def opening_frac(position_frac: Numbers, rangeability_ratio: Numbers) -> Floats:
    """Flow coefficient of a valve over that when open, with an equal-percentage characteristic: R^(x - 1), 0 when shut.

    IEC 60534-2-4, inherent flow characteristic and rangeability R. Between 0 and a hundredth of travel it goes to 0 in a line,
    as a seat does; the norm speaks of open valves only.
    """
    x = np.asarray(position_frac, dtype=np.float64)
    seat = np.minimum(x / 0.01, 1.0)
    return np.asarray(seat * np.asarray(rangeability_ratio, dtype=np.float64) ** (np.maximum(x, 0.01) - 1.0))


def pressure_drop_pa(flow_kgps: Numbers, design_kgps: Numbers, design_pa: Numbers, opening_share_frac: Numbers = 1.0) -> Floats:
    """Pressure lost by a turbulent flow [Pa]: Δp_d · (ṁ / (ṁ_d · φ))², φ the opening of what throttles it.

    Darcy-Weisbach with a friction factor that does not change (White, "Fluid Mechanics", chapter 6); sign follows the flow;
    inf through what is shut.
    """
    taken = np.asarray(design_kgps, dtype=np.float64) * opening_share_frac
    share = np.divide(flow_kgps, taken, out=np.full(np.broadcast(flow_kgps, taken).shape, np.inf), where=taken > 0)
    return np.asarray(design_pa * share * np.abs(share))


def pump_head_pa(
    flow_kgps: Numbers, speed_frac: Numbers, design_kgps: Numbers, design_pa: Numbers, shutoff_ratio: Numbers
) -> Floats:
    """Head of a centrifugal pump [Pa]: H_d · (s·n² - (s - 1)·(ṁ/ṁ_d)²), s the head at no flow over that at design.

    A parabola through shut-off and design point, moved by the affinity laws (ASHRAE Handbook HVAC Systems and Equipment,
    centrifugal pumps). Negative beyond the curve's end, where the pump is dragged.
    """
    share = np.asarray(flow_kgps) / design_kgps
    s = np.asarray(shutoff_ratio)
    return np.asarray(design_pa * (s * np.asarray(speed_frac) ** 2 - (s - 1.0) * share * share))
