"""EnergyPlus as a plant that is not ours: its engine, its data-centre hall, its warm-water loop, driven a step at a time.

The engine and its weather come with the package ``pyenergyplus-lbnl`` (``make plants``); the hall is the example
``2ZoneDataCenterHVAC_wEconomizer`` as the source distribution of ``sinergym`` carries it, fetched once and checked by hash.
Nothing of it is part of icctwin: benches and tests alone use it.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats

Values = Mapping[str, float]
Control = Callable[[float, Values], Values]  # (s since the start, readings) -> orders for the step that begins

STEP_S = 900.0
_PACKAGE = "sinergym==3.5.1"
_HALL = "sinergym/data/buildings/2ZoneDataCenterHVAC_wEconomizer.epJSON"
_SHA256 = "0959e95318ee48c6cffbba374ca854a783e06533d4ae9dbb86a22153c5d6e56a"
_LOOP = Path(__file__).resolve().parents[2] / "fixtures" / "plant" / "energyplus-loop.idf"
KEPT = Path(sys.prefix) / "energyplus"
_FETCH_S = 300.0
_UNWANTED = ("Output:Table:SummaryReports", "Output:VariableDictionary", "Output:Surfaces:Drawing", "Output:Constructions")

# climate (ASHRAE 169 zone) -> weather file of the package
WEATHER: Mapping[str, str] = {
    "chicago_5a": "USA_IL_Chicago-OHare",
    "phoenix_2b": "USA_AZ_Phoenix-Sky.Harbor",
    "san_francisco_3c": "USA_CA_San.Francisco",
    "miami_1a": "USA_FL_Miami",
    "denver_5b": "USA_CO_Denver-Aurora",
    "sterling_4a": "USA_VA_Sterling",
    "las_vegas_3b": "USA_NV_Las.Vegas",
    "tampa_2a": "USA_FL_Tampa",
}


@dataclass(frozen=True, slots=True)
class Model:
    """What EnergyPlus runs and how it is spoken to: ``reads`` names to (variable, key), ``sets`` names to actuators
    (component, control, key)."""

    name: str
    source: Mapping[str, Any] | str  # epJSON or the text of an IDF, without run period and steps
    reads: Mapping[str, tuple[str, str]]
    sets: Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a run: float64[t] by name, readings at the end of each step and the orders in force during it."""

    readings: Mapping[str, Floats]
    orders: Mapping[str, Floats]


def why_missing() -> str:
    """Why EnergyPlus cannot be used here; empty where it can."""
    if find_spec("pyenergyplus") is None:
        return "EnergyPlus is not installed; make plants brings it (package pyenergyplus-lbnl)"
    return ""


YEAR = ((1, 365),)
WEEKS = tuple((day, day + 6) for day in range(8, 365, 30))  # a week of each month
SEASONS = tuple((day, day + 6) for day in (8, 99, 190, 281))  # a week of each season


def run(model: Model, climate: str, control: Control, spans: Sequence[tuple[int, int]] = YEAR) -> Run:
    """Spans of days (first, last) of a typical year in ``climate``, one after the other, ``control`` asked before each step.

    ``ConfigError`` where EnergyPlus is missing or refuses the model.
    """
    if missing := why_missing():
        raise ConfigError([Problem("EnergyPlus", missing)])
    with tempfile.TemporaryDirectory(prefix="icctwin-plant-") as folder:
        text = isinstance(model.source, str)
        file = Path(folder) / ("model.idf" if text else "model.epJSON")
        file.write_text(_between(model.source, spans))
        return _Session(model, control).run(file, weather_file(climate), Path(folder))


def weather_file(climate: str) -> Path:
    """The typical year of ``climate`` that comes with the engine."""
    return next(p for p in _engine_folder().glob("data/weather/*.epw") if p.name.startswith(WEATHER[climate]))


@cache
def _api() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (SyntaxWarning, DeprecationWarning))  # of the package's own text
        return import_module("pyenergyplus.api").EnergyPlusAPI()


