"""What each order to a Slurm job reads, when it is so already, and what is written: the verbs of ``slurm_orders``.

A move is one write of partition, begin time and words, so that a job is never elsewhere without the time that it was moved for.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.queues.mark import with_note
from ingest.queues.slurm_records import LAGS, NO_SIBLING, comment_of, is_held, number
from twin.job import JobState
from twin.order import Verb, Where

NEAR_S = 2.0  # how far a time may be off when it is read back


@dataclass(frozen=True, slots=True)
class JobNow:
    """A job as it stands: its record of Slurm's, and what ours says of it."""

    raw: Any
    state: JobState
    agreed: bool
    interruptible: bool
    reach_s: float
    rest_s: float

    @property
    def begin_s(self) -> float:
        """From when it may start (s since 1970); NaN: at any time."""
        return number(self.raw.get("eligible_time")) or math.nan

    @property
    def soonest_s(self) -> float:
        """From when it may start at all: Slurm kills a requeued job that starts before its old credential has run out
        ("Job credential revoked"), and by a begin time of ours it would."""
        again = number(self.raw.get("restart_cnt")) > 0
        return number(self.raw.get("submit_time")) + self.rest_s if again else 0.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One order to one job."""

    verb: Verb
    number: str
    value: float
    text: str
    now_s: float
    where: Where = ("", "")

    def begin_s(self, job: JobNow) -> float:
        """The time to write: "as soon as it can" is a moment that is over by Slurm's clock, whatever ours says: that of the
        job's submission. Slurm makes its own now of it."""
        over_s = math.floor(self.now_s) - 1
        at_once_s = min(over_s, number(job.raw.get("submit_time")) or over_s)
        return max(self.value if self.value > 0 else at_once_s, math.ceil(job.soonest_s))


@dataclass(frozen=True, slots=True)
class How:
    """How a verb reads, whether it is so already, what to write, and in which states of a job."""

    read: Callable[[JobNow], float]
    same: Callable[[JobNow, Ask], bool]
    body: Callable[[JobNow, Ask], Mapping[str, Any]] | None
    states: tuple[JobState, ...] = (JobState.PENDING,)
    words: tuple[str, ...] = ()  # scontrol's, where REST has none


def _note(job: JobNow, ask: Ask) -> dict[str, str]:
    """The comment as it should be; the words of an empty order are taken back."""
    return {"comment": with_note(comment_of(job.raw), ask.text)}


def _comment_same(job: JobNow, ask: Ask) -> bool:
    return comment_of(job.raw) == with_note(comment_of(job.raw), ask.text)


def _begin_same(job: JobNow, ask: Ask) -> bool:
    if job.state != JobState.PENDING:
        return not ask.value > ask.now_s + NEAR_S and _comment_same(job, ask)  # it may start: and has
    if is_held(job.raw) or not _comment_same(job, ask):
        return False
    if (wanted_s := ask.begin_s(job)) > ask.now_s + NEAR_S:
        return abs(job.begin_s - wanted_s) <= NEAR_S
    return not job.begin_s > ask.now_s + NEAR_S


def _begin_body(job: JobNow, ask: Ask) -> dict[str, Any]:
    if job.state != JobState.PENDING:
        return _note(job, ask)
    return {**({"hold": False} if is_held(job.raw) else {}), "begin_time": ask.begin_s(job), **_note(job, ask)}


def _move_same(job: JobNow, ask: Ask) -> bool:
    here = job.raw.get("partition") == ask.where[1] and job.raw.get("state_reason") != NO_SIBLING and not job.raw.get(LAGS)
    there = job.state != JobState.PENDING or here
    return there and _begin_same(job, ask)


def _move_body(job: JobNow, ask: Ask) -> dict[str, Any]:
    body = _begin_body(job, ask)
    if job.state != JobState.PENDING:
        return body
    # one that can never run where it waits has lost its priority, as if it were held (22.05)
    let_go = {"hold": False} if number(job.raw.get("priority")) == 0 else {}
    return {**let_go, **body, "partition": ask.where[1]}


def _no_read(job: JobNow) -> float:
    return math.nan


WAITS, RUNS, _STANDS = JobState.PENDING, JobState.RUNNING, JobState.SUSPENDED
HOW: Mapping[Verb, How] = {
    Verb.BEGIN: How(lambda job: job.begin_s, _begin_same, _begin_body, (WAITS, RUNS, _STANDS)),
    Verb.MOVE: How(lambda job: job.begin_s, _move_same, _move_body, (WAITS, RUNS, _STANDS)),
    Verb.HOLD: How(
        lambda job: float(is_held(job.raw)),
        lambda job, ask: is_held(job.raw) and _comment_same(job, ask),
        lambda job, ask: {"hold": True, **_note(job, ask)},
    ),
    Verb.RELEASE: How(
        lambda job: float(is_held(job.raw)),
        lambda job, ask: not is_held(job.raw) and _comment_same(job, ask),
        lambda job, ask: {"hold": False, **_note(job, ask)},
        (WAITS, RUNS),
    ),
    Verb.PRIORITY: How(
        lambda job: number(job.raw.get("priority")),
        lambda job, ask: number(job.raw.get("priority")) == ask.value,
        lambda job, ask: {"priority": ask.value},
    ),
    Verb.QOS: How(_no_read, lambda job, ask: job.raw.get("qos") == ask.text, lambda job, ask: {"qos": ask.text}),
    Verb.COMMENT: How(_no_read, _comment_same, _note, (WAITS, RUNS, _STANDS)),
    Verb.PAUSE: How(lambda job: float(job.state == RUNS), lambda job, ask: job.state == WAITS, None, (RUNS, WAITS)),
    Verb.REQUEUE: How(
        lambda job: number(job.raw.get("restart_cnt")),
        lambda job, ask: job.state == WAITS,
        None,
        (RUNS, WAITS),
        ("requeue",),
    ),
    Verb.SUSPEND: How(
        lambda job: float(job.state == _STANDS), lambda job, ask: job.state == _STANDS, None, (RUNS, _STANDS), ("suspend",)
    ),
    Verb.RESUME: How(
        lambda job: float(job.state == _STANDS), lambda job, ask: job.state == RUNS, None, (RUNS, _STANDS), ("resume",)
    ),
}  # fmt: skip
SAYS_BEFORE = {Verb.QOS: "qos"}
OPTIONS = {
    "begin_time": "StartTime", "comment": "Comment", "partition": "Partition", "priority": "Priority", "qos": "QOS"
}  # fmt: skip
