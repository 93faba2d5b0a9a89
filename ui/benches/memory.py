"""``icctwin bench memory``: what ingest holds while a centre's values pass through it, on a virtual clock.

Every second of an hour all GPUs' values are judged, taken into the live state, spooled on disk, handed to the embedded store
and compacted, as ``ui.app`` does it, as fast as the machine can; the poll itself is left out. The values are made up in the
same process, which counts in what is measured.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import numpy as np
import psutil

from ingest.judge import Judge
from ingest.spool import Spool
from ingest.spool_log import open_log
from ingest.stores import bench, open_store
from twin.site import Site
from twin.state import State
from ui.benches import Result

SECONDS = 3600
EVERY_S = 60  # between looks at memory
SETTLED = 1 / 3  # of the time: journal, ring and the first compactions have come by then
STORE_EVERY_S = 10


def bench_memory(options: argparse.Namespace) -> Result:
    """Peak, and how much larger the last third is than the middle one."""
    site = bench.hall(options.gpus)
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        begun_s = process_time()
        seen = np.array([rss for _, rss in held(site, Path(folder), SECONDS)], dtype=np.float64)
        cpu_s = process_time() - begun_s
    third = int(len(seen) * SETTLED)
    samples = SECONDS * site.count("gpu") * len(bench.FIELDS)
    figures = {
        "rss_peak_bytes": float(seen.max()),
        "rss_growth_bytes": float(np.median(seen[-third:]) - np.median(seen[third:-third])),
        "cpu_s_per_msample": cpu_s / samples * 1e6,
    }
    conditions = {
        "gpus": site.count("gpu"),
        "fields": len(bench.FIELDS),
        "interval_s": 1,
        "seconds": SECONDS,
        "clock": "virtual",
    }
    return {"bench": "memory", "figures": figures, "against": {}, "conditions": conditions | {"clock": "virtual"}}


def held(site: Site, folder: Path, seconds: int) -> Iterator[tuple[int, int]]:
    """(second, bytes this process holds) once a minute while ``seconds`` of values pass."""
    process, state, judge = psutil.Process(), State(site), Judge(site)
    store = open_store(folder / "store", site)
    spool = Spool(store.append, disk=open_log(folder / "spool", site))
    fields = bench.made_fields(site.count("gpu"), np.random.Generator(np.random.PCG64(1)))
    try:
        for k in range(seconds):
            now = bench.at(k)
            frame = judge.judge(bench.frame(site, k, next(fields)), now)
            state.absorb(frame, now)
            spool.put([frame])
            spool.flush()
            if k % STORE_EVERY_S == 0:
                store.maintain(now)
            if k % EVERY_S == EVERY_S - 1:
                yield k, process.memory_info().rss
    finally:
        spool.close()
        store.close()
