"""The guard's rules for orders to schedulers: whose job may be touched, how long it may wait, and what would come of it.

Letting go is always allowed but by the stop switch's word: what only takes a delay back is not held up by a stale signal, a
rate or an alert.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from analytics.alerts import Alert, Phase, Severity
from energy.levers import QueueNow, believed
from energy.levers.jobs_ahead import partition_pools, pools, reserved_jobs, reserved_spans
from energy.memory import TIMED
from energy.place.atlas import Atlas
from energy.plan import Done, Plan
from twin.frame import Floats, Ints, Origin
from twin.job import Jobs, JobState
from twin.order import OF_JOBS, Orders, Tie, Verb
from twin.sim.schedule import Kept, Policy, schedule
from twin.sim.trace import trace_of
from twin.site import Site
from twin.state import State

MAX_SAID = 5  # refusals of one rule: a plan with a thousand bad orders is said to be bad, not a thousand times
LATE_S = 60.0  # a job that ends so much later is late
OTHERS_FRAC = 0.05  # of its waiting: how much later others may start by a plan, and LATE_S beside
VERBS = frozenset(map(str, Verb))  # what ``Done`` calls an order, beside the metrics of actions
_JOB = "job"  # no verb
ALWAYS = (Verb.RELEASE, Verb.RESUME, Verb.UNDRAIN, Verb.START)


class Bounds(Protocol):
    """What of the limits is asked here."""

    @property
    def orders_per_hour(self) -> int:
        """Over the whole site."""
        ...

    @property
    def order_dwell_s(self) -> float:
        """Between two orders to one job."""
        ...

    @property
    def longest_wait_s(self) -> float:
        """After its submission, until a job may start."""
        ...

    @property
    def atlas(self) -> Atlas:
        """Places that jobs may move between."""
        ...


class Case(Protocol):
    """What the guard knows."""

    @property
    def plan(self) -> Plan:
        """The plan."""
        ...

    @property
    def site(self) -> Site:
        """The site."""
        ...

    @property
    def state(self) -> State:
        """The live state."""
        ...

    @property
    def alerts(self) -> Sequence[Alert]:
        """Open alerts."""
        ...

    @property
    def now(self) -> datetime:
        """The present."""
        ...

    @property
    def limits(self) -> Bounds:
        """The operator's."""
        ...

    @property
    def history(self) -> Sequence[Done]:
        """What was begun lately."""
        ...

    @property
    def queues(self) -> Sequence[QueueNow]:
        """Schedulers as last read."""
        ...


Found = Iterator[dict[str, float | int | str]]


