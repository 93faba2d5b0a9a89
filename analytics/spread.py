"""How trouble spreads through a site: for each asset and kind of trouble, what may have brought it there, and how likely.

A *layer* is a kind of trouble: heat, power, network, work (the progress of a job) and own (what nobody else can cause). An edge
says that trouble at ``u`` shows at ``v`` with probability ``q``. The probabilities are orders of magnitude set by hand from how
such plants are built (2N feeds ride through the loss of one side, n+1 chillers share, a rack has one leaf switch); they are the
same for every site.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import exp, log, sqrt

from twin.job import Jobs
from twin.kinds import KINDS
from twin.site import Links, Site


class Layer(IntEnum):
    """Kinds of trouble. ``RELIEF``: it does the work of one that failed."""

    OWN = 0
    HEAT = 1
    POWER = 2
    NETWORK = 3
    WORK = 4
    RELIEF = 5


Add = Callable[[int, Layer, int, Layer, float], None]  # source, its layer, target, its layer, probability

_LAYERS = len(Layer)
_KIND = tuple(KINDS)
_OWN_METRICS = frozenset(
    (
        "xid_code",
        "ecc_corrected_count",
        "ecc_uncorrected_count",
        "remapped_rows_count",
        "row_remap_failure_flag",
        "uptime_s",
        "battery_runtime_s",
    )
)
_NETWORK_METRICS = frozenset(
    ("rx_bps", "tx_bps", "net_rx_bps", "net_tx_bps", "error_count", "link_down_count", "latency_s", "nvlink_error_count")
)
_HEAT_METRICS = frozenset(("heat_w", "fan_speed_frac", "leak_flag", "position_frac"))
_WORK_METRICS = frozenset(("util_frac", "sm_active_frac", "tensor_active_frac", "dram_active_frac", "gpus_allocated_count"))
_RELIEF_METRICS = frozenset(("loading_frac", "pump_speed_frac", "current_a"))  # of what carries more because another does not
_COOLS = frozenset(("cdu", "pump", "chiller", "tower", "drycooler", "loop"))
_PASSES_COOLS, _PASSES_FEED, _PASSES_ONE_OF_TWO, _PASSES_LINK = 0.85, 0.95, 0.35, 0.9
_SINGLE_SHARE = 0.6  # of a load; what carries more has no partner that could take over
# (parent's kind or "", child's kind or "") -> probability by layer that trouble passes down to the child, and up to the parent
_DOWN: Mapping[str, Mapping[Layer, float]] = {
    "node": {Layer.HEAT: 0.9, Layer.POWER: 0.95, Layer.NETWORK: 0.9},
    "gpu": {Layer.HEAT: 0.9, Layer.POWER: 0.95, Layer.WORK: 0.7, Layer.OWN: 0.3},
    "port": {Layer.NETWORK: 0.9},
    "pump": {Layer.HEAT: 0.5, Layer.POWER: 0.3},
}
_UP: Mapping[str, Mapping[Layer, float]] = {
    "gpu": {Layer.HEAT: 0.1, Layer.POWER: 0.15},
    "node": {Layer.HEAT: 0.1, Layer.POWER: 0.15, Layer.NETWORK: 0.05},
    "port": {Layer.NETWORK: 0.05},
    "pump": {Layer.HEAT: 0.6},
    "valve": {Layer.HEAT: 0.6},
}
_LEAST = 0.03  # paths less likely than this are not followed
_MAX_REACH = 400  # assets that are looked at from one sign


@dataclass(frozen=True, slots=True)
class Edge:
    """Trouble of ``layer`` at global position ``at`` passes on with probability ``q``."""

    at: int
    layer: Layer
    q: float


@dataclass(frozen=True, slots=True)
class Reach:
    """A possible cause: ``p`` that its trouble shows at the sign; ``via``: the next asset on the way from it to the sign."""

    p: float
    via: int


@dataclass(frozen=True, eq=False)
class Spread:
    """``into[v * layers + layer]``: edges that bring trouble there; ``out[u]``: position -> probability of what ``u`` harms;
    ``passing``: nodes, which pass heat and power on to their GPUs and say little of it themselves."""

    site: Site
    into: Mapping[int, list[Edge]]
    out: Mapping[int, Mapping[int, float]]
    passing: frozenset[int]
    quiet: dict[int, float] = field(default_factory=dict, repr=False)  # worked out once by ``cause``
    _reached: dict[tuple[int, Layer], Mapping[int, Reach]] = field(default_factory=dict, repr=False)

    def causes(self, at: int, layer: Layer) -> Mapping[int, Reach]:
        """Global position -> how it may have caused trouble of ``layer`` at ``at``, itself with probability 1; remembered."""
        key = (at, layer)
        if key not in self._reached:
            if len(self._reached) > 4 * len(self.site.ids):
                self._reached.clear()
            self._reached[key] = self._search(at, layer)
        return self._reached[key]

    def _search(self, at: int, layer: Layer) -> Mapping[int, Reach]:
        """Likeliest ways against the current (Dijkstra over -log q)."""
        found: dict[int, Reach] = {}
        done: set[int] = set()
        open_: list[tuple[float, int, Layer, int]] = [(0.0, at, layer, at)]
        while open_ and len(found) < _MAX_REACH:
            cost, here, now, via = heapq.heappop(open_)
            state = here * _LAYERS + now
            if state in done:
                continue
            done.add(state)
            if here not in found:
                found[here] = Reach(exp(-cost), via)
            for edge in self.into.get(state, ()):
                more = cost - log(edge.q)
                if more < -log(_LEAST) and edge.at * _LAYERS + edge.layer not in done:
                    heapq.heappush(open_, (more, edge.at, edge.layer, here))
        return found


def layers_of(kind: str, metric: str) -> tuple[Layer, ...]:
    """What kinds of trouble a metric that looks wrong may stand for."""
    if metric in _OWN_METRICS or kind in ("source", "task", "process", "disk"):
        return (Layer.OWN,)
    if metric in _NETWORK_METRICS or kind == "port":
        return (Layer.NETWORK,)
    if metric == "up_flag":
        return (Layer.POWER, Layer.NETWORK)
    if metric in _RELIEF_METRICS:
        return (Layer.RELIEF,)
    if kind == "pump" and metric == "power_w":
        return (Layer.POWER,)
    if metric in _WORK_METRICS:
        return (Layer.WORK, Layer.NETWORK)
    if metric in ("throttle_code", "sm_clock_hz", "mem_clock_hz"):
        return (Layer.HEAT, Layer.POWER)
    if metric in _HEAT_METRICS or metric.endswith(("_c", "_k", "_kgps", "_pa")):
        return (Layer.HEAT,)
    return (Layer.POWER, Layer.HEAT) if kind in _COOLS else (Layer.POWER,)


def spread_of(site: Site, jobs: Jobs | None = None) -> Spread:
    """How trouble spreads over the links and places of ``site``; with ``jobs``, among GPUs that work on the same one too."""
    into: dict[int, list[Edge]] = defaultdict(list)
    out: dict[int, dict[int, float]] = defaultdict(dict)

    def edge(source: int, source_layer: Layer, target: int, layer: Layer, q: float) -> None:
        into[target * _LAYERS + layer].append(Edge(source, source_layer, q))
        out[source][target] = max(q, out[source].get(target, 0.0))

    kinds = [_KIND[code] for code in site.kind_of.tolist()]
    _places(site, edge, kinds)
    for source, target, share in _rows(site.links["cools"]):
        edge(source, Layer.HEAT, target, Layer.HEAT, _PASSES_COOLS * sqrt(share))
        edge(target, Layer.HEAT, source, Layer.HEAT, 0.05)  # a leak or a heat wave goes back
    _feeds(site, edge, kinds)
    for source, target, share in _rows(site.links["connects"]):
        edge(source, Layer.NETWORK, target, Layer.NETWORK, _PASSES_LINK * sqrt(share))
        edge(target, Layer.NETWORK, source, Layer.NETWORK, 0.15)
    _partners(site, edge)
    if jobs is not None:
        _work(site, jobs, edge)
    return Spread(site, into, out, frozenset(site.of_kind("node").tolist()))


def _places(site: Site, edge: Add, kinds: Sequence[str]) -> None:
    """What stands in something shares its trouble; what is a part of something brings it."""
    for child, parent in enumerate(site.parent.tolist()):
        for layer, q in _DOWN.get(kinds[child], {}).items():
            edge(parent, layer, child, layer, q)
        for layer, q in _UP.get(kinds[child], {}).items():
            edge(child, layer, parent, layer, q)


def _feeds(site: Site, edge: Add, kinds: Sequence[str]) -> None:
    """What has no power neither cools nor connects."""
    for source, target, share in _rows(site.links["feeds"]):
        q = _PASSES_FEED if share > _SINGLE_SHARE else _PASSES_ONE_OF_TWO
        edge(source, Layer.POWER, target, Layer.POWER, q)
        if kinds[target] in _COOLS:
            edge(source, Layer.POWER, target, Layer.HEAT, q)
        if kinds[target] in ("switch", "storage", "node"):
            edge(source, Layer.POWER, target, Layer.NETWORK, q)


def _rows(links: Links) -> "zip[tuple[int, int, float]]":
    return zip(links.source.tolist(), links.target.tolist(), links.share.tolist(), strict=True)


def _partners(site: Site, edge: Add) -> None:
    """What takes over when another fails shows it: the other feed's load, the standby pump, the other chillers."""
    pairs: dict[tuple[int, int], tuple[Layer, float]] = {}
    for relation, layer, q in (("feeds", Layer.POWER, 0.1), ("cools", Layer.HEAT, 0.3)):
        of: dict[int, list[int]] = defaultdict(list)
        for source, target, _ in _rows(site.links[relation]):
            of[target].append(source)
        for sources in of.values():
            if 1 < len(sources) <= 8:
                pairs |= {(a, b): (layer, q) for a in sources for b in sources if a != b}
    pumps: dict[int, list[int]] = defaultdict(list)
    for pump in site.of_kind("pump").tolist():
        pumps[int(site.parent[pump])].append(pump)
    for each in pumps.values():
        pairs |= {(a, b): (Layer.HEAT, 0.1) for a in each for b in each if a != b}
    for (a, b), (layer, q) in pairs.items():
        edge(a, layer, b, layer, q)
        edge(a, layer, b, Layer.RELIEF, 0.8)


def _work(site: Site, jobs: Jobs, edge: Add) -> None:
    """A GPU that lags holds up those that work with it; a job's GPUs stand as a ring, so that edges grow with their number."""
    gpus = site.of_kind("gpu")
    members: dict[int, list[int]] = defaultdict(list)
    for row, job in zip(jobs.rows.tolist(), jobs.job_of.tolist(), strict=True):
        members[job].append(int(gpus[row]))
    for ring in members.values():
        for a, b in zip(ring, [*ring[1:], ring[0]], strict=True) if len(ring) > 1 else ():
            edge(a, Layer.OWN, b, Layer.WORK, 0.6)
            edge(a, Layer.WORK, b, Layer.WORK, 0.95)
            edge(b, Layer.WORK, a, Layer.WORK, 0.95)
