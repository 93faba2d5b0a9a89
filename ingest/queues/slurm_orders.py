"""Orders to Slurm: each looked at, written only where it is not so already, and read back.

Many orders are looked at and read back by one list of all jobs, so that each costs slurmctld one call: asking for a job by
itself costs it as much as changing it. Between the look and the write of a job lie ``TOGETHER`` writes at most, half a second,
and more where the machine is busy: what its owner changes within that may be written over, and shows in the audit. So up to
``ALONE`` orders are each looked at by themselves, just before the write: an owner's ``icctwin:off`` must not be lost.

A begin time is the order of choice: it releases itself, and the job keeps its place (Slurm 22.05 gives a job that was held and
released a new, lower priority). REST does what its version can; what it lacks (suspend, resume, requeue, and up to v0.0.40
nodes) goes by command where the configuration allows that.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_nodes import order_node
from ingest.queues.slurm_records import Deferring, id_of, job_record, number
from ingest.queues.slurm_rest import JobsRest, SlurmRest
from ingest.queues.slurm_verbs import HOW, NEAR_S, OPTIONS, SAYS_BEFORE, WAITS, Ask, How, JobNow
from twin.errors import SourceError
from twin.job import JobState
from twin.order import OF_JOBS, Orders, Receipt, Receipts, Result, Verb, receipts

AT_ONCE = 8  # calls in flight: more gains nothing, slurmctld takes one writer at a time
TOGETHER = 500  # orders between two looks at the list
ALONE = 64  # orders of one table that are looked at one by one
RECENT_S = 2.0  # how old a list may be that the next of them are looked at by: it was their forerunners' reading back
LISTED_FOR_ONE = 8  # jobs of a list that cost what one costs that is asked for by itself (22.05: 0.6 and 5 ms)
PAUSE_LOOK_S = 0.5
SETTLE_LOOK_S = 1.0
_JOB = re.compile(r"\d+(_\d+)?")


class Pausing(Deferring, Protocol):
    """The options that orders need beside."""

    @property
    def pause_signal(self) -> str:
        """What a job agreed to be paused by."""
        ...

    @property
    def pause_s(self) -> float:
        """How long a job may take to save itself."""
        ...

    @property
    def restart_s(self) -> float:
        """How long a requeued job must not start."""
        ...


@dataclass(frozen=True, slots=True)
class _Sent:
    """An order that was written and is to be read back: what was there before, and a clause of what was wrong."""

    before: float
    said: str
    wrong: str


@dataclass(slots=True)
class _Seen:
    """The last list of jobs, by their number, and when it was asked for (of the loop's clock)."""

    jobs: Mapping[str, Any] = field(default_factory=dict)
    at_s: float = -math.inf


class SlurmOrders:
    """The write side of one cluster. ``rest``, ``commands``: the ways there are, one at least; ``numbers``: id of a job ->
    its number, "" of a task of an array that is not known: it is looked for in a fresh list, and never is the order its
    array's."""

    def __init__(
        self, options: Pausing, rest: JobsRest | None, commands: Commands | None, numbers: Callable[[str], str]
    ) -> None:
        self._options, self._rest, self._commands, self._numbers = options, rest, commands, numbers

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Carry ``orders`` out, ``AT_ONCE`` at a time."""
        n, loop = len(orders), asyncio.get_running_loop()
        if orders.verb not in OF_JOBS:
            rest = self._rest if isinstance(self._rest, SlurmRest) else None

            async def of_node(i: int) -> Receipt:
                value, text = float(orders.values[i]), orders.texts[i]
                return await order_node(rest, self._commands, orders.verb, orders.targets[i], value, text)

            return _in_turn(await _each(of_node, range(n)))
        got: dict[int, Any] = {}
        began_s, seen = loop.time(), _Seen()
        for k in range(0, n, TOGETHER):
            # a thousand orders take seconds: "now" is when each is looked at
            at = now + timedelta(seconds=loop.time() - began_s)
            got |= await self._of_jobs(orders, range(k, min(k + TOGETHER, n)), seen, at)
        return _in_turn(got)

    # jobs

    async def _of_jobs(self, orders: Orders, part: range, seen: _Seen, now: datetime) -> dict[int, Any]:
        """Receipts by position: look at all, write each that is to be written, look again at those."""
        how, loop = HOW[orders.verb], asyncio.get_running_loop()
        began_s = loop.time()
        jobs = [i for i in part if _JOB.fullmatch(orders.targets[i])]
        numbers, gone = await self._numbered({i: orders.targets[i] for i in jobs}, seen)
        asks = {
            i: Ask(
                orders.verb, numbers[i], float(orders.values[i]), orders.texts[i], now.timestamp(),
                *orders.where[i : i + 1],
            )
            for i in jobs
            if i in numbers
        }  # fmt: skip
        wrong = {i: Receipt(Result.FAILED, why=f"{orders.targets[i][:40]!r} is no number of a job") for i in part}
        if self._rest is not None and self._rest.alone and len(orders) <= ALONE:
            sent = await _each(lambda i: self._sent_alone(orders, i, asks[i]), asks)
        else:
            looked = await self._looked(asks, seen, RECENT_S)
            sent = await _each(lambda i: self._sent(orders, i, asks[i], looked[i]), asks)
        open_ = {i: asks[i] for i, one in sent.items() if isinstance(one, _Sent)}
        leaves = orders.verb in (Verb.PAUSE, Verb.REQUEUE)
        after = await (self._left(open_, sent) if leaves else self._settled(open_, sent, seen, how))

        read_s = now.timestamp() + loop.time() - began_s  # by now one that was to start soon may have

        async def came(i: int) -> Receipt:
            return self._came(replace(asks[i], now_s=read_s), how, sent[i], after[i])

        return {**wrong, **gone, **sent, **await _each(came, open_)}

    async def _numbered(self, targets: Mapping[int, str], seen: _Seen) -> tuple[dict[int, str], dict[int, Receipt]]:
        """Numbers of jobs by position; and what is to be said of those that have none."""
        numbers = {i: self._numbers(target) for i, target in targets.items()}
        unknown = [i for i, found in numbers.items() if not found]
        if unknown:
            try:
                listed = {id_of(one): known for known, one in (await self._list(seen, RECENT_S)).items()}
            except (SourceError, KeyError, TypeError, ValueError, AttributeError) as error:
                what = str(error) if isinstance(error, SourceError) else f"an answer of a shape that is not known ({error})"
                no = Receipt(Result.FAILED, why=what)
                return {i: found for i, found in numbers.items() if found}, dict.fromkeys(unknown, no)
            numbers |= {i: listed.get(targets[i], "") for i in unknown}
        gone = Receipt(Result.GONE, why="there is no such task of the array any more")
        return (
            {i: found for i, found in numbers.items() if found},
            {i: gone for i, found in numbers.items() if not found},
        )

    async def _sent_alone(self, orders: Orders, i: int, ask: Ask) -> "Receipt | _Sent":
        return await self._sent(orders, i, ask, await self._one(ask.number))

    async def _sent(self, orders: Orders, i: int, ask: Ask, looked: Any) -> "Receipt | _Sent":
        """What is to be said at once of one job, or that it was written."""
        if isinstance(looked, Receipt):
            return looked
        if looked is not None and "_" in orders.targets[i] and id_of(looked) != orders.targets[i]:
            looked = None  # the number is now another's: the array's, or of its last task
        job, how = self._told(looked), HOW[orders.verb]
        no = self._objection(orders, i, job, how)
        if no is not None or job is None:
            return no or Receipt(Result.GONE)
        before, said = how.read(job), str(job.raw.get(SAYS_BEFORE.get(ask.verb, "comment")) or "")
        if how.same(job, ask):
            return Receipt(Result.SAME, before, before, said)
        return _Sent(before, said, await self._write(job, ask, how))

    def _came(self, ask: Ask, how: How, sent: "_Sent", looked: Any) -> Receipt:
        """What one job shows after it was written."""
        if isinstance(looked, Receipt):
            return Receipt(Result.FAILED, sent.before, said=sent.said, why=f"it could not be read back: {looked.why}")
        after = self._told(looked)
        if after is not None and how.same(after, ask):  # whatever was said: what is so, is so
            return Receipt(Result.DONE, sent.before, how.read(after), sent.said)
        if after is None or after.state not in how.states:
            return Receipt(Result.GONE, sent.before, said=sent.said, why=sent.wrong or "it ended meanwhile")
        shown = how.read(after)
        why = sent.wrong or f"Slurm took the order and shows {shown:g} instead"
        return Receipt(Result.FAILED, sent.before, shown, sent.said, why)

    def _objection(self, orders: Orders, i: int, job: JobNow | None, how: How) -> Receipt | None:
        """Why it is not to be touched."""
        if job is None:
            return Receipt(Result.GONE, why="there is no such job any more")
        if job.state not in how.states:
            return Receipt(Result.GONE, how.read(job), why=f"it is {job.state.name.lower()}")
        if orders.verb in (Verb.BEGIN, Verb.MOVE) and job.state != JobState.PENDING and not orders.undo:
            return Receipt(Result.GONE, how.read(job), why=f"it is {job.state.name.lower()}")
        if not orders.undo and not job.agreed:
            return Receipt(Result.REFUSED, how.read(job), why="its owner has not agreed, or not any more")
        if orders.verb in (Verb.PAUSE, Verb.SUSPEND, Verb.REQUEUE) and not (orders.undo or job.interruptible):
            return Receipt(Result.REFUSED, how.read(job), why="its owner has not agreed to be interrupted")
        if orders.verb is Verb.MOVE and job.state == WAITS:
            here = str(job.raw.get("partition"))
            if not (orders.undo or job.reach_s > 0):
                return Receipt(Result.REFUSED, how.read(job), why="its owner has not agreed that it runs elsewhere")
            if here not in orders.where[i]:
                return Receipt(Result.REFUSED, how.read(job), why=f"a person has moved it to {here[:80]}")
        wanted = math.nan if orders.expected is None else float(orders.expected[i])
        if not math.isnan(wanted) and job.state == WAITS and abs(how.read(job) - wanted) > NEAR_S:
            return Receipt(Result.REFUSED, how.read(job), why=f"a person has changed it from {wanted:g} to {how.read(job):g}")
        return None

    async def _write(self, job: JobNow, ask: Ask, how: How) -> str:
        """Write; a clause of what is wrong."""
        if how.body is not None:
            body = how.body(job, ask)
            return await (self._rest.update_job(ask.number, body) if self._rest else self._update_by_command(ask.number, body))
        if ask.verb is Verb.PAUSE:
            name = self._options.pause_signal
            if self._rest:
                return await self._rest.signal(ask.number, name)
            return await self._by_command("scancel", f"--signal={name}", "--batch", ask.number)
        return await self._by_command("scontrol", *how.words, ask.number)

    async def _update_by_command(self, job: str, body: Mapping[str, Any]) -> str:
        given = {OPTIONS[name]: value for name, value in body.items() if name in OPTIONS}
        if "StartTime" in given:
            given["StartTime"] = datetime.fromtimestamp(given["StartTime"], UTC).strftime("%Y-%m-%dT%H:%M:%S")
        pairs = [f"{name}={value:.0f}" if isinstance(value, float) else f"{name}={value}" for name, value in given.items()]
        lines = [("scontrol", "update", f"JobId={job}", *pairs)] if pairs else []
        if "hold" in body:  # a job is let go last: it would start before it has its begin time
            lines = [("scontrol", "hold", job), *lines] if body["hold"] else [*lines, ("scontrol", "release", job)]
        for line in lines:
            if wrong := await self._by_command(*line):
                return wrong
        return ""

    async def _by_command(self, *line: str) -> str:
        if self._commands is None:
            return f"slurmrestd has no call for {line[1]}; allow it with commands = true"
        try:
            await self._commands.run(*line)
        except SourceError as error:
            return str(error)
        return ""

    async def _looked(self, asks: Mapping[int, Ask], seen: _Seen, recent_s: float = 0.0) -> dict[int, Any]:
        """Slurm's record of each job, None where there is none, a receipt where it cannot be read: by one list where that costs
        less (``recent_s``: or an older list will do), else, and what the list has not, one by one."""
        rest, listed = self._rest, None
        many = rest is None or not rest.alone or len(asks) * LISTED_FOR_ONE > max(rest.listed, LISTED_FOR_ONE)
        if asks and many:
            try:
                listed = await self._list(seen, recent_s)
            except SourceError as error:
                if rest is None:
                    return dict.fromkeys(asks, Receipt(Result.FAILED, why=str(error)))
        if listed is not None and rest is None:
            return {i: listed.get(ask.number) for i, ask in asks.items()}
        found = {i: listed[ask.number] for i, ask in asks.items() if listed and ask.number in listed}
        return {**found, **await _each(lambda i: self._one(asks[i].number), [i for i in asks if i not in found])}

    async def _list(self, seen: _Seen, recent_s: float) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        if loop.time() - seen.at_s > recent_s:
            began_s = loop.time()
            seen.jobs = {f"{number(one.get('job_id')):.0f}": one for one in await self._all()}
            seen.at_s = began_s
        return seen.jobs

    async def _one(self, job: str) -> Any:
        return await self._rest.job(job) if self._rest else None

    def _told(self, raw: Any) -> JobNow | None:
        if raw is None:
            return None
        record = job_record(raw, self._options)
        return JobNow(raw, record.state, record.deferrable, record.interruptible, record.reach_s, self._options.restart_s)

    async def _all(self) -> Any:
        """All jobs."""
        if self._rest is not None:
            return await self._rest.jobs()
        if self._commands is None:
            raise SourceError("there is no way to Slurm; give url, or commands = true")
        return await self._commands.jobs()

    async def _settled(self, asks: Mapping[int, Ask], sent: Mapping[int, Any], seen: _Seen, how: How) -> dict[int, Any]:
        """The jobs once each is as ordered, or after the time that a write may take."""
        after, wait_s = await self._looked(asks, seen), self._rest.settle_s if self._rest else 0.0
        for _ in range(math.ceil(wait_s / SETTLE_LOOK_S)):
            open_ = {i: asks[i] for i in asks if not sent[i].wrong and not self._is_so(after[i], asks[i], how)}
            if not open_:
                break
            await asyncio.sleep(SETTLE_LOOK_S)
            after |= await self._looked(open_, seen)
        return after

    def _is_so(self, looked: Any, ask: Ask, how: How) -> bool:
        try:
            job = self._told(None if isinstance(looked, Receipt) else looked)
            return job is not None and how.same(job, ask)
        except (KeyError, TypeError, ValueError, AttributeError):
            return True  # of a shape that is not known: said when its receipt is made

    async def _left(self, asks: Mapping[int, Ask], sent: Mapping[int, Any]) -> dict[int, Any]:
        """The jobs once each has saved itself, ended and waits, or after the time that they have for that."""
        after = await self._looked(asks, _Seen())
        for _ in range(math.ceil(self._options.pause_s / PAUSE_LOOK_S)):
            run = {i: asks[i] for i in asks if not sent[i].wrong and self._runs(after[i])}
            if not run:
                break
            await asyncio.sleep(PAUSE_LOOK_S)
            after |= await self._looked(run, _Seen())
        return after

    def _runs(self, looked: Any) -> bool:
        try:
            return isinstance(looked, Mapping) and job_record(looked, self._options).state == JobState.RUNNING
        except (KeyError, TypeError, ValueError, AttributeError):
            return False  # of a shape that is not known: said when its receipt is made


async def _each(call: Callable[[int], Awaitable[Any]], keys: Iterable[int]) -> dict[int, Any]:
    """What ``call`` gives for each key, ``AT_ONCE`` at a time; a receipt that says what is wrong where it fails."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def bounded(i: int) -> Any:
        async with limit:
            try:
                return await call(i)
            except SourceError as error:
                return Receipt(Result.FAILED, why=str(error))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                return Receipt(Result.FAILED, why=f"an answer of a shape that is not known ({error})")

    order = list(keys)
    return dict(zip(order, await asyncio.gather(*map(bounded, order)), strict=True))


def _in_turn(got: Mapping[int, Any]) -> Receipts:
    return receipts([got[i] for i in sorted(got)])
