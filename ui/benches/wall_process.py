"""The faces of a centre of a given size as a process of their own, fed once a second: ``bench wall`` measures it.

The readings are one look at the simulated plant, given anew each second with other numbers: feeding costs the same whether
somebody looks or not, so that the difference is the walls'.
"""

import argparse
import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import uvicorn

from ingest.sources.simulated import Options, build, demo_rows
from twin.frame import Frame, Ints, Origin, frame_of
from twin.load import Row, build_site
from twin.ports import How, Series
from twin.site import Site
from twin.state import State
from ui.faces.server import build_server
from ui.tasks import RealClock
from ui.view import Live

SWING_W = 2e3  # IT power differs from one second to the next, so that a wall shows each


class NoStore:
    """A store with nothing in it, at once: the walls are measured, not the store, which has a bench of its own."""

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        """A day of a steady half, in the steps asked for."""
        step = step_s or 60.0
        time_s = np.arange(math.ceil(start.timestamp() / step) * step, end.timestamp(), step)
        n = 1 if rows is None else len(rows)
        kept = np.arange(n, dtype=np.int32) if rows is None else rows
        return Series(time_s, kept, {name: np.full((len(time_s), n), 5e6) for name in metrics})

    def append(self, frames: Sequence[Frame]) -> None:
        """Nothing is kept."""

    def latest(self, since: datetime) -> Sequence[Frame]:
        """Nothing was kept."""
        return ()

    def maintain(self, now: datetime) -> None:
        """There is nothing to do."""

    def size_bytes(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class NoRecords:
    """Records with nothing in them."""

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        """Nothing is kept."""
        return 0

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        """Nothing is kept."""

    def append_next(self, topic: str, time: datetime, make: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> int:
        """What would be kept is made, and let go."""
        make(None)
        return 1

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        """Nothing was kept."""
        return ()

    def trim(self, topic: str, keep: int) -> None:
        """There is nothing to drop."""

    def close(self) -> None:
        """Nothing is open."""


def centre(gpus: int) -> Site:
    """The demo's centre with its sources and tasks."""
    assets, links = demo_rows(gpus)
    more = [(f"sim-{name}", "source") for name in ("gpu", "facility", "network", "queue", "outside")]
    more += [(name, "task") for name in ("collect", "estimate", "alerts", "findings")] + [("icctwin", "process")]
    rows = [*assets, *(Row("bench", {"id": id_, "kind": kind}) for id_, kind in more)]
    return build_site("Bench centre", "Asia/Shanghai", rows, links)


async def looked(site: Site, live: Live, now: datetime) -> list[Frame]:
    """One look at the plant: every frame of it, and its jobs."""
    opened = build("sim", Options.model_validate({"faults": False}), site)
    frames: list[Frame] = []
    for source in opened.sources:
        frames += await source.poll(now - timedelta(seconds=11))
    for source in opened.sources:
        frames += await source.poll(now)
    live.jobs = await opened.queues[0].jobs(now)
    health = {"up_flag": 1.0, "poll_s": 0.01, "samples_count": 1e6, "errors_count": 0.0, "unmapped_count": 0.0}
    frames.append(
        Frame("source", now, site.all_rows("source"), {k: np.full(site.count("source"), v) for k, v in health.items()})
    )
    return frames


async def fed(live: Live, frames: Sequence[Frame]) -> None:
    """Give every reading anew once a second, for ever; IT power last, as its arrival is what is timed."""
    seconds = 0
    while True:
        now = live.clock.now()
        for frame in frames:
            live.state.absorb(replace(frame, time=now), now)
        it_w = 5e6 + SWING_W * 10 * (seconds % 40)
        now = live.clock.now()
        totals = frame_of(
            "site",
            now,
            0,
            it_power_w=it_w,
            facility_power_w=it_w * 1.1,
            cooling_power_w=it_w * 0.06,
            loss_power_w=it_w * 0.04,
            pue_ratio=1.1,
        )
        live.state.absorb(totals, now)
        seconds += 1
        await asyncio.sleep(max(1.0 - (live.clock.now() - now).total_seconds(), 0.05))


async def run(gpus: int, port: int) -> None:
    """Until it is told to end."""
    site, clock = centre(gpus), RealClock(1.0)
    now = clock.now().astimezone(UTC)
    live = Live(site, State(site), NoStore(), NoRecords(), clock, now)
    frames = await looked(site, live, now)
    server = uvicorn.Server(uvicorn.Config(build_server(live), port=port, log_level="warning", ws_per_message_deflate=False))
    feeding = asyncio.create_task(fed(live, frames))
    await server.serve()
    feeding.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="faces of a fed centre, for bench wall")
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(run(given.gpus, given.port))
