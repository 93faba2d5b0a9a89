"""Put a backup of ``ui.backup`` back: into a new folder, every byte checked before anything appears there."""

import hashlib
import json
import os
import re
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO

import zstandard
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ingest.stores.embedded.files import SCHEMA
from ingest.stores.registry import StoreOptions
from twin.errors import ConfigError, Problem, SourceError
from ui.backup import FORMAT, MANIFEST, STORE

MAX_MANIFEST_BYTES = 64 * 2**20
_USUAL = str(StoreOptions.model_fields["path"].default)
_PATH = re.compile(r"""\bpath["']?[ \t]*=[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*')""")


class _Version(BaseModel):
    """What every manifest begins with, of whatever version."""

    model_config = ConfigDict(strict=True)
    format: int
    store_schema: int = Field(alias="schema")
    icctwin: str


class _File(BaseModel):
    model_config = ConfigDict(strict=True)
    sha256: str


class _About(BaseModel):
    """A manifest: ``config`` and ``store`` are names inside the centre's folder."""

    model_config = ConfigDict(strict=True)
    time: AwareDatetime
    config: str = Field(min_length=1)
    store: str | None
    files: dict[str, _File]
    left_out: list[str]

    @field_validator("config", "store")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and (PurePath(value).is_absolute() or ".." in PurePath(value).parts):
            raise ValueError(f"{value} is no place inside it")
        return value


@dataclass(frozen=True, slots=True)
class Restored:
    """``config``: the configuration to start with, ``ready``: as it is; ``notes``: what a person has yet to know and to do."""

    config: Path
    ready: bool
    time: datetime
    files: int
    notes: Sequence[str]


def restore(file: Path, into: Path) -> Restored:
    """Put the centre of ``file`` into the folder ``into``, which must not exist or be empty; every byte is checked before it
    appears. ``ConfigError`` for a file that is no backup of ours, is damaged, or is of a later version."""
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConfigError([Problem(str(into), "is not empty and stays as it is; name a new folder")])
    if not file.is_file():
        raise ConfigError([Problem(str(file), "is no file; name a backup of icctwin")])
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".icctwin-") as scratch:
            about = _unpack(file, Path(scratch))
            target = Path(scratch) / "whole"
            (Path(scratch) / "site").mkdir(exist_ok=True)
            (Path(scratch) / "site").rename(target)
            place = about.store or STORE
            if (Path(scratch) / STORE).exists():
                (target / place).mkdir(parents=True, exist_ok=True)  # an earlier icctwin put what was adopted there as well
                for one in (Path(scratch) / STORE).iterdir():
                    one.replace(target / place / one.name)
            said, ready = _moved(target / about.config, place)
            if into.exists():
                into.rmdir()
            target.rename(into)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError) as error:
        raise ConfigError([Problem(str(file), f"is no whole backup of icctwin ({error}); take another")]) from error
    except OSError as error:
        raise SourceError(f"the backup cannot be put back: {error}") from error
    config = into / about.config
    notes = [f"not in the backup: {what}" for what in about.left_out]
    if ready and os.path.normpath(said) != place:
        notes.insert(0, f"[store] path of {config} names {into / place} now, not {said}")
    elif not ready:
        notes.insert(0, f'[store] path of {config} names {said}: write path = "{place}" there before you start with it')
    return Restored(config, ready, about.time, len(about.files), notes)


def _moved(config: Path, place: str) -> tuple[str, bool]:
    """Let the configuration name ``place``, of its own folder, as that of its store, where it names another: that may hold the
    store of the centre that the backup was taken of. What it named, and whether it names ``place`` now: not where the old name
    stands in a way that is not known here. ``ValueError`` where it is no TOML."""
    text = config.read_bytes().decode("utf-8")
    said = _path_of(text)
    if os.path.normpath(said) == place:
        return said, True
    for found in _PATH.finditer(text):
        new = text[: found.start(1)] + json.dumps(place, ensure_ascii=False) + text[found.end(1) :]
        with suppress(tomllib.TOMLDecodeError):  # as where it stands inside another text
            if _path_of(new) == place:
                config.write_bytes(new.encode("utf-8"))
                return said, True
    return said, False


def _path_of(text: str) -> str:
    """What a configuration says under ``[store] path``."""
    store = tomllib.loads(text.removeprefix("\ufeff")).get("store", {})
    return str(store.get("path", _USUAL)) if isinstance(store, dict) else _USUAL


def _unpack(file: Path, scratch: Path) -> _About:
    """Everything in ``file`` into ``scratch``; what its manifest says, once all of it was found true."""
    sums: dict[str, str] = {}
    about: _About | None = None
    with (
        file.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for entry in archive:
            if entry.name == MANIFEST:
                about = _manifest(file, archive.extractfile(entry))
                continue
            if about or not entry.isfile() or not entry.name.startswith(("site/", f"{STORE}/")):
                raise tarfile.TarError(f"{entry.name} has no place in one")
            archive.extract(entry, scratch, filter="data")
            with (scratch / entry.name).open("rb") as found:
                sums[entry.name] = hashlib.file_digest(found, "sha256").hexdigest()
        while stream.read(2**16):  # to the end, where the checksum over everything stands
            pass
    if about is None:
        raise tarfile.TarError("its end is missing")
    if f"site/{about.config}" not in sums:
        raise tarfile.TarError(f"its configuration {about.config} is missing")
    written = {name: one.sha256 for name, one in about.files.items()}
    for name in sorted(written.keys() | sums.keys()):
        if sums.get(name) != written.get(name):
            raise tarfile.TarError(f"{name} is not what was written")
    return about


def _manifest(file: Path, stream: IO[bytes] | None) -> _About:
    text = stream.read(MAX_MANIFEST_BYTES) if stream else b""
    try:
        version = _Version.model_validate_json(text)
        if version.format > FORMAT or version.store_schema > SCHEMA:
            what = f"was written by icctwin {version.icctwin}, a later one; restore it with that"
            raise ConfigError([Problem(str(file), what)])
        return _About.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise tarfile.TarError(": ".join([MANIFEST, *map(str, first["loc"]), first["msg"]])) from error
