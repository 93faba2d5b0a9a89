"""``/findings``: what the detectors find now, why, and what to do about it, in the reader's language."""

import re
from datetime import datetime
from typing import Any

import numpy as np
from fastapi import FastAPI

from analytics.detect.gpu import REASONS
from analytics.finding import Finding, Sort
from twin.message import Message
from ui.faces.pages.markup import fine, listed, more, number, page_of_panels, panel, tile
from ui.faces.pages.recent import Record, read_topics
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, once, plain, row, when
from ui.faces.push import Feed, Pulse
from ui.findings import TOPIC
from ui.own import task_age_s
from ui.view import Live, View
from ui.words import Words

ROWS_FOUND, ROWS_CAUSES, ROWS_PAST = 10, 7, 12
MAX_AGE_S = 60.0  # of the detectors' own task, which runs every 10 s
EVERY_S = 10.0
SURE = 0.7
# reasons that are sentences: how each reads once its numbers are in it
_READS = {text: re.sub(r"\\{(\w+):\\.0f\\}", r"(?P<\1>\\d+)", re.escape(text)) for text, _ in REASONS.values()}


def add_findings_page(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("findings", EVERY_S, lambda live, now: read_topics(live, now, (TOPIC,), 7))

    def gather(view: View, live: Live) -> tuple[Live, list[Record] | None, float]:
        return live, pulse.shelf["findings"].value, pulse.shelf["findings"].age_s(view.time)

    serve_page(server, pulse, "findings", Feed(once(gather, told), (), body(), needs=("findings",)), ("pages.js",))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("found", "Findings now", [], [number("found")], fine("sure", "sure")),
        *(tile(sort.value, _TITLES[sort], [], [number(sort.value)]) for sort in _TITLES),
        tile("causes", "Likely causes", [], [number("causes")], fine("at risk", "at_risk")),
    ]
    found = ("asset", "what is found", "evidence", "what to do", ">sure", ">since")
    causes = ("cause", "what is said of it", ">likely", ">explains", ">at risk")
    past = ("time", "asset", "what was found", "phase")
    return page_of_panels(
        tiles,
        panel(
            "now",
            "Findings, the strongest first",
            [more("findings")],
            listed(
                "findings", "Nothing is found", found, "10rem minmax(0,1.4fr) minmax(0,1.3fr) minmax(0,1.2fr) 4.6rem 5.2rem"
            ),
            size="w24 h2 wrapping",
        ),
        panel(
            "why",
            "Likely causes of findings and alerts",
            [more("causes")],
            listed("causes", "Nothing to explain", causes, "10rem minmax(0,1fr) 5rem 5.4rem 5rem"),
            size="w14",
        ),
        panel(
            "past",
            "What began and ended: 7 days",
            [],
            listed("past", "Nothing was found", past, "8rem 9rem minmax(0,1fr) 5rem"),
            size="w10 wrapping",
        ),
    )


_TITLES = {
    Sort.ANOMALY: "Anomalies",
    Sort.FAILURE: "Failures",
    Sort.STRAGGLER: "Stragglers",
    Sort.DATA: "Doubtful data",
}


def told(seen: tuple[Live, list[Record] | None, float], view: View, words: Words) -> Table:
    """The page's table."""
    live, past, past_age_s = seen
    found, causes, now = live.findings, live.causes, view.time
    count = {sort: sum(one.sort is sort for one in found) for sort in _TITLES}
    age_s = task_age_s(live.state, "findings", now)
    known = np.isfinite(age_s)
    return {
        "n.found": plain(words, len(found) if known or found else np.nan, "count", "warning" if found else ""),
        "n.sure": plain(words, sum(one.confidence >= SURE for one in found), "count"),
        **{
            f"n.{sort.value}": plain(words, n if known or found else np.nan, "count", "warning" if n else "")
            for sort, n in count.items()
        },
        "n.causes": plain(words, len(causes) if known or causes else np.nan, "count"),
        "n.at_risk": plain(words, sum(one.at_risk_count for one in causes), "count"),
        "l.findings": [_finding(one, now, words) for one in found[:ROWS_FOUND]],
        "m.findings": max(len(found) - ROWS_FOUND, 0),
        "l.causes": [
            row(
                "info" if one.rival_of else "warning",
                [
                    one.asset,
                    words.sentence(one.summary),
                    plain(words, one.score, "frac"),
                    plain(words, len(one.explains), "count"),
                    plain(words, one.at_risk_count, "count"),
                ],
            )
            for one in causes[:ROWS_CAUSES]
        ],
        "m.causes": max(len(causes) - ROWS_CAUSES, 0),
        "l.past": [_past(time, record, words) for time, record in (past or [])[:ROWS_PAST]],
        **{
            f"p.{name}": aged(words, age_s, MAX_AGE_S)
            for name in ("found", "causes", "now", "why", *(s.value for s in _TITLES))
        },
        "p.past": aged(words, past_age_s, 3 * EVERY_S + 5),
    }


def in_words(message: Message, words: Words) -> str:
    """A finding's sentence; the reason that some name is a sentence of its own."""
    reason = message.params.get("reason")
    if not isinstance(reason, str):
        return words.sentence(message)
    xid = re.fullmatch(r"XID (\d+), (.+)", reason)
    grew = re.fullmatch(r"(\w+) grew by (\d+) within a day", reason)
    if xid:
        said = f"XID {xid[1]}, {words(xid[2])}"
    elif grew:
        said = words.sentence(Message("{name} grew by {n} within a day", {"name": words(grew[1]), "n": grew[2]}))
    else:
        read = ((text, re.fullmatch(pattern, reason)) for text, pattern in _READS.items())
        found = next(((text, match) for text, match in read if match), None)
        told = {name: float(n) for name, n in found[1].groupdict().items()} if found else {}
        said = words.sentence(Message(found[0], told)) if found else words(reason)
    template, params = message.text, {**message.params, "reason": said}
    return words.sentence(Message(template, params))


def _finding(one: Finding, now: datetime, words: Words) -> Cell:
    evidence = words.joined(in_words(part, words) for part in one.evidence)
    state = "critical" if one.sort is Sort.FAILURE and one.confidence >= SURE else "warning"
    since = {"n": words.age((now - one.since).total_seconds()), "u": "", "f": "ok"}
    said: list[str | Cell] = [one.asset, in_words(one.summary, words), evidence, words.sentence(one.action)]
    return row(state, [*said, plain(words, one.confidence, "frac"), since])


def _past(time: datetime, record: dict[str, Any], words: Words) -> Cell:
    spoken = record.get("summary") or {}
    template, params = spoken.get("template", ""), spoken.get("params", {})
    said = in_words(Message(template, params), words) if template else ""
    return row("", [when(time, "stamp"), str(record.get("asset", "")), said, words(str(record.get("phase", "")))])
