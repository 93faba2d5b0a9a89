"""A site with more racks: copies of one that it has, with all that stands in it and all its links."""

from collections.abc import Sequence

import numpy as np

from twin.errors import ConfigError, Problem
from twin.load import MAX_ASSETS
from twin.site import Links, Site


def grown(site: Site, added: Sequence[tuple[str, int]]) -> Site:
    """``site`` with ``count`` copies of each rack named in ``added``; their ids end in ``+1``, ``+2``, …

    What feeds, cools or connects the original does the same to the copies (and so carries more). ``ConfigError`` where the
    site would become larger than a site may be.
    """
    for like, count in added:
        site = _with_copies(site, like, count)
    return site


def _with_copies(site: Site, like: str, count: int) -> Site:
    inside = np.zeros(len(site.ids), dtype=np.bool_)
    inside[site.position[like]] = True
    for i in range(len(site.ids)):  # parents need not come first, but containers are few levels deep
        here, path = i, []
        while here >= 0 and not inside[here]:
            path.append(here)
            here = int(site.parent[here])
        if here >= 0:
            inside[path] = True
    rows = np.flatnonzero(inside)
    if len(site.ids) + count * len(rows) > MAX_ASSETS:
        raise ConfigError([Problem(f"added rack like {like}", f"the site would have more than {MAX_ASSETS} assets; add fewer")])
    old = len(site.ids)
    moved = np.full(old, -1, dtype=np.int64)
    moved[rows] = np.arange(len(rows))
    shifts = [old + copy * len(rows) for copy in range(count)]
    above = site.parent[rows]
    parents = [np.where((above >= 0) & inside[np.maximum(above, 0)], moved[above] + shift, above) for shift in shifts]
    kind_of = np.concatenate([site.kind_of, np.tile(site.kind_of[rows], count)])
    row_of = np.zeros(len(kind_of), dtype=np.int32)
    for code in np.unique(kind_of):
        mine = kind_of == code
        row_of[mine] = np.arange(np.count_nonzero(mine))
    ids = [f"{site.ids[int(i)]}+{copy + 1}" for copy in range(count) for i in rows]
    if taken := [name for name in ids if name in site.position]:
        raise ConfigError([Problem(f"added rack like {like}", f"there is already an asset {taken[0]!r}; copy another rack")])
    links = {}
    for relation, given in site.links.items():
        touched = np.flatnonzero(inside[given.target])  # what feeds, cools or connects it, and what stands within
        source, target = given.source[touched], given.target[touched]
        sources = [np.where(inside[source], moved[source] + shift, source) for shift in shifts]
        targets = [moved[target] + shift for shift in shifts]
        links[relation] = Links(
            np.concatenate([given.source, *sources]).astype(np.int32),
            np.concatenate([given.target, *targets]).astype(np.int32),
            np.concatenate([given.share, np.tile(given.share[touched], count)]),
        )
    return Site(
        site.name,
        site.timezone,
        (*site.ids, *ids),
        kind_of,
        row_of,
        np.concatenate([site.parent, *parents]).astype(np.int32),
        {name: np.concatenate([column, np.tile(column[rows], count)]) for name, column in site.numbers.items()},
        {name: [*column, *([column[int(i)] for i in rows] * count)] for name, column in site.texts.items()},
        links,
    )
