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

__all__ = ["MAX_SIGNS", "Explanation", "Sign", "explain", "sign_of", "spread_of"]

MAX_SIGNS = 2000  # looked at; the earliest count, the rest are folded into the cause that would explain them
MAX_PATHS = 20  # drawn for one explanation
MAX_AT_RISK = 50  # named; the number is of all
ORDER_S = 20.0  # polls come some seconds apart: within this, the order of two signs says nothing
_CHANCE = log(0.004)  # that a sign stands for nothing, or for a sensor that lies
_SEEN = 0.8  # that what is harmed also says so
_OWN = 0.8  # that what failed says so itself
_MOST_MISSING = 4  # silent dependents that count in full: their silences have a common reason
# How often one asset of a kind fails in a year. GPUs: 220 of 16,384 in 54 days (Llama 3, 2024); others by order of magnitude.
_PER_YEAR: Mapping[str, float] = {
    "gpu": 0.09, "node": 0.2, "port": 0.1, "switch": 0.05, "rack": 0.05, "pump": 0.2, "cdu": 0.15, "loop": 0.03, "pdu": 0.03,
    "chiller": 0.2, "tower": 0.1, "drycooler": 0.1, "ups": 0.05, "transformer": 0.02, "storage": 0.3, "source": 2.0,
    "valve": 0.1, "grid": 0.5, "meter": 0.05, "battery": 0.05,
}  # fmt: skip
_OTHERS_PER_YEAR = 0.01
_WINDOW_YEARS = 1 / (365.25 * 24)  # within which signs belong together: an hour


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
    """A cause: ``asset`` and its ``kind``; ``score``: 0-1, its share of what is to be explained; ``explains``: keys of signs,
    the earliest first; ``paths``: key -> ids from the cause to the sign's asset, at most ``MAX_PATHS``; ``at_risk``: ids that
    depend on it and show nothing yet, the likeliest first, at most ``MAX_AT_RISK`` of ``at_risk_count``; ``sensor``: it stands
    alone where others should have followed, so its sensor may lie; ``rival_of``: the likelier cause of the same signs ("":
    none)."""

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


@dataclass(frozen=True, slots=True)
class _Point:
    """All signs of one asset in one layer."""

    at: int
    causes: Mapping[int, Reach]
    since_s: float
    weight: float
    keys: tuple[str, ...]


def sign_of(what: Alert | Finding) -> Sign:
    """A finding or an alert as a sign."""
    weight = what.confidence if isinstance(what, Finding) else 1.0
    return Sign(what.key, what.asset, what.metric, what.since.timestamp(), weight)


def explain(spread: Spread, signs: Sequence[Sign], most: int = 5) -> tuple[Explanation, ...]:
    """The likeliest causes of ``signs``, best first, at most ``most``. ``spread``: ``spread_of(site)``, made once a site.
    Signs of assets that the site does not have are left out. The same signs in any order give the same answer."""
    points = _points(spread, signs)
    if not points:
        return ()
    candidates = _candidates(points)
    own_s = {point.at: point.since_s for point in reversed(points)}
    chosen: list[tuple[int, float, list[int]]] = []
    best = [point.weight * _CHANCE for point in points]
    for _ in range(most):
        gains = {at: _gain(spread, at, points, candidates[at], own_s, best) for at in sorted(candidates)}
        at, gain = max(gains.items(), key=lambda item: (item[1], -item[0]))
        if gain <= 0 and chosen:
            break
        mine = _explained(at, points, candidates[at], own_s, best)
        if not mine:
            break
        rivals = _rivals(spread, at, points, mine, candidates, own_s)
        chosen += [(who, max(gain, 0.1) * share, mine) for who, share in rivals]
        for i in mine:
            best[i] = max(best[i], _loglik(at, points[i], own_s))
    return _ranked(spread, points, chosen, own_s, most)


def _points(spread: Spread, signs: Sequence[Sign]) -> list[_Point]:
    """Signs by asset and layer, the earliest first."""
    site = spread.site
    grouped: dict[tuple[int, tuple[Layer, ...]], list[Sign]] = defaultdict(list)
    for sign in sorted(signs, key=lambda sign: (sign.since_s, sign.key)):
        if sign.asset in site.position:
            grouped[site.position[sign.asset], layers_of(site.kind(sign.asset), sign.metric)].append(sign)
    points = []
    for (at, layers), those in list(grouped.items())[:MAX_SIGNS]:
        causes: dict[int, Reach] = {}
        for layer in layers:
            for who, reach in spread.causes(at, layer).items():
                if who not in causes or causes[who].p < reach.p:
                    causes[who] = reach
        weight = max(sign.weight for sign in those)
        points.append(_Point(at, causes, those[0].since_s, weight, tuple(sign.key for sign in those)))
    return points


def _candidates(points: Sequence[_Point]) -> dict[int, list[int]]:
    """Global position -> indices of the points that it may have caused."""
    found: dict[int, list[int]] = defaultdict(list)
    for i, point in enumerate(points):
        for at in point.causes:
            found[at].append(i)
    return found


