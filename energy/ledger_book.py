"""The books of shifted work: an entry for each job that has ended and that we moved, or that others who were moved held up.

What moving brought is known when a job is over and not before: so it is booked then, whole, and no entry is changed after; what
is booked in a week stays what it was. When and where a job would have started is judged while its neighbours of then are still
known: at its end, or, of one that goes on, when it has run for ``JUDGED_AFTER``. That is written down, and only its price waits
for its end. A moved job that nobody saw end has an entry that says so, and no figure.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np

from energy.ledger import TOPIC as PLANS
from energy.ledger_away import Away, away_of
from energy.ledger_jobs import Costs, Grounds, Judged, Ran, judged, priced
from energy.ledger_orders import NEVER, Last, LastOrders
from energy.ledger_seen import KEPT, RAN, RENEWED, RUNS, Note, Run, key_of
from energy.notes import every
from twin.frame import Floats, Ints
from twin.ports import Records

TOPIC = "ledger-jobs"
OPEN = "ledger-open"  # topic: moved jobs that go on, and when and where they would have started
LOOKS = "ledger-looks"  # topic: when each queue was looked at last
KEPT_LOOKS = 100
DAYS = 2  # that are replayed: what ended before has no more part in today's queue
SETTLED = timedelta(minutes=10)  # after its end a job is booked: then its neighbours are known too
JUDGED_AFTER = timedelta(hours=20)  # of a run: a day's wait before it and a missed look still lie within ``DAYS``
RENEWING = RENEWED + timedelta(hours=6)  # what runs was noted since; a note that is older is of what was not looked at
LATE = timedelta(seconds=5)  # by our clock an order may be read back when by the scheduler's its job has begun already
ASKED = timedelta(days=7)  # after an order or the time that it said, a job that still waits is one of ours
LONGEST = timedelta(days=35)  # that a job may run which we moved and have not judged, as ``account.runs`` has it
COUNTERFACTUAL = "the queue replayed without our begin times and moves"
UNSEEN = "its end was not seen"


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """What a look at one queue found. ``rows``: runs that ended and that go on, as they are replayed; ``told``: what each was
    told last; ``ends``: positions of those that are to be booked and were not judged before, ``goes_on``: of those to be judged
    now; ``settled``: runs that were judged and have ended; ``lost``: nobody saw them end, ``unseen``: of these, moved and not
    booked so. ``since``: from when on the signal must be known."""

    queue: str
    now: datetime
    rows: Sequence[Note]
    told: Sequence[Last]
    ends: Ints
    goes_on: Ints
    settled: Sequence[Note]
    lost: Sequence[Note]
    unseen: Sequence[Note]
    since: datetime


class JobBook:
    """The books of all queues, as one process keeps them. What it knows it has from the records, and so has the next one."""

    def __init__(self, records: Records) -> None:
        self._records, self._told = records, LastOrders(records)
        self._open: dict[Run, Note] = {}
        self._looked: dict[str, datetime] = {}
        self._known = False

    def look(self, queue: str, now: datetime) -> Due:
        """What of ``queue``, which was heard since the last look, is to be booked."""
        self._recall()
        if self._looked.get(queue, now) > now:  # the clock was set back since: what came in between is as good as not looked at
            del self._looked[queue]
        window = now - timedelta(days=DAYS)
        # where nothing could be booked for days, from when it last could
        since = min(window, self._looked.get(queue, window) - SETTLED)
        rows, lost = self._seen(queue, since, now)
        booked = _booked(self._records, queue, since)
        rows = _continued(rows, booked)
        self._told.hear(self._asked_since([*rows, *lost], now))
        settled_s, old_s = ((now - ago).timestamp() for ago in (SETTLED, JUDGED_AFTER))
        ends, goes_on, closed, since_s = list[int](), list[int](), list[Note](), [now.timestamp()]
        for i, row in enumerate(rows):
            over, known = row["end_s"] is not None and row["end_s"] <= settled_s, self._open.get(key_of(row))
            if booked.get(key_of(row), {}).get("entry") == "job":
                continue
            if over and known is not None:
                closed.append(row)
                since_s.append(known["would_s"])
            elif over and self._is_fresh(row):
                ends.append(i)
                since_s.append(row["own_s"])
            elif self._is_fresh(row) and row["start_s"] <= old_s:
                goes_on.append(i)
        unseen = [r for r in lost if key_of(r) not in booked and self._ours(r) is not NEVER]
        at_end, at_once = (np.array(some, dtype=np.int32) for some in (ends, goes_on))
        told = [self._told_of(row) for row in rows]
        return Due(queue, now, rows, told, at_end, at_once, closed, lost, unseen, _moment(min(since_s)))

    def enter(self, due: Due, signal: str, ground: Grounds) -> Sequence[Note]:
        """Book what is due, by the signal of that name; gives the entries written."""
        entries = [*self._settle(due, signal, ground), *(_unseen(row, self._ours(row)) for row in due.unseen)]
        ours = any(one is not NEVER for one in due.told) or any(key_of(row) in self._open for row in due.rows)
        opened = list[Note]()
        if ours and len(due.ends) + len(due.goes_on):
            ran = self._replayable(due, ground)
            found = judged(ran, ground.gpus, self._away(due, ground))
            costs, moved = priced(ran.only(due.ends), found.only(due.ends), ground), found.moved(ran)
            for k, i in enumerate(due.ends.tolist()):
                if costs.change[k] or due.told[i] is not NEVER:
                    entries.append(_entry(due.rows[i], due.told[i], signal, ground, found, costs, (i, k)))
            ours_now = (i for i in due.goes_on.tolist() if moved[i] or due.told[i] is not NEVER)
            opened = [_opened(due.rows[i], due.told[i], ground, found, i) for i in ours_now]
        self._keep(due, entries, opened)
        return entries

    def _keep(self, due: Due, entries: Sequence[Note], opened: Sequence[Note]) -> None:
        """Write it down, the look last: what was looked at and not entered would be entered never."""
        for topic, notes, most in ((OPEN, opened, KEPT), (TOPIC, entries, 0), (LOOKS, [{"queue": due.queue}], KEPT_LOOKS)):
            if notes:
                self._records.append_all(topic, [(due.now, one) for one in notes])
            if notes and most:
                self._records.trim(topic, most)
        self._looked[due.queue] = due.now
        self._open |= {key_of(one): one for one in opened}
        over = {key_of(one) for one in (*entries, *due.lost)}
        self._open = {key: one for key, one in self._open.items() if key not in over}
        runs = {row["job"] for row in (*due.rows, *due.lost)}
        self._told.forget(due.queue, runs, due.now, ASKED)

    # what is known

    def _recall(self) -> None:
        """What the process before wrote."""
        if not self._known:
            self._open = {key_of(one): one for _, _, one in self._records.read(OPEN, limit=KEPT, newest=True)}
            self._looked = {r["queue"]: time for _, time, r in self._records.read(LOOKS, limit=KEPT_LOOKS, newest=True)}
            self._known = True

    def _seen(self, queue: str, since: datetime, now: datetime) -> tuple[list[Note], list[Note]]:
        """Runs that ended since ``since`` and that go on; and runs that are gone, and nobody saw them end."""
        over = {key_of(r): (t, r) for _, t, r in self._records.read(RAN, since, None, KEPT, newest=True) if r["queue"] == queue}
        runs = self._records.read(RUNS, now - RENEWING, None, KEPT, newest=True)
        going = {key_of(r): r for _, time, r in runs if r["queue"] == queue and _goes_on(over.get(key_of(r)), time)}
        lost: list[Note] = [r for key, (_, r) in over.items() if r["end_s"] is None and not r["again"] and key not in going]
        return [*(r for _, r in over.values() if r["end_s"] is not None), *going.values()], lost

    def _asked_since(self, notes: Sequence[Note], now: datetime) -> datetime:
        """From when on the audit may speak of ``notes``, or of what still waits: nobody was told anything before it was
        there."""
        since_s = (now - timedelta(days=DAYS)).timestamp()
        new = [r for r in notes if key_of(r) not in self._open and (r["start_s"] >= since_s or self._is_fresh(r))]
        came_s = (r["own_s"] if r.get("submit_s") is None else r["submit_s"] for r in new)
        return max(min([now - ASKED, *map(_moment, came_s)]), now - LONGEST)

    def _is_fresh(self, note: Note) -> bool:
        """Whether a run was not judged at a look before: it was not there yet, or had not run for long enough."""
        looked = self._looked.get(note["queue"])
        judged_s = max(note.get("seen_s", -math.inf), note["start_s"] + JUDGED_AFTER.total_seconds())
        return key_of(note) not in self._open and (looked is None or judged_s > looked.timestamp())

    def _told_of(self, note: Note) -> Last:
        """What it was told last; of a run that was not its job's last, what it had been told when it began."""
        by = _moment(note["start_s"]) + LATE if note.get("again") else None
        return self._told.of(note["queue"], note["job"], by)

    def _ours(self, note: Note) -> Last:
        """What a run was told last, also where that was long ago."""
        one = self._open.get(key_of(note))
        if one is None:
            return self._told_of(note)
        return Last(one["plan"], math.nan if one["begin_s"] is None else one["begin_s"], one["home"])

    # what comes of it

    def _settle(self, due: Due, signal: str, ground: Grounds) -> list[Note]:
        """Entries of runs that were judged while they went on, by what was written down then."""
        if not due.settled:
            return []
        rows, books = due.settled, [self._open[key_of(row)] for row in due.settled]
        lasts = [self._ours(row) for row in rows]
        ran = _ran(rows, lasts, ground, due.now)
        either = np.zeros((len(rows), len(ground.gpus)), dtype=np.bool_)
        for k, one in enumerate(books):
            either[k, [ground.at(name) for name in one["either"]]] = True
        would_at = np.array([ground.at(one["would_partition"]) for one in books], dtype=np.int32)
        would_s, error_s = (np.array([one[name] for one in books], dtype=np.float64) for name in ("would_s", "would_error_s"))
        found = Judged(would_s, would_at, either, error_s)
        costs = priced(ran, found, ground)
        return [_entry(row, lasts[k], signal, ground, found, costs, (k, k)) for k, row in enumerate(rows)]

    def _away(self, due: Due, ground: Grounds) -> Away:
        """What had no room for jobs in the days that are replayed."""
        since, last = due.now - timedelta(days=DAYS), len(ground.gpus) - 1

        def at(partitions: Sequence[str]) -> int:
            return next((ground.partitions[name] for name in partitions if name in ground.partitions), last)

        return away_of(self._records, due.queue, at, len(ground.gpus), since, due.now)

    def _replayable(self, due: Due, ground: Grounds) -> Ran:
        """The runs as they are replayed: what was judged before stands as it was, and so does what began before the days that
        are replayed, which nobody moved."""
        ran = _ran(due.rows, due.told, ground, due.now)
        since_s = (due.now - timedelta(days=DAYS)).timestamp()
        for i, row in enumerate(due.rows):
            known = self._open.get(key_of(row))
            if known is not None:
                ran.own_s[i], ran.begin_s[i] = min(known["would_s"], row["start_s"]), row["start_s"]
                ran.home[i] = ground.at(known["would_partition"])
                ran.may[i] = np.arange(len(ground.gpus)) == ran.home[i]
            elif row["start_s"] < since_s and due.told[i] is NEVER:
                ran.own_s[i] = row["start_s"]
            ran.fixed[i] = known is not None or row["start_s"] < since_s
            if row["end_s"] is None and known is None and due.told[i] is NEVER:
                ran.end_s[i] = due.now.timestamp()  # when it ends is not known, and no signal of then
        return ran


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)


