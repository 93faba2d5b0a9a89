"""Series in files: ``time,value`` in, ``time,p10,p50,p90`` out. What the command line forecasts from and to."""

import csv
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from analytics.forecast import Aids, Forecast, forecast_series
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.message import Message

MAX_LINES = 2_000_000
MAX_PROBLEMS = 50  # of one file
MISSING = ("", "nan", "null", "none", "na", "n/a", "-", "?")


def forecast_file(
    source: Path, horizon: int, aids: Aids | None = None, tell: Callable[[str], None] = lambda line: None
) -> Forecast | Message:
    """Foresee ``horizon`` steps of the series in ``source``, from its last step on; or why there is no forecast.
    ``ConfigError`` with every bad line, and where the file cannot be read."""
    aids = aids or Aids()
    time_s, values = read_series(source, aids.zone)
    tell(f"{source}: {len(time_s)} rows; judging the models at past moments")
    step_s = usual_step_s(time_s)
    if step_s <= 0:
        return Message("all times of the series are the same", {})
    known = np.isfinite(values)
    last_s = float(time_s[known].max()) if known.any() else 0.0
    issued = datetime.fromtimestamp(last_s + step_s, UTC)
    return forecast_series(time_s, values, issued, horizon, step_s, aids=aids)


def usual_step_s(time_s: Floats) -> float:
    """The commonest difference of neighbouring times, to the second; 0 where all are the same."""
    apart = np.diff(np.unique(time_s)).round()
    apart = apart[apart > 0]
    if not len(apart):
        return 0.0
    steps, count = np.unique(apart, return_counts=True)
    return float(steps[count.argmax()])


def read_series(path: Path, zone: str = "") -> tuple[Floats, Floats]:
    """(s since 1970 UTC; values, NaN where nothing was measured, infinite where the file says so), float64[n] each, n of at
    least 2, in the order of the file.

    The file is CSV with a header that names ``time`` (ISO 8601, or seconds since 1970) and ``value``. Times without a zone are
    local to ``zone``: of an hour that comes twice as the clocks go back, the first time is the first. ``ConfigError`` with
    every problem found."""
    problems: list[Problem] = []
    times: list[float] = []
    values: list[float] = []
    reader_of_times = _Times(zone)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for time_s, value in _rows(path, csv.DictReader(file), reader_of_times, problems):
                times.append(time_s)
                values.append(value)
                if len(problems) >= MAX_PROBLEMS:
                    break
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name a CSV file")]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"is not a UTF-8 CSV file ({error})")]) from None
    if not problems and len(times) < 2:
        problems.append(Problem(str(path), f"has {len(times)} rows; a series needs at least 2"))
    if problems:
        raise ConfigError(problems)
    return np.array(times), np.array(values)


def _rows(path: Path, reader: "csv.DictReader[str]", times: "_Times", problems: list[Problem]) -> Iterator[tuple[float, float]]:
    """(time, value) of the lines that are in order; the others are noted."""
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
        time_s, value = times.read(cells["time"] or ""), _value(cells["value"] or "")
        if isinstance(time_s, str):
            problems.append(Problem(where, f"time is {cells['time']!r}; {time_s}"))
        elif value is None:
            problems.append(
                Problem(where, f"value is {cells['value']!r}; write a number, or leave it empty where nothing was measured")
            )
        else:
            yield time_s, value
        if len(problems) >= MAX_PROBLEMS:
            return


class _Times:
    """Reads times; knows which of two equal local times comes second."""

    def __init__(self, zone: str) -> None:
        self._last_s = -math.inf
        try:
            self._zone = ZoneInfo(zone) if zone else None
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError([Problem("--zone", f"there is no time zone {zone!r}; write Asia/Shanghai, say")]) from None

    def read(self, cell: str) -> float | str:
        """Seconds since 1970 UTC, or what to do about it."""
        try:
            time = datetime.fromisoformat(cell.strip())
        except ValueError:
            return self._number(cell)
        if time.tzinfo is None:
            if self._zone is None:
                return "write 2026-01-31T13:00:00Z, with its zone, or say whose local time it is with --zone"
            local = time.replace(tzinfo=self._zone)
            if local.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != time:
                return f"there was no such time in {self._zone.key}: the clocks went forward"
            second = local.replace(fold=1)
            ambiguous = second.utcoffset() != local.utcoffset() and local.timestamp() <= self._last_s
            time = second if ambiguous else local
        self._last_s = time.timestamp()
        return self._last_s

    @staticmethod
    def _number(cell: str) -> float | str:
        try:
            seconds = float(cell)
        except ValueError:
            return "write 2026-01-31T13:00:00Z, with its zone, or seconds since 1970"
        return seconds if abs(seconds) < 1e11 else "that is more than 3,000 years off; write seconds since 1970"


def _value(cell: str) -> float | None:
    if cell.strip().lower() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def write_forecast(path: Path, made: Forecast) -> None:
    """Columns ``time,p10,p50,p90``; times in ISO 8601, UTC. ``ConfigError`` where the file cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "p10", "p50", "p90"])
            for time_s, *quantiles in zip(made.time_s, made.p10, made.p50, made.p90, strict=True):
                time = iso(float(time_s))
                writer.writerow([time, *(f"{value:.10g}" for value in quantiles)])
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be written ({error.strerror}); name a file in an existing folder")]
        ) from None


def iso(time_s: float) -> str:
    """ISO 8601, UTC."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=time_s)).isoformat().replace("+00:00", "Z")
