"""The files that a configuration names, whichever section, source or on-call file does: what a backup takes along, what it must
not, and whose rights ``icctwin doctor`` looks at."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from ui.config import SECTIONS, Config

TABLES = ("tariff_file",)  # end as the options of secrets do, and hold none
SHOWN = ("tls_cert", "tls_key", "ca")  # secrets and certificates whose options end otherwise
TEXTS = ("mapping", "file_sd")  # a path of one's own, absolute by now, where else a name of what ships stands; a pattern
_PLACED = "file:"  # before the path of an on-call file's secret


class Named(NamedTuple):
    """``secret``: a secret or a certificate, which no backup takes along."""

    option: str
    path: Path
    secret: bool


def named_files(config: Config) -> Iterator[Named]:
    """Each file and folder that ``config`` and its on-call file name, there or not, once for each option that names it."""
    parts = [getattr(config, section) for section in SECTIONS] + [source.options for source in config.sources]
    for part in parts:
        for option, path in _paths("", part):
            yield Named(option, path, option in SHOWN or (option.endswith("_file") and option not in TABLES))
    if config.alerts.oncall:
        yield from _of_oncall(config.alerts.oncall)


def _paths(option: str, value: Any) -> Iterator[tuple[str, Path]]:
    if isinstance(value, BaseModel):
        for name, one in value:
            yield from _paths(name, one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _paths(option, one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _paths(option, one)
    elif isinstance(value, Path):
        yield option, value
    elif isinstance(value, str) and option in TEXTS and Path(value).is_absolute():
        path = Path(value)
        found = path.parent.glob(path.name) if any(sign in path.name for sign in "*?[") else [path]
        yield from ((option, one) for one in sorted(found))


def _of_oncall(file: Path) -> Iterator[Named]:
    """Of an on-call file; nothing where it cannot be read, as its own reader says: a centre is backed up all the same."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in ("schedule", "maintenance"):
        for entry in _tables(raw.get(name)):
            if isinstance(calendar := entry.get("calendar"), str):
                yield Named("calendar", file.parent / calendar, secret=False)
    for entry in (*_tables([raw.get("delivery")]), *_tables(raw.get("channel")), *_tables(raw.get("heartbeat"))):
        for option, said in entry.items():
            if isinstance(said, str) and (option in SHOWN or said.startswith(_PLACED)):
                yield Named(option, file.parent / said.removeprefix(_PLACED), secret=True)


def _tables(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
