"""Trainings that run for days are booked: once, when they have ended, by what arithmetic says, whatever restarts meanwhile."""

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from energy_house import NOW, MemoryRecords

from energy.ledger_away import AwayWatch
from energy.ledger_book import ASKED, DAYS, OPEN, TOPIC, JobBook
from energy.ledger_jobs import Grounds
from energy.ledger_orders import NEVER, LastOrders
from energy.ledger_seen import RAN, RUNS, Watcher
from energy.ledger_sums import Running, moved
from energy.levers.jobs_ahead import GPU_W
from twin.job import Jobs, JobState
from twin.order import Terms

HOUR, T = 3600.0, NOW.timestamp()
SIGNAL = "carbon_gco2_per_kwh"
PLACES = {"east": 0, "west": 1}
HOURLY = np.random.Generator(np.random.PCG64(5)).integers(50, 600, (2, 400)).astype(float)  # from 100 h before T on
KW = 8 * GPU_W / 1e3


def cost(start, hours, place=0):
    """g, of 8 GPUs from the hour ``start`` on."""
    return KW * HOURLY[place, 100 + start : 100 + start + hours].sum()


@dataclass(frozen=True)
class Job:
    """In hours: own begin, when we told it to begin (None: nothing), start, end; where it ran, and where it was at home."""

    id: str
    own: float
    ours: float | None
    start: float
    end: float
    limit: float = 100.0
    partition: str = "east"
    home: str = "east"
    since: float = -1  # which the queue lists it
    listed: float = 0.1  # and so long after its end

    def state(self, hour):
        """Submitted an hour before all begins."""
        return JobState.PENDING if hour < self.start else JobState.RUNNING if hour < self.end else JobState.COMPLETED


def table(jobs, hour):
    """The queue as it shows itself."""
    seen = [job for job in jobs if job.since <= hour < job.end + job.listed]
    state = np.array([job.state(hour) for job in seen], dtype=np.uint8)

    def column(of):
        return np.array([of(job) for job in seen], dtype=float)

    flags, n = np.zeros(len(seen), np.uint8), len(seen)
    noted = np.array([job.ours is not None and hour >= job.own for job in seen], np.uint8)
    begin_s = column(lambda job: T + HOUR * (job.own if job.ours is None or hour < job.own else job.ours))
    terms, none = Terms(begin_s, flags, flags, noted, np.full(n, np.nan)), np.empty(0, np.int32)
    ids, parts = [job.id for job in seen], [job.partition for job in seen]
    start_s = np.where(state > 0, column(lambda job: T + HOUR * job.start), np.nan)
    end_s = np.where(state > JobState.RUNNING, column(lambda job: T + HOUR * job.end), np.nan)
    submit_s, limit_s = np.full(n, T - HOUR), column(lambda job: HOUR * job.limit)
    ones, gpus, nan = np.ones(n, np.uint8), np.full(n, 8, np.int32), np.full(n, np.nan)
    return Jobs(ids, ids, ids, parts, state, gpus, submit_s, start_s, end_s, limit_s, nan, ones, none, none, terms)


def tell(records, job):
    """As the desk writes it down: the order, and that it was read back."""
    verb = "begin" if job.partition == job.home else "move"
    head = {"plan": f"job_{verb}:1", "queue": "slurm", "verb": verb, "targets": [job.id], "where": [[job.home, job.partition]]}
    if verb == "begin":
        del head["where"]
    time = NOW + timedelta(hours=job.own)
    records.append("audit", time, {"stage": "begun", **head, "values": [T + HOUR * job.ours], "before": [T + HOUR * job.own]})
    records.append("audit", time, {"stage": "done", **head, "results": ["done"]})


