"""Scheduling policies: textbook cases, and properties of any queue."""

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twin.sim.schedule as module
from twin.job import Jobs, JobState
from twin.sim.schedule import NO_ROOM, TOO_LARGE, Kept, Policy, Schedule, first_room, schedule
from twin.sim.trace import Trace, checked, trace_of, trace_of_queue

SLOTS = 10
# (submit, run, limit, slots): a holds 6 of 10 until 100; b asks for 8 and heads the queue; c is short and small; d is long and
# small; e is long and larger than what b leaves over.
QUEUE = [("a", 0, 100, 100, 6), ("b", 1, 50, 50, 8), ("c", 2, 90, 95, 4), ("d", 3, 500, 500, 2), ("e", 4, 500, 500, 3)]


def trace(rows: list[tuple[str, float, float, float, int]], **more: object) -> Trace:
    ids, submit, run, limit, nodes = zip(*rows, strict=True)
    columns = [np.array(c, dtype=np.float64) for c in (submit, run, limit)]
    return trace_of(ids, columns[0], columns[1], limit_s=columns[2], nodes=np.array(nodes), **more)


def starts(policy: Policy, jobs: Trace, **more: float) -> dict[str, float]:
    made = schedule(jobs, policy, jobs.nodes, SLOTS, 1e6, **more)  # type: ignore[arg-type]
    return dict(zip(jobs.ids, made.start_s.tolist(), strict=True))


def test_first_come_first_served_makes_all_wait_for_the_head() -> None:
    assert starts(Policy.FCFS, trace(QUEUE)) == {"a": 0, "b": 100, "c": 150, "d": 150, "e": 150}


def test_easy_fills_gaps_but_never_delays_the_head() -> None:
    """c ends by b's start (2 + 95 <= 100); d and e do not, but d fits beside b (10 - 8 = 2 over), e does not."""
    found = starts(Policy.EASY, trace(QUEUE))
    assert found == {"a": 0, "b": 100, "c": 2, "d": 92, "e": 150}  # d once c has gone


def test_easy_delays_the_third_but_conservative_does_not() -> None:
    """EASY protects the head alone. x heads and waits for a; y is next; z is long and, beside x, delays y."""
    rows = [("a", 0, 100, 100, 6), ("x", 1, 100, 100, 5), ("y", 2, 10, 10, 9), ("z", 3, 300, 300, 4)]
    easy, careful = starts(Policy.EASY, trace(rows)), starts(Policy.CONSERVATIVE, trace(rows))
    assert easy["x"] == careful["x"] == 100
    assert easy["z"] == 3
    assert easy["y"] == 303
    assert careful["y"] == 200
    assert careful["z"] == 210


def test_slots_that_are_kept_for_a_while_are_found_free_by_then() -> None:
    """6 of 10 are kept from 50 to 80. a ends at 40, b has room after; c is short enough for before; d asks for longer than it
    runs; e fits beside what is kept; f, who came before anything was kept, stays."""
    rows = [("f", -1, 60, 60, 2), ("a", 0, 40, 40, 6), ("b", 1, 20, 20, 6), ("c", 2, 9, 9, 2), ("d", 3, 5, 5, 6)]
    rows.append(("e", 41, 100, 100, 2))
    kept = Kept(np.array([0.0, 50.0, 80.0]), np.array([0, 6, 0], dtype=np.int32))
    jobs = trace(rows)
    made = schedule(jobs, Policy.EASY, jobs.nodes, SLOTS, 1e6, kept=kept, asks_s=np.array([0, 0, 0, 0, 11, 0.0]))
    found = dict(zip(jobs.ids, made.start_s.tolist(), strict=True))
    assert found == {"f": -1, "a": 0, "b": 80, "c": 2, "d": 100, "e": 41}
    none = Kept(np.array([0.0]), np.zeros(1, dtype=np.int32))
    jobs = trace(QUEUE)
    made = schedule(jobs, Policy.EASY, jobs.nodes, SLOTS, 1e6, kept=none)
    assert dict(zip(jobs.ids, made.start_s.tolist(), strict=True)) == starts(Policy.EASY, jobs)
    with pytest.raises(ValueError, match="easy"):
        schedule(jobs, Policy.FCFS, jobs.nodes, SLOTS, 1e6, kept=none)


