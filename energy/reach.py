"""What an asset cools: the ``cools`` links followed to the GPUs at their end, and the neighbours on either side."""

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Site

MAX_HOPS = 16  # links between a plant and a rack; a longer chain is cut, and what lies behind it counts as not cooled
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
