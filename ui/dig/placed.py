"""Which jobs ran where: a record for each job that held GPUs, kept when it is seen to have let them go.

The queue tells of running jobs and their GPUs; once a job is over the queue forgets where it ran, so it is written down here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from twin.frame import Ints
from twin.job import Jobs
from twin.ports import Records
from twin.site import Site
from ui.view import Live

TOPIC = "placement"
MAX_KEPT = 50_000  # records; the oldest are dropped
MAX_READ = 5000  # of the newest looked through for one asset
MAX_RANGES = 5000  # stretches of neighbouring GPUs in one record; a job on more is kept by its first ones
_TRIM_EVERY = 500


@dataclass(slots=True)
class _Held:
    name: str
    user: str
    start_s: float
    gpus: int
    ranges: list[list[int]]
    first: str  # id of the first GPU: a site whose tables were changed is noticed by it


class Placed:
    """Looks at the jobs of ``live`` from time to time. One thread."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._held: dict[str, _Held] = {}
        self._written = 0

    def step(self, now: datetime) -> None:
        """Remember who holds what, and write down who no longer does."""
        records, held = self._live.records, self._now(self._live.site, self._live.jobs, now)
        for job in [job for job in self._held if job not in held]:
            one = self._held.pop(job)
            records.append(
                TOPIC,
                now,
                {
                    "job": job, "name": one.name, "user": one.user, "start_s": one.start_s, "end_s": now.timestamp(),
                    "gpus": one.gpus, "ranges": one.ranges, "first": one.first,
                },
            )  # fmt: skip
            self._written += 1
            if self._written % _TRIM_EVERY == 0:
                records.trim(TOPIC, MAX_KEPT)
        self._held.update(held)

    def _now(self, site: Site, jobs: Jobs, now: datetime) -> dict[str, _Held]:
        order = np.argsort(jobs.job_of, kind="stable")
        rows, owners = jobs.rows[order], jobs.job_of[order]
        held = {}
        for part in np.split(np.arange(len(owners)), np.flatnonzero(np.diff(owners)) + 1):
            if not len(part):
                continue
            i, mine = int(owners[part[0]]), np.sort(rows[part])
            start_s = float(jobs.start_s[i])
            begun = now.timestamp() if np.isnan(start_s) else start_s
            first = site.ids[site.of_kind("gpu")[mine[0]]]
            held[jobs.ids[i]] = _Held(jobs.names[i], jobs.users[i], begun, len(mine), ranges_of(mine), first)
        return held


def ranges_of(rows: Ints) -> list[list[int]]:
    """Stretches ``[first, last]`` of increasing ``rows``."""
    breaks = np.flatnonzero(np.diff(rows) != 1)
    first, last = np.r_[rows[0], rows[breaks + 1]], np.r_[rows[breaks], rows[-1]]
    return [[int(a), int(b)] for a, b in zip(first, last, strict=True)][:MAX_RANGES]


def ran_on(
    site: Site, records: Records, gpus: Ints, start: datetime | None = None, limit: int = 100
) -> list[Mapping[str, Any]]:
    """The newest jobs that held any of ``gpus`` (rows) and have let them go."""
    mine = np.zeros(site.count("gpu") + 1, dtype=np.int64)
    mine[gpus + 1] = 1
    before = np.cumsum(mine)  # how many of them lie before a row
    ids, found = site.of_kind("gpu"), list[Mapping[str, Any]]()
    for _, _, record in reversed(records.read(TOPIC, start=start, limit=MAX_READ, newest=True)):
        ranges: Sequence[Sequence[int]] = record["ranges"]
        if ranges[-1][1] >= len(ids) or site.ids[ids[ranges[0][0]]] != record["first"]:
            continue  # of a site whose tables were others
        here = sum(int(before[last + 1] - before[first]) for first, last in ranges)
        if here:
            found.append(
                {name: value for name, value in record.items() if name not in ("ranges", "first")} | {"gpus_here": here}
            )
            if len(found) == limit:
                break
    return found
