"""What keeping values costs: a seeded hall of GPUs at 1 Hz through the embedded store, then the questions that faces ask."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded import compact
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
    query asks for, which is asked again and again while values go on coming. ``gpu_live`` is one GPU's ``minutes``, most of ten
    of which still wait to be compacted. The GPU-day is a day at 1 Hz of ``day_gpus`` (a reader opens the same chunks in a store
    of any size), every value of every field; the month is the power of every GPU by the hour. ``append_cpu_s_per_msample`` is
    the whole way into the parts in which values stay: journal, compaction and, taken from the GPU-day's store, the stretching
    of hours that are over.
    """
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        figures = _hall(Path(folder) / "hall", rng, gpus, minutes)
        figures |= _gpu_day(Path(folder) / "day", rng, day_gpus)
        figures |= _month(Path(folder) / "month", rng, gpus)
    figures["append_cpu_s_per_msample"] += figures["stretch_cpu_s_per_msample"]
    conditions = {"gpus": gpus, "fields": len(FIELDS), "interval_s": 1, "minutes": minutes, "day_gpus": day_gpus}
    return {"bench": "store", "figures": figures, "against": {}, "conditions": conditions}


def _hall(path: Path, rng: np.random.Generator, gpus: int, minutes: int) -> dict[str, float]:
    site = hall(gpus)
    store = open_store(path, site)
    try:
        meter, fields = _Meter(), made_fields(site.count("gpu"), rng)
        ticks = minutes * 60
        for k in range(ticks):
            meter.append(store, [frame(site, k, next(fields))])
            meter.upkeep(store, k)
        one = np.array([site.count("gpu") // 2], dtype=np.int32)
        live = partial(store.series, "gpu", list(FIELDS), at(0), at(ticks), rows=one)  # most of ten minutes wait
        lately = {"gpu_live_query_s": _median_s(live), "gpu_live_query_cpu_s": _median_s(live, process_time)}
        meter.flush(store, ticks)
        samples = ticks * site.count("gpu") * len(FIELDS) / 1e6
        figures = {
            "append_cpu_s_per_msample": (meter.append_s + meter.upkeep_s) / samples,
            "journal_cpu_s_per_msample": meter.append_s / samples,
            "compaction_cpu_s_per_msample": meter.upkeep_s / samples,
            "append_wall_p99_s": float(np.quantile(meter.walls, 0.99)),
            "bytes_per_sample": store.size_bytes() / samples / 1e6,
            **lately,
        }
        second = max(3600, ticks) + 300  # five minutes into a window that is not compacted: half of what waits at most

        def tick(k: int) -> None:
            store.append([frame(site, k, {"power_w": next(fields)["power_w"]})])
            store.maintain(at(k))

        for k in range(ticks, second):
            tick(k)
        racks, count = site.within("gpu", "rack"), site.count("rack")

        def wall(k: int) -> Floats:
            end = -(-(k + 1) // 60) * 60  # of the minute under way
            found = store.series("gpu", ["power_w"], at(end - 3600), at(end), 60.0).values["power_w"]
            return np.stack([np.bincount(racks, row, count) for row in found]) / _GPUS_A_RACK

        figures["wall_first_query_s"] = _median_s(lambda: wall(second - 1), rounds=1)
        for name, clock_s in (("wall_query_s", perf_counter), ("wall_query_cpu_s", process_time)):
            walls = []
            for _ in range(2 * _ROUNDS):
                tick(second)
                walls.append(_median_s(partial(wall, second), clock_s, rounds=1))
                second += 1
            figures[name] = float(np.median(walls))
        return figures
    finally:
        store.close()


def _gpu_day(path: Path, rng: np.random.Generator, gpus: int) -> dict[str, float]:
    """One GPU, all fields, a day, every value; and by the minute, as a chart asks."""
    site = hall(gpus)
    store = open_store(path, site)
    module: Any = compact
    stretching, module.stretch = _timed(module.stretch)
    try:
        fields, day = made_fields(site.count("gpu"), rng), 86_400
        for k in range(0, day, 60):
            store.append([frame(site, k + i, next(fields)) for i in range(60)])
            store.maintain(at(k))
        _Meter().flush(store, day)
        one = np.array([gpus // 2], dtype=np.int32)
        ask = partial(store.series, "gpu", list(FIELDS), at(0), at(day), rows=one)
        minutes = partial(store.series, "gpu", list(FIELDS), at(0), at(day), 60.0, rows=one)
        return {
            "gpu_day_first_query_cpu_s": _median_s(ask, process_time, rounds=1),
            "gpu_day_query_s": _median_s(ask),
            "gpu_day_query_cpu_s": _median_s(ask, process_time),
            "gpu_day_minutes_query_s": _median_s(minutes),
            "stretch_cpu_s_per_msample": stretching[0] / (day * site.count("gpu") * len(FIELDS)) * 1e6,
        }
    finally:
        module.stretch = stretching[1]
        store.close()


def _timed(work: Any) -> tuple[list[Any], Any]:
    """[processor seconds, ``work``], and ``work`` so that its portions are counted there."""
    book = [0.0, work]

    def timed(*args: Any) -> Iterator[int]:
        steps = work(*args)
        while True:
            began_s = process_time()
            done = next(steps, None)
            book[0] += process_time() - began_s
            if done is None:
                return
            yield done

    return book, timed


def _month(path: Path, rng: np.random.Generator, gpus: int) -> dict[str, float]:
    """The power of every GPU every half hour for 30 days, asked by the hour."""
    site = hall(gpus)
    store = open_store(path, site)
    try:
        power: Floats = np.round(rng.uniform(100, 700, site.count("gpu")), 1)
        for day in range(30):
            frames = []
            for k in range(48):
                power = np.clip(power + 20 * rng.standard_normal(len(power)), 70, 720).round(1)
                frames.append(frame(site, 86_400 * day + 1800 * k, {"power_w": power}))
            store.append(frames)
            for i in range(60):
                store.maintain(at(86_400 * (day + 1) + 11 * i))
        _Meter().flush(store, 30 * 86_400 + 7200)
        ask = partial(store.series, "gpu", ["power_w"], at(0), at(30 * 86_400), 3600.0)
        return {"month_query_s": _median_s(ask), "month_query_cpu_s": _median_s(ask, process_time)}
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
        store.maintain(at(k))
        self.upkeep_s += process_time() - cpu

    def flush(self, store: SegmentStore, k: int) -> None:
        """Let everything before second ``k`` be compacted."""
        for i in range(100):
            self.upkeep(store, k + 660 + i)


def _median_s(ask: Callable[[], object], clock_s: Callable[[], float] = perf_counter, rounds: int = _ROUNDS) -> float:
    walls = []
    for _ in range(rounds):
        began_s = clock_s()
        ask()
        walls.append(clock_s() - began_s)
    return float(np.median(walls))


def at(seconds: int) -> datetime:
    """``seconds`` after the start of the bench."""
    return _START + timedelta(seconds=seconds)


def frame(site: Site, k: int, values: dict[str, Floats]) -> Frame:
    """All GPUs at second ``k``."""
    return Frame("gpu", at(k), site.all_rows("gpu"), values)


def hall(gpus: int) -> Site:
    """Racks of 64 GPUs in nodes of eight."""
    rows = [Row("bench", {"id": "hall", "kind": "hall", "parent": ""})]
    for rack in range(-(-gpus // _GPUS_A_RACK)):
        rows.append(Row("bench", {"id": f"r{rack}", "kind": "rack", "parent": "hall"}))
        for node in range(8):
            name = f"r{rack}n{node}"
            rows.append(Row("bench", {"id": name, "kind": "node", "parent": f"r{rack}"}))
            rows.extend(Row("bench", {"id": f"{name}g{g}", "kind": "gpu", "parent": name}) for g in range(8))
    return build_site("bench", "UTC", rows, [])


FIELDS = (
    *("power_w", "energy_j", "util_frac", "sm_active_frac", "tensor_active_frac", "dram_active_frac", "mem_copy_util_frac"),
    *("mem_used_bytes", "temp_c", "mem_temp_c", "sm_clock_hz", "mem_clock_hz", "throttle_code", "xid_code"),
)


def made_fields(n: int, rng: np.random.Generator) -> Iterator[dict[str, NDArray[Any]]]:
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
