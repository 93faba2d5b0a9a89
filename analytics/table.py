"""Series in files: ``time,value`` in, ``time,p10,p50,p90`` out. What the command line forecasts from and to."""

import csv
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analytics.forecast import Forecast, Score, forecast_series
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.message import Message

MAX_LINES = 2_000_000
MAX_PROBLEMS = 50  # of one file


def forecast_file(source: Path, out: Path, horizon: int) -> Score | Message:
    """Foresee ``horizon`` steps of the series in ``source`` and write them to ``out``; the score, or why there is no forecast
    (then nothing is written). ``ConfigError`` with every bad line, and where a file cannot be read or written."""
    time_s, values = read_series(source)
    step_s = float(np.median(np.diff(time_s)))
    issued = datetime.fromtimestamp(time_s[-1] + step_s, UTC)
    made = forecast_series(time_s, values, issued, horizon, step_s)
    if isinstance(made, Message):
        return made
    write_forecast(out, made)
    return made.score


def read_series(path: Path) -> tuple[Floats, Floats]:
    """(s since 1970 UTC, increasing; values, NaN where the cell is empty), float64[n] each, n of at least 2.

    The file is CSV with a header that names ``time`` (ISO 8601 with zone, or seconds since 1970) and ``value``. ``ConfigError``
    with every problem found."""
    problems: list[Problem] = []
    times: list[float] = []
    values: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for where, time_s, value in _rows(path, csv.DictReader(file), problems):
                if times and time_s <= times[-1]:
                    problems.append(
                        Problem(where, "its time is not later than that of the line before; sort, and keep one of each")
                    )
                times.append(time_s)
                values.append(value)
                if len(problems) >= MAX_PROBLEMS:
                    break
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing CSV file")]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"is not a UTF-8 CSV file ({error})")]) from None
    if not problems and len(times) < 2:
        problems.append(Problem(str(path), f"has {len(times)} rows; a series needs at least 2"))
    if problems:
        raise ConfigError(problems)
    return np.array(times), np.array(values)


def _rows(path: Path, reader: "csv.DictReader[str]", problems: list[Problem]) -> Iterator[tuple[str, float, float]]:
    """(where, time, value) of the lines that are in order; the others are noted."""
    header = [name.strip() for name in reader.fieldnames or ()]
    missing = [name for name in ("time", "value") if name not in header]
    if missing:
        problems.append(Problem(f"{path}:1", f"no column {missing[0]!r} in {header}; the header must name time and value"))
        return
    reader.fieldnames = header
    for cells in reader:
        where = f"{path}:{reader.line_num}"
        if reader.line_num > MAX_LINES:
            problems.append(Problem(where, f"more than {MAX_LINES} lines; cut the file"))
            return
        time_s, value = _time_s(cells["time"] or ""), _value(cells["value"] or "")
        if time_s is None:
            problems.append(
                Problem(where, f"time is {cells['time']!r}; write 2026-01-31T13:00:00Z, with its zone, or seconds since 1970")
            )
        elif value is None:
            problems.append(
                Problem(where, f"value is {cells['value']!r}; write a number, or leave it empty where nothing was measured")
            )
        else:
            yield where, time_s, value


def _time_s(cell: str) -> float | None:
    try:
        time = datetime.fromisoformat(cell.strip())
    except ValueError:
        try:
            seconds = float(cell)
        except ValueError:
            return None
        return seconds if abs(seconds) < 1e11 else None
    return time.timestamp() if time.tzinfo else None


def _value(cell: str) -> float | None:
    if cell.strip().lower() in ("", "nan", "null"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def write_forecast(path: Path, made: Forecast) -> None:
    """Columns ``time,p10,p50,p90``; times in ISO 8601, UTC. ``ConfigError`` where the file cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "p10", "p50", "p90"])
            for time_s, *quantiles in zip(made.time_s, made.p10, made.p50, made.p90, strict=True):
                time = datetime.fromtimestamp(float(time_s), UTC).isoformat().replace("+00:00", "Z")
                writer.writerow([time, *(f"{value:.10g}" for value in quantiles)])
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be written ({error.strerror}); name a file in an existing folder")]
        ) from None
