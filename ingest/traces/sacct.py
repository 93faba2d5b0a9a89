"""Slurm's accounting, as this prints it (``-o`` and what follows on the same line):

    sacct -a -X --parsable2 -o JobID,Submit,Start,End,Timelimit,NNodes,AllocTRES,Priority,ConsumedEnergyRaw

Times are read as UTC unless they carry a zone; ``SLURM_TIME_FORMAT=%s`` gives seconds since 1970. Steps (``123.batch``) are not
jobs of their own and are left out without a word. Columns beside JobID, Submit, Start, End are optional.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from ingest.queues.slurm_records import gpus_in
from ingest.traces import Reading
from ingest.traces.rows import Refusals, number, seconds, table
from twin.sim.trace import trace_of

_SPAN = re.compile(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?$")


def read(path: Path) -> Reading:
    """Jobs that have ended, or run still without an end (left out, counted)."""
    refused = Refusals()
    ids: list[str] = []
    rows: list[tuple[float, ...]] = []
    for line, cells in table(path, ("JobID", "Submit", "Start", "End"), "|"):
        if "." in cells["JobID"]:
            continue
        submit, start, end = (seconds(cells.get(name, "")) for name in ("Submit", "Start", "End"))
        if math.isnan(start) or math.isnan(end):
            refused.add("a job without a start or an end", f"line {line}")
            continue
        ids.append(cells["JobID"])
        rows.append((submit, start, end - start, *_asked(cells, end - start)))
    columns = np.array(rows).reshape(-1, 8).T
    names = ("start_s", "run_s", "limit_s", "nodes", "gpus", "priority", "node_w")
    made: dict[str, Any] = dict(zip(names, columns[1:], strict=True))
    run = made.pop("run_s")
    made["nodes"], made["gpus"] = made["nodes"].astype(np.int32), made["gpus"].astype(np.int32)
    return Reading(trace_of(ids, columns[0], run, refused.found, **made))


def _asked(cells: dict[str, str], run: float) -> tuple[float, float, float, float, float]:
    """Limit [s], nodes, GPUs (0 where whole nodes are held), priority, mean power of a node [W]."""
    tres = cells.get("AllocTRES") or cells.get("ReqTRES") or ""
    gpus = gpus_in(tres)
    nodes = number(cells.get("NNodes") or cells.get("AllocNodes") or "0")
    nodes = 0.0 if math.isnan(nodes) else nodes
    energy = number(cells.get("ConsumedEnergyRaw", ""))
    power = energy / run / nodes if energy > 0 and run > 0 and nodes > 0 else math.nan
    priority = number(cells.get("Priority", "0"))
    whole = nodes > 1 or gpus == 0
    return (
        _limit_s(cells),
        nodes if whole else 0.0,
        0.0 if whole else float(gpus),
        0.0 if math.isnan(priority) else priority,
        power,
    )


def _limit_s(cells: dict[str, str]) -> float:
    """The time limit in s: ``TimelimitRaw`` is minutes, ``Timelimit`` [DD-[HH:]]MM:SS; NaN for UNLIMITED or none."""
    raw = number(cells.get("TimelimitRaw", ""))
    if not math.isnan(raw):
        return raw * 60
    match = _SPAN.match(cells.get("Timelimit", ""))
    if not match:
        return math.nan
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
