"""What a grid asks of a centre: to draw less for a while, with notice. Whoever brings the request, it looks like this."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

MAX_INTERVALS = 288  # of one request: a day in steps of five minutes


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``begin_s`` to ``end_s`` (s since 1970 UTC; an end of infinity: until replaced) the centre is to draw at most
    ``limit_w``, or ``cut_w`` less than its baseline; the one that is not asked is NaN."""

    begin_s: float
    end_s: float
    limit_w: float = math.nan
    cut_w: float = math.nan

    def __post_init__(self) -> None:
        if not self.end_s > self.begin_s:
            raise ValueError(f"an interval from {self.begin_s:.0f} to {self.end_s:.0f} is empty")
        if math.isnan(self.limit_w) == math.isnan(self.cut_w):
            raise ValueError("an interval asks either for a limit or for a cut")
        if self.limit_w < 0 or self.cut_w < 0:
            raise ValueError("a limit or a cut is below 0 W")
        if math.isinf(self.limit_w) or math.isinf(self.cut_w) or math.isinf(self.begin_s):
            raise ValueError("a limit, a cut or a begin without end asks for nothing; write a number")

    def target_w(self, baseline_w: float) -> float:
        """The most that the centre may draw [W] where it would have drawn ``baseline_w``."""
        return self.limit_w if math.isnan(self.cut_w) else max(baseline_w - self.cut_w, 0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """``key``: the asker's own id; ``received_s``: when it was known; ``intervals``: in order, not overlapping;
    ``best_effort``: less than asked is welcome where nothing may be paused; ``feeds``: which feeds (none: the centre)."""

    key: str
    received_s: float
    intervals: tuple[Interval, ...]
    best_effort: bool = False
    feeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.intervals) <= MAX_INTERVALS:
            raise ValueError(f"request {self.key!r} has {len(self.intervals)} intervals; 1 to {MAX_INTERVALS} are taken")
        ends = [one.end_s for one in self.intervals[:-1]]
        if any(one.begin_s < end for one, end in zip(self.intervals[1:], ends, strict=True)):
            raise ValueError(f"request {self.key!r} has intervals that overlap or are out of order")

    @property
    def begin_s(self) -> float:
        """When it begins."""
        return self.intervals[0].begin_s

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.intervals[-1].end_s

    @property
    def notice_s(self) -> float:
        """How long before its begin it was known; below 0 where it came late."""
        return self.begin_s - self.received_s


@dataclass(frozen=True, slots=True)
class Asked:
    """All that ``who`` asks from now on; what they asked before and do not name any more is taken back."""

    who: str
    requests: tuple[Request, ...] = ()


class Asker(Protocol):
    """Whatever brings requests from outside: a source."""

    def asked(self) -> Sequence[Asked]:
        """What came since this was last called, the oldest first. Never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class PowerState:
    """How requests are being answered at ``time``. ``power_w``: what the meter shows, ``baseline_w``: what it would show
    without an answer (NaN: not known, or nothing is asked); ``aimed_w``: the most that may be drawn now (infinity: nothing is
    asked now); ``standing``: (who, request) of all that are not over."""

    time: datetime
    power_w: float
    baseline_w: float
    aimed_w: float
    standing: tuple[tuple[str, Request], ...] = ()

    def of(self, asker: str) -> tuple[Request, ...]:
        """The requests that the source called ``asker`` brought."""
        return tuple(one for who, one in self.standing if who == asker or who.startswith(f"{asker}/"))


@runtime_checkable
class Informed(Protocol):
    """An asker that wants to hear how its requests are answered."""

    def inform(self, state: PowerState) -> None:
        """Take the newest state; who asked is told with the next poll. Never blocks."""
        ...
