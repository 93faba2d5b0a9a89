"""The view: empty, normal, stale and alarming; nothing old passes for new."""

import math
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces_harness import NOW, Hands, add_work, alarm, feed, feed_services, live_of, modelled_pue, small_site

from analytics.alerts import Phase
from analytics.gpu_health import HEALED_S
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.event import TOPIC, Event
from twin.frame import Frame, Origin, frame_of
from twin.ports import Series
from ui.faces.chart import power_curve
from ui.faces.pages.overview import overview_text
from ui.past import Past, read_past
from ui.reading import Reading
from ui.view import Live, as_json, view
from ui.words import words

ROOT = Path(__file__).resolve().parent.parent


def readings(thing: Any, path: str = "") -> dict[str, Reading]:
    """Every reading in a view, by its path."""
    if isinstance(thing, Reading):
        return {path: thing}
    if isinstance(thing, tuple):
        return {k: v for i, part in enumerate(thing) for k, v in readings(part, f"{path}[{i}]").items()}
    if is_dataclass(thing):
        return {k: v for f in fields(thing) for k, v in readings(getattr(thing, f.name), f"{path}.{f.name}").items()}
    return {}


@pytest.fixture
def live() -> Live:
    made = live_of(small_site(), Hands())
    feed(made)
    add_work(made)
    return made


def test_an_empty_centre_has_a_view_without_a_single_measured_number() -> None:
    for site in (small_site(), small_site(0, 0, 0, 0)):
        seen = view(live_of(site, Hands()), NOW)
        told = {path for path, reading in readings(seen).items() if reading.fresh}
        assert told == {
            ".centre.alerts_critical",
            ".centre.alerts_warning",
            ".centre.alerts_info",
            ".gpus.total",
            ".gpus.silent",
        }
        assert seen.gpus.silent.value == seen.gpus.total.value == site.count("gpu")
        assert as_json(seen)["centre"]["pue"]["value"] is None
        assert all(cell["f"] != "ok" for key, cell in overview_text(seen, words("zh")).items() if key == "n.it_power")


def test_the_numbers_of_a_normal_centre(live: Live) -> None:
    seen = view(live, NOW, read_past(live.store, NOW))
    centre = seen.centre
    assert centre.it_power.value == 8.4e6
    assert centre.pue.value == 1.143
    assert centre.pue_day.value == pytest.approx(1.15)  # the store's day was made with this ratio in every minute
    facility_kw = centre.facility_power.value / 1e3
    assert centre.carbon_rate.value == pytest.approx(facility_kw * 412 / 1e6)  # kW * g/kWh = g/h
    assert centre.cost_rate.value == pytest.approx(facility_kw / 1e3 * 438.5)
    assert seen.gpus.total.value == 256
    assert seen.gpus.silent.value == seen.gpus.unhealthy.value == 0
    assert seen.gpus.idle.value == 256 - seen.gpus.allocated.value
    old = {path for path, reading in readings(seen).items() if not reading.fresh and not path.startswith(".flow")}
    assert {path for path in old if not path.endswith(".suspect")} == set(), "all was fed but what sources judged suspect"
    flow = {stage.key: stage for stage in seen.flow}
    assert flow["ups"].measured.value == pytest.approx(8.4e6 * 1.04)  # the sum of two
    assert flow["grid"].modelled.origin is Origin.MODELLED
    assert not flow["transformer"].measured.known
    assert flow["transformer"].modelled.fresh


def test_the_hottest_racks_are_those_of_a_plain_search(live: Live) -> None:
    site, seen = live.site, view(live, NOW)
    temp = live.state.column("gpu", "temp_c", NOW)
    inside = site.within("gpu", "rack")
    hottest = {rack: max(temp[inside == row]) for row, rack in enumerate(site.ids_of("rack"))}
    assert [row.id for row in seen.racks.top] == sorted(hottest, key=lambda rack: -hottest[rack])[:12]
    assert [row.gpu_temp.value for row in seen.racks.top] == sorted(hottest.values(), reverse=True)[:12]
    assert dict(zip(seen.racks.ids, seen.racks.gpu_temp_c, strict=True)) == hottest


def test_the_peak_is_the_highest_median_within_a_day(live: Live) -> None:
    forecast, peak = live.forecasts[0], view(live, NOW).peak
    assert peak.time is not None
    i = list(forecast.time_s).index(peak.time.timestamp())
    ahead = forecast.time_s < NOW.timestamp() + 86400
    assert peak.p50.value == forecast.p50[i] == forecast.p50[ahead].max()
    assert (peak.p10.value, peak.p90.value) == (forecast.p10[i], forecast.p90[i])
    live.forecasts = ()
    assert view(live, NOW).peak.time is None


