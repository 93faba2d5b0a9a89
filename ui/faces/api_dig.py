"""``/api/v1/assets/…``, ``/api/v1/explore…``: all there is to know of one asset, and any series in any grouping, also as
files."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from analytics.finding import record_of
from twin.event import TOPIC as EVENTS
from twin.event import event_of
from twin.frame import Floats, Origin
from twin.message import Message
from twin.metrics import suffix
from twin.ports import How
from ui.access.door import identity_of
from ui.conditions import Trouble, read_conditions, troubles_of
from ui.dig.card import WRONG_SCORE, Card, card, gpus_of, residual_of
from ui.dig.explore import MAX_EXPORT, STEPS, Question, Unanswerable, explore, nice_step_s
from ui.dig.export import KINDS as FORMS
from ui.dig.export import file_name, written
from ui.dig.placed import ran_on
from ui.faces.answers import STEP_S, AlertOut, Failure, When
from ui.faces.api_events import EventOut
from ui.faces.api_findings import FindingOut
from ui.faces.api_views import AnnotationOut, annotations_on
from ui.faces.push import Pulse
from ui.meanings import meaning
from ui.own import source_row
from ui.reading import Number
from ui.view import Live
from ui.words import Words, words

MAX_EVENTS_READ, MAX_EVENTS, MAX_ALERTS = 5000, 100, 100
BACK = timedelta(days=30)  # how far back events and jobs of an asset are looked for


class PastJob(BaseModel):
    """A job that holds or held GPUs of the asset; ``end_s`` null: it still does. Times are seconds since 1970."""

    id: str
    name: str
    user: str
    state: str
    gpus: int
    gpus_here: int
    start_s: float | None
    end_s: float | None


class TroubleOut(BaseModel):
    """One thing that is not well with a source, with what to do; ``since`` null: nobody knows from when on."""

    text: str
    since: datetime | None


class AssetOut(BaseModel):
    """The card of an asset, what is and was wrong with it, the jobs on it, and what people noted. ``troubles``: of a source,
    why it fails and what of it belongs to nothing known. ``said``: English sentences among them -> the same in the language
    that was asked for; empty for English."""

    time: datetime
    card: Card
    alerts: list[AlertOut]
    findings: list[FindingOut]
    troubles: list[TroubleOut]
    events: list[EventOut]
    jobs: list[PastJob]
    annotations: list[AnnotationOut]
    said: dict[str, str]


class LinesOut(BaseModel):
    """Series in steps of ``step_s``: for each metric a list a line, one value a step; ``time_s``: starts of steps, seconds
    since 1970; ``counts``: assets behind each line; ``coarser``: the step asked for was too fine."""

    kind: str
    origin: Origin
    step_s: float
    coarser: bool
    time_s: list[float]
    names: list[str]
    counts: list[int]
    units: dict[str, str]
    metrics: dict[str, list[list[Number]]]


class BandOut(BaseModel):
    """One metric of one asset as measured, with the least and the most of each step, as physics expects it, and the band
    outside which a reading is wrong (expected value ± 4 of its spreads); lists are empty where there is no such side."""

    asset: str
    metric: str
    unit: str
    step_s: float
    time_s: list[float]
    measured: list[Number]
    low: list[Number]
    high: list[Number]
    modelled: list[Number]
    band_low: list[Number]
    band_high: list[Number]


Start = Annotated[When | None, Query(description="ISO 8601 with zone; none: a day before end")]
Step = Annotated[float | None, Query(ge=0, le=STEP_S, description="none: about as many steps as a page is wide")]
End = Annotated[When | None, Query(description="ISO 8601 with zone; none: now")]


def add_dig(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    router = APIRouter(prefix="/api/v1", responses={key: {"model": Failure} for key in (404, 422, 503)})
    _add_asset(router, pulse.live)
    _add_band(router, pulse.live)
    _add_explore(router, pulse.live)
    server.include_router(router)


def known(live: Live, asset: str) -> str:
    """``asset`` where the site has it; 404 with one sentence where not."""
    if asset not in live.site.position:
        raise HTTPException(404, f"There is no asset {asset[:100]!r} in this site; /api/v1/search finds what there is.")
    return asset


def span(live: Live, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The span asked for, a day where nothing is said."""
    until = (end or live.clock.now()).astimezone(UTC)
    return (start or until - timedelta(days=1)).astimezone(UTC), until


