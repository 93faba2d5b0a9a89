"""``/storage``: how full the file systems are, how fast they are, and which nodes move most."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from fastapi import FastAPI

from twin.site import Site
from ui.faces.pages.columns import Columns, columns, histogram, worst
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, bar, cell, once, plain, row
from ui.faces.push import Feed, Pulse
from ui.view import Live, View
from ui.words import Words

METRICS = (
    "used_bytes",
    "total_bytes",
    "used_frac",
    "health_code",
    "parts_up_frac",
    "read_bps",
    "write_bps",
    "latency_s",
    "power_w",
)
FULL_FRAC, VERY_FULL_FRAC = 0.85, 0.95
HEALTH = ("well", "a warning", "an error")
TOP = 10


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at storage."""

    now: datetime
    site: Site
    storage: dict[str, Columns]
    nodes: dict[str, Columns]


def add_storage(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""

    def gather(view: View, live: Live) -> Seen:
        state, now = live.state, view.time
        nodes = columns(state, "node", ("disk_read_bps", "disk_write_bps"), now)
        return Seen(now, live.site, columns(state, "storage", METRICS, now), nodes)

    serve_page(server, pulse, "storage", Feed(once(gather, told), (), body()), ("pages.js",))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("used", "Capacity in use", [], [number("used_frac")], fine("used", "used"), fine("of", "total")),
        tile("read", "Read", [], [number("read")], fine("busiest", "read_high")),
        tile("write", "Written", [], [number("write")], fine("busiest", "write_high")),
        tile("latency", "Slowest operation", [], [number("latency")], fine("mean", "latency_mean")),
        tile("health", "File systems unwell", [], [number("ill")], fine("of", "count")),
    ]
    heads = ("file system", "state", ">in use", ">capacity", ">free", ">read", ">written", ">latency")
    return page_of_panels(
        tiles,
        panel(
            "systems",
            "File systems",
            [],
            listed("systems", "No storage in this site", heads, "minmax(0,1.6fr) 6rem repeat(6, minmax(0,1fr))"),
            size="w24",
        ),
        panel(
            "hdisk", "Nodes by what they read from disk", [], drawing("disk", "Nodes by what they read from disk"), size="w12"
        ),
        panel(
            "nodes",
            "Nodes that move most",
            [],
            listed("nodes", "No node tells of its disks", ("node", ">read", ">written"), "minmax(0,1fr) 9rem 9rem"),
            size="w12",
        ),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    m = seen.storage
    used, total = m["used_bytes"].figure(np.sum), m["total_bytes"].figure(np.sum)
    share = used.value / total.value if total.value else np.nan
    ids = seen.site.ids_of("storage")
    ill = _ill(m)
    known = any(column.fresh for column in m.values())
    return {
        "n.used_frac": plain(words, share, "frac", _fullness(share)),
        "n.used": cell(words, used),
        "n.total": cell(words, total),
        "n.read": cell(words, m["read_bps"].figure(np.sum)),
        "n.read_high": cell(words, m["read_bps"].figure(np.max)),
        "n.write": cell(words, m["write_bps"].figure(np.sum)),
        "n.write_high": cell(words, m["write_bps"].figure(np.max)),
        "n.latency": cell(words, m["latency_s"].figure(np.max)),
        "n.latency_mean": cell(words, m["latency_s"].figure()),
        "n.ill": plain(words, float(ill.sum()) if known else np.nan, "count", "critical" if ill.any() else ""),
        "n.count": plain(words, len(ids), "count"),
        "l.systems": [_system(seen, ids, int(i), words) for i in _order(m, len(ids))],
        "h.disk": _disk(seen),
        "l.nodes": _nodes(seen, words),
        **_sources(seen, words),
    }


def _fullness(share: float) -> str:
    return "critical" if share >= VERY_FULL_FRAC else "warning" if share >= FULL_FRAC else ""


def _ill(m: dict[str, Columns]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (m["health_code"].value > 0) | (m["used_frac"].value >= VERY_FULL_FRAC) | (m["parts_up_frac"].value < 1)


def _order(m: dict[str, Columns], n: int) -> list[int]:
    fullest = np.nan_to_num(m["used_frac"].value, nan=-1.0) + 10.0 * _ill(m)
    return [int(i) for i in np.argsort(-fullest, kind="stable")[: min(n, 12)]]


def _system(seen: Seen, ids: list[str], i: int, words: Words) -> Cell:
    m = seen.storage
    share = float(m["used_frac"].value[i])
    code = m["health_code"].value[i]
    known = any(np.isfinite(column.value[i]) for column in m.values())
    said = words(HEALTH[int(code)]) if np.isfinite(code) else words("up") if known else words("silent")
    free = float(m["total_bytes"].value[i] - m["used_bytes"].value[i])
    state = "critical" if _ill(m)[i] else _fullness(share)
    cells = [
        bar(cell(words, m["used_frac"].at(i), _fullness(share)), share),
        cell(words, m["total_bytes"].at(i)),
        plain(words, free, "bytes"),
        *(cell(words, m[name].at(i)) for name in ("read_bps", "write_bps", "latency_s")),
    ]
    return row(state, [ids[i], said, *cells])


def _disk(seen: Seen) -> Table:
    read = seen.nodes["disk_read_bps"].value
    top = float(np.nanmax(read)) if np.isfinite(read).any() else 1.0
    counts, edges = histogram(read, 0.0, max(top, 1.0), 16)
    return {"counts": counts, "edges": edges, "unit": "bps"}


def _nodes(seen: Seen, words: Words) -> list[Cell]:
    read, written = (seen.nodes[name].value for name in ("disk_read_bps", "disk_write_bps"))
    ids = seen.site.ids_of("node")
    return [
        row("", [ids[i], plain(words, float(read[i]), "bps"), plain(words, float(written[i]), "bps")])
        for i in worst(read + written, TOP)
    ]


def _sources(seen: Seen, words: Words) -> Table:
    m = seen.storage
    of = {"used": "used_bytes", "read": "read_bps", "write": "write_bps", "latency": "latency_s", "systems": "read_bps"}
    made = {f"p.{panel}": aged(words, m[name].age_s, m[name].max_age_s) for panel, name in of.items()}
    disk = seen.nodes["disk_read_bps"]
    age = aged(words, disk.age_s, disk.max_age_s)
    return {**made, "p.health": made["p.used"], "p.hdisk": age, "p.nodes": age}
