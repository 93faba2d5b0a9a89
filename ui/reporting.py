"""Reports that come by themselves: made by the process that leads when their span is over, or where somebody asked for one;
kept, and told through the outbox that alerts have.

What was missed while icctwin was down is made at the next start. A report is made once: the records say which there are. It is
told once: which were told is kept in one transaction with the pages that tell it."""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from analytics.oncall.desk import Event, Page
from analytics.oncall.keep import page_text, plain
from analytics.oncall.labels import Signal
from analytics.rule import Severity
from energy.account.runs import no_runs, read_runs
from twin.errors import ConfigError, Problem, SourceError
from twin.message import Message
from twin.ports import Records
from ui.config import Config
from ui.oncall.file import OnCallFile
from ui.report.document import Report
from ui.report.from_live import about_of
from ui.report.library import Entry, Library, Stage, id_of, scope_in, sums_of
from ui.report.make import Made, make
from ui.report.scope import Scope, scopes_of
from ui.report.section import ReportSection
from ui.report.show import Show
from ui.report.span import Span, last_over, span_of
from ui.view import Live
from ui.words import words

log = logging.getLogger(__name__)

TOLD = "reports-told"  # of the outbox's states
MAX_TOLD = 2000  # ids remembered
MAX_PARTS = 30  # spans whose parts are remembered
MAX_MISSED = 5  # spans that are made up for after a time away
AGAIN, MOST_AGAIN = timedelta(minutes=10), timedelta(hours=6)  # after a failure, growing with each
OURSELVES = "icctwin"
SPEAKING = ("email", "signed", "slack", "feishu", "dingtalk", "wecom", "teams", "apprise", "webhook")


def check_recipients(section: ReportSection, file: OnCallFile) -> ReportSection:
    """``section``; ``ConfigError`` where it names a channel that there is not, or one where a page opens an incident."""
    problems = []
    for name in section.recipients:
        line = file.lines.get(name)
        kind = type(line.channel).__module__.rpartition(".")[2] if line else ""
        if line is None:
            known = ", ".join(sorted(file.lines)) or "none"
            problems.append(
                Problem("[report] recipients", f"there is no channel {name!r} in the on-call file; there are {known}")
            )
        elif kind not in SPEAKING:
            what = f"channel {name!r} ({kind}) would wake somebody; name one of type {', '.join(SPEAKING)}"
            problems.append(Problem("[report] recipients", what))
    if problems:
        raise ConfigError(problems)
    return section


def library_of(config: Config, records: Records, file: OnCallFile) -> Library:
    """Where the reports of a centre lie; ``ConfigError`` as ``check_recipients``."""
    return Library(records, config.store.path / "reports", check_recipients(config.report, file))


