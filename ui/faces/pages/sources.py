"""``/sources``: the health of our own eyes: what is read, what runs, and what this process costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from fastapi import FastAPI

from twin.condition import Condition
from twin.message import Message
from ui.conditions import Trouble, read_conditions, troubles_of
from ui.faces.pages.columns import Columns, columns
from ui.faces.pages.markup import fine, listed, more, number, page_of_panels, panel, text, tile
from ui.faces.pages.overview import STATUS
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, source
from ui.faces.push import Feed, Pulse
from ui.faces.shelf import Kept
from ui.own import TASK, SourceRow, TaskRow
from ui.reading import Reading
from ui.view import Live, View
from ui.words import Words

OWN = (
    "cpu_frac",
    "rss_bytes",
    "store_bytes",
    "spool_waiting_count",
    "spool_dropped_count",
    "pages_waiting_count",
    "pages_dead_count",
)
MORE = ("lag_s", "duplicates_count", "targets_count", "targets_down_count")
FORCE = ("in_force_count", "standby_count")
ROWS_SOURCES, ROWS_TASKS = 18, 24
EVERY_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at ourselves. ``said``: what sources say in words, by their id, as it was read ``said_age_s`` ago."""

    now: datetime
    view: View
    own: dict[str, Columns]
    more: dict[str, Columns]
    rows: dict[str, int]
    walls: int
    said: Mapping[str, Condition]
    said_age_s: float


COLS = (
    "minmax(0,1.6fr) 6rem repeat(4, minmax(0,1fr)) minmax(0,.9fr) minmax(0,1.2fr) repeat(2, minmax(0,1fr)) minmax(0,1.2fr) 4rem"
)


