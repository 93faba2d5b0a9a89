"""Pressures and the water: closed forms, conservation, limits, and what a step size may not change."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.small import rows
from twin.coolants import heat_jpkgk
from twin.errors import ConfigError, SiteError
from twin.frame import Floats
from twin.load import build_site
from twin.params import Params, PlantParams
from twin.physics.coolant import pg25_density_kgpm3
from twin.sim.circuit import SECONDARY_C, circuit_of
from twin.sim.network import Network, solve_network
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.scenario import Change, Fault, Scenario
from twin.sim.telemetry import Telemetry
from twin.simulate import Trajectory, simulate
from twin.site import Site

# --- pressures ------------------------------------------------------------------------------------------------------


def pumps_on_a_pipe(speeds: list[float]) -> Network:
    """Pumps of 10 kg/s at 200 kPa side by side, on a pipe that takes 20 kg/s at 200 kPa."""
    n = len(speeds)
    gain = np.array([1.25 * 2e5 * v * v for v in speeds] + [0.0])
    curve = [0.25 * 2e5 / 100] * n
    return Network(
        2,
        np.array([0] * n + [1], dtype=np.int32),
        np.array([1] * n + [0], dtype=np.int32),
        np.array([*curve, 2e5 / 400]),
        gain,
        np.array([True] * n + [False]),
        np.array([0], dtype=np.int32),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parallel_pumps_agree_with_the_closed_form(count: int) -> None:
    """Where 1.25·H - 0.25·H·(m / 10 N)² meets H·(m / 20)²: two pumps give 20 kg/s, one alone 15.8."""
    flow, _ = solve_network(pumps_on_a_pipe([1.0] * count))
    assert flow[-1] == pytest.approx(np.sqrt(1.25 / (0.25 / (10 * count) ** 2 + 1 / 20**2)), rel=1e-9)
    assert flow[-1] == pytest.approx(flow[:-1].sum(), rel=1e-9)


def test_a_slow_pump_is_shut_off_by_its_check_valve() -> None:
    flow, _ = solve_network(pumps_on_a_pipe([1.0, 0.5]))
    assert flow[1] == 0
    assert flow[0] == pytest.approx(15.811388, rel=1e-6)


def test_a_bridge_is_solved_like_by_hand() -> None:
    """A balanced Wheatstone bridge carries nothing across; out of balance it flows towards the easier way."""

    def across(k: float) -> float:
        tail, head = np.array([0, 1, 1, 2, 3, 2]), np.array([1, 2, 3, 0, 0, 3])
        way = np.array([1e-6, 1.0, 1.0, 1.0, k, 1.0])
        net = Network(
            4, tail.astype(np.int32), head.astype(np.int32), way, np.array([100.0, 0, 0, 0, 0, 0]), np.zeros(6, dtype=np.bool_),
            np.array([0], dtype=np.int32),
        )  # fmt: skip
        return float(solve_network(net)[0][5])

    assert across(1.0) == pytest.approx(0.0, abs=1e-5)
    assert across(0.25) > 0.1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 50.0), min_size=1, max_size=8), st.floats(0.3, 1.0))
def test_branches_share_by_their_conductance(ways: list[float], speed: float) -> None:
    """Mass is conserved and the pressure over every branch is the same."""
    n = len(ways)
    net = Network(
        2,
        np.array([0] + [1] * n, dtype=np.int32),
        np.array([1] + [0] * n, dtype=np.int32),
        np.array([0.3, *ways]),
        np.array([1000.0 * speed**2] + [0.0] * n),
        np.zeros(n + 1, dtype=np.bool_),
        np.array([0], dtype=np.int32),
    )
    flow, pressure = solve_network(net)
    assert flow[0] == pytest.approx(flow[1:].sum(), rel=1e-8)
    np.testing.assert_allclose(np.array(ways) * flow[1:] ** 2, pressure[1], rtol=1e-6)


def test_a_negative_resistance_is_named() -> None:
    net = pumps_on_a_pipe([1.0])
    with pytest.raises(ConfigError, match=r"loop x: .*negative or unknown resistance"):
        solve_network(replace(net, resistance=-net.resistance), "loop x")


# --- the water ------------------------------------------------------------------------------------------------------

ASSETS = [
    "id=h kind=hall", "id=sky kind=weather", "id=w kind=loop", "id=c kind=cdu parent=h", "id=t kind=tower",
    "id=ch kind=chiller", "id=r1 kind=rack parent=h rated_w=100000 liquid_frac=1",
    "id=r2 kind=rack parent=h rated_w=50000 liquid_frac=1",
    "id=p1 kind=pump parent=w", "id=p2 kind=pump parent=w", "id=air kind=crah parent=h",
]  # fmt: skip
FAULTS = [("t", "trip"), ("c", "trip"), ("w", "trip"), ("p1", "trip"), ("r1", "stuck"), ("c", "foul"), ("air", "trip")]
LINKS = ["from=w to=c", "from=c to=r1", "from=c to=r2", "from=t to=ch", "from=ch to=w", "from=t to=w", "from=w to=air"]
PARAMS = Params(plant=PlantParams(supply_c=30.0, chilled_c=26.0))


def plant(*left_out: str, more: tuple[str, ...] = (), links: tuple[str, ...] = ()) -> Site:
    assets = [line for line in (*ASSETS, *more) if line.split()[0].removeprefix("id=") not in left_out]
    kept = [line for line in (*LINKS, *links) if not {part.split("=")[1] for part in line.split()} & set(left_out)]
    return build_site("x", "UTC", rows(*assets), rows(*(f"{line} relation=cools" for line in kept)))


def weather(wet_c: float) -> Outlook:
    time_s = np.array([0.0, 1e6])
    return outlook_of({"wet_bulb_c": Line(time_s, np.full(2, wet_c)), "dry_bulb_c": Line(time_s, np.full(2, wet_c + 5))})


def load(*power_w: float, hours: float = 4.0, change: Floats | None = None) -> Telemetry:
    time_s = np.array([0.0, hours * 3600 / 2, hours * 3600])
    table = np.tile(np.array(power_w), (3, 1))
    return Telemetry(time_s, ("r1", "r2")[: len(power_w)], table if change is None else change)


def run(
    site: Site, wet_c: float = 10.0, step_s: float = 15.0, work: Telemetry | None = None, hours: float = 2.0, **scenario: object
) -> Trajectory:
    plan = Scenario(**scenario)  # type: ignore[arg-type]
    return simulate(site, work or load(1e5, 5e4), PARAMS, weather(wet_c), hours * 3600.0, step_s, scenario=plan)


def test_what_goes_in_comes_out_at_steady_load() -> None:
    """Racks, pumps and fans against what the tower gives away, at the end of two hours."""
    t = run(plant()).series
    last = slice(-100, None)
    inside = t["it_power_w"] + t["cdu_pumps_w"] + t["pumps_w"] + t["air_handlers_w"]
    np.testing.assert_allclose(t["rejected_w"][last], inside[last], rtol=0.02)
    assert t["supply_c"][-1] == pytest.approx(30.0, abs=0.05)


@pytest.mark.parametrize("step_s", [5.0, 60.0, 300.0])
def test_the_step_does_not_change_the_answer(step_s: float) -> None:
    fine, other = run(plant(), 12.0, 15.0).summary, run(plant(), 12.0, step_s).summary
    for name in ("water_kg", "it_energy_kwh", "return_max_c"):
        a, b = fine[name], other[name]
        assert a is not None
        assert b == pytest.approx(a, rel=0.015), name


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(st.floats(1e3, 1e5), min_size=6, max_size=6), st.floats(-10, 28), st.sampled_from([20.0, 60.0, 600.0]),
    st.sampled_from(FAULTS),
)  # fmt: skip
def test_energy_is_conserved_through_any_fault(
    powers: list[float], wet_c: float, step_s: float, fault: tuple[str, str]
) -> None:
    """``simulate`` itself fails where a chunk is out of balance; the gap that it reports is rounding."""
    work = Telemetry(np.array([0.0, 2000.0, 4000.0]), ("r1", "r2"), np.array(powers).reshape(3, 2))
    made = simulate(
        plant(), work, PARAMS, weather(wet_c), 6000.0, step_s, scenario=Scenario(faults=[Fault(*fault, 1000.0, 3000.0, 0.4)])
    )
    assert (made.summary["balance_gap_w"] or 0.0) < 1e-2
    for name in (
        "it_power_w",
        "pumps_w",
        "fans_w",
        "chillers_w",
        "rejected_w",
        "supply_c",
        "return_c",
        "junction_c",
        "water_kgps",
    ):
        assert np.isfinite(made.series[name]).all(), name


@pytest.mark.parametrize("without", [(), ("ch",)])
def test_a_limit_of_fans_costs_chillers_or_warms_the_water_and_conserves_energy(without: tuple[str, ...]) -> None:
    """Where compressors can take what fans leave, they do; where none are, water drifts, as it would."""
    own, held = (run(plant(*without), 20.0, changes=[Change("tower", "fan_limit_frac", most, 600.0)]) for most in (1.0, 0.5))
    assert (held.summary["balance_gap_w"] or 0.0) < 1e-2
    assert own.series["fans_w"][-1] > 2 * held.series["fans_w"][-1]
    if without:
        assert held.series["plant_supply_c"][-1] > own.series["plant_supply_c"][-1] + 1.0
    else:
        assert held.series["chillers_w"][-1] > own.series["chillers_w"][-1] + 100.0
        assert held.series["plant_supply_c"][-1] == pytest.approx(own.series["plant_supply_c"][-1], abs=0.2)


def test_power_and_temperature_go_the_right_way() -> None:
    cool, warm = run(plant("ch"), 8.0), run(plant("ch"), 26.0)
    assert cool.series["fans_w"][-1] < warm.series["fans_w"][-1]
    assert cool.series["plant_supply_c"][-1] < warm.series["plant_supply_c"][-1]
    half = run(plant("ch"), 8.0, work=load(5e4, 2.5e4))
    assert half.series["return_c"][-1] < cool.series["return_c"][-1]
    assert half.series["fans_w"][-1] < cool.series["fans_w"][-1]


def test_economiser_modes_in_their_order() -> None:
    """At a wet bulb where towers pre-cool: integrated needs less chiller than either-or, and that no more than none."""
    chill = {
        mode: float(run(plant(), 22.0, economiser=mode).series["chillers_w"][-1]) for mode in ("integrated", "switched", "none")
    }
    assert 0 < chill["integrated"] < 0.9 * chill["switched"]
    assert chill["switched"] == pytest.approx(chill["none"])
    assert run(plant(), 2.0).series["chillers_w"][-1] == 0
    assert float(run(plant(), 2.0, economiser="none").series["chillers_w"][-1]) > 0


def test_a_pump_that_trips_is_as_fast_as_the_closed_form_says() -> None:
    """A CDU without flow: coolant warms by Q/C, so that 50 °C come (50 - T)·C/Q after the trip."""
    work = load(1e5, 5e4)
    made = run(plant(), step_s=1.0, work=work, hours=0.5, faults=[Fault("c", "trip", 1200.0)])
    limit = next(one for one in made.limits if one["what"] == "return" and one["asset"] == "r1")
    before = float(made.series["rack_coolant_c"][590])
    stored = (PARAMS.loops.rack_s + PARAMS.loops.metal_s) * 1e5 / PARAMS.plant.range_k
    assert limit["after_fault_s"] == pytest.approx((50.0 - before) * stored / 1e5, rel=0.05)
    assert made.summary["time_to_limit_s"] == pytest.approx(limit["after_fault_s"], abs=3.0)
    off = [one for one in made.limits if one["what"] == "switched off"]
    assert {one["asset"] for one in off} == {"r1", "r2"}
    assert made.series["it_power_w"][-1] < 1.0, "what is too hot switches off"


def test_transport_delay_is_held_mass_over_flow() -> None:
    """A step of rack power reaches the plant after the mean age of the water on its way (first moment of the response)."""
    step = np.array([[2e4, 2e4], [8e4, 4e4], [8e4, 4e4]])
    made = simulate(plant("ch"), load(0, 0, change=step), PARAMS, weather(5.0), 4 * 3600.0, 10.0).series
    rise = made["rejected_w"][720:1080] - made["rejected_w"][719]
    mean_s = float((1 - rise / rise[-1]).sum()) * 10.0
    assert 60.0 < mean_s < 400.0
    assert rise[0] < 0.02 * rise[-1]


def test_reuse_takes_heat_before_the_tower() -> None:
    warm = plant("ch", more=("id=dh kind=heatreuse rated_heat_w=60000",), links=("from=dh to=w",))
    made, without = run(warm, 8.0), run(plant("ch"), 8.0)
    assert made.series["reused_w"][-1] == pytest.approx(60e3, rel=1e-6)
    assert made.series["rejected_w"][-1] == pytest.approx(float(without.series["rejected_w"][-1]) - 60e3, rel=0.02)
    assert (made.summary["water_kg"] or 0) < (without.summary["water_kg"] or 0)


def test_a_dry_cooler_with_pads_supplies_colder_water_and_drinks() -> None:
    dry, wet = (
        plant("ch", "t", more=(f"id=d kind=drycooler{pads}",), links=("from=d to=w",)) for pads in ("", " pad_frac=0.8")
    )
    hot = outlook_of(
        {"wet_bulb_c": Line(np.array([0.0, 1e6]), np.full(2, 20.0)), "dry_bulb_c": Line(np.array([0.0, 1e6]), np.full(2, 34.0))}
    )
    soaked, arid = (simulate(site, load(1e5, 5e4), PARAMS, hot, 7200.0, 15.0) for site in (wet, dry))
    assert soaked.series["plant_supply_c"][-1] < arid.series["plant_supply_c"][-1] - 3
    assert (soaked.summary["water_kg"] or 0) > 0 == arid.summary["water_kg"]


def test_setpoints_move_what_they_order() -> None:
    made = run(plant("ch"), 5.0, changes=[Change("cdu", "supply_temp_setpoint_c", 34.0, 3600.0)])
    assert made.series["supply_c"][230] == pytest.approx(30.0, abs=0.1)
    assert made.series["supply_c"][-1] == pytest.approx(34.0, abs=0.1)
    assert made.series["fans_w"][-1] <= made.series["fans_w"][230]


def test_a_loop_without_a_pump_is_named() -> None:
    with pytest.raises(SiteError, match="w: a loop without a pump"):
        circuit_of(plant("p1", "p2"), np.array([1e5, 5e4]), PARAMS)


@pytest.mark.parametrize(("pump", "refused"), [("w", ""), ("v", ""), ("u", ""), ("beside", "[vu]: a loop without a pump")])
def test_water_is_moved_by_a_pump_anywhere_above_or_below_but_not_beside(pump: str, refused: str) -> None:
    """w feeds v and what stands beside it, v feeds u, u one CDU."""
    assets = ["id=h kind=hall", "id=t kind=tower", f"id=p kind=pump parent={pump}"]
    assets += [f"id={one} kind=loop" for one in ("w", "v", "u", "beside")] + [f"id=c{i} kind=cdu parent=h" for i in (1, 2)]
    assets += [f"id=r{i} kind=rack parent=h rated_w=50000" for i in (1, 2)]
    ways = ["t w", "w v", "v u", "u c1", "c1 r1", "c2 r2", *(("w beside", "beside c2") if refused else ("u c2",))]
    site = build_site("x", "UTC", rows(*assets), rows(*("from={} to={} relation=cools".format(*way.split()) for way in ways)))
    if refused:
        with pytest.raises(SiteError, match=refused):
            circuit_of(site, np.array([5e4, 5e4]), PARAMS)
    else:
        assert circuit_of(site, np.array([5e4, 5e4]), PARAMS).loop_wpk == pytest.approx(1e5 / PARAMS.plant.range_k)


def test_a_flat_plate_steady_state_is_that_of_the_exchanger() -> None:
    """Return less supply is Q over the flow's capacity rate, whatever the plant does."""
    made = run(plant("ch"), 5.0)
    wpk = 1.5e5 / PARAMS.plant.range_k
    leak = 1 + PARAMS.loops.leak_per_k * (float(made.series["return_c"][-1]) - 38.0)
    rise = float(made.series["return_c"][-1]) - float(made.series["supply_c"][-1])
    assert rise == pytest.approx(1.5e5 * leak / wpk, rel=0.01)


