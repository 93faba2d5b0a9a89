"""What is kept quiet for a while: silences of people, maintenance windows of calendars and of the queue's reservations."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

from analytics.oncall.labels import MAX_MATCHERS, Matcher, all_fit, parse_matcher, parse_matchers

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
    """The first silence that keeps quiet what has these labels; one without matchers picks nothing."""
    return next((one for one in silences if one.active(now_s) and one.matchers and all_fit(one.matchers, labels)), None)


class Event(NamedTuple):
    """One event of a calendar, in s since 1970. ``once``: it stands by itself, as a swap does, and is no turn of a rota that
    repeats; ``sequence`` and ``changed_s``: which version it is and when it was last changed, 0 where it does not say."""

    start_s: float
    end_s: float
    summary: str
    once: bool
    sequence: int
    changed_s: float


def events_of(text: bytes, now: datetime, timezone: str) -> list[Event]:
    """The calendar's events that touch the time from a day ago to ``AHEAD``, repeats worked out, by time, at most
    ``MAX_EVENTS``; what is cancelled is none (RFC 5545, 3.8.1.11). ``ValueError`` where ``text`` is no iCalendar."""
    calendar = icalendar.Calendar.from_ical(text)
    found = recurring_ical_events.of(calendar).between(now - timedelta(days=1), now + AHEAD)
    repeats = {str(event.get("UID")) for event in calendar.walk("VEVENT") if "RRULE" in event or "RDATE" in event}
    zone = ZoneInfo(timezone)
    taken = [event for event in found if str(event.get("STATUS", "")).upper() != "CANCELLED"]
    return sorted(_event(event, zone, str(event.get("UID")) not in repeats) for event in taken[:MAX_EVENTS])


def _event(event: Any, zone: ZoneInfo, once: bool) -> Event:
    changed = event.get("LAST-MODIFIED")
    return Event(
        _moment(event.start, zone),
        _moment(event.end, zone),
        str(event.get("SUMMARY", "")),
        once,
        int(event.get("SEQUENCE", 0)),
        _moment(changed.dt, zone) if changed else 0.0,
    )


def _moment(when: datetime | date, zone: ZoneInfo) -> float:
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day, tzinfo=zone)
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def calendar_windows(
    name: str, matchers: Sequence[str], text: bytes, now: datetime, timezone: str, left_out: list[str] | None = None
) -> list[Silence]:
    """Maintenance windows from a calendar: each of its events keeps quiet what the matchers pick. An event may name its own,
    separated by blanks, in its summary (``rack=r01 rack=~r1.*``); then those count, and words that are no matchers are words.

    An event that names nothing, where ``matchers`` do not either, is no window: it would keep everything quiet. It is named in
    ``left_out``."""
    windows, given = [], parse_matchers(matchers)
    for event in events_of(text, now, timezone):
        picked = _named(event.summary) or given
        if picked:
            about = (name, event.summary, event.start_s, event.end_s, Quiet.MAINTENANCE)
            windows.append(Silence(f"{name}:{event.start_s:.0f}", picked, *about))
        elif left_out is not None:
            at = datetime.fromtimestamp(event.start_s, ZoneInfo(timezone))
            left_out.append(
                f"the event {event.summary[:80]!r} of {at:%Y-%m-%d %H:%M} says not what is to be quiet and is left out; "
                "write rack=r01 into its title, or give the [[maintenance]] a match"
            )
    return windows


def _named(summary: str) -> tuple[Matcher, ...]:
    """The matchers among the words of an event's title."""
    found: list[Matcher] = []
    for word in summary.split():
        try:
            found.append(parse_matcher(word))
        except ValueError:  # a word like any other
            continue
    return tuple(found[:MAX_MATCHERS])


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
    return "".join(char if char.isalnum() or char in "_/:" or not char.isascii() else f"\\{char}" for char in text)
