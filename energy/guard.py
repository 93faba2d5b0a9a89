"""The guard: hard limits that every plan must pass, whoever made it and whatever it promises. Pure; it trusts no lever.

Each rule that says no is named in the verdict, with all rules asked: a person sees everything that stands against a plan.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

import numpy as np

from analytics.alerts import Alert
from energy.guard_alerts import ALERT_RULES
from energy.guard_fair import FAIR_RULES
from energy.guard_moves import MOVE_RULES
from energy.guard_orders import EACH_JOB, MAX_SAID, ORDER_RULES, VERBS, Found, tables_of
from energy.levers import QueueNow, Readings, believed
from energy.levers.jobs_ahead import assets_of
from energy.levers.tune_chain import FAN_LIMIT, LIMIT
from energy.place.atlas import NOWHERE, Atlas
from energy.plan import ANSWERS, Done, Plan, Refusal, Verdict
from energy.reach import cooled_share, first_loops
from energy.shift.fair import LEAST_S
from twin.chillers import chillers_on, rated_chiller_w
from twin.message import Message
from twin.metrics import METRICS
from twin.order import OF_JOBS, Orders
from twin.ports import Action
from twin.site import Site
from twin.state import State


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows beyond the metric table.

    ``stop``: the kill switch, nothing is changed while it is set. ``locked``: assets that a person keeps for himself.
    ``bounds``: (kind, metric) -> lowest and highest value, tighter than the table. ``dwell_s``: shortest time between
    two changes of one metric of one asset. ``actions_per_hour``: over the whole site. ``longest_s``: how far ahead the
    end of an action may lie. ``fresh_frac``: part of the GPUs behind a cooling asset that must be heard. ``orders_per_hour``
    and ``order_dwell_s``: the same for orders to schedulers, over the site and for one job; ``longest_wait_s``: how long after
    its submission a job may be made to start; ``fair_wait_s``: that a tenant's work may wait whatever others do
    (``shift.fair``). ``request_dwell_s`` and ``request_actions_per_hour``: of what answers a request of the grid, which must
    follow the meter. ``chiller_dwell_s``: shortest time between two changes of how many chillers may run, for a compressor's
    least time of running and of rest; an order that only renews the number is none. ``atlas``: between which places jobs may
    move. ``takes``: the metrics of each asset that something sets (None: not asked, for a person sets what is advised).
    """

    stop: bool = False
    locked: frozenset[str] = frozenset()
    bounds: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    dwell_s: float = 1800.0
    actions_per_hour: int = 24
    longest_s: float = 86_400.0
    fresh_frac: float = 0.95
    orders_per_hour: int = 5000
    order_dwell_s: float = 600.0
    longest_wait_s: float = 86_400.0
    fair_wait_s: float = LEAST_S
    request_dwell_s: float = 30.0
    chiller_dwell_s: float = 5400.0
    request_actions_per_hour: int = 60_000  # each of 10,000 GPUs six times
    atlas: Atlas = NOWHERE
    takes: Mapping[str, frozenset[str]] | None = None


# Metrics of the asset itself that must be fresh before its setpoint is touched, beside the setpoint.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "supply_temp_setpoint_c": ("supply_temp_c",),
    LIMIT: ("supply_temp_c", "supply_temp_setpoint_c"),
    FAN_LIMIT: ("fan_speed_frac",),
}
_COOLING = ("supply_temp_setpoint_c", "pump_speed_frac", "fan_speed_frac", "position_frac", LIMIT, FAN_LIMIT)
CHILLER_ROOM = 1.25  # chillers that may run, over what the present ones are loaded by their power
_SAME = 1e-6
HELD_K = 1.0  # plant water further than this over its setpoint: neither chillers nor fans are held back
FAN_LEAST, FAN_STEP = 0.5, 0.1  # lowest limit of a fan, and the most that it is lowered at once


