"""Runs of a plant, kept on disk: the exhaustive search of a bench asks for hundreds of them, and each is the same for ever; a
bench that was broken off goes on where it was. A run is known by the hash of all that makes it: model, weather, engine, load,
spans, settings; where a tuner steers, of the tuner's own text too."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from energy.tune.tuner import Options, Reading
from twin.frame import Floats
from ui.benches import energyplus, steered
from ui.benches.energyplus import STEP_S, Model
from ui.benches.steered import Plant, Steered

Spans = Sequence[tuple[int, int]]
Arrays = Mapping[str, np.ndarray]

_FOLDER = energyplus.KEPT / "runs"
_MOST = 4000  # runs kept; the oldest go first
_HOUSE = Path(__file__).resolve().parents[2]
_PLANTS = ("ui/benches/steered.py", "ui/benches/energyplus.py")  # what makes a test run
_TUNED = (*_PLANTS, "energy/tune", "twin/physics")  # what makes a tuned one


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


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """What a run under the tuner took: float64[t] of facility and cooling power [W], bool[t] where a bound was broken,
    ``settings`` [t, k], bool[t] ``handed_back``; ``effects`` [n, 4]: step, expected change and its 80 % bounds [W] of each
    decision; ``spent_s``: processor time."""

    facility_w: Floats
    cooling_w: Floats
    broken: np.ndarray
    settings: Floats
    handed_back: np.ndarray
    effects: Floats
    spent_s: float = 0.0


def tuned_of(plant: Plant, done: Steered, spent_s: float = 0.0) -> Tuned:
    """What ``done`` took on ``plant``."""
    rows = [(step, made.facility_power_w, made.low_w, made.high_w) for step, made in done.effects]
    power = plant.facility_w(done.run), plant.cooling_w(done.run)
    effects = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Tuned(*power, _broken(plant, done.run), done.settings, done.handed_back, effects, spent_s)


def constant(plant: Plant, settings: Sequence[float], climate: str, spans: Spans) -> Constant:
    """The plant at ``settings`` all the time, from disk where that was made before."""
    point = tuple(float(value) for value in settings)
    return _plain(plant, plant.model, point, climate, spans, lambda: steered.constant(plant, np.array(point), climate, spans))


def own_control(plant: Plant, model: Model, climate: str, spans: Spans) -> Constant:
    """The same under ``model``'s own managers, to which no orders are given."""
    return _plain(plant, model, (), climate, spans, lambda: energyplus.run(model, climate, lambda time_s, seen: {}, spans))


def _plain(
    plant: Plant, model: Model, point: tuple[float, ...], climate: str, spans: Spans, make: Callable[[], energyplus.Run]
) -> Constant:
    def made() -> Arrays:
        run = make()
        return {"facility_w": plant.facility_w(run), "cooling_w": plant.cooling_w(run), "broken": _broken(plant, run)}

    orders = plant.orders(np.array(point), 0) if point else {}
    found = _from_disk([*_world(plant, model, climate, spans), point, orders], made)
    return Constant(point, found["facility_w"], found["cooling_w"], found["broken"])


def commissioned(plant: Plant, climate: str, seed: int, spans: Spans) -> list[Reading]:
    """What ``steered.commissioned`` reads."""

    def made() -> Arrays:
        rows = steered.commissioned(plant, climate, seed, spans)
        table = [(r.time_s, r.dry_bulb_c, r.wet_bulb_c, r.load_frac) for r in rows]
        sides = {f"{side}:{name}": np.array([getattr(r, side)[name] for r in rows]) for side, name in _columns(rows[0])}
        return {"settings": np.array([r.settings for r in rows]), "table": np.array(table), **sides}

    moves = [(knob.low, knob.high, knob.ramp, knob.own) for knob in plant.physics.knobs]
    what = [*_world(plant, plant.model, climate, spans), _text(_PLANTS), repr(plant.physics), moves, seed]
    found = _from_disk(what, made)
    sides = [tuple(key.split(":", 1)) for key in found if ":" in key]

    def side(row: int, which: str) -> dict[str, float]:
        return {name: float(found[f"{which}:{name}"][row]) for kind, name in sides if kind == which}

    return [
        Reading(at, found["settings"][row], dry, wet, load, side(row, "parts_w"), side(row, "margins"))
        for row, (at, dry, wet, load) in enumerate(found["table"].tolist())
    ]


def _columns(reading: Reading) -> list[tuple[str, str]]:
    return [("parts_w", name) for name in reading.parts_w] + [("margins", name) for name in reading.margins]


def tuned(plant: Plant, climate: str, options: Options, before: Sequence[Reading], spans: Spans) -> Tuned:
    """The plant under the tuner, from disk where the same tuner met the same days before."""

    def made() -> Arrays:
        began_s = time.process_time()
        done = steered.steer(plant, climate, options, before, spans)
        found = tuned_of(plant, done, time.process_time() - began_s)
        return {name: np.asarray(getattr(found, name)) for name in Tuned.__slots__}

    test = hashlib.sha256(repr(before).encode()).hexdigest()
    what = [*_world(plant, plant.model, climate, spans), _text(_TUNED), repr(plant.physics), repr(options), test]
    found = _from_disk(what, made)
    return Tuned(**{name: found[name] for name in Tuned.__slots__ if name != "spent_s"}, spent_s=float(found["spent_s"]))


def _broken(plant: Plant, run: energyplus.Run) -> np.ndarray:
    return np.asarray(np.any([margin < 0 for margin in plant.margins(run).values()], axis=0))


def _world(plant: Plant, model: Model, climate: str, spans: Spans) -> list[Any]:
    """What makes a run, whoever steers it."""
    weather = hashlib.sha256(energyplus.weather_file(climate).read_bytes()).hexdigest()
    engine = version("pyenergyplus-lbnl")
    return [engine, STEP_S, model.source, model.reads, model.sets, plant.load_key, weather, list(spans)]


@cache
def _text(makes: tuple[str, ...]) -> str:
    """Hash of the text that makes a run: a tuner that was changed is another one."""
    places = [_HOUSE / place for place in makes]
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.glob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _from_disk(what: Sequence[Any], make: Callable[[], Arrays]) -> Arrays:
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    file = _FOLDER / f"{name}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return {key: kept[key] for key in kept.files}
    made = make()
    _keep(file, made)
    return made


def _keep(file: Path, made: Arrays) -> None:
    """Written beside and moved into place: a run that was stopped leaves no half file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old = sorted(file.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime)
    for one in old[: max(len(old) - _MOST + 1, 0)]:
        one.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.savez_compressed(part, **made)  # type: ignore[arg-type]
    Path(part.name).rename(file)
