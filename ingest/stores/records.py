"""Records: append-only notes (alerts, plans, audit, ledger) as rows of one SQLite file in WAL mode."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock  # noqa: TID251 - one connection serves all threads of a process; starts no thread
from typing import Any

from ingest.stores.embedded.files import SCHEMA, connect, connect_reading, told, transaction
from ingest.stores.errors import StoreError
from twin.errors import ConfigError, Damaged, Problem
from twin.times import micros, moment

MAX_BYTES = 1_000_000  # of one record as JSON
MAX_LIMIT = 100_000  # records one read may give
MAX_DEPTH = 100  # objects and lists within one another
_SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS record(number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, time INTEGER NOT NULL,
  text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS record_topic ON record(topic, number);
CREATE INDEX IF NOT EXISTS record_time ON record(topic, time);
"""


class FileRecords:
    """``twin.ports.Records`` in one file. Several processes may read while one or more append."""

    def __init__(self, path: Path, readonly: bool) -> None:
        self._path = path
        self._lock = Lock()
        with told(path):
            self._con = connect_reading(path) if readonly else connect(path)
            self._con.text_factory = _text
            try:
                (version,) = self._con.execute("PRAGMA user_version").fetchone()
                if version > SCHEMA:
                    what = (
                        f"written by a later icctwin (schema {version}, this one knows {SCHEMA}); use that one, or another file"
                    )
                    raise ConfigError([Problem(str(path), what)])
                if not readonly:
                    self._con.executescript(_SCHEMA_SQL)
                    self._con.execute(f"PRAGMA user_version = {SCHEMA}")
            except BaseException:
                self._con.close()
                raise

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        """See ``twin.ports.Records``. ``ValueError`` for what is no JSON object or larger than ``MAX_BYTES``; ``StoreError``
        where the disk says no."""
        text = record_text(topic, record)
        with self._lock, told(self._path):
            sql = "INSERT INTO record(topic, time, text) VALUES (?, ?, ?)"
            number = self._con.execute(sql, (topic, micros(time), text)).lastrowid
        if number is None:
            raise StoreError(f"store {self._path}: no number for a new record; check the file")
        return number

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        """See ``twin.ports.Records``; errors as ``append`` has them."""
        rows = [(topic, micros(time), record_text(topic, record)) for time, record in records]
        with self._lock, told(self._path), transaction(self._con):
            self._con.executemany("INSERT INTO record(topic, time, text) VALUES (?, ?, ?)", rows)

    def append_next(self, topic: str, time: datetime, make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> int:
        """See ``twin.ports.Records``."""
        newest = "SELECT number, text FROM record WHERE topic = ? ORDER BY number DESC LIMIT 1"
        sql = "INSERT INTO record(topic, time, text) VALUES (?, ?, ?)"
        with self._lock, told(self._path), transaction(self._con):
            row = self._con.execute(newest, (topic,)).fetchone()
            text = record_text(topic, make(record_of(topic, *row) if row else None))
            number = self._con.execute(sql, (topic, micros(time), text)).lastrowid
        if number is None:
            raise StoreError(f"store {self._path}: no number for a new record; check the file")
        return number

    def trim(self, topic: str, keep: int) -> None:
        """See ``twin.ports.Records``."""
        sql = (
            "DELETE FROM record WHERE topic = ? AND number <= "
            "(SELECT number FROM record WHERE topic = ? ORDER BY number DESC LIMIT 1 OFFSET ?)"
        )
        with self._lock, told(self._path):
            self._con.execute(sql, (topic, topic, keep))

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        """See ``twin.ports.Records``. ``limit`` is at most ``MAX_LIMIT``."""
        if not 0 < limit <= MAX_LIMIT:
            raise ValueError(f"a limit of {limit} records; use 1 to {MAX_LIMIT:,} and ask again from where it ended")
        where, values = ["topic = ?", "number > ?"], list[Any]([topic, after])
        for bound, sign in ((start, ">="), (end, "<")):
            if bound is not None:
                where.append(f"time {sign} ?")
                values.append(micros(bound))
        order = "DESC" if newest else "ASC"
        sql = f"SELECT number, time, text FROM record WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT ?"
        with self._lock, told(self._path):
            rows: list[tuple[int, int, str]] = self._con.execute(sql, (*values, limit)).fetchall()
        found = [(number, _moment(topic, number, time), record_of(topic, number, text)) for number, time, text in rows]
        return found[::-1] if newest else found

    def size_bytes(self) -> int:
        """On disk, everything counted."""
        paths = (self._path.with_name(self._path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._con.close()


def _text(raw: bytes) -> str:
    """What the disk made of a text, so that a record which is none is one record and not the end of a whole read."""
    return raw.decode(errors="surrogateescape")


def record_text(topic: str, record: Mapping[str, Any]) -> str:
    """``record`` as JSON; ``ValueError`` where it is none, larger than ``MAX_BYTES`` or deeper than ``MAX_DEPTH``."""
    text = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"a record of {topic!r} of {len(text.encode()):,} bytes; the limit is {MAX_BYTES:,}: keep less in it")
    if _deep(text, dict(record)):
        raise ValueError(f"a record of {topic!r} holds more than {MAX_DEPTH} lists and objects within one another")
    return text


def record_of(topic: str, number: int, text: str) -> dict[str, Any]:
    """Undo ``record_text``. ``Damaged`` for what it never gives: no JSON object, one too deep, or half of a character."""
    try:
        record = json.loads(text)
        text.encode()
        if "\\u" in text:
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        raise Damaged(topic, number) from None
    if not isinstance(record, dict) or _deep(text, record):
        raise Damaged(topic, number)
    return record


def _deep(text: str, record: dict[str, Any]) -> bool:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    layer, depth = list[Any]([record]), 0
    while layer and depth <= MAX_DEPTH:
        parts = (one.values() if isinstance(one, dict) else one for one in layer)
        layer, depth = [part for one in parts for part in one if isinstance(part, dict | list | tuple)], depth + 1
    return depth > MAX_DEPTH


def _moment(topic: str, number: int, time_us: Any) -> datetime:
    try:
        return moment(time_us)
    except (TypeError, OverflowError):
        raise Damaged(topic, number) from None


def open_records(path: Path, *, readonly: bool = False) -> FileRecords:
    """The records in the file ``path`` (made where there is none). ``ConfigError`` where a later icctwin wrote it or there is
    nothing to read; ``StoreError`` where the disk says no."""
    if readonly and not path.exists():
        raise ConfigError([Problem(str(path), "no records here to read; start the process that writes them first")])
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = FileRecords(path, readonly)
        for file in (path, *(path.with_name(path.name + more) for more in ("-wal", "-shm"))):
            if not readonly and file.exists():  # hashes of passwords are in it; an earlier icctwin let others read them
                file.chmod(0o600)
    return made
