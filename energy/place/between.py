"""Place and time chosen together, for work that may travel between partitions, halls and centres.

As ``shift.decompose``, with one more dimension: a price on the GPUs of each slot of each place, at which every piece chooses
its own place and slots (Lagrangian relaxation of the capacity rows; its value bounds every placement). Then pieces are placed
one by one at those prices, the ones without room first the next time, and moved while that saves; at last ``shift.decompose``
sets the times of each place anew.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from energy.place import Placement, Places, Travel, allowed, transfer_slots
from energy.shift import Work, check
from energy.shift.decompose import cheapest, decompose
from twin.frame import Floats
from twin.site import Bools

CLIMB, ROUNDS, PASSES = 200, 6, 4
MOST_CELLS = 60_000_000  # pieces times places times slots
_MOMENTUM, _PATIENCE, _SHRINK = 0.5, 5, 0.6
Slots = NDArray[np.intp]


class _Spot(NamedTuple):
    """All pieces as they would be at one place: their windows there, and what getting there costs. ``may``: bool[n], they are
    let in."""

    work: Work
    may: Bools
    travel: Floats  # float64[n]


def place(work: Work, places: Places, travel: Travel, slot_s: float) -> Placement:
    """Where and when each piece runs. Capacity is kept, deadlines where there is room. ``ValueError`` where columns do not
    fit, or there are over ``MOST_CELLS`` choices."""
    p, slots = places.price.shape
    for q in range(p):
        check(work, places.price[q], places.capacity[q])
    if len(work) * p * slots > MOST_CELLS:
        raise ValueError(f"{len(work)} pieces, {p} places and {slots} slots are over {MOST_CELLS} choices; plan in parts")
    spots = _spots(work, places, travel, slot_s)
    dual, bound = _climb(work, places, spots)
    best: tuple[tuple[int, int, float], list[tuple[int, Slots] | None]] | None = None
    blame = np.zeros(len(work))
    for _ in range(ROUNDS):
        order = np.lexsort((-(work.gpus * work.length), -blame))
        chosen, missing = _fill(places, spots, dual, order)
        _improve(places, spots, chosen, order, dual)
        score = (chosen.count(None), len(missing), _cost(work, places, spots, chosen))
        if best is None or score < best[0]:
            best = (score, chosen)
        if not missing:
            break
        blame[missing] += 1
    if best is None:
        raise AssertionError("ROUNDS is below 1")
    found = _timed(places, spots, best[1]), _staying(places, spots, travel)
    return min((_made(work, places, travel, spots, chosen, bound) for chosen in found), key=lambda made: made.rank)


def _spots(work: Work, places: Places, travel: Travel, slot_s: float) -> list[_Spot]:
    may, wait = allowed(work, places, travel), transfer_slots(places, travel, slot_s)
    spots = []
    for q in range(len(places.ids)):
        earliest = work.earliest + wait[:, q]
        there = Work(work.gpus, work.power_w, work.length, earliest.astype(np.int32), work.due, work.interruptible)
        # the network's energy, at the mean price there
        mean = places.price[q].mean()
        moved_w = np.where(travel.home == q, 0.0, travel.data_bytes * places.j_per_byte[travel.home, q] / slot_s)
        spots.append(_Spot(there, may[:, q], moved_w * mean))
    return spots


def _climb(work: Work, places: Places, spots: list[_Spot]) -> tuple[Floats, float]:
    """Prices of capacity (float64[p, t]) and the bound that they prove."""
    price, capacity = places.price, places.capacity
    dual, slope = np.zeros(price.shape), np.zeros(price.shape)
    best, best_value, since = dual, -np.inf, 0
    step = float((work.power_w / work.gpus).mean() * max(price.std(), 1e-3 * np.abs(price).max())) if len(work) else 1.0
    scale = np.maximum(capacity, 1e-9)
    for _ in range(CLIMB):
        load, value = _respond(work, price, dual, spots)
        value -= float((capacity * dual).sum())
        if value > best_value:
            best, best_value, since = dual, value, 0
        elif (since := since + 1) >= _PATIENCE:
            step, since = step * _SHRINK, 0
        if not (load > capacity).any() and not dual.any():
            break
        slope = _MOMENTUM * slope + np.clip((load - capacity) / scale, -10.0, 10.0)
        dual = np.maximum(dual + step * slope, 0.0)
    return best, best_value


def _respond(work: Work, price: Floats, dual: Floats, spots: list[_Spot]) -> tuple[Floats, float]:
    """GPUs taken in each slot of each place where every piece takes what is cheapest for it, and what that costs. Pieces that
    fit nowhere in time are left out: they count 0, so the bound stays one."""
    n = len(work)
    values = np.full((n, len(spots)), np.inf)
    for q, spot in enumerate(spots):
        values[:, q] = np.where(spot.may, _own(spot.work, price[q], dual[q]) + spot.travel, np.inf)
    where = values.argmin(axis=1)
    least = values[np.arange(n), where]
    load = np.zeros(price.shape)
    for q, spot in enumerate(spots):
        mine = np.flatnonzero((where == q) & np.isfinite(least))
        if len(mine):
            load[q] = work.gpus[mine] @ _slots_of(spot.work.only(mine), price[q], dual[q])
    return load, float(least[np.isfinite(least)].sum())


def _own(work: Work, price: Floats, dual: Floats) -> Floats:
    """float64[n]: the least that each piece can pay here for itself."""
    best = np.full(len(work), np.inf)
    whole, parted = np.flatnonzero(~work.interruptible), np.flatnonzero(work.interruptible)
    if len(whole):
        best[whole] = _starts(work.only(whole), price, dual).min(axis=1)
    if len(parted):
        values = _each(work.only(parted), price, dual)
        values.sort(axis=1)
        count = np.arange(values.shape[1]) < work.length[parted, None]
        best[parted] = np.where(count, values, 0.0).sum(axis=1)
    return best


def _each(work: Work, price: Floats, dual: Floats) -> Floats:
    """float64[n, t]: cost of each slot, infinity outside a piece's window."""
    t = np.arange(len(price))
    values = work.power_w[:, None] * price + work.gpus[:, None] * dual
    return np.where((t >= work.earliest[:, None]) & (t < work.due[:, None]), values, np.inf)


