"""What detectors know of the time before their process began: growth of counters over a day or a month, how long GPUs were
braked, and the best that a battery ever was. It is read from the store, so that no restart makes them forget what builds up.

The store is asked for short looks, each by itself: to fold all of two days of 10,000 GPUs read each second takes a store that
keeps no rollups ten thousand million values, and most servers refuse it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from analytics.detect import disk_health, gpu
from analytics.detect.baseline import Growth
from analytics.detect.batteries import Batteries
from twin.frame import Floats
from twin.ports import How, Store
from twin.site import Site

DAY_S = 86400.0
FADES = 2.0  # times its memory: what is older counts a seventh
_OF_BATTERIES = ("battery_runtime_s", "power_w", "charge_frac", "battery_temp_c")


class _Looks(NamedTuple):
    """One each ``every_s``, into the last ``window_s`` by then, as far back as ``back_s``."""

    every_s: float
    window_s: float  # what is read seldom must lie in it
    back_s: float

    def at(self, store: Store, site: Site, kind: str, names: Sequence[str], end: datetime) -> "Iterator[_Seen]":
        """The oldest first, until the one that ends last by ``end``."""
        last_s = end.timestamp() // self.window_s * self.window_s  # a store's steps begin at multiples of their length
        for back in range(int(self.back_s // self.every_s) if site.count(kind) else -1, -1, -1):
            at_s = last_s - back * self.every_s
            low, high = (datetime.fromtimestamp(edge_s, UTC) for edge_s in (at_s - self.window_s, at_s))
            found = store.series(kind, names, low, high, self.window_s, How.LAST).values
            yield _Seen(
                at_s, {name: found[name][-1] if len(found[name]) else np.full(site.count(kind), np.nan) for name in names}
            )


class _Seen(NamedTuple):
    """When, and metric -> float64[n], the last value in the window; NaN where there was none."""

    at_s: float
    values: Mapping[str, Floats]


GPUS = _Looks(4 * 3600.0, 600.0, FADES * DAY_S)
DISKS = _Looks(DAY_S, 3600.0, FADES * disk_health.MONTH_S)
# Hours are kept for two years and more; a battery that was at its best before that looks better than it is.
BATTERIES = _Looks(3 * DAY_S, 3600.0, 730 * DAY_S)


@dataclass(frozen=True, slots=True)
class Past:
    """As of one moment: counter -> growth, of GPUs and of disks; float64[gpus] share of the last day braked; float64[disks]
    how long each has been powered on; batteries that looked as ``BATTERIES`` says."""

    gpus: Mapping[str, Growth]
    braked: Floats
    disks: Mapping[str, Growth]
    powered_on_s: Floats
    batteries: Batteries


def recall(store: Store, site: Site, at: datetime) -> Past:
    """The past of ``site`` as of ``at``; ``SourceError`` where the store does not answer."""
    gpus, braked = _gpus(store, site, at)
    disks, powered_on_s = _disks(store, site, at)
    return Past(gpus, braked, disks, powered_on_s, _batteries(store, site, at))


def _gpus(store: Store, site: Site, end: datetime) -> tuple[dict[str, Growth], Floats]:
    n, was_s = site.count("gpu"), np.nan
    grown, share = {name: Growth(n, DAY_S) for name in gpu.COUNTERS}, np.zeros(n)
    for at_s, values in GPUS.at(store, site, "gpu", [*grown, "throttle_code"], end):
        after_s = 0.0 if np.isnan(was_s) else at_s - was_s
        for name, growth in grown.items():
            growth.update(values[name], after_s)
        share += (1 - np.exp(-after_s / DAY_S)) * (gpu.braked(values["throttle_code"]) - share)
        was_s = at_s
    return grown, share


def _disks(store: Store, site: Site, end: datetime) -> tuple[dict[str, Growth], Floats]:
    """With how long each had been powered on when it said so last: one that says less is another disk."""
    n, was_s = site.count("disk"), np.nan
    grown, powered_on_s = {name: Growth(n, disk_health.MONTH_S) for name in disk_health.COUNTS}, np.full(n, np.nan)
    for at_s, values in DISKS.at(store, site, "disk", [*grown, "powered_on_s"], end):
        now_s = values["powered_on_s"]
        for name, growth in grown.items():
            growth.forget(now_s < powered_on_s)
            growth.update(values[name], 0.0 if np.isnan(was_s) else at_s - was_s)
        powered_on_s = np.where(np.isfinite(now_s), now_s, powered_on_s)
        was_s = at_s
    return grown, powered_on_s


def _batteries(store: Store, site: Site, end: datetime) -> Batteries:
    """By looks at moments: a mean runtime and a mean load are those of no battery."""
    batteries = Batteries(site.count("ups"))
    for _, values in BATTERIES.at(store, site, "ups", _OF_BATTERIES, end):
        batteries.update(*(values[name] for name in _OF_BATTERIES))
    return batteries
