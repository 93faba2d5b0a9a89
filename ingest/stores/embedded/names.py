"""What a store calls things: assets by id (never by row: tables get edited), sets of assets, and the shapes of frames.

All three only grow. An asset's *code* is a number given once to a (kind, id); a *rowset* is a list of codes that frames
share; a *shape* is (kind, origin, band, metrics). So a frame costs the store three small numbers beside its values.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from twin.frame import Bytes, Floats, Frame, Ints
from twin.metrics import metric
from twin.site import Site
from twin.times import micros

MAX_ELEMENTS = 4_000_000  # codes in all rowsets; past it, new subsets are cut along fixed blocks of BLOCK rows
SET_ELEMENTS = 64  # codes that a rowset costs by itself: some 800 bytes of Python's beside three copies of its own
BLOCK = 256
MAX_ANSWERS = 1000  # of ``apart`` that are remembered
SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS asset(code INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, UNIQUE(kind, id));
CREATE TABLE IF NOT EXISTS rowset(id INTEGER PRIMARY KEY, codes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS shape(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
"""


class Group(NamedTuple):
    """What is stored together."""

    kind: str
    origin: str
    band: str


class Shape(NamedTuple):
    """What a frame speaks of, without its assets and its time."""

    group: Group
    metrics: tuple[str, ...]


class Placed(NamedTuple):
    """A frame (or a part of one) in the store's own words: columns over the codes of ``rowset``."""

    shape: int
    rowset: int
    time: int
    values: Mapping[str, Floats]
    quality: Mapping[str, Bytes]


