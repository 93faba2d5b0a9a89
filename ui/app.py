"""The only place that knows everyone: joins configuration, sources, store, tasks and faces, and stops them cleanly.

A ``Centre`` is everything that one configuration gives; ``ui.running`` lets it live, and puts the next in its place.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from analytics.rule import Rules
from analytics.rules import DEFAULT_RULES, load_rules
from energy.account.runs import TOPIC as RUNS
from energy.account.runs import RunLog
from energy.guard import Limits
from energy.place.atlas import Atlas
from ingest.collect import Collector
from ingest.events import Detector
from ingest.registry import Opened, set_twice, source_module
from ingest.spool import Spool
from ingest.spool_log import open_log
from ingest.stores.errors import LeftOut
from ingest.stores.registry import open_kept
from twin.errors import ConfigError, Problem, SourceError
from twin.estimate import measured_totals
from twin.event import TOPIC as EVENTS
from twin.event import Event
from twin.frame import Frame
from twin.message import Message
from twin.ports import Clock
from twin.site import Site
from twin.state import State
from ui.access.desk import Access
from ui.acting import Acting
from ui.calibrating import Fitted, adoption_file, fitted_of
from ui.conditions import ConditionLog
from ui.config import Config, site_of
from ui.dig.placed import Placed
from ui.duties import Duties
from ui.ending import waited
from ui.eventlog import EventLog
from ui.findings import Findings
from ui.gate import PushGate
from ui.given import given_by, given_of, supply_of, zones_of
from ui.limits import limits_of
from ui.lines import located
from ui.oncall.book import Book
from ui.oncall.file import OnCallFile
from ui.oncall.service import OnCall
from ui.oncall.wiring import Delivery, read_oncall
from ui.places import atlas_of
from ui.reporting import Reporting, check_recipients, library_of
from ui.roles import Part
from ui.shared import Shared, check_part, remembered, unlived
from ui.signals import SignalLog
from ui.sparing import ASKED
from ui.tasks import Alarm, Health, Task
from ui.thinking import Thinking, some_of
from ui.view import Live

log = logging.getLogger(__name__)

# Offsets put a second's work in order: read, work out, judge, keep. Long work starts when there is something to work on.
TASK_NAMES = (
    "collect", "estimate", "alerts", "notify", "flush", "jobs", "self", "store", "reverts", "plans", "forecasts", "ledger",
    "save-alerts", "reread", "calibrate", "findings", "acts", "placed", "responds", "reports", "outside",
)  # fmt: skip
WHOLE = Part()
REMEMBERED = timedelta(minutes=15)  # of the store, read back at a start
DAY_S = 86400.0
CALIBRATE_AT_S = 4 * 3600.0  # after a start: by then there is something to learn from
HISTORY_BATCH = 50  # steps of made-up history appended at once
KEEPING = frozenset({"flush", "store"})  # tasks without whose end the store is not closed
GIVE_BACK_S, CLOSE_S = 6.0, 1.0  # at an end: for setpoints, and for each of those that talk to the outside


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a centre is made of which can be wrong in its configuration, read and checked; nothing of it is open."""

    site: Site
    rules: Rules
    told: OnCallFile
    atlas: Atlas
    limits: Limits
    fitted: Fitted
    opened: Sequence[Opened]


def prepared(config: Config, part: Part, now: datetime, opened: Sequence[Opened] = ()) -> Ready:
    """What ``config`` asks for; ``ConfigError`` for all that can be known to be wrong before a running centre makes room.
    ``opened``: its sources, where they are there already."""
    with located(config.written):
        check_part(config, part)
        site = site_of(config, TASK_NAMES)
        rules = load_rules(config.alerts.rules or DEFAULT_RULES)
        told = read_oncall(config.alerts.oncall, site.timezone, environment(), config.access.url)
        told.calendars(now)
        check_recipients(config.report, told)
        fitted = fitted_of(adoption_file(config.site.assets, config.store.path), site)
        atlas = atlas_of(config.energy, site)
        limits = limits_of(config.energy.limits, site, atlas)
        given_of(config.energy, site)  # a tariff that is none, tenants that cannot be read
        return Ready(site, rules, told, atlas, limits, fitted, opened or open_sources(config, site))


