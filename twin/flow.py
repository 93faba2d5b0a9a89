"""What a relation carries: power down ``feeds``, heat up ``cools``, added up over the whole site at once.

Both are the same sum: what an asset takes in is what it needs itself, what it loses, and its share of what each of its
targets takes in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Bools, Links, Site

MAX_DEPTH = 64  # links between a root and its farthest leaf


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A solved relation. float64[N] over all assets of the site, by global position, W: ``own`` need, ``loss``, and ``into``
    (what the asset takes in; of an asset that no link names: its own need). ``links`` are those it was solved on."""

    links: Links
    own: Floats
    loss: Floats
    into: Floats

    @property
    def out(self) -> Floats:
        """float64[N]: what each asset passes on or needs itself, W."""
        return self.into - self.loss

    @property
    def total_w(self) -> float:
        """What all of it takes in: the sum over assets that nothing feeds or cools."""
        root = np.ones(len(self.into), dtype=np.bool_)
        root[self.links.target] = False
        return float(self.into[root].sum())


def carry(links: Links, own: Floats, loss_of: Callable[[Floats], Floats] | None = None) -> Flow:
    """Solves into = own + Σ share · into(target) + loss for every asset.

    ``own``: float64[N] W; NaN makes everything above it NaN. ``loss_of``: what is delivered, float64[N] W -> what is lost by
    delivering it, float64[N] W (None: nothing). Sweeps from the leaves; each sweep settles one more level. Raises
    ``ValueError`` where the links are not settled after ``MAX_DEPTH`` sweeps.
    """
    into = own
    carried = links.share * into[links.target]
    for _ in range(MAX_DEPTH):
        out = own + np.bincount(links.source, weights=carried, minlength=len(own))
        loss = np.zeros_like(own) if loss_of is None else loss_of(out)
        into = out + loss
        was, carried = carried, links.share * into[links.target]
        if np.array_equal(was, carried, equal_nan=True):
            return Flow(links, own, loss, into)
    raise ValueError(f"the links are deeper than {MAX_DEPTH} or form a cycle; build the site with twin.load")


def is_target(site: Site, relation: str) -> Bools:
    """bool[N]: assets that a link of ``relation`` points at."""
    hit = np.zeros(len(site.ids), dtype=np.bool_)
    hit[site.links[relation].target] = True
    return hit


def is_source(site: Site, relation: str) -> Bools:
    """bool[N]: assets that a link of ``relation`` goes out from."""
    hit = np.zeros(len(site.ids), dtype=np.bool_)
    hit[site.links[relation].source] = True
    return hit


def carrier(site: Site, positions: Ints, reached: Bools) -> Ints:
    """int32[n]: for each of ``positions`` the nearest asset at or above it (by ``parent``) that is ``reached``; itself where
    there is none. A node without a feed of its own draws from the feed of its rack."""
    here = positions.copy()
    found = positions.copy()
    open_ = here >= 0
    while open_.any():
        hit = open_ & reached[here]
        found[hit] = here[hit]
        open_ &= ~hit
        here[open_] = site.parent[here[open_]]
        open_ &= here >= 0
    return found


def spread(site: Site, positions: Ints, values: Floats) -> Floats:
    """float64[N]: ``values`` summed at their global ``positions``, 0 elsewhere."""
    return np.bincount(positions, weights=values, minlength=len(site.ids)).astype(np.float64, copy=False)


def places_of(values: Floats) -> Ints:
    """int32[n]: the global positions at which ``values`` (float64[N]) are not 0."""
    return np.flatnonzero(values).astype(np.int32)


def contained(site: Site, positions: Ints, values: Floats) -> Floats:
    """float64[N]: ``values`` of the assets at ``positions`` summed over each asset and all that stands in it."""
    total, here, moving = np.zeros(len(site.ids)), positions, values
    while len(here):
        total += np.bincount(here, weights=moving, minlength=len(total))
        up = site.parent[here] >= 0
        here, moving = site.parent[here[up]], moving[up]
    return total
