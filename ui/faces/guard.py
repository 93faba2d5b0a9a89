"""What every answer carries and every question must keep to: security headers, a bound on bodies, the origin of sockets."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 1 << 20  # nothing that a face is sent is larger
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware, outermost. ``hashes``: of the inline scripts that the page may run; ``sockets``: paths of the
    websockets that there are (Dash brings one of its own, without bounds, that nothing here uses); ``origins``: web origins
    beside the server's own whose pages may open them; ``large``: path -> how large a body it takes, where that is more."""

    def __init__(
        self,
        app: ASGIApp,
        hashes: Sequence[str] = (),
        sockets: Sequence[str] = (),
        origins: Sequence[str] = (),
        large: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app, self.large = app, large
        self.sockets = frozenset(sockets)
        self.origins = frozenset(origins)
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
        """Pass on what keeps to the rules; 413 and 403 for what does not."""
        if scope["type"] == "websocket" and not (scope["path"] in self.sockets and self._from_here(Headers(scope=scope))):
            await send({"type": "websocket.close", "code": 1008, "reason": "no such socket for this origin"})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _from_here(self, headers: Headers) -> bool:
        """Browsers always say whose page it is that opens a socket; what says nothing is no browser."""
        origin = headers.get("origin")
        return origin is None or origin in self.origins or urlsplit(origin).netloc == headers.get("host")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
            await send(message)

        limit = self.large.get(scope["path"], BODY_BYTES)
        body = await _body(Headers(scope=scope), receive, limit)
        if body is None:
            refusal = JSONResponse({"detail": f"The body is larger than {limit} bytes; send less."}, 413)
            await refusal(scope, receive, dressed)
        else:
            await self.app(scope, _replayed(body, receive) if body else receive, dressed)


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
