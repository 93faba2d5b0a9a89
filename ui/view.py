"""What every face shows, worked out once: the same number on the wall, in the API and in a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from analytics.accuracy import Accuracy
from analytics.alerts import OURS, Alert, Phase, Severity
from analytics.cause import Explanation
from analytics.finding import Finding
from analytics.forecast import Forecast
from analytics.judge import FORECAST_MAX_AGE_S
from analytics.many import Foreseen
from energy.account.book import Given
from energy.account.grids import Supply
from energy.place.atlas import NOWHERE, Atlas
from energy.plan import Gain, Mode, Plan, Verdict
from twin.frame import Origin, Quality
from twin.job import Jobs, no_jobs
from twin.message import Message
from twin.ports import Clock, Records, Store
from twin.push import Gate
from twin.site import Site
from twin.state import State
from ui.access.desk import Access
from ui.calibrating import Fitted
from ui.grids import GridRow, Grids, grids_now
from ui.oncall.service import OnCall
from ui.own import SourceCounts, SourceRow, TaskRow, source_counts, source_rows, task_rows
from ui.past import Past
from ui.reading import Number, Reading, Spoken, best, better, derived, fact, nothing, reading, total
from ui.report.library import Library
from ui.work import Gpus, JobRow, MachineRow, Queues, Racks, gpus, job_rows, machines, queues, racks

MAX_ALERTS, MAX_PLANS, MAX_NOTICES = 50, 10, 10  # the newest; the API has the rest
JUDGED_S = 30.0  # after so long without a look for alerts their counts are old, and icctwin is not ready
PEAK_WITHIN_S = 24 * 3600.0
_SIDES = (Origin.MEASURED, Origin.MODELLED)


@dataclass
class Live:
    """What faces may see of the running centre. Tasks replace its fields as wholes; faces only read."""

    site: Site
    state: State
    store: Store
    records: Records
    clock: Clock
    started: datetime
    demo: bool = False
    speed: float = 1.0  # seconds of the clock in a second of the wall clock
    alerts: tuple[Alert, ...] = ()
    jobs: Jobs = field(default_factory=no_jobs)
    forecasts: tuple[Forecast, ...] = ()
    parts: tuple[Foreseen, ...] = ()  # what is foreseen of racks, tenants and links: many at once
    findings: tuple[Finding, ...] = ()
    causes: tuple[Explanation, ...] = ()
    accuracy: Mapping[tuple[str, int, str], Accuracy] = field(default_factory=dict)  # (kind, row, metric) -> how it came
    plans: tuple[tuple[Plan, Verdict], ...] = ()
    resting: Message | None = None  # why levers make no plans that could
    fitted: Fitted = field(default_factory=Fitted)  # what the twin works with
    modes: dict[str, Mode] = field(default_factory=dict)  # lever -> mode
    gate: Gate | None = None  # where what is pushed goes in
    oncall: OnCall | None = None  # where people are told, and say that they have heard
    access: Access | None = None  # users, sessions, tokens and audit; see ui.access.door.access_of
    folder: Path | None = None  # of the store: where a file stops everything, and links are signed with the key that lies there
    reports: Library | None = None  # what was reported, and where a report is asked for
    atlas: Atlas = NOWHERE  # places that jobs may move between
    supply: Supply | None = None  # which hall hangs on which grid, where there are several
    zones: Mapping[str, str] = field(default_factory=dict)  # grid -> the zone by whose name its service knows it
    signal: str = "carbon_gco2_per_kwh"  # the grid's metric that work is moved by
    given: Callable[[], Given] = lambda: Given()  # what the operator gives for an account
    judged: datetime | None = None  # when alerts were last looked for, which goes on once the centre lives
    notices: tuple[Message, ...] = ()  # what icctwin has to say of itself: reload refused, store full
    certificate: Message | None = None  # what is wrong with that of the wall


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest median of IT power that the newest forecast has within a day, with its 80 % interval."""

    time: datetime | None
    p10: Reading
    p50: Reading
    p90: Reading


@dataclass(frozen=True, slots=True)
class Centre:
    """The numbers of the centre as a whole. ``price`` and ``cost_rate`` are the market's, also where a tariff counts."""

    it_power: Reading
    facility_power: Reading
    cooling_power: Reading
    loss_power: Reading
    pue: Reading
    pue_day: Reading
    carbon_intensity: Reading
    carbon_rate: Reading
    carbon_day: Reading
    price: Reading
    cost_rate: Reading
    wet_bulb: Reading
    dry_bulb: Reading
    alerts_critical: Reading
    alerts_warning: Reading
    alerts_info: Reading


