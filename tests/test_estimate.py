"""The estimator: exact on small centres, honest about silence, and the measured beside the modelled."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.centre import CENTRE, NOW, centre, find, heard, random_centres, tell
from tests.small import rows, small_site
from twin.balance import violations
from twin.estimate import Z80, estimate, solve
from twin.frame import Frame, Origin, Quality, same
from twin.load import build_site
from twin.metrics import metric
from twin.params import FRONTIER_NODE, Params
from twin.site import Site
from twin.state import State

PARAMS = Params()
NAN = float("nan")


def run(state: State, params: Params = PARAMS) -> list[Frame]:
    assert violations(state.site, solve(state.site, state, params, NOW)) == []
    return estimate(state.site, state, params, NOW)


def one(frames: list[Frame], name: str, origin: Origin = Origin.MODELLED, band: str = "") -> float:
    found = find(frames, "site", name, origin, band)
    return float(found[0]) if len(found) else NAN


def quality(frames: list[Frame], kind: str, name: str) -> set[int]:
    grades = [f.quality.get(name, np.zeros(len(f.rows))) for f in frames if f.kind == kind and name in f.values and not f.band]
    return {int(g) for grade in grades for g in grade}


@pytest.mark.parametrize(("util", "inlet_w"), [(0.0, 683.913), (0.5, 1788.292), (1.0, 2892.671)])
def test_a_frontier_node_from_utilisation(util: float, inlet_w: float) -> None:
    """ExaDigiT/RAPS, Frontier: power at the rectifier's inlet."""
    state, params = State(small_site()), replace(PARAMS, node=FRONTIER_NODE)
    tell(state, "gpu", util_frac=util)
    tell(state, "node", cpu_util_frac=util)
    frames = run(state, params)
    np.testing.assert_allclose(find(frames, "node", "power_w"), inlet_w, atol=1e-3)
    np.testing.assert_allclose(find(frames, "rack", "power_w"), 2 * inlet_w, atol=2e-3)
    assert one(frames, "it_power_w") == pytest.approx(4 * inlet_w, abs=4e-3)


def test_a_power_reading_wins_over_utilisation() -> None:
    state, params = State(small_site()), replace(PARAMS, node=FRONTIER_NODE)
    tell(state, "gpu", util_frac=0.0, power_w=560.0)
    tell(state, "node", cpu_util_frac=1.0)
    np.testing.assert_allclose(find(run(state, params), "node", "power_w"), 2892.671, atol=1e-3)


def test_ratings_of_assets_win_over_parameters() -> None:
    """A node with all GPUs at their own rating and its processors at full load draws its own rating."""
    site = build_site("t", "UTC", rows(
        "id=h kind=hall", "id=r kind=rack parent=h", "id=n kind=node parent=r rated_w=10000",
        "id=g kind=gpu parent=n rated_w=1200",
    ))  # fmt: skip
    state = State(site)
    tell(state, "gpu", util_frac=1.0)
    tell(state, "node", cpu_util_frac=1.0)
    assert find(run(state), "node", "power_w")[0] == pytest.approx(10_000)


def test_losses_along_the_chain_by_hand() -> None:
    """One rack's path: rack -> half on each PDU -> UPS -> transformer -> grid, with quadratic curves."""
    solution = solve(CENTRE, heard(CENTRE), PARAMS, NOW)
    flow, at = solution.power, CENTRE.position
    c = PARAMS.chain

    def loss(out: float, rated: float, curve: object) -> float:
        x = out / rated
        return rated * (curve.no_load_frac + curve.linear_frac * x + curve.square_frac * x * x)  # type: ignore[attr-defined]

    rack = flow.into[at["r1"]]
    pdu = rack / 2 + loss(rack / 2, 15e3, c.pdu)
    assert flow.into[at["r1pa"]] == pytest.approx(pdu)
    switch = 1500 * PARAMS.steady_load_frac
    ups_out = 3 * pdu + switch
    assert flow.into[at["ua"]] == pytest.approx(ups_out + loss(ups_out, 90e3, c.ups))
    assert flow.loss[at["tr"]] == pytest.approx(loss(flow.out[at["tr"]], 200e3, c.transformer))
    assert flow.loss[at["m1"]] == flow.loss[at["net"]] == 0


