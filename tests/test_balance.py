"""Conservation after a solve, and the faults that the check must catch."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.centre import CENTRE, NOW, heard, random_centres
from twin.balance import flow_violations, violations
from twin.estimate import Solution, Totals, solve
from twin.flow import MAX_DEPTH, carry
from twin.frame import Floats
from twin.params import Params
from twin.site import Links, Site
from twin.state import State


def solved(site: Site = CENTRE, state: State | None = None) -> Solution:
    return solve(site, state or heard(site), Params(), NOW)


def test_a_centre_is_in_balance() -> None:
    solution = solved()
    assert violations(CENTRE, solution) == []
    assert solution.totals.facility_w == pytest.approx(solution.power.total_w, rel=1e-12)


@settings(max_examples=40)
@given(random_centres())
def test_every_centre_is_in_balance(centre: tuple[Site, State]) -> None:
    """Any shape of feeds and coolers, with silent GPUs, metered racks and unfed machines."""
    site, state = centre
    assert [str(v) for v in violations(site, solved(site, state))] == []


def at(asset: str, off: float) -> Floats:
    column = np.zeros(len(CENTRE.ids))
    column[CENTRE.position[asset]] = off
    return column


def off(what: str, asset: str, by: float) -> Callable[[Solution], Solution]:
    """Moves one number of the power flow."""
    return lambda s: replace(s, power=replace(s.power, **{what: getattr(s.power, what) + at(asset, by)}))


def off_heat(s: Solution) -> Solution:
    heat = s.cooling.heat
    return replace(s, cooling=replace(s.cooling, heat=replace(heat, into=heat.into + at("c1", -80))))


def off_cooling(s: Solution) -> Solution:
    return replace(s, cooling=replace(s.cooling, electric=s.cooling.electric + at("ch1", 40)))


def off_it(s: Solution) -> Solution:
    return replace(s, totals=Totals(s.totals.it_w + 60, s.totals.cooling_w, s.totals.loss_w))


FAULTS: list[tuple[str, Callable[[Solution], Solution], str, float]] = [
    ("a UPS that creates power", off("into", "ua", -50), "ua: power in", -50),
    ("a loss that nobody supplies", off("loss", "ua", 9), "ua: power in", -9),
    ("a negative loss", off("loss", "r1", -5), "r1: negative loss", -5),
    ("a rack left out of the chain", off("own", "r1", -70), "r1: power in", 70),
    ("heat that vanishes in a CDU", off_heat, "c1: heat in", -80),
    ("cooling that nobody feeds", off_cooling, "needs in the chain", -40),
    ("IT that no heat follows", off_it, "heat to the plant", -60),
]


@pytest.mark.parametrize(("name", "plant", "where", "size_w"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_planted_fault_is_caught(name: str, plant: Callable[[Solution], Solution], where: str, size_w: float) -> None:
    found = violations(CENTRE, plant(solved()))
    assert any(where in str(v) and v.size_w == pytest.approx(size_w, abs=1e-3) for v in found), [str(v) for v in found]


def test_feeds_that_bring_only_part_of_the_load_are_caught() -> None:
    flow = solved().power
    links = Links(
        flow.links.source, flow.links.target, flow.links.share * np.where(np.arange(len(flow.links.share)) == 0, 0.9, 1)
    )
    found = flow_violations(CENTRE, carry(links, flow.own), "power")
    assert any("that its feeds do not bring" in v.balance and v.size_w < 0 for v in found)


def chain(n: int) -> Links:
    return Links(np.arange(n, dtype=np.int32), np.arange(1, n + 1, dtype=np.int32), np.ones(n))


@given(st.integers(1, MAX_DEPTH - 2), st.floats(0, 0.2))
def test_carry_along_a_chain_is_compound(depth: int, loss: float) -> None:
    own = np.zeros(depth + 1)
    own[-1] = 1000.0
    flow = carry(chain(depth), own, lambda out: out * loss)
    assert flow.total_w == pytest.approx(1000 * (1 + loss) ** (depth + 1), rel=1e-9)


def test_carry_gives_up_on_a_cycle() -> None:
    ring = Links(np.array([0, 1], dtype=np.int32), np.array([1, 0], dtype=np.int32), np.ones(2))
    with pytest.raises(ValueError, match="form a cycle"):
        carry(ring, np.ones(2))
