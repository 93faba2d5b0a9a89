"""``/api/v1/places``: the halls and centres that jobs may run in, what power is like there now, and the ways between them."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from energy.place.atlas import latency_class
from ui.faces.push import Pulse
from ui.placing import placed


class PlaceRow(BaseModel):
    """``signal``: what a kWh of its grid costs now, in the unit that ``metric`` names (None: not fresh); ``facility_ratio``:
    the facility's power over IT's there; ``waiting`` and ``running``: jobs of its partitions."""

    name: str
    queue: str
    partitions: list[str]
    grid: str
    metric: str
    signal: float | None
    facility_ratio: float
    waiting: int
    running: int


class RouteRow(BaseModel):
    """``latency_class``: of the round trip; ``rate_gbps`` that data travels at with ``kwh_per_gb`` (None: the storage is
    shared)."""

    between: tuple[str, str]
    latency_ms: float
    latency_class: str
    rate_gbps: float | None
    kwh_per_gb: float


class Places(BaseModel):
    """All of them; empty where ``[energy]`` names none."""

    places: list[PlaceRow]
    routes: list[RouteRow]


def add_places(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live

    @server.get("/api/v1/places")
    def places() -> Places:
        """Where jobs may run, and how far apart that is; which of them move is for owners and the lever job_move to say."""
        rows = [
            PlaceRow(
                name=one.place.name,
                queue=one.place.queue,
                partitions=list(one.place.says),
                grid=one.place.grid,
                metric=live.signal,
                signal=one.signal if np.isfinite(one.signal) else None,
                facility_ratio=one.facility_ratio,
                waiting=one.waiting,
                running=one.running,
            )
            for one in placed(live)
        ]
        routes = [
            RouteRow(
                between=one.between,
                latency_ms=1e3 * one.latency_s,
                latency_class=latency_class(one.latency_s),
                rate_gbps=one.rate_bps / 1e9 if np.isfinite(one.rate_bps) else None,
                kwh_per_gb=one.kwh_per_gb,
            )
            for one in live.atlas.routes
        ]
        return Places(places=rows, routes=routes)
