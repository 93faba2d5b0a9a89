"""Moving history from one store to another, window by window, so that it can be stopped and gone on with at any moment.

What is copied is everything as it was stored: values of every origin and band at their own times, with their quality, those too
that nobody believes. Of the time whose raw values the source no longer has, means of minutes are copied, and where minutes are
gone too, of hours, each at the beginning of its time. A window that was begun and not ended is copied again; a store that
writes over (all but VictoriaMetrics) does not notice.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ingest.stores.errors import LeftOut
from ingest.stores.kept import Kept
from ingest.stores.line_protocol import GRADE
from twin.frame import TOLD, Frame, Ints, Origin
from twin.metrics import METRICS
from twin.ports import Series, Store
from twin.site import Site
from twin.times import moment

WINDOW = timedelta(minutes=10)
ROLLED_WINDOW = timedelta(days=1)  # of what only rollups are left of
MAX_CELLS = 4_000_000  # values asked for at once
BANDS = ("", "p10", "p90", TOLD)  # of forecasts
SIDES = tuple((origin, band) for origin in Origin for band in (BANDS if origin is Origin.FORECAST else ("",)))


@dataclass(frozen=True, slots=True)
class Step:
    """One window that is done: its end, the values that were copied in it, how many of them are means of minutes or hours, and
    how many the target does not take."""

    until: datetime
    samples: int
    means: int
    left_out: int


def copy(source: Kept, target: Store, site: Site, start: datetime, end: datetime, progress: Path) -> Iterator[Step]:
    """Copy ``[start, end)`` from ``source`` to ``target``; ``progress``: a file that remembers how far it came."""
    here = start
    if progress.exists():
        told = json.loads(progress.read_text(encoding="utf-8"))
        if told["start"] == start.isoformat():
            here = max(start, datetime.fromisoformat(told["until"]))
    raw_from = source.raw_from or start
    while here < end:
        rolled = here < raw_from
        until = min(_next(here, ROLLED_WINDOW if rolled else WINDOW), raw_from if rolled else end, end)
        samples = left_out = 0
        for kind in METRICS:
            if site.count(kind):
                for frames in (_means if rolled else _frames)(source, site, kind, here, until):
                    try:
                        target.append(frames)
                    except LeftOut as error:
                        left_out += error.samples
                    samples += sum(frame.samples for frame in frames)
        half = progress.with_suffix(".tmp")
        half.write_text(json.dumps({"start": start.isoformat(), "until": until.isoformat()}), encoding="utf-8")
        os.replace(half, progress)
        here = until
        yield Step(here, samples, samples if rolled else 0, left_out)


def _next(here: datetime, width: timedelta) -> datetime:
    """The end of the window that ``here`` lies in."""
    return datetime.fromtimestamp((here.timestamp() // width.total_seconds() + 1) * width.total_seconds(), UTC)


def _frames(source: Kept, site: Site, kind: str, start: datetime, end: datetime) -> Iterator[list[Frame]]:
    """What ``source`` has of ``kind``; where that is much, some assets after the other."""
    for origin, band in SIDES:
        for rows in _together(site, kind, (end - start).total_seconds()):
            found = source.marked(kind, list(METRICS[kind]), start, end, rows, origin, band)
            if frames := _of(found, kind, origin, band):
                yield frames


def _means(source: Kept, site: Site, kind: str, start: datetime, end: datetime) -> Iterator[list[Frame]]:
    """The same of a time of which only rollups are left."""
    for origin, band in SIDES:
        for rows in _together(site, kind, (end - start).total_seconds() / 60):
            for step_s in (60.0, 3600.0):
                found = source.series(kind, list(METRICS[kind]), start, end, step_s, rows=rows, origin=origin, band=band)
                if frames := _of(found, kind, origin, band):
                    yield frames
                    break


def _together(site: Site, kind: str, times: float) -> Iterator[Ints]:
    """As many assets at once as may be asked for at so many ``times``."""
    count = max(1, MAX_CELLS // 2 // int(max(1.0, times)) // max(1, len(METRICS[kind])))
    for first in range(0, site.count(kind), count):
        yield site.all_rows(kind)[first : first + count]


def _of(found: Series, kind: str, origin: Origin, band: str) -> list[Frame]:
    said = {name: ~np.isnan(table) for name, table in found.values.items() if not name.endswith(GRADE)}
    said = {name: where for name, where in said.items() if where.any()}
    frames: list[Frame] = []
    if not said:
        return frames
    every = np.any(list(said.values()), axis=0)
    for i in np.flatnonzero(every.any(axis=1)).tolist():
        at = np.flatnonzero(every[i])
        values = {name: found.values[name][i, at] for name, where in said.items() if where[i].any()}
        when = moment(round(float(found.time_s[i]) * 1e6))
        grades = {name: found.values[name + GRADE][i, at] for name in values if name + GRADE in found.values}
        quality = {name: np.nan_to_num(marks).astype(np.uint8) for name, marks in grades.items() if (marks > 0).any()}
        frames.append(Frame(kind, when, found.rows[at], values, origin, band=band, quality=quality))
    return frames


def span_of(source: Store, site: Site, kinds: Sequence[str], start: datetime, end: datetime) -> datetime:
    """The first day in ``[start, end)`` on which ``source`` has anything of ``kinds``; ``end`` where it has nothing."""
    for width in (timedelta(days=28), timedelta(days=1)):
        while start < end and not _has_any(source, site, kinds, start, min(start + width, end)):
            start += width
    return min(start, end)


def _has_any(source: Store, site: Site, kinds: Sequence[str], start: datetime, end: datetime) -> bool:
    for kind in kinds:
        if site.count(kind):
            found = source.series(kind, list(METRICS[kind]), start, end, 3600.0, rows=site.all_rows(kind)[:8])
            if any((~np.isnan(table)).any() for table in found.values.values()):
                return True
    return False
