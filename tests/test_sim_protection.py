"""What breaks after the first thing has broken: breakers, batteries, machines without power, chips at their limit."""

import numpy as np
import pytest

from tests.small import rows
from twin.load import build_site
from twin.params import Params
from twin.sim.chain import Chain
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.protection import Protection
from twin.sim.scenario import Fault, Scenario
from twin.sim.storage import Storage
from twin.sim.telemetry import Telemetry
from twin.simulate import Trajectory, simulate
from twin.site import Site

P = Params()
LOAD_W = 1e5


def centre(feed_w: float, pump_feeds: tuple[str, ...] = ("a", "b")) -> Site:
    """A rack of 100 kW on two PDUs of ``feed_w`` (2N), its CDU with a pump, one loop with towers."""
    assets = ["id=h kind=hall", "id=net kind=grid", "id=w kind=loop", "id=wp kind=pump parent=w", "id=t kind=tower"]
    assets += ["id=c kind=cdu parent=h rated_w=1500", "id=cp kind=pump parent=c"]
    assets += ["id=r kind=rack parent=h rated_w=100000 liquid_frac=1"]
    links = [("t", "w", "cools"), ("w", "c", "cools"), ("c", "r", "cools")]
    for side in "ab":
        assets.append(f"id={side} kind=pdu parent=h rated_w={feed_w:g}")
        links += [("net", side, "feeds"), (side, "r", "feeds")]
    links += [(side, one, "feeds") for side in pump_feeds for one in ("c", "cp")]
    return build_site("x", "UTC", rows(*assets), rows(*(f"from={a} to={b} relation={r}" for a, b, r in links)))


def outlook() -> Outlook:
    return outlook_of({"wet_bulb_c": Line(np.array([0.0, 1e6]), np.full(2, 10.0))})


def run(site: Site, *faults: Fault, hours: float = 1.0, step_s: float = 5.0, load_w: float = LOAD_W) -> Trajectory:
    work = Telemetry(np.array([0.0, 1e6]), ("r",), np.full((2, 1), load_w))
    return simulate(site, work, P, outlook(), hours * 3600, step_s, scenario=Scenario(faults=faults))


def trips(made: Trajectory) -> dict[str, float]:
    return {one["asset"]: one["time_s"] for one in made.limits if one["what"] == "breaker trips"}


def test_a_lost_feed_takes_the_other_one_with_it() -> None:
    """Two feeds at 0.75 of their rating: when one goes the other carries 1.5 and opens, as its thermal element says, after
    τ·ln((1.5² - 0.75²) / (1.5² - 1.25²)); then all is dark."""
    made = run(centre(LOAD_W / 1.5), Fault("a", "trip", 600.0))
    load = LOAD_W / (LOAD_W / 1.5)
    due_s = P.loops.trip_s * np.log((load**2 - (load / 2) ** 2) / (load**2 - P.loops.trip_ratio**2))
    assert trips(made) == {"b": pytest.approx(600 + due_s, rel=0.08)}  # pumps and leakage add a few per cent of load
    power = made.series["it_power_w"]
    assert power[int((trips(made)["b"] - 5) / 5) - 1] == pytest.approx(LOAD_W, rel=0.02)
    assert power[-1] == 0
    assert made.summary["breakers_opened_count"] == 1
    assert any("breakers opened" in note for note in made.notes)


@pytest.mark.parametrize("share", [0.55, 0.62])
def test_feeds_that_are_little_more_than_half_full_hold(share: float) -> None:
    made = run(centre(LOAD_W / share / 2), Fault("a", "trip", 600.0), hours=2.0)
    assert not trips(made)
    assert made.series["it_power_w"][-1] == pytest.approx(LOAD_W, rel=0.02)


@pytest.mark.parametrize("step_s", [1.0, 15.0, 60.0])
def test_when_a_breaker_opens_does_not_hang_on_the_step(step_s: float) -> None:
    made = run(centre(LOAD_W / 1.5), Fault("a", "trip", 600.0), step_s=step_s)
    assert trips(made)["b"] == pytest.approx(trips(run(centre(LOAD_W / 1.5), Fault("a", "trip", 600.0)))["b"], abs=step_s + 5)


