"""What a Redfish service tells of itself: conditions of its resources, and the stream of its server-sent events."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingest.mappings.device import Bound
from ingest.sources.redfish_points import RedfishTable, Resource, many
from twin.errors import SourceError
from twin.event import Event, Severity

MAX_EVENTS = 1000  # that wait to be taken; the oldest go first
MAX_DATA_BYTES = 2**20  # of one event of the stream
RETRY_S = 60.0  # between two tries to listen
_SEVERITIES: Mapping[str, Severity] = {"OK": "info", "Warning": "warning", "Critical": "critical"}


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes events of what a service of one target says."""

    table: RedfishTable
    bound: Bound
    source: str

    def event(self, one: Mapping[str, Any], path: str, now: datetime) -> Event:
        """A condition, or a record of an event: both carry MessageId, Message, Severity and a time. ``path``: the resource that
        it is of."""
        message_id = str(one.get("MessageId") or "event")[:200]
        meaning = " ".join(str(one.get("Message") or message_id).split())[:500]
        severity = _SEVERITIES.get(str(one.get("MessageSeverity") or one.get("Severity")), "warning")
        asset = self.bound.asset_of({"path": path, **self.table.labels(path)}) or self.source
        return Event(_time(one, now), asset, f"redfish/{message_id}", meaning, self.source, severity)


def _origin(one: Mapping[str, Any], otherwise: str) -> str:
    """The resource that a condition is of."""
    origin = one.get("OriginOfCondition")
    return str(origin.get("@odata.id") or otherwise) if isinstance(origin, dict) else otherwise


def _time(one: Mapping[str, Any], now: datetime) -> datetime:
    """When it happened by the controller's clock; ``now`` where that says nothing, no zone, or a time to come."""
    for name in ("Timestamp", "EventTimestamp"):
        try:
            said = datetime.fromisoformat(str(one[name]))
        except (KeyError, ValueError):
            continue
        if said.tzinfo is not None and said <= now:
            return said.astimezone(UTC)
    return now


class Conditions:
    """Conditions of all resources of one service: told once when they come, and once when they go."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._open: dict[tuple[str, str], Event] = {}
        self._seen: dict[tuple[str, str], Event] = {}
        self._waiting: deque[Event] = deque(maxlen=MAX_EVENTS)

    def see(self, resource: Resource, body: Mapping[str, Any], now: datetime) -> None:
        """Take note of what one resource says of its state."""
        status = body.get("Status")
        if not isinstance(status, dict):
            return
        conditions = [one for one in many(status.get("Conditions")) if isinstance(one, dict)]
        health = str(status.get("Health") or "")
        if not conditions and health in ("Warning", "Critical"):
            name = str(body.get("Name") or resource.path)
            conditions = [{"MessageId": f"Health{health}", "Message": f"{name}: health is {health}", "Severity": health}]
        for one in conditions:
            path = _origin(one, resource.path)
            # the same condition is told by its resource and by all that contain it
            self._seen.setdefault((str(one.get("MessageId")), path), self._teller.event(one, path, now))

    def settle(self, now: datetime, *, whole: bool) -> None:
        """Resources were seen: what is new has come. Where all were (``whole``), what is no longer there has gone."""
        if not whole:
            self._seen = {**self._open, **self._seen}
        self._waiting += [event for key, event in self._seen.items() if key not in self._open]
        for key, event in self._open.items():
            if key not in self._seen:
                self._waiting.append(Event(now, event.asset, event.code, f"over: {event.meaning}", event.source, "info"))
        self._open, self._seen = {key: self._open.get(key, event) for key, event in self._seen.items()}, {}

    def take(self) -> list[Event]:
        """What came and went since this was last asked."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Stream:
    """The server-sent events of one service, read beside the polls. One that breaks is begun again after ``RETRY_S``."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._task: asyncio.Task[None] | None = None
        self._tried: datetime | None = None
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._now: datetime | None = None
        self._absent = False

    def wanted(self, now: datetime) -> bool:
        """Whether it is time to begin to listen."""
        self._now = now
        idle = self._task is None or self._task.done()
        return idle and not self._absent and (self._tried is None or (now - self._tried).total_seconds() >= RETRY_S)

    def none(self) -> None:
        """The service has no such stream."""
        self._absent = True

    def start(self, lines: AsyncIterator[str], now: datetime) -> None:
        """Listen to ``lines``."""
        self._tried = now
        self._task = asyncio.create_task(self._listen(lines))

    def take(self) -> list[Event]:
        """What was sent since this was last asked."""
        taken = []
        while self._waiting and self._now is not None:
            one = self._waiting.popleft()
            taken.append(self._teller.event(one, _origin(one, ""), self._now))
        return taken

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _listen(self, lines: AsyncIterator[str]) -> None:
        data: list[str] = []
        held = 0
        try:
            async for line in lines:
                if line.startswith("data:") and held < MAX_DATA_BYTES:
                    data.append(line[5:])
                    held += len(line)
                elif not line and data:  # an empty line ends an event
                    self._waiting += _records("\n".join(data))
                    data, held = [], 0
        except SourceError:  # begun again by a later poll
            return


def _records(text: str) -> list[dict[str, Any]]:
    """The records of one message; none where it is no Redfish event."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return []
    records = many(body.get("Events")) if isinstance(body, dict) else []
    return [one for one in records if isinstance(one, dict)]
