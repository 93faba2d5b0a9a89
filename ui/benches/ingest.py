"""``icctwin bench ingest``: the whole way from HTTP exporters into the store, beside Prometheus and VictoriaMetrics on the same
exporters, one after the other; and parsing alone."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from twin.errors import SourceError
from ui.benches import Result
from ui.benches.demo import free_port
from ui.benches.exporters import GPUS, SAMPLES

WARM_S = 15.0  # until every page was read once and every series is known
START_S = 60.0
PEER_S = 60.0


def bench_ingest(options: argparse.Namespace) -> Result:
    """``--exporters`` (or ``--gpus`` in nodes of eight), each a page of 260 series a second, for ``--seconds``; each peer for
    as long, ``PEER_S`` at most."""
    from ingest import bench

    parsing = bench.bench_ingest(np.random.Generator(np.random.PCG64(1)))
    nodes = options.exporters or max(1, options.gpus // GPUS)
    peer_s = min(options.seconds, PEER_S)
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder, exporters(nodes) as (port, load):
        ours = _ours(nodes, port, load, Path(folder), options.seconds)
        peers: Result = {}
        for name, program, words in (
            ("prometheus", "prometheus", _prometheus),
            ("victoriametrics", "victoria-metrics", _victoria),
            ("vmagent", "vmagent", _vmagent),
        ):
            if shutil.which(program):
                peers |= _peer(name, words, nodes, port, load, Path(folder) / name, peer_s)
    figures = {**ours, "parse_samples_per_s": parsing["figures"]["parse_samples_per_s"]}
    conditions = {"nodes": nodes, "samples_per_page": SAMPLES, "offered_per_s": nodes * SAMPLES, "seconds": options.seconds}
    conditions |= {"peer_seconds": peer_s}
    against = {**peers, "prometheus_client_parse_cpu_s_per_msample": parsing["against"]["prometheus_client_cpu_s_per_msample"]}
    return {"bench": "ingest", "figures": figures, "against": against, "conditions": conditions}


@contextmanager
def exporters(nodes: int) -> Iterator[tuple[int, psutil.Process]]:
    """The exporters, as a process of their own: port, and the process."""
    words = [sys.executable, "-m", "ui.benches.exporters", "--nodes", str(nodes)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own program
        try:
            assert child.stdout is not None  # noqa: S101 - a pipe was asked for
            yield int(child.stdout.readline()), psutil.Process(child.pid)
        finally:
            child.terminate()


def _served(port: int) -> tuple[int, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/served", timeout=20) as answer:
        told = json.loads(answer.read())
    return int(told["pages"]), int(told["fewest"])


def _ours(nodes: int, port: int, load: psutil.Process, folder: Path, seconds: float) -> Result:
    words = [sys.executable, "-m", "ui.benches.ingest_process", "--nodes", str(nodes), "--port", str(port)]
    words += ["--warm", str(WARM_S), "--seconds", str(seconds + WARM_S), "--folder", str(folder)]  # it outlives our window
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own program
        window = _window(port, load, [psutil.Process(child.pid)], seconds, had=0)
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        said = child.stdout.read()
    if child.returncode != 0:
        raise SourceError(f"the ingest process ended with status {child.returncode}; its own words are above")
    told = json.loads(said)
    million = window["samples_per_s"] * told["wall_s"] / 1e6
    spent = told["stages_s"]
    stages = {
        "parse": spent["parse"],
        "map": spent["map"],
        "judge": spent["judge"],
        "state": spent["state"],
        "spool": spent["spool"] + spent["flush"] - spent["append"],
        "store": spent["append"] + spent["compact"],
    }
    stages["fetch"] = told["cpu_s"] - sum(stages.values())
    parts = {f"{stage}_cpu_s_per_msample": value / million for stage, value in sorted(stages.items())}
    more = {"stored_frac": told["stored"] / million / 1e6, "sources_down": told["down"], "failed_polls": told["failed_polls"]}
    more |= {"cpu_share_frac": told["cpu_s"] / told["wall_s"], "spool_dropped": told["dropped"]}
    return window | parts | more | {"rss_bytes": told["rss_bytes"]}


def _window(port: int, load: psutil.Process, takers: Sequence[psutil.Process], seconds: float, had: int) -> Result:
    """What the exporters served over ``seconds`` and what ``takers`` together took for it, once every page was read more than
    ``had`` times and they are warm."""
    deadline_s = time.monotonic() + START_S
    while _served(port)[1] <= had:
        gone = any(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in takers)
        if gone or time.monotonic() > deadline_s:
            raise SourceError("a scraper did not come to read every exporter; look at its own words")
        time.sleep(0.2)
    time.sleep(WARM_S)
    before = (*_served(port), _cpu_s(load), sum(map(_cpu_s, takers)), time.monotonic())
    time.sleep(max(1.0, seconds - 2))
    after = (*_served(port), _cpu_s(load), sum(map(_cpu_s, takers)), time.monotonic())
    pages, fewest, load_s, cpu_s, took_s = (b - a for a, b in zip(before, after, strict=True))
    million = max(1, pages) * SAMPLES / 1e6
    return {
        "samples_per_s": million * 1e6 / took_s,
        "fewest_polls_frac": fewest / took_s,
        "generator_cpu_s_per_msample": load_s / million,
        "cpu_s_per_msample": cpu_s / million,
        "rss_bytes": sum(one.memory_info().rss for one in takers),
    }


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _peer(
    name: str,
    words: Callable[[Path, Path, int], Sequence[Sequence[str]]],
    nodes: int,
    port: int,
    load: psutil.Process,
    folder: Path,
    seconds: float,
) -> Result:
    folder.mkdir()
    groups = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"__metrics_path__": f"/n{node}/metrics", "node": f"node{node}"}}
        for node in range(nodes)
    ]
    job = {"job_name": "bench", "static_configs": groups}
    config = folder / "scrape.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}))
    had = _served(port)[1]
    with (folder / "log").open("wb") as log, ExitStack() as started:
        takers = []
        for command in words(config, folder, free_port()):
            child = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - the peer that was found
            started.callback(_ended, child)
            takers.append(psutil.Process(child.pid))
        window = _window(port, load, takers, seconds, had)
    wanted = ("cpu_s_per_msample", "samples_per_s", "fewest_polls_frac", "rss_bytes")
    return {f"{name}_{figure}": window[figure] for figure in wanted}


def _ended(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(30)
    if child.poll() is None:
        child.kill()
        child.wait()


def _prometheus(config: Path, folder: Path, port: int) -> Sequence[Sequence[str]]:
    place = [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    return [["prometheus", f"--config.file={config}", *place, "--log.level=error"]]


def _victoria(config: Path, folder: Path, port: int) -> Sequence[Sequence[str]]:
    """It scrapes by itself."""
    place = [f"-storageDataPath={folder / 'data'}", f"-httpListenAddr=127.0.0.1:{port}"]
    return [["victoria-metrics", f"-promscrape.config={config}", *place, "-loggerLevel=ERROR"]]


def _vmagent(config: Path, folder: Path, port: int) -> Sequence[Sequence[str]]:
    """vmagent scrapes and writes to a VictoriaMetrics."""
    store = [
        "victoria-metrics",
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-loggerLevel=ERROR",
    ]
    place = [f"-remoteWrite.tmpDataPath={folder / 'queue'}", f"-httpListenAddr=127.0.0.1:{free_port()}", "-loggerLevel=ERROR"]
    to = f"-remoteWrite.url=http://127.0.0.1:{port}/api/v1/write"
    return [store, ["vmagent", f"-promscrape.config={config}", to, *place]]
