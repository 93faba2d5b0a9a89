"""Jobs between halls and centres: they go only where that surely pays, their owner bears the way and their data is there; the
guard says no to the rest, the desk knows the way home, and the ledger counts each place by its own signal."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import rows
from test_lever_jobs import DAYS, HOUR, METRIC, NOW, jobs

from energy.ahead import signal_ahead
from energy.guard import Limits, guard
from energy.ledger_jobs import Grounds, Ran
from energy.levers import QueueNow, no_outlook, open_lever
from energy.levers.job_move import worth
from energy.levers.jobs_ahead import GPU_W
from energy.levers.move_ground import facility_ratio
from energy.place.atlas import Atlas, Place, Route, latency_class
from ingest.queues.mark import mark_of
from twin.errors import ConfigError
from twin.frame import frame_of
from twin.job import Cluster
from twin.load import build_site
from twin.state import State
from ui.config import EnergySection
from ui.places import atlas_of

T = NOW.timestamp()
SITE = build_site(
    "s", "UTC",
    rows("id=slurm kind=queue", "id=other kind=queue", "id=ge kind=grid", "id=gw kind=grid", "id=hall-e kind=hall",
         "id=hall-w kind=hall"),
)  # fmt: skip
EAST, WEST = Place("east", "slurm", ("batch",), "ge", "hall-e"), Place("west", "slurm", ("west",), "gw")
GB = 1e9


def atlas(rate_bps=np.inf, latency_s=0.032):
    return Atlas((EAST, WEST), (Route(("east", "west"), latency_s, rate_bps),))


def signal(level=300.0, amplitude=0.0, noise=5.0, seed=1):
    rng = np.random.Generator(np.random.PCG64(seed))
    time_s = T // HOUR * HOUR + HOUR * np.arange(-24 * DAYS, 0)
    values = level - amplitude * np.cos(2 * np.pi * time_s / 86400) + noise * rng.standard_normal(len(time_s))
    return signal_ahead(METRIC, time_s, values, HOUR, NOW, 48)


GRIDS = {"ge": signal(500.0), "gw": signal(200.0, seed=2)}


def cluster(east=8, west=8, up=(1, 1)):
    n = east + west
    pairs = [[0, i] for i in range(east)] + [[1, east + i] for i in range(west)]
    return Cluster(
        [f"n{i}" for i in range(n)], np.full(n, -1, np.int32), np.zeros(n, np.uint8), np.full(n, 8, np.int32),
        np.zeros(n, np.int32), ["batch", "west"], np.array(up, np.uint8), np.array(pairs, dtype=np.int32), [], np.empty(0),
        np.empty(0), np.empty((0, 2), np.int32),
    )  # fmt: skip


def table(*columns, reach_ms=40.0, data=np.nan, **more):
    """Rows as ``jobs``, whose owners bear ``reach_ms`` with ``data`` bytes each."""
    made = jobs(*columns, **more)
    n = len(made)
    reach_s = 1e-3 * np.broadcast_to(np.asarray(reach_ms, dtype=float), n)
    return replace(made, agreed=replace(made.terms, reach_s=reach_s, data_bytes=np.broadcast_to(np.asarray(data, float), n)))


def outlook(of, where=None, grids=None, nodes=None, homes=None):
    view = QueueNow("slurm", of, nodes or cluster(), homes or {})
    return replace(no_outlook(), queues=(view,), atlas=where or atlas(), grids=grids or GRIDS)


def proposed(of, state=None, **more):
    return open_lever("job_move").propose(SITE, state or State(SITE), of, outlook(of, **more), NOW)


def state(grids=(0, 1)):
    made = State(SITE)
    made.absorb(frame_of("queue", NOW, 0, waiting_count=1.0), NOW)
    for row in grids:
        made.absorb(frame_of("grid", NOW, row, **{METRIC: 300.0}), NOW)
    return made


def refused(plan, of, where=None, nodes=None, homes=None, seen=None):
    limits, view = Limits(atlas=where or atlas()), (QueueNow("slurm", of, nodes or cluster(), homes or {}),)
    return {one.rule for one in guard(plan, SITE, seen or state(), (), NOW, limits, (), view).refusals}


def went(plan):
    return {} if plan is None else dict(zip(plan.orders[0][1].targets, plan.orders[0][1].where, strict=True))


def test_those_go_who_bear_the_way_and_the_guard_lets_them():
    of = table((8, 4, 30, 1), (8, 4, 30, 0), (8, 4, 30, 1), (8, 4, 30, 1), reach_ms=[40, 40, 0, 20])
    plan = proposed(of)
    assert went(plan) == {"0": ("batch", "west")}
    assert plan.orders[0][1].values.tolist() == [0.0] or plan.orders[0][1].values[0] > T
    assert plan.gain.change_frac == pytest.approx(-0.6, abs=0.05)
    assert plan.gain.low_frac <= plan.gain.change_frac <= plan.gain.high_frac < -0.5
    assert "20-40 ms away" in plan.orders[0][1].texts[0]
    assert "icctwin:off" in plan.orders[0][1].texts[0]
    assert refused(plan, of) == set()
    assert proposed(of).key == plan.key


def test_nothing_goes_that_does_not_surely_pay_or_has_no_room_or_is_there_already():
    of = table((8, 4, 30, 1))
    same = {"ge": GRIDS["ge"], "gw": signal(495.0, noise=60.0, seed=3)}
    assert proposed(of, grids=same) is None
    assert proposed(of, grids={"ge": GRIDS["gw"], "gw": GRIDS["ge"]}) is None
    assert proposed(of, grids={"ge": GRIDS["ge"]}) is None  # what is not foreseen is not gone to
    assert proposed(of, nodes=cluster(up=(1, 0))) is None
    assert proposed(table((128, 4, 30, 1))) is None
    assert proposed(of, homes={"0": "batch"}) is None
    assert proposed(replace(of, agreed=replace(of.terms, unfit=np.ones(1, np.uint8)))) is None
    shared = replace(cluster(), partition_nodes=np.array([[p, i] for p in (0, 1) for i in range(16)], np.int32))
    assert proposed(of, nodes=shared) is None  # nobody knows in which of them it would run


def test_more_jobs_than_one_plan_looks_at_all_have_their_turn(monkeypatch):
    """The first three bear the way, and their data takes nine days for it."""
    monkeypatch.setattr("energy.levers.job_move.MAX_MOVES", 2)
    of, found = table(*[(8, 4, 30, 1)] * 5, data=[1e6 * GB] * 3 + [0.0] * 2), set()
    view = outlook(of, where=atlas(rate_bps=1e9))
    for turn in range(3):
        found |= set(went(open_lever("job_move").propose(SITE, State(SITE), of, view, NOW + timedelta(seconds=300 * turn))))
    assert found == {"3", "4"}


def test_data_takes_time_and_energy_and_an_owner_must_say_how_much():
    """At 1 Gb/s 900 GB take two hours, and 0.004 kWh/GB of the network are a tenth of this job's 32 kWh."""
    where = atlas(rate_bps=1e9)
    assert proposed(table((8, 4, 30, 1)), where=where) is None
    of = table((8, 4, 30, 1), data=900 * GB)
    plan, near = proposed(of, where=where), proposed(of)
    assert plan.orders[0][1].values[0] >= T + 7200
    assert plan.reason.params["sent_kwh"] == pytest.approx(3.6)
    lost = plan.gain.change_frac - near.gain.change_frac
    assert lost == pytest.approx(3.6 / 32 * 200 / 500, abs=0.02)
    assert refused(plan, of, where) == set()
    assert proposed(table((8, 4, 30, 1), data=1e6 * GB), where=where) is None  # nine days on the way
    soon = replace(plan, orders=(("slurm", replace(plan.orders[0][1], values=np.array([T + 600.0]))),))
    assert refused(soon, of, where) == {"data"}
    assert "data" in refused(plan, table((8, 4, 30, 1)), where)


