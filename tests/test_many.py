"""Many series at once: as good as it says, alike for each series alone or among others, blind to the future, honest in gaps."""

from datetime import UTC, datetime

import numpy as np
import pytest

from analytics import replay as replaying
from analytics.family import summing_to
from analytics.forecast import Forecast, forecast_series
from analytics.grid import causally_filled
from analytics.many import BLOCK, Bands, Foreseen, foresee, foreseeable
from analytics.many import _filled as filled
from analytics.many import _quantiles as quantiles
from twin.frame import Floats, Origin
from twin.message import Message

DAY, HOUR_S = 24, 3600.0


def loads(days: int, series: int, seed: int = 3) -> Floats:
    """float64[n, s]: days and weeks of their own, and noise."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24.0)[:, None]
    phase, level = rng.uniform(0, 24, series), rng.uniform(1, 30, series)
    week = np.where((hours // 24) % 7 < 5, 0.1, -0.1)
    return level * (1 + 0.2 * np.sin(2 * np.pi * (hours + phase) / 24) + week + rng.normal(0, 0.03, (len(hours), series)))


def made_of(values: Floats, horizon: int = DAY) -> Bands:
    made = foresee(values, horizon, DAY)
    assert isinstance(made, Bands)
    return made


def test_beats_the_daily_naive_on_what_came_and_holds_as_many_truths_as_it_says() -> None:
    values = loads(42, 60)
    error, naive, inside = [], [], []
    for start in range(30 * DAY, 41 * DAY, 41):
        made, truth = made_of(values[:start]), values[start : start + DAY]
        error.append(np.abs(truth - made.p50))
        naive.append(np.abs(truth - values[start - DAY : start]))
        inside.append((truth >= made.p10) & (truth <= made.p90))
    assert np.mean(error) < 0.7 * np.mean(naive)
    assert 0.75 <= np.mean(inside) <= 0.9  # errors of growing histories: the oldest are larger
    last = made_of(values)
    assert (last.mase < last.naive_mase).all()
    assert last.coverage_80_frac.mean() == pytest.approx(np.mean(inside), abs=0.08)
    assert (last.pinball_vs_naive_frac < 1).all()


def test_a_series_among_others_is_as_it_is_alone() -> None:
    values = loads(20, BLOCK + 3)
    values[40:60, BLOCK + 1] = np.nan
    together = made_of(values)
    for i in (0, BLOCK + 1):
        alone = made_of(values[:, [i]])
        for name in ("p10", "p50", "p90"):
            assert np.allclose(getattr(together, name)[:, i], getattr(alone, name)[:, 0])


def test_what_is_said_scales_and_shifts_with_the_series() -> None:
    values = loads(20, 4)
    made, other = made_of(values), made_of(values * 7 - 3)
    assert np.allclose(other.p90, made.p90 * 7 - 3)
    assert np.allclose(other.mase, made.mase)


def test_no_better_than_the_naive_is_the_naive() -> None:
    """A day that repeats exactly: nothing can beat yesterday."""
    values = np.tile(np.arange(24.0) ** 1.5, 20)[:, None]
    made = made_of(values)
    assert np.array_equal(made.p50[:, 0], values[:DAY, 0])
    assert np.allclose(made.p90 - made.p10, 0)


def test_gaps_are_filled_from_their_past_and_quantiles_leave_them_out() -> None:
    rng = np.random.default_rng(1)
    values = loads(6, 5)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0] = 1.0
    assert np.allclose(filled(values, DAY), np.column_stack([causally_filled(column, DAY) for column in values.T]))
    pool = rng.normal(size=(40, 6))
    pool[rng.random(pool.shape) < 0.3] = np.nan
    pool[:, 5] = np.nan
    assert np.allclose(quantiles(pool, (0.1, 0.93))[:, :5], np.nanquantile(pool[:, :5], (0.1, 0.93), axis=0))
    assert quantiles(pool, (0.1, 0.9))[:, 5].tolist() == [0.0, 0.0]


def test_too_little_history_is_a_sentence_and_too_many_gaps_are_seen() -> None:
    assert isinstance(foresee(loads(2, 3), DAY, DAY), Message)
    assert isinstance(foresee(np.empty((500, 0)), DAY, DAY), Message)
    with pytest.raises(ValueError, match="at once"):
        foresee(np.zeros((100, 5000)), DAY, DAY)
    values = loads(10, 6)
    values[:, 1] = np.nan
    values[::2, 2] = np.nan
    values[: 8 * DAY, 3] = np.nan
    values[-DAY:, 4] = np.nan  # silent for a day: nobody knows whether it works
    values[-DAY + 1 :, 5] = np.nan
    assert foreseeable(values, DAY).tolist() == [True, False, False, False, False, True]


def test_an_outage_of_the_past_leaves_what_errors_are_measured_by() -> None:
    """The same series, of which nine days are missing before the first moment that is judged: its error is the same."""
    values = np.repeat(loads(35, 1), 2, axis=1)
    values[3 * DAY : 12 * DAY, 1] = np.nan
    made = made_of(values)
    apart = np.nanmean(np.abs(values[DAY:] - values[:-DAY]), axis=0)
    assert made.naive_mase[1] / made.naive_mase[0] == pytest.approx(apart[0] / apart[1])
    assert apart[1] == pytest.approx(apart[0], rel=0.1)


def parts(values: Floats, names: list[str]) -> Foreseen:
    made = made_of(values)
    issued = datetime.fromtimestamp(len(values) * HOUR_S, UTC)
    time_s = issued.timestamp() + HOUR_S * np.arange(float(DAY))
    rows = np.arange(len(names), dtype=np.int32)
    scores = (made.mase, made.naive_mase, made.pinball_vs_naive_frac, made.coverage_80_frac, made.spread, made.origins)
    return Foreseen(
        "rack", "power_w", names, rows, issued, HOUR_S, time_s, made.p10, made.p50, made.p90, values[-168:], *scores
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer past moments for forecasts of wholes, whose quality is not asked here."""
    monkeypatch.setattr(replaying, "ORIGINS", 10)


