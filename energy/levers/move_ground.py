"""The ground of ``job_move``: places of one queue that jobs can go to now, by their grids, routes, partitions and nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from energy.ahead import SignalAhead
from energy.levers import Outlook, QueueNow, believed
from energy.levers.jobs_ahead import partition_pools
from energy.place import Places
from energy.place.atlas import Atlas, Place
from twin.frame import Floats, Ints, Origin
from twin.site import Bools, Site
from twin.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The places of one queue that can be gone to now: positions in the atlas, their signals, facility over IT power there, the
    pool of nodes that each takes from, and the partitions that take jobs."""

    at: Sequence[int]
    signals: Sequence[SignalAhead]
    ratio: Floats
    pools: Sequence[frozenset[int]]
    up: frozenset[str]
    atlas: Atlas

    @property
    def price(self) -> Floats:
        """float64[p, t]: the signal of each, for a watt of IT."""
        return np.array([ratio * signal.ahead for ratio, signal in zip(self.ratio, self.signals, strict=True)])

    def into(self, p: int) -> Place:
        """The ``p``-th of them."""
        return self.atlas.places[self.at[p]]

    def takes(self, p: int, partition: str) -> str:
        """The partition of the ``p``-th in which a job of ``partition`` would wait; empty where that takes none now."""
        name = self.into(p).takes(partition)
        return name if name in self.up and self.into(p).has(name) else ""

    def places(self, capacity: Floats) -> Places:
        """The same for ``energy.place``, with room for ``capacity``: float64[p, t], GPUs."""
        at, atlas = np.ix_(self.at, self.at), self.atlas
        names = [atlas.places[i].name for i in self.at]
        return Places(names, self.price, capacity, atlas.latency_s[at], atlas.rate_bps[at], atlas.j_per_byte[at])

    def barred(self, home: Ints, reach_s: Floats, data_bytes: Floats) -> Bools:
        """bool[n, p]: places where a job must not go, by how far they are and by its data."""
        found = [
            [bool(self.atlas.may(self.at[h], there, reach, size)) for there in self.at]
            for h, reach, size in zip(home.tolist(), reach_s.tolist(), data_bytes.tolist(), strict=True)
        ]
        return np.array(found, dtype=np.bool_).reshape(len(home), len(self.at))

    def shut(self, home: Ints, partitions: Sequence[str]) -> Bools:
        """bool[n, p]: places that have no partition for a job, or not now; its home it has."""
        found = [
            [p != h and not self.takes(p, name) for p in range(len(self.at))]
            for h, name in zip(home.tolist(), partitions, strict=True)
        ]
        return np.array(found, dtype=np.bool_).reshape(len(home), len(self.at))

    def sent(self, home: int, there: int, data_bytes: float) -> tuple[float, float]:
        """What of a job's data travels where it runs ``there`` [bytes], and what that takes [kWh]."""
        here, away = self.at[home], self.at[there]
        if here == away or not np.isfinite(self.atlas.rate_bps[here, away]):
            return 0.0, 0.0
        return data_bytes, data_bytes * float(self.atlas.j_per_byte[here, away]) / 3.6e6


def ground_of(queue: QueueNow, outlook: Outlook, site: Site, state: State, now: datetime) -> Ground | None:
    """The places of a queue that take jobs and whose grid is foreseen; None where there are not two with nodes of their own."""
    if queue.cluster is None:
        return None
    up = {name for name, flag in zip(queue.cluster.partitions, queue.cluster.partition_up, strict=True) if flag}
    of = partition_pools(queue.cluster)[1]
    at: list[int] = []
    signals: list[SignalAhead] = []
    taken: list[frozenset[int]] = []
    for position in outlook.atlas.of(queue.name):
        one = outlook.atlas.places[position]
        signal = outlook.grids.get(one.grid)
        open_ = bool(one.of(up)) if one.cluster else one.partitions[0] in up
        if open_ and signal is not None and (not signals or _alike(signal, signals[0])):
            at.append(position)
            signals.append(signal)
            taken.append(frozenset(of[name] for name in one.of(of)))
    shared = sum(map(len, taken)) != len(frozenset().union(*taken))
    if len(at) < 2 or shared:
        return None
    ratio = np.array([facility_ratio(outlook.atlas.places[position], site, state, now) for position in at])
    return Ground(at, signals, ratio, taken, frozenset(up), outlook.atlas)


def _alike(one: SignalAhead, other: SignalAhead) -> bool:
    """Whether two signals are cut into the same slots."""
    return (one.begin_s, one.step_s, one.day, len(one.ahead)) == (other.begin_s, other.step_s, other.day, len(other.ahead))


def facility_ratio(one: Place, site: Site, state: State, now: datetime) -> float:
    """What a watt of IT takes in a place, cooling included: as its hall's meters or the twin say, else as it is written."""
    if one.hall:
        for origin in (Origin.MEASURED, Origin.MODELLED):
            it_w, cooling_w = (
                float(believed(state, "hall", name, now, origin)[site.row(one.hall)])
                for name in ("it_power_w", "cooling_power_w")
            )
            if it_w > 0 and cooling_w >= 0:
                return 1 + cooling_w / it_w
    return one.facility_ratio
