"""``/api/v1/forecasts/…`` and ``/api/v1/kpis``: how far forecasts may be believed, when peaks come, and how the centre is
used."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Query, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from analytics import kpis
from analytics.accuracy import Accuracy
from analytics.cards import card
from analytics.forecast import Forecast
from analytics.many import Foreseen
from analytics.peaks import crossing, paths_of, peaks_of
from energy.account.runs import Recent, Runs, noted_from
from twin.job import JobState
from twin.message import Message
from twin.metrics import suffix
from twin.ports import How
from ui.able import HOUR_S, able_by_hour, by_hour
from ui.faces.pages.forecast import key_of, options_of, whole_of
from ui.faces.pages.foreseen import chosen_of, part_of
from ui.faces.push import Pulse
from ui.forecast_picture import forecast_svg
from ui.reading import Number
from ui.view import Live
from ui.words import words

KPI_HOURS = 24
KPI_STEP_S = 300.0
MAX_GPUS = 100_000  # whose means over a day are read; of more, every n-th


class LeadOut(BaseModel):
    """How forecasts came, ``from_s`` to ``to_s`` ahead (see ``analytics.accuracy.LeadAccuracy``)."""

    from_s: float
    to_s: float
    steps: int
    mase: Number
    vs_naive_ratio: Number
    coverage_80_frac: Number


class AccuracyOut(BaseModel):
    """How the forecasts of one series came; ``drift`` from 1 on is drift."""

    kind: str
    asset: str
    metric: str
    steps: int
    mase: Number
    vs_naive_ratio: Number
    coverage_80_frac: Number
    drift: float
    leads: list[LeadOut]


class PeakOut(BaseModel):
    """The highest step of 24 hours from ``start``: ``probability`` that it is each of its steps, the likeliest hour, how
    high."""

    start: datetime
    likeliest: datetime
    p10: float
    p50: float
    p90: float
    probability: list[float]


class CrossingOut(BaseModel):
    """Whether ``limit`` is reached within the horizon; ``by_step`` by the end of each step; ``likely_at`` where it is."""

    limit: float
    probability: float
    by_step: list[float]
    likely_at: datetime | None


class PeaksOut(BaseModel):
    """Peaks of one forecast."""

    kind: str
    asset: str
    metric: str
    issued: datetime
    days: list[PeakOut]
    crossing: CrossingOut | None


class PartOut(BaseModel):
    """Quantiles of one part (a rack, a tenant, a link) for the page's steps; how its backtest did."""

    name: str
    p10: list[Number]
    p50: list[Number]
    p90: list[Number]
    mase: Number
    naive_mase: Number
    coverage_80_frac: Number


class PartsOut(BaseModel):
    """A page of the parts of one kind; ``total`` counts all of them; ``sum_p50`` is the sum of all medians, that of their whole
    where they were made to add up."""

    kind: str
    metric: str
    issued: datetime
    time: list[datetime]
    total: int
    offset: int
    sum_p50: list[Number]
    notes: list[str]
    parts: list[PartOut]


class KpiOut(BaseModel):
    """A figure with its definition; ``known_frac``: share of what it is taken over that was measured."""

    name: str
    value: Number
    known_frac: Number
    definition: str


class KpisOut(BaseModel):
    """Of ``[start, end)``; waits are of the runs that started in it."""

    start: datetime
    end: datetime
    kpis: list[KpiOut]
    waits: list[dict[str, Number]]


