"""What a report is made of, asked of the store and the records once: columns, never more of them in memory than a portion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.account.book import Account, By, Given, account, accounts
from energy.account.meters import Meters, read_meters
from energy.account.runs import Runs, read_runs
from energy.baseline import Saving, saving
from energy.ledger import Summary, summary
from twin.event import TOPIC as EVENTS
from twin.frame import Floats, Origin
from twin.ports import Records, Store
from twin.site import Site
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.span import Span

HOUR_S = 3600.0
STEPS_S = (900.0, HOUR_S)  # a quarter of an hour, which demand is metered over; an hour, where the past was read no oftener
AS_GOOD_FRAC = 0.9
PORTION_VALUES = 4_000_000
MAX_RECORDS = 100_000  # of one topic; the newest count
PAST_DAYS = 56  # of a saving's baseline
GPU_METRICS = ("util_frac", "sm_active_frac", "tensor_active_frac", "power_w", "allocated_flag")


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """GPU hours of the site over the span by the hour: float64[h] each. ``heard``: GPUs that gave a reading; ``held``: of them
    held by a run; ``idle_held``: held, and busy less than ``IDLE_FRAC`` of the hour; means over GPUs heard, NaN where none."""

    time_s: Floats
    heard: Floats
    held: Floats
    idle_held: Floats
    means: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All that the sections are made from. ``splits``: the account split by user, project and job."""

    site: Site
    span: Span
    account: Account
    before: Account | None
    year_ago: Account | None
    splits: Mapping[By, Account]
    meters: Meters
    wet_bulb_c: Floats
    chiller_w: Floats
    gpu_kwh: float
    halls: Mapping[str, Floats]
    use: Use
    runs: Runs
    idle_by: Mapping[str, float]
    saving: Saving
    ledger: Summary
    incidents: Sequence[Mapping[str, Any]]
    alerts: Sequence[tuple[datetime, Mapping[str, Any]]]
    events: Sequence[tuple[datetime, Mapping[str, Any]]]
    heard_frac: Mapping[str, float]


IDLE_FRAC = 0.05  # busy for less than this part of an hour while held: idle but allocated


def gather(site: Site, store: Store, records: Records, span: Span, given: Given) -> Inputs:
    """Everything for a report over ``span``. ``SourceError`` where the store does not answer."""
    start, end = span.start, span.end
    step_s = _step(store, start, end)
    meters = read_meters(store, start, end, step_s)
    runs = read_runs(records, start, end)
    gpus = site.count("gpu")
    splits = accounts(store, start, end, given, runs, _ways(given), gpus, step_s)
    whole = splits["project"]
    use, idle = _use(site, store, runs, start, end)
    return Inputs(
        site=site,
        span=span,
        account=whole,
        before=_other(store, span.before(), given, step_s),
        year_ago=_other(store, span.year_ago(), given, step_s),
        splits=splits,
        meters=meters,
        wet_bulb_c=_one(store, "weather", "wet_bulb_c", meters),
        chiller_w=_one(store, "chiller", "power_w", meters, total=True),
        gpu_kwh=float(np.nansum(use.means["power_w"] * use.heard)) / 1e3,
        halls=_halls(site, store, meters),
        use=use,
        runs=runs,
        idle_by=idle,
        saving=saving(*_days(store, span, step_s)),
        ledger=summary(records, start, end),
        incidents=[r for _, _, r in records.read(INCIDENTS, start, end, MAX_RECORDS, newest=True)],
        alerts=[(when, r) for _, when, r in records.read(ALERT_LOG, start, end, MAX_RECORDS, newest=True)],
        events=[(when, r) for _, when, r in records.read(EVENTS, start, end, MAX_RECORDS, newest=True)],
        heard_frac=_heard(site, store, start, end),
    )


def _step(store: Store, start: datetime, end: datetime) -> float:
    """The finest of ``STEPS_S`` in which nearly as much of the span was read as in the coarsest."""
    shares = [float(read_meters(store, start, end, step_s).known.mean()) for step_s in STEPS_S]
    return next(step_s for step_s, share in zip(STEPS_S, shares, strict=True) if share >= AS_GOOD_FRAC * shares[-1])


def _ways(given: Given) -> tuple[By, ...]:
    return ("project", "user", "job", "tenant") if given.tenants else ("project", "user", "job")


def _other(store: Store, span: Span, given: Given, step_s: float) -> Account | None:
    made = account(store, span.start, span.end, given, step_s=step_s)
    return made if made.coverage_frac > 0 else None


def _one(store: Store, kind: str, metric: str, meters: Meters, total: bool = False) -> Floats:
    """float64[t] on the meters' steps: the mean over the assets of ``kind``, or their total; NaN where not read."""
    out = np.full(len(meters.time_s), np.nan)
    start, end = _edges(meters)
    for origin in (Origin.MODELLED, Origin.MEASURED):
        series = store.series(kind, (metric,), start, end, meters.step_s, origin=origin)
        found = series.values.get(metric)
        if found is None or not found.size:
            continue
        seen = np.isfinite(found).any(axis=1)
        folded = np.nansum(found, axis=1) if total else np.nansum(found, axis=1) / np.maximum(np.isfinite(found).sum(axis=1), 1)
        place = np.rint((series.time_s - meters.time_s[0]) / meters.step_s).astype(np.int64)
        fits = seen & (place >= 0) & (place < len(out))
        out[place[fits]] = folded[fits]
    return out


