"""What the records say after a restart: newest stage of each plan, what is in force, what was begun and asked lately."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from energy.notes import MEMORY, TOPIC, Stage, every, message_of
from energy.plan import ANSWERS, Done
from twin.message import Message
from twin.order import Result, Verb, Where
from twin.ports import Action, Records

MAX_KNOWN = 10_000  # plans remembered by key; the oldest is forgotten first
MAX_ASKED = 100_000  # jobs whose waiting is remembered; what was asked longest ago is forgotten first
ANSWERED = timedelta(hours=1)  # of what answers the grid, which follows the meter, so long is asked
_FINAL = {Stage.REVERTED, Stage.LEFT}
NEAR_S = 2.0  # begin times that are no further apart are the same
TIMED = (Verb.BEGIN, Verb.MOVE)  # say from when a job may start, and release themselves


@dataclass(frozen=True, slots=True)
class Open:
    """An action in force: ``before`` is the value to go back to, ``value`` what was last ordered, ``sent`` when.

    ``early``: it is to be undone now, not at its end, for the reason ``why``; ``stuck``: that was tried and the device did not
    follow. ``stands``: where the device may stand by our orders alone: what it was told last, what it stood at before, what it
    answered (None: not known, for the record is of an older release); ``sure``: what it was told last was read back.
    """

    plan: str
    action: Action
    before: float
    value: float
    sent: datetime
    early: bool = False
    stuck: bool = False
    why: Message | None = None
    stands: tuple[float, ...] | None = None
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order in force at a scheduler: ``target`` (a job, a node, a queue) was told ``verb`` with ``value``; ``before`` and
    ``said`` are what to go back to, ``until`` when it is over at the latest. ``sure``: it was read back; an order whose process
    died, or that failed by half, is not. ``stuck``: it is to be taken back at once, for that was tried or it failed by half;
    ``older``: what was in force before it, and is again where this one was not taken; ``where``: the partition that the job has
    its home in and the one that it was moved to, whatever else it was told since (empty: it was not moved); ``would_s``: when
    the job would start without it (NaN: not known)."""

    plan: str
    queue: str
    target: str
    verb: Verb
    value: float
    before: float
    said: str
    until: datetime
    sent: datetime
    sure: bool = True
    stuck: bool = False
    older: "Ordered | None" = None
    where: Where = ("", "")
    would_s: float = math.nan

    @property
    def moved(self) -> bool:
        """Whether the job was moved to another partition."""
        return self.where[0] != self.where[1]


Key = tuple[str, str]  # queue, target


@dataclass(frozen=True, slots=True)
class Asked:
    """How long a job was told to wait: ``before_s`` in all that is over, and from ``would_s``, when it would have started, to
    ``begin_s``; ``told``: when it was told so last."""

    before_s: float
    would_s: float
    begin_s: float
    told: datetime

    @property
    def wait_s(self) -> float:
        """All of it together."""
        return self.before_s + max(self.begin_s - self.would_s, 0.0)


@dataclass
class Memory:
    """See above. ``ordered`` by queue and target: a target is under one order at a time; ``over``: begin times that were taken
    back, until they pass: a scheduler that dies may have them again; ``left``: what a person took over, and when that was seen:
    hands off; ``asked``: what each job was told to wait in the last two days."""

    stage: dict[str, Stage] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    ordered: dict[Key, Ordered] = field(default_factory=dict)
    over: dict[Key, Ordered] = field(default_factory=dict)
    left: dict[Key, datetime] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    asked: dict[Key, Asked] = field(default_factory=dict)
    looked: datetime | None = None  # when it was last asked to forget

    def remember(self, key: str, stage: Stage) -> None:
        """The newest stage of a plan."""
        self.stage.pop(key, None)
        self.stage[key] = stage
        while len(self.stage) > MAX_KNOWN:
            del self.stage[next(iter(self.stage))]

    def forget(self, now: datetime) -> None:
        """What is older than the records that are read back, or than the guard asks of what answered the grid: by two looks one
        after the other, for a clock that is ahead at one of them must not make all of it old. What was done beyond both of
        them, by a clock that was set back since, counts as done now: rests and rates must not last for as long as it leapt."""
        was, self.looked = self.looked, now
        latest = now if was is None else max(now, was)
        self.done = [replace(done, time=latest) if done.time > latest else done for done in self.done]
        now = now if was is None else min(now, was)
        self.done = [done for done in self.done if now - done.time < (ANSWERED if done.metric in ANSWERS else MEMORY)]
        self.over = {key: entry for key, entry in self.over.items() if entry.value > now.timestamp()}
        self.left = {key: seen for key, seen in self.left.items() if now - seen < MEMORY}
        self.asked = {key: asked for key, asked in self.asked.items() if now - asked.told < MEMORY}

    def ask(self, entry: Ordered) -> None:
        """A begin time was read back: the job waits until then. One that is not over yet is changed, and not added."""
        key, sent_s = (entry.queue, entry.target), entry.sent.timestamp()
        begin_s = entry.value if entry.value > sent_s else sent_s
        last = self.asked.pop(key, None)
        if last is not None and last.begin_s > sent_s:
            self.asked[key] = replace(last, begin_s=begin_s, told=entry.sent)
        elif begin_s > sent_s:
            would_s = sent_s if math.isnan(entry.would_s) else entry.would_s
            self.asked[key] = Asked(last.wait_s if last else 0.0, would_s, begin_s, entry.sent)
        elif last is not None:
            self.asked[key] = last
        while len(self.asked) > MAX_ASKED:
            del self.asked[next(iter(self.asked))]

    def let_go(self, key: Key, now: datetime) -> None:
        """An order is over; its job waits no longer than until ``now``."""
        gone = self.ordered.pop(key, None)
        if gone is not None and gone.verb in TIMED and not abs(gone.value - gone.before) <= NEAR_S:
            self.over[key] = gone
        last = self.asked.get(key)
        if last is not None and last.begin_s > now.timestamp():
            self.asked[key] = replace(last, begin_s=now.timestamp())


