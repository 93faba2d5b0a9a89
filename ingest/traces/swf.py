"""The Standard Workload Format 2.2 of the Parallel Workloads Archive: 18 numbers a line, comments after ``;``.

Feitelson, Tsafrir & Krakov, "Experience with using the Parallel Workloads Archive", 2014. -1 is what is not known.
"""

import math
import re
from pathlib import Path

import numpy as np

from ingest.traces import Reading
from ingest.traces.rows import Refusals
from twin.errors import ConfigError, Problem
from twin.sim.trace import MAX_JOBS, trace_of

_FIELDS = 18
_HEAD = re.compile(r"^;\s*(UnixStartTime|MaxNodes|MaxProcs):\s*(\d+)", re.IGNORECASE)


def read(path: Path) -> Reading:
    """Jobs of the file. Processors become nodes by the header's MaxProcs over MaxNodes (one a node where it does not say)."""
    head: dict[str, int] = {}
    rows: list[list[float]] = []
    refused = Refusals()
    with path.open(encoding="utf-8", errors="replace") as file:
        for line_number, line in enumerate(file, 1):
            if match := _HEAD.match(line):
                head[match[1].lower()] = int(match[2])
            words = line.split(";")[0].split()
            if not words:
                continue
            if len(rows) >= MAX_JOBS:
                raise ConfigError([Problem(f"{path}:{line_number}", f"more than {MAX_JOBS} jobs; split the file")])
            try:
                values = [float(word) for word in words[:_FIELDS]]
            except ValueError:
                values = []
            if len(values) < _FIELDS:
                refused.add("a line that is not 18 numbers", f"line {line_number}")
            else:
                rows.append(values)
    if not rows:
        raise ConfigError([Problem(str(path), "holds no line of 18 numbers; is it in the Standard Workload Format?")])
    column = np.array(rows).T
    per = max(head.get("maxprocs", 1) / max(head.get("maxnodes", head.get("maxprocs", 1)), 1), 1.0)
    asked = np.where(column[4] > 0, column[4], column[7])
    submit = column[1] + head.get("unixstarttime", 0)
    unknown = math.nan
    return Reading(
        trace_of(
            [f"{int(value)}" for value in column[0]],
            submit,
            np.where(column[3] >= 0, column[3], unknown),
            refused.found,
            start_s=np.where(column[2] >= 0, submit + column[2], unknown),
            limit_s=np.where(column[8] > 0, column[8], unknown),
            nodes=np.ceil(np.maximum(asked, 0.0) / per).astype(np.int32),
        )
    )
