"""Diagrams of devices in columns, joined by the site's own links. ``static/pages.js`` draws them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin.site import Site
from ui.faces.pages.texts import Cell, Table

MOST_IN_COLUMN = 6  # devices drawn of a kind; of more the first by rank are, and the last box says how many there are
Cells = Sequence[tuple[str, Cell]]


@dataclass(frozen=True, slots=True)
class Device:
    """One box: ``cells`` label and number, ``state`` as of rows ("silent": nothing fresh)."""

    id: str
    name: str
    cells: Cells
    state: str = ""


def diagram(
    site: Site,
    stages: Sequence[Sequence[Device]],
    relation: str,
    kind: Callable[[str, str], str],
    more: str,
) -> Table:
    """``stages``: columns from left to right, each most important first; ``kind(a, b)`` names how a link looks; ``more``:
    "+{n} more" in the reader's language. Links that skip a column are drawn too; ends that are not drawn are left out."""
    shown = [list(stage[:MOST_IN_COLUMN]) for stage in stages if stage]
    left = [len(stage) - len(kept) for stage, kept in zip([s for s in stages if s], shown, strict=True)]
    tall = max((len(kept) + bool(rest) * 0.4 for kept, rest in zip(shown, left, strict=True)), default=0)
    nodes: list[Table] = []
    for x, (kept, rest) in enumerate(zip(shown, left, strict=True)):
        step = tall / (len(kept) + (0.4 if rest else 0))
        for i, device in enumerate(kept):
            high = min(step * 0.86, 1.9)
            box = {"x": x * 1.5 + 0.02, "y": (i + 0.5) * step - high / 2, "w": 1.12, "h": high}
            nodes.append({"id": device.id, "name": device.name, "cells": list(device.cells), "k": device.state, **box})
        if rest:
            spot = {"x": x * 1.5 + 0.02, "y": len(kept) * step, "w": 1.12, "h": 0.3}
            nodes.append({"id": f"more-{x}", "name": more.format(n=rest), "cells": [], "k": "", **spot})
    drawn = {node["id"] for node in nodes}
    links = [{"a": a, "b": b, "k": kind(a, b)} for a, b in _joined(site, relation) if a in drawn and b in drawn]
    return {"cols": max(len(shown) * 1.5 - 0.34, 1), "rows": max(tall, 1), "nodes": nodes, "links": links}


def _joined(site: Site, relation: str) -> list[tuple[str, str]]:
    net = site.links[relation]
    return [(site.ids[a], site.ids[b]) for a, b in zip(net.source.tolist(), net.target.tolist(), strict=True)]
