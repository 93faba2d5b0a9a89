"""The plants of EnergyPlus under a policy: own control, constant settings, or the tuner; what each took and whether it kept
its bounds. The tuner sees what meters of the plant would show, at the time, and nothing of the year to come."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.signal import lfilter

from energy.plan import Effect
from energy.tune.case import Physics
from energy.tune.hall import AirHall
from energy.tune.loop import WarmLoop
from energy.tune.tuner import Options, Reading, Tuner
from twin.frame import Floats
from ui.benches import energyplus
from ui.benches.energyplus import STEP_S, YEAR, Model, Run, Values

IT_HALL_W = 75_000.0  # about the IT power of the hall at full load with the milder curve
LOOP_W, LOOP_KGPS, LOOP_WPK = 27e6, 759.0, 12e6  # of fixtures/plant/energyplus-loop.idf
LOOP_PEAK_FRAC = 0.95  # the machine's own peak over the loop's design heat: Frontier, 25.6 of 27 MW
ROOM_S = 3600.0  # in which a room's air is changed by air from outside
_ROOM_FRAC = 1 - float(np.exp(-STEP_S / ROOM_S))
LEAK_PER_K = 0.0015  # of chips' power with coolant temperature: SPARC64 VIIIfx, 0.2 %/K (Kanter 2011), a little less


class Plant(Protocol):
    """A plant of EnergyPlus as its meters show it and as it takes orders."""

    @property
    def model(self) -> Model:
        """What the engine runs."""
        ...

    @property
    def physics(self) -> Physics:
        """What the tuner takes it for."""
        ...

    @property
    def load_key(self) -> str:
        """Names the load that it carries, where that is not the model's own."""
        ...

    def orders(self, settings: Floats, step: int) -> dict[str, float]:
        """What the engine is told for settings [k] in a step."""
        ...

    def reading(self, seen: Values, settings: Floats, step: int) -> Reading:
        """What the meters say at the end of the step before."""
        ...

    def facility_w(self, run: Run) -> Floats:
        """float64[t]: power of the whole facility."""
        ...

    def cooling_w(self, run: Run) -> Floats:
        """float64[t]: of that, cooling."""
        ...

    def margins(self, run: Run) -> Mapping[str, Floats]:
        """Room to each bound over the run; below 0 is a violation."""
        ...


class HallPlant:
    """The air-cooled hall with one of its IT curves."""

    def __init__(self, curve: str) -> None:
        self.model = energyplus.hall(curve)
        self.physics = AirHall(IT_HALL_W)
        self.load_key = ""

    def orders(self, settings: Floats, step: int) -> dict[str, float]:
        """Supply air, condenser water and return air as set; chilled water as the plant has it."""
        return {"supply_air_c": settings[0], "condenser_c": settings[1], "chilled_c": 7.0, "zone_c": settings[2]}

    def reading(self, seen: Values, settings: Floats, step: int) -> Reading:
        """Submeters of IT, fans and all other cooling; two inlet sensors."""
        parts = _hall_parts(seen)
        margins = {name: float(value) for name, value in self._room(seen).items()}
        return Reading(step * STEP_S, settings, seen["dry_bulb_c"], seen["wet_bulb_c"], seen["util_frac"], parts, margins)

    def _room(self, seen: Mapping[str, Floats] | Values) -> dict[str, Floats]:
        low_c, high_c = self.physics.inlet_c
        inlets = np.array([seen["east_inlet_c"], seen["west_inlet_c"]])
        return {"inlet_high_k": high_c - inlets.max(axis=0), "inlet_low_k": inlets.min(axis=0) - low_c}

    def facility_w(self, run: Run) -> Floats:
        """As its meter has it."""
        return run.readings["facility_w"]

    def cooling_w(self, run: Run) -> Floats:
        """As its meter has it."""
        return run.readings["cooling_w"]

    def margins(self, run: Run) -> Mapping[str, Floats]:
        """Inlets within their class."""
        return self._room(run.readings)


