"""Supply temperature: warmer water spares chillers and fans and costs leakage in the GPUs; which wins depends on the hour.

Judged on facility power, never on PUE: a warmer hall can lower PUE while the centre draws more (EnergyPlus 25.2, data
centre with chilled water, Chicago: set point 23 -> 27 °C, PUE 1.139 -> 1.103, facility energy +12 %).

Where two setpoints stand in one chain (plant loop, then CDU), the upper one moves plant water and the lower one what the
GPUs feel. They are moved apart (the plant up towards its CDUs, CDUs down towards the plant) or together.
"""

import hashlib
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from energy.levers import Outlook, believed, site_power_w
from energy.plan import Plan
from energy.reach import cooled_share, rise_at_load_k
from energy.response import WATER_CLASS_C, Change, Params, Plant, dew_point_c, effect, terms_w
from twin.chillers import chillers_on, rated_chiller_w
from twin.frame import Floats
from twin.job import Jobs
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action
from twin.site import Site
from twin.state import State

NAME = "supply_temperature"
SETPOINT = "supply_temp_setpoint_c"
KINDS = ("loop", "cdu")  # kinds that have the setpoint
SETTLED_K = 1.5  # a loop further from its setpoint than this is on its way: wait
SMALLEST_K = 0.2  # smaller changes drown in what sensors read
SMALLEST_GAIN_FRAC = 0.001  # of facility power: smaller gains are not worth touching a plant for
FRESH_FRAC = 0.95  # GPUs behind a loop that must be heard
MOST_ALONE, MOST_TOGETHER = 8, 16  # setpoints in one plan: a few at a time
HOLD_S = 7200.0
EXPIRES_S = 600.0


class _Spot(NamedTuple):
    """One live setpoint: its asset (global position), value [°C], heat carried [W, NaN: not known], GPU power behind [W],
    hottest GPU behind at full load [°C], and the other spots that it cools."""

    position: int
    setpoint_c: float
    heat_w: float
    gpu_w: float
    hottest_c: float
    below: tuple[int, ...]


class _Move(NamedTuple):
    """Setpoints moved by the same amount at once: their positions and values [°C], and what ``Change`` needs."""

    positions: tuple[int, ...]
    setpoints_c: tuple[float, ...]
    plant: bool  # moves plant water
    gpus: bool  # moves what the GPUs feel
    water_c: float
    gap_k: float
    share: float
    gpu_w: float
    hottest_c: float


