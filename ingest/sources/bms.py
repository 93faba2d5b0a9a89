"""The open BMS event bus over MQTT (NVIDIA DSX Exchange, AsyncAPI ``bms.yaml`` 1.0.0): values, and metadata that explains them.

A point is ``objectType.pointType`` (``CDU.LiquidTemperature``), its value in our units by its metadata's ``engUnit`` (°C,
Pa, kg/s of water, W, J, V, A, Hz, fractions). Labels: ``object`` (objectId, else associateId or rackLocationId), ``name``,
``area`` (processArea, sorted, blanks between), ``phase``, ``setpoint`` ("true" or ""), ``tag``.

A value counts from when its metadata is known, and where its quality is 1. The bus repeats what does not change every 100
s only; for as long as the BMS's heartbeat (10 s) is heard, what it last said, up to ``HOLD_S`` ago, holds at each heartbeat.

Where we are an integration of the bus, the BMS's metadata says what we are to publish: setpoint requests, our heartbeat,
the echo of its. Orders are repeated every 100 s, so a BMS that hears neither them nor the heartbeat knows that it is on
its own.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.mappings.bind import Series
from ingest.sources.mqtt_points import Cache
from twin.errors import SourceError

HOLD_S = 150.0  # one and a half times the period in which the bus repeats everything
BEAT_S = 10.0  # between two heartbeats
REPEAT_S = 100.0
MAX_METADATA = 100_000
_LPM = 1 / 60  # kg/s of water for a litre a minute
_GPM = 3.785411784 / 60  # US gallon, NIST SP 811 (2008)
_PSI = 6894.757293168  # Pa, NIST SP 811 (2008)
# engUnit -> scale, offset into our unit
_UNITS: dict[str, tuple[float, float]] = {
    "c": (1, 0), "degc": (1, 0), "°c": (1, 0), "f": (5 / 9, -160 / 9), "degf": (5 / 9, -160 / 9), "°f": (5 / 9, -160 / 9),
    "pa": (1, 0), "kpa": (1e3, 0), "bar": (1e5, 0), "mbar": (100, 0), "psi": (_PSI, 0),
    "lpm": (_LPM, 0), "l/min": (_LPM, 0), "l/s": (1, 0), "gpm": (_GPM, 0), "m3/h": (1 / 3.6, 0), "kg/s": (1, 0),
    "w": (1, 0), "kw": (1e3, 0), "mw": (1e6, 0), "va": (1, 0), "kva": (1e3, 0), "kwh": (3.6e6, 0), "wh": (3600, 0), "j": (1, 0),
    "v": (1, 0), "kv": (1e3, 0), "a": (1, 0), "hz": (1, 0), "%": (0.01, 0), "percent": (0.01, 0), "%rh": (0.01, 0), "pf":
    (1, 0),
}  # fmt: skip
_ELECTRICAL = ("PowerMeter", "BESS", "UPS", "ATS", "Generator", "Shunt", "Breaker")


@dataclass(frozen=True, slots=True)
class Meta:
    """What metadata say of one point. ``unit``: scale and offset, None where the unit is not known here."""

    name: str
    labels: dict[str, str]
    unit: tuple[float, float] | None
    integration: str
    serves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """What one object serves, as the bus says it."""

    source: str
    target: str
    relation: str  # feeds or cools


class BmsDecoder:
    """Points of the bus. See ``ingest.sources.mqtt_points.Decoder``."""

    def __init__(self, cache: Cache, integration: str = "") -> None:
        self._cache, self._integration = cache, integration
        self._metas: dict[str, Meta] = {}  # by objectType/pointType/tagPath
        self._early: dict[str, bytes] = {}  # values that came before their metadata
        self._held: dict[str, tuple[float, float]] = {}  # value, clock of its arrival
        self._beat = (math.nan, -math.inf)  # the BMS's heartbeat: its time, clock of its arrival
        self._told_s = -math.inf  # up to which heartbeat values were held
        self._clock_s, self._now_s = 0.0, math.nan
        self._orders: dict[str, float] = {}  # topic -> value in the bus' unit
        self._sent_s: dict[str, float] = {}

    @property
    def metadata_count(self) -> int:
        """Points that are explained so far."""
        return len(self._metas)

    def filters(self) -> Sequence[str]:
        """What the BMS publishes."""
        return ("BMS/v1/PUB/Metadata/#", "BMS/v1/PUB/Value/#")

    def take(self, topic: str, payload: bytes, clock_s: float) -> None:
        """Metadata, or a value."""
        _, _, _, kind, place = topic.split("/", 4)
        if kind == "Metadata":
            if len(self._metas) < MAX_METADATA:
                self._metas[place] = _meta(place, json.loads(payload))
                if place in self._early:
                    self._value(place, self._early.pop(place), clock_s)
        elif place in self._metas:
            self._value(place, payload, clock_s)
        elif len(self._early) < MAX_METADATA:
            self._early[place] = payload

    def tick(self, clock_s: float, now_s: float) -> None:
        """What the BMS has not said anew holds up to its last heartbeat."""
        self._clock_s, self._now_s = clock_s, now_s
        beat_s, came_s = self._beat
        if came_s <= self._told_s or not math.isfinite(beat_s):
            return
        self._told_s = came_s
        for place, (value, heard_s) in self._held.items():
            if heard_s < came_s <= heard_s + HOLD_S:
                meta = self._metas[place]
                self._cache.put(meta.name, meta.labels, value, beat_s, came_s)

    def lost(self) -> None:
        """Nothing holds over a broken connection."""
        self._held.clear()

    def say(self) -> Sequence[tuple[str, bytes]]:
        """Our heartbeat, the echo of the BMS's, and what we ordered, each when it is due."""
        if not self._integration:
            return ()
        due: list[tuple[str, float, float]] = [(topic, value, REPEAT_S) for topic, value in self._orders.items()]
        for place, meta in self._metas.items():
            if meta.integration == self._integration:
                if meta.name == "System.HeartbeatTimestampIntegration":
                    due.append((self._topic(place), self._now_s * 1000, BEAT_S))
                elif meta.name == "System.HeartbeatEchoIntegration" and math.isfinite(self._beat[0]):
                    due.append((self._topic(place), self._beat[0] * 1000, BEAT_S))
        said = []
        for topic, value, every_s in due:
            if self._clock_s - self._sent_s.get(topic, -math.inf) >= every_s:
                self._sent_s[topic] = self._clock_s
                said.append((topic, self._message(value)))
        return said

    def order(self, series: Series, value: float) -> tuple[str, bytes]:
        """A request of ours for the object that ``series`` is of, in the unit that its metadata ask for."""
        name, labels = series
        for place, meta in self._metas.items():
            if meta.name == name and meta.labels["object"] == labels.get("object") and meta.integration == self._integration:
                scale, offset = meta.unit or (1.0, 0.0)
                topic = self._topic(place)
                self._orders[topic] = (value - offset) / scale
                self._sent_s[topic] = self._clock_s
                return topic, self._message(self._orders[topic])
        whose = f"integration {self._integration!r}" if self._integration else "us (set integration)"
        raise SourceError(f"the BMS names no {name} of {labels.get('object')!r} that belongs to {whose}")

    def links(self) -> list[Link]:
        """What serves what, as the metadata say: each pair once."""
        found: dict[Link, None] = {}
        for meta in self._metas.values():
            relation = "feeds" if meta.name.partition(".")[0] in _ELECTRICAL else "cools"
            for target in meta.serves:
                found[Link(meta.labels["object"], target, relation)] = None
        return list(found)

    def objects(self) -> dict[str, tuple[str, str]]:
        """Object -> its type and its name, of all objects that have points of their own."""
        return {
            meta.labels["object"]: (meta.name.partition(".")[0], meta.labels["name"])
            for meta in self._metas.values()
            if meta.labels["name"]
        }

    def _value(self, place: str, payload: bytes, clock_s: float) -> None:
        meta, body = self._metas[place], json.loads(payload)
        value, stamp = body["value"], float(body["timestamp"]) / 1000
        if meta.name == "System.HeartbeatTimestampBms":
            self._beat = stamp, clock_s
            return
        if value is None or body["quality"] != 1 or meta.unit is None:
            self._held.pop(place, None)
            if meta.unit is None:
                self._cache.strange(place)
            return
        scale, offset = meta.unit
        ours = float(value) * scale + offset
        self._held[place] = ours, clock_s
        self._cache.put(meta.name, meta.labels, ours, stamp, clock_s)

    def _topic(self, place: str) -> str:
        return f"BMS/v1/{self._integration}/Value/{place}"

    def _message(self, value: float) -> bytes:
        return json.dumps({"value": round(value, 6), "timestamp": round(self._now_s * 1000), "quality": 1}).encode()


def _meta(place: str, body: Any) -> Meta:
    kind, point = place.split("/", 2)[:2]
    unit = body.get("engUnit")
    setpoint = body.get("isSetpoint") is True or point.endswith("Sp")
    return Meta(
        f"{kind}.{point}",
        {
            "object": str(body.get("objectId") or body.get("associateId") or body.get("rackLocationId") or ""),
            "name": str(body.get("objectName") or body.get("rackLocationName") or ""),
            "area": " ".join(sorted(_words(body.get("processArea")))),
            "phase": str(body.get("phase") or ""),
            "setpoint": "true" if setpoint else "",
            "tag": place.split("/", 2)[2] if place.count("/") > 1 else "",
        },
        _UNITS.get(str(unit).strip().lower()) if unit else (1.0, 0.0),
        str(body.get("integration") or ""),
        tuple(_words(body.get("servesId"))),
    )


def _words(said: Any) -> Iterator[str]:
    yield from (str(word) for word in ([said] if isinstance(said, str) else said if isinstance(said, list) else ()))
