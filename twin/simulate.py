"""The offline twin: jobs, weather and a scenario in; power, water, temperatures and margins of the whole centre out.

``simulate`` streams: a chunk of steps is solved as arrays, given to a sink and forgotten. Conservation is checked after every
chunk, of the power chain by ``twin.balance`` and of all water by its stored heat; a gap fails the run.
"""

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from twin.balance import TOLERANCE_FRAC, block_gap_w
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.params import Params
from twin.sim.chain import Chain, Power
from twin.sim.circuit import Circuit, circuit_of
from twin.sim.fleet import Fleet, fleet_of
from twin.sim.machines import Drawn, Machines
from twin.sim.margins import Margins
from twin.sim.outlook import Outlook
from twin.sim.powered import Powered
from twin.sim.protection import Protection
from twin.sim.record import Record
from twin.sim.reject import Air, Plant
from twin.sim.scenario import Scenario, check_scenario
from twin.sim.schedule import Schedule, schedule
from twin.sim.setting import Setting, Settings
from twin.sim.spread import Spread
from twin.sim.storage import Storage
from twin.sim.tally import Tally
from twin.sim.telemetry import PowerReplay, Telemetry
from twin.sim.thermal import Water
from twin.sim.trace import Trace, checked, trace_of
from twin.sim.workload import Demand, Workload, demand_of, slots_of
from twin.site import Site

MAX_STEPS = 40_000_000
CHUNK_CELLS = 400_000  # assets times steps of a chunk: a few megabytes an array
_FIRST = 8  # steps of the first chunk: what machines draw is not known before
_NOT_RUN = {"conductance_wpk", "flow_per_speed_kgps", "flow_share_frac"}  # of what calibration learns of single assets
Progress = Callable[[float], None]  # share of the run that is done


class Sink(Protocol):
    """Takes the results of a run, chunk by chunk."""

    @property
    def tables(self) -> Collection[str]:
        """Which it wants: ``site`` (a row a step), ``cdu`` and ``rack`` (a row for each and step), and at the end ``jobs``,
        ``device`` (energy, loss and efficiency of each power device) and ``limit`` (times to a limit of each rack)."""
        ...

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        """Keep one chunk. ``asset`` holds the ids of one step, other columns a value for each row."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """What came of a run. ``summary``: name with unit -> value, None where the site or the outlook does not say enough;
    ``series``: thinned columns over time; ``limits``: racks that pass a limit, with the time; ``jobs``: columns over the trace;
    ``notes``: what was assumed, left out, or lies outside of what the model is good for."""

    scenario: str
    start_s: float
    step_s: float
    steps: int
    summary: Mapping[str, float | None]
    series: Mapping[str, Floats]
    limits: Sequence[Mapping[str, Any]]
    jobs: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=tuple)


def simulate(
    site: Site,
    jobs: Trace | Telemetry,
    params: Params,
    outlook: Outlook,
    horizon_s: float,
    step_s: float,
    *,
    start_s: float = 0.0,
    scenario: Scenario | None = None,
    spread: Spread | None = None,
    sink: Sink | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Run ``site`` from ``start_s`` (s since 1970) for ``horizon_s`` in steps of ``step_s`` under ``scenario``; with
    ``Telemetry`` in place of jobs, its recorded power is what racks draw.

    Raises ``ConfigError`` for a horizon or step that makes no sense, for what the scenario or outlook has and cannot be, and
    (``SiteError``) for loops without a pump; ``ArithmeticError`` where energy is not conserved, which is our fault.
    """
    plan = scenario or Scenario()
    steps = _steps(horizon_s, step_s)
    run = _Run(check_scenario(plan, site), jobs, params, outlook, plan, spread or Spread(), start_s, step_s, steps)
    for done in run.chunks(sink):
        if progress:
            progress(done)
    return run.trajectory(sink)


