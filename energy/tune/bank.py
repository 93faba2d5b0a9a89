"""Chillers in a row: how many of them may run at once, and what that is worth by the twin's physics.

Two that run at half load each take more than one at full load does, or less: their curve over load says which. A plant's own
sequence starts a further one at a load of its own, which is read off how many of them run. How many may run at once is bounded;
all stay in service, so that one that trips is replaced by the sequence itself.
"""

from dataclasses import dataclass, replace

import numpy as np

from energy.tune.knobs import Knob
from twin.frame import Floats
from twin.physics.chiller import part_load_frac

NAME = "chillers_count"
FULL_FRAC = 0.9  # of its capacity that a chiller is counted on for
MOST_FEWER = 4  # chillers that may rest at once
DWELL = 4  # decisions that the number stands: two hours, so that no compressor starts and stops within
_LEAST_PART, _STAGES = 0.1, (0.2, 1.0)  # what a compressor's curve is good for; loads at which sequences start a further one


@dataclass(frozen=True, slots=True)
class Bank:
    """``units`` alike; ``unit_frac``: heat that one carries at design, over the site's scale; ``stage_frac``: load of those
    that run, at which the plant's own sequence starts a further one."""

    units: int
    unit_frac: float
    stage_frac: float = 0.9

    @property
    def knob(self) -> Knob:
        """How many run at most; by itself the plant may run all. None: outdoor air alone (free cooling)."""
        return Knob(NAME, max(self.units - MOST_FEWER, 0), self.units, 1, 1, self.units, DWELL)

    def running(self, heat_frac: Floats, most_count: Floats) -> Floats:
        """How many run for ``heat_frac`` (over the site's scale) where ``most_count`` may; at least one is reckoned with."""
        asked = np.ceil(heat_frac / (self.unit_frac * self.stage_frac) - 1e-9)
        return np.asarray(np.clip(np.minimum(asked, most_count), 1, self.units))

    def surplus_frac(self, heat_frac: Floats, most_count: Floats) -> Floats:
        """What part load takes more than full load does for the same heat, over the latter."""
        part = np.clip(heat_frac / (self.running(heat_frac, most_count) * self.unit_frac), _LEAST_PART, 1.0)
        return np.asarray(part_load_frac(part) / part - 1.0)

    def left_frac(self, heat_frac: Floats, most_count: Floats) -> Floats:
        """Heat, over the site's scale, that those which may run are not counted on for."""
        return np.asarray(np.maximum(heat_frac - FULL_FRAC * self.unit_frac * most_count, 0.0))

    def staged(self, heat_frac: float, running_count: float, most_count: float) -> "Bank":
        """With ``stage_frac`` moved to where ``running_count`` chillers for ``heat_frac`` are what the sequence does by itself,
        of which ``most_count`` may run. None that runs, or as many as may, tell nothing of it."""
        if not (0 < running_count <= self.units and np.isfinite(heat_frac)) or (
            running_count >= most_count and most_count < self.units
        ):
            return self
        load = heat_frac / self.unit_frac
        above = load / (running_count - 1) if running_count > 1 else np.inf
        low, high = _STAGES
        # ``running_count`` is the number asked: load / stage lies in (running_count - 1, running_count]
        stage = min(max(self.stage_frac, load / running_count), 0.999 * above)
        return replace(self, stage_frac=float(np.clip(stage, low, high)))
