"""The recorded job table of the Kestrel cluster (161,266 jobs with their mean power, 2024-09) as the twin's columns, and what
of it is predicted: the second week's hourly power from a fit on the first."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from twin.frame import Floats
from twin.jobpower import JobLog, fit_job_power, hourly

FIRST_S, SPLIT_S, LAST_S = 1_725_235_200.0, 1_725_840_000.0, 1_726_444_800.0  # 2024-09-02, -09 and -16, midnight UTC
FILE = "kestrel-jobs-2024-09.parquet"


def read_kestrel(path: Path) -> JobLog:
    """The table in the file ``path``; times without zone are taken as UTC."""
    table = pq.read_table(path, columns=["submit", "start", "end", "nodes", "avg_power_per_node"])

    def seconds(name: str) -> Floats:
        return np.asarray(table[name].to_numpy().astype("datetime64[ns]").astype(np.int64) / 1e9)

    nodes, power = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in ("nodes", "avg_power_per_node"))
    return JobLog(seconds("submit"), seconds("start"), seconds("end"), nodes, power)


def kestrel_scores(log: JobLog) -> dict[str, dict[str, float]]:
    """MAPE and bias (model over meter less 1) of the second week's hourly power: of the node power model and of two baselines,
    all fitted on the first week. Which nodes were busy when is as recorded, for all three alike."""
    hours = np.arange(FIRST_S, LAST_S + 1, 3600.0)
    truth, busy = hourly(log, log.nodes * log.power_w, hours), hourly(log, log.nodes, hours)
    early = np.arange(len(truth)) < round((SPLIT_S - FIRST_S) / 3600)
    model = fit_job_power(log, SPLIT_S, hours[: early.sum() + 1], truth[early])
    line = np.polyfit(busy[early], truth[early], 1)
    made = {
        "model": hourly(log, log.nodes * model.node_w(log.submit_s, log.start_s, log.nodes), hours),
        "per_node_constant": busy * truth[early].sum() / busy[early].sum(),
        "busy_nodes_regression": np.polyval(line, busy),
    }
    return {name: _score(truth[~early], values[~early]) for name, values in made.items()}


def _score(truth: Floats, model: Floats) -> dict[str, float]:
    return {
        "mape_frac": float(np.mean(np.abs(model - truth) / truth)),
        "bias_frac": float(model.sum() / truth.sum() - 1),
    }
