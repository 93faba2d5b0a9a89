"""Moving history from one store to another, window by window, so that it can be stopped and gone on with at any moment.

What is copied is everything as it was stored: values of every origin and band at their own times, with their quality, those too
that nobody believes. A window that was begun
and not ended is copied again; a store that writes over (all but VictoriaMetrics) does not notice.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ingest.stores.kept import Kept
from ingest.stores.line_protocol import GRADE
from twin.frame import Frame, Origin
from twin.metrics import METRICS
from twin.ports import Series, Store
from twin.site import Site

WINDOW = timedelta(minutes=10)
MAX_CELLS = 4_000_000  # values asked for at once
SIDES = tuple((origin, band) for origin in Origin for band in (("", "p10", "p90") if origin is Origin.FORECAST else ("",)))


@dataclass(frozen=True, slots=True)
class Step:
    """One window that is done: its end and the values that were copied in it."""

    until: datetime
    samples: int


def copy(source: Kept, target: Store, site: Site, start: datetime, end: datetime, progress: Path) -> Iterator[Step]:
    """Copy ``[start, end)`` from ``source`` to ``target``; ``progress``: a file that remembers how far it came."""
    here = start
    if progress.exists():
        told = json.loads(progress.read_text(encoding="utf-8"))
        if told["start"] == start.isoformat():
            here = max(start, datetime.fromisoformat(told["until"]))
    while here < end:
        until = min(datetime.fromtimestamp((here.timestamp() // WINDOW.total_seconds() + 1) * WINDOW.total_seconds(), UTC), end)
        samples = 0
        for kind in METRICS:
            if site.count(kind):
                for frames in _frames(source, site, kind, here, until):
                    target.append(frames)
                    samples += sum(frame.samples for frame in frames)
        half = progress.with_suffix(".tmp")
        half.write_text(json.dumps({"start": start.isoformat(), "until": until.isoformat()}), encoding="utf-8")
        os.replace(half, progress)
        here = until
        yield Step(here, samples)


def _frames(source: Kept, site: Site, kind: str, start: datetime, end: datetime) -> Iterator[list[Frame]]:
    """What ``source`` has of ``kind``; where that is much, some assets after the other."""
    together = max(1, MAX_CELLS // 2 // int(max(1.0, (end - start).total_seconds())) // max(1, len(METRICS[kind])))
    for origin, band in SIDES:
        for first in range(0, site.count(kind), together):
            rows = site.all_rows(kind)[first : first + together]
            frames = _of(source.marked(kind, list(METRICS[kind]), start, end, rows, origin, band), kind, origin, band)
            if frames:
                yield frames


def _of(found: Series, kind: str, origin: Origin, band: str) -> list[Frame]:
    said = {name: ~np.isnan(table) for name, table in found.values.items() if not name.endswith(GRADE)}
    said = {name: where for name, where in said.items() if where.any()}
    frames: list[Frame] = []
    if not said:
        return frames
    every = np.any(list(said.values()), axis=0)
    for i, time_s in enumerate(found.time_s.tolist()):
        at = np.flatnonzero(every[i])
        values = {name: found.values[name][i, at] for name, where in said.items() if where[i].any()}
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(time_s * 1e6))
        grades = {name: found.values[name + GRADE][i, at] for name in values if name + GRADE in found.values}
        quality = {name: np.nan_to_num(marks).astype(np.uint8) for name, marks in grades.items() if (marks > 0).any()}
        frames.append(Frame(kind, when, found.rows[at], values, origin, band=band, quality=quality))
    return frames


def span_of(source: Store, site: Site, kinds: Sequence[str], start: datetime, end: datetime) -> datetime:
    """The first day in ``[start, end)`` on which ``source`` has anything of ``kinds``; ``end`` where it has nothing."""
    day = timedelta(days=1)
    here = start
    while here < end:
        for kind in kinds:
            if site.count(kind):
                found = source.series(
                    kind, list(METRICS[kind]), here, min(here + day, end), 3600.0, rows=site.all_rows(kind)[:8]
                )
                if any((~np.isnan(table)).any() for table in found.values.values()):
                    return here
        here += day
    return end
