"""``icctwin bench cooling``: what the tuner saves on plants of EnergyPlus, beside their own control and the best constants.

The constants are found by exhaustive search for each climate: every one of a grid on a week of each season, then the
neighbours of the best on the tuner's own lattice until none is better, then the best few that keep all bounds on all that is
judged. The tuner gets the same days as they come. Nothing of it was chosen on a judged climate, and the hall's response is
commissioned in others.

``effect_coverage_frac`` compares what plans promised with a second run at the plant's own settings. In a humid season the
hall's own run is no plant: ordered to make condenser water of 20 °C at a wet bulb of 24 °C for days, the engine's tower (25.2)
gives water of 18 °C with its fan at rest. What is promised against it there, a real tower's fan in full, is missed by 5-10 kW.

``cooling`` judges the whole year, its first days of watching included; ``cooling_weeks`` two weeks of each season after one
week that is not judged, in a sixth of the time.
"""

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from energy.tune.knobs import Knob
from energy.tune.tuner import Options
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from ui.benches import Result, energyplus, kept, steered
from ui.benches.energyplus import SEASONS, STEP_S, WEEKS, YEAR
from ui.benches.kept import Constant, Tuned
from ui.benches.steered import HallPlant, LoopPlant, Plant
from ui.commands import tell

JUDGED = ("chicago_5a", "phoenix_2b", "san_francisco_3c", "miami_1a")
COMMISSIONED_IN, SEED = ("sterling_4a", "las_vegas_3b", "tampa_2a"), 7
NEW = Options(shadow=24, probe=0)  # watched for half a day; what is tried out is what seems to pay
COMMISSIONED = Options(shadow=12, probe=0)  # of a plant whose response was tried elsewhere
BEST = 3  # of the grid, tried on all that is judged
_DAY = round(86_400 / STEP_S)
_GRIDS: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "hall": ((14.0, 17.0, 20.0, 23.0), (20.0,), (23.0, 27.0, 31.0)),
    "loop": ((17.0, 20.0, 24.0, 28.0), (0.4, 0.5, 0.6, 0.9), (1.0, 3.0)),
}
Figures = dict[str, float]
Point = tuple[float, ...]


class Judged(NamedTuple):
    """What is judged: spans of days, and how many of the first ones are run but not judged."""

    spans: Sequence[tuple[int, int]]
    lead_days: int = 0


ALL = Judged(YEAR)
SAMPLE = Judged(((1, 7), *((day + off, day + off + 6) for day in (8, 99, 190, 281) for off in (0, 28))), 7)


def bench_cooling(options: argparse.Namespace) -> Result:
    """Each climate with both curves of the hall, and the warm-water loop, a year each. ``ConfigError`` where EnergyPlus is
    missing."""
    return _bench("cooling", ALL, getattr(options, "climate", None) or JUDGED)


def bench_weeks(options: argparse.Namespace) -> Result:
    """The same on two weeks of each season."""
    return _bench("cooling_weeks", SAMPLE, getattr(options, "climate", None) or JUDGED)


def _bench(bench: str, judged: Judged, climates: Sequence[str]) -> Result:
    if missing := energyplus.why_missing():
        raise ConfigError([Problem("EnergyPlus", missing)])
    if unknown := sorted(set(climates) - set(JUDGED)):
        raise ConfigError([Problem(name, f"is no climate that is judged; those are {', '.join(JUDGED)}") for name in unknown])
    figures: Figures = {}
    against: Figures = {}
    with threadpool_limits(1):  # two threads on small matrices wait for one another
        for name, make, before in _cases():
            for climate in climates:
                tell(f"{name} in {climate}")
                found, other = _judge(name, make, before, climate, judged)
                figures |= {f"{name}_{climate}_{figure}": value for figure, value in found.items()}
                against |= {f"{name}_{climate}_{figure}": value for figure, value in other.items()}
    figures |= _over_all(figures)
    days = sum(last - first + 1 for first, last in judged.spans) - judged.lead_days
    conditions = {
        "engine": "EnergyPlus 25.2", "step_s": STEP_S, "commissioned_in": list(COMMISSIONED_IN), "seed": SEED,
        "judged_days": days, "lead_days": judged.lead_days,
    }  # fmt: skip
    return {"bench": bench, "figures": figures, "against": against, "conditions": conditions}


Case = tuple[str, Callable[[], Plant], Sequence[Any]]


def _cases() -> list[Case]:
    load_w = frontier_like_w(round(365 * 86_400 / STEP_S), np.random.Generator(np.random.PCG64(SEED)))
    cases: list[Case] = [("loop", lambda: LoopPlant(load_w), ())]
    for curve in energyplus.CURVES:
        before = [one for there in COMMISSIONED_IN for one in kept.commissioned(HallPlant(curve), there, SEED, WEEKS)]
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
    return np.asarray(np.clip(smooth, 0.25, steered.LOOP_PEAK_FRAC) * steered.LOOP_W)


