"""A store of an earlier icctwin is opened, goes on, and can be gone back with: the first that was ever written, and the code
that wrote it where this checkout has its history."""

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import old_store
import pytest
import zstandard
from store_model import MEMORY

from ingest.stores import open_store
from ingest.stores.embedded.files import SCHEMA
from twin.state import State
from ui.backup import backup
from ui.config import load_config
from ui.restoring import restore

ROOT = Path(__file__).resolve().parent.parent
FIRST = "419337d8beaf43a3da448fa2e8218443fee0b91d"  # of schema 1, before 0.1.0
WROTE = 700


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: a disk that syncs each frame would take longer than all else."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A centre whose store the first icctwin wrote."""
    packed = zstandard.ZstdDecompressor().decompress((ROOT / "fixtures" / "stores" / "first.tar.zst").read_bytes(), 2**26)
    centre = tmp_path / "centre"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(centre / "store", filter="data")
    (centre / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    (centre / "site.toml").write_text('[site]\nname = "old"\n[store]\npath = "store"\n')
    return centre


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code that wrote it."""
    git = shutil.which("git")
    found = git and subprocess.run([git, "archive", FIRST], cwd=ROOT, capture_output=True, check=False)
    if not found or found.returncode:
        pytest.skip(f"this checkout has no history back to {FIRST[:7]}: the way back is not tried")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def said_by(code: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the script of this name does with ``code``."""
    command = [sys.executable, "-P", str(Path(old_store.__file__)), *words]
    return subprocess.run(command, cwd=code, env={"PYTHONPATH": str(code)}, capture_output=True, text=True, timeout=120)


def written(first: int, last: int) -> dict[str, list[list[float]]]:
    """By metric: how many raw values of each GPU, and their sum."""
    made = list(old_store.frames(old_store.site(), first, last))
    table = {name: np.array([frame.values[name] for frame in made]) for name in old_store.METRICS}
    return {n: [(~np.isnan(v)).sum(axis=0).tolist(), np.nansum(v, axis=0).round(6).tolist()] for n, v in table.items()}


def test_a_store_of_the_first_icctwin_is_whole_and_goes_on(first: Path) -> None:
    store = first / "store"
    old_store.write(store, WROTE, WROTE)  # opened for writing, as an upgrade does
    was = old_store.read(store)
    assert was["None"] == written(0, WROTE)
    assert was["records"] == [0, 250, 500]
    old_store.write(store, WROTE, 900)
    now = old_store.read(store)
    assert now["None"] == written(0, 900)
    assert now["records"] == [0, 250, 500, 700]
    assert sum(now["3600.0"]["temp_c"][0]) == 8 * 8


def test_metrics_that_only_a_later_icctwin_knows_are_left_alone_on_the_way_back(first: Path) -> None:
    """One schema, and a table of metrics that has grown since: what the live state begins with is what this icctwin knows."""
    old_store.write(first / "store", WROTE, WROTE)
    con = sqlite3.connect(first / "store" / "store.db")
    for table, column in (("newest", "metric"), ("shape", "text")):
        con.execute(f"UPDATE {table} SET {column} = replace({column}, 'temp_c', 'later_c')")
    assert con.execute("SELECT count(*) FROM newest WHERE metric = 'later_c'").fetchone() == (1,)
    con.commit()
    con.close()
    site = old_store.site()
    with closing(open_store(first / "store", site)) as store:
        state = State(site)
        for frame in store.latest(old_store.START):
            state.absorb(frame, old_store.START + timedelta(days=1))
        assert np.isfinite(state.newest("gpu", "util_frac").value).all()
    old_store.write(first / "store", WROTE, 900)
    assert old_store.read(first / "store")["None"]["util_frac"] == written(0, 900)["util_frac"], "and it goes on"


def test_the_way_back_the_earlier_code_reads_what_the_present_one_went_on_with_or_says_that_it_cannot(
    first: Path, earlier: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "before.tar.zst"
    backup(first / "site.toml", kept, old_store.START, "before")  # as docs/operations.md has it: before the new version starts
    before = old_store.read(first / "store")
    old_store.write(first / "store", WROTE, 900)
    back = said_by(earlier, "read", str(first / "store"))
    if SCHEMA == 1:
        assert json.loads(back.stdout)["None"] == written(0, 900), back.stderr
        assert said_by(earlier, "write", str(first / "store"), "900", "950").returncode == 0
        assert old_store.read(first / "store")["None"] == written(0, 950), "and forward again"
    else:
        assert back.returncode != 0
        assert "written by a later icctwin" in back.stderr
    restored = restore(kept, tmp_path / "back")
    there = load_config(restored.config).store.path
    again = said_by(earlier, "read", str(there))
    assert json.loads(again.stdout) == before, "the backup of before is what the earlier code had written"
