"""What IT draws: from GPU readings (or their utilisation) to node, rack and hall, with what was heard and what was guessed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from twin.frame import Floats, Ints
from twin.kinds import KINDS
from twin.params import NodeParams, Params, Stage
from twin.physics.node import delivered_power_w, supplied_power_w, utilised_power_w
from twin.site import Bools, Site
from twin.state import State

KIND_RACK = list(KINDS).index("rack")


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Power into each piece of IT. Columns over n pieces: nodes first (by row), then switches, storage, and racks of which
    only the meter or the rating is known.

    ``position``: global; ``power_w``: filled where silent; ``nominal_w``: at full load; ``swing_w``: full less idle, what there
    is to hear (0 for what draws steadily); ``heard_frac``: how much of it gave a fresh reading; ``measured_w``: the part of
    ``power_w`` that a power meter or sensor also reads; ``metered``: power is that of its own (or its rack's) meter, so it
    says nothing about the model; ``by_rack``: it is that of its rack's; ``sigma_w``: standard uncertainty. ``node_w``:
    float64[nodes], NaN where the node is silent.
    """

    position: Ints
    power_w: Floats
    nominal_w: Floats
    swing_w: Floats
    heard_frac: Floats
    measured_w: Floats
    metered: Bools
    by_rack: Bools
    sigma_w: Floats
    node_w: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    position: Ints
    power_w: Floats  # NaN where silent
    nominal_w: Floats
    idle_w: Floats
    heard_frac: Floats
    measured_w: Floats
    metered: Bools
    sigma_w: Floats


def it_demand(site: Site, state: State, params: Params, now: datetime, meter_w: Floats) -> Demand:
    """Power of every piece of IT from what ``state`` has fresh at ``now``; ``meter_w``: float64[racks], what meters say.

    A GPU's power is its reading, else follows from its utilisation, else is the mean of its node's other GPUs. A node of
    which no GPU is heard is its own meter's reading. What stays silent is filled at the mean load of what is heard, so that
    totals are of the whole site (ratio estimation, Cochran, "Sampling Techniques", chapter 6); with nothing heard
    it is NaN. A rack heard less than ``heard_floor_frac`` takes its meter's reading, shared out by nominal power over what
    stands in it.
    """
    nodes = _nodes(site, state, params, now)
    parts = [nodes, _steady(site, state, params, now, "switch"), _steady(site, state, params, now, "storage")]
    parts.append(_bare_racks(site, state, params, now))
    position, power, nominal, idle, heard, measured, metered, sigma = (
        np.concatenate([getattr(part, name) for part in parts]) for name in _Part.__slots__
    )
    swing = nominal - idle
    rack = _rack_of(site, position)
    inside, reading, weak = rack >= 0, np.full(len(rack), np.nan), np.zeros(len(rack), dtype=np.bool_)
    by_rack = metered & (site.kind_of[position] == KIND_RACK)
    if inside.any():
        reading[inside] = meter_w[rack[inside]]
        weak[inside] = _share(site, rack, swing * heard, swing)[rack[inside]] < params.heard_floor_frac
        by_meter = weak & ~np.isnan(reading)
        power[by_meter] = (reading * nominal)[by_meter] / _sum(site, rack, nominal)[rack[by_meter]]
        sigma[by_meter], heard[by_meter] = power[by_meter] * params.doubt.meter, 1.0
        metered |= by_meter
        by_rack |= by_meter
    power, sigma = _filled(power, nominal, swing, sigma)
    measured = np.where(np.isnan(reading), measured, power)
    return Demand(position, power, nominal, swing, heard, measured, metered, by_rack, sigma, nodes.power_w)


def _sum(site: Site, rack: Ints, values: Floats) -> Floats:
    inside = rack >= 0
    return np.bincount(rack[inside], weights=values[inside], minlength=site.count("rack")).astype(np.float64, copy=False)


def _share(site: Site, rack: Ints, part: Floats, whole: Floats) -> Floats:
    total = _sum(site, rack, whole)
    return np.divide(_sum(site, rack, part), total, out=np.ones_like(total), where=total > 0)


def _rack_of(site: Site, position: Ints) -> Ints:
    above = np.full(len(site.ids), -1, dtype=np.int32)
    for kind in ("node", "switch", "storage", "rack"):
        above[site.of_kind(kind)] = site.within(kind, "rack")
    return above[position]