def add_sources(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("conditions", EVERY_S, lambda live, now: read_conditions(live.records))

    def gather(view: View, live: Live) -> Seen:
        return look(view, live, pulse.clients, pulse.shelf["conditions"])

    serve_page(server, pulse, "sources", Feed(once(gather, told), (), body(), needs=("conditions",)), ("pages.js",))


def look(view: View, live: Live, walls: int, kept: Kept) -> Seen:
    """At ourselves, while so many ``walls`` are open; ``kept``: what sources say in words."""
    own = columns(live.state, "process", OWN, view.time)
    rest = columns(live.state, "source", (*MORE, *FORCE), view.time)
    ids = {id_: i for i, id_ in enumerate(live.site.ids_of("source"))}
    return Seen(view.time, view, own, rest, ids, walls, kept.value or {}, kept.age_s(view.time))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("up", "Sources up", [], [number("up"), f'<span class="of">/{number("total")}</span>'], fine("silent", "silent")),
        tile("samples", "Values taken", [], [number("samples")], fine("doubted", "suspect"), fine("unmapped", "unmapped")),
        tile("tasks", "Tasks that fail", [], [number("failing")], fine("missed", "missed"), fine("overlaps", "overlaps")),
        tile("store", "Store", [], [number("store")], fine("waiting", "waiting"), fine("lost", "dropped")),
        tile("process", "Processor", [], [number("cpu")], fine("memory", "rss")),
        tile("walls", "Walls open", [], [number("walls")], fine("pages wait", "pages"), fine("given up", "dead")),
    ]
    heads = (
        "source", "state", ">heard", ">poll", ">lag", ">values", ">errors", ">unmapped", ">doubted", ">twice", ">endpoints",
        ">down",
    )  # fmt: skip
    tasks = ("task", "state", ">takes", ">runs", ">errors", ">missed", ">overlaps")
    return page_of_panels(
        tiles,
        panel(
            "sources",
            "Sources, the unwell first",
            [text("unread", "unread"), more("sources")],
            listed("sources", "No source", heads, COLS),
            size="w15",
        ),
        panel(
            "tasks",
            "Tasks, the failing first",
            [more("tasks")],
            listed("tasks", "No task", tasks, "minmax(0,1.5fr) 5rem repeat(5, minmax(0,1fr))"),
            size="w9",
        ),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    sources, tasks, count = view.sources, view.tasks, view.source_counts
    failing = sum(one.failing.value > 0 for one in tasks)
    own = seen.own
    lost = own["spool_dropped_count"].figure(np.sum)
    return {
        "n.up": plain(words, count.up, "count", "warning" if count.up < count.total else ""),
        "n.total": plain(words, count.total, "count"),
        "n.silent": plain(words, count.silent, "count", "warning" if count.silent else ""),
        "n.samples": _large(count.samples, words),
        "n.suspect": plain(words, count.suspect, "count"),
        "n.unmapped": plain(words, count.unmapped, "count"),
        "n.failing": plain(words, failing if tasks else np.nan, "count", "critical" if failing else ""),
        "n.missed": plain(words, _sum([one.missed for one in tasks]), "count"),
        "n.overlaps": plain(words, _sum([one.overlaps for one in tasks]), "count"),
        "n.store": cell(words, own["store_bytes"].figure(np.max)),
        "n.waiting": cell(words, own["spool_waiting_count"].figure(np.sum)),
        "n.dropped": cell(words, lost, "critical" if lost.value > 0 else ""),
        "n.cpu": cell(words, own["cpu_frac"].figure(np.sum)),
        "n.rss": cell(words, own["rss_bytes"].figure(np.sum)),
        "n.walls": plain(words, seen.walls, "count"),
        "n.pages": cell(words, own["pages_waiting_count"].figure(np.sum)),
        "n.dead": cell(words, own["pages_dead_count"].figure(np.sum)),
        "l.sources": [
            made for one in sources[:ROWS_SOURCES] for made in (_source(one, seen, words), *_details(one, seen, words))
        ],
        "t.unread": _unread(seen.said_age_s, words),
        "m.sources": max(count.total - ROWS_SOURCES, 0),
        "l.tasks": [_task(one, words) for one in tasks[:ROWS_TASKS]],
        "m.tasks": max(len(tasks) - ROWS_TASKS, 0),
        **_ages(seen, words),
    }


def _large(count: float, words: Words) -> Cell:
    """A count in millions from one on."""
    return {**plain(words, count / 1e6, "kwh"), "u": "M"} if count >= 1e6 else plain(words, count, "count")


def _counted(reading: Reading, words: Words) -> Cell:
    """A counter that may be large, with what says how fresh it is."""
    made = cell(words, reading)
    return {**made, **{key: _large(reading.value, words)[key] for key in ("n", "u")}} if reading.known else made


def _sum(readings: list[Reading]) -> float:
    known = [one.value for one in readings if one.known]
    return float(sum(known)) if known else np.nan


def _source(one: SourceRow, seen: Seen, words: Words) -> Cell:
    i = seen.rows[one.id]
    state = {"up": "", "waiting": ""}.get(one.status, "critical" if one.status == "down" else "warning")
    cells = [
        _heard(one, i, seen, words),
        cell(words, one.poll),
        cell(words, seen.more["lag_s"].at(i)),
        _counted(one.samples, words),
    ]
    cells += [cell(words, reading) for reading in (one.errors, one.unmapped, one.suspect)]
    cells += [cell(words, seen.more[name].at(i)) for name in MORE[1:]]
    return row(state, [one.id, words(_stands(one, i, seen)), *cells])


def _details(one: SourceRow, seen: Seen, words: Words) -> list[Cell]:
    """Rows under a source's own: what it says in words."""
    return [row("detail", [_detail(trouble, seen.now, words)]) for trouble in troubles_of(one, seen.said.get(one.id))]


def _detail(trouble: Trouble, now: datetime, words: Words) -> str:
    said = words.sentence(trouble.text)
    if trouble.since is None:
        return said
    age = words.age((now - trouble.since).total_seconds())
    return words.sentence(Message("for {age}: {said}", {"age": age, "said": said}))


def _unread(age_s: float, words: Words) -> str:
    """Nothing, where the records were read lately."""
    if age_s <= 3 * EVERY_S + 5:
        return ""
    if not np.isfinite(age_s):
        return words("errors were not read yet")
    return words.sentence(Message("errors were not read for {age}", {"age": words.age(age_s)}))


def _heard(one: SourceRow, i: int, seen: Seen, words: Words) -> Cell:
    """When it last answered: that it is down is our own word, and new at each poll; its delay is known of an answer alone."""
    age_s = one.up.age_s if one.status != "down" else seen.now.timestamp() - float(seen.more["lag_s"].time_s[i])
    fresh = one.up.fresh and one.status != "down"
    return {"n": words.age(age_s), "u": "", "f": "ok" if fresh else "stale" if np.isfinite(age_s) else "none"}


def _stands(one: SourceRow, i: int, seen: Seen) -> str:
    """How it is; of one that is up, and tells what others tell too, whether its word counts."""
    in_force, standby = (seen.more[name].at(i) for name in FORCE)
    if one.status == "up" and in_force.fresh and in_force.value > 0:
        return "in force"
    return "stands by" if one.status == "up" and standby.fresh and standby.value > 0 else STATUS[one.status]


def _task(one: TaskRow, words: Words) -> Cell:
    failing = one.failing.value > 0
    said = words("fails") if failing else words("runs") if one.runs.known else words("no word yet")
    cells = [cell(words, reading) for reading in (one.duration, one.runs, one.errors, one.missed, one.overlaps)]
    return row("critical" if failing else "", [one.id.removeprefix(TASK), said, *cells])


def _ages(seen: Seen, words: Words) -> Table:
    of_sources = source(words, [one.up for one in seen.view.sources])
    of_tasks = source(words, [one.runs for one in seen.view.tasks])
    own = aged(words, seen.own["cpu_frac"].age_s, seen.own["cpu_frac"].max_age_s)
    return {
        "p.up": of_sources, "p.samples": of_sources, "p.sources": of_sources, "p.tasks": of_tasks, "p.store": own,
        "p.process": own, "p.walls": {"x": words("measured"), "f": "ok"},
    }  # fmt: skip
