"""How what meters see hangs on what loads need: the gains of a relation around its solved flow, and rows of meters on it."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, hstack

from twin.flow import MAX_DEPTH, Flow
from twin.frame import Floats, Ints
from twin.reconcile import Meters


@dataclass(frozen=True, slots=True, eq=False)
class Through:
    """A relation around its present flow. ``index``: int32[N], row of an asset in what follows, -1 where no link or load has
    it; ``into``: float64[l, k], W into it for 1 W of each load; ``fixed_w``: float64[l], W into it without any (no-load
    losses); ``lifts``: float64[l, c], W for each common factor; ``total``, ``total_fixed_w``, ``total_lifts``: the same of
    everything that nothing feeds, so of all that is taken in."""

    index: Ints
    into: Floats
    fixed_w: Floats
    lifts: Floats
    total: Floats
    total_fixed_w: float
    total_lifts: Floats


def gains(flow: Flow, carrier: Ints, slope_frac: Floats, lost_w: Floats) -> Through:
    """The gains of ``flow`` for loads at ``carrier`` (int32[k], global positions): into = own + Σ share · into(target) + loss.

    ``slope_frac``: float64[N], loss of one more watt delivered; ``lost_w``: float64[N, c], loss that each common factor adds
    at each asset. Sweeps from the leaves for all loads at once, as ``carry`` does; the links of a solved flow have no cycle.
    """
    links, k = flow.links, len(carrier)
    local = np.unique(np.concatenate([links.source, links.target, carrier]))
    size = len(local)
    index = np.full(len(flow.own), -1, dtype=np.int32)
    index[local] = np.arange(size)
    slope = slope_frac[local]
    above, below = index[links.source], index[links.target]
    step = csr_matrix(((1 + slope[above]) * links.share, (above, below)), shape=(size, size))
    own = csr_matrix((1 + slope[index[carrier]], (index[carrier], np.arange(k))), shape=(size, k))
    fixed_w = (flow.loss - slope_frac * flow.out)[local, None]
    added = hstack([own, csr_matrix(np.hstack([lost_w[local], fixed_w]))], format="csr")  # sparse: most loads hang on few feeds
    total = added
    for _ in range(MAX_DEPTH):
        added = step @ added
        if not added.nnz:
            break
        total = total + added
    solved = total.toarray()
    root = np.ones(size, dtype=np.bool_)
    root[index[links.target]] = False
    into, lifts, fixed = solved[:, :k], solved[:, k:-1], solved[:, -1]
    return Through(index, into, fixed, lifts, into[root].sum(axis=0), float(fixed[root].sum()), lifts[root].sum(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class Metering:
    """Rows of meters: ``at``: int32[m], global positions of the metered assets; ``meters``: what they read of the loads."""

    at: Ints
    meters: Meters


class Gather:
    """Collects rows of meters, leaving out those that do not read or see no load."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Floats, Floats, Floats, Floats]] = []

    def add(self, at: Ints, rows: Floats, lifts: Floats, reading_w: Floats, sigma_w: Floats) -> None:
        """m meters at global positions ``at``: ``rows`` float64[m, k], ``lifts`` float64[m, c], ``reading_w`` and ``sigma_w``
        float64[m]."""
        said = np.isfinite(reading_w) & (rows != 0).any(axis=1)
        sigma = np.maximum(sigma_w[said], 1.0)  # a meter of a watt's resolution is as good as it gets
        self._parts.append((at[said], rows[said], lifts[said], reading_w[said], sigma))

    def all(self) -> Metering:
        """Everything gathered, in the order in which it was added."""
        at, rows, lifts, reading, sigma = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return Metering(at.astype(np.int32), Meters(rows, lifts, reading, sigma))
