"""Carrying plans out: what the mode allows, once, read back, undone at its end, and every step written down first.

The record of a step goes to the topic ``audit`` before the device is touched. What was begun is therefore known after a
crash: it is not begun again, and it is still undone at its end.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from energy.guard import Done
from energy.levers import believed
from energy.plan import Effect, Mode, Plan, Verdict
from twin.errors import SourceError
from twin.frame import Frame, Origin, frame_of
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action, Actuator, Records
from twin.site import Site
from twin.state import State

log = logging.getLogger(__name__)
TOPIC = "audit"
MEMORY = timedelta(days=2)  # how far back records are read at a start; longer than any action may last
MAX_RECORDS = 20_000  # read at a start; more cannot be when the guard limits the rate
MAX_WAITING = 100  # plans that wait for a person; the oldest goes first
REMIND = timedelta(hours=1)  # how often it is recorded that a value still cannot be restored
BACK_FOR = timedelta(minutes=5)  # how long an order to go back is good for
MAX_KNOWN = 10_000  # plans remembered by key; the oldest is forgotten first


class Stage(StrEnum):
    """What became of a plan or of one of its actions; the word in the record's field ``stage``."""

    REFUSED = "refused"  # the guard said no
    ADVISED = "advised"  # the mode is advise: nothing was done
    WAITING = "waiting"  # for a person
    APPROVED = "approved"  # by a person
    BEGUN = "begun"  # an action is about to be sent
    DONE = "done"  # an action was read back as ordered
    FAILED = "failed"  # an action was not read back as ordered
    REVERTING = "reverting"  # a former value is about to be sent
    REVERTED = "reverted"  # the former value was read back
    REVERT_FAILED = "revert_failed"  # the former value could not be restored; tried again until it can
    LEFT = "left"  # a person or a later plan has changed the value since: not ours to undo


_FINAL = {Stage.REVERTED, Stage.LEFT}


