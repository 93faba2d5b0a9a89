"""Joins the on-call file, the book, the courier and the rules of a running centre, and reads them again when they change."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from analytics.oncall.desk import Page
from analytics.oncall.others import EVENT, Other, names_of, other_of
from analytics.rules import DEFAULT_RULES, Rules, load_rules
from twin.errors import ConfigError, SourceError
from twin.message import Message
from twin.ports import Records
from twin.site import Site
from ui.faces.notify.post import Post
from ui.oncall.courier import Courier
from ui.oncall.file import OnCallFile, load_oncall, no_oncall
from ui.oncall.heart import Heart
from ui.oncall.picture import series_picture
from ui.oncall.service import OnCall
from ui.view import Live
from ui.words import words

log = logging.getLogger(__name__)

EVENTS = "event"  # the records' topic of what devices told (twin.event)
MAX_EVENTS = 1000  # taken in at once
BLIND_S = 60.0  # alerts that were last looked for longer ago are looked for no more
STUCK_S = 900.0  # a page that waits for longer tells nobody in time


def read_oncall(path: Path | None, timezone: str, environment: Mapping[str, str], address: str = "") -> OnCallFile:
    """The on-call file at ``path``, or that of a centre that tells nobody; ``ConfigError`` with every problem. ``address``: as
    in ``load_oncall``."""
    return load_oncall(path, timezone, environment, address) if path else no_oncall(timezone, address)


class Delivery:
    """The moving parts beside the desk: the courier of the file in use, and what watches files for changes."""

    def __init__(
        self,
        live: Live,
        oncall: OnCall,
        rules: Path | None,
        file: Path | None,
        environment: Mapping[str, str],
        address: str = "",
    ) -> None:
        self._live, self._oncall, self._address = live, oncall, address
        self._rules, self._file, self._environment = rules or DEFAULT_RULES, file, environment
        self._rng = np.random.Generator(np.random.PCG64())
        self._courier, self._heart = self._made(oncall.file), self._beating(oncall.file)
        self._marks = self._signature()
        self._names = names_of(live.site)
        self._event = self._last_event(live.records)

    def _made(self, file: OnCallFile) -> Courier:
        live, delivery = self._live, file.delivery
        return Courier(
            self._oncall.book,
            file.lines,
            Post(delivery.allow),
            live.clock,
            self._rng,
            timezone=file.policy.timezone,
            outside=delivery.outside,
            fallback=delivery.fallback,
            paint=self._paint,
            fetch=live.reports.fetch if live.reports else None,
        )

    def _beating(self, file: OnCallFile) -> Heart:
        return Heart(file.beats, Post(file.delivery.allow), self._live.site.name)

    def _still(self, now: datetime) -> str:
        """Why nobody would be told of an alert that fires now, "" where people would be."""
        oncall, judged = self._oncall, self._live.judged
        if oncall.refused is not None:
            return f"alerts and pages cannot be kept: {oncall.refused}"
        if judged is None or (now - judged).total_seconds() > BLIND_S:
            return f"no alert was looked for since {judged.isoformat() if judged else 'the start'}"
        waits_s = oncall.health(now.timestamp())["pages_waiting_s"]
        return f"a page has waited for {waits_s:.0f} s and nobody took it" if waits_s > STUCK_S else ""

    def _paint(self, page: Page, language: str) -> bytes | None:
        """A page without its picture is better than none: what goes wrong here only leaves the picture out."""
        signal = page.signals[0] if page.signals else None
        if signal is None:
            return None
        try:
            about = {"limit": signal.limit, "since_s": signal.since_s}
            live = self._live
            return series_picture(live.store, live.site, signal.key, signal.labels, live.clock.now(), about, words(language))
        except SourceError as error:
            log.warning("no picture of %s: %s", signal.key, error)
            return None

    async def tick(self, now: datetime) -> None:
        """Start what is due."""
        self._heart.tick(now, self._still)
        self._oncall.silent = self._heart.silent
        await self._courier.tick()

    async def drain(self) -> None:
        """Wait for what was started."""
        await self._courier.drain()
        await self._heart.drain()

    async def close(self) -> None:
        """End deliveries under way; what they did not finish stays in the book."""
        await self._courier.close()
        await self._heart.close()

    async def reread(self, now: datetime, use: Callable[[Rules], None]) -> None:
        """Read rules and on-call file again where one of them changed; what is refused is said, and the old goes on."""
        marks = self._signature()
        if marks == self._marks:
            return
        self._marks = marks
        try:
            rules = load_rules(self._rules)
            file = read_oncall(self._file, self._live.site.timezone, self._environment, self._address)
            self._oncall.use(file, now)
        except ConfigError as error:
            log.error("the new rules are refused, the old ones go on: %s", error)
            why = Message("The new rules are refused, the old ones go on: {why}", {"why": str(error.problems[0])})
            self._live.notices = (why,)
            return
        use(rules)
        old, self._courier, self._heart = (self._courier, self._heart), self._made(file), self._beating(file)
        for one in old:
            await one.close()
        self._oncall.audit("reload", "icctwin", now, rules=len(rules.rules), channels=len(file.lines))
        self._live.notices = ()
        log.warning("rules and on-call file were read again: %d rules, %d channels", len(rules.rules), len(file.lines))

    def _signature(self) -> tuple[tuple[str, int, int], ...]:
        paths = [*(sorted(self._rules.glob("*.toml")) if self._rules.is_dir() else [self._rules])]
        paths += [*self._oncall.file.paths, *([self._file] if self._file else [])]
        return tuple(_mark(path) for path in dict.fromkeys(paths))

    def events(self, now: datetime) -> None:
        """Take in what devices told since the last time (Redfish events, SNMP traps, alarms): of warnings and worse, an alert
        that ends by itself unless it is told again."""
        records = self._live.records
        found = records.read(EVENTS, start=now - timedelta(minutes=5), limit=MAX_EVENTS, newest=True)
        fresh = [one for one in found if one[0] > self._event]
        if fresh:
            self._event = fresh[-1][0]
            self._oncall.hear(
                [
                    event_alert(self._live.site, self._names, when, record)
                    for _, when, record in fresh
                    if record.get("severity") in ("warning", "critical")
                ],
                now,
            )

    def _last_event(self, records: Records) -> int:
        found = records.read(EVENTS, limit=1, newest=True)
        return found[-1][0] if found else 0


def event_alert(site: Site, names: Mapping[str, str], when: datetime, record: Mapping[str, object]) -> Other:
    """An event of a device as an alert."""
    labels = {"alertname": str(record["code"]), "asset": str(record["asset"]), "severity": str(record["severity"])}
    labels |= {"source": str(record.get("source", ""))}
    said = {"summary": str(record.get("meaning", record["code"]))}
    return other_of(site, names, EVENT, labels, said, when.timestamp(), float("nan"), when.timestamp())


def _mark(path: Path) -> tuple[str, int, int]:
    try:
        about = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), about.st_mtime_ns, about.st_size
