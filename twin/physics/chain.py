"""Power devices between grid and rack (transformer, UPS, PDU): loss as a quadratic of load."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def loss_w(out_w: Numbers, rated_w: Numbers, no_load_frac: Numbers, linear_frac: Numbers, square_frac: Numbers) -> Floats:
    """Power lost [W] in a device that delivers ``out_w``: P_rated · (a + b·x + c·x²), x = P_out / P_rated.

    a (``no_load_frac``) feeds cores and controls, b (``linear_frac``) is switching, c (``square_frac``) is I²R. Source:
    Schneider Electric White Paper 108, "Making large UPS systems more efficient" (no-load, proportional and square-law
    losses); for transformers b is 0. All powers are active powers.
    """
    x = np.asarray(out_w) / rated_w
    return np.asarray(rated_w * (no_load_frac + linear_frac * x + square_frac * x * x))
