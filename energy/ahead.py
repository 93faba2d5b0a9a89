"""A grid signal as a lever sees it: its past, what is foreseen from now on, and how such foresight came true before.

The forecast and its error are made the same way: ``analytics.signal``, and for the next 24 hours of a price
``analytics.dayahead``, foresee each of the last weeks' slots from what was known then. So what waiting would have gained is
known beside what it was expected to gain, for any shape of work. Where the signal's own service tells what comes, that counts
before our own forecast, in the same way: for each past slot the word that was available at its begin. A service that falls
silent is believed for a day by its last word, then our own forecast speaks, from values as old as the last one is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from scipy.special import stdtrit

from analytics.dayahead import Calendar, rolling
from analytics.signal import MAX_HORIZON_DAYS, hindcast
from analytics.told import FRESH_S, Words, table
from twin.frame import Floats
from twin.site import Bools

SHADOW_DAYS, LEAST_SHADOWS = 28, 7
LONGEST_GAP = 3  # missing slots in a row that are bridged
LONGEST_SILENCE_DAYS = 1.0  # since the last value: after that nothing is foreseen
Z80 = 1.2816  # half-width of a normal's 80 % interval in standard deviations
DAY_S = 86_400.0


class Basis(StrEnum):
    """Whose forecast it is."""

    TOLD = "told"  # of the signal's own service, which speaks
    LATE = "late"  # its last one: it has fallen silent
    OWN = "own"  # ours, from the signal's past


@dataclass(frozen=True, slots=True, eq=False)
class SignalAhead:
    """``metric``: of the grid; ``step_s``: length of a slot; ``begin_s``: when the slot began that now lies in (s since 1970);
    ``day``: slots in the signal's period of a day; ``past``: float64[n], the slots before; ``foreseen``: float64[m+1, h], at
    the begin of each of the last m slots and of the present one (the last row) what it and the next were expected to be.
    ``unheard``: how many of the last slots of ``past`` nobody has told yet (they hold the last value, and judge nothing);
    ``told``: bool[h], which slots ahead the service itself has foreseen; ``told_s``: when its word came (NaN: none)."""

    metric: str
    step_s: float
    begin_s: float
    day: int
    past: Floats
    foreseen: Floats
    unheard: int = 0
    told: Bools | None = None
    told_s: float = float("nan")
    _errors: dict[tuple[int, int, int], Floats] = field(default_factory=dict, repr=False)

    def basis(self, slots: int) -> Basis:
        """Whose forecast most of the next ``slots`` are."""
        if self.told is None or not slots or self.told[:slots].mean() <= 0.5:
            return Basis.OWN
        return Basis.TOLD if self.begin_s + self.step_s - self.told_s <= FRESH_S + self.step_s else Basis.LATE

    @property
    def ahead(self) -> Floats:
        """float64[h]: what is expected of the present slot and those after it."""
        last: Floats = self.foreseen[-1]
        return last

    def gain(self, start: int, length: int, usual: int = 0) -> tuple[float, float, float]:
        """What running in the ``length`` slots from ``start`` on, rather than from ``usual`` on, is expected to save of the
        signal's mean over them (in its unit, positive saves), with its 80 % interval; (0, 0, 0) where too little is known.

        The expectation is corrected by, and the interval is the spread of, the errors of the same move in the last weeks."""
        here = self.ahead
        if max(start, usual) + length > len(here):
            return 0.0, 0.0, 0.0
        expected = float(here[usual : usual + length].mean() - here[start : start + length].mean())
        errors = self._errors_of(start, length, usual)
        if len(errors) < LEAST_SHADOWS:
            return 0.0, 0.0, 0.0
        likely, half = expected + float(errors.mean()), half_width(errors)
        return likely, likely - half, likely + half

    def _errors_of(self, start: int, length: int, usual: int) -> Floats:
        """float64[k]: what the same move gained more than expected, at each of the last slots at this hour of the day whose
        outcome is known."""
        key = (start, length, usual)
        if key not in self._errors:
            back = self.back(max(start, usual) + length)
            errors = self.misses(usual, length, back) - self.misses(start, length, back)
            self._errors[key] = errors[np.isfinite(errors)]
        return self._errors[key]

    def back(self, last: int) -> int:
        """How many slots ago, a whole number of days, all ``last`` slots from then on are known by now."""
        return self.day * -(-(last + self.unheard) // self.day)

    def misses(self, first: int, length: int, back: int) -> Floats:
        """float64[SHADOW_DAYS]: how much more the mean over the ``length`` slots from ``first`` on came to than was expected,
        at this hour of the days from ``back`` slots ago on, the newest first; NaN where that is not known."""
        n, m, found = len(self.past), len(self.foreseen) - 1, np.full(SHADOW_DAYS, np.nan)
        at = np.arange(n - back, max(n - m, 0) - 1, -self.day)[:SHADOW_DAYS]
        if first + length <= self.foreseen.shape[1] and len(at):
            came = self.past[at[:, None] + first + np.arange(length)].mean(axis=1)
            found[: len(at)] = came - self.foreseen[at - (n - m), first : first + length].mean(axis=1)
        return found


def signal_ahead(
    metric: str,
    time_s: Floats,
    values: Floats,
    step_s: float,
    now: datetime,
    horizon: int,
    day_s: float = DAY_S,
    words: Words | None = None,
    year: Callable[[Floats], Calendar] | None = None,
) -> SignalAhead | None:
    """What is foreseen from ``now`` for ``horizon`` slots, from float64[n] of the slots before (starts ``time_s``, NaN where
    nothing was read) and from what its service told (``words``); None where there was no value for a day, or there is not even
    a day of them. ``day_s``: the length of the signal's day, shorter where a day is replayed faster than it was. ``year``: of a
    price, what days its market sees at these times (s since 1970)."""
    day = max(round(day_s / step_s), 1)
    horizon = min(horizon, MAX_HORIZON_DAYS * day)
    begin_s = now.timestamp() // step_s * step_s
    whole, unheard = _regular(time_s, values, step_s, begin_s, day)
    if len(whole) - unheard < day:
        return None
    first = max(len(whole) - (SHADOW_DAYS * day + horizon), 0)
    # the last value stands for the slots of which none is told, and the one that has just begun: nothing foreseen looks at them
    foreseen = hindcast(np.append(whole, whole[-1]), day, horizon, first=first, delay=unheard)[first:].astype(np.float64)
    if year is not None and not unheard:  # the last hours of a market's day say much of the next: where none is missing
        middles = begin_s + step_s * (np.arange(-len(whole), 1) + day / 2)
        own = rolling(whole, year(np.asarray(middles, dtype=np.float64)), day, first)[:, :horizon]
        reach = own.shape[1]
        foreseen[:, :reach] = np.where(np.isfinite(own), own, foreseen[:, :reach])
    made = SignalAhead(metric, step_s, begin_s, day, whole, foreseen, unheard)
    return made if words is None or not len(words) else _with_words(made, words)


def _with_words(own: SignalAhead, words: Words) -> SignalAhead:
    """The same with what its service told in place of our own forecast, unless that came true worse."""
    m, horizon = len(own.foreseen) - 1, own.foreseen.shape[1]
    begin_s: Floats = own.begin_s + own.step_s * np.arange(-m, 1, dtype=np.float64)
    told = table(words, begin_s, own.step_s, horizon)
    known = np.isfinite(told)
    if not known.any() or _worse(own, told):
        return own
    newest = words.newest(own.begin_s)
    return SignalAhead(
        own.metric, own.step_s, own.begin_s, own.day, own.past, np.where(known, told, own.foreseen), own.unheard, known[-1],
        float("nan") if newest is None else newest.available_s,
    )  # fmt: skip


def _worse(own: SignalAhead, told: Floats) -> bool:
    """Whether what was told missed by more than our own forecasts, over the last weeks' slots that are known by now; not judged
    before ``LEAST_SHADOWS`` days of them."""
    m, horizon = len(own.foreseen) - 1, own.foreseen.shape[1]
    heard = len(own.past) - own.unheard
    at = len(own.past) - m + np.arange(m)[:, None] + np.arange(horizon)
    came = np.where(at < heard, own.past[np.minimum(at, len(own.past) - 1)], np.nan)
    misses = [np.abs(said - came) for said in (told[:-1], own.foreseen[:-1])]
    both = np.isfinite(misses[0]) & np.isfinite(misses[1])
    days = np.count_nonzero(both.any(axis=1)) / own.day
    return bool(days >= LEAST_SHADOWS and misses[0][both].mean() > misses[1][both].mean())


def _regular(time_s: Floats, values: Floats, step_s: float, begin_s: float, day: int) -> tuple[Floats, int]:
    """The values of the slots before ``begin_s`` without a gap: from behind the last gap that is too long to be bridged; and
    how many of the last ones nobody told (they hold the last value)."""
    known = ~np.isnan(values) & (time_s < begin_s - 0.5 * step_s)
    if not known.any():
        return np.empty(0), 0
    at = np.rint((time_s[known] - begin_s) / step_s).astype(np.int64)
    held = values[known]
    unheard = -1 - int(at[-1])
    if unheard > LONGEST_SILENCE_DAYS * day:
        return np.empty(0), 0
    breaks = np.flatnonzero(np.diff(at) > LONGEST_GAP + 1)
    if len(breaks):
        at, held = at[breaks[-1] + 1 :], held[breaks[-1] + 1 :]
    return np.interp(np.arange(at[0], 0), at, held), unheard


def half_width(values: Floats) -> float:
    """Of the 80 % interval of what comes next, from float64[n > 1] of what came before: Student's t, as mean and spread are
    known from so few alone (Hahn and Meeker, Statistical Intervals, 1991, chapter 4)."""
    n = len(values)
    return float(stdtrit(n - 1, 0.9) * values.std(ddof=1) * np.sqrt(1 + 1 / n))


def slot_time(signal: SignalAhead, slot: int) -> datetime:
    """When a slot, counted from the present one, begins."""
    return datetime.fromtimestamp(signal.begin_s + slot * signal.step_s, UTC)
