"""``/network``: the fabric as a map, its worst links, congestion, flaps, and the way of a job through it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from fastapi import FastAPI

from twin.frame import Floats, Ints
from twin.site import Site
from ui.faces.pages.columns import Columns, Rates, columns, worst
from ui.faces.pages.jobpath import Path, paths
from ui.faces.pages.jobpath import table as path_table
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, tile
from ui.faces.pages.recent import Happened, keep_events
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, when
from ui.faces.push import Feed, Pulse
from ui.faces.shelf import Kept
from ui.meanings import meaning
from ui.reading import fact
from ui.view import Live, View
from ui.words import Words

METRICS = (
    "up_flag", "rx_bps", "tx_bps", "error_count", "link_down_count", "discard_count", "wait_count", "ecn_marked_count",
    "pause_rx_count", "pause_tx_count", "queue_drop_count",
)  # fmt: skip
COUNTERS = METRICS[3:]
MAX_SWITCHES = 600  # on the map
TOP = 9
LABELS = ("silent", "down", "up", "flaps", "errors", "No switch in this site")


@dataclass(frozen=True, slots=True, eq=False)
class Fabric:
    """The map of one site: tiers of switches by how far they stand from the nodes; links between switches."""

    ids: list[str]
    tier: Ints
    place: Floats  # 0-1 within its tier
    links: list[tuple[int, int]]

    def hello(self) -> Table:
        """As the page's script takes it."""
        return {
            "fabric": {
                "ids": self.ids,
                "tier": self.tier.tolist(),
                "place": [round(float(x), 4) for x in self.place],
                "links": self.links,
            }
        }


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at the network."""

    now: datetime
    ports: dict[str, Columns]
    switches: dict[str, Columns]
    state_of: list[int]  # of each switch: 0 well, 1 asks to be seen, 2 down, -1 silent
    load_of: list[float | None]
    bad: list[tuple[str, bool | None, float, float, float, float]]  # port, up, rate, errors, waits, flaps
    strips: dict[str, list[float]]
    per_minute: dict[str, float]
    since: datetime
    site: Site
    paths: list[Path]
    events: Kept


def add_network(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    keep_events(pulse.shelf)
    rates = Rates()
    maps: dict[int, Fabric] = {}

    def of(site: Site) -> Fabric:
        if id(site) not in maps:
            maps.clear()
            maps[id(site)] = fabric(site)
        return maps[id(site)]

    def gather(view: View, live: Live) -> Seen:
        return look(live, view.time, rates, pulse.shelf["events"])

    feed = Feed(once(gather, told), LABELS, body(), ("events",), lambda view: of(pulse.live.site).hello())
    serve_page(server, pulse, "network", feed, ("pages.js", "network.js"))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("ports", "Links up", [], [number("up"), f'<span class="of">/{number("ports")}</span>'], fine("down", "down")),
        tile("rate", "Received", [], [number("rx")], fine("sent", "tx")),
        tile("errors", "Errors a minute", [], [number("errors")], fine("discards", "discards")),
        tile("wait", "Waits a minute", [], [number("waits")], fine("drops", "drops")),
        tile("ecn", "ECN marks a minute", [], [number("ecn")], fine("pauses in", "pause_rx"), fine("out", "pause_tx")),
        tile("flaps", "Flaps: 24 h", [], [number("flaps")], fine("hottest switch", "switch_temp")),
    ]
    heads = ("link", "state", ">rate", ">errors", ">waits", ">flaps")
    return page_of_panels(
        tiles,
        panel("map", "Fabric", [], drawing("fabric", "Fabric"), size="w15 h2"),
        panel(
            "bad",
            "Worst links since this wall looks",
            [],
            listed("bad", "Every link is well", heads, "minmax(0,1.6fr) 4rem 6.4rem 4.6rem 5rem 3.6rem"),
            size="w9 h2",
        ),
        panel(
            "strips", "Congestion and errors: last hour", [], drawing("strips", "Congestion and errors: last hour"), size="w9"
        ),
        panel(
            "path",
            "Path of a job",
            ['<select id="job" aria-label="job" data-a="job" hidden></select>'],
            listed("path", "No job is running", ("tier", "switches"), "6rem minmax(0,1fr)"),
            size="w6 wrapping",
        ),
        panel(
            "flapping",
            "Links that went down: 24 h",
            [],
            listed("flapping", "No link went down", ("time", "link", "what"), "5rem 11rem minmax(0,1fr)"),
            size="w9",
        ),
    )


def fabric(site: Site) -> Fabric:
    """Switches in tiers: 0 where nodes hang on them, one more for each step away."""
    switches = site.of_kind("switch")[:MAX_SWITCHES]
    index = {int(position): i for i, position in enumerate(switches)}
    net = site.links["connects"]
    pairs = list(zip(net.source.tolist(), net.target.tolist(), strict=True))
    nodes = set(site.of_kind("node").tolist())
    links = [(index[a], index[b]) for a, b in pairs if a in index and b in index]
    tier = np.full(len(switches), -1, dtype=np.int32)
    edge = {index[a] for a, b in pairs if a in index and b in nodes} | {index[b] for a, b in pairs if b in index and a in nodes}
    reached, step = edge, 0
    while reached:
        tier[list(reached)] = step
        step += 1
        reached = {b for a, b in [*links, *((b, a) for a, b in links)] if a in reached and tier[b] < 0}
    tier[tier < 0] = max(step - 1, 0)
    place = np.zeros(len(switches))
    for level in np.unique(tier):
        mine = np.flatnonzero(tier == level)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return Fabric([site.ids[int(p)] for p in switches], tier, place, links)


def look(live: Live, now: datetime, rates: Rates, events: Kept) -> Seen:
    """Everything that the page says, from columns."""
    state, site = live.state, live.site
    ports = columns(state, "port", METRICS, now)
    for name in COUNTERS:
        rates.see(state, "port", name, now)
    switches = columns(state, "switch", ("up_flag", "temp_c"), now)
    n = min(site.count("switch"), MAX_SWITCHES)
    holder = site.within("port", "switch")
    rate = np.nan_to_num(ports["rx_bps"].value) + np.nan_to_num(ports["tx_bps"].value)
    load = np.bincount(holder[holder >= 0], weights=rate[holder >= 0], minlength=site.count("switch"))[:n]
    strips = {name: rates.strip("port", name, now) for name in COUNTERS}
    return Seen(
        now,
        ports,
        switches,
        _states(ports, switches, holder, n),
        [round(float(value)) for value in load],
        _bad(site, ports, rates),
        strips,
        {name: strip[-2] or strip[-1] for name, strip in strips.items()},
        rates.since or now,
        site,
        paths(live.jobs, site),
        events,
    )


def _states(ports: dict[str, Columns], switches: dict[str, Columns], holder: Ints, n: int) -> list[int]:
    up = switches["up_flag"].value[:n]
    state = np.where(np.isnan(up), -1, np.where(up > 0, 0, 2))
    down = holder[(ports["up_flag"].value == 0) & (holder >= 0)]
    state[[row for row in down if row < n and state[row] == 0]] = 1
    return [int(one) for one in state]


def _bad(site: Site, ports: dict[str, Columns], rates: Rates) -> list[tuple[str, bool | None, float, float, float, float]]:
    ids, up = site.ids_of("port"), ports["up_flag"].value
    grown = {name: rates.grown("port", name) for name in ("error_count", "wait_count", "link_down_count")}
    if not ids or not len(grown["error_count"]):
        return []
    score = grown["link_down_count"] * 1e9 + grown["error_count"] * 1e3 + np.log1p(grown["wait_count"]) + (up == 0) * 1e12
    rows = [int(i) for i in worst(np.where(score > 0, score, np.nan), TOP * 2)]
    rate = ports["rx_bps"].value + ports["tx_bps"].value
    return [
        (
            ids[i],
            None if np.isnan(up[i]) else bool(up[i]),
            float(rate[i]),
            *(float(grown[k][i]) for k in ("error_count", "wait_count", "link_down_count")),
        )  # type: ignore[misc]  # three numbers
        for i in rows
    ]


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    ports = seen.ports
    up = ports["up_flag"].value
    down = int(np.count_nonzero(up == 0))
    happened: Happened | None = seen.events.value
    flaps = sum(happened.strip(("link",))) if happened else np.nan
    a_minute = {
        "errors": "error_count", "discards": "discard_count", "waits": "wait_count", "drops": "queue_drop_count",
        "ecn": "ecn_marked_count", "pause_rx": "pause_rx_count", "pause_tx": "pause_tx_count",
    }  # fmt: skip
    counts = {
        f"n.{key}": plain(words, seen.per_minute[name] if ports[name].fresh else np.nan, "count")
        for key, name in a_minute.items()
    }
    return {
        **counts,
        "n.up": plain(words, float(np.count_nonzero(up > 0)) if np.isfinite(up).any() else np.nan, "count"),
        "n.ports": cell(words, fact(len(up))),
        "n.down": plain(words, down, "count", "warning" if down else ""),
        "n.rx": cell(words, ports["rx_bps"].figure(np.sum)),
        "n.tx": cell(words, ports["tx_bps"].figure(np.sum)),
        "n.flaps": plain(words, flaps, "count", "warning" if flaps > 0 else ""),
        "n.switch_temp": cell(words, seen.switches["temp_c"].figure(np.max)),
        "net": {"state": seen.state_of, "load": seen.load_of},
        "b.strips": _strips(seen, words),
        "l.bad": [_link(one, words) for one in seen.bad[:TOP]],
        "paths": path_table(seen.paths, seen.site, MAX_SWITCHES, words),
        "l.flapping": [
            row(one.severity, [when(one.time), one.asset, meaning(one.meaning, words)])
            for one in (happened.of(("link",), 7) if happened else [])
        ],
        **_sources(seen, words),
    }


def _strips(seen: Seen, words: Words) -> Table:
    rows: list[dict[str, Any]] = []
    for label, name, fill in (
        ("waits", "wait_count", "var(--calm)"),
        ("ECN marks", "ecn_marked_count", "var(--info)"),
        ("pauses", "pause_rx_count", "var(--commanded)"),
        ("errors", "error_count", "var(--bad)"),
    ):
        if seen.ports[name].fresh:
            rows.append({"name": words(label), "values": seen.strips[name], "fill": fill})
    minutes = len(seen.strips["error_count"])
    start = (int(seen.now.timestamp() // 60) - minutes + 1) * 60
    return {"start": start, "step": 60, "unit": "count", "rows": rows}


def _link(one: tuple[str, bool | None, float, float, float, float], words: Words) -> Cell:
    name, up, rate, errors, waits, flaps = one
    state = words("silent") if up is None else words("up") if up else words("down")
    cells = [plain(words, rate, "bps"), *(plain(words, value, "count") for value in (errors, waits, flaps))]
    return row("warning" if not up or flaps else "", [name, state, *cells])


def _sources(seen: Seen, words: Words) -> Table:
    of = {
        "ports": "up_flag", "rate": "rx_bps", "errors": "error_count", "wait": "wait_count", "ecn": "ecn_marked_count",
        "map": "up_flag", "bad": "error_count", "strips": "error_count",
    }  # fmt: skip
    made = {f"p.{p}": aged(words, seen.ports[name].age_s, seen.ports[name].max_age_s) for p, name in of.items()}
    age = aged(words, seen.events.age_s(seen.now), seen.events.max_age_s)
    return {**made, "p.flaps": age, "p.flapping": age, "p.path": {"x": "", "f": "none"}}
