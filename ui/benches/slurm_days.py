"""``icctwin bench slurm_days``: compressed days on a real Slurm in a row, each with jobs, hours and kills of its own seed,
while processes that only take processor time keep the machine busy.

Each day has a hundred jobs, ten kills of icctwin and two restarts of slurmctld; ``ui.benches.slurm_check`` judges it.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from twin.errors import SourceError
from ui.benches import Result, recorded
from ui.benches.slurm import NODES
from ui.benches.slurm_check import Judged, judge, story
from ui.benches.slurm_day import PAST_SLOTS, Day, DayRun
from ui.benches.slurm_jobs import DAY_SLOTS, read_carbon, wanted_jobs
from ui.benches.slurm_picture import saved
from ui.benches.slurm_server import free_ports, lacking, slurm_server
from ui.commands import tell

JOBS, KILLS, RESTARTS = 100, 10, 2
BUSY = 2  # processes that keep the machine busy meanwhile
FIRST_HOUR, HOURS_APART = 24 * 90, 24 * 11  # of the recorded year: the past of the first day, and how far the next begins later


def bench_days(options: argparse.Namespace) -> Result:
    """``options.days`` days from ``options.seed`` on; every day that is not clean is named with its jobs."""
    if lack := lacking():
        raise SourceError(f"a real Slurm needs {lack}")
    first = 1 if options.seed is None else options.seed
    rows: list[dict[str, object]] = []
    with busy(BUSY):
        for seed in range(first, first + options.days):
            rows.append(_row(seed, *a_day(seed)))
            tell(f"day of seed {seed}: {rows[-1]}")
    kinds = ("late", "touched", "unreleased", "unexplained", "broken", "disturbed")
    figures = {f"{kind}_count": float(sum(len(row[kind]) for row in rows)) for kind in kinds}  # type: ignore[arg-type,misc]
    figures |= {
        "days_count": float(len(rows)),
        "days_clean_count": float(sum(bool(row["clean"]) for row in rows)),
        "lag_s_max": max(float(row["lag_s"]) for row in rows),  # type: ignore[arg-type]
        "day_s_max": max(float(row["wall_s"]) for row in rows),  # type: ignore[arg-type]
        "carbon_saved_of_moved_frac_min": min(float(row["saved_frac"]) for row in rows),  # type: ignore[arg-type]
    }
    conditions = {"jobs": JOBS, "kills": KILLS, "restarts": RESTARTS, "busy_processes": BUSY, "grid": "CISO 2022", "days": rows}
    return {"bench": "slurm_days", "figures": figures, "against": {}, "conditions": conditions}


def a_day(seed: int) -> tuple[Day, Judged]:
    """One day with jobs and hours of its seed, and what its judge says."""
    first = FIRST_HOUR + HOURS_APART * (seed % 18)
    carbon = read_carbon(recorded("energy") / "carbon" / "CISO-2022-hourly.csv", first, PAST_SLOTS + 3 * DAY_SLOTS)
    wanted = wanted_jobs(JOBS, np.random.Generator(np.random.PCG64(seed)))
    with (
        tempfile.TemporaryDirectory(prefix="icctwin-slurm-") as folder,
        slurm_server(Path(folder) / "slurm", free_ports(), NODES) as server,
    ):
        acting = Path(folder) / "acting"
        acting.mkdir()
        day = DayRun(server, acting, carbon, wanted).run(KILLS, RESTARTS)
    return day, judge(day)


def _row(seed: int, day: Day, judged: Judged) -> dict[str, object]:
    found = saved(day)
    return {
        "seed": seed,
        "clean": judged.clean,
        "late": judged.late,
        "touched": judged.touched,
        "unreleased": judged.unreleased,
        "unexplained": judged.unexplained,
        "broken": judged.broken,
        "disturbed": judged.disturbed,
        "lag_s": round(judged.lag_s, 1),
        "moved": found.moved,
        "paused": found.paused,
        "saved_frac": round(found.saved_frac, 3),
        "kills": day.killed,
        "kills_mid_write": day.killed_mid_write,
        "wall_s": round(day.took_s, 1),
        "stories": {job: story(day, job) for jobs in found_in(judged) for job in jobs},
    }


def found_in(judged: Judged) -> list[list[str]]:
    """Jobs with each fault."""
    return [judged.late, judged.touched, judged.unreleased, judged.unexplained, judged.broken, judged.disturbed]


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but take processor time; ended by their own numbers."""
    line = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(line) for _ in range(count)]  # noqa: S603 - ourselves
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