def _goes_on(over: tuple[datetime, Note] | None, noted: datetime) -> bool:
    """Whether a run goes on that was ``noted``: it is not over, or was only out of sight before."""
    return over is None or (over[1]["end_s"] is None and over[0] < noted)


def _booked(records: Records, queue: str, since: datetime) -> dict[Run, Note]:
    """What is in the ledger; in a release before this one it stood among the plans."""
    both = chain(every(records, TOPIC, since), every(records, PLANS, since))
    return {key_of(r): r for _, r in both if r["entry"] in ("job", "unseen") and r["queue"] == queue}


def _continued(rows: Sequence[Note], booked: Mapping[Run, Note]) -> list[Note]:
    """``rows``, of which what goes on with a job that was paused would have gone on when the run before it would have ended."""
    over: dict[tuple[str, str], list[Note]] = defaultdict(list)
    for (queue, job, _), entry in sorted(booked.items(), key=lambda one: one[0]):
        if entry["entry"] == "job":
            over[queue, job].append(entry)

    def own_s(row: Note) -> float:
        before = [one for one in over.get((row["queue"], row["job"]), ()) if one["start_s"] < row["start_s"]]
        went_on_s = (one["would_s"] + one["end_s"] - one["start_s"] for one in before[-1:])
        return float(min([row["own_s"], *went_on_s]))

    return [{**row, "own_s": own_s(row)} for row in rows]


