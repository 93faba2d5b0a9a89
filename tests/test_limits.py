"""What the operator allows and says of his plant: read with every mistake at once, kept by the guard, known to levers."""

from dataclasses import replace
from pathlib import Path

import pytest
from energy_house import NOW, SETPOINT, SPEED, Physics, hall, read
from whole_centre import write_centre

from energy.guard import Limits, guard
from energy.levers import Outlook, no_outlook, open_lever
from energy.place.atlas import NOWHERE
from energy.plan import Plan
from energy.response import Params
from twin.errors import ConfigError
from twin.job import no_jobs
from ui.app import Centre
from ui.config import load_config
from ui.limits import LimitsSection, PlantSection, limits_of
from ui.tasks import VirtualClock

SITE = hall()


def proposed(name: str, outlook: Outlook, plant: Params | None = None) -> Plan | None:
    state = read(SITE, Physics(), 24.0, 31.0)
    plan = open_lever(name, plant).propose(SITE, state, no_jobs(), outlook, NOW)
    if plan is not None:
        limits = Limits(locked=outlook.locked, bounds=outlook.bounds)
        assert guard(plan, SITE, state, (), NOW, limits, ()).allowed
    return plan


def allowing(**section: object) -> Outlook:
    limits = limits_of(LimitsSection.model_validate(section), SITE, NOWHERE)
    return replace(no_outlook(), locked=limits.locked, bounds=limits.bounds)


def test_a_configuration_reaches_guard_and_levers(tmp_path: Path) -> None:
    more = (
        "[energy.limits]\ndwell_s = 3600\nlongest_wait_s = 7200\nbounds.cdu.pump_speed_frac = [0.6, 1]\n"
        '[energy.plant]\nthrottle_c = 90\nwater_class = "W40"\n'
    )
    config = load_config(write_centre(tmp_path, more))
    centre = Centre(config, VirtualClock(NOW))
    limits, lever = centre.duties.acting._limits, centre.duties.acting._levers["supply_temperature"]
    centre.close()
    assert (limits.dwell_s, limits.longest_wait_s, limits.bounds) == (3600.0, 7200.0, {("cdu", SPEED): (0.6, 1.0)})
    assert lever == open_lever("supply_temperature", Params(throttle_c=90.0, water_class="W40"))
    assert limits_of(LimitsSection(), SITE, NOWHERE) == Limits()  # what is not said is as it always was
    assert PlantSection().params == Params()


@pytest.mark.parametrize(("more", "says"), [
    ("[energy.limits]\nbounds.cdu.supply_temp_c = [20, 30]\n", "cdu.supply_temp_c is nothing that can be set"),
    ("[energy.limits]\nbounds.cdu.pump_speed_frac = [0.5, 1.5]\n", "two rising numbers from 0 to 1"),
    ("[energy.limits]\nbounds.cdu.pump_speed_frac = [0.9, 0.5]\n", "two rising numbers"),
    ("[energy.limits]\ndwell_s = 1\n", "dwell_s"),
    ("[energy.limits]\ndwell = 1\n", "dwell"),
    ("[energy.plant]\nwater_class = \"W99\"\n", "no water class 'W99'"),
    ("[energy.plant]\nlowest_c = 40\nhighest_c = 30\n", "lowest_c 40 is not below highest_c 30"),
])  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, more: str, says: str) -> None:
    path = write_centre(tmp_path, more)
    with pytest.raises(ConfigError, match=r"site\.toml:") as caught:
        load_config(path)
    assert says in str(caught.value)


def test_what_is_locked_must_be_there() -> None:
    with pytest.raises(ConfigError, match="'c9' is no asset of the site"):
        limits_of(LimitsSection(locked=("c1", "c9")), SITE, NOWHERE)


def test_levers_leave_out_what_is_locked_and_stay_within_bounds() -> None:
    free = proposed("coolant_flow", no_outlook())
    assert free is not None
    assert {action.asset for action in free.actions} == {"c1", "c2"}
    locked = proposed("coolant_flow", allowing(locked=("c1",)))
    assert locked is not None
    assert [action.asset for action in locked.actions] == ["c2"]
    slowest = round(free.actions[0].value + 0.04, 2)
    bounded = proposed("coolant_flow", allowing(bounds={"cdu": {SPEED: (slowest, 1.0)}}))
    assert bounded is not None
    assert bounded.actions[0].value >= slowest
    assert proposed("coolant_flow", no_outlook(), Params(throttle_c=60.0)) is None


def test_water_stays_within_the_operators_bounds() -> None:
    free = proposed("supply_temperature", no_outlook())
    assert free is not None
    moved = {action.asset: action.value for action in free.actions}
    tight = {"loop": {SETPOINT: (23.7, 24.3)}, "cdu": {SETPOINT: (30.7, 31.3)}}
    held = proposed("supply_temperature", allowing(bounds=tight))
    for action in held.actions if held else ():
        low, high = tight[SITE.kind(action.asset)][SETPOINT]
        assert low <= action.value <= high
    assert proposed("supply_temperature", allowing(locked=tuple(moved))) is None
