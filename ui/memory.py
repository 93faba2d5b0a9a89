"""What a process that lives for months does about memory: it looks for garbage seldom, and gives back what nobody uses.

Nearly all of ours dies by reference count. At Python's own thresholds an ingest process of a thousand endpoints spends a tenth
of its time on looking through everything that it learnt at the start and keeps. What does not die so (a connection and its
parser, a task that failed and its trace, each holding the other) would wait for hours then, so ``Tidy`` looks for it by the
clock, and has the allocator give back what is free: a peak of one moment is no lasting need.
"""

import ctypes
import gc
import os
import sys
from typing import Any

YOUNG = 50_000  # objects made and kept since, before the young ones are looked through: some 10 MB
OLDER = 20  # such looks, before the next generation's turn
TIDY_S = 60.0  # garbage of longer lies between what lasts, and leaves holes there
LEARNT = 10  # runs until all that lasts has been learnt
ARENAS = 2  # of glibc, for all threads; by itself it takes eight a core, and each keeps the most that its threads ever held
# What is larger than this has pages of its own, which go back at once. By itself glibc raises it to the largest such block that
# was ever freed, up to 32 MB: then arrays lie among what is small and lasts, and leave holes that nothing fills.
APART_BYTES = 262_144
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h of glibc
# glibc keeps up to seven freed blocks of each size for each thread, too, and what lies between them cannot be given back: tasks
# grew by two thirds of what it did without this (docs/faults.md). It is settled before a process begins, so units and images
# set it (``icctwin deploy``), not we.
SHIPPED_WITH = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def look_seldom() -> None:
    """Set it for this process, and leave alone what it has loaded so far. Call it before threads are there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
    if (mallopt := _of_libc("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
        mallopt(_M_MMAP_THRESHOLD, APART_BYTES)
    # Arrow's own allocator keeps some megabytes for each thread that ever used it, and every task has one of its own
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # noqa: TID251 - for a library that is loaded later
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.set_memory_pool(arrow.system_memory_pool())


class Tidy:
    """Looks through everything at its first run and again when all that lasts has been learnt; in between and from then on
    through what came since. A centre that takes another's place has its own, whose first run finds what that one left."""

    def __init__(self) -> None:
        self._runs = 0

    def run(self) -> None:
        """Collect garbage, and give free memory back to the system."""
        whole = self._runs in (0, LEARNT)
        self._runs += 1
        if whole:
            gc.unfreeze()
        gc.collect()
        if whole:
            gc.freeze()
        if (trim := _of_libc("malloc_trim")) is not None:
            trim(0)


def _of_libc(name: str) -> Any:
    """A function of the C library, None where it has no such (musl)."""
    return getattr(ctypes.CDLL(None), name, None)
