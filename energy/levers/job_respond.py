"""What the grid asks of schedulers: waiting jobs that may wait start after the request, and running ones pause where caps at
the jobs' floors are not enough.

Only those wait that would not fit below what is asked, and who fits again is let go. They come back one after the other over
the ramp, so that the load does not rebound. Nobody is touched who has not agreed, and nobody whose deadline that would break.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from energy.levers import Call, Outlook, QueueNow
from energy.levers.demand_response import EXPIRES
from energy.plan import Effect, Plan
from energy.respond.live import Answer, aimed_w, answer, back_s, may_start, may_wait, start_w
from twin.frame import Ints
from twin.job import Jobs
from twin.message import Message
from twin.order import Orders, Verb, orders
from twin.site import Site
from twin.state import State

NAME = "job_respond"
MOST = 500  # jobs held back by one plan; the next look goes on
FREE_FRAC = 0.02  # of the aim that is left free by those who are let go, so that nobody is held again at once
SAYS = "The grid asks for less power until {end}: {held} waiting jobs start later, {paused} running ones pause"
FREES = "Let {count} waiting jobs start: they fit below the grid's limit again"
NO_EFFECT = Effect(0.0, 0.0, 0.0, 0.0)  # said by demand_response: its division counts what pauses


@dataclass(frozen=True, slots=True)
class JobRespond:
    """Holds starts back and pauses jobs while a request of the grid lasts."""

    @property
    def name(self) -> str:
        """``job_respond``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The orders that are to be given now; None where nothing is asked, or all stands as it should."""
        found = answer(outlook.call, site, state, outlook.queues)
        if found is None:
            return None
        call = found.call
        tables: list[tuple[str, Orders]] = []
        held = paused = freed = 0
        spare_w = found.spare_w
        for q, queue in enumerate(outlook.queues):
            fits, spare_w = _fitting(queue, found, spare_w, start_w(call, site))
            waits, stops = _waiting(queue, call, fits), _stopping(found, q)
            free = [row for row in fits.tolist() if (queue.name, queue.jobs.ids[row]) in call.held]
            held, paused, freed = held + len(waits), paused + len(stops), freed + len(free)
            tables += _orders(queue, waits, stops, call)
            if free:
                tables.append((queue.name, orders(Verb.BEGIN, [queue.jobs.ids[row] for row in free], np.zeros(len(free)))))
        if not tables:
            return None
        end = datetime.fromtimestamp(call.request.end_s, UTC).isoformat(timespec="minutes")
        text = ";".join(f"{name}/{table.verb}/{','.join(table.targets)}" for name, table in tables)
        key = f"{NAME}:{call.key}{call.turn}{'/' + hashlib.sha256(text.encode()).hexdigest()[:8] if call.turn else ''}"
        said: dict[str, float | int | str] = {"end": end, "held": held, "paused": paused}
        reason = Message(SAYS, said) if held or paused else Message(FREES, {"count": freed})
        expires = now + EXPIRES
        return Plan(key, NAME, (), reason, NO_EFFECT, now, expires, tuple(tables), request=call.key)


def _fitting(queue: QueueNow, found: Answer, spare_w: float, each_w: float) -> tuple[Ints, float]:
    """Rows of waiting jobs that may start in ``spare_w`` [W], in the scheduler's order, at ``each_w`` a GPU; and what is left.
    Who waits by our order needs a little more room."""
    jobs, fits = queue.jobs, list[int]()
    for row in may_start(queue).tolist():
        ours = (queue.name, jobs.ids[row]) in found.call.held
        needs_w = float(jobs.gpus[row]) * each_w
        if needs_w > spare_w - ours * FREE_FRAC * aimed_w(found):
            break  # those behind it are not let past
        fits.append(row)
        spare_w -= needs_w
    return np.array(fits, dtype=np.int32), spare_w


def _waiting(queue: QueueNow, call: Call, fits: Ints) -> Ints:
    """Rows of jobs that would start meanwhile, do not fit, may wait so long, and are in time all the same."""
    jobs, end_s = queue.jobs, call.request.end_s
    last_s = back_s(call, 1.0)
    waits = np.zeros(len(jobs), dtype=np.bool_)
    waits[may_start(queue)] = True
    waits[fits] = False
    waits &= ~(jobs.terms.begin_s >= end_s) & may_wait(queue, last_s)
    waits &= np.isnan(jobs.deadline_s) | (last_s + jobs.lasts_s <= jobs.deadline_s)
    return np.flatnonzero(waits)[:MOST].astype(np.int32)


def _stopping(found: Answer, q: int) -> Ints:
    able = found.able
    return np.asarray(able.row[found.pauses & (able.queue == q)])


def _orders(queue: QueueNow, waits: Ints, stops: Ints, call: Call) -> Sequence[tuple[str, Orders]]:
    """Begin times over the ramp: those that ran come back first."""
    jobs = queue.jobs
    rows = [*stops.tolist(), *waits.tolist()]
    if not rows:
        return ()
    begin_s = [float(np.ceil(back_s(call, (i + 1) / len(rows)))) for i in range(len(rows))]
    times = [datetime.fromtimestamp(one, UTC).strftime("%m-%d %H:%M") for one in begin_s]
    said = [
        f"waits until {time} UTC, for the grid asks for less power; to start at once: scontrol update job={jobs.ids[row]} "
        "comment=icctwin:off"
        for row, time in zip(rows, times, strict=True)
    ]
    k = len(stops)
    made: list[tuple[str, Orders]] = []
    if k:
        made.append((queue.name, orders(Verb.PAUSE, [jobs.ids[row] for row in rows[:k]], texts=said[:k])))
    made.append((queue.name, orders(Verb.BEGIN, [jobs.ids[row] for row in rows], np.array(begin_s), said)))
    return made


def build() -> JobRespond:
    """The lever with its documented parameters."""
    return JobRespond()
