"""The live detectors on the simulated hall: each fault found, none invented in a fault-free day, and shown by the API."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from faces_harness import Hands, live_of
from numpy.random import PCG64, Generator

from analytics.detect import outcomes
from analytics.detect.baseline import WARM, Baseline, Growth, Repeats
from analytics.detect.gpu import LIMIT, REASONS, before, hazard, weigh
from analytics.detect.live import MAX_FINDINGS, Watch
from analytics.finding import Finding, Sort
from ingest.sources import simulated
from ingest.sources.simulated.layout import demo_rows
from ingest.stores.records import open_records
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, frame_of
from twin.job import no_jobs
from twin.load import Row, build_site
from twin.message import Message
from twin.ports import Records
from twin.site import Site
from twin.state import State
from ui.benches.findings import SEEN_AS
from ui.faces.api_findings import FindingOut
from ui.findings import LOOKS, Findings
from ui.view import Live

START = datetime(2026, 11, 1, tzinfo=UTC)
PARTS = ("gpu", "facility", "network", "queue", "outside")


def hall(gpus: int) -> Site:
    assets, links = demo_rows(gpus)
    return build_site(
        "hall", "UTC", [*assets, *(Row("test", {"id": f"sim-{part}", "kind": "source"}) for part in PARTS)], links
    )


def watched(
    faults: object, hours: float, step_s: int, gpus: int = 256, seed: int = 1
) -> dict[tuple[str, str], tuple[float, Finding]]:
    """(question, asset) -> when it was first found, in s after the start, and what it said then."""
    site = hall(gpus)
    opened = simulated.build("sim", simulated.Options(seed=seed, faults=faults, start=START), site)
    state, watch, found = State(site), Watch(site), {}

    async def live() -> None:
        for t in range(0, int(hours * 3600), step_s):
            now = START + timedelta(seconds=t)
            for source in opened.sources:
                frames: list[Frame] = []
                try:
                    frames = list(await source.poll(now))
                    up = 1.0
                except SourceError:
                    up = 0.0
                for frame in [*frames, frame_of("source", now, site.row(source.name), up_flag=up)]:
                    state.absorb(frame, now)
            for finding in watch.step(state, await opened.queues[0].jobs(now), now):
                found.setdefault((finding.question, finding.asset), (float(t), finding))

    asyncio.run(live())
    return found


def fault(kind: str, asset: str, for_s: float, after_s: float = 5400.0) -> dict[str, object]:
    return {"kind": kind, "after_s": after_s, "asset": asset, "for_s": for_s}


FAULTS = [
    fault("pump_wear", "h1-a-cdu1-p1", 2400),
    fault("pump_wear", "plant-loop-p2", 2400),
    fault("link_flap", "h1-a01-sw-p1", 300),
    fault("gpu_xid", "h1-a01-n2-g3", 900),
    fault("gpu_lost", "h1-a02-n1-g0", 900),
    fault("sensor_stuck", "h1-a03", 2400),
    fault("sensor_drift", "h1-a04", 3000),
    fault("source_silent", "sim-network", 200, 7000),
    fault("node_down", "h1-a04-n3", 900),
    fault("leak", "h1-a02", 500),
    fault("straggler", "", 1500),
    fault("fouling", "h1-a-cdu1", 2400, 8400),
    fault("disk_wear", "h1-store-d05", 3000),
    fault("psu_failing", "h1-a03-n2", 1800),
    fault("battery_fade", "h1-ups-a1", 7200, 3600),
]


def test_each_fault_of_the_hall_is_found_and_nothing_else() -> None:
    found = watched(FAULTS, hours=3.0, step_s=30)
    for planned in FAULTS:
        kind, asset = str(planned["kind"]), str(planned["asset"])
        mine = [(t, f) for (question, a), (t, f) in found.items() if question in SEEN_AS[kind] and asset in ("", a)]
        assert mine, kind
        assert min(t for t, _ in mine) >= float(str(planned["after_s"]))
    named = {str(planned["asset"]) for planned in FAULTS}
    strays = [key for key in found if key[1] not in named and key[0] != "straggler"]
    assert strays == []
    at_s, worn = found["pump_wear", "h1-a-cdu1-p1"]
    beside_s, _ = found["pump_flow", "plant-loop-p2"]
    for asset, found_s in (("h1-a-cdu1-p1", at_s), ("plant-loop-p2", beside_s)):
        stopped_s, _ = found["pump_stopped", asset]
        assert stopped_s - found_s > 600  # found that long before it stopped
    assert 0.5 < worn.confidence < 1
    _, disk = found["disk_hazard", "h1-store-d05"]
    assert disk.lead_s > 86400
    assert "replace" in str(disk.action)
    _, battery = found["ups_battery", "h1-ups-a1"]
    assert "% of its capacity left" in str(battery.summary)
    for _, finding in found.values():
        assert all(str(said) for said in (finding.summary, *finding.evidence, finding.action, finding.cost_wrong))


@pytest.mark.parametrize("seed", [1, 2])
def test_sensors_that_are_swapped_in_the_hall_name_each_other(seed: int) -> None:
    found = watched([fault("sensor_swapped", "h1-a01", 2700, 900)], hours=1.0, step_s=30, gpus=128, seed=seed)
    assert {key for key in found if key[0] == "sensor_swapped"} == {("sensor_swapped", f"h1-a0{i}") for i in (1, 2)}
    at_s, finding = found["sensor_swapped", "h1-a01"]
    assert at_s > 900
    assert "is that of h1-a02" in str(finding.summary)


def test_a_day_without_a_fault_stays_without_a_finding() -> None:
    assert watched((), hours=24.0, step_s=240, gpus=64, seed=3) == {}


def test_findings_of_ten_thousand_gpus_are_bounded_and_the_rest_is_counted() -> None:
    site = hall(10_000)
    state, watch = State(site), Watch(site)
    rng = Generator(PCG64(1))
    n = site.count("gpu")
    gpus = {"power_w": rng.uniform(400, 900, n), "temp_c": rng.uniform(50, 60, n), "sm_clock_hz": np.full(n, 1.9e9)}
    gpus |= {"xid_code": np.full(n, 48.0), "throttle_code": np.zeros(n)}
    state.absorb(Frame("gpu", START, site.all_rows("gpu"), gpus), START)
    found = watch.step(state, no_jobs(), START)
    assert len(found) == MAX_FINDINGS
    assert watch.hidden == n - MAX_FINDINGS
    assert len(watch.step(state, no_jobs(), START + timedelta(seconds=10))) == MAX_FINDINGS


# --- parts


def test_a_baseline_learns_then_judges_and_does_not_learn_the_fault() -> None:
    rng = Generator(PCG64(1))
    baseline = Baseline(2, floor=0.0)
    for _ in range(WARM):
        assert np.isnan(baseline.update(rng.normal(5, 1, 2))).all()
    quiet = [np.abs(baseline.update(rng.normal(5, 1, 2))).max() for _ in range(500)]
    assert max(quiet) < 3.5
    for _ in range(500):
        z = baseline.update(np.array([15.0, rng.normal(5, 1)]))
    assert z[0] > 8 > 3 > abs(z[1])
    assert np.isnan(baseline.update(np.array([np.nan, 5.0]))[0])


def test_a_slow_sensor_is_not_stuck_and_a_quick_one_is() -> None:
    rng = Generator(PCG64(1))
    repeats, fresh = Repeats(2), np.ones(2, dtype=bool)
    for t in range(600):
        score = repeats.update(np.array([rng.normal(), float(t // 50)]), fresh)
        assert score.max() < 3.0
    for _ in range(30):
        score = repeats.update(np.array([1.0, 99.0]), fresh)
    assert score[0] > 12 > 3 > score[1]


def test_a_counter_that_restarts_has_not_grown_and_growth_fades() -> None:
    growth = Growth(1, memory_s=300.0)
    for count in (100.0, 103.0, np.nan, 104.0):
        grown = growth.update(np.array([count]), 0.0)
    assert grown[0] == 4.0
    assert growth.update(np.array([0.0]), 300.0)[0] == pytest.approx(4.0 / np.e)


def test_hazard_rises_with_evidence_and_past_and_age_and_is_small_without() -> None:
    zero = np.zeros(1)

    def risk(**changed: float) -> float:
        amounts = {name: np.array([changed.get(name, 0.0)]) for name in REASONS}
        return float(hazard(weigh(amounts), before(365.25 * 86400 * (zero + changed.get("age_years", 1.0))))[0])

    assert risk() == pytest.approx(0.09 * 7 / 365.25, rel=0.01)
    assert risk(xid_code=13) < risk(xid_code=63) < risk(xid_code=48) < risk(xid_code=64)
    assert risk(xid_code=48) > LIMIT > risk(ecc_corrected_count=50)
    assert risk(xid_code=48, past=3) > risk(xid_code=48)
    assert risk(age_years=6) > 2 * risk()


def test_confidence_follows_the_outcomes_that_people_write_down(tmp_path: Path) -> None:
    records = open_records(tmp_path / "records.db")
    before = outcomes.read(records).confidence("straggler")
    for i in range(20):
        outcomes.note(records, f"straggler:g{i}:sm_clock_hz", "false_alarm", START)
    outcomes.note(records, "gpu_hazard:g1:xid_code", "drained", START)
    learnt = outcomes.read(records)
    assert learnt.confidence("straggler") < 0.3 < before
    assert learnt.excluded == {"g1": 1}
    with pytest.raises(ConfigError, match="is no outcome"):
        outcomes.note(records, "straggler:g1:sm_clock_hz", "perhaps", START)
    records.close()


def test_the_centre_writes_findings_down_and_the_api_shows_them_with_their_cause(tmp_path: Path) -> None:
    from tests.test_flow import _config
    from ui.app import Centre
    from ui.config import load_config
    from ui.faces.server import build_server
    from ui.tasks import VirtualClock, run_virtual

    faults = '[{kind = "node_down", after_s = 60, asset = "h1-a01-n3", for_s = 3600}]'
    clock = VirtualClock(START)
    centre = Centre(load_config(_config(tmp_path, faults)), clock, wait=True, pace_s=10)
    loop = asyncio.new_event_loop()
    run_virtual(centre.tasks, clock, START + timedelta(seconds=240), centre.health, loop)
    loop.run_until_complete(centre.collector.close())

    async def ask(path: str) -> list[dict[str, Any]]:
        transport = httpx.ASGITransport(build_server(centre.live))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return list((await client.get(path)).json())

    found = [FindingOut(**row) for row in loop.run_until_complete(ask("/api/v1/findings"))]
    causes = loop.run_until_complete(ask("/api/v1/causes"))
    loop.close()
    asyncio.set_event_loop(None)
    assert ("node_down", "h1-a01-n3") in {(f.question, f.asset) for f in found}
    assert causes[0]["asset"] == "h1-a01-n3"
    kept = [record for _, _, record in centre.records.read("finding")]
    assert kept[0]["phase"] == "began"
    _worked_on_then_not_found(centre.live, clock.now())
    kept = [record for _, _, record in centre.records.read("finding")]
    assert (kept[-1]["phase"], kept[-1]["asset"]) == ("over", "h1-a01-n3")
    centre.close()


class Process:
    """The task of one process of a centre, whose detectors find what a test says."""

    def __init__(self, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
        self.findings = Findings(live_of(hall(8), Hands()))
        self.findings._live.records, self.findings._learnt_s = records, float("inf")
        self.found: tuple[Finding, ...] = ()
        monkeypatch.setattr(self.findings._watch, "step", lambda *_: self.found)

    def look(self, *assets: str, times: int = 1) -> None:
        said = Message("x")
        parts = {"summary": said, "evidence": (said,), "action": said, "cost_wrong": said, "since": START, "seen": START}
        self.found = tuple(Finding(Sort.DATA, "rack_flow", "rack", one, "flow_kgps", 3.0, 0.9, **parts) for one in assets)
        for _ in range(times):
            self.findings.step(START)


def test_what_stands_is_read_back_and_over_only_after_an_hour_of_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_records(tmp_path / "r.db")) as records:

        def told() -> list[str]:
            return [f"{one['asset']} {one['phase']}" for _, _, one in records.read("finding")]

        first, second = Process(records, monkeypatch), Process(records, monkeypatch)
        first.look("r1", "r2", "r3")
        second.look("r1", times=2)  # begins anew, or leads from now on
        second.look("r1", "r3", times=LOOKS - 4)
        assert told() == ["r1 began", "r2 began", "r3 began"], "what needs time to be found again goes on"
        second.look("r3")
        assert told()[3:] == ["r1 over"], "at once: this process had found it itself"
        second.look("r3", "r4")
        assert told()[4:] == ["r4 began", "r2 over"]
        first.look("r3", "r4")  # leads again
        assert len(told()) == 6, "what another wrote down is known"


def _worked_on_then_not_found(live: Live, now: datetime) -> None:
    """A node that is down and whose queue reserves it for maintenance is no finding and no cause."""
    assert live.oncall is not None
    findings = Findings(live)
    for after_s in (0, 20):
        findings.step(now + timedelta(seconds=after_s))
    assert "h1-a01-n3" in {f.asset for f in live.findings}
    window = {"name": "fix", "nodes": ["h1-a01-n3"], "flags": ["MAINT"]}
    live.oncall.reserved("q", [window | {"start_s": now.timestamp(), "end_s": now.timestamp() + 3600}])
    findings.step(now + timedelta(seconds=30))
    assert "h1-a01-n3" not in {f.asset for f in live.findings} | {cause.asset for cause in live.causes}