def test_a_cdu_without_power_cools_nothing() -> None:
    """Its pumps hang on one feed only, the rack on both: with that feed gone the rack has power and no water."""
    sound, lost = (run(centre(2 * LOAD_W, ("a",)), Fault(side, "trip", 600.0)) for side in "ba")
    assert sound.summary["junction_max_c"] < P.loops.junction_limit_c  # type: ignore[operator]
    assert lost.summary["racks_starved_count"] == 1
    assert lost.summary["racks_slowed_count"] == 1
    assert lost.summary["time_to_limit_s"] < 120  # type: ignore[operator]


def test_chips_slow_down_at_their_limit_before_they_switch_off() -> None:
    """Half of the exchanger fouled: chips stay at their limit with less power, and nothing switches off."""
    hot = Fault("c", "foul", 600.0, value=0.985)
    made = run(centre(2 * LOAD_W), hot, hours=3.0)
    assert 0 < made.summary["slowed_max_frac"] < 1  # type: ignore[operator]
    assert made.summary["racks_off_count"] == 0
    assert made.summary["junction_max_c"] == pytest.approx(P.loops.junction_limit_c, abs=1.0)
    assert made.series["it_power_w"][-1] < 0.98 * LOAD_W
    assert made.summary["balance_gap_w"] < 1.0  # type: ignore[operator]


def test_a_battery_gives_back_what_charging_left_of_what_it_took() -> None:
    """8 kWh at 4 kW under a cap of 1 kW, by hand: 4 kWh out, 2 kWh in of which 88 % stay, and 4 kW at most out again."""
    site = build_site("x", "UTC", rows("id=b kind=battery rated_w=4000 rated_kwh=8"))
    made = Storage(site, Outlook(), P, 1000.0).settle(np.array([5000.0, 0, 0, 9000]), np.arange(4) * 3600.0, 3600.0)
    assert made["battery_w"].tolist() == [-4000.0, 1000.0, 1000.0, -4000.0]
    np.testing.assert_allclose(made["charge_frac"], [4 / 8, 4.88 / 8, 5.76 / 8, 1.76 / 8])
    assert made["grid_power_w"].tolist() == [1000.0, 1000.0, 1000.0, 5000.0]


def test_a_battery_takes_no_more_than_it_holds_and_counts_what_the_sun_gives() -> None:
    """4 kWh out of 8 under a cap of 1 kW, of which 88 % stay when they come back: 4.545 h at 1 kW. Then 2.5 kW of sun beside 5,
    3 and no kW of need: 1.06 kWh are to be filled, and what nobody takes goes to the grid."""
    site = build_site("x", "UTC", rows("id=b kind=battery rated_w=4000 rated_kwh=8", "id=sun kind=pv"))
    night = Storage(site, Outlook(), P, 1000.0).settle(np.array([5000.0, *np.zeros(6)]), np.arange(7) * 3600.0, 3600.0)
    assert night["battery_w"] == pytest.approx([-4000, 1000, 1000, 1000, 1000, 4000 / 0.88 - 4000, 0])
    assert night["charge_frac"][-1] == pytest.approx(1.0)
    store = Storage(site, Outlook({"pv_w": Line(np.zeros(1), np.full(1, 2500.0))}), P, 1000.0)
    day = store.settle(np.array([5000.0, 3000.0, 0.0]), np.arange(3) * 3600.0, 3600.0)
    last_w = (1500 - 0.88 * 500) / 0.88
    assert day["battery_w"] == pytest.approx([-1500, 500, last_w])
    assert day["grid_power_w"] == pytest.approx([1000, 1000, last_w - 2500])
    assert "1.3 kWh go back to the grid" in store.notes()[-1]


