"""``/api/v1/forecasts/…`` and ``/api/v1/kpis``: how far forecasts may be believed, when peaks come, and how the centre is
used."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Query
from pydantic import BaseModel

from analytics import kpis
from analytics.accuracy import Accuracy
from analytics.cards import card
from analytics.forecast import Forecast
from analytics.peaks import crossing, paths_of, peaks_of
from twin.job import JobState
from twin.message import Message
from twin.ports import How
from ui.faces.push import Pulse
from ui.reading import Number
from ui.view import Live

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


class KpiOut(BaseModel):
    """A figure with its definition; ``known_frac``: share of what it is taken over that was measured."""

    name: str
    value: Number
    known_frac: Number
    definition: str


class KpisOut(BaseModel):
    """Of ``[start, end)``; waits are of the jobs that the schedulers still show."""

    start: datetime
    end: datetime
    kpis: list[KpiOut]
    waits: list[dict[str, Number]]


def add_forecast_api(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    router = APIRouter(prefix="/api/v1")
    _add_forecasts(router, pulse.live)
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
    @router.get("/kpis")
    def how_it_is_used() -> KpisOut:
        """Utilisation, activity, availability, fragmentation and queue waits of the last day, with the field's definitions."""
        end = live.clock.now()
        start = max(end - timedelta(hours=KPI_HOURS), live.started) if live.demo else end - timedelta(hours=KPI_HOURS)
        found = [*_measured(live, start, end), *_placed(live, start, end)]
        out = [
            KpiOut(name=name, value=value, known_frac=known, definition=kpis.DEFINITIONS[name]) for name, value, known in found
        ]
        waits = [{field: getattr(one, field) for field in one.__slots__} for one in kpis.queue_waits(live.jobs)]
        return KpisOut(start=start, end=end, kpis=out, waits=waits)


def _measured(live: Live, start: datetime, end: datetime) -> Sequence[tuple[str, float, float]]:
    """(name, value, share known) of what GPUs and nodes say of themselves."""
    found = []
    for kpi, kind, name in (
        ("gpu_util_frac", "gpu", "util_frac"),
        ("sm_active_frac", "gpu", "sm_active_frac"),
        ("tensor_mfu_frac", "gpu", "tensor_active_frac"),
        ("availability_frac", "node", "up_flag"),
    ):
        count = live.site.count(kind)
        if not count or end <= start:
            continue
        rows = np.arange(0, count, -(-count // MAX_GPUS), dtype=np.int32)
        values = live.store.series(kind, [name], start, end, KPI_STEP_S, How.MEAN, rows).values[name]
        mean, known = kpis.known_mean(values)
        if known == 0:
            continue  # not measured here: no figure, rather than one of silence
        found.append((kpi, kpis.availability_frac(values) if kpi == "availability_frac" else mean, known))
    return found


def _placed(live: Live, start: datetime, end: datetime) -> Sequence[tuple[str, float, float]]:
    """(name, value, share known) of what the schedulers' jobs say."""
    jobs, gpus = live.jobs, live.site.count("gpu")
    if not len(jobs) or not gpus:
        return ()
    held = np.zeros(gpus, dtype=bool)
    held[jobs.rows[np.isin(jobs.state[jobs.job_of], (JobState.RUNNING, JobState.SUSPENDED))]] = True
    parent = live.site.parent[live.site.of_kind("gpu")]
    _, node = np.unique(parent, return_inverse=True)
    idle = np.bincount(node, weights=~held).astype(np.int32)
    size = int(np.bincount(node).max())
    return (
        ("utilisation_frac", kpis.utilisation_frac(jobs, gpus, start.timestamp(), end.timestamp()), 1.0),
        ("fragmentation_frac", kpis.fragmentation_frac(idle, jobs.gpus, size), float(len(jobs.rows) > 0)),
    )
