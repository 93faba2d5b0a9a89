"""Reading a few assets over a long time: the chunks of all parts and metrics at once, where a call for each would cost more
than what it reads. ``straight`` does so where all of it lies alike, ``lines`` where it does not."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ingest.stores.embedded.grid import Piece, Times, inside
from ingest.stores.embedded.parts import Part, PartReader, Slab, chunk_id, distinct, follow_each_other, layout_of
from twin.frame import Bytes, Floats, Ints

HELD_CHUNKS = 256  # loosened at once: 64 MB at most, of as many as have eight bytes a value
FEW = 64  # assets up to which this is the quicker way


class _Take(NamedTuple):
    """What of one slab is asked for: where each asset goes, whose axes, which chunks and which rows of each."""

    slab: Slab
    pos: Ints
    used: Ints
    axis: Ints
    chunks: Sequence[int]
    rows: Sequence[Ints]


class _Run(NamedTuple):
    """Parts that follow each other and hold the same assets on one axis each, so that they read as one piece: what is taken
    of each, the column at which it begins, and how many columns there are."""

    taken: list[tuple[Part, _Take]]
    starts: list[int]
    length: int


class _Column(NamedTuple):
    """A plane of a metric to be read: its runs, its number in each part, and for each run where its values go,
    float64[n, length]."""

    plane: str
    runs: Sequence[_Run]
    numbers: Mapping[int, int]
    tables: Sequence[Floats]


class Lying(NamedTuple):
    """How a metric lies in all parts of a file: its runs, and for each the times and which of its columns they are."""

    runs: list[_Run]
    axes: list[tuple[Times, slice | Ints]]


class _Places:
    """Where the asked assets lie in ``parts`` of one file. Metrics mostly lie alike, and then share one array of times:
    whoever joins them sees at once that they do."""

    def __init__(self, reader: PartReader, parts: Sequence[Part], where: Ints, edges: Times) -> None:
        self._reader, self._parts, self._where, self._edges = reader, parts, where, edges
        self._columns = reader.columns(parts)
        self._takes: dict[bytes, list[_Take]] = {}
        self._lying: dict[tuple[bytes, ...], Lying] = {}

    def of(self, metric: str) -> tuple[Lying, dict[int, int]]:
        """How it lies, and its number in each part."""
        own = [self._columns.get((part.id, metric), (0, b"")) for part in self._parts]
        key = tuple(layout for _, layout in own)
        if key not in self._lying:
            for layout in set(key) - self._takes.keys():
                self._takes[layout] = [
                    take for slab in layout_of(layout) if (take := _take(self._reader, slab, self._where)) is not None
                ]
            runs = _runs([(part, take) for part, layout in zip(self._parts, key, strict=True) for take in self._takes[layout]])
            self._lying[key] = Lying(runs, [_times(self._reader, run, self._edges) for run in runs])
        return self._lying[key], {part.id: number for part, (number, _) in zip(self._parts, own, strict=True)}


def lines(
    reader: PartReader, parts: Sequence[Part], metrics: Sequence[str], where: Ints, edges: Times, planes: Sequence[str]
) -> Mapping[str, list[list[Piece]]]:
    """For each of ``metrics`` the pieces of ``parts`` as ``PartReader.pieces`` would give them, those of parts that follow
    each other as one; those that win are last."""
    places = _Places(reader, parts, where, edges)
    lies: dict[str, Lying] = {}
    columns: list[_Column] = []
    for metric in metrics:
        lies[metric], numbers = places.of(metric)
        shapes = [(len(run.taken[0][1].pos), run.length) for run in lies[metric].runs]
        columns += [_Column(plane, lies[metric].runs, numbers, [np.empty(shape) for shape in shapes]) for plane in planes]
    graded = _read(reader, columns)
    found: dict[str, list[list[Piece]]] = {}
    for m, (metric, lying) in enumerate(lies.items()):
        of_planes = slice(m * len(planes), (m + 1) * len(planes))
        grades = graded[of_planes][0]
        found[metric] = []
        for k, (run, (times, some)) in enumerate(zip(*lying, strict=True)):
            values = {column.plane: column.tables[k][:, some] for column in columns[of_planes]}
            grade, take = grades[k], run.taken[0][1]
            piece = Piece(take.pos, times, take.axis, values, None if grade is None else grade[:, some])
            found[metric].append([piece.within(edges)])
    return found


class Straight:
    """All of ``metrics`` in the ``parts`` of one file as one table a metric: every part holds all ``n`` assets asked for, in
    their order, on one axis, and no part says anything of another's time."""

    def __init__(self, reader: PartReader, metrics: Sequence[str], lying: Lying, numbers: Sequence[Mapping[int, int]]) -> None:
        self._reader, self._metrics, self._lying, self._numbers = reader, metrics, lying, numbers
        self.times, kept = lying.axes[0]
        self.kept = kept if isinstance(kept, slice) else slice(0, 0)
        self.length = lying.runs[0].length

    @staticmethod
    def of(
        reader: PartReader, parts: Sequence[Part], metrics: Sequence[str], where: Ints, edges: Times, n: int
    ) -> "Straight | None":
        """None where it does not lie so."""
        if not follow_each_other(parts):
            return None
        places = _Places(reader, parts, where, edges)
        found = [places.of(metric) for metric in metrics]
        lying = found[0][0]
        if len(lying.runs) != 1 or any(other is not lying for other, _ in found):
            return None
        take = lying.runs[0].taken[0][1]
        times, kept = lying.axes[0]
        alike = len(take.used) == 1 and np.array_equal(take.pos, np.arange(n)) and isinstance(kept, slice)
        ordered = alike and bool((np.diff(times[0]) > 0).all())
        return Straight(reader, metrics, lying, [numbers for _, numbers in found]) if ordered else None

    def read(self, into: Floats) -> list[Bytes | None]:
        """Values into float64[m, n, length]; for each metric the qualities uint8[n, length], None: all good."""
        plane, runs = self._reader.tier.planes[0], self._lying.runs
        columns = [_Column(plane, runs, numbers, [table]) for numbers, table in zip(self._numbers, into, strict=True)]
        return [grades for (grades,) in _read(self._reader, columns)]


