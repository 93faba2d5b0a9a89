"""Reading a few assets over a long time: the chunks of all parts and metrics at once, where a call for each would cost more
than what it reads."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ingest.stores.embedded.grid import Piece, Times
from ingest.stores.embedded.parts import Part, PartReader, Slab, chunk_id, distinct, layout_of
from twin.frame import Bytes, Floats, Ints

FEW = 64  # assets up to which this is the quicker way


class _Take(NamedTuple):
    """What of one slab is asked for: where each asset goes, whose axes, which chunks and which rows of each."""

    slab: Slab
    pos: Ints
    used: Ints
    axis: Ints
    chunks: Sequence[int]
    rows: Sequence[Ints]


def lines(
    reader: PartReader, parts: Sequence[Part], metrics: Sequence[str], where: Ints, edges: Times, planes: Sequence[str]
) -> Mapping[str, list[list[Piece]]]:
    """For each of ``metrics`` the pieces of each of ``parts``, as ``PartReader.pieces`` would give them."""
    takes: dict[bytes, list[_Take]] = {}
    columns = reader.columns(parts)
    axes: dict[tuple[int, ...], Times] = {}  # one array for all metrics of a part: whoever joins them sees it at once
    found: dict[str, list[list[Piece]]] = {}
    for metric in metrics:
        asked: list[tuple[Part, int, _Take]] = []
        for part in parts:
            number, layout = columns.get((part.id, metric), (0, b""))
            if layout not in takes:
                takes[layout] = [take for slab in layout_of(layout) if (take := _take(reader, slab, where))]
            asked.extend((part, number, take) for take in takes[layout])
        pieces: dict[int, list[Piece]] = {part.id: [] for part in parts}
        values = [_values(reader, asked, plane) for plane in planes]
        for k, (part, _, take) in enumerate(asked):
            key = (part.id, *take.used.tolist())
            if key not in axes:
                axes[key] = np.stack([reader.axes(part)[axis] for axis in take.used])
            grades = values[0][k][1]
            table = {plane: values[i][k][0] for i, plane in enumerate(planes)}
            pieces[part.id].append(Piece(take.pos, axes[key], take.axis, table, grades).within(edges))
        found[metric] = list(pieces.values())
    return found


def _take(reader: PartReader, slab: Slab, where: Ints) -> _Take | None:
    places = where[reader.names.codes_of_sets(slab.rowsets)]
    rows = np.flatnonzero(places >= 0).astype(np.int32)
    if not len(rows):
        return None
    owner = np.zeros(len(places), dtype=np.int32)
    if not (slab.axes == slab.axes[0]).all():
        owner = np.repeat(np.arange(len(slab.axes), dtype=np.int32), reader.names.sizes(slab.rowsets))
    used, axis = distinct(owner[rows])
    chunk_of = rows // slab.rows
    starts = np.flatnonzero(np.diff(chunk_of, prepend=-1))
    each = np.split(rows, starts[1:])
    chunks = chunk_of[starts].tolist()
    return _Take(
        slab, places[rows], slab.axes[used], axis, chunks, [r - c * slab.rows for r, c in zip(each, chunks, strict=True)]
    )


def _values(reader: PartReader, asked: Sequence[tuple[Part, int, _Take]], plane: str) -> list[tuple[Floats, Bytes | None]]:
    """Values and qualities of one plane of each that is ``asked``."""
    which = reader.tier.planes.index(plane)
    keys: list[int] = []
    rows: list[Ints] = []
    for part, number, take in asked:
        base = chunk_id(part.id, number, which) + take.slab.chunk
        keys.extend(base + chunk for chunk in take.chunks)
        rows.extend(take.rows)
    decoded = iter(reader.codec.decode_lines(reader.chunks(keys), rows))
    found = []
    for _, _, take in asked:
        some = [next(decoded) for _ in take.chunks]
        if len(some) == 1:
            found.append(some[0])
            continue
        values = np.concatenate([one for one, _ in some])
        grades = [np.zeros(one.shape, dtype=np.uint8) if grade is None else grade for one, grade in some]
        graded = any(grade is not None for _, grade in some)
        found.append((values, np.concatenate(grades) if graded else None))
    return found
