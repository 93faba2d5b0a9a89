"""The weekly report of a centre of 10,000 GPUs and 50,000 runs: how long, how much memory, and whether its parts sum."""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from energy.account.book import Given
from energy.account.runs import TOPIC
from ingest.stores.records import open_records
from ingest.stores.registry import StoreOptions, open_kept
from twin.frame import Frame, Origin
from twin.load import Row, build_site
from twin.site import Site
from ui.commands import tell
from ui.report.compose import compose
from ui.report.energy import Limits
from ui.report.gather import gather
from ui.report.span import span_of
from ui.report.write import FORMATS, files

WEEK, ZONE = "2026-W46", "Asia/Shanghai"
NODE_GPUS, RACK_NODES, EVERY_S = 8, 4, 900.0
GPUS, RUNS, SEED = 10_000, 50_000, 1
MEMORY = Path("/dev/shm")  # noqa: S108 - what is measured is not the disk
BATCH = 16  # steps appended at once


def bench_report(options: argparse.Namespace) -> dict[str, Any]:
    """The bench with the command's options."""
    return bench(tell, GPUS, RUNS, SEED)


def bench(tell: Callable[[str], None], gpus: int, runs: int, seed: int) -> dict[str, Any]:
    """Figures ``week_10k_gpu_s``, ``rss_bytes``, ``sum_error_frac``; made-up readings each quarter of an hour."""
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-", dir=MEMORY if MEMORY.is_dir() else None) as place:
        folder = Path(place)
        site = _site(gpus)
        options = StoreOptions.model_validate({"path": folder / "store", "raw_days": 400.0})
        tell(f"writing a week of {gpus} GPUs and {runs} runs")
        metered = _fill(site, options, runs, np.random.default_rng(seed))  # noqa: TID251 - the bench's own seed
        store, records = open_kept(options, site, readonly=True), open_records(folder / "store" / "records.db")
        tell("making the report")
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        span = span_of(WEEK, ZoneInfo(ZONE))
        inputs = gather(site, store, records, span, Given(average_gco2_per_kwh=550.0))
        made = list(files(compose(inputs, Limits(1.25)), ("en", "zh"), FORMATS, span.end, "CNY").files)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        records.close()
        store.close()
    split = inputs.account.split
    parts = float(split.column("facility_kwh").sum()) if split is not None else float("nan")
    return {
        "figures": {
            "week_10k_gpu_s": wall_s,
            "week_10k_gpu_cpu_s": cpu_s,
            "rss_bytes": float(peak_bytes),
            "sum_error_frac": abs(parts / metered - 1),
        },
        "conditions": {"gpus": gpus, "runs": runs, "files": len(made), "bytes": sum(len(data) for _, data in made)},
    }


def _site(gpus: int) -> Site:
    nodes = -(-gpus // NODE_GPUS)
    racks = -(-nodes // RACK_NODES)
    lines = [{"id": "h1", "kind": "hall"}]
    lines += [{"id": f"r{r}", "kind": "rack", "parent": "h1", "rated_w": "60000"} for r in range(racks)]
    lines += [{"id": f"n{n}", "kind": "node", "parent": f"r{n // RACK_NODES}"} for n in range(nodes)]
    lines += [{"id": f"g{g}", "kind": "gpu", "parent": f"n{g // NODE_GPUS}"} for g in range(gpus)]
    lines += [{"id": "sky", "kind": "weather"}, {"id": "net", "kind": "grid"}]
    return build_site("bench", ZONE, [Row(f"bench:{i}", line) for i, line in enumerate(lines)])


def _fill(site: Site, options: StoreOptions, runs: int, rng: np.random.Generator) -> float:
    """Write the week; gives the facility's kWh as the meter had them."""
    span = span_of(WEEK, ZoneInfo(ZONE))
    store = open_kept(options, site)
    gpus = site.count("gpu")
    steps = round((span.end - span.start).total_seconds() / EVERY_S)
    facility = np.empty(steps)
    for first in range(0, steps, BATCH):
        frames = []
        for k in range(first, min(first + BATCH, steps)):
            at = span.start + timedelta(seconds=k * EVERY_S)
            util = np.round(rng.beta(2, 1, gpus), 2)
            power = np.round(90 + 560 * util + rng.normal(0, 8, gpus))
            it_w = float(power.sum()) * 1.25
            facility[k] = it_w * (1.15 + 0.05 * np.sin(k / 96 * 2 * np.pi))
            gpu = {"power_w": power, "util_frac": util, "sm_active_frac": np.round(0.8 * util, 2)}
            frames += [
                Frame("gpu", at, site.all_rows("gpu"), gpu),
                _one("site", at, facility_power_w=facility[k], it_power_w=it_w, cooling_power_w=0.1 * it_w),
                _one("weather", at, wet_bulb_c=12 + 6 * np.sin(k / 96 * 2 * np.pi)),
            ]
        store.append(frames)
        store.maintain(frames[-1].time + timedelta(minutes=30))
    for k in range(200):
        store.maintain(span.end + timedelta(hours=1, seconds=k))
    store.close()
    _write_runs(options.path / "records.db", gpus, runs, span.start, span.end, rng)
    return float(facility.sum()) * EVERY_S / 3.6e6


def _one(kind: str, at: datetime, **values: float) -> Frame:
    columns = {name: np.array([value]) for name, value in values.items()}
    return Frame(kind, at, np.array([0], dtype=np.int32), columns, Origin.MEASURED)


def _write_runs(path: Path, gpus: int, runs: int, start: datetime, end: datetime, rng: np.random.Generator) -> None:
    """Runs of a node each, one after the other on it."""
    notes: list[tuple[float, dict[str, Any]]] = []
    nodes = gpus // NODE_GPUS
    each = max(1, runs // nodes)
    length_s = (end - start).total_seconds() / each
    for i in range(runs):
        node, turn = i % nodes, i // nodes
        begin_s = start.timestamp() + turn * length_s + float(rng.uniform(0, 0.2)) * length_s
        end_s = begin_s + float(rng.uniform(0.3, 0.8)) * length_s
        key = f"bench/{i}@{begin_s:.0f}"
        first = node * NODE_GPUS
        run = {"key": key, "job": str(i), "user": f"u{i % 300}", "project": f"p{i % 40}", "partition": "gpu",
               "start_s": begin_s, "held": {"g": [[first, first + NODE_GPUS - 1]]}}  # fmt: skip
        over = {"entry": "ended", "key": key, "end_s": end_s, "end_told": True}
        notes += [(begin_s, {"entry": "begun", **run}), (end_s, over)]
    records = open_records(path)
    for at_s, note in sorted(notes, key=lambda one: one[0]):
        records.append(TOPIC, datetime.fromtimestamp(at_s, UTC), note)
    records.close()
