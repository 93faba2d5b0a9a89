"""A site: all assets of one centre and how they hang together, as columns, checked once before anything starts.

Two tables (CSV) describe it. *Assets*: ``id,kind,parent`` and any attribute of ``twin.kinds``; *links*: ``from,to,relation``
and an optional ``share`` (the part of the load that a feed or loop takes when an asset has several; empty: equal parts).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints
from twin.kinds import KINDS, RELATIONS

Bools = NDArray[np.bool_]
_KINDS = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Links:
    """Links of one relation: global positions ``source`` -> ``target`` (int32[m]) and ``share`` (float64[m], 0-1; the
    shares of one target sum to 1)."""

    source: Ints
    target: Ints
    share: Floats


@dataclass(frozen=True)
class Site:
    """All assets and links of one centre.

    Assets are numbered globally in the order of the tables; within a kind they have a *row*, which is what frames and
    state speak of. ``kind_of``: int16[N] index into ``KINDS``; ``row_of``: int32[N]; ``parent``: int32[N], -1 for the
    site itself; ``numbers`` and ``texts``: attribute -> N values (NaN, "" where not given).
    Build it with ``twin.load.build_site``, which checks; the constructor does not.
    """

    name: str
    timezone: str
    ids: tuple[str, ...]
    kind_of: NDArray[np.int16]
    row_of: Ints
    parent: Ints
    numbers: Mapping[str, Floats]
    texts: Mapping[str, Sequence[str]]
    links: Mapping[str, Links]
    _cache: dict[tuple[str, ...], NDArray[np.int32]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Asset id -> global position."""
        return {asset: i for i, asset in enumerate(self.ids)}

    @cached_property
    def all_assets(self) -> Ints:
        """int32[N]: all global positions."""
        return np.arange(len(self.ids), dtype=np.int32)

    @cached_property
    def _by_kind(self) -> Mapping[str, Ints]:
        codes = self.kind_of
        return {kind: np.flatnonzero(codes == code).astype(np.int32) for code, kind in enumerate(KINDS)}

    def of_kind(self, kind: str) -> Ints:
        """int32[n]: global positions of the assets of ``kind``, by row."""
        return self._by_kind[kind]

    def count(self, kind: str) -> int:
        """How many assets of ``kind`` there are."""
        return len(self._by_kind[kind])

    def all_rows(self, kind: str) -> Ints:
        """int32[n]: 0..n-1, one shared array for frames that speak of every asset of ``kind``."""
        key = ("all", kind)
        if key not in self._cache:
            self._cache[key] = np.arange(self.count(kind), dtype=np.int32)
        return self._cache[key]

    def ids_of(self, kind: str) -> list[str]:
        """Asset ids of ``kind``, by row."""
        return [self.ids[i] for i in self.of_kind(kind)]

    def kind(self, asset: str) -> str:
        """Kind of the asset with this id; ``KeyError`` where there is none."""
        return _KINDS[int(self.kind_of[self.position[asset]])]

    def row(self, asset: str) -> int:
        """Row within its kind of the asset with this id; ``KeyError`` where there is none."""
        return int(self.row_of[self.position[asset]])

    def number(self, kind: str, attribute: str, default: float = float("nan")) -> Floats:
        """float64[n]: a number attribute of all assets of ``kind``, ``default`` where not given."""
        if attribute not in self.numbers:
            return np.full(self.count(kind), default)
        column = self.numbers[attribute][self.of_kind(kind)]
        return np.where(np.isnan(column), default, column)

    def text(self, kind: str, attribute: str) -> list[str]:
        """A text attribute of all assets of ``kind``, by row; "" where not given."""
        column = self.texts.get(attribute)
        return [column[i] if column else "" for i in self.of_kind(kind)]

    def within(self, kind: str, container: str) -> Ints:
        """int32[n]: for each asset of ``kind`` the row of the ``container`` (a kind) that holds it, -1 where none does."""
        key = (kind, container)
        if key not in self._cache:
            code = _KINDS.index(container)
            here = self.of_kind(kind).copy()
            found = np.full(len(here), -1, dtype=np.int32)
            open_ = here >= 0
            while open_.any():
                hit = open_ & (self.kind_of[here] == code)
                found[hit] = self.row_of[here[hit]]
                open_ &= ~hit
                here[open_] = self.parent[here[open_]]
                open_ &= here >= 0
            self._cache[key] = found
        return self._cache[key]

    def sum_into(self, kind: str, container: str, values: Floats) -> Floats:
        """float64[m]: ``values`` (one for each asset of ``kind``) summed over each ``container``; NaN counts as nothing,
        a container none of whose assets has a value gets NaN."""
        where = self.within(kind, container)
        known = (where >= 0) & ~np.isnan(values)
        m = self.count(container)
        total = np.bincount(where[known], weights=values[known], minlength=m)
        seen = np.bincount(where[known], minlength=m)
        return np.where(seen > 0, total, np.nan)

    def linked(self, relation: str, source_kind: str, target_kind: str) -> tuple[Ints, Ints, Floats]:
        """Links of ``relation`` between two kinds, as (row of source, row of target, share)."""
        links = self.links[relation]
        take: Bools = (self.kind_of[links.source] == _KINDS.index(source_kind)) & (
            self.kind_of[links.target] == _KINDS.index(target_kind)
        )
        return self.row_of[links.source[take]], self.row_of[links.target[take]], links.share[take]


def empty_links() -> dict[str, Links]:
    """No links, for every relation."""
    none = np.empty(0, dtype=np.int32)
    return {relation: Links(none, none, np.empty(0)) for relation in RELATIONS}


def without(site: Site, left_out: Iterable[str]) -> Site:
    """The site less these assets and all that they contain, with the links between what remains. Rows are numbered anew, so
    they are those of ``site`` only for kinds whose left-out assets stand last. ``KeyError`` for an id that is no asset."""
    gone = np.zeros(len(site.ids), dtype=np.bool_)
    gone[np.array([site.position[asset] for asset in left_out], dtype=np.intp)] = True
    below = site.parent.copy()
    while (below >= 0).any():
        gone |= (below >= 0) & gone[below]
        below = np.where(below >= 0, site.parent[below], -1)
    kept = np.flatnonzero(~gone)
    moved = np.cumsum(~gone, dtype=np.int32) - 1
    row_of = np.zeros(len(kept), dtype=np.int32)
    for code in np.unique(site.kind_of[kept]):
        mine = site.kind_of[kept] == code
        row_of[mine] = np.arange(np.count_nonzero(mine))
    parent = site.parent[kept]
    links = {}
    for relation, old in site.links.items():
        stays = ~(gone[old.source] | gone[old.target])
        links[relation] = Links(moved[old.source[stays]], moved[old.target[stays]], old.share[stays])
    return Site(
        site.name,
        site.timezone,
        tuple(site.ids[int(i)] for i in kept),
        site.kind_of[kept],
        row_of,
        np.where(parent >= 0, moved[parent], -1).astype(np.int32),
        {name: column[kept] for name, column in site.numbers.items()},
        {name: [column[int(i)] for i in kept] for name, column in site.texts.items()},
        links,
    )


def asset_path(site: Site, asset: str) -> list[str]:
    """Ids from the site down to ``asset``."""
    path, here = [], site.position[asset]
    while here >= 0:
        path.append(site.ids[here])
        here = int(site.parent[here])
    return path[::-1]


def children(site: Site, asset: str) -> Iterable[str]:
    """Ids of what ``asset`` directly contains, in the order of the tables."""
    return (site.ids[i] for i in np.flatnonzero(site.parent == site.position[asset]))
