"""Alerts: conditions that hold for an asset, and their life from pending to resolved. Pure: no clock, no store.

inactive -> pending, when the condition is seen; -> firing, when it has lasted ``hold_s``; -> resolved, when the value has been
back behind the clear level for ``keep_firing_s``; resolved alerts are kept for ``RESOLVED_KEPT_S``. A pending alert whose
condition ends goes back to inactive. A value that is stale moves nothing: silence is not health, and absence has its own rules.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.rules import Rule, Rules, Severity
from twin.errors import SourceError
from twin.frame import Bytes, Floats, Ints
from twin.message import Message
from twin.metrics import metric
from twin.site import Bools, Site
from twin.state import State

__all__ = ["MAX_ALERTS", "RESOLVED_KEPT_S", "Alert", "AlertTable", "Phase", "Severity", "begin", "restore", "step"]

RESOLVED_KEPT_S = 900.0  # as Prometheus keeps them (rules/alerting.go, resolvedRetention 15 min)
MAX_ALERTS = 10_000  # that a table gives as objects at once; the rest is counted in ``overflow``
BINS = 12  # parts of an increase's window: the window is true to one part


class Phase(StrEnum):
    """Prometheus' words. ``resolved`` is kept a while so that faces can show what ended."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


_INACTIVE, _FIRING, _PENDING, _RESOLVED = range(4)  # in the order in which a table lists them
PHASES = {_FIRING: Phase.FIRING, _PENDING: Phase.PENDING, _RESOLVED: Phase.RESOLVED}
_SEVERITIES = tuple(Severity)
_VERSION = 1  # of a dump
_MOVING = ("value", "since_s", "fired_s", "resolved_s", "held_s")


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule's condition on one asset. ``value`` is the newest reading judged, NaN for an absence."""

    rule: str
    kind: str
    asset: str
    metric: str
    severity: Severity
    phase: Phase
    value: float
    limit: float
    summary: Message
    runbook: str
    since: datetime  # pending since
    fired: datetime | None
    resolved: datetime | None

    @property
    def key(self) -> str:
        """Identifies the alert over its life and after a restart."""
        return f"{self.rule}:{self.asset}"


