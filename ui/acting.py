"""The tasks that act: ask levers, guard and people for plans, carry them out, follow what is in force, and let go."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from analytics.dayahead import Calendar, market_days
from analytics.forecast import Forecast
from energy.account.book import Given
from energy.act import Desk, Outcome
from energy.ahead import DAY_S, SHADOW_DAYS, SignalAhead, signal_ahead
from energy.guard import Limits, fitting, guard
from energy.guard_orders import ordered_lately, resting
from energy.ledger_away import AwayWatch
from energy.ledger_book import DAYS, JobBook
from energy.ledger_seen import Watcher
from energy.levers import LEVERS, Lever, Outlook, QueueNow, Waits, Wary, no_outlook, open_lever
from energy.notebook import MISSING_FILE, MOST_WAITING, Notebook
from energy.plan import Mode, Plan, Verdict
from energy.response import Params
from energy.trial import book as book_trials
from energy.trial import rests
from energy.waiting import waits_of
from twin.curtail import Asker
from twin.errors import ConfigError, SourceError
from twin.frame import Floats, Frame
from twin.job import Cluster, Jobs
from twin.message import Message
from twin.ports import Actuator, Queue, Steerable
from twin.state import State
from ui import responding
from ui.foresight import FIRST, country_of
from ui.hearing import Hearing
from ui.onsite import sure_w
from ui.placing import grounds, on_grids
from ui.remembering import remind
from ui.responding import Responding
from ui.signals import words_of
from ui.switch import Switch
from ui.view import Live

log = logging.getLogger(__name__)
PRICE = "price_per_mwh"
MOVE_WORK = ("job_move", "job_shift", "job_start")
DELAY_WORK = (*MOVE_WORK, "job_peak")
KNOWN_OVER = timedelta(days=SHADOW_DAYS + 2)  # by which what the signal's service tells is judged
STOPPED = Message("The stop switch is set")
ENDS = Message("icctwin ends: nobody would look after it any more")
DEAD = Message("The watchdog lets go: icctwin gives no sign of life")
GIVE_BACK_STEPS = 20  # at a stop; a setpoint moves by its metric's step in each

Publish = Callable[[Sequence[Frame]], None]


@dataclass(frozen=True, slots=True)
class Slots:
    """How the signal is cut: slots of ``slot_s``, so many of them ahead (``horizon``) and in the past; a day has 24 hours
    unless a recorded one is replayed faster."""

    slot_s: float = 3600.0
    horizon: int = 48
    past: int = 2400
    day_s: float = 86_400.0


class Acting:
    """The desk of one ``Live`` with what feeds it. Each method is called by one task at a time."""

    def __init__(
        self,
        live: Live,
        publish: Publish,
        queues: Sequence[Queue],
        actuators: Mapping[str, Actuator],
        folder: Path,
        signal: str = "carbon_gco2_per_kwh",
        limits: Limits | None = None,
        slots: Slots | None = None,
        levers: Mapping[str, Lever] | None = None,
        askers: Sequence[Asker] = (),
        plant: Params | None = None,
    ) -> None:
        """``folder``: where a file called STOP stops everything; ``signal``: the grid's metric that work is shifted by, cut
        into ``slots``; ``levers``: all of ``LEVERS`` where not given; ``askers``: who brings requests of the grid; ``plant``:
        what the operator says of his."""
        self._live, self._publish, self._limits, self._metric = live, publish, limits or Limits(), signal
        self._steered = {queue.name: queue for queue in queues if isinstance(queue, Steerable)}
        self._movable = self._steered.keys() - self._limits.locked  # in the others only what was ordered before is let go
        self._notebook = Notebook(live.records, MOST_WAITING, folder / MISSING_FILE)
        self.desk = Desk(live.site, live.records, actuators, live.clock.now(), self._steered, self._notebook)
        self.switch = Switch(live.records, folder, live.clock.now())
        self._hearing = Hearing(live, self.desk, self.switch, lambda plan, now: self._judged(plan, now), publish)
        self._slots = slots or Slots()
        opened = levers or {name: open_lever(name, plant) for name in LEVERS}
        self._levers = {name: lever for name, lever in opened.items() if name not in responding.LEVERS}
        self._responding = Responding(live, self.desk, askers, frozenset(actuators), opened, publish, self._limits)
        self._made: tuple[tuple[Plan, Verdict], ...] = ()
        self._queues: dict[str, QueueNow] = {}
        self._signals: dict[int, tuple[float, SignalAhead | None]] = {}  # by the grid's row: when its slot began
        self._watcher, self._jobs_book = Watcher(live.records), JobBook(live.records)
        self._away = AwayWatch(live.records)
        self._new = set[str]()  # queues that were heard since they were booked
        self._stopped = self._reminded = False
        self._last = Given()  # of the operator, as it was read
        self._given()
        self._busy = asyncio.Lock()  # a task that plans and one that follows must not order the same job at once

    def seen(self, queue: str, jobs: Jobs, cluster: Cluster | None) -> None:
        """What a queue just said."""
        self._queues[queue] = QueueNow(queue, jobs, cluster, longest_wait_s=self._limits.longest_wait_s)
        if queue in self._steered:
            self._watcher.see(queue, jobs, self._live.clock.now())
            self._away.see(queue, cluster, self._live.clock.now())
            self._new.add(queue)

    def book(self, now: datetime) -> None:
        """Bring the ledger of shifted work, and of trials, up to what ended."""
        book_trials(self._live.records, self._live.store, now)
        end = self._slot_of(now)
        for queue in self._queues.values():
            if queue.name in self._new and self._live.site.count("grid"):  # of what nobody heard nothing can be said
                due = self._jobs_book.look(queue.name, now)
                start = min(end - timedelta(days=DAYS), self._slot_of(due.since))
                there = grounds(self._live, self._limits.atlas, queue, self._series, start, end)
                if there is not None:
                    self._new.discard(queue.name)
                    self._jobs_book.enter(due, self._metric, there)

    def _slot_of(self, time: datetime) -> datetime:
        """When the slot of the signal began that ``time`` lies in."""
        step_s = self._slots.slot_s
        return datetime.fromtimestamp(time.timestamp() // step_s * step_s, UTC)

    def _series(self, start: datetime, end: datetime, grid: int = 0) -> tuple[Floats, Floats]:
        """Times and values of the signal's slots; ``grid``: row of whose."""
        rows = np.array([grid], dtype=np.int32)
        series = self._live.store.series("grid", (self._metric,), start, end, self._slots.slot_s, rows=rows)
        return series.time_s, series.values[self._metric][:, 0]

    # plans

    async def plans(self, now: datetime) -> None:
        """Ask each lever, ask the guard, and do with the plan what the lever's mode allows."""
        live = self._live
        if not self._reminded:
            self._reminded = True
            await asyncio.to_thread(remind, self._levers.values(), live.site, live.store, now)
        outlook = await self._outlook(now)
        made: list[tuple[Plan, Verdict]] = []
        for name, lever in self._levers.items():
            if name in MOVE_WORK and self._responding.busy:
                continue  # while the grid is answered, that alone moves work
            resting = self._rests(name, now)
            if resting:
                async with self._busy:  # what it brought in force before belongs to an hour in which it acts
                    why = Message("It rests this hour, by the draw of a trial")
                    self._tell(await self.desk.end(f"{name}:", live.state, now, why))
            plan = await asyncio.to_thread(lever.propose, live.site, live.state, live.jobs, self._seen_by(name, outlook), now)
            if plan is None:
                continue
            async with self._busy:
                plan, verdict = await self._judged(plan, now)
                mode = live.modes.get(name, Mode.ADVISE) if not resting else Mode.ADVISE
                outcome = await self.desk.decide(plan, verdict, mode, live.state, now)
            self._publish(outcome.frames)
            made.append((plan, verdict))
        self._made = tuple(made)
        live.plans = (*self._responding.plans, *self._made)

    def _rests(self, lever: str, now: datetime) -> bool:
        """Whether a trial has drawn this hour for ``lever`` to rest; also where that cannot be told."""
        try:
            return rests(self._live.records, lever, now) is not None
        except SourceError as error:
            log.error("%s rests: %s", lever, error)
            return True

    async def respond(self, now: datetime) -> None:
        """Take in what the grid asks, answer what it asks now, and prove what it asked."""
        async with self._busy:
            self._responding.hear(now)
            if not self._stopped:
                queues = tuple(
                    queue.without(self.desk.hands_off(queue.name) | frozenset(self._homes(queue.name)))
                    for queue in self._queues.values()
                    if queue.name in self._movable
                )
                await self._responding.look(queues, self._judged, now)
        self._responding.prove(now)
        self._live.plans, self._live.resting = (*self._responding.plans, *self._made), self._responding.resting

    async def _judged(self, plan: Plan, now: datetime) -> tuple[Plan, Verdict]:
        """What of a plan the guard may let pass (all of it, or none, but for answers to the grid), and what it says of that."""
        live, advises = self._live, self._live.modes.get(plan.lever, Mode.ADVISE) is Mode.ADVISE
        stop = self._limits.stop or self._stopped or self.switch.stopped() is not None
        limits = replace(self._limits, stop=stop, takes=None if advises else self.desk.takes)
        seen = (live.site, live.state, live.alerts, now, limits, self.desk.history(now))
        waits = self._waits() if plan.orders and not plan.request else {}  # what answers the grid is not bound by them
        queues = tuple(
            replace(queue, homes=self._homes(queue.name), waits=waits.get(queue.name)) for queue in self._queues.values()
        )

        def judge() -> tuple[Plan, Verdict]:
            fits = fitting(plan, *seen, queues)
            judged = fits if fits.count else plan  # where nothing fits, it is said why
            return judged, guard(judged, *seen, queues)

        return await asyncio.to_thread(judge)

    async def _outlook(self, now: datetime) -> Outlook:
        base = outlook_of(self._live.forecasts)
        kept = {entry.target for entry in self.desk.ordered if entry.plan.startswith("job_peak:")}
        rests = resting(self.desk.history(now), now, self._limits.order_dwell_s)
        queues = tuple(
            replace(queue.without(self.desk.hands_off(queue.name) | kept), rests=rests)
            for queue in self._queues.values()
            if queue.name in self._movable
        )
        signal = await asyncio.to_thread(self._foreseen, now) if queues else None
        limits, left = self._limits, self._limits.orders_per_hour - ordered_lately(self.desk.history(now), now)
        base = replace(base, locked=limits.locked, bounds=limits.bounds, orders_left_count=left)
        atlas, grids = self._limits.atlas, dict[str, SignalAhead]()
        for grid in sorted({one.grid for one in atlas.places}) if queues else ():
            found = await asyncio.to_thread(self._foreseen, now, self._live.site.row(grid))
            grids |= {grid: found} if found is not None else {}
        return replace(base, signal=signal, queues=queues, limit_w=self._contracted_w(), atlas=atlas, grids=grids)

    def _homes(self, queue: str) -> dict[str, str]:
        """Where each job of a queue was submitted that is elsewhere by our order."""
        return {entry.target: entry.where[0] for entry in self.desk.ordered if entry.queue == queue and entry.moved}

    def _seen_by(self, lever: str, outlook: Outlook) -> Outlook:
        """What a lever may move: a job that was moved to another place is its mover's alone, and one in a place on a grid of
        its own is shifted by that grid's signal, or not at all. What tenants wait is as the lever before it left it."""
        atlas, queues = outlook.atlas, list[QueueNow]()
        if lever in DELAY_WORK:
            waits = self._waits()
            outlook = replace(outlook, queues=tuple(replace(queue, waits=waits.get(queue.name)) for queue in outlook.queues))
        if not atlas.places:
            return outlook
        for queue in outlook.queues:
            homes = self._homes(queue.name)
            if lever == "job_move":
                queues.append(replace(queue, homes=homes))
                continue
            of = on_grids(atlas, queue, self._live.site.ids_of("grid")[0])
            for grid in dict.fromkeys(of) if lever in MOVE_WORK else [""]:
                others = frozenset(job for job, one in zip(queue.jobs.ids, of, strict=True) if one != grid)
                if not grid or grid in outlook.grids:
                    queues.append(replace(queue.without(others | frozenset(homes)), signal=outlook.grids.get(grid)))
        return replace(outlook, queues=tuple(queues))

    def _waits(self) -> Mapping[str, Waits]:
        """How long the tenants of all schedulers that take orders wait for us."""
        queues = [queue for queue in self._queues.values() if queue.name in self._steered]
        asked = {queue.name: self.desk.asked(queue.name) for queue in queues}
        tenants, now_s = self._given().tenants, self._live.clock.now().timestamp()
        return waits_of(queues, self._watcher.ended, asked, tenants, now_s, self._limits.fair_wait_s)

    def _given(self) -> Given:
        """What the operator gives; as it was read last where a file of it is away, which whoever writes it anew may do."""
        try:
            self._last = self._live.given()
        except ConfigError as error:
            log.error("[energy] counts as it was read last: %s", error)
        return self._last

    def _contracted_w(self) -> float:
        """What the tariff's contract lets the centre draw; infinity where it has none."""
        tariff = self._given().tariff
        demand = None if tariff is None else tariff.demand
        return 1e3 * demand.contracted_kw if demand is not None and demand.contracted_kw > 0 else np.inf

    def _foreseen(self, now: datetime, grid: int = 0) -> SignalAhead | None:
        """The signal of the ``grid``-th grid as it is foreseen; made anew with each slot."""
        slots, name = self._slots, self._metric
        begin_s = now.timestamp() // slots.slot_s * slots.slot_s
        at_s, signal = self._signals.get(grid, (math.nan, None))
        if signal is None or at_s != begin_s:
            signal = None
            if self._live.site.count("grid"):
                end = datetime.fromtimestamp(begin_s, UTC)
                start = end - timedelta(seconds=slots.past * slots.slot_s)
                time_s, values = self._series(start, end, grid)
                words = words_of(self._live, grid, name, now, KNOWN_OVER)
                year = self._market if name == PRICE and slots.day_s == DAY_S else None
                signal = signal_ahead(name, time_s, values, slots.slot_s, now, slots.horizon, slots.day_s, words, year)
            self._signals[grid] = (begin_s, signal)
        return signal

    def _market(self, time_s: Floats) -> Calendar:
        zone = self._live.site.timezone
        return market_days(time_s, zone, country_of(zone))

    # what is in force

    async def acts(self, now: datetime) -> None:
        """Say that we live; hear what people said; look after what schedulers were told. Where the records refuse the sign or a
        note, what is in force is looked after all the same before that is raised."""
        refused: SourceError | None = None
        try:
            self.switch.beat(now)  # also while something is carried out for long
            async with self._busy:
                self.desk.catch_up()
                await self._hearing.hear(now)
                self.desk.tidy(now)
        except SourceError as error:
            refused = error
        async with self._busy:
            await self._look_after(now)
        if refused is not None:
            raise refused

    async def _look_after(self, now: datetime) -> None:
        """Let go of everything where that is stopped, and of orders that are over."""
        halted = self.switch.lets_go(now)
        if halted is not None and not self._stopped:
            log.warning("stopped by %s (%s): everything is let go", halted["who"], halted["why"])
            why = Message("Stopped by {who}: {why}", {"who": str(halted["who"]), "why": str(halted["why"])})
            self._tell(await self.desk.revert_due(self._live.state, now, all_now=True, why=why))
        elif halted is not None and self.desk.in_force:  # a step each look; what does not follow is tried each minute
            back = self.desk.revert_setpoints(self._live.state, now, all_now=True, why=STOPPED, but_stuck=True)
            self._tell(await back)
        was, self._stopped = self._stopped, halted is not None
        for queue in self._queues.values():
            if queue.name in self._steered:
                # schedulers take their time: each order is judged by the clock as it then stands
                await self.desk.follow(queue.name, queue.jobs, self._live.clock.now())
                if self._stopped and was:  # by a list that was not read before all was let go
                    await self.desk.release_strays(queue.name, queue.jobs, self._live.clock.now())
        await self.desk.revert_orders(self._live.clock.now(), all_now=self._stopped, why=STOPPED)

    async def reverts(self, now: datetime) -> None:
        """End what has reached its end, whatever the modes say now."""
        async with self._busy:
            for name, lever in self._levers.items():
                why = lever.withdraw(self._live.site, self._live.state, now) if isinstance(lever, Wary) else None
                if why is not None:
                    log.warning("%s lets go: %s", name, why)
                    self._tell(await self.desk.end(f"{name}:", self._live.state, now, why))
            self._tell(await self.desk.revert_due(self._live.state, now, all_now=self._stopped, why=STOPPED))
        self._publish([self.desk.health(now)])

    async def give_back(self, now: datetime) -> None:
        """Undo what would not end by itself, a step at a time: nobody would watch it any more. Begin times stay, they release
        themselves. What a device refuses stays in the records, and the next start goes on with it."""
        async with self._busy:
            await self.desk.revert_orders(now, all_now=True, but_begins=True, why=ENDS)
            for _ in range(GIVE_BACK_STEPS):
                if self.desk.in_force:
                    self._tell(await self.desk.revert_setpoints(self._live.state, now, all_now=True, why=ENDS))
        if left := self.desk.in_force:
            log.error("%d setpoints could not be given back; the next start tries again", len(left))
        try:
            self.desk.catch_up()
        except SourceError as error:
            log.error("%d notes of what was let go are lost: %s", self._notebook.waiting_count, error)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        self._publish([frame for outcome in outcomes for frame in outcome.frames])


