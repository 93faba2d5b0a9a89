"""What holds from one moment of a scenario to the next: speeds, valves, flows, what still runs, what is ordered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from twin.frame import Floats, Ints
from twin.params import Params
from twin.physics.hydraulics import opening_frac, pressure_drop_pa, pump_head_pa
from twin.sim.circuit import REJECTORS, Circuit
from twin.sim.facility import Facility, Open
from twin.sim.network import Network, solve_network
from twin.sim.scenario import Change, Fault, Scenario
from twin.site import Bools, Site

SPARE_FRAC = 0.15  # of a CDU's coolant that may leak before its pumps draw air; assumed


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Branches: ``branch_wpk`` (capacity rate now), ``branch_frac`` (flow over design). Stations: ``speed_frac``,
    ``running_frac`` (pumps that run over those on duty), ``setpoint_c``, ``conductance_frac``, ``stuck_frac`` (facility valve,
    NaN: free). Facility: ``open`` (what facility water gives at most). Rooms: ``room_frac``. Plants: ``alive`` (kind
    -> share), ``goal_c``, ``fan_limit_frac`` (of design air that towers or dry coolers may move at most). ``out``: bool[N],
    what does not run by a fault or for want of power."""

    branch_wpk: Floats
    branch_frac: Floats
    speed_frac: Floats
    running_frac: Floats
    setpoint_c: Floats
    conductance_frac: Floats
    stuck_frac: Floats
    open: Open
    room_frac: Floats
    alive: dict[str, Floats]
    goal_c: Floats
    fan_limit_frac: Floats
    out: Bools


