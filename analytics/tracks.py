"""Where a rule stands with each asset of its kind, as columns, and the life of an alert from pending to resolved."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analytics.rule import Join, Of, Rule
from twin.frame import Bytes, Floats
from twin.site import Bools, Site

RESOLVED_KEPT_S = 900.0  # as Prometheus keeps them (rules/alerting.go, resolvedRetention 15 min)
INACTIVE, FIRING, PENDING, RESOLVED = range(4)  # in the order in which a table lists them


@dataclass(frozen=True, slots=True, eq=False)
class Increase:
    """How much counters grew lately. ``last``: float64[n] newest counts, NaN before the first; ``key``: int64[m], increasing,
    part of the window (time over its length) times n plus the asset's row; ``grown``: float64[m] by how much there."""

    last: Floats
    key: NDArray[np.int64]
    grown: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What a gauge was. ``part``: int64[m], increasing, time over the length of a part; ``value``: float64[m, n]."""

    part: NDArray[np.int64]
    value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Where one rule stands with each of the n assets of its kind.

    ``phase``: uint8[n]; ``value``: newest value judged, of an alert the newest that was not well; ``since_s``, ``fired_s``,
    ``resolved_s``: s since 1970, NaN where that has not happened; ``held_s``: how long the evidence for the next phase has
    lasted, NaN where there is none; ``limit``, ``clear``: in the metric's unit, NaN for an asset that the rule does not mean.
    All but the phase are float64[n].
    ``edge``: the limit that is reached first, NaN where there is none. ``armed``: bool[n], which assets have been seen well,
    of a rule that waits for that; of a rule on absence, which have ever been heard.
    """

    meant: Bools
    limit: Floats
    clear: Floats
    edge: float
    phase: Bytes
    value: Floats
    since_s: Floats
    fired_s: Floats
    resolved_s: Floats
    held_s: Floats
    memory: Increase | Past | None
    armed: Bools


class Fresh:
    """Makes the first tracks of a site. What is the same for many rules is one array: two thousand rules on ten thousand assets
    would take a gigabyte otherwise."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._shared: dict[tuple[object, ...], NDArray[np.generic]] = {}
        self._memories: dict[tuple[object, ...], Increase | Past] = {}

    def track(self, rule: Rule) -> Track:
        """A track on which nothing has been seen."""
        n = self._site.count(rule.kind)
        everything = rule.assets == "*" and not rule.tag and not rule.inside
        meant: Bools = np.broadcast_to(np.True_, n) if everything else rule.meant(self._site)
        limit, clear = self._levels(rule, n)
        if not everything:
            limit, clear = np.where(meant, limit, np.nan), np.where(meant, clear, np.nan)
        reached = np.fmin.reduce(limit, initial=np.inf) if rule.rising else np.fmax.reduce(limit, initial=-np.inf)
        never: Floats = np.broadcast_to(np.float64(np.nan), n)
        nothing: Bytes = np.broadcast_to(np.uint8(INACTIVE), n)
        return Track(
            meant,
            limit,
            clear,
            float(reached),
            nothing,
            never,
            never,
            never,
            never,
            never,
            self._memory(rule, n),
            self._armed(rule, n),
        )

    def _levels(self, rule: Rule, n: int) -> tuple[Floats, Floats]:
        limit, clear = rule.absent_s or rule.limit, rule.clear
        if rule.join in (Join.ALL, Join.ANY):
            limit = float(len(rule.parts)) if rule.join is Join.ALL else 1.0
            clear = limit - 0.5
        if not rule.relative_to or rule.of is Of.RESIDUAL:
            return np.broadcast_to(np.float64(limit), n), np.broadcast_to(np.float64(clear), n)
        scale = self._site.number(rule.kind, rule.relative_to)
        return limit * scale, clear * scale

    def _armed(self, rule: Rule, n: int) -> Bools:
        """All, but of a rule that waits only those that are linked to something: what is plugged in should be up. None of a
        rule on absence: what never spoke has not fallen silent."""
        if rule.absent_s:
            return np.broadcast_to(np.False_, n)
        if not rule.armed:
            return np.broadcast_to(np.True_, n)
        links = self._site.links["connects"]
        plugged: Bools = np.isin(self._site.of_kind(rule.kind), np.concatenate([links.source, links.target]))
        return plugged

    def _memory(self, rule: Rule, n: int) -> Increase | Past | None:
        """Rules that look at the same growth share it, and so does each step after."""
        if not rule.window_s:
            return None
        key = (rule.kind, rule.metric, rule.origin, rule.window_s, rule.of is Of.CHANGE)
        if key not in self._memories:
            none = np.empty(0, dtype=np.int64)
            past = Past(none, np.empty((0, n)))
            self._memories[key] = past if rule.of is Of.CHANGE else Increase(np.full(n, np.nan), none, np.empty(0))
        return self._memories[key]


def moved(rule: Rule, track: Track, judged: Floats, met: Bools, well: Bools, now_s: float, credit_s: float) -> Track:
    """The life cycle, for all assets of one rule at once."""
    known = ~np.isnan(judged) if not rule.absent_s else np.ones(len(judged), dtype=np.bool_)
    phase, held_s = track.phase.copy(), track.held_s
    since_s, fired_s, resolved_s = track.since_s, track.fired_s, track.resolved_s
    was_pending, was_firing = phase == PENDING, phase == FIRING
    begins = met & ~was_pending & ~was_firing
    held_s = np.where((was_pending & met) | (was_firing & well), held_s + credit_s, held_s)
    held_s = np.where(begins | (was_firing & well & np.isnan(held_s)), 0.0, held_s)
    held_s = np.where(was_firing & known & ~well, np.nan, held_s)
    phase[begins] = PENDING
    fires = (begins | was_pending) & met & (held_s >= rule.hold_s)
    resolves = was_firing & well & (held_s >= rule.keep_firing_s)
    ends = was_pending & known & ~met
    ends |= (phase == RESOLVED) & (now_s - resolved_s >= RESOLVED_KEPT_S)
    phase[fires], phase[resolves], phase[ends] = FIRING, RESOLVED, INACTIVE
    since_s = np.where(begins, now_s, np.where(ends, np.nan, since_s))
    fired_s = np.where(fires, now_s, np.where(begins | ends, np.nan, fired_s))
    resolved_s = np.where(resolves, now_s, np.where(begins | ends, np.nan, resolved_s))
    held_s = np.where(fires | resolves | ends, np.nan, held_s)
    # a code that has gone names nothing any more, nor does a value that is well again: the alert keeps the one that it is about
    says = met if rule.codes or rule.bits else known & ~(was_firing & well) & (phase != RESOLVED)
    value = np.where(says, judged, track.value)
    return replace(track, phase=phase, value=value, since_s=since_s, fired_s=fired_s, resolved_s=resolved_s, held_s=held_s)
