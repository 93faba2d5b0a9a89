"""Where the heat goes and what it costs to carry it: rack to CDU or air, to the facility loop, to the air outside."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from twin.demand import Demand
from twin.flow import Flow, carrier, carry, is_target, places_of, spread
from twin.frame import Floats, Ints
from twin.params import Params
from twin.physics.cdu import needed_cold_c
from twin.physics.drycooler import entering_c
from twin.physics.plant import PlantPower, PlantSize, plant_power
from twin.physics.pump import affine_power_w
from twin.physics.tower import fan_power_w
from twin.site import Bools, Site
from twin.state import State

_REJECTS = ("chiller", "tower", "drycooler")
LEAST_LIMIT_FRAC = 0.125  # of fans: the tower's correlation ends at eight times design water to air


@dataclass(frozen=True, slots=True, eq=False)
class Cooling:
    """The solved heat balance.

    ``heat``: the ``cools`` relation [W of heat]; ``electric``: float64[N], electrical power into each asset for cooling (air
    handlers at their hall; what has no asset of its own at the site); ``of_hall``: float64[halls], what of that stands in
    each; ``indoor_w``: power of air handlers and CDU pumps; ``plant``: the plant's power as modelled; ``assumed``: the
    weather is silent and was assumed; ``described``: the site has something that gives heat to the air outside.
    """

    heat: Flow
    electric: Floats
    of_hall: Floats
    indoor_w: float
    plant: PlantPower
    assumed: bool
    described: bool


def solve_cooling(
    site: Site, state: State, params: Params, now: datetime, demand: Demand, known_w: Floats | None = None
) -> Cooling:
    """Heat of ``demand`` up the ``cools`` links, then the machines' power; ``known_w``: float64[N], power of halls' air
    handlers and of machines where it is known better than by the model (NaN: it is not; None: of none).

    All of IT's power becomes heat. Of what stands in something that a CDU or loop cools, ``liquid_frac`` goes there; of what
    other machines cool, all goes there; the rest goes into the room's air. Air handlers and CDU pumps add their own power.
    Heat of power devices and of the plant's own pumps is left out.
    """
    p, n = params.plant, len(site.ids)
    reached = is_target(site, "cools")
    at = carrier(site, demand.position, reached)
    known = np.full(n, np.nan) if known_w is None else known_w
    liquid = np.full(n, p.liquid_frac)
    liquid[site.of_kind("rack")] = rack_liquid_frac(site, params)
    direct = np.where(_by_liquid(site)[at], liquid[at], reached[at] * 1.0)
    places = np.concatenate([site.of_kind("site"), site.of_kind("hall")])
    is_room = np.zeros(n, dtype=np.bool_)
    is_room[places] = True
    room = carrier(site, demand.position, is_room)
    air = spread(site, room, demand.power_w * (1 - direct))
    electric = _better(
        _handlers(site, air * p.air_fan_frac), known, np.concatenate([site.of_kind(k) for k in ("hall", "crah")])
    )
    fans = spread(site, carrier(site, places_of(electric), is_room), electric[places_of(electric)])
    cdus = site.of_kind("cdu")
    design = carry(site.links["cools"], spread(site, at, demand.nominal_w * direct)).into
    pumps = np.zeros(n)
    pumps[cdus] = _cdu_pumps_w(site, state, params, now, design[cdus])
    pumps = _better(pumps, known, cdus)
    own = spread(site, at, demand.power_w * direct) + pumps
    own += spread(site, carrier(site, places, reached), (air + fans)[places])
    electric += pumps
    indoor_w = float(electric.sum())
    heat = carry(site.links["cools"], own)
    plant, assumed = _plant(site, state, params, now, heat.total_w, max(float(demand.nominal_w.sum()), 1.0))
    described = any(site.count(kind) for kind in _REJECTS)
    if described:
        _share_out(site, state, params, now, plant, electric)
        loose = site.of_kind("pump")[site.within("pump", "cdu") < 0]
        electric = _better(electric, known, np.concatenate([loose, *(site.of_kind(kind) for kind in _REJECTS)]))
    machines = places_of(electric)
    of_hall = spread(site, carrier(site, machines, is_room), electric[machines])[site.of_kind("hall")]
    return Cooling(heat, electric, of_hall, indoor_w, plant, assumed, described)


def rack_liquid_frac(site: Site, params: Params) -> Floats:
    """float64[racks]: share of each rack's heat that its liquid takes: calibrated, else its own, else ``liquid_frac``."""
    return params.learned.column(site, "rack:liquid_frac", site.number("rack", "liquid_frac", params.plant.liquid_frac))


def _handlers(site: Site, room_w: Floats) -> Floats:
    """float64[N]: air handlers' power with that of each hall (``room_w``, float64[N]) shared out over the CRAHs in it."""
    made, crahs, hall = room_w.copy(), site.of_kind("crah"), site.within("crah", "hall")
    halls = site.of_kind("hall")
    mine = hall >= 0
    weight = site.number("crah", "rated_w", 1.0)
    whole = np.bincount(hall[mine], weights=weight[mine], minlength=len(halls))
    made[crahs[mine]] = room_w[halls][hall[mine]] * weight[mine] / whole[hall[mine]]
    made[halls[whole > 0]] = 0.0
    return made


