"""No forecast sees what comes after it; each way in which it could is planted, and seen to be caught."""

from collections.abc import Callable

import numpy as np
import pytest

from analytics import blend, conformal, known
from analytics import replay as replaying
from analytics.known import Driver, calendar
from analytics.models import Model, all_models
from analytics.replay import Known, Replay, replay
from twin.frame import Floats, Ints
from twin.site import Bools

HOUR_S, DAY, CUT = 3600.0, 24, 30 * 24
START_S = 1_767_225_600.0  # 2026-01-01
MOMENTS = 60  # 7 hours apart: at each of them forecasts are under way, some of whose steps have passed


def load() -> Floats:
    hours = np.arange(36 * 24.0)
    values = 1 + 0.2 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(5).normal(0, 0.05, len(hours))
    values[CUT - 50 : CUT + 3] = np.nan
    return values


def weather() -> Driver:
    rng = np.random.default_rng(6)
    air = 10 + rng.normal(0, 2, 36 * 24)
    time_s = START_S + HOUR_S * np.arange(36.0 * 24)
    issued = np.arange(0, 35 * 24, 6)
    said = air[issued[:, None] + np.arange(DAY)] + rng.normal(0, 1, (len(issued), DAY))
    return Driver("dry_bulb_c", HOUR_S, time_s, air, time_s[issued], said)


def replayed(values: Floats, driver: Driver) -> Replay:
    when = calendar(START_S, len(values) + DAY, HOUR_S, "Asia/Shanghai", "CN")
    return replay(values, DAY, HOUR_S, MOMENTS, first_s=START_S, known=Known(when, (driver,)))


def changed_before_the_cut() -> float:
    """The largest change in what was said at or before the cut, bands and all, when everything after it becomes otherwise."""
    values, driver = load(), weather()
    other = values.copy()
    other[CUT:] += 40.0
    later = driver.time_s >= START_S + CUT * HOUR_S
    said = np.where((driver.issued_s > START_S + CUT * HOUR_S)[:, None], driver.said - 30.0, driver.said)
    moved = Driver(
        driver.name, HOUR_S, driver.time_s, np.where(later, driver.values + 30, driver.values), driver.issued_s, said
    )
    first, second = replayed(values, driver), replayed(other, moved)
    before = first.rolling.origins <= CUT
    assert 5 <= np.count_nonzero(before) < len(before)
    assert np.isfinite(first.rolling.said["driven"][before]).any()
    pairs = zip(first.bands.values(), second.bands.values(), strict=True)
    gaps = [np.abs(a[before] - b[before]) for left, right in pairs for a, b in zip(left, right, strict=True)]
    gaps.append(np.abs(first.rolling.said["driven"][before] - second.rolling.said["driven"][before]))
    assert all(
        np.array_equal(np.isnan(a[before]), np.isnan(b[before]))
        for a, b in zip(first.bands["blend"], second.bands["blend"], strict=True)
    )
    return float(np.nanmax([np.nanmax(gap) for gap in gaps]))


def test_nothing_said_changes_with_what_comes_later() -> None:
    assert changed_before_the_cut() == 0.0


def leaky_weights(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(blend, "known_by", lambda origins, ahead, now: np.arange(len(origins)))


def leaky_intervals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conformal, "passed", lambda origins, ahead, now: np.ones((len(origins), ahead.stop - ahead.start), dtype=bool)
    )


def leaky_steps(patch: pytest.MonkeyPatch) -> None:
    """Of a range that has begun to pass, the steps that are still to come count as well."""

    def begun(origins: Ints, ahead: slice, now: int) -> Bools:
        return np.repeat(origins[:, None] + ahead.start < now, ahead.stop - ahead.start, axis=1)

    patch.setattr(conformal, "passed", begun)


def leaky_gaps(patch: pytest.MonkeyPatch) -> None:
    def interpolated(series: Floats, day: int) -> Floats:
        there = np.flatnonzero(np.isfinite(series))
        return np.interp(np.arange(len(series)), there, series[there])

    patch.setattr(replaying, "causally_filled", interpolated)


def leaky_weather(patch: pytest.MonkeyPatch) -> None:
    def measured(self: Driver, now_s: float, horizon: int) -> Floats:
        return self.past(now_s, horizon)

    patch.setattr(known.Driver, "ahead", measured)


def leaky_model(patch: pytest.MonkeyPatch) -> None:
    future = load()
    calls = iter(range(10**6))

    def peeks(history: Floats, horizon: int, day: int) -> Floats:
        whole = future if next(calls) <= MOMENTS else future + 40.0  # MOMENTS + 1 a replay; the second one's world is another
        return np.nan_to_num(whole[-horizon:], nan=1.0)

    patch.setattr(replaying, "all_models", lambda: (*all_models(), Model("peeks", lambda h, d: 1, peeks)))


@pytest.mark.parametrize("plant", [leaky_weights, leaky_intervals, leaky_steps, leaky_gaps, leaky_weather, leaky_model])
def test_a_planted_leak_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert changed_before_the_cut() > 0.0
