"""A process that is told to end ends, whatever is away, and keeps what it said it had."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import get_json, until
from small import small_site

from ingest.broker import Address, Broker, Codec
from ingest.spool import Spool
from ingest.spool_log import open_log
from twin.frame import Frame, frame_of
from ui.app import TASK_NAMES
from ui.benches.demo import free_port
from ui.config import load_config, site_of
from ui.ending import Ending

PATIENCE_S = 90  # far over what an end may take: a machine may be busy
ROLES = ("all", "ingest,wall", "tasks,wall")


class Hanging:
    """A store that answers until it hangs: then it takes what comes and says nothing."""

    def __init__(self) -> None:
        self.hangs, self.hung, self.over = threading.Event(), threading.Semaphore(0), threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.do_GET()

            def do_GET(self) -> None:
                if store.hangs.is_set():
                    if self.path.startswith("/write"):
                        store.hung.release()
                    store.over.wait()
                    return
                body = b"" if "export" in self.path or "metrics" in self.path else b'{"data": {"result": []}}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def hanging() -> Iterator[tuple[Hanging, int]]:
    """A store, and the port of a broker that takes connections and says nothing."""
    store, broker = Hanging(), socket.create_server(("127.0.0.1", 0))
    try:
        yield store, broker.getsockname()[1]
    finally:
        store.close()
        broker.close()


def start(folder: Path, store: Hanging, broker: int, role: str) -> tuple[subprocess.Popen[bytes], int, Path]:
    """A process of a centre, its port and its configuration."""
    folder.mkdir()
    (folder / "assets.csv").write_text("id,kind,parent,hostname,index\nh,hall,,,\nr,rack,h,,\nn,node,r,gpu01,\ng,gpu,n,,0\n")
    (folder / "token").write_text("a token of many senders")
    port, path = free_port(), folder / "site.toml"
    path.write_text(
        f'[site]\nname = "x"\nassets = "assets.csv"\n[wall]\nport = {port}\n'
        f'[store]\ntype = "victoriametrics"\nurl = "http://127.0.0.1:{store.server.server_port}"\npath = "kept"\n'
        f'[cluster]\nbroker = "mqtt://127.0.0.1:{broker}"\nshards = 1\n'
        '[[source]]\nname = "push"\ntype = "push"\nmapping = "dcgm"\ntoken_file = "token"\n'
    )
    words = [sys.executable, "-m", "ui", "--log-level", "error", "up", "--config", str(path), "--role", role]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(words, stderr=log), port, path


def push(port: int, value: float) -> None:
    line = f"DCGM_FI_DEV,gpu=0,Hostname=gpu01 GPU_TEMP={value}"
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v2/write",
        line.encode(),
        {"Authorization": "Token a token of many senders"},
        method="POST",
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 204


def waiting_on_disk(path: Path) -> list[float]:
    """The temperatures that the next start would hand to the store."""
    config, found = load_config(path), list[Frame]()
    (folder,) = config.store.path.glob("spool*")
    spool = Spool(found.extend, disk=open_log(folder, site_of(config, TASK_NAMES)))
    while spool.behind:
        assert spool.flush()
    spool.close()
    return [float(value) for frame in found if frame.kind == "gpu" for value in frame.values.get("temp_c", [])]


def test_every_role_ends_while_store_and_broker_hang_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with hanging() as (store, broker):
        ours = {role: start(tmp_path / role, store, broker, role) for role in ROLES}
        try:
            for _, port, _ in ours.values():
                until("it is up", lambda port=port: get_json(f"http://127.0.0.1:{port}/healthz"), PATIENCE_S)
            takers = [role for role in ROLES if role != "tasks,wall"]
            until("pushes are taken", lambda: [push(ours[role][1], 40) for role in takers], PATIENCE_S)
            store.hangs.set()
            for _ in ROLES:
                assert store.hung.acquire(timeout=PATIENCE_S), "a flush hangs"
            for role in takers:
                push(ours[role][1], 41)
            for child, _, _ in ours.values():
                child.send_signal(signal.SIGTERM)
            codes = {role: child.wait(PATIENCE_S) for role, (child, _, _) in ours.items()}
        finally:
            for child, _, _ in ours.values():
                child.kill()
                child.wait()
    assert codes == dict.fromkeys(ROLES, 1), "what hung is told in the exit status"
    for role in takers:
        assert 41 in waiting_on_disk(ours[role][2])
        assert "flush" in (ours[role][2].parent / "log").read_text(), "what was not waited for is said"


def ending(limit_s: float) -> tuple[Ending, list[int], threading.Event]:
    left: list[int] = []
    gone = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        gone.set()

    one = Ending(lambda: None, limit_s, leave)
    one.start()
    return one, left, gone


def test_an_end_that_hangs_is_given_up_and_says_where_it_stood(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.ending.LINGER_S", 0.0)
    one, left, gone = ending(0.01)
    one.told()
    assert gone.wait(PATIENCE_S)
    assert left == [1]
    assert "It stood here" in caplog.text


def test_threads_that_wait_for_others_hold_up_no_end_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.ending.LINGER_S", 0.0)
    one, left, gone = ending(PATIENCE_S)
    one.told()
    one.done(0)
    assert gone.wait(PATIENCE_S)
    assert left == [0]


def test_a_second_signal_ends_at_once() -> None:
    one, left, _ = ending(PATIENCE_S)
    one.told()
    assert left == []
    one.told()
    assert left == [1]
    one.done(0)


def test_an_end_that_nobody_told_is_left_alone() -> None:
    one, left, _ = ending(PATIENCE_S)
    one.done(0)
    one._thread.join(PATIENCE_S)
    assert not one._thread.is_alive()
    assert left == []


class Client:
    """Stands in for a client whose broker goes away at the very moment in which it is told to end."""

    def __init__(self, *_: object, **__: object) -> None:
        self.messages = self

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        raise Broken

    async def subscribe(self, *_: object, **__: object) -> None: ...

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> None:
        await asyncio.Event().wait()


class Broken(Exception):
    """In the place of the client's own error."""


