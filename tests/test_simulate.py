"""The offline twin as a whole: published values through the whole path, energy to the last joule, faults, margins, bounds."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.traces import read_trace
from tests.small import rows
from twin.balance import block_gap_w
from twin.errors import ConfigError
from twin.load import build_site
from twin.params import FRONTIER_NODE, Params
from twin.physics.battery import autonomy_s
from twin.sim.chain import Chain
from twin.sim.examples import FRONTIER_ORDERS, FRONTIER_PARAMS, example_jobs, frontier_site
from twin.sim.fleet import fleet_of
from twin.sim.grow import grown
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.scenario import Change, Fault, Scenario
from twin.sim.schedule import Policy
from twin.sim.storage import Storage
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace, trace_of
from twin.sim.whatif import compare
from twin.simulate import Trajectory, simulate
from twin.site import Site

STEADY = replace(Params(), loops=replace(Params().loops, leak_per_k=0.0))


def machine(nodes: int = 4, gpus: int = 4, side_b: bool = True, more: tuple[str, ...] = ()) -> Site:
    """A rack of ``nodes`` on a CDU, a loop with a pump, towers; two UPSs behind two transformers (2N), or one."""
    assets = ["id=h kind=hall", "id=sky kind=weather", "id=net kind=grid", "id=w kind=loop", "id=wp kind=pump parent=w"]
    assets += ["id=c kind=cdu parent=h", "id=t kind=tower", "id=r kind=rack parent=h liquid_frac=1", *more]
    links = [("w", "c", "cools"), ("c", "r", "cools"), ("t", "w", "cools")]
    for side in "ab" if side_b else "a":
        assets += [f"id=t{side} kind=transformer rated_va=20000", f"id=u{side} kind=ups rated_w=15000"]
        links += [("net", f"t{side}", "feeds"), (f"t{side}", f"u{side}", "feeds"), (f"u{side}", "r", "feeds")]
    for n in range(nodes):
        assets.append(f"id=n{n} kind=node parent=r")
        assets += [f"id=n{n}g{g} kind=gpu parent=n{n}" for g in range(gpus)]
    return build_site("m", "UTC", rows(*assets), rows(*(f"from={a} to={b} relation={r}" for a, b, r in links)))


def one_job(nodes: int = 4, util: float = 1.0, start_s: float = -1e4, run_s: float = 1e6) -> Trace:
    return trace_of(["j"], np.array([start_s]), np.array([run_s]), nodes=nodes, gpu_util_frac=util, cpu_util_frac=util)


def day(wet_c: float = 10.0) -> Outlook:
    time_s = np.array([-1e5, 1e7])
    return outlook_of({
        "wet_bulb_c": Line(time_s, np.full(2, wet_c)), "dry_bulb_c": Line(time_s, np.full(2, wet_c + 4)),
        "carbon_gco2_per_kwh": Line(time_s, np.full(2, 400.0)), "price_per_mwh": Line(time_s, np.full(2, 80.0)),
    })  # fmt: skip


def run(
    site: Site, jobs: Trace | Telemetry, params: Params = STEADY, hours: float = 1.0, step_s: float = 30.0, **plan: Any
) -> Trajectory:
    return simulate(site, jobs, params, day(), hours * 3600.0, step_s, scenario=Scenario(**plan))


# --- published values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("util", "rectified_w"), [(0.0, 683.913), (0.5, 1788.292), (1.0, 2892.671)])
def test_frontier_nodes_through_the_whole_path(util: float, rectified_w: float) -> None:
    """RAPS, Frontier: what one node draws at its rectifier, times the nodes of the site."""
    params = replace(STEADY, node=FRONTIER_NODE)
    made = run(machine(), one_job(util=util), params)
    assert made.summary["it_power_mean_w"] == pytest.approx(4 * rectified_w, abs=4e-3)


def test_carbon_and_cost_are_of_the_whole_facility_once() -> None:
    """Energy times intensity: losses are in the energy already and are not divided in a second time."""
    made = run(machine(), one_job()).summary
    facility = made["facility_energy_kwh"]
    assert facility is not None
    assert facility == pytest.approx(
        sum(made[name] or 0 for name in ("it_energy_kwh", "cooling_energy_kwh", "loss_energy_kwh"))
    )
    assert made["carbon_kg"] == pytest.approx(0.4 * facility, rel=1e-9)
    assert made["cost"] == pytest.approx(0.08 * facility, rel=1e-9)
    assert made["pue_ratio"] == pytest.approx(facility / (made["it_energy_kwh"] or 0))


# --- energy ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 3000), st.floats(5, 3000), st.integers(1, 4)), min_size=1, max_size=8),
    st.sampled_from([7.0, 60.0, 450.0]),
)
def test_the_energy_of_jobs_is_exact_whatever_the_step(jobs: list[tuple[float, float, int]], step_s: float) -> None:
    submit, lasts, nodes = (np.array(c) for c in zip(*jobs, strict=True))
    trace = trace_of([str(i) for i in range(len(jobs))], submit, lasts, nodes=nodes, gpu_util_frac=0.8, cpu_util_frac=0.3)
    site = machine(side_b=False)
    fleet = fleet_of(site, STEADY)
    steps = int(np.ceil(3600 / step_s))
    made = run(site, trace, hours=steps * step_s / 3600, step_s=step_s)
    ran = np.maximum(np.minimum(made.jobs["end_s"], steps * step_s) - made.jobs["start_s"], 0)
    added = 0.8 * fleet.gpu_w[0] + 0.3 * fleet.cpu_w[0]
    exact = float(np.nansum(ran * nodes[np.argsort(submit, kind="stable")])) * added + 4 * fleet.idle_w[0] * steps * step_s
    assert (made.summary["it_energy_kwh"] or 0) * 3.6e6 == pytest.approx(exact, rel=1e-9)


def test_energy_per_job_and_idle_nodes_are_all_of_it() -> None:
    made = run(machine(), one_job(nodes=3))
    fleet = fleet_of(machine(), STEADY)
    assert made.jobs["energy_kwh"][0] + fleet.idle_w[0] / 1e3 == pytest.approx(made.summary["it_energy_kwh"])


def test_a_planted_gap_in_the_chain_is_caught() -> None:
    site = machine()
    fleet = fleet_of(site, STEADY)
    chain = Chain(site, fleet, np.empty(0, dtype=np.int32), STEADY)
    power = chain.carry(np.array([[8e3], [9e3]]), np.empty((0, 2)))
    assert block_gap_w(chain.links, power.own, power.loss, power.into).max() < 1e-9
    for column in ("own", "loss", "into"):
        wrong = {name: getattr(power, name).copy() for name in ("own", "loss", "into")}
        wrong[column][0, 1] += 5.0
        gap = block_gap_w(chain.links, wrong["own"], wrong["loss"], wrong["into"])
        assert gap[0] < 1e-9, column
        assert gap[1] == pytest.approx(5.0), column


# --- feeds ----------------------------------------------------------------------------------------------------------


def test_with_two_feeds_the_other_side_takes_over() -> None:
    sound, lost = run(machine(), one_job()), run(machine(), one_job(), faults=[Fault("ta", "trip", 1800.0)])
    assert lost.series["it_power_w"][-1] == pytest.approx(float(sound.series["it_power_w"][-1]))
    assert (lost.summary["loading_max_frac"] or 0) == pytest.approx(2 * (sound.summary["loading_max_frac"] or 0), rel=0.05)
    assert lost.summary["racks_off_count"] == 0


def test_with_one_feed_the_battery_carries_for_its_time() -> None:
    """Longer than at its rating where it carries less (Peukert), and to the step."""
    made = run(machine(side_b=False), one_job(util=0.2), faults=[Fault("ta", "trip", 1200.0)])
    power = made.series["it_power_w"]
    carried_s = float(autonomy_s(power[0], 15e3, STEADY.loops.ups_s, STEADY.loops.peukert_exponent))
    assert carried_s > 1.2 * STEADY.loops.ups_s
    last = math.ceil((1200 + carried_s) / 30)
    assert power[last - 1] == pytest.approx(float(power[0]))
    assert power[last] == 0


def test_a_device_over_its_rating_is_named() -> None:
    made = run(machine(nodes=10, side_b=False), one_job(nodes=10))
    named = {one["asset"]: one for one in made.limits}
    assert named["ua"]["what"] == "breaker trips"
    assert named["ua"]["loading_frac"] > 1.25
    assert any("of its rating" in note for note in made.notes)


# --- what if --------------------------------------------------------------------------------------------------------


def test_a_cap_saves_power_and_costs_time() -> None:
    jobs = one_job(start_s=0.0, run_s=1200.0)
    free, held = run(machine(), jobs), run(machine(), jobs, gpu_cap_frac=0.6)
    assert (held.summary["it_power_peak_w"] or 0) < 0.75 * (free.summary["it_power_peak_w"] or 0)
    slower = (held.jobs["end_s"] - held.jobs["start_s"])[0] / 1200.0
    assert slower == pytest.approx(0.6**-STEADY.loops.cap_exponent, rel=1e-6)


def test_an_it_cap_is_never_passed() -> None:
    site = machine()
    fleet = fleet_of(site, STEADY)
    cap_w = float(fleet.base_w.sum()) + 2.2 * float(fleet.gpu_w[0] + fleet.cpu_w[0])
    trace = trace_of(list("abcd"), np.zeros(4), np.full(4, 900.0), nodes=1, gpu_util_frac=1.0, cpu_util_frac=1.0)
    made = run(site, trace, hours=2, it_cap_w=cap_w)
    assert (made.summary["it_power_peak_w"] or 0) <= cap_w
    assert sorted(made.jobs["wait_s"]) == [0, 0, 900, 900]


def test_a_battery_keeps_the_grid_below_its_cap_until_it_is_empty() -> None:
    site = with_store()
    plain = simulate(site, one_job(), STEADY, day(), 7200.0, 60.0)
    cap_w = 0.9 * (plain.summary["grid_power_peak_w"] or 0)
    made = simulate(site, one_job(), STEADY, day(), 7200.0, 60.0, scenario=Scenario(grid_cap_w=cap_w))
    s, held_s = made.series, 4000.0 * STEADY.loops.battery_s / (float(plain.series["grid_power_w"][0]) - cap_w)
    assert s["charge_frac"][-1] == pytest.approx(max(0.0, 1 - 7200.0 / held_s), abs=0.02)
    full = s["charge_frac"] > 0
    assert s["grid_power_w"][full].max() <= cap_w * (1 + 1e-9)
    np.testing.assert_allclose(s["facility_power_w"], s["grid_power_w"] + s["pv_w"] - s["battery_w"], rtol=1e-12)
    used_j = float((1 - s["charge_frac"][-1]) * 4000.0 * STEADY.loops.battery_s)
    assert -float(s["battery_w"].sum()) * 60.0 == pytest.approx(used_j, rel=1e-9), "no joule comes from nowhere"


@pytest.mark.parametrize(
    ("told", "power_w", "held_kwh"),
    [("rated_w=4000 rated_kwh=3", 4000.0, 3.0), ("rated_w=4000", 4000.0, 8.0), ("rated_kwh=8", 4000.0, 8.0), ("", 0.0, 0.0)],
)
def test_a_battery_holds_what_its_site_says(told: str, power_w: float, held_kwh: float) -> None:
    site = build_site("x", "UTC", rows(f"id=b kind=battery {told}", "id=none kind=battery rated_w=9000 rated_kwh=0"))
    store = Storage(site, Outlook(), STEADY, 1000.0)
    assert (store.power_w, store.full_j) == (power_w, held_kwh * 3.6e6)
    assert store.notes() == ([] if "kwh" in told else ["1 batteries tell no rated_kwh: 2 h at rated_w are assumed (first: b)"])
    given = -store.settle(np.full(8, 9000.0), np.arange(8) * 3600.0, 3600.0)["battery_w"].sum() / 1e3
    assert given == pytest.approx(held_kwh)


def test_photovoltaics_lower_what_the_grid_gives_and_its_carbon() -> None:
    site = with_store()
    dark = simulate(site, one_job(), STEADY, day(), 3600.0, 60.0)
    sun = outlook_of({**day().lines, "pv_w": Line(np.array([0.0, 1e5]), np.array([2000.0, 2000.0]))})
    bright = simulate(site, one_job(), STEADY, sun, 3600.0, 60.0)
    assert (dark.summary["grid_energy_kwh"] or 0) - (bright.summary["grid_energy_kwh"] or 0) == pytest.approx(2.0)
    assert (dark.summary["carbon_kg"] or 0) - (bright.summary["carbon_kg"] or 0) == pytest.approx(0.8)
    assert bright.summary["facility_energy_kwh"] == dark.summary["facility_energy_kwh"]
    assert any("photovoltaics" in note for note in dark.notes)


def with_store() -> Site:
    return machine(more=("id=sun kind=pv rated_w=3000", "id=bess kind=battery rated_w=4000"))


def test_valves_throttle_what_they_stand_in() -> None:
    """A valve on a CDU's facility side and one in the loop: half shut they make supplies warmer, each in its place."""
    site = machine(more=("id=vc kind=valve parent=c", "id=vw kind=valve parent=w"))
    free = run(site, one_job())
    for valve in ("vc", "vw"):
        held = run(site, one_job(), changes=[Change(valve, "position_frac", 0.2)])
        assert (held.summary["supply_max_c"] or 0) > (free.summary["supply_max_c"] or 0) + 1, valve
    twice = machine(more=("id=v1 kind=valve parent=w", "id=v2 kind=valve parent=w"))
    one, both = (
        run(twice, one_job(), changes=[Change("v1", "position_frac", 0.2), *more])
        for more in ((), (Change("v2", "position_frac", 0.9),))
    )
    assert both.summary["supply_max_c"] == pytest.approx(one.summary["supply_max_c"]), "the narrower of two counts"
    by_kind = run(site, one_job(), changes=[Change("valve", "position_frac", 0.2)])
    assert (by_kind.summary["supply_max_c"] or 0) > (free.summary["supply_max_c"] or 0) + 1


