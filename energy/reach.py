"""What an asset cools: the ``cools`` links followed to the GPUs at their end, and the neighbours on either side."""

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Site

MAX_HOPS = 16  # links between a plant and a rack; a longer chain is cut, and what lies behind it counts as not cooled
LOADED_FRAC = 0.5  # of its rating: below it, what a GPU shows says too little of full load
MAX_LEVELS = 8  # containers above a GPU: site, hall, row, rack, node and some to spare


def cooled_share(site: Site, position: int, kind: str = "gpu") -> Floats:
    """float64[n]: for each asset of ``kind`` the part of its heat (0-1) that the asset at ``position`` carries away.

    Shares multiply along a chain of links and add up over parallel ones; what stands in a cooled rack is cooled with it.
    """
    links = site.links["cools"]
    total = np.zeros(len(site.ids))
    here = np.zeros(len(site.ids))
    here[position] = 1.0
    for _ in range(MAX_HOPS):
        passed = here[links.source] * links.share
        here = np.bincount(links.target, weights=passed, minlength=len(site.ids)).astype(np.float64)
        if not here.any():
            break
        total += here
    above = site.of_kind(kind).copy()
    share = np.zeros(len(above))
    for _ in range(MAX_LEVELS):
        known = above >= 0
        share[known] = np.maximum(share[known], total[above[known]])
        above[known] = site.parent[above[known]]
    return np.minimum(share, 1.0)


def neighbours(site: Site, position: int) -> Ints:
    """int32[m]: the asset itself and those one ``cools`` link before or behind it, as global positions."""
    links = site.links["cools"]
    found = (links.target[links.source == position], links.source[links.target == position], [position])
    return np.unique(np.concatenate(found)).astype(np.int32)


def above(site: Site, position: int) -> list[int]:
    """An asset and what it stands in, the innermost first, as global positions."""
    found = [position]
    while len(found) <= MAX_LEVELS and site.parent[found[-1]] >= 0:
        found.append(int(site.parent[found[-1]]))
    return found


def rise_at_load_k(rise_k: Floats, power_w: Floats, rated_w: Floats) -> float:
    """Largest rise over their water [K] that GPUs come to at their rated power, from what they show now: float64[n] each.

    It goes with power, and can be told of those at ``LOADED_FRAC`` of their rating or more: what idles is taken to be no worse
    than those beside it. Infinity where under half of them are loaded, or one has no rating: then nobody knows.
    """
    loaded = power_w >= LOADED_FRAC * rated_w  # not where it is NaN
    if np.isnan(rated_w).any() or loaded.sum() < 0.5 * len(loaded) or not len(loaded):
        return float("inf")
    return float((rise_k * np.maximum(rated_w / np.maximum(power_w, 1.0), 1.0))[loaded].max())
