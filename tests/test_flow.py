"""The whole way from a sensor to a decision, through all packages, on a virtual clock with a seed."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from analytics.alerts import Phase
from energy.plan import Mode
from ingest.sources.simulated.layout import demo_rows
from ingest.stores import open_store
from twin.frame import Origin
from twin.tables import write_table
from ui.app import Centre
from ui.config import load_config
from ui.tasks import VirtualClock, run_virtual

START = datetime(2026, 11, 22, tzinfo=UTC)
PACE_S = 600  # of the simulated day: each tick is the whole centre's work


def _config(folder: Path, faults: str = "true", history_days: int = 0, seed: int = 7) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    assets, links = demo_rows(64)
    write_table(folder / "assets.csv", assets)
    write_table(folder / "links.csv", links)
    path = folder / "site.toml"
    path.write_text(
        f"""
[site]
name = "day"
assets = "assets.csv"
links = "links.csv"
[store]
path = "store"
[[source]]
name = "sim"
type = "simulated"
seed = {seed}
faults = {faults}
history_days = {history_days}
"""
    )
    return path


def _run(centre: Centre, until: datetime) -> None:
    loop = asyncio.new_event_loop()
    try:
        run_virtual(centre.tasks, centre.clock, until, centre.health, loop)  # type: ignore[arg-type]
        loop.run_until_complete(centre.collector.close())
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def _uncompacted(centre: Centre) -> Centre:
    """At a few samples in ten minutes most of the cost would be compaction, which has tests of its own."""
    centre.tasks = tuple(task for task in centre.tasks if task.name != "store")
    return centre


def _day(
    folder: Path, *, seed: int = 7, hours: int = 24
) -> tuple[Centre, dict[str, np.ndarray], list[tuple[datetime, object]]]:
    centre = _uncompacted(Centre(load_config(_config(folder, seed=seed)), VirtualClock(START), wait=True, pace_s=PACE_S))
    _run(centre, START + timedelta(hours=hours))
    names = ["it_power_w", "facility_power_w", "pue_ratio", "cooling_power_w"]
    found = {}
    for origin in (Origin.MEASURED, Origin.MODELLED):
        series = centre.store.series("site", names, START, START + timedelta(days=1), origin=origin)
        found |= {f"{origin}/{name}": series.values[name] for name in names}
    alerts = [(at, record) for _, at, record in centre.records.read("alert")]
    return centre, found, alerts


def test_a_simulated_day_is_whole_and_the_same_seed_gives_the_same_day(tmp_path: Path) -> None:
    centre, first, alerts = _day(tmp_path / "a")
    assert not centre.health.frame(START).values["errors_count"].any()
    assert len(first["measured/it_power_w"]) >= 86_400 / PACE_S - 4
    pue = first["measured/pue_ratio"]
    assert np.nanmin(pue) > 1.0
    assert np.nanmax(pue) < 1.6
    assert {plan.lever for plan, _ in centre.live.plans} <= {"supply_temperature", "coolant_flow"}
    assert centre.live.jobs.gpus_in(1) <= 64  # type: ignore[arg-type]
    centre.close()
    hours = 6  # of the day again: what the seed does not settle shows within the first ticks
    again, second, alerts_again = _day(tmp_path / "b", hours=hours)
    again.close()
    for name, column in second.items():
        assert len(column) >= 3600 * hours / PACE_S - 4, name
        np.testing.assert_array_equal(first[name][: len(column)], column, err_msg=name)
    assert alerts_again == [(at, record) for at, record in alerts if at <= START + timedelta(hours=hours)] != []
    other, third, _ = _day(tmp_path / "c", seed=8, hours=1)
    other.close()
    column = third["measured/it_power_w"]
    assert not np.array_equal(first["measured/it_power_w"][: len(column)], column)


def test_a_silent_source_goes_stale_raises_an_alert_and_recovers(tmp_path: Path) -> None:
    silence = '[{kind = "source_silent", after_s = 100, asset = "sim-gpu", for_s = 300}]'
    clock = VirtualClock(START)
    centre = _uncompacted(Centre(load_config(_config(tmp_path, silence)), clock, wait=True, pace_s=30))
    loop = asyncio.new_event_loop()
    run_virtual(centre.tasks, clock, START + timedelta(seconds=90), centre.health, loop)
    assert not np.isnan(centre.state.column("gpu", "temp_c", clock.now())).any()
    run_virtual(centre.tasks, clock, START + timedelta(seconds=390), centre.health, loop)
    assert np.isnan(centre.state.column("gpu", "temp_c", clock.now())).all()
    firing = {(alert.rule, alert.asset) for alert in centre.live.alerts if alert.phase is Phase.FIRING}
    assert any(asset == "sim-gpu" for _, asset in firing)
    run_virtual(centre.tasks, clock, START + timedelta(seconds=1000), centre.health, loop)
    assert not np.isnan(centre.state.column("gpu", "temp_c", clock.now())).all()
    assert not any(alert.phase is Phase.FIRING and alert.asset == "sim-gpu" for alert in centre.live.alerts)
    loop.run_until_complete(centre.collector.close())
    loop.close()
    asyncio.set_event_loop(None)
    centre.close()


def test_history_gives_a_forecast_with_its_score_and_a_restart_finds_everything_again(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    centre = Centre(load_config(_config(tmp_path, "false", history_days=15)), clock, wait=True, pace_s=60)
    for opened in centre.opened:
        centre.make_history(opened)
    _run(centre, START + timedelta(minutes=10))
    forecasts = {forecast.metric: forecast for forecast in centre.live.forecasts if forecast.kind == "site"}
    power = forecasts["it_power_w"]
    assert len(power.p50) == 24
    assert (power.p10 <= power.p50).all()
    assert (power.p50 <= power.p90).all()
    assert power.score.origins > 0
    ahead = centre.store.series(
        "site", ["it_power_w"], START, START + timedelta(days=1, hours=1), origin=Origin.FORECAST, band="p90"
    )
    assert np.isin(power.p90, ahead.values["it_power_w"][:, 0]).all()
    known = centre.state.column("rack", "power_w", clock.now())
    alerts = [(alert.key, alert.fired) for alert in centre.live.alerts]
    centre.close()
    later = Centre(load_config(tmp_path / "site.toml"), clock, wait=True)
    np.testing.assert_array_equal(later.state.column("rack", "power_w", clock.now()), known)
    assert [(alert.key, alert.fired) for alert in later.live.alerts] == alerts
    later.close()
    reader = open_store(tmp_path / "store", later.site, readonly=True)
    assert len(reader.series("site", ["it_power_w"], START - timedelta(days=2), START, 3600.0).time_s) == 48
    reader.close()


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.AUTO])
def test_a_plan_touches_the_plant_only_where_its_mode_allows(tmp_path: Path, mode: Mode) -> None:
    path = _config(tmp_path, "false")
    path.write_text(path.read_text() + f'[energy]\nmodes = {{ supply_temperature = "{mode}" }}\n')
    clock = VirtualClock(START)
    centre = _uncompacted(Centre(load_config(path), clock, wait=True, pace_s=60))
    _run(centre, START + timedelta(hours=1))  # a dozen rounds of plans
    asyncio.run(centre.duties.give_back(clock.now()))
    stages = {record["stage"] for _, _, record in centre.records.read("audit")}
    commanded = [key for key in centre.state.known() if key[2] is Origin.COMMANDED]
    centre.close()
    if mode is Mode.ADVISE:
        assert "advised" in stages
        assert stages <= {"advised", "refused"}
        assert commanded == []
    else:
        assert {"done", "reverted"} <= stages
        assert commanded
