"""One series by itself, by hand: how far each view is beyond its range, what is an echo, and what the hour of the day
explains."""

import numpy as np
import pytest

from analytics.detect import novelty


def scored(values: np.ndarray, step_s: float, calibrated: int) -> tuple[np.ndarray, np.ndarray]:
    made = novelty.score(np.arange(len(values)) * step_s, values, calibrated)
    assert isinstance(made, tuple)
    return made


def only(monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    monkeypatch.setattr(novelty, "VIEWS", {view: novelty.VIEWS[view]})


def test_a_value_is_held_against_its_range_and_a_weaker_one_within_a_day_is_an_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 0 to 10 in turns, median 5. 13 is 3 beyond, of 5 from the median to the edge, over a limit of 0.3: 2. So is -3. Then
    16 is 3 beyond 13, of 8; -6.84 is 3.84 below -3, of 8, and -12.76 is 5.92 below -6.84, of 11.84."""
    only(monkeypatch, "value")
    values = np.arange(1900.0) % 11
    told = {800: (13, 2.0), 1300: (-3, 2.0), 1305: (16, 1.25), 1400: (-6.84, 1.6 / 4), 1800: (-12.76, 5 / 3)}
    for row, (value, _) in told.items():
        values[row] = value
    score, alarm = scored(values, 300.0, 850)
    assert score[list(told)] == pytest.approx([expected for _, expected in told.values()])
    assert np.flatnonzero(score[200:]).tolist() == [row - 200 for row in told]
    assert np.flatnonzero(alarm).tolist() == [1300, 1305, 1800], (
        "no alarm where it learns, none of an echo, one within the hour"
    )


def test_a_new_level_is_held_against_what_was_before_it_began_and_silence_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours of 0 and of 10 in turns: their mean over two hours goes from 0 to 10. Two hours of 20: 10 beyond, of 5, over a
    limit of 0.4."""
    only(monkeypatch, "level")
    values = np.where(np.arange(1200) // 24 % 2 == 0, 0.0, 10.0)
    values[1056:1080] = 20.0
    score, _ = scored(values, 300.0, 800)
    assert score[1079] == pytest.approx(5.0)
    assert not score[200:1056].any()
    values[1070:1079] = np.nan
    silent, _ = scored(values, 300.0, 800)
    assert not silent[1070:1079].any()
    assert silent[[1069, 1079]] == pytest.approx(score[[1069, 1079]])


def test_a_week_is_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """504 rows of twenty minutes: the second 13 lies within a week of the first, the third not of the second."""
    only(monkeypatch, "value")
    values = np.arange(1700.0) % 11
    values[[600, 1100, 1610]] = 13
    assert scored(values, 1200.0, 200)[0][[600, 1100, 1610]] == pytest.approx([2.0, 0.0, 2.0])


@pytest.mark.parametrize("step_s", [1.0, 300.0])
def test_a_median_over_an_hour_takes_no_notice_of_a_blink(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """Twelve rows of 0, of 10 and of 20 in turns; a faster series is looked at over as many. Five of 1000 among 20 are none,
    twelve of 29 are 9 beyond, of 10, over a limit of 0.6."""
    only(monkeypatch, "middle")
    values = np.arange(1200) // 12 % 3 * 10.0
    values[888:893], values[996:1008] = 1000.0, 29.0
    score, _ = scored(values, step_s, 600)
    assert not score[200:996].any()
    assert score[1007] == pytest.approx(1.5)


def test_a_peak_that_does_not_come_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each six hours 10, 20 or 30 in turns, 0 between them. 60 is 30 beyond, of 10, over a limit of 0.6; none is 10 below."""
    only(monkeypatch, "peak")
    values = np.zeros(72 * 30)
    values[::72] = np.arange(30) % 3 * 10.0 + 10.0
    values[72 * 22], values[72 * 28] = 60.0, 0.0
    score, _ = scored(values, 300.0, 800)
    assert score[[72 * 21, 72 * 22, 72 * 28]] == pytest.approx([0.0, 5.0, 5 / 3])


def test_what_the_hour_of_the_day_explains_is_left_out_and_its_absence_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 at noon and 0 else, hour by hour. 60 at three in the morning is within the range, and nothing that is usual then; on
    the next days, and at noon, all is as usual again."""
    only(monkeypatch, "value")
    values = np.where(np.arange(12 * 24) % 24 == 12, 100.0, 0.0)
    values[8 * 24 + 3] = 60.0
    _, alarm = scored(values, 3600.0, 4 * 24)
    assert np.flatnonzero(alarm).tolist() == [8 * 24 + 3]
    assert not scored(values, 3600.0, 2 * 24)[1].any(), "three days tell what is usual"


@pytest.mark.parametrize(("dip", "explained"), [(50.0, True), (100.0, False)])
def test_the_hour_of_the_day_has_to_explain_six_tenths(monkeypatch: pytest.MonkeyPatch, dip: float, explained: bool) -> None:
    """100 at noon, and each day a dip at another hour: one of 50 has a fifth of the variance, one of 100 the half of it. 60 at
    three in the morning is odd only for what is left after the hour."""
    only(monkeypatch, "value")
    values = np.where(np.arange(24 * 24) % 24 == 12, 100.0, 0.0)
    values[[day * 24 + day for day in range(24)]] -= dip
    values[22 * 24 + 3] = 60.0
    assert scored(values, 3600.0, 20 * 24)[1][22 * 24 + 3] == explained


def test_what_stood_still_is_held_against_a_tenth_of_all_that_it_was_and_the_view_that_is_most_beyond_counts() -> None:
    """A shelf at 20 after two hours of 0 and of 10 in turns: the value is 10 beyond, of 5, over 0.3. The peak over six hours
    was 0 in the first two and 10 ever since: 10 beyond, of a tenth of those 10, over 0.6."""
    values = np.where(np.arange(1200) // 24 % 2 == 0, 0.0, 10.0)
    values[1056:1080] = 20.0
    assert scored(values, 300.0, 800)[0][1056] == pytest.approx(10 / 1 / 0.6)
