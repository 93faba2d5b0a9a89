"""Reconciliation: least squares as it should be, and a meter that lies does not bend the others."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.centre import CENTRE, NOW, centre, find, heard, random_centres, tell
from tests.small import rows
from twin import powerbalance
from twin.balance import violations
from twin.estimate import estimate, reconciled, solve
from twin.liquid import solve_liquid
from twin.load import build_site
from twin.params import Params
from twin.reconcile import LIMIT_RATIO, Meters, reconcile
from twin.site import Site
from twin.state import State

PARAMS = Params()


def meters(table: list[list[float]], reading: list[float], sigma: list[float], factors: int = 0) -> Meters:
    return Meters(np.array(table), np.zeros((len(reading), factors)), np.array(reading), np.array(sigma))


def test_two_readings_and_a_model_are_weighed_by_their_variances() -> None:
    """One unknown of 100 ± 3, read as 110 ± 2 and 105 ± 1: the mean weighed by 1/9, 1/4 and 1/1, by hand."""
    found = reconcile(np.array([100.0]), np.array([3.0]), np.zeros((1, 0)), meters([[1], [1]], [110.0, 105.0], [2.0, 1.0]))
    weight = np.array([1 / 9, 1 / 4, 1.0])
    assert found.value_w[0] == pytest.approx((weight * [100, 110, 105]).sum() / weight.sum())
    assert found.sigma_of(np.ones((1, 1)))[0] == pytest.approx(weight.sum() ** -0.5)
    others = (weight * [100, 0, 105]).sum() / (weight[0] + weight[2])
    assert found.expected_w[0] == pytest.approx(others), "the first is held against the model and the second alone"
    assert found.spread_w[0] == pytest.approx(np.hypot(2.0, (weight[0] + weight[2]) ** -0.5))


def test_what_all_share_is_learnt_from_some() -> None:
    """Ten loads that a model has 10 % too high together, of which three are read: the other seven are put right too."""
    truth = np.linspace(50.0, 150.0, 10)
    prior = 1.1 * truth
    table = np.eye(10)[:3].tolist()
    found = reconcile(prior, 0.005 * prior, 0.1 * prior[:, None], meters(table, truth[:3].tolist(), [0.1, 0.1, 0.1], 1))
    np.testing.assert_allclose(found.value_w, truth, rtol=0.01)
    assert found.common[0] == pytest.approx(-0.909, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 29), st.sampled_from([-1.0, 1.0]), st.floats(0.2, 0.5))
def test_a_gross_error_is_found_and_bends_nothing(seed: int, liar: int, sign: float, size: float) -> None:
    """Twenty loads in five groups, each load read, each group read twice; one meter lies by 20 to 50 %."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(40e3, 90e3, 20)
    groups = np.kron(np.eye(5), np.ones(4))
    table = np.vstack([np.eye(20), groups, groups])
    sigma = 0.005 * table @ truth
    reading = table @ truth + sigma * rng.standard_normal(30)
    prior = 1.06 * truth * (1 + 0.03 * rng.standard_normal(20))
    honest = reconcile(prior, 0.05 * prior, 0.05 * prior[:, None], meters(table.tolist(), reading.tolist(), sigma.tolist(), 1))
    assume(np.abs((reading - honest.expected_w) / honest.spread_w).max() < 3)  # else chance made an honest meter look bad
    reading[liar] *= 1 + sign * size
    lied = reconcile(prior, 0.05 * prior, 0.05 * prior[:, None], meters(table.tolist(), reading.tolist(), sigma.tolist(), 1))
    score = (reading - lied.expected_w) / lied.spread_w
    assert np.flatnonzero(lied.refused).tolist() == [liar]
    assert np.sign(score[liar]) == sign
    assert np.abs(np.delete(score, liar)).max() < LIMIT_RATIO
    assert np.all(np.abs(lied.value_w - honest.value_w) < 4 * lied.sigma_of(np.eye(20)))


