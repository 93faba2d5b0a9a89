"""This machine as a source: psutil for processor, memory, network and disks, RAPL for energy, NVML for GPUs.

What the machine does not have is absent from its frames, never 0. Interfaces and disks are summed on the node by the same
rule as ``mappings/node_exporter.toml``, so both ways of reading a node agree.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict, Field

from ingest.mappings import load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import MAX_GAP
from ingest.registry import Opened, no_node
from ingest.sources.nvml import Gpu, Nvml
from twin.errors import ConfigError
from twin.frame import Frame
from twin.site import Site

T = TypeVar("T")
WAIT_S = 0.8  # for a part that may hang (a dead network file system, a GPU falling off its bus)
_GPU_KEYS = {"uuid": ("uuid",), "index": ("index",)}
_SYS = Path("/sys")
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_NAN = float("nan")


class Options(BaseModel):
    """What a ``[[source]]`` of type ``host`` may say. ``node``: id of the node asset that this machine is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: str
    every_s: float = Field(default=1.0, ge=0.1, le=3600)


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """This machine as ``options.node``; ``ConfigError`` where the site has no such node."""
    if options.node not in site.position or site.kind(options.node) != "node":
        raise ConfigError([no_node(f"source {name}", options.node, site)])
    return Opened([HostSource(name, options, site)])


class Rates:
    """Growth per second of counters by name, as differences over the real time between two readings."""

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._was: dict[str, tuple[float, float]] = {}

    def of(self, name: str, value: float, clock_s: float) -> float:
        """Growth of counter ``name`` [1/s]; NaN at first sight, after a reset and after too long a gap."""
        was, was_s = self._was.get(name, (_NAN, _NAN))
        self._was[name] = value, clock_s
        gone_s = clock_s - was_s
        return (value - was) / gone_s if value >= was and 0 < gone_s <= self._max_gap_s else _NAN


