"""Where the faces listen, and a server whose end is ours to decide."""

import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from twin.errors import ConfigError, Problem
from ui.view import Live


def listen(host: str, port: int) -> socket.socket:
    """A socket bound before anything else starts, so that a taken port costs nothing."""
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


def faces(live: Live) -> Server:
    """The server of all faces; imported only now, for a process without a wall needs none."""
    from ui.faces.server import build_server

    proxies = ",".join(live.access.section.proxies) if live.access else "127.0.0.1"
    more: dict[str, Any] = {"ws_max_size": 65536, "ws_per_message_deflate": False, "timeout_graceful_shutdown": 3}
    return Server(uvicorn.Config(build_server(live), log_level="warning", forwarded_allow_ips=proxies, **more))


def handled(actions: Mapping[int, Callable[[], None]]) -> dict[int, Any]:
    """Call these on these signals; gives the handlers that were there."""

    def handler(number: int, frame: FrameType | None) -> None:
        actions[number]()

    return {number: signal.signal(number, handler) for number in actions}
