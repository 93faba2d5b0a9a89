"""The exact optimum of a small shifting problem, as a mixed-integer program for HiGHS (through scipy)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from energy.shift import Schedule, Work, finished, late_price
from twin.frame import Floats

LIMIT_S = 60.0  # after which the best found so far is taken, with the bound that is proven by then
_GAP = 5e-4


def cells(work: Work, slots: int) -> int:
    """How many choices a problem has: starts of what runs in one go, slots of what may pause."""
    room = np.maximum(slots - work.earliest, 0)
    starts = np.maximum(room - work.length + 1, 0)
    return int(np.where(work.interruptible, room, starts).sum())


def optimum(work: Work, price: Floats, capacity: Floats, limit_s: float = LIMIT_S) -> Schedule | None:
    """The cheapest schedule, proven within ``_GAP``, or ``exact`` is False; None where HiGHS finds none within ``limit_s``.

    Time-indexed formulation (Dyer & Wolsey 1990): x[j, s] = 1 where piece j starts in slot s, or, if it may pause, runs in it.
    Late slots, at ``late_price``, are offered only where there is no schedule without them: they make the search long.
    """
    fits = bool((np.minimum(work.due, len(price)) - work.earliest >= work.length).all())
    found = _search(work, price, capacity, False, limit_s) if fits else None
    return found or _search(work, price, capacity, True, limit_s)


def _search(work: Work, price: Floats, capacity: Floats, late: bool, limit_s: float) -> Schedule | None:
    columns = [_columns(work, j, price, late) for j in range(len(work))]
    counts = np.array([len(cost) for _, cost in columns])
    offset = np.concatenate(([0], np.cumsum(counts)))
    n, slots, total = len(work), len(price), int(offset[-1])
    # leaving a piece out is worse than any place of its own, and not on offer where all must be in time
    most = np.array([2.0 * float(np.abs(cost).sum()) + 1.0 for _, cost in columns])
    rows, cols, vals = [], [], []
    for j, (first, _) in enumerate(columns):
        span = 1 if work.interruptible[j] else int(work.length[j])
        at = first[:, None] + np.arange(span)
        rows.append(at.ravel())
        cols.append(np.repeat(offset[j] + np.arange(len(first)), span))
        vals.append(np.full(at.size, work.gpus[j]))
    use = csr_array((np.concatenate(vals), (np.concatenate(rows), np.concatenate(cols))), shape=(slots, total + n))
    need = np.where(work.interruptible, work.length, 1).astype(float)
    owner = np.concatenate([np.repeat(np.arange(n), counts), np.arange(n)])
    once = csr_array((np.concatenate([np.ones(total), need]), (owner, np.arange(total + n))), shape=(n, total + n))
    found = milp(
        np.concatenate([*(cost for _, cost in columns), most]),
        constraints=[LinearConstraint(use, -np.inf, capacity), LinearConstraint(once, need, need)],
        integrality=np.ones(total + n),
        bounds=Bounds(0, np.concatenate([np.ones(total), np.full(n, float(late))])),
        options={"time_limit": limit_s, "mip_rel_gap": _GAP},
    )
    if found.x is None:
        return None
    running = np.zeros((n, slots), dtype=np.bool_)
    for j, (first, _) in enumerate(columns):
        chosen = first[found.x[offset[j] : offset[j + 1]] > 0.5]
        span = 1 if work.interruptible[j] else int(work.length[j])
        running[j, (chosen[:, None] + np.arange(span)).ravel()] = True
    return finished(work, price, running, float(found.mip_dual_bound), found.status == 0)


def _columns(work: Work, j: int, price: Floats, late: bool) -> tuple[NDArray[np.intp], Floats]:
    """Slots in which piece ``j`` may start (or, if it may pause, run) and what each costs, lateness included."""
    slots, length = len(price) if late else min(int(work.due[j]), len(price)), int(work.length[j])
    own = work.power_w[j] * price[:slots]
    own = own + np.where(np.arange(slots) >= work.due[j], late_price(work, price) * work.gpus[j], 0.0)
    if work.interruptible[j]:
        first = np.arange(min(int(work.earliest[j]), slots), slots)
        return first, own[first]
    first = np.arange(int(work.earliest[j]), slots - length + 1)
    sums = np.concatenate(([0.0], np.cumsum(own)))
    return first, sums[first + length] - sums[first]
