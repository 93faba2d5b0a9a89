"""Why a source fails and what of it nobody can place: from the process that reads it, through the records, to all faces.

All processes of a centre keep one record together, in which each writes the part that is its own; how a source does at this
moment is told by its numbers (``ui.own``), not by this.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from twin.condition import MAX_TOLD, Condition
from twin.errors import SourceError
from twin.message import Message, verbatim
from twin.ports import Records
from twin.site import Site
from ui.own import SourceRow

log = logging.getLogger(__name__)

TOPIC = "source-conditions"
EVERY_S = 30.0  # no process writes oftener
Rows = dict[str, dict[str, Any]]


class ConditionLog:
    """Of the sources called ``mine`` of ``site``. One thread at a time may ``flush``."""

    def __init__(self, records: Records, site: Site, mine: Sequence[str]) -> None:
        self._records, self._known, self._mine = records, frozenset(site.ids_of("source")), frozenset(mine)
        self._said: Mapping[str, Condition] | None = None
        self._written: Mapping[str, Condition] | None = None
        self._began: datetime | None = None
        self._tried: datetime | None = None

    def note(self, said: Mapping[str, Condition]) -> None:
        """Take what there is to say of ``mine`` now; it is kept after the next ``flush`` that is due and succeeds."""
        self._said = said

    def flush(self, now: datetime) -> None:
        """Write what has changed, at most every ``EVERY_S``. The first time this is done as soon as each source was asked, for
        what the process before has said stands until then."""
        said = self._said
        if not self._mine or said is None or said == self._written:
            return
        self._began = self._began or now
        over = not 0 <= (now - (self._tried or self._began)).total_seconds() < EVERY_S
        if not over and (self._tried or any(one.up is None for one in said.values())):
            return
        self._tried = now
        try:
            self._records.append_next(TOPIC, now, lambda before: {"sources": self._merged(said, before or {"sources": {}})})
            self._records.trim(TOPIC, 1)
        except SourceError as error:
            log.error("why sources fail is not kept: %s", error)
            return
        self._written = said

    def _merged(self, said: Mapping[str, Condition], before: Mapping[str, Any]) -> Rows:
        """``said`` beside what others wrote, and what was written of those that were not asked yet."""
        told = {name: _row(one) for name, one in said.items() if one.up is not None}
        asked = self._mine - (said.keys() - told.keys())
        rows = {name: row for name, row in before["sources"].items() if name in self._known - asked} | told
        worst = sorted(rows, key=lambda name: (rows[name]["up"], not rows[name]["error"]))
        return {name: rows[name] for name in worst[:MAX_TOLD]}


def _row(one: Condition) -> dict[str, Any]:
    since_s = one.since.timestamp() if one.since else None
    return {"up": one.up, "error": one.error, "since_s": since_s, "unmapped": one.unmapped, "names": list(one.names)}


def read_conditions(records: Records) -> dict[str, Condition]:
    """By source, as they were written last; ``SourceError`` where the records do not answer."""
    found = records.read(TOPIC, limit=1, newest=True)
    return {name: _condition(row) for name, row in found[-1][2]["sources"].items()} if found else {}


def _condition(row: Mapping[str, Any]) -> Condition:
    since = datetime.fromtimestamp(row["since_s"], UTC) if row["since_s"] is not None else None
    return Condition(row["up"], row["error"], since, row["unmapped"], tuple(row["names"]))


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not well with a source, with what to do where that is known; ``since``: from when on."""

    text: Message
    since: datetime | None


def error_of(row: SourceRow, said: Condition | None) -> str:
    """Why the source of ``row`` fails, "" where it does not: words of before it answered again are over."""
    return said.error if said is not None and (said.up or row.status != "up") else ""


def troubles_of(row: SourceRow, said: Condition | None) -> list[Trouble]:
    """What there is to say of the source of ``row``, the worst first."""
    found, error = [], error_of(row, said)
    if row.status == "silent":
        what = "The process that polls it hangs or has gone; look at its log and restart it."
        found.append(Trouble(Message(what), row.silent_since))
    if error and said is not None:
        heard = row.status in ("up", "down")
        found.append(Trouble(verbatim(error) if heard else Message("it last said: {error}", {"error": error}), said.since))
    if said is not None and said.names:
        what = (
            "{n} of its series belong to nothing known: {names}; name them in its mapping, add what they speak of to the "
            "assets, or list them under ignore"
        )
        names = ", ".join(said.names) + (", …" if said.unmapped > len(said.names) else "")
        found.append(Trouble(Message(what, {"n": said.unmapped, "names": names}), None))
    return found


@dataclass(frozen=True, slots=True)
class SourceSaid(SourceRow):
    """A source's health with its words: ``error``: why it fails ("": it does not), ``error_since``: from when on;
    ``unmapped_names``: some of the series that belong to nothing known. All null where the records do not answer."""

    error: str | None
    error_since: datetime | None
    unmapped_names: tuple[str, ...] | None


def sources_said(rows: Sequence[SourceRow], records: Records) -> list[SourceSaid]:
    """``rows`` with their words."""
    try:
        said = read_conditions(records)
    except SourceError as error:
        log.warning("why sources fail cannot be read: %s", error)
        return [SourceSaid(**_cells(row), error=None, error_since=None, unmapped_names=None) for row in rows]
    return [_said(row, said.get(row.id)) for row in rows]


def _said(row: SourceRow, one: Condition | None) -> SourceSaid:
    error = error_of(row, one)
    since = one.since if one and error else None
    return SourceSaid(**_cells(row), error=error, error_since=since, unmapped_names=tuple(one.names) if one else ())


def _cells(row: SourceRow) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
