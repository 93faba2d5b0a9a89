"""How often rules would have fired over what the store remembers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from analytics.alerts import Phase, begin, step
from analytics.rule import Of, Rule, Rules
from twin.frame import Frame, Origin
from twin.metrics import metric
from twin.ports import How, Store
from twin.site import Site
from twin.state import State

CHUNK_STEPS = 240  # read from the store at once
MAX_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Fired:
    """What one rule would have done: how often it would have begun to fire, on how many assets, where most, how long in all."""

    rule: str
    times: int
    assets: int
    worst: str
    firing_s: float
    first: datetime | None


def replay(
    rules: Rules,
    site: Site,
    store: Store,
    start: datetime,
    end: datetime,
    step_s: float,
    told: Callable[[float], None] | None = None,
) -> list[Fired]:
    """Each rule over ``[start, end)`` in steps of ``step_s``, read from the store as the last value of each; what is judged is
    true to a step and speaks for the whole of it, so a ``hold_s`` shorter than that counts as one. ``told``: called with the
    share done. ``ValueError`` where there would be more than ``MAX_STEPS`` steps. Forecasts are not kept with what was known
    when: rules on them stay silent."""
    steps = int((end - start).total_seconds() // step_s)
    if not 0 < steps <= MAX_STEPS:
        raise ValueError(f"{steps} steps; choose a span and a step that give 1 to {MAX_STEPS}")
    columns = sorted({column for rule in rules.rules for column in _columns(rule)})
    state, table = State(site), begin(rules, site, start)
    times: dict[str, Counter[str]] = {rule.name: Counter() for rule in rules.rules}
    first: dict[str, datetime] = {}
    firing_s = dict.fromkeys(times, 0.0)
    for chunk in range(0, steps, CHUNK_STEPS):
        at = start + timedelta(seconds=chunk * step_s)
        until = min(at + timedelta(seconds=CHUNK_STEPS * step_s), end)
        for when, frames in _frames(site, store, columns, at, until, step_s):
            for frame in frames:
                state.absorb(frame, when)
            table = step(rules, site, state, table, when, credit_s=step_s)
            for alert in table.changes:
                if alert.phase is Phase.FIRING:
                    times[alert.rule][alert.asset] += 1
                    first.setdefault(alert.rule, when)
            for rule, track in zip(rules.rules, table.tracks, strict=True):
                if track.phase.any():
                    firing_s[rule.name] += step_s * float(np.count_nonzero(track.phase == 1))
        if told:
            told(min(1.0, (chunk + CHUNK_STEPS) / steps))
    return [_fired(rule, times[rule.name], firing_s[rule.name], first.get(rule.name)) for rule in rules.rules]


def _fired(rule: Rule, times: Counter[str], firing_s: float, first: datetime | None) -> Fired:
    worst = times.most_common(1)[0][0] if times else ""
    return Fired(rule.name, times.total(), len(times), worst, firing_s, first)


def _columns(rule: Rule) -> list[tuple[str, str, Origin]]:
    """What of the store a rule looks at."""
    if rule.join or rule.of is Of.FORECAST:
        return []
    found = [(rule.kind, rule.metric, rule.origin)]
    if rule.over:
        found.append((rule.kind, rule.over, rule.origin))
    if rule.of is Of.RESIDUAL:
        found += [(rule.kind, rule.metric, origin) for origin in (Origin.MEASURED, Origin.MODELLED)]
    return found


def _frames(
    site: Site, store: Store, columns: list[tuple[str, str, Origin]], start: datetime, end: datetime, step_s: float
) -> list[tuple[datetime, list[Frame]]]:
    """(end of the step, what was read in it), in order."""
    tables: dict[float, list[Frame]] = {}
    for kind, name, origin in columns:
        if not site.count(kind):
            continue
        how = How.MAX if metric(kind, name).name.endswith(("_flag", "_code")) else How.LAST
        found = store.series(kind, [name], start, end, step_s, how, None, origin)
        for i, begun_s in enumerate(found.time_s.tolist()):
            value = found.values[name][i]
            known = np.flatnonzero(~np.isnan(value))
            if len(known):
                when = datetime.fromtimestamp(begun_s + step_s, start.tzinfo)
                rows = found.rows[known]
                tables.setdefault(begun_s, []).append(Frame(kind, when, rows, {name: value[known]}, origin))
    first_s = np.ceil(start.timestamp() / step_s) * step_s
    times = np.arange(first_s, end.timestamp(), step_s).tolist()
    return [(datetime.fromtimestamp(t + step_s, start.tzinfo), tables.get(t, [])) for t in times]