@dataclass(frozen=True, slots=True)
class _Case:
    plan: Plan
    site: Site
    state: State
    alerts: Sequence[Alert]
    now: datetime
    limits: Limits
    history: Sequence[Done]
    queues: Sequence[QueueNow]
    readings: Readings

    def current(self, action: Action) -> float:
        """What the asset says its setpoint is; NaN where that is not fresh."""
        return self.readings.of(action.asset, action.metric)

    def behind(self, row: int) -> tuple[float, int, int, float]:
        """Of the loop in ``row``: how far its water is over its setpoint [K], its chillers, how many of them run, and as how
        many in full they are loaded, by their power; NaN where that is not fresh or none is there."""
        water, aim = (float(self.readings.column("loop", name)[row]) for name in _NEEDS[LIMIT])
        at = self.site.of_kind("chiller")
        mine = np.array([cooled_share(self.site, int(i), "loop")[row] > 0 for i in at], dtype=np.bool_)
        power_w, rated_power_w = self.readings.column("chiller", "power_w")[mine], rated_chiller_w(self.site)[mine]
        load, runs = power_w / rated_power_w, chillers_on(power_w, rated_power_w).runs
        loaded = float(load[runs].sum()) if len(load) and np.isfinite(load).all() else math.nan
        return water - aim, int(mine.sum()), int(runs.sum()), loaded

    def settable(self) -> Iterator[Action]:
        """Actions whose asset and metric exist and can be set: the others are refused by name already."""
        for action in self.plan.actions:
            if action.asset in self.site.position:
                row = METRICS[self.site.kind(action.asset)].get(action.metric)
                takes = self.limits.takes
                if row is not None and row.step is not None and (takes is None or action.metric in takes.get(action.asset, ())):
                    yield action


def guard(
    plan: Plan,
    site: Site,
    state: State,
    alerts: Sequence[Alert],
    now: datetime,
    limits: Limits,
    history: Sequence[Done],
    queues: Sequence[QueueNow] = (),
) -> Verdict:
    """What stands against ``plan`` now, ``MAX_SAID`` words of each rule at most. ``history``: actions begun in the last hour at
    least, in any order; ``queues``: the schedulers as last read, where the plan orders something of them."""
    case = _Case(plan, site, state, alerts, now, limits, history, queues, Readings(site, state, now))
    rules = {**RULES, **ORDER_RULES, **MOVE_RULES, **FAIR_RULES} if plan.orders else RULES
    refusals = [
        Refusal(name, Message(text, params)) for name, (rule, text) in rules.items() for params in islice(rule(case), MAX_SAID)
    ]
    return Verdict(plan.key, tuple(refusals))


def fitting(
    plan: Plan,
    site: Site,
    state: State,
    alerts: Sequence[Alert],
    now: datetime,
    limits: Limits,
    history: Sequence[Done],
    queues: Sequence[QueueNow] = (),
) -> Plan:
    """An answer to the grid without those of its actions that a rule of ``EACH`` refuses, and those orders that one of
    ``EACH_JOB`` does: each stands for itself, and one device that rests, is silent or has an alert, or one job that can wait no
    longer, must not keep the others from answering. Any other plan as it is."""
    if not plan.request or not plan.count:
        return plan
    case = _Case(plan, site, state, alerts, now, limits, history, queues, Readings(site, state, now))
    refused = {params["asset"] for name in EACH for params in RULES[name][0](case)}
    actions = tuple(action for action in plan.actions if action.asset not in refused)
    return replace(plan, actions=actions, orders=_fitting_orders(case))


def _fitting_orders(case: _Case) -> tuple[tuple[str, Orders], ...]:
    """A job that is refused in one table of its queue is in none: what is not to wait until a time is not paused either."""
    refused: dict[str, set[float | int | str]] = {}
    for name in {name for name, _ in case.plan.orders}:
        of = replace(case, plan=replace(case.plan, orders=tuple(one for one in case.plan.orders if one[0] == name)))
        refused[name] = {params["job"] for rule in EACH_JOB for params in ORDER_RULES[rule][0](of)}
    fits = (
        (name, table.only([i for i, job in enumerate(table.targets) if job not in refused[name]]))
        for name, table in case.plan.orders
    )
    return tuple((name, table) for name, table in fits if len(table))


def _stop(case: _Case) -> Found:
    if case.limits.stop:
        yield {}


def _expired(case: _Case) -> Found:
    if not case.plan.made <= case.now < case.plan.expires:
        yield {"made": case.plan.made.isoformat(), "expires": case.plan.expires.isoformat()}


def _empty(case: _Case) -> Found:
    if not case.plan.count:
        yield {}


def _uncertain(case: _Case) -> Found:
    if not case.plan.actions and case.plan.orders:
        return  # what orders bring is judged by their own rule
    effect = case.plan.effect
    if case.plan.request and math.isfinite(effect.low_w) and effect.low_w <= effect.facility_power_w <= effect.high_w <= 0:
        return  # what answers a request need not save: it must not draw more
    if not (math.isfinite(effect.low_w) and effect.low_w <= effect.facility_power_w <= effect.high_w < 0):
        yield {"low_w": effect.low_w, "high_w": effect.high_w}


