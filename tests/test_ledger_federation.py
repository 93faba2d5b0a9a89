"""The ledger of moves between clusters of a federation: beside what Slurm itself would have done, wherever room is first."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords, account, book_jobs
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.ledger_jobs import Grounds, Ran
from energy.ledger_seen import RAN
from energy.levers.jobs_ahead import GPU_W
from twin.sim.schedule import Policy, first_room, schedule
from twin.sim.trace import trace_of

HOUR, T, GB = 3600.0, NOW.timestamp(), 1e9
TIME_S = T + HOUR * np.arange(24)
# what a kWh of IT costs: 320 g through 1.25 in the east, 250 g and from six hours on 83.3 g through 1.2 in the west
EAST, WEST = np.full(24, 320 * 1.25), np.where(np.arange(24) < 6, 300.0, 100.0)
KW = 8 * GPU_W / 1e3
GROUND = Grounds(
    {"east/batch": 0, "west/batch": 1, "west/night": 1}, np.array([8, 8], np.int32), TIME_S, np.array([EAST, WEST]),
    np.array([[0, 0.004 * 3.6e-3], [0.004 * 3.6e-3, 0]]),
)  # fmt: skip


def ran(*rows):
    """Rows of (own [h], ours [h; None], start [h], hours, place, home, whether it may start in both, GB)."""
    own, ours, start, hours, place, home, both, data = zip(*rows, strict=True)
    own_s, start_s, length_s = (T + HOUR * np.array(one, dtype=float) for one in (own, start, hours))
    begin_s = np.array([np.nan if one is None else T + HOUR * one for one in ours])
    i4 = [np.array(one, dtype=np.int32) for one in ([8] * len(own), place, home)]
    may = np.array([[bool(b) or p == h for p in range(2)] for b, h in zip(both, home, strict=True)])
    length_s = length_s - T
    return Ran(
        [str(i) for i in range(len(own))], own_s, begin_s, start_s, start_s + length_s, length_s, *i4, GB * np.array(data), may
    )


FULL_EAST = (0, None, 0, 3, 0, 0, False, 0)


def test_slurm_would_have_started_it_in_the_west_and_dirty_hours_and_data_count_there():
    """The east is full for three hours, the west is free: Slurm would have started it there at once, at 300. We had it wait
    there for 100. Its 500 GB take 2 kWh on the way in both cases. Beside its home it would have been 2400 less."""
    found = account(ran(FULL_EAST, (0.5, 6, 6, 1, 1, 0, True, 500)), GROUND)
    assert (found.would_s[1], found.would_at[1]) == (T + 0.5 * HOUR, 1)
    assert found.change[1] == pytest.approx(KW * (100 - 300) + 2 * (100 - 300))
    assert found.low[1] == found.change[1] == found.high[1]
    assert found.change[0] == 0


def test_with_room_at_home_it_would_have_stayed_and_the_data_is_ours():
    found = account(ran((0, 6, 6, 1, 1, 0, True, 500)), GROUND)
    assert (found.would_s[0], found.would_at[0]) == (T, 0)
    assert found.change[0] == pytest.approx(KW * (100 - 400) + 2 * 100)


def test_home_is_first_where_the_other_is_full_for_longer_and_a_loss_is_a_loss():
    """Home has room after an hour, the west after two: we sent it there all the same, to 300 on a day on which home had 200."""
    ground = replace(GROUND, values=np.array([np.full(24, 200.0), WEST]))
    table = ran((0, None, 0, 1, 0, 0, False, 0), (0, None, 0, 2, 1, 1, False, 0), (0.5, None, 2, 1, 1, 0, True, 0))
    found = account(table, ground)
    assert (found.would_s[2], found.would_at[2]) == (T + HOUR, 0)
    assert found.change[2] == pytest.approx(KW * (300 - 200))
    assert found.low[2] > 0


def test_where_it_cannot_be_told_which_had_room_first_the_interval_spans_both():
    """Both are full, the west for three minutes longer, and starts lag by more than that."""
    lags = [(10 + 2 * k, None, 10 + 2 * k + lag, 1, 0, 0, False, 0) for k, lag in enumerate((0, 0.2, 0.1))]
    rows = (FULL_EAST, (0, None, 0, 3.05, 1, 1, False, 0), (0.5, 6, 6, 1, 1, 0, True, 0))
    exact, unsure = account(ran(*rows), GROUND), account(ran(*rows, *lags), GROUND)
    assert (exact.error_s, exact.would_at[2]) == (0, 0)
    assert exact.low[2] == exact.change[2] == exact.high[2] == pytest.approx(KW * (100 - 400))
    assert unsure.error_s > 0.05 * HOUR
    assert unsure.change[2] == exact.change[2]
    assert unsure.high[2] == pytest.approx(KW * (100 - 300), rel=0.01)
    assert unsure.low[2] <= unsure.change[2]


def test_from_the_audit_to_an_entry_that_says_where_it_would_have_run():
    records = MemoryRecords()
    head = {"plan": "p1", "queue": "slurm", "verb": "move", "targets": ["a"], "where": [["east/batch", "west/batch"]]}
    records.append("audit", NOW, {"stage": "begun", **head, "values": [T + 6 * HOUR]})
    records.append("audit", NOW, {"stage": "done", **head, "results": ["done"]})
    late = NOW + timedelta(hours=9)
    for job, own, start, end, partition in (("x", 0, 0, 3, "east/batch"), ("a", 0.5, 6, 7, "west/batch")):
        times = {"own_s": T + own * HOUR, "start_s": T + start * HOUR, "end_s": T + end * HOUR, "limit_s": (end - start) * HOUR}
        records.append(
            RAN, late, {"queue": "slurm", "job": job, "gpus": 8, "partition": partition, "data_bytes": 500 * GB, **times}
        )
    (entry,) = book_jobs(records, "slurm", "carbon_gco2_per_kwh", GROUND, late)
    assert (entry["home"], entry["partition"], entry["would_partition"]) == ("east/batch", "west/batch", "west/batch")
    assert (entry["note"], entry["would_s"]) == ("saved", T + 0.5 * HOUR)
    assert entry["change"] == pytest.approx((KW + 2) * (100 - 300))
    assert GROUND.siblings("west/night") == {1: "west/night"}  # there is none of that name in the east
    assert replace(GROUND, partitions={"batch": 0, "west": 1}).siblings("batch") == {0: "batch"}  # no federation


# --- the replay


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 8), st.sampled_from(("01", "0", "1"))),
        min_size=1,
        max_size=20,
    ),
)
def test_a_federation_starts_all_once_within_its_room_and_one_cluster_is_as_alone(rows):
    come, hours, gpus, may = zip(*sorted(rows), strict=True)
    submit, run_s, wanted = np.array(come) * HOUR, np.array(hours) * HOUR, np.array(gpus, dtype=np.int32)
    trace = trace_of([str(i) for i in range(len(rows))], submit, run_s, limit_s=run_s)
    where = np.array([[str(p) in one for p in range(2)] for one in may])
    home = where.argmax(axis=1).astype(np.int32)
    start, place = first_room(trace, Policy.EASY, wanted, np.array([8, 8], np.int32), where, home)
    assert np.isfinite(start).all()
    assert (start >= submit).all()
    assert where[np.arange(len(rows)), place].all()
    for p in range(2):
        for t in start[place == p]:
            assert wanted[(place == p) & (start <= t) & (t < start + run_s)].sum() <= 8
    one, _ = first_room(trace, Policy.EASY, wanted, np.array([8], np.int32), where[:, :1] | True, home * 0)
    assert np.array_equal(one, schedule(trace, Policy.EASY, wanted, 8, np.inf).start_s)
