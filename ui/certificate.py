"""The certificate of the wall, renewed while it runs: whoever connects after the files changed is shown the new one.

certbot, cert-manager and their like replace files and know nothing of who has read them. So the files are looked at again
every ``LOOK_S``, by what ``stat`` says of them behind all links. A new pair is made into a context of its own and tried in a
handshake in memory: what does not stand that, or has ended, is not served; the one before goes on, and the wall says so.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from twin.errors import ConfigError, Problem
from twin.message import Message

log = logging.getLogger(__name__)
LOOK_S = 10.0
FLIGHTS = 4  # of a handshake; TLS 1.3 has three
SOON = timedelta(days=14)  # before its end it should have been renewed: certbot does so 30 days before
_UNFIT = "The new certificate of the wall is not served, the one before goes on: it does not fit its key"
_UNREAD = "The new certificate of the wall is not served, the one before goes on: it or its key cannot be read"
_ENDED = "The new certificate of the wall is not served, the one before goes on: it has ended on {day}"
Mark = tuple[tuple[int, int, int, int], ...]


class Certificate(ssl.SSLContext):
    """A context whose connections are wrapped by the newest that was good, of the files as they are now; ``ConfigError`` where
    they are no certificate with its key. ``look`` is called on one thread; ``trouble``: why the newest files are not served, or
    that what is served ends soon."""

    _files: tuple[Path, Path]
    _newest: ssl.SSLContext
    _seen: Mark
    _until: datetime | None
    _refused: Message | None = None
    trouble: Message | None = None

    def __new__(cls, *_: Any) -> Self:
        """A context of no use but to pass for one."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__()
        self._files = certificate, key
        self._seen = _mark(self._files)
        self._newest = usable(certificate, key)
        self._until = end_of(self._newest, certificate)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As of the newest context: this is what asyncio asks for each connection."""
        return self._newest.wrap_bio(*args, **options)

    def look(self, now: datetime) -> None:
        """Serve the files from now on, where they are others and good."""
        if (mark := _mark(self._files)) != self._seen:
            self._seen = mark
            self._refused = self._take(now)
        self.trouble = self._trouble(now)

    def _take(self, now: datetime) -> Message | None:
        """Serve the files; why not, where they are not good. What a face says names no path: the log does."""
        try:
            made = usable(*self._files)
        except ConfigError as error:
            log.error("the new certificate of the wall is not served, the one before is: %s", error.problems[0])
            why = error.__cause__
            unfit = isinstance(why, ssl.SSLError) and "MISMATCH" in (why.reason or "")
            return Message(_UNFIT if unfit else _UNREAD)
        until = end_of(made, self._files[0])
        if until is not None and until <= now:
            ended = self._files[0], _day(until)
            log.error("the new certificate of the wall is not served, the one before is: %s has ended on %s", *ended)
            return Message(_ENDED, {"day": _day(until)})
        self._newest, self._until = made, until
        log.warning("the certificate of the wall was read again; it is good until %s", _day(until))
        return None

    def _trouble(self, now: datetime) -> Message | None:
        if self._refused:
            return self._refused
        if self._until is not None and self._until <= now + SOON:
            said = "The certificate of the wall ends on {day}: renew it; the new files are served by themselves"
            return Message(said, {"day": _day(self._until)})
        return None

    async def watch(self, clock: Callable[[], datetime], tell: Callable[[Message | None], None]) -> None:
        """Look every ``LOOK_S``, without end."""
        while True:
            self.look(clock())
            tell(self.trouble)
            await asyncio.sleep(LOOK_S)


def usable(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context of these files; ``ConfigError`` where they are no certificate with its key."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        why = f"{certificate} and {key} are no certificate with its key ({error}); name PEM files, the key without a password"
        raise ConfigError([Problem("[wall] tls_cert", why)]) from error
    return made


def end_of(context: ssl.SSLContext, certificate: Path) -> datetime | None:
    """When the certificate that ``context`` shows ends, as a client that trusts the file itself learns it in a handshake in
    memory; None where such a client does not get so far."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(certificate)
        sides = client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
        for _ in range(FLIGHTS):
            for side in sides:
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        told = (sides[0].getpeercert() or {}).get("notAfter")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        log.warning("when %s ends cannot be told: %s", certificate, error)
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told)), UTC) if told else None


def stands(certificate: Path, key: Path, now: datetime) -> tuple[bool, str]:
    """Whether the files can be served at ``now``, and a sentence on it."""
    try:
        until = end_of(usable(certificate, key), certificate)
    except ConfigError as error:
        return False, error.problems[0].what
    if until is not None and until <= now:
        return False, f"{certificate} has ended on {_day(until)}; renew it: a running wall serves the new files by itself"
    said = f"{certificate} is good until {_day(until)}"
    return True, f"{said}; renew it soon" if until is not None and until <= now + SOON else said


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "a time that cannot be told"


_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: one that has ended says so by its date


def _mark(files: tuple[Path, Path]) -> Mark:
    """What changes when a file is replaced, written or made readable; zeros where there is none."""
    found = []
    for path in files:
        try:
            about = path.stat()
        except OSError:
            found.append((0, 0, 0, 0))
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    return tuple(found)
