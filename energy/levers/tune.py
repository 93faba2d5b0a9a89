"""Tuning: plant water, coolant, how many chillers may run and how fast fans may turn, chosen over the next hours by what the
site itself has shown.

``supply_temperature`` and ``coolant_flow`` judge a step by what is known of plants in general. This lever keeps a tuner
(``energy.tune``) that learns from each half hour what the twin's physics is worth here, proposes the next step of the best
course, and says no to itself: it only watches at first, moves a ramp beyond what was proven, and where readings go stale,
silent or astray proposes nothing more, so that what is in force ends within ``EXPIRES_S`` and the plant has its own settings.
Where it holds chillers or fans back and plant water is not held, it does not wait for that: ``withdraw`` is asked every minute.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from energy.levers import Outlook, believed, site_power_w
from energy.levers.supply_temperature import SETPOINT, hottest_room_k
from energy.levers.tune_chain import (
    COLD_KINDS,
    FAN_LIMIT,
    FAN_SPEED,
    LIMIT,
    MOST,
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
from energy.levers.tune_words import NAME, written
from energy.plan import Plan
from energy.response import WATER_CLASS_C, Params
from energy.tune.bank import Bank
from energy.tune.case import Case
from energy.tune.fans import Fans
from energy.tune.tuner import Decision, Options, Reading, Tuner
from energy.tune.watch import Watch
from energy.tune.water import HELD_K, RANGE_K, WaterSite, dew_point_c
from twin.frame import Floats
from twin.job import Jobs
from twin.message import Message
from twin.site import Site
from twin.state import State

EVERY_S = 1800.0  # between decisions: water that was moved has settled
EXPIRES_S = 2 * EVERY_S  # an order that is not renewed ends by then
MODEL_DOUBT, MODEL_LEAST = 1.5, 0.002  # of what history taught: how much more is doubted, and least doubt of each term
SMALLEST_GAIN_FRAC = 0.0005  # of facility power: smaller gains are not worth touching a plant for
MOVING_DOUBT_FRAC = 5e-4  # warm water has no coil that opens for a trickle; a plan is of half a percent
ENOUGH = 48  # readings of the past after which it need not only watch first
# what is read of history: kind -> metrics
NEEDS: Mapping[str, tuple[str, ...]] = {
    "site": ("it_power_w",),
    "weather": ("dry_bulb_c", "wet_bulb_c"),
    "loop": (SETPOINT, LIMIT, "supply_temp_c", "return_temp_c"),
    "cdu": (SETPOINT, "power_w"),
    "pump": ("power_w",),
    **dict.fromkeys(COLD_KINDS, ("power_w",)),
    "tower": ("power_w", "supply_temp_c", FAN_LIMIT, FAN_SPEED),
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
    _history: tuple[Chain, list[Reading], list[Running]] | None = None
    _due_s: float = -math.inf
    _made: Decision | None = None
    _from_c: Floats = field(default_factory=lambda: np.empty(0))
    _aims: Sequence[Aim] = ()
    _back_until_s: float = -math.inf  # chillers or fans are held back by its order until then at most

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
            self._history = (chain, made, ran)
        return len(made)

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The step that the tuner decided on last, or None; it decides anew every ``EVERY_S``, and where the clock was set back
        behind the last decision. ``jobs`` do not matter."""

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        time_s = now.timestamp()
        if self._chain is None:
            self._chain = chain_of(site, get)
        if self._chain is None:
            return None
        if not self._due_s - EVERY_S <= time_s < self._due_s:
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
        if any(name in (LIMIT, FAN_LIMIT) for _, name, _ in self._aims):
            self._back_until_s = self._made.until_s

    def withdraw(self, site: Site, state: State, now: datetime) -> Message | None:
        """Why what it has in force is to end at once: chillers or fans are held back by its order, and plant water is not held
        or not known, or it has no word itself any more."""
        tuner, chain = self.tuner, self._chain
        if tuner is None or chain is None or now.timestamp() >= self._back_until_s:
            return None

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        over, made = over_k(chain, get), self._made
        if not chain.held_back(get):
            return None
        if made is not None and made.settings is None:
            self._back_until_s = -math.inf
            return made.why
        if over <= HELD_K:  # not where it is NaN
            return None
        tuner.hand_back(self._from_c if made is None or made.settings is None else made.settings)
        self._made, self._aims, self._back_until_s = None, (), -math.inf
        return Message(SILENT) if math.isnan(over) else Message(WARM, {"over_k": over})

    def _begin(self, reading: Reading, room_k: float) -> None:
        """Start the tuner at what the site does by itself; not before everything was read once."""
        it_w, chain = reading.parts_w["it"], self._chain
        if chain is None or not np.isfinite([it_w, room_k, *reading.settings]).all() or it_w <= 0:
            return
        bank = Bank(len(chain.chillers), chain.unit_w / it_w) if chain.chillers else None
        fans = Fans(chain.fan_w / it_w, chain.chilled_w / it_w, RANGE_K, it_w / chain.chilled_w) if chain.fans else None
        now = reading.settings[: len(chain.waters)]
        was, past, ran = self._history or (chain, [], [])
        past = [one._replace(settings=_as_now(one.settings, was, chain), load_frac=one.load_frac / it_w) for one in past]
        own = np.median([one.settings[: len(now)] for one in past], axis=0) if past else now
        p = self.params
        gap_k = min(p.gap_k, float(own[-1] - own[0])) if len(own) > 1 else p.gap_k
        highest_c = min(p.highest_c, WATER_CLASS_C[p.water_class])
        # the room is of the settings in force now
        room_k += float(now[-1] - own[-1])
        physics = WaterSite(it_w, tuple(own.tolist()), room_k, p, highest_c, gap_k - 0.05, bank, fans)
        then = []
        for one, running in zip(past, ran, strict=True):
            physics = physics.staged(_case(one), *running)
            then.append(physics)
        self._physics = physics
        self.tuner = Tuner(physics, replace(self.options, shadow=0) if len(past) >= ENOUGH else self.options)
        if past:
            self.tuner.commission(past, MODEL_DOUBT, MODEL_LEAST, then if chain.fans else ())
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
        return written(chain, self._aims, made, effect, self._from_c, readings, now)


SILENT = "Plant water is silent while chillers or fans are held back: they are given back to the plant's own control"
WARM = "Plant water is {over_k:.1f} K over its setpoint while chillers or fans are held back: they are given back"


def _case(reading: Reading) -> Case:
    return Case(reading.settings, *map(np.asarray, (reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)))


def _as_now(settings: Floats, was: Chain, chain: Chain) -> Floats:
    """The settings that are tuned now: a past in which nobody told how many chillers may run, or how fast fans may turn, had
    none held back."""
    waters = len(was.waters)
    made = settings[: len(chain.waters)]
    if chain.chillers:
        made = np.append(made, settings[waters] if was.chillers else len(chain.chillers))
    if chain.fans:
        made = np.append(made, settings[-1] if was.fans else 1.0)
    return made


def build(params: Params | None = None) -> Tune:
    """The lever with its documented parameters, or the plant's own."""
    return Tune(params=params or Params())
