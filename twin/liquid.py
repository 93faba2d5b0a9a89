"""The liquid side as it should be: heat, flow and temperature of racks, CDUs and loops beside what their sensors say.

Each expectation leaves out the sensor that it is held against, so that one that lies shows at itself. Heat is reconciled
along the ``cools`` links by weighted least squares; temperatures and flows follow from shares, pump speed and exchanger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from twin.coolants import Heat, heat_of, names_of, primary_names_of
from twin.cooling import Cooling
from twin.flow import Flow, carry
from twin.frame import Floats, Ints, Origin
from twin.gains import Gather, Through, gains
from twin.params import Params
from twin.physics.cdu import carried_heat_w, exchanged_heat_w
from twin.reconcile import Reconciled, reconcile
from twin.site import Site
from twin.state import State

TURBULENT_EXPONENT = 0.8
MOST_LOADS = 2500  # sources of heat solved at once; a larger site has heat as the model has it, and no heat residuals


class Apart(NamedTuple):
    """What a sensor says less what it should, and the expected spread of that; NaN where either is not known."""

    residual: Floats
    spread: Floats


Key = tuple[str, str]  # kind, and what is apart: "heat", "primary_heat", "supply_temp", "return_temp", "flow"


@dataclass(frozen=True, slots=True, eq=False)
class Liquid:
    """``expected_w``: float64[racks], heat that a rack's power should set free in its liquid, after the delay of coolant and
    dies; ``heat_w``, ``sigma_w``: float64[N], reconciled heat into each asset of the ``cools`` relation and its standard
    uncertainty (NaN: not reconciled); ``apart``: residuals by kind and quantity, by row."""

    expected_w: Floats
    heat_w: Floats
    sigma_w: Floats
    apart: Mapping[Key, Apart]


class _Read:
    """Fresh columns of one kind."""

    def __init__(self, state: State, kind: str, now: datetime) -> None:
        self._state, self._kind, self._now = state, kind, now

    def __getattr__(self, name: str) -> Floats:
        return self._state.column(self._kind, name, self._now)


def solve_liquid(site: Site, state: State, params: Params, now: datetime, cooling: Cooling, cdu_heat_w: Floats) -> Liquid:
    """Everything that the liquid side should show. ``cdu_heat_w``: float64[cdus], heat by the secondary side's sensors."""
    racks = site.of_kind("rack")
    steady_w = cooling.heat.own[racks]
    expected_w = _lagged(state, params, now, steady_w)
    heat, sigma, apart = _heat(site, state, params, now, cooling, cdu_heat_w, expected_w)
    home = main_cooler(site, "cdu", "rack")
    if len(home) and (home >= 0).any():
        apart |= _racks(site, state, params, now, expected_w, np.abs(expected_w - steady_w), home)
    apart |= _cdus(site, state, params, now, home)
    return Liquid(expected_w, heat, sigma, apart)


def _lagged(state: State, params: Params, now: datetime, steady_w: Floats) -> Floats:
    """First-order delay from the value of the tick before; without one, as if it had long been so."""
    was = state.newest("rack", "expected_heat_w", Origin.MODELLED)
    gone_s = now.timestamp() - was.time_s
    known = (gone_s >= 0) & (gone_s < 5 * params.rack_lag_s)
    part = -np.expm1(-np.where(known, gone_s, np.inf) / params.rack_lag_s)
    delayed: Floats = np.where(known, was.value + part * (steady_w - was.value), steady_w)
    return np.asarray(np.round(delayed, 1), dtype=np.float64)


def main_cooler(site: Site, source: str, target: str) -> Ints:
    """int32[n]: row of the asset of kind ``source`` that cools most of each ``target``, -1 for none."""
    home, part = np.full(site.count(target), -1, dtype=np.int32), np.zeros(site.count(target))
    rows, targets, shares = site.linked("cools", source, target)
    for i in np.argsort(shares, kind="stable").tolist():
        home[targets[i]], part[targets[i]] = rows[i], shares[i]
    return home


# --- heat