def test_attributes_of_a_power_device_win_over_its_curve() -> None:
    site = build_site("t", "UTC", rows(
        "id=h kind=hall", "id=r kind=rack parent=h",
        "id=u kind=ups rated_va=10000 no_load_loss_frac=0.1 linear_loss_frac=0 square_loss_frac=0", "id=p kind=pdu",
    ), rows("from=u to=p relation=feeds", "from=p to=r relation=feeds"))  # fmt: skip
    state = State(site)
    tell(state, "rack", power_w=5000.0)
    frames = run(state)
    assert find(frames, "ups", "loss_w")[0] == pytest.approx(1000)
    pdu = PARAMS.chain.pdu  # of unknown rating: at half load
    assert find(frames, "pdu", "loss_w")[0] == pytest.approx(5000 * (pdu.no_load_frac / 0.5 + pdu.square_frac * 0.5))


def test_site_totals_and_pue_add_up() -> None:
    frames = run(heard(CENTRE))
    it, cooling, loss, facility = (one(frames, f"{name}_power_w") for name in ("it", "cooling", "loss", "facility"))
    assert facility == pytest.approx(it + cooling + loss)
    assert one(frames, "pue_ratio") == pytest.approx(facility / it)
    assert 1.05 < facility / it < 1.3
    assert find(frames, "hall", "it_power_w").sum() == pytest.approx(it)  # the file system has no rating: draws nothing
    assert find(frames, "hall", "cooling_power_w").sum() < cooling
    assert one(frames, "coverage_frac") == pytest.approx(24 * 500 / it)
    assert one(frames, "heard_frac") == 1
    assert quality(frames, "site", "pue_ratio") == {Quality.GOOD}


def test_cdu_heat_is_the_liquid_part_of_its_racks_and_its_pumps() -> None:
    frames = run(heard(CENTRE))
    racks = find(frames, "rack", "power_w")
    expected = PARAMS.plant.liquid_frac * (racks[0] + racks[1]) + find(frames, "cdu", "power_w")[0]
    assert find(frames, "cdu", "heat_w")[0] == pytest.approx(expected)


def test_warmer_air_and_colder_supply_cost_cooling_power() -> None:
    mild, hot = (one(run(heard(CENTRE, wet_bulb_c=c)), "cooling_power_w") for c in (10.0, 28.0))
    assert hot > mild * 1.2
    state = heard(CENTRE, wet_bulb_c=20.0)
    tell(state, "cdu", supply_temp_setpoint_c=18.0)
    assert one(run(state), "cooling_power_w") > one(run(heard(CENTRE, wet_bulb_c=20.0)), "cooling_power_w")


# -- silence ---------------------------------------------------------------------------------------------------------------


def test_nothing_heard_is_nothing_said() -> None:
    frames = run(State(CENTRE))
    names = {"it_power_w", "cooling_power_w", "loss_power_w", "facility_power_w", "pue_ratio", "residual_w"}
    assert all(np.isnan(one(frames, name)) for name in names)
    assert np.isnan(find(frames, "rack", "power_w")).all()
    assert one(frames, "heard_frac") == one(frames, "coverage_frac") == 0


def test_stale_is_silent() -> None:
    state = heard(CENTRE)
    frames = estimate(CENTRE, state, PARAMS, NOW + timedelta(seconds=metric("gpu", "power_w").max_age_s + 1))
    assert np.isnan(one(frames, "it_power_w"))


def test_a_silent_rack_is_nan_and_is_filled_in_its_hall() -> None:
    power = np.full(24, 500.0)
    power[16:] = NAN  # all of r3
    frames = run(heard(CENTRE, power))
    racks = find(frames, "rack", "power_w")
    np.testing.assert_equal(np.isnan(racks), [False, False, True])
    assert np.isnan(find(frames, "node", "power_w")[4:]).all()
    whole = one(run(heard(CENTRE)), "it_power_w")
    assert one(frames, "it_power_w") == pytest.approx(whole), "filled at the mean load of what is heard, not with nothing"
    assert one(frames, "heard_frac") == pytest.approx(1 - racks[0] / whole, abs=0.02)
    assert np.isnan(find(frames, "hall", "it_power_w")[1]), "nothing of hall 2 was heard"
    assert find(frames, "hall", "heard_frac")[1] == 0
    assert np.isnan(find(frames, "pdu", "power_w")[4:]).all(), "its PDUs say nothing either"
    assert quality(frames, "site", "it_power_w") == {Quality.SUSPECT}
    width = [one(f, "it_power_w", band="p90") - one(f, "it_power_w", band="p10") for f in (frames, run(heard(CENTRE)))]
    assert width[0] > 1.1 * width[1], "less heard, less sure"


