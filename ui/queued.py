"""What the queues' jobs say of themselves as readings: which GPUs are held, how long the oldest has waited, how many have
failed."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from twin.frame import Frame, frame_of
from twin.job import Jobs, JobState
from twin.site import Site


class Work:
    """Remembers which jobs were seen to fail, so that each counts once; only those that the queue still lists are
    remembered."""

    def __init__(self) -> None:
        self._failed: dict[str, set[str]] = {}
        self._count: dict[str, float] = {}

    def frames(self, site: Site, queues: Mapping[str, Jobs], now: datetime) -> list[Frame]:
        """A frame for each queue that is an asset, and one of the GPUs that running jobs hold where any queue says which."""
        frames = []
        for name, jobs in queues.items():
            if name in site.position and site.kind(name) == "queue":
                frames.append(self._queue(site, name, jobs, now))
        held = [jobs.rows[jobs.state[jobs.job_of] == JobState.RUNNING] for jobs in queues.values() if len(jobs.rows)]
        if held:
            flag = np.zeros(site.count("gpu"))
            flag[np.concatenate(held)] = 1.0
            frames.append(Frame("gpu", now, site.all_rows("gpu"), {"allocated_flag": flag}, source="icctwin"))
        return frames

    def _queue(self, site: Site, name: str, jobs: Jobs, now: datetime) -> Frame:
        failed = {jobs.ids[i] for i in np.flatnonzero(jobs.state == JobState.FAILED).tolist()}
        known = self._failed.get(name)
        self._count[name] = self._count.get(name, 0.0) + (len(failed - known) if known is not None else 0)
        self._failed[name] = failed
        waiting_s = now.timestamp() - jobs.submit_s[jobs.state == JobState.PENDING]
        oldest_s = float(np.fmax.reduce(waiting_s, initial=0.0))
        row = site.row(name)
        return frame_of("queue", now, row, source="icctwin", oldest_waiting_s=oldest_s, failed_count=self._count[name])
