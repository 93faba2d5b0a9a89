"""What the live detectors make of a field that misbehaves: assets that go silent, clocks that go back, what stays on show; and
what they hold it against, by hand."""

import numpy as np
import pytest
from small import rows, small_site
from watching import START, Told, hall, smart

from analytics.detect import checks, disk_health, gpu
from analytics.detect.live import _Life
from analytics.detect.outcomes import Outcomes
from analytics.detect.told import QUESTIONS
from analytics.gpu_health import HEALED_S
from twin.frame import Frame
from twin.load import build_site
from twin.site import Site
from twin.state import State

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


def test_a_finding_begins_after_its_hold_and_is_over_after_as_long_below_its_clear_level() -> None:
    """Limit 7, clear level 3, four minutes; a look each two. Between both nothing is decided, silence moves nothing."""

    def told(*strengths: float, stricter: float = 1.0) -> list[bool]:
        life = _Life(QUESTIONS["rack_flow"], 1)
        on = []
        for i, strength in enumerate(strengths):
            life.update(np.array([strength]), 120.0 * i, stricter)
            on.append(bool(life.on[0]))
        return on

    assert told(8, 8, 7, 5, 5, 5, 2, 2, 4, 2, 2, 2) == [False] * 2 + [True] * 9 + [False]
    assert told(8, 8, 5, 8, 8, 8) == [False] * 5 + [True], "a hold that broke off begins anew"
    assert told(8, np.nan, 8, np.nan, np.nan, 2, np.nan, 2) == [False] * 2 + [True] * 5 + [False]
    assert told(8, 8, 8, 8, stricter=2.0) == [False] * 4
    assert told(14, 14, 14, stricter=2.0)[-1]


# --- what is held against what, by hand


def field(lines: tuple[str, ...], links: tuple[str, ...] = (), **columns: dict[str, list[float]]) -> tuple[Site, State]:
    site = build_site("x", "UTC", rows("id=h kind=hall", *lines), rows(*links))
    state = State(site)
    for kind, read in columns.items():
        state.absorb(Frame(kind, START, site.all_rows(kind), {name: np.array(one) for name, one in read.items()}), START)
    return site, state


def test_peers_are_the_median_of_three_or_more() -> None:
    values = np.array([1.0, 9.0, 2.0, np.nan, 5.0, 6.0, 1.0, 10.0, 3.0, 2.0, 7.0])
    group = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, -1])
    made = checks.median_of_others(values, group, 3)
    assert made == pytest.approx([2, 2, 2, 2, np.nan, np.nan, 2.5, 2.5, 2.5, 2.5, np.nan], nan_ok=True)


def test_a_pump_is_held_against_the_affinity_law_and_the_one_beside_it() -> None:
    """Half the speed is half the flow and a quarter of the head; one that turns slowly is on duty nowhere."""
    pumps = ("id=w kind=loop", *(f"id=p{i} kind=pump parent=w" for i in range(3)))
    read = {"pump_speed_frac": [0.8, 0.4, 0.1], "diff_pressure_pa": [4e4, 0.9e4, 9e9], "flow_kgps": [10.0, 4.0, 99.0]}
    site, state = field(pumps, pump=read)
    worn = np.log(0.9), np.log(0.8)
    for found, log in zip((checks.pump_head(site, state, START), checks.pump_flow(site, state, START)), worn, strict=True):
        assert found == pytest.approx([-log, log, np.nan], nan_ok=True)


def test_an_exchanger_is_held_against_its_mean_difference_and_a_rack_against_its_heat() -> None:
    """40 to 30 °C against 20 to 25 °C, counterflow: 15 K and 10 K, 5 / ln 1.5 in the mean; 39,567 W in a kilogram a second of
    coolant are 10 K."""
    cdu = {"return_temp_c": [40.0], "supply_temp_c": [30.0], "heat_w": [1e5]}
    cdu |= {"primary_supply_temp_c": [20.0], "primary_return_temp_c": [25.0]}
    rack = {"supply_temp_c": [30.0], "return_temp_c": [41.5], "flow_kgps": [1.0], "power_w": [39_567.0]}
    _, state = field(("id=c kind=cdu parent=h", "id=r kind=rack parent=h"), cdu=cdu, rack=rack)
    assert checks.exchanger(state, START) == pytest.approx([np.log(1e5 * np.log(1.5) / 5)])
    assert checks.rack_rise_k(state, START) == pytest.approx([1.5])


