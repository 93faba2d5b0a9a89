"""The ledger of shifted work: what each job cost beside what it would have cost, had nobody moved anything.

What would have been is the queue replayed by its scheduler (first come, backfilling; ``twin.sim.schedule``) with every job's
own begin time instead of ours. The replay is no truth: it is run with our begin times as well, and what a job would have done
is what it did, less the difference of the two replays; how far the replay with our times misses what was is the uncertainty.
All jobs count, those too that started later because others moved; so the parts sum to the whole. Each place is replayed by
itself, and has its own signal, which counts what cooling takes there. A job that we moved to another place would have run at
home; but one that a federation of schedulers would have started wherever there is room first, there, at that time. Where the
replay cannot tell which of them that is, the interval spans them all. What queues showed is kept by ``ledger_seen``, what comes
of it is booked by ``ledger_book``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from energy.ahead import Z80
from energy.ledger_away import Away
from energy.levers.jobs_ahead import GPU_W
from twin.frame import Floats, Ints
from twin.sim.schedule import Policy, first_room, schedule
from twin.sim.trace import trace_of
from twin.site import Bools

NONE_AWAY = Away()


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """Columns over n jobs that ran in one queue. ``own_s``: earliest start by its owner (submission or begin time);
    ``begin_s``: the last begin time that we ordered (NaN: none); ``limit_s``: what it asked for; ``place`` and ``home``: where
    it ran, and where it was submitted (empty: all in the first); ``data_bytes`` that go with it elsewhere; ``may``: bool[n, p],
    where its scheduler would have started it without us, whichever had room first (empty: at home); ``fixed``: bool[n], its
    start is given and no test of the replay (empty: of none)."""

    ids: Sequence[str]
    own_s: Floats
    begin_s: Floats
    start_s: Floats
    end_s: Floats
    limit_s: Floats
    gpus: Ints
    place: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    home: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    data_bytes: Floats = field(default_factory=lambda: np.empty(0))
    may: Bools = field(default_factory=lambda: np.empty((0, 0), dtype=np.bool_))
    fixed: Bools = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def __post_init__(self) -> None:
        n = len(self.ids)
        rows, flags = np.zeros(n, np.int32), np.zeros(n, np.bool_)
        for name, none in (("place", rows), ("home", rows), ("data_bytes", np.zeros(n)), ("fixed", flags)):
            if len(getattr(self, name)) != n:
                object.__setattr__(self, name, none)  # as the constructor of a frozen class does

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, rows: Ints) -> "Ran":
        """Those at ``rows``."""
        ids, may = [self.ids[i] for i in rows.tolist()], self.may[rows] if self.may.size else self.may
        times = [column[rows] for column in (self.own_s, self.begin_s, self.start_s, self.end_s, self.limit_s)]
        own_s, begin_s, start_s, end_s, limit_s = times
        gpus, place, home = self.gpus[rows], self.place[rows], self.home[rows]
        return Ran(
            ids, own_s, begin_s, start_s, end_s, limit_s, gpus, place, home, self.data_bytes[rows], may, self.fixed[rows]
        )

    @property
    def energy_kwh(self) -> Floats:
        """float64[n]: what each took, which is the same whenever it runs."""
        return self.gpus * GPU_W * (self.end_s - self.start_s) / 3.6e6


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """Where work of one queue runs: p places. ``partitions``: partition -> its place (others are in the last); ``gpus``:
    int32[p] that each gives out; ``values``: float64[p, t], what a kWh of IT costs there in the steps that start at ``time_s``
    (the last as long as the one before it); ``j_per_byte``: float64[p, p], that moving data takes (empty: nothing)."""

    partitions: Mapping[str, int]
    gpus: Ints
    time_s: Floats
    values: Floats
    j_per_byte: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def at(self, partition: str) -> int:
        """The place of a partition."""
        return self.partitions.get(partition, len(self.gpus) - 1)

    def siblings(self, partition: str) -> Mapping[int, str]:
        """Place -> partition of that name there, where a federation starts a job of ``partition`` in any of its clusters; only
        its own where there is none."""
        cluster, _, name = partition.rpartition("/")
        both = [(p, other, other.rpartition("/")) for other, p in self.partitions.items() if cluster]
        return {p: other for p, other, (of, _, its) in both if of and its == name} | {self.at(partition): partition}

    def sent_kwh(self, ran: "Ran", place: Ints) -> Floats:
        """float64[n]: what the network takes for the data of each, were it to run in ``place``."""
        if not self.j_per_byte.size:
            return np.zeros(len(ran))
        return ran.data_bytes * np.where(ran.home == place, 0.0, self.j_per_byte[ran.home, place]) / 3.6e6


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Of each job of ``Ran``: ``would_s`` and ``would_at``: when and where it would have started without us; ``either``:
    bool[n, p], where it might as well have; ``error_s``: 80 % half-width of ``would_s``."""

    would_s: Floats
    would_at: Ints
    either: Bools
    error_s: Floats

    def only(self, rows: Ints) -> "Judged":
        """Those at ``rows``."""
        return Judged(self.would_s[rows], self.would_at[rows], self.either[rows], self.error_s[rows])

    def moved(self, ran: Ran) -> Bools:
        """bool[n]: those that would have started at another time or place."""
        return np.asarray((np.abs(self.would_s - ran.start_s) > 1e-6) | (self.would_at != ran.place))


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """``change``, ``low``, ``high``: what our moves changed of the cost of each job, with the 80 % interval (the signal times
    kWh, negative saved)."""

    change: Floats
    low: Floats
    high: Floats


