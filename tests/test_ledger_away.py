"""What the ledger knows of nodes that gave no job room: written down as the scheduler shows it, and replayed as it was."""

from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from test_ledger_long import Job, booked, cost, lived

from energy.ledger_away import AWAY, AwayWatch, away_of
from twin.job import Cluster, NodeState

T, HOUR = NOW.timestamp(), 3600.0
IDLE, MIXED, DRAINED, DOWN = NodeState.IDLE, NodeState.MIXED, NodeState.DRAINED, NodeState.DOWN
EAST, WEST = "east", "west"


def nodes(*each, reserved=()):
    """Nodes of 8 GPUs: (partition, state, GPUs used); ``reserved``: positions, and from which hour to which."""
    n, names = len(each), sorted({one[0] for one in each})
    column = [np.array([one[k] for one in each]) for k in (1, 2)]
    in_partition = np.array([[names.index(one[0]), i] for i, one in enumerate(each)], dtype=np.int32)
    held, start_s, end_s = reserved or ((), np.nan, np.nan)
    pairs = np.array([[0, i] for i in held], dtype=np.int32).reshape(-1, 2)
    times = [np.array([T + HOUR * hour] if reserved else [], dtype=float) for hour in (start_s, end_s)]
    return Cluster(
        [f"n{i}" for i in range(n)], np.full(n, -1, np.int32), column[0].astype(np.uint8), np.full(n, 8, np.int32),
        column[1].astype(np.int32), names, np.ones(len(names), np.uint8), in_partition, ["maint"] if reserved else [], *times,
        pairs,
    )  # fmt: skip


def seen(*looks):
    """The records after each (hour, nodes) was looked at, by another process each time that ``None`` stands for the nodes."""
    records = MemoryRecords()
    watch = AwayWatch(records)
    for hour, there in looks:
        if there is None:
            watch = AwayWatch(records)
        watch.see("slurm", there, NOW + timedelta(hours=hour))
    return records


def spans(records, until, since=0.0, places=2):
    """(place, from hour, to hour, GPUs), and the GPUs of each place."""
    at = (lambda names: [EAST, WEST].index(names[0])) if places == 2 else (lambda _: 0)
    found = away_of(records, "slurm", at, places, NOW + timedelta(hours=since), NOW + timedelta(hours=until))
    hours = ((column - T) / HOUR for column in (found.start_s, found.end_s))
    rows = zip(found.place.tolist(), *(column.tolist() for column in hours), found.gpus.tolist(), strict=True)
    return sorted(rows), found.whole.tolist()


def test_free_gpus_of_nodes_that_give_no_work_are_away_from_then_to_when_they_do_again():
    west = (WEST, IDLE, 0)
    well = nodes((EAST, IDLE, 0), (EAST, MIXED, 4), west)
    draining = nodes((EAST, DOWN, 0), (EAST, DRAINED, 4), west)  # what runs there goes on
    drained = nodes((EAST, IDLE, 0), (EAST, DRAINED, 0), west)
    kept = nodes((EAST, IDLE, 0), (EAST, IDLE, 0), west, reserved=((2,), 7, 9))
    looks = ((0, well), (1, draining), (1.5, draining), (2, None), (3, drained), (5, well), (6, kept), (8, kept), (9, kept))
    records = seen(*looks, (10, None), (11, kept))
    assert sum(topic == AWAY for _, topic, _, _ in records.all) == 7, "when it changes, and once by each process"
    assert spans(records, 12) == ([(0, 1.0, 3.0, 4), (0, 1.0, 5.0, 8), (1, 8.0, 9.0, 8)], [16, 8])
    assert spans(records, 4, since=2)[0] == [(0, 2.0, 3.0, 4), (0, 2.0, 4.0, 8)], "as far as is asked for"
    assert spans(MemoryRecords(), 4) == ([], []), "who never looked knows nothing"


def test_what_lasts_is_noted_each_day_and_nodes_that_were_taken_out_are_away():
    both, one = nodes((EAST, DOWN, 0), (EAST, IDLE, 0)), nodes((EAST, IDLE, 0))
    records = seen(*((hour, both) for hour in range(50)), (50, one))
    assert sum(topic == AWAY for _, topic, _, _ in records.all) == 4
    assert spans(records, 60, since=47, places=1) == ([(0, 47.0, 60.0, 8)], [16])


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 8)), min_size=1, max_size=12), st.floats(0, 20))
def test_spans_add_up_to_what_was_away(steps, since):
    """GPU hours, whatever comes when; looks at one moment count by the last."""
    hours = np.cumsum([wait for wait, _ in steps])
    until = float(hours[-1]) + 1.0
    levels = [8 - used for _, used in steps]
    looks = [(hour, nodes((EAST, DOWN, used), (EAST, IDLE, 0))) for hour, (_, used) in zip(hours.tolist(), steps, strict=True)]
    rows, _ = spans(seen(*looks), until, since=min(since, until), places=1)
    edges = np.maximum([*hours.tolist(), until], min(since, until))
    assert sum((end - start) * gpus for _, start, end, gpus in rows) == pytest.approx(np.dot(np.diff(edges), levels), abs=1e-5)
    assert all(start < end and gpus > 0 for _, start, end, gpus in rows)


def drained(hour):
    """Of two nodes one gives no job room from the second to the ninth hour; another job runs beside it until the sixth."""
    gone = 2 <= hour < 9
    return nodes((EAST, DRAINED if gone else IDLE, 0), (EAST, MIXED, 8 if hour < 6 else 0))


def test_who_waited_for_a_drained_node_was_not_held_up_by_what_we_moved():
    """Two nodes: job 7 was moved from the start to hour 12; job 8 ran for six hours; job 9 had to wait for its end, for the
    other node was drained. Had 7 not been moved, it would have ended before."""
    jobs = [Job("7", 0, 12, 12, 13, limit=1), Job("8", 0, None, 0, 6, limit=6), Job("9", 3, None, 6, 8, limit=2)]
    known, blind = (booked(lived(jobs, until=16, gpus=(16,), nodes=one)) for one in (drained, None))
    assert list(known) == ["7"]
    assert (known["7"]["would_s"], known["7"]["would_error_s"]) == (T, 0.0)
    assert known["7"]["low"] == known["7"]["high"] == pytest.approx(cost(12, 1) - cost(0, 1), rel=1e-9)
    assert blind["7"]["would_error_s"] > HOUR, "who does not know of the node has to doubt"