@dataclass(frozen=True, slots=True)
class SupplyTemperature:
    """Raises or lowers the supply setpoints of CDUs and loops by at most the metric's step."""

    params: Params = field(default_factory=Params)

    @property
    def name(self) -> str:
        """``supply_temperature``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The change that saves most facility power for certain, or None. ``jobs`` do not matter to this lever."""
        plant = _plant(site, state, outlook, now)
        if plant is None:
            return None
        spots = _spots(site, state, now, outlook.locked)
        plans = [
            self._plan(site, plant, moves, sign, outlook, now)
            for moves in (_alone(spots, plant, self.params), _together(spots, plant))
            for sign in (1.0, -1.0)
        ]
        return min((plan for plan in plans if plan), key=lambda plan: plan.effect.facility_power_w, default=None)

    def _room_k(self, plant: Plant, move: _Move, sign: float, most_k: float) -> float:
        """How far a move may go in the direction of ``sign`` [K, not negative], in whole tenths: ``most_k``, or less.

        Towards cold only where humidity is known (the air outside stands for the air inside, which is drier), and never so
        far that towers which carry heat alone would need chillers.
        """
        p, lowest_c, highest_c = self.params, min(move.setpoints_c), max(move.setpoints_c)
        if sign > 0:
            rooms = [most_k, min(p.highest_c, WATER_CLASS_C[p.water_class]) - highest_c]
            if move.gpus:
                rooms.append(p.throttle_c - p.throttle_margin_k - move.hottest_c)
        else:
            dew_c = plant.dew_c + p.dew_margin_k if math.isfinite(plant.dew_c) else math.inf
            rooms = [most_k, lowest_c - max(p.lowest_c, dew_c)]
            if move.plant and plant.mechanical_frac(p.chiller_cop_ratio.p50) < 1:
                rooms.append(move.water_c - plant.wet_peak_c - p.approach_k)
        if move.plant is not move.gpus and (sign > 0) is move.plant:
            rooms.append(move.gap_k - p.gap_k)  # the two waters come closer
        room_k = math.floor(max(min(rooms), 0.0) * 10 + 1e-6) / 10
        return room_k if room_k >= SMALLEST_K else 0.0

    def _plan(
        self, site: Site, plant: Plant, moves: Sequence[_Move], sign: float, outlook: Outlook, now: datetime
    ) -> Plan | None:
        rooms = [sign * self._room_k(plant, move, sign, _allowed_k(site, move, sign, outlook)) for move in moves]
        able = [(move, room_k) for move, room_k in zip(moves, rooms, strict=True) if room_k]
        if not able:
            return None
        gain_w = terms_w(plant, _change(able), self.params, self.params.middle).sum(axis=0)
        best = [able[i] for i in np.argsort(gain_w, kind="stable")[:MOST_ALONE] if gain_w[i] < 0]
        if not best:
            return None
        expected = effect(plant, _change(best), self.params, HOLD_S)
        if expected.high_w >= 0 or -expected.facility_power_w < SMALLEST_GAIN_FRAC * plant.facility_w:
            return None
        aims = sorted(
            (site.ids[i], _short(setpoint_c, room_k))
            for move, room_k in best
            for i, setpoint_c in zip(move.positions, move.setpoints_c, strict=True)
        )
        # the same proposal gets the same key, and the same end, for as long as it would be held
        period = int(now.timestamp() // HOLD_S)
        until = datetime.fromtimestamp((period + 2) * HOLD_S, UTC)
        text = ";".join([str(period), *(f"{asset}={aim}" for asset, aim in aims)])
        key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        actions = tuple(Action(asset, SETPOINT, aim, until, f"{key}/{asset}") for asset, aim in aims)
        *spared_w, leak_w = map(float, terms_w(plant, _change(best), self.params, self.params.middle).sum(axis=1))
        said = {
            "count": len(actions),
            "step_k": max(abs(room_k) for _, room_k in best),
            "saving_kw": -expected.facility_power_w / 1e3,
            "low_kw": -expected.high_w / 1e3,
            "high_kw": -expected.low_w / 1e3,
            "plant_kw": sum(spared_w) / 1e3,
            "leak_kw": leak_w / 1e3,
        }
        reason = Message(WARMER if sign > 0 else COLDER, said)
        return Plan(key, NAME, actions, reason, expected, now, now + timedelta(seconds=EXPIRES_S))


def _allowed_k(site: Site, move: _Move, sign: float, outlook: Outlook) -> float:
    """How far a move may go at once [K]: by the metrics' steps, and to the operator's bounds."""
    rooms: list[float] = []
    for position, setpoint_c in zip(move.positions, move.setpoints_c, strict=True):
        kind = site.kind(site.ids[position])
        low_c, high_c = outlook.bound(kind, SETPOINT)
        rooms += [metric(kind, SETPOINT).step or 0.0, high_c - setpoint_c if sign > 0 else setpoint_c - low_c]
    return min(rooms)


WARMER = (
    "Raise {count} supply temperatures by up to {step_k:.1f} K: saves {saving_kw:.1f} kW ({low_kw:.1f} to {high_kw:.1f}); "
    "cooling plant {plant_kw:+.1f} kW, GPU leakage {leak_kw:+.1f} kW"
)
COLDER = (
    "Lower {count} supply temperatures by up to {step_k:.1f} K: saves {saving_kw:.1f} kW ({low_kw:.1f} to {high_kw:.1f}); "
    "cooling plant {plant_kw:+.1f} kW, GPU leakage {leak_kw:+.1f} kW"
)


def _plant(site: Site, state: State, outlook: Outlook, now: datetime) -> Plant | None:
    """The plant's numbers, or None where one of them is missing or stale."""
    machines = [believed(state, kind, "power_w", now) for kind in ("chiller", "tower", "drycooler")]
    if not any(len(column) for column in machines):
        return None  # nobody knows what cools this site, so nobody knows what warmer water does
    still = chillers_on(machines[0], rated_chiller_w(site)).still
    machines[0] = np.where(still, 0.0, machines[0])  # who stands by carries no heat
    chiller_w, *fans_w = (float(column.sum()) for column in machines)
    pump_w = float(believed(state, "pump", "power_w", now)[site.within("pump", "cdu") < 0].sum())
    facility_w, it_w = (site_power_w(state, name, now) for name in ("facility_power_w", "it_power_w"))
    names = ("wet_bulb_c", "dry_bulb_c", "humidity_frac")
    wet_c, dry_c, humidity = (_first(believed(state, "weather", name, now)) for name in names)
    if not all(map(math.isfinite, (facility_w, it_w, wet_c, chiller_w, pump_w, *fans_w))) or not 0 < it_w <= facility_w:
        return None
    start_s, end_s = now.timestamp(), now.timestamp() + 2 * HOLD_S
    wet = np.append(outlook.within(outlook.wet_bulb_c, start_s, end_s), wet_c)
    load_w = outlook.within(outlook.it_power_w, start_s, end_s)
    scale = float(np.clip(load_w.mean() / it_w, 0.5, 1.5)) if len(load_w) else 1.0
    dew_c = dew_point_c(dry_c, humidity)
    return Plant(facility_w, it_w, chiller_w, sum(fans_w), pump_w, float(wet.mean()), float(wet.max()), dew_c, scale)


def _spots(site: Site, state: State, now: datetime, locked: AbstractSet[str] = frozenset()) -> dict[int, _Spot]:
    """Live setpoints by global position: of assets at their setpoint whose GPUs are heard.

    A chain in which one setpoint is stale, unsettled, deaf or ``locked`` is left out whole: moving its other ends would rest on
    it.
    """
    power_w, temp_c = (believed(state, "gpu", name, now) for name in ("power_w", "temp_c"))
    gpus = (power_w, temp_c, site.number("gpu", "rated_w"))
    rows = {kind: np.flatnonzero(state.newest(kind, SETPOINT).time_s > -np.inf) for kind in KINDS}  # ever read
    below: dict[int, tuple[int, ...]] = {}
    spots: dict[int, _Spot] = {}
    for kind in KINDS:
        columns = [believed(state, kind, name, now) for name in (SETPOINT, "supply_temp_c", "heat_w")]
        for row in rows[kind]:
            position = int(site.of_kind(kind)[row])
            reached = ((k, cooled_share(site, position, k)) for k in KINDS)
            below[position] = tuple(int(site.of_kind(k)[i]) for k, share in reached for i in rows[k] if share[i] > 0)
            setpoint_c, supply_c, heat_w = (float(column[row]) for column in columns)
            behind = _behind(cooled_share(site, position), supply_c, *gpus)
            free = site.ids[position] not in locked
            if behind and free and abs(setpoint_c - supply_c) <= SETTLED_K:  # not where one of them is NaN
                spots[position] = _Spot(position, setpoint_c, heat_w, *behind, below[position])
    doubtful = below.keys() - spots.keys()
    while doubtful:  # spreads along a chain, both ways
        spots = {i: spot for i, spot in spots.items() if i not in doubtful}
        doubtful = {i for i in spots for j in below.keys() - spots.keys() if i in below[j] or j in below[i]}
    return spots


def hottest_room_k(site: Site, state: State, params: Params, now: datetime) -> float:
    """How far the hottest GPU behind any live setpoint is from its bound at full load [K]; NaN where that can be told of
    none."""
    hottest = [spot.hottest_c for spot in _spots(site, state, now).values() if math.isfinite(spot.hottest_c)]
    return params.throttle_c - params.throttle_margin_k - max(hottest) if hottest else math.nan


def _behind(share: Floats, supply_c: float, power_w: Floats, temp_c: Floats, rated_w: Floats) -> tuple[float, float] | None:
    """Power [W] of the GPUs that a loop cools by ``share`` and their hottest temperature [°C]; None where too few of them
    are heard. Judged at their rated power, since load comes back faster than water cools; infinity where that cannot be told,
    as in a hall that idles: then nothing gets warmer."""
    mine = share > 0
    heard = mine & ~np.isnan(temp_c) & ~np.isnan(power_w)
    if not mine.any() or heard.sum() < FRESH_FRAC * mine.sum():
        return None
    hottest_c = supply_c + rise_at_load_k(temp_c[heard] - supply_c, power_w[heard], rated_w[heard])
    return float((power_w * share)[heard].sum() * (mine.sum() / heard.sum())), hottest_c


def _chains(spots: dict[int, _Spot]) -> list[tuple[_Spot, list[_Spot]]]:
    """Each setpoint that stands next to the plant, with those next to the GPUs below it (none: it is both)."""
    fed = {i for spot in spots.values() for i in spot.below}
    tops = [spot for i, spot in spots.items() if i not in fed]
    return [(top, [spots[i] for i in top.below if not spots[i].below]) for top in tops]


def _load(spot: _Spot, plant: Plant) -> float:
    """Part of the plant's load (0-1) that a spot carries."""
    return min((spot.heat_w if spot.heat_w >= 0 else spot.gpu_w) / plant.it_w, 1.0)


def _alone(spots: dict[int, _Spot], plant: Plant, params: Params) -> list[_Move]:
    moves: list[_Move] = []
    for top, leaves in _chains(spots):
        gap_k = min((leaf.setpoint_c - top.setpoint_c for leaf in leaves), default=math.nan)
        # with one water only, the plant's own is colder by what the exchanger needs
        water_c = top.setpoint_c if leaves else top.setpoint_c - params.gap_k
        moves.append(_move([top], True, not leaves, water_c, gap_k, top, plant))
        moves += [_move([leaf], False, True, water_c, leaf.setpoint_c - top.setpoint_c, leaf, plant) for leaf in leaves]
    return moves


def _together(spots: dict[int, _Spot], plant: Plant) -> list[_Move]:
    chains = [(top, leaves) for top, leaves in _chains(spots) if 0 < len(leaves) < MOST_TOGETHER]
    return [
        _move([top, *leaves], True, True, top.setpoint_c, min(leaf.setpoint_c - top.setpoint_c for leaf in leaves), top, plant)
        for top, leaves in chains[:1]  # one chain in a plan
    ]


def _move(
    moved: Sequence[_Spot], of_plant: bool, of_gpus: bool, water_c: float, gap_k: float, main: _Spot, plant: Plant
) -> _Move:
    positions = tuple(spot.position for spot in moved)
    setpoints_c = tuple(spot.setpoint_c for spot in moved)
    return _Move(positions, setpoints_c, of_plant, of_gpus, water_c, gap_k, _load(main, plant), main.gpu_w, main.hottest_c)


def _change(moves: Sequence[tuple[_Move, float]]) -> Change:
    """Columns of moves by so many kelvin."""
    rows = [(m.water_c, k * m.plant, k * m.gpus, m.gap_k, m.share, m.gpu_w * m.gpus) for m, k in moves]
    return Change(*np.array(rows, dtype=np.float64).T)


def _short(setpoint_c: float, change_k: float) -> float:
    """The new setpoint in hundredths, rounded towards the old one: never over the step."""
    rounded = math.floor if change_k > 0 else math.ceil
    return rounded(round((setpoint_c + change_k) * 100, 6)) / 100


def _first(column: Floats) -> float:
    """The value of the one asset of its kind, NaN where there is none."""
    return float(column[0]) if len(column) else math.nan


def build(params: Params | None = None) -> SupplyTemperature:
    """The lever with its documented parameters, or the plant's own."""
    return SupplyTemperature(params or Params())
