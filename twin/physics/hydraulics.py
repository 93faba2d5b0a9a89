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

    Darcy-Weisbach with a friction factor that does not change (White, "Fluid Mechanics", chapter 6); sign follows the flow.
    """
    share = np.asarray(flow_kgps) / (np.asarray(design_kgps) * opening_share_frac)
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


def parallel_flow_kgps(
    units: Numbers, speed_frac: Numbers, design_kgps: Numbers, design_pa: Numbers, shutoff_ratio: Numbers, system_kgps: Numbers
) -> Floats:
    """Flow [kg/s] of equal pumps side by side on a system that takes ``system_kgps`` at ``design_pa``.

    Where n²·s·H_d - (s - 1)·H_d·(ṁ/(N·ṁ_d))² meets H_d·(ṁ/ṁ_s)². Two pumps do not give twice the flow of one (ASHRAE
    Handbook, parallel pumping). The design pressure cancels; 0 where no pump runs.
    """
    n, s = np.asarray(units, dtype=np.float64), np.asarray(shutoff_ratio, dtype=np.float64)
    each = np.maximum(n, 1e-12) * design_kgps
    steep = (s - 1.0) / (each * each) + 1.0 / (np.asarray(system_kgps, dtype=np.float64) ** 2)
    return np.asarray(np.where(n > 0, np.asarray(speed_frac) * np.sqrt(s / steep), 0.0 * n) + 0.0 * np.asarray(design_pa))
