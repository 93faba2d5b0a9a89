"""The live state: the newest value of everything, with its age and quality.

One thread writes (``absorb``), any number read. A column is replaced as a whole and never written in place, so a reader
always sees values, times and qualities that belong together, without a lock.
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from twin.frame import Bytes, Floats, Frame, Origin, Quality
from twin.metrics import metric
from twin.site import Site

Key = tuple[str, str, Origin, str]  # kind, metric, origin, band


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

    def absorb(self, frame: Frame, now: datetime) -> None:
        """Take the values of ``frame`` that are newer than what is known.

        A value's time is never later than ``now``: a clock that runs ahead must not block the truth that follows. Late
        values lose against newer ones; of two values with one time the first stays, unless the second is of better
        quality. Bad values are never taken: the last believable one stays and ages. Forecasts are left out: they are
        series, and the store has them.
        """
        if frame.origin is Origin.FORECAST:
            return
        time_s = min(frame.time_s, now.timestamp())
        for name, values in frame.values.items():
            key = (frame.kind, name, frame.origin, frame.band)
            quality = frame.quality.get(name)
            old = self._columns.get(key)
            if old is None:
                old = self._empty(frame.kind, name)
            self._columns[key] = _merged(old, frame.rows, values, quality, time_s)

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


def _merged(old: Column, rows: np.ndarray, values: Floats, quality: Bytes | None, time_s: float) -> Column:
    """``old`` with those of ``values`` that win; a new column, or ``old`` itself where none does."""
    had_s, had_quality = old.time_s[rows], old.quality[rows]
    grade = np.zeros(len(rows), dtype=np.uint8) if quality is None else quality
    take = (time_s > had_s) | ((time_s == had_s) & (grade < had_quality))
    take &= ~np.isnan(values) & (grade < Quality.BAD)
    if not take.any():
        return old
    where = rows[take]
    value, times, grades = old.value.copy(), old.time_s.copy(), old.quality.copy()
    value[where], times[where], grades[where] = values[take], time_s, grade[take]
    return Column(value, times, grades)