def ground(due, gpus):
    """The signal from where it is asked for on, and not before."""
    first = int(min((due.now - NOW).total_seconds() - DAYS * 86_400, due.since.timestamp() - T) // HOUR)
    hours = np.arange(max(first, -100), 290)
    values = HOURLY[: len(gpus), 100 + hours]
    return Grounds(dict(list(PLACES.items())[: len(gpus)]), np.array(gpus, dtype=np.int32), T + HOUR * hours, values)


def lived(jobs, until=110, gpus=(64,), restarts=(), down=(), every=0.5, notes=(), nodes=None):
    """All looks of the watcher and of the books. ``nodes``: the scheduler's nodes at an hour. ``restarts``: hours at which
    another process goes on; ``down``: from when to when none is there; ``notes``: hours and what the audit has of them
    beside."""
    records, hour, told = MemoryRecords(), -1.0, set()
    watcher, book, away = Watcher(records), JobBook(records), AwayWatch(records)
    while hour < until:
        for job in jobs:
            if job.ours is not None and job not in told and hour >= job.own:
                tell(records, job)
                told.add(job)
        for _, note in (one for one in notes if one[0] == hour):
            records.append("audit", NOW + timedelta(hours=hour), note)
        if not (down and down[0] <= hour < down[1]):
            if hour in restarts or (down and hour == down[1]):
                watcher, book, away = Watcher(records), JobBook(records), AwayWatch(records)
            now = NOW + timedelta(hours=hour)
            watcher.see("slurm", table(jobs, hour), now)
            away.see("slurm", nodes(hour) if nodes else None, now)
            due = book.look("slurm", now)
            book.enter(due, SIGNAL, ground(due, gpus))
        hour += every
    return records


def booked(records):
    return {r["job"]: r for _, topic, _, r in records.all if topic == TOPIC}


def count(records, topic):
    return sum(one[1] == topic for one in records.all)


TRAINING = Job("7", 0, 8, 8, 68)


@pytest.mark.parametrize(
    "restarts", [(), (4.0,), (30.0,), (68.5,), np.arange(-1, 110, 0.5)], ids=["none", "waiting", "running", "over", "always"]
)
def test_sixty_hours_that_were_moved_by_eight_saved_what_arithmetic_says(restarts):
    records = lived([TRAINING, Job("8", -1, None, -1, 3)], restarts=restarts)
    (entry,) = booked(records).values()
    assert (entry["entry"], entry["job"], entry["plan"], entry["would_s"]) == ("job", "7", "job_begin:1", T)
    assert entry["change"] == pytest.approx(cost(8, 60) - cost(0, 60), rel=1e-9)
    assert entry["low"] == entry["change"] == entry["high"]
    assert entry["end_s"] == T + 68 * HOUR
    assert (count(records, TOPIC), count(records, OPEN)) == (1, 1)
    assert (count(records, RAN), count(records, RUNS)) == (2, 2 + 2), "noted again each day"
    (time,) = [time for _, topic, time, _ in records.all if topic == TOPIC]
    assert NOW + timedelta(hours=68) < time <= NOW + timedelta(hours=69), "when it had ended, and not in pieces before"


@pytest.mark.parametrize(("stage", "value"), [("reverted", None), ("left", None), ("done", 0.0)])
def test_an_order_that_was_taken_back_held_its_job_until_then(stage, value):
    """One node: told to begin at 12 h, let go at half an hour; who came meanwhile runs behind it, half an hour late too."""
    head = {"plan": "job_begin:2", "queue": "slurm", "verb": "begin", "targets": ["7"], "values": [value]}
    notes = [(0.5, {"stage": one, **head, "results": ["done"]}) for one in (("begun", stage) if stage == "done" else (stage,))]
    jobs = [Job("7", 0, 12, 0.5, 4.5, limit=4), Job("8", 0.5, None, 4.5, 6.5, limit=2)]
    found = booked(lived(jobs, until=8, gpus=(8,), notes=notes))
    assert [(found[job]["would_s"] - T) / HOUR for job in "78"] == pytest.approx([0.0, 4.0])
    assert [found[job]["would_error_s"] for job in "78"] == pytest.approx([0.0, 0.0])


def test_a_clock_that_is_ahead_for_a_moment_forgets_no_order():
    records = MemoryRecords()
    tell(records, TRAINING)
    orders = LastOrders(records)
    orders.hear(NOW - timedelta(days=1))
    for ahead in (30, 0):
        orders.forget("slurm", set(), NOW + timedelta(days=ahead), ASKED)
    assert orders.of("slurm", "7").begin_s == T + 8 * HOUR
    tell(records, replace(TRAINING, id="9", own=9 * 24, ours=9 * 24 + 1))
    orders.hear(NOW)
    orders.forget("slurm", set(), NOW + timedelta(days=9), ASKED)
    assert orders.of("slurm", "7") is NEVER


@pytest.mark.parametrize("restarts", [(), (4.0,), (6.0,), (9.5,), np.arange(-1, 110, 0.5)])
def test_one_that_was_moved_and_then_paused_is_booked_whole_a_run_at_a_time(restarts):
    """Moved by 3 h, paused after 2 h for 4 h, twice: without us it would have run for five hours from the beginning on."""
    first = Job("7", 0, 3, 3, 5, listed=0)
    parts = [first, Job("7", 5, 9, 9, 11, since=5, listed=0), Job("7", 11, 15, 15, 16, since=11)]
    records = lived(parts, restarts=restarts, until=20)
    entries = [r for _, topic, _, r in records.all if topic == TOPIC]
    assert [(e["start_s"] - T, e["end_s"] - T, e["would_s"] - T) for e in entries] == [
        (3 * HOUR, 5 * HOUR, 0), (9 * HOUR, 11 * HOUR, 2 * HOUR), (15 * HOUR, 16 * HOUR, 4 * HOUR),
    ]  # fmt: skip
    whole = cost(3, 2) + cost(9, 2) + cost(15, 1) - cost(0, 5)
    assert sum(entry["change"] for entry in entries) == pytest.approx(whole, rel=1e-9)
    assert moved(records, NOW, NOW + timedelta(days=9)).unseen == 0


def test_what_its_owner_wanted_is_known_after_a_restart_while_it_waits():
    """Submitted at -1 h, to begin at 5 h; moved to 8 h: three hours, not nine."""
    records = lived([replace(TRAINING, own=5)], restarts=(6.0,))
    assert booked(records)["7"]["would_s"] == T + 5 * HOUR
    assert booked(records)["7"]["change"] == pytest.approx(cost(8, 60) - cost(5, 60), rel=1e-9)


def test_who_waits_behind_a_long_one_that_was_moved_counts_too():
    """One node: the training ends at 68 h rather than at 60 h, and the next begins then; both by the same replay."""
    behind = Job("9", 20, None, 68, 70, limit=2)
    found = booked(lived([replace(TRAINING, limit=60), behind], gpus=(8,)))
    assert found["9"]["would_s"] == T + 60 * HOUR
    total = sum(found[job]["change"] for job in ("7", "9"))
    assert total == pytest.approx(cost(8, 60) + cost(68, 2) - cost(0, 60) - cost(60, 2), rel=1e-9)
    assert found["9"]["plan"] == ""


def test_a_long_one_in_another_place_counts_by_both_signals():
    went = replace(TRAINING, partition="west", ours=0.5, start=0.5, end=60.5)
    records = lived([went], gpus=(64, 64), restarts=(30.0,))
    entry = booked(records)["7"]
    assert (entry["home"], entry["partition"], entry["would_partition"]) == ("east", "west", "east")
    halves = KW * (HOURLY[1, 100:161].sum() - HOURLY[1, [100, 160]].sum() / 2)
    assert entry["change"] == pytest.approx(halves - cost(0, 60), rel=1e-9)


def test_a_home_that_is_full_of_what_still_runs_had_no_room():
    """Nobody knows when the one that fills it will end: until now it has not, and no longer wait is claimed."""
    fills, went = Job("5", -1, None, -1, 100), replace(TRAINING, partition="west", ours=0.5, start=0.5, end=10.5, limit=10)
    entry = booked(lived([fills, went], until=20, gpus=(8, 64)))["7"]
    assert (entry["would_partition"], entry["would_s"]) == ("east", T + 11 * HOUR), "when it was booked"


@pytest.mark.parametrize("down", [(0.5, 66.0), (12.0, 66.0), (30.0, 66.0)])
def test_days_in_which_nobody_looked_lose_no_saving(down):
    found = booked(lived([TRAINING], down=down))
    assert found["7"]["change"] == pytest.approx(cost(8, 60) - cost(0, 60), rel=1e-9)


def test_a_job_that_nobody_saw_end_has_an_entry_and_no_figure():
    records = lived([TRAINING], down=(60.0, 75.0), restarts=(80.0, 90.0))
    (entry,) = booked(records).values()
    assert [entry[name] for name in ("entry", "job", "plan")] == ["unseen", "7", "job_begin:1"]
    assert "change" not in entry
    assert count(records, TOPIC) == 1
    others = lived([replace(TRAINING, ours=None, start=0, end=60)], down=(50.0, 75.0))
    assert not booked(others), "nobody moved it"


@pytest.mark.parametrize("restarts", [(), (55.0,), (70.0,)])
def test_an_order_that_is_days_old_when_its_job_begins_is_not_forgotten(restarts):
    other = Job("8", 54, 56, 56, 57)
    records = lived([replace(TRAINING, ours=60, start=60, end=90), other], until=100, restarts=restarts)
    assert booked(records)["7"]["change"] == pytest.approx(cost(60, 30) - cost(0, 30), rel=1e-9)


@pytest.mark.parametrize("restarts", [(), (22.0,)])
def test_a_training_that_was_paused_would_have_gone_on(restarts):
    """It ran from 0 h to 20 h and goes on at 26 h: of its forty hours the pause has moved, and not of all."""
    jobs = [replace(TRAINING, own=-1, ours=None, start=0, end=20, listed=0), Job("7", 20, 26, 26, 66, since=20)]
    entry = booked(lived(jobs, restarts=restarts))["7"]
    assert entry["would_s"] == T + 20 * HOUR
    assert entry["change"] == pytest.approx(cost(26, 40) - cost(20, 40), rel=1e-9)


def test_where_the_signal_was_not_known_for_days_it_is_booked_once_it_is():
    """Ended at 2 h and moved; nothing could be booked from then to 70 h."""
    short, records = Job("3", 0, 1, 1, 2), MemoryRecords()
    tell(records, short)
    watcher, book = Watcher(records), JobBook(records)
    for hour in np.arange(0, 72, 0.5).tolist():
        now = NOW + timedelta(hours=hour)
        watcher.see("slurm", table([short], hour), now)
        due = book.look("slurm", now)
        if hour < 1 or hour > 70:
            book.enter(due, SIGNAL, ground(due, (64,)))
    assert booked(records)["3"]["change"] == pytest.approx(cost(1, 1) - cost(0, 1), rel=1e-9)


def test_weeks_sum_to_the_whole_and_a_week_that_is_over_stays_what_it_was():
    jobs = [Job(str(k), 6 * k, 6 * k + 8, 6 * k + 8, 6 * k + 8 + 30) for k in range(8)]
    half, whole = lived(jobs, until=60), lived(jobs, until=110)
    edges = [NOW + timedelta(hours=hours) for hours in (-1, 55, 110)]
    first, rest = (moved(whole, *span).by_signal[SIGNAL] for span in pairwise(edges))
    assert first == moved(half, *edges[:2]).by_signal[SIGNAL]
    assert min(first.count, rest.count) > 2
    assert first.plus(rest) == moved(whole, edges[0], edges[2]).by_signal[SIGNAL]
    assert first.change + rest.change == pytest.approx(sum(cost(6 * k + 8, 30) - cost(6 * k, 30) for k in range(8)), rel=1e-9)


def test_a_process_that_runs_on_sums_the_same_days_as_one_that_begins():
    """A job an hour for five days, of which the days count that began within the last two."""
    records, old = MemoryRecords(), Running(2)
    begin = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    for hour in range(5 * 24 + 13):
        now = begin + timedelta(hours=hour)
        records.append(TOPIC, now, {"entry": "job", "plan": "p", "signal": "s", "change": -1.0, "low": -1.0, "high": -1.0})
        found = old.read(records, now)
        assert found == Running(2).read(records, now), hour
        assert found["p", "s"].count == min(hour + 1, 24 + now.hour + 1 + 24 * (now.hour == 0)), hour
