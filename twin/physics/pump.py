"""Pumps: the affinity laws."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def affine_power_w(speed_frac: Numbers, rated_w: Numbers) -> Floats:
    """Power [W] at a share of rated speed: P = P_rated · n³ (flow goes with n, head with n²).

    Affinity laws, ASHRAE Handbook HVAC Systems and Equipment, chapter on centrifugal pumps. Holds where the system has
    no static head.
    """
    return np.asarray(np.asarray(speed_frac) ** 3 * rated_w)
