"""JSON over HTTP, for device controllers and schedulers: whole answers within limits, one ``SourceError`` for whatever fails.

Fetching pages is ``ingest.wire``'s; this adds methods, bodies, sockets of the file system and certificates known by
fingerprint.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from ingest.wire import CONNECT_TIMEOUT_S, MAX_BODY_BYTES, MAX_HEADER_BYTES, TIMEOUT_S, Tls, new_session
from twin.errors import SourceError

SHOWN_BYTES = 200
ASIDE_BYTES = 2**20  # a larger body is parsed in a thread
MAX_LINE_BYTES = 2**20  # of a stream of events
_CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: ``body`` is the parsed JSON, None for an empty one; ``text`` the beginning of what is none."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server did it."""
        return 200 <= self.status < 300


class Rest:
    """One server. ``unix``: the socket it listens on, where it is not on the network; ``fingerprint``: SHA-256 of its
    certificate, for controllers whose certificate nobody signed; ``verified`` false: whatever certificate it shows will do, for
    a question without secrets alone."""

    def __init__(
        self,
        base: URL,
        every_s: float = 60.0,
        *,
        tls: Tls | None = None,
        unix: Path | None = None,
        fingerprint: str = "",
        verified: bool = True,
        timeout_s: float = TIMEOUT_S,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.base = base
        self._every_s, self._tls, self._unix = every_s, tls, unix
        self._ssl = aiohttp.Fingerprint(bytes.fromhex(fingerprint)) if fingerprint else verified
        self.seen_fingerprint = ""  # of the last certificate that was shown, where that is not verified
        self._timeout_s, self._max_body_bytes = timeout_s, max_body_bytes
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET ``path``; any status is an answer."""
        return await self.send("GET", path, headers=headers)

    async def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request, JSON both ways. ``SourceError`` where no whole answer comes in time, or one that is no JSON."""
        url = self.base.join(URL(path, encoded=True))
        if url.origin() != self.base.origin():
            raise SourceError(f"{self.base}: points to another server ({url.origin()}), not followed")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(method, url, body, headers or {})
        except TimeoutError:
            raise SourceError(
                f"{url}: no whole answer within {self._timeout_s:g} s; the server or the network is slow"
            ) from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise SourceError(f"{url}: {_why(error)}") from None

    async def form(self, path: str, fields: Mapping[str, str]) -> Reply:
        """POST ``fields`` as a form, as OAuth2 wants it (RFC 6749, 4.4.2); JSON back. Errors as those of ``send``."""
        return await self.send("POST", path, aiohttp.FormData(fields))

    async def lines(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[str]:
        """Lines of an answer that does not end, as they come. ``SourceError`` where it breaks or a line is over its limit."""
        url = self.base.join(URL(path, encoded=True))
        rest = b""
        endless = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)
        wanted = {"Accept": "text/event-stream", **(headers or {})}
        try:
            async with self._open().get(url, headers=wanted, allow_redirects=False, timeout=endless, ssl=self._ssl) as answer:
                if answer.status != 200:
                    raise SourceError(f"{url}: status {answer.status} for the stream of events")
                async for chunk in answer.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line.decode("utf-8", "replace").rstrip("\r")
                    if len(rest) > MAX_LINE_BYTES:
                        raise SourceError(f"{url}: an event is over {MAX_LINE_BYTES} bytes")
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise SourceError(f"{url}: {_why(error)}") from None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None and self._unix is not None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._unix)), trust_env=False, max_field_size=MAX_HEADER_BYTES
            )
        elif self._session is None:
            self._session = new_session(self._every_s, self._tls)
        return self._session

    async def _exchange(self, method: str, url: URL, body: Any, headers: Mapping[str, str]) -> Reply:
        limit = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)
        wanted = {"Accept": "application/json", **headers}
        sent = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body}
        async with self._open().request(
            method, url, **sent, headers=wanted, allow_redirects=False, timeout=limit, ssl=self._ssl
        ) as answer:
            if self._ssl is False and answer.connection is not None and answer.connection.transport is not None:
                secured = answer.connection.transport.get_extra_info("ssl_object")
                shown = secured.getpeercert(binary_form=True) if secured else None
                self.seen_fingerprint = hashlib.sha256(shown).hexdigest() if shown else ""
            data = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                data += chunk
                if len(data) > self._max_body_bytes:
                    raise SourceError(f"{url}: the answer is over {self._max_body_bytes} bytes; it is not read")
            parsed = await _parsed(bytes(data), url, answer.status)
            text = "" if parsed is not None else bytes(data[:SHOWN_BYTES]).decode("utf-8", "replace").strip()
            return Reply(answer.status, answer.headers.copy(), parsed, text)


async def _parsed(data: bytes, url: URL, status: int) -> Any:
    if not data.strip():
        return None
    try:
        return json.loads(data) if len(data) < ASIDE_BYTES else await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError) as error:
        if status >= 300:  # an error page of whatever kind: the status says enough
            return None
        raise SourceError(f"{url}: the answer is no JSON ({' '.join(str(error).split())}); is the address right?") from None


def _why(error: Exception) -> str:
    """What is wrong, in one clause."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"its certificate has the SHA-256 {error.got.hex()}, not the fingerprint that is configured"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error}); set ca_file or fingerprint"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.strerror or error}); is it running and the address right?"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the connection broke before the answer was whole"
    return f"broken HTTP ({type(error).__name__}: {' '.join(str(error).split())})"
