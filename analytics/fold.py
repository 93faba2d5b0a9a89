"""Cause first: which alert explains which, by what the topology passes on. Pure, over columns.

An alert whose rule ``breaks`` something says that its asset no longer passes it on. What is then missing further on:

- *power* is gone where all feeds of an asset have none, and in what stands inside such an asset and has no feeds of its own; an
  asset that lost some of its feeds is explained too while that is fresh (``SOON_S``);
- *cooling* suffers where any of what cools an asset is broken or has no power, and inside; a pump or valve takes along what it
  is a part of;
- *network* is gone where all links towards an asset come from something broken or without power, and inside;
- *telemetry* of an asset is gone where the source that reads it is.

An alert is explained by what is missing where it is, if its rule suffers from that and it did not begin well before. The
explanation is the alert furthest upstream. One that is only pending explains too: whoever pages waits for what becomes of it,
yet not for one whose readings have stopped, which stays pending for as long as they do (``UNDECIDED_S``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from analytics.alerts import AlertTable
from analytics.rule import Domain, Severity
from analytics.tracks import FIRING, PENDING, RESOLVED
from twin.frame import Bytes, Floats, Ints
from twin.kinds import KINDS
from twin.site import Bools, Site

SLACK_S = 180.0  # an alert that began so long before another is not explained by it: holds and polls differ by less
SOON_S = 900.0  # for so long after a partial loss of feeds is what begins downstream explained by it
AFTERMATH_S = 300.0  # what a resolved cause has explained stays explained for so long
UNDECIDED_S = 60.0  # beyond its hold time an alert that is still pending explains nothing
MAX_DEPTH = 64  # of a chain of links
DOMAINS = tuple(Domain)
_KIND = {kind: code for code, kind in enumerate(KINDS)}
_COOLERS = tuple(_KIND[kind] for kind in ("cdu", "loop", "pump", "chiller", "tower", "drycooler"))
_PARTS = tuple(_KIND[kind] for kind in ("pump", "valve"))
_SWITCHES = (_KIND["switch"],)


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Alerts as columns, k of them. ``position``: int32, global position of the asset, -1 where it is none of the site's;
    ``began_s``: s since 1970; ``rank``: int16, lower is more severe; ``phase``: uint8 as in ``analytics.tracks``; ``breaks``:
    int8 index into ``DOMAINS``, -1 for nothing; ``suffers``: uint8, a bit for each of ``DOMAINS``."""

    position: Ints
    began_s: Floats
    rank: NDArray[np.int16]
    phase: Bytes
    breaks: NDArray[np.int8]
    suffers: Bytes


def explained(site: Site, alerts: Conditions, read_by: Ints | None = None) -> Ints:
    """int32[k]: for each alert the one that explains it, -1 where none does. ``read_by``: int32[N], the global position of the
    source that reads each asset, -1 where that is not known."""
    n, k = len(site.ids), len(alerts.position)
    cause = np.full(k, -1, dtype=np.int32)
    if not k or not (alerts.breaks >= 0).any():
        return cause
    own = {domain: _own(alerts, code, n) for code, domain in enumerate(DOMAINS)}
    lost = _lost(site, own)
    at = np.maximum(alerts.position, 0)
    known = alerts.position >= 0
    for domain, root, within_s in (*lost, (Domain.TELEMETRY, _unread(own[Domain.TELEMETRY], read_by, n), np.inf)):
        bit = 1 << DOMAINS.index(domain)
        found = np.where(known & ((alerts.suffers & bit) > 0) & (cause < 0), root[at], -1)
        began = np.where(found >= 0, alerts.began_s[found], np.inf)
        fits = (found >= 0) & (found != np.arange(k)) & (alerts.began_s >= began - SLACK_S)
        fits &= alerts.began_s - began <= within_s
        cause[fits] = found[fits]
    return _furthest(cause)


def _own(alerts: Conditions, code: int, n: int) -> Ints:
    """int32[N]: the alert that says that an asset broke this, the most severe and oldest of several; -1 where none does."""
    found = np.full(n, -1, dtype=np.int32)
    mine = np.flatnonzero((alerts.breaks == code) & (alerts.position >= 0))
    order = mine[np.lexsort((alerts.began_s[mine], alerts.rank[mine], alerts.phase[mine] != FIRING))][::-1]
    found[alerts.position[order]] = order  # the last one written stays: the first of the order
    return found


def _lost(site: Site, own: Mapping[Domain, Ints]) -> list[tuple[Domain, Ints, float]]:
    """What is missing where: (of what, int32[N] the alert at its root or -1, for how many seconds after that it explains)."""
    feeds, cools, connects = (site.links[name] for name in ("feeds", "cools", "connects"))
    power = _spread(site, own[Domain.POWER], feeds.source, feeds.target, whole=True)
    part = _spread(site, power, feeds.source, feeds.target, whole=False)
    heat = _unless(own[Domain.COOLING], power, np.isin(site.kind_of, _COOLERS))
    heat = _upward(site, heat)
    heat = _spread(site, heat, cools.source, cools.target, whole=False)
    net = _unless(own[Domain.NETWORK], power, np.isin(site.kind_of, _SWITCHES))
    net = _spread(site, net, connects.source, connects.target, whole=True)
    return [
        (Domain.POWER, power, np.inf),
        (Domain.COOLING, heat, np.inf),
        (Domain.NETWORK, net, np.inf),
        (Domain.POWER, part, SOON_S),
    ]


