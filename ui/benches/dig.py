"""The pages that dig at 10,000 GPUs: processor seconds of the server for an asset's page, a chart, a grouped chart, a
search."""

import argparse
import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ingest.sources.simulated.layout import demo_rows
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame, Origin
from twin.load import build_site
from twin.state import State
from ui.access.desk import Access
from ui.commands import tell
from ui.faces.server import build_server
from ui.tasks import VirtualClock
from ui.view import Live

GPUS, HOURS, TIMES = 10_240, 1, 10
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def bench_dig(options: argparse.Namespace) -> dict[str, Any]:
    """Figures ``asset_page_cpu_s`` (document and card), ``asset_chart_cpu_s`` (measured, least, most, modelled, band of a
    rack's hour), ``grouped_chart_cpu_s`` (p95 of all GPUs' temperature by row over the hour), ``search_cpu_s``: medians."""
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as place:
        live = _centre(Path(place))
        try:
            figures = asyncio.run(_measured(live))
        finally:
            live.store.close()
            live.records.close()
    return {"bench": "dig", "figures": figures, "against": {}, "conditions": {"gpus": GPUS, "hours": HOURS, "times": TIMES}}


def _centre(folder: Path) -> Live:
    assets, links = demo_rows(GPUS)
    site = build_site("bench", "UTC", assets, links)
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    live = Live(site, State(site), store, records, VirtualClock(NOW), NOW)
    live.access = Access(records)
    rng, racks = np.random.default_rng(1), site.count("rack")  # noqa: TID251 - the bench's own seed
    tell(f"writing {HOURS} h of {site.count('gpu')} GPUs")
    frames: list[Frame] = []
    for minute in range(60 * HOURS):
        now = NOW - timedelta(minutes=60 * HOURS - minute)
        gpus = {"temp_c": rng.normal(60, 5, site.count("gpu")), "power_w": rng.normal(600, 50, site.count("gpu"))}
        frames.append(Frame("gpu", now, site.all_rows("gpu"), gpus))
        frames.append(Frame("rack", now, site.all_rows("rack"), {"power_w": rng.normal(6e4, 1e3, racks)}))
        residual = {"residual_w": np.full(racks, 400.0), "residual_score_ratio": np.full(racks, 2.0)}
        frames.append(Frame("rack", now, site.all_rows("rack"), residual, Origin.MODELLED))
    store.append(frames)
    for frame in frames[-3:]:
        live.state.absorb(frame, NOW)
    return live


async def _measured(live: Live) -> dict[str, float]:
    app, rack = build_server(live), live.site.ids_of("rack")[7]
    span = f"start={(NOW - timedelta(hours=HOURS)):%Y-%m-%dT%H:%M:%SZ}&end={NOW:%Y-%m-%dT%H:%M:%SZ}"
    asked = {
        "asset_page_cpu_s": [(f"/asset/{rack}", ""), (f"/api/v1/assets/{rack}", "")],
        "asset_chart_cpu_s": [("/api/v1/explore/asset", f"asset={rack}&metric=power_w&{span}")],
        "grouped_chart_cpu_s": [("/api/v1/explore", f"kind=gpu&metric=temp_c&by=row&across=p95&{span}")],
        "search_cpu_s": [("/api/v1/search", "q=a07")],
    }
    figures = {}
    for name, requests in asked.items():
        taken = []
        for _ in range(TIMES):
            before_s = time.process_time()
            for path, query in requests:
                await _ask(app, path, query)
            taken.append(time.process_time() - before_s)
        figures[name] = round(float(np.median(taken)), 5)
    return figures


async def _ask(app: Any, path: str, query: str) -> None:
    """One request, without a socket; an answer that is none ends the bench."""
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise ValueError(f"{path}?{query} was answered with {message['status']}")

    await app(scope, receive, send)
