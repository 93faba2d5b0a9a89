"""A table of jobs in icctwin's own words: ``submit_s``, ``run_s`` and ``nodes`` or ``gpus``; times in s or ISO 8601.

Optional: ``job``, ``start_s``, ``limit_s``, ``gpu_util_frac``, ``cpu_util_frac``, ``node_w``, ``priority``.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ingest.traces import Reading
from ingest.traces.rows import Refusals, number, seconds, table
from twin.errors import ConfigError, Problem
from twin.sim.trace import trace_of

_OPTIONAL = ("limit_s", "gpu_util_frac", "cpu_util_frac", "node_w", "priority")


def read(path: Path) -> Reading:
    """Jobs of the table; a row whose numbers cannot be read is left out and counted."""
    refused = Refusals()
    ids: list[str] = []
    rows: list[list[float]] = []
    for line, cells in table(path, ("submit_s", "run_s")):
        if "nodes" not in cells and "gpus" not in cells:
            raise ConfigError([Problem(f"{path}:1", "neither a column nodes nor gpus; a job must ask for something")])
        asked = [number(cells.get(name) or "0") for name in ("nodes", "gpus")]
        values = [seconds(cells["submit_s"]), number(cells["run_s"]), *asked]
        if any(math.isnan(value) for value in values):
            refused.add("a row whose submit_s, run_s, nodes or gpus is no number", f"line {line}")
            continue
        start = cells.get("start_s", "")
        optional = [number(cells.get(name, "")) for name in _OPTIONAL]
        optional[-1] = 0.0 if math.isnan(optional[-1]) else optional[-1]
        ids.append(cells.get("job") or f"{line}")
        rows.append([*values, seconds(start) if start else math.nan, *optional])
    columns = np.array(rows).reshape(-1, 10).T
    made: dict[str, Any] = dict(zip(("start_s", *_OPTIONAL), columns[4:], strict=True))
    nodes, gpus = columns[2].astype(np.int32), columns[3].astype(np.int32)
    return Reading(trace_of(ids, columns[0], columns[1], refused.found, nodes=nodes, gpus=gpus, **made))
