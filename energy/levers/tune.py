"""Tuning: plant water and coolant of a liquid-cooled site, chosen over the next hours by what the site itself has shown.

``supply_temperature`` and ``coolant_flow`` judge a step by what is known of plants in general. This lever keeps a tuner
(``energy.tune``) that learns from each half hour what the twin's physics is worth here, proposes the next step of the best
course, and says no to itself: it only watches at first, moves a ramp beyond what was proven, and where readings go stale,
silent or astray proposes nothing more, so that what is in force ends within ``EXPIRES_S`` and the plant has its own settings.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.levers import Outlook, believed, site_power_w
from energy.levers.supply_temperature import KINDS, SETPOINT, hottest_room_k
from energy.plan import Effect, Plan
from energy.reach import cooled_share
from energy.response import WATER_CLASS_C, Params
from energy.tune.tuner import Decision, Options, Reading, Tuner
from energy.tune.watch import Watch
from energy.tune.water import WaterSite, dew_point_c
from twin.frame import Floats
from twin.job import Jobs
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action
from twin.site import Site
from twin.state import State

NAME = "tune"
EVERY_S = 1800.0  # between decisions: water that was moved has settled
EXPIRES_S = 2 * EVERY_S  # an order that is not renewed ends by then
MOST = 12  # setpoints in one plan: two plans an hour are what the guard lets pass
_SAME_K = 0.04  # nearer than this is the same setting: below any grid
SMALLEST_GAIN_FRAC = 0.0005  # of facility power: smaller gains are not worth touching a plant for
COLD_KINDS, MODEL_DOUBT, MODEL_LEAST = ("chiller", "tower", "drycooler"), 1.5, 0.002
MOVING_DOUBT_FRAC = 5e-4  # warm water has no coil that opens for a trickle; a plan is of half a percent
ENOUGH = 48  # readings of the past after which it need not only watch first
# what is read of history: kind -> metrics
NEEDS: Mapping[str, tuple[str, ...]] = {
    "site": ("it_power_w",),
    "weather": ("dry_bulb_c", "wet_bulb_c"),
    "loop": (SETPOINT,),
    "cdu": (SETPOINT, "power_w"),
    "pump": ("power_w",),
    **dict.fromkeys(COLD_KINDS, ("power_w",)),
}
Get = Callable[[str, str], Floats]  # (kind, metric) -> a value for each asset


@dataclass(frozen=True, slots=True)
class _Chain:
    """Setpoints that are tuned: rows of ``loop`` and of ``cdu``. Where no loop above CDUs has one, CDUs alone."""

    loop: tuple[int, ...]
    cdu: tuple[int, ...]

    @property
    def rows(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """By knob: kind and rows."""
        return [("loop", self.loop), ("cdu", self.cdu)] if self.loop else [("cdu", self.cdu)]


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
    _chain: _Chain | None = None
    _history: tuple[list[Reading], Floats] | None = None
    _due_s: float = -math.inf
    _made: Decision | None = None
    _from_c: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def name(self) -> str:
        """``tune``."""
        return NAME

    def remember(self, site: Site, time_s: Floats, history: Mapping[tuple[str, str], Floats]) -> int:
        """Learn from the past before the first decision: columns (kind, metric) -> float64[t, n] at ``time_s`` [t], a decision
        apart. Gives how many readings were whole; may be called once, before ``propose`` is."""
        chain = _chain(site, lambda kind, name: _last(history.get((kind, name), np.empty((0, site.count(kind))))))
        if chain is None or self.tuner is not None:
            return 0
        made = []
        for i, at in enumerate(time_s.tolist()):
            row = {key: column[i] for key, column in history.items() if len(column)}
            reading = _reading(chain, lambda kind, name, row=row: row.get((kind, name), np.empty(0)), at)  # type: ignore[misc]
            if np.isfinite([reading.wet_bulb_c, reading.load_frac, *reading.settings, *reading.parts_w.values()]).all():
                made.append(reading)
        if made:
            self._history = (made, np.median([one.settings for one in made], axis=0))
        return len(made)

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The step that the tuner decided on last, or None; it decides anew every ``EVERY_S``. ``jobs`` do not matter."""

        def get(kind: str, name: str) -> Floats:
            return believed(state, kind, name, now)

        time_s = now.timestamp()
        if self._chain is None:
            self._chain = _chain(site, get)
        if self._chain is None:
            return None
        if time_s >= self._due_s:
            self._decide(site, state, _reading(self._chain, get, time_s), now)
        return self._plan(site, site_power_w(state, "facility_power_w", now), get, now)

    def _decide(self, site: Site, state: State, reading: Reading, now: datetime) -> None:
        room_k = hottest_room_k(site, state, self.params, now)
        it_w = site_power_w(state, "it_power_w", now)
        reading = reading._replace(parts_w={**reading.parts_w, "it": it_w})
        if self.tuner is None:
            self._begin(reading, room_k)
        if self.tuner is None or self._physics is None:
            return
        water, coolant = self._physics.waters(reading.settings)
        dew_c = dew_point_c(np.asarray(reading.dry_bulb_c), np.asarray(reading.wet_bulb_c))
        margins = {name: float(value) for name, value in self._physics.measured(water, coolant, dew_c, room_k).items()}
        self._from_c, self._due_s = reading.settings, reading.time_s + EVERY_S
        self._made = self.tuner.step(reading._replace(load_frac=it_w / self._physics.it_w, margins=margins))

    def _begin(self, reading: Reading, room_k: float) -> None:
        """Start the tuner at what the site does by itself; not before everything was read once."""
        it_w = reading.parts_w["it"]
        past, own = self._history or ([], reading.settings)
        if not np.isfinite([it_w, room_k, *reading.settings]).all() or it_w <= 0:
            return
        p = self.params
        gap_k = min(p.gap_k, float(own[-1] - own[0])) if len(own) > 1 else p.gap_k
        highest_c = min(p.highest_c, WATER_CLASS_C[p.water_class])
        # the room is of the settings in force now
        room_k += float(reading.settings[-1] - own[-1])
        self._physics = WaterSite(it_w, tuple(own.tolist()), room_k, p, highest_c, gap_k - 0.05)
        known = len(past) >= ENOUGH
        self.tuner = Tuner(self._physics, replace(self.options, shadow=0) if known else self.options)
        if past:
            self.tuner.commission([one._replace(load_frac=one.load_frac / it_w) for one in past], MODEL_DOUBT, MODEL_LEAST)
        self._history = None

    def _plan(self, site: Site, facility_w: float, get: Get, now: datetime) -> Plan | None:
        made, tuner, chain = self._made, self.tuner, self._chain
        if made is None or tuner is None or chain is None or made.settings is None or made.effect is None:
            return None
        if not math.isfinite(facility_w) or now.timestamp() >= made.until_s:
            return None
        effect = replace(made.effect, horizon_s=EXPIRES_S)
        if effect.high_w >= 0 or -effect.facility_power_w < SMALLEST_GAIN_FRAC * facility_w:
            return None
        aims = _aims(site, chain, made.settings - self._from_c, made.settings - tuner.own, get)
        if not 0 < len(aims) <= MOST:
            return None
        readings = min(learned.count for learned in tuner.learned.values())
        return _written(aims, made, effect, self._from_c, readings, now)


