"""``icctwin doctor``: whether this machine and this installation can carry a centre, and what to do where not.

``icctwin check`` asks what is out there; this asks what is here: Python, libraries, disk, memory, files, clock, ports, secrets.
It changes nothing and reaches nothing but this machine.
"""

import os
import platform
import resource
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

import psutil
from packaging.requirements import Requirement

from ingest.stores.embedded.files import SCHEMA, connect_reading
from twin.errors import ConfigError, SourceError
from ui.certificate import stands
from ui.config import Config, load_config, site_of
from ui.faces.statics import FOLDER, THREE
from ui.named import named_files
from ui.report.typeset import no_font
from ui.switch import KEY_FILE
from ui.tasks import RealClock

LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 2_000_000_000
LEAST_MEMORY_BYTES = 1_500_000_000  # what 10,000 GPUs at 1 Hz may take
FILES_BESIDE_TARGETS = 200
# File systems on which SQLite's locks or shared memory do not hold: sqlite.org/faq.html, question 5; sqlite.org/wal.html
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "fuse.glusterfs"})
LEAST_SQLITE = (3, 35, 0)
KEPT = ("*.db*", "spool*/*")  # what is kept, in the store's folder
PUBLIC = ("ca_file", "cert_file", "ca")  # options whose files everybody may read
# What an extra's libraries are for, where one is missing
EXTRAS = {
    "field": "Modbus, SNMP, MQTT, gNMI, BACnet",
    "cluster": "PostgreSQL",
    "oncall": "further ways to reach people",
}


class Health(StrEnum):
    """How a finding stands."""

    OK = "ok"
    NOTE = "note"  # works, but worth knowing
    BAD = "BAD"


class Row(NamedTuple):
    """One thing looked at."""

    health: Health
    what: str
    says: str


def examine(path: Path | None) -> Iterator[Row]:
    """A row for each thing looked at; those of a configuration only where ``path`` names one that can be read."""
    yield _python()
    yield from _libraries()
    yield _fonts()
    yield _page_3d()
    yield _sqlite()
    yield _memory()
    if path is None:
        return
    try:
        config = load_config(path)
        site_of(config, ())
    except ConfigError as error:
        yield from (Row(Health.BAD, "configuration", str(problem)) for problem in error.problems)
        return
    yield Row(Health.OK, "configuration", f"{path} and its tables can be read; icctwin check asks its sources")
    yield from _disk(config)
    yield from _store(config)
    yield _files(config)
    yield _port(config)
    yield from _certificate(config)
    yield from _secrets(config)
    yield from _open_to_others(config.store.path)


def _python() -> Row:
    said = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform(terse=True)}"
    if sys.version_info < LEAST_PYTHON:
        return Row(Health.BAD, "Python", f"{said}; 3.11 is the oldest that works: make PYTHON=/path/to/newer setup")
    return Row(Health.OK, "Python", said)


def _libraries() -> Iterator[Row]:
    wanted = [Requirement(text) for text in requires("icctwin") or ()]
    plain = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    if wrong := _unmet(plain):
        yield Row(Health.BAD, "libraries", f"{', '.join(wrong)}; run: make setup")
    else:
        yield Row(Health.OK, "libraries", f"icctwin {version('icctwin')}, all {len(plain)} that it needs are there")
    for extra, use in EXTRAS.items():
        mine = [one for one in wanted if one not in plain and one.marker and one.marker.evaluate({"extra": extra})]
        if wrong := _unmet(mine):
            todo = f"where you need it: make field, or pip install 'icctwin[{extra}]'"
            yield Row(Health.NOTE, f"extra {extra}", f"not installed ({use}); {todo}")
        elif mine:
            yield Row(Health.OK, f"extra {extra}", use)


def _unmet(wanted: Sequence[Requirement]) -> list[str]:
    wrong = []
    for one in wanted:
        try:
            if not one.specifier.contains(version(one.name), prereleases=True):
                wrong.append(f"{one.name} is {version(one.name)}, wanted {one.specifier}")
        except PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
    return wrong


def _fonts() -> Row:
    wrong = [why for language in ("en", "zh") if (why := no_font(language))]
    return Row(Health.NOTE, "fonts", "; ".join(wrong)) if wrong else Row(Health.OK, "fonts", "reports as PDF have theirs")


def _page_3d() -> Row:
    if (FOLDER / THREE).is_file():
        return Row(Health.OK, "3D page", "three.js is there")
    todo = "in a checkout run: make web; elsewhere install a wheel that make dist built"
    return Row(Health.NOTE, "3D page", f"three.js is missing, so /scene shows its plan alone; {todo}")


def _sqlite() -> Row:
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        return Row(Health.BAD, "SQLite", f"{sqlite3.sqlite_version} is older than {'.'.join(map(str, LEAST_SQLITE))}")
    return Row(Health.OK, "SQLite", sqlite3.sqlite_version)


