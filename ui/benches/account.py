"""``icctwin bench account``: what a week's account of a large centre costs, and what its runs cost whoever asks for them."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ui.benches import Result

NOTED_DAYS, ASKED, EVERY, TIMES = 36, timedelta(hours=24), timedelta(seconds=10), 20
WEEK_S, DAY_S = 604_800.0, 86_400.0


def bench_account(options: argparse.Namespace) -> Result:
    """A week of 10,000 GPUs and 50,000 jobs, split by job; the runs of its last day, as ``/api/v1/kpis`` asks for them."""
    from energy.account.bench import bench

    made = bench(np.random.Generator(np.random.PCG64(1)), time.process_time)
    with TemporaryDirectory() as folder:
        figures, notes = _runs(Path(folder), np.random.Generator(np.random.PCG64(2)))
    return made | {"figures": made["figures"] | figures, "conditions": made["conditions"] | {"notes_of_runs": notes}}


def _runs(folder: Path, rng: np.random.Generator) -> tuple[dict[str, float], int]:
    """CPU time of the last day's runs: read at once; by who keeps them, the first time, and each ten seconds after."""
    from energy.account.bench import GPUS
    from energy.account.runs import TOPIC, Recent, read_runs
    from ingest.stores.records import open_records

    end, records = datetime(2026, 11, 9, tzinfo=UTC), open_records(folder / "records.db")
    notes = _notes(rng, end.timestamp())
    records.append_all(TOPIC, [(datetime.fromtimestamp(time_s, UTC), note) for time_s, note in notes])
    gpus = [f"g{i}" for i in range(GPUS)]
    recent = Recent(records, gpus)
    whole_s = _spent_s(lambda: read_runs(records, end - ASKED, end, gpus))
    first_s = _spent_s(lambda: recent.read(end - ASKED, end))
    ends = [end + k * EVERY for k in range(1, TIMES)]
    again_s = [_spent_s(partial(recent.read, now - ASKED, now)) for now in ends]
    records.close()
    figures = {
        "day_runs_whole_cpu_s": whole_s, "day_runs_first_cpu_s": first_s, "day_runs_again_cpu_s": float(np.median(again_s))
    }  # fmt: skip
    return figures, len(notes)


def _notes(rng: np.random.Generator, end_s: float) -> list[tuple[float, dict[str, Any]]]:
    """As the log of runs has them, of as many jobs a week as the account is of."""
    from energy.account.bench import GPUS, JOBS

    count = round(JOBS * NOTED_DAYS * DAY_S / WEEK_S)
    starts_s = np.sort(rng.uniform(end_s - NOTED_DAYS * DAY_S, end_s, count)).tolist()
    length_s, size = rng.lognormal(np.log(3600), 1.0, count).tolist(), (2 ** rng.integers(0, 5, count)).tolist()
    first = rng.integers(0, GPUS - 64, count).tolist()
    notes: list[tuple[float, dict[str, Any]]] = []
    for i, start_s in enumerate(starts_s):
        key, over_s = f"q/{i}@{start_s:.0f}", start_s + length_s[i]
        said = {"user": f"u{i % 300}", "project": f"p{i % 40}", "partition": "gpu", "submit_s": start_s - 600.0}
        held = {"limit_s": 2 * length_s[i], "held": {"g": [[first[i], first[i] + size[i] - 1]]}}
        notes.append((start_s, {"entry": "begun", "key": key, "job": str(i), "start_s": start_s, **said, **held}))
        if over_s < end_s:
            notes.append((over_s, {"entry": "ended", "key": key, "end_s": over_s, "end_told": True, "how": "completed"}))
    return sorted(notes, key=lambda note: note[0])


def _spent_s(work: Callable[[], object]) -> float:
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s
