"""Being on call: one step after each step of the alerts, what people say to it, and what is kept.

Everything that may be asked for from another thread is behind one lock; a step takes it for as long as it thinks and writes.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import RLock  # noqa: TID251 - faces speak to it from their own threads; starts no thread

import numpy as np

from analytics.alerts import Alert, AlertTable, Phase
from analytics.oncall.desk import Ack, Desk, Happened, Page, Told
from analytics.oncall.desk import step as desk_step
from analytics.oncall.folding import Folded, fold
from analytics.oncall.keep import desk_of, desk_text, others_of, others_text, page_text, plain
from analytics.oncall.labels import Signal
from analytics.oncall.others import Other, Others, other_alerts
from analytics.oncall.outbox import MAX_WAITING
from analytics.oncall.quiet import signals_of
from analytics.oncall.schedule import FRESH_S, Schedule
from analytics.oncall.silence import MAX_SILENCES, Quiet, Silence, make_silence, reservation_windows
from analytics.rule import Rule
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Frame, Ints, Origin
from twin.ports import Records
from twin.site import Site
from ui.oncall.book import Book
from ui.oncall.calendars import Calendars
from ui.oncall.file import OnCallFile
from ui.oncall.spoken import kept, lead

log = logging.getLogger(__name__)

ALERT_LOG, INCIDENTS, AUDIT = "alert", "incident", "oncall-audit"
MAX_ACKS = 1000  # that wait for the next step
MAX_WRITTEN = 20  # alerts written down one by one in one step
MAX_HISTORY = 10_000  # records that wait in memory for a full disk; the oldest goes first
MAX_NAMED = 50  # assets named in one record of folded alerts
TABLE, DESK, OTHERS = "alert-table", "desk", "others"


class OnCall:
    """The desk of one centre. ``book``: what survives a kill; ``records``: history and audit."""

    def __init__(self, site: Site, book: Book, records: Records, file: OnCallFile, now: datetime) -> None:
        self.site, self.book, self.file = site, book, file
        self._records, self._lock = records, RLock()
        self._acks: list[Ack] = []
        self._dirty = False
        self.refused: SourceError | None = None  # why the last step could not be kept
        self.silent: Mapping[str, str] = {}  # by heartbeat that gets no sign of life: why
        self._pages: deque[Page] = deque(maxlen=MAX_WAITING)  # not in the book yet; beyond, the oldest goes
        self._history: deque[tuple[str, datetime, dict[str, object]]] = deque(maxlen=MAX_HISTORY)  # not in the records yet
        self._read_by: Ints = np.full(len(site.ids), -1, dtype=np.int32)
        self._schedules: dict[str, Schedule] = {}
        self._works: dict[str, Sequence[Silence]] = {}
        self.odd: tuple[Problem, ...] = ()
        self._calendars_s = -np.inf
        self._reservations: dict[str, list[Silence]] = {}
        self.others = Others()
        self._written: Mapping[str, Phase] = {}  # of alerts of others, by key: the phase that the history has
        self.desk = self._remembered()
        self._others_dirty = False
        self.signals: tuple[Signal, ...] = ()
        self.rules: tuple[Rule, ...] = ()
        self.use(file, now)

    def _remembered(self) -> Desk:
        try:
            others, kept = self.book.read(OTHERS), self.book.read(DESK)
            self.others = others_of(others) if others else Others()
            self._written = {key: Phase.FIRING if one.fires else Phase.RESOLVED for key, one in self.others.known.items()}
            return desk_of(kept) if kept else Desk()
        except SourceError as error:
            log.error("who was told what before the start is lost: %s", error)
            return Desk()

    def recall(self) -> None:
        """Go on from what is kept, as the process that led before left it."""
        with self._lock:
            self.desk, self.refused, self.silent = self._remembered(), None, {}
            self._pages.clear()

    def beside(self, table: AlertTable, now: datetime) -> AlertTable:
        """``table`` with the alerts of others, as the process that leads has kept them."""
        try:
            kept = self.book.read(OTHERS)
            others = others_of(kept) if kept else Others()
        except SourceError as error:
            log.error("the alerts of others are not shown: %s", error)
            return table
        return replace(table, outside=other_alerts(self.site, others.at(now.timestamp())))

    def use(self, file: OnCallFile, now: datetime) -> None:
        """From now on go by ``file``; ``ConfigError`` where its calendars cannot be read, and the old one stays."""
        found = file.read_calendars(now)
        if found.wrong:
            raise ConfigError(found.wrong)
        with self._lock:
            self.file, self._schedules, self._works = file, {}, {}
            self._take(found, now)

    def _take(self, found: Calendars, now: datetime) -> None:
        """Go by the calendars that could be read; of the others what is known goes on. ``odd`` says what is wrong with them."""
        self._calendars_s = now.timestamp()
        self._schedules |= found.schedules
        self._works |= found.windows
        odd = (*found.wrong, *found.left_out)
        if odd and odd != self.odd:
            log.error("calendars of the on-call file:\n%s", "\n".join(map(str, odd)))
        self.odd = odd

    # one step

    def step(self, table: AlertTable, now: datetime) -> AlertTable:
        """Explain, decide who is told, and keep it; gives the table with what explains what. Where it cannot be kept, as on a
        full disk, ``refused`` says why: pages and history wait in memory for the step in which it can, and all else goes on."""
        now_s = now.timestamp()
        with self._lock:
            self._freshen(now)
            self.others, self.rules = self.others.at(now_s), table.rules.rules
            seen = fold(table, self.others, self._read_by)
            told = self._decide(seen, now)
            changes, differs = seen.table.changes, self._differs(told.desk)
            self.desk, self._acks = told.desk, []
            self._pages += told.pages
            if self._pages or told.happened or changes or table.lost or self._dirty or differs:
                self._keep(seen.table, whole=bool(changes or table.lost or self.refused))
        self._note([*changes, *self._news(seen.table.outside)], told.happened, now)
        if self.refused is None:
            self._write()
        return seen.table

    def _keep(self, table: AlertTable, *, whole: bool) -> None:
        """Write down what a kill must not take, the table of alerts where it is asked for ``whole``."""
        states = {DESK: desk_text(self.desk)}
        if self._others_dirty:
            states[OTHERS] = others_text(self.others)
        if whole:
            states[TABLE] = table.dump()
        pages = [(page.channel, page.group, page.severity.value, page.made_s, page_text(page)) for page in self._pages]
        try:
            self.book.keep(states, pages)
        except SourceError as error:
            self.refused, self._dirty = error, True
            return
        self._pages.clear()
        self.refused, self._dirty, self._others_dirty = None, False, False

    def save(self, table: AlertTable) -> None:
        """Keep everything as it stands."""
        with self._lock:
            self.book.keep({TABLE: table.dump(), DESK: desk_text(self.desk), OTHERS: others_text(self.others)})

    def _differs(self, desk: Desk) -> bool:
        return desk.groups.keys() != self.desk.groups.keys() or desk.duty != self.desk.duty or desk.begun != self.desk.begun

    def _decide(self, seen: Folded, now: datetime) -> Told:
        now_s, policy = now.timestamp(), self.file.policy
        duty = {one.name: one.called(now_s) for one in self._schedules.values()}
        holds = frozenset(route.name for route in policy.routes if route.during.holds(now, policy.timezone))
        windows = [one for one in (*self._windows, *self._reserved()) if one.active(now_s)]
        groups = [group.told for group in self.desk.groups.values()]
        self.signals = tuple(signals_of(seen, self.others, policy, groups, [*self.desk.silences, *windows], holds))
        return desk_step(policy, self.desk, self.signals, now_s, windows=windows, acks=self._acks, duty=duty, holds=holds)

    def _freshen(self, now: datetime) -> None:
        """Calendars say what comes for two weeks only."""
        if now.timestamp() - self._calendars_s > FRESH_S:
            self._take(self.file.read_calendars(now), now)

    @property
    def _windows(self) -> list[Silence]:
        return [one for windows in self._works.values() for one in windows]

    def _news(self, outside: Sequence[Alert]) -> list[Alert]:
        """Which alerts of others began or ended since the last step."""
        was, self._written = self._written, {one.key: one.phase for one in outside}
        if was == self._written:
            return []
        return [one for one in outside if was.get(one.key, Phase.RESOLVED) is not one.phase]

    def _note(self, changes: Sequence[Alert], happened: Sequence[Happened], now: datetime) -> None:
        """History, to be written. What another explains, and what goes beyond ``MAX_WRITTEN`` of a step, is counted with its
        like: a storm would take many seconds to write one by one."""
        written = 0
        folded: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for alert in changes:
            if alert.cause or written >= MAX_WRITTEN:
                folded[alert.cause, alert.rule, alert.phase].append(alert.asset)
            else:
                written += 1
                self._history.append((ALERT_LOG, now, alert_record(alert)))
        for (cause, rule, phase), assets in folded.items():
            named = {"cause": cause, "rule": rule, "phase": phase, "count": len(assets), "assets": assets[:MAX_NAMED]}
            self._history.append((ALERT_LOG, now, {"key": f"{rule}:*", "asset": "*", **named}))
        for one in happened:
            group = one.group
            record = {"what": one.what, "incident": group.incident, "at_s": one.at_s, "severity": group.severity.value}
            rules = sorted({key.partition(":")[0] for key in group.told})[:MAX_NAMED]
            assets = sorted({signal.labels.get("asset", "") for signal in group.shown.values()} - {""})[:MAX_NAMED]
            record |= {"rules": rules, "assets": assets, "by": group.acked_by, "opened_s": group.opened_s}
            record |= {"summary": group.summary, "said": kept(lead(group))}
            self._history.append((INCIDENTS, now, record))

    def _write(self) -> None:
        """Write the history that waits, the oldest first; what is refused goes on waiting."""
        try:
            while self._history:
                self._records.append(*self._history[0])
                self._history.popleft()
        except SourceError as error:
            self.refused, self._dirty = error, True

    # what is heard

    def heard(self, frames: Sequence[Frame]) -> None:
        """Remember which source reads which asset, so that what it reads is not thought broken when it is the source."""
        for frame in frames:
            at = self.site.position.get(frame.source, -1)
            if at >= 0 and frame.kind != "source" and frame.origin is Origin.MEASURED:
                self._read_by[self.site.of_kind(frame.kind)[frame.rows]] = at

    def hear(self, said: Sequence[Other], now: datetime) -> None:
        """Alerts of others."""
        with self._lock:
            self.others = self.others.heard(said, now.timestamp())
            self._dirty = self._others_dirty = True

    def health(self, now_s: float) -> dict[str, float]:
        """How delivery does, as metrics of our own process."""
        waiting, dead, oldest_s = self.book.counts()
        age_s = max(0.0, now_s - oldest_s) if np.isfinite(oldest_s) else 0.0
        silent = float(len(self.silent))
        return {
            "pages_waiting_count": float(waiting),
            "pages_waiting_s": age_s,
            "pages_dead_count": float(dead),
            "heartbeats_silent_count": silent,
        }

    def reserved(self, queue: str, reservations: Iterable[Mapping[str, object]]) -> None:
        """What a queue keeps for maintenance is quiet."""
        with self._lock:
            names = self.file.delivery.maintenance_reservations
            self._reservations[queue] = reservation_windows(queue, reservations, names)

    def _reserved(self) -> list[Silence]:
        return [one for windows in self._reservations.values() for one in windows]

    # what people say

    def acknowledge(self, incident: str, by: str, note: str, now: datetime) -> bool:
        """Take an incident; False where none of that name is open. Told at the next step."""
        with self._lock:
            if all(group.incident != incident for group in self.desk.groups.values()) or len(self._acks) >= MAX_ACKS:
                return False
            self._acks.append(Ack(incident, by.strip()[:100], now.timestamp(), note.strip()[:500]))
        self.audit("acknowledge", by, now, incident=incident, note=note[:500])
        return True

    def silence(
        self, matchers: Sequence[str], author: str, reason: str, start: datetime, end: datetime, now: datetime
    ) -> Silence:
        """Keep something quiet; ``ValueError`` with one sentence where something is missing."""
        with self._lock:
            if len(self.desk.silences) >= MAX_SILENCES:
                raise ValueError(f"there are {MAX_SILENCES} silences already; end some")
            last = max((int(one.id.rpartition("-")[2]) for one in self.desk.silences), default=0)
            name = f"silence-{max(last + 1, int(now.timestamp()))}"
            made = make_silence(name, matchers, author, reason, start.timestamp(), end.timestamp(), Quiet.SILENCE)
            self.desk = replace(self.desk, silences=(*self.desk.silences, made))
            self._dirty = True
        self.audit("silence", author, now, **made.as_json())
        return made

    def end_silence(self, name: str, by: str, now: datetime) -> bool:
        """End a silence now; False where there is none of that name."""
        with self._lock:
            kept = tuple(one for one in self.desk.silences if one.id != name)
            if len(kept) == len(self.desk.silences):
                return False
            self.desk, self._dirty = replace(self.desk, silences=kept), True
        self.audit("end-silence", by, now, id=name)
        return True

    def quiet_windows(self) -> list[Silence]:
        """Silences, maintenance and reservations that are known, those of people first."""
        with self._lock:
            return [*self.desk.silences, *self._windows, *self._reserved()]

    def duty(self, now_s: float) -> Mapping[str, tuple[tuple[str, ...], float]]:
        """Schedule -> who has duty and when that changes next."""
        with self._lock:
            return {one.name: (one.on_duty(now_s), one.next_change(now_s)) for one in self._schedules.values()}

    def audit(self, what: str, by: str, now: datetime, **about: object) -> None:
        """Write down who did what."""
        self._records.append(AUDIT, now, {"what": what, "by": by[:100], **plain(about)})


def alert_record(alert: Alert) -> dict[str, object]:
    """What is written down of an alert that begins or ends."""
    return {
        "key": alert.key,
        "rule": alert.rule,
        "asset": alert.asset,
        "severity": alert.severity.value,
        "phase": alert.phase.value,
        "value": plain(alert.value),
        "limit": plain(alert.limit),
        "summary": str(alert.summary),
        "said": kept(alert.summary),
        "runbook": alert.runbook,
        "folded": alert.folded,
        **({"origin": alert.origin} if alert.known_as else {}),
    }
