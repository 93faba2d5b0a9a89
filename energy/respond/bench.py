"""Demand response on a measured event: six jobs on 256 GPUs, their power each minute and their answer to power caps.

Recorded by Emerald AI with Oracle, NVIDIA and SRP in Phoenix, May 2025 (arXiv 2507.00909; data Apache-2.0). The jobs' curves
are the recorded cap sweep; the plan is made from it, and carried out on a fleet that is not the plan's own model: its powers
are off by a few percent a job, follow caps with a lag, and wander_ratio as the recorded meter did before the event.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from energy.respond import Curve, Loads
from energy.respond.divide import divide, uniform_cap
from energy.respond.plan import SETTLE_S, Connection, respond
from energy.respond.proof import Proof, before, prove
from energy.respond.track import Trim
from twin.curtail import Interval, Request
from twin.errors import ConfigError, Problem
from twin.frame import Floats

CUT_FRAC, HOURS = 0.25, 3.0
FLOORS = {"Flex 1": 0.9, "Flex 2": 0.75, "Flex 3": 0.5}  # least throughput of each class in that study
# job -> workload of the sweep and GPUs: at 400 W they sum to the meter within 1 %
JOBS = {
    "ft_llama_8b_p3": ("ft_llama_8b_p3", 32, "Flex 2"),
    "infer_llama_8b_32g": ("infer_llama_8b_32g", 32, "Flex 3"),
    "infer_llama_8b_48g-1": ("infer_llama_8b_48g", 48, "Flex 1"),
    "infer_llama_8b_48g-2": ("infer_llama_8b_48g", 48, "Flex 2"),
    "pt_mpt_13b_sm": ("pt_mpt_13b_sm", 48, "Flex 3"),
    "pt_mpt_7b_fast": ("pt_mpt_7b_fast", 48, "Flex 3"),
}
EVENT = ("2025-05-04T16:15:00-07:00", "2025-05-04T19:15:00-07:00")
QUIET = ("2025-05-04T14:40:00-07:00", "2025-05-04T16:09:00-07:00")  # before the first order of the recorded event
LAG_S, MODEL_ERROR_FRAC = 20.0, 0.02
SHAPES = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35)


def recorded_loads(folder: Path) -> Loads:
    """The six jobs with their curves. ``ConfigError`` where the sweep cannot be read."""
    rows = _rows(folder / "dvfs_sweep.csv", ("Workload", "GPU power cap", "power per GPU", "normalized throughput"))
    curves = []
    for workload, _, _ in JOBS.values():
        mine = sorted((row for row in rows if row["Workload"] == workload), key=lambda row: float(row["GPU power cap"]))
        names = ("GPU power cap", "power per GPU", "normalized throughput")
        curves.append(Curve(*(np.array([float(row[name]) for row in mine]) for name in names)))
    n = len(JOBS)
    floors = np.array([FLOORS[flex] for _, _, flex in JOBS.values()])
    gpus = np.array([float(count) for _, count, _ in JOBS.values()])
    return Loads(
        list(JOBS), gpus, np.arange(n, dtype=np.int32), floors, np.ones(n), np.zeros(n, np.bool_), np.full(n, 70.0), curves
    )


def recorded_meter(folder: Path) -> tuple[Floats, Floats]:
    """Times [s] and power [W] of the recorded event, a minute each."""
    rows = _rows(folder / "SRP_total_power.csv", ("timestamp", "total"))
    times = [datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows]
    return np.array(times), np.array([float(row["total"]) for row in rows])


def _rows(path: Path, names: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror})")]) from None
    if not rows or any(name not in rows[0] for name in names):
        raise ConfigError([Problem(str(path), f"is not the recording it should be: it has no {', '.join(names)}")])
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """A response carried out: the minutes' begins, meter, target and weighted throughput while something was asked."""

    time_s: Floats
    meter_w: Floats
    target_w: Floats
    baseline_w: float
    throughput_frac: float
    least_over_floor_frac: float


def carry_out(
    loads: Loads, wander_ratio: Floats, rng: np.random.Generator, notice_s: float = SETTLE_S, tracked: bool = True
) -> Ran:
    """The event on a fleet of its own: each job's power off by a few percent of the sweep's, caps followed with a lag, times
    ``wander_ratio`` (float64[m], the meter over its own level), minute by minute."""
    skew = 1 + rng.normal(0, MODEL_ERROR_FRAC, len(loads))
    skew *= loads.full_w.sum() / float(loads.full_w @ skew)  # the meter before is the meter before
    level_w = float(loads.full_w.sum())
    begin_s = 1_746_400_500.0
    start_s = begin_s - notice_s - 3600
    time_s: Floats = np.asarray(start_s) + 60.0 * np.arange(int((notice_s + 3600 + HOURS * 3600 + 5400) / 60))
    swing = np.resize(wander_ratio, len(time_s))
    baseline_w = level_w * float(swing[time_s < begin_s - notice_s].mean())
    asked = Request("event", begin_s - notice_s, (Interval(begin_s, begin_s + HOURS * 3600, cut_w=CUT_FRAC * baseline_w),))
    connection = Connection(baseline_w, other_w=baseline_w - level_w)
    plan = respond(asked, loads, connection)
    trim, cap_now = Trim(), np.array([curve.cap_w[-1] for curve in loads.curves])[loads.curve]
    top = cap_now.copy()
    meter, target = np.full(len(time_s), np.nan), np.full(len(time_s), np.inf)
    got, least = [], []
    part, had_w = divide(loads, level_w), level_w
    keep = np.exp(-60.0 / LAG_S)
    for i, at_s in enumerate(time_s):
        k = int(np.searchsorted(plan.time_s, at_s, side="right")) - 1
        inside = 0 <= k < len(plan.time_s)
        target[i] = plan.target_w[k] if inside else np.inf
        ordered = top
        if inside and plan.hold[k]:
            aimed = float(plan.expected_w[k])
            if tracked and i and np.isfinite(target[i - 1]) and np.isfinite(target[i]):
                trim = trim.step(float(meter[i - 1]), aimed)
            wanted_w = aimed + trim.trim_w - connection.other_w
            if abs(wanted_w - had_w) > 1.0:  # else what is ordered stays ordered
                part, had_w = divide(loads, wanted_w, may_pause=False), wanted_w
            ordered = np.where(part.power_w >= loads.full_w - 1e-6, top, part.cap_w)
        settled = ordered + (cap_now - ordered) * keep
        mean_cap = ordered + (cap_now - ordered) * LAG_S / 60.0 * (1 - keep)  # over the minute
        cap_now = settled
        power, through = _answers(loads, mean_cap)
        meter[i] = float(power @ skew) * swing[i]
        if np.isfinite(target[i]):
            got.append(float(loads.gpus @ through / loads.gpus.sum()))
            least.append(through - loads.floor_frac)
    return Ran(time_s, meter, target, baseline_w, float(np.mean(got)), float(np.min(np.mean(least, axis=0))))


