"""What jobs draw: from a schedule to the mean power of each rack in each step, exactly, in bounded memory."""

from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints
from twin.params import Params
from twin.physics.node import capped_power_w, clocked_power_w, throttled_rate_frac
from twin.sim.fleet import Fleet
from twin.sim.schedule import Schedule
from twin.sim.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What each job asks: ``wanted`` slots, ``power_w`` that all of it adds (mean over the site's slots), ``run_s`` with caps.
    ``gpu_frac``: part of its GPUs' range idle-full that it uses, ``cpu_frac`` of its processors'. ``single``: slots are
    GPUs."""

    wanted: Ints
    power_w: Floats
    run_s: Floats
    gpu_frac: Floats
    cpu_frac: Floats
    single: bool


def demand_of(trace: Trace, fleet: Fleet, params: Params, gpu_cap_frac: float = 1.0, clock_frac: float = 1.0) -> Demand:
    """What the jobs of ``trace`` ask of ``fleet`` when GPUs are held at ``gpu_cap_frac`` of their rating and at ``clock_frac``.

    Power of a node that was measured (``node_w``) is spread over GPUs, and what passes their range over processors. A slower
    GPU runs longer: by the measured power law under a cap, in proportion under a lower clock.
    """
    p, loops = params.node, params.loops
    single = bool((trace.nodes <= 0).any())
    width = max(int(np.median(fleet.gpus)), 1) if len(fleet.gpus) else 1
    wanted = np.where(trace.nodes > 0, trace.nodes * width, trace.gpus) if single else trace.nodes
    idle, gpu, cpu = (float(w.mean()) if len(w) else 0.0 for w in (fleet.idle_w, fleet.gpu_w, fleet.cpu_w))
    gpu_frac = np.where(np.isnan(trace.gpu_util_frac), loops.job_util_frac, trace.gpu_util_frac)
    cpu_frac = np.where(np.isnan(trace.cpu_util_frac), p.cpu_util_frac, trace.cpu_util_frac)
    told = ~np.isnan(trace.node_w)
    above = np.where(told, trace.node_w - idle, 0.0)
    gpu_frac = np.where(told, np.clip(above / gpu, 0.0, 1.0) if gpu else 0.0, gpu_frac)
    cpu_frac = np.where(told, (above - gpu_frac * gpu) / cpu if cpu else 0.0, cpu_frac)
    low, span = p.gpu_idle_frac, 1.0 - p.gpu_idle_frac  # of a GPU's rating
    free = low + gpu_frac * span
    held = capped_power_w(clocked_power_w(free, low, clock_frac, loops.clock_exponent), max(gpu_cap_frac, low))
    slowed = clocked_power_w(free, low, clock_frac, loops.clock_exponent)
    rate = throttled_rate_frac(held, slowed, loops.cap_exponent) * np.where(gpu_frac > 0, clock_frac, 1.0)
    gpu_frac = (held - low) / span
    each = (gpu_frac * gpu + cpu_frac * cpu) / (width if single else 1)
    return Demand(wanted.astype(np.int32), each * wanted, trace.run_s / rate, gpu_frac, cpu_frac, single)


def slots_of(fleet: Fleet, demand: Demand) -> int:
    """How many slots the site has, in the unit that ``demand`` counts in."""
    return int(fleet.gpus.sum()) if demand.single else len(fleet.position)


class Workload:
    """Power of racks over time; ``advance`` gives it chunk by chunk, forwards."""

    def __init__(self, fleet: Fleet, demand: Demand, plan: Schedule, start_s: float) -> None:
        self.fleet, self.racks = fleet, len(fleet.steady_w)
        slot = fleet.gpu_slot[plan.slot] if demand.single else plan.slot
        per = np.where(demand.single, np.maximum(fleet.gpus[slot], 1), 1)
        added = (demand.gpu_frac[plan.job] * fleet.gpu_w[slot] + demand.cpu_frac[plan.job] * fleet.cpu_w[slot]) / per
        self.job_w = np.bincount(plan.job, weights=added, minlength=len(demand.wanted)).astype(np.float64, copy=False)
        idle = fleet.idle_w[slot] / per
        self.job_idle_w = np.bincount(plan.job, weights=idle, minlength=len(demand.wanted)).astype(np.float64, copy=False)
        key, where = np.unique(plan.job.astype(np.int64) * self.racks + fleet.rack[slot], return_inverse=True)
        power = np.bincount(where, weights=added, minlength=len(key))
        count = np.bincount(where, minlength=len(key)).astype(np.float64)
        job, rack = np.divmod(key, max(self.racks, 1))
        self.job_of, self.rack_of = job.astype(np.int32), rack.astype(np.int32)
        time = np.concatenate([plan.start_s[job], plan.end_s[job]])
        order = np.argsort(time, kind="stable")
        self._time = time[order]
        self._rack = np.concatenate([rack, rack])[order]
        self._power = np.concatenate([power, -power])[order]
        self._count = np.concatenate([count, -count])[order]
        before = int(np.searchsorted(self._time, start_s))
        self._at = before
        self._running = self._sum(self._power[:before], self._rack[:before])
        self._busy = float(self._count[:before].sum())
        self.slots = slots_of(fleet, demand)

    def _sum(self, values: Floats, rack: Ints) -> Floats:
        return np.bincount(rack, weights=values, minlength=self.racks).astype(np.float64, copy=False)

    def advance(self, start_s: float, step_s: float, steps: int) -> tuple[Floats, Floats]:
        """Mean power of each rack [W] float64[steps, racks] and share of slots that are busy float64[steps], over the next
        ``steps``. A job that starts within a step counts from there, so that energy is exact whatever the step."""
        until = int(np.searchsorted(self._time, start_s + step_s * steps))
        here = slice(self._at, until)
        self._at = until
        place = (self._time[here] - start_s) / step_s
        step = np.minimum(place.astype(np.int64), steps - 1)
        later = place - step  # part of the step that had passed
        rack, power, count = self._rack[here], self._power[here], self._count[here]
        flat = step * self.racks + rack
        size = (steps + 1) * self.racks
        moved = np.bincount(flat, weights=power * (1 - later), minlength=size).astype(
            np.float64, copy=False
        )  # of nothing: ints
        moved += np.bincount(flat + self.racks, weights=power * later, minlength=size)
        table = moved[: steps * self.racks].reshape(steps, self.racks)
        np.cumsum(table, axis=0, out=table)
        np.add(table, self.fleet.base_w + self._running, out=table)
        busy = np.zeros(steps + 1)
        np.add.at(busy, step, count * (1 - later))
        np.add.at(busy, step + 1, count * later)
        share = (self._busy + np.cumsum(busy[:steps])) / max(self.slots, 1)
        self._running = self._running + self._sum(power, rack)
        self._busy += float(count.sum())
        return np.maximum(table, 0.0), share