class Reporting:
    """The task. It makes one report a step: the next step goes on."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._parts: dict[str, list[Scope]] = {}  # span -> who had a part in it; of spans that are over, so it stays

    def step(self, _: object, now: datetime) -> None:
        """Make what is due, the oldest first, and tell of what was made."""
        library, zone = self._live.reports, ZoneInfo(self._live.site.timezone)
        if library is None:
            return
        entries = library.entries()
        for span, scope, by in self._due(library, entries, now, zone):
            entry = entries.get(id_of(span, scope))
            if entry is None or entry.stage is not Stage.FAILED or now - entry.at >= min(AGAIN * entry.tries, MOST_AGAIN):
                self._make(library, span, scope, by, now, entry.tries if entry else 0)
                library.prune(now)
                break
        self._tell(library, now)

    def _due(
        self, library: Library, entries: Mapping[str, Entry], now: datetime, zone: ZoneInfo
    ) -> Iterable[tuple[Span, Scope, str]]:
        for entry in reversed(list(entries.values())):
            if entry.stage is Stage.ASKED:
                yield span_of(entry.span, zone), scope_in(entry), entry.by
        for kind in library.section.every:
            for span in _missed(kind, entries, now - timedelta(hours=library.section.hour), zone):
                for scope in self._scopes(library.section, span):
                    if not _done(entries.get(id_of(span, scope)), span):
                        yield span, scope, OURSELVES

    def _scopes(self, section: ReportSection, span: Span) -> list[Scope]:
        live = self._live
        if all(":" in one or one == "centre" for one in section.scopes):
            return scopes_of(section.scopes, live.site, no_runs(), live.given())
        if span.label not in self._parts:
            runs = read_runs(live.records, span.start, span.end, live.site.ids_of("gpu"))
            found = scopes_of(section.scopes, live.site, runs, live.given())
            self._parts = {**dict(list(self._parts.items())[-MAX_PARTS:]), span.label: found}
        return self._parts[span.label]

    def _make(self, library: Library, span: Span, scope: Scope, by: str, now: datetime, tries: int) -> None:
        """Make it and note what became of it. Whatever stops it, a fault of ours too, is noted as its failure: the next step
        goes on with the next report."""
        why = "icctwin could not make it; its log says where it failed"
        try:
            self._write(library, span, scope, by, now)
            why = ""
        except (SourceError, ConfigError, ValueError) as error:
            why = str(error.problems[0]) if isinstance(error, ConfigError) else str(error) or repr(error)
            log.error("the report of %s (%s) cannot be made: %s", span.label, scope, why)
        finally:
            if why:
                library.note(span, scope, Stage.FAILED, by, now, why=why[:500], tries=tries + 1)

    def _write(self, library: Library, span: Span, scope: Scope, by: str, now: datetime) -> None:
        live, section = self._live, library.section
        made = make(about_of(live, section, now), span, scope)
        if made.coverage_frac <= 0:
            library.note(span, scope, Stage.EMPTY, by, now)
            return
        written = made.files(section.languages, section.formats)
        sizes = library.keep(id_of(span, scope), written.files)
        about_it = {"files": sizes, "sha256": sums_of(written.files), "head": _head(made), "said": _said(made.report)}
        about_it |= {"shown": _shown(made), "why": "; ".join(written.left_out)[:500]}
        library.note(span, scope, Stage.MADE, by, now, coverage_frac=made.coverage_frac, **about_it)
        log.warning("the report of %s (%s) is made: %d files", span.label, scope, len(written.files))
        for why in written.left_out:
            log.warning("left out of the report of %s: %s", span.label, why)

    def _tell(self, library: Library, now: datetime) -> None:
        """Pages about what was made by itself and was not told; together with the mark that it was."""
        oncall = self._live.oncall
        if oncall is None or not library.section.recipients:
            return
        kept = json.loads(oncall.book.read(TOLD) or "[]")
        told = set(kept)
        fresh = [
            e for e in reversed(library.entries().values()) if e.stage is Stage.MADE and e.by == OURSELVES and e.id not in told
        ]
        if not fresh:
            return
        pages = [self._page(library, entry, name, now) for entry in fresh for name in library.section.recipients]
        rows = [(page.channel, page.group, page.severity.value, page.made_s, page_text(page)) for page in pages]
        names = [*kept, *(entry.id for entry in fresh)][-MAX_TOLD:]
        oncall.book.keep({TOLD: json.dumps(names)}, rows)

    def _page(self, library: Library, entry: Entry, channel: str, now: datetime) -> Page:
        """A report as something to tell: its title, then its sentences."""
        now_s, labels = now.timestamp(), {"report": entry.id, "site": self._live.site.name, "severity": Severity.INFO.value}
        title = Message("Report {span} of {site}", {"span": entry.span, "site": self._live.site.name})
        if entry.scope != "centre":
            title = Message("Report {span} of {site}: {scope}", {**title.params, "scope": entry.scope})
        said = [title, *entry.messages]
        signals = tuple(Signal(f"report:{entry.id}:{i}", labels, Severity.INFO, one, now_s) for i, one in enumerate(said))
        attached = tuple(f"{entry.id}/{name}" for name in entry.files if name.rpartition(".")[2] in library.section.attach)
        group = f"report:{entry.id}"
        return Page(channel, group, group, Event.REPORT, Severity.INFO, labels, signals, 0, now_s, now_s, 1, files=attached)


def _done(entry: Entry | None, span: Span) -> bool:
    """Whether it was made by itself, of the whole span: what a person asked for on a Sunday is not the week's."""
    return entry is not None and entry.by == OURSELVES and entry.stage is not Stage.FAILED and entry.at >= span.end


def _head(made: Made) -> dict[str, float | None]:
    return {figure.key: figure.value if isfinite(figure.value) else None for figure in made.report.head}


def _shown(made: Made) -> list[list[str]]:
    shows = [Show(words(language), made.currency) for language in ("en", "zh")]
    return [[one.label, *(show.figure(one) for show in shows)] for one in made.report.head]


def _said(report: Report) -> list[dict[str, Any]]:
    return [{"text": one.text, "params": plain(one.params)} for one in report.said]


def _missed(kind: str, entries: Mapping[str, Entry], now: datetime, zone: ZoneInfo) -> list[Span]:
    """Spans that are over, the oldest first: the last one, and those before it since the first that was made by itself, at most
    ``MAX_MISSED``."""
    found = [last_over(kind, now, zone)]
    mine = {entry.span for entry in entries.values() if entry.kind == kind and entry.by == OURSELVES}
    first = min((span_of(label, zone).first for label in mine), default=found[0].first)
    while len(found) < MAX_MISSED and found[-1].first > first:
        found.append(found[-1].before())
    return found[::-1]