def _runs(taken: Sequence[tuple[Part, _Take]]) -> list[_Run]:
    runs: list[_Run] = []
    for part, take in taken:
        run = runs[-1] if runs else None
        if run is not None:
            before, other = run.taken[-1]
            single = len(take.used) == len(other.used) == 1
            if single and before.t1 <= part.t0 and np.array_equal(take.pos, other.pos):
                run.taken.append((part, take))
                run.starts.append(run.length)
                runs[-1] = run._replace(length=run.length + take.slab.length)
                continue
        runs.append(_Run([(part, take)], [0], take.slab.length))
    return runs


def _times(reader: PartReader, run: _Run, edges: Times) -> tuple[Times, slice | Ints]:
    """The axes of a run, int64[a, t], and which of its columns they are: of one axis, those inside ``edges``."""
    part, take = run.taken[0]
    if len(take.used) > 1:
        return np.stack([reader.axes(part)[axis] for axis in take.used]), slice(None)
    times = np.concatenate([reader.axes(part)[take.used[0]] for part, take in run.taken])
    if len(edges) == 2 and (times[1:] > times[:-1]).all():
        some = slice(*np.searchsorted(times, edges).tolist())
        return times[None, some], some
    at = np.flatnonzero(inside(edges, times)).astype(np.int32)
    if not len(at) or at[-1] - at[0] + 1 == len(at):  # a slice copies nothing
        some = slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0)
        return times[None, some], some
    return times[None, at], at


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


def _read(reader: PartReader, columns: Sequence[_Column]) -> list[list[Bytes | None]]:
    """Values of all ``columns`` into their tables, in one go; gives the qualities of each run of each."""
    keys: list[int] = []
    rows: list[Ints] = []
    into: list[Floats] = []
    places: list[tuple[int, int, slice, slice]] = []  # column, run, rows and columns of it
    for c, (plane, runs, numbers, tables) in enumerate(columns):
        which = reader.tier.planes.index(plane)
        for k, run in enumerate(runs):
            for (part, take), start in zip(run.taken, run.starts, strict=True):
                base, row = chunk_id(part.id, numbers[part.id], which) + take.slab.chunk, 0
                for chunk, some in zip(take.chunks, take.rows, strict=True):
                    place = (c, k, slice(row, row + len(some)), slice(start, start + take.slab.length))
                    keys.append(base + chunk)
                    rows.append(some)
                    into.append(tables[k][place[2:]])
                    places.append(place)
                    row += len(some)
    grades: list[list[Bytes | None]] = [[None] * len(column.runs) for column in columns]
    said: list[Bytes | None] = []
    for at in range(0, len(keys), HELD_CHUNKS):
        held = slice(at, at + HELD_CHUNKS)
        said += reader.codec.decode_lines(reader.chunks(keys[held]), rows[held], into[held])
    for (c, k, *cells), grade in zip(places, said, strict=True):
        if grade is not None:
            table = grades[c][k]
            if table is None:
                grades[c][k] = table = np.zeros(columns[c].tables[k].shape, dtype=np.uint8)
            table[cells[0], cells[1]] = grade
    return grades