@settings(max_examples=20, deadline=None)
@given(random_centres())
def test_the_reconciled_centre_conserves_power_and_heat(made: tuple[Site, State]) -> None:
    site, state = made
    solution = reconciled(site, state, PARAMS, NOW, solve(site, state, PARAMS, NOW))
    assert violations(site, solution) == []


def test_meters_up_the_tree_move_the_model_towards_them() -> None:
    state = heard(CENTRE)
    model = solve(CENTRE, state, PARAMS, NOW)
    at = CENTRE.of_kind("rack")
    tell(state, "rack", power_w=0.93 * model.power.into[at])
    found = reconciled(CENTRE, state, PARAMS, NOW, model)
    np.testing.assert_allclose(found.power.into[at], 0.93 * model.power.into[at], rtol=0.005)
    ups = CENTRE.position["ua"]
    assert found.power.into[ups] < 0.96 * model.power.into[ups], "what hangs above follows"
    assert found.totals.it_w < 0.96 * model.totals.it_w
    width = [_width(s) for s in (estimate(CENTRE, heard(CENTRE), PARAMS, NOW), estimate(CENTRE, state, PARAMS, NOW))]
    assert width[1] < 0.5 * width[0], "known better than by the model alone"


def _width(frames: list) -> float:
    high, low = (find(frames, "site", "it_power_w", band=band)[0] for band in ("p90", "p10"))
    return float(high - low)


def test_a_rack_meter_that_lies_is_named_and_its_rack_keeps_its_power() -> None:
    state = heard(CENTRE)
    model = solve(CENTRE, state, PARAMS, NOW).power
    rack_w = model.into[CENTRE.of_kind("rack")]
    pdu_w = model.into[CENTRE.of_kind("pdu")]
    tell(state, "pdu", power_w=pdu_w)
    tell(state, "rack", power_w=rack_w * [1.0, 1.3, 1.0])
    frames = estimate(CENTRE, state, PARAMS, NOW)
    score = find(frames, "rack", "residual_score_ratio")
    assert score[1] > LIMIT_RATIO
    assert np.abs(score[[0, 2]]).max() < 1
    assert np.abs(find(frames, "pdu", "residual_score_ratio")).max() < 1
    assert find(frames, "rack", "refused_flag").tolist() == [0, 1, 0]
    assert not find(frames, "pdu", "refused_flag").any()
    np.testing.assert_allclose(find(frames, "rack", "power_w"), rack_w, rtol=0.02)


def test_a_residual_is_smoothed_and_begun_anew_after_a_gap() -> None:
    state = heard(CENTRE)
    tell(state, "rack", power_w=7000.0)
    first = estimate(CENTRE, state, PARAMS, NOW)
    for frame in first:
        state.absorb(frame, NOW)
    before = find(first, "rack", "residual_w")[0]
    soon = NOW + timedelta(seconds=6)
    tell(state, "rack", power_w=7600.0, when=soon)
    after = find(estimate(CENTRE, state, PARAMS, soon), "rack", "residual_w")[0]
    raw = find(estimate(CENTRE, _only(7600.0), PARAMS, NOW), "rack", "residual_w")[0]
    assert after == pytest.approx(before + (1 - np.exp(-6 / PARAMS.residual_s)) * (raw - before), abs=0.2)


def _only(rack_w: float) -> State:
    state = heard(CENTRE)
    tell(state, "rack", power_w=rack_w)
    return state


def test_heat_is_known_no_better_where_there_is_little() -> None:
    """PG25 at 35 °C, 3956.7 J/(kg·K), in an idle hall: thermometers of ± 0.2 K leave 1 kg/s ± √2 · 791.3 W, at no rise too."""
    spread_w = []
    for flow_kgps in (1.0, 2.0):
        state = heard(CENTRE, gpu_w=0.0)
        tell(state, "cdu", supply_temp_c=35.0, return_temp_c=35.0, flow_kgps=flow_kgps)
        solution = solve(CENTRE, state, PARAMS, NOW)
        apart = solve_liquid(CENTRE, state, PARAMS, NOW, solution.cooling, np.zeros(1)).apart["cdu", "heat"]
        spread_w.append(apart.spread[0])
    assert np.sqrt(spread_w[1] ** 2 - spread_w[0] ** 2) == pytest.approx(np.sqrt(2**2 - 1**2) * np.sqrt(2) * 791.3, rel=1e-3)
    score = find(estimate(CENTRE, state, PARAMS, NOW), "cdu", "residual_score_ratio")[0]
    assert abs(score) < LIMIT_RATIO / 2, "0.2 K lie between what they say and what there is"


