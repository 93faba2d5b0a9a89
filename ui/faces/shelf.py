"""What pages show of the store and the records, read beside the beat: a slow store delays nobody, and its silence is shown.

Each thing on the shelf is read in its turn while somebody looks at a page that needs it; the page shows how old it is.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool

from twin.errors import SourceError
from ui.view import Live

_log = logging.getLogger(__name__)
Read = Callable[[Live, datetime], Any]


@dataclass
class Kept:
    """``value`` as it was ``read`` (None: never yet); ``failed``: what the last try complained of, "" where it did not."""

    what: Read
    every_s: float
    soon_s: float
    value: Any = None
    read: datetime | None = None
    failed: str = ""
    due_s: float = float("-inf")
    task: asyncio.Task[None] | None = None

    def age_s(self, now: datetime) -> float:
        """How old it is [s], infinite where it was never read; 0 where it was read since ``now``."""
        return max((now - self.read).total_seconds(), 0.0) if self.read else float("inf")

    @property
    def max_age_s(self) -> float:
        """From which age it is stale: three turns missed."""
        return 3 * self.every_s + 5.0


class Shelf:
    """Everything here runs on the server's event loop but the reading itself."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._kept: dict[str, Kept] = {}

    def add(self, name: str, every_s: float, what: Read, soon_s: float = 0.0) -> None:
        """Keep ``what(live, now)`` under ``name``, read every ``every_s`` while it is needed (where given, every ``soon_s``
        while it says that it is ``empty``); the first one counts."""
        self._kept.setdefault(name, Kept(what, every_s, soon_s))

    def __getitem__(self, name: str) -> Kept:
        """What is kept under ``name``."""
        return self._kept[name]

    def look(self, names: Iterable[str], now_s: float) -> None:
        """Begin to read what of ``names`` is due; what is still being read is left alone."""
        for name in names:
            kept = self._kept[name]
            if now_s >= kept.due_s and (kept.task is None or kept.task.done()):
                kept.due_s = now_s + kept.every_s
                kept.task = asyncio.create_task(self._read(name, kept))

    async def first(self, name: str, within_s: float) -> None:
        """Wait until ``name`` was read for the first time, but not for long."""
        task = self._kept[name].task
        if task is not None and not task.done():
            await asyncio.wait({task}, timeout=within_s)

    async def _read(self, name: str, kept: Kept) -> None:
        now = self._live.clock.now()
        try:
            value = await run_in_threadpool(kept.what, self._live, now)
        except SourceError as error:
            if not kept.failed:
                _log.warning("%s cannot be read: %s", name, error)
            kept.failed = str(error)
            return
        kept.value, kept.read, kept.failed = value, now, ""
        if kept.soon_s and value.empty:
            kept.due_s += kept.soon_s - kept.every_s