def _hall_parts(seen: Values) -> dict[str, float]:
    it_w = sum(seen[f"{zone}_{part}_it_w"] for zone in ("east", "west") for part in ("cpu", "fan", "ups"))
    fan_w = seen["east_fan_w"] + seen["west_fan_w"]
    return {"it": it_w, "fan": fan_w, "cold": seen["cooling_w"] - fan_w}


class LoopPlant:
    """The warm-water loop under a load. ``load_w`` [t]: heat of IT at 25 °C, a value a step."""

    def __init__(self, load_w: Floats) -> None:
        self.model = energyplus.loop()
        self.physics = WarmLoop(LOOP_W, LOOP_KGPS, LOOP_WPK, peak_frac=LOOP_PEAK_FRAC)
        self._load_w = load_w
        self.load_key = hashlib.sha256(load_w.tobytes()).hexdigest()
        self._supply_c, self._dew_c = 25.0, float("nan")

    def orders(self, settings: Floats, step: int) -> dict[str, float]:
        """Tower water a gap below supply; the load leaks with the supply temperature of the step before."""
        supply_c, flow, gap_k = settings
        heat_w = self._load_w[step] * (1 + LEAK_PER_K * (self._supply_c - 25.0))
        return {"drawn_w": -heat_w, "flow_frac": flow, "supply_set_c": supply_c, "tower_set_c": supply_c - gap_k}

    def reading(self, seen: Values, settings: Floats, step: int) -> Reading:
        """Submeters of pumps and tower, IT power, temperatures of the loop."""
        self._supply_c = seen["supply_c"]
        outside_c = min(seen["dew_c"], self.physics.dried_c)
        began = step > 0 and np.isfinite(self._dew_c)
        self._dew_c = self._dew_c + _ROOM_FRAC * (outside_c - self._dew_c) if began else outside_c
        load = self._load_w[max(step - 1, 0)] / LOOP_W
        parts = {"it": -seen["heat_w"], "pump": seen["pump_w"], "tower_pump": seen["tower_pump_w"], "tower": seen["tower_w"]}
        margins = {name: float(value) for name, value in self._room(seen, np.array(load), np.array(self._dew_c)).items()}
        return Reading(step * STEP_S, settings, seen["dry_bulb_c"], seen["wet_bulb_c"], load, parts, margins)

    def _room(self, seen: Mapping[str, Floats] | Values, load: Floats, dew_c: Floats) -> dict[str, Floats]:
        flow = np.asarray(seen["flow_kgps"]) / self.physics.design_kgps
        return self.physics.measured(np.asarray(seen["supply_c"]), np.asarray(seen["return_c"]), flow, load, dew_c)

    def facility_w(self, run: Run) -> Floats:
        """IT, pumps and towers."""
        return np.asarray(self.cooling_w(run) - run.readings["heat_w"])

    def cooling_w(self, run: Run) -> Floats:
        """Pumps and towers."""
        return np.asarray(run.readings["pump_w"] + run.readings["tower_pump_w"] + run.readings["tower_w"])

    def margins(self, run: Run) -> Mapping[str, Floats]:
        """Rise, junction, water class and dew point."""
        outside_c = np.minimum(run.readings["dew_c"], self.physics.dried_c)
        keep = 1 - _ROOM_FRAC
        room_c, _ = lfilter([_ROOM_FRAC], [1, -keep], outside_c, zi=[keep * outside_c[0]])  # the first-order lag of ``reading``
        return self._room(run.readings, self._load_w[: len(room_c)] / LOOP_W, room_c)


@dataclass(frozen=True, slots=True, eq=False)
class Steered:
    """A run under a policy: ``settings`` [t, k], ``handed_back`` [t]; ``effects``: what the tuner expected of each decision."""

    run: Run
    settings: Floats
    handed_back: np.ndarray
    effects: Sequence[tuple[int, Effect]]
    whys: Mapping[str, int]


