"""Pieces put together as the tables that a series gives: every time at which anything is said, a row each."""

from collections.abc import Mapping, Sequence

import numpy as np

from ingest.stores.embedded.grid import Piece, Times, is_block
from twin.frame import Floats


def gathered(pieces: Mapping[str, Sequence[Piece]], n: int) -> tuple[Times, dict[str, Floats]]:
    """Every time at which any metric says something, and float64[t, n] a metric, NaN where it does not."""
    straight = _straight(pieces, n)
    if straight is not None:
        return straight
    spoken = [_spoken(piece) for some in pieces.values() for piece in some]
    times = np.unique(np.concatenate(spoken)) if spoken else np.empty(0, dtype=np.int64)
    tables: dict[str, Floats] = {}
    for name, some in pieces.items():
        tables[name] = table = np.full((len(times), n), np.nan)
        for piece in (single for each in some for single in each.uniform()):
            said = ~np.isnan(piece.said)
            columns = np.flatnonzero(said.any(axis=0))
            if len(columns):
                cells = np.ix_(np.searchsorted(times, piece.times[0, columns]), piece.pos)
                table[cells] = np.where(said[:, columns].T, piece.said[:, columns].T, table[cells])
    return times, tables


def _straight(pieces: Mapping[str, Sequence[Piece]], n: int) -> tuple[Times, dict[str, Floats]] | None:
    """The same where every metric has the same axes, one after the other, and all assets on each: nothing to look up."""
    axes = [piece.times for piece in next(iter(pieces.values()), ())]
    for some in pieces.values():
        if len(some) != len(axes) or not all(
            piece.times is axis and len(axis) == 1 and len(piece.pos) == n and int(piece.pos[0]) == 0 and is_block(piece.pos)
            for piece, axis in zip(some, axes, strict=True)
        ):
            return None
    if not axes:
        return None
    order = sorted(range(len(axes)), key=lambda i: int(axes[i][0, 0]))
    times = np.concatenate([axes[i][0] for i in order])
    if not (times[1:] > times[:-1]).all():
        return None
    if len(order) == 1:  # nothing to join, nothing to copy
        tables = {name: some[0].said for name, some in pieces.items()}
    else:
        tables = {name: np.concatenate([some[i].said for i in order], axis=1) for name, some in pieces.items()}
    said = np.zeros(len(times), dtype=np.bool_)
    for table in tables.values():
        said |= ~np.isnan(table).all(axis=0)
        if said.all():  # mostly at the first
            return times, {name: np.ascontiguousarray(table.T) for name, table in tables.items()}
    return times[said], {name: table.T[said] for name, table in tables.items()}


def _spoken(piece: Piece) -> Times:
    said = ~np.isnan(piece.said)
    if len(piece.times) == 1:
        return piece.times[0, said.any(axis=0)]
    return np.unique(piece.times[piece.axis][said])