def _steps(horizon_s: float, step_s: float) -> int:
    if not (math.isfinite(horizon_s) and math.isfinite(step_s) and 0 < step_s <= horizon_s and step_s <= 86400):
        raise ConfigError(
            [Problem("horizon and step", f"{horizon_s:g} s in steps of {step_s:g} s; write a step above 0 that fits")]
        )
    steps = math.ceil(horizon_s / step_s - 1e-9)
    if steps > MAX_STEPS:
        raise ConfigError([Problem("horizon and step", f"{steps} steps; the most is {MAX_STEPS}: take a longer step")])
    return steps


class _Run:
    def __init__(
        self, site: Site, given: Trace | Telemetry, params: Params, outlook: Outlook, plan: Scenario, spread: Spread, start_s:
        float, step_s: float, steps: int,
    ) -> None:  # fmt: skip
        self.site, self.params, self.outlook, self.plan = site, params, outlook, plan
        self.start_s, self.step_s, self.steps = start_s, step_s, steps
        self.end_s = start_s + steps * step_s
        params = spread.of_params(params)
        self.params = params
        self.fleet: Fleet = spread.of_fleet(fleet_of(site, params))
        replay = isinstance(given, Telemetry)
        jobs = trace_of([], np.empty(0), np.empty(0)) if isinstance(given, Telemetry) else checked(given)
        self.jobs = jobs if replay else jobs.window(start_s, self.end_s)
        self.demand: Demand = demand_of(self.jobs, self.fleet, params, plan.gpu_cap_frac, plan.clock_frac)
        spare_w = plan.it_cap_w - float(self.fleet.base_w.sum()) - self.fleet.apart_total_w
        self.schedule: Schedule = schedule(
            _lengthened(self.jobs, self.demand), plan.policy, self.demand.wanted, slots_of(self.fleet, self.demand), self.end_s,
            self.demand.power_w, spare_w,
        )  # fmt: skip
        self.jobs_work = Workload(self.fleet, self.demand, self.schedule, start_s)
        self.work = PowerReplay(site, self.fleet, given) if isinstance(given, Telemetry) else self.jobs_work
        self.circuit: Circuit = circuit_of(site, self.fleet.full_w, params)
        self.plant = Plant(site, self.circuit, self.fleet, params, plan.economiser)
        self.machines = Machines(site, self.circuit, self.plant, params)
        m = self.machines
        m.scale(spread.pumps_ratio, spread.fans_ratio, spread.chillers_ratio)
        self.water = Water(self.circuit, params, (m.standing_w, m.station_w), m.room_w, m.loop_w, self.plant)
        self.chain = Chain(site, self.fleet, m.at, params, spread.loss_ratio)
        self.settings = Settings(site, self.circuit, plan, params)
        self.protection = Protection(site, self.chain, params)
        self.guarded = (0, site.count("ups"))
        self.machine_w = np.zeros(len(m.at))
        self.powered = Powered(site, self.chain, m.at)
        self.edges = sorted({self._step_of(t) for t in self.settings.moments()} | {steps})
        self.margins = Margins(site, self.circuit, self.water, params, start_s, [f.start_s for f in plan.faults])
        self.storage = Storage(site, outlook, params, plan.grid_cap_w)
        self.tally = Tally(steps, step_s)
        self.gap_w = 0.0
        gaps = self.work.gaps(start_s, self.end_s) if isinstance(self.work, PowerReplay) else ()
        self.notes = [*self.circuit.assumed, *gaps]

    def chunks(self, sink: Sink | None) -> Iterator[float]:
        """Solve chunk by chunk; gives the share that is done after each."""
        most = max(len(self.chain.at), len(self.circuit.rack), self.water.racks, 50)
        size = int(np.clip(CHUNK_CELLS // most, 8, 8192))
        at, changed = 0, True
        while at < self.steps:
            count = min(size if at else _FIRST, self._edge_after(at) - at)
            rack_w, busy = self.work.advance(self.start_s + at * self.step_s, self.step_s, count)
            done = 0
            while done < count:
                here = at + done
                if changed or here in self.edges:
                    self._change(here, rack_w[done])
                live = rack_w[done : self._edge_after(here) - at] * self._powered()
                upto = self.protection.until(live, self.machine_w, self.start_s + here * self.step_s, self.step_s)
                self._chunk(here, live[:upto], busy[done : done + upto], sink)
                done += upto
                changed = self._protected()
            at += count
            yield at / self.steps

    def _edge_after(self, step: int) -> int:
        return self.edges[bisect_right(self.edges, step)]

    def _step_of(self, time_s: float) -> int:
        return min(math.ceil(time_s / self.step_s - 1e-9), self.steps)

    def _protected(self) -> bool:
        """Whether breakers or batteries have changed since the last look."""
        p = self.protection
        now = (int(p.opened.sum()), int(p.charged.sum()))
        was, self.guarded = self.guarded, now
        return now != was

    def _change(self, step: int, rack_w: Floats) -> None:
        """What holds from a step on: what has power, and so what runs."""
        time_s = step * self.step_s
        self.chain.lose(self.settings.tripped(time_s) | self.protection.opened, self.protection.charged)
        if self.powered.look(time_s):  # standby pumps take over some seconds later
            insort(self.edges, min(self._step_of(time_s + self.params.loops.takeover_s), self.steps))
        live = rack_w * self._powered()
        if step == 0:
            self._settle(live)
        setting = self.settings.at(time_s, dead_since_s=self.powered.dead_since_s)
        self.water.begin(setting, live[self.circuit.rack] * self.circuit.share * self.circuit.liquid_frac)

    def _settle(self, rack_w: Floats) -> None:
        """The water begins where it stays at the first load, without faults."""
        moment = np.array([self.start_s])
        air = Air(*(self.outlook.at(name, moment, self.params) for name in ("wet_bulb_c", "dry_bulb_c")))
        c = self.circuit
        self.water.begin(self.settings.at(0.0, sound=True), rack_w[c.rack] * c.share * c.liquid_frac)
        if not self.water.settle(rack_w, air):
            self.notes.append(
                "the water does not come to rest at the first load; temperatures of the first hours carry that over"
            )

    def _powered(self) -> Floats:
        """float64[racks]: share of each rack's power that still has a feed."""
        alive: Floats = self.chain.of_racks.T @ (~self.chain.dead).astype(np.float64)
        return alive

    def _chunk(self, at: int, rack_w: Floats, busy: Floats, sink: Sink | None) -> None:
        begin_s = self.start_s + at * self.step_s
        time_s: Floats = np.asarray(begin_s + self.step_s * (np.arange(len(rack_w)) + 0.5), dtype=np.float64)
        weather = (self.outlook.at(name, time_s, self.params) for name in ("wet_bulb_c", "dry_bulb_c"))
        air = Air(*weather)
        record = self.water.advance(rack_w, air, begin_s, self.step_s)
        setting = self.water.setting
        if setting is None:
            raise ValueError("a chunk before its setting")
        real_w = self._real_w(rack_w, record)
        drawn = self.machines.drawn(record, air, setting)
        self.machine_w = drawn.power_w[:, -1]
        power = self.chain.carry(real_w, drawn.power_w)
        self._check(power, record, begin_s)
        columns = self._columns(time_s, real_w, drawn, power, air, busy)
        columns |= self.margins.look(time_s, self.step_s, rack_w, record, setting, self._rise_k(rack_w, record, setting))
        self.tally.add({name: values for name, values in columns.items() if name != "time_s"})
        self.margins.loading(self.chain, power, time_s, self.step_s)
        wanted = sink.tables if sink else ()
        if sink and "site" in wanted:
            sink.write("site", columns)
        if sink and "cdu" in wanted:
            sink.write("cdu", self.margins.cdu_table(time_s, record, setting))
        if sink and "rack" in wanted:
            sink.write("rack", self.margins.rack_table(time_s, real_w, record))

    def _rise_k(self, rack_w: Floats, record: Record, setting: Setting) -> Floats:
        """float64[t, b]: chips over their coolant, those that slow down with what they are left."""
        rise, idle = self.plant.chip_rise_k(rack_w, setting), self.plant.idle_rise_k(setting)
        return np.asarray(rise - record.slowed * (rise - idle))

    def _real_w(self, rack_w: Floats, record: Record) -> Floats:
        """Power of racks with the leakage of their temperature, and without those that have switched off."""
        c = self.circuit
        factor = np.ones_like(rack_w)
        np.add.at(factor.T, c.rack, ((record.factor - 1) * c.share).T)
        return rack_w * factor

    def _check(self, power: Power, record: Record, begin_s: float) -> None:
        """A gap in the balance is our error: it fails the run, with where it was."""
        scale = float(np.abs(power.into).max(initial=0.0)) + 1.0
        chain = float(block_gap_w(self.chain.links, power.own, power.loss, power.into).max(initial=0.0))
        water = float(np.abs(record.gap_w).max(initial=0.0))
        self.gap_w = max(self.gap_w, chain, water)
        held_w = float(np.abs(record.station_w).sum(1).max(initial=0.0)) + scale
        stored_w = 1e-9 * self.water.stored_j() / self.step_s  # rounding of large sums over short steps
        if not (chain <= 1e-3 + TOLERANCE_FRAC * scale and water <= 1e-3 + TOLERANCE_FRAC * held_w + stored_w):
            raise ArithmeticError(f"energy is not conserved at {begin_s:.0f} s: chain {chain:g} W, water {water:g} W")

    def _columns(self, time_s: Floats, rack_w: Floats, drawn: Drawn, power: Power, air: Air, busy: Floats) -> dict[str, Floats]:
        """The site's columns; NaN where the graph does not describe a plant or a chain."""
        nothing = np.full(len(time_s), np.nan)
        it = rack_w.sum(1) + self.fleet.apart_total_w - power.dead_w
        it = np.maximum(it, 0.0)
        described = bool(self.circuit.described.any())
        cooling = drawn.power_w.sum(0) if described else nothing
        loss = power.loss.sum(0) if self.chain.described else nothing
        facility = it + cooling + loss + self.params.house_w
        between = self.storage.settle(facility, time_s, self.step_s)
        grid = between["grid_power_w"]
        carbon = self.outlook.at("carbon_gco2_per_kwh", time_s, self.params)
        price = self.outlook.at("price_per_mwh", time_s, self.params)
        return {
            "time_s": time_s,
            "it_power_w": it,
            "cooling_power_w": cooling,
            "loss_power_w": loss,
            "house_power_w": np.full(len(time_s), self.params.house_w),
            "facility_power_w": facility,
            "pue_ratio": np.divide(facility, it, out=np.full(len(it), np.nan), where=it > 0),
            "cdu_pumps_w": drawn.cdu_w,
            "pumps_w": drawn.pumps_w,
            "fans_w": drawn.fans_w,
            "air_handlers_w": drawn.air_w,
            "chillers_w": drawn.chillers_w,
            "rejected_w": drawn.rejected_w if described else nothing,
            "reused_w": drawn.reused_w if described else nothing,
            "water_kgps": drawn.water_kgps if described else nothing,
            "wet_bulb_c": air.wet_bulb_c,
            "busy_frac": busy,
            "carbon_kgps": grid * carbon / 3.6e9,
            "cost_per_s": grid * price / 3.6e9,
            **between,
        }

    def trajectory(self, sink: Sink | None) -> Trajectory:
        """Everything that is left to say at the end."""
        jobs = self._jobs()
        tables = {"jobs": jobs, "device": self.margins.device_table(self.chain), "limit": self.margins.limit_table()}
        for table, columns in tables.items():
            if sink and table in sink.tables:
                sink.write(table, columns)
        return Trajectory(
            self.plan.name, self.start_s, self.step_s, self.steps, self._summary(jobs), self.tally.series(),
            self.margins.limits(self.protection.trips), jobs, self._all_notes(),
        )  # fmt: skip

    def _jobs(self) -> dict[str, Any]:
        s = self.schedule
        until = np.minimum(s.end_s, self.end_s)
        ran = np.maximum(until - np.maximum(s.start_s, self.start_s), 0.0)
        energy = (self.jobs_work.job_w + self.jobs_work.job_idle_w) * np.nan_to_num(ran) / 3.6e6
        return {
            "job": list(self.jobs.ids),
            "submit_s": self.jobs.submit_s,
            "start_s": s.start_s,
            "end_s": s.end_s,
            "wait_s": s.start_s - self.jobs.submit_s,
            "slots": self.demand.wanted.astype(np.int64),
            "energy_kwh": np.where(np.isnan(s.start_s), np.nan, energy),
        }

    def _summary(self, jobs: Mapping[str, Any]) -> dict[str, float | None]:
        t = self.tally
        it_kwh, facility_kwh, reused_kwh = t.kwh("it_power_w"), t.kwh("facility_power_w"), t.kwh("reused_w")
        waits = jobs["wait_s"][~np.isnan(jobs["wait_s"])]
        water = t.sums["water_kgps"]
        values: dict[str, float] = {
            "it_energy_kwh": it_kwh,
            "cooling_energy_kwh": t.kwh("cooling_power_w"),
            "loss_energy_kwh": t.kwh("loss_power_w"),
            "facility_energy_kwh": facility_kwh,
            "pue_ratio": facility_kwh / it_kwh if it_kwh > 0 else math.nan,
            "wue_kg_per_kwh": water / it_kwh if it_kwh > 0 else math.nan,
            "erf_frac": reused_kwh / facility_kwh if facility_kwh > 0 else math.nan,
            "water_kg": water,
            "carbon_kg": t.sums["carbon_kgps"],
            "cost": t.sums["cost_per_s"],
            "it_power_mean_w": it_kwh * 3.6e6 / (self.steps * self.step_s),
            "it_power_peak_w": t.peaks.get("it_power_w", math.nan),
            "facility_power_peak_w": t.peaks.get("facility_power_w", math.nan),
            "grid_energy_kwh": t.kwh("grid_power_w"),
            "grid_power_peak_w": t.peaks.get("grid_power_w", math.nan),
            "busy_mean_frac": t.sums["busy_frac"] / (self.steps * self.step_s),
            "jobs_count": float(len(self.jobs)),
            "jobs_started_count": float(len(waits)),
            "jobs_left_out_count": float(sum(count for count, _ in self.schedule.left_out.values())),
            "wait_mean_s": float(waits.mean()) if len(waits) else math.nan,
            "wait_p95_s": float(np.percentile(waits, 95)) if len(waits) else math.nan,
            "jobs_energy_kwh": float(np.nansum(jobs["energy_kwh"])),
            "balance_gap_w": self.gap_w,
            **self.margins.summary(t),
            "breakers_opened_count": float(len(self.protection.trips)),
        }
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def _all_notes(self) -> tuple[str, ...]:
        notes = list(self.notes)
        for reasons in (self.jobs.refused, self.schedule.left_out):
            notes += [f"{count} jobs left out: {reason} (first: {first})" for reason, (count, first) in reasons.items()]
        if not self.circuit.described.any():
            notes.append("the site describes no cooling plant: no cooling power and no PUE")
        if self.plan.economiser == "none" and self.plant.free_only:
            notes.append("economiser 'none' says nothing of a plant without chillers: its towers or dry coolers go on")
        if not self.chain.described:
            notes.append("the site describes no power chain: no losses and no PUE")
        notes += self.storage.notes()
        for name, short_s in self.outlook.short_s(self.start_s, self.end_s).items():
            notes.append(f"{name} does not cover {short_s / 3600:.1f} h of the run; its ends were held")
        notes += [
            f"{name} was assumed" for name in ("wet_bulb_c",) if name not in self.outlook.lines and self.circuit.described.any()
        ]
        if kept := sorted({key.split(":")[1] for key in self.params.learned.columns} & _NOT_RUN):
            notes.append(f"calibrated {', '.join(kept)} are in force in the live twin only; this run has them from its tables")
        opened = [self.site.ids[at] for _, at, _ in self.protection.trips]
        return (*notes, *self.margins.notes(self.tally, self.outlook, self.params, opened))


def _lengthened(jobs: Trace, demand: Demand) -> Trace:
    """The trace with the run times that caps and clocks lead to."""
    columns = {name: getattr(jobs, name) for name in Trace.__slots__}
    ratio = demand.run_s / jobs.run_s
    return Trace(**columns | {"run_s": demand.run_s, "limit_s": jobs.limit_s * ratio})
