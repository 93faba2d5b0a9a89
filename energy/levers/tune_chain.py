"""What the lever ``tune`` may set at a site, what it reads of it, and how settings become orders.

Two waters, and how many chillers run: the plant loop's and the CDUs' supply temperatures, and the most that the plant's
sequence may run at once, where a site has that setpoint. All chillers stay in service; the sequence goes on below that number
by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from energy.levers.supply_temperature import KINDS, SETPOINT
from energy.reach import cooled_share
from energy.tune.tuner import Reading
from twin.frame import Floats
from twin.metrics import metric
from twin.params import PlantParams
from twin.site import Site

LIMIT = "chillers_limit_count"  # of the plant loop: how many chillers its sequence may run at once
RUNS_FRAC = 0.05  # of its rated power: a chiller that takes more runs; less is controls and an oil heater
ALIKE = 1.2  # the largest chiller over the smallest: a number tells nothing of those that differ more
COLD_KINDS = ("chiller", "tower", "drycooler")
SAME_K = 0.04  # nearer than this is the same setting: below any grid

Get = Callable[[str, str], Floats]  # (kind, metric) -> a value for each asset
Aim = tuple[str, str, float]  # asset, metric, value


class Running(NamedTuple):
    """How many chillers run, and how many may; NaN where that is not known."""

    running_count: float
    most_count: float

    @property
    def in_force(self) -> float:
        """The number that holds now: those that run, one where none does, never more than may; NaN where they are silent."""
        least = float(np.maximum(self.running_count, 1.0))
        return least if math.isnan(self.most_count) else float(np.minimum(least, self.most_count))


@dataclass(frozen=True, slots=True)
class Chain:
    """Setpoints that are tuned: rows of ``loop`` and of ``cdu``. Where no loop above CDUs has one, CDUs alone. ``chillers``:
    rows of those of the loop whose number can be set; ``unit_w``: what one carries at design [W]."""

    loop: tuple[int, ...]
    cdu: tuple[int, ...]
    chillers: tuple[int, ...] = ()
    unit_w: float = 0.0

    @property
    def waters(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Supply temperatures, by knob: kind, metric and rows."""
        return [*([("loop", SETPOINT, self.loop)] if self.loop else []), ("cdu", SETPOINT, self.cdu)]


def chain_of(site: Site, get: Get) -> Chain | None:
    """The one plant loop with a setpoint above CDUs that have theirs; None where CDUs have none, or there are more plants."""
    rows = {kind: np.flatnonzero(np.isfinite(get(kind, SETPOINT))) if site.count(kind) else np.empty(0, int) for kind in KINDS}
    cdus = site.of_kind("cdu")
    tops = [int(i) for i in rows["loop"] if cooled_share(site, int(site.of_kind("loop")[i]), "cdu")[rows["cdu"]].any()]
    if not len(rows["cdu"]) or len(rows["cdu"]) != len(cdus) or len(tops) > 1:
        return None
    made = Chain(tuple(tops), tuple(int(i) for i in rows["cdu"]))
    return _with_chillers(site, made, get) if tops else made


def _with_chillers(site: Site, chain: Chain, get: Get) -> Chain:
    """With the chillers that cool its loop, where how many of them run can be set and they are alike."""
    limit = get("loop", LIMIT)
    if not (len(limit) and np.isfinite(limit[chain.loop[0]])):
        return chain
    mine = [i for i, at in enumerate(site.of_kind("chiller")) if cooled_share(site, int(at), "loop")[chain.loop[0]] > 0]
    each_w = _carried_w(site)[mine]
    if not mine or not (np.isfinite(each_w).all() and each_w.max() <= ALIKE * each_w.min()):
        return chain
    return replace(chain, chillers=tuple(mine), unit_w=float(each_w.mean()))


