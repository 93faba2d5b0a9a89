"""``/api/v1/audit``: who changed what, from where, and whether the chain of it holds."""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from twin.errors import Damaged
from ui.access.audit import ACCESS, TOPICS, Audited, Head, Kept, verify, whole
from ui.access.door import access_of
from ui.faces.answers import Failure, When
from ui.faces.push import Pulse

MAX_PAGE = 5000


class AuditOut(BaseModel):
    """One entry. ``topic``: whose book it is in (people's and programs' requests, icctwin's own actions, being on call);
    ``source``: address it came from; ``about``, ``before`` and ``after``: what was changed, as far as the book tells.
    A record that cannot be read has the time of the one before it, and ``what`` says so."""

    topic: str
    number: int
    time: datetime
    who: str
    source: str
    what: str
    about: str
    before: Any
    after: Any


class HeadOut(BaseModel):
    """The newest link of a chain. Noted down elsewhere, it proves later that nothing before it was changed."""

    topic: str
    number: int
    hash: str


class VerdictOut(BaseModel):
    """What looking through a chain found; ``before``: records from before there was a chain."""

    topic: str
    links: int
    before: int
    head: HeadOut | None
    faults: list[str]


def add_audit(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live
    router = APIRouter(prefix="/api/v1/audit", responses={403: {"model": Failure}, 422: {"model": Failure}})

    @router.get("")
    def entries(
        start: Annotated[When | None, Query(description="ISO 8601 with zone; none: as far back as there is")] = None,
        end: Annotated[When | None, Query(description="ISO 8601 with zone; none: now")] = None,
        topic: Annotated[str | None, Query(description=f"one of {', '.join(TOPICS)}; none: all")] = None,
        who: Annotated[str, Query(max_length=100, description="of this user alone")] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="at most so many")] = 200,
    ) -> list[AuditOut]:
        """What was changed in ``[start, end)``, the newest first. With ``who``, the newest 5,000 of each book are looked
        through."""
        if topic is not None and topic not in TOPICS:
            raise HTTPException(422, f"There is no audit {topic[:40]!r}; there are {', '.join(TOPICS)}.")
        records = access_of(live).records
        many = MAX_PAGE if who else limit
        rows = [row for one in (TOPICS if topic is None else (topic,)) for row in _read(records, one, start, end, many)]
        rows.sort(key=lambda row: (row.time, row.number), reverse=True)
        return [row for row in rows if who in ("", row.who)][:limit]

    @router.get("/heads")
    def heads() -> list[HeadOut]:
        """The newest link of each chain, to be noted down elsewhere."""
        found = ((topic, access_of(live).records.head(topic)) for topic in TOPICS)
        return [_head(topic, head) for topic, head in found if head is not None]

    @router.get("/verify")
    async def look_through() -> list[VerdictOut]:
        """Look through every chain from its first link on."""
        records = access_of(live).records
        verdicts = [await run_in_threadpool(verify, records, topic) for topic in TOPICS]
        return [
            VerdictOut(
                topic=one.topic,
                links=one.links,
                before=one.before,
                head=_head(one.topic, one.head) if one.head else None,
                faults=[f"record {fault.number}: {fault.what}" for fault in one.faults],
            )
            for one in verdicts
        ]

    server.include_router(router)


def _head(topic: str, head: Head) -> HeadOut:
    return HeadOut(topic=topic, number=head.number, hash=head.hash)


def _read(records: Audited, topic: str, start: datetime | None, end: datetime | None, limit: int) -> list[AuditOut]:
    try:
        found: Iterable[Kept] = records.read(topic, start, end, limit, newest=True)
    except Damaged:
        found = deque(whole(records, topic, start, end), limit)
    rows: list[AuditOut] = []
    for number, time, record in found:
        if time is None or record is None:
            before = rows[-1].time if rows else start or datetime.fromtimestamp(0, UTC)
            rows.append(AuditOut(topic=topic, number=number, time=before, what="cannot be read", **_NOTHING))
        else:
            told = _asked(record) if topic == ACCESS else _done(topic, record)
            rows.append(AuditOut(topic=topic, number=number, time=time, **told))
    return rows


_NOTHING: dict[str, Any] = {"who": "", "source": "", "about": "", "before": None, "after": None}


def _asked(record: dict[str, Any]) -> dict[str, Any]:
    """What people and programs asked of us; what somebody took out of it is empty."""
    words = {key: str(record.get(said, "")) for key, said in _WORDS.items()}
    return words | {"before": record.get("before"), "after": record.get("after")}


_WORDS = {"who": "who", "source": "from", "what": "what", "about": "about"}


def _done(topic: str, record: dict[str, Any]) -> dict[str, Any]:
    """What the desks wrote down in words of their own: all of it stands as what is after."""

    def first(*names: str) -> str:
        return str(next((record[name] for name in names if record.get(name)), ""))

    return {
        "who": first("by", "who") or "icctwin",
        "source": first("source"),
        "what": first("what", "stage") or topic,
        "about": first("incident", "id", "asset", "plan"),
        "before": record.get("before"),
        "after": record,
    }
