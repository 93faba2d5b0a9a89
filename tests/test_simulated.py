"""The simulated centre: a plausible, energy-conserving plant that repeats from its seed, or nothing scored on it counts."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from simulated_centre import NOW, after, opened, plant, poll_all, site_of

from ingest.sources import simulated
from ingest.sources.simulated.fleet import fleet_of
from ingest.sources.simulated.outside import stull_wet_bulb
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, same
from twin.job import JobState
from twin.load import build_site

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
    loops.fan_limit[:] = 0.3
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
