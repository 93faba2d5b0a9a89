"""Jobs, curves and plans of demand response as files."""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from energy.respond import Curve, Loads
from energy.respond.plan import Response
from twin.errors import ConfigError, Problem

MAX_JOBS, MAX_PROBLEMS = 20_000, 50
_CURVE, _JOB = ("workload", "cap_w", "power_w", "throughput"), ("job", "gpus", "workload")


def read_curves(path: Path) -> dict[str, Curve]:
    """Curves of a CSV ``workload,cap_w,power_w,throughput``: of one GPU under each cap, throughput in any unit. ``ConfigError``
    with every problem."""
    rows = _rows(path, _CURVE)
    problems: list[Problem] = []
    points: dict[str, list[tuple[float, float, float]]] = {}
    for line, row in enumerate(rows, 2):
        try:
            cap_w, power_w, through = (float(row[name]) for name in _CURVE[1:])
            points.setdefault(row["workload"], []).append((cap_w, power_w, through))
        except ValueError:
            problems.append(Problem(f"{path}:{line}", "cap_w, power_w and throughput must be numbers"))
    curves = {}
    for name, found in points.items():
        table = np.array(sorted(found))
        try:
            curves[name] = Curve(table[:, 0], table[:, 1], table[:, 2] / table[-1, 2])
        except ValueError as error:
            problems.append(Problem(str(path), f"workload {name!r}: {error}"))
    if problems:
        raise ConfigError(problems[:MAX_PROBLEMS])
    return curves


def read_loads(path: Path, curves: Mapping[str, Curve]) -> Loads:
    """Jobs of a CSV ``job,gpus,workload`` and where wanted ``floor`` (0-1, default 0.5), ``weight`` (1), ``pausable`` (0),
    ``idle_w`` (what a GPU draws while its job is paused: 70)."""
    rows = _rows(path, _JOB)
    names, problems = list(curves), []
    if len(rows) > MAX_JOBS:
        raise ConfigError([Problem(str(path), f"has {len(rows)} jobs, over {MAX_JOBS}")])
    columns = []
    for line, row in enumerate(rows, 2):
        try:
            if row["workload"] not in curves:
                raise ValueError(f"workload {row['workload']!r} has no curve; curves are of {', '.join(names)}")
            columns.append((
                _number(row, "gpus", 0.0, lambda v: v > 0), float(names.index(row["workload"])),
                _number(row, "floor", 0.5, lambda v: 0 <= v <= 1), _number(row, "weight", 1.0, lambda v: v >= 0),
                _number(row, "pausable", 0.0, lambda v: v in (0, 1)), _number(row, "idle_w", 70.0, lambda v: v >= 0),
            ))  # fmt: skip
        except ValueError as error:
            problems.append(Problem(f"{path}:{line}", str(error)))
    if problems:
        raise ConfigError(problems[:MAX_PROBLEMS])
    table = np.array(columns).reshape(-1, 6).T
    ids = [row["job"] for row in rows]
    return Loads(ids, table[0], table[1].astype(np.int32), table[2], table[3], table[4] > 0, table[5], list(curves.values()))


def _number(row: Mapping[str, str], name: str, otherwise: float, fits: Callable[[float], bool]) -> float:
    text = (row.get(name) or "").strip()
    try:
        value = float(text) if text else otherwise
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise ValueError(f"{name} is {text!r}; see icctwin respond --help")
    return value


def _rows(path: Path, names: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing CSV file")]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), f"is not a UTF-8 CSV file ({error})")]) from None
    missing = [name for name in names if not rows or name not in rows[0]]
    if missing:
        raise ConfigError([Problem(f"{path}:1", f"has no column {name}, or no rows") for name in missing])
    return rows


def write_response(path: Path, loads: Loads, response: Response) -> None:
    """``time,target_w,expected_w,battery_w,hold,<job>…``: the cap of each job's GPUs [W] (empty: none, 0: paused)."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "target_w", "expected_w", "battery_w", "hold", *loads.ids])
            for i, time_s in enumerate(response.time_s.tolist()):
                target = float(response.target_w[i])
                caps = ["" if np.isnan(cap) else f"{cap:.0f}" for cap in response.cap_w[i].tolist()]
                head = (datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z"),
                        f"{target:.0f}" if np.isfinite(target) else "", f"{response.expected_w[i]:.0f}",
                        f"{response.battery_w[i]:.0f}", int(response.hold[i]))  # fmt: skip
                writer.writerow([*head, *caps])
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written ({error.strerror}); name another file")]) from None
