"""Facility water as a network of pressures, and what flows in it."""

import numpy as np
import pytest

from tests.small import rows
from twin.coolants import heat_jpkgk, heat_of, names_of, primary_names_of
from twin.errors import SiteError
from twin.load import build_site
from twin.params import Params
from twin.physics.coolant import ethylene_heat_jpkgk, water_heat_jpkgk
from twin.sim.circuit import Circuit, circuit_of
from twin.sim.facility import Facility, Open
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
