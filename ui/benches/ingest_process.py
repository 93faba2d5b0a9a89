"""The ingest process of the ingest bench: collector, judge, state, spool and embedded store as ``icctwin up`` runs them, alone.

Prints one JSON object: processor seconds by stage. What remains of the whole when parsing, judging, spooling and storing are
taken off is the fetch: HTTP, unpacking and the event loop.
"""

import argparse
import asyncio
import json
import sys
import threading  # noqa: TID251 - a bench stands for the application, whose flush has a thread of its own
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import ingest.collect as collecting
from ingest import gather
from ingest.collect import Collector
from ingest.mappings import bind
from ingest.registry import source_module
from ingest.sources import exposition
from ingest.spool import Spool
from ingest.spool_log import open_log
from ingest.stores import open_store
from twin.frame import Frame
from twin.load import Row, build_site
from twin.site import Site
from twin.state import State
from ui.benches.exporters import GPUS
from ui.memory import look_seldom
from ui.tasks import RealClock

MAPPINGS = Path(bind.__file__).parent


class Stages:
    """Processor time by stage, each thread's own."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    def timed(self, stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """``run``, on the books of ``stage``."""
        self.spent_s[stage] = 0.0

        def timed(*args: Any, **more: Any) -> Any:
            began_s = time.thread_time()
            try:
                return run(*args, **more)
            finally:
                self.spent_s[stage] += time.thread_time() - began_s

        return timed


def build(nodes: int, port: int, folder: Path) -> tuple[Site, list[Any]]:
    """The site of ``nodes`` and a source for each."""
    more = (MAPPINGS / "node_exporter.toml").read_text().partition("[assets.port]")
    (folder / "both.toml").write_text((MAPPINGS / "dcgm.toml").read_text() + more[1] + more[2])
    module = source_module("prometheus")
    targets = [f"http://127.0.0.1:{port}/n{node}/metrics" for node in range(nodes)]
    options = module.Options.model_validate({"targets": targets, "mapping": str(folder / "both.toml"), "every_s": 1.0})
    rows = [{"id": "hall", "kind": "hall"}]
    for node in range(nodes):
        if node % 8 == 0:
            rows.append({"id": f"rack{node // 8}", "kind": "rack", "parent": "hall"})
        rows.append({"id": f"node{node}", "kind": "node", "parent": f"rack{node // 8}", "hostname": f"node{node}"})
        rows += [{"id": f"node{node}.{g}", "kind": "gpu", "parent": f"node{node}", "index": str(g)} for g in range(GPUS)]
    rows += [{"id": one, "kind": "source"} for one in module.source_ids("x", options)]
    site = build_site("bench", "UTC", [Row("bench", row) for row in rows])
    return site, list(module.build("x", options, site).sources)


async def run(nodes: int, port: int, folder: Path, warm_s: float, seconds: float) -> dict[str, Any]:
    """Live for ``warm_s + seconds``; figures of the last ``seconds``."""
    stages, clock = Stages(), RealClock()
    site, sources = build(nodes, port, folder)
    look_seldom()  # as the commands do
    exposition.Reader.read = stages.timed("parse", exposition.Reader.read)  # type: ignore[method-assign]
    vars(gather)["mapped"] = stages.timed("map", vars(gather)["mapped"])
    store = open_store(folder / "store", site)
    append, maintain = stages.timed("append", store.append), stages.timed("compact", store.maintain)
    spool = Spool(append, threading.Lock(), disk=open_log(folder / "spool", site))
    put = stages.timed("spool", spool.put)
    state, stored = State(site), [0]

    def show(frames: Sequence[Frame], now: datetime) -> None:
        for frame in frames:
            state.absorb(frame, now)

    absorb = stages.timed("state", show)

    def publish(frames: Sequence[Frame]) -> None:
        absorb(frames, clock.now())
        put(frames)
        stored[0] += sum(frame.samples for frame in frames)

    collector = Collector(site, sources, clock, publish)
    judges: Any = collecting if hasattr(collecting, "judge") else vars(collector)["_judge"]
    judges.judge = stages.timed("judge", judges.judge)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(over, spool, maintain, stages))
    keeper.start()
    marks: list[tuple[float, float, int, dict[str, float]]] = []
    began_s = time.monotonic()
    peak = 0
    for second in range(int(warm_s + seconds) + 1):
        await asyncio.sleep(max(0.0, began_s + second - time.monotonic()))
        if second in (int(warm_s), int(warm_s + seconds)):
            marks.append((time.monotonic(), time.process_time(), stored[0], dict(stages.spent_s)))
            peak = max(peak, psutil.Process().memory_info().rss)
        await collector.tick(clock.now())
    await collector.close()
    over.set()
    keeper.join()
    spool.flush()
    spool.close()
    store.close()
    (wall0, cpu0, kept0, spent0), (wall1, cpu1, kept1, spent1) = marks
    spent = {stage: spent1[stage] - spent0.get(stage, 0.0) for stage in spent1}
    return {
        "wall_s": wall1 - wall0,
        "cpu_s": cpu1 - cpu0,
        "stored": kept1 - kept0,
        "rss_bytes": peak,
        "stages_s": spent,
        "down": len(collector.reasons),
        "failed_polls": int(collector.health(clock.now()).values["errors_count"].sum()),
        "why": next(iter(collector.reasons.values()), ""),
        "dropped": spool.dropped,
    }


def _keep(over: threading.Event, spool: Spool, maintain: Callable[[datetime], None], stages: Stages) -> None:
    second = 0
    flush = stages.timed("flush", spool.flush)  # the append within it is told apart
    while not over.wait(1.0):
        second += 1
        flush()
        if second % 2 == 0:
            maintain(datetime.now(UTC))  # noqa: TID251 - as the application's task


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser()
    for name in ("--nodes", "--port"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--warm", "--seconds"):
        parser.add_argument(name, type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    found = asyncio.run(run(options.nodes, options.port, options.folder, options.warm, options.seconds))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
