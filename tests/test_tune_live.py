"""The tuner as a lever on a live site: what it needs, what it says, what it keeps, on a plant of equations of its own."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW, SETPOINT, Physics, hall, read

from energy.guard import Limits, guard
from energy.levers import no_outlook
from energy.levers.tune import ENOUGH, EVERY_S, NEEDS, Tune
from energy.plan import Plan
from energy.response import Params, dew_point_c
from energy.tune.water import dew_point_c as dew_of_bulbs_c
from twin.errors import SourceError
from twin.frame import Floats
from twin.job import no_jobs
from twin.ports import Series
from twin.site import Site
from ui.remembering import remind

SITE = hall(chain=True)
PLANT_C, LOOP_C = 27.0, 32.0
HOT = Physics(wet_c=24.0, leak_w=40.0, humidity_frac=0.4)  # chillers carry a part: warmer plant water pays


def history(physics: Physics, days: int = 4) -> tuple[Floats, dict[tuple[str, str], Floats]]:
    """Half hours of the plant at its own settings, under wet bulbs and loads that come and go."""
    n = round(days * 86_400 / EVERY_S)
    time_s = NOW.timestamp() - EVERY_S * np.arange(n, 0, -1)
    rows = {(kind, name): np.full((n, SITE.count(kind)), np.nan) for kind, names in NEEDS.items() for name in names}
    for i in range(n):
        now = replace(
            physics, wet_c=physics.wet_c - 4 * np.cos(i / 7.6), dynamic_w=physics.dynamic_w * (0.9 + 0.1 * np.sin(i / 5))
        )
        state = read(SITE, now, PLANT_C, LOOP_C)
        for (kind, name), column in rows.items():
            column[i] = state.column(kind, name, NOW)
    return time_s, rows


def proposed(lever: Tune, physics: Physics, minutes: float = 0.0, site: Site = SITE) -> Plan | None:
    now = NOW + timedelta(minutes=minutes)
    return lever.propose(site, read(site, physics, PLANT_C, LOOP_C, now), no_jobs(), no_outlook(), now)


@pytest.fixture(scope="module")
def past() -> tuple[Floats, dict[tuple[str, str], Floats]]:
    return history(HOT)


def taught(past: tuple[Floats, dict[tuple[str, str], Floats]]) -> Tune:
    lever = Tune()
    assert lever.remember(SITE, *past) >= ENOUGH
    return lever


def test_it_watches_first_where_nothing_is_remembered() -> None:
    lever = Tune()
    made = [proposed(lever, HOT, 30.0 * i) for i in range(lever.options.shadow + 1)]
    assert made[:-1] == [None] * lever.options.shadow
    assert made[-1] is not None


def test_a_plan_is_one_a_person_can_read_and_the_plant_confirms_it(past) -> None:  # type: ignore[no-untyped-def]
    plan = proposed(taught(past), HOT)
    assert plan is not None
    assert guard(plan, SITE, read(SITE, HOT, PLANT_C, LOOP_C), (), NOW, Limits(), ()).allowed
    said = str(plan.reason)
    assert "kWh less in 1 h" in said
    assert "Tune plant water to" in said
    aims = {action.asset: action.value for action in plan.actions}
    assert all(abs(value - {"pl": PLANT_C}.get(asset, LOOP_C)) <= 1.0 for asset, value in aims.items())
    before = HOT.solve(PLANT_C, LOOP_C)["facility_w"]
    after = HOT.solve(aims.get("pl", PLANT_C), aims.get("c1", LOOP_C))["facility_w"]
    assert after < before
    assert plan.effect.low_w <= plan.effect.facility_power_w <= plan.effect.high_w < 0


def test_a_plan_stands_until_the_next_decision_and_ends_by_itself(past) -> None:  # type: ignore[no-untyped-def]
    lever = taught(past)
    first, again = proposed(lever, HOT), proposed(lever, HOT, 10.0)
    assert first is not None
    assert again is not None
    assert first.key == again.key
    assert all(action.until <= NOW + timedelta(hours=1) for action in first.actions), "nobody renews it: the plant's own"


def test_what_is_not_surely_a_saving_or_hardly_one_is_not_proposed(past) -> None:  # type: ignore[no-untyped-def]
    """Half a thousandth of the facility's power is the least that a plant is touched for."""
    lever, facility_w = taught(past), float(HOT.solve(PLANT_C, LOOP_C)["facility_w"])
    assert proposed(lever, HOT) is not None
    made = lever._made
    assert made is not None
    assert made.effect is not None
    for gain_frac, high_w, spoken in ((0.0006, -0.1, True), (0.0004, -0.1, False), (0.0006, 0.0, False)):
        lever._made = made._replace(effect=replace(made.effect, facility_power_w=-gain_frac * facility_w, high_w=high_w))
        assert (proposed(lever, HOT, 10.0) is not None) == spoken


def test_room_of_chips_is_that_at_own_settings_whatever_is_in_force_at_the_start(past) -> None:  # type: ignore[no-untyped-def]
    """Begun while coolant is 2 K warmer than it was by itself: chips have as much room at its own as if begun there."""
    room_k = []
    for loop_c in (LOOP_C, LOOP_C + 2.0):
        lever = taught(past)
        lever.propose(SITE, read(SITE, HOT, PLANT_C, loop_c), no_jobs(), no_outlook(), NOW)
        assert lever._physics is not None
        assert lever._physics.own == pytest.approx((PLANT_C, LOOP_C))
        room_k.append(lever._physics.junction_k)
    assert room_k[1] == pytest.approx(room_k[0], abs=1.0), "but for what they leak more while they are warmer"


