"""OpenTelemetry metrics over HTTP (``ExportMetricsServiceRequest``, protobuf or JSON). Gauges, cumulative sums, and of
histograms and summaries their count and sum (``name_count``, ``name_sum``) are taken; labels are the attributes of resource and
point.

Source: opentelemetry.io/docs/specs/otlp and opentelemetry-proto.
"""

import struct
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from ingest.push import MAX_SAID, MAX_SAMPLES, Batch, Refused, Series, check_message, few

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_LENGTHS = struct.Struct(">II")  # of resource and name, at the front of a key
_NO_VALUE = 1  # DataPointFlags: no recorded value
_NO_ATTRIBUTES = ("start_time_unix_nano", "time_unix_nano", "as_double", "as_int", "exemplars", "flags")

Attributes = tuple[tuple[str, str], ...]


def read(plain: bytes, content_type: str, now: datetime) -> Batch:
    """The samples of an unpacked body; points without a time (0) are of ``now``, those without a value are left out.
    ``Refused`` for a content type or a body that is none, or too large."""
    check_message(plain)
    kind = content_type.partition(";")[0].strip().lower()
    request = ExportMetricsServiceRequest()
    try:
        if kind == PROTOBUF:
            request.ParseFromString(plain)
        elif kind == JSON:
            if plain.count(b"{") > MAX_SAMPLES:  # each is an object, and takes its time
                raise Refused(413, f"Over {MAX_SAMPLES} objects of JSON at once; send smaller batches.")
            json_format.Parse(plain, request, ignore_unknown_fields=True)
        else:
            raise Refused(415, f"Content-Type {content_type[:80]!r} is not read; send {PROTOBUF} or {JSON}.")
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The body is no ExportMetricsServiceRequest ({str(error)[:80]}).") from None
    keys: list[Hashable] = []
    times: list[int] = []
    now_ns = int(now.timestamp() * 1e9)
    values: list[float] = []
    batch = Batch(keys, np.empty(0), np.empty(0), _describe)
    for group in few(request.resource_metrics):
        resource = group.resource.SerializeToString()
        for scope in few(group.scope_metrics):
            for metric in few(scope.metrics):
                for name, attributes, time_ns, value in _points(metric, batch):
                    # bytes, as they are hashed once; of a tuple each time
                    keys.append(_LENGTHS.pack(len(resource), len(name.encode())) + resource + name.encode() + attributes)
                    times.append(time_ns or now_ns)
                    values.append(value)
                few(values)
    batch.times_s, batch.values = np.array(times, dtype=np.float64) / 1e9, np.array(values, dtype=np.float64)
    return batch


def answer(left_out: int, sentence: str, content_type: str) -> tuple[bytes, str]:
    """The body and content type of a response: what was left out, in the encoding that the request came in."""
    said = ExportMetricsServiceResponse()
    if left_out:
        said.partial_success.CopyFrom(ExportMetricsPartialSuccess(rejected_data_points=left_out, error_message=sentence))
    if content_type.partition(";")[0].strip().lower() == JSON:
        return json_format.MessageToJson(said).encode(), JSON
    return said.SerializeToString(), PROTOBUF


def _points(metric: Any, batch: Batch) -> Iterator[tuple[str, bytes, int, float]]:
    """(name, attributes as a point without more, time [ns], value) of each point of ``metric`` that can be read; it is used up
    by that."""
    shape = metric.WhichOneof("data")
    data = getattr(metric, shape) if shape else None
    if data is None:
        return
    if shape in ("sum", "histogram", "exponential_histogram") and data.aggregation_temporality == _DELTA:
        said = "sums are taken cumulative, not as deltas; set the exporter's temporality"
        _leave(batch, len(data.data_points), f"{metric.name}: {said}")
        return
    told = [point for point in few(data.data_points) if not point.flags & _NO_VALUE]
    yield from _numbers(metric.name, told, batch) if shape in ("gauge", "sum") else _sums(metric.name, told, shape == "summary")


def _numbers(name: str, points: Sequence[Any], batch: Batch) -> Iterator[tuple[str, bytes, int, float]]:
    """As ``_points``, of numbers. Protobuf reads a number that is not there as 0, which nobody measured."""
    valued = [(point, field) for point in points if (field := point.WhichOneof("value"))]
    if len(valued) < len(points):
        _leave(batch, len(points) - len(valued), f"{name}: points without a value are left out")
    for point, field in valued:
        time_ns, value = point.time_unix_nano, float(getattr(point, field))
        for other in _NO_ATTRIBUTES:
            point.ClearField(other)
        # what is left are its attributes: known by their bytes, only new ones are decoded
        yield name, point.SerializeToString(), time_ns, value


def _sums(name: str, points: Sequence[Any], always: bool) -> Iterator[tuple[str, bytes, int, float]]:
    """As ``_points``, of histograms and summaries. ``always``: their sum is no optional field."""
    for point in points:
        attributes = NumberDataPoint(attributes=point.attributes).SerializeToString()
        yield f"{name}_count", attributes, point.time_unix_nano, float(point.count)
        if always or point.HasField("sum"):
            yield f"{name}_sum", attributes, point.time_unix_nano, float(point.sum)


def _leave(batch: Batch, points: int, sentence: str) -> None:
    batch.left_out += points
    if len(batch.faults) < MAX_SAID:
        batch.faults.append(sentence)


def _attributes(pairs: Iterable[Any]) -> Attributes:
    """Names and values as text; what is a list or a map is not."""
    found = []
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        if kind in ("string_value", "bool_value", "int_value", "double_value"):
            value = getattr(pair.value, kind)
            found.append((pair.key, str(value).lower() if kind == "bool_value" else str(value)))
    return tuple(found)


def _describe(key: Any) -> Series:
    ours, named = _LENGTHS.unpack_from(key)
    start = _LENGTHS.size + ours
    resource = _attributes(Resource.FromString(key[_LENGTHS.size : start]).attributes)
    attributes = _attributes(NumberDataPoint.FromString(key[start + named :]).attributes)
    return key[start : start + named].decode(), dict((*resource, *attributes))