def test_every_device_and_rack_is_accounted_for() -> None:
    tables: dict[str, Mapping[str, Any]] = {}

    class Keeping:
        tables = ("device", "limit")

        def write(self, table: str, columns: Mapping[str, Any]) -> None:
            tables[table] = columns

    made = simulate(machine(), one_job(), STEADY, day(), 3600.0, 60.0, sink=Keeping())
    device = tables["device"]
    assert device["asset"] == ["ta", "ua", "tb", "ub"]
    assert device["loss_kwh"].sum() == pytest.approx(made.summary["loss_energy_kwh"])
    assert ((device["efficiency_frac"] > 0.9) & (device["efficiency_frac"] < 1)).all()
    assert tables["limit"]["asset"] == ["r"]
    assert tables["limit"]["still_water_s"][0] == pytest.approx(made.summary["still_water_to_limit_s"])


def test_a_copy_may_break_as_its_original() -> None:
    made = run(machine(), one_job(), hours=0.2, added=[("r", 1)], faults=[Fault("r+1", "leak", 60.0, value=0.001)])
    assert made.summary["racks_off_count"] == 0
    with pytest.raises(ConfigError, match=r"fault leak of r\+2: is no asset"):
        run(machine(), one_job(), hours=0.2, added=[("r", 1)], faults=[Fault("r+2", "leak", 60.0, value=0.1)])


