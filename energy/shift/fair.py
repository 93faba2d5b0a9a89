"""Fairness between tenants: whose work waits, and how long each may be made to wait beside the others. The one rule, for plans
of a whole file and for orders to a live queue.

A tenant's waiting is the mean over its GPU hours that may wait of how much later they run than they would have without us. None
is given more while it waits over ``FAIR_RATIO`` times the mean over all such GPU hours, its own among them. So who holds most
of them is compared with itself: a centre of one tenant knows no such limit. ``LEAST_S`` is open to all, whatever the others do:
else nobody could be the first to wait.
"""

from dataclasses import dataclass, replace

import numpy as np

from energy.shift import Schedule, Work, finished
from energy.shift.decompose import decompose
from twin.frame import Floats, Ints

FAIR_RATIO = 1.5
# Measured on four grids: two hours cost three quarters of the saving where half the work stands well already.
LEAST_S = 21_600.0
ROUNDS = 4  # of a plan with shorter deadlines for who waits too long
_PARTIAL, _MOST = 8, 64  # lowerings that still give a part; lowerings after which who is over gets nothing more


@dataclass(frozen=True, slots=True, eq=False)
class Whose:
    """Whose n pieces of planned work are, of k tenants. ``owner``: int32[n] from 0; ``size``: float64[n], GPU-slots of each;
    ``zero``: float64[n], where its waiting counts from (what it waited before is taken off), ``base``: int32[n], where it would
    come to with nothing more given, in the slots of the plan. ``others`` and ``waited``: float64[k], GPU-slots of each tenant's
    work beside the planned, and GPU-slots times slots that it waits; ``least``: slots that are open to all."""

    owner: Ints
    size: Floats
    zero: Floats
    base: Ints
    others: Floats
    waited: Floats
    least: float

    @property
    def held(self) -> Floats:
        """float64[k]: GPU-slots of each tenant, planned ones too."""
        return np.asarray(self.others + np.bincount(self.owner, self.size, len(self.others)))

    def waits(self, at: Ints) -> Floats:
        """float64[k]: how many slots each tenant's GPU-slots wait in the mean, with the pieces ``at`` (int32[n])."""
        late = np.maximum(at - self.zero, 0.0)
        return (self.waited + np.bincount(self.owner, self.size * late, len(self.others))) / np.maximum(self.held, 1e-9)

    def bearable(self, at: Ints) -> float:
        """The longest mean wait that a tenant may be brought to."""
        return bearable(self.held, self.waits(at), self.least)


def bearable(held: Floats, waits: Floats, least: float) -> float:
    """The longest wait of a tenant's GPU hours that is fair: ``FAIR_RATIO`` times the mean, when nobody waits longer than that.
    ``held``: float64[k], GPU hours of each; ``waits``: float64[k], their mean wait now; ``least``: that is always fair."""
    total = float(held.sum())
    if total <= 0:
        return np.inf
    order = np.argsort(-waits, kind="stable")
    share, each = held[order] / total, waits[order]
    # with the m longest of them cut to c, the mean is c times their share plus the rest, and c is FAIR_RATIO times that
    cut = np.concatenate(([0.0], np.cumsum(share)))
    rest = np.maximum(float(share @ each) - np.concatenate(([0.0], np.cumsum(share * each))), 0.0)
    for m in range(len(each)):
        free = 1 - FAIR_RATIO * float(cut[m])
        most = FAIR_RATIO * float(rest[m]) / free if free > 0 else np.inf
        if most >= each[m] * (1 - 1e-12):
            return max(most, least)
    return least


