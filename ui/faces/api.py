"""``/api/v1``: everything a program may read. Read-only; every page, range and answer has a stated bound; NaN is null."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from analytics.alerts import Phase
from twin.errors import SourceError
from twin.frame import Origin, Quality
from twin.job import JobState
from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, metric, suffix
from twin.ports import How
from ui.conditions import SourceSaid, sources_said
from ui.faces.answers import (
    STEP_S,
    AlertOut,
    Asset,
    AssetPage,
    Failure,
    ForecastOut,
    JobOut,
    JobPage,
    LinkOut,
    LinkPage,
    MetricOut,
    SeriesOut,
    StateColumn,
    StatePage,
    When,
)
from ui.faces.push import Pulse
from ui.own import MAX_SOURCES, source_rows
from ui.view import PlanRow, View, plan_rows

MAX_PAGE = 10_000
MAX_POINTS = 200_000  # values in one answer of /series
MAX_SPAN = timedelta(days=400)
AUTO_STEPS = 500  # steps of a series whose step is not given

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="at most so many rows")]
Offset = Annotated[int, Query(ge=0, description="rows to leave out at the front")]
_VIEW: TypeAdapter[View] = TypeAdapter(View)
_SOURCES: TypeAdapter[list[SourceSaid]] = TypeAdapter(list[SourceSaid])
_PLANS: TypeAdapter[tuple[PlanRow, ...]] = TypeAdapter(tuple[PlanRow, ...])


def add_api(server: FastAPI, pulse: Pulse) -> None:
    """Serve ``/api/v1`` on ``server``."""
    router = APIRouter(prefix="/api/v1", responses={422: {"model": Failure}})
    _add_site(router, pulse)
    _add_values(router, pulse)
    _add_view(router, pulse)
    _add_lists(router, pulse)
    server.include_router(router)
    server.add_exception_handler(RequestValidationError, _one_sentence)
    server.add_exception_handler(SourceError, _no_answer)


async def _one_sentence(_: Request, error: Exception) -> JSONResponse:
    """All that is wrong with a question, in a sentence."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    said = [f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg'][:1].lower()}{e['msg'][1:]}" for e in found]
    return JSONResponse({"detail": "; ".join(said[:10]) + "."}, 422)


async def _no_answer(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503)


def _refuse(sentence: str) -> HTTPException:
    return HTTPException(422, sentence)


def _known_kind(kind: str) -> str:
    if kind not in KINDS:
        raise _refuse(f"There is no kind {kind!r}; kinds are {', '.join(KINDS)}.")
    return kind


def _known_metrics(kind: str, names: Sequence[str]) -> list[str]:
    listed = [name for part in names for name in part.split(",") if name]
    if unknown := [name for name in listed if name not in METRICS[kind]]:
        raise _refuse(f"There is no metric {unknown[0]!r} of kind {kind!r}; known: {', '.join(METRICS[kind]) or 'none'}.")
    return list(dict.fromkeys(listed))


