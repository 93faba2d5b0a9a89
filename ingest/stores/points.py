"""From points as a server gives them to the tables that the port promises: as stored, or folded into steps here where the
server's own folding does not know what is bad or where a step begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints, Quality
from twin.metrics import metric
from twin.ports import How, Series

MICRO = 1_000_000
MAX_CELLS = 32_000_000  # values that an answer may hold (256 MB)
Times = NDArray[np.int64]


@dataclass(slots=True)
class Points:
    """Points of one metric: ``at`` (which of the assets asked for), ``times`` in microseconds, ``values``; any order, each cell
    once."""

    at: list[NDArray[np.intp]] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(self, at: int, times: Sequence[int] | Times, values: Sequence[float] | Floats) -> None:
        """Points of one asset."""
        when = np.asarray(times, dtype=np.int64)
        self.at.append(np.full(len(when), at, dtype=np.intp))
        self.times.append(when)
        self.values.append(np.asarray(values, dtype=np.float64))

    def joined(self) -> tuple[NDArray[np.intp], Times, Floats]:
        """All of them, in the order of their times."""
        if not self.at:
            return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.int64), np.empty(0)
        at, times, values = np.concatenate(self.at), np.concatenate(self.times), np.concatenate(self.values)
        order = np.argsort(times, kind="stable")
        return at[order], times[order], values[order]


def believed(points: Points, grades: Points) -> Points:
    """``points`` without those that ``grades`` calls bad."""
    _, _, marks = grades.joined()
    wrong = {key for key, mark in zip(_keys(grades), marks.tolist(), strict=True) if mark >= Quality.BAD}
    if not wrong:
        return points
    at, times, values = points.joined()
    keep = np.array([key not in wrong for key in _keys(points)], dtype=np.bool_)
    return Points([at[keep]], [times[keep]], [values[keep]])


def with_bad(points: Points, bad: Points, grades: Points) -> Points:
    """``points`` with those of ``bad`` that ``grades`` still calls so: of one time the later counts, whichever it is."""
    if not bad.at:
        return points
    at, times, values = bad.joined()
    _, _, marks = grades.joined()
    keys = list(zip(at.tolist(), times.tolist(), strict=True))
    wrong = {key for key, mark in zip(_keys(grades), marks.tolist(), strict=True) if mark >= Quality.BAD}
    keep = np.array([key in wrong for key in keys], dtype=np.bool_)
    still = Points([at[keep]], [times[keep]], [values[keep]])
    good = believed(points, Points(still.at, still.times, [np.full(int(keep.sum()), float(Quality.BAD))]))
    return Points([*good.at, *still.at], [*good.times, *still.times], [*good.values, *still.values])


def _keys(points: Points) -> list[tuple[int, int]]:
    at, times, _ = points.joined()
    return list(zip(at.tolist(), times.tolist(), strict=True))


def as_stored(points: Mapping[str, Points], rows: Ints) -> Series:
    """A time wherever any metric and asset has a value."""
    joined = {name: some.joined() for name, some in points.items()}
    times = np.unique(np.concatenate([when for _, when, _ in joined.values()])) if joined else np.empty(0, dtype=np.int64)
    check_cells(len(times) * len(rows) * len(joined), next(iter(points), ""))
    tables: dict[str, Floats] = {}
    for name, (at, when, values) in joined.items():
        tables[name] = np.full((len(times), len(rows)), np.nan)
        tables[name][np.searchsorted(times, when), at] = values
    return Series(times / MICRO, rows, tables)


def folded(points: Points, starts: Times, step: int, n: int, how: How) -> Floats:
    """float64[t, n]: points in the steps that begin at ``starts``."""
    at, when, values = points.joined()
    which = (when - starts[0]) // step if len(starts) else when
    inside = (which >= 0) & (which < len(starts))
    cell = which[inside] * n + at[inside]
    values = values[inside]
    table = np.full(len(starts) * n, np.nan)
    if how is How.MEAN:
        count = np.bincount(cell, minlength=len(table))
        total = np.bincount(cell, weights=values, minlength=len(table))
        np.divide(total, count, out=table, where=count > 0)
    elif how is How.LAST:
        table[cell] = values  # in the order of time: the last stays
    else:
        fold = np.fmin if how is How.MIN else np.fmax
        fold.at(table, cell, values)
    return table.reshape(len(starts), n)


def starts_of(start: int, end: int, step: int, columns: int, kind: str) -> Times:
    """Starts of the steps, aligned to multiples of ``step`` since 1970, that have anything of ``[start, end)``; ``ValueError``
    where ``columns`` of them would be too many values."""
    check_cells(max(0, -(-end // step) - start // step) * max(1, columns), kind)
    return np.arange(start // step * step, end, step, dtype=np.int64) if end > start else np.empty(0, dtype=np.int64)


def check_question(kind: str, metrics: Sequence[str], step_s: float | None) -> int | None:
    """Whether it can be answered: ``KeyError`` for a metric that does not exist, ``ValueError`` for a step that is none. The
    step in microseconds."""
    for name in metrics:
        metric(kind, name)
    step = None if step_s is None else round(step_s * MICRO)
    if step is not None and step <= 0:
        raise ValueError(f"a step of {step_s} s; use a positive number of seconds, or None for values as stored")
    return step


def check_cells(cells: int, kind: str) -> None:
    """``ValueError`` where an answer would not fit in memory."""
    if cells > MAX_CELLS:
        raise ValueError(
            f"the answer would hold over {MAX_CELLS:,} values of {kind}: "
            "ask for fewer assets, metrics or hours, or for longer steps"
        )


def numbers(values: Sequence[Any]) -> Floats:
    """JSON's numbers as float64, null as NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
