"""The ledger of shifted work: a known case to the digit, wins and losses both, and parts that sum to the whole."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords, account, book_jobs
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.ledger_book import TOPIC, JobBook
from energy.ledger_jobs import Grounds, Ran
from energy.ledger_seen import Watcher
from energy.levers.jobs_ahead import GPU_W
from twin.job import Jobs, JobState
from twin.order import Terms

HOUR, T = 3600.0, NOW.timestamp()
TIME_S = T + HOUR * np.arange(48)
FALLS = np.where(np.arange(48) < 6, 400.0, 100.0)  # dirty for six hours, then clean


def one_ground(gpus, time_s, values):
    """All work in one place."""
    return Grounds({}, np.array([gpus], dtype=np.int32), time_s, values[None])


def ran(*rows):
    """Rows of (own begin [h], ours [h; None], start [h], hours, GPUs)."""
    own, ours, start, hours, gpus = zip(*rows, strict=True)
    n = len(rows)
    own_s, start_s, length_s = (T + HOUR * np.array(own), T + HOUR * np.array(start), HOUR * np.array(hours, dtype=float))
    begin_s = np.array([np.nan if o is None else T + o * HOUR for o in ours])
    gpus = np.array(gpus, dtype=np.int32)
    return Ran([str(i) for i in range(n)], own_s, begin_s, start_s, start_s + length_s, length_s, gpus)


def test_a_job_that_waited_for_the_clean_hours_saved_what_it_saved():
    found = account(ran((0.0, 6.0, 6.0, 2.0, 8), (0.0, None, 0.0, 1.0, 8)), one_ground(32, TIME_S, FALLS))
    assert found.would_s.tolist() == [T, T]
    assert found.change.tolist() == pytest.approx([-8 * GPU_W / 1e3 * 2 * 300, 0.0])
    assert found.low[0] == found.change[0] == found.high[0]  # the replay was exact
    lost = account(ran((7.0, 9.0, 9.0, 2.0, 8)), one_ground(32, TIME_S, FALLS[::-1].copy() + np.arange(48)))
    assert lost.change[0] > 0


def test_who_was_held_up_by_others_that_moved_counts_too():
    """One node: we moved the first job into the hours of the second, which had to wait for its end."""
    found = account(ran((0.0, 6.0, 6.0, 4.0, 8), (8.0, None, 10.0, 2.0, 8)), one_ground(8, TIME_S, FALLS + np.arange(48)))
    assert found.would_s.tolist() == [T, T + 8 * HOUR]
    assert found.change[0] < 0 < found.change[1]


def test_what_ran_had_room_whatever_is_drained_when_it_is_booked():
    both = ran((0.0, 6.0, 6.0, 2.0, 64), (0.0, None, 0.0, 1.0, 8))
    whole, drained = (account(both, one_ground(gpus, TIME_S, FALLS)) for gpus in (64, 56))
    assert whole.change[0] == drained.change[0] == pytest.approx(-64 * GPU_W / 1e3 * 2 * 300)
    assert drained.would_s.tolist() == whole.would_s.tolist() == [T, T + 2 * HOUR]


def test_what_the_replay_misses_is_the_uncertainty():
    """Jobs that started later than the replay with us has them, each by another lag."""
    lags = np.array([0.0, 1.0, 2.0, 3.0])
    found = account(ran(*[(0.0, 6.0, 6.0 + lag, 2.0, 2) for lag in lags]), one_ground(32, TIME_S, FALLS + np.arange(48.0)))
    assert found.error_s == pytest.approx(1.2816 * lags.std(ddof=1) * HOUR)
    assert (found.low < found.change).any()
    assert (found.change < found.high).any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*map(st.integers, (0, 0, 1, 1), (12, 3, 5, 8)), st.one_of(st.none(), st.integers(0, 24))),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 10_000),
)  # fmt: skip
def test_parts_sum_to_the_whole_and_energy_is_the_same(rows, seed):
    table = ran(*[(own, ours, max(own, ours or 0) + lag, hours, gpus) for own, lag, hours, gpus, ours in rows])
    rng = np.random.Generator(np.random.PCG64(seed))
    time_s = T + HOUR * np.arange(-24, 96)
    values = rng.uniform(20, 500, len(time_s))
    found = account(table, one_ground(16, time_s, values))

    def carbon(start_s):
        """On a grid of minutes, apart from the ledger's own integral."""
        total = 0.0
        for i in range(len(table)):
            minutes = np.arange(start_s[i] + 30, start_s[i] + table.end_s[i] - table.start_s[i], 60)
            total += table.gpus[i] * GPU_W / 1e3 * values[((minutes - time_s[0]) // HOUR).astype(int)].sum() / 60
        return total

    assert float(found.change.sum()) == pytest.approx(carbon(table.start_s) - carbon(found.would_s), abs=30.0)
    assert (found.low <= found.change).all()
    assert (found.change <= found.high).all()
    unmoved = replace(table, begin_s=np.full(len(table), np.nan))
    assert not account(unmoved, one_ground(16, time_s, values)).change.any()


def queue(state, start=np.nan, end=np.nan, begin=np.nan, noted=0):
    one = {"f": lambda v: np.array([v], dtype=float), "b": lambda v: np.array([v], dtype=np.uint8)}
    f, b = one["f"], one["b"]
    none = np.empty(0, np.int32)
    terms = Terms(f(begin), b(0), b(0), b(noted), f(np.nan))
    return Jobs(
        ["7"], ["j"], ["u"], ["batch"], b(state), np.array([8], np.int32), f(T), f(start), f(end), f(2 * HOUR), f(np.nan), b(1),
        none, none, terms,
    )  # fmt: skip


def test_from_the_queue_to_the_entry_and_nothing_twice():
    records = MemoryRecords()
    watcher = Watcher(records)
    watcher.see("slurm", queue(JobState.PENDING, begin=T + 300), NOW)
    head = {"plan": "p1", "queue": "slurm", "verb": "begin", "targets": ["7"]}
    records.append("audit", NOW, {"stage": "begun", **head, "values": [T + 6 * HOUR]})
    records.append("audit", NOW, {"stage": "done", **head, "results": ["done"]})
    watcher.see("slurm", queue(JobState.PENDING, begin=T + 6 * HOUR, noted=1), NOW)
    over = queue(JobState.COMPLETED, T + 6 * HOUR, T + 8 * HOUR)
    late = NOW + timedelta(hours=9)
    for _ in range(2):
        watcher.see("slurm", over, late)
        Watcher(records).see("slurm", over, late)  # also the next process
    booked = book_jobs(records, "slurm", "carbon_gco2_per_kwh", one_ground(32, TIME_S, FALLS), late)
    (entry,) = booked
    assert (entry["plan"], entry["note"], entry["would_s"]) == ("p1", "saved", T + 300)
    assert entry["change"] == pytest.approx(-8 * GPU_W / 1e3 * 2 * 300)
    assert book_jobs(records, "slurm", "carbon_gco2_per_kwh", one_ground(32, TIME_S, FALLS), late) == []
    for _, topic, _, record in records.all:  # as a release before this one kept it: among the plans
        if topic == TOPIC:
            records.append("ledger", late, record)
    records.all = [one for one in records.all if one[1] != TOPIC]
    assert book_jobs(records, "slurm", "carbon_gco2_per_kwh", one_ground(32, TIME_S, FALLS), late) == []
    assert sum(topic == "ran" for _, topic, _, _ in records.all) == 1


def test_a_run_that_ended_while_the_clock_was_ahead_is_booked():
    """A job that waited for five hours and a half more ran from hour 6 to 8; the look at hour 5 stood at hour 53."""
    records = MemoryRecords()
    watcher, book = Watcher(records), JobBook(records)
    watcher.see("slurm", queue(JobState.PENDING, begin=T + 300), NOW)
    head = {"plan": "p1", "queue": "slurm", "verb": "begin", "targets": ["7"]}
    records.append("audit", NOW, {"stage": "begun", **head, "values": [T + 6 * HOUR]})
    records.append("audit", NOW, {"stage": "done", **head, "results": ["done"]})
    ground = one_ground(32, TIME_S, FALLS)
    assert book_jobs(records, "slurm", "carbon_gco2_per_kwh", ground, NOW + timedelta(hours=53), book) == []
    for hours in (9, 10):
        now = NOW + timedelta(hours=hours)
        watcher.see("slurm", queue(JobState.COMPLETED, T + 6 * HOUR, T + 8 * HOUR), now)
        booked = book_jobs(records, "slurm", "carbon_gco2_per_kwh", ground, now, book)
        assert [one["change"] for one in booked] == ([pytest.approx(-8 * GPU_W / 1e3 * 2 * 300)] if hours == 9 else [])
