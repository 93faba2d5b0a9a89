"""Demand response: a request to draw less becomes caps, pauses, held starts and battery power, and a proof of what came.

What each job loses by a power cap comes from its measured curve of throughput against power; which job gives how much is a
small linear program with the jobs' own floors in it. Floors and the request are hard; where both cannot be, the shortfall is
said beforehand. ``respond.plan`` makes a plan, ``respond.track`` follows the meter while it lasts, ``respond.proof`` judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints
from twin.site import Bools


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """How a workload answers a power cap: float64[k] each, by rising cap. ``cap_w``: of one GPU; ``power_w``: what one GPU then
    draws; ``throughput_frac``: over that without a cap (the last is 1). Between the measured caps it is a straight line."""

    cap_w: Floats
    power_w: Floats
    throughput_frac: Floats

    def __post_init__(self) -> None:
        columns = (self.cap_w, self.power_w, self.throughput_frac)
        if len({len(column) for column in columns}) != 1 or len(self.cap_w) < 2:
            raise ValueError("a curve needs two caps at least, and a power and a throughput for each")
        if any((np.diff(column) <= 0).any() or not np.isfinite(column).all() for column in columns):
            raise ValueError("a curve's caps, powers and throughputs must rise together; measure it again or leave points out")

    def least_w(self, floor_frac: float) -> float:
        """Least power of one GPU [W] at which the throughput is still ``floor_frac``, at least that of the lowest cap."""
        return float(np.interp(floor_frac, self.throughput_frac, self.power_w))


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """Columns over n running jobs.

    ``gpus``: float64[n] > 0; ``curve``: int32[n], which of ``curves``; ``floor_frac``: float64[n], throughput (0-1) below which
    it may not fall while it runs; ``weight``: float64[n], what a GPU's throughput counts (1: all alike); ``pausable``: bool[n],
    may stand still altogether (it can save its state); ``idle_w``: float64[n], what one of its GPUs draws then.
    """

    ids: Sequence[str]
    gpus: Floats
    curve: Ints
    floor_frac: Floats
    weight: Floats
    pausable: Bools
    idle_w: Floats
    curves: Sequence[Curve]

    def __post_init__(self) -> None:
        n = len(self.ids)
        columns = (self.gpus, self.curve, self.floor_frac, self.weight, self.pausable, self.idle_w)
        if any(len(column) != n for column in columns):
            raise ValueError(f"the columns of {n} jobs differ in length")
        if n and not (
            (self.gpus > 0).all()
            and ((self.floor_frac >= 0) & (self.floor_frac <= 1)).all()
            and (self.weight >= 0).all()
            and ((self.curve >= 0) & (self.curve < len(self.curves))).all()
        ):
            raise ValueError("a job has no GPUs, a floor outside 0-1, a weight below 0 or a curve that is not there")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def full_w(self) -> Floats:
        """float64[n]: power without caps [W]."""
        top = np.array([curve.power_w[-1] for curve in self.curves])
        return np.asarray(self.gpus * top[self.curve])

    @property
    def least_w(self) -> Floats:
        """float64[n]: power at the floors [W]; nobody pauses."""
        lowest = [self.curves[int(c)].least_w(float(f)) for c, f in zip(self.curve, self.floor_frac, strict=True)]
        return np.asarray(self.gpus * np.array(lowest))


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A power budget divided among jobs: float64[n] each. ``power_w``: of the whole job; ``cap_w``: of each of its GPUs (0:
    paused); ``throughput_frac``; ``bound_frac``: weighted throughput that no division of the budget exceeds."""

    power_w: Floats
    cap_w: Floats
    throughput_frac: Floats
    bound_frac: float

    @property
    def paused(self) -> Bools:
        """bool[n]: stands still."""
        return np.asarray(self.cap_w == 0)

    def weighted_frac(self, loads: Loads) -> float:
        """Throughput over that without caps, by GPUs and their weight."""
        share = loads.gpus * loads.weight
        return float(share @ self.throughput_frac / share.sum()) if share.sum() else 1.0
