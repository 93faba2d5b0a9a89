"""The desk over one real queue whose jobs may move between two places, for the tests of partitions and of a federation."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import numpy as np
from devices import opened

from energy.guard import Limits
from energy.levers.job_move import JobMove
from energy.plan import Mode
from ingest.stores.records import open_records
from twin.frame import frame_of
from twin.ports import Series
from twin.state import State
from ui.acting import Acting, Slots
from ui.view import Live

SLOT_S, DAY = 60.0, 24
METRIC = "carbon_gco2_per_kwh"
FAR = "icctwin:runs=60s;latency=20ms"


class Grids:
    """A store that knows both grids: the same day of 24 slots, cleanest as the test begins, the west at 150 g/kWh below."""

    def __init__(self, begin_s):
        self.begin_s = begin_s

    def at(self, time_s, row):
        return (300.0, 150.0)[row] + 100 * ((time_s - self.begin_s) / SLOT_S % DAY) / DAY

    def series(self, kind, metrics, start, end, step_s=None, how=None, rows=None, origin=None, band=""):
        time_s = np.arange(start.timestamp(), end.timestamp() - 1e-6, SLOT_S)
        return Series(time_s, rows, {METRIC: np.array([self.at(time_s, row) for row in rows]).T})


class Clock:
    def now(self):
        return datetime.now(UTC)


class Centre:
    """As one process has it: ``site`` with its ``atlas``, and a queue opened with ``options``."""

    def __init__(self, site, atlas, options, folder, store):
        self.site, self.clock, self.store = site, Clock(), store
        self.opened = opened("slurm", site, queue="slurm", every_s=1.0, timeout_s=20, **options)
        (self.queue,) = self.opened.queues
        self.records = open_records(folder / "records.db")
        self.state, now = State(site), self.clock.now()
        self.live = Live(site, self.state, store, self.records, self.clock, now, modes={"job_move": Mode.AUTO})
        limits = Limits(atlas=atlas, order_dwell_s=0.0)
        slots, levers = Slots(SLOT_S, DAY, 30 * DAY, DAY * SLOT_S), {"job_move": JobMove(longest_wait_s=DAY * SLOT_S)}
        self.acting = Acting(
            self.live, lambda frames: None, [self.queue], {}, folder, METRIC, limits, slots, levers
        )  # fmt: skip

    async def look(self):
        """Read, act and plan once, as the tasks do."""
        now = self.clock.now()
        jobs, cluster = await read_anew(self.queue)
        self.acting.seen("slurm", jobs, cluster)
        self.state.absorb(frame_of("queue", now, 0, waiting_count=float(len(jobs))), now)
        for row in range(2):
            value = float(self.store.at(np.array([now.timestamp()]), row)[0])
            self.state.absorb(frame_of("grid", now, row, carbon_gco2_per_kwh=value), now)
        await self.acting.acts(now)
        await self.acting.plans(self.clock.now())


async def read_anew(queue):
    """Jobs and cluster as they stand, and not as the queue has just read them."""
    queue._scheduler._read = None
    now = datetime.now(UTC)
    return await queue.jobs(now), await queue.cluster(now)


@asynccontextmanager
async def centre_of(*given):
    """A ``Centre``, let go of at its end as a process that dies lets go."""
    centre = Centre(*given)
    try:
        yield centre
    finally:
        await centre.opened.sources[0].close()
        centre.records.close()
