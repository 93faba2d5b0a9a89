"""What a report is made of, asked of the store and the records once: columns, never more of them in memory than a portion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from analytics.detect.outcomes import TOPIC as OUTCOMES
from energy.account.book import Account, By, Given, account_of, accounts
from energy.account.grids import on_grids
from energy.account.meters import Meters, read_meters
from energy.account.part import part_account, part_splits, scaled
from energy.account.runs import Runs, no_runs, read_runs
from energy.account.tariff import Tariff
from energy.baseline import Saving, saving
from energy.ledger import Summary, summary
from energy.ledger_sums import Moved, moved
from twin.event import TOPIC as EVENTS
from twin.frame import Floats
from twin.ports import Records, Store
from twin.site import Bools, Site
from ui.able import HOUR_S, by_hour
from ui.findings import TOPIC as FINDINGS
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.halls import hall_accounts
from ui.report.plant import chain_losses, heat_ways, on_steps
from ui.report.scope import CENTRE, Part, Scope, part_of
from ui.report.span import Span
from ui.report.tokens import Tokens, tokens_of
from ui.report.used import PORTION_VALUES, Use, use_of

STEPS_S = (900.0, HOUR_S)  # a quarter of an hour, which demand is metered over; an hour, where the past was read no oftener
AS_GOOD_FRAC = 0.9
MAX_RECORDS = 100_000  # of one topic; the newest count
PAST_DAYS = 56  # of a saving's baseline
BEFORE = timedelta(days=35)  # the span, in which what somebody did about an incident that ended in it is looked for


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All that the sections are made from, of what ``scope`` names. ``until``: up to when the span is over, its end or the
    moment at which it was asked for; all is of the time before. ``read``: bool[h], hours in which a meter or a GPU was read;
    ``answered``: what was written down of incidents that ended in the span, however long ago they began. ``splits``: the
    account split by user, project and job; ``tariff``: None where there is none; ``halls``: the account of
    each; ``losses``: kWh that each kind of the power chain lost; ``rejected``: kWh of heat by how it left;
    ``saving``, ``ledger``, ``moved``: None of a part, which has no counterfactual of its own."""

    site: Site
    span: Span
    until: datetime
    scope: Scope
    account: Account
    before: Account | None
    year_ago: Account | None
    splits: Mapping[By, Account]
    meters: Meters
    wet_bulb_c: Floats
    chiller_w: Floats
    gpu_kwh: float
    tariff: Tariff | None
    halls: Mapping[str, Account]
    losses: Mapping[str, float]
    rejected: Mapping[str, float]
    use: Use
    read: Bools
    runs: Runs
    saving: Saving | None
    ledger: Summary | None
    moved: Moved | None
    incidents: Sequence[Mapping[str, Any]]
    answered: Sequence[Mapping[str, Any]]
    alerts: Sequence[tuple[datetime, Mapping[str, Any]]]
    events: Sequence[tuple[datetime, Mapping[str, Any]]]
    findings: Sequence[tuple[datetime, Mapping[str, Any]]]
    outcomes: Sequence[Mapping[str, Any]]
    heard_frac: Mapping[str, float]
    tokens: Tokens | None = None

    @property
    def contract_w(self) -> float:
        """Demand under contract [W]; 0 where none is stated."""
        return 1e3 * self.tariff.demand.contracted_kw if self.tariff and self.tariff.demand else 0.0


