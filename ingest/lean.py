"""The lean way to ask one server over plain HTTP again and again: a kept connection, llhttp (``httptools``) on asyncio's
transport, and nothing else. A page costs a quarter of what aiohttp's client takes (``docs/decisions/0010-lean-scrape.md``).

It knows only what exporters do. Whatever else it meets (TLS, a redirect, another encoding than gzip, a body that ends with its
connection) it leaves to ``ingest.wire.fetch``, which knows all of HTTP. Limits and sentences are those of ``ingest.wire``.
"""

import asyncio
import zlib
from collections.abc import Mapping
from email.message import Message
from functools import lru_cache

import cramjam
import httptools
from yarl import URL

from ingest.wire import CONNECT_TIMEOUT_S, MAX_HEADER_BYTES, REDIRECTS, UTF8, Answer, bad_status, over_limit, redirected, shown
from twin.errors import SourceError

READ_BYTES = 64 * 2**10
UNPACK_BYTES = 256 * 2**10  # to begin with; as large as the largest page once it was seen


class NotLean(Exception):
    """The server answers in a way that only the full client understands."""


class Buffers:
    """Memory that all lines of one event loop share: each is read and unpacked in one go, never two at once."""

    def __init__(self) -> None:
        self.read = memoryview(bytearray(READ_BYTES))
        self._unpacked = bytearray(UNPACK_BYTES)

    def unpack(self, packed: bytes, limit: int) -> bytes:
        """What gzip packed. ``ValueError`` where it is no whole gzip, ``OverflowError`` where it is over ``limit`` bytes."""
        try:
            n = cramjam.gzip.decompress_into(packed, self._unpacked)
        except cramjam.DecompressionError:
            whole = _unpacked_slowly(packed, limit)
            if len(whole) > len(self._unpacked):
                self._unpacked = bytearray(min(limit, 2 * len(whole)) + 1)
            return whole
        if n > limit:
            raise OverflowError
        return bytes(memoryview(self._unpacked)[:n])


def _unpacked_slowly(packed: bytes, limit: int) -> bytes:
    """As far as ``limit``: a few bytes may unpack to more than the machine has."""
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        whole = stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(whole) > limit:
        raise OverflowError
    if not stream.eof:
        raise ValueError("it is cut")
    return whole


