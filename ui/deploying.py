"""Files that keep icctwin running: systemd units, a container file, a compose file with InfluxDB, a Helm chart."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from twin.errors import ConfigError, Problem

SHIPPED = Path(__file__).with_name("deploy")
WAYS = ("systemd", "container", "compose", "helm")
_CONTAINER = ("Containerfile", "Containerfile.dockerignore")


def write_deploy(out: Path, ways: Sequence[str], programs: Path, config: Path) -> Sequence[Path]:
    """Write the files of ``ways`` into ``out`` and give their paths. ``programs``: the folder that holds ``icctwin``, and
    ``config``: the configuration, as units name them. ``ConfigError`` where one is there already and another than ours."""
    made = {out / path.relative_to(SHIPPED): path for way in ways for path in _files(way)}
    filled = {to: _filled(path, programs, config) for to, path in made.items()}
    kept = [to for to, body in filled.items() if to.exists() and to.read_bytes() != body]
    if kept:
        raise ConfigError([Problem(str(to), "is there already and stays as it is; name another folder") for to in kept])
    for to, body in filled.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(body)
        shutil.copymode(made[to], to)
    return list(filled)


def _files(way: str) -> Sequence[Path]:
    if way == "container":
        return [SHIPPED / name for name in _CONTAINER]
    return sorted(path for path in (SHIPPED / way).rglob("*") if path.is_file())


def _filled(path: Path, programs: Path, config: Path) -> bytes:
    """The file; in a unit with the places that it starts from."""
    body = path.read_bytes()
    if path.parent.name != "systemd":
        return body
    return body.replace(b"@BIN@", str(programs).encode()).replace(b"@CONFIG@", str(config).encode())
