"""A grid signal as a lever sees it: its past, what is foreseen from now on, and how such foresight came true before.

The forecast and its error are made the same way: ``analytics.signal`` foresees each of the last weeks' slots from what was
known then. So what waiting would have gained is known beside what it was expected to gain, for any shape of work.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from analytics.signal import MAX_HORIZON_DAYS, hindcast
from twin.frame import Floats

SHADOW_DAYS, LEAST_SHADOWS = 28, 7
LONGEST_GAP = 3  # missing slots in a row that are bridged
Z80 = 1.2816  # half-width of a normal's 80 % interval in standard deviations
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class SignalAhead:
    """``metric``: of the grid; ``step_s``: length of a slot; ``begin_s``: when the slot began that now lies in (s since 1970);
    ``day``: slots in the signal's period of a day; ``past``: float64[n], the slots before; ``foreseen``: float64[m+1, h], at
    the begin of each of the last m slots and of the present one (the last row) what it and the next were expected to be."""

    metric: str
    step_s: float
    begin_s: float
    day: int
    past: Floats
    foreseen: Floats
    _errors: dict[tuple[int, int, int], Floats] = field(default_factory=dict, repr=False)

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
        likely, half = expected + float(errors.mean()), Z80 * float(errors.std(ddof=1))
        return likely, likely - half, likely + half

    def _errors_of(self, start: int, length: int, usual: int) -> Floats:
        """float64[k]: what the same move gained more than expected, at each of the last slots at this hour of the day whose
        outcome is known."""
        key = (start, length, usual)
        if key not in self._errors:
            n, m, last = len(self.past), len(self.foreseen) - 1, max(start, usual) + length
            at = np.arange(n - self.day * -(-last // self.day), max(n - m, 0) - 1, -self.day)[:SHADOW_DAYS]
            seen = self.foreseen[at - (n - m)]
            known = ~np.isnan(seen[:, :last]).any(axis=1) if last <= seen.shape[1] else np.zeros(len(at), dtype=np.bool_)
            at, seen = at[known], seen[known]
            slots = np.arange(length)
            came = self.past[at[:, None] + usual + slots].mean(axis=1) - self.past[at[:, None] + start + slots].mean(axis=1)
            expected = seen[:, usual : usual + length].mean(axis=1) - seen[:, start : start + length].mean(axis=1)
            self._errors[key] = came - expected
        return self._errors[key]


def signal_ahead(
    metric: str, time_s: Floats, values: Floats, step_s: float, now: datetime, horizon: int, day_s: float = DAY_S
) -> SignalAhead | None:
    """What is foreseen from ``now`` for ``horizon`` slots, from float64[n] of the slots before (starts ``time_s``, NaN where
    nothing was read); None where the last day misses more than is bridged, or there is not even a day. ``day_s``: the length of
    the signal's day, shorter where a day is replayed faster than it was."""
    day = max(round(day_s / step_s), 1)
    horizon = min(horizon, MAX_HORIZON_DAYS * day)
    begin_s = now.timestamp() // step_s * step_s
    whole = _regular(time_s, values, step_s, begin_s)
    if len(whole) < day:
        return None
    first = max(len(whole) - (SHADOW_DAYS * day + horizon), 0)
    # the last value stands for the slot that has just begun: nothing that is foreseen looks at it
    foreseen = hindcast(np.append(whole, whole[-1]), day, horizon, first=first)[first:]
    return SignalAhead(metric, step_s, begin_s, day, whole, foreseen.astype(np.float64))


def _regular(time_s: Floats, values: Floats, step_s: float, begin_s: float) -> Floats:
    """The values of the slots before ``begin_s`` without a gap: from behind the last gap that is too long to be bridged."""
    known = ~np.isnan(values) & (time_s < begin_s - 0.5 * step_s)
    if not known.any():
        return np.empty(0)
    at = np.rint((time_s[known] - begin_s) / step_s).astype(np.int64)
    held = values[known]
    if at[-1] < -1 - LONGEST_GAP:
        return np.empty(0)
    breaks = np.flatnonzero(np.diff(at) > LONGEST_GAP + 1)
    if len(breaks):
        at, held = at[breaks[-1] + 1 :], held[breaks[-1] + 1 :]
    return np.interp(np.arange(at[0], 0), at, held)


def slot_time(signal: SignalAhead, slot: int) -> datetime:
    """When a slot, counted from the present one, begins."""
    return datetime.fromtimestamp(signal.begin_s + slot * signal.step_s, UTC)
