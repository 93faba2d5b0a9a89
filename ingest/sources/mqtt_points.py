"""What is heard over MQTT, kept until it is asked for; and JSON payloads as points."""

import asyncio
import json
import math
import re
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.mappings.bind import Series
from ingest.mappings.device import MAX_POINTS, Points, Value
from twin.errors import SourceError

MAX_STAMPS = 200  # distinct seconds of one reading; beyond, the times of arrival count
MAX_DEPTH = 8
BELIEVED_S = 600.0  # as old as a setpoint may be (twin.metrics)
_PLACE = re.compile(r"\{(\w+)\}")
_LATEST_S = 1e11  # since 1970: a time beyond it (after 5000) is in finer units
_UNITS = (1.0, 1e3, 1e6, 1e9)  # in a second, of the units that times are told in
BORN_S = 1e9  # September 2001: what is older is no time but a clock that was never set
AHEAD_S = 86_400.0  # a clock that runs ahead by more says nothing


class Decoder(Protocol):
    """Turns one format's messages into points of a ``Cache``."""

    def filters(self) -> Sequence[str]:
        """What to subscribe to."""
        ...

    def take(self, topic: str, payload: bytes, clock_s: float) -> None:
        """One message, arrived at ``clock_s``. ``ValueError``, ``KeyError``, ``TypeError`` where it cannot be read."""
        ...

    def tick(self, clock_s: float, now_s: float) -> None:
        """Time has gone on: ``clock_s`` as at arrivals, ``now_s`` since 1970."""
        ...

    def lost(self) -> None:
        """The connection broke."""
        ...

    def say(self) -> Sequence[tuple[str, bytes]]:
        """Messages (topic, payload) to be sent now."""
        ...

    def order(self, series: Series, value: float) -> tuple[str, bytes]:
        """The message that orders ``value`` at ``series``; ``SourceError`` where there is no such."""
        ...


class Point:
    """The newest that was heard of one point: ``time_s`` by its sender (NaN: says none), ``clock_s`` of arrival; ``fresh``:
    since it was last asked for. Its value is None where it is not known any more."""

    __slots__ = ("clock_s", "fresh", "time_s", "value")

    def __init__(self) -> None:
        self.value: Value = None
        self.time_s, self.clock_s, self.fresh = math.nan, 0.0, False


class Cache:
    """The points heard so far, at most ``MAX_POINTS``; what is beyond is refused until the next connection."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, tuple[tuple[str, str], ...]], Point] = {}
        self._series: list[Series] = []
        self._strange: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._changed_s = -math.inf
        self._full = False

    def put(self, name: str, labels: dict[str, str], value: Value, time_s: float, clock_s: float) -> None:
        """A point was heard."""
        key = (name, tuple(sorted(labels.items())))
        point = self._points.get(key)
        if point is None:
            if len(self._points) >= MAX_POINTS:
                self._full = True
                return
            point = self._points[key] = Point()
            self._series.append((name, labels))
        if value != point.value or time_s != point.time_s:  # else it is told again, as at a new connection; NaN is no time
            point.fresh = value is not None
        point.value, point.time_s, point.clock_s = value, time_s, clock_s
        self._changed_s = clock_s
        self._changed.set()

    def drop(self, labels: dict[str, str]) -> None:
        """Whatever has all of ``labels`` is heard of no more, and not known."""
        for key, point in self._points.items():
            if labels.items() <= dict(key[1]).items():
                point.value, point.fresh = None, False

    def forget(self, labels: dict[str, str], but: Container[str] = ()) -> None:
        """Whatever has all of ``labels`` is there no more, but for the names ``but``."""
        gone = {key for key in self._points if key[0] not in but and labels.items() <= dict(key[1]).items()}
        if gone:
            self._series = [one for key, one in zip(self._points, self._series, strict=True) if key not in gone]
            self._points = {key: point for key, point in self._points.items() if key not in gone}

    def strange(self, topic: str) -> None:
        """A message that cannot be read."""
        if len(self._strange) < MAX_STAMPS:
            self._strange.add(("(cannot be read)", topic))

    async def changed_after(self, clock_s: float, limit_s: float) -> bool:
        """Wait until something was heard at ``clock_s`` or later; False where that takes longer than ``limit_s``."""
        try:
            async with asyncio.timeout(limit_s):
                while self._changed_s < clock_s:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def points(self, clock_starts_s: float) -> Points:
        """All points as they last were, with their times, and which were heard since this was last asked. One
        whose sender says a time that is none, or a day ahead, has that of its arrival, and is counted as strange.

        ``clock_starts_s``: what to add to a time of arrival, to have seconds since 1970."""
        if self._full:
            raise SourceError(f"more than {MAX_POINTS} points on one broker; subscribe to less of it")
        fresh = np.array([point.fresh for point in self._points.values()], dtype=np.bool_)
        values: list[Value] = []
        times: list[float] = []
        for (name, labels), point in self._points.items():
            values.append(point.value)
            time_s = arrived_s = point.clock_s + clock_starts_s
            if BORN_S <= point.time_s <= arrived_s + AHEAD_S:
                time_s = point.time_s
            elif point.fresh and not math.isnan(point.time_s) and len(self._strange) < MAX_STAMPS:
                self._strange.add(("(no time)", dict(labels).get("topic") or name))
            times.append(time_s)
            point.fresh = False
        times_s = np.array(times, dtype=np.float64)
        if len(np.unique(np.floor(times_s[fresh]))) > MAX_STAMPS:
            times_s = np.array([point.clock_s + clock_starts_s for point in self._points.values()], dtype=np.float64)
        # no mapping names what is strange, so it is counted as unmapped
        strange: list[Series] = [(name, {"topic": topic}) for name, topic in sorted(self._strange)]
        self._strange.clear()
        return Points(
            [*self._series, *strange],
            [*values, *(None for _ in strange)],
            np.append(times_s, np.full(len(strange), math.nan)),
            np.append(fresh, np.zeros(len(strange), dtype=np.bool_)),
        )

    def last(self, clock_s: float) -> Points:
        """The newest of every point, None for what was heard over ``BELIEVED_S`` ago; takes nothing away."""
        values = [point.value if clock_s - point.clock_s <= BELIEVED_S else None for point in self._points.values()]
        return Points(list(self._series), values)


class Topic(BaseModel):
    """One ``[[topic]]`` of a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: str = Field(min_length=1)
    time: str = ""

    @model_validator(mode="after")
    def _is_a_filter(self) -> Self:
        levels = self.filter.split("/")
        for i, level in enumerate(levels):
            whole = level in ("+", "#") or _PLACE.fullmatch(level)
            if (not whole and re.search(r"[+#{}]", level)) or (level == "#" and i < len(levels) - 1):
                raise ValueError(f"filter {self.filter!r}: {level!r} must be a whole level, and # the last")
        return self

    @property
    def wildcards(self) -> str:
        """As MQTT writes it."""
        return _PLACE.sub("+", self.filter)

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        levels = []
        for level in self.filter.split("/"):
            place = _PLACE.fullmatch(level)
            levels.append(f"(?P<{place[1]}>[^/]+)" if place else {"+": "[^/]+", "#": ".*"}.get(level, re.escape(level)))
        return re.compile("/".join(levels))

    def read(self, topic: str) -> dict[str, str] | None:
        """The labels that ``topic`` gives, None where it is another."""
        match = self._pattern.fullmatch(topic)
        return match.groupdict() if match else None


