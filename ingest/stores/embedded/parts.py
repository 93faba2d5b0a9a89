"""Parts: how compacted values lie in a data file, and how they are read back.

A part holds one group (kind, origin, band) as one compaction left it. For each metric it has *slabs*: all blocks with the
same count of times, stacked asset after asset, cut into chunks of about ``CELLS`` values that are compressed each by
itself. A reader of one asset opens one chunk a metric. A later ``rank`` wins over an earlier one, cell by cell; ``run``
and ``dead`` say from which compaction on a part counts and from which on it was replaced.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.codec import Codec, cells_of, places_of
from ingest.stores.embedded.files import Tier, connect
from ingest.stores.embedded.grid import EVER, Piece, Times, meets
from ingest.stores.embedded.names import Group, Names
from twin.frame import Bytes, Floats, Ints

CELLS = 32_768  # values a chunk: larger compresses hardly better, smaller costs more calls than bytes
LEVEL = 3
_CHUNKS = 1 << 20  # chunks a metric and plane may have
_PLANES = 8
KEPT_TIMES = 16_384  # up to which the axes of a part are kept for the next reader, of KEPT_PARTS parts: 17 MB
KEPT_PARTS = 128
ASKED_AT_ONCE = 500  # chunks; a question for each would cost as much as reading it
PAGE_BYTES = 1024  # half a page is lost with every chunk
SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS part(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL, band TEXT NOT NULL,
  t0 INTEGER NOT NULL, t1 INTEGER NOT NULL, rank INTEGER NOT NULL, run INTEGER NOT NULL, dead INTEGER,
  cells INTEGER NOT NULL, bytes INTEGER NOT NULL, axes BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS part_group ON part(kind, origin, band, t1);
CREATE TABLE IF NOT EXISTS col(part INTEGER NOT NULL, metric TEXT NOT NULL, number INTEGER NOT NULL, layout BLOB NOT NULL,
  PRIMARY KEY(part, metric)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunk(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""


class Block(NamedTuple):
    """Values of the assets of ``rowsets`` (int[b], one after the other) over their times: ``times`` int64[a, t], one axis a
    rowset, or one for all; ``planes`` float64[n, t] each, ``quality`` uint8[n, t] or None."""

    rowsets: NDArray[np.signedinteger[Any]]
    times: Times
    planes: Mapping[str, Floats]
    quality: Bytes | None = None


class Slab(NamedTuple):
    """Blocks stacked: rowset and axis of each, ``length`` times, first chunk, rows a chunk."""

    rowsets: Ints
    axes: Ints
    length: int
    chunk: int
    rows: int


@dataclass(frozen=True, slots=True)
class Part:
    """What the table says of a part; times in microseconds, ``t1`` exclusive."""

    id: int
    t0: int
    t1: int
    rank: int
    cells: int
    bytes: int


def open_data(path: Path) -> sqlite3.Connection:
    """A data file to write to, made where there is none."""
    con = connect(path, page_bytes=PAGE_BYTES, shrinks=True)
    con.executescript(SCHEMA_SQL)
    return con


class PartWriter:
    """Writes one part; inside a transaction of the caller."""

    def __init__(
        self, con: sqlite3.Connection, codec: Codec, names: Names, tier: Tier, group: Group, rank: int, run: int
    ) -> None:
        self._con = con
        self._codec = codec
        self._names = names
        self._tier = tier
        self._axes: list[Times] = []
        self._axis_ids: dict[bytes, int] = {}
        self._metrics = self.cells = self._bytes = 0
        sql = (
            "INSERT INTO part(kind, origin, band, rank, run, t0, t1, cells, bytes, axes)"
            " VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, x'')"
        )
        self.id = con.execute(sql, (*group, rank, run)).lastrowid or 0

    def add(self, metric: str, blocks: Sequence[Block], places: int | None = None) -> int | None:
        """All blocks of one metric, once a metric. ``places``: a guess at the decimals. Gives the decimals that all values
        have, None where some are no short decimals."""
        layout: list[int] = []
        chunk = 0
        self._places, self._exact = places or 0, True
        for same in self._alike(blocks):
            count = same[0].times.shape[1]
            rows = rows_a_chunk(CELLS, count)
            heads = [head for block in same for head in self._heads(block)]
            layout += [count, chunk, rows, len(heads), *(number for head in heads for number in head)]
            quality = _stacked_quality(same)
            for plane in self._tier.planes:
                made = self._put(_stack([block.planes[plane] for block in same]), quality, plane, chunk, rows)
            chunk += made
        self._end(metric, layout)
        return self._places if self._exact else None

    def add_slabs(
        self, metric: str, slabs: Iterable[tuple[Ints, Times, Iterable[tuple[Floats, Bytes | None]]]], cells: int
    ) -> Iterator[int]:
        """One metric of one plane as slabs of (rowsets, their one axis, their values and qualities): the values come in
        portions, each but the last of a multiple of ``rows_a_chunk``. Yields values done."""
        layout: list[int] = []
        chunk = 0
        self._places, self._exact = 0, True
        for rowsets, times, portions in slabs:
            rows, first, axis = rows_a_chunk(cells, len(times)), chunk, self._axis(times)
            for values, quality in portions:
                chunk += self._put(values, quality, self._tier.planes[0], chunk, rows)
                yield values.size
            layout += [len(times), first, rows, len(rowsets), *(number for r in rowsets.tolist() for number in (r, axis))]
        self._end(metric, layout)

    def _put(self, values: Floats, quality: Bytes | None, plane: str, first: int, rows: int) -> int:
        """Cut, encode and insert; gives how many chunks it became."""
        starts = range(0, len(values), rows)
        base = chunk_id(self.id, self._metrics, self._tier.planes.index(plane)) + first
        for k, start in enumerate(starts):
            grade = quality[start : start + rows] if quality is not None else None
            data = self._codec.encode(values[start : start + rows], grade, 0 if plane == "count" else self._places)
            places = places_of(data)
            self._exact &= places is not None
            self._places = max(self._places, places or 0)
            self._con.execute("INSERT INTO chunk(id, data) VALUES (?, ?)", (base + k, data))
            self._bytes += len(data)
        self.cells += values.size
        return len(starts)

    def _end(self, metric: str, layout: Sequence[int]) -> None:
        sql = "INSERT INTO col(part, metric, number, layout) VALUES (?, ?, ?, ?)"
        self._con.execute(sql, (self.id, metric, self._metrics, np.array(layout, dtype=np.int32).tobytes()))
        self._metrics += 1

    def _alike(self, blocks: Sequence[Block]) -> Iterator[list[Block]]:
        """Blocks that make one slab: as many times each, and no asset twice."""
        for count in sorted({block.times.shape[1] for block in blocks}):
            same = [block for block in blocks if block.times.shape[1] == count]
            if self._names.apart(tuple(rowset for block in same for rowset in block.rowsets.tolist())):
                yield same
            else:
                yield from ([block] for block in same)

    def _heads(self, block: Block) -> list[tuple[int, int]]:
        """(rowset, axis) of each rowset of ``block``."""
        axes = [self._axis(times) for times in block.times]
        return list(zip(block.rowsets.tolist(), axes if len(axes) > 1 else axes * len(block.rowsets), strict=True))

    def _axis(self, times: Times) -> int:
        key = times.tobytes()
        if key not in self._axis_ids:
            self._axis_ids[key] = len(self._axes)
            self._axes.append(times)
        return self._axis_ids[key]

    def finish(self) -> None:
        """Write down what is known only now."""
        lengths = np.array([len(self._axes), *map(len, self._axes)], dtype=np.int32)
        times = np.concatenate(self._axes)
        body = self._codec.encode(times.astype(np.float64)[None, :], None, 0)
        axes = self._codec.press(lengths.tobytes()) if len(lengths) > 64 else b"\0" + lengths.tobytes()
        blob = len(axes).to_bytes(4, "little") + axes + body
        values = (
            int(times.min()),
            int(times.max()) + max(1, self._tier.width),
            self.cells,
            self._bytes + len(blob),
            blob,
            self.id,
        )
        self._con.execute("UPDATE part SET t0 = ?, t1 = ?, cells = ?, bytes = ?, axes = ? WHERE id = ?", values)


class PartReader:
    """Reads parts of one data file as compaction ``run`` left them; within one read transaction of its own."""

    def __init__(self, con: sqlite3.Connection, codec: Codec, names: Names, tier: Tier, run: int) -> None:
        self.con = con
        self.codec = codec
        self.names = names
        self.tier = tier
        self._run = run
        self._axes: dict[int, list[Times]] = {}

    def parts(self, group: Group, edges: Times = EVER) -> list[Part]:
        """Parts of ``group`` that reach into ``edges``, the winning ones last."""
        sql = (
            "SELECT id, t0, t1, rank, cells, bytes FROM part WHERE kind = ? AND origin = ? AND band = ? AND t1 > ? AND t0 < ?"
            " AND run <= ? AND (dead IS NULL OR dead > ?) ORDER BY rank, t0"
        )
        rows = self.con.execute(sql, (*group, int(edges[0]), int(edges[-1]), self._run, self._run))
        return [part for part in (Part(*row) for row in rows) if meets(edges, part.t0, part.t1)]

    def groups(self) -> list[Group]:
        """Groups that have parts here."""
        sql = "SELECT DISTINCT kind, origin, band FROM part WHERE run <= ? AND (dead IS NULL OR dead > ?)"
        return [Group(*row) for row in self.con.execute(sql, (self._run, self._run))]

    def metrics(self, part: Part) -> list[str]:
        """Metrics of ``part``."""
        return [name for (name,) in self.con.execute("SELECT metric FROM col WHERE part = ? ORDER BY number", (part.id,))]

    def rowsets(self, part: Part, metric: str) -> list[int]:
        """Rowsets that one metric of ``part`` is about."""
        return [int(rowset) for slab in self._layout(part, metric)[1] for rowset in slab.rowsets]

    def blocks(self, part: Part, metric: str) -> list[Block]:
        """All of one metric, as it was written but for the order; empty where the part does not have it."""
        number, slabs = self._layout(part, metric)
        blocks = []
        for slab in slabs:
            everything = np.arange(int(self.names.sizes(slab.rowsets).sum()), dtype=np.int32)
            planes, quality = self._values(part, number, slab, everything, self.tier.planes)
            axes = slab.axes[:1] if (slab.axes == slab.axes[0]).all() else slab.axes
            times = np.stack([self.axes(part)[axis] for axis in axes])
            blocks.append(Block(slab.rowsets, times, planes, quality))
        return blocks

    def pieces(
        self, part: Part, metric: str, where: Ints, edges: Times, planes: Sequence[str], by_chunk: bool = False
    ) -> Iterator[Piece]:
        """Values inside ``edges`` of the assets that ``where`` (code -> place asked for, -1: not asked) names. ``by_chunk``: a
        piece for each chunk, small enough for the processor's cache and only good until the next one, where else there is one
        for each slab."""
        number, slabs = self._layout(part, metric)
        for slab in slabs:
            axes = slab.axes[:1] if (slab.axes == slab.axes[0]).all() else slab.axes
            times = np.stack([self.axes(part)[axis] for axis in axes])
            near = np.array([meets(edges, int(axis[0]), int(axis[-1]) + 1) for axis in times])
            if not near.any():
                continue
            places = where[self.names.codes_of_sets(slab.rowsets)]
            owner = np.zeros(len(places), dtype=np.int32)
            if len(axes) > 1:
                owner = np.repeat(np.arange(len(axes), dtype=np.int32), self.names.sizes(slab.rowsets))
            rows = np.flatnonzero((places >= 0) & near[owner]).astype(np.int32)
            for some in np.split(rows, np.flatnonzero(np.diff(rows // slab.rows)) + 1) if by_chunk else [rows]:
                if len(some):
                    values, quality = self._values(part, number, slab, some, planes, by_chunk)
                    used, axis = distinct(owner[some])
                    yield Piece(places[some], times[used], axis, values, quality).within(edges)

    def slabs(self, part: Part, metric: str) -> list[Slab]:
        """How one metric of ``part`` lies."""
        return self._layout(part, metric)[1]

    def values(self, part: Part, metric: str, slab: Slab, rows: Ints) -> tuple[Floats, Bytes | None]:
        """The first plane of some ``rows`` (increasing) of a slab: float64[k, t], and uint8[k, t] or None."""
        number = self._layout(part, metric)[0]
        found, grades = self._values(part, number, slab, rows, self.tier.planes[:1])
        return found[self.tier.planes[0]], grades

    def axes(self, part: Part) -> list[Times]:
        """The time axes of a part, int64[t] microseconds each."""
        if part.id not in self._axes:
            (blob,) = self.con.execute("SELECT axes FROM part WHERE id = ?", (part.id,)).fetchone()
            short = cells_of(blob[4 + int.from_bytes(blob[:4], "little") :]) <= KEPT_TIMES
            self._axes[part.id] = axes_of(blob) if short else unpacked_axes(blob, self.codec)
        return self._axes[part.id]

    def _layout(self, part: Part, metric: str) -> tuple[int, list[Slab]]:
        row = self.con.execute("SELECT number, layout FROM col WHERE part = ? AND metric = ?", (part.id, metric)).fetchone()
        return (0, []) if row is None else (int(row[0]), layout_of(row[1]))

    def columns(self, parts: Sequence[Part]) -> dict[tuple[int, str], tuple[int, bytes]]:
        """(part, metric) -> number and layout of every column of ``parts``."""
        rows = self._each("SELECT part, metric, number, layout FROM col WHERE part", [part.id for part in parts])
        return {(part, metric): (number, layout) for part, metric, number, layout in rows}

    def chunks(self, ids: Sequence[int]) -> list[bytes]:
        """Chunks as they lie, in the order of ``ids``."""
        found = dict(self._each("SELECT id, data FROM chunk WHERE id", ids))
        return [found[i] for i in ids]

    def _each(self, sql: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Rows of all ``ids``, many with each question."""
        for at in range(0, len(ids), ASKED_AT_ONCE):
            some = ids[at : at + ASKED_AT_ONCE]
            yield from self.con.execute(f"{sql} IN ({','.join('?' * len(some))})", some)

    def _values(
        self, part: Part, number: int, slab: Slab, rows: Ints, planes: Sequence[str], passing: bool = False
    ) -> tuple[dict[str, Floats], Bytes | None]:
        """The asked ``rows`` of a slab from the chunks that hold them. ``passing``: only until they are read the next time."""
        chunk_of = rows // slab.rows
        starts = np.flatnonzero(np.diff(chunk_of, prepend=-1))
        found: dict[str, Floats] = {}
        grades: Bytes | None = None
        for name in planes:
            base = chunk_id(part.id, number, self.tier.planes.index(name)) + slab.chunk
            shape = (len(rows), slab.length)
            values = self.codec.room(name, shape, np.float64) if passing else np.empty(shape)
            for chunk, start, stop in zip(chunk_of[starts].tolist(), starts, [*starts[1:], len(rows)], strict=True):
                (data,) = self.con.execute("SELECT data FROM chunk WHERE id = ?", (base + chunk,)).fetchone()
                local = rows[start:stop] - chunk * slab.rows
                _, quality = self.codec.decode(data, local, into=values[start:stop])
                if quality is not None:
                    grades = np.zeros(values.shape, dtype=np.uint8) if grades is None else grades
                    grades[start:stop] = quality
            found[name] = values
        return found, grades