def _filled(power: Floats, nominal: Floats, swing: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """Silent pieces at the mean load of the heard ones that swing too; their spread is uniform from idle to full."""
    silent = np.isnan(power)
    like = ~silent & (swing > 0)
    whole = nominal[like].sum()
    load = power[like].sum() / whole if whole > 0 else np.nan
    return np.where(silent, nominal * load, power), np.where(silent, swing / np.sqrt(12), sigma)


def _nodes(site: Site, state: State, params: Params, now: datetime) -> _Part:
    n, doubt, p = site.count("node"), params.doubt, params.node
    gpu_full = site.number("gpu", "rated_w", p.gpu_w)
    gpu_idle = gpu_full * p.gpu_idle_frac
    reading = state.column("gpu", "power_w", now)
    modelled = utilised_power_w(state.column("gpu", "util_frac", now), gpu_idle, gpu_full)
    seen = np.where(np.isnan(reading), modelled, reading)
    spread_w = np.where(np.isnan(reading), doubt.gpu_util, doubt.gpu_sensor) * seen

    home = site.within("gpu", "node")
    count, full, idle = (_per_node(home, w, n) for w in (np.ones_like(seen), gpu_full, gpu_idle))
    known = ~np.isnan(seen)
    heard_full = _per_node(home[known], gpu_full[known], n)
    heard = np.divide(heard_full, full, out=np.zeros(n), where=full > 0)
    gpus = np.divide(_per_node(home[known], seen[known], n), heard, out=np.full(n, np.nan), where=heard > 0)
    gpus_sigma = np.divide(_per_node(home[known], spread_w[known], n), heard, out=np.zeros(n), where=heard > 0)

    cpu = state.column("node", "cpu_util_frac", now)
    rest_idle, rest_full, rated = rest_between_w(site, p, full, count)
    bare = count == 0
    heard = np.where(bare, ~np.isnan(cpu) & rated, heard)
    rest = utilised_power_w(np.where(np.isnan(cpu), p.cpu_util_frac, cpu), rest_idle, rest_full)
    power = through_supply(np.where(bare, 0.0, gpus) + rest, p.stages)
    power = np.where(heard > 0, power, np.nan)
    sigma = np.hypot(gpus_sigma, doubt.rest * (power - np.where(bare, 0.0, gpus)))
    if doubt.node:  # calibrated: what is left is known, but where a GPU's power follows from its utilisation
        guessed = _per_node(home[known], (doubt.gpu_util * seen * np.isnan(reading))[known], n)
        sigma = np.hypot(doubt.node * power, guessed)

    meter = state.column("node", "power_w", now)
    metered = np.isnan(power) & ~np.isnan(meter)
    power, heard = np.where(metered, meter, power), np.where(metered, 1.0, heard)
    measured = np.where(np.isnan(meter), _per_node(home, np.nan_to_num(reading), n), power)
    return _Part(
        site.of_kind("node"),
        power,
        through_supply(full + rest_full, p.stages),
        through_supply(idle + rest_idle, p.stages),
        heard,
        measured,
        metered,
        np.where(metered, meter * doubt.meter, sigma),
    )


def _per_node(home: Ints, values: Floats, n: int) -> Floats:
    return np.bincount(home, weights=values, minlength=n).astype(np.float64, copy=False)


def rest_w(site: Site, p: NodeParams) -> Floats:
    """float64[nodes]: what ``rest_idle_frac`` and ``rest_full_frac`` are shares of: all of a node but its GPUs in full [W]."""
    home, n = site.within("gpu", "node"), site.count("node")
    full = _per_node(home, site.number("gpu", "rated_w", p.gpu_w), n)
    return rest_between_w(site, replace(p, rest_full_frac=1.0), full, np.bincount(home, minlength=n).astype(np.float64))[1]


def through_supply(load_w: Floats, stages: Sequence[Stage]) -> Floats:
    """Power into a node's supply [W] that delivers ``load_w`` through ``stages``."""
    for stage in stages:
        load_w = supplied_power_w(load_w, stage.constant_w, stage.efficiency_frac)
    return load_w


def rest_between_w(site: Site, p: NodeParams, gpu_full: Floats, gpus: Floats) -> tuple[Floats, Floats, Bools]:
    """Everything in a node but its GPUs, behind the supply: idle, full [W], and whether the node has a rating.

    ``rated_w`` of the node (at its power inlet) less the supply's loss and its GPUs is what the rest draws in full; idle
    keeps the default's share of that. Calibrated shares of it win (``rest_idle_frac``, ``rest_full_frac``).
    """
    fixed = p.memory_w + p.nic_w * np.maximum(gpus, 1) + p.storage_w + p.other_w
    idle, full = fixed + p.cpu_idle_w, fixed + p.cpu_full_w
    inlet = site.number("node", "rated_w")
    for stage in reversed(p.plate_stages or p.stages):
        inlet = delivered_power_w(inlet, stage.constant_w, stage.efficiency_frac)
    rated = ~np.isnan(inlet)
    given = np.where(rated, np.maximum(inlet - gpu_full, 0.0), full)
    idle_frac = idle / full if p.rest_idle_frac is None else p.rest_idle_frac
    return given * idle_frac, given * p.rest_full_frac, rated


def _steady(site: Site, state: State, params: Params, now: datetime, kind: str) -> _Part:
    """Switches and storage: their reading, else a steady share of their rating. Storage with neither, and storage inside a
    node, draws nothing of its own."""
    meter = state.column(kind, "power_w", now)
    assumed = params.switch_w if kind == "switch" else 0.0
    rated = site.number(kind, "rated_w")
    steady = np.where(np.isnan(rated), assumed, rated * params.steady_load_frac)
    read = ~np.isnan(meter)
    power = np.where(read, meter, steady)
    take = (power > 0) & (site.within(kind, "node") < 0)
    sigma = np.where(read, params.doubt.meter, params.doubt.rest) * power
    heard = np.ones(len(power))  # nothing is expected of them, so nothing is missing
    part = _Part(site.of_kind(kind), power, power, power, heard, np.where(read, power, 0.0), read, sigma)
    return _taken(part, take)


def _bare_racks(site: Site, state: State, params: Params, now: datetime) -> _Part:
    """Racks in which no node or switch is described, known by rating or meter alone. One that was ever read stays, silent."""
    filled = np.zeros(site.count("rack"), dtype=np.bool_)
    for kind in ("node", "switch"):
        homes = site.within(kind, "rack")
        filled[homes[homes >= 0]] = True
    meter = state.column("rack", "power_w", now)
    nominal = site.number("rack", "rated_w")
    nominal = np.where(np.isnan(nominal), state.newest("rack", "power_w").value, nominal)
    take = ~filled & (nominal > 0)
    read = ~np.isnan(meter)
    idle = nominal * params.node.gpu_idle_frac
    known = np.where(read, meter, 0.0)
    part = _Part(site.of_kind("rack"), meter, nominal, idle, read * 1.0, known, read, known * params.doubt.meter)
    return _taken(part, take)


def _taken(part: _Part, take: Bools) -> _Part:
    return _Part(*(getattr(part, name)[take] for name in _Part.__slots__))