class Settings:
    """The settings of a scenario over its run."""

    def __init__(self, site: Site, circuit: Circuit, scenario: Scenario, params: Params) -> None:
        self.site, self.circuit, self.scenario, self.params = site, circuit, scenario, params
        self.of_cdu = [np.flatnonzero(site.parent[site.of_kind("pump")] == at) for at in circuit.station_at.tolist()]
        self.of_loop = [np.flatnonzero(site.parent[site.of_kind("pump")] == at) for at in circuit.loop_at.tolist()]
        self.facility = Facility(site, circuit, self.of_loop, params)
        self.faults = _with_ends_of_leaks(scenario.faults, site, circuit, params)

    def moments(self) -> list[float]:
        """Times since the beginning [s] at which something changes, in order, 0 first."""
        takeover = self.params.loops.takeover_s
        times = {0.0}
        for fault in self.faults:
            times |= {fault.start_s, fault.end_s}
            if fault.what == "trip" and self.site.kind(fault.asset) == "pump":
                times.add(fault.start_s + takeover)
        times |= {change.start_s for change in self.scenario.changes}
        return sorted(t for t in times if math.isfinite(t))

    def tripped(self, time_s: float, sound: bool = False) -> Bools:
        """bool[N]: what is out at ``time_s`` by a fault of its own."""
        out = np.zeros(len(self.site.ids), dtype=np.bool_)
        for fault in self._faults(time_s, sound):
            out[self.site.position[fault.asset]] |= fault.what == "trip"
        return out

    def _faults(self, time_s: float, sound: bool) -> list[Fault]:
        return [f for f in self.faults if f.start_s <= time_s < f.end_s and not sound]

    def at(self, time_s: float, sound: bool = False, dead_since_s: Floats | None = None) -> Setting:
        """What holds at ``time_s`` after the beginning; ``sound``: without any fault; ``dead_since_s``: float64[N], since when
        a machine has had no power, inf for those that have.

        ``ConfigError`` where the pressures of a CDU do not settle.
        """
        site, circuit = self.site, self.circuit
        faults = self._faults(time_s, sound)
        since_s = np.full(len(site.ids), np.inf) if dead_since_s is None else dead_since_s.copy()
        for fault in faults:
            if fault.what == "trip":
                at = site.position[fault.asset]
                since_s[at] = min(since_s[at], fault.start_s)
        out = np.isfinite(since_s)
        speed, running = self._station_pumps(since_s, time_s)
        flow = self._branch_flows(faults, speed, running, time_s)
        design = circuit.branch_kgps
        stations = len(circuit.station_at)
        conductance, stuck = np.ones(stations), np.full(stations, np.nan)
        for fault in faults:
            here = circuit.station_at == site.position[fault.asset]
            if fault.what == "foul":
                conductance[here] = 1 - fault.value
        for at, position in self._valves(faults, time_s):
            stuck[circuit.station_at == at] = position  # of a CDU's facility side
        setpoint, goal = self._orders(time_s)
        return Setting(
            circuit.branch_wpk * flow / design, flow / design, speed, running, setpoint, conductance, stuck,
            self._open(out, faults, time_s, stuck), self._rooms(out),
            {kind: np.array([self._alive(out, at) for at in circuit.machines[kind]]) for kind in REJECTORS},
            goal, self._fan_limits(time_s), out,
        )  # fmt: skip

    def _fan_limits(self, time_s: float) -> Floats:
        """float64[plants]: how fast the fans of each may turn at most, all together."""
        site, circuit = self.site, self.circuit
        limit = np.ones(len(site.ids))
        for change in self._changes("fan_limit_frac", time_s):
            limit[site.position[change.asset] if change.asset in site.position else site.of_kind(change.asset)] = change.value
        machines = [np.concatenate(both) for both in zip(circuit.machines["tower"], circuit.machines["drycooler"], strict=True)]
        return np.array([float(limit[at].mean()) if len(at) else 1.0 for at in machines])

    def _alive(self, out: Bools, at: Ints) -> float:
        return float(np.mean(~out[at])) if len(at) else 0.0

    def _station_pumps(self, since_s: Floats, time_s: float) -> tuple[Floats, Floats]:
        """Speed and share running of each CDU's pumps. One of several stands by and takes over after ``takeover_s``."""
        site, n = self.site, len(self.circuit.station_at)
        speed, running = np.full(n, self.params.plant.cdu_speed_frac), np.ones(n)
        for change in self._changes("pump_speed_frac", time_s):
            hit = [change.asset in ("cdu", site.ids[at]) for at in self.circuit.station_at.tolist()]
            speed[np.array(hit, dtype=np.bool_)] = change.value
        pumps = site.of_kind("pump")
        for s, mine in enumerate(self.of_cdu):
            at = int(self.circuit.station_at[s])
            if np.isfinite(since_s[at]) and site.kind(site.ids[at]) == "cdu":
                running[s] = 0.0
            elif len(mine):
                dead = [start for start in since_s[pumps[mine]].tolist() if math.isfinite(start)]
                duty = max(len(mine) - 1, 1)
                ready = sum(time_s >= start + self.params.loops.takeover_s for start in dead) if len(mine) > 1 else 0
                running[s] = min(duty - len(dead) + min(ready, len(mine) - duty), len(mine) - len(dead)) / duty
        return speed, np.maximum(running, 0.0)

    def _branch_flows(self, faults: Sequence[Fault], speed: Floats, running: Floats, time_s: float) -> Floats:
        """float64[b]: flow of each branch [kg/s] from the pressures of all stations' networks."""
        site, circuit, p = self.site, self.circuit, self.params.loops
        stations = len(circuit.station_at)
        if not stations:
            return np.empty(0)
        opening = np.ones(len(circuit.rack))
        racks = site.of_kind("rack")[circuit.rack]
        for asset, position in self._valves(faults, time_s):
            hit = racks == asset
            opening[hit] = float(opening_frac(position, p.rangeability_ratio))
        design = circuit.branch_kgps
        total = circuit.station_kgps
        head = p.secondary_pa * p.branch_frac
        branch = pressure_drop_pa(1.0, design, head * (1 - p.valve_frac))
        branch = branch + pressure_drop_pa(1.0, design, head * p.valve_frac, opening)
        pipe = pressure_drop_pa(1.0, total, p.secondary_pa * (1 - p.branch_frac))
        nominal = self.params.plant.cdu_speed_frac
        at_full = p.secondary_pa / nominal**2  # head of the design point at rated speed
        each = total / nominal * np.maximum(running, 1e-9)
        shutoff = pump_head_pa(0.0, speed, each, at_full, p.shutoff_ratio)
        pump = pump_head_pa(0.0, 1.0, each, at_full, p.shutoff_ratio) - pump_head_pa(1.0, 1.0, each, at_full, p.shutoff_ratio)
        stopped = (running <= 0) | (speed <= 0)
        gain = np.where(stopped, 0.0, shutoff)
        s = np.arange(stations, dtype=np.int32)
        ground, mid, supply = 3 * s, 3 * s + 1, 3 * s + 2
        network = Network(
            3 * stations,
            np.concatenate([ground, mid, supply[circuit.station]]).astype(np.int32),
            np.concatenate([mid, supply, ground[circuit.station]]).astype(np.int32),
            np.concatenate([np.where(stopped, np.inf, pump), pipe, branch]),
            np.concatenate([gain, np.zeros(stations + len(branch))]),
            np.concatenate([np.ones(stations, dtype=np.bool_), np.zeros(stations + len(branch), dtype=np.bool_)]),
            ground.astype(np.int32),
        )
        flow, _ = solve_network(network, "secondary loops")
        return np.maximum(flow[2 * stations :], 0.0)

    def _valves(self, faults: Sequence[Fault], time_s: float) -> list[tuple[int, float]]:
        """(position of the rack, CDU or loop, travel) of valves that stand elsewhere than open or where control puts them."""
        site = self.site
        said: list[tuple[str, float]] = []
        for change in self._changes("position_frac", time_s):
            whole = change.asset == "valve" and change.asset not in site.position
            said += [(asset, change.value) for asset in (site.ids_of("valve") if whole else [change.asset])]
        said += [(f.asset, f.value) for f in faults if f.what == "stuck"]
        found = []
        for asset, position in said:
            at = site.position[asset]
            if site.kind(asset) == "valve":
                at = int(site.parent[at])
            found.append((at, position))
        return found

    def _open(self, out: Bools, faults: Sequence[Fault], time_s: float, stuck: Floats) -> Open:
        """What the facility's pumps give with every valve open that can be."""
        opening = np.ones(len(self.circuit.loop_at))
        for at, position in self._valves(faults, time_s):
            here = self.circuit.loop_at == at
            opening[here] = np.minimum(opening[here], position)
        return self.facility.open(out, opening, stuck)

    def _rooms(self, out: Bools) -> Floats:
        """Share of each room's air handlers that run; 1 where there is none."""
        site = self.site
        room = site.within("crah", "hall")
        at, room = site.of_kind("crah")[room >= 0], room[room >= 0]
        alive = (
            np.bincount(room, weights=~out[at] * 1.0, minlength=site.count("hall")) if len(at) else np.zeros(site.count("hall"))
        )
        return np.where(self.circuit.room_crah > 0, alive / np.maximum(self.circuit.room_crah, 1), 1.0)

    def _orders(self, time_s: float) -> tuple[Floats, Floats]:
        """Setpoints of stations and plants. A plant whose own is not ordered follows its most demanding CDU."""
        circuit, site = self.circuit, self.site
        setpoint = np.full(len(circuit.station_at), self.params.plant.supply_c)
        goal = circuit.goal_c.copy()
        ordered = np.zeros(len(goal), dtype=np.bool_)
        changes = self._changes("supply_temp_setpoint_c", time_s)
        for change in changes:
            hit = np.array([change.asset in ("cdu", site.ids[at]) for at in circuit.station_at.tolist()], dtype=np.bool_)
            setpoint[hit] = change.value
            roots = circuit.loop_at[circuit.plant_loop]
            own = np.array([at >= 0 and change.asset in ("loop", site.ids[at]) for at in roots.tolist()], dtype=np.bool_)
            goal[own], ordered[own] = change.value, True
        if changes and len(setpoint):
            shift = setpoint - self.params.plant.supply_c
            plant = circuit.loop_plant[circuit.station_loop]
            lowest = np.full(len(goal), np.inf)
            np.minimum.at(lowest, plant, shift)
            follows = ~ordered & np.isfinite(lowest)
            goal[follows] += lowest[follows]
        return setpoint, goal

    def _changes(self, metric: str, time_s: float) -> list[Change]:
        return [c for c in self.scenario.changes if c.metric == metric and c.start_s <= time_s]


