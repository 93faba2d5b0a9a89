"""The ledger of shifted work: what each job cost beside what it would have cost, had nobody moved anything.

What would have been is the queue replayed by its scheduler (first come, backfilling; ``twin.sim.schedule``) with every job's
own begin time instead of ours. The replay is no truth: it is run with our begin times as well, and what a job would have done
is what it did, less the difference of the two replays; how far the replay with our times misses what was is the uncertainty.
All jobs count, those too that started later because others moved; so the parts sum to the whole. Each place is replayed by
itself, and has its own signal, which counts what cooling takes there. A job that we moved to another place would have run at
home; but one that a federation of schedulers would have started wherever there is room first, there, at that time. Where the
replay cannot tell which of them that is, the interval spans them all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np

from energy.ahead import Z80
from energy.ledger import TOPIC as PLANS
from energy.levers.jobs_ahead import GPU_W
from energy.memory import TIMED
from energy.notes import MEMORY, every
from energy.notes import TOPIC as AUDIT
from energy.waiting import Ended, gpu_s
from twin.frame import Floats, Ints
from twin.job import Jobs, JobState
from twin.order import Result
from twin.ports import Records
from twin.sim.schedule import Policy, first_room, schedule
from twin.sim.trace import trace_of
from twin.site import Bools

TOPIC = "ledger-jobs"
RAN = "ran"  # topic: jobs that have ended
KEPT_RAN = 20_000
DAYS = 2  # that are replayed: what ended before has no more part in today's queue
SETTLED = timedelta(minutes=10)  # after its end a job is booked: then its neighbours are known too


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """Columns over n jobs that ran in one queue. ``own_s``: earliest start by its owner (submission or begin time);
    ``begin_s``: the last begin time that we ordered (NaN: none); ``limit_s``: what it asked for; ``place`` and ``home``: where
    it ran, and where it was submitted (empty: all in the first); ``data_bytes`` that go with it elsewhere; ``may``: bool[n, p],
    where its scheduler would have started it without us, whichever had room first (empty: at home)."""

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

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name, none in (("place", np.zeros(n, np.int32)), ("home", np.zeros(n, np.int32)), ("data_bytes", np.zeros(n))):
            if len(getattr(self, name)) != n:
                object.__setattr__(self, name, none)  # as the constructor of a frozen class does

    def __len__(self) -> int:
        return len(self.ids)

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
class Accounts:
    """Of each job of ``Ran``: ``would_s`` and ``would_at``: when and where it would have started without us; ``change``,
    ``low``, ``high``: what our moves changed of its cost, with the 80 % interval (the signal times kWh, negative saved).
    ``error_s``: 80 % half-width of ``would_s``."""

    would_s: Floats
    would_at: Ints
    change: Floats
    low: Floats
    high: Floats
    error_s: float


def account(ran: Ran, ground: Grounds) -> Accounts:
    """What moving did. ``ValueError`` where a signal has gaps."""
    places = len(ground.gpus)
    may = ran.may if ran.may.size else np.arange(places) == ran.home[:, None]
    without, would_at = _first_room(ran, may, ground.gpus)
    with_us = _replayed(ran, np.fmax(ran.own_s, ran.begin_s), ran.place, ground.gpus)
    known = np.isfinite(without) & np.isfinite(with_us)
    would_at = np.where(known, would_at, ran.home).astype(np.int32)
    would_s = np.where(known, ran.start_s - (with_us - without), ran.start_s)
    would_s = np.maximum(would_s, np.minimum(ran.own_s, ran.start_s))
    miss_s = (ran.start_s - with_us)[known]
    # the lag that all starts share says nothing about the difference of two of them
    error_s = Z80 * float(miss_s.std(ddof=1)) if len(miss_s) > 1 else 0.0
    moved = (np.abs(would_s - ran.start_s) > 1e-6) | (would_at != ran.place)
    bill = _Bill(ran, ground)
    was = bill.of(ran.place, ran.start_s)
    ends = [was - bill.of(would_at, would_s + shift_s) for shift_s in (-error_s, 0.0, error_s)]
    likely = ends[1]
    for p in range(places) if error_s and (may.sum(axis=1) > 1).any() else ():
        there = np.full(len(ran), p, dtype=np.int32)
        either = _either(ran, may, p, without, would_at, ground.gpus, error_s)
        ends += [np.where(either, was - bill.of(there, would_s + shift_s), likely) for shift_s in (-error_s, error_s)]
    change = np.where(moved, likely, 0.0)
    low, high = (np.where(moved, pick.reduce(ends), 0.0) for pick in (np.minimum, np.maximum))
    return Accounts(would_s, would_at, change, low, high, error_s)


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


# --- what is kept of jobs, and what is booked


class Watcher:
    """Writes down each job of a queue once it has ended; knows from the records what it has written before. ``ended``: by queue
    and job, those of the last days whose owners agreed that they may wait, at most as many as are kept."""

    def __init__(self, records: Records) -> None:
        self._records = records
        found = records.read(RAN, limit=KEPT_RAN, newest=True)
        self._known = {(record["queue"], record["job"], record["start_s"]) for _, _, record in found}
        self._own: dict[tuple[str, str], float] = {}
        self.ended = {(r["queue"], r["job"]): _ended(r) for _, _, r in found if r.get("agreed")}

    def see(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """Look at a queue's jobs as just read."""
        terms, fresh, size = jobs.terms, 0, gpu_s(jobs)
        projects = jobs.projects or [""] * len(jobs)
        for i in np.flatnonzero((jobs.state == JobState.PENDING) & (terms.noted == 0)).tolist():
            begin_s = float(terms.begin_s[i])
            self._own[queue, jobs.ids[i]] = begin_s if begin_s > jobs.submit_s[i] else float(jobs.submit_s[i])
        ended = (jobs.state >= JobState.COMPLETED) & (jobs.end_s > jobs.start_s) & (jobs.gpus > 0)
        for i in np.flatnonzero(ended).tolist():
            key = (queue, jobs.ids[i], float(jobs.start_s[i]))
            if key in self._known:
                continue
            self._known.add(key)
            own_s = self._own.pop((queue, jobs.ids[i]), float(jobs.submit_s[i]))
            limit_s = float(jobs.lasts_s[i])
            data_bytes = float(terms.data_bytes[i])
            record = {"queue": queue, "job": jobs.ids[i], "own_s": min(own_s, key[2]), "start_s": key[2],
                      "end_s": float(jobs.end_s[i]), "gpus": int(jobs.gpus[i]), "partition": jobs.partitions[i],
                      "limit_s": None if math.isnan(limit_s) else limit_s,
                      "data_bytes": 0.0 if math.isnan(data_bytes) else data_bytes, "user": jobs.users[i],
                      "project": projects[i], "agreed": bool(jobs.deferrable[i]), "gpu_s": float(size[i]),
                      "submit_s": None if math.isnan(jobs.submit_s[i]) else float(jobs.submit_s[i])}  # fmt: skip
            self._records.append(RAN, now, record)
            fresh += 1
            if record["agreed"]:
                self.ended[queue, jobs.ids[i]] = _ended(record)
        if fresh:
            self._records.trim(RAN, KEPT_RAN)
        listed = set(jobs.ids)  # one that was cancelled while it waited never ends
        self._own = {key: own_s for key, own_s in self._own.items() if key[0] != queue or key[1] in listed}
        since_s = (now - MEMORY).timestamp()
        recent = [(key, one) for key, one in self.ended.items() if one.submit_s >= since_s]
        self.ended = dict(recent[-KEPT_RAN:])
        if len(self._known) > 2 * KEPT_RAN:
            self._known = set(sorted(self._known, key=lambda key: key[2])[-KEPT_RAN:])


