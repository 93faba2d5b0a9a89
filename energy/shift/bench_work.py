"""Made-up work for measuring plans."""

from typing import Any

import numpy as np

from energy.shift import Work
from twin.frame import Floats, Ints

DAY = 24


def _i4(values: Any) -> Ints:
    return np.asarray(values, dtype=np.int32)


def random_work(rng: np.random.Generator, jobs: int, slots: int, load_frac: float) -> tuple[Work, Floats, Floats]:
    """Work, price and capacity of a made-up centre that is ``load_frac`` full: half the jobs may pause, 1 to 32 GPUs each."""
    gpus: Floats = np.asarray(2.0 ** rng.integers(0, 6, jobs), dtype=np.float64)
    length = np.clip(np.round(rng.lognormal(1.5, 0.8, jobs)), 1, 24)
    due = np.minimum(rng.integers(0, slots - 30, jobs) + length + rng.integers(4, 48, jobs), slots)
    earliest = np.maximum(due - length - rng.integers(4, 48, jobs), 0)
    price = 400 + 150 * np.cos(2 * np.pi * np.arange(slots) / DAY) + 20 * rng.standard_normal(slots).cumsum()
    power_w = gpus * 700 * rng.uniform(0.8, 1.2, jobs)
    capacity = np.full(slots, np.ceil((gpus * length).sum() / slots / load_frac))
    power_w = np.asarray(power_w, dtype=np.float64)
    return Work(gpus, power_w, _i4(length), _i4(earliest), _i4(due), rng.random(jobs) < 0.5), price, capacity
