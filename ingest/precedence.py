"""Two sources that tell the same metric of the same asset: whose word counts, where the operator says it (``precedence``).

The source of the lowest number counts. Where it has told nothing believable for the metric's maximum age, the next one does;
as soon as it speaks again, it counts again. What does not count is not kept: one asset has one series of a metric. Sources of
one number are as sources of which nobody says anything: both are kept, and the newest is shown. What was told beyond now,
before our own clock was set back, counts as never told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from ingest.gather import Gathered, carried
from ingest.sums import ADDED
from twin.frame import Floats, Frame, Ints, Origin, Quality
from twin.metrics import metric
from twin.site import Bools, Site
from twin.state import SET_BACK_S

FIRST = 1
LAST = 9
GRACE_S = 30.0  # beside twice its interval: so long a source that counts more is waited for at the start
_BAD = int(Quality.BAD)


class _Column:
    """One metric of all assets of a kind: int32[n] which source counts (-1: none yet) and float64[n] when it told last; the
    same of the one that was held back last; ``several``: bool[n], another has told it too."""

    def __init__(self, kind: str, name: str, n: int, began_s: float) -> None:
        self.max_age_s = metric(kind, name).max_age_s
        self.who, self.told_s = np.full(n, -1, dtype=np.int32), np.full(n, began_s - self.max_age_s)
        self.held, self.held_s = np.full(n, -1, dtype=np.int32), np.full(n, -np.inf)
        self.several: Bools = np.zeros(n, dtype=np.bool_)


class Precedence:
    """Lets through what counts. ``ranks``: of the sources, by the number that a ``Gathered`` calls them; ``every_s``: their
    intervals. One thread at a time. What no source of a higher number has ever told costs a look at a dictionary a frame."""

    def __init__(self, site: Site, ranks: Sequence[int], every_s: Floats) -> None:
        self._site, self._ranks = site, np.array(ranks, dtype=np.int32)
        self._some = bool(len(ranks)) and bool((self._ranks != self._ranks[0]).any())
        first = self._ranks < self._ranks.max() if self._some else np.zeros(len(ranks), dtype=np.bool_)
        self._wait_s = float(2 * every_s[first].max() + GRACE_S) if first.any() else 0.0
        self._lowest = int(self._ranks.min()) if self._some else FIRST
        self._columns: dict[str, dict[str, _Column]] = {}  # kind -> metric -> what several may tell

    def admit(self, one: Gathered, now: datetime) -> Gathered | None:
        """``one`` without what another counts for; None where nothing is left of it. What a source foresees of a metric counts
        where its readings do."""
        if not self._some or one.frame.origin not in (Origin.MEASURED, Origin.FORECAST):
            return one
        frame, rank = one.frame, self._ranks[one.by]
        if not (rank > self._lowest).any():
            return one
        values = dict(frame.values)
        for name in frame.values.keys() - set(ADDED.get(frame.kind, ())):
            held = self._held(one, rank, name, now)
            if held.any():
                values[name] = np.where(held, np.nan, values[name])
        if all(values[name] is frame.values[name] for name in values):
            return one
        left = carried(np.array(list(values.values())))
        return replace(one, frame=replace(frame, values=values), carried=left) if left.any() else None

    def _held(self, one: Gathered, rank: Ints, name: str, now: datetime) -> Bools:
        """bool[rows]: which values of ``name`` another source counts for; remembers that they were told."""
        frame, read = one.frame, one.frame.origin is Origin.MEASURED
        column = self._column(frame.kind, name, now) if read else self._columns.get(frame.kind, {}).get(name)
        if column is None:
            return np.zeros(len(frame.rows), dtype=np.bool_)
        time_s = min(frame.time_s, now.timestamp()) if read else now.timestamp()
        who = column.who[frame.rows]
        before = np.where(who >= 0, self._ranks[who], self._lowest)
        told_s = column.told_s[frame.rows]
        fresh = (time_s - told_s <= column.max_age_s) & (told_s <= now.timestamp() + SET_BACK_S)
        held: Bools = (rank > before) & fresh & ~np.isnan(frame.values[name])
        if read and held.any():
            at = frame.rows[held]
            column.held[at], column.held_s[at] = one.by[held], time_s
        return held

    def note(self, one: Gathered, judged: Frame, now: datetime) -> None:
        """Remember who told what of ``judged``, the frame of ``one``; what cannot be counts as not told."""
        if not self._some or not (columns := self._columns.get(judged.kind)) or judged.origin is not Origin.MEASURED:
            return
        time_s = min(judged.time_s, now.timestamp())
        for name in judged.values.keys() & columns.keys():
            column, quality = columns[name], judged.quality.get(name)
            told = ~np.isnan(judged.values[name])
            if quality is not None:
                told &= quality < _BAD
            told &= self._newer(column, judged.rows, one.by, time_s, now.timestamp() + SET_BACK_S)
            at = judged.rows[told]
            column.who[at], column.told_s[at] = one.by[told], time_s
            column.several[at] |= (column.held[at] >= 0) & (column.held[at] != column.who[at])

    def _newer(self, column: _Column, rows: Ints, by: Ints, time_s: float, last_s: float) -> Bools:
        """bool[rows]: not older than what counts now, or of a source that counts more and is not stale itself; or what counts
        is of later than ``last_s``."""
        who, told_s = column.who[rows], column.told_s[rows]
        more = (who >= 0) & (self._ranks[by] < self._ranks[who]) & (told_s - time_s <= column.max_age_s)
        return (time_s >= told_s) | more | (told_s > last_s)

    def _column(self, kind: str, name: str, now: datetime) -> _Column:
        columns = self._columns.setdefault(kind, {})
        if name not in columns:  # whoever counts more may have told it just before: it is waited for
            wait_s = min(self._wait_s, metric(kind, name).max_age_s)
            columns[name] = _Column(kind, name, self._site.count(kind), now.timestamp() + wait_s)
        return columns[name]

    def counts(self, now: datetime) -> Mapping[str, Floats]:
        """float64[sources] each: of how many pairs of asset and metric that several have told each is the one that counts
        (``in_force_count``), and of how many it is held back now (``standby_count``). Nothing where nobody says who counts."""
        if not self._some:
            return {}
        n, now_s = len(self._ranks), now.timestamp()
        counted, held = np.zeros(n), np.zeros(n)
        for columns in self._columns.values():
            for column in columns.values():
                counted += np.bincount(column.who[column.several], minlength=n)
                waits = (now_s - column.held_s <= column.max_age_s) & (column.held != column.who)
                held += np.bincount(column.held[waits], minlength=n)
        return {"in_force_count": counted, "standby_count": held}
