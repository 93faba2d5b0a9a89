"""How likely an asset is to be behind signs: the likelihood that the search for causes (``analytics.cause``) maximises. Pure.

A noisy-OR network (Pearl 1988) over ``analytics.spread``: a cause shows at another asset with the probability of its likeliest
way there, less where that asset spoke before the cause did. A cause costs its prior (how often such a thing fails) and what it
should have shown and did not; a sign that no cause explains costs as much as chance or a lying sensor does. Readings lie and
stray, events (a trip, an XID, a link that went down) hardly do: so an unexplained event costs more.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from analytics.spread import Layer, Reach, Spread, layers_of

MAX_SIGNS = 2000  # looked at; the earliest count, those after them are left out
MAX_POINTS = 300  # assets that are to be explained, likewise
ORDER_S = 20.0  # polls come some seconds apart: within this, the order of two signs says nothing
_CHANCE = log(0.04)  # that a reading stands for nothing, or for a sensor that lies
_EVENT_CHANCE = log(0.004)  # that an event does
_RELIEVES = log(0.1)  # that what carries more than usual does so for a reason of its own
_PRIOR = -3.0  # of a cause, for a kind that fails once in ten years
_BETWEEN = 0.5  # that what passes trouble on also says so
_MORE = 0.4  # weight of each further sign of one asset
_SEEN = 0.8  # that what is harmed also says so
_OWN = 0.9  # that what failed says so itself
_HARM_SHOWS = 0.6  # that what is harmed shows it, by itself or by what hangs on it
_MOST_MISSING = 3  # silent dependents that count in full: their silences have a common reason
# How often one asset of a kind fails in a year. GPUs: 220 of 16,384 in 54 days (Llama 3, 2024); others by order of magnitude.
_PER_YEAR: Mapping[str, float] = {
    "gpu": 0.09, "node": 0.2, "port": 0.1, "switch": 0.05, "rack": 0.05, "pump": 0.2, "cdu": 0.15, "loop": 0.03, "pdu": 0.03,
    "chiller": 0.2, "tower": 0.1, "drycooler": 0.1, "ups": 0.05, "transformer": 0.02, "storage": 0.3, "source": 2.0,
    "disk": 0.02, "valve": 0.1, "grid": 0.5, "meter": 0.05, "battery": 0.05,
}  # fmt: skip
_OTHERS_PER_YEAR = 0.01


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing to be explained: ``key`` of the finding or alert, the asset's id, what looks wrong, since when (s since 1970),
    and how far it is believed (0-1)."""

    key: str
    asset: str
    metric: str
    since_s: float
    weight: float = 1.0


_Grouped = dict[tuple[int, tuple[Layer, ...]], list[Sign]]


