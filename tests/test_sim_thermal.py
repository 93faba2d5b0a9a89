"""The water by itself, on a plant that always gives the same: what bodies hold, where rooms come to rest, what pumps and fans
add, what valves let through, what becomes of chips that get too hot. Numbers by hand; leakage is off where it is not said."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.small import rows
from twin.coolants import heat_jpkgk
from twin.frame import Floats
from twin.load import build_site
from twin.params import Params
from twin.sim.circuit import SECONDARY_C, circuit_of
from twin.sim.facility import Open
from twin.sim.record import Record
from twin.sim.reject import Air
from twin.sim.setting import Setting
from twin.sim.thermal import Water

P = replace(Params(), loops=replace(Params().loops, leak_per_k=0.0))
LEAKY = Params()
HEAT_JPKGK = float(heat_jpkgk("water", np.array(SECONDARY_C)))
INF = np.full(2, np.inf)
# r1: 100 kW, 80 in liquid at 12 and 4 kW/K, twice what is usual, 20 in the air of h, which w cools; r2: 40 kW in the air of g
LINES = ["id=h kind=hall", "id=g kind=hall", "id=a kind=crah parent=g", "id=w kind=loop", "id=v kind=loop", "id=t kind=tower"]
LINES += ["id=k kind=chiller", "id=c kind=cdu coolant=water", "id=d kind=cdu coolant=water", "id=p kind=pump"]
LINES += [f"id=r1 kind=rack parent=h liquid_frac=0.8 rated_kgps={16e3 / HEAT_JPKGK}", "id=r2 kind=rack parent=g liquid_frac=0"]
LINES += ["id=b kind=loop", "id=bb kind=loop"]
PIPES = "t w, k v, w c, w d, c r1 0.25, d r1 0.75, v a"
DEEP = "t w, k v, w c, w b, b bb, bb d, c r1 0.25, d r1 0.75, v a"  # loops in order: w, b, bb, v
RACK_W = np.array([1e5, 4e4])


def water(
    params: Params = P,
    apart_w: float = 0.0,
    heat: tuple[float, ...] = (0.0, 0.0, 0.0),
    plan: str = PIPES,
    lines: list[str] = LINES,
    **held: object,
) -> Water:
    """In its first setting. ``heat``: how far chips lie above coolant in full and idle [K], and what of power follows load;
    ``plan``: what of ``lines`` cools what."""
    ends = [pipe.split() for pipe in plan.split(", ")]
    links = [f"from={a} to={b} relation=cools" + (f" share={share[0]}" if share else "") for a, b, *share in ends]
    c = circuit_of(build_site("x", "UTC", rows(*lines), rows(*links)), RACK_W, params)
    loop_w = 2000.0 * (np.arange(len(c.loop_at)) == 0)
    plant = SimpleNamespace(
        apart_room_w=np.array([apart_w, 0.0]),
        prepare=lambda air, setting: None,
        chip_rise_k=lambda rack_w, setting: np.full((len(rack_w), 2), heat[0]),
        idle_rise_k=lambda setting: np.full(2, heat[1]),
        moving_frac=lambda rack_w: np.full((len(rack_w), 2), heat[2]),
        reject=lambda p, t, w, back, chilled, h: (10.0, GOAL_C[p] + 3, GOAL_C[p], chilled + 1.0),
    )
    pumps = (np.array([100.0, 100.0]), np.array([1000.0, 1000.0]))
    made = Water(c, params, pumps, np.array([800.0, 1600.0]), loop_w, plant)  # type: ignore[arg-type]
    made.begin(setting(made, **held), np.array([20e3, 60e3]))
    return made


GOAL_C = (28.0, 18.0)  # of w and of v


def setting(made: Water, **held: object) -> Setting:
    usual = {
        "branch_wpk": made.c.branch_wpk, "branch_frac": np.ones(2), "speed_frac": np.full(2, 0.5), "running_frac": np.ones(2),
        "setpoint_c": np.array([31.0, 33.0]), "conductance_frac": np.ones(2), "stuck_frac": np.full(2, np.nan),
        "open": Open(INF, INF, np.full(len(made.c.loop_at), np.inf)), "room_frac": np.ones(2), "alive": {},
        "goal_c": np.array(GOAL_C)[: len(made.c.plant_loop)], "fan_limit_frac": np.ones(2), "out": np.zeros(0, dtype=np.bool_),
    }  # fmt: skip
    return Setting(**(usual | held))  # type: ignore[arg-type]


def step(made: Water, steps: int = 1, step_s: float = 1.0, rack_w: Floats = RACK_W) -> Record:
    return made.advance(np.tile(rack_w, (steps, 1)), Air(np.zeros(steps), np.zeros(steps)), 0.0, step_s)


def rest(made: Water, rack_w: Floats = RACK_W) -> Record:
    """One more minute once nothing moves."""
    assert made.settle(rack_w, Air(np.zeros(1), np.zeros(1)))
    record = step(made, 1, 60.0, rack_w)
    assert np.abs(record.gap_w).max() < 1e-3
    return record


def test_the_first_setting_begins_where_heat_passes_steadily_and_later_ones_move_nothing() -> None:
    """20 kW in 4 kW/K and 60 kW in half of 12 kW/K. Pumps at half speed and at 0.8, of the latter one of two: P0 + P·n³."""
    made = water(branch_wpk=np.array([4e3, 6e3]), speed_frac=np.array([0.5, 0.8]), running_frac=np.array([1.0, 0.5]))
    assert made.c.branch_wpk == pytest.approx([4e3, 12e3])
    assert made.spun_w == pytest.approx([100 + 125, (100 + 512) / 2])
    for _ in range(2):
        assert (made.supply_c.tolist(), made.branch_c, made.return_c) == (
            [31, 33],
            pytest.approx([36, 43]),
            pytest.approx([36, 43]),
        )
        assert (made.buffer_c.tolist(), made.loop_supply_c.tolist()) == ([28, 18], [28, 18])
        made.begin(setting(made, setpoint_c=np.full(2, 40.0), goal_c=np.full(2, 10.0)), np.zeros(2))


def test_bodies_hold_seconds_of_design_flow() -> None:
    """Racks 20 s and 15 of metal, return and supply 20 s, each leg 60 s, buffers 180 s; a room 240 s of air at 12 K of rise. w
    passes 8 kW/K and 2 for the air of h, v 4. In J, at 1 K for the first of all, 2 K for the next."""
    made = water()
    first, flow = np.array([4e3, 12e3]), np.array([10e3, 4e3])
    for held, name, values in (
        (35 * first, "branch_c", (1.0, 2.0)), (20 * first, "return_c", (3.0, 5.0)), (20 * first, "supply_c", (7.0, 4.0)),
        (60 * flow, "loop_return_c", (6.0, 2.0)), (60 * flow, "loop_supply_c", (9.0, 8.0)),
        (180 * flow, "buffer_c", (1.0, 3.0)), (np.array([0.0, 4e4 / 12 * 240]), "room_c", (5.0, 4.0)),
    ):  # fmt: skip
        for one in ("branch_c", "return_c", "supply_c", "loop_return_c", "loop_supply_c", "buffer_c", "room_c"):
            setattr(made, one, np.array(values) if one == name else np.zeros(2))
        assert made.stored_j() == pytest.approx(held @ values), name


# --- rooms ------------------------------------------------------------------------------------------------------------


def test_a_room_rests_where_its_coil_takes_what_racks_and_fans_give() -> None:
    """A coil of 1.3 times 40 kW over 32 - 18 K. Its control asks for the heat of racks and for what lies over 32 °C in 120 s,
    which is then what fans give, by the 2.6th power."""
    made = water()
    share = float(rest(made).room_air_frac[0, 1])
    fan_w = 1600 * share**2.6
    assert share * 1.3 * 4e4 / 14 * (made.room_c[1] - 18) == pytest.approx(4e4 + fan_w, rel=1e-6)
    assert made.room_c[1] - 32 == pytest.approx(120 * fan_w / (4e4 / 12 * 240), rel=1e-3)
    assert made.room_c[0] == 32, "of h there is no air temperature"


@pytest.mark.parametrize(("rack_w", "running", "share"), [(2e3, 1.0, 0.2), (4e4, 0.5, 0.5)])
def test_fans_turn_at_a_least_and_as_far_as_they_run(rack_w: float, running: float, share: float) -> None:
    made = water(room_frac=np.array([1.0, running]))
    record = rest(made, np.array([1e5, rack_w]))
    assert record.room_air_frac[0, 1] == pytest.approx(share)
    assert made.room_c[1] == pytest.approx(18 + (rack_w + 1600 * share**2.6) / (share * 1.3 * 4e4 / 14), abs=1e-3)


def test_a_coil_is_not_counted_on_for_more_than_four_kelvin_allow() -> None:
    """Chilled water of 30 °C against air of 32."""
    made = water(replace(P, plant=replace(P.plant, chilled_c=30.0)))
    assert made.coil_wpk[1] == pytest.approx(1.3 * 4e4 / 4)


@pytest.mark.parametrize(("room_c", "flow_wpk"), [(60.0, 1.35 * 4e3 + 0.05 * 4e3), (10.0, 0.05 * 4e3)])
def test_a_room_takes_water_as_far_as_its_valves_let_it_and_none_that_would_warm_it(room_c: float, flow_wpk: float) -> None:
    """Design is 4 kW/K, a twentieth of it goes round in any case."""
    made = water()
    made.room_c[:] = room_c
    assert step(made).loop_wpk[0, 1] == pytest.approx(flow_wpk)


# --- where heat goes --------------------------------------------------------------------------------------------------


def test_a_plant_without_air_handlers_gets_what_fans_of_racks_blow_as_well() -> None:
    made = rest(water(plan=PIPES.removesuffix(", v a"), lines=[line for line in LINES if "crah" not in line]))
    pumps_w = 2 * 225 + 2000 * (made.loop_wpk[0, 0] / 14e3) ** 3
    assert made.plant_wpk[0, 0] * (made.plant_return_c[0, 0] - 28) == pytest.approx(1.4e5 + 2400 + pumps_w, rel=1e-5)


def test_what_a_plant_gets_is_it_fans_and_pumps() -> None:
    """Half of 100 kW, and 5 kW apart in hall h, whose fans turn with its 15 of 20 kW; pumps of CDUs, and of w by the cube."""
    made = water(apart_w=5e3)
    record = rest(made, np.array([5e4, 0.0]))
    got_w = record.plant_wpk[0] * (record.plant_return_c[0] - GOAL_C)
    pumps_w = 2 * 225 + 2000 * (record.loop_wpk[0, 0] / 10e3) ** 3
    assert got_w[0] == pytest.approx(5e4 + 5e3 + 800 * 15 / 20 + pumps_w, rel=1e-5)
    assert record.station_w[0] == pytest.approx([10e3 + 225, 30e3 + 225], rel=1e-5)
    assert made.supply_c == pytest.approx([31, 33], abs=1e-3)
    rest(made, np.array([5e3, 0.0]))
    assert made.supply_c == pytest.approx([31, 33], abs=1e-3), "at a twentieth of its load too"


def test_leakage_counts_from_design_and_what_liquid_does_not_take_goes_to_the_room() -> None:
    """A thousandth a kelvin over 38 °C: coolant of 51 and of 43 °C, a quarter and three quarters of the rack."""
    made = water(LEAKY, branch_wpk=np.array([1e3, 6e3]))
    record = step(made)
    assert record.factor[0] == pytest.approx([1.013, 1.005])
    it_w = 1e5 * (0.25 * 1.013 + 0.75 * 1.005)
    lost_w = record.plant_wpk[0] @ (record.plant_return_c[0] - GOAL_C)
    fans_w = 800 * it_w / 1e5 + 1600 * record.room_air_frac[0, 1] ** 2.6
    pumps_w = 2 * 225 + 2000 * (record.loop_wpk[0, 0] / made.c.loop_wpk[0]) ** 3
    assert record.moved_w[0] == pytest.approx(it_w + 4e4 + fans_w + pumps_w - lost_w, rel=1e-6)


def test_long_steps_are_divided_and_means_are_of_all_parts() -> None:
    """At most a minute, and nine tenths of what a buffer holds at 1.4 of its flow."""
    made = water()
    assert [made._divided(one) for one in (1.0, 60.0, 61.0, 300.0)] == [1, 1, 2, 5]
    quick = water(replace(P, loops=replace(P.loops, buffer_s=14.0)))
    assert [quick._divided(one) for one in (8.9, 9.1, 60.0)] == [1, 2, 7]
    assert [step(water(), *two).chilled_w[:, 0].tolist() for two in ((3, 60.0), (1, 120.0))] == [[1, 2, 3], [1.5]]
    made = water(heat=(62.0, 30.0, 0.6))
    one, other = rest(made), step(made, 1, 300.0)
    assert (one.free_c.tolist(), one.out_c.tolist()) == ([[31, 21]], [[28, 18]])
    names = "slowed factor station_w primary_wpk loop_wpk room_air_frac plant_wpk plant_return_c reused_w free_c out_c"
    for name in names.split():
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, err_msg=name)


# --- valves and pumps -------------------------------------------------------------------------------------------------


def test_valves_follow_with_their_lag_and_a_stuck_one_stays() -> None:
    """A setpoint below what water can reach: the way to fully open is made by 1 - e^(-h/30 s) in each step."""
    made = water(setpoint_c=np.full(2, 20.0), stuck_frac=np.array([np.nan, 0.4]))
    most, begin = made.curves.reach_most[0], made.reach[0]
    record = step(made, 1, 15.0)
    assert made.reach[0] == pytest.approx(begin + (most - begin) * (1 - np.exp(-0.5)))
    assert record.primary_wpk[0, 1] == pytest.approx(0.4 * 1.35 * 6e3)
    assert made.passing[1] == pytest.approx(made.curves.reach(np.array([0.4, 0.4]))[1])


def test_a_loop_that_has_less_gives_each_what_it_has_with_all_valves_open() -> None:
    """Of w 500 W/K for one CDU and more than it asks for to the other, 300 to the hall; nothing goes through bypasses. No
    stream leaves an exchanger warmer than the other comes in."""
    few = Open(np.array([500.0, 9e3]), np.array([300.0, 9e3]), np.array([2e3, 9e3]))
    made = water(open=few, setpoint_c=np.array([29.0, 33.0]))
    record = step(made, 200, 30.0, np.array([1e5, 4e4]))
    first, other = record.primary_wpk[-1]
    assert first == 500
    assert other < 0.9 * 1.35 * 6e3
    assert record.loop_wpk[-1, 0] == pytest.approx(first + other + 300)
    assert record.loop_wpk[-1, 1] > 4e3, "v has enough"
    assert record.station_w[-1, 0] == pytest.approx(500 * (record.return_c[-1, 0] - record.loop_c[-1, 0]), rel=0.02)
    assert record.station_w[-1, 0] < 500 * (record.return_c[-1, 0] - record.loop_c[-1, 0])


def test_valves_that_need_no_water_shut_and_let_none_back() -> None:
    made = water()
    made.begin(setting(made, setpoint_c=np.full(2, 60.0)), np.zeros(2))
    record = step(made, 12, 15.0)
    assert ((record.primary_wpk >= 0) & (made.reach >= 0)).all()
    assert record.primary_wpk[-1] == pytest.approx(0, abs=20.0)


def test_loops_below_carry_the_flow_and_the_temperature_of_those_above_them() -> None:
    """Each leg holds 60 s of its flow: what the buffer is warmer comes down as g / (1 + g) of it in each, g = h·flow / held."""
    made = water(plan=DEEP)
    made.buffer_c += 10.0
    record = step(made, 1, 6.0)
    least = 0.05 * made.c.loop_wpk
    below = record.primary_wpk[0, 1] + least[2]
    flow = [record.primary_wpk[0, 0] + 2e3 * 1.04 + least[0] + below + least[1], below + least[1], below]
    assert record.loop_wpk[0, :3] == pytest.approx(flow)
    g = 6.0 * np.array(flow) / (60 * np.array([10e3, 6e3, 6e3]))
    assert record.loop_c[0, :3] - 28 == pytest.approx(10 * np.cumprod(g / (1 + g)))
    rest(made)


@pytest.mark.parametrize(("short", "first"), [(0, True), (1, False), (2, False)])
def test_what_a_loop_has_not_those_below_it_have_not_either(short: int, first: bool) -> None:
    """c hangs on the first of three loops and d on the last: at most 100 and 300 W/K where a loop above is short; hall h takes
    the 2.08 kW/K that it wants, and not all it could."""
    most = np.full(4, np.inf)
    most[short] = 1.0
    record = step(water(plan=DEEP, open=Open(np.array([100.0, 300.0]), np.array([9e3, 9e3]), most)))
    assert (record.primary_wpk[0, 0] == 100) == first
    assert record.primary_wpk[0, 1] == 300
    if first:
        assert record.loop_wpk[0, :3] == pytest.approx([100 + 300 + 2080, 300, 300])


# --- chips ------------------------------------------------------------------------------------------------------------


def test_chips_slow_down_to_their_limit_and_no_further_than_their_lowest_clock() -> None:
    """At 87 °C: 30 K idle and 60 in full over coolant of 36 and 38 °C leave 21 and 19 of 30; six tenths of power follow."""
    slow = np.array([21 / 30, 19 / 30])
    made = water(heat=(60.0, 30.0, 0.6))
    assert made.branch_c == pytest.approx([36, 38])
    record = step(made)
    assert record.slowed[0] == pytest.approx(1 - slow)
    assert record.factor[0] == pytest.approx(1 - 0.6 * (1 - slow))
    assert step(water(heat=(48.0, 30.0, 0.6))).slowed.tolist() == [[0, 0]]
    assert step(water(heat=(50.0, 30.0, 0.6))).slowed[0] == pytest.approx([0, 1 / 20]), "each branch by itself"
    warm = water(heat=(70.0, 55.0, 0.6))  # idle over its limit already
    assert step(warm).slowed[0] == pytest.approx([0.9, 0.9])
    assert not warm.trips


def test_chips_that_get_too_hot_all_the_same_switch_off_once_and_come_back_with_a_new_beginning() -> None:
    """36 + 62 and a tenth of 20 K are over 97 °C, 36 + 59 and 2 are not."""
    assert step(water(heat=(79.0, 56.5, 0.6)), 2, 10.0).factor[1] == pytest.approx([1 - 0.6 * 0.9] * 2)
    made = water(heat=(82.0, 62.0, 0.6))
    record = step(made, 3, 10.0)
    assert made.trips == [(10.0, 0)], "one rack on two units, at the end of the step"
    assert not record.factor.any()
    step(made)
    assert len(made.trips) == 1
    made.settle(RACK_W, Air(np.zeros(1), np.zeros(1)))
    assert (made.trips, made.on.tolist()) == ([], [1, 1])


def test_water_settles_in_the_air_of_the_first_moment() -> None:
    made, seen = water(), []
    made.plant.prepare = lambda air, setting: seen.append((set(air.wet_bulb_c), set(air.dry_bulb_c)))  # type: ignore[method-assign]
    made.settle(RACK_W, Air(np.array([10.0, 99.0]), np.array([20.0, 99.0])))
    assert seen[0] == seen[-1] == ({10.0}, {20.0})