def _edges(meters: Meters) -> tuple[datetime, datetime]:
    return (
        datetime.fromtimestamp(float(meters.time_s[0]), UTC),
        datetime.fromtimestamp(float(meters.time_s[-1] + meters.step_s), UTC),
    )


def _halls(site: Site, store: Store, meters: Meters) -> dict[str, Floats]:
    """float64[t] of IT power by hall, from the racks in it; empty where the site has one hall or none."""
    names = site.ids_of("hall")
    if len(names) < 2 or not site.count("rack"):
        return {}
    hall_of = site.within("rack", "hall")
    start, end = _edges(meters)
    for origin in (Origin.MEASURED, Origin.MODELLED):
        series = store.series("rack", ("power_w",), start, end, meters.step_s, origin=origin)
        found = series.values.get("power_w")
        if found is None or not np.isfinite(found).any():
            continue
        place = np.rint((series.time_s - meters.time_s[0]) / meters.step_s).astype(np.int64)
        out = {name: np.full(len(meters.time_s), np.nan) for name in names}
        for k, name in enumerate(names):
            mine = found[:, hall_of[series.rows] == k]
            if mine.size:
                out[name][place] = np.where(np.isfinite(mine).any(axis=1), np.nansum(mine, axis=1), np.nan)
        return out
    return {}


def _use(site: Site, store: Store, runs: Runs, start: datetime, end: datetime) -> tuple[Use, dict[str, float]]:
    """GPU use by the hour, and idle held GPU hours by user, read in portions of hours."""
    gpus = site.count("gpu")
    hours = int(np.ceil((end - start).total_seconds() / HOUR_S))
    time_s: Floats = start.timestamp() + HOUR_S * np.arange(float(hours))
    columns = {name: np.full(hours, np.nan) for name in GPU_METRICS}
    heard, held, idle = np.zeros(hours), np.zeros(hours), np.zeros(hours)
    by_run, held_known = np.zeros(len(runs)), len(runs) > 0
    portion = max(1, PORTION_VALUES // max(gpus, 1))
    for first in range(0, hours, portion):
        last = min(first + portion, hours)
        owner = _owners(runs, time_s[first:last], gpus)
        table = _gpu_table(store, start, first, last, gpus)
        seen = np.isfinite(table["power_w"]) | np.isfinite(table["util_frac"])
        heard[first:last] = seen.sum(axis=1)
        mine = owner >= 0
        if not len(runs):  # no queue was read: what the exporters say of their GPUs
            mine = table["allocated_flag"] > 0.5
            held_known |= bool(np.isfinite(table["allocated_flag"]).any())
        held[first:last] = mine.sum(axis=1)
        lazy = mine & (table["util_frac"] < IDLE_FRAC)
        idle[first:last] = lazy.sum(axis=1)
        np.add.at(by_run, owner[lazy & (owner >= 0)], 1.0)
        for name in GPU_METRICS:
            values = table[name]
            count = np.isfinite(values).sum(axis=1)
            columns[name][first:last] = np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)
    idle_by: dict[str, float] = {}
    for user, idle_h in zip(runs.users, by_run.tolist(), strict=True):
        if idle_h:
            idle_by[user] = idle_by.get(user, 0.0) + idle_h
    if not held_known:
        held[:], idle[:] = np.nan, np.nan
    return Use(time_s, heard, held, idle, columns), idle_by


def _gpu_table(store: Store, start: datetime, first: int, last: int, gpus: int) -> dict[str, Floats]:
    """float64[hours, gpus] of each of ``GPU_METRICS``."""
    low, high = start + timedelta(hours=first), start + timedelta(hours=last)
    out = {}
    for name in GPU_METRICS:
        values = np.full((last - first, gpus), np.nan)
        series = store.series("gpu", (name,), low, high, HOUR_S)
        found = series.values.get(name)
        if found is not None and found.size:
            place = np.floor((series.time_s - low.timestamp()) / HOUR_S).astype(np.int64)
            fits = (place >= 0) & (place < last - first)
            values[np.ix_(place[fits], series.rows)] = found[fits]
        out[name] = values
    return out


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
    bulb = _one(store, "weather", "wet_bulb_c", meters)
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
    hours = max((end - start).total_seconds() / HOUR_S, 1.0)
    out = {}
    for kind, metric in WITNESS:
        count = site.count(kind)
        if not count:
            continue
        portion = timedelta(hours=max(1, PORTION_VALUES // count))
        seen, low = 0, start
        while low < end:
            high = min(low + portion, end)
            found = store.series(kind, (metric,), low, high, HOUR_S).values.get(metric)
            seen += 0 if found is None else int(np.isfinite(found).sum())
            low = high
        out[kind] = min(seen / (count * hours), 1.0)
    return out
