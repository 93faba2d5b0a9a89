"""What a report is made of, asked of the store and the records once: columns, never more of them in memory than a portion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from analytics.detect.outcomes import TOPIC as OUTCOMES
from energy.account.book import Account, By, Given, account_of, accounts
from energy.account.grids import on_grids
from energy.account.meters import Meters, read_meters
from energy.account.part import part_account, part_splits, scaled
from energy.account.runs import Runs, read_runs
from energy.baseline import Saving, saving
from energy.ledger import Summary, summary
from energy.ledger_sums import Moved, moved
from twin.event import TOPIC as EVENTS
from twin.frame import Floats
from twin.ports import Records, Store
from twin.site import Bools, Site
from ui.able import HOUR_S, able_by_hour, by_hour
from ui.findings import TOPIC as FINDINGS
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.plant import chain_losses, hall_energy, heat_ways, on_steps
from ui.report.scope import CENTRE, Part, Scope, part_of
from ui.report.span import Span
from ui.report.tokens import Tokens, tokens_of

STEPS_S = (900.0, HOUR_S)  # a quarter of an hour, which demand is metered over; an hour, where the past was read no oftener
AS_GOOD_FRAC = 0.9
PORTION_VALUES = 4_000_000
MAX_RECORDS = 100_000  # of one topic; the newest count
PAST_DAYS = 56  # of a saving's baseline
GPU_METRICS = ("util_frac", "sm_active_frac", "tensor_active_frac", "power_w", "allocated_flag")


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """GPU hours of the site over the span by the hour: float64[h] each. ``heard``: GPUs that gave a reading; ``able``: of them
    able to work; ``held``: of them held by a run; ``told``: of those held, whose utilisation was read; ``idle_held``: of these,
    busy less than ``IDLE_FRAC`` of the hour; means over GPUs heard, NaN where none.
    ``gpus``: how many there are; ``run_h``, ``run_busy``: float64[n], hours of each run's GPUs that gave a reading, and how
    busy they were on average; ``usable``: bool[h, nodes], those that the scheduler gave work for half of the hour."""

    time_s: Floats
    heard: Floats
    able: Floats
    held: Floats
    told: Floats
    idle_held: Floats
    means: Mapping[str, Floats]
    gpus: int
    run_h: Floats
    run_busy: Floats
    usable: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All that the sections are made from, of what ``scope`` names. ``splits``: the account split by user, project and job;
    ``contract_w``: demand under contract, 0: none; ``halls``: IT and cooling energy [kWh] of each; ``losses``: kWh that each
    kind of the power chain lost; ``rejected``: kWh of heat by how it left; ``saving``, ``ledger``, ``moved``: None of a part,
    which has no counterfactual of its own."""

    site: Site
    span: Span
    scope: Scope
    account: Account
    before: Account | None
    year_ago: Account | None
    splits: Mapping[By, Account]
    meters: Meters
    wet_bulb_c: Floats
    chiller_w: Floats
    gpu_kwh: float
    contract_w: float
    halls: Mapping[str, tuple[float, float]]
    losses: Mapping[str, float]
    rejected: Mapping[str, float]
    use: Use
    runs: Runs
    idle_by: Mapping[str, float]
    saving: Saving | None
    ledger: Summary | None
    moved: Moved | None
    incidents: Sequence[Mapping[str, Any]]
    alerts: Sequence[tuple[datetime, Mapping[str, Any]]]
    events: Sequence[tuple[datetime, Mapping[str, Any]]]
    findings: Sequence[tuple[datetime, Mapping[str, Any]]]
    outcomes: Sequence[Mapping[str, Any]]
    heard_frac: Mapping[str, float]
    tokens: Tokens | None = None


IDLE_FRAC = 0.05  # busy for less than this part of an hour while held: idle but allocated


