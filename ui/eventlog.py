"""Keeps events: a bounded queue between whoever tells of them and the records, written with each flush of the store."""

import logging
from collections import deque
from collections.abc import Sequence

from twin.errors import SourceError
from twin.event import TOPIC, Event, event_of
from twin.ports import Records

log = logging.getLogger(__name__)

MAX_WAITING = 100_000  # while the records refuse; the oldest are dropped and counted
MAX_KEPT = 200_000  # records of the topic
MAX_PAST = 10_000  # events read back at a start
_TRIM_EVERY = 1000


class EventLog:
    """Any thread may ``note``; one at a time may ``flush``."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._written = 0
        self.dropped = 0

    def past(self) -> list[Event]:
        """The newest ``MAX_PAST`` that are kept, in their order."""
        return [event_of(time, record) for _, time, record in self._records.read(TOPIC, limit=MAX_PAST, newest=True)]

    def note(self, events: Sequence[Event]) -> None:
        """Queue ``events``; they are kept after the next ``flush`` that succeeds."""
        self.dropped += max(len(self._waiting) + len(events) - MAX_WAITING, 0)
        self._waiting.extend(events)

    def flush(self) -> None:
        """Write what waits; what the records refuse stays for the next time."""
        while self._waiting:
            event = self._waiting[0]
            try:
                self._records.append(TOPIC, event.time, event.record())
            except SourceError as error:
                log.error("%d events wait: %s", len(self._waiting), error)
                return
            if self._waiting and self._waiting[0] is event:  # not dropped meanwhile
                self._waiting.popleft()
            self._written += 1
            if self._written % _TRIM_EVERY == 0:
                self._records.trim(TOPIC, MAX_KEPT)
