"""VictoriaMetrics as the store: line protocol in, PromQL and the export of raw values out; one server, or a cluster's vminsert
and vmselect.

``power_w`` of a GPU is the series ``gpu_power_w{asset="…",origin="measured"}``. Times are milliseconds there. Nothing is ever
written over: of two values for one asset and time both are kept, so what a spool says twice after a crash counts twice in a
mean unless the server runs with ``-dedup.minScrapeInterval=1ms``.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ingest.stores.errors import StoreError
from ingest.stores.line_protocol import GRADE, LineWriter, micros
from ingest.stores.newest import Newest
from ingest.stores.points import (
    MICRO,
    Points,
    Times,
    as_stored,
    believed,
    check_question,
    folded,
    numbers,
    starts_of,
)
from ingest.stores.server import Refused, Server
from twin.frame import Floats, Frame, Ints, Origin, Quality
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.ports import How, Series
from twin.site import Site

log = logging.getLogger(__name__)

NAMED_ASSETS = 100  # assets that a question names; of more, all are asked for
LEAST_STEP = 60 * MICRO  # below it the newest points may be held back: raw values are folded here
LATEST_S = 86_400  # how long after ``since`` the newest values are looked for
_MILLI = 1000  # microseconds
_FOLD = {How.MEAN: "avg_over_time", How.MIN: "min_over_time", How.MAX: "max_over_time", How.LAST: "last_over_time"}


class VictoriaStore:
    """``twin.ports.Store`` on VictoriaMetrics. ``insert`` and ``select`` are one server, or a cluster's two with their
    prefixes."""

    def __init__(self, insert: Server, select: Server, site: Site, readonly: bool = False) -> None:
        self._insert, self._select, self._site, self._readonly = insert, select, site, readonly
        self._writer = LineWriter(site)
        self.refused = 0  # requests that the server called wrong: given up, for they would be refused for ever

    def append(self, frames: Sequence[Frame]) -> None:
        """See ``twin.ports.Store``, but that nothing is written over. ``StoreError`` where the server does not take it."""
        if self._readonly:
            raise StoreError(f"store {self._insert.url}: opened for reading only; append in the writing process")
        for body in self._writer.bodies(frames):
            try:
                self._insert.send("/write", body, {"precision": "u"})
            except Refused as error:
                self.refused += 1
                log.error("values are left out: %s", error)

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        """See ``twin.ports.Store``."""
        step = check_question(kind, metrics, step_s)
        rows = self._site.all_rows(kind) if rows is None else np.asarray(rows, dtype=np.int32)
        asked = _Asked(self._site, kind, rows, origin, band)
        low, high = micros(start), micros(end)
        if step is None:
            return as_stored({name: self._raw(asked, name, low, high) for name in metrics}, rows)
        starts = starts_of(low, high, step, len(rows) * len(metrics), kind)
        tables = {name: np.full((len(starts), len(rows)), np.nan) for name in metrics}
        if len(starts) and len(rows):
            for name, table in tables.items():
                self._step(asked, name, low, high, starts, step, how, table)
        return Series(starts / MICRO, rows, tables)

    def marked(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, rows: Ints, origin: Origin, band: str
    ) -> Series:
        """See ``ingest.stores.kept.Kept``."""
        asked = _Asked(self._site, kind, rows, origin, band)
        names = [column for name in metrics for column in (name, name + GRADE)]
        return as_stored({name: self._exported(asked, name, micros(start), micros(end)) for name in names}, rows)

    def _step(self, asked: "_Asked", name: str, low: int, high: int, starts: Times, step: int, how: How, table: Floats) -> None:
        n = len(asked.rows)
        if step < LEAST_STEP or step % _MILLI or self._has_bad(asked, name, low, high):
            table[:] = folded(self._raw(asked, name, low, high), starts, step, n, how)
            return
        whole = np.flatnonzero((starts >= low) & (starts + step <= high))
        if len(whole):
            first, last = int(starts[whole[0]]), int(starts[whole[-1]])
            at = step // _MILLI - 1  # of a window that ends a millisecond before the next step, both ends of it counted
            fields = {
                "query": f"{_FOLD[how]}({asked.selector(name)}[{step // _MILLI}ms])",
                "start": _seconds(first // _MILLI + at),
                "end": _seconds(last // _MILLI + at),
                "step": f"{step // _MILLI}ms",
                "nocache": "1",
            }
            for one in self._ask("/api/v1/query_range", fields):
                place = asked.place(one["metric"])
                if place is not None:
                    when = np.array([round(time * 1000) for time, _ in one["values"]], dtype=np.int64) - at
                    table[(when * _MILLI - int(starts[0])) // step, place] = numbers([float(v) for _, v in one["values"]])
        for i in sorted(set(range(len(starts))) - set(whole.tolist())):  # the first and the last step, where cut
            some = self._raw(asked, name, max(low, int(starts[i])), min(high, int(starts[i]) + step))
            table[i] = folded(some, starts[i : i + 1], step, n, how)[0]

    def _has_bad(self, asked: "_Asked", name: str, low: int, high: int) -> bool:
        """Whether any value that is asked for is bad: the server's own folding would count it."""
        window = max(1, (high - low) // _MILLI)
        query = f"max(max_over_time({asked.selector(name + GRADE)}[{window}ms]))"
        found = self._ask("/api/v1/query", {"query": query, "time": _seconds(high // _MILLI), "nocache": "1"})
        return any(float(one["value"][1]) >= Quality.BAD for one in found)

    def _raw(self, asked: "_Asked", name: str, low: int, high: int) -> Points:
        """Every believable value of a metric in ``[low, high)`` microseconds."""
        points = self._exported(asked, name, low, high)
        grades = self._exported(asked, name + GRADE, low, high)
        return believed(points, grades) if grades.at else points

    def _exported(self, asked: "_Asked", name: str, low: int, high: int) -> Points:
        points = Points()
        for one in self._export(asked.selector(name), -(-low // _MILLI), -(-high // _MILLI) - 1):
            place = asked.place(one["metric"])
            if place is not None:
                points.add(place, np.array(one["timestamps"], dtype=np.int64) * _MILLI, numbers(one["values"]))
        return points

    def latest(self, since: datetime) -> Sequence[Frame]:
        """See ``twin.ports.Store``; forecasts are left out. What came over ``LATEST_S`` after ``since`` is not looked for."""
        start = micros(since) // _MILLI
        at = {"time": _seconds(start + LATEST_S * 1000), "nocache": "1"}
        every = "|".join(kind for kind in KINDS if self._site.count(kind))
        which = f'{{__name__=~"({every})_.+",origin!="forecast",asset!=""}}[{LATEST_S}s]'
        times = self._ask("/api/v1/query", {"query": f"tlast_over_time({which}) keep_metric_names", **at})
        values = self._ask("/api/v1/query", {"query": f"last_over_time({which}) keep_metric_names", **at})
        when = {_key(one): round(float(one["value"][1]) * 1000) for one in times}
        told = {_key(one): float(one["value"][1]) for one in values}
        newest = Newest(self._site)
        for key, time in when.items():
            name, asset, origin, band = key
            kind, _, metric = name.partition("_")
            if metric not in METRICS[kind]:
                continue
            graded = (name + GRADE, asset, origin, band)
            grade = told[graded] if when.get(graded) == time else 0.0
            value = told[key]
            if grade >= Quality.BAD:
                found = self._before(key, start, time)
                if found is None:
                    continue
                time, value, grade = found
            newest.add(kind, metric, asset, origin, band, time * _MILLI, value, int(grade))
        return newest.frames()

    def _before(self, key: tuple[str, str, str, str], start: int, end: int) -> tuple[int, float, float] | None:
        """The last value of one series that is not bad: time, value, quality."""
        name, asset, origin, band = key
        labels = f"asset={_text(asset)},origin={_text(origin)},band={_text(band)}"
        grades = {
            time: grade
            for one in self._export(f'{{__name__="{name}{GRADE}",{labels}}}', start, end)
            for time, grade in zip(one["timestamps"], one["values"], strict=True)
        }
        for one in self._export(f'{{__name__="{name}",{labels}}}', start, end):
            for time, value in sorted(zip(one["timestamps"], one["values"], strict=True), reverse=True):
                if grades.get(time, 0) < Quality.BAD:
                    return time, value, grades.get(time, 0)
        return None

    def _export(self, selector: str, start: int, end: int) -> Iterator[Mapping[str, Any]]:
        """Raw values, a series each; times in milliseconds, both ends counted."""
        if end < start:
            return
        body = self._select.form("/api/v1/export", {"match[]": selector, "start": _seconds(start), "end": _seconds(end)})
        for line in body.splitlines():
            yield json.loads(line)

    def _ask(self, path: str, fields: Mapping[str, str]) -> list[Any]:
        found: list[Any] = json.loads(self._select.form(path, fields))["data"]["result"]
        return found

    def maintain(self, now: datetime) -> None:
        """See ``twin.ports.Store``: the server sees to itself."""

    def size_bytes(self) -> int:
        """See ``twin.ports.Store``; 0 where the server does not say (a cluster's vmselect)."""
        lines = self._insert.get("/metrics").decode().splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("vm_data_size_bytes"))

    def close(self) -> None:
        """Let go of the connections."""
        self._insert.close()
        self._select.close()


class _Asked:
    """Which series are asked for, and where those of each asset go."""

    def __init__(self, site: Site, kind: str, rows: Ints, origin: Origin, band: str) -> None:
        self.rows, self._kind = rows, kind
        ids = site.ids_of(kind)
        self._places = {ids[row]: i for i, row in enumerate(rows.tolist())}
        self._labels = f'origin="{origin.value}",band={_text(band)}'
        if 0 < len(rows) <= NAMED_ASSETS:
            self._labels += f",asset=~{_text('|'.join(map(_literal, self._places)))}"

    def selector(self, name: str) -> str:
        """Of one metric."""
        return f'{{__name__="{self._kind}_{name}",{self._labels}}}'

    def place(self, labels: Mapping[str, str]) -> int | None:
        """Which of the assets asked for it is about."""
        return self._places.get(labels.get("asset", ""))


def _key(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    labels = one["metric"]
    return labels["__name__"], labels["asset"], labels["origin"], labels.get("band", "")


def _seconds(milli: int) -> str:
    return f"{milli // 1000}.{milli % 1000:03d}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _literal(text: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\.+*?()|[]{}^$" else sign for sign in text)
