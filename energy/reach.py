"""What an asset cools: the ``cools`` links followed to the GPUs at their end, and the neighbours on either side."""

import numpy as np
from numpy.typing import NDArray

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


def first_loops(site: Site, position: int) -> list[int]:
    """Rows of the loops whose water the asset at ``position`` cools, without those that one of these cools in turn."""
    at = site.of_kind("loop")
    mine = np.flatnonzero(cooled_share(site, position, "loop") > 0).tolist()
    below = [cooled_share(site, int(at[row]), "loop") > 0 for row in mine]
    return [row for row in mine if not any(one[row] for one in below)]


def neighbours(site: Site, position: int) -> Ints:
    """int32[m]: the asset itself and those one ``cools`` link before or behind it, as global positions."""
    links = site.links["cools"]
    found = (links.target[links.source == position], links.source[links.target == position], [position])
    return np.unique(np.concatenate(found)).astype(np.int32)


def inside(site: Site, containers: Ints) -> NDArray[np.bool_]:
    """bool[N]: which assets stand in one of ``containers`` (global positions), those themselves included."""
    held = np.zeros(len(site.ids), dtype=np.bool_)
    held[containers] = True
    for _ in range(MAX_LEVELS):
        below = held | ((site.parent >= 0) & held[site.parent])
        if np.array_equal(below, held):
            break
        held = below
    return held
