"""What an account costs: a week of 10,000 GPUs and 50,000 jobs, from a store that makes up its answers."""

import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.account.book import Given, account
from energy.account.runs import Runs
from energy.account.tariff import load_tariff
from twin.frame import Floats, Ints, Origin
from twin.ports import How, Series

START = datetime(2026, 11, 2, tzinfo=UTC)
GPUS, JOBS, DAYS, STEP_S = 10_000, 50_000, 7, 300.0
_PEAK_W = {"facility_power_w": 9e6, "it_power_w": 7.5e6, "cooling_power_w": 1e6}


class _MadeUp:
    """A store whose values follow from the time they are asked for; reading costs what filling the columns costs."""

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        """See ``twin.ports.Store``."""
        step = step_s or 3600.0
        time_s = np.arange(np.ceil(start.timestamp() / step) * step, end.timestamp(), step)
        width = {"gpu": GPUS, "site": 1, "grid": 1}.get(kind, 0)
        if origin is not Origin.MEASURED or not width:
            return Series(np.empty(0), np.empty(0, dtype=np.int32), {name: np.empty((0, 0)) for name in metrics})
        day: Floats = 1 + 0.2 * np.sin(2 * np.pi * time_s / 86400)[:, None]
        spread = np.linspace(400, 700, width) if kind == "gpu" else np.ones(width)
        scale = {**_PEAK_W, "power_w": 1.0, "carbon_gco2_per_kwh": 500.0, "marginal_carbon_gco2_per_kwh": 800.0}
        values = {name: day * spread * scale.get(name, 400.0) for name in metrics}
        return Series(time_s, np.arange(width, dtype=np.int32), values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a made-up store only reads; it has no {name}")


def bench(rng: np.random.Generator, clock: Callable[[], float]) -> dict[str, Any]:
    """Figures as ``icctwin bench account`` prints them; ``clock`` counts the seconds of processor time."""
    runs = _runs(rng)
    given = Given(tariff=load_tariff("guangdong-2021"))
    store: Any = _MadeUp()
    end = START + timedelta(days=DAYS)
    begun_s = clock()
    made = account(store, START, end, given, runs, "job", GPUS, STEP_S)
    spent_s = clock() - begun_s
    tracemalloc.start()
    account(store, START, START + timedelta(days=1), given, runs, "job", GPUS, STEP_S)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if made.split is None:
        raise AssertionError("nothing was split")
    figures = {
        "week_10k_gpu_50k_jobs_cpu_s": spent_s,
        "day_10k_gpu_memory_bytes": float(memory),
        "sum_error_frac": made.split.sum_error_frac,
    }
    conditions = {"gpus": GPUS, "jobs": JOBS, "days": DAYS, "step_s": STEP_S, "holds": len(runs.gpu)}
    return {"bench": "account", "figures": figures, "against": {}, "conditions": conditions}


def _runs(rng: np.random.Generator) -> Runs:
    """Jobs of 1 to 64 GPUs side by side over the week, as a full centre would have them."""
    size = 2 ** rng.integers(0, 7, JOBS)
    length_s = rng.lognormal(np.log(3600), 1.0, JOBS)
    start_s = START.timestamp() + rng.uniform(0, DAYS * 86400, JOBS)
    first = rng.integers(0, GPUS - 64, JOBS)
    gpu = np.concatenate([np.arange(a, a + n) for a, n in zip(first, size, strict=True)]).astype(np.int32)
    of = np.repeat(np.arange(JOBS, dtype=np.int32), size)
    names = [f"j{i}" for i in range(JOBS)]
    users = [f"u{i % 300}" for i in range(JOBS)]
    return Runs(names, users, [f"p{i % 40}" for i in range(JOBS)], ["gpu"] * JOBS, start_s, start_s + length_s, gpu, of)
