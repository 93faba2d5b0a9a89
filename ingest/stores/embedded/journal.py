"""The journal: what was appended and is not yet in segments. Durable when ``append`` returns, hot while it is young.

An append is one transaction in the newest journal file: one row with the head (which frames, when) and all small columns,
one row more for each column of at least ``BIG`` values, so that a reader of one metric need not unpack the others. A
compaction starts a new file; a file is deleted as a whole once all it holds is in segments.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import connect, connect_reading, has_table, journal_path, told, transaction
from ingest.stores.embedded.names import Group, Names, Placed
from ingest.stores.embedded.narrow import Narrow, narrowed
from twin.frame import Bytes, Floats

BIG = 512  # values from which on a column has a row of its own
LEVEL = -3  # of zstd: measured cheapest for the whole way of a byte through packing, SQLite and disk
_NUMBERS = 1 << 20  # pieces an append may have
SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS head(seq INTEGER PRIMARY KEY, frames BLOB NOT NULL, small BLOB NOT NULL, quality BLOB);
CREATE TABLE IF NOT EXISTS piece(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""


@dataclass(slots=True)
class Item:
    """One frame that waits for compaction. ``at``: number of its first piece where it is big, else where its first column
    starts among the small ones. While it is hot it has ``columns`` (of a big one, as narrow as they fit), ``small`` (all small
    columns of its append) and ``grades``; else None."""

    seq: int
    journal: int
    index: int  # of the frame within its append
    group: Group
    metrics: tuple[str, ...]
    rowset: int
    size: int
    time: int
    at: int
    graded: bool
    columns: Mapping[str, Narrow] | None = None
    small: Floats | None = None
    grades: Mapping[str, Bytes] | None = None

    @property
    def big(self) -> bool:
        """Each column in a row of its own."""
        return self.size >= BIG

    @property
    def held(self) -> int:
        """Values that are held at once to read one metric of it."""
        return self.size if self.big else self.size * len(self.metrics)


class Taken(NamedTuple):
    """What one compaction took: of the appends up to ``seq`` all frames before ``low`` and from ``high`` on."""

    seq: int
    low: int
    high: int


def is_taken(item: Item, runs: Sequence[Taken]) -> bool:
    """Whether a compaction among ``runs`` has it in segments."""
    return any(item.seq <= run.seq and (item.time < run.low or item.time >= run.high) for run in runs)


class Journal:
    """The writing end: one open file. Callers see to it that one thread at a time is in here."""

    def __init__(self, folder: Path, names: Names, seq: int, number: int) -> None:
        self._folder = folder
        self._names = names
        self._codec = Codec(LEVEL)
        self.seq = seq  # of the last append
        self.number = number
        self._con = self._open(number)

    def _open(self, number: int) -> sqlite3.Connection:
        path = journal_path(self._folder, number)
        with told(path):
            con = connect(path)
            con.executescript(SCHEMA_SQL)
            con.execute("PRAGMA wal_autocheckpoint = 0")  # a journal is deleted before it would pay to copy its log
        return con

    def append(self, placed: Sequence[Placed]) -> list[Item]:
        """Write ``placed`` as one append. On return it survives a killed process; on ``StoreError`` nothing of it is kept."""
        seq = self.seq + 1
        items = list(_items(self._names, seq, self.number, placed))
        pieces, small = self._packed(items, placed)
        head = np.array([(p.shape, p.rowset, p.time) for p in placed], dtype=np.int64).tobytes()
        body = pack(self._codec, small) if len(small) else b""
        quality = _pack_quality(self._codec, placed)
        with told(journal_path(self._folder, self.number)), transaction(self._con):
            self._con.execute("INSERT INTO head(seq, frames, small, quality) VALUES (?, ?, ?, ?)", (seq, head, body, quality))
            self._con.executemany("INSERT INTO piece(id, data) VALUES (?, ?)", pieces)
        self.seq = seq
        return items

    def _packed(self, items: Sequence[Item], placed: Sequence[Placed]) -> tuple[list[tuple[int, bytes]], Floats]:
        """Pieces of the big frames and all columns of the small ones; the items become hot."""
        pieces: list[tuple[int, bytes]] = []
        columns: list[Floats] = []
        for item, frame in zip(items, placed, strict=True):
            item.grades, item.graded = frame.quality, bool(frame.quality)
            if item.big:
                item.columns = {name: narrowed(column) for name, column in frame.values.items()}
                base = item.seq * _NUMBERS + item.at
                pieces.extend((base + i, pack(self._codec, column)) for i, column in enumerate(frame.values.values()))
            else:
                columns.extend(frame.values.values())
        if len(pieces) >= _NUMBERS:
            raise ValueError(f"{len(pieces)} columns in one append; at most {_NUMBERS - 1}: append fewer frames at once")
        small: Floats = np.concatenate(columns, dtype=np.float64) if columns else np.empty(0)
        for item in items:
            if not item.big:
                item.small = small
        return pieces, small

    def turn(self) -> None:
        """Go on in a new file. The last writer to close a SQLite file copies its log into it; a file that is about to be
        deleted is spared that by a reader that closes after the writer."""
        path = journal_path(self._folder, self.number)
        con = self._open(self.number + 1)
        with told(path):
            reader = connect_reading(path)
            reader.execute("SELECT max(seq) FROM head").fetchone()
        self._con.close()
        reader.close()
        self._con = con
        self.number += 1

    def close(self) -> None:
        """Let go of the file."""
        self._con.close()


class Loader:
    """Reads columns of items back, from memory while they are hot and from the journals after. Belongs to one thread."""

    def __init__(self, folder: Path, names: Names) -> None:
        self._folder = folder
        self._names = names
        self._codec = Codec()
        self._cons: dict[int, sqlite3.Connection] = {}
        self._heads: dict[int, tuple[Floats, dict[tuple[int, int], Bytes]]] = {}

    def column(self, item: Item, name: str) -> tuple[Floats, Bytes | None]:
        """float64[n] values and uint8[n] quality (None: all good) of one metric of ``item``."""
        which = item.metrics.index(name)
        if item.big:
            values = self._big(item, name, which)
        else:
            start = item.at + which * item.size
            values = self.small(item)[start : start + item.size]
        return values, self.quality(item, name) if item.graded else None

    def cells(self, item: Item, name: str, take: NDArray[np.intp]) -> tuple[Floats, Bytes | None]:
        """The same of a big ``item``, of the assets that stand at ``take`` only."""
        values = self._big(item, name, item.metrics.index(name), take)
        quality = self.quality(item, name) if item.graded else None
        return values, None if quality is None else quality[take]

    def small(self, item: Item) -> Floats:
        """All small columns of the append that ``item`` came with."""
        small = item.small
        return self._head(item)[0] if small is None else small

    def quality(self, item: Item, name: str) -> Bytes | None:
        """uint8[n] quality of one metric of ``item``, None where all of it is good."""
        grades = item.grades
        if grades is not None:
            return grades.get(name)
        return self._head(item)[1].get((item.index, item.metrics.index(name)))

    def _big(self, item: Item, name: str, which: int, take: NDArray[np.intp] | None = None) -> Floats:
        columns = item.columns
        if columns is not None:
            return columns[name].floats(take)
        with told(journal_path(self._folder, item.journal)):
            sql = "SELECT data FROM piece WHERE id = ?"
            (data,) = self._con(item.journal).execute(sql, (item.seq * _NUMBERS + item.at + which,)).fetchone()
        return unpack(self._codec, data, take)

    def heads(self, number: int, after: int) -> list[tuple[int, bytes, bytes | None]]:
        """Heads of one journal from appends after ``after``, in order, as they lie."""
        with told(journal_path(self._folder, number)):
            con = self._con(number)
            sql = "SELECT seq, frames, quality FROM head WHERE seq > ? ORDER BY seq"
            return con.execute(sql, (after,)).fetchall() if has_table(con, "piece") else []

    def items(self, number: int, heads: Sequence[tuple[int, bytes, bytes | None]]) -> Iterator[Item]:
        """The items that ``heads`` of one journal speak of; the names must be at least as new as they are."""
        for seq, frames, quality in heads:
            graded = {k for k, _ in _unpack_quality(self._codec, quality)} if quality else set()
            rows = np.frombuffer(frames, dtype=np.int64).reshape(-1, 3).tolist()
            placed = [Placed(shape, rowset, time, {}, {}) for shape, rowset, time in rows]
            for item in _items(self._names, seq, number, placed):
                item.graded = item.index in graded
                yield item

    def forget(self) -> None:
        """Drop the heads kept for the columns that follow."""
        self._heads.clear()

    def close(self) -> None:
        """Let go of the files."""
        for con in self._cons.values():
            con.close()
        self._cons.clear()

    def _con(self, number: int) -> sqlite3.Connection:
        if number not in self._cons:
            self._cons[number] = connect_reading(journal_path(self._folder, number))
        return self._cons[number]

    def _head(self, item: Item) -> tuple[Floats, dict[tuple[int, int], Bytes]]:
        if item.seq not in self._heads:
            with told(journal_path(self._folder, item.journal)):
                sql = "SELECT small, quality FROM head WHERE seq = ?"
                small, quality = self._con(item.journal).execute(sql, (item.seq,)).fetchone()
            grades = _unpack_quality(self._codec, quality) if quality else {}
            self._heads[item.seq] = (unpack(self._codec, small) if small else np.empty(0), grades)
        return self._heads[item.seq]


class Ring:
    """Keeps the columns of waiting items in memory, at most ``max_bytes`` of them; what leaves is read from the journal."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._items: deque[Item] = deque()

    def add(self, items: Sequence[Item]) -> None:
        """Take in ``items``, let go of the oldest that are too much."""
        self._items.extend(items)
        self.bytes += sum(map(_hot_bytes, items))
        while self._items and self.bytes > self.max_bytes:
            self._drop(self._items.popleft())

    def age(self, oldest: int) -> None:
        """Let go of what came first while it is from before ``oldest``."""
        while self._items and self._items[0].time < oldest:
            self._drop(self._items.popleft())

    def keep(self, wanted: Callable[[Item], bool]) -> None:
        """Let go of everything that is not ``wanted``."""
        items, self._items = self._items, deque()
        for item in items:
            if wanted(item):
                self._items.append(item)
            else:
                self._drop(item)

    def _drop(self, item: Item) -> None:
        self.bytes -= _hot_bytes(item)
        item.columns = item.small = item.grades = None


