"""Senders over real HTTP, and the process that takes their samples killed with SIGKILL again and again: what was answered with
204 is in the store after the next start, once and as it was.

``ICCTWIN_KILLS`` sets how often the process is killed.
"""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import uvicorn
from faces_harness import Hands, live_of
from fastapi import FastAPI
from small import small_site
from test_push import V1, v1
from test_store_crash import everything, in_child

from ingest.collect import Collector
from ingest.registry import source_module
from ingest.spool import Spool
from ingest.spool_log import open_log
from ingest.stores import open_store
from ui.faces.api_push import add_push
from ui.gate import PushGate
from ui.tasks import RealClock

KILLS = int(os.environ.get("ICCTWIN_KILLS", "8"))
START = datetime(2026, 11, 20, tzinfo=UTC)
SITE = small_site("id=push kind=source")
NODES, GPUS = ("r1n1", "r1n2", "r2n1", "r2n2"), 4


def at(k: int) -> datetime:
    return START + timedelta(seconds=k)


def number(k: int) -> np.ndarray:
    """What batch ``k`` says of the sixteen GPUs."""
    return 30 + k % 37 + np.arange(16) / 32


def body(k: int) -> tuple[str, bytes, dict[str, str]]:
    """Batch ``k`` as one of two senders would send it: path, body, headers."""
    cells = [(node, gpu, number(k)[i * GPUS + gpu]) for i, node in enumerate(NODES) for gpu in range(GPUS)]
    if k % 2:
        lines = [
            f"DCGM_FI_DEV,gpu={gpu},Hostname={node} GPU_TEMP={value} {int(at(k).timestamp())}" for node, gpu, value in cells
        ]
        return "/api/v2/write?precision=s", "\n".join(lines).encode(), {}
    series = [
        ({"__name__": "DCGM_FI_DEV_GPU_TEMP", "gpu": str(gpu), "Hostname": node}, [(value, int(at(k).timestamp() * 1000))])
        for node, gpu, value in cells
    ]
    return "/api/v1/write", v1(*series), {name.replace("_", "-"): value for name, value in V1.items()}


async def live(folder: Path, listening: socket.socket, ready: int) -> None:
    """Ingest as it runs: collector, gate, HTTP server, spool on disk, and a thread that hands on to the store."""
    module = source_module("push")
    opened = module.build("push", module.Options(token_file=folder / "token"), SITE)
    store = open_store(folder / "store", SITE, hot_bytes=200_000)
    lock = threading.Lock()
    spool = Spool(store.append, lock, disk=open_log(folder / "spool", SITE))
    clock = RealClock()
    collector = Collector(SITE, opened.sources, clock, spool.put)
    gate = PushGate(opened.inlets, collector.push, collector.refused, clock)
    gate.open(asyncio.get_running_loop())
    seen = live_of(SITE, Hands())
    seen.gate = gate
    app = FastAPI()
    add_push(app, SimpleNamespace(live=seen))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))

    def keep() -> None:
        for k in range(10**6):
            spool.flush()
            time.sleep(0.01)
            if k % 20 == 0:
                store.maintain(at(10_000 + 100 * k))
            if k == 0:
                os.write(ready, b".")

    threading.Thread(target=keep, daemon=True).start()
    await server.serve(sockets=[listening])


def test_what_a_sender_was_told_is_taken_outlives_any_kill(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-of-senders-0123456789\n")
    rng = np.random.Generator(np.random.PCG64(7))
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(16)
    acknowledged: set[int] = set()
    k = 0
    for _ in range(KILLS):
        pid, reading = in_child(lambda writing: asyncio.run(live(tmp_path, listening, writing)))
        assert os.read(reading, 1) == b".", "it starts"
        timer = threading.Timer(rng.uniform(0, 0.3), os.kill, (pid, signal.SIGKILL))
        sender = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                path, said, headers = body(k)
                k += 1  # what is not answered is not sent again: it may be there or not
                sender.request("POST", path, said, {"Authorization": "Token s3cret-of-senders-0123456789", **headers})
                answer = sender.getresponse()
                answer.read()
                assert answer.status == 204, answer.status
                acknowledged.add(k - 1)
                if timer.ident is None:
                    timer.start()
        timer.join()
        sender.close()
        os.waitpid(pid, 0)
        everything(reading)
        # what waits in the queue of the listening socket was never answered: nobody is to answer it now
        listening.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                listening.accept()[0].close()
        listening.setblocking(True)
    listening.close()
    store = open_store(tmp_path / "store", SITE)
    spool = Spool(store.append, disk=open_log(tmp_path / "spool", SITE))
    while spool.waiting:
        assert spool.flush()
    spool.close()
    found = store.series("gpu", ["temp_c"], START, at(k + 1))
    kept = {round(time_s - START.timestamp()): row for time_s, row in zip(found.time_s, found.values["temp_c"], strict=True)}
    assert len(kept) == len(found.time_s), "each once"
    assert acknowledged <= kept.keys(), f"lost: {sorted(acknowledged - kept.keys())[:10]}"
    assert kept.keys() <= set(range(k))
    for batch, row in kept.items():
        np.testing.assert_array_equal(row[~np.isnan(row)], number(batch)[~np.isnan(row)])
    for batch in acknowledged:
        assert not np.isnan(kept[batch]).any(), "whole"
    assert len(acknowledged) > 2 * KILLS, "it was under load"
    store.close()