def _written(
    aims: Sequence[tuple[str, float]], made: Decision, effect: Effect, was: Floats, readings: int, now: datetime
) -> Plan:
    settings = was if made.settings is None else made.settings
    until = datetime.fromtimestamp(made.until_s, UTC)
    text = ";".join([f"{made.until_s:.0f}", *(f"{asset}={aim:.2f}" for asset, aim in aims)])
    key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    hours = effect.horizon_s / 3600
    said: dict[str, float | int | str] = {
        "count": len(aims),
        "water_c": float(settings[0]),
        "water_k": float((settings - was)[0]),
        "coolant_c": float(settings[-1]),
        "coolant_k": float((settings - was)[-1]),
        "saving_kwh": -effect.facility_power_w * hours / 1e3,
        "low_kwh": -effect.high_w * hours / 1e3,
        "high_kwh": -effect.low_w * hours / 1e3,
        "hours": hours,
        "readings": readings,
    }
    actions = tuple(Action(asset, SETPOINT, aim, until, f"{key}/{asset}") for asset, aim in aims)
    expires = min(now + timedelta(seconds=600), until)
    moved = float(np.abs(settings - was).max()) > _SAME_K
    text = (BOTH if moved else KEEP_BOTH) if len(was) > 1 else (ONE if moved else KEEP_ONE)
    return Plan(key, NAME, actions, Message(text, said), effect, now, expires)


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


