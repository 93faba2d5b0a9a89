"""``icctwin bench wall``: the first page, a hundred walls, how late a number is, what each page takes.

Faces run as a process of their own at 10,000 GPUs, fed once a second; walls are websockets of this process, the page is a real
headless Chromium. Frames per second are not judged: a machine without a GPU draws in software. The scene's figures come
from the bench of the scene, where that is there.
"""

import argparse
import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from twin.errors import ConfigError, Problem, SourceError
from twin.state import State
from ui.benches import Result
from ui.benches.demo import free_port
from ui.benches.wall_process import NoRecords, NoStore, centre, looked
from ui.faces.pages import PAGES
from ui.faces.server import build_server
from ui.tasks import RealClock
from ui.view import Live, view
from ui.words import words

CHROMIUM = Path("/usr/bin/chromium")
WALLS, PAGES_READ = 100, ("overview", "hall", "gpus", "cooling", "power")
START_S, LOADS, LOOKS = 180.0, 5, 5
MOST_QUERY_S = 0.1


def bench_wall(options: argparse.Namespace) -> Result:
    """First page, latency to the pixel, a hundred walls, each page's table, and the scene's figures."""
    if not CHROMIUM.exists():
        raise ConfigError([Problem(str(CHROMIUM), "there is no Chromium; apt-get install chromium")])
    with _faces(options.gpus) as (process, port):
        figures = _browser(port, options.seconds)
        figures |= _walls(process, port, options.seconds)
    figures |= asyncio.run(_tables(options.gpus))
    figures |= _scene()
    conditions = {
        "gpus": options.gpus,
        "seconds": options.seconds,
        "walls": WALLS,
        "pages": list(PAGES_READ),
        "loads": LOADS,
        "drawn_by": "software (no GPU); frame rate is not judged",
    }
    return {"bench": "wall", "figures": figures, "against": {}, "conditions": conditions}


@contextmanager
def _faces(gpus: int) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    child = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "ui.benches.wall_process", "--gpus", str(gpus), "--port", str(port)]
    )
    try:
        _wait(child, port)
        yield psutil.Process(child.pid), port
    finally:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(30)
        if child.poll() is None:
            child.kill()


def _wait(child: "subprocess.Popen[bytes]", port: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if child.poll() is not None:
            raise SourceError(f"the faces ended with status {child.returncode}; their own words are above")
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return
        time.sleep(0.2)
    raise SourceError(f"the faces did not answer within {START_S:g} s")


# what the page itself notes: when its first number was there, and how old IT power was when it was painted
_NOTE = """() => {
  window.notes = { first: null, late: [] };
  let newest = 0;
  document.addEventListener("icctwin-push", (event) => {
    const read = event.detail["t.read_s"];
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (window.notes.first === null) window.notes.first = performance.now();
      if (read && read > newest) {
        window.notes.late.push(Date.now() / 1000 - read);
        newest = read;
      }
    }));
  });
}"""


def _browser(port: int, seconds: float) -> Result:
    """Of headless Chromium on loopback with an empty cache: seconds until the first page shows its numbers, and how late
    they are on the screen."""
    from playwright.sync_api import sync_playwright

    firsts: list[float] = []
    late: list[float] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for i in range(LOADS):
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            page.add_init_script(f"({_NOTE})()")
            page.goto(f"http://127.0.0.1:{port}/?lang=en")
            page.wait_for_function("() => window.notes.first !== null")
            firsts.append(page.evaluate("() => window.notes.first") / 1e3)
            if i == LOADS - 1:
                page.wait_for_timeout(seconds * 1e3)
                late = page.evaluate("() => window.notes.late.slice(1)")
            page.close()
        browser.close()
    if not late:
        raise SourceError("no new number came to the page; open it by hand and look")
    return {
        "first_page_s": float(np.median(firsts)),
        "pixel_latency_p50_s": float(np.percentile(late, 50)),
        "pixel_latency_p95_s": float(np.percentile(late, 95)),
        "pixels_timed": len(late),
    }


def _walls(process: psutil.Process, port: int, seconds: float) -> Result:
    """Processor of the faces with a hundred walls open, less what the same process takes with none."""
    alone = _cpu_frac(process, seconds)
    frac, pushes, size = asyncio.run(_listened(process, port, seconds))
    return {
        "walls_100_cpu_frac": frac - alone,
        "fed_alone_cpu_frac": alone,
        "pushes_per_wall_hz": pushes / WALLS / seconds,
        "push_bytes": size,
    }


def _cpu_frac(process: psutil.Process, seconds: float) -> float:
    before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return float((sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began_s))


async def _listened(process: psutil.Process, port: int, seconds: float) -> tuple[float, int, float]:
    """(share of a core, pushes, mean bytes of one) while ``WALLS`` listen."""
    from websockets.asyncio.client import connect

    sizes: list[int] = []

    async def wall(i: int) -> None:
        page, language = PAGES_READ[i % len(PAGES_READ)], ("en", "zh")[i // len(PAGES_READ) % 2]
        address = f"ws://127.0.0.1:{port}/live?page={page}&lang={language}"
        async with connect(address, origin=f"http://127.0.0.1:{port}", compression=None) as socket:  # type: ignore[arg-type]
            async for text in socket:
                sizes.append(len(text))  # noqa: PERF401 - counted as they come

    walls = [asyncio.create_task(wall(i)) for i in range(WALLS)]
    await asyncio.sleep(5.0)  # until all are greeted
    sizes.clear()
    before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(seconds)
    spent = sum(process.cpu_times()[:2]) - before
    took_s = time.monotonic() - began_s
    pushes, size = len(sizes), float(np.mean(sizes)) if sizes else float("nan")
    for one in walls:
        one.cancel()
    failed = [
        one for one in await asyncio.gather(*walls, return_exceptions=True) if not isinstance(one, asyncio.CancelledError)
    ]
    if failed:
        raise SourceError(f"{len(failed)} walls fell away: {failed[0]}")
    return float(spent / took_s), pushes, size


async def _tables(gpus: int) -> dict[str, Any]:
    """Processor seconds of each page's table (both languages), the slowest and all of them."""

    clock = RealClock(1.0)
    site = centre(gpus)
    now = clock.now()
    live = Live(site, State(site), NoStore(), NoRecords(), clock, now)
    for frame in await looked(site, live, now):
        live.state.absorb(frame, frame.time)
    pulse = build_server(live).state.pulse
    took: dict[str, float] = {}
    for name, feed in pulse.feeds.items():
        spent = []
        for _ in range(LOOKS):
            seen = view(live, now)
            began_s = time.process_time()
            for language in ("en", "zh"):
                json.dumps(feed.table(seen, live, words(language)))
            spent.append(time.process_time() - began_s)
        took[name] = float(np.median(spent))
    began_s = time.process_time()
    view(live, now)
    slowest = max(took, key=lambda name: took[name])
    names = {page.name for page in PAGES}
    return {
        "view_cpu_s": time.process_time() - began_s,
        "slowest_page_cpu_s": took[slowest],
        **{f"table_{name}_cpu_s": spent for name, spent in sorted(took.items()) if name in names},
    }


def _scene() -> dict[str, Any]:
    """``scene_bytes``, ``tick_bytes``, ``draw_calls``, ``script_s_per_tick``, where the scene is there."""
    if importlib.util.find_spec("ui.benches.scene") is None:
        return {}
    found: dict[str, Any] = importlib.import_module("ui.benches.scene").scene_figures()
    return found
