"""What the lever ``tune`` may set at a site, what it reads of it, and how settings become orders.

Two waters, how many chillers run and how fast fans turn: the plant loop's and the CDUs' supply temperatures, the most chillers
that the plant's sequence may run at once, and the highest speed that the fans of its towers may reach, where a site has those
setpoints. All chillers and towers stay in service; the plant's own control goes on below both by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from energy.levers.supply_temperature import KINDS, SETPOINT
from energy.reach import cooled_share
from energy.tune.fans import LEAST
from energy.tune.tuner import Reading
from twin.chillers import chillers_on, rated_chiller_w
from twin.frame import Floats
from twin.metrics import metric
from twin.params import PlantParams
from twin.site import Site

LIMIT = "chillers_limit_count"  # of the plant loop: how many chillers its sequence may run at once
FAN_LIMIT = "fan_limit_frac"  # of towers: how fast their fans may turn at most
FAN_SPEED = "fan_speed_frac"
MOST = 12  # setpoints in one plan: two plans an hour are what the guard lets pass
ALIKE = 1.2  # the largest chiller over the smallest: a number tells nothing of those that differ more
COLD_KINDS = ("chiller", "tower", "drycooler")
SAME_K = 0.04  # nearer than this is the same setting: below any grid

Get = Callable[[str, str], Floats]  # (kind, metric) -> a value for each asset
Aim = tuple[str, str, float]  # asset, metric, value


class Running(NamedTuple):
    """How many chillers run, how many may, how fast fans turn, how near the wet bulb towers come, and the range of plant water;
    NaN where that is not known."""

    running_count: float
    most_count: float
    speed_frac: float = math.nan
    near_k: float = math.nan
    range_k: float = math.nan

    @property
    def in_force(self) -> float:
        """The number that holds now: those that run, one where none does, never more than may; NaN where they are silent."""
        least = float(np.maximum(self.running_count, 1.0))
        return least if math.isnan(self.most_count) else float(np.minimum(least, self.most_count))


@dataclass(frozen=True, slots=True)
class Chain:
    """Setpoints that are tuned: rows of ``loop`` and of ``cdu``. Where no loop above CDUs has one, CDUs alone. ``chillers``:
    rows of those of the loop whose number can be set; ``unit_w``: what one carries at design [W]. ``fans``: rows of the towers
    above the loop, where the speed of their fans can be limited; ``fan_w``: what those take in full, ``chilled_w``: the heat
    that chillers beside them carry together [W]."""

    loop: tuple[int, ...]
    cdu: tuple[int, ...]
    chillers: tuple[int, ...] = ()
    unit_w: float = 0.0
    fans: tuple[int, ...] = ()
    fan_w: float = 0.0
    chilled_w: float = 0.0

    @property
    def waters(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Supply temperatures, by knob: kind, metric and rows."""
        return [*([("loop", SETPOINT, self.loop)] if self.loop else []), ("cdu", SETPOINT, self.cdu)]

    @property
    def count(self) -> int:
        """How many setpoints there are."""
        return len(self.loop) + len(self.cdu) + bool(self.chillers) + len(self.fans)

    def held_back(self, get: Get) -> bool:
        """Whether chillers or fans may do less now than by themselves; also where that is not known."""
        few = bool(self.chillers) and not float(get("loop", LIMIT)[self.loop[0]]) >= len(self.chillers)
        return few or not bool((get("tower", FAN_LIMIT)[list(self.fans)] > 1.0 - SAME_K).all())


def chain_of(site: Site, get: Get) -> Chain | None:
    """The one plant loop with a setpoint above CDUs that have theirs; None where CDUs have none, or there are more plants."""
    rows = {kind: np.flatnonzero(np.isfinite(get(kind, SETPOINT))) if site.count(kind) else np.empty(0, int) for kind in KINDS}
    cdus = site.of_kind("cdu")
    tops = [int(i) for i in rows["loop"] if cooled_share(site, int(site.of_kind("loop")[i]), "cdu").any()]
    if not len(rows["cdu"]) or len(rows["cdu"]) != len(cdus) or len(tops) > 1:
        return None
    made = Chain(tuple(tops), tuple(int(i) for i in rows["cdu"]))
    return _with_fans(site, _with_chillers(site, made, get), get) if tops else made


def _with_chillers(site: Site, chain: Chain, get: Get) -> Chain:
    """With the chillers that cool its loop, where how many of them run can be set and they are alike."""
    if not np.isfinite(get("loop", LIMIT)[chain.loop[0]]):
        return chain
    mine = _above(site, "chiller", chain)
    each_w = _carried_w(site)[mine]
    if not mine or not each_w.max() <= ALIKE * each_w.min():  # nor where one is not known
        return chain
    return replace(chain, chillers=tuple(mine), unit_w=float(each_w.mean()))


def _with_fans(site: Site, chain: Chain, get: Get) -> Chain:
    """With the towers above its loop, where the fans of all of them can be limited and tell their speed and their water's
    temperature, the loop tells what comes back, chillers of a known size stand beside them, and a plan still holds all
    setpoints. Without chillers fans run in full whenever it would matter."""
    mine, dry = _above(site, "tower", chain), _above(site, "drycooler", chain)
    chilled_w = float(_carried_w(site)[_above(site, "chiller", chain)].sum())
    if not mine or dry or not chilled_w > 0 or chain.count + len(mine) > MOST:
        return chain
    told = [(get("tower", name), mine) for name in (FAN_LIMIT, FAN_SPEED, "supply_temp_c")]
    told.append((get("loop", "return_temp_c"), list(chain.loop)))
    if not all(np.isfinite(column[at]).all() for column, at in told):
        return chain
    fan_w = float(site.number("tower", "rated_w")[mine].sum())
    fan_w = chilled_w * PlantParams().tower_fan_frac if math.isnan(fan_w) else fan_w
    return replace(chain, fans=tuple(mine), fan_w=fan_w, chilled_w=chilled_w)