def _chain(site: Site, get: Get) -> _Chain | None:
    """The one plant loop with a setpoint above CDUs that have theirs; None where CDUs have none, or there are more plants."""
    rows = {kind: np.flatnonzero(np.isfinite(get(kind, SETPOINT))) if site.count(kind) else np.empty(0, int) for kind in KINDS}
    cdus = site.of_kind("cdu")
    tops = [int(i) for i in rows["loop"] if cooled_share(site, int(site.of_kind("loop")[i]), "cdu")[rows["cdu"]].any()]
    if not len(rows["cdu"]) or len(rows["cdu"]) != len(cdus) or len(tops) > 1:
        return None
    return _Chain(tuple(tops), tuple(int(i) for i in rows["cdu"]))


def _reading(chain: _Chain, get: Get, time_s: float) -> Reading:
    """What the site says, its load still in watts [``load_frac``]; margins are added by who knows the chips."""
    settings = np.array([_mean(get(kind, SETPOINT)[list(rows)]) for kind, rows in chain.rows])
    it_w = _mean(get("site", "it_power_w"))
    cold_w = float(sum(get(kind, "power_w").sum() for kind in COLD_KINDS))
    pump_w = float(get("pump", "power_w").sum())
    parts = {"it": it_w, "cold": cold_w, "pump": pump_w}
    dry_c, wet_c = (_mean(get("weather", name)) for name in ("dry_bulb_c", "wet_bulb_c"))
    return Reading(time_s, settings, dry_c, wet_c, it_w, parts, {})


def _aims(site: Site, chain: _Chain, move_k: Floats, held_k: Floats, get: Get) -> list[tuple[str, float]]:
    """Each setpoint moved by its knob's move, at most its step; those that are not read stay. A knob that rests away from the
    site's own setting (``held_k``) is ordered where it stands: what nobody renews goes back."""
    made = []
    for (kind, rows), by_k, off_k in zip(chain.rows, move_k.tolist(), held_k.tolist(), strict=True):
        step = metric(kind, SETPOINT).step or 0.0
        for row in rows:
            now_c = float(get(kind, SETPOINT)[row])
            aim = round(now_c + float(np.clip(by_k, -step, step)), 2)
            if math.isfinite(aim) and max(abs(by_k), abs(off_k)) > _SAME_K:
                made.append((site.ids[int(site.of_kind(kind)[row])], aim))
    return sorted(made)


def _mean(column: Floats) -> float:
    """Mean of what is there; NaN where one is silent or nothing is there."""
    return float(column.mean()) if len(column) else math.nan


def _last(column: Floats) -> Floats:
    """The newest value of each asset that has one: float64[n] of float64[t, n]."""
    if not len(column):
        return np.full(column.shape[1], np.nan)
    known = np.isfinite(column)
    at = len(column) - 1 - known[::-1].argmax(axis=0)
    return np.asarray(np.where(known.any(axis=0), column[at, np.arange(column.shape[1])], np.nan))


def build() -> Tune:
    """The lever with its documented parameters."""
    return Tune()