def test_under_the_floor_the_site_is_nan_too() -> None:
    power = np.full(24, NAN)
    power[:8] = 500.0  # one rack of three
    frames = run(heard(CENTRE, power))
    assert np.isnan(one(frames, "it_power_w"))
    assert np.isnan(one(frames, "pue_ratio"))
    assert not np.isnan(one(run(heard(CENTRE, power), replace(PARAMS, heard_floor_frac=0.2)), "it_power_w"))


def test_a_silent_gpu_is_the_mean_of_its_node() -> None:
    power = np.full(24, 500.0)
    power[3] = NAN
    frames = run(heard(CENTRE, power))
    nodes = find(frames, "node", "power_w")
    assert nodes[0] == pytest.approx(nodes[1])
    assert quality(frames, "node", "power_w") == {Quality.GOOD, Quality.SUSPECT}


def test_a_silent_rack_with_a_meter_has_its_reading_and_no_residual() -> None:
    power = np.full(24, 500.0)
    power[16:] = NAN
    state = heard(CENTRE, power)
    tell(state, "rack", power_w=[7000.0, NAN, 9000.0])
    model = solve(CENTRE, state, PARAMS, NOW).power.into[CENTRE.of_kind("rack")]
    frames = run(state)
    racks, rest = find(frames, "rack", "power_w"), find(frames, "rack", "residual_w")
    assert racks[2] == pytest.approx(9000)
    assert np.isnan(rest[2]), "the model took this meter's word: it cannot differ from it"
    assert rest[0] == pytest.approx(7000 - model[0], abs=0.06), "nothing but the model speaks of this rack beside its meter"
    assert abs(racks[0] - 7000) < 0.05 * abs(model[0] - 7000), "the meter is better than the model"
    assert model[1] < racks[1] < 7000, "what the model got wrong there it gets wrong here too"
    assert one(frames, "heard_frac") == 1


def test_meters_alone_make_a_centre() -> None:
    """No GPU speaks: nodes with their own meters, and racks of which nothing but a meter is known."""
    state = State(CENTRE)
    tell(state, "rack", power_w=8000.0)
    frames = run(state)
    assert one(frames, "it_power_w") == pytest.approx(3 * 8000 + 1500 * PARAMS.steady_load_frac)
    site = build_site("t", "UTC", rows("id=h kind=hall", "id=a kind=rack parent=h", "id=b kind=rack parent=h"))
    state = State(site)
    tell(state, "rack", power_w=[5000.0, 3000.0])
    frames = run(state)
    assert one(frames, "it_power_w") == one(frames, "it_power_w", Origin.MEASURED) == 8000
    later = NOW + timedelta(seconds=80)
    state.absorb(Frame("rack", later, np.array([0], dtype=np.int32), {"power_w": np.array([5000.0])}), later)
    frames = estimate(site, state, PARAMS, NOW + timedelta(seconds=120))
    assert one(frames, "heard_frac") == pytest.approx(5 / 8)
    assert one(frames, "it_power_w") == pytest.approx(8000), "a rack whose meter fell silent is not zero"
    assert np.isnan(one(frames, "it_power_w", Origin.MEASURED))


def test_silent_weather_is_assumed_and_marked() -> None:
    state = State(CENTRE)
    tell(state, "gpu", power_w=500.0)
    frames = run(state)
    assert one(frames, "cooling_power_w") > 0
    for name, grade in (("cooling_power_w", Quality.SUSPECT), ("pue_ratio", Quality.SUSPECT), ("it_power_w", Quality.GOOD)):
        assert quality(frames, "site", name) == {grade}
    assert quality(frames, "chiller", "power_w") == {Quality.SUSPECT}
    known = run(heard(CENTRE, wet_bulb_c=PARAMS.plant.wet_bulb_c))
    width = [one(f, "cooling_power_w", band="p90") - one(f, "cooling_power_w", band="p10") for f in (frames, known)]
    assert width[0] > width[1]


def test_what_is_not_described_is_not_said() -> None:
    """A hall of racks without plant or power chain has IT power, but no cooling, losses, facility or PUE."""
    state = State(small_site())
    tell(state, "gpu", power_w=300.0)
    frames = run(state)
    assert one(frames, "it_power_w") > 0
    assert all(np.isnan(one(frames, n)) for n in ("cooling_power_w", "loss_power_w", "facility_power_w", "pue_ratio"))


# -- the measured beside it ------------------------------------------------------------------------------------------------


