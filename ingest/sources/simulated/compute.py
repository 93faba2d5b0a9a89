"""GPUs and nodes: what their jobs ask of them becomes clock, power, temperature and heat in the coolant.

A GPU draws idle power, leakage that grows with temperature, and dynamic power by activity and clock; its clock falls where
power meets the cap or the die gets hot. The die is one heat capacity behind its cold plate (0.02-0.03 K/W): exact
exponential over any step, and what the power brings and the die does not keep is in the coolant, to the joule.

Each GPU and node differs a little (silicon, cold plate, sensor, power supply) by figures that nobody outside is told.
"""

import numpy as np

from ingest.sources.simulated.effects import Effects
from ingest.sources.simulated.fleet import Fleet, Index, summed
from ingest.sources.simulated.workload import Columns
from twin.frame import Floats
from twin.site import Bools

CLOCK_HZ = 1.965e9  # highest SM clock
CLOCK_STEP_HZ = 15e6
MEM_CLOCK_HZ = 3.996e9
MEMORY_BYTES = 192_265 * 1024.0**2
EXPONENT = 2.3  # dynamic power over clock: voltage falls with it
SLOW_AT_C, SLOW_PER_K = 86.0, 0.04  # thermal slow-down of the clock
TRIP_C = 102.0  # the board stops computing
TOKENS_PER_S = 2800.0  # of a GPU at work all the time: eight H100 gave about 22,000 of Llama 2 70B in MLPerf Inference 4.0
IDLE, CAPPED, HARDWARE, THERMAL, TRIPPED = 1, 4, 8, 32, 64  # NVML's clocks event reasons


