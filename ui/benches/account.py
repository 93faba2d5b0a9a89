"""``icctwin bench account``: what a week's account of a large centre costs."""

import argparse
import time

import numpy as np

from ui.benches import Result


def bench_account(options: argparse.Namespace) -> Result:
    """A week of 10,000 GPUs and 50,000 jobs, split by job."""
    from energy.account.bench import bench

    return bench(np.random.Generator(np.random.PCG64(1)), time.process_time)