def _heat(
    site: Site, state: State, params: Params, now: datetime, cooling: Cooling, cdu_heat_w: Floats, expected_w: Floats
) -> tuple[Floats, Floats, dict[Key, Apart]]:
    n, racks = len(site.ids), site.of_kind("rack")
    own = cooling.heat.own.copy()
    moved = np.abs(expected_w - own[racks])
    own[racks] = expected_w
    flow = carry(cooling.heat.links, own)
    at = np.flatnonzero(own).astype(np.int32)
    none = np.full(n, np.nan)
    if not len(at) or len(at) > MOST_LOADS or not np.isfinite(own).all() or not len(flow.links.source):
        return none, none, {}
    prior, sigma, loading = _prior(site, params, own, at, moved)
    through = gains(flow, at, np.zeros(n), np.zeros((n, 1)))
    gather, kinds = Gather(), []
    for kind, name, reading, spread in _readings(site, state, params, now, cdu_heat_w):
        here = site.of_kind(kind)
        seen = through.index[here] >= 0
        rows = np.zeros((len(here), len(at)))
        rows[seen] = through.into[through.index[here[seen]]]
        late = np.abs(rows) @ _moved(site, at, moved)
        said = np.isfinite(reading) & (rows != 0).any(axis=1)
        gather.add(here, rows, np.zeros((len(here), 1)), reading, np.hypot(spread, late))
        kinds += [(kind, name, int(row)) for row in np.flatnonzero(said)]
    found = reconcile(prior, sigma, loading, gather.all().meters)
    return *_into(flow, at, found, through), _split(site, kinds, gather.all().meters.reading_w, found)


def _moved(site: Site, at: Ints, moved_w: Floats) -> Floats:
    whole = np.zeros(len(site.ids))
    whole[site.of_kind("rack")] = moved_w
    return whole[at]


def _prior(site: Site, params: Params, own: Floats, at: Ints, moved: Floats) -> tuple[Floats, Floats, Floats]:
    doubt, racks = params.doubt, site.of_kind("rack")
    share = np.full(len(site.ids), 0.5)  # what is not a rack (air, pumps) is known badly and small
    common = np.full(len(site.ids), 0.0)
    own_share = params.learned.column(site, "rack:liquid_sigma_frac", doubt.liquid)
    learned = own_share != doubt.liquid
    share[racks] = own_share
    common[racks] = np.where(learned, 0.3 * own_share, doubt.liquid_common)
    sigma = np.hypot(share * np.abs(own), 1.0)
    sigma[racks] = np.hypot(sigma[racks], moved)
    return own[at], sigma[at], (common * own)[at, None]


def _readings(
    site: Site, state: State, params: Params, now: datetime, cdu_heat_w: Floats
) -> list[tuple[str, str, Floats, Floats]]:
    """Heat by sensors: (kind, name, reading [W], standard uncertainty [W])."""
    doubt, made = params.doubt, []
    rack, cdu, loop = (_Read(state, kind, now) for kind in ("rack", "cdu", "loop"))
    made.append(("rack", "heat", *_by_sensors(rack, _heat_of(site, "rack"), doubt.flow_meter, doubt.temp_k)))
    own, spread = _by_sensors(cdu, _heat_of(site, "cdu"), doubt.flow_meter, doubt.temp_k)
    made.append(("cdu", "heat", np.where(np.isnan(cdu_heat_w), own, cdu_heat_w), spread))
    into, back, kgps = cdu.primary_supply_temp_c, cdu.primary_return_temp_c, cdu.primary_flow_kgps
    cp_jpkgk = heat_of(primary_names_of(site))((into + back) / 2)
    primary = carried_heat_w(kgps, cp_jpkgk, back - into)
    spread = _sensor_w(primary, kgps * cp_jpkgk, back - into, doubt.flow_meter, doubt.temp_k)
    made.append(("cdu", "primary_heat", primary, spread))
    made.append(("loop", "heat", *_by_sensors(loop, _heat_of(site, "loop"), doubt.flow_meter, doubt.temp_k)))
    return made


def _heat_of(site: Site, kind: str) -> Heat:
    return heat_of(names_of(site, kind))


def _by_sensors(read: _Read, heat_jpkgk: Heat, flow_frac: float, temp_k: float) -> tuple[Floats, Floats]:
    """The device's own figure, else Q = ṁ · cp · ΔT; and its uncertainty from those of flow and temperatures."""
    rise = read.return_temp_c - read.supply_temp_c
    kgps, cp_jpkgk = read.flow_kgps, heat_jpkgk((read.return_temp_c + read.supply_temp_c) / 2)
    said = read.heat_w
    heat = np.where(np.isnan(said), carried_heat_w(kgps, cp_jpkgk, rise), said)
    return heat, _sensor_w(heat, kgps * cp_jpkgk, rise, flow_frac, temp_k)


