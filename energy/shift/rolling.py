"""Shifting as it must be done: slot by slot, each decision from what was known when it fell, and again at the next slot.

A job waits only while the forecast says that later is cheaper and such waiting has paid before: the same question is put to the
last ``SHADOW_DAYS`` days, whose outcome is known by now. Where the answer would not have saved more than its mean over those
days is uncertain by, the job is left alone; also where it paid by luck: the course that was foreseen must have been like the
one that came. A job never waits past the moment from which it must run to be in time.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from energy.shift import Work
from energy.shift.decompose import cheapest, decompose
from twin.frame import Floats, Ints
from twin.site import Bools

# Chosen on made-up grids. Over 28 days and with any gain over 0, a drift on which nothing is to be had lost 0.2 % in the mean
# of eight seeds and 0.6 % in the worst; so it is 0.01 and 0.07 %. A weak day with 5 h to its best hour keeps 0.67 of 0.82 %.
SHADOW_DAYS, LEAST_SHADOWS = 56, 7
SURE = 1.0  # standard errors of the mean gain that it must be over 0
# Least correlation of the courses that were foreseen within the last weeks' windows with those that came. 28 windows of white
# noise reach 0.1 one time in thirty, and 0.15 never in a thousand; three recorded grids lose nothing up to 0.2.
LEAST_ALIKE = 0.15
USUAL_DAYS = 14
RESERVE = 6  # slots before its deadline that a job plans to be done, where capacity is shared


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """``running`` and ``at_once``: bool[n, t], the slots of each job as shifted and as it would have run without; ``trusted``:
    bool[n], the forecast was acted on; ``cost`` and ``cost_at_once``: power times the signal as it truly was."""

    running: Bools
    at_once: Bools
    trusted: Bools
    cost: float
    cost_at_once: float

    @property
    def saved_frac(self) -> float:
        """Share of the cost at once that shifting saved; below 0 where it cost more."""
        return 1 - self.cost / self.cost_at_once if self.cost_at_once else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A signal and what was foreseen of it: ``truth`` float64[t]; ``seen`` float[t, h], at each slot what it and the next were
    expected to be (NaN: nothing was); ``day``: slots of 24 hours; ``delay``: slots after which the truth is known."""

    truth: Floats
    seen: Floats
    day: int
    delay: int = 0
    _gains: dict[tuple[int, ...], float] = field(default_factory=dict, repr=False)
    _courses: dict[tuple[int, int], Floats] = field(default_factory=dict, repr=False)

    def shadow(self, begin: int, offset: int, length: int, window: int, interruptible: bool) -> float:
        """What shifting would have saved, in the signal's unit, a job that could run from ``begin`` on and usually starts
        ``offset`` slots later."""
        key = (begin, offset, length, window, int(interruptible))
        if key not in self._gains:
            usual = self.truth[begin + offset : begin + offset + length].sum()
            if window <= self.day:
                chosen = choose(self, begin, begin + window, length, interruptible)
            else:  # decided once: slot by slot saves a little more and costs ten times the time
                chosen = [begin + slot for slot in _choice(self.seen[begin, :window], length, interruptible)]
            self._gains[key] = float(usual - self.truth[chosen].sum())
        return self._gains[key]

    def course(self, begin: int, window: int) -> Floats:
        """float64[3]: of what was foreseen at ``begin`` for the slots of a window and of what came, each about its mean there:
        the product of the two, and the square of each."""
        if (begin, window) not in self._courses:
            said = self.seen[begin, :window].astype(np.float64)
            came = self.truth[begin : begin + len(said)]
            said, came = said[: len(came)] - said[: len(came)].mean(), came - came.mean()
            self._courses[begin, window] = np.array([said @ came, said @ said, came @ came])
        return self._courses[begin, window]


def replay(work: Work, past: Past, capacity: Floats | None = None, every: int = 1, nominal: Ints | None = None) -> Replayed:
    """Run ``work`` under ``past``. ``capacity``: float64[t], GPUs (None: no limit); ``every``: slots between two looks at what
    waits, under a capacity; ``nominal``: int32[n], slot in which each would start without shifting (None: ``earliest``).
    What is not done at the end of the signal stays undone in both columns."""
    usual = work.earliest if nominal is None else nominal
    shapes = zip(work.earliest, usual, work.length, work.due, work.interruptible, strict=True)
    trusted = np.array([trust(past, *shape) for shape in shapes], dtype=np.bool_)
    # what is left alone starts when it would have started anyway
    mine = replace(work, earliest=np.where(trusted, work.earliest, usual).astype(np.int32))
    plain = replace(work, earliest=usual)
    slots = len(past.truth)
    if capacity is None:
        running, at_once = _each_alone(mine, past, trusted), _straight(plain, slots)
    else:
        at_once = in_turn(plain, capacity)
        running = _together(mine, past, trusted, capacity, every, _Usual(at_once, usual, work.gpus, past.day))
    cost, cost_at_once = (float(work.power_w @ (chosen @ past.truth)) for chosen in (running, at_once))
    return Replayed(running, at_once, trusted, cost, cost_at_once)


