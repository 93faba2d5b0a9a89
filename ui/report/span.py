"""The span of a report: an ISO week, a month, a quarter, a year or two dates, in the centre's own time zone."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from twin.errors import ConfigError, Problem

MAX_SPAN = timedelta(days=400)
FIRST_YEAR, LAST_YEAR = 1970, 2999  # times are counted from the first; beyond the last some would be in no calendar
_SHAPES = (
    ("week", re.compile(r"(\d{4})-W(\d{2})")),
    ("quarter", re.compile(r"(\d{4})-Q([1-4])")),
    ("month", re.compile(r"(\d{4})-(\d{2})")),
    ("year", re.compile(r"(\d{4})()")),
    ("range", re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{4}-\d{2}-\d{2})")),
)
HINT = "write 2026-W46, 2026-11, 2026-Q4, 2026 or 2026-11-01/2026-11-15"


@dataclass(frozen=True, slots=True)
class Span:
    """``[start, end)`` in UTC, of whole local days from ``first`` to before ``last``; ``label`` as it was asked for."""

    kind: str
    label: str
    first: date
    last: date
    zone: ZoneInfo

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return _midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The moment after its last."""
        return _midnight(self.last, self.zone)

    @property
    def days(self) -> list[date]:
        """Its local days."""
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days)]

    def before(self) -> "Span":
        """The span of the same kind that came before it."""
        if self.kind == "range":
            length = self.last - self.first
            return Span("range", f"{self.first - length}/{self.first}", self.first - length, self.first, self.zone)
        return _named(_label(self.kind, self.first - timedelta(days=1)), self.zone)

    def year_ago(self) -> "Span":
        """The same span of the year before: week 53 of a year that has none is its week 52."""
        if self.kind == "range":
            shift = timedelta(days=364)
            return Span("range", f"{self.first - shift}/{self.last - shift}", self.first - shift, self.last - shift, self.zone)
        year, _, rest = self.label.partition("-")
        earlier = f"{int(year) - 1}-{rest}".rstrip("-")
        try:
            return _named(earlier, self.zone)
        except ConfigError:
            return _named(earlier.replace("W53", "W52"), self.zone)

    def edges_s(self) -> list[float]:
        """Starts of its days and its end, s since 1970 UTC: days that are 23 or 25 hours long are so here."""
        return [_midnight(day, self.zone).timestamp() for day in (*self.days, self.last)]


def span_of(text: str, zone: ZoneInfo) -> Span:
    """The span that ``text`` names; ``ConfigError`` where it names none, one longer than ``MAX_SPAN`` or one that does not
    begin between ``FIRST_YEAR`` and ``LAST_YEAR``."""
    span = _named(text, zone)
    if not FIRST_YEAR <= span.first.year <= LAST_YEAR:
        raise ConfigError([Problem("span", f"{text!r} does not begin between {FIRST_YEAR} and {LAST_YEAR}; {HINT}")])
    return span


def _named(text: str, zone: ZoneInfo) -> Span:
    for kind, shape in _SHAPES:
        if found := shape.fullmatch(text):
            try:
                first, last = _dates(kind, found[1], found[2])
            except (ValueError, OverflowError) as error:
                raise ConfigError([Problem("span", f"{text!r} is in no calendar ({error}); {HINT}")]) from error
            if not timedelta(0) < last - first <= MAX_SPAN:
                raise ConfigError([Problem("span", f"{text!r} is not between one and {MAX_SPAN.days} days long")])
            return Span(kind, text, first, last, zone)
    raise ConfigError([Problem("span", f"{text!r} is no span of time; {HINT}")])


def last_over(kind: str, now: datetime, zone: ZoneInfo) -> Span:
    """The newest week, month or quarter that is over."""
    return span_of(_label(kind, now.astimezone(zone).date()), zone).before()


def _dates(kind: str, a: str, b: str) -> tuple[date, date]:
    if kind == "week":
        first = date.fromisocalendar(int(a), int(b), 1)
        return first, first + timedelta(days=7)
    if kind == "range":
        return date.fromisoformat(a), date.fromisoformat(b)
    months, first_month = {"month": (1, b), "quarter": (3, ""), "year": (12, "1")}[kind]
    month = int(first_month) if first_month else 3 * int(b) - 2
    first = date(int(a), month, 1)
    after = month + months
    return first, date(int(a) + (after > 12), after - 12 if after > 12 else after, 1)


def _label(kind: str, day: date) -> str:
    if kind == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02d}"
    if kind == "quarter":
        return f"{day.year}-Q{(day.month + 2) // 3}"
    return f"{day:%Y-%m}" if kind == "month" else f"{day.year}"


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
