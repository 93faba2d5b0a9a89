"""Where the faces listen, and a server whose end is ours to decide."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from twin.errors import ConfigError, Problem


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
