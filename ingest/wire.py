"""The wire: one way to fetch a page over HTTP, with a limit on everything, shared by all sources that speak HTTP.

A failed fetch is not tried again within a poll: the next poll is the retry, so a dead endpoint costs one connection an
interval and no more. Every failure is a ``SourceError`` of one sentence that names the URL.
"""

import asyncio
import json
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from twin.errors import SourceError

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 10.0  # for a whole answer, connecting included
MAX_BODY_BYTES = 64 * 2**20  # after decompression
MAX_REDIRECTS = 3  # and only to the same scheme, host and port
MAX_HEADER_BYTES = 32 * 2**10
MAX_SECRET_BYTES = 16 * 2**10
REDIRECTS = (301, 302, 303, 307, 308)
UTF8 = ("utf-8", "utf8", "us-ascii")
_CHUNK_BYTES = 2**16
_SECRET_WORDS = ("token", "secret", "password", "passphrase", "credential", "community", "apikey", "api_key", "auth")
_SECRETS = (  # where they stand in the words of others: before a host, as the value of such a name, in a header
    re.compile(r"(://)[^\s/@]+(?=@)"),
    re.compile(rf"(?i)((?:{'|'.join(_SECRET_WORDS)})[\w-]*[\"']?(?:[=:]|:\s(?=[\"']))[\"']?)[^\s&;,\"')]+"),
    re.compile(r"\b((?:Bearer|Basic) )[\w.~+/=-]{8,}"),
)


