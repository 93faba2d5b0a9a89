"""How a process ends: within ``END_S`` of being told to, whatever is away.

A first SIGTERM or SIGINT asks for an end in good order. What hangs then (a store that takes a request and never answers, a
database that is frozen) is not waited for beyond ``END_S``: the process says what it stood at and is gone, which loses no more
than a kill does, that is nothing that was acknowledged. A second signal ends it at once.
"""

import asyncio
import faulthandler
import logging
import os
import sys
import threading  # noqa: TID251 - one that outlives whatever hangs, as long as a process ends
import time
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any

from twin.errors import SourceError

log = logging.getLogger(__name__)

END_S = 20.0  # from the signal to the end
LINGER_S = 3.0  # for threads that still wait for somebody when everything is kept: nobody waits for them
SAY_S = 1.0  # for the last words: who reads them may hang as well
GAVE_UP = 1  # exit status


class Ending:
    """Ends this process in time, once it was ``told``. ``end``: what asks for an end in good order, called from a handler of
    signals; ``limit_s``: how long that may take; ``leave``: what ends a process."""

    def __init__(self, end: Callable[[], None], limit_s: float = END_S, leave: Callable[[int], object] = os._exit) -> None:
        self._end, self._limit_s, self._leave = end, limit_s, leave
        self._asked = False
        # queues of this kind alone may be used in a handler, which may have interrupted whoever holds a lock
        self._told, self._done = SimpleQueue[bool](), SimpleQueue[int]()
        self._thread = threading.Thread(target=self._watch, name="ending", daemon=True)

    def start(self) -> None:
        """Begin to watch; a handler cannot start a thread safely."""
        self._thread.start()

    def told(self) -> None:
        """A signal came."""
        if self._asked:
            self._leave(GAVE_UP)
        self._asked = True
        self._told.put(True)
        self._end()

    def done(self, status: int) -> None:
        """All is kept, the process ends by itself with ``status``; where it was told to, within ``LINGER_S``."""
        self._done.put(status)
        self._told.put(False)

    def _watch(self) -> None:
        if not self._told.get():
            return
        try:
            status = self._done.get(timeout=self._limit_s - LINGER_S)
        except Empty:
            self._give_up()
        else:
            time.sleep(LINGER_S)
            self._leave(status)

    def _give_up(self) -> None:
        saying = threading.Thread(target=self._say, daemon=True)
        saying.start()
        saying.join(SAY_S)
        self._leave(GAVE_UP)

    def _say(self) -> None:
        log.error(
            "not ended %.0f s after it was told to; it ends now, the next start goes on with what is on disk. It stood here:",
            self._limit_s - LINGER_S,
        )
        faulthandler.dump_traceback(sys.__stderr__ or 2)


def waited(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], what: str, limit_s: float | None) -> None:
    """Run ``work`` on ``loop``; what it does not bring about, or not in time, is said and left, for an end goes on."""
    under_way = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        under_way.result(limit_s)
    except TimeoutError:
        under_way.cancel()
        log.error("%s takes over %g s and is left", what, limit_s)
    except SourceError as error:
        log.error("%s: %s", what, error)
