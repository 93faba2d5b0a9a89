"""Reconciliation: what a balance makes of a model's expectation and of meters that disagree, and which meter lies.

Weighted least squares with the model as prior information (a Gauss-Markov update), gross errors taken out one at a time.
The same few lines serve power and heat: both are sums along links.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from twin.frame import Floats
from twin.site import Bools

LIMIT_RATIO = 4.0  # of a standardised residual: a good meter passes it once in 16,000 readings
LEAST_FRAC = 1e-3  # no meter counts as better than this share of what is unknown before it: sums stay well conditioned
MOST_REFUSED = 64  # in one solve; what would be more is a model that is wrong, not meters


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """What is read of the k unknowns: ``reading_w`` ≈ ``rows`` · unknowns, float64[m] and float64[m, k]; ``lifts``:
    float64[m, c], what one unit of each common factor adds beyond the unknowns; ``sigma_w``: float64[m], standard uncertainty
    of each meter (> 0)."""

    rows: Floats
    lifts: Floats
    reading_w: Floats
    sigma_w: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Reconciled:
    """``value_w``: float64[k], the unknowns; ``common``: float64[c], the common factors in their prior standard deviations;
    ``expected_w``, ``spread_w``: float64[m], what *everything else* says that each meter should read, and the standard
    deviation of its difference from that; ``refused``: bool[m], meters that were left out as gross errors.
    ``covariance``: float64[k + c, k + c], of what is left unknown, in units of the prior; for ``sigma_of``."""

    value_w: Floats
    common: Floats
    expected_w: Floats
    spread_w: Floats
    refused: Bools
    covariance: Floats
    scale_w: Floats
    loading_w: Floats

    def sigma_of(self, weights: Floats, lifts: Floats | None = None) -> Floats:
        """float64[q]: standard uncertainty [W] of sums of unknowns with ``weights`` (float64[q, k]) and of common factors
        beyond them with ``lifts`` (float64[q, c]; none: 0)."""
        by_factor = weights @ self.loading_w + (0.0 if lifts is None else lifts)
        across = np.hstack([weights * self.scale_w, by_factor])
        variance: Floats = ((csr_matrix(across) @ self.covariance) * across).sum(axis=1)
        return np.sqrt(np.maximum(variance, 0.0))


def reconcile(prior_w: Floats, sigma_w: Floats, loading_w: Floats, meters: Meters) -> Reconciled:
    """The most likely unknowns p = prior + σ·d + loading·g, with d and g standard normal, given what ``meters`` read.

    ``prior_w``, ``sigma_w``: float64[k], what a model expects and how far each alone may be off; ``loading_w``: float64[k, c],
    how far all are off together for one standard deviation of each common factor. Solution by normal equations: Crowe, "Data
    reconciliation: progress and challenges" (J. Process Control 6, 1996), with the prior as one more set of measurements.

    A meter whose residual against everything else passes ``LIMIT_RATIO`` of its spread is a gross error; the largest is taken
    out, the rest solved anew, until none is left or ``MOST_REFUSED`` are out (serial elimination with the measurement test,
    Romagnoli & Sánchez, "Data Processing and Reconciliation for Chemical Process Operations", 2000). So a
    meter that lies does not bend the others. Residuals are deletion residuals: e / (1 - h) with standard deviation
    1 / √(1 - h) in units of the meter's own σ, h its leverage (Cook & Weisberg, "Residuals and Influence in Regression", 1982).
    """
    k, m = len(prior_w), len(meters.reading_w)
    design = np.hstack([meters.rows * sigma_w, meters.rows @ loading_w + meters.lifts])
    own = np.maximum(meters.sigma_w, LEAST_FRAC * np.sqrt((design**2).sum(axis=1)))
    design = design / own[:, None]
    error = (meters.reading_w - meters.rows @ prior_w) / own
    seen = csr_matrix(design)  # most meters see few loads: products with it cost a tenth
    covariance = _inverse(np.eye(design.shape[1]) + (seen.T @ seen).toarray())
    found = covariance @ (design.T @ error)
    used = np.ones(m, dtype=np.bool_)
    leverage = ((seen @ covariance) * design).sum(axis=1)
    for _ in range(min(MOST_REFUSED, m)):
        left = error - design @ found
        free = np.maximum(1.0 - leverage, 1e-9)
        ratio = np.where(used, np.abs(left) / np.sqrt(free), 0.0)
        worst = int(np.argmax(ratio)) if m else 0
        if not m or ratio[worst] <= LIMIT_RATIO:
            break
        used[worst] = False
        along = covariance @ design[worst]
        found = found - along * (left[worst] / free[worst])
        covariance = covariance + np.outer(along, along) / free[worst]
        leverage = leverage + (design @ along) ** 2 / free[worst]
    left = error - design @ found
    free = np.maximum(1.0 - leverage, 1e-9)
    apart = np.where(used, left / free, left)
    spread = np.where(used, 1 / np.sqrt(free), np.sqrt(1 + leverage))
    return Reconciled(
        prior_w + sigma_w * found[:k] + loading_w @ found[k:],
        found[k:],
        meters.reading_w - apart * own,
        spread * own,
        ~used,
        covariance,
        sigma_w,
        loading_w,
    )


def _inverse(normal: Floats) -> Floats:
    """Of a symmetric positive definite matrix, by Cholesky."""
    factor, info = lapack.dpotrf(normal, lower=1)
    inverse, more = lapack.dpotri(factor, lower=1)
    if info or more:
        raise ArithmeticError(f"the balance has no solution (LAPACK {info}, {more}); a reading or uncertainty is not finite")
    below = np.tril(inverse)
    return np.asarray(below + np.tril(inverse, -1).T)
