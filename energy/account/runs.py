"""Which job held which GPUs, from when to when: written down as it happens, read back as columns for an account.

A queue forgets its jobs soon after they end, so each run is noted twice in the records: when it is first seen to run, and when
it is over. A run that vanishes between two looks is over at the second, and marked so. A run that goes on is noted again each
week, as it was: so whoever reads a few weeks of notes finds it, however long ago it began. What an earlier note of a run left
out, as those of releases before did, a later one may say: at the first look what goes on is noted anew.

GPUs are noted by id (``energy.account.named``): a past run belongs to those that it had, wherever the inventory has them now.
Those that it has no more are counted, and stand in no row. Notes of releases before have rows, which are read as they are now.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy.account.named import Names
from energy.notes import PAGE, every
from twin.frame import Floats, Ints
from twin.job import Jobs, JobState
from twin.ports import Records
from twin.site import Bools

TOPIC = "run"
RENEWED = timedelta(days=7)
LONGEST = timedelta(days=35)  # of notes before an interval that are read; more than ``RENEWED``, for queues are away at times
MAX_NOTES = 5_000_000  # in one reading; what lies beyond is an error, never left out
_GOING = (JobState.RUNNING, JobState.SUSPENDED)
_HOW = {state: state.name.lower() for state in JobState}


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Columns over n runs. ``start_s``, ``end_s``: float64[n], s since 1970 UTC (infinity: goes on); ``gpu`` and ``run_of``:
    int32[m], the GPUs that they hold (row in the site's table, position of the run); ``gone``: int32[n], how many each held
    beside these, which the site has no more (None: of none). ``submit_s``: float64[n], NaN where the
    queue did not say (None: of none); ``ends``: how each ended (completed, failed, cancelled; "": goes on, or nobody said);
    ``limit_s``: float64[n], the time asked for, NaN where there is none or it was not noted (None: of none); ``first``:
    bool[n], the job had not run before, and began within what was asked for (None: all); ``jobs``: what tells the jobs apart,
    ids with the queue before them where several queues count theirs (empty: the ids)."""

    ids: Sequence[str]
    users: Sequence[str]
    projects: Sequence[str]
    partitions: Sequence[str]
    start_s: Floats
    end_s: Floats
    gpu: Ints
    run_of: Ints
    submit_s: Floats | None = None
    ends: Sequence[str] = ()
    limit_s: Floats | None = None
    first: Bools | None = None
    gone: Ints | None = None
    jobs: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gpus(self) -> Ints:
        """int32[n]: how many each holds, those with it that the site has no more."""
        return np.bincount(self.run_of, minlength=len(self)).astype(np.int32) + (0 if self.gone is None else self.gone)

    @property
    def wait_s(self) -> Floats:
        """float64[n]: from submission to the first start of the job, where that is within what was asked for; NaN of the others
        (a second start waited for nothing) and where not known."""
        if self.submit_s is None:
            return np.full(len(self), np.nan)
        wait_s = self.start_s - self.submit_s
        return np.where((wait_s >= 0) & (True if self.first is None else self.first), wait_s, np.nan)

    def only(self, kept: Bools, gpus: Bools | None = None) -> "Runs":
        """Those that ``kept`` (bool[n]) names, with what they hold of ``gpus`` (bool[g]; None: all, and what is gone)."""
        where = np.flatnonzero(kept)
        new = np.full(len(self), -1, dtype=np.int32)
        new[where] = np.arange(len(where), dtype=np.int32)
        held = kept[self.run_of] & (True if gpus is None else gpus[self.gpu])

        def some(words: Sequence[str]) -> list[str]:
            return [words[i] for i in where.tolist()] if words else []

        return Runs(
            some(self.ids),
            some(self.users),
            some(self.projects),
            some(self.partitions),
            self.start_s[where],
            self.end_s[where],
            self.gpu[held],
            new[self.run_of[held]],
            None if self.submit_s is None else self.submit_s[where],
            some(self.ends),
            None if self.limit_s is None else self.limit_s[where],
            None if self.first is None else self.first[where],
            None if self.gone is None or gpus is not None else self.gone[where],
            some(self.jobs),
        )


