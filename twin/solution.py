"""The centre solved for one moment: IT, heat, machines, losses; by physics alone, or reconciled with every meter that reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from twin.cooling import Cooling, solve_cooling
from twin.demand import Demand, it_demand
from twin.flow import Flow, carrier, carry, contained, is_source, is_target, places_of, spread
from twin.frame import Floats
from twin.losses import CHAIN, LossOf, losses_of
from twin.meters import Metered, read_meters
from twin.params import Params
from twin.powerbalance import Loads, PowerBalance, balance_power
from twin.site import Bools, Site
from twin.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """The site in W, NaN where it cannot be said: a site that describes no cooling plant has no cooling power, one that
    describes no power chain no losses, and neither then has a facility power. ``house_w``: what else the centre draws (light,
    offices); reconciled, it is what the meter at the connection sees beyond the rest, and may be below 0 by their errors."""

    it_w: float
    cooling_w: float
    loss_w: float
    house_w: float = 0.0

    @property
    def facility_w(self) -> float:
        """IT, cooling, losses and house."""
        return self.it_w + self.cooling_w + self.loss_w + self.house_w

    @property
    def pue(self) -> float:
        """Facility over IT power."""
        return self.facility_w / self.it_w if self.it_w > 0 else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The balance of one moment, everything filled in. ``heard_frac``: float64[N], share heard of the IT behind (or in) each
    asset, weighed by ``swing_w``; what has no IT behind it has the site's. ``balance``: how meters were weighed (None: physics
    alone)."""

    demand: Demand
    metered: Metered
    cooling: Cooling
    power: Flow
    heard_frac: Floats
    totals: Totals
    balance: PowerBalance | None = None

    @property
    def pue(self) -> float:
        """Facility over IT power; of a site that does not describe all that is beside IT, what its meter takes in over modelled
        IT; NaN where that is silent too."""
        t = self.totals
        if math.isfinite(t.pue) or not t.it_w > 0:
            return t.pue
        return float(self.metered.facility.value[0]) / t.it_w


def solve(site: Site, state: State, params: Params, now: datetime) -> Solution:
    """Demand of IT, then heat and the plant that carries it away, then losses up the power chain. Physics alone: a meter's
    reading stands in only for what says nothing itself."""
    metered = read_meters(site, state, now)
    demand = it_demand(site, state, params, now, metered.rack.value)
    cooling = solve_cooling(site, state, params, now, demand)
    return _solution(site, params, metered, demand, cooling, losses_of(site, params), heard_share(site, demand))


def reconciled(site: Site, state: State, params: Params, now: datetime, physics: Solution) -> Solution:
    """``physics`` brought together with all power meters that read; conserved as before."""
    s = physics
    whole = math.isfinite(s.totals.facility_w)
    facility_w = float(s.metered.facility.value[0]) if whole else math.nan
    losses = losses_of(site, params)
    b = balance_power(site, state, params, now, s.demand, s.cooling.electric, s.power, losses, facility_w)
    if not b.solved:
        return replace(s, balance=b)
    cooling = solve_cooling(site, state, params, now, b.demand, b.machine_w)
    made = _solution(site, params, s.metered, b.demand, cooling, losses_of(site, params, b.loss_ratio), s.heard_frac)
    return replace(made, balance=b, totals=replace(made.totals, house_w=b.house_w))


def _solution(
    site: Site, params: Params, metered: Metered, demand: Demand, cooling: Cooling, losses: LossOf, heard: Floats
) -> Solution:
    fed = is_target(site, "feeds")
    own = spread(site, carrier(site, demand.position, fed), demand.power_w)
    machines = places_of(cooling.electric)
    own += spread(site, carrier(site, machines, fed), cooling.electric[machines])
    power = carry(site.links["feeds"], own, losses)
    feeding = is_source(site, "feeds")
    has_chain = any(feeding[site.of_kind(kind)].any() for kind in CHAIN)
    totals = Totals(
        float(demand.power_w.sum()) if len(demand.power_w) else math.nan,
        float(cooling.electric.sum()) if cooling.described else math.nan,
        float(power.loss.sum()) if has_chain else math.nan,
        params.house_w,
    )
    return Solution(demand, metered, cooling, power, heard, totals)