def _ran(rows: Sequence[Note], told: Sequence[Last], ground: Grounds, now: datetime) -> Ran:
    """Rows as columns. One that goes on lasts as long as it may: who has ended by now did not see its end, nor would have, had
    it begun sooner."""

    def column(name: str) -> Floats:
        return np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    start_s, end_s, limit_s = (column(name) for name in ("start_s", "end_s", "limit_s"))
    lasts_s = np.where(np.isnan(limit_s), now.timestamp() - start_s + LONGEST.total_seconds(), limit_s)
    end_s = np.where(np.isnan(end_s), np.maximum(start_s + lasts_s, now.timestamp()), end_s)
    own_s, begin_s = np.fmax(column("own_s"), [one.own_s for one in told]), np.array([one.begin_s for one in told])
    gpus = np.array([row["gpus"] for row in rows], dtype=np.int32)
    here = [ground.at(row.get("partition", "")) for row in rows]
    home = [ground.at(one.home) if one.home else at for one, at in zip(told, here, strict=True)]
    place, at_home = (np.array(one, dtype=np.int32) for one in (here, home))
    data_bytes = np.array([row.get("data_bytes", 0.0) for row in rows])
    # what was moved its scheduler might have started in any of its clusters; of the others it has said where
    may = np.arange(len(ground.gpus)) == at_home[:, None]
    for i, one in enumerate(told):
        if one.home:
            may[i, list(ground.siblings(one.home))] = True
    times = (np.minimum(own_s, start_s), begin_s, start_s, end_s, limit_s)
    return Ran([row["job"] for row in rows], *times, gpus, place, at_home, data_bytes, may)


