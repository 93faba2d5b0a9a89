"""From many findings and alerts to the few causes behind them, over the links of the site and the order in time. Pure.

A noisy-OR network (Pearl 1988) over ``analytics.spread``: a cause shows at another asset with the probability of its likeliest
way there, less where that asset spoke before the cause did. A set of causes is chosen greedily by log likelihood: each cause
costs its prior (how often such a thing fails) and what it should have shown and did not; a sign that no cause explains costs as
much as chance or a lying sensor does. What a chosen cause explains, others could explain too: they follow as its rivals.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log

from analytics.alerts import Alert
from analytics.finding import Finding
from analytics.spread import Layer, Reach, Spread, layers_of, spread_of
from twin.message import Message

__all__ = ["MAX_SIGNS", "Explanation", "Sign", "Spread", "explain", "sign_of", "spread_of"]

MAX_SIGNS = 2000  # looked at; the earliest count, those after them are left out
MAX_POINTS = 300  # assets that are to be explained, likewise
MAX_PATHS = 20  # drawn for one explanation
MAX_AT_RISK = 50  # named; the number is of all
ORDER_S = 20.0  # polls come some seconds apart: within this, the order of two signs says nothing
_CHANCE = log(0.02)  # that a sign stands for nothing, or for a sensor that lies
_PRIOR = -3.0  # of a cause, for a kind that fails once in ten years
_BETWEEN = 0.5  # that what passes trouble on also says so
_POOL, _SILENT_POOL, _SPLITS = 40, 10, 4  # candidates tried in the place of one, speaking and silent ones, and how often
_ALL_OF_IT = 0.9  # of the points; a silent asset that explains so many is no half of anything
_MORE = 0.4  # weight of each further sign of one asset
_DOUBT = 2.0  # gain in log likelihood at which a cause is as likely as chance
_TRUST = 0.5  # in differences of log likelihood between rivals: signs depend on each other in more ways than are known here
_SEEN = 0.8  # that what is harmed also says so
_OWN = 0.9  # that what failed says so itself
_HARM_SHOWS = 0.6  # that what is harmed shows it, by itself or by what hangs on it
_MOST_MISSING = 3  # silent dependents that count in full: their silences have a common reason
# How often one asset of a kind fails in a year. GPUs: 220 of 16,384 in 54 days (Llama 3, 2024); others by order of magnitude.
_PER_YEAR: Mapping[str, float] = {
    "gpu": 0.09, "node": 0.2, "port": 0.1, "switch": 0.05, "rack": 0.05, "pump": 0.2, "cdu": 0.15, "loop": 0.03, "pdu": 0.03,
    "chiller": 0.2, "tower": 0.1, "drycooler": 0.1, "ups": 0.05, "transformer": 0.02, "storage": 0.3, "source": 2.0,
    "valve": 0.1, "grid": 0.5, "meter": 0.05, "battery": 0.05,
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


@dataclass(frozen=True, slots=True)
class Explanation:
    """A cause: ``asset`` and its ``kind``; ``score``: 0-1, how likely it is against its rivals and chance; ``explains``: keys
    of signs, the earliest first; ``paths``: key -> ids from the cause to the sign's asset, at most ``MAX_PATHS``; ``at_risk``:
    ids that depend on it and show nothing yet, the likeliest first, at most ``MAX_AT_RISK`` of ``at_risk_count``; ``sensor``:
    it stands alone where others should have followed, so its sensor may lie; ``rival_of``: the likelier cause of the same
    signs ("": none)."""

    asset: str
    kind: str
    score: float
    since: datetime
    explains: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]
    at_risk: tuple[str, ...]
    at_risk_count: int
    sensor: bool
    rival_of: str
    summary: Message


_Grouped = dict[tuple[int, tuple[Layer, ...]], list[Sign]]


@dataclass(frozen=True, slots=True)
class _Point:
    """All signs of one asset in the same layers."""

    at: int
    causes: Mapping[int, Reach]
    since_s: float
    weight: float
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """What is to be explained. ``candidates``: global position -> indices of the points it may have caused, the nearest first;
    ``own_s``: position -> when the asset first said something itself."""

    spread: Spread
    points: Sequence[_Point]
    candidates: Mapping[int, Sequence[int]]
    own_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Tree:
    """What one cause explains: log likelihood of each point, and how much likelier it makes all of it."""

    loglik: Mapping[int, float]
    gain: float
    missing: float


def sign_of(what: Alert | Finding) -> Sign:
    """A finding or an alert as a sign."""
    weight = what.confidence if isinstance(what, Finding) else 1.0
    return Sign(what.key, what.asset, what.metric, what.since.timestamp(), weight)


def explain(spread: Spread, signs: Sequence[Sign], most: int = 5) -> tuple[Explanation, ...]:
    """The likeliest causes of ``signs``, best first, at most ``most``. ``spread``: ``spread_of(site)``, made once a site.
    Signs of assets that the site does not have are left out. The same signs in any order give the same answer."""
    case = _case(spread, signs)
    if not case.points:
        return ()
    nothing = [point.weight * _CHANCE for point in case.points]
    best = list(nothing)
    chosen: list[_Chosen] = []
    trees = {at: _tree(case, at, best) for at in case.candidates}
    for _ in range(most):
        at = _settled(case, min(trees, key=lambda at: (-trees[at].gain, at)), trees, best)
        tree = trees[at]
        if not tree.loglik or (tree.gain <= 0 and chosen):
            break
        chosen += _with_rivals(case, at, tree, nothing)
        for i, loglik in tree.loglik.items():
            best[i] = loglik
        touched = {who for i in tree.loglik for who in case.points[i].causes}
        trees |= {who: _tree(case, who, best) for who in touched}
    return _ranked(case, chosen, most)


def _case(spread: Spread, signs: Sequence[Sign]) -> _Case:
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
        points.append(_Point(at, causes, those[0].since_s, weight, tuple(sign.key for sign in those)))
    candidates: dict[int, list[int]] = defaultdict(list)
    for i, point in enumerate(points):
        for who in point.causes:
            candidates[who].append(i)
    for who, mine in candidates.items():
        mine.sort(key=lambda i: (-points[i].causes[who].p, i))
    return _Case(spread, points, candidates, {point.at: point.since_s for point in reversed(points)})


def _settled(case: _Case, at: int, trees: Mapping[int, _Tree], best: Sequence[float]) -> int:
    """``at``, or the better half of what explains the same signs better as two or three causes than ``at`` does as one: the
    greedy choice alone would blame the grid for any two faults at once."""
    if at in case.own_s:
        return at
    by_gain = sorted(trees, key=lambda who: (-trees[who].gain, who))
    speaking = [who for who in by_gain if who in case.own_s][:_POOL]
    pool = [*speaking, *(who for who in by_gain if who not in case.own_s)][: _POOL + _SILENT_POOL]
    out = {at}
    for _ in range(_SPLITS):
        whole = len(trees[at].loglik)
        out |= {who for who in pool if who not in case.own_s and len(trees[who].loglik) >= _ALL_OF_IT * whole}
        left, total, first = frozenset(trees[at].loglik), 0.0, -1
        for _ in range(3):
            halves = {who: _tree(case, who, best, left) for who in pool if who not in out}
            who = min(halves, key=lambda who: (-halves[who].gain, who), default=-1)
            if who < 0 or halves[who].gain <= 0:
                break
            first = who if first < 0 else first
            total += halves[who].gain
            left -= frozenset(halves[who].loglik)
        if first < 0 or total <= trees[at].gain:
            return at
        at = first
        out.add(at)
    return at


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


def _tree(case: _Case, at: int, best: Sequence[float], only: frozenset[int] | None = None) -> _Tree:
    """Grow the tree of what ``at`` explains better than ``best``, the nearest first. Each link on the way counts once, however
    many signs lie behind it: that it passed trouble on happened once."""
    used: set[tuple[int, int]] = set()
    loglik: dict[int, float] = {}
    missing = total = _missing(case.spread, at)
    for i in case.candidates[at]:
        if only is not None and i not in only:
            continue
        point = case.points[i]
        links, cost = _way(case, at, point, used)
        silence = sum(_missing(case.spread, to) - _silence(case.spread, source, to) for source, to in links)
        early_s = case.own_s.get(at, point.since_s) - point.since_s - ORDER_S
        here = point.weight * (log(_SEEN) - min(max(early_s, 0.0) / ORDER_S, 3.0)) + cost
        if here + silence > best[i]:
            loglik[i] = here
            total += here + silence - best[i]
            missing += silence
            used |= links
    own = 0.0 if at in case.own_s else log(1 - _OWN)
    rate = _PER_YEAR.get(case.spread.site.kind(case.spread.site.ids[at]), _OTHERS_PER_YEAR)
    return _Tree(loglik, total + _PRIOR + 0.25 * log(rate / 0.1) + own, missing)


def _way(case: _Case, at: int, point: _Point, used: set[tuple[int, int]]) -> tuple[set[tuple[int, int]], float]:
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


def _missing(spread: Spread, at: int) -> float:
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


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A cause with its share of the evidence, what it explains, and whose rival it is (-1: nobody's)."""

    at: int
    score: float
    mine: Sequence[int]
    rival_of: int
    missing: float