def granted(whose: Whose, at: Ints, worth: Floats, whole: bool = False) -> Ints:
    """int32[n]: where each piece may be, at most ``at``: there as long as its tenant bears it, else earlier, at its base at the
    earliest. Of a tenant's pieces those keep their place that are worth most for each slot of waiting (``worth``); the next
    gets what is left, or nothing where only a ``whole`` wait is one."""
    now = at.copy()
    for n in range(_MOST + len(whose.others)):
        waits, most = whose.waits(now), whose.bearable(now)
        longer = now > whose.base
        over = np.unique(whose.owner[longer & (waits > most * (1 + 1e-9) + 1e-9)[whose.owner]])
        if not len(over):
            break
        for k in over.tolist():
            mine = np.flatnonzero((whose.owner == k) & longer)
            now[mine] = whose.base[mine] if n >= _MOST else _lowered(whose, now, mine, worth, most, whole or n >= _PARTIAL)
    return now


def _lowered(whose: Whose, now: Ints, mine: np.ndarray, worth: Floats, most: float, whole: bool) -> Ints:
    """int32[m]: where the pieces ``mine`` of one tenant may be, so that it waits ``most``."""
    at, base, size = now[mine], whose.base[mine], whose.size[mine]
    k = int(whose.owner[mine[0]])
    none = now.copy()
    none[mine] = base
    left = (most - float(whose.waits(none)[k])) * float(whose.held[k])
    # what is before ``zero`` is no waiting
    costs = size * (np.maximum(at, whose.zero[mine]) - np.maximum(base, whose.zero[mine]))
    made = base.copy()
    for i in np.argsort(-worth[mine], kind="stable").tolist():
        if costs[i] <= left * (1 + 1e-12):
            made[i], left = at[i], left - costs[i]
        elif not whole:
            made[i] = min(max(base[i], int(np.floor(max(base[i], whose.zero[mine[i]]) + max(left, 0.0) / size[i]))), at[i] - 1)
            left = 0.0
        else:
            break
    return np.asarray(made, dtype=np.int32)


def solve_fair(work: Work, price: Floats, capacity: Floats, nominal: Ints, owner: Ints, least: float = 1.0) -> Schedule:
    """The cheapest schedule found in which no owner (int32[n], from 0) waits longer than is fair, as far as ``ROUNDS`` of
    shorter deadlines for those who do can bring it. ``nominal``: int32[n], slot in which each would start without shifting;
    ``least``: slots of waiting that are open to all."""
    tenants = int(owner.max(initial=-1)) + 1
    soonest = (np.maximum(nominal, work.earliest) + work.length).astype(np.int32)
    size = work.gpus * work.length
    none = np.zeros(tenants)
    whose = Whose(owner, size, (nominal + work.length).astype(np.float64), soonest, none, none, least)
    sums = np.concatenate(([0.0], np.cumsum(price)))
    at_once = sums[np.minimum(soonest, len(price))] - sums[np.minimum(soonest - work.length, len(price))]
    now, best, excess = work, None, np.inf
    for _ in range(ROUNDS):
        found = decompose(now, price, capacity)
        made = finished(work, price, found.running, found.bound if now is work else float("nan"), exact=False)
        end = np.where(made.unplaced, soonest, made.end).astype(np.int32)
        over = float(np.maximum(whose.waits(end) - whose.bearable(end), 0.0).sum()) if len(work) else 0.0
        if best is None or (over < excess and made.rank[:2] <= best.rank[:2]):
            best, excess = made, over
        if over <= 1e-9:
            break
        saves = work.power_w / work.gpus * (at_once - made.running @ price) / work.length
        fair = granted(whose, end, saves / np.maximum(end - soonest, 1))
        now = replace(work, due=np.minimum(now.due, np.where(fair < end, fair, now.due)).astype(np.int32))
    if best is None:
        raise AssertionError("ROUNDS is below 1")
    return best


def waits(work: Work, made: Schedule, nominal: Ints, owner: Ints) -> Floats:
    """float64[k]: slots that each owner's work ends later than without shifting, mean by GPU-slots."""
    late = np.maximum(made.end - (nominal + work.length), 0) * ~made.unplaced
    size = work.gpus * work.length
    return np.asarray(np.bincount(owner, size * late) / np.maximum(np.bincount(owner, size), 1e-9))
