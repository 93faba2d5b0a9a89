"""Several processes as one centre: shards, records and leadership in PostgreSQL, live frames over a broker; and all of it with
real servers, one process killed and replaced under load."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from processes import get_json, until
from servers import data_folder, needs, victoria_metrics
from small import small_site
from store_model import shuffled_site

from ingest.broker import Codec
from ingest.shard import read_shard, shard_of
from ingest.stores.postgres import Leader, PostgresRecords, Session
from ingest.stores.registry import open_kept
from ingest.stores.server import Server
from twin.errors import SourceError
from twin.frame import Frame, Origin, frame_of, same
from ui.access.audit import ACCESS, Audited, verify
from ui.access.role import Identity, Role
from ui.app import TASK_NAMES
from ui.benches.demo import free_port
from ui.cli import main
from ui.config import load_config, site_of
from ui.roles import Part, part_names, read_roles

NOW = datetime(2026, 11, 25, tzinfo=UTC)
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def test_a_shard_more_moves_only_its_own_share() -> None:
    names = [f"source-{i}" for i in range(6000)]
    for count in (1, 2, 3, 7):
        before, after = ([shard_of(name, n) for name in names] for n in (count, count + 1))
        sizes = Counter(after)
        assert min(sizes.values()) > 0.85 * len(names) / (count + 1)
        moved = [new for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {count}
        assert len(moved) == sizes[count]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/65", "-1/2"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard"):
        read_shard(text)


def test_parts_have_names_that_the_site_knows() -> None:
    names = part_names(3)
    for roles in ("ingest", "ingest,tasks", "tasks", "tasks,wall", "wall"):
        assert Part(read_roles(roles), read_shard("2/3" if "ingest" in roles else "1/1")).name in names
    assert Part().name == ""
    with pytest.raises(ValueError, match="names no roles"):
        read_roles("ingest,all")


def _message(head: bytes) -> bytes:
    return zstandard.compress(len(head).to_bytes(4, "little") + head)


def test_frames_cross_the_broker_as_they_are_and_only_within_one_site() -> None:
    site = small_site()
    frames = [
        Frame("gpu", NOW, np.array([3, 1], dtype=np.int32), {"power_w": np.array([1.5, np.nan])}, source="s",
              quality={"power_w": np.array([1, 0], dtype=np.uint8)}),
        frame_of("site", NOW + timedelta(microseconds=7), 0, Origin.MODELLED, it_power_w=1e6),
    ]  # fmt: skip
    message = Codec(site).pack(frames)
    assert all(same(one, other) for one, other in zip(frames, Codec(site).unpack(message), strict=True))
    with pytest.raises(SourceError, match="another site"):
        Codec(shuffled_site(1)).unpack(message)
    codec = Codec(site)
    far = [["gpu", 10**30, 0, [], [], "measured", "", "", None]]
    odd = [_message(json.dumps([codec._mark, far]).encode()), _message(b"[" * 200_000)]
    for spoilt in (b"", b"rubbish", message[:-3], message[:20] + b"x" + message[21:], *odd):
        with pytest.raises(SourceError):
            Codec(site).unpack(spoilt)


def test_parts_that_cannot_work_are_told_before_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "x"\n')
    for words, said in (
        (["--role", "tasks"], "need a broker"), (["--role", "nothing"], "names no roles"), (["--shard", "3/2"], "is no shard"),
        (["--role", "ingest", "--shard", "1/2"], "speaks of 2 processes"),
    ):  # fmt: skip
        assert main(["up", "--config", str(tmp_path / "site.toml"), *words]) == 2
        assert said in capsys.readouterr().err


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own, as a user that it lets itself be started by."""
    assert POSTGRES is not None
    with data_folder() as folder:
        as_user: dict[str, Any] = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            as_user = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(folder, user.pw_uid, user.pw_gid)
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_user}
        words = ["-D", str(folder / "data"), "-U", "icctwin", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([POSTGRES / "initdb", *words], check=True, **quiet)
        port = free_port()
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        child = subprocess.Popen([POSTGRES / "postgres", "-D", str(folder / "data"), "-p", str(port), *settings], **quiet)
        try:
            ready = [POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
            deadline = time.monotonic() + 60
            while subprocess.run(ready, check=False).returncode != 0:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"host=127.0.0.1 port={port} user=icctwin dbname=postgres"
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(20)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not here (Debian package postgresql)")
    with postgres() as where:
        yield where


@pytest.mark.server
def test_records_are_shared_and_one_process_leads(database: str) -> None:
    one, other = (PostgresRecords(Session(database, None)) for _ in range(2))
    numbers = [one.append("alert", NOW + timedelta(seconds=k), {"k": k, "名": "泵"}) for k in range(10)]
    other.append("noted", NOW, {"who": "me"})
    found = other.read("alert", NOW + timedelta(seconds=2), NOW + timedelta(seconds=5))
    assert [(number, at, record["k"]) for number, at, record in found] == [
        (numbers[k], NOW + timedelta(seconds=k), k) for k in (2, 3, 4)
    ]
    assert [record["k"] for _, _, record in other.read("alert", limit=3, newest=True)] == [7, 8, 9]
    other.trim("alert", 4)
    assert [record["k"] for _, _, record in one.read("alert")] == [6, 7, 8, 9]
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        one.append("alert", NOW, {"value": float("nan")})
    first, second = (Leader(Session(database, None), "x") for _ in range(2))
    assert (first.leads(), second.leads(), first.leads()) == (True, False, True)
    first.close()
    assert until("the second leads", second.leads, 10)
    assert not first.leads()
    for each in (first, second, one, other):
        each.close()


def test_an_error_of_the_database_names_where_it_is_and_nothing_else_of_the_connection() -> None:
    port = free_port()
    where = f"host=127.0.0.1 port={port} user=li.na dbname=twin sslkey=/keys/li.pem application_name=127 sslmode=prefer"
    with pytest.raises(SourceError) as caught:
        Session(where, None).ask("SELECT 1")
    assert str(caught.value).startswith(f"PostgreSQL (host=127.0.0.1 port={port} dbname=twin): connection failed: ")
    assert not any(one in str(caught.value) for one in ("li.na", "/keys/li.pem", "prefer"))
    assert 'at "127.0.0.1"' in str(caught.value), "what is hidden is a word, no part of one"
    with pytest.raises(SourceError, match=r'^PostgreSQL \(host=127.0.0.1\): .*invalid sslmode value: "…"; '):
        Session("host=127.0.0.1 sslmode=hunter2", None).ask("SELECT 1")


@pytest.mark.server
def test_what_the_database_says_of_a_user_is_told_without_the_name(database: str) -> None:
    for name in ("wang.wei", "postgres"):  # the second is also what the database is called
        with pytest.raises(SourceError, match=r'role "…" does not exist; is it running') as caught:
            Session(database.replace("user=icctwin", f"user={name}"), None).ask("SELECT 1")
        assert "wang.wei" not in str(caught.value)
        assert "dbname=postgres)" in str(caught.value)


@pytest.mark.server
def test_a_database_that_is_frozen_is_not_waited_for(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.stores.postgres.ANSWER_S", 0.3)
    records = PostgresRecords(Session(database, None))
    backend = records._session.ask("SELECT pg_backend_pid()")[0][0]
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(SourceError, match="timeout"):
            records.append_next("frozen", NOW, lambda last: {"k": 1})
    finally:
        os.kill(backend, signal.SIGCONT)
    assert records.append_next("thawed", NOW, lambda last: {"k": 2}) > 0
    assert [record["k"] for _, _, record in records.read("thawed")] == [2]
    records.close()


@pytest.mark.server
def test_processes_that_start_together_on_an_empty_database_make_its_table_once(database: str) -> None:
    session = Session(database, None)
    for _ in range(5):
        session.ask("DROP TABLE IF EXISTS icctwin_record")
        sessions, together = [Session(database, None) for _ in range(6)], threading.Barrier(6)

        def start(one: Session, together: threading.Barrier = together) -> PostgresRecords:
            one.ask("SELECT 1")  # connected
            together.wait(30)
            return PostgresRecords(one)

        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(start, sessions))
        assert [records.append("t", NOW, {"i": i}) for i, records in enumerate(made)] == [1, 2, 3, 4, 5, 6]
        for one in sessions:
            one.close()
    session.close()


@pytest.mark.server
def test_records_that_build_on_the_last_one_leave_no_gap_whoever_appends(database: str) -> None:
    """Processes append at once; each record is made from the one before it, whoever wrote that."""
    each = [PostgresRecords(Session(database, None)) for _ in range(4)]

    def count(records: PostgresRecords) -> None:
        for _ in range(25):
            records.append_next("chain", NOW, lambda last: {"n": last["n"] + 1 if last else 0})

    def breaks(last: Mapping[str, Any] | None) -> Mapping[str, Any]:
        raise ZeroDivisionError

    with ThreadPoolExecutor(len(each)) as pool:
        list(pool.map(count, each))
    assert [record["n"] for _, _, record in each[0].read("chain")] == list(range(100))
    with pytest.raises(ZeroDivisionError):
        each[0].append_next("chain", NOW, breaks)
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        each[0].append_next("chain", NOW, lambda last: {"n": float("nan")})
    number = each[1].append_next("chain", NOW, lambda last: {"n": (last or {})["n"] + 1})  # its lock was let go
    assert each[2].read("chain", limit=1, newest=True) == [(number, NOW, {"n": 100})]
    for one in each:
        one.close()


@pytest.mark.server
def test_the_audit_of_several_processes_is_one_chain(database: str) -> None:
    each = [Audited(PostgresRecords(Session(database, None))) for _ in range(3)]
    who = Identity("li.na", "li.na", Role.ADMIN)

    def note(i: int) -> None:
        for k in range(10):
            each[i].note(who, "127.0.0.1", f"did {k}", NOW)

    with ThreadPoolExecutor(len(each)) as pool:
        list(pool.map(note, range(len(each))))
    verdict = verify(each[0], ACCESS)
    assert (verdict.links, verdict.before, verdict.faults) == (30, 0, ())
    for one in each:
        one.close()


class Exporter(BaseHTTPRequestHandler):
    """A GPU node's page; remembers nothing."""

    def do_GET(self) -> None:
        node = self.path.split("/")[1]
        body = "".join(
            f'DCGM_FI_DEV_POWER_USAGE{{gpu="{gpu}",Hostname="{node}"}} {500 + gpu + time.time() % 50:.3f}\n' for gpu in range(8)
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def exporters() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mosquitto() -> Iterator[int]:
    with data_folder() as folder:
        port = free_port()
        (folder / "m.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        child = subprocess.Popen([str(MOSQUITTO), "-c", str(folder / "m.conf")], stderr=subprocess.DEVNULL)
        try:
            until("mosquitto listens", lambda: _listens(port), 20)
            yield port
        finally:
            child.terminate()
            child.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


NODES = 12


def _poll_s() -> float:
    """Seconds between polls: twice what a process needs here and now before it can do anything (it may miss two of them), so
    that a busy machine has a slower test and not another promise; past a minute of it the test is left out."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import ui.app"], check=True)
    poll_s = max(2.0, round(2 * (time.monotonic() - began)))
    if poll_s > 60:
        pytest.skip(f"the machine is so busy that a process takes {poll_s / 2:.0f} s to load")
    return poll_s


@needs("victoria-metrics", "victoria-metrics")
@pytest.mark.server
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not here (Debian package mosquitto)")
def test_one_of_three_processes_is_killed_and_replaced_without_a_gap(database: str, tmp_path: Path) -> None:
    """Two processes ingest, one thinks and shows. One that ingests is killed under load and started again: no GPU's values have
    a gap of more than two polls, and the wall shows what the others measured."""
    every_s = _poll_s()
    patience_s = 60 + 10 * every_s
    with exporters() as port, mosquitto() as broker, victoria_metrics("-dedup.minScrapeInterval=1ms") as url:
        wall = free_port()
        rows = ["id,kind,parent,hostname,index", "h,hall,,,", "r,rack,h,,"]
        for node in range(NODES):
            rows += [f"n{node},node,r,n{node},", *(f"n{node}g{g},gpu,n{node},,{g}" for g in range(8))]
        (tmp_path / "assets.csv").write_text("\n".join([*rows, ""]))
        targets = json.dumps([f"http://127.0.0.1:{port}/n{node}/metrics" for node in range(NODES)])
        (tmp_path / "site.toml").write_text(
            f'[site]\nname = "three"\n[wall]\nport = {wall}\n[store]\ntype = "victoriametrics"\nurl = "{url}"\n'
            f'[cluster]\nbroker = "mqtt://127.0.0.1:{broker}"\npostgres = "{database}"\nshards = 2\n'
            f'[[source]]\nname = "dcgm"\ntype = "prometheus"\nmapping = "dcgm"\nevery_s = {every_s}\ntargets = {targets}\n'
        )
        words = [sys.executable, "-m", "ui", "--log-level", "error"]
        config = ["--config", str(tmp_path / "site.toml")]
        commands = {f"ingest-{i}": [*words, "ingest", *config, "--shard", f"{i}/2"] for i in (1, 2)}
        commands["tasks"] = [*words, "up", *config, "--role", "tasks,wall"]
        began = datetime.now(UTC)
        running = {name: subprocess.Popen(command) for name, command in commands.items()}
        try:
            power = "/api/v1/state?kind=gpu&metric=power_w"
            assert until("all GPUs on the wall", lambda: _fresh(wall, power) == NODES * 8, patience_s)
            led_s = time.monotonic() + 10  # who leads estimates each second; on a quick machine all is over sooner
            running["ingest-1"].kill()
            running["ingest-1"].wait(10)
            running["ingest-1"] = subprocess.Popen(commands["ingest-1"])
            replaced = datetime.now(UTC)
            until("all GPUs on the wall again", lambda: _older_s(wall, power, replaced) < 0, patience_s)
            again = datetime.now(UTC)
            until("a poll of each after that", lambda: _older_s(wall, power, again) < 0, patience_s)
            time.sleep(max(0.0, led_s - time.monotonic()))
            ended = datetime.now(UTC)
        finally:
            for child in running.values():
                child.terminate()
            codes = {name: child.wait(60) for name, child in running.items()}
        assert codes == {"ingest-1": 0, "ingest-2": 0, "tasks": 0}
        Server(url).get("/internal/force_flush")
        loaded = load_config(tmp_path / "site.toml")
        site = site_of(loaded, TASK_NAMES)
        store = open_kept(loaded.store, site, readonly=True)
        found = store.series("gpu", ["power_w"], began, ended).values["power_w"]
        times = store.series("gpu", ["power_w"], began, ended).time_s
        for gpu in range(NODES * 8):
            seen = times[~np.isnan(found[:, gpu])]
            assert len(seen) >= 3
            missed = np.diff(seen).max() / every_s - 1
            assert missed <= 2, f"GPU {gpu}: {missed:.1f} polls were missed"
        modelled = store.series("site", ["it_power_w"], began, ended, origin=Origin.MODELLED)
        assert len(modelled.time_s) > 5, "nobody led"
        store.close()


def _older_s(port: int, path: str, than: datetime) -> float:
    """How much older the oldest of the newest values is, as whoever looks at the wall has it."""
    age_s = max(get_json(f"http://127.0.0.1:{port}{path}")["metrics"]["power_w"]["age_s"])
    return float(age_s) - (datetime.now(UTC) - than).total_seconds()


def _fresh(port: int, path: str) -> int:
    answer = get_json(f"http://127.0.0.1:{port}{path}")
    return sum(answer["metrics"]["power_w"]["fresh"])
