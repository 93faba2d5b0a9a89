"""The simulated centre: a plausible, energy-conserving plant that repeats from its seed, or nothing scored on it counts."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from ingest.registry import Opened
from ingest.sources import simulated
from ingest.sources.simulated import parts
from ingest.sources.simulated.faults import FAULTS
from ingest.sources.simulated.fleet import fleet_of
from ingest.sources.simulated.outside import stull_wet_bulb
from ingest.sources.simulated.plant import Plant
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, Origin, same
from twin.job import JobState
from twin.load import Row, build_site
from twin.metrics import metric
from twin.ports import Action
from twin.site import Site

NOW = datetime(2026, 11, 18, 2, tzinfo=UTC)  # a Wednesday, 10 o'clock in the demo's time zone
_SITES: dict[int, Site] = {}


def site_of(gpus: int) -> Site:
    if gpus not in _SITES:
        assets, links = simulated.demo_rows(gpus)
        sources = [Row("t", {"id": id_, "kind": "source"}) for id_ in simulated.source_ids("sim", simulated.Options())]
        _SITES[gpus] = build_site("demo", "Asia/Shanghai", [*assets, *sources], links)
    return _SITES[gpus]


def opened(gpus: int = 64, /, **options: object) -> Opened:
    return simulated.build("sim", simulated.Options(**{"faults": False, **options}), site_of(gpus))  # type: ignore[arg-type]


def plant(gpus: int = 64, /, **options: object) -> Plant:
    return simulated.plant_of(opened(gpus, **options))


async def poll_all(centre: Opened, now: datetime) -> list[Frame]:
    return [frame for source in centre.sources for frame in await source.poll(now)]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def value(frames: Sequence[Frame], kind: str, name: str) -> np.ndarray:
    return next(frame.values[name] for frame in frames if frame.kind == kind and name in frame.values)


# --- the layout


@pytest.mark.parametrize("gpus", [8, 9, 72, 512, 8192])
def test_layout_is_a_whole_site(gpus: int) -> None:
    site = site_of(gpus)
    fleet = fleet_of(site)
    assert site.count("gpu") == gpus
    assert fleet.node_width.max() <= 8
    assert np.bincount(fleet.gpu_rack).max() <= 64
    assert np.bincount(site.within("gpu", "hall")).max() <= 4096
    assert np.bincount(fleet.rack_cdu).max() <= 11
    for kind in ("rack", "cdu", "ups", "chiller", "tower", "gpu"):
        at = np.stack([site.number(kind, name) for name in ("x_m", "y_m", "z_m")], axis=1)
        assert not np.isnan(at).any()
        assert len(np.unique(at.round(3), axis=0)) == len(at), f"two assets of kind {kind} stand in the same place"
    _, target, share = site.linked("feeds", "pdu", "rack")
    assert np.bincount(target, weights=share, minlength=site.count("rack")) == pytest.approx(1.0)
    fed = {t for s in ("pdu", "ups", "transformer") for k in ("cdu", "pump", "chiller", "tower", "storage") for t in
           (site.of_kind(k)[r] for r in site.linked("feeds", s, k)[1])}  # fmt: skip
    loose = [site.ids[i] for k in ("cdu", "chiller", "tower", "storage") for i in site.of_kind(k) if i not in fed]
    assert not loose


def test_layout_of_100000_gpus_loads() -> None:
    assets, links = simulated.demo_rows(100_000)
    site = build_site("demo", "UTC", assets, links)
    assert site.count("gpu") == 100_000
    assert site.count("hall") == 25
    fleet_of(site)


@pytest.mark.parametrize("gpus", [7, 100_001])
def test_layout_refuses_other_sizes(gpus: int) -> None:
    with pytest.raises(ConfigError, match="8 to 100000"):
        simulated.demo_rows(gpus)


# --- repeatability


async def test_same_seed_and_times_same_frames() -> None:
    times = [0.0, 1, 2, 3, 10, 25, 40, 640, 641]

    async def run(seed: int) -> list[Frame]:
        centre = opened(seed=seed, faults=True, fault_factor=60.0)
        frames: list[Frame] = []
        for t in times:
            for source in centre.sources:
                try:
                    frames += await source.poll(after(t))
                except SourceError:
                    frames.append(Frame("source", after(t), np.empty(0, dtype=np.int32), {}))
        return frames

    first, second, other = await run(5), await run(5), await run(6)
    assert len(first) == len(second)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not all(same(a, b) for a, b in zip(first, other, strict=False))


async def test_a_source_nobody_polls_changes_nothing_for_the_others() -> None:
    whole, alone = opened(), opened()
    for t in (0.0, 1, 2, 3):
        frames = await poll_all(whole, after(t))
        mine = await alone.sources[0].poll(after(t))
    assert same(mine[0], frames[0])


async def test_frames_are_never_written_to_afterwards() -> None:
    centre = opened(faults=True, fault_factor=30.0)
    kept = await poll_all(centre, NOW)
    copies = [{name: column.copy() for name, column in frame.values.items()} for frame in kept]
    for t in range(1, 30):
        for source in centre.sources:
            try:
                await source.poll(after(10 * t))
            except SourceError:
                continue
    for frame, copy in zip(kept, copies, strict=True):
        assert all(np.array_equal(frame.values[name], copy[name], equal_nan=True) for name in copy)


# --- physics


def test_water_conserves_energy_over_any_steps() -> None:
    centre = plant(512, faults=True, fault_factor=20.0)
    centre.advance(NOW)
    loops = centre.loops
    stored, net = loops.stored_j(), loops.heat_in_j - loops.heat_out_j
    moved = loops.heat_in_j
    loops.ordered_c["loop"][:], loops.ordered_c["cdu"][:] = 29.0, 36.0  # nothing may be at rest
    t = 0.0
    for step in (1.0, 1, 5, 15, 60, 300, 900, 3600, 7200) * 3:
        t += step
        centre.advance(after(t))
    gained = loops.heat_in_j - loops.heat_out_j - net
    assert loops.heat_in_j - moved > 1e10
    assert gained == pytest.approx(loops.stored_j() - stored, abs=1e-9 * (loops.heat_in_j - moved))


def test_every_watt_is_somewhere() -> None:
    centre = plant(512)
    for t in (0.0, 1, 60, 900):
        centre.advance(after(t))
        fleet, compute, power, loops = centre.fleet, centre.compute, centre.power, centre.loops
        inside = np.bincount(fleet.gpu_node, weights=compute.power_w) + compute.rest_w + compute.supply_loss_w
        assert compute.node_w == pytest.approx(inside)
        leaf = centre.switch_w[fleet.switch_rack >= 0].sum()
        assert centre.rack_w.sum() == pytest.approx(compute.node_w.sum() + leaf)
        loads = centre.rack_w.sum() + centre.switch_w.sum() - leaf + centre.storage_w.sum()
        loads += loops.cdu_w.sum() + loops.pump_w[fleet.pump_loop >= 0].sum() + loops.chiller_w.sum() + loops.tower_w.sum()
        losses = sum(float(loss.sum()) for loss in power.loss_w.values())
        assert power.meter_w == pytest.approx(loads + losses + power.house_w + power.pv_w + power.battery_w)


def test_die_heat_reaches_the_coolant_to_the_joule() -> None:
    centre = plant(8)
    centre.advance(NOW)
    compute = centre.compute
    kept_j = np.zeros(8)
    capacity = compute._lag_s / compute._plate_k_per_w
    before_c = compute.temp_c.copy()
    for was, t in pairwise((0.0, 1, 2, 3, 10, 30, 400)):
        centre.advance(after(t))
        kept_j += (compute.power_w - compute.heat_w) * (t - was)
    assert kept_j == pytest.approx(capacity * (compute.temp_c - before_c), rel=1e-6, abs=1e-3)


def test_step_width_changes_neither_jobs_nor_power() -> None:
    means, jobs = [], []
    for step in (30, 300, 900):
        centre = plant()
        it, supply, at_hour = [], [], []
        for t in range(0, 3 * 3600 + 1, step):
            centre.advance(after(t))
            it.append(float(centre.rack_w.sum()))
            supply.append(float(np.abs(centre.loops.supply_c - 32.0).max()))
            if t % 3600 == 0:
                at_hour.append(centre.work.counts())
        assert max(supply) < 1.0
        means.append(np.mean(it))
        jobs.append(at_hour)
    assert jobs[0] == jobs[1] == jobs[2]
    assert means == pytest.approx([means[0]] * 3, rel=0.04)


def test_a_leap_of_days_stays_bounded() -> None:
    centre = plant(faults=True)
    centre.advance(NOW)
    centre.advance(NOW + timedelta(days=9))
    assert 15 < centre.compute.temp_c.min() < centre.compute.temp_c.max() < 90
    assert np.all((centre.loops.supply_c > 28) & (centre.loops.supply_c < 45))
    assert 20 < centre.loops.plant_c < 30


@pytest.mark.parametrize(("month", "low", "high"), [(1, 1.05, 1.25), (7, 1.08, 1.40)])
def test_power_and_pue_are_those_of_published_centres(month: int, low: float, high: float) -> None:
    """PUE 1.04-1.2 for liquid cooling, more in a hot summer under low load; racks of 64 GPUs under 100 kW; S-class water."""
    centre = plant(512)
    start = datetime(2026, month, 12, tzinfo=UTC)
    pue, rack_kw, back_c = [], [], []
    for k in range(2 * 48):
        centre.advance(start + timedelta(minutes=30 * k))
        power, it_w = centre.power, float(centre.rack_w.sum())
        pue.append((power.meter_w - power.pv_w - power.battery_w) / it_w)
        rack_kw.append(centre.rack_w / 1e3)
        back_c.append(centre.loops.rack_c.max())
        assert 1.05 <= pue[-1] < 1.6
    assert low < float(np.mean(pue)) < high
    assert np.min(rack_kw) > 15
    assert 65 < np.max(rack_kw) < 100
    assert max(back_c) < 50
    design = centre.fleet.site.number("cdu", "rated_kgps") / 1.0125 * 60 / (centre.loops.cdu_heat_w / 1e3)
    assert np.all((design > 1.25) & (design < 2.0)), "coolant flow [L/min per kW] outside OCP's range"


def test_without_any_pump_the_racks_heat_and_protect_themselves() -> None:
    both = [{"kind": "pump_wear", "after_s": 0, "asset": f"h1-a-cdu1-p{i}", "for_s": 7200} for i in (1, 2)]
    centre = plant(64, faults=both)
    hottest, flow, slowed = [], [], 0
    for t in range(0, 6600, 20):
        centre.advance(after(t))
        hottest.append(float(centre.compute.temp_c.max()))
        flow.append(float(centre.loops.flow_kgps[0] / centre.loops.cdu_kgps[0]))
        slowed += bool(np.any(centre.compute.why.astype(int) & 32))
    assert min(flow) < 0.2
    assert 86 < max(hottest) < 115
    assert centre.loops.rack_c.max() < 110
    assert slowed > 10


def test_summer_needs_more_cooling_than_winter() -> None:
    used = []
    for month in (1, 7):
        centre = plant(512)
        centre.advance(datetime(2026, month, 20, 6, tzinfo=UTC))
        used.append(float(centre.loops.tower_w.sum() + centre.loops.chiller_w.sum()))
    assert used[1] > 2 * used[0]


def test_wet_bulb_is_stulls() -> None:
    assert stull_wet_bulb(20.0, 0.5) == pytest.approx(13.7, abs=0.05)  # the worked example of the paper


# --- jobs


@pytest.mark.parametrize("gpus", [9, 72, 512])
async def test_no_gpu_is_ever_given_twice(gpus: int) -> None:
    centre = opened(gpus, faults=True, fault_factor=4.0)
    queue = centre.queues[0]
    fleet = fleet_of(site_of(gpus))
    allocated = []
    for hour in range(30):
        jobs = await queue.jobs(NOW + timedelta(hours=hour))
        running = jobs.state == JobState.RUNNING
        assert len(np.unique(jobs.rows)) == len(jobs.rows)
        assert np.array_equal(np.bincount(jobs.job_of, minlength=len(jobs)), np.where(running, jobs.gpus, 0))
        for job in np.flatnonzero(running & (jobs.gpus >= 8)):
            nodes = fleet.gpu_node[jobs.rows[jobs.job_of == job]]
            assert np.all(np.unique(nodes, return_counts=True)[1] == 8)
        assert np.all(jobs.start_s[running] >= jobs.submit_s[running])
        ended = ~np.isnan(jobs.end_s)
        assert np.all(jobs.end_s[ended & ~np.isnan(jobs.start_s)] >= jobs.start_s[ended & ~np.isnan(jobs.start_s)])
        allocated.append(len(jobs.rows) / gpus)
    assert 0.4 < np.mean(allocated) <= 1.0


def test_load_follows_the_day() -> None:
    centre = plant(512)
    centre.advance(NOW)
    by_hour: dict[int, list[float]] = {}
    for k in range(14 * 24):
        now = NOW + timedelta(hours=k)
        centre.work.advance(now.timestamp())
        by_hour.setdefault((now.hour + 8) % 24, []).append(centre.work.counts()["gpus_allocated_count"] / 512)
    mean = {hour: float(np.mean(shares)) for hour, shares in by_hour.items()}
    assert 0.68 < np.mean(list(mean.values())) < 0.92
    assert np.mean([mean[h] for h in range(13, 19)]) > np.mean([mean[h] for h in range(4, 9)]) + 0.05


# --- faults


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


# --- reading and setting


@pytest.mark.parametrize("gpus", [8, 512])
async def test_values_lie_in_the_ranges_of_the_table_and_keep_their_resolution(gpus: int) -> None:
    centre = opened(gpus, faults=True, fault_factor=8.0)
    seen: set[tuple[str, str]] = set()
    counters: dict[tuple[str, str], np.ndarray] = {}
    newest: dict[str, Mapping[str, np.ndarray]] = {}
    for k in range(150):
        for source in centre.sources:
            try:
                frames = await source.poll(after(60 * k))
            except SourceError:
                continue
            for frame in frames:
                newest[frame.kind] = frame.values
                assert len(frame.rows) == len(np.unique(frame.rows))
                for name, column in frame.values.items():
                    row = metric(frame.kind, name)
                    known = column[~np.isnan(column)]
                    assert np.all((known >= row.low) & (known <= row.high)), (frame.kind, name, known.min(), known.max())
                    seen.add((frame.kind, name))
                    if row.counter:
                        was = counters.get((frame.kind, name), column)
                        assert not np.any(column < was), (frame.kind, name)
                        counters[frame.kind, name] = np.where(np.isnan(column), was, column)
    gpu = {name: column[~np.isnan(column)] for name, column in newest["gpu"].items()}
    assert np.array_equal(gpu["temp_c"], np.rint(gpu["temp_c"]))
    assert np.array_equal(gpu["power_w"], np.round(gpu["power_w"], 3))
    assert np.all(gpu["sm_clock_hz"] % 15e6 == 0)
    kinds = {kind for kind, _ in seen}
    assert kinds >= {"gpu", "node", "rack", "hall", "pdu", "ups", "transformer", "meter", "cdu", "pump", "loop", "chiller"}
    assert kinds >= {"tower", "switch", "port", "storage", "battery", "pv", "weather", "grid", "queue"}
    assert not {("site", "it_power_w"), ("hall", "it_power_w"), ("site", "pue_ratio")} & seen


async def test_time_never_goes_back() -> None:
    centre = opened()
    await centre.sources[0].poll(after(100))
    frames = await centre.sources[1].poll(after(99.5))  # two sources, two moments
    assert frames[0].time == after(100)
    with pytest.raises(SourceError, match="cannot go back"):
        await centre.sources[0].poll(after(-300))


async def test_a_setpoint_is_bounded_ramped_read_back_and_given_back() -> None:
    centre = opened()
    actuator = centre.actuators["h1-a-cdu1"]
    until = after(1200)

    def order(celsius: float, key: str, **changed: object) -> Action:
        fields: dict[str, object] = {"asset": "h1-a-cdu1", "metric": "supply_temp_setpoint_c", "value": celsius, "until": until}
        return Action(**{**fields, "key": key, **changed})  # type: ignore[arg-type]

    frame = await actuator.apply(order(35.0, "a"), NOW)
    assert frame.origin is Origin.COMMANDED
    assert frame.values["supply_temp_setpoint_c"][0] == 33.0  # a step of 1 K at most
    again = await actuator.apply(order(35.0, "a"), after(1))
    assert again.values["supply_temp_setpoint_c"][0] == 33.0  # the same key is the same action
    onward = await actuator.apply(order(35.0, "b"), after(2))
    assert onward.values["supply_temp_setpoint_c"][0] == 34.0
    for wrong in (order(60.0, "c"), order(5.0, "d"), order(33.0, "e", metric="pump_speed_frac"), order(33.0, "f", until=NOW)):
        with pytest.raises(SourceError):
            await actuator.apply(wrong, after(3))
    held = value(await centre.sources[1].poll(after(4)), "cdu", "supply_temp_setpoint_c")[0]
    assert 32.0 <= held < 32.2  # on its way, not there
    for t in range(30, 1100, 30):
        frames = await centre.sources[1].poll(after(t))
    assert value(frames, "cdu", "supply_temp_setpoint_c")[0] == 34.0
    assert value(frames, "cdu", "supply_temp_c")[0] == pytest.approx(34.0, abs=0.6)
    for t in range(1200, 2600, 30):
        frames = await centre.sources[1].poll(after(t))
    assert value(frames, "cdu", "supply_temp_setpoint_c")[0] == 32.0
    assert value(frames, "cdu", "supply_temp_c")[0] == pytest.approx(32.0, abs=0.6)
    assert set(centre.actuators) == {*site_of(64).ids_of("cdu"), "plant-loop"}


async def test_warmer_plant_water_saves_fan_power_in_summer() -> None:
    used = []
    for celsius in (25.0, 26.0):
        centre = opened(512)
        summer = datetime(2026, 7, 20, 4, tzinfo=UTC)
        for k in range(6):
            now = summer + timedelta(minutes=10 * k)
            action = Action("plant-loop", "supply_temp_setpoint_c", celsius, now + timedelta(hours=1), str(celsius))
            await centre.actuators["plant-loop"].apply(action, now)
        loops = simulated.plant_of(centre).loops
        used.append(float(loops.tower_w.sum() + loops.chiller_w.sum()))
    assert used[1] < used[0]


# --- history and configuration


async def test_history_runs_seamlessly_into_the_living_plant() -> None:
    centre = opened(72, faults=True)
    living = simulated.plant_of(centre)
    start = NOW - timedelta(days=2)
    steps = list(simulated.backfill(living, site_of(72), start, NOW, 900.0))
    assert len(steps) == 2 * 96
    assert [frames[0].time for frames in steps[:2]] == [start, start + timedelta(minutes=15)]
    kinds = {frame.kind for frames in steps for frame in frames}
    assert kinds >= {"rack", "hall", "cdu", "meter", "weather", "grid", "queue"}
    assert "port" not in kinds
    gpus = [frame for frames in steps for frame in frames if frame.kind == "gpu"]
    assert [frame.time for frame in gpus] == [start + timedelta(hours=h) for h in range(48)]
    assert all(set(frame.values) == set(parts.PAST_OF_GPUS) for frame in gpus)
    energy = [value(frames, "meter", "energy_kwh")[0] for frames in steps]
    assert np.all(np.diff(energy) > 0)
    live = await centre.sources[1].poll(NOW)
    assert value(live, "meter", "energy_kwh")[0] > energy[-1]
    assert value(live, "rack", "power_w").sum() == pytest.approx(value(steps[-1], "rack", "power_w").sum(), rel=0.5)
    assert living.faults.factor == 1.0
    with pytest.raises(ValueError, match="begun already"):
        next(simulated.backfill(living, site_of(72), start, NOW, 900.0))


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="gpus = 8, but the site has 64"):
        opened(64, gpus=8)
    with pytest.raises(ConfigError, match="'h9' is no rack"):
        opened(64, faults=[{"kind": "leak", "after_s": 0, "asset": "h9"}])
    assets, links = simulated.demo_rows(8)
    bare = build_site("bare", "UTC", [row for row in assets if row.cells["kind"] not in ("pump", "tower")], [])
    with pytest.raises(ConfigError) as caught:
        simulated.build("sim", simulated.Options(), bare)
    assert {"no pump", "no tower"} <= {str(problem).split("has ")[1].split(";")[0] for problem in caught.value.problems}
    unlinked = build_site("unlinked", "UTC", assets, [row for row in links if row.cells["relation"] != "cools"])
    with pytest.raises(ConfigError, match="is cooled by 0 assets of kind cdu"):
        simulated.build("sim", simulated.Options(), unlinked)
