"""Setpoints of the plant: sent once, read back, given back at their end a step at a time, and every step noted first.

What is begun stands in the topic ``audit`` before the device is touched, so it is known after a crash: it is not begun again,
and it is still undone at its end. A step back is noted first as well, in memory where the records refuse it
(``energy.notebook``).
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from energy.levers import Readings
from energy.memory import Memory, Open, moved
from energy.notebook import Note, Notebook
from energy.notes import Outcome, Stage, effect, message, plain, refusals
from energy.plan import Done, Mode, Plan, Verdict
from twin.errors import SourceError
from twin.frame import Frame, Origin
from twin.message import Message
from twin.metrics import METRICS, metric
from twin.ports import Action, Actuator, Choosing, Relinquishing
from twin.site import Site
from twin.state import State

log = logging.getLogger(__name__)
AT_ONCE = 32  # devices that are spoken to at a time
REMIND = timedelta(hours=1)  # how often it is recorded that a value still cannot be restored
BACK_FOR = timedelta(minutes=5)  # how long an order to go back is good for
ROUNDED_W, ROUNDED_FRAC = 20.0, 0.005  # how coarsely a power may be read back
SHARE_FRAC = 0.01  # how coarsely a share may be
LAG_S = 60.0  # a reading so soon after an order may have been taken before the device had it
MOST_STANDS = 32  # values remembered that a device may stand at by our orders
OVER = Message("Its time is over")


class Setpoints:
    """Carries out actions on assets. One for a site, used from one task at a time."""

    def __init__(self, site: Site, notebook: Notebook, actuators: Mapping[str, Actuator], memory: Memory) -> None:
        """``actuators`` by asset id. ``takes``: the metrics of each asset that its actuator sets."""
        self._site, self._notebook, self._actuators, self._memory = site, notebook, actuators, memory
        if notebook.missing:
            memory.open.update({key: self._on_its_way(entry) for key, entry in memory.open.items()})
        self.takes = {asset: _takes(site, asset, one) for asset, one in actuators.items() if asset in site.position}

    async def revert_due(
        self, state: State, now: datetime, all_now: bool = False, why: Message | None = None, but_stuck: bool = False
    ) -> Sequence[Outcome]:
        """Undo what has reached its end (``all_now``: everything in force, for the reason ``why``; ``but_stuck``: but for what
        did not follow when that was tried), by at most the metric's step a call. What a person has set since our last order is
        the person's."""
        due = [entry for entry in self._memory.open.values() if all_now or entry.early or entry.action.until <= now]
        due = [self._reasoned(entry, why if all_now else None, now) for entry in due if not (but_stuck and entry.stuck)]
        readings = Readings(self._site, state, now)
        taken = [self._taken(entry, readings, now) for entry in due]
        left = [(entry, said) for entry, said in zip(due, taken, strict=True) if said is not None]
        ours = [entry for entry, said in zip(due, taken, strict=True) if said is None]
        idle = [(entry, value) for entry in ours if (value := self._untouched(entry, readings)) is not None]
        self._notebook.tell(self._note(Stage.LEFT, entry, now, why=said) for entry, said in left)
        self._notebook.tell(self._note(Stage.REVERTED, entry, now, why=entry.why, readback=value) for entry, value in idle)
        for entry, _ in (*left, *idle):
            del self._memory.open[entry.action.key]
        over = [Outcome(Stage.LEFT, said) for _, said in left] + [Outcome(Stage.REVERTED, entry.why) for entry, _ in idle]
        going = [self._back(entry, readings, now) for entry in ours if entry.action.key in self._memory.open]
        return [*over, *await self._sent_back(going, now)]

    def _reasoned(self, entry: Open, why: Message | None, now: datetime) -> Open:
        """With the reason for which it goes back: the first that there was, else ``why``, else its end."""
        if entry.why is None:
            entry = replace(entry, why=why or (OVER if entry.action.until <= now else None))
            self._memory.open[entry.action.key] = entry
        return entry

    async def carry_out(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        """All actions of the plan, or none: what was begun is undone as soon as one fails. What answers a request of the grid
        stands each for itself: one device that is deaf must not undo the others."""
        if plan.request:
            return await self._carry_each(plan, verdict, mode, who, state, now)
        before: dict[str, float] = {}
        readings = Readings(self._site, state, now)
        for action in plan.actions:
            current = self._current(action, readings)
            if current is None or not self._can(action):
                said = {"asset": action.asset, "metric": action.metric}
                why = Message("Nothing can set {metric} of {asset}, or its present value is not known", said)
                return Outcome(Stage.REFUSED, why)
            before[action.key] = current
        frames: list[Frame] = []
        for action in plan.actions:
            (entry,) = self._begin(plan, [(action, before[action.key])], verdict, mode, who, now)
            frame, wrong = await self._send(action, now)
            frames += [frame] if frame is not None else []
            self._came([(entry, frame, wrong)], now)
            if wrong is None:
                continue
            self._memory.stage[plan.key] = Stage.FAILED
            for begun in [e for e in self._memory.open.values() if e.plan == plan.key]:
                self._memory.open[begun.action.key] = replace(begun, early=True, why=wrong)
            for outcome in await self.revert_due(state, now):
                frames += outcome.frames
            return Outcome(Stage.FAILED, wrong, tuple(frames))
        self._memory.stage[plan.key] = Stage.DONE
        return Outcome(Stage.DONE, None, tuple(frames))

    async def _carry_each(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        """Written down, sent ``AT_ONCE`` at a time, and what fails is undone."""
        readings = Readings(self._site, state, now)
        able = [
            (action, current)
            for action in plan.actions
            if self._can(action) and (current := self._current(action, readings)) is not None
        ]
        begun = self._begin(plan, able, verdict, mode, who, now)
        said = await self._all_sent([entry.action for entry in begun], now)
        came = [(entry, *one) for entry, one in zip(begun, said, strict=True)]
        self._came(came, now)
        done = sum(wrong is None for *_, wrong in came)
        stage = Stage.DONE if done else Stage.FAILED
        self._memory.remember(plan.key, stage)
        total = len(plan.actions)
        short = Message("{done} of {total} setpoints are in force", {"done": done, "total": total}) if done < total else None
        return Outcome(stage, short, tuple(frame for _, frame, _ in came if frame is not None))

    def _came(self, came: Sequence[tuple[Open, Frame | None, Message | None]], now: datetime) -> None:
        """Note what became of orders that were begun; what failed is to be undone."""
        notes: list[Note] = []
        for entry, frame, wrong in came:
            if wrong is None:
                entry = replace(entry, sure=True)
                notes.append(self._note(Stage.DONE, entry, now, readback=entry.action.value))
            else:
                entry = self._stands(replace(entry, early=True, why=wrong), frame)
                notes.append(self._note(Stage.FAILED, entry, now, why=wrong))
            self._memory.open[entry.action.key] = entry
        self._notebook.tell(notes)

    def end(self, plan: str, why: Message) -> None:
        """Have all that plans whose keys begin with ``plan`` set undone with the next ``revert_due``, because of ``why``."""
        for key, entry in self._memory.open.items():
            if entry.plan.startswith(plan):
                self._memory.open[key] = replace(entry, early=True, why=entry.why if entry.early else why)

    def _begin(
        self, plan: Plan, actions: Sequence[tuple[Action, float]], verdict: Verdict, mode: Mode, who: str, now: datetime
    ) -> Sequence[Open]:
        """Note actions, each with the present value, before they are sent. An older one on the same setpoint ends here and
        hands on its way back."""
        by_target: dict[tuple[str, str], list[Open]] = {}
        for entry in self._memory.open.values():
            by_target.setdefault(_target(entry.action), []).append(entry)
        over = Message("A later plan took over: {plan}", {"plan": plan.key})
        about: dict[str, Any] = {
            "lever": plan.lever, "verdict": refusals(verdict), "who": who, "mode": mode, "reason": message(plan.reason),
            **effect(plan.effect),
        }  # fmt: skip
        notes: list[Note] = []
        begun: list[Open] = []
        older: list[Open] = []
        for action, current in actions:
            before = by_target.get(_target(action), [])
            base = before[-1].before if before else current
            notes += [self._note(Stage.LEFT, one, now, why=over) for one in before]
            older += before
            begun.append(Open(plan.key, action, base, action.value, now, stands=(action.value, current)))
            notes.append(self._note(Stage.BEGUN, begun[-1], now, None, **{"from": current, **about}))
        self._notebook.keep(notes)
        for one in older:
            del self._memory.open[one.action.key]
        for entry, (_, current) in zip(begun, actions, strict=True):
            self._memory.open[entry.action.key] = entry
            self._memory.done.append(Done(entry.action.asset, entry.action.metric, now, moved(current, entry.action.value)))
        self._memory.remember(plan.key, Stage.BEGUN)
        return begun

    async def _all_sent(self, actions: Sequence[Action], now: datetime) -> Sequence[tuple[Frame | None, Message | None]]:
        """As ``_send``, ``AT_ONCE`` at a time."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def sent(action: Action) -> tuple[Frame | None, Message | None]:
            async with limit:
                return await self._send(action, now)

        return await asyncio.gather(*map(sent, actions))

    async def _send(self, action: Action, now: datetime) -> tuple[Frame | None, Message | None]:
        """What the device said, and what is wrong with it."""
        if action.asset not in self._actuators:
            return None, Message("Nothing can set {asset} any more", {"asset": action.asset})
        try:
            frame = await self._actuators[action.asset].apply(action, now)
        except SourceError as error:
            return None, Message("{asset} did not take it: {error}", {"asset": action.asset, "error": str(error)})
        read = _value(frame, self._site, action)
        if abs(read - action.value) <= _tolerance(self._site, action):  # False for NaN: not read back at all
            return frame, None
        actuator = self._actuators[action.asset]
        if read == read and isinstance(actuator, Relinquishing) and actuator.relinquished(action):
            return frame, None  # where others have it now
        params: dict[str, float | int | str] = {"asset": action.asset, "ordered": action.value, "read": read}
        return frame, Message("{asset} was told {ordered:g} and says {read:g}", params)

    def _taken(self, entry: Open, readings: Readings, now: datetime) -> Message | None:
        """Why an entry is not ours to undo: what is read there since, none of our orders explains. None where one does."""
        action = entry.action
        if action.asset not in self._site.position:
            return Message("{asset} is no asset of this site any more", {"asset": action.asset})
        actual, at_s = self._measured_since(entry, readings)
        if actual is None or entry.stands is None:
            return None
        ours = entry.stands[:1] if entry.sure and at_s > entry.sent.timestamp() + LAG_S else entry.stands
        ours = (*ours, entry.before) if action.until <= now else ours  # some devices go back by themselves at the end
        if any(abs(actual - one) <= _tolerance(self._site, action) for one in ours):
            return None
        return Message("{asset} stands at {value:g}: a person changed it", {"asset": action.asset, "value": actual})

    def _untouched(self, entry: Open, readings: Readings) -> float | None:
        """What is read where an order that nobody read back left no trace: the value before, once the device must have had the
        order. None where there is something to undo, or where that is not known."""
        actuator = self._actuators.get(entry.action.asset)
        if entry.sure or (isinstance(actuator, Relinquishing) and actuator.keeps() and self._can(entry.action)):
            return None
        actual, at_s = self._measured_since(entry, readings)
        late = at_s > entry.sent.timestamp() + LAG_S
        return actual if late and actual is not None and self._near(entry, actual) else None

    def _near(self, entry: Open, value: float) -> bool:
        return abs(value - entry.before) <= _tolerance(self._site, entry.action)

    def _back(self, entry: Open, readings: Readings, now: datetime) -> tuple[Open, Open, Action]:
        """One step back towards the value before: the entry, what it is once that is read back, and the order."""
        action = entry.action
        actual, _ = self._measured_since(entry, readings)
        here = entry.value if actual is None else actual
        step = metric(self._site.kind(action.asset), action.metric).step or 0.0
        aim = entry.before if abs(entry.before - here) <= step else here + (step if entry.before > here else -step)
        moving = replace(entry, value=aim, sent=now, stuck=False, stands=(aim, here, entry.value), sure=False)
        # an order of its own, with time of its own: a device refuses one whose time is over
        until = max(action.until, now + BACK_FOR)
        return (
            entry,
            moving,
            replace(action, value=aim, until=until, key=f"{action.key}/back/{aim:g}", last=aim == entry.before),
        )

    async def _sent_back(self, going: Sequence[tuple[Open, Open, Action]], now: datetime) -> Sequence[Outcome]:
        """Send steps back, all noted before and what came of them after."""
        fresh = [(entry, moving) for entry, moving, _ in going if not entry.stuck]
        # a further try to move what does not move is no news
        self._notebook.tell(self._note(Stage.REVERTING, moving, now, why=entry.why) for entry, moving in fresh)
        self._memory.done += [Done(entry.action.asset, entry.action.metric, now) for entry, _ in fresh]
        said = await self._all_sent([back for *_, back in going], now)
        notes: list[Note] = []
        outcomes: list[Outcome] = []
        for (entry, moving, back), (frame, wrong) in zip(going, said, strict=True):
            frames = () if frame is None else (frame,)
            if wrong is not None:
                notes += self._stuck(entry, back.value, frame, wrong, now)
                outcomes.append(Outcome(Stage.REVERT_FAILED, wrong, frames))
            elif moving.value == entry.before:
                stands = moving.value if frame is None else _value(frame, self._site, back)
                notes.append(self._note(Stage.REVERTED, moving, now, why=entry.why, readback=stands))
                self._memory.open.pop(entry.action.key, None)
                outcomes.append(Outcome(Stage.REVERTED, entry.why, frames))
            else:
                self._memory.open[entry.action.key] = replace(moving, sure=True)
                outcomes.append(Outcome(Stage.REVERTING, entry.why, frames))
        self._notebook.tell(notes)
        return outcomes

    def _stuck(self, entry: Open, aim: float, frame: Frame | None, wrong: Message, now: datetime) -> list[Note]:
        """Remember that a device did not follow; what is to be noted of it."""
        action, news = entry.action, not entry.stuck or now - entry.sent >= REMIND
        entry = self._stands(replace(entry, early=True, stuck=True, sure=False, sent=now if news else entry.sent), frame, aim)
        self._memory.open[action.key] = entry
        if not news:
            return []
        log.error("cannot restore %s of %s to %g: %s", action.metric, action.asset, entry.before, wrong)
        return [self._note(Stage.REVERT_FAILED, entry, now, why=wrong, because=message(entry.why))]

    def _stands(self, entry: Open, frame: Frame | None, *more: float) -> Open:
        """With what the device may stand at by an order that it did not follow: what it answered, and ``more``."""
        if entry.stands is None:
            return entry
        read = float("nan") if frame is None else _value(frame, self._site, entry.action)
        kept = dict.fromkeys((*entry.stands, *more, *([read] if read == read else ())))
        return replace(entry, stands=tuple(kept)[:MOST_STANDS])

    def _on_its_way(self, entry: Open) -> Open:
        """With each step at which it may stand on its way to the value before, where its newest notes are missing."""
        action = entry.action
        if entry.stands is None or action.asset not in self._site.position:
            return entry
        step = metric(self._site.kind(action.asset), action.metric).step or math.inf
        count = math.ceil(abs(entry.before - entry.value) / step)
        way = (entry.value + math.copysign(k * step, entry.before - entry.value) for k in range(1, count))
        kept = dict.fromkeys((*entry.stands, entry.before, *way))
        return replace(entry, stands=tuple(kept)[:MOST_STANDS], sure=False)

    def _can(self, action: Action) -> bool:
        """Whether something sets this metric of this asset."""
        return action.metric in self.takes.get(action.asset, ())

    def _current(self, action: Action, readings: Readings) -> float | None:
        """The setpoint as the device reports it, None where that is not fresh or cannot be."""
        if action.asset not in self._site.position:
            return None
        value = readings.of(action.asset, action.metric)
        return None if value != value else value

    def _measured_since(self, entry: Open, readings: Readings) -> tuple[float | None, float]:
        """The setpoint where it was measured after the last order, else None; and when that was [s since 1970]."""
        at_s = readings.time_s(entry.action.asset, entry.action.metric)
        return (self._current(entry.action, readings) if at_s > entry.sent.timestamp() else None), at_s

    def _note(self, stage: Stage, entry: Open, now: datetime, why: Message | None = None, **details: Any) -> Note:
        """A step of one action, with all that is needed to go on after a crash."""
        action = entry.action
        record = {
            "stage": stage,
            "plan": entry.plan,
            "action": action.key,
            "asset": action.asset,
            "metric": action.metric,
            "before": entry.before,
            "ordered": action.value,
            "value": entry.value,
            "until": action.until.isoformat(),
            "why": message(why),
            **({"stands": entry.stands} if entry.stands is not None else {}),
            **details,
        }
        return now, plain(record)


def _takes(site: Site, asset: str, actuator: Actuator) -> frozenset[str]:
    """Metrics of an asset that an actuator sets: all that can be set, where it does not tell."""
    known = METRICS[site.kind(asset)]
    return actuator.takes(asset) if isinstance(actuator, Choosing) else frozenset(n for n, one in known.items() if one.step)


def _target(action: Action) -> tuple[str, str]:
    return action.asset, action.metric


def _tolerance(site: Site, action: Action) -> float:
    """How far a read-back may be off: a tenth of the metric's step, which covers how devices round; where steps are large, of a
    power at most half a percent of it or 20 W, and of a share a hundredth."""
    off = 0.1 * (metric(site.kind(action.asset), action.metric).step or 0.0)
    if action.metric.endswith("_w"):
        off = min(off, max(ROUNDED_W, ROUNDED_FRAC * abs(action.value)))
    if action.metric.endswith("_frac"):
        off = min(off, SHARE_FRAC)
    return off + 1e-9


def _value(frame: Frame, site: Site, action: Action) -> float:
    """What ``frame`` says of the action's target, NaN where it says nothing or is no read-back."""
    kind, row = site.kind(action.asset), site.row(action.asset)
    column = frame.values.get(action.metric)
    if frame.origin is not Origin.COMMANDED or frame.kind != kind or column is None or row not in frame.rows:
        return float("nan")
    return float(column[list(frame.rows).index(row)])
