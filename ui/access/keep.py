"""What people fill in (users, tokens, views, notes): small tables kept as records, where the newest record of a key counts.

Records are all that the processes of a centre share, so a table is read again from there: what another process, or the command
line, wrote is seen within a second. What is written is never made of what was read a second ago: each change is made of the row
as it stands when it is written, so that nothing which another process took away comes back.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from threading import RLock  # noqa: TID251 - faces speak to it from their own threads; starts no thread
from typing import Any

from twin.errors import SourceError
from twin.ports import Records

Row = dict[str, Any]
Change = Callable[[Row | None], Row | None]
FRESH_S = 1.0
_READ = 10_000  # records of one read
_SLACK = 2000  # records that no longer count, before they are dropped
_TRIES = 50  # of a change, where others keep writing in between


class _Moved(Exception):
    """Somebody wrote since the table was read."""


class Full(ValueError):
    """The table has as many rows as it may have."""


class Table:
    """Rows by key. ``most``: rows that it takes; one more is ``Full``. Errors of the records are ``SourceError``."""

    def __init__(self, records: Records, topic: str, most: int) -> None:
        self._records, self.topic, self.most = records, topic, most
        self._lock = RLock()
        self._rows: dict[str, tuple[int, Row | None]] = {}
        self._last, self._count = 0, 0
        self._newest: Mapping[str, Any] | None = None  # record of the topic, as last read
        self._read_s = float("-inf")

    def due(self, now: datetime) -> bool:
        """Whether ``refresh`` would look."""
        return not 0 <= now.timestamp() - self._read_s < FRESH_S

    def refresh(self, now: datetime) -> None:
        """Take in what others wrote, where that was not asked within a second."""
        with self._lock:
            if not self.due(now):
                return
            self._catch_up()
            self._read_s = now.timestamp()

    def _catch_up(self) -> None:
        """Read what was written since; where the record that was read last is dropped by now, so may be some after it that
        nobody here has seen: then everything is read again."""
        found = self._records.read(self.topic, limit=_READ, after=self._last - 1)
        if self._last and (not found or found[0][0] != self._last):
            known: dict[str, tuple[int, Row | None]] = {}
            self._last, self._count, self._newest = 0, 0, None
            found = self._records.read(self.topic, limit=_READ)
        else:
            known, found = dict(self._rows), found[1:] if self._last else found
        while found:
            for number, _, record in found:
                known[record["key"]] = (number, record["row"])
                self._last, self._newest = number, record
            self._count += len(found)
            found = self._records.read(self.topic, limit=_READ, after=self._last) if len(found) >= _READ - 1 else ()
        self._rows = known

    def get(self, key: str) -> Row | None:
        """The row of ``key`` as last read; None where there is none."""
        return self._rows.get(key, (0, None))[1]

    def rows(self) -> dict[str, Row]:
        """All rows, the oldest change first."""
        with self._lock:
            known = sorted((number, key) for key, (number, row) in self._rows.items() if row is not None)
            return {key: row for _, key in known if (row := self._rows[key][1]) is not None}

    def put(self, key: str, row: Mapping[str, Any], now: datetime) -> None:
        """Keep ``row`` under ``key``, durable on return, whatever stood there. ``Full`` where there is no room for one more."""
        self.edit(key, lambda _: dict(row), now)

    def drop(self, key: str, now: datetime) -> None:
        """Forget ``key``."""
        self.edit(key, lambda _: None, now)

    def edit(self, key: str, change: Change, now: datetime) -> Row | None:
        """Make ``change`` to the row of ``key`` as it stands when this is written (None: there is none); gives the row after
        it. ``change`` may be asked again, where another process wrote meanwhile, and what it raises is raised."""
        with self._lock:
            row = self._edit(key, change, now)
            self._tidy(now)
            return row

    def _edit(self, key: str, change: Change, now: datetime, *, anew: bool = False) -> Row | None:
        for _ in range(_TRIES):
            self._catch_up()
            old = self.get(key)
            new = change(old)
            if new == old and not anew:
                return old
            if old is None and new is not None and sum(row is not None for _, row in self._rows.values()) >= self.most:
                raise Full(f"there are {self.most} already; remove some")
            record = json.loads(json.dumps({"key": key, "row": new}))
            try:
                number = self._records.append_next(self.topic, now, partial(self._next, record))
            except _Moved:
                continue
            self._rows[key] = (number, record["row"])
            self._last, self._newest, self._count = number, record, self._count + 1
            return new
        raise SourceError(f"{self.topic}: others write without end; try again")

    def _next(self, record: Row, last: Mapping[str, Any] | None) -> Row:
        if last != self._newest:
            raise _Moved
        return record

    def _tidy(self, now: datetime) -> None:
        """Drop what no longer counts: write down anew what does, then keep that and some more, for others may write
        meanwhile."""
        if self._count <= 4 * len(self.rows()) + _SLACK:
            return
        for key in self.rows():
            self._edit(key, lambda row: row, now, anew=True)  # of one that was taken away meanwhile, that it is gone
        live = self.rows()
        self._records.trim(self.topic, len(live) + _SLACK // 2)
        self._rows = {key: kept for key, kept in self._rows.items() if kept[1] is not None}
        self._count = len(live) + _SLACK // 2
