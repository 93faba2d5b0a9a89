"""What is kept of an alert table over a restart or a change of rules, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from analytics.rule import Rule, Rules
from analytics.tracks import FIRING, Fresh, Increase, Past, Track
from twin.errors import SourceError
from twin.frame import Floats
from twin.site import Bools, Site

VERSION = 1  # of a dump
MOST_PAST = 300_000  # values of one rule; of larger ones a change is judged again when its window has passed
_MOVING = ("value", "since_s", "fired_s", "resolved_s", "held_s")


def dumped(rules: Rules, site: Site, tracks: tuple[Track, ...], now: datetime) -> str:
    """JSON from which ``undumped`` makes the tracks again. It grows with the alerts, with the assets that have a counter under
    a rule or were never heard by one on absence (some 10 bytes each), and by up to ``MOST_PAST`` values of gauges for each rule
    on a change."""
    pairs = list(zip(rules.rules, tracks, strict=True))
    counted = {rule.kind for rule, track in pairs if track.memory is not None or _waits(rule)}
    ids = {kind: site.ids_of(kind) for kind in sorted({rule.kind for rule in rules.rules})}
    table = {
        "version": VERSION,
        "now_s": now.timestamp(),
        "ids": {kind: ids[kind] for kind in sorted(counted)},
        "rules": {rule.name: _dumped(rule, track, ids[rule.kind]) for rule, track in pairs},
    }
    return json.dumps(table, allow_nan=False, separators=(",", ":"))


def undumped(rules: Rules, site: Site, text: str) -> tuple[datetime, tuple[Track, ...], tuple[str, ...]]:
    """When ``text`` was written, the tracks for these rules and this site, and the keys of alerts that fired and have no rule
    or asset any more. ``SourceError`` where ``text`` is no dump of this version."""
    fresh = Fresh(site)
    try:
        table = json.loads(text)
        if table["version"] != VERSION:
            raise ValueError(f"version {table['version']}")
        now = datetime.fromtimestamp(table["now_s"], UTC)
        rows = {rule.kind: {asset: row for row, asset in enumerate(site.ids_of(rule.kind))} for rule in rules.rules}
        tracks, lost = [], []
        shared: dict[tuple[object, ...], Increase] = {}
        for rule in rules.rules:
            track, gone = _undumped(rule, fresh.track(rule), table["rules"].get(rule.name), rows[rule.kind], table["ids"])
            tracks.append(_sharing(rule, track, shared))
            lost += gone
        for name in table["rules"].keys() - {rule.name for rule in rules.rules}:
            lost += _firing_keys(name, table["rules"][name], set())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SourceError(f"what was kept of the alerts cannot be read ({error}); they start anew") from error
    return now, tuple(tracks), tuple(sorted(lost))


def _sharing(rule: Rule, track: Track, shared: dict[tuple[object, ...], Increase]) -> Track:
    """The track, with the memory of an earlier one where that is the same: what is shared is worked out once a step."""
    if not isinstance(track.memory, Increase):
        return track
    mine = track.memory
    first = shared.setdefault((rule.kind, rule.metric, rule.origin, rule.window_s), mine)
    pairs = ((first.last, mine.last), (first.key, mine.key), (first.grown, mine.grown))
    same = all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)
    return replace(track, memory=first) if same else track


def _dumped(rule: Rule, track: Track, ids: list[str]) -> dict[str, Any]:
    rows = np.flatnonzero(track.phase)
    table: dict[str, Any] = {"kind": rule.kind, "assets": [ids[row] for row in rows], "phase": track.phase[rows].tolist()}
    table |= {name: _listed(getattr(track, name)[rows]) for name in _MOVING}
    if isinstance(track.memory, Increase):
        n, increase = len(ids), track.memory
        table |= {
            "window_s": rule.window_s,
            "last": _listed(increase.last),
            "grown": [[int(k // n), ids[k % n], float(g)] for k, g in zip(increase.key, increase.grown, strict=True)],
        }
    elif isinstance(track.memory, Past) and track.memory.value.size <= MOST_PAST:
        past = {str(int(part)): _listed(value) for part, value in zip(track.memory.part, track.memory.value, strict=True)}
        table |= {"window_s": rule.window_s, "past": past}
    if _waits(rule) and (track.armed.any() or not rule.absent_s):
        table["waiting"] = np.flatnonzero(~track.armed).tolist()
    return table


def _waits(rule: Rule) -> bool:
    """Whether it matters to the rule what has been seen of an asset before."""
    return rule.armed or rule.absent_s > 0


def _listed(column: Floats) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value != value else value for value in column.tolist()]


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
    if isinstance(track.memory, Increase):
        columns["memory"] = _recounted(rule, kept, rows, ids.get(rule.kind, []))
    elif isinstance(track.memory, Past) and kept.get("window_s") == rule.window_s:
        columns["memory"] = _remembered(kept, rows, ids.get(rule.kind, []))
    if _waits(rule) and "waiting" in kept:
        columns["armed"] = _armed(track, kept["waiting"], rows, ids.get(rule.kind, []))
    return replace(track, **columns), _firing_keys(rule.name, kept, {kept["assets"][i] for i, _ in take})


def _firing_keys(rule: str, kept: Mapping[str, Any], still: set[str]) -> list[str]:
    pairs = zip(kept["assets"], kept["phase"], strict=True)
    return [f"{rule}:{asset}" for asset, phase in pairs if phase == FIRING and asset not in still]


def _remembered(kept: Mapping[str, Any], rows: Mapping[str, int], ids: list[str]) -> Past:
    """What gauges were; NaN for assets that are new."""
    pairs = [(i, rows[asset]) for i, asset in enumerate(ids) if asset in rows]
    past = sorted((int(part), values) for part, values in kept.get("past", {}).items())
    value = np.full((len(past), len(rows)), np.nan)
    for row, (_, values) in zip(value, past, strict=True):
        row[[to for _, to in pairs]] = [np.nan if values[i] is None else values[i] for i, _ in pairs]
    return Past(np.array([part for part, _ in past], dtype=np.int64), value)


def _armed(track: Track, waiting: list[int], rows: Mapping[str, int], ids: list[str]) -> Bools:
    """Which assets were seen well before; those that are new wait, unless they are linked."""
    armed, wait = track.armed.copy(), set(waiting)
    for i, asset in enumerate(ids):
        if asset in rows and i not in wait:
            armed[rows[asset]] = True
    return armed


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
