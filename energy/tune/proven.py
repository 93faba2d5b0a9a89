"""What was proven by measurement: settings at which every margin held, and how far the physics of the margins is off."""

from collections.abc import Sequence

import numpy as np

from energy.tune.knobs import Knob
from twin.frame import Floats

_KEEP = 0.98  # of the past in the mean and spread of a margin's error
_WHOLE = 0.5  # in the margin's unit: what a sensor of its class may be off anyway (IEC 60751 class B at 40 °C: 0.5 K)
_MOST_BIAS = 3.0  # in the margin's unit: a physics that is further off than this is not corrected but not believed


class Proven:
    """A box of settings that only grows by what was measured, a ramp at a time, and shrinks where a margin was lost."""

    def __init__(self, knobs: Sequence[Knob], margins: int) -> None:
        self._knobs = tuple(knobs)
        self._own = np.array([knob.own for knob in knobs])
        self._ramp = np.array([knob.ramp for knob in knobs])
        self.low, self.high = self._own.copy(), self._own.copy()
        self.bias, self._square = np.zeros(margins), np.full(margins, 0.5**2)

    @property
    def spread(self) -> Floats:
        """Standard deviation of what the corrected physics of each margin is off."""
        return np.asarray(np.sqrt(self._square))

    def take(self, settings: Floats, predicted: Floats, measured: Floats) -> None:
        """Learn from margins as measured at ``settings`` beside those ``predicted`` there. A NaN proves nothing."""
        known = np.isfinite(measured) & np.isfinite(predicted)
        off = np.where(known, measured - predicted, self.bias)
        error = off - self.bias
        self.bias = np.clip(self.bias + (1 - _KEEP) * 2 * error, -_MOST_BIAS, _MOST_BIAS)
        self._square = _KEEP * self._square + (1 - _KEEP) * error**2
        if known.all() and (measured > 0).all():
            self.low, self.high = np.minimum(self.low, settings), np.maximum(self.high, settings)
        elif (measured[known] <= 0).any():
            self.back_off(settings)

    def back_off(self, settings: Floats) -> None:
        """A margin was lost at ``settings``: what lies from there outwards is proven no more, down to the plant's own."""
        lost_high, lost_low = settings > self._own, settings < self._own
        self.high = np.where(lost_high, np.maximum(np.minimum(self.high, settings - self._ramp), self._own), self.high)
        self.low = np.where(lost_low, np.minimum(np.maximum(self.low, settings + self._ramp), self._own), self.low)

    def near(self, states: Floats) -> np.ndarray:
        """bool[m]: proven, or a single ramp beyond."""
        low, high = self.low - self._ramp - 1e-9, self.high + self._ramp + 1e-9
        return np.asarray(((states >= low) & (states <= high)).all(axis=1))

    def safe(self, predicted: Floats, spreads: float, reserve: Floats | float) -> np.ndarray:
        """bool[...]: each margin [..., c], corrected by what was measured, stays above its spread and ``reserve``. A correction
        for the better is believed up to what sensors are off anyway, and by half beyond."""
        better = np.maximum(np.minimum(self.bias, _WHOLE), 0.5 * self.bias)
        corrected = predicted + np.where(self.bias > 0, better, self.bias)
        return np.asarray((corrected > spreads * self.spread + reserve).all(axis=-1))
