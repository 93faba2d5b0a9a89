"""Signs of life, to somebody outside who tells people by a way of its own when they stop coming (a dead man's switch).

icctwin can page nobody about its own death, nor about a disk that takes no page or a database without which nobody leads.
So a sign goes out only while people would be told of an alert that fires now; ``Heart.tick`` asks why they would not be.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ui.faces.notify.post import Post, Undelivered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as it is configured, its secrets read. ``authorization``: the header, "" for none."""

    name: str
    url: str = field(repr=False)
    authorization: str = field(repr=False)
    every_s: float


class Heart:
    """Sends what is due. ``site``: who lives, for receivers that show what they are sent."""

    def __init__(self, beats: Sequence[Beat], post: Post, site: str) -> None:
        self._beats, self._post, self._site = beats, post, site
        self._sent: dict[str, datetime] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, str] = {}  # by name: why the last sign was not taken
        self._still = ""

    @property
    def silent(self) -> Mapping[str, str]:
        """By name, of those whom no sign of life reaches: why."""
        return {one.name: self._still for one in self._beats} if self._still else dict(self._refused)

    def tick(self, now: datetime, why: Callable[[datetime], str]) -> None:
        """Start what is due and return. ``why``: nobody would be told of an alert now, "" where people would be; asked only
        where something is due."""
        due = [one for one in self._beats if self._due(one, now)]
        if not due:
            return
        still = why(now)
        if still != self._still:
            say = log.error if still else log.warning
            say("no sign of life is sent: %s", still) if still else say("signs of life are sent again")
        self._still = still
        for one in due if not still else ():
            self._sent[one.name] = now
            self._turns[one.name] = asyncio.create_task(self._turn(one, now), name=f"heartbeat {one.name}")

    def _due(self, one: Beat, now: datetime) -> bool:
        turn, last = self._turns.get(one.name), self._sent.get(one.name)
        rests = last is not None and 0 <= (now - last).total_seconds() < one.every_s  # below 0: the clock was set back
        return not rests and (turn is None or turn.done())

    async def _turn(self, one: Beat, now: datetime) -> None:
        try:
            await send(one, self._post, self._site, now)
        except Undelivered as error:
            if one.name not in self._refused:
                log.warning("heartbeat %s: %s; the next is due in %.0f s", one.name, error, one.every_s)
            self._refused[one.name] = str(error)
        else:
            self._refused.pop(one.name, None)

    async def drain(self) -> None:
        """Wait for what was started."""
        await asyncio.gather(*self._turns.values())

    async def close(self) -> None:
        """End what is under way and let go of connections."""
        for turn in self._turns.values():
            turn.cancel()
        await asyncio.gather(*self._turns.values(), return_exceptions=True)
        await self._post.close()


async def send(one: Beat, post: Post, site: str, now: datetime) -> None:
    """One sign of life; ``Undelivered`` where it was not taken."""
    headers = {"Authorization": one.authorization} if one.authorization else {}
    await post.send(one.url, body={"from": "icctwin", "site": site, "at": now.isoformat()}, headers=headers)
