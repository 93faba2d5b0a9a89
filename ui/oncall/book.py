"""What must survive a kill: the alert table, the desk, and pages that wait. One SQLite file, one transaction a step.

A step's new state and its pages are written together: after a kill either both are there or neither, so that nothing is told
twice for want of memory and nothing is forgotten. A page is marked as sent only after its receiver took it, which makes
delivery at-least-once: a kill in between sends it again, under the same id."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock  # noqa: TID251 - one connection serves all threads of a process; starts no thread

import zstandard

from analytics.oncall.outbox import DROPPED_FIRST, DROPPED_LAST, MAX_WAITING, Waiting
from analytics.rule import Severity
from twin.errors import SourceError

_EVENTS = {event: at for at, event in enumerate((*DROPPED_FIRST, None, *DROPPED_LAST)) if event}
_WHENS = " ".join(f"WHEN '{event}' THEN {at}" for event, at in _EVENTS.items()) + f" ELSE {len(DROPPED_FIRST)}"
_RANKS = " ".join(f"WHEN '{severity.value}' THEN {at}" for at, severity in enumerate(Severity))
KEPT_SENT, KEPT_DEAD = 5000, 5000  # rows, the newest
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state(name TEXT PRIMARY KEY, blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS page(number INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, grouped TEXT NOT NULL,
  severity TEXT NOT NULL, made_s REAL NOT NULL, due_s REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT 'waiting', done_s REAL, why TEXT NOT NULL DEFAULT '', text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS page_waiting ON page(status, channel, number);
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A page as it is kept. ``status``: waiting, sent or dead; ``why``: what the receiver last said."""

    number: int
    channel: str
    group: str
    status: str
    attempts: int
    made_s: float
    done_s: float | None
    why: str
    text: str


