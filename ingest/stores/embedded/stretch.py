"""Stretching: the windows of some hours, once those are over, become one part whose chunks hold a few assets for all that
time. A reader of one asset then opens a twelfth of the chunks; what a chunk holds stays as much."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import HOUR, RAW
from ingest.stores.embedded.grid import Times
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.parts import Part, PartReader, PartWriter, Slab, follow_each_other, rows_a_chunk
from twin.frame import Bytes, Floats, Ints

BLOCK = 2 * HOUR
AT_LEAST = 6  # parts: fewer are not worth it
HELD_CELLS = 4_000_000  # values held at once
CHUNK_CELLS = 8_192  # values a chunk: as few assets as still compress well
CHEAP = 4  # a value that is stretched takes a quarter of what compacting one takes


class _Run(NamedTuple):
    """Rowsets that lie alike in every part: the same axis of a slab of each. ``rows``: for each part, where their assets
    stand in its slab."""

    rowsets: Sequence[int]
    slabs: Sequence[tuple[Part, Slab]]
    rows: Sequence[Ints]
    times: Times


def stretch(con: sqlite3.Connection, codec: Codec, names: Names, group: Group, run: int, low: int) -> Iterator[int]:
    """Join what lies whole within each block of hours that is over before ``low``, where that is many parts and none
    contradicts another. In a transaction of the caller; yields values done, by what they cost."""
    reader = PartReader(con, codec, names, RAW, run)
    blocks: dict[int, list[Part]] = defaultdict(list)
    torn: set[int] = set()
    for part in sorted(reader.parts(group), key=lambda part: part.t0):
        first, last = part.t0 // BLOCK, (part.t1 - 1) // BLOCK
        blocks[first].append(part)
        if first != last:
            torn.update(range(first, last + 1))
    for block, parts in blocks.items():
        over = (block + 1) * BLOCK <= low and block not in torn
        if over and len(parts) >= AT_LEAST and follow_each_other(parts):
            yield from _join(reader, group, run, parts)


def _join(reader: PartReader, group: Group, run: int, parts: Sequence[Part]) -> Iterator[int]:
    columns = {name: _runs(reader, parts, name) for name in sorted({name for part in parts for name in reader.metrics(part)})}
    if not all((np.diff(one.times) > 0).all() for some in columns.values() for one in some):
        return  # a set of assets stands twice in a part, on axes that mix
    writer = PartWriter(reader.con, reader.codec, reader.names, RAW, group, max(part.rank for part in parts), run)
    for name, some in columns.items():
        slabs = ((np.array(one.rowsets), one.times, _portions(reader, name, one)) for one in some)
        for done in writer.add_slabs(name, slabs, CHUNK_CELLS):
            yield done // CHEAP
    writer.finish()
    reader.con.executemany("UPDATE part SET dead = ? WHERE id = ?", [(run, part.id) for part in parts])


def _runs(reader: PartReader, parts: Sequence[Part], metric: str) -> list[_Run]:
    """All rowsets of a metric, those that lie alike together."""
    names = reader.names
    places: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # rowset -> slab, axis and first row in each part
    slabs: list[tuple[Part, Slab]] = []
    for part in parts:
        for slab in reader.slabs(part, metric):
            ends = np.cumsum(names.sizes(slab.rowsets))
            starts = np.concatenate([[0], ends[:-1]]).tolist()
            for rowset, axis, row in zip(slab.rowsets.tolist(), slab.axes.tolist(), starts, strict=True):
                places[rowset].append((len(slabs), axis, row))
            slabs.append((part, slab))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for rowset, some in places.items():
        alike[tuple((slab, axis) for slab, axis, _ in some)].append(rowset)
    runs = []
    for key, rowsets in alike.items():
        times = np.concatenate([reader.axes(slabs[slab][0])[axis] for slab, axis in key])
        for together in [rowsets] if names.apart(tuple(rowsets)) else [[rowset] for rowset in rowsets]:
            sizes = names.sizes(together).tolist()
            rows = [
                np.concatenate(
                    [
                        np.arange(places[r][k][2], places[r][k][2] + n, dtype=np.int32)
                        for r, n in zip(together, sizes, strict=True)
                    ]
                )
                for k in range(len(key))
            ]
            runs.append(_Run(together, [slabs[slab] for slab, _ in key], rows, times))
    return runs


def _portions(reader: PartReader, metric: str, run: _Run) -> Iterator[tuple[Floats, Bytes | None]]:
    """Values float64[k, t] and qualities of some assets after the other, over all parts."""
    chunk = rows_a_chunk(CHUNK_CELLS, len(run.times))
    step = max(1, HELD_CELLS // len(run.times) // chunk) * chunk
    for start in range(0, len(run.rows[0]), step):
        found = [
            _some(reader, part, metric, slab, rows[start : start + step])
            for (part, slab), rows in zip(run.slabs, run.rows, strict=True)
        ]
        grades = [np.zeros(values.shape, dtype=np.uint8) if grade is None else grade for values, grade in found]
        graded = any(grade is not None for _, grade in found)
        yield np.concatenate([values for values, _ in found], axis=1), np.concatenate(grades, axis=1) if graded else None


def _some(reader: PartReader, part: Part, metric: str, slab: Slab, rows: Ints) -> tuple[Floats, Bytes | None]:
    order = np.argsort(rows, kind="stable")
    if (order[1:] > order[:-1]).all():
        return reader.values(part, metric, slab, rows)
    values, grades = reader.values(part, metric, slab, rows[order])
    back = np.argsort(order, kind="stable")
    return values[back], None if grades is None else grades[back]