def _delays(case: Case, table: Orders) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool[n]: which orders hold something back; the others let go."""
    if table.verb is Verb.BEGIN:
        return np.asarray(table.values > case.now.timestamp(), dtype=np.bool_)
    return np.full(len(table), table.verb not in ALWAYS and not table.undo)


def tables_of(case: Case) -> Iterator[tuple[QueueNow, Orders, np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    """Queue and table of each order whose queue is known, and which of its rows hold something back."""
    known = {queue.name: queue for queue in case.queues}
    for name, table in case.plan.orders:
        if name in known:
            yield known[name], table, _delays(case, table)


def _holds_back(case: Case) -> bool:
    return any(delays.any() for _, _, delays in tables_of(case))


def rows_of(queue: QueueNow, table: Orders) -> Iterator[tuple[int, int]]:
    """(position in the table, row of the job; -1 where the queue does not know it)."""
    at = {job: row for row, job in enumerate(queue.jobs.ids)}
    return ((i, at.get(target, -1)) for i, target in enumerate(table.targets))


def _no_queue(case: Case) -> Found:
    known = {queue.name for queue in case.queues}
    for name, _ in case.plan.orders:
        if name not in known:
            yield {"queue": name}


def _gain(case: Case) -> Found:
    gain = case.plan.gain
    if case.plan.request or not _holds_back(case):
        return  # what answers a request of the grid need not gain
    if gain is None and math.isfinite(case.plan.effect.low_w) and case.plan.effect.high_w < 0:
        return  # what surely saves power has its word in that
    if gain is None or not (math.isfinite(gain.low_frac) and gain.low_frac <= gain.change_frac <= gain.high_frac < 0):
        low, high = (math.nan, math.nan) if gain is None else (gain.low_frac, gain.high_frac)
        yield {"low_pct": 100 * low, "high_pct": 100 * high}


def _agreed(case: Case) -> Found:
    for queue, table, delays in tables_of(case):
        if table.verb in OF_JOBS:
            for i, row in rows_of(queue, table):
                if delays[i] and (row < 0 or not queue.jobs.deferrable[row]):
                    yield {"job": table.targets[i]}


def _tied(tie: Tie) -> Callable[[Case], Found]:
    """The rule that a job which is tied so is not held back."""

    def found(case: Case) -> Found:
        for queue, table, delays in tables_of(case):
            if table.verb in OF_JOBS:
                for i, row in rows_of(queue, table):
                    if row >= 0 and delays[i] and int(queue.jobs.terms.tied[row]) & tie:
                        yield {"job": table.targets[i]}

    return found


def _waits(case: Case) -> Found:
    for queue, table, delays in tables_of(case):
        if table.verb in TIMED:
            jobs = queue.jobs
            for i, row in rows_of(queue, table):
                if row < 0 or not delays[i]:
                    continue
                over_s = float(table.values[i]) - float(np.fmin(jobs.submit_s[row], case.now.timestamp()))
                over_s = float(table.values[i]) - case.now.timestamp() if math.isnan(over_s) else over_s
                if over_s > case.limits.longest_wait_s + LATE_S:
                    yield {"job": table.targets[i], "hours": over_s / 3600, "most": case.limits.longest_wait_s / 3600}


def _in_time(case: Case) -> Found:
    for queue, table, delays in tables_of(case):
        if table.verb in TIMED:
            jobs = queue.jobs
            for i, row in rows_of(queue, table):
                if row < 0 or not delays[i] or math.isnan(jobs.deadline_s[row]):
                    continue
                ran_s = case.now.timestamp() - float(jobs.start_s[row]) if jobs.state[row] == JobState.RUNNING else 0.0
                begin_s = max(float(table.values[i]), case.now.timestamp())
                end_s = begin_s + float(jobs.lasts_s[row]) - max(ran_s, 0.0)
                if not end_s <= jobs.deadline_s[row]:
                    yield {"job": table.targets[i], "late_s": end_s - float(jobs.deadline_s[row])}


def ordered_lately(history: Sequence[Done], now: datetime) -> int:
    """Orders to schedulers in the last hour."""
    return sum(done.metric in VERBS and now - done.time < timedelta(hours=1) for done in history)


def resting(history: Sequence[Done], now: datetime, dwell_s: float) -> frozenset[str]:
    """Jobs that were ordered something within ``dwell_s``: they are only let go."""
    within = timedelta(seconds=dwell_s)
    return frozenset(done.asset for done in history if done.metric in OF_JOBS and now - done.time < within)


def _rate(case: Case) -> Found:
    recent = ordered_lately(case.history, case.now)
    if _holds_back(case) and recent + case.plan.count > case.limits.orders_per_hour:
        yield {"recent": recent, "count": case.plan.count, "limit": case.limits.orders_per_hour}


def _dwell(case: Case) -> Found:
    """Between any two orders to one job, and between two alike to anything else."""
    last: dict[tuple[str, str], datetime] = {}
    for done in case.history:
        key = (done.asset, _JOB if done.metric in OF_JOBS else done.metric)
        last[key] = max(done.time, last.get(key, done.time))
    for _, table, delays in tables_of(case):
        what = _JOB if table.verb in OF_JOBS else str(table.verb)
        for i, target in enumerate(table.targets):
            ago_s = (case.now - last[target, what]).total_seconds() if (target, what) in last else math.inf
            if delays[i] and ago_s < case.limits.order_dwell_s:
                yield {"job": target, "ago_s": ago_s, "dwell_s": case.limits.order_dwell_s}


def _heard(case: Case, signal: str) -> bool:
    """Whether the signal is known now: read, or foreseen in the place of a reading by what its service or we said before."""
    foreseen = case.state.column("grid", signal, case.now, Origin.MODELLED)
    return bool(np.isfinite(believed(case.state, "grid", signal, case.now)).any() or np.isfinite(foreseen).any())


def _stale(case: Case) -> Found:
    if not _holds_back(case):
        return
    for name, _ in case.plan.orders:
        if name in case.site.position and case.site.kind(name) == "queue":
            seen = believed(case.state, "queue", "waiting_count", case.now)[case.site.row(name)]
            if math.isnan(seen):
                yield {"what": f"what {name} says of its jobs"}
    gain = case.plan.gain
    if gain is not None and not _heard(case, gain.signal):
        yield {"what": f"grid {gain.signal}"}


def _alert(case: Case) -> Found:
    if not _holds_back(case):
        return
    queues = {name for name, _ in case.plan.orders}
    for alert in case.alerts:
        if alert.phase is Phase.RESOLVED or alert.severity is Severity.INFO:
            continue
        if alert.asset in queues or (alert.severity is Severity.CRITICAL and alert.kind == "site"):
            yield {"rule": alert.rule, "where": alert.asset}


def _consequence(case: Case) -> Found:
    """Both runs of the queue, with the plan and without, as its scheduler would do it: first come, backfilling, every job to
    its limit. The plan must make nobody late who would not be, and let nobody wait longer who has not agreed."""
    for queue, table, delays in tables_of(case):
        if table.verb in TIMED and delays.any():
            yield from _simulated(case, queue, table)


def _simulated(case: Case, queue: QueueNow, table: Orders) -> Found:
    jobs, now_s = queue.jobs, case.now.timestamp()
    counts = (jobs.state <= JobState.RUNNING) & (jobs.lasts_s > 0) & (jobs.gpus > 0)
    rows, kept = np.flatnonzero(counts & ~reserved_jobs(queue)), reserved_spans(queue.cluster, now_s)
    planned = np.nan_to_num(jobs.terms.begin_s, nan=0.0)
    (room, pool), of = pools(queue), partition_pools(queue.cluster)[1]
    then_pool = pool.copy()
    for i, row in rows_of(queue, table):
        if row >= 0:
            planned[row] = table.values[i]
            if table.verb is Verb.MOVE:
                then_pool[row] = of.get(table.where[i][1], 0)
    without = np.where(jobs.terms.noted == 1, 0.0, np.nan_to_num(jobs.terms.begin_s, nan=0.0))
    was_s = by_pool(jobs, rows, without, pool, room, now_s, kept)
    then_s = by_pool(jobs, rows, planned, then_pool, room, now_s, kept)
    due_s = jobs.deadline_s + LATE_S
    late = (then_s + jobs.lasts_s > due_s) & ~(was_s + jobs.lasts_s > due_s)
    slack_s = LATE_S + OTHERS_FRAC * np.maximum(was_s - now_s, 0)
    pushed = (jobs.deferrable != 1) & (then_s > was_s + slack_s)
    for found, what in ((late, "miss its deadline"), (pushed, "wait for those that moved")):
        for k in np.flatnonzero(found).tolist():
            yield {"job": jobs.ids[k], "what": what}


def by_pool(
    jobs: Jobs,
    rows: np.ndarray[tuple[int], np.dtype[np.intp]],
    begin_s: Floats,
    pool: Ints,
    gpus: Floats,
    now_s: float,
    kept: tuple[Floats, Floats],
) -> Floats:
    """float64[n]: when each of ``rows`` would start in its ``pool`` of so many ``gpus`` beside what reservations keep
    (``reserved_spans``); NaN for the others, and where they are not known."""
    starts_s = np.full(len(jobs), math.nan)
    for p, usable in enumerate(gpus):
        mine = rows[pool[rows] == p]
        if len(mine) and math.isfinite(usable):
            spans = Kept(kept[0], kept[1][p].astype(np.int32)) if kept[1][p].any() else None
            starts_s[mine] = _starts(jobs, mine, begin_s, int(usable), now_s, spans)
    return starts_s


def _starts(
    jobs: Jobs,
    rows: np.ndarray[tuple[int], np.dtype[np.intp]],
    begin_s: Floats,
    gpus: int,
    now_s: float,
    kept: Kept | None,
) -> Floats:
    """float64[n]: when each would start; inf where it does not within the year. A reservation is kept free for the whole of a
    job's limit, as its scheduler does."""
    begins_s = begin_s[rows]
    runs = (jobs.state[rows] == JobState.RUNNING) & ~(begins_s > now_s)  # what is to be paused waits again
    arrival_s = np.where(runs, now_s - 1.0, np.maximum(begins_s, now_s))  # who runs has its place already
    began_s = np.where(runs, np.nan_to_num(jobs.start_s[rows], nan=now_s), now_s)
    run_s = np.where(runs, np.maximum(began_s + jobs.lasts_s[rows] - now_s, 1.0), jobs.lasts_s[rows])
    order = np.lexsort((np.nan_to_num(jobs.submit_s[rows], nan=now_s), arrival_s))
    wanted = np.minimum(jobs.gpus[rows][order], gpus).astype(np.int32)
    trace = trace_of([str(i) for i in order.tolist()], arrival_s[order], run_s[order], limit_s=run_s[order])
    asks_s = np.where(np.isnan(jobs.limit_s[rows]), math.inf, jobs.limit_s[rows])[order]
    made = schedule(trace, Policy.EASY, wanted, gpus, now_s + 366 * 86_400.0, kept=kept, asks_s=asks_s)
    start_s = np.empty(len(rows))
    start_s[order] = np.where(np.isnan(made.start_s), math.inf, made.start_s)
    return np.where(runs, began_s, start_s)


