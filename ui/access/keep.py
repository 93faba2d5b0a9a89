"""What people fill in (users, tokens, views, notes): small tables kept as records, where the newest record of a key counts.

Records are all that the processes of a centre share, so a table is read again from there: what another process, or the command
line, wrote is seen within a second.
"""

from collections.abc import Mapping
from datetime import datetime
from threading import RLock  # noqa: TID251 - faces speak to it from their own threads; starts no thread
from typing import Any

from twin.ports import Records

Row = dict[str, Any]
FRESH_S = 1.0
_READ = 10_000  # records of one read
_SLACK = 2000  # records that no longer count, before they are dropped


class Full(ValueError):
    """The table has as many rows as it may have."""


class Table:
    """Rows by key. ``most``: rows that it takes; one more is ``Full``. Errors of the records are ``SourceError``."""

    def __init__(self, records: Records, topic: str, most: int) -> None:
        self._records, self.topic, self.most = records, topic, most
        self._lock = RLock()
        self._rows: dict[str, tuple[int, Row | None]] = {}
        self._last, self._count = 0, 0
        self._read_s = float("-inf")

    def due(self, now: datetime) -> bool:
        """Whether ``refresh`` would look."""
        return not 0 <= now.timestamp() - self._read_s < FRESH_S

    def refresh(self, now: datetime) -> None:
        """Take in what others wrote, where that was not asked within a second."""
        with self._lock:
            if not self.due(now):
                return
            while found := self._records.read(self.topic, limit=_READ, after=self._last):
                for number, _, record in found:
                    self._take(number, record)
            self._read_s = now.timestamp()

    def _take(self, number: int, record: Mapping[str, Any]) -> None:
        if number > self._rows.get(record["key"], (0, None))[0]:
            self._rows[record["key"]] = (number, record["row"])
            self._count += 1
        self._last = number

    def get(self, key: str) -> Row | None:
        """The row of ``key`` as last read; None where there is none."""
        return self._rows.get(key, (0, None))[1]

    def rows(self) -> dict[str, Row]:
        """All rows, the oldest change first."""
        with self._lock:
            known = sorted((number, key) for key, (number, row) in self._rows.items() if row is not None)
            return {key: row for _, key in known if (row := self._rows[key][1]) is not None}

    def put(self, key: str, row: Mapping[str, Any], now: datetime) -> None:
        """Keep ``row`` under ``key``, durable on return. ``Full`` where there is no room for one more."""
        with self._lock:
            if self.get(key) is None and sum(row is not None for _, row in self._rows.values()) >= self.most:
                raise Full(f"there are {self.most} already; remove some")
            self._write(key, dict(row), now)
            self._tidy(now)

    def drop(self, key: str, now: datetime) -> None:
        """Forget ``key``."""
        with self._lock:
            if self.get(key) is not None:
                self._write(key, None, now)
                self._tidy(now)

    def _write(self, key: str, row: Row | None, now: datetime) -> None:
        number = self._records.append_next(self.topic, now, lambda _: {"key": key, "row": row})
        self._rows[key] = (number, row)  # records of others in between are read at the next refresh, where _last still is
        self._count += 1

    def _tidy(self, now: datetime) -> None:
        """Drop what no longer counts: write down anew what does, then keep that and some more, for others may write
        meanwhile."""
        live = self.rows()
        if self._count <= 4 * len(live) + _SLACK:
            return
        self._read_s = float("-inf")
        self.refresh(now)
        live = self.rows()
        for key, row in live.items():
            self._write(key, row, now)
        self._records.trim(self.topic, len(live) + _SLACK // 2)
        self._rows = {key: kept for key, kept in self._rows.items() if kept[1] is not None}
        self._count = len(live) + _SLACK // 2
