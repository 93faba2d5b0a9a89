"""A centre that is copied while it lives comes back whole: every value acknowledged before the copy began, none twice."""

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import until
from small import small_site
from store_model import MEMORY
from test_store_crash import START, at, expected, frames

from ingest.stores import open_records, open_store
from ingest.stores.embedded import segments
from twin.errors import ConfigError
from ui.access.desk import SEALS, Access
from ui.access.role import Role
from ui.backup import backup
from ui.cli import main
from ui.config import load_config
from ui.demo import write_demo
from ui.restoring import restore


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Where a long life is quickly lived: in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    """A configuration with secrets and files of its own."""
    path = write_demo(tmp_path / "centre", gpus=16, seed=1, port=8050)
    (path.parent / "rules.toml").write_text('[[rule]]\nname = "x"\n')
    (path.parent / "token").write_text("very secret")
    text = (
        path.read_text()
        .replace("[store]", '[store]\ntoken_file = "token"')
        .replace("[alerts]", '[alerts]\nrules = "rules.toml"')
    )
    path.write_text(text)
    return path


def test_a_store_copied_while_it_is_written_and_compacted_is_whole(
    centre: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "PORTION", 50)
    site = small_site()
    store = open_store(centre.parent / "store", site, hot_bytes=20_000)
    done, over = 0, threading.Event()

    def live() -> None:
        nonlocal done
        while not over.is_set() and done < 3000:
            store.append(frames(site, done))
            done += 1
            for _ in range(3):
                store.maintain(at(done))
            over.wait(0.005)

    writer = threading.Thread(target=live)
    writer.start()
    try:
        assert until("a past to copy", lambda: done > 250)
        for i in range(3):
            before = done
            backup(centre, tmp_path / f"{i}.tar.zst", START, "1")
            restore(tmp_path / f"{i}.tar.zst", tmp_path / f"restored-{i}")
            copy = open_store(tmp_path / f"restored-{i}" / "store", site)
            found = copy.series("gpu", ["power_w"], START, at(before)).values["power_w"]
            late = 130  # appends that may since have come late into what was copied
            sure = max(before - late, 0)
            np.testing.assert_array_equal(found[:sure], expected(before + late)[:sure])
            assert len(found) == before
            copy.close()
    finally:
        over.set()
        writer.join()
        store.close()
    assert done > 260, "too little was written meanwhile for the test to mean anything"


def test_a_backup_comes_back_by_command_without_secrets(
    centre: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = small_site()
    store = open_store(centre.parent / "store", site)
    store.append(frames(site, 0))
    store.close()
    out = tmp_path / "one.tar.zst"
    assert main(["backup", "--config", str(centre), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert any("token: a secret" in line for line in said["left_out"])
    assert main(["restore", str(out), "--into", str(tmp_path / "new"), "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert Path(back["config"]).read_text() == centre.read_text()
    assert (tmp_path / "new" / "rules.toml").is_file()
    assert not (tmp_path / "new" / "token").exists()
    again = open_store(tmp_path / "new" / "store", site, readonly=True)
    assert again.series("gpu", ["power_w"], START, at(1)).values["power_w"][0, 3] == 3.5
    again.close()
    assert main(["backup", "--config", str(centre), "--out", str(out)]) == 2
    assert "is already there" in capsys.readouterr().err


def test_what_is_started_after_a_restore_goes_on_with_the_restored_store(centre: Path, tmp_path: Path) -> None:
    centre.write_text(centre.read_text().replace('path = "store"', f'path = "{tmp_path}/kept"'))
    open_records(tmp_path / "kept" / "records.db").close()
    backup(centre, tmp_path / "one.tar.zst", START, "1")
    done = restore(tmp_path / "one.tar.zst", tmp_path / "new")
    assert load_config(done.config).store.path == tmp_path / "new" / "store"
    assert (tmp_path / "new" / "store" / "records.db").is_file()


def test_what_was_adopted_is_copied_once_and_comes_back(centre: Path, tmp_path: Path) -> None:
    (centre.parent / "store").mkdir()
    (centre.parent / "store" / "calibration.json").write_text("[1]")
    taken = backup(centre, tmp_path / "one.tar.zst", START, "1")
    assert [name for name in taken.files if "calibration" in name] == ["store/calibration.json"]
    restore(tmp_path / "one.tar.zst", tmp_path / "new")
    assert (tmp_path / "new" / "store" / "calibration.json").read_text() == "[1]"


def test_a_backup_is_for_its_owner_alone_and_holds_no_seal(centre: Path, tmp_path: Path) -> None:
    records, now = open_records(centre.parent / "store" / "records.db"), at(0)
    access = Access(records)
    access.users.add("li", "three green pumps hum", Role.VIEWER, now)
    access.seal("device li 1", now)
    (seal,) = [record["row"]["value"] for _, _, record in records.read(SEALS)]
    records.close()
    out = tmp_path / "centre.tar.zst"
    backup(centre, out, now, "1")
    assert out.stat().st_mode & 0o777 == 0o600
    restore(out, tmp_path / "back")
    found = next((tmp_path / "back").rglob("records.db"))
    assert seal.encode() not in found.read_bytes(), "nor in a page that is free"
    back = open_records(found)
    assert back.read(SEALS) == []
    assert [record["key"] for _, _, record in back.read("access-user")] == ["li"]
    back.close()


@pytest.mark.parametrize("where", [0.1, 0.5, 0.97])
def test_a_damaged_backup_restores_nothing(centre: Path, tmp_path: Path, where: float) -> None:
    out, into = tmp_path / "one.tar.zst", tmp_path / "new"
    backup(centre, out, START, "1")
    data = bytearray(out.read_bytes())
    data[int(where * len(data))] ^= 0x40
    out.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="no whole backup"):
        restore(out, into)
    out.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(ConfigError, match="no whole backup"):
        restore(out, into)
    assert not into.exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".icctwin")]


@pytest.mark.parametrize("said", [{"store": "../out"}, {"store": "/tmp/out"}, {"config": "../out.toml"}])
def test_an_archive_that_names_a_place_outside_is_none(
    centre: Path, tmp_path: Path, said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = json.dumps
    monkeypatch.setattr("ui.backup.json.dumps", lambda about, **more: real(about | said, **more))
    out, into = tmp_path / "forged.tar.zst", tmp_path / "deep" / "new"
    backup(centre, out, START, "1")
    with pytest.raises(ConfigError, match=r"out.* is no place inside it"):
        restore(out, into)
    assert not into.exists()
    assert not (tmp_path / "deep" / "out").exists()


def test_a_backup_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.tar\.zst: is no file; name a backup"):
        restore(tmp_path / "none.tar.zst", tmp_path / "new")


def test_a_folder_with_something_in_it_is_left_alone(centre: Path, tmp_path: Path) -> None:
    backup(centre, tmp_path / "one.tar.zst", START, "1")
    with pytest.raises(ConfigError, match="not empty"):
        restore(tmp_path / "one.tar.zst", centre.parent)