def _engine_folder() -> Path:
    return Path(str(import_module("pyenergyplus").__file__)).parent


class _Session:
    """One run: callbacks of the engine in, a table out."""

    def __init__(self, model: Model, control: Control) -> None:
        self._model, self._control, self._api = model, control, _api()
        self._variable: dict[str, int] = {}
        self._actuator: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._orders: Values = {}
        self._readings: list[list[float]] = []
        self._ordered: list[list[float]] = []
        self._failed: Exception | None = None

    def run(self, file: Path, weather: Path, folder: Path) -> Run:
        api = self._api
        state = api.state_manager.new_state()
        api.runtime.set_console_output_status(state, False)
        for variable, key in self._model.reads.values():
            api.exchange.request_variable(state, variable, key)
        api.runtime.callback_begin_zone_timestep_after_init_heat_balance(state, self._begin)
        api.runtime.callback_end_zone_timestep_after_zone_reporting(state, self._end)
        try:
            status = api.runtime.run_energyplus(state, ["-d", str(folder), "-w", str(weather), str(file)])
        finally:
            api.runtime.clear_callbacks()
            api.state_manager.delete_state(state)
        if self._failed is not None:
            raise self._failed
        if status or not self._readings:
            raise ConfigError([Problem(self._model.name, f"EnergyPlus gave it up: {_last_severe(folder)}")])
        readings = dict(zip(self._model.reads, np.array(self._readings).T, strict=True))
        orders = dict(zip(self._model.sets, np.array(self._ordered).T, strict=True))
        return Run(readings, orders)

    def _begin(self, state: Any) -> None:
        """Before a step: what was read at the end of the one before goes in, orders come out."""
        exchange = self._api.exchange
        if self._failed is not None or not exchange.api_data_fully_ready(state):
            return
        if not self._variable:
            self._find(state)
        if not exchange.warmup_flag(state):
            try:
                self._orders = self._control(len(self._readings) * STEP_S, self._seen or self._read(state))
            except Exception as error:  # noqa: BLE001 - the engine's C code swallows what a callback raises: kept and raised after
                self._failed = error
                self._api.runtime.stop_simulation(state)
                return
        for name, value in self._orders.items():
            exchange.set_actuator_value(state, self._actuator[name], value)

    def _end(self, state: Any) -> None:
        exchange = self._api.exchange
        if not self._variable or exchange.warmup_flag(state) or not exchange.api_data_fully_ready(state):
            return
        self._seen = self._read(state)
        self._readings.append(list(self._seen.values()))
        self._ordered.append([self._orders.get(name, float("nan")) for name in self._model.sets])

    def _read(self, state: Any) -> dict[str, float]:
        return {name: self._api.exchange.get_variable_value(state, handle) for name, handle in self._variable.items()}

    def _find(self, state: Any) -> None:
        exchange = self._api.exchange
        for name, what in self._model.reads.items():
            self._variable[name] = exchange.get_variable_handle(state, *what)
        for name, place in self._model.sets.items():
            self._actuator[name] = exchange.get_actuator_handle(state, *place)
        lost = [name for name, handle in (self._variable | self._actuator).items() if handle < 0]
        if lost:
            self._failed = ConfigError([Problem(self._model.name, f"has no {', '.join(lost)}")])
            self._api.runtime.stop_simulation(state)


def _last_severe(folder: Path) -> str:
    file = folder / "eplusout.err"
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    severe = [line.strip(" *") for line in lines if "Severe" in line or "Fatal" in line]
    return severe[0] if severe else "it says nothing"