def judged(ran: Ran, gpus: Ints, away: Away = NONE_AWAY) -> Judged:
    """When and where each would have started, by both replays; ``gpus``: int32[p] of each place now: what ran there had room,
    whatever was drained since; ``away``: what had none for a while."""
    places, n = len(gpus), len(ran)
    gpus = np.maximum(np.maximum(gpus, away.whole) if away.whole.size else gpus, _held(ran, places))
    runs = _beside(ran, away)
    may = np.concatenate([ran.may if ran.may.size else _at_home(ran.home, places), _at_home(away.place, places)])
    first, first_at = _first_room(runs, may, gpus)
    with_us = _replayed(runs, np.fmax(runs.own_s, runs.begin_s), runs.place, gpus)[:n]
    without, would_at = first[:n], first_at[:n]
    known = np.isfinite(without) & np.isfinite(with_us)
    would_at = np.where(known, would_at, ran.home).astype(np.int32)
    would_s = np.where(known, ran.start_s - (with_us - without), ran.start_s)
    would_s = np.maximum(would_s, np.minimum(ran.own_s, ran.start_s))
    miss_s = (ran.start_s - with_us)[known & ~ran.fixed]
    # the lag that all starts share says nothing about the difference of two of them
    error_s = Z80 * float(miss_s.std(ddof=1)) if len(miss_s) > 1 else 0.0
    either = np.zeros((n, places), dtype=np.bool_)
    for p in range(places) if error_s and (may.sum(axis=1) > 1).any() else ():
        at = np.concatenate([would_at, away.place])
        either[:, p] = _either(runs, may, p, first, at, gpus, error_s)[:n]
    return Judged(would_s, would_at, either, np.full(n, error_s))


def _at_home(home: Ints, places: int) -> Bools:
    return np.asarray(np.arange(places) == home[:, None])


def _beside(ran: Ran, away: Away) -> Ran:
    """``ran``, and what was away as runs behind it, each where and when it was."""
    if not len(away):
        return ran
    none, nowhere = np.full(len(away), math.nan), np.zeros(len(away))
    ids = [*ran.ids, *(f"away {k}" for k in range(len(away)))]
    both = (
        (ran.own_s, away.start_s), (ran.begin_s, none), (ran.start_s, away.start_s), (ran.end_s, away.end_s),
        (ran.limit_s, away.end_s - away.start_s), (ran.gpus, away.gpus), (ran.place, away.place), (ran.home, away.place),
        (ran.data_bytes, nowhere),
    )  # fmt: skip
    return Ran(ids, *(np.concatenate(pair) for pair in both))


def _held(ran: Ran, places: int) -> Ints:
    """int32[p]: the most that was held at once in each place, and what the largest job that is at home there holds."""
    most: Ints = np.zeros(places, dtype=np.int32)
    np.maximum.at(most, ran.home, ran.gpus)
    for p in range(places):
        here = np.flatnonzero(ran.place == p)
        time_s, change = np.r_[ran.end_s[here], ran.start_s[here]], np.r_[-ran.gpus[here], ran.gpus[here]]
        order = np.argsort(time_s, kind="stable")  # who ends makes room for who starts at that moment
        most[p] = max(most[p], np.cumsum(change[order]).max(initial=0))
    return most


def priced(ran: Ran, found: Judged, ground: Grounds) -> Costs:
    """What moving did. ``ValueError`` where a signal has gaps."""
    bill = _Bill(ran, ground)
    was = bill.of(ran.place, ran.start_s)
    shifts = (-found.error_s, np.zeros(len(ran)), found.error_s)
    ends = [was - bill.of(found.would_at, found.would_s + shift_s) for shift_s in shifts]
    likely = ends[1]
    for p in np.flatnonzero(found.either.any(axis=0)).tolist():
        there = np.full(len(ran), p, dtype=np.int32)
        both = (was - bill.of(there, found.would_s + shift_s) for shift_s in (shifts[0], shifts[2]))
        ends += [np.where(found.either[:, p], one, likely) for one in both]
    moved = found.moved(ran)
    change = np.where(moved, likely, 0.0)
    low, high = (np.where(moved, pick.reduce(ends), 0.0) for pick in (np.minimum, np.maximum))
    return Costs(change, low, high)


