"""Orders to Slurm: each looked at, written only where it is not so already, and read back.

A begin time is the order of choice: it releases itself, and the job keeps its place (Slurm 22.05 gives a job that was held and
released a new, lower priority). REST does what its version can; what it lacks (suspend, resume, requeue, and up to v0.0.40
nodes) goes by command where the configuration allows that.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ingest.queues.mark import with_note
from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_nodes import order_node
from ingest.queues.slurm_records import Deferring, comment_of, is_held, job_record, number
from ingest.queues.slurm_rest import SlurmRest
from twin.errors import SourceError
from twin.job import JobState
from twin.order import OF_JOBS, Orders, Receipt, Receipts, Result, Verb, receipts

AT_ONCE = 8  # calls in flight: more gains nothing, slurmctld takes one writer at a time
NEAR_S = 2.0  # how far a time may be off when it is read back
PAUSE_LOOK_S = 0.5
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
class _Job:
    """A job as it stands: its record of Slurm's, and what ours says of it."""

    raw: Any
    state: JobState
    agreed: bool
    interruptible: bool

    rest_s: float

    @property
    def begin_s(self) -> float:
        return number(self.raw.get("eligible_time")) or math.nan

    @property
    def soonest_s(self) -> float:
        """From when it may start at all: Slurm kills a requeued job that starts before its old credential has run out
        ("Job credential revoked"), and by a begin time of ours it would."""
        again = number(self.raw.get("restart_cnt")) > 0
        return number(self.raw.get("submit_time")) + self.rest_s if again else 0.0


@dataclass(frozen=True, slots=True)
class _Ask:
    """One order to one job."""

    verb: Verb
    number: str
    value: float
    text: str
    now_s: float

    def begin_s(self, job: _Job) -> float:
        """The time to write: "as soon as it can" is a moment that is over."""
        return max(self.value if self.value > 0 else math.floor(self.now_s) - 1, math.ceil(job.soonest_s))


@dataclass(frozen=True, slots=True)
class _How:
    """How a verb reads, whether it is so already, what to write, and in which states of a job."""

    read: Callable[[_Job], float]
    same: Callable[[_Job, _Ask], bool]
    body: Callable[[_Job, _Ask], Mapping[str, Any]] | None
    states: tuple[JobState, ...] = (JobState.PENDING,)
    words: tuple[str, ...] = ()  # scontrol's, where REST has none


def _note(job: _Job, ask: _Ask) -> dict[str, str]:
    """The comment as it should be; the words of an empty order are taken back."""
    return {"comment": with_note(comment_of(job.raw), ask.text)}


def _comment_same(job: _Job, ask: _Ask) -> bool:
    return comment_of(job.raw) == with_note(comment_of(job.raw), ask.text)


def _begin_same(job: _Job, ask: _Ask) -> bool:
    if job.state != JobState.PENDING:
        return not ask.value > ask.now_s + NEAR_S and _comment_same(job, ask)  # it may start: and has
    if is_held(job.raw) or not _comment_same(job, ask):
        return False
    if (wanted_s := ask.begin_s(job)) > ask.now_s + NEAR_S:
        return abs(job.begin_s - wanted_s) <= NEAR_S
    return not job.begin_s > ask.now_s + NEAR_S


def _begin_body(job: _Job, ask: _Ask) -> dict[str, Any]:
    if job.state != JobState.PENDING:
        return _note(job, ask)
    return {**({"hold": False} if is_held(job.raw) else {}), "begin_time": ask.begin_s(job), **_note(job, ask)}


def _no_read(job: _Job) -> float:
    return math.nan


_WAITS, _RUNS, _STANDS = JobState.PENDING, JobState.RUNNING, JobState.SUSPENDED
_HOW: Mapping[Verb, _How] = {
    Verb.BEGIN: _How(lambda job: job.begin_s, _begin_same, _begin_body, (_WAITS, _RUNS, _STANDS)),
    Verb.HOLD: _How(
        lambda job: float(is_held(job.raw)),
        lambda job, ask: is_held(job.raw) and _comment_same(job, ask),
        lambda job, ask: {"hold": True, **_note(job, ask)},
    ),
    Verb.RELEASE: _How(
        lambda job: float(is_held(job.raw)),
        lambda job, ask: not is_held(job.raw) and _comment_same(job, ask),
        lambda job, ask: {"hold": False, **_note(job, ask)},
        (_WAITS, _RUNS),
    ),
    Verb.PRIORITY: _How(
        lambda job: number(job.raw.get("priority")),
        lambda job, ask: number(job.raw.get("priority")) == ask.value,
        lambda job, ask: {"priority": ask.value},
    ),
    Verb.QOS: _How(_no_read, lambda job, ask: job.raw.get("qos") == ask.text, lambda job, ask: {"qos": ask.text}),
    Verb.COMMENT: _How(_no_read, _comment_same, _note, (_WAITS, _RUNS, _STANDS)),
    Verb.PAUSE: _How(lambda job: float(job.state == _RUNS), lambda job, ask: job.state == _WAITS, None, (_RUNS, _WAITS)),
    Verb.REQUEUE: _How(
        lambda job: number(job.raw.get("restart_cnt")),
        lambda job, ask: job.state == _WAITS,
        None,
        (_RUNS, _WAITS),
        ("requeue",),
    ),
    Verb.SUSPEND: _How(
        lambda job: float(job.state == _STANDS), lambda job, ask: job.state == _STANDS, None, (_RUNS, _STANDS), ("suspend",)
    ),
    Verb.RESUME: _How(
        lambda job: float(job.state == _STANDS), lambda job, ask: job.state == _RUNS, None, (_RUNS, _STANDS), ("resume",)
    ),
}  # fmt: skip
_SAYS_BEFORE = {Verb.QOS: "qos"}
_OPTIONS = {"begin_time": "StartTime", "comment": "Comment", "priority": "Priority", "qos": "QOS"}


