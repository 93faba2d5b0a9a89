"""Alerts under the alert that explains them, ours and those of others together (``analytics.fold`` decides; ranked causes of
findings are ``analytics.cause``)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analytics.alerts import AlertTable
from analytics.fold import Conditions, conditions_of, explained
from analytics.oncall.others import Others, other_alerts, other_conditions
from analytics.rule import Severity
from analytics.tracks import FIRING, PENDING
from twin.frame import Ints

_SEVERITIES = tuple(Severity)
_RANK = {severity: rank for rank, severity in enumerate(_SEVERITIES)}


@dataclass(frozen=True, slots=True)
class Folded:
    """``table`` with its ``causes`` and what is ``outside``; ``others``: key of another's alert -> key of what explains it;
    ``pending``: keys of the explanations that only may become some; ``worst``: explanation -> the worst severity of what fires
    and it explains."""

    table: AlertTable
    others: Mapping[str, str]
    pending: frozenset[str]
    worst: Mapping[str, Severity] = field(default_factory=dict)


def fold(table: AlertTable, others: Others, read_by: Ints | None = None) -> Folded:
    """``table`` and ``others`` with what explains each alert. ``read_by``: see ``analytics.fold.explained``."""
    ours, number, row = conditions_of(table)
    theirs, keys = other_conditions(table.site, others)
    if not ((ours.breaks >= 0).any() or (theirs.breaks >= 0).any()):
        return Folded(replace(table, outside=other_alerts(table.site, others)) if others.known else table, {}, frozenset())
    both = _together(ours, theirs)
    cause = explained(table.site, both, read_by)
    hit = np.flatnonzero(cause >= 0)
    n = len(number)
    names: dict[int, str] = {}
    for at in np.unique(cause[hit]).tolist():
        names[at] = keys[at - n] if at >= n else _key(table, int(number[at]), int(row[at]))
    mine = hit[hit < n]
    causes = {
        pair: names[at]
        for pair, at in zip(zip(number[mine].tolist(), row[mine].tolist(), strict=True), cause[mine].tolist(), strict=True)
    }
    outer = {keys[at - n]: names[int(cause[at])] for at in hit[hit >= n].tolist()}
    causes |= {(-1, i): name for i, name in enumerate(outer.values())}  # of no rule of ours, but counted with them
    pending = frozenset(name for at, name in names.items() if both.phase[at] == PENDING)
    worst = _worst(both, cause, names)
    ranks = {names[at]: int(both.rank[at]) for at in names if both.phase[at] == FIRING}
    raised = {name: severity for name, severity in worst.items() if _RANK[severity] < ranks.get(name, -1)}
    outside = other_alerts(table.site, others, outer, Counter(causes.values()), raised)
    return Folded(replace(table, causes=causes, raised=raised, outside=outside), outer, pending, worst)


def _worst(alerts: Conditions, cause: Ints, names: Mapping[int, str]) -> dict[str, Severity]:
    """Name of an explanation -> the worst severity of what fires and is explained by it."""
    hit = np.flatnonzero((cause >= 0) & (alerts.phase == FIRING))
    rank = np.full(len(cause), len(_SEVERITIES), dtype=np.int16)
    np.minimum.at(rank, cause[hit], alerts.rank[hit])
    return {names[at]: _SEVERITIES[rank[at]] for at in np.unique(cause[hit]).tolist()}


def _key(table: AlertTable, number: int, row: int) -> str:
    rule = table.rules.rules[number]
    return f"{rule.name}:{table.site.ids[table.site.of_kind(rule.kind)[row]]}"


def _together(ours: Conditions, theirs: Conditions) -> Conditions:
    return Conditions(*(np.concatenate([getattr(one, name) for one in (ours, theirs)]) for name in Conditions.__slots__))
