"""Orders to schedulers: written down before they are sent, sent as tables, undone at their end. That they are taken back is
noted first as well, in memory where the records refuse it (``energy.notebook``).

An order is idempotent and is read back by the queue, so what a crash cut off is simply looked at: ``follow`` compares what was
begun with the jobs as they stand. A begin time releases itself; what does not (a hold, a pause, a drained node) ends at its
``until``, by us, or by the watchdog where we are no more.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy.memory import NEAR_S, TIMED, Key, Memory, Ordered, take
from energy.notebook import Notebook
from energy.notes import Outcome, Stage, message, plain, promised, refusals
from energy.plan import Mode, Plan, Verdict
from twin.errors import SourceError
from twin.frame import Floats
from twin.job import Jobs, JobState
from twin.message import Message
from twin.order import OF_JOBS, Orders, Receipts, Result, Verb, Where, orders
from twin.ports import Steerable
from twin.state import State

log = logging.getLogger(__name__)
BATCH = 200  # orders of one record: what a crash leaves unsure is at most that
MOVED_FOR = timedelta(minutes=30)  # after the time that it was moved for, a job that still waits elsewhere goes home
PAUSED_FOR = timedelta(minutes=2)  # a pause without a begin time after it is taken back
CUT_FOR = timedelta(seconds=5)  # so long what a process sent that then died may still be on its way
# Different lists of jobs that must show the same: the one that was there when an order was sent, one that was on its way then,
# and one that was asked for since. A clock that jumps ahead makes any other grace pass at once.
SEEN_IN = 3
HELD_FOR = timedelta(hours=4)  # the longest that what does not release itself stays in force
_BACK: Mapping[Verb, Verb] = {
    Verb.BEGIN: Verb.BEGIN, Verb.MOVE: Verb.MOVE, Verb.HOLD: Verb.RELEASE, Verb.PAUSE: Verb.BEGIN, Verb.SUSPEND: Verb.RESUME,
    Verb.PRIORITY: Verb.PRIORITY, Verb.QOS: Verb.QOS, Verb.COMMENT: Verb.COMMENT, Verb.DRAIN: Verb.UNDRAIN,
    Verb.WEIGHT: Verb.WEIGHT, Verb.FEATURES: Verb.FEATURES, Verb.STOP: Verb.START,
}  # fmt: skip
_OVER, _CHANGED, _OUT = "The job is over", "A person has changed it", "Its owner has taken it out"
_CUT, _RUNS = "Who paused it died before it had a begin time", "It runs where it was moved to"
_AGAIN = "Its scheduler has lost that it was let go"
_UNFIT = "It can never run where it was moved to, says the scheduler"
_STRAY = "stray"  # the plan of what nobody remembers having ordered
_WORDS = (Verb.QOS, Verb.FEATURES)  # go back to the words that stood there
_ONCE = (Verb.REQUEUE, Verb.RELEASE, Verb.RESUME, Verb.UNDRAIN, Verb.START)  # nothing stays in force


class Ordering:
    """Carries out orders. One for a site, used from one task at a time."""

    def __init__(self, notebook: Notebook, queues: Mapping[str, Steerable], memory: Memory, began: datetime) -> None:
        """``began``: when this process did; what was sent before it was another's."""
        self._notebook, self._queues, self._memory, self._began = notebook, queues, memory, began
        self._lists: dict[str, tuple[Jobs, int]] = {}  # by queue: its newest list, and the how manyth it is
        self._odd: dict[Key, int] = {}  # since which list an order is not seen as it was sent

    async def carry_out(self, plan: Plan, verdict: Verdict, mode: Mode, who: str, state: State, now: datetime) -> Outcome:
        """All tables in their order; of what failed in one, nothing more is ordered in the next. Each order stands for itself:
        one that fails leaves the others in force."""
        missing = [queue for queue, _ in plan.orders if queue not in self._queues]
        if missing:
            return Outcome(Stage.REFUSED, Message("Queue {queue} takes no orders", {"queue": missing[0]}))
        why = {
            "lever": plan.lever,
            "who": who,
            "mode": mode,
            "reason": message(plan.reason),
            "verdict": refusals(verdict),
            **promised(plan),
        }
        failed: set[tuple[str, str]] = set()
        done = total = 0
        for queue, table in plan.orders:
            for part in _parts(table, [i for i, one in enumerate(table.targets) if (queue, one) not in failed]):
                got = await self._send(plan.key, queue, part, now, why)
                done += got.count(Result.DONE, Result.SAME)
                total += len(part)
                failed |= {
                    (queue, one)
                    for one, result in zip(part.targets, got.results, strict=True)
                    if result not in (Result.DONE, Result.SAME)
                }
        stage = Stage.DONE if done or not total else Stage.FAILED
        self._memory.remember(plan.key, stage)
        said = Message("{done} of {total} orders are in force", {"done": done, "total": total}) if done < total else None
        return Outcome(stage, said)

    async def revert_due(
        self, now: datetime, all_now: bool = False, but_begins: bool = False, why: Message | None = None
    ) -> Sequence[Outcome]:
        """Take back what has reached its end (``all_now``: everything, for the reason ``why``; ``but_begins``: without begin
        times)."""
        due = [entry for entry in self._memory.ordered.values() if all_now or entry.stuck or entry.until <= now]
        stays = {name for name, queue in self._queues.items() if but_begins and queue.releases_itself}
        due = [one for one in due if not (one.verb in TIMED and one.queue in stays)]
        return await self._back(due, now, why if all_now else None)

    async def end(self, plan: str, now: datetime, why: Message) -> None:
        """Take back all that plans with keys that begin with ``plan`` ordered."""
        await self._back([entry for entry in self._memory.ordered.values() if entry.plan.startswith(plan)], now, why)

    async def release_strays(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """See ``energy.act.Desk.release_strays``."""
        terms = jobs.terms
        waits = (jobs.state == JobState.PENDING) & (terms.noted == 1)
        if queue not in self._queues or self._queues[queue].releases_itself:
            waits &= (terms.begin_s > now.timestamp()) | (terms.held == 1)
        known = {target for name, target in self._memory.ordered if name == queue}
        lost = [
            Ordered(_STRAY, queue, jobs.ids[i], Verb.BEGIN, float(terms.begin_s[i]), math.nan, "", now + MOVED_FOR, now)
            for i in np.flatnonzero(waits).tolist()
            if jobs.ids[i] not in known
        ]
        await self._back(lost, now, Message("It bears a note of ours, and no record says why"))

    async def follow(self, queue: str, jobs: Jobs, now: datetime) -> None:
        """See ``energy.act.Desk.follow``."""
        mine = [e for e in self._memory.ordered.values() if e.queue == queue and e.verb in OF_JOBS]
        over = [e for e in self._memory.over.values() if e.queue == queue]
        if not mine and not over:
            return
        last, count = self._lists.get(queue, (None, 0))
        self._lists[queue] = jobs, count + (jobs is not last)
        self._odd = {key: since for key, since in self._odd.items() if key in self._memory.ordered or key in self._memory.over}
        at = {job: i for i, job in enumerate(jobs.ids)}
        found: dict[str, list[Ordered]] = defaultdict(list)
        for entry in mine:
            i = at.get(entry.target, -1)
            if said := self._seen(entry, jobs, i, now):
                found[said].append(entry)
        self._note(Stage.REVERTED, found[_OVER], now, Message(_OVER))
        self._note(Stage.LEFT, found[_CHANGED], now, Message(_CHANGED))
        await self._back(found[_OUT], now, Message(_OUT), left=True)
        await self._back(found[_UNFIT], now, Message(_UNFIT), left=True)
        await self._back(found[_CUT], now, Message(_CUT))
        await self._back(found[_RUNS], now, Message(_RUNS))
        again = [entry for entry in over if self._is_back(entry, jobs, at.get(entry.target, -1), now)]
        await self._back(again, now, Message(_AGAIN))

    def _is_back(self, entry: Ordered, jobs: Jobs, i: int, now: datetime) -> bool:
        """Whether a waiting job (row ``i``; -1: there is none any more) has a begin time again, to the second, that was taken
        back: a controller that is killed forgets what it did last."""
        waits = i >= 0 and jobs.state[i] == JobState.PENDING and entry.value > now.timestamp()
        if not self._stays_odd(entry, waits and bool(abs(jobs.terms.begin_s[i] - entry.value) <= NEAR_S)):
            return False
        del self._odd[entry.queue, entry.target]  # should that not help, lists tell it anew
        return True

    def _seen(self, entry: Ordered, jobs: Jobs, i: int, now: datetime) -> str:
        """Why an order is over by what its job (row ``i``; -1: there is none any more) shows; empty where it is not."""
        if i < 0 or jobs.state[i] >= JobState.COMPLETED:
            return _OVER
        terms = jobs.terms
        if not jobs.deferrable[i] or (entry.moved and not terms.reach_s[i] > 0):
            return _OUT
        if jobs.state[i] != JobState.PENDING:
            return _RUNS if entry.verb is Verb.MOVE and jobs.state[i] == JobState.RUNNING else ""
        if entry.verb is Verb.PAUSE and entry.sent < self._began:
            return _CUT
        begin_s, partition = float(terms.begin_s[i]), jobs.partitions[i]
        if entry.verb in TIMED and not entry.sure:
            if not _is_half(entry):
                self._recognise(entry, begin_s, partition, now)
            return ""
        if entry.moved and terms.unfit[i] and partition == entry.where[1]:
            return _UNFIT
        odd = entry.verb in TIMED and _changed(entry, begin_s, partition, now)
        return _CHANGED if self._stays_odd(entry, odd) else ""

    def _stays_odd(self, entry: Ordered, odd: bool) -> bool:
        """Whether it was ``odd`` in ``SEEN_IN`` different lists, one after the other."""
        key, count = (entry.queue, entry.target), self._lists[entry.queue][1]
        if not odd:
            self._odd.pop(key, None)
            return False
        return count - self._odd.setdefault(key, count) >= SEEN_IN - 1

    def _recognise(self, entry: Ordered, begin_s: float, partition: str, now: datetime) -> None:
        """An order of a process that died: was it written?"""
        there = partition == entry.where[1] if entry.verb is Verb.MOVE else abs(begin_s - entry.value) <= NEAR_S
        if there:
            self._settled(entry, Result.SAME, "found so after a restart", now)
            return
        ours, since = entry.sent >= self._began, now - entry.sent
        if self._stays_odd(entry, since > PAUSED_FOR) if ours else since > CUT_FOR:
            self._settled(entry, Result.FAILED, "not found after a restart: it was never written", now)

    def _settled(self, entry: Ordered, result: Result, why: str, now: datetime) -> None:
        none = [None]
        record = {
            "stage": Stage.DONE, "plan": entry.plan, "queue": entry.queue, "verb": entry.verb, "targets": [entry.target],
            "results": [result], "before": none, "after": none, "said": [entry.said], "said_why": [why],
        }  # fmt: skip
        self._write(Stage.DONE, record, now)

    # sending

    async def _send(self, plan: str, queue: str, table: Orders, now: datetime, why: Mapping[str, Any]) -> Receipts:
        """Write down, send, write down what came of it."""
        known = [self._memory.ordered.get((queue, target)) for target in table.targets]
        # what an older order of ours holds is what must be there, unless the plan says so itself
        timed = table.verb in TIMED
        expected = np.array([e.value if timed and e and e.sure and e.verb in TIMED and e.value else math.nan for e in known])
        if table.expected is not None:
            expected = np.where(np.isnan(expected), table.expected, expected)
        table = orders(
            table.verb, table.targets, _not_before(table, known, now), table.texts, undo=table.undo, expected=expected,
            where=table.where, would_s=table.would_s,
        )  # fmt: skip
        head = {"plan": plan, "queue": queue, "verb": table.verb, "targets": list(table.targets), **_places(table.where)}
        values, until = table.values.tolist(), [_until(table, i, now).isoformat() for i in range(len(table))]
        before = [None if math.isnan(value) else value for value in expected.tolist()]
        texts = list(table.texts)
        begun = {"stage": Stage.BEGUN, **head, "values": values, "before": before, "until": until, "texts": texts, **why}
        if table.would_s is not None:
            begun["would_s"] = table.would_s.tolist()
        self._write(Stage.BEGUN, begun, now)
        for target in table.targets:
            self._odd.pop((queue, target), None)
        got = await self._asked(queue, table, now)
        self._write(Stage.DONE, {"stage": Stage.DONE, **head, **_came(got)}, now)
        for target in table.targets:
            entry = self._memory.ordered.get((queue, target))
            if entry is not None and not entry.stuck and (table.verb in _ONCE or _nothing_left(entry, now)):
                del self._memory.ordered[queue, target]
        return got

    async def _asked(self, queue: str, table: Orders, now: datetime) -> Receipts:
        try:
            return await self._queues[queue].order(table, now)
        except SourceError as error:
            n = len(table)
            nan = np.full(n, math.nan)
            return Receipts([Result.FAILED] * n, nan, nan, [""] * n, [str(error)] * n)

    async def _back(
        self, entries: Iterable[Ordered], now: datetime, why: Message | None, *, left: bool = False
    ) -> list[Outcome]:
        """Take orders back, table by table; what has no way back is let go of."""
        groups: dict[tuple[str, Verb], list[Ordered]] = defaultdict(list)
        for entry in entries:  # what was moved goes home, whatever it was told since
            groups[entry.queue, Verb.MOVE if entry.moved else entry.verb].append(entry)
        parts = [(key, group[k : k + BATCH]) for key, group in groups.items() for k in range(0, len(group), BATCH)]
        return [await self._back_one(*key, part, now, why, left) for key, part in parts]

    async def _back_one(
        self, queue: str, verb: Verb, group: list[Ordered], now: datetime, why: Message | None, left: bool
    ) -> Outcome:
        if verb not in _BACK or queue not in self._queues:
            self._note(Stage.REVERTED, group, now, Message("There is no way back, or no such queue any more"))
            return Outcome(Stage.REVERTED)
        fresh = [entry for entry in group if not entry.stuck]
        if fresh:  # a further try to move what does not move is no news
            self._note(Stage.REVERTING, fresh, now, why)
        got = await self._asked(queue, _backwards(verb, group, now, left), now)
        ends: dict[tuple[Stage, str], list[Ordered]] = defaultdict(list)
        for entry, result, said in zip(group, got.results, got.why, strict=True):
            # what is not as it was read, was let go since then: the owner's begin time may be back already
            gone = entry.plan == _STRAY and result is Result.REFUSED
            ends[Stage.REVERTED if gone else _end_of(result, left), said].append(entry)
        stuck = False
        for (stage, said), ended in ends.items():
            fresh = [entry for entry in ended if not (stage is Stage.REVERT_FAILED and entry.stuck)]
            if stage is Stage.REVERT_FAILED:
                stuck = True
                log.error("%d orders at %s cannot be taken back: %s", len(ended), queue, said)
            if fresh:
                self._note(stage, fresh, now, Message("{said}", {"said": said}) if said else why)
        return Outcome(Stage.REVERT_FAILED if stuck else Stage.REVERTED, why)

    # records

    def _note(self, stage: Stage, entries: Sequence[Ordered], now: datetime, why: Message | None) -> None:
        groups: dict[tuple[str, str, Verb], list[Ordered]] = defaultdict(list)
        for entry in entries:
            groups[entry.plan, entry.queue, entry.verb].append(entry)
        for (plan, queue, verb), group in groups.items():
            head = {"stage": stage, "plan": plan, "queue": queue, "verb": verb, "targets": [entry.target for entry in group]}
            values, before = [entry.value for entry in group], [entry.before for entry in group]
            moved = _places([entry.where for entry in group]) if any(entry.moved for entry in group) else {}
            self._write(stage, {**head, **moved, "values": values, "before": before, "why": message(why)}, now)

    def _write(self, stage: Stage, record: Mapping[str, Any], now: datetime) -> None:
        """Noted first; then it counts. What is about to begin must be kept."""
        kept = plain(dict(record))
        write = self._notebook.keep if stage is Stage.BEGUN else self._notebook.tell
        write([(now, kept)])
        take(self._memory, stage, now, kept)


def _parts(table: Orders, rows: list[int]) -> Iterable[Orders]:
    """The rows of a table in parts of one record's length."""
    for k in range(0, len(rows), BATCH):
        at = rows[k : k + BATCH]
        targets, texts = [table.targets[i] for i in at], [table.texts[i] for i in at]
        expected = None if table.expected is None else table.expected[at]
        where = [table.where[i] for i in at] if table.where else ()
        would_s = None if table.would_s is None else table.would_s[at]
        values = table.values[at]
        yield orders(table.verb, targets, values, texts, undo=table.undo, expected=expected, where=where, would_s=would_s)


def _until(table: Orders, i: int, now: datetime) -> datetime:
    """When an order is over at the latest: a begin time at its time, a pause soon unless a begin time follows."""
    if table.verb in TIMED:
        begin = max(datetime.fromtimestamp(float(table.values[i]), now.tzinfo), now)
        return begin + MOVED_FOR if table.verb is Verb.MOVE else begin
    return now + (PAUSED_FOR if table.verb is Verb.PAUSE else HELD_FOR)


def _not_before(table: Orders, known: Sequence[Ordered | None], now: datetime) -> Floats:
    """The values of a table; a begin time never before the one that the owner had set, however often ours has changed."""
    if table.verb not in TIMED:
        return table.values
    own = np.array([entry.before if entry and entry.verb in TIMED else math.nan for entry in known])
    return np.where(own > now.timestamp(), np.fmax(table.values, own), table.values)


def _nothing_left(entry: Ordered, now: datetime) -> bool:
    """A begin time that is over before it was read back."""
    return entry.verb is Verb.BEGIN and not entry.moved and not entry.value > now.timestamp()


def _changed(entry: Ordered, begin_s: float, partition: str, now: datetime) -> bool:
    """Whether somebody has changed a begin time or a partition of ours. The begin time of a job that rests after a requeue may
    be later than asked."""
    if entry.until <= now or now - entry.sent < PAUSED_FOR:
        return False
    elsewhere = entry.moved and partition != entry.where[1]
    return elsewhere or (entry.value > now.timestamp() and not abs(begin_s - entry.value) <= NEAR_S)


def _places(where: Sequence[Where]) -> dict[str, Any]:
    """Partitions as a record has them, where there are any."""
    return {"where": [list(one) for one in where]} if where else {}


def _backwards(verb: Verb, group: Sequence[Ordered], now: datetime, left: bool) -> Orders:
    """The orders that take ``group`` back; a value that a person has changed since is not touched."""
    targets = [entry.target for entry in group]
    texts = [entry.said if verb in _WORDS else "" for entry in group]
    before = np.array([entry.before for entry in group])
    values: np.ndarray[Any, np.dtype[np.float64]] = before
    if _BACK[verb] in TIMED:
        own = np.array([entry.moved or entry.verb in TIMED for entry in group])
        values = np.where(own & (before > now.timestamp()), before, 0.0)
    guarded = verb in (*TIMED, Verb.PRIORITY, Verb.WEIGHT) and not left
    free = np.array([entry.until <= now or not _is_value(entry, now) for entry in group])
    expected = np.where(free, math.nan, [entry.value for entry in group]) if guarded else None
    where = [(entry.where[1], entry.where[0]) for entry in group] if verb is Verb.MOVE else ()
    return orders(_BACK[verb], targets, values, texts, undo=True, expected=expected, where=where)


def _is_value(entry: Ordered, now: datetime) -> bool:
    """Whether what a job shows must be what it was told: not after an order that failed by half, or a move without a time."""
    if entry.verb is Verb.MOVE:
        return entry.value > now.timestamp() and not entry.stuck
    return not _is_half(entry)


def _is_half(entry: Ordered) -> bool:
    """Whether a part of an order may be in force, whatever its job shows: it is taken back until that is read back."""
    return entry.stuck and not entry.sure and entry.verb is not Verb.MOVE


def _end_of(result: Result, left: bool) -> Stage:
    if result in (Result.DONE, Result.SAME, Result.GONE):
        return Stage.LEFT if left else Stage.REVERTED
    return Stage.LEFT if result is Result.REFUSED else Stage.REVERT_FAILED


def _came(got: Receipts) -> dict[str, Any]:
    return {
        "results": list(got.results),
        "before": got.before.tolist(),
        "after": got.after.tolist(),
        "said": list(got.said),
        "said_why": list(got.why),
    }