class Names:
    """The three dictionaries, bound to a site. One thread at a time may ``place`` or ``refresh``; reading is free."""

    def __init__(self, con: sqlite3.Connection, site: Site) -> None:
        self._con = con
        self._site = site
        self._reload()

    def _reload(self) -> None:
        self._codes: dict[tuple[str, str], int] = {}
        self._by_row: dict[str, Ints] = {}
        self._sets: list[Ints] = []
        self._shapes: list[Shape] = []
        self._set_ids: dict[bytes, int] = {}
        self._shape_ids: dict[Shape, int] = {}
        self._wholes: dict[str, int] = {}  # kind -> the rowset of all its assets
        self._known: dict[tuple[str, bytes], int] = {}  # (kind, rows) -> rowset, for subsets seen before
        self._apart: dict[tuple[int, ...], bool] = {}
        self._elements = 0
        self._new = False  # names were made that are not committed yet
        self.refresh()

    def refresh(self) -> None:
        """Take over what the writer added since."""
        asset_sql = "SELECT code, kind, id FROM asset WHERE code > ?"
        fresh = self._con.execute(asset_sql, (len(self._codes),)).fetchall()
        self._codes.update(((kind, asset), code) for code, kind, asset in fresh)
        for _, blob in self._con.execute(
            "SELECT id, codes FROM rowset WHERE id >= ? ORDER BY id", (len(self._sets),)
        ).fetchall():
            self._keep_set(np.cumsum(np.frombuffer(blob, dtype=np.int32), dtype=np.int32))
        for _, text in self._con.execute(
            "SELECT id, text FROM shape WHERE id >= ? ORDER BY id", (len(self._shapes),)
        ).fetchall():
            kind, origin, band, *metrics = json.loads(text)
            self._keep_shape(Shape(Group(kind, origin, band), tuple(metrics)))

    def codes(self, rowset: int) -> Ints:
        """int32[n]: asset codes of a rowset."""
        return self._sets[rowset]

    def codes_of_sets(self, rowsets: Iterable[int]) -> Ints:
        """The codes of several rowsets, one after the other."""
        found = [self._sets[rowset] for rowset in rowsets]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def apart(self, rowsets: tuple[int, ...]) -> bool:
        """Whether no asset is in two of ``rowsets`` (or in one that stands there twice)."""
        if rowsets not in self._apart:
            if len(self._apart) >= MAX_ANSWERS:
                self._apart.clear()
            codes = self.codes_of_sets(rowsets)
            self._apart[rowsets] = len(rowsets) == 1 or len(np.unique(codes)) == len(codes)
        return self._apart[rowsets]

    def sizes(self, rowsets: Iterable[int]) -> Ints:
        """int32[b]: how many assets each rowset has."""
        return np.array([len(self._sets[rowset]) for rowset in rowsets], dtype=np.int32)

    def shape(self, number: int) -> Shape:
        """The shape with this number."""
        return self._shapes[number]

    @property
    def highest_code(self) -> int:
        """Of all assets."""
        return len(self._codes)

    def known_count(self, kind: str) -> int:
        """How many assets of ``kind`` ever had a value, also those that the site has no longer."""
        return sum(of == kind for of, _ in list(self._codes))  # a copy: another thread may add to it

    def codes_of(self, kind: str) -> Ints:
        """int32[n]: code of each row of ``kind`` of the site, 0 for assets that never had a value."""
        found = self._by_row.get(kind)
        if found is None:
            found = np.array([self._codes.get((kind, asset), 0) for asset in self._site.ids_of(kind)], dtype=np.int32)
            if found.all():  # else an asset may be given its code at this moment, by another thread
                self._by_row[kind] = found
        return found

    def places_of(self, kind: str, rows: Ints) -> Ints:
        """int32[highest code + 1]: where in ``rows`` (of the site) the asset with a code stands, -1 where it does not."""
        codes = self.codes_of(kind)[rows]
        where = np.full(self.highest_code + 1, -1, dtype=np.int32)
        where[codes] = np.arange(len(rows), dtype=np.int32)
        where[0] = -1
        return where

    def place(self, frames: Iterable[Frame]) -> list[Placed]:
        """``frames`` in the store's words; new names are durable on return. ``KeyError`` for a metric that is not in the
        table, ``ValueError`` for a row that the site does not have: no name is then kept either."""
        try:
            placed = self._place(frames)
            if self._new:
                self._con.execute("COMMIT")
        except BaseException:
            if self._con.in_transaction:  # SQLite itself may have rolled back already
                self._con.execute("ROLLBACK")
            if self._new:
                self._reload()
            raise
        self._new = False
        return placed

    def _place(self, frames: Iterable[Frame]) -> list[Placed]:
        placed: list[Placed] = []
        for frame in frames:
            shape = self._shape_of(frame)
            for rowset, size, put, take in self._cut(frame.kind, frame.rows):
                values, quality = frame.values, _graded(frame)
                if put is not None:
                    values = {name: _spread(column, size, put, take, np.nan) for name, column in values.items()}
                    quality = {name: _spread(column, size, put, take, 0) for name, column in quality.items()}
                placed.append(Placed(shape, rowset, micros(frame.time), values, quality))
        return placed

    def _cut(self, kind: str, rows: Ints) -> Iterable[tuple[int, int, Ints | None, Ints | None]]:
        """(rowset, its size, where to put, what to take) for each piece that a frame of ``rows`` falls into."""
        if rows is self._site.all_rows(kind) and len(rows):
            return ((self._whole(kind), len(rows), None, None),)
        key = (kind, rows.tobytes())
        known = self._known.get(key)
        if known is not None:
            return ((known, len(rows), None, None),)
        return self._cut_new(kind, rows, key)

    def _cut_new(self, kind: str, rows: Ints, key: tuple[str, bytes]) -> list[tuple[int, int, Ints | None, Ints | None]]:
        n = self._site.count(kind)
        if len(rows) == 0:
            return []
        if int(rows.min()) < 0 or int(rows.max()) >= n:
            raise ValueError(f"frame of {kind}: rows {rows.min()} to {rows.max()} where the site has {n}; use the site's rows")
        if np.array_equal(rows, self._site.all_rows(kind)):
            return [(self._whole(kind), n, None, None)]
        if 2 * len(rows) >= n:  # most of the kind: as the whole kind, NaN where nothing was read
            return [(self._whole(kind), n, rows, None)]
        if self._elements + SET_ELEMENTS + len(rows) <= MAX_ELEMENTS:
            self._known[key] = self._set_of(self._named(kind)[rows])
            return [(self._known[key], len(rows), None, None)]
        pieces: list[tuple[int, int, Ints | None, Ints | None]] = []
        for block in np.unique(rows // BLOCK):
            take = np.flatnonzero(rows // BLOCK == block).astype(np.int32)
            codes = self._named(kind)[block * BLOCK : (block + 1) * BLOCK]
            pieces.append((self._set_of(codes), len(codes), rows[take] - block * BLOCK, take))
        return pieces

    def _insert(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """New names of one ``place`` are one transaction: the first tick of a large site brings thousands."""
        if not self._new:
            self._con.execute("BEGIN IMMEDIATE")
            self._new = True
        self._con.executemany(sql, rows)

    def _whole(self, kind: str) -> int:
        if kind not in self._wholes:
            self._wholes[kind] = self._set_of(self._named(kind))
        return self._wholes[kind]

    def _named(self, kind: str) -> Ints:
        """Codes of all assets of ``kind``; each has one now."""
        codes = self.codes_of(kind)
        if not codes.all():
            first = len(self._codes) + 1
            ids = [asset for asset, code in zip(self._site.ids_of(kind), codes, strict=True) if not code]
            self._insert("INSERT INTO asset(code, kind, id) VALUES (?, ?, ?)", ((i, kind, a) for i, a in enumerate(ids, first)))
            self._codes.update(((kind, asset), code) for code, asset in enumerate(ids, first))
            codes = self.codes_of(kind)
        return codes

    def _set_of(self, codes: Ints) -> int:
        found = self._set_ids.get(codes.tobytes())
        if found is None:
            found = len(self._sets)
            blob = np.diff(codes, prepend=np.int32(0)).astype(np.int32).tobytes()
            self._insert("INSERT INTO rowset(id, codes) VALUES (?, ?)", [(found, blob)])
            self._keep_set(codes)
        return found

    def _keep_set(self, codes: Ints) -> None:
        self._set_ids[codes.tobytes()] = len(self._sets)
        self._sets.append(codes)
        self._elements += SET_ELEMENTS + len(codes)

    def _shape_of(self, frame: Frame) -> int:
        shape = Shape(Group(frame.kind, frame.origin.value, frame.band), tuple(frame.values))
        found = self._shape_ids.get(shape)
        if found is None:
            for name in shape.metrics:
                metric(frame.kind, name)
            found = len(self._shapes)
            text = json.dumps([*shape.group, *shape.metrics])
            self._insert("INSERT INTO shape(id, text) VALUES (?, ?)", [(found, text)])
            self._keep_shape(shape)
        return found

    def _keep_shape(self, shape: Shape) -> None:
        self._shape_ids[shape] = len(self._shapes)
        self._shapes.append(shape)


def _graded(frame: Frame) -> Mapping[str, Bytes]:
    """The qualities that say anything."""
    return {name: grade for name, grade in frame.quality.items() if name in frame.values and grade.any()}


def _spread(column: Any, size: int, put: Ints, take: Ints | None, empty: float) -> Any:
    wide = np.full(size, empty, dtype=column.dtype)
    wide[put] = column if take is None else column[take]
    return wide
