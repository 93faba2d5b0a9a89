"""Alerts: conditions that hold for an asset, and their life from pending to resolved. Pure: no clock, no store.

inactive -> pending, when the condition is seen; -> firing, when it has lasted ``hold_s``; -> resolved, when the value has been
back behind the clear level for ``keep_firing_s``; resolved alerts are kept for ``RESOLVED_KEPT_S``. A pending alert whose
condition ends goes back to inactive. A value that is stale moves nothing: silence is not health, and absence has its own rules.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analytics.alert_dump import dumped, undumped
from analytics.judge import Foreseen, Look, joined
from analytics.rule import Rule, Rules, Severity
from analytics.tracks import FIRING, INACTIVE, PENDING, RESOLVED, RESOLVED_KEPT_S, Fresh, Track, moved
from twin.frame import Bytes, Floats, Ints
from twin.message import Message
from twin.metrics import metric
from twin.site import Bools, Site
from twin.state import State

__all__ = ["MAX_ALERTS", "OURS", "RESOLVED_KEPT_S", "Alert", "AlertTable", "Phase", "Severity", "begin", "restore", "step"]

OURS = "icctwin"  # the origin of an alert that a rule of ours raised
MAX_ALERTS = 10_000  # that a table gives as objects at once; the rest is counted in ``overflow``
MAX_TOLD = 50_000  # that people were told of; of more the worst are still followed
MIN_NEWS = 1000  # that may be told in one step, however much has been told before
COMPOSITE_CREDIT_S = 90.0  # the longest time between two steps that is evidence for a composite rule


class Phase(StrEnum):
    """Prometheus' words. ``resolved`` is kept a while so that faces can show what ended."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


