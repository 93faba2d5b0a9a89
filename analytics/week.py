"""Times of the week, as people write them: ``mon-fri 08:00-18:00, sat 09:00-12:00`` in the site's time zone."""

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s*)?(?:(\d\d):(\d\d)-(\d\d):(\d\d))?")
DAY_MIN = 24 * 60
MAX_SPANS = 50


@dataclass(frozen=True, slots=True)
class Week:
    """``spans``: (day of the week from Monday, from, until) in minutes of the day; none: always."""

    spans: tuple[tuple[int, int, int], ...] = ()

    def holds(self, now: datetime, timezone: str) -> bool:
        """Whether ``now`` lies in it."""
        if not self.spans:
            return True
        here = now.astimezone(ZoneInfo(timezone))
        minute = here.hour * 60 + here.minute
        return any(day == here.weekday() and start <= minute < end for day, start, end in self.spans)


ALWAYS = Week()


def parse_week(text: str) -> Week:
    """The times that ``text`` says; a span over midnight is two. ``ValueError`` with one sentence where it says none."""
    spans: list[tuple[int, int, int]] = []
    for part in text.lower().split(","):
        found = _SPAN.fullmatch(part.strip())
        if not found or not part.strip():
            raise ValueError(f"{part.strip()!r} is no time of the week; write it as in mon-fri 08:00-18:00, sat 09:00-12:00")
        spans += _spans(part.strip(), *found.groups())
    if len(spans) > MAX_SPANS:
        raise ValueError(f"{len(spans)} spans; the most is {MAX_SPANS}")
    return Week(tuple(spans))


def _spans(part: str, first: str | None, last: str | None, *clock: str | None) -> list[tuple[int, int, int]]:
    for day in (first, last):
        if day is not None and day not in _DAYS:
            raise ValueError(f"no day {day!r} in {part!r}; days are {', '.join(_DAYS)}")
    start, end = 0, DAY_MIN
    if clock[0] is not None:
        hours = [int(number or 0) for number in clock]
        start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if max(start, end) > DAY_MIN or hours[1] > 59 or hours[3] > 59 or start == end:
            raise ValueError(f"{part!r} has no such time of day; write 00:00 to 24:00")
    begin = _DAYS.index(first) if first else 0
    until = _DAYS.index(last) if last else begin if first else 6
    days = [(begin + i) % 7 for i in range((until - begin) % 7 + 1)]
    if start < end:
        return [(day, start, end) for day in days]
    night = [(day, start, DAY_MIN) for day in days]
    return night + [((day + 1) % 7, 0, end) for day in days if end]