def test_nothing_that_got_old_is_fresh_and_its_age_is_told(live: Live) -> None:
    live.clock.skip(91)  # type: ignore[attr-defined]  # one second over the maximum age of power and temperature
    now = live.clock.now()
    seen = view(live, now)
    assert seen.centre.it_power.value == 8.4e6
    assert not seen.centre.it_power.fresh
    assert seen.centre.it_power.age_s == 91
    assert not seen.centre.carbon_rate.fresh, "worked out from a stale power"
    assert seen.centre.carbon_intensity.fresh, "good for two hours"
    assert seen.gpus.silent.value == 256
    assert not seen.gpus.unhealthy.known, "nobody knows"
    assert all(math.isnan(value) for value in seen.racks.gpu_temp_c)
    assert {source.status for source in seen.sources} == {"silent"}
    assert all(source.silent_since == NOW for source in seen.sources)
    assert len(seen.complaints) == len(seen.sources)
    said = overview_text(seen, words("en"))["n.it_power"]
    assert said == {"n": "8.40", "u": "MW", "f": "stale", "a": "1\u202fmin old"}
    assert set(overview_text(seen, words("en"))["map"]["temp"]) == {None}


def test_what_is_wrong_comes_first_and_is_counted() -> None:
    live = live_of(small_site(), Hands())
    feed(live, hot=True)
    add_work(live)
    alarm(live)
    ended = live.alerts[0]
    live.alerts += tuple(
        type(ended)(**{f.name: getattr(ended, f.name) for f in fields(ended)} | {"phase": phase, "rule": phase.value})
        for phase in (Phase.PENDING, Phase.RESOLVED)
    )
    seen = view(live, NOW)
    counts = (seen.centre.alerts_critical.value, seen.centre.alerts_warning.value, seen.centre.alerts_info.value)
    assert counts == (2, 3, 1), "only what fires counts"
    assert [row.severity.value for row in seen.alerts] == ["critical"] * 2 + ["warning"] * 3 + ["info"]
    assert seen.alerts[0].since > seen.alerts[1].since, "the newest of a kind first"
    assert seen.gpus.unhealthy.value == 5, "XID 79 on five, of which one has the alert too"
    assert seen.racks.top[0].id == "R01-04"
    assert not seen.plans[0].allowed
    said = overview_text(seen, words("zh"))
    assert said["n.alerts_critical"]["s"] == "critical"
    assert said["p.alerts"]["f"] == "ok", "whether anybody looks for alerts stands beside them"
    assert said["l.racks"][0]["c"][1]["s"] == "warning"


def test_machines_without_gpus_are_shown_as_they_report_themselves() -> None:
    live = live_of(small_site(services=6), Hands())
    gpu_nodes = live.site.count("node") - 6
    live.state.absorb(Frame("node", NOW, np.arange(gpu_nodes, dtype=np.int32), {"cpu_util_frac": np.full(gpu_nodes, 0.5)}), NOW)
    assert view(live, NOW).machines == (), "a node with GPUs is no service machine, and the others have said nothing"
    assert overview_text(view(live, NOW), words("en"))["l.machines"] == []
    feed_services(live)
    seen = view(live, NOW).machines
    assert [(row.id, row.cpu.value) for row in seen] == [("svc-1", 0.1), ("svc-2", 0.2), ("svc-3", 0.3), ("svc-4", 0.4)]
    first = seen[0]
    assert (first.mem_used.value, first.mem_total.value, first.load.value) == (12.4e9, 67.3e9, 1.25)
    assert (first.net_rx.value, first.net_rx.unit, first.net_tx.value) == (3.4e6, "bps", 8.1e5)
    assert as_json(view(live, NOW))["machines"][0]["cpu"]["value"] == 0.1
    live.clock.skip(91)  # type: ignore[attr-defined]
    old = view(live, live.clock.now())
    assert not old.machines[0].cpu.fresh
    said = overview_text(old, words("en"))["l.machines"][0]["c"]
    assert [cell["f"] for cell in said[1:]] == ["stale", "stale", "ok", "stale", "stale", "stale"], (
        "memory fitted changes slowly"
    )
    assert (said[1]["a"], said[3]["n"]) == ("1\u202fmin old", "/ 67.3")


def test_a_program_error_does_not_make_a_gpu_unhealthy(live: Live) -> None:
    codes = np.zeros(256)
    codes[:3] = 13, 43, 79
    live.clock.skip(1)  # type: ignore[attr-defined]
    now = live.clock.now()
    live.state.absorb(Frame("gpu", now, live.site.all_rows("gpu"), {"xid_code": codes}), now)
    assert view(live, now).gpus.unhealthy.value == 1


@pytest.mark.parametrize(("ago_s", "unhealthy"), [(3600.0, 1), (2 * HEALED_S, 0)])
def test_an_xid_that_the_driver_still_shows_is_over_when_the_gpu_has_long_worked_again(
    live: Live, tmp_path: Path, ago_s: float, unhealthy: int
) -> None:
    live.clock.skip(1)  # type: ignore[attr-defined]
    now, rows = live.clock.now(), live.site.all_rows("gpu")
    xid = np.where(np.arange(256) == 7, 79.0, 0.0)
    live.state.absorb(Frame("gpu", now, rows, {"xid_code": xid, "util_frac": np.full(256, 0.9)}), now)
    records = open_records(tmp_path / "records.db")
    struck = now - timedelta(seconds=ago_s)
    for at, asset in ((struck - timedelta(days=1), 7), (struck, 7), (struck, 8)):
        event = Event(at, live.site.ids_of("gpu")[asset], "xid/79", "fell off the bus")
        records.append(TOPIC, at, event.record())
    past = read_past(live.store, now, records)
    records.close()
    assert len(past.xids) == 2
    assert view(live, now, past).gpus.unhealthy.value == unhealthy


