"""What a queue says as readings, and what it keeps for maintenance."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from tests.small import small_site
from twin.frame import Bytes, Floats, Frame, Ints
from twin.job import Jobs, JobState
from ui.queued import Capacity, Work, capacity_frames, reservations_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SITE = small_site("id=slurm kind=queue")


def jobs(*rows: tuple[str, JobState, float], held: tuple[int, ...] = ()) -> Jobs:
    """(id, state, submitted [s before now]); the first holds the GPUs ``held``."""
    n, words = len(rows), ["x"] * len(rows)
    nan = np.full(n, np.nan)
    state = np.array([row[1] for row in rows], dtype=np.uint8)
    submit_s = NOW.timestamp() - np.array([row[2] for row in rows])
    ids, gpus = [row[0] for row in rows], np.ones(n, dtype=np.int32)
    flags, mine = np.zeros(n, dtype=np.uint8), np.array(held, dtype=np.int32)
    return Jobs(ids, words, words, words, state, gpus, submit_s, nan, nan, nan, nan, flags, mine, np.zeros_like(mine))


def value(frames: list[Frame], kind: str, name: str) -> list[float]:
    return next(frame.values[name] for frame in frames if frame.kind == kind and name in frame.values).tolist()


def test_held_gpus_the_oldest_wait_and_each_failure_once() -> None:
    work = Work()
    running = ("1", JobState.RUNNING, 50.0)
    first = work.frames(
        SITE, {"slurm": jobs(running, ("2", JobState.PENDING, 900.0), ("3", JobState.FAILED, 9.0), held=(2, 5))}, NOW
    )
    assert np.flatnonzero(value(first, "gpu", "allocated_flag")).tolist() == [2, 5]
    assert value(first, "queue", "oldest_waiting_s") == [900.0]
    assert value(first, "queue", "failed_count") == [0.0]  # what had failed before we came is no news
    later = jobs(running, ("3", JobState.FAILED, 9.0), ("4", JobState.FAILED, 9.0))
    assert value(work.frames(SITE, {"slurm": later}, NOW), "queue", "failed_count") == [1.0]
    again = work.frames(SITE, {"slurm": later}, NOW)
    assert value(again, "queue", "failed_count") == [1.0]
    assert value(again, "queue", "oldest_waiting_s") == [0.0]
    assert work.frames(SITE, {"elsewhere": later}, NOW) == []


@dataclass
class Table:
    """A queue's nodes and reservations."""

    rows: Ints = field(default_factory=lambda: np.array([0, 1, -1, 3], dtype=np.int32))
    state: Bytes = field(default_factory=lambda: np.array([0, 4, 4, 5], dtype=np.uint8))
    reservations: tuple[str, ...] = ("maint-r1", "course")
    reservation_start_s: Floats = field(default_factory=lambda: np.array([1.0, 2.0]))
    reservation_end_s: Floats = field(default_factory=lambda: np.array([3.0, 4.0]))
    reservation_nodes: Ints = field(default_factory=lambda: np.array([[0, 0], [0, 2], [1, 3]], dtype=np.int32))


class Slurm:
    name = "slurm"

    async def cluster(self, now: datetime) -> Table:
        return Table()


def test_nodes_that_are_out_and_reservations_with_their_nodes() -> None:
    assert isinstance(Slurm(), Capacity)
    frames = capacity_frames(SITE, "slurm", Table(), NOW)
    assert [value(frames, "queue", f"nodes_{name}count") for name in ("", "drained_", "down_")] == [[4.0], [2.0], [1.0]]
    ids = SITE.ids_of("node")
    assert reservations_of(SITE, Table()) == [
        {"name": "maint-r1", "nodes": [ids[0]], "start_s": 1.0, "end_s": 3.0},
        {"name": "course", "nodes": [ids[3]], "start_s": 2.0, "end_s": 4.0},
    ]
