"""What is put back: a centre that starts on its own files, or nothing and a sentence."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from twin.errors import ConfigError
from ui.restoring import restore

SITE = b'[site]\nname = "x"\n[store]\npath = "store"\n'


def archive(path: Path, files: dict[str, bytes], **said: Any) -> Path:
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
