"""What faults do to the plant, as columns that its parts read: faults write here, physics and sensors obey."""

from dataclasses import dataclass

import numpy as np

from ingest.sources.simulated import wear
from ingest.sources.simulated.fleet import Flags, Fleet
from twin.frame import Floats


@dataclass(frozen=True, slots=True)
class SensorFault:
    """A sensor (``metric`` of row ``row`` of ``kind``) that holds one value (``drift_per_s`` 0) or creeps away from truth."""

    kind: str
    metric: str
    row: int
    since_s: float
    drift_per_s: float


@dataclass(eq=False)
class Effects:
    """State of health, healthy at first: 1 for factors, False for flags.

    ``gpu_slow``: clock over what it should be, for the few GPUs that lag; ``gpu_xid``: last XID, 0 none; counters only grow,
    but for those of a disk that was replaced; ``disk_on_s``: when each was powered on; ``battery_left``: capacity over that
    of a new one; ``swaps``: (metric, row, row) of racks whose sensors have each other's wires.
    """

    gpu_lost: Flags
    gpu_slow: dict[int, float]
    gpu_xid: Floats
    gpu_counts: dict[str, Floats]
    node_down: Flags
    node_boot_s: Floats
    pump_head: Floats
    pump_dead: Flags
    cdu_transfer: Floats
    rack_leak: Flags
    port_down: Flags
    port_downs: Floats
    port_errors: Floats
    silent: set[str]
    sensors: list[SensorFault]
    swaps: list[tuple[str, int, int]]
    disk_counts: dict[str, Floats]
    disk_failing: Flags
    disk_on_s: Floats
    psu_code: Floats
    battery_left: Floats
    changes: int = 0  # grows whenever something of a GPU or node changed, so that it is reported at once

    @property
    def broken_gpus(self) -> bool:
        """Some GPU answers nothing."""
        return bool(self.gpu_lost.any() or self.node_down.any())


GPU_COUNTERS = (
    "ecc_corrected_count", "ecc_uncorrected_count", "remapped_rows_count", "pcie_replay_count", "nvlink_error_count",
)  # fmt: skip


def healthy(fleet: Fleet, rng: np.random.Generator) -> Effects:
    """A centre that has run for months: counters are not all zero, nothing is broken."""
    gpus, nodes, pumps, ports = (fleet.count(kind) for kind in ("gpu", "node", "pump", "port"))
    counts = {name: np.zeros(gpus) for name in GPU_COUNTERS}
    counts["ecc_corrected_count"] = rng.poisson(0.6, gpus).astype(np.float64)
    counts["pcie_replay_count"] = rng.poisson(0.2, gpus).astype(np.float64)
    boot_s = -rng.uniform(1, 60, nodes).round(3) * 86400.0
    disks = wear.disks_in_service(fleet, rng)
    return Effects(
        gpu_lost=np.zeros(gpus, dtype=np.bool_),
        gpu_slow={},
        gpu_xid=np.zeros(gpus),
        gpu_counts=counts,
        node_down=np.zeros(nodes, dtype=np.bool_),
        node_boot_s=boot_s,  # relative to the plant's start until it starts
        pump_head=np.ones(pumps),
        pump_dead=np.zeros(pumps, dtype=np.bool_),
        cdu_transfer=np.ones(fleet.count("cdu")),
        rack_leak=np.zeros(fleet.count("rack"), dtype=np.bool_),
        port_down=np.zeros(ports, dtype=np.bool_),
        port_downs=np.zeros(ports),
        port_errors=np.zeros(ports),
        silent=set(),
        sensors=[],
        swaps=[],
        disk_on_s=-disks.pop("powered_on_s"),  # as node_boot_s
        disk_counts=disks,
        disk_failing=np.zeros(fleet.count("disk"), dtype=np.bool_),
        psu_code=np.zeros(nodes),
        battery_left=np.ones(fleet.count("ups")),
    )
