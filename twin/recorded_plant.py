"""A month of a cooling plant that is not ours: EnergyPlus computed it, with its own equations for exchanger, tower, pumps and
fluids; sensors were given noise, gain and drift. What of it does a calibrated twin reproduce on days that it has not seen?"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from twin.adopt import entry_of, in_force
from twin.calibrate import propose
from twin.cooling import solve_cooling
from twin.demand import it_demand
from twin.fit import score
from twin.frame import Floats, Frame, Ints, Origin
from twin.history import History
from twin.liquid import exchanger_wpk
from twin.load import Row, build_site
from twin.params import Params
from twin.physics.cdu import carried_heat_w, exchanged_heat_w
from twin.physics.coolant import pg25_heat_jpkgk, water_heat_jpkgk
from twin.ports import How, Series
from twin.site import Site
from twin.state import State

LEARN = timedelta(days=14)  # the rest of the four weeks is held out
STEP_S = 1800.0
# Nameplates: what an engineer of the plant would enter (kg/s of PG25 and W at design)
_ASSETS = (
    {"id": "hall", "kind": "hall"},
    {"id": "hx", "kind": "cdu", "parent": "hall", "rated_kgps": "127.7"},
    {"id": "facility-pump", "kind": "pump", "rated_w": "38000", "rated_kgps": "127.7"},
    {"id": "tower-pump", "kind": "pump", "rated_w": "32000", "rated_kgps": "140"},
    {"id": "tower", "kind": "tower", "rated_w": "62000"},
    {"id": "sky", "kind": "weather"},
)
# kind -> metric -> column of the file for each asset of the kind, by row
_COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cdu": {
        "supply_temp_c": ("supply_c",),
        "return_temp_c": ("return_c",),
        "flow_kgps": ("flow_kgps",),
        "primary_supply_temp_c": ("primary_supply_c",),
        "primary_return_temp_c": ("primary_return_c",),
        "primary_flow_kgps": ("primary_kgps",),
    },
    "pump": {"power_w": ("facility_pump_w", "tower_pump_w"), "pump_speed_frac": ("facility_pump_frac", "tower_pump_frac")},
    "tower": {"power_w": ("tower_w",), "fan_speed_frac": ("fan_frac",)},
    "weather": {"wet_bulb_c": ("wet_bulb_c",)},
}


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """The recorded plant: its site, ``time_s`` (float64[t], s since 1970), and float64[t, n] for each kind and metric. It
    answers as a store does, for readings as they stand."""

    site: Site
    time_s: Floats
    table: dict[str, dict[str, Floats]]

    def series(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, step_s: float | None = None,
        how: How = How.MEAN, rows: Ints | None = None, origin: Origin = Origin.MEASURED, band: str = "",
    ) -> Series:  # fmt: skip
        """As ``twin.ports.Store.series``, at the record's own steps."""
        inside = (self.time_s >= start.timestamp()) & (self.time_s < end.timestamp())
        taken = self.site.all_rows(kind) if rows is None else rows
        found = self.table.get(kind, {})
        values = {name: found[name][inside][:, taken] for name in metrics if name in found}
        return Series(self.time_s[inside], taken, values)

    def append(self, frames: Sequence[Frame]) -> None:
        """It is over: nothing is added."""
        raise NotImplementedError("a recorded plant takes no readings")

    def latest(self, since: datetime) -> Sequence[Frame]:
        """Nothing of it is now."""
        return ()

    def maintain(self, now: datetime) -> None:
        """Nothing to do."""

    def size_bytes(self) -> int:
        """Of its columns."""
        return sum(column.nbytes for columns in self.table.values() for column in columns.values())

    def close(self) -> None:
        """Nothing is open."""


def read_plant(path: Path) -> Plant:
    """The record in the file ``path`` (``fixtures/plant``)."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    time_s = np.array([datetime.fromisoformat(row["time"]).timestamp() for row in rows])
    table = {
        kind: {
            name: np.stack([np.array([float(row[column]) for row in rows]) for column in columns], axis=1)
            for name, columns in metrics.items()
        }
        for kind, metrics in _COLUMNS.items()
    }
    site = build_site("plant", "UTC", [Row("(recorded plant)", dict(cells)) for cells in _ASSETS])
    return Plant(site, time_s, table)


def plant_scores(path: Path) -> dict[str, float]:
    """Scores on the two weeks after the two that were learnt from: ``power_…`` of the plant's electrical power (pumps and fans)
    from what turns, ``heat_…`` of the exchanger's heat from its inlets, the same ``before``, and the worse of the two."""
    plant = read_plant(path)
    start = datetime.fromtimestamp(float(plant.time_s[0]), UTC)
    history = History(plant.site, plant, start, start + LEARN, STEP_S)
    fits = propose(history, Params())
    adopted = in_force(plant.site, Params(), [entry_of(fits, (start, start + LEARN), start + LEARN, "bench")])
    held = plant.time_s >= (start + LEARN).timestamp()
    made: dict[str, float] = {"sound_fits": float(sum(one.sound for one in fits)), "fits": float(len(fits))}
    for prefix, params in (("", adopted), ("before_", Params())):
        power = score(_measured_w(plant)[held], _power_w(plant, params)[held])
        heat = score(*(column[held] for column in _heat_w(plant, params)))
        for name, one in (("power_", power), ("heat_", heat)):
            made |= {f"{prefix}{name}cvrmse_frac": one.cvrmse_frac, f"{prefix}{name}nmbe_frac": one.nmbe_frac}
        made[f"{prefix}cvrmse_frac"] = max(power.cvrmse_frac, heat.cvrmse_frac)
        made[f"{prefix}nmbe_frac"] = max(power.nmbe_frac, heat.nmbe_frac, key=abs)
    return made


def _measured_w(plant: Plant) -> Floats:
    total: Floats = plant.table["pump"]["power_w"].sum(axis=1) + plant.table["tower"]["power_w"].sum(axis=1)
    return total


def _power_w(plant: Plant, params: Params) -> Floats:
    """float64[t]: what the live twin says that pumps and fans draw, told everything but their power."""
    site, made = plant.site, np.zeros(len(plant.time_s))
    machines = np.concatenate([site.of_kind("pump"), site.of_kind("tower")])
    for i, time_s in enumerate(plant.time_s.tolist()):
        state, now = State(site), datetime.fromtimestamp(time_s, UTC)
        for kind, columns in plant.table.items():
            told = {name: column[i] for name, column in columns.items() if name != "power_w"}
            state.absorb(Frame(kind, now, site.all_rows(kind), told), now)
        demand = it_demand(site, state, params, now, np.empty(0))
        made[i] = solve_cooling(site, state, params, now, demand).electric[machines].sum()
    return made


def _heat_w(plant: Plant, params: Params) -> tuple[Floats, Floats]:
    """float64[t] each: heat that the facility water brought to the exchanger by its sensors, and what that should pass."""
    read = {name: column[:, 0] for name, column in plant.table["cdu"].items()}
    supply, back, flow, primary = (read[n] for n in ("supply_temp_c", "return_temp_c", "flow_kgps", "primary_flow_kgps"))
    cp, cold = pg25_heat_jpkgk((supply + back) / 2), read["primary_supply_temp_c"]
    conductance = np.concatenate([exchanger_wpk(plant.site, params, flow[[i]], primary[[i]]) for i in range(len(flow))])
    passed = exchanged_heat_w(back, cold, flow * cp, primary * water_heat_jpkgk(cold), conductance)
    return carried_heat_w(flow, cp, back - supply), passed
