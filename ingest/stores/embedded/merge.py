"""Merging: many small parts of one group become one, so that sparse and corrected series stay cheap to read."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import Tier
from ingest.stores.embedded.grid import Piece, resolved
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.parts import Block, Part, PartReader, PartWriter
from ingest.stores.embedded.settle import piece_of, split

AT_LEAST = 8
SMALL_CELLS = {"raw": 100_000, "minute": 8_000_000, "hour": 8_000_000}  # a larger part is left as it is


def merge(con: sqlite3.Connection, codec: Codec, names: Names, tier: Tier, group: Group, run: int) -> Iterator[int]:
    """Where the newest parts of ``group`` are at least ``AT_LEAST`` small ones, write one in their place. Only neighbours in
    rank are joined, so that what wins over what stays as it was. In a transaction of the caller; yields values done."""
    reader = PartReader(con, codec, names, tier, run)
    parts = _tail(reader.parts(group), SMALL_CELLS[tier.name])
    if len(parts) < AT_LEAST:
        return
    writer = PartWriter(con, codec, names, tier, group, parts[-1].rank, run)
    for metric in sorted({name for part in parts for name in reader.metrics(part)}):
        blocks = _joined(names, [reader.blocks(part, metric) for part in parts])
        writer.add(metric, blocks)
        yield sum(plane.size for block in blocks for plane in block.planes.values())
    writer.finish()
    con.executemany("UPDATE part SET dead = ? WHERE id = ?", [(run, part.id) for part in parts])


def _tail(parts: Sequence[Part], cells: int) -> list[Part]:
    """The longest run of small parts at the end."""
    small: list[Part] = []
    for part in reversed(parts):
        if part.cells > cells:
            break
        small.append(part)
    return small[::-1]


def _joined(names: Names, ranks: Sequence[Sequence[Block]]) -> list[Block]:
    everyone = np.arange(names.highest_code + 1, dtype=np.int32)
    rowsets_of: dict[int, NDArray[np.signedinteger[Any]]] = {}
    pieces: list[list[Piece]] = []
    for rank in ranks:
        pieces.append([])
        for block in (part for each in rank for part in ([each] if len(each.times) == 1 else split(each, names))):
            piece = piece_of(block, everyone, names)
            if piece is not None:
                rowsets_of[id(piece)] = block.rowsets
                pieces[-1].append(piece)
    alike: dict[bytes, list[Piece]] = defaultdict(list)
    for piece in resolved(pieces):
        alike[rowsets_of[id(piece)].astype(np.int64).tobytes()].append(piece)
    return [_one(rowsets_of[id(some[0])], some) for some in alike.values()]


def _one(rowsets: NDArray[np.signedinteger[Any]], pieces: Sequence[Piece]) -> Block:
    """Pieces of the same rowsets, none of which contradict, as one block."""
    times = np.unique(np.concatenate([piece.times[0] for piece in pieces]))
    shape = (len(pieces[0].pos), len(times))
    planes = {name: np.full(shape, np.nan) for name in pieces[0].planes}
    graded = any(piece.quality is not None for piece in pieces)
    quality = np.zeros(shape, dtype=np.uint8) if graded else None
    for piece in pieces:
        at = np.searchsorted(times, piece.times[0])
        said = ~np.isnan(piece.said)
        for name, plane in piece.planes.items():
            planes[name][:, at] = np.where(said, plane, planes[name][:, at])
        if quality is not None:
            quality[:, at] = np.where(said, 0 if piece.quality is None else piece.quality, quality[:, at])
    return Block(rowsets, times[None, :], planes, quality)
