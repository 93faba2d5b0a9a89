"""``icctwin bench week``: a week of seeded faults in the life of a whole centre, on a virtual clock, with a checker.

The product's own parts do what they do in a real centre: collector, judge, spool, store on a real disk, forecasts, detection,
alerts, delivery over HTTP, planner, guard, and orders to a scheduler. Around them is a world that goes on when the centre dies:
a simulated plant with faults of its sensors and endpoints, senders that push, a receiver of pages, owners who submit jobs. Each
life of the centre is a process: where a fault kills it, what it had in memory is gone, and the next one starts from disk.

What a virtual clock cannot drive is not in it: several processes with a broker and a database, servers of stores, and Slurm are
in ``icctwin bench chaos``, in real time. The scheduler here is a stand-in (``week_queue``).
"""

import argparse
import os
import pickle
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from energy.notes import TOPIC
from ingest.sources.simulated.layout import demo_rows
from ingest.stores.records import open_records
from ingest.stores.registry import open_kept
from twin.errors import SourceError
from twin.load import Row
from twin.tables import write_table
from ui.app import TASK_NAMES
from ui.benches import Result
from ui.benches.chaos_check import Kept, samples
from ui.benches.chaos_people import Acknowledged
from ui.benches.chaos_world import GPUS, NODES, ONCALL, RULES, TOKEN
from ui.benches.demo import free_port
from ui.benches.fresh import fresh
from ui.benches.week_check import Page, Spell, exported, orders, pages
from ui.benches.week_life import LET_S, POINTS, Fault, Life, Setting, World
from ui.benches.week_queue import StandIn
from ui.config import load_config, site_of
from ui.progress import Bar

START = datetime(2026, 11, 16, tzinfo=UTC)
WEEK_H, SEED, PACE_S = 168.0, 1, 300.0
HISTORY_DAYS, FAULT_FACTOR, PLANT_GPUS = 35, 0.1, 64
CALM_FRAC = 1 / 3  # of the time, at its end, in which nobody is killed: whether memory grows is seen there
NAMES = (
    "killed", "stopped", "store away", "store refusing", "disk full", "queue away", "receiver away", "clock ahead",
    "clock behind",
)  # fmt: skip
ENDS = ("killed", "stopped")
WITHOUT = frozenset({"reports", "calibrate"})  # a picture of each day in 3D, and a fit of it: most of the week would be theirs
MAX_AUDIT = 100_000


@dataclass
class Seen:
    """What the world saw of all lives."""

    taken: dict[int, Acknowledged] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)
    weights: list[tuple[int, float, int]] = field(default_factory=list)  # life, time [s], resident bytes
    held: list[tuple[int, float, int, int]] = field(default_factory=list)  # once tidied: and Python's own blocks of memory
    ends: Counter[str] = field(default_factory=Counter)


def bench_week(options: argparse.Namespace) -> Result:
    """The week, and what its checker found."""
    hours, seed = options.hours or WEEK_H, SEED if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="icctwin-week-") as folder:
        figures = week(Path(folder), hours, seed, PACE_S, without=WITHOUT)
    conditions = {"hours": hours, "seed": seed, "pace_s": PACE_S, "gpus": NODES * GPUS + PLANT_GPUS, "clock": "virtual"}
    return {"bench": "week", "figures": figures, "against": {}, "conditions": conditions}


