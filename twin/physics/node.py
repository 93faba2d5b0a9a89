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
