"""``/audit``: who did what, when and why: plans and actions, alerts taken and silenced, calibrations, people."""

from datetime import datetime
from typing import Any

import numpy as np
from fastapi import FastAPI

from energy.act import TOPIC as ACTIONS
from energy.notes import message_of
from ui.calibrating import TOPIC as CALIBRATION
from ui.faces.pages.markup import fine, listed, more, number, page_of_panels, panel, tile
from ui.faces.pages.recent import Record, read_topics
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, once, plain, row, when
from ui.faces.push import Feed, Pulse
from ui.faces.shelf import Kept
from ui.oncall.service import AUDIT as ONCALL
from ui.view import Live, View
from ui.words import Words

ACCESS = "access-audit"
TOPICS = {ACTIONS: "energy", ONCALL: "on call", CALIBRATION: "calibration", ACCESS: "access"}
DAYS, ROWS, EVERY_S = 7, 26, 5.0


def add_audit(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("audit", EVERY_S, lambda live, now: read_topics(live, now, tuple(TOPICS), DAYS))

    def gather(view: View, live: Live) -> Kept:
        return pulse.shelf["audit"]

    serve_page(server, pulse, "audit", Feed(once(gather, told), (), body(), needs=("audit",)), ("pages.js",))


def body() -> str:
    """The page's places."""
    tiles = [tile("all", "Records: 7 days", [], [number("all")], fine("today", "today"))]
    tiles += [tile(f"of-{i}", name, [], [number(f"of{i}")]) for i, name in enumerate(_TITLES.values())]
    heads = ("time", "what", "who", "did", "on", "why")
    return page_of_panels(
        tiles,
        panel(
            "audit",
            "Who did what, the newest first",
            [more("audit")],
            listed("audit", "Nothing was changed", heads, "9rem 7rem 9rem 9rem minmax(0,1.2fr) minmax(0,2fr)"),
            size="w24",
        ),
    )


_TITLES = {ACTIONS: "Plans and actions", ONCALL: "Alerts", CALIBRATION: "Calibrations", ACCESS: "People"}


def told(kept: Kept, view: View, words: Words) -> Table:
    """The page's table."""
    records: list[Record] | None = kept.value
    known = records is not None
    rows = records or []
    today = sum((view.time - time).total_seconds() < 86400 for time, _ in rows)
    age = aged(words, kept.age_s(view.time), kept.max_age_s)
    counts = {
        f"n.of{i}": plain(words, sum(r["topic"] == topic for _, r in rows) if known else np.nan, "count")
        for i, topic in enumerate(_TITLES)
    }
    return {
        "n.all": plain(words, len(rows) if known else np.nan, "count"),
        "n.today": plain(words, today if known else np.nan, "count"),
        **counts,
        "l.audit": [_row(time, record, words) for time, record in rows[:ROWS]],
        "m.audit": max(len(rows) - ROWS, 0),
        **{f"p.{name}": age for name in ("all", "audit", *(f"of-{i}" for i in range(len(_TITLES))))},
    }


def _row(time: datetime, record: dict[str, Any], words: Words) -> Cell:
    topic = record["topic"]
    did = str(record.get("stage") or record.get("what") or ("adopted" if record.get("adopted") else "proposed"))
    who = str(record.get("who") or record.get("by") or record.get("user") or "icctwin")
    why = _said(record.get("why"), words) or _said(record.get("reason"), words) or _said(record.get("note"), words)
    return row("", [when(time, "stamp"), words(TOPICS[topic]), who, words(did), _on(record), why])


def _on(record: dict[str, Any]) -> str:
    """What it was done to: an asset and its setting, a plan's actions, an incident, a silence."""
    actions = record.get("actions")
    if actions:
        first, count = actions[0], record.get("count", len(actions))
        more = f" … ({count})" if count > 1 else ""
        return f"{first['asset']} {first['metric']} = {first['value']:g}{more}"
    if "asset" in record and "metric" in record:
        value = record.get("ordered", record.get("value"))
        return f"{record['asset']} {record['metric']}" + (f" = {value:g}" if isinstance(value, int | float) else "")
    for name in ("incident", "matchers", "path", "target", "id", "key", "end"):
        if record.get(name):
            found = record[name]
            return " ".join(map(str, found)) if isinstance(found, list) else str(found)
    return ""


def _said(thing: object, words: Words) -> str:
    if isinstance(thing, dict) and thing.get("text"):
        kept = dict(thing, text=thing.get("template", thing["text"]))
        try:
            return words.sentence(message_of(kept))
        except (KeyError, IndexError, ValueError):  # a sentence of another release, whose numbers are not there
            return str(thing["text"])
    return words(thing) if isinstance(thing, str) else ""