def _better(values: Floats, known: Floats, at: Ints) -> Floats:
    """``values`` with what is ``known`` at positions ``at`` in their place."""
    made = values.copy()
    made[at] = np.where(np.isnan(known[at]), values[at], known[at])
    return made


def _by_liquid(site: Site) -> Bools:
    """bool[N]: assets that a CDU or a loop cools."""
    links = site.links["cools"]
    wet = np.isin(links.source, np.concatenate([site.of_kind("cdu"), site.of_kind("loop")]))
    hit = np.zeros(len(site.ids), dtype=np.bool_)
    hit[links.target[wet]] = True
    return hit


def _cdu_pumps_w(site: Site, state: State, params: Params, now: datetime, design_heat_w: Floats) -> Floats:
    rated = site.number("cdu", "rated_w")
    rated = np.where(np.isnan(rated), design_heat_w * params.plant.cdu_rated_frac, rated)
    read = state.column("cdu", "pump_speed_frac", now)
    speed = np.where(np.isnan(read), params.plant.cdu_speed_frac, read)
    base, cubic = (params.learned.column(site, f"cdu:pump_{name}_frac", np.nan) for name in ("base", "cubic"))
    return np.where(np.isnan(base), affine_power_w(speed, rated), base * rated + affine_power_w(speed, cubic * rated))


def _plant(site: Site, state: State, params: Params, now: datetime, heat_w: float, design_w: float) -> tuple[PlantPower, bool]:
    p, towers, chillers = params.plant, site.count("tower") > 0, site.count("chiller")
    outdoor, assumed_c = ("wet_bulb_c", p.wet_bulb_c) if towers else ("dry_bulb_c", p.dry_bulb_c)
    read = state.column("weather", outdoor, now)
    pads = site.number("drycooler", "pad_frac", params.loops.pad_frac)
    if not towers and len(pads):
        wet = np.where(read > params.loops.pad_above_c, state.column("weather", "wet_bulb_c", now), np.nan)
        read = np.where(np.isnan(wet), read, entering_c(read, wet, pads.mean(), 1.0))
    read = read[~np.isnan(read)]
    rated = site.number("chiller", "rated_w")
    unit_w = float(rated.mean()) * p.chiller_cop if chillers and not np.isnan(rated).any() else design_w / max(chillers, 1)
    size = PlantSize(design_w, towers, chillers, unit_w)
    supply_c = _facility_supply_c(site, state, params, now, heat_w / design_w)
    limit = np.nan_to_num(state.column("tower" if towers else "drycooler", "fan_limit_frac", now), nan=1.0)
    most = max(float(limit.mean()), LEAST_LIMIT_FRAC) if len(limit) else 1.0
    return plant_power(heat_w, supply_c, float(read.mean()) if len(read) else assumed_c, size, p, most), not len(read)


def _facility_supply_c(site: Site, state: State, params: Params, now: datetime, load_frac: float) -> float:
    """Facility water that the most demanding CDU needs [°C]: from the lowest setpoint, else the lowest supply that reads."""
    p = params.plant
    if not site.count("cdu"):
        return p.chilled_c
    wanted = p.supply_c
    for name in ("supply_temp_setpoint_c", "supply_temp_c"):
        read = state.column("cdu", name, now)
        if not np.isnan(read).all():
            wanted = float(np.nanmin(read))
            break
    return float(needed_cold_c(wanted, p.range_k * load_frac, p.cdu_ntu))


def _share_out(site: Site, state: State, params: Params, now: datetime, plant: PlantPower, electric: Floats) -> None:
    """Adds the plant's power to ``electric``, over machines by rating. A machine that tells its speed has the power of that
    speed instead; parts without a machine (air-cooled condensers' fans) count at the site itself."""
    pumps = site.of_kind("pump")[site.within("pump", "cdu") < 0]
    fans = np.concatenate([site.of_kind("tower"), site.of_kind("drycooler")])
    speed = state.column("pump", "pump_speed_frac", now)[site.row_of[pumps]]
    base, rise, exponent = (
        params.learned.column(site, f"pump:{name}", default)[site.row_of[pumps]]
        for name, default in (("base_frac", 0.0), ("rise_frac", 1.0), ("exponent_ratio", 3.0))
    )
    _divide(site, pumps, float(plant.pumps_w), _rated(site, pumps) * (base + rise * speed**exponent), electric)
    speed = np.concatenate([state.column(kind, "fan_speed_frac", now) for kind in ("tower", "drycooler")])
    p, rated = params.plant, _rated(site, fans)
    turned = p.fan_base_frac * rated + fan_power_w(speed, (p.fan_full_frac - p.fan_base_frac) * rated, p.fan_exponent)
    _divide(site, fans, float(plant.fans_w), turned, electric)
    chillers = site.of_kind("chiller")
    _divide(site, chillers, float(plant.chillers_w), np.full(len(chillers), np.nan), electric)


def _rated(site: Site, positions: Ints) -> Floats:
    column = site.numbers.get("rated_w")
    return np.full(len(positions), np.nan) if column is None else column[positions]


def _divide(site: Site, positions: Ints, total_w: float, known_w: Floats, electric: Floats) -> None:
    if not len(positions):
        electric[site.of_kind("site")] += total_w
        return
    weight = _rated(site, positions)
    weight = np.ones(len(weight)) if np.isnan(weight).any() or not weight.sum() else weight
    electric[positions] += np.where(np.isnan(known_w), total_w * weight / weight.sum(), known_w)
