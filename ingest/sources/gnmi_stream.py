"""A gNMI subscription that stays open: the switch sends each value anew every interval, and a poll takes what came since."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from ingest.mappings.device import Points, Value
from ingest.sources.mqtt_points import Cache
from twin.errors import SourceError

Said = Iterable[tuple[str, dict[str, str], Value]]


class Stream:
    """``begin`` opens the subscription (its answers, as they come), ``points`` and ``gone`` read what a notification says of
    values, and which labels it takes back. Bounds: ``ingest.sources.mqtt_points.Cache``."""

    def __init__(
        self,
        target: str,
        begin: Callable[[], AsyncIterator[Any]],
        points: Callable[[Any], Said],
        gone: Callable[[Any], Iterable[dict[str, str]]],
    ) -> None:
        self._target, self._begin, self._points, self._gone = target, begin, points, gone
        self._cache = Cache()
        self._whole = asyncio.Event()  # the switch has said everything once
        self._listening: asyncio.Task[None] | None = None

    async def read(self, now: datetime, limit_s: float) -> Points:
        """What came since the last reading; the first waits for all of it. ``SourceError`` where that takes longer than
        ``limit_s``; whatever ended the subscription is raised once, and the next reading opens it again."""
        if self._listening is None:
            self._cache, self._whole = Cache(), asyncio.Event()
            self._listening = asyncio.create_task(self._listen())
        whole = asyncio.create_task(self._whole.wait())
        try:
            await asyncio.wait((self._listening, whole), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            whole.cancel()
        if self._listening.done():
            ended, self._listening = self._listening, None
            await ended
            raise SourceError(f"{self._target}: ends its subscription; is it restarting?")
        if not self._whole.is_set():
            await self.close()
            raise SourceError(f"{self._target}: says not everything within {limit_s:g} s (no sync_response)")
        return self._cache.points(now.timestamp() - asyncio.get_running_loop().time())

    async def close(self) -> None:
        """End the subscription."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            listening.cancel()
            with suppress(asyncio.CancelledError, SourceError):
                await listening

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        async for answer in self._begin():
            if answer.sync_response:
                self._whole.set()
                continue
            notification, clock_s = answer.update, loop.time()
            time_s = notification.timestamp / 1e9 if notification.timestamp else math.nan
            for labels in self._gone(notification):
                self._cache.forget(labels)
            for name, labels, value in self._points(notification):
                self._cache.put(name, labels, value, time_s, clock_s)
