"""Reading and setting the simulated centre, its past and its options."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from simulated_centre import NOW, after, opened, site_of, value

from ingest.sources import simulated
from ingest.sources.simulated import parts
from twin.errors import ConfigError, SourceError
from twin.frame import Origin
from twin.load import build_site
from twin.metrics import metric
from twin.ports import Action

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
    can = {kind: centre.actuators[kind].takes(kind) for kind in ("h1-a-cdu1", "plant-loop")}
    water = frozenset({"supply_temp_setpoint_c"})
    assert can == {"h1-a-cdu1": water, "plant-loop": water | {"chillers_limit_count"}}
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
    site = site_of(64)
    assert set(centre.actuators) == {*site.ids_of("cdu"), *site.ids_of("tower"), "plant-loop"}


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
    gpus = [frame for frames in steps for frame in frames if frame.kind == "gpu" and "xid_code" not in frame.values]
    assert [frame.time for frame in gpus] == [start + timedelta(hours=h) for h in range(48)]
    assert all(set(frame.values) == set(parts.PAST_OF_GPUS) for frame in gpus)
    energy = [value(frames, "meter", "energy_kwh")[0] for frames in steps]
    assert np.all(np.diff(energy) > 0)
    live = await centre.sources[1].poll(NOW)
    assert value(live, "meter", "energy_kwh")[0] > energy[-1]
    assert value(live, "rack", "power_w").sum() == pytest.approx(value(steps[-1], "rack", "power_w").sum(), rel=0.5)
    assert living.faults.factor == 1.0
    shown = {(round(one.time.timestamp(), 3), one.kind, float(one.values[name][0])) for frames in steps for one in frames
             for name in ("xid_code", "leak_flag") if one.values.keys() == {name}}  # fmt: skip
    broken = [
        fault for fault in living.faults.log if fault.kind in parts.SHOWN and fault.until_s <= steps[-1][0].time.timestamp()
    ]
    assert len(broken) > 5
    for fault in broken:
        kind = parts.SHOWN[fault.kind][0]
        assert {(round(fault.start_s, 3), kind, fault.number), (round(fault.until_s, 3), kind, 0.0)} <= shown, (
            "as it began, and as it was over"
        )
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
