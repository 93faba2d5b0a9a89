"""What the 3D twin costs a browser and the wire: ``bench wall`` takes its scene figures from here.

Frames per second are not among them: a machine without a graphics card draws in software, which says nothing about one that has
one. Measured is what does not depend on it: bytes, draw calls, and processor time of script for each tick. How long the page
takes to open does depend on it; it is measured to the first picture with values, in a browser that has seen nothing before.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Frame
from twin.site import Site
from ui.benches import Result
from ui.benches.demo import free_port
from ui.benches.scene_past import past_figures
from ui.benches.scene_site import CDUS, GPUS, NODES, RACKS, scene_site

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
TICKS = 10  # over which script is summed
_OPEN_MS = 180_000.0
_READY = "() => window.icctwinScene?.ready && icctwinScene.stats.ticks >= 2"


def bench_scene(options: argparse.Namespace) -> Result:
    """``scene_bytes``, ``tick_bytes``, ``draw_calls``, ``script_s_per_tick``, ``open_s``, ``past_frame_cpu_s`` at 10,000 GPUs,
    and how 100,000 open."""
    figures = scene_figures()
    conditions = {"nodes": NODES, "racks": RACKS, "cdus": CDUS, "gpus": NODES * GPUS, "ticks": TICKS}
    return {"bench": "scene", "figures": figures, "against": {}, "conditions": conditions}


def scene_figures() -> dict[str, float]:
    """All figures; ``ConfigError`` where there is no Chromium."""
    if not CHROMIUM.exists():
        raise ConfigError([Problem(str(CHROMIUM), "there is no Chromium; apt-get install chromium")])
    figures = _measured(scene_site(1))
    large = _measured(scene_site(10))
    return figures | {f"large_{name}": value for name, value in large.items()} | past_figures()


@contextlib.contextmanager
def _serving(site: Site) -> Iterator[str]:
    """The faces over ``site`` on a loopback port, with new readings each second, until left."""
    import uvicorn

    from ingest.stores import open_store
    from ingest.stores.records import open_records
    from twin.state import State
    from ui.faces.server import build_server
    from ui.tasks import RealClock
    from ui.view import Live

    clock = RealClock()
    over: list[bool] = []
    rng = np.random.Generator(np.random.PCG64(1))
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as name, ThreadPoolExecutor(2) as threads:
        folder = Path(name)
        store = open_store(folder / "store", site)
        live = Live(site, State(site), store, open_records(folder / "records.db"), clock, clock.now())

        def feed() -> None:
            while not over:
                _read(live.state, clock.now(), rng)
                time.sleep(1.0)

        port = free_port()
        server = uvicorn.Server(uvicorn.Config(build_server(live), host="127.0.0.1", port=port, log_level="warning"))
        runs = [threads.submit(feed), threads.submit(server.run)]
        while not server.started:
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            over.append(True)
            server.should_exit = True
            for run in runs:
                run.result(20)
            store.close()


def _read(state: Any, now: datetime, rng: np.random.Generator) -> None:
    site = state.site
    for kind, columns in (
        ("gpu", {"power_w": (300.0, 950.0), "temp_c": (45.0, 80.0)}),
        ("node", {"power_w": (4e3, 1e4)}),
        ("rack", {"power_w": (15e3, 45e3), "supply_temp_c": (28, 31), "return_temp_c": (38, 45), "flow_kgps": (0.5, 1)}),
        ("cdu", {"supply_temp_c": (28, 31), "return_temp_c": (38, 45), "flow_kgps": (6, 8)}),
    ):
        values = {name: rng.uniform(low, high, site.count(kind)) for name, (low, high) in columns.items()}
        state.absorb(Frame(kind, now, site.all_rows(kind), values), now)


def _measured(site: Site) -> dict[str, float]:
    """Opens the page and looks: the whole scene first, then from so near that all levels are drawn and fed."""
    from playwright.sync_api import sync_playwright

    with _serving(site) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        sizes: dict[str, float] = {}
        page.on("response", lambda answer: _note(answer, sizes))
        page.goto(f"{url}/scene?colour=power_w", timeout=_OPEN_MS)
        page.wait_for_function(_READY, timeout=_OPEN_MS)
        open_s = float(page.evaluate("() => icctwinScene.stats.openMs")) / 1e3
        far_calls = float(page.evaluate("() => icctwinScene.view3d.stats.drawCalls"))
        page.evaluate("() => icctwinScene.view3d.flyTo(icctwinScene.scene.box.get('n0'))")
        page.wait_for_function("() => icctwinScene.level === 3", timeout=_OPEN_MS)
        page.evaluate(
            "() => { icctwinScene.stats.ticks = 0; icctwinScene.stats.tickMs = []; icctwinScene.view3d.animate = false; }"
        )
        page.wait_for_function("() => icctwinScene.stats.ticks >= 3", timeout=_OPEN_MS)
        tick_bytes = float(page.evaluate("() => icctwinScene.stats.bytes"))
        script_s = _script_s(page)
        calls = float(page.evaluate("() => icctwinScene.view3d.stats.drawCalls"))
        ticks_ms = page.evaluate("() => icctwinScene.stats.tickMs")
        browser.close()
    return {
        "scene_bytes": sizes["body"],
        "scene_wire_bytes": sizes["wire"],
        "tick_bytes": tick_bytes,
        "draw_calls": max(calls, far_calls),
        "script_s_per_tick": script_s,
        "handler_s_per_tick": median(ticks_ms) / 1e3,
        "open_s": open_s,
    }


def _note(answer: Any, sizes: dict[str, float]) -> None:
    if answer.url.endswith("/api/v1/scene"):
        sizes["wire"] = float(answer.headers.get("content-length", "nan"))
        sizes["body"] = float(len(answer.body()))


def _script_s(page: Any) -> float:
    """All script of the page over ``TICKS`` ticks, as the browser itself counts it, for one of them."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def counted() -> tuple[float, int]:
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["ScriptDuration"]), int(page.evaluate("() => icctwinScene.stats.ticks"))

    before_s, first = counted()
    page.wait_for_timeout(1000.0 * TICKS)
    after_s, last = counted()
    return (after_s - before_s) / max(last - first, 1)
