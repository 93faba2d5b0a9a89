"""Shifting work in time: when deferrable jobs start, and when those that can pause run, so that a signal costs least.

Time is cut into slots of equal length. ``solve`` works by decomposition, which
proves how far it can be from the best, and asks HiGHS where the problem is small and that is too far. Deadlines are soft and
capacity is hard, so there is always an answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints
from twin.site import Bools

WANTED_GAP_FRAC = 0.005
EXACT_CELLS = 20_000  # choices (of start or slot) up to which HiGHS is asked
EXACT_S = 10.0
LATE_FACTOR = 10.0  # a slot that is late costs so many times the dearest slot


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Columns over n pieces of work.

    ``gpus``: float64[n] > 0, taken while it runs; ``power_w``: float64[n] > 0, drawn meanwhile; ``length``: int32[n] >= 1
    slots of running; ``earliest``: int32[n], first slot it may run in; ``due``: int32[n], slot before which it should have
    ended; ``interruptible``: bool[n], may pause between slots.
    """

    gpus: Floats
    power_w: Floats
    length: Ints
    earliest: Ints
    due: Ints
    interruptible: Bools

    def __len__(self) -> int:
        return len(self.gpus)

    def only(self, rows: NDArray[np.intp]) -> "Work":
        """The pieces at ``rows``."""
        return Work(
            self.gpus[rows],
            self.power_w[rows],
            self.length[rows],
            self.earliest[rows],
            self.due[rows],
            self.interruptible[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """``running``: bool[n, t], which slots each piece runs in; a piece that finds no room before the end has none.

    ``cost``: what the slots cost (power times the slot's price, lateness left out); ``bound``: no schedule that meets the
    capacity and every deadline costs less (NaN where some piece is late: then the two cannot be compared); ``late``: bool[n],
    ends after it was due; ``unplaced``: bool[n], found no room at all; ``exact``: proven best, lateness included.
    """

    running: Bools
    cost: float
    bound: float
    late: Bools
    unplaced: Bools
    exact: bool

    @property
    def start(self) -> Ints:
        """int32[n]: first slot of each piece, -1 where it found no room."""
        return np.where(self.unplaced, -1, self.running.argmax(axis=1)).astype(np.int32)

    @property
    def end(self) -> Ints:
        """int32[n]: slot after the last of each piece, -1 where it found no room."""
        last = self.running.shape[1] - self.running[:, ::-1].argmax(axis=1)
        return np.where(self.unplaced, -1, last).astype(np.int32)

    @property
    def rank(self) -> tuple[int, int, float]:
        """The lower the better: work without room, then late work, then cost; what does not run costs nothing."""
        return int(self.unplaced.sum()), int(self.late.sum()), self.cost

    @property
    def gap_frac(self) -> float:
        """How far above the bound the cost is, over the bound: the true optimum is no further away."""
        return (self.cost - self.bound) / abs(self.bound) if self.bound else float("nan")


def solve(work: Work, price: Floats, capacity: Floats) -> Schedule:
    """The cheapest schedule found. ``price``: float64[t], cost of one watt over each slot; ``capacity``: float64[t], GPUs.

    By decomposition; where that proves less than ``WANTED_GAP_FRAC`` and the problem has at most ``EXACT_CELLS`` choices (few
    large jobs, whose fit decides), HiGHS looks for a better one for ``EXACT_S`` at most. ``ValueError`` where columns do not
    fit together, or a value is not finite or positive.
    """
    from energy.shift.decompose import decompose
    from energy.shift.exact import cells, optimum

    check(work, price, capacity)
    if not len(work):
        none = np.zeros(0, dtype=np.bool_)
        return Schedule(np.zeros((0, len(price)), dtype=np.bool_), 0.0, 0.0, none, none, True)
    fast = decompose(work, price, capacity)
    if fast.gap_frac <= WANTED_GAP_FRAC or cells(work, len(price)) > EXACT_CELLS:
        return fast
    slow = optimum(work, price, capacity, EXACT_S)
    if slow is None or slow.rank > fast.rank:
        return fast
    return slow


def check(work: Work, price: Floats, capacity: Floats) -> None:
    """``ValueError`` with one sentence where the columns do not make a problem."""
    n = len(work)
    for name in ("power_w", "length", "earliest", "due", "interruptible"):
        if len(getattr(work, name)) != n:
            raise ValueError(f"{name} has {len(getattr(work, name))} values for {n} pieces of work")
    if len(price) != len(capacity) or not len(price):
        raise ValueError(f"{len(price)} prices and {len(capacity)} capacities; each slot needs one of both")
    if not (np.isfinite(price).all() and np.isfinite(capacity).all() and (capacity >= 0).all()):
        raise ValueError("a price or a capacity is not a finite number, or a capacity is below 0")
    wrong = ~(np.isfinite(work.gpus) & (work.gpus > 0) & np.isfinite(work.power_w) & (work.power_w > 0) & (work.length >= 1))
    wrong |= work.earliest < 0
    if wrong.any():
        raise ValueError(f"work {int(np.argmax(wrong))}: gpus, power_w and length must be above 0 and earliest not below")


def priced(work: Work, price: Floats, running: Bools) -> float:
    """What the slots of a schedule cost."""
    return float(work.power_w @ (running @ price))


def late_price(work: Work, price: Floats) -> float:
    """What a late slot costs more for each GPU."""
    return LATE_FACTOR * float(np.abs(price).max() + np.ptp(price) + 1e-12) * float((work.power_w / work.gpus).max())


def finished(work: Work, price: Floats, running: Bools, bound: float, exact: bool) -> Schedule:
    """A schedule with what follows from ``running``."""
    unplaced: Bools = ~np.asarray(running.any(axis=1))
    after = np.arange(len(price)) >= work.due[:, None]
    late: Bools = unplaced | np.asarray((running & after).any(axis=1))
    cost = priced(work, price, running)
    return Schedule(running, cost, float("nan") if late.any() else bound, late, unplaced, exact)
