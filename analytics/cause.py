"""From many findings and alerts to the few causes behind them, over the links of the site and the order in time. Pure.

A set of causes is looked for that is likeliest together (``analytics.blame``): first greedily, then each cause of the set is
taken out and what it explained is explained otherwise, by one other or by two, as long as that is likelier. What was tried in
the place of a cause and is nearly as likely is its rival; the score of a cause is its share among those.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log

from analytics.alerts import Alert
from analytics.blame import MAX_SIGNS, Case, Point, Sign, Tree, case_of, tree_of
from analytics.finding import Finding
from analytics.spread import Spread, spread_of
from twin.message import Message

__all__ = ["MAX_SIGNS", "Explanation", "Sign", "Spread", "explain", "sign_of", "spread_of"]

MAX_PATHS = 20  # drawn for one explanation
MAX_AT_RISK = 50  # named; the number is of all
_OTHERS, _SILENT = 6, 4  # tried in the place of one cause, those that say something themselves and those that do not
_POOL = 24  # candidates for what another in the place of a cause leaves unexplained
_HALVES = 2  # more causes, to explain what such another leaves unexplained
_ROUNDS = 4  # of putting another in the place of a cause
_MANY = 100  # assets to be explained from which one round must do: a storm is to be told within a second or two
_LEAST_GAIN = -1.5  # in log likelihood, of a cause that is still named, the last of all
_DOUBT = 2.0  # gain in log likelihood at which a cause is as likely as chance
_TRUST = 0.5  # in differences of log likelihood between rivals: signs depend on each other in more ways than are known here


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


def sign_of(what: Alert | Finding) -> Sign:
    """A finding or an alert as a sign."""
    weight = what.confidence if isinstance(what, Finding) else 1.0
    return Sign(what.key, what.asset, what.metric, what.since.timestamp(), weight)


def explain(spread: Spread, signs: Sequence[Sign], most: int = 5) -> tuple[Explanation, ...]:
    """The likeliest causes of ``signs``, best first, at most ``most``. ``spread``: ``spread_of(site)``, made once a site.
    Signs of assets that the site does not have are left out. The same signs in any order give the same answer."""
    case = case_of(spread, signs)
    if not case.points:
        return ()
    found = _grown(case, _weighed(case, ()), most, case.candidates.keys())
    for _ in range(_ROUNDS if len(case.points) <= _MANY else 1):
        others = {at: list(_otherwise(case, found, at)) for at in found.causes}
        best = max((one for tried in others.values() for one in tried), key=lambda one: (one.total, one.causes), default=found)
        if best.total <= found.total + 1e-9:
            break
        found, others = best, {}
    listed = _grown(case, found, most - len(found.causes), case.candidates.keys(), _LEAST_GAIN)
    chosen: list[_Chosen] = []
    for at in listed.causes:
        together = found if at in found.causes else listed
        tried = others[at] if at in others else list(_otherwise(case, together, at))
        chosen += _scored(case, together, at, tried)
    return _ranked(case, chosen, most)


@dataclass(frozen=True, slots=True)
class _Set:
    """Causes taken together: ``causes``; ``total``: how much likelier they make the signs; ``best``: log likelihood of each
    point; ``owner``: which cause explains it (-1: none)."""

    causes: tuple[int, ...]
    total: float
    best: Sequence[float]
    owner: Sequence[int]


def _weighed(case: Case, causes: Sequence[int]) -> _Set:
    """The causes together, each growing its tree in turn, the one that gains most first."""
    out = _Set((), 0.0, [point.nothing for point in case.points], [-1] * len(case.points))
    left = set(causes)
    while left:
        trees = {at: tree_of(case, at, out.best) for at in sorted(left)}
        at = max(trees, key=lambda at: trees[at].gain)
        out = _with(out, at, trees[at])
        left.discard(at)
    return out


def _with(one: _Set, at: int, tree: Tree) -> _Set:
    best, owner = list(one.best), list(one.owner)
    for i, loglik in tree.loglik.items():
        best[i], owner[i] = loglik, at
    return _Set((*one.causes, at), one.total + tree.gain, best, owner)


def _grown(case: Case, one: _Set, most: int, pool: Set[int], least: float = 0.0) -> _Set:
    """More causes out of ``pool``, the one that gains most first, while that gains over ``least``: at most ``most``."""
    trees = {at: tree_of(case, at, one.best) for at in pool - set(one.causes)}
    for _ in range(most):
        at = min(trees, key=lambda at: (-trees[at].gain, at), default=-1)
        if at < 0 or not trees[at].loglik or (trees[at].gain <= least and one.causes):
            break
        one = _with(one, at, trees[at])
        touched = {other for i in trees[at].loglik for other in case.points[i].causes} & trees.keys()
        del trees[at]
        trees |= {other: tree_of(case, other, one.best) for other in touched - {at}}
    return one


def _otherwise(case: Case, found: _Set, at: int) -> Iterator[_Set]:
    """Sets in which others stand in the place of ``at``: each of those that could explain most of what it does, with what is
    left over explained by up to ``_HALVES`` more."""
    rest = _weighed(case, [other for other in found.causes if other != at])
    mine = [i for i, owner in enumerate(found.owner) if owner == at]
    who = {other for i in mine for other in case.points[i].causes} - set(found.causes)
    trees = {other: tree_of(case, other, rest.best) for other in who}
    speaking = sorted((o for o in trees if o in case.own_s), key=lambda o: (-trees[o].gain, o))[:_OTHERS]
    silent = sorted((o for o in trees if o not in case.own_s), key=lambda o: (-trees[o].gain, o))[:_SILENT]
    pool = frozenset(sorted(trees, key=lambda o: (-trees[o].gain, o))[:_POOL])
    for other in (*speaking, *silent):
        if trees[other].loglik:
            with_other = _with(rest, other, trees[other])
            yield with_other if len(case.points) > _MANY else _grown(case, with_other, _HALVES, pool - {at})
    if rest.causes:
        yield rest


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A cause with its share of the evidence, what it explains, and whose rival it is (-1: nobody's)."""

    at: int
    score: float
    mine: Sequence[int]
    rival_of: int
    missing: float