def _ended(record: Mapping[str, Any]) -> Ended:
    submit_s = record["own_s"] if record["submit_s"] is None else record["submit_s"]
    return Ended(record["user"], record["project"], submit_s, record["gpu_s"])


def book_jobs(records: Records, queue: str, signal: str, ground: Grounds, now: datetime) -> Sequence[Mapping[str, Any]]:
    """Bring the ledger of one queue up to what ended until ``SETTLED`` ago: an entry for each job that we moved or that started
    at another time because of it. Gives the entries written; calling it again writes nothing twice."""
    since = now - timedelta(days=DAYS)
    rows = [r for _, _, r in records.read(RAN, since, None, KEPT_RAN, newest=True) if r["queue"] == queue]
    have = _booked(records, queue, since)
    settled_s = (now - SETTLED).timestamp()
    due = [i for i, r in enumerate(rows) if r["end_s"] <= settled_s and (r["job"], r["start_s"]) not in have]
    begins = _begins(records, queue, since)
    if not due or not any(r["job"] in begins for r in rows):
        return []
    found = account(_ran(rows, begins, ground), ground)
    entries = []
    for i in due:
        row = rows[i]
        if not (found.change[i] or row["job"] in begins):
            continue
        last = begins.get(row["job"], _NEVER)
        plan, begin_s = last.plan, last.begin_s
        moved = {"home": last.home, "partition": row["partition"]} if last.home not in ("", row.get("partition")) else {}
        if moved:
            moved["would_partition"] = ground.siblings(last.home).get(int(found.would_at[i]), last.home)
        low, high = float(found.low[i]), float(found.high[i])
        entries.append({
            "entry": "job", "queue": queue, "job": row["job"], "plan": plan, "signal": signal, "start_s": row["start_s"],
            "would_s": float(found.would_s[i]), "would_error_s": found.error_s,
            "begin_s": None if math.isnan(begin_s) else begin_s, "change": float(found.change[i]), "low": low, "high": high,
            **moved, "counterfactual": "the queue replayed without our begin times and moves",
            "note": "saved" if high < 0 else "lost" if low > 0 else "cannot be told from noise",
        })  # fmt: skip
    records.append_all(TOPIC, [(now, entry) for entry in entries])
    return entries