def whole_of(values: Floats, row: int = 0) -> Forecast:
    issued = datetime.fromtimestamp(len(values) * HOUR_S, UTC)
    made = forecast_series(np.arange(len(values)) * HOUR_S, values, issued, DAY, HOUR_S, kind="hall", row=row)
    assert isinstance(made, Forecast)
    return made


def test_racks_sum_to_their_hall_and_the_unsure_move_most() -> None:
    values = loads(21, 6)
    values[:, 2] *= 1 + 0.4 * np.random.default_rng(5).normal(size=len(values))
    before = parts(values, list("abcdef"))
    of = np.array([0, 0, 0, 1, 1, 1], dtype=np.int32)
    halls = {0: whole_of(values[:, :3].sum(axis=1)), 1: whole_of(values[:, 3:].sum(axis=1), 1)}
    after = summing_to(before, of, halls)
    for key, hall in halls.items():
        assert after.p50[:, of == key].sum(axis=1) == pytest.approx(hall.p50)
    moved = np.abs(after.p50 - before.p50).mean(axis=0)
    assert moved[2] == moved[:3].max() > 0
    assert (after.p10 <= after.p50).all()
    assert (after.p90 >= after.p50).all()
    unmetered = summing_to(before, of, {0: whole_of(values[:, :3].sum(axis=1) * 1.1)})
    assert np.array_equal(unmetered.p50, before.p50)  # a tenth of the hall stands in no rack: nothing is moved
    assert "parts of 1 wholes did not add up" in str(unmetered.notes[-1])
    assert not after.notes


def test_nobody_is_pushed_below_the_bottom() -> None:
    values = loads(21, 3)
    values[:, 0] = 0.02 * np.abs(np.random.default_rng(2).normal(size=len(values)))
    hall = whole_of(values.sum(axis=1))
    low = Forecast("hall", 0, "", hall.issued, hall.time_s, hall.p10, hall.p50 * 0.4, hall.p90, hall.score, (), hall.made)
    after = summing_to(parts(values, list("abc")), np.zeros(3, dtype=np.int32), {0: low})
    assert after.p50.min() >= 0
    assert after.p50.sum(axis=1) == pytest.approx(low.p50)


def test_frames_speak_of_assets_and_one_series_is_a_forecast() -> None:
    made = parts(loads(21, 3), list("abc"))
    frames = list(made.frames())
    assert len(frames) == 3 * DAY
    assert all(frame.origin is Origin.FORECAST and len(frame.rows) == 3 for frame in frames)
    assert frames[1].values["power_w"].tolist() == made.p50[0].tolist()
    one = made.one(1)
    assert one.p90.tolist() == made.p90[:, 1].tolist()
    assert one.score.coverage_80_frac == made.coverage_80_frac[1]
