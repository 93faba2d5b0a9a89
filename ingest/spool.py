"""Between what arrives and the store: what waits is on disk, so that a store that is away for hours loses nothing.

Each ``put`` is written to the log (``spool_log``) before it returns. Each ``flush`` hands the newest frames to the store, then
some of what waits from before, so that catching up never keeps the present waiting. Past the bound the oldest go, counted.
Where the disk itself refuses, frames wait in memory, within a bound of their own.
"""

import json
import logging
import os
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

from ingest.spool_log import MODE, Span, SpoolLog
from ingest.stores.errors import LeftOut
from twin.errors import SourceError
from twin.frame import Frame

log = logging.getLogger(__name__)

MAX_BYTES = 20 * 10**9  # of the log on disk
MAX_SAMPLES = 20_000_000  # values that wait in memory, 160 MB
CATCH_UP_SAMPLES = 2_000_000  # values from before that one flush hands on
MAX_SPANS = 64  # stretches of the log that wait apart; more are taken as one, and some of it is then said twice


class _Batch(NamedTuple):
    span: Span | None  # where it lies in the log; None: only here
    size: int
    frames: list[Frame]


class Spool:
    """Frames that wait for the store. Any thread may ``put``, one at a time may ``flush``; ``lock`` is held only to pass
    frames on, never while the store works.

    Without a ``disk`` it is a queue in memory. ``waiting``, ``dropped`` and ``stored`` are values, read or not.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Frame]], None],
        lock: AbstractContextManager[object] | None = None,
        max_samples: int = MAX_SAMPLES,
        *,
        disk: SpoolLog | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._append = append
        self._lock = lock or nullcontext()
        self._max, self._max_bytes = max_samples, max_bytes
        self._disk, self._book = disk, disk.folder / "waiting.json" if disk else None
        self._live: deque[_Batch] = deque()
        self._held = 0  # values in ``_live``
        self._behind: deque[Span] = deque()  # what waits from before, on disk only, oldest first
        self._said: str = ""
        self.dropped = self.stored = 0
        self.failing = self.disk_failing = False
        if disk is not None:
            self._behind.extend(self._remembered(disk))

    @property
    def waiting(self) -> int:
        """Values that the store does not have yet."""
        return self._held + self.behind

    @property
    def behind(self) -> int:
        """Of those, the values that wait on disk alone."""
        return sum(span.samples for span in self._behind.copy())  # which another thread may change meanwhile

    def put(self, frames: Sequence[Frame]) -> None:
        """Keep ``frames``: on return they outlive this process, where there is a disk that takes them."""
        if not frames:
            return
        frames = list(frames)
        # every cell counts, read or not: the bound is one of memory
        size = sum(len(frame.rows) * len(frame.values) for frame in frames)
        with self._lock:
            self._live.append(_Batch(self._written(frames), size, frames))
            self._held += size
            self._bound()

    def flush(self) -> bool:
        """Hand what waits to the store, newest first; False where it refused, and then all of it stays for the next time."""
        with self._lock:
            batch, self._live = self._live, deque()
            taken, self._held = self._held, 0
        kept = self._handed(batch, taken) and self._catch_up()
        if self._disk is not None:
            self._bound_disk(self._disk)
            with self._lock:
                self._remember()
        return kept and not self.failing

    def close(self) -> None:
        """Write down what waits; the next start goes on with it."""
        with self._lock:
            for one in self._live:
                if one.span is not None:
                    self._wait(one.span)
            self._held -= sum(one.size for one in self._live if one.span is not None)
            self._live = deque(one for one in self._live if one.span is None)
            self._remember()
            if self._disk is not None:
                self._disk.close()

    def _handed(self, batch: deque[_Batch], size: int) -> bool:
        """Give ``batch`` to the store."""
        if not batch:
            return True
        kept = False
        try:
            kept = self._took([frame for one in batch for frame in one.frames])
        finally:  # also where the fault is ours: what was measured is not lost for it
            if not kept:
                self._put_back(batch)
        self.stored += size if kept else 0
        return kept

    def _took(self, frames: list[Frame]) -> bool:
        """Whether the store takes ``frames``."""
        try:
            self._append(frames)
        except LeftOut as error:
            log.error("%s", error)
            self._drop(error.samples)
            self.stored -= error.samples
        except SourceError as error:
            if not self.failing:
                log.error("the store refuses; what is measured waits %s: %s", "on disk" if self._disk else "in memory", error)
            self.failing = True
            return False
        if self.failing:
            log.warning("the store takes frames again; %d values wait from before", self.behind)
        self.failing = False
        return True

    def _catch_up(self) -> bool:
        """A portion of what waits from before."""
        if self._disk is None:
            return True
        if not self._behind:
            self._disk.rest()
            return True
        span = self._behind[0]
        frames, done = self._disk.read(span, CATCH_UP_SAMPLES)
        if frames and not self._took(frames):
            return False
        with self._lock:
            now = self._behind.popleft()  # it may have grown meanwhile
            rest = max(0, now.samples - done.samples)
            if done.end < now.end:
                self._behind.appendleft(Span(done.end, now.end, rest))
            elif rest:
                self._drop(rest)  # what a failing disk made unreadable
        self.stored += done.samples
        return True

    def _put_back(self, batch: deque[_Batch]) -> None:
        """What is on disk waits there, the rest in memory."""
        with self._lock:
            for one in batch:
                if one.span is not None:
                    self._wait(one.span)
            here = [one for one in batch if one.span is None]
            self._live.extendleft(reversed(here))
            self._held += sum(one.size for one in here)
            self._bound()

    def _written(self, frames: list[Frame]) -> Span | None:
        if self._disk is None:
            return None
        try:
            span = self._disk.write(frames)
        except OSError as error:
            if not self.disk_failing:
                log.error("the spool's disk refuses (%s); frames wait in memory; free space or mend the disk", error.strerror)
            self.disk_failing = True
            return None
        if self.disk_failing:
            log.warning("the spool's disk takes frames again")
        self.disk_failing = False
        return span

    def _bound(self) -> None:
        """What is too much in memory waits on disk alone, or goes."""
        while self._held > self._max and len(self._live) > 1:
            one = self._live.popleft()
            self._held -= one.size
            if one.span is None:
                self._drop(one.size)
            else:
                self._wait(one.span)

    def _bound_disk(self, disk: SpoolLog) -> None:
        """What waits long is packed and outlives the machine; what is too much goes, oldest first."""
        if not self._behind:
            return
        try:
            disk.sync()
            disk.pack()
            while disk.size_bytes() > self._max_bytes:
                bases = disk.bases()
                if len(bases) < 2:
                    return
                with self._lock:
                    self._drop_behind(bases[1])
                    disk.drop_before(bases[1])
        except OSError as error:
            log.error("the spool's disk refuses: %s; free space or mend the disk", error.strerror)

    def _drop_behind(self, number: int) -> None:
        """Give up what waits before ``number``; what is in memory too stays there."""
        while self._behind and self._behind[0].start < number:
            span = self._behind.popleft()
            if span.end <= number or self._disk is None:
                self._drop(span.samples)
                continue
            _, gone = self._disk.read(Span(span.start, number, 0), span.samples)
            self._drop(gone.samples)
            self._behind.appendleft(Span(number, span.end, span.samples - gone.samples))

    def _drop(self, samples: int) -> None:
        if not self.dropped:
            log.error("values are lost; see spool_dropped_count")
        self.dropped += samples

    def _wait(self, span: Span) -> None:
        """``span`` waits on disk; neighbours are one."""
        if self._behind and self._behind[-1].end == span.start:
            last = self._behind.pop()
            span = Span(last.start, span.end, last.samples + span.samples)
        self._behind.append(span)
        while len(self._behind) > MAX_SPANS:
            one, two = self._behind.popleft(), self._behind.popleft()
            self._behind.appendleft(Span(one.start, two.end, one.samples + two.samples))

    # what a start after a crash must know: everything after ``upto``, and the spans, are not in the store

    def _remember(self) -> None:
        disk, book = self._disk, self._book
        if disk is None or book is None:
            return
        spans = [*self._behind, *(one.span for one in self._live if one.span is not None)]
        first = min((span.start for span in spans), default=disk.end)
        upto = min((one.span.start for one in self._live if one.span is not None), default=disk.end)
        said = json.dumps({"upto": upto, "behind": list(self._behind), "dropped": self.dropped})
        if said == self._said:
            return
        try:
            half = book.with_suffix(".tmp")
            half.touch(MODE)
            half.write_text(f"{zlib.crc32(said.encode())} {said}", encoding="utf-8")
            os.replace(half, book)
            disk.drop_before(first)
            self._said = said
        except OSError as error:
            log.error(
                "the spool's disk refuses its book (%s); after a crash some values would be written twice", error.strerror
            )

    def _remembered(self, disk: SpoolLog) -> list[Span]:
        behind: list[Span] = []
        upto = 0
        try:
            checksum, _, said = (self._book or Path()).read_text(encoding="utf-8").partition(" ")
            if checksum == str(zlib.crc32(said.encode())):
                told = json.loads(said)
                upto, self.dropped = told["upto"], told["dropped"]
                behind = [Span(*span) for span in told["behind"]]
        except (OSError, ValueError):
            pass  # without a book all of the log waits: said twice is better than not at all
        first = min(disk.bases())
        kept = [span for span in behind if span.end > first]
        return kept + [span for span in disk.spans(upto) if span.samples]