def test_a_clock_that_leaps_ahead_and_back_holds_up_no_decision(past) -> None:  # type: ignore[no-untyped-def]
    """Ahead by an hour at the second look, and right again at the third, ten minutes after the first."""
    lever = taught(past)
    decided, ends = [], []
    for minutes in (0.0, 65.0, 10.0, 20.0, 40.0):
        plan = proposed(lever, HOT, minutes)
        assert plan is not None
        assert lever.tuner is not None
        decided.append(lever.tuner.learned["it"].count)
        ends.append({round((action.until - NOW).total_seconds() / 60 - minutes) for action in plan.actions})
    assert np.diff(decided).tolist() == [1, 1, 0, 1], "at once when it is right again, and from there every half hour"
    assert ends == [{60}, {60}, {60}, {50}, {60}], "and none of its orders lasts longer than an hour from now"


def test_what_is_held_without_a_move_is_renewed_before_it_ends(past) -> None:  # type: ignore[no-untyped-def]
    """Twelve hours of steady weather with every plan carried out: the plant arrives where nothing better is in reach, and what
    was ordered is ordered again before it goes back."""
    lever, now_c, until, stays = taught(past), {"pl": PLANT_C, "c1": LOOP_C}, {}, 0
    own = dict(now_c)
    for i in range(24):
        now = NOW + timedelta(seconds=EVERY_S * i)
        assert all(end > now for end in until.values()), f"an order ended at decision {i} though the tuner still wants it"
        state = read(SITE, HOT, now_c["pl"], now_c["c1"], now)
        plan = lever.propose(SITE, state, no_jobs(), no_outlook(), now)
        assert plan is not None
        assert guard(plan, SITE, state, (), now, Limits(), ()).allowed
        moved = {action.asset: action.value for action in plan.actions if abs(action.value - now_c[action.asset]) > 0.05}
        stays += not moved
        assert bool(moved) == str(plan.reason).startswith("Tune")
        now_c |= {action.asset: action.value for action in plan.actions}
        until = {action.asset: action.until for action in plan.actions}
        assert {name for name in own if abs(now_c[name] - own[name]) > 0.05} <= set(until), "each one that is held"
    assert stays > 6


def test_what_is_silent_or_stale_gets_no_plan(past) -> None:  # type: ignore[no-untyped-def]
    lever = taught(past)
    assert proposed(lever, HOT) is not None
    late = NOW + timedelta(minutes=45)
    old = read(SITE, HOT, PLANT_C, LOOP_C)
    assert lever.propose(SITE, old, no_jobs(), no_outlook(), late) is None
    assert proposed(taught(past), HOT, site=hall(chain=True)) is not None
    assert taught(past).propose(SITE, old, no_jobs(), no_outlook(), late) is None, "not even started on old readings"


def test_humid_air_keeps_water_above_its_dew_point() -> None:
    """Chips that leak much want cold water; the air allows only what stays over its dew point."""
    humid = Physics(wet_c=8.0, leak_w=90.0, humidity_frac=0.9)
    dew_c = dew_point_c(humid.wet_c + 4, humid.humidity_frac)
    plant_c = dew_c + Params().dew_margin_k + 0.4
    lever = Tune()
    for i in range(12):
        now = NOW + timedelta(minutes=30 * i)
        plan = lever.propose(SITE, read(SITE, humid, plant_c, 26.0, now), no_jobs(), no_outlook(), now)
        wet_dew_c = float(dew_of_bulbs_c(np.asarray(humid.wet_c + 4), np.asarray(humid.wet_c)))
        for action in plan.actions if plan else ():
            assert action.value >= min(plant_c, wet_dew_c + Params().dew_margin_k)


def test_the_dew_point_of_two_bulbs_is_that_of_humid_air() -> None:
    """WMO-No. 8: 20 °C dry and 15 °C wet are 11.6 °C of dew point (psychrometric tables); equal bulbs are saturated."""
    assert float(dew_of_bulbs_c(np.asarray(20.0), np.asarray(15.0))) == pytest.approx(11.6, abs=0.2)
    assert float(dew_of_bulbs_c(np.asarray(12.0), np.asarray(12.0))) == pytest.approx(12.0, abs=0.01)


class _Store:
    """A store that knows the past, or none."""

    def __init__(self, past: tuple[Floats, dict[tuple[str, str], Floats]] | None) -> None:
        self.past = past

    def series(self, kind, names, start, end, step_s, **more):  # type: ignore[no-untyped-def]
        if self.past is None:
            raise SourceError("store: does not answer")
        return Series(self.past[0], SITE.all_rows(kind), {name: self.past[1][kind, name] for name in names})


def test_a_start_reminds_it_of_the_past_and_a_store_that_is_dead_is_no_matter(past) -> None:  # type: ignore[no-untyped-def]
    lever = Tune()
    assert remind([lever], SITE, _Store(past), NOW) >= ENOUGH  # type: ignore[arg-type]
    assert proposed(lever, HOT) is not None, "at once, by what it remembers"
    assert remind([Tune()], SITE, _Store(None), NOW) == 0  # type: ignore[arg-type]
    assert SETPOINT in NEEDS["cdu"]