class Aside(Generic[T]):
    """One blocking reading, done in a thread. One that hangs is not started a second time; it is absent meanwhile."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T | None:
        """What it reads now; None where that takes longer than ``WAIT_S``."""
        if self._task is not None and not self._task.done():
            return None
        self._task = asyncio.create_task(asyncio.to_thread(self._read))
        done, _ = await asyncio.wait({self._task}, timeout=WAIT_S)
        return self._task.result() if done else None


class Rapl:
    """Energy counters of the processors (Linux powercap). They wrap at ``max_energy_range_uj``, which is undone here."""

    def __init__(self, root: Path) -> None:
        self._zones = {zone: _word(zone / "name") for zone in sorted(root.glob("intel-rapl:*"))}
        self._total_uj: dict[Path, float] = {}
        self._was_uj: dict[Path, int] = {}

    def read(self) -> dict[str, float]:
        """Energy [J] since the counters began by metric of a node: ``cpu_energy_j`` of processors and memory, ``energy_j``
        where the machine measures itself whole (zone psys). Absent where there is no counter or no right to read it."""
        joules: dict[str, float] = {}
        for zone, name in self._zones.items():
            metric = "energy_j" if name == "psys" else "cpu_energy_j" if name.startswith(("package", "dram")) else ""
            total_uj = self._read_zone(zone) if metric else None
            if total_uj is not None:
                joules[metric] = joules.get(metric, 0.0) + total_uj / 1e6
        return joules

    def _read_zone(self, zone: Path) -> float | None:
        try:
            is_uj, range_uj = int(_word(zone / "energy_uj")), int(_word(zone / "max_energy_range_uj"))
        except ValueError:
            return None
        was_uj = self._was_uj.get(zone)
        grown_uj = is_uj if was_uj is None else is_uj - was_uj + (range_uj if is_uj < was_uj else 0)
        self._was_uj[zone] = is_uj
        self._total_uj[zone] = self._total_uj.get(zone, 0.0) + grown_uj
        return self._total_uj[zone]


class HostSource:
    """Reads this machine. See ``twin.ports.Source``."""

    def __init__(self, name: str, options: Options, site: Site, sys: Path = _SYS, nvml: Nvml | None = None) -> None:
        self._name, self._every_s, self._site, self._sys = name, options.every_s, site, sys
        self._node = site.row(options.node)
        self._ports, self._mounts = self._mine("port"), self._mine("storage")
        self._assets = Assets(site)
        self._rates = Rates(MAX_GAP * options.every_s)
        self._was_cpu: dict[str, float] = {}
        self._nvml = nvml or Nvml()
        self._rapl: Rapl | None = None
        entries = {(entry.kind, entry.metric): entry for entry in load_mapping("node_exporter").metric}
        self._nic, self._disk = entries["node", "net_rx_bps"], entries["node", "disk_read_bps"]
        self._gpus = Aside(self._nvml.read)
        self._sensors = Aside(self._read_sensors)
        self._storage = Aside(self._read_storage)
        self._unmapped = 0

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two readings."""
        return self._every_s

    @property
    def unmapped(self) -> int:
        """GPUs and physical interfaces of this machine that the site does not know."""
        return self._unmapped

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Read the machine once. Parts that it lacks, or that do not answer in time, are absent."""
        self._unmapped = 0
        gpus, sensors, storage = await asyncio.gather(self._gpus.get(), self._sensors.get(), self._storage.get())
        clock_s = perf_counter()
        node = self._read_node(now) | self._network_and_disks(clock_s) | self._energy(sensors or {}, clock_s)
        tables: dict[str, Mapping[int, Mapping[str, float]]] = {
            "node": {self._node: node},
            "port": self._read_ports(clock_s),
            "storage": storage or {},
            "gpu": self._read_gpus(gpus or []),
        }
        return [self._frame(kind, rows, now) for kind, rows in tables.items() if rows]

    async def close(self) -> None:
        """Let go of the GPUs' driver."""
        await asyncio.to_thread(self._nvml.close)

    def _mine(self, kind: str) -> dict[int, str]:
        """Row -> ``device`` of the node's own assets of ``kind`` that have one."""
        devices = self._site.text(kind, "device")
        within = self._site.within(kind, "node").tolist()
        return {row: device for row, device in enumerate(devices) if device and within[row] == self._node}

    def _frame(self, kind: str, rows: Mapping[int, Mapping[str, float]], now: datetime) -> Frame:
        metrics = sorted({metric for values in rows.values() for metric in values})
        columns = {m: np.array([values.get(m, _NAN) for values in rows.values()], dtype=np.float64) for m in metrics}
        return Frame(kind, now, np.array(list(rows), dtype=np.int32), columns, source=self._name)

    def _read_node(self, now: datetime) -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "up_flag": 1.0,
            "uptime_s": max(now.timestamp() - psutil.boot_time(), 0.0),
            "load1_ratio": psutil.getloadavg()[0],
            "mem_total_bytes": float(memory.total),
            "mem_used_bytes": float(memory.total - memory.available),
            "cpu_util_frac": self._cpu_util(psutil.cpu_times()._asdict()),
        }

    def _cpu_util(self, times: dict[str, float]) -> float:
        """Share of processor time not idle since the last reading; waiting for disks is idle."""
        was, self._was_cpu = self._was_cpu, times
        if not was:
            return _NAN
        # Linux counts guests' time in user too, and may take back some waiting time: that is no negative work
        grown = {name: max(times[name] - was.get(name, 0.0), 0.0) for name in times if not name.startswith("guest")}
        total = sum(grown.values())
        return 1 - (grown.get("idle", 0.0) + grown.get("iowait", 0.0)) / total if total > 0 else _NAN

    def _network_and_disks(self, clock_s: float) -> dict[str, float]:
        nics = psutil.net_io_counters(pernic=True, nowrap=False)
        disks = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        sums: dict[str, float] = {}

        def add(metric: str, name: str, counted_bytes: int) -> None:
            sums[metric] = sums.get(metric, 0.0) + 8 * self._rates.of(f"{metric} {name}", counted_bytes, clock_s)

        for name, nic in nics.items():
            if self._nic.takes({"device": name}):
                self._unmapped += name not in self._ports.values()
                add("net_rx_bps", name, nic.bytes_recv)
                add("net_tx_bps", name, nic.bytes_sent)
        for name, disk in disks.items():
            whole = (self._sys / "block" / name.replace("/", "!")).exists()  # not a partition
            if whole and self._disk.takes({"device": name}):
                add("disk_read_bps", name, disk.read_bytes)
                add("disk_write_bps", name, disk.write_bytes)
        return sums

    def _read_ports(self, clock_s: float) -> dict[int, dict[str, float]]:
        if not self._ports:
            return {}
        nics = psutil.net_io_counters(pernic=True, nowrap=False)
        stats = psutil.net_if_stats()
        rows = {}
        for row, device in self._ports.items():
            if device not in stats:
                continue  # unplugged or misnamed: silent, and so soon stale
            rows[row] = {"up_flag": float(stats[device].isup)}
            if nic := nics.get(device):
                rows[row] |= {
                    "rx_bps": 8 * self._rates.of(f"port rx {device}", nic.bytes_recv, clock_s),
                    "tx_bps": 8 * self._rates.of(f"port tx {device}", nic.bytes_sent, clock_s),
                    "error_count": float(nic.errin + nic.errout),
                    "discard_count": float(nic.dropout),
                }
            downs = _word(self._sys / "class/net" / device / "carrier_down_count")
            if downs.isdecimal():
                rows[row]["link_down_count"] = float(downs)
        return rows

    def _read_sensors(self) -> dict[str, float]:
        """Slow ones (in a thread): temperatures and energy counters."""
        if self._rapl is None:
            self._rapl = Rapl(self._sys / "class/powercap")
        values = self._rapl.read()
        found = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
        heats = [sensor.current for chip in _CPU_SENSORS for sensor in found.get(chip, [])]
        return values | ({"temp_c": float(max(heats))} if heats else {})

    def _energy(self, sensors: Mapping[str, float], clock_s: float) -> dict[str, float]:
        """``sensors`` and the power that follows from their energy."""
        values = dict(sensors)
        for energy, power in (("energy_j", "power_w"), ("cpu_energy_j", "cpu_power_w")):
            if energy in values:
                values[power] = self._rates.of(energy, values[energy], clock_s)
        return values

    def _read_storage(self) -> dict[int, dict[str, float]]:
        """In a thread: a dead network file system may hang it."""
        rows = {}
        for row, mount in self._mounts.items():
            try:
                usage = psutil.disk_usage(mount)
            except OSError:  # not mounted
                continue
            rows[row] = {"total_bytes": float(usage.total), "used_bytes": float(usage.used)}
            if usage.total:
                rows[row]["used_frac"] = usage.used / usage.total
        return rows

    def _read_gpus(self, gpus: Sequence[Gpu]) -> dict[int, Mapping[str, float]]:
        rows: dict[int, Mapping[str, float]] = {}
        for gpu in gpus:
            labels = {"uuid": gpu.uuid, "index": str(gpu.index)}
            row = self._assets.find("gpu", _GPU_KEYS, labels, self._node)
            if row is None:
                self._unmapped += 1
            else:
                rows[row] = gpu.values
        return rows


def _word(path: Path) -> str:
    """What a one-line file of the kernel says; "" where it is not there or may not be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
