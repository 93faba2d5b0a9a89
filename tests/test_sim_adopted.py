"""What a person adopted after calibration is in force offline as it is live: both say the same of what it costs."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tests.small import rows
from twin.adopt import in_force
from twin.frame import frame_of
from twin.load import build_site
from twin.params import Params
from twin.physics.cdu import needed_cold_c
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.scenario import Scenario
from twin.sim.telemetry import Telemetry
from twin.simulate import Trajectory, simulate
from twin.solution import solve
from twin.state import State

NOW = datetime(2026, 7, 1, tzinfo=UTC)
RACK_W = 180_000.0
ASSETS = ["id=h kind=hall", "id=g kind=grid", "id=sky kind=weather", "id=u kind=ups rated_w=300000 no_load_loss_frac=0.01",
          "id=p kind=pdu rated_w=300000", "id=w kind=loop", "id=wp kind=pump parent=w rated_w=2000",
          "id=ct kind=tower rated_w=3000 rated_heat_w=250000", "id=cdu kind=cdu parent=h rated_w=3000 rated_kgps=5",
          "id=r kind=rack parent=h rated_w=200000 liquid_frac=0.8"]  # fmt: skip
LINKS = [("g", "feeds", "u"), ("u", "feeds", "p"), ("p", "feeds", "r")]
LINKS += [("w", "cools", "cdu"), ("cdu", "cools", "r"), ("ct", "cools", "w")]
SITE = build_site("x", "UTC", rows(*ASSETS), rows(*(f"from={a} relation={r} to={b}" for a, r, b in LINKS)))


def adopted(name: str, asset: str = "", **values: float) -> Params:
    found = [{"name": key, "value": value} for key, value in values.items()]
    one = {"name": name, "asset": asset, "sound": True, "sigma_frac": 0.01, "sigma": 0.01, "values": found}
    return in_force(SITE, Params(), [{"fits": [one]}])


def offline(params: Params) -> Trajectory:
    time_s = np.array([0.0, 1e6])
    air = {"wet_bulb_c": Line(time_s, np.full(2, 15.0)), "dry_bulb_c": Line(time_s, np.full(2, 20.0))}
    work = Telemetry(time_s, ("r",), np.full((2, 1), RACK_W))
    outlook: Outlook = outlook_of(air)
    return simulate(SITE, work, params, outlook, 3600.0, 60.0)


def live_w(params: Params) -> float:
    state = State(SITE)
    state.absorb(frame_of("weather", NOW, 0, wet_bulb_c=15.0, dry_bulb_c=20.0), NOW)
    state.absorb(frame_of("rack", NOW, 0, power_w=RACK_W), NOW)
    return float(solve(SITE, state, params, NOW).totals.facility_w)


@pytest.mark.parametrize(
    ("name", "asset", "values"),
    [
        ("loss of ups", "", {"no_load_frac": 0.05, "linear_frac": 0.02, "square_frac": 0.02}),
        ("loss of pdu", "", {"loss_ratio": 3.0}),
        ("house", "", {"house_w": 50_000.0}),
        ("pump", "cdu", {"base_frac": 0.3, "rise_frac": 1.5}),
        ("liquid share", "r", {"liquid_frac": 0.5}),
    ],
)
def test_an_adopted_fit_costs_offline_what_it_costs_live(name: str, asset: str, values: dict[str, Any]) -> None:
    params = adopted(name, asset, **values)
    live = live_w(params) - live_w(Params())
    made, plain = offline(params).series, offline(Params()).series
    assert made["facility_power_w"][-1] - plain["facility_power_w"][-1] == pytest.approx(live, rel=0.06)
    parts = ("it_power_w", "cooling_power_w", "loss_power_w", "house_power_w")
    np.testing.assert_allclose(made["facility_power_w"], np.sum([made[part] for part in parts], axis=0), rtol=1e-12)


def test_the_curves_of_fans_and_pumps_are_those_that_were_adopted_and_what_is_not_run_is_said() -> None:
    plain = offline(Params())
    fans = offline(adopted("fans", base_frac=0.2, rise_frac=1.8, exponent_ratio=Params().plant.fan_exponent))
    rated_w = (plain.series["fans_w"][-1]) / 1.0
    assert fans.series["fans_w"][-1] > 1.8 * rated_w
    loop = offline(adopted("loop pump", "wp", base_frac=0.5, rise_frac=0.0, exponent_ratio=2.0))
    assert loop.series["pumps_w"][-1] == pytest.approx(0.5 * 2000 / 1.5, rel=1e-6), "half of its part at design, whatever flows"
    exchanger = offline(adopted("exchanger", "cdu", conductance_wpk=1e4, conductance_exponent=0.3))
    assert any("calibrated conductance_wpk are in force in the live twin only" in note for note in exchanger.notes)
    assert not any("calibrated" in note for note in plain.notes)


@pytest.mark.parametrize(("pads", "entering_c"), [("", 35.0), (" pad_frac=0.8", 35.0 - 0.8 * 17.0)])
def test_a_dry_cooler_is_wet_where_its_site_says_so_offline_as_live(pads: str, entering_c: float) -> None:
    """Live and offline take the same air into its coil: dry where nothing is said of pads."""
    lines = [line.replace("id=ct kind=tower", "id=ct kind=drycooler") + (pads if "id=ct" in line else "") for line in ASSETS]
    site = build_site("x", "UTC", rows(*lines), rows(*(f"from={a} relation={r} to={b}" for a, r, b in LINKS)))
    time_s = np.array([0.0, 1e6])
    air = {"wet_bulb_c": Line(time_s, np.full(2, 18.0)), "dry_bulb_c": Line(time_s, np.full(2, 35.0))}
    made = simulate(site, Telemetry(time_s, ("r",), np.full((2, 1), RACK_W)), Params(), outlook_of(air), 3600.0, 60.0)
    assert (made.series["water_kgps"][-1] > 0) == bool(pads)
    assert made.series["plant_supply_c"][-1] > entering_c
    state = State(site)
    state.absorb(frame_of("weather", NOW, 0, wet_bulb_c=18.0, dry_bulb_c=35.0), NOW)
    state.absorb(frame_of("rack", NOW, 0, power_w=RACK_W), NOW)
    p, live = Params().plant, solve(site, state, Params(), NOW).cooling.plant
    wanted_c = float(needed_cold_c(p.supply_c, p.range_k * RACK_W / 200_000, p.cdu_ntu))
    coldest_c = entering_c + p.dry_approach_k + p.exchanger_k
    assert float(live.short_k) == pytest.approx(max(coldest_c - wanted_c, 0.0), abs=1.5)


def test_what_was_adopted_of_a_rack_holds_beside_copies_of_it() -> None:
    params = adopted("liquid share", "r", liquid_frac=0.5)
    time_s = np.array([0.0, 1e6])
    work = Telemetry(time_s, ("r",), np.full((2, 1), RACK_W))
    made = simulate(SITE, work, params, Outlook(), 600.0, 60.0, scenario=Scenario(added=[("r", 2)]))
    assert made.series["it_power_w"][-1] > RACK_W
