"""``icctwin bench slurm``: how fast orders go over REST, what icctwin costs slurmctld, and a compressed day with its picture.

The cluster is a real one on this machine (``ui.benches.slurm_server``): slurmctld, slurmrestd and icctwin share its processors,
so seconds are upper bounds; processor seconds of slurmctld are read from /proc.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ingest.queues import slurm as slurm_queue
from twin.errors import SourceError
from twin.order import Receipts, Result, Verb, orders
from ui.benches import Result as Figures
from ui.benches import recorded
from ui.benches.slurm_day import PAST_SLOTS, QUEUE, Day, DayRun, day_site
from ui.benches.slurm_jobs import DAY_SLOTS, read_carbon, wanted_jobs
from ui.benches.slurm_picture import day_svg, saved
from ui.benches.slurm_server import SlurmServer, free_ports, lacking, slurm_server
from ui.tasks import RealClock

JOBS, NODES = 1000, 6
WATCHED_S, EVERY_S = 60.0, 15.0
_NOT_OURS = ("MESSAGE_NODE_REGISTRATION_STATUS", "MESSAGE_EPILOG_COMPLETE", "REQUEST_STATS_INFO")


def bench_slurm(options: argparse.Namespace) -> Figures:
    """1,000 jobs held and given a start, each read back; a quiet minute of reading; a hundred jobs in a compressed day."""
    if lack := lacking():
        raise SourceError(f"a real Slurm needs {lack}")
    with tempfile.TemporaryDirectory(prefix="icctwin-slurm-") as folder:
        with slurm_server(Path(folder) / "orders", free_ports(), NODES) as server:
            figures = asyncio.run(_orders(server))
        with slurm_server(Path(folder) / "day", free_ports(), NODES) as server:
            day = _day(server, Path(folder))
    figures |= _of_day(day)
    out = getattr(options, "out", None)
    if out is not None:
        Path(out).write_text(day_svg(day), encoding="utf-8")
    conditions = {"jobs": JOBS, "nodes": NODES, "slurm": "22.05, v0.0.38, JWT", "day_jobs": len(day.ids), "grid": "CISO 2022"}
    return {"bench": "slurm", "figures": figures, "against": {}, "conditions": conditions}


async def _orders(server: SlurmServer) -> dict[str, float]:
    ids = _submitted(server)
    said = {"queue": QUEUE, "every_s": EVERY_S, **server.options}
    options = slurm_queue.Options.model_validate(said, context={"folder": server.folder})
    opened = slurm_queue.build("slurm", options, day_site(NODES))
    (source,), (queue,) = opened.sources, opened.queues
    clock = RealClock()
    rest = source.rest  # type: ignore[attr-defined]

    async def told(verb: Verb, value: float, text: str) -> Receipts:
        table = orders(verb, ids, value, text)
        receipts: Receipts = await queue.order(table, clock.now())  # type: ignore[attr-defined]
        return receipts

    try:
        await queue.jobs(clock.now())
        server.run("sdiag", "--reset")
        calls, looks, cpu_s, began_s = rest.calls, rest.looks, _cpu_s(server), time.monotonic()
        held = await told(Verb.HOLD, np.nan, "held for a plan")
        later_s = clock.now().timestamp() + 36_000
        given = await told(Verb.BEGIN, later_s, "waits for cleaner power")
        took_s, order_cpu_s, order_calls = time.monotonic() - began_s, _cpu_s(server) - cpu_s, rest.calls - calls
        looks, (rpcs, busy_s) = rest.looks - looks, _rpcs(server)
        again_s = time.monotonic()
        same = await told(Verb.BEGIN, later_s, "waits for cleaner power")
        again_s = time.monotonic() - again_s
        quiet = await _quiet(server, source, queue)
    finally:
        await source.close()
    return {
        "held_and_given_a_start_1000_jobs_s": took_s,
        "orders_done_frac": _share(held, given),
        "same_again_1000_jobs_s": again_s,
        "same_again_frac": same.count(Result.SAME) / len(ids),
        "order_calls_count": float(order_calls),
        "order_lists_count": float(looks),
        "order_slurmctld_cpu_s": order_cpu_s,
        "order_slurmctld_rpcs_count": rpcs,
        "order_slurmctld_rpc_s": busy_s,
        **quiet,
    }


async def _quiet(server: SlurmServer, source: Any, queue: Any) -> dict[str, float]:
    """A minute in which everybody asks the queue all the time, on a clock of our own: what reaches slurmctld of it?"""
    rest, now = source.rest, RealClock().now() + timedelta(seconds=60)
    server.run("sdiag", "--reset")
    lists, calls, cpu_s = rest.lists, rest.calls, _cpu_s(server)
    for second in range(int(WATCHED_S)):
        for _ in range(5):
            await queue.jobs(now + timedelta(seconds=second))
            await source.poll(now + timedelta(seconds=second))
    minutes, (rpcs, busy_s) = WATCHED_S / 60, _rpcs(server)
    return {
        "slurmctld_rpcs_per_min": rpcs / minutes,
        "slurmctld_rpc_s_per_min": busy_s / minutes,
        "list_calls_per_min": (rest.lists - lists) / minutes,
        "rest_calls_per_min": (rest.calls - calls) / minutes,
        "slurmctld_cpu_s_per_min": (_cpu_s(server) - cpu_s) / minutes,
    }


def _share(*tables: Receipts) -> float:
    return sum(one.count(Result.DONE) for one in tables) / sum(len(one.results) for one in tables)


def _rpcs(server: SlurmServer) -> tuple[float, float]:
    """How many calls of clients slurmctld has answered since its counters were set back, and for how long it worked on them
    [s], as ``sdiag`` says; without the nodes' own and sdiag's."""
    found = re.findall(r"^\s+(\w+)\s+\(\s*\d+\) count:(\d+)\s+ave_time:\d+\s+total_time:(\d+)", server.run("sdiag"), re.M)
    ours = [(int(count), int(micros)) for name, count, micros in found if name not in _NOT_OURS]
    return float(sum(count for count, _ in ours)), sum(micros for _, micros in ours) / 1e6


def _cpu_s(server: SlurmServer) -> float:
    times = psutil.Process(server.pid("slurmctld")).cpu_times()
    return float(times.user + times.system)


def _submitted(server: SlurmServer) -> Sequence[str]:
    """Jobs that wait for each other's end, so that none starts meanwhile."""
    words = ("--comment", "icctwin:deadline=2036-01-01T00:00Z", "--gpus=1", "-H", "-o", "/dev/null", "--wrap", "sleep 5")
    return [server.run("sbatch", "--parsable", *words) for _ in range(JOBS)]


def _day(server: SlurmServer, folder: Path) -> Day:
    carbon = read_carbon(recorded("energy") / "carbon" / "CISO-2022-hourly.csv", 24 * 120, PAST_SLOTS + 3 * DAY_SLOTS)
    (folder / "acting").mkdir()
    return DayRun(server, folder / "acting", carbon, wanted_jobs(100, np.random.Generator(np.random.PCG64(7)))).run(10, 2)


def _of_day(day: Day) -> dict[str, float]:
    found = saved(day)
    return {
        "day_jobs_moved_count": float(found.moved),
        "day_jobs_paused_count": float(found.paused),
        "day_deadlines_missed_count": float(found.missed),
        "day_carbon_saved_of_moved_frac": found.saved_frac,
        "day_kills_count": float(day.killed),
        "day_kills_mid_write_count": float(day.killed_mid_write),
        "day_s": day.took_s,
    }
