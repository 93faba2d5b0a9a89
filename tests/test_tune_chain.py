"""What the lever ``tune`` may set, reads and orders, on a plant of two waters, three chillers and two towers, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from energy.levers.tune_chain import (
    FAN_LIMIT,
    FAN_SPEED,
    LIMIT,
    SETPOINT,
    Chain,
    Get,
    Running,
    aims_of,
    chain_of,
    last_of,
    over_k,
    reading_of,
    running_of,
)
from energy.tune.fans import LEAST
from tests.small import rows
from twin.load import build_site
from twin.site import Site

NAN = math.nan


def plant(*more: str, unit: str = "rated_w=2500", links: tuple[str, ...] = (), loops: tuple[str, ...] = ("pl",)) -> Site:
    """Chillers ``k1`` to ``k3`` of 15 kW (a COP of 6) on ``loops``, towers ``t1`` and ``t2`` on these, two CDUs; before them
    in each kind, one that belongs to another loop ``ol`` and cools no CDU."""
    kinds = {"loop": ("ol", *loops), "chiller": ("ok",), "tower": ("ot", "t1", "t2"), "cdu": ("c1", "c2"), "pump": ("p",)}
    lines = ["id=h kind=hall", "id=sky kind=weather", *(f"id=k{i} kind=chiller {unit}" for i in (1, 2, 3))]
    lines += [f"id={name} kind={kind}" for kind, names in kinds.items() for name in names]
    pipes = ["ok ol", "ot ok", *(f"{cold} k{i}" for i in (1, 2, 3) for cold in ("t1", "t2"))]
    pipes += [f"k{i} {loops[0]}" for i in (1, 2, 3)] + [f"{loops[i % len(loops)]} c{i}" for i in (1, 2)] + list(links)
    links_ = [f"from={a} to={b} relation=cools" for a, b in map(str.split, pipes)]
    return build_site("x", "UTC", rows(*sorted(lines, key=lambda line: line.startswith("id=k")), *more), rows(*links_))


SITE = plant()
USUAL: dict[tuple[str, str], dict[str, float]] = {
    ("loop", SETPOINT): {"ol": 12.0, "pl": 27.0}, ("loop", LIMIT): {"pl": 3.0}, ("loop", "supply_temp_c"): {"pl": 28.5},
    ("loop", "return_temp_c"): {"pl": 35.0}, ("cdu", SETPOINT): {"c1": 31.0, "c2": 33.0},
    ("chiller", "power_w"): {"ok": 900.0, "k1": 2000.0, "k2": 130.0, "k3": 120.0},
    ("tower", FAN_LIMIT): {"t1": 0.8, "t2": 0.9}, ("tower", FAN_SPEED): {"t1": 0.6, "t2": 0.8},
    ("tower", "supply_temp_c"): {"t1": 22.0, "t2": 24.0}, ("tower", "power_w"): {"ot": 50.0, "t1": 300.0, "t2": 200.0},
    ("pump", "power_w"): {"p": 700.0}, ("weather", "wet_bulb_c"): {"sky": 20.0}, ("weather", "dry_bulb_c"): {"sky": 26.0},
    ("site", "it_power_w"): {"x": 1e5},
}  # fmt: skip


def shown(site: Site = SITE, **other: float) -> Get:
    """What the site shows: ``USUAL`` but for ``<asset>__<metric>``; all else is silent."""

    def get(kind: str, name: str) -> np.ndarray:
        told = USUAL.get((kind, name), {})
        ids = ("x",) if kind == "site" else site.ids_of(kind)
        return np.array([other.get(f"{one}__{name}", told.get(one, NAN)) for one in ids])

    return get


def chain(site: Site = SITE, **other: float) -> Chain:
    made = chain_of(site, shown(site, **other))
    assert made is not None
    return made


def named(site: Site, kind: str, found: tuple[int, ...]) -> list[str]:
    return [site.ids_of(kind)[row] for row in found]


def test_a_chain_is_the_loop_above_the_cdus_with_its_own_machines() -> None:
    made = chain()
    names = [named(SITE, kind, getattr(made, name)) for kind, name in (("loop", "loop"), ("chiller", "chillers"))]
    assert [*names, named(SITE, "tower", made.fans)] == [["pl"], ["k1", "k2", "k3"], ["t1", "t2"]]
    assert (made.unit_w, made.chilled_w, made.fan_w) == pytest.approx((15e3, 45e3, 0.0127 * 45e3))
    assert made.count == 1 + 2 + 1 + 2
    told = chain(plant(unit="rated_w=2500 rated_heat_w=20000"))
    assert (told.unit_w, told.chilled_w) == (20e3, 60e3), "its own figure counts before one from its power"


def test_one_loop_and_several_towers_are_a_chain_too() -> None:
    lines = ["id=w kind=loop", *(f"id=t{i} kind=tower rated_w=400" for i in (1, 2, 3)), "id=k kind=chiller rated_w=2500"]
    pipes = ["k w", "w c", *(f"t{i} k" for i in (1, 2, 3))]
    links = rows(*(f"from={a} to={b} relation=cools" for a, b in map(str.split, pipes)))
    site = build_site("x", "UTC", rows(*lines, "id=c kind=cdu"), links)
    settings = {"w__" + SETPOINT: 27.0, "c__" + SETPOINT: 32.0, "w__return_temp_c": 35.0}
    fans = {f"t{i}__{name}": 1.0 for i in (1, 2, 3) for name in (FAN_LIMIT, FAN_SPEED, "supply_temp_c")}
    assert chain(site, **settings, **fans).fans == (0, 1, 2)
    assert chain(site, **settings, **fans).fan_w == 1200.0


@pytest.mark.parametrize(
    ("site", "other", "chillers", "fans"),
    [
        (SITE, {"pl__" + LIMIT: NAN}, 0, 2),
        (plant(unit=""), {}, 0, 0),  # of no known size
        (plant("id=k4 kind=chiller rated_w=2950", links=("k4 pl",)), {}, 4, 2),
        (plant("id=k4 kind=chiller rated_w=3050", links=("k4 pl",)), {}, 0, 2),  # more than 1.2 times as large
        (plant("id=d kind=drycooler", links=("d pl",)), {}, 3, 0),
        (SITE, {"t1__" + FAN_LIMIT: NAN}, 3, 0),
        (SITE, {"t2__" + FAN_SPEED: NAN}, 3, 0),
        (SITE, {"t1__supply_temp_c": NAN}, 3, 0),
        (SITE, {"pl__return_temp_c": NAN}, 3, 0),
        (SITE, {"ol__return_temp_c": 30.0, "pl__return_temp_c": NAN}, 3, 0),
    ],
)
def test_what_is_not_known_or_not_alike_is_left_to_the_plant(
    site: Site, other: dict[str, float], chillers: int, fans: int
) -> None:
    made = chain(site, **other)
    assert (len(made.loop), len(made.cdu), len(made.chillers), len(made.fans)) == (1, 2, chillers, fans)


@pytest.mark.parametrize(("towers", "fans"), [(8, 8), (9, 0)])
def test_no_more_is_set_than_a_plan_holds(towers: int, fans: int) -> None:
    """Twelve setpoints: a loop, two CDUs, a number of chillers and eight towers."""
    more = range(3, towers + 1)
    site = plant(*(f"id=t{i} kind=tower" for i in more), links=tuple(f"t{i} k1" for i in more))
    told = {f"t{i}__{name}": 1.0 for i in more for name in (FAN_LIMIT, FAN_SPEED, "supply_temp_c")}
    assert len(chain(site, **told).fans) == fans


def test_who_has_no_chain() -> None:
    assert chain_of(SITE, shown(c2__supply_temp_setpoint_c=NAN)) is None, "a CDU that cannot be set"
    two = plant(loops=("pl", "ql"))
    assert chain_of(two, shown(two, ql__supply_temp_setpoint_c=26.0)) is None, "two plants"
    assert named(two, "loop", chain(two).loop) == ["pl"], "of which one can be set"
    assert chain(pl__supply_temp_setpoint_c=NAN) == Chain((), (0, 1)), "CDUs alone"
    bare = build_site("x", "UTC", rows("id=pl kind=loop", "id=k kind=chiller"), rows("from=k to=pl relation=cools"))
    assert chain_of(bare, shown(bare)) is None, "no CDU"


@pytest.mark.parametrize(
    ("other", "held"),
    [
        ({}, True),  # its fans
        ({"t1__" + FAN_LIMIT: 1.0, "t2__" + FAN_LIMIT: 0.97}, False),
        ({"t1__" + FAN_LIMIT: 1.0, "t2__" + FAN_LIMIT: 0.95}, True),
        ({"t1__" + FAN_LIMIT: 1.0, "t2__" + FAN_LIMIT: NAN}, True),
        ({"t1__" + FAN_LIMIT: 1.0, "t2__" + FAN_LIMIT: 1.0, "pl__" + LIMIT: 2.0}, True),
        ({"t1__" + FAN_LIMIT: 1.0, "t2__" + FAN_LIMIT: 1.0, "pl__" + LIMIT: NAN}, True),
    ],
)
def test_what_may_do_less_than_by_itself_is_held_back(other: dict[str, float], held: bool) -> None:
    assert chain().held_back(shown(**other)) is held
    assert not Chain((), (0, 1)).held_back(shown())


def test_what_runs_takes_more_than_a_twentieth_of_its_rating() -> None:
    """125 of 2,500 W. Speed 0.7, water at 23 °C over a wet bulb of 20, plant water 35 and 28.5."""
    told = plant(unit="rated_w=2500 rated_heat_w=15000")
    for site in (SITE, told):
        assert running_of(site, chain(site), shown(site)) == pytest.approx(Running(2.0, 3.0, 0.7, 3.0, 6.5))
    assert math.isnan(running_of(SITE, chain(), shown(k3__power_w=NAN)).running_count)
    assert running_of(SITE, chain(), shown(ok__power_w=NAN)).running_count == 2, "not one of its own"
    alone = running_of(SITE, replace(chain(), chillers=(), fans=()), shown())
    assert np.isnan(alone).all()
    for running, most, holds in ((0, 3, 1), (3, 2, 2), (2, NAN, 2), (2, 3, 2), (NAN, 3, NAN)):
        assert Running(running, most).in_force == pytest.approx(holds, nan_ok=True)


def test_water_is_over_its_setpoint_only_where_machines_are_tuned() -> None:
    made = chain()
    for one in (made, replace(made, chillers=()), replace(made, fans=())):
        assert over_k(one, shown()) == 1.5
    assert over_k(replace(made, chillers=(), fans=()), shown()) == 0.0


def test_a_reading_is_means_of_settings_and_sums_of_power() -> None:
    site = plant("id=d kind=drycooler")
    made, powers = chain(site), {"d__power_w": 40.0}
    reading = reading_of(site, made, shown(site, **powers), 60.0)
    assert reading.settings == pytest.approx([27.0, 32.0, 2.0, 0.85])
    assert reading.parts_w == {"it": 1e5, "cold": 3740.0, "chill": 3150.0, "fan": 590.0, "pump": 700.0}
    assert reading[:1] + reading[2:5] == (60.0, 26.0, 20.0, 1e5)
    silent = reading_of(site, made, shown(site, c2__supply_temp_setpoint_c=NAN, k1__power_w=NAN, **powers), 60.0)
    assert np.isnan([silent.settings[1], silent.parts_w["chill"], silent.parts_w["cold"]]).all()


BEGIN = (27.0, 32.0, 3.0, 0.85)


@pytest.mark.parametrize(
    ("settings", "base", "other", "aims"),
    [
        (BEGIN, BEGIN, {}, {}),
        ((30.0, 31.5, 3.0, 0.85), BEGIN, {}, {"pl": 28.0, "c1": 30.5, "c2": 32.5}),  # a step of 1 K at most
        ((24.0, 32.03, 3.0, 0.85), BEGIN, {}, {"pl": 26.0}),  # 0.03 K are no move
        (BEGIN, (26.0, 32.0, 3.0, 0.85), {}, {"pl": 27.0}),  # rests where it was ordered: is renewed
        ((27.0, 32.333, 3.0, 0.85), BEGIN, {"c2__" + SETPOINT: NAN}, {"c1": 31.33}),
        ((27.0, 32.0, 3.0, 0.75), BEGIN, {}, {"t1": 0.7, "t2": 0.8}),
        ((27.0, 32.0, 3.0, 0.50), BEGIN, {}, {"t1": LEAST, "t2": 0.55}),
        ((27.0, 32.0, 3.0, 1.0), BEGIN, {"t2__" + FAN_LIMIT: NAN}, {"t1": 0.95}),
        ((27.0, 32.0, 3.0, 1.1), BEGIN, {}, {"t1": 1.0, "t2": 1.0}),
        ((27.0, 32.0, 1.9, 0.85), BEGIN, {}, {"pl": 2.0}),
    ],
)
def test_orders_are_moves_of_each_from_where_it_stands(
    settings: tuple[float, ...], base: tuple[float, ...], other: dict[str, float], aims: dict[str, float]
) -> None:
    made = aims_of(SITE, chain(), np.array(BEGIN), np.array(settings), np.array(base), shown(**other))
    assert {asset: value for asset, _, value in made} == pytest.approx(aims)
    assert made == sorted(made)


@pytest.mark.parametrize(
    ("begin", "goes", "own", "limit", "ordered"),
    [
        (3, 2, 3, 3, True),
        (2, 2, 3, 2, True),  # still held back: renewed
        (2, 3, 4, 2, True),  # a step back of two
        (2, 3, 3, 2, False),  # all that would run by themselves: nobody renews
        (2, 2, 3, 3, False),  # nothing is held back, and fewer do run
        (2, 2, 2, 2, False),
    ],
)
def test_a_number_of_chillers_is_ordered_where_it_holds_some_back(
    begin: float, goes: float, own: float, limit: float, ordered: bool
) -> None:
    one = replace(chain(), fans=())
    states = [np.array([27.0, 32.0, number]) for number in (begin, goes, own)]
    made = aims_of(SITE, one, *states, shown(pl__chillers_limit_count=limit))  # type: ignore[arg-type]
    assert made == ([("pl", LIMIT, goes)] if ordered else [])


def test_the_newest_value_of_each_is_the_last_that_is_there() -> None:
    column = np.array([[1.0, 5.0, NAN], [2.0, NAN, NAN], [3.0, NAN, NAN]])
    np.testing.assert_array_equal(last_of(column), [3.0, 5.0, NAN])
    np.testing.assert_array_equal(last_of(np.empty((0, 2))), [NAN, NAN])
