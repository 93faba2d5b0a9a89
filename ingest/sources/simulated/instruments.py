"""The sensors: what each device of the plant reports, with its own resolution, noise and faults, as frames.

Resolutions are those of the real devices, because they decide how well a history compresses: dcgm-exporter's power to 1 mW and
profiling ratios to six decimals, temperatures and utilisation in whole steps, clocks in steps of 15 MHz; building controls in
tenths of a degree, PDUs in watts.
"""

from datetime import datetime

import numpy as np

from ingest.sources.simulated import wear
from ingest.sources.simulated.compute import CLOCK_HZ, CLOCK_STEP_HZ, MEM_CLOCK_HZ, MEMORY_BYTES
from ingest.sources.simulated.congestion import Congestion
from ingest.sources.simulated.effects import SensorFault
from ingest.sources.simulated.fleet import summed
from ingest.sources.simulated.layout import CP_PG25, CP_WATER
from ingest.sources.simulated.plant import LINK_BPS, Plant
from ingest.sources.simulated.power import POWER_FACTOR, VOLTAGE_V, uneven
from twin.frame import Floats, Frame

MIB = 1024.0**2
NODE_MEMORY_BYTES = 2048 * 1024 * MIB
PORT_BPS = 1.6e12  # an uplink at full speed
STORE_BYTES_PER_GPU = 2e12
ROOM_DEW_C = 11.3  # of a room at 24 °C and 45 % (Magnus), in the middle of ASHRAE TC 9.9's recommended envelope
Values = dict[str, Floats]


