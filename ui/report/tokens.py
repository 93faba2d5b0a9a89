"""What the centre's inference servers generated over a span, and the energy that it took."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import numpy as np

from twin.ports import Store
from twin.site import Site
from ui.able import HOUR_S, by_hour

PORTION_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """``count`` tokens generated; ``node_kwh``: taken in meanwhile by the nodes that generated them, ``gpu_h``: hours of their
    GPUs."""

    count: float
    node_kwh: float
    gpu_h: float


def tokens_of(site: Site, store: Store, start: datetime, end: datetime) -> Tokens | None:
    """By the hour; None where no node told of any. A node counts in the hours in which its tokens and its power are known."""
    nodes, count, energy_kwh, gpu_h = site.count("node"), 0.0, 0.0, 0.0
    node = site.within("gpu", "node")
    gpus = np.bincount(node[node >= 0], minlength=nodes)
    for low, high in _portions(start, end, nodes) if nodes else ():
        span_s = (high - low).total_seconds()
        hours = ceil(span_s / HOUR_S)
        rate = by_hour(site, store, "node", "tokens_per_s", low, hours, high)
        if not np.isfinite(rate).any():
            continue
        power_w = by_hour(site, store, "node", "power_w", low, hours, high)
        known = np.isfinite(rate) & np.isfinite(power_w)
        length_s = np.minimum(HOUR_S, span_s - HOUR_S * np.arange(hours))  # a span may end within an hour: a clock was put back
        count += float(np.where(known, rate, 0.0).sum(axis=1) @ length_s)
        energy_kwh += float(np.where(known, power_w, 0.0).sum(axis=1) @ length_s) / 3.6e6
        gpu_h += float((known @ gpus) @ length_s) / HOUR_S
    return Tokens(count, energy_kwh, gpu_h) if count > 0 else None


def _portions(start: datetime, end: datetime, nodes: int) -> Iterator[tuple[datetime, datetime]]:
    portion = timedelta(hours=max(1, PORTION_VALUES // nodes))
    while start < end:
        yield start, min(start + portion, end)
        start += portion
