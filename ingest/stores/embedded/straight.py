"""The answer for a few assets where all that is asked for lies alike, as a sensor's own day mostly does: read right into one
table, with nothing to be looked up, joined or copied afterwards."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import RAW, connect_reading, data_files, has_table, told
from ingest.stores.embedded.grid import Piece, Times, cut
from ingest.stores.embedded.lines import Straight
from ingest.stores.embedded.names import Group, Names
from ingest.stores.embedded.parts import PartReader
from twin.frame import Bytes, Floats, Ints, Quality

MAX_FILES = 9  # held open at once: a week of days, and both its ends


class Table:
    """Values of some metrics of ``n`` assets as they come, from files and from frames that wait. ``most``: values that it may
    hold."""

    def __init__(self, group: Group, metrics: Sequence[str], n: int, where: Ints, most: int) -> None:
        self._group, self._metrics, self._n, self._where, self._most = group, metrics, n, where, most
        self._files: list[tuple[Path, Straight]] = []
        self._tail: list[Piece] = []

    def open(self, stack: ExitStack, folder: Path, codec: Codec, names: Names, run: int, edges: Times) -> bool:
        """Look into the files of ``folder`` that hold anything inside ``edges``, which ``stack`` closes; False where what is
        there does not lie alike."""
        for start, file in data_files(folder, RAW):
            own = cut(edges, start, start + RAW.span)
            if not len(own):
                continue
            if len(self._files) == MAX_FILES:
                return False
            with told(file):
                con = connect_reading(file)
                stack.callback(con.close)
                con.execute("BEGIN")
                reader = PartReader(con, codec, names, RAW, run)
                parts = reader.parts(self._group, own) if has_table(con, "chunk") else []
                if parts:
                    found = Straight.of(reader, parts, self._metrics, self._where, own, self._n)
                    if found is None:
                        return False
                    self._files.append((file, found))
        kept = [(one.kept, one.length) for _, one in self._files]
        return all(some.start == 0 for some, _ in kept[1:]) and all(some.stop == length for some, length in kept[:-1])

    def add(self, waiting: Sequence[Sequence[Piece]]) -> bool:
        """Frames that wait, for each metric; False where they do not lie alike, or are not later than what the files have."""
        pieces = [some[0] for some in waiting if len(some) == 1]
        if len(pieces) < len(waiting):
            return False
        everyone, (first, *others) = np.arange(self._n), pieces
        alike = all(np.array_equal(piece.pos, everyone) for piece in pieces)
        alike = alike and all(np.array_equal(piece.times, first.times) for piece in others)
        last = self._files[-1][1] if self._files else None
        later = last is None or (last.kept.stop == last.length and int(last.times[0, -1]) < int(first.times[0, 0]))
        self._tail = pieces
        return alike and len(first.times) == 1 and later

    def read(self, include_bad: bool) -> tuple[Times, dict[str, Floats]] | None:
        """The times at which anything is said and float64[t, n] a metric; None where there is nothing, or too much."""
        lengths = [one.length for _, one in self._files] + [piece.times.shape[1] for piece in self._tail[:1]]
        total = sum(lengths)
        if not 0 < total * self._n * len(self._metrics) <= self._most:
            return None
        block = np.empty((len(self._metrics), self._n, total))
        at = 0
        for file, one in self._files:
            some = block[:, :, at : at + one.length]
            with told(file):
                grades = one.read(some)
            _disbelieve(some, [] if include_bad else grades)
            at += one.length
        if self._tail:
            for table, piece in zip(block[:, :, at:], self._tail, strict=True):
                table[:] = piece.said
            _disbelieve(block[:, :, at:], [] if include_bad else [piece.quality for piece in self._tail])
        times = np.concatenate([one.times[0] for _, one in self._files] + [piece.times[0] for piece in self._tail[:1]])
        low = self._files[0][1].kept.start if self._files else 0
        return self._said(times, block[:, :, low : low + len(times)])

    def _said(self, times: Times, block: Floats) -> tuple[Times, dict[str, Floats]]:
        said = np.zeros(len(times), dtype=np.bool_)
        for table in block:
            said |= ~np.isnan(table).all(axis=0)
            if said.all():  # mostly at the first
                return times, {name: np.ascontiguousarray(t.T) for name, t in zip(self._metrics, block, strict=True)}
        return times[said], {name: t.T[said] for name, t in zip(self._metrics, block, strict=True)}


def _disbelieve(block: Floats, grades: Sequence[Bytes | None]) -> None:
    """Take out what is bad of float64[m, n, t]."""
    for table, grade in zip(block, grades, strict=False):
        if grade is not None:
            table[grade == Quality.BAD] = np.nan
