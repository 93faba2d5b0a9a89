"""The bench of detection: recorded data beside the checkout, and seeded faults on a simulated site of 10,000 GPUs."""

import argparse
import time

import numpy as np

from ui.benches import Result, recorded

CAUSE_GPUS = 10_000


def bench_detect(options: argparse.Namespace) -> Result:
    """Detectors, failure prediction and causes, each beside its baselines."""
    from analytics.detect.bench import bench
    from ingest.sources.simulated.layout import demo_rows
    from twin.load import build_site

    site = build_site("seeded faults", "UTC", *demo_rows(CAUSE_GPUS))
    return bench(recorded("analytics"), site, np.random.Generator(np.random.PCG64(1)), time.process_time)
