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


def approach_k(air_share_frac: Numbers, range_k: Numbers, design_approach_k: Numbers) -> Floats:
    """How far above the air the water leaves [K] with a share of design air; the inverse of ``air_frac``."""
    return np.asarray((design_approach_k + np.asarray(range_k)) / air_share_frac - range_k)


def entering_c(dry_bulb_c: Numbers, wet_bulb_c: Numbers, pad_frac: Numbers, assisted_frac: Numbers) -> Floats:
    """Air into the coil [°C] behind wetted pads: dry bulb less ``assisted_frac`` · ``pad_frac`` of the wet-bulb depression.

    ``pad_frac`` is the pads' saturation effectiveness, ``assisted_frac`` (0-1) how much of them is wet. ASHRAE Handbook HVAC
    Systems and Equipment, evaporative air-cooling equipment.
    """
    depression_k = np.maximum(np.asarray(dry_bulb_c) - wet_bulb_c, 0.0)
    return np.asarray(np.asarray(dry_bulb_c) - np.asarray(assisted_frac) * pad_frac * depression_k)


def leaving_c(return_c: Numbers, entering_air_c: Numbers, range_k: Numbers, design_approach_k: Numbers) -> Floats:
    """Coldest water with all the air [°C]: return less ε of (return - air), ε = range / (range + approach) as at design.

    The same effectiveness that ``air_frac`` holds.
    """
    share = np.asarray(range_k) / (np.asarray(range_k) + design_approach_k)
    return np.asarray(np.asarray(return_c) - share * (np.asarray(return_c) - entering_air_c))
