"""VictoriaMetrics as the store: line protocol in, PromQL and the export of raw values out; one server, or a cluster's vminsert
and vmselect.

``power_w`` of a GPU is the series ``gpu_power_w{asset="…",origin="measured"}``. Times are milliseconds there. Nothing is ever
written over: of two values for one asset and time both are kept, so what a spool says twice after a crash counts twice in a
mean unless the server runs with ``-dedup.minScrapeInterval=1ms``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ingest.stores.line_protocol import BAD, GRADE
from ingest.stores.newest import Newest
from ingest.stores.points import MICRO, Points, Times, believed, folded, numbers, with_bad
from ingest.stores.served import NAMED_ASSETS, Asked, Served
from ingest.stores.server import Server
from twin.frame import Floats, Frame, Quality
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.ports import How
from twin.site import Site
from twin.times import micros

LEAST_STEP = 60 * MICRO  # below it the newest points may be held back: raw values are folded here
MOST_STEPS = 10_000  # of one question: servers refuse more (-search.maxPointsPerTimeseries, 30,000 where nobody sets it)
LATEST_S = 86_400  # how long after ``since`` the newest values are looked for
_MILLI = 1000  # microseconds
_FOLD = {How.MEAN: "avg_over_time", How.MIN: "min_over_time", How.MAX: "max_over_time", How.LAST: "last_over_time"}


class VictoriaStore(Served):
    """``twin.ports.Store`` on VictoriaMetrics, but that nothing is written over. ``insert`` and ``select`` are one server, or a
    cluster's two with their prefixes."""

    def __init__(self, insert: Server, select: Server, site: Site, readonly: bool = False) -> None:
        super().__init__(insert, site, readonly)
        self._select = select

    def _write(self, body: bytes) -> None:
        self._insert.send("/write", body, {"precision": "u"})

    def _believed(self, asked: Asked, metrics: Sequence[str]) -> dict[str, Points]:
        which = _Which(self._site, asked)
        return {name: self._raw(which, name, asked.start, asked.end) for name in metrics}

    def _marked(self, asked: Asked, metrics: Sequence[str]) -> dict[str, Points]:
        which = _Which(self._site, asked)
        names = [name + part for name in metrics for part in ("", GRADE, BAD)]
        points = {name: self._exported(which, name, asked.start, asked.end) for name in names}
        for name in metrics:
            points[name] = with_bad(points[name], points.pop(name + BAD), points[name + GRADE])
        return points

    def _step(self, asked: Asked, starts: Times, step: int, how: How, tables: Mapping[str, Floats]) -> None:
        which = _Which(self._site, asked)
        for name, table in tables.items():
            self._step_of(which, name, (asked.start, asked.end), starts, step, how, table)

    def _step_of(
        self, asked: "_Which", name: str, span: tuple[int, int], starts: Times, step: int, how: How, table: Floats
    ) -> None:
        (low, high), n = span, table.shape[1]
        if step < LEAST_STEP or step % _MILLI or self._has_bad(asked, name, low, high):
            table[:] = folded(self._raw(asked, name, low, high), starts, step, n, how)
            return
        whole = np.flatnonzero((starts >= low) & (starts + step <= high))
        for i in range(0, len(whole), MOST_STEPS):
            self._whole(asked, name, starts[whole[i : i + MOST_STEPS]], step, how, table[whole[i] :])
        for i in sorted(set(range(len(starts))) - set(whole.tolist())):  # the first and the last step, where cut
            some = self._raw(asked, name, max(low, int(starts[i])), min(high, int(starts[i]) + step))
            table[i] = folded(some, starts[i : i + 1], step, n, how)[0]

    def _whole(self, asked: "_Which", name: str, starts: Times, step: int, how: How, table: Floats) -> None:
        """Steps that follow each other, as the server folds them, into the first rows of ``table``."""
        first, last = int(starts[0]), int(starts[-1])
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
                table[(when * _MILLI - first) // step, place] = numbers([float(v) for _, v in one["values"]])

    def _has_bad(self, asked: "_Which", name: str, low: int, high: int) -> bool:
        """Whether any value that is asked for is bad: the server's own folding may count it, as earlier versions
        wrote it in place."""
        window = max(1, (high - low) // _MILLI)
        query = f"max(max_over_time({asked.selector(name + GRADE)}[{window}ms]))"
        found = self._ask("/api/v1/query", {"query": query, "time": _seconds(high // _MILLI), "nocache": "1"})
        return any(float(one["value"][1]) >= Quality.BAD for one in found)

    def _raw(self, asked: "_Which", name: str, low: int, high: int) -> Points:
        """Every believable value of a metric in ``[low, high)`` microseconds."""
        points = self._exported(asked, name, low, high)
        grades = self._exported(asked, name + GRADE, low, high)
        return believed(points, grades) if grades.at else points

    def _exported(self, asked: "_Which", name: str, low: int, high: int) -> Points:
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
            marked = when.get(graded, 0)
            value, grade = told[key], told[graded] if marked == time else 0.0
            if marked > time or grade >= Quality.BAD:  # what came after it is bad, or it is
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

    def size_bytes(self) -> int:
        """See ``twin.ports.Store``; 0 where the server does not say (a cluster's vmselect)."""
        lines = self._insert.get("/metrics").decode().splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("vm_data_size_bytes"))

    def close(self) -> None:
        """Let go of the connections."""
        self._insert.close()
        self._select.close()


class _Which:
    """Which series are asked for, and where those of each asset go."""

    def __init__(self, site: Site, asked: Asked) -> None:
        self._kind = asked.kind
        ids = site.ids_of(asked.kind)
        self._places = {ids[row]: i for i, row in enumerate(asked.rows.tolist())}
        self._labels = f'origin="{asked.origin.value}",band={_text(asked.band)}'
        if 0 < len(asked.rows) <= NAMED_ASSETS:
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
