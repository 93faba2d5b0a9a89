"""A centre that the grid asks, on a clock that is moved by hand: two jobs of eight GPUs run and one waits; the owners of the
first and the last agreed. The meter shows what the GPUs draw, at most their cap, and 4 kW beside.
"""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
from energy_house import NOW
from faces_harness import Hands
from small import rows

from energy.plan import Mode
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.curtail import Asked, Interval, Request
from twin.frame import Frame, Origin
from twin.job import Jobs, JobState
from twin.load import build_site
from twin.order import Receipt, Result, Terms, Verb, receipts
from twin.state import State
from ui.acting import Acting
from ui.responding import TOPIC
from ui.view import Live

GPUS, FULL_W, OTHER_W = 16, 500.0, 4000.0


def plant_site():
    assets = ["id=h kind=hall", "id=r kind=rack parent=h", "id=slurm kind=queue", "id=net kind=grid"]
    for n in (0, 1):
        assets.append(f"id=n{n} kind=node parent=r")
        assets += [f"id=n{n}g{g} kind=gpu parent=n{n} rated_w=700 index={g}" for g in range(8)]
    return build_site("s", "UTC", rows(*assets))


class Scheduler:
    """Two jobs on eight GPUs each, and one that waits; takes orders."""

    releases_itself = True
    name = "slurm"

    def __init__(self):
        self.state = [JobState.RUNNING, JobState.RUNNING, JobState.PENDING]
        self.begin, self.orders = [np.nan] * 3, []

    def jobs(self, now_s):
        n, nan, none = 3, np.full(3, np.nan), np.zeros(3, np.uint8)
        runs = [j for j in (0, 1) if self.state[j] == JobState.RUNNING]
        pairs = [(8 * j + g, j) for j in runs for g in range(8)]
        noted = np.array([not np.isnan(b) for b in self.begin], dtype=np.uint8)
        agreed = Terms(np.array(self.begin), none, np.array([1, 0, 0], np.uint8), noted, nan)
        return Jobs(
            ["0", "1", "2"], ["j"] * n, ["u"] * n, ["batch"] * n, np.array(self.state, np.uint8), np.full(n, 8, np.int32),
            np.full(n, now_s - 7200), np.array([now_s - 7200, now_s - 7200, np.nan]), nan, np.full(n, 40 * 3600.0), nan,
            np.array([1, 0, 1], np.uint8), np.array([a for a, _ in pairs], np.int32), np.array([b for _, b in pairs], np.int32),
            agreed,
        )  # fmt: skip

    async def order(self, table, now):
        made = []
        for target, value in zip(table.targets, table.values, strict=True):
            j = int(target)
            self.orders.append((table.verb, target))
            if table.verb is Verb.PAUSE:
                self.state[j] = JobState.PENDING
            elif table.verb is Verb.BEGIN:
                self.begin[j] = float(value) if value > now.timestamp() else np.nan
            made.append(Receipt(Result.DONE, np.nan, float(value)))
        return receipts(made)


class House:
    """The centre around one broker, on a clock that is moved by hand."""

    def __init__(self, folder, bus, grid, mode):
        self.site, self.clock, self.slurm = plant_site(), Hands(NOW), Scheduler()
        self.bus, self.grid = bus, grid
        self.store, self.records = open_store(folder / "store", self.site), open_records(folder / "records.db")
        self.state, self.folder = State(self.site), folder
        modes = dict.fromkeys(("demand_response", "job_respond"), mode)
        self.live = Live(self.site, self.state, self.store, self.records, self.clock, NOW, modes=modes)
        self.caps = np.full(GPUS, 700.0)
        self.draws, self.meter = np.full(GPUS, FULL_W), []
        self.anew()

    def anew(self):
        """The acting part as a process that has just started."""
        self.acting = Acting(
            self.live, self.publish, [self.slurm], dict(self.bus.actuators), self.folder, askers=self.grid.askers
        )

    def publish(self, frames):
        for frame in frames:
            self.state.absorb(frame, self.clock.now())

    def hour_before(self, each_w=FULL_W):
        """Ordinary life, for the baseline: so much each GPU."""
        usual = {"facility_power_w": np.array([OTHER_W + each_w * GPUS])}
        self.draws[:] = each_w
        times = [NOW - timedelta(minutes=m) for m in range(60, 0, -1)]
        self.store.append([Frame("site", time, np.zeros(1, np.int32), usual) for time in times])

    async def minute(self):
        """What the field says, what the grid says, one look of all tasks."""
        now = self.clock.now()
        for source in (*self.bus.sources, *self.grid.sources):
            self.publish(await source.poll(now))
        runs = np.repeat([self.slurm.state[j] == JobState.RUNNING for j in (0, 1)], 8)
        power = np.where(runs, np.minimum(self.draws, self.caps), 70.0)
        self.meter.append(OTHER_W + float(power.sum()))
        frames = [
            Frame("gpu", now, self.site.all_rows("gpu"), {"power_w": power, "power_cap_w": self.caps.copy()}),
            Frame("site", now, np.zeros(1, np.int32), {"facility_power_w": np.array([self.meter[-1]])}),
            Frame("queue", now, np.zeros(1, np.int32), {"waiting_count": np.array([1.0])}),
        ]
        self.publish(frames)
        self.store.append(frames)
        self.acting.seen("slurm", self.slurm.jobs(now.timestamp()), None)
        await self.acting.respond(now)
        await self.acting.acts(now)
        await self.acting.reverts(now)
        self.clock.skip(60)

    async def minutes(self, n):
        for _ in range(n):
            await self.minute()

    def told(self, *stages):
        """What was noted of requests in these stages, the oldest first."""
        return [record for _, _, record in self.records.read(TOPIC, limit=10_000) if record["stage"] in stages]


class Grid:
    """Whoever asks: what is in ``news`` is asked at the next look."""

    def __init__(self):
        self.news = []

    def asked(self):
        taken, self.news = self.news, []
        return taken

    def asks(self, *requests, who="dso"):
        self.news.append(Asked(who, requests))


class Obedient:
    """Sets each cap at once."""

    def __init__(self):
        self.house = None

    async def apply(self, action, now):
        row = self.house.site.row(action.asset)
        self.house.caps[row] = action.value
        values = {"power_cap_w": np.array([action.value])}
        return Frame("gpu", now, np.array([row], np.int32), values, origin=Origin.COMMANDED)


def asking_house(folder, mode=Mode.AUTO):
    """The house, and who asks, without a wire between."""
    caps, grid = Obedient(), Grid()
    bus = SimpleNamespace(sources=[], actuators=dict.fromkeys(plant_site().ids_of("gpu"), caps))
    house = House(folder, bus, SimpleNamespace(sources=[], askers=[grid]), mode)
    caps.house = house
    return house, grid


def limit(house, key, begin_min, end_min, kw):
    """A request for at most ``kw`` from and to so many minutes from now; an end of infinity: until it is taken back."""
    now_s = house.clock.now().timestamp()
    return Request(key, now_s, (Interval(now_s + 60 * begin_min, now_s + 60 * end_min, limit_w=1e3 * kw),))
