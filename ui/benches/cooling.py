"""``icctwin bench cooling``: what the tuner saves on plants of EnergyPlus, beside their own control and the best constants.

The constants are found by exhaustive search for each climate: every one of a grid on a week of each month, the best few that
keep all bounds then on the whole year. The tuner gets the same year as it comes. Nothing of it was chosen on a judged climate:
its options on Denver and Sterling, and the hall's response is commissioned in Denver.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twin.errors import ConfigError, Problem
from twin.frame import Floats
from ui.benches import Result, energyplus, steered
from ui.benches.energyplus import STEP_S, WEEKS, YEAR, Run
from ui.benches.steered import HallPlant, LoopPlant, Plant, Steered
from ui.commands import tell

JUDGED = ("chicago_5a", "phoenix_2b", "san_francisco_3c", "miami_1a")
COMMISSIONED_IN, SEED = "denver_5b", 7
BEST = 3  # of the grid, tried on the whole year
_DAY = round(86_400 / STEP_S)
_GRIDS: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "hall": ((14.0, 16.0, 18.0, 20.0, 22.0, 24.0), (14.0, 20.0, 26.0, 30.0)),
    "loop": ((20.0, 22.0, 24.0, 26.0, 28.0, 30.0, 32.0), (0.4, 0.5, 0.6, 0.7, 0.9), (1.0, 2.0, 4.0)),
}
Figures = dict[str, float]


def bench_cooling(options: argparse.Namespace) -> Result:
    """Each climate with both curves of the hall, and the warm-water loop. ``ConfigError`` where EnergyPlus is missing."""
    if missing := energyplus.why_missing():
        raise ConfigError([Problem("EnergyPlus", missing)])
    figures: Figures = {}
    against: Figures = {}
    with threadpool_limits(1):  # two threads on small matrices wait for one another
        for name, make, before in _cases():
            for climate in JUDGED:
                tell(f"{name} in {climate}")
                found, other = _judge(name, make, before, climate)
                figures |= {f"{name}_{climate}_{figure}": value for figure, value in found.items()}
                against |= {f"{name}_{climate}_{figure}": value for figure, value in other.items()}
    figures |= _over_all(figures)
    conditions = {"engine": "EnergyPlus 25.2", "step_s": STEP_S, "commissioned_in": COMMISSIONED_IN, "seed": SEED}
    return {"bench": "cooling", "figures": figures, "against": against, "conditions": conditions}


Case = tuple[str, Callable[[], Plant], Sequence[Any]]


def _cases() -> list[Case]:
    load_w = frontier_like_w(round(365 * 86_400 / STEP_S), np.random.Generator(np.random.PCG64(SEED)))
    cases: list[Case] = [("loop", lambda: LoopPlant(load_w), ())]
    for curve in energyplus.CURVES:
        before = steered.commissioned(HallPlant(curve), COMMISSIONED_IN, SEED)
        cases.append((f"hall_{curve}", lambda curve=curve: HallPlant(curve), before))  # type: ignore[misc]
    return cases


def frontier_like_w(steps: int, rng: np.random.Generator) -> Floats:
    """float64[steps]: heat of a large machine [W], between 7 and 25 MW with jumps of most of it within a step, as Frontier's 25
    CDUs show on 2024-04-07: long jobs that fill the machine, drains before them, and a slow week."""
    made, level = np.empty(steps), 0.6
    for i in range(steps):
        if rng.random() < 1 / 14:  # a stay of three and a half hours at one level
            level = float(rng.choice([0.27, 0.35, 0.6, 0.85, 0.93]))
        made[i] = level
    smooth = made + 0.02 * rng.standard_normal(steps)
    return np.asarray(np.clip(smooth, 0.25, 0.95) * steered.LOOP_W)


def _judge(name: str, make: Callable[[], Plant], before: Sequence[Any], climate: str) -> tuple[Figures, Figures]:
    plant = make()
    own = np.array([knob.own for knob in plant.physics.knobs])
    default = _own_control(name, make(), own, climate)
    settings, best = _best_constant(make, climate, _GRIDS[name.split("_")[0]])
    began_s = time.process_time()
    done = steered.steer(plant, climate, None, before)
    spent_s = time.process_time() - began_s
    ours, theirs, fixed = (plant.facility_w(run) for run in (done.run, default, best))
    cooling, before_w = plant.cooling_w(done.run), plant.cooling_w(default)
    figures = {
        "facility_saved_frac": 1 - ours.mean() / theirs.mean(),
        "facility_saved_vs_best_constant_frac": 1 - ours.mean() / fixed.mean(),
        "cooling_saved_frac": 1 - cooling.mean() / before_w.mean(),
        "facility_mwh": ours.sum() * STEP_S / 3.6e9,
        "pue_ratio": ours.mean() / (ours.mean() - cooling.mean()),
        **_kept(plant, done),
        "handed_back_frac": float(done.handed_back.mean()),
        "effect_coverage_frac": coverage(done, ours - plant.facility_w(steered.constant(make(), own, climate))),
        "year_cpu_s": spent_s,
    }
    against = {
        "default_facility_mwh": theirs.sum() * STEP_S / 3.6e9,
        "default_pue_ratio": theirs.mean() / (theirs.mean() - before_w.mean()),
        "best_constant_facility_mwh": fixed.sum() * STEP_S / 3.6e9,
        "default_violations_count": _violations(plant, default),
        **{f"best_constant_{knob.name}": value for knob, value in zip(plant.physics.knobs, settings, strict=True)},
    }
    return {k: float(v) for k, v in figures.items()}, {k: float(v) for k, v in against.items()}


def _own_control(name: str, plant: Plant, own: Floats, climate: str) -> Run:
    """The hall under the example's own managers; the loop at its fixed set-points and flow."""
    if isinstance(plant, HallPlant):
        model = energyplus.hall(name.removeprefix("hall_"), own=True)
        return energyplus.run(model, climate, lambda time_s, seen: {}, YEAR)
    return steered.constant(plant, own, climate)