@dataclass(frozen=True, slots=True, eq=False)
class Increase:
    """How much counters grew lately. ``last``: float64[n] newest counts, NaN before the first; ``key``: int64[m], increasing,
    part of the window (time over its length) times n plus the asset's row; ``grown``: float64[m] by how much there."""

    last: Floats
    key: NDArray[np.int64]
    grown: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Where one rule stands with each of the n assets of its kind.

    ``phase``: uint8[n]; ``value``: newest value judged; ``since_s``, ``fired_s``, ``resolved_s``: s since 1970, NaN where that
    has not happened; ``held_s``: how long the evidence for the next phase has lasted, NaN where there is none; ``limit``,
    ``clear``: in the metric's unit, NaN for an asset that the rule does not mean. All but the phase are float64[n].
    """

    meant: Bools
    limit: Floats
    clear: Floats
    phase: Bytes
    value: Floats
    since_s: Floats
    fired_s: Floats
    resolved_s: Floats
    held_s: Floats
    increase: Increase | None


@dataclass(frozen=True, eq=False)
class AlertTable:
    """Every rule's standing at ``now``, and what it was one step before. Immutable; ``step`` makes the next one.

    ``lost``: keys of alerts that fired under other rules or on another site and that nothing here speaks of any more;
    whoever was told of them must be told that they are over.
    """

    rules: Rules
    site: Site
    now: datetime
    tracks: tuple[Track, ...]
    before: tuple[Bytes, ...]  # phases one step before
    lost: tuple[str, ...] = ()
    restored: bool = False  # no step has been made since ``restore``

    def alerts(self) -> tuple[Alert, ...]:
        """Pending, firing and lately resolved alerts, at most ``MAX_ALERTS``: by severity, then firing before pending before
        resolved, then the oldest first."""
        return self._alerts

    @property
    def overflow(self) -> int:
        """How many more there are than ``alerts`` gives."""
        return max(0, sum(int(np.count_nonzero(track.phase)) for track in self.tracks) - MAX_ALERTS)

    @cached_property
    def firing(self) -> Mapping[Severity, int]:
        """How many alerts fire, by severity; all of them are counted."""
        counts = dict.fromkeys(Severity, 0)
        for rule, track in zip(self.rules.rules, self.tracks, strict=True):
            counts[rule.severity] += int(np.count_nonzero(track.phase == _FIRING))
        return counts

    @cached_property
    def changes(self) -> tuple[Alert, ...]:
        """Alerts that began to fire or resolved in the last step, sorted and bounded as ``alerts``."""
        return self._objects(
            [
                np.flatnonzero(((t.phase == _FIRING) | ((t.phase == _RESOLVED) & (was == _FIRING))) & (t.phase != was))
                for t, was in zip(self.tracks, self.before, strict=True)
            ]
        )

    def dump(self) -> str:
        """JSON from which ``restore`` makes this table again. It grows with the alerts, and with the assets that have a
        counter under a rule (some 10 bytes each)."""
        tracks = zip(self.rules.rules, self.tracks, strict=True)
        counted = {rule.kind for rule in self.rules.rules if rule.window_s}
        ids = {kind: self.site.ids_of(kind) for kind in sorted({rule.kind for rule in self.rules.rules})}
        table = {
            "version": _VERSION,
            "now_s": self.now.timestamp(),
            "ids": {kind: ids[kind] for kind in sorted(counted)},
            "rules": {rule.name: _dumped(rule, track, ids[rule.kind]) for rule, track in tracks},
        }
        return json.dumps(table, allow_nan=False, separators=(",", ":"))

    @cached_property
    def _alerts(self) -> tuple[Alert, ...]:
        return self._objects([np.flatnonzero(track.phase) for track in self.tracks])

    def _objects(self, rows: list[NDArray[np.intp]]) -> tuple[Alert, ...]:
        """Alert objects of these rows of each rule, sorted and cut."""
        if not any(len(r) for r in rows):
            return ()
        rule = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        severity = np.array([_SEVERITIES.index(r.severity) for r in self.rules.rules])[rule]
        phase = np.concatenate([t.phase[r] for t, r in zip(self.tracks, rows, strict=True)])
        since_s = np.concatenate([t.since_s[r] for t, r in zip(self.tracks, rows, strict=True)])
        row = np.concatenate(rows)
        order = np.lexsort((row, rule, since_s, phase, severity))[:MAX_ALERTS]
        ids = {kind: self.site.of_kind(kind) for kind in {r.kind for r in self.rules.rules}}
        return tuple(self._object(int(rule[i]), int(row[i]), ids) for i in order)

    def _object(self, index: int, row: int, ids: Mapping[str, Ints]) -> Alert:
        rule, track = self.rules.rules[index], self.tracks[index]
        asset = self.site.ids[ids[rule.kind][row]]
        value, limit = float(track.value[row]), float(track.limit[row])
        params = {"asset": asset, "value": value, "limit": limit, "unit": rule.unit}
        return Alert(
            rule.name,
            rule.kind,
            asset,
            rule.metric,
            rule.severity,
            PHASES[int(track.phase[row])],
            value,
            limit,
            Message(rule.summary, params),
            rule.runbook,
            datetime.fromtimestamp(float(track.since_s[row]), UTC),
            _time(float(track.fired_s[row])),
            _time(float(track.resolved_s[row])),
        )


def _time(seconds: float) -> datetime | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)


def begin(rules: Rules, site: Site, now: datetime) -> AlertTable:
    """A table in which nothing has been seen yet."""
    tracks = tuple(_fresh_track(rule, site) for rule in rules.rules)
    return AlertTable(rules, site, now, tracks, tuple(track.phase for track in tracks))


def _fresh_track(rule: Rule, site: Site) -> Track:
    n = site.count(rule.kind)
    meant = np.ones(n, dtype=np.bool_)
    if rule.assets != "*":
        meant = np.array([rule.applies(asset) for asset in site.ids_of(rule.kind)], dtype=np.bool_)
    scale = site.number(rule.kind, rule.relative_to) if rule.relative_to else np.ones(n)
    scale = np.where(meant, scale, np.nan)
    limit = rule.absent_s if rule.absent_s else rule.limit
    never = np.full(n, np.nan)
    increase = Increase(never, np.empty(0, dtype=np.int64), np.empty(0)) if rule.window_s else None
    nothing = np.zeros(n, dtype=np.uint8)
    return Track(meant, limit * scale, rule.clear * scale, nothing, never, never, never, never, never, increase)


def step(rules: Rules, site: Site, state: State, was: AlertTable, now: datetime) -> AlertTable:
    """The table at ``now``, from the one before (``begin`` or ``restore`` give the first). Where ``was`` belongs to other rules
    or another site, what still has a rule of that name and an asset of that id is carried over.

    Evidence counts for the time between two steps, yet for no longer than a value may be old (``max_age_s`` of the metric,
    ``absent_s`` of an absence): what nobody watched is not evidence.
    """
    if was.rules is not rules or was.site is not site:
        was = restore(rules, site, was.dump())
    since_step_s = max(0.0, (now - was.now).total_seconds())
    tracks = tuple(
        _advanced(rule, track, state, now, since_step_s) for rule, track in zip(rules.rules, was.tracks, strict=True)
    )
    lost = was.lost if was.restored else ()
    return AlertTable(rules, site, now, tracks, tuple(track.phase for track in was.tracks), lost)


def _advanced(rule: Rule, track: Track, state: State, now: datetime, since_step_s: float) -> Track:
    """One rule's track after one look at the state."""
    now_s = now.timestamp()
    if rule.absent_s:
        age_s = state.age_s(rule.kind, rule.metric, now, rule.origin)
        heard = np.isfinite(age_s)  # what never spoke has not fallen silent
        met, well = track.meant & heard & (age_s > rule.absent_s), age_s <= rule.absent_s
        met |= (track.phase != _INACTIVE) & (track.phase != _RESOLVED) & ~heard
        judged, credit_s = np.full(len(age_s), np.nan), min(since_step_s, rule.absent_s)
    else:
        judged = state.column(rule.kind, rule.metric, now, rule.origin)
        if track.increase is not None:
            increase, judged = _grown(track.increase, judged, rule.window_s, now_s)
            track = replace(track, increase=increase)
        met, well = _condition(rule, track, judged)
        credit_s = min(since_step_s, metric(rule.kind, rule.metric).max_age_s)
    if not met.any() and not track.phase.any():
        return track
    return _moved(rule, track, judged, met, well, now_s, credit_s)


