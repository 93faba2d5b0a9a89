"""The plant: jobs, silicon, power, water, weather and faults of one centre, advanced together and only forwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ingest.sources.simulated.compute import Compute
from ingest.sources.simulated.effects import healthy
from ingest.sources.simulated.faults import Faults, Planned
from ingest.sources.simulated.fleet import Fleet, summed
from ingest.sources.simulated.loops import OWN, STAGE_FRAC, Loops
from ingest.sources.simulated.outside import Outside
from ingest.sources.simulated.power import PowerChain
from ingest.sources.simulated.workload import CYCLE_S, Workload
from twin.errors import SourceError
from twin.frame import Floats

SETTLE_S = 2 * 3600.0  # the plant has run this long, in coarse steps, when it starts
BACK_S = 60.0  # how far a poll may lie behind the one before it, as polls of several sources do
LEAP_S = 2 * 86400.0  # a longer leap (a laptop that slept) is not lived through: the centre stood still for the rest
_LIMIT = ("chiller", -1)  # under which the order for how many may run is kept
LINK_BPS = 4e11  # of one network card of a node


@dataclass(slots=True)
class _Order:
    until_s: float
    key: str


class Plant:
    """One centre. ``advance`` brings all of it to a time; what its parts hold then is the truth at that time.

    It starts at ``start``, or at the first time it hears of. The same generator and the same sequence of times give the same
    plant, bit for bit; another sequence (15 s instead of 1 s) gives other chances but the same jobs and the same physics.
    ``goes_on``: its past was told by a plant before it, so its jobs begin with it, whatever warmed it up.
    """

    goes_on = False

    def __init__(
        self,
        fleet: Fleet,
        rng: np.random.Generator,
        factor: float,
        planned: Sequence[Planned],
        start: datetime | None,
        stage_frac: float = STAGE_FRAC,
    ) -> None:
        jobs, health, silicon, water, electric, world, chance, self.sensors = rng.spawn(8)
        self.fleet = fleet
        self.effects = healthy(fleet, health)
        self.work = Workload(fleet, jobs)
        self.compute = Compute(fleet, self.effects, silicon)
        self.loops = Loops(fleet, self.effects, water, stage_frac)
        self.power = PowerChain(fleet, electric)
        self.outside = Outside(world)
        self.faults = Faults(fleet, self.effects, self.work, chance, factor, planned)
        self.rack_w = np.zeros(fleet.count("rack"))
        self.switch_w, self.storage_w = np.zeros(fleet.count("switch")), np.zeros(fleet.count("storage"))
        self._switch_rated_w = fleet.site.number("switch", "rated_w", 1_100.0)
        self._storage_rated_w = fleet.site.number("storage", "rated_w", 1e4)
        self._zone = ZoneInfo(fleet.site.timezone)
        self._start = start
        self._time: datetime | None = None
        self._orders: dict[tuple[str, int], _Order] = {}

    @property
    def begun(self) -> bool:
        """It has a time."""
        return self._time is not None

    @property
    def time(self) -> datetime:
        """Where it stands (aware UTC); ``RuntimeError`` before its start."""
        if self._time is None:
            raise RuntimeError("the simulated centre has not begun; poll one of its sources first")
        return self._time

    def advance(self, now: datetime) -> None:
        """Bring everything to ``now``. A time up to ``BACK_S`` behind changes nothing; further back is a ``SourceError``."""
        if self._time is None:
            self._begin(self._start or now)
        dt_s = (now - self.time).total_seconds()
        if dt_s < -BACK_S:
            raise SourceError(
                f"the simulated centre stands at {self.time:%Y-%m-%d %H:%M:%S} UTC and cannot go back to "
                f"{now:%Y-%m-%d %H:%M:%S}; set the clock right or start it anew"
            )
        if dt_s > LEAP_S:
            self.work.begin(now.timestamp())
            self.faults.now_s = now.timestamp() - LEAP_S
        if dt_s > 0:
            self._step(now, min(dt_s, LEAP_S))

    def order(self, kind: str, row: int, value: float, until_s: float, key: str) -> float:
        """Order a supply temperature [°C] of a CDU or loop, or how fast a tower's fan may turn at most, until ``until_s``; what
        is then ordered. A key counts once."""
        ordered = self.loops.ordered(kind)
        known = self._orders.get((kind, row))
        if known is None or known.key != key:
            ordered[row] = value
        self._orders[kind, row] = _Order(until_s, key)
        return float(ordered[row])

    def order_limit(self, most: int, until_s: float, key: str) -> int:
        """Order how many chillers may run at once, likewise."""
        known = self._orders.get(_LIMIT)
        if known is None or known.key != key:
            self.loops.limit = most
        self._orders[_LIMIT] = _Order(until_s, key)
        return self.loops.limit

    def _begin(self, start: datetime) -> None:
        self._time = start - timedelta(seconds=SETTLE_S)
        offset = self._zone.utcoffset(start)
        self.work.offset_s = offset.total_seconds() if offset else 0.0
        if self.goes_on:
            self.work.go_on(start.timestamp())
        self.work.begin(self._time.timestamp())
        factor, self.faults.factor = self.faults.factor, 0.0
        self.faults.begin(start.timestamp())
        self.effects.node_boot_s += start.timestamp()
        self.effects.disk_on_s += start.timestamp()
        for _ in range(24):
            self._step(self._time + timedelta(seconds=SETTLE_S / 24), SETTLE_S / 24, calm=True)
        self.faults.factor = factor

    def _step(self, now: datetime, dt_s: float, calm: bool = False) -> None:
        time_s = now.timestamp()
        offset = self._zone.utcoffset(now)
        offset_s = offset.total_seconds() if offset else 0.0
        self.work.offset_s = offset_s
        for moment_s in _moments(time_s - dt_s, time_s):
            self.work.advance(moment_s)
            if not calm:
                self.faults.advance(moment_s)
        self._end_orders(time_s)
        self.outside.step(time_s, offset_s, dt_s)
        self.compute.step(self.work.activity(time_s), self.work.gpu_slot, self.plate_c(), dt_s)
        heat_w = self._racks()
        self.loops.advance(heat_w, self.outside.wet_c, self.outside.dry_c, dt_s)
        loops = self.loops
        loads = {
            "rack": self.rack_w,
            "switch": self.switch_w,
            "storage": self.storage_w,
            "cdu": loops.cdu_w,
            "pump": loops.pump_w,
            "chiller": loops.chiller_w,
            "tower": loops.tower_w,
        }
        self.power.step(loads, (time_s + offset_s) / 3600.0 % 24, self.outside.sun, dt_s)
        self._time = now

    def plate_c(self) -> Floats:
        """float64[racks]: mean coolant temperature at the cold plates of each rack."""
        mean_c: Floats = 0.5 * (self.loops.supply_c[self.fleet.rack_cdu] + self.loops.rack_c)
        return mean_c

    def _racks(self) -> Floats:
        """Power into each rack (kept in ``rack_w``) and the heat set free in it [W]: all but what dies keep for a while."""
        fleet, compute = self.fleet, self.compute
        n = len(self.rack_w)
        busy = summed(fleet.node_rack, compute.net, n)
        traffic = np.where(fleet.switch_rack >= 0, busy[fleet.switch_rack] / 8, float(compute.net.mean()))
        self.switch_w = self._switch_rated_w * (0.62 + 0.2 * np.minimum(traffic, 1.5))
        self.storage_w = self._storage_rated_w * (0.7 + 0.2 * min(1.0, float(compute.net.mean())))
        leaf = fleet.switch_rack >= 0
        leaf_w = summed(fleet.switch_rack[leaf], self.switch_w[leaf], n)
        self.rack_w = summed(fleet.node_rack, compute.node_w, n) + leaf_w
        other_w = summed(fleet.node_rack, compute.rest_w + compute.supply_loss_w, n)
        return summed(fleet.gpu_rack, compute.heat_w, n) + other_w + leaf_w

    def _end_orders(self, time_s: float) -> None:
        """Orders that nobody renewed: the device goes back to its own setpoint."""
        for (kind, row), order in list(self._orders.items()):
            if order.until_s <= time_s:
                if (kind, row) == _LIMIT:
                    self.loops.limit = self.fleet.count("chiller")
                else:
                    self.loops.ordered(kind)[row] = OWN[kind]
                del self._orders[kind, row]


def _moments(from_s: float, to_s: float) -> list[float]:
    """Jobs and faults meet at every scheduler cycle on the way, so that a long step is not all jobs first, then all faults."""
    count = max(1, round((to_s - from_s) / CYCLE_S))
    return [from_s + (to_s - from_s) * i / count for i in range(1, count)] + [to_s]
