"""Sparkplug B over MQTT (Eclipse Sparkplug 3.0): births name metrics, data speaks of them by alias, deaths end them.

The payload's schema is the specification's; of its fields only those that are read or written here are named.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ingest.mappings.bind import Series
from ingest.mappings.device import Value
from ingest.sources.mqtt_points import Cache
from twin.errors import SourceError

REBIRTH_S = 60.0  # between two requests to one node
MAX_ALIASES = 100_000  # and as many metrics, nodes, and requests that wait
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # datatype -> bits: Int8 … Int64 travel as unsigned
_FIELDS = (
    ("name", 1, "STRING"), ("alias", 2, "UINT64"), ("timestamp", 3, "UINT64"), ("datatype", 4, "UINT32"),
    ("is_historical", 5, "BOOL"), ("is_null", 7, "BOOL"), ("int_value", 10, "UINT32"), ("long_value", 11, "UINT64"),
    ("float_value", 12, "FLOAT"), ("double_value", 13, "DOUBLE"), ("boolean_value", 14, "BOOL"), ("string_value", 15, "STRING"),
)  # fmt: skip
_VALUES = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="icctwin/sparkplug.proto", package="icctwin.sparkplug", syntax="proto2")
    metric = file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, number, kind in _FIELDS:
        field = metric.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
        field.type = getattr(kinds, f"TYPE_{kind}")
        if name in _VALUES:
            field.oneof_index = 0
    payload = file.message_type.add(name="Payload")
    for name, number, kind in (("timestamp", 1, "UINT64"), ("seq", 3, "UINT64")):
        payload.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=getattr(kinds, f"TYPE_{kind}"))
    payload.field.add(
        name="metrics", number=2, label=kinds.LABEL_REPEATED, type=kinds.TYPE_MESSAGE, type_name=".icctwin.sparkplug.Metric"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("icctwin.sparkplug.Payload"))


Payload = _payload_class()
Place = tuple[str, str, str]  # group, edge node, device ("" of the node itself)


class SparkplugDecoder:
    """Metrics of all edge nodes and devices. See ``ingest.sources.mqtt_points.Decoder``."""

    def __init__(self, cache: Cache, *, rebirth: bool) -> None:
        self._cache, self._rebirth = cache, rebirth
        self._aliases: dict[tuple[Place, int], tuple[str, int]] = {}  # -> name, datatype
        self._types: dict[tuple[Place, str], int] = {}
        self._seq: dict[tuple[str, str], int] = {}
        self._session: dict[tuple[str, str], float] = {}  # bdSeq of a node's last birth
        self._asked_s: dict[tuple[str, str], float] = {}
        self._asking: set[tuple[str, str]] = set()
        self._clock_s = 0.0

    def filters(self) -> Sequence[str]:
        """Everything of the namespace."""
        return ("spBv1.0/#",)

    def take(self, topic: str, payload: bytes, clock_s: float) -> None:
        """A birth, data, or a death."""
        self._clock_s = clock_s
        levels = topic.split("/")
        if len(levels) not in (4, 5) or levels[2] not in ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"):
            return  # commands and the state of hosts are not for us
        group, kind, edge = levels[1:4]
        place: Place = (group, edge, levels[4] if len(levels) == 5 else "")
        if kind == "DDEATH":
            self._die(place)  # whatever its payload says
        try:
            said = Payload.FromString(payload)
        except DecodeError as error:
            raise ValueError(f"no Sparkplug payload ({error})") from None
        if kind == "NDEATH":
            ended, lives = _session_of(said), self._session.get(place[:2])
            if ended is None or lives is None or ended == lives:  # a broker sends the will of a session that is over late
                self._die(place)
            return
        if kind == "NBIRTH":
            self._begin(place, said)
        if not self._in_order(kind, place, said):  # a device's death too is counted (tck-id-payloads-ddeath-seq-inc)
            self._ask(place)
        if kind == "DDEATH":
            return
        for name, value, time_s in self._metrics(kind, place, said):
            labels = {"group": group, "edge": edge, "device": place[2]}
            self._cache.put(name, labels, value, time_s, clock_s)

    def tick(self, clock_s: float, now_s: float) -> None:
        """Time has gone on."""
        self._clock_s = clock_s

    def lost(self) -> None:
        """What was missed meanwhile is not known: sequence numbers begin anew."""
        self._seq.clear()

    def say(self) -> Sequence[tuple[str, bytes]]:
        """Requests for a new birth, at most one a node in ``REBIRTH_S``, and ``MAX_ALIASES`` of all nodes in that time."""
        sent = []
        self._asked_s = {node: asked_s for node, asked_s in self._asked_s.items() if self._clock_s - asked_s < REBIRTH_S}
        for group, edge in sorted(self._asking):
            if (group, edge) not in self._asked_s and len(self._asked_s) < MAX_ALIASES:
                self._asked_s[group, edge] = self._clock_s
                order = Payload()
                order.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
                sent.append((f"spBv1.0/{group}/NCMD/{edge}", order.SerializeToString()))
        self._asking.clear()
        return sent

    def order(self, series: Series, value: float) -> tuple[str, bytes]:
        """NCMD or DCMD, in the type that the metric's birth gave it."""
        name, labels = series
        place: Place = (labels["group"], labels["edge"], labels["device"])
        kind = self._types.get((place, name))
        if kind is None:
            raise SourceError(f"metric {name!r} of {'/'.join(place)} was never born, so its type is not known")
        order = Payload()
        metric = order.metrics.add(name=name, datatype=kind)
        if kind == 9:
            metric.float_value = value
        elif kind == 10:
            metric.double_value = value
        elif kind == 11:
            metric.boolean_value = value >= 0.5
        elif kind in (4, 8):
            metric.long_value = round(value) % 2**64
        elif kind in (1, 2, 3, 5, 6, 7):
            metric.int_value = round(value) % 2**32
        else:
            raise SourceError(f"metric {name!r} of {'/'.join(place)} is no number (datatype {kind})")
        group, edge, device = place
        return f"spBv1.0/{group}/{'DCMD' if device else 'NCMD'}/{edge}" + f"/{device}" * bool(device), order.SerializeToString()

    def _metrics(self, kind: str, place: Place, said: Any) -> Iterator[tuple[str, Value, float]]:
        born = kind.endswith("BIRTH")
        if born:  # it names all that there is (tck-id-topics-nbirth-metric-reqs, tck-id-topics-dbirth-metric-reqs)
            named = {metric.name for metric in said.metrics}
            self._cache.forget({"group": place[0], "edge": place[1], "device": place[2]}, named)
        for metric in said.metrics:
            alias = metric.alias if metric.HasField("alias") else None
            name, datatype = metric.name, metric.datatype
            if born and len(self._types) < MAX_ALIASES:
                self._types[place, name] = datatype
                if alias is not None:
                    self._aliases[(place[0], place[1], ""), alias] = name, datatype  # unique within the node
            elif not name and alias is not None:
                name, known = self._aliases.get(((place[0], place[1], ""), alias), ("", 0))
                datatype = datatype or known
            if not name:
                self._ask(place)
                continue
            if metric.is_historical or not (metric.is_null or metric.WhichOneof("value")):
                continue
            datatype = datatype or self._types.get((place, name), 0)
            time_ms = metric.timestamp or said.timestamp
            yield name, _value(metric, datatype), time_ms / 1000 if time_ms else math.nan

    def _in_order(self, kind: str, place: Place, said: Any) -> bool:
        """Whether no message of the node was missed: not its birth, and none since. Those of nodes beyond the first
        ``MAX_ALIASES`` are not counted, and none of them is called missed."""
        node = place[:2]
        if node not in self._seq and len(self._seq) >= MAX_ALIASES:
            return True
        was, self._seq[node] = self._seq.get(node), said.seq
        return kind == "NBIRTH" or (was is not None and said.seq == (was + 1) % 256)

    def _begin(self, place: Place, said: Any) -> None:
        session = _session_of(said)
        if session is None:
            self._session.pop(place[:2], None)
        elif len(self._session) < MAX_ALIASES or place[:2] in self._session:
            self._session[place[:2]] = session

    def _ask(self, place: Place) -> None:
        if self._rebirth and len(self._asking) < MAX_ALIASES:
            self._asking.add(place[:2])

    def _die(self, place: Place) -> None:
        group, edge, device = place
        self._cache.drop({"group": group, "edge": edge} | ({"device": device} if device else {}))
        if not device:
            self._seq.pop((group, edge), None)


def _session_of(said: Any) -> float | None:
    """``bdSeq`` of a birth or of the death that ends its session."""
    for metric in said.metrics:
        if metric.name == "bdSeq" and metric.WhichOneof("value"):
            value = _value(metric, metric.datatype)
            return value if isinstance(value, float) else None
    return None


def _value(metric: Any, datatype: int) -> Value:
    if metric.is_null:
        return None
    field = metric.WhichOneof("value")
    raw = getattr(metric, field)
    if field == "string_value":
        return str(raw)
    bits = _SIGNED.get(datatype)
    if bits:
        raw &= 2**bits - 1
        raw = raw - 2**bits if raw >= 2 ** (bits - 1) else raw
    return float(raw)
