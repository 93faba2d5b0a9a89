"""``/api/v1/report``: the numbers of a report by their keys, for the link behind each: of the report that was kept, else worked
out again. Who may is said in ``ui.access.routes``."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from ui.faces.answers import Failure
from ui.faces.api_reports import library_in, named, refused
from ui.faces.push import Pulse
from ui.report.data import as_json
from ui.report.from_live import about_of
from ui.report.library import Library, Stage, id_of
from ui.report.make import From, make
from ui.report.scope import MAX_NAME, Scope
from ui.report.span import Span
from ui.view import Live

STANDS = timedelta(minutes=1)  # for so long the last answer that was worked out is given again


class FigureOut(BaseModel):
    """A number of a report, null where not known, with the same of the span before and of a year ago. ``data``: another
    address whose answer holds it, and where in it, or in words that only a report says it."""

    section: str
    label: str
    value: float | None
    unit: str
    before: float | None
    year_ago: float | None
    data: str


class TableOut(BaseModel):
    """``heads``: (label, unit) of each column; ``total``: the last row, where there is one."""

    section: str
    title: str
    heads: list[tuple[str, str]]
    rows: list[list[str | float | None]]
    total: list[str | float | None]
    data: str


class AnswerOut(BaseModel):
    """What a report says, by key. ``at``: when it was worked out; ``kept``: as it stands in the report that was kept."""

    site: str
    scope: str
    span: str
    first_day: str
    last_day: str
    zone: str
    currency: str
    at: datetime
    kept: bool
    figures: dict[str, FigureOut]
    tables: dict[str, TableOut]


@dataclass(frozen=True, slots=True)
class Answer:
    """``at``: when its numbers were worked out; ``kept``: they are those of the report that was kept; ``body``: as the report's
    JSON has it."""

    at: datetime
    kept: bool
    body: dict[str, Any]


class Answers:
    """Works out one report at a time, on a thread of the server's pool, and remembers the last."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._busy = False  # read and set on the event loop alone
        self._last: tuple[str, Answer] | None = None

    async def of(self, span: Span, scope: Scope) -> Answer:
        """``ConfigError`` where there is no such part, ``SourceError`` where the store does not answer; an answer that says so
        where another is being worked out."""
        library, name, now = library_in(self._live), id_of(span, scope), self._live.clock.now()
        if kept := await run_in_threadpool(_kept, library, name):
            return kept
        if self._last and self._last[0] == name and now - self._last[1].at <= STANDS:
            return self._last[1]
        if self._busy:
            raise HTTPException(429, "Another report is being worked out; ask again in some seconds.")
        self._busy = True
        try:
            body = await run_in_threadpool(
                _worked_out, about_of(self._live, library.section, self._live.clock.now()), span, scope
            )
        finally:
            self._busy = False
        self._last = name, Answer(now, False, body)
        return self._last[1]


def add_report(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    answers = Answers(pulse.live)
    refusals: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (404, 422, 429, 503)}

    @server.get("/api/v1/report", responses=refusals)
    async def answer(
        span: Annotated[str, Query(min_length=4, max_length=40, description="as 2026-W46, 2026-11 or 2026-Q4")],
        scope: Annotated[str, Query(min_length=1, max_length=MAX_NAME + 10, description="of this part")] = "centre",
        figure: Annotated[str | None, Query(max_length=60, description="this one alone, by its key")] = None,
        table: Annotated[str | None, Query(max_length=60, description="this one alone, by its key")] = None,
    ) -> AnswerOut:
        """Figures and tables of a report by key: those of the report that was kept, else worked out now, one at a time. Each
        number of a report links here."""
        with refused(span):
            found = await answers.of(*named(pulse.live, span, scope))
        return _picked(found, figure, table)


def _kept(library: Library, name: str) -> Answer | None:
    """None where none was kept, without its JSON, or by a release whose JSON held figures and tables together."""
    entry = library.entries().get(name)
    if entry is None or entry.stage is not Stage.MADE:
        return None
    for file in (one for one in entry.files if one.endswith(".json")):
        body = json.loads(library.read(entry, file))
        return Answer(entry.at, True, body) if "significant_digits" in body else None
    return None


def _worked_out(about: From, span: Span, scope: Scope) -> dict[str, Any]:
    made = make(replace(about, picture=False), span, scope)
    body: dict[str, Any] = json.loads(as_json(made.report, made.currency))
    return body


def _picked(found: Answer, figure: str | None, table: str | None) -> AnswerOut:
    """All of an answer, or what is asked for alone."""
    sections = found.body["sections"].items()
    whole = figure is None and table is None

    def some(sort: str, key: str | None) -> dict[str, Any]:
        all_of = {name: {"section": section, **one} for section, sorts in sections for name, one in sorts[sort].items()}
        if key is not None and key not in all_of:
            raise HTTPException(404, f"The report has no {sort[:-1]} {key!r}; it has {', '.join(all_of)}.")
        return all_of if whole else {key: all_of[key]} if key is not None else {}

    about = {name: found.body[name] for name in ("site", "scope", "span", "first_day", "last_day", "zone", "currency")}
    return AnswerOut(at=found.at, kept=found.kept, figures=some("figures", figure), tables=some("tables", table), **about)