PHASES = {FIRING: Phase.FIRING, PENDING: Phase.PENDING, RESOLVED: Phase.RESOLVED}
_SEVERITIES, _PHASES = tuple(Severity), tuple(PHASES[code] for code in sorted(PHASES))


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule's condition on one asset. ``value`` is the newest reading judged that was not well, NaN for an absence.

    ``cause``: key of the alert that explains this one, "" where none does; ``folded``: how many this one explains;
    ``raised``: the worst severity of those, where that is worse than its own; ``suffix``: unit of ``value`` and ``limit``, see
    ``Rule.suffix``; ``origin``: who raised it, ``known_as``: the key of one that others raised, whose ``rule`` is their name of
    it, and whose ``asset`` and ``kind`` are "" where it names none of ours.
    """

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
    owner: str = ""
    page: str = ""
    cause: str = ""
    folded: int = 0
    raised: Severity | None = None
    suffix: str = "ratio"
    origin: str = OURS
    known_as: str = ""

    @property
    def urgency(self) -> Severity:
        """Its own severity, or the worst of what it explains where that is worse."""
        return self.raised or self.severity

    @property
    def key(self) -> str:
        """Identifies the alert over its life and after a restart."""
        return self.known_as or f"{self.rule}:{self.asset}"


@dataclass(frozen=True, eq=False)
class AlertTable:
    """Every rule's standing at ``now``, and what it was one step before. Immutable; ``step`` makes the next one.

    ``lost``: keys of alerts that fired under other rules or on another site and that nothing here speaks of any more;
    whoever was told of them must be told that they are over. ``causes``: key of the alert that explains the one of a rule
    (its number) on an asset (its row); filled in by ``analytics.oncall.folding``, with those of others under the number -1.
    ``raised``: key of a firing alert -> severity, where it explains one that is worse than itself. ``outside``: alerts that
    others raised, which people and the guard must know of like ours; filled in there too.
    """

    rules: Rules
    site: Site
    now: datetime
    tracks: tuple[Track, ...]
    before: tuple[Bytes, ...]  # phases one step before
    lost: tuple[str, ...] = ()
    restored: bool = False  # no step has been made since ``restore``
    causes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    raised: Mapping[str, Severity] = field(default_factory=dict)
    outside: tuple[Alert, ...] = ()
    watched_s: float = np.nan  # since when, without a restart between, in s since 1970; NaN before the first step

    def alerts(self) -> tuple[Alert, ...]:
        """Pending, firing and lately resolved alerts, ours and those of others, at most ``MAX_ALERTS``: those that no other
        explains before those that one does, then by severity, then firing before pending before resolved, then the oldest
        first."""
        return self._alerts

    def spoken(self, told: Collection[str], bare: Collection[str] = ()) -> tuple[Alert, ...]:
        """Of ``alerts`` those that fire or have lately ended and that no other explains, or one whose key is in ``bare`` does,
        or whose own key is in ``told``: of the others a storm has thousands, and they are never made.

        What is ``told`` is there whatever else there is: what were left out would count as ended. Of the rest there are at most
        ``MAX_ALERTS`` less what is told, yet always ``MIN_NEWS``, the worst first, so that a storm hides no news."""
        hidden: dict[int, list[int]] = defaultdict(list)
        for (number, row), cause in self.causes.items():
            if cause not in bare:
                hidden[number].append(row)
        wanted: dict[str, list[str]] = defaultdict(list)
        for key in told:
            name, _, asset = key.partition(":")
            wanted[name].append(asset)
        known, found = [], []
        for i, (rule, track) in enumerate(zip(self.rules.rules, self.tracks, strict=True)):
            if not track.phase.any():
                known.append(np.empty(0, dtype=np.intp))
                found.append(known[-1])
                continue
            loud = (track.phase == FIRING) | (track.phase == RESOLVED)
            rows = self._rows(rule, wanted.get(rule.name, ()))
            known.append(rows[loud[rows]])
            loud[hidden.get(i, [])] = False
            loud[rows] = False
            found.append(np.flatnonzero(loud))
        first = self._objects(known, most=MAX_TOLD)
        return (*first, *self._objects(found, most=max(MIN_NEWS, MAX_ALERTS - len(first))))

    def _rows(self, rule: Rule, assets: Collection[str]) -> NDArray[np.intp]:
        """Rows of those of ``assets`` that are of the rule's kind."""
        site = self.site
        there = [site.row(asset) for asset in assets if asset in site.position and site.kind(asset) == rule.kind]
        return np.array(there, dtype=np.intp)

    @property
    def overflow(self) -> int:
        """How many more there are than ``alerts`` gives."""
        ours = sum(int(np.count_nonzero(track.phase)) for _, track in self._loud)
        return max(0, ours + len(self.outside) - MAX_ALERTS)

    @cached_property
    def firing(self) -> Mapping[Severity, int]:
        """How many alerts fire, by severity; all of them are counted."""
        counts = dict.fromkeys(Severity, 0)
        for rule, track in self._loud:
            counts[rule.severity] += int(np.count_nonzero(track.phase == FIRING))
        for alert in self.outside:
            counts[alert.severity] += alert.phase is Phase.FIRING
        return counts

    @cached_property
    def changes(self) -> tuple[Alert, ...]:
        """Alerts of ours that began to fire or resolved in the last step, sorted and bounded as ``alerts``."""
        return self._objects(
            [
                np.flatnonzero(((t.phase == FIRING) | ((t.phase == RESOLVED) & (was == FIRING))) & (t.phase != was))
                if t.phase is not was
                else np.empty(0, dtype=np.intp)
                for t, was in zip(self.tracks, self.before, strict=True)
            ]
        )

    def dump(self) -> str:
        """JSON from which ``restore`` makes this table again."""
        return dumped(self.rules, self.site, self.tracks, self.now)

    @property
    def _loud(self) -> list[tuple[Rule, Track]]:
        return [pair for pair in zip(self.rules.rules, self.tracks, strict=True) if not pair[0].quiet]

    @cached_property
    def _alerts(self) -> tuple[Alert, ...]:
        ours = self._objects([np.flatnonzero(track.phase) for track in self.tracks])
        return tuple(sorted((*ours, *self.outside), key=_gravest_first)[:MAX_ALERTS]) if self.outside else ours

    @cached_property
    def _made(self) -> dict[tuple[int, int], Alert]:
        """Objects by rule and row, each made once."""
        return {}

    @cached_property
    def _folded(self) -> Counter[str]:
        return Counter(self.causes.values())

    def _objects(self, rows: list[NDArray[np.intp]], most: int | None = None) -> tuple[Alert, ...]:
        """Alert objects of these rows of each rule, sorted and cut; none of a quiet rule."""
        rows = [row[:0] if rule.quiet else row for rule, row in zip(self.rules.rules, rows, strict=True)]
        if not any(len(r) for r in rows):
            return ()
        rule = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        severity = np.array([_SEVERITIES.index(r.severity) for r in self.rules.rules])[rule]
        phase = np.concatenate([t.phase[r] for t, r in zip(self.tracks, rows, strict=True)])
        since_s = np.concatenate([t.since_s[r] for t, r in zip(self.tracks, rows, strict=True)])
        row = np.concatenate(rows)
        explained = np.zeros(len(row), dtype=np.bool_)
        if self.causes:
            explained[:] = [pair in self.causes for pair in zip(rule.tolist(), row.tolist(), strict=True)]
        order = np.lexsort((row, rule, since_s, phase, severity, explained))[: MAX_ALERTS if most is None else most]
        ids = {kind: self.site.of_kind(kind) for kind in {r.kind for r in self.rules.rules}}
        units = {i: self.rules.rules[i].unit for i in np.unique(rule[order]).tolist()}
        pairs = list(zip(rule[order].tolist(), row[order].tolist(), strict=True))
        made = self._made
        for pair in pairs:
            if pair not in made:
                made[pair] = self._object(*pair, ids, units[pair[0]])
        return tuple(made[pair] for pair in pairs)

    def _object(self, index: int, row: int, ids: Mapping[str, Ints], unit: str) -> Alert:
        rule, track = self.rules.rules[index], self.tracks[index]
        asset = self.site.ids[ids[rule.kind][row]]
        value, limit = float(track.value[row]), float(track.limit[row])
        params = {"asset": asset, "value": value, "limit": limit, "unit": unit}
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
            rule.owner,
            rule.page,
            self.causes.get((index, row), "") if self.causes else "",
            self._folded[f"{rule.name}:{asset}"] if self.causes else 0,
            self.raised.get(f"{rule.name}:{asset}") if self.raised else None,
            rule.suffix,
        )


