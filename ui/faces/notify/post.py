"""The one way out for channels: where a request may go, how long it may take, how much it may bring back.

A host that the operator listed in ``allow`` may lie anywhere; any other must resolve to public addresses only, so that a
webhook address that somebody slipped in cannot reach what only this machine reaches. Redirects are never followed: a page
with its token would go to whom nobody named."""

import asyncio
import fnmatch
import io
import ipaddress
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from analytics.oncall.outbox import hopeless
from ui.access.section import is_address

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 65_536
MAX_SAID_CHARS = 200  # of what a receiver answered
SECRET_CHARS = 8  # a part of a URL so long may be a token


class Undelivered(Exception):
    """The receiver did not take it. ``retry_after_s``: what it asked for, 0 for nothing; ``hopeless``: the same again would be
    refused again. The text names no secret."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0, hopeless: bool = False) -> None:
        super().__init__(why)
        self.retry_after_s, self.hopeless = retry_after_s, hopeless


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` and ``body`` (at most ``MAX_ANSWER_BYTES``) of an HTTP answer; ``hidden``: what of the request it may repeat
    and nobody may read."""

    status: int
    body: bytes
    hidden: Sequence[str] = ()

    def shown(self, text: str) -> str:
        """The beginning of ``text``, which is from the answer, without what is hidden."""
        return _short(text, self.hidden)


def listed(host: str, allow: Sequence[str]) -> bool:
    """Whether ``host`` is one of ``allow``: names and globs of names, addresses, networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(fnmatch.fnmatchcase(host.lower(), pattern.lower()) for pattern in allow)
    return any(_within(address, pattern) for pattern in allow)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, pattern: str) -> bool:
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def public(address: str) -> bool:
    """Whether an IP address is one of the public internet: no loopback, private, link-local or multicast one."""
    found = ipaddress.ip_address(address.split("%", 1)[0])
    return found.is_global and not found.is_multicast


class _Resolver(AbstractResolver):
    """Names to addresses that may be reached; looked at when the connection is made, so that a name cannot change in
    between."""

    def __init__(self, allow: Sequence[str]) -> None:
        self._allow, self._real = allow, ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._real.resolve(host, port, family)
        if not listed(host, self._allow):
            found = [one for one in found if public(one["host"]) or listed(one["host"], self._allow)]
            if not found:
                raise OSError(None, f"{host} is an address of a private network; name it in allow of [delivery]")
        return found

    async def close(self) -> None:
        await self._real.close()


def as_json(body: Any) -> bytes:
    """JSON in UTF-8: half of what escapes would take of a robot's limit in Chinese."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class Post:
    """Sends requests for channels; ``allow``: see the module. ``close`` it on the loop on which it was used."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allow = tuple(allow)
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """``ValueError`` with one sentence where ``url`` may never be sent to."""
        parts = URL(url)
        if parts.scheme not in ("https", "http") or not parts.host:
            raise ValueError(f"{parts.scheme or 'it'} is no scheme to send to; write an https:// URL")
        here = listed(parts.host, self._allow)
        if parts.scheme == "http" and not here:
            raise ValueError(f"http to {parts.host} would show the page to whoever listens; write https, or name it in allow")
        if parts.user or parts.password:
            raise ValueError(f"a password in the URL of {parts.host} ends up in logs; write it as a secret")
        if is_address(parts.host) and not here and not public(parts.host):
            raise ValueError(f"{parts.host} is an address of a private network; name it in allow of [delivery]")

    async def send(
        self,
        url: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One POST of ``body`` as JSON, or of ``data`` as it is. ``Undelivered`` where it may not go there, nobody answers in
        time, or the answer is no 2xx. A URL is never in what that says: robots have their token in it."""
        host = URL(url).host or "?"
        try:
            self.check(url)
        except ValueError as error:
            raise Undelivered(str(error), hopeless=True) from None
        raw = io.BytesIO(as_json(body) if data is None else data)
        full = {"Content-Type": "application/json", **(headers or {})}
        hidden = _hidden(url, headers or {})
        try:
            async with self._open().post(url, data=raw, headers=full, allow_redirects=False) as response:
                said = await response.content.read(MAX_ANSWER_BYTES)
                status, asked = response.status, response.headers.get("Retry-After", "")
                date = response.headers.get("Date", "")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Undelivered(f"{host} does not answer ({type(error).__name__}: {_short(str(error), hidden)})") from None
        if 300 <= status < 400:
            raise Undelivered(f"{host} redirects (status {status}), which is not followed; give its new URL", hopeless=True)
        if not 200 <= status < 300:
            why = f"{host} answered {status}: {_short(said.decode('utf-8', 'replace'), hidden)}"
            raise Undelivered(why, retry_after_s=_asked_s(asked, date), hopeless=hopeless(status))
        return Answer(status, said, hidden)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=_Resolver(self._allow), limit_per_host=4)
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            agent = {"User-Agent": "icctwin"}
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=agent, trust_env=False)
        return self._session

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)


def _hidden(url: str, headers: Mapping[str, str]) -> list[str]:
    """What a receiver may repeat of a request and nobody may read, longest first: the URL, path and query as wholes; each part
    of them and of the headers from ``SECRET_CHARS`` on, as written, as sent and as meant."""
    written, sent = urlsplit(url), URL(url)
    wholes, words = [url], [word for value in headers.values() for word in (value, *value.split())]
    for path, query in ((written.path, written.query), (sent.raw_path, sent.raw_query_string)):
        parts = [*path.split("/"), *(pair.partition("=")[2] for pair in query.split("&"))]
        wholes += [path, query, f"{path}?{query}"]
        words += [form for part in parts for form in (part, unquote(part), unquote_plus(part))]
    found = {*(one for one in wholes if len(one) > 1), *(one for one in words if len(one) >= SECRET_CHARS)}
    return sorted(found, key=len, reverse=True)


def _short(text: str, hidden: Sequence[str]) -> str:
    """The beginning of ``text`` without what is ``hidden``; looked for before it is cut, or half of it would be left."""
    for one in hidden:
        text = re.sub(re.escape(one), "…", text, flags=re.IGNORECASE)
    return text[:MAX_SAID_CHARS]


def _asked_s(asked: str, date: str) -> float:
    """Seconds of a Retry-After header: a number, or a time after that of the Date header (RFC 9110, 10.2.3)."""
    if asked.strip().isdigit():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
