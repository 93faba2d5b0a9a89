"""What pages work out of columns, once a beat: figures over all assets of a kind, histograms, the worst and the best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from twin.frame import Bytes, Floats, Ints, Origin, Quality
from twin.metrics import metric, suffix
from twin.site import Bools, Site
from twin.state import State
from ui.reading import Reading, nothing
from ui.view import Live, View

Figure = Callable[[Floats], float]
GAP_S = 120.0  # between two looks, from which a counter's growth belongs to no minute


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One metric over all assets of a kind: ``value`` float64[n], measured where fresh, else modelled, NaN where neither is;
    ``time_s`` float64[n] [s since 1970, -inf: never] and ``quality`` uint8[n] of each; ``modelled`` bool[n], where it stands in
    for a meter (None: nowhere); ``now_s``: when it was looked at."""

    kind: str
    name: str
    value: Floats
    time_s: Floats
    quality: Bytes
    modelled: Bools | None
    now_s: float

    @property
    def age_s(self) -> float:
        """Of the newest reading of any [s] (infinite: never read)."""
        return self.now_s - float(self.time_s.max()) if len(self.time_s) else np.inf

    @property
    def origin(self) -> Origin:
        """Of what is shown of all of it: modelled where a part is."""
        return Origin.MEASURED if self.modelled is None else Origin.MODELLED

    @property
    def fresh(self) -> bool:
        """Something of it is current."""
        return bool(np.isfinite(self.value).any())

    @property
    def max_age_s(self) -> float:
        """From which age a value is stale."""
        return metric(self.kind, self.name).max_age_s

    def figure(self, how: Figure = np.mean) -> Reading:
        """One number over what is fresh: as old as the oldest of it, modelled and doubtful where one is; where nothing is
        fresh, none."""
        known = np.isfinite(self.value)
        if not known.any():
            return nothing(suffix(self.name), self.origin)
        age_s = self.now_s - float(self.time_s[known].min())
        quality = Quality(int(self.quality[known].max()))
        return Reading(float(how(self.value[known])), suffix(self.name), max(age_s, 0.0), True, self.origin, quality)

    def only(self, rows: Bools) -> "Columns":
        """The same of ``rows`` (bool[n]) alone: of the others nothing is known."""
        modelled = self.modelled & rows if self.modelled is not None else None
        kept = modelled if modelled is not None and modelled.any() else None
        return replace(self, value=np.where(rows, self.value, np.nan), modelled=kept)

    def at(self, row: int) -> Reading:
        """The value of one asset."""
        value = float(self.value[row])
        origin = Origin.MEASURED if self.modelled is None or not self.modelled[row] else Origin.MODELLED
        if not np.isfinite(value):
            return nothing(suffix(self.name), origin)
        age_s = self.now_s - float(self.time_s[row])
        return Reading(value, suffix(self.name), max(age_s, 0.0), True, origin, Quality(int(self.quality[row])))


def column(state: State, kind: str, name: str, now: datetime) -> Columns:
    """``name`` of all assets of ``kind``, measured before modelled."""
    value, (_, time_s, quality) = state.column(kind, name, now), state.newest(kind, name)
    modelled: Bools | None = None
    gap = np.isnan(value)
    if gap.any():
        other = state.column(kind, name, now, Origin.MODELLED)
        filled = gap & ~np.isnan(other)
        if filled.any():
            _, other_s, grade = state.newest(kind, name, Origin.MODELLED)
            pairs = ((value, other), (time_s, other_s), (quality, grade))
            value, time_s, quality = (np.where(filled, theirs, ours) for ours, theirs in pairs)
            modelled = filled
    return Columns(kind, name, value, time_s, quality, modelled, now.timestamp())


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

    A counter that falls was reset and counts from nothing; one that is seen for the first time, or again after silence or a
    gap of ``GAP_S`` between looks, says nothing of what it grew before. It remembers only while somebody looks, and says since
    when.
    """

    def __init__(self, minutes: int = 60) -> None:
        self.minutes = minutes
        self._last: dict[tuple[str, str], Floats] = {}
        self._seen_s: dict[tuple[str, str], float] = {}
        self._sums: dict[tuple[str, str], dict[int, float]] = {}
        self._grown: dict[tuple[str, str], Floats] = {}
        self.since: datetime | None = None

    def see(self, state: State, kind: str, name: str, now: datetime) -> None:
        """Take in the newest counts."""
        key, now_s = (kind, name), now.timestamp()
        value = state.column(kind, name, now)
        last = self._last.get(key)
        if last is None or len(last) != len(value) or now_s - self._seen_s[key] > GAP_S:
            self.since, self._seen_s[key] = now, now_s
            self._last[key], self._sums[key], self._grown[key] = value, {}, np.zeros(len(value))
            return
        self._seen_s[key] = now_s
        grown = np.where(value >= last, value - last, value)
        grown = np.where(np.isfinite(value) & np.isfinite(last), grown, 0.0)
        self._last[key] = value
        self._grown[key] += grown
        minute, sums = int(now_s // 60), self._sums[key]
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
