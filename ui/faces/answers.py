"""The API's answers as models, from which ``/openapi.json`` describes them. Times are ISO 8601 UTC, NaN is null."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from analytics.alerts import Alert, Phase, Severity
from analytics.forecast import Forecast
from twin.frame import Origin
from twin.job import Jobs, JobState
from twin.ports import How
from ui.reading import Number, Spoken


def _text(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("is a number; write ISO 8601 with zone, as in 2026-11-01T08:00:00Z")
    return value


# A moment that is asked for: nothing was or will be measured outside of it, and no arithmetic with it leaves the calendar.
When = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
Moment = Annotated[When, BeforeValidator(_text)]  # in a body: a number could be s or ms since who knows when
Foreign = Annotated[AwareDatetime, BeforeValidator(_text)]  # as others say it: Alertmanager's "never" is the year 1
STEP_S = 10 * 366 * 86400.0  # the longest step of a series


class Failure(BaseModel):
    """Why not, and what to do about it, in a sentence."""

    detail: str


class Asset(BaseModel):
    """A row of the site's assets table; ``attributes`` are those that were given."""

    id: str
    kind: str
    parent: str | None
    attributes: dict[str, float | str]


class AssetPage(BaseModel):
    """The centre and a page of its assets; ``total`` counts those that the question fits, ``counts`` all, by kind."""

    name: str
    timezone: str
    counts: dict[str, int]
    total: int
    offset: int
    assets: list[Asset]


class LinkOut(BaseModel):
    """``source`` feeds, cools or connects ``target``, with the ``share`` of the target's load that it takes."""

    source: str
    target: str
    relation: str
    share: Number


class LinkPage(BaseModel):
    """A page of the site's links."""

    total: int
    offset: int
    links: list[LinkOut]


class MetricOut(BaseModel):
    """A row of the metric table. ``high`` is null where there is no bound, ``max_age_s`` where a value never gets stale."""

    kind: str
    name: str
    unit: str
    low: Number
    high: Number
    max_age_s: Number
    counter: bool
    settable_step: float | None
    doc: str


class StateColumn(BaseModel):
    """A metric over the page's assets. ``value`` is null where stale or never read; ``age_s`` null where never read."""

    unit: str
    value: list[Number]
    age_s: list[Number]
    fresh: list[bool]
    quality: list[str]


class StatePage(BaseModel):
    """The newest values of one kind of asset at ``time``."""

    time: datetime
    kind: str
    origin: Origin
    total: int
    offset: int
    assets: list[str]
    metrics: dict[str, StateColumn]


class SeriesOut(BaseModel):
    """``metrics``: for each metric one list an asset, with one value a time."""

    kind: str
    assets: list[str]
    origin: Origin
    band: str
    step_s: float
    how: How
    time: list[datetime]
    metrics: dict[str, list[list[Number]]]


class AlertOut(BaseModel):
    """An alert in its life from pending to resolved. ``origin``: who raised it, ``icctwin`` for a rule of ours; one of others
    is called ``rule`` by them, and has no ``asset`` where it names none that is known."""

    key: str
    rule: str
    kind: str
    asset: str
    metric: str
    severity: Severity
    phase: Phase
    value: Number
    limit: Number
    summary: Spoken
    runbook: str
    since: datetime
    fired: datetime | None
    resolved: datetime | None
    owner: str
    page: str
    cause: str
    folded: int
    origin: str

    @classmethod
    def of(cls, alert: Alert) -> "AlertOut":
        """The alert as it is answered."""
        return cls(**{name: getattr(alert, name) for name in cls.model_fields})


class ScoreOut(BaseModel):
    """How the model did in a rolling backtest on the series' own past (see ``analytics.forecast.Score``)."""

    model: str
    mase: Number
    naive_mase: Number
    pinball_vs_naive_frac: Number
    coverage_80_frac: Number
    origins: int


class ForecastOut(BaseModel):
    """Quantiles of one metric of one asset for steps that start at ``time``."""

    kind: str
    asset: str
    metric: str
    issued: datetime
    time: list[datetime]
    p10: list[Number]
    p50: list[Number]
    p90: list[Number]
    score: ScoreOut

    @classmethod
    def of(cls, forecast: Forecast, asset: str) -> "ForecastOut":
        """The forecast as it is answered."""
        return cls(
            kind=forecast.kind,
            asset=asset,
            metric=forecast.metric,
            issued=forecast.issued,
            time=[datetime.fromtimestamp(t, UTC) for t in forecast.time_s.tolist()],
            p10=forecast.p10.tolist(),
            p50=forecast.p50.tolist(),
            p90=forecast.p90.tolist(),
            score=ScoreOut(**{name: getattr(forecast.score, name) for name in ScoreOut.model_fields}),
        )


class JobOut(BaseModel):
    """A job of the queue."""

    id: str
    name: str
    user: str
    partition: str
    state: str
    gpus: int
    submit: datetime | None
    start: datetime | None
    end: datetime | None
    limit_s: Number
    deadline: datetime | None
    deferrable: bool
    unread: bool = Field(description="its owner's mark cannot be read, so the job is left alone")

    @classmethod
    def of(cls, jobs: Jobs, i: int) -> "JobOut":
        """Row ``i`` of the table."""
        return cls(
            id=jobs.ids[i],
            name=jobs.names[i],
            user=jobs.users[i],
            partition=jobs.partitions[i],
            state=JobState(int(jobs.state[i])).name.lower(),
            gpus=int(jobs.gpus[i]),
            submit=_time(jobs.submit_s[i]),
            start=_time(jobs.start_s[i]),
            end=_time(jobs.end_s[i]),
            limit_s=float(jobs.limit_s[i]),
            deadline=_time(jobs.deadline_s[i]),
            deferrable=bool(jobs.deferrable[i]),
            unread=bool(jobs.terms.unread[i]),
        )


class JobPage(BaseModel):
    """A page of the queue's jobs."""

    total: int
    offset: int
    jobs: list[JobOut]


def _time(seconds: float) -> datetime | None:
    return None if seconds != seconds else datetime.fromtimestamp(float(seconds), UTC)