class Answer(NamedTuple):
    """What came back: the plain body, its bare lower-case MIME type ("" where not given), and the URL as shown."""

    body: bytes
    content_type: str
    where: str

    @property
    def text(self) -> str:
        """The body decoded. ``SourceError`` where it is not UTF-8."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.where}: byte {error.start} of the page is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Tls:
    """How servers are known and how we show who we are, each a file of PEM: ``ca_file`` the only authorities that count
    (None: the system's), ``cert_file`` and ``key_file`` our certificate (mutual TLS); ``server_name`` is the name that the
    server's certificate must bear where that is not its address."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""

    def context(self) -> ssl.SSLContext | bool:
        """What aiohttp wants to know. ``SourceError`` where a file cannot be read."""
        if not (self.ca_file or self.cert_file):
            return True
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except OSError as error:  # ssl.SSLError is one
            raise SourceError(f"ca_file {self.ca_file} is not a readable file of PEM certificates ({error})") from None
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            except (OSError, ValueError) as error:
                what = "are not a readable PEM certificate and its key without a password"
                raise SourceError(f"cert_file {self.cert_file} and key_file {self.key_file} {what} ({error})") from None
        return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is locked by a password")


def new_session(every_s: float, tls: Tls | None = None, connections: int = 2) -> aiohttp.ClientSession:
    """A session that keeps at most ``connections`` (0: any number) open from one poll to the next, two to one server; made on
    a running event loop, closed by its owner. It takes no proxy or password from the environment. ``SourceError`` where a
    file of ``tls`` cannot be read."""
    context = (tls or Tls()).context()
    connector = aiohttp.TCPConnector(
        limit=connections, limit_per_host=2, ssl=context, keepalive_timeout=2 * every_s + CONNECT_TIMEOUT_S
    )
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


def read_secret(path: Path) -> str:
    """The password or token in a file, read anew each time so that it may be rotated; ``SourceError`` where it cannot be
    read."""
    try:
        with path.open(encoding="utf-8") as file:
            token = file.read(MAX_SECRET_BYTES + 1).strip()
    except OSError as error:
        what = f"cannot be read ({error.strerror}); write it there, or let icctwin's account read it"
        raise SourceError(f"the secret in {path} {what}") from None
    except UnicodeDecodeError:
        raise SourceError(f"the secret in {path} is no text; write it there as one line") from None
    if not token or len(token) > MAX_SECRET_BYTES or not token.isprintable():
        raise SourceError(f"the secret in {path} is no line of at most {MAX_SECRET_BYTES} printable characters; write it so")
    return token


@dataclass(frozen=True, slots=True)
class Login:
    """What a server is shown with each request: a bearer token, or a user and password. Secrets lie in files."""

    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """The header, read anew each time; none where nothing is to be shown. ``SourceError`` for an unreadable file."""
        if self.bearer_token_file:
            return {"Authorization": f"Bearer {read_secret(self.bearer_token_file)}"}
        if self.username:
            password = read_secret(self.password_file) if self.password_file else ""
            return {"Authorization": "Basic " + b64encode(f"{self.username}:{password}".encode()).decode()}
        return {}


def shown(url: URL) -> str:
    """``url`` as a sentence may show it: without the secrets that some servers want in the query."""
    hidden = {name: "***" for name in url.query if any(word in name.lower() for word in _SECRET_WORDS)}
    return str(url.update_query(hidden)) if hidden else str(url)


def without_secrets(text: str) -> str:
    """``text``, of which others may have chosen the words, without what looks like a secret."""
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text


# what is said of an answer, whoever fetched it


def bad_status(url: URL, status: int, reason: str) -> str:
    """Of a status that is not 200."""
    return f"{shown(url)}: status {status} {reason}".rstrip() + "; 200 is expected"


def redirected(url: URL, target: URL) -> str:
    """The sentence for a server that sends us to another."""
    return f"{shown(url)}: redirects to another server ({target.origin()}), not followed; give its URL"


def over_limit(url: URL, limit: int) -> str:
    """The sentence for a page that is too large."""
    return f"{shown(url)}: the page is over {limit} bytes; raise max_body_bytes if it is meant to be"


def number(where: str, said: object, exponent: float = 0) -> float:
    """``said`` · 10^``exponent`` (True is 1; NaN and infinities stay what they are). ``SourceError`` where ``said`` is no
    number, or one that no float holds."""
    try:
        if isinstance(said, int | float):
            return float(said / 10.0**-exponent if exponent < 0 else float(said) * 10.0**exponent)
    except OverflowError:
        pass  # said below
    power = f" times 10^{exponent:g}" if exponent else ""
    raise SourceError(f"{where} is {str(said)[:40]!r}{power}, no number that can be read")


async def fetch_json(
    session: aiohttp.ClientSession,
    url: URL,
    headers: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Any:
    """GET ``url`` as ``fetch`` does and read it as JSON, whatever it calls itself; ``SourceError`` where it is none."""
    answer = await fetch(session, url, headers, timeout_s, max_body_bytes)
    try:
        return json.loads(answer.text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{shown(url)}: the answer is not JSON ({str(error)[:100]})") from None


async def fetch(
    session: aiohttp.ClientSession,
    url: URL,
    headers: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
    max_body_bytes: int = MAX_BODY_BYTES,
    server_name: str = "",
) -> Answer:
    """GET ``url`` once, whole or not at all.

    ``SourceError`` for a refused or broken connection, no answer within ``timeout_s``, a status other than 200, a redirect
    to another origin and a body over ``max_body_bytes`` (reading stops there).
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _follow(session, url, headers, max_body_bytes, server_name or None)
    except TimeoutError:
        raise SourceError(f"{shown(url)}: no whole answer within {timeout_s:g} s; it or the network is slow") from None
    except aiohttp.ClientConnectorCertificateError as error:
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        what = "renew it there" if "expired" in str(why) else "set ca_file"
        raise SourceError(f"{shown(url)}: its certificate is not trusted ({why}); {what}") from None
    except (aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
        raise SourceError(f"{shown(url)}: no TLS with it ({error}); is it https, and does it ask for cert_file?") from None
    except aiohttp.ClientConnectorError as error:
        why = f"no connection ({error.strerror or error}); is it running and the address right?"
        raise SourceError(f"{shown(url)}: {why}") from None
    except aiohttp.ClientPayloadError:
        raise SourceError(f"{shown(url)}: the connection broke before the body was whole") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        # ValueError: aiohttp's for a header or URL that cannot be sent
        raise SourceError(f"{shown(url)}: broken HTTP ({type(error).__name__}: {error})") from None


async def _follow(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], max_body_bytes: int, server_name: str | None
) -> Answer:
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        no_limit = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)  # the whole is limited by our caller
        async with session.get(
            here, headers=headers, allow_redirects=False, timeout=no_limit, server_hostname=server_name
        ) as response:
            if response.status not in REDIRECTS:
                return await _answer(response, url, max_body_bytes)
            target = here.join(URL(response.headers.get("Location", "")))
            if target.origin() != url.origin():
                raise SourceError(redirected(url, target))
            here = target
    raise SourceError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")


async def _answer(response: aiohttp.ClientResponse, url: URL, max_body_bytes: int) -> Answer:
    if response.status != 200:
        raise SourceError(bad_status(url, response.status, response.reason or ""))
    charset = (response.charset or "utf-8").lower()
    if charset not in UTF8:
        raise SourceError(f"{shown(url)}: charset {charset}; only UTF-8 is read")
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_body_bytes:
            raise SourceError(over_limit(url, max_body_bytes))
    content_type = response.content_type.lower() if "Content-Type" in response.headers else ""
    return Answer(bytes(body), content_type, shown(url))
