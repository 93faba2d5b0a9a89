"""A compute node: processors whose power follows utilisation, and the conversion stages of its power supply."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def utilised_power_w(util_frac: Numbers, idle_w: Numbers, full_w: Numbers) -> Floats:
    """Power of a processor [W] at utilisation ``util_frac`` (0-1): idle + (full - idle) · u.

    Linear, after Fan, Weber & Barroso, "Power provisioning for a warehouse-sized computer" (ISCA 2007), and ExaDigiT/RAPS.
    """
    return np.asarray(idle_w + (np.asarray(full_w) - idle_w) * util_frac)


def supplied_power_w(load_w: Numbers, constant_w: Numbers, efficiency_frac: Numbers) -> Floats:
    """Power into a converter [W] that delivers ``load_w``: (P_out + c) / η.

    ``constant_w`` c is what it draws for itself, ``efficiency_frac`` η (0-1] its efficiency on the rest. Source: loss model
    of the Frontier twin (Brewer et al., "A digital twin framework for liquid-cooled supercomputers", SC 2024; RAPS).
    """
    return np.asarray((np.asarray(load_w) + constant_w) / efficiency_frac)


def delivered_power_w(supplied_w: Numbers, constant_w: Numbers, efficiency_frac: Numbers) -> Floats:
    """What a converter delivers [W] from ``supplied_w``: the inverse of ``supplied_power_w``, never below 0."""
    return np.maximum(np.asarray(supplied_w) * efficiency_frac - constant_w, 0.0)


def clocked_power_w(power_w: Numbers, idle_w: Numbers, clock_frac: Numbers, exponent: Numbers) -> Floats:
    """Power at a share of full clock [W]: idle + (P - idle) · f^exponent.

    Switching power is C·V²·f; with voltage that follows frequency the exponent lies between 1 (voltage at its floor) and 3.
    Source: Rabaey, "Digital Integrated Circuits", chapter 5.
    """
    return np.asarray(idle_w + (np.asarray(power_w) - idle_w) * np.asarray(clock_frac) ** exponent)


def capped_power_w(power_w: Numbers, cap_w: Numbers) -> Floats:
    """Power of a processor whose driver holds it at ``cap_w`` or below [W]. NVIDIA, "NVML API reference": power limit."""
    return np.asarray(np.minimum(np.asarray(power_w), cap_w))


def throttled_rate_frac(power_w: Numbers, wanted_w: Numbers, exponent: Numbers) -> Floats:
    """Speed of work under a cap over speed without (0-1): (P / P_wanted)^exponent, 1 where the cap does not bind.

    A power law through the measured sweep of eight workloads at caps of 200-350 W of 400 (Emerald AI field trial, May 2025):
    exponent 0.3-0.5.
    """
    return np.asarray(np.minimum(np.asarray(power_w) / wanted_w, 1.0) ** np.asarray(exponent))


def leaking_power_w(power_w: Numbers, temp_c: Numbers, reference_c: Numbers, leakage_per_k: Numbers) -> Floats:
    """Power with the leakage of warmer silicon [W]: P · (1 + k · (T - T_ref)).

    Leakage grows exponentially; a line holds over the 20 K that a loop moves. Source: Rabaey, chapter 5.
    """
    return np.asarray(np.asarray(power_w) * (1.0 + np.asarray(leakage_per_k) * (np.asarray(temp_c) - reference_c)))
