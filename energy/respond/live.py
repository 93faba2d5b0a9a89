"""A request of the grid as it stands now: which running jobs can give how much, what they may draw, what is to be ordered.

The meter leads: what the jobs may draw is what is asked of the meter less what everything else draws at this moment, moved
by ``respond.track`` for what the curves have wrong. What is asked binds where what would be drawn without an answer, or with
what is free to start, comes over it, whatever was drawn before. How a job's throughput answers its power comes from the mean
of the eight workloads of the measured sweep (Emerald AI, 2025, ``bench dr``), over the power that the job drew before it was
capped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy.levers import Call, QueueNow, believed, site_power_w
from energy.respond import Curve, Division, Loads
from energy.respond.divide import divide
from energy.respond.plan import Battery, Connection, Course, course
from twin.frame import Floats, Ints
from twin.job import JobState
from twin.site import Bools, Site
from twin.state import State

# Power of a GPU under a cap over its power without, and its throughput then: mean of eight workloads, caps of 100-400 W on
# A100-class GPUs (dvfs_sweep.csv of ai-emerald/emerald-ai-demo-may-2025, Apache-2.0)
POWER_FRAC = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
THROUGHPUT_FRAC = np.array([0.267, 0.464, 0.661, 0.791, 0.866, 0.916, 0.957, 1.0])
FLOOR_FRAC = 0.5  # of its throughput that a job keeps while it is capped, as the most flexible class of that study
IDLE_W = 70.0  # of a GPU whose job is paused; assumed, as in respond.tables
RESTART_S = 900.0  # that a pause costs a job, as in levers.job_shift
RESERVE_FRAC = 0.2  # of a battery's charge that is left in it
STEP_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Able:
    """Running jobs that can give power. ``queue`` and ``row``: int32[n], where each stands in ``QueueNow``; ``gpus_of``: rows
    of each one's GPUs; ``draws_w``: float64[n], what they draw now."""

    loads: Loads
    queue: Ints
    row: Ints
    gpus_of: Sequence[Ints]
    draws_w: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is to be so now, by ``call``. ``step``: of ``course``; ``division``: of the jobs' budget, which is ``budget_w``;
    ``spare_w``: what may start all the same (below 0: nothing, infinity: all); ``binds``: without an answer the meter would,
    or could, show more than is aimed at. Where nothing binds, only what was ordered before is let go."""

    call: Call
    able: Able
    course: Course
    step: int
    budget_w: float
    division: Division
    spare_w: float
    binds: bool

    @property
    def battery_w(self) -> float:
        """What the battery is to give."""
        return float(self.course.battery_w[self.step]) if self.binds else 0.0

    @property
    def pauses(self) -> Bools:
        """bool[n]: which of the able jobs are to stand still."""
        return self.division.paused


def answer(call: Call | None, site: Site, state: State, queues: Sequence[QueueNow]) -> Answer | None:
    """What ``call`` wants now; None where there is none, it wants nothing (yet, or any more), or the meter is not known."""
    if call is None:
        return None
    meter_w = site_power_w(state, "facility_power_w", call.now)
    if not np.isfinite(meter_w):
        return None
    able = able_jobs(call, site, state, queues)
    other_w = meter_w + _battery_now_w(site, state, call) - float(able.draws_w.sum())
    load_w = other_w + float(np.maximum(able.loads.full_w, able.draws_w).sum())
    held = course(call.request, Connection(call.baseline_w, 0.0, load_w=load_w), battery_of(call, site, state), STEP_S)
    step = held.at(call.now_s)
    if step < 0 or not np.isfinite(held.ours_w[step]):
        return None
    aim_w, given_w = float(held.ours_w[step]), float(held.battery_w[step])
    binds = aim_w - load_w < _startable_w(call, site, queues)
    spare_w = aim_w - load_w if binds else np.inf
    budget_w = max(aim_w + given_w + call.trim_w - other_w, 0.0)
    floors_w = float(able.loads.least_w.sum())
    may_pause = not call.request.best_effort and floors_w > budget_w
    return Answer(call, able, held, step, budget_w, divide(able.loads, budget_w, may_pause), spare_w, binds)


def aimed_w(found: Answer) -> float:
    """What the meter is to show."""
    return float(found.course.ours_w[found.step])


def felt(found: Answer, meter_w: float) -> bool:
    """Whether what is aimed at is felt: somebody gets less than he wants, or the meter is over it. Else the meter says nothing
    of how well the jobs' curves hold."""
    able = found.able.loads
    return bool(found.division.power_w.sum() < able.full_w.sum() - 1.0 or meter_w > aimed_w(found))


def start_w(call: Call, site: Site) -> float:
    """Power of a GPU whose job starts [W]: the most that one of the site is rated for, else the most that one was seen to draw;
    infinity where neither is known."""
    known = [column[np.isfinite(column)] for column in (site.number("gpu", "rated_w"), call.reference_w)]
    return float(next((column.max() for column in known if len(column)), np.inf))