def no_runs() -> Runs:
    """None at all."""
    none, rows = np.empty(0), np.empty(0, dtype=np.int32)
    return Runs((), (), (), (), none, none, rows, rows)


@dataclass
class RunLog:
    """Notes what the queues' jobs show. ``note`` is called after each look; the first call remembers what was open before.
    ``gpus``: ids of the site's, by row."""

    gpus: InitVar[Sequence[str]]
    _names: Names = field(init=False)
    _open: dict[str, dict[str, Any]] = field(default_factory=dict)
    _noted: dict[str, datetime] = field(default_factory=dict)  # when each of them was, last
    _known: bool = False

    def __post_init__(self, gpus: Sequence[str]) -> None:
        self._names = Names(gpus)

    def note(self, records: Records, queues: Mapping[str, Jobs], now: datetime) -> int:
        """Write what began and what ended since the last look; gives how many records that were."""
        if not self._known:
            self._open, self._noted = _open_in(records, now)
            self._known = True
        made = self.news(queues, now)
        if made:
            records.append_all(TOPIC, [(now, record) for record in made])
        return len(made)

    def news(self, queues: Mapping[str, Jobs], now: datetime) -> list[dict[str, Any]]:
        """What began and what ended since the last look, as ``note`` would write it."""
        going: dict[str, dict[str, Any]] = {}
        for queue, jobs in queues.items():
            going |= _going(queue, jobs, self._names)
        ended = {key: (float(now.timestamp()), "") for key in self._open if key not in going and _queue(key) in queues}
        for queue, jobs in queues.items():
            ended |= {key: (end_s, how) for key, end_s, how in _ends(queue, jobs) if key in ended and end_s == end_s}
        made: list[dict[str, Any]] = []
        for key, run in going.items():
            if key not in self._open or "held" not in self._open[key] or now - self._noted[key] >= RENEWED:
                made.append({"entry": "begun", **run})
                self._noted[key] = now
        for key, (end_s, how) in ended.items():
            seen = end_s != now.timestamp()
            made.append({"entry": "ended", "key": key, "end_s": end_s, "end_told": seen, "how": how})
        kept = {key: run for key, run in self._open.items() if key not in ended and key not in going}
        self._open = kept | going
        self._noted = {key: self._noted[key] for key in self._open}
        return made


def _key(queue: str, job: str, start_s: float) -> str:
    return f"{queue}/{job}@{start_s:.0f}"


def _job(key: str) -> str:
    """The job of a run and its queue: queues count their jobs each for itself."""
    return key.rsplit("@", 1)[0]


def _queue(key: str) -> str:
    return _job(key).split("/", 1)[0]


def _told_apart(keys: Iterable[str]) -> list[str]:
    """Jobs of runs with their queue where there are several, which count theirs each for itself; else none: ids tell enough."""
    jobs = [_job(key) for key in keys]
    return jobs if len({_queue(job) for job in jobs}) > 1 else []


def _going(queue: str, jobs: Jobs, names: Names) -> dict[str, dict[str, Any]]:
    found = {}
    held: dict[int, list[int]] = {}
    for row, job in zip(jobs.rows.tolist(), jobs.job_of.tolist(), strict=True):
        held.setdefault(job, []).append(row)
    projects = jobs.projects or [""] * len(jobs)
    for i in np.flatnonzero(np.isin(jobs.state, _GOING) & np.isfinite(jobs.start_s)).tolist():
        key = _key(queue, jobs.ids[i], float(jobs.start_s[i]))
        found[key] = {
            "key": key,
            "job": jobs.ids[i],
            "user": jobs.users[i],
            "project": projects[i],
            "partition": jobs.partitions[i],
            "start_s": float(jobs.start_s[i]),
            "submit_s": float(jobs.submit_s[i]) if np.isfinite(jobs.submit_s[i]) else None,
            "limit_s": float(jobs.limit_s[i]) if np.isfinite(jobs.limit_s[i]) else None,
            "held": names.named(held.get(i, [])),
        }
    return found


