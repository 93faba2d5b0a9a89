"""The guard's rule for tenants: no plan makes one wait longer beside the others than is fair, whatever was ordered since it was
made.

Levers keep to ``energy.shift.fair`` for what each of them adds in its round. A plan that waits for a person knows nothing of
what was approved meanwhile: so it is held here, as it is begun, against what all were told by then (``energy.waiting``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from energy.guard_orders import Case, Found, few, rows_of, tables_of
from energy.levers import QueueNow, Waits
from energy.memory import TIMED
from energy.shift.fair import bearable
from energy.waiting import gpu_s
from twin.frame import Floats
from twin.order import Orders

# A lever counts in the slots of its signal, and orders in seconds some minutes later: so much more is what it meant to be fair.
ROUNDED_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Sums:
    """By tenant, float64[k]: GPU-seconds that may wait, and these times the seconds that they were told to."""

    held: Floats
    waited: Floats

    @property
    def mean_s(self) -> Floats:
        """How long the work of each waits in the mean."""
        return self.waited / np.maximum(self.held, 1e-9)


def _fair(case: Case) -> Found:
    """What answers the grid, or keeps the contracted power, counts as waiting and is not bound by it."""
    first = next((queue.waits for queue, _, _ in tables_of(case) if queue.waits is not None), None)
    if first is None or case.plan.request:
        return
    was = now = _Sums(first.held_gpu_s, first.wait_s * first.held_gpu_s)
    for queue, table, _ in tables_of(case):
        if queue.waits is not None and table.verb in TIMED and not table.undo:
            now = _then(now, queue, queue.waits, table, case.now.timestamp())
    most_s = bearable(now.held, now.mean_s, first.least_s)
    for k in np.flatnonzero((now.waited > was.waited * (1 + 1e-9)) & (now.mean_s > most_s + ROUNDED_S)).tolist():
        yield {"tenant": first.tenants[k], "hours": now.mean_s[k] / 3600, "most": most_s / 3600}


def _then(sums: _Sums, queue: QueueNow, of: Waits, table: Orders, now_s: float) -> _Sums:
    """The sums once ``table`` is in force: an order that holds a job already is changed by it, and not added to."""
    held, waited, size = sums.held.copy(), sums.waited.copy(), gpu_s(queue.jobs)
    for i, row in rows_of(queue, table):
        if row < 0:
            continue
        begin_s, would_s = max(float(table.values[i]), now_s), float(of.would_s[row])
        if np.isnan(would_s):
            told_s = now_s if table.would_s is None else float(np.nan_to_num(table.would_s[i], nan=now_s))
            would_s = told_s if begin_s > now_s else begin_s
        owner, counted = of.owner[row], of.counted[row] * size[row]
        held[owner] += size[row] - counted
        waited[owner] += size[row] * (of.before_s[row] + max(begin_s - would_s, 0.0)) - counted * of.asked_s[row]
    return _Sums(held, waited)


# rule -> (what it finds, what it says of it), as in ``energy.guard``
FAIR_RULES: Mapping[str, tuple[Callable[[Case], Found], str]] = {
    "fair": (
        few(_fair),
        "With what was ordered before, the work of {tenant} would wait {hours:.1f} h in the mean; beside the others "
        "{most:.1f} h are fair",
    ),
}
