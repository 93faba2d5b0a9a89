"""Racks for work inside a hall: even loops, or some coolant units at rest, with the twin's physics as judge.

A coolant unit's pumps follow the affinity law down to a least speed: heavy loads are best spread evenly, and light ones let
units rest. Which is better is for the judge: what the units would draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints
from twin.physics.pump import affine_power_w
from twin.site import Bools, Site

LIMIT_FRAC = 0.9  # of what a unit carries at design: the rest is for what jobs do after they were placed
LEAST_SPEED_FRAC = 0.4  # of a unit's pumps while it runs; assumed, as twin.params.PlantParams has it for the plant's
REST_W, TRIES = 0.0, 8

Judge = Callable[[Floats], float]


@dataclass(frozen=True, slots=True, eq=False)
class Hall:
    """Columns over k racks and c coolant units. ``unit``: int32[k], the unit that cools each rack; ``free``: int32[k], GPUs
    that may be given out; ``gpu_w``: float64[k], heat of a GPU at work with its share of the node; ``idle_w``: float64[k], heat
    of the rack as it is now; ``design_w``: float64[c], heat that each unit carries at design; ``may_rest``: bool[c], it may be
    switched off (its neighbours are its standby)."""

    racks: Sequence[str]
    units: Sequence[str]
    unit: Ints
    free: Ints
    gpu_w: Floats
    idle_w: Floats
    design_w: Floats
    may_rest: Bools

    def __post_init__(self) -> None:
        if len({len(self.racks), len(self.unit), len(self.free), len(self.gpu_w), len(self.idle_w)}) != 1:
            raise ValueError("the columns of racks differ in length")
        known = ((self.unit >= 0) & (self.unit < len(self.units))).all()
        if not known or (self.free < 0).any() or (self.design_w <= 0).any():
            raise ValueError("a rack has no unit or free GPUs below 0, or a unit carries nothing at design")

    def heat_w(self, given: Ints) -> Floats:
        """float64[c]: heat of each unit's racks where ``given`` GPUs (int32[k]) are at work besides."""
        return np.bincount(self.unit, self.idle_w + given * self.gpu_w, len(self.units)).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Seating:
    """``given``: int32[n, k], GPUs of each job in each rack; ``unplaced``: bool[n]; ``heat_w``: float64[c] then;
    ``cooling_w``: by the judge."""

    given: Ints
    unplaced: Bools
    heat_w: Floats
    cooling_w: float

    @property
    def resting(self) -> Bools:
        """bool[c]: units without heat."""
        return np.asarray(self.heat_w <= 0)


def pump_judge(hall: Hall, pump_frac: float) -> Judge:
    """What the units' pumps draw [W]: flow follows heat down to the least speed, power its cube; a unit without heat rests
    where it may. ``pump_frac``: their power at design over the heat (``PlantParams.cdu_pump_frac``)."""

    def judge(heat_w: Floats) -> float:
        speed = np.maximum(heat_w / hall.design_w, LEAST_SPEED_FRAC)
        drawn = affine_power_w(np.minimum(speed, 1.2), hall.design_w * pump_frac)
        return float(np.where((heat_w <= 0) & hall.may_rest, REST_W, drawn).sum())

    return judge


def seat(hall: Hall, gpus: Ints, judge: Judge) -> Seating:
    """Racks for jobs of ``gpus`` (int32[n]): spread evenly over a few units, over more, over all (``TRIES`` of them), and of
    these what seats most jobs, then what the judge finds cheapest. No unit is given more than ``LIMIT_FRAC`` of its design; a
    job sits under as few units as can be."""
    heat_w = hall.heat_w(np.zeros(len(hall.racks), dtype=np.int32))
    # opened first: those that may not rest, then those that are warm already
    opening = np.lexsort((-heat_w / hall.design_w, hall.may_rest))
    counts = np.unique(np.linspace(1, len(hall.units), min(len(hall.units), TRIES)).round().astype(int))
    tried = [_seated(hall, gpus, judge, opening[:count]) for count in counts.tolist()]
    return min(tried, key=lambda one: (int(one.unplaced.sum()), one.cooling_w))


def _seated(hall: Hall, gpus: Ints, judge: Judge, opened: NDArray[np.intp]) -> Seating:
    free, given = hall.free.copy(), np.zeros((len(gpus), len(hall.racks)), dtype=np.int32)
    free[~np.isin(hall.unit, opened)] = 0
    unplaced = np.zeros(len(gpus), dtype=np.bool_)
    total = np.zeros(len(hall.racks), dtype=np.int32)
    for j in np.argsort(-gpus, kind="stable").tolist():
        row = _one(hall, int(gpus[j]), free, total)
        if row is None:
            unplaced[j] = True
            continue
        given[j] = row
        free -= row
        total += row
    heat_w = hall.heat_w(total)
    return Seating(given, unplaced, heat_w, judge(heat_w))


def _one(hall: Hall, wanted: int, free: Ints, given: Ints) -> Ints | None:
    """GPUs of one job by rack: under a unit that takes all of it where there is one, the emptiest of them; None where it does
    not fit."""
    heat_w = hall.heat_w(given)
    room_w = np.maximum(LIMIT_FRAC * hall.design_w - heat_w, 0.0)
    takes = np.bincount(hall.unit, np.minimum(free, room_w[hall.unit] // hall.gpu_w), len(hall.units))
    order = np.lexsort((heat_w / hall.design_w, takes < wanted))
    row, left = np.zeros(len(hall.racks), dtype=np.int32), wanted
    for c in order.tolist():
        for k in np.flatnonzero((hall.unit == c) & (free > 0)).tolist():
            take = min(left, int(free[k]), int((room_w[c] + 1e-6) // hall.gpu_w[k]))
            row[k] += take
            left -= take
            room_w[c] -= take * hall.gpu_w[k]
            if not left:
                return row
    return None


def hall_of(site: Site, free: Ints, gpu_w: float, rack_w: Floats, may_rest: Sequence[str] = ()) -> Hall:
    """The racks of ``site`` that a coolant unit cools. ``free``: int32[racks], GPUs to be given out; ``rack_w``:
    float64[racks], heat now (NaN: 0). A unit carries ``rated_heat_w``, or where that is not given its racks' design power."""
    unit_row, rack_row, _ = site.linked("cools", "cdu", "rack")
    rated_w = np.nan_to_num(site.number("rack", "rated_w"))[rack_row]
    heat = site.number("cdu", "rated_heat_w")
    design = np.where(np.isnan(heat), np.bincount(unit_row, rated_w, site.count("cdu")), heat)
    ids, units = site.ids_of("rack"), site.ids_of("cdu")
    return Hall(
        [ids[k] for k in rack_row.tolist()],
        units,
        unit_row.astype(np.int32),
        free[rack_row].astype(np.int32),
        np.full(len(rack_row), gpu_w),
        np.nan_to_num(rack_w)[rack_row],
        np.where(design > 0, design, np.inf),
        np.array([unit in may_rest for unit in units]),
    )