class Book:
    """State and outbox in one file."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, RLock()
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            _private(path)
            self._con = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)
            self._con.execute("PRAGMA journal_mode=WAL")
            self._con.execute("PRAGMA synchronous=NORMAL")
            self._con.executescript(_SCHEMA)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise SourceError(f"{self._path}: {error}; pages cannot be kept, look at the disk") from error

    @contextmanager
    def _step(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock, self._told():
            self._con.execute("BEGIN IMMEDIATE")
            try:
                yield self._con
            except BaseException:
                self._con.execute("ROLLBACK")
                raise
            self._con.execute("COMMIT")

    def read(self, name: str) -> str | None:
        """The state of that name, None where there is none."""
        with self._lock, self._told():
            row = self._con.execute("SELECT blob FROM state WHERE name = ?", (name,)).fetchone()
        try:
            return zstandard.decompress(row[0]).decode() if row else None
        except (zstandard.ZstdError, UnicodeDecodeError) as error:
            raise SourceError(f"{self._path}: what was kept of {name} is damaged ({error}); it starts anew") from error

    def keep(self, states: Mapping[str, str], pages: Iterable[tuple[str, str, str, float, str]] = ()) -> list[int]:
        """Write states and new pages (channel, group, severity, made_s, text) in one transaction; gives the pages' numbers.
        Beyond ``MAX_WAITING`` waiting pages some become dead letters, see ``DROPPED_FIRST``."""
        with self._step() as con:
            for name, text in states.items():
                con.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, zstandard.compress(text.encode(), 1)))
            numbers = [self._put(con, *page) for page in pages]
            if numbers:
                self._bound(con)
        return numbers

    def _put(self, con: sqlite3.Connection, channel: str, group: str, severity: str, made_s: float, text: str) -> int:
        sql = "INSERT INTO page(channel, grouped, severity, made_s, due_s, text) VALUES (?, ?, ?, ?, ?, ?)"
        return int(con.execute(sql, (channel, group, severity, made_s, made_s, text)).lastrowid or 0)

    def _bound(self, con: sqlite3.Connection) -> None:
        (count,) = con.execute("SELECT count(*) FROM page WHERE status = 'waiting'").fetchone()
        if count > MAX_WAITING:
            sql = (
                "UPDATE page SET status = 'dead', why = 'the outbox is full', done_s = made_s WHERE number IN "
                "(SELECT number FROM page WHERE status = 'waiting' ORDER BY "
                f"CASE CASE WHEN json_valid(text) THEN json_extract(text, '$.event') END {_WHENS} END, "
                "count(*) OVER (PARTITION BY channel) DESC, "
                f"CASE severity {_RANKS} END DESC, number LIMIT ?)"
            )
            con.execute(sql, (count - MAX_WAITING,))
        for status, kept in (("sent", KEPT_SENT), ("dead", KEPT_DEAD)):
            sql = (
                "DELETE FROM page WHERE status = ? AND number <= "
                "(SELECT number FROM page WHERE status = ? ORDER BY number DESC LIMIT 1 OFFSET ?)"
            )
            con.execute(sql, (status, status, kept))

    def waiting(self, channel: str, limit: int = 1000) -> list[Waiting]:
        """What waits for ``channel``, by number."""
        sql = (
            "SELECT number, grouped, severity, due_s, attempts, made_s FROM page "
            "WHERE status = 'waiting' AND channel = ? ORDER BY number LIMIT ?"
        )
        with self._lock, self._told():
            return [Waiting(*row) for row in self._con.execute(sql, (channel, limit)).fetchall()]

    def channels(self) -> list[str]:
        """Channels for which something waits."""
        with self._lock, self._told():
            rows = self._con.execute("SELECT DISTINCT channel FROM page WHERE status = 'waiting'").fetchall()
        return [row[0] for row in rows]

    def texts(self, numbers: Sequence[int]) -> list[str]:
        """Pages as they were kept, in the order of ``numbers``."""
        with self._lock, self._told():
            found = dict(
                self._con.execute(
                    f"SELECT number, text FROM page WHERE number IN ({','.join('?' * len(numbers))})", tuple(numbers)
                ).fetchall()
            )
        return [found[number] for number in numbers]

    def sent(self, numbers: Sequence[int], now_s: float) -> None:
        """The receiver took them."""
        with self._step() as con:
            rows = [(now_s, number) for number in numbers]
            con.executemany("UPDATE page SET status = 'sent', done_s = ?, attempts = attempts + 1 WHERE number = ?", rows)

    def failed(self, numbers: Sequence[int], due_s: float, why: str) -> None:
        """To be tried again from ``due_s`` on."""
        with self._step() as con:
            rows = [(due_s, why[:500], number) for number in numbers]
            con.executemany("UPDATE page SET due_s = ?, why = ?, attempts = attempts + 1 WHERE number = ?", rows)

    def dead(self, numbers: Sequence[int], now_s: float, why: str, fallback: str = "") -> None:
        """Given up; where a ``fallback`` channel is named they wait for that now, as new pages."""
        with self._step() as con:
            for number in numbers:
                sql = "UPDATE page SET status = 'dead', done_s = ?, why = ?, attempts = attempts + 1 WHERE number = ?"
                con.execute(sql, (now_s, why[:500], number))
                if fallback:
                    sql = (
                        "INSERT INTO page(channel, grouped, severity, made_s, due_s, text) "
                        "SELECT ?, grouped, severity, ?, ?, text FROM page WHERE number = ? AND channel <> ?"
                    )
                    con.execute(sql, (fallback, now_s, now_s, number, fallback))

    def again(self, numbers: Sequence[int], now_s: float) -> int:
        """Dead letters wait once more; gives how many."""
        with self._step() as con:
            sql = "UPDATE page SET status = 'waiting', due_s = ?, made_s = ?, attempts = 0 WHERE status = 'dead' AND number = ?"
            return sum(con.execute(sql, (now_s, now_s, number)).rowcount for number in numbers)

    def pages(self, status: str | None = None, limit: int = 100) -> list[Kept]:
        """The newest pages, newest first."""
        sql = (
            "SELECT number, channel, grouped, status, attempts, made_s, done_s, why, text FROM page "
            "WHERE ? IS NULL OR status = ? ORDER BY number DESC LIMIT ?"
        )
        with self._lock, self._told():
            return [Kept(*row) for row in self._con.execute(sql, (status, status, limit)).fetchall()]

    def counts(self) -> tuple[int, int, float]:
        """How many wait, how many dead letters were ever made (of those kept), and when the oldest that waits was made (inf:
        none waits)."""
        with self._lock, self._told():
            (waiting, oldest_s) = self._con.execute(
                "SELECT count(*), min(made_s) FROM page WHERE status = 'waiting'"
            ).fetchone()
            (dead,) = self._con.execute("SELECT count(*) FROM page WHERE status = 'dead'").fetchone()
        return int(waiting), int(dead), float("inf") if oldest_s is None else float(oldest_s)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._con.close()


def _private(path: Path) -> None:
    """Let the file be for its owner alone, with its log: an earlier icctwin let others read it. One that is there is not opened
    for that: closing it would take the locks of another connection away."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for file in (path, *(path.with_name(path.name + more) for more in ("-wal", "-shm"))):
        if file.exists():
            file.chmod(0o600)