def test_a_cdu_that_stops_takes_no_facility_water_from_its_neighbour() -> None:
    links = [line for line in LINKS if line != "from=c to=r2"]
    two = build_site(
        "x",
        "UTC",
        rows(*ASSETS, "id=c2 kind=cdu parent=h"),
        rows(*(f"{line} relation=cools" for line in [*links, "from=w to=c2", "from=c2 to=r2"])),
    )
    sound = run(two, 5.0).series["return_c"][-1]
    tripped = run(two, 5.0, faults=[Fault("c", "trip", 1800.0)])
    off = {one["asset"] for one in tripped.limits if one["what"] == "switched off"}
    assert off == {"r1"}
    assert tripped.summary["supply_max_c"] == pytest.approx(30.0, abs=0.5)
    assert tripped.series["it_power_w"][-1] == pytest.approx(5e4, rel=0.01)
    assert sound == pytest.approx(40.0, abs=0.5)


def test_a_starved_loop_ends_alike_whatever_the_step() -> None:
    """One of two pumps is out and all valves stand open: the flow there is is shared, at 5 s as at 60 s."""
    ends = [run(plant("ch"), 20.0, step_s, faults=[Fault("p1", "trip", 600.0)]).series for step_s in (5.0, 60.0)]
    assert ends[0]["supply_c"][-1] > 30.2
    for name in ("supply_c", "return_c", "pumps_w"):
        assert ends[0][name][-1] == pytest.approx(float(ends[1][name][-1]), rel=1e-3), name


