"""``/metrics``: the centre's numbers and icctwin's own health as Prometheus reads them.

A stale reading is left out, which is how Prometheus says "not known"; its age stays and can be alerted on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from twin.state import State
from ui.own import SourceRow
from ui.reading import Reading
from ui.reading import reading as reading_of
from ui.view import View

# Our unit suffixes -> the base units in which Prometheus names end.
_UNITS = {"w": "watts", "c": "celsius", "frac": "ratio", "ratio": "ratio", "count": "count", "s": "seconds", "bytes": "bytes"}


# What each process says of itself beside what ProcessCollector reads: metric -> name and what it is.
_PROCESS = {
    "store_bytes": ("icctwin_store_bytes", "What the store takes on disk"),
    "spool_waiting_count": ("icctwin_spool_waiting_values", "Values that wait for the store"),
    "spool_dropped_count": ("icctwin_spool_dropped_values", "Values that the spool had no room for, since start"),
    "pages_waiting_count": ("icctwin_pages_waiting", "Pages that wait for their receiver"),
    "pages_waiting_s": ("icctwin_pages_waiting_seconds", "How long the oldest of them waits"),
    "pages_dead_count": ("icctwin_pages_dead", "Pages that no receiver took"),
    "heartbeats_silent_count": ("icctwin_heartbeats_silent", "Heartbeats outside that get no sign of life"),
}
Cells = Sequence[tuple[str, Reading]]


def process_cells(state: State, now: datetime) -> dict[str, Cells]:
    """By metric what each process of the centre last said of itself."""
    ids = state.site.ids_of("process")
    return {name: [(one, reading_of(state, "process", name, now, i)) for i, one in enumerate(ids)] for name in _PROCESS}


def exposition(
    view: View,
    sources: Sequence[SourceRow],
    own: Sequence[tuple[str, str, float]],
    version: str,
    accept: str | None,
    processes: Mapping[str, Cells] = MappingProxyType({}),
) -> tuple[bytes, str]:
    """The page and its content type. ``sources``: all of them, so that a series stands while others fail; ``own``: (name, what
    it is, value) of what the process knows of itself; ``processes``: as ``process_cells`` gives them."""
    registry = CollectorRegistry()
    registry.register(_Page(view, sources, own, version, processes))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type


class _Page(Collector):
    def __init__(
        self,
        view: View,
        sources: Sequence[SourceRow],
        own: Sequence[tuple[str, str, float]],
        version: str,
        processes: Mapping[str, Cells],
    ) -> None:
        self.view, self.sources, self.own, self.version, self.processes = view, sources, own, version, processes

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield InfoMetricFamily("icctwin", "Which icctwin this is", {"version": self.version, "site": self.view.site})
        yield from self._numbers()
        yield from self._sources()
        yield from self._tasks()
        yield from self._own()

    def _numbers(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily("icctwin_reading_age_seconds", "Age of the newest reading", labels=["reading"])
        centre, gpus, queues, peak = self.view.centre, self.view.gpus, self.view.queues, self.view.peak
        groups = (("", centre), ("gpus_", gpus), ("", queues), ("forecast_peak_", peak))
        said = {name: reading for prefix, group in groups for name, reading in _readings(group, prefix)}  # each name once
        for name, reading in said.items():
            unit = _UNITS.get(reading.unit, reading.unit)
            full = f"icctwin_{name}" if name.endswith(unit) else f"icctwin_{name}_{unit}"
            family = GaugeMetricFamily(full, f"{name.replace('_', ' ')} as the wall shows it", labels=["origin"])
            if reading.fresh:
                family.add_metric([reading.origin.value], reading.value)
            if reading.known:
                ages.add_metric([name], reading.age_s)
            yield family
        yield ages

    def _sources(self) -> Iterator[Metric]:
        rows = self.sources
        up = GaugeMetricFamily("icctwin_source_up", "1: the last poll succeeded and is not stale", labels=["source"])
        for row in rows:
            up.add_metric([row.id], float(row.status == "up"))
        yield up
        yield _gauge("icctwin_source_poll_seconds", "Duration of the last poll", "source", [(r.id, r.poll) for r in rows])
        yield _gauge("icctwin_source_unmapped_series", "Series of no known asset", "source", [(r.id, r.unmapped) for r in rows])
        yield _gauge("icctwin_source_age_seconds", "Since the source's last word", "source", [(r.id, _age(r.up)) for r in rows])
        for name, doc in (("samples", "Values taken"), ("errors", "Failed polls"), ("suspect", "Values judged not good")):
            cells = [(row.id, getattr(row, name)) for row in rows]
            yield _counter(f"icctwin_source_{name}", f"{doc} since start", "source", cells)

    def _tasks(self) -> Iterator[Metric]:
        rows = self.view.tasks
        yield _gauge("icctwin_task_failing", "1: the last run failed", "task", [(r.id, r.failing) for r in rows])
        yield _gauge("icctwin_task_duration_seconds", "Duration of the last run", "task", [(r.id, r.duration) for r in rows])
        for name in ("runs", "errors", "missed", "overlaps"):
            cells = [(row.id, getattr(row, name)) for row in rows]
            yield _counter(f"icctwin_task_{name}", f"Task {name} since start", "task", cells)

    def _own(self) -> Iterator[Metric]:
        for name, doc, value in self.own:
            yield GaugeMetricFamily(name, doc, value=value)
        for metric, cells in self.processes.items():
            yield _gauge(*_PROCESS[metric], "process", cells)


def _readings(group: Any, prefix: str) -> Iterator[tuple[str, Reading]]:
    for field in fields(group):
        value = getattr(group, field.name)
        if isinstance(value, Reading):
            yield prefix + field.name, value


def _age(reading: Reading) -> Reading:
    return Reading(reading.age_s, "s", 0.0, reading.known, reading.origin, reading.quality)


def _gauge(name: str, doc: str, label: str, cells: Iterable[tuple[str, Reading]]) -> Metric:
    family = GaugeMetricFamily(name, doc, labels=[label])
    for asset, reading in cells:
        if reading.fresh:
            family.add_metric([asset], reading.value)
    return family


def _counter(name: str, doc: str, label: str, cells: Iterable[tuple[str, Reading]]) -> Metric:
    family = CounterMetricFamily(name, doc, labels=[label])
    for asset, reading in cells:
        if reading.known:
            family.add_metric([asset], reading.value)
    return family
