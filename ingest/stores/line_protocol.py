"""Frames as InfluxDB line protocol, by columns: ``gpu,asset=r1n1g0,origin=measured power_w=512.3,temp_c=61 1764100000000000``.

Measurement is the kind, tags are asset, origin and band, fields are the metrics, times are microseconds. What is not good has
a second field, ``power_w__q``, with its quality; a value that may stand over an older one says its quality even where it is
good, so that the later always counts. What is bad stands in a field of its own, ``power_w__bad``: whoever folds ``power_w``, be
it a dashboard or the server's own rollup, folds what is believed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from twin.frame import Bytes, Floats, Frame, Ints, Quality
from twin.metrics import metric
from twin.site import Site
from twin.times import micros

GRADE = "__q"  # suffix of the field that holds a metric's quality
BAD = "__bad"  # suffix of the field that holds values of it that are bad
MAX_LINES = 5_000  # a body; what InfluxData advises for a batch


class _Shape(NamedTuple):
    kind: str
    origin: str
    band: str
    metrics: tuple[str, ...]
    graded: tuple[str, ...]


class LineWriter:
    """Turns frames of one site into bodies. ``left_out``: values that line protocol cannot carry (infinite), so far."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._heads: dict[tuple[str, str, str], pa.Array] = {}
        self._newest: dict[tuple[str, str, str, str], NDArray[np.int64]] = {}
        self.left_out = 0

    def bodies(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        """``frames`` as bodies of at most ``MAX_LINES`` lines. ``KeyError`` for a metric that the table does not know,
        ``ValueError`` for a row that the site does not have: before the first body is given."""
        alike: dict[_Shape, list[Frame]] = defaultdict(list)
        for frame in frames:
            self._check(frame)
            grades = tuple(name for name in frame.values if name in frame.quality)
            alike[_Shape(frame.kind, frame.origin.value, frame.band, tuple(frame.values), grades)].append(frame)
        lines: list[str] = []
        for shape, some in alike.items():
            lines += self._lines(shape, some)
            while len(lines) >= MAX_LINES:
                yield "\n".join(lines[:MAX_LINES]).encode()
                lines = lines[MAX_LINES:]
        if lines:
            yield "\n".join(lines).encode()

    def _check(self, frame: Frame) -> None:
        n = self._site.count(frame.kind)
        if len(frame.rows) and (int(frame.rows.min()) < 0 or int(frame.rows.max()) >= n):
            low, high = frame.rows.min(), frame.rows.max()
            raise ValueError(f"frame of {frame.kind}: rows {low} to {high} where the site has {n}; use the site's rows")
        for name in frame.values:
            metric(frame.kind, name)

    def _lines(self, shape: _Shape, frames: Sequence[Frame]) -> list[str]:
        rows = np.concatenate([frame.rows for frame in frames])
        times = np.repeat([micros(frame.time) for frame in frames], [len(frame.rows) for frame in frames])
        columns: dict[str, Floats] = {}
        for name in shape.metrics:
            values = np.concatenate([np.asarray(frame.values[name], dtype=np.float64) for frame in frames])
            endless = np.isinf(values)
            if endless.any():
                self.left_out += int(endless.sum())
                values = np.where(endless, np.nan, values)
            if not np.isnan(values).all():
                columns[name] = values
                grades = self._grades(shape, name, frames, rows, times, values)
                if grades is not None:
                    columns[name + GRADE] = np.where(np.isnan(values), np.nan, grades)
                    if (wrong := grades >= Quality.BAD).any():
                        columns[name], columns[name + BAD] = np.where(wrong, np.nan, values), np.where(wrong, values, np.nan)
        said = np.zeros(len(rows), dtype=np.bool_)  # arrow leaves out rows that say nothing, so they are left out before
        for values in columns.values():
            said |= ~np.isnan(values)
        if not said.all():
            rows, times, columns = rows[said], times[said], {name: values[said] for name, values in columns.items()}
        if not len(rows):
            return []
        body = pc.binary_join_element_wise(*map(_field, columns, columns.values()), ",", null_handling="skip")
        heads = self._head(shape).take(pa.array(rows))
        lines: list[str] = pc.binary_join_element_wise(heads, body, pc.cast(pa.array(times), pa.string()), " ").to_pylist()
        return lines

    def _grades(
        self, shape: _Shape, name: str, frames: Sequence[Frame], rows: Ints, times: NDArray[np.int64], values: Floats
    ) -> Floats | None:
        """Quality where it must be said, NaN elsewhere; None where it need not be said at all."""
        key = (shape.kind, shape.origin, shape.band, name)
        newest = self._newest.setdefault(key, np.full(self._site.count(shape.kind), np.iinfo(np.int64).max))
        said = ~np.isnan(values)
        over = said & (times <= newest[rows])  # or the first that this process writes: who knows what is there
        newest[rows[over & (newest[rows] == np.iinfo(np.int64).max)]] = np.iinfo(np.int64).min
        np.maximum.at(newest, rows[said], times[said])
        twice = said & _repeated(rows, times)
        grades = np.where(over | twice, 0.0, np.nan)
        if name in shape.graded:
            quality: Bytes = np.concatenate([frame.quality[name] for frame in frames])
            grades = np.where(quality > 0, quality, grades)
        return None if np.isnan(grades).all() else grades

    def _head(self, shape: _Shape) -> pa.Array:
        key = (shape.kind, shape.origin, shape.band)
        if key not in self._heads:
            band = f",band={escaped(shape.band)}" if shape.band else ""
            ids = self._site.ids_of(shape.kind)
            self._heads[key] = pa.array([f"{shape.kind},asset={escaped(one)}{band},origin={shape.origin}" for one in ids])
        return self._heads[key]


def _repeated(rows: Ints, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Cells that do not come in the order of their time within one call."""
    order = np.lexsort((np.arange(len(rows)), rows))
    back = np.zeros(len(rows), dtype=np.bool_)
    same = rows[order][1:] == rows[order][:-1]
    back[order[1:]] = same & (np.diff(times[order]) <= 0)
    return back


def _field(name: str, values: Floats) -> pa.Array:
    text = pc.cast(pa.array(values, mask=np.isnan(values)), pa.string())
    return pc.binary_join_element_wise(pa.scalar(name), text, "=")


def escaped(text: str) -> str:
    """A tag's value as line protocol wants it. Site tables hold no line breaks."""
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")
