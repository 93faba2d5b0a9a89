"""While a request lasts: the meter is read, and the budget moved by what it shows.

An integral controller on the meter with a bound on how far it may move (Åström & Murray 2008, Feedback Systems, 10.4:
anti-windup by clamping): the plan's model of the jobs is a few percent wrong, and the meter is what is billed. Work dips for a
minute and comes back (checkpoints, evaluations), so power is given back by the highest of the last looks and taken back at
once.
"""

from dataclasses import dataclass

import numpy as np

LOOKS = 15  # minutes of which the highest counts before power is given back
GAIN_UP, GAIN_DOWN = 0.2, 0.8  # of the miss that is given and taken back at a look
DEAD_FRAC, SPARE_FRAC = 0.002, 0.003  # of the aim: less above it, or less below it, moves nothing
MOST_FRAC = 0.15  # of the aim that the budget may move away from the plan's


@dataclass(frozen=True, slots=True)
class Trim:
    """``trim_w``: what the plan's own aim at the meter is moved by [W]; ``over_w``: the last looks, meter less aim."""

    trim_w: float = 0.0
    over_w: tuple[float, ...] = ()

    def step(self, measured_w: float, aimed_w: float) -> "Trim":
        """After a look at the meter; ``aimed_w``: what the plan expected it to show. A silent meter (NaN) moves nothing."""
        if not np.isfinite(measured_w) or not np.isfinite(aimed_w):
            return self
        over_w = measured_w - aimed_w
        seen = (*self.over_w, over_w)[-LOOKS:]
        dead_w, spare_w, most_w = (frac * aimed_w for frac in (DEAD_FRAC, SPARE_FRAC, MOST_FRAC))
        moved_w = self.trim_w
        if over_w > dead_w:
            moved_w -= GAIN_DOWN * (over_w - dead_w)
            seen = ()  # what was seen was under another budget
        elif len(seen) == LOOKS and max(seen) < -spare_w:
            moved_w -= GAIN_UP * (max(seen) + spare_w)
        return Trim(float(np.clip(moved_w, -most_w, most_w)), seen)
