"""The task of the live detectors: looks at the state, writes down what began and ended, and explains what is found together."""

import logging
from collections.abc import Mapping
from datetime import datetime

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


class Findings:
    """Owns ``Live.findings`` and ``Live.causes``. ``step`` is called by one task at a time."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._watch = Watch(live.site)
        self._spread: Spread | None = None  # made when there is something to explain
        self._known: dict[str, Finding] = {}
        self._learnt_s = float("-inf")
        self._recalled = False
        self._windows: frozenset[str] = frozenset()  # ids of the maintenance that holds
        self._resting: Mapping[str, Bools] = {}

    def step(self, now: datetime) -> None:
        """What is found now. A finding is written down when it begins and when it is over."""
        live = self._live
        if now.timestamp() - self._learnt_s >= LEARN_EVERY_S:
            self._recall(now)
            self._watch.outcomes = outcomes.read(live.records)
            self._watch.lives = lives.learn(live.site, live.state, self._watch.outcomes.replaced, now)
            self._learnt_s = now.timestamp()
        found = self._watch.step(live.state, live.jobs, now, self._worked_on(now))
        by_key = {finding.key: finding for finding in found}
        began = [finding for key, finding in by_key.items() if key not in self._known]
        over = [finding for key, finding in self._known.items() if key not in by_key]
        for finding, phase in [*((f, "began") for f in began), *((f, "over") for f in over)]:
            live.records.append(TOPIC, now, {"phase": phase, **record_of(finding)})
        if began or over:
            live.records.trim(TOPIC, KEPT)
        self._known = by_key
        live.findings = found
        live.causes = self._causes(found)

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
