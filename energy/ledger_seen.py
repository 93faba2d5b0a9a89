"""What the ledger of shifted work rests on: each job that was seen to run, and each that has ended, as its queue showed it.

A queue forgets a job minutes after its end, so both are written down as they are seen. One that goes on is noted again each
day: so the newest notes hold all that run, however long ago they began, and the next process knows what the last one saw.
"""

import math
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.notes import MEMORY, every
from energy.waiting import Ended, gpu_s
from twin.job import Jobs, JobState
from twin.ports import Records

RUNS = "running"  # topic: jobs that were seen to run, ``end_s`` None
# Topic: runs that have ended; ``end_s`` None: nobody saw it end, it was gone when it was looked for; ``again``: its job is not
# over, but paused or to begin anew, and ``end_s`` is when that was seen.
RAN = "ran"
KEPT = 50_000  # of each topic: a week of a centre that runs 50,000 jobs in one
RENEWED = timedelta(days=1)
_EVER = datetime.fromtimestamp(0, UTC)
Note = Mapping[str, Any]
Run = tuple[str, str, float]  # queue, job, start [s since 1970]


def key_of(note: Note) -> Run:
    """Which run a note is of: a job that was paused has several."""
    return note["queue"], note["job"], note["start_s"]


class Watcher:
    """Writes down each job of a queue once it runs and once it has ended; knows from the records what it has written before.
    ``ended``: by queue and job, those of the last days whose owners agreed that they may wait, at most as many as are kept."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: set[Run] = set()
        self._gone: set[Run] = set()
        self._own: dict[tuple[str, str], float] = {}
        self._runs: dict[Run, tuple[datetime, Note]] = {}  # what runs, and when that was noted last
        self.ended: dict[tuple[str, str], Ended] = {}
        count, reach = 0, _EVER
        for time, note in every(records, RAN, _EVER):  # no more than are kept
            (self._gone if note["end_s"] is None else self._known).add(key_of(note))
            if note.get("agreed") and not note.get("again"):
                self.ended[note["queue"], note["job"]] = _ended(note)
            if note.get("again"):
                self._own[note["queue"], note["job"]] = time.timestamp()  # what was paused is wanted from then on
            count, reach = count + 1, reach if count else time
        # of what was noted before the oldest end that is kept, the end may be forgotten
        for time, note in every(records, RUNS, reach if count >= KEPT else _EVER):
            if key_of(note) not in self._known and key_of(note) not in self._gone:
                self._runs[key_of(note)] = time, note

    def see(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """Look at a queue's jobs as just read."""
        for i in np.flatnonzero((jobs.state == JobState.PENDING) & (jobs.terms.noted == 0)).tolist():
            begin_s = float(jobs.terms.begin_s[i])
            self._own[queue, jobs.ids[i]] = begin_s if begin_s > jobs.submit_s[i] else float(jobs.submit_s[i])
        held, size = jobs.gpus > 0, gpu_s(jobs)
        going = np.isin(jobs.state, (JobState.RUNNING, JobState.SUSPENDED)) & np.isfinite(jobs.start_s) & held
        over = (jobs.state >= JobState.COMPLETED) & (jobs.end_s > jobs.start_s) & held
        keys = {(queue, jobs.ids[i], float(jobs.start_s[i])): i for i in np.flatnonzero(going | over).tolist()}
        runs, ran = list[Note](), list[Note]()
        for key, i in keys.items():
            if over[i] and key not in self._known:
                ran.append(self._seen_to_end(key, _note(queue, jobs, i, self._own, float(size[i]), now), float(jobs.end_s[i])))
            elif going[i] and (key not in self._runs or now - self._runs[key][0] >= RENEWED):
                known = self._runs.get(key)
                note = known[1] if known else _note(queue, jobs, i, self._own, float(size[i]), now)
                self._runs[key] = now, note
                self._gone.discard(key)  # it had only been out of sight
                runs.append(note)
        state = dict(zip(jobs.ids, jobs.state.tolist(), strict=True))  # one that was cancelled while it waited never ends
        self._own = {key: own_s for key, own_s in self._own.items() if key[0] != queue or key[1] in state}
        ran += self._lost(queue, keys, state, now)
        for topic, notes in ((RUNS, runs), (RAN, ran)):
            if notes:
                self._records.append_all(topic, [(now, note) for note in notes])
                self._records.trim(topic, KEPT)
        self._forget(now)

    def _seen_to_end(self, key: Run, note: dict[str, Any], end_s: float) -> Note:
        """The note of a job that is over."""
        _, begun = self._runs.pop(key, (None, None))
        if begun is not None:  # what its owner wanted was known when it began, and may be forgotten by now
            note |= {"own_s": begun["own_s"], "seen_s": begun["seen_s"]}
        self._known.add(key)
        self._own.pop(key[:2], None)
        note["end_s"] = end_s
        if note["agreed"]:
            self.ended[key[:2]] = _ended(note)
        return note

    def _lost(self, queue: str, keys: Container[Run], state: Mapping[str, int], now: datetime) -> Iterator[Note]:
        """What ran and does no more, and was not seen to end: one that still waits or runs was paused, or begun anew."""
        gone = [(key, note) for key, (_, note) in self._runs.items() if key[0] == queue and key not in keys]
        for key, note in gone:
            if state.get(key[1], JobState.PENDING) < JobState.COMPLETED:  # else it is over, and will say since when
                again = key[1] in state
                (self._known if again else self._gone).add(key)
                del self._runs[key]
                if again:
                    self._own[key[:2]] = now.timestamp()
                yield {**note, "again": again, "end_s": now.timestamp() if again else None}

    def _forget(self, now: datetime) -> None:
        since_s = (now - MEMORY).timestamp()
        recent = [(key, one) for key, one in self.ended.items() if one.submit_s >= since_s]
        self.ended = dict(recent[-KEPT:])
        self._known, self._gone = _newest(self._known), _newest(self._gone)


def _note(queue: str, jobs: Jobs, i: int, own: Mapping[tuple[str, str], float], size: float, now: datetime) -> dict[str, Any]:
    start_s, data_bytes = float(jobs.start_s[i]), float(jobs.terms.data_bytes[i])
    own_s = own.get((queue, jobs.ids[i]), float(jobs.submit_s[i]))
    return {
        "queue": queue, "job": jobs.ids[i], "own_s": float(np.fmin(own_s, start_s)), "start_s": start_s, "end_s": None,
        "gpus": int(jobs.gpus[i]), "partition": jobs.partitions[i], "limit_s": _known(float(jobs.lasts_s[i])),
        "data_bytes": 0.0 if math.isnan(data_bytes) else data_bytes, "user": jobs.users[i],
        "project": jobs.projects[i] if jobs.projects else "", "agreed": bool(jobs.deferrable[i]), "gpu_s": size,
        "submit_s": _known(float(jobs.submit_s[i])), "seen_s": now.timestamp(),
    }  # fmt: skip


def _newest(keys: set[Run]) -> set[Run]:
    return set(sorted(keys, key=lambda key: key[2])[-KEPT:]) if len(keys) > 2 * KEPT else keys


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _ended(note: Note) -> Ended:
    submit_s = note["own_s"] if note["submit_s"] is None else note["submit_s"]
    return Ended(note["user"], note["project"], submit_s, note["gpu_s"])