def add_forecast_api(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    router = APIRouter(prefix="/api/v1")
    _add_forecasts(router, pulse.live)
    _add_parts(router, pulse.live)
    _add_picture(router, pulse.live)
    _add_kpis(router, pulse.live)
    server.include_router(router)


def _add_forecasts(router: APIRouter, live: Live) -> None:
    @router.get("/forecasts/accuracy")
    def how_they_came() -> list[AccuracyOut]:
        """How forecasts came when the truth was known, by lead, beside the daily naive."""
        return [_accuracy(live, key, found) for key, found in live.accuracy.items()]

    @router.get("/forecasts/card")
    def model_card(metric: str, asset: str = "") -> dict[str, Any]:
        """The model card of a forecast: data, figures by lead beside the baselines, shares of the models, weak spots."""
        found = card(_chosen(live, metric, asset))
        if isinstance(found, Message):
            raise HTTPException(404, str(found))
        return found.plain()

    @router.get("/forecasts/peaks")
    def peaks(
        metric: str,
        asset: str = "",
        limit: Annotated[float | None, Query(allow_inf_nan=False, description="in the metric's unit")] = None,
    ) -> PeaksOut:
        """The peak of each 24 hours ahead as a distribution over its hours; with ``limit``, whether and when it is reached."""
        mine = _chosen(live, metric, asset)
        days = [
            PeakOut(
                start=_time(mine, start),
                likeliest=_time(mine, start + peak.step),
                p10=peak.p10,
                p50=peak.p50,
                p90=peak.p90,
                probability=peak.probability.tolist(),
            )
            for start, peak in peaks_of(mine)
        ]
        name = live.site.ids_of(mine.kind)[mine.row]
        reached = None if limit is None else _crossing(mine, limit)
        return PeaksOut(kind=mine.kind, asset=name, metric=metric, issued=mine.issued, days=days, crossing=reached)


def _add_parts(router: APIRouter, live: Live) -> None:
    @router.get("/forecasts/parts")
    def parts(
        kind: Annotated[str, Query(description="rack, tenant or port")],
        metric: str = "",
        name: Annotated[str, Query(description="of one part: the asset's id, or the tenant's name")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> PartsOut:
        """What is foreseen of the many parts: racks, which sum to their hall, tenants, which sum to the queue, busy links."""
        found = next((one for one in live.parts if one.kind == kind and metric in ("", one.metric)), None)
        if found is None:
            have = ", ".join(f"{one.kind} {one.metric}" for one in live.parts) or "nothing yet"
            raise HTTPException(404, f"No parts {kind[:80]!r} {metric[:80]!r} are foreseen; there are {have}.")
        mine = [i for i, one in enumerate(found.names) if name in ("", one)]
        return PartsOut(
            kind=found.kind,
            metric=found.metric,
            issued=found.issued,
            time=[datetime.fromtimestamp(t, UTC) for t in found.time_s.tolist()],
            total=len(mine),
            offset=offset,
            sum_p50=found.p50.sum(axis=1).tolist(),
            notes=[str(note) for note in found.notes],
            parts=[_part(found, i) for i in mine[offset : offset + limit]],
        )


def _add_picture(router: APIRouter, live: Live) -> None:
    @router.get("/forecasts/picture", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
    def picture(
        key: Annotated[str, Query(description="as /forecast lists it: site/0/it_power_w, rack:power_w:3")] = "",
        language: Literal["en", "zh"] = "en",
    ) -> Response:
        """A forecast with the days before it as an SVG picture; without ``key`` that of IT power."""
        said, now = words(language), live.clock.now()
        shown = part_of(live, key) or whole_of(live, key, now)
        if shown is None:
            raise HTTPException(404, f"There is no forecast {key[:80]!r}; /forecast lists those that there are.")
        found, past = shown
        names = dict([*options_of(live, said), *chosen_of(live, said)])
        title = names.get(key or key_of(found), found.metric)
        drawn = forecast_svg(said, title, suffix(found.metric), found, past, ZoneInfo(live.site.timezone))
        return Response(drawn, media_type="image/svg+xml")


def _part(found: Foreseen, i: int) -> PartOut:
    return PartOut(
        name=found.names[i],
        p10=found.p10[:, i].tolist(),
        p50=found.p50[:, i].tolist(),
        p90=found.p90[:, i].tolist(),
        mase=float(found.mase[i]),
        naive_mase=float(found.naive_mase[i]),
        coverage_80_frac=float(found.coverage_80_frac[i]),
    )


def _accuracy(live: Live, key: tuple[str, int, str], found: Accuracy) -> AccuracyOut:
    kind, row, name = key
    whole = {field: getattr(found, field) for field in ("steps", "mase", "vs_naive_ratio", "coverage_80_frac", "drift")}
    leads = [LeadOut(**{field: getattr(one, field) for field in one.__slots__}) for one in found.by_lead]
    return AccuracyOut(kind=kind, asset=live.site.ids_of(kind)[row], metric=name, leads=leads, **whole)


def _chosen(live: Live, name: str, asset: str) -> Forecast:
    mine = [f for f in live.forecasts if f.metric == name and asset in ("", live.site.ids_of(f.kind)[f.row])]
    if not mine:
        have = ", ".join(sorted({f.metric for f in live.forecasts})) or "nothing yet"
        raise HTTPException(404, f"There is no forecast of {name[:80]!r} {asset[:80]}; foreseen is {have}.")
    return mine[0]


def _time(forecast: Forecast, step: int) -> datetime:
    return datetime.fromtimestamp(float(forecast.time_s[step]), UTC)


def _crossing(forecast: Forecast, limit: float) -> CrossingOut:
    of = paths_of(forecast)
    if of is None:
        raise HTTPException(404, "Too few past forecasts to say how likely that is; ask again in some days.")
    found = crossing(of, limit, above=float(forecast.p50[0]) < limit)
    at = None if np.isnan(found.step_p50) else _time(forecast, int(found.step_p50) - 1)
    return CrossingOut(limit=limit, probability=found.probability, by_step=found.by_step.tolist(), likely_at=at)


def _add_kpis(router: APIRouter, live: Live) -> None:
    used = _Used(live)

    @router.get("/kpis")
    async def how_it_is_used() -> KpisOut:
        """Utilisation, activity, availability, fragmentation and queue waits of the last day, with the field's definitions."""
        return await used.told()


class _Used:
    """How the centre is used, worked out in one thread however many ask: the first reading of notes takes long, and who waited
    for it in a thread of the server's pool would leave one less for everybody else. Who asks meanwhile gets the same answer."""

    def __init__(self, live: Live) -> None:
        self._live, self._records, self._recent = live, live.records, _recent(live)
        self._task: asyncio.Task[KpisOut] | None = None

    async def told(self) -> KpisOut:
        """Of the last day. One who leaves before it is there takes it from nobody else."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(run_in_threadpool(self._work_out))
        return await asyncio.shield(self._task)

    def _work_out(self) -> KpisOut:
        live = self._live
        if (records := live.records) is not self._records:  # a reload has closed those before
            self._records, self._recent = records, _recent(live)
        end = live.clock.now()
        start = max(end - timedelta(hours=KPI_HOURS), live.started) if live.demo else end - timedelta(hours=KPI_HOURS)
        runs = self._recent.read(start, end)
        found = [*_measured(live, start, end), *_allocated(live, runs, start, end), *_placed(live, end)]
        out = [
            KpiOut(name=name, value=value, known_frac=known, definition=kpis.DEFINITIONS[name]) for name, value, known in found
        ]
        waits = [{field: getattr(one, field) for field in one.__slots__} for one in _waits(runs, start)]
        return KpisOut(start=start, end=end, kpis=out, waits=waits)


def _recent(live: Live) -> Recent:
    return Recent(live.records, live.site.ids_of("gpu"))


def _measured(live: Live, start: datetime, end: datetime) -> Sequence[tuple[str, float, float]]:
    """(name, value, share known) of what GPUs and nodes say of themselves."""
    found = []
    for kpi, kind, name in (
        ("gpu_util_frac", "gpu", "util_frac"),
        ("sm_active_frac", "gpu", "sm_active_frac"),
        ("tensor_mfu_frac", "gpu", "tensor_active_frac"),
    ):
        count = live.site.count(kind)
        if not count or end <= start:
            continue
        rows = np.arange(0, count, -(-count // MAX_GPUS), dtype=np.int32)
        values = live.store.series(kind, [name], start, end, KPI_STEP_S, How.MEAN, rows).values[name]
        mean, known = kpis.known_mean(values)
        if known == 0:
            continue  # not measured here: no figure, rather than one of silence
        found.append((kpi, mean, known))
    return [*found, *_available(live, start, end)]


def _available(live: Live, start: datetime, end: datetime) -> Sequence[tuple[str, float, float]]:
    """Of the whole hours within the window, as the report takes it."""
    first = datetime.fromtimestamp(-(-start.timestamp() // HOUR_S) * HOUR_S, UTC)
    hours = int((end - first).total_seconds() // HOUR_S)
    if hours < 1 or not live.site.count("gpu"):
        return ()
    power, util = (by_hour(live.site, live.store, "gpu", name, first, hours) for name in ("power_w", "util_frac"))
    heard = np.isfinite(power) | np.isfinite(util)
    if not heard.any():
        return ()  # not measured here, as above
    usable = by_hour(live.site, live.store, "node", "usable_flag", first, hours)
    able = able_by_hour(live.site, live.store, heard, usable, first)
    return (("availability_frac", kpis.availability_frac(able), float(heard.mean())),)


def _allocated(live: Live, runs: Runs, start: datetime, end: datetime) -> Sequence[tuple[str, float, float]]:
    """(name, value, share known) of what the runs on record held. The schedulers' lists forget a job minutes after its end, so
    they say nothing of a day; of the time before the first note nothing is known."""
    noted, gpus = noted_from(live.records), live.site.count("gpu")
    if noted is None or not gpus or not start < end:
        return ()
    known = max(noted, start)
    value = kpis.utilisation_frac(runs.start_s, runs.end_s, runs.gpus, gpus, known.timestamp(), end.timestamp())
    return (("utilisation_frac", value, max(0.0, (end - known) / (end - start))),)


def _waits(runs: Runs, start: datetime) -> Sequence[kpis.Wait]:
    """Of the runs that started since ``start``."""
    limit_s = np.full(len(runs), np.nan) if runs.limit_s is None else runs.limit_s
    wait_s = np.where(runs.start_s >= start.timestamp(), runs.wait_s, np.nan)
    return kpis.queue_waits(wait_s, runs.gpus, limit_s)


def _placed(live: Live, now: datetime) -> Sequence[tuple[str, float, float]]:
    """(name, value, share known) of how the schedulers' jobs lie now, on the nodes that they could lie on."""
    jobs, gpus = live.jobs, live.site.count("gpu")
    if not len(jobs) or not gpus:
        return ()
    held = np.zeros(gpus, dtype=bool)
    held[jobs.rows[np.isin(jobs.state[jobs.job_of], (JobState.RUNNING, JobState.SUSPENDED))]] = True
    parent = live.site.parent[live.site.of_kind("gpu")]
    _, node = np.unique(parent, return_inverse=True)
    usable = live.state.column("node", "usable_flag", now)
    of = live.site.within("gpu", "node")
    out = (of >= 0) & (usable[of] == 0) if len(usable) else np.zeros(gpus, dtype=bool)
    idle = np.bincount(node, weights=~held & ~out).astype(np.int32)
    size = int(np.bincount(node).max())
    return (("fragmentation_frac", kpis.fragmentation_frac(idle, jobs.gpus, size), float(len(jobs.rows) > 0)),)
