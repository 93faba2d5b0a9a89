"""From frames in the order of their arrival to blocks in which every cell stands once."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.grid import Piece, turned
from ingest.stores.embedded.journal import Item, Loader
from ingest.stores.embedded.names import Names
from ingest.stores.embedded.parts import Block
from twin.frame import Bytes, Floats, Ints

_Column = tuple[Floats, Bytes | None]


class Batch:
    """Frames of one group in the order of their arrival, as columns over them: a thousand nodes that are read each by
    itself make sixty thousand frames in ten minutes, and nothing here may take its time for each."""

    def __init__(self, names: Names, loader: Loader, items: Sequence[Item], turned: bool = True) -> None:
        """``turned``: blocks lie asset by asset in memory, as the codec wants it; else large ones time by time."""
        self._names = names
        self._loader = loader
        self._items = items
        self._turned = turned
        self._times = np.array([item.time for item in items], dtype=np.int64)
        self._sets = np.array([item.rowset for item in items], dtype=np.int64)
        self._sizes = np.array([item.size for item in items], dtype=np.int64)
        shapes: dict[tuple[str, ...], int] = {}
        self._shape = np.array([shapes.setdefault(item.metrics, len(shapes)) for item in items], dtype=np.int64)
        self._metrics = list(shapes)
        self._small, self._starts = self._gathered()

    @property
    def metrics(self) -> list[str]:
        """Every metric of any frame."""
        return sorted({name for metrics in self._metrics for name in metrics})

    def _gathered(self) -> tuple[Floats, NDArray[np.int64]]:
        """All small columns in one array, and where those of each frame start in it."""
        parts: list[Floats] = []
        bases: dict[int, int] = {}
        starts = np.zeros(len(self._items), dtype=np.int64)
        base = 0
        for i, item in enumerate(self._items):
            if not item.big:
                if item.seq not in bases:
                    parts.append(self._loader.small(item))
                    bases[item.seq] = base
                    base += len(parts[-1])
                starts[i] = bases[item.seq] + item.at
        return np.concatenate(parts) if parts else np.empty(0), starts

    def blocks(self, metric: str) -> list[Block]:
        """Blocks of one metric. Of several values for one asset and time the last to arrive is the one that stays; NaN says
        nothing and so never wins."""
        number = [names.index(metric) if metric in names else -1 for names in self._metrics]
        which = np.array(number, dtype=np.int64)[self._shape]
        chosen = np.flatnonzero(which >= 0)
        if not len(chosen):
            return []
        settled = self._contested(chosen, metric)
        gone = {i for i, column in settled.items() if column is None}
        order = chosen[np.lexsort((self._times[chosen], self._sets[chosen]))]
        if gone:
            order = order[~np.isin(order, list(gone))]
        cuts = np.flatnonzero(np.diff(self._sets[order], prepend=-1))
        alike: dict[tuple[int, int], list[NDArray[np.intp]]] = defaultdict(list)
        blocks: list[Block] = []
        for start, stop in zip(cuts.tolist(), [*cuts[1:].tolist(), len(order)], strict=True):
            group = order[start:stop]
            if self._items[group[0]].big:
                blocks.append(self._big(group, metric, settled))
            else:
                alike[len(group), int(self._sizes[group[0]])].append(group)
        starts = self._starts + which * self._sizes
        for (_, size), groups in alike.items():
            together = np.stack(groups)
            apart = self._names.apart(tuple(self._sets[together[:, 0]].tolist()))
            each = [together] if apart else np.split(together, len(together))
            for some in each:
                cells = starts[some][:, None, :] + np.arange(size)[None, :, None]
                blocks.append(self._stacked(some, self._small[cells], metric, settled))
        return blocks

    def pieces(self, metric: str, where: Ints) -> list[Piece]:
        """The same for the assets that ``where`` (code -> place asked for, -1: not asked) names."""
        return [piece for block in self.blocks(metric) if (piece := piece_of(block, where, self._names))]

    def _contested(self, chosen: NDArray[np.intp], metric: str) -> dict[int, _Column | None]:
        """Frames of one time that speak of the same assets: what of each is still to be said, None where another frame of
        the same rowset says it for it."""
        order = chosen[np.argsort(self._times[chosen], kind="stable")]
        times = self._times[order]
        cuts = np.flatnonzero(np.diff(times, prepend=times[0] - 1))
        settled: dict[int, _Column | None] = {}
        for start, stop in zip(cuts.tolist(), [*cuts[1:].tolist(), len(order)], strict=True):
            if stop - start > 1 and not self._names.apart(tuple(self._sets[order[start:stop]].tolist())):
                settled.update(self._last_ones(order[start:stop].tolist(), metric))
        return settled

    def _last_ones(self, same: Sequence[int], metric: str) -> Iterator[tuple[int, _Column | None]]:
        codes = [self._names.codes(self._items[i].rowset) for i in same]
        columns = [self._loader.column(self._items[i], metric) for i in same]
        owner = np.full(1 + max(int(some.max()) for some in codes), -1)
        first: dict[int, int] = {}
        for k, (values, _) in enumerate(columns):
            owner[codes[k][~np.isnan(values)]] = k
            first.setdefault(self._items[same[k]].rowset, k)
        for k, i in enumerate(same):
            head = first[self._items[i].rowset]
            if head != k:
                yield i, None
                continue
            mine = owner[codes[k]]
            values, grades = np.full(len(mine), np.nan), np.zeros(len(mine), dtype=np.uint8)
            for j in [j for j in range(len(same)) if self._items[same[j]].rowset == self._items[i].rowset]:
                own = mine == j
                values[own] = columns[j][0][own]
                quality = columns[j][1]
                grades[own] = 0 if quality is None else quality[own]
            yield i, (values, grades if grades.any() else None)

    def _column(self, i: int, metric: str, settled: dict[int, _Column | None]) -> _Column:
        return settled.get(i) or self._loader.column(self._items[i], metric)

    def _big(self, group: NDArray[np.intp], metric: str, settled: dict[int, _Column | None]) -> Block:
        """A block of one rowset."""
        values = np.empty((len(group), int(self._sizes[group[0]])))
        grades: Bytes | None = None
        for k, i in enumerate(group.tolist()):
            values[k], quality = self._column(i, metric, settled)
            if quality is not None:
                grades = np.zeros(values.shape, dtype=np.uint8) if grades is None else grades
                grades[k] = np.where(np.isnan(values[k]), 0, quality)
        plane = turned(values.T) if self._turned else values.T
        times = self._times[group][None, :]
        return Block(self._sets[group[:1]], times, {"value": plane}, None if grades is None else np.ascontiguousarray(grades.T))

    def _stacked(self, groups: NDArray[np.intp], values: Floats, metric: str, settled: dict[int, _Column | None]) -> Block:
        """One block of all rowsets of one size with the same count of times: ``groups`` int[b, t] says which frames, ``values``
        float64[b, size, t] is what they hold."""
        b, size, t = values.shape
        grades: Bytes | None = None
        for row, column in np.argwhere(np.isin(groups, list(settled)) | self._graded(groups)).tolist():
            i = int(groups[row, column])
            values[row, :, column], quality = self._column(i, metric, settled)
            if quality is not None:
                grades = np.zeros(values.shape, dtype=np.uint8) if grades is None else grades
                grades[row, :, column] = np.where(np.isnan(values[row, :, column]), 0, quality)
        times = self._times[groups]
        if (times == times[0]).all():
            times = times[:1]
        planes = {"value": values.reshape(b * size, t)}
        return Block(self._sets[groups[:, 0]], times, planes, None if grades is None else grades.reshape(b * size, t))

    def _graded(self, groups: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.array([item.graded for item in self._items])[groups]


def piece_of(block: Block, where: Ints, names: Names) -> Piece | None:
    """``block`` for the assets that ``where`` (code -> place asked for, -1: not asked) names; None where it has none."""
    places = where[names.codes_of_sets(block.rowsets)]
    take: slice | NDArray[np.intp] = slice(None) if (places >= 0).all() else np.flatnonzero(places >= 0)
    pos = places[take]
    if not len(pos):
        return None
    planes = {name: plane[take] for name, plane in block.planes.items()}
    quality = None if block.quality is None else block.quality[take]
    return Piece(pos, block.times, owners(block, names)[take], planes, quality)


def owners(block: Block, names: Names) -> Ints:
    """int32[n]: which of the block's axes each of its assets has."""
    sizes = names.sizes(block.rowsets)
    if len(block.times) == 1:
        return np.zeros(int(sizes.sum()), dtype=np.int32)
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def split(block: Block, names: Names) -> list[Block]:
    """``block`` as blocks of one rowset each."""
    ends = np.cumsum(names.sizes(block.rowsets))
    found = []
    for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        planes = {name: plane[start:end] for name, plane in block.planes.items()}
        quality = None if block.quality is None else block.quality[start:end]
        axis = i if len(block.times) > 1 else 0
        found.append(Block(block.rowsets[i : i + 1], block.times[axis : axis + 1], planes, quality))
    return found