class Centre:
    """Everything of one configuration, wired and ready; ``start`` brings it to life, ``stop`` ends it with nothing lost.

    ``live``: what the faces look at already, to be filled anew; ``wait``: each collection waits for its polls, as a virtual
    clock needs it; ``pace_s``: no task runs more often than this; ``opened``: the sources of ``config``, where the world that
    they speak to outlives this centre.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        live: Live | None = None,
        wait: bool = False,
        pace_s: float = 0.0,
        part: Part = WHOLE,
        opened: Sequence[Opened] = (),
    ) -> None:
        self.config, self.clock, self._wait, self.part = config, clock, wait, part
        ready = prepared(config, part, clock.now(), opened)
        self.site, self.opened = ready.site, ready.opened
        self._lock = threading.Lock()
        self.state = State(self.site)
        self._alarm: Alarm | None = None
        with ExitStack() as undo:  # where one of them breaks, what was opened before it is let go: another centre may need it
            self._open(undo)
            self._wire(ready, live, pace_s)
            undo.pop_all()

    def _open(self, undo: ExitStack) -> None:
        """What is on disk or on a server; ``undo`` lets go of it."""
        config, kept, part, now = self.config, self.config.store, self.part, self.clock.now()
        self.store = open_kept(kept, self.site, readonly=not part.writes)
        undo.callback(self.store.close)
        self.shared = Shared(config, self.site, part, self.hear)
        undo.callback(self.shared.close)
        self.records = self.shared.records
        for frame in remembered(self.store, now - REMEMBERED):
            self.state.absorb(frame, now)
        waits = open_log(kept.path / f"spool{part.name and '-' + part.name}", self.site) if part.writes else None
        self.spool = Spool(self.store.append, threading.Lock(), disk=waits, max_bytes=kept.spool_bytes)
        undo.callback(self.spool.close)
        self.book = Book(kept.path / "oncall.db")
        undo.callback(self.book.close)

    def _wire(self, ready: Ready, live: Live | None, pace_s: float) -> None:
        """Everyone to everyone else; nobody does anything yet."""
        config, clock, part, kept, now = self.config, self.clock, self.part, self.config.store, self.clock.now()
        opened, atlas, told = self.opened, ready.atlas, ready.told
        fresh = Live(self.site, self.state, self.store, self.records, clock, now, modes=dict(config.energy.modes))
        fresh.given, fresh.folder = given_by(config.energy, self.site), kept.path
        fresh.access = Access(self.records, config.access)
        fresh.atlas, fresh.signal = atlas, config.energy.signal
        fresh.supply, fresh.zones = supply_of(atlas, self.site), zones_of(config, self.site)
        self.live = live or fresh
        vars(self.live).update(vars(fresh) if live is None else {**vars(fresh), "demo": live.demo, "speed": live.speed})
        sections = [section.name for section in config.sources]
        sources = [source for name, one in zip(sections, opened, strict=True) for source in part.sources(name, one)]
        self.events, self.signals = EventLog(self.records), SignalLog(self.records)
        self.conditions = ConditionLog(self.records, self.site, [source.name for source in sources])
        self._detector = Detector(self.site, self.events.past())
        ranks = {source.name: of.precedence for of, one in zip(config.sources, opened, strict=True) for source in one.sources}
        self.collector = Collector(self.site, sources, clock, self.publish, self.events.note, self._detector, ranks)
        inlets = [inlet for one in opened for inlet in one.inlets if "ingest" in part.roles]
        self.gate = PushGate(inlets, self.collector.push, self.collector.refused, clock)
        self.live.gate = self.gate if inlets else None
        actuators = {asset: actuator for one in opened for asset, actuator in one.actuators.items()}
        queues, askers = [queue for one in opened for queue in one.queues], [asker for one in opened for asker in one.askers]
        oncall = OnCall(self.site, self.book, self.records, told, now)
        self.live.oncall, self.live.reports = oncall, library_of(config, self.records, told)
        self.live.fitted = ready.fitted

        def anew() -> Duties:
            oncall.recall()
            acting = Acting(
                self.live, self.publish, queues, actuators, kept.path, config.energy.signal, ready.limits, askers=askers,
                plant=config.energy.plant.params,
            )  # fmt: skip
            return Duties(self.live, self.publish, ready.rules, queues, acting, oncall, part.process)

        self.thinking = Thinking(self.shared, anew)
        files = config.alerts.rules, config.alerts.oncall
        self.delivery = Delivery(self.live, oncall, *files, environment(), config.access.url)
        self.tasks = tuple(replace(task, every_s=max(task.every_s, pace_s)) for task in self._table())
        self.health = Health(self.site, self.tasks)

    def publish(self, frames: Sequence[Frame]) -> None:
        """Into the live state at once, into the store at the next flush. The state's one writer, whoever calls."""
        if self.part.writes:
            self.spool.put(frames)  # first: what is measured is kept whatever happens to it next
        self.hear(frames)
        self.signals.note(frames, self.clock.now())
        self.shared.tell(frames)

    def hear(self, frames: Sequence[Frame]) -> None:
        """What another process of this centre measured or worked out, and keeps."""
        now = self.clock.now()
        with self._lock:
            for frame in frames:
                self.state.absorb(frame, now)
        self.duties.oncall.heard(frames)

    @property
    def duties(self) -> Duties:
        """Of the process that leads."""
        return self.thinking.duties

    def _table(self) -> tuple[Task, ...]:
        led, findings, placed = self.thinking.led, Findings(self.live), Placed(self.live)
        table = (
            ("ingest", Task("collect", self._collect, 1)),
            ("tasks", Task("estimate", led(Duties.estimate), 1, 0.15)),
            ("all", Task("alerts", self.thinking.alerts, 0.5, 0.30)),
            ("tasks", Task("notify", led(self._notify), 0.5, 0.40)),
            ("keep", Task("flush", self._flush, 1, 0.40)),
            ("tasks", Task("jobs", led(Duties.jobs), 5, 0.45)),
            ("all", Task("self", self._self, 5, 0.50)),
            ("keep", Task("store", self.store.maintain, 2, 5)),
            ("tasks", Task("findings", led(lambda _, now: findings.step(now)), 10, 5.6, heavy=True)),
            ("tasks", Task("acts", led(Duties.acts), 5, 2.5)),
            ("tasks", Task("responds", led(Duties.responds), 15, 4)),
            ("tasks", Task("placed", led(lambda _, now: placed.step(now)), 15, 7, heavy=True)),
            ("tasks", Task("outside", led(Duties.outside), 60, 50, heavy=True)),
            ("tasks", Task("reports", led(Reporting(self.live).step), 20, 45, heavy=True)),
            ("tasks", Task("reverts", led(Duties.reverts), 60, 30)),
            ("tasks", Task("plans", led(Duties.plans), 300, 60)),
            ("tasks", Task("forecasts", led(Duties.forecasts), 300, 5, heavy=True)),
            ("tasks", Task("ledger", led(Duties.ledger), 900, 120, heavy=True)),
            ("tasks", Task("save-alerts", led(Duties.save_alerts), 60, 60)),
            ("tasks", Task("calibrate", led(self._calibrate), DAY_S, CALIBRATE_AT_S, heavy=True)),
            ("tasks", Task("reread", led(self._reread), 5, 3)),
        )
        return some_of(table, self.part.roles)

    async def _collect(self, now: datetime) -> None:
        try:
            await self.collector.tick(now)
            if self._wait:
                await self.collector.drain()
        finally:  # a source that breaks us says why as well
            self.conditions.note(self.collector.conditions())

    async def _notify(self, duties: Duties, now: datetime) -> None:
        self.delivery.events(now)
        await self.delivery.tick(now)
        if self._wait:
            await self.delivery.drain()

    async def _reread(self, duties: Duties, now: datetime) -> None:
        await self.delivery.reread(now, duties.use_rules)

    def _flush(self, now: datetime) -> None:
        with ExitStack() as stack:  # each is done whatever breaks
            stack.callback(lambda: self.conditions.flush(self.clock.now()))  # the last of them, for it can wait
            stack.callback(lambda: self.signals.flush(self.clock.now()))
            stack.callback(self.events.flush)
            stack.callback(self.spool.flush)

    def _self(self, now: datetime) -> None:
        self.publish([self.health.frame(now)])
        self.duties.process(now, self.spool.waiting, self.spool.dropped)
        self.shared.look()

    def _calibrate(self, duties: Duties, now: datetime) -> None:
        """Propose what the last day tells; adopt it only where the configuration says so."""
        duties.calibrate(
            now, adoption_file(self.config.site.assets, self.config.store.path) if self.config.twin.adopt else None
        )

    def make_past(self, over: Callable[[], bool] = bool) -> None:
        """The past that simulated plants make up, where nothing is kept yet: told a second time it would be another one, and
        both would count. ``over``: as of ``make_history``."""
        mine = self.part.shard.has if "ingest" in self.part.roles else lambda _: False
        named = zip(self.config.sources, self.opened, strict=True)
        wanted = [one for section, one in named if one.history is not None and mine(section.name)]
        if not wanted:
            return
        try:
            why = "" if unlived(self.store, self.records, self.clock.now()) else "the store holds one, which stays as it is"
        except SourceError as error:
            why = f"it is not known whether there is one: {error}"
        if why:
            log.warning("no past is made up: %s", why, extra=ASKED)
            return
        self.live.notices = (Message("The simulated plant makes up its past; numbers come after it"),)
        for one in wanted:
            self.make_history(one, over)
        self.live.notices = ()
        left = "left off in the middle, and the next start will not go on with it" if over() else "made up: the store was empty"
        log.warning("the past of the simulated plant is %s", left, extra=ASKED)

    def make_history(self, opened: Opened, over: Callable[[], bool] = bool) -> None:
        """Put the past that a simulated plant makes up into store and records: readings, the totals of its meters, whose runs
        held which GPUs, and what devices told of. ``over``: whether to leave off."""
        assert opened.history is not None  # noqa: S101 - whoever calls has looked
        batch: list[Frame] = []
        log, loop = RunLog(self.site.ids_of("gpu")), asyncio.new_event_loop()
        runs, told = list[tuple[datetime, Mapping[str, Any]]](), list[Event]()
        for i, frames in enumerate(takewhile(lambda _: not over(), opened.history(self.clock.now())), 1):
            now = frames[0].time
            for frame in frames:
                if "power_w" in frame.values:  # all that totals are made of; the rest is read again when life begins
                    self.state.absorb(replace(frame, values={"power_w": frame.values["power_w"]}, quality={}), now)
                told += self._detector.see(frame, now)
            batch += [*frames, *measured_totals(self.site, self.state, now)]
            jobs = {queue.name: loop.run_until_complete(queue.jobs(now)) for queue in opened.queues}
            runs += [(now, record) for record in log.news(jobs, now)]
            if i % HISTORY_BATCH == 0:
                self._keep(batch)
                batch = []
        loop.close()
        self._keep(batch)
        self.records.append_all(RUNS, runs)
        self.records.append_all(EVENTS, [(event.time, event.record()) for event in told])

    def _keep(self, batch: Sequence[Frame]) -> None:
        try:
            self.store.append(batch)
        except LeftOut as error:
            log.warning("of the past that is made up, %s", error)

    def start(self, loop: asyncio.AbstractEventLoop, speed: float) -> None:
        """Run the tasks on the real clock; coroutines run on ``loop``."""
        self.gate.open(loop)
        self.shared.start(loop)
        self.live.judged = self.clock.now()  # from now on they are looked for
        self._alarm = Alarm(self.tasks, self.clock, self.health, loop, speed)
        self._alarm.start()

    def stop(self, loop: asyncio.AbstractEventLoop, within_s: float | None = None) -> bool:
        """End the tasks, give setpoints back, let go of the field, and keep what was measured. Tasks that do not end
        ``within_s`` are left; False where they are those that keep: all then stands as after a kill, for the next start.
        """
        self.gate.shut()
        left = self._alarm.stop(within_s) if self._alarm else frozenset[str]()
        if left:
            log.error("not waited for at the end: %s", ", ".join(sorted(left)))
        if self.thinking.leads(self.clock.now()):
            waited(loop, self.duties.give_back(self.clock.now()), "giving setpoints back", within_s and GIVE_BACK_S)
        for let_go, what in (
            (self.collector.close, "sources"),
            (self.delivery.close, "pages"),
            (self.shared.hush, "the broker"),
        ):
            waited(loop, let_go(), f"letting go of {what}", within_s and CLOSE_S)
        if left & KEEPING:
            return False
        self.close(but_store=bool(left))
        return True

    def close(self, but_store: bool = False) -> None:
        """Keep what was measured and close the store (``but_store``: somebody still reads it); each is done whatever breaks."""
        with ExitStack() as stack:
            for last in (self.book, self.shared, *(() if but_store else (self.store,))):
                stack.callback(last.close)
            stack.callback(self._close_spool)
            stack.callback(self._flush, self.clock.now())
            if self.shared.leading:
                self.duties.save_alerts(self.clock.now())

    def _close_spool(self) -> None:
        self.spool.close()
        if self.spool.behind:
            log.error("%d values wait on disk for the store; the next start goes on with them", self.spool.behind)
        if lost := self.spool.waiting - self.spool.behind:
            log.error("%d values are lost: store and spool refuse them", lost)


def environment() -> Mapping[str, str]:
    """Where secrets are that a configuration names with ``env:``."""
    return os.environ


def open_sources(config: Config, site: Site) -> list[Opened]:
    """Every source of ``config``, bound to ``site``; nothing is read yet. ``ConfigError`` with the problems of all of them."""
    opened: list[tuple[str, Opened]] = []
    problems: list[Problem] = []
    for section in config.sources:
        try:
            opened.append((section.name, source_module(section.type).build(section.name, section.options, site)))
        except ConfigError as error:
            problems += error.problems
    problems += set_twice(opened)
    if problems:
        raise ConfigError(problems)
    return [one for _, one in opened]