def few(rule: Callable[[Case], Found]) -> Callable[[Case], Found]:
    """The first of what a rule finds."""

    def found(case: Case) -> Found:
        for n, params in enumerate(rule(case)):
            if n >= MAX_SAID:
                return
            yield params

    return found


# rule -> (what it finds, what it says of it), as in ``energy.guard``
ORDER_RULES: Mapping[str, tuple[Callable[[Case], Found], str]] = {
    "unknown_queue": (_no_queue, "{queue} is no scheduler whose jobs are known"),
    "gain": (_gain, "The expected change, {low_pct:.1f} to {high_pct:.1f} %, is not surely a saving"),
    "agreed": (_agreed, "The owner of job {job} has not agreed that it may wait"),
    "others": (_tied(Tie.OTHERS), "Job {job} waits for other jobs, or they wait for it: it is left alone"),
    "few_at_once": (_tied(Tie.FEW), "Job {job} is an array that runs few tasks at once: it is left alone"),
    "reserved": (_tied(Tie.RESERVED), "Job {job} runs in a reservation: it is left alone"),
    "wait": (_waits, "Job {job} would start {hours:.1f} h after its submission; the most is {most:.1f} h"),
    "deadline": (_in_time, "Job {job} would end {late_s:.0f} s after its deadline"),
    "order_rate": (_rate, "{recent} orders in the last hour and {count} more are over the limit of {limit}"),
    "order_dwell": (_dwell, "Job {job} was ordered {ago_s:.0f} s ago; it is left alone for {dwell_s:.0f} s"),
    "order_stale": (_stale, "{what} is not known or not fresh; a stale value is never acted on"),
    "order_alert": (few(_alert), "Alert {rule} is open on {where}: no job is made to wait"),
    "consequence": (few(_consequence), "In the simulation, job {job} would {what}"),
}
EACH_JOB = ("agreed", "others", "few_at_once", "reserved", "wait", "deadline", "order_dwell")  # speak of one job