class Command(BaseModel):
    """One ``[[command]]`` of a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    topic: str = Field(min_length=1)
    payload: str = "%s"

    @model_validator(mode="after")
    def _has_a_place_for_the_number(self) -> Self:
        if self.payload.count("%s") != 1 or re.search(r"[+#]", self.topic):
            raise ValueError(f"command {self.name}: payload needs %s once, where the number goes, and topic no wildcard")
        return self


class JsonDecoder:
    """Members of JSON objects, and bare values. See ``Decoder``."""

    def __init__(self, cache: Cache, topics: Sequence[Topic], commands: Sequence[Command]) -> None:
        self._cache, self._topics = cache, topics
        self._commands = {one.name: one for one in commands}

    def filters(self) -> Sequence[str]:
        """What the mapping's topics say."""
        return [one.wildcards for one in self._topics]

    def take(self, topic: str, payload: bytes, clock_s: float) -> None:
        """A message of the first topic that fits."""
        for one in self._topics:
            labels = one.read(topic)
            if labels is None:
                continue
            labels["topic"] = topic
            text = payload.decode("utf-8")
            try:
                body = json.loads(text)
            except ValueError:
                body = text.strip()  # a bare word, as ON
            time_s = math.nan
            if one.time and isinstance(body, dict):
                time_s = time_of(_member(body, one.time))
            bare = topic.rpartition("/")[2]
            for name, value in _flat(body, "", MAX_DEPTH):
                self._cache.put(name or bare, labels, value, time_s, clock_s)
            return

    def tick(self, clock_s: float, now_s: float) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """Nothing to do: what was heard was heard."""

    def say(self) -> Sequence[tuple[str, bytes]]:
        """Nothing by itself."""
        return ()

    def order(self, series: Series, value: float) -> tuple[str, bytes]:
        """As the ``[[command]]`` of that name says; places in its topic are filled from the labels."""
        command = self._commands.get(series[0])
        if command is None:
            raise SourceError(f"no [[command]] is named {series[0]!r}")
        missing = [name for name in _PLACE.findall(command.topic) if name not in series[1]]
        if missing:
            raise SourceError(f"command {command.name}: its topic needs {', '.join(missing)}, which the point does not have")
        topic = _PLACE.sub(lambda place: series[1][place[1]], command.topic)
        return topic, command.payload.replace("%s", f"{value:.10g}").encode()


def _flat(body: Any, prefix: str, depth: int) -> Iterator[tuple[str, Value]]:
    if isinstance(body, dict) and depth:
        for key, value in body.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key), depth - 1)
    elif isinstance(body, list) and depth:
        for i, value in enumerate(body):
            yield from _flat(value, f"{prefix}.{i}" if prefix else str(i), depth - 1)
    elif isinstance(body, bool | int | float):
        yield prefix, float(body)
    elif isinstance(body, str):
        yield prefix, body


def _member(body: Any, path: str) -> Any:
    for key in path.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def time_of(said: Any) -> float:
    """A time as s since 1970: from seconds, milli-, micro- or nanoseconds or ISO 8601; NaN where none is said. A number that
    is no time in any of these stays as it is."""
    if isinstance(said, bool) or said is None:
        return math.nan
    if isinstance(said, int | float):
        return next((said / unit for unit in _UNITS if said / unit < _LATEST_S), math.inf)
    try:
        when = datetime.fromisoformat(str(said))
    except ValueError:
        return math.nan
    return when.timestamp() if when.tzinfo else math.nan
