"""Compaction: from the journal to parts and rollups, in small portions of work that the caller spreads as it likes.

Everything is written under the number of a run that does not count yet; one small transaction in the store's book makes it
count. A process that dies before leaves parts of no run, which the next compaction removes.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import DAY, HOUR, HOURS, MINUTE, MINUTES, RAW, Tier, data_path, shrink, told
from ingest.stores.embedded.grid import Piece, Times
from ingest.stores.embedded.index import Index, Newest, nothing
from ingest.stores.embedded.journal import Item, Loader, Taken
from ingest.stores.embedded.merge import merge
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.parts import LEVEL, Block, Part, PartReader, PartWriter, drop_parts, open_data
from ingest.stores.embedded.rollups import decimals, edges_of, reach, rolled, where_of
from ingest.stores.embedded.settle import Batch, owners, piece_of
from ingest.stores.embedded.stretch import stretch
from twin.frame import Bytes, Floats, Ints, Origin, Quality

WINDOW = 10 * MINUTE  # how much time one part holds
WAIT = 6 * WINDOW  # frames further ahead than this are not waited for: forecasts
MAX_CELLS = 8_000_000  # held at once for one part, 64 MB: of big frames one metric, of small ones all
HOUR_CELLS = 2_000_000  # minutes of one metric that are rolled into hours at once
SPARSE_CELLS = 1_000_000  # windows that hold less than this together become one part


class Compaction:
    """One run. ``work`` yields the values done since it last yielded; when it ends, the run counts."""

    def __init__(
        self, folder: Path, names: Names, index: Index, items: Sequence[Item], taken: Taken, was: tuple[int, Taken | None]
    ) -> None:
        self._folder = folder
        self._names = names
        self._index = index
        self._items = items
        self.taken = taken
        self.run = was[0] + 1
        self._before = was[1]
        self._codec = Codec(LEVEL)
        self._loader = Loader(folder, names)
        self._cons: dict[Path, sqlite3.Connection] = {}
        self._newest: dict[tuple[Group, str], Newest] = {}
        self._hours: dict[Group, set[int]] = defaultdict(set)
        self._written: set[tuple[Tier, Path, Group]] = set()

    def work(self) -> Iterator[int]:
        """Do it, portion by portion. Raises ``StoreError`` where the disk says no; nothing of the run then counts."""
        try:
            yield from self._tidy()
            floor, oldest = self._index.floor(RAW.name), self._index.floor(HOURS.name)
            groups: dict[tuple[Group, bool], list[Item]] = defaultdict(list)
            for item in self._items:
                if item.time >= oldest:  # else nothing keeps it, as ``append`` has said
                    groups[item.group, item.time < floor].append(item)
            for (group, late), items in groups.items():
                for some in _slices(items):
                    yield from (self._late if late else self._slice)(group, some)
            yield from self._roll_hours()
            for tier, path, group in sorted(self._written):
                with told(path):
                    yield from merge(self._con(path), self._codec, self._names, tier, group, self.run)
                    if tier is RAW:
                        yield from stretch(self._con(path), self._codec, self._names, group, self.run, self.taken.low)
            self._settle_files()
            packed = {key: newest.packed(self._codec) for key, newest in self._newest.items()}
            with told(self._index.path):
                self._index.commit(self.run, self.taken, packed, {path.name for _, path, _ in self._written})
        finally:
            self.close()

    def close(self) -> None:
        """Let go of all files; what was not committed is as if it had not been."""
        self._loader.close()
        for con in self._cons.values():
            con.close()
        self._cons.clear()

    def _tidy(self) -> Iterator[int]:
        """Remove parts that were replaced by the last run, or written by one that never came to its end."""
        counts = self.run - 1
        for name in self._index.touched():
            path = self._folder / name
            if path.exists():
                with told(path):
                    con = self._con(path)
                    con.execute("UPDATE part SET dead = NULL WHERE dead > ?", (counts,))
                    ids = con.execute("SELECT id FROM part WHERE run > ? OR dead IS NOT NULL", (counts,)).fetchall()
                    drop_parts(con, [part for (part,) in ids])
                    con.execute("COMMIT")
                    if ids:
                        shrink(con)
                    con.execute("BEGIN IMMEDIATE")
                yield 0

    def _con(self, path: Path) -> sqlite3.Connection:
        """A data file, in a transaction that lasts until the run is done."""
        if path not in self._cons:
            with told(self._index.path):
                self._index.touch(path.name)
            con = self._cons[path] = open_data(path)
            con.execute("PRAGMA wal_autocheckpoint = 0")  # once, at the end
            con.execute("BEGIN IMMEDIATE")
        return self._cons[path]

    def _settle_files(self) -> None:
        """Make it durable, and copy the logs into the files, so that what is on disk is there once."""
        for path, con in self._cons.items():
            with told(path):
                con.execute("COMMIT")
                con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _slice(self, group: Group, items: Sequence[Item]) -> Iterator[int]:
        """One part of raw values and one of minutes."""
        path, minutes = data_path(self._folder, RAW, items[0].time), data_path(self._folder, MINUTES, items[0].time)
        with told(path):
            con, rolls = self._con(path), self._con(minutes)
            reader = PartReader(con, self._codec, self._names, RAW, self.run - 1)
            raw = PartWriter(con, self._codec, self._names, RAW, group, self.run, self.run)
            roll = PartWriter(rolls, self._codec, self._names, MINUTES, group, self.run, self.run)
            batch = Batch(self._names, self._loader, items)
            for metric in batch.metrics:
                blocks = batch.blocks(metric)
                places = raw.add(metric, blocks)
                self._note_newest(group, metric, blocks)
                roll.add(metric, self._minutes(reader, group, metric, blocks, places), places)
                yield sum(block.planes["value"].size for block in blocks)
            raw.finish()
            roll.finish()
        self._loader.forget()
        self._written |= {(RAW, path, group), (MINUTES, minutes, group)}

    def _late(self, group: Group, items: Sequence[Item]) -> Iterator[int]:
        """What comes when the raw values of its time are gone: minutes of it, where none are known. Those that are were made
        of raw values that nobody has any more, so they stay: these rank below all others."""
        path = data_path(self._folder, MINUTES, items[0].time)
        with told(path):
            roll = PartWriter(self._con(path), self._codec, self._names, MINUTES, group, -self.run, self.run)
            batch = Batch(self._names, self._loader, items)
            for metric in batch.metrics:
                blocks = batch.blocks(metric)
                places = decimals(block.planes["value"] for block in blocks)
                self._note_newest(group, metric, blocks)
                roll.add(metric, self._minutes(None, group, metric, blocks, places), places)
                yield sum(block.planes["value"].size for block in blocks)
            roll.finish()
        self._loader.forget()
        self._written.add((MINUTES, path, group))

    def _minutes(
        self, reader: PartReader | None, group: Group, metric: str, blocks: Sequence[Block], places: int | None
    ) -> list[Block]:
        """Of ``blocks`` and of what ``reader`` has of the same minutes."""
        starts = np.unique(np.concatenate([np.unique(block.times // MINUTE) for block in blocks])) * MINUTE
        self._hours[group].update((np.unique(starts // HOUR) * HOUR).tolist())
        rowsets = list(dict.fromkeys(rowset for block in blocks for rowset in block.rowsets.tolist()))
        _, where = where_of(self._names, rowsets)
        newer = [piece for block in blocks if (piece := piece_of(block, where, self._names))]
        older = self._older(reader, group, metric, where, starts) if reader else []
        plain = not older and all(piece.quality is None for piece in newer)
        asked = None if plain else newer
        if older:
            places = decimals(piece.said for rank in (*older, newer) for piece in rank)
        return rolled(self._names, rowsets, [*older, newer], asked, starts, MINUTE, places)

    def _older(self, reader: PartReader, group: Group, metric: str, where: Ints, starts: Times) -> list[list[Piece]]:
        """What earlier runs have of the same minutes; mostly nothing."""
        edges = edges_of(starts, MINUTE)
        where = reach(where, self._names)
        found = []
        for part in reader.parts(group, edges):
            pieces = [p for p in reader.pieces(part, metric, where, edges, RAW.planes) if p.times.size]
            if pieces:
                found.append(pieces)
        return found

    def _note_newest(self, group: Group, metric: str, blocks: Sequence[Block]) -> None:
        if group.origin == Origin.FORECAST:
            return
        key = (group, metric)
        if key not in self._newest:
            blob = self._index.newest_of(group, metric)
            self._newest[key] = nothing() if blob is None else Newest.unpacked(self._codec, blob)
        found = [_last_good(block, self._names) for block in blocks]
        codes, times, values, grades = (np.concatenate([one[i] for one in found]) for i in range(4))
        order = np.lexsort((times, codes))
        last = order[np.append(np.diff(codes[order]) > 0, True)] if len(order) else order
        self._newest[key] = self._newest[key].with_newer(codes[last], times[last], values[last], grades[last])

    def _roll_hours(self) -> Iterator[int]:
        """Hours that this run's minutes fall into, and the one that the run before left unfinished; the one that is not
        over yet is left for the next."""
        low = self.taken.low
        open_hour = low // HOUR * HOUR if low % HOUR else None
        if self._before is not None:
            unfinished = self._before.low // HOUR * HOUR
            path = data_path(self._folder, MINUTES, unfinished)
            if path.exists():
                with told(path):
                    groups = PartReader(self._con(path), self._codec, self._names, MINUTES, self.run).groups()
                for group in groups:
                    self._hours[group].add(unfinished)
        floor = self._index.floor(MINUTES.name)  # before it, minutes of an hour may be gone that the hour was made of
        for group, hours in sorted(self._hours.items()):
            together = max(1, min(24, HOUR_CELLS // (60 * self._names.known_count(group.kind))))
            batches: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
            for hour in sorted(hours - {open_hour}):
                batches[hour // DAY, hour % DAY // HOUR // together, hour < floor].append(hour)
            for (*_, late), batch in batches.items():
                yield from self._some_hours(group, np.array(batch), -self.run if late else self.run)

    def _some_hours(self, group: Group, hours: Times, rank: int) -> Iterator[int]:
        """Hours of one day as one part."""
        path, target = data_path(self._folder, MINUTES, int(hours[0])), data_path(self._folder, HOURS, int(hours[0]))
        with told(target):
            reader = PartReader(self._con(path), self._codec, self._names, MINUTES, self.run)
            parts = reader.parts(group, edges_of(hours, HOUR))
            if not parts:
                return
            writer = PartWriter(self._con(target), self._codec, self._names, HOURS, group, rank, self.run)
            for metric in sorted({name for part in parts for name in reader.metrics(part)}):
                blocks = self._hours_of(reader, parts, metric, hours)
                writer.add(metric, blocks)
                yield sum(block.planes["count"].size for block in blocks) * (HOUR // MINUTE)
            writer.finish()
        self._written.add((HOURS, target, group))

    def _hours_of(self, reader: PartReader, parts: Sequence[Part], metric: str, hours: Times) -> list[Block]:
        rowsets = list(dict.fromkeys(rowset for part in parts for rowset in reader.rowsets(part, metric)))
        where = reach(where_of(self._names, rowsets)[1], self._names)
        edges = edges_of(hours, HOUR)
        ranks = [list(reader.pieces(part, metric, where, edges, MINUTES.planes)) for part in parts]
        said = [piece for rank in ranks for piece in rank]
        return rolled(self._names, rowsets, ranks, said, hours, HOUR, decimals(piece.planes["sum"] for piece in said))


def _last_good(block: Block, names: Names) -> tuple[Ints, Times, Floats, Bytes]:
    """The last believable value of each asset of a block: codes, times, values, qualities. Mostly in the last column."""
    values, quality = block.planes["value"], block.quality
    n, t = values.shape
    at = np.full(n, -1, dtype=np.intp)
    for k in range(t - 1, -1, -1):
        unknown = np.flatnonzero(at < 0)
        if not len(unknown):
            break
        good = ~np.isnan(values[unknown, k])
        if quality is not None:
            good &= quality[unknown, k] < Quality.BAD
        at[unknown[good]] = k
    rows = np.flatnonzero(at >= 0)
    at = at[rows]
    grades = np.zeros(len(rows), dtype=np.uint8) if quality is None else quality[rows, at]
    return names.codes_of_sets(block.rowsets)[rows], block.times[owners(block, names)[rows], at], values[rows, at], grades


def _slices(items: Sequence[Item]) -> list[list[Item]]:
    """Cut the frames of one group in time, each slice to become a part: never across midnight, never within a minute, a
    window each, or several windows where little fell into them, or less than one where too much did."""
    windows: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        windows[item.time // WINDOW].append(item)
    slices: list[list[Item]] = []
    first = cells = 0
    for window, some in sorted(windows.items()):
        count = sum(item.size for item in some)
        same_day = bool(slices) and first * WINDOW // DAY == window * WINDOW // DAY
        if same_day and (cells + count) * (window - first + 1) <= SPARSE_CELLS:
            slices[-1].extend(some)
            cells += count
        else:
            slices.append(list(some))
            first, cells = window, count
    return [piece for some in slices for piece in _bounded(some)]


def _bounded(items: list[Item]) -> list[list[Item]]:
    """``items`` in as many pieces of whole minutes as keep each at ``MAX_CELLS`` where a minute allows it."""
    if sum(item.held for item in items) <= MAX_CELLS:
        return [sorted(items, key=lambda item: (item.seq, item.index))]
    minutes: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        minutes[item.time // MINUTE].append(item)
    pieces: list[list[Item]] = [[]]
    cells = 0
    for _, some in sorted(minutes.items()):
        count = sum(item.held for item in some)
        if pieces[-1] and cells + count > MAX_CELLS:
            pieces.append([])
            cells = 0
        pieces[-1].extend(some)
        cells += count
    return [sorted(piece, key=lambda item: (item.seq, item.index)) for piece in pieces]