def test_an_air_handler_in_no_hall_is_named() -> None:
    made = run(plant(more=("id=roof kind=crah",), links=("from=w to=roof",)), hours=0.1)
    assert any("roof stands in no hall" in note for note in made.notes)


def test_towers_behind_a_condenser_loop_are_those_of_its_chiller() -> None:
    """As plants are built: tower, condenser water with its pump, chiller, chilled water; the same but for that pump."""
    direct = [line for line in LINKS if line != "from=t to=w"]
    behind = [line for line in direct if line != "from=t to=ch"] + ["from=t to=cw", "from=cw to=ch"]
    more = ("id=cw kind=loop", "id=cwp kind=pump parent=cw rated_w=7000")
    sites = [
        build_site("x", "UTC", rows(*ASSETS, *more), rows(*(f"{line} relation=cools" for line in links)))
        for links in (direct, behind)
    ]
    plain, looped = (run(site, 22.0, step_s=60.0) for site in sites)
    for name in ("chillers_w", "fans_w", "water_kgps", "rejected_w"):
        assert looped.series[name][-1] == pytest.approx(plain.series[name][-1], rel=1e-6), name
    assert plain.series["chillers_w"][-1] > 0
    assert looped.series["pumps_w"][-1] - plain.series["pumps_w"][-1] == pytest.approx(7000)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0])
