"""The tuner with numbers that a person can work out: a plant of one knob, its bounds, its promise, and the margins of each kind
of plant."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tuned_centre import STILL

from energy.response import Params
from energy.tune.bank import Bank
from energy.tune.case import Case, Part, columns
from energy.tune.fans import Fans
from energy.tune.hall import AirHall
from energy.tune.knobs import Knob
from energy.tune.learn import Learned
from energy.tune.loop import WarmLoop
from energy.tune.proven import Proven
from energy.tune.seen import Seen
from energy.tune.tuner import Decision, Options, Reading, Tuner
from energy.tune.watch import RESTING, Watch
from energy.tune.water import WaterSite, dew_point_c
from twin.frame import Floats

EVERY_S = 1800.0


@dataclass(frozen=True)
class Line:
    """A plant of 1 MW: each kelvin over its own 5 adds ``gain`` of that, known to ``doubt``; the room's margin is the dry bulb
    less the setting at full load."""

    gain: float = -0.1
    doubt: float = 0.0
    pump: float = 0.0
    noise: float = 0.001
    jump_frac: float = 0.1
    peak_frac: float = 0.95
    reserves: tuple[float, ...] = (1.0,)
    dwell: int = 1
    it_w: float = 1e6
    margins: tuple[str, ...] = ("room_k",)
    asked: list[Floats] = field(default_factory=list)  # loads for which margins were worked out

    @property
    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("a_c", 0, 10, 1, 1, 5, self.dwell),)

    def limits(self, case: Case) -> Floats:
        self.asked.append(np.unique(case.load_frac))
        return columns(case.dry_bulb_c - case.knobs[..., 0])

    def adapted(self, case: Case, margins: Mapping[str, float]) -> "Line":
        return self

    def parts(self) -> Mapping[str, Part]:
        return {"it": Part((self.gain,), (self.doubt,), self.noise), "pump": Part((self.pump,), (0.0,), self.noise)}

    def terms(self, case: Case) -> Mapping[str, Floats]:
        over = columns(case.knobs[..., 0] - 5.0)
        return {"it": over, "pump": over}


class Life:
    """A tuner on a ``Line`` that does as it says, or is not ``heeded``. A margin reads ``room_k``, or what it is."""

    def __init__(self, line: Line, **options: float) -> None:
        given = {"shadow": 0, "probe": 0, "margin_spread": 0.0, "moving_doubt_frac": 0.0, **options}
        self.tuner, self.line, self.heeded = Tuner(line, Options(**given)), line, True  # type: ignore[arg-type]
        self.at, self.time_s = np.array([5.0]), 0.0

    def reading(self, dry_c: float, load: float, room_k: float | None = None) -> Reading:
        margin = dry_c - float(self.at[0]) if room_k is None else room_k
        over = float(self.at[0]) - 5.0
        parts = {"it": 1e6 * self.line.gain * over, "pump": 1e6 * self.line.pump * over}
        return Reading(self.time_s, self.at, dry_c, 0.0, load, parts, {"room_k": margin})

    def go(self, dry_c: float = 9.2, load: float = 0.5, room_k: float | None = None) -> Decision:
        made = self.tuner.step(self.reading(dry_c, load, room_k))
        self.time_s += EVERY_S
        if self.heeded:
            self.at = self.tuner.own.copy() if made.settings is None else made.settings
        return made

    def settings(self, times: int, dry_c: float = 9.2, room_k: float | None = None) -> list[float]:
        for_each = [self.go(dry_c, room_k=room_k).settings for _ in range(times)]
        return [float("nan") if one is None else float(one[0]) for one in for_each]


# what it decides


def test_a_margin_keeps_its_reserves_and_warmer_is_cheaper_up_to_there() -> None:
    """Of 9.2 K the plant's own reserve of 1.0 and the tuner's of 0.3 leave 7.9: a step of 1 each up to 7."""
    assert Life(Line()).settings(5) == [6, 7, 7, 7, 7]
    assert Life(Line(), margin_spread=2.0).settings(1) == [6], "9.2 - 6 is over 1.3 and twice the 0.5 K that physics is off"
    assert Life(Line(), margin_spread=4.0).settings(1) == [5]


def test_a_gain_that_is_not_sure_is_left_where_it_lies() -> None:
    """A tenth a kelvin, known to a standard deviation of 1: three tenths of that are more than it."""
    assert Life(Line(doubt=1.0), memory=1e9).settings(3) == [5, 5, 5]
    assert Life(Line(doubt=0.3), memory=1e9).settings(1) == [6]


def test_margins_are_asked_at_what_load_may_rise_to() -> None:
    """Load rose by 0.2 within two decisions: it may rise by that from where it is, not from where it is foreseen to be, and to
    the peak of the machine at most."""
    life = Life(Line())
    for i in range(48):
        life.go(load=0.7 if i in (0, 40) else 0.5)  # a day ago it fell from here
    life.go(load=0.6)
    assert life.line.asked[-1] == pytest.approx([0.8])
    for _ in range(24):
        life.go(load=0.9)
    assert life.line.asked[-1] == pytest.approx([0.95])
    steady = Life(Line())
    steady.go(load=0.5)
    assert steady.line.asked[-1] == pytest.approx([0.6]), "what the operator says, before any rise was seen"


def test_what_nobody_orders_is_not_counted_as_ordered() -> None:
    """Advice that is not taken, and a hand on the setpoint: it goes on from what is in force, a step at a time."""
    life = Life(Line())
    life.heeded = False
    assert life.settings(4) == [6, 6, 6, 6]
    life.at = np.array([3.0])
    assert life.settings(2) == [4, 4]


def test_where_no_course_is_inside_it_goes_back_a_step_at_a_time_and_a_knob_that_moved_rests() -> None:
    """At 7, and the air falls so that 4 is the most that is allowed; sensors do not show it yet."""
    life = Life(Line())
    life.settings(4)
    assert life.settings(4, 5.9, room_k=1.0) == [6, 5, 4, 4]
    slow = Life(Line(dwell=2))
    assert slow.settings(6) == [6, 6, 7, 7, 7, 7]
    assert slow.settings(4, 5.9, room_k=1.0) == [6, 6, 5, 5]
    none = life.go(0.5, room_k=1.0)
    assert none.settings is None
    assert "No setting within reach" in str(none.why)


def test_a_promise_is_as_wide_as_by_hand() -> None:
    """Two kelvin over own: IT 2 MW more and pumps 4 MW less. Doubt 2 · 0.1, a fifth of each part, and of both what stays off
    for days, 0.3 · 1.5 of it at two ramps of three; by 1.2816 and 1.2, and beside it 0.15 of the change."""
    life = Life(Line(gain=1.0, doubt=0.1, pump=-2.0, noise=0.3 * np.sqrt(48)), memory=1e9)
    life.at = np.array([7.0])
    life.tuner.moves.take(0.0, life.at)
    said = life.tuner.effect(life.at, life.reading(9.2, 0.5))
    assert (said.facility_power_w, said.it_power_w) == (pytest.approx(-2e6), pytest.approx(2e6))
    variance = 0.2**2 + (0.2 * 2) ** 2 + (0.2 * 4) ** 2 + 2 * (0.3 * 1.5 * 2 / 3) ** 2
    half_w = 1e6 * np.hypot(1.2816 * 1.2 * np.sqrt(variance), 0.15 * 2)
    assert said.high_w - said.facility_power_w == pytest.approx(half_w, rel=1e-6)
    assert said.facility_power_w - said.low_w == pytest.approx(half_w, rel=1e-6)


def test_what_was_handed_back_is_watched_and_has_proven_less() -> None:
    life = Life(Line())
    life.settings(4)
    assert life.tuner.proven.high.tolist() == [7]
    life.tuner.hand_back(np.array([7.0]))
    assert life.tuner.proven.high.tolist() == [6]
    assert all(np.isnan(life.settings(Watch().rest)))
    assert life.settings(1) == [6]
    life.go(room_k=float("nan"))
    assert life.tuner.proven.high.tolist() == [5], "a silence takes from what was proven as well"


# who says no


def test_the_watchdog_counts_readings_in_a_row_and_takes_up_what_was_good_for_a_while() -> None:
    life, watch = Life(Line()), Watch(patience=3, rest=2)

    def judged(*scores: float) -> list[bool]:
        guard = watch.begin()
        made = [guard.judge(life.reading(9.2, 0.5)._replace(time_s=EVERY_S * i), s) for i, s in enumerate(scores)]
        return [one is None for one in made]

    assert judged(7, 7, 1, 7, 7, 6, 1) == [True] * 7
    assert judged(7, 7, 7, 1, 1, 1) == [True, True, False, False, False, True]
    reading = life.reading(9.2, 0.5)
    assert watch.begin().judge(reading._replace(margins={"room_k": 0.0}), 0.0) is None
    assert "room_k is used up" in str(watch.begin().judge(reading._replace(margins={"room_k": -0.01}), 0.0))
    assert "a sensor is silent" in str(watch.begin().judge(reading._replace(settings=np.array([np.nan])), 0.0))
    guard = watch.begin()
    guard.rest()
    assert [guard.judge(reading._replace(time_s=EVERY_S * i), 0.0) for i in range(3)] == [RESTING, RESTING, None]


def test_what_is_proven_grows_by_what_was_measured_and_shrinks_where_a_margin_was_lost() -> None:
    proven = Proven((Knob("a_c", 0, 10, 1, 1, 5), Knob("b_c", 0, 10, 1, 2, 5)), 2)

    def box(*settings: float, measured: tuple[float, float] = (1.0, 1.0)) -> tuple[list[float], list[float]]:
        proven.take(np.array(settings), np.ones(2), np.array(measured))
        return proven.low.tolist(), proven.high.tolist()

    assert box(8, 9) == ([5, 5], [8, 9])
    assert box(3, 1) == ([3, 1], [8, 9])
    assert box(9, 1, measured=(1.0, float("nan"))) == ([3, 1], [8, 9]), "what was not measured proves nothing"
    assert box(7, 8, measured=(float("nan"), 0.0)) == ([3, 1], [6, 6])
    assert box(4, 1, measured=(1.0, -1.0)) == ([5, 3], [6, 6])
    states = np.array([[7, 8], [8, 8], [7, 9], [4, 1], [3, 1]], dtype=float)
    assert proven.near(states).tolist() == [True, False, False, True, False]


def test_a_correction_for_the_better_is_believed_by_half_and_one_for_the_worse_in_full() -> None:
    proven = Proven((Knob("a_c", 0, 10, 1, 1, 5),), 1)
    for bias, least in ((0.4, -0.4), (0.8, -0.5), (3.0, -1.5), (-2.0, 2.0)):
        proven.bias = np.array([bias])
        edge = least + 2 * 0.5 + 0.3  # two of its standard deviations, and a reserve
        assert proven.safe(np.array([[edge + 0.01], [edge - 0.01]]), 2.0, 0.3).tolist() == [True, False]
    proven.bias = np.zeros(1)
    proven.take(np.array([5.0]), np.array([1.0]), np.array([2.0]))
    assert proven.bias[0] == pytest.approx(0.04)
    assert proven.spread[0] ** 2 == pytest.approx(0.98 * 0.25 + 0.02)
    for _ in range(300):
        proven.take(np.array([5.0]), np.array([1.0]), np.array([11.0]))
    assert proven.bias[0] == 3.0, "physics that is off by more is not corrected"


# what it learns


def test_one_wild_reading_is_no_new_noise_and_what_stays_off_is_kept() -> None:
    learned = Learned(np.zeros(1), np.ones(1), 1.0, 1e9)
    assert learned.take(np.ones(1), 48.0) == pytest.approx(48 / np.sqrt(2))
    assert learned.variance == pytest.approx(1 + 15 / 200), "held at four of its standard deviations"
    assert learned.drift**2 == pytest.approx(1 / 48 + (1 - 1 / 48) / 480)


def test_what_is_known_from_elsewhere_is_believed_less_and_keeps_a_least_doubt() -> None:
    """99 readings of noise 1 beside a doubt of 1: a tenth, and three times that here."""
    for least, sigma in ((0.0, 0.3), (0.5, np.hypot(0.3, 0.2))):
        learned = Learned(np.zeros(1), np.ones(1), 1.0, 1e9)
        learned.fit(np.ones((99, 1)), np.full(99, 0.5))
        assert learned.sigma(np.ones(1)) == pytest.approx(0.1)
        learned.settle(3.0, np.array([least]))
        assert learned.sigma(np.ones(1)) == pytest.approx(sigma)
        assert learned.theta == pytest.approx([0.99 * 0.5])


def test_the_largest_rise_within_so_many_steps_is_remembered() -> None:
    seen = Seen(2, 3600.0)
    for hour, (values, jump) in enumerate(
        (
            ((9.0, 1.0), 0),
            ((9.0, 0.0), 0),
            ((9.0, 2.0), 2),
            ((9.0, 5.0), 5),
            ((0.0, np.nan), 5),
            ((0.0, 1.0), 5),
        )
    ):
        seen.take(np.array(values), 3600.0 * hour)
        assert seen.jump(1, 2) == jump
    assert seen.past[4, 1] == 5.0, "what is silent is as it was"


# the margins of each kind of plant


def case(*knobs: float, dry: float, wet: float, load: float) -> Case:
    return Case(np.array([knobs]), np.array([dry]), np.array([wet]), np.array([load]))


@pytest.mark.parametrize(
    ("load", "room_c", "inlet_c"),
    [
        (1.0, 23.0, 18 + 0.4 + 0.1 * 8),  # all air is too little for 23: it comes back 8 K warmer
        (0.5, 26.0, 18 + 0.4 + 0.1 / 0.5**0.75 * 8),  # half of the air
        (0.5, 40.0, 18 + 0.4 + 0.1 / 0.4**0.75 * 10),  # no less than 0.4 of it
    ],
)
def test_inlets_of_a_hall_are_supply_fans_and_what_comes_round(load: float, room_c: float, inlet_c: float) -> None:
    made = AirHall(1e6).limits(case(18.0, 20.0, room_c, dry=10, wet=5, load=load))[0]
    assert made == pytest.approx([27 - inlet_c, inlet_c - 15])


@pytest.mark.parametrize(
    ("dry", "wet", "left"),
    [
        (10.0, 8.0, (0.0, 0.0)),  # colder than supply: both take outdoor air alone
        (20.0, 15.0, ((8 - 0.7 * 6) / 8, 2 / 8)),  # over 16 the one shuts and cools its 26 °C by dry air; the other takes it in
        (24.0, 18.0, ((8 - 0.7 * 8) / 8,) * 2),  # both wet: down to the wet bulb
        (30.0, 18.0, (1.0, 1.0)),  # warmer than what is to be cooled
        (40.0, 30.0, (1.0, 1.0)),
    ],
)
def test_heat_on_the_coil_of_a_hall_is_what_outdoor_air_leaves(dry: float, wet: float, left: tuple[float, float]) -> None:
    """Supply 18 °C and return 26 °C at full load. Heat shows in the last terms: linear between 0.2, 0.5 and 1."""
    made = AirHall(1e6).terms(case(18.0, 20.0, 23.0, dry=dry, wet=wet, load=1.0))["cold"][0]
    assert made[-7:] @ [0.0, 0.01, 0.03, 0.08, 0.2, 0.5, 1.0] == pytest.approx(sum(left) / 2)
    assert made[-7:].sum() == pytest.approx(1)


def test_a_chiller_of_a_hall_takes_its_heat_over_its_lift() -> None:
    """At 30 °C of wet bulb condenser water leaves at 38 °C: 0.63 · 280.15 / 31, fans of towers in full, and both pumps."""
    made = AirHall(1e6).terms(case(18.0, 20.0, 23.0, dry=40, wet=30, load=1.0))["cold"][0, 0]
    assert made == pytest.approx(31 / (0.63 * 280.15) + 0.0127 + 2 * 0.012, rel=1e-4)
    assert AirHall(1e6).terms(case(18.0, 20.0, 23.0, dry=10, wet=8, load=1.0))["cold"][0, 0] == 0


def test_margins_of_a_warm_loop_are_those_of_its_water_and_its_chips() -> None:
    """Half of 27 MW in 0.9 of 759 kg/s; half of a plate's resistance lies in the film."""
    loop = WarmLoop(27e6, 759.0, 12e6)
    back_c = 25 + 13.5e6 / (0.9 * 759 * 3957)
    chip_c = back_c + 14 * (0.5 + 0.5 * 0.9 ** (-1 / 3))
    made = dict(zip(loop.margins, loop.limits(case(25.0, 0.9, 3.0, dry=12, wet=8, load=0.5))[0], strict=True))
    dew_c = float(dew_point_c(np.array(12.0), np.array(8.0)))
    assert made == pytest.approx({"return_k": 45 - back_c, "junction_k": 75 - chip_c, "class_k": 8.0, "dew_k": 23 - dew_c})
    hot = loop.limits(case(25.0, 0.9, 3.0, dry=33, wet=29, load=0.5))[0, 2]
    near_k = float(loop._approach(case(0.0, dry=33, wet=29, load=0.5))[0])
    assert hot == pytest.approx(33 - (29 + near_k + 1)), "no colder than towers make it"
    assert (loop.knobs[1].low, loop.knobs[1].high) == (0.3, 1.0)
    assert replace(loop, overshoot_k=2.0, dew_rise_k=3.0).reserves == (2.0, 2.0, 0.0, 3.0)


