"""What the live detectors make of a field that misbehaves: assets that go silent, clocks that go back, what stays on show."""

import numpy as np
import pytest
from small import small_site
from watching import Told, hall, smart

from analytics.detect.outcomes import Outcomes
from analytics.gpu_health import HEALED_S

DAY_S = 86400.0


def test_what_went_silent_stays_found_with_the_words_it_was_found_with() -> None:
    told, ill = Told(hall()), ("pending_count", "reallocated_count", "reported_uncorrected_count")
    for _ in range(2):
        told.step(60, disk=smart(**dict.fromkeys(ill, (0, 40.0))), node={"psu_code": np.array([0, 1, 0, 0, 0, 0.0])})
    said = {key: (str(one.summary), one.lead_s) for key, one in told.found.items()}
    assert set(said) == {("disk_hazard", "d0"), ("psu", "n1")}
    assert said["disk_hazard", "d0"] == ("d0 is likely to fail: pending 40", 13.5 * DAY_S)
    told.step(DAY_S)  # nothing is read any more
    assert {key: (str(one.summary), one.lead_s) for key, one in told.found.items()} == said


def test_a_clock_that_goes_back_an_hour_grows_no_counter_and_ends_no_hold() -> None:
    told = Told(small_site("id=sw1 kind=switch parent=h1", *[f"id=p{i} kind=port parent=sw1" for i in range(20)]))
    for i in range(60):
        told.step(10, port={"error_count": np.full(20, i // 3), "link_down_count": np.zeros(20)})
    told.step(-3600, port={"error_count": np.full(20, 20.0), "link_down_count": np.zeros(20)})
    assert told.found == {}
    psu = {"psu_code": np.array([2.0, 0, 0, 0])}
    told.step(7200, node=psu)
    told.step(-3600, node=psu)  # it began "in an hour": its minute of hold counts from now
    told.step(70, node=psu)
    assert set(told.found) == {("psu", "r1n1")}


@pytest.mark.parametrize("code", [13, 48])
def test_an_xid_that_blames_a_program_is_over_when_the_gpu_has_worked_for_a_day(code: int) -> None:
    told, n = Told(small_site()), 16

    def hours(count: int, shown: float, util: float) -> None:
        for _ in range(count):
            xid = np.zeros(n)
            xid[3] = shown
            told.step(3600, gpu={"xid_code": xid, "power_w": np.full(n, 600.0), "util_frac": np.full(n, util)})

    hours(1, 0, 0.9)
    hours(1, code, 0.9)
    assert set(told.found) == {("gpu_hazard", "r1n1g3")}
    hours(int(HEALED_S / 3600) + 2, code, 0.0)
    assert told.found  # nothing was asked of it since
    hours(1, code, 0.9)
    hours(1, code, 0.0)
    assert bool(told.found) == (code == 48)


def test_an_old_xid_of_a_program_that_stands_there_at_the_start_is_no_evidence() -> None:
    told = Told(small_site())
    told.step(60, gpu={"xid_code": np.array([13.0, 31, 43, 45, 48] + 11 * [0.0])})
    assert {asset for _, asset in told.found} == {"r1n2g0"}


@pytest.mark.parametrize(
    ("column", "value", "reason", "action"),
    [
        ("row_remap_failure_flag", 1.0, "a memory row could not be remapped", "replace the GPU"),
        ("ecc_uncorrected_count", 9.0, "ecc_uncorrected_count grew by 9 within a day", "diagnostics"),
        ("xid_code", 64.0, "XID 64, memory row could not be remapped", "replace the GPU"),
    ],
)
def test_a_gpu_hazard_names_what_speaks_most_for_it(column: str, value: float, reason: str, action: str) -> None:
    told, zero = Told(small_site()), np.zeros(16)
    told.step(60, gpu={"xid_code": zero, column: zero})
    bad = zero.copy()
    bad[5] = value
    told.step(60, gpu={"xid_code": zero, column: bad})
    finding = told.found["gpu_hazard", "r1n2g1"]
    assert str(finding.summary) == f"r1n2g1 is likely to fail: {reason}"
    assert action in str(finding.action)


def test_a_gpu_that_is_held_back_and_was_replaced_before_says_so() -> None:
    told, brake = Told(small_site()), np.zeros(16)
    brake[6] = 0x40
    told.watch.outcomes = Outcomes(excluded={"r1n2g2": 3})
    for _ in range(72):
        told.step(3600, gpu={"xid_code": np.zeros(16), "throttle_code": brake})
    assert "held its clock down for 95 % of the last day" in str(told.found["gpu_hazard", "r1n2g2"].summary)


def test_a_rack_that_is_switched_off_has_no_stuck_sensor_and_a_meter_dead_at_work_has() -> None:
    told, rng = Told(small_site()), np.random.default_rng(1)
    for i in range(160):
        power = np.array([30e3, 30e3]) + rng.normal(0, 100, 2)
        nodes = np.full(4, 15e3)
        if i > 110:
            power[:], nodes[:2] = 0.0, 0.0  # the first is off, the second one's meter is dead
        told.step(30, rack={"power_w": power}, node={"power_w": nodes + rng.normal(0, 10, 4) * (nodes > 0)})
    assert [asset for question, asset in told.found if question == "sensor_stuck"] == ["r2"]


def test_a_supply_that_is_well_again_is_named_until_its_finding_is_over() -> None:
    told = Told(small_site())
    for code in (1.0, 1.0, 0.0):
        told.step(60, node={"psu_code": np.array([code, 0, 0, 0])})
    assert "predicts its failure" in str(told.found["psu", "r1n1"].summary)
    told.step(60, node={"psu_code": np.zeros(4)})
    assert told.found == {}