def _entry(
    row: Note, last: Last, signal: str, ground: Grounds, found: Judged, costs: Costs, at: tuple[int, int]
) -> dict[str, Any]:
    """What is booked of one run; ``at``: its positions in ``found`` and in ``costs``."""
    (i, k), would_s = at, found.would_s
    low, high = float(costs.low[k]), float(costs.high[k])
    return {
        "entry": "job", **_head(row, last), "signal": signal, "end_s": row["end_s"], "would_s": float(would_s[i]),
        "would_error_s": float(found.error_s[i]), "change": float(costs.change[k]), "low": low, "high": high,
        **_went(row, last, ground, int(found.would_at[i])), "counterfactual": COUNTERFACTUAL,
        "note": "saved" if high < 0 else "lost" if low > 0 else "cannot be told from noise",
    }  # fmt: skip


def _opened(row: Note, last: Last, ground: Grounds, found: Judged, i: int) -> dict[str, Any]:
    """What is written down of a run that goes on."""
    home = last.home or row["partition"]
    names = ground.siblings(home)
    would = names.get(int(found.would_at[i]), home)
    either = [names[p] for p in np.flatnonzero(found.either[i]).tolist() if p in names]
    told = {"would_s": float(found.would_s[i]), "would_error_s": float(found.error_s[i]), "would_partition": would}
    return {"entry": "open", **_head(row, last), "home": last.home, **told, "either": either}


def _unseen(row: Note, last: Last) -> dict[str, Any]:
    return {"entry": "unseen", **_head(row, last), "note": UNSEEN}


def _head(row: Note, last: Last) -> dict[str, Any]:
    begin_s = None if math.isnan(last.begin_s) else last.begin_s
    return {"queue": row["queue"], "job": row["job"], "plan": last.plan, "start_s": row["start_s"], "begin_s": begin_s}


def _went(row: Note, last: Last, ground: Grounds, would_at: int) -> dict[str, str]:
    """From where to where a run was moved that is not at home."""
    if last.home in ("", row.get("partition")):
        return {}
    would = ground.siblings(last.home).get(would_at, last.home)
    return {"home": last.home, "partition": row["partition"], "would_partition": would}
