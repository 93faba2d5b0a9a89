"""Rollups: count, sum, minimum, maximum and last value of each minute and each hour, always worked out from all that is known
of it: a late or repeated value makes its minute and hour be worked out anew, and the newer answer wins over the older."""

from collections.abc import Iterable, Sequence

import numpy as np

from ingest.stores.embedded.codec import to_integers
from ingest.stores.embedded.files import STATS
from ingest.stores.embedded.grid import Bools, Piece, Steps, Times, resolved
from ingest.stores.embedded.names import Names
from ingest.stores.embedded.parts import Block
from ingest.stores.embedded.settle import split
from twin.frame import Floats, Ints


def where_of(names: Names, rowsets: Sequence[int]) -> tuple[Ints, Ints]:
    """Codes of all assets of ``rowsets``, increasing; and code -> its place among them, -1 elsewhere."""
    codes = np.unique(names.codes_of_sets(rowsets))
    where = np.full(int(codes[-1]) + 1, -1, dtype=np.int32)
    where[codes] = np.arange(len(codes), dtype=np.int32)
    return codes, where


def reach(where: Ints, names: Names) -> Ints:
    """``where`` made long enough for every code there is."""
    size = names.highest_code + 1
    return where if len(where) >= size else np.concatenate([where, np.full(size - len(where), -1, dtype=np.int32)])


def edges_of(starts: Times, width: int) -> Times:
    """Edges of the intervals of ``width`` that begin at ``starts`` (increasing), neighbours joined."""
    first = np.diff(starts, prepend=starts[0] - 2 * width) != width
    last = np.append(first[1:], True)
    return np.stack([starts[first], starts[last] + width], axis=1).ravel()


def decimals(sums: Iterable[Floats]) -> int | None:
    """How many decimals all ``sums`` have, NaN aside; None where some are no short decimals."""
    most = 0
    for plane in sums:
        whole, most = to_integers(np.where(np.isnan(plane), 0.0, plane), most)
        if whole is None:
            return None
    return most


def rolled(
    names: Names,
    rowsets: Sequence[int],
    ranks: Sequence[Sequence[Piece]],
    asked: Iterable[Piece] | None,
    starts: Times,
    width: int,
    places: int | None,
) -> list[Block]:
    """Blocks of statistics of the buckets of ``width`` that begin at ``starts``, for the assets of ``rowsets``.

    An answer (count 0 where nothing is believable) is given for the cells that ``asked`` speaks of; None: for those that
    have something. ``places``: decimals of the values where all are short decimals; sums are then rounded to them, which
    makes them exact, and small.
    """
    codes, where = where_of(names, rowsets)
    first, last = int(starts[0]), int(starts[-1])
    m = (last - first) // width + 1
    wanted = None if asked is None else _spoken(asked, len(codes), first, width, m)
    steps = Steps(len(codes), first, width, m, STATS)
    for piece in resolved(ranks):
        steps.add(piece.believed())
    columns = (starts - first) // width
    table = {name: cells[:, columns] if len(columns) < m else cells for name, cells in steps.cells.items()}
    if places is not None:
        table["sum"] = np.round(table["sum"], places)
    empty = table["count"] == 0
    table["sum"][empty] = np.nan
    table["count"][empty if wanted is None else ~wanted[:, columns]] = np.nan
    return _by_set(names, rowsets, where, table, starts)


def _spoken(pieces: Iterable[Piece], n: int, first: int, width: int, m: int) -> Bools:
    steps = Steps(n, first, width, m, ("max",))
    for piece in pieces:
        steps.add(Piece(piece.pos, piece.times, piece.axis, {"max": np.where(np.isnan(piece.said), np.nan, 1.0)}))
    spoken: Bools = ~np.isnan(steps.cells["max"])
    return spoken


def _by_set(names: Names, rowsets: Sequence[int], where: Ints, table: dict[str, Floats], starts: Times) -> list[Block]:
    """The table in the order of ``rowsets``; an asset that is in several goes with the first."""
    pos = where[names.codes_of_sets(rowsets)]
    planes = {name: plane[pos] for name, plane in table.items()}
    whole = Block(np.array(rowsets), starts[None, :], planes)
    if names.apart(tuple(rowsets)):
        return [whole]
    again = np.ones(len(pos), dtype=bool)
    again[np.unique(pos, return_index=True)[1]] = False
    for plane in planes.values():
        plane[again] = np.nan
    return split(whole, names)
