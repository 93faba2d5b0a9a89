"""Arrivals as GAIA cuts them from Alibaba's PAI trace: ``arrival_time``, ``length`` [h since the beginning], ``cpus``.

What the trace calls cpus are the units that a job asks for; they are taken as GPUs. It records no starts and no power.
"""

from pathlib import Path

import numpy as np

from ingest.traces import Reading
from ingest.traces.rows import Refusals, number, table
from twin.sim.trace import trace_of


def read(path: Path) -> Reading:
    """Jobs of the file; a row that is not three numbers is left out and counted."""
    refused = Refusals()
    rows: list[tuple[float, float, float]] = []
    for line, cells in table(path, ("arrival_time", "length", "cpus")):
        values = (number(cells.get("arrival_time", "")), number(cells.get("length", "")), number(cells.get("cpus", "")))
        if np.isnan(values).any():
            refused.add("a row that is not three numbers", f"line {line}")
        else:
            rows.append(values)
    columns = np.array(rows).reshape(-1, 3).T
    ids = [f"{i}" for i in range(len(rows))]
    return Reading(trace_of(ids, columns[0] * 3600, columns[1] * 3600, refused.found, gpus=columns[2].astype(np.int32)))
