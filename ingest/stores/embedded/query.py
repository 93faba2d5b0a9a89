"""Reading series: which tier answers for which stretch of time, and putting the answers together."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import HOURS, MICRO, MINUTE, MINUTES, RAW, Tier, connect_reading, data_files, has_table, told
from ingest.stores.embedded.grid import EVER, Piece, Steps, Times, cut, inside, resolved, without
from ingest.stores.embedded.hot import Asked, Hot
from ingest.stores.embedded.journal import Item, Loader
from ingest.stores.embedded.lines import FEW, lines
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.parts import PartReader, follow_each_other
from ingest.stores.embedded.picked import Picked
from ingest.stores.embedded.rollups import edges_of
from ingest.stores.embedded.settle import Batch
from ingest.stores.embedded.straight import Table
from ingest.stores.embedded.tables import gathered
from ingest.stores.line_protocol import GRADE
from twin.frame import Floats, Ints
from twin.ports import How, Series

MAX_CELLS = 32_000_000  # values that a query may give (256 MB)
MAX_READ_CELLS = 2_000_000_000  # values that a query may have to look at
WINDOW_CELLS = 16_000_000  # values that it holds at once while it folds them into steps
HOT_CELLS = 2_000_000  # values of one metric up to which an answer is kept for the next time
_PLANES = {How.MEAN: ("count", "sum"), How.MIN: ("count", "min"), How.MAX: ("count", "max"), How.LAST: ("count", "last")}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a query sees: the run that counts, the frames of the group that wait, the hour that no rollup has whole yet, and
    from when on raw values are kept."""

    run: int
    items: Sequence[Item]
    open_hour: int | None
    floor: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: times in microseconds, ``step`` None for values as stored."""

    group: Group
    metrics: Sequence[str]
    rows: Ints
    start: int
    end: int
    step: int | None
    how: How
    include_bad: bool
    marks: bool = False  # of values as stored: beside each metric the table of its qualities


class Query:
    """Answers one question from one snapshot; holds its files only while it does."""

    def __init__(self, folder: Path, names: Names, snapshot: Snapshot, question: Question) -> None:
        self._folder = folder
        self._names = names
        self._ask = question
        self._run = snapshot.run
        self._open_hour = snapshot.open_hour
        metrics = set(question.metrics)
        self._items = [
            item
            for item in snapshot.items
            if question.start <= item.time < question.end
            and item.time >= snapshot.floor
            and not metrics.isdisjoint(item.metrics)
        ]
        self._times = np.array([item.time for item in self._items], dtype=np.int64)
        self._where = names.places_of(question.group.kind, question.rows)
        self._few = len(question.rows) <= FEW
        self._codec = Codec()
        self._loader = Loader(folder, names)
        self._read_cells = 0

    def answer(self) -> Series:
        """The series. ``ValueError`` where it would not fit in memory."""
        try:
            if self._ask.step is None:
                return self._raw()
            return self._stepped(self._ask.step)
        finally:
            self._loader.close()

    def _raw(self) -> Series:
        ask = self._ask
        edges = np.array([ask.start, ask.end])
        if self._few and len(ask.rows) and ask.metrics and not ask.marks:
            found = self._straight(edges)
            if found is not None:
                return found
        pieces: dict[str, list[Piece]] = {name: [] for name in ask.metrics}
        cells = 0
        for name, some in self._pieces(RAW, edges, RAW.planes):
            pieces[name].extend(some)
            cells += sum(piece.said.size for piece in some)
            self._check_cells(cells)
        if ask.marks:
            pieces |= {name + GRADE: [mark for piece in some if (mark := piece.marks())] for name, some in pieces.items()}
        times, tables = self._gathered(pieces)
        return Series(times / MICRO, ask.rows, tables)

    def _straight(self, edges: Times) -> Series | None:
        """The answer where all that is asked for lies alike; None where it does not."""
        ask = self._ask
        batch = self._batch(edges) if self._items else None
        if isinstance(batch, Batch):
            return None
        table = Table(ask.group, ask.metrics, len(ask.rows), self._where, MAX_CELLS)
        with ExitStack() as opened:
            if not table.open(opened, self._folder, self._codec, self._names, self._run, edges):
                return None
            if batch is not None and not table.add([batch.pieces(name) for name in ask.metrics]):
                return None
            found = table.read(ask.include_bad)
        return None if found is None else Series(found[0] / MICRO, ask.rows, found[1])

    def _gathered(self, pieces: dict[str, list[Piece]]) -> tuple[Times, dict[str, Floats]]:
        axes = {id(piece.times): piece.times.ravel() for some in pieces.values() for piece in some}
        every = np.concatenate(list(axes.values())) if axes else np.empty(0, dtype=np.int64)
        count = len(every)
        if count * len(self._ask.rows) * len(pieces) > MAX_CELLS:  # an axis may stand there several times
            count = len(np.unique(every))
        self._check_cells(count * len(self._ask.rows) * len(pieces))
        return gathered(pieces, len(self._ask.rows))

    def _check_cells(self, cells: int) -> None:
        if cells > MAX_CELLS:
            raise ValueError(
                f"the answer would hold over {MAX_CELLS:,} values of {self._ask.group.kind}: "
                "ask for fewer assets, metrics or hours, or for longer steps"
            )

    def _stepped(self, step: int) -> Series:
        ask = self._ask
        first = ask.start // step * step
        count = max(0, math.ceil((ask.end - first) / step))
        n = len(ask.rows)
        self._check_cells(n * count * len(ask.metrics))
        planes = _PLANES[ask.how]
        kept = planes if ask.how is How.MEAN else planes[1:]
        steps = {name: Steps(n, first, step, count, kept, by_time=True) for name in ask.metrics}
        if count and n:
            for tier, edges in self._tiers(step):
                ready = tier.width == step and ask.how is How.MEAN
                for name, pieces in self._pieces(tier, edges, RAW.planes if tier is RAW else planes):
                    for piece in pieces:
                        (steps[name].place if ready else steps[name].add)(piece)
        times = (first + step * np.arange(count)) / MICRO
        values = {n: s.mean() if ask.how is How.MEAN else s.cells[ask.how.value] for n, s in steps.items()}
        return Series(times, ask.rows, {name: table.T for name, table in values.items()})

    def _tiers(self, step: int) -> Iterator[tuple[Tier, Times]]:
        """Who answers for which stretches. A rollup does where its buckets lie whole within a step and the asked time, and
        nothing that is still in the journal falls into them."""
        rest = np.array([self._ask.start, self._ask.end])
        for tier in () if self._ask.include_bad else (HOURS, MINUTES):
            if step % tier.width == 0:
                dirty = np.unique(self._times // tier.width) * tier.width
                if tier is HOURS and self._open_hour is not None:
                    dirty = np.union1d(dirty, [self._open_hour])
                whole, rest = _split(rest, tier.width, dirty)
                if len(whole):
                    yield tier, whole
        if len(rest):
            yield RAW, rest

    def _pieces(self, tier: Tier, edges: Times, planes: Sequence[str]) -> Iterator[tuple[str, list[Piece]]]:
        """(metric, pieces that do not contradict) of everything inside ``edges``, a bounded stretch of time at once."""
        bare = edges  # what no data file covers: only frames that wait can answer there
        for start, file in data_files(self._folder, tier):
            end = start + tier.span
            own = cut(edges, start, end)
            bare = np.concatenate([cut(bare, int(EVER[0]), start), cut(bare, end, int(EVER[1]))])
            if not len(own):
                continue
            with told(file):
                con = connect_reading(file)
                try:
                    con.execute("BEGIN")
                    ready = has_table(con, "chunk")
                    reader = PartReader(con, self._codec, self._names, tier, self._run) if ready else None
                    yield from self._windows(reader, tier, own, planes)
                finally:
                    con.close()
        if tier is RAW and len(bare):
            yield from self._windows(None, tier, bare, planes)

    def _windows(
        self, reader: PartReader | None, tier: Tier, edges: Times, planes: Sequence[str]
    ) -> Iterator[tuple[str, list[Piece]]]:
        """``edges`` cut so that no window makes more than ``WINDOW_CELLS`` be held at once, where parts allow it."""
        share = len(self._ask.rows) / max(1, len(self._names.codes_of(self._ask.group.kind)))
        loads = self._waiting_loads(edges) if tier is RAW else []
        for part in reader.parts(self._ask.group, edges) if reader else []:
            cells = part.cells * share / max(1, len(reader.metrics(part)) if reader else 1)
            self._read_cells += int(cells) * len(self._ask.metrics)
            loads.append((part.t0, cells))
        if self._read_cells > MAX_READ_CELLS:
            raise ValueError(
                f"the answer would need over {MAX_READ_CELLS:,} values of {self._ask.group.kind} to be read: ask for fewer "
                "assets or hours, or for steps of whole minutes or hours, which are kept ready"
            )
        cuts, held = [int(edges[0])], 0.0
        for start, cells in sorted(loads):
            if held and held + cells > WINDOW_CELLS and cuts[-1] < start < edges[-1]:
                cuts.append(start)
                held = 0.0
            held += cells
        for start, end in zip(cuts, [*cuts[1:], int(edges[-1])], strict=True):
            window = cut(edges, start, end)
            if len(window):
                yield from self._window(reader, tier, window, planes)
                self._loader.forget()

    def _waiting_loads(self, edges: Times) -> list[tuple[int, float]]:
        """(time, values to be held) of each minute of the frames that wait."""
        items = [item for item in self._items if edges[0] <= item.time < edges[-1]]
        minutes, which = np.unique(np.array([item.time // MINUTE for item in items], dtype=np.int64), return_inverse=True)
        held = np.bincount(which, weights=[item.held for item in items], minlength=len(minutes))
        return list(zip((minutes * MINUTE).tolist(), held.tolist(), strict=True))

    def _window(
        self, reader: PartReader | None, tier: Tier, edges: Times, planes: Sequence[str]
    ) -> Iterator[tuple[str, list[Piece]]]:
        parts = reader.parts(self._ask.group, edges) if reader else []
        batch = self._batch(edges) if tier is RAW and inside(edges, self._times).any() else None
        few = lines(reader, parts, self._ask.metrics, self._where, edges, planes) if reader and self._few else {}
        if reader and self._ask.step is not None and not few and batch is None and follow_each_other(parts):
            for name in self._ask.metrics:
                for part in parts:
                    for piece in reader.pieces(part, name, self._where, edges, planes, by_chunk=True):
                        yield name, [piece if self._ask.include_bad else piece.believed()]
            return
        for name in self._ask.metrics:
            if few:
                ranks = few[name]
            else:
                ranks = [list(reader.pieces(part, name, self._where, edges, planes)) for part in parts] if reader else []
            if batch:
                ranks.append(batch.pieces(name) if isinstance(batch, Picked) else batch.pieces(name, self._where))
            ranks = [[piece for piece in rank if piece.times.size] for rank in ranks]
            pieces = resolved([rank for rank in ranks if rank])
            yield name, pieces if self._ask.include_bad else [piece.believed() for piece in pieces]

    def _batch(self, edges: Times) -> Batch | Picked:
        """Frames that wait and lie inside ``edges``."""
        items = list(compress(self._items, inside(edges, self._times).tolist()))
        asked = {rowset: bool((self._where[self._names.codes(rowset)] >= 0).any()) for rowset in {i.rowset for i in items}}
        items = [item for item in items if asked[item.rowset]]
        if self._few and Picked.suits(items):
            return Picked(self._names, self._loader, items, self._where)
        return Batch(self._names, self._loader, items, turned=False)


def hot_answer(hot: Hot, question: Question, ask: Callable[[Question], Series]) -> Series:
    """The answer to a question in steps, from what is ``hot`` and, for the rest, from ``ask``. What was asked for in part (the
    first or the last step) is not kept."""
    step = question.step or MINUTE
    first = question.start // step * step
    starts = np.arange(first, question.end, step)
    if len(starts) * len(question.rows) > HOT_CELLS:
        return ask(question)
    whole = (starts >= question.start) & (starts + step <= question.end)
    turn, rows = hot.turn(), question.rows.tobytes()
    asked = {name: Asked(question.group, name, question.how, step, rows) for name in question.metrics}
    known = {name: hot.get(key, starts.tolist()) for name, key in asked.items()}
    missing = ~whole | np.array([any(column is None for column in at) for at in zip(*known.values(), strict=True)], dtype=bool)
    tables = {name: np.empty((len(starts), len(question.rows))) for name in asked}
    for name, columns in known.items():
        for i in np.flatnonzero(~missing):
            tables[name][i] = columns[i]
    cuts = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    for a, b in cuts.tolist():
        part = replace(question, start=max(question.start, int(starts[a])), end=min(question.end, int(starts[b - 1]) + step))
        found = ask(part)
        for name, key in asked.items():
            tables[name][a:b] = found.values[name]
            hot.put(key, starts[a:b][whole[a:b]], found.values[name][whole[a:b]], turn)
    return Series(starts / MICRO, question.rows, tables)


def _split(edges: Times, width: int, dirty: Times) -> tuple[Times, Times]:
    """Whole buckets of ``width`` inside ``edges`` that are not ``dirty``, and the rest."""
    pairs = edges.reshape(-1, 2)
    low, high = -(-pairs[:, 0] // width) * width, pairs[:, 1] // width * width
    whole = np.stack([low, high], axis=1)[low < high].ravel()
    if not len(whole):
        return whole, edges
    clean = without(whole, edges_of(dirty, width)) if len(dirty) else whole
    return clean, without(edges, clean)
