"""The simulated centre opened in several sizes, for its tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from ingest.registry import Opened
from ingest.sources import simulated
from ingest.sources.simulated.plant import Plant
from twin.frame import Frame
from twin.load import Row, build_site
from twin.site import Site

NOW = datetime(2026, 11, 18, 2, tzinfo=UTC)  # a Wednesday, 10 o'clock in the demo's time zone
_SITES: dict[int, Site] = {}


def site_of(gpus: int) -> Site:
    if gpus not in _SITES:
        assets, links = simulated.demo_rows(gpus)
        sources = [Row("t", {"id": id_, "kind": "source"}) for id_ in simulated.source_ids("sim", simulated.Options())]
        _SITES[gpus] = build_site("demo", "Asia/Shanghai", [*assets, *sources], links)
    return _SITES[gpus]


def opened(gpus: int = 64, /, **options: object) -> Opened:
    return simulated.build("sim", simulated.Options(**{"faults": False, **options}), site_of(gpus))  # type: ignore[arg-type]


def plant(gpus: int = 64, /, **options: object) -> Plant:
    return simulated.plant_of(opened(gpus, **options))


async def poll_all(centre: Opened, now: datetime) -> list[Frame]:
    return [frame for source in centre.sources for frame in await source.poll(now)]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def value(frames: Sequence[Frame], kind: str, name: str) -> np.ndarray:
    return next(frame.values[name] for frame in frames if frame.kind == kind and name in frame.values)