class SlurmOrders:
    """The write side of one cluster. ``rest``, ``commands``: the ways there are, one at least; ``numbers``: id of a job ->
    its number, where those differ (tasks of arrays)."""

    def __init__(
        self, options: Pausing, rest: SlurmRest | None, commands: Commands | None, numbers: Callable[[str], str]
    ) -> None:
        self._options, self._rest, self._commands, self._numbers = options, rest, commands, numbers

    async def order(self, orders: Orders, now: datetime) -> Receipts:
        """Carry ``orders`` out, ``AT_ONCE`` at a time."""
        limit = asyncio.Semaphore(AT_ONCE)
        of_jobs = orders.verb in OF_JOBS
        began_s = asyncio.get_running_loop().time()
        listed = await self._listed() if of_jobs and not self._rest else None

        async def bounded(i: int) -> Receipt:
            async with limit:
                try:
                    if of_jobs:
                        # a thousand orders take seconds: "now" is when each is written
                        gone = timedelta(seconds=asyncio.get_running_loop().time() - began_s)
                        return await self._of_job(orders, i, now + gone, listed)
                    value, text = float(orders.values[i]), orders.texts[i]
                    return await order_node(self._rest, self._commands, orders.verb, orders.targets[i], value, text)
                except SourceError as error:
                    return Receipt(Result.FAILED, why=str(error))
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    return Receipt(Result.FAILED, why=f"an answer of a shape that is not known ({error})")

        return receipts(await asyncio.gather(*map(bounded, range(len(orders)))))

    # jobs

    async def _of_job(self, orders: Orders, i: int, now: datetime, listed: Mapping[str, Any] | None) -> Receipt:
        target, how = orders.targets[i], _HOW[orders.verb]
        if not _JOB.fullmatch(target):
            return Receipt(Result.FAILED, why=f"{target[:40]!r} is no number of a job")
        ask = _Ask(orders.verb, self._numbers(target), float(orders.values[i]), orders.texts[i], now.timestamp())
        job = self._told(listed.get(ask.number)) if listed is not None else await self._job(ask.number)
        no = self._objection(orders, i, job, how)
        if no is not None or job is None:
            return no or Receipt(Result.GONE)
        before, said = how.read(job), str(job.raw.get(_SAYS_BEFORE.get(ask.verb, "comment")) or "")
        if how.same(job, ask):
            return Receipt(Result.SAME, before, before, said)
        wrong = await self._write(job, ask, how)
        after = await self._left(ask) if ask.verb in (Verb.PAUSE, Verb.REQUEUE) and not wrong else await self._job(ask.number)
        if after is not None and how.same(after, ask):  # whatever was said: what is so, is so
            return Receipt(Result.DONE, before, how.read(after), said)
        if after is None or after.state not in how.states:
            return Receipt(Result.GONE, before, said=said, why=wrong or "it ended meanwhile")
        shown = how.read(after)
        return Receipt(Result.FAILED, before, shown, said, wrong or f"Slurm took the order and shows {shown:g} instead")

    def _objection(self, orders: Orders, i: int, job: _Job | None, how: _How) -> Receipt | None:
        """Why it is not to be touched."""
        if job is None:
            return Receipt(Result.GONE, why="there is no such job any more")
        if job.state not in how.states:
            return Receipt(Result.GONE, how.read(job), why=f"it is {job.state.name.lower()}")
        if orders.verb is Verb.BEGIN and job.state != JobState.PENDING and not orders.undo:
            return Receipt(Result.GONE, how.read(job), why=f"it is {job.state.name.lower()}")
        if not orders.undo and not job.agreed:
            return Receipt(Result.REFUSED, how.read(job), why="its owner has not agreed, or not any more")
        if orders.verb in (Verb.PAUSE, Verb.SUSPEND, Verb.REQUEUE) and not (orders.undo or job.interruptible):
            return Receipt(Result.REFUSED, how.read(job), why="its owner has not agreed to be interrupted")
        wanted = math.nan if orders.expected is None else float(orders.expected[i])
        if not math.isnan(wanted) and job.state == _WAITS and abs(how.read(job) - wanted) > NEAR_S:
            return Receipt(Result.REFUSED, how.read(job), why=f"a person has changed it from {wanted:g} to {how.read(job):g}")
        return None

    async def _write(self, job: _Job, ask: _Ask, how: _How) -> str:
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
        given = {_OPTIONS[name]: value for name, value in body.items() if name in _OPTIONS}
        if "StartTime" in given:
            given["StartTime"] = datetime.fromtimestamp(given["StartTime"]).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
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

    async def _job(self, job: str) -> _Job | None:
        return self._told(await self._rest.job(job) if self._rest else (await self._listed()).get(job))

    def _told(self, raw: Any) -> _Job | None:
        if raw is None:
            return None
        record = job_record(raw, self._options)
        return _Job(raw, record.state, record.deferrable, record.interruptible, self._options.restart_s)

    async def _listed(self) -> Mapping[str, Any]:
        """All jobs by number, by command."""
        if self._commands is None:
            raise SourceError("there is no way to Slurm; give url, or commands = true")
        return {f"{number(one.get('job_id')):.0f}": one for one in await self._commands.jobs()}

    async def _left(self, ask: _Ask) -> _Job | None:
        """The job once it has saved itself, ended and waits, or after the time that it has for that."""
        job = await self._job(ask.number)
        for _ in range(math.ceil(self._options.pause_s / PAUSE_LOOK_S)):
            if job is None or job.state != JobState.RUNNING:
                break
            await asyncio.sleep(PAUSE_LOOK_S)
            job = await self._job(ask.number)
        return job