def _carried_w(site: Site) -> Floats:
    """float64[n]: heat that each chiller carries at design [W], NaN where neither that nor its power is known."""
    heat_w, power_w = site.number("chiller", "rated_heat_w"), site.number("chiller", "rated_w")
    return np.asarray(np.where(np.isnan(heat_w), power_w * PlantParams().chiller_cop, heat_w))


def running_of(site: Site, chain: Chain, get: Get) -> Running:
    """How many of its chillers run; NaN where one is silent. Where nobody tells how many may, all may."""
    if not chain.chillers:
        return Running(math.nan, math.nan)
    rows, limit = list(chain.chillers), get("loop", LIMIT)
    least_w = RUNS_FRAC * _carried_w(site)[rows] / PlantParams().chiller_cop
    power_w = get("chiller", "power_w")[rows]
    most = float(limit[chain.loop[0]]) if len(limit) else math.nan
    number = float((power_w > least_w).sum()) if np.isfinite(power_w).all() else math.nan
    return Running(number, most)


def over_k(chain: Chain, get: Get) -> float:
    """How far plant water is over its setpoint [K]; NaN where that is not known, 0 where no chillers are tuned."""
    if not chain.chillers:
        return 0.0
    row = chain.loop[0]
    return float(get("loop", "supply_temp_c")[row] - get("loop", SETPOINT)[row])


def reading_of(site: Site, chain: Chain, get: Get, time_s: float) -> Reading:
    """What the site says, its load still in watts [``load_frac``]; margins are added by who knows the chips."""
    settings = np.array([_mean(get(kind, name)[list(rows)]) for kind, name, rows in chain.waters])
    if chain.chillers:
        settings = np.append(settings, running_of(site, chain, get).in_force)
    it_w = _mean(get("site", "it_power_w"))
    cold_w = float(sum(get(kind, "power_w").sum() for kind in COLD_KINDS))
    pump_w = float(get("pump", "power_w").sum())
    parts = {"it": it_w, "cold": cold_w, "pump": pump_w}
    dry_c, wet_c = (_mean(get("weather", name)) for name in ("dry_bulb_c", "wet_bulb_c"))
    return Reading(time_s, settings, dry_c, wet_c, it_w, parts, {})


def aims_of(site: Site, chain: Chain, begin: Floats, settings: Floats, base: Floats, get: Get) -> list[Aim]:
    """Each setpoint moved by its knob's move from ``begin`` to ``settings`` [k], at most its step; those not read stay. A knob
    that rests away from the site's own setting (``base``) is ordered where it stands: what nobody renews goes back."""
    made = []
    for (kind, name, rows), by_k, off_k in zip(
        chain.waters, (settings - begin).tolist(), (settings - base).tolist(), strict=False
    ):
        step = metric(kind, name).step or 0.0
        for row in rows:
            now_c = float(get(kind, name)[row])
            value = round(now_c + float(np.clip(by_k, -step, step)), 2)
            if math.isfinite(value) and max(abs(by_k), abs(off_k)) > SAME_K:
                made.append((site.ids[int(site.of_kind(kind)[row])], name, value))
    if chain.chillers:
        most = float(get("loop", LIMIT)[chain.loop[0]])
        # a number that holds nothing back is not ordered
        if settings[-1] < begin[-1] or (most < base[-1] and settings[-1] < base[-1]):
            made.append((site.ids[int(site.of_kind("loop")[chain.loop[0]])], LIMIT, float(round(settings[-1]))))
    return sorted(made)


def _mean(column: Floats) -> float:
    """Mean of what is there; NaN where one is silent or nothing is there."""
    return float(column.mean()) if len(column) else math.nan


def last_of(column: Floats) -> Floats:
    """The newest value of each asset that has one: float64[n] of float64[t, n]."""
    if not len(column):
        return np.full(column.shape[1], np.nan)
    known = np.isfinite(column)
    at = len(column) - 1 - known[::-1].argmax(axis=0)
    return np.asarray(np.where(known.any(axis=0), column[at, np.arange(column.shape[1])], np.nan))
