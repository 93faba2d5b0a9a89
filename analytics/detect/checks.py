"""What is held against what: residuals of racks, pumps, exchangers and GPUs against physics, siblings and peers. Pure,
vectorised.

Each function gives float64[n] over all assets of its kind, NaN where an input is silent.
"""

from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np

from twin.frame import Floats
from twin.job import Jobs, JobState
from twin.site import Bools, Site
from twin.state import State

CP_COOLANT = 3956.7  # J/(kg K), propylene glycol 25 % at 35 °C (ASHRAE Handbook of Fundamentals 2021, ch. 31)
YOUNG_JOB_S = 180.0  # a job that has just begun is not odd
LEAST_GANG = 4  # GPUs of a job from which one can be called slower than the rest
BUSY_GPU_W = 300.0
ON_DUTY = 0.2  # of rated speed, above which a pump is on duty
LEAST_FLOW_KGPS = 1e-3  # a pump that turns and delivers nothing: less than any meter reads


def median_of_others(values: Floats, group: np.ndarray, groups: int) -> Floats:
    """For each asset the median of its group, NaN where fewer than three of it are known; ``group``: int[n], -1 for none."""
    out = np.full(groups + 1, np.nan)
    known = np.isfinite(values) & (group >= 0)
    order = np.lexsort((values[known], group[known]))
    of, sorted_ = group[known][order], values[known][order]
    starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]]) if len(of) else np.empty(0, dtype=np.intp)
    counts = np.diff(np.r_[starts, len(of)])
    enough = counts >= 3
    low, high = starts + (counts - 1) // 2, starts + counts // 2
    out[of[starts[enough]]] = (sorted_[low[enough]] + sorted_[high[enough]]) / 2
    return np.asarray(out[group])


def cooler_of_rack(site: Site) -> np.ndarray:
    """int32[racks]: row of the CDU that cools each rack, -1 where none does."""
    source, target, _ = site.linked("cools", "cdu", "rack")
    out = np.full(site.count("rack"), -1, dtype=np.int32)
    out[target] = source
    return out


def rack_supply_k(site: Site, state: State, cdu: np.ndarray, now: datetime) -> Floats:
    """Supply temperature less that of the racks on the same CDU [K]."""
    supply = state.column("rack", "supply_temp_c", now)
    return supply - median_of_others(supply, cdu, site.count("cdu"))


def rack_flow(site: Site, state: State, cdu: np.ndarray, now: datetime) -> Floats:
    """Log of the flow over that of the racks on the same CDU."""
    flow = _log(state.column("rack", "flow_kgps", now))
    return flow - median_of_others(flow, cdu, site.count("cdu"))


def rack_power(site: Site, state: State, now: datetime) -> Floats:
    """Log of the rack's power over the sum of its nodes', where all of those speak."""
    power, total = rack_power_logs(site, state, now)
    return power - total


def rack_power_logs(site: Site, state: State, now: datetime) -> tuple[Floats, Floats]:
    """Logs of the rack's power and of the sum of its nodes', where all of those speak."""
    node_w = state.column("node", "power_w", now)
    rack = site.within("node", "rack")
    heard = np.isfinite(node_w) & (rack >= 0)
    n = site.count("rack")
    all_, some = np.bincount(rack[rack >= 0], minlength=n), np.bincount(rack[heard], minlength=n)
    summed = np.bincount(rack[heard], weights=node_w[heard], minlength=n)
    total: Floats = np.where((some > 0) & (some == all_), summed, np.nan)
    return _log(state.column("rack", "power_w", now)), _log(total)


def rack_at_work(site: Site, state: State, now: datetime) -> Bools:
    """bool[racks]: some node of it draws power."""
    rack, power = site.within("node", "rack"), state.column("node", "power_w", now)
    out = np.zeros(site.count("rack"), dtype=np.bool_)
    out[rack[(rack >= 0) & (power > 0)]] = True
    return out


def rack_rise_k(state: State, now: datetime) -> Floats:
    """Rise of the coolant less what the rack's power and flow ask for [K]."""
    supply, back = (state.column("rack", f"{side}_temp_c", now) for side in ("supply", "return"))
    flow, power = state.column("rack", "flow_kgps", now), state.column("rack", "power_w", now)
    with np.errstate(divide="ignore", invalid="ignore"):
        asked = power / (flow * CP_COOLANT)
    return np.where(flow > 0, back - supply - asked, np.nan)