def _loglik(at: int, point: _Point, own_s: Mapping[int, float]) -> float:
    """Of the point, where ``at`` is the cause: the way there, and whether it spoke before its cause."""
    early_s = own_s.get(at, point.since_s) - point.since_s - ORDER_S
    return point.weight * (log(_SEEN * point.causes[at].p) - min(max(early_s, 0.0) / ORDER_S, 3.0))


def _explained(
    at: int, points: Sequence[_Point], mine: Sequence[int], own_s: Mapping[int, float], best: Sequence[float]
) -> list[int]:
    return [i for i in mine if _loglik(at, points[i], own_s) > best[i]]


def _gain(
    spread: Spread, at: int, points: Sequence[_Point], mine: Sequence[int], own_s: Mapping[int, float], best: Sequence[float]
) -> float:
    """How much likelier all becomes when ``at`` is a cause too."""
    total = _cost(spread, at, points, mine, own_s)
    for i in mine:
        total += max(0.0, _loglik(at, points[i], own_s) - best[i])
    return total


def _cost(spread: Spread, at: int, points: Sequence[_Point], mine: Sequence[int], own_s: Mapping[int, float]) -> float:
    """Log prior of ``at`` as a cause, with its own silence and that of what hangs on it."""
    kind = spread.site.kind(spread.site.ids[at])
    prior = log(_PER_YEAR.get(kind, _OTHERS_PER_YEAR) * _WINDOW_YEARS) - log(1e-6)  # against one in a million
    own = 0.0 if at in own_s else log(1 - _OWN)
    return min(prior, 0.0) + 0.3 * max(prior, 0.0) - 3.0 + own + _missing(spread, at, points, mine)


def _missing(spread: Spread, at: int, points: Sequence[_Point], mine: Sequence[int]) -> float:
    """Log likelihood of the silence of what ``at`` should have harmed."""
    harmed = spread.out.get(at)
    if not harmed:
        return 0.0
    spoke = {points[i].causes[at].via for i in mine}
    silent = [log(1 - _SEEN * q) for to, q in harmed.items() if to not in spoke]
    return sum(silent) * min(1.0, _MOST_MISSING / len(harmed))


def _rivals(
    spread: Spread,
    at: int,
    points: Sequence[_Point],
    mine: Sequence[int],
    candidates: Mapping[int, Sequence[int]],
    own_s: Mapping[int, float],
) -> list[tuple[int, float]]:
    """(position, probability) of ``at`` and the next best causes of the points ``mine``."""
    nothing = [points[i].weight * _CHANCE for i in range(len(points))]
    those = set(mine)
    scores: dict[int, float] = {}
    for who in {who for i in mine for who in points[i].causes}:
        total = _cost(spread, who, points, candidates[who], own_s)
        for i in those.intersection(candidates[who]):
            total += max(0.0, _loglik(who, points[i], own_s) - nothing[i])
        scores[who] = total
    top = sorted(scores, key=lambda who: (who != at, -scores[who], who))[:3]
    peak = max(scores[who] for who in top)
    weights = {who: exp(max(scores[who] - peak, -50.0)) for who in top}
    total = sum(weights.values())
    return [(who, weights[who] / total) for who in top]


def _ranked(
    spread: Spread,
    points: Sequence[_Point],
    chosen: Sequence[tuple[int, float, list[int]]],
    own_s: Mapping[int, float],
    most: int,
) -> tuple[Explanation, ...]:
    whole = sum(score for _, score, _ in chosen) or 1.0
    out: dict[int, Explanation] = {}
    leads = {tuple(mine): at for at, _, mine in reversed(chosen)}
    for at, score, mine in sorted(chosen, key=lambda item: (-item[1], item[0])):
        if at not in out and len(out) < most:
            lead = leads[tuple(mine)]
            rival = "" if at == lead else spread.site.ids[lead]
            out[at] = _explanation(spread, at, score / whole, points, mine, own_s, rival)
    return tuple(out.values())


def _explanation(
    spread: Spread,
    at: int,
    score: float,
    points: Sequence[_Point],
    mine: Sequence[int],
    own_s: Mapping[int, float],
    rival_of: str,
) -> Explanation:
    site = spread.site
    mine = [i for i in mine if at in points[i].causes]
    since_s = min((points[i].since_s for i in mine), default=own_s.get(at, 0.0))
    paths = {points[i].keys[0]: _path(spread, at, points[i]) for i in mine[:MAX_PATHS]}
    showing = {point.at for point in points}
    risk = _at_risk(spread, at, showing)
    alone = {points[i].at for i in mine} <= {at}
    sensor = alone and _missing(spread, at, points, mine) < log(0.3)
    keys = tuple(key for i in mine for key in points[i].keys)
    text = "{asset} is the likely cause of {count} signs"
    if sensor:
        text = "{asset} stands alone, what depends on it shows nothing: its sensor may lie"
    elif alone:
        text = "{asset} itself is at fault; nothing else shows"
    return Explanation(
        site.ids[at],
        site.kind(site.ids[at]),
        score,
        datetime.fromtimestamp(since_s, UTC),
        keys,
        paths,
        tuple(site.ids[i] for i in risk[:MAX_AT_RISK]),
        len(risk),
        sensor,
        rival_of,
        Message(text, {"asset": site.ids[at], "count": len(keys)}),
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
