"""The checker of the chaos bench finds what is planted: a checker that cannot fail shows nothing."""

import json
from datetime import datetime

import numpy as np
import pytest
from servers import running_slurm

from ui.benches import chaos_people
from ui.benches.chaos_check import Kept, held, life_of, memory, orders, samples, slope_with_interval
from ui.benches.chaos_people import Acknowledged, Submitted
from ui.benches.chaos_world import GPUS, NODES

N = NODES * GPUS
RIGHT = frozenset({0.0})
T0_MS = 1_800_000_000_000


def batches(count=5, skews_s=RIGHT):
    return {T0_MS + 500 * k: Acknowledged(tuple(30 + (k + 1) % 37 + i / 32 for i in range(N)), skews_s) for k in range(count)}


def exported(sent, off_ms=0, leave_out=(), change=(), twice=()):
    """What VictoriaMetrics exports of ``sent``; places (k, GPU) may be left out, changed or written twice."""
    times = sorted(sent)
    lines = []
    for i in range(N):
        rows = [(t + off_ms, sent[t].values[i] + (1 if (k, i) in change else 0)) for k, t in enumerate(times)]
        rows = [row for k, row in enumerate(rows) for _ in range(2 if (k, i) in twice else 1) if (k, i) not in leave_out]
        metric = {"asset": f"n{i // GPUS}g{i % GPUS}", "origin": "measured"}
        lines.append(json.dumps({"metric": metric, "timestamps": [t for t, _ in rows], "values": [v for _, v in rows]}))
    physics = {"asset": "n0g0", "origin": "modelled"}
    return [*lines, json.dumps({"metric": physics, "timestamps": times, "values": [1.0] * len(times)})]


def found(sent, lines):
    figures = samples(sent, Kept(iter(lines)))
    return {name.removesuffix("_samples_count"): value for name, value in figures.items() if value and name.endswith("_count")}


def test_samples_that_are_whole_are_found_so():
    assert found(batches(), exported(batches())) == {"acknowledged": 5 * N}


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ({"leave_out": [(2, 3), (4, 0)]}, {"lost": 2}),
        ({"change": [(1, 1)]}, {"wrong": 1}),
        ({"twice": [(0, 5), (3, 5), (3, 6)]}, {"doubled": 3}),
    ],
)
def test_what_is_lost_changed_or_doubled_is_counted(planted, says):
    assert found(batches(), exported(batches(), **planted)) == {"acknowledged": 5 * N, **says}


def test_what_came_while_the_clock_was_behind_counts_as_of_its_arrival_and_only_then():
    sent = batches(skews_s=frozenset({-600.0}))
    shifted = exported(sent, off_ms=-600_000 + 40)
    assert found(sent, shifted) == {"acknowledged": 5 * N, "as_of_arrival": 5 * N}
    assert found(batches(), shifted) == {"acknowledged": 5 * N, "lost": 5 * N}, "a clock that was right moves nothing"
    assert found(sent, [*shifted, *exported(sent)])["doubled"] == 5 * N


def test_what_is_lost_or_wrong_is_named_with_what_is_there():
    lines = exported(batches(2), leave_out=[(1, 3)], change=[(0, 1)])
    named = samples(batches(2), Kept(iter(lines)))["lost_or_wrong_samples"]
    sent = [batch.values for batch in batches(2).values()]
    assert named == (
        f"{sent[0][1]} of 1 at {T0_MS} ms, clock off by [0.0] s: {sent[0][1] + 1}; "
        f"{sent[1][3]} of 3 at {T0_MS + 500} ms, clock off by [0.0] s: None"
    )
    many = samples(batches(2), Kept(iter(())))["lost_or_wrong_samples"]
    assert len(many.split("; ")) == 21
    assert many.endswith("; and 12 more")


def test_two_batches_may_trade_places_where_the_clock_was_behind():
    """Each is there as of its arrival, one of them at the moment that the other was sent."""
    later = Acknowledged(tuple(70 + i / 32 for i in range(N)), frozenset({-600.0}))
    early = {T0_MS: Acknowledged(batches(1)[T0_MS].values, frozenset({-600.0})), T0_MS + 600_000: later}
    arrived = [*exported(batches(1), off_ms=-600_000), *exported({T0_MS: later})]
    assert found(early, arrived) == {"acknowledged": 2 * N, "as_of_arrival": 2 * N}


def job(number, kind="marked", submit_s=1000.0, due_s=20_000.0):
    return Submitted(str(number), kind, submit_s, due_s)


