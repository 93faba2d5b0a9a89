"""Faults of the simulated centre: each shows where it would, heals, and comes as often as it should."""

from collections.abc import Callable

import numpy as np
import pytest
from simulated_centre import NOW, after, opened, plant, poll_all, site_of, value

from ingest.registry import Opened
from ingest.sources import simulated
from ingest.sources.simulated.faults import FAULTS
from twin.errors import SourceError
from twin.frame import Frame
from twin.site import Site


def one_fault(kind: str, asset: str, for_s: float = 900.0, gpus: int = 64) -> Opened:
    return opened(gpus, faults=[{"kind": kind, "after_s": 60.0, "asset": asset, "for_s": for_s}])


Seen = Callable[[list[Frame], list[Frame], Site], bool]
CASES: list[tuple[str, str, Seen]] = [
    ("pump_wear", "h1-a-cdu1-p1", lambda was, now, s: bool(
        value(now, "pump", "power_w")[s.row("h1-a-cdu1-p1")] == 0
        and value(now, "pump", "pump_speed_frac")[s.row("h1-a-cdu1-p2")] > 0.5)),
    ("link_flap", "h1-a01-sw-p1", lambda was, now, s: bool(
        value(now, "port", "link_down_count")[s.row("h1-a01-sw-p1")]
        > value(was, "port", "link_down_count")[s.row("h1-a01-sw-p1")])),
    ("gpu_xid", "h1-a01-n2-g3", lambda was, now, s: bool(value(now, "gpu", "xid_code")[s.row("h1-a01-n2-g3")] > 0)),
    ("gpu_lost", "h1-a01-n2-g3", lambda was, now, s: bool(
        value(now, "gpu", "xid_code")[s.row("h1-a01-n2-g3")] == 79
        and np.isnan(value(now, "gpu", "power_w")[s.row("h1-a01-n2-g3")]))),
    ("straggler", "h1-a01-n2-g3", lambda was, now, s: bool(
        int(value(now, "gpu", "throttle_code")[s.row("h1-a01-n2-g3")]) & 8
        and value(now, "gpu", "sm_clock_hz")[s.row("h1-a01-n2-g3")] < 1.6e9)),
    ("fouling", "h1-a-cdu1", lambda was, now, s: bool(
        value(now, "cdu", "primary_flow_kgps")[0] > 1.15 * value(was, "cdu", "primary_flow_kgps")[0])),
    ("leak", "h1-a01", lambda was, now, s: bool(value(now, "rack", "leak_flag")[0] == 1)),
    ("disk_wear", "h1-store-d03", lambda was, now, s: bool(
        value(now, "disk", "pending_count")[s.row("h1-store-d03")] > 10
        and value(now, "disk", "failing_flag")[s.row("h1-store-d03")] == 1)),
    ("psu_failing", "h1-a01-n3", lambda was, now, s: bool(value(now, "node", "psu_code")[s.row("h1-a01-n3")] == 2)),
    ("battery_fade", "h1-ups-b1", lambda was, now, s: bool(
        value(now, "ups", "battery_runtime_s")[s.row("h1-ups-b1")]
        < 0.85 * value(now, "ups", "battery_runtime_s")[s.row("h1-ups-a1")])),
    ("node_down", "h1-a01-n3", lambda was, now, s: bool(
        value(now, "node", "up_flag")[s.row("h1-a01-n3")] == 0
        and np.isnan(value(now, "gpu", "power_w")[s.row("h1-a01-n3-g0")]))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "asset", "seen"), CASES, ids=[case[0] for case in CASES])