def test_measured_totals_need_every_meter() -> None:
    state = heard(CENTRE)
    tell(state, "rack", power_w=8000.0)
    assert np.isnan(one(run(state), "it_power_w", Origin.MEASURED)), "the switch outside the racks does not read"
    tell(state, "switch", power_w=1000.0)
    tell(state, "meter", power_w=30_000.0)
    frames = run(state)
    assert one(frames, "it_power_w", Origin.MEASURED) == 25_000
    assert one(frames, "facility_power_w", Origin.MEASURED) == 30_000
    assert one(frames, "pue_ratio", Origin.MEASURED) == pytest.approx(1.2)
    assert one(frames, "coverage_frac") == 1
    np.testing.assert_array_equal(find(frames, "hall", "it_power_w", Origin.MEASURED), [17_000, 8000])
    model = solve(CENTRE, state, PARAMS, NOW).totals.it_w
    assert one(frames, "residual_w") == pytest.approx(25_000 - model, abs=0.06), "against physics alone"
    assert abs(one(frames, "it_power_w") - 25_000) < 0.05 * abs(model - 25_000)
    silent = np.array([8000.0, NAN, 8000.0])
    state = heard(CENTRE)
    tell(state, "rack", power_w=silent)
    tell(state, "switch", power_w=1000.0)
    tell(state, "meter", power_w=30_000.0)
    frames = run(state)
    assert np.isnan(one(frames, "it_power_w", Origin.MEASURED))
    assert np.isnan(one(frames, "pue_ratio", Origin.MEASURED)), "facility alone is no PUE"
    assert one(frames, "facility_power_w", Origin.MEASURED) == 30_000


def test_pdus_stand_in_for_a_rack_meter_only_together() -> None:
    state = heard(CENTRE)
    tell(state, "switch", power_w=1000.0)
    tell(state, "pdu", power_w=4000.0)
    assert one(run(state), "it_power_w", Origin.MEASURED) == 3 * 8000 + 1000
    state = heard(CENTRE)
    tell(state, "switch", power_w=1000.0)
    tell(state, "pdu", power_w=[4000.0] * 5 + [NAN])
    assert np.isnan(one(run(state), "it_power_w", Origin.MEASURED))
    frames = run(state)
    residual, score = find(frames, "pdu", "residual_w"), find(frames, "pdu", "residual_score_ratio")
    assert np.isnan(residual[5])
    assert np.abs(score[:5]).max() < 3
    model = solve(CENTRE, state, PARAMS, NOW).power.into[CENTRE.position["r3pa"]]
    assert abs(find(frames, "pdu", "power_w")[4] - 4000) < 0.2 * abs(model - 4000), "a meter is better than the GPUs behind it"


def test_a_measured_total_is_as_old_as_its_oldest_reading() -> None:
    state = heard(CENTRE)
    old = NOW - timedelta(seconds=70)
    tell(state, "switch", power_w=1000.0, when=old)
    tell(state, "rack", power_w=8000.0)
    times = {(f.kind, int(f.rows[0])): f.time for f in run(state) if "it_power_w" in f.values and f.origin is Origin.MEASURED}
    assert times == {("hall", 0): old, ("hall", 1): NOW, ("site", 0): old}


def test_generation_and_storage_are_part_of_what_the_facility_takes() -> None:
    """The grid meter sees the load, less what the roof delivers, plus what charges the battery."""
    site = centre("id=pv kind=pv", "id=bess kind=battery", links=("from=net to=bess relation=feeds",))
    state = heard(site)
    tell(state, "meter", power_w=30_000.0)
    assert np.isnan(one(run(state), "facility_power_w", Origin.MEASURED))
    tell(state, "pv", power_w=-4000.0)
    tell(state, "battery", power_w=1000.0)
    assert one(run(state), "facility_power_w", Origin.MEASURED) == 33_000


def test_a_lone_meter_in_the_site_is_the_grid_meter_and_two_are_not() -> None:
    for meters, expected in ((1, 5000.0), (2, NAN)):
        site = small_site(*(f"id=m{i} kind=meter" for i in range(meters)), "id=mr kind=meter parent=r1")
        state = State(site)
        tell(state, "meter", power_w=5000.0)
        np.testing.assert_equal(one(run(state), "facility_power_w", Origin.MEASURED), expected)