def _gravest_first(alert: Alert) -> tuple[bool, int, int, datetime]:
    """The order of ``AlertTable.alerts``."""
    return bool(alert.cause), _SEVERITIES.index(alert.severity), _PHASES.index(alert.phase), alert.since


def _time(seconds: float) -> datetime | None:
    return None if seconds != seconds else datetime.fromtimestamp(seconds, UTC)


def begin(rules: Rules, site: Site, now: datetime) -> AlertTable:
    """A table in which nothing has been seen yet."""
    fresh = Fresh(site)
    tracks = tuple(fresh.track(rule) for rule in rules.rules)
    return AlertTable(rules, site, now, tracks, tuple(track.phase for track in tracks))


def restore(rules: Rules, site: Site, text: str) -> AlertTable:
    """The table that ``dump`` wrote, for these rules and this site. What fired and has no rule or asset any more is in
    ``lost``. ``SourceError`` where ``text`` is no dump of this version."""
    now, tracks, lost = undumped(rules, site, text)
    return AlertTable(rules, site, now, tracks, tuple(t.phase for t in tracks), lost, restored=True)


def step(
    rules: Rules,
    site: Site,
    state: State,
    was: AlertTable,
    now: datetime,
    outlooks: Sequence[Foreseen] = (),
    credit_s: float = 0.0,
) -> AlertTable:
    """The table at ``now``, from the one before (``begin`` or ``restore`` give the first). Where ``was`` belongs to other rules
    or another site, what still has a rule of that name and an asset of that id is carried over.

    Evidence counts for the time between two steps, yet for no longer than a value may be old (``max_age_s`` of the metric,
    ``absent_s`` of an absence): what nobody watched is not evidence. ``outlooks``: forecasts, for rules on what is foreseen.
    ``credit_s``: for so long a step is evidence all the same, where each value speaks for the whole of it.
    """
    if was.rules is not rules or was.site is not site:
        was = restore(rules, site, was.dump())
    since_step_s = max(0.0, (now - was.now).total_seconds())
    look = Look(site, state, now, outlooks)
    watched_s = was.watched_s if was.watched_s <= look.now_s else look.now_s
    tracks = [
        track if rule.join else _advanced(rule, track, look, since_step_s, watched_s, credit_s)
        for rule, track in zip(rules.rules, was.tracks, strict=True)
    ]
    _join(rules, tracks, look, min(since_step_s, max(COMPOSITE_CREDIT_S, credit_s)))
    lost = was.lost if was.restored else ()
    return AlertTable(rules, site, now, tuple(tracks), tuple(track.phase for track in was.tracks), lost, watched_s=watched_s)


