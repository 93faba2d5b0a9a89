"""A dry cooler: water against outdoor air through a coil."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def air_frac(leaving_c: Numbers, dry_bulb_c: Numbers, range_k: Numbers, design_approach_k: Numbers) -> Floats:
    """Share of design air (0-1) with which water leaves at ``leaving_c`` [°C].

    With an effectiveness that does not change, Q goes with air flow times (water in - air in): at the same heat the air share
    is (design approach + range) / (leaving + range - dry bulb). 1 where all the air is not enough. Effectiveness in fact
    rises as air slows, so this is on the safe side. Source: ε-NTU with the air as the smaller stream (Incropera, chapter 11).
    """
    head = np.maximum(np.asarray(leaving_c) + range_k - dry_bulb_c, 1e-9)
    return np.asarray(np.minimum((design_approach_k + np.asarray(range_k)) / head, 1.0))