def test_a_rack_is_held_against_its_nodes_only_where_all_of_them_speak() -> None:
    lines = [f"id=r{i} kind=rack parent=h" for i in range(2)] + [f"id=n{i} kind=node parent=r{i // 2}" for i in range(4)]
    site, state = field(tuple(lines), rack={"power_w": [2000.0, 2000.0]}, node={"power_w": [900.0, 900.0, 900.0, np.nan]})
    assert checks.rack_power(site, state, START) == pytest.approx([np.log(2000 / 1800), np.nan], nan_ok=True)


def test_evidence_of_a_gpu_adds_up_in_log_odds() -> None:
    def said(shift: dict[int, float] | None = None, **amounts: float) -> float:
        weights = gpu.weigh({name: np.array([amounts.get(name, 0.0)]) for name in gpu.REASONS}, shift or {})
        odds = gpu.hazard(weights, np.array([0.5]))[0]
        return float(np.log(odds / (1 - odds)))

    assert said() == pytest.approx(0)
    assert said(xid_code=999.0) == pytest.approx(2.0), "a code that the catalogue does not tell apart"
    assert said(xid_code=48.0, row_remap_failure_flag=1.0) == pytest.approx(6 + 7)
    assert said(throttle_code=0.5) == pytest.approx(1.0)
    assert said(ecc_uncorrected_count=np.e**2 - 1, past=np.e - 1) == pytest.approx(2 * 2.5 + 1.2)
    assert said({48: -1.0, 0: 1.5}, xid_code=48.0) == pytest.approx(5.0)
    assert said({48: -1.0, 0: 1.5}, throttle_code=0.5) == pytest.approx(2.5), "outcomes of what is no XID"
    years = np.array([0.2, 1.0, 3.0, 7.0, np.nan]) * 365.25 * DAY_S
    assert gpu.before(years) / gpu.before(years[1:2]) == pytest.approx([1.8, 1, 1, np.e, 1])
    assert gpu.braked(np.array([0x8, 0x20, 0x40, 0x80, 0x1, 0x4, 0x10, np.nan])).tolist() == [True] * 4 + [False] * 4


def test_evidence_of_a_disk_adds_up_in_log_odds() -> None:
    """Where nothing speaks it fails as often as not. By hand: ln e² is 2; of hazards the odds."""

    def judged(
        grown: float = 0.0, media: float = np.nan, wear: float = np.nan, failing: float = np.nan, **counts: float
    ) -> disk_health.Judged:
        seen = {name: np.array([counts.get(name, np.nan)]) for name in disk_health.COUNTS}
        more = {name: np.array([grown if name in counts else 0.0]) for name in disk_health.COUNTS}
        return disk_health.judge(seen, more, *(np.array([one]) for one in (media, wear, failing)), before=0.5)

    def odds(found: disk_health.Judged) -> float:
        return float(np.log(found.hazard[0] / (1 - found.hazard[0])))

    for one in ({"failing": 0.0}, {"media": 0.0}, {"wear": 1.0}, {"pending_count": 0.0}):
        assert odds(judged(**one)) == pytest.approx(0), "each says by itself that the disk is there"
    assert odds(judged(reallocated_count=1.0)) == pytest.approx(0.52 + 0.15 * np.log(2))
    assert odds(judged(np.e**2 - 1, reallocated_count=np.e**4 - 1)) == pytest.approx(0.52 + 4 * 0.15 + 2 * 0.25)
    worn, media = judged(wear=1.04), judged(media=np.e**2 - 1)
    assert (odds(worn), odds(media), odds(judged(failing=1.0))) == pytest.approx((3.0, 1.6, 6.0))
    assert odds(judged(media=np.e**2 - 1, wear=1.04, failing=1.0)) == pytest.approx(10.6)
    assert (worn.reason(0), media.reason(0)) == ("104 % of its rated writes are used", "media error 6")
    assert [disk_health.lead_s(hazard) for hazard in (0.019, 0.02)] == [25 * DAY_S, 13.5 * DAY_S]
