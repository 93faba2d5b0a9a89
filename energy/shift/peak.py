"""A charge on the highest power, a limit on it, and a longest wait: what the plain problem of shifting does not know.

A demand charge is paid once for the highest of a month, so a plan weighs a lower peak against dearer slots: the peak is a
number between what is known already and what the plain plan would draw, and each candidate is a shifting problem under that
limit.
"""

from dataclasses import dataclass, replace

import numpy as np

from energy.shift import Schedule, Work, check
from energy.shift.decompose import decompose
from twin.frame import Floats, Ints

CANDIDATES = 7


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """``base_w``: float64[t], what else the meter shows; ``limit_w``: float64[t], most that it may show (infinity: none);
    ``cost``: of a watt of the highest, in the unit of ``price`` times a slot; ``known_w``: the highest so far this month: only
    what goes beyond it costs."""

    base_w: Floats
    limit_w: Floats
    cost: float = 0.0
    known_w: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Peaked:
    """``schedule`` with ``peak_w``, the highest that the meter then shows."""

    schedule: Schedule
    peak_w: float
    peak: Peak

    @property
    def peak_cost(self) -> float:
        """What the highest costs beyond what was known."""
        return self.peak.cost * max(self.peak_w - self.peak.known_w, 0.0)

    @property
    def cost(self) -> float:
        """Slots and peak together."""
        return self.schedule.cost + self.peak_cost


def solve_peak(work: Work, price: Floats, capacity: Floats, peak: Peak) -> Peaked:
    """The cheapest schedule found under ``peak``. Limits are hard, deadlines soft: lateness counts before cost, that of a peak
    too. ``ValueError`` where columns do not fit together."""
    check(work, price, capacity)
    fits = len(peak.base_w) == len(price) == len(peak.limit_w) and np.isfinite(peak.base_w).all()
    if not fits or peak.cost < 0:
        raise ValueError("a peak needs the other load and a limit for each slot, and a cost from 0")
    room_w = np.maximum(peak.limit_w - peak.base_w, 0.0)
    plain = _judged(work, decompose(work, price, capacity, room_w), peak)
    if not peak.cost or not len(work):
        return plain
    floor_w = max(peak.known_w, float(peak.base_w.max()))
    best, high_w = plain, plain.peak_w
    # evenly between the lowest thinkable peak and that of the plain plan, then closer round the best of them
    low_w = min(floor_w, high_w)
    for _ in range(2):
        for level_w in np.linspace(low_w, high_w, CANDIDATES + 1)[:-1].tolist():
            limited = np.minimum(room_w, np.maximum(level_w - peak.base_w, 0.0))
            one = _judged(work, decompose(work, price, capacity, limited), peak)
            best = min(best, one, key=_rank)
        width_w = (high_w - low_w) / CANDIDATES
        low_w, high_w = max(best.peak_w - width_w, floor_w), min(best.peak_w + width_w, plain.peak_w)
        if high_w <= low_w:
            break
    return best


def _judged(work: Work, made: Schedule, peak: Peak) -> Peaked:
    drawn = peak.base_w + work.power_w @ made.running
    return Peaked(made, float(drawn.max()), peak)


def _rank(one: Peaked) -> tuple[int, int, float]:
    """The lower the better: work without room, then late work, then what slots and peak cost: no charge is worth either."""
    return (*one.schedule.rank[:2], one.cost)


def waiting_at_most(work: Work, nominal: Ints, most_slots: int) -> Work:
    """The work with deadlines so that none ends over ``most_slots`` later than it would have without shifting; one that starts
    in time without shifting always can."""
    bound = np.maximum(nominal + work.length + most_slots, work.earliest + work.length)
    return replace(work, due=np.minimum(work.due, bound).astype(np.int32))
