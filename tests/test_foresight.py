"""The centre's forecasts as they come: accuracy by hand, drift and refit, off and on again, memory over a restart, the API."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import small_site
from test_known import jobs

from analytics import replay as replaying
from analytics.accuracy import Said, accuracy, remembered, switched_off
from analytics.known import calendar
from energy.account.runs import RunLog
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Floats, Frame, Ints, Origin
from twin.job import JobState
from twin.ports import How, Series
from twin.state import State
from ui.faces.server import build_server
from ui.foresight import COMMITTED, FORECASTS, Foresight, country_of
from ui.view import Live

HOUR_S = 3600.0
START = datetime(2026, 3, 2, tzinfo=UTC)


class World(DayStore):
    """A store in which power follows the day and the weather, and is noisier by ``shift_w`` from ``shifted`` on."""

    def __init__(self) -> None:
        super().__init__()
        self.begins = START - timedelta(days=40)
        self.shifted, self.shift_w = START + timedelta(days=900), 0.0
        self.noise = np.random.default_rng(9).normal(0, 1, 24 * 400)
        self.days = np.random.default_rng(10).normal(0, 2, 400)

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        time_s = np.arange(max(start, self.begins).timestamp(), end.timestamp(), step_s or HOUR_S)
        hour = ((time_s - self.begins.timestamp()) // HOUR_S).astype(int) % len(self.noise)
        air = 12 + 4 * np.sin(2 * np.pi * hour / 24) + self.days[hour // 24 % 400]
        late = time_s >= self.shifted.timestamp()
        it = 1e6 * (1 + 0.1 * np.sin(2 * np.pi * hour / 24)) + (8e3 + self.shift_w * late) * self.noise[hour]
        known: Mapping[str, Floats] = {
            "wet_bulb_c": air,
            "it_power_w": it,
            "facility_power_w": it * 1.1 + 2e4 * np.maximum(air - 12, 0),
            "util_frac": np.full(len(time_s), 0.6),
        }
        n = {"gpu": 16, "node": 4}.get(kind, 1) if rows is None else len(rows)
        values = {name: np.repeat(known.get(name, np.full(len(time_s), np.nan))[:, None], n, axis=1) for name in metrics}
        return Series(time_s, np.arange(n, dtype=np.int32) if rows is None else rows, values)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(replaying, "ORIGINS", 14)
    site = small_site("id=q kind=queue")
    return Live(site, State(site), World(), open_records(tmp_path / "r.db"), Hands(START), START)


def published(live: Live) -> tuple[Foresight, list[Frame]]:
    frames: list[Frame] = []
    return Foresight(live, frames.extend), frames


def drift_of(frames: list[Frame]) -> list[float]:
    return [float(frame.values["forecast_drift_ratio"][0]) for frame in frames if "forecast_drift_ratio" in frame.values]


def test_accuracy_by_hand() -> None:
    """Two forecasts of 2 steps over a day-old naive: errors 1, 3 and 0, and a step that is still to come."""
    values = np.concatenate([np.tile([10.0, 14.0], 12), [12.0, 15.0, 11.0]])
    time_s = HOUR_S * np.arange(27.0)

    def word(first: int, *p50: float) -> Said:
        median = np.array(p50)
        return Said(first * HOUR_S, first * HOUR_S, HOUR_S, 0.5, median - 1, median, median + 1)

    found = accuracy([word(24, 13.0, 18.0), word(26, 11.0, 9.0)], time_s, values)
    assert found.steps == 3
    assert found.coverage_80_frac == pytest.approx(2 / 3)
    assert found.vs_naive_ratio == pytest.approx((1 + 3 + 0) / (2 + 1 + 1))
    scale = np.mean([2, 1, 1])  # of steps a day apart in all that was measured
    assert found.mase == pytest.approx((4 / 3) / scale)
    assert [(one.from_s, one.to_s, one.steps) for one in found.by_lead] == [(0, 3600, 2), (3600, 7200, 1)]
    assert accuracy([], time_s, values).steps == 0
    assert remembered(word(24, 1.0).record()).p90.tolist() == [2.0]
    with pytest.raises(SourceError, match="left out"):
        remembered({"issued_s": 1})


def test_an_hour_that_is_missing_each_day_does_not_hide_that_errors_grow() -> None:
    """Errors of five expected ones, over a series of which the hour of the backup is not there: the scale is the same."""
    hours = np.arange(40 * 24)
    values = 100 + 30 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(1).normal(0, 2, len(hours))
    usual = np.abs(values[24 : 30 * 24] - values[: 29 * 24]).mean()
    words = []
    for first in range(30 * 24, 39 * 24, 6):
        median = values[first : first + 24] + 5 * usual
        words.append(Said(first * HOUR_S, first * HOUR_S, HOUR_S, 1.0, median - 1, median, median + 1))
    gaps = np.where(hours % 24 == 3, np.nan, values)
    for series in (values, gaps):
        found = accuracy(words, hours * HOUR_S, series)
        assert found.mase == pytest.approx(5, rel=0.05)
        assert found.drift > 1


def test_off_and_on_have_a_gap_between_them() -> None:
    def after(was: bool, ratio: float, truths: int = 200) -> bool:
        empty = accuracy([], np.zeros(1), np.zeros(1))
        return switched_off(was, type(empty)((), 500, truths, 1.0, ratio, 0.8, 0.0))

    assert [after(False, 0.97), after(False, 1.0), after(True, 0.97), after(True, 0.94)] == [False, True, True, False]
    assert not after(False, 2.0, truths=72)


def test_a_steady_world_drifts_not_and_a_changed_one_is_seen_and_refitted(live: Live) -> None:
    world, clock = live.store, live.clock
    assert isinstance(world, World)
    assert isinstance(clock, Hands)
    foresight, frames = published(live)
    for _ in range(3):
        foresight.run(clock.now())
        clock.skip(24 * HOUR_S)
    names = {(f.kind, f.metric) for f in live.forecasts}
    assert names == {("weather", "wet_bulb_c"), ("site", "it_power_w"), ("site", "facility_power_w"), ("hall", "it_power_w")}
    assert max(drift_of(frames)) < 0.5
    it = live.accuracy["site", 0, "it_power_w"]
    assert it.truths == 48
    assert it.vs_naive_ratio < 0.9
    assert 0.55 < it.coverage_80_frac <= 1
    by = {(f.kind, f.metric): f.p50 for f in live.forecasts}
    assert by["site", "it_power_w"] == pytest.approx(by["hall", "it_power_w"], rel=1e-9)  # one hall: the whole is the part
    driven = next(f for f in live.forecasts if f.metric == "facility_power_w")
    assert driven.made is not None
    assert np.isfinite(driven.made.rolling.said["driven"][-1]).all()
    key = ("site", 0, "facility_power_w")
    before = foresight._targets[key].memory
    world.shifted, world.shift_w = clock.now(), 1.5e5
    for _ in range(3):
        foresight.run(clock.now())
        clock.skip(22 * HOUR_S)
    assert max(drift_of(frames)) >= 1  # errors that grow twentyfold are seen within three days
    assert foresight._targets[key].memory is not before
    again, _ = published(live)  # a restart takes up what was said
    assert len(again._targets["site", 0, "it_power_w"].issued) == 6
    again.run(clock.now())
    assert live.accuracy["site", 0, "it_power_w"].steps > it.steps
    live.records.append(FORECASTS, clock.now(), {"kind": "site", "said": {"p10": "broken"}})
    assert len(published(live)[0]._targets) == len(again._targets)


def test_a_zone_that_lies_in_no_country_has_a_calendar_too() -> None:
    """``Etc/UTC`` is what Debian and cloud images write; the tables of zones give it the country ZZ."""
    told = {"Etc/UTC": "", "UTC": "", "Etc/GMT-8": "", "PRC": "CN", "Asia/Shanghai": "CN", "Europe/Berlin": "DE"}
    assert {zone: country_of(zone) for zone in told} == told
    for zone, country in told.items():
        assert len(calendar(START.timestamp(), 2, HOUR_S, zone, country).kind) == 2


def test_what_jobs_hold_is_written_down_as_it_was_known(live: Live) -> None:
    table = jobs((JobState.RUNNING, 4, 0, 0, 1e6))
    live.jobs = table
    foresight, _ = published(live)
    foresight.run(live.clock.now())
    (record,) = (entry for _, _, entry in live.records.read(COMMITTED))
    assert record["gpus"] == [4.0] * 25
    assert len(published(live)[0]._committed) == 1


def note_full_day(live: Live) -> None:
    """Jobs of an hour on all 16 GPUs, one after the other, from a day and a half ago on; the queue lists the one that runs."""
    log, now = RunLog(live.site.ids_of("gpu")), live.clock.now()
    for hour in range(-36, 1):
        begun = now + timedelta(hours=hour)
        live.jobs = replace(
            jobs((JobState.RUNNING, 16, hour - 0.5, hour, 1)),
            ids=[str(hour)],
            submit_s=np.array([begun.timestamp() - 1800]),
            start_s=np.array([begun.timestamp()]),
            rows=np.arange(16, dtype=np.int32),
            job_of=np.zeros(16, dtype=np.int32),
        )
        log.note(live.records, {"q": live.jobs}, begun)


@pytest.fixture
def ask(live: Live) -> httpx.AsyncClient:
    foresight, _ = published(live)
    for _ in range(2):
        foresight.run(live.clock.now())
        live.clock.skip(12 * HOUR_S)  # type: ignore[attr-defined]
    foresight.run(live.clock.now())
    note_full_day(live)
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost")


async def test_the_api_says_how_far_to_believe_and_when_peaks_come(ask: httpx.AsyncClient) -> None:
    async with ask:
        came: list[dict[str, Any]] = (await ask.get("/api/v1/forecasts/accuracy")).json()
        it = next(one for one in came if one["metric"] == "it_power_w" and one["kind"] == "site")
        assert it["steps"] == 36
        assert sum(lead["steps"] for lead in it["leads"]) == 36
        card = (await ask.get("/api/v1/forecasts/card", params={"metric": "it_power_w", "asset": "test"})).json()
        assert card["score"]["model"] == "blend"
        assert sum(card["leads"][-1]["shares"].values()) == pytest.approx(1)
        assert {one["model"] for one in card["baselines"]} == {"seasonal_naive_day"}
        peaks = (await ask.get("/api/v1/forecasts/peaks", params={"metric": "it_power_w", "limit": 9e5})).json()
        (day,) = peaks["days"]
        assert sum(day["probability"]) == pytest.approx(1)
        hour = datetime.fromisoformat(day["likeliest"]).hour
        assert 4 <= hour <= 8  # the day's sine is highest at six
        assert 0 < peaks["crossing"]["probability"] < 1
        none = await ask.get("/api/v1/forecasts/peaks", params={"metric": "sunspots"})
        assert none.status_code == 404
        assert "foreseen is facility_power_w, it_power_w" in none.json()["detail"]
        used = (await ask.get("/api/v1/kpis")).json()
        found = {one["name"]: one for one in used["kpis"]}
        assert found["gpu_util_frac"]["value"] == pytest.approx(0.6)
        assert found["availability_frac"]["value"] == 1
        assert "NVML" in found["gpu_util_frac"]["definition"]
        assert "sm_active_frac" not in found  # nobody measured it
        busy = found["utilisation_frac"]  # the queue lists the job that runs, the day was full
        assert (busy["value"], busy["known_frac"]) == (pytest.approx(1.0), 1.0)
        assert (used["waits"][-1]["jobs"], used["waits"][-1]["p50_s"]) == (24, 1800)
