"""Jobs: the AI workloads of a queue, as a table. What icctwin itself runs on a timer is a task, never a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from twin.frame import Bytes, Floats, Ints


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

    ``rows``/``job_of``: int32[m], the GPUs that running jobs hold (row in the site's GPU table, position of the job).
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

    def __len__(self) -> int:
        return len(self.ids)

    def count(self, state: JobState) -> int:
        """Jobs in ``state``."""
        return int(np.count_nonzero(self.state == state))

    def gpus_in(self, state: JobState) -> int:
        """GPUs that jobs in ``state`` hold or ask for."""
        return int(self.gpus[self.state == state].sum())


def no_jobs() -> Jobs:
    """An empty table."""
    f, i, b = np.empty(0), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.uint8)
    return Jobs((), (), (), (), b, i, f, f, f, f, f, b, i, i)