def _booked(records: Records, queue: str, since: datetime) -> set[tuple[str, float]]:
    """(job, start) of what is in the ledger; in a release before this one it stood among the plans."""
    both = chain(every(records, TOPIC, since), every(records, PLANS, since))
    return {(r["job"], r["start_s"]) for _, r in both if r["entry"] == "job" and r["queue"] == queue}


@dataclass(frozen=True, slots=True)
class _Last:
    """The last order to a job that was read back: plan, begin time (NaN: none), and the partition that it was moved from."""

    plan: str = ""
    begin_s: float = math.nan
    home: str = ""


_NEVER = _Last()


def _begins(records: Records, queue: str, since: datetime) -> dict[str, _Last]:
    """Job -> the last begin time or move of ours."""
    wanted: dict[tuple[str, str], _Last] = {}
    found: dict[str, _Last] = {}
    for _, record in every(records, AUDIT, since):
        if record.get("queue") != queue or record.get("verb") not in TIMED or "targets" not in record:
            continue
        for i, job in enumerate(record["targets"]):
            home = record["where"][i][0] if "where" in record else ""
            if record["stage"] == "begun":
                # where it was at home is what its first move said
                first = found.get(job, _NEVER).home or home
                wanted[record["plan"], job] = _Last(record["plan"], record["values"][i] or math.nan, first)
            elif record["stage"] == "done" and record["results"][i] in (Result.DONE, Result.SAME):
                found[job] = wanted.get((record["plan"], job), _Last(record["plan"]))
    return found


def _ran(rows: Sequence[Mapping[str, Any]], begins: Mapping[str, _Last], ground: Grounds) -> Ran:
    def column(name: str) -> Floats:
        return np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    gpus = np.array([row["gpus"] for row in rows], dtype=np.int32)
    last = [begins.get(row["job"], _NEVER) for row in rows]
    ids, begin_s = [row["job"] for row in rows], np.array([one.begin_s for one in last])
    place = [ground.at(row.get("partition", "")) for row in rows]
    home = [ground.at(one.home) if one.home else here for one, here in zip(last, place, strict=True)]
    there = [np.array(column, dtype=np.int32) for column in (place, home)]
    data_bytes = np.array([row.get("data_bytes", 0.0) for row in rows])
    # what was moved its scheduler might have started in any of its clusters; of the others it has said where
    may = np.arange(len(ground.gpus)) == there[1][:, None]
    for i, one in enumerate(last):
        if one.home:
            may[i, list(ground.siblings(one.home))] = True
    times = (column("own_s"), begin_s, column("start_s"), column("end_s"), column("limit_s"))
    return Ran(ids, *times, gpus, there[0], there[1], data_bytes, may)