def _unknown(case: _Case) -> Found:
    for action in case.plan.actions:
        if action.asset not in case.site.position:
            yield {"asset": action.asset}


def _not_settable(case: _Case) -> Found:
    ready = {action.key for action in case.settable()}
    for action in case.plan.actions:
        if action.asset in case.site.position and action.key not in ready:
            yield {"asset": action.asset, "metric": action.metric}


def _twice(case: _Case) -> Found:
    targets = Counter((action.asset, action.metric) for action in case.plan.actions)
    for asset, name in sorted(target for target, count in targets.items() if count > 1):
        yield {"asset": asset, "metric": name}


def _locked(case: _Case) -> Found:
    for action in case.plan.actions:
        if action.asset in case.limits.locked:
            yield {"asset": action.asset}
    for queue, table, delays in tables_of(case):
        if queue.name in case.limits.locked and delays.any():
            yield {"asset": queue.name}
        if table.verb not in OF_JOBS:
            known = assets_of(queue.cluster, case.site)
            for i in np.flatnonzero(delays).tolist():
                if (asset := known.get(table.targets[i], table.targets[i])) in case.limits.locked - {queue.name}:
                    yield {"asset": asset}


def _bounds(case: _Case) -> Found:
    for action in case.settable():
        kind = case.site.kind(action.asset)
        row = METRICS[kind][action.metric]
        low, high = case.limits.bounds.get((kind, action.metric), (row.low, row.high))
        low, high = max(low, row.low), min(high, row.high)
        if not low <= action.value <= high:
            yield {"asset": action.asset, "metric": action.metric, "value": action.value, "low": low, "high": high}


def _step(case: _Case) -> Found:
    for action in case.settable():
        step = METRICS[case.site.kind(action.asset)][action.metric].step or 0.0
        change = abs(action.value - case.current(action))
        if change > step + 1e-6:  # NaN is the affair of the rule on stale values
            yield {"asset": action.asset, "metric": action.metric, "change": change, "step": step}


def _dwell(case: _Case) -> Found:
    dwell_s = case.limits.request_dwell_s if case.plan.request else case.limits.dwell_s
    last: dict[tuple[str, str], datetime] = {}
    for done in case.history:
        key = (done.asset, done.metric)
        last[key] = max(done.time, last.get(key, done.time))
    for action in case.settable():
        then = last.get((action.asset, action.metric))
        if then is not None and (ago_s := (case.now - then).total_seconds()) < dwell_s:
            yield {"asset": action.asset, "metric": action.metric, "ago_s": ago_s, "dwell_s": dwell_s}


def _chiller_dwell(case: _Case) -> Found:
    """Compressors rest and run for a while: the number changes rarely, also where it is renewed each half hour."""
    for action in case.settable():
        if action.metric != LIMIT or not abs(action.value - case.current(action)) > _SAME:
            continue
        target = (action.asset, action.metric)
        times = [done.time for done in case.history if (done.asset, done.metric) == target and done.moved]
        if times and (ago_s := (case.now - max(times)).total_seconds()) < case.limits.chiller_dwell_s:
            yield {"asset": action.asset, "ago_s": ago_s, "dwell_s": case.limits.chiller_dwell_s}


def _chillers(case: _Case) -> Found:
    """As many may run as their present load asks for and a quarter more, at most one that runs is stopped, and none where plant
    water is not held. By their power over what they are rated for: whoever proposes may have worked out something else."""
    for action in case.settable():
        if action.metric != LIMIT:
            continue
        over_k, count, running, loaded = case.behind(case.site.row(action.asset))
        held = over_k <= HELD_K or action.value > case.current(action) or action.value >= count
        least = max(CHILLER_ROOM * loaded, running - 1)
        whole = abs(action.value - round(action.value)) <= _SAME
        if not (whole and held and action.value >= least):  # also where one of them is NaN
            yield {"asset": action.asset, "value": action.value, "running": running, "loaded": loaded, "over_k": over_k}