def _between(source: Mapping[str, Any] | str, spans: Sequence[tuple[int, int]]) -> str:
    """The model with its run periods and steps."""
    dates = [tuple(date(2023, 1, 1) + timedelta(days=day - 1) for day in span) for span in spans]
    steps = int(3600 / STEP_S)
    if isinstance(source, str):
        lines = [
            f"RunPeriod,R{n},{a.month},{a.day},2023,{b.month},{b.day},2023,,No,No,No,No,No;" for n, (a, b) in enumerate(dates)
        ]
        return "\n".join([source, f"Timestep,{steps};", *lines, ""])
    plain = ("daylight_saving_period", "holidays_and_special_days", "rain_indicators", "snow_indicators")
    periods = {
        f"R{n}": {
            "begin_month": a.month, "begin_day_of_month": a.day, "begin_year": 2023,
            "end_month": b.month, "end_day_of_month": b.day, "end_year": 2023,
            **{f"use_weather_file_{name}": "No" for name in plain},
        }
        for n, (a, b) in enumerate(dates)
    }  # fmt: skip
    return json.dumps({**source, "RunPeriod": periods, "Timestep": {"step": {"number_of_timesteps_per_hour": steps}}})


# --- the air-cooled hall

CURVES = ("example", "half_percent")
_SYSTEMS = ("East", "West")


def hall(curve: str, own: bool = False) -> Model:
    """The two-zone hall with chilled water in both zones. ``curve``: how IT power goes with inlet temperature; ``example``
    is the model's own (about +6.7 %/K), ``half_percent`` has +0.5 %/K. ``own``: under its own controls, without orders."""
    source = json.loads(_hall_file().read_text())
    source["Version"]["Version 1"]["version_identifier"] = "25.2"
    for people in source["People"].values():
        people["mean_radiant_temperature_calculation_type"] = "EnclosureAveraged"
    for it in source["ElectricEquipment:ITE:AirCooled"].values():
        it["watts_per_floor_area"], it["zone_or_space_name"] = (
            it.pop("watts_per_zone_floor_area"),
            it.pop("zone_name", "") or (it["zone_or_space_name"]),
        )
    for name, value in (("WestDXCCoilAvailSched", 0.0), ("WestChWaterCoilAvailSched", 1.0)):
        _always(source, name, value)
    if not own:
        managers = source["SetpointManager:Scheduled"]
        source.pop("SetpointManager:FollowOutdoorAirTemperature")
        zones = source.pop("SetpointManager:SingleZone:Cooling").values()
        nodes = [("Supply Air", manager["setpoint_node_or_nodelist_name"], 18.0) for manager in zones]
        for n, (what, node, value) in enumerate([*nodes, ("Condenser Water", "Condenser Supply Outlet Node", 20.0)]):
            _always(source, f"{what} Schedule", value, "Any Number")
            managers[f"{what} {n}"] = {
                "control_variable": "Temperature",
                "schedule_name": f"{what} Schedule",
                "setpoint_node_or_nodelist_name": node,
            }
    if curve == "half_percent":  # power and airflow alike; the east zone's own search for a flow does not converge on it
        curves = source["Curve:Biquadratic"]
        for name, base in (("Power", -0.075), ("Airflow", 0.025)):
            table = curves[f"Data Center Servers {name} fLoadTemp"]
            table["coefficient1_constant"], table["coefficient4_y"] = base, 0.005
        source["ElectricEquipment:ITE:AirCooled"]["EastDataCenter_Equip"]["air_flow_calculation_method"] = "FlowFromSystem"
    for unwanted in _UNWANTED:
        source.pop(unwanted, None)
    return Model(f"hall_{curve}", source, _hall_reads(), {} if own else _hall_sets())


def _always(source: dict[str, Any], name: str, value: float, limits: str = "Fraction") -> None:
    data = [{"field": "Through: 12/31"}, {"field": "For: AllDays"}, {"field": "Until: 24:00"}, {"field": value}]
    source["Schedule:Compact"][name] = {"data": data, "schedule_type_limits_name": limits}


