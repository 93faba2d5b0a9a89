"""Knobs: what of a plant may be set, how far, how fast and how often."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats

MOST_STATES = 4096  # settings of all knobs together that a decision weighs


@dataclass(frozen=True, slots=True)
class Knob:
    """One setpoint: ``low`` to ``high`` in steps of ``grid``; ``ramp`` is the most that it moves in one decision, ``dwell``
    how many decisions it then rests; ``own`` is what the plant does by itself. All in the unit of the name's suffix."""

    name: str
    low: float
    high: float
    grid: float
    ramp: float
    own: float
    dwell: int = 1

    def __post_init__(self) -> None:
        if not (self.low <= self.own <= self.high and 0 < self.grid <= self.ramp and self.dwell >= 1):
            raise ValueError(f"knob {self.name}: needs low <= own <= high, 0 < grid <= ramp and a dwell of 1 or more")

    @property
    def values(self) -> Floats:
        """float64[n]: the settings on its grid, both ends included."""
        n = int(np.floor((self.high - self.low) / self.grid + 1e-9))
        return np.unique(np.append(self.low + self.grid * np.arange(n + 1), self.high))


def lattice(knobs: Sequence[Knob]) -> Floats:
    """float64[m, k]: every combination of settings. ``ValueError`` beyond ``MOST_STATES``."""
    sides = [knob.values for knob in knobs]
    count = int(np.prod([len(side) for side in sides]))
    if count > MOST_STATES:
        raise ValueError(f"{count} settings of {len(knobs)} knobs are over the limit of {MOST_STATES}; use coarser grids")
    return np.array(list(itertools.product(*sides)))


def within_ramp(knobs: Sequence[Knob], states: Floats, at: Floats, resting: Sequence[int] = ()) -> np.ndarray:
    """bool[..., m]: which of ``states`` [m, k] one decision reaches from ``at`` [..., k]; ``resting`` knobs do not move."""
    ramp = np.array([0.0 if i in resting else knob.ramp for i, knob in enumerate(knobs)])
    return np.asarray((np.abs(states - at[..., None, :]) <= ramp + 1e-9).all(axis=-1))
