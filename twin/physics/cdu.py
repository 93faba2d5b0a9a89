"""A coolant distribution unit: the heat that a stream carries, and its counterflow heat exchanger."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def carried_heat_w(flow_kgps: Numbers, heat_jpkgk: Numbers, rise_k: Numbers) -> Floats:
    """Heat that a stream takes up [W]: Q = ṁ · cp · ΔT."""
    return np.asarray(np.asarray(flow_kgps) * heat_jpkgk * rise_k)


def effectiveness_frac(ntu: Numbers, capacity_ratio: Numbers) -> Floats:
    """Effectiveness (0-1) of a counterflow exchanger from its transfer units and C_min / C_max (0-1).

    ε = (1 - e^(-NTU(1-Cr))) / (1 - Cr·e^(-NTU(1-Cr))), and NTU / (1 + NTU) at Cr = 1. Incropera & DeWitt, "Fundamentals of
    Heat and Mass Transfer", table 11.3.
    """
    n, cr = np.broadcast_arrays(np.asarray(ntu, dtype=np.float64), np.asarray(capacity_ratio, dtype=np.float64))
    even = np.abs(1 - cr) < 1e-9
    apart = np.where(even, 0.5, cr)  # any value that does not divide by zero; not used
    decay = np.exp(-n * (1 - apart))
    return np.asarray(np.where(even, n / (1 + n), (1 - decay) / (1 - apart * decay)))


def exchanged_heat_w(hot_c: Numbers, cold_c: Numbers, hot_wpk: Numbers, cold_wpk: Numbers, conductance_wpk: Numbers) -> Floats:
    """Heat [W] from a hot to a cold stream in counterflow, from both inlet temperatures [°C].

    Q = ε · C_min · (T_hot,in - T_cold,in) with capacity rates ``hot_wpk`` and ``cold_wpk`` (ṁ·cp, W/K) and ``conductance_wpk``
    UA [W/K]. The outlets follow: T_hot,out = T_hot,in - Q/C_hot, T_cold,out = T_cold,in + Q/C_cold.
    """
    least = np.minimum(hot_wpk, cold_wpk)
    ratio = least / np.maximum(hot_wpk, cold_wpk)
    return np.asarray(effectiveness_frac(conductance_wpk / least, ratio) * least * (np.asarray(hot_c) - cold_c))


def needed_cold_c(supply_c: Numbers, rise_k: Numbers, ntu: Numbers) -> Floats:
    """Facility water [°C] that a unit with equal capacity rates on both sides needs to hold its supply at ``supply_c``.

    The load warms the secondary side by ``rise_k``; with ε = NTU/(1+NTU) and Q = C·rise = ε·C·(supply + rise - cold) follows
    cold = supply + rise - rise/ε, which is ``rise / NTU`` below the supply.
    """
    return np.asarray(np.asarray(supply_c) + rise_k - rise_k / effectiveness_frac(ntu, 1.0))
