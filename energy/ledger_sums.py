"""What the books of shifted work add up to, of a span or of the last days, whichever way each job went.

Errors of jobs that were booked on one day are taken as one (added up): what their replays do not know, nodes that were away for
some hours say, misleads them for all of them. Those of different days are taken as independent (added in quadrature). A job
counts in the span in which it was booked: what was told of a span that is over does not change.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from energy.ledger import TOPIC as PLANS
from energy.ledger_book import TOPIC
from energy.notes import PAGE, every
from twin.ports import Records

Reach = tuple[float, float]  # how far 80 % intervals go below and above what is likely


@dataclass(frozen=True, slots=True)
class Sum:
    """Of ``count`` runs of jobs (one that was paused has several): what moving changed (the signal times kWh, negative saved),
    how far the 80 % intervals of each day's runs reach together, by the day's begin, and when the newest was booked."""

    count: int = 0
    change: float = 0.0
    days: Mapping[datetime, Reach] = field(default_factory=dict)
    time: datetime | None = None

    @property
    def low(self) -> float:
        """Lower end of the 80 % interval."""
        return self.change - math.hypot(*(below for below, _ in self.days.values()))

    @property
    def high(self) -> float:
        """Upper end of the 80 % interval."""
        return self.change + math.hypot(*(above for _, above in self.days.values()))

    def plus(self, other: "Sum") -> "Sum":
        """Both together."""
        times = [time for time in (self.time, other.time) if time is not None]
        days = dict(self.days)
        for day, (below, above) in other.days.items():
            here = days.get(day, (0.0, 0.0))
            days[day] = (here[0] + below, here[1] + above)
        return Sum(self.count + other.count, self.change + other.change, days, max(times, default=None))


@dataclass(frozen=True, slots=True)
class Moved:
    """The books of a span: what moving changed, by signal; ``unseen``: moved jobs that nobody saw end, which have no figure."""

    by_signal: Mapping[str, Sum]
    unseen: int


def moved(records: Records, start: datetime, end: datetime) -> Moved:
    """What was booked in ``[start, end)``."""
    sums: dict[tuple[str, datetime], Sum] = {}
    unseen = 0
    for time, record in chain.from_iterable(every(records, topic, start) for topic in (PLANS, TOPIC)):
        if time < end and record["entry"] == "job":
            key = (record["signal"], _day(time))
            sums[key] = sums.get(key, Sum()).plus(_of(record, time))
        unseen += time < end and record["entry"] == "unseen"
    found: dict[str, Sum] = {}
    for (signal, _), one in sums.items():
        found[signal] = found.get(signal, Sum()).plus(one)
    return Moved(found, unseen)


class Running:
    """What the jobs of each plan brought in the last days: each entry is read once, and kept as a part of its day's sum."""

    def __init__(self, days: int) -> None:
        self._days = timedelta(days=days)
        self._after: dict[str, int] = {}
        self._sums: dict[datetime, dict[tuple[str, str], Sum]] = {}  # by day, plan and signal

    def read(self, records: Records, now: datetime) -> Mapping[tuple[str, str], Sum]:
        """By plan and signal, of the days that began since ``now`` less the days asked for."""
        since = now - self._days
        for time, record in self._news(records, since):
            if record["entry"] == "job":
                day = self._sums.setdefault(_day(time), {})
                key = (str(record["plan"]), str(record["signal"]))
                day[key] = day.get(key, Sum()).plus(_of(record, time))
        self._sums = {day: sums for day, sums in self._sums.items() if day >= since}
        found: dict[tuple[str, str], Sum] = {}
        for sums in self._sums.values():
            for key, one in sums.items():
                found[key] = found.get(key, Sum()).plus(one)
        return found

    def _news(self, records: Records, since: datetime) -> Iterable[tuple[datetime, dict[str, Any]]]:
        for topic in (PLANS, TOPIC):  # in a release before this one they stood among the plans
            full = True
            while full:
                page = records.read(topic, since, limit=PAGE, after=self._after.get(topic, 0))
                full = len(page) == PAGE
                for number, time, record in page:
                    self._after[topic] = number
                    yield time, record


def _day(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _of(record: Mapping[str, Any], time: datetime) -> Sum:
    change, low, high = (float(record[name]) for name in ("change", "low", "high"))
    return Sum(1, change, {_day(time): (change - low, high - change)}, time)
