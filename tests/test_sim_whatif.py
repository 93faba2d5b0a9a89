"""Two scenarios side by side: whose number is which, how wide the interval is, and how many members may run."""

from dataclasses import replace

import numpy as np
import pytest

from tests.small import small_site
from twin.errors import ConfigError
from twin.params import Params
from twin.sim.outlook import Outlook
from twin.sim.scenario import Scenario
from twin.sim.telemetry import Telemetry
from twin.sim.whatif import MAX_MEMBERS, Comparison, _row, compare

WORK = Telemetry(np.array([0.0, 3600.0]), ("r1",), np.full((2, 1), 1e4))


def beside(members: int, other: Params | None = None) -> Comparison:
    rng, both = np.random.Generator(np.random.PCG64(1)), (Scenario("a"), Scenario("b"))
    return compare(
        small_site(), WORK, Params(), Outlook(), 3600.0, 600.0, scenarios=both, rng=rng, members=members, other_params=other
    )


def test_a_difference_is_other_less_base_and_its_interval_that_of_the_members() -> None:
    pairs = [({"facility_energy_kwh": 10.0}, {"facility_energy_kwh": 10.0 - k}) for k in range(11)]
    one = _row("facility_energy_kwh", {"facility_energy_kwh": 8.0}, {"facility_energy_kwh": 5.0}, pairs)
    assert (one.base, one.other, one.difference) == (8.0, 5.0, -3.0)
    assert (one.difference_p10, one.difference_p90) == (pytest.approx(-9.0), pytest.approx(-1.0))
    unknown = [*pairs, ({"facility_energy_kwh": None}, {"facility_energy_kwh": 1.0})]
    assert _row("facility_energy_kwh", {"facility_energy_kwh": None}, {"facility_energy_kwh": 5.0}, unknown) == replace(
        one, base=None, other=5.0, difference=None, difference_p10=None, difference_p90=None
    )


def test_the_other_may_have_numbers_of_its_own_and_members_are_bounded() -> None:
    """A kilowatt of house power in the other alone, for an hour."""
    made = beside(0, replace(Params(), house_w=1000.0))
    assert made.other.series["house_power_w"].tolist() == [1000.0] * 6
    assert made.base.series["house_power_w"].tolist() == [0.0] * 6
    for members in (-1, MAX_MEMBERS + 1):
        with pytest.raises(ConfigError, match=f"from 0 to {MAX_MEMBERS} can be run"):
            beside(members)
