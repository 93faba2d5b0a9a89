"""Orders to a job scheduler, as columns: what is to change of which jobs or nodes, and what came of it.

A setpoint of an asset is a ``twin.ports.Action``; an order is its like for what a scheduler keeps: a job is no asset, and there
are thousands of them. Each order is idempotent: what already is so is not written again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum

import numpy as np

from twin.frame import Bytes, Floats

MAX_ORDERS = 5_000  # targets of one table of orders; more is refused
FEDERATED_ORDERS = 20  # of one table to a federation of schedulers, which passes on one change a second; the rest waits
Where = tuple[str, str]  # names of partitions: from, to


class Verb(StrEnum):
    """What is ordered. ``value`` and ``text`` mean what stands beside it."""

    BEGIN = "begin"  # a waiting job starts no earlier than value [s since 1970]; 0: as soon as it can. It releases itself.
    MOVE = "move"  # a waiting job waits in another partition (``where``) and starts no earlier than value, as with BEGIN
    HOLD = "hold"  # a waiting job does not start
    RELEASE = "release"  # a held job may start
    PRIORITY = "priority"  # a waiting job's place: value
    QOS = "qos"  # a waiting job's quality of service: text
    COMMENT = "comment"  # words for the owner of a job: text; empty takes them back
    PAUSE = "pause"  # a running job saves itself, ends and waits (held), by the signal that it agreed to
    REQUEUE = "requeue"  # a running job starts again from its beginning
    SUSPEND = "suspend"  # a running job stands still and keeps what it holds
    RESUME = "resume"  # a suspended job goes on
    DRAIN = "drain"  # a node gets no new job; text: the reason, shown to whoever asks
    UNDRAIN = "undrain"  # a drained node gets jobs again, where our reason stands at it
    WEIGHT = "weight"  # which nodes are taken first: value, lower first
    FEATURES = "features"  # the words of a node by which jobs choose it: text, separated by commas
    STOP = "stop"  # a queue starts no new job
    START = "start"  # a stopped queue starts jobs again


OF_JOBS = frozenset(
    {Verb.BEGIN, Verb.MOVE, Verb.HOLD, Verb.RELEASE, Verb.PRIORITY, Verb.QOS, Verb.COMMENT, Verb.PAUSE, Verb.REQUEUE,
     Verb.SUSPEND, Verb.RESUME}
)  # fmt: skip


class Tie(IntFlag):
    """By what else than room it is decided when a job runs; none is planned that is tied."""

    RESERVED = 1  # it runs in a reservation
    OTHERS = 2  # it waits for other jobs, or they wait for it
    FEW = 4  # it is, or is a task of, an array that runs only so many tasks at once


class Result(StrEnum):
    """What became of one order."""

    DONE = "done"  # it was written, and read back
    SAME = "same"  # it was so already
    REFUSED = "refused"  # its owner has not agreed (any more), or a person has changed it: it was not touched
    GONE = "gone"  # there is no such job any more, or it is past being ordered so
    FAILED = "failed"  # the scheduler did not do it, or its word cannot be read back
    HALF = "half"  # the same, and some of it may be in force, or come to be, and would not end by itself: it must be taken back


@dataclass(frozen=True, slots=True, eq=False)
class Orders:
    """Columns over n targets: ids of jobs, or names of nodes or queues.

    ``values`` (float64[n]) and ``texts`` by ``verb``; ``undo``: it takes back what we ordered, which an owner need not agree
    to; ``expected``: float64[n], what must be there for it to be touched (NaN: anything), so that what a person has changed
    meanwhile is left alone; ``where``: of each that is moved, the partition in which it must be found and the one that it goes
    to; ``would_s``: float64[n], when each would start without it (s since 1970; NaN: not known), for whoever counts waiting.
    """

    verb: Verb
    targets: Sequence[str]
    values: Floats
    texts: Sequence[str]
    undo: bool = False
    expected: Floats | None = None
    where: Sequence[Where] = ()
    would_s: Floats | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def only(self, rows: Sequence[int]) -> "Orders":
        """The orders at ``rows``."""
        at = np.array(rows, dtype=np.intp)
        expected, would_s = (None if column is None else column[at] for column in (self.expected, self.would_s))
        targets, texts = ([column[i] for i in rows] for column in (self.targets, self.texts))
        where = [self.where[i] for i in rows] if self.where else ()
        return Orders(self.verb, targets, self.values[at], texts, self.undo, expected, where, would_s)

    def __post_init__(self) -> None:
        lengths = {len(self.values), len(self.texts)}
        lengths |= {len(column) for column in (self.expected, self.would_s) if column is not None}
        if lengths != {len(self.targets)}:
            raise ValueError(f"{len(self.targets)} targets with {sorted(lengths)} values, texts and expectations")
        if len(self.where) != (len(self.targets) if self.verb is Verb.MOVE else 0):
            raise ValueError(f"{len(self.where)} ways for {len(self.targets)} targets that are told to {self.verb}")
        if len(self.targets) > MAX_ORDERS:
            raise ValueError(f"{len(self.targets)} orders at once are over {MAX_ORDERS}; give them in parts")


@dataclass(frozen=True, slots=True, eq=False)
class Receipts:
    """What came of ``Orders``, by their rows: ``before`` and ``after`` (float64[n], of what the verb sets; NaN: none or not
    known), ``said``: what stood there before, in words, ``why``: one sentence where it was not done."""

    results: Sequence[Result]
    before: Floats
    after: Floats
    said: Sequence[str]
    why: Sequence[str]

    def count(self, *results: Result) -> int:
        """How many came out so."""
        return sum(result in results for result in self.results)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of one order; its columns are ``Receipts``."""

    result: Result
    before: float = np.nan
    after: float = np.nan
    said: str = ""
    why: str = ""


