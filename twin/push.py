"""What senders push, as the faces hand it on: they know HTTP, and whoever is behind the gate knows the protocols."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

PushProtocol = Literal["line", "remote_write", "otlp"]


@dataclass(frozen=True, slots=True)
class Push:
    """One request: the ``token`` that its sender shows ("" for none), its ``body`` as sent, and what its headers and query
    say of it."""

    protocol: PushProtocol
    token: str
    body: bytes
    content_type: str = ""
    encoding: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """What became of it: an HTTP ``status``, a ``sentence`` where it was not all taken, and what the protocol wants said."""

    status: int
    sentence: str = ""
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate(Protocol):
    """Takes what is pushed. A 2xx answer means that it has been handed to the store's keeping."""

    async def known(self, token: str) -> PushAnswer | None:
        """None where ``token`` is some source's and there is room for its body; else the answer, before any of it is read."""
        ...

    async def push(self, push: Push) -> PushAnswer:
        """Take one request."""
        ...
