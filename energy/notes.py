"""How decisions and steps are written down: the words of the topic ``audit``, and what a restart reads back.

One record is one step: of a plan (``plan``), of an action on a setpoint (``action``), or of a table of orders to a scheduler
(``queue``). Each says who, why, what was there before, what was ordered and what came of it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from energy.plan import Effect, Mode, Plan, Verdict
from twin.frame import Frame
from twin.message import Message
from twin.ports import Records

TOPIC = "audit"
MEMORY = timedelta(days=2)  # how far back records are read at a start; longer than any action may last
MAX_ACTIONS = 100  # of a plan that a decision on it names; each that is begun has a record of its own
PAGE = 10_000  # records of one reading


class Stage(StrEnum):
    """What became of a plan or of one of its actions; the word in the record's field ``stage``."""

    REFUSED = "refused"  # the guard said no
    ADVISED = "advised"  # the mode is advise: nothing was done
    WAITING = "waiting"  # for a person
    APPROVED = "approved"  # by a person
    REJECTED = "rejected"  # by a person, who is not asked again for the same plan
    EXPIRED = "expired"  # before a person said anything
    BEGUN = "begun"  # an action is about to be sent
    DONE = "done"  # an action was read back as ordered
    FAILED = "failed"  # an action was not read back as ordered
    REVERTING = "reverting"  # a former value is about to be sent
    REVERTED = "reverted"  # the former value was read back
    REVERT_FAILED = "revert_failed"  # the former value could not be restored; tried again until it can
    LEFT = "left"  # a person or a later plan has changed the value since: not ours to undo


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; ``frames`` are what devices said (origin ``commanded``), for state and store."""

    stage: Stage
    why: Message | None = None
    frames: tuple[Frame, ...] = ()


def every(records: Records, topic: str, since: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """(time, record) of all that ``topic`` holds from ``since`` on, the oldest first, read a page at a time. What is appended
    meanwhile is read too, so the guard's limits on the rate are what bounds it."""
    last, full = 0, True
    while full:
        page = records.read(topic, since, limit=PAGE, after=last)
        full = len(page) == PAGE
        for number, time, record in page:
            last = number
            yield time, record


def plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: None stands for them."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def message(said: Message | None) -> dict[str, Any] | None:
    """A sentence as it is kept."""
    return None if said is None else {"text": said.text, "params": dict(said.params)}


def message_of(said: Mapping[str, Any]) -> Message:
    """A sentence that was kept. JSON knew no NaN: what is None was one."""
    params = {name: math.nan if value is None else value for name, value in (said.get("params") or {}).items()}
    text = str(said["text"])
    return Message(text, params)


def refusals(verdict: Verdict) -> list[dict[str, Any]]:
    """The rules that said no, and why."""
    return [{"rule": refusal.rule, "why": message(refusal.why)} for refusal in verdict.refusals]


def effect(expected: Effect) -> dict[str, float]:
    """What was promised."""
    return {
        "effect_w": expected.facility_power_w,
        "effect_low_w": expected.low_w,
        "effect_high_w": expected.high_w,
        "effect_it_w": expected.it_power_w,
        "horizon_s": expected.horizon_s,
    }


def promised(plan: Plan) -> dict[str, Any]:
    """What a plan was expected to bring: on power, and on the signal that its work was moved by."""
    return {**effect(plan.effect), **({"gain": asdict(plan.gain)} if plan.gain else {})}


def decision(stage: Stage, plan: Plan, verdict: Verdict, mode: Mode, why: Message | None, who: str) -> Mapping[str, Any]:
    """A decision on a whole plan."""
    record = {
        "stage": stage,
        "plan": plan.key,
        "lever": plan.lever,
        "mode": mode,
        "who": who,
        "reason": message(plan.reason),
        "why": message(why),
        "actions": [{"asset": a.asset, "metric": a.metric, "value": a.value} for a in plan.actions[:MAX_ACTIONS]],
        "count": plan.count,
        "verdict": refusals(verdict),
        "expires": plan.expires.isoformat(),
        **promised(plan),
    }
    if plan.orders:
        record["orders"] = [{"queue": queue, "verb": table.verb, "count": len(table)} for queue, table in plan.orders]
    made: Mapping[str, Any] = plain(record)
    return made


def last_word(stage: Stage, plan: str, why: Message, who: str) -> Mapping[str, Any]:
    """A person's word on a plan of which only the key is known."""
    return {"stage": stage, "plan": plan, "who": who, "why": message(why)}
