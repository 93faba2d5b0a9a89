"""The live detectors over frames of our own, step by step."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.detect import disk_health
from analytics.detect.live import Watch
from analytics.finding import Finding
from twin.frame import Frame
from twin.job import no_jobs
from twin.load import Row, build_site
from twin.site import Site
from twin.state import State

START = datetime(2026, 11, 1, tzinfo=UTC)


def hall(racks: int = 6, *more: Mapping[str, str]) -> Site:
    rows = [{"id": "h", "kind": "hall"}, {"id": "u", "kind": "ups", "parent": "h"}, {"id": "cdu", "kind": "cdu", "parent": "h"}]
    links = []
    for i in range(racks):
        rows += [
            {"id": f"r{i}", "kind": "rack", "parent": "h"},
            {"id": f"n{i}", "kind": "node", "parent": f"r{i}"},
            {"id": f"d{i}", "kind": "disk", "parent": f"n{i}", "model": "A" if i % 2 else "B", "installed": "2024-01-31"},
        ]
        links.append({"relation": "cools", "from": "cdu", "to": f"r{i}"})
    return build_site("hall", "UTC", [Row("test", row) for row in [*rows, *more]], [Row("test", link) for link in links])


def smart(n: int = 6, **changed: tuple[int, float]) -> dict[str, np.ndarray]:
    columns = {name: np.zeros(n) for name in disk_health.COUNTS} | {"powered_on_s": np.full(n, 2e7)}
    for name, (row, value) in changed.items():
        columns.setdefault(name, np.zeros(n))[row] = value
    return columns


class Told:
    """A watch over frames of our own; ``found``: (question, asset) -> newest finding."""

    def __init__(self, site: Site) -> None:
        self.site, self.state, self.watch, self.now = site, State(site), Watch(site), START
        self.found: dict[tuple[str, str], Finding] = {}
        self.resting: Mapping[str, np.ndarray] = {}

    def step(self, after_s: float, **kinds: Mapping[str, np.ndarray]) -> None:
        self.now += timedelta(seconds=after_s)
        for kind, columns in kinds.items():
            self.state.absorb(Frame(kind, self.now, self.site.all_rows(kind), dict(columns)), self.now)
        told = self.watch.step(self.state, no_jobs(), self.now, self.resting)
        self.found = {(f.question, f.asset): f for f in told}
