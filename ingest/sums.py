"""Adds up what several sources each tell a part of: the inference servers of one node, each scraped at its own port.

Every other metric of an asset is for one source to tell; ``icctwin check`` names those that two do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from ingest.gather import Gathered
from twin.frame import Floats, Origin
from twin.metrics import metric
from twin.site import Bools, Site
from twin.state import SET_BACK_S

ADDED: Mapping[str, tuple[str, ...]] = {"node": ("tokens_per_s",)}


class _Column:
    """One metric: float64[n] of each source, ``value`` and its ``time_s``; and until when sums were told."""

    def __init__(self, n: int) -> None:
        self.n, self.told_s = n, np.full(n, -np.inf)
        self.parts: dict[int, tuple[Floats, Floats]] = {}

    def part(self, by: int) -> tuple[Floats, Floats]:
        """Of the source ``by``."""
        if by not in self.parts:
            self.parts[by] = np.zeros(self.n), np.full(self.n, -np.inf)
        return self.parts[by]


class Sums:
    """The parts that the sources of one site told last. A part counts for as long as the metric itself may be shown: then a
    server that is gone leaves the sum. ``alone``: there is one source, so nothing is waited for."""

    def __init__(self, site: Site, *, alone: bool) -> None:
        self._site, self._alone = site, alone
        self._columns: dict[tuple[str, str], _Column] = {}

    def add(self, some: Sequence[Gathered], now: datetime) -> Sequence[Gathered]:
        """``some`` with sums in the place of their parts: one for each asset and time, no value (NaN) for the other parts.

        An asset's first sum waits for the second word of a source, or it would be one part alone.
        """
        work = [(at, name) for at, one in enumerate(some) for name in _added(one)]
        if not work:
            return some
        told = list(some)
        latest_s = now.timestamp() + SET_BACK_S
        fresh: dict[tuple[str, str, int], Bools] = {}  # what of each source came now: a source of many targets tells many parts
        new = [self._first(some[at], name) for at, name in work]
        for at, name in work:
            self._take(some[at], name, latest_s, fresh)
        for (at, name), first in zip(work, new, strict=True):
            one = told[at]
            column = self._sum(one, name, first, latest_s)
            told[at] = replace(one, frame=replace(one.frame, values={**one.frame.values, name: column}))
        return told

    def _first(self, one: Gathered, name: str) -> Bools:
        """bool[rows]: whose source tells of it for the first time."""
        key = one.frame.kind, name
        if key not in self._columns:
            self._columns[key] = _Column(self._site.count(one.frame.kind))
        first = np.zeros(len(one.frame.rows), dtype=np.bool_)
        for by in np.unique(one.by).tolist():
            here = one.by == by
            first[here] = self._columns[key].part(by)[1][one.frame.rows[here]] == -np.inf
        return first

    def _take(self, one: Gathered, name: str, latest_s: float, fresh: dict[tuple[str, str, int], Bools]) -> None:
        frame, column, key = one.frame, one.frame.values[name], (one.frame.kind, name)
        for by in np.unique(one.by).tolist():
            value, time_s = self._columns[key].part(by)
            here = (one.by == by) & ~np.isnan(column)
            rows = frame.rows[here]
            again = fresh.setdefault((*key, by), np.zeros(len(value), dtype=np.bool_))
            newer = (frame.time_s >= time_s[rows]) | (time_s[rows] > latest_s)
            value[rows] = np.where(again[rows], value[rows] + column[here], np.where(newer, column[here], value[rows]))
            time_s[rows] = np.where(newer, frame.time_s, time_s[rows])
            again[rows] |= newer

    def _sum(self, one: Gathered, name: str, first: Bools, latest_s: float) -> Floats:
        """float64[rows]: the sum of all parts, NaN where it was told already or is still waited for."""
        frame = one.frame
        column, rows, age_s = self._columns[frame.kind, name], frame.rows, metric(frame.kind, name).max_age_s
        total = np.zeros(len(rows))
        for value, time_s in column.parts.values():
            total += np.where(np.abs(frame.time_s - time_s[rows]) <= age_s, value[rows], 0.0)
        told_s = column.told_s[rows]
        due = ~np.isnan(frame.values[name]) & ((frame.time_s > told_s) | (told_s > latest_s))
        if not self._alone:
            due &= ~(first & (told_s == -np.inf))
        column.told_s[rows[due]] = frame.time_s
        return np.where(due, total, np.nan)


def _added(one: Gathered) -> list[str]:
    names = ADDED.get(one.frame.kind, ())
    return [name for name in names if name in one.frame.values] if one.frame.origin is Origin.MEASURED else []
