"""What the grid asks of the centre: ``/api/v1/requests``, and a word of one's own for grids that telephone.

A request said here is like any other: levers answer it in their modes, and it is proven afterwards.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi import Request as HttpRequest
from pydantic import BaseModel, Field, model_validator

from energy.respond.inbox import note as keep
from energy.respond.inbox import standing
from twin.curtail import Asked, Interval, Request
from twin.errors import SourceError
from ui.access.door import note, speaker
from ui.faces.answers import Failure, Moment
from ui.faces.push import Pulse
from ui.responding import PROVEN_WITHIN_S, TOPIC

Key = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.:-]+$")]
MAX_SHOWN = 200


class Wanted(BaseModel):
    """A request to draw at most ``limit_kw``, or ``cut_kw`` less than without it, from ``start`` to ``end``."""

    by: str = Field("", max_length=100)  # where neither session nor token says it
    start: Moment
    end: Moment
    limit_kw: float | None = Field(None, ge=0, le=1e7, strict=True)  # true is no power, and would be 1 kW
    cut_kw: float | None = Field(None, gt=0, le=1e7, strict=True)
    best_effort: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> "Wanted":
        if (self.limit_kw is None) == (self.cut_kw is None):
            raise ValueError("say either limit_kw or cut_kw")
        if not self.end > self.start:
            raise ValueError("end must be after start")
        return self


class Standing(BaseModel):
    """One request: who asks, from when to when, and the most or the least that is asked [kW]."""

    who: str
    key: str
    start: datetime
    end: datetime | None
    limit_kw: float | None
    cut_kw: float | None
    best_effort: bool


class RequestsPage(BaseModel):
    """Requests that are not long over, by their begin; ``responses``: what was begun and proven, newest first."""

    requests: list[Standing]
    responses: list[dict[str, Any]]


def add_requests(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live
    refusals: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (401, 403, 409, 422, 503)}

    @server.get("/api/v1/requests", responses=refusals)
    def requests() -> RequestsPage:
        """What the grid asks, and how it was answered: baseline, energy cut, worst minute, rebound."""
        found = [_shown(who, one) for who, one in standing(live.records, live.clock.now(), PROVEN_WITHIN_S)]
        records = reversed(live.records.read(TOPIC, limit=MAX_SHOWN, newest=True))
        told = [
            {"time": time.isoformat(), **{name: value for name, value in record.items() if name != "reference_w"}}
            for _, time, record in records
        ]
        return RequestsPage(requests=found, responses=told)

    @server.put("/api/v1/requests/{key}", status_code=202, responses=refusals)
    def ask(key: Key, wanted: Wanted, request: HttpRequest) -> dict[str, str]:
        """Say what the grid asks; said again under the same key, it replaces what was said."""
        begin_s, end_s = wanted.start.timestamp(), wanted.end.timestamp()
        if not end_s > live.clock.now().timestamp():
            raise HTTPException(422, "The request is over already.")
        asked_w = {"limit_w": wanted.limit_kw, "cut_w": wanted.cut_kw}
        part = Interval(begin_s, end_s, **{name: 1e3 * kw for name, kw in asked_w.items() if kw is not None})
        by, before = speaker(request, live, wanted.by), _before(key)
        _keep(Asked(f"api/{key}", (Request(key, live.clock.now().timestamp(), (part,), wanted.best_effort),)))
        note(request, "request of the grid", about=key, before=before, after=wanted.model_dump(mode="json") | {"by": by})
        return {"request": key, "by": by}

    @server.delete("/api/v1/requests/{key}", status_code=202, responses=refusals)
    def take_back(key: Key, request: HttpRequest) -> dict[str, str]:
        """Take back what was said under ``key``: what was done for it is undone."""
        before = _before(key)
        _keep(Asked(f"api/{key}"))
        note(request, "request of the grid taken back", about=key, before=before)
        return {"request": key}

    def _before(key: str) -> dict[str, Any] | None:
        found = [one for who, one in standing(live.records, live.clock.now()) if who == f"api/{key}"]
        return _shown(f"api/{key}", found[0]).model_dump(mode="json") if found else None

    def _keep(asked: Asked) -> None:
        try:
            keep(live.records, asked, live.clock.now())
        except SourceError as error:
            raise HTTPException(409, f"{error}.") from None


def _shown(who: str, one: Request) -> Standing:
    limits = [part.limit_w for part in one.intervals if part.limit_w == part.limit_w]
    cuts = [part.cut_w for part in one.intervals if part.cut_w == part.cut_w]
    return Standing(
        who=who,
        key=one.key,
        start=datetime.fromtimestamp(one.begin_s, UTC),
        end=datetime.fromtimestamp(one.end_s, UTC) if one.end_s < 1e11 else None,
        limit_kw=min(limits) / 1e3 if limits else None,
        cut_kw=max(cuts) / 1e3 if cuts else None,
        best_effort=one.best_effort,
    )
