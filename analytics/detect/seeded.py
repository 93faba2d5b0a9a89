"""Seeded faults on a site's graph, with the findings they would leave: what the search for causes is judged on.

The consequences are written fault by fault in ``faults.toml``, from what such faults do in a plant, and know nothing of
``analytics.spread``: which assets show what, how often, and after how long. On top come findings that mean nothing, a root that
itself says nothing, a sensor that lies more loudly than anything true, polls that blur the order, and a second fault elsewhere.
"""

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from analytics.cause import Sign
from twin.kinds import KINDS
from twin.site import Site

POLL_S = 15.0  # a finding is seen up to so much later than it began
SILENT_ROOT, LIAR, SECOND = 0.15, 0.5, 0.4  # how often
NOW_S = 1.8e9  # s since 1970, about when it happens
NOISE = 3.0  # findings that mean nothing, in the mean
_KIND = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Effect:
    """``at``: which assets, seen from the root; ``metric``; ``p``: of each to show it; ``after_s``: from-to."""

    at: str
    metric: str
    p: float
    after_s: tuple[float, float] = (0.0, 5.0)


@dataclass(frozen=True, slots=True)
class Case:
    """Findings and the truth. ``deviation``: how far each is off, for whoever ranks by that; ``roots``: the assets at fault;
    ``liars``: those whose sensor lies and that are well."""

    signs: Sequence[Sign]
    deviation: Mapping[str, float]
    roots: Sequence[str]
    liars: Sequence[str]


def _read_faults() -> Mapping[str, tuple[str, tuple[Effect, ...]]]:
    """Name -> (kind of root, what it does)."""
    table = tomllib.loads(Path(__file__).with_name("faults.toml").read_text(encoding="utf-8"))
    return {
        row["name"]: (row["root"], tuple(Effect(e["at"], e["metric"], e["p"], tuple(e["after_s"])) for e in row["shows"]))
        for row in table["fault"]
    }


FAULTS = MappingProxyType(_read_faults())


def seeded(site: Site, rng: np.random.Generator, second: float = SECOND, liar: float = LIAR) -> Case:
    """One case: one fault or two (with probability ``second``), a sensor that lies (``liar``), what else is found around it."""
    graph = _Graph(site)
    signs: dict[str, Sign] = {}
    off: dict[str, float] = {}
    roots: list[str] = []
    for _ in range(2 if rng.random() < second else 1):
        kind, effects = list(FAULTS.values())[int(rng.integers(len(FAULTS)))]
        root = int(rng.choice(graph.roots(kind)))
        if site.ids[root] in roots:
            continue
        roots.append(site.ids[root])
        _play(graph, rng, root, effects, NOW_S + rng.uniform(0, 300), signs, off)
    for _ in range(int(rng.poisson(NOISE))):
        asset = site.ids[int(rng.integers(len(site.ids)))]
        _say(rng, asset, str(rng.choice(("temp_c", "power_w", "flow_kgps"))), NOW_S + rng.uniform(-100, 500), signs, off, 1.0)
    liars = []
    if rng.random() < liar:
        kind = str(rng.choice(("cdu", "rack", "loop", "ups")))
        lies = site.ids[int(rng.choice(site.of_kind(kind)))]
        if lies not in roots:
            liars.append(lies)
            name = "loading_frac" if kind == "ups" else "supply_temp_c"
            _say(rng, lies, name, NOW_S + rng.uniform(-100, 300), signs, off, 6.0)
    return Case(list(signs.values()), off, roots, liars)


def _play(
    graph: "_Graph",
    rng: np.random.Generator,
    root: int,
    effects: Sequence[Effect],
    start_s: float,
    signs: dict[str, Sign],
    off: dict[str, float],
) -> None:
    silent = rng.random() < SILENT_ROOT and any(effect.at != "self" and effect.p > 0.5 for effect in effects)
    for effect in effects:
        if effect.at == "self" and silent:
            continue
        for at in graph.at(effect.at, root):
            if rng.random() < effect.p:
                after_s = rng.uniform(*effect.after_s)
                _say(rng, graph.site.ids[at], effect.metric, start_s + after_s, signs, off, 2.0)


def _say(
    rng: np.random.Generator,
    asset: str,
    metric: str,
    at_s: float,
    signs: dict[str, Sign],
    off: dict[str, float],
    size: float,
) -> None:
    key = f"{metric}:{asset}"
    if key not in signs:
        signs[key] = Sign(key, asset, metric, at_s + rng.uniform(0, POLL_S))
        off[key] = size * float(rng.lognormal(0.0, 0.6))


