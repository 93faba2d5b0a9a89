"""The benchmark of the forecast: the whole procedure, replayed on recorded series of loads, beside its baselines."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analytics.forecast import BLEND, Replay, forecast_series, replay
from analytics.models import all_models
from analytics.score import peak_hit
from twin.errors import ConfigError, Problem
from twin.frame import Floats

HOUR_S = 3600.0
DAY, WEEK = 24, 168
ORIGINS = 60  # past moments a series; the last third is judged
SLICE_DAYS, SLICES = 126, 4  # of a long series: so many parts of it, from all seasons, each replayed by itself


@dataclass(frozen=True, slots=True)
class Recording:
    """A CSV file of one load: the column of values, how many rows make an hour, and the family in which it counts."""

    family: str
    file: str
    column: str
    rows_an_hour: int


RECORDINGS = (
    Recording("gpu_demand", "gpu-demand-hourly.csv", "gpu_load", 1),
    Recording("rack_power", "pdu6-power-5min.csv", "measured_power_util", 12),
    Recording("rack_power", "pdu7-power-5min.csv", "measured_power_util", 12),
    Recording("rack_power", "pdu8-power-5min.csv", "measured_power_util", 12),
    Recording("grid_load", "vic-electricity-2012-2013.csv", "Demand", 2),
)
# The project's own excerpts of two of them (fixtures/loads), for a checkout without the recorded data.
OWN_RECORDINGS = (
    Recording("rack_power", "pdu6-power-hourly.csv", "value", 1),
    Recording("grid_load", "vic-load-hourly.csv", "value", 1),
)


def read_recording(folder: Path, recording: Recording) -> list[Floats]:
    """Hourly means of a recording, float64[n]; a long one as several parts. ``ConfigError`` where it cannot be read."""
    path = folder / recording.file
    try:
        with path.open(newline="", encoding="utf-8") as file:
            values = np.array([float(row[recording.column]) for row in csv.DictReader(file)])
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be read ({error.strerror}); name the folder of recorded loads")]
        ) from None
    except (KeyError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"is not the recording it should be ({error})")]) from None
    whole = len(values) // recording.rows_an_hour * recording.rows_an_hour
    hourly = values[:whole].reshape(-1, recording.rows_an_hour).mean(axis=1)
    length = SLICE_DAYS * DAY
    if len(hourly) < 2 * length:
        return [hourly]
    return [hourly[start : start + length] for start in np.linspace(0, len(hourly) - length, SLICES).astype(int)]


def bench(folder: Path, cpu_s: Callable[[], float], recordings: Sequence[Recording] = RECORDINGS) -> dict[str, Any]:
    """The object that ``icctwin bench forecast --json`` prints. Figures are means over families of hourly series, a day ahead
    (with ``_week``: a week ahead); ``cpu_s`` is a processor clock."""
    series: dict[str, list[Floats]] = {}
    for recording in recordings:
        series.setdefault(recording.family, []).extend(read_recording(folder, recording))
    every = [one for many in series.values() for one in many]
    _timed(every[0], cpu_s)  # the first pays for the imports
    fit_predict_s = max(_timed(one, cpu_s) for one in every)
    day = {family: [replay(one, DAY, HOUR_S, ORIGINS) for one in many] for family, many in series.items()}
    week = {family: [replay(one, WEEK, HOUR_S, ORIGINS) for one in many] for family, many in series.items()}
    names = [BLEND, *(model.name for model in all_models() if model.baseline)]
    rows = {name: _figures(day, name) | {f"{k}_week": v for k, v in _figures(week, name).items()} for name in names}
    figures = rows.pop(BLEND) | {"fit_predict_s": fit_predict_s}
    for family in series:
        figures |= {f"{k}_{family}": v for k, v in _figures({family: day[family]}, BLEND).items()}
    against = {f"{name}_{key}": value for name, row in rows.items() for key, value in row.items()}
    judged = sum(len(one.judged) for many in day.values() for one in many)
    conditions = {
        "series": len(every),
        "families": len(series),
        "origins_judged": judged,
        "step_s": HOUR_S,
        "horizon_steps": DAY,
    }
    return {"bench": "forecast", "figures": figures, "against": against, "conditions": conditions}


def _timed(values: Floats, cpu_s: Callable[[], float]) -> float:
    time_s = np.arange(float(len(values))) * HOUR_S
    start = cpu_s()
    forecast_series(time_s, values, datetime.fromtimestamp(len(values) * HOUR_S, UTC), DAY, HOUR_S)
    return cpu_s() - start


def _figures(replays: Mapping[str, Sequence[Replay]], name: str) -> dict[str, float]:
    """Means over families of the means over their series."""
    families = []
    for many in replays.values():
        rows = []
        for one in many:
            score, said = one.score(name), one.bands[name][1][one.judged]
            hit = peak_hit(one.rolling.truth[one.judged], said, DAY)
            rows.append((score.mase, score.pinball_vs_naive_frac, score.coverage_80_frac, hit))
        families.append(np.mean(rows, axis=0))
    keys = ("mase", "pinball_vs_seasonal_naive_frac", "coverage_80_frac", "peak_hit_frac")
    return dict(zip(keys, np.mean(families, axis=0).tolist(), strict=True))
