"""Where the faces listen, and a server whose end is ours to decide."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from twin.errors import ConfigError, Problem
from ui.config import WallSection
from ui.view import Live

GRACE_S = 2  # for answers under way, when the process ends
LEFT_S = 1.0  # for what still runs of the faces then


def listen(wall: WallSection) -> socket.socket:
    """A socket bound before anything else starts, so that a taken port costs nothing. ``ConfigError`` for that, and for a
    certificate or key that cannot be used."""
    host, port = wall.host, wall.port
    if wall.tls_cert and wall.tls_key:
        _usable(wall.tls_cert, wall.tls_key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it or choose another port"
        raise ConfigError([Problem("[wall]", why)]) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn whose end is ours to decide: its own handlers would end the process before the store is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Until ``should_exit``. What ``asyncio.run`` would do after it is bounded here: it waits without limit for threads,
        and one that reads from a store or a database which does not answer would hold up the end of everything else."""
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self.serve(sockets=sockets))
        finally:
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
    if wall.tls_cert and wall.tls_key:
        more |= {"ssl_certfile": wall.tls_cert, "ssl_keyfile": wall.tls_key}
    return Server(uvicorn.Config(build_server(live), log_level="warning", forwarded_allow_ips=proxies, **more))


def _usable(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        why = f"{certificate} and {key} are no certificate with its key ({error}); name PEM files, the key without a password"
        raise ConfigError([Problem("[wall] tls_cert", why)]) from error


def handled(actions: Mapping[int, Callable[[], None]]) -> dict[int, Any]:
    """Call these on these signals; gives the handlers that were there."""

    def handler(number: int, frame: FrameType | None) -> None:
        actions[number]()

    return {number: signal.signal(number, handler) for number in actions}
