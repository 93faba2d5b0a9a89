"""What keeps a centre from running well on this machine is found before it does, and each finding says what to do."""

import json
import resource
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ingest.stores.embedded.files import SCHEMA
from ingest.stores.records import open_records
from ui import doctor
from ui.cli import main
from ui.config import load_config
from ui.doctor import Health, examine
from ui.oncall.book import Book


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path / "mine")]) == 0
    return tmp_path / "mine" / "site.toml"


def found(config: Path | None, what: str) -> tuple[Health, str]:
    rows = [row for row in examine(config) if row.what == what]
    worst = max(rows, key=lambda row: list(Health).index(row.health))
    return worst.health, worst.says


def test_a_sound_machine_is_well(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    status = main(["doctor", "--config", str(config), "--json"])
    said = json.loads(capsys.readouterr().out)
    bad = [row for row in said["rows"] if row["health"] == "BAD"]
    assert (status, said["ok"], bad) == (0, True, [])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]


def test_each_trouble_is_named_with_its_remedy(config: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = config.parent / "token"
    config.write_text(config.read_text().replace("port = 8050", f"port = {taken}"))
    text = config.read_text().replace("[store]\n", '[store]\ntoken_file = "token"\n')
    config.write_text(text)
    health, says = found(config, "secret")
    assert health is Health.BAD
    assert "does not exist; write it" in says
    secret.write_text("x")
    secret.chmod(0o644)
    assert found(config, "secret") == (Health.NOTE, f"{secret} is readable for others; chmod 600 {secret}")
    secret.chmod(0o600)
    assert found(config, "secret")[0] is Health.OK
    config.write_text(config.read_text().replace('token_file = "token"', 'token_file = "token"\nca_file = "ca.pem"'))
    (config.parent / "ca.pem").write_text("x")
    assert found(config, "secret")[0] is Health.OK, "a certificate is for everybody"
    assert "is not free" in found(config, "wall")[1]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 4096))
    assert found(config, "open files")[0] is Health.BAD
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(config.parent), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert "nfs4" in found(config, "file system")[1]
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=99", "no-such-library"])
    assert found(None, "libraries")[1].endswith("wanted >=99, no-such-library is missing; run: make setup")


def test_an_installation_without_the_3d_pages_parts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FOLDER", tmp_path)
    health, says = found(None, "3D page")
    assert health is Health.NOTE, "the page has its plan"
    assert "three.js is missing" in says
    assert "make web" in says
    assert "make dist" in says
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "three.js").write_text("export {};")
    assert found(None, "3D page") == (Health.OK, "three.js is there")


def test_a_wrong_configuration_is_told_whole(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[site]\nname = ""\n[stores]\n')
    assert main(["doctor", "--config", str(config)]) == 1
    told = capsys.readouterr().out
    assert f"{config}:2" in told
    assert "no section 'stores'" in told


def test_a_wrong_table_is_no_sound_configuration(config: Path) -> None:
    assert found(config, "configuration") == (Health.OK, f"{config} and its tables can be read; icctwin check asks its sources")
    (config.parent / "assets.csv").write_text("id,kind\nr,rak\n")
    table = config.parent / "assets.csv"
    assert found(config, "configuration") == (Health.BAD, f"{table}:2: no kind 'rak'; did you mean rack?")


def test_the_version_of_a_store_is_told_and_a_later_one_is_trouble(config: Path) -> None:
    where = load_config(config).store.path
    where.mkdir(parents=True)
    assert [row for row in examine(config) if row.what == "store"] == []
    with closing(sqlite3.connect(where / "store.db")) as con:
        con.execute(f"PRAGMA user_version = {SCHEMA}")
    assert found(config, "store") == (Health.OK, f"version {SCHEMA}, and this icctwin writes version {SCHEMA}")
    with closing(sqlite3.connect(where / "store.db")) as con:
        con.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    health, says = found(config, "store")
    assert health is Health.BAD
    assert "restore a backup of before" in says


def test_secrets_of_the_wall_the_on_call_file_and_our_own_are_looked_at(config: Path) -> None:
    text = config.read_text().replace("[wall]\n", '[wall]\ntls_cert = "cert.pem"\ntls_key = "scada-key.pem"\n')
    config.write_text(text + '\n[alerts]\noncall = "oncall.toml"\n')
    (config.parent / "oncall.toml").write_text('[[channel]]\nname = "c"\ntype = "slack"\nurl = "file:hook"\n')
    store = load_config(config).store.path
    store.mkdir(parents=True)
    files = [config.parent / "scada-key.pem", config.parent / "hook", store / "approve.key"]
    for file in files:
        file.write_text("x")
        file.chmod(0o644)
    open_records(store / "records.db").close()
    said = {row.says: row.health for row in examine(config) if row.what == "secret"}
    assert said == {f"{file} is readable for others; chmod 600 {file}": Health.NOTE for file in files} | {
        str(store / "records.db"): Health.OK
    }


def test_what_holds_hashes_of_passwords_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    open_records(path).close()
    path.chmod(0o644)  # as an earlier icctwin left it
    records = open_records(path)
    records.append("t", datetime(2026, 3, 10, tzinfo=UTC), {})
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == dict.fromkeys(
        ("records.db", "records.db-wal", "records.db-shm"), 0o600
    )
    records.close()


def test_what_is_kept_and_others_may_read_is_said(config: Path) -> None:
    store = load_config(config).store.path
    (store / "spool").mkdir(parents=True)
    (store / "reports").mkdir()
    for name, mode in [("oncall.db", 0o644), ("raw-20261127.db-wal", 0o640), ("records.db", 0o600), ("reports/a.pdf", 0o644)]:
        (store / name).touch(mode)
    said = [row for row in examine(config) if row.what == "rights"]
    remedy = f"such as {store / 'oncall.db'}; chmod 600 {store}/*.db*"
    assert said == [(Health.NOTE, "rights", f"2 files of the store are readable for others, {remedy}")]
    (store / "oncall.db").chmod(0o600)
    (store / "raw-20261127.db-wal").chmod(0o600)
    (store / "spool" / "log-0000000000000000.log").touch(0o644)
    remedy = f"such as {store / 'spool' / 'log-0000000000000000.log'}; chmod 600 {store}/spool*/*"
    assert found(config, "rights") == (Health.NOTE, f"a file of the store is readable for others, {remedy}")


def test_pages_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "oncall.db"
    for _ in range(2):
        book = Book(path)
        book.keep({"alerts": "{}"})
        assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == dict.fromkeys(
            ("oncall.db", "oncall.db-wal", "oncall.db-shm"), 0o600
        )
        book.close()
        path.chmod(0o644)  # as an earlier icctwin left it
