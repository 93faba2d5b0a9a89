"""What the tests of devices share: a small site with one of each, sources opened from options, golden columns."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from ingest.registry import source_module
from twin.errors import SourceError
from twin.load import Row, build_site
from twin.metrics import METRICS
from twin.ports import Action

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ASSETS = (
    {"id": "hall", "kind": "hall"},
    {"id": "rack", "kind": "rack", "parent": "hall"},
    {"id": "node", "kind": "node", "parent": "rack", "hostname": "gpu01", "address": "127.0.0.1"},
    *({"id": f"gpu{i}", "kind": "gpu", "parent": "node", "index": str(i)} for i in range(8)),
    {"id": "cdu", "kind": "cdu", "parent": "hall"},
    {"id": "pump1", "kind": "pump", "parent": "cdu", "index": "1"},
    {"id": "pump2", "kind": "pump", "parent": "cdu", "index": "2"},
    {"id": "pdu", "kind": "pdu", "parent": "rack"},
    {"id": "ups", "kind": "ups", "parent": "hall"},
    {"id": "chiller", "kind": "chiller", "parent": "hall"},
    {"id": "sw", "kind": "switch", "parent": "rack"},
    {"id": "sw/1", "kind": "port", "parent": "sw", "device": "Ethernet1"},
    {"id": "sw/2", "kind": "port", "parent": "sw", "device": "Ethernet2"},
    {"id": "valve", "kind": "valve", "parent": "rack"},
)


def site(*more):
    return build_site("s", "UTC", [Row("test", row) for row in (*ASSETS, *more)])


def opened(kind, of=None, name="x", **options):
    module = source_module(kind)
    return module.build(name, module.Options(**options), of or site())


def columns(frame):
    for metric in frame.values:
        assert metric in METRICS[frame.kind]
    return {metric: values.tolist() for metric, values in frame.values.items()}


async def poll(one, now=NOW):
    """Frames by kind, of one poll."""
    return {frame.kind: frame for frame in await one.poll(now)}


def action(asset, metric, value, key="k"):
    return Action(asset, metric, value, NOW + timedelta(hours=1), key)


async def refused(awaitable):
    """The one sentence of the error that it ends in."""
    with pytest.raises(SourceError) as caught:
        await awaitable
    assert "\n" not in str(caught.value)
    return str(caught.value)


@asynccontextmanager
async def tcp(answer):
    """A TCP server on loopback that treats every connection as ``answer`` (reader, writer) does; gives its port."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def silent(reader, writer):
    await asyncio.sleep(30)


async def garbage(reader, writer):
    await reader.read(1)
    writer.write(b"HTTP/1.0 400 this is no answer\r\n\r\n" * 10)
    await writer.drain()


async def endless(reader, writer):
    await reader.read(1)
    while True:
        writer.write(b"\x00" * 65536)
        await writer.drain()


class Serving:
    """A stand-in of a service over HTTP: in its ``async with`` its ``_server`` (of aiohttp) serves at ``url``."""

    async def __aenter__(self):
        await self._server.start_server()
        self.url = str(self._server.make_url("/"))
        return self

    async def __aexit__(self, *_):
        await self._server.close()
