"""The embedded store: SQLite files in one folder. A journal makes appends durable, compaction turns it into compressed
columns by asset and into rollups of minutes and hours, retention drops whole files.

    store.db             names, what was compacted, the newest value of everything
    journal-….db         appends of about the last ten minutes, see ``journal``
    raw-20261120.db      values of a day, see ``parts``
    minute-20261120.db   rollups of a day; hour-….db: rollups of 28 days, see ``rollups``

One process writes; any number read. What a frame says of its ``source`` and when it was ``issued`` is not kept.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock  # noqa: TID251 - guards what append, series and maintain share; starts no thread
from typing import TypeVar

import numpy as np

from ingest.stores.embedded import files, latest
from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.compact import WAIT, WINDOW, Compaction
from ingest.stores.embedded.files import HOUR, HOURS, MICRO, MINUTE, RAW, Vanished, journal_path, told
from ingest.stores.embedded.hot import LEAST_ROWS, Hot
from ingest.stores.embedded.index import Index, Newest, nothing
from ingest.stores.embedded.journal import Item, Journal, Loader, Ring, Taken, is_taken
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.query import Query, Question, Snapshot, hot_answer
from ingest.stores.embedded.retention import USUAL, Retention, enforce
from ingest.stores.errors import LeftOut, StoreError
from twin.errors import ConfigError, Problem
from twin.frame import Frame, Ints, Origin
from twin.metrics import metric
from twin.ports import How, Series
from twin.site import Site
from twin.times import micros, moment

__all__ = ["Retention", "SegmentStore", "open_store"]

_T = TypeVar("_T")
HOT_BYTES = 320 * 2**20  # about what waits of 10,000 GPUs with 14 values a second, as narrow as it is kept
HOT_AGE = 15 * 60 * MICRO
GRACE = 30 * MICRO  # how long a window is waited for after its end
PORTION = 4_000_000  # values that one call of ``maintain`` compacts: a fifth of a second, as polls wait for the processor too
TRIES = 20  # of a query whose data keeps moving under it


class SegmentStore:
    """``twin.ports.Store`` in a folder. ``append``, ``series`` and ``maintain`` may be called from different threads."""

    def __init__(self, folder: Path, site: Site, readonly: bool, retention: Retention, hot_bytes: int) -> None:
        self._folder = folder
        self._site = site
        self._retention = retention
        self._lock = Lock()  # the fields below, for moments only
        self._appending = Lock()
        self._maintaining = Lock()
        self._refreshing = Lock()
        self._ring = Ring(hot_bytes)
        self._hot = Hot()
        self._work: Iterator[int] | None = None
        self._looked = self._dropped = -(2**62)  # up to when a run was looked for, and when retention was last seen to
        self._compaction: Compaction | None = None
        self._failed = False  # the last run
        self._loaded = False  # what the book and the journals said
        self._held = None if readonly else files.only_writer(folder)
        self._journal: Journal | None = None
        try:
            self._index = Index(folder, readonly)
            self._names_index = Index(folder, readonly)  # a connection of its own: names are made while a run is noted
            self._names = Names(self._names_index.con, site)
            self._run, self._runs = 0, list[Taken]()
            self._pending: dict[Group, list[Item]] = {}
            self._floor = self._oldest = self._seq = 0
            if not readonly:
                self._reload()  # a reader does so when it is asked
            if not readonly:
                numbers = files.journal_numbers(folder)
                self._journal = Journal(folder, self._names, self._seq, numbers[-1] if numbers else 1)
        except BaseException:
            if self._held is not None:
                os.close(self._held)
            raise

    def append(self, frames: Sequence[Frame]) -> None:
        """See ``twin.ports.Store``. Raises ``StoreError`` where the disk says no: nothing of ``frames`` is kept then, and a
        later append works as soon as there is room; ``LeftOut`` for values older than all that is kept; ``KeyError`` and
        ``ValueError`` for a metric or row that does not exist."""
        journal = self._writing()
        with self._appending:
            with told(self._index.path):
                placed = self._names.place(frames)
            if not placed:
                return
            items = journal.append(placed)
            with self._lock:
                for item in items:
                    self._pending.setdefault(item.group, []).append(item)
                self._ring.add(items)
            self._hot.touch((item.group, item.time) for item in items)
        if lost := sum(item.size * len(item.metrics) for item in items if item.time < self._oldest):
            raise LeftOut(f"store {self._folder}: {lost} values are older than [store] hour_days and not kept", lost)

    @property
    def raw_from(self) -> datetime | None:
        """See ``ingest.stores.kept.Kept``."""
        self._current()
        return moment(self._floor) if self._floor > 0 else None

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
        include_bad: bool = False,
    ) -> Series:
        """See ``twin.ports.Store``. As stored, there is a time wherever any metric and asset asked for has a value; in
        steps, every step is there. ``include_bad`` lets bad values count too (and is slower: rollups leave them out).
        ``ValueError`` where the answer would be too large, with what to ask instead."""
        for name in metrics:
            metric(kind, name)
        step = None if step_s is None else round(step_s * MICRO)
        if step is not None and step <= 0:
            raise ValueError(f"a step of {step_s} s; use a positive number of seconds, or None for values as stored")
        rows = self._site.all_rows(kind) if rows is None else np.asarray(rows, dtype=np.int32)
        group = Group(kind, origin.value, band)
        asked = Question(group, list(metrics), rows, micros(start), micros(end), step, how, include_bad)
        if step is not None and step % MINUTE == 0 and not include_bad and len(rows) >= LEAST_ROWS:
            return self._steadily(lambda: hot_answer(self._hot, asked, self._ask))
        return self._steadily(lambda: self._ask(asked))

    def marked(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, rows: Ints, origin: Origin, band: str
    ) -> Series:
        """See ``ingest.stores.kept.Kept``."""
        group = Group(kind, origin.value, band)
        asked = Question(group, list(metrics), rows, micros(start), micros(end), None, How.MEAN, include_bad=True, marks=True)
        return self._steadily(lambda: self._ask(asked))

    def _ask(self, question: Question) -> Series:
        return Query(self._folder, self._names, self._snapshot(question.group), question).answer()

    def latest(self, since: datetime) -> Sequence[Frame]:
        """See ``twin.ports.Store``; forecasts are left out, as the live state leaves them out."""
        return self._steadily(lambda: self._latest(micros(since)))

    def _latest(self, since: int) -> list[Frame]:
        codec, loader = Codec(), Loader(self._folder, self._names)
        try:
            with told(self._index.path):
                known: dict[tuple[Group, str], Newest] = {
                    (group, name): Newest.unpacked(codec, blob) for group, name, blob in self._index.newest()
                }
            with self._lock:
                items = [item for some in self._pending.values() for item in some if item.time >= since]
            latest.with_waiting(known, self._names, loader, items, nothing())
            return list(latest.frames(known, self._names, self._site, since))
        finally:
            loader.close()

    def maintain(self, now: datetime) -> None:
        """See ``twin.ports.Store``. A run is due once a window of ten minutes is over; one call does about ``PORTION`` values
        of it, so call it every few seconds. Raises ``StoreError`` where the disk says no: the run then starts afresh."""
        self._writing()
        with self._maintaining:
            at = micros(now)
            with self._lock:
                self._ring.age(at - HOT_AGE)
            if self._work is None:
                self._drop(at)
                self._begin(at)
            if self._work is not None:
                self._go_on(self._work)

    def size_bytes(self) -> int:
        """See ``twin.ports.Store``."""
        with told(self._folder):
            return files.size_bytes(self._folder)

    def close(self) -> None:
        """See ``twin.ports.Store``. A run that is under way is given up; the next writer starts it again."""
        with self._maintaining, self._appending:
            self._abandon()
            if self._journal is not None:
                self._journal.close()
            self._names_index.close()
            self._index.close()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def _writing(self) -> Journal:
        if self._journal is None:
            raise ConfigError(
                [Problem(str(self._folder), "opened for reading only; append and maintain in the writing process")]
            )
        return self._journal

    def _drop(self, now: int) -> None:
        """Retention, once a minute."""
        if now // MINUTE != self._dropped:
            with told(self._folder):
                enforce(self._folder, self._index, self._retention, now)
                floor, self._floor = self._floor, self._index.floor(RAW.name)
                self._oldest = self._index.floor(HOURS.name)
            if self._floor != floor:
                self._hot.clear()
            self._dropped = now // MINUTE

    def _begin(self, now: int) -> None:
        """Start a run if one is due and there is something for it."""
        low = (now - GRACE) // WINDOW * WINDOW
        before = self._runs[-1] if self._runs else None
        # what was done under a clock that ran ahead does not hold up what is done by the right one
        if any(low <= one <= now for one in (self._looked, *([before.low] if before else ()))):
            return
        with self._appending:
            journal = self._writing()
            taken = Taken(journal.seq, low, low + WAIT)
            items = [item for some in self._pending.values() for item in some if is_taken(item, [taken])]
            if not items:
                self._looked = low
                return
            if not self._failed:  # a run that is tried again goes without, lest every try leave a file
                journal.turn()
        self._compaction = Compaction(self._folder, self._names, self._index, items, taken, (self._run, before))
        self._work = self._compaction.work()

    def _go_on(self, work: Iterator[int]) -> None:
        done = 0
        try:
            for values in work:
                done += values
                if done >= PORTION:
                    return
        except BaseException:
            self._failed = True
            self._abandon()
            raise
        self._failed = False
        self._finish()

    def _finish(self) -> None:
        """The run counts: forget what it took, delete the journals that hold nothing else."""
        assert self._compaction is not None and self._journal is not None  # noqa: S101, PT018 - set when the run began
        taken, run = self._compaction.taken, self._compaction.run
        self._work = self._compaction = None
        with self._appending:  # so that no item joins a list while it is replaced
            kept = {group: [i for i in some if not is_taken(i, [taken])] for group, some in self._pending.items()}
            with self._lock:
                self._run, self._runs = run, [*self._runs, taken]
                self._pending = {group: some for group, some in kept.items() if some}
                self._ring.keep(lambda item: not is_taken(item, [taken]))
            used = {item.journal for some in self._pending.values() for item in some} | {self._journal.number}
        for number in files.journal_numbers(self._folder):
            if number not in used:
                with told(journal_path(self._folder, number)):
                    files.remove(journal_path(self._folder, number))

    def _abandon(self) -> None:
        if self._compaction is not None:
            self._work.close()  # type: ignore[union-attr]
            self._compaction.close()
        self._work = self._compaction = None

    def _steadily(self, ask: Callable[[], _T]) -> _T:
        """``ask`` once no compaction ended while it was at it: what it saw then belongs together."""
        for _ in range(TRIES):
            try:
                before = self._current()
                answer = ask()
                if self._current() == before:
                    return answer
            except Vanished:
                continue
        raise StoreError(f"store {self._folder}: its data kept moving while it was read; ask again")

    def _current(self) -> int:
        """Number of the last run; a reading process takes over what the writer did since."""
        if self._journal is not None:
            with self._lock:
                return self._run
        with self._refreshing, told(self._index.path):
            if not self._loaded or self._index.last_run() != self._run:
                self._reload()
            else:
                self._load_journals()
            return self._run

    def _snapshot(self, group: Group) -> Snapshot:
        with self._lock:
            open_hour = None
            if self._runs and self._runs[-1].low % HOUR:
                open_hour = self._runs[-1].low // HOUR * HOUR
            return Snapshot(self._run, tuple(self._pending.get(group, ())), open_hour, self._floor)

    def _reload(self) -> None:
        """What the book and the journals say."""
        self._loaded = False
        self._hot.clear()
        with told(self._index.path):
            self._run, self._runs = self._index.runs()
            self._floor, self._oldest = self._index.floor(RAW.name), self._index.floor(HOURS.name)
        self._pending = {}
        self._seq = 0
        self._load_journals()
        self._seq = max([self._seq, *(run.seq for run in self._runs)])
        self._loaded = True

    def _load_journals(self) -> None:
        """Take in the frames that the journals have and we do not know yet."""
        loader = Loader(self._folder, self._names)
        try:
            heads = [(number, loader.heads(number, self._seq)) for number in files.journal_numbers(self._folder)]
        finally:
            loader.close()
        with told(self._index.path):
            self._names.refresh()  # only now: a frame never comes before the names it uses
        found = [item for number, some in heads for item in loader.items(number, some)]
        with self._lock:
            for item in found:
                self._seq = max(self._seq, item.seq)
                if not is_taken(item, self._runs):
                    self._pending.setdefault(item.group, []).append(item)
        if found:
            self._hot.touch((item.group, item.time) for item in found)


def open_store(
    path: Path, site: Site, *, readonly: bool = False, retention: Retention | None = None, hot_bytes: int = HOT_BYTES
) -> SegmentStore:
    """The store in folder ``path`` (made where there is none), bound to ``site``: assets are kept by id, so the site's tables
    may change between two openings. ``hot_bytes`` bounds the values kept in memory.

    ``ConfigError`` where another process writes to it, a later icctwin wrote it, or there is nothing to read; ``StoreError``
    where the disk says no.
    """
    if readonly and not (path / "store.db").exists():
        raise ConfigError([Problem(str(path), "no store here to read; start the process that writes it first")])
    with told(path):
        path.mkdir(parents=True, exist_ok=True)
        return SegmentStore(path, site, readonly, retention or USUAL, hot_bytes)