Disturb = Callable[[Reading], Reading]


def constant(plant: Plant, settings: Floats, climate: str, spans: Sequence[tuple[int, int]] = YEAR) -> Run:
    """The plant at the same settings all the time."""
    return energyplus.run(plant.model, climate, _Constant(plant, settings), spans)


class _Constant:
    def __init__(self, plant: Plant, settings: Floats) -> None:
        self._plant, self._settings = plant, settings

    def __call__(self, time_s: float, seen: Values) -> Values:
        step = round(time_s / STEP_S)
        self._plant.reading(seen, self._settings, step)
        return self._plant.orders(self._settings, step)


def commissioned(plant: Plant, climate: str, seed: int, spans: Sequence[tuple[int, int]] = YEAR) -> list[Reading]:
    """Readings of the plant while its settings wander in small steps within their bounds: a test of another climate."""
    return _readings(plant, climate, np.random.Generator(np.random.PCG64(seed)), spans)


def _readings(plant: Plant, climate: str, rng: np.random.Generator, spans: Sequence[tuple[int, int]]) -> list[Reading]:
    knobs = plant.physics.knobs
    low, high, ramp = (np.array([getattr(knob, name) for knob in knobs]) for name in ("low", "high", "ramp"))
    now = np.array([knob.own for knob in knobs])
    kept: list[Reading] = []

    def wander(time_s: float, seen: Values) -> Values:
        step = round(time_s / STEP_S)
        if step % 4 == 0:
            if step:
                kept.append(plant.reading(seen, now.copy(), step))
            now[:] = np.clip(now + ramp * rng.integers(-1, 2, len(now)), low, high)
        return plant.orders(now, step)

    energyplus.run(plant.model, climate, wander, spans)
    return kept


def steer(
    plant: Plant,
    climate: str,
    options: Options | None = None,
    before: Sequence[Reading] = (),
    spans: Sequence[tuple[int, int]] = YEAR,
    disturb: Disturb | None = None,
) -> Steered:
    """The plant under the tuner. ``before``: readings of a test that it starts from; ``disturb``: what happens to a reading on
    its way."""
    tuner = Tuner(plant.physics, options)
    if before:
        tuner.commission(before)
    policy = _Tuned(plant, tuner, disturb)
    run = energyplus.run(plant.model, climate, policy, spans)
    return Steered(run, np.array(policy.settings), np.array(policy.handed_back), policy.effects, policy.whys)


class _Tuned:
    """Asks the tuner every so often, holds its orders until they end, then the plant's own."""

    def __init__(self, plant: Plant, tuner: Tuner, disturb: Disturb | None) -> None:
        self._plant, self.tuner, self._disturb = plant, tuner, disturb
        self._every = round(tuner.options.every_s / STEP_S)
        self._now, self._until_s = tuner.own.copy(), np.inf
        self.settings: list[Floats] = []
        self.handed_back: list[bool] = []
        self.effects: list[tuple[int, Effect]] = []
        self.whys: dict[str, int] = {}
        self._back = True

    def __call__(self, time_s: float, seen: Values) -> Values:
        step = round(time_s / STEP_S)
        reading = self._plant.reading(seen, self._now, step)
        if step % self._every == 0 and step:
            self._decide(self._disturb(reading) if self._disturb else reading, step)
        if time_s >= self._until_s:
            self._now, self._back = self.tuner.own.copy(), True
        self.settings.append(self._now.copy())
        self.handed_back.append(self._back)
        return self._plant.orders(self._now, step)

    def _decide(self, reading: Reading, step: int) -> None:
        made = self.tuner.step(reading)
        self._back = made.settings is None
        self._now = self.tuner.own.copy() if made.settings is None else made.settings
        self._until_s = made.until_s
        if made.effect is not None:
            self.effects.append((step, made.effect))
        if made.why is not None:
            self.whys[made.why.text] = self.whys.get(made.why.text, 0) + 1
