"""Joins the frames of many sources into few: what the rest of the way costs, it costs a frame, hardly a value.

Frames of one kind, one time and the same metrics become one, as long as they speak of different assets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

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
    by: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A frame, and for each of its rows who said it (the number that ``add`` was given)."""

    frame: Frame
    by: Ints


class Gatherer:
    """Frames that wait to be taken together. Not safe from two threads at once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._groups: dict[tuple[object, ...], list[_Group]] = {}
        self._alone: list[Gathered] = []
        self.waiting = 0  # values, read or not

    def add(self, by: int, frame: Frame) -> int:
        """Let ``frame``, said by ``by``, wait; gives how many values it carries (NaN not counted)."""
        if not frame.values or not len(frame.rows):
            return 0
        table = np.concatenate(list(frame.values.values())).reshape(len(frame.values), -1)
        self.waiting += table.size
        carried = table.size - int(np.count_nonzero(np.isnan(table)))
        if frame.origin is not Origin.MEASURED or frame.band or frame.quality:
            self._alone.append(Gathered(frame, np.full(len(frame.rows), by, dtype=np.int32)))
            return carried
        groups = self._groups.setdefault((frame.kind, frame.time, *frame.values), [])
        group = next((one for one in groups if not one.taken[frame.rows].any()), None)
        if group is None:
            group = _Group(frame, np.zeros(self._site.count(frame.kind), dtype=np.bool_))
            groups.append(group)
        group.taken[frame.rows] = True
        group.tables.append(table)
        group.rows.append(frame.rows)
        group.by.append(by)
        return carried

    def take(self) -> Sequence[Gathered]:
        """All that waits, joined."""
        made = self._alone
        for groups in self._groups.values():
            made += map(_joined, groups)
        self._groups, self._alone, self.waiting = {}, [], 0
        return made


def _joined(group: _Group) -> Gathered:
    first = group.first
    if len(group.rows) == 1:
        return Gathered(first, np.full(len(first.rows), group.by[0], dtype=np.int32))
    rows = np.concatenate(group.rows)
    table = np.concatenate(group.tables, axis=1)
    by = np.repeat(np.array(group.by, dtype=np.int32), [len(some) for some in group.rows])
    return Gathered(Frame(first.kind, first.time, rows, dict(zip(first.values, table, strict=True))), by)
