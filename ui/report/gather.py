"""What a report is made of, asked of the store and the records once: columns, never more of them in memory than a portion."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.account.book import Account, By, Given, account_of, accounts
from energy.account.grids import on_grids
from energy.account.meters import Meters, read_meters
from energy.account.part import part_account, part_splits, scaled
from energy.account.runs import Runs, no_runs, read_runs
from energy.account.tariff import Tariff
from energy.baseline import Saving, saving
from energy.ledger import Summary, summary
from energy.ledger_sums import Moved, moved
from twin.chillers import On
from twin.frame import Floats
from twin.metrics import METRICS, suffix
from twin.ports import Records, Store
from twin.site import Site
from ui.able import HOUR_S, by_hour
from ui.report.did import Did, did_in
from ui.report.halls import hall_accounts
from ui.report.plant import chain_losses, chillers_in, on_steps
from ui.report.rejected import Heat, heat_of, liquid_modelled_frac
from ui.report.resources import Resources, given_read, resources_of
from ui.report.scope import CENTRE, Part, Scope, part_of
from ui.report.span import Span
from ui.report.tokens import Tokens, tokens_of
from ui.report.used import PORTION_VALUES

STEPS_S = (900.0, HOUR_S)  # a quarter of an hour, which demand is metered over; an hour, where the past was read no oftener
AS_GOOD_FRAC = 0.9
PAST_DAYS = 56  # of a saving's baseline


@dataclass(frozen=True, slots=True, eq=False)
class Inputs(Did):
    """All that the sections are made from, of what ``scope`` names. ``before``, ``year_ago``: the account of these spans,
    where ours is not over as far into them as it is, and what was done in them (``did_before``, ``did_year_ago``); None where
    nothing was read. ``length_ratio``: our time over that of ``before``: months differ, and weeks in which clocks change.
    ``splits``: the account split by user, project and job; ``tariff``: None where there is none; ``halls``: the account of
    each; ``chillers``: which of them ran; ``losses``: kWh that each kind of the power chain lost; ``rejected``: IT's heat by
    how it left; ``heat_modelled_frac``: of the time in which that in the liquid is known, the twin's; ``saving``, ``ledger``,
    ``moved``: None of a part, which has no counterfactual of its own; so is ``chillers``."""

    account: Account
    before: Account | None
    year_ago: Account | None
    did_before: Did | None
    did_year_ago: Did | None
    length_ratio: float
    splits: Mapping[By, Account]
    meters: Meters
    wet_bulb_c: Floats
    chillers: On | None
    tariff: Tariff | None
    resources: Resources
    halls: Mapping[str, Account]
    losses: Mapping[str, float]
    rejected: Heat
    heat_modelled_frac: float
    saving: Saving | None
    ledger: Summary | None
    moved: Moved | None
    heard_frac: Mapping[str, float]
    tokens: Tokens | None = None

    @property
    def over(self) -> datetime:
        """The end of the time that figures are of; of a span that has not begun its own end."""
        return self.until if self.until > self.span.start else self.span.end

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
    part, found = part_of(scope, site, runs, given), resources_of(store, meters)
    given = given_read(given, found, account_of(meters, start, end, given)[0])
    splits, mine = _splits(site, store, meters, runs, part, (start, end), given)
    did = did_in(store, records, part, meters, span, until, end)
    reach = end - start if end < span.end else None
    chillers = chillers_in(site, store, meters) if whole else None
    before, year_ago = (_other(site, store, records, other, reach, given, scope) for other in (span.before(), span.year_ago()))
    return Inputs(
        **{one.name: getattr(did, one.name) for one in fields(did)},
        account=splits["project"],
        before=before.account,
        year_ago=year_ago.account,
        did_before=before.did,
        did_year_ago=year_ago.did,
        length_ratio=(end - start) / before.length,
        splits=splits,
        meters=mine,
        wet_bulb_c=on_steps(store, "weather", "wet_bulb_c", meters),
        chillers=chillers,
        tariff=given.tariff,
        resources=found,
        halls=hall_accounts(site, store, meters, splits["project"], given) if whole else {},
        losses=chain_losses(store, meters) if whole else {},
        rejected=heat_of(site, store, meters, chillers) if chillers else {},
        heat_modelled_frac=liquid_modelled_frac(store, meters) if whole else 0.0,
        saving=saving(*_days(store, span, step_s)) if whole else None,
        ledger=summary(records, start, end) if whole else None,
        moved=moved(records, start, end) if whole else None,
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


def _step(store: Store, start: datetime, end: datetime) -> float:
    """The finest of ``STEPS_S`` in which nearly as much of the span's time was read as in the coarsest."""
    read = [read_meters(store, start, end, step_s) for step_s in STEPS_S]
    read_s = [float(one.length_s.sum() or one.it_alone_s.sum()) for one in read]
    return next(step_s for step_s, time_s in zip(STEPS_S, read_s, strict=True) if time_s >= AS_GOOD_FRAC * read_s[-1])