def _ends(queue: str, jobs: Jobs) -> Iterable[tuple[str, float, str]]:
    over = np.flatnonzero(~np.isin(jobs.state, (*_GOING, JobState.PENDING)) & np.isfinite(jobs.start_s)).tolist()
    keys = [_key(queue, jobs.ids[i], float(jobs.start_s[i])) for i in over]
    return [(key, float(jobs.end_s[i]), _HOW[jobs.state[i]]) for key, i in zip(keys, over, strict=True)]


def _open_in(records: Records, now: datetime) -> tuple[dict[str, dict[str, Any]], dict[str, datetime]]:
    """Runs that go on, and when each was noted last."""
    begun: dict[str, dict[str, Any]] = {}
    noted: dict[str, datetime] = {}
    for time, record in _noted(records, now - LONGEST):
        if record["entry"] == "begun":
            begun[record["key"]] = {name: value for name, value in record.items() if name != "entry"}
            noted[record["key"]] = time
        elif record["entry"] == "submitted":
            begun.get(record["key"], {})["submit_s"] = record["submit_s"]
        else:
            begun.pop(record["key"], None)
    return begun, noted


def _noted(records: Records, since: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """(time, record) of all notes from ``since`` on. ``ValueError`` where they are over ``MAX_NOTES``."""
    for number, noted in enumerate(every(records, TOPIC, since)):
        if number == MAX_NOTES:
            raise ValueError(f"over {MAX_NOTES} notes of runs since {since}; ask for a shorter interval")
        yield noted


def noted_from(records: Records) -> datetime | None:
    """Since when it is known who held GPUs: the first note there is; None where there is none."""
    return next((time for _, time, _ in records.read(TOPIC, limit=1)), None)


@dataclass
class NotedRuns:
    """What notes of runs say, taken in their order: what each run is, as it was noted first, and how it ended. ``gpus``: ids of
    the site's, by row."""

    gpus: InitVar[Sequence[str]]
    _names: Names = field(init=False)
    _begun: dict[str, dict[str, Any]] = field(default_factory=dict)
    _ends: dict[str, tuple[float, str]] = field(default_factory=dict)
    _rows: dict[str, tuple[Ints, int]] = field(default_factory=dict)  # the GPUs of those that were asked for
    _again: set[str] = field(default_factory=set)  # runs of jobs that had run before
    # Of each job that may run again, its first run and when it ran last [s since 1970; infinity: it does]. One of which it is
    # known how it ended is over: what has its name afterwards is another job.
    _jobs: dict[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self, gpus: Sequence[str]) -> None:
        self._names = Names(gpus)

    def take(self, record: dict[str, Any]) -> None:
        """The next note."""
        key, job = record["key"], _job(record["key"])
        first, _ = self._jobs.get(job, (key, math.inf))
        if record["entry"] == "begun":
            known = self._begun.setdefault(key, record)
            if "held" in record and "held" not in known:
                self._begun[key] = {**record, **known}
                self._rows.pop(key, None)
            self._ends.pop(key, None)  # it had only been out of sight
            self._jobs[job] = first, math.inf
            if first != key:
                self._again.add(key)
        elif record["entry"] == "submitted":
            self._begun.get(key, {})["submit_s"] = record["submit_s"]
        else:
            end_s, how = self._ends[key] = float(record["end_s"]), record.get("how", "")
            if how:
                self._jobs.pop(job, None)
            else:
                self._jobs[job] = first, end_s

    def forget(self, before_s: float) -> None:
        """Runs that ended until then, and of jobs what no note says any more that would be read."""
        for key in [key for key, (end_s, _) in self._ends.items() if end_s <= before_s]:
            del self._ends[key]
            self._begun.pop(key, None)
            self._rows.pop(key, None)
            self._again.discard(key)
        last_s = before_s - LONGEST.total_seconds()
        for job in [job for job, (_, end_s) in self._jobs.items() if end_s < last_s]:
            del self._jobs[job]

    def within(self, start: datetime, end: datetime) -> Runs:
        """Runs that have a part in ``[start, end)``; of those that go on the end is infinity."""
        start_s, end_s, going = start.timestamp(), end.timestamp(), (math.inf, "")
        ends = self._ends
        kept = {key: r for key, r in self._begun.items() if r["start_s"] < end_s and ends.get(key, going)[0] > start_s}
        over = [ends.get(key, going) for key in kept]
        notes, held = kept.values(), [self._rows_of(key) for key in kept]
        rows = [some for some, _ in held]
        return Runs(
            ids=[record["job"] for record in notes],
            users=[record["user"] for record in notes],
            projects=[record["project"] for record in notes],
            partitions=[record["partition"] for record in notes],
            start_s=np.array([record["start_s"] for record in notes], dtype=np.float64),
            end_s=np.array([at_s for at_s, _ in over], dtype=np.float64),
            gpu=np.concatenate([np.empty(0, np.int32), *rows]),
            run_of=np.repeat(np.arange(len(rows), dtype=np.int32), [len(some) for some in rows]),
            submit_s=np.array([record.get("submit_s") for record in notes], dtype=np.float64),  # None becomes NaN
            ends=[how for _, how in over],
            limit_s=np.array([record.get("limit_s") for record in notes], dtype=np.float64),
            first=np.array([key not in self._again and r["start_s"] >= start_s for key, r in kept.items()], dtype=np.bool_),
            gone=np.array([gone for _, gone in held], dtype=np.int32),
            jobs=_told_apart(kept),
        )

    def _rows_of(self, key: str) -> tuple[Ints, int]:
        """(rows, how many the site has no more) of the GPUs of a run."""
        if key not in self._rows:
            note = self._begun[key]
            named = note.get("held")
            self._rows[key] = self._names.rows_by_number(note["gpus"]) if named is None else self._names.rows(named)
        return self._rows[key]


def read_runs(records: Records, start: datetime, end: datetime, gpus: Sequence[str]) -> Runs:
    """Runs that have a part in ``[start, end)``; of those that go on the end is infinity. ``gpus``: the site's ids, by row."""
    told = NotedRuns(gpus)
    for _, record in _noted(records, start - LONGEST):
        told.take(record)
    return told.within(start, end)


class Recent:
    """The runs of the last hours for whoever asks for them again and again: each note is read once. Kept is what has a part in
    what was asked for last and ``SLACK`` before it, or goes on. Used from one thread at a time."""

    SLACK = timedelta(hours=1)  # a clock is set back, or who asked first comes last: neither has all notes read anew

    def __init__(self, records: Records, gpus: Sequence[str]) -> None:
        self._records, self._gpus, self._told, self._after = records, gpus, NotedRuns(gpus), 0
        self._since: datetime | None = None  # what has a part in anything from then on is kept

    def read(self, start: datetime, end: datetime) -> Runs:
        """As ``read_runs``; a ``start`` over ``SLACK`` before the latest that was asked for has all notes read anew."""
        if self._since is None or start < self._since:
            self._told, self._after, self._since = NotedRuns(self._gpus), 0, start - self.SLACK
        self._since = max(self._since, start - self.SLACK)
        since = self._since - LONGEST if self._after == 0 else None
        full, count = True, 0
        while full:
            page = self._records.read(TOPIC, since, limit=PAGE, after=self._after)
            full, count = len(page) == PAGE, count + len(page)
            if count > MAX_NOTES:
                raise ValueError(f"over {MAX_NOTES} notes of runs since {since}; ask for a shorter interval")
            for self._after, _, record in page:
                self._told.take(record)
            self._told.forget(self._since.timestamp())
        return self._told.within(start, end)
