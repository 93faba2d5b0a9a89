"""What each task does when its time comes: reads the live state, thinks with the other packages, publishes what came out.

Each duty is short and owns one field of ``Live``; none owns a clock or a thread, so all of them run on a virtual clock as well.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import psutil

from analytics import alerts as alerting
from analytics.forecast import Forecast
from analytics.rules import Rules
from energy import ledger
from energy.act import Desk
from energy.guard import Limits, guard
from energy.levers import LEVERS, Lever, Outlook, open_lever
from energy.plan import Mode, Plan, Verdict
from twin.errors import SourceError
from twin.estimate import estimate
from twin.frame import Floats, Frame, frame_of
from twin.job import Jobs, joined
from twin.params import Params
from twin.ports import Queue
from ui.foresight import FIRST, Foresight
from ui.view import Live

log = logging.getLogger(__name__)

GIVE_BACK_STEPS = 20  # at a stop; a setpoint moves by its metric's step in each
KEPT_STATES = 2  # dumps of the alert table
ALERT_LOG, ALERT_STATE, PLANS = "alert", "alert-state", "plan"

Publish = Callable[[Sequence[Frame]], None]


class Duties:
    """The work of the tasks over one ``Live``. Each method is called by one task at a time."""

    def __init__(
        self, live: Live, publish: Publish, rules: Rules, queues: Sequence[Queue], desk: Desk, limits: Limits, params: Params
    ) -> None:
        self._live, self._publish, self._queues, self._desk = live, publish, queues, desk
        self._limits, self._params = limits, params
        self._levers: Mapping[str, Lever] = {name: open_lever(name) for name in LEVERS}
        self._process = psutil.Process()
        self._foresight = Foresight(live, publish)
        self._jobs: dict[str, Jobs] = {}
        self._unsaved = False
        self.rules = rules
        self._table = self._remembered(rules)
        live.alerts = self._table.alerts()

    # physics

    def estimate(self, now: datetime) -> None:
        """What physics expects of this moment, beside what the meters say."""
        self._publish(estimate(self._live.site, self._live.state, self._params, now))

    # alerts

    def alerts(self, now: datetime) -> None:
        """One step of the alert life cycle; what began or ended is written down before anyone is shown it."""
        live = self._live
        table = alerting.step(self.rules, live.site, live.state, self._table, now)
        changes = table.changes
        for alert in changes:
            live.records.append(ALERT_LOG, now, _alert_record(alert))
        self._unsaved |= bool(changes or table.lost)
        self._table = table
        live.alerts = table.alerts()

    def save_alerts(self, now: datetime) -> None:
        """Write the alert table down where it changed, so that a restart neither fires twice nor forgets. Only the newest are
        kept: what happened stands in the log."""
        if self._unsaved:
            self._live.records.append(ALERT_STATE, now, {"dump": self._table.dump()})
            self._live.records.trim(ALERT_STATE, KEPT_STATES)
            self._unsaved = False

    def _remembered(self, rules: Rules) -> alerting.AlertTable:
        live = self._live
        now = live.clock.now()
        found = live.records.read(ALERT_STATE, limit=1, newest=True)
        if not found:
            return alerting.begin(rules, live.site, now)
        try:
            return alerting.restore(rules, live.site, found[0][2]["dump"])
        except SourceError as error:
            log.error("the alerts of before the start are lost: %s", error)
            return alerting.begin(rules, live.site, now)

    # jobs

    async def jobs(self, now: datetime) -> None:
        """Ask the schedulers for their jobs."""
        for queue in self._queues:
            try:
                self._jobs[queue.name] = await queue.jobs(now)
            except SourceError as error:
                log.warning("queue %s does not answer: %s", queue.name, error)
        self._live.jobs = joined(tuple(self._jobs.values()))

    # forecasts

    def forecasts(self, now: datetime) -> None:
        """The next day of what matters."""
        self._foresight.run(now)

    # energy

    async def plans(self, now: datetime) -> None:
        """Ask each lever, ask the guard, and do with the plan what the lever's mode allows."""
        live = self._live
        outlook = _outlook(live.forecasts)
        plans: list[tuple[Plan, Verdict]] = []
        for name, lever in self._levers.items():
            plan = lever.propose(live.site, live.state, live.jobs, outlook, now)
            if plan is None:
                continue
            verdict = guard(plan, live.site, live.state, live.alerts, now, self._limits, self._desk.history(now))
            mode = live.modes.get(name, Mode.ADVISE)
            outcome = await self._desk.decide(plan, verdict, mode, live.state, now)
            self._publish(outcome.frames)
            plans.append((plan, verdict))
        live.plans = tuple(plans)

    async def reverts(self, now: datetime) -> None:
        """End what has reached its end, whatever the modes say now."""
        for outcome in await self._desk.revert_due(self._live.state, now):
            self._publish(outcome.frames)
        self._publish([self._desk.health(now)])

    async def give_back(self, now: datetime) -> None:
        """Undo everything in force, a step at a time: nobody would watch it any more. What a device refuses stays in the
        records, and the next start goes on with it."""
        for _ in range(GIVE_BACK_STEPS):
            if not self._desk.in_force:
                return
            for outcome in await self._desk.revert_due(self._live.state, now, all_now=True):
                self._publish(outcome.frames)
        if left := self._desk.in_force:
            log.error("%d setpoints could not be given back; the next start tries again", len(left))

    def ledger(self, now: datetime) -> None:
        """Bring the ledger up to what happened."""
        ledger.book(self._live.records, self._live.store, now)

    # ourselves

    def process(self, now: datetime, waiting: float, dropped: float) -> None:
        """What icctwin itself takes of the machine."""
        with self._process.oneshot():
            cpu_frac = self._process.cpu_percent() / 100
            rss_bytes = float(self._process.memory_info().rss)
        frame = frame_of(
            "process",
            now,
            0,
            source="icctwin",
            cpu_frac=cpu_frac,
            rss_bytes=rss_bytes,
            store_bytes=float(self._live.store.size_bytes()),
            spool_waiting_count=waiting,
            spool_dropped_count=dropped,
        )
        self._publish([frame])


def _alert_record(alert: alerting.Alert) -> dict[str, object]:
    return {
        "key": alert.key,
        "rule": alert.rule,
        "asset": alert.asset,
        "severity": alert.severity,
        "phase": alert.phase,
        "value": _plain(alert.value),
        "limit": _plain(alert.limit),
        "summary": str(alert.summary),
        "runbook": alert.runbook,
    }


def _plain(value: object) -> object:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _outlook(forecasts: Sequence[Forecast]) -> Outlook:
    by_name: dict[str, Forecast] = {f.metric: f for f in forecasts if (f.kind, f.metric) in FIRST}
    if not by_name:
        return Outlook(*(np.empty(0) for _ in range(4)))
    time_s = next(iter(by_name.values())).time_s

    def column(name: str) -> Floats:
        forecast = by_name.get(name)
        return forecast.p50 if forecast is not None and len(forecast.p50) == len(time_s) else np.full(len(time_s), np.nan)

    return Outlook(time_s, column("facility_power_w"), column("it_power_w"), column("wet_bulb_c"))
