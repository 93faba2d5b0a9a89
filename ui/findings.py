"""The task of the live detectors: looks at the state, writes down what began and ended, and explains what is found together."""

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from analytics.alerts import Phase
from analytics.cause import Explanation, Spread, explain, sign_of, spread_of
from analytics.detect import lives, outcomes
from analytics.detect.live import Watch
from analytics.detect.resting import worked_on
from analytics.finding import Finding, record_of
from twin.errors import SourceError
from twin.site import Bools
from ui.view import Live

log = logging.getLogger(__name__)
TOPIC = "finding"
KEPT = 20_000  # records of what began and ended
LEARN_EVERY_S = 300.0
FEWEST_TO_EXPLAIN = 2
# An hour of them, longer than any question holds: only then is what stood before this process looked, and is not found again,
# over; so no restart ends it and begins it again.
LOOKS = 360


class Findings:
    """Owns ``Live.findings`` and ``Live.causes``. ``step`` is called by one task at a time."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._watch = Watch(live.site)
        self._spread: Spread | None = None  # made when there is something to explain
        self._known: dict[str, Finding] = {}  # what was found at the last look
        self._standing: dict[str, dict[str, Any]] = {}  # what is written down as begun and not over
        self._after = 0  # number of the newest record in it
        self._missed: Counter[str] = Counter()  # looks in a row that did not find what stands
        self._learnt_s = float("-inf")
        self._recalled = False
        self._windows: frozenset[str] = frozenset()  # ids of the maintenance that holds
        self._resting: Mapping[str, Bools] = {}

    def step(self, now: datetime) -> None:
        """What is found now. A finding is written down when it begins and when it is over."""
        live = self._live
        self._read_back()
        if now.timestamp() - self._learnt_s >= LEARN_EVERY_S:
            self._recall(now)
            self._watch.outcomes = outcomes.read(live.records)
            self._watch.lives = lives.learn(live.site, live.state, self._watch.outcomes.replaced, now)
            self._learnt_s = now.timestamp()
        found = self._watch.step(live.state, live.jobs, now, self._worked_on(now))
        by_key = {finding.key: finding for finding in found}
        self._write(by_key, now)
        self._known = by_key
        live.findings = found
        live.causes = self._causes(found)

    def _read_back(self) -> None:
        """What stands, whoever wrote it down: a process before this one, or one that led meanwhile."""
        for number, _, record in self._live.records.read(TOPIC, limit=KEPT, newest=True, after=self._after):
            self._after = number
            self._standing.pop(record["key"], None)
            if record["phase"] == "began":
                self._standing[record["key"]] = record

    def _write(self, found: Mapping[str, Finding], now: datetime) -> None:
        """What began, and what is over: at once where this process had found it itself. It is read back at the next step."""
        self._missed = Counter({key: self._missed[key] + 1 for key in self._standing if key not in found})
        made = [{"phase": "began", **record_of(one)} for key, one in found.items() if key not in self._standing]
        for key, looks in self._missed.items():
            if key in self._known or looks >= LOOKS:
                newest = record_of(self._known[key]) if key in self._known else self._standing[key]
                made.append({**newest, "phase": "over"})
        if made:
            self._live.records.append_all(TOPIC, [(now, one) for one in made])
            self._live.records.trim(TOPIC, KEPT)

    def _recall(self, now: datetime) -> None:
        """What built up before this process began, as soon as the store can be asked."""
        if not self._recalled:
            try:
                self._watch.recall(self._live.store, now)
                self._recalled = True
            except SourceError as error:
                log.warning("detectors begin without what counters and batteries showed before: %s; it is asked again", error)

    def _worked_on(self, now: datetime) -> Mapping[str, Bools]:
        """What is in maintenance, worked out anew when a window begins or ends."""
        windows = self._live.oncall.quiet_windows() if self._live.oncall else []
        holding = frozenset(one.id for one in windows if one.active(now.timestamp()))
        if holding != self._windows:
            self._windows, self._resting = holding, worked_on(self._live.site, windows, now.timestamp())
        return self._resting

    def _causes(self, found: tuple[Finding, ...]) -> tuple[Explanation, ...]:
        firing = [alert for alert in self._live.alerts if alert.phase is Phase.FIRING]
        signs = [*map(sign_of, found), *map(sign_of, firing)]
        if len(signs) < FEWEST_TO_EXPLAIN:
            return ()
        if self._spread is None or self._spread.site is not self._live.site:
            self._spread = spread_of(self._live.site)
        return explain(self._spread, signs)