def _add_asset(router: APIRouter, live: Live) -> None:
    @router.get("/assets/{asset:path}")
    def the_asset(request: Request, asset: str, lang: Literal["en", "zh"] = "en") -> AssetOut:
        """One asset: attributes, holders, children, power and cooling paths, newest readings; its alerts, findings, events of
        30 days, jobs and annotations."""
        now, site = live.clock.now(), live.site
        made = card(site, live.state, live.alerts, live.jobs, known(live, asset), now)
        inside = _subject(live, asset)
        alerts = [alert for alert in live.alerts if alert.asset in inside][:MAX_ALERTS]
        findings = [one for one in live.findings if one.asset in inside][:MAX_ALERTS]
        events = _events(live, inside, now)
        troubles = _troubles(live, asset, now)
        told = [*(one.summary for one in alerts), *(one.summary for one in findings), *(one.text for one in troubles)]
        return AssetOut(
            time=now,
            card=made,
            alerts=[AlertOut.of(alert) for alert in alerts],
            findings=[FindingOut(**record_of(one)) for one in findings],
            troubles=[TroubleOut(text=str(one.text), since=one.since) for one in troubles],
            events=events,
            jobs=_jobs(live, made, now),
            annotations=annotations_on(live, identity_of(request), asset, now - BACK, None)[:MAX_EVENTS],
            said={} if lang == "en" else _said(made, told, events, words(lang)),
        )


def _said(made: Card, summaries: Sequence[Message], events: Sequence[EventOut], words: Words) -> dict[str, str]:
    """Every sentence of the page in another language, by the English one."""
    told = {str(one): words.sentence(one) for one in summaries}
    return {made.says: words(made.says), **told, **{one.meaning: meaning(one.meaning, words) for one in events}}


def _troubles(live: Live, asset: str, now: datetime) -> list[Trouble]:
    if live.site.kind(asset) != "source":
        return []
    return troubles_of(source_row(live.state, asset, now), read_conditions(live.records).get(asset))


def _subject(live: Live, asset: str) -> set[str]:
    """The asset, and what lies inside a rack or a node, for which one page is enough."""
    site, kind = live.site, live.site.kind(asset)
    found = {asset}
    if kind in ("rack", "node", "switch", "cdu"):
        for inner in ("node", "gpu", "switch", "port", "pump", "pdu"):
            where = np.flatnonzero(site.within(inner, kind) == site.row(asset))
            found.update(site.ids[i] for i in site.of_kind(inner)[where].tolist())
    return found


def _events(live: Live, inside: set[str], now: datetime) -> list[EventOut]:
    made: list[EventOut] = []
    for number, time, record in reversed(live.records.read(EVENTS, now - BACK, None, MAX_EVENTS_READ, newest=True)):
        if record["asset"] in inside:
            made.append(EventOut(number=number, time=time, **event_of(time, record).record()))
            if len(made) == MAX_EVENTS:
                break
    return made


def _jobs(live: Live, made: Card, now: datetime) -> list[PastJob]:
    rows = gpus_of(live.site, live.site.position[made.asset])
    found = [PastJob(**job) for job in made.jobs]
    for past in ran_on(live.site, live.records, rows, now - BACK) if len(rows) else ():
        named = {key: value for key, value in past.items() if key != "job"}
        found.append(PastJob(id=past["job"], state="ended", **named))
    return found


def _add_band(router: APIRouter, live: Live) -> None:
    @router.get("/explore/asset")
    async def band(asset: str, metric: str, start: Start = None, end: End = None, step_s: Step = None) -> BandOut:
        """One metric of one asset: measured against modelled, with the band outside which a reading is wrong."""
        since, until = span(live, start, end)
        return await run_in_threadpool(_band, live, known(live, asset), metric, since, until, step_s)