def may_start(queue: QueueNow) -> Ints:
    """Rows of jobs that wait and that we may let wait."""
    jobs = queue.jobs
    waits = (jobs.state == JobState.PENDING) & (jobs.deferrable == 1) & (jobs.terms.tied == 0) & (jobs.gpus > 0)
    return np.flatnonzero(waits & ((jobs.terms.held == 0) | (jobs.terms.noted == 1))).astype(np.int32)


def may_wait(queue: QueueNow, until_s: float) -> Bools:
    """bool[n]: whether each may be made to start as late as that, by the operator's longest wait since its submission."""
    return np.asarray(~(until_s - queue.jobs.submit_s > queue.longest_wait_s))


def _startable_w(call: Call, site: Site, queues: Sequence[QueueNow]) -> float:
    """What may be drawn more by jobs that can be held: theirs at most, and that of the GPUs that are free."""
    waiting = sum(int(queue.jobs.gpus[may_start(queue)].sum()) for queue in queues)
    count = min(waiting, site.count("gpu") - sum(queue.jobs.gpus_in(JobState.RUNNING) for queue in queues))
    return count * start_w(call, site) if count > 0 else 0.0


def able_jobs(call: Call, site: Site, state: State, queues: Sequence[QueueNow]) -> Able:
    """Running jobs whose owners agreed, whose GPUs are known, read, and can be capped; or that can be paused."""
    now_w = believed(state, "gpu", "power_w", call.now)
    can = cappable(call, site)
    names: list[str] = []
    columns: list[tuple[int, int, float, float, bool, float]] = []
    rows_of: list[Ints] = []
    curves: list[Curve] = []
    for q, queue in enumerate(queues):
        jobs = queue.jobs
        wants = (jobs.state == JobState.RUNNING) & (jobs.deferrable == 1)
        stops = wants & (jobs.terms.interruptible == 1) & (jobs.terms.tied == 0) & _in_time(call, queue)
        order = np.argsort(jobs.job_of, kind="stable")
        bounds = np.searchsorted(jobs.job_of[order], np.arange(len(jobs) + 1))
        for j in np.flatnonzero(wants).tolist():
            rows = jobs.rows[order[bounds[j] : bounds[j + 1]]]
            if not len(rows) or not (can[rows].all() or stops[j]):
                continue
            full_w, draws_w = float(call.reference_w[rows].sum()), float(now_w[rows].sum())
            if not (np.isfinite(full_w) and np.isfinite(draws_w) and full_w > 0):
                continue
            each_w = full_w / len(rows) * POWER_FRAC
            # a job that cannot be capped runs whole, or not at all
            floor = FLOOR_FRAC if can[rows].all() else 1.0
            curves.append(Curve(each_w, each_w, THROUGHPUT_FRAC))
            columns.append((q, j, float(len(rows)), floor, bool(stops[j]), draws_w))
            names.append(f"{queue.name}/{jobs.ids[j]}")
            rows_of.append(rows)
    n = len(columns)
    table = np.array(columns, dtype=np.float64).reshape(-1, 6)
    loads = Loads(
        names, table[:, 2], np.arange(n, dtype=np.int32), table[:, 3], np.ones(n), table[:, 4] > 0, np.full(n, IDLE_W), curves
    )
    return Able(loads, table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), rows_of, table[:, 5])


def _in_time(call: Call, queue: QueueNow) -> Bools:
    """bool[n]: whether each would still be in time, and go on soon enough, if it stood still from now to the end."""
    jobs = queue.jobs
    left_s = jobs.start_s + jobs.lasts_s - call.now_s
    done_s = back_s(call, 1.0) + RESTART_S + np.maximum(left_s, 0.0)
    return np.asarray((np.isnan(jobs.deadline_s) | (done_s < jobs.deadline_s)) & may_wait(queue, back_s(call, 1.0)))


def cappable(call: Call, site: Site) -> Bools:
    """bool[g]: GPUs whose power, or whose node's, something can cap."""
    ids, nodes = site.ids_of("gpu"), site.ids_of("node")
    own = np.array([gpu in call.settable for gpu in ids], dtype=np.bool_)
    of = site.within("gpu", "node")
    by_node = np.array([node in call.settable for node in nodes], dtype=np.bool_)
    return np.asarray(own | (by_node[of] & (of >= 0) if len(nodes) else False))


def back_s(call: Call, share: float) -> float:
    """When what gives ``share`` (0-1, in the order of giving back) is let up again [s since 1970]: evenly over the ramp."""
    return call.request.end_s + share * Connection(0.0, 0.0).ramp_up_s


@dataclass(frozen=True, slots=True)
class Charged:
    """A battery that can be set: its ``row`` and id; ``power_w``: most that it gives, of ``energy_j`` that it had over its
    reserve when the request began and ``left_j`` that it has now; zeros where it has no more than its reserve, or where its
    ratings or its charge are not known."""

    row: int
    asset: str
    power_w: float = 0.0
    energy_j: float = 0.0
    left_j: float = 0.0


