"""How far everything is from its limits: dew point, supply, junction, flow, ratings; and how long until one is passed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psychrolib

from twin.frame import Floats
from twin.params import Params
from twin.physics.coldplate import seconds_to_limit_s
from twin.sim.chain import Chain, Power
from twin.sim.circuit import Circuit
from twin.sim.outlook import Outlook
from twin.sim.record import Record
from twin.sim.setting import Setting
from twin.sim.tally import Tally
from twin.sim.thermal import Water
from twin.site import Site

LISTED = 200  # racks and devices named in an answer
_YORK_C = (-34.4, 29.4444)  # wet bulbs of the tower's correlation
_FLUID_C = (0.0, 80.0)  # of the coolant tables


class Margins:
    """Looks at each chunk and remembers the worst."""

    def __init__(
        self, site: Site, circuit: Circuit, water: Water, params: Params, start_s: float, faults_s: Sequence[float]
    ) -> None:
        self.site, self.c, self.water, self.params, self.start_s = site, circuit, water, params, start_s
        self.faults_s = sorted(faults_s)
        p = params.loops
        psychrolib.SetUnitSystem(psychrolib.SI)
        self.dew_point_c = float(psychrolib.GetTDewPointFromRelHum(p.room_c - p.air_rise_k, p.room_rh_frac))
        n = site.count("rack")
        self.limit_s = {what: np.full(n, np.inf) for what in ("junction", "return", "room air")}
        home, cooled = circuit.rack_room, np.append(water.cooled_room, False)
        self.airy = np.flatnonzero(cooled[home] & (water.rack_share < 1 - 1e-9))  # racks that heat air which water cools
        self.still_s = np.full(n, np.inf)
        self.starved, self.slowed = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        self.overload: dict[int, tuple[float, float]] = {}  # position -> (first time, most loading)
        self.most_loading_frac = 0.0
        self.into_j = self.loss_j = self.most_frac = np.zeros(0)

    def look(
        self, time_s: Floats, step_s: float, rack_w: Floats, record: Record, setting: Setting, rise_k: Floats
    ) -> dict[str, Floats]:
        """Columns over time: the hottest and the nearest to a limit. ``rise_k`` [t, b]: chips over their coolant."""
        c, p = self.c, self.params.loops
        nothing = np.full(len(time_s), np.nan)
        cooled = record.room_c[:, self.water.cooled_room]
        room = {"room_c": cooled.max(axis=1) if cooled.shape[1] else nothing}
        hot = record.room_c[:, c.rack_room[self.airy]] > p.inlet_limit_c + p.air_rise_k
        self._first(time_s + step_s / 2, hot, "room air", self.airy)
        if not len(c.rack):
            names = (
                "supply_c",
                "return_c",
                "rack_coolant_c",
                "junction_c",
                "slowed_frac",
                "dew_margin_k",
                "plant_supply_c",
                "plant_return_c",
            )
            return dict.fromkeys(names, nothing) | room
        chip = record.branch_c + rise_k
        slowed = record.slowed > 0
        self._first(time_s + step_s / 2, (chip > p.junction_limit_c) | slowed, "junction", c.rack)
        self.slowed[c.rack[slowed.any(axis=0)]] = True
        self._first(time_s + step_s / 2, record.branch_c > p.return_limit_c, "return", c.rack)
        heat = rack_w[:, c.rack] * (c.share * c.liquid_frac)
        still = seconds_to_limit_s(record.branch_c, p.return_limit_c, heat, self.water.branch_jpk)
        np.minimum.at(self.still_s, c.rack, still.min(axis=0))
        self.starved[c.rack[setting.branch_frac < p.starved_frac]] = True
        return room | {
            "supply_c": record.supply_c.max(axis=1),
            "return_c": record.return_c.max(axis=1),
            "rack_coolant_c": record.branch_c.max(axis=1),
            "junction_c": chip.max(axis=1),
            "slowed_frac": (record.slowed * c.share).sum(axis=1) / max(float(c.share.sum()), 1e-9),
            "dew_margin_k": record.supply_c.min(axis=1) - self.dew_point_c,
            "plant_supply_c": record.out_c.max(axis=1),
            "plant_return_c": record.plant_return_c.max(axis=1),
        }

    def _first(self, time_s: Floats, over: Any, what: str, racks: Any) -> None:
        hit = over.any(axis=0)
        if hit.any():
            first = np.where(hit, time_s[over.argmax(axis=0)] - self.start_s, np.inf)
            np.minimum.at(self.limit_s[what], racks, first)

    def loading(self, chain: Chain, power: Power, time_s: Floats, step_s: float) -> None:
        """Energy through each device; those above their rating: when first, and how far."""
        if not len(self.into_j):
            self.into_j, self.loss_j, self.most_frac = (np.zeros(len(chain.at)) for _ in range(3))
        self.into_j += power.into.sum(axis=1) * step_s
        self.loss_j += power.loss.sum(axis=1) * step_s
        frac = (power.into - power.loss) / chain.rated_w[:, None]
        most = np.nan_to_num(frac.max(axis=1, initial=0.0))
        self.most_frac = np.maximum(self.most_frac, most)
        self.most_loading_frac = max(self.most_loading_frac, float(most.max(initial=0.0)))
        for row in np.flatnonzero(most > 1.0)[:LISTED].tolist():
            at = int(chain.at[row])
            first = float(time_s[int(np.argmax(frac[row] > 1.0))]) - self.start_s
            known = self.overload.get(at, (first, 0.0))
            self.overload[at] = (known[0], max(known[1], float(most[row])))

    def limits(self, opened: Sequence[tuple[float, int, float]]) -> list[dict[str, Any]]:
        """Racks that pass a limit, devices over their rating, racks that switched off and breakers that ``opened`` (s since
        1970, position, load over rating), the first first."""
        found: list[dict[str, Any]] = []
        racks = self.site.ids_of("rack")
        for what, times in self.limit_s.items():
            found += [
                {"asset": racks[r], "what": what, "time_s": float(times[r])}
                for r in np.flatnonzero(np.isfinite(times)).tolist()
            ]
        found += [{"asset": racks[r], "what": "switched off", "time_s": t - self.start_s} for t, r in self.water.trips]
        found += [
            {"asset": self.site.ids[at], "what": "breaker trips", "time_s": t - self.start_s, "loading_frac": load}
            for t, at, load in opened
        ]
        for at, (first, most) in self.overload.items():
            found.append({"asset": self.site.ids[at], "what": "over its rating", "time_s": first, "loading_frac": most})
        for one in found:
            before = [t for t in self.faults_s if t <= one["time_s"]]
            one["after_fault_s"] = one["time_s"] - before[-1] if before else None
        return sorted(found, key=lambda one: (one["time_s"], one["asset"]))[:LISTED]

    def _to_limit_s(self) -> float:
        """From the last fault before it (else from the beginning) to the first limit that a rack passes."""
        first = min(float(times.min(initial=np.inf)) for times in self.limit_s.values())
        return first - max((t for t in self.faults_s if t <= first), default=0.0)

    def summary(self, tally: Tally) -> dict[str, float]:
        """The worst of everything, with units in the names."""
        return {
            "supply_max_c": tally.peaks.get("supply_c", math.nan),
            "return_max_c": tally.peaks.get("return_c", math.nan),
            "junction_max_c": tally.peaks.get("junction_c", math.nan),
            "room_max_c": tally.peaks.get("room_c", math.nan),
            "dew_margin_min_k": tally.lows.get("dew_margin_k", math.nan),
            "time_to_limit_s": self._to_limit_s(),
            "racks_over_limit_count": float(np.isfinite(np.minimum.reduce([*self.limit_s.values()])).sum()),
            "racks_off_count": float(len(self.water.trips)),
            "racks_slowed_count": float(self.slowed.sum()),
            "slowed_max_frac": tally.peaks.get("slowed_frac", math.nan),
            "racks_starved_count": float(self.starved.sum()),
            "still_water_to_limit_s": float(self.still_s.min(initial=np.inf)),
            "loading_max_frac": self.most_loading_frac,
        }

    def notes(self, tally: Tally, outlook: Outlook, params: Params, opened: Sequence[str]) -> list[str]:
        """Where the run left what the model was made for, and what broke on the way; ``opened``: ids of breakers."""
        found = []
        wet = (tally.lows.get("wet_bulb_c", math.nan), tally.peaks.get("wet_bulb_c", math.nan))
        if wet[0] < _YORK_C[0] or wet[1] > _YORK_C[1]:
            found.append(
                f"wet bulb of {wet[0]:.1f} to {wet[1]:.1f} °C leaves the tower's correlation ({_YORK_C[0]} to {_YORK_C[1]} °C)"
            )
        hot = tally.peaks.get("rack_coolant_c", math.nan)
        if hot > _FLUID_C[1]:
            found.append(f"coolant reaches {hot:.0f} °C, outside of the fluid's table (up to {_FLUID_C[1]:.0f} °C)")
        if np.isfinite(self.limit_s["room air"]).any():
            found.append(
                f"the air that racks give back reaches {tally.peaks['room_c']:.0f} °C; that servers slow down or switch off in"
                f" it is not modelled (their inlets are allowed {params.loops.inlet_limit_c:g} °C)"
            )
        dew = tally.lows.get("dew_margin_k", math.nan)
        if dew < params.loops.dew_margin_k:
            found.append(f"supply comes within {dew:.1f} K of the dew point; keep {params.loops.dew_margin_k:g} K or more")
        if self.most_loading_frac > 1:
            found.append(f"a power device runs at {self.most_loading_frac:.2f} of its rating; see limits")
        if opened:
            found.append(f"breakers opened under overload, one after the other: {', '.join(opened[:10])}")
        if self.slowed.any():
            found.append(
                f"{int(self.slowed.sum())} racks slowed down at {params.loops.junction_limit_c:g} °C; the queue's answer keeps"
                " their jobs as if they ran at full speed"
            )
        if self.water.trips:
            found.append(
                f"{len(self.water.trips)} racks switched off; the jobs on them are kept in the queue's answer as if they ran on"
            )
        return found

    def device_table(self, chain: Chain) -> Mapping[str, Any]:
        """One row for each power device: energy in, loss, efficiency, highest load over rating (NaN where it has no rating)."""
        rows = np.flatnonzero(
            np.isin(chain.at, np.concatenate([self.site.of_kind(kind) for kind in ("pdu", "ups", "transformer")]))
        )
        into, loss = self.into_j[rows], self.loss_j[rows]
        efficiency = np.divide(into - loss, into, out=np.full(len(rows), np.nan), where=into > 0)
        return {
            "asset": [self.site.ids[at] for at in chain.at[rows].tolist()],
            "energy_in_kwh": into / 3.6e6,
            "loss_kwh": loss / 3.6e6,
            "efficiency_frac": efficiency,
            "loading_max_frac": np.where(np.isnan(chain.rated_w[rows]), np.nan, self.most_frac[rows]),
        }

    def limit_table(self) -> Mapping[str, Any]:
        """One row for each rack: s from the beginning to its limits (inf: not in this run), least s that standing water would
        give it, whether it was starved of flow."""
        return {
            "asset": self.site.ids_of("rack"),
            "junction_s": self.limit_s["junction"],
            "return_s": self.limit_s["return"],
            "air_s": self.limit_s["room air"],
            "still_water_s": self.still_s,
            "starved_flag": self.starved.astype(np.float64),
        }

    def cdu_table(self, time_s: Floats, record: Record, setting: Setting) -> Mapping[str, Any]:
        """One row for each CDU and step."""
        c = self.c
        ids = [self.site.ids[at] for at in c.station_at.tolist()]
        cold = record.loop_c[:, c.station_loop] if len(ids) else np.empty((len(time_s), 0))
        flow = np.broadcast_to(self.water.flow_wpk / c.station_jpkgk, record.station_w.shape)
        primary = record.primary_wpk
        warm = cold + np.divide(record.station_w, primary, out=np.zeros_like(primary), where=primary > 0)
        return {
            "time_s": np.repeat(time_s, len(ids)),
            "asset": ids,
            "heat_w": record.station_w.ravel(),
            "supply_temp_c": record.supply_c.ravel(),
            "return_temp_c": record.return_c.ravel(),
            "flow_kgps": flow.ravel(),
            "primary_supply_temp_c": cold.ravel(),
            "primary_return_temp_c": warm.ravel(),
            "primary_flow_kgps": (primary / c.loop_jpkgk[c.station_loop]).ravel(),
        }

    def rack_table(self, time_s: Floats, rack_w: Floats, record: Record) -> Mapping[str, Any]:
        """One row for each rack and step."""
        coolant = np.full(rack_w.shape, np.nan)
        coolant[:, self.c.rack] = record.branch_c
        return {
            "time_s": np.repeat(time_s, rack_w.shape[1]),
            "asset": self.site.ids_of("rack"),
            "power_w": rack_w.ravel(),
            "return_temp_c": coolant.ravel(),
        }
