"""When waiting jobs start, so that the centre keeps the power that it has contracted.

What the grid's meter will show is foreseen (``analytics``; own generation is off it as far as it is sure), less what of it the
waiting jobs would draw if they started in turn; the jobs whose owners agreed are then placed under the limit (``shift.peak``),
at the signal's price where there is one. It speaks only where the limit would be exceeded without it.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.ahead import SignalAhead
from energy.levers import Outlook, QueueNow, believed
from energy.levers.job_start import EXPIRES_S, GRACE_S, NO_EFFECT, usual_starts
from energy.levers.jobs_ahead import LONGEST_WAIT_S, Movable, in_turns, movable, room, waits_with_consent
from energy.plan import Plan
from energy.shift.peak import Peak, solve_peak
from energy.waiting import would_start_s
from twin.frame import Floats, Ints
from twin.job import Jobs
from twin.message import Message
from twin.order import Orders, Verb, orders
from twin.site import Site
from twin.state import State

NAME = "job_peak"
LEAST_KW = 1.0  # over the limit: less is within what meters say
SAYS = "Start {count} waiting jobs later: {over_kw:.0f} kW over the contracted {limit_kw:.0f} kW were foreseen at {when}"


@dataclass(frozen=True, slots=True)
class JobPeak:
    """Gives waiting jobs a begin time where the contracted power would be exceeded."""

    longest_wait_s: float = LONGEST_WAIT_S

    @property
    def name(self) -> str:
        """``job_peak``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The begin times that keep the limit; None where it is kept anyway, is not known, or nothing can be done."""
        foreseen, limit_w = _slots(outlook, now), outlook.limit_w
        fresh = np.isfinite(believed(state, "site", "facility_power_w", now)).any()
        if foreseen is None or not np.isfinite(limit_w) or not fresh:
            return None
        slots, base_w = foreseen
        tables: list[tuple[str, Orders]] = []
        worst_w, when_s = 0.0, 0.0
        for queue in outlook.queues:
            found = _of_queue(queue, slots, base_w, limit_w, now, self.longest_wait_s)
            if found is None:
                continue
            table, over_w, at, base_w = found  # the next queue sees what this one has moved
            tables.append((queue.name, table))
            if over_w > worst_w:
                worst_w, when_s = over_w, slots.begin_s + at * slots.step_s
        if not tables:
            return None
        when = datetime.fromtimestamp(when_s, UTC).isoformat(timespec="minutes")
        count = sum(len(table) for _, table in tables)
        said: dict[str, float | int | str] = {
            "count": count,
            "over_kw": worst_w / 1e3,
            "limit_kw": limit_w / 1e3,
            "when": when,
        }
        text = ";".join(f"{t}={v:.0f}" for _, table in tables for t, v in zip(table.targets, table.values, strict=True))
        key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        expires = now + timedelta(seconds=EXPIRES_S)
        return Plan(key, NAME, (), Message(SAYS, said), NO_EFFECT, now, expires, tuple(tables), request="contract")


def _slots(outlook: Outlook, now: datetime) -> tuple[SignalAhead, Floats] | None:
    """The forecast's own steps from the present one on with the price in them (the signal's where it has the same steps, else
    all slots alike), and what the meter will show."""
    time_s, power_w = outlook.time_s, outlook.drawn_w
    if len(time_s) < 2 or not np.isfinite(power_w).any():
        return None
    step_s = float(time_s[1] - time_s[0])
    known = np.flatnonzero(time_s + step_s > now.timestamp())
    if not len(known) or np.isnan(power_w[known]).any():
        return None
    ahead = np.ones(len(known))
    signal = outlook.signal
    if signal is not None and signal.step_s == step_s and abs(signal.begin_s - time_s[known[0]]) < 1.0:
        ahead = np.append(signal.ahead, np.full(len(known), signal.ahead.mean()))[: len(known)]
    return SignalAhead("price", step_s, float(time_s[known[0]]), 24, np.empty(0), ahead[None, :]), power_w[known]


def _of_queue(
    queue: QueueNow, slots: SignalAhead, base_w: Floats, limit_w: float, now: datetime, wait_s: float
) -> tuple[Orders, float, int, Floats] | None:
    """The orders of one queue, how far the limit would be exceeded without them, in which slot, and what the meter will show
    with them."""
    jobs, now_s = queue.jobs, now.timestamp()
    terms = jobs.terms
    waits = waits_with_consent(jobs)
    waits &= (terms.held == 0) | (terms.noted == 1)
    waits &= (terms.noted == 1) | ~(terms.begin_s > now_s + GRACE_S)
    rows = in_turns(waits, now_s)
    free = movable(queue, rows, jobs.lasts_s[rows], slots, now_s, wait_s)
    if not len(free.rows):
        return None
    left = room(queue, free.rows, slots, now_s)
    usual = usual_starts(free, left)
    running = _running(free.work.length, usual, len(base_w))
    over_w = base_w - limit_w
    worst = int(over_w.argmax())
    if over_w[worst] < 1e3 * LEAST_KW:
        return None
    # the forecast holds them where they would start: what they draw then is ours to place
    rest_w = np.maximum(base_w - free.work.power_w @ running, 0.0)
    begins: list[tuple[int, int]] = []
    for p, capacity in enumerate(left):
        mine = np.flatnonzero(free.pool == p)
        if len(mine):
            peak = Peak(rest_w, np.full(len(base_w), limit_w))
            made = solve_peak(free.work.only(mine), slots.ahead, capacity, peak).schedule
            later = mine[~(made.unplaced | made.late) & (made.start > usual[mine])]
            begins += [(int(k), int(made.start[np.flatnonzero(mine == k)[0]])) for k in later.tolist()]
    moved = [(k, slot) for k, slot in begins if running[k, over_w > 0].any()]
    if not moved:
        return None
    rows, starts = (np.array(column, dtype=np.int32) for column in zip(*moved, strict=True))
    then = _running(free.work.length[rows], starts, len(base_w))
    moved_w = free.work.power_w[rows] @ (then - running[rows])
    would_s = would_start_s(queue, free.rows, np.maximum(slots.begin_s + usual * slots.step_s, now_s))
    return _orders(jobs, free, moved, slots, would_s), float(over_w[worst]), worst, base_w + moved_w


def _running(length: Ints, start: Ints, slots: int) -> Floats:
    at = np.arange(slots)
    return ((at >= start[:, None]) & (at < (start + length)[:, None])).astype(np.float64)


def _orders(jobs: Jobs, free: Movable, moved: list[tuple[int, int]], slots: SignalAhead, would_s: Floats) -> Orders:
    ids = [jobs.ids[free.rows[k]] for k, _ in moved]
    begin_s = np.array([slots.begin_s + slot * slots.step_s for _, slot in moved])
    times = [datetime.fromtimestamp(one, UTC).strftime("%m-%d %H:%M") for one in begin_s.tolist()]
    said = [
        f"waits until {time} UTC, for the centre keeps its contracted power; to start at once: scontrol update job={job} "
        "comment=icctwin:off"
        for job, time in zip(ids, times, strict=True)
    ]
    return orders(Verb.BEGIN, ids, begin_s, said, would_s=would_s[[k for k, _ in moved]])


def build() -> JobPeak:
    """The lever with its documented parameters."""
    return JobPeak()