class _Graph:
    """Who is where, seen from an asset, as global positions."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._down: dict[str, dict[int, list[int]]] = {}
        self._up: dict[str, dict[int, list[int]]] = {}
        for relation, links in site.links.items():
            down, up = self._down.setdefault(relation, defaultdict(list)), self._up.setdefault(relation, defaultdict(list))
            for source, target in zip(links.source.tolist(), links.target.tolist(), strict=True):
                down[source].append(target)
                up[target].append(source)
        self._parts: dict[int, list[int]] = defaultdict(list)
        for child, parent in enumerate(site.parent.tolist()):
            self._parts[parent].append(child)

    def roots(self, kind: str) -> list[int]:
        """Where a fault of this kind may strike."""
        site = self.site
        if kind in ("cdu-pump", "loop-pump"):
            return [p for p in site.of_kind("pump").tolist() if self.kind(int(site.parent[p])) == kind.removesuffix("-pump")]
        if kind in ("leaf", "spine"):
            wanted = "rack" if kind == "leaf" else "hall"
            return [s for s in site.of_kind("switch").tolist() if self.kind(int(site.parent[s])) == wanted]
        return [int(i) for i in site.of_kind(kind)]

    def kind(self, at: int) -> str:
        """Kind of the asset at a global position."""
        return _KIND[int(self.site.kind_of[at])]

    def at(self, which: str, root: int) -> list[int]:
        """The assets that ``which`` names, seen from ``root``."""
        parent = int(self.site.parent[root])
        direct = {
            "self": lambda: [root],
            "parent": lambda: [parent],
            "sibling": lambda: [i for i in self._parts[parent] if i != root and self.kind(i) == self.kind(root)],
            "parts": lambda: self._ports(root),
            "cooled": lambda: self._down["cools"][root],
            "cooled by parent": lambda: self._down["cools"][parent],
            "cooler": lambda: self._up["cools"][root],
            "fed": lambda: self._down["feeds"][root],
            "connected": lambda: self._down["connects"][root],
            "parts of connected": lambda: [p for i in self._down["connects"][root] for p in self._ports(i)],
            "partner feeds": lambda: self._partners("feeds", root),
            "partner cools": lambda: self._partners("cools", root),
            "gpus in": lambda: self._gpus([root]),
            "gpus cooled": lambda: self._gpus(self._down["cools"][root]),
            "gpus cooled by parent": lambda: self._gpus(self._down["cools"][parent]),
        }
        return direct[which]()

    def _ports(self, at: int) -> list[int]:
        return [i for i in self._parts[at] if self.kind(i) == "port"]

    def _partners(self, relation: str, root: int) -> list[int]:
        shared = {p for target in self._down[relation][root] for p in self._up[relation][target]}
        return sorted(shared - {root})

    def _gpus(self, places: Sequence[int]) -> list[int]:
        found, open_ = [], list(places)
        for here in open_:
            open_ += self._parts[here]
            if self.kind(here) == "gpu":
                found.append(here)
        return found


def by_deviation(case: Case) -> list[str]:
    """The rule "largest deviation": assets by how far they are off."""
    most: dict[str, float] = {}
    for sign in case.signs:
        most[sign.asset] = max(most.get(sign.asset, 0.0), case.deviation[sign.key])
    return sorted(most, key=lambda asset: (-most[asset], asset))


def by_upstream(site: Site, case: Case) -> list[str]:
    """The rule "nearest upstream": from each sign to the most upstream asset above it that shows a sign too, over places and
    links; those by how many signs lead there."""
    showing = {site.position[sign.asset] for sign in case.signs}
    above: dict[int, set[int]] = defaultdict(set)
    for links in site.links.values():
        for source, target in zip(links.source.tolist(), links.target.tolist(), strict=True):
            if target in showing or source in showing:
                above[target].add(source)
    votes: dict[int, int] = defaultdict(int)
    for at in sorted(showing):
        here, seen = at, {at}
        while True:
            up = (above[here] | {int(site.parent[here])}) & showing - seen
            if not up:
                break
            here = min(up)
            seen.add(here)
        votes[here] += 1
    return [site.ids[i] for i in sorted(votes, key=lambda i: (-votes[i], i))]


def accuracy_at(k: int, ranked: Sequence[str], roots: Sequence[str]) -> float:
    """AC@k of one case: share of the roots among the first k, of as many as fit there (Pham et al., RCAEval 2024)."""
    return len(set(ranked[:k]) & set(roots)) / min(k, len(roots))
