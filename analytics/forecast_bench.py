"""The benchmark of the forecast: the whole procedure replayed on recorded series that chose none of its settings, beside its
baselines, for each family and range of leads; peaks as probabilities; the next minutes; and what it takes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analytics.blend import trust
from analytics.forecast import forecast_series
from analytics.known import Driver, calendar
from analytics.models import all_models
from analytics.peaks import crossing, day_peaks, paths, usual_peaks, views
from analytics.recorded import (
    DAY,
    HOUR_S,
    MAIN,
    RECORDINGS,
    WEEK,
    Part,
    Recording,
    hourly,
    judging_parts,
    read_values,
)
from analytics.replay import BLEND, Known, Replay, replay
from analytics.score import brier, mase, peak_hit, reliability_gap
from twin.frame import Floats

ORIGINS = 72  # past moments a series
NEAR_ORIGINS, NEAR_STEPS, NEAR_STEP_S = 300, 3, 300.0
WEEK_FROM = 6 * WEEK  # steps of history, for a week ahead to be judged
LIMIT_QUANTILE = 0.95  # of the month before: the limit whose crossing is foreseen
RANGES = {"": slice(0, DAY), "_week": slice(DAY, WEEK)}
KEYS = ("mase", "pinball_vs_seasonal_naive_frac", "coverage_80_frac", "peak_hit_frac")
# A weather service's temperature forecast, as the error laid over what was measured: rms growing from 0.8 K to 2.5 K in a week,
# correlated over hours. Assumed, after the usual verification of day-ahead and week-ahead 2 m temperatures.
WEATHER_RMS_K, WEATHER_HOURS = (0.8, 2.5), 12.0

Tell = Callable[[str], None]


def bench(
    folder: Path,
    cpu_s: Callable[[], float],
    recordings: Sequence[Recording] = RECORDINGS,
    tell: Tell = lambda line: None,
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """The object that ``icctwin bench forecast --json`` prints. Figures are means over the families of ``MAIN``, hours 1-24
    ahead (with ``_week``: hours 25-168); ``cpu_s`` is a processor clock, ``rng`` makes the error of the weather forecast."""
    parts = judging_parts(folder, recordings)
    names = [BLEND, *(model.name for model in all_models() if model.baseline)]
    made: dict[str, list[tuple[Replay, Replay | None]]] = {}
    for part in parts:
        tell(f"{part.recording.family}: {part.recording.file}")
        made.setdefault(part.recording.family, []).append(_replayed(part))
    rows = {name: _means(made, name) for name in names}
    figures = rows.pop(BLEND) | _cost(parts[0].values, cpu_s) | _peaks(made)
    for family, replays in made.items():
        figures |= {f"{key}_{family}": value for key, value in _means({family: replays}, BLEND).items()}
    against = {f"{name}_{key}": value for name, row in rows.items() for key, value in row.items()}
    near, near_against = _minutes(folder, recordings)
    known = _known_futures(folder, recordings, made, rng)
    conditions = {
        "series": len(parts),
        "families": ", ".join(made),
        "families_in_means": ", ".join(family for family in MAIN if family in made),
        "data": ", ".join(sorted({part.recording.file for part in parts})),
        "chosen_on": ", ".join(_chosen(recording) for recording in recordings if recording.judged != 0),
        "origins_judged": sum(len(day.judged) for replays in made.values() for day, _ in replays),
        "step_s": HOUR_S,
        "horizon_steps": DAY,
    }
    return {
        "bench": "forecast",
        "figures": _measured(figures | near | known),
        "against": _measured(against | near_against),
        "conditions": conditions,
    }


def _measured(figures: dict[str, float]) -> dict[str, float]:
    """Only what could be measured: JSON knows no NaN, and a figure that is not one is none."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _chosen(recording: Recording) -> str:
    return recording.file if recording.judged is None else f"{recording.file} (first {recording.judged:.0%})"


def _replayed(part: Part) -> tuple[Replay, Replay | None]:
    """A day ahead, and a week ahead where the series is long enough."""
    day = replay(part.values, DAY, HOUR_S, ORIGINS, peers=True, judged_from=part.judged_from)
    if len(part.values) < WEEK_FROM and len(part.values) < 4 * WEEK:
        return day, None
    return day, replay(part.values, WEEK, HOUR_S, ORIGINS, peers=True, judged_from=part.judged_from)


