"""``icctwin bench dr``: demand response on the measured event."""

import argparse

import numpy as np

from ui.benches import Result, recorded


def bench_dr(options: argparse.Namespace) -> Result:
    """A quarter less for three hours, beside a uniform cap, the linear program's ceiling and what was really done."""
    from energy.respond.bench import bench

    return bench(recorded("energy") / "demand-response", np.random.Generator(np.random.PCG64(7)))
