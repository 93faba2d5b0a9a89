"""``icctwin bench store``: the embedded store, and beside it real servers that are written and read through the same port."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from ingest.stores import bench, open_store
from ingest.stores.influxdb import InfluxStore
from ingest.stores.server import Server
from ingest.stores.victoriametrics import VictoriaStore
from twin.ports import Series, Store
from twin.site import Site
from ui.benches import Result
from ui.benches.peers import influxd, victoria_metrics

SIZE = 512  # GPUs that the servers are given: a million values cost them seconds
SECONDS = 240
SETTLE_S = 5.0  # for what a server still has in hand
ROUNDS = 5


def bench_store(options: argparse.Namespace) -> Result:
    """The embedded store at full size; then all stores with the same small part of it."""
    result = bench.bench_store(np.random.Generator(np.random.PCG64(1)), gpus=options.gpus)
    site = bench.hall(min(SIZE, options.gpus))
    against: Result = {}
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        against |= _embedded(site, Path(folder))
        if shutil.which("influxd"):
            against |= _served("influxdb", site, influxd, _influx, Path(folder))
        if shutil.which("victoria-metrics"):
            against |= _served("victoriametrics", site, victoria_metrics, _victoria, Path(folder))
    more = {"against_gpus": site.count("gpu"), "against_seconds": SECONDS}
    return result | {"against": against, "conditions": result["conditions"] | more}


def _influx(url: str, site: Site) -> Store:
    server = Server(url)
    server.form("/query", {"q": "CREATE DATABASE bench"})
    return InfluxStore(server, site, "bench", "v1")


def _victoria(url: str, site: Site) -> Store:
    return VictoriaStore(Server(url), Server(url), site)


def _embedded(site: Site, folder: Path) -> Result:
    store = open_store(folder / "embedded", site)
    try:
        begun_s = time.process_time()
        samples = _filled(store, site)
        for k in range(40):
            store.maintain(bench.at(1300 + k))
        figures = {"embedded_append_cpu_s_per_msample": (time.process_time() - begun_s - _made_s(site)) / samples}
        figures["embedded_bytes_per_sample"] = store.size_bytes() / samples / 1e6
        return figures | _asked("embedded", store, site)
    finally:
        store.close()


def _served(
    name: str,
    site: Site,
    serve: Callable[[Path], AbstractContextManager[tuple[str, int]]],
    opened: Callable[[str, Site], Store],
    folder: Path,
) -> Result:
    place = folder / name
    place.mkdir()
    with serve(place) as (url, pid):
        process, store = psutil.Process(pid), opened(url, site)
        try:
            server_s, begun_s = sum(process.cpu_times()[:2]), time.process_time()
            samples = _filled(store, site)
            client_s = time.process_time() - begun_s - _made_s(site)
            time.sleep(SETTLE_S)
            figures = {
                f"{name}_append_cpu_s_per_msample": (sum(process.cpu_times()[:2]) - server_s) / samples,
                f"{name}_client_cpu_s_per_msample": client_s / samples,
                f"{name}_bytes_per_sample": sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) / samples / 1e6,
                f"{name}_rss_bytes": process.memory_info().rss,
            }
            return figures | _asked(name, store, site)
        finally:
            store.close()


def _filled(store: Store, site: Site) -> float:
    """Append all of it; millions of values."""
    fields = bench.made_fields(site.count("gpu"), np.random.Generator(np.random.PCG64(2)))
    for k in range(0, SECONDS, 10):
        store.append([bench.frame(site, k + i, next(fields)) for i in range(10)])
    return SECONDS * site.count("gpu") * len(bench.FIELDS) / 1e6


def _made_s(site: Site) -> float:
    """Processor time of making up what is appended, which is nobody's cost."""
    begun_s = time.process_time()
    fields = bench.made_fields(site.count("gpu"), np.random.Generator(np.random.PCG64(2)))
    for _ in range(SECONDS):
        next(fields)
    return time.process_time() - begun_s


def _asked(name: str, store: Store, site: Site) -> Result:
    one = np.array([site.count("gpu") // 2], dtype=np.int32)
    ask = partial(store.series, "gpu")
    questions: dict[str, Callable[[], Series]] = {
        "wall_query_s": lambda: ask(["power_w"], bench.at(0), bench.at(SECONDS), 60.0),
        "gpu_query_s": lambda: ask(list(bench.FIELDS), bench.at(0), bench.at(SECONDS), rows=one),
    }
    figures = {}
    for question, run in questions.items():
        walls = []
        for _ in range(ROUNDS):
            begun_s = time.perf_counter()
            run()
            walls.append(time.perf_counter() - begun_s)
        figures[f"{name}_{question}"] = float(np.median(walls))
    return figures