def _hot_bytes(item: Item) -> int:
    if item.columns is not None:
        return sum(column.whole.nbytes for column in item.columns.values())
    return 8 * item.size * len(item.metrics)


def pack(codec: Codec, column: Any) -> bytes:
    """A float64 column as bytes: split into byte planes, compressed lightly."""
    planes = np.ascontiguousarray(column, dtype=np.float64).view(np.uint8).reshape(-1, 8).T
    return codec.press(np.ascontiguousarray(planes))


def unpack(codec: Codec, data: bytes, take: NDArray[np.intp] | None = None) -> Floats:
    """Undo ``pack``; ``take``: of these places only."""
    planes = np.frombuffer(codec.loosen(data), dtype=np.uint8).reshape(8, -1)
    if take is not None:
        planes = planes[:, take]
    whole = np.empty((planes.shape[1], 8), dtype=np.uint8)
    for i, plane in enumerate(planes):
        whole[:, i] = plane
    return whole.view(np.float64).ravel()


def _items(names: Names, seq: int, journal: int, placed: Sequence[Placed]) -> Iterator[Item]:
    """Where each frame's columns stand within its append; the same count when written and when read."""
    piece = start = 0
    for index, head in enumerate(placed):
        shape = names.shape(head.shape)
        size = len(names.codes(head.rowset))
        at = piece if size >= BIG else start
        yield Item(seq, journal, index, shape.group, shape.metrics, head.rowset, size, head.time, at, False)
        if size >= BIG:
            piece += len(shape.metrics)
        else:
            start += size * len(shape.metrics)


def _pack_quality(codec: Codec, placed: Sequence[Placed]) -> bytes | None:
    """(frame, metric, length) of each column with a quality, then the columns; None where there is none."""
    keys: list[tuple[int, int, int]] = []
    columns: list[Bytes] = []
    for k, frame in enumerate(placed):
        for j, name in enumerate(frame.values):
            if name in frame.quality:
                keys.append((k, j, len(frame.quality[name])))
                columns.append(frame.quality[name])
    if not keys:
        return None
    head = np.array([(len(keys), 0, 0), *keys], dtype=np.int32)
    return codec.press(head.tobytes() + np.concatenate(columns).astype(np.uint8).tobytes())


def _unpack_quality(codec: Codec, blob: bytes) -> dict[tuple[int, int], Bytes]:
    data = np.frombuffer(codec.loosen(blob), dtype=np.uint8)
    count = int(data[:4].view(np.int32)[0])
    keys = data[12 : 12 * (count + 1)].view(np.int32).reshape(count, 3)
    ends = np.cumsum(keys[:, 2]) + 12 * (count + 1)
    return {(int(k), int(j)): data[end - n : end] for (k, j, n), end in zip(keys, ends, strict=True)}
