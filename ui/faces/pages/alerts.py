"""``/alerts``: what fires, who took it, what is quiet, what began and ended.

Taking and silencing go over the on-call API."""

from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np
from fastapi import FastAPI

from analytics.alerts import Alert, Phase, Severity
from twin.metrics import UNITS
from ui.faces.pages.markup import fine, listed, more, number, page_of_panels, panel, say, tile
from ui.faces.pages.overview import MARKS
from ui.faces.pages.recent import Record, read_topics
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, once, plain, press, row, when
from ui.faces.push import Feed, Pulse
from ui.faces.shelf import Kept
from ui.oncall.service import ALERT_LOG, INCIDENTS, OnCall
from ui.oncall.spoken import about, lead, phase, sentence
from ui.own import task_age_s
from ui.view import Live, View
from ui.words import Words

ROWS_OPEN, ROWS_FIRING, ROWS_QUIET, ROWS_PAST = 7, 14, 6, 12
MAX_AGE_S, EVERY_S = 30.0, 5.0
LABELS = ("done", "Say who you are first", "took", "silenced for {n} h", "Say why")
_ORDER = list(Severity)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at alerts."""

    now: datetime
    firing: tuple[Alert, ...]
    pending: int
    oncall: OnCall | None
    log: Kept
    age_s: float


def add_alerts(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("alert-log", EVERY_S, lambda live, now: read_topics(live, now, (ALERT_LOG, INCIDENTS), 1.0, 1000))

    def gather(view: View, live: Live) -> Seen:
        firing = [one for one in live.alerts if one.phase is Phase.FIRING and not one.cause]
        firing.sort(key=lambda one: (_ORDER.index(one.severity), -one.since.timestamp()))
        pending = sum(one.phase is Phase.PENDING for one in live.alerts)
        age_s = task_age_s(live.state, "alerts", view.time)
        return Seen(view.time, tuple(firing), pending, live.oncall, pulse.shelf["alert-log"], age_s)

    feed = Feed(once(gather, told), LABELS, body(), needs=("alert-log",))
    serve_page(server, pulse, "alerts", feed, ("pages.js", "alerts.js"))


def _field(name: str, label: str, more: str = "") -> str:
    said = escape(label)
    return f'<label class="field">{say(label, "")} <input name="{name}" {more} aria-label="{said}" data-a="{said}"></label>'


def body() -> str:
    """The page's places."""
    tiles = [
        tile("critical", "Critical", [], [f'<span class="mark critical"><i>▲</i>{number("critical")}</span>']),
        tile("warning", "Warning", [], [f'<span class="mark warning"><i>◆</i>{number("warning")}</span>']),
        tile("info", "Info", [], [f'<span class="mark info"><i>●</i>{number("info")}</span>']),
        tile("open", "Incidents nobody took", [], [number("open")], fine("taken", "taken")),
        tile("oldest", "Oldest alert", [], [number("oldest")], fine("newest", "newest")),
        tile("began", "Began: 24 h", [], [number("began")], fine("pending", "pending")),
    ]
    form = (
        '<form class="who-form" id="hands">'
        + _field("by", "who", 'autocomplete="name" maxlength="100"')
        + _field("reason", "why", 'maxlength="500"')
        + _field("hours", "hours", 'type="number" min="0.1" max="744" step="0.1" value="2"')
        + '<span id="said" role="status"></span></form>'
    )
    incidents = ("", "incident", ">alerts", ">since", "who", "")
    firing = ("", "alert", "asset", ">value", ">limit", ">since", "")
    quiet = ("what", "who", "why", "until", "")
    past = ("time", "what", "asset", "phase")
    return page_of_panels(
        tiles,
        panel(
            "incidents",
            "Incidents",
            [more("incidents")],
            form,
            listed("incidents", "No incident is open", incidents, "1.6rem minmax(0,1fr) 4.4rem 5.4rem 9rem 9rem"),
            size="w14",
        ),
        panel(
            "quiet",
            "Quiet now",
            [more("quiet")],
            listed("quiet", "Nothing is quiet", quiet, "minmax(0,1fr) 7rem minmax(0,1fr) 8rem 8.4rem"),
            size="w10",
        ),
        panel(
            "firing",
            "Firing, the gravest first",
            [more("firing")],
            listed("firing", "No alert is firing", firing, "1.6rem minmax(0,1fr) 10rem 5.4rem 5.4rem 5.4rem 7rem"),
            size="w14 wrapping",
        ),
        panel(
            "past",
            "History: 24 h",
            [more("past")],
            listed("past", "Nothing began or ended", past, "6rem minmax(0,1fr) 9rem 6rem"),
            size="w10 wrapping",
        ),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    return {**_numbers(seen, words), **_lists(seen, words), **_ages(seen, words)}


def _numbers(seen: Seen, words: Words) -> Table:
    counts = {severity: sum(one.severity is severity for one in seen.firing) for severity in Severity}
    lasting = [(seen.now - one.since).total_seconds() for one in seen.firing]
    groups = list(seen.oncall.desk.groups.values()) if seen.oncall else []
    taken = sum(bool(group.acked_by) for group in groups)
    log: list[Record] | None = seen.log.value
    began = sum(r["topic"] == ALERT_LOG and r.get("phase") == "firing" for _, r in log) if log is not None else np.nan
    states = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: ""}
    return {
        **{f"n.{s.value}": plain(words, n, "count", states[s] if n else "") for s, n in counts.items()},
        "n.open": plain(words, len(groups) - taken, "count", "warning" if len(groups) > taken else ""),
        "n.taken": plain(words, taken, "count"),
        "n.oldest": _span(max(lasting, default=np.nan), words),
        "n.newest": _span(min(lasting, default=np.nan), words),
        "n.began": plain(words, began, "count"),
        "n.pending": plain(words, seen.pending, "count"),
    }