@dataclass(frozen=True, slots=True)
class Open:
    """An action in force: ``before`` is the value to go back to, ``value`` what was last ordered, ``sent`` when.

    ``failed``: it is to be undone now, not at its end; ``stuck``: that was tried and the device did not follow.
    """

    plan: str
    action: Action
    before: float
    value: float
    sent: datetime
    failed: bool = False
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; ``frames`` are what devices said (origin ``commanded``), for state and store."""

    stage: Stage
    why: Message | None = None
    frames: tuple[Frame, ...] = ()


@dataclass
class _Memory:
    """What the records say: newest stage of each plan, actions in force, actions begun lately."""

    stage: dict[str, Stage] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)


class Desk:
    """Decides by mode and carries out. One for a site, used from one task at a time."""

    def __init__(self, site: Site, records: Records, actuators: Mapping[str, Actuator], now: datetime) -> None:
        """``actuators`` by asset id. Reads the records of the last two days: what was in force still is."""
        self._site, self._records, self._actuators = site, records, actuators
        self._memory = _remembered(records, now)
        self._waiting: dict[str, Plan] = {}

    @property
    def waiting(self) -> Sequence[Plan]:
        """Plans that wait for a person, the oldest first."""
        return tuple(self._waiting.values())

    @property
    def in_force(self) -> Sequence[Open]:
        """Actions that were sent and not yet undone."""
        return tuple(self._memory.open.values())

    def history(self, now: datetime) -> Sequence[Done]:
        """Actions begun in the last two days, for the guard."""
        self._memory.done = [done for done in self._memory.done if now - done.time < MEMORY]
        return tuple(self._memory.done)

    def health(self, now: datetime) -> Frame:
        """How many actions could not be undone so far, as a reading of the site: for an alert rule."""
        stuck = sum(entry.stuck for entry in self._memory.open.values())
        return frame_of("site", now, 0, Origin.MEASURED, "act", overdue_reverts_count=float(stuck))

    async def decide(self, plan: Plan, verdict: Verdict, mode: Mode, state: State, now: datetime) -> Outcome:
        """What ``mode`` allows of ``plan``. A plan that was carried out before (by its key, also before a restart) is
        not carried out again; a stage that did not change is not recorded again."""
        if verdict.plan != plan.key:
            raise ValueError(f"the verdict is on plan {verdict.plan}, not on {plan.key}")
        known = self._memory.stage.get(plan.key)
        if known not in (None, Stage.REFUSED, Stage.ADVISED, Stage.WAITING):
            return Outcome(known, Message("This plan was carried out already"))
        if not verdict.allowed:
            self._waiting.pop(plan.key, None)
            return self._noted(Stage.REFUSED, plan, verdict, mode, now, verdict.refusals[0].why)
        if mode is Mode.ADVISE:
            self._waiting.pop(plan.key, None)
            return self._noted(Stage.ADVISED, plan, verdict, mode, now, None)
        if mode is Mode.APPROVE:
            self._waiting[plan.key] = plan
            while len(self._waiting) > MAX_WAITING:
                del self._waiting[next(iter(self._waiting))]
            return self._noted(Stage.WAITING, plan, verdict, mode, now, None)
        return await self._carry_out(plan, verdict, mode, "icctwin", state, now)

    async def approve(self, key: str, who: str, verdict: Verdict, state: State, now: datetime) -> Outcome:
        """Carry out the plan that waits under ``key`` in the name of ``who``. ``verdict`` must be a new one: what was
        allowed when the plan was made may not be any more."""
        plan = self._waiting.get(key)
        if plan is None:
            return Outcome(Stage.REFUSED, Message("No plan {key} waits for approval", {"key": key}))
        if not who.strip():
            return Outcome(Stage.REFUSED, Message("An approval needs the name of who gives it"))
        if verdict.plan != key:
            raise ValueError(f"the verdict is on plan {verdict.plan}, not on {key}")
        del self._waiting[key]
        if not now < plan.expires:
            why = Message("The plan expired at {time}", {"time": plan.expires.isoformat()})
            return self._noted(Stage.REFUSED, plan, verdict, Mode.APPROVE, now, why, who)
        if not verdict.allowed:
            return self._noted(Stage.REFUSED, plan, verdict, Mode.APPROVE, now, verdict.refusals[0].why, who)
        self._noted(Stage.APPROVED, plan, verdict, Mode.APPROVE, now, None, who)
        return await self._carry_out(plan, verdict, Mode.APPROVE, who, state, now)

    async def revert_due(self, state: State, now: datetime, all_now: bool = False) -> Sequence[Outcome]:
        """Undo what has reached its end (``all_now``: everything in force), by at most the metric's step a call.

        Call it every minute or so, also when all modes are back at advise: what was begun must end."""
        due = [entry for entry in self._memory.open.values() if all_now or entry.failed or entry.action.until <= now]
        return [await self._revert(entry, state, now) for entry in due]

    # carrying out

    async def _carry_out(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        """All actions of the plan, or none: what was begun is undone as soon as one fails."""
        before: dict[str, float] = {}
        for action in plan.actions:
            current = self._current(action, state, now)
            if current is None or action.asset not in self._actuators:
                why = Message("Nothing can set {asset}, or its present value is not known", {"asset": action.asset})
                return self._noted(Stage.REFUSED, plan, verdict, mode, now, why, who)
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
                self._memory.open[begun.action.key] = replace(begun, failed=True)
            for outcome in await self.revert_due(state, now):
                frames += outcome.frames
            return Outcome(Stage.FAILED, wrong, tuple(frames))
        self._memory.stage[plan.key] = Stage.DONE
        return Outcome(Stage.DONE, None, tuple(frames))

    def _begin(self, plan: Plan, action: Action, current: float, verdict: Verdict, mode: Mode, who: str, now: datetime) -> Open:
        """Note the action before it is sent. An older one on the same setpoint ends here and hands on its way back."""
        base = current
        for older in [e for e in self._memory.open.values() if _target(e.action) == _target(action)]:
            base = older.before
            self._step(Stage.LEFT, older, now, why=Message("A later plan took over: {plan}", {"plan": plan.key}))
            del self._memory.open[older.action.key]
        entry = Open(plan.key, action, base, action.value, now)
        self._memory.open[action.key] = entry
        self._memory.done.append(Done(action.asset, action.metric, now))
        self._remember(plan.key, Stage.BEGUN)
        details: dict[str, Any] = {
            "from": current,
            "who": who,
            "mode": mode,
            "reason": _message(plan.reason),
            **_effect(plan.effect),
        }
        self._step(Stage.BEGUN, entry, now, lever=plan.lever, verdict=_verdict(verdict), **details)
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
            self._step(Stage.REVERTING, moving, now)
            self._memory.done.append(Done(action.asset, action.metric, now))
        frame, wrong = await self._send(back, now)
        frames = () if frame is None else (frame,)
        if wrong is not None:
            if not entry.stuck or now - entry.sent >= REMIND:
                log.error("cannot restore %s of %s to %g: %s", action.metric, action.asset, entry.before, wrong)
                entry = replace(entry, sent=now)
                self._step(Stage.REVERT_FAILED, entry, now, why=wrong)
            self._memory.open[action.key] = replace(entry, failed=True, stuck=True)
            return Outcome(Stage.REVERT_FAILED, wrong, frames)
        if aim == entry.before:
            self._step(Stage.REVERTED, moving, now, readback=aim)
            del self._memory.open[action.key]
            return Outcome(Stage.REVERTED, None, frames)
        self._memory.open[action.key] = moving
        return Outcome(Stage.REVERTING, None, frames)

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

    # records

    def _noted(
        self, stage: Stage, plan: Plan, verdict: Verdict, mode: Mode, now: datetime, why: Message | None, who: str = ""
    ) -> Outcome:
        """A decision on a whole plan, recorded where it is news."""
        if self._memory.stage.get(plan.key) is not stage:
            self._remember(plan.key, stage)
            record = {
                "stage": stage,
                "plan": plan.key,
                "lever": plan.lever,
                "mode": mode,
                "who": who,
                "reason": _message(plan.reason),
                "why": _message(why),
                "actions": [{"asset": a.asset, "metric": a.metric, "value": a.value} for a in plan.actions],
                "verdict": _verdict(verdict),
                "expires": plan.expires.isoformat(),
                **_effect(plan.effect),
            }
            self._records.append(TOPIC, now, _plain(record))
        return Outcome(stage, why)

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
            "why": _message(why),
            **details,
        }
        self._records.append(TOPIC, now, _plain(record))

    def _remember(self, key: str, stage: Stage) -> None:
        self._memory.stage.pop(key, None)
        self._memory.stage[key] = stage
        while len(self._memory.stage) > MAX_KNOWN:
            del self._memory.stage[next(iter(self._memory.stage))]


def _remembered(records: Records, now: datetime) -> _Memory:
    """Replays the audit of the last two days. Of more than ``MAX_RECORDS`` the oldest are not seen, which is logged."""
    memory = _Memory()
    found = records.read(TOPIC, start=now - MEMORY, limit=MAX_RECORDS, newest=True)
    if len(found) == MAX_RECORDS:
        log.error("the audit of two days has over %d records; actions begun before %s are not watched", len(found), found[0][1])
    for _, time, record in found:
        stage = Stage(record["stage"])
        if "action" not in record:
            memory.stage[record["plan"]] = stage
            continue
        if stage in (Stage.BEGUN, Stage.DONE, Stage.FAILED):
            memory.stage[record["plan"]] = stage
        if stage in (Stage.BEGUN, Stage.REVERTING):
            memory.done.append(Done(record["asset"], record["metric"], time))
        if stage in _FINAL:
            memory.open.pop(record["action"], None)
        else:
            memory.open[record["action"]] = _opened(record, stage, time)
    for key, entry in memory.open.items():
        if memory.stage.get(entry.plan) is Stage.FAILED:
            memory.open[key] = replace(entry, failed=True)
    return memory


def _opened(record: Mapping[str, Any], stage: Stage, time: datetime) -> Open:
    until = datetime.fromisoformat(record["until"])
    action = Action(record["asset"], record["metric"], record["ordered"], until, record["action"])
    stuck = stage is Stage.REVERT_FAILED
    return Open(record["plan"], action, record["before"], record["value"], time, stuck or stage is Stage.FAILED, stuck)


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


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: None stands for them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _message(message: Message | None) -> dict[str, Any] | None:
    return None if message is None else {"text": message.text, "params": dict(message.params)}


def _verdict(verdict: Verdict) -> list[dict[str, Any]]:
    return [{"rule": refusal.rule, "why": _message(refusal.why)} for refusal in verdict.refusals]


def _effect(effect: Effect) -> dict[str, float]:
    return {
        "effect_w": effect.facility_power_w,
        "effect_low_w": effect.low_w,
        "effect_high_w": effect.high_w,
        "effect_it_w": effect.it_power_w,
        "horizon_s": effect.horizon_s,
    }
