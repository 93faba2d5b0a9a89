"""What a rule judges: a value, a counter's growth, a gauge's change, a ratio, a residual, what is foreseen, a share of others.

Each is worked out once a step for all rules that look at it, and its lowest and highest value with it: most rules are far from
their limit, and one comparison then stands for ten thousand.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.rule import Join, Of, Rule
from analytics.tracks import FIRING, Increase, Past, Track
from twin.frame import Floats, Ints, Origin
from twin.site import Bools, Site
from twin.state import State

BINS = 12  # parts of a window: it is true to one part
FORECAST_MAX_AGE_S = 2 * 3600.0  # for faces too: as for the weather and grid readings that a forecast rests on
_Z90 = NormalDist().inv_cdf(0.9)
Memory = Increase | Past | None


class Foreseen(Protocol):
    """A forecast of one asset's metric; see ``analytics.forecast.Forecast``."""

    @property
    def kind(self) -> str: ...  # noqa: D102 - as there
    @property
    def row(self) -> int: ...  # noqa: D102
    @property
    def metric(self) -> str: ...  # noqa: D102
    @property
    def issued(self) -> datetime: ...  # noqa: D102
    @property
    def time_s(self) -> Floats: ...  # noqa: D102
    @property
    def p10(self) -> Floats: ...  # noqa: D102
    @property
    def p50(self) -> Floats: ...  # noqa: D102
    @property
    def p90(self) -> Floats: ...  # noqa: D102


class Look:
    """What one step sees at ``now``."""

    def __init__(self, site: Site, state: State, now: datetime, outlooks: Sequence[Foreseen] = ()) -> None:
        self.site, self.now, self.now_s = site, now, now.timestamp()
        self._state, self._outlooks = state, outlooks
        self._made: dict[tuple[object, ...], tuple[Floats, Memory]] = {}
        self._bounds: dict[int, tuple[Floats, float, float]] = {}  # by id; the array is kept so that the id stays its own

    def judged(self, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
        """float64[n] what ``rule`` judges, NaN where that is not known, and what to remember for the next step."""
        key: tuple[object, ...] = (
            rule.of,
            rule.kind,
            rule.metric,
            rule.origin,
            rule.over,
            rule.window_s,
            rule.relative_to,
            id(memory),
        )
        if rule.of is Of.FORECAST:
            key = (*key, rule.horizon_s, rule.probability_frac, rule.rising)
        if key not in self._made:
            self._made[key] = _MAKERS[rule.of](self, rule, memory)
        return self._made[key]

    def column(self, kind: str, metric: str, origin: Origin) -> Floats:
        """float64[n]: newest values, NaN where stale."""
        key = ("column", kind, metric, origin)
        if key not in self._made:
            self._made[key] = self._state.column(kind, metric, self.now, origin), None
        return self._made[key][0]

    def age_s(self, rule: Rule) -> Floats:
        """float64[n]: age of the newest value in s, inf where there never was one."""
        key = ("age_s", rule.kind, rule.metric, rule.origin)
        if key not in self._made:
            self._made[key] = self._state.age_s(rule.kind, rule.metric, self.now, rule.origin), None
        return self._made[key][0]

    def bounds(self, column: Floats) -> tuple[float, float]:
        """Lowest and highest value of ``column`` that is a finite number; inf and -inf where none is."""
        found = self._bounds.get(id(column))
        if found is None:
            finite = column[np.isfinite(column)]
            low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.inf, -np.inf)
            found = self._bounds[id(column)] = (column, low, high)
        return found[1:]

    def foreseen(self, rule: Rule) -> Floats:
        """float64[n]: what ``rule``'s metric will have reached at some time within its horizon with at least its probability.

        Each step's quantile is taken of a normal distribution with one width below and one above the median, from p10, p50 and
        p90 (split normal; Wallis, Statistical Science 29(1), 2014, equation 1).
        """
        reached = np.full(self.site.count(rule.kind), np.nan)
        z = NormalDist().inv_cdf(1 - rule.probability_frac if rule.rising else rule.probability_frac)
        for one in sorted(self._outlooks, key=lambda outlook: outlook.issued):
            if (one.kind, one.metric) != (rule.kind, rule.metric) or one.row >= len(reached):
                continue
            ahead = (one.time_s >= self.now_s) & (one.time_s < self.now_s + rule.horizon_s)
            if (self.now - one.issued).total_seconds() > FORECAST_MAX_AGE_S or not ahead.any():
                continue
            width = (one.p50 - one.p10 if z < 0 else one.p90 - one.p50) / _Z90
            quantile = (one.p50 + z * width)[ahead]
            reached[one.row] = np.fmax.reduce(quantile) if rule.rising else np.fmin.reduce(quantile)
        return reached


def joined(rule: Rule, parts: Sequence[tuple[Rule, Track]], site: Site) -> Floats:
    """float64[n]: of how many parts (``share_of``: of which share of what it contains) there is an alert, for each asset."""
    n = site.count(rule.kind)
    if rule.join is Join.SHARE:
        part, track = parts[0]
        into = site.within(part.kind, rule.kind) if part.kind != rule.kind else site.all_rows(rule.kind)
        inside = (into >= 0) & track.meant
        total = np.bincount(into[inside], minlength=n)
        hit = np.bincount(into[inside & (track.phase == FIRING)], minlength=n)
        return np.where(total > 0, hit / np.maximum(total, 1), np.nan)
    count = np.zeros(n)
    for part, track in parts:
        count += _seen_from(rule.kind, part.kind, track.phase == FIRING, site)
    return count


