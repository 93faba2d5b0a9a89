"""What each task does when its time comes: reads the live state, thinks with the other packages, publishes what came out.

Each duty is short and owns one field of ``Live``; none owns a clock or a thread, so all of them run on a virtual clock as well.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from analytics import alerts as alerting
from analytics.rules import Rules
from energy import ledger
from energy.account.runs import RunLog
from twin.errors import SourceError
from twin.estimate import estimate
from twin.frame import Frame, Origin, frame_of
from twin.job import Cluster, Jobs, joined
from twin.ports import Capacity, Queue
from ui import calibrating
from ui.acting import Acting
from ui.foresight import Foresight
from ui.oncall.service import TABLE, OnCall
from ui.onsite import OnSite
from ui.queued import Work, capacity_frames, reservations_of
from ui.signals import StandIn
from ui.view import Live

log = logging.getLogger(__name__)

CALIBRATE_OVER = timedelta(days=1)

Publish = Callable[[Sequence[Frame]], None]


class Duties:
    """The work of the tasks over one ``Live``. Each method is called by one task at a time."""

    def __init__(
        self,
        live: Live,
        publish: Publish,
        rules: Rules,
        queues: Sequence[Queue],
        acting: Acting,
        oncall: OnCall,
        process: str = "icctwin",
    ) -> None:
        """``process``: id of this process's own asset."""
        self._live, self._publish, self._queues, self.acting = live, publish, queues, acting
        self._process = psutil.Process()
        self._foresight, self._stand_in = Foresight(live, publish), StandIn(live, publish)
        self._onsite = OnSite(live, publish)
        self._jobs: dict[str, Jobs] = {}
        self._work, self._runs = Work(), RunLog(live.site.ids_of("gpu"))
        self.oncall, self._process_row = oncall, live.site.row(process)
        self.rules = rules
        self._table = self._remembered(rules)
        live.alerts = oncall.beside(self._table, live.clock.now()).alerts()

    # physics

    def estimate(self, now: datetime) -> None:
        """What physics expects of this moment, beside what the meters say."""
        self._publish(estimate(self._live.site, self._live.state, self._live.fitted.params, now))

    def calibrate(self, now: datetime, adopt_into: Path | None) -> None:
        """Fit the twin to the last day and write the report down; put what is sound in force only with ``adopt_into``."""
        live = self._live
        report = calibrating.calibrate(live.site, live.store, live.fitted.params, now, CALIBRATE_OVER, "task calibrate")
        try:
            if adopt_into is not None and any(one.sound for one in report.fits):
                report = calibrating.adopt(adopt_into, report, now)
                live.fitted = calibrating.fitted_of(adopt_into, live.site)
        finally:  # what was found is kept, whether or not it could be adopted
            calibrating.note(live.records, report, now)

    # alerts

    def alerts(self, now: datetime) -> None:
        """One step of the alert life cycle, and of who is told; what began or ended is kept before anyone is shown it.
        ``SourceError`` where it cannot be: it is shown all the same."""
        live = self._live
        table = alerting.step(self.rules, live.site, live.state, self._table, now, live.forecasts)
        self._table = self.oncall.step(table, now)
        live.alerts, live.judged = self._table.alerts(), now
        if self.oncall.refused is not None:
            raise self.oncall.refused

    def use_rules(self, rules: Rules) -> None:
        """Judge by ``rules`` from the next step on; what still has a rule goes on as it stands."""
        self.rules = rules

    def save_alerts(self, now: datetime) -> None:
        """Keep the alert table as it stands: what changed is kept at once, this brings its counters and times up to date."""
        self.oncall.save(self._table)

    def recall(self) -> None:
        """Show the alerts that the process which leads has kept."""
        live, now = self._live, self._live.clock.now()
        live.alerts, live.judged = self.oncall.beside(self._remembered(self.rules), now).alerts(), now

    def _remembered(self, rules: Rules) -> alerting.AlertTable:
        live = self._live
        now = live.clock.now()
        try:
            kept = self.oncall.book.read(TABLE)
            return alerting.restore(rules, live.site, kept) if kept else alerting.begin(rules, live.site, now)
        except SourceError as error:
            log.error("the alerts of before the start are lost: %s", error)
            return alerting.begin(rules, live.site, now)

    # jobs

    async def jobs(self, now: datetime) -> None:
        """Ask the schedulers for their jobs."""
        for queue in self._queues:
            try:
                jobs = self._jobs[queue.name] = await queue.jobs(now)
                cluster = await self._capacity(queue.name, queue, now) if isinstance(queue, Capacity) else None
                self.acting.seen(queue.name, jobs, cluster)
            except SourceError as error:
                log.warning("queue %s does not answer: %s", queue.name, error)
        self._live.jobs = joined(tuple(self._jobs.values()))
        self._runs.note(self._live.records, self._jobs, now)
        self._publish(self._work.frames(self._live.site, self._jobs, now))

    async def _capacity(self, name: str, queue: Capacity, now: datetime) -> Cluster:
        """What the queue can give out, as readings; what it keeps for maintenance is quiet."""
        cluster = await queue.cluster(now)
        self._publish(capacity_frames(self._live.site, name, cluster, now))
        self.oncall.reserved(name, reservations_of(self._live.site, cluster))
        return cluster

    # forecasts

    def forecasts(self, now: datetime) -> None:
        """The next day of what matters."""
        self._foresight.run(now)
        self._live.forecasts = (*self._live.forecasts, *self._onsite.ahead(now))

    def outside(self, now: datetime) -> None:
        """What stands in for signals that nobody tells, and what the site's own plants should give."""
        self._stand_in.run(now)
        self._onsite.now(now)

    # energy

    async def plans(self, now: datetime) -> None:
        """Plans, as far as each lever's mode allows."""
        await self.acting.plans(now)

    async def acts(self, now: datetime) -> None:
        """What people say, and what is in force at schedulers."""
        await self.acting.acts(now)

    async def responds(self, now: datetime) -> None:
        """What the grid asks."""
        await self.acting.respond(now)

    async def reverts(self, now: datetime) -> None:
        """End what has reached its end."""
        await self.acting.reverts(now)

    async def give_back(self, now: datetime) -> None:
        """Undo what would not end by itself."""
        await self.acting.give_back(now)

    def ledger(self, now: datetime) -> None:
        """Bring the ledger up to what happened."""
        ledger.book(self._live.records, self._live.store, now)
        self.acting.book(now)

    # ourselves

    def process(self, now: datetime, waiting: float, dropped: float) -> None:
        """What icctwin itself takes of the machine."""
        with self._process.oneshot():
            cpu_frac = self._process.cpu_percent() / 100
            rss_bytes = float(self._process.memory_info().rss)
        frame = frame_of(
            "process",
            now,
            self._process_row,
            Origin.MEASURED,
            "icctwin",
            cpu_frac=cpu_frac,
            rss_bytes=rss_bytes,
            store_bytes=float(self._live.store.size_bytes()),
            spool_waiting_count=waiting,
            spool_dropped_count=dropped,
            **self.oncall.health(now.timestamp()),
        )
        self._publish([frame])
