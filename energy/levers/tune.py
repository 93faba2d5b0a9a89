"""Tuning: plant water, coolant and how many chillers may run, chosen over the next hours by what the site itself has shown.

``supply_temperature`` and ``coolant_flow`` judge a step by what is known of plants in general. This lever keeps a tuner
(``energy.tune``) that learns from each half hour what the twin's physics is worth here, proposes the next step of the best
course, and says no to itself: it only watches at first, moves a ramp beyond what was proven, and where readings go stale,
silent or astray proposes nothing more, so that what is in force ends within ``EXPIRES_S`` and the plant has its own settings.
Where it holds chillers back and plant water is not held, it does not wait for that: ``withdraw`` is asked every minute.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.levers import Outlook, believed, site_power_w
from energy.levers.supply_temperature import SETPOINT, hottest_room_k
from energy.levers.tune_chain import (
    COLD_KINDS,
    LIMIT,
    SAME_K,
    Aim,
    Chain,
    Running,
    aims_of,
    chain_of,
    last_of,
    over_k,
    reading_of,
    running_of,
)
from energy.plan import Effect, Plan
from energy.response import WATER_CLASS_C, Params
from energy.tune.bank import Bank
from energy.tune.case import Case
from energy.tune.tuner import Decision, Options, Reading, Tuner
from energy.tune.watch import Watch
from energy.tune.water import HELD_K, WaterSite, dew_point_c
from twin.frame import Floats
from twin.job import Jobs
from twin.message import Message
from twin.ports import Action
from twin.site import Site
from twin.state import State

NAME = "tune"
EVERY_S = 1800.0  # between decisions: water that was moved has settled
EXPIRES_S = 2 * EVERY_S  # an order that is not renewed ends by then
MODEL_DOUBT, MODEL_LEAST = 1.5, 0.002  # of what history taught: how much more is doubted, and least doubt of each term
MOST = 12  # setpoints in one plan: two plans an hour are what the guard lets pass
SMALLEST_GAIN_FRAC = 0.0005  # of facility power: smaller gains are not worth touching a plant for
MOVING_DOUBT_FRAC = 5e-4  # warm water has no coil that opens for a trickle; a plan is of half a percent
ENOUGH = 48  # readings of the past after which it need not only watch first
# what is read of history: kind -> metrics
NEEDS: Mapping[str, tuple[str, ...]] = {
    "site": ("it_power_w",),
    "weather": ("dry_bulb_c", "wet_bulb_c"),
    "loop": (SETPOINT, LIMIT),
    "cdu": (SETPOINT, "power_w"),
    "pump": ("power_w",),
    **dict.fromkeys(COLD_KINDS, ("power_w",)),
}


@dataclass(slots=True)
class Tune:
    """One site's tuner behind the lever's port. It keeps what it learned; ``remember`` gives it back after a start."""

    params: Params = field(default_factory=Params)
    options: Options = field(
        default_factory=lambda: Options(
            every_s=EVERY_S, shadow=4, probe=0, moving_doubt_frac=MOVING_DOUBT_FRAC, expires_s=EXPIRES_S, watch=Watch(rest=4)
        )
    )
    tuner: Tuner | None = None
    _physics: WaterSite | None = None
    _chain: Chain | None = None
    _history: tuple[list[Reading], list[Running], Floats] | None = None
    _due_s: float = -math.inf
    _made: Decision | None = None
    _from_c: Floats = field(default_factory=lambda: np.empty(0))
    _aims: Sequence[Aim] = ()
    _rests_until_s: float = -math.inf

    @property
    def name(self) -> str:
        """``tune``."""
        return NAME

    def remember(self, site: Site, time_s: Floats, history: Mapping[tuple[str, str], Floats]) -> int:
        """Learn from the past before the first decision: columns (kind, metric) -> float64[t, n] at ``time_s`` [t], a decision
        apart. Gives how many readings were whole; may be called once, before ``propose`` is."""
        chain = chain_of(site, lambda kind, name: last_of(history.get((kind, name), np.empty((0, site.count(kind))))))
        if chain is None or self.tuner is not None:
            return 0
        made, ran = [], []
        for i, at in enumerate(time_s.tolist()):
            row = {key: column[i] for key, column in history.items() if len(column)}

            def get(kind: str, name: str, row: Mapping[tuple[str, str], Floats] = row) -> Floats:
                return row.get((kind, name), np.empty(0))

            reading = reading_of(site, chain, get, at)
            if np.isfinite([reading.wet_bulb_c, reading.load_frac, *reading.settings, *reading.parts_w.values()]).all():
                made.append(reading)
                ran.append(running_of(site, chain, get))
        if made:
            self._history = (made, ran, np.median([one.settings for one in made], axis=0))
        return len(made)

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The step that the tuner decided on last, or None; it decides anew every ``EVERY_S``. ``jobs`` do not matter."""

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        time_s = now.timestamp()
        if self._chain is None:
            self._chain = chain_of(site, get)
        if self._chain is None:
            return None
        if time_s >= self._due_s:
            self._decide(site, state, reading_of(site, self._chain, get, time_s), now)
        return self._plan(site_power_w(state, "facility_power_w", now), now)

    def _decide(self, site: Site, state: State, reading: Reading, now: datetime) -> None:
        room_k = hottest_room_k(site, state, self.params, now)
        it_w = site_power_w(state, "it_power_w", now)
        reading = reading._replace(parts_w={**reading.parts_w, "it": it_w})
        chain = self._chain
        if self.tuner is None:
            self._begin(reading, room_k)
        if self.tuner is None or self._physics is None or chain is None:
            return

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        water, coolant = self._physics.waters(reading.settings)
        dew_c = dew_point_c(np.asarray(reading.dry_bulb_c), np.asarray(reading.wet_bulb_c))
        measured = self._physics.measured(water, coolant, dew_c, room_k, over_k(chain, get))
        margins = {name: float(value) for name, value in measured.items()}
        self._from_c, self._due_s = reading.settings, reading.time_s + EVERY_S
        reading = reading._replace(load_frac=it_w / self._physics.it_w, margins=margins)
        running = running_of(site, chain, get)
        self._physics = self._physics.staged(_case(reading), *running)
        self.tuner.physics = self._physics
        self._made = self.tuner.step(reading)
        made = self._made.settings
        self._aims = [] if made is None else aims_of(site, chain, self._from_c, made, self.tuner.own, get)
        if any(name == LIMIT for _, name, _ in self._aims):
            self._rests_until_s = self._made.until_s

    def withdraw(self, site: Site, state: State, now: datetime) -> Message | None:
        """Why what it has in force is to end at once: chillers rest by its order, and plant water is not held or not known, or
        it has no word itself any more."""
        tuner, chain = self.tuner, self._chain
        if tuner is None or chain is None or now.timestamp() >= self._rests_until_s:
            return None

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        over, made = over_k(chain, get), self._made
        if running_of(site, chain, get).most_count >= len(chain.chillers):  # not where it is NaN
            return None
        if made is not None and made.settings is None:
            self._rests_until_s = -math.inf
            return made.why
        if over <= HELD_K:  # not where it is NaN
            return None
        tuner.hand_back(self._from_c if made is None or made.settings is None else made.settings)
        self._made, self._aims, self._rests_until_s = None, (), -math.inf
        if math.isnan(over):
            return Message("Plant water is silent while chillers rest: they are given back to their own sequence")
        return Message(
            "Plant water is {over_k:.1f} K over its setpoint while chillers rest: they are given back", {"over_k": over}
        )

    def _begin(self, reading: Reading, room_k: float) -> None:
        """Start the tuner at what the site does by itself; not before everything was read once."""
        it_w, chain = reading.parts_w["it"], self._chain
        if chain is None or not np.isfinite([it_w, room_k, *reading.settings]).all() or it_w <= 0:
            return
        bank = Bank(len(chain.chillers), chain.unit_w / it_w) if chain.chillers else None
        now = reading.settings[: len(chain.waters)]
        past, ran, own = self._history or ([], [], now)
        own, p = own[: len(now)], self.params
        gap_k = min(p.gap_k, float(own[-1] - own[0])) if len(own) > 1 else p.gap_k
        highest_c = min(p.highest_c, WATER_CLASS_C[p.water_class])
        # the room is of the settings in force now
        room_k += float(now[-1] - own[-1])
        physics = WaterSite(it_w, tuple(own.tolist()), room_k, p, highest_c, gap_k - 0.05, bank)
        past = [_of(one, len(own), bank)._replace(load_frac=one.load_frac / it_w) for one in past]
        for one, running in zip(past, ran, strict=True):
            physics = physics.staged(_case(one), *running)
        self._physics = physics
        self.tuner = Tuner(physics, replace(self.options, shadow=0) if len(past) >= ENOUGH else self.options)
        if past:
            self.tuner.commission(past, MODEL_DOUBT, MODEL_LEAST)
        self._history = None

    def _plan(self, facility_w: float, now: datetime) -> Plan | None:
        made, tuner, chain = self._made, self.tuner, self._chain
        if made is None or tuner is None or chain is None or made.settings is None or made.effect is None:
            return None
        if not math.isfinite(facility_w) or now.timestamp() >= made.until_s:
            return None
        effect = replace(made.effect, horizon_s=EXPIRES_S)
        if effect.high_w >= 0 or -effect.facility_power_w < SMALLEST_GAIN_FRAC * facility_w:
            return None
        if not 0 < len(self._aims) <= MOST:
            return None
        readings = min(learned.count for learned in tuner.learned.values())
        return _written(chain, self._aims, made, effect, self._from_c, readings, now)


