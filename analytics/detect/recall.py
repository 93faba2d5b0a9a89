"""What detectors know of the time before their process began: growth of counters over a day or a month, how long GPUs were
braked, and the best that a battery ever was. It is read from the store, so that no restart makes them forget what builds up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from analytics.detect import disk_health, gpu
from analytics.detect.baseline import Growth
from analytics.detect.batteries import Batteries
from twin.frame import Floats
from twin.ports import How, Store
from twin.site import Site

HOUR_S, LOOK_S, DAY_S = 3600.0, 6 * 3600.0, 86400.0
FADES = 2.0  # times its memory: what is older counts a seventh
BATTERY_DAYS = 730  # hours are kept for longer; a battery that was at its best before that looks better than it is
_OF_BATTERIES = ("battery_runtime_s", "power_w", "charge_frac", "battery_temp_c")


@dataclass(frozen=True, slots=True)
class Past:
    """As of one moment: counter -> growth, of GPUs and of disks; float64[gpus] share of the last day braked; float64[disks]
    how long each has been powered on; batteries that looked every ``LOOK_S``."""

    gpus: Mapping[str, Growth]
    braked: Floats
    disks: Mapping[str, Growth]
    powered_on_s: Floats
    batteries: Batteries


def recall(store: Store, site: Site, at: datetime) -> Past:
    """The past of ``site`` as of ``at``; ``SourceError`` where the store does not answer."""
    day, month = _Stretch(at, DAY_S, HOUR_S), _Stretch(at, disk_health.MONTH_S, DAY_S)
    gpus, _ = _grown(store, site, "gpu", tuple(gpu.COUNTERS), day)
    disks, powered_on_s = _grown(store, site, "disk", tuple(disk_health.COUNTS), month, age="powered_on_s")
    return Past(gpus, _braked(store, site, day), disks, powered_on_s, _batteries(store, site, at))


class _Stretch(NamedTuple):
    """What comes before ``end``: as much as is not forgotten after ``memory_s``, in steps."""

    end: datetime
    memory_s: float
    step_s: float

    def read(self, store: Store, site: Site, kind: str, names: Sequence[str]) -> tuple[Floats, Floats, Mapping[str, Floats]]:
        """float64[t] ends of steps, none after ``end``; how long each comes after the one before; metric -> float64[t, n]."""
        if not site.count(kind):
            return np.empty(0), np.empty(0), {name: np.empty((0, 0)) for name in names}
        start = self.end - timedelta(seconds=FADES * self.memory_s)
        found = store.series(kind, names, start, self.end, self.step_s, How.LAST)
        times = np.minimum(found.time_s + self.step_s, self.end.timestamp())
        return times, np.diff(times, prepend=times[:1]), found.values


def _grown(
    store: Store, site: Site, kind: str, names: Sequence[str], of: _Stretch, age: str = ""
) -> tuple[dict[str, Growth], Floats]:
    """``age``: a metric that only grows while it is the same asset; with its last values, float64[n]."""
    times, after_s, columns = of.read(store, site, kind, [*names, age] if age else names)
    grown = {name: Growth(site.count(kind), of.memory_s) for name in names}
    was = np.full(site.count(kind), np.nan)
    for k, gap_s in enumerate(after_s.tolist()):
        now = columns[age][k] if age else was
        for name, growth in grown.items():
            growth.forget(now < was)
            growth.update(columns[name][k], gap_s)
        was = np.where(np.isfinite(now), now, was)
    for growth in grown.values() if len(times) else ():
        growth.fade(of.end.timestamp() - float(times[-1]))
    return grown, was


def _braked(store: Store, site: Site, of: _Stretch) -> Floats:
    """float64[n]: the share as it stood at the end, of one look a step."""
    _, after_s, columns = of.read(store, site, "gpu", ("throttle_code",))
    share = np.zeros(site.count("gpu"))
    for code, gap_s in zip(columns["throttle_code"], after_s.tolist(), strict=True):
        share += (1 - np.exp(-gap_s / of.memory_s)) * (gpu.braked(code) - share)
    return share


def _batteries(store: Store, site: Site, end: datetime) -> Batteries:
    """By looks at moments: a mean runtime and a mean load are those of no battery."""
    batteries = Batteries(site.count("ups"))
    if site.count("ups"):
        found = store.series("ups", _OF_BATTERIES, end - timedelta(days=BATTERY_DAYS), end, LOOK_S, How.LAST)
        for look in zip(*(found.values[name] for name in _OF_BATTERIES), strict=True):
            batteries.update(*look)
    return batteries