def _starts(work: Work, price: Floats, dual: Floats) -> Floats:
    """float64[n, t]: cost of a start in each slot, infinity where it would not be in time."""
    slots = len(price)
    t = np.arange(slots)
    ends = t + work.length[:, None]
    sums, dual_sums = (np.concatenate(([0.0], np.cumsum(column))) for column in (price, dual))
    right = np.minimum(ends, slots)
    values = work.power_w[:, None] * (sums[right] - sums[t]) + work.gpus[:, None] * (dual_sums[right] - dual_sums[t])
    good = (t >= work.earliest[:, None]) & (ends <= np.minimum(work.due[:, None], slots))
    return np.where(good, values, np.inf)


def _slots_of(work: Work, price: Floats, dual: Floats) -> Bools:
    """bool[n, t]: the slots that each piece takes for itself."""
    taken = np.zeros((len(work), len(price)), dtype=np.bool_)
    t = np.arange(len(price))
    whole, parted = np.flatnonzero(~work.interruptible), np.flatnonzero(work.interruptible)
    if len(whole):
        start = _starts(work.only(whole), price, dual).argmin(axis=1)
        taken[whole] = (t >= start[:, None]) & (t < (start + work.length[whole])[:, None])
    if len(parted):
        rank = _each(work.only(parted), price, dual).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        taken[parted] = rank < work.length[parted, None]
    return taken


def _fill(
    places: Places, spots: list[_Spot], dual: Floats, order: NDArray[np.intp]
) -> tuple[list[tuple[int, Slots] | None], list[int]]:
    """Place the pieces of ``order`` one by one where they pay least; what finds no room in time comes last, late."""
    rest = places.capacity.copy()
    chosen: list[tuple[int, Slots] | None] = [None] * len(order)
    missing = []
    for j in order.tolist():
        chosen[j] = _best(places, spots, dual, rest, j, late=False)
        _take(chosen[j], spots, rest, j, -1)
        if chosen[j] is None:
            missing.append(j)
    for j in missing:
        chosen[j] = _best(places, spots, dual, rest, j, late=True)
        _take(chosen[j], spots, rest, j, -1)
    return chosen, missing