def _written(
    chain: Chain, aims: Sequence[Aim], made: Decision, effect: Effect, was: Floats, readings: int, now: datetime
) -> Plan:
    settings = was if made.settings is None else made.settings
    coolant = len(chain.waters) - 1
    until = datetime.fromtimestamp(made.until_s, UTC)
    text = ";".join([f"{made.until_s:.0f}", *(f"{asset}.{name}={aim:.2f}" for asset, name, aim in aims)])
    key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    hours = effect.horizon_s / 3600
    said: dict[str, float | int | str] = {
        "count": len(aims),
        "water_c": float(settings[0]),
        "water_k": float((settings - was)[0]),
        "coolant_c": float(settings[coolant]),
        "coolant_k": float((settings - was)[coolant]),
        "running": round(float(settings[-1])) if chain.chillers else 0,
        "chillers": len(chain.chillers),
        "saving_kwh": -effect.facility_power_w * hours / 1e3,
        "low_kwh": -effect.high_w * hours / 1e3,
        "high_kwh": -effect.low_w * hours / 1e3,
        "hours": hours,
        "readings": readings,
    }
    actions = tuple(Action(asset, name, aim, until, f"{key}/{asset}/{name}") for asset, name, aim in aims)
    expires = min(now + timedelta(seconds=600), until)
    moved = float(np.abs(settings - was).max()) > SAME_K
    if any(name == LIMIT for _, name, _ in aims):
        text = ALL if moved else KEEP_ALL
    elif chain.loop:
        text = BOTH if moved else KEEP_BOTH
    else:
        text = ONE if moved else KEEP_ONE
    return Plan(key, NAME, actions, Message(text, said), effect, now, expires)


