"""Frames that wait, read for a few assets: of each large frame only the values asked for, where ``settle`` takes all of it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.grid import Piece
from ingest.stores.embedded.journal import Item, Loader
from ingest.stores.embedded.names import Names
from ingest.stores.embedded.settle import Batch
from twin.frame import Bytes, Floats, Ints

FEW = 8  # assets, as many as a node has: up to which one value at a time is quicker than an array for each frame


class _Asked(NamedTuple):
    """Of one rowset: where the assets asked for stand in it, their places in the answer, and its frames by time."""

    take: NDArray[np.intp]
    pos: Ints
    items: list[Item]


class Picked:
    """The large frames of ``items``, each of another time than all others; the small ones as ``Batch`` has them."""

    def __init__(self, names: Names, loader: Loader, items: Sequence[Item], where: Ints) -> None:
        self._names, self._loader, self._where = names, loader, where
        self._rest = Batch(names, loader, [item for item in items if not item.big], turned=False)
        by_set: dict[int, list[Item]] = defaultdict(list)
        for item in sorted((item for item in items if item.big), key=lambda item: item.time):
            by_set[item.rowset].append(item)
        self._asked: list[_Asked] = []
        for rowset, some in by_set.items():
            places = where[names.codes(rowset)]
            take = np.flatnonzero(places >= 0)
            self._asked.append(_Asked(take, places[take], some))

    @staticmethod
    def suits(items: Sequence[Item]) -> bool:
        """Whether no large frame can contradict another frame: none has the time of another."""
        large = {item.time for item in items if item.big}
        return bool(large) and len(large) == sum(item.time in large for item in items)

    def pieces(self, metric: str) -> list[Piece]:
        """What the frames say of ``metric``, without contradictions."""
        found = self._rest.pieces(metric, self._where)
        for asked in self._asked:
            items = [item for item in asked.items if metric in item.metrics]
            if len(items) and len(asked.take):
                values, grades = self._values(items, asked.take, metric)
                times = np.array([item.time for item in items], dtype=np.int64)[None, :]
                axis = np.zeros(len(asked.pos), dtype=np.int32)
                found.append(Piece(asked.pos, times, axis, {"value": values}, grades))
        return found

    def _values(self, items: Sequence[Item], take: NDArray[np.intp], metric: str) -> tuple[Floats, Bytes | None]:
        """float64[k, t] and uint8[k, t] or None."""
        columns = [item.columns[metric] for item in items if item.columns is not None and not item.graded]
        if len(take) <= FEW and len(columns) == len(items):
            scales = np.array([column.scale for column in columns])
            wholes = [column.whole for column in columns]
            return np.array([[whole.item(at) for whole in wholes] for at in take.tolist()], dtype=np.float64) / scales, None
        return self._mixed(items, take, metric)

    def _mixed(self, items: Sequence[Item], take: NDArray[np.intp], metric: str) -> tuple[Floats, Bytes | None]:
        """The same of frames some of which are graded or on disk, or of many assets."""
        values, scales = np.empty((len(items), len(take))), np.ones((len(items), 1))
        grades: Bytes | None = None
        for i, item in enumerate(items):
            if item.columns is not None and not item.graded:  # as most are: as little as can be for each
                whole, scales[i] = item.columns[metric]
                values[i] = whole[take]
                continue
            values[i], quality = self._loader.cells(item, metric, take)
            if quality is not None:
                grades = np.zeros(values.shape, dtype=np.uint8) if grades is None else grades
                grades[i] = np.where(np.isnan(values[i]), 0, quality)
        values /= scales  # at once what ``Narrow.floats`` does for each
        return np.ascontiguousarray(values.T), None if grades is None else np.ascontiguousarray(grades.T)