@dataclass(frozen=True, slots=True)
class Stage:
    """One station of the power on its way: what the field measures and, told apart from it, what physics expects.
    ``loss`` is what the station itself turns into heat."""

    key: str
    measured: Reading
    modelled: Reading
    loss: Reading


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A firing alert that no other explains; ``folded``: how many it explains itself; ``origin``: who raised it."""

    key: str
    severity: Severity
    asset: str
    summary: Spoken
    since: datetime
    lasting: Reading
    value: Number
    limit: Number
    runbook: str
    folded: int = 0
    origin: str = OURS


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan with its expected change of facility power (negative saves), 80 % interval, and what the guard says; ``gain``:
    what moving work should change, where it does that."""

    key: str
    lever: str
    mode: Mode
    reason: Spoken
    effect: Reading
    effect_low: Reading
    effect_high: Reading
    horizon_s: Number
    made: datetime
    expires: datetime
    allowed: bool
    refusals: tuple[Spoken, ...]
    gain: Gain | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a face shows, at ``time``. ``complaints``: why icctwin itself is not well; empty when it is."""

    time: datetime
    site: str
    timezone: str
    demo: bool
    speed: float
    centre: Centre
    grids: tuple[GridRow, ...]
    gpus: Gpus
    queues: Queues
    peak: Peak
    flow: tuple[Stage, ...]
    racks: Racks
    machines: tuple[MachineRow, ...]
    jobs: tuple[JobRow, ...]
    alerts: tuple[AlertRow, ...]
    sources: tuple[SourceRow, ...]
    source_counts: SourceCounts
    tasks: tuple[TaskRow, ...]
    plans: tuple[PlanRow, ...]
    notices: tuple[Spoken, ...]
    complaints: tuple[Spoken, ...]


_JSON: TypeAdapter[View] = TypeAdapter(View)


def as_json(view: View) -> dict[str, Any]:
    """``view`` as JSON's own types: NaN is null, times are ISO 8601 UTC."""
    made: dict[str, Any] = _JSON.dump_python(view, mode="json")
    return made


def view(live: Live, now: datetime, past: Past | None = None) -> View:
    """What there is to show at ``now``; ``past`` gives the numbers that are means over a day."""
    state, firing = live.state, tuple(a for a in live.alerts if a.phase is Phase.FIRING)
    causes = tuple(alert for alert in firing if not alert.cause)
    sources, tasks = source_rows(state, now), task_rows(state, now)
    waiting = queues(state, now)
    grids = grids_now(live, now)
    notices = live.notices if live.certificate is None else (live.certificate, *live.notices)
    return View(
        time=now,
        site=live.site.name,
        timezone=live.site.timezone,
        demo=live.demo,
        speed=live.speed,
        centre=_centre(live, grids, causes, past, now),
        grids=grids.rows,
        gpus=gpus(
            state,
            live.jobs,
            {a.asset for a in firing if a.severity is Severity.CRITICAL},
            waiting,
            now,
            past.xids if past else (),
        ),
        queues=waiting,
        peak=_peak(live.forecasts, now),
        flow=_flow(state, now),
        racks=racks(state, now),
        machines=machines(state, now),
        jobs=job_rows(live.jobs, waiting.jobs_running, now),
        alerts=tuple(_alert(alert, now) for alert in sorted(causes, key=_newest_first)[:MAX_ALERTS]),
        sources=sources,
        source_counts=source_counts(state, now),
        tasks=tasks,
        plans=plan_rows(live, now, MAX_PLANS),
        notices=notices[:MAX_NOTICES],
        complaints=tuple(_complaints(sources, tasks, notices)),
    )


def plan_rows(live: Live, now: datetime, most: int) -> tuple[PlanRow, ...]:
    """What is on the desk, the first ``most``."""
    return tuple(_plan(plan, verdict, live.modes, now) for plan, verdict in live.plans[:most])


def unjudged_s(live: Live, now: datetime) -> float:
    """For how long nobody has looked for alerts, of the machine's time; 0 before the centre lives."""
    return (now - live.judged).total_seconds() / max(live.speed, 1.0) if live.judged else 0.0


def _counted(count: int, age_s: float) -> Reading:
    return Reading(float(count), "count", age_s, age_s <= JUDGED_S, Origin.MEASURED, Quality.GOOD)


