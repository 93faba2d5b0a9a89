"""The tuner: reads, learns, decides, and says no to itself. Pure: no clock, no socket; one ``step`` a decision."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from energy.plan import Effect
from energy.tune.case import Case, Physics
from energy.tune.course import Courses
from energy.tune.learn import Learned
from energy.tune.moves import DOUBT_FRAC, Moves
from energy.tune.proven import Proven
from energy.tune.seen import DAY_S, Seen
from energy.tune.surely import AGES_DAYS, LEFT_FRAC, UNSEEN, Surely
from energy.tune.watch import Watch
from twin.frame import Floats
from twin.message import Message

_MOVED = 0.04  # a setting further than this from what was ordered is another's: below any grid, above how devices round
_AWAY = 3.0  # ramps from which on two settings are taken to have nothing of what is left out in common
Z80 = 1.2816  # half-width of an 80 % interval in standard deviations


class Reading(NamedTuple):
    """What a plant says at one time [s since 1970 UTC]: settings in force [k], air outside [°C], load over full load, power of
    each metered part [W], and its margins as measured, by name. NaN where a sensor is silent."""

    time_s: float
    settings: Floats
    dry_bulb_c: float
    wet_bulb_c: float
    load_frac: float
    parts_w: Mapping[str, float]
    margins: Mapping[str, float]


class Decision(NamedTuple):
    """Settings to order [k] until ``until_s``, or None: the plant's own control. ``why`` is said where it is not a move.
    ``effect``: change of facility power against the plant's own settings, over the time until ``until_s``."""

    settings: Floats | None
    until_s: float
    why: Message | None
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Options:
    """How the tuner decides. Chosen on Denver, Port Angeles and Lisbon, climates that no bench judges.

    ``every_s``: between decisions; ``horizon``: decisions ahead; ``shadow``: decisions watched before the first is made;
    ``probe``: decisions after that in which each knob is tried a step either way; ``memory``: decisions after which a reading
    counts 1/e; ``moving_frac``: least cost of a full ramp over full IT power;
    ``moving_doubt_frac``: standard deviation of what it adds to a part, before it was learned;
    ``unsure``: standard deviations of a move's gain that it must be worth; ``margin_spread``: standard deviations kept off each
    margin; ``reserve``: kept off besides, in the margin's unit; ``model_frac``: standard uncertainty of what the
    terms leave out, over the change of the parts; ``drifts``: how much of what stays off for days is taken to differ between
    two settings; ``expires_s``: an order that is not renewed ends then.
    """

    every_s: float = 1800.0
    horizon: int = 6
    shadow: int = 96
    probe: int = 96
    memory: float = 1500.0
    moving_frac: float = 5e-5
    moving_doubt_frac: float = DOUBT_FRAC
    unsure: float = 0.3
    margin_spread: float = 0.5
    reserve: float = 0.3
    model_frac: float = 0.2
    drifts: float = 1.5
    expires_s: float = 3600.0
    watch: Watch = field(default_factory=Watch)


