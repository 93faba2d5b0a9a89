"""Requests to draw less, as grids send them: events of OpenADR 3, and load targets of the open flexibility bus.

OpenADR 3.0.1/3.1 (openadr.org): an event has intervals, each with payloads ``{"type", "values"}``; read are
``IMPORT_CAPACITY_LIMIT`` (kW that may be drawn) and ``DISPATCH_SETPOINT_RELATIVE`` (kW, below 0: less). Flexibility bus: the
CloudEvent ``grid.loadtarget.set.v1`` with its ``SetLoadTargetData`` (NVIDIA dsx-exchange, AsyncAPI 1.7). What carries them
(HTTP, MQTT) and who may sign them is for whoever receives them: a signed payload is verified before it comes here.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from twin.curtail import MAX_INTERVALS, Interval, Request
from twin.errors import SourceError

_DURATION = re.compile(r"^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
_FOREVER = "P9999Y"  # OpenADR's word for no end
_LIMIT, _RELATIVE = "IMPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT_RELATIVE"
_WATTS = {"watt": 1.0, "kilowatt": 1e3, "megawatt": 1e6, "W": 1.0, "KW": 1e3, "kW": 1e3, "MW": 1e6}
LOAD_TARGET = "grid.loadtarget.set.v1"


def read_request(message: object, received: datetime) -> Request | None:
    """The request in ``message`` (decoded JSON), whichever of the two it is; None where it takes back what was asked.
    ``SourceError`` with one sentence where it is neither, or asks for nothing that is understood."""
    if not isinstance(message, Mapping):
        raise SourceError("a request is a JSON object: an OpenADR 3 event or a load target of the flexibility bus")
    try:
        if message.get("type") == LOAD_TARGET:
            return _target(message, received)
        if "intervals" in message:
            return _event(message, received)
    except ValueError as error:
        raise SourceError(f"the request cannot be read: {error}") from None
    raise SourceError(f"the message is neither an OpenADR 3 event (it has no intervals) nor of type {LOAD_TARGET}")


def _event(message: Mapping[str, Any], received: datetime) -> Request | None:
    intervals = _list(message["intervals"], "intervals")
    usual = message.get("intervalPeriod") or {}
    units = {str(one.get("payloadType")): str(one.get("units") or "KW") for one in message.get("payloadDescriptors") or ()}
    made: list[Interval] = []
    follows = usual.get("start")
    for one in intervals:
        period = one.get("intervalPeriod") or {}
        begin_s = _moment(period.get("start") or follows or received.isoformat())
        length_s = _duration_s(period.get("duration") or usual.get("duration"))
        follows = None if math.isinf(length_s) else datetime.fromtimestamp(begin_s + length_s, UTC).isoformat()
        asked = _payload(one, units)
        if asked is not None:
            made.append(Interval(begin_s, begin_s + length_s, *asked))
    if not made:
        raise ValueError(f"none of its intervals has a payload of type {_LIMIT} or {_RELATIVE}")
    key = str(message.get("id") or message.get("eventName") or "event")
    return Request(key, received.timestamp(), tuple(sorted(made, key=lambda one: one.begin_s)))


def _payload(interval: Mapping[str, Any], units: Mapping[str, str]) -> tuple[float, float] | None:
    """(limit [W], cut [W]), the one that is not asked NaN."""
    for payload in _list(interval.get("payloads") or [], "payloads"):
        kind = str(payload.get("type"))
        if kind not in (_LIMIT, _RELATIVE):
            continue
        values = _list(payload.get("values") or [], "values")
        if len(values) != 1 or not isinstance(values[0], int | float) or isinstance(values[0], bool):
            raise ValueError(f"{kind} has {len(values)} values; one number is understood")
        unit = units.get(kind, "KW")
        if unit not in _WATTS:
            raise ValueError(f"{kind} is in {unit!r}; {', '.join(_WATTS)} are understood")
        watts = float(values[0]) * _WATTS[unit]
        if kind == _LIMIT:
            return watts, math.nan
        if watts > 0:
            raise ValueError(f"{kind} asks to draw more; that is not done")
        return math.nan, -watts
    return None


def _target(message: Mapping[str, Any], received: datetime) -> Request | None:
    data = message.get("data")
    if isinstance(data, str):
        raise ValueError("its data is signed (JWS); verify it and hand over the payload")
    targets = _list((data or {}).get("targets"), "data.targets")
    made, feeds, gentle = [], set(), False
    for one in targets:
        limit = one.get("load_constraint")
        if limit is None:
            continue  # takes back what was asked
        interval = one.get("interval") or {}
        begin_s = _moment(interval.get("start_time") or received.isoformat())
        end = interval.get("end_time")
        unit = str(limit.get("unit"))
        if unit not in _WATTS or not isinstance(limit.get("value"), int | float):
            raise ValueError(f"a load_constraint is {limit!r}; write a value and a unit of watt, kilowatt, megawatt")
        made.append(Interval(begin_s, _moment(end) if end else math.inf, limit_w=float(limit["value"]) * _WATTS[unit]))
        feeds |= {str(feed) for feed in one.get("feed_tags") or ()}
        gentle |= bool((one.get("strategy") or {}).get("best_effort"))
    if not made:
        return None
    key = str(message.get("correlationid") or message.get("id") or "target")
    ordered = tuple(sorted(made, key=lambda one: one.begin_s))
    return Request(key, received.timestamp(), ordered, gentle, tuple(sorted(feeds)))


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > MAX_INTERVALS:
        raise ValueError(f"{name} is no list of at most {MAX_INTERVALS}")
    return value


def _moment(text: object) -> float:
    found = datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        raise ValueError(f"{str(text)[:40]!r} has no time zone")
    return found.timestamp()


def _duration_s(text: object) -> float:
    """Seconds of an ISO 8601 duration in weeks, days, hours, minutes and seconds."""
    if text == _FOREVER:
        return math.inf
    match = _DURATION.match(str(text or ""))
    if not match or not any(match.groups()):
        raise ValueError(f"{str(text)[:40]!r} is no duration such as PT1H")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