def _condition(rule: Rule, track: Track, judged: Floats) -> tuple[Bools, Bools]:
    """bool[n] each: the condition is met, the value is well again. Neither where the value is NaN."""
    if rule.codes or rule.bits:
        whole = np.where(np.isnan(judged), 0, judged).astype(np.int64)
        hit: Bools = np.isin(whole, rule.codes) if rule.codes else (whole & rule.bits) != 0
        return hit & track.meant, ~hit & ~np.isnan(judged)
    if rule.rising:
        return judged >= track.limit, judged <= track.clear
    return judged <= track.limit, judged >= track.clear


def _moved(rule: Rule, track: Track, judged: Floats, met: Bools, well: Bools, now_s: float, credit_s: float) -> Track:
    """The life cycle, for all assets of one rule at once."""
    known = ~np.isnan(judged) if not rule.absent_s else np.ones(len(judged), dtype=np.bool_)
    phase, held_s = track.phase.copy(), track.held_s
    since_s, fired_s, resolved_s = track.since_s, track.fired_s, track.resolved_s
    was_pending, was_firing = phase == _PENDING, phase == _FIRING
    begins = met & ~was_pending & ~was_firing
    held_s = np.where((was_pending & met) | (was_firing & well), held_s + credit_s, held_s)
    held_s = np.where(begins | (was_firing & well & np.isnan(held_s)), 0.0, held_s)
    held_s = np.where(was_firing & known & ~well, np.nan, held_s)
    phase[begins] = _PENDING
    fires = (begins | was_pending) & met & (held_s >= rule.hold_s)
    resolves = was_firing & well & (held_s >= rule.keep_firing_s)
    ends = was_pending & known & ~met
    ends |= (phase == _RESOLVED) & (now_s - resolved_s >= RESOLVED_KEPT_S)
    phase[fires], phase[resolves], phase[ends] = _FIRING, _RESOLVED, _INACTIVE
    since_s = np.where(begins, now_s, np.where(ends, np.nan, since_s))
    fired_s = np.where(fires, now_s, np.where(begins | ends, np.nan, fired_s))
    resolved_s = np.where(resolves, now_s, np.where(begins | ends, np.nan, resolved_s))
    held_s = np.where(fires | resolves | ends, np.nan, held_s)
    # a code that has gone names nothing any more: the alert keeps the one that it is about
    value = np.where(met if rule.codes or rule.bits else known, judged, track.value)
    return replace(track, phase=phase, value=value, since_s=since_s, fired_s=fired_s, resolved_s=resolved_s, held_s=held_s)


