"""Batteries of a UPS or of the site: how long they carry a load."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def autonomy_s(load_w: Numbers, rated_w: Numbers, rated_s: Numbers, exponent: Numbers) -> Floats:
    """How long a battery carries ``load_w`` [s] that lasts ``rated_s`` at ``rated_w``: t = t_r · (P_r / P)^k.

    Source: Peukert's law (1897) in its constant-power form; k is 1.1-1.3 for lead-acid, near 1.05 for lithium cells. inf at no
    load.
    """
    load = np.asarray(load_w, dtype=np.float64)
    share = np.asarray(rated_w) / np.maximum(load, 1e-9)
    return np.asarray(np.where(load > 0, np.asarray(rated_s) * share ** np.asarray(exponent), np.inf) + 0.0 * load)
