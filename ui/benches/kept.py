"""Runs of a plant that no tuner steers, kept on disk: the exhaustive search of a bench asks for hundreds of them, and each is
the same for ever. A run is known by the hash of all that makes it: model, weather, engine, load, spans, settings."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from twin.frame import Floats
from ui.benches import energyplus, steered
from ui.benches.energyplus import STEP_S, Model, Run
from ui.benches.steered import Plant

Spans = Sequence[tuple[int, int]]

_FOLDER = energyplus.KEPT / "runs"
_MOST = 4000  # runs kept; the oldest go first


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """What a run at constant settings took: float64[t] of facility and cooling power [W], bool[t] where a bound was broken."""

    settings: tuple[float, ...]
    facility_w: Floats
    cooling_w: Floats
    broken: np.ndarray

    @property
    def violations(self) -> int:
        """Steps at which a bound was broken."""
        return int(self.broken.sum())


def constant(plant: Plant, settings: Sequence[float], climate: str, spans: Spans) -> Constant:
    """The plant at ``settings`` all the time, from disk where that was made before."""
    point = tuple(float(value) for value in settings)
    return _kept(plant, plant.model, point, climate, spans, lambda: steered.constant(plant, np.array(point), climate, spans))


def own_control(plant: Plant, model: Model, climate: str, spans: Spans) -> Constant:
    """The same under ``model``'s own managers, to which no orders are given."""
    return _kept(plant, model, (), climate, spans, lambda: energyplus.run(model, climate, lambda time_s, seen: {}, spans))


def _kept(
    plant: Plant, model: Model, point: tuple[float, ...], climate: str, spans: Spans, make: Callable[[], Run]
) -> Constant:
    weather = hashlib.sha256(energyplus.weather_file(climate).read_bytes()).hexdigest()
    engine, parts = version("pyenergyplus-lbnl"), (model.source, model.reads, model.sets)
    what = [engine, STEP_S, *parts, plant.load_key, weather, list(spans), point]
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    file = _FOLDER / f"{name}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return Constant(point, kept["facility_w"], kept["cooling_w"], kept["broken"])
    run = make()
    broken = np.any([margin < 0 for margin in plant.margins(run).values()], axis=0)
    made = Constant(point, plant.facility_w(run), plant.cooling_w(run), broken)
    _keep(file, made)
    return made


def _keep(file: Path, made: Constant) -> None:
    """Written beside and moved into place: a run that was stopped leaves no half file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old = sorted(file.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime)
    for one in old[: max(len(old) - _MOST + 1, 0)]:
        one.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.savez_compressed(part, facility_w=made.facility_w, cooling_w=made.cooling_w, broken=made.broken)
    Path(part.name).rename(file)