def _means(made: Mapping[str, Sequence[tuple[Replay, Replay | None]]], name: str) -> dict[str, float]:
    """Means over the main families (or all, where none is main) of the means over their series."""
    out: dict[str, float] = {}
    families = [family for family in made if family in MAIN] or list(made)
    for end, ahead in RANGES.items():
        rows = []
        for family in families:
            replays = [pair[end == "_week"] for pair in made[family]]
            found = [_row(one, name, ahead) for one in replays if one is not None and one.judged]
            if found:
                rows.append(_mean(found))
        if rows:
            out |= {key + end: value for key, value in zip(KEYS, _mean(rows).tolist(), strict=True)}
    return out


def _mean(rows: "Sequence[tuple[float, float, float, float] | Floats]") -> Floats:
    """float64[4]: means of what is known; NaN where nothing is."""
    table = np.array(rows)
    known = np.isfinite(table)
    return np.where(known.any(axis=0), np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)


def _row(made: Replay, name: str, ahead: slice) -> tuple[float, float, float, float]:
    score = made.score(name, ahead)
    truth = made.rolling.truth[made.judged, ahead]
    said = made.bands[name][1][made.judged, ahead]
    if name == BLEND:  # the hour that its probabilities name, not that of the highest median
        hit = float(np.mean(_hits(made, ahead))) if _hits(made, ahead) else float("nan")
    else:
        hit = peak_hit(truth, said, DAY)
    return score.mase, score.pinball_vs_naive_frac, score.coverage_80_frac, hit


def _hits(made: Replay, ahead: slice) -> list[bool]:
    return [_near(real, peak.step) for real, peak, _ in _named_peaks(made, ahead)]


def _near(real: int, said: int) -> bool:
    return min(abs(real - said), DAY - abs(real - said)) <= 1


def _named_peaks(made: Replay, ahead: slice) -> "list[tuple[int, Any, Floats]]":
    """(hour of the day's peak that came, what was said of it, what was usual) for each judged whole day."""
    out, trusted = [], trust(made.rolling, made.buckets, DAY)
    for i in made.judged:
        of = paths(made, i)
        if of is None:
            continue
        usual = usual_peaks(_before(made, i), DAY)
        truth, begin = made.rolling.truth[i, ahead], ahead.start or 0
        beside = [views(made, i, start, DAY, trusted) for start in range(begin, begin + len(truth) - DAY + 1, DAY)]
        for k, peak in enumerate(day_peaks(of[:, ahead], DAY, beside)):
            real = truth[k * DAY : (k + 1) * DAY]
            if np.isfinite(real).all():
                out.append((int(real.argmax()), peak, usual))
    return out


def _before(made: Replay, i: int) -> Floats:
    """float64[n]: what was known at origin ``i``."""
    return made.series[: int(made.rolling.origins[i])]


def _peaks(made: Mapping[str, Sequence[tuple[Replay, Replay | None]]]) -> dict[str, float]:
    """Brier score and reliability of the peak's hour and of crossing a limit within a day, beside what is usual."""
    hour: list[tuple[float, float, float]] = []
    cross: list[tuple[float, float, float]] = []
    for family, replays in made.items():
        if family not in MAIN:
            continue
        for day, _ in replays:
            for real, peak, usual in _named_peaks(day, slice(0, DAY)):
                came = np.arange(DAY) == real
                hour += list(zip(peak.probability, usual, came.astype(float), strict=True))
            cross += _crossings(day)
    out: dict[str, float] = {}
    for name, rows in (("peak_hour", hour), ("crossing", cross)):
        if rows:
            said, usual, came = (np.array(column) for column in zip(*rows, strict=True))
            out[f"{name}_brier_ratio"] = brier(said, came)
            out[f"{name}_usual_brier_ratio"] = brier(usual, came)
            out[f"{name}_reliability_gap_frac"] = reliability_gap(said, came)
    return out


def _crossings(day: Replay) -> list[tuple[float, float, float]]:
    """(probability said, share of past days, whether it came) of crossing the month's limit within a day."""
    out = []
    for i in day.judged:
        of, past, truth = paths(day, i), _before(day, i)[-28 * DAY :], day.rolling.truth[i]
        if of is None or not np.isfinite(truth).all():
            continue
        limit = float(np.nanquantile(past, LIMIT_QUANTILE))
        days = past[len(past) % DAY :].reshape(-1, DAY)
        usual = float(np.mean(np.nanmax(days, axis=1) >= limit))
        out.append((crossing(of, limit).probability, usual, float((truth >= limit).any())))
    return out


