"""Fairness between tenants where jobs move between places: who may not wait for the clean hours there goes sooner, and no
tenant is made to wait for longer than is fair."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lever_jobs import HOUR, NOW
from test_lever_move import GB, SITE, T, atlas, cluster, outlook, signal, table

from energy.guard_fair import FAIR_RULES
from energy.levers import open_lever
from energy.memory import Asked
from energy.shift.fair import bearable
from energy.waiting import waits_of
from twin.state import State

# the west is always cleaner, and cleanest at ten hours from now
GRIDS = {"ge": signal(500.0), "gw": signal(200.0, 100.0, seed=2)}


def told(of, least_h, asked=None, **more):
    """What the lever sees, with what tenants wait."""
    view = outlook(of, grids=GRIDS, **more)
    (queue,) = view.queues
    waits = waits_of([queue], {}, {"slurm": asked or {}}, {}, T, least_h * HOUR)["slurm"]
    return replace(view, queues=(replace(queue, waits=waits),))


def moves(of, view):
    """Job -> hours that it is told to wait; nothing of it is against the guard's rule."""
    plan = open_lever("job_move").propose(SITE, State(SITE), of, view, NOW)
    if plan is None:
        return {}
    assert list(FAIR_RULES["fair"][0](SimpleNamespace(plan=plan, queues=view.queues, now=NOW))) == []
    order = plan.orders[0][1]
    return {job: max(begin_s - T, 0.0) / HOUR for job, begin_s in zip(order.targets, order.values.tolist(), strict=True)}


def four_and_one(**more):
    """Four jobs of a tenant that may go west, and one, of as much work, of another that may wait and not go."""
    of = table(*[(8, 4, 40, 1)] * 4, (8, 16, 40, 1), reach_ms=[40] * 4 + [0], **more)
    return replace(of, users=["a"] * 4 + ["b"])


def test_without_the_rule_all_wait_for_the_clean_hours():
    of = four_and_one()
    assert moves(of, outlook(of, grids=GRIDS)) == pytest.approx(dict.fromkeys("0123", 10.0))
    assert moves(of, told(of, 24)) == pytest.approx(dict.fromkeys("0123", 10.0))
    one = replace(of, users=["a"] * 5)
    assert moves(one, told(one, 1)) == pytest.approx(dict.fromkeys("0123", 10.0)), "who is alone is compared with itself"


@pytest.mark.parametrize("least_h", [6, 4, 2, 1])
def test_who_may_not_wait_so_long_goes_west_all_the_same_and_sooner(least_h):
    """The other waits for nothing: what is open to all binds, four jobs of the same size in the mean."""
    got = moves(four_and_one(), told(four_and_one(), least_h))
    assert set(got) == set("0123"), "at once, too, it is cleaner there than at home"
    assert 0.8 * least_h <= np.mean(list(got.values())) <= least_h


def test_a_tenant_that_waited_for_long_goes_where_it_need_not_wait():
    of = four_and_one()
    other = replace(of, users=["a", "a", "c", "c", "b"])
    asked = {"0": Asked(40 * HOUR, 0.0, 0.0, NOW)}
    got = moves(other, told(other, 2, asked))
    assert (got["0"], got["1"]) == (0.0, 0.0)
    assert got["2"] + got["3"] > 0, "the next one may wait"


@pytest.mark.parametrize("least_h", [1, 4])
def test_the_way_of_data_is_waiting_too(least_h):
    """900 GB take two hours at 1 Gb/s: no more go than may wait for them, four jobs of the same size in the mean."""
    of = four_and_one(data=900 * GB)
    got = moves(of, told(of, least_h, where=atlas(rate_bps=1e9)))
    assert 1 <= len(got) <= 2 * least_h
    assert min(got.values()) >= 2
    assert sum(got.values()) <= 4 * least_h


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 16), st.integers(1, 8), st.integers(12, 46), st.integers(0, 20)),
        min_size=3,
        max_size=12,
    ),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_no_plan_gives_a_tenant_more_than_is_fair(rows, west, least_h):
    users, gpus, hours, due, before = zip(*rows, strict=True)
    of = replace(table(*[(g, h, d, 1) for g, h, d in zip(gpus, hours, due, strict=True)]), users=list(users))
    asked = {str(i): Asked(h * HOUR, 0.0, 0.0, NOW) for i, h in enumerate(before) if h}
    view = told(of, least_h, asked, nodes=cluster(west=west))
    waits, more = view.queues[0].waits, moves(of, view)
    size = np.array(gpus) * np.array(hours)
    each = waits.asked_s / HOUR + np.array([more.get(str(i), 0.0) for i in range(len(rows))])
    held = np.bincount(waits.owner, size, len(waits.tenants))
    mean = np.bincount(waits.owner, size * each, len(held)) / held
    most = bearable(held, mean, least_h)
    given_more = {int(waits.owner[int(job)]) for job, hours in more.items() if hours > 0}
    assert all(mean[k] <= most + 1 for k in given_more), "an hour is the slot in which the lever counts"
