"""What every answer carries and every question must keep to: security headers, the door, a bound on bodies."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin.errors import SourceError
from ui.access.door import STILL_S, Door

log = logging.getLogger(__name__)
BODY_S = 60.0  # for a whole body: a drip holds nothing for longer
BODY_BYTES = 1 << 20  # nothing that a face is sent is larger
OPENER = "cross-origin-opener-policy"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    OPENER: "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware, outermost. ``door``: says who may, of sockets too; ``hashes``: the inline scripts that pages made by
    Dash may run; ``large``: path -> how large a body it takes, where that is more."""

    def __init__(
        self,
        app: ASGIApp,
        door: Door,
        hashes: Sequence[str] = (),
        large: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app, self.door, self.large = app, door, large
        # plotly and React set styles from script, which is what 'unsafe-inline' of style-src is for; scripts stay strict
        policy = {
            "default-src": "'self'",
            "script-src": " ".join(["'self'", *hashes]),
            "style-src": "'self' 'unsafe-inline'",
            "img-src": "'self' data: blob:",
            "connect-src": "'self'",
            "object-src": "'none'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'self'",
        }
        self.headers = {**_HEADERS, "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what keeps to the rules; an answer that says why for what does not."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.door.foreign(Headers(scope=scope)) or await self.door.admit(scope) is not None:
            await send({"type": "websocket.close", "code": 1008, "reason": "no such socket for this origin or user"})
            return
        clock, over = asyncio.get_running_loop().time, False
        asked_s = clock()

        async def watched(message: Message) -> None:
            """A session that ends takes its sockets with it."""
            nonlocal asked_s, over
            if over:
                return
            if message["type"] == "websocket.send" and clock() - asked_s >= STILL_S:
                asked_s = clock()
                if not await self.door.still(scope):
                    over = True
                    await send({"type": "websocket.close", "code": 1008, "reason": "the session is over"})
                    return
            await send(message)

        await self.app(scope, receive, watched)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    if name == "content-security-policy":
                        headers.append(name, value)  # a browser keeps to each: an answer's own can only forbid more
                    elif name != OPENER or OPENER not in headers:  # a sandbox has no opener: HTML refuses one with a policy
                        headers[name] = value
                if scope.get("scheme") == "https":
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        refusal = await self.door.admit(scope)
        if refusal is not None:
            await refusal(scope, receive, dressed)
            return
        limit = self.large.get(scope["path"], BODY_BYTES)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(Headers(scope=scope), receive, limit)
        except TimeoutError:
            refusal = JSONResponse({"detail": f"The body did not come within {BODY_S:g} s; send it faster."}, 408)
            await refusal(scope, receive, dressed)
            return
        if body is None:
            refusal = JSONResponse({"detail": f"The body is larger than {limit} bytes; send less."}, 413)
            await refusal(scope, receive, dressed)
        else:
            await self.app(scope, _replayed(body, receive) if body else receive, _Audited(self.door, scope, receive, dressed))


class _Audited:
    """Holds an answer back until what it tells of is in the audit; where the audit cannot be kept, says that instead."""

    def __init__(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        self._door, self._scope, self._receive, self._send = door, scope, receive, send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            try:
                await self._door.wrote(self._scope, message["status"])
            except Exception as error:
                if not isinstance(error, SourceError):
                    log.exception("the audit could not be kept")
                self._replaced = True
                said = f"It is done, but the audit could not be kept: {error}."
                await JSONResponse({"detail": said}, 503)(self._scope, self._receive, self._send)
        if not self._replaced:
            await self._send(message)


async def _body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The whole body, read before anyone else sees it; None where it is too large."""
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        return None
    parts, size, more = [], 0, length != "0" or "transfer-encoding" in headers
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replayed() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
