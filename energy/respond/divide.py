"""Which job gives how much power: a linear program for the bound, and one cap for each job that comes near it.

Each job's throughput is a piecewise linear function of its power. Convex combinations of its measured points bound what any
schedule of caps can reach (the bound quoted for the measured event is this). A job under one cap at a time lies on its own
curve; where that is not concave the choice of segment is a binary (special ordered set of type 2: Beale & Tomlin 1970), for
HiGHS to settle while there are at most ``MIXED_JOBS``.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from energy.respond import Division, Loads
from twin.frame import Floats, Ints
from twin.site import Bools

MIXED_JOBS = 200
MIXED_S = 2.0
_GAP = 1e-5
_TOLERANCE_W = 1e-6


class _Points(NamedTuple):
    """Points that jobs may stand on: job, power of the whole job [W], throughput; paused ones stand apart."""

    job: Ints
    power_w: Floats
    throughput_frac: Floats
    paused: Floats


def divide(loads: Loads, budget_w: float, may_pause: bool = True) -> Division:
    """The division of ``budget_w`` [W] with most weighted throughput; floors are kept. Where even the floors (and pauses, where
    they may be) draw more, it is theirs: see ``Division.power_w`` for what is really drawn."""
    if not len(loads):
        none = np.empty(0)
        return Division(none, none, none, 1.0)
    if budget_w >= loads.full_w.sum():
        return _made(loads, loads.full_w, np.zeros(len(loads), dtype=np.bool_), 1.0)
    points = _points(loads, may_pause)
    least_w = _least(points, len(loads))
    if budget_w <= least_w.sum() + _TOLERANCE_W:
        stops = may_pause & loads.pausable & (loads.gpus * loads.idle_w < loads.least_w)
        return _made(loads, np.where(stops, loads.gpus * loads.idle_w, loads.least_w), stops, None)
    chosen, bound = _linear(loads, points, budget_w)
    if not _single(points, chosen, len(loads)):
        settled = _mixed(loads, points, budget_w) if len(loads) <= MIXED_JOBS else None
        chosen = chosen if settled is None else settled
    power_w: Floats = np.zeros(len(loads))
    np.add.at(power_w, points.job, chosen * points.power_w)
    stopped = np.bincount(points.job, weights=chosen * points.paused, minlength=len(loads))
    paused = np.asarray(stopped > 0.5)
    # half a pause is none: it runs at its floor, and the others pay for it
    torn = (stopped > 1e-6) & ~paused
    running_w = np.where(torn, np.maximum(power_w, loads.least_w), power_w)
    power_w = np.asarray(np.where(paused, loads.gpus * loads.idle_w, running_w))
    return _made(loads, _within(loads, power_w, paused, budget_w), paused, bound)


def uniform_cap(loads: Loads, budget_w: float) -> Division:
    """The one cap for all that keeps ``budget_w``: what a plant without a scheduler's knowledge would do."""
    low, high = 0.0, max(float(curve.cap_w[-1]) for curve in loads.curves)
    for _ in range(60):
        middle = (low + high) / 2
        fits = _capped(loads, middle).power_w.sum() <= budget_w
        low, high = (middle, high) if fits else (low, middle)
    return _capped(loads, low)


def _capped(loads: Loads, cap_w: float) -> Division:
    curves = [loads.curves[int(c)] for c in loads.curve]
    power_w = loads.gpus * np.array([np.interp(cap_w, curve.cap_w, curve.power_w) for curve in curves])
    through = np.array([np.interp(cap_w, curve.cap_w, curve.throughput_frac) for curve in curves])
    return Division(power_w, np.full(len(loads), cap_w), through, float("nan"))


def _points(loads: Loads, may_pause: bool) -> _Points:
    job, power_w, through, paused = [], [], [], []
    for j in range(len(loads)):
        curve, gpus, floor = loads.curves[int(loads.curve[j])], float(loads.gpus[j]), float(loads.floor_frac[j])
        least = curve.least_w(floor)
        inside = curve.power_w > least + 1e-9
        powers = np.concatenate(([least], curve.power_w[inside]))
        job.append(np.full(len(powers), j))
        power_w.append(gpus * powers)
        through.append(np.interp(powers, curve.power_w, curve.throughput_frac))
        paused.append(np.zeros(len(powers)))
        if may_pause and loads.pausable[j]:
            job.append(np.array([j]))
            power_w.append(np.array([gpus * loads.idle_w[j]]))
            through.append(np.zeros(1))
            paused.append(np.ones(1))
    return _Points(np.concatenate(job).astype(np.int32), *(np.concatenate(c) for c in (power_w, through, paused)))


