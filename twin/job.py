"""Jobs: the AI workloads of a queue, as a table. What icctwin itself runs on a timer is a task, never a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from twin.frame import Bytes, Floats, Ints
from twin.order import Terms, joined_terms, no_terms


class JobState(IntEnum):
    """Slurm's words, reduced to what decisions need."""

    PENDING = 0
    RUNNING = 1
    SUSPENDED = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """Columns over n jobs of one queue. Times are seconds since 1970 UTC, NaN where not (yet) known.

    ``rows``/``job_of``: int32[m], the GPUs that running jobs hold (row in the site's GPU table, position of the job);
    ``agreed``: what owners have agreed to, None where the queue does not say; ``projects``: whose account each is run for
    (Slurm's account, Kubernetes' namespace), empty where the queue does not say.
    """

    ids: Sequence[str]
    names: Sequence[str]
    users: Sequence[str]
    partitions: Sequence[str]
    state: Bytes
    gpus: Ints
    submit_s: Floats
    start_s: Floats
    end_s: Floats
    limit_s: Floats
    deadline_s: Floats
    deferrable: Bytes
    rows: Ints
    job_of: Ints
    agreed: Terms | None = None
    projects: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def terms(self) -> Terms:
        """What owners have agreed to; to nothing where the queue does not say."""
        return no_terms(len(self)) if self.agreed is None else self.agreed

    @property
    def lasts_s(self) -> Floats:
        """float64[n]: how long each runs: as long as its owner expects, at most its limit; NaN where neither is known."""
        return np.fmin(self.limit_s, self.terms.runs_s)

    def count(self, state: JobState) -> int:
        """Jobs in ``state``."""
        return int(np.count_nonzero(self.state == state))

    def gpus_in(self, state: JobState) -> int:
        """GPUs that jobs in ``state`` hold or ask for."""
        return int(self.gpus[self.state == state].sum())


class NodeState(IntEnum):
    """How a scheduler treats a node. From ``DRAINED`` on it gives it no work."""

    IDLE = 0
    MIXED = 1
    ALLOCATED = 2
    RESERVED = 3
    DRAINED = 4
    DOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """What one queue can give out: columns over n nodes, p partitions and r reservations. Times are seconds since 1970 UTC.

    ``rows``: int32[n], row of each node in the site's table, -1 where the site does not know it; ``partition_nodes`` and
    ``reservation_nodes``: pairs int32[m, 2] (position of the partition or reservation, position of the node).
    """

    nodes: Sequence[str]
    rows: Ints
    state: Bytes
    gpus: Ints
    gpus_used: Ints
    partitions: Sequence[str]
    partition_up: Bytes
    partition_nodes: Ints
    reservations: Sequence[str]
    reservation_start_s: Floats
    reservation_end_s: Floats
    reservation_nodes: Ints

    def count(self, state: NodeState) -> int:
        """Nodes in ``state``."""
        return int(np.count_nonzero(self.state == state))


def no_jobs() -> Jobs:
    """An empty table."""
    f, i, b = np.empty(0), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.uint8)
    return Jobs((), (), (), (), b, i, f, f, f, f, f, b, i, i)


def joined(tables: Sequence[Jobs]) -> Jobs:
    """The jobs of several queues as one table."""
    if len(tables) == 1:
        return tables[0]

    def column(name: str) -> Any:
        return np.concatenate([getattr(table, name) for table in (no_jobs(), *tables)])

    def words(name: str) -> Sequence[str]:
        return [word for table in tables for word in getattr(table, name)]

    starts = np.cumsum([0, *map(len, tables)])
    job_of = [table.job_of + np.int32(start) for table, start in zip(tables, starts, strict=False)]
    return Jobs(
        ids=words("ids"),
        names=words("names"),
        users=words("users"),
        partitions=words("partitions"),
        state=column("state"),
        gpus=column("gpus"),
        submit_s=column("submit_s"),
        start_s=column("start_s"),
        end_s=column("end_s"),
        limit_s=column("limit_s"),
        deadline_s=column("deadline_s"),
        deferrable=column("deferrable"),
        rows=column("rows"),
        job_of=np.concatenate([no_jobs().job_of, *job_of]),
        agreed=joined_terms([no_terms(0), *(table.terms for table in tables)]),
        projects=[word for table in tables for word in (table.projects or [""] * len(table))],
    )