def trust(past: Past, earliest: int, nominal: int, length: int, due: int, interruptible: bool) -> bool:
    """Whether shifting would have paid for such a job in the last days, as far as was known at ``earliest``."""
    window = due - earliest
    if window <= length:
        return False
    gains, course = [], np.zeros(3)
    first = -(-(window + past.delay) // past.day)
    for begin in range(earliest - first * past.day, earliest - (first + SHADOW_DAYS) * past.day, -past.day):
        if begin < 0 or np.isnan(past.seen[begin, 0]):
            break
        gains.append(past.shadow(begin, nominal - earliest, length, window, interruptible))
        course += past.course(begin, window)
    if len(gains) < LEAST_SHADOWS:
        return False
    error = float(np.std(gains, ddof=1)) / float(np.sqrt(len(gains)))
    pays = np.mean(gains) > max(SURE * error, 0.0)
    alike = course[0] > LEAST_ALIKE * float(np.sqrt(course[1] * course[2]))
    return bool(pays and alike)


def _choice(seen: Floats, length: int, interruptible: bool) -> list[int]:
    """Slots that look cheapest now; the first ones where too little is foreseen."""
    if len(seen) < length or np.isnan(seen).any():
        return list(range(length))
    if interruptible:
        return [int(slot) for slot in np.argpartition(seen, length - 1)[:length]]
    sums = np.concatenate(([0.0], np.cumsum(seen, dtype=np.float64)))
    start = int((sums[length:] - sums[:-length]).argmin())
    return list(range(start, start + length))


def choose(past: Past, begin: int, due: int, length: int, interruptible: bool) -> list[int]:
    """The slots in which a job runs that nobody else's work holds up, each decided when it came."""
    chosen: list[int] = []
    for t in range(begin, len(past.truth)):
        left = length - len(chosen)
        if not _now(past.seen[t, : max(due - t, 0)], left, due - t, interruptible):
            continue
        span = 1 if interruptible else min(left, len(past.truth) - t)
        chosen += range(t, t + span)
        if span == left:
            break
    return chosen


def _now(seen: Floats, left: int, window: int, interruptible: bool) -> bool:
    """Whether a job with ``left`` slots to run and ``window`` to do it in runs in this one."""
    if window <= left or len(seen) < left or np.isnan(seen[0]):
        return True
    if interruptible:
        return int(np.count_nonzero(seen < seen[0])) < left
    sums = np.concatenate(([0.0], np.cumsum(seen, dtype=np.float64)))
    values = sums[left:] - sums[:-left]
    return bool(values[0] <= values.min())


def _each_alone(work: Work, past: Past, trusted: Bools) -> Bools:
    running = np.zeros((len(work), len(past.truth)), dtype=np.bool_)
    for j in range(len(work)):
        begin, length = int(work.earliest[j]), int(work.length[j])
        if trusted[j]:
            running[j, choose(past, begin, int(work.due[j]), length, bool(work.interruptible[j]))] = True
        else:
            running[j, begin : begin + length] = True
    return running


def _straight(work: Work, slots: int) -> Bools:
    t = np.arange(slots)
    return np.asarray((t >= work.earliest[:, None]) & (t < (work.earliest + work.length)[:, None]))


def in_turn(work: Work, capacity: Floats) -> Bools:
    """First come, first served, at the first room: what runs without shifting."""
    running = np.zeros((len(work), len(capacity)), dtype=np.bool_)
    _soonest(work, np.argsort(work.earliest, kind="stable"), capacity.copy(), running)
    return running


class _Usual:
    """What a centre without shifting holds in each slot: its past says what will come, and what waits leaves room for it.

    Who runs as soon as there is room never wastes any; who waits does, and the work that comes meanwhile pays for it. So room
    that the usual day will want is not counted on."""

    def __init__(self, at_once: Bools, nominal: Ints, gpus: Floats, day: int) -> None:
        self._at_once, self._nominal, self._gpus, self._day = at_once, nominal, gpus, day
        self._held = gpus @ at_once
        self._first = int(nominal.min(initial=0))

    def yet_to_come(self, t: int, every: int, ahead: int) -> Floats:
        """float64[h]: GPUs that work which has not come by ``t`` + ``every`` will hold in each slot from ``t`` on, as the mean
        of the same hour over the days since work began (at most ``USUAL_DAYS``)."""
        slots = t + np.arange(ahead)
        known = self._gpus[come := self._nominal < t + every] @ self._at_once[come, t : t + ahead]
        back = slots - self._day * -(-(slots - t + 1) // self._day)
        days = [back - self._day * k for k in range(USUAL_DAYS)]
        seen = np.array([np.where(at >= self._first, self._held[np.maximum(at, 0)], np.nan) for at in days])
        count = np.isfinite(seen).sum(axis=0)
        mean = np.where(count > 0, np.nansum(seen, axis=0) / np.maximum(count, 1), 0.0)
        return np.maximum(mean - known, 0.0)


def _together(work: Work, past: Past, trusted: Bools, capacity: Floats, every: int, usual: _Usual) -> Bools:
    """All that waits is planned anew every ``every`` slots; what the plan has for the slots until then is done."""
    slots = len(capacity)
    running, left, rest = np.zeros((len(work), slots), dtype=np.bool_), work.length.copy(), capacity.copy()
    for t in range(0, slots, every):
        waiting = np.flatnonzero((work.earliest < t + every) & (left > 0))
        if not len(waiting):
            continue
        ahead = min(past.seen.shape[1], slots - t)
        window = rest[t : t + ahead].copy()
        begin = np.maximum(work.earliest[waiting] - t, 0).astype(np.int32)
        # others will come that want the same slots: what waits keeps some of its time back
        due, soonest = work.due[waiting] - t, begin + left[waiting]
        due = np.maximum(np.minimum(np.maximum(due - RESERVE, soonest), due), 0).astype(np.int32)
        now = Work(work.gpus[waiting], work.power_w[waiting], left[waiting], begin, due, work.interruptible[waiting])
        spare = np.maximum(window - usual.yet_to_come(t, every, ahead), 0.0)
        spare[:every] = window[:every]
        chosen = _plan(now, past.seen[t, :ahead].astype(np.float64), window, trusted[waiting], spare)
        for k, j in enumerate(waiting.tolist()):
            upto = every if work.interruptible[j] and trusted[j] else (ahead if chosen[k, :every].any() else 0)
            done = t + np.flatnonzero(chosen[k, :upto])
            running[j, done] = True
            rest[done] -= work.gpus[j]
            left[j] -= len(done)
    return running


def _plan(now: Work, price: Floats, capacity: Floats, trusted: Bools, spare: Floats) -> Bools:
    """What runs when: first those that are not to wait, one after the other, then the others where it is cheapest, in the room
    (``spare``) that others will leave. Where that would make one late, all go as soon as they can, most urgent first, unless
    even so as many are late."""
    chosen = np.zeros((len(now), len(price)), dtype=np.bool_)
    known = not np.isnan(price).any()
    waits = trusted & known
    _soonest(now, np.flatnonzero(~waits), capacity, chosen)
    rows = np.flatnonzero(waits)
    if len(rows):
        part = now.only(rows)
        best = decompose(part, price, np.clip(np.minimum(capacity, spare), 0.0, None))
        chosen[rows] = best.running
        if best.late.any():
            urgent = np.zeros_like(best.running)
            _soonest(part, np.argsort(part.due, kind="stable"), capacity, urgent)
            after = np.arange(len(price)) >= part.due[:, None]
            late = ~urgent.any(axis=1) | (urgent & after).any(axis=1)
            if late.sum() < best.late.sum():
                chosen[rows] = urgent
    return chosen


def _soonest(now: Work, order: np.ndarray, rest: Floats, chosen: Bools) -> None:
    """Place the jobs of ``order`` one by one at their first room, in one go; what is placed leaves ``rest``."""
    whole = Work(now.gpus, now.power_w, now.length, now.earliest, now.due, np.zeros(len(now), dtype=np.bool_))
    for j in order.tolist():
        slots = cheapest(whole, j, rest, np.arange(len(rest), dtype=np.float64), len(rest))
        if slots is not None:
            chosen[j, slots] = True
            rest[slots] -= now.gpus[j]
