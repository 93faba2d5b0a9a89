"""The live state: the newest value of everything, with its age and quality.

One thread writes (``absorb``), any number read. A column is replaced as a whole and never written in place, so a reader
always sees values, times and qualities that belong together, without a lock.
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from twin.frame import Bytes, Floats, Frame, Origin, Quality
from twin.metrics import metric
from twin.site import Bools, Site

Key = tuple[str, str, Origin, str]  # kind, metric, origin, band
_BAD = int(Quality.BAD)
SET_BACK_S = 5.0  # what stands so far beyond now was noted by our own clock before it was set back
REPLAY_S = 60.0  # how far behind the newest claim of a clock that ran ahead a claim counts as late or repeated


class Column(NamedTuple):
    """Newest values of one metric over all assets of a kind: float64[n] value, float64[n] time (s since 1970, -inf:
    never), uint8[n] quality."""

    value: Floats
    time_s: Floats
    quality: Bytes


class State:
    """Newest values of one site. ``absorb`` is for one writer; everything else is safe from any thread."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._columns: dict[Key, Column] = {}
        self._claimed: dict[Key, Floats] = {}  # the writer's own: times claimed by clocks that ran ahead, s since 1970

    def absorb(self, frame: Frame, now: datetime) -> None:
        """Take the values of ``frame`` that are newer than what is known.

        A value's time is never later than ``now``: a clock that runs ahead must not block the truth that follows. What such
        a clock claimed is remembered, so that its frames do not pass for new ones when they come late or twice; a claim over
        ``REPLAY_S`` behind is a clock that was set right. Late values lose against newer ones; of two values with one time
        the first stays, unless the second is of better quality. What our own clock noted beyond ``now``, before it was set
        back, gives way to whatever is read. Bad values are never taken: the last believable one stays and ages. Forecasts
        are left out: they are series, and the store has them.
        """
        if frame.origin is Origin.FORECAST:
            return
        claim_s, time_s = frame.time_s, min(frame.time_s, now.timestamp())
        for name in frame.values:
            key = (frame.kind, name, frame.origin, frame.band)
            old = self._columns.get(key) or self._empty(frame.kind, name)
            if claim_s > time_s and key not in self._claimed:
                self._claimed[key] = np.full(len(old.time_s), -np.inf)
            claimed = self._claimed.get(key)
            take = _wins(old, frame, name, time_s, claimed, now.timestamp() + SET_BACK_S)
            self._columns[key] = _merged(old, frame, name, time_s, take)
            if claim_s > time_s and claimed is not None:
                claimed[frame.rows[take]] = claim_s

    def column(self, kind: str, name: str, now: datetime, origin: Origin = Origin.MEASURED, band: str = "") -> Floats:
        """float64[n]: newest values, NaN where there is none or it is older than the metric's maximum age."""
        column = self._columns.get((kind, name, origin, band))
        limit_s = metric(kind, name).max_age_s
        if column is None:
            return np.full(self.site.count(kind), np.nan)
        fresh = now.timestamp() - column.time_s <= limit_s
        return np.where(fresh, column.value, np.nan)

    def newest(self, kind: str, name: str, origin: Origin = Origin.MEASURED, band: str = "") -> Column:
        """The newest values whatever their age, for whoever shows the age beside them."""
        return self._columns.get((kind, name, origin, band)) or self._empty(kind, name)

    def age_s(self, kind: str, name: str, now: datetime, origin: Origin = Origin.MEASURED, band: str = "") -> Floats:
        """float64[n]: age in seconds of each newest value, inf where there never was one."""
        return now.timestamp() - self.newest(kind, name, origin, band).time_s

    def one(self, kind: str, name: str, now: datetime, row: int = 0, origin: Origin = Origin.MEASURED, band: str = "") -> float:
        """A single fresh value, NaN where stale or unknown."""
        return float(self.column(kind, name, now, origin, band)[row]) if self.site.count(kind) > row else float("nan")

    def known(self) -> list[Key]:
        """All (kind, metric, origin, band) ever absorbed, in a stable order."""
        return sorted(self._columns)

    def _empty(self, kind: str, name: str) -> Column:
        metric(kind, name)
        n = self.site.count(kind)
        return Column(np.full(n, np.nan), np.full(n, -np.inf), np.zeros(n, dtype=np.uint8))


def _wins(old: Column, frame: Frame, name: str, time_s: float, claimed: Floats | None, last_s: float) -> Bools:
    """bool[n]: which values of ``frame`` are believable and newer, by their own clock too where that ever ran ahead. What is
    known as of later than ``last_s`` counts as never read."""
    had_s, had_quality = old.time_s[frame.rows], old.quality[frame.rows]
    grade = _grade(frame, name)
    newer = time_s > had_s
    if claimed is not None:
        had_claim_s = np.maximum(claimed[frame.rows], had_s)
        newer |= (time_s == had_s) & (frame.time_s > had_claim_s)
        newer &= (frame.time_s > had_claim_s) | (had_claim_s - frame.time_s > REPLAY_S)
    newer |= had_s > last_s
    return (newer | ((time_s == had_s) & (grade < had_quality))) & ~np.isnan(frame.values[name]) & (grade < _BAD)


def _merged(old: Column, frame: Frame, name: str, time_s: float, take: Bools) -> Column:
    """``old`` with those values of ``frame`` that ``take``; a new column, or ``old`` itself where there are none."""
    if not take.any():
        return old
    where = frame.rows[take]
    value, times, grades = old.value.copy(), old.time_s.copy(), old.quality.copy()
    value[where], times[where], grades[where] = frame.values[name][take], time_s, _grade(frame, name)[take]
    return Column(value, times, grades)


def _grade(frame: Frame, name: str) -> Bytes:
    """uint8[n]: quality of a column, good where the frame says nothing."""
    quality = frame.quality.get(name)
    return np.zeros(len(frame.rows), dtype=np.uint8) if quality is None else quality