def _best(places: Places, spots: list[_Spot], dual: Floats, rest: Floats, j: int, late: bool) -> tuple[int, Slots] | None:
    found: tuple[float, int, Slots] | None = None
    for q, spot in enumerate(spots):
        if not spot.may[j]:
            continue
        weight = spot.work.power_w[j] * places.price[q] + spot.work.gpus[j] * dual[q]
        end = places.price.shape[1] if late else int(spot.work.due[j])
        if late:  # as soon as it can
            weight = np.arange(len(weight), dtype=np.float64)
        slots = cheapest(spot.work, j, rest[q], weight, end)
        if slots is None:
            continue
        value = float(weight[slots].sum() + (0.0 if late else spot.travel[j]))
        if found is None or value < found[0]:
            found = (value, q, slots)
    return None if found is None else (found[1], found[2])


def _take(at: tuple[int, Slots] | None, spots: list[_Spot], rest: Floats, j: int, sign: int) -> None:
    if at is not None:
        rest[at[0], at[1]] += sign * spots[at[0]].work.gpus[j]


def _improve(
    places: Places, spots: list[_Spot], chosen: list[tuple[int, Slots] | None], order: NDArray[np.intp], dual: Floats
) -> None:
    """Take each piece out and put it back where it is cheapest in time, at prices of capacity that fade to none."""
    rest = places.capacity.copy()
    for j, at in enumerate(chosen):
        _take(at, spots, rest, j, -1)
    for n in range(PASSES):
        for j in (order if n % 2 else order[::-1]).tolist():
            at = chosen[j]
            if at is None:
                continue
            _take(at, spots, rest, j, 1)
            better = _best(places, spots, dual * (1 - (n + 1) / PASSES), rest, j, late=False)
            chosen[j] = at if better is None else better
            _take(chosen[j], spots, rest, j, -1)


def _timed(places: Places, spots: list[_Spot], chosen: list[tuple[int, Slots] | None]) -> list[tuple[int, Slots] | None]:
    """The same places, with the slots that shifting in time alone finds for each, where those are cheaper."""
    out = list(chosen)
    for q, spot in enumerate(spots):
        mine = np.array([j for j, at in enumerate(chosen) if at is not None and at[0] == q], dtype=np.intp)
        if not len(mine):
            continue
        part = spot.work.only(mine)
        before = [chosen[j] for j in mine.tolist()]
        paid = sum(float(part.power_w[k] * places.price[q, at[1]].sum()) for k, at in enumerate(before) if at is not None)
        late = sum(at is not None and bool(at[1][-1] >= part.due[k]) for k, at in enumerate(before))
        found = decompose(part, places.price[q], places.capacity[q])
        if found.rank < (0, late, paid):
            for k, j in enumerate(mine.tolist()):
                out[j] = (q, np.flatnonzero(found.running[k]))
    return out


def _staying(places: Places, spots: list[_Spot], travel: Travel) -> list[tuple[int, Slots] | None]:
    """All at home, with the slots that shifting in time alone finds: who may travel is not to pay more than who may not."""
    out: list[tuple[int, Slots] | None] = [None] * len(travel.home)
    for q, spot in enumerate(spots):
        mine = np.flatnonzero((travel.home == q) & spot.may)
        if len(mine):
            found = decompose(spot.work.only(mine), places.price[q], places.capacity[q])
            for j, runs in zip(mine.tolist(), found.running, strict=True):
                out[j] = (q, np.flatnonzero(runs)) if runs.any() else None
    return out


def _cost(work: Work, places: Places, spots: list[_Spot], chosen: list[tuple[int, Slots] | None]) -> float:
    total = 0.0
    for j, at in enumerate(chosen):
        if at is not None:
            total += float(work.power_w[j] * places.price[at[0], at[1]].sum() + spots[at[0]].travel[j])
    return total


def _made(
    work: Work, places: Places, travel: Travel, spots: list[_Spot], chosen: list[tuple[int, Slots] | None], bound: float
) -> Placement:
    n, slots = len(work), places.price.shape[1]
    running, at = np.zeros((n, slots), dtype=np.bool_), np.full(n, -1, dtype=np.int32)
    for j, one in enumerate(chosen):
        if one is not None:
            at[j] = one[0]
            running[j, one[1]] = True
    after = np.arange(slots) >= work.due[:, None]
    late: Bools = np.asarray((at < 0) | (running & after).any(axis=1))
    away = (at >= 0) & (at != travel.home)
    cost = _cost(work, places, spots, chosen)
    sent_j = float((travel.data_bytes * places.j_per_byte[travel.home, np.maximum(at, 0)])[away].sum())
    return Placement(at, running, cost, float("nan") if late.any() else bound, late, sent_j)
