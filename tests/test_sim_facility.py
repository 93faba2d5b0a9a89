"""Facility water as a network of pressures, what flows in it, and what plants do with its heat."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.small import rows
from twin.coolants import heat_jpkgk, heat_of, names_of, primary_names_of
from twin.errors import SiteError
from twin.load import build_site
from twin.params import Params
from twin.physics.coolant import ethylene_heat_jpkgk, water_heat_jpkgk
from twin.physics.tower import approach_k
from twin.sim.circuit import REJECTORS, Circuit, circuit_of
from twin.sim.facility import Facility, Open
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Line, outlook_of
from twin.sim.reject import Air, Plant
from twin.sim.scenario import Change, Scenario
from twin.sim.telemetry import Telemetry
from twin.simulate import simulate
from twin.site import Site

P = Params()
ASSETS = ["id=h kind=hall", "id=w kind=loop", "id=t kind=tower"]
ASSETS += [f"id=c{i} kind=cdu parent=h" for i in (1, 2)] + [f"id=r{i} kind=rack parent=h rated_w=50000" for i in (1, 2)]
LINKS = ["from=t to=w", "from=w to=c1", "from=w to=c2", "from=c1 to=r1", "from=c2 to=r2"]


def centre(*more: str, links: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> tuple[Site, Circuit]:
    kept = [line for line in LINKS if line not in without]
    site = build_site("x", "UTC", rows(*ASSETS, *more), rows(*(f"{line} relation=cools" for line in (*kept, *links))))
    return site, circuit_of(site, np.array([5e4, 5e4]), P)


def opened(site: Site, c: Circuit, out: str = "", **given: object) -> Open:
    """With every valve open that is not stuck."""
    pumps = [np.flatnonzero(site.parent[site.of_kind("pump")] == at) for at in c.loop_at.tolist()]
    dead = np.isin(np.arange(len(site.ids)), [site.position[out]] if out else [])
    opening = np.ones(len(c.loop_at))
    stuck = np.array(given.get("stuck", [np.nan] * len(c.station_at)))
    return Facility(site, c, pumps, P).open(dead, opening, stuck)


PUMPS = ("id=p1 kind=pump parent=w", "id=p2 kind=pump parent=w")


@pytest.mark.parametrize(("out", "running"), [("", 2), ("p1", 1)])
def test_pumps_side_by_side_meet_the_pipes_and_valves(out: str, running: int) -> None:
    """1.25·H - 0.25·H·(x / (0.75 N))² = H·x²: with one of two out nine tenths are left, not half."""
    site, c = centre(*PUMPS)
    air = c.room_heat_w[0] / P.plant.range_k
    found = opened(site, c, out)
    share = np.sqrt(1.25 / (0.25 / (0.75 * running) ** 2 + 1))
    assert found.loop_wpk / c.loop_wpk == pytest.approx([share], rel=1e-6)
    np.testing.assert_allclose(found.station_wpk / c.primary_wpk, share, rtol=1e-6)
    assert found.loop_wpk[0] == pytest.approx(found.station_wpk.sum() + found.room_wpk[0], rel=1e-6)
    assert found.room_wpk[0] == pytest.approx(air * share, rel=1e-6)


def test_a_valve_that_is_nearly_shut_leaves_its_water_to_the_others() -> None:
    site, c = centre(*PUMPS)
    sound, stuck = opened(site, c).station_wpk, opened(site, c, stuck=[0.2, np.nan]).station_wpk
    assert stuck[0] < 0.1 * sound[0]
    assert sound[1] < stuck[1] <= P.loops.valve_ratio * c.primary_wpk[1], "alone at its header it takes no more than assumed"


def test_a_loop_below_lives_from_the_pumps_above_it_and_dies_with_them() -> None:
    links = ("from=w to=b", "from=b to=c2")
    site, c = centre(*PUMPS, "id=b kind=loop", links=links, without=("from=w to=c2",))
    below = c.loop_at.tolist().index(site.position["b"])
    sound, dead = opened(site, c), opened(site, c, "w")
    assert 0.9 < sound.loop_wpk[below] / c.loop_wpk[below] < 1.1
    assert (dead.loop_wpk < 1e-6 * c.loop_wpk).all()


def test_what_flows_is_taken_from_the_tables_of_the_site() -> None:
    more = ("id=p kind=pump parent=w", "id=b kind=loop coolant=eg30", "id=q kind=pump parent=b")
    site, c = centre(*more, links=("from=w to=b", "from=b to=c2"), without=("from=w to=c2",))
    assert primary_names_of(site) == ["water", "eg30"]
    assert names_of(site, "rack") == ["pg25", "pg25"]
    two = heat_of(primary_names_of(site))(np.array([20.0, 20.0]))
    assert two.tolist() == [float(water_heat_jpkgk(20.0)), float(ethylene_heat_jpkgk(20.0, 0.3))]
    at = c.loop_at.tolist().index(site.position["b"])
    assert c.loop_jpkgk[at] == pytest.approx(float(ethylene_heat_jpkgk(25.0, 0.3)))
    assert heat_jpkgk("pg50", np.array(35.0)) < heat_jpkgk("pg25", np.array(35.0)) < heat_jpkgk("water", np.array(35.0))


@pytest.mark.parametrize("name", ["oil", "pg5", "pg61", "eg", "PG25"])
def test_a_coolant_that_is_not_known_is_named(name: str) -> None:
    with pytest.raises(SiteError, match=f"no coolant '{name}'; write water, or pg and eg"):
        build_site("x", "UTC", rows(f"id=c kind=cdu coolant={name}"))


def test_a_supply_near_the_dew_point_of_its_room_is_said() -> None:
    """Air of 20 °C and 45 % has a dew point of 7.7 °C (ASHRAE Handbook of Fundamentals, ch. 1); one of two CDUs gives 9 °C."""
    site, _ = centre(*PUMPS, "id=k kind=chiller rated_heat_w=300000", links=("from=k to=w",))
    always = np.array([0.0, 1e6])
    cold = outlook_of({name: Line(always, np.full(2, -10.0)) for name in ("wet_bulb_c", "dry_bulb_c")})
    work = Telemetry(always, ("r1", "r2"), np.full((2, 2), 4e4))
    plan = Scenario(changes=[Change("c1", "supply_temp_setpoint_c", 9.0)])
    made = simulate(site, work, P, cold, 7200.0, 60.0, scenario=plan)
    assert made.series["dew_margin_k"][-1] == pytest.approx(9.0 - 7.7, abs=0.1)
    assert any("supply comes within 1.3 K of the dew point; keep 2 K or more" in note for note in made.notes)


# --- what a plant does with heat ------------------------------------------------------------------------------------


def plant_of(*machines: str, economiser: str = "none", **alive: float) -> Plant:
    """Behind 5 kW/K of water that is wanted at 20 °C, in air of 30 °C and 18 °C of wet bulb. ``alive``: shares of machines that
    run, and ``fan``: how fast their fans may turn."""
    links = tuple(f"from={line.split()[0].removeprefix('id=')} to=w" for line in machines)
    kept = [line for line in ASSETS if "kind=tower" not in line]
    cools = [line for line in (*LINKS, *links) if "from=t " not in line]
    site = build_site("x", "UTC", rows(*kept, *PUMPS, *machines), rows(*(f"{line} relation=cools" for line in cools)))
    circuit = circuit_of(site, np.array([5e4, 5e4]), P)
    made = Plant(site, circuit, fleet_of(site, P), P, economiser)
    setting = SimpleNamespace(
        alive={kind: np.array([alive.get(kind, 1.0) * bool(len(circuit.machines[kind][0]))]) for kind in REJECTORS},
        goal_c=np.array([20.0]),
        fan_limit_frac=np.array([alive.get("fan", 1.0)]),
    )
    made.prepare(Air(np.array([18.0]), np.array([30.0])), setting)  # type: ignore[arg-type]
    return made


CHILLERS = ("id=k1 kind=chiller rated_heat_w=30000", "id=k2 kind=chiller rated_heat_w=30000")
REUSE, DRY = "id=u kind=heatreuse rated_heat_w=20000", "id=d kind=drycooler"
EVER_S = 1e9


@pytest.mark.parametrize(
    ("alive", "back_c", "reused_w", "warm_c", "chilled_w"),
    [
        ({}, 40.0, 20e3, 36.0, 60e3),  # 100 kW: reuse takes its 20, chillers what they can of the rest
        ({"heatreuse": 0.5, "chiller": 0.5}, 40.0, 10e3, 38.0, 30e3),
        ({}, 25.0, 20e3, 21.0, 5e3),
        ({}, 21.0, 5e3, 20.0, 0.0),  # no colder than wanted
    ],
)
def test_heat_goes_to_who_wants_it_then_to_chillers(
    alive: dict[str, float], back_c: float, reused_w: float, warm_c: float, chilled_w: float
) -> None:
    made = plant_of(*CHILLERS, REUSE, **alive).reject(0, 0, 5e3, back_c, 0.0, EVER_S)
    assert made == pytest.approx((reused_w, warm_c, warm_c - chilled_w / 5e3, chilled_w))


def test_chillers_follow_with_their_lag_never_below_what_is_wanted_and_not_without_what_cools_them() -> None:
    made = plant_of(*CHILLERS, DRY)
    assert made.reject(0, 0, 5e3, 28.0, 0.0, P.loops.chiller_lag_s / 4)[3] == pytest.approx(10e3)
    assert made.reject(0, 0, 5e3, 22.0, 60e3, 1.0)[2:] == pytest.approx((20.0, 10e3)), "not from the load before"
    assert plant_of(*CHILLERS, DRY, drycooler=0.0).reject(0, 0, 5e3, 28.0, 60e3, EVER_S) == (0.0, 28.0, 28.0, 0.0)


def test_dry_coolers_and_towers_give_what_their_air_does() -> None:
    """Coils: 10 / 16 of the way to the air at design, by the share that runs and turns; an exchanger of 2 K behind them.
    Towers: YorkCalc at the range that is left, half of them with twice the water for their air."""
    assert plant_of(DRY).coldest_c(0, 0, 5e3, 40.0) == pytest.approx(40 - 10 / 16 * 10 + 2)
    assert plant_of(DRY, drycooler=0.5, fan=0.8).coldest_c(0, 0, 5e3, 40.0) == pytest.approx(40 - 0.4 * 10 / 16 * 10 + 2)
    for share, ratio in ((1.0, 1.0), (0.5, 2.0)):
        made = plant_of("id=y kind=tower", tower=share)
        cold_c = made.coldest_c(0, 0, made.design_wpk[0], 32.0)
        assert cold_c == pytest.approx(18 + 2 + float(approach_k(18.0, 32.0 - cold_c, ratio)), abs=1e-6)
    assert plant_of("id=y kind=tower", tower=0.0).coldest_c(0, 0, 5e3, 32.0) == 32.0


def test_what_machines_carry_is_their_own_figure_or_one_to_spare() -> None:
    assert plant_of(*CHILLERS).capacity_w["chiller"] == [60e3]
    assert plant_of("id=k kind=chiller rated_w=5000").capacity_w["chiller"] == [30e3], "by a COP of 6"
    three = plant_of(*(f"id=k{i} kind=chiller" for i in range(3)))
    assert three.capacity_w["chiller"] == pytest.approx([3 * 1.1 * 1e5 / 2]), "two of three carry all and a tenth"


# --- the graph, compiled ----------------------------------------------------------------------------------------------

DEEP = ["id=h kind=hall", "id=g kind=hall", "id=a1 kind=crah parent=g", "id=a2 kind=crah parent=g", "id=t kind=tower"]
DEEP += ["id=bb kind=loop", "id=b kind=loop", "id=w kind=loop", "id=v kind=loop", "id=p kind=pump parent=b"]
DEEP += ["id=q kind=pump parent=v", "id=k kind=chiller", "id=c1 kind=cdu", "id=c2 kind=cdu"]
DEEP += ["id=r1 kind=rack parent=h liquid_frac=0.8", "id=r2 kind=rack parent=h liquid_frac=1", "id=off kind=rack parent=h"]
DEEP += ["id=r3 kind=rack parent=g liquid_frac=0", "id=c3 kind=cdu", "id=e kind=hall", "id=a3 kind=crah parent=e"]
PIPES = "t w, w c1, w b, b bb, bb c2, c1 r1 0.25, c2 r1 0.75, b r2 1, c2 r2 0, c1 off, c1 h, k v, v a1, v a2, w c3, c3 r3, w a3"


def compiled(assets: list[str], pipes: str, *full_w: float) -> tuple[Site, Circuit]:
    """``pipes``: what cools what, and its share."""
    ends = [pipe.split() for pipe in pipes.split(", ") if pipe]
    links = [f"from={a} to={b} relation=cools" + (f" share={share[0]}" if share else "") for a, b, *share in ends]
    site = build_site("x", "UTC", rows(*assets), rows(*links))
    return site, circuit_of(site, np.array(full_w), P)


def test_heat_is_added_up_from_racks_to_plants() -> None:
    """r1: 80 of 100 kW in liquid, a quarter to c1 and the rest to c2, three loops deep; r2: 50 kW into loop b itself; r3: 40 kW
    of air, and its coolant takes the watt that none takes at least. What is left of r1 warms hall h, which w cools by c1. All
    at 10 K. An empty hall's air handler asks for 18 °C of w, whose CDUs would need 28."""
    site, c = compiled(DEEP, PIPES, 1e5, 5e4, 0.0, 4e4)
    at = [site.ids[i] for i in c.station_at]
    branches = {(site.ids_of("rack")[r], at[s]): wpk for r, s, wpk in zip(c.rack, c.station, c.branch_wpk, strict=True)}
    assert branches == pytest.approx({("r1", "c1"): 2e3, ("r1", "c2"): 6e3, ("r2", "b"): 5e3, ("r3", "c3"): 0.1})
    loops = [site.ids[i] for i in c.loop_at]
    assert dict(zip(loops, c.loop_wpk, strict=True)) == pytest.approx({"bb": 6e3, "b": 11e3, "w": 15e3 + 0.1, "v": 4e3})
    above = {name: loops[i] if i >= 0 else "" for name, i in zip(loops, c.loop_parent, strict=True)}
    assert above == {"bb": "b", "b": "w", "w": "", "v": ""}
    plants = [loops[i] for i in c.plant_loop]
    assert [plants[i] for i in c.loop_plant] == ["v" if name == "v" else "w" for name in loops]
    assert c.room_heat_w == pytest.approx([20e3, 40e3, 0.0])
    assert ([loops[i] for i in c.room_loop], c.room_crah.tolist()) == (["w", "v", "w"], [0, 2, 1])
    assert dict(zip(plants, c.plant_heat_w, strict=True)) == pytest.approx({"w": 150e3, "v": 40e3})
    assert dict(zip(plants, c.goal_c, strict=True)) == pytest.approx({"w": 18.0, "v": 18.0})


