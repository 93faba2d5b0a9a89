"""Recorded workloads and series in files, by the name that ``--format`` gives. To add one: a file with ``read``, a row below.

A reader takes what rows it can and says which not, why, and how many; a file that is none of its kind is a ``ConfigError``.
"""

import csv
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from twin.errors import ConfigError, Problem
from twin.sim.outlook import Line
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace

MAX_BYTES = 4_000_000_000  # of a file


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds: jobs or recorded power, and weather or grid beside it."""

    work: Trace | Telemetry
    lines: Mapping[str, Line] = field(default_factory=dict)


# format -> (module with ``read(path) -> Reading``, what it is)
TRACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "swf": ("ingest.traces.swf", "Standard Workload Format 2.2"),
        "sacct": ("ingest.traces.sacct", "Slurm: sacct --parsable2 with a header"),
        "jobs-csv": ("ingest.traces.jobs_csv", "a table of jobs: submit_s,run_s,nodes,…"),
        "jobs-parquet": (
            "ingest.traces.jobs_parquet",
            "jobs with submit, start, end, nodes, avg_power_per_node (NREL, Kestrel)",
        ),
        "arrivals-csv": ("ingest.traces.arrivals", "arrival_time,length,cpus in hours (GAIA, Alibaba PAI)"),
        "power-csv": ("ingest.traces.power_csv", "recorded power of racks, CDUs, halls: time and a column for each"),
    }
)


def read_trace(path: Path, format_name: str) -> Reading:
    """The trace in ``path``. ``ConfigError`` where there is none such, it is too large or none of its kind."""
    if format_name not in TRACES:
        raise ConfigError([Problem("--format", f"no format {format_name!r}; formats are {', '.join(TRACES)}")])
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name a trace with --trace")]) from error
    if size > MAX_BYTES:
        raise ConfigError([Problem(str(path), f"{size} bytes; the most is {MAX_BYTES}: split it")])
    try:
        reading: Reading = importlib.import_module(TRACES[format_name][0]).read(path)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ConfigError([Problem(str(path), f"is no {TRACES[format_name][1]} ({error})")]) from error
    return reading