def _seen_from(kind: str, part_kind: str, fires: Bools, site: Site) -> Bools:
    """bool[n]: for which assets of ``kind`` it fires: for them, for something in them, or for what contains them."""
    if kind == part_kind:
        return fires
    found = np.zeros(site.count(kind), dtype=np.bool_)
    into: Ints = site.within(part_kind, kind)
    found[into[(into >= 0) & fires]] = True
    holder: Ints = site.within(kind, part_kind)
    inside = holder >= 0
    found[inside] |= fires[holder[inside]]
    return found


def _value(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    return look.column(rule.kind, rule.metric, rule.origin), memory


def _size(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    return np.abs(look.column(rule.kind, rule.metric, rule.origin)), memory


def _increase(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    assert isinstance(memory, Increase)  # noqa: S101 - as Fresh made it
    kept, total = grown(memory, look.column(rule.kind, rule.metric, rule.origin), rule.window_s, look.now_s)
    return (total / rule.window_s if rule.of is Of.RATE else total), kept


def _change(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    """The value now less the oldest of the window, once there is one from its first two parts. Of a part counts what was first
    read in it; what a clock that was set back puts ahead is forgotten."""
    assert isinstance(memory, Past)  # noqa: S101 - as Fresh made it
    value = look.column(rule.kind, rule.metric, rule.origin)
    part = int(look.now_s // (rule.window_s / BINS))
    keep = (memory.part >= part - BINS) & (memory.part <= part)
    parts, values = memory.part[keep], memory.value[keep]
    if not len(parts) or parts[-1] < part:
        parts, values = np.append(parts, part), np.vstack([values, value])
    elif (late := np.isnan(values[-1]) & ~np.isnan(value)).any():
        values[-1, late] = value[late]
    old = values[0] if parts[0] <= part - BINS + 2 else np.full(len(value), np.nan)
    return value - old, Past(parts, values)


def _ratio(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    over = look.column(rule.kind, rule.over, rule.origin)
    return look.column(rule.kind, rule.metric, rule.origin) / np.where(over != 0, over, np.nan), memory


def _difference(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    less = look.column(rule.kind, rule.over, rule.origin)
    return look.column(rule.kind, rule.metric, rule.origin) - less, memory


def _residual(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    expected = look.column(rule.kind, rule.metric, Origin.MODELLED)
    left = look.column(rule.kind, rule.metric, Origin.MEASURED) - expected
    return (left / np.where(expected != 0, np.abs(expected), np.nan) if rule.relative_to else left), memory


def _forecast(look: Look, rule: Rule, memory: Memory) -> tuple[Floats, Memory]:
    return look.foreseen(rule), memory


_MAKERS: Mapping[Of, Callable[[Look, Rule, Memory], tuple[Floats, Memory]]] = {
    Of.VALUE: _value,
    Of.SIZE: _size,
    Of.INCREASE: _increase,
    Of.RATE: _increase,
    Of.CHANGE: _change,
    Of.RATIO: _ratio,
    Of.DIFFERENCE: _difference,
    Of.RESIDUAL: _residual,
    Of.FORECAST: _forecast,
}


def grown(was: Increase, count: Floats, window_s: float, now_s: float) -> tuple[Increase, Floats]:
    """The increase over the window (float64[n], NaN where the counter is stale) and what to remember of it.

    A counter that went down has been restarted: what it shows now has grown since. The first count seen is no increase. What a
    clock that was set back puts ahead has grown now.
    """
    n = len(count)
    part_s = window_s / BINS
    part = int(now_s // part_s)
    key, by = was.key, was.grown
    if len(key) and key[0] < (part - BINS) * n:
        keep = key >= (part - BINS) * n
        key, by = key[keep], by[keep]
    if len(key) and key[-1] >= (part + 1) * n:
        key, by = _added(key[:0], by[:0], np.where(key >= (part + 1) * n, part * n + key % n, key), by)
    fresh = ~np.isnan(count)
    if not np.array_equal(count, was.last, equal_nan=True):
        change = np.where(count >= was.last, count - was.last, count)
        changed = np.flatnonzero(fresh & ~np.isnan(was.last) & (change > 0))
        if len(changed):
            key, by = _added(key, by, part * n + changed, change[changed])
        was = Increase(np.where(fresh, count, was.last), key, by)
    elif key is not was.key:
        was = Increase(was.last, key, by)
    total: Floats = np.zeros(n) if not len(key) else np.bincount(key % n, weights=by, minlength=n).astype(np.float64)
    return was, np.where(fresh, total, np.nan)


def _added(key: NDArray[np.int64], by: Floats, at: NDArray[np.int64], more: Floats) -> tuple[NDArray[np.int64], Floats]:
    keys, inverse = np.unique(np.concatenate([key, at]), return_inverse=True)
    return keys, np.bincount(inverse, weights=np.concatenate([by, more])).astype(np.float64)
