"""``/api/v1/scene``: the 3D twin for programs and its page (geometry, frames, what-if runs, exports), and ``/live/scene``."""

import asyncio
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response, WebSocket
from pydantic import BaseModel, ConfigDict, Field

from twin.errors import ConfigError
from ui.access.lanes import Full, Lane
from ui.apart import apart
from ui.faces.answers import Failure, When
from ui.faces.api_twin import Busy, LimitOut, Runner
from ui.faces.push import Pulse
from ui.faces.scene_push import SceneFeed
from ui.faces.scene_studio import Ask, Studio, Whose
from ui.scenario import ScenarioIn
from ui.scene.ahead import HOURS_AHEAD
from ui.scene.wire import Detail

SCENE_SOCKET = "/live/scene"
EXPORT_KEPT_S = 5.0  # an export is given to all who ask for the same so soon
MAX_OPEN = 64  # halls whose GPUs are asked for by name
_BINARY = "application/octet-stream"
_OPEN = "halls whose GPUs are wanted: their numbers in the scene, separated by commas; none: all"


class ChoiceOut(BaseModel):
    """One colour: a metric (or ``alerts``), the kinds that have it, whose values there are, whether runs have it."""

    name: str
    kinds: list[str]
    origins: list[str]
    run: bool


class RunIn(BaseModel):
    """A scenario to be shown beside the present, from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scenario: ScenarioIn
    work: Literal["example", "queue"] = "example"
    hours: Annotated[float, Field(gt=0, le=48)] = 6.0
    step_s: Annotated[float, Field(ge=5, le=3600)] = 60.0


class AddedOut(BaseModel):
    """Racks that a scenario adds: ids, and middle and size in m, three numbers each; frames have a byte for each."""

    ids: list[str]
    centre: list[float]
    size: list[float]


class RunOut(BaseModel):
    """A run that frames can be asked of."""

    run: str
    name: str
    start: datetime
    end: datetime
    limits: list[LimitOut]
    notes: list[str]
    added: AddedOut


def add_scene(server: FastAPI, pulse: Pulse, runner: Runner) -> Studio:
    """Serve them on ``server``."""
    studio = Studio(pulse.live, runner)
    feed = SceneFeed(studio)
    router = APIRouter(prefix="/api/v1", responses={422: {"model": Failure}})
    _add_scene(router, studio)
    _add_runs(router, studio)
    _add_exports(router, studio)
    server.include_router(router)

    async def live_scene(
        socket: WebSocket,
        colour: str = "power_w",
        origin: Whose = "best",
        lead_h: int = 1,
        levels: int = 3,
        halls: str = "",
    ) -> None:
        try:
            ask = _ask(colour[:100], origin, lead_h, None, "", False, levels, halls)
        except HTTPException as error:
            await socket.accept()
            await socket.close(1008, str(error.detail)[:120])
            return
        await feed.serve(socket, ask)

    server.add_api_websocket_route(SCENE_SOCKET, live_scene)
    return studio


def _ask(
    colour: str, origin: Whose, lead_h: int, time: datetime | None, run: str, against: bool, levels: int, halls: str
) -> Ask:
    if not (1 <= lead_h <= HOURS_AHEAD and 0 <= levels <= 3):
        raise HTTPException(422, f"lead_h goes from 1 to {HOURS_AHEAD}, levels from 0 to 3.")
    given = [part for part in halls.split(",") if part]
    if len(given) > MAX_OPEN or not all(part.isascii() and part.isdigit() for part in given):
        raise HTTPException(422, f"halls are at most {MAX_OPEN} numbers, separated by commas.")
    opened = tuple(sorted({int(part) for part in given})) if given else None
    time_s = None if time is None else math.floor(time.timestamp())
    return Ask(colour, origin, lead_h, time_s, run, against, Detail(levels, opened))


def _add_scene(router: APIRouter, studio: Studio) -> None:
    @router.get("/scene", response_class=Response, responses={200: {"content": {_BINARY: {}}}})
    async def scene(request: Request) -> Response:
        """The geometry as typed arrays in one binary body; its form stands in ``ui/scene/wire.py``."""
        made = await studio.geometry()
        tag = f'"{made.hash}"'
        headers = {"etag": tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        body, coding = await studio.scene(request.headers.get("accept-encoding", ""))
        if coding:
            headers["content-encoding"] = coding
        return Response(body, media_type=_BINARY, headers=headers)

    @router.get("/scene/colours")
    async def choices() -> list[ChoiceOut]:
        """What the scene can be coloured by."""
        return [ChoiceOut(**one) for one in studio.choices()]

    @router.get("/scene/frame", response_class=Response, responses={200: {"content": {_BINARY: {}}}})
    async def frame(
        colour: str = "power_w",
        origin: Whose = "best",
        time: Annotated[When | None, Query(description="ISO 8601 with zone; none: now")] = None,
        lead_h: Annotated[int, Query(ge=1, le=HOURS_AHEAD)] = 1,
        run: Annotated[str, Query(max_length=40, description="a run of /scene/runs")] = "",
        against: Annotated[bool, Query(description="the run's difference from the plain one")] = False,
        levels: Annotated[int, Query(ge=0, le=3)] = 3,
        halls: Annotated[str, Query(description=_OPEN)] = "",
    ) -> Response:
        """A byte a box at one moment: now, as the store has it, as foreseen, or of a run; its form as of ``/live/scene``."""
        ask = _ask(colour[:100], origin, lead_h, time, run, against, levels, halls)
        try:
            body = await studio.frame(ask)
        except ConfigError as error:
            raise _refused(error) from error
        return Response(body, media_type=_BINARY, headers={"cache-control": "no-store"})


def _refused(error: ConfigError) -> HTTPException:
    return HTTPException(422, "; ".join(str(problem) for problem in error.problems[:10]) + ".")


def _add_runs(router: APIRouter, studio: Studio) -> None:
    def told(number: str) -> RunOut:
        kept = studio.runs[number]
        begin_s, end_s = kept.other.span_s
        made = kept.other.trajectory
        return RunOut(
            run=number,
            name=kept.name,
            start=datetime.fromtimestamp(begin_s, UTC),
            end=datetime.fromtimestamp(end_s, UTC),
            limits=[LimitOut(**limit) for limit in made.limits[:100]],
            notes=list(made.notes),
            added=AddedOut(
                ids=list(kept.added.ids),
                centre=np.round(kept.added.centre.astype(float), 3).ravel().tolist(),
                size=np.round(kept.added.size.astype(float), 3).ravel().tolist(),
            ),
        )

    @router.get("/scene/runs")
    async def runs() -> list[RunOut]:
        """Runs whose pictures are kept, newest last."""
        return [told(number) for number in studio.runs]

    @router.post("/scene/runs", responses={429: {"model": Failure}})
    async def start(asked: RunIn) -> RunOut:
        """Run a scenario and the plain centre from now on, to be shown beside the present."""
        try:
            return told(await studio.what_if(asked.scenario, asked.work, asked.hours, asked.step_s))
        except ConfigError as error:
            raise _refused(error) from error
        except Busy as error:
            raise HTTPException(429, "Another run of the twin goes on; ask again in some seconds.") from error


class _Exports:
    """Files of the scene: one at a time is worked out, in a child that takes 300 MB, and the last is kept ``EXPORT_KEPT_S``."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lane = Lane(1, waiting=0)
        self._last: tuple[float, tuple[str, Ask], bytes] | None = None  # when, what, the file

    async def made(self, form: str, ask: Ask) -> bytes:
        """A file of that form. ``Full`` while another is worked out."""
        from ui.scene.export import exported

        time_s = asyncio.get_running_loop().time
        if self._last is not None and self._last[1] == (form, ask) and time_s() - self._last[0] < EXPORT_KEPT_S:
            return self._last[2]
        body, geometry = await self._studio.frame(ask), await self._studio.geometry()
        data = await self._lane.run(apart, exported, geometry, body, form)
        self._last = time_s(), (form, ask), data
        return data