def _fans(case: _Case) -> Found:
    """Fans are held back a step at a time and not below half speed, and only while plant water is held and the chillers beside
    them have room for what towers then leave them: by their meters, as above. To let them turn faster is always allowed."""
    for action in case.settable():
        now = case.current(action)
        if action.metric != FAN_LIMIT or action.value > now:
            continue
        nothing = (math.nan, 0, 0, math.nan)  # a tower of which nobody knows what it cools
        for row in first_loops(case.site, case.site.position[action.asset]) or [-1]:
            over_k, count, _, loaded = nothing if row < 0 else case.behind(row)
            slow = FAN_LEAST - _SAME <= action.value >= now - FAN_STEP - _SAME
            may = 0.0 if row < 0 else float(np.fmin(count, case.readings.column("loop", LIMIT)[row]))
            if not (slow and over_k <= HELD_K and CHILLER_ROOM * loaded <= may):  # also where one of them is NaN
                said = {"value": action.value, "now": now, "over_k": over_k, "loaded": loaded, "chillers": may}
                yield {"asset": action.asset, **said}


def _rate(case: _Case) -> Found:
    hour = timedelta(hours=1)
    answers = bool(case.plan.request)  # what answers requests has a limit of its own, and does not use up the others'
    limit = case.limits.request_actions_per_hour if answers else case.limits.actions_per_hour
    recent = sum(
        done.metric not in VERBS and (done.metric in ANSWERS) == answers and case.now - done.time < hour
        for done in case.history
    )
    if case.plan.actions and recent + len(case.plan.actions) > limit:
        yield {"recent": recent, "count": len(case.plan.actions), "limit": limit}


def _end(case: _Case) -> Found:
    last = case.now + timedelta(seconds=case.limits.longest_s)
    for action in case.plan.actions:
        if not case.now < action.until <= last:
            yield {"asset": action.asset, "until": action.until.isoformat()}


def _stale(case: _Case) -> Found:
    for action in case.settable():
        for name in (action.metric, *_NEEDS.get(action.metric, ())):
            if math.isnan(case.readings.of(action.asset, name)):
                yield {"asset": action.asset, "metric": name}
        if action.metric in _COOLING:
            cooled = cooled_share(case.site, case.site.position[action.asset]) > 0
            heard = cooled & ~np.isnan(believed(case.state, "gpu", "temp_c", case.now))
            if cooled.any() and heard.sum() < case.limits.fresh_frac * cooled.sum():
                yield {"asset": action.asset, "metric": "gpu temp_c"}


# rule -> (what it finds, what it says of it). In the order in which a person wants to read them.
RULES: Mapping[str, tuple[Callable[[_Case], Found], str]] = {
    "stop": (_stop, "The stop switch is set: nothing is changed until a person releases it"),
    "expired": (_expired, "The plan holds from {made} to {expires}: wait for a new one"),
    "empty": (_empty, "The plan changes nothing"),
    "uncertain": (_uncertain, "The expected change, {low_w:.0f} to {high_w:.0f} W, is not surely a saving"),
    "unknown_asset": (_unknown, "{asset} is no asset of this site"),
    "not_settable": (_not_settable, "{metric} of {asset} is not something that can be set"),
    "twice": (_twice, "The plan sets {metric} of {asset} more than once"),
    "locked": (_locked, "{asset} is locked by the operator"),
    "bounds": (_bounds, "{metric} of {asset} would be {value:.2f}, outside {low:g} to {high:g}"),
    "step": (_step, "{metric} of {asset} would change by {change:.2f} at once; the most is {step:g}"),
    "dwell": (_dwell, "{metric} of {asset} was changed {ago_s:.0f} s ago; it rests for {dwell_s:.0f} s"),
    "chiller_dwell": (
        _chiller_dwell,
        "How many chillers of {asset} may run was changed {ago_s:.0f} s ago; compressors rest and run for {dwell_s:.0f} s",
    ),
    "chillers": (
        _chillers,
        "{value:g} chillers at most for {asset}: {running} run, loaded as {loaded:.2f} in full, and plant water is "
        "{over_k:+.1f} K off its setpoint",
    ),
    "fans": (
        _fans,
        "Fans of {asset} at {value:.2f} of full speed at most, {now:.2f} now: plant water is {over_k:+.1f} K off its setpoint, "
        "and chillers are loaded as {loaded:.2f} of {chillers:g}",
    ),
    "rate": (_rate, "{recent} actions in the last hour and {count} more are over the limit of {limit}"),
    "end": (_end, "The action on {asset} ends at {until}, which is past or too far ahead"),
    "stale": (_stale, "{metric} at {asset} is not known or not fresh; a stale value is never acted on"),
    **ALERT_RULES,
}
# Of those, the ones that speak of one asset.
EACH = ("unknown_asset", "not_settable", "locked", "bounds", "step", "dwell", "end", "stale", "alert", "opening")
