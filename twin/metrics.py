"""THE table of what can be measured or set: one name, one unit, one plausible range, one maximum age.

A metric is identified by the kind of asset and its name (``gpu``, ``power_w``); its unit is the suffix of the name and
never changes. Conversion into these units happens in ``ingest`` and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from twin.kinds import KINDS

# Suffix of a metric's name -> unit as faces print it. Longer suffixes are matched first.
UNITS = MappingProxyType(
    {
        "gco2_per_kwh": "gCO2/kWh",
        "per_s": "/s",
        "per_mwh": "/MWh",  # the site's currency per MWh
        "w_per_m2": "W/m²",
        "mps": "m/s",
        "deg": "°",  # of an angle
        "w": "W",
        "j": "J",
        "kwh": "kWh",
        "c": "°C",  # a temperature
        "k": "K",  # a temperature difference
        "kgps": "kg/s",
        "pa": "Pa",
        "v": "V",
        "a": "A",
        "hz": "Hz",
        "frac": "",  # 0-1 inside, percent on a face
        "ratio": "",  # dimensionless and not bounded by 1
        "s": "s",
        "bytes": "B",
        "bps": "bit/s",
        "count": "",
        "code": "",  # an enumeration or a bit mask
        "flag": "",  # 0 or 1
    }
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    ``low`` and ``high`` bound what is plausible (a value outside is *bad*, not clipped); ``max_age_s`` is the age from
    which a value is stale; ``counter`` marks a value that only grows until its device restarts; ``step`` is the largest
    change that may be commanded at once (None: cannot be set).
    """

    kind: str
    name: str
    low: float
    high: float
    max_age_s: float
    counter: bool
    step: float | None
    doc: str

    @property
    def unit(self) -> str:
        """Unit as a face prints it; empty for a dimensionless metric."""
        return UNITS[suffix(self.name)]


def suffix(name: str) -> str:
    """Unit suffix of a metric's name; ``ValueError`` where the name carries none."""
    for unit in UNITS:
        if name.endswith("_" + unit):
            return unit
    raise ValueError(f"metric name {name!r} ends in no known unit; known: {', '.join(UNITS)}")