def _sensor_w(heat_w: Floats, flow_wpk: Floats, rise_k: Floats, flow_frac: float, temp_k: float) -> Floats:
    """σ_Q = √((Q · σ_flow/flow)² + (ṁ · cp · √2 · σ_T)²) (JCGM 100:2008, 5.1.2): what thermometers do not know remains where
    there is no heat. ``flow_wpk``: ṁ · cp; where it does not read it is Q/ΔT, and 5 % of Q stand for a ΔT that does not."""
    rise = np.where(np.isnan(rise_k), 28 * temp_k, np.maximum(np.abs(rise_k), 0.5))
    carried_wpk = np.where(np.isnan(flow_wpk), heat_w / rise, flow_wpk)
    return np.asarray(np.hypot(heat_w * flow_frac, carried_wpk * np.sqrt(2) * temp_k))


def _into(flow: Flow, at: Ints, found: Reconciled, through: Through) -> tuple[Floats, Floats]:
    own = np.zeros(len(flow.own))
    own[at] = found.value_w
    heat = carry(flow.links, own).into
    sigma = np.full(len(own), np.nan)
    local = np.flatnonzero(through.index >= 0)
    sigma[local] = found.sigma_of(through.into[through.index[local]])
    return np.where(np.isfinite(sigma), heat, np.nan), sigma


def _split(site: Site, kinds: list[tuple[str, str, int]], reading_w: Floats, found: Reconciled) -> dict[Key, Apart]:
    apart: dict[Key, Apart] = {}
    for i, (kind, name, row) in enumerate(kinds):
        if (kind, name) not in apart:
            apart[kind, name] = Apart(*(np.full(site.count(kind), np.nan) for _ in range(2)))
        apart[kind, name].residual[row] = reading_w[i] - found.expected_w[i]
        apart[kind, name].spread[row] = found.spread_w[i]
    return apart


# --- flows and temperatures


def _racks(
    site: Site, state: State, params: Params, now: datetime, expected_w: Floats, moved_w: Floats, home: Ints
) -> dict[Key, Apart]:
    """Racks beside the CDU that cools them: share of its flow, its supply temperature, and the return that power makes."""
    doubt, learned = params.doubt, params.learned
    rack, cdu = _Read(state, "rack", now), _Read(state, "cdu", now)
    mine = home >= 0
    supply_c = _of_home(
        home, np.where(np.isnan(cdu.supply_temp_c), _medians(site, home, rack.supply_temp_c), cdu.supply_temp_c)
    )
    whole = np.where(np.isnan(cdu.flow_kgps), _sums(site, home, rack.flow_kgps), cdu.flow_kgps)
    share = learned.column(site, "rack:flow_share_frac", _even_shares(site, home))
    share_sigma = learned.column(site, "rack:flow_share_sigma_frac", np.hypot(doubt.flow_share, doubt.flow_meter))
    flow = share * _of_home(home, whole)
    drift_k = learned.column(site, "rack:supply_temp_offset_k", 0.0)
    width_k = learned.column(site, "rack:supply_temp_sigma_k", np.sqrt(2) * doubt.temp_k)
    rise = expected_w / (np.where(flow > 0, flow, np.nan) * _heat_of(site, "rack")(supply_c + 5.0))
    frac = learned.column(site, "rack:liquid_sigma_frac", np.hypot(doubt.liquid, doubt.liquid_common))
    late = np.divide(moved_w, np.abs(expected_w), out=np.zeros_like(moved_w), where=np.abs(expected_w) > 0)
    return_sigma = np.hypot(width_k, np.abs(rise) * np.hypot(np.hypot(frac, late), share_sigma))
    return {
        ("rack", "flow"): Apart(np.where(mine, rack.flow_kgps - flow, np.nan), share_sigma * np.abs(flow)),
        ("rack", "supply_temp"): Apart(np.where(mine, rack.supply_temp_c - supply_c - drift_k, np.nan), width_k),
        ("rack", "return_temp"): Apart(np.where(mine, rack.return_temp_c - supply_c - drift_k - rise, np.nan), return_sigma),
    }


def _even_shares(site: Site, home: Ints) -> Floats:
    rated = site.number("rack", "rated_kgps")
    rated = np.where(np.isnan(rated), site.number("rack", "rated_w", 1.0), rated)
    return rated / np.maximum(_of_home(home, _sums(site, home, rated)), 1e-9)


def _of_home(home: Ints, values: Floats) -> Floats:
    return np.where(home >= 0, values[home], np.nan) if len(values) else np.full(len(home), np.nan)