def follow_each_other(parts: Sequence[Part]) -> bool:
    """Whether no two of ``parts`` share any time, so that none can contradict another."""
    spans = sorted((part.t0, part.t1) for part in parts)
    return all(this[1] <= after[0] for this, after in pairwise(spans))


@lru_cache(maxsize=KEPT_PARTS)
def axes_of(blob: bytes) -> list[Times]:
    """``unpacked_axes``, kept: every reader of an asset wants those of the same parts. Nobody writes to them."""
    return unpacked_axes(blob, Codec())


def unpacked_axes(blob: bytes, codec: Codec) -> list[Times]:
    """Time axes as ``PartWriter.finish`` wrote them, int64[t] microseconds each."""
    size = int.from_bytes(blob[:4], "little")
    packed = blob[4 : 4 + size]
    lengths = np.frombuffer(packed[1:] if packed[:1] == b"\0" else codec.loosen(packed), dtype=np.int32)
    times = codec.decode(blob[4 + size :])[0][0].astype(np.int64)
    return np.split(times, np.cumsum(lengths[1:])[:-1])


def layout_of(blob: bytes) -> list[Slab]:
    """The slabs of a column, as ``PartWriter.add`` wrote them down."""
    layout, slabs, at = np.frombuffer(blob, dtype=np.int32), list[Slab](), 0
    while at < len(layout):
        count, chunk, rows, blocks = layout[at : at + 4].tolist()
        heads = layout[at + 4 : at + 4 + 2 * blocks].reshape(blocks, 2)
        slabs.append(Slab(heads[:, 0], heads[:, 1], count, chunk, rows))
        at += 4 + 2 * blocks
    return slabs