def gather(site: Site, store: Store, records: Records, span: Span, given: Given, scope: Scope = CENTRE) -> Inputs:
    """Everything for a report over ``span``. ``SourceError`` where the store does not answer, ``ConfigError`` where the site
    has no such part."""
    start, end, whole = span.start, span.end, scope.whole
    step_s = _step(store, start, end)
    meters = on_grids(store, read_meters(store, start, end, step_s), given.supply)
    runs = read_runs(records, start, end, site.ids_of("gpu"))
    part = part_of(scope, site, runs, given)
    splits, mine = _splits(site, store, meters, runs, part, span, given)
    use, idle = _use(site, store, part, start, end)
    asked = (records, start, end)
    return Inputs(
        site=site,
        span=span,
        scope=scope,
        account=splits["project"],
        before=_other(site, store, records, span.before(), given, step_s, scope),
        year_ago=_other(site, store, records, span.year_ago(), given, step_s, scope),
        splits=splits,
        meters=mine,
        wet_bulb_c=on_steps(store, "weather", "wet_bulb_c", meters),
        chiller_w=on_steps(store, "chiller", "power_w", meters, total=True) if whole else np.full(len(meters.time_s), np.nan),
        gpu_kwh=float(np.nansum(use.means["power_w"] * use.heard)) / 1e3,
        contract_w=1e3 * given.tariff.demand.contracted_kw if given.tariff and given.tariff.demand else 0.0,
        halls=hall_energy(site, store, meters) if whole else {},
        losses=chain_losses(store, meters) if whole else {},
        rejected=heat_ways(site, store, meters) if whole else {},
        use=use,
        runs=part.own,
        idle_by=idle,
        saving=saving(*_days(store, span, step_s)) if whole else None,
        ledger=summary(records, start, end) if whole else None,
        moved=moved(records, start, end) if whole else None,
        incidents=[r for _, r in _told(part, INCIDENTS, *asked)],
        alerts=_told(part, ALERT_LOG, *asked),
        events=_told(part, EVENTS, *asked),
        findings=_told(part, FINDINGS, *asked),
        outcomes=[r for _, r in _told(part, OUTCOMES, *asked)],
        heard_frac=_heard(site, store, start, end) if whole else {},
        tokens=tokens_of(site, store, start, end) if whole else None,
    )


def _splits(
    site: Site, store: Store, meters: Meters, runs: Runs, part: Part, span: Span, given: Given
) -> tuple[Mapping[By, Account], Meters]:
    """The account in each of its ways, and the meters of the part."""
    gpus, ways = site.count("gpu"), _ways(given)
    if part.scope.whole:
        return accounts(store, span.start, span.end, given, runs, ways, gpus, meters.step_s), meters
    whole, _ = account_of(meters, span.start, span.end, given)
    piece, here = part.piece(store, meters), _here(store, meters, part, given)
    return part_splits(store, here, whole, given, runs, ways, piece, gpus), scaled(here, piece.share)


def _here(store: Store, meters: Meters, part: Part, given: Given) -> Meters:
    """A hall has the intensity and the price of its own grid; whoever uses GPUs, wherever they stand, those of the centre."""
    return on_grids(store, meters, given.supply, part.site.row(part.scope.name)) if part.scope.kind == "hall" else meters


def _told(
    part: Part, topic: str, records: Records, start: datetime, end: datetime
) -> Sequence[tuple[datetime, Mapping[str, Any]]]:
    """The newest records of a topic; of a hall those about what stands in it; of whoever only uses the centre none but events,
    which may have ended their runs."""
    found = [(when, record) for _, when, record in records.read(topic, start, end, MAX_RECORDS, newest=True)]
    if part.scope.whole or (part.scope.kind != "hall" and topic == EVENTS):
        return found
    if part.scope.kind != "hall":
        return []
    return [(when, record) for when, record in found if _hall_of(part.site, str(record.get("asset", ""))) == part.scope.name]


def _hall_of(site: Site, asset: str) -> str:
    here = site.position.get(asset, -1)
    while here >= 0:
        if site.kind(site.ids[here]) == "hall":
            return site.ids[here]
        here = int(site.parent[here])
    return ""


def _step(store: Store, start: datetime, end: datetime) -> float:
    """The finest of ``STEPS_S`` in which nearly as much of the span was read as in the coarsest."""
    read = [read_meters(store, start, end, step_s) for step_s in STEPS_S]
    shares = [float(one.known.mean() or np.isfinite(one.it_w).mean()) for one in read]
    return next(step_s for step_s, share in zip(STEPS_S, shares, strict=True) if share >= AS_GOOD_FRAC * shares[-1])


def _ways(given: Given) -> tuple[By, ...]:
    return ("project", "user", "job", "tenant") if given.tenants else ("project", "user", "job")