def test_added_racks_are_whole_and_carry_their_part() -> None:
    site = grown(machine(), [("r", 2)])
    assert site.count("rack") == 3
    assert site.count("gpu") == 48
    assert [site.ids[i] for i in site.parent[site.of_kind("node")]].count("r+2") == 4
    assert set(site.ids_of("rack")) == {"r", "r+1", "r+2"}
    made = run(machine(), one_job(nodes=12), added=[("r", 2)])
    assert made.summary["it_power_peak_w"] == pytest.approx(3 * (run(machine(), one_job()).summary["it_power_mean_w"] or 0))
    assert "ua" in [one["asset"] for one in made.limits if one["what"] == "breaker trips"], "too much for its feeds"


def test_the_same_twice_is_no_difference_and_a_change_has_a_sign() -> None:
    plain, capped = Scenario("plain"), Scenario("capped", gpu_cap_frac=0.7)

    def beside(other: Scenario) -> Mapping[str, Any]:
        rng = np.random.Generator(np.random.PCG64(5))
        made = compare(machine(), one_job(), STEADY, day(), 3600.0, 60.0, scenarios=(plain, other), rng=rng, members=4)
        return {row.name: row for row in made.rows}

    same = beside(replace(plain, name="again"))
    assert all(row.difference in (None, 0.0) and row.difference_p10 in (None, 0.0) for row in same.values())
    energy = beside(capped)["facility_energy_kwh"]
    assert energy.difference_p10 <= energy.difference_p90 < 0
    assert energy.difference_p10 < energy.difference < energy.difference_p90 * 0.5
    assert beside(capped)["junction_max_c"].difference_p10 is None, "members are too coarse for peaks"


