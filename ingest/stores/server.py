"""A store's server over HTTP: one way to ask it, with a limit on everything, and one sentence where it says no."""

import base64
import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from ingest.stores.errors import StoreError
from ingest.wire import read_secret

CONNECT_S, ANSWER_S = 5.0, 60.0
MAX_ANSWER_BYTES = 1 << 30
MAX_CONNECTIONS = 4
_SHOWN = 300  # characters of what a server says


# what InfluxDB 1, 2 and 3 say where it is the values that they do not take, and never a proxy or a wrong address
_OF_VALUES = ("partial write", "unable to parse", "parsing failed", "parse failed", "retention policy", "conflict", "schema")
_DROPPED = re.compile(r"dropped=(\d+)")


class Refused(StoreError):
    """The server understood the values and does not take them: asking again would not help. ``lines``: how many of those
    sent it left out, where it says so."""

    lines: int | None = None


class TooLarge(StoreError):
    """Less at once may be taken."""


class Server:
    """One server. ``scheme``: what stands before the token (``Token``, ``Bearer``, or ``Basic`` with ``user``). The secret is
    read anew from its file for each request, so that it may be rotated. Any thread may ask."""

    def __init__(
        self, url: str, *, scheme: str = "", secret_file: Path | None = None, user: str = "", ca_file: Path | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._scheme, self._secret_file, self._user = scheme, secret_file, user
        more: dict[str, Any] = {"ca_certs": str(ca_file)} if ca_file else {}
        timeout = urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S)
        self._pool = urllib3.PoolManager(maxsize=MAX_CONNECTIONS, timeout=timeout, retries=False, **more)

    @property
    def secret(self) -> str:
        """The token or password, "" where none is needed; ``SourceError`` where its file cannot be read."""
        return read_secret(self._secret_file) if self._secret_file else ""

    def version(self) -> str:
        """What an InfluxDB says it is, "" where it does not say."""
        try:
            answer = self._pool.request("GET", self.url + "/ping", headers=dict(self._login()), redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise StoreError(f"store {self.url}: no answer ({_reason(error)}); is it running and the address right?") from None
        return str(answer.headers.get("X-Influxdb-Version", ""))

    def get(self, path: str, fields: Mapping[str, str] | None = None) -> bytes:
        """Ask; ``StoreError`` for everything that is not an answer."""
        return self._ask("GET", path + (f"?{urlencode(fields)}" if fields else ""), None, {})

    def form(self, path: str, fields: Mapping[str, str]) -> bytes:
        """Ask what is too long for an address."""
        return self._ask("POST", path, urlencode(fields).encode(), {"Content-Type": "application/x-www-form-urlencoded"})

    def send(self, path: str, body: bytes, fields: Mapping[str, str]) -> bytes:
        """Hand over ``body``, packed."""
        head = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        return self._ask("POST", f"{path}?{urlencode(fields)}", gzip.compress(body, 1), head)

    def send_json(self, path: str, body: bytes) -> bytes:
        """Hand over an object."""
        return self._ask("POST", path, body, {"Content-Type": "application/json"})

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def _ask(self, method: str, path: str, body: bytes | None, head: Mapping[str, str]) -> bytes:
        try:
            answer = self._pool.request(
                method, self.url + path, body=body, headers={**head, **self._login()}, redirect=False, preload_content=False
            )
            try:
                data: bytes = answer.read(MAX_ANSWER_BYTES + 1, decode_content=True)
            finally:
                answer.drain_conn()
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise StoreError(f"store {self.url}: no answer ({_reason(error)}); is it running and the address right?") from None
        if len(data) > MAX_ANSWER_BYTES:
            raise StoreError(f"store {self.url}: an answer of over {MAX_ANSWER_BYTES:,} bytes; ask for less")
        if answer.status >= 300:
            raise said_no(self.url, answer.status, data.decode(errors="replace"))
        return data

    def _login(self) -> Mapping[str, str]:
        secret = self.secret
        if not secret:
            return {}
        if self._scheme == "Basic":
            secret = base64.b64encode(f"{self._user}:{secret}".encode()).decode()
        return {"Authorization": f"{self._scheme} {secret}"}


def said_no(url: str, status: int, text: str) -> StoreError:
    """The error for an answer that is none, with what to do."""
    text = " ".join(text.split())[:_SHOWN]
    if status in (400, 422) and any(one in text.lower() for one in _OF_VALUES):
        refused = Refused(f"store {url}: status {status}: {text}")
        refused.lines = int(said[1]) if (said := _DROPPED.search(text)) else None
        return refused
    advice = {
        401: "check its token",
        403: "check what its token may do",
        404: "make it with 'icctwin store init'",
        405: "check its address",
        413: "let what stands before it pass larger bodies",
    }
    return (TooLarge if status == 413 else StoreError)(
        f"store {url}: status {status}: {text}; {advice.get(status, 'look into its log')}, then it goes on"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2]
