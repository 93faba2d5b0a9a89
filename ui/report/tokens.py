"""What the centre's inference servers generated over a span, and the energy that it took."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from twin.ports import Store
from twin.site import Site

HOUR_S = 3600.0
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
        found = store.series("node", ("tokens_per_s", "power_w"), low, high, HOUR_S).values
        rate, power_w = found["tokens_per_s"], found["power_w"]
        known = np.isfinite(rate) & np.isfinite(power_w)
        count += float(rate[known].sum()) * HOUR_S
        energy_kwh += float(power_w[known].sum()) / 1e3
        gpu_h += float((known * gpus).sum())
    return Tokens(count, energy_kwh, gpu_h) if count > 0 else None


def _portions(start: datetime, end: datetime, nodes: int) -> Iterator[tuple[datetime, datetime]]:
    portion = timedelta(hours=max(1, PORTION_VALUES // nodes))
    while start < end:
        yield start, min(start + portion, end)
        start += portion