def _centre(live: Live, grids: Grids, firing: Sequence[Alert], past: Past | None, now: datetime) -> Centre:
    state, age_s = live.state, unjudged_s(live, now)
    facility = best(state, "site", "facility_power_w", now)
    carbon, price = grids.carbon, grids.price
    count = {severity: _counted(sum(a.severity is severity for a in firing), age_s) for severity in Severity}
    return Centre(
        it_power=best(state, "site", "it_power_w", now),
        facility_power=facility,
        cooling_power=best(state, "site", "cooling_power_w", now),
        loss_power=best(state, "site", "loss_power_w", now),
        pue=best(state, "site", "pue_ratio", now),
        pue_day=past.pue(now) if past else nothing("ratio"),
        carbon_intensity=carbon,
        # W * g/kWh = mg/h; 1e9 of them are a tonne
        carbon_rate=derived(facility.value * carbon.value / 1e9, "tco2_per_h", (facility, carbon)),
        carbon_day=past.carbon_t(now) if past else nothing("tco2"),
        price=price,
        cost_rate=derived(facility.value / 1e6 * price.value, "per_h", (facility, price)),
        wet_bulb=best(state, "weather", "wet_bulb_c", now),
        dry_bulb=best(state, "weather", "dry_bulb_c", now),
        alerts_critical=count[Severity.CRITICAL],
        alerts_warning=count[Severity.WARNING],
        alerts_info=count[Severity.INFO],
    )


def _flow(state: State, now: datetime) -> tuple[Stage, ...]:
    def of_site(key: str, name: str) -> Stage:
        measured, modelled = (reading(state, "site", name, now, origin=origin) for origin in _SIDES)
        return Stage(key, measured, modelled, nothing("w"))

    def of_all(kind: str) -> Stage:
        measured, modelled = (total(state, kind, "power_w", now, origin) for origin in _SIDES)
        return Stage(kind, measured, modelled, better(*(total(state, kind, "loss_w", now, origin) for origin in _SIDES)))

    return (
        of_site("grid", "facility_power_w"),
        of_all("transformer"),
        of_all("ups"),
        of_site("it", "it_power_w"),
        of_site("cooling", "cooling_power_w"),
        of_site("loss", "loss_power_w"),
    )


def _peak(forecasts: Sequence[Forecast], now: datetime) -> Peak:
    none = nothing("w", Origin.FORECAST)
    mine = [f for f in forecasts if (f.kind, f.metric) == ("site", "it_power_w")]
    if not mine:
        return Peak(None, none, none, none)
    newest = max(mine, key=lambda forecast: forecast.issued)
    ahead = (newest.time_s >= now.timestamp()) & (newest.time_s < now.timestamp() + PEAK_WITHIN_S)
    if not ahead.any():
        return Peak(None, none, none, none)
    i = int(ahead.nonzero()[0][newest.p50[ahead].argmax()])
    age_s = (now - newest.issued).total_seconds()

    def edge(value: float) -> Reading:
        return Reading(float(value), "w", age_s, age_s <= FORECAST_MAX_AGE_S, Origin.FORECAST, none.quality)

    time = datetime.fromtimestamp(float(newest.time_s[i]), now.tzinfo)
    return Peak(time, edge(newest.p10[i]), edge(newest.p50[i]), edge(newest.p90[i]))


def _newest_first(alert: Alert) -> tuple[int, float]:
    return list(Severity).index(alert.severity), -alert.since.timestamp()


def _alert(alert: Alert, now: datetime) -> AlertRow:
    return AlertRow(
        key=alert.key,
        severity=alert.severity,
        asset=alert.asset,
        summary=alert.summary,
        since=alert.since,
        lasting=fact((now - alert.since).total_seconds(), "s"),
        value=alert.value,
        limit=alert.limit,
        runbook=alert.runbook,
        folded=alert.folded,
        origin=alert.origin,
    )


def _plan(plan: Plan, verdict: Verdict, modes: dict[str, Mode], now: datetime) -> PlanRow:
    age_s = (now - plan.made).total_seconds()

    def expected(value: float) -> Reading:
        return Reading(value, "w", age_s, now < plan.expires, Origin.FORECAST, fact(0).quality)

    return PlanRow(
        key=plan.key,
        lever=plan.lever,
        mode=modes.get(plan.lever, Mode.ADVISE),
        reason=plan.reason,
        effect=expected(plan.effect.facility_power_w),
        effect_low=expected(plan.effect.low_w),
        effect_high=expected(plan.effect.high_w),
        horizon_s=plan.effect.horizon_s,
        made=plan.made,
        expires=plan.expires,
        allowed=verdict.allowed,
        refusals=tuple(refusal.why for refusal in verdict.refusals),
        gain=plan.gain,
    )


def _complaints(sources: Sequence[SourceRow], tasks: Sequence[TaskRow], notices: Sequence[Message]) -> list[Message]:
    bad = [source for source in sources if source.status in ("down", "silent")]
    said = [Message("source {asset} does not answer", {"asset": s.id}) for s in bad if s.status == "down"]
    said += [Message("source {asset} is silent", {"asset": s.id}) for s in bad if s.status == "silent"]
    said += [Message("task {asset} fails", {"asset": task.id}) for task in tasks if task.failing.value > 0]
    return [*said, *notices][:MAX_NOTICES]