def test_water_comes_no_nearer_than_its_exchanger_lets_it_and_its_range_is_followed_slowly() -> None:
    """A twentieth of design water: the correlation alone goes below the wet bulb. 4.4 K at a quarter of the load, where the
    half of 8 K was taken, is a tenth more, of which a tenth is heeded."""
    assert Fans(0.03, 0.5, 8.0, 0.02).approach_k(np.array(0.5), np.array(1.0), np.array(5.0)) == pytest.approx(2 + 0.5)
    assert Fans(0.03, 0.5, 8.0, 0.5).ranged(0.25, 4.4).range_k == pytest.approx(8 * 1.1**0.1)


BANK, FANS = Bank(4, 0.25), Fans(0.03, 0.5, 8.0, 0.5)


def site(*own: float, params: Params = STILL, bank: Bank | None = None, fans: Fans | None = None) -> WaterSite:
    return WaterSite(1e6, own, 9.0, params, 26.0, 1.0, bank, fans)


def test_waters_of_a_site_stay_between_what_its_operator_allows() -> None:
    assert [(k.low, k.high) for k in site(25.0, 32.0).knobs] == [(25, 26), (32, 32)], (
        "lowest 32 or its own, highest 26 or its own"
    )
    assert [(k.low, k.high) for k in site(20.0, 24.0, params=Params(lowest_c=18.0)).knobs] == [(18, 25), (19, 26)]
    assert [(k.low, k.high) for k in site(20.0, 24.0, bank=Bank(6, 0.2), fans=FANS).knobs[2:]] == [(2, 6), (0.5, 1)]


