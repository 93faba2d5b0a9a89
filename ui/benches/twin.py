"""``icctwin bench twin``: what the physics twin costs, offline and live."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from ingest.sources.simulated.layout import demo_rows
from twin.load import build_site
from twin.params import Params
from twin.sim.examples import FRONTIER_ORDERS, FRONTIER_PARAMS, example_jobs, frontier_site
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.scenario import Scenario
from twin.simulate import simulate
from twin.site import Site
from ui.benches import Result
from ui.benches.calibrate import tick
from ui.trajectory import ParquetSink

DAY_S, WEEK_S = 86400.0, 7 * 86400.0
SIZES = (1_024, 4_096, 16_384)  # GPUs, of the three sizes that show how cost grows
_START = datetime(2026, 11, 2, tzinfo=UTC)


def bench_twin(options: argparse.Namespace) -> Result:
    """A Frontier-size day at two steps, 100,000 GPUs for a week, one live tick of 10,000 GPUs, and three sizes.

    Processor seconds are of this process, from the site's objects to the last byte of Parquet; the site's tables are built
    before (``build_s``). Each run gets its own made-up queue.
    """
    rng = np.random.Generator(np.random.PCG64(1))
    process = psutil.Process()
    site, built_s = _timed(frontier_site)
    day_15s, jobs = _run(site, FRONTIER_PARAMS, DAY_S, 15.0, rng, Scenario(changes=FRONTIER_ORDERS))
    day_1s, _ = _run(site, FRONTIER_PARAMS, DAY_S, 1.0, rng, Scenario(changes=FRONTIER_ORDERS))
    rss = process.memory_info().rss
    peak = _peak_rss(process)
    large = build_site("100k", "UTC", *demo_rows(100_000))
    week, week_jobs = _run(large, Params(), WEEK_S, 60.0, rng)
    figures: dict[str, float] = {
        "frontier_day_15s_cpu_s": day_15s,
        "frontier_day_1s_cpu_s": day_1s,
        "frontier_day_1s_rss_bytes": float(max(peak, rss)),
        "week_100k_gpu_60s_cpu_s": week,
        "estimate_10k_gpu_s": tick(10_000)[0],
    }
    for gpus in SIZES:
        sized = build_site("size", "UTC", *demo_rows(gpus))
        for hours in (6, 24):
            figures[f"gpus_{gpus}_{hours}h_15s_cpu_s"], _ = _run(sized, Params(), hours * 3600.0, 15.0, rng)
    conditions = {"build_s": built_s, "frontier_jobs": jobs, "week_jobs": week_jobs, "policy": "easy", "seed": 1}
    return {"bench": "twin", "figures": figures, "against": {}, "conditions": conditions}


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began_s = time.process_time()
    result = function()
    return result, time.process_time() - began_s


def _run(
    site: Site, params: Params, span_s: float, step_s: float, rng: np.random.Generator, scenario: Scenario | None = None
) -> tuple[float, int]:
    """Processor seconds of one run with power, cooling, scheduling and Parquet, and how many jobs there were."""
    start_s = _START.timestamp()
    jobs = example_jobs(fleet_of(site, params), span_s, start_s, rng)
    with TemporaryDirectory(prefix="icctwin-bench-") as folder:
        began_s = time.process_time()
        with ParquetSink(Path(folder) / "run.parquet", ("site", "jobs")) as sink:
            simulate(
                site, jobs, params, _weather(start_s, span_s), span_s, step_s, start_s=start_s, scenario=scenario, sink=sink
            )
        return time.process_time() - began_s, len(jobs)


def _weather(start_s: float, span_s: float) -> Outlook:
    """A mild day, over and over: wet bulb 6-14 °C."""
    time_s = start_s + np.arange(0.0, span_s + 3600.0, 3600.0)
    wet = 10 + 4 * np.sin((time_s - start_s) / DAY_S * 2 * np.pi)
    return outlook_of({"wet_bulb_c": Line(time_s, wet), "dry_bulb_c": Line(time_s, wet + 4)})


def _peak_rss(process: psutil.Process) -> int:
    """The most memory that the process ever held; what it holds now where the system does not say."""
    import resource

    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, process.memory_info().rss)
