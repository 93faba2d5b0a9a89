"""What the books of shifted work add up to, of a span or of the last days, whichever way each job went.

Errors of different jobs are taken as independent (added in quadrature). A job counts in the span in which it was booked: what
was told of a span that is over does not change.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from energy.ledger import TOPIC as PLANS
from energy.ledger_book import TOPIC
from energy.notes import PAGE, every
from twin.ports import Records


@dataclass(frozen=True, slots=True)
class Sum:
    """Of ``count`` runs of jobs (one that was paused has several): what moving changed (the signal times kWh, negative saved),
    the squares of how far the 80 % intervals reach below and above, and when the newest was booked."""

    count: int = 0
    change: float = 0.0
    below2: float = 0.0
    above2: float = 0.0
    time: datetime | None = None

    @property
    def low(self) -> float:
        """Lower end of the 80 % interval."""
        return self.change - math.sqrt(self.below2)

    @property
    def high(self) -> float:
        """Upper end of the 80 % interval."""
        return self.change + math.sqrt(self.above2)

    def plus(self, other: "Sum") -> "Sum":
        """Both together."""
        times = [time for time in (self.time, other.time) if time is not None]
        return Sum(
            self.count + other.count, self.change + other.change, self.below2 + other.below2, self.above2 + other.above2,
            max(times, default=None),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moved:
    """The books of a span: what moving changed, by signal; ``unseen``: moved jobs that nobody saw end, which have no figure."""

    by_signal: Mapping[str, Sum]
    unseen: int


def moved(records: Records, start: datetime, end: datetime) -> Moved:
    """What was booked in ``[start, end)``."""
    found: dict[str, Sum] = {}
    unseen = 0
    for time, record in chain.from_iterable(every(records, topic, start) for topic in (PLANS, TOPIC)):
        if time < end and record["entry"] == "job":
            found[record["signal"]] = found.get(record["signal"], Sum()).plus(_of(record, time))
        unseen += time < end and record["entry"] == "unseen"
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
                day = self._sums.setdefault(time.replace(hour=0, minute=0, second=0, microsecond=0), {})
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


def _of(record: Mapping[str, Any], time: datetime) -> Sum:
    change, low, high = (float(record[name]) for name in ("change", "low", "high"))
    return Sum(1, change, (change - low) ** 2, (high - change) ** 2, time)