def test_priority_goes_before_arrival() -> None:
    rows = [("a", 0, 100, 100, 10), ("low", 1, 10, 10, 10), ("high", 2, 10, 10, 10)]
    assert starts(Policy.PRIORITY, trace(rows, priority=np.array([0.0, 1.0, 9.0]))) == {"a": 0, "high": 100, "low": 110}


def test_recorded_starts_are_kept_and_what_does_not_fit_is_counted() -> None:
    jobs = trace([("a", 0, 100, 100, 6), ("b", 1, 50, 50, 8), ("c", 2, 5, 5, 11)], start_s=np.array([5.0, 50.0, 60.0]))
    made = schedule(jobs, Policy.RECORDED, jobs.nodes, SLOTS, 1e6)
    assert made.start_s[0] == 5
    assert np.isnan(made.start_s[1:]).all()
    assert made.left_out == {NO_ROOM: (1, "b"), TOO_LARGE: (1, "c")}


def test_a_power_cap_holds_jobs_back() -> None:
    jobs = trace([("a", 0, 100, 100, 2), ("b", 0, 100, 100, 2), ("c", 0, 100, 100, 2)])
    free = schedule(jobs, Policy.EASY, jobs.nodes, SLOTS, 1e6, np.full(3, 50.0), 100.0)
    assert sorted(free.start_s.tolist()) == [0, 0, 100]


def overlap(made: Schedule) -> int:
    """The most jobs that ever hold one slot at a time."""
    worst = 0
    for slot in np.unique(made.slot):
        jobs = made.job[made.slot == slot]
        edges = sorted([(made.start_s[j], 1) for j in jobs] + [(made.end_s[j], -1) for j in jobs], key=lambda e: (e[0], e[1]))
        worst = max(worst, int(np.cumsum([step for _, step in edges]).max()))
    return worst


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.integers(1, SLOTS)), min_size=1, max_size=25),
    st.sampled_from(list(Policy)),
)
def test_no_slot_is_held_twice_and_nobody_starts_early(rows: list[tuple[int, int, int]], policy: Policy) -> None:
    jobs = trace([(str(i), s, r, r + 5, n) for i, (s, r, n) in enumerate(rows)])
    made = schedule(jobs, policy, jobs.nodes, SLOTS, 1e6)
    ran = ~np.isnan(made.start_s)
    assert ran.all() or policy is Policy.RECORDED
    assert (made.start_s[ran] >= jobs.submit_s[ran]).all()
    np.testing.assert_array_equal(made.end_s[ran] - made.start_s[ran], jobs.run_s[ran])
    assert np.array_equal(np.bincount(made.job, minlength=len(jobs))[ran], jobs.nodes[ran])
    assert overlap(made) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.integers(1, SLOTS)), min_size=2, max_size=20))
def test_easy_starts_the_first_that_waits_no_later_than_fcfs_does(rows: list[tuple[int, int, int]]) -> None:
    """With exact limits, the first job that must wait under fcfs is not delayed by backfilling."""
    jobs = trace([(str(i), s, r, r, n) for i, (s, r, n) in enumerate(rows)])
    plain, easy = (schedule(jobs, p, jobs.nodes, SLOTS, 1e6).start_s for p in (Policy.FCFS, Policy.EASY))
    waits = np.flatnonzero(plain > jobs.submit_s)
    if len(waits):
        assert easy[waits[0]] <= plain[waits[0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.integers(1, SLOTS)), min_size=2, max_size=30))
