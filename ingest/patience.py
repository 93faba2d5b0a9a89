"""A limit on how long an endpoint may take, which does not charge it for time that this process took itself."""

import asyncio
from types import TracebackType
from typing import Self

HELD_UP_S = 0.05  # by which a timer is late when the loop was at work on other things; a quiet one is late by a millisecond
SPARE = 3  # times the limit, by which it is put off at most


class Patience:
    """``async with Patience(limit_s)``: ``TimeoutError`` where the body takes longer.

    While the loop is held up (a thousand pages are read for the first time, the machine is busy) answers lie there unread
    until after the limit. So a limit that comes late is put off by as much as it was late, each time that it is, and by no more
    than ``SPARE`` times ``limit_s`` in all.
    """

    __slots__ = ("_due_s", "_loop", "_spare_s", "_timeout", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._spare_s, self._due_s = SPARE * limit_s, self._loop.time() + limit_s
        self._timeout = asyncio.timeout(None)
        self._timer = self._loop.call_at(self._due_s, self._look)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _look(self) -> None:
        now_s = self._loop.time()
        more_s = min(now_s - self._due_s, self._spare_s)
        if more_s < HELD_UP_S:
            self._timeout.reschedule(now_s)
            return
        self._spare_s -= more_s
        self._due_s = now_s + more_s
        self._timer = self._loop.call_at(self._due_s, self._look)