def test_too_many_loads_are_solved_hall_by_hall(monkeypatch: pytest.MonkeyPatch) -> None:
    state = heard(CENTRE)
    tell(state, "rack", power_w=6500.0)
    tell(state, "meter", power_w=30_000.0)
    whole = estimate(CENTRE, state, PARAMS, NOW)
    monkeypatch.setattr(powerbalance, "MOST_TOGETHER", 5)
    apart = estimate(CENTRE, state, PARAMS, NOW)
    np.testing.assert_allclose(find(apart, "rack", "power_w"), find(whole, "rack", "power_w"), rtol=0.01)
    assert np.isnan(find(apart, "site", "facility_residual_w")).all(), "the site's own meter sees more than one hall"
    monkeypatch.setattr(powerbalance, "MOST_TOGETHER", 1)
    bare = estimate(CENTRE, state, PARAMS, NOW)
    model = solve(CENTRE, state, PARAMS, NOW)
    np.testing.assert_allclose(find(bare, "rack", "power_w"), model.power.into[CENTRE.of_kind("rack")])
    low, high = (find(bare, "site", "it_power_w", band=band)[0] for band in ("p10", "p90"))
    assert low < model.totals.it_w < high


def test_a_site_of_one_meter_is_put_right_by_it() -> None:
    """GPU telemetry and a meter at the connection: what is missing there is shared out over what is known least."""
    site = centre()
    state = heard(site)
    model = solve(site, state, PARAMS, NOW).totals
    tell(state, "meter", power_w=0.93 * model.facility_w)
    found = reconciled(site, state, PARAMS, NOW, solve(site, state, PARAMS, NOW)).totals
    assert found.facility_w == pytest.approx(0.93 * model.facility_w, rel=0.01)
    assert found.it_w < model.it_w


def test_an_unlinked_site_has_residuals_of_racks_alone() -> None:
    site = build_site("t", "UTC", rows("id=h kind=hall", "id=r kind=rack parent=h", "id=n kind=node parent=r",
                                       "id=g kind=gpu parent=n"))  # fmt: skip
    state = State(site)
    tell(state, "gpu", power_w=300.0)
    tell(state, "rack", power_w=2000.0)
    frames = estimate(site, state, PARAMS, NOW)
    assert find(frames, "rack", "power_w")[0] == pytest.approx(2000, rel=0.01)
    assert np.isfinite(find(frames, "rack", "residual_score_ratio")[0])


def test_air_handlers_with_meters_are_weighed_like_any_machine() -> None:
    """The hall's air handlers take what the model gives the room, by rating, and then what their meters say."""
    site = centre("id=ah1 kind=crah parent=h2 rated_w=4000", "id=ah2 kind=crah parent=h2 rated_w=2000")
    state = heard(site)
    model = solve(site, state, PARAMS, NOW)
    at = site.of_kind("crah")
    bare = solve(CENTRE, heard(CENTRE), PARAMS, NOW)
    room_w = bare.cooling.electric[CENTRE.position["h2"]]
    np.testing.assert_allclose(model.cooling.electric[at], [2 / 3 * room_w, 1 / 3 * room_w])
    assert model.cooling.electric[site.position["h2"]] == 0
    np.testing.assert_allclose(model.cooling.of_hall, bare.cooling.of_hall)
    tell(state, "crah", power_w=[3000.0, 1500.0])
    found = reconciled(site, state, PARAMS, NOW, solve(site, state, PARAMS, NOW))
    np.testing.assert_allclose(found.cooling.electric[at], [3000, 1500], rtol=0.01)
    assert violations(site, found) == []