ALL = (
    "Tune plant water to {water_c:.1f} °C ({water_k:+.1f} K), coolant to {coolant_c:.1f} °C ({coolant_k:+.1f} K) and let at "
    "most {running} of {chillers} chillers run: the centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h ({low_kwh:.1f} to "
    "{high_kwh:.1f}) than by its own settings, by {readings} readings of this plant"
)
KEEP_ALL = (
    "Keep plant water at {water_c:.1f} °C, coolant at {coolant_c:.1f} °C and at most {running} of {chillers} chillers running: "
    "the centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h ({low_kwh:.1f} to {high_kwh:.1f}) than by its own settings, "
    "by {readings} readings of this plant"
)
BOTH = (
    "Tune plant water to {water_c:.1f} °C ({water_k:+.1f} K) and coolant to {coolant_c:.1f} °C ({coolant_k:+.1f} K): the "
    "centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h ({low_kwh:.1f} to {high_kwh:.1f}) than by its own settings, by "
    "{readings} readings of this plant"
)
ONE = (
    "Tune coolant to {coolant_c:.1f} °C ({coolant_k:+.1f} K): the centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h "
    "({low_kwh:.1f} to {high_kwh:.1f}) than by its own settings, by {readings} readings of this plant"
)
KEEP_BOTH = (
    "Keep plant water at {water_c:.1f} °C and coolant at {coolant_c:.1f} °C: the centre takes {saving_kwh:.1f} kWh less in "
    "{hours:.0f} h ({low_kwh:.1f} to {high_kwh:.1f}) than by its own settings, by {readings} readings of this plant"
)
KEEP_ONE = (
    "Keep coolant at {coolant_c:.1f} °C: the centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h ({low_kwh:.1f} to "
    "{high_kwh:.1f}) than by its own settings, by {readings} readings of this plant"
)


def _case(reading: Reading) -> Case:
    return Case(reading.settings, *map(np.asarray, (reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)))


def _of(reading: Reading, waters: int, bank: Bank | None) -> Reading:
    """With the settings that are tuned now: a past in which nobody told how many chillers may run had none held back."""
    settings = reading.settings[:waters] if bank is None else np.append(reading.settings, bank.units)[: waters + 1]
    return reading._replace(settings=settings)


def build(params: Params | None = None) -> Tune:
    """The lever with its documented parameters, or the plant's own."""
    return Tune(params=params or Params())
