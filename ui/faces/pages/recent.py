"""What pages show of the records: events, changes, findings and outcomes of the last day, read beside the beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from twin.event import TOPIC as EVENTS
from twin.event import Event, event_of
from ui.faces.shelf import Shelf
from ui.view import Live

EVERY_S = 10.0
MAX_EVENTS, MAX_RECORDS = 5000, 200
SPAN = timedelta(hours=24)
BINS = 48  # of half an hour each
Record = tuple[datetime, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Happened:
    """Events since ``start``, oldest first; at most ``MAX_EVENTS``, the newest."""

    start: datetime
    events: tuple[Event, ...]

    def strip(self, families: Sequence[str]) -> list[float]:
        """How many events of ``families`` there were in each of ``BINS`` parts of the day."""
        times = [event.time.timestamp() for event in self.events if event.family in families]
        start_s = self.start.timestamp()
        counts, _ = np.histogram(times, bins=BINS, range=(start_s, start_s + SPAN.total_seconds()))
        return [float(count) for count in counts]

    def of(self, families: Sequence[str], most: int) -> list[Event]:
        """The newest of ``families``."""
        mine = [event for event in self.events if event.family in families]
        return sorted(mine, key=lambda event: event.time, reverse=True)[:most]


def read_events(live: Live, now: datetime) -> Happened:
    """Events of the last day."""
    found = live.records.read(EVENTS, now - SPAN, None, MAX_EVENTS, newest=True)
    return Happened(now - SPAN, tuple(event_of(time, record) for _, time, record in found))


def read_topics(live: Live, now: datetime, topics: Sequence[str], days: float, most: int = MAX_RECORDS) -> list[Record]:
    """Records of ``topics`` of the last ``days``, newest first; each says its ``topic``."""
    rows: list[Record] = []
    for topic in topics:
        found = live.records.read(topic, now - timedelta(days=days), None, most, newest=True)
        rows += [(time, {"topic": topic, **record}) for _, time, record in found]
    rows.sort(key=lambda row: row[0], reverse=True)
    return rows[:most]


def keep_events(shelf: Shelf) -> None:
    """Put events on the shelf under ``events``."""
    shelf.add("events", EVERY_S, read_events)
