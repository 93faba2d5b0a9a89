"""Pausing what runs: interruptible jobs save themselves, wait, and go on in cleaner or cheaper hours.

A pause costs: the job saves and loads its state, and what it does meanwhile is lost. It is proposed only where the sure part of
the gain (the lower end of its 80 % interval) pays for that as well, for jobs that have run for a while and are in time all the
same. A pause is one order to save and end, and one begin time; what is paused is never left merely held. No tenant's jobs are
paused for longer than is fair beside the others (``energy.shift.fair``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from energy.ahead import SignalAhead
from energy.levers import Outlook, QueueNow
from energy.levers.job_start import Moved, note, plan_of
from energy.levers.jobs_ahead import LONGEST_WAIT_S, Movable, movable, room
from energy.plan import Plan
from energy.shift.decompose import cheapest
from energy.shift.fair import granted
from energy.waiting import Tally
from twin.frame import Floats
from twin.job import Jobs, JobState
from twin.order import Orders, Verb, orders
from twin.site import Site
from twin.state import State

NAME = "job_shift"
RESTART_S = 900.0  # of its run that a job loses by a pause: since its last save, saving and loading; assumed
LEAST_RUN_S = 3600.0  # before it is paused (again)
LEAST_PAUSE = 2  # slots: shorter ones are not worth it
MOST = 16  # jobs paused by one plan: a few at a time
PAUSES = (
    "Pause {count} running jobs, for {what}: {saving_pct:.0f} % less ({low_pct:.0f} to {high_pct:.0f} %) over {kwh:.0f} kWh"
)


class _Pause(NamedTuple):
    """One pause: position among those that may move, row of the job, slot in which it goes on, what it saves (likely and both
    ends), energy of its rest [kWh], and the signal's mean over that as it would usually be."""

    k: int
    row: int
    slot: int
    saves: Floats
    energy_kwh: float
    usual: float


@dataclass(frozen=True, slots=True)
class JobShift:
    """Pauses running jobs until a begin time. ``least_run_s`` and ``restart_s``: see above."""

    longest_wait_s: float = LONGEST_WAIT_S
    least_run_s: float = LEAST_RUN_S
    restart_s: float = RESTART_S

    @property
    def name(self) -> str:
        """``job_shift``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The pauses that surely save, or None."""
        signal = outlook.signal
        if signal is None:
            return None
        tally, now_s = Tally(outlook.queues), now.timestamp()
        found = [(queue.name, self._of_queue(queue, queue.signal or signal, now_s, tally)) for queue in outlook.queues]
        tables: list[tuple[str, Orders]] = []
        for name, moved in found:
            if len(moved.ids):
                tables.append((name, orders(Verb.PAUSE, moved.ids, texts=moved.said)))
                tables.append((name, orders(Verb.BEGIN, moved.ids, moved.begin_s, moved.said, would_s=moved.would_s)))
        return plan_of(NAME, signal, [moved for _, moved in found], tuple(tables), (PAUSES, PAUSES), now)

    def _of_queue(self, queue: QueueNow, signal: SignalAhead, now_s: float, tally: Tally) -> Moved:
        jobs = queue.jobs
        runs = (jobs.state == JobState.RUNNING) & (jobs.deferrable == 1) & (jobs.terms.interruptible == 1)
        runs &= (jobs.terms.tied == 0) & ~queue.resting
        runs &= (now_s - jobs.start_s >= self.least_run_s) & (jobs.lasts_s > 0) & (jobs.gpus > 0)
        rows = np.flatnonzero(runs).astype(np.int32)
        left_s = jobs.start_s[rows] + jobs.lasts_s[rows] - now_s
        worth = left_s > 2 * self.restart_s  # what is nearly done is left to end
        rows, left_s = rows[worth], left_s[worth]
        # a job that starts anew has its whole limit again before it, whatever it had done
        whole_s = left_s + self.restart_s
        free = movable(queue, rows, whole_s, signal, now_s, self.longest_wait_s)
        rest = room(queue, free.rows, signal, now_s)
        found: list[_Pause] = []
        price = signal.ahead
        span = dict(zip(rows.tolist(), left_s.tolist(), strict=True))
        for k in np.argsort(-free.work.power_w, kind="stable").tolist():
            length, row = int(free.work.length[k]), int(free.rows[k])
            slots = cheapest(free.work, k, rest[free.pool[k]], price, int(free.work.due[k]))
            if slots is None or slots[0] < LEAST_PAUSE or len(found) >= MOST:
                rest[free.pool[k]][:length] -= free.work.gpus[k]  # it goes on
                continue
            usual = float(price[:length].mean())
            lost = float(price[slots].mean()) * self.restart_s / span[row]
            saves = np.array(signal.gain(int(slots[0]), length)) - lost
            if saves[1] <= 0:
                rest[free.pool[k]][:length] -= free.work.gpus[k]
                continue
            rest[free.pool[k]][slots] -= free.work.gpus[k]
            energy_kwh = float(free.work.power_w[k]) * span[row] / 3.6e6
            found.append(_Pause(k, row, int(slots[0]), saves, energy_kwh, usual))
        return _moved(jobs, _fair(queue, free, found, signal, tally), signal, now_s)


def _fair(queue: QueueNow, free: Movable, found: Sequence[_Pause], signal: SignalAhead, tally: Tally) -> Sequence[_Pause]:
    """Those pauses that are fair, of each tenant the ones that are worth most for their length."""
    now = np.zeros(len(free.rows), dtype=np.int32)
    whose = tally.whose(queue, free, now, now, signal.step_s, signal.begin_s)
    if whose is None:
        return found
    at, worth = now.copy(), np.zeros(len(now))
    for one in found:
        at[one.k], worth[one.k] = one.slot, float(one.saves[0]) / one.slot
    fair = granted(whose, at, worth, whole=True)
    tally.take(whose, fair, signal.step_s)
    return [one for one in found if fair[one.k] == one.slot]


def _moved(jobs: Jobs, found: Sequence[_Pause], signal: SignalAhead, now_s: float) -> Moved:
    less = [float(one.saves[0]) / abs(one.usual) if one.usual else 0.0 for one in found]
    return Moved(
        [jobs.ids[one.row] for one in found],
        np.array([signal.begin_s + one.slot * signal.step_s for one in found]),
        [note(signal, one.slot, frac, jobs.ids[one.row]) for one, frac in zip(found, less, strict=True)],
        np.full(len(found), np.nan),
        np.full(len(found), now_s),
        np.array([one.energy_kwh for one in found]),
        np.array([one.usual for one in found]),
        np.array([one.saves for one in found]).reshape(-1, 3),
    )


def build() -> JobShift:
    """The lever with its documented parameters."""
    return JobShift()
