"""The audit: who changed what, from where, as a chain in which each record carries the hash of the one before.

The chain is over what was written, not over how the store holds it, so that it survives a move from SQLite to PostgreSQL. Its
first link carries a hash over whatever an icctwin without a chain had written before.
Whoever can write to the store can also write the whole chain anew, or cut off its end: against that its head (number and hash
of the newest record), which is shown to whoever asks, is noted down elsewhere and given to ``verify``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from twin.errors import Damaged
from twin.ports import Records
from ui.access.role import Identity

ACCESS = "access-audit"  # what people and programs asked of us; the others are of the desks that write them
TOPICS = (ACCESS, "audit", "oncall-audit")
_OURS = ("chain_no", "chain_before", "chain_hash")
_FIRST = "0" * 64
_PAGE = 10_000
MAX_DETAIL_BYTES = 20_000  # of what was before, and of what is after; more is held as its hash


Kept = tuple[int, datetime | None, dict[str, Any] | None]  # number, time, record


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link of a chain: its number from 1 on, and its hash."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain does not hold: the number of the record in the store, and what is wrong with it."""

    topic: str
    number: int
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking through one chain found: ``links`` whose own hash fits, ``sound`` of them before the first record that is
    wrong and ``after`` of them behind it; ``before`` it records from before there was a chain."""

    topic: str
    links: int
    sound: int
    after: int
    before: int
    head: Head | None
    faults: tuple[Fault, ...]


class Audited:
    """``twin.ports.Records`` that chains what goes to ``TOPICS``. Readers get what was written, without the links."""

    def __init__(self, records: Records) -> None:
        self.kept = records
        self._begun: dict[str, str] = {}  # topic -> what its first link carries, if it has none yet

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        """See ``twin.ports.Records``."""
        if topic not in TOPICS:
            return self.kept.append(topic, time, record)
        return self.append_next(topic, time, lambda _: record)

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        """See ``twin.ports.Records``; of the audit one after the other, each with its link."""
        if topic not in TOPICS:
            return self.kept.append_all(topic, records)
        for time, record in records:
            self.append(topic, time, record)
        return None

    def append_next(self, topic: str, time: datetime, make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> int:
        """See ``twin.ports.Records``. Where the newest cannot be read, the audit goes on with a first link, and ``verify`` says
        so for ever: what somebody did to one record must not leave all that follows unwritten."""
        if topic not in TOPICS:
            return self.kept.append_next(topic, time, make)
        if topic not in self._begun:
            self._begun[topic] = _all_before(self.kept, topic)
        first = self._begun[topic]
        try:
            return self.kept.append_next(topic, time, lambda last: _linked(time, make(last and _bare(last)), last, first))
        except Damaged:
            return self.kept.append(topic, time, _linked(time, make(None), None, first))

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        """See ``twin.ports.Records``."""
        found = self.kept.read(topic, start, end, limit, newest, after)
        return found if topic not in TOPICS else [(number, time, _bare(record)) for number, time, record in found]

    def trim(self, topic: str, keep: int) -> None:
        """See ``twin.ports.Records``. ``ValueError`` for the audit, which only grows."""
        if topic in TOPICS:
            raise ValueError(f"the audit {topic!r} is kept whole")
        self.kept.trim(topic, keep)

    def close(self) -> None:
        """See ``twin.ports.Records``."""
        self.kept.close()

    def note(
        self, who: Identity, source: str, what: str, now: datetime, *, about: str = "", before: Any = None, after: Any = None
    ) -> int:
        """Write down that ``who`` did ``what`` to ``about``; ``source``: the address it came from."""
        record = {
            "who": who.user or "nobody", "name": who.name, "as": who.sort.value, "role": who.role.word, "from": source[:100],
            "what": what, "about": about[:300], "before": _held(before), "after": _held(after),
        }  # fmt: skip
        return self.append(ACCESS, now, record)

    def head(self, topic: str) -> Head | None:
        """The newest link of a chain; None where there is none. ``Damaged`` where the newest record cannot be read."""
        found = self.kept.read(topic, limit=1, newest=True)
        return _link(found[0][2]) if found else None


def verify(audited: Audited, topic: str, noted: Head | None = None) -> Verdict:
    """Look through the whole chain of ``topic``. ``noted``: a head as it was noted down before, which must still stand
    there."""
    chain = _Chain(topic, noted)
    for number, time, record in whole(audited, topic):
        chain.take(number, time, record)
    return chain.verdict()


def whole(audited: Audited, topic: str, start: datetime | None = None, end: datetime | None = None) -> Iterator[Kept]:
    """Every record of ``topic`` in ``[start, end)`` as it is kept, the oldest first; None and no time for one that cannot be
    read."""
    return _whole(audited.kept, topic, start, end)


def _whole(records: Records, topic: str, start: datetime | None = None, end: datetime | None = None) -> Iterator[Kept]:
    after, limit = 0, 1
    while True:
        try:
            page = records.read(topic, start, end, limit=limit, after=after)
        except Damaged as error:
            if limit == 1:
                yield error.number, None, None
                after = error.number
            limit = 1  # up to it one finds what can be read in ever longer pages
            continue
        if not page:
            return
        yield from page
        after, limit = page[-1][0], min(2 * limit, _PAGE)


class _Chain:
    def __init__(self, topic: str, noted: Head | None) -> None:
        self._topic, self._noted, self._faults = topic, noted, list[Fault]()
        self._links, self._before, self._head = 0, 0, Head(0, _FIRST)
        self._first: int | None = None  # record that is wrong
        self._sound = self._after = 0
        self._stood = noted is None

    def fault(self, number: int, what: str) -> None:
        if self._first is None:
            self._first, self._sound = number, self._links
        if len(self._faults) < 100:
            self._faults.append(Fault(self._topic, number, what))

    def take(self, number: int, time: datetime | None, record: dict[str, Any] | None) -> None:
        if time is None or record is None:
            self.fault(number, "it cannot be read: it was changed or is damaged")
        elif "chain_hash" not in record and self._head.number:
            self.fault(number, "a record without its link stands in the chain: it was put in, or its link was taken out")
        elif "chain_hash" in record:
            self._take_link(number, time, record)
            return
        if not self._head.number:
            self._before += 1
            self._head = Head(0, _after(self._head.hash, time, record))

    def _take_link(self, number: int, time: datetime, record: dict[str, Any]) -> None:
        found = _link(record)
        if found is None:
            self.fault(number, "the number of its link is none: it was changed")
            return
        if found.number != self._head.number + 1:
            self.fault(number, f"link {found.number} follows link {self._head.number}: records were taken out or put in")
        elif record.get("chain_before") != self._head.hash:
            what = "that one was" if self._head.number else "one from before the chain was put in,"
            self.fault(number, f"it does not carry the hash of the record before: {what} changed or replaced")
        if _hash(time, record) != found.hash:
            self.fault(number, "its own hash does not fit: it was changed")
        else:
            self._links += 1
            self._after += self._first not in (None, number)
        if self._noted == found:
            self._stood = True
        self._head = found

    def verdict(self) -> Verdict:
        if not self._stood:
            self.fault(0, f"the link noted down as {self._noted} is not there: the chain was cut off or written anew")
        head = self._head if self._head.number else None
        sound = self._links if self._first is None else self._sound
        return Verdict(self._topic, self._links, sound, self._after, self._before, head, tuple(self._faults))


def _linked(time: datetime, record: Mapping[str, Any], last: Mapping[str, Any] | None, first: str) -> dict[str, Any]:
    """``record`` as the next link after ``last``; ``first``: what it carries where it is the first of all."""
    found = _link(last or {})
    number, before = (found.number, found.hash) if found else (0, first)
    linked = {**json.loads(json.dumps(dict(record), ensure_ascii=False)), "chain_no": number + 1, "chain_before": before}
    return {**linked, "chain_hash": _hash(time, linked)}


def _link(record: Mapping[str, Any]) -> Head | None:
    """The link that ``record`` carries; None where it carries none."""
    number, digest = record.get("chain_no"), record.get("chain_hash")
    return Head(number, str(digest)) if type(number) is int and digest is not None else None


def _all_before(records: Records, topic: str) -> str:
    """What the first link of a topic carries: a hash over all records from before there was a chain."""
    digest = _FIRST
    for _, time, record in _whole(records, topic):
        if record is not None and "chain_hash" in record:
            return _FIRST  # there is a chain, and one that begins anew in it has nothing before it
        digest = _after(digest, time, record)
    return digest


def _after(digest: str, time: datetime | None, record: Mapping[str, Any] | None) -> str:
    """The hash over one record more from before the chain; over that it cannot be read, where it cannot."""
    one = "" if time is None or record is None else _hash(time, record)
    return sha256(f"{digest}{one}".encode()).hexdigest()


def _hash(time: datetime, record: Mapping[str, Any]) -> str:
    """SHA-256 (FIPS 180-4) over the record as JSON with sorted keys (as RFC 8785 orders them) and its time, without itself."""
    text = json.dumps({key: value for key, value in record.items() if key != "chain_hash"}, ensure_ascii=False, sort_keys=True)
    return sha256(f"{time.astimezone(UTC).isoformat()}\n{text}".encode()).hexdigest()


def _bare(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _OURS}


def _held(detail: Any) -> Any:
    text = json.dumps(detail, ensure_ascii=False, default=str)
    if len(text.encode()) <= MAX_DETAIL_BYTES:
        return json.loads(text)
    return {"bytes": len(text.encode()), "sha256": sha256(text.encode()).hexdigest()}


def audited(records: Records) -> Audited:
    """``records`` that chain; themselves where they do so already."""
    return records if isinstance(records, Audited) else Audited(records)
