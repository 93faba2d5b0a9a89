"""The wire: one way to fetch a page over HTTP, with a limit on everything, shared by all sources that speak HTTP.

A failed fetch is not tried again within a poll: the next poll is the retry, so a dead endpoint costs one connection an
interval and no more. Every failure is a ``SourceError`` of one sentence that names the URL.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from twin.errors import SourceError

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 10.0  # for a whole answer, connecting included
MAX_BODY_BYTES = 64 * 2**20  # after decompression
MAX_REDIRECTS = 3  # and only to the same scheme, host and port
MAX_HEADER_BYTES = 32 * 2**10
MAX_SECRET_BYTES = 16 * 2**10
_CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``text`` is the decoded body, ``content_type`` the bare lower-case MIME type ("" where not given)."""

    text: str
    content_type: str


def new_session(every_s: float, ca_file: Path | None = None) -> aiohttp.ClientSession:
    """A session that keeps its connection open from one poll to the next; made on a running event loop, closed by its
    owner. It takes no proxy or password from the environment. ``SourceError`` where ``ca_file`` cannot be read."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    except OSError as error:  # ssl.SSLError is one
        raise SourceError(f"ca_file {ca_file} is not a readable file of PEM certificates ({error})") from None
    connector = aiohttp.TCPConnector(limit=2, ssl=context, keepalive_timeout=2 * every_s + CONNECT_TIMEOUT_S)
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


def read_secret(path: Path) -> str:
    """The token in a file, read anew each time so that it may be rotated; ``SourceError`` where it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            token = file.read(MAX_SECRET_BYTES + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"token file {path} cannot be read ({error}); name a readable text file") from None
    if not token or len(token) > MAX_SECRET_BYTES or not token.isprintable():
        raise SourceError(f"token file {path} does not hold one token of at most {MAX_SECRET_BYTES} printable characters")
    return token


async def fetch(
    session: aiohttp.ClientSession,
    url: URL,
    headers: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Answer:
    """GET ``url`` once, whole or not at all.

    ``SourceError`` for a refused or broken connection, no answer within ``timeout_s``, a status other than 200, a redirect
    to another origin, a body over ``max_body_bytes`` (reading stops there) and a body that is not UTF-8.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _follow(session, url, headers, max_body_bytes)
    except TimeoutError:
        raise SourceError(f"{url}: no whole answer within {timeout_s:g} s; the endpoint or the network is slow") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise SourceError(f"{url}: its certificate is not trusted ({error.certificate_error}); set ca_file") from None
    except aiohttp.ClientConnectorError as error:
        raise SourceError(f"{url}: no connection ({error.strerror or error}); is it running and the address right?") from None
    except aiohttp.ClientPayloadError:
        raise SourceError(f"{url}: the connection broke before the body was whole") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        # ValueError: aiohttp's for a header or URL that cannot be sent
        raise SourceError(f"{url}: broken HTTP ({type(error).__name__}: {error})") from None


async def _follow(session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], max_body_bytes: int) -> Answer:
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        no_limit = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)  # the whole is limited by our caller
        async with session.get(here, headers=headers, allow_redirects=False, timeout=no_limit) as response:
            if response.status not in (301, 302, 303, 307, 308):
                return await _answer(response, url, max_body_bytes)
            target = here.join(URL(response.headers.get("Location", "")))
            if target.origin() != url.origin():
                raise SourceError(f"{url}: redirects to another server ({target.origin()}), not followed; give its URL")
            here = target
    raise SourceError(f"{url}: more than {MAX_REDIRECTS} redirects")


async def _answer(response: aiohttp.ClientResponse, url: URL, max_body_bytes: int) -> Answer:
    if response.status != 200:
        raise SourceError(f"{url}: status {response.status} {response.reason or ''}".rstrip() + "; 200 is expected")
    charset = (response.charset or "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise SourceError(f"{url}: charset {charset}; only UTF-8 is read")
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_body_bytes:
            raise SourceError(f"{url}: the page is over {max_body_bytes} bytes; raise max_body_bytes if it is meant to be")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{url}: byte {error.start} of the page is not UTF-8") from None
    content_type = response.content_type.lower() if "Content-Type" in response.headers else ""
    return Answer(text, content_type)
