"""Two sources that tell the same metric of the same asset: whose word counts, where the operator says it (``precedence``).

The source of the lowest number counts. Where it has told nothing believable for the metric's maximum age, the next one does;
as soon as it speaks again, it counts again. What does not count is not kept: one asset has one series of a metric. Sources of
one number are as sources of which nobody says anything: both are kept, and the newest is shown. What was told beyond now,
before our own clock was set back, counts as never told.

After a start nobody knows yet who tells what: what only a source of a higher number has told so far is held back for two of
its own intervals or of the others'. All are read at once then, so that ``SELDOM_S`` is interval enough; and what one read
seldom tells would be missed for hours: it goes through as soon as each of the others has told something.
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
GRACE_S = 30.0  # beside two intervals: so long sources that count more are waited for at the start
SELDOM_S = 30.0  # no interval counts as longer there: the longest that a source may take to answer
_BAD = int(Quality.BAD)


class _Column:
    """One metric of all assets of a kind: int32[n] which source counts (-1: none yet) and float64[n] when it told last; the
    same of the one that was held back last (``contested``: some was); ``several``: bool[n], another has told it too."""

    def __init__(self, kind: str, name: str, n: int) -> None:
        self.max_age_s, self.contested = metric(kind, name).max_age_s, False
        self.who, self.told_s = np.full(n, -1, dtype=np.int32), np.full(n, -np.inf)
        self.held, self.held_s = np.full(n, -1, dtype=np.int32), np.full(n, -np.inf)
        self.several: Bools = np.zeros(n, dtype=np.bool_)


class Precedence:
    """Lets through what counts. ``ranks``: of the sources, by the number that a ``Gathered`` calls them; ``every_s``: their
    intervals [s]. One thread at a time. Where nobody says who counts it costs nothing."""

    def __init__(self, site: Site, ranks: Sequence[int], every_s: Floats) -> None:
        self._site, self._ranks = site, np.array(ranks, dtype=np.int32)
        self._some = bool(len(ranks)) and bool((self._ranks != self._ranks[0]).any())
        theirs_s = {rank: every_s[self._ranks < rank].max(initial=0.0) for rank in set(ranks)}
        longest_s = np.array([min(theirs_s[rank], SELDOM_S) for rank in ranks])
        self._wait_s: Floats = 2 * np.minimum(every_s, longest_s) + GRACE_S  # of each source
        self._seldom, self._heard = every_s > SELDOM_S, np.zeros(len(ranks), dtype=np.bool_)
        self._began_s: float | None = None
        self._lowest = int(self._ranks.min()) if self._some else FIRST
        self._columns: dict[str, dict[str, _Column]] = {}  # kind -> metric -> what several may tell

    def admit(self, one: Gathered, now: datetime) -> Gathered | None:
        """``one`` without what another counts for; None where nothing is left of it. What a source foresees of a metric counts
        where its readings do."""
        if not self._some or one.frame.origin not in (Origin.MEASURED, Origin.FORECAST):
            return one
        frame, rank = one.frame, self._ranks[one.by]
        if self._began_s is None:
            self._began_s = now.timestamp()
        self._heard[one.by] = True
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
        frame, read, now_s = one.frame, one.frame.origin is Origin.MEASURED, now.timestamp()
        column = self._column(frame.kind, name)
        time_s = min(frame.time_s, now_s) if read else now_s
        who, told_s = column.who[frame.rows], column.told_s[frame.rows]
        fresh = (time_s - told_s <= column.max_age_s) & (told_s <= now_s + SET_BACK_S)
        early = self._early(one.by, now_s, column.max_age_s)
        held: Bools = np.where(who >= 0, (rank > self._ranks[who]) & fresh, (rank > self._lowest) & early)
        held &= ~np.isnan(frame.values[name])
        if read and held.any():
            at = frame.rows[held]
            column.held[at], column.held_s[at], column.contested = one.by[held], time_s, True
        return held

    def _early(self, by: Ints, now_s: float, max_age_s: float) -> Bools:
        """bool[rows]: whether a source of a lower number may still tell for the first time what ``by`` tell."""
        since_s = now_s - (self._began_s or now_s)
        if not -SET_BACK_S <= since_s <= 2 * SELDOM_S + GRACE_S:
            return np.zeros(len(by), dtype=np.bool_)
        silent = self._ranks[~self._heard].min(initial=LAST)
        early: Bools = since_s <= np.minimum(self._wait_s[by], max_age_s)
        early &= ~self._seldom[by] | (silent < self._ranks[by])
        return early

    def note(self, one: Gathered, judged: Frame, now: datetime) -> None:
        """Remember who told what of ``judged``, the frame of ``one``; what cannot be counts as not told."""
        if not self._some or judged.origin is not Origin.MEASURED:
            return
        time_s = min(judged.time_s, now.timestamp())
        for name in judged.values.keys() - set(ADDED.get(judged.kind, ())):
            column, quality = self._column(judged.kind, name), judged.quality.get(name)
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

    def _column(self, kind: str, name: str) -> _Column:
        columns = self._columns.setdefault(kind, {})
        if name not in columns:
            columns[name] = _Column(kind, name, self._site.count(kind))
        return columns[name]

    def counts(self, now: datetime) -> Mapping[str, Floats]:
        """float64[sources] each: of how many pairs of asset and metric that several have told each is the one that counts
        (``in_force_count``), and of how many it is held back now (``standby_count``). Nothing where nobody says who counts."""
        if not self._some:
            return {}
        n, now_s = len(self._ranks), now.timestamp()
        counted, held = np.zeros(n), np.zeros(n)
        for columns in self._columns.values():
            for column in (one for one in columns.values() if one.contested):
                counted += np.bincount(column.who[column.several], minlength=n)
                waits = (now_s - column.held_s <= column.max_age_s) & (column.held != column.who)
                held += np.bincount(column.held[waits], minlength=n)
        return {"in_force_count": counted, "standby_count": held}
