"""What moves cost: marks fade, their worth is learned apart from that of settings, and courses are charged with it."""

import numpy as np
import pytest
from test_tune import LOOP, Bench

from energy.tune.course import Courses
from energy.tune.knobs import Knob
from energy.tune.moves import FADE_S, Moves, both_ways
from energy.tune.surely import Surely
from energy.tune.tuner import Options, Reading, Tuner

EVERY_S = 1800.0
KNOBS = (Knob("a_c", 0, 4, 1, 2, 2), Knob("b_c", 0, 2, 1, 1, 1))


def test_a_mark_is_of_its_knob_and_way_and_fades() -> None:
    moves = Moves(KNOBS, EVERY_S)
    assert not moves.take(0.0, np.array([2.0, 1.0])).any()
    assert moves.take(EVERY_S, np.array([1.0, 2.0])) == pytest.approx([0, 1, 0.5, 0])
    later = moves.take(2 * EVERY_S, np.array([1.0, 2.0]))
    assert later == pytest.approx(np.exp(-EVERY_S / FADE_S) * np.array([0, 1, 0.5, 0]))
    up = np.array([1.0, 0, 0, 0])
    assert moves.after(EVERY_S, np.array([1.0, 2.0]), np.array([3.0, 2.0])) == pytest.approx(
        np.exp(-EVERY_S / FADE_S) * later + up
    )
    silent = moves.take(3 * EVERY_S, np.array([np.nan, 2.0]))
    assert not silent.any(), "nothing is known of where it was"
    assert moves.take(4 * EVERY_S, np.array([4.0, 2.0])).tolist() == [0, 0, 0, 0], "nor of how it came from there"


def test_a_reading_that_comes_late_has_the_mark_of_a_move_made_right_after_the_one_before() -> None:
    moves = Moves(KNOBS, EVERY_S)
    moves.take(0.0, np.array([2.0, 1.0]))
    assert moves.take(3 * EVERY_S, np.array([4.0, 1.0])) == pytest.approx([np.exp(-2 * EVERY_S / FADE_S), 0, 0, 0])
    assert not moves.take(0.0, np.array([0.0, 1.0])).any(), "another record begins"


def test_a_course_is_charged_for_the_way_it_goes() -> None:
    """A step down the slope gains 0.1 in each of three steps: it is worth a charge of 0.25, and none of 0.35."""
    courses = Courses(KNOBS, 0.0)
    cost = np.tile(0.05 * courses.states[:, 0] + (courses.states[:, 1] != 1), (3, 1))
    begin = np.array([2.0, 1.0])
    assert courses.best(cost, begin)[0] == pytest.approx([0, 1])
    for charge, goes in ((0.25, 0.0), (0.35, 2.0)):
        courses.charge(np.array([0.0, 0.0, charge, 0.0]))
        settings, total = courses.best(cost, begin)
        assert settings == pytest.approx([goes, 1])
        assert total == pytest.approx(3 * 0.05 * goes + (charge if goes == 0 else 0))
    uphill = np.tile(-0.05 * courses.states[:, 0], (3, 1))
    assert courses.best(uphill, begin)[0][0] == 4.0, "the other way is free"


class Sticky(Bench):
    """The loop, whose tower pump runs on for a while after the flow was lowered."""

    EXTRA = 0.02

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.marks = Moves(LOOP.knobs, options.every_s)

    def reading(self, wet_c: float, load: float) -> Reading:
        made = super().reading(wet_c, load)
        mark = self.marks.take(self.time_s, self.settings)
        return made._replace(
            parts_w={**made.parts_w, "tower_pump": made.parts_w["tower_pump"] + self.EXTRA * LOOP.it_w * mark[4]}
        )


def test_what_a_move_costs_is_learned_apart_and_makes_moves_rare() -> None:
    options = Options(shadow=6, probe=0)
    lowered = {}
    for kind in (Bench, Sticky):
        bench = kind(options)
        for i in range(6 * 48):
            bench.go(bench.reading(8.0 + 5 * np.sin(i / 7.6), 0.3 if i % 12 < 6 else 0.9))
        theta = bench.tuner.learned["tower_pump"].theta[-6:]
        asked = Sticky.EXTRA if kind is Sticky else 0.0
        assert theta[4] == pytest.approx(asked, abs=0.004)
        lowered[kind] = int((np.diff(np.array(bench.made)[:, 1]) < -1e-9).sum())
    assert lowered[Bench] > 20
    assert lowered[Sticky] < 0.5 * lowered[Bench]


def test_a_promise_counts_the_mark_that_moves_have_left() -> None:
    """At own settings again, a fresh mark is all that tells the plant from one that was never moved."""
    tuner = Tuner(LOOP, Options(shadow=0, probe=0))
    theta = tuner.learned["pump"].theta
    theta[-2] = 0.01  # flow down
    bench = Bench()
    here = bench.reading(8.0, 0.6)
    lower = here._replace(settings=tuner.own - [0.0, 0.1, 0.0])
    unmoved = tuner.effect(tuner.own, here)
    assert unmoved.facility_power_w == pytest.approx(0.0)
    moved = tuner.effect(lower.settings, here).facility_power_w
    still = tuner.effect(lower.settings, lower).facility_power_w
    assert moved - still == pytest.approx(0.01 * LOOP.it_w)


def test_an_interval_is_not_narrowed_because_the_settings_in_force_are_well_known() -> None:
    """Models of yesterday that fit what is in force, of last week that do not: the latter say how sure a promise is."""
    sure, blind = Surely(4), Surely(4)
    for _ in range(60 * 4):
        sure.take(np.array([0.1, 0.1, 0.1]), np.array([np.nan, 0.0, 0.0]), 1.0)
        blind.take(np.array([0.1, 0.9, 0.9]), np.array([np.nan, 0.5, 0.5]), 1.0)
    assert sure.times < 0.3
    assert blind.times > 0.75
    assert both_ways(np.array([1.0, -2.0])).tolist() == [1, 0, 0, 2]
