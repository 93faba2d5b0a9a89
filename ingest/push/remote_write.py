"""Prometheus remote write 1.0 (``prometheus.WriteRequest``) and 2.0 (``io.prometheus.write.v2.Request``), both snappy-packed
protobuf. Samples are taken; histograms and exemplars are left out, and the answer says so.

Source: prometheus.io/docs/specs/prw/remote_write_spec, and …/remote_write_spec_2_0.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from ingest.push import Batch, Refused, Series, check_message, few

V1, V2 = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
_F = descriptor_pb2.FieldDescriptorProto
# message -> (field, number, type, message of it, repeated). Labels of 1.0 are declared as bytes, which is the same on the wire:
# a series is then known by its own bytes without its samples, and only the labels of new ones are decoded.
_MESSAGES: dict[str, Sequence[tuple[str, int, int, str, bool]]] = {
    "Label": (("name", 1, _F.TYPE_STRING, "", False), ("value", 2, _F.TYPE_STRING, "", False)),
    "Sample": (("value", 1, _F.TYPE_DOUBLE, "", False), ("timestamp", 2, _F.TYPE_INT64, "", False)),
    "Series1": (
        ("labels", 1, _F.TYPE_BYTES, "", True),
        ("samples", 2, _F.TYPE_MESSAGE, "Sample", True),
        ("exemplars", 3, _F.TYPE_BYTES, "", True),
        ("histograms", 4, _F.TYPE_BYTES, "", True),
    ),
    "Request1": (("timeseries", 1, _F.TYPE_MESSAGE, "Series1", True),),
    "Series2": (
        ("labels_refs", 1, _F.TYPE_UINT32, "", True),
        ("samples", 2, _F.TYPE_MESSAGE, "Sample", True),
        ("histograms", 3, _F.TYPE_BYTES, "", True),
        ("exemplars", 4, _F.TYPE_BYTES, "", True),
    ),
    "Request2": (("symbols", 4, _F.TYPE_STRING, "", True), ("timeseries", 5, _F.TYPE_MESSAGE, "Series2", True)),
}


def _classes() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="icctwin/remote_write.proto", package="icctwin", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for title, number, kind, of, repeated in fields:
            label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
            field = message.field.add(name=title, number=number, type=kind, label=label)
            if of:
                field.type_name = f".icctwin.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"icctwin.{name}")) for name in _MESSAGES}


MESSAGES = _classes()


def version_of(content_type: str) -> str:
    """``V1`` or ``V2``, as the content type says; ``Refused`` for something else."""
    kind, _, more = content_type.partition(";")
    said = dict(part.strip().split("=", 1) for part in more.split(";") if "=" in part)
    proto = said.get("proto", V1).strip('"')
    if kind.strip().lower() != "application/x-protobuf" or proto not in (V1, V2):
        raise Refused(415, f"Content-Type {content_type[:80]!r} is not read; remote write 1.0 and 2.0 are.")
    return proto


def read(plain: bytes, version: str) -> tuple[Batch, int]:
    """The samples of an unpacked body, and how many histograms were left out. ``Refused`` for what is none, or too large."""
    check_message(plain)
    request: Any = MESSAGES["Request1" if version == V1 else "Request2"]()
    try:
        request.ParseFromString(plain)
    except DecodeError:
        raise Refused(400, f"The body is no {version}.") from None
    symbols = list(request.symbols) if version == V2 else []
    keys: list[Hashable] = []
    times: list[int] = []
    values: list[float] = []
    histograms = 0
    for series in few(request.timeseries):
        n = len(keys)
        for sample in few(series.samples):
            times.append(sample.timestamp)
            values.append(sample.value)
        histograms += len(series.histograms)
        for name in ("samples", "histograms", "exemplars"):
            series.ClearField(name)
        key = series.SerializeToString() if version == V1 else _spelt(series.labels_refs, symbols)
        keys += [key] * (len(values) - n)
        few(values)
    describe = _describe if version == V1 else _told
    batch = Batch(keys, np.array(times, dtype=np.float64) / 1000, np.array(values, dtype=np.float64), describe)
    if histograms:
        batch.faults.append(f"{histograms} histograms are not read")
    return batch, histograms


def _spelt(refs: Sequence[int], symbols: Sequence[str]) -> tuple[str, ...]:
    """Names and values of labels in turn."""
    try:
        return tuple([symbols[ref] for ref in refs])
    except IndexError:
        raise Refused(400, "A label refers to a symbol that the body does not have.") from None


def _describe(key: Any) -> Series:
    labels = {}
    series: Any = MESSAGES["Series1"]()
    series.ParseFromString(key)
    for part in series.labels:
        label: Any = MESSAGES["Label"]()
        try:
            label.ParseFromString(part)
        except DecodeError:
            raise Refused(400, "A label of the body is none.") from None
        labels[label.name] = label.value
    return labels.pop("__name__", ""), labels


def _told(key: Any) -> Series:
    words: Sequence[str] = key
    labels = dict(zip(words[::2], words[1::2], strict=False))
    return labels.pop("__name__", ""), labels
