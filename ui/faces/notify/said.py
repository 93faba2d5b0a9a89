"""A page in words, in the receiver's language: title, lines, links, and a picture of the series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from analytics.oncall.desk import Event, Page
from analytics.oncall.labels import PLACES, Signal
from ui.faces.notify.v4 import page_of
from ui.words import Words

MAX_LINES = 12  # of alerts in one text; the rest is counted
TITLES: Mapping[Event, str] = {
    Event.TRIGGER: "{mark} {summary}",
    Event.UPDATE: "{mark} more: {summary}",
    Event.REPEAT: "{mark} still open: {summary}",
    Event.ESCALATE: "{mark} nobody has taken this: {summary}",
    Event.ACKNOWLEDGE: "taken: {summary}",
    Event.RESOLVE: "over: {summary}",
    Event.HANDOVER: "handed over to {person}: {count} open",
    Event.REPORT: "{summary}",
    Event.TEST: "a test of channel {channel}: {summary}",
}
DIGEST = "{count} pages in one: {summary}"
MARKS = {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO"}
LINES: Mapping[str, str] = {
    "folded": "explains {count} further alerts, which are not told one by one",
    "more": "and {count} more",
    "begun": "since {time}, for {lasting}",
    "place": "in {place}",
    "what": "what to do: {runbook}",
    "flaps": "flaps: told again only after it has been quiet for a while",
    "note": "{person}: {note}",
}


@dataclass(frozen=True, slots=True)
class Said:
    """``title``: one line, the cause first; ``lines``: the rest, plain; ``link``: to the alert's page, "" where nothing is set;
    ``picture``: PNG of the first alert's series or None, ``picture_link`` where it can be fetched."""

    title: str
    lines: tuple[str, ...]
    link: str = ""
    picture: bytes | None = None
    picture_link: str = ""

    def text(self, max_bytes: int = 1 << 20) -> str:
        """All of it as plain text of at most ``max_bytes`` in UTF-8."""
        return cut("\n".join((self.title, *self.lines, *((self.link,) if self.link else ()))), max_bytes)


def cut(text: str, max_bytes: int) -> str:
    """``text``, shortened to ``max_bytes`` in UTF-8 with an ellipsis where it is longer; never in the middle of a character."""
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    return raw[: max(0, max_bytes - 3)].decode("utf-8", "ignore") + "…"


def say(pages: Sequence[Page], words: Words, timezone: str, outside: str = "", picture: bytes | None = None) -> Said:
    """``pages`` (more than one: as a digest) in ``words``; ``outside``: URL under which people reach icctwin, "" for no
    links."""
    if len(pages) > 1:
        return _digest(pages, words, outside)
    page = pages[0]
    first = page.signals[0] if page.signals else None
    summary = words.sentence(first.summary) if first else page.group
    params = {"mark": words(MARKS[page.severity]), "summary": summary, "person": page.person, "count": page.note}
    title = words(TITLES[page.event]).format(**params, channel=page.channel)
    if first and first.folded and page.event is not Event.RESOLVE:
        title += f" (+{first.folded})"
    about = [] if page.event is Event.REPORT else _about(page, first, words, timezone)
    lines = [*about, *_others(page, words)]
    if page.note and page.event is not Event.HANDOVER:
        lines.append(_line(words, "note", person=page.person or "–", note=page.note))
    return Said(title, tuple(lines), _link(outside, first), picture, _picture_link(outside, first))


def _line(words: Words, name: str, **params: object) -> str:
    return words(LINES[name]).format(**params)


def _about(page: Page, first: Signal | None, words: Words, timezone: str) -> list[str]:
    if first is None:
        return []
    zone = ZoneInfo(timezone)
    lines = []
    if first.folded:
        lines.append(_line(words, "folded", count=first.folded))
    place = " / ".join(dict.fromkeys(first.labels[label] for label in PLACES if label in first.labels))
    if place:
        lines.append(_line(words, "place", place=place))
    since = datetime.fromtimestamp(first.since_s, UTC)
    end_s = page.made_s if first.fires else first.ended_s
    lasting = words.quantity(max(0.0, end_s - first.since_s), "s")
    lines.append(_line(words, "begun", time=words.clock(since, zone, seconds=True), lasting=lasting))
    if first.runbook and first.fires:
        lines.append(_line(words, "what", runbook=words(first.runbook)))
    if first.key in page.flapping:
        lines.append(_line(words, "flaps"))
    return lines


def _others(page: Page, words: Words) -> list[str]:
    rest = page.signals[1:]
    lines = [f"· {words.sentence(signal.summary)}" for signal in rest[:MAX_LINES]]
    more = max(0, len(rest) - MAX_LINES) + page.left_out
    return [*lines, _line(words, "more", count=more)] if more else lines


def _digest(pages: Sequence[Page], words: Words, outside: str) -> Said:
    """Several pages in one: the newest of each group, the most severe first."""
    newest = {page.group: page for page in pages}
    order = sorted(newest.values(), key=lambda page: (list(MARKS).index(page.severity), page.made_s))
    said = [say([page], words, "UTC") for page in order]
    title = words(DIGEST).format(count=len(pages), summary=said[0].title)
    lines = [f"· {one.title}" for one in said[1 : MAX_LINES + 1]]
    if len(said) > MAX_LINES + 1:
        lines.append(_line(words, "more", count=len(said) - MAX_LINES - 1))
    return Said(title, tuple(lines), f"{outside.rstrip('/')}/oncall" if outside else "")


def _link(outside: str, signal: Signal | None) -> str:
    return page_of(signal, outside) if signal else ""


def _picture_link(outside: str, signal: Signal | None) -> str:
    if not outside or signal is None or not signal.labels.get("metric"):
        return ""
    return f"{outside.rstrip('/')}/api/v1/alerts/{quote(signal.key, safe='')}/picture.png"