class Compute:
    """All GPUs and nodes. Columns are by row: ``*_w`` power, ``temp_c`` die, ``clock`` over the highest, ``heat_w`` mean heat
    into the coolant over the last step, ``rest_w`` what a node draws beside its GPUs, ``node_w`` at its power supplies."""

    def __init__(self, fleet: Fleet, effects: Effects, rng: np.random.Generator) -> None:
        self._fleet, self._effects, self._rng = fleet, effects, rng
        g, n = fleet.count("gpu"), fleet.count("node")
        scale = fleet.site.number("gpu", "rated_w", 1000.0) / 1000.0
        self.cap_w = 1000.0 * scale
        self._idle_w = scale * rng.normal(92.0, 6.0, g)
        self._leak_w = scale * rng.lognormal(np.log(34.0), 0.22, g)  # at 60 °C
        self._gain_w = scale * 950.0 * rng.normal(1.0, 0.035, g)
        self._plate_k_per_w = rng.lognormal(np.log(0.0245), 0.07, g) / scale
        self._lag_s = rng.uniform(9.0, 17.0, g)
        self._bias_c = rng.normal(0.0, 0.6, g)
        self._keep: tuple[float, Floats] = (0.0, np.ones(g))
        self.temp_c = np.full(g, 38.0)
        self.heat_w, self.power_w, self.clock = self._idle_w.copy(), self._idle_w.copy(), np.ones(g)
        self.why = np.full(g, float(IDLE))
        self.doing: Columns = {name: np.zeros(g) for name in ("util", "sm", "tensor", "dram", "mem")}
        self.energy_j = np.round(rng.uniform(0.1, 9.0, g) * 1e9, 3)
        self.node_energy_j = np.round(rng.uniform(0.1, 9.0, n) * 1e10)
        self._host_w = rng.normal(1080.0, 40.0, n) * fleet.node_width / 8 + 60.0
        self._supply = rng.normal(0.952, 0.005, n)
        self._rated_w = fleet.site.number("node", "rated_w", 10_900.0)
        self.rest_w, self.node_w, self.cpu, self.net = self._host_w.copy(), self._host_w.copy(), np.zeros(n), np.zeros(n)
        self.supply_loss_w = np.zeros(n)
        self._first = np.minimum(fleet.node_start[:-1], g - 1)  # position, in node_gpus, of a GPU of each node

    def step(self, activity: Columns, slot: Index, coolant_c: Floats, dt_s: float) -> None:
        """Advance ``dt_s`` with ``activity`` by job slot, ``slot`` of each GPU and ``coolant_c`` at each rack's cold plates."""
        fleet, effects = self._fleet, self._effects
        jitter = self._rng.standard_normal(len(slot), dtype=np.float32) * np.float32(0.02) + np.float32(1.0)
        doing = {name: activity[name][slot] for name in self.doing}
        for name in ("sm", "tensor", "dram"):
            doing[name] *= jitter
        self.doing = doing
        base_w = self._idle_w + self._leak_w * np.exp2((np.minimum(self.temp_c, TRIP_C) - 60.0) / 28.0)
        ask_w = (0.55 * doing["sm"] + 0.55 * doing["tensor"] + 0.30 * doing["dram"]) * self._gain_w
        self.clock, self.why = self._clocks(base_w, ask_w, activity, slot)
        slowed = np.flatnonzero(self.clock < 1.0)
        ask_w[slowed] *= self.clock[slowed] ** EXPONENT
        self.power_w = base_w + ask_w
        self._dark()
        if self._keep[0] != dt_s:
            self._keep = (dt_s, np.exp(-dt_s / self._lag_s))
        settled_c = coolant_c[fleet.gpu_rack] + self._plate_k_per_w * self.power_w
        new_c = settled_c + (self.temp_c - settled_c) * self._keep[1]
        kept_w = (new_c - self.temp_c) * (self._lag_s / self._plate_k_per_w / dt_s)
        self.temp_c, self.heat_w = new_c, self.power_w - kept_w
        self.energy_j += self.power_w * dt_s
        self._nodes(activity, slot, dt_s)
        effects.gpu_counts["ecc_corrected_count"][
            self._rng.integers(0, len(slot), self._rng.poisson(4e-8 * dt_s * len(slot)))
        ] += 1

    def _clocks(self, base_w: Floats, ask_w: Floats, activity: Columns, slot: Index) -> tuple[Floats, Floats]:
        """Clock over the highest, and NVML's reasons. A job waits for its slowest GPU: the others then do less."""
        clock, why = np.ones(len(slot)), np.where(slot < 0, float(IDLE), 0.0)
        over = np.flatnonzero(base_w + ask_w > self.cap_w)
        clock[over] = np.maximum((self.cap_w[over] - base_w[over]) / ask_w[over], 0.05) ** (1 / EXPONENT)
        why[over] += CAPPED
        hot = np.flatnonzero(self.temp_c > SLOW_AT_C)
        clock[hot] *= np.maximum(0.3, 1.0 - SLOW_PER_K * (self.temp_c[hot] - SLOW_AT_C))
        why[hot] += THERMAL
        tripped = hot[self.temp_c[hot] > TRIP_C]
        ask_w[tripped] = 0.0
        why[tripped] += TRIPPED
        for gpu, factor in self._effects.gpu_slow.items():
            clock[gpu] *= factor
            why[gpu] += HARDWARE
            if slot[gpu] >= 0:
                team = np.flatnonzero(slot == slot[gpu])
                for name in ("sm", "tensor", "dram"):
                    self.doing[name][team] *= factor
                ask_w[team] *= factor
                self.doing["sm"][gpu] /= factor  # the laggard itself is busy all the time
        return np.maximum(clock, 0.12), why

    def _dark(self) -> None:
        """GPUs that fell off the bus idle; those of a dead node draw nothing."""
        effects = self._effects
        if effects.broken_gpus:
            self.power_w[effects.gpu_lost] = self._idle_w[effects.gpu_lost]
            self.power_w[effects.node_down[self._fleet.gpu_node]] = 0.0

    def _nodes(self, activity: Columns, slot: Index, dt_s: float) -> None:
        fleet, down = self._fleet, self._effects.node_down
        lead = slot[fleet.node_gpus[self._first]]  # the job of a node's first GPU speaks for its processors
        noise = self._rng.standard_normal(len(lead), dtype=np.float32)
        self.cpu = np.clip(activity["cpu"][lead] + 0.04 + 0.01 * noise, 0.0, 1.0)
        self.net = activity["net"][lead]
        self.rest_w = self._host_w + self._host_w * (0.9 * self.cpu + 0.2 * self.net)
        self.rest_w[down] = 45.0  # its management controller still answers
        gpus_w = summed(fleet.gpu_node, self.power_w, len(lead))
        out_w = gpus_w + self.rest_w
        load = out_w / self._rated_w
        # efficiency falls off at low load and a little above half load
        efficiency = self._supply - 0.012 / (load + 0.08) - 0.015 * (load - 0.5) ** 2 + 0.02
        self.node_w = out_w / efficiency
        self.supply_loss_w = self.node_w - out_w
        self.node_energy_j += self.node_w * dt_s

    def tokens_per_s(self, serves: Bools) -> Floats:
        """float64[n]: what the services on each node generate, as much as their GPUs (bool[g]) are at work; NaN on a node
        without any."""
        work = np.where(serves, self.doing["sm"], 0.0)
        n, node = len(self.node_w), self._fleet.gpu_node
        tokens = np.round(TOKENS_PER_S * np.bincount(node, work, n))
        return np.where(np.bincount(node, serves, n) > 0, tokens, np.nan)

    def sensed_c(self) -> Floats:
        """What the die's sensor says (whole degrees)."""
        return np.rint(self.temp_c + self._bias_c)

    def sensed_memory_c(self, coolant_c: Floats) -> Floats:
        """Memory temperature (whole degrees): on the same plate, with its own heat."""
        plate_c = coolant_c[self._fleet.gpu_rack]
        return np.rint(plate_c + 0.86 * (self.temp_c - plate_c) + 9.0 * self.doing["dram"] + 2.0)