def rows_a_chunk(cells: int, count: int) -> int:
    """Assets whose ``count`` values together make a chunk of about ``cells``."""
    return max(1, cells // count)


def chunk_id(part: int, number: int, plane: int) -> int:
    """Key of the first chunk of a metric's plane; those of a part follow each other."""
    return (part * 256 + number) * _PLANES * _CHUNKS + plane * _CHUNKS


def distinct(ascending: Ints) -> tuple[Ints, Ints]:
    """The values of an increasing array, each once, and for each of its places which of them stands there."""
    first = np.diff(ascending, prepend=ascending[0] - 1) > 0
    return ascending[first], (np.cumsum(first) - 1).astype(np.int32)


def drop_parts(con: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Delete parts with all that hangs on them; inside a transaction of the caller."""
    for part in ids:
        con.execute("DELETE FROM chunk WHERE id >= ? AND id < ?", (chunk_id(part, 0, 0), chunk_id(part + 1, 0, 0)))
        con.execute("DELETE FROM col WHERE part = ?", (part,))
        con.execute("DELETE FROM part WHERE id = ?", (part,))


def _stack(columns: Sequence[NDArray[np.float64]]) -> Floats:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _stacked_quality(blocks: Sequence[Block]) -> Bytes | None:
    if all(block.quality is None for block in blocks):
        return None
    shape = next(iter(blocks[0].planes.values())).shape
    grades = [
        block.quality if block.quality is not None else np.zeros((len(next(iter(block.planes.values()))), shape[1]), np.uint8)
        for block in blocks
    ]
    return np.concatenate(grades)
