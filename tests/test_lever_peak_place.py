"""The contracted power and the order of nodes, as levers: they speak where it counts, and the guard lets them."""

from dataclasses import replace

import numpy as np
from small import rows
from test_lever_jobs import HOUR, NOW, SITE, cluster, jobs, state

from energy.guard import Limits, guard
from energy.levers import QueueNow, no_outlook, open_lever
from energy.plan import Plan
from twin.frame import Frame, frame_of
from twin.job import Cluster
from twin.load import build_site
from twin.order import Verb, orders
from twin.state import State

T = NOW.timestamp()


def foreseen(peak_w, table, limit_w, hours=24):
    """10 kW, and ``peak_w`` in the third and fourth hour."""
    power_w = np.full(hours, 10e3)
    power_w[2:4] = peak_w
    nan = np.full(hours, np.nan)
    queues = (QueueNow("slurm", table, cluster(8)),)
    return replace(
        no_outlook(), time_s=T + HOUR * np.arange(hours), facility_power_w=power_w, it_power_w=nan, wet_bulb_c=nan,
        queues=queues, limit_w=limit_w,
    )  # fmt: skip


def read():
    made = state()
    made.absorb(frame_of("site", NOW, 0, facility_power_w=10e3), NOW)
    return made


def peak(outlook, of=None):
    return open_lever("job_peak").propose(SITE, of or read(), outlook.queues[0].jobs, outlook, NOW)


def test_work_waits_for_the_hours_that_have_room_under_the_contract():
    # 8 GPUs are 8 kW: three jobs in turn would all run in the hours of the peak
    table = jobs((8, 4, 30, 1), (8, 4, 30, 1), (8, 4, 30, 0))
    outlook = foreseen(36e3, table, 25e3)
    plan = peak(outlook)
    assert {one.verb for _, one in plan.orders} == {Verb.BEGIN}
    begins = dict(zip(plan.orders[0][1].targets, plan.orders[0][1].values, strict=True))
    assert set(begins) <= {"0", "1"}  # who has not agreed starts in turn
    assert begins
    assert all(begin >= T + 4 * HOUR for begin in begins.values())
    verdict = guard(plan, SITE, read(), (), NOW, Limits(), (), outlook.queues)
    assert verdict.allowed, [str(one.why) for one in verdict.refusals]


def test_it_is_silent_where_the_limit_is_kept_unknown_or_what_it_rests_on_is_old():
    table = jobs((8, 4, 30, 1), (8, 4, 30, 1))
    assert peak(foreseen(36e3, table, 40e3)) is None
    assert peak(foreseen(36e3, table, np.inf)) is None
    assert peak(foreseen(36e3, jobs((8, 4, 30, 0)), 25e3)) is None
    assert peak(foreseen(np.nan, table, 25e3)) is None
    assert peak(foreseen(36e3, table, 25e3), of=state()) is None  # the meter is silent


def test_no_deadline_is_given_up_for_the_peak():
    table = jobs((8, 4, 6, 1), (8, 4, 30, 1))
    plan = peak(foreseen(60e3, table, 15e3))
    if plan is not None:
        for job, begin in zip(plan.orders[0][1].targets, plan.orders[0][1].values, strict=True):
            i = int(job)
            assert begin + table.limit_s[i] <= table.deadline_s[i]


def test_two_queues_do_not_both_move_work_for_one_peak():
    table = jobs((8, 4, 30, 1))
    one = foreseen(36e3, table, 28e3)
    both = replace(one, queues=(*one.queues, QueueNow("other", table, cluster(8))))
    assert [len(moved) for _, moved in peak(one).orders] == [1]
    assert [(queue, len(moved)) for queue, moved in peak(both).orders] == [("slurm", 1)]
    deeper = replace(both, limit_w=20e3)
    assert [queue for queue, _ in peak(deeper).orders] == ["slurm", "other"]


# --- placement