def begun(values, stage="begun"):
    return {"stage": stage, "targets": list(values), "values": list(values.values())}


def stamp(at_s):
    return datetime.fromtimestamp(at_s).isoformat(timespec="milliseconds")  # noqa: DTZ006 - Slurm's log has local times


def said(*pairs, at_s=5000.0):
    lines = (f"_update_job: setting begin to {stamp(begin_s)} for JobId={number}" for number, begin_s in pairs)
    return "\n".join(f"[{stamp(at_s)}] sched: {line}" for line in lines)


def counted(jobs, audit, log):
    figures = orders(jobs, audit, log)
    quiet = ("jobs_submitted_count", "orders_seen_count", "orders_that_should_not_be")
    return {name.removesuffix("_count"): value for name, value in figures.items() if value and name not in quiet}


def test_orders_as_written_down_and_as_agreed_are_found_so():
    audit = [begun({"1": 9000.0}), begun({"1": 0.0}, "reverting")]
    log = said((1, 9000.0), (1, 6000.0))
    assert counted([job(1), job(2, "plain")], audit, log) == {}
    assert orders([job(1)], audit, log)["orders_seen_count"] == 2
    owner = f"[{stamp(5000.0)}] _update_job: setting comment to icctwin:off for JobId=2"
    assert counted([job(1), job(2, "plain")], audit, f"{log}\n{owner}") == {}, "what an owner does is no order"


@pytest.mark.parametrize(
    ("audit", "log", "says"),
    [
        ([begun({"1": 9000.0})], said((1, 9000.0), (1, 9500.0)), {"orders_unexplained": 1}),
        ([begun({"1": 9000.0})] * 2, said((1, 9000.0), (1, 9000.0)), {"orders_doubled": 1}),
        ([begun({"1": 19_990.0})], said((1, 19_990.0)), {"orders_out_of_bounds": 1}),
        ([begun({"7": 9000.0})], said((7, 9000.0)), {"orders_out_of_bounds": 1}),
        ([begun({"7": 9000.0})], "", {}),  # written down, and refused by the queue
        ([begun({"2": 9000.0})], said((2, 9000.0)), {"touched_without_consent": 1}),
    ],
)
def test_orders_that_should_not_be_are_counted(audit, log, says):
    assert counted([job(1), job(2, "plain")], audit, log) == says


def test_orders_that_should_not_be_are_named():
    found = orders([job(1)], [begun({"1": 19_990.0, "7": 9000.0})], said((1, 19_990.0), (7, 9000.0)))
    one, other = found["orders_that_should_not_be"].split("; ")
    assert one.startswith("begin of job 1 (marked, of 1970-01-01T00:16:40Z, due 1970-01-01T05:33:20Z) set to ")
    assert other.startswith("begin of job 7 that nobody submitted set to ")


def test_an_order_that_a_controller_forgot_when_it_was_killed_is_written_again_and_not_doubled():
    audit, first, again = [begun({"1": 9000.0})] * 2, said((1, 9000.0), at_s=4000.0), said((1, 9000.0), at_s=5000.0)
    log = f"{first}\n[{stamp(4500.0)}] slurmctld version 22.05.8 started on cluster twin\n{again}"
    assert counted([job(1)], audit, log) == {"orders_written_again": 1}
    found = orders([job(1)], [begun({"1": 9000.0}) | {"noted_s": 4999.0}], f"{log}\n{again}")
    assert found["orders_doubled_count"] == 1
    assert found["orders_that_should_not_be"] == life_of(
        "1", [job(1)], [begun({"1": 9000.0}) | {"noted_s": 4999.0}], f"{log}\n{again}"
    )
    assert found["orders_that_should_not_be"].endswith("the audit says begun 9000.0 at 1970-01-01T01:23:19Z")