def receipts(rows: Sequence[Receipt]) -> Receipts:
    """Rows as columns."""
    before, after = (np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in ("before", "after"))
    return Receipts([row.result for row in rows], before, after, [row.said for row in rows], [row.why for row in rows])


def orders(
    verb: Verb,
    targets: Sequence[str],
    values: Floats | float = np.nan,
    texts: Sequence[str] | str = "",
    *,
    undo: bool = False,
    expected: Floats | None = None,
    where: Sequence[Where] = (),
    would_s: Floats | None = None,
) -> Orders:
    """A table of orders; a single value or text counts for all targets."""
    n = len(targets)
    said = [texts] * n if isinstance(texts, str) else list(texts)
    numbers = np.broadcast_to(np.asarray(values, np.float64), n).copy()
    return Orders(verb, list(targets), numbers, said, undo, expected, list(where), would_s)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What owners have agreed to and how the scheduler treats their jobs: columns over the n jobs of a ``Jobs`` table.

    ``begin_s``: earliest start (s since 1970, NaN: none); ``held``: 1 where somebody holds it; ``interruptible``: 1 where it
    may be paused; ``noted``: 1 where words of ours stand at it; ``runs_s``: how long the owner expects it to run (NaN: to its
    limit); ``reach_s``: the longest round trip to where it was submitted at which it may run (0: it stays); ``data_bytes`` that
    go with it then (NaN: not said); ``unfit``: 1 where the scheduler says that it can never run where it waits. A queue that
    does not say of these three moves nothing. ``tied``: the sum of ``Tie`` (0: to nothing, also where a queue says nothing).
    ``unread``: 1 where the owner says something that cannot be read, which counts as a no.
    """

    begin_s: Floats
    held: Bytes
    interruptible: Bytes
    noted: Bytes
    runs_s: Floats
    reach_s: Floats = field(default_factory=lambda: np.empty(0))
    data_bytes: Floats = field(default_factory=lambda: np.empty(0))
    unfit: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    tied: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    unread: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))

    def __post_init__(self) -> None:
        n = len(self.begin_s)
        numbers, flags = (("reach_s", np.zeros(n)), ("data_bytes", np.full(n, np.nan))), np.zeros(n, np.uint8)
        for name, none in (*numbers, *((name, flags) for name in ("unfit", "tied", "unread"))):
            if len(getattr(self, name)) != n:
                object.__setattr__(self, name, none)  # as the constructor of a frozen class does


def no_terms(n: int) -> Terms:
    """Nothing is known of ``n`` jobs."""
    none = np.zeros(n, dtype=np.uint8)
    return Terms(np.full(n, np.nan), none, none, none, np.full(n, np.nan))


def joined_terms(parts: Sequence[Terms]) -> Terms:
    """The terms of several tables as one."""
    columns = [np.concatenate([getattr(one, name) for one in parts]) for name in Terms.__slots__]
    return Terms(*columns)