def _scored(case: Case, found: _Set, at: int, others: Sequence[_Set]) -> Iterator[_Chosen]:
    """The cause and its rivals, by their shares."""
    weight: dict[int, float] = {at: 1.0}
    without = 0.0
    shares: dict[frozenset[int], float] = {}
    for one in others:
        new = frozenset(one.causes) - frozenset(found.causes)
        if new:
            shares[new] = exp(max(_TRUST * (one.total - found.total), -50.0))
        else:
            without = one.total
    for new, share in shares.items():
        for who in new:
            weight[who] = max(weight.get(who, 0.0), share)
    whole = 1.0 + sum(shares.values())
    sure = 1 / (1 + exp(_DOUBT - min(found.total - without, 50.0)))
    mine = frozenset(i for i, owner in enumerate(found.owner) if owner == at)
    for who in sorted(weight, key=lambda who: (who != at, -weight[who], who))[:3]:
        tree = tree_of(case, who, [point.nothing for point in case.points], mine)
        yield _Chosen(who, sure * weight[who] / whole, sorted(tree.loglik), -1 if who == at else at, tree.missing)


def _ranked(case: Case, chosen: Sequence[_Chosen], most: int) -> tuple[Explanation, ...]:
    out: dict[int, Explanation] = {}
    for one in sorted(chosen, key=lambda one: (-one.score, one.at)):
        if one.at not in out and len(out) < most:
            out[one.at] = _explanation(case, one)
    return tuple(out.values())


def _explanation(case: Case, one: _Chosen) -> Explanation:
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


def _path(spread: Spread, at: int, point: Point) -> tuple[str, ...]:
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