# --- bad input ------------------------------------------------------------------------------------------------------

WRONG = [
    ({"faults": [Fault("nobody", "trip")]}, "nobody: is no asset"),
    ({"faults": [Fault("r", "foul", value=0.5)]}, "a rack cannot"),
    ({"faults": [Fault("c", "leak", value=-1.0)]}, "write the flow that is lost"),
    ({"faults": [Fault("c", "stuck", value=1.5)]}, "a share from 0 to 1"),
    ({"faults": [Fault("c", "trip", 50.0, 40.0)]}, "before it ends"),
    ({"changes": [Change("c", "supply_temp_setpoint_c", 95.0)]}, "between 5 and 60"),
    ({"changes": [Change("c", "colour", 3.0)]}, "cannot be set here"),
    ({"added": [("c", 1)]}, "is no rack"),
    ({"gpu_cap_frac": 0.0}, "outside 0.1 to 1"),
    ({"it_cap_w": float("nan")}, "write a power above 0"),
    ({"economiser": "magic"}, "no mode 'magic'"),
]


@pytest.mark.parametrize(("plan", "says"), WRONG, ids=[w[1] for w in WRONG])
def test_a_scenario_that_cannot_be_is_one_sentence(plan: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(machine(), one_job(), **plan)
    assert len(caught.value.problems) == 1
    assert says in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        run(machine(), one_job(), faults=[Fault("x", "trip"), Fault("y", "trip")], gpu_cap_frac=3.0)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(("horizon_s", "step_s"), [(0.0, 1.0), (60.0, 0.0), (60.0, 90.0), (float("nan"), 1.0), (1e9, 1.0)])
def test_a_horizon_that_makes_no_sense_is_refused(horizon_s: float, step_s: float) -> None:
    with pytest.raises(ConfigError, match="horizon and step"):
        simulate(machine(), one_job(), STEADY, day(), horizon_s, step_s)


def test_an_outlook_that_cannot_be_is_located() -> None:
    with pytest.raises(ConfigError) as caught:
        outlook_of({"wet_bulb_c": Line(np.array([0.0, 0.0]), np.array([4.0, 400.0])), "moon": Line(np.empty(0), np.empty(0))})
    said = str(caught.value)
    assert "time of value 2 does not lie after" in said
    assert "value 2 is 400" in said
    assert "no series 'moon'" in said


def test_leaving_what_the_model_is_good_for_is_said() -> None:
    polar = outlook_of({"wet_bulb_c": Line(np.array([0.0, 1.0]), np.array([-45.0, -45.0]))})
    made = simulate(machine(), one_job(), STEADY, polar, 7200.0, 60.0)
    assert any("leaves the tower's correlation" in note for note in made.notes)
    assert any("does not cover" in note for note in made.notes)


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_results_stream_in_bounded_chunks() -> None:
    class Counting:
        tables = ("site", "rack")
        sizes: list[int] = []  # noqa: RUF012

        def write(self, table: str, columns: Mapping[str, Any]) -> None:
            if table == "site":
                self.sizes.append(len(columns["time_s"]))

    sink = Counting()
    shares: list[float] = []
    made = simulate(machine(), one_job(), STEADY, day(), 18_000.0, 2.0, sink=sink, progress=shares.append)
    assert sum(sink.sizes) == made.steps == 9_000
    assert max(sink.sizes) <= 8192
    assert len(made.series["it_power_w"]) <= 1440
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_recorded_day_stays_inside_published_bounds(shared_data: Path) -> None:
    """Frontier 2023: PUE 1.03-1.10 at 8-29 MW of IT, facility water supplied at 18-25 °C and back at 25-40 °C. How the site was
    parameterised before looking stands in ``twin/sim/examples.py``."""
    reading = read_trace(shared_data / "twin" / "frontier-shaped-cdu-2024-04-07.csv", "power-csv")
    plan = Scenario(changes=FRONTIER_ORDERS, policy=Policy.RECORDED)
    made = simulate(
        frontier_site(), reading.work, FRONTIER_PARAMS, outlook_of(dict(reading.lines)), 86400.0, 60.0, scenario=plan
    )
    s, day_pue = made.series, made.summary["pue_ratio"]
    usual = s["it_power_w"] >= 8e6
    assert usual.mean() > 0.6, "the rest of the recorded day lies below the published load"
    assert day_pue is not None
    assert 1.03 <= day_pue <= 1.10
    inside = (s["pue_ratio"][usual] >= 1.03) & (s["pue_ratio"][usual] <= 1.10)
    assert inside.mean() > 0.95
    assert s["plant_supply_c"][usual].min() >= 18.0
    assert s["plant_supply_c"][usual].max() <= 25.0
    assert s["plant_return_c"][usual].min() >= 25.0
    assert s["plant_return_c"][usual].max() <= 40.0
    assert made.summary["it_energy_kwh"] == pytest.approx(386_796, rel=1e-3), "the recording's own energy"
    assert made.limits == []


def test_the_example_queue_keeps_a_site_busy_and_is_the_same_again() -> None:
    fleet = fleet_of(frontier_site(), FRONTIER_PARAMS)
    first, again = (example_jobs(fleet, 86400.0, 0.0, np.random.Generator(np.random.PCG64(2))) for _ in range(2))
    np.testing.assert_array_equal(first.run_s, again.run_s)
    held = float((first.nodes * first.run_s).sum()) / (len(fleet.position) * 30 * 3600.0)
    assert 0.7 < held < 1.6