def remembered(records: Records, now: datetime) -> Memory:
    """What the last two days' records say: all of them, for a cap that is forgotten is never given back."""
    memory = Memory()
    for time, record in every(records, TOPIC, now - MEMORY):
        stage = Stage(record["stage"])
        if "targets" in record:
            take(memory, stage, time, record)
        elif "action" not in record:
            memory.stage[record["plan"]] = stage
        else:
            _take_action(memory, stage, time, record)
    for key, entry in memory.open.items():
        if memory.stage.get(entry.plan) is Stage.FAILED:
            memory.open[key] = replace(entry, early=True, why=entry.why or Message("Another action of its plan failed"))
    return memory


def _take_action(memory: Memory, stage: Stage, time: datetime, record: Mapping[str, Any]) -> None:
    if stage in (Stage.BEGUN, Stage.DONE, Stage.FAILED):
        memory.stage[record["plan"]] = stage
    if stage in (Stage.BEGUN, Stage.REVERTING):
        began = record.get("from")  # of a way back there is none: that moves
        memory.done.append(Done(record["asset"], record["metric"], time, began is None or moved(began, record["ordered"])))
    if stage in _FINAL:
        memory.open.pop(record["action"], None)
    else:
        memory.open[record["action"]] = _opened(record, stage, time)


def moved(before: float, value: float) -> bool:
    """Whether an order set another value than there was."""
    return abs(value - before) > 1e-6


def _opened(record: Mapping[str, Any], stage: Stage, time: datetime) -> Open:
    until = datetime.fromisoformat(record["until"])
    action = Action(record["asset"], record["metric"], record["ordered"], until, record["action"])
    stuck, early = stage is Stage.REVERT_FAILED, stage is Stage.REVERTING and until > time
    said = record.get("because" if stuck else "why")
    why = message_of(said) if said else None
    early |= stuck or stage is Stage.FAILED
    sure, stands = stage is Stage.DONE, record.get("stands", [record["value"]] if stage is Stage.DONE else None)
    return Open(
        record["plan"], action, record["before"], record["value"], time, early, stuck, why,
        None if stands is None else tuple(stands), sure,
    )  # fmt: skip


def take(memory: Memory, stage: Stage, time: datetime, record: Mapping[str, Any]) -> None:
    """One record of a table of orders, as it is written and as it is read back: the two agree by being the same."""
    queue, verb = record["queue"], Verb(record["verb"])
    for i, target in enumerate(record["targets"]):
        key = (queue, target)
        if stage is Stage.BEGUN:
            entry = Ordered(
                record["plan"], queue, target, verb, _number(record["values"][i]), _number(record["before"][i]), "",
                datetime.fromisoformat(record["until"][i]), time, sure=False,
                would_s=_number(record["would_s"][i]) if "would_s" in record else math.nan,
            )  # fmt: skip
            older = memory.ordered.get(key)
            if verb is Verb.MOVE:
                entry = replace(entry, where=_pair(record["where"][i]))
            if older is not None:
                entry = _handed_on(entry, older)
            memory.ordered[key] = entry if older is None else replace(entry, older=replace(older, older=None))
            memory.over.pop(key, None)
            memory.done.append(Done(target, verb, time))
        elif stage is Stage.DONE:
            _settle(memory, key, record, i)
        elif stage in _FINAL:
            memory.let_go(key, time)
            if stage is Stage.LEFT:
                memory.left[key] = time
        elif stage is Stage.REVERT_FAILED and key in memory.ordered:
            memory.ordered[key] = replace(memory.ordered[key], stuck=True)
    if stage in (Stage.BEGUN, Stage.DONE):
        memory.stage[record["plan"]] = stage


def _handed_on(entry: Ordered, older: Ordered) -> Ordered:
    """What takes the place of an older order takes over its way back."""
    if older.verb is entry.verb or older.moved or (older.verb in TIMED and entry.verb in TIMED):
        entry = replace(entry, before=older.before, said=older.said)
    if older.moved:
        entry = replace(entry, where=(older.where[0], entry.where[1] or older.where[1]))
    return entry


def _settle(memory: Memory, key: Key, record: Mapping[str, Any], i: int) -> None:
    """What came of one order."""
    entry = memory.ordered.get(key)
    if entry is None or entry.plan != record["plan"]:
        return
    result = record["results"][i]
    if result in (Result.DONE, Result.SAME):
        if entry.verb in TIMED:
            memory.ask(entry)
        memory.ordered[key] = replace(entry, sure=True, said=entry.said or record["said"][i], older=None)
    elif result == Result.HALF or (result == Result.FAILED and entry.verb is Verb.MOVE):
        memory.ordered[key] = replace(entry, stuck=True, older=None)  # it may be held or elsewhere now: it is taken back
    elif result != Result.GONE and entry.older is not None:
        memory.ordered[key] = replace(entry.older, sure=result == Result.REFUSED)  # a failed write may have been half one
    else:
        del memory.ordered[key]


def _pair(said: Sequence[str]) -> Where:
    home, away = said
    return home, away


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