def pump_head(site: Site, state: State, now: datetime) -> Floats:
    """Log of head over speed squared (affinity law) of a pump on duty: what wear lowers. Pumps that work side by side are held
    against each other, for the system behind them is one; a pump that works alone against its own past, where it stands in a
    CDU, whose system does not change."""
    speed = state.column("pump", "pump_speed_frac", now)
    head = state.column("pump", "diff_pressure_pa", now)
    own = np.where(speed > ON_DUTY, _log(np.maximum(head, 1.0)) - 2 * _log(speed), np.nan)
    apart = _from_others(site, "pump", own)
    return np.where(np.isnan(apart) & (site.within("pump", "cdu") >= 0), own, apart)


def pump_flow(site: Site, state: State, now: datetime) -> Floats:
    """Log of flow over speed (affinity law) of a pump on duty, less that of those side by side with it: between the same two
    headers they have one head, and the worn one delivers less. NaN where none works beside it."""
    speed, flow = (state.column("pump", name, now) for name in ("pump_speed_frac", "flow_kgps"))
    own = np.where(speed > ON_DUTY, _log(np.maximum(flow, LEAST_FLOW_KGPS)) - _log(speed), np.nan)
    return _from_others(site, "pump", own)


def _from_others(site: Site, kind: str, own: Floats) -> Floats:
    """``own`` less the mean of the others with the same parent; NaN where there is none."""
    parent = site.parent[site.of_kind(kind)]
    known = np.isfinite(own)
    count = np.bincount(parent[known], minlength=len(site.ids))[parent]
    total = np.bincount(parent[known], weights=own[known], minlength=len(site.ids))[parent]
    return np.where(count > 1, own - (total - np.nan_to_num(own)) / np.maximum(count - 1, 1), np.nan)


def exchanger(state: State, now: datetime) -> Floats:
    """Log of the heat transfer [W/K] of a CDU's exchanger, heat over the logarithmic mean temperature difference (counterflow;
    Incropera, Fundamentals of Heat and Mass Transfer, ch. 11): what fouling lowers."""
    hot_in, hot_out = state.column("cdu", "return_temp_c", now), state.column("cdu", "supply_temp_c", now)
    cold_in, cold_out = (state.column("cdu", f"primary_{side}_temp_c", now) for side in ("supply", "return"))
    ends = np.maximum(hot_in - cold_out, 0.05), np.maximum(hot_out - cold_in, 0.05)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_k = np.where(np.abs(ends[0] - ends[1]) < 1e-3, ends[0], (ends[0] - ends[1]) / np.log(ends[0] / ends[1]))
    heat = state.column("cdu", "heat_w", now)
    return np.where(heat > 0, _log(heat) - _log(mean_k), np.nan)


def gpu_resistance(site: Site, state: State, now: datetime) -> Floats:
    """Temperature above that of the rack's coolant over power [K/kW] of a GPU at work, less its rack's median."""
    supply = state.column("rack", "supply_temp_c", now)
    rack = site.within("gpu", "rack")
    power = state.column("gpu", "power_w", now)
    above = state.column("gpu", "temp_c", now) - np.where(rack >= 0, np.r_[supply, np.nan][rack], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        resistance = np.where(power > BUSY_GPU_W, 1e3 * above / power, np.nan)
    return resistance - median_of_others(resistance, rack, site.count("rack"))


def lag_behind_gang(site: Site, state: State, jobs: Jobs, now: datetime) -> Floats:
    """Log of a GPU's clock over the median of its job's, NaN for jobs that are small or have just begun."""
    job = np.full(site.count("gpu"), -1, dtype=np.int64)
    settled = (jobs.state == JobState.RUNNING) & (now.timestamp() - jobs.start_s > YOUNG_JOB_S) & (jobs.gpus >= LEAST_GANG)
    mine = settled[jobs.job_of]
    job[jobs.rows[mine]] = jobs.job_of[mine]
    clock = _log(state.column("gpu", "sm_clock_hz", now))
    return clock - median_of_others(clock, job, len(jobs))


def age_s(site: Site, kind: str, now: datetime) -> Floats:
    """Since the day that the attribute ``installed`` names (2026-01-31); NaN where there is none that can be read."""
    return np.array([since_day_s(text, now) for text in site.text(kind, "installed")], dtype=np.float64)


@lru_cache(maxsize=4096)
def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def since_day_s(text: str, now: datetime) -> float:
    """Seconds since the beginning of the day that ``text`` names; NaN where it names none."""
    day = _day(text)
    return np.nan if day is None else max(0.0, (now - datetime(day.year, day.month, day.day, tzinfo=UTC)).total_seconds())


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(values), np.nan)