def _band(live: Live, asset: str, metric: str, since: datetime, until: datetime, step_s: float | None) -> BandOut:
    kind = live.site.kind(asset)
    step = max(step_s or 0.0, nice_step_s((until - since).total_seconds() / (2 * STEPS)))
    time_s = np.arange(np.ceil(since.timestamp() / step), np.ceil(until.timestamp() / step)) * step

    def read(name: str, origin: Origin = Origin.MEASURED, fold: How = How.MEAN) -> Floats:
        asked = Question(kind, (name,), since, until, (asset,), fold=fold, origin=origin, step_s=step)
        found = explore(live.site, live.store, asked)
        column = np.full(len(time_s), np.nan)
        at = np.searchsorted(time_s, found.time_s)
        inside = (at < len(time_s)) & (found.time_s >= time_s[0] if len(time_s) else False)
        column[at[inside]] = found.values[name][inside, 0]
        return column

    try:
        measured, low, high = read(metric), read(metric, fold=How.MIN), read(metric, fold=How.MAX)
        modelled, pair = read(metric, Origin.MODELLED), residual_of(kind, metric)
        residual, score = (read(name, Origin.MODELLED) for name in pair) if pair else (np.empty(0), np.empty(0))
    except Unanswerable as error:
        raise HTTPException(422, str(error)) from None
    band_low: Floats = np.empty(0)
    band_high: Floats = np.empty(0)
    if pair:
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(score != 0, np.abs(residual / score), np.nan)
        band_low, band_high = measured - residual - WRONG_SCORE * spread, measured - residual + WRONG_SCORE * spread
    sides: tuple[Floats, ...] = (measured, low, high, modelled, band_low, band_high)
    return _told(asset, metric, step, time_s, sides)


def _told(asset: str, metric: str, step_s: float, time_s: Any, sides: tuple[Floats, ...]) -> BandOut:
    names = ("measured", "low", "high", "modelled", "band_low", "band_high")
    lists = {name: column.tolist() if np.isfinite(column).any() else [] for name, column in zip(names, sides, strict=True)}
    return BandOut(asset=asset, metric=metric, unit=suffix(metric), step_s=step_s, time_s=time_s.tolist(), **lists)


def _add_explore(router: APIRouter, live: Live) -> None:
    names = Annotated[list[str], Query(description="repeated or separated by commas")]

    def asked(
        kind: str,
        metric: names,
        asset: names = [],  # noqa: B006 - FastAPI copies defaults
        within: Annotated[str, Query(description="inside this asset alone")] = "",
        by: Annotated[str, Query(description="put together by this kind of container")] = "",
        across: Annotated[str, Query(description="how: mean, min, max, sum or p95")] = "mean",
        fold: How = How.MEAN,
        origin: Origin = Origin.MEASURED,
        band: Annotated[str, Query(pattern="^(p10|p90|told)?$")] = "",
        start: Start = None,
        end: End = None,
        step_s: Annotated[float | None, Query(ge=1, le=86400 * 31)] = None,
    ) -> Question:
        since, until = span(live, start, end)
        metrics, assets = (
            tuple(dict.fromkeys(n for part in listed for n in part.split(",") if n)) for listed in (metric, asset)
        )
        return Question(kind, metrics, since, until, assets, within, by, across, fold, origin, band, step_s)

    Asked = Annotated[Question, Depends(asked)]

    @router.get("/explore")
    async def lines(question: Asked) -> LinesOut:
        """Values over time, each asset by itself or put together by what holds it."""
        try:
            found = await run_in_threadpool(explore, live.site, live.store, question)
        except Unanswerable as error:
            raise HTTPException(422, str(error)) from None
        return LinesOut(
            kind=question.kind,
            origin=question.origin,
            step_s=found.step_s,
            coarser=found.coarser,
            time_s=found.time_s.tolist(),
            names=list(found.names),
            counts=list(found.counts),
            units={name: suffix(name) for name in found.values},
            metrics={name: column.T.tolist() for name, column in found.values.items()},
        )

    @router.get("/explore/export", response_class=Response)
    async def export(question: Asked, form: Annotated[Literal["csv", "parquet"], Query(alias="format")] = "csv") -> Response:
        """The same as a file: CSV, or Parquet with the units in its metadata; up to 5 million values."""

        def work() -> bytes:
            found = explore(live.site, live.store, question, most_series=20_000, most_values=MAX_EXPORT)
            return written(found, question, form)

        try:
            body = await run_in_threadpool(work)
        except Unanswerable as error:
            raise HTTPException(422, str(error)) from None
        named = {"content-disposition": f'attachment; filename="{file_name(question, form)}"'}
        return Response(body, media_type=FORMS[form], headers=named)
