"""Who is on duty: calendars (iCalendar) whose events are named after people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from analytics.oncall.silence import Event, events_of

FRESH_S = 6 * 3600.0  # a calendar is worked out anew after so long


@dataclass(frozen=True, slots=True)
class Schedule:
    """Turns of duty, each an event named after who has it, sorted, worked out at ``made_s``."""

    name: str
    turns: tuple[Event, ...]
    made_s: float

    def on_duty(self, now_s: float) -> tuple[str, ...]:
        """Who has duty, whoever is called first first: a swap overrides the rota (``_weight``)."""
        return tuple(dict.fromkeys(turn.summary for turn in self._now(now_s)))

    def called(self, now_s: float) -> tuple[str, ...]:
        """Who is to be told: of those on duty whoever no turn overrides, and more than one where the calendar does not say who
        stands in for whom."""
        turns = self._now(now_s)
        return tuple(dict.fromkeys(turn.summary for turn in turns if _weight(turn) == _weight(turns[0])))

    def _now(self, now_s: float) -> list[Event]:
        mine = [turn for turn in self.turns if turn.start_s <= now_s < turn.end_s]
        return sorted(mine, key=lambda turn: (_weight(turn), turn.summary), reverse=True)

    def next_change(self, now_s: float) -> float:
        """When the next turn begins or ends, inf where none does in the days that were worked out."""
        edges = [edge for turn in self.turns for edge in (turn.start_s, turn.end_s) if edge > now_s]
        return min(edges, default=float("inf"))

    def unmanned(self, now_s: float, until_s: float) -> list[tuple[float, float]]:
        """Spans in ``[now_s, until_s)`` in which nobody has duty."""
        gaps, here = [], now_s
        for turn in sorted(self.turns):
            if turn.start_s > here and here < until_s:
                gaps.append((here, min(turn.start_s, until_s)))
            here = max(here, turn.end_s)
        return [*gaps, (here, until_s)] if here < until_s else gaps


def _weight(turn: Event) -> tuple[float, bool, int, float]:
    """Of two turns the heavier overrides the other: it began later; or at the same time, and stands by itself while the other
    is of a rota that repeats; or is the later version, or was changed later."""
    return turn.start_s, turn.once, turn.sequence, turn.changed_s


def read_schedule(
    name: str, text: bytes, people: Mapping[str, object], now: datetime, timezone: str, left_out: list[str] | None = None
) -> Schedule:
    """The schedule in ``text``; ``ValueError`` where it is no iCalendar or names somebody who is not among ``people``. With
    ``left_out``, turns of such a person are left out and named there, so that the others still have theirs."""
    turns = events_of(text, now, timezone)
    for unknown in sorted({turn.summary for turn in turns} - set(people)):
        what = f"{name}: the calendar names {unknown!r}, who is no [[person]]; events are named after people"
        if left_out is None:
            raise ValueError(what)
        left_out.append(what)
    return Schedule(name, tuple(turn for turn in turns if turn.summary in people), now.timestamp())
