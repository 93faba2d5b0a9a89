"""The bench of detection: recorded data beside the checkout, and a simulated site of 10,000 GPUs for causes and for speed."""

import argparse
import asyncio
import time
from datetime import UTC, datetime, timedelta

import numpy as np

from ui.benches import Result, recorded

SIM_GPUS, SMALL_GPUS = 10_000, 1000
STEPS = 12  # evaluations timed; the first is left out
_START = datetime(2026, 11, 1, tzinfo=UTC)


def bench_detect(options: argparse.Namespace) -> Result:
    """Detectors, failure prediction and causes, each beside its baselines; and how long an evaluation of the centre takes."""
    from analytics.detect.bench import bench
    from ingest.sources.simulated.layout import demo_rows
    from twin.load import build_site

    site, small = (build_site("seeded faults", "UTC", *demo_rows(gpus)) for gpus in (SIM_GPUS, SMALL_GPUS))
    evaluate_s = asyncio.run(_evaluate_s())
    result = bench(recorded("analytics"), site, small, np.random.Generator(np.random.PCG64(1)), time.process_time)
    return result | {"figures": result["figures"] | {"evaluate_10k_gpu_s": evaluate_s}}


async def _evaluate_s() -> float:
    """Median processor time of one evaluation of all live detectors."""
    from analytics.detect.live import Watch
    from ingest.sources import simulated
    from ingest.sources.simulated.layout import demo_rows
    from twin.load import build_site
    from twin.state import State

    site = build_site("evaluated", "UTC", *demo_rows(SIM_GPUS))
    opened = simulated.build(
        "sim", simulated.Options(seed=1, faults=False, fault_factor=0.0, start=_START, history_days=0.0), site
    )
    state, watch, spent_s = State(site), Watch(site), []
    for i in range(STEPS + 1):
        now = _START + timedelta(seconds=30 * i)
        for source in opened.sources:
            for frame in await source.poll(now):
                state.absorb(frame, now)
        jobs = await opened.queues[0].jobs(now)
        start_s = time.process_time()
        watch.step(state, jobs, now)
        spent_s.append(time.process_time() - start_s)
    return float(np.median(spent_s[1:]))
