"""What moving costs, beside what the new settings take: plants do not go from one state to another for nothing.

Where return air is ordered colder, a coil may open for a trickle of water, and chilled water and condenser pumps run for hours
beside an idle chiller; the settings themselves would need none of it. So each metered part has terms for moves of each knob up
and down, in ramps, that fade over ``FADE_S``; what they are worth is learned as everything else is (``energy.tune.learn``).
"""

from collections.abc import Sequence

import numpy as np

from energy.tune.knobs import Knob
from twin.frame import Floats

FADE_S = 6300.0  # in which a move's mark falls to 1/e: idle pumps ran on for two hours; chosen on Port Angeles and Lisbon
DOUBT_FRAC = 0.01  # standard deviation, before anything was read, of what a ramp adds to a part while its mark is fresh


class Moves:
    """The marks that moves have left, as terms: float64[2k], up and then down, of each knob."""

    def __init__(self, knobs: Sequence[Knob], every_s: float) -> None:
        self._ramp = np.array([knob.ramp for knob in knobs])
        self._every_s = every_s
        self._at_s, self._was = float("nan"), np.full(len(knobs), np.nan)
        self.mark: Floats = np.zeros(2 * len(knobs))

    def take(self, time_s: float, settings: Floats) -> Floats:
        """The marks at a reading: a move between it and the one before is taken to have been made a decision ago at most, or
        right after that one. A silent setting leaves no mark."""
        gone_s = time_s - self._at_s
        if not (gone_s >= 0 and np.isfinite(settings).all()):
            gone_s = float("inf")
        fade = np.exp(-gone_s / FADE_S)
        since = np.exp(-max(gone_s - self._every_s, 0.0) / FADE_S)
        ramp_frac = np.nan_to_num((settings - self._was) / self._ramp) * since
        self.mark = fade * self.mark + both_ways(ramp_frac)
        self._at_s, self._was = time_s, settings.copy()
        return self.mark

    def after(self, time_s: float, begin: Floats, settings: Floats) -> Floats:
        """The marks ``time_s`` after the last reading, right after a move from ``begin`` [k] to ``settings`` [k]."""
        return np.asarray(np.exp(-time_s / FADE_S) * self.mark + both_ways((settings - begin) / self._ramp))


def both_ways(ramp_frac: Floats) -> Floats:
    """float64[..., 2k]: how far up and how far down of moves [..., k] over full ramps."""
    return np.concatenate([np.maximum(ramp_frac, 0.0), np.maximum(-ramp_frac, 0.0)], axis=-1)
