"""Maintenance as a known future: while a part of the capacity is out, what it would have drawn or held is not there.

A window acts on a series through the share of the capacity that it takes out. The past is read as if nothing had been out (each
step over the share that was left; where hardly anything was left, as a gap), and of what is foreseen the share is taken away
again. How much of a share really goes is learnt from the windows that were: hosts that are drained still idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics.known import maintenance
from twin.frame import Floats

MOST_OUT = 0.5  # of the capacity: beyond it a step of the past is a gap, for what is left says little of the whole
OWN_STEPS = 2.0  # past steps with everything out that count as much as the belief that all of a share goes
USUAL_DAYS = 14  # over which the usual value at an hour is taken
MAX_WINDOWS = 1000

Window = tuple[float, float, float]  # begin, end [s since 1970], share of the capacity that is out


@dataclass(frozen=True, slots=True, eq=False)
class Upkeep:
    """``out``: float64[n + h], the share of a series that is away at each step of its past and of what follows."""

    out: Floats
    steps: int

    @property
    def ahead(self) -> Floats:
        """float64[h]."""
        return self.out[self.steps :]

    def whole(self, values: Floats) -> Floats:
        """float64[n]: ``values`` (float64[n]) as if nothing had been out."""
        out = self.out[: self.steps]
        kept = out <= MOST_OUT
        kept[:1] = True  # a series begins with a value
        return np.where(kept, values / (1.0 - np.minimum(out, MOST_OUT)), np.nan)


def upkeep(windows: Sequence[Window], values: Floats, first_s: float, step_s: float, horizon: int) -> Upkeep | None:
    """What the windows take of a series (float64[n], NaN in gaps, from ``first_s`` on) and of its next ``horizon`` steps; None
    where none of them touches either."""
    n = len(values)
    end_s = first_s + (n + horizon) * step_s
    mine = [one for one in windows[-MAX_WINDOWS:] if one[1] > first_s and one[0] < end_s and one[2] > 0]
    share = maintenance(mine, first_s, n + horizon, step_s)
    if not share.any():
        return None
    return Upkeep(share * _goes(values, share[:n], max(1, round(86400 / step_s))), n)


def _goes(values: Floats, share: Floats, day: int) -> float:
    """How much of a share goes, 0 to 1: what was missing of the usual over what could have been, leaning on all of it."""
    at = np.flatnonzero((share > 0) & np.isfinite(values))
    before = at[:, None] - day * np.arange(1, USUAL_DAYS + 1)  # the same hour of the days before
    there = np.maximum(before, 0)  # a young series has no such days
    known = np.where((before >= 0) & (share[there] == 0), values[there], np.nan)
    usable = np.isfinite(known).any(axis=1)
    if not usable.any():
        return 1.0
    level = np.nanmedian(known[usable], axis=1)
    now, out = values[at[usable]], share[at[usable]]
    plus = level > 0
    lost, could = float(((level - now)[plus] / level[plus]).sum()), float(out[plus].sum())
    return float(np.clip((lost + OWN_STEPS) / (could + OWN_STEPS), 0.0, 1.0)) if could else 1.0
