"""Setpoints of the plant: sent once, read back, given back at their end a step at a time, and every step written down first.

The record of a step goes to the topic ``audit`` before the device is touched. What was begun is therefore known after a crash:
it is not begun again, and it is still undone at its end.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from energy.levers import believed
from energy.memory import Memory, Open, moved
from energy.notes import TOPIC, Outcome, Stage, effect, message, plain, refusals
from energy.plan import Done, Mode, Plan, Verdict
from twin.errors import SourceError
from twin.frame import Frame, Origin
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action, Actuator, Records
from twin.site import Site
from twin.state import State

log = logging.getLogger(__name__)
AT_ONCE = 32  # devices that are spoken to at a time
REMIND = timedelta(hours=1)  # how often it is recorded that a value still cannot be restored
BACK_FOR = timedelta(minutes=5)  # how long an order to go back is good for
OVER = Message("Its time is over")


class Setpoints:
    """Carries out actions on assets. One for a site, used from one task at a time."""

    def __init__(self, site: Site, records: Records, actuators: Mapping[str, Actuator], memory: Memory) -> None:
        """``actuators`` by asset id."""
        self._site, self._records, self._actuators, self._memory = site, records, actuators, memory

    async def revert_due(
        self, state: State, now: datetime, all_now: bool = False, why: Message | None = None
    ) -> Sequence[Outcome]:
        """Undo what has reached its end (``all_now``: everything in force, for the reason ``why``), by at most the metric's
        step a call."""
        due = [entry for entry in self._memory.open.values() if all_now or entry.failed or entry.action.until <= now]
        return [await self._revert(self._reasoned(entry, why if all_now else None, now), state, now) for entry in due]

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
        for action in plan.actions:
            current = self._current(action, state, now)
            if current is None or action.asset not in self._actuators:
                why = Message("Nothing can set {asset}, or its present value is not known", {"asset": action.asset})
                return Outcome(Stage.REFUSED, why)
            before[action.key] = current
        frames: list[Frame] = []
        for action in plan.actions:
            entry = self._begin(plan, action, before[action.key], verdict, mode, who, now)
            frame, wrong = await self._send(action, now)
            frames += [frame] if frame is not None else []
            if wrong is None:
                self._step(Stage.DONE, entry, now, readback=action.value)
                continue
            self._step(Stage.FAILED, entry, now, why=wrong)
            self._memory.stage[plan.key] = Stage.FAILED
            for begun in [e for e in self._memory.open.values() if e.plan == plan.key]:
                self._memory.open[begun.action.key] = replace(begun, failed=True, why=wrong)
            for outcome in await self.revert_due(state, now):
                frames += outcome.frames
            return Outcome(Stage.FAILED, wrong, tuple(frames))
        self._memory.stage[plan.key] = Stage.DONE
        return Outcome(Stage.DONE, None, tuple(frames))

    async def _carry_each(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        """Written down, sent ``AT_ONCE`` at a time, and what fails is undone."""
        limit = asyncio.Semaphore(AT_ONCE)
        begun = [
            self._begin(plan, action, current, verdict, mode, who, now)
            for action in plan.actions
            if action.asset in self._actuators and (current := self._current(action, state, now)) is not None
        ]

        async def sent(entry: Open) -> tuple[Frame | None, Message | None]:
            async with limit:
                return await self._send(entry.action, now)

        frames: list[Frame] = []
        done = 0
        for entry, (frame, wrong) in zip(begun, await asyncio.gather(*map(sent, begun)), strict=True):
            frames += [frame] if frame is not None else []
            if wrong is None:
                done += 1
                self._step(Stage.DONE, entry, now, readback=entry.action.value)
            else:
                self._step(Stage.FAILED, entry, now, why=wrong)
                self._memory.open[entry.action.key] = replace(entry, failed=True, why=wrong)
        stage = Stage.DONE if done else Stage.FAILED
        self._memory.remember(plan.key, stage)
        total = len(plan.actions)
        said = Message("{done} of {total} setpoints are in force", {"done": done, "total": total}) if done < total else None
        return Outcome(stage, said, tuple(frames))

    def end(self, plan: str, why: Message) -> None:
        """Have all that plans whose keys begin with ``plan`` set undone with the next ``revert_due``, because of ``why``."""
        for key, entry in self._memory.open.items():
            if entry.plan.startswith(plan):
                self._memory.open[key] = replace(entry, failed=True, why=entry.why if entry.failed else why)

    def _begin(self, plan: Plan, action: Action, current: float, verdict: Verdict, mode: Mode, who: str, now: datetime) -> Open:
        """Note the action before it is sent. An older one on the same setpoint ends here and hands on its way back."""
        base = current
        for older in [e for e in self._memory.open.values() if _target(e.action) == _target(action)]:
            base = older.before
            self._step(Stage.LEFT, older, now, why=Message("A later plan took over: {plan}", {"plan": plan.key}))
            del self._memory.open[older.action.key]
        entry = Open(plan.key, action, base, action.value, now)
        self._memory.open[action.key] = entry
        self._memory.done.append(Done(action.asset, action.metric, now, moved(current, action.value)))
        self._memory.remember(plan.key, Stage.BEGUN)
        details: dict[str, Any] = {
            "from": current,
            "who": who,
            "mode": mode,
            "reason": message(plan.reason),
            **effect(plan.effect),
        }
        self._step(Stage.BEGUN, entry, now, lever=plan.lever, verdict=refusals(verdict), **details)
        return entry

    async def _send(self, action: Action, now: datetime) -> tuple[Frame | None, Message | None]:
        """What the device said, and what is wrong with it."""
        try:
            frame = await self._actuators[action.asset].apply(action, now)
        except SourceError as error:
            return None, Message("{asset} did not take it: {error}", {"asset": action.asset, "error": str(error)})
        read = _value(frame, self._site, action)
        if abs(read - action.value) <= _tolerance(self._site, action):  # False for NaN: not read back at all
            return frame, None
        params: dict[str, float | int | str] = {"asset": action.asset, "ordered": action.value, "read": read}
        return frame, Message("{asset} was told {ordered:g} and says {read:g}", params)

    async def _revert(self, entry: Open, state: State, now: datetime) -> Outcome:
        """One step back towards the value before."""
        action = entry.action
        actual = self._measured_since(entry, state, now)
        if actual is not None and not entry.failed and abs(actual - entry.value) > _tolerance(self._site, action):
            why = Message("{asset} stands at {value:g}: a person changed it", {"asset": action.asset, "value": actual})
            self._step(Stage.LEFT, entry, now, why=why)
            del self._memory.open[action.key]
            return Outcome(Stage.LEFT, why)
        here = entry.value if actual is None else actual
        step = metric(self._site.kind(action.asset), action.metric).step or 0.0
        aim = entry.before if abs(entry.before - here) <= step else here + (step if entry.before > here else -step)
        # an order of its own, with time of its own: a device refuses one whose time is over
        back = replace(action, value=aim, until=max(action.until, now + BACK_FOR), key=f"{action.key}/back/{aim:g}")
        moving = replace(entry, value=aim, sent=now, stuck=False)
        if not entry.stuck:  # a further try to move what does not move is no news
            self._step(Stage.REVERTING, moving, now, why=entry.why)
            self._memory.done.append(Done(action.asset, action.metric, now))
        frame, wrong = await self._send(back, now)
        frames = () if frame is None else (frame,)
        if wrong is not None:
            if not entry.stuck or now - entry.sent >= REMIND:
                log.error("cannot restore %s of %s to %g: %s", action.metric, action.asset, entry.before, wrong)
                entry = replace(entry, sent=now)
                self._step(Stage.REVERT_FAILED, entry, now, why=wrong, because=message(entry.why))
            self._memory.open[action.key] = replace(entry, failed=True, stuck=True)
            return Outcome(Stage.REVERT_FAILED, wrong, frames)
        if aim == entry.before:
            self._step(Stage.REVERTED, moving, now, why=entry.why, readback=aim)
            del self._memory.open[action.key]
            return Outcome(Stage.REVERTED, entry.why, frames)
        self._memory.open[action.key] = moving
        return Outcome(Stage.REVERTING, entry.why, frames)

    def _current(self, action: Action, state: State, now: datetime) -> float | None:
        """The setpoint as the device reports it, None where that is not fresh or cannot be."""
        if action.asset not in self._site.position:
            return None
        kind, row = self._site.kind(action.asset), self._site.row(action.asset)
        value = float(believed(state, kind, action.metric, now)[row])
        return None if value != value else value

    def _measured_since(self, entry: Open, state: State, now: datetime) -> float | None:
        """The setpoint where it was measured after the last order, else None."""
        action = entry.action
        kind, row = self._site.kind(action.asset), self._site.row(action.asset)
        later = state.newest(kind, action.metric).time_s[row] > entry.sent.timestamp()
        return self._current(action, state, now) if later else None

    def _step(self, stage: Stage, entry: Open, now: datetime, why: Message | None = None, **details: Any) -> None:
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
            **details,
        }
        self._records.append(TOPIC, now, plain(record))


def _target(action: Action) -> tuple[str, str]:
    return action.asset, action.metric


def _tolerance(site: Site, action: Action) -> float:
    """How far a read-back may be off: a tenth of the metric's step, which covers how devices round."""
    return 0.1 * (metric(site.kind(action.asset), action.metric).step or 0.0) + 1e-9


def _value(frame: Frame, site: Site, action: Action) -> float:
    """What ``frame`` says of the action's target, NaN where it says nothing or is no read-back."""
    kind, row = site.kind(action.asset), site.row(action.asset)
    column = frame.values.get(action.metric)
    if frame.origin is not Origin.COMMANDED or frame.kind != kind or column is None or row not in frame.rows:
        return float("nan")
    return float(column[list(frame.rows).index(row)])
