"""The jobs of a compressed day on Slurm, and the carbon that it runs under."""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from twin.errors import SourceError

SLOT_S = 2.0  # that an hour of the day takes
DAY_SLOTS = 24
GRACE_S = 6.0  # that marked jobs give to be looked at
SAVES = """#!/bin/bash
# counts what it has run [ms] in a file, goes on from there, and at the signal ends as Slurm's RequeueExitHold wants it
done_ms=$(cat "$1" 2>/dev/null || echo 0)
trap 'exit 85' USR1
while ((done_ms < $2)); do
  from=${EPOCHREALTIME/./}; sleep 0.1; upto=${EPOCHREALTIME/./}
  done_ms=$((done_ms + (upto - from) / 1000)); echo $done_ms > "$1"
done
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job of the day: when it is submitted and how long it runs, in slots; ``kind``: plain, out (it has a mark and takes
    itself out), soon, day or late (how far its deadline lies, ``slack``), or saves (it starts at once, and may be paused)."""

    at: float
    length: int
    gpus: int
    kind: str
    slack: float

    def words(self, begin_s: float, folder: Path, i: int) -> list[str]:
        """What sbatch is told of it in a day that begins at ``begin_s``; it is the day's ``i``-th."""
        run_s = self.length * SLOT_S
        due = datetime.fromtimestamp(begin_s + (self.at + self.length + self.slack) * SLOT_S, UTC)
        mark = f"icctwin:deadline={due:%Y-%m-%dT%H:%M:%S}Z;runs={run_s:g}s"
        words = ["-o", "/dev/null", f"--gpus={self.gpus}", "-N1", "-t", "1"]
        if self.kind == "saves":
            script = folder / "saves.sh"
            script.write_text(SAVES)
            given = (str(script), str(_ran(folder, i)), f"{1e3 * (run_s - 0.2):.0f}")
            return [*words, "--comment", f"{mark};interruptible", *given]
        marked = [] if self.kind == "plain" else ["--comment", mark, f"--begin=now+{GRACE_S:.0f}"]
        return [*words, *marked, "--wrap", f"sleep {run_s - 0.2:g}"]


def _ran(folder: Path, i: int) -> Path:
    return folder / f"ran-{i}"


def ran_for_s(folder: Path, i: int) -> float:
    """What the ``i``-th job says that it has run; NaN where it does not say so."""
    path = _ran(folder, i)
    return float(path.read_text()) / 1e3 if path.exists() else float("nan")


def read_carbon(path: Path, first: int, count: int) -> list[float]:
    """``count`` hours of a recorded series from row ``first`` on. ``SourceError`` where it has fewer."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    name = "avg_CI" if rows and "avg_CI" in rows[0] else "value"
    values = [float(row[name] or "nan") for row in rows[first : first + count]]
    if len(values) < count:
        raise SourceError(f"{path} has {len(values)} hours from row {first} on, {count} are needed")
    known = np.flatnonzero(np.isfinite(values))
    return [float(value) for value in np.interp(np.arange(count), known, np.array(values)[known])]


def wanted_jobs(count: int, rng: np.random.Generator) -> list[Wanted]:
    """Jobs of mixed consent over the first two thirds of the day."""
    kinds = rng.choice(["plain", "out", "soon", "day", "late", "saves"], count, p=[0.28, 0.1, 0.14, 0.2, 0.13, 0.15])
    slack = {"plain": 0.0, "out": 14.0, "soon": 8.0, "day": 12.0, "late": 16.0, "saves": 20.0}
    at = np.sort(rng.uniform(0, 0.65 * DAY_SLOTS, count))
    made = []
    for i, kind in enumerate(map(str, kinds)):
        length = int(rng.integers(5, 9)) if kind == "saves" else int(rng.integers(1, 4))
        made.append(Wanted(float(at[i]), length, int(rng.integers(1, 3)), kind, slack[kind]))
    return made