@pytest.mark.parametrize(("waters", "colder"), [((25.0, 33.0), 25.0), ((25.0, 22.0), 22.0)])
def test_margins_of_a_site_are_of_its_hottest_chip_the_dew_point_and_the_gap(
    waters: tuple[float, float], colder: float
) -> None:
    """A chip has 9 K left at coolant of 32 °C, and half of 10 K more before it is handed back; 3 K over the dew point."""
    made = site(25.0, 32.0, params=Params())
    found = made.limits(case(*waters, dry=20.0, wet=14.5, load=0.5))[0]
    dew_c = float(dew_point_c(np.array(20.0), np.array(14.5)))
    assert found == pytest.approx([9 + 5 - (waters[1] - 32), colder - dew_c - 3, waters[1] - waters[0] - 1])
    assert made.reserves == (5.0, 0.0, -0.3)


@pytest.mark.parametrize(("load", "count", "over_k"), [(1.0, 2, 4.4), (0.5, 2, 0.8), (0.4, 2, 0.0), (1.0, 4, 0.8)])
def test_water_gets_warmer_by_what_chillers_are_not_counted_on_for(load: float, count: int, over_k: float) -> None:
    """Towers take nothing at 40 °C of wet bulb; a chiller of a quarter counts for 0.9 of that, and the water's range is 8 K."""
    made = site(25.0, 32.0, bank=BANK).limits(case(25.0, 32.0, count, dry=45, wet=40, load=load))[0, 3]
    assert made == pytest.approx(1.5 - over_k)
    if count == 2:
        fans = site(25.0, 32.0, fans=FANS).limits(case(25.0, 32.0, 1.0, dry=45, wet=40, load=load))[0, 3]
        assert fans == pytest.approx(1.5 - over_k * np.sqrt(load)), "0.45 of the heat, over a range that falls with load"


