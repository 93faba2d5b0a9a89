"""Benches of single parts, which live beside what they measure; here they get their seed, their data and their clock."""

import argparse
import time

import numpy as np

from ui.benches import Result, recorded


def bench_store(options: argparse.Namespace) -> Result:
    """The embedded store alone."""
    from ingest.stores import bench

    return bench.bench_store(np.random.Generator(np.random.PCG64(1)), gpus=options.gpus)


def bench_ingest(options: argparse.Namespace) -> Result:
    """Reading the pages of exporters."""
    from ingest import bench

    return bench.bench_ingest(np.random.Generator(np.random.PCG64(1)))


def bench_forecast(options: argparse.Namespace) -> Result:
    """The forecast procedure on recorded series, beside its baselines."""
    from analytics.judge import bench
    from ui.commands import tell

    return bench(recorded(""), time.process_time, tell=tell, rng=np.random.Generator(np.random.PCG64(6)))
