"""What decides beside room when a job of Slurm runs: nothing is planned into a reservation, and what is tied is left alone."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from devices import opened
from servers import running_slurm
from test_lever_jobs import HOUR, NOW, SITE, begins, signal, state
from test_queue_slurm import options, site

from energy.guard import Limits, guard
from energy.levers import QueueNow, no_outlook, open_lever
from energy.levers.jobs_ahead import reserved_spans, room
from energy.plan import Plan
from ingest.queues.slurm import Options
from ingest.queues.slurm_records import job_record
from ingest.queues.slurm_ties import tie
from ingest.queues.tables import NodeRecord, Places, Reservation, cluster_of, jobs_of
from twin.job import Cluster, Jobs, NodeState
from twin.order import Tie, Verb, orders
from twin.state import State

T = NOW.timestamp()
OPTIONS = Options(queue="slurm", commands=True)
NODES = [f"n{i}" for i in range(8)]
MAINTENANCE = Reservation("maint", T + 8 * HOUR, T + 24 * HOUR, NODES)


def due(hours: float, more: str = "") -> str:
    """A mark with a deadline so many hours from now."""
    return f"icctwin:deadline={datetime.fromtimestamp(T + hours * HOUR, UTC):%Y-%m-%dT%H:%MZ}{more}"


def waits(number: int, comment: str = "", gpus: int = 8, limit_h: float = 3, **more: object) -> dict[str, object]:
    """A job that waits, as slurmrestd tells it."""
    told = {"job_id": number, "job_state": "PENDING", "name": "j", "user_name": "li", "partition": "batch"}
    told |= {"submit_time": int(T - 60), "eligible_time": int(T - 60), "time_limit": int(60 * limit_h), "comment": comment}
    return {**told, "tres_req_str": f"cpu=1,gres/gpu={gpus}", **more}


def table(*raws: dict[str, object]) -> Jobs:
    records = [job_record(raw, OPTIONS) for raw in raws]
    tie(raws, records)
    return jobs_of(records, Places(SITE))


def cluster(*reservations: Reservation, states: tuple[NodeState, ...] = (NodeState.IDLE,) * 8) -> Cluster:
    nodes = [NodeRecord(name, state, 8, 0, ["batch"]) for name, state in zip(NODES, states, strict=True)]
    return cluster_of(nodes, [("batch", True)], reservations, Places(SITE))


def proposed(jobs: Jobs, of: Cluster) -> Plan | None:
    queues = (QueueNow("slurm", jobs, of),)
    outlook = replace(no_outlook(), signal=signal(), queues=queues)
    return open_lever("job_start").propose(SITE, State(SITE), jobs, outlook, NOW)


def refused(jobs: Jobs, of: Cluster, plan: Plan) -> set[str]:
    verdict = guard(plan, SITE, state(), (), NOW, Limits(), (), (QueueNow("slurm", jobs, of),))
    return {refusal.rule for refusal in verdict.refusals}


def delayed(plan: Plan, job: str, hours: float) -> Plan:
    """The same plan with one order: that this job starts so much later."""
    return replace(plan, orders=(("slurm", orders(Verb.BEGIN, [job], T + hours * HOUR, "waits")),))


def test_a_job_is_done_before_a_reservation_of_its_nodes_or_left_alone() -> None:
    """Maintenance of all nodes from 8 h to 24 h on; the cleanest hours are 11 h and 12 h ahead."""
    jobs = table(waits(1, due(18)))
    free = proposed(jobs, cluster())
    assert free is not None
    assert begins(free)["1"] == 11
    assert refused(jobs, cluster(), free) == set()
    kept = cluster(MAINTENANCE)
    assert refused(jobs, kept, free) == {"consequence"}
    plan = proposed(jobs, kept)
    assert plan is not None
    assert 0 < begins(plan)["1"] <= 5
    assert refused(jobs, kept, plan) == set()
    down = cluster(MAINTENANCE, states=(NodeState.DOWN,) * 7 + (NodeState.IDLE,))
    assert reserved_spans(down, T)[1].tolist() == [[0, 8, 0]]


def test_a_scheduler_goes_by_the_limit_though_the_owner_expects_less() -> None:
    kept = cluster(MAINTENANCE)
    for limit_h, latest in ((3, 5), (6, 2), (7.5, 0), (20, 0)):
        jobs = table(waits(1, due(18, ";runs=2h"), limit_h=limit_h))
        plan = proposed(jobs, kept)
        assert (0 if plan is None else begins(plan)["1"]) <= latest
        free = proposed(jobs, cluster())
        assert free is not None
        assert refused(jobs, kept, delayed(free, "1", latest + 1)) == ({"consequence"} if limit_h < 8 else set())


def test_what_a_reservation_leaves_is_shared_as_if_there_were_no_more() -> None:
    """Seven of eight nodes are reserved from 8 h on; two of them twice, which counts once."""
    kept = cluster(Reservation("most", T + 8 * HOUR, T + 40 * HOUR, NODES[:7]), Reservation("two", T, T + 9 * HOUR, NODES[5:7]))
    begin_s, gpus = reserved_spans(kept, T)
    assert ((begin_s - T) / HOUR).tolist() == [0, 8, 9, 40]
    assert gpus.tolist() == [[16, 56, 56, 0]]
    jobs = table(*(waits(number, due(20)) for number in range(1, 4)))
    left = room(QueueNow("slurm", jobs, kept), np.arange(3, dtype=np.int32), signal(), T)
    assert left[0][[0, 7, 8, 39, 40]].tolist() == [48, 48, 8, 8, 64]
    plan = proposed(jobs, kept)
    assert plan is not None
    taken = np.zeros(48)
    for hour in begins(plan).values():
        taken[round(hour) : round(hour) + 3] += 8
    assert taken[8:40].max() <= 8
    assert refused(jobs, kept, plan) == set()


def test_a_job_in_a_reservation_is_left_alone_and_takes_no_room_of_others() -> None:
    """``--reservation=exam`` until 6 h from now: what waits till the clean hours never runs in it."""
    kept = cluster(Reservation("exam", T - HOUR, T + 6 * HOUR, NODES[:2]))
    jobs = table(waits(1, due(18), resv_name="exam"), waits(2, due(18), gpus=16))
    assert jobs.terms.tied.tolist() == [Tie.RESERVED, 0]
    plan = proposed(jobs, kept)
    assert plan is not None
    assert list(begins(plan)) == ["2"]
    assert refused(jobs, kept, delayed(plan, "1", 10)) == {"reserved"}
    left = room(QueueNow("slurm", jobs, kept), np.array([1], np.int32), signal(), T)
    assert left[0][[0, 6]].tolist() == [48, 64]
    ours = replace(jobs.terms, begin_s=np.array([T + 10 * HOUR, np.nan]), noted=np.array([1, 0], np.uint8))
    freed = proposed(replace(jobs, agreed=ours), kept)
    assert freed is not None
    assert freed.orders[0][1].values[list(freed.orders[0][1].targets).index("1")] == 0  # tied since: it is let go


def test_neither_a_job_that_waits_for_another_nor_the_other_is_made_to_wait() -> None:
    """4 and 6 wait for 3 and for a task of array 5, and their owners have not agreed; 7 is alone and waits for clean hours."""
    after = {"state_reason": "Dependency", "eligible_time": 0, "deadline": int(T + 9 * HOUR)}
    jobs = table(
        waits(3, due(30), limit_h=4),
        waits(4, limit_h=4, dependency="afterok:3(unfulfilled)", **after),
        waits(5, due(30), limit_h=4, array_job_id=5, array_task_string="0-3"),
        waits(6, limit_h=4, dependency="after:99+10(unfulfilled)?afterany:5_2(failed)", **after),
        waits(7, due(30), limit_h=4),
    )
    assert jobs.terms.tied.tolist() == [Tie.OTHERS] * 4 + [0]
    plan = proposed(jobs, cluster())
    assert plan is not None
    assert list(begins(plan)) == ["7"]
    assert refused(jobs, cluster(), delayed(plan, "3", 11)) == {"others"}
    stands = replace(jobs.terms, begin_s=np.full(5, T + 11 * HOUR), noted=np.array([1, 0, 0, 0, 1], np.uint8))
    freed = proposed(replace(jobs, agreed=stands), cluster())
    assert freed is not None
    assert [(list(one.targets), one.values.tolist()) for _, one in freed.orders] == [(["3"], [0.0])]


def test_who_is_to_be_alone_under_a_name_waits_for_all_of_that_name() -> None:
    one = {"name": "nightly", "state_reason": "Dependency"}
    jobs = table(
        waits(1, due(30), name="nightly"),
        waits(2, due(30), dependency="singleton(unfulfilled)", **one),
        waits(3, due(30), name="nightly", user_name="wu"),
        waits(4, due(30), job_state="RUNNING", dependency="", name="nightly"),
    )
    assert jobs.terms.tied.tolist() == [Tie.OTHERS, Tie.OTHERS, 0, Tie.OTHERS]


def test_what_runs_is_not_paused_while_others_wait_for_it() -> None:
    """Two jobs that run and may be paused; a third waits for the first."""
    runs = {"job_state": "RUNNING", "start_time": int(T - 2 * HOUR), "limit_h": 12}
    first, second = (waits(number, due(40, ";interruptible"), **runs) for number in (1, 2))  # type: ignore[arg-type]
    jobs = table(first, second, waits(3, dependency="afterok:1(unfulfilled)"))
    queues = (QueueNow("slurm", jobs, cluster()),)
    outlook = replace(no_outlook(), signal=signal(amplitude=220), queues=queues)
    plan = open_lever("job_shift").propose(SITE, State(SITE), jobs, outlook, NOW)
    assert plan is not None
    assert [list(one.targets) for _, one in plan.orders] == [["2"], ["2"]]
    both = tuple((name, replace(one, targets=["1"])) for name, one in plan.orders)
    assert refused(jobs, cluster(), replace(plan, orders=both)) == {"others"}


def test_an_array_that_runs_few_tasks_at_once_is_left_alone() -> None:
    """Ten tasks of an hour one after the other, due in 14 h: a begin time 10 h ahead would end them at 20 h."""
    few = waits(2, due(14), gpus=1, limit_h=1, array_job_id=2, array_task_string="0-9%1", array_max_tasks=1)
    task = {**few, "job_id": 9, "array_task_id": 0, "array_task_string": "", "job_state": "RUNNING", "start_time": int(T)}
    later = {**few, "array_max_tasks": {"set": True, "infinite": False, "number": 1}, "array_task_string": "0-9"}
    wide = waits(3, due(14), gpus=1, limit_h=1, array_job_id=3, array_task_string="0-9", array_max_tasks=0)
    jobs = table(few, task, later, wide)
    assert jobs.gpus.tolist() == [10, 1, 10, 10]
    assert jobs.terms.tied.tolist() == [Tie.FEW] * 3 + [0]
    plan = proposed(jobs, cluster())
    assert plan is not None
    assert list(begins(plan)) == ["3"]
    assert refused(jobs, cluster(), delayed(plan, "2", 10)) == {"few_at_once"}


@pytest.mark.server
@pytest.mark.parametrize("way", ["socket", "commands"])
async def test_a_real_slurm_tells_what_its_jobs_are_tied_to(way: str, tmp_path: Path) -> None:
    with running_slurm(2) as slurm:
        given = ("--gpus=1", "-o", "/dev/null", "--begin=now+3600", "--comment", "icctwin:on", "--wrap", "sleep 300")

        def submit(name: str, *more: str) -> str:
            return slurm.run("sbatch", "--parsable", "-J", name, *more, *given).strip()

        exam = ("ReservationName=exam", "StartTime=now+7200", "Duration=60", "Nodes=gpu02", "Users=root")
        slurm.run("scontrol", "create", "reservation", *exam)
        first, wide = submit("first"), submit("wide", "--array=0-3")
        submit("then", f"--dependency=afterok:{first},after:{wide}_2+10")
        submit("few", "--array=0-9%1")
        submit("sits", "--reservation=exam")
        submit("alone")
        submit("nightly")
        submit("nightly", "--dependency=singleton")
        centre = opened("slurm", site(), queue="slurm", timeout_s=20, **options(slurm, tmp_path, way))
        try:
            now = datetime.now(UTC)
            jobs, of = await centre.queues[0].jobs(now), await centre.queues[0].cluster(now)
        finally:
            await centre.sources[0].close()
    told = list(zip(jobs.names, jobs.terms.tied.tolist(), strict=True))
    others = [(name, int(Tie.OTHERS)) for name in ("first", "nightly", "nightly", "then", "wide")]
    assert sorted(told) == sorted([*others, ("few", Tie.FEW), ("sits", Tie.RESERVED), ("alone", 0)])
    assert jobs.deferrable.tolist() == [1] * 8
    begin_s, gpus = reserved_spans(of, now.timestamp())
    assert gpus.tolist() == [[0, 8, 0]]
    assert (begin_s[1:] - now.timestamp()).tolist() == pytest.approx([7200, 10800], abs=100)
