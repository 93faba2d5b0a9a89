"""Caps that answer the grid: in place before the event, also on nodes of the largest class and while some devices cannot
follow, for as long as the request lasts, and written down whatever their number.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from energy_house import NOW, a_plan, hall
from small import rows

from analytics.alerts import Alert, Phase, Severity
from energy.guard import Limits, fitting, guard
from energy.levers import Call, QueueNow, no_outlook
from energy.levers.demand_response import build
from energy.levers.job_respond import build as respond
from energy.notes import Stage, decision
from energy.plan import Done, Mode, Plan
from energy.respond.inbox import together, window
from energy.respond.live import Charged, battery_of, shared
from ingest.stores.records import MAX_BYTES
from twin.curtail import Interval, Request
from twin.frame import Frame
from twin.job import Jobs, JobState
from twin.load import build_site
from twin.message import Message
from twin.order import Terms, Verb, orders
from twin.state import State
from ui.responding import SPARE_S

GPUS, GPU_W, REST_W, BESIDE_W = 8, 1000.0, 2000.0, 1000.0
BASE_W = GPUS * GPU_W + REST_W + BESIDE_W
SITE = build_site(
    "s", "UTC",
    rows("id=h kind=hall", "id=r kind=rack parent=h", "id=n0 kind=node parent=r",
         *(f"id=g{i} kind=gpu parent=n0 rated_w=1000 index={i}" for i in range(GPUS))),
    rows(),
)  # fmt: skip
DAY_S = 86_400.0


def running(now_s: float) -> Jobs:
    """One job on all GPUs whose owner agreed."""
    none, nan = np.zeros(1, np.uint8), np.full(1, np.nan)
    began = np.array([now_s - 7200])
    return Jobs(
        ["0"], ["j"], ["u"], ["b"], np.array([JobState.RUNNING], np.uint8), np.array([GPUS], np.int32), began, began, nan,
        np.array([400 * 3600.0]), nan, np.ones(1, np.uint8), np.arange(GPUS, dtype=np.int32), np.zeros(GPUS, np.int32),
        Terms(nan, none, none, none, nan),
    )  # fmt: skip


def seen(cap_w: float, now: datetime) -> tuple[State, float]:
    """What is read while the node holds itself to ``cap_w``, and the meter."""
    gpu_w = min(GPU_W, (min(cap_w, GPUS * GPU_W + REST_W) - REST_W) / GPUS)
    node_w = GPUS * gpu_w + REST_W
    state = State(SITE)
    state.absorb(Frame("gpu", now, SITE.all_rows("gpu"), {"power_w": np.full(GPUS, gpu_w)}), now)
    node = {"power_w": np.array([node_w]), "power_cap_w": np.array([cap_w])}
    state.absorb(Frame("node", now, SITE.all_rows("node"), node), now)
    site = {"facility_power_w": np.array([node_w + BESIDE_W]), "it_power_w": np.array([node_w])}
    state.absorb(Frame("site", now, np.zeros(1, np.int32), site), now)
    return state, node_w + BESIDE_W


def asked(state: State, request: Request, now: datetime, until_s: Mapping[str, float] | None = None) -> Plan | None:
    call = Call("r", request, now, BASE_W, frozenset({"n0"}), np.full(GPUS, GPU_W), turn=f"/{now}", until_s=until_s or {})
    jobs = running(now.timestamp())
    return build().propose(SITE, state, jobs, replace(no_outlook(), queues=(QueueNow("slurm", jobs),), call=call), now)


@pytest.mark.parametrize("rated_w", [9_900.0, 10_200.0, 14_300.0])  # DGX H100 and B200: 10.2 and 14.3 kW
def test_a_node_of_any_class_is_capped_before_the_event_begins(rated_w: float) -> None:
    begin_s = NOW.timestamp() + 300
    request = Request("r", NOW.timestamp(), (Interval(begin_s, begin_s + 3600, cut_w=0.35 * BASE_W),))
    cap_w, history = rated_w, list[Done]()
    for look in range(21):  # every 15 s until the event
        now = NOW + timedelta(seconds=15 * look)
        state, meter_w = seen(cap_w, now)
        plan = asked(state, request, now)
        if plan is None:
            continue
        fits = fitting(plan, SITE, state, (), now, Limits(), history)
        for action in fits.actions:
            assert guard(fits, SITE, state, (), now, Limits(), history).allowed
            cap_w = action.value
            history.append(Done(action.asset, action.metric, now))
    assert meter_w <= 0.65 * BASE_W * 1.001


def many(count: int, rested: int, now: datetime = NOW) -> tuple[Plan, State, Sequence[Done]]:
    """Caps for all GPUs of a hall, of which all but ``rested`` were changed at the last look."""
    site = hall(gpus=count // 2)
    gpus = site.ids_of("gpu")
    state = State(site)
    state.absorb(Frame("gpu", now, site.all_rows("gpu"), {"power_cap_w": np.full(count, 700.0)}), now)
    plan = replace(a_plan(*((gpu, 550.0) for gpu in gpus), metric="power_cap_w"), request="r")
    return plan, state, [Done(gpu, "power_cap_w", now - timedelta(seconds=15)) for gpu in gpus[rested:]]


def test_one_device_that_cannot_follow_keeps_no_other_from_answering() -> None:
    plan, state, history = many(20, 12)
    ids = state.site.ids_of("gpu")
    hot = Alert("hot", "gpu", ids[3], "temp_c", Severity.WARNING, Phase.FIRING, 90.0, 85.0, Message("hot"), "", NOW, NOW, None)
    limits = Limits(locked=frozenset({ids[5]}))
    fits = fitting(plan, state.site, state, (hot,), NOW, limits, history)
    assert [action.asset for action in fits.actions] == [one for i, one in enumerate(ids[:12]) if i not in (3, 5)]
    assert guard(fits, state.site, state, (hot,), NOW, limits, history).allowed
    own = replace(plan, request="")
    assert fitting(own, state.site, state, (hot,), NOW, limits, history) is own  # any other plan is all or nothing


def test_what_is_said_of_ten_thousand_caps_is_short() -> None:
    plan, state, history = many(10_000, 0)
    verdict = guard(plan, state.site, state, (), NOW, Limits(), history)
    assert [refusal.rule for refusal in verdict.refusals] == ["dwell"] * 5
    record = decision(Stage.REFUSED, plan, verdict, Mode.AUTO, verdict.refusals[0].why, "icctwin")
    assert record["count"] == 10_000
    assert len(json.dumps(record)) < MAX_BYTES / 20


def test_a_request_of_four_days_is_answered_from_its_first_to_its_last_hour() -> None:
    begin_s = NOW.timestamp() + 300
    end_s = begin_s + 4 * DAY_S
    whole = Request("r", NOW.timestamp(), (Interval(begin_s, end_s, cut_w=0.2 * BASE_W),))
    for hour in (0, 23, 24, 47, 48, 71, 95):
        now = NOW + timedelta(hours=hour, minutes=6)
        (part,) = window([whole], now.timestamp(), Limits().longest_s - SPARE_S)
        request = together([part], BASE_W)
        state, _ = seen(14_300.0, now)
        plan = asked(state, request, now)
        assert plan is not None
        assert guard(plan, SITE, state, (), now, Limits(), ()).allowed  # an order may last a day
        (action,) = plan.actions
        held, _ = seen(BASE_W - BESIDE_W - 0.2 * BASE_W, now)
        assert asked(held, request, now) is None
        soon = {"n0": (now + timedelta(minutes=59)).timestamp()}
        renewed = asked(held, request, now, soon)
        assert (renewed is not None) == (action.until.timestamp() > soon["n0"] + 60)
    assert window([whole], end_s + 2 * DAY_S, DAY_S) == []


@pytest.mark.parametrize(("charge_frac", "began_frac", "kwh"), [(0.7, 0.7, 50.0), (0.3, 0.7, 50.0), (0.21, 0.21, 1.0)])
def test_a_battery_keeps_a_fifth_of_what_it_holds(charge_frac: float, began_frac: float, kwh: float) -> None:
    """100 kWh: from 70 % on it gives 50 kWh in all, from 21 % on 1 kWh."""
    site = build_site("s", "UTC", rows("id=b kind=battery rated_w=20000 rated_kwh=100"), rows())
    state, now_s = State(site), NOW.timestamp()
    state.absorb(Frame("battery", NOW, site.all_rows("battery"), {"charge_frac": np.array([charge_frac])}), NOW)
    request = Request("r", now_s, (Interval(now_s, now_s + 3600, cut_w=1e4),))
    call = Call("r", request, NOW, BASE_W, frozenset({"b"}), np.empty(0), charge_frac={"b": began_frac})
    found = battery_of(call, site, state)
    assert found is not None
    assert (found.power_w, found.energy_j) == (20_000, pytest.approx(kwh * 3.6e6))
    for left_frac in (0.2, 0.1):
        state = State(site)
        state.absorb(Frame("battery", NOW, site.all_rows("battery"), {"charge_frac": np.array([left_frac])}), NOW)
        assert battery_of(call, site, state) is None


WAIT = build_site(
    "s", "UTC",
    rows("id=h kind=hall", "id=slurm kind=queue", "id=r kind=rack parent=h", "id=n0 kind=node parent=r",
         "id=n1 kind=node parent=r", *(f"id=g{i} kind=gpu parent=n{i // 8} rated_w=1000 index={i % 8}" for i in range(16))),
    rows(),
)  # fmt: skip


def held_back(submitted_h: Sequence[float], history: Sequence[Done] = ()) -> tuple[Sequence[str], Sequence[str], set[str]]:
    """Jobs of one GPU that were submitted so many hours ago, on eight free GPUs, while the grid allows 13 kW for two hours and
    13.8 kW are drawn: which the lever holds back, which of them fit, and the rules that refuse these."""
    n, state = len(submitted_h), State(WAIT)
    for kind, values in (
        ("gpu", {"power_w": np.repeat([1000.0, 100.0], 8)}),
        ("site", {"facility_power_w": np.array([13_800.0]), "it_power_w": np.array([12_800.0])}),
        ("queue", {"waiting_count": np.array([float(n)])}),
    ):
        state.absorb(Frame(kind, NOW, WAIT.all_rows(kind) if kind == "gpu" else np.zeros(1, np.int32), values), NOW)
    nan, none, now_s = np.full(n, np.nan), np.zeros(n, np.uint8), NOW.timestamp()
    jobs = Jobs(
        [str(i) for i in range(n)], ["j"] * n, ["u"] * n, ["b"] * n, np.full(n, JobState.PENDING, np.uint8),
        np.ones(n, np.int32), now_s - 3600 * np.array(submitted_h, dtype=np.float64), nan, nan, np.full(n, 3600.0), nan,
        np.ones(n, np.uint8), np.empty(0, np.int32), np.empty(0, np.int32), Terms(nan, none, none, none, nan),
    )  # fmt: skip
    request = Request("r", now_s, (Interval(now_s + 120, now_s + 7200, limit_w=13_000.0),))
    queue = QueueNow("slurm", jobs, longest_wait_s=Limits().longest_wait_s)
    call = Call("r", request, NOW, 13_800.0, frozenset(), np.full(16, 1000.0))
    plan = respond().propose(WAIT, state, jobs, replace(no_outlook(), queues=(queue,), call=call), NOW)
    assert plan is not None
    fits = fitting(plan, WAIT, state, (), NOW, Limits(), history, (queue,))
    verdict = guard(fits, WAIT, state, (), NOW, Limits(), history, (queue,))
    return plan.orders[0][1].targets, fits.orders[0][1].targets, {refusal.rule for refusal in verdict.refusals}


def test_one_job_that_can_wait_no_longer_keeps_no_other_from_answering() -> None:
    """Job 7 was submitted 23.5 h ago, and may be held back for 24 h."""
    young = [str(i) for i in range(7)]
    assert held_back([1] * 8) == ([*young, "7"], [*young, "7"], set())
    assert held_back([1] * 7 + [23.5]) == (young, young, set())


def test_one_job_that_was_ordered_a_moment_ago_keeps_no_other_from_answering() -> None:
    just = [Done("3", Verb.BEGIN, NOW - timedelta(minutes=2))]
    asked, fits, rules = held_back([1] * 8, just)
    assert (len(asked), fits, rules) == (8, [job for job in asked if job != "3"], set())


def test_a_pause_and_its_begin_time_are_ordered_together_or_not_at_all() -> None:
    jobs, state = running(NOW.timestamp()), State(SITE)
    queue = QueueNow("slurm", jobs)
    late = replace(jobs, deadline_s=np.array([NOW.timestamp() + 401 * 3600]))  # it has 398 h still to run
    two = tuple(("slurm", orders(verb, ["0"], NOW.timestamp() + 4 * 3600)) for verb in (Verb.PAUSE, Verb.BEGIN))
    plan = replace(a_plan(), request="r", orders=two)
    assert [len(fitting(plan, SITE, state, (), NOW, Limits(), (), (one,)).orders) for one in
            (queue, replace(queue, jobs=late))] == [2, 0]  # fmt: skip


@pytest.mark.parametrize(
    ("charge_frac", "began_frac", "gives_w"),
    [
        ((0.9, 0.9), (0.9, 0.9), {"a": -45_910, "b": -45_910}),
        ((0.3, 0.9), (0.3, 0.9), {"a": -11_478, "b": -80_342}),  # 10 and 70 % over the reserve: one to seven
        ((0.1, 0.9), (0.1, 0.9), {"b": -91_820}),
        ((0.2, 0.9), (0.5, 0.9), {"b": -91_820}),  # has come down to its reserve
        ((np.nan, 0.9), (np.nan, 0.9), {"b": -91_820}),
    ],
)
def test_a_battery_at_its_reserve_gives_nothing_whatever_another_has(charge_frac, began_frac, gives_w) -> None:
    """Two of 100 kW and 200 kWh, asked for 90 kW of 1 MW: with the margin of 0.2 % on the 910 kW at the meter, 91.82 kW."""
    both = ("id=a kind=battery rated_w=100000 rated_kwh=200", "id=b kind=battery rated_w=100000 rated_kwh=200")
    site = build_site("s", "UTC", rows(*both), rows())
    state, now_s, none = State(site), NOW.timestamp(), np.zeros(2)
    seen_ = {"charge_frac": np.array(charge_frac), "power_setpoint_w": none, "power_w": none}
    state.absorb(Frame("battery", NOW, site.all_rows("battery"), seen_), NOW)
    meter = {"facility_power_w": np.array([1e6]), "it_power_w": np.array([8e5])}
    state.absorb(Frame("site", NOW, np.zeros(1, np.int32), meter), NOW)
    request = Request("r", now_s - 3600, (Interval(now_s - 600, now_s + 3600, cut_w=90_000.0),))
    began = dict(zip("ab", began_frac, strict=True))
    call = Call("r", request, NOW, 1e6, frozenset("ab"), np.empty(0), charge_frac=began)
    plan = build().propose(site, state, running(now_s), replace(no_outlook(), call=call), NOW)
    assert plan is not None
    assert {action.asset: action.value for action in plan.actions} == gives_w
    assert guard(plan, site, state, (), NOW, Limits(), ()).allowed


def test_what_one_battery_cannot_give_the_others_do() -> None:
    """10 kW of 3, 1 and 1 parts of energy: 6, 2 and 2 kW; where the first gives 4 kW at most, 4, 3 and 3 kW."""
    of = [Charged(0, "a", 20e3, 5e8, 3e8), Charged(1, "b", 20e3, 5e8, 1e8), Charged(2, "c", 20e3, 5e8, 1e8), Charged(3, "d")]
    assert shared(of, 10e3) == pytest.approx({"a": 6e3, "b": 2e3, "c": 2e3, "d": 0.0})
    assert shared([replace(of[0], power_w=4e3), *of[1:]], 10e3) == pytest.approx({"a": 4e3, "b": 3e3, "c": 3e3, "d": 0.0})
    assert shared(of[3:], 0.0) == {"d": 0.0}