def test_cooling_of_a_hall_counts():
    """In the west a watt takes three: its grid is not clean enough for that."""
    seen = state()
    seen.absorb(frame_of("hall", NOW, 0, it_power_w=1e5, cooling_power_w=2e4), NOW)
    assert facility_ratio(EAST, SITE, seen, NOW) == pytest.approx(1.2)
    assert facility_ratio(EAST, SITE, State(SITE), NOW) == 1.0
    wasteful = Atlas((EAST, replace(WEST, facility_ratio=3.0)), atlas().routes)
    of = table((8, 4, 30, 1))
    assert proposed(of, where=wasteful) is None
    assert proposed(of, seen, where=Atlas((EAST, replace(WEST, facility_ratio=2.9)), atlas().routes)) is not None


def test_where_power_costs_less_than_nothing_the_owner_reads_what_the_plan_says():
    plan = proposed(table((8, 4, 30, 1)), grids={"ge": signal(-100.0), "gw": signal(-400.0, seed=2)})
    assert plan.gain.change_frac == pytest.approx(-3.0, abs=0.1)
    assert f", about {-plan.gain.change_frac:.0%} less;" in plan.orders[0][1].texts[0]


def test_the_interval_of_a_move_is_as_wide_as_its_errors_were():
    """Gains of the same move an hour later, over forty made-up pasts on which nothing was chosen."""
    rng, hits, n = np.random.Generator(np.random.PCG64(5)), 0, 40
    for _ in range(n):
        time_s = T // HOUR * HOUR + HOUR * np.arange(-24 * DAYS, 24)
        day = 60 * np.cos(2 * np.pi * time_s / 86400)
        walks = [level + day + np.convolve(rng.standard_normal(len(time_s)), np.ones(12), "same") * 8 for level in (400, 350)]
        here, there = (signal_ahead(METRIC, time_s[:-24], walk[:-24], HOUR, NOW, 24) for walk in walks)
        _, low, high = worth(here, 2, 1.0, there, 6, 1.0, 4)
        hits += low <= walks[0][-22:-18].mean() - walks[1][-18:-14].mean() <= high
    assert 0.65 <= hits / n <= 0.95


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(1, 32), st.integers(1, 12), st.integers(3, 46), st.integers(0, 1)), min_size=1, max_size=16),
    st.integers(1, 6),
    st.sampled_from([np.inf, 4e9]),
)
def test_no_plan_passes_room_reach_or_deadline(columns, west, rate_bps):
    of = table(*columns, reach_ms=[5.0 * (i % 9) for i in range(len(columns))], data=800 * GB)
    where, nodes = atlas(rate_bps), cluster(west=west)
    plan = proposed(of, where=where, nodes=nodes)
    if plan is None:
        return
    order, taken = plan.orders[0][1], np.zeros(100)
    for job, begin_s in zip(order.targets, order.values, strict=True):
        gpus, limit, due, wants = columns[int(job)]
        assert wants
        assert of.terms.reach_s[int(job)] >= 0.032
        start = max(begin_s - T, 0) / HOUR
        assert start + limit <= due
        assert start * HOUR >= (0 if np.isinf(rate_bps) else 1600) - 1
        taken[int(start) : int(np.ceil(start)) + limit] += gpus * (rate_bps == np.inf)
    assert taken.max() <= 8 * west
    assert refused(plan, of, where, nodes) <= {"consequence"}


