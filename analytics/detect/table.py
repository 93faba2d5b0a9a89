"""Tables in files: ``time,<metric…>`` in, ``time,score,alarm,metric`` out; and labels to judge a detector by.

A table with one column is judged by ``novelty``, with more by ``shift``. Either learns from the first rows and says so.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analytics.detect import novelty, shift
from analytics.detect.judge import Events, judge_events, vus_pr
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints
from twin.message import Message
from twin.site import Bools

MAX_LINES, MAX_COLUMNS, MAX_PROBLEMS = 2_000_000, 500, 50
TIME_NAMES = ("time", "timestamp", "datetime", "date")
LABEL_NAMES = ("anomaly", "label", "is_anomaly", "changepoint")  # columns that would tell the answer: never looked at
ONE_SHARE = 0.15  # of a single series that is learnt from: NAB's probation
MANY_LEAST, MANY_SHARE, MANY_MOST = 400, 0.2, 0.4  # rows, and shares, of a table with more columns


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """``stamps``: times as they were written; ``time_s``: float64[n], s since 1970, not decreasing; ``names``: m columns;
    ``values``: float64[n, m], NaN where the cell is empty; ``left_out``: columns of labels or without any number."""

    stamps: Sequence[str]
    time_s: Floats
    names: Sequence[str]
    values: Floats
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """``score``: float64[n], 1 is the alarm limit; ``alarm``: bool[n]; ``column``: int32[n], which deviates most;
    ``calibrated``: rows learnt from, in which there is no alarm; ``method``: ``shift`` or ``novelty``."""

    score: Floats
    alarm: Bools
    column: Ints
    calibrated: int
    method: str


def calibration_rows(rows: int, columns: int) -> int:
    """How many rows are learnt from where nobody says."""
    if columns == 1:
        return int(ONE_SHARE * rows)
    return int(min(max(MANY_LEAST, MANY_SHARE * rows), MANY_MOST * rows))


def learnable(table: Table, calibrated: int | None = None) -> Table:
    """``table`` without the columns that say nothing in the rows to learn from, where others do."""
    known = np.asarray(np.isfinite(table.values[: _learnt(table, calibrated)]).any(axis=0))
    if known.all() or not known.any():
        return table
    silent = [name for name, one in zip(table.names, known, strict=True) if not one]
    names = [name for name in table.names if name not in silent]
    return replace(table, names=names, values=table.values[:, known], left_out=[*table.left_out, *silent])


def _learnt(table: Table, calibrated: int | None) -> int:
    return calibration_rows(*table.values.shape) if calibrated is None else calibrated


def detect(table: Table, calibrated: int | None = None) -> Detected | Message:
    """Score every row of ``table``, having learnt from the first ``calibrated``; or why that cannot be."""
    rows, columns = table.values.shape
    learn = _learnt(table, calibrated)
    if not 0 < learn < rows:
        return Message("{learn} rows to learn from, of {rows}; leave some to be judged", {"learn": learn, "rows": rows})
    if columns == 1:
        made = novelty.score(table.time_s, table.values[:, 0], learn)
        if isinstance(made, Message):
            return made
        return Detected(*made, np.zeros(rows, dtype=np.int32), learn, "novelty")
    learnt = shift.fit(table.values[:learn])
    if isinstance(learnt, Message):
        return learnt
    scored = shift.score(learnt, table.values, learn)
    return Detected(scored.score, scored.alarm, scored.column, learn, "shift")


def read_table(path: Path) -> Table:
    """Read a CSV table (comma or semicolon) whose first line names the columns and whose first column is the time: ISO 8601
    (UTC where no zone is given) or seconds since 1970. Rows may share a time. ``ConfigError`` with every problem found."""
    problems: list[Problem] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=_delimiter(file.readline()))
            file.seek(0)
            names = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
            _check_header(path, names, problems)
            lines = list(_lines(path, reader, len(names), problems)) if not problems else []
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing CSV file")]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"is not a UTF-8 CSV file ({error})")]) from None
    if not problems and len(lines) < 2:
        problems.append(Problem(str(path), f"has {len(lines)} rows; a table needs at least 2"))
    if problems:
        raise ConfigError(problems)
    values = np.array([cells for _, _, cells in lines])
    keep = [i for i, name in enumerate(names[1:]) if name.lower() not in LABEL_NAMES and np.isfinite(values[:, i]).any()]
    if not keep:
        raise ConfigError([Problem(f"{path}:1", "has no column with a number beside the time; there is nothing to judge")])
    left_out = [name for i, name in enumerate(names[1:]) if i not in keep]
    stamps, time_s = [stamp for stamp, _, _ in lines], np.array([time_s for _, time_s, _ in lines])
    return Table(stamps, time_s, [names[1 + i] for i in keep], values[:, keep], left_out)


def _delimiter(header: str) -> str:
    return ";" if header.count(";") > header.count(",") else ","


def _check_header(path: Path, names: Sequence[str], problems: list[Problem]) -> None:
    if not names or names[0].lower() not in TIME_NAMES:
        first = names[0] if names else ""
        problems.append(Problem(f"{path}:1", f"the first column is {first!r}; the header must be time,<metric>,…"))
    elif len(names) < 2:
        problems.append(Problem(f"{path}:1", "there is no column beside the time; the header must be time,<metric>,…"))
    elif len(set(names)) < len(names):
        problems.append(Problem(f"{path}:1", "two columns have the same name; rename one"))
    elif len(names) > MAX_COLUMNS:
        problems.append(Problem(f"{path}:1", f"{len(names)} columns; the limit is {MAX_COLUMNS}: cut the table"))


def _lines(
    path: Path, reader: "Iterator[list[str]]", width: int, problems: list[Problem]
) -> Iterator[tuple[str, float, list[float]]]:
    """(time as written, s since 1970, values) of the lines that are in order; the others are noted."""
    newest_s = -math.inf
    for number, cells in enumerate(reader, 2):
        where = f"{path}:{number}"
        if len(problems) >= MAX_PROBLEMS:
            return
        if number > MAX_LINES:
            problems.append(Problem(where, f"more than {MAX_LINES} lines; cut the file"))
            return
        if not any(cells):
            continue
        time_s = seconds(cells[0])
        if len(cells) != width:
            problems.append(Problem(where, f"has {len(cells)} cells where the header has {width}; mend the line"))
        elif time_s is None:
            problems.append(Problem(where, f"time is {cells[0]!r}; write 2026-01-31T13:00:00Z or seconds since 1970"))
        elif time_s < newest_s:
            problems.append(Problem(where, "its time is earlier than that of a line before; sort the file"))
        else:
            newest_s = time_s
            row = [_number(cell) for cell in cells[1:]]
            bad = next((cell for cell, value in zip(cells[1:], row, strict=True) if value is None), None)
            if bad is not None:
                problems.append(Problem(where, f"{bad!r} is no finite number; leave the cell empty where nothing was read"))
            yield cells[0].strip(), time_s, [math.nan if value is None else value for value in row]


def seconds(cell: str) -> float | None:
    """Seconds since 1970 of a time as people write it; None where it is none."""
    try:
        time = datetime.fromisoformat(cell.strip())
    except ValueError:
        try:
            value = float(cell)
        except ValueError:
            return None
        return value if abs(value) < 1e11 else None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _number(cell: str) -> float | None:
    if cell.strip().lower() in ("", "nan", "null", "na"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def write_detected(path: Path, table: Table, made: Detected) -> None:
    """Columns ``time,score,alarm,metric``, a line for each row of the table with its time as it was written; ``metric`` is what
    deviates most while an alarm is on. ``ConfigError`` where the file cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "score", "alarm", "metric"])
            for stamp, score, alarm, column in zip(table.stamps, made.score, made.alarm, made.column, strict=True):
                writer.writerow([stamp, f"{score:.6g}", int(alarm), table.names[column] if alarm else ""])
    except OSError as error:
        what = f"cannot be written ({error.strerror}); name a file in an existing folder"
        raise ConfigError([Problem(str(path), what)]) from None


