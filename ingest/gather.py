"""Joins the frames of many sources into few: what the rest of the way costs, it costs a frame, hardly a value.

Frames of one kind, one time and the same metrics become one, as long as they speak of different assets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest.mappings.pool import Reading, mapped
from twin.frame import Floats, Frame, Ints, Origin
from twin.site import Bools, Site

MAX_WAITING = 2_000_000  # values; more are not let to wait


@dataclass(slots=True)
class _Group:
    """Frames that fit together: ``taken`` marks the assets that they speak of."""

    first: Frame
    taken: Bools
    tables: list[Floats] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)
    by: list[Ints] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A frame, and for each of its rows who said it (the number that ``add`` was given) and how many values (NaN not
    counted)."""

    frame: Frame
    by: Ints
    carried: Floats


class Gatherer:
    """Frames, and readings that are still to be mapped, that wait to be taken together. Not safe from two threads at once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._groups: dict[tuple[object, ...], list[_Group]] = {}
        self._alone: list[Gathered] = []
        self._readings: list[tuple[int, Reading]] = []
        self.waiting = 0  # values, read or not

    def add(self, by: int, frame: Frame) -> None:
        """Let ``frame``, said by ``by``, wait."""
        if frame.values and len(frame.rows):
            self._add(frame, np.full(len(frame.rows), by, dtype=np.int32))

    def add_reading(self, by: int, reading: Reading) -> None:
        """Let a page that ``by`` has read wait."""
        self._readings.append((by, reading))
        self.waiting += len(reading.values)

    def take(self) -> Sequence[Gathered]:
        """All that waits, mapped and joined."""
        readings, self._readings = self._readings, []
        for said in mapped(readings):
            self._add(said.frame, said.by)
        made = self._alone
        for groups in self._groups.values():
            made += map(_joined, groups)
        self._groups, self._alone, self.waiting = {}, [], 0
        return made

    def _add(self, frame: Frame, by: Ints) -> None:
        table = np.concatenate(list(frame.values.values())).reshape(len(frame.values), -1)
        self.waiting += table.size
        if frame.origin is not Origin.MEASURED or frame.band or frame.quality:
            self._alone.append(Gathered(frame, by, carried(table)))
            return
        groups = self._groups.setdefault((frame.kind, frame.time, *frame.values), [])
        group = next((one for one in groups if not one.taken[frame.rows].any()), None)
        if group is None:
            group = _Group(frame, np.zeros(self._site.count(frame.kind), dtype=np.bool_))
            groups.append(group)
        group.taken[frame.rows] = True
        group.tables.append(table)
        group.rows.append(frame.rows)
        group.by.append(by)


def carried(table: Floats) -> Floats:
    """float64[rows]: values, NaN not counted."""
    found: Floats = np.sum(~np.isnan(table), axis=0, dtype=np.float64)
    return found


def _joined(group: _Group) -> Gathered:
    first = group.first
    if len(group.rows) == 1:
        return Gathered(first, group.by[0], carried(group.tables[0]))
    rows = np.concatenate(group.rows)
    table = np.concatenate(group.tables, axis=1)
    frame = Frame(first.kind, first.time, rows, dict(zip(first.values, table, strict=True)))
    return Gathered(frame, np.concatenate(group.by), carried(table))