async def release_all(desk: Desk, state: State, queues: Mapping[str, Queue], now: datetime) -> int:
    """Let go of everything that is in force or bears a note of ours, and say how much could not be. For the watchdog, when
    nobody else does; setpoints go back a step at a time."""
    for name, queue in queues.items():
        try:
            jobs = await queue.jobs(now)
        except SourceError as error:
            log.error("queue %s does not answer: %s", name, error)
            continue
        await desk.follow(name, jobs, now)
        await desk.release_strays(name, jobs, now)
    await desk.revert_orders(now, all_now=True, why=DEAD)
    for _ in range(GIVE_BACK_STEPS):
        if desk.in_force:
            await desk.revert_setpoints(state, now, all_now=True, why=DEAD)
    return len(desk.ordered) + len(desk.in_force)


def outlook_of(forecasts: Sequence[Forecast]) -> Outlook:
    """The forecasts that levers on the plant rest on."""
    by_name: dict[str, Forecast] = {f.metric: f for f in forecasts if (f.kind, f.metric) in FIRST}
    if not by_name:
        return no_outlook()
    time_s = next(iter(by_name.values())).time_s

    def column(name: str) -> Floats:
        forecast = by_name.get(name)
        return forecast.p50 if forecast is not None and len(forecast.p50) == len(time_s) else np.full(len(time_s), np.nan)

    own_w = sure_w(forecasts, time_s)
    return Outlook(time_s, column("facility_power_w"), column("it_power_w"), column("wet_bulb_c"), own_w=own_w)