def test_pumps_of_a_cdu_take_no_less_than_the_work_that_they_do(speed: float) -> None:
    """Efficiency of pump, motor and drive is the 60 % of the source where flow is that of design, and never over that."""
    made = run(plant("ch"), 5.0, step_s=60.0, hours=0.5, changes=[Change("cdu", "pump_speed_frac", speed)])
    wpk = 1.5e5 / PARAMS.plant.range_k * speed / PARAMS.plant.cdu_speed_frac
    flow_m3ps = wpk / float(heat_jpkgk("pg25", np.array(SECONDARY_C))) / float(pg25_density_kgpm3(SECONDARY_C))
    head_pa = PARAMS.loops.secondary_pa * (speed / PARAMS.plant.cdu_speed_frac) ** 2
    assert flow_m3ps * head_pa / made.series["cdu_pumps_w"][-1] == pytest.approx(0.6, rel=0.01)


def test_a_plant_without_chillers_keeps_its_towers_whatever_the_economiser() -> None:
    made, plain = (run(plant("ch"), 5.0, step_s=60.0, hours=0.5, economiser=mode) for mode in ("none", "integrated"))
    assert made.series["rejected_w"][-1] == plain.series["rejected_w"][-1] > 0
    assert any("economiser 'none' says nothing" in note for note in made.notes)