def _span(seconds: float, words: Words) -> Cell:
    return {"n": words.age(seconds), "u": "", "f": "ok"} if np.isfinite(seconds) else plain(words, np.nan, "s")


def _lists(seen: Seen, words: Words) -> Table:
    now_s = seen.now.timestamp()
    groups = list(seen.oncall.desk.groups.values()) if seen.oncall else []
    groups.sort(key=lambda one: (bool(one.acked_by), _ORDER.index(one.severity), one.opened_s))
    quiet = [one for one in seen.oncall.quiet_windows() if one.active(now_s)] if seen.oncall else []
    log: list[Record] = seen.log.value or []
    return {
        "l.incidents": [
            row(
                one.severity.value,
                [
                    MARKS[one.severity],
                    words.sentence(lead(one)),
                    plain(words, len(one.told), "count"),
                    _span(now_s - one.opened_s, words),
                    one.acked_by or "–",
                    "" if one.acked_by else press(words("acknowledge"), "take", one.incident),
                ],
            )
            for one in groups[:ROWS_OPEN]
        ],
        "m.incidents": max(len(groups) - ROWS_OPEN, 0),
        "l.firing": [_firing(one, now_s, words) for one in seen.firing[:ROWS_FIRING]],
        "m.firing": max(len(seen.firing) - ROWS_FIRING, 0),
        "l.quiet": [_quiet(one, words) for one in quiet[:ROWS_QUIET]],
        "m.quiet": max(len(quiet) - ROWS_QUIET, 0),
        "l.past": [_past(time, record, words) for time, record in log[:ROWS_PAST]],
        "m.past": max(len(log) - ROWS_PAST, 0),
    }


def _firing(one: Alert, now_s: float, words: Words) -> Cell:
    folded = f"  (+{one.folded})" if one.folded else ""
    return row(
        one.severity.value,
        [
            MARKS[one.severity],
            words.sentence(one.summary) + folded,
            one.asset,
            _number(one.value, one, words),
            _number(one.limit, one, words),
            _span(now_s - one.since.timestamp(), words),
            press(words("silence"), "silence", f"asset={one.asset}" if one.asset else f"alertname={one.rule}"),
        ],
    )


def _number(value: float, one: Alert, words: Words) -> Cell:
    """A number of an alert in the unit of its metric; that of a rate is per second."""
    shown = plain(words, value, one.suffix)
    rate = str(one.summary.params.get("unit", "")).endswith("/s") and not UNITS[one.suffix].endswith("/s")
    return {**shown, "u": f"{shown['u']}/s"} if rate and shown["f"] == "ok" else shown


def _quiet(one: Any, words: Words) -> Cell:
    shown = one.as_json()
    matchers = shown.get("matchers", [])
    what = " ".join(str(one) for one in matchers)
    ending = press(words("end silence"), "end", str(shown.get("id", ""))) if shown.get("kind") == "silence" else ""
    until = when(datetime.fromtimestamp(one.end_s, UTC), "stamp") if np.isfinite(one.end_s) else "–"
    return row("", [what, str(shown.get("author", "")), str(shown.get("reason", "")), until, ending])


def _past(time: datetime, record: dict[str, Any], words: Words) -> Cell:
    state = str(record.get("severity", "")) if record.get("phase") == "firing" else ""
    return row(state, [when(time), sentence(record, words), about(record), phase(record, words)])


def _ages(seen: Seen, words: Words) -> Table:
    live, log = aged(words, seen.age_s, MAX_AGE_S), aged(words, seen.log.age_s(seen.now), seen.log.max_age_s)
    now = ("critical", "warning", "info", "open", "oldest", "incidents", "quiet", "firing")
    return {**{f"p.{name}": live for name in now}, "p.began": log, "p.past": log}
