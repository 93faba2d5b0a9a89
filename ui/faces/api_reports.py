"""``/api/v1/reports``: what was reported, each file of it, and a report asked for. Who may is said in ``ui.access.routes``."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from twin.errors import ConfigError, SourceError
from ui.faces.answers import Failure
from ui.faces.guard import OPENER
from ui.faces.push import Pulse
from ui.report.library import Entry, Full, Library, Stage
from ui.report.names import SPOKEN, in_language
from ui.report.page import at_home
from ui.report.scope import MAX_NAME, Scope, refuse_unknown, scope_of
from ui.report.span import Span, span_of
from ui.view import Live

MAX_PAGE = 1000
TYPES = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip",
}
# Of a page that is read on the wall: it needs nothing but its own styles and pictures, and whatever a name in it might hold
# runs nowhere, has no cookie and no origin (``sandbox``).
ALONE = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # of files in an archive: the same report gives the same bytes


class Shown(BaseModel):
    """A figure of a first page as it reads there, in English and Chinese."""

    label: str
    en: str
    zh: str


class ReportOut(BaseModel):
    """``stage``: asked, made, empty (nothing was read in the span), failed or dropped; ``files``: name -> bytes; ``head``: the
    figures of its first page, null where not known; ``why``: of a failure, or what was left out."""

    id: str
    kind: str
    span: str
    scope: str
    stage: str
    at: datetime
    by: str
    files: dict[str, int]
    head: dict[str, float | None]
    shown: list[Shown]
    coverage_frac: float
    why: str


class ReportPage(BaseModel):
    """Reports, the newest first. ``formats``, ``languages``, ``scopes``, ``every``: as ``[report]`` has them."""

    total: int
    reports: list[ReportOut]
    formats: list[str]
    languages: list[str]
    scopes: list[str]
    every: list[str]


class Asked(BaseModel):
    """``span``: 2026-W46, 2026-11, 2026-Q4, 2026 or 2026-11-01/2026-11-15; ``scope``: centre, hall:NAME, tenant:NAME or
    project:NAME."""

    span: str = Field(min_length=4, max_length=40)
    scope: str = Field("centre", min_length=1, max_length=MAX_NAME + 10)


def add_reports(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    live = pulse.live
    refusals: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (404, 422, 429, 503)}

    @server.get("/api/v1/reports", responses=refusals)
    async def reports(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="at most so many")] = 100,
        scope: Annotated[str | None, Query(max_length=MAX_NAME + 10, description="of this part alone")] = None,
    ) -> ReportPage:
        """What was reported, is waited for, or could not be made; the newest first."""
        library = library_in(live)
        found = await run_in_threadpool(library.entries)
        mine = [one for one in found.values() if one.stage is not Stage.DROPPED and scope in (None, one.scope)]
        section = library.section
        return ReportPage(
            total=len(mine),
            reports=[_out(one) for one in mine[:limit]],
            formats=list(section.formats),
            languages=list(section.languages),
            scopes=list(section.scopes),
            every=list(section.every),
        )

    @server.post("/api/v1/reports", status_code=202, responses=refusals)
    async def ask(said: Asked, request: Request) -> ReportOut:
        """Have a report made: it is there within a minute or two, and its entry says so. One that was made of a span that is
        over stands as it is: the same span gives the same bytes."""
        identity = request.scope.get("identity")
        return _out(
            await run_in_threadpool(_ask, live, said, identity.name if identity is not None and identity.name else "api")
        )

    @server.get("/api/v1/reports/{report}/{format}", responses=refusals, response_class=Response)
    async def file(
        report: str,
        format: str,
        lang: Annotated[str | None, Query(pattern="^(en|zh)$", description="of a page, PDF or workbook")] = None,
        table: Annotated[str | None, Query(max_length=60, description="of CSV: this table alone, else an archive")] = None,
        inline: Annotated[bool, Query(description="html, to be read here: its links lead to this wall")] = False,
    ) -> Response:
        """A file of a report: html, pdf, json, xlsx, or csv (all tables in an archive, or one). All are to be kept, as
        they were made; a page with ``inline`` is to be read."""
        library = library_in(live)
        entry = (await run_in_threadpool(library.entries)).get(report)
        if entry is None or entry.stage is not Stage.MADE:
            raise HTTPException(404, "There is no such report; /api/v1/reports lists them.")
        try:
            name, data = await run_in_threadpool(_file, library, entry, format, lang, table)
        except KeyError:
            kinds = sorted({file.rpartition(".")[2] for file in entry.files})
            raise HTTPException(404, f"The report has no such file; it has {', '.join(kinds)}.") from None
        except SourceError as error:
            raise HTTPException(503, f"{error}.") from error
        headers = {"content-disposition": _attached(name), "cache-control": "private, no-cache"}
        if inline and format == "html":
            data = at_home(data.decode()).encode()
            headers |= {"content-disposition": "inline", "content-security-policy": ALONE, OPENER: "unsafe-none"}
        return Response(data, media_type=TYPES[name.rpartition(".")[2]], headers=headers)


def library_in(live: Live) -> Library:
    """The reports of a centre; an answer that says so where this process keeps none."""
    if live.reports is None:
        raise HTTPException(503, "This process keeps no reports.")
    return live.reports


def _ask(live: Live, said: Asked, by: str) -> Entry:
    """The entry of what is asked for; an answer that says why not."""
    library, now = library_in(live), live.clock.now()
    with refused(said.span):
        span, scope = named(live, said.span, said.scope)
        refuse_unknown(scope, live.site, live.records, span, live.given())
        return library.ask(span, scope, by, now)


def named(live: Live, span: str, scope: str) -> tuple[Span, Scope]:
    """What is asked for; ``ConfigError`` where it is none, an answer that says so where it has not begun."""
    when = span_of(span, ZoneInfo(live.site.timezone))
    if when.start >= live.clock.now():
        raise HTTPException(422, f"{span} has not begun; nothing can be said of it.")
    return when, scope_of(scope)


@contextmanager
def refused(span: str) -> Iterator[None]:
    """Whatever stops a report, as an answer that says so."""
    try:
        yield
    except ConfigError as error:
        raise HTTPException(422, error.problems[0].what) from error
    except OverflowError:
        raise HTTPException(422, f"{span} begins or ends where no calendar reaches.") from None
    except Full as error:
        raise HTTPException(429, str(error)) from error
    except SourceError as error:
        raise HTTPException(503, f"{error}.") from error


def _out(entry: Entry) -> ReportOut:
    names = ("id", "kind", "span", "scope", "by", "coverage_frac", "why")
    given = {name: getattr(entry, name) for name in names}
    at = entry.at.astimezone(UTC)
    shown = [Shown(label=label, en=en, zh=zh) for label, en, zh in entry.shown]
    return ReportOut(stage=entry.stage.value, at=at, files=dict(entry.files), head=dict(entry.head), shown=shown, **given)


def _attached(name: str) -> str:
    """RFC 6266: a name that is not ASCII, as UTF-8, beside one that every client can read."""
    plain = name.encode("ascii", "replace").decode().replace("?", "-")
    return f'attachment; filename="{plain}"' + ("" if name.isascii() else f"; filename*=UTF-8''{quote(name, safe='')}")


def _file(library: Library, entry: Entry, kind: str, lang: str | None, table: str | None) -> tuple[str, bytes]:
    """(name, bytes); ``KeyError`` where the report has none such."""
    mine = [name for name in entry.files if name.rpartition(".")[2] == kind]
    if kind == "csv" and table is None and mine:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in mine:
                archive.writestr(zipfile.ZipInfo(name, EPOCH), library.read(entry, name), zipfile.ZIP_DEFLATED)
        return f"{entry.id}.zip", out.getvalue()
    if kind == "csv":
        mine = [name for name in mine if name.rpartition(".")[0].endswith(f".{table}")]
    elif lang is not None and kind in SPOKEN:
        mine = in_language(mine, lang)
    if not mine:
        raise KeyError(kind)
    return mine[0], library.read(entry, mine[0])
