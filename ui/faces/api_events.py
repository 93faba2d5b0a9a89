"""``/api/v1/events``: what happened, newest first."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import AwareDatetime, BaseModel

from twin.event import TOPIC, Severity, event_of
from ui.faces.answers import When
from ui.faces.push import Pulse

MAX_READ = 20_000  # events looked through for one answer


class EventOut(BaseModel):
    """Something that happened to an asset; ``code`` is its family and what of it, such as ``xid/79``."""

    number: int
    time: AwareDatetime
    asset: str
    code: str
    meaning: str
    source: str
    severity: Severity


def add_events(server: FastAPI, pulse: Pulse) -> None:
    """Serve the events on ``server``."""
    live = pulse.live  # its records may be replaced: look them up at each question

    @server.get("/api/v1/events")
    def events(
        start: Annotated[When | None, Query(description="ISO 8601 with zone; none: as far back as is kept")] = None,
        end: Annotated[When | None, Query(description="ISO 8601 with zone; none: now")] = None,
        asset: Annotated[str | None, Query(description="of this asset alone")] = None,
        code: Annotated[str | None, Query(description="of this code, or of this family where it has no /")] = None,
        severity: Severity | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000, description="at most so many")] = 1000,
    ) -> list[EventOut]:
        """XIDs, leaks, link flaps, breaker trips, health conditions: what happened in ``[start, end)``, newest first. At most
        20,000 of the newest events in that time are looked through."""
        made: list[EventOut] = []
        for number, time, record in reversed(live.records.read(TOPIC, start, end, MAX_READ, newest=True)):
            event = event_of(time, record)
            if asset in (None, event.asset) and code in (None, event.code, event.family) and severity in (None, event.severity):
                made.append(EventOut(number=number, time=time, **event.record()))
                if len(made) == limit:
                    break
        return made
