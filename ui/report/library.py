"""The reports that were made: their files beside the store, what is known of them in the records. Shared by all processes of a
centre: who asks for a report writes that down, the process that leads makes it."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from twin.errors import SourceError
from twin.message import Message
from twin.ports import Records
from ui.report.scope import Scope, scope_of
from ui.report.section import ReportSection
from ui.report.span import Span

TOPIC = "report"
MAX_RECORDS = 10_000  # of the topic: some three for each report that was ever made; the oldest go
MAX_ASKED = 20  # reports that wait to be made


class Stage(StrEnum):
    """What is known of a report."""

    ASKED = "asked"
    MADE = "made"
    EMPTY = "empty"  # nothing was read in that span, so there is nothing to report
    FAILED = "failed"
    DROPPED = "dropped"  # made once, and older than what is kept


@dataclass(frozen=True, slots=True)
class Entry:
    """A report. ``files``: name -> bytes; ``head``: its first figures; ``tries``: how often making it has failed, ``why``: the
    last time, or what was left out of one that is made; ``said``: its sentences; ``shown``: (label, text in English, in
    Chinese) of its first figures."""

    id: str
    kind: str
    span: str
    scope: str
    stage: Stage
    at: datetime
    by: str
    files: Mapping[str, int] = field(default_factory=dict)
    head: Mapping[str, float | None] = field(default_factory=dict)
    coverage_frac: float = 0.0
    tries: int = 0
    why: str = ""
    said: Sequence[Mapping[str, Any]] = ()
    shown: Sequence[Sequence[str]] = ()

    @property
    def messages(self) -> list[Message]:
        """The sentences of its first page."""
        return [Message(**one) for one in self.said]


class Full(Exception):
    """Too many reports wait to be made; the text says so."""


def id_of(span: Span, scope: Scope) -> str:
    """What a report is called: the same for the same span and scope, and good as a file's name."""
    slug = scope.slug
    return span.label.replace("/", "--") + (f".{slug}" if slug else "")


class Library:
    """The reports of one centre, ``folder`` beside its store."""

    def __init__(self, records: Records, folder: Path, section: ReportSection) -> None:
        self._records, self.folder, self.section = records, folder, section

    def entries(self) -> dict[str, Entry]:
        """Newest first; those that were dropped too."""
        found: dict[str, Entry] = {}
        for _, time, record in self._records.read(TOPIC, limit=MAX_RECORDS, newest=True):
            entry = _entry(time, record)
            found.pop(entry.id, None)
            found[entry.id] = entry
        return dict(reversed(found.items()))

    def ask(self, span: Span, scope: Scope, by: str, now: datetime) -> Entry:
        """Have one made; that of a span which was over when it was made stands as it is. ``Full`` where too many wait."""
        entries, name = self.entries(), id_of(span, scope)
        old = entries.get(name)
        if old and (old.stage is Stage.ASKED or (old.stage is Stage.MADE and span.end <= old.at)):
            return old
        if sum(one.stage is Stage.ASKED for one in entries.values()) >= MAX_ASKED:
            raise Full(f"{MAX_ASKED} reports wait to be made; ask again when some are")
        return self.note(span, scope, Stage.ASKED, by, now)

    def note(self, span: Span, scope: Scope, stage: Stage, by: str, now: datetime, **more: Any) -> Entry:
        """Write down what became of a report."""
        record = {"id": id_of(span, scope), "kind": span.kind, "span": span.label, "scope": str(scope), "stage": stage.value}
        record |= {"by": by[:100], **more}
        self._records.append(TOPIC, now, record)
        return _entry(now, record)

    def keep(self, name: str, files: Iterable[tuple[str, bytes]]) -> dict[str, int]:
        """Put the files of a report in place, all at once; gives their sizes. ``SourceError`` where the disk says no."""
        half, whole = self.folder / f".{name}.part", self.folder / name
        try:
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            sizes = {}
            for file, data in files:
                sizes[file] = (half / file).write_bytes(data)
            shutil.rmtree(whole, ignore_errors=True)
            half.rename(whole)
        except OSError as error:
            raise SourceError(f"{whole}: the report cannot be kept ({error.strerror}); look at the disk") from error
        return sizes

    def prune(self, now: datetime) -> int:
        """Drop the oldest beyond what is kept; gives how many."""
        made = [entry for entry in self.entries().values() if entry.stage is Stage.MADE]
        for entry in made[self.section.keep :]:
            shutil.rmtree(self.folder / entry.id, ignore_errors=True)
            record = {"id": entry.id, "kind": entry.kind, "span": entry.span, "scope": entry.scope, "by": entry.by}
            self._records.append(TOPIC, now, record | {"stage": Stage.DROPPED.value})
        if made[self.section.keep :]:
            self._records.trim(TOPIC, MAX_RECORDS)
        return len(made[self.section.keep :])

    def fetch(self, file: str) -> bytes:
        """A file by ``id/name``, as pages name it; ``SourceError`` where it is gone."""
        name, _, inner = file.partition("/")
        entry = self.entries().get(name)
        if entry is None or inner not in entry.files:
            raise SourceError(f"there is no report file {file!r}")
        return self.read(entry, inner)

    def read(self, entry: Entry, file: str) -> bytes:
        """A file of a report; ``SourceError`` where it is gone. ``KeyError`` where the report never had it."""
        if file not in entry.files:
            raise KeyError(file)
        try:
            return (self.folder / entry.id / file).read_bytes()
        except OSError as error:
            raise SourceError(f"{entry.id}/{file} cannot be read ({error.strerror}); ask for the report again") from error


def sums_of(files: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """SHA-256 of each file, for who wants to know that it is what was made."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files}


def _entry(time: datetime, record: Mapping[str, Any]) -> Entry:
    names = ("id", "kind", "span", "scope", "by", "files", "head", "coverage_frac", "tries", "why", "said", "shown")
    given = {name: record[name] for name in names if name in record}
    return Entry(stage=Stage(record["stage"]), at=time, **given)


def scope_in(entry: Entry) -> Scope:
    """The scope of an entry."""
    return scope_of(entry.scope)
