"""The newest value of everything, from the table that each compaction leaves and the frames that came after it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.index import Newest
from ingest.stores.embedded.journal import Item, Loader
from ingest.stores.embedded.names import Group, Names
from twin.frame import Frame, Ints, Origin, Quality
from twin.metrics import METRICS
from twin.site import Site
from twin.times import moment


def with_waiting(
    newest: dict[tuple[Group, str], Newest], names: Names, loader: Loader, items: Iterable[Item], empty: Newest
) -> None:
    """Bring ``newest`` up to date with the frames that wait in the journal. Newest first, and each set of assets only until
    all of it is known, so that what is superseded is not even read."""
    by_key: dict[tuple[Group, str], list[Item]] = defaultdict(list)
    for item in items:
        if item.group.origin != Origin.FORECAST:
            for metric in item.metrics:
                by_key[item.group, metric].append(item)
    for key, some in by_key.items():
        newest[key] = _updated(newest.get(key, empty), names, loader, some, key[1])


def _updated(newest: Newest, names: Names, loader: Loader, items: Sequence[Item], metric: str) -> Newest:
    size = names.highest_code + 1
    known = np.zeros(size, dtype=bool)
    times, values = np.full(size, -(2**62)), np.full(size, np.nan)
    grades = np.zeros(size, dtype=np.uint8)
    done: set[int] = set()
    for item in sorted(items, key=lambda item: (item.time, item.seq, item.index), reverse=True):
        if item.rowset in done:
            continue
        codes = names.codes(item.rowset)
        column, quality = loader.column(item, metric)
        new = ~np.isnan(column) & ~known[codes]
        if quality is not None:
            new &= quality < Quality.BAD
            grades[codes[new]] = quality[new]
        times[codes[new]], values[codes[new]], known[codes[new]] = item.time, column[new], True
        if known[codes].all():
            done.add(item.rowset)
    codes = np.flatnonzero(known).astype(np.int32)
    return newest.with_newer(codes, times[codes], values[codes], grades[codes])


def frames(newest: Mapping[tuple[Group, str], Newest], names: Names, site: Site, since: int) -> Iterator[Frame]:
    """``newest`` as frames, oldest first, without what is older than ``since`` (microseconds), no longer in the site, or of a
    metric that only a later icctwin knows, from which somebody has gone back."""
    by_group: dict[Group, dict[str, Newest]] = defaultdict(dict)
    for (group, metric), columns in newest.items():
        if metric in METRICS.get(group.kind, ()):
            by_group[group][metric] = columns
    found = [frame for group, metrics in by_group.items() for frame in _of_group(group, metrics, names, site, since)]
    yield from sorted(found, key=lambda frame: frame.time)


def _of_group(group: Group, metrics: Mapping[str, Newest], names: Names, site: Site, since: int) -> Iterator[Frame]:
    places = names.places_of(group.kind, site.all_rows(group.kind))
    tables: list[tuple[str, Newest, Ints]] = []
    for metric, columns in metrics.items():
        rows = places[columns.codes]
        take = (rows >= 0) & (columns.times >= since)
        kept = Newest(columns.codes[take], columns.times[take], columns.values[take], columns.quality[take])
        tables.append((metric, kept, rows[take]))
    every = np.concatenate([columns.times for _, columns, _ in tables])
    which = np.concatenate([np.full(len(rows), i) for i, (_, _, rows) in enumerate(tables)])
    at = np.concatenate([np.arange(len(rows)) for _, _, rows in tables])
    order = np.argsort(every, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(every[order])) + 1):
        if len(same):
            yield _frame(group, int(every[same[0]]), tables, which[same], at[same])


def _frame(
    group: Group, time: int, tables: Sequence[tuple[str, Newest, Ints]], which: NDArray[np.intp], at: NDArray[np.intp]
) -> Frame:
    rows = np.unique(np.concatenate([tables[i][2][at[which == i]] for i in np.unique(which)])).astype(np.int32)
    values, quality = {}, {}
    for i in np.unique(which):
        metric, columns, own = tables[i]
        take = at[which == i]
        where = np.searchsorted(rows, own[take])
        values[metric] = np.full(len(rows), np.nan)
        values[metric][where] = columns.values[take]
        if columns.quality[take].any():
            quality[metric] = np.zeros(len(rows), dtype=np.uint8)
            quality[metric][where] = columns.quality[take]
    return Frame(group.kind, moment(time), rows, values, Origin(group.origin), band=group.band, quality=quality)
