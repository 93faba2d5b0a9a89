"""Between what arrives and the store: a bounded queue, so that a store that is full or slow loses nothing at once."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from twin.errors import SourceError
from twin.frame import Frame

log = logging.getLogger(__name__)


class Spool:
    """Frames that wait for the store. Any thread may ``put``, one at a time may ``flush``; ``lock`` is held only to pass
    frames on, never while the store works.

    ``max_samples`` bounds what waits; at the bound the oldest frames are dropped and counted in ``dropped``.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Frame]], None],
        lock: AbstractContextManager[object] | None = None,
        max_samples: int = 20_000_000,
    ) -> None:
        self._append = append
        self._lock = lock or nullcontext()
        self._max = max_samples
        self._frames: deque[tuple[int, Frame]] = deque()
        self.waiting = 0
        self.dropped = 0
        self.stored = 0
        self.failing = False

    def put(self, frames: Sequence[Frame]) -> None:
        """Queue ``frames``; they are safe after the next ``flush`` that succeeds."""
        # every cell counts, read or not: the bound is one of memory
        sized = [(len(frame.rows) * len(frame.values), frame) for frame in frames]
        with self._lock:
            self._frames.extend(sized)
            self.waiting += sum(size for size, _ in sized)
            self._bound()

    def flush(self) -> bool:
        """Hand everything to the store; False where it refused, and then everything stays for the next time."""
        with self._lock:
            batch, self._frames = self._frames, deque()
            taken, self.waiting = self.waiting, 0
        if not batch:
            return not self.failing
        kept = False
        try:
            self._append([frame for _, frame in batch])
            kept = True
        except SourceError as error:
            if not self.failing:
                log.error("the store refuses what is measured; it is kept in memory for now: %s", error)
            self.failing = True
            return False
        finally:  # also where the fault is ours: what was measured is not lost for it
            if not kept:
                self._put_back(batch, taken)
        if self.failing:
            log.info("the store takes frames again")
        self.failing = False
        self.stored += taken
        return True

    def _put_back(self, batch: deque[tuple[int, Frame]], taken: int) -> None:
        with self._lock:
            self._frames.extendleft(reversed(batch))
            self.waiting += taken
            self._bound()

    def _bound(self) -> None:
        while self.waiting > self._max and len(self._frames) > 1:
            size, _ = self._frames.popleft()
            self.waiting -= size
            self.dropped += size