def _hall_reads() -> dict[str, tuple[str, str]]:
    reads = {
        "dry_bulb_c": ("Site Outdoor Air Drybulb Temperature", "Environment"),
        "wet_bulb_c": ("Site Outdoor Air Wetbulb Temperature", "Environment"),
        "facility_w": ("Facility Total Electricity Demand Rate", "Whole Building"),
        "cooling_w": ("Facility Total HVAC Electricity Demand Rate", "Whole Building"),
        "chiller_w": ("Chiller Electricity Rate", "Chiller"),
        "tower_w": ("Cooling Tower Fan Electricity Rate", "Cooling Tower"),
        "chilled_pump_w": ("Pump Electricity Rate", "CW Circ Pump"),
        "condenser_pump_w": ("Pump Electricity Rate", "Cond Circ Pump"),
        "util_frac": ("Schedule Value", "Data Center CPU Loading Schedule"),
    }
    for zone in _SYSTEMS:
        low = zone.lower()
        reads[f"{low}_fan_w"] = ("Fan Electricity Rate", f"{zone} Zone Supply Fan")
        reads[f"{low}_inlet_c"] = ("ITE Air Inlet Dry-Bulb Temperature", f"{zone}DataCenter_Equip")
        reads[f"{low}_air_c"] = ("Zone Air Temperature", f"{zone} Zone")
        for part in ("CPU", "Fan", "UPS"):
            reads[f"{low}_{part.lower()}_it_w"] = (f"ITE {part} Electricity Rate", f"{zone}DataCenter_Equip")
    return reads


def _hall_sets() -> dict[str, tuple[str, str, str]]:
    return {
        "supply_air_c": ("Schedule:Compact", "Schedule Value", "Supply Air Schedule"),
        "zone_c": ("Schedule:Compact", "Schedule Value", "Cooling Setpoints"),
        "chilled_c": ("Schedule:Compact", "Schedule Value", "CW Loop Temp Schedule"),
        "condenser_c": ("Schedule:Compact", "Schedule Value", "Condenser Water Schedule"),
    }


def _hall_file() -> Path:
    """The hall's model, fetched by name with the ordinary client and kept beside the environment."""
    kept = KEPT / Path(_HALL).name
    if kept.is_file():
        return kept
    with tempfile.TemporaryDirectory(prefix="icctwin-fetch-") as folder:
        # not pip: it refuses a package that names a dependency by its address, also where none is asked for
        words = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--target", folder]
        try:
            subprocess.run([*words, _PACKAGE], check=True, capture_output=True, timeout=_FETCH_S)  # noqa: S603 - constants of ours
            data = (Path(folder) / _HALL).read_bytes()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError):
            raise ConfigError([Problem(_PACKAGE, "cannot be fetched; the hall of EnergyPlus comes with it")]) from None
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ConfigError([Problem(kept.name, "is not the file it should be (SHA-256 differs)")])
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    return kept


# --- the warm-water loop


def loop() -> Model:
    """Facility loop (PG25), plate exchanger, towers: LoadProfile:Plant + HeatExchanger:FluidToFluid + CoolingTower."""
    reads = {
        "dry_bulb_c": ("Site Outdoor Air Drybulb Temperature", "Environment"),
        "wet_bulb_c": ("Site Outdoor Air Wetbulb Temperature", "Environment"),
        "dew_c": ("Site Outdoor Air Dewpoint Temperature", "Environment"),
        "pump_w": ("Pump Electricity Rate", "FPump"),
        "tower_pump_w": ("Pump Electricity Rate", "TPump"),
        "tower_w": ("Cooling Tower Fan Electricity Rate", "Tower"),
        "supply_c": ("System Node Temperature", "Sup Out"),
        "return_c": ("System Node Temperature", "Load Out"),
        "flow_kgps": ("System Node Mass Flow Rate", "Load In"),
        "tower_out_c": ("Cooling Tower Outlet Temperature", "Tower"),
        "heat_w": ("Plant Load Profile Heat Transfer Rate", "IT Load"),
    }
    # EnergyPlus counts a load that cools the water as positive
    names = {"drawn_w": "Load", "flow_frac": "FlowFrac", "supply_set_c": "SupplyC", "tower_set_c": "TowerC"}
    sets = {name: ("Schedule:Constant", "Schedule Value", key) for name, key in names.items()}
    return Model("loop", _LOOP.read_text(), reads, sets)
