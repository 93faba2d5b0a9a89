"""What keeping values costs: a seeded hall of GPUs at 1 Hz through the embedded store, then the questions that faces ask."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.segments import SegmentStore, open_store
from twin.frame import Floats, Frame
from twin.load import Row, build_site
from twin.site import Site

_START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
_GPUS_A_RACK = 64
_ROUNDS = 9  # of a query; the median counts


def bench_store(rng: np.random.Generator, gpus: int = 8192, minutes: int = 20, day_gpus: int = 64) -> dict[str, Any]:
    """Figures as ``icctwin bench`` prints them.

    ``minutes`` of all fields of ``gpus`` at 1 Hz give cost and size; power alone then runs on to fill the hour that the wall
    query asks for. The GPU-day is a day at 1 Hz of ``day_gpus`` (a reader opens the same chunks in a store of any size), the
    month one series a minute. ``append_cpu_s_per_msample`` is the whole way into the segments, compaction included.
    """
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        figures = {
            **_hall(Path(folder) / "hall", rng, gpus, minutes),
            "gpu_day_query_s": _gpu_day(Path(folder) / "day", rng, day_gpus),
            "month_query_s": _month(Path(folder) / "month", rng),
        }
    conditions = {"gpus": gpus, "fields": len(_FIELDS), "interval_s": 1, "minutes": minutes, "day_gpus": day_gpus}
    return {"bench": "store", "figures": figures, "against": {}, "conditions": conditions}


def _hall(path: Path, rng: np.random.Generator, gpus: int, minutes: int) -> dict[str, float]:
    site = _site(gpus)
    store = open_store(path, site)
    try:
        meter, fields = _Meter(), _fields(site.count("gpu"), rng)
        ticks = minutes * 60
        for k in range(ticks):
            meter.append(store, [_frame(site, k, next(fields))])
            meter.upkeep(store, k)
        meter.flush(store, ticks)
        samples = ticks * site.count("gpu") * len(_FIELDS) / 1e6
        figures = {
            "append_cpu_s_per_msample": (meter.append_s + meter.upkeep_s) / samples,
            "journal_cpu_s_per_msample": meter.append_s / samples,
            "compaction_cpu_s_per_msample": meter.upkeep_s / samples,
            "append_wall_p99_s": float(np.quantile(meter.walls, 0.99)),
            "bytes_per_sample": store.size_bytes() / samples / 1e6,
        }
        hour = max(3600, ticks) + 300  # five minutes into a window that is not compacted: half of what waits at most
        for k in range(ticks, hour):
            store.append([_frame(site, k, {"power_w": next(fields)["power_w"]})])
            store.maintain(_at(k))
        racks, count = site.within("gpu", "rack"), site.count("rack")

        def wall() -> Floats:
            found = store.series("gpu", ["power_w"], _at(hour - 3600), _at(hour), 60.0).values["power_w"]
            return np.stack([np.bincount(racks, row, count) for row in found]) / _GPUS_A_RACK

        figures["wall_query_s"] = _median_s(wall)
        for k in range(hour, hour + 900, 10):
            store.maintain(_at(k))
        figures["wall_rollup_query_s"] = _median_s(wall)
        return figures
    finally:
        store.close()


def _gpu_day(path: Path, rng: np.random.Generator, gpus: int) -> float:
    """One GPU, all fields, a day, every value."""
    site = _site(gpus)
    store = open_store(path, site)
    try:
        fields, day = _fields(site.count("gpu"), rng), 86_400
        for k in range(0, day, 60):
            store.append([_frame(site, k + i, next(fields)) for i in range(60)])
            store.maintain(_at(k))
        _Meter().flush(store, day)
        one = np.array([gpus // 2], dtype=np.int32)
        return _median_s(lambda: store.series("gpu", list(_FIELDS), _at(0), _at(day), rows=one), rounds=3)
    finally:
        store.close()


def _month(path: Path, rng: np.random.Generator) -> float:
    """One series of a value a minute over 30 days, in hours."""
    site = _site(_GPUS_A_RACK)
    store = open_store(path, site)
    try:
        for day in range(30):
            power = np.round(2e6 + 1e5 * np.cumsum(rng.standard_normal(1440)) / 38, 1)
            frames = [
                Frame("site", _at(86_400 * day + 60 * k), site.all_rows("site"), {"it_power_w": power[k : k + 1]})
                for k in range(1440)
            ]
            store.append(frames)
            store.maintain(_at(86_400 * (day + 1)))
        _Meter().flush(store, 30 * 86_400)
        return _median_s(lambda: store.series("site", ["it_power_w"], _at(0), _at(30 * 86_400), 3600.0))
    finally:
        store.close()


class _Meter:
    """Processor and wall time of what is done through it."""

    def __init__(self) -> None:
        self.append_s = self.upkeep_s = 0.0
        self.walls: list[float] = []

    def append(self, store: SegmentStore, frames: list[Frame]) -> None:
        cpu, wall = process_time(), perf_counter()
        store.append(frames)
        self.append_s += process_time() - cpu
        self.walls.append(perf_counter() - wall)

    def upkeep(self, store: SegmentStore, k: int) -> None:
        cpu = process_time()
        store.maintain(_at(k))
        self.upkeep_s += process_time() - cpu

    def flush(self, store: SegmentStore, k: int) -> None:
        """Let everything before second ``k`` be compacted."""
        for i in range(100):
            self.upkeep(store, k + 660 + i)


def _median_s(ask: Callable[[], object], rounds: int = _ROUNDS) -> float:
    walls = []
    for _ in range(rounds):
        wall = perf_counter()
        ask()
        walls.append(perf_counter() - wall)
    return float(np.median(walls))


def _at(seconds: int) -> datetime:
    return _START + timedelta(seconds=seconds)


def _frame(site: Site, k: int, values: dict[str, Floats]) -> Frame:
    return Frame("gpu", _at(k), site.all_rows("gpu"), values)


def _site(gpus: int) -> Site:
    rows = [Row("bench", {"id": "hall", "kind": "hall", "parent": ""})]
    for rack in range(-(-gpus // _GPUS_A_RACK)):
        rows.append(Row("bench", {"id": f"r{rack}", "kind": "rack", "parent": "hall"}))
        for node in range(8):
            name = f"r{rack}n{node}"
            rows.append(Row("bench", {"id": name, "kind": "node", "parent": f"r{rack}"}))
            rows.extend(Row("bench", {"id": f"{name}g{g}", "kind": "gpu", "parent": name}) for g in range(8))
    return build_site("bench", "UTC", rows, [])


_FIELDS = (
    *("power_w", "energy_j", "util_frac", "sm_active_frac", "tensor_active_frac", "dram_active_frac", "mem_copy_util_frac"),
    *("mem_used_bytes", "temp_c", "mem_temp_c", "sm_clock_hz", "mem_clock_hz", "throttle_code", "xid_code"),
)


def _fields(n: int, rng: np.random.Generator) -> Iterator[dict[str, NDArray[Any]]]:
    """Second by second what dcgm-exporter would give of n GPUs, each in some job, in the decimals it gives: power to a
    milliwatt, counters of energy to a millijoule, whole degrees and percents, profiling fractions to six places, clocks in
    steps of 15 MHz. A training step makes load and power swing together."""
    busy = rng.random(n) < 0.85
    level, phase, used = np.where(busy, rng.uniform(0.5, 1, n), 0.0), rng.uniform(0, 40, n), rng.integers(2000, 78_000, n)
    energy, drift = rng.uniform(1e9, 1e11, n), np.zeros(n)
    constant = {"mem_clock_hz": np.full(n, 2.619e9), "xid_code": np.zeros(n)}
    second = 0
    while True:
        swing = 0.5 + 0.5 * np.sign(np.sin((second + phase) / 6))
        load = level * (0.8 + 0.2 * swing)
        drift += 0.02 * (rng.standard_normal(n) - drift)
        power = np.round(75 + 600 * load + np.where(busy, 9, 0.4) * rng.standard_normal(n), 3)
        energy += power
        noise = rng.standard_normal((3, n)) * np.where(busy, 0.03, 0)
        capped = rng.random(n) < 0.03
        yield {
            "power_w": power,
            "energy_j": np.round(energy, 3),
            "util_frac": np.where(busy, np.where(rng.random(n) < 0.9, 1.0, np.round(0.9 + 0.09 * rng.random(n), 2)), 0.0),
            "sm_active_frac": np.round(np.clip(0.9 * load + noise[0], 0, 1), 6),
            "tensor_active_frac": np.round(np.clip(0.5 * load + noise[1], 0, 1), 6),
            "dram_active_frac": np.round(np.clip(0.4 * load + noise[2], 0, 1), 6),
            "mem_copy_util_frac": np.round(0.6 * load, 2),
            "mem_used_bytes": used * 1048576.0,
            "temp_c": np.round(34 + 30 * level + 3 * drift),
            "mem_temp_c": np.round(40 + 38 * level + 3 * drift),
            "sm_clock_hz": np.where(capped, 1.965e9, 1.98e9),
            "throttle_code": np.where(capped, 4.0, 0.0),
            **constant,
        }
        second += 1
