"""Where the faces listen, and a server whose end is ours to decide.

Whoever reaches the port can open connections and say nothing. So they are counted before anything is known of them: at most
``CONNECTIONS``, and never more than half of the files that this process may open, for store, sources and tasks need the rest;
of one network a quarter of that. And what does not say in ``HEAD_S`` what it wants is closed.
"""

import asyncio
import errno
import logging
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from twin.errors import ConfigError, Problem
from twin.message import Message
from ui.access.guesses import network_of
from ui.certificate import Certificate, usable
from ui.config import WallSection
from ui.view import Live

log = logging.getLogger(__name__)
CONNECTIONS = 1000
SHARE = 4  # of them, that one network may have: one part in so many
HEAD_S = 10.0  # for the TLS handshake, and again for the head of each request
KEPT_S = 75  # an idle connection; longer than senders rest, whose next request else meets its end (Prometheus: 5 s)
BACKLOG = 256  # connections that wait to be taken in
SAID_EVERY_S = 60.0
PAUSE_S = 0.5
GRACE_S = 2  # for answers under way, when the process ends
LEFT_S = 1.0  # for what still runs of the faces then


class _Taken(socket.socket):
    """A connection that counts until it is closed."""

    leaves: Callable[[], None] | None = None

    def close(self) -> None:
        """Close it."""
        super().close()
        leaves, self.leaves = self.leaves, None
        if leaves is not None:
            leaves()


class Listener(socket.socket):
    """A socket that takes in no more than its bounds. ``proxies``: networks that speak for many, who share the whole bound.
    Used on one thread."""

    def __init__(self, family: int, proxies: Sequence[str] = (), most: int | None = None) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._most = most or min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._proxies = {network_of(proxy) for proxy in proxies}
        self._open = Counter[str]()
        self._full_until_s = self._said_s = float("-inf")

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. ``BlockingIOError`` where there is none, or no file for it just now; what is over the bounds is
        closed."""
        while True:
            if time.monotonic() < self._full_until_s:
                raise BlockingIOError
            try:
                found, address = super().accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._full_until_s = time.monotonic() + PAUSE_S  # the loop looks again in a second
                    self._say("no file is left for another connection; raise LimitNOFILE")
                raise
            taken = _Taken(self.family, self.type, self.proto, fileno=found.detach())
            network = network_of(str(address[0]))
            most = self._most if network in self._proxies else max(self._most // SHARE, 1)
            if self._open.total() >= self._most or self._open[network] >= most:
                taken.close()
                self._say(f"{self._open[network]} connections of {network} and {self._open.total()} in all: no more are taken")
                continue
            self._open[network] += 1
            taken.leaves = partial(self._left, network)
            return taken, address

    def _left(self, network: str) -> None:
        self._open[network] -= 1
        if not self._open[network]:
            del self._open[network]

    def _say(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= SAID_EVERY_S:
            self._said_s = now_s
            log.error("%s", what)


def listen(wall: WallSection, proxies: Sequence[str] = ()) -> Listener:
    """A socket bound before anything else starts, so that a taken port costs nothing. ``ConfigError`` for that, and for a
    certificate or key that cannot be used."""
    host, port = wall.host, wall.port
    if wall.tls_cert and wall.tls_key:
        usable(wall.tls_cert, wall.tls_key)
    listener = Listener(socket.AF_INET6 if ":" in host else socket.AF_INET, proxies)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it or choose another port"
        raise ConfigError([Problem("[wall]", why)]) from error
    return listener


class _InTime(asyncio.Protocol):
    """Before an HTTP protocol of uvicorn: closes what does not send the whole head of a request within ``HEAD_S``; uvicorn
    itself waits for that without end. A drip of bytes gains no time."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._close_late)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        if self._asked():
            self._in_time()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._close_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._in_time()
        super().connection_lost(exc)

    def _asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        self._late = None
        if self.transport.get_protocol() is self and not self._asked():  # else it is a websocket by now
            self.transport.abort()


class _Loop(asyncio.SelectorEventLoop):
    """The faces' loop. A TLS handshake has as long as the head of a request."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """As asyncio's."""
        options |= {"ssl_handshake_timeout": HEAD_S} if options.get("ssl") else {}
        return await super().create_server(*args, **options)


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio has to say; of a lack of files the listener has said it already, and seldom enough."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE) and "socket" in context):
        loop.default_exception_handler(context)


class Server(uvicorn.Server):
    """uvicorn whose end is ours to decide: its own handlers would end the process before the store is closed. ``beside``: what
    runs on its loop as long as it does."""

    def __init__(self, config: uvicorn.Config, beside: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        super().__init__(config)
        self._beside = beside

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Until ``should_exit``. What ``asyncio.run`` would do after it is bounded here: it waits without limit for threads,
        and one that reads from a store or a database which does not answer would hold up the end of everything else."""
        loop = _Loop()
        loop.set_exception_handler(_told)
        beside = loop.create_task(self._beside()) if self._beside else None
        try:
            loop.run_until_complete(self.serve(sockets=sockets))
        finally:
            if beside is not None and beside.done() and not beside.cancelled() and (fault := beside.exception()):
                log.error("what ran beside the faces broke", exc_info=fault)
            if left := asyncio.all_tasks(loop):
                for one in left:
                    one.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=LEFT_S))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def faces(live: Live, wall: WallSection) -> Server:
    """The server of all faces; imported only now, for a process without a wall needs none."""
    from ui.faces.server import build_server

    proxies = ",".join(live.access.section.proxies) if live.access else "127.0.0.1"
    more: dict[str, Any] = {"ws_max_size": 65536, "ws_per_message_deflate": False, "timeout_graceful_shutdown": GRACE_S}
    more["timeout_keep_alive"] = KEPT_S
    more["log_config"] = None  # its loggers go to ours, which say the same once a minute: who asks badly fills no log
    more |= {"http": type("InTime", (_InTime, AutoHTTPProtocol), {}), "backlog": BACKLOG}
    if wall.tls_cert and wall.tls_key:
        more |= {"ssl_certfile": wall.tls_cert, "ssl_keyfile": wall.tls_key}
    config = uvicorn.Config(build_server(live), log_level="warning", forwarded_allow_ips=proxies, **more)
    if not (wall.tls_cert and wall.tls_key):
        return Server(config)
    config.load()
    config.ssl = certificate = Certificate(wall.tls_cert, wall.tls_key)

    def tell(trouble: Message | None) -> None:
        live.certificate = trouble

    return Server(config, lambda: certificate.watch(live.clock.now, tell))


def handled(actions: Mapping[int, Callable[[], None]]) -> dict[int, Any]:
    """Call these on these signals; gives the handlers that were there."""

    def handler(number: int, frame: FrameType | None) -> None:
        actions[number]()

    return {number: signal.signal(number, handler) for number in actions}
