"""The IT of a site as columns: slots that jobs hold, what they draw idle and in full, and the racks they stand in."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twin.demand import rest_between_w, through_supply
from twin.frame import Floats, Ints
from twin.params import Params
from twin.site import Site


@dataclass(frozen=True, eq=False)
class Fleet:
    """Slots (nodes; of a rack without nodes the rack itself) and what else draws power.

    Per slot: ``position`` (global), ``rack`` (row), ``gpus`` (how many it holds), ``idle_w``, ``gpu_w`` and ``cpu_w`` (what all
    its GPUs, and its processors, add at full load), all at the node's power inlet: the stages of a supply are affine, so
    what jobs add on a node adds up. ``gpu_rated_w``: design power of one of its GPUs. ``steady_w``: float64[racks], switches
    and storage in racks; ``apart``/``apart_w``: positions and power of IT outside of racks.
    """

    site: Site
    position: Ints
    rack: Ints
    gpus: Ints
    idle_w: Floats
    gpu_w: Floats
    cpu_w: Floats
    gpu_rated_w: Floats
    steady_w: Floats
    apart: Ints
    apart_w: Floats

    @cached_property
    def base_w(self) -> Floats:
        """float64[racks]: power of each rack with every slot idle."""
        return self.steady_w + self.per_rack(self.idle_w)

    @cached_property
    def full_w(self) -> Floats:
        """float64[racks]: power of each rack with every slot in full."""
        return self.steady_w + self.per_rack(self.idle_w + self.gpu_w + self.cpu_w)

    @cached_property
    def gpu_slot(self) -> Ints:
        """int32[gpus]: the slot of each single GPU, in the order of slots."""
        return np.repeat(np.arange(len(self.gpus), dtype=np.int32), self.gpus)

    @property
    def apart_total_w(self) -> float:
        """IT outside of racks, W."""
        return float(self.apart_w.sum())

    def per_rack(self, values: Floats) -> Floats:
        """float64[racks]: a column over slots summed over each rack."""
        return np.bincount(self.rack, weights=values, minlength=len(self.steady_w)).astype(np.float64, copy=False)


def fleet_of(site: Site, params: Params) -> Fleet:
    """The fleet of ``site``: ratings of assets where given, else the parameters. Nodes outside of racks count as apart."""
    p = params.node
    nodes = site.count("node")
    home = site.within("gpu", "node")
    inside = home >= 0
    gpu_full = site.number("gpu", "rated_w", p.gpu_w)
    count = np.bincount(home[inside], minlength=nodes).astype(np.float64)
    full = np.bincount(home[inside], weights=gpu_full[inside], minlength=nodes).astype(np.float64)
    rest_idle, rest_full, _ = rest_between_w(site, p, full, count)
    slope = 1.0 / float(np.prod([stage.efficiency_frac for stage in p.stages]))
    idle = through_supply(full * p.gpu_idle_frac + rest_idle, p.stages)
    rack = site.within("node", "rack")
    keep = rack >= 0
    steady, apart, apart_w = _steady(site, params)
    bare = _bare_racks(site)
    bare_w = site.number("rack", "rated_w")[bare]
    loose = np.flatnonzero(~keep)
    rated = np.divide(full, count, out=np.zeros(nodes), where=count > 0)
    return Fleet(
        site,
        np.concatenate([site.of_kind("node")[keep], site.of_kind("rack")[bare]]),
        np.concatenate([rack[keep], bare]).astype(np.int32),
        np.concatenate([count[keep], np.ones(len(bare))]).astype(np.int32),
        np.concatenate([idle[keep], bare_w * p.gpu_idle_frac]),
        np.concatenate([full[keep] * (1 - p.gpu_idle_frac) * slope, bare_w * (1 - p.gpu_idle_frac)]),
        np.concatenate([(rest_full - rest_idle)[keep] * slope, np.zeros(len(bare))]),
        np.concatenate([rated[keep], bare_w]),
        steady,
        np.concatenate([apart, site.of_kind("node")[loose]]),
        np.concatenate([apart_w, idle[loose]]),
    )


def _steady(site: Site, params: Params) -> tuple[Floats, Ints, Floats]:
    """Switches and storage at a steady share of their rating: by rack, and those that stand elsewhere."""
    steady, apart, apart_w = np.zeros(site.count("rack")), [], []
    for kind, assumed in (("switch", params.switch_w), ("storage", 0.0)):
        rated = site.number(kind, "rated_w")
        power = np.where(np.isnan(rated), assumed, rated * params.steady_load_frac)
        power[site.within(kind, "node") >= 0] = 0.0
        rack = site.within(kind, "rack")
        steady += np.bincount(rack[rack >= 0], weights=power[rack >= 0], minlength=len(steady))
        apart.append(site.of_kind(kind)[(rack < 0) & (power > 0)])
        apart_w.append(power[(rack < 0) & (power > 0)])
    return steady, np.concatenate(apart), np.concatenate(apart_w)


def _bare_racks(site: Site) -> Ints:
    """Rows of racks that have a rating and nothing described in them."""
    filled = np.zeros(site.count("rack"), dtype=np.bool_)
    for kind in ("node", "switch"):
        homes = site.within(kind, "rack")
        filled[homes[homes >= 0]] = True
    return np.flatnonzero(~filled & (site.number("rack", "rated_w") > 0)).astype(np.int32)