def _least(points: _Points, n: int) -> Floats:
    least = np.full(n, np.inf)
    np.minimum.at(least, points.job, points.power_w)
    return least


def _rows(loads: Loads, points: _Points) -> tuple[Floats, csr_array]:
    """Gain of each point, and the rows that let each job stand on its points once."""
    share = loads.gpus * loads.weight
    k = len(points.job)
    return share[points.job] * points.throughput_frac, csr_array(
        (np.ones(k), (points.job, np.arange(k))), shape=(len(loads), k)
    )


def _linear(loads: Loads, points: _Points, budget_w: float) -> tuple[Floats, float]:
    gain, once = _rows(loads, points)
    found = linprog(-gain, points.power_w[None, :], [budget_w], once, np.ones(len(loads)), (0, 1), method="highs")
    if found.x is None:
        raise AssertionError("a budget above the least power has no division")
    share = float((loads.gpus * loads.weight).sum())
    return np.asarray(found.x), float(-found.fun) / share if share else 1.0


def _single(points: _Points, chosen: Floats, n: int) -> bool:
    """Whether each job stands on one point or on two neighbours of its curve: then one cap is enough."""
    for j in range(n):
        mine = np.flatnonzero(points.job == j)
        on = mine[chosen[mine] > 1e-7]
        if len(on) > 2 or (len(on) == 2 and (on[1] - on[0] != 1 or points.paused[on].any())):
            return False
    return True


def _mixed(loads: Loads, points: _Points, budget_w: float) -> Floats | None:
    """The best division with one cap a job: point weights, and a binary for each segment that a job may stand in."""
    gain, once = _rows(loads, points)
    k, n = len(points.job), len(loads)
    left = np.flatnonzero((points.job[:-1] == points.job[1:]) & (points.paused[1:] == 0))
    alone = np.flatnonzero(points.paused > 0)  # a pause is a segment of one point
    segments = len(left) + len(alone)
    owner = points.job[np.concatenate([left, alone])]
    # a point's weight is at most that of the segments that touch it
    place = np.arange(segments)
    touched = np.concatenate([left, left + 1, alone])
    touching = np.concatenate([place[: len(left)], place[: len(left)], place[len(left) :]])
    limits = csr_array(
        (
            np.concatenate([np.ones(k), -np.ones(len(touched))]),
            (np.concatenate([np.arange(k), touched]), np.concatenate([np.arange(k), k + touching])),
        ),
        shape=(k, k + segments),
    )
    wide = csr_array((once.data, once.tocoo().coords), shape=(n, k + segments))
    one = csr_array((np.ones(segments), (owner, k + place)), shape=(n, k + segments))
    power = csr_array(np.concatenate([points.power_w, np.zeros(segments)])[None, :])
    found = milp(
        -np.concatenate([gain, np.zeros(segments)]),
        constraints=[
            LinearConstraint(limits, -np.inf, 0),
            LinearConstraint(wide, 1, 1),
            LinearConstraint(one, 1, 1),
            LinearConstraint(power, -np.inf, budget_w),
        ],
        integrality=np.concatenate([np.zeros(k), np.ones(segments)]),
        bounds=Bounds(0, 1),
        options={"time_limit": MIXED_S, "mip_rel_gap": _GAP},
    )
    return None if found.x is None else np.asarray(found.x[:k])


def _within(loads: Loads, power_w: Floats, paused: Bools, budget_w: float) -> Floats:
    """``power_w`` brought under the budget by what stands above the floors, in proportion: rounding must not break it."""
    over_w = float(power_w.sum()) - budget_w
    spare_w = np.where(paused, 0.0, np.maximum(power_w - loads.least_w, 0.0))
    if over_w <= 0 or not spare_w.sum():
        return power_w
    return power_w - spare_w * min(over_w / float(spare_w.sum()), 1.0)


def _made(loads: Loads, power_w: Floats, paused: Bools, bound: float | None) -> Division:
    cap_w, through = np.zeros(len(loads)), np.zeros(len(loads))
    for j in np.flatnonzero(~paused).tolist():
        curve = loads.curves[int(loads.curve[j])]
        each_w = float(power_w[j] / loads.gpus[j])
        cap_w[j] = np.interp(each_w, curve.power_w, curve.cap_w)
        through[j] = np.interp(each_w, curve.power_w, curve.throughput_frac)
    made = Division(power_w, cap_w, through, float("nan"))
    return Division(power_w, cap_w, through, made.weighted_frac(loads) if bound is None else bound)
