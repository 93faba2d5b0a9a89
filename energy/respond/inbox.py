"""The requests that stand: noted as records, so that a restart, a face and a command know the same ones.

A record is all that one asker asks from then on; the newest of each asker counts, whatever its age: a limit without an end
stands until it is changed or taken back. Topic ``requests``.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from energy.notes import plain
from twin.curtail import MAX_INTERVALS, Asked, Interval, Request
from twin.errors import SourceError
from twin.ports import Records

log = logging.getLogger(__name__)

TOPIC = "requests"
MAX_RECORDS, KEPT = 2000, 10_000  # that are read, and that are kept
RENEWED = MAX_RECORDS // 2  # records after which what stands is written anew, before it is read no more
MAX_STANDING = 20  # requests that are looked at together; more are refused when they come
WINDOW_S = 86_400.0  # of a request so much is looked back on, and less than the longest order ahead: it may last for days


def note(records: Records, asked: Asked, now: datetime) -> bool:
    """Keep what somebody asks, where that is news. ``SourceError`` where it is more than can be looked at."""
    standing = all_asked(records, now)
    record = plain({"who": asked.who, "requests": [asdict(request) for request in asked.requests]})
    if record["requests"] == plain([asdict(one) for one in standing.get(asked.who, Asked(asked.who)).requests]):
        return False
    others = [one for who, one in standing.items() if who != asked.who]
    stands = sum(request.end_s > now.timestamp() for one in others for request in one.requests)
    if stands + len(asked.requests) > MAX_STANDING:
        raise SourceError(f"{asked.who} asks for more than {MAX_STANDING} requests that stand at once; take some back first")
    _renew(records, {one.who for one in others if any(request.end_s > now.timestamp() for request in one.requests)}, now)
    records.append(TOPIC, now, record)
    records.trim(TOPIC, KEPT)
    return True


def _renew(records: Records, others: set[str], now: datetime) -> None:
    """Write down again what ``others`` ask, where so many records came after it."""
    found = [record for _, _, record in records.read(TOPIC, limit=MAX_RECORDS, newest=True)]
    lately = {record["who"] for record in found[-RENEWED:]}
    old = {record["who"]: record for record in found[:-RENEWED] if record["who"] in others - lately}
    for record in old.values():
        records.append(TOPIC, now, record)


def all_asked(records: Records, now: datetime) -> Mapping[str, Asked]:
    """What each asker asks, by who it is. A request that cannot be (an older version took it) asks for nothing, and is told."""
    found = records.read(TOPIC, limit=MAX_RECORDS, newest=True)
    newest = {record["who"]: record["requests"] for _, _, record in found}
    return {who: Asked(who, tuple(_readable(who, requests))) for who, requests in newest.items()}


def _readable(who: str, requests: Sequence[Mapping[str, Any]]) -> Iterator[Request]:
    for request in requests:
        try:
            yield request_of(request)
        except ValueError as error:
            log.warning("request %r of %s is left out: %s", request["key"], who, error)


def standing(records: Records, now: datetime, after_s: float = 0.0) -> Sequence[tuple[str, Request]]:
    """(who, request) of those that are not over for ``after_s`` yet, by their begin."""
    found = [(who, request) for who, asked in all_asked(records, now).items() for request in asked.requests]
    return sorted(
        ((who, one) for who, one in found if one.end_s + after_s > now.timestamp()),
        key=lambda one: (one[1].begin_s, one[1].key),
    )


def together(requests: Sequence[Request], baseline_w: float) -> Request:
    """Requests that overlap as one: at each time the lowest limit of those that ask for something then."""
    if len(requests) == 1:
        return requests[0]
    borders = sorted({edge for one in requests for part in one.intervals for edge in (part.begin_s, part.end_s)})
    made: list[Interval] = []
    for begin_s, end_s in pairwise(borders):
        limits = [
            part.target_w(baseline_w)
            for one in requests
            for part in one.intervals
            if part.begin_s <= begin_s and part.end_s >= end_s
        ]
        if limits:
            made.append(Interval(begin_s, end_s, limit_w=min(limits)))
    if len(made) > MAX_INTERVALS:
        raise ValueError(f"{len(requests)} requests together have {len(made)} intervals, over {MAX_INTERVALS}")
    key = "+".join(one.key for one in requests)
    received_s = min(one.received_s for one in requests)
    return Request(key, received_s, tuple(made), all(one.best_effort for one in requests))


def window(asked: Sequence[Request], now_s: float, ahead_s: float) -> list[Request]:
    """What of requests lies within the window around now, whose edges move by the hour: what is ordered until its end is not
    ordered anew at each look."""
    begin_s, end_s = np.floor((now_s - WINDOW_S) / 3600) * 3600, np.floor((now_s + ahead_s) / 3600) * 3600
    seen: list[Request] = []
    for one in asked:
        parts = tuple(
            replace(part, begin_s=max(part.begin_s, begin_s), end_s=min(part.end_s, end_s))
            for part in one.intervals
            if part.end_s > begin_s and part.begin_s < end_s
        )
        seen += [replace(one, intervals=parts)] if parts else []
    return seen


def request_of(record: Mapping[str, Any]) -> Request:
    """A request as it was noted; ``ValueError`` where there can be no such."""
    parts = tuple(
        Interval(float(part["begin_s"]),
                 math.inf if part["end_s"] is None else float(part["end_s"]), _number(part["limit_w"]), _number(part["cut_w"]))
        for part in record["intervals"]
    )  # fmt: skip
    return Request(record["key"], record["received_s"], parts, record["best_effort"], tuple(record["feeds"]))


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
