"""The forecast: what is known of its parts by hand, that it sees no future, and that it says why where there is none."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from analytics import forecast_bench, table
from analytics import replay as replaying
from analytics.cards import Card, card
from analytics.conformal import intervals, lead_buckets
from analytics.forecast import BLEND, NAIVE_DAY, Forecast, forecast_series
from analytics.forecast_bench import bench
from analytics.grid import causally_filled
from analytics.recorded import OWN_RECORDINGS, RECORDINGS, judging_parts, read_values
from analytics.replay import replay
from analytics.score import coverage, mase, mean_pinball, naive_scale, past_origins, peak_hit, pinball
from twin.errors import ConfigError
from twin.frame import Floats, Origin
from twin.message import Message

HOUR_S = 3600.0
DAY = 24


def load(days: int = 40, noise: float = 0.02, seed: int = 7) -> Floats:
    """Hourly load with a day, a week and noise."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24.0)
    week = np.where((hours // 24) % 7 < 5, 0.1, -0.1)
    return 1.0 + 0.2 * np.sin(2 * np.pi * hours / 24) + week + rng.normal(0, noise, len(hours))


def made_from(values: Floats, horizon: int = DAY, step_s: float = HOUR_S, **more: float) -> Forecast | Message:
    issued = datetime.fromtimestamp(len(values) * step_s, UTC)
    return forecast_series(np.arange(float(len(values))) * step_s, values, issued, horizon, step_s, **more)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer past moments: the same code in a third of the time, for what is not about how good a forecast is."""
    monkeypatch.setattr(replaying, "ORIGINS", 12)


# --- parts, by hand --------------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    truth = np.array([[1.0, 2.0, np.nan, 4.0]])
    said = np.array([[2.0, 2.0, 9.0, 2.0]])
    assert mase(truth, said, np.array([0.5])) == pytest.approx((1 + 0 + 2) / 3 / 0.5)
    assert pinball(truth, said, 0.9)[0, [0, 1, 3]] == pytest.approx([0.1, 0.0, 1.8])
    assert coverage(truth, said - 1, said + 1) == pytest.approx(2 / 3)
    assert mean_pinball(truth, [said] * 3) == pytest.approx((1 + 0 + 2) / 3 / 2)  # mean of 0.1, 0.5, 0.9 is half the error
    assert naive_scale(np.array([1.0, 5.0, 2.0, 7.0]), 2) == pytest.approx(1.5)
    assert naive_scale(np.array([1.0, 5.0, np.nan, 7.0, 9.0, 6.0]), 2) == pytest.approx((2 + 1) / 2)  # a gap counts for nothing
    assert np.isnan(naive_scale(np.array([1.0, np.nan, np.nan, 7.0]), 2))
    day = np.eye(24)
    assert peak_hit(day[[23, 23, 12, 12]], day[[0, 1, 13, 14]], 24) == 0.5  # round the clock: 23 and 0 are neighbours


def test_origins_are_in_the_past_and_at_varied_hours() -> None:
    origins = past_origins(1976, 400, 24, 36)
    assert len(origins) == 36
    assert 1976 - 41 < origins[-1] <= 1976
    assert origins[0] >= 400
    assert len(set(origins % 24)) == 24
    assert len(past_origins(76, 90, 24, 36)) == 0
    grown = past_origins(1983, 400, 24, 36)  # seven hours later most of them are the same moments
    assert len(set(origins) & set(grown)) >= 34


def test_buckets_are_all_steps_once() -> None:
    for horizon, step_s in ((24, 3600.0), (288, 300.0), (1, 3600.0), (168, 3600.0), (7, 86400.0)):
        steps = [i for bucket in lead_buckets(horizon, step_s) for i in range(horizon)[bucket]]
        assert steps == list(range(horizon))


def test_intervals_hold_what_they_say_and_learn_when_the_world_changes() -> None:
    rng = np.random.default_rng(3)
    spread = np.where(np.arange(400) < 200, 1.0, 3.0)[:, None]
    truth = rng.normal(0, 1, (400, 4)) * spread
    origins = np.arange(400, dtype=np.int32) * 4
    low, high = intervals(np.zeros_like(truth), truth, origins, [slice(0, 4)])
    assert coverage(truth[50:200], low[50:200], high[50:200]) == pytest.approx(0.8, abs=0.04)
    assert coverage(truth[350:], low[350:], high[350:]) > coverage(truth[200:215], low[200:215], high[200:215])
    assert np.isnan(low[:3]).all()
    assert np.isfinite(low[3:]).all()


def test_an_interval_learns_from_each_step_that_has_passed_and_from_no_other() -> None:
    """Forecasts of eight steps every other step: at the last moment three of them are under way."""
    truth = np.random.default_rng(4).normal(0, 1, (30, 8))
    origins, buckets, said = np.arange(30, dtype=np.int32) * 2, [slice(0, 8)], np.zeros((30, 8))
    came = origins[:, None] + np.arange(8) < origins[-1]
    under_way = (origins + 8 > origins[-1])[:, None]
    low, high = intervals(said, truth, origins, buckets)
    for other in (np.nan, 1e3):
        unseen = intervals(said, np.where(came, truth, other), origins, buckets)
        assert np.array_equal(unseen[0][-1], low[-1])
        assert np.array_equal(unseen[1][-1], high[-1])
    assert (intervals(said, np.where(came & under_way, 10.0, truth), origins, buckets)[1][-1] > high[-1]).all()


def test_a_gap_is_filled_from_its_past() -> None:
    series = np.arange(60.0)
    series[30:40] = np.nan
    filled = causally_filled(series, 24)
    assert filled[30:40].tolist() == [29, 29, *range(8, 16)]
    assert np.array_equal(causally_filled(series[:35], 24), filled[:35])


def test_steps_begin_where_most_times_say_so_and_a_card_names_the_data_there_was(quick: None) -> None:
    """The first value came 800 s late, and the last is half a day old."""
    values, time_s = load(20), HOUR_S * np.arange(20.0 * DAY)
    time_s[0] += 800
    made = forecast_series(time_s, values, datetime.fromtimestamp(time_s[-1] + 13 * HOUR_S, UTC), 6, HOUR_S)
    assert isinstance(made, Forecast)
    assert made.time_s[0] == time_s[-1] + 13 * HOUR_S
    said = card(made)
    assert isinstance(said, Card)
    assert (said.first.timestamp(), said.last.timestamp()) == (0.0, 20 * DAY * HOUR_S)


def test_an_error_is_measured_by_what_was_measured_not_by_what_filled_the_gaps(quick: None) -> None:
    values = load(30)
    for start in range(2 * DAY, 27 * DAY, 9 * DAY):
        values[start : start + 3 * DAY] = np.nan
    for origin, scale in zip((made := replay(values, DAY, HOUR_S).rolling).origins.tolist(), made.scale, strict=True):
        apart = np.abs(values[DAY:origin] - values[: origin - DAY])
        assert scale == pytest.approx(np.nanmean(apart))


# --- the whole -------------------------------------------------------------------------------------------------------------


def test_foresees_a_load_better_than_the_naive_and_knows_how_well() -> None:
    values = load(41)
    made = made_from(values[: 40 * 24])
    assert isinstance(made, Forecast)
    assert made.time_s[0] == 40 * 24 * HOUR_S
    assert np.abs(made.p50 - values[40 * 24 :]).mean() < 0.03
    assert made.score.mase < 0.8 * made.score.naive_mase
    assert 0.6 <= made.score.coverage_80_frac <= 0.97
    assert made.score.origins >= 8
    assert (made.p10 <= made.p50).all()
    assert (made.p50 <= made.p90).all()
    frames = list(made.frames())
    assert len(frames) == 3 * DAY
    assert {frame.band for frame in frames} == {"p10", "", "p90"}
    assert all(frame.origin is Origin.FORECAST and frame.issued == made.issued for frame in frames)


@pytest.mark.parametrize(("cut_day", "shift"), [(28, -40.0), (33, np.nan)])
def test_sees_nothing_of_what_comes(cut_day: int, shift: float) -> None:
    """Whatever happens after an origin, what was said there, interval and all, stays the same."""
    values = load(36)
    values[610:616] = np.nan
    other = values.copy()
    other[cut_day * 24 :] += shift
    first, second = replay(values, DAY, HOUR_S, 24), replay(other, DAY, HOUR_S, 24)
    before = first.rolling.origins <= cut_day * 24
    assert np.count_nonzero(before) >= 8
    assert not before.all()
    for name in first.bands:
        for left, right in zip(first.bands[name], second.bands[name], strict=True):
            assert np.array_equal(left[before], right[before], equal_nan=True)


@pytest.mark.usefixtures("quick")
def test_an_exactly_repeating_day_is_repeated() -> None:
    made = made_from(np.tile(np.arange(24.0), 30))
    assert isinstance(made, Forecast)
    assert made.p50 == pytest.approx(np.arange(24.0), abs=0.05)


@pytest.mark.usefixtures("quick")
def test_gaps_do_not_stop_it_and_are_not_judged() -> None:
    values = load(40)
    values[500:503] = values[610:640] = np.nan
    values[700] = np.inf
    made = made_from(values)
    assert isinstance(made, Forecast)
    assert made.score.mase < made.score.naive_mase
    sparse = np.flatnonzero(np.isfinite(values))
    times = np.arange(float(len(values))) * HOUR_S
    other = forecast_series(times[sparse], values[sparse], made.issued, DAY, HOUR_S)  # rows left out are gaps too
    assert isinstance(other, Forecast)
    assert np.array_equal(other.p50, made.p50)


@pytest.mark.usefixtures("quick")
def test_values_before_the_first_reading_shift_nothing() -> None:
    values = load(30)
    padded = np.concatenate([np.full(50, np.nan), values])
    made = made_from(padded)
    assert isinstance(made, Forecast)
    plain = forecast_series(np.arange(50.0, len(padded)) * HOUR_S, values, made.issued, DAY, HOUR_S)
    assert isinstance(plain, Forecast)
    assert np.array_equal(made.time_s, plain.time_s)
    assert np.array_equal(made.p50, plain.p50)


@pytest.mark.usefixtures("quick")
def test_a_late_series_is_foreseen_from_now_and_a_silent_one_is_not() -> None:
    values = load(30)
    times = np.arange(float(len(values))) * HOUR_S
    end = datetime.fromtimestamp(len(values) * HOUR_S, UTC)
    late = forecast_series(times, values, end + timedelta(hours=3, minutes=20), DAY, HOUR_S)
    assert isinstance(late, Forecast)
    assert late.time_s[0] == times[-1] + 4 * HOUR_S
    silent = forecast_series(times, values, end + timedelta(hours=30), DAY, HOUR_S)
    assert "a day of silence" in str(silent)


@pytest.mark.usefixtures("quick")
def test_bounds_of_the_metric_are_kept() -> None:
    made = made_from(np.maximum(load(30, noise=0.5), 0.0), low=0.0, high=1.5)
    assert isinstance(made, Forecast)
    assert made.p10.min() >= 0.0
    assert made.p90.max() <= 1.5


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("days", [1.5, 2.5, 5, 9, 16])
def test_short_histories_get_simple_forecasts_with_an_interval(days: float) -> None:
    made = made_from(load(17)[: int(days * 24)], horizon=12)
    assert isinstance(made, Forecast)
    assert np.isfinite([made.p10, made.p50, made.p90]).all()


def test_a_constant_series_stays_and_claims_no_score() -> None:
    made = made_from(np.full(24 * 20, 5.0))
    assert isinstance(made, Forecast)
    assert set(made.p10) | set(made.p90) == {5.0}
    assert made.score.origins == 0
    assert np.isnan(made.score.mase)


@pytest.mark.parametrize(
    ("values", "step_s", "says"),
    [
        (np.full(500, np.nan), HOUR_S, "no value"),
        (load(30), 3601.0, "does not divide a day"),
    ],
)
def test_says_why_there_is_none(values: Floats, step_s: float, says: str) -> None:
    made = made_from(values, step_s=step_s)
    assert isinstance(made, Message)
    assert says in str(made)


def test_times_that_are_no_grid_are_refused() -> None:
    times = np.arange(720.0) * HOUR_S
    times[300:] += 1800
    assert "lie beside them" in str(forecast_series(times, load(30), datetime(1970, 2, 1, tzinfo=UTC), DAY, HOUR_S))
    with pytest.raises(ValueError, match="one length"):
        forecast_series(times, load(29), datetime(1970, 2, 1, tzinfo=UTC), DAY, HOUR_S)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("step_s", "days"), [(900.0, 20), (86400.0, 120)])
def test_other_steps_than_hours(step_s: float, days: int) -> None:
    n = int(days * 86400 / step_s)
    steps = np.arange(n) * step_s / 86400
    values = 3 + np.sin(2 * np.pi * steps) + 0.5 * np.sin(2 * np.pi * steps / 7) + np.random.default_rng(1).normal(0, 0.1, n)
    made = made_from(values, horizon=8, step_s=step_s)
    assert isinstance(made, Forecast)
    assert made.score.origins > 0


# --- recorded data and files -------------------------------------------------------------------------------------------------


def test_beats_the_naive_on_recorded_loads(fixtures: Path) -> None:
    for recording in OWN_RECORDINGS:
        made = replay(read_values(fixtures / "loads", recording), DAY, HOUR_S, 30)
        blend, naive = made.score(BLEND), made.score(NAIVE_DAY)
        assert blend.origins >= 8
        assert blend.mase < 0.9 * naive.mase
        assert blend.pinball_vs_naive_frac < 0.85
        assert 0.6 < blend.coverage_80_frac < 0.95


@pytest.mark.usefixtures("quick")
def test_bench_prints_its_contract(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_bench, "ORIGINS", 30)
    result = bench(fixtures / "loads", lambda: 0.0, OWN_RECORDINGS)
    needed = {
        "mase",
        "pinball_vs_seasonal_naive_frac",
        "coverage_80_frac",
        "peak_hit_frac",
        "fit_predict_s",
        "peak_hour_brier_ratio",
    }
    assert needed <= result["figures"].keys()
    assert result["against"]["seasonal_naive_day_mase"] > result["figures"]["mase"]
    assert {"persistence_mase", "seasonal_naive_week_mase"} <= result["against"].keys()
    assert result["conditions"]["origins_judged"] >= 4


def test_what_judges_chose_nothing(shared_data: Path) -> None:
    parts = judging_parts(shared_data)
    assert {part.recording.family for part in parts} == {"gpu_demand", "rack_power", "grid_load", "cloud", "carbon", "price"}
    assert all(part.recording.judged is not None for part in parts)
    assert len([r for r in RECORDINGS if r.judged is None]) >= 8
    gpu = next(part for part in parts if part.recording.family == "gpu_demand")
    assert (len(gpu.values), gpu.judged_from) == (2712, 1817)
    made = replay(gpu.values, DAY, HOUR_S, 60, judged_from=gpu.judged_from)
    assert made.rolling.origins[made.judged].min() >= 1817
    with pytest.raises(ConfigError, match="cannot be read"):
        read_values(shared_data / "nowhere", RECORDINGS[0])


@pytest.mark.usefixtures("quick")
def test_a_file_in_and_a_file_out(tmp_path: Path, fixtures: Path) -> None:
    made = table.forecast_file(fixtures / "loads" / "pdu6-power-hourly.csv", 12)
    assert isinstance(made, Forecast)
    table.write_forecast(tmp_path / "o.csv", made)
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time", "p10", "p50", "p90"]
    assert [row["time"] for row in rows[:2]] == ["2019-06-01T00:00:00Z", "2019-06-01T01:00:00Z"]
    assert all(float(row["p10"]) <= float(row["p50"]) <= float(row["p90"]) for row in rows)
    assert len(rows) == 12


@pytest.mark.usefixtures("quick")
def test_a_bad_file_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    lines = ["time,value", "2026-01-01T00:00:00Z,1", "2026-01-01T01:00:00,2", "yesterday,3", "2026-01-01T03:00:00Z,high"]
    path.write_text("\n".join([*lines, "1e15,2", "2026-01-01T04:00:00Z"]))
    with pytest.raises(ConfigError) as caught:
        table.read_series(path)
    where = [problem.where.rsplit(":", 1)[1] for problem in caught.value.problems]
    assert where == ["3", "4", "5", "6"]
    path.write_text("when,value\n1,2\n")
    with pytest.raises(ConfigError, match="no column 'time'"):
        table.read_series(path)
    path.write_text("time,value\n0,1\n3600,nan\n7200,\n")
    times, values = table.read_series(path)
    assert times.tolist() == [0, 3600, 7200]
    assert np.isnan(values[1:]).all()
    made = made_from(load(20))
    assert isinstance(made, Forecast)
    with pytest.raises(ConfigError, match="cannot be written"):
        table.write_forecast(tmp_path / "no" / "o.csv", made)
