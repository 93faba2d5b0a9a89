"""Peaks as probabilities: by hand, honest on a world that is known, and scores that reward honesty."""

from datetime import UTC, datetime

import numpy as np
import pytest

from analytics.forecast import Forecast, forecast_series
from analytics.peaks import crossing, day_peaks, paths, paths_of, peaks_of, usual_peaks, views
from analytics.replay import BLEND, Replay, replay
from analytics.score import Rolling, brier, reliability, reliability_gap
from twin.frame import Floats

HOUR_S, DAY = 3600.0, 24


def world(days: int, seed: int = 1) -> Floats:
    """A load whose day has its peak between 13 and 16 o'clock, and whose days differ by a common level."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24.0)
    level = np.repeat(rng.normal(0, 1.0, days), 24)
    return 10 + 3 * np.sin(2 * np.pi * (hours - 8.5) / 24) + level + rng.normal(0, 0.3, len(hours))


def test_crossing_by_hand() -> None:
    of = np.array([[1.0, 2, 5, 1], [1, 1, 1, 1], [5, 1, 1, 1], [1, 1, 1, 6]])
    found = crossing(of, 5.0)
    assert found.probability == pytest.approx(3.5 / 5)
    assert found.by_step.tolist() == pytest.approx([1.5 / 5, 1.5 / 5, 2.5 / 5, 3.5 / 5])
    assert found.step_p50 == 3
    never = crossing(of, 9.0)
    assert 0 < never.probability < 0.2  # four paths cannot say never
    assert np.isnan(never.step_p50)
    assert crossing(of, 0.5, above=False).probability == pytest.approx(0.5 / 5)


def said(median: Floats, truth: Floats, up: Floats, down: Floats) -> Replay:
    """A replay whose origins lie a horizon apart: float64[k, h] each; ``up``, ``down``: half widths of the bands."""
    k, h = median.shape
    rolling = Rolling(np.arange(1, k + 1, dtype=np.int32) * h, truth, {BLEND: median}, np.ones(k))
    bands = {BLEND: (median - down, median, median + up)}
    return Replay(rolling, bands, [], [slice(0, h)], np.concatenate([np.zeros(h), truth[:-1].ravel()]))


def test_paths_by_hand() -> None:
    """Past errors half of the upper width 1 and a quarter of the lower width 2: so much of the widths 3 and 4 of now; one of
    ten times its width counts as four. What came after the origin says nothing."""
    ones = np.ones((12, 2))
    up, down = ones.copy(), 2 * ones
    up[9], down[9] = 3.0, 4.0
    error = np.tile([0.5, -0.5], (12, 1))
    error[0] = 10.0
    error[9:] = 1e3
    of = paths(said(20 * ones, 20 + error, up, down), 9)
    assert of is not None
    assert of.tolist() == [[32.0, 32.0]] + [[21.5, 19.0]] * 8


def test_the_hour_of_a_peak_is_told_without_what_came_after_it() -> None:
    """``views`` of the sixth of twelve days: later days say nothing, and how wrong former days were makes the median sharp or
    dull, by hand: two steps of which the higher is e² times as likely where it is half the mean error higher."""
    median = np.tile(np.where(np.arange(24) == 12, 1.0, 0.0), (12, 1))
    truth = median + 2.0
    truth[6:] += 1e3
    ones = np.ones((12, 24))
    seen = views(said(median, truth, ones, ones), 6, 0, DAY, np.ones((1, 12)))
    high = np.exp(2) / (np.exp(2) + 23)
    low = 1 / (np.exp(2) + 23)
    assert seen[0, [12, 11, 13, 0]] == pytest.approx([(high + low) / 2, (high + 3 * low) / 4, (high + 3 * low) / 4, low])
    assert seen[1, [11, 12, 13]] == pytest.approx([0.25, 0.5, 0.25], abs=1e-6)
    assert seen.sum(axis=1) == pytest.approx(np.ones(4))


def test_a_day_s_peak_is_a_distribution_that_sums_to_one_and_wraps_midnight() -> None:
    of = np.ones((10, 24))
    of[:5, 23], of[5:, 0] = 7, 8
    (peak,) = day_peaks(of, DAY)
    assert peak.probability.sum() == pytest.approx(1)
    assert peak.probability[[22, 23, 0, 1]].tolist() == pytest.approx([0.125, 0.375, 0.375, 0.125])
    assert peak.step in (23, 0)
    assert (peak.p10, peak.p90) == (7, 8)
    usual = usual_peaks(np.tile(np.arange(24.0), 10), DAY)
    assert usual.argmax() == 23
    minutes = usual_peaks(np.tile(-np.abs(np.arange(1440.0) - 720), 3), 1440)
    assert {int(i): minutes[i] for i in np.flatnonzero(minutes)} == {660: 0.25, 720: 0.5, 780: 0.25}, "an hour to each side"
    (noon,) = day_peaks(np.tile(-np.abs(np.arange(1440.0) - 720), (2, 1)), 1440)
    assert noon.probability[[660, 720, 780]].tolist() == [0.25, 0.5, 0.25]


def test_the_truth_lies_where_the_paths_say() -> None:
    values = world(100)
    made = replay(values, DAY, HOUR_S, 55, judged_from=50 * DAY)
    said, came, inside = [], [], []
    for i in made.judged:
        of = paths(made, i)
        assert of is not None
        assert of.shape[1] == DAY
        truth = made.rolling.truth[i]
        said.append(crossing(of, 13.5).probability)
        came.append(float(truth.max() >= 13.5))
        (peak,) = day_peaks(of, DAY)
        inside.append(peak.p10 <= truth.max() <= peak.p90)
    assert 0.65 <= np.mean(inside) <= 0.95
    base = float(np.mean(came))
    assert 0.2 < base < 0.8
    assert brier(np.array(said), np.array(came)) < 0.9 * base * (1 - base)
    assert np.mean(said) == pytest.approx(base, abs=0.15)


def test_scores_of_probabilities_by_hand() -> None:
    said, came = np.array([0.95, 0.95, 0.05, 0.05, np.nan]), np.array([1.0, 0, 0, 0, 1])
    assert brier(said, came) == pytest.approx((0.05**2 + 0.95**2 + 2 * 0.05**2) / 4)
    mean, was, count = reliability(said, came)
    assert (mean[9], was[9], count[9]) == (0.95, 0.5, 2)
    assert reliability_gap(said, came) == pytest.approx((0.45 * 2 + 0.05 * 2) / 4)
    rng = np.random.default_rng(3)
    honest = rng.uniform(0, 1, 4000)
    truth = (rng.uniform(0, 1, 4000) < honest).astype(float)
    assert reliability_gap(honest, truth) < 0.05 < reliability_gap(np.clip(2 * honest - 0.5, 0, 1), truth)


def test_a_late_forecast_counts_its_hours_from_where_it_begins() -> None:
    values = world(40)
    issued = datetime.fromtimestamp((len(values) + 5) * HOUR_S + 60, UTC)
    made = forecast_series(np.arange(float(len(values))) * HOUR_S, values, issued, DAY, HOUR_S)
    assert isinstance(made, Forecast)
    of = paths_of(made)
    assert of is not None
    assert of.shape[1] == len(made.time_s) == DAY
    ((start, peak),) = peaks_of(made)
    hour = datetime.fromtimestamp(float(made.time_s[start + peak.step]), UTC).hour
    assert 12 <= hour <= 17
