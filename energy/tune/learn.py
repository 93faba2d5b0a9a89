"""What the twin's physics is worth at this plant: a factor for each of its terms, learned as it runs, with uncertainty.

Bayesian linear regression in information form: the prior is the twin (its terms with their doubt), each reading adds what it
says, and what is old fades towards the prior, so that a plant that changes is followed and what was never excited stays as
the twin has it. Bishop, "Pattern Recognition and Machine Learning" (2006), section 3.3; forgetting after Kulhavy & Zarrop,
"On a general concept of forgetting", Int. J. Control 58 (1993).
"""

import numpy as np

from twin.frame import Floats

_LEAST_SCALE = 1e-6
_NOISE_MEMORY = 200  # readings over which the spread of readings is averaged
_ROUNDS = 3  # of a fit and the spread of its readings
_SLOW, _SLOW_MEMORY = 48, 480  # readings over which what stays off is averaged, and over which that is remembered


class Learned:
    """One part of a plant: y = φ·θ + noise. ``mean`` and ``doubt`` (standard deviation) of θ before anything was read;
    ``noise``: standard deviation of a reading; ``memory``: readings after which an old one counts 1/e."""

    def __init__(self, mean: Floats, doubt: Floats, noise: float, memory: float) -> None:
        self._prior = np.diag(1 / np.maximum(doubt, _LEAST_SCALE) ** 2)
        self._pull = self._prior @ mean
        self._information, self._said = self._prior.copy(), self._pull.copy()
        self._keep, self._least = np.exp(-1 / memory), noise**2
        self.variance = noise**2
        self.count = 0
        self._slow, self._slow_square = 0.0, noise**2 / _SLOW
        self._solve()

    @property
    def drift(self) -> float:
        """How far off the expectation is for a day on end (root of the mean square): what the terms leave out."""
        return float(np.sqrt(self._slow_square))

    def fit(self, terms: Floats, reading: Floats) -> None:
        """Learn from many readings [n] at once, none older than another, and their spread with them. NaN is not learned."""
        known = np.isfinite(reading) & np.isfinite(terms).all(axis=1)
        terms, reading = terms[known], reading[known]
        square, pull = terms.T @ terms, terms.T @ reading
        for _ in range(_ROUNDS if len(reading) else 0):
            self._information = self._prior + square / self.variance
            self._said = self._pull + pull / self.variance
            self._solve()
            self.variance = max(float(((reading - self.expect(terms)) ** 2).mean()), self._least)
        self.count += len(reading)

    def settle(self, doubt: float, least: Floats) -> None:
        """What is known now becomes the prior, with ``doubt`` times its uncertainty and ``least`` [p] of it at least: a plant
        that was tried elsewhere or before is taken as a start, not as the truth."""
        scale = np.sqrt(np.diag(self.covariance))
        grown = doubt**2 * self.covariance + np.diag(np.maximum(least - doubt * scale, 0.0) ** 2)
        self._prior = np.linalg.inv(grown)
        self._pull = self._prior @ self.theta
        self._information, self._said = self._prior.copy(), self._pull.copy()
        self._solve()

    def _solve(self) -> None:
        self.covariance = np.linalg.inv(self._information)
        self.theta: Floats = self.covariance @ self._said

    def expect(self, terms: Floats) -> Floats:
        """float64[...]: what ``terms`` [..., p] give; fewer of them than there are: the others are 0."""
        return np.asarray(terms @ self.theta[: terms.shape[-1]])

    def sigma(self, terms: Floats) -> Floats:
        """float64[...]: standard uncertainty of ``expect`` from what is not known of θ; noise not counted."""
        p = terms.shape[-1]
        return np.asarray(np.sqrt(np.maximum(((terms @ self.covariance[:p, :p]) * terms).sum(axis=-1), 0.0)))

    def take(self, terms: Floats, reading: float) -> float:
        """Learn from one reading; gives how far off the expectation was, in its own standard deviations. NaN is not learned."""
        if not (np.isfinite(reading) and np.isfinite(terms).all()):
            return float("nan")
        off = reading - float(terms @ self.theta)
        score = off / float(np.sqrt(self.variance + terms @ self.covariance @ terms))
        self._slow += (off - self._slow) / _SLOW
        self._slow_square += (self._slow**2 - self._slow_square) / _SLOW_MEMORY
        held = np.clip(off, -4 * np.sqrt(self.variance), 4 * np.sqrt(self.variance))  # one wild reading is no new noise
        self.variance = max(self.variance + (held**2 - self.variance) / _NOISE_MEMORY, self._least)
        weight = 1 / self.variance
        self._information = self._keep * self._information + (1 - self._keep) * self._prior + weight * np.outer(terms, terms)
        self._said = self._keep * self._said + (1 - self._keep) * self._pull + weight * reading * terms
        self.count += 1
        self._solve()
        return score
