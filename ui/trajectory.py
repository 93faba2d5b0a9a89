"""Results of a run as Parquet files, written chunk by chunk: memory stays that of one chunk however long the run."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twin.errors import ConfigError, Problem


class ParquetSink:
    """``F.parquet`` holds the site, a row a step; ``F.cdu.parquet``, ``F.rack.parquet`` a row for each and step;
    ``F.jobs.parquet``, ``F.device.parquet``, ``F.limit.parquet`` jobs, power devices and racks, once. Columns carry their
    unit; times are seconds since 1970. A file is complete once the sink is closed."""

    def __init__(self, path: Path, tables: Collection[str]) -> None:
        self.path, self.tables = path, tables
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> "ParquetSink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if error is not None:  # half a file must not pass for a whole one
            for table in self._writers:
                self.file(table).unlink(missing_ok=True)

    def file(self, table: str) -> Path:
        """Where a table goes."""
        return self.path if table == "site" else self.path.with_suffix(f".{table}.parquet")

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Append one chunk. ``ConfigError`` where the file cannot be written."""
        block = pa.Table.from_arrays([_column(*column, columns) for column in columns.items()], names=list(columns))
        try:
            if table not in self._writers:
                self._writers[table] = pq.ParquetWriter(self.file(table), block.schema, compression="zstd")
            self._writers[table].write_table(block)
        except OSError as error:
            raise ConfigError(
                [Problem(str(self.file(table)), f"cannot be written ({error}); name a writable place")]
            ) from error

    def close(self) -> None:
        """Finish all files."""
        for writer in self._writers.values():
            writer.close()


def _column(name: str, values: Any, columns: Mapping[str, Any]) -> pa.Array:
    """A column as Arrow's. Made from buffers: ``pa.array`` would first import pandas, which costs more than a short run."""
    if isinstance(values, list):
        words = _words(values)
        if name != "asset" or "time_s" not in columns:
            return words
        steps = len(columns["time_s"]) // max(len(values), 1)
        return pa.DictionaryArray.from_arrays(_numbers(np.tile(np.arange(len(values), dtype=np.int32), steps)), words)
    return _numbers(np.ascontiguousarray(values))


def _numbers(values: NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _words(values: list[str]) -> pa.Array:
    coded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, coded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(coded), pa.py_buffer(offsets), pa.py_buffer(b"".join(coded)))
