"""What a queue says as readings, and what it keeps for maintenance."""

from datetime import UTC, datetime

import numpy as np

from tests.small import small_site
from twin.frame import Frame
from twin.job import Cluster, Jobs, JobState, NodeState
from ui.queued import Work, capacity_frames, reservations_of

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


def cluster() -> Cluster:
    """Four nodes, of which the site does not know one; two are drained, one is down; two reservations."""
    ints, none = (lambda *values: np.array(values, dtype=np.int32)), np.empty((0, 2), dtype=np.int32)
    state = np.array([NodeState.IDLE, NodeState.DRAINED, NodeState.DRAINED, NodeState.DOWN], dtype=np.uint8)
    pairs = np.array([[0, 0], [0, 2], [1, 3]], dtype=np.int32)
    up, starts, ends = np.empty(0, dtype=np.uint8), np.array([1.0, 2.0]), np.array([3.0, 4.0])
    rows, names = ints(0, 1, -1, 3), ["a", "b", "c", "d"]
    return Cluster(names, rows, state, ints(), ints(), [], up, none, ["maint-r1", "course"], starts, ends, pairs)


def test_nodes_that_are_out_and_reservations_with_their_nodes() -> None:
    frames = capacity_frames(SITE, "slurm", cluster(), NOW)
    assert [value(frames, "queue", f"nodes_{name}count") for name in ("", "drained_", "down_")] == [[4.0], [2.0], [1.0]]
    ids = SITE.ids_of("node")
    assert reservations_of(SITE, cluster()) == [
        {"name": "maint-r1", "nodes": [ids[0]], "start_s": 1.0, "end_s": 3.0},
        {"name": "course", "nodes": [ids[3]], "start_s": 2.0, "end_s": 4.0},
    ]
