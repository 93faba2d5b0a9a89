"""Records in PostgreSQL, shared by the processes of a centre, and the lock by which one of them leads."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from threading import Lock  # noqa: TID251 - one connection serves all threads of a process; starts no thread
from typing import Any, TypeVar

from ingest.stores.errors import StoreError
from ingest.stores.records import MAX_LIMIT, record_of, record_text
from ingest.wire import read_secret
from twin.errors import ConfigError, Problem

WAIT_S = 5
ANSWER_S = 10.0  # a server that is frozen takes questions and answers none; nobody waits longer for one statement
T = TypeVar("T")
Ask = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
_TOLD = ("host", "hostaddr", "port", "dbname")  # of the connection string, in an error; the rest is nobody's business
_WHO = re.compile(r'\b(user|role) "[^"]*"')
_SCHEMA_KEY = 0x1CC7  # of the advisory lock under which tables are made
_SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS icctwin_record(number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic TEXT NOT NULL,
  time TIMESTAMPTZ NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS icctwin_record_topic ON icctwin_record(topic, number);
CREATE INDEX IF NOT EXISTS icctwin_record_time ON icctwin_record(topic, time);
"""


class Session:
    """One connection, made anew when it broke. ``where``: ``host=… dbname=… user=…`` without a password; errors name host, port
    and database of it."""

    def __init__(self, where: str, password_file: Path | None) -> None:
        try:
            import psycopg
        except ImportError as error:
            what = "psycopg is not installed; make field, or pip install 'icctwin[cluster]'"
            raise ConfigError([Problem("[cluster] postgres", what)]) from error

        class Impatient(psycopg.Connection[tuple[Any, ...]]):
            def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = ANSWER_S) -> Any:
                return super().wait(gen, interval, timeout)

        self._psycopg, self._connection, self._where, self._password_file = psycopg, Impatient, where, password_file
        given = dict(one.partition("=")[::2] for one in where.split())
        self._told = " ".join(f"{name}={given[name]}" for name in _TOLD if name in given)
        hidden = {value for name, value in given.items() if name not in _TOLD} - {given.get(name, "") for name in _TOLD} - {""}
        self._hidden = re.compile("|".join(rf"(?<![\w.-]){re.escape(one)}(?![\w.-])" for one in sorted(hidden)) or r"(?!)")
        self._lock = Lock()
        self._con: Any = None

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, durable on return; ``StoreError`` where the server does not take it."""
        return self._together(lambda: self._asked(sql, values))

    def ask_alone(self, key: int, work: Callable[[Ask], T]) -> T:
        """Run what ``work`` asks as one transaction, while nobody else does so with this ``key``."""

        def alone() -> T:
            with self._connected().transaction():
                self._asked("SELECT pg_advisory_xact_lock(%s)", [key])
                return work(self._asked)

        return self._together(alone)

    def _together(self, work: Callable[[], T]) -> T:
        with self._lock:
            try:
                return work()
            except self._psycopg.Error as error:
                self._let_go()
                what = self._hidden.sub("…", _WHO.sub(r'\1 "…"', " ".join(str(error).split())))
                raise StoreError(f"PostgreSQL ({self._told}): {what}; is it running, and may we write there?") from None

    def _connected(self) -> Any:
        if self._con is None:
            secret: dict[str, Any] = {"password": read_secret(self._password_file)} if self._password_file else {}
            self._con = self._connection.connect(self._where, autocommit=True, connect_timeout=WAIT_S, **secret)
        return self._con

    def _asked(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        cursor = self._connected().execute(sql, values or None)
        return list(cursor.fetchall()) if cursor.description else []

    def _let_go(self) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._let_go()


class PostgresRecords:
    """``twin.ports.Records`` in one table. Any number of processes append and read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.ask_alone(_SCHEMA_KEY, lambda ask: ask(_SCHEMA_SQL, ()))  # processes that start together make it once

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        """See ``twin.ports.Records``. ``ValueError`` for what is no JSON object or too large."""
        text = record_text(topic, record)
        sql = "INSERT INTO icctwin_record(topic, time, text) VALUES (%s, %s, %s) RETURNING number"
        return int(self._session.ask(sql, (topic, time, text))[0][0])

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        """See ``twin.ports.Records``; ``ValueError`` as ``append`` has it."""
        times, texts = [time for time, _ in records], [record_text(topic, record) for _, record in records]
        sql = (
            "INSERT INTO icctwin_record(topic, time, text) SELECT %s, time, text "
            "FROM unnest(%s::timestamptz[], %s::text[]) WITH ORDINALITY AS given(time, text, place) ORDER BY place"
        )
        self._session.ask(sql, (topic, times, texts))

    def append_next(self, topic: str, time: datetime, make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> int:
        """See ``twin.ports.Records``."""
        newest = "SELECT number, text FROM icctwin_record WHERE topic = %s ORDER BY number DESC LIMIT 1"
        sql = "INSERT INTO icctwin_record(topic, time, text) VALUES (%s, %s, %s) RETURNING number"

        def link(ask: Ask) -> int:
            found = ask(newest, [topic])
            text = record_text(topic, make(record_of(topic, *found[0]) if found else None))
            return int(ask(sql, [topic, time, text])[0][0])

        return self._session.ask_alone(_lock_key(f"record {topic}"), link)

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
        where, values = ["topic = %s", "number > %s"], list[Any]([topic, after])
        for bound, sign in ((start, ">="), (end, "<")):
            if bound is not None:
                where.append(f"time {sign} %s")
                values.append(bound)
        order = "DESC" if newest else "ASC"
        sql = f"SELECT number, time, text FROM icctwin_record WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT %s"
        rows = self._session.ask(sql, [*values, limit])
        found = [(int(number), time.astimezone(UTC), record_of(topic, int(number), text)) for number, time, text in rows]
        return found[::-1] if newest else found

    def trim(self, topic: str, keep: int) -> None:
        """See ``twin.ports.Records``."""
        sql = (
            "DELETE FROM icctwin_record WHERE topic = %s AND number <= "
            "(SELECT number FROM icctwin_record WHERE topic = %s ORDER BY number DESC LIMIT 1 OFFSET %s)"
        )
        self._session.ask(sql, (topic, topic, keep))

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()


def _lock_key(name: str) -> int:
    """The number by which PostgreSQL knows a lock of ours."""
    return int.from_bytes(blake2b(f"icctwin {name}".encode(), digest_size=8).digest(), "big", signed=True)


class Leader:
    """One of all processes that ask leads, until it stops, dies or loses the server: a lock of PostgreSQL's that lives as
    long as its session does. The session must be the leader's own."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._key = _lock_key(name)
        self._pid = 0  # of the server's process that holds the lock for us; a new session is another

    def leads(self) -> bool:
        """Whether this process leads now; asks the server, so a lock that was lost is noticed."""
        try:
            if self._pid and self._session.ask("SELECT pg_backend_pid()")[0][0] == self._pid:
                return True
            got, pid = self._session.ask("SELECT pg_try_advisory_lock(%s), pg_backend_pid()", [self._key])[0]
            self._pid = int(pid) if got else 0
        except StoreError:
            self._pid = 0
        return self._pid != 0

    def close(self) -> None:
        """Stop leading."""
        self._session.close()