def test_what_is_not_measured_is_shown_as_modelled() -> None:
    live = live_of(small_site(), Hands())
    modelled_pue(live, 1.2)
    pue = view(live, NOW).centre.pue
    assert (pue.value, pue.fresh, pue.origin) == (1.2, True, Origin.MODELLED)
    assert overview_text(view(live, NOW), words("en"))["n.pue"]["o"] == "model"
    live.state.absorb(frame_of("site", NOW, 0, pue_ratio=1.3), NOW)
    assert view(live, NOW).centre.pue.value == 1.3, "what is measured goes first"


def test_a_sum_that_misses_a_part_is_not_fresh() -> None:
    live = live_of(small_site(), Hands())
    live.state.absorb(frame_of("ups", NOW, 0, power_w=5e6), NOW)
    ups = next(stage for stage in view(live, NOW).flow if stage.key == "ups")
    assert ups.measured.value == 5e6
    assert not ups.measured.fresh


def test_the_mean_of_a_day_needs_an_hour_and_weighs_by_energy() -> None:
    time_s = NOW.timestamp() - 60.0 * np.arange(60, 0, -1)
    it = np.repeat([1e6, 3e6], 30)
    facility = np.concatenate([it[:30] * 1.5, it[30:] * 1.1])
    past = Past(NOW, time_s, it, facility, Origin.MEASURED)
    assert past.pue(NOW).value == pytest.approx((1.5 * 1 + 1.1 * 3) / 4)
    it[0] = np.nan
    assert not past.pue(NOW).known
    assert not Past(NOW, time_s[1:], it[1:], facility[1:], Origin.MEASURED).pue(NOW).known


def test_energy_of_a_day_is_the_same_however_often_it_was_read() -> None:
    """A meter read each minute, one read each quarter of an hour, and one that was silent for two hours of four."""

    def kwh(*ago_min: float) -> float:
        time_s = NOW.timestamp() - 60.0 * np.arange(240.0, 0.0, -1)  # a store gives every step, unknown ones too
        power_w = np.where(np.isin(np.arange(240, 0, -1), ago_min), 60_000.0, np.nan)
        return Past(NOW, time_s, power_w, power_w, Origin.MEASURED).kwh(power_w)

    assert kwh(*range(240, 0, -1)) == pytest.approx(240)
    assert kwh(*range(240, 15, -15), 15, 1) == pytest.approx(240)
    assert kwh(*range(240, 180, -1), *range(60, 0, -1)) == pytest.approx(60 + 14 + 60), "silence is not filled"


def test_a_step_that_no_meter_saw_is_as_modelled() -> None:
    time_s = NOW.timestamp() // 60 * 60 - 60.0 * np.arange(4, 0, -1)

    class Two:
        def series(self, _kind: str, names: Any, *_: Any, origin: Origin, **__: Any) -> Series:
            take = slice(0, 3) if origin is Origin.MEASURED else slice(1, 4)
            value = 1.0 if origin is Origin.MEASURED else 2.0
            if _kind == "grid":
                return Series(time_s[:1], np.zeros(1, dtype=np.int32), {name: np.full((1, 1), 400.0) for name in names})
            return Series(time_s[take], np.zeros(1, dtype=np.int32), {name: np.full((3, 1), value) for name in names})

    past = read_past(Two(), NOW)  # type: ignore[arg-type]
    assert past.it_power_w.tolist() == [1, 1, 1, 2]
    assert past.origin is Origin.MODELLED
    assert past.carbon_gco2_per_kwh is not None
    assert past.carbon_gco2_per_kwh.tolist() == [400.0] * 4, "an intensity counts until the next, for two hours"


def test_the_chart_joins_what_is_near_and_nothing_else(live: Live) -> None:
    time_s = NOW.timestamp() - 60.0 * np.array([600, 585, 570, 200, 185, 10])  # every quarter of an hour, with silence between
    past = Past(NOW, time_s, np.arange(1.0, 7.0), np.full(6, 9.0), Origin.MEASURED)
    line = power_curve(view(live, NOW, past), past, live.forecasts)
    assert line["y"] == [1.0, 2.0, 3.0, None, 4.0, 5.0, None, 6.0]  # W
    assert len(line["t"]) == 8
    assert min(line["ft"]) >= NOW.timestamp(), "what is foreseen starts now"
    assert len(line["p10"]) == len(line["p50"]) == len(line["ft"])


def test_a_store_that_fails_says_so_to_whoever_reads_the_day(live: Live) -> None:
    class Dead:
        def series(self, *_: Any, **__: Any) -> None:
            raise SourceError("gone")

    with pytest.raises(SourceError):
        read_past(Dead(), NOW)  # type: ignore[arg-type]