def _either(ran: Ran, may: Bools, p: int, without: Floats, would_at: Ints, gpus: Ints, error_s: float) -> Bools:
    """bool[n]: jobs that might as well have started in place ``p``: they had to wait, and it had room for them at about the
    same time."""
    several = may[:, p] & (may.sum(axis=1) > 1)
    there = _replayed(ran, ran.own_s, np.where(several, p, would_at).astype(np.int32), gpus)
    later = np.fmax(without, there)
    return np.asarray(several & (later > ran.own_s + 1.0) & (np.abs(there - without) < error_s))


class _Bill:
    """What each job costs wherever and whenever it would run: its hours there, and its data on the way."""

    def __init__(self, ran: Ran, ground: Grounds) -> None:
        self._ran, self._ground = ran, ground
        self._costs = [_Cost(ground.time_s, values) for values in ground.values]

    def of(self, place: Ints, start_s: Floats) -> Floats:
        """float64[n]: the signal times kWh."""
        ran, hour_s = self._ran, np.full(len(self._ran), 3600.0)
        kw, length_s = ran.gpus * GPU_W / 1e3, ran.end_s - ran.start_s
        own = kw * _cost_in(self._costs, place, start_s, length_s)
        sent = self._ground.sent_kwh(ran, place) * _cost_in(self._costs, place, start_s, hour_s)
        return np.asarray(own + sent)


class _Cost:
    """The integral of a step function, exactly: linear between the edges of its steps. Beyond its ends it goes on as there."""

    def __init__(self, time_s: Floats, values: Floats) -> None:
        if len(time_s) < 2 or np.isnan(values).any():
            raise ValueError("a signal of two steps at least, without gaps, is needed to say what work cost")
        edges = np.append(time_s, 2 * time_s[-1] - time_s[-2])
        far = 1e9
        self._edges = np.concatenate([[edges[0] - far], edges, [edges[-1] + far]])
        whole = np.concatenate([[values[0]], values, [values[-1]]])
        self._sums = np.concatenate([[0.0], np.cumsum(whole * np.diff(self._edges))])

    def of(self, start_s: Floats, length_s: Floats) -> Floats:
        """float64[n]: signal times hours over each span."""
        at = [np.interp(t, self._edges, self._sums) for t in (start_s, start_s + length_s)]
        spent: Floats = (at[1] - at[0]) / 3600
        return spent


def _cost_in(costs: Sequence[_Cost], place: Ints, start_s: Floats, length_s: Floats) -> Floats:
    """float64[n]: signal times hours over each span, by the signal of its place."""
    out = np.zeros(len(place))
    for p, cost in enumerate(costs):
        here = place == p
        out[here] = cost.of(start_s[here], length_s[here])
    return out


def _replayed(ran: Ran, begin_s: Floats, place: Ints, gpus: Ints) -> Floats:
    """float64[n]: when each would start in its ``place``; NaN where it does not fit."""
    run_s, limit_s = _lengths_s(ran)
    start_s = np.full(len(ran), math.nan)
    for p, most in enumerate(gpus.tolist()):
        here = np.flatnonzero(place == p)
        order = here[np.argsort(begin_s[here], kind="stable")]
        if len(order):
            trace = trace_of([ran.ids[i] for i in order.tolist()], begin_s[order], run_s[order], limit_s=limit_s[order])
            start_s[order] = schedule(trace, Policy.EASY, ran.gpus[order].astype(np.int32), most, math.inf).start_s
    return start_s


def _first_room(ran: Ran, may: Bools, gpus: Ints) -> tuple[Floats, Ints]:
    """When each would start without us, and where: at home, or where it ``may`` and has room first."""
    if not (may.sum(axis=1) > 1).any():
        return _replayed(ran, ran.own_s, ran.home, gpus), ran.home
    order = np.argsort(ran.own_s, kind="stable")
    run_s, limit_s = _lengths_s(ran)
    trace = trace_of([ran.ids[i] for i in order.tolist()], ran.own_s[order], run_s[order], limit_s=limit_s[order])
    found = first_room(trace, Policy.EASY, ran.gpus[order].astype(np.int32), gpus, may[order], ran.home[order])
    start_s, place = np.empty(len(ran)), np.empty(len(ran), dtype=np.int32)
    start_s[order], place[order] = found
    return start_s, place


def _lengths_s(ran: Ran) -> tuple[Floats, Floats]:
    """How long each ran, and how long it could have."""
    run_s = ran.end_s - ran.start_s
    return run_s, np.fmax(np.where(np.isnan(ran.limit_s), run_s, ran.limit_s), run_s)