def test_no_job_is_delayed_by_one_that_came_later(rows: list[tuple[int, int, int]]) -> None:
    """Conservative backfilling with exact limits: whoever comes behind changes nothing for those before."""
    jobs = trace([(str(i), s, r, r, n) for i, (s, r, n) in enumerate(sorted(rows))])
    whole = schedule(jobs, Policy.CONSERVATIVE, jobs.nodes, SLOTS, 1e6).start_s
    first = jobs.taken(np.arange(len(jobs) // 2))
    np.testing.assert_array_equal(schedule(first, Policy.CONSERVATIVE, first.nodes, SLOTS, 1e6).start_s, whole[: len(first)])


def test_impossible_rows_are_named_and_counted() -> None:
    jobs = trace_of(
        ["ok", "no time", "backwards", "asks nothing", "hot", "u", "nan"],
        np.array([0.0, 0, 10, 0, 0, 0, np.nan]),
        np.array([5.0, 0, 5, 5, 5, 5, 5]),
        start_s=np.array([np.nan, np.nan, 3.0, np.nan, np.nan, np.nan, np.nan]),
        nodes=np.array([1, 1, 1, 0, 1, 1, 1]),
        node_w=np.array([400.0, 400, 400, 400, -3, 400, 400]),
        gpu_util_frac=np.array([np.nan] * 5 + [1.7, np.nan]),
    )
    kept = checked(jobs)
    assert list(kept.ids) == ["ok"]
    assert sum(count for count, _ in kept.refused.values()) == 6
    assert kept.refused["it starts before it was submitted"] == (1, "row backwards")
    assert kept.refused["its power is negative or over 100 kW a node"] == (1, "row hot")


@pytest.mark.parametrize("policy", list(Policy))
def test_an_empty_queue_is_no_schedule(policy: Policy) -> None:
    none = trace_of([], np.empty(0), np.empty(0))
    assert len(schedule(none, policy, none.nodes, SLOTS, 1e6).job) == 0


def test_a_live_queue_goes_on_from_where_it_is() -> None:
    """What runs keeps its GPUs from its own start to its limit, though submitted long before; what waits starts no earlier than
    now, in order of submission, though it was submitted before what runs."""
    hour, now = 3600.0, 1e6
    nan, f = np.nan, lambda *values: np.array(values, dtype=np.float64)
    words = ["RUNNING", "PENDING", "PENDING", "RUNNING", "COMPLETED"]
    state = np.array([JobState[word] for word in words], dtype=np.uint8)
    jobs = Jobs(
        ["run", "late", "early", "lost", "over"], *[[""] * 5] * 3, state, np.array([6, 5, 5, 2, 2], dtype=np.int32),
        f(now - 10 * hour, now - 2 * hour, now - 20 * hour, now - 9 * hour, now - 30 * hour),
        f(now - hour, nan, nan, nan, now - 30 * hour), f(*[nan] * 5), f(*[4 * hour] * 5), f(*[nan] * 5),
        np.zeros(5, dtype=np.uint8), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32),
    )  # fmt: skip
    queue = checked(trace_of_queue(jobs, now))
    assert queue.refused == {}
    for policy in (Policy.EASY, Policy.FCFS, Policy.PRIORITY, Policy.CONSERVATIVE):
        made = schedule(queue, policy, queue.gpus, SLOTS, now + 100 * hour)
        at = {job: round((start - now) / hour, 6) for job, start in zip(queue.ids, made.start_s.tolist(), strict=True)}
        assert at == {"run": -1, "lost": 0, "early": 3, "late": 4}, policy


# --- jobs that wait in several clusters

CLUSTERS = (10, 10, 6)  # slots; some jobs do not fit into the last
BEHIND = 3  # that backfilling looks at
Row = tuple[int, int, int, list[int]]


def easily(queue: list[tuple[int, int, int]], running: list[tuple[int, int, int]], slots: int, now: int) -> list[int]:
    """Who starts under ``easy``, of (job, run, slots) that wait and (end, job, slots) that run."""
    free, begun, head = slots - sum(wanted for _, _, wanted in running), list[int](), 0
    while head < len(queue) and queue[head][2] <= free:
        job, lasts, wanted = queue[head]
        running, free, head = [*running, (now + lasts, job, wanted)], free - wanted, head + 1
        begun.append(job)
    if head == len(queue):
        return begun
    over = free - queue[head][2]
    by_end = iter(sorted(running))
    while over < 0:
        shadow, _, wanted = next(by_end)
        over += wanted
    for job, lasts, wanted in queue[head + 1 : head + 1 + BEHIND]:
        brief = now + lasts <= shadow
        if wanted <= free and (brief or wanted <= over):
            free, over = free - wanted, over - (0 if brief else wanted)
            begun.append(job)
    return begun


def plainly(jobs: list[Row]) -> list[tuple[float, int]]:
    """(start, cluster) of each (submit, run, slots, where it may start, home first): lists looked through from end to end."""
    waits, running, found = [list[int]() for _ in CLUSTERS], [list[int]() for _ in CLUSTERS], dict[int, tuple[int, int]]()

    def ends(job: int) -> int:
        return found[job][0] + jobs[job][1]

    def settle(todo: list[int], now: int) -> None:
        while todo:
            p, *todo = todo
            held = [(ends(job), job, jobs[job][2]) for job in running[p]]
            for job in easily([(job, *jobs[job][1:3]) for job in waits[p]], held, CLUSTERS[p], now):
                found[job] = now, p
                running[p].append(job)
                waits[p].remove(job)
                todo += [q for q, queue in enumerate(waits) if job in queue]
                waits[:] = [[one for one in queue if one != job] for queue in waits]

    coming = list(range(len(jobs)))
    while coming or any(running):
        now, p = min((min(map(ends, held), default=10**9), p) for p, held in enumerate(running))
        if not coming or jobs[coming[0]][0] >= now:
            running[p] = [job for job in running[p] if ends(job) > now]
            settle([p], now)
            continue
        job = coming.pop(0)
        fits = [p for p in jobs[job][3] if jobs[job][2] <= CLUSTERS[p]]
        for places in (fits[:1], fits[1:]):
            if job not in found:
                for p in places:
                    waits[p].append(job)
                settle(places, jobs[job][0])
    return [found.get(job, (np.nan, -1)) for job in range(len(jobs))]


def federated(jobs: list[Row]) -> list[tuple[float, int]]:
    queue = trace([(str(i), submit, lasts, lasts, wanted) for i, (submit, lasts, wanted, _) in enumerate(jobs)])
    may = np.array([[p in places for p in range(len(CLUSTERS))] for *_, places in jobs])
    home = np.array([places[0] for *_, places in jobs], dtype=np.int32)
    start_s, place = first_room(queue, Policy.EASY, queue.nodes, np.array(CLUSTERS, dtype=np.int32), may, home)
    return list(zip(start_s.tolist(), place.tolist(), strict=True))


MAY = [[0], [1], [2], [0, 1], [1, 0], [1, 2], [2, 0], [0, 1, 2], [2, 0, 1]]
JOBS = st.tuples(st.integers(0, 20), st.integers(1, 30), st.integers(1, SLOTS), st.sampled_from(MAY))


@settings(max_examples=80, deadline=None)
@given(st.lists(JOBS, min_size=1, max_size=40).map(sorted))
def test_whoever_waits_in_several_clusters_starts_as_if_every_list_was_looked_through(jobs: list[Row]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW", BEHIND)
        np.testing.assert_array_equal(np.array(federated(jobs)), np.array(plainly(jobs)))


def byte_codes(count: int) -> int:
    """What a federation costs, on any computer however busy, for so many jobs of which almost all wait at once in two
    clusters: byte codes that the scheduler takes."""
    taken, was = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal taken
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        taken += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        federated([(i // 9, 1000, 5, [i % 2, 1 - i % 2]) for i in range(count)])
    finally:
        sys.settrace(was)
    return taken


def test_four_times_the_jobs_that_wait_in_several_clusters_are_four_times_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", BEHIND)
    assert byte_codes(800) < 5 * byte_codes(200)
