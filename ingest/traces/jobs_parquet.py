"""Jobs in Parquet as NREL publishes those of Kestrel: ``submit``, ``start``, ``end``, ``nodes``, ``avg_power_per_node`` [W].

Raddit, ``ground_truth.parquet``. Times carry no zone and are read as UTC. A mean power of 0 W is one that was not measured.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.traces import Reading
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.sim.trace import MAX_JOBS, trace_of

_NEEDED = ("submit", "start", "end", "nodes")


def read(path: Path) -> Reading:
    """Jobs of the file; what they asked as a limit is not in it."""
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in _NEEDED if name not in file.schema_arrow.names]
        if missing or file.metadata.num_rows > MAX_JOBS:
            what = f"no column {missing[0]!r}; it needs {', '.join(_NEEDED)}" if missing else f"more than {MAX_JOBS} jobs"
            raise ConfigError([Problem(str(path), what)])
        names = [*_NEEDED, *(n for n in ("avg_power_per_node",) if n in file.schema_arrow.names)]
        table = file.read(columns=names)
    except pa.ArrowInvalid as error:
        raise ConfigError([Problem(str(path), f"is no Parquet file: {error}")]) from error
    submit, start, end = (_seconds(table, name) for name in ("submit", "start", "end"))
    power = np.full(len(submit), np.nan)
    if "avg_power_per_node" in names:
        power = table.column("avg_power_per_node").to_numpy().astype(np.float64)
        power = np.where(power == 0, np.nan, power)
    nodes = table.column("nodes").to_numpy().astype(np.int32)
    return Reading(
        trace_of([f"{i}" for i in range(len(submit))], submit, end - start, start_s=start, nodes=nodes, node_w=power)
    )


def _seconds(table: pa.Table, name: str) -> Floats:
    """A column of timestamps (or seconds) as seconds since 1970, NaN where there is none."""
    column = table.column(name)
    if not pa.types.is_timestamp(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    nanos = column.cast(pa.timestamp("ns")).to_numpy()
    whole = nanos.astype(np.int64) / 1e9
    return np.where(np.isnat(nanos), np.nan, whole)
