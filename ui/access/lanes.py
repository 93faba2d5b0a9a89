"""Threads of their own for work that may hang, so that it holds up nothing but its like."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

P = ParamSpec("P")
T = TypeVar("T")


class Full(Exception):
    """Every thread of the lane is taken, and as many wait as may."""


class Lane:
    """``threads`` that nothing else takes; ``waiting``: how many may wait for one, None: any number. Used on one event loop."""

    def __init__(self, threads: int, waiting: int | None = None) -> None:
        self._limiter = CapacityLimiter(threads)
        self._most = None if waiting is None else threads + waiting
        self._taken = 0

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What ``work`` gives; raises ``Full``."""
        if self._most is not None and self._taken >= self._most:
            raise Full
        self._taken += 1
        try:
            return await run_sync(lambda: work(*args, **options), limiter=self._limiter)
        finally:
            self._taken -= 1
