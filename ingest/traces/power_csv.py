"""Recorded power in CSV: ``time`` (s or ISO 8601) and a column for each asset, named by its id, in W.

``power[3]`` is the third CDU of the site and ``OA Wetbulb Temp`` the wet bulb, as in the Frontier-shaped recording of
HewlettPackard/sustain-lc; ``wet_bulb_c``, ``dry_bulb_c``, ``carbon_gco2_per_kwh``, ``price_per_mwh`` are weather and grid.
"""

import re
from pathlib import Path

import numpy as np

from ingest.traces import Reading
from ingest.traces.rows import seconds, table
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.sim.outlook import SIGNALS, Line
from twin.sim.telemetry import Telemetry

NUMBERED_CDU = re.compile(r"^power\[(\d+)\]$")
_SIGNALS = {name: name for name in SIGNALS} | {
    "OA Wetbulb Temp": "wet_bulb_c",
    "avg_CI": "carbon_gco2_per_kwh",
    "Real price": "price_per_mwh",
}
_TIMES = ("time", "time_s", "timestamp", "")


def read(path: Path) -> Reading:
    """Power of every column that is neither a time nor weather nor grid; ``cdu:3`` stands for the third CDU."""
    time_s, names, values = columns_of(path)
    lines = {_SIGNALS[name]: Line(time_s, values[:, i]) for i, name in enumerate(names) if name in _SIGNALS}
    power = [i for i, name in enumerate(names) if name not in _SIGNALS]
    if not power:
        raise ConfigError([Problem(f"{path}:1", "no column of power; name one after a rack, CDU or hall")])
    assets = tuple(f"cdu:{match[1]}" if (match := NUMBERED_CDU.match(names[i])) else names[i] for i in power)
    return Reading(Telemetry(time_s, assets, values[:, power]), lines)


def read_lines(path: Path) -> dict[str, Line]:
    """Weather and grid of a CSV file; other columns are left alone. Cells that are empty are no values of their series."""
    time_s, names, values = columns_of(path, wanted=tuple(_SIGNALS))
    lines = {}
    for i, name in enumerate(names):
        there = ~np.isnan(values[:, i])
        lines[_SIGNALS[name]] = Line(time_s[there], values[there, i])
    if not lines:
        raise ConfigError([Problem(f"{path}:1", f"no column of weather or grid; known: {', '.join(SIGNALS)}")])
    return lines


def columns_of(path: Path, wanted: tuple[str, ...] = ()) -> tuple[Floats, list[str], Floats]:
    """Times, names and float64[t, n] of a table with a time column; only ``wanted`` names where given.

    ``ConfigError`` names the first cell that is no number (an empty one is NaN), a missing column of time and the first row
    whose time does not lie after the one before (a clock that was set back)."""
    rows = list(table(path, ()))
    if not rows:
        raise ConfigError([Problem(str(path), "holds no rows under a header")])
    header = list(rows[0][1])
    clock = next((name for name in _TIMES if name in header), None)
    if clock is None:
        raise ConfigError([Problem(f"{path}:1", "no column of time; call it time (ISO 8601 or seconds)")])
    names = [name for name in header if name != clock and (not wanted or name in wanted)]
    values = np.full((len(rows), len(names)), np.nan)
    time_s = np.empty(len(rows))
    for r, (line, cells) in enumerate(rows):
        time_s[r] = seconds(cells.get(clock, ""))
        for i, name in enumerate(names):
            cell = cells.get(name, "").strip()
            try:
                values[r, i] = float(cell) if cell else np.nan
            except ValueError:
                raise ConfigError([Problem(f"{path}:{line}", f"{name} is {cell[:40]!r}; write a number")]) from None
        if np.isnan(time_s[r]):
            raise ConfigError(
                [Problem(f"{path}:{line}", f"{clock} is {cells.get(clock, '')[:40]!r}; write ISO 8601 or seconds")]
            )
        if r and time_s[r] <= time_s[r - 1]:
            what = f"{clock} {cells[clock][:40]!r} does not lie after the row before; write times with their zone, in order"
            raise ConfigError([Problem(f"{path}:{line}", what)])
    return time_s, names, values
