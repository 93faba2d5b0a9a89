"""``icctwin bench demo``: the whole program as a person starts it, with walls open."""

import argparse
import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil

from twin.errors import SourceError
from ui.benches import Result

START_S = 180.0  # that the demo may take to its first live second
SAMPLE_S = 5.0
SETTLED = 10  # calls without a change after which the store has nothing left to compact
LISTENERS = 2  # walls that watch the demo, one in each language


def bench_demo(options: argparse.Namespace) -> Result:
    """``icctwin demo`` as its own process with two walls open: processor, memory, store, and age of a reading at the wall."""
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        port = free_port()
        words = ["demo", "--gpus", str(options.gpus), "--port", str(port), "--keep", folder]
        began_s = time.monotonic()
        child = subprocess.Popen([sys.executable, "-m", "ui", *words])  # noqa: S603 - our own program
        try:
            _wait_until_live(child, port)
            live_s = time.monotonic() - began_s
            figures = _watch(psutil.Process(child.pid), port, options.seconds)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
        figures |= {"first_live_s": live_s, **_stored(Path(folder), figures.pop("samples"))}
    if child.returncode != 0:
        raise SourceError(f"the demo ended with status {child.returncode}; its own words are above")
    conditions = {"gpus": options.gpus, "seconds": options.seconds, "walls": LISTENERS}
    return {"bench": "demo", "figures": figures, "against": {}, "conditions": conditions}


def _watch(process: psutil.Process, port: int, seconds: float) -> Result:
    """Figures of the running demo over ``seconds``."""
    before, cpu_before = _samples(port), process.cpu_times()
    began_s = time.monotonic()
    rss: list[int] = []
    ages = asyncio.run(_ages(port, seconds, lambda: rss.append(process.memory_info().rss)))
    took_s = time.monotonic() - began_s
    after, cpu_after = _samples(port), process.cpu_times()
    cpu_s = sum(cpu_after[:2]) - sum(cpu_before[:2])
    samples = after - before
    return {
        "cpu_share_frac": cpu_s / took_s,
        "rss_bytes": max(rss),
        "samples_per_s": samples / took_s,
        "cpu_s_per_msample": cpu_s / samples * 1e6,
        "samples": after,
        "wall_latency_p50_s": float(np.percentile(ages, 50)),
        "wall_latency_p95_s": float(np.percentile(ages, 95)),
        "pushes": len(ages),
    }


async def _ages(port: int, seconds: float, sample: Callable[[], None]) -> list[float]:
    """How old the newest reading of IT power was when each push that brought a new one arrived, over all walls [s]."""
    from websockets.asyncio.client import connect

    ages: list[float] = []

    async def wall(language: str) -> None:
        newest_s = 0.0
        async with connect(f"ws://127.0.0.1:{port}/live?lang={language}", origin=f"http://127.0.0.1:{port}") as socket:  # type: ignore[arg-type]
            async for text in socket:
                arrived_s = time.time()  # noqa: TID251 - a bench compares the machine's clock with the reading's
                read_s = json.loads(text)["body"].get("t.read_s")
                if read_s is not None and read_s > newest_s:
                    ages.append(arrived_s - read_s)
                    newest_s = read_s

    async def look() -> None:
        while True:
            sample()
            await asyncio.sleep(SAMPLE_S)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(wall("en"), wall("zh"), look())
    if not ages:
        raise SourceError(f"the demo pushed no reading in {seconds:g} s; run it by hand and look at its wall")
    return ages


def _samples(port: int) -> float:
    """Values that all sources have taken since the start, as the demo itself says."""
    return float(sum(row["samples"]["value"] or 0 for row in json.loads(_get(port, "/api/v1/sources"))))


def _stored(folder: Path, samples: float) -> Result:
    """Bytes of the store that the demo left, as it was and when all of it is compacted; its made-up history is in it."""
    from ingest.stores import open_store
    from ui.app import TASK_NAMES
    from ui.config import load_config, site_of

    config = load_config(folder / "site.toml")
    kept = open_store(config.store.path, site_of(config, TASK_NAMES))
    left = kept.size_bytes()
    later = datetime.now(UTC) + timedelta(days=2)  # noqa: TID251 - when all is old enough, forecasts too
    sizes = [left]
    while len(sizes) <= SETTLED or len(set(sizes[-SETTLED:])) > 1:  # a call does a portion; files go at the end of a run
        kept.maintain(later)
        sizes.append(kept.size_bytes())
    size = kept.size_bytes()
    kept.close()
    return {"store_bytes": left, "store_compacted_bytes": size, "bytes_per_sample": size / samples}


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
    return body


def _wait_until_live(child: "subprocess.Popen[bytes]", port: int) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if child.poll() is not None:
            raise SourceError(f"the demo ended with status {child.returncode} before it was ready; its own words are above")
        with suppress(OSError):
            _get(port, "/readyz")
            return
        time.sleep(0.2)
    raise SourceError(f"the demo was not ready within {START_S:g} s")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
