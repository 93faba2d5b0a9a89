"""Redfish where a part of the service is sick: what it said is unknown, and so is what would be made of the rest. And where it
says by its tags that nothing has changed."""

import json
import math
from datetime import timedelta

import pytest
from devices import NOW, columns, opened, poll
from redfish_mockup import Mockup

from ingest.sources import redfish

UNIT = "/redfish/v1/ThermalEquipment/CDUs/1"
DETECTORS = f"{UNIT}/LeakDetection/LeakDetectors"
SYS, HGX = "/redfish/v1/Chassis/Sys", "/redfish/v1/Chassis/HGX"


def tree():
    """A service: a unit with two leak detectors, a node of two chassis."""

    def link(path):
        return {"@odata.id": path}

    made = {
        "/redfish/v1": {"Chassis": link("/redfish/v1/Chassis"), "ThermalEquipment": link("/redfish/v1/ThermalEquipment")},
        "/redfish/v1/ThermalEquipment": {"CDUs": link("/redfish/v1/ThermalEquipment/CDUs")},
        "/redfish/v1/ThermalEquipment/CDUs": {"Members": [link(UNIT)]},
        UNIT: {"LeakDetection": link(f"{UNIT}/LeakDetection")},
        f"{UNIT}/LeakDetection": {"LeakDetectors": link(DETECTORS)},
        DETECTORS: {"Members": [link(f"{DETECTORS}/Tray"), link(f"{DETECTORS}/Hose")]},
        "/redfish/v1/Chassis": {"Members": [link(SYS), link(HGX)]},
    }
    for name, state in (("Tray", "Critical"), ("Hose", "OK")):
        made[f"{DETECTORS}/{name}"] = {"@odata.type": "#LeakDetector.v1_2_0.LeakDetector", "Id": name, "DetectorState": state}
    for path, power_w in ((SYS, 8200), (HGX, 5600)):
        made[path] = {"Power": link(f"{path}/Power")}
        made[f"{path}/Power"] = {"@odata.type": "#Power.v1_6_0.Power", "PowerControl": [{"PowerConsumedWatts": power_w}]}
    return made


@pytest.fixture
async def service(tmp_path):
    (tmp_path / "tree.json").write_text(json.dumps(tree()))
    async with Mockup(tmp_path / "tree.json") as one:
        yield one


def unit(service, asset="cdu"):
    return opened("redfish", targets={service.url: asset}, events=False).sources[0]


async def told(one, kind, metric, second=0):
    """What one poll says of the metric; NaN: nothing."""
    frames = await poll(one, NOW + timedelta(seconds=second))
    return columns(frames[kind]).get(metric, [math.nan])[0] if kind in frames else math.nan


async def test_a_wet_detector_that_answers_500_is_not_dry_and_a_wet_one_beside_it_is_wet(service):
    one = unit(service)
    try:
        assert await told(one, "cdu", "leak_flag") == 1
        service.broken = {f"{DETECTORS}/Tray"}
        for second in (30, 60, redfish.REDISCOVER_S + 30, redfish.REDISCOVER_S + 60):  # a new look at the service too
            assert math.isnan(await told(one, "cdu", "leak_flag", second))
        service.bodies[f"{DETECTORS}/Hose"]["DetectorState"] = "Warning"
        assert await told(one, "cdu", "leak_flag", redfish.REDISCOVER_S + 90) == 1
        service.broken = set()
        for name in ("Tray", "Hose"):
            service.bodies[f"{DETECTORS}/{name}"]["DetectorState"] = "OK"
        assert await told(one, "cdu", "leak_flag", redfish.REDISCOVER_S + 120) == 0
    finally:
        await one.close()


async def test_detectors_to_which_the_way_is_broken_are_read_on_until_they_are_gone(service):
    one = unit(service)
    try:
        assert await told(one, "cdu", "leak_flag") == 1
        service.broken = {DETECTORS}
        assert await told(one, "cdu", "leak_flag", redfish.REDISCOVER_S) == 1
        assert list(one.troubles) == [DETECTORS]
        service.broken = {DETECTORS, f"{DETECTORS}/Tray"}
        assert math.isnan(await told(one, "cdu", "leak_flag", redfish.REDISCOVER_S + redfish.RELOOK_S))
        service.broken = set()
        del service.bodies[f"{DETECTORS}/Tray"]  # taken out
        service.bodies[DETECTORS]["Members"].pop(0)
        assert await told(one, "cdu", "leak_flag", redfish.REDISCOVER_S + 2 * redfish.RELOOK_S) == 0
    finally:
        await one.close()


async def test_a_state_that_is_no_word_of_the_mapping_is_not_dry(service):
    one = unit(service)
    try:
        assert await told(one, "cdu", "leak_flag") == 1
        for state in ("Unavailable", None):
            service.bodies[f"{DETECTORS}/Tray"]["DetectorState"] = state
            assert math.isnan(await told(one, "cdu", "leak_flag", 30))
            assert one.unmapped_names[-1] == f"LeakDetector.DetectorState = {state}"
    finally:
        await one.close()


async def test_the_power_of_a_node_whose_outer_chassis_answers_500_is_not_that_of_its_inner_one(service):
    one = unit(service, "node")
    try:
        assert await told(one, "node", "power_w") == 8200
        service.broken = {f"{SYS}/Power"}
        assert math.isnan(await told(one, "node", "power_w", 30))
        service.broken = set()
        assert await told(one, "node", "power_w", 60) == 8200
        service.bodies[f"{HGX}/Power"]["PowerControl"][0]["PowerConsumedWatts"] = None  # has no such reading, and is well
        assert await told(one, "node", "power_w", 90) == 8200
    finally:
        await one.close()


async def test_a_weak_tag_that_stands_still_freezes_no_reading(service):
    service.tag_of = lambda body: 'W/"570254F2"'
    one, powers = unit(service, "node"), []
    try:
        for second, power_w in ((0, 300), (30, 350), (60, 3000), (90, 4500)):
            for path in (SYS, HGX):
                service.bodies[f"{path}/Power"]["PowerControl"][0]["PowerConsumedWatts"] = power_w
            powers.append(await told(one, "node", "power_w", second))
    finally:
        await one.close()
    assert powers == [300, 350, 3000, 4500]