def test_an_impossible_measured_pue_is_kept_and_marked_bad() -> None:
    state = heard(CENTRE)
    tell(state, "rack", power_w=8000.0)
    tell(state, "switch", power_w=1000.0)
    tell(state, "meter", power_w=20_000.0)
    frames = run(state)
    bad = [f for f in frames if f.origin is Origin.MEASURED and "pue_ratio" in f.values]
    assert bad[0].values["pue_ratio"][0] == pytest.approx(0.8)
    assert bad[0].quality["pue_ratio"][0] == Quality.BAD


def test_cdu_residual_from_flow_and_temperatures() -> None:
    """Q = ṁ · cp · ΔT of PG25 where the unit states no heat: 2 kg/s · 3956.7 J/(kg·K) · 10 K at 35 °C."""
    state = heard(CENTRE)
    tell(state, "cdu", supply_temp_c=30.0, return_temp_c=40.0, flow_kgps=2.0)
    expected = solve(CENTRE, state, PARAMS, NOW).cooling.heat.into[CENTRE.position["c1"]]
    assert find(run(state), "cdu", "residual_w")[0] == pytest.approx(79_134 - expected, rel=1e-4)
    state = heard(CENTRE)
    tell(state, "cdu", supply_temp_c=30.0, return_temp_c=40.0, flow_kgps=0.3791, heat_w=15_000.0)
    frames = run(state)
    residual, heat = find(frames, "cdu", "residual_w")[0], find(frames, "cdu", "heat_w")[0]
    assert residual == pytest.approx(15_000 - expected, abs=0.06)
    assert heat == pytest.approx(15_000, abs=0.1 * abs(residual)), "a unit's own meter is better than a share of power"
    low, high = (find(frames, "cdu", "heat_w", band=band)[0] for band in ("p10", "p90"))
    assert low < heat < high


# -- bands and form --------------------------------------------------------------------------------------------------------


def test_the_band_is_the_root_sum_square_with_the_common_share() -> None:
    """Racks known by meters alone: σ = meter uncertainty, so the band is in closed form at both ends of the common share."""
    site = build_site("t", "UTC", rows("id=h kind=hall", *(f"id=r{i} kind=rack parent=h" for i in range(4))))
    state = State(site)
    tell(state, "rack", power_w=10_000.0)
    sigma = PARAMS.doubt.meter * 10_000
    for common, expected in ((0.0, 2 * sigma), (1.0, 4 * sigma), (0.5, np.sqrt(10) * sigma)):
        frames = run(state, replace(PARAMS, doubt=replace(PARAMS.doubt, common_frac=common)))
        assert one(frames, "it_power_w", band="p90") - 40_000 == pytest.approx(Z80 * expected)
        assert 40_000 - one(frames, "it_power_w", band="p10") == pytest.approx(Z80 * expected)


@settings(max_examples=40, deadline=None)
@given(random_centres())
def test_every_frame_is_in_the_table_in_range_and_in_order(made: tuple[Site, State]) -> None:
    site, state = made
    frames = estimate(site, state, PARAMS, NOW)
    assert all(same(a, b) for a, b in zip(frames, estimate(site, state, PARAMS, NOW), strict=True)), "not pure"
    for f in frames:
        assert f.time == NOW or f.origin is Origin.MEASURED
        assert len(set(f.rows)) == len(f.rows)
        assert f.rows.dtype == np.int32
        for name, values in f.values.items():
            m = metric(f.kind, name)
            good = f.quality.get(name, np.zeros(len(values))) < Quality.BAD
            assert np.isnan(values[good]).all() or (np.nanmin(values[good]) >= m.low and np.nanmax(values[good]) <= m.high)
    for name in ("it_power_w", "cooling_power_w", "loss_power_w", "facility_power_w", "pue_ratio"):
        low, middle, high = (one(frames, name, band=band) for band in ("p10", "", "p90"))
        assert np.isnan([low, middle, high]).all() or low <= middle <= high


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 1.0), st.integers(0, 2**32 - 1))
def test_silence_at_random_hardly_moves_the_total(share: float, seed: int) -> None:
    """Against counting silence as zero, which would lose (1 - share) of the power."""
    site = centre()
    rng = np.random.default_rng(seed)
    power = rng.uniform(300, 700, site.count("gpu"))
    part = np.where(rng.random(len(power)) < share, power, NAN)
    params = replace(PARAMS, heard_floor_frac=0.01)
    whole, partly = (one(estimate(site, heard(site, p), params, NOW), "it_power_w") for p in (power, part))
    assert np.isnan(partly) or abs(partly / whole - 1) < 0.25