def halls(units=2):
    assets = ["id=h kind=hall", "id=slurm kind=queue"]
    links = []
    for u in range(units):
        assets += [f"id=c{u} kind=cdu parent=h rated_heat_w=100000", f"id=r{u} kind=rack parent=h"]
        assets += [f"id=n{u}{i} kind=node parent=r{u}" for i in range(8)]
        links.append(f"from=c{u} to=r{u} relation=cools")
    return build_site("s", "UTC", rows(*assets), rows(*links))


def nodes_of(site):
    n = site.count("node")
    return Cluster(
        list(site.ids_of("node")), np.arange(n, dtype=np.int32), np.zeros(n, np.uint8), np.full(n, 8, np.int32),
        np.zeros(n, np.int32), ["batch"], np.ones(1, np.uint8), np.array([[0, i] for i in range(n)], dtype=np.int32), [],
        np.empty(0), np.empty(0), np.empty((0, 2), np.int32),
    )  # fmt: skip


def placed(site, table, watts=1000.0, racks=True, locked=()) -> tuple[Plan | None, tuple[QueueNow, ...], State]:
    made = State(site)
    if racks:
        made.absorb(Frame("rack", NOW, site.all_rows("rack"), {"power_w": np.full(site.count("rack"), watts)}), NOW)
    made.absorb(frame_of("queue", NOW, 0, waiting_count=1.0), NOW)
    queues = (QueueNow("slurm", table, nodes_of(site)),)
    plan = open_lever("job_place").propose(
        site, made, table, replace(no_outlook(), queues=queues, locked=frozenset(locked)), NOW
    )
    return plan, queues, made


def test_what_waits_is_spread_over_the_units_and_the_guard_lets_it():
    site = halls()
    table = jobs(*[(8, 4, 30, 0)] * 8)  # 64 GPUs: one rack's nodes in their order
    plan, queues, read_ = placed(site, table)
    ((_, table_),) = plan.orders
    assert table_.verb is Verb.WEIGHT
    weight = dict(zip(table_.targets, table_.values, strict=True))
    assert weight["n00"] == weight["n10"] < 100  # both units take part
    assert plan.effect.high_w < 0
    # by hand: 65 kW under one unit and 1 kW under the other, or 33 and 33, with pumps of 1.15 % that follow a cube law
    assert plan.effect.facility_power_w < -200
    verdict = guard(plan, site, read_, (), NOW, Limits(), (), queues)
    assert verdict.allowed, [str(one.why) for one in verdict.refusals]


def test_one_unit_no_work_little_to_save_or_unread_racks_are_left_alone():
    table = jobs(*[(8, 4, 30, 0)] * 8)
    assert placed(halls(1), table)[0] is None
    assert placed(halls(), jobs((1, 4, 30, 0)))[0] is None
    assert placed(halls(), table, racks=False)[0] is None


def test_nothing_is_set_at_a_locked_queue_or_node_but_to_let_go():
    site, table = halls(), jobs(*[(8, 4, 30, 0)] * 8)
    plan, queues, read_ = placed(site, table)
    assert placed(site, table, locked=["n03"])[0] is None
    named = replace(queues[0].cluster, nodes=[f"slurm-{name}" for name in queues[0].cluster.nodes])  # as Slurm calls them
    renamed = (replace(queues[0], cluster=named),)

    def said(tables, locked, of=queues):
        made = replace(plan, orders=tuple(("slurm", one) for one in tables))
        verdict = guard(made, site, read_, (), NOW, Limits(locked=frozenset(locked)), (), of)
        return [(one.rule, one.why.params["asset"]) for one in verdict.refusals]

    weighs = plan.orders[0][1]
    assert said([weighs], ["n99"]) == []
    assert said([weighs], ["n03"]) == [("locked", "n03")]
    assert said([weighs], ["slurm"]) == [("locked", "slurm")]
    assert said([orders(Verb.DRAIN, ["slurm-n03"], texts="x")], ["n03"], renamed) == [("locked", "n03")]
    assert said([orders(Verb.UNDRAIN, ["n03"])], ["n03", "slurm"]) == []
    assert said([orders(Verb.BEGIN, ["0"], 0.0)], ["slurm"]) == []
