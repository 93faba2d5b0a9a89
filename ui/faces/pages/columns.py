"""What pages work out of columns, once a beat: figures over all assets of a kind, histograms, the worst and the best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from twin.frame import Floats, Ints, Origin, Quality
from twin.metrics import metric, suffix
from twin.site import Site
from twin.state import State
from ui.reading import Reading, nothing
from ui.view import Live, View

Figure = Callable[[Floats], float]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One metric over all assets of a kind: ``value`` float64[n], measured where fresh, else modelled, NaN where neither is;
    ``age_s`` of the newest reading of any (infinite: never read); ``origin`` of most of what is fresh."""

    kind: str
    name: str
    value: Floats
    age_s: float
    origin: Origin

    @property
    def fresh(self) -> bool:
        """Something of it is current."""
        return bool(np.isfinite(self.value).any())

    @property
    def max_age_s(self) -> float:
        """From which age a value is stale."""
        return metric(self.kind, self.name).max_age_s

    def figure(self, how: Figure = np.mean) -> Reading:
        """One number over what is fresh; where nothing is, none, with the age of the last."""
        seen = self.value[np.isfinite(self.value)]
        if not len(seen):
            return nothing(suffix(self.name), self.origin)
        return Reading(float(how(seen)), suffix(self.name), max(self.age_s, 0.0), True, self.origin, Quality.GOOD)

    def at(self, row: int) -> Reading:
        """The value of one asset."""
        value = float(self.value[row])
        if not np.isfinite(value):
            return nothing(suffix(self.name), self.origin)
        return Reading(value, suffix(self.name), max(self.age_s, 0.0), True, self.origin, Quality.GOOD)


def column(state: State, kind: str, name: str, now: datetime) -> Columns:
    """``name`` of all assets of ``kind``, measured before modelled."""
    measured = state.column(kind, name, now)
    value, origin = measured, Origin.MEASURED
    gap = np.isnan(measured)
    if gap.any():
        modelled = state.column(kind, name, now, Origin.MODELLED)
        filled = gap & ~np.isnan(modelled)
        if filled.any():
            value = np.where(gap, modelled, measured)
            origin = Origin.MODELLED if filled.sum() > (~gap).sum() else origin
    newest = state.newest(kind, name, origin).time_s
    age_s = now.timestamp() - float(newest.max()) if len(newest) else np.inf
    return Columns(kind, name, value, age_s, origin)


def columns(state: State, kind: str, names: Sequence[str], now: datetime) -> dict[str, Columns]:
    """Several metrics of one kind, by name."""
    return {name: column(state, kind, name, now) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One look at a part of the centre: ``of`` kind and metric, as ``columns`` has them."""

    now: datetime
    site: Site
    of: dict[str, dict[str, Columns]]
    view: View


def look_at(metrics: Mapping[str, Sequence[str]]) -> Callable[[View, Live], Look]:
    """What gathers ``metrics``, names by kind, for a page."""

    def gather(view: View, live: Live) -> Look:
        made = {kind: columns(live.state, kind, names, view.time) for kind, names in metrics.items()}
        return Look(view.time, live.site, made, view)

    return gather


def histogram(values: Floats, low: float, high: float, bins: int) -> tuple[list[int], list[float]]:
    """Counts and ``bins + 1`` edges; what lies outside is counted in the outermost bins, NaN nowhere."""
    seen = np.clip(values[np.isfinite(values)], low, high)
    counts, edges = np.histogram(seen, bins=bins, range=(low, high))
    return counts.tolist(), [round(float(edge), 6) for edge in edges]


def worst(values: Floats, most: int, *, largest: bool = True) -> Ints:
    """int32[m]: rows of the ``most`` largest (or smallest) values that are known, in that order."""
    known = np.flatnonzero(np.isfinite(values))
    order = np.argsort(-values[known] if largest else values[known], kind="stable")
    return known[order[:most]].astype(np.int32)


def mean_by(values: Floats, group: Ints, n: int) -> Floats:
    """float64[n]: mean of the known ``values`` of each group (-1: none), NaN where it has none."""
    take = (group >= 0) & np.isfinite(values)
    count = np.bincount(group[take], minlength=n)
    total = np.bincount(group[take], weights=values[take], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class Rates:
    """What counters grew between beats: the sum over assets in each of the last ``minutes``, and for each asset.

    A counter that falls was reset and counts from nothing. It remembers only while somebody looks, and says since when.
    """

    def __init__(self, minutes: int = 60) -> None:
        self.minutes = minutes
        self._last: dict[tuple[str, str], Floats] = {}
        self._sums: dict[tuple[str, str], dict[int, float]] = {}
        self._grown: dict[tuple[str, str], Floats] = {}
        self.since: datetime | None = None

    def see(self, state: State, kind: str, name: str, now: datetime) -> None:
        """Take in the newest counts."""
        self.since = self.since or now
        key, minute = (kind, name), int(now.timestamp() // 60)
        value = state.column(kind, name, now)
        last = self._last.get(key)
        if last is None or len(last) != len(value):
            self._last[key], self._sums[key], self._grown[key] = value, {}, np.zeros(len(value))
            return
        grown = np.where(value >= last, value - last, value)
        grown = np.where(np.isfinite(grown), grown, 0.0)
        self._last[key] = np.where(np.isfinite(value), value, last)
        self._grown[key] += grown
        sums = self._sums[key]
        sums[minute] = sums.get(minute, 0.0) + float(grown.sum())
        for old in [m for m in sums if m <= minute - self.minutes]:
            del sums[old]

    def strip(self, kind: str, name: str, now: datetime) -> list[float]:
        """Growth in each of the last ``minutes``, oldest first."""
        minute, sums = int(now.timestamp() // 60), self._sums.get((kind, name), {})
        return [sums.get(m, 0.0) for m in range(minute - self.minutes + 1, minute + 1)]

    def grown(self, kind: str, name: str) -> Floats:
        """float64[n]: growth of each asset since somebody looks."""
        return self._grown.get((kind, name), np.empty(0))
