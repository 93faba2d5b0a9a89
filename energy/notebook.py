"""The desk's notebook: what it writes down in the topic ``audit``, in order, also while the records refuse it.

What is about to begin is kept before it begins, or not begun at all. What tells how something went or is let go may not hinder
that: where the records refuse it, as on a full disk, it waits in memory and is written before anything else once they take
again. Who dies meanwhile leaves a file behind, which needs no room, so that the next desk knows that notes are missing.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from energy.notes import TOPIC
from twin.errors import SourceError
from twin.ports import Records

log = logging.getLogger(__name__)
MOST_WAITING = 50_000  # notes that wait in memory; with more nothing is let go that could not be told of
MISSING_FILE = "NOTES-MISSING"
Note = tuple[datetime, Mapping[str, Any]]


class Notebook:
    """Of one desk; used from one task at a time."""

    def __init__(self, records: Records, most_count: int = 0, mark: Path | None = None) -> None:
        """``most_count``: how many notes may wait in memory (0: none, for a desk that does not live to write them);
        ``mark``: the file that is there while notes wait. ``missing``: whether a desk before this one died with such notes."""
        self._records, self._most_count, self._mark = records, most_count, mark
        self._waiting = deque[Note]()
        self.missing = self._marked = mark is not None and mark.exists()

    @property
    def waiting_count(self) -> int:
        """Notes that wait in memory."""
        return len(self._waiting)

    def keep(self, notes: Iterable[Note]) -> None:
        """Keep notes of what is about to begin, after all that waits. ``SourceError`` where that cannot be."""
        self._write(self._waiting)
        if kept := list(notes):
            self._records.append_all(TOPIC, kept)

    def tell(self, notes: Iterable[Note]) -> None:
        """Keep notes of what came of it, or that it is let go; they wait in memory where the records refuse them.
        ``SourceError`` where more would wait than may."""
        if not (new := deque(notes)):
            return
        try:
            self._write(self._waiting)
            self._write(new)
        except SourceError as error:
            if len(self._waiting) + len(new) > self._most_count:
                raise
            if not self._waiting:
                log.error("what is let go is written down later, for the records refuse it: %s", error)
                self._make_mark()
            self._waiting += new

    def catch_up(self, settled: bool) -> None:
        """Write what waits; ``settled``: of nothing in force are notes missing. ``SourceError`` where the records still
        refuse."""
        self._write(self._waiting)
        if settled and self._marked:
            self._remove_mark()

    def _write(self, notes: deque[Note]) -> None:
        """One after the other, and each once: those before one that is refused are kept."""
        while notes:
            self._records.append(TOPIC, *notes[0])
            notes.popleft()

    def _make_mark(self) -> None:
        try:
            if self._mark is not None:
                self._mark.touch()
                self._marked = True
        except OSError as error:
            log.error(
                "%s cannot be made (%s): who starts after a crash will not know that notes are missing", self._mark, error
            )

    def _remove_mark(self) -> None:
        try:
            if self._mark is not None:
                self._mark.unlink(missing_ok=True)
                self.missing = self._marked = False
        except OSError as error:
            log.error("%s cannot be removed (%s): the next start will believe that notes are missing", self._mark, error)
