"""Where something stands in a TOML file: its library does not say, so the text is looked through."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem

Place = tuple[str | int, ...]

_HEAD = re.compile(r"""(\[\[?)\s*([\w."' -]+?)\s*\]\]?\s*(#.*)?$""")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^."'\s]+))\s*(?:\.|$)""")
# what the parts of a configuration call their place: source NAME, [[energy.place]] NAME, [energy.limits] locked
_SOURCE = re.compile(r"(?:source|\[\[source\]\]) (.+)")
_ENTRY = re.compile(r"\[\[([\w.]+)\]\] (.+)")
_SECTION = re.compile(r"\[([\w.]+)\](?: (\w+))?")


def line_of(lines: Sequence[str], place: Place) -> int:
    """Line (from 1) on which ``place`` (section, number of the entry, key, and so on inwards) stands, as near as the text
    tells."""
    best, found = 0, 1
    table: Place = ()
    entries: dict[Place, int] = {}  # of each list of tables the number of the one that goes on
    for i, line in enumerate(lines, 1):
        text = line.strip()
        if head := _HEAD.match(text):
            table = _table(_keys(head[2]), entries, begins=head[1] == "[[")
            there = table
        elif "=" in text and not text.startswith("#"):
            there = (*table, *_keys(text.split("=")[0]))
        else:
            continue
        fits = min(len(there), len(place))  # a list stands where its first entry does
        if fits > best and place[:fits] == there[:fits]:
            best, found = fits, i
    return found


def _keys(text: str) -> tuple[str, ...]:
    return tuple(next(part for part in found if part) for found in _PART.findall(text) if any(found))


def _table(keys: tuple[str, ...], entries: dict[Place, int], *, begins: bool) -> Place:
    """The place of the table ``keys``; ``begins``: the next entry of a list."""
    there: Place = ()
    for n, key in enumerate(keys, 1):
        there = (*there, key)
        if begins and n == len(keys):
            entries[there] = entries.get(there, -1) + 1
        if there in entries:
            there = (*there, entries[there])
    return there


@dataclass(frozen=True, slots=True)
class Written:
    """The file that a configuration was read from: its lines, and what TOML makes of them."""

    path: Path
    lines: Sequence[str]
    raw: Mapping[str, Any]

    def located(self, problem: Problem) -> Problem:
        """``problem`` with file and line before what it calls its place, where that is of this file."""
        place = self._place(problem.where)
        if place is None:
            return problem
        return Problem(f"{self.path}:{line_of(self.lines, place)}: {problem.where}", problem.what)

    def _place(self, where: str) -> Place | None:
        if source := _SOURCE.fullmatch(where):
            return self._entry(("source",), source[1])
        if entry := _ENTRY.fullmatch(where):
            return self._entry(tuple(entry[1].split(".")), entry[2])
        if section := _SECTION.fullmatch(where):
            return (*section[1].split("."), *([section[2]] if section[2] else []))
        return None

    def _entry(self, keys: tuple[str, ...], name: str) -> Place | None:
        """The entry of the list ``keys`` that is called ``name``; more may stand behind its name (``NAME: registers.toml``)."""
        there: Any = self.raw
        for key in keys:
            there = there.get(key, {}) if isinstance(there, Mapping) else {}
        named = [str(one.get("name")) if isinstance(one, Mapping) else "" for one in there]
        fits = [i for i, one in enumerate(named) if one and (name == one or name.startswith(f"{one}: "))]
        return (*keys, max(fits, key=lambda i: len(named[i]))) if fits else None


@contextmanager
def located(written: Written | None) -> Iterator[None]:
    """What is refused inside says file and line, where it is of the file that was ``written``."""
    try:
        yield
    except ConfigError as error:
        if written is None:
            raise
        raise type(error)([written.located(one) for one in error.problems]) from error
