"""A real mosquitto for tests, and a device that speaks through it."""

import asyncio
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager

import aiomqtt
import pytest
from devices import NOW, poll

from ui.benches.demo import free_port


@asynccontextmanager
async def broker(port=None, config=""):
    """A real mosquitto on a free port of loopback."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
    port = port or free_port()
    lines = [f"listener {port} 127.0.0.1", config or "allow_anonymous true"]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        process = await asyncio.create_subprocess_exec(
            program, "-c", file.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with awake(process, port):
            yield port


@asynccontextmanager
async def awake(process, port):
    try:
        for _ in range(100):
            try:
                async with aiomqtt.Client("127.0.0.1", port, timeout=1):
                    break
            except aiomqtt.MqttError as error:
                if "authori" in str(error):
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def device(port, **options):
    async with aiomqtt.Client("127.0.0.1", port, **options) as client:
        yield client


async def heard(one, kind, now=NOW):
    """The next frames of ``kind`` that a poll gives."""
    for _ in range(60):
        frames = await poll(one, now)
        if kind in frames:
            return frames[kind]
        await asyncio.sleep(0.03)
    raise AssertionError(f"no frame of {kind}")