def _with_rivals(case: _Case, at: int, tree: _Tree, nothing: Sequence[float]) -> list[_Chosen]:
    """``at`` and the two next best causes of what it explains."""
    only = frozenset(tree.loglik)
    others = {who for i in only for who in case.points[i].causes}
    trees = {who: _tree(case, who, nothing, only) for who in others}
    top = sorted(trees, key=lambda who: (who != at, -trees[who].gain, who))[:3]
    peak = max(trees[who].gain for who in top)
    weight = {who: exp(max(_TRUST * (trees[who].gain - peak), -50.0)) for who in top}
    whole, sure = sum(weight.values()), 1 / (1 + exp(_DOUBT - min(tree.gain, 50.0)))
    return [
        _Chosen(who, sure * weight[who] / whole, sorted(trees[who].loglik), -1 if who == at else at, trees[who].missing)
        for who in top
    ]


def _ranked(case: _Case, chosen: Sequence[_Chosen], most: int) -> tuple[Explanation, ...]:
    out: dict[int, Explanation] = {}
    for one in sorted(chosen, key=lambda one: (-one.score, one.at)):
        if one.at not in out and len(out) < most:
            out[one.at] = _explanation(case, one)
    return tuple(out.values())


def _explanation(case: _Case, one: _Chosen) -> Explanation:
    site, at = case.spread.site, one.at
    points = [case.points[i] for i in one.mine]
    keys = tuple(key for point in points for key in point.keys)
    alone = {point.at for point in points} <= {at}
    sensor = alone and one.missing < log(0.3)
    text = "{asset} is the likely cause of {count} signs"
    if sensor:
        text = "{asset} stands alone, what depends on it shows nothing: its sensor may lie"
    elif alone:
        text = "{asset} itself is at fault; nothing else shows"
    risk = _at_risk(case.spread, at, {point.at for point in case.points})
    since_s = min((point.since_s for point in points), default=case.own_s.get(at, 0.0))
    return Explanation(
        asset=site.ids[at],
        kind=site.kind(site.ids[at]),
        score=one.score,
        since=datetime.fromtimestamp(since_s, UTC),
        explains=keys,
        paths={point.keys[0]: _path(case.spread, at, point) for point in points[:MAX_PATHS]},
        at_risk=tuple(site.ids[i] for i in risk[:MAX_AT_RISK]),
        at_risk_count=len(risk),
        sensor=sensor,
        rival_of="" if one.rival_of < 0 else site.ids[one.rival_of],
        summary=Message(text, {"asset": site.ids[at], "count": len(keys)}),
    )


def _path(spread: Spread, at: int, point: _Point) -> tuple[str, ...]:
    """Ids from the cause to the asset of the sign."""
    ids, here = [spread.site.ids[at]], at
    while here != point.at and len(ids) < 20:
        here = point.causes[here].via
        ids.append(spread.site.ids[here])
    return tuple(ids)


def _at_risk(spread: Spread, at: int, showing: set[int]) -> list[int]:
    """Positions of what trouble at ``at`` reaches and that shows nothing yet, the likeliest first."""
    found, open_ = {at: 1.0}, [at]
    for here in open_:
        for to, q in spread.out.get(here, {}).items():
            p = found[here] * q
            if p >= 0.3 and to not in found:
                found[to] = p
                open_.append(to)
    return sorted((i for i in found if i not in showing and i != at), key=lambda i: (-found[i], i))
