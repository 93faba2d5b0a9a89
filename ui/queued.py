"""What the queues' jobs say of themselves as readings: which GPUs are held, how long the oldest has waited, how many failed,
which nodes are out and which are kept for maintenance."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from twin.frame import Frame, frame_of
from twin.job import Cluster, Jobs, JobState, NodeState
from twin.site import Site


def capacity_frames(site: Site, name: str, cluster: Cluster, now: datetime) -> list[Frame]:
    """How many nodes the queue called ``name`` has, how many are drained and how many down."""
    if name not in site.position or site.kind(name) != "queue":
        return []
    drained, down = (float(cluster.count(state)) for state in (NodeState.DRAINED, NodeState.DOWN))
    count, row = float(len(cluster.state)), site.row(name)
    frame = frame_of("queue", now, row, source="icctwin", nodes_count=count, nodes_drained_count=drained, nodes_down_count=down)
    return [frame]


def reservations_of(site: Site, cluster: Cluster) -> list[dict[str, object]]:
    """The queue's reservations with the ids of their nodes, as ``analytics.oncall.silence`` reads them."""
    ids, found = site.ids_of("node"), []
    for i, name in enumerate(cluster.reservations):
        rows = cluster.rows[cluster.reservation_nodes[cluster.reservation_nodes[:, 0] == i, 1]]
        one: dict[str, object] = {"name": name, "nodes": [ids[row] for row in rows[rows >= 0].tolist()]}
        one |= {"start_s": float(cluster.reservation_start_s[i]), "end_s": float(cluster.reservation_end_s[i])}
        found.append(one)
    return found


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
