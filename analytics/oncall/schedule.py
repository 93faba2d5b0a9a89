"""Who is on duty: calendars (iCalendar) whose events are named after people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from analytics.oncall.silence import events_of

FRESH_S = 6 * 3600.0  # a calendar is worked out anew after so long


@dataclass(frozen=True, slots=True)
class Schedule:
    """Turns of duty as (start, end, person) in s since 1970, sorted, worked out at ``made_s``."""

    name: str
    turns: tuple[tuple[float, float, str], ...]
    made_s: float

    def on_duty(self, now_s: float) -> tuple[str, ...]:
        """Who has duty; of several turns at one time the one that began last comes first: a swap overrides the rota."""
        mine = [(start_s, person) for start_s, end_s, person in self.turns if start_s <= now_s < end_s]
        return tuple(dict.fromkeys(person for _, person in sorted(mine, reverse=True)))

    def next_change(self, now_s: float) -> float:
        """When the next turn begins or ends, inf where none does in the days that were worked out."""
        edges = [edge for start_s, end_s, _ in self.turns for edge in (start_s, end_s) if edge > now_s]
        return min(edges, default=float("inf"))

    def unmanned(self, now_s: float, until_s: float) -> list[tuple[float, float]]:
        """Spans in ``[now_s, until_s)`` in which nobody has duty."""
        gaps, here = [], now_s
        for start_s, end_s, _ in sorted(self.turns):
            if start_s > here and here < until_s:
                gaps.append((here, min(start_s, until_s)))
            here = max(here, end_s)
        return [*gaps, (here, until_s)] if here < until_s else gaps


def read_schedule(name: str, text: bytes, people: Mapping[str, object], now: datetime, timezone: str) -> Schedule:
    """The schedule in ``text``; ``ValueError`` where it is no iCalendar or names somebody who is not among ``people``."""
    turns = events_of(text, now, timezone)
    if unknown := sorted({person for *_, person in turns} - set(people)):
        raise ValueError(f"{name}: the calendar names {unknown[0]!r}, who is no [[person]]; events are named after people")
    return Schedule(name, tuple(turns), now.timestamp())