@dataclass(frozen=True, slots=True)
class Point:
    """All signs of one asset in the same layers. ``nothing``: log likelihood that they stand for nothing; ``itself``: added
    where the asset itself is the cause."""

    at: int
    causes: Mapping[int, Reach]
    since_s: float
    weight: float
    keys: tuple[str, ...]
    nothing: float
    itself: float


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be explained. ``candidates``: global position -> indices of the points it may have caused, the nearest first;
    ``own_s``: position -> when the asset first said something itself."""

    spread: Spread
    points: Sequence[Point]
    candidates: Mapping[int, Sequence[int]]
    own_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Tree:
    """What one cause explains: log likelihood of each point, and how much likelier it makes all of it; ``missing``: log
    likelihood that what it should have shown beside that stays silent."""

    loglik: Mapping[int, float]
    gain: float
    missing: float


def case_of(spread: Spread, signs: Sequence[Sign]) -> Case:
    """Signs by asset and layers, the earliest first."""
    site = spread.site
    grouped: _Grouped = defaultdict(list)
    for sign in sorted(signs, key=lambda sign: (sign.since_s, sign.key))[:MAX_SIGNS]:
        if sign.asset in site.position:
            grouped[site.position[sign.asset], layers_of(site.kind(sign.asset), sign.metric)].append(sign)
    points = []
    for (at, layers), those in list(_folded(spread, grouped).items())[:MAX_POINTS]:
        causes: dict[int, Reach] = {}
        for layer in layers:
            for who, reach in spread.causes(at, layer).items():
                if who not in causes or causes[who].p < reach.p:
                    causes[who] = reach
        weight = max(sign.weight for sign in those) * min(2.0, 1 + _MORE * (len(those) - 1))
        chance = _EVENT_CHANCE if any(_is_event(sign.metric) for sign in those) else _CHANCE
        itself = _RELIEVES if layers == (Layer.RELIEF,) else 0.0
        points.append(Point(at, causes, those[0].since_s, weight, tuple(sign.key for sign in those), weight * chance, itself))
    candidates: dict[int, list[int]] = defaultdict(list)
    for i, point in enumerate(points):
        for who in point.causes:
            candidates[who].append(i)
    for who, mine in candidates.items():
        mine.sort(key=lambda i: (-points[i].causes[who].p, i))
    own_s = {point.at: point.since_s for point in reversed(points) if point.itself == 0.0}
    return Case(spread, points, candidates, own_s)


def _folded(spread: Spread, grouped: _Grouped) -> _Grouped:
    """Signs of several GPUs of one node as one of the node: what happened to all of them happened to it."""
    site = spread.site
    beside: dict[tuple[int, tuple[Layer, ...]], int] = defaultdict(int)
    for at, layers in grouped:
        beside[int(site.parent[at]), layers] += 1
    out: _Grouped = defaultdict(list)
    for (at, layers), those in grouped.items():
        node = int(site.parent[at])
        together = node in spread.passing and beside[node, layers] > 1
        out[node if together else at, layers] += those
    return out


def tree_of(case: Case, at: int, best: Sequence[float], only: frozenset[int] | None = None) -> Tree:
    """Grow the tree of what ``at`` explains better than ``best``, the nearest first. Each link on the way counts once, however
    many signs lie behind it: that it passed trouble on happened once."""
    used: set[tuple[int, int]] = set()
    loglik: dict[int, float] = {}
    missing = total = _unshown(case.spread, at)
    for i in case.candidates[at]:
        if only is not None and i not in only:
            continue
        point = case.points[i]
        links, cost = _way(case, at, point, used)
        silence = sum(_unshown(case.spread, to) - _silence(case.spread, source, to) for source, to in links)
        early_s = case.own_s.get(at, point.since_s) - point.since_s - ORDER_S
        here = point.weight * (log(_SEEN) - min(max(early_s, 0.0) / ORDER_S, 3.0)) + cost
        here += point.itself if point.at == at else 0.0
        if here + silence > best[i]:
            loglik[i] = here
            total += here + silence - best[i]
            missing += silence
            used |= links
    own = 0.0 if at in case.own_s else log(1 - _OWN)
    rate = _PER_YEAR.get(case.spread.site.kind(case.spread.site.ids[at]), _OTHERS_PER_YEAR)
    return Tree(loglik, total + _PRIOR + 0.25 * log(rate / 0.1) + own, missing)


def _way(case: Case, at: int, point: Point, used: set[tuple[int, int]]) -> tuple[set[tuple[int, int]], float]:
    """Links from ``at`` to the point that are not ``used`` yet, and what they cost; what on the way says nothing costs too."""
    links: set[tuple[int, int]] = set()
    cost, here = 0.0, at
    while here != point.at:
        to = point.causes[here].via
        if (here, to) not in used:
            links.add((here, to))
            cost += log(point.causes[here].p / point.causes[to].p)
            cost += 0.0 if to in case.own_s or to in case.spread.passing else log(1 - _BETWEEN)
        here = to
    return links, cost


def _unshown(spread: Spread, at: int) -> float:
    """Log likelihood that nothing of what trouble at ``at`` harms shows it."""
    if at not in spread.quiet:
        spread.quiet[at] = 0.0 if at in spread.passing else sum(_silence(spread, at, to) for to in spread.out.get(at, ()))
    return spread.quiet[at]


def _silence(spread: Spread, at: int, to: int) -> float:
    """Of that, the part of ``to``."""
    harmed = spread.out[at]
    if at in spread.passing:
        return 0.0
    return log(1 - _HARM_SHOWS * harmed[to]) * min(1.0, _MOST_MISSING / len(harmed))


def _is_event(metric: str) -> bool:
    return metric.endswith(("_flag", "_code", "_count")) or metric == "voltage_v"
