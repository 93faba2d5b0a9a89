"""Which racks are taken first: the weights of a queue's nodes, so that coolant units carry even loads.

Pumps follow a cube law, so a unit at full flow beside idle ones costs more than all at a part. What waits is seated by
``place.inside`` and beside it as the scheduler would by itself (nodes in their order); where evenness surely saves, nodes of
the racks that should be taken first get the lower weight. It ends by itself: a weight is given back after four hours.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from energy.levers import Outlook, QueueNow, believed
from energy.levers.job_start import EXPIRES_S
from energy.levers.jobs_ahead import GPU_W, assets_of
from energy.place.inside import Hall, hall_of, pump_judge, seat
from energy.plan import Effect, Plan
from twin.frame import Floats, Ints
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.message import Message
from twin.order import Orders, Verb, orders
from twin.params import PlantParams
from twin.site import Site
from twin.state import State

NAME = "job_place"
LEAST_FRAC, LEAST_W = 0.05, 200.0  # of the pumps' power that evenness must save, and at least so many watts
SPREAD_FRAC = 0.5  # half-width of what is expected: pumps are modelled, and jobs do not start all at once
MAX_WAITING = 500  # jobs that are seated
HORIZON_S = 4 * 3600.0
FIRST, LAST = 1, 100  # weights: Slurm takes the lowest first
SAYS = "Take {count} nodes in another order: {units} coolant units would carry {from_pct:.0f} to {to_pct:.0f} % of their design"


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Weighs nodes."""

    @property
    def name(self) -> str:
        """``job_place``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The weights that even the loops; None where there is but one unit, nothing waits, or it hardly saves."""
        if site.count("cdu") < 2:
            return None
        rack_w = believed(state, "rack", "power_w", now)
        tables: list[tuple[str, Orders]] = []
        saved_w, spread = 0.0, (0.0, 0.0)
        for queue in outlook.queues:
            found = None if queue.cluster is None else _of_queue(queue, queue.cluster, site, rack_w, outlook.locked)
            if found is not None:
                tables.append((queue.name, found[0]))
                saved_w, spread = saved_w + found[1], found[2]
        if not tables:
            return None
        count = sum(len(table) for _, table in tables)
        said: dict[str, float | int | str] = {
            "count": count,
            "units": site.count("cdu"),
            "from_pct": 100 * spread[0],
            "to_pct": 100 * spread[1],
        }
        text = ";".join(f"{t}={v:.0f}" for _, table in tables for t, v in zip(table.targets, table.values, strict=True))
        key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        effect = Effect(-saved_w, -(1 + SPREAD_FRAC) * saved_w, -(1 - SPREAD_FRAC) * saved_w, HORIZON_S)
        expires = now + timedelta(seconds=EXPIRES_S)
        return Plan(key, NAME, (), Message(SAYS, said), effect, now, expires, tuple(tables))


def _of_queue(
    queue: QueueNow, cluster: Cluster, site: Site, rack_w: Floats, locked: frozenset[str]
) -> tuple[Orders, float, tuple[float, float]] | None:
    """Weights, what they save [W], and the range of what units then carry over their design."""
    racks = _racks(cluster, site)
    usable = (cluster.state < NodeState.DRAINED) & (racks >= 0)
    free = np.bincount(racks[usable], (cluster.gpus - cluster.gpus_used)[usable], site.count("rack"))
    waits = (queue.jobs.state == JobState.PENDING) & (queue.jobs.gpus > 0) & (queue.jobs.terms.held == 0)
    gpus = queue.jobs.gpus[waits][:MAX_WAITING]
    if not len(gpus) or not np.isfinite(rack_w[racks[usable]]).all():
        return None
    if not locked.isdisjoint(assets_of(cluster, site).values()):
        return None  # with its weight kept, that node would be taken before or after all others
    hall = hall_of(site, np.maximum(free, 0).astype(np.int32), GPU_W, rack_w)
    if len(hall.units) < 2 or not np.isfinite(hall.design_w).all():
        return None
    judge = pump_judge(hall, PlantParams().cdu_pump_frac)
    best, usual_w = seat(hall, gpus, judge), judge(hall.heat_w(_in_order(hall, int(gpus.sum()))))
    saved_w = usual_w - best.cooling_w
    if best.unplaced.any() or saved_w < max(LEAST_W, LEAST_FRAC * usual_w):
        return None
    given = best.given.sum(axis=0)
    share = dict(zip(hall.racks, (given / np.maximum(hall.free, 1)).tolist(), strict=True))
    ids = site.ids_of("rack")
    nodes = np.flatnonzero(usable)
    weights = np.array([round(LAST - (LAST - FIRST) * share.get(ids[racks[i]], 0.0)) for i in nodes.tolist()])
    names = [cluster.nodes[i] for i in nodes.tolist()]
    load = best.heat_w / hall.design_w
    return orders(Verb.WEIGHT, names, weights.astype(np.float64)), saved_w, (float(load.min()), float(load.max()))


def _racks(cluster: Cluster, site: Site) -> Ints:
    """int32[n]: the rack of each of the queue's nodes, -1 where the site does not know it."""
    within = site.within("node", "rack")
    return np.where(cluster.rows >= 0, within[np.maximum(cluster.rows, 0)] if len(within) else -1, -1).astype(np.int32)


def _in_order(hall: Hall, wanted: int) -> Ints:
    """GPUs of each rack where they are taken in the order of the racks, as a scheduler with equal weights does."""
    before = np.concatenate(([0], np.cumsum(hall.free)[:-1]))
    return np.asarray(np.clip(wanted - before, 0, hall.free), dtype=np.int32)


def build() -> JobPlace:
    """The lever with its documented parameters."""
    return JobPlace()