@pytest.mark.parametrize(("flows", "goal_c"), [((None, None), 28.0), ((2.0, None), 24.553), ((0.5, 0.5), 29.932)])
def test_a_plant_is_as_cold_as_its_most_demanding_exchanger_needs(flows: tuple[float | None, ...], goal_c: float) -> None:
    """Five transfer units on the facility's stream, ε = (1 - e^(-N(1-c))) / (1 - c·e^(-N(1-c))) and N / (1 + N) at c = 1
    (Incropera, table 11.3). Supply 30 °C. With equal streams 5/6 of what lies between 40 °C and the cold one are 10 K. Twice
    the secondary flow: ε 0.957 of half of its stream, 5 K; half of it: N is 10, ε 0.9966, 20 K."""
    heat = float(heat_jpkgk("pg25", np.array(35.0)))
    told = [f" rated_kgps={5e3 / heat * times}" if times else "" for times in flows]
    assets = ["id=w kind=loop", "id=p kind=pump parent=w", "id=t kind=tower", *(f"id=c{i} kind=cdu" for i in (1, 2, 3))]
    assets += ["id=h kind=hall", *(f"id=r{i} kind=rack parent=h liquid_frac=1{one}" for i, one in enumerate(told))]
    _, c = compiled(assets, "t w, w c1, w c2, w c3, c1 r0 0.25, c2 r0 0.75, c3 r1", 5e4, 5e4)
    assert c.goal_c == pytest.approx([goal_c], abs=1e-3)
    first, second = (5e3 / heat * (times or 1.0) for times in flows)
    assert c.branch_kgps == pytest.approx([0.25 * first, 0.75 * first, second])
    assert c.station_kgps == pytest.approx(c.branch_kgps)