def heard_overall(d: Demand) -> float:
    """Share of all that there is to hear that was heard, 0 where there is nothing."""
    whole = float(d.swing_w.sum())
    return float((d.swing_w * d.heard_frac).sum()) / whole if whole > 0 else 0.0


def heard_share(site: Site, d: Demand) -> Floats:
    """float64[N]: share of IT heard behind each asset: along ``feeds`` and ``cools`` for devices, by containment for places."""
    whole, part = np.zeros(len(site.ids)), np.zeros(len(site.ids))
    for relation in ("cools", "feeds"):
        at = carrier(site, d.position, is_target(site, relation))
        links = site.links[relation]
        for total, weight in ((whole, d.swing_w), (part, d.swing_w * d.heard_frac)):
            behind = carry(links, spread(site, at, weight)).into
            np.copyto(total, behind, where=is_source(site, relation))
    for total, weight in ((whole, d.swing_w), (part, d.swing_w * d.heard_frac)):
        inside = contained(site, d.position, weight)
        np.copyto(total, inside, where=_is_place(site))
    overall = heard_overall(d)
    share: Floats = np.divide(part, whole, out=np.full(len(whole), overall), where=whole > 0)
    return share


def _is_place(site: Site) -> Bools:
    place = np.zeros(len(site.ids), dtype=np.bool_)
    for kind in ("site", "hall", "row", "rack"):
        place[site.of_kind(kind)] = True
    return place


def uncertainty(s: Solution, params: Params) -> Mapping[str, float]:
    """Standard uncertainty of each of the site's totals, by metric [W; PUE: 1].

    Pieces of IT with standard uncertainty σ_i and the share ρ of their variance in common: σ² = ρ·(Σσ_i)² + (1-ρ)·Σσ_i² (JCGM
    100:2008, 5.2.2, with equal correlation); meters narrow that by least squares. All totals are sums over the same loads, so
    that what they have in common is counted once; PUE is free of it, but that of a metered facility, whose error is IT's.
    Without a balance (too many loads to solve at once) the same by hand.
    """
    t, doubt, b = s.totals, params.doubt, s.balance
    blind = math.sqrt(doubt.blind_cooling**2 - doubt.cooling**2) * t.cooling_w if s.cooling.assumed else 0.0
    if b is not None and b.whole:
        loads, through = b.loads, b.through
        it, machine = loads.it * 1.0, _machines(loads)
        rows = np.stack([it, machine, through.total - 1.0, through.total])
        lifts = np.stack([0 * through.total_lifts, 0 * through.total_lifts, through.total_lifts, through.total_lifts])
        if t.it_w > 0 and math.isfinite(t.pue):
            rows = np.vstack([rows, (through.total - t.pue * it) / t.it_w])
            lifts = np.vstack([lifts, through.total_lifts / t.it_w])
        sigma = [*b.sigma_w(rows, lifts).tolist(), math.nan]
    else:
        each = s.demand.sigma_w
        alone = math.sqrt(doubt.common_frac * each.sum() ** 2 + (1 - doubt.common_frac) * (each**2).sum())
        part = alone / t.it_w if t.it_w > 0 else math.nan
        own = (doubt.cooling * t.cooling_w, doubt.loss * t.loss_w)
        over = math.hypot(*own, doubt.house * float(s.demand.nominal_w.sum()))
        sigma = [alone, math.hypot(own[0], part * t.cooling_w), math.hypot(own[1], part * t.loss_w)]
        sigma += [math.hypot(over, part * t.facility_w), over / t.it_w if t.it_w > 0 else math.nan]
    pue_sigma = math.nan
    if t.it_w > 0:
        pue_sigma = math.hypot(sigma[4], blind / t.it_w) if math.isfinite(t.pue) else s.pue * sigma[0] / t.it_w
    return {
        "it_power_w": sigma[0],
        "cooling_power_w": math.hypot(sigma[1], blind),
        "loss_power_w": sigma[2],
        "facility_power_w": math.hypot(sigma[3], blind),
        "pue_ratio": pue_sigma,
    }


def _machines(loads: Loads) -> Floats:
    made = np.zeros(len(loads.carrier))
    made[loads.machine_of] = 1.0
    return made