def _other(site: Site, store: Store, records: Records, span: Span, given: Given, step_s: float, scope: Scope) -> Account | None:
    meters = on_grids(store, read_meters(store, span.start, span.end, step_s), given.supply)
    made, _ = account_of(meters, span.start, span.end, given)
    if not (made.coverage_frac or made.it_read_frac) > 0:
        return None
    if scope.whole:
        return made
    part = part_of(scope, site, read_runs(records, span.start, span.end, site.ids_of("gpu")), given)
    if not len(part.runs) and scope.kind != "hall":
        return None  # nobody noted then who held what: no energy of anybody is known
    return part_account(made, _here(store, meters, part, given), part.piece(store, meters).share, given)


def _use(site: Site, store: Store, part: Part, start: datetime, end: datetime) -> tuple[Use, dict[str, float]]:
    """GPU use by the hour, and idle held GPU hours by user, read in portions of hours. Of a hall its GPUs count; of whoever
    only uses GPUs those that their runs held, while they held them."""
    gpus, runs, uses = site.count("gpu"), part.own, part.scope.kind in ("tenant", "project")
    hours = int(np.ceil((end - start).total_seconds() / HOUR_S))
    time_s: Floats = start.timestamp() + HOUR_S * np.arange(float(hours))
    columns = {name: np.full(hours, np.nan) for name in GPU_METRICS}
    heard, able, held, told, idle = (np.zeros(hours) for _ in range(5))
    usable = np.ones((hours, site.count("node")), dtype=np.bool_)
    sums, held_known = _RunSums(len(runs)), len(runs) > 0
    portion = max(1, PORTION_VALUES // max(gpus, 1))
    for first in range(0, hours, portion):
        last = min(first + portion, hours)
        owner = _owners(runs, time_s[first:last], gpus)
        inside = owner >= 0 if uses else np.broadcast_to(part.gpus, owner.shape)
        table = {name: np.where(inside, values, np.nan) for name, values in _gpu_table(site, store, start, first, last).items()}
        seen = np.isfinite(table["power_w"]) | np.isfinite(table["util_frac"])
        heard[first:last] = seen.sum(axis=1)
        begin = start + timedelta(hours=first)
        given = by_hour(site, store, "node", "usable_flag", begin, last - first)
        usable[first:last] = ~(given < 0.5)
        able[first:last] = np.nansum(able_by_hour(site, store, seen, given, begin), axis=1)
        mine = owner >= 0
        if not len(part.runs):  # no queue was read: what the exporters say of their GPUs
            mine = table["allocated_flag"] > 0.5
            held_known |= bool(np.isfinite(table["allocated_flag"]).any())
        held[first:last] = mine.sum(axis=1)
        told[first:last] = (mine & np.isfinite(table["util_frac"])).sum(axis=1)
        lazy = mine & (table["util_frac"] < IDLE_FRAC)
        idle[first:last] = lazy.sum(axis=1)
        sums.add(owner, lazy, table["util_frac"])
        for name in GPU_METRICS:
            values = table[name]
            count = np.isfinite(values).sum(axis=1)
            columns[name][first:last] = np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)
    if not held_known and not uses:
        held[:], told[:], idle[:] = np.nan, np.nan, np.nan
    busy = np.divide(sums.busy_h, sums.heard_h, out=np.full(len(runs), np.nan), where=sums.heard_h > 0)
    there = gpus if uses else int(part.gpus.sum())
    return Use(time_s, heard, able, held, told, idle, columns, there, sums.heard_h, busy, usable), _by_user(runs, sums.idle_h)


class _RunSums:
    """GPU hours of each run: float64[n] that were heard of, were busy (hours times share), were idle."""

    def __init__(self, runs: int) -> None:
        self.heard_h, self.busy_h, self.idle_h = np.zeros(runs), np.zeros(runs), np.zeros(runs)

    def add(self, owner: Any, lazy: Bools, util: Floats) -> None:
        """One portion: ``owner`` int32[hours, gpus] and the same of the rest."""
        known = (owner >= 0) & np.isfinite(util)
        runs, size = owner[known], len(self.heard_h)
        self.heard_h += np.bincount(runs, minlength=size)
        self.busy_h += np.bincount(runs, weights=util[known], minlength=size)
        self.idle_h += np.bincount(owner[lazy & (owner >= 0)], minlength=size)