def _with_ends_of_leaks(faults: Sequence[Fault], site: Site, circuit: Circuit, params: Params) -> list[Fault]:
    """Leaks empty their CDU: its pumps stop when ``SPARE_FRAC`` of the coolant is gone, all of its leaks together, unless they
    end before (it is then filled again)."""
    p, found = params.loops, list(faults)
    held_s = p.rack_s + p.return_s + p.supply_s
    leaks = [(fault, _lost_kgps(fault, site, circuit)) for fault in faults if fault.what == "leak"]
    for s, at in enumerate(circuit.station_at.tolist()):
        mine = [(fault, float(lost[s])) for fault, lost in leaks if lost[s] > 0]
        spans = _runs_dry(mine, SPARE_FRAC * held_s * float(circuit.station_kgps[s]))
        found += [Fault(site.ids[at], "trip", *span) for span in spans]
    return found


def _runs_dry(leaks: Sequence[tuple[Fault, float]], spare_kg: float) -> list[tuple[float, float]]:
    """From when to when [s], each time, a CDU that may lose ``spare_kg`` has lost it to ``leaks`` (each with its kg/s). It is
    filled again when none of them is open."""
    edges = sorted({edge for fault, _ in leaks for edge in (fault.start_s, fault.end_s)})
    spans: list[tuple[float, float]] = []
    lost_kg = 0.0
    for begin_s, end_s in pairwise(edges):
        kgps = sum(each for fault, each in leaks if fault.start_s <= begin_s < fault.end_s)
        if kgps <= 0:
            lost_kg = 0.0
        elif spans and spans[-1][1] == begin_s:  # dry still: another leak went on or began as the last one ended
            spans[-1] = spans[-1][0], end_s
        elif begin_s + (spare_kg - lost_kg) / kgps < end_s:
            spans.append((begin_s + (spare_kg - lost_kg) / kgps, end_s))
        else:
            lost_kg += kgps * (end_s - begin_s)
    return spans


def _lost_kgps(fault: Fault, site: Site, circuit: Circuit) -> Floats:
    """float64[s]: what each station loses by ``fault``: all of it the CDU itself, those of a rack by their shares of it."""
    at = site.position[fault.asset]
    if site.kind(fault.asset) != "rack":
        return np.where(circuit.station_at == at, fault.value, 0.0)
    share = circuit.share * (site.of_kind("rack")[circuit.rack] == at)
    weights = fault.value * share / max(float(share.sum()), 1e-12)
    return np.bincount(circuit.station, weights=weights, minlength=len(circuit.station_at)).astype(np.float64)