def _best_constant(make: Callable[[], Plant], climate: str, grid: tuple[tuple[float, ...], ...]) -> tuple[Floats, Run]:
    """The constant settings that take least of those that keep every bound all year."""
    tried = []
    for point in itertools.product(*grid):
        plant, settings = make(), np.array(point)
        run = steered.constant(plant, settings, climate, WEEKS)
        if not _violations(plant, run):
            tried.append((float(plant.facility_w(run).mean()), point))
    best: tuple[float, Floats, Run] | None = None
    kept = 0
    for _, point in sorted(tried):
        plant, settings = make(), np.array(point)
        run = steered.constant(plant, settings, climate)
        if _violations(plant, run):
            continue
        kept, mean = kept + 1, float(plant.facility_w(run).mean())
        best = (mean, settings, run) if best is None or mean < best[0] else best
        if kept == BEST:
            break
    if best is None:
        raise ConfigError([Problem(climate, "no constant settings of the grid keep every bound")])
    return best[1], best[2]


def _violations(plant: Plant, run: Run) -> int:
    return int(sum((margin < 0).sum() for margin in plant.margins(run).values()))


def _kept(plant: Plant, done: Steered) -> Figures:
    """What was broken: bounds as measured, ramps and dwells of all orders but those of a hand-back."""
    knobs = plant.physics.knobs
    moves = np.abs(np.diff(done.settings, axis=0))
    free = ~(done.handed_back[1:] | done.handed_back[:-1])
    ramp = np.array([knob.ramp for knob in knobs])
    quick = 0
    for k, knob in enumerate(knobs):
        at = np.flatnonzero((moves[:, k] > 1e-9) & free)
        quick += int((np.diff(at) < knob.dwell * round(1800 / STEP_S)).sum())
    return {
        "violations_count": _violations(plant, done.run),
        "ramp_violations_count": float(((moves > ramp + 1e-6).any(axis=1) & free).sum()),
        "dwell_violations_count": float(quick),
    }


def coverage(done: Steered, change_w: Floats) -> float:
    """Share of days on which the change of facility power against the plant's own settings lay inside the plans' 80 %."""
    steps = np.array([step for step, _ in done.effects])
    bounds = np.array([(effect.low_w, effect.high_w) for _, effect in done.effects])
    hits = []
    for day in range(len(change_w) // _DAY):
        mine = (steps >= day * _DAY) & (steps < (day + 1) * _DAY)
        if mine.sum() < _DAY // 2 - 4:
            continue
        low, high = bounds[mine].mean(axis=0)
        hits.append(low <= change_w[day * _DAY : (day + 1) * _DAY].mean() <= high)
    return float(np.mean(hits)) if hits else float("nan")


def _over_all(figures: Figures) -> Figures:
    def of(end: str) -> list[float]:
        return [value for name, value in figures.items() if name.endswith(end)]

    return {
        "least_facility_saved_frac": min(of("facility_saved_frac")),
        "least_facility_saved_vs_best_constant_frac": min(of("facility_saved_vs_best_constant_frac")),
        "least_loop_cooling_saved_frac": min(v for n, v in figures.items() if n.startswith("loop") and "cooling_saved" in n),
        "violations_count": sum(of("_violations_count")),
        "most_year_cpu_s": max(of("year_cpu_s")),
    }


__all__ = ["bench_cooling", "coverage", "frontier_like_w"]
