"""Benches of single parts, which live beside what they measure; here they get their seed, their data and their clock."""

import argparse
import time

import numpy as np

from ui.benches import Result, recorded


def bench_forecast(options: argparse.Namespace) -> Result:
    """The forecast procedure on recorded series, beside its baselines."""
    from analytics.forecast_bench import bench
    from ui.commands import tell

    return bench(recorded(""), time.process_time, tell=tell, rng=np.random.Generator(np.random.PCG64(6)))


def bench_plan(options: argparse.Namespace) -> Result:
    """Shifting of jobs on recorded grids and prices, beside perfect foresight."""
    from energy.shift.bench import bench

    return bench(recorded("energy"), np.random.Generator(np.random.PCG64(1)), time.process_time)