def test_the_guard_names_each_rule_of_a_move():
    of = table((8, 4, 30, 1))
    plan = proposed(of)
    order = plan.orders[0][1]
    faults = {
        "agreed": (plan, table((8, 4, 30, 0)), {}),
        "reach": (plan, table((8, 4, 30, 1), reach_ms=31.0), {}),
        "place": (replace(plan, orders=(("slurm", replace(order, where=[("batch", "nowhere")])),)), of, {}),
        "room": (plan, of, {"nodes": cluster(west=0)}),
        "grid_stale": (plan, of, {"seen": state(grids=(0,))}),
        "deadline": (plan, table((8, 4, 3, 1)), {}),
    }
    for rule, (bad, jobs_, more) in faults.items():
        got = refused(bad, jobs_, **more)
        assert rule in got, rule
        assert got <= {rule, "consequence"} | ({"place"} if rule == "room" else set()), rule
    full = table((8, 4, 30, 1), (64, 40, 60, 0))
    full = replace(full, partitions=["batch", "west"])
    assert refused(plan, full) == {"consequence"}  # who waits there has not agreed to wait for newcomers
    hopped = Atlas((EAST, WEST, Place("far", "slurm", ("far",), "gw")), atlas().routes)
    assert refused(plan, of, hopped, homes={"0": "far"}) == {
        "reach"
    }  # how far it is counts from its home, not from where it is


