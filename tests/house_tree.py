"""The files of a tree, and what a check of it found."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("twin", "ingest", "analytics", "energy", "ui")
LEFT_BEHIND = {".git", ".venv", "__pycache__", "var", "build", "dist"}  # and whatever ends in _cache


class Found(NamedTuple):
    """How many things were looked at, and what is wrong with them."""

    seen: int
    faults: list[str]


def python(tree: Path, *places: str) -> list[Path]:
    found = [p for place in places for p in ((tree / place).rglob("*.py") if (tree / place).is_dir() else [tree / place])]
    return sorted(path for path in found if path.exists() and "__pycache__" not in path.parts)


def parsed(tree: Path, *places: str) -> Iterator[tuple[str, ast.Module]]:
    for path in python(tree, *places):
        yield str(path.relative_to(tree)), ast.parse(path.read_text(encoding="utf-8"), str(path))


def committed(tree: Path) -> list[Path]:
    """What is, or would be, committed: git's word where it is there, else all but what tools leave behind."""
    if (tree / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=tree, capture_output=True, check=True, text=True).stdout.split("\0")
        return [tree / name for name in names if name and (tree / name).is_file()]
    inside = (p for p in tree.rglob("*") if p.is_file())
    return [p for p in inside if not any(s in LEFT_BEHIND or s.endswith("_cache") for s in p.relative_to(tree).parts)]
