"""The one ASGI process: the wall, ``/api/v1`` with ``/openapi.json``, ``/metrics``, ``/healthz`` and ``/readyz``.

``build_server`` is all that the shell calls. Nothing needs to be told each second: the server looks at ``live`` by itself while
somebody looks at it.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from twin.errors import SourceError
from ui.access.door import Door, identity_of
from ui.access.role import Role
from ui.faces.api import add_api
from ui.faces.api_access import add_access
from ui.faces.api_alerts import add_alert_api
from ui.faces.api_audit import add_audit
from ui.faces.api_calibration import add_calibration
from ui.faces.api_choices import add_choices
from ui.faces.api_dig import add_dig
from ui.faces.api_energy import add_energy
from ui.faces.api_events import add_events
from ui.faces.api_findings import add_findings
from ui.faces.api_forecast import add_forecast_api
from ui.faces.api_places import add_places
from ui.faces.api_plans import add_plans
from ui.faces.api_push import LARGE, add_push, first_look
from ui.faces.api_report import add_report
from ui.faces.api_reports import add_reports
from ui.faces.api_requests import add_requests
from ui.faces.api_scene import add_scene
from ui.faces.api_search import add_search
from ui.faces.api_twin import add_twin
from ui.faces.api_views import add_views
from ui.faces.described import describe
from ui.faces.exposition import exposition, process_cells
from ui.faces.guard import Guard
from ui.faces.oncall import add_oncall
from ui.faces.pages.dashed import csp_hashes
from ui.faces.pages.every import add_pages
from ui.faces.pages.scene import add_scene_page
from ui.faces.push import Pulse
from ui.faces.statics import add_static
from ui.faces.twin_page import add_twin_page
from ui.own import newest_word_age_s, source_rows
from ui.view import JUDGED_S, Live, unjudged_s

SOCKET = "/live"
READY_AGE_S = 30.0  # the maximum age of a source's own health in the metric table


class Ready(BaseModel):
    """Whether icctwin does its work; where not, why."""

    ready: bool
    reasons: list[str]


def build_server(live: Live, origins: Sequence[str] = ()) -> FastAPI:
    """The application that uvicorn serves. ``origins``: other web origins whose pages may open the wall's websocket, such
    as ``https://noc.example.org`` where a proxy serves it under another name."""
    server = FastAPI(title="icctwin", version=_version(), docs_url=None, redoc_url=None)
    pulse = server.state.pulse = Pulse(live, server.version)
    add_static(server)
    _add_health(server, pulse)
    add_api(server, pulse)
    add_forecast_api(server, pulse)
    add_events(server, pulse)
    add_push(server, pulse)
    runner = add_twin(server, pulse)
    add_twin_page(server, runner)
    add_scene(server, pulse, runner)
    add_scene_page(server, pulse)
    add_calibration(server, pulse)
    add_alert_api(server, pulse)
    add_oncall(server)
    add_findings(server, pulse)
    add_access(server, pulse)
    add_choices(server, pulse)
    add_audit(server, pulse)
    add_dig(server, pulse)
    add_views(server, pulse)
    add_search(server, pulse)
    add_plans(server, pulse)
    add_places(server, pulse)
    add_requests(server, pulse)
    add_energy(server, pulse)
    add_reports(server, pulse)
    add_report(server, pulse)
    add_pages(server, pulse)

    async def live_socket(socket: WebSocket, lang: str = "en", page: str = "overview") -> None:
        await pulse.serve(socket, lang, page)

    server.add_api_websocket_route(SOCKET, live_socket)
    server.add_api_route("/{path:path}", _nothing_here, include_in_schema=False)  # Dash would answer with its page
    describe(server)
    door = Door(live, first_look(live), origins)
    server.add_middleware(Guard, door=door, hashes=csp_hashes(server), large=LARGE)
    return server


def _version() -> str:
    try:
        return version("icctwin")
    except PackageNotFoundError:
        return "source"  # run from a checkout that was never installed


async def _nothing_here(path: str) -> None:
    raise HTTPException(404, f"There is nothing at /{path[:200]}; /openapi.json lists what there is.")


def _add_health(server: FastAPI, pulse: Pulse) -> None:
    live = pulse.live

    @server.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives and its loop turns."""
        return {"status": "ok"}

    @server.get("/readyz", response_model=Ready, responses={503: {"model": Ready}})
    async def readyz(request: Request) -> JSONResponse:
        """The store answers, a source has reported and alerts were looked for lately; 503 with the reasons where not. What the
        store said is for whoever may look."""
        reasons = []
        try:
            await run_in_threadpool(live.store.size_bytes)
        except (SourceError, OSError, sqlite3.Error) as error:
            known = identity_of(request).role >= Role.VIEWER
            reasons.append(f"the store does not answer: {error}" if known else "the store does not answer")
        age_s = newest_word_age_s(live.state, live.clock.now())
        if age_s > READY_AGE_S:
            reasons.append("no source has reported yet" if age_s == float("inf") else f"no source reported for {age_s:.0f} s")
        if (age_s := unjudged_s(live, live.clock.now())) > JUDGED_S:
            reasons.append(f"nobody has looked for alerts for {age_s:.0f} s: the task alerts hangs or fails, see /metrics")
        if live.oncall and (refused := live.oncall.refused):
            known = identity_of(request).role >= Role.VIEWER
            reasons.append(f"alerts and pages cannot be kept: {refused}" if known else "alerts and pages cannot be kept")
        return JSONResponse(Ready(ready=not reasons, reasons=reasons).model_dump(), 503 if reasons else 200)

    @server.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """The centre's numbers and icctwin's own health, Prometheus text format."""
        own = [
            ("icctwin_wall_clients", "Pages of the wall that are open", float(pulse.clients)),
            ("icctwin_start_time_seconds", "When this icctwin started, since 1970", live.started.timestamp()),
        ]
        processes = process_cells(live.state, live.clock.now())
        seen = await pulse.view()
        rows = await asyncio.to_thread(source_rows, live.state, seen.time, None)
        page, kind = exposition(seen, rows, own, server.version, request.headers.get("accept"), processes)
        return Response(page, media_type=kind)