class Line:
    """A connection to the server of ``url``, for one request at a time; opened when it is wanted and kept."""

    def __init__(self, url: URL, buffers: Buffers, max_body_bytes: int) -> None:
        self._url, self._buffers, self._limit, self._shown = url, buffers, max_body_bytes, shown(url)
        self._open: _Connection | None = None
        self._asked: tuple[Mapping[str, str], bytes] = {}, b""

    async def get(self, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """GET once, whole or not at all: ``SourceError`` as ``ingest.wire.fetch`` raises it, ``NotLean`` where that one is
        to be asked instead."""
        if headers != self._asked[0]:
            self._asked = headers, _request(self._url, headers)
        kept, done = self._open, False
        until_s = asyncio.get_running_loop().time() + timeout_s
        try:
            try:
                answer = await self._ask(until_s)
            except ConnectionResetError:
                if kept is None or self._open is not kept or kept.answered:
                    raise
                answer = await self._ask(until_s)  # the server had closed what we kept: that is no failure
            done = True
            return answer
        except TimeoutError:
            what = f"no whole answer within {timeout_s:g} s; it or the network is slow"
            raise SourceError(f"{self._shown}: {what}") from None
        except ConnectionResetError:
            raise SourceError(f"{self._shown}: the connection broke before the body was whole") from None
        except OSError as error:
            why = f"no connection ({error.strerror or error}); is it running and the address right?"
            raise SourceError(f"{self._shown}: {why}") from None
        finally:
            if not done:
                self.close()  # what is on its way must not be taken for the next answer

    def close(self) -> None:
        """Hang up; the next ``get`` opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    async def _ask(self, until_s: float) -> Answer:
        line = self._open
        if line is None or line.closed:
            line = self._open = await self._connect(until_s)
        status, reason, head, body = await line.ask(self._asked[1], until_s)
        if line.closed:
            self._open = None
        if status in REDIRECTS:
            target = self._url.join(URL(head.get(b"location", b"").decode("latin-1")))
            if target.origin() == self._url.origin():
                raise NotLean
            raise SourceError(redirected(self._url, target))
        if status != 200:
            raise SourceError(bad_status(self._url, status, reason))
        kind, charset = _content_type(head.get(b"content-type", b""))
        if charset not in UTF8:
            raise SourceError(f"{self._shown}: charset {charset}; only UTF-8 is read")
        return Answer(self._plain(body, head.get(b"content-encoding", b"").lower()), kind, self._shown)

    def _plain(self, body: bytes, encoding: bytes) -> bytes:
        if encoding in (b"", b"identity"):
            return body
        if encoding not in (b"gzip", b"x-gzip"):
            raise NotLean
        try:
            return self._buffers.unpack(body, self._limit)
        except OverflowError:
            raise SourceError(over_limit(self._url, self._limit)) from None
        except ValueError as error:
            raise SourceError(f"{self._shown}: the body is not whole gzip ({error})") from None

    async def _connect(self, until_s: float) -> "_Connection":
        loop, url = asyncio.get_running_loop(), self._url
        async with asyncio.timeout_at(min(until_s, loop.time() + CONNECT_TIMEOUT_S)):
            _, made = await loop.create_connection(
                lambda: _Connection(self._buffers.read, url, self._limit),
                url.raw_host or "",
                url.port or 80,
                happy_eyeballs_delay=0.25,
            )
        return made


class _Connection(asyncio.BufferedProtocol):
    """One connection: bytes in, one answer out. ``httptools`` calls the ``on_`` methods."""

    def __init__(self, buffer: memoryview, url: URL, limit: int) -> None:
        self._buffer, self._url, self._limit = buffer, url, limit
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, str, dict[bytes, bytes], bytes]] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._head: dict[bytes, bytes] = {}
        self._reason = ""
        self._parts: list[bytes] = []
        self._size = self._head_bytes = 0
        self._in_body = False
        self.closed = False

    async def ask(self, request: bytes, until_s: float) -> tuple[int, str, dict[bytes, bytes], bytes]:
        """Status, reason, headers (lower case) and body as sent. ``ConnectionResetError`` where it ends before that,
        ``TimeoutError`` at ``until_s`` of the loop's clock."""
        if self._transport is None or self.closed:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._late = loop.call_at(until_s, self._fail, TimeoutError())  # a tenth of what asyncio.timeout takes
        self._head, self._parts, self._size, self._head_bytes, self._in_body = {}, [], 0, 0, False
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._late.cancel()

    @property
    def answered(self) -> bool:
        """Whether something of the answer came."""
        return bool(self._head_bytes)

    def close(self) -> None:
        """Hang up at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` have come."""
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        if not self._in_body:
            self._head_bytes += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(SourceError(f"{shown(self._url)}: broken HTTP ({type(error).__name__}: {error})"))
        if not self._in_body and self._head_bytes > MAX_HEADER_BYTES and not self.closed:
            self._fail(SourceError(f"{shown(self._url)}: broken HTTP (headers over {MAX_HEADER_BYTES} bytes)"))

    def eof_received(self) -> None:
        """The server is done."""
        self.closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.closed = True
        self._fail(ConnectionResetError())

    # llhttp calls these

    def on_status(self, reason: bytes) -> None:
        """The words beside the status."""
        self._reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._head[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Of a body without a length the end of the connection is the end: that is the full client's."""
        self._in_body = True
        status = self._parser.get_status_code()
        if status != 200 and status not in REDIRECTS and status >= 200:
            raise SourceError(bad_status(self._url, status, self._reason))  # whatever its body is, and however it ends
        if status == 200 and not {b"content-length", b"transfer-encoding"} & self._head.keys():
            raise NotLean
        if status < 200:
            raise NotLean

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._size > self._limit:
            raise SourceError(over_limit(self._url, self._limit))
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._answer.set_result((self._parser.get_status_code(), self._reason, self._head, body))

    def _fail(self, error: BaseException) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _request(url: URL, headers: Mapping[str, str]) -> bytes:
    """``NotLean`` for headers that cannot be sent so: the full client says what is wrong with them."""
    host = url.host_port_subcomponent or ""
    lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"Host: {host}", "Accept-Encoding: gzip"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise NotLean
    return "\r\n".join([*lines, "", ""]).encode("ascii")


@lru_cache(maxsize=256)
def _content_type(header: bytes) -> tuple[str, str]:
    """MIME type ("" where there is none) and charset, both in lower case."""
    if not header:
        return "", "utf-8"
    message = Message()
    message["Content-Type"] = header.decode("latin-1")
    return message.get_content_type(), message.get_content_charset("utf-8")