def _add_exports(router: APIRouter, studio: Studio) -> None:
    missing: dict[int | str, dict[str, Any]] = {429: {"model": Failure}, 501: {"model": Failure}}
    exports = _Exports(studio)

    async def made(form: str, colour: str, origin: Whose) -> Response:
        from ui.scene.export import MEDIA

        try:
            data = await exports.made(form, _ask(colour[:100], origin, 1, None, "", False, 3, ""))
        except ConfigError as error:
            status = 501 if any(problem.where == "scene" for problem in error.problems) else 422
            raise HTTPException(status, str(error.problems[0])) from error
        except Full as error:
            raise HTTPException(429, "Another export of the scene goes on; ask again in some seconds.") from error
        name = {"content-disposition": f'attachment; filename="scene.{form}"'}
        return Response(data, media_type=MEDIA[form], headers=name)

    @router.get("/scene.glb", response_class=Response, responses=missing)
    async def glb(colour: str = "power_w", origin: Whose = "best") -> Response:
        """The scene as binary glTF with its colours of now; needs the extra ``scene``."""
        return await made("glb", colour, origin)

    @router.get("/scene.usdc", response_class=Response, responses=missing)
    async def usdc(colour: str = "power_w", origin: Whose = "best") -> Response:
        """The scene as binary USD with its colours of now; needs the extra ``scene``."""
        return await made("usdc", colour, origin)
