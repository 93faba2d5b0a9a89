"""Pieces of values at their times, which of two for the same cell counts, and how they fall into steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.frame import Bytes, Floats, Ints, Quality

Times = NDArray[np.int64]  # microseconds since 1970 UTC
Bools = NDArray[np.bool_]
_TILE = 64
EVER = np.array([-(2**62), 2**62])  # the edges of everything


def inside(edges: Times, times: Times) -> Bools:
    """Which of ``times`` lie in one of the half-open intervals whose starts and ends follow each other in ``edges``."""
    within: Bools = np.searchsorted(edges, times, side="right") % 2 == 1
    return within


def meets(edges: Times, start: int, end: int) -> bool:
    """Whether ``[start, end)`` has anything in common with the intervals of ``edges``."""
    first, last = np.searchsorted(edges, start, side="right"), np.searchsorted(edges, end, side="left")
    return bool(first % 2 or last > first)


def cut(edges: Times, start: int, end: int) -> Times:
    """The part of ``edges`` within ``[start, end)``."""
    if end <= start:
        return edges[:0]
    pairs = np.clip(edges, start, end).reshape(-1, 2)
    return pairs[pairs[:, 0] < pairs[:, 1]].ravel()


def without(edges: Times, gone: Times) -> Times:
    """The part of ``edges`` that ``gone`` leaves."""
    points = np.unique(np.concatenate([edges, gone]))
    if len(points) < 2:
        return points[:0]
    starts = points[:-1]  # between neighbouring points nothing changes
    keep = np.searchsorted(edges, starts, side="right") % 2 == 1
    keep &= np.searchsorted(gone, starts, side="right") % 2 == 0
    return np.stack([points[:-1][keep], points[1:][keep]], axis=1).ravel()


@dataclass(slots=True)
class Piece:
    """Values of k assets at t times: ``pos`` int32[k], where each stands among those asked for; ``times`` int64[a, t], the
    axes; ``axis`` int32[k], which axis each asset has; ``planes`` float64[k, t] each, the first of which is NaN where
    nothing was said; ``quality`` uint8[k, t] or None. Nobody else holds the arrays: they may be written to."""

    pos: Ints
    times: Times
    axis: Ints
    planes: dict[str, Floats]
    quality: Bytes | None = None

    @property
    def said(self) -> Floats:
        """The plane that tells where anything was said."""
        return next(iter(self.planes.values()))

    def within(self, edges: Times) -> "Piece":
        """What lies inside ``edges``: start and end of increasing half-open intervals, one after the other."""
        if not self.times.size:
            return self
        if len(edges) == 2 and int(self.times[:, 0].min()) >= edges[0] and int(self.times[:, -1].max()) < edges[1]:
            return self
        held = inside(edges, self.times)
        if held.all():
            return self
        if len(self.times) > 1:
            outside = ~held[self.axis]
            for plane in self.planes.values():
                plane[outside] = np.nan
            return self
        return self.columns(held[0])

    def columns(self, keep: Bools) -> "Piece":
        """Some of the times of a piece with one axis."""
        at = np.flatnonzero(keep)
        straight = len(at) > 0 and at[-1] - at[0] + 1 == len(at)
        some = slice(int(at[0]), int(at[-1]) + 1) if straight else at  # a slice copies nothing
        planes = {name: plane[:, some] for name, plane in self.planes.items()}
        return Piece(self.pos, self.times[:, some], self.axis, planes, None if self.quality is None else self.quality[:, some])

    def uniform(self) -> Iterator["Piece"]:
        """Pieces of one axis each that together say the same."""
        if len(self.times) == 1:
            yield self
            return
        for i, times in enumerate(self.times):
            rows = np.flatnonzero(self.axis == i)
            planes = {name: plane[rows] for name, plane in self.planes.items()}
            grades = None if self.quality is None else self.quality[rows]
            yield Piece(self.pos[rows], times[None, :], np.zeros(len(rows), dtype=np.int32), planes, grades)

    def marks(self) -> "Piece | None":
        """The qualities as a piece of their own; None where all is good."""
        if self.quality is None:
            return None
        return Piece(self.pos, self.times, self.axis, {"mark": np.where(self.quality > 0, self.quality, np.nan)})

    def believed(self) -> "Piece":
        """The same without bad values; of a rollup, without what turned out to hold none."""
        if self.quality is not None:
            self.said[self.quality == Quality.BAD] = np.nan
        if "count" in self.planes:
            self.said[self.said == 0] = np.nan
        return self


def resolved(ranks: Sequence[Sequence[Piece]]) -> list[Piece]:
    """All pieces, where of several that speak of the same asset and time only the one of the latest rank still does.
    Within a rank no cell stands twice."""
    ranks = [[piece for piece in rank if piece.times.size] for rank in ranks]
    if _follow_each_other(ranks):
        return [piece for rank in ranks for piece in rank]
    axes = [np.unique(np.concatenate([piece.times.ravel() for piece in rank])) for rank in ranks if rank]
    every = np.sort(np.concatenate(axes)) if axes else np.empty(0, dtype=np.int64)
    twice = every[1:][every[1:] == every[:-1]]
    if not len(twice):
        return [piece for rank in ranks for piece in rank]
    clear: list[Piece] = []
    contested: list[list[Piece]] = []
    for rank in ranks:
        contested.append([])
        for piece in rank:
            if np.isin(piece.times, twice).any():
                contested[-1].extend(piece.uniform())
            else:
                clear.append(piece)
    for i, rank in enumerate(contested):
        for loser in rank:
            for winner in (piece for later in contested[i + 1 :] for piece in later):
                _silence(loser, winner)
    return clear + [piece for rank in contested for piece in rank]


def _follow_each_other(ranks: Sequence[Sequence[Piece]]) -> bool:
    """Whether each rank is over before another begins, as it mostly is."""
    spans = sorted(
        (min(int(p.times[:, 0].min()) for p in rank), max(int(p.times[:, -1].max()) for p in rank)) for rank in ranks if rank
    )
    return all(this[1] < after[0] for this, after in pairwise(spans))


def _silence(loser: Piece, winner: Piece) -> None:
    """Make ``loser`` NaN wherever ``winner`` says something."""
    _, at_l, at_w = np.intersect1d(loser.times[0], winner.times[0], assume_unique=True, return_indices=True)
    if not len(at_l):
        return
    _, row_l, row_w = np.intersect1d(loser.pos, winner.pos, assume_unique=True, return_indices=True)
    if not len(row_l):
        return
    spoken = ~np.isnan(winner.said[np.ix_(row_w, at_w)])
    cells = np.ix_(row_l, at_l)
    for plane in loser.planes.values():
        plane[cells] = np.where(spoken, np.nan, plane[cells])


class Steps:
    """Values of n assets folded into m steps of ``width`` microseconds from ``start`` on; what is kept is by name:
    ``count``, ``sum``, ``min``, ``max``, ``last``; float64[n, m] each, NaN (0 for count and sum) where nothing fell.
    ``by_time``: all assets of a step lie together in memory, as a series is given; else all steps of an asset."""

    def __init__(self, n: int, start: int, width: int, m: int, wanted: Sequence[str], by_time: bool = False) -> None:
        self.start, self.width, self.n, self.m = start, width, n, m
        self._by_time = by_time
        self.cells = {name: self._table(0.0 if name in ("count", "sum") else np.nan) for name in wanted}
        self._last = np.full((n, m), np.iinfo(np.int64).min) if "last" in wanted else None
        self._placed: Floats | None = None  # means that were ready
        self._added = np.zeros(m, dtype=np.bool_)  # steps that something was folded into

    def _table(self, empty: float) -> Floats:
        shape = (self.m, self.n) if self._by_time else (self.n, self.m)
        made = np.full(shape, empty) if empty else np.zeros(shape)  # zeros cost nothing until they are touched
        return made.T if self._by_time else made

    def place(self, piece: Piece) -> None:
        """Means from the planes of a rollup whose buckets are these very steps, no cell twice: nothing is to be folded."""
        if len(piece.times) != 1:
            self.add(piece)
            return
        piece = piece.within(np.array([self.start, self.start + self.m * self.width]))
        if not piece.times.size:
            return
        if self._placed is None:
            self._placed = self._table(np.nan)
        steps = (piece.times[0] - self.start) // self.width
        straight = int(steps[-1] - steps[0]) + 1 == len(steps)
        rows = _block(piece.pos)
        into = (
            (rows, slice(int(steps[0]), int(steps[-1]) + 1))
            if straight and isinstance(rows, slice)
            else np.ix_(piece.pos, steps)
        )
        with np.errstate(invalid="ignore"):
            mean = np.divide(piece.planes["sum"], piece.said, out=piece.planes["sum"])
        missing = np.isnan(mean)
        self._placed[into] = np.where(missing, self._placed[into], mean) if missing.any() else mean

    def add(self, piece: Piece) -> None:
        """Fold ``piece`` in: values as read, or planes of a rollup under the same names. What is out of range is left out."""
        if len(piece.times) == 1:
            end = self.start + self.m * self.width
            piece = piece.within(np.array([self.start, end]))
        if not piece.times.size:
            return
        missing = np.isnan(piece.said)
        gaps = bool(missing.any())
        if gaps and missing.all():
            return
        if len(piece.times) == 1:
            self._add_uniform(piece, missing if gaps else None)
        else:
            self._add_ragged(piece, missing)

    def _add_uniform(self, piece: Piece, missing: Bools | None) -> None:
        steps = (piece.times[0] - self.start) // self.width
        cuts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
        self._added[steps[cuts]] = True
        into = (_block(piece.pos), slice(int(steps[cuts[0]]), int(steps[cuts[-1]]) + 1))
        if len(cuts) != into[1].stop - into[1].start or not isinstance(into[0], slice):
            into = np.ix_(piece.pos, steps[cuts])  # type: ignore[assignment]
        for name, cells in self.cells.items():
            values = piece.planes.get(name)
            if name == "last":
                self._fold_last(piece.planes.get("last", piece.said), piece.times[0], cuts, into, missing)
            elif name == "count" and values is None:
                cells[into] += _counted(missing, cuts, piece.said.shape)
            else:
                values = piece.said if values is None else values
                _FOLD[name](cells, into, values, cuts, missing)

    def _fold_last(self, values: Floats, times: Times, cuts: NDArray[np.intp], into: object, missing: Bools | None) -> None:
        assert self._last is not None  # noqa: S101 - made together with its cells
        ends = np.append(cuts[1:], len(times)) - 1
        at = np.broadcast_to(ends, (len(values), len(ends)))
        if missing is not None:
            at = _reduced(np.maximum, np.where(missing, -1, np.arange(len(times))), cuts)
            at = np.where(at < cuts, -1, at)
        picked = np.take_along_axis(values, np.maximum(at, 0), axis=1)
        when = np.where(at >= 0, times[at], np.iinfo(np.int64).min)
        newer = when > self._last[into]  # type: ignore[call-overload]
        self._last[into] = np.where(newer, when, self._last[into])  # type: ignore[call-overload]
        self.cells["last"][into] = np.where(newer, picked, self.cells["last"][into])  # type: ignore[call-overload]

    def _add_ragged(self, piece: Piece, missing: Bools) -> None:
        """Assets with axes of their own: each row falls into stretches of one step, and all stretches of all rows are folded
        in one sweep over the piece as one long line. What is out of range counts as missing."""
        steps = (piece.times - self.start) // self.width
        outside = (steps < 0) | (steps >= self.m)
        if outside.any():
            missing = missing | outside[piece.axis]
        cuts = np.flatnonzero((np.diff(steps, axis=1, prepend=steps[:, :1] - 1) != 0)[piece.axis])
        row, column = np.divmod(cuts, steps.shape[1])
        step = steps[piece.axis[row], column]
        inside_it = (step >= 0) & (step < self.m)
        self._added[step[inside_it]] = True
        into = (piece.pos[row[inside_it]], step[inside_it])
        known = missing.ravel()
        for name, cells in self.cells.items():
            values = np.ascontiguousarray(piece.planes.get(name, piece.said)).ravel()
            if name == "last":
                self._last_ragged(values, piece.times[piece.axis].ravel(), cuts, inside_it, into, known)
            elif name in ("count", "sum"):
                ones = name == "count" and "count" not in piece.planes
                line = np.where(known, 0.0, 1.0 if ones else values)
                cells[into] += np.add.reduceat(line, cuts)[inside_it]
            else:
                fold = np.fmin if name == "min" else np.fmax
                cells[into] = fold(cells[into], fold.reduceat(np.where(known, np.nan, values), cuts)[inside_it])

    def _last_ragged(
        self, values: Floats, when: Times, cuts: NDArray[np.intp], inside_it: Bools, into: tuple[Ints, Times], missing: Bools
    ) -> None:
        assert self._last is not None  # noqa: S101 - made together with its cells
        at = np.maximum.reduceat(np.where(missing, -1, np.arange(len(values))), cuts)[inside_it]
        at = np.where(at < cuts[inside_it], -1, at)
        time = np.where(at >= 0, when[at], np.iinfo(np.int64).min)
        newer = time > self._last[into]
        self._last[into] = np.where(newer, time, self._last[into])
        self.cells["last"][into] = np.where(newer, values[at], self.cells["last"][into])

    def mean(self) -> Floats:
        """float64[n, m]: sum over count, NaN where nothing fell. Once: it is worked out in the place of the sums."""
        sums, counts, placed = self.cells["sum"], self.cells["count"], self._placed
        if placed is None:
            with np.errstate(invalid="ignore"):
                return np.asarray(np.divide(sums, counts, out=sums))
        for step in np.flatnonzero(self._added):
            known = counts[:, step] > 0
            placed[known, step] = sums[known, step] / counts[known, step]
        return placed


def _block(pos: Ints) -> slice | Ints:
    """``pos`` as a slice where it is one: a slice is added to in place, a list of rows is not."""
    first, last = int(pos[0]), int(pos[-1])
    straight = last - first + 1 == len(pos) and (len(pos) < 2 or bool((np.diff(pos) == 1).all()))
    return slice(first, last + 1) if straight else pos


def is_block(pos: Ints) -> bool:
    """Whether ``pos`` are places that follow each other."""
    return isinstance(_block(pos), slice)


def _reduced(fold: np.ufunc, values: NDArray[Any], cuts: NDArray[np.intp]) -> NDArray[Any]:
    """``fold`` over the stretches of each row that begin at ``cuts``; in the order in which the values lie in memory, for the
    other order takes ten times as long."""
    if len(cuts) == values.shape[1]:
        return values
    if values.strides[1] == values.itemsize:
        return np.asarray(fold.reduceat(values, cuts, axis=1))
    ends = [*cuts[1:], values.shape[1]]
    return np.stack([fold.reduce(values[:, a:b], axis=1) for a, b in zip(cuts, ends, strict=True)], axis=1)


def _counted(missing: Bools | None, cuts: NDArray[np.intp], shape: tuple[int, ...]) -> Floats:
    if missing is None:
        return np.diff(cuts, append=shape[1]).astype(np.float64)[None, :]
    return _reduced(np.add, (~missing).astype(np.float64), cuts)


def _fold_sum(cells: Floats, into: object, values: Floats, cuts: NDArray[np.intp], missing: Bools | None) -> None:
    known = values if missing is None else np.where(missing, 0.0, values)
    with np.errstate(invalid="ignore"):  # inf less inf
        cells[into] += _reduced(np.add, known, cuts)  # type: ignore[call-overload]


def _fold_min(cells: Floats, into: object, values: Floats, cuts: NDArray[np.intp], missing: Bools | None) -> None:
    fold = np.minimum if missing is None else np.fmin
    cells[into] = np.fmin(cells[into], _reduced(fold, values, cuts))  # type: ignore[call-overload]


def _fold_max(cells: Floats, into: object, values: Floats, cuts: NDArray[np.intp], missing: Bools | None) -> None:
    fold = np.maximum if missing is None else np.fmax
    cells[into] = np.fmax(cells[into], _reduced(fold, values, cuts))  # type: ignore[call-overload]


_FOLD = {"count": _fold_sum, "sum": _fold_sum, "min": _fold_min, "max": _fold_max}


def turned(values: Floats) -> Floats:
    """The same in the other order in memory. Tile by tile: twice as fast as numpy's own way."""
    made = np.empty(values.shape, order="F" if values.flags.c_contiguous else "C")
    for i in range(0, values.shape[0], _TILE):
        for k in range(0, values.shape[1], _TILE):
            made[i : i + _TILE, k : k + _TILE] = values[i : i + _TILE, k : k + _TILE]
    return made
