"""When waiting jobs start: those whose owners agreed wait for cleaner or cheaper hours, by a begin time that releases itself.

All that may move is placed together, under what the cluster has room for; then each job is asked whether waiting surely
pays: where the 80 % interval of its gain (the spread of the same move's errors in the last weeks) reaches below zero it is left
alone.
No job is planned past the slot from which it must run to be in time, nor past ``longest_wait_s``.

Where nodes are free a job starts before anybody can look at it. Who wants it looked at submits it with a begin time a few
minutes ahead (``--begin=now+10minutes``, or by the site's submit plugin for marked jobs): a job with such a short one may be
moved further; one that is not moved starts at its owner's time, never sooner. Were icctwin dead, it would start all the same.

No tenant is given more waiting than is fair beside the others (``energy.shift.fair``); a begin time that stands is not taken
back for that.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from energy.ahead import SignalAhead, slot_time
from energy.levers import Outlook, QueueNow
from energy.levers.jobs_ahead import LONGEST_WAIT_S, Movable, in_turns, movable, room, waits_with_consent
from energy.plan import Effect, Gain, Plan
from energy.shift import Work
from energy.shift.decompose import cheapest, decompose
from energy.shift.fair import Whose, granted
from energy.waiting import Tally, would_start_s
from twin.frame import Floats, Ints
from twin.job import Jobs, JobState
from twin.message import Message
from twin.order import Orders, Verb, orders
from twin.site import Bools, Site
from twin.state import State

NAME = "job_start"
SWITCH_FRAC = 0.02  # of the signal: a begin time that stands is changed for no less
GRACE_S = 900.0  # a begin time of its owner that lies no further ahead is there to have the job looked at
EXPIRES_S = 600.0
NO_EFFECT = Effect(0.0, 0.0, 0.0, 0.0)  # on power: work in another hour is the same work
WHAT = {
    "carbon_gco2_per_kwh": "cleaner power",
    "marginal_carbon_gco2_per_kwh": "cleaner power",
    "price_per_mwh": "cheaper power",
}
MOVES = "Start {count} waiting jobs later for {what}: {saving_pct:.0f} % less ({low_pct:.0f} to {high_pct:.0f}), {kwh:.0f} kWh"
FREES = "Let {count} waiting jobs start: they have no more time to wait, or waiting pays no more"


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """What a lever on jobs decided for one queue: ids, when each is to start (s since 1970; 0: now), what it says to the
    owner, what begin time is there (NaN: none), when it would have started without us (``would_s``, NaN: it is let go), and of
    each: energy [kWh], the signal's mean as it would ``usual``ly be, and what is saved of it, likely and at the ends of its
    80 % interval."""

    ids: Sequence[str]
    begin_s: Floats
    said: Sequence[str]
    was_s: Floats
    would_s: Floats
    energy_kwh: Floats
    usual: Floats
    saves: Floats


class _Starts(NamedTuple):
    """int32[n] each: the slot that a job is to start in (0: now), and the one it would start in without us."""

    start: Ints
    usual: Ints


@dataclass(frozen=True, slots=True)
class JobStart:
    """Gives waiting jobs a begin time."""

    longest_wait_s: float = LONGEST_WAIT_S
    grace_s: float = GRACE_S

    @property
    def name(self) -> str:
        """``job_start``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The begin times that surely save, and those that are to be taken back; None where nothing changes."""
        signal = outlook.signal
        if signal is None:
            return None
        found: list[tuple[str, Moved]] = []
        left, tally = outlook.orders_left_count, Tally(outlook.queues)
        for queue in outlook.queues:
            moved = self._of_queue(queue, queue.signal or signal, now, left, tally)
            found.append((queue.name, moved))
            left -= len(moved.ids)
        tables = tuple(
            (name, orders(Verb.BEGIN, moved.ids, moved.begin_s, moved.said, expected=moved.was_s, would_s=moved.would_s))
            for name, moved in found
            if len(moved.ids)
        )
        return plan_of(NAME, signal, [moved for _, moved in found], tables, (MOVES, FREES), now)

    def _of_queue(self, queue: QueueNow, signal: SignalAhead, now: datetime, most: float, tally: Tally) -> Moved:
        jobs, now_s = queue.jobs, now.timestamp()
        terms = jobs.terms
        waits = waits_with_consent(jobs)
        waits &= (terms.held == 0) | (terms.noted == 1)  # what a person holds is the person's
        # a begin time that its owner has set further ahead is the owner's
        waits &= (terms.noted == 1) | ~(terms.begin_s > now_s + self.grace_s)
        # what is tied is not planned, but let go where it waits by our order
        rows = in_turns(waits | _to_let_go(jobs), now_s)
        free_rows = rows[terms.tied[rows] == 0]
        free = movable(queue, free_rows, jobs.lasts_s[free_rows], signal, now_s, self.longest_wait_s)
        left = room(queue, free.rows, signal, now_s)
        start, usual = _starts(queue, free, left, signal, stands_at(queue, free, signal, now_s), tally)
        ours, rests = (terms.noted == 1) & ((terms.begin_s > now_s) | (terms.held == 1)), queue.resting
        later = dict(zip(free.rows.tolist(), range(len(free.rows)), strict=True))
        picked: list[tuple[int, int, int]] = []  # row, slot to start in (0: now), position in ``free``
        for row in rows.tolist():
            k = later.get(row, -1)
            slot = int(start[k]) if k >= 0 else 0
            stands = bool(ours[row]) and abs(terms.begin_s[row] - _time_s(signal, slot)) <= 1.0
            stands |= not ours[row] and bool(terms.begin_s[row] >= _time_s(signal, slot))  # its owner wants it later still
            if (slot > 0 and not stands and not rests[row]) or (slot == 0 and ours[row]):
                picked.append((row, slot, k))
        if most < len(picked):  # those that are let go come first: nobody who may start waits for the limit on orders
            freed = sum(slot == 0 for _, slot, _ in picked)
            picked = sorted(picked, key=lambda one: one[1] > 0)[: int(max(most, freed))]
        would_s = would_start_s(queue, free.rows, np.maximum(signal.begin_s + usual * signal.step_s, now_s))
        return _moved(jobs, picked, free, usual, signal, ours, would_s)


def _to_let_go(jobs: Jobs) -> Bools:
    """bool[n]: jobs that wait by our order and have since been tied to something."""
    terms = jobs.terms
    return np.asarray((jobs.state == JobState.PENDING) & (jobs.deferrable == 1) & (terms.noted == 1) & (terms.tied > 0))


def stands_at(queue: QueueNow, free: Movable, signal: SignalAhead, now_s: float) -> Ints:
    """int32[n]: the slot that a begin time of ours stands at, -1 where there is none or it cannot stay."""
    begin_s = queue.jobs.terms.begin_s[free.rows]
    ours = (queue.jobs.terms.noted[free.rows] == 1) & (begin_s > now_s)
    slot = np.where(ours, np.rint((np.nan_to_num(begin_s) - signal.begin_s) / signal.step_s), -1).astype(np.int32)
    return np.where((slot > 0) & (slot <= free.latest), slot, -1).astype(np.int32)


def _time_s(signal: SignalAhead, slot: int) -> float:
    return signal.begin_s + slot * signal.step_s


def _starts(queue: QueueNow, free: Movable, left: list[Floats], signal: SignalAhead, stands: Ints, tally: Tally) -> _Starts:
    """Where it is cheapest together, for those for whom that surely pays and whose tenant does not wait longer than is fair;
    twice, as those who stay take their room first."""
    usual = usual_starts(free, left)
    whose = tally.whose(queue, free, usual, stands, signal.step_s, signal.begin_s)
    work, start = free.work, usual.copy()
    stays: Bools = np.zeros(len(work), dtype=np.bool_)
    worth = np.zeros(len(work))
    for _ in range(2):
        for p, rest in enumerate(left):
            mine = np.flatnonzero(free.pool == p)
            if len(mine):
                start[mine] = _placed(work.only(mine), rest, signal.ahead, usual[mine], stands[mine], stays[mine])
        saves = np.array(
            [signal.gain(*move) for move in zip(start.tolist(), work.length.tolist(), usual.tolist(), strict=True)]
        )
        stays |= (start <= usual) | (saves.reshape(-1, 3)[:, 1] <= 0)
        start[stays] = usual[stays]
        if whose is not None:
            worth = saves.reshape(-1, 3)[:, 0] / np.maximum(start - whose.base, 1)
            fair = granted(whose, start, worth)
            stays |= fair <= usual
            work = replace(work, due=fair_due(whose, work, start, fair))
    if whose is not None:
        start = granted(whose, np.where(stays, usual, start), worth, whole=True)
        tally.take(whose, start, signal.step_s)
    else:
        start[stays] = usual[stays]
    return _Starts(np.where(start <= usual, 0, start).astype(np.int32), usual)


def fair_due(whose: Whose, work: Work, start: Ints, fair: Ints) -> Ints:
    """int32[n]: until when each must have ended, so that a tenant who waits long enough gets no longer time in room that is
    free again."""
    over = np.zeros(len(whose.others), dtype=np.bool_)
    over[whose.owner[fair < start]] = True
    return np.where(over[whose.owner], np.minimum(work.due, fair + work.length), work.due).astype(np.int32)


def usual_starts(free: Movable, left: Sequence[Floats]) -> Ints:
    """int32[n]: first slot of each as it would start at the first room of its pool."""
    usual = np.zeros(len(free.rows), dtype=np.int32)
    for p, rest in enumerate(left):
        mine = np.flatnonzero(free.pool == p)
        if len(mine):
            usual[mine] = in_turn(free.work.only(mine), rest)
    return usual


def in_turn(work: Work, rest: Floats) -> Ints:
    """int32[n]: first slot of each as it would start at its first room; the last one where there is none."""
    left, slots = rest.copy(), len(rest)
    first = np.zeros(len(work), dtype=np.int32)
    weight = np.arange(slots, dtype=np.float64)
    for j in range(len(work)):
        found = cheapest(work, j, left, weight, slots)
        first[j] = slots - int(work.length[j]) if found is None else found[0]
        if found is not None:
            left[found] -= work.gpus[j]
    return np.maximum(first, 0)


def _placed(work: Work, rest: Floats, price: Floats, usual: Ints, stands: Ints, stays: Bools) -> Ints:
    """int32[n]: where it is cheapest together, in the room that those leave who stay where they would be."""
    start, left = usual.copy(), rest.copy()
    for j in np.flatnonzero(stays).tolist():
        left[usual[j] : usual[j] + work.length[j]] -= work.gpus[j]
    moves = np.flatnonzero(~stays)
    if len(moves):
        made = decompose(work.only(moves), price, np.maximum(left, 0.0))
        start[moves] = np.where(made.unplaced | made.late, usual[moves], made.start)
        for j in moves.tolist():
            start[j] = _kept(start[j], int(stands[j]), int(work.length[j]), price)
    return start


def _kept(slot: int, stands: int, length: int, price: Floats) -> int:
    """The slot that stands already, where the new one is hardly better."""
    if stands < 0 or stands + length > len(price):
        return slot
    better = float(price[stands : stands + length].mean() - price[slot : slot + length].mean())
    return slot if better > SWITCH_FRAC * float(np.abs(price).mean()) else stands


def _moved(
    jobs: Jobs,
    picked: list[tuple[int, int, int]],
    free: Movable,
    usual: Ints,
    signal: SignalAhead,
    ours: Bools,
    would_s: Floats,
) -> Moved:
    n = len(picked)
    begin_s, energy_kwh, base, saves = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, 3))
    said = [""] * n
    for i, (row, slot, k) in enumerate(picked):
        if slot == 0:
            continue
        length, first = int(free.work.length[k]), int(usual[k])
        begin_s[i] = _time_s(signal, slot)
        energy_kwh[i] = free.work.power_w[k] * jobs.lasts_s[row] / 3.6e6
        base[i] = float(signal.ahead[first : first + length].mean())
        saves[i] = signal.gain(slot, length, first)
        said[i] = note(signal, slot, saves[i, 0] / abs(base[i]) if base[i] else 0.0, jobs.ids[row])
    there_s = [float(jobs.terms.begin_s[row]) for row, _, _ in picked]
    was_s = np.array(
        [s if ours[row] or s > signal.begin_s else math.nan for s, (row, _, _) in zip(there_s, picked, strict=True)]
    )
    would = np.array([would_s[k] if slot else math.nan for _, slot, k in picked])
    return Moved([jobs.ids[row] for row, _, _ in picked], begin_s, said, was_s, would, energy_kwh, base, saves)


def note(signal: SignalAhead, slot: int, saving_frac: float, job: str) -> str:
    """What the owner of a job reads."""
    when = slot_time(signal, slot).strftime("%m-%d %H:%M")
    what = WHAT.get(signal.metric, "a better hour")
    off = f"scontrol update job={job} comment=icctwin:off"
    return f"waits until {when} UTC for {what}, about {saving_frac:.0%} less; to start at once: {off}"


def plan_of(
    lever: str,
    signal: SignalAhead,
    moved: Sequence[Moved],
    tables: tuple[tuple[str, Orders], ...],
    texts: tuple[str, str],
    now: datetime,
) -> Plan | None:
    """A plan of what was decided; ``texts``: what it says where work moves, and where it is only let go."""
    if not tables:
        return None
    energy_kwh, usual = (np.concatenate([getattr(one, name) for one in moved]) for name in ("energy_kwh", "usual"))
    saves = np.concatenate([one.saves for one in moved])
    total = float(energy_kwh @ usual)
    frac = -(energy_kwh @ saves) / abs(total) if total else np.zeros(3)
    basis = signal.basis(min(signal.day, len(signal.ahead)))
    gain = Gain(signal.metric, float(energy_kwh.sum()), float(frac[0]), float(frac[2]), float(frac[1]), str(basis))
    later = int(np.count_nonzero(energy_kwh))
    said: dict[str, float | int | str] = {
        "count": later or sum(len(table) for _, table in tables),
        "what": WHAT.get(signal.metric, "a better hour"),
        "saving_pct": -100 * gain.change_frac,
        "low_pct": -100 * gain.high_frac,
        "high_pct": -100 * gain.low_frac,
        "kwh": gain.energy_kwh,
    }
    text = ";".join(f"{name}/{t.verb}/{j}={v:.0f}" for name, t in tables for j, v in zip(t.targets, t.values, strict=True))
    key = f"{lever}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    effect = replace(NO_EFFECT, horizon_s=len(signal.ahead) * signal.step_s)
    expires = min(now + timedelta(seconds=EXPIRES_S), datetime.fromtimestamp(signal.begin_s + 2 * signal.step_s, UTC))
    reason = Message(texts[0] if later else texts[1], said)
    return Plan(key, lever, (), reason, effect, now, expires, tables, gain)


def build() -> JobStart:
    """The lever with its documented parameters."""
    return JobStart()
