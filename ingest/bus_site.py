"""A site as a BMS event bus describes it: objects become assets, ``servesId`` becomes links; and what a site of ours says
otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from ingest.sources.bms import BmsDecoder
from twin.site import Site

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "Rack": "rack", "PowerMeter": "meter", "UPS": "ups", "BESS": "battery", "CDU": "cdu", "CoolingTower": "tower",
        "Chiller": "chiller", "Valve": "valve", "Pump": "pump", "CRAC": "crah", "CRAH": "crah", "AHU": "crah",
    }
)  # fmt: skip
MAX_LINES = 1000  # of differences; the rest is counted


@dataclass(slots=True)
class BusSite:
    """Rows of an assets table and of a links table, and what of the bus has no place in them."""

    assets: list[dict[str, str]] = field(default_factory=list)
    links: list[dict[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def site_of_bus(bus: BmsDecoder) -> BusSite:
    """What the bus' metadata say. An object that serves one we have no kind for is linked to what that one serves in turn, so
    breakers and transfer switches do not cut the path."""
    found = BusSite()
    objects = bus.objects()
    for identity, (kind, name) in sorted(objects.items()):
        if kind in KINDS:
            found.assets.append({"id": identity, "kind": KINDS[kind], "parent": "", "name": name})
        elif kind != "System":
            found.left_out.append(f"{identity}: a {kind} is no kind of asset here; paths go through it")
    known = {row["id"] for row in found.assets}
    ahead: dict[str, list[tuple[str, str]]] = {}
    for link in bus.links():
        ahead.setdefault(link.source, []).append((link.target, link.relation))
    told: dict[tuple[str, str, str], None] = {}
    for source in sorted(known):
        for target, relation in _reached(source, ahead, known):
            told[source, target, relation] = None
    found.links = [{"from": source, "to": target, "relation": relation} for source, target, relation in told]
    nowhere = sorted({target for some in ahead.values() for target, _ in some if target not in objects})
    found.left_out += [f"{target}: is served, but has no points of its own" for target in nowhere]
    return found


def _reached(source: str, ahead: Mapping[str, list[tuple[str, str]]], known: set[str]) -> list[tuple[str, str]]:
    """Assets that ``source`` serves, through objects that are none."""
    reached: list[tuple[str, str]] = []
    seen, open_ = {source}, list(ahead.get(source, ()))
    while open_:
        target, relation = open_.pop()
        if target in seen:
            continue
        seen.add(target)
        if target in known:
            reached.append((target, relation))
        else:
            open_ += [(further, relation) for further, _ in ahead.get(target, ())]
    return reached


def compare(bus: BusSite, site: Site) -> list[str]:
    """What bus and site disagree on, a sentence each, at most ``MAX_LINES``. Links count between assets that both know."""
    ids = _named(bus, site)
    lines = [
        f"{row['id']}: a {row['kind']} of the bus that the site does not have" for row in bus.assets if row["id"] not in ids
    ]
    for row in bus.assets:
        ours = ids.get(row["id"])
        if ours is not None and site.kind(ours) != row["kind"]:
            lines.append(f"{ours}: a {row['kind']} on the bus, a {site.kind(ours)} in the site")
    shared = set(ids.values())
    theirs = {(ids[r["from"]], ids[r["to"]], r["relation"]) for r in bus.links if r["from"] in ids and r["to"] in ids}
    here = _links(site, shared)
    lines += [f"{a} {relation} {b} on the bus, not in the site" for a, b, relation in sorted(theirs - here)]
    lines += [f"{a} {relation} {b} in the site, not on the bus" for a, b, relation in sorted(here - theirs)]
    rest = len(lines) - MAX_LINES
    return lines[:MAX_LINES] + ([f"{rest} more differences"] if rest > 0 else [])


def _named(bus: BusSite, site: Site) -> dict[str, str]:
    """Object of the bus -> id of the asset that it is, by its id, else by its name where one asset alone has that."""
    column = site.texts.get("name") or [""] * len(site.ids)
    by_name: dict[str, str] = {}
    for asset, name in zip(site.ids, column, strict=True):
        if name:
            by_name[name] = "" if name in by_name else asset
    named = {row["id"]: row["id"] if row["id"] in site.position else by_name.get(row["name"], "") for row in bus.assets}
    return {identity: asset for identity, asset in named.items() if asset}


def _links(site: Site, shared: set[str]) -> set[tuple[str, str, str]]:
    found = set()
    for relation in ("feeds", "cools"):
        links = site.links[relation]
        for source, target in np.column_stack([links.source, links.target]).tolist():
            a, b = site.ids[source], site.ids[target]
            if a in shared and b in shared:
                found.add((a, b, relation))
    return found
