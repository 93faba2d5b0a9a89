"""Placement: in which partition, hall or centre work runs, and on which racks of a hall.

``place.atlas`` says which partition of which scheduler is in which hall or centre, and how far apart they are;
``place.between`` chooses place and time together for work that may travel; ``place.inside`` chooses racks so that loops are
even, or so that a coolant unit and its pumps may rest. Pure decisions: what comes of them is orders for schedulers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from energy.shift import Work
from twin.frame import Floats, Ints
from twin.site import Bools

# Round-trip classes of eastern work computed in the west [ms]: real time, near real time, batch.
LATENCY_CLASSES_MS = ((1.0, 5.0), (5.0, 20.0), (20.0, 40.0))
# Energy of a byte on its way: 0.06 kWh/GB in 2015, halving every two years (Aslan, Mayers, Koomey & France 2018,
# J. Ind. Ecol. 22, 785); eight years on that is 0.004.
TRANSFER_KWH_PER_GB = 0.004
J_PER_BYTE = TRANSFER_KWH_PER_GB * 3.6e6 / 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Columns over p places and t slots. ``price``: float64[p, t], cost of one watt of IT over each slot, with the place's own
    losses and cooling in it (its tariff or carbon times its facility over IT power then); ``capacity``: float64[p, t], GPUs;
    ``latency_s``: float64[p, p], round trip between places; ``rate_bps``: float64[p, p], that data may travel at (infinity: it
    is there already); ``j_per_byte``: float64[p, p], that the network takes for it (empty: ``J_PER_BYTE`` everywhere)."""

    ids: Sequence[str]
    price: Floats
    capacity: Floats
    latency_s: Floats
    rate_bps: Floats
    j_per_byte: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def __post_init__(self) -> None:
        p = len(self.ids)
        if not self.j_per_byte.size:
            object.__setattr__(self, "j_per_byte", np.full((p, p), J_PER_BYTE))  # as the constructor of a frozen class does
        if self.price.shape != self.capacity.shape or len(self.price) != p or not p:
            raise ValueError(f"{p} places need a price and a capacity for each slot; they have {self.price.shape}")
        if self.latency_s.shape != (p, p) or self.rate_bps.shape != (p, p):
            raise ValueError(f"latency and rate must be tables of {p} by {p} places")
        if not (np.isfinite(self.price).all() and (self.capacity >= 0).all() and (self.rate_bps > 0).all()):
            raise ValueError("a price is not finite, a capacity is below 0 or a rate is not above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Travel:
    """Columns over n pieces of work. ``home``: int32[n], where they and their data are; ``latency_s``: float64[n], the longest
    round trip to home that they bear (0: they stay); ``data_bytes``: float64[n] to be moved with them; ``owned``: int32[n],
    whose they are (for fairness); ``barred``: bool[n, p], places where they may not be, by law or contract."""

    home: Ints
    latency_s: Floats
    data_bytes: Floats
    owned: Ints
    barred: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """``place``: int32[n], -1 where there was no room; ``running``: bool[n, t]; ``cost``: what slots and travel cost;
    ``bound``: no placement that is in time costs less (NaN where something is late); ``late``: bool[n]; ``transfer_j``: energy
    of the data moved."""

    place: Ints
    running: Bools
    cost: float
    bound: float
    late: Bools
    transfer_j: float

    @property
    def rank(self) -> tuple[int, int, float]:
        """The lower the better: work without room, then late work, then cost."""
        return int((self.place < 0).sum()), int(self.late.sum()), self.cost

    def moved(self, travel: Travel) -> Bools:
        """bool[n]: runs elsewhere than at home."""
        return np.asarray((self.place >= 0) & (self.place != travel.home))


def allowed(work: Work, places: Places, travel: Travel) -> Bools:
    """bool[n, p]: where each may run: at home, and wherever latency and law let it."""
    near = places.latency_s[travel.home] <= travel.latency_s[:, None]
    at_home = np.arange(len(places.ids)) == travel.home[:, None]
    return np.asarray((near | at_home) & ~travel.barred)


def transfer_slots(places: Places, travel: Travel, slot_s: float) -> Ints:
    """int32[n, p]: slots until the data is there."""
    seconds = 8 * travel.data_bytes[:, None] / places.rate_bps[travel.home]
    at_home = np.arange(len(places.ids)) == travel.home[:, None]
    return np.where(at_home, 0, np.ceil(seconds / slot_s - 1e-9)).astype(np.int32)
