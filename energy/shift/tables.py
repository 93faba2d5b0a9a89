"""Shifting from and to files: ``icctwin plan`` reads jobs and a signal, and writes when each job should run."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from energy.shift import Schedule, Work
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.site import Bools

MAX_JOBS, MAX_SLOTS, MAX_PROBLEMS = 200_000, 100_000, 50
NEEDED = ("id", "earliest", "deadline")
LENGTHS: Mapping[str, float] = {"duration_s": 1.0, "duration_min": 60.0, "duration_h": 3600.0}
GPU_W = 1_000.0  # of a GPU with its share of the server and its cooling, where a job does not say; assumed


@dataclass(frozen=True, slots=True, eq=False)
class JobFile:
    """Jobs as a file has them. Times in s since 1970 UTC; ``nominal_s``: when each would start without shifting; ``tenants``:
    whose each is, "" where nobody says."""

    ids: Sequence[str]
    earliest_s: Floats
    nominal_s: Floats
    deadline_s: Floats
    duration_s: Floats
    gpus: Floats
    power_w: Floats
    interruptible: Bools
    tenants: Sequence[str]

    def work(self, start_s: float, step_s: float) -> Work:
        """In slots of ``step_s`` from ``start_s`` on: a job begins with a slot, and a slot begun is a slot taken."""
        earliest = np.ceil((self.earliest_s - start_s) / step_s - 1e-9)
        due = np.floor((self.deadline_s - start_s) / step_s + 1e-9)
        length = np.maximum(np.ceil(self.duration_s / step_s - 1e-9), 1)
        columns = [np.asarray(column, dtype=np.int32) for column in (length, np.maximum(earliest, 0), due)]
        return Work(self.gpus, self.power_w, columns[0], columns[1], columns[2], self.interruptible)

    def nominal(self, start_s: float, step_s: float) -> np.ndarray:
        """int32[n]: slots in which they would start without shifting."""
        return np.maximum(np.ceil((self.nominal_s - start_s) / step_s - 1e-9), 0).astype(np.int32)


def read_jobs(path: Path) -> JobFile:
    """Jobs of a CSV file with the columns ``id``, ``earliest``, ``deadline`` (ISO 8601 with zone, or s since 1970), one of
    ``duration_s``, ``duration_min``, ``duration_h``, and where wanted ``gpus`` (1), ``power_w`` (GPUs times ``GPU_W``),
    ``interruptible`` (0), ``nominal`` (when it would start without shifting: ``earliest``) and ``tenant`` (whose it is).
    ``ConfigError`` with every problem."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = set(reader.fieldnames or ())
            lengths = [name for name in LENGTHS if name in names]
            missing = [name for name in NEEDED if name not in names] + ([] if lengths else [" or ".join(LENGTHS)])
            if missing:
                raise ConfigError([Problem(f"{path}:1", f"has no column {name}; see icctwin plan --help") for name in missing])
            rows = list(_rows(path, reader, lengths[0]))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing CSV file")]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"is not a UTF-8 CSV file ({error})")]) from None
    columns = [np.array([row[i] for row in rows], dtype=np.float64) for i in range(1, 8)]
    earliest_s, nominal_s, deadline_s, duration_s, gpus, power_w, pauses = columns
    whose = [row[8] for row in rows]
    return JobFile([row[0] for row in rows], earliest_s, nominal_s, deadline_s, duration_s, gpus, power_w, pauses > 0, whose)


_Row = tuple[str, float, float, float, float, float, float, float, str]


def _rows(path: Path, reader: "csv.DictReader[str]", length: str) -> list[_Row]:
    problems: list[Problem] = []
    rows: list[_Row] = []
    first: dict[str, int] = {}
    for cells in reader:
        where = f"{path}:{reader.line_num}"
        try:
            row = _row(cells, length)
            if row[0] in first:
                raise ValueError(f"id {row[0]!r} stands twice (first in line {first[row[0]]})")
            if len(rows) >= MAX_JOBS:
                raise ValueError(f"is over {MAX_JOBS} jobs; plan in parts")
            first[row[0]] = reader.line_num
            rows.append(row)
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise ConfigError(problems)
    return rows


def _row(cells: Mapping[str, str | None], length: str) -> _Row:
    def said(name: str, read: Callable[[str], Any], default: Any = None) -> Any:
        text = (cells.get(name) or "").strip()
        if not text and default is not None:
            return default
        try:
            return read(text)
        except ValueError:
            raise ValueError(f"{name} is {text!r}; {_WANTED[read.__name__]}") from None

    earliest_s, deadline_s = said("earliest", _time), said("deadline", _time)
    duration_s = said(length, _above_0) * LENGTHS[length]
    gpus = said("gpus", _above_0, 1.0)
    if deadline_s <= earliest_s:
        raise ValueError("deadline is not after earliest")
    nominal_s = said("nominal", _time, earliest_s)
    if nominal_s < earliest_s:
        raise ValueError("nominal is before earliest")
    power_w = said("power_w", _above_0, gpus * GPU_W)
    return (
        said("id", _name), earliest_s, nominal_s, deadline_s, duration_s, gpus, power_w, said("interruptible", _flag, 0.0),
        (cells.get("tenant") or "").strip(),
    )  # fmt: skip


def _time(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text) from None
        return moment.timestamp()
    if not np.isfinite(seconds):
        raise ValueError(text)
    return seconds


def _above_0(text: str) -> float:
    value = float(text)
    if not (np.isfinite(value) and value > 0):
        raise ValueError(text)
    return value


def _flag(text: str) -> float:
    value = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}.get(text.lower())
    if value is None:
        raise ValueError(text)
    return value


def _name(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


_WANTED = {
    "_time": "write ISO 8601 with a zone (2026-11-25T18:00Z) or seconds since 1970",
    "_above_0": "write a number above 0",
    "_flag": "write 0 or 1",
    "_name": "write a name",
}


def write_plan(path: Path, jobs: JobFile, schedule: Schedule, start_s: float, step_s: float) -> None:
    """``id,start,end,runs,late``: first and last moment of each job, its runs as ``start/end`` (several where it pauses), and 1
    where it ends after its deadline. A job without room has empty cells. ``ConfigError`` where the file cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "start", "end", "runs", "late"])
            for j, name in enumerate(jobs.ids):
                runs = [(_iso(start_s + a * step_s), _iso(start_s + b * step_s)) for a, b in _runs(schedule.running[j])]
                ends = (runs[0][0], runs[-1][1]) if runs else ("", "")
                writer.writerow([name, *ends, ";".join(f"{a}/{b}" for a, b in runs), int(schedule.late[j])])
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written ({error.strerror}); name another file")]) from None


def _runs(running: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], running.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")
