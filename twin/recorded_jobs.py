"""The recorded job table of the Kestrel cluster (161,266 jobs with their mean power, 2024-09) as the twin's columns, and what
of it is predicted: the second week's hourly power from a fit on the first."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from twin.frame import Floats
from twin.jobpower import JobLog, fit_job_power, hourly

FIRST_S = 1_725_235_200.0  # 2024-09-02, midnight UTC
# Days after that: fitted from, fitted up to, judged up to. The method was chosen with an eye on (0, 7, 14); these came after
OTHER_SPLITS = ((1, 8, 14), (2, 9, 14), (3, 10, 14), (0, 4, 7), (3, 7, 10), (7, 11, 14), (7, 10, 14), (0, 3, 6))
FILE = "kestrel-jobs-2024-09.parquet"


def read_kestrel(path: Path) -> JobLog:
    """The table in the file ``path``; times without zone are taken as UTC."""
    table = pq.read_table(path, columns=["submit", "start", "end", "nodes", "avg_power_per_node"])

    def seconds(name: str) -> Floats:
        return np.asarray(table[name].to_numpy().astype("datetime64[ns]").astype(np.int64) / 1e9)

    nodes, power = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in ("nodes", "avg_power_per_node"))
    return JobLog(seconds("submit"), seconds("start"), seconds("end"), nodes, power)


def kestrel_scores(log: JobLog, split: tuple[int, int, int] = (0, 7, 14)) -> dict[str, dict[str, float]]:
    """MAPE and bias (model over meter less 1) of hourly power: of the node power model and of two baselines. ``split``: days
    after ``FIRST_S`` from which all are fitted, up to which, and up to which they are judged (the first week and the second).
    Which nodes were busy when is as recorded, for all three alike."""
    first_s, cut_s, last_s = (FIRST_S + 86400.0 * day for day in split)
    hours = np.arange(first_s, last_s + 1, 3600.0)
    truth, busy = hourly(log, log.nodes * log.power_w, hours), hourly(log, log.nodes, hours)
    early = np.arange(len(truth)) < round((cut_s - first_s) / 3600)
    model = fit_job_power(log, cut_s, hours[: early.sum() + 1], truth[early])
    line = np.polyfit(busy[early], truth[early], 1)
    made = {
        "model": hourly(log, log.nodes * model.node_w(log.submit_s, log.start_s, log.nodes), hours),
        "per_node_constant": busy * truth[early].sum() / busy[early].sum(),
        "busy_nodes_regression": np.polyval(line, busy),
    }
    return {name: _score(truth[~early], values[~early]) for name, values in made.items()}


def kestrel_other_splits(log: JobLog) -> dict[str, dict[str, float]]:
    """The same as means over ``OTHER_SPLITS``, with the size of the bias; the method was not chosen on them."""
    each = [kestrel_scores(log, split) for split in OTHER_SPLITS]
    return {
        name: {
            "mape_frac": float(np.mean([one[name]["mape_frac"] for one in each])),
            "bias_frac": float(np.mean([abs(one[name]["bias_frac"]) for one in each])),
        }
        for name in each[0]
    }


def _score(truth: Floats, model: Floats) -> dict[str, float]:
    return {
        "mape_frac": float(np.mean(np.abs(model - truth) / truth)),
        "bias_frac": float(model.sum() / truth.sum() - 1),
    }
