"""The files of a store: how they are opened, what they are called, and what a failing disk is told as."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ingest.stores.errors import StoreError
from twin.errors import ConfigError, Problem
from twin.times import micros, moment

SCHEMA = 1  # of the files; a store of a later one is refused
MICRO = 1_000_000  # times are int64 microseconds since 1970 UTC inside a store: exact where float seconds are not
MINUTE, HOUR, DAY = 60 * MICRO, 3600 * MICRO, 86_400 * MICRO
_BESIDE = ("-wal", "-shm")
_WAIT_S = 30.0  # for another process that holds a file for a moment


class Vanished(StoreError):
    """A file went away while it was being read: mostly because what it held has moved on, and asking again finds it."""


class Tier(NamedTuple):
    """What one kind of data file holds: ``width`` microseconds a value (0: as read), ``span`` microseconds a file."""

    name: str
    width: int
    span: int
    planes: tuple[str, ...]


STATS = ("count", "sum", "min", "max", "last")
RAW = Tier("raw", 0, DAY, ("value",))
MINUTES = Tier("minute", MINUTE, DAY, STATS)
HOURS = Tier("hour", HOUR, 28 * DAY, STATS)
TIERS = {tier.name: tier for tier in (RAW, MINUTES, HOURS)}


def data_path(folder: Path, tier: Tier, time_us: int) -> Path:
    """The data file of ``tier`` that holds ``time_us``; its name says from when: ``raw-20261120.db``."""
    return folder / f"{tier.name}-{moment(time_us // tier.span * tier.span):%Y%m%d}.db"


def data_files(folder: Path, tier: Tier) -> list[tuple[int, Path]]:
    """(start in microseconds, path) of every data file of ``tier``, oldest first."""
    found = []
    for path in folder.glob(f"{tier.name}-*.db"):
        start = datetime.strptime(path.stem.removeprefix(tier.name + "-"), "%Y%m%d").replace(tzinfo=UTC)
        found.append((micros(start), path))
    return sorted(found)


@lru_cache(maxsize=64)
def journal_path(folder: Path, number: int) -> Path:
    """The journal with this number."""
    return folder / f"journal-{number:08d}.db"


def journal_numbers(folder: Path) -> list[int]:
    """Numbers of the journals that exist, oldest first."""
    return sorted(int(path.stem.removeprefix("journal-")) for path in folder.glob("journal-*.db"))


def connect(path: Path, page_bytes: int = 4096, shrinks: bool = False) -> sqlite3.Connection:
    """An open SQLite file in WAL mode, durable at every commit, for its owner alone where it is new; ``shrinks``: its free
    pages can be given back."""
    if not path.exists():  # a log that outlived its file is not this one's
        remove(path)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    con = _opened(path, "rwc")
    try:
        con.execute(f"PRAGMA page_size = {page_bytes}")
        if shrinks:
            con.execute("PRAGMA auto_vacuum = INCREMENTAL")
        con.execute("PRAGMA journal_mode = WAL")
        con.execute("PRAGMA synchronous = FULL")
    except BaseException:
        con.close()
        raise
    return con


def connect_reading(path: Path) -> sqlite3.Connection:
    """The same for reading only; ``Vanished`` where there is no such file.

    A file whose writer was killed must first be put in order, which SQLite does for whoever may write to it.
    """
    con = _opened(path, "ro")
    try:
        con.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        con.close()
        if "readonly" not in str(error):
            raise
        con = _opened(path, "rw")
        con.execute("PRAGMA query_only = ON")
    return con


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    name = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False, timeout=_WAIT_S)


def shrink(con: sqlite3.Connection) -> None:
    """Give free pages back to the system; outside a transaction. As a script: ``execute`` gives back one page and stops."""
    con.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")


def has_table(con: sqlite3.Connection, name: str) -> bool:
    """Whether the writer came as far as making this table."""
    return con.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


@contextmanager
def transaction(con: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is written inside."""
    con.execute("BEGIN IMMEDIATE")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


# what says that nothing can ever be kept there, as below a file, in /proc or in another account's folder
_NO_PLACE = frozenset({errno.ENOTDIR, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST})
_PLACE = "let icctwin write there, or name another folder as path of [store]"


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what SQLite or the system raises into one sentence that names the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "unable to open" in text or "no such table" in text or not path.exists():
            raise Vanished(f"{path}: {text}") from error
        advice = "restore it from a copy" if "malformed" in text or "not a database" in text else "free space or mend the disk"
        raise StoreError(f"store {path}: {text}; {advice}, then it goes on by itself") from error
    except OSError as error:
        advice = _PLACE if error.errno in _NO_PLACE else "free space or mend the disk, then it goes on"
        raise StoreError(f"store {path}: {error.strerror or error}; {advice}") from error


def remove(path: Path) -> None:
    """Delete a SQLite file with what belongs to it. The file itself goes first: whoever trips over the rest finds it gone."""
    for suffix in ("", *_BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def size_bytes(folder: Path) -> int:
    """Bytes of all files in ``folder``, as far as they were still there."""
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


def only_writer(folder: Path) -> int:
    """Makes this process the store's writer, as long as the returned descriptor is open; a dead writer lets go by dying."""
    held = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(held, 32, 0).decode(errors="replace").strip()
        os.close(held)
        what = f"already written by process {pid or 'unknown'}; stop that one, or open the store for reading only"
        raise ConfigError([Problem(str(folder), what)]) from None
    os.ftruncate(held, 0)
    os.pwrite(held, str(os.getpid()).encode(), 0)
    return held