def charged(call: Call, site: Site, state: State) -> Sequence[Charged]:
    """The batteries that can be set, and what each can give."""
    found = []
    charge = believed(state, "battery", "charge_frac", call.now)
    rated_w, rated_j = site.number("battery", "rated_w"), site.number("battery", "rated_kwh") * 3.6e6
    for i, asset in batteries(call, site):
        began = call.charge_frac.get(asset, float(charge[i])) - RESERVE_FRAC
        left = float(charge[i]) - RESERVE_FRAC if np.isfinite(charge[i]) else began
        gives = np.isfinite(rated_w[i]) and np.isfinite(rated_j[i]) and began > 0 and left > 0
        had_j, left_j = began * float(rated_j[i]), left * float(rated_j[i])
        found.append(Charged(i, asset, float(rated_w[i]), had_j, left_j) if gives else Charged(i, asset))
    return found


def battery_of(call: Call, site: Site, state: State) -> Battery | None:
    """All batteries that can be set as one; what is in them is counted from when the request began. One that has only its
    reserve left gives no more."""
    found = charged(call, site, state)
    power_w = sum(one.power_w for one in found)
    return Battery(power_w, sum(one.energy_j for one in found)) if power_w else None


def shared(found: Sequence[Charged], power_w: float) -> Mapping[str, float]:
    """What each battery is to give of ``power_w`` [W]: by what it has left, so that all come to their reserve together, but no
    more than it can; the others give what it cannot."""
    left_j, parts = sum(one.left_j for one in found), {one.asset: 0.0 for one in found}
    giving = [one for one in found if one.left_j > 0]
    for one in sorted(giving, key=lambda one: one.power_w / one.left_j):  # who comes to his most first
        parts[one.asset] = min(power_w * one.left_j / left_j, one.power_w)
        power_w, left_j = power_w - parts[one.asset], left_j - one.left_j
    return parts


def batteries(call: Call, site: Site) -> Sequence[tuple[int, str]]:
    """(row, id) of the batteries that can be set."""
    return [(i, asset) for i, asset in enumerate(site.ids_of("battery")) if asset in call.settable]


def _battery_now_w(site: Site, state: State, call: Call) -> float:
    """What the batteries that we set give at this moment."""
    power_w = believed(state, "battery", "power_w", call.now)
    return float(np.nansum([-min(float(power_w[i]), 0.0) for i, _ in batteries(call, site)]))


def caps(found: Answer, call: Call, site: Site, state: State) -> Mapping[str, tuple[float, float]]:
    """(cap [W], when it ends [s since 1970]) by asset: of GPUs that can be capped themselves, else of their nodes, whose other
    GPUs keep what they draw at most. A GPU that may draw all it wants has one only where it was ordered another."""
    division, able = found.division, found.able
    wanted: Floats = np.full(site.count("gpu"), np.nan)
    ends = np.full(site.count("gpu"), np.nan)
    n = len(able.loads)
    for j in range(n):
        if division.cap_w[j] > 0 and able.loads.floor_frac[j] < 1:
            rows = able.gpus_of[j]
            top = division.power_w[j] >= able.loads.full_w[j] - 1e-6
            wanted[rows] = np.inf if top else division.cap_w[j]
            ends[rows] = back_s(call, (j + 1) / n)
    ids, made = site.ids_of("gpu"), {}
    rated_w = site.number("gpu", "rated_w")
    mine = np.flatnonzero(~np.isnan(wanted))
    for g in mine.tolist():
        if ids[g] in call.settable and (np.isfinite(wanted[g]) or ids[g] in call.until_s):
            top_w = float(rated_w[g]) if np.isfinite(rated_w[g]) else float(call.reference_w[g]) * 1.5
            made[ids[g]] = (min(float(wanted[g]), top_w), float(ends[g]))
    made |= _node_caps(wanted, ends, call, site, state)
    return made


def _node_caps(wanted: Floats, ends: Floats, call: Call, site: Site, state: State) -> Mapping[str, tuple[float, float]]:
    """The same of nodes."""
    of, nodes, ids = site.within("gpu", "node"), site.ids_of("node"), site.ids_of("gpu")
    node_w, gpu_w = believed(state, "node", "power_w", call.now), believed(state, "gpu", "power_w", call.now)
    made: dict[str, tuple[float, float]] = {}
    rows = [g for g in np.flatnonzero(~np.isnan(wanted)).tolist() if ids[g] not in call.settable and of[g] >= 0]
    for node in sorted({int(of[g]) for g in rows}):
        within = np.flatnonzero(of == node)
        rest_w = float(node_w[node] - gpu_w[within].sum())
        each = np.where(np.isfinite(wanted[within]), wanted[within], call.reference_w[within])
        if np.isfinite(rest_w) and np.isfinite(each).all() and nodes[node] in call.settable:
            made[nodes[node]] = (float(each.sum()) + max(rest_w, 0.0), float(np.nanmax(ends[within])))
    return made
