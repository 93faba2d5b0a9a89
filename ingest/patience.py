"""How long an endpoint may take, and how many may be asked at once; time that this process took itself is charged to none."""

import asyncio
from types import TracebackType
from typing import Self

HELD_UP_S = 0.05  # by which a timer is late when the loop was at work on other things; a quiet one is late by a millisecond
SPARE = 3  # times the limit, by which it is put off at most
MAX_AT_ONCE = 256  # polls under way together of endpoints that answer, and as many of others; the rest waits its turn
HOLD_S = 1.0  # after which a poll under way is no longer counted among them: it only waits


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


class Places:
    """Room for ``n`` bodies at once: ``async with places.one():``.

    A body that takes longer than ``hold_s`` goes on without its place: it waits for an endpoint, which costs nothing, and any
    number of those that never answer must not hold up one that does. While the loop itself is held up nothing is given back.
    """

    def __init__(self, n: int, hold_s: float | None = None) -> None:
        self._free, self._hold_s = asyncio.Semaphore(n), HOLD_S if hold_s is None else hold_s

    def one(self) -> "_Place":
        """A place, to be taken once."""
        return _Place(self._free, self._hold_s)


class _Place:
    __slots__ = ("_due_s", "_free", "_hold_s", "_loop", "_timer")

    def __init__(self, free: asyncio.Semaphore, hold_s: float) -> None:
        self._free, self._hold_s, self._loop = free, hold_s, asyncio.get_running_loop()
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None  # None: it is not held

    async def __aenter__(self) -> None:
        await self._free.acquire()
        self._wait()

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._give()

    def _wait(self) -> None:
        self._due_s = self._loop.time() + self._hold_s
        self._timer = self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        if self._loop.time() - self._due_s < HELD_UP_S:
            self._give()
        else:
            self._wait()

    def _give(self) -> None:
        self._timer = None
        self._free.release()