def _grown(was: Increase, count: Floats, window_s: float, now_s: float) -> tuple[Increase, Floats]:
    """The increase over the window (float64[n], NaN where the counter is stale) and what to remember of it.

    A counter that went down has been restarted: what it shows now has grown since. The first count seen is no increase.
    """
    n = len(count)
    part_s = window_s / BINS
    part = int(now_s // part_s)
    key, grown = was.key, was.grown
    if len(key) and key[0] < (part - BINS) * n:
        keep = key >= (part - BINS) * n
        key, grown = key[keep], grown[keep]
    fresh = ~np.isnan(count)
    change = np.where(count >= was.last, count - was.last, count)
    changed = np.flatnonzero(fresh & ~np.isnan(was.last) & (change > 0))
    if len(changed):
        key, inverse = np.unique(np.concatenate([key, part * n + changed]), return_inverse=True)
        grown = np.bincount(inverse, weights=np.concatenate([grown, change[changed]])).astype(np.float64)
    total: Floats = np.zeros(n) if not len(key) else np.bincount(key % n, weights=grown, minlength=n).astype(np.float64)
    last = was.last if np.array_equal(count, was.last, equal_nan=True) else np.where(fresh, count, was.last)
    return Increase(last, key, grown), np.where(fresh, total, np.nan)


def _dumped(rule: Rule, track: Track, ids: list[str]) -> dict[str, Any]:
    rows = np.flatnonzero(track.phase)
    table: dict[str, Any] = {"kind": rule.kind, "assets": [ids[row] for row in rows], "phase": track.phase[rows].tolist()}
    table |= {name: _listed(getattr(track, name)[rows]) for name in _MOVING}
    if track.increase is not None:
        n, increase = len(ids), track.increase
        table |= {
            "window_s": rule.window_s,
            "last": _listed(increase.last),
            "grown": [[int(k // n), ids[k % n], float(g)] for k, g in zip(increase.key, increase.grown, strict=True)],
        }
    return table


def _listed(column: Floats) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value != value else value for value in column.tolist()]


def restore(rules: Rules, site: Site, text: str) -> AlertTable:
    """The table that ``dump`` wrote, for these rules and this site. What fired and has no rule or asset any more is in
    ``lost``. ``SourceError`` where ``text`` is no dump of this version."""
    try:
        table = json.loads(text)
        if table["version"] != _VERSION:
            raise ValueError(f"version {table['version']}")
        now = datetime.fromtimestamp(table["now_s"], UTC)
        rows = {rule.kind: {asset: row for row, asset in enumerate(site.ids_of(rule.kind))} for rule in rules.rules}
        tracks, lost = [], []
        for rule in rules.rules:
            track, gone = _undumped(
                rule, _fresh_track(rule, site), table["rules"].get(rule.name), rows[rule.kind], table["ids"]
            )
            tracks.append(track)
            lost += gone
        for name in table["rules"].keys() - {rule.name for rule in rules.rules}:
            lost += _firing_keys(name, table["rules"][name], set())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SourceError(f"what was kept of the alerts cannot be read ({error}); they start anew") from error
    return AlertTable(rules, site, now, tuple(tracks), tuple(t.phase for t in tracks), tuple(sorted(lost)), restored=True)


def _undumped(
    rule: Rule, track: Track, kept: Mapping[str, Any] | None, rows: Mapping[str, int], ids: Mapping[str, list[str]]
) -> tuple[Track, list[str]]:
    """One rule's track with what was kept of it, and the keys of firing alerts that it means no longer."""
    if kept is None:
        return track, []
    if kept["kind"] != rule.kind:
        return track, _firing_keys(rule.name, kept, set())
    judgeable = track.meant if rule.codes or rule.bits else ~np.isnan(track.limit)
    take = [(i, rows[asset]) for i, asset in enumerate(kept["assets"]) if asset in rows and judgeable[rows[asset]]]
    here = [row for _, row in take]
    columns: dict[str, Any] = {"phase": track.phase.copy()} | {name: getattr(track, name).copy() for name in _MOVING}
    for name, column in columns.items():
        column[here] = [np.nan if kept[name][i] is None else kept[name][i] for i, _ in take]
    if rule.window_s:
        columns["increase"] = _recounted(rule, kept, rows, ids.get(rule.kind, []))
    return replace(track, **columns), _firing_keys(rule.name, kept, {kept["assets"][i] for i, _ in take})


def _firing_keys(rule: str, kept: Mapping[str, Any], still: set[str]) -> list[str]:
    pairs = zip(kept["assets"], kept["phase"], strict=True)
    return [f"{rule}:{asset}" for asset, phase in pairs if phase == _FIRING and asset not in still]


def _recounted(rule: Rule, kept: Mapping[str, Any], rows: Mapping[str, int], ids: list[str]) -> Increase:
    """Counters as they stood; under another window the growth is counted anew."""
    n = len(rows)
    last = np.full(n, np.nan)
    for asset, count in zip(ids, kept.get("last", ()), strict=False):
        if asset in rows and count is not None:
            last[rows[asset]] = count
    grown = kept.get("grown", ()) if kept.get("window_s") == rule.window_s else ()
    pairs = sorted((part * n + rows[asset], by) for part, asset, by in grown if asset in rows)
    return Increase(last, np.array([k for k, _ in pairs], dtype=np.int64), np.array([by for _, by in pairs], dtype=np.float64))