def _by_user(runs: Runs, hours: Floats) -> dict[str, float]:
    found: dict[str, float] = {}
    for user, idle_h in zip(runs.users, hours.tolist(), strict=True):
        if idle_h:
            found[user] = found.get(user, 0.0) + idle_h
    return found


def _gpu_table(site: Site, store: Store, start: datetime, first: int, last: int) -> dict[str, Floats]:
    """float64[hours, gpus] of each of ``GPU_METRICS``."""
    low = start + timedelta(hours=first)
    return {name: by_hour(site, store, "gpu", name, low, last - first) for name in GPU_METRICS}


def _owners(runs: Runs, time_s: Floats, gpus: int) -> Any:
    """int32[hours, gpus]: position of the run that held a GPU for most of each hour, -1: none."""
    owner = np.full((len(time_s), gpus), -1, dtype=np.int32)
    if not len(runs):
        return owner
    middle = time_s + HOUR_S / 2
    first = np.searchsorted(middle, runs.start_s, side="left")
    last = np.searchsorted(middle, runs.end_s, side="left")
    order = np.argsort(runs.run_of, kind="stable")
    edges = np.searchsorted(runs.run_of[order], np.arange(len(runs) + 1))
    for run in np.flatnonzero(last > first).tolist():
        owner[first[run] : last[run], runs.gpu[order[edges[run] : edges[run + 1]]]] = run
    return owner


def _days(store: Store, span: Span, step_s: float) -> tuple[Floats, Floats]:
    """(past, span): float64[days, 3] of facility kWh, IT kWh and mean wet bulb by local day; NaN where a day lacks a tenth."""
    past = Span("range", "", span.first - timedelta(days=PAST_DAYS), span.first, span.zone)
    return _day_table(store, past, step_s), _day_table(store, span, step_s)


def _day_table(store: Store, span: Span, step_s: float) -> Floats:
    meters = read_meters(store, span.start, span.end, step_s)
    bulb = on_steps(store, "weather", "wet_bulb_c", meters)
    return daily(meters, span, bulb)


def daily(meters: Meters, span: Span, wet_bulb_c: Floats) -> Floats:
    """float64[days, 3] of facility kWh, IT kWh (both over what is known, stretched to the whole day where at least nine tenths
    are; NaN else) and mean wet bulb [°C]."""
    edges = np.array(span.edges_s())
    day = np.clip(np.searchsorted(edges, meters.time_s, side="right") - 1, 0, len(edges) - 2)
    count = len(edges) - 1
    known_s = np.bincount(day, weights=np.where(meters.known, meters.length_s, 0.0), minlength=count)
    share = known_s / np.diff(edges)
    out = np.full((count, 3), np.nan)
    for k, column in enumerate((meters.facility_w, meters.it_w)):
        kwh = np.bincount(day, weights=meters.kwh(column), minlength=count)
        out[:, k] = np.where(share >= 0.9, kwh / np.maximum(share, 1e-9), np.nan)
    seen = np.isfinite(wet_bulb_c)
    bulbs = np.bincount(day[seen], minlength=count)
    out[:, 2] = np.where(
        bulbs > 0, np.bincount(day[seen], weights=wet_bulb_c[seen], minlength=count) / np.maximum(bulbs, 1), np.nan
    )
    return out


# Of each kind, the metric whose presence says that its assets were heard.
WITNESS = (
    ("gpu", "power_w"), ("node", "power_w"), ("rack", "power_w"), ("meter", "power_w"), ("cdu", "supply_temp_c"),
    ("pdu", "power_w"), ("weather", "dry_bulb_c"), ("grid", "carbon_gco2_per_kwh"),
)  # fmt: skip


def _heard(site: Site, store: Store, start: datetime, end: datetime) -> dict[str, float]:
    """Share of the assets' hours in which each kind gave a reading."""
    hours = int(np.ceil((end - start).total_seconds() / HOUR_S))
    out = {}
    for kind, metric in WITNESS:
        count = site.count(kind)
        if not count:
            continue
        portion, seen = max(1, PORTION_VALUES // count), 0
        for first in range(0, hours, portion):
            low = start + timedelta(hours=first)
            seen += int(np.isfinite(by_hour(site, store, kind, metric, low, min(portion, hours - first), end)).sum())
        out[kind] = seen / (count * hours)
    return out