def test_in_a_place_on_its_own_grid_jobs_wait_for_that_grids_clean_hours():
    """The west is cleanest at noon, now; the east at midnight: what may wait there waits, and here starts at once."""
    of = replace(table((8, 4, 30, 1), (8, 4, 30, 1)), partitions=["batch", "west"])
    grids = {"ge": signal(300.0, 100.0), "gw": signal(300.0, -100.0, seed=2)}
    parts = [replace(of, deferrable=np.array([i == k for i in (0, 1)], np.uint8)) for k in (0, 1)]
    views = tuple(QueueNow("slurm", part, cluster(), signal=grids[g]) for part, g in zip(parts, ("ge", "gw"), strict=True))
    seen = replace(no_outlook(), signal=grids["ge"], queues=views)
    plan = open_lever("job_start").propose(SITE, State(SITE), of, seen, NOW)
    assert [list(one.targets) for _, one in plan.orders] == [["0"]]
    assert refused(plan, of) == set()
    assert refused(plan, of, seen=state(grids=(1,))) == {"grid_stale"}  # the east is not heard
    swapped = replace(seen, queues=tuple(replace(view, signal=grids[g]) for view, g in zip(views, ("gw", "ge"), strict=True)))
    assert list(open_lever("job_start").propose(SITE, State(SITE), of, swapped, NOW).orders[0][1].targets) == ["1"]


def test_classes_and_the_table_of_ways():
    assert [latency_class(1e-3 * ms) for ms in (0.3, 1, 5, 5.1, 20, 32, 41)] == [
        "under 1 ms", "1-5 ms", "1-5 ms", "5-20 ms", "5-20 ms", "20-40 ms", "over 40 ms"
    ]  # fmt: skip
    where = Atlas((EAST, WEST, Place("north", "slurm", ("n",), "ge")), atlas(rate_bps=8e9).routes)
    assert where.may(0, 0, 0.0, np.nan) == ""
    assert [where.may(0, 1, reach, 5.0) for reach in (0.031, 0.032, np.nan)] == ["far", "", "far"]
    assert where.j_per_byte[1, 0] == pytest.approx(0.004 * 3.6e6 / 1e9)
    assert Atlas((EAST, WEST), atlas(rate_bps=np.inf).routes).j_per_byte[1, 0] == 0, "the same storage: nothing travels"
    assert np.diag(where.latency_s).tolist() == [0, 0, 0]
    assert where.may(1, 0, 1.0, np.nan) == "data"
    assert where.may(0, 2, 1.0, 5.0) == "far"  # no route goes there
    assert where.transfer_s(0, 1, 8e9) == pytest.approx(8.0)
    assert where.at("slurm", "n") == 2
    assert where.at("other", "n") == -1


