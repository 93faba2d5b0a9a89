"""Each rule of the guard says no to its own fault, by name, and to nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from energy_house import FAN_LIMIT, LIMIT, NOW, SETPOINT, Physics, a_plan, hall, read
from small import rows

from analytics.alerts import Alert, Phase, Severity
from energy.guard import RULES, Limits, guard
from energy.memory import Memory
from energy.plan import Done, Effect, Plan
from energy.reach import cooled_share
from twin.frame import Frame, frame_of
from twin.load import build_site
from twin.message import Message
from twin.site import Site
from twin.state import State

SITE = hall()
STATE = read(SITE, Physics(), 24.0, 30.0)
GOOD = a_plan(("c1", 31.0), ("c2", 30.5))
STAGED = hall(chillers=3)
REST = a_plan(("pl", 2.0), metric=LIMIT)
SLOW = a_plan(("ct", 0.8), metric=FAN_LIMIT)


def said(plan: Plan = GOOD, state: State = STATE, alerts: Sequence[Alert] = (), **more: Any) -> list[str]:
    """Names of the rules that refuse ``plan``."""
    history = more.pop("history", ())
    verdict = guard(plan, state.site, state, alerts, NOW, Limits(**more), history)
    assert all(str(refusal.why) for refusal in verdict.refusals)  # every message fits its parameters
    assert verdict.allowed == (not verdict.refusals)
    return [refusal.rule for refusal in verdict.refusals]


def staged(power_w: float = 3000.0, over_k: float = 0.2, fan: float = 0.9) -> State:
    """Three chillers on one loop, of which three may run; ``power_w`` of all, evenly, at 2,500 W of rating each; a tower whose
    fan may turn at 0.9 at most."""
    state = read(STAGED, Physics(), 24.0, 30.0, NOW - timedelta(seconds=2))
    state.absorb(Frame("chiller", NOW, STAGED.all_rows("chiller"), {"power_w": np.full(3, power_w / 3)}), NOW)
    loop = {LIMIT: 3.0, "supply_temp_c": 24.0 + over_k, SETPOINT: 24.0}
    state.absorb(frame_of("loop", NOW, 0, **loop), NOW)
    state.absorb(frame_of("tower", NOW, 0, fan_limit_frac=0.9, fan_speed_frac=fan), NOW)
    return state


def alert(asset: str, severity: Severity = Severity.WARNING, phase: Phase = Phase.FIRING) -> Alert:
    return alert_at(SITE, asset, severity, phase)


def alert_at(site: Site, asset: str, severity: Severity = Severity.WARNING, phase: Phase = Phase.FIRING) -> Alert:
    kind = site.kind(asset)
    return Alert("hot", kind, asset, "temp_c", severity, phase, 90.0, 85.0, Message("hot"), "", NOW, NOW, None)


def test_a_sound_plan_passes() -> None:
    assert said() == []


def test_every_rule_refuses_its_own_fault() -> None:
    stale = State(SITE)
    for kind, name, origin, _ in STATE.known():
        gone = timedelta(hours=3) if kind == "gpu" else timedelta()
        values = STATE.newest(kind, name, origin).value
        stale.absorb(Frame(kind, NOW - gone, SITE.all_rows(kind), {name: values}, origin), NOW)
    faults = {
        "stop": said(stop=True),
        "expired": said(replace(GOOD, expires=NOW)),
        "empty": said(a_plan()),
        "uncertain": said(replace(GOOD, effect=Effect(-10.0, -50.0, 5.0, 3600.0))),
        "unknown_asset": said(a_plan(("c9", 31.0))),
        "not_settable": said(a_plan(("r1", 31.0))),
        "twice": said(a_plan(("c1", 31.0), ("c1", 30.5))),
        "locked": said(locked=frozenset({"c1"})),
        "bounds": said(bounds={("cdu", SETPOINT): (20.0, 30.7)}),
        "step": said(a_plan(("c1", 31.01))),
        "dwell": said(history=(Done("c2", SETPOINT, NOW - timedelta(seconds=1799)),)),
        "chiller_dwell": said(REST, staged(), history=(Done("pl", LIMIT, NOW - timedelta(seconds=5399)),)),
        "chillers": said(a_plan(("pl", 0.0), metric=LIMIT), staged()),
        "fans": said(a_plan(("ct", 0.7), metric=FAN_LIMIT), staged()),
        "rate": said(history=[Done(f"x{i}", SETPOINT, NOW - timedelta(minutes=59)) for i in range(23)]),
        "end": said(longest_s=3600.0),
        "stale": said(state=stale),
        "alert": said(alerts=[alert("c1")]),
        "opening": said(alerts=[alert("c1", phase=Phase.PENDING)]),
    }
    assert set(faults) == set(RULES)
    assert {name: found for name, found in faults.items() if set(found) != {name}} == {}


def test_what_nothing_sets_is_refused_where_that_is_asked() -> None:
    can = {"c1": frozenset({SETPOINT}), "c2": frozenset({"pump_speed_frac"})}
    verdict = guard(GOOD, SITE, STATE, (), NOW, Limits(takes=can), ())
    assert [(one.rule, one.why.params["asset"]) for one in verdict.refusals] == [("not_settable", "c2")]
    assert said(takes=can | {"c2": frozenset({SETPOINT})}) == said(takes=None) == []
    assert said(takes={}) == ["not_settable"] * 2


@pytest.mark.parametrize(
    ("most", "power_w", "over_k", "refused"),
    [
        (2.0, 3000.0, 0.2, []),  # two of three for a load of 1.2
        (1.0, 3000.0, 0.2, ["chillers"]),  # too few for it
        (1.0, 600.0, 0.2, ["chillers"]),  # enough, but two that run would stop at once
        (2.5, 3000.0, 0.2, ["chillers"]),  # no number of chillers
        (2.0, 3000.0, 1.1, ["chillers"]),  # plant water is not held
        (3.0, 3000.0, 5.0, []),  # to let more run is always right
        (2.0, np.nan, 0.2, ["chillers"]),  # one of them is silent
    ],
)
def test_chillers_are_held_back_by_what_their_meters_say(
    most: float, power_w: float, over_k: float, refused: list[str]
) -> None:
    assert said(a_plan(("pl", most), metric=LIMIT), staged(power_w, over_k)) == refused


@pytest.mark.parametrize(
    ("limit", "power_w", "over_k", "fan", "refused"),
    [
        (0.8, 3000.0, 0.2, 0.9, []),
        (0.9, 3000.0, 0.2, 0.9, []),  # renewed
        (0.79, 3000.0, 0.2, 0.9, ["fans"]),  # more than a tenth at once
        (0.45, 3000.0, 0.2, 0.9, ["fans"]),  # below half speed
        (0.8, 3000.0, 1.1, 0.9, ["fans"]),  # plant water is not held
        (0.9, 3000.0, 1.1, 0.9, ["fans"]),  # nor is it renewed then
        (1.0, 6500.0, 5.0, 0.9, []),  # to let them turn faster is always right
        (0.8, 6500.0, 0.2, 0.9, ["fans"]),  # chillers have no room for what towers leave them
        (0.8, np.nan, 0.2, 0.9, ["fans"]),  # one of them is silent
        (0.8, 3000.0, 0.2, np.nan, ["stale"]),  # the fan is
    ],
)
def test_fans_are_held_back_while_water_is_held_and_chillers_have_room(
    limit: float, power_w: float, over_k: float, fan: float, refused: list[str]
) -> None:
    assert said(a_plan(("ct", limit), metric=FAN_LIMIT), staged(power_w, over_k, fan)) == refused


@pytest.mark.parametrize("where", ["ct", "ch2", "pl"])
def test_fans_are_left_alone_while_an_alert_stands_at_tower_chillers_or_the_loop(where: str) -> None:
    assert said(SLOW, staged(), alerts=[alert_at(STAGED, where)]) == ["alert"]
    assert said(SLOW, staged(), alerts=[alert_at(STAGED, "c1")]) == []


def test_a_tower_of_which_nobody_knows_what_it_cools_is_left_alone() -> None:
    links = {**STAGED.links, "cools": replace(STAGED.links["cools"], share=np.zeros(len(STAGED.links["cools"].share)))}
    state = staged()
    alone = guard(SLOW, replace(STAGED, links=links), state, (), NOW, Limits(), ())
    assert [refusal.rule for refusal in alone.refusals] == ["fans"]


def test_a_renewed_number_of_chillers_is_no_change() -> None:
    changed, renewed = (Done("pl", LIMIT, NOW - timedelta(minutes=31 + 15 * i), moved=not i) for i in (0, 1))
    keep = a_plan(("pl", 3.0), metric=LIMIT)
    assert said(keep, staged(), history=(changed,)) == []
    assert said(REST, staged(), history=(changed,)) == ["chiller_dwell"]
    assert said(REST, staged(), history=(renewed,)) == []


def test_bounds_of_the_metric_table_hold_whatever_the_operator_wrote() -> None:
    assert set(said(a_plan(("c1", 60.5)), bounds={("cdu", SETPOINT): (0.0, 100.0)})) == {"bounds", "step"}
    assert "bounds" in said(a_plan(("c1", float("nan"))))


def test_dwell_and_rate_forget() -> None:
    long_ago = [Done("c1", SETPOINT, NOW - timedelta(hours=2)) for _ in range(100)]
    assert said(history=long_ago) == []


def test_what_was_done_by_a_clock_that_was_set_back_rests_no_longer_than_its_dwell() -> None:
    """Ten orders of a minute ago, by a clock that was six hours ahead: they were done now, at the latest. Where the clock is
    behind at one look only, they stay as they are."""
    ahead, dwell = NOW + timedelta(hours=6), timedelta(seconds=Limits().dwell_s)
    memory = Memory(done=[Done("c1", SETPOINT, ahead) for _ in range(10)])
    for now, seen in ((ahead, ahead), (NOW - dwell, ahead), (ahead, ahead), (NOW - dwell, ahead), (NOW - dwell, NOW - dwell)):
        memory.forget(now)
        assert {done.time for done in memory.done} == {seen}
    assert said(history=memory.done) == []
    assert said(history=[replace(done, time=done.time + timedelta(seconds=1)) for done in memory.done]) == ["dwell"]


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        (alert("pl"), True),  # one link up
        (alert("r1"), True),  # one link down
        (alert("n1g3"), False),  # a warning deep inside
        (alert("n1g3", Severity.CRITICAL), True),
        (alert("n1g3", Severity.CRITICAL, Phase.PENDING), True),
        (alert("n1g3", Severity.CRITICAL, Phase.RESOLVED), False),
        (alert("c1", Severity.INFO), False),
        (alert("centre", Severity.CRITICAL), True),
        (alert("net", Severity.CRITICAL), False),
        (alert("ch", Severity.WARNING), False),  # two links away
    ],
)
def test_alerts_near_the_asset_count(found: Alert, refused: bool) -> None:
    name = "opening" if found.phase is Phase.PENDING else "alert"
    assert said(a_plan(("c1", 30.5)), alerts=[found]) == [name] * refused


@pytest.mark.parametrize(
    ("metric", "seen_s", "phase", "says"),
    [
        ("refused_flag", 1, Phase.PENDING, ""),
        ("supply_temp_score_ratio", 299, Phase.PENDING, ""),
        ("refused_flag", 300, Phase.PENDING, "Alert hot may be opening on c1, for 300 s so far: c1 is left alone"),
        ("refused_flag", 1, Phase.FIRING, "Alert hot is open on c1: c1 is left alone"),
        ("temp_c", 1, Phase.PENDING, "Alert hot may be opening on c1, for 1 s so far: c1 is left alone"),
    ],
)
def test_what_the_twin_doubts_for_a_moment_holds_back_no_plan_and_what_is_pending_is_said_to_be(
    metric: str, seen_s: float, phase: Phase, says: str
) -> None:
    found = replace(alert("c1", phase=phase), metric=metric, since=NOW - timedelta(seconds=seen_s))
    verdict = guard(a_plan(("c1", 30.5)), SITE, STATE, [found], NOW, Limits(), ())
    assert [str(refusal.why) for refusal in verdict.refusals] == [says] * bool(says)


def test_shares_multiply_along_links_and_add_over_parallel_ones() -> None:
    assets = rows("id=h kind=hall", "id=p kind=loop", "id=a kind=cdu", "id=b kind=cdu", "id=r kind=rack parent=h",
                  "id=n kind=node parent=r", "id=g kind=gpu parent=n", "id=r2 kind=rack parent=h", "id=n2 kind=node parent=r2",
                  "id=g2 kind=gpu parent=n2")  # fmt: skip
    links = rows("from=a to=r relation=cools share=0.75", "from=b to=r relation=cools share=0.25",
                 "from=p to=a relation=cools", "from=p to=b relation=cools")  # fmt: skip
    site = build_site("s", "UTC", assets, links)
    shares = {asset: cooled_share(site, site.position[asset]) for asset in ("p", "a", "b", "r")}
    np.testing.assert_allclose([shares[x] for x in ("p", "a", "b", "r")], [[1, 0], [0.75, 0], [0.25, 0], [0, 0]])