def test_what_is_dead_takes_nothing_and_loses_nothing() -> None:
    """A transformer of 100 kVA under a rack of 10 kW and a pump of 5 kW: 0.3 % of its rating, and 1 % by the square of load."""
    assets = ["id=h kind=hall", "id=net kind=grid", "id=t kind=transformer rated_va=100000", "id=w kind=loop"]
    assets += ["id=p kind=pump parent=w", "id=r kind=rack parent=h rated_w=20000"]
    links = [f"from={a} to={b} relation=feeds" for a, b in (("net", "t"), ("t", "p"), ("t", "r"))]
    site = build_site("x", "UTC", rows(*assets), rows(*links))
    chain = Chain(site, fleet_of(site, P), np.array([site.position["p"]], dtype=np.int32), P)
    at = {site.ids[i]: row for row, i in enumerate(chain.at.tolist())}
    power = chain.carry(np.array([[10e3]]), np.array([[5e3]]))
    lost_w = 1e5 * (0.003 + 0.01 * 0.15**2)
    assert (power.loss[at["t"], 0], power.into[at["net"], 0]) == (pytest.approx(lost_w), pytest.approx(15e3 + lost_w))
    assert power.dead_w.tolist() == [0]
    dark = np.zeros(len(site.ids), dtype=np.bool_)
    dark[site.position["t"]] = True
    chain.lose(dark, np.zeros_like(dark))
    power = chain.carry(np.array([[10e3]]), np.array([[5e3]]))
    assert not power.into.any()
    assert not power.loss.any()
    assert power.dead_w.tolist() == [10e3], "of IT"


def test_batteries_are_used_up_over_many_looks_each_by_its_own_load() -> None:
    """Five minutes at its rating, and 2^1.05 times as long at half of it (Peukert); feeds are gone from the first second on."""
    assets = ["id=h kind=hall", "id=net kind=grid", *(f"id=u{i} kind=ups rated_w=100000" for i in range(2))]
    assets += [f"id=r{i} kind=rack parent=h rated_w=200000" for i in range(2)]
    links = [f"from={a} to={b} relation=feeds" for i in range(2) for a, b in (("net", f"u{i}"), (f"u{i}", f"r{i}"))]
    site = build_site("x", "UTC", rows(*assets), rows(*links))
    chain = Chain(site, fleet_of(site, P), np.empty(0, dtype=np.int32), P)
    guard, dark = Protection(site, chain, P), np.zeros(len(site.ids), dtype=np.bool_)
    dark[site.position["net"]] = True
    chain.lose(dark, guard.charged)
    load_w, at, empty = np.tile([100e3, 50e3], (200, 1)), 0, {}
    for _ in range(6):
        at += guard.until(load_w, np.empty(0), float(at), 1.0)
        for name in ("u0", "u1"):
            if not guard.charged[site.position[name]]:
                empty.setdefault(name, at)
        chain.lose(dark, guard.charged)
    assert empty == {"u0": 300, "u1": pytest.approx(300 * 2**1.05, abs=1)}


def test_a_breaker_s_element_keeps_the_heat_of_the_load_before() -> None:
    """A PDU of 100 kW at rest under 60 kW, then 150 kW: θ = 0.36 + (2.25 - 0.36)·(1 - e^(-t/τ)) reaches 1.25² after
    τ·ln(1.89 / 0.6875); under 120 kW it never does. Half of the time, a pause, and the rest of it: it remembers."""
    assets = ["id=h kind=hall", "id=net kind=grid", "id=a kind=pdu rated_w=100000", "id=r kind=rack parent=h rated_w=200000"]
    links = ["from=net to=a relation=feeds", "from=a to=r relation=feeds"]
    site = build_site("x", "UTC", rows(*assets), rows(*links))
    chain = Chain(site, fleet_of(site, P), np.empty(0, dtype=np.int32), P)
    due_s = P.loops.trip_s * np.log(1.89 / 0.6875)

    def trips(*loads_w: tuple[float, int]) -> list[float]:
        """After how many s under loads [W] for so many s each; a second a step."""
        guard, at = Protection(site, chain, P), 0
        for load_w, lasts in loads_w:
            guard.until(np.full((lasts, 1), load_w), np.empty(0), float(at), 1.0)
            at += lasts
        return [time_s - loads_w[0][1] for time_s, _, _ in guard.trips]

    assert trips((60e3, 30), (150e3, 900)) == [pytest.approx(due_s, abs=1.0)]
    assert trips((60e3, 30), (120e3, 9000)) == []
    half = int(due_s / 2)
    left = 0.36 + 1.89 * (1 - np.exp(-half / P.loops.trip_s))
    more_s = P.loops.trip_s * np.log((2.25 - left) / 0.6875)
    assert trips((60e3, 30), (150e3, half), (149.9e3, 900)) == [pytest.approx(half + more_s, abs=2.0)]
