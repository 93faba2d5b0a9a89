"""Recorded series that the forecast is judged on, and those that its settings were chosen on: never the same.

What a setting of the procedure should be (weights' power and half-life, the ridge's penalty, how bands lean on the hour, which
models stay) was chosen on the series and periods with ``judged`` False; figures are those of the others.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats

HOUR_S = 3600.0
DAY, WEEK = 24, 168
SLICE_DAYS, SLICES = 126, 6  # of a series of years: so many parts of it, each replayed by itself
MAIN = ("gpu_demand", "rack_power", "grid_load")  # the families that the means are over
# Carbon, price and cloud stand beside them: the cloud series are two weeks with labelled faults in them, made to judge alarms.


@dataclass(frozen=True, slots=True)
class Recording:
    """A CSV file of one series: the column of values, how many rows make an hour, the family in which it counts, and from where
    on it judges: ``judged`` None not at all, else the share of it (of a long one: of its slices) that comes before."""

    family: str
    file: str
    column: str
    rows_an_hour: int
    judged: float | None = 0.0


_LOAD, _NAB = "analytics/load/", "analytics/it-anomalies/series/"


def _cloud(name: str, judged: float | None = 0.0) -> Recording:
    return Recording("cloud", f"{_NAB}{name}.csv", "value", 12, judged)


# The first 60 % of requested GPUs, pdu7, the first half of the grid, two carbon zones, one price zone and five cloud series
# chose the settings.
RECORDINGS = (
    Recording("gpu_demand", f"{_LOAD}gpu-demand-hourly.csv", "gpu_load", 1, 0.67),
    Recording("rack_power", f"{_LOAD}pdu6-power-5min.csv", "measured_power_util", 12),
    Recording("rack_power", f"{_LOAD}pdu7-power-5min.csv", "measured_power_util", 12, None),
    Recording("rack_power", f"{_LOAD}pdu8-power-5min.csv", "measured_power_util", 12),
    Recording("grid_load", f"{_LOAD}vic-electricity-2012-2013.csv", "Demand", 2, 0.5),
    _cloud("ec2_cpu_utilization_ac20cd"),
    _cloud("ec2_cpu_utilization_fe7f93"),
    _cloud("grok_asg_anomaly"),
    _cloud("rds_cpu_utilization_cc0c53"),
    _cloud("rds_cpu_utilization_e47b3b"),
    _cloud("ec2_cpu_utilization_24ae8d", None),
    _cloud("ec2_cpu_utilization_5f5533", None),
    _cloud("ec2_cpu_utilization_77c1ca", None),
    _cloud("ec2_cpu_utilization_825cc2", None),
    _cloud("elb_request_count_8c0756", None),
    Recording("carbon", "energy/carbon/ERCO-2022-hourly.csv", "avg_CI", 1, 0.67),
    Recording("carbon", "energy/carbon/NYIS-2022-hourly.csv", "avg_CI", 1, 0.67),
    Recording("carbon", "energy/carbon/CISO-2022-hourly.csv", "avg_CI", 1, None),
    Recording("carbon", "energy/carbon/PJM-2022-hourly.csv", "avg_CI", 1, None),
    Recording("price", "energy/price/DE-2016-2017.csv", "Real price", 1, 0.67),
    Recording("price", "energy/price/BE-2015-2016.csv", "Real price", 1, None),
)
# The project's own excerpts of two of them (fixtures/loads), for a checkout without the recorded data.
OWN_RECORDINGS = (
    Recording("rack_power", "pdu6-power-hourly.csv", "value", 1),
    Recording("grid_load", "vic-load-hourly.csv", "value", 1),
)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A series to be replayed by itself, float64[n], with the step from which it judges (None: the second half of what can)."""

    recording: Recording
    values: Floats
    judged_from: int | None


def read_values(folder: Path, recording: Recording, column: str | None = None) -> Floats:
    """The values of a recording as they are, float64[n], NaN where a cell is empty. ``ConfigError`` where it cannot be read."""
    path = folder / recording.file
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return np.array([float(row[column or recording.column] or "nan") for row in csv.DictReader(file)])
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be read ({error.strerror}); name the folder of recorded series")]
        ) from None
    except (KeyError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"is not the recording it should be ({error})")]) from None


def hourly(values: Floats, rows_an_hour: int) -> Floats:
    """Hourly means of values in order, float64[n // rows_an_hour]."""
    whole = len(values) // rows_an_hour * rows_an_hour
    return np.asarray(values[:whole].reshape(-1, rows_an_hour).mean(axis=1))


def judging_parts(folder: Path, recordings: Sequence[Recording] = RECORDINGS) -> list[Part]:
    """What the figures are taken from, hourly: whole series, and of those of years the slices that judge."""
    parts = []
    for recording in recordings:
        if recording.judged is None:
            continue
        series = hourly(read_values(folder, recording), recording.rows_an_hour)
        length = SLICE_DAYS * DAY
        if len(series) < 2 * length:
            parts.append(Part(recording, series, round(recording.judged * len(series)) or len(series) // 2))
            continue
        starts = np.linspace(0, len(series) - length, SLICES).astype(int)
        late = starts[round(recording.judged * SLICES) :]
        parts += [Part(recording, series[start : start + length], length // 2) for start in late]
    return parts
