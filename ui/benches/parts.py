"""Benches of single parts, which live beside what they measure; here they get their seed, their data and their clock."""

import argparse
import time

from ui.benches import Result, recorded


def bench_forecast(options: argparse.Namespace) -> Result:
    """The forecast procedure on recorded series, beside its baselines."""
    from analytics.recorded import bench

    return bench(recorded("analytics/load"), time.process_time)