def gather(
    site: Site, store: Store, records: Records, span: Span, given: Given, scope: Scope = CENTRE, now: datetime | None = None
) -> Inputs:
    """Everything for a report over ``span``, asked for at ``now`` (None: it is over). ``SourceError`` where the store does not
    answer, ``ConfigError`` where the site has no such part."""
    start, whole = span.start, scope.whole
    until, step_s = _until(store, span, now), _step(store, start, span.end)
    end = until if until > start else span.end  # of one that has not begun nothing was read, and nobody held anything
    meters = on_grids(store, read_meters(store, start, end, step_s), given.supply)
    runs = read_runs(records, start, end, site.ids_of("gpu")) if until > start else no_runs()
    part = part_of(scope, site, runs, given)
    splits, mine = _splits(site, store, meters, runs, part, (start, end), given)
    use = use_of(site, store, part, start, end)
    asked = (records, start, end)
    return Inputs(
        site=site,
        span=span,
        until=until,
        scope=scope,
        account=splits["project"],
        before=_other(site, store, records, span.before(), end - start, given, scope),
        year_ago=_other(site, store, records, span.year_ago(), end - start, given, scope),
        splits=splits,
        meters=mine,
        wet_bulb_c=on_steps(store, "weather", "wet_bulb_c", meters),
        chiller_w=on_steps(store, "chiller", "power_w", meters, total=True) if whole else np.full(len(meters.time_s), np.nan),
        gpu_kwh=float(np.nansum(use.means["power_w"] * use.heard)) / 1e3,
        tariff=given.tariff,
        halls=hall_accounts(site, store, meters, splits["project"], given) if whole else {},
        losses=chain_losses(store, meters) if whole else {},
        rejected=heat_ways(site, store, meters) if whole else {},
        use=use,
        read=_read(use, meters),
        runs=part.own,
        saving=saving(*_days(store, span, step_s)) if whole else None,
        ledger=summary(records, start, end) if whole else None,
        moved=moved(records, start, end) if whole else None,
        incidents=[r for _, r in _told(part, INCIDENTS, *asked)],
        answered=_answered([r for _, r in _told(part, INCIDENTS, records, start - BEFORE, end)], start, end),
        alerts=_told(part, ALERT_LOG, *asked),
        events=_told(part, EVENTS, *asked),
        findings=_told(part, FINDINGS, *asked),
        outcomes=[r for _, r in _told(part, OUTCOMES, *asked)],
        heard_frac=_heard(site, store, start, end) if whole else {},
        tokens=tokens_of(site, store, start, end) if whole else None,
    )


def _until(store: Store, span: Span, now: datetime | None) -> datetime:
    """Up to when the span is over: its end, or ``now``. What was read later than that counts too: a clock was set back."""
    if now is None or now >= span.end:
        return span.end
    meters = read_meters(store, span.start, span.end, STEPS_S[0])
    read_s = meters.time_s[np.isfinite(meters.facility_w) | np.isfinite(meters.it_w)]
    minute = now.replace(second=0, microsecond=0)
    last_s = float(read_s[-1]) if len(read_s) else 0.0
    over = datetime.fromtimestamp(last_s + STEPS_S[0], UTC) if last_s > now.timestamp() else minute
    return min(max(over, span.start), span.end)


def _read(use: Use, meters: Meters) -> Bools:
    """bool[h]: a meter or a GPU gave a reading."""
    seen = meters.time_s[np.isfinite(meters.facility_w) | np.isfinite(meters.it_w)]
    hour = np.clip(((seen - use.time_s[0]) // HOUR_S).astype(np.int64), 0, len(use.time_s) - 1)
    return np.asarray((use.heard > 0) | (np.bincount(hour, minlength=len(use.time_s)) > 0))


def _answered(records: Sequence[Mapping[str, Any]], start: datetime, end: datetime) -> list[Mapping[str, Any]]:
    """Of the incidents that ended in ``[start, end)`` when they began, and all that was written down of them."""
    ended = {r["incident"]: r for r in records if r["what"] == "closed" and start.timestamp() <= r["at_s"] < end.timestamp()}
    began = [{**r, "what": "opened", "at_s": r["opened_s"]} for r in ended.values()]
    return [*began, *(r for r in records if r["incident"] in ended and r["what"] != "opened")]


def _splits(
    site: Site, store: Store, meters: Meters, runs: Runs, part: Part, asked: tuple[datetime, datetime], given: Given
) -> tuple[Mapping[By, Account], Meters]:
    """The account in each of its ways, and the meters of the part."""
    gpus, ways = site.count("gpu"), _ways(given)
    if part.scope.whole:
        return accounts(store, *asked, given, runs, ways, gpus, meters.step_s), meters
    whole, _ = account_of(meters, *asked, given)
    piece, here = part.piece(store, meters), _here(store, meters, part, given)
    return part_splits(store, here, whole, given, runs, ways, piece, gpus), scaled(here, piece.share, piece.cooling_frac)


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


def _other(
    site: Site, store: Store, records: Records, span: Span, length: timedelta, given: Given, scope: Scope
) -> Account | None:
    """The account of another span, as far into it as ours is over, in the steps that the store still has of it."""
    start, end = span.start, min(span.start + length, span.end)
    meters = on_grids(store, read_meters(store, start, end, _step(store, start, end)), given.supply)
    made, _ = account_of(meters, start, end, given)
    if not (made.coverage_frac or made.it_read_frac) > 0:
        return None
    if scope.whole:
        return made
    part = part_of(scope, site, read_runs(records, start, end, site.ids_of("gpu")), given)
    if not len(part.runs) and scope.kind != "hall":
        return None  # nobody noted then who held what: no energy of anybody is known
    piece = part.piece(store, meters)
    return part_account(made, _here(store, meters, part, given), piece.share, given, piece.cooling_frac)


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