def _add_site(router: APIRouter, pulse: Pulse) -> None:
    live = pulse.live  # its site may be replaced: look it up at each question

    @router.get("/site")
    def the_site(kind: str | None = None, limit: Limit = 1000, offset: Offset = 0) -> AssetPage:
        """The centre's assets in the order of its tables; of one ``kind`` where given."""
        site = live.site
        where = np.arange(len(site.ids)) if kind is None else site.of_kind(_known_kind(kind))
        kinds, given = tuple(KINDS), [name for name in NUMBER_ATTRIBUTES if name in site.numbers]
        assets = []
        for i in where[offset : offset + limit].tolist():
            numbers: dict[str, float | str] = {n: float(v) for n in given if np.isfinite(v := site.numbers[n][i])}
            texts = {name: column[i] for name, column in site.texts.items() if column[i]}
            parent = int(site.parent[i])
            holder = site.ids[parent] if parent >= 0 else None
            assets.append(Asset(id=site.ids[i], kind=kinds[site.kind_of[i]], parent=holder, attributes=numbers | texts))
        counts = {name: site.count(name) for name in KINDS if site.count(name)}
        return AssetPage(name=site.name, timezone=site.timezone, counts=counts, total=len(where), offset=offset, assets=assets)

    @router.get("/site/links")
    def links(limit: Limit = 1000, offset: Offset = 0) -> LinkPage:
        """Who feeds, cools and connects whom."""
        site = live.site
        table = [(name, i) for name, links in site.links.items() for i in range(len(links.source))]
        made = []
        for name, i in table[offset : offset + limit]:
            link = site.links[name]
            ends = site.ids[link.source[i]], site.ids[link.target[i]]
            made.append(LinkOut(source=ends[0], target=ends[1], relation=name, share=float(link.share[i])))
        return LinkPage(total=len(table), offset=offset, links=made)

    @router.get("/metrics")
    def metric_table() -> list[MetricOut]:
        """The metric table: what can be measured of which kind, in which unit, between which bounds."""
        return [
            MetricOut(
                kind=m.kind,
                name=m.name,
                unit=m.unit,
                low=m.low,
                high=m.high,
                max_age_s=m.max_age_s,
                counter=m.counter,
                settable_step=m.step,
                doc=m.doc,
            )
            for rows in METRICS.values()
            for m in rows.values()
        ]


def _add_values(router: APIRouter, pulse: Pulse) -> None:
    live = pulse.live
    names = Annotated[list[str], Query(alias="metric", description="metrics, repeated or separated by commas")]

    @router.get("/state")
    def state(
        kind: str,
        metrics: names = [],  # noqa: B006 - FastAPI copies defaults
        origin: Origin = Origin.MEASURED,
        limit: Limit = 1000,
        offset: Offset = 0,
    ) -> StatePage:
        """The newest values of ``kind``, as columns over its assets: null where stale or never read."""
        now, wanted = live.clock.now(), _known_metrics(_known_kind(kind), metrics)
        ids = live.site.ids_of(kind)
        known = [key[1] for key in live.state.known() if key[0] == kind and key[2] is origin and not key[3]]
        window = slice(offset, offset + limit)
        columns = {}
        for name in wanted or known:
            newest = live.state.newest(kind, name, origin)
            age_s = now.timestamp() - newest.time_s[window]
            columns[name] = StateColumn(
                unit=suffix(name),
                value=live.state.column(kind, name, now, origin)[window].tolist(),
                age_s=age_s.tolist(),
                fresh=((age_s <= metric(kind, name).max_age_s) & ~np.isnan(newest.value[window])).tolist(),
                quality=[Quality(q).name.lower() for q in newest.quality[window].tolist()],
            )
        return StatePage(time=now, kind=kind, origin=origin, total=len(ids), offset=offset, assets=ids[window], metrics=columns)

    @router.get("/series", responses={503: {"model": Failure}})
    def series(
        kind: str,
        metrics: names,
        asset: Annotated[list[str], Query(description="ids, repeated or separated by commas; none: all of the kind")] = [],  # noqa: B006
        start: Annotated[When | None, Query(description="ISO 8601 with zone; none: an hour before end")] = None,
        end: Annotated[When | None, Query(description="ISO 8601 with zone; none: now")] = None,
        step_s: Annotated[float | None, Query(ge=1, le=STEP_S, description="none: about 500 steps")] = None,
        how: How = How.MEAN,
        origin: Origin = Origin.MEASURED,
        band: Annotated[str, Query(pattern="^(p10|p90|told)?$")] = "",
    ) -> SeriesOut:
        """Values over time in ``[start, end)``, in steps of ``step_s`` (null where nothing believable was read)."""
        wanted = _known_metrics(_known_kind(kind), metrics)
        assets = [name for part in asset for name in part.split(",") if name] or live.site.ids_of(kind)
        if wrong := [a for a in assets if a not in live.site.position or live.site.kind(a) != kind]:
            raise _refuse(f"There is no {kind} {wrong[0]!r} in this site; /api/v1/site?kind={kind} lists them.")
        until = (end or live.clock.now()).astimezone(UTC)
        since = (start or until - timedelta(hours=1)).astimezone(UTC)
        step = _step(since, until, step_s, len(assets) * len(wanted))
        rows = np.array([live.site.row(a) for a in assets], dtype=np.int32)
        found = live.store.series(kind, wanted, since, until, step, how, rows, origin, band)
        return SeriesOut(
            kind=kind,
            assets=assets,
            origin=origin,
            band=band,
            step_s=step,
            how=how,
            time=[datetime.fromtimestamp(t, UTC) for t in found.time_s.tolist()],
            metrics={name: found.values[name].T.tolist() for name in wanted},
        )


