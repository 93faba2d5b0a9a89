"""Runs that are asked for again and again: as they are read at once, whatever comes between, and each note only once."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_account import GPUS, START, MemoryRecords, queue

from energy.account.runs import TOPIC, Recent, RunLog, Runs, read_runs
from twin.job import JobState

WINDOW = timedelta(hours=24)


class Counting(MemoryRecords):
    """Records that count what is read of them."""

    given = 0

    def read(self, *asked, **more):
        found = super().read(*asked, **more)
        self.given += len(found)
        return found


def rows(runs: Runs):
    held = [sorted(runs.gpu[runs.run_of == k].tolist()) for k in range(len(runs))]
    told = zip(runs.ids, runs.start_s.tolist(), runs.end_s.tolist(), runs.ends, runs.projects, held, strict=True)
    return sorted([*one, *pair] for one, *pair in zip(told, runs.submit_s.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(1, 60), st.integers(0, 6)), min_size=1, max_size=12),
    st.lists(st.integers(0, 140), max_size=4),
    st.sets(st.integers(0, 11), max_size=4),
    st.lists(st.booleans(), min_size=50, max_size=50),
)
def test_they_are_what_is_read_at_once(jobs, restarts, unseen, looks):
    """Every three hours: jobs of (start, hours, GPUs), some of them out of sight for a while; who asks does not each time."""
    records, log = MemoryRecords(), RunLog(GPUS)
    recent = Recent(records, GPUS)
    for k, hour in enumerate(range(0, 150, 3)):
        now = START + timedelta(hours=hour)
        if any(hour - 3 < one <= hour for one in restarts):
            log, recent = RunLog(GPUS), Recent(records, GPUS)
        shown = [
            (str(i), JobState.RUNNING if hour < start + hours else JobState.COMPLETED, start, start + hours, list(range(gpus)))
            for i, (start, hours, gpus) in enumerate(jobs)
            if start <= hour <= start + hours + 3 and not (i in unseen and 40 < hour < 90)
        ]
        log.note(records, {"q": queue(now, *shown)}, now)
        if looks[k]:
            assert rows(recent.read(now - WINDOW, now)) == rows(read_runs(records, now - WINDOW, now, GPUS))


def busy(records, hours):
    """A job an hour, of two hours."""
    log = RunLog(GPUS)
    for hour in range(hours):
        now = START + timedelta(hours=hour)
        shown = [
            (str(k), JobState.RUNNING if hour < k + 2 else JobState.COMPLETED, k, k + 2, [k % 4])
            for k in range(max(hour - 2, 0), hour + 1)
        ]
        log.note(records, {"q": queue(now, *shown)}, now)
    return START + timedelta(hours=hours)


def test_a_note_is_read_once_and_what_is_over_is_not_kept():
    records = Counting()
    now = busy(records, 200)
    recent, count = Recent(records, GPUS), sum(one[1] == TOPIC for one in records.all)
    assert len(recent.read(now - WINDOW, now)) == 25
    back = now - timedelta(minutes=45)  # of the clock, or of one who asked first and comes last
    before = rows(read_runs(records, back - WINDOW, back, GPUS))
    first, records.given = records.given // 2, 0
    assert first == count > 350
    for seconds in range(0, 600, 10):
        recent.read(now - WINDOW + timedelta(seconds=seconds), now + timedelta(seconds=seconds))
    assert records.given == 0
    assert len(recent._told._begun) <= 26
    assert rows(recent.read(back - WINDOW, back)) == before
    assert records.given == 0
    assert len(recent.read(now - 2 * WINDOW, now)) == 49, "who asks for more is told more"


def test_rows_that_a_caller_changes_are_his_own():
    records = MemoryRecords()
    now = busy(records, 10)
    recent = Recent(records, GPUS)
    recent.read(now - WINDOW, now).gpu[:] = 99
    assert np.max(recent.read(now - WINDOW, now).gpu) == 3


def test_too_many_notes_are_an_error(monkeypatch):
    monkeypatch.setattr("energy.account.runs.MAX_NOTES", 10)
    records = MemoryRecords()
    now = busy(records, 20)
    with pytest.raises(ValueError, match="over 10 notes of runs"):
        Recent(records, GPUS).read(now - WINDOW, now)