def _answers(loads: Loads, cap_w: Floats) -> tuple[Floats, Floats]:
    curves = [loads.curves[int(c)] for c in loads.curve]
    power = [np.interp(cap, curve.cap_w, curve.power_w) for cap, curve in zip(cap_w, curves, strict=True)]
    through = [np.interp(cap, curve.cap_w, curve.throughput_frac) for cap, curve in zip(cap_w, curves, strict=True)]
    return loads.gpus * np.array(power), np.array(through)


def bench(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Figures as ``icctwin bench dr`` prints them."""
    loads, (time_s, power_w) = recorded_loads(folder), recorded_meter(folder)
    quiet = [datetime.fromisoformat(text).timestamp() for text in QUIET]
    level = power_w[(time_s >= quiet[0]) & (time_s < quiet[1])]
    wander_ratio = level / level.mean()
    ran = carry_out(loads, wander_ratio, rng)
    proof = _proof(ran)
    open_loop = _proof(carry_out(loads, wander_ratio, rng, tracked=False))
    late = _proof(carry_out(loads, wander_ratio, rng, notice_s=0.0))
    full_w = float(loads.full_w.sum())
    figures: dict[str, float] = {
        "weighted_throughput_frac": ran.throughput_frac,
        "least_over_floor_frac": ran.least_over_floor_frac,
        "mean_cut_frac": proof.mean_cut_frac,
        "worst_minute_short_frac": proof.worst_short_frac,
        "minutes_short": float(proof.short_steps),
        "in_place_s": proof.in_place_s,
        "no_notice_in_place_s": late.in_place_s,
        "rebound_frac": proof.rebound_frac,
        "restore_s": proof.restore_s,
        "cut_kwh": proof.cut_kwh,
        "untracked_worst_minute_short_frac": open_loop.worst_short_frac,
    }
    against: dict[str, float] = {}
    for cut in SHAPES:
        one, alike = divide(loads, (1 - cut) * full_w, may_pause=False), uniform_cap(loads, (1 - cut) * full_w)
        figures[f"cut_{cut:.0%}_throughput_frac"] = one.weighted_frac(loads)
        against[f"cut_{cut:.0%}_lp_ceiling_frac"] = one.bound_frac
        against[f"cut_{cut:.0%}_uniform_cap_throughput_frac"] = alike.weighted_frac(loads)
        against[f"cut_{cut:.0%}_uniform_cap_least_over_floor_frac"] = float((alike.throughput_frac - loads.floor_frac).min())
    against |= {f"recorded_{name}": value for name, value in _recorded(time_s, power_w).items()}
    conditions = {"gpus": int(loads.gpus.sum()), "cut_frac": CUT_FRAC, "hours": HOURS, "model_error_frac": MODEL_ERROR_FRAC,
                  "lag_s": LAG_S, "data": "energy/demand-response (Emerald AI, Phoenix, 2025-05-04)"}  # fmt: skip
    return {"bench": "dr", "figures": figures, "against": against, "conditions": conditions}


def _proof(ran: Ran) -> Proof:
    event = np.isfinite(ran.target_w)
    ordered_s = float(ran.time_s[event][0]) - SETTLE_S
    baseline_w = before(ran.time_s, ran.meter_w, ordered_s)
    return prove(ran.time_s, ran.meter_w, ran.target_w, baseline_w, ordered_s, "mean of the hour before the first order")


def _recorded(time_s: Floats, power_w: Floats) -> dict[str, float]:
    """The same figures of what was really done then."""
    begin_s, end_s = (datetime.fromisoformat(text).timestamp() for text in EVENT)
    ordered_s = datetime.fromisoformat(QUIET[1]).timestamp()
    baseline_w = before(time_s, power_w, ordered_s)
    inside = (time_s >= begin_s) & (time_s < end_s)
    target = np.where(inside, (1 - CUT_FRAC) * baseline_w, np.inf)
    proof = prove(time_s, power_w, target, baseline_w, ordered_s, "mean of the hour before the first order")
    names = ("mean_cut_frac", "worst_short_frac", "short_steps", "in_place_s", "rebound_frac", "restore_s", "cut_kwh")
    return {name: float(getattr(proof, name)) for name in names}