def _join(rules: Rules, tracks: list[Track], look: Look, credit_s: float) -> None:
    """Advance the composite rules, now that those that they are made of have been."""
    at = {rule.name: i for i, rule in enumerate(rules.rules)} if any(rule.join for rule in rules.rules) else {}
    for i, rule in enumerate(rules.rules):
        if rule.join:
            judged = joined(rule, [(rules.rules[at[part]], tracks[at[part]]) for part in rule.parts], look.site)
            tracks[i] = _lived(rule, tracks[i], look, judged, credit_s)


def _advanced(rule: Rule, track: Track, look: Look, since_step_s: float, watched_s: float, credit_s: float) -> Track:
    """One rule's track after one look at the state."""
    if rule.absent_s:
        return _missed(rule, track, look, min(since_step_s, max(rule.absent_s, credit_s)), watched_s)
    judged, memory = look.judged(rule, track.memory)
    if memory is not track.memory:
        track = replace(track, memory=memory)
    return _lived(rule, track, look, judged, min(since_step_s, max(metric(rule.kind, rule.metric).max_age_s, credit_s)))


def _missed(rule: Rule, track: Track, look: Look, credit_s: float, watched_s: float) -> Track:
    """The track of a rule on absence. What was heard before a restart and is not remembered has been silent for as long as we
    watch, at least; what never spoke has not fallen silent."""
    age_s = look.age_s(rule)
    heard = np.isfinite(age_s)
    if (heard & ~track.armed).any():
        track = replace(track, armed=track.armed | heard)
    age_s = np.where(track.armed & ~heard, look.now_s - watched_s, age_s)
    if look.bounds(age_s)[1] <= rule.absent_s and not track.phase.any():
        return track
    met, well = track.meant & track.armed & (age_s > rule.absent_s), heard & (age_s <= rule.absent_s)
    met |= (track.phase != INACTIVE) & (track.phase != RESOLVED) & ~heard
    if not rule.during.holds(look.now, look.site.timezone):
        met, well = np.zeros_like(met), np.ones_like(well)
    if not met.any() and not track.phase.any():
        return track
    return moved(rule, track, np.full(len(age_s), np.nan), met, well, look.now_s, credit_s)


def _lived(rule: Rule, track: Track, look: Look, judged: Floats, credit_s: float) -> Track:
    """The track of a rule on a value."""
    if rule.armed and not track.armed.all():
        seen = judged <= track.clear if rule.rising else judged >= track.clear
        if (seen & ~track.armed).any():
            track = replace(track, armed=track.armed | seen)
    low, high = look.bounds(judged)
    reached = high >= track.edge if rule.rising else low <= track.edge
    may_be = high > 0 if rule.codes or rule.bits else reached
    if not may_be and not track.phase.any():
        return track
    met, well = _condition(rule, track, judged)
    if not rule.during.holds(look.now, look.site.timezone):
        met, well = np.zeros_like(met), np.ones_like(well)
    if not met.any() and not track.phase.any():
        return track
    return moved(rule, track, judged, met, well, look.now_s, credit_s)


def _condition(rule: Rule, track: Track, judged: Floats) -> tuple[Bools, Bools]:
    """bool[n] each: the condition is met, the value is well again. Neither where the value is NaN."""
    if rule.codes or rule.bits:
        whole = np.where(np.isnan(judged), 0, judged).astype(np.int64)
        hit: Bools = np.isin(whole, rule.codes) if rule.codes else (whole & rule.bits) != 0
        return hit & track.meant, ~hit & ~np.isnan(judged)
    if rule.rising:
        return (judged >= track.limit) & track.armed, judged <= track.clear
    return (judged <= track.limit) & track.armed, judged >= track.clear
