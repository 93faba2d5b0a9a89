"""Large shifting problems by Lagrangian decomposition: a price on each slot's capacity, then each job by itself.

With a price on the GPUs of each slot the jobs no longer know of each other, and each one's best slots are a sum or a sort over
all jobs at once. The prices climb the dual by a subgradient with momentum (Held, Wolfe & Crowder 1974, "Validation of
subgradient optimization"); its value bounds every schedule from below. Then jobs are placed one by one at those prices, the
ones that found no room first the next time ("squeaky wheel", Joslin & Clements 1999), and moved while that saves.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from energy.shift import WANTED_GAP_FRAC, Schedule, Work, finished, late_price
from twin.frame import Floats
from twin.site import Bools

CLIMBS = (100, 300)  # iterations of the dual, the second where the first does not prove enough
ROUNDS = 8  # of placing, until everything has its room
PASSES = 3  # of moving what is placed
_CLASSES = 16  # of power per GPU, within which jobs rank the slots alike
_MOMENTUM, _PATIENCE, _SHRINK = 0.5, 5, 0.6

Slots = NDArray[np.intp]


class _Shape(NamedTuple):
    """What of a problem does not change with the prices."""

    whole: Slots  # rows that run in one go
    parted: list[tuple[float, Slots, Bools]]  # of those that may pause: power per GPU [W], rows, allowed slots
    lengths: NDArray[np.int32]  # distinct
    which: Slots  # of ``lengths``, for each of ``whole``
    starts: Bools  # allowed starts of ``whole``


class Room(NamedTuple):
    """What is left in each slot: GPUs and power [W], float64[t] each; placing takes from both."""

    gpus: Floats
    power_w: Floats

    def change(self, work: Work, j: int, slots: Slots, sign: int) -> None:
        """Give back (1) or take (-1) what piece ``j`` holds."""
        self.gpus[slots] += sign * work.gpus[j]
        self.power_w[slots] += sign * work.power_w[j]


class _Dual(NamedTuple):
    """What a GPU and a watt of each slot are worth: float64[t] each."""

    gpus: Floats
    watts: Floats


def decompose(work: Work, price: Floats, capacity: Floats, power_limit_w: Floats | None = None) -> Schedule:
    """A schedule with its lower bound; capacity and ``power_limit_w`` (float64[t], of all work together) are kept, deadlines
    too where there is room. Climbs longer where the first climb proves less than ``WANTED_GAP_FRAC``."""
    limit_w = np.full(len(price), np.inf) if power_limit_w is None else power_limit_w
    best: Schedule | None = None
    for climb in CLIMBS:
        dual, bound = _climb(work, price, capacity, limit_w, climb)
        made = finished(work, price, _placed(work, price, Room(capacity, limit_w), dual), bound, exact=False)
        if best is None or made.rank < best.rank:
            best = made
        if best.gap_frac <= WANTED_GAP_FRAC or best.late.any():
            break
    if best is None:
        raise AssertionError("CLIMBS is empty")
    return best


def _placed(work: Work, price: Floats, room: Room, dual: _Dual) -> Bools:
    placed, rest, order = _place(work, price, room, dual)
    _place_late(work, price, rest, placed)
    for n in range(PASSES):
        fading = 1 - (n + 1) / PASSES
        _move(work, price, _Dual(dual.gpus * fading, dual.watts * fading), rest, placed, order if n % 2 else order[::-1])
    running = np.zeros((len(work), len(price)), dtype=np.bool_)
    for j, slots in enumerate(placed):
        if slots is not None:
            running[j, slots] = True
    return running


def _climb(work: Work, price: Floats, capacity: Floats, limit_w: Floats, iterations: int) -> tuple[_Dual, float]:
    """Prices of capacity and power and the bound that they prove."""
    shape, slots = _shape(work, len(price)), len(price)
    bounded = np.isfinite(limit_w)
    most = np.concatenate([capacity, limit_w[bounded]])
    dual, best, best_value = np.zeros(len(most)), np.zeros(len(most)), -np.inf
    ratio = work.power_w / work.gpus
    step = float(ratio.mean() * price.std()) or float(ratio.mean())
    # a watt is worth less than a GPU by what one draws
    steps = np.concatenate([np.full(slots, 1.0), np.full(len(most) - slots, 1 / float(ratio.mean()))])
    slope, since = np.zeros(len(most)), 0
    scale = np.maximum(most, 1e-9)
    for _ in range(iterations):
        now = _dual_of(dual, bounded)
        gpus, power_w, value = _respond(work, shape, price + now.watts, now.gpus)
        load = np.concatenate([gpus, power_w[bounded]])
        value -= float(most @ dual)
        if value > best_value:
            best, best_value, since = dual.copy(), value, 0
        elif (since := since + 1) >= _PATIENCE:
            step, since = step * _SHRINK, 0
        if not (load > most).any() and not dual.any():
            break  # there is room for all: nothing to weigh
        slope = _MOMENTUM * slope + np.clip((load - most) / scale, -10.0, 10.0)
        dual = np.maximum(dual + step * steps * slope, 0.0)
    return _dual_of(best, bounded), _proven(work, price, _dual_of(best, bounded), capacity, np.where(bounded, limit_w, 0.0))


def _dual_of(dual: Floats, bounded: Bools) -> _Dual:
    watts = np.zeros(len(bounded))
    watts[bounded] = dual[len(bounded) :]
    return _Dual(dual[: len(bounded)], watts)


def _shape(work: Work, slots: int) -> _Shape:
    t = np.arange(slots)
    ends = np.minimum(np.maximum(work.due, work.earliest + work.length), slots)
    whole = np.flatnonzero(~work.interruptible & (work.earliest + work.length <= slots))
    lengths, which = np.unique(work.length[whole], return_inverse=True)
    starts = (t >= work.earliest[whole, None]) & (t + work.length[whole, None] <= ends[whole, None])
    may = np.flatnonzero(work.interruptible & (work.earliest + work.length <= slots))
    ratio = (work.power_w / work.gpus)[may]
    edges = np.unique(np.quantile(ratio, np.linspace(0, 1, _CLASSES + 1)[1:-1])) if len(may) else np.empty(0)
    parted = []
    for group in np.unique(side := np.searchsorted(edges, ratio, side="left")):
        rows = may[side == group]
        allowed = (t >= work.earliest[rows, None]) & (t < ends[rows, None])
        parted.append((float(ratio[side == group].mean()), rows, allowed))
    return _Shape(whole, parted, lengths, which, starts)


def _respond(work: Work, shape: _Shape, price: Floats, dual: Floats) -> tuple[Floats, Floats, float]:
    """GPUs and power [W] that all jobs together would take in each slot at these prices, each choosing for itself, and what
    that costs."""
    slots = len(price)
    load, load_w, cost = np.zeros(slots), np.zeros(slots), 0.0
    if len(shape.whole):
        start, values = _starts(work, shape, price, dual)
        end = start + work.length[shape.whole]
        for total, each in ((load, work.gpus[shape.whole]), (load_w, work.power_w[shape.whole])):
            edges = np.bincount(start, each, slots + 1) - np.bincount(end, each, slots + 1)
            total += np.cumsum(edges)[:slots]
        cost += float(values.sum())
    for ratio, rows, allowed in shape.parted:
        rank = np.argsort(price + dual / ratio, kind="stable")
        ranked = allowed[:, rank]
        taken = ranked & (np.cumsum(ranked, axis=1, dtype=np.int16) <= work.length[rows, None])
        gpus, power_w = work.gpus[rows] @ taken, work.power_w[rows] @ taken
        load[rank] += gpus
        load_w[rank] += power_w
        cost += float(power_w @ price[rank] + gpus @ dual[rank])
    return load, load_w, cost


def _starts(work: Work, shape: _Shape, price: Floats, dual: Floats) -> tuple[Slots, Floats]:
    """The best start of each job that runs in one go, and its cost."""
    slots, rows = len(price), shape.whole
    t = np.arange(slots)
    end = np.minimum(t + shape.lengths[:, None], slots)
    sums, dual_sums = (np.concatenate(([0.0], np.cumsum(column))) for column in (price, dual))
    whole, dual_whole = (sums[end] - sums[t])[shape.which], (dual_sums[end] - dual_sums[t])[shape.which]
    values = work.power_w[rows, None] * whole + work.gpus[rows, None] * dual_whole
    values[~shape.starts] = np.inf
    start = values.argmin(axis=1)
    return start, values[np.arange(len(rows)), start]


def _proven(work: Work, price: Floats, dual: _Dual, capacity: Floats, limit_w: Floats) -> float:
    """The dual's value, with each job's own ranking of the slots: a true lower bound. Parts without room count 0."""
    shape, paid = _shape(work, len(price)), price + dual.watts
    total = -float(capacity @ dual.gpus) - float(limit_w @ dual.watts)
    if len(shape.whole):
        total += float(_starts(work, shape, paid, dual.gpus)[1].sum())
    for _, rows, allowed in shape.parted:
        values = work.power_w[rows, None] * paid + work.gpus[rows, None] * dual.gpus
        values[~allowed] = np.inf
        values.sort(axis=1)
        counted = np.arange(len(price)) < work.length[rows, None]
        total += float(values[counted].sum())
    return total


def _place(work: Work, price: Floats, room: Room, dual: _Dual) -> tuple[list[Slots | None], Room, NDArray[np.intp]]:
    """Slots of each job within its deadline (None: no room), what is left, and the order of placing."""
    size, blame = work.gpus * work.length, np.zeros(len(work))
    best: tuple[int, list[Slots | None], Room, NDArray[np.intp]] | None = None
    for _ in range(ROUNDS):
        order = np.lexsort((-size, -blame))
        rest = Room(room.gpus.copy(), room.power_w.copy())
        placed: list[Slots | None] = [None] * len(work)
        missing = _fill(work, price, dual, order, rest, placed)
        if best is None or len(missing) < best[0]:
            best = (len(missing), placed, rest, order)
        if not missing:
            break
        blame[missing] += 1
    if best is None:
        raise AssertionError("ROUNDS is below 1")
    return best[1:]


def _fill(work: Work, price: Floats, dual: _Dual, order: NDArray[np.intp], rest: Room, placed: list[Slots | None]) -> list[int]:
    """Place the jobs of ``order`` one by one; gives those that found no room."""
    missing, paid = [], price + dual.watts
    for j in order.tolist():
        weight = work.power_w[j] * paid + work.gpus[j] * dual.gpus
        slots = cheapest(work, j, rest.gpus, weight, int(work.due[j]), rest.power_w)
        if slots is None:
            missing.append(j)
        else:
            placed[j] = slots
            rest.change(work, j, slots, -1)
    return missing


def _place_late(work: Work, price: Floats, rest: Room, placed: list[Slots | None]) -> None:
    """What found no room before it was due goes where there is some, as little late as can be."""
    for j, slots in enumerate(placed):
        if slots is None:
            late = np.arange(len(price)) - int(work.due[j]) + 1
            weight = work.power_w[j] * price + work.gpus[j] * late_price(work, price) * np.maximum(late, 0)
            found = cheapest(work, j, rest.gpus, weight, len(price), rest.power_w)
            if found is not None:
                placed[j] = found
                rest.change(work, j, found, -1)


def _move(work: Work, price: Floats, dual: _Dual, rest: Room, placed: list[Slots | None], order: NDArray[np.intp]) -> None:
    """Take each job that is in time out and put it back where it is cheapest now."""
    paid = price + dual.watts
    for j in order.tolist():
        slots = placed[j]
        if slots is None or slots[-1] >= work.due[j]:
            continue
        rest.change(work, j, slots, 1)
        weight = work.power_w[j] * paid + work.gpus[j] * dual.gpus
        better = cheapest(work, j, rest.gpus, weight, int(work.due[j]), rest.power_w)
        slots = slots if better is None else better
        placed[j] = slots
        rest.change(work, j, slots, -1)


def cheapest(work: Work, j: int, rest: Floats, weight: Floats, end: int, rest_w: Floats | None = None) -> Slots | None:
    """Slots of job ``j`` before ``end`` where ``rest`` (and power ``rest_w`` [W]) has room, cheapest by ``weight``, in order;
    None: it has no room."""
    begin, length = int(work.earliest[j]), int(work.length[j])
    room = rest[begin:end] >= work.gpus[j]
    if rest_w is not None:
        room &= rest_w[begin:end] >= work.power_w[j] * (1 - 1e-12)
    if len(room) < length:
        return None
    if work.interruptible[j]:
        free = np.flatnonzero(room)
        if len(free) < length:
            return None
        if len(free) > length:
            free = np.sort(free[np.argpartition(weight[begin:end][free], length - 1)[:length]])
        return begin + free
    blocked = np.concatenate(([0], np.cumsum(~room)))
    sums = np.concatenate(([0.0], np.cumsum(weight[begin:end])))
    values = np.where(blocked[length:] == blocked[:-length], sums[length:] - sums[:-length], np.inf)
    start = int(values.argmin())
    return None if np.isinf(values[start]) else begin + start + np.arange(length)