async def test_a_fault_shows_and_heals(kind: str, asset: str, seen: Seen) -> None:
    centre, site = one_fault(kind, asset), site_of(64)
    before = await poll_all(centre, NOW)
    assert not seen(before, before, site)
    during = before
    for t in range(30, 931, 30):
        during = [*await poll_all(centre, after(t)), *during]  # the newest first: disks report once a minute
    assert seen(before, during, site)
    (fault,) = simulated.plant_of(centre).faults.log
    assert (fault.kind, fault.asset) == (kind, asset)
    assert (fault.start_s, fault.until_s) == (NOW.timestamp() + 60, NOW.timestamp() + 960)
    healed: list[Frame] = []
    for t in range(960, 1900, 30):
        healed = [*await poll_all(centre, after(t)), *healed]
    if kind == "link_flap":  # its counters stay
        assert value(healed, "port", "up_flag")[site.row(asset)] == 1
    elif kind == "pump_wear":  # the standby pump stays on duty, the other is good again
        assert value(healed, "cdu", "flow_kgps")[0] == pytest.approx(value(before, "cdu", "flow_kgps")[0], rel=0.05)
        assert not simulated.plant_of(centre).effects.pump_dead.any()
    else:
        assert not seen(during if kind == "fouling" else before, healed, site)


@pytest.mark.parametrize("kind", ["sensor_stuck", "sensor_drift"])
async def test_a_lying_sensor_lies_beside_an_honest_one(kind: str) -> None:
    centre = opened(128, faults=[{"kind": kind, "after_s": 60, "asset": "h1-a01", "for_s": 3600}])
    readings = []
    for t in range(0, 3600, 60):
        frames = await centre.sources[1].poll(after(t))
        readings.append(
            {name: value(frames, "rack", name) for name in ("supply_temp_c", "return_temp_c", "power_w", "flow_kgps")}
        )
    (fault,) = simulated.plant_of(centre).faults.log
    told = np.array([reading[fault.detail] for reading in readings])[5:]
    if kind == "sensor_stuck":
        assert np.ptp(told[:, 0]) == 0 < np.ptp(told[:, 1])
    else:
        drift = (told[:, 0] - told[:, 1])[-10:].mean() - (told[:, 0] - told[:, 1])[:3].mean()
        assert abs(drift) > 3 * (told[:, 1][-10:].std() + 1e-9)


async def test_swapped_sensors_tell_each_others_truth() -> None:
    centre = opened(192, faults=[{"kind": "sensor_swapped", "after_s": 60, "asset": "h1-a01", "for_s": 3600}])
    await centre.sources[1].poll(NOW)
    frames = await centre.sources[1].poll(after(120))
    (fault,) = simulated.plant_of(centre).faults.log
    name, _, other = fault.detail.partition(" with ")
    told, site = value(frames, "rack", name), site_of(192)
    plant = simulated.plant_of(centre)
    truth = {"power_w": plant.rack_w, "return_temp_c": plant.loops.rack_c}[name]
    one, two = site.row("h1-a01"), site.row(other)
    assert [told[one], told[two]] == pytest.approx([truth[two], truth[one]], rel=0.03)
    await centre.sources[1].poll(after(3700))
    assert plant.effects.swaps == []


async def test_a_silent_source_raises_while_others_live_and_then_tells_no_old_values() -> None:
    centre = one_fault("source_silent", "sim-facility", for_s=120)
    facility, gpu = centre.sources[1], centre.sources[0]
    await facility.poll(NOW)
    for t in range(61, 180, 10):
        with pytest.raises(SourceError, match="sim-facility"):
            await facility.poll(after(t))
        assert all(frame.time == after(t) for frame in await gpu.poll(after(t)))
    frames = await facility.poll(after(181))
    assert {frame.time for frame in frames} == {after(181)}


def test_every_kind_of_fault_is_tested_and_may_be_planned() -> None:
    tested = {case[0] for case in CASES} | {"sensor_stuck", "sensor_drift", "source_silent", "sensor_swapped"}
    assert tested == set(FAULTS) == set(simulated.FaultName.__args__)  # type: ignore[attr-defined]


def test_chance_brings_something_every_few_minutes_and_no_more() -> None:
    centre = plant(512, faults=True)
    for k in range(24 * 12):
        centre.advance(after(300 * k))
    per_hour = len(centre.faults.log) / 24
    assert 8 < per_hour < 20
    assert len(centre.faults.active) < 16
    assert len({fault.kind for fault in centre.faults.log}) >= 9