def _unless(own: Ints, upstream: Ints, where: Bools) -> Ints:
    """``own``, with what is missing upstream in its place for the assets ``where`` that passes on."""
    taken: Ints = np.where(where & (upstream >= 0), upstream, own).astype(np.int32)
    return taken


def _upward(site: Site, root: Ints) -> Ints:
    """A broken pump or valve is one of what it is a part of."""
    found = root.copy()
    parts = np.flatnonzero((root >= 0) & np.isin(site.kind_of, _PARTS) & (site.parent >= 0))
    inside = parts[np.isin(site.kind_of[site.parent[parts]], _COOLERS)]
    found[site.parent[inside]] = root[inside]
    return found


def _spread(site: Site, own: Ints, source: Ints, target: Ints, whole: bool) -> Ints:
    """int32[N]: the root of what is missing at each asset: handed on along links (from all sources where ``whole``, else from
    any) and from what contains an asset that has no links of its own; else its own."""
    n = len(own)
    links = np.bincount(target, minlength=n)
    inherits = (links == 0) & (site.parent >= 0)
    above = np.maximum(site.parent, 0)
    root = own
    for _ in range(MAX_DEPTH):
        gone = root[source] >= 0
        count = np.bincount(target[gone], minlength=n)
        handed = (count == links) & (links > 0) if whole else count > 0
        first = np.full(n, np.iinfo(np.int32).max, dtype=np.int64)
        np.minimum.at(first, target[gone], root[source[gone]])
        new = np.where(handed, np.minimum(first, np.iinfo(np.int32).max), own)
        new = np.where(inherits & (root[above] >= 0), root[above], new).astype(np.int32)
        if np.array_equal(new, root):
            break
        root = new
    return root


def _unread(own: Ints, read_by: Ints | None, n: int) -> Ints:
    if read_by is None:
        return np.full(n, -1, dtype=np.int32)
    found: Ints = np.where(read_by >= 0, own[np.maximum(read_by, 0)], -1).astype(np.int32)
    return found


def _furthest(cause: Ints) -> Ints:
    """Follow each explanation to its end; in a ring, which only odd sites can give, nothing is explained."""
    end = cause.copy()
    for _ in range(len(DOMAINS) * 2):
        further = np.where(end >= 0, cause[np.maximum(end, 0)], -1)
        if not (further >= 0).any():
            return end
        end = np.where(further >= 0, further, end).astype(np.int32)
    return np.where(cause[np.maximum(end, 0)] >= 0, -1, end).astype(np.int32)


def conditions_of(table: AlertTable) -> tuple[Conditions, Ints, Ints]:
    """The alerts of ``table`` that can explain or be explained, as columns, and of each the number of its rule and its row."""
    now_s = table.now.timestamp()
    parts = []
    for i, (rule, track) in enumerate(zip(table.rules.rules, table.tracks, strict=True)):
        if rule.quiet or not track.phase.any():
            continue
        ended = (track.phase == RESOLVED) & (now_s - track.resolved_s <= AFTERMATH_S)
        waited_s = rule.hold_s + UNDECIDED_S
        pending = (track.phase == PENDING) & ((rule.breaks is None) | (now_s - track.since_s <= waited_s))
        rows = np.flatnonzero((track.phase == FIRING) | pending | (ended & (rule.breaks is not None)))
        parts.append((i, rows, table.site.of_kind(rule.kind)[rows], track.since_s[rows], track.phase[rows]))
    severities = list(Severity)
    rules = [table.rules.rules[i] for i, *_ in parts]
    sizes = [len(rows) for _, rows, *_ in parts]

    def each(values: list[int], kind: type) -> NDArray[np.generic]:
        return np.repeat(np.array(values, dtype=kind), sizes)

    none = np.empty(0, dtype=np.int32)
    conditions = Conditions(
        np.concatenate([none, *(position for _, _, position, _, _ in parts)]).astype(np.int32),
        np.concatenate([np.empty(0), *(since_s for *_, since_s, _ in parts)]),
        each([severities.index(rule.severity) for rule in rules], np.int16).astype(np.int16),
        np.concatenate([np.empty(0, dtype=np.uint8), *(phase for *_, phase in parts)]).astype(np.uint8),
        each([DOMAINS.index(rule.breaks) if rule.breaks else -1 for rule in rules], np.int8).astype(np.int8),
        each([suffers_bits(rule.suffers) for rule in rules], np.uint8).astype(np.uint8),
    )
    number = each([i for i, *_ in parts], np.int32).astype(np.int32)
    return conditions, number, np.concatenate([none, *(rows for _, rows, *_ in parts)]).astype(np.int32)


def suffers_bits(domains: tuple[Domain, ...]) -> int:
    """``Conditions.suffers`` of one rule."""
    return reduce(lambda bits, domain: bits | 1 << DOMAINS.index(domain), domains, 0)