async def test_a_broker_that_breaks_as_it_is_let_go_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error takes the place of the cancellation, which was waited for without end."""
    listens = asyncio.Event()

    class Listening(Client):
        async def __anext__(self) -> None:
            listens.set()
            await super().__anext__()

    broker = Broker(Address("127.0.0.1"), small_site(), "x", lambda frames: None)
    monkeypatch.setattr(broker._mqtt, "Client", Listening)
    monkeypatch.setattr(broker._mqtt, "MqttError", Broken)
    await broker.start()
    await asyncio.wait_for(listens.wait(), PATIENCE_S)
    await asyncio.wait_for(broker.close(), PATIENCE_S)


async def test_a_broker_to_which_nothing_can_be_said_is_connected_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A talk that broke alone left a process that heard the others and was never heard again."""
    made: list[Client] = []

    class Mute(Client):
        async def __aenter__(self) -> "Client":
            made.append(self)
            return self

        async def publish(self, *_: object, **__: object) -> None:
            if len(made) == 1:
                raise Broken
            said.set()

    said = asyncio.Event()
    monkeypatch.setattr("ingest.broker.AGAIN_S", 0.0)
    broker = Broker(Address("127.0.0.1"), small_site(), "x", lambda frames: None)
    monkeypatch.setattr(broker._mqtt, "Client", Mute)
    monkeypatch.setattr(broker._mqtt, "MqttError", Broken)
    await broker.start()
    while not said.is_set():
        broker.put([Frame("gpu", datetime(2026, 11, 25, tzinfo=UTC), small_site().all_rows("gpu")[:1], {})])
        await asyncio.sleep(0.01)
    await broker.close()
    assert broker.sent >= 1


async def test_a_fault_of_ours_leaves_no_process_deaf_and_is_raised_by_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    site, took = small_site(), asyncio.Event()
    made: list[Client] = []

    class Telling(Client):
        async def __aenter__(self) -> "Client":
            made.append(self)
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def __anext__(self) -> Any:
            if len(made) > 2:
                await asyncio.Event().wait()
            payload = Codec(site).pack([frame_of("grid", datetime(2026, 11, 25, tzinfo=UTC), 0, price_per_mwh=5.0)])
            return SimpleNamespace(topic=SimpleNamespace(value="of another"), payload=payload)

    def take(frames: object) -> None:
        if len(made) == 1:
            raise ZeroDivisionError("planted")
        took.set()
        raise Broken

    monkeypatch.setattr("ingest.broker.AGAIN_S", 0.0)
    broker = Broker(Address("127.0.0.1"), site, "x", take)
    monkeypatch.setattr(broker._mqtt, "Client", Telling)
    monkeypatch.setattr(broker._mqtt, "MqttError", Broken)
    await broker.start()
    await asyncio.wait_for(took.wait(), PATIENCE_S)
    with pytest.raises(ZeroDivisionError, match="planted"):
        broker.look()
    broker.look()
    await broker.close()
