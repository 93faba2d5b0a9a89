"""``icctwin bench calibrate``: how well the twin fits what it was not made from, and what a tick of the live twin costs."""

import argparse
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ui.benches import Result, recorded

PLANT = Path(__file__).resolve().parents[2] / "fixtures" / "plant" / "energyplus-warm-water.csv"
TICKS = 20
POLLS_S = range(0, 20, 2)


def bench_calibrate(options: argparse.Namespace) -> Result:
    """Recorded jobs, an independent plant, and one estimate of 10,000 GPUs with all loops."""
    from twin.recorded_jobs import FILE, kestrel_other_splits, kestrel_scores, read_kestrel
    from twin.recorded_plant import plant_scores

    log = read_kestrel(recorded("twin") / FILE)
    jobs, others = kestrel_scores(log), kestrel_other_splits(log)
    plant = plant_scores(PLANT)
    model = jobs.pop("model")
    figures = {f"kestrel_{name}": value for name, value in model.items()}
    against = {f"kestrel_{name}_{which}": value for name, scores in jobs.items() for which, value in scores.items()}
    figures |= {f"kestrel_other_splits_{name}": value for name, value in others.pop("model").items()}
    against |= {f"kestrel_other_splits_{n}_{which}": value for n, scores in others.items() for which, value in scores.items()}
    figures |= {"plant_cvrmse_frac": plant["cvrmse_frac"], "plant_nmbe_frac": plant["nmbe_frac"]}
    tick_s, conditions = tick(10_000)
    return {
        "bench": "calibrate",
        "figures": {**figures, "estimate_10k_gpu_s": tick_s},
        "against": {**against, "plant_cvrmse_frac": plant["before_cvrmse_frac"], "plant_nmbe_frac": plant["before_nmbe_frac"]},
        "conditions": {**conditions, **{f"plant_{name}": value for name, value in plant.items() if name not in figures}},
    }


def tick(gpus: int) -> tuple[float, Result]:
    """Processor time of one estimate [s], the median of ``TICKS``, on a simulated centre in which everything speaks."""
    import asyncio

    from ingest.sources import simulated
    from twin.estimate import estimate
    from twin.load import Row, build_site
    from twin.params import Params
    from twin.state import State

    quiet = simulated.Options.model_validate({"faults": False})
    assets, links = simulated.demo_rows(gpus)
    sources = [Row("bench", {"id": id_, "kind": "source"}) for id_ in simulated.source_ids("sim", quiet)]
    site = build_site("bench", "UTC", [*assets, *sources], links)
    opened, state = simulated.build("sim", quiet, site), State(site)
    now = datetime(2026, 11, 18, 2, tzinfo=UTC)

    async def live() -> datetime:
        for t in POLLS_S:
            for source in opened.sources:
                for frame in await source.poll(now + timedelta(seconds=t)):
                    state.absorb(frame, now + timedelta(seconds=t))
        return now + timedelta(seconds=POLLS_S[-1])

    end = asyncio.run(live())
    spent = []
    for _ in range(TICKS):
        begun = time.process_time()
        frames = estimate(site, state, Params(), end)
        spent.append(time.process_time() - begun)
    kinds = ("gpu", "rack", "cdu", "loop", "pdu", "ups")
    counts: Result = {kind: site.count(kind) for kind in kinds}
    return float(np.median(spent)), {**counts, "modelled_values": sum(frame.samples for frame in frames)}
