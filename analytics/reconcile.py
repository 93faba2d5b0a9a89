"""Forecasts of a centre and of its parts that add up: halls to the site, racks to halls, tenants to the queue.

MinT, minimum-trace reconciliation with a shrunk covariance: Wickramasuriya, Athanasopoulos & Hyndman, Optimal forecast
reconciliation for hierarchical and grouped time series through trace minimization, JASA 114 (2019) 804. Among all corrections
that make the parts add up it is the one with the smallest variance; each forecast moves in proportion to how unsure it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints

MAX_SERIES = 4096  # of one hierarchy: the solve takes the cube of its sums, memory the square of its series
MIN_ERRORS = 8  # past errors a series, before its covariance with others counts


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What adds up: ``whole`` (int32[k], a position among n series) is the sum of the series whose ``part_of`` it stands in.

    ``part_of``: one int32 array a whole, the positions of its parts. A whole may be a part of another: racks of halls of a
    site."""

    n: int
    whole: Ints
    part_of: tuple[Ints, ...]

    def __post_init__(self) -> None:
        if not 0 < self.n <= MAX_SERIES:
            raise ValueError(f"{self.n} series in one hierarchy; from 1 to {MAX_SERIES} can be reconciled at once")
        if len(self.whole) != len(self.part_of) or len(set(self.whole.tolist())) != len(self.whole):
            raise ValueError("each whole stands once, with its own parts")

    def constraints(self) -> Floats:
        """float64[k, n]: rows that are 0 where everything adds up."""
        rows = np.zeros((len(self.whole), self.n))
        for i, (whole, parts) in enumerate(zip(self.whole, self.part_of, strict=True)):
            rows[i, whole] = 1.0
            rows[i, parts] -= 1.0
        return rows


def tree(parents: Sequence[int]) -> Sums:
    """The sums of a tree: ``parents[i]`` is the position of what contains series ``i``, -1 for the root."""
    parent = np.asarray(parents, dtype=np.int32)
    whole = np.unique(parent[parent >= 0]).astype(np.int32)
    return Sums(len(parent), whole, tuple(np.flatnonzero(parent == w).astype(np.int32) for w in whole))


def error_covariance(errors: Floats) -> Floats:
    """float64[n, n] of past errors float64[k, n] (NaN where unknown), correlations shrunk to none as far as their own noise
    asks (Schäfer & Strimmer, Statistical Applications in Genetics and Molecular Biology 4 (2005) 32). With few errors:
    variances only."""
    known = np.isfinite(errors)
    count = np.maximum(known.sum(axis=0), 1)
    spread = np.sqrt((np.where(known, errors, 0.0) ** 2).sum(axis=0) / count)
    least = max(float(spread.max(initial=0.0)) * 1e-6, 1e-12)
    spread = np.maximum(spread, least)
    whole = errors[known.all(axis=1)]
    n, k = errors.shape[1], len(whole)
    if k < MIN_ERRORS:
        return np.diag(spread**2)
    unit = whole / spread
    correlation = unit.T @ unit / k
    # the variance of each correlation's estimate, summed, over the sum of their squares
    noise = ((unit**2).T @ (unit**2) / k - correlation**2) / (k - 1)
    off = ~np.eye(n, dtype=bool)
    strength = float((correlation[off] ** 2).sum())
    shrink = min(1.0, max(0.0, float(noise[off].sum()) / strength)) if strength > 0 else 1.0
    shrunk = np.where(off, (1 - shrink) * correlation, 1.0)
    return np.asarray(shrunk * np.outer(spread, spread))


def reconciled(said: Floats, sums: Sums, covariance: Floats) -> Floats:
    """float64[h, n] that add up: ``said`` (float64[h, n]) moved by ``W C' (C W C')^-1 C said``, W the covariance of the
    errors made, C the constraints. What adds up already is not moved."""
    rows = sums.constraints()
    spread = covariance @ rows.T
    between = rows @ spread
    scale = float(np.trace(between)) / max(len(between), 1)
    gain = np.linalg.solve(between + np.eye(len(between)) * scale * 1e-12, spread.T)
    return np.asarray(said - (said @ rows.T) @ gain, dtype=np.float64)
