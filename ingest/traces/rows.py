"""What readers of tables share: times in either form, and a count of rows that were left out."""

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from twin.errors import ConfigError, Problem
from twin.sim.trace import MAX_JOBS


class Refusals:
    """Reasons why rows were left out: reason -> (how many, the first place)."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, where: str) -> None:
        """One more row."""
        count, first = self.found.get(reason, (0, where))
        self.found[reason] = (count + 1, first)


def seconds(text: str) -> float:
    """A time as seconds since 1970: a number as it is, ISO 8601 with its zone or, without one, as UTC; else NaN."""
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def number(text: str) -> float:
    """A number, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def table(path: Path, needed: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of a delimited file with a header; at most ``MAX_JOBS`` rows. ``ConfigError`` where a needed
    column is missing or there are more."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        header = [cell.strip() for cell in next(reader, [])]
        missing = [column for column in needed if column not in header]
        if missing:
            raise ConfigError([Problem(f"{path}:1", f"no column {missing[0]!r}; it needs {', '.join(needed)}")])
        for count, cells in enumerate(reader):
            if count >= MAX_JOBS:
                raise ConfigError([Problem(f"{path}:{reader.line_num}", f"more than {MAX_JOBS} rows; split the file")])
            yield reader.line_num, dict(zip(header, cells, strict=False))