def test_a_number_that_slurm_gives_again_is_whose_it_was_at_that_time():
    jobs = [job(1, "plain", 1000.0), job(1, "marked", 3000.0), job(2, "marked", 1000.0), job(2, "plain", 3000.0)]
    audit = [begun({"1": 9000.0, "2": 9000.0})]
    touched = {"touched_without_consent": 1}
    assert counted(jobs, audit, said((1, 9000.0), at_s=4000.0)) == {}
    assert counted(jobs, audit, said((1, 9000.0), at_s=2000.0)) == touched
    assert counted(jobs, audit, said((2, 9000.0), at_s=2000.0)) == {}
    assert counted(jobs, audit, said((2, 9000.0), at_s=4000.0)) == touched
    both = said((1, 9000.0), at_s=2000.0), said((1, 9000.0), at_s=4000.0)
    assert counted([job(1), job(1, submit_s=3000.0)], audit * 2, "\n".join(both)) == {}, "no order twice, one of each"
    due = [job(3, due_s=8000.0), job(3, submit_s=3000.0)]
    assert counted(due, [begun({"3": 9000.0})], said((3, 9000.0), at_s=4000.0)) == {}
    assert counted(due, [begun({"3": 9000.0})], said((3, 9000.0), at_s=2000.0)) == {"orders_out_of_bounds": 1}


def test_what_is_still_held_back_is_counted():
    queue = [
        {"job_id": 1, "job_state": "PENDING", "comment": "icctwin:deadline=x [icctwin: waits]", "eligible_time": 1600},
        {"job_id": 2, "job_state": "PENDING", "comment": "icctwin:deadline=x", "eligible_time": 9000},
        {"job_id": 3, "job_state": "PENDING", "comment": "icctwin:deadline=x", "eligible_time": 1600},
        {"job_id": 4, "job_state": "COMPLETED", "comment": "[icctwin: waited]", "eligible_time": 9000},
        {"job_id": 5, "job_state": "PENDING", "comment": "icctwin:deadline=x", "eligible_time": 7900},  # let go, without room
    ]
    assert held([job(i) for i in range(1, 6)], queue, 8000.0) == ["1", "2"]


def test_the_life_of_a_job_that_is_still_held_is_told():
    audit = [begun({"1": 9000.0, "2": 8.0}), begun({"2": 9.0}), begun({"1": 0.0}, "reverting")]
    told = life_of("1", [job(1), job(2)], audit, said((1, 9000.0), (2, 8.0)))
    assert told == (
        "job 1 (marked of 1970-01-01T00:16:40Z): Slurm saw begin "
        f"{stamp(9000.0)} at 1970-01-01T01:23:20Z; the audit says begun 9000.0, reverting 0.0"
    )
    assert life_of("3", [job(1)], audit, "") == "job 3 (unknown): Slurm saw nothing; the audit says nothing"


def test_owners_give_up_what_waits_and_nothing_else(monkeypatch):
    with running_slurm(2) as cluster:
        people = chaos_people.Owners(cluster, np.random.Generator(np.random.PCG64(1)))
        people.step()
        people.step()  # the GPUs are free: what may begin at once runs, what may wait does so for its grace
        names = [f"chaos-{i}" for i in range(2)]
        assert sorted(cluster.run("squeue", "-h", "-o", "%j").split()) == names
        cluster.run("scontrol", "update", f"JobId={people.jobs[0].id}", "StartTime=now")
        cluster.run("scontrol", "update", f"JobId={people.jobs[1].id}", "StartTime=now+1hour")
        cluster.wait_for(lambda: cluster.run("squeue", "-h", "-t", "RUNNING", "-o", "%j").split() == names[:1])
        monkeypatch.setattr(chaos_people, "GIVEN_UP_S", -1.0)  # as if both had been sent long ago
        people.step()
        assert [job.given_up for job in people.jobs] == [True, True, True]
        assert cluster.run("squeue", "-h", "-t", "PENDING", "-o", "%j") == ""
        assert cluster.run("squeue", "-h", "-t", "RUNNING", "-o", "%j").split() == names[:1]


def test_memory_that_grows_is_told_from_memory_that_breathes():
    rng = np.random.Generator(np.random.PCG64(1))
    hours = np.arange(600) * 2 / 3600
    breath = np.convolve(rng.normal(0, 1.5, 620), np.ones(21) / 21, "valid")  # errors that hang together
    _, low, high = slope_with_interval(hours, 200 + breath)
    assert low < 0 < high
    _, low, high = slope_with_interval(hours, 200 + 30 * hours + breath)
    assert low < 30 < high
    assert low > 0
    lives = [(2.0 * k, 1, 500_000_000) for k in range(300)] + [(600 + 2.0 * k, 2, 100_000_000 + 1000 * k) for k in range(300)]
    figures = memory({"tasks": lives}, 700.0)
    assert figures["rss_tasks_bytes"] == 500_000_000
    assert figures["rss_tasks_slope_mb_per_h"] == pytest.approx(1.8)  # of the process that lived last alone