def _ways(given: Given) -> tuple[By, ...]:
    return ("project", "user", "job", "tenant") if given.tenants else ("project", "user", "job")


@dataclass(frozen=True, slots=True, eq=False)
class _Other:
    """Another span: how much of it is compared, its account and what was done in it, None where nothing was read."""

    length: timedelta
    account: Account | None
    did: Did | None


def _other(
    site: Site, store: Store, records: Records, span: Span, reach: timedelta | None, given: Given, scope: Scope
) -> _Other:
    """Another span, as far into it as ours has come (``reach``; None: ours is over, and it counts whole), its account in the
    steps that the store still has of it."""
    start, end = span.start, span.end if reach is None else min(span.start + reach, span.end)
    meters = on_grids(store, read_meters(store, start, end, _step(store, start, end)), given.supply)
    part = part_of(scope, site, read_runs(records, start, end, site.ids_of("gpu")), given)
    if not len(part.runs) and scope.kind in ("tenant", "project"):
        return _Other(end - start, None, None)  # nobody noted then who held what: nothing of anybody is known
    did = did_in(store, records, part, meters, span, end, end)
    return _Other(end - start, _account(store, meters, part, start, end, given), did if did.read.any() else None)


def _account(store: Store, meters: Meters, part: Part, start: datetime, end: datetime, given: Given) -> Account | None:
    made, _ = account_of(meters, start, end, given)
    made, _ = account_of(meters, start, end, given_read(given, resources_of(store, meters), made))
    if not (made.coverage_frac or made.it_read_frac) > 0:
        return None
    if part.scope.whole:
        return made
    piece = part.piece(store, meters)
    own = part_account(made, _here(store, meters, part, given), piece.share, given, piece.cooling_frac)
    return own if (own.coverage_frac or own.it_read_frac) > 0 else None


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


# Of each kind, the metric that is asked first whether its assets were heard.
WITNESS = (
    ("gpu", "power_w"), ("node", "power_w"), ("rack", "power_w"), ("meter", "power_w"), ("cdu", "supply_temp_c"),
    ("pdu", "power_w"), ("weather", "dry_bulb_c"), ("grid", "carbon_gco2_per_kwh"),
)  # fmt: skip


def _heard(site: Site, store: Store, start: datetime, end: datetime) -> dict[str, float]:
    """Share of the assets' hours in which each kind gave a reading of any metric. Flags are none: what a scheduler says of
    nodes, and what we refuse of a sensor, is not the asset's word."""
    hours = int(np.ceil((end - start).total_seconds() / HOUR_S))
    out = {}
    for kind, metric in WITNESS:
        count = site.count(kind)
        if not count:
            continue
        others = [name for name in METRICS[kind] if name != metric and suffix(name) != "flag"]
        portion, heard = max(1, PORTION_VALUES // count), 0
        for first in range(0, hours, portion):
            low, length = start + timedelta(hours=first), min(portion, hours - first)
            seen = np.zeros((length, count), dtype=np.bool_)
            for name in (metric, *others):
                if seen.all():
                    break
                seen |= np.isfinite(by_hour(site, store, kind, name, low, length, end))
            heard += int(seen.sum())
        out[kind] = heard / (count * hours)
    return out