def _memory() -> Row:
    there = psutil.virtual_memory()
    said = f"{there.available / 1e9:.1f} of {there.total / 1e9:.1f} GB free, {os.cpu_count()} cores"
    if there.available < LEAST_MEMORY_BYTES:
        return Row(Health.NOTE, "memory", f"{said}; a centre of 10,000 GPUs takes up to {LEAST_MEMORY_BYTES / 1e9:.1f} GB")
    return Row(Health.OK, "memory", said)


def _disk(config: Config) -> Iterator[Row]:
    folder = config.store.path
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK):
        yield Row(Health.BAD, "disk", f"{there} may not be written by this user; change its owner or [store] path")
    free = shutil.disk_usage(there).free
    wanted = config.store.max_bytes if config.store.type == "embedded" else config.store.spool_bytes
    said = f"{free / 1e9:.0f} GB free at {folder}"
    if free < LEAST_FREE_BYTES:
        yield Row(Health.BAD, "disk", f"{said}; below {LEAST_FREE_BYTES / 1e9:.0f} GB nothing is sure to be kept")
    elif free < wanted:
        yield Row(Health.NOTE, "disk", f"{said}, {wanted / 1e9:.0f} GB may be used; lower the bound in [store] or add disk")
    else:
        yield Row(Health.OK, "disk", f"{said}, at most {wanted / 1e9:.0f} GB will be used")
    kind = _file_system(there)
    if kind in REMOTE and config.store.type == "embedded":
        yield Row(Health.BAD, "file system", f"{folder} is on {kind}, where SQLite's locks do not hold; use a local disk")
    else:
        yield Row(Health.OK, "file system", kind or "local")


def _store(config: Config) -> Iterator[Row]:
    """Of which version the files are, where there are any: a later icctwin's are refused at a start."""
    path = config.store.path / "store.db"
    if not path.exists():
        return
    try:
        with closing(connect_reading(path)) as con:
            (found,) = con.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, SourceError) as error:
        yield Row(Health.BAD, "store", f"{path}: {error}; restore it from a backup")
        return
    said = f"version {found}, and this icctwin writes version {SCHEMA}"
    if found > SCHEMA:
        yield Row(Health.BAD, "store", f"{said}; start the later icctwin, or restore a backup of before into a new folder")
    else:
        yield Row(Health.OK, "store", said)


def _file_system(place: Path) -> str:
    """Type of the mount that holds ``place``; empty where it is not told."""
    found = [part for part in psutil.disk_partitions(all=True) if place.resolve().is_relative_to(part.mountpoint)]
    return max(found, key=lambda part: len(part.mountpoint)).fstype if found else ""


def _files(config: Config) -> Row:
    targets = sum(len(getattr(source.options, "targets", ())) or 1 for source in config.sources)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = targets + FILES_BESIDE_TARGETS
    if soft < wanted:
        todo = f"LimitNOFILE={2 * wanted} in the unit, or: ulimit -n {min(2 * wanted, hard)}"
        return Row(Health.BAD, "open files", f"at most {soft}, and {targets} targets want {wanted}; {todo}")
    return Row(Health.OK, "open files", f"at most {soft}, {wanted} wanted")


def _port(config: Config) -> Row:
    where = f"{config.wall.host}:{config.wall.port}"
    family = socket.AF_INET6 if ":" in config.wall.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.wall.host, config.wall.port))
        except OSError as error:
            return Row(Health.NOTE, "wall", f"{where} is not free ({error.strerror}): icctwin runs there, or name another port")
    return Row(Health.OK, "wall", f"{where} is free")


def _certificate(config: Config) -> Iterator[Row]:
    if config.wall.tls_cert and config.wall.tls_key:
        good, says = stands(config.wall.tls_cert, config.wall.tls_key, RealClock().now())
        yield Row(Health.OK if good else Health.BAD, "certificate", says)


def _secrets(config: Config) -> Iterator[Row]:
    secrets = [one for one in named_files(config) if one.secret and one.option != "tls_cert"]  # which has a row of its own
    public = {one.path for one in secrets if one.option in PUBLIC}
    paths = [one.path for one in secrets]
    made = [config.store.path / name for name in (KEY_FILE, "records.db")]
    for path in dict.fromkeys(paths + [one for one in made if one.exists()]):
        if not path.is_file():
            yield Row(Health.BAD, "secret", f"{path} does not exist; write it, readable for this user alone")
        elif not os.access(path, os.R_OK):
            yield Row(Health.BAD, "secret", f"{path} may not be read by this user")
        elif path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) and path not in public:
            yield Row(Health.NOTE, "secret", f"{path} is readable for others; chmod 600 {path}")
        else:
            yield Row(Health.OK, "secret", str(path))


def _open_to_others(folder: Path) -> Iterator[Row]:
    """Of what is kept, what others may read: a store's files are for their owner alone where icctwin makes them."""
    found: list[Path] = []
    where: dict[str, None] = {}
    for pattern in KEPT:
        for one in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # a centre that runs lets files go
                if one.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                    found.append(one)
                    where[str(folder / pattern)] = None
    if found:
        many = f"{len(found)} files of the store are" if len(found) > 1 else "a file of the store is"
        yield Row(Health.NOTE, "rights", f"{many} readable for others, such as {found[0]}; chmod 600 {' '.join(where)}")