def week(
    folder: Path,
    hours: float,
    seed: int,
    pace_s: float,
    history_days: int = HISTORY_DAYS,
    without: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Live ``hours`` through faults by ``seed``, the tasks at ``pace_s`` but for those of ``without``; the figures."""
    rng = np.random.Generator(np.random.PCG64(seed))
    begun_s, end_s = START.timestamp(), START.timestamp() + 3600 * hours
    faults = _faults(rng, begun_s, end_s)
    port, config = free_port(), _configuration(folder, seed, history_days)
    _oncall(folder, port)
    site = site_of(load_config(config), TASK_NAMES)
    rows = tuple(site.row(f"n{i}") for i in range(NODES))
    world = World(StandIn("slurm", rows), rng.spawn(1)[0], faults=faults)
    seen, bar = Seen(), Bar("week")
    start_s, life = begun_s, 0
    while start_s < end_s:
        bar((start_s - begun_s) / (end_s - begun_s))
        setting = Setting(config, port, start_s, end_s, pace_s, not life, without)
        world, start_s = _life(setting, world, seen, life)
        life += 1
    counts = Counter(fault.name for fault in faults)
    figures = _samples(config, seen, end_s) | pages(seen.pages, _spells(faults, end_s)) | _orders(config, world)
    figures |= _memory(seen, life - 1) | {f"faults_{name.replace(' ', '_')}_count": counts[name] for name in NAMES}
    figures |= {f"ended_{how}_count": count for how, count in sorted(seen.ends.items())}
    figures |= {"lives_count": life, "refused_batches_count": world.refused, "cpu_s": world.cpu_s}
    return figures


def _faults(rng: np.random.Generator, begun_s: float, end_s: float) -> list[Fault]:
    """One after another, each kind before any comes again."""
    found: list[Fault] = []
    names: list[str] = []
    at_s = begun_s + 3600.0
    calm_s = end_s - CALM_FRAC * (end_s - begun_s)
    while True:
        names = names or [str(name) for name in rng.permutation(NAMES)]
        names = [name for name in names if at_s < calm_s or name not in ENDS]
        if not names:
            continue
        name, for_s = names.pop(), float(rng.uniform(300, 2400))
        if at_s + for_s + LET_S + 3600 > end_s:
            return found
        point = str(rng.choice(POINTS)) if name == "killed" else ""
        found.append(Fault(name, at_s, for_s, len(found) % (NODES * GPUS), point))
        at_s += for_s + LET_S + float(rng.uniform(900, 4500))


def _life(setting: Setting, world: World, seen: Seen, life: int) -> tuple[World, float]:
    """One life, in a process of its own; the world after it, and when the next one starts."""
    apart = fresh([Life.__module__])
    read, write = apart.Pipe(duplex=False)
    child = apart.Process(target=_lived, args=(setting, world, write))
    child.start()
    write.close()
    ended: tuple[str, float, World] | None = None
    with read, open(read.fileno(), "rb", closefd=False) as told:
        for what, *more in _messages(told):
            if what == "taken":
                seen.taken[more[0]] = more[1]
            elif what == "page":
                seen.pages.append(Page(*more))
            elif what == "weight":
                seen.weights.append((life, *more))
            elif what == "held":
                seen.held.append((life, *more))
            else:
                ended = (what, *more)
    child.join()
    if ended is None:
        raise SourceError(f"life {life} of the centre broke; its words are above")
    how, at_s, after = ended
    seen.ends[how] += 1
    return after, _again_s(how, at_s, after, setting)


def _lived(setting: Setting, world: World, write: Connection) -> None:
    try:
        with open(write.fileno(), "wb", buffering=0, closefd=False) as out:
            Life(setting, world, out).live()
    except BaseException:  # noqa: BLE001 - whatever it is, it is said
        traceback.print_exc()
    finally:
        os._exit(1)  # whatever threads go on


def _messages(told: Any) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            yield pickle.load(told)  # noqa: S301  # nosec B301 - of a child of ours
        except EOFError:
            return


def _again_s(how: str, at_s: float, world: World, setting: Setting) -> float:
    """When the next life starts: after a kill when its fault is over, after a stop a moment later."""
    if how == "ended":
        return setting.end_s
    over_s = max((one.over_s for one in world.done if one.name == "killed" and one.at_s <= at_s), default=at_s)
    return max(at_s + setting.pace_s, over_s if how == "killed" else at_s)


def _spells(faults: list[Fault], end_s: float) -> list[Spell]:
    return [Spell(one.gpu, one.at_s + one.for_s / 2, one.over_s + LET_S, one.name) for one in faults if one.over_s < end_s]


def _samples(config: Path, seen: Seen, end_s: float) -> dict[str, int | str]:
    read = load_config(config)
    site = site_of(read, TASK_NAMES)
    store = open_kept(read.store, site, readonly=True)
    rows = np.array([site.row(f"n{i // GPUS}g{i % GPUS}") for i in range(NODES * GPUS)], dtype=np.int32)
    end = datetime.fromtimestamp(end_s, UTC) + timedelta(hours=2)
    found = store.series("gpu", ["temp_c"], START - timedelta(hours=1), end, rows=rows)
    store.close()
    return samples(seen.taken, Kept(exported(found, site.ids_of("gpu"), "temp_c")))


def _orders(config: Path, world: World) -> dict[str, int]:
    records = open_records(load_config(config).store.path / "records.db")
    audit = [record for _, _, record in records.read(TOPIC, limit=MAX_AUDIT, newest=True)]
    records.close()
    return orders(world.queue, audit)


def _memory(seen: Seen, last: int) -> dict[str, float]:
    """What the last life had at most, and by how much more it held in its last third than in its middle one, in bytes and in
    blocks of memory (a Python object is one, mostly): its first third fills what fills."""
    held = np.array([more for life, *more in seen.held if life == last], dtype=np.float64).reshape(-1, 3)
    third = len(held) // 3
    if third == 0:
        return {}
    _, rss, blocks = np.median(held[-third:], axis=0) - np.median(held[third : len(held) - third], axis=0)
    over_h = float(np.ptp(held[:, 0])) / 3600
    most = max(bytes_ for life, _, bytes_ in seen.weights if life == last)
    return {"rss_peak_bytes": most, "rss_growth_bytes": float(rss), "blocks_growth_count": float(blocks), "weighed_h": over_h}


def _configuration(folder: Path, seed: int, history_days: int) -> Path:
    assets, links = demo_rows(PLANT_GPUS)
    more: list[dict[str, str]] = [
        {"id": "slurm", "kind": "queue"}, {"id": "p", "kind": "hall"}, {"id": "pr", "kind": "rack", "parent": "p"}
    ]  # fmt: skip
    for i in range(NODES):
        more.append({"id": f"n{i}", "kind": "node", "parent": "pr", "hostname": f"gpu{i + 1:02d}"})
        more += [{"id": f"n{i}g{g}", "kind": "gpu", "parent": f"n{i}", "index": str(g)} for g in range(GPUS)]
    write_table(folder / "assets.csv", [*assets, *(Row("week", cells) for cells in more)])
    write_table(folder / "links.csv", links)
    (folder / "token").write_text(TOKEN)
    (folder / "rules.toml").write_text(RULES)
    path = folder / "site.toml"
    path.write_text(
        '[site]\nname = "week"\nassets = "assets.csv"\nlinks = "links.csv"\n[store]\npath = "kept"\n'
        '[alerts]\nrules = "rules.toml"\noncall = "oncall.toml"\n[energy]\nmodes = { job_start = "auto" }\n'
        f'[[source]]\nname = "sim"\ntype = "simulated"\nseed = {seed}\nfault_factor = {FAULT_FACTOR}\n'
        f'history_days = {history_days}\nleave_out = ["p", "slurm"]\n'
        '[[source]]\nname = "push"\ntype = "push"\nmapping = "dcgm"\ntoken_file = "token"\n'
    )
    return path


def _oncall(folder: Path, port: int) -> None:
    (folder / "oncall.toml").write_text(ONCALL.replace("PORT", str(port)))