def _judge(
    name: str, make: Callable[[], Plant], before: Sequence[Any], climate: str, judged: Judged
) -> tuple[Figures, Figures]:
    plant, after = make(), slice(judged.lead_days * _DAY, None)
    options = COMMISSIONED if before else NEW
    own = [knob.own for knob in plant.physics.knobs]
    default = _own_control(name, make(), own, climate, judged)
    fixed = _best_constant(make, climate, _GRIDS[name.split("_")[0]], judged)
    done = kept.tuned(plant, climate, options, before, judged.spans)
    ours, theirs, best = (column[after] for column in (done.facility_w, default.facility_w, fixed.facility_w))
    cooling, before_w = done.cooling_w[after], default.cooling_w[after]
    change_w = done.facility_w - kept.constant(make(), own, climate, judged.spans).facility_w
    figures = {
        "facility_saved_frac": 1 - ours.mean() / theirs.mean(),
        "facility_saved_vs_best_constant_frac": 1 - ours.mean() / best.mean(),
        "cooling_saved_frac": 1 - cooling.mean() / before_w.mean(),
        "facility_mwh": ours.sum() * STEP_S / 3.6e9,
        "pue_ratio": ours.mean() / (ours.mean() - cooling.mean()),
        **bounds_kept(plant.physics.knobs, done),
        "handed_back_frac": float(done.handed_back[after].mean()),
        "effect_coverage_frac": coverage(done, change_w, judged.lead_days),
        "steered_cpu_s": done.spent_s,
    }
    against = {
        "default_facility_mwh": theirs.sum() * STEP_S / 3.6e9,
        "default_pue_ratio": theirs.mean() / (theirs.mean() - before_w.mean()),
        "best_constant_facility_mwh": best.sum() * STEP_S / 3.6e9,
        "default_violations_count": float(default.broken[after].sum()),
        **{f"best_constant_{knob.name}": value for knob, value in zip(plant.physics.knobs, fixed.settings, strict=True)},
    }
    return {k: float(v) for k, v in figures.items()}, {k: float(v) for k, v in against.items()}


def _own_control(name: str, plant: Plant, own: Sequence[float], climate: str, judged: Judged) -> Constant:
    """The hall under the example's own managers; the loop at its fixed set-points and flow."""
    if isinstance(plant, HallPlant):
        return kept.own_control(plant, energyplus.hall(name.removeprefix("hall_"), own=True), climate, judged.spans)
    return kept.constant(plant, own, climate, judged.spans)


def _best_constant(make: Callable[[], Plant], climate: str, grid: tuple[tuple[float, ...], ...], judged: Judged) -> Constant:
    """The constant settings that take least of those that keep every bound in all that is judged."""
    tried: dict[Point, float] = {}

    def trial(point: Point) -> float:
        """Mean facility power over a week of each season [W], inf where a bound was broken."""
        if point not in tried:
            run = kept.constant(make(), point, climate, SEASONS)
            tried[point] = float("inf") if run.violations else float(run.facility_w.mean())
        return tried[point]

    best = min(itertools.product(*grid), key=trial)
    while (better := _better(make(), best, trial)) is not None:
        best = better
    found: list[Constant] = []
    after = slice(judged.lead_days * _DAY, None)
    for point in sorted((p for p in tried if np.isfinite(tried[p])), key=trial):
        run = kept.constant(make(), point, climate, judged.spans)
        if not run.broken[after].any():
            found.append(run)
        if len(found) == BEST:
            break
    if not found:
        raise ConfigError([Problem(climate, "no constant settings of the grid keep every bound")])
    return min(found, key=lambda run: float(run.facility_w[after].mean()))


def _better(plant: Plant, point: Point, trial: Callable[[Point], float]) -> Point | None:
    """The best neighbour of ``point`` on the tuner's lattice that is better, along one knob, or else along two; None where
    there is none."""
    sides = []
    for knob, value in zip(plant.physics.knobs, point, strict=True):
        near = knob.values[np.abs(knob.values - value) <= knob.grid + 1e-9]
        sides.append(sorted({value, *near.tolist()}))
    for many in (1, 2):
        around = [p for p in itertools.product(*sides) if sum(a != b for a, b in zip(p, point, strict=True)) == many]
        found = min(around, key=trial)
        if trial(found) < trial(point):
            return found
    return None


def bounds_kept(knobs: Sequence[Knob], done: Tuned) -> Figures:
    """What was broken: bounds as measured, ramps and dwells of all orders but those of a hand-back."""
    moves = np.abs(np.diff(done.settings, axis=0))
    free = ~(done.handed_back[1:] | done.handed_back[:-1])
    ramp = np.array([knob.ramp for knob in knobs])
    quick = 0
    for k, knob in enumerate(knobs):
        at = np.flatnonzero((moves[:, k] > 1e-9) & free)
        quick += int((np.diff(at) < knob.dwell * round(1800 / STEP_S)).sum())
    return {
        "violations_count": float(done.broken.sum()),
        "ramp_violations_count": float(((moves > ramp + 1e-6).any(axis=1) & free).sum()),
        "dwell_violations_count": float(quick),
    }


def coverage(done: Tuned, change_w: Floats, lead_days: int = 0) -> float:
    """Share of days on which the change of facility power against the plant's own settings lay inside the plans' 80 %."""
    steps, bounds = done.effects[:, 0], done.effects[:, 2:]
    hits = []
    for day in range(lead_days, len(change_w) // _DAY):
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
        "most_steered_cpu_s": max(of("steered_cpu_s")),
    }


__all__ = ["bench_cooling", "bench_weeks", "bounds_kept", "coverage", "frontier_like_w"]