def _step(since: datetime, until: datetime, step_s: float | None, columns: int) -> float:
    """The step of a series in s, or a sentence why there can be none."""
    span_s = (until - since).total_seconds()
    if not 0 < span_s <= MAX_SPAN.total_seconds():
        raise _refuse(f"start must lie before end and at most {MAX_SPAN.days} days apart; these are {span_s:g} s apart.")
    if not columns:
        raise _refuse("This asks for no value at all; name a metric of a kind that the site has.")
    step = step_s or float(max(1, round(span_s / AUTO_STEPS)))
    points = int(span_s / step + 1) * columns
    if points > MAX_POINTS:
        raise _refuse(f"This asks for {points} values, at most {MAX_POINTS} are given; take fewer assets or a longer step_s.")
    return step


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _add_view(router: APIRouter, pulse: Pulse) -> None:
    # Responses are made here, as the view has them; the models stand for the description alone.
    live = pulse.live

    @router.get("/view", response_model=View)
    async def the_view() -> Any:
        """What the wall shows, all of it: every number with its unit, age, freshness, origin and quality."""
        return _json(_VIEW.dump_json(await pulse.view()))

    @router.get("/sources", response_model=list[SourceSaid])
    def sources(limit: Limit = MAX_SOURCES, offset: Offset = 0) -> Any:
        """How what icctwin reads is doing, those that are not well first: why a source fails, and what of it belongs to nothing
        known."""
        rows = source_rows(live.state, live.clock.now(), offset + limit)
        return _json(_SOURCES.dump_json(sources_said(rows[offset:], live.records)))

    @router.get("/plans", response_model=tuple[PlanRow, ...])
    def plans(limit: Limit = 1000, offset: Offset = 0) -> Any:
        """What is proposed, why, with which effect, and what the guard says."""
        return _json(_PLANS.dump_json(plan_rows(live, live.clock.now(), offset + limit)[offset:]))


def _add_lists(router: APIRouter, pulse: Pulse) -> None:
    live = pulse.live

    @router.get("/alerts")
    def alerts(phase: Phase | None = None, limit: Limit = 1000, offset: Offset = 0) -> list[AlertOut]:
        """Pending, firing and lately resolved alerts, newest first."""
        mine = [alert for alert in live.alerts if phase is None or alert.phase is phase]
        mine.sort(key=lambda alert: alert.since, reverse=True)
        return [AlertOut.of(alert) for alert in mine[offset : offset + limit]]

    @router.get("/forecasts")
    def forecasts() -> list[ForecastOut]:
        """What is foreseen, with its 80 % interval and how the model did in its backtest."""
        return [ForecastOut.of(forecast, live.site.ids_of(forecast.kind)[forecast.row]) for forecast in live.forecasts]

    @router.get("/jobs")
    def jobs(state: str | None = None, limit: Limit = 1000, offset: Offset = 0) -> JobPage:
        """The queue's jobs as last read; of one ``state`` where given."""
        table = live.jobs
        known = {member.name.lower(): member for member in JobState}
        if state is not None and state not in known:
            raise _refuse(f"There is no job state {state!r}; states are {', '.join(known)}.")
        mine = np.arange(len(table)) if state is None else np.flatnonzero(table.state == known[state])
        made = [JobOut.of(table, i) for i in mine[offset : offset + limit].tolist()]
        return JobPage(total=len(mine), offset=offset, jobs=made)
