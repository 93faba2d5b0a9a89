"""A client of an MQTT broker, as all sources that listen to one make it."""

import asyncio
import ssl
from pathlib import Path
from typing import Any, Protocol

from ingest.sources.device import host_port
from ingest.wire import read_secret

PORT, TLS_PORT = 1883, 8883


class Reaching(Protocol):
    """What a source says of how its broker is reached."""

    @property
    def user(self) -> str:
        """Empty: nobody."""
        ...

    @property
    def password_file(self) -> Path | None:
        """Of the user."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """Who vouches for the broker; None: whom the machine trusts."""
        ...

    @property
    def cert_file(self) -> Path | None:
        """What we show ourselves."""
        ...

    @property
    def key_file(self) -> Path | None:
        """Of ``cert_file``."""
        ...

    @property
    def client_id(self) -> str:
        """How the broker knows us; empty: as it likes."""
        ...

    @property
    def timeout_s(self) -> float:
        """Of each step of the protocol."""
        ...


async def has_begun(life: "asyncio.Task[None]", ready: asyncio.Event, timeout_s: float) -> bool:
    """Whether ``life``, a task that sets ``ready`` once it is subscribed, came so far in time; it may have ended instead."""
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({waiting, life}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return ready.is_set()


def client_of(lib: Any, broker: str, options: Reaching, tls: bool, **more: Any) -> Any:
    """A client of ``lib`` (aiomqtt) for ``broker`` (host or host:port), not connected yet. ``SourceError`` where a file of
    secrets cannot be read."""
    host, port = host_port(broker, TLS_PORT if tls else PORT)
    context = ssl.create_default_context(cafile=options.ca_file) if tls else None
    if context and options.cert_file:
        context.load_cert_chain(options.cert_file, options.key_file)
    return lib.Client(
        host,
        port,
        username=options.user or None,
        password=read_secret(options.password_file) if options.password_file else None,
        identifier=options.client_id or None,
        tls_context=context,
        timeout=options.timeout_s,
        **more,
    )
