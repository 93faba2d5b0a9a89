"""What the operator says of places: which partition of which scheduler is in which hall or centre, on which grid, and what lies
between them. Work moves only along a route that is named here; where there is none, it stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from energy.place import LATENCY_CLASSES_MS, TRANSFER_KWH_PER_GB
from twin.frame import Floats

NEVER = np.inf  # a round trip where no route goes
DATA_J_PER_KWH_GB = 3.6e6 / 1e9  # kWh/GB in J/byte


@dataclass(frozen=True, slots=True)
class Place:
    """``partitions`` of ``queue`` that stand in one hall or centre, the first of which takes what is moved there; ``grid``: id
    of the asset whose signal counts there; ``hall``: whose meters say what a watt of IT takes (empty: ``facility_ratio``, the
    facility's power over IT's). ``cluster``: of a federation of schedulers, all of whose partitions are meant where none is
    named; a partition is then called ``cluster/partition``, and what is moved there keeps its partition's name."""

    name: str
    queue: str
    partitions: tuple[str, ...]
    grid: str
    hall: str = ""
    facility_ratio: float = 1.0
    cluster: str = ""

    @property
    def says(self) -> Sequence[str]:
        """What it is made of, in words."""
        return self.partitions or (f"{self.cluster}/*",)

    def has(self, partition: str) -> bool:
        """Whether a partition stands in it."""
        if self.partitions or not self.cluster:
            return partition in self.partitions
        return partition.startswith(f"{self.cluster}/")

    def of(self, known: Iterable[str]) -> list[str]:
        """Those of the ``known`` partitions that stand in it."""
        return [name for name in known if self.has(name)]

    def takes(self, partition: str) -> str:
        """The partition in which a job of ``partition`` waits when it is moved there."""
        return f"{self.cluster}/{partition.rpartition('/')[2]}" if self.cluster else self.partitions[0]


@dataclass(frozen=True, slots=True)
class Route:
    """A way between two places, good in both directions. ``latency_s``: round trip; ``rate_bps`` that data may travel at, with
    ``kwh_per_gb``; infinite where both use the same storage: then nothing travels."""

    between: tuple[str, str]
    latency_s: float
    rate_bps: float = np.inf
    kwh_per_gb: float = TRANSFER_KWH_PER_GB

    @property
    def j_per_byte(self) -> float:
        """Energy of a byte on its way; none where nothing travels."""
        return self.kwh_per_gb * DATA_J_PER_KWH_GB if np.isfinite(self.rate_bps) else 0.0


@dataclass(frozen=True)
class Atlas:
    """All places (p of them) and routes; checked where it is read (``ui.places``)."""

    places: tuple[Place, ...] = ()
    routes: tuple[Route, ...] = ()

    def of(self, queue: str) -> list[int]:
        """Positions of the places of a scheduler."""
        return [i for i, place in enumerate(self.places) if place.queue == queue]

    def at(self, queue: str, partition: str) -> int:
        """Position of the place that a partition is in; -1: in none."""
        found = self._at.get((queue, partition), -1)
        return found if found >= 0 else self._at.get((queue, partition.partition("/")[0] + "/"), -1)

    @cached_property
    def _at(self) -> dict[tuple[str, str], int]:
        return {(p.queue, name): i for i, p in enumerate(self.places) for name in p.partitions or (f"{p.cluster}/",)}

    @cached_property
    def latency_s(self) -> Floats:
        """float64[p, p]: round trip; ``NEVER`` where no route goes."""
        return self._table([route.latency_s for route in self.routes], NEVER)

    @cached_property
    def rate_bps(self) -> Floats:
        """float64[p, p]: that data may travel at; infinite where it need not."""
        return self._table([route.rate_bps for route in self.routes], np.inf, np.inf)

    @cached_property
    def j_per_byte(self) -> Floats:
        """float64[p, p]: that the network takes."""
        return self._table([route.j_per_byte for route in self.routes], 0.0)

    def _table(self, values: Sequence[float], none: float, here: float = 0.0) -> Floats:
        at = {place.name: i for i, place in enumerate(self.places)}
        table = np.full((len(at), len(at)), none)
        np.fill_diagonal(table, here)
        for route, value in zip(self.routes, values, strict=True):
            one, other = (at[name] for name in route.between)
            table[one, other] = table[other, one] = value
        return table

    def may(self, home: int, there: int, reach_s: float, data_bytes: float) -> str:
        """Why a job from ``home`` may not run ``there``; empty where it may. Its owner bears ``reach_s``; how much data goes
        with it must be known where that has to travel."""
        if there == home:
            return ""
        if not self.latency_s[home, there] <= reach_s:
            return "far"
        if np.isfinite(self.rate_bps[home, there]) and not np.isfinite(data_bytes):
            return "data"
        return ""

    def transfer_s(self, home: int, there: int, data_bytes: float) -> float:
        """How long the data of a job is on its way [s]."""
        rate_bps = float(self.rate_bps[home, there])
        return 8 * data_bytes / rate_bps if np.isfinite(rate_bps) and data_bytes > 0 else 0.0


NOWHERE = Atlas()


def latency_class(latency_s: float) -> str:
    """The class of a round trip, as work of the east that is computed in the west is sorted: ``5-20 ms``."""
    for low, high in LATENCY_CLASSES_MS:
        if latency_s * 1e3 < low:
            return f"under {low:g} ms"
        if latency_s * 1e3 <= high:
            return f"{low:g}-{high:g} ms"
    return f"over {LATENCY_CLASSES_MS[-1][1]:g} ms"
