"""Several columns together, by hand: what was learnt is made up, so that every score can be worked out."""

import numpy as np
import pytest

from analytics.detect import shift
from twin.message import Message

LITTLE = 1e12  # a scale at which a thing counts for nothing


def learnt(columns: int, scale: list[float], **more: np.ndarray) -> shift.Shift:
    """Columns about 0 with a spread of 1 that never moved; ``scale`` of columns, axes, ties and restlessness, about 0."""
    parts = {
        "steady": np.ones(columns, dtype=bool),
        "axes": np.empty((columns, 0)),
        "ties": np.empty((0, 0)),
        "seen": np.empty((2, 0)),
        "centre": np.zeros(len(scale)),
    }
    return shift.Shift(np.zeros(columns), np.ones(columns), np.zeros(columns), scale=np.array(scale), limit=1.0, **parts | more)


def test_a_score_is_the_smoothed_distance_and_the_reference_follows_by_half_a_scale_in_2000_at_most() -> None:
    """An eighth of the distance with each row. Nothing moves while it learns, nor before the first reading."""
    values = np.full((20, 1), 100.0)
    values[:3] = np.nan
    score = shift.score(learnt(1, [1.0, LITTLE]), values, 10).score
    smooth = 100 * (1 - (7 / 8) ** np.maximum(np.arange(20) - 2, 0))
    followed = np.maximum(np.arange(20) - 10, 0) * 0.5 / 2000
    assert score == pytest.approx(smooth - followed, abs=1e-9)


def test_an_alarm_is_not_over_before_the_score_was_below_half_its_limit_for_thirty_rows() -> None:
    values = np.repeat([2.0, 0.7, 0.0], [20, 100, 50])[:, None]
    alarm = shift.score(learnt(1, [1.0, LITTLE]), values).alarm
    # of 2, 1 - (7/8)^6 is the first above 1/2; from 0.7, 0.7 (7/8)^3 is the first below 1/2
    assert np.flatnonzero(alarm).tolist() == list(range(5 + 4, 120 + 2 + 29))


def test_the_column_that_is_restless_is_blamed_before_one_that_stands_a_little_off() -> None:
    """Half up, half down: a step of 1 with each row, whose log is ln 21 above that of none. Smoothed it is a thirtieth."""
    values = np.column_stack([np.full(400, 0.3), np.resize([0.5, -0.5], 400)])
    quiet = np.array([0, 0, np.log(0.05), np.log(0.05)])
    scored = shift.score(learnt(2, [1.0] * 4, centre=quiet), values, 400)
    assert scored.score[-1] == pytest.approx(np.sqrt(0.3**2 + np.log(21) ** 2 + 1 / 30**2))
    assert scored.column[-1] == 1


def test_columns_count_along_their_axes_and_their_ties_as_far_as_those_were_seen() -> None:
    """0.6 and 0.8 of 1. Of two that wander from 0 to 1, one at 3 is two ranges beyond: what ties them counts 1 + 6² less."""
    along = learnt(2, [LITTLE, LITTLE, 1.0, LITTLE, LITTLE], axes=np.array([[0.6], [0.8]]))
    assert shift.score(along, np.ones((400, 2)), 400).score[-1] == pytest.approx(1.4)
    ties, seen = np.array([[1.0], [-1.0]]), np.array([[0.0, 0.0], [1.0, 1.0]])
    tied = learnt(
        2, [LITTLE, LITTLE, 1.0, LITTLE, LITTLE], steady=np.zeros(2, bool), axes=np.empty((0, 0)), ties=ties, seen=seen
    )
    for there, expected in (([1.0, 0.0], 1.0), ([3.0, 1.0], 2 / 37), ([0.5, -2.0], 2.5 / 37)):
        assert shift.score(tied, np.tile(there, (400, 1)), 400).score[-1] == pytest.approx(expected)


def test_what_wanders_is_told_by_its_blocks_and_carried_on_with_its_own_exponent() -> None:
    """Of a ramp the square of the way is that of the time, but never more than its power of 1.5 is believed: 200 rows are
    known, 600 three times as long. What does not move at all is taken for a little."""
    ramp = np.arange(400.0)
    assert shift._reach(np.column_stack([ramp, 0 * ramp])) == pytest.approx([200**2 * 3**1.5, 0.15**2])
    by_row, by_block = np.resize([1.0, -1.0], 160), np.repeat([1.0, -1.0, 1.0, -1.0], 40)
    # of two blocks' means a half and of rows within them a half: 4/3 of four means are their share, of twice as much
    assert shift._slow(np.column_stack([by_row, by_block, by_row + by_block])) == pytest.approx([0, 1, 2 / 3])


def test_two_columns_of_one_reading_are_not_held_to_its_rounding() -> None:
    reading = np.cumsum(np.random.default_rng(1).normal(0, 1, 1400))
    values = np.column_stack([reading, reading])
    values[700:, 1] += 1e-4 * reading[:600].std()
    made = shift.fit(values[:600])
    assert isinstance(made, shift.Shift)
    assert made.ties.shape == (2, 1)
    assert made.ties[:, 0] * [1, -1] == pytest.approx(np.full(2, made.ties[0, 0]))
    known = shift.score(made, values, 600)
    assert not known.alarm.any()


def test_too_few_rows_and_a_column_without_a_value_teach_nothing() -> None:
    values = np.random.default_rng(1).normal(0, 1, (160, 2))
    assert isinstance(shift.fit(values), shift.Shift)
    assert isinstance(shift.fit(values[:159]), Message)
    values[:, 1] = np.nan
    assert isinstance(shift.fit(values), Message)