def test_colder_water_costs_lift_and_a_wider_gap_less_flow() -> None:
    """One more kelvin between 25 and 32 °C: ((8 + 3) / (8 + gap))³ less that of own, by a hundredth of the load."""
    made = site(25.0, 32.0)
    two = made.terms(case(24.0, 32.0, dry=45, wet=40, load=1.0)), made.terms(case(25.0, 32.0, dry=45, wet=40, load=1.0))
    assert two[0]["pump"][0, 2] == pytest.approx(0.01 * ((11 / 16) ** 3 - (11 / 15) ** 3))
    assert two[1]["pump"][0, 2] == 0
    lift_k = 40 + 6 + 6 - (25 - 2)
    assert two[1]["cold"][0, 0] == pytest.approx(lift_k / (0.5 * (23 + 273.15)), rel=1e-6), "all of it is the chillers'"
    assert two[1]["cold"][0, 1] == pytest.approx(0.012), "fans in full beside them"
    assert made.terms(case(24.0, 34.0, dry=45, wet=40, load=0.5))["it"][0].tolist() == [0.5, 1.0, 1.0]
    limits = np.array([[25.0, 32.0, 1.0], [25.0, 32.0, 0.5]])
    two = site(25.0, 32.0, fans=FANS).terms(Case(limits, np.full(2, 29.0), np.full(2, 24.0), np.ones(2)))["chill"]
    assert two[:, 2] == pytest.approx([0, two[1, 0] - two[0, 0]]), "what a limit costs is told apart"
    assert two[1, 0] > two[0, 0] > 0
    cool = made.terms(case(25.0, 32.0, dry=20, wet=15, load=1.0))["cold"][0]
    assert cool[0] == 0, "10 K over the wet bulb: towers do it alone"
    assert cool[1] < 0.012