def read_labels(path: Path, time_s: Floats) -> Bools:
    """bool[n]: which rows are labelled, from a CSV file: either ``start,end`` (windows, both included) or a time and a column
    ``anomaly`` (0 or 1, from its time to that of the next row). ``ConfigError`` with every problem found."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=_delimiter(file.readline()))
            file.seek(0)
            header = [name.strip().lower() for name in next(reader, [])]
            lines = [(number, cells) for number, cells in enumerate(reader, 2) if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"cannot be read as CSV ({error})")]) from None
    if header[:2] == ["start", "end"]:
        columns = (0, 1)
    elif header and header[0] in TIME_NAMES and any(name in LABEL_NAMES for name in header):
        columns = (0, next(header.index(name) for name in LABEL_NAMES if name in header))
    else:
        raise ConfigError([Problem(f"{path}:1", "the header must be start,end or time,anomaly")])
    pairs, problems = [], []
    for number, cells in lines:
        pair = _pair(cells, columns, header[0] == "start")
        if pair is None:
            problems.append(Problem(f"{path}:{number}", f"cannot be read: {','.join(cells)[:80]!r}"))
        else:
            pairs.append(pair)
    if problems:
        raise ConfigError(problems[:MAX_PROBLEMS])
    if not pairs:
        return np.zeros(len(time_s), dtype=np.bool_)
    if header[0] == "start":
        return np.asarray(np.any([(time_s >= start) & (time_s <= end) for start, end in pairs], axis=0))
    at, flag = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    newest = np.searchsorted(at, time_s, side="right") - 1  # -1: before the first label nothing was said
    return np.asarray((newest >= 0) & (flag[newest] > 0))


def _pair(cells: Sequence[str], columns: tuple[int, int], window: bool) -> tuple[float, float] | None:
    if len(cells) <= max(columns):
        return None
    first = seconds(cells[columns[0]])
    second = seconds(cells[columns[1]]) if window else _number(cells[columns[1]])
    return None if first is None or second is None else (first, second)


def judge(table: Table, made: Detected, truth: Bools, rng: np.random.Generator) -> dict[str, float]:
    """What ``--score`` prints: figures on the rows that were not learnt from, beside random and "alarm always"."""
    rest = slice(made.calibrated, None)
    time_s, real, score = table.time_s[rest], truth[rest], made.score[rest]
    step_s = float(np.median(np.diff(table.time_s)))
    merge_s = min(30 * step_s, 3600.0)
    events = judge_events(time_s, made.alarm[rest], real, merge_s, early_s=10 * min(step_s, 1.0))
    random = rng.random(len(real))
    said = random >= np.quantile(random, 1 - max(made.alarm[rest].mean(), 1 / len(real)))
    chance = judge_events(time_s, said, real, merge_s)
    always = judge_events(time_s, np.ones(len(real), dtype=np.bool_), real, merge_s)
    return {
        **figures(events),
        "vus_pr": vus_pr(real, score),
        "random_event_f1": chance.f1,
        "random_vus_pr": vus_pr(real, random),
        "alarm_always_event_f1": always.f1,
    }


def figures(events: Events) -> dict[str, float]:
    """The figures of events, by the names that benches and cards use."""
    return {
        "event_f1": events.f1,
        "precision": events.precision,
        "recall": events.recall,
        "false_alarms_per_day": events.false_per(86400.0),
        "delay_s": float(np.median(events.delay_s)) if len(events.delay_s) else math.nan,
        "events": float(events.events),
    }
