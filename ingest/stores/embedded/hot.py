"""What was answered a moment ago: steps of whole minutes over many assets, kept until something is appended to them.

A wall asks for the last hour of everything every few seconds, and of its sixty minutes only the newest has changed.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from threading import Lock  # noqa: TID251 - shared by those who append and those who ask; starts no thread
from typing import NamedTuple

import numpy as np

from ingest.stores.embedded.files import MINUTE
from ingest.stores.embedded.grid import Times
from ingest.stores.embedded.names import Group
from twin.frame import Floats
from twin.ports import How

MAX_BYTES = 64 * 2**20  # of all columns kept
MAX_TOUCHED = 4096  # minutes of which it is remembered when they were last appended to
LEAST_ROWS = 256  # assets from which on an answer is worth keeping


class Asked(NamedTuple):
    """What a column answers, but for the time: ``rows`` are the bytes of the rows asked for."""

    group: Group
    metric: str
    how: How
    step: int
    rows: bytes


class Hot:
    """Columns by what they answer and the start of their step. Any thread may call."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._columns: OrderedDict[Asked, dict[int, Floats]] = OrderedDict()
        self._by_group: dict[Group, set[Asked]] = defaultdict(set)
        self._bytes = 0
        self._turn = self._forgotten = 0
        self._touched: OrderedDict[tuple[Group, int], int] = OrderedDict()

    def turn(self) -> int:
        """How far it has come: to be taken before what is ``put`` is worked out."""
        with self._lock:
            return self._turn

    def touch(self, cells: Iterable[tuple[Group, int]]) -> None:
        """Something was appended at these times: what was known of their steps no longer holds."""
        minutes = {(group, time // MINUTE * MINUTE) for group, time in cells}
        with self._lock:
            self._turn += 1
            for key in minutes:
                self._touched[key] = self._turn
                self._touched.move_to_end(key)
                for asked in self._by_group.get(key[0], ()):
                    gone = self._columns[asked].pop(key[1] // asked.step * asked.step, None)
                    self._bytes -= 0 if gone is None else gone.nbytes
            while len(self._touched) > MAX_TOUCHED:
                self._forgotten = self._touched.popitem(last=False)[1]

    def get(self, asked: Asked, starts: Sequence[int]) -> list[Floats | None]:
        """The columns of the steps that begin at ``starts``, None where one is not known."""
        with self._lock:
            known = self._columns.get(asked)
            if known is None:
                return [None] * len(starts)
            self._columns.move_to_end(asked)
            return [known.get(start) for start in starts]

    def put(self, asked: Asked, starts: Times, table: Floats, turn: int) -> None:
        """Keep ``table`` float64[t, n], the answer for the steps at ``starts``, but for what was touched since ``turn``."""
        with self._lock:
            if turn < self._forgotten:
                return
            fresh = {minute for (group, minute), when in self._touched.items() if group == asked.group and when > turn}
            stale = {minute // asked.step * asked.step for minute in fresh}
            known = self._columns.setdefault(asked, {})
            self._by_group[asked.group].add(asked)
            for start, column in zip(starts.tolist(), table, strict=True):
                if start not in stale and start not in known:
                    known[start] = np.array(column)
                    self._bytes += column.nbytes
            self._bound()

    def clear(self) -> None:
        """Know nothing."""
        with self._lock:
            self._columns.clear()
            self._by_group.clear()
            self._bytes = 0
            self._turn += 1
            self._forgotten = self._turn

    def _bound(self) -> None:
        """Let go of the oldest steps, of what was not asked for longest first."""
        for asked, known in list(self._columns.items()):
            for start in sorted(known):
                if self._bytes <= self._max_bytes:
                    return
                self._bytes -= known.pop(start).nbytes
            del self._columns[asked]
            self._by_group[asked.group].discard(asked)
