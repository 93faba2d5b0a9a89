"""A centre in one file: its configuration, its store as of one moment, its records; taken while it lives. ``ui.restoring`` puts
it back whole.

The order of copying is what makes a copy of a living store sound. It is that of a writer that was killed, read backwards: first
what waits in the spool, then the journals, then the index, then the data files. A window that is compacted meanwhile is in its
data file already and still in the copied journal, as after a kill between the two, and the next start settles it.
Secrets and certificates are never copied: their files are listed instead (``ui.named`` tells which they are), and the seal by
which browsers are known again is left out of the records, for a restored centre makes its own. What passwords are checked by
(argon2id) is copied with the users, so that a backup is for its owner's eyes alone.
"""

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard

from ingest.stores.embedded.files import Vanished, connect_reading
from twin.errors import ConfigError, Problem, SourceError
from ui.access.desk import SEALS
from ui.calibrating import adoption_file
from ui.config import Config, load_config
from ui.named import Named, named_files

MANIFEST = "manifest.json"
FORMAT = 1
STORE = "store"  # the store's folder inside the archive; the configuration's folder is "site"
ORDER = ("spool*/*", "journal-*.db", "store.db", "raw-*.db", "minute-*.db", "hour-*.db", "records.db", "oncall.db",
         "calibration.json", "reports/[!.]*/*")  # fmt: skip
VERSIONED = ("store.db", "records.db")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a backup holds: bytes of each file by its name in the archive, and why what is not in it is not."""

    files: Mapping[str, int]
    left_out: Sequence[str]


def backup(path: Path, out: Path, now: datetime, release: str) -> Taken:
    """Write the centre of the configuration ``path`` to ``out`` (tar, zstandard); it may be running. ``out`` appears when it
    is whole. ``ConfigError`` for a wrong configuration or an ``out`` that exists, ``SourceError`` for a disk that fails."""
    config = load_config(path)
    if out.exists():
        raise ConfigError([Problem(str(out), "is already there and stays as it is; name another file")])
    if not out.parent.is_dir():
        raise ConfigError([Problem(str(out), f"there is no folder {out.parent}; make it, or name another place with --out")])
    half = out.with_name(out.name + ".part")
    try:
        with _packing(half) as archive, tempfile.TemporaryDirectory(dir=out.parent, prefix=".icctwin-") as scratch:
            taken = _pack(archive, path, config, Path(scratch), now, release)
        half.replace(out)
    except (OSError, sqlite3.Error) as error:
        raise SourceError(f"the backup could not be written: {error}") from error
    finally:
        half.unlink(missing_ok=True)
    return taken


@contextmanager
def _packing(path: Path) -> Iterator[tarfile.TarFile]:
    packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        with packer.stream_writer(file, closefd=False) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
            yield archive
        file.flush()
        os.fsync(file.fileno())


def _pack(archive: tarfile.TarFile, path: Path, config: Config, scratch: Path, now: datetime, release: str) -> Taken:
    sums: dict[str, dict[str, Any]] = {}
    kept = config.store
    schema = 0
    for source in _store_files(kept.path):
        copy = scratch / "copy"
        if _copied(source, copy):
            schema = max(schema, _schema_of(copy) if source.name in VERSIONED else 0)
            _add(archive, f"{STORE}/{source.relative_to(kept.path)}", copy, sums)
            copy.unlink()
    inside, left_out = _site_files(path, config)
    for name, source in inside.items():
        _add(archive, f"site/{name}", source, sums)
    if kept.type != "embedded":
        left_out.append(f"values in {kept.place}: back that server up with its own tool")
    if config.cluster.postgres:
        left_out.append("records in PostgreSQL: back them up with pg_dump")
    about = {
        "format": FORMAT, "schema": schema, "icctwin": release, "time": now.isoformat(), "name": config.site.name,
        "config": path.name, "store": _name_in(path.parent.resolve(), kept.path), "files": sums, "left_out": left_out,
    }  # fmt: skip
    _add_bytes(archive, MANIFEST, json.dumps(about, indent=1, ensure_ascii=False).encode())
    return Taken({name: entry["bytes"] for name, entry in sums.items()}, left_out)


def _store_files(folder: Path) -> Iterator[Path]:
    """In the order of copying; looked for anew at each step, for files come and go."""
    for pattern in ORDER:
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _copied(source: Path, copy: Path) -> bool:
    """Whether ``source`` was still there. A database is copied as of one moment, its log included."""
    try:
        if source.suffix != ".db":
            copy.write_bytes(source.read_bytes())
            return True
        with closing(connect_reading(source)) as con, closing(sqlite3.connect(copy)) as to:
            con.backup(to)
            to.execute("PRAGMA journal_mode = DELETE")
            if source.name == "records.db":
                to.execute("PRAGMA secure_delete = ON")  # else it would still stand in a page that is free
                to.execute("DELETE FROM record WHERE topic = ?", (SEALS,))
                to.commit()
        return True
    except (Vanished, FileNotFoundError):
        return False
    except sqlite3.OperationalError:
        if source.exists():
            raise
        copy.unlink(missing_ok=True)
        return False


def _schema_of(file: Path) -> int:
    """The version of the store that a copied file is of: an earlier icctwin can go on with a backup of its own store, whoever
    took it."""
    with closing(sqlite3.connect(file)) as con:
        return int(con.execute("PRAGMA user_version").fetchone()[0])


def _site_files(path: Path, config: Config) -> tuple[dict[str, Path], list[str]]:
    """(files of the configuration's folder by their names in it, what is left out and why)."""
    folder = path.parent.resolve()
    adopted = Named("adopted", adoption_file(config.site.assets, config.store.path), secret=False)
    inside: dict[str, Path] = {path.name: path}
    left_out: dict[str, None] = {}
    for _, one, secret in (*named_files(config), adopted):
        if secret:
            left_out[f"{one}: a secret or a certificate; bring it yourself"] = None
        elif not one.exists() or one.is_relative_to(config.store.path):
            continue
        elif (name := _name_in(folder, one)) is None:
            left_out[f"{one}: outside the configuration's folder"] = None
        elif one.is_dir():
            inside |= {f"{name}/{f.relative_to(one)}": f for f in sorted(one.rglob("*")) if f.is_file()}
        else:
            inside[name] = one
    return inside, list(left_out)


def _name_in(folder: Path, path: Path) -> str | None:
    """The name that ``path`` has in ``folder``, none where it is elsewhere; of a link its own, as the configuration has it: a
    mounted ConfigMap is nothing but links into a folder that changes its name."""
    for one in (Path(os.path.abspath(path)), path.resolve()):
        if one.is_relative_to(folder):
            return str(one.relative_to(folder))
    return None


def _add(archive: tarfile.TarFile, name: str, source: Path, sums: dict[str, dict[str, Any]]) -> None:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        archive.addfile(_entry(name, size), file)
    sums[name] = {"bytes": size, "sha256": digest}


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_entry(name, len(data)), io.BytesIO(data))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry
