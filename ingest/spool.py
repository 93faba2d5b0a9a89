"""Between what arrives and the store: a bounded queue, so that a store that is full or slow loses nothing at once."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from twin.errors import SourceError
from twin.frame import Frame

log = logging.getLogger(__name__)


class Spool:
    """Frames that wait for the store. For one thread at a time.

    ``max_samples`` bounds it; at the bound the oldest frames are dropped and counted in ``dropped``.
    """

    def __init__(self, append: Callable[[Sequence[Frame]], None], max_samples: int = 20_000_000) -> None:
        self._append = append
        self._max = max_samples
        self._frames: deque[tuple[int, Frame]] = deque()
        self.waiting = 0
        self.dropped = 0
        self.stored = 0
        self.failing = False

    def put(self, frames: Sequence[Frame]) -> None:
        """Queue ``frames``; they are safe after the next ``flush`` that succeeds."""
        for frame in frames:
            # every cell counts, read or not: the bound is one of memory
            size = len(frame.rows) * len(frame.values)
            self._frames.append((size, frame))
            self.waiting += size
        while self.waiting > self._max and len(self._frames) > 1:
            size, _ = self._frames.popleft()
            self.waiting -= size
            self.dropped += size

    def flush(self) -> bool:
        """Hand everything to the store; False where it refused, and then everything stays for the next time."""
        if not self._frames:
            return not self.failing
        try:
            self._append([frame for _, frame in self._frames])
        except SourceError as error:
            if not self.failing:
                log.error("the store refuses what is measured; it is kept in memory for now: %s", error)
            self.failing = True
            return False
        if self.failing:
            log.info("the store takes frames again")
        self.failing = False
        self.stored += self.waiting
        self._frames.clear()
        self.waiting = 0
        return True