class Instruments:
    """Reads ``plant``; every method is the frames of one kind at the plant's time. Noise comes from ``rng``, ``name`` signs."""

    def __init__(self, plant: Plant, rng: np.random.Generator, name: str) -> None:
        self._plant, self._rng, self._name = plant, rng, name
        self._held: dict[SensorFault, float] = {}
        g = plant.fleet.count("gpu")
        self._mem_clock = np.full(g, MEM_CLOCK_HZ)
        self._cap_w = plant.compute.cap_w.copy()
        self._no_failure = np.zeros(g)
        self._congestion = Congestion(plant.fleet.count("port"))

    def _frame(self, kind: str, values: Values) -> Frame:
        return Frame(kind, self._time, self._plant.fleet.site.all_rows(kind), values, source=self._name)

    @property
    def _time(self) -> datetime:
        return self._plant.time

    def _noisy(self, truth: Floats, sigma: float, decimals: int) -> Floats:
        return np.round(truth + sigma * self._rng.standard_normal(len(truth)), decimals)

    def _flow(self, truth: Floats, decimals: int) -> Floats:
        """A magnetic flow meter: a third of a percent of noise."""
        noise = 0.003 * self._rng.standard_normal(len(truth))
        return np.round(truth * np.maximum(1.0 + noise, 0.0), decimals)

    # --- GPUs and nodes

    def gpus(self, slow: bool) -> list[Frame]:
        """Every GPU: what moves; with ``slow`` also memory, counters, limits. A lost GPU reports its XID and nothing else."""
        compute, effects = self._plant.compute, self._plant.effects
        doing = compute.doing
        values: Values = {
            "util_frac": _parts(doing["util"], 1e2),
            "sm_active_frac": _parts(np.minimum(doing["sm"], 1.0), 1e6),
            "tensor_active_frac": _parts(np.minimum(doing["tensor"], 1.0), 1e6),
            "dram_active_frac": _parts(np.minimum(doing["dram"], 1.0), 1e6),
            "power_w": _parts(compute.power_w, 1e3),
            "temp_c": compute.sensed_c(),
            "sm_clock_hz": np.rint(compute.clock * (CLOCK_HZ / CLOCK_STEP_HZ)) * CLOCK_STEP_HZ,
            "throttle_code": compute.why.copy(),
        }
        if slow:
            used = np.rint(doing["mem"] * 0.97 * (MEMORY_BYTES / MIB) + 620.0) * MIB
            values |= {
                "mem_copy_util_frac": _parts(np.minimum(doing["dram"] * 0.9, 1.0), 1e2),
                "mem_used_bytes": used,
                "mem_free_bytes": MEMORY_BYTES - used,
                "mem_temp_c": compute.sensed_memory_c(self._plant.plate_c()),
                "mem_clock_hz": self._mem_clock.copy(),
                "power_cap_w": self._cap_w.copy(),
                "energy_j": _parts(compute.energy_j, 1e3),
                "row_remap_failure_flag": self._no_failure.copy(),
                "xid_code": effects.gpu_xid.copy(),
                **{name: counts.copy() for name, counts in effects.gpu_counts.items()},
            }
        if effects.broken_gpus:
            gone = np.flatnonzero(effects.gpu_lost | effects.node_down[self._plant.fleet.gpu_node])
            for column in values.values():
                column[gone] = np.nan
            lost = np.flatnonzero(effects.gpu_lost & ~effects.node_down[self._plant.fleet.gpu_node])
            if slow:
                values["xid_code"][lost] = effects.gpu_xid[lost]
        return [self._frame("gpu", values)]

    def nodes(self, slow: bool) -> list[Frame]:
        """Every node; a dead one has only its management controller's word."""
        plant = self._plant
        compute, effects, rng = plant.compute, plant.effects, self._rng
        n = len(compute.node_w)
        values: Values = {
            "power_w": np.rint(compute.node_w * (1.0 + 0.002 * rng.standard_normal(n))),
            "cpu_util_frac": np.round(compute.cpu, 4),
            "up_flag": (~effects.node_down).astype(np.float64),
        }
        values["tokens_per_s"] = compute.tokens_per_s(plant.work.serves())
        if slow:
            inlet_c = 24.0 + 0.12 * (plant.loops.rack_c[plant.fleet.node_rack] - 36.0)
            rate_bps = 8 * LINK_BPS * 0.35 * compute.net * (1.0 + 0.03 * rng.standard_normal(n))
            values |= {
                "energy_j": np.rint(compute.node_energy_j),
                "load1_ratio": np.round(compute.cpu * 224.0, 2),
                "mem_used_bytes": np.rint((0.06 + 0.5 * compute.cpu) * NODE_MEMORY_BYTES / 4096) * 4096,
                "mem_total_bytes": np.full(n, NODE_MEMORY_BYTES),
                "temp_c": np.rint(34.0 + 34.0 * compute.cpu + 0.4 * rng.standard_normal(n)),
                "inlet_temp_c": np.rint(inlet_c + 0.3 * rng.standard_normal(n)),
                "net_rx_bps": np.rint(np.maximum(rate_bps, 0.0) + 2e6),
                "net_tx_bps": np.rint(np.maximum(rate_bps * 0.99, 0.0) + 2e6),
                "disk_read_bps": np.rint(2e7 + 4e9 * np.maximum(compute.cpu - 0.1, 0.0)),
                "disk_write_bps": np.rint(6e6 + 1e9 * np.maximum(compute.cpu - 0.2, 0.0)),
                "psu_code": effects.psu_code.copy(),
                "uptime_s": np.rint(np.maximum(self._time.timestamp() - effects.node_boot_s, 0.0)),
            }
        down = np.flatnonzero(effects.node_down)
        for name, column in values.items():
            if name not in ("power_w", "energy_j", "up_flag", "psu_code"):
                column[down] = np.nan
        return [self._frame("node", values)]

    # --- liquid

    def racks(self) -> list[Frame]:
        """Racks by their inlet meters and manifolds, with the sensor faults."""
        plant = self._plant
        loops, at = plant.loops, plant.fleet.rack_cdu
        supply_c, flow = self._noisy(loops.supply_c[at], 0.04, 1), self._flow(loops.rack_kgps, 3)
        return_c = self._noisy(loops.rack_c, 0.04, 1)
        design = loops.cdu_kgps[at]
        values = {
            "power_w": np.rint(plant.rack_w * plant.power.gain["rack"]),
            "energy_j": np.rint(plant.power.energy_j["rack"]),
            "inlet_temp_c": self._noisy(24.0 + 0.12 * (loops.rack_c - 36.0), 0.05, 1),
            "supply_temp_c": supply_c,
            "return_temp_c": return_c,
            "flow_kgps": flow,
            "diff_pressure_pa": np.round(1.6e5 * (loops.flow_kgps[at] / design) ** 1.9, -2),
            "leak_flag": plant.effects.rack_leak.astype(np.float64),
        }
        self._falsify(values)
        values["heat_w"] = np.round(values["flow_kgps"] * CP_PG25 * (values["return_temp_c"] - values["supply_temp_c"]), -2)
        return [self._frame("rack", values)]

    def _falsify(self, values: Values) -> None:
        """What broken sensors say instead."""
        wear.swap(values, self._plant.effects.swaps)
        sensors = self._plant.effects.sensors
        self._held = {sensor: value for sensor, value in self._held.items() if sensor in sensors}
        for sensor in sensors:
            column, row = values[sensor.metric], sensor.row
            if sensor.drift_per_s:
                creep = sensor.drift_per_s * (self._time.timestamp() - sensor.since_s)
                column[row] = max(0.0, round(float(column[row]) + creep, 2))
            else:
                column[row] = self._held.setdefault(sensor, float(column[row]))

    def cdus(self) -> list[Frame]:
        """Coolant distribution units by their own controllers."""
        plant = self._plant
        loops = plant.loops
        n = len(loops.supply_c)
        flow = self._flow(loops.flow_kgps, 2)
        supply_c, return_c = self._noisy(loops.supply_c, 0.03, 1), self._noisy(loops.return_c, 0.03, 1)
        values = {
            "power_w": np.rint(loops.cdu_w),
            "supply_temp_c": supply_c,
            "return_temp_c": return_c,
            "supply_temp_setpoint_c": np.round(loops.setpoint_c["cdu"], 1),
            "flow_kgps": flow,
            "diff_pressure_pa": np.round(2.5e5 * (loops.flow_kgps / loops.cdu_kgps) ** 1.9, -2),
            "heat_w": np.round(flow * CP_PG25 * (return_c - supply_c), -2),
            "primary_supply_temp_c": self._noisy(np.full(n, loops.plant_c), 0.03, 1),
            "primary_return_temp_c": self._noisy(loops.primary_return_c, 0.03, 1),
            "primary_flow_kgps": self._flow(loops.primary_kgps, 2),
            "pump_speed_frac": np.round(loops.speed, 3),
            "leak_flag": np.zeros(n),
            "dew_point_margin_k": np.round(supply_c - ROOM_DEW_C, 1),
        }
        return [self._frame("cdu", values)]

    def pumps(self) -> list[Frame]:
        """Pumps by their drives. Those inside a CDU are part of its power."""
        loops = self._plant.loops
        values = {
            "power_w": np.rint(loops.pump_w),
            "pump_speed_frac": np.round(loops.pump_speed, 3),
            "flow_kgps": np.round(loops.pump_kgps, 2),
            "diff_pressure_pa": np.round(loops.pump_pa, -2),
        }
        return [self._frame("pump", values)]

    def loops(self) -> list[Frame]:
        """Hall loops and the plant loop; only the plant loop has setpoints."""
        plant = self._plant
        loops, x = plant.loops, plant.fleet.plant_loop
        n = len(loops.hall_return_c)
        setpoint_c = np.full(n, np.nan)
        setpoint_c[x] = round(float(loops.setpoint_c["loop"][x]), 1)
        limit = np.full(n, np.nan)
        limit[x] = loops.limit
        supply_c, return_c = self._noisy(np.full(n, loops.plant_c), 0.03, 1), self._noisy(loops.hall_return_c, 0.03, 1)
        flow = self._flow(loops.hall_flow_kgps, 2)
        values = {
            "supply_temp_c": supply_c,
            "return_temp_c": return_c,
            "supply_temp_setpoint_c": setpoint_c,
            "chillers_limit_count": limit,
            "flow_kgps": flow,
            "diff_pressure_pa": np.round(5e4 + 1.4e5 * (loops.hall_flow_kgps / loops.hall_design_kgps) ** 2, -2),
            "heat_w": np.round(flow * CP_WATER * (return_c - supply_c), -2),
        }
        return [self._frame("loop", values)]

    def chillers(self) -> list[Frame]:
        """Chillers; those at rest report power alone."""
        loops = self._plant.loops
        n = len(loops.chiller_w)
        on = np.arange(n) < loops.chillers_on
        before_c = loops.plant_c + loops.chilled_w / max(
            float(loops.hall_flow_kgps[self._plant.fleet.plant_loop]) * CP_WATER, 1.0
        )
        values = {
            "power_w": np.round(loops.chiller_w, -1),
            "supply_temp_c": np.where(on, self._noisy(np.full(n, loops.plant_c), 0.03, 1), np.nan),
            "return_temp_c": np.where(on, self._noisy(np.full(n, before_c), 0.03, 1), np.nan),
        }
        return [self._frame("chiller", values)]

    def towers(self) -> list[Frame]:
        """Cooling towers."""
        loops = self._plant.loops
        n = len(loops.tower_w)
        warm_c = loops.tower_c + (loops.free_w + loops.chilled_w + float(loops.chiller_w.sum())) / loops.tower_rate_w_per_k
        values = {
            "power_w": np.round(loops.tower_w, -1),
            "supply_temp_c": self._noisy(np.full(n, loops.tower_c), 0.05, 1),
            "return_temp_c": self._noisy(np.full(n, warm_c), 0.05, 1),
            "fan_speed_frac": np.round(loops.fan, 3),
            "fan_limit_frac": loops.fan_limit.copy(),
        }
        return [self._frame("tower", values)]

    # --- power

    def feeders(self, *kinds: str) -> list[Frame]:
        """PDUs, UPS modules, transformers."""
        power = self._plant.power
        frames = []
        for kind in kinds:
            shown_w = power.input_w[kind] * power.gain[kind]
            values = {"power_w": np.rint(shown_w), "loading_frac": np.round(power.loading(kind), 3)}
            if kind != "transformer":
                volts = self._noisy(np.full(len(shown_w), VOLTAGE_V[kind]), 0.7, 1)
                values["voltage_v"] = volts
                values["current_a"] = np.round(shown_w / (3**0.5 * POWER_FACTOR[kind] * volts), 1)
                values["energy_j"] = np.rint(power.energy_j[kind])
                values["imbalance_ratio"] = uneven(len(shown_w))
                values["breaker_open_flag"] = np.zeros(len(shown_w))
            if kind != "pdu":
                values["loss_w"] = np.rint(power.loss_w[kind])
            if kind == "ups":
                values |= wear.battery_values(self._plant.effects, power, self._rng)
            frames.append(self._frame(kind, values))
        return frames

    def meters(self) -> list[Frame]:
        """The grid's meter (the first of its kind), battery and sun, and each hall's main meter."""
        plant = self._plant
        power, site = plant.power, plant.fleet.site
        shown_w = float(np.rint(power.meter_w * power.gain["meter"][0]))
        volts = float(self._noisy(np.array([VOLTAGE_V["meter"]]), 15.0, 0)[0])
        values = {
            "power_w": shown_w,
            "energy_j": float(np.rint(power.energy_j["meter"][0])),
            "energy_kwh": float(np.round(power.energy_j["meter"][0] / 3.6e6, 1)),
            "voltage_v": volts,
            "current_a": round(abs(shown_w) / (3**0.5 * POWER_FACTOR["meter"] * volts), 1),
        }
        first = np.zeros(1, dtype=np.int32)
        frames = [Frame("meter", self._time, first, {k: np.array([v]) for k, v in values.items()}, source=self._name)]
        halls = plant.fleet.count("hall")
        halls_w = summed(plant.fleet.rack_hall, plant.rack_w, halls)
        for kind, drawn_w in (("switch", plant.switch_w), ("storage", plant.storage_w)):
            loose = (site.within(kind, "hall") >= 0) & (site.within(kind, "rack") < 0)  # what stands beside the racks is IT too
            halls_w += summed(site.within(kind, "hall")[loose].astype(np.intp), drawn_w[loose], halls)
        frames.append(self._frame("hall", {"power_w": np.rint(halls_w * power.gain["hall"])}))
        single: dict[str, dict[str, float]] = {
            "pv": {"power_w": round(power.pv_w)},
            "battery": {"power_w": round(power.battery_w), "charge_frac": round(power.charge, 3)},
        }
        for kind, columns in single.items():
            if site.count(kind):
                table = {name: np.array([float(value)]) for name, value in columns.items()}
                frames.append(Frame(kind, self._time, first, table, source=self._name))
        return frames

    # --- network, storage, queue, outside

    def network(self) -> list[Frame]:
        """Switches and their ports: a flapping link carries nothing while it is down."""
        plant = self._plant
        fleet, effects, rng = plant.fleet, plant.effects, self._rng
        n = fleet.count("switch")
        frames = [
            self._frame(
                "switch",
                {
                    "power_w": np.rint(plant.switch_w),
                    "temp_c": np.rint(44.0 + 8.0 * plant.switch_w / plant.switch_w.max() + 0.3 * rng.standard_normal(n)),
                    "up_flag": np.ones(n),
                },
            )
        ]
        if fleet.count("port"):
            busy = summed(fleet.node_rack, plant.compute.net, fleet.count("rack")) / 8
            load = np.where(fleet.switch_rack >= 0, busy[fleet.switch_rack], busy.mean())[fleet.port_switch]
            up = ~effects.port_down
            rate = np.clip(0.45 * load * (1.0 + 0.05 * rng.standard_normal(len(load))), 0.0002, 1.0) * PORT_BPS * up
            values = {
                "up_flag": up.astype(np.float64),
                "rx_bps": np.rint(rate / 1e6) * 1e6,
                "tx_bps": np.rint(rate * 0.985 / 1e6) * 1e6,
                "error_count": effects.port_errors.copy(),
                "link_down_count": effects.port_downs.copy(),
            }
            self._congestion.step(rate / PORT_BPS, self._time.timestamp())
            values |= self._congestion.values()
            frames.append(self._frame("port", values))
        return frames

    def storage(self) -> list[Frame]:
        """Storage systems: reads while jobs load, writes while they save."""
        plant = self._plant
        n, gpus = plant.fleet.count("storage"), len(plant.compute.power_w)
        if not n:
            return []
        doing, slot = plant.compute.doing, plant.work.gpu_slot
        idle = (slot >= 0) & (doing["sm"] < 0.12)
        saving, loading = float((idle & (doing["tensor"] == 0)).sum()), float((idle & (doing["tensor"] > 0)).sum())
        total = STORE_BYTES_PER_GPU * gpus
        used = total * (0.71 + 0.06 * np.sin(self._time.timestamp() / 86400.0 / 4.3))
        read, write = 8e9 * (0.02 * gpus + 2.0 * loading), 8e9 * (0.004 * gpus + 1.2 * saving)
        share = np.full(n, 1.0 / n)
        values = {
            "power_w": np.rint(plant.storage_w),
            "used_bytes": np.rint(used * share / MIB) * MIB,
            "total_bytes": total * share,
            "used_frac": np.full(n, round(used / total, 4)),
            "read_bps": np.rint(read * share * np.exp(0.1 * self._rng.standard_normal(n)) / 1e6) * 1e6,
            "write_bps": np.rint(write * share * np.exp(0.1 * self._rng.standard_normal(n)) / 1e6) * 1e6,
            "latency_s": np.round(0.0006 + 0.004 * np.minimum(1.0, (loading + saving) / gpus * 4) * share * n, 5),
        }
        return [self._frame("storage", values)]

    def disks(self) -> list[Frame]:
        """Disks of the storage systems by their controllers."""
        values = wear.disk_values(self._plant.effects, self._time.timestamp(), self._rng)
        return [self._frame("disk", values)] if len(values["temp_c"]) else []

    def queue(self) -> list[Frame]:
        """The queue's own counts."""
        rows = np.zeros(1, dtype=np.int32)
        values = {name: np.array([value]) for name, value in self._plant.work.counts().items()}
        return [Frame("queue", self._time, rows, values, source=self._name)]

    def outside(self) -> list[Frame]:
        """Weather and grid."""
        world = self._plant.outside
        weather = {
            "dry_bulb_c": round(world.dry_c, 1),
            "wet_bulb_c": round(world.wet_c, 1),
            "humidity_frac": round(world.humidity, 3),
        }
        grid = {
            "carbon_gco2_per_kwh": round(world.carbon),
            "price_per_mwh": round(world.price, 2),
            "frequency_hz": round(world.mains_hz, 3),
        }
        rows = np.zeros(1, dtype=np.int32)
        return [
            Frame(kind, self._time, rows, {k: np.array([float(v)]) for k, v in values.items()}, source=self._name)
            for kind, values in (("weather", weather), ("grid", grid))
        ]


def _parts(values: Floats, scale: float) -> Floats:
    """Rounded to ``1 / scale``: as ``np.round``, in fewer passes."""
    out = values * scale
    np.rint(out, out=out)
    out /= scale
    return out
