"""What is kept quiet for a while: silences of people, maintenance windows of calendars and of the queue's reservations."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

from analytics.oncall.labels import Matcher, all_fit, parse_matchers

MAX_SILENCES = 1000
LONGEST_S = 31 * 86400.0
MAX_EVENTS = 2000  # of one calendar in the days that are looked at
AHEAD = timedelta(days=14)


class Quiet(StrEnum):
    """Why something is kept quiet."""

    SILENCE = "silence"
    MAINTENANCE = "maintenance"
    RESERVATION = "reservation"


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing that the matchers pick is told in ``[start_s, end_s)`` (s since 1970). Alerts live on and are shown."""

    id: str
    matchers: tuple[Matcher, ...]
    author: str
    reason: str
    start_s: float
    end_s: float
    kind: Quiet = Quiet.SILENCE

    def active(self, now_s: float) -> bool:
        """Whether it holds now."""
        return self.start_s <= now_s < self.end_s

    def as_json(self) -> dict[str, Any]:
        """For the record and the API."""
        return {
            "id": self.id,
            "matchers": [str(matcher) for matcher in self.matchers],
            "author": self.author,
            "reason": self.reason,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "kind": self.kind.value,
        }


def make_silence(
    id_: str, matchers: Sequence[str], author: str, reason: str, start_s: float, end_s: float, kind: Quiet = Quiet.SILENCE
) -> Silence:
    """A silence; ``ValueError`` with one sentence where something is missing: it needs at least one matcher, an author, a
    reason and an end within ``LONGEST_S``."""
    found = parse_matchers(matchers)
    if not found:
        raise ValueError("a silence without a matcher would keep everything quiet; write at least one, such as rack=r01")
    if not author.strip() or not reason.strip():
        raise ValueError("a silence needs an author and a reason; say who and why")
    if not 0 < end_s - start_s <= LONGEST_S:
        raise ValueError(
            f"a silence ends after it starts and within {LONGEST_S / 86400:g} days; this one takes {end_s - start_s:g} s"
        )
    return Silence(id_, found, author.strip()[:100], reason.strip()[:500], start_s, end_s, kind)


def from_json(kept: Mapping[str, Any]) -> Silence:
    """What ``as_json`` gave."""
    matchers = parse_matchers(kept["matchers"])
    return Silence(kept["id"], matchers, kept["author"], kept["reason"], kept["start_s"], kept["end_s"], Quiet(kept["kind"]))


def silenced(silences: Iterable[Silence], labels: Mapping[str, str], now_s: float) -> Silence | None:
    """The first silence that keeps quiet what has these labels."""
    return next((one for one in silences if one.active(now_s) and all_fit(one.matchers, labels)), None)


def events_of(text: bytes, now: datetime, timezone: str) -> list[tuple[float, float, str]]:
    """(start, end, summary) of the calendar's events that touch the time from a day ago to ``AHEAD``, repeats worked out, at
    most ``MAX_EVENTS``; times in s since 1970. ``ValueError`` where ``text`` is no iCalendar."""
    calendar = icalendar.Calendar.from_ical(text)
    found = recurring_ical_events.of(calendar).between(now - timedelta(days=1), now + AHEAD)
    zone = ZoneInfo(timezone)
    return sorted(
        (_moment(event.start, zone), _moment(event.end, zone), str(event.get("SUMMARY", ""))) for event in found[:MAX_EVENTS]
    )


def _moment(when: datetime | date, zone: ZoneInfo) -> float:
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day, tzinfo=zone)
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def calendar_windows(name: str, matchers: Sequence[str], text: bytes, now: datetime, timezone: str) -> list[Silence]:
    """Maintenance windows from a calendar: each of its events keeps quiet what the matchers pick. An event may name its own,
    separated by blanks, in its summary (``rack=r01 rack=~r1.*``); then those count."""
    windows = []
    for start_s, end_s, summary in events_of(text, now, timezone):
        own = [word for word in summary.split() if "=" in word] or list(matchers)
        windows.append(Silence(f"{name}:{start_s:.0f}", parse_matchers(own), name, summary, start_s, end_s, Quiet.MAINTENANCE))
    return windows


def reservation_windows(queue: str, reservations: Iterable[Mapping[str, Any]], names: Sequence[str] = ()) -> list[Silence]:
    """Maintenance windows from the queue's reservations: ``name``, ``nodes`` (ids of assets), ``start_s``, ``end_s``,
    ``flags``. Only those flagged for maintenance count, and those whose name fits one of ``names`` (globs): a reservation
    for jobs is no reason to be quiet."""
    windows = []
    for one in reservations:
        nodes = [str(node) for node in one["nodes"]]
        flagged = "MAINT" in {str(flag).upper() for flag in one.get("flags", ())}
        if not nodes or not (flagged or any(fnmatch.fnmatchcase(str(one["name"]), name) for name in names)):
            continue
        matcher = Matcher("node", "=~", "|".join(map(_quoted, nodes)))
        said = f"reservation {one['name']}"
        windows.append(
            Silence(f"{queue}:{one['name']}", (matcher,), queue, said, one["start_s"], one["end_s"], Quiet.RESERVATION)
        )
    return windows[:MAX_SILENCES]


def _quoted(text: str) -> str:
    return "".join(char if char.isalnum() or char in "_/:" else f"\\{char}" for char in text)
