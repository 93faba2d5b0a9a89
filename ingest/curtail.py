"""Requests to draw less, as grids send them: events of OpenADR 3, and load targets of the open flexibility bus.

OpenADR 3.0.1/3.1 (openadr.org): an event has intervals, each with payloads ``{"type", "values"}``; read are
``IMPORT_CAPACITY_LIMIT`` (kW that may be drawn) and ``DISPATCH_SETPOINT_RELATIVE`` (kW, below 0: less). Flexibility bus: the
CloudEvent ``grid.loadtarget.set.v1`` with its ``SetLoadTargetData`` (NVIDIA dsx-exchange, AsyncAPI 1.7). What carries them
(HTTP, MQTT) and who may sign them is for whoever receives them: a signed payload is verified before it comes here.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twin.curtail import MAX_INTERVALS, Interval, Request
from twin.errors import SourceError

_DURATION = re.compile(r"^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
_FOREVER = "P9999Y"  # OpenADR's word for no end
_LIMIT, _RELATIVE = "IMPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT_RELATIVE"
_WATTS = {"watt": 1.0, "kilowatt": 1e3, "megawatt": 1e6, "W": 1.0, "KW": 1e3, "kW": 1e3, "MW": 1e6}
LOAD_TARGET = "grid.loadtarget.set.v1"
MAX_DURATION_S = 10 * 366 * 86_400.0


class _Said(BaseModel):
    """What is read of a message; whatever else it has is left to others."""

    model_config = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T")
M = TypeVar("M", bound=_Said)
_Text = Annotated[str, BeforeValidator(lambda said: "" if said is None else str(said))]
_Maybe = Annotated[T, BeforeValidator(lambda said: {} if said is None else said)]
_Some = Annotated[tuple[T, ...], BeforeValidator(lambda said: () if said is None else said), Field(max_length=MAX_INTERVALS)]


class _Period(_Said):
    start: _Text = ""
    duration: _Text = ""


class _Payload(_Said):
    type: _Text = ""
    values: _Some[Any] = ()


class _Step(_Said):
    interval_period: _Maybe[_Period] = Field(default=_Period(), alias="intervalPeriod")
    payloads: _Some[_Payload] = ()


class _Descriptor(_Said):
    payload_type: _Text = Field(default="", alias="payloadType")
    units: _Text = ""


class _Event(_Said):
    id: _Text = ""
    name: _Text = Field(default="", alias="eventName")
    interval_period: _Maybe[_Period] = Field(default=_Period(), alias="intervalPeriod")
    descriptors: _Some[_Descriptor] = Field(default=(), alias="payloadDescriptors")
    intervals: tuple[_Step, ...] = Field(max_length=MAX_INTERVALS)


class _Limit(_Said):
    value: float = Field(strict=True, allow_inf_nan=False)
    unit: _Text = ""


class _Span(_Said):
    start_time: _Text = ""
    end_time: _Text = ""


class _Strategy(_Said):
    best_effort: bool = False


class _Target(_Said):
    load_constraint: _Limit | None = None
    interval: _Maybe[_Span] = _Span()
    feed_tags: _Some[_Text] = ()
    strategy: _Maybe[_Strategy] = _Strategy()


class _Targets(_Said):
    targets: tuple[_Target, ...] = Field(max_length=MAX_INTERVALS)


class _LoadTarget(_Said):
    id: _Text = ""
    correlationid: _Text = ""
    data: _Targets


def read_request(message: object, received: datetime) -> Request | None:
    """The request in ``message`` (decoded JSON), whichever of the two it is; None where it takes back what was asked.
    ``SourceError`` with one sentence where it is neither, or asks for nothing that is understood, whatever its shape."""
    if not isinstance(message, Mapping):
        raise SourceError("a request is a JSON object: an OpenADR 3 event or a load target of the flexibility bus")
    try:
        if message.get("type") == LOAD_TARGET:
            if isinstance(message.get("data"), str):
                raise ValueError("its data is signed (JWS); verify it and hand over the payload")
            return _target(_shaped(_LoadTarget, message), received)
        if "intervals" in message:
            return _event(_shaped(_Event, message), received)
    except (ValueError, ArithmeticError, OSError) as error:  # a time beyond the calendar is any of these
        raise SourceError(f"the request cannot be read: {error}") from None
    raise SourceError(f"the message is neither an OpenADR 3 event (it has no intervals) nor of type {LOAD_TARGET}")


def _shaped(shape: type[M], message: Mapping[str, Any]) -> M:
    try:
        return shape.model_validate(message)
    except ValidationError as error:
        one = error.errors()[0]
        what = "is no object" if one["type"] == "model_type" else one["msg"]
        raise ValueError(f"{'.'.join(map(str, one['loc'])) or 'it'}: {what}") from None


def _event(said: _Event, received: datetime) -> Request | None:
    usual = said.interval_period
    units = {one.payload_type: one.units or "KW" for one in said.descriptors}
    made: list[Interval] = []
    follows = usual.start
    for one in said.intervals:
        asked = _payload(one, units)
        begin_s = _moment(one.interval_period.start or follows or received.isoformat())
        length_s, open_ended = _duration_s(one.interval_period.duration or usual.duration)
        follows = "" if math.isinf(length_s) else datetime.fromtimestamp(begin_s + length_s, UTC).isoformat()
        if asked is not None:
            if open_ended and math.isnan(asked[0]):
                raise ValueError(f"{_RELATIVE} without a duration says nothing")
            made.append(Interval(begin_s, begin_s + length_s, *asked))
    if not made:
        raise ValueError(f"none of its intervals has a payload of type {_LIMIT} or {_RELATIVE}")
    return Request(said.id or said.name or "event", received.timestamp(), tuple(sorted(made, key=lambda one: one.begin_s)))


def _payload(interval: _Step, units: Mapping[str, str]) -> tuple[float, float] | None:
    """(limit [W], cut [W]), the one that is not asked NaN."""
    for payload in interval.payloads:
        kind, values = payload.type, payload.values
        if kind not in (_LIMIT, _RELATIVE):
            continue
        if len(values) != 1 or not isinstance(values[0], int | float) or isinstance(values[0], bool):
            raise ValueError(f"{kind} has {len(values)} values; one number is understood")
        unit = units.get(kind, "KW")
        if unit not in _WATTS:
            raise ValueError(f"{kind} is in {unit!r}; {', '.join(_WATTS)} are understood")
        watts = float(values[0]) * _WATTS[unit]
        if not math.isfinite(watts):
            raise ValueError(f"{kind} is {values[0]}, no number of watts")
        if kind == _LIMIT:
            return watts, math.nan
        if watts > 0:
            raise ValueError(f"{kind} asks to draw more; that is not done")
        return math.nan, -watts
    return None


def _target(said: _LoadTarget, received: datetime) -> Request | None:
    made, feeds, gentle = [], set(), False
    for one in said.data.targets:
        limit = one.load_constraint
        if limit is None:
            continue  # takes back what was asked
        if limit.unit not in _WATTS:
            raise ValueError(f"a load_constraint is in {limit.unit[:40]!r}; write watt, kilowatt or megawatt")
        begin_s = _moment(one.interval.start_time or received.isoformat())
        end_s = _moment(one.interval.end_time) if one.interval.end_time else math.inf
        made.append(Interval(begin_s, end_s, limit_w=limit.value * _WATTS[limit.unit]))
        feeds |= set(one.feed_tags)
        gentle |= one.strategy.best_effort
    if not made:
        return None
    ordered = tuple(sorted(made, key=lambda one: one.begin_s))
    return Request(said.correlationid or said.id or "target", received.timestamp(), ordered, gentle, tuple(sorted(feeds)))


def _moment(text: str) -> float:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    return found.timestamp()


def _duration_s(text: str) -> tuple[float, bool]:
    """Seconds of an ISO 8601 duration in weeks, days, hours, minutes and seconds; and whether it has no end only because none
    is said (nothing, or OpenADR's default PT0S): a limit of capacity then holds until the event is changed or deleted."""
    if text in ("", _FOREVER):
        return math.inf, not text
    match = _DURATION.match(text)
    if not match or not any(match.groups()):
        raise ValueError(f"{text[:40]!r} is no duration such as PT1H")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    length_s = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    if length_s > MAX_DURATION_S:
        raise ValueError(f"{text[:40]!r} is over ten years; write {_FOREVER} where there is no end")
    return length_s or math.inf, not length_s
