"""Where senders push: InfluxDB line protocol, Prometheus remote write, OpenTelemetry metrics."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Scope

from twin.push import Push, PushAnswer, PushProtocol
from ui.faces.push import Pulse
from ui.view import Live

BODY_BYTES = 32 << 20
PATHS: dict[str, PushProtocol] = {
    "/api/v2/write": "line",
    "/write": "line",
    "/api/v1/write": "remote_write",
    "/v1/metrics": "otlp",
}
LARGE = dict.fromkeys(PATHS, BODY_BYTES)


def first_look(live: Live) -> Callable[[Scope], Awaitable[Response | None]]:
    """Looks whose token a request shows before a body of up to ``BODY_BYTES`` is read; gives the answer where it is none."""

    async def look(scope: Scope) -> Response | None:
        request = Request(scope)
        gate, token = live.gate, _token(request.headers.get("authorization", ""))
        if scope["path"] == "/write":
            token = request.query_params.get("p", "") or token
        answer = await gate.known(token) if gate is not None else _NOTHING
        if answer is None:
            return None
        made = _answer(answer, PATHS[scope["path"]])
        made.headers["connection"] = "close"  # the body is left unread
        return made

    return look


_NOTHING = PushAnswer(
    404,
    "Nothing is pushed here; write a [[source]] of type push, and of several processes push to one with --role ingest,wall.",
)


def add_push(server: FastAPI, pulse: Pulse) -> None:
    """Serve the paths that senders know on ``server``."""
    live = pulse.live  # its gate may be replaced: look it up at each request

    async def push(request: Request, protocol: PushProtocol, token: str, precision: str = "") -> Response:
        if live.gate is None:
            return _answer(_NOTHING, protocol)
        headers = request.headers
        one = Push(
            protocol,
            token or _token(headers.get("authorization", "")),
            await request.body(),
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            precision,
        )
        return _answer(await live.gate.push(one), protocol)

    precisions = Annotated[str, Query(description="of the times: ns (default), us, ms or s")]

    @server.post("/api/v2/write", status_code=204)
    async def write_v2(request: Request, precision: precisions = "") -> Response:
        """InfluxDB line protocol (2.x); org and bucket are not looked at, the token says which source it is."""
        return await push(request, "line", "", precision)

    @server.post("/write", status_code=204)
    async def write_v1(request: Request, precision: precisions = "", p: str = "") -> Response:
        """InfluxDB line protocol (1.x); the token is the password."""
        return await push(request, "line", p, precision)

    @server.post("/api/v1/write", status_code=204)
    async def remote_write(request: Request) -> Response:
        """Prometheus remote write 1.0 and 2.0."""
        return await push(request, "remote_write", "")

    @server.post("/v1/metrics")
    async def otlp(request: Request) -> Response:
        """OpenTelemetry metrics, protobuf or JSON."""
        return await push(request, "otlp", "")

    @server.head("/ping", include_in_schema=False)
    @server.get("/ping", status_code=204)
    async def ping() -> Response:
        """For Influx clients that look before they write."""
        return Response(status_code=204)


def _answer(answer: PushAnswer, protocol: PushProtocol) -> Response:
    headers = dict(answer.headers)
    if answer.status >= 400:
        # each kind of sender looks for the sentence under another name
        body = {"code": "invalid", "message": answer.sentence} if protocol == "line" else {"message": answer.sentence}
        return JSONResponse({**body, "detail": answer.sentence}, answer.status, headers)
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    return Response(answer.body, answer.status, headers, media_type=answer.content_type)


def _token(authorization: str) -> str:
    """The secret of ``Token …``, ``Bearer …`` or, as its password, ``Basic …``; "" where there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() in ("token", "bearer"):
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