class Tuner:
    """One plant's tuner. ``step`` is called once a decision, with the newest reading; between calls it does nothing."""

    def __init__(self, physics: Physics, options: Options | None = None) -> None:
        self.physics, self.options = physics, options or Options()
        o = self.options
        self.courses = Courses(physics.knobs, o.moving_frac)
        self.own = np.array([knob.own for knob in physics.knobs])
        self.learned = self._unlearned()
        self.moves = Moves(physics.knobs, o.every_s)
        self.seen = Seen(3, o.every_s)
        self.proven = Proven(physics.knobs, len(physics.margins))
        self.guarding = o.watch.begin()
        self._reserve = o.reserve + np.array(physics.reserves)
        self.surely = Surely(round(DAY_S / o.every_s))
        self._before: deque[dict[str, Floats]] = deque(maxlen=max(AGES_DAYS) * round(DAY_S / o.every_s))
        self._said = 0.0
        self._steps = 0
        self._rested = np.full(len(physics.knobs), 10**6)
        self._ordered = self.own.copy()

    def step(self, reading: Reading) -> Decision:
        """What to order now."""
        o = self.options
        until_s = reading.time_s + o.expires_s
        score = self._learn(reading)
        why = self.guarding.judge(reading, score)
        self._steps += 1
        if why is not None:
            self._ordered, self._rested[:], self._said = self.own.copy(), 10**6, 0.0
            self.proven.back_off(reading.settings)
            return Decision(None, until_s, why, None)
        if self._steps <= o.shadow:
            return Decision(None, until_s, SHADOW, None)
        if np.isfinite(reading.settings).all() and np.abs(reading.settings - self._ordered).max() > _MOVED:
            self._ordered = reading.settings.copy()  # advice that nobody took, or a person's hand: it goes on from there
        self._rested += 1
        aim = self._probe() if self._steps <= o.shadow + o.probe else None
        settings = self._choose(aim)
        if settings is None:
            self._ordered = self.own.copy()
            return Decision(None, until_s, NO_ROOM, None)
        self._rested[np.abs(settings - self._ordered) > 1e-9] = 0
        self._ordered = settings
        return Decision(settings, until_s, None, self.effect(settings, reading))

    def hand_back(self, settings: Floats) -> None:
        """What it ordered, ``settings`` [k], was ended before its time: it watches for a while, and has proven less."""
        self._ordered, self._rested[:], self._said = self.own.copy(), 10**6, 0.0
        self.guarding.rest()
        self.proven.back_off(settings)

    # learning

    def commission(
        self, readings: Sequence[Reading], doubt: float = 3.0, least: float = 0.01, then: Sequence[Physics] = ()
    ) -> None:
        """Start from what the same kind of plant showed elsewhere or before: its power, and how far its margins were off.
        ``doubt``: by how much less it is believed here; ``least``: uncertainty that each term keeps; ``then``: the physics as
        it was known at each reading (none: as it is now)."""
        terms = self._past_terms(readings, then)
        scale, nan = self.physics.it_w, float("nan")
        moves = Moves(self.physics.knobs, self.options.every_s)
        marks = np.array([moves.take(r.time_s, r.settings) for r in readings])
        self.learned = self._unlearned()
        for name, was in self.learned.items():
            was.fit(np.hstack([terms[name], marks]), np.array([r.parts_w.get(name, nan) for r in readings]) / scale)
            kept = np.full(len(was.theta), least)
            kept[len(was.theta) - marks.shape[1] :] = min(least, self.options.moving_doubt_frac)
            was.settle(doubt, kept)

    def _past_terms(self, readings: Sequence[Reading], then: Sequence[Physics]) -> Mapping[str, Floats]:
        """part -> float64[t, p]."""
        air = [np.array([getattr(r, name) for r in readings]) for name in ("dry_bulb_c", "wet_bulb_c", "load_frac")]
        case = Case(np.array([r.settings for r in readings]), *air)
        if not then:
            return self.physics.terms(case)
        rows = [was.terms(Case(*(column[i : i + 1] for column in case))) for i, was in enumerate(then)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _unlearned(self) -> dict[str, Learned]:
        """By part: the twin's terms and what moves add, before anything was read."""
        blank = np.zeros(2 * len(self.physics.knobs))
        return {
            name: Learned(
                np.concatenate([part.mean, blank]),
                np.concatenate([part.doubt, blank + self.options.moving_doubt_frac]),
                part.noise,
                self.options.memory,
            )
            for name, part in self.physics.parts().items()
        }

    def _learn(self, reading: Reading) -> float:
        """Takes a reading in; gives how far all power together was off what was expected, in standard deviations."""
        case = self._case(reading.settings[None], reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)
        self.seen.take(np.array([reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac]), reading.time_s)
        if not (
            np.isfinite(reading.settings).all() and np.isfinite(case.load_frac).all() and np.isfinite(case.wet_bulb_c).all()
        ):
            return float("nan")
        point = Case(reading.settings, *(np.asarray(column[0]) for column in case[1:]))
        self.physics = self.physics.adapted(point, reading.margins)
        scores = self._take_power(reading)
        predicted = self.physics.limits(case)[0]
        measured = np.array([reading.margins.get(name, np.nan) for name in self.physics.margins])
        self.proven.take(reading.settings, predicted, measured)
        known = np.array(scores)[np.isfinite(scores)]
        return float(np.abs(known).max()) if len(known) == len(scores) else float("nan")

    def _take_power(self, reading: Reading) -> list[float]:
        pair = np.stack([reading.settings, self.own])
        case = self._case(pair, reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)
        mark = self.moves.take(reading.time_s, reading.settings)
        scale, made = self.physics.it_w, self.physics.terms(case)
        terms = {name: np.concatenate([columns[0], mark]) for name, columns in made.items()}
        measured = {name: reading.parts_w.get(name, float("nan")) / scale for name in terms}
        apart = {name: np.concatenate([columns[0] - columns[1], mark]) for name, columns in made.items()}
        self._score(terms, apart, sum(measured.values()))
        self._before.append({name: learned.theta for name, learned in self.learned.items()})
        return [self.learned[name].take(terms[name], measured[name]) for name in terms]

    def _score(self, terms: Mapping[str, Floats], apart: Mapping[str, Floats], measured: float) -> None:
        """How wrong the models of some days ago were: of the power ``measured`` over ``it_w`` with ``terms``, and of the change
        against own settings, ``apart``."""
        off, revised = np.full(len(AGES_DAYS), np.nan), np.full(len(AGES_DAYS), np.nan)
        said = sum(float(apart[name] @ learned.theta) for name, learned in self.learned.items())
        for i, days in enumerate(AGES_DAYS):
            back = days * round(DAY_S / self.options.every_s)
            if back <= len(self._before):
                then = self._before[-back]
                off[i] = measured - sum(float(terms[name] @ theta) for name, theta in then.items())
                # what a day revises is little, and would hide what a week does
                revised[i] = np.nan if days == 1 else said - sum(float(apart[name] @ theta) for name, theta in then.items())
        self.surely.take(off, revised, self._said)

    # deciding

    def _choose(self, aim: Floats | None) -> Floats | None:
        """The next settings, None where nothing that is allowed can be reached."""
        o, states = self.options, self.courses.states
        self.courses.charge(self._moving())
        near = np.flatnonzero(self.proven.near(states))  # what is not proven need not be worked out
        case = self._ahead(states[near])
        power, spread = self._power(case)
        # a load that is foreseen to fall may stay, and rise from there
        highest = np.maximum(case.load_frac, self.seen.past[-1, 2]) + self._rise()
        worst = case._replace(load_frac=np.minimum(highest, self.physics.peak_frac))
        safe = self.proven.safe(self.physics.limits(worst), o.margin_spread, self._reserve)
        cost = np.full((o.horizon, len(states)), np.inf)
        cost[:, near] = np.where(safe, power + o.unsure * spread, np.inf)
        if aim is not None:
            cost = np.where(np.isfinite(cost), 10.0 * np.abs(states - aim).sum(axis=1), np.inf)
        resting = [i for i, knob in enumerate(self.physics.knobs) if self._rested[i] < knob.dwell]
        settings, total = self.courses.best(cost, self._ordered, resting)
        return settings if np.isfinite(total) else self._retreat(cost[0], resting)

    def _moving(self) -> Floats:
        """float64[2k]: what a full ramp of each knob up, and then down, adds to a decision's energy; never less than nothing.
        The horizon is too short to be charged with the hours after: plants stayed where they were."""
        count = 2 * len(self.own)
        added = sum((learned.theta[-count:] for learned in self.learned.values()), np.zeros(count))
        return np.asarray(self.options.moving_frac + np.maximum(added, 0.0))

    def _retreat(self, cost: Floats, resting: list[int]) -> Floats | None:
        """Where no course stays inside all margins: one step nearer to the nearest settings that do; None where none do."""
        good = np.isfinite(cost)
        if not good.any():
            return None
        ramp = np.array([knob.ramp for knob in self.physics.knobs])
        states = self.courses.states[good]
        goal = states[(np.abs(states - self._ordered) / ramp).sum(axis=1).argmin()]
        step = np.clip(goal - self._ordered, -ramp, ramp)
        step[resting] = 0.0
        return np.asarray(self._ordered + step)

    def _probe(self) -> Floats:
        """Settings to try: own ones, with one knob a ramp up or down, in turn."""
        count = (self._steps - self.options.shadow) // 4
        knob, sign = count % len(self.own), 1.0 if (count // len(self.own)) % 2 else -1.0
        aim = self.own.copy()
        aim[knob] += sign * self.physics.knobs[knob].ramp
        return aim

    def _ahead(self, states: Floats) -> Case:
        """Every state [1, m] in every step of the horizon [h, 1]."""
        air = self.seen.ahead(self.options.horizon)[:, None]
        return Case(states[None], air[..., 0], air[..., 1], air[..., 2])

    def _rise(self) -> float:
        """How much more load may come before a decision has worked: what the operator says, or more if more was seen."""
        return max(self.physics.jump_frac, self.seen.jump(2, 2))

    def _power(self, case: Case) -> tuple[Floats, Floats]:
        """float64[h, m] each, over ``it_w``: expected power, and standard uncertainty of its difference from staying."""
        terms = self.physics.terms(case)
        stay = self.physics.terms(case._replace(knobs=self._ordered[None, None]))
        power, variance = np.zeros(()), np.zeros(())
        for name, learned in self.learned.items():
            power = power + learned.expect(terms[name])
            variance = variance + learned.sigma(terms[name] - stay[name]) ** 2
        return power, np.sqrt(variance)

    def effect(self, settings: Floats, reading: Reading) -> Effect:
        """Change of facility power [W] by ``settings`` against the plant's own in the air and load of ``reading``, with its
        80 % interval."""
        pair = np.stack([settings, self.own])
        case = self._case(pair, reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)
        change, variance, it = 0.0, 0.0, 0.0
        ramp = np.array([knob.ramp for knob in self.physics.knobs])
        mark = self.moves.after(self.options.every_s, reading.settings, settings)
        away = min(float((np.abs(settings - self.own) / ramp).sum()) / _AWAY, 1.0)
        for name, terms in self.physics.terms(case).items():
            learned = self.learned[name]
            apart = np.concatenate([terms[0] - terms[1], mark])[None]
            part = float(learned.expect(apart)[0])
            change += part
            variance += float(learned.sigma(apart)[0]) ** 2 + (self.options.model_frac * part) ** 2
            variance += (self.options.drifts * away * learned.drift) ** 2
            it = part if name == "it" else it
        scale = self.physics.it_w
        self._said = Z80 * float(np.sqrt(variance))
        half = float(np.hypot(self._said * self.surely.times * UNSEEN, LEFT_FRAC * change)) * scale
        return Effect(change * scale, change * scale - half, change * scale + half, self.options.every_s, it * scale)

    def _case(self, knobs: Floats, dry_bulb_c: float, wet_bulb_c: float, load_frac: float) -> Case:
        n = len(knobs)
        return Case(knobs, np.full(n, dry_bulb_c), np.full(n, wet_bulb_c), np.full(n, load_frac))


SHADOW = Message("Only watching so far: what is not measured is not tuned")
NO_ROOM = Message("No setting within reach keeps every margin: the plant's own control takes over")