def _above(site: Site, kind: str, chain: Chain) -> list[int]:
    """Rows of ``kind`` that cool its loop."""
    return [i for i, at in enumerate(site.of_kind(kind)) if cooled_share(site, int(at), "loop")[chain.loop[0]] > 0]


def _carried_w(site: Site) -> Floats:
    """float64[n]: heat that each chiller carries at design [W], NaN where neither that nor its power is known."""
    heat_w, power_w = site.number("chiller", "rated_heat_w"), site.number("chiller", "rated_w")
    return np.asarray(np.where(np.isnan(heat_w), power_w * PlantParams().chiller_cop, heat_w))


def running_of(site: Site, chain: Chain, get: Get) -> Running:
    """How many of its chillers run, how fast its fans turn, how near they come, and the range of its water; NaN where one is
    silent."""
    turned = _turned_of(chain, get)
    if not chain.chillers:
        return Running(math.nan, math.nan, *turned)
    rows = list(chain.chillers)
    power_w = get("chiller", "power_w")[rows]
    number = float(chillers_on(power_w, rated_chiller_w(site)[rows]).runs.sum()) if np.isfinite(power_w).all() else math.nan
    return Running(number, float(get("loop", LIMIT)[chain.loop[0]]), *turned)


def _turned_of(chain: Chain, get: Get) -> tuple[float, float, float]:
    """Speed of its fans, how far above the wet bulb its towers leave water [K], and range of the plant's [K]."""
    if not chain.fans:
        return math.nan, math.nan, math.nan
    warm_c, cold_c = (_mean(get("loop", name)[list(chain.loop)]) for name in ("return_temp_c", "supply_temp_c"))
    speed, leaving_c = (_mean(get("tower", name)[list(chain.fans)]) for name in (FAN_SPEED, "supply_temp_c"))
    return speed, leaving_c - _mean(get("weather", "wet_bulb_c")), warm_c - cold_c


def over_k(chain: Chain, get: Get) -> float:
    """How far plant water is over its setpoint [K]; NaN where that is not known, 0 where only waters are tuned."""
    if not chain.chillers and not chain.fans:
        return 0.0
    row = chain.loop[0]
    return float(get("loop", "supply_temp_c")[row] - get("loop", SETPOINT)[row])


def reading_of(site: Site, chain: Chain, get: Get, time_s: float) -> Reading:
    """What the site says, its load still in watts [``load_frac``]; margins are added by who knows the chips."""
    settings = np.array([_mean(get(kind, name)[list(rows)]) for kind, name, rows in chain.waters])
    if chain.chillers:
        settings = np.append(settings, running_of(site, chain, get).in_force)
    if chain.fans:
        settings = np.append(settings, _mean(get("tower", FAN_LIMIT)[list(chain.fans)]))
    it_w = _mean(get("site", "it_power_w"))
    chill_w, *fans_w = (float(get(kind, "power_w").sum()) for kind in COLD_KINDS)
    pump_w = float(get("pump", "power_w").sum())
    parts = {"it": it_w, "cold": chill_w + sum(fans_w), "chill": chill_w, "fan": sum(fans_w), "pump": pump_w}
    dry_c, wet_c = (_mean(get("weather", name)) for name in ("dry_bulb_c", "wet_bulb_c"))
    return Reading(time_s, settings, dry_c, wet_c, it_w, parts, {})


def aims_of(site: Site, chain: Chain, begin: Floats, settings: Floats, base: Floats, get: Get) -> list[Aim]:
    """Each setpoint moved by its knob's move from ``begin`` to ``settings`` [k], at most its step; those not read stay. A knob
    that rests away from the site's own setting (``base``) is ordered where it stands: what nobody renews goes back."""
    made = []
    count = len(chain.waters)
    moved = [(*water, i) for i, water in enumerate(chain.waters)]
    moved += [("tower", FAN_LIMIT, chain.fans, len(settings) - 1)] if chain.fans else []
    for kind, name, rows, i in moved:
        step, by, off = metric(kind, name).step or 0.0, float((settings - begin)[i]), float((settings - base)[i])
        for row in rows:
            value = round(float(get(kind, name)[row]) + float(np.clip(by, -step, step)), 2)
            value = min(max(value, LEAST), 1.0) if name == FAN_LIMIT else value
            if math.isfinite(value) and max(abs(by), abs(off)) > SAME_K:
                made.append((site.ids[int(site.of_kind(kind)[row])], name, value))
    if chain.chillers:
        most = float(get("loop", LIMIT)[chain.loop[0]])
        # a number that holds nothing back is not ordered
        if settings[count] < begin[count] or (most < base[count] and settings[count] < base[count]):
            made.append((site.ids[int(site.of_kind("loop")[chain.loop[0]])], LIMIT, float(round(settings[count]))))
    return sorted(made)


def _mean(column: Floats) -> float:
    """Mean of what is there; NaN where one is silent or nothing is there."""
    return float(column.mean()) if len(column) else math.nan


def last_of(column: Floats) -> Floats:
    """The newest value of each asset that has one: float64[n] of float64[t, n]."""
    if not len(column):
        return np.full(column.shape[1], np.nan)
    at = len(column) - 1 - np.isfinite(column)[::-1].argmax(axis=0)
    return np.asarray(column[at, np.arange(column.shape[1])])
