"""An answer as a file: CSV for people, Parquet for programs. The same values, one column a line, NaN as nothing."""

import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from twin.metrics import suffix
from ui.dig.explore import Answer, Question
from ui.report.data import inert

KINDS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def table_of(answer: Answer, asked: Question) -> pa.Table:
    """``time`` (UTC) and a column ``name.metric`` for each line; the question and the units stand in the metadata."""
    columns: dict[str, pa.Array] = {"time": pa.array((answer.time_s * 1e6).round().astype("int64"), pa.timestamp("us", "UTC"))}
    for metric, values in answer.values.items():
        for i, name in enumerate(answer.names):
            columns[f"{name}.{metric}"] = pa.array(values[:, i], from_pandas=True)  # NaN becomes null
    about = {
        "kind": asked.kind, "origin": asked.origin.value, "step_s": answer.step_s, "fold": asked.fold.value,
        "by": asked.by, "across": asked.across if asked.by else "", "units": {name: suffix(name) for name in answer.values},
    }  # fmt: skip
    return pa.table(columns).replace_schema_metadata({"icctwin": json.dumps(about)})


def written(answer: Answer, asked: Question, form: str) -> bytes:
    """The file in ``form``, one of ``KINDS``."""
    table, out = table_of(answer, asked), io.BytesIO()
    if form == "parquet":
        pq.write_table(table, out, compression="zstd")
        return out.getvalue()
    stamps = [datetime.fromtimestamp(t, UTC).isoformat().replace("+00:00", "Z") for t in answer.time_s.tolist()]
    table = table.set_column(0, "time", pa.array(stamps, pa.string()))
    table = table.rename_columns(
        [str(inert(name)) for name in table.column_names]
    )  # a spreadsheet computes what looks like a formula
    pa_csv.write_csv(table, out)
    return out.getvalue()


def file_name(asked: Question, form: str) -> str:
    """What the file is called."""
    return f"icctwin-{asked.kind}-{'-'.join(asked.metrics)[:60]}-{asked.start:%Y%m%dT%H%M}Z.{form}"