def _cost(values: Floats, cpu_s: Callable[[], float]) -> dict[str, float]:
    """Processor time of one series from nothing: fit, backtest and a week's forecast. ``fit_predict_s``: the dearest of
    three."""
    time_s = np.arange(float(len(values))) * HOUR_S
    end = datetime.fromtimestamp(len(values) * HOUR_S, UTC)
    forecast_series(time_s[-200:], values[-200:], end, DAY, HOUR_S)  # the first pays for the imports
    spent = []
    for _ in range(3):
        start = cpu_s()
        forecast_series(time_s, values, end, WEEK, HOUR_S)
        spent.append(cpu_s() - start)
    return {"fit_predict_s": max(spent), "series_per_core_hour_count": 3600.0 / max(float(np.median(spent)), 1e-9)}


def _minutes(folder: Path, recordings: Sequence[Recording]) -> tuple[dict[str, float], dict[str, float]]:
    """Of the judging series of 5 minutes: the next quarter of an hour."""
    rows: dict[str, list[float]] = {}
    for recording in recordings:
        if recording.rows_an_hour != 12 or recording.family != "rack_power" or recording.judged is None:
            continue
        values = read_values(folder, recording)
        made = replay(values, NEAR_STEPS, NEAR_STEP_S, NEAR_ORIGINS, near=True, peers=True, judged_from=len(values) // 2)
        truth, scale = made.rolling.truth[made.judged], made.rolling.scale[made.judged]
        for name, band in made.bands.items():
            rows.setdefault(name, []).append(mase(truth, band[1][made.judged], scale))
    near = {name: float(np.mean(found)) for name, found in rows.items()}
    mine = {"mase_15min_rack_power": near.pop(BLEND)} if near else {}
    return mine, {f"{name}_mase_15min_rack_power": value for name, value in near.items()}


def _known_futures(
    folder: Path,
    recordings: Sequence[Recording],
    made: Mapping[str, Sequence[tuple[Replay, Replay | None]]],
    rng: np.random.Generator | None,
) -> dict[str, float]:
    """The grid's load with its calendar and a weather forecast that errs, and the same series and moments without."""
    found = [r for r in recordings if r.family == "grid_load" and r.rows_an_hour == 2]
    if not found or rng is None:
        return {}
    air_c = hourly(read_values(folder, found[0], "Temperature"), 2)
    load = hourly(read_values(folder, found[0]), 2)
    first_s = datetime(2011, 12, 31, 13, tzinfo=UTC).timestamp()
    rows = []
    for part in judging_parts(folder, found):
        start = int(np.flatnonzero(np.convolve(load == part.values[0], [1.0]) > 0)[0])
        slice_c = air_c[start : start + len(part.values)]
        begins_s = first_s + start * HOUR_S
        when = calendar(begins_s, len(part.values) + DAY, HOUR_S, "Australia/Melbourne", "AU-VIC")
        known = Known(when, (weather(slice_c, begins_s, rng),))
        one = replay(part.values, DAY, HOUR_S, ORIGINS, first_s=begins_s, known=known, judged_from=part.judged_from)
        score = one.score(BLEND)
        rows.append((score.mase, score.pinball_vs_naive_frac, score.coverage_80_frac))
    keys = [f"{key}_grid_load_known_futures" for key in KEYS[:3]]
    return dict(zip(keys, np.mean(rows, axis=0).tolist(), strict=True))


def weather(air_c: Floats, first_s: float, rng: np.random.Generator) -> Driver:
    """A driver whose word at each third hour is what came plus an error that grows with the lead."""
    issued = np.arange(0, len(air_c) - WEEK, 3)
    shock = rng.normal(0.0, 1.0, (len(issued), WEEK))
    keep = np.exp(-1.0 / WEATHER_HOURS)
    error = np.empty_like(shock)
    error[:, 0] = shock[:, 0]
    for lead in range(1, WEEK):
        error[:, lead] = keep * error[:, lead - 1] + np.sqrt(1 - keep**2) * shock[:, lead]
    rms_k = np.interp(np.arange(WEEK), (0, WEEK - 1), WEATHER_RMS_K)
    said = air_c[issued[:, None] + np.arange(WEEK)] + error * rms_k
    time_s = first_s + HOUR_S * np.arange(float(len(air_c)))
    return Driver("dry_bulb_c", HOUR_S, time_s, air_c, time_s[issued], said)