_INF = float("inf")
_TERA = 1e12
# kinds | name | low | high | max age [s] | flags ("counter" or "step=…") | what it is
_METERED = "site hall node rack pdu ups transformer meter cdu loop pump chiller tower drycooler crah"
_ROWS: tuple[tuple[str, str, float, float, float, str, str], ...] = (
    # power, wherever a meter sits; positive is power into the asset
    ("gpu", "power_w", 0, 3e3, 90, "", "electrical power into the GPU board"),
    ("node", "power_w", 0, 5e4, 90, "", "electrical power into the node at its power supplies"),
    ("rack", "power_w", 0, 2e6, 90, "", "electrical power into the rack"),
    ("row hall", "power_w", 0, 5e8, 90, "", "electrical power into all IT of the row or hall"),
    ("pdu ups transformer meter", "power_w", 0, 5e8, 90, "", "electrical power into the device"),
    ("cdu pump chiller tower drycooler", "power_w", 0, 5e7, 90, "", "electrical power into the device"),
    ("switch storage", "power_w", 0, 1e5, 90, "", "electrical power into the device"),
    ("battery pv", "power_w", -5e8, 5e8, 90, "", "electrical power into the device; negative while it delivers"),
    ("gpu node rack pdu ups meter", "energy_j", 0, _INF, 300, "counter", "energy into the asset since its counter began"),
    ("battery", "power_setpoint_w", -5e8, 5e8, 300, "step=5e7", "power that it is told to take; negative: to deliver"),
    ("gpu", "power_cap_w", 0, 5e4, 300, "step=200", "upper limit that the device holds its own power to"),
    ("node", "power_cap_w", 0, 5e4, 300, "step=5000", "upper limit that the device holds its own power to"),
    # accelerators
    ("gpu", "util_frac", 0, 1, 90, "", "share of time with at least one kernel resident"),
    ("gpu", "sm_active_frac", 0, 1, 90, "", "share of SM cycles with at least one warp"),
    ("gpu", "tensor_active_frac", 0, 1, 90, "", "share of cycles in which the tensor pipe was active"),
    ("gpu", "dram_active_frac", 0, 1, 90, "", "share of cycles in which device memory moved data"),
    ("gpu", "mem_copy_util_frac", 0, 1, 90, "", "share of time in which device memory was read or written"),
    ("gpu", "mem_used_bytes", 0, _TERA, 90, "", "device memory in use"),
    ("gpu", "mem_free_bytes", 0, _TERA, 90, "", "device memory free"),
    ("gpu", "mem_used_frac", 0, 1, 90, "", "share of device memory in use"),
    ("gpu", "engine_active_frac", 0, 1, 90, "", "share of time in which any compute or graphics engine was active"),
    ("gpu", "temp_c", -20, 130, 90, "", "temperature of the GPU die"),
    ("gpu", "mem_temp_c", -20, 130, 90, "", "temperature of device memory"),
    ("gpu", "sm_clock_hz", 0, 6e9, 90, "", "clock of the streaming multiprocessors"),
    ("gpu", "mem_clock_hz", 0, 2e10, 90, "", "clock of device memory"),
    ("gpu", "throttle_code", 0, 2**32, 90, "", "reasons for a lowered clock, NVML bit mask"),
    ("gpu", "xid_code", 0, 1000, 90, "", "last XID error; 0 is none"),
    ("gpu", "xid_count", 0, _INF, 90, "", "XID errors within the time that the exporter counts over"),
    ("gpu", "npu_error_code", 0, 2**53, 90, "", "last error code of an NPU, in its vendor's numbers; 0 is none"),
    ("gpu", "unhealthy_flag", 0, 1, 90, "", "its own driver calls it unhealthy"),
    ("gpu", "ecc_corrected_count", 0, _INF, 300, "counter", "corrected memory errors"),
    ("gpu", "ecc_uncorrected_count", 0, _INF, 300, "counter", "uncorrectable memory errors"),
    ("gpu", "remapped_rows_count", 0, 1e5, 300, "counter", "memory rows remapped after uncorrectable errors"),
    ("gpu", "row_remap_failure_flag", 0, 1, 300, "", "a row could not be remapped"),
    ("gpu", "pcie_replay_count", 0, _INF, 300, "counter", "PCIe retries"),
    ("gpu", "nvlink_error_count", 0, _INF, 300, "counter", "NVLink CRC and replay errors"),
    # nodes
    ("node", "cpu_util_frac", 0, 1, 90, "", "share of CPU time not idle, all cores"),
    ("node", "cpu_power_w", 0, 2e4, 90, "", "electrical power into processors and their memory (RAPL): a part of the node's"),
    ("node", "cpu_energy_j", 0, _INF, 300, "counter", "energy into processors and their memory (RAPL)"),
    ("node", "load1_ratio", 0, 1e5, 90, "", "run queue length, one-minute mean"),
    ("node", "mem_used_bytes", 0, 1e14, 90, "", "main memory in use (total less available)"),
    ("node", "mem_total_bytes", 0, 1e14, 600, "", "main memory fitted"),
    ("node", "temp_c", -20, 130, 90, "", "hottest processor temperature"),
    ("node rack", "inlet_temp_c", -20, 80, 90, "", "air temperature at the inlet"),
    ("node", "net_rx_bps", 0, _TERA * 10, 90, "", "received, all physical interfaces"),
    ("node", "net_tx_bps", 0, _TERA * 10, 90, "", "sent, all physical interfaces"),
    ("node", "disk_read_bps", 0, _TERA * 10, 90, "", "read from all local disks"),
    ("node", "disk_write_bps", 0, _TERA * 10, 90, "", "written to all local disks"),
    ("node", "uptime_s", 0, 1e10, 90, "", "time since the node booted"),
    ("node", "powered_flag", 0, 1, 300, "", "its management controller says that it is switched on"),
    ("node", "psu_code", 0, 2, 300, "", "its worst power supply: 0 well, 1 it warns or will fail, 2 failed or without input"),
    ("node", "sel_count", 0, 1e6, 600, "", "entries in the event log of its management controller"),
    ("node", "tokens_per_s", 0, 1e9, 90, "", "tokens that its inference servers generate in a second"),
    ("node switch", "up_flag", 0, 1, 90, "", "the asset answers"),
    # network and storage
    ("port", "up_flag", 0, 1, 90, "", "the link is up"),
    ("port", "rx_bps", 0, _TERA * 10, 90, "", "received"),
    ("port", "tx_bps", 0, _TERA * 10, 90, "", "sent"),
    ("port", "error_count", 0, _INF, 90, "counter", "receive and transmit errors"),
    ("port", "link_down_count", 0, _INF, 300, "counter", "times the link went down"),
    ("port", "link_recovery_count", 0, _INF, 300, "counter", "times the link recovered by itself from errors"),
    ("port", "discard_count", 0, _INF, 90, "counter", "packets thrown away for want of room or because the link was down"),
    ("port", "wait_count", 0, _INF, 90, "counter", "ticks in which data waited for the link to take them"),
    ("port", "queue_drop_count", 0, _INF, 300, "counter", "packets that the output queues dropped"),
    ("port", "ecn_marked_count", 0, _INF, 300, "counter", "packets marked with congestion experienced (ECN)"),
    ("port", "pause_rx_count", 0, _INF, 300, "counter", "pause frames received (802.3x, and PFC of all priorities)"),
    ("port", "pause_tx_count", 0, _INF, 300, "counter", "pause frames sent (802.3x, and PFC of all priorities)"),
    ("switch", "temp_c", -20, 130, 90, "", "hottest temperature of the switch"),
    ("storage", "used_bytes", 0, 1e19, 300, "", "capacity in use"),
    ("storage", "total_bytes", 0, 1e19, 600, "", "capacity"),
    ("storage", "used_frac", 0, 1, 300, "", "capacity in use over capacity"),
    ("storage", "health_code", 0, 2, 300, "", "0 well, 1 a warning, 2 an error"),
    ("storage", "parts_up_frac", 0, 1, 300, "", "share of its disks or servers that are up"),
    ("storage", "read_bps", 0, _TERA * 100, 90, "", "read"),
    ("storage", "write_bps", 0, _TERA * 100, 90, "", "written"),
    ("storage", "latency_s", 0, 600, 90, "", "mean time of an operation"),
    # disks: SMART attributes by their number, and the health log of NVMe
    ("disk", "reallocated_count", 0, 1e9, 3600, "", "sectors reallocated (SMART 5)"),
    ("disk", "spin_retry_count", 0, 1e9, 3600, "", "attempts to spin up again (SMART 10)"),
    (
        "disk",
        "reported_uncorrected_count",
        0,
        1e9,
        3600,
        "",
        "errors reported as not to be corrected (SMART 187)",
    ),
    ("disk", "command_timeout_count", 0, 2**53, 3600, "", "commands that ran out of time (SMART 188)"),
    ("disk", "high_fly_write_count", 0, 1e9, 3600, "", "writes with the head too high (SMART 189)"),
    ("disk", "reallocation_event_count", 0, 1e9, 3600, "", "attempts to reallocate (SMART 196)"),
    ("disk", "pending_count", 0, 1e9, 3600, "", "sectors that wait to be reallocated (SMART 197)"),
    ("disk", "offline_uncorrected_count", 0, 1e9, 3600, "", "sectors that could not be read in an offline scan (SMART 198)"),
    ("disk", "media_error_count", 0, _INF, 3600, "", "errors of the medium (NVMe health log)"),
    ("disk", "wear_ratio", 0, 2.6, 3600, "", "share of its rated writes that is used (NVMe health log)"),
    ("disk", "failing_flag", 0, 1, 3600, "", "its own health check says that it fails, or its NVMe log warns"),
    ("disk", "powered_on_s", 0, 1e10, 3600, "", "time that it has been powered on"),
    ("disk", "temp_c", -20, 130, 3600, "", "temperature of the disk"),
    # liquid cooling
    ("cdu loop rack chiller", "supply_temp_c", -20, 90, 90, "", "liquid supplied towards the load"),
    ("cdu loop rack chiller tower drycooler", "return_temp_c", -20, 110, 90, "", "liquid coming back from the load"),
    ("cdu loop rack pump", "flow_kgps", 0, 1e4, 90, "", "mass flow of liquid"),
    ("cdu loop", "supply_temp_setpoint_c", 5, 60, 600, "step=1", "supply temperature ordered"),
    ("loop", "chillers_limit_count", 0, 1000, 600, "step=8", "how many of its chillers its sequence may run at once"),
    ("chiller", "supply_temp_setpoint_c", 2, 40, 600, "step=1", "supply temperature ordered"),
    ("cdu loop rack pump", "diff_pressure_pa", -1e6, 2e6, 90, "", "pressure difference supply to return"),
    ("cdu loop rack heatreuse", "heat_w", -1e7, 5e8, 90, "", "heat carried by the liquid"),
    ("site tower drycooler", "makeup_kgps", 0, 1e4, 600, "", "water taken in for what evaporates and what is let off"),
    ("cdu", "primary_supply_temp_c", -20, 90, 90, "", "facility water into the unit"),
    ("cdu", "primary_return_temp_c", -20, 110, 90, "", "facility water out of the unit"),
    ("cdu", "primary_flow_kgps", 0, 1e4, 90, "", "mass flow of facility water"),
    ("cdu rack", "dew_point_margin_k", -60, 90, 90, "", "liquid supplied less the dew point of the air around it"),
    ("cdu pump", "pump_speed_frac", 0, 1, 90, "step=0.1", "pump speed over rated speed"),
    ("valve", "position_frac", 0, 1, 90, "step=0.1", "valve opening"),
    ("tower drycooler", "fan_speed_frac", 0, 1, 90, "step=0.1", "fan speed over rated speed"),
    ("tower drycooler", "fan_limit_frac", 0, 1, 600, "step=0.5", "fan speed that the plant's own control may reach at most"),
    ("tower drycooler", "supply_temp_c", -20, 90, 90, "", "water leaving towards the plant"),
    ("cdu rack", "leak_flag", 0, 1, 90, "", "a leak detector has tripped"),
    # air cooling
    ("crah", "power_w", 0, 1e6, 90, "", "electrical power into the device"),
    ("crah", "supply_air_temp_c", -20, 60, 90, "", "air blown into the room"),
    ("crah", "return_air_temp_c", -20, 80, 90, "", "air drawn back from the room"),
    ("crah", "supply_air_setpoint_c", 10, 40, 600, "step=1", "supply air temperature ordered"),
    ("crah", "humidity_frac", 0, 1, 300, "", "relative humidity of the return air"),
    ("crah", "fan_speed_frac", 0, 1, 90, "step=0.1", "fan speed over rated speed"),
    ("crah", "leak_flag", 0, 1, 90, "", "a leak detector has tripped"),
    # power chain
    ("pdu ups transformer", "loading_frac", 0, 3, 90, "", "apparent power over rating"),
    ("pdu ups transformer", "loss_w", 0, 5e7, 90, "", "power lost in the device"),
    ("pdu ups meter", "voltage_v", 0, 1e6, 90, "", "line voltage"),
    ("pdu ups meter", "imbalance_ratio", 0, 3, 90, "", "largest deviation of a phase's current from the mean, over the mean"),
    ("pdu ups meter", "current_a", 0, 1e5, 90, "", "line current"),
    ("ups battery", "charge_frac", 0, 1, 300, "", "state of charge"),
    ("pdu ups meter", "breaker_open_flag", 0, 1, 90, "", "a breaker of the device is open: tripped or switched off"),
    ("ups", "on_battery_flag", 0, 1, 90, "", "the load runs from the battery"),
    ("ups", "battery_runtime_s", 0, 1e6, 300, "", "how long the battery would carry the present load"),
    ("ups", "battery_temp_c", -20, 100, 600, "", "temperature of the battery"),
    ("ups", "battery_replace_flag", 0, 1, 600, "", "its own test asks for a new battery"),
    ("meter", "energy_kwh", 0, _INF, 600, "counter", "energy since the counter began"),
    # the world outside
    ("weather", "dry_bulb_c", -60, 60, 7200, "", "air temperature"),
    ("weather", "wet_bulb_c", -60, 45, 7200, "", "wet-bulb temperature"),
    ("weather", "humidity_frac", 0, 1, 7200, "", "relative humidity"),
    ("weather", "irradiance_w_per_m2", 0, 1600, 7200, "", "what the sun and the sky send on a level square metre"),
    ("weather", "wind_mps", 0, 120, 7200, "", "speed of the wind at 10 m"),
    ("grid", "carbon_gco2_per_kwh", 0, 3000, 7200, "", "average carbon intensity of consumption"),
    ("grid", "marginal_carbon_gco2_per_kwh", 0, 3000, 7200, "", "carbon intensity of what one more kWh would be made from"),
    ("grid", "price_per_mwh", -5000, 20000, 7200, "", "energy price in the site's currency"),
    ("grid", "frequency_hz", 40, 70, 90, "", "mains frequency"),
    # the centre as a whole
    ("site hall", "it_power_w", 0, 1e10, 90, "", "power into IT equipment"),
    ("site hall", "cooling_power_w", 0, 1e10, 90, "", "power into all cooling equipment"),
    ("site", "loss_power_w", 0, 1e10, 90, "", "power lost between the grid and the racks"),
    ("site", "facility_power_w", 0, 1e10, 90, "", "power the centre takes in: from the grid, its own generation and storage"),
    ("site", "pue_ratio", 1, 10, 90, "", "facility power over IT power (momentary; ISO/IEC 30134-2 asks for a year)"),
    (
        "site",
        "carbon_budget_ratio",
        0,
        100,
        7200,
        "",
        "emissions of the budget's period so far over what was planned until now",
    ),
    ("site", "overdue_reverts_count", 0, 1e6, 300, "", "actions of ours whose former value could not be restored"),
    ("site", "forecast_error_ratio", 0, 1e6, 7200, "", "error of forecasts of IT power as they came, over the daily naive's"),
    ("site", "forecast_coverage_frac", 0, 1, 7200, "", "share of IT power as it came inside the forecasts' 80 % interval"),
    ("site", "forecast_drift_ratio", 0, 1e6, 7200, "", "summed surplus of the worst forecast's errors over its alarm limit"),
    # what a sensor says less what everything else says it should (smoothed over a minute), and that over its expected spread
    (
        _METERED,
        "residual_w",
        -1e10,
        1e10,
        90,
        "",
        "measured less expected power (site, hall: IT; cdu, loop: heat)",
    ),
    (
        _METERED,
        "residual_score_ratio",
        -1e6,
        1e6,
        90,
        "",
        "residual_w over its expected spread; beyond 4 is wrong",
    ),
    (_METERED, "refused_flag", 0, 1, 90, "", "its power meter is at odds with all the rest and left out of the balance"),
    ("site", "facility_residual_w", -1e10, 1e10, 90, "", "power that the connection's meters read less what the rest explains"),
    ("site", "facility_score_ratio", -1e6, 1e6, 90, "", "facility_residual_w over its expected spread"),
    ("cdu", "power_residual_w", -1e7, 1e7, 90, "", "electrical power measured less expected"),
    ("cdu", "power_score_ratio", -1e6, 1e6, 90, "", "power_residual_w over its expected spread"),
    ("rack", "expected_heat_w", -1e7, 5e8, 90, "", "heat that the rack's power should set free in its liquid by now"),
    ("rack", "heat_residual_w", -1e8, 1e8, 90, "", "heat carried by the liquid, measured less expected"),
    ("rack", "heat_score_ratio", -1e6, 1e6, 90, "", "heat_residual_w over its expected spread"),
    ("cdu", "primary_heat_residual_w", -1e8, 1e8, 90, "", "heat into facility water, measured less expected"),
    ("cdu", "primary_heat_score_ratio", -1e6, 1e6, 90, "", "primary_heat_residual_w over its expected spread"),
    ("rack cdu", "supply_temp_residual_k", -200, 200, 90, "", "supply less expected: rack by its CDU, cdu by its exchanger"),
    ("rack cdu", "supply_temp_score_ratio", -1e6, 1e6, 90, "", "supply_temp_residual_k over its expected spread"),
    ("rack cdu", "return_temp_residual_k", -200, 200, 90, "", "return less expected: rack by its power, cdu by its racks"),
    ("rack cdu", "return_temp_score_ratio", -1e6, 1e6, 90, "", "return_temp_residual_k over its expected spread"),
    ("rack cdu", "flow_residual_kgps", -1e4, 1e4, 90, "", "flow less expected: rack by its share, cdu by its pump's speed"),
    ("rack cdu", "flow_score_ratio", -1e6, 1e6, 90, "", "flow_residual_kgps over its expected spread"),
    ("site hall", "coverage_frac", 0, 1, 90, "", "share of the modelled IT power that a power meter or sensor also reads"),
    ("site hall", "heard_frac", 0, 1, 90, "", "share of IT, by full less idle power, that gave a fresh reading of any kind"),
    ("queue", "running_count", 0, 1e7, 120, "", "jobs running"),
    ("queue", "waiting_count", 0, 1e7, 120, "", "jobs waiting"),
    ("queue", "gpus_allocated_count", 0, 1e7, 120, "", "GPUs allocated to jobs"),
    ("queue", "gpus_waiting_count", 0, 1e8, 120, "", "GPUs that waiting jobs ask for"),
    ("queue", "gpus_usable_count", 0, 1e7, 120, "", "GPUs of nodes that the scheduler gives work"),
    ("queue", "nodes_usable_count", 0, 1e7, 120, "", "nodes that the scheduler gives work"),
    ("queue", "nodes_unusable_count", 0, 1e7, 120, "", "nodes that are drained, down or failed for the scheduler"),
    ("node", "usable_flag", 0, 1, 120, "", "the scheduler gives it work: neither drained nor down"),
    ("queue", "oldest_waiting_s", 0, 1e9, 120, "", "how long the job that waits longest has; 0 where none waits"),
    ("queue", "failed_count", 0, _INF, 120, "counter", "jobs seen to fail"),
    ("queue", "nodes_count", 0, 1e6, 120, "", "nodes that the scheduler knows"),
    ("queue", "nodes_drained_count", 0, 1e6, 120, "", "nodes that the scheduler gives no new job, as ordered"),
    ("queue", "nodes_down_count", 0, 1e6, 120, "", "nodes that the scheduler cannot reach"),
    ("gpu", "allocated_flag", 0, 1, 120, "", "a running job holds it"),
    # icctwin itself
    ("source", "up_flag", 0, 1, 30, "", "the last poll succeeded"),
    ("source", "poll_s", 0, 3600, 30, "", "duration of the last poll"),
    ("source", "samples_count", 0, _INF, 30, "counter", "values taken since start"),
    ("source", "errors_count", 0, _INF, 30, "counter", "failed polls since start"),
    ("source", "unmapped_count", 0, 1e9, 30, "", "series of the last poll that belong to no known asset or metric"),
    ("source", "suspect_count", 0, _INF, 30, "counter", "values judged suspect or bad since start"),
    ("source", "targets_count", 0, 1e6, 30, "", "endpoints that it reads, where a discovery lists them"),
    ("source", "targets_down_count", 0, 1e6, 30, "", "of these, how many failed at the last poll"),
    ("source", "lag_s", -1e10, 1e10, 30, "", "age of the newest value when it came; negative where its clock runs ahead"),
    ("source", "duplicates_count", 0, _INF, 30, "counter", "values that had come before, since start"),
    (
        "source",
        "in_force_count",
        0,
        1e9,
        30,
        "",
        "metrics of assets that several sources tell and this one's word counts of",
    ),
    ("source", "standby_count", 0, 1e9, 30, "", "metrics of assets of which another source's word counts now"),
    ("task", "duration_s", 0, 1e5, _INF, "", "duration of the last run"),
    ("task", "runs_count", 0, _INF, _INF, "counter", "runs since start"),
    ("task", "errors_count", 0, _INF, _INF, "counter", "runs that failed since start"),
    ("task", "missed_count", 0, _INF, _INF, "counter", "runs that started too late to be done, since start"),
    ("task", "overlaps_count", 0, _INF, _INF, "counter", "runs left out because the one before was still going"),
    ("task", "failing_flag", 0, 1, _INF, "", "the last run failed"),
    ("process", "cpu_frac", 0, 1024, 90, "", "processor time over wall time; 1 is one core"),
    ("process", "rss_bytes", 0, 1e13, 90, "", "resident memory"),
    ("process", "store_bytes", 0, 1e16, 300, "", "size of the store on disk"),
    ("process", "spool_waiting_count", 0, _INF, 90, "", "values that wait for the store"),
    ("process", "spool_dropped_count", 0, _INF, 90, "counter", "values lost because the store refused them for too long"),
    ("process", "pages_waiting_count", 0, _INF, 90, "", "pages that wait for their receivers"),
    ("process", "pages_waiting_s", 0, 1e7, 90, "", "age of the oldest page that waits; 0 where none does"),
    ("process", "pages_dead_count", 0, _INF, 90, "", "pages that no receiver took and that are given up"),
    ("process", "heartbeats_silent_count", 0, 500, 90, "", "heartbeats outside that get no sign of life"),
)


def _build() -> dict[str, dict[str, Metric]]:
    table: dict[str, dict[str, Metric]] = {kind: {} for kind in KINDS}
    for kinds, name, low, high, max_age_s, flags, doc in _ROWS:
        suffix(name)
        step = float(flags.removeprefix("step=")) if flags.startswith("step=") else None
        for kind in kinds.split():
            if name in table[kind]:
                raise ValueError(f"metric {name!r} stands twice for kind {kind!r}")
            table[kind][name] = Metric(kind, name, low, high, max_age_s, flags == "counter", step, doc)
    return table


METRICS = MappingProxyType({kind: MappingProxyType(rows) for kind, rows in _build().items()})


def metric(kind: str, name: str) -> Metric:
    """The table's row for ``name`` of ``kind``; ``KeyError`` with one clear sentence where there is none."""
    try:
        return METRICS[kind][name]
    except KeyError:
        known = ", ".join(METRICS.get(kind, {})) or f"no such kind; kinds are {', '.join(KINDS)}"
        raise KeyError(f"no metric {name!r} of kind {kind!r}; known: {known}") from None


def every_metric() -> Iterator[Metric]:
    """All rows, in the table's order of kinds."""
    for rows in METRICS.values():
        yield from rows.values()
