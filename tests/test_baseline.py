"""What is usual is learnt in spite of a bad start: outvoted as normal values come, and not by a fault that comes later."""

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from analytics.detect.baseline import DOUBT, WARM, YOUNG, Baseline
from twin.frame import Floats

LIMIT = 7.0  # of the live questions that rest on it
CALM = np.zeros((6 * WARM, 4))


def fed(baseline: Baseline, levels: Floats, rng: np.random.Generator) -> Floats:
    """float64[k, n]: what is said of noise of size 1 around ``levels`` (float64[k, n])."""
    return np.array([baseline.update(row + rng.normal(0, 1, len(row))) for row in levels])


def test_a_fault_of_the_first_half_hour_is_found_when_it_comes_again() -> None:
    """At one value in 30 s: ill from the first one for half an hour (a jump, a slope, restless; the fourth is well), hours
    well, and the same again."""
    rng = Generator(PCG64(1))
    baseline = Baseline(4, floor=0.1)
    ill = np.column_stack([np.full(WARM, 15.0), np.linspace(0, 30, WARM), 15.0 * rng.choice([-1, 1], WARM), np.zeros(WARM)])
    assert np.isnan(fed(baseline, ill, rng)).all()
    calm = np.abs(fed(baseline, CALM, rng))
    assert calm[-WARM:].max() < 3.0
    again = np.column_stack([np.full(WARM, 15.0), np.linspace(0, 30, WARM), np.full(WARM, 15.0), np.full(WARM, 15.0)])
    assert (fed(baseline, again, rng)[-20:] > LIMIT).all()


def test_a_fault_of_the_first_hours_is_not_learnt_before_it_has_lasted_three_times_as_long_as_what_was_before() -> None:
    rng = Generator(PCG64(2))
    baseline = Baseline(1, floor=0.1)
    fed(baseline, np.zeros((2 * WARM, 1)), rng)
    z = fed(baseline, np.full((5 * DOUBT * WARM, 1), 15.0), rng)[:, 0]
    assert z[WARM // 3 : 3 * DOUBT * WARM // 2].min() > LIMIT
    assert np.abs(z[-WARM:]).max() < 3.0


def test_a_fault_after_them_is_never_learnt() -> None:
    rng = Generator(PCG64(3))
    baseline = Baseline(1, floor=0.1)
    fed(baseline, np.zeros((YOUNG, 1)), rng)
    assert fed(baseline, np.full((2 * YOUNG, 1), 15.0), rng)[50:].min() > LIMIT


def noises(rng: np.random.Generator, steps: int, n: int) -> dict[str, Floats]:
    """Clean residuals: white, hanging together, heavy-tailed, in steps of a sensor, and one that follows the hours."""
    slow = np.zeros((steps, n))
    for i in range(1, steps):
        slow[i] = 0.9 * slow[i - 1] + rng.normal(0, 1, n)
    hours = np.sin(np.arange(steps) / 400)[:, None] + rng.normal(0, 1, (steps, n))
    white = rng.normal(0, 1, (steps, n))
    return {"white": white, "slow": slow, "heavy": rng.standard_t(4, (steps, n)), "coarse": white.round(), "hours": hours}


@pytest.mark.parametrize("kind", ["white", "slow", "heavy", "coarse", "hours"])
def test_a_clean_start_raises_nothing(kind: str) -> None:
    """Of 200 assets each, for as long as they are young and some hours more; no alarm lasts the four values of a hold."""
    values = noises(Generator(PCG64(4)), YOUNG + 10 * WARM, 200)[kind]
    baseline, run = Baseline(200, floor=0.1), np.zeros(200)
    longest = 0.0
    for row in values:
        run = np.where(np.abs(baseline.update(row)) > LIMIT, run + 1, 0)
        longest = max(longest, float(run.max()))
    assert longest < 4


def test_it_narrows_to_the_noise_whatever_the_start_was() -> None:
    """A start far off leaves nothing behind, one that is hardly to be told from noise a third of a spread."""
    rng = Generator(PCG64(5))
    baseline = Baseline(4, floor=0.0)
    fed(baseline, np.array([[20.0, -20.0, 5.0, 0.0]]) * np.linspace(0.5, 1, WARM)[:, None], rng)
    fed(baseline, np.concatenate([CALM, CALM]), rng)
    z = fed(baseline, np.full((30, 4), 30.0), rng)[-1]
    assert z == pytest.approx(np.full(4, 30.0), rel=0.35)


def test_gaps_and_silent_assets_count_for_nothing() -> None:
    rng = Generator(PCG64(6))
    gappy, whole = Baseline(2, floor=0.1), Baseline(1, floor=0.1)
    for i in range(900):
        value = rng.normal(0, 1)
        said = whole.update(np.array([value]))
        assert np.array_equal(gappy.update(np.array([value, np.nan]))[:1], said, equal_nan=True)
        if i % 3 == 0:
            assert np.isnan(gappy.update(np.full(2, np.nan))).all()