ONE = ["id=h kind=hall", "id=w kind=loop", "id=v kind=loop", "id=t kind=tower", "id=c kind=cdu", "id=r kind=rack parent=h"]
SEVERAL = "c has several loops; all of its heat goes to v"
NONE = "no loop cools c: facility water of a fixed temperature is assumed"
BARE = "halls without air handlers (crah) give their air's heat to the facility water; no air temperature"


@pytest.mark.parametrize(
    ("pipes", "takes", "of_air", "said"),
    [
        ("w c, v h", "w", "v", [BARE]),
        ("w c 0.3, v c 0.7, c h", "v", "v", [SEVERAL, BARE]),
        ("v h", "", "v", [NONE, BARE]),
        ("w c", "w", "w", [BARE]),
    ],
)
def test_what_the_graph_leaves_open_is_assumed_and_said_once(pipes: str, takes: str, of_air: str, said: list[str]) -> None:
    site, c = compiled([*ONE, "id=p kind=pump parent=w", "id=q kind=pump parent=v"], f"t w, t v, c r, {pipes}", 5e4)
    names = [site.ids[at] if at >= 0 else "" for at in c.loop_at]
    assert ([names[i] for i in (c.station_loop[0], c.room_loop[0])], list(c.assumed)) == ([takes, of_air], said)


