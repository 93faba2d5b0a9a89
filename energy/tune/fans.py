"""Fans of towers: how fast they turn for the water that is wanted, what a limit of that does, and what it costs.

A plant turns its fans by the water that it wants. Where the air outside alone cannot give that, they stand at full speed, and
chillers take the rest: the last tenth of speed costs a quarter of a fan's power and brings water some tenths of a kelvin nearer
to the air. A limit ends that. Below it the plant's own control goes on by itself; at it water is warmer by what less air does
to a tower (YorkCalc, ``twin.physics.tower``), which is then the chillers' to carry, over a larger lift.

How much water towers have for their air nobody tells; it is read off how near the wet bulb they bring it at which speed. The
range of the water is measured; with load it goes half way between a constant flow and a constant range.
"""

from dataclasses import dataclass, replace

import numpy as np

from energy.tune.bank import FULL_FRAC
from energy.tune.knobs import Knob
from twin.frame import Floats
from twin.physics import tower

NAME = "fan_limit_frac"
LEAST, STEP = 0.5, 0.1  # lowest limit that is ordered, and the most that it moves at once
EXCHANGER_K = 2.0  # between tower and plant water; twin.params, PlantParams.exchanger_k
_NEAREST_K = 0.5  # below it the correlation goes through the wet bulb
_SLOWEST = 0.25  # of fans: less is idling, and tells nothing
_CROWDED = (0.02, 3.0)  # what water for its air there may be
_HEED = 0.1  # of what a reading says of both
_RANGE_K = (3.0, 20.0)  # of the water, in operation
_RATIO = (0.05, 8.0)  # of the correlation


@dataclass(frozen=True, slots=True)
class Fans:
    """``full_frac``: what all take at full speed, over the site's scale; ``chilled_frac``: heat that the chillers beside them
    carry together, over the same; ``range_k`` of the water, and ``crowded_ratio``, water over design water of all cells
    together, at the load that is the site's scale (before fans tell it: towers are made for the heat that chillers are)."""

    full_frac: float
    chilled_frac: float
    range_k: float
    crowded_ratio: float

    @property
    def knob(self) -> Knob:
        """How fast they may turn at most; by itself the plant may turn them in full."""
        return Knob(NAME, LEAST, 1.0, STEP, STEP, 1.0)

    def span_k(self, load_frac: Floats) -> Floats:
        """Range of the water at a load [K]."""
        return np.asarray(np.clip(self.range_k * np.sqrt(np.maximum(load_frac, 0.0)), *_RANGE_K))

    def approach_k(self, load_frac: Floats, speed_frac: Floats, wet_bulb_c: Floats) -> Floats:
        """How far above the wet bulb plant water can come [K] with fans at a speed."""
        ratio = np.clip(load_frac * self.crowded_ratio / speed_frac, *_RATIO)
        reached = tower.approach_k(wet_bulb_c, self.span_k(load_frac), ratio)
        return np.asarray(EXCHANGER_K + np.maximum(reached, _NEAREST_K))

    def speed_frac(self, load_frac: Floats, near_k: Floats, wet_bulb_c: Floats) -> Floats:
        """How fast they turn where plant water is wanted ``near_k`` above the wet bulb and nothing limits them (0.2-1)."""
        ratio = np.clip(tower.liquid_gas_ratio(near_k - EXCHANGER_K, wet_bulb_c, self.span_k(load_frac)), *_RATIO)
        return np.asarray(np.clip(load_frac * self.crowded_ratio / ratio, 0.2, 1.0))

    def left_frac(self, heat_frac: Floats) -> Floats:
        """Heat, over the site's scale, that the chillers are not counted on for."""
        return np.asarray(np.maximum(heat_frac - FULL_FRAC * self.chilled_frac, 0.0))

    def ranged(self, load_frac: float, range_k: float) -> "Fans":
        """With ``range_k`` moved to where the water's range of now says that it is."""
        if not (load_frac > 0.05 and range_k > 1.0):  # also where one of them is NaN
            return self
        more = float(np.clip(range_k, *_RANGE_K)) / float(self.span_k(np.asarray(load_frac)))
        return replace(self, range_k=self.range_k * more**_HEED)

    def turned(self, load_frac: float, near_k: float, wet_bulb_c: float, speed_frac: float) -> "Fans":
        """With ``crowded_ratio`` moved to where towers leave their water ``near_k`` above the wet bulb with fans at
        ``speed_frac``. Fans that idle tell nothing of it."""
        if not (speed_frac > _SLOWEST and load_frac > 0.05 and near_k > 0):  # also where one of them is NaN
            return self
        span_k = self.span_k(np.asarray(load_frac))
        ratio = float(np.clip(tower.liquid_gas_ratio(near_k, wet_bulb_c, span_k), *_RATIO))
        said = float(np.clip(ratio * speed_frac / load_frac, *_CROWDED))
        return replace(self, crowded_ratio=self.crowded_ratio * (said / self.crowded_ratio) ** _HEED)
