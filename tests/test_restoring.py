"""What is put back: a centre that starts on its own files, or nothing and a sentence."""

import hashlib
import io
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from twin.errors import ConfigError
from ui.cli import main
from ui.restoring import restore

SITE = b'[site]\nname = "x"\n[store]\npath = "store"\n'


def archive(path: Path, files: dict[str, bytes], /, **said: Any) -> Path:
    """A backup of ``files``, by their names in it, whose manifest says what one says, and ``said``."""
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    about = {"format": 1, "schema": 0, "icctwin": "1", "time": "2026-11-27T00:00:00+00:00", "name": "x",
             "config": "site.toml", "store": "store", "files": sums, "left_out": []} | said  # fmt: skip
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in (*files.items(), ("manifest.json", json.dumps(about).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    path.write_bytes(zstandard.compress(packed.getvalue()))
    return path


def test_a_backup_of_an_earlier_icctwin_with_what_was_adopted_in_it_twice_comes_back(tmp_path: Path) -> None:
    twice = {"store/calibration.json": b"[1]", "site/store/calibration.json": b"[1]", "store/reports/1/a.pdf": b"%PDF"}
    done = restore(archive(tmp_path / "old.tar.zst", {"site/site.toml": SITE, **twice}), tmp_path / "new")
    assert done.files == 4
    assert (tmp_path / "new" / "store" / "calibration.json").read_bytes() == b"[1]"
    assert (tmp_path / "new" / "store" / "reports" / "1" / "a.pdf").read_bytes() == b"%PDF"


def test_a_backup_without_its_configuration_is_none(tmp_path: Path) -> None:
    forged = archive(tmp_path / "forged.tar.zst", {"site/site.toml": SITE}, config="nothere.toml")
    with pytest.raises(ConfigError, match=r"no whole backup of icctwin \(its configuration nothere.toml is missing\)"):
        restore(forged, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"time": "garbage"}, "manifest.json: time: Input should be a valid datetime"),
        ({"time": "2026-11-27T00:00:00"}, "manifest.json: time: Input should have timezone info"),
        ({"files": []}, "manifest.json: files: Input should be an object"),
        ({"files": {"site/site.toml": 5}}, "manifest.json: files: site/site.toml: Input should be an object"),
        ({"config": 5}, "manifest.json: config: Input should be a valid string"),
        ({"store": 5}, "manifest.json: store: Input should be a valid string"),
        ({"left_out": 5}, "manifest.json: left_out: Input should be a valid array"),
        ({"format": "1"}, "manifest.json: format: Input should be a valid integer"),
        ({"schema": None}, "manifest.json: schema: Input should be a valid integer"),
    ],
)
def test_a_manifest_of_another_shape_is_none(tmp_path: Path, said: dict[str, Any], why: str) -> None:
    forged = archive(tmp_path / "forged.tar.zst", {"site/site.toml": SITE}, **said)
    with pytest.raises(ConfigError, match=f"no whole backup of icctwin \\({re.escape(why)}"):
        restore(forged, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["forged.tar.zst"]


def test_a_backup_of_a_later_icctwin_says_so_whatever_else_it_holds(tmp_path: Path) -> None:
    later = archive(tmp_path / "later.tar.zst", {"site/site.toml": SITE}, format=2, icctwin="9.0", files=[], time=5)
    with pytest.raises(ConfigError, match=r"was written by icctwin 9\.0, a later one; restore it with that"):
        restore(later, tmp_path / "new")


ELSEWHERE = [
    '[site]\nname = "x"\n[store] # path = "no"\npath = "/var/lib/icctwin" # kept\n',
    '[site]\nname = "path = \\"y\\""\n[store]\r\n  path=\'/srv/x/store\'\r\nraw_days = 7\r\n',
    '\ufeffstore = { raw_days = 7, "path" = "/var/lib/icctwin" }\n[[source]]\ntype = "grid"\npath = "/srv/price.csv"\n',
    'site.name = "x"\nstore.path = "../store"\n',
]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_a_store_that_lay_elsewhere_is_named_where_it_is_now(tmp_path: Path, text: str) -> None:
    wanted = tomllib.loads(text.removeprefix("\ufeff"))
    wanted["store"]["path"] = "store"
    files = {"site/site.toml": text.encode(), "store/records.db": b"x"}
    done = restore(archive(tmp_path / "one.tar.zst", files, store=None), tmp_path / "new")
    assert tomllib.loads(done.config.read_text("utf-8-sig")) == wanted
    assert done.config.read_bytes().count(b"\n") == text.count("\n"), "nothing else was written anew"
    assert (tmp_path / "new" / "store" / "records.db").is_file()
    assert done.ready
    assert done.notes[0].startswith(f"[store] path of {done.config} names {tmp_path / 'new' / 'store'} now, not ")


def test_a_store_inside_the_folder_that_is_named_from_the_root_is_named_from_the_folder(tmp_path: Path) -> None:
    text = b'[store]\npath = "/srv/icctwin/var/store"\n'
    done = restore(archive(tmp_path / "one.tar.zst", {"site/site.toml": text}, store="var/store"), tmp_path / "new")
    assert done.config.read_bytes() == b'[store]\npath = "var/store"\n'


def test_a_configuration_that_names_its_store_by_its_own_folder_stays_as_it_was(tmp_path: Path) -> None:
    for i, (text, store) in enumerate([('[store]\npath = "./store/"\n', "store"), ('[site]\nname = "x"\n', "var/store")]):
        file = archive(tmp_path / f"{i}.tar.zst", {"site/site.toml": text.encode()}, store=store)
        done = restore(file, tmp_path / str(i))
        assert (done.config.read_text(), done.ready, done.notes) == (text, True, [])


def test_where_the_path_of_the_store_cannot_be_written_no_start_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = archive(tmp_path / "one.tar.zst", {"site/site.toml": b'[store]\n"p\\u0061th" = "/x"\n'}, store=None)
    assert main(["restore", str(file), "--into", str(tmp_path / "new")]) == 0
    told = capsys.readouterr()
    assert "icctwin up" not in told.out
    assert f'{tmp_path / "new" / "site.toml"} names /x: write path = "store" there before you start with it' in told.err


def test_a_configuration_that_is_no_toml_is_no_part_of_a_backup(tmp_path: Path) -> None:
    for text in (b"[store", b"\xff"):
        with pytest.raises(ConfigError, match="no whole backup"):
            restore(archive(tmp_path / "one.tar.zst", {"site/site.toml": text}), tmp_path / "new")
        assert not (tmp_path / "new").exists()