def test_water_that_cools_a_hall_without_racks_and_a_hall_without_water_say_what_is_so() -> None:
    _, c = compiled([ONE[0], ONE[1], ONE[3], "id=p kind=pump"], "t w, w h")
    assert (list(c.assumed), c.goal_c.tolist(), c.plant_heat_w.tolist()) == ([BARE], [P.plant.chilled_c], [1.0])
    _, c = compiled([ONE[0], ONE[5]], "", 5e4)
    assert (c.assumed, c.room_loop.tolist(), len(c.loop_at)) == ((), [-1], 0)


@pytest.mark.parametrize("home", ["", " parent=h", " parent=w", " parent=v", " parent=u"])
def test_a_loop_may_live_from_a_pump_of_its_neighbour_its_hall_or_its_site(home: str) -> None:
    """Loop v lies above w; u cools an empty hall and carries nothing, so it needs none and helps none."""
    assets = [*ONE, f"id=p kind=pump{home}", "id=u kind=loop", "id=e kind=hall", "id=a kind=crah parent=e"]
    pipes = "t v, v w, w c, c r, w h, u a"
    if home == " parent=u":
        with pytest.raises(SiteError) as caught:
            compiled(assets, pipes, 5e4)
        assert sorted(str(one).split(":")[0] for one in caught.value.problems) == ["v", "w"]
    else:
        assert len(compiled(assets, pipes, 5e4)[1].loop_at) == 3