def _sums(site: Site, home: Ints, values: Floats) -> Floats:
    known = (home >= 0) & ~np.isnan(values)
    total = np.bincount(home[known], weights=values[known], minlength=site.count("cdu"))
    return np.where(np.bincount(home[known], minlength=len(total)) > 0, total, np.nan)


def _medians(site: Site, home: Ints, values: Floats) -> Floats:
    made = np.full(site.count("cdu"), np.nan)
    for c in np.unique(home[(home >= 0) & ~np.isnan(values)]).tolist():
        made[c] = np.nanmedian(values[home == c])
    return made


def _cdus(site: Site, state: State, params: Params, now: datetime, home: Ints) -> dict[Key, Apart]:
    """CDUs: flow that the pump's speed should give, supply that the exchanger should reach, return that the racks send."""
    doubt, learned, cdu, rack = params.doubt, params.learned, _Read(state, "cdu", now), _Read(state, "rack", now)
    rated = site.number("cdu", "rated_kgps")
    per_speed = learned.column(site, "cdu:flow_per_speed_kgps", rated / params.plant.cdu_speed_frac)
    flow_sigma = learned.column(site, "cdu:flow_sigma_frac", np.hypot(doubt.pump_flow, doubt.flow_meter))
    flow = per_speed * cdu.pump_speed_frac
    back, kgps = cdu.return_temp_c, cdu.flow_kgps
    hot = kgps * _heat_of(site, "cdu")(back)
    cold = cdu.primary_flow_kgps * heat_of(primary_names_of(site))(cdu.primary_supply_temp_c)
    conductance = exchanger_wpk(site, params, kgps, cdu.primary_flow_kgps)
    sound = (hot > 0) & (cold > 0) & (conductance > 0)
    args = (np.where(sound, column, np.nan) for column in (back, cdu.primary_supply_temp_c, hot, cold, conductance))
    passed = exchanged_heat_w(*args)
    frac = learned.column(site, "cdu:conductance_sigma_frac", 0.4 * doubt.exchanger)
    learnt = ~np.isnan(learned.column(site, "cdu:conductance_wpk", np.nan))
    width = np.where(learnt, frac * np.abs(passed / hot), np.hypot(frac * np.abs(passed / hot), 2 * doubt.temp_k))
    mixed = _sums(site, home, rack.return_temp_c * rack.flow_kgps) / _sums(site, home, rack.flow_kgps)
    return {
        ("cdu", "flow"): Apart(kgps - flow, flow_sigma * np.abs(flow)),
        ("cdu", "supply_temp"): Apart(cdu.supply_temp_c - (back - passed / hot), width),
        ("cdu", "return_temp"): Apart(back - mixed, np.full(len(back), np.sqrt(2) * doubt.temp_k)),
    }


def exchanger_wpk(site: Site, params: Params, flow_kgps: Floats, primary_kgps: Floats) -> Floats:
    """float64[cdus]: UA [W/K] of each CDU's exchanger at these flows; turbulent on both sides, see ``thinned_frac``."""
    rated = site.number("cdu", "rated_kgps")
    exponent = params.learned.column(site, "cdu:conductance_exponent", TURBULENT_EXPONENT)
    return exchanger_clean_wpk(site, params) * thinned_frac(flow_kgps / rated, primary_kgps / rated, exponent)


def exchanger_clean_wpk(site: Site, params: Params) -> Floats:
    """float64[cdus]: UA [W/K] at the unit's rated flow on both sides: calibrated, else by ``cdu_ntu``; NaN where the unit has
    neither that nor a rated flow."""
    design = params.plant.cdu_ntu * site.number("cdu", "rated_kgps") * _heat_of(site, "cdu")(np.full(site.count("cdu"), 35.0))
    return params.learned.column(site, "cdu:conductance_wpk", design)


def thinned_frac(secondary_frac: Floats, primary_frac: Floats, exponent: Floats | float = TURBULENT_EXPONENT) -> Floats:
    """Share of its design UA that an exchanger has at shares of design flow, with equal resistance on both sides at design.

    1/UA = ½ (x₁^-n + x₂^-n) / UA_design: film coefficients go with flow to the power 0.8 (Dittus-Boelter, Incropera equation
    8.60), UA by less as the wall and fouling add to it; calibration finds n where flows vary enough.
    """
    thin = np.maximum(secondary_frac, 1e-6) ** -np.asarray(exponent) + np.maximum(primary_frac, 1e-6) ** -np.asarray(exponent)
    return np.asarray(2.0 / thin)