@pytest.mark.parametrize(
    ("said", "reach_s", "size"),
    [("latency=20ms;data=200GB", 0.02, 2e11), ("latency=0.5ms", 0.0005, np.nan), ("runs=2h;data=1.5TB", 0.0, 1.5e12)],
)
def test_what_an_owner_says_of_distance_and_data(said, reach_s, size):
    mark = mark_of(f"icctwin:{said}", T)
    assert mark.agreed
    assert mark.reach_s == pytest.approx(reach_s)
    assert mark.data_bytes == pytest.approx(size, nan_ok=True)
    for wrong in ("latency=20", "latency=far", "data=200", "data=many"):
        assert mark_of(f"icctwin:{wrong}", T).wrong == wrong
        assert not mark_of(f"icctwin:{wrong}", T).agreed


def test_places_are_checked_with_all_their_problems():
    good = EnergySection.model_validate({
        "place": [{"name": "east", "queue": "slurm", "partitions": ["batch"], "hall": "hall-e"},
                  {"name": "west", "queue": "slurm", "partitions": ["west"], "grid": "gw", "facility_ratio": 1.1}],
        "route": [{"between": ["east", "west"], "latency_ms": 32, "rate_gbps": 25}],
    })  # fmt: skip
    made = atlas_of(good, SITE)
    assert [one.grid for one in made.places] == ["ge", "gw"]
    assert (made.latency_s[0, 1], made.rate_bps[1, 0]) == (0.032, 25e9)
    bad = EnergySection.model_validate({
        "place": [{"name": "a", "queue": "slurm", "partitions": ["p"]}, {"name": "b", "queue": "slurm", "partitions": ["p"]},
                  {"name": "c", "queue": "other", "partitions": ["p"], "grid": "gone", "hall": "gone"},
                  {"name": "c", "queue": "none", "partitions": ["q"]}],
        "route": [{"between": ["a", "c"], "latency_ms": 5}, {"between": ["a", "z"], "latency_ms": 5},
                  {"between": ["a", "b"], "latency_ms": 5}, {"between": ["b", "a"], "latency_ms": 5}],
    })  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        atlas_of(bad, SITE)
    said = "\n".join(map(str, caught.value.problems))
    for what in ("is in a already", "is no grid", "is no hall", "is no queue", "two places have this name", "'z' is no place",
                 "icctwin does not do", "stands here twice"):  # fmt: skip
        assert what in said, what


# --- the ledger


def test_each_place_is_replayed_by_itself_and_counts_by_its_own_signal():
    """An hour on 8 GPUs in the west at 100 instead of in the east at 400, less 2 kWh of network at 100; beside it one who found
    the west full by that, and ran an hour later at 150."""
    time_s = T + HOUR * np.arange(24)
    west = np.where(np.arange(24) < 1, 100.0, 150.0)
    ground = Grounds({"batch": 0, "west": 1}, np.array([8, 8], np.int32), time_s, np.array([np.full(24, 400.0), west]))
    ground = replace(ground, j_per_byte=np.array([[0, 0.004 * 3.6e-3], [0.004 * 3.6e-3, 0]]))
    f, i = (lambda *v: np.array(v, dtype=float)), (lambda *v: np.array(v, dtype=np.int32))
    own = f(T, T + 1)
    times = (own, f(T, np.nan), f(T, T + HOUR), f(T + HOUR, T + 2 * HOUR), f(HOUR, HOUR))
    ran = Ran(["a", "b"], *times, i(8, 8), i(1, 1), i(0, 1), f(500 * GB, 0))
    found = account(ran, ground)
    kw = 8 * GPU_W / 1e3
    assert found.would_s.tolist() == [T, T + 1]
    assert found.change[0] == pytest.approx(kw * (100 - 400) + 2 * 100)
    assert found.change[1] == pytest.approx(kw * 50, abs=kw)
