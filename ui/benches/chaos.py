"""``icctwin bench chaos``: the three processes of a centre on real servers, under faults by a seed, with a checker.

Every so often something is taken away and given back: a process of ours killed with SIGKILL, all of them at once, the store,
the broker, the database or the receiver of pages stopped or frozen, the disk full. All the while a sender pushes samples and
remembers those that were taken, and GPUs get hot one after another, each of which somebody must be told of. Afterwards the
checker looks for every acknowledged sample in the store and for a page of every hot GPU.

What is promised, and so what is checked: `docs/faults.md`. A store that is killed with SIGKILL loses what it had told us was
taken and had not yet written; that is its own promise, so it is ended with SIGTERM or frozen here.
"""

import argparse
import json
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twin.errors import SourceError
from ui.benches import Result
from ui.benches.chaos_world import GPUS, NODES, SETTLE_S, Hook, Sender, Server, centre, eventually, servers
from ui.commands import tell
from ui.progress import Bar

SEED, UP_S, TOLD_S = 1, 180.0, 120.0
OURS = ("ingest", "tasks", "wall")


@dataclass
class World:
    """Everything that runs."""

    servers: Mapping[str, Server]
    ours: Mapping[str, Server]
    ports: Mapping[str, int]
    sender: Sender
    hook: Hook
    store: str
    rng: np.random.Generator
    faults: Counter[str] = field(default_factory=Counter)
    rss_bytes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in OURS})


def bench_chaos(options: argparse.Namespace) -> Result:
    """Faults for ``options.seconds``, then what the checker found; ``SourceError`` where the centre does not come up."""
    with tempfile.TemporaryDirectory(prefix="icctwin-chaos-") as folder, _world(Path(folder)) as world:
        told = _live(world, options.seconds)
        world.sender.stop()
        figures = told | _checked(world) | _memory(world)
        codes = {name: server.end(signal.SIGTERM) for name, server in world.ours.items()}
    figures |= {f"faults_{name.replace(' ', '_')}_count": count for name, count in sorted(world.faults.items())}
    figures["ended_badly_count"] = sum(code != 0 for code in codes.values())
    conditions = {"seconds": options.seconds, "seed": SEED, "processes": 3, "gpus": NODES * GPUS}
    return {"bench": "chaos", "figures": figures, "against": {}, "conditions": conditions}


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    made, said = servers(folder)
    hook = Hook()
    ours, ports = centre(folder, said, hook.port)
    try:
        for server in made.values():
            server.start()
        if not eventually(lambda: _get(f"{said['store']}/health") != b"", 60):
            raise SourceError("the store does not come up")
        for server in ours.values():
            server.start()
        rng = np.random.Generator(np.random.PCG64(SEED))
        world = World(made, ours, ports, Sender(ports["ingest"]), hook, said["store"], rng)
        if not eventually(lambda: _up(world), UP_S):
            raise SourceError(f"the centre does not come up; its words: {_words(folder)}")
        world.sender.start()
        try:
            yield world
        finally:
            world.sender.stop()
    finally:
        for server in (*ours.values(), *made.values()):
            server.thaw()
            server.end(signal.SIGKILL)
        hook.close()


def _words(folder: Path) -> str:
    return " ".join(path.read_text()[-300:] for path in sorted(folder.glob("*.log")))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of ours
        body: bytes = answer.read()
    return body


def _up(world: World) -> bool:
    return all(_get(f"http://127.0.0.1:{world.ports[name]}/healthz") != b"" for name in ("ingest", "wall"))


def _faults(world: World) -> Mapping[str, tuple[Callable[[], None], Callable[[], None]]]:
    """Name -> how it is taken away, and how it is given back."""
    ours, made, hook = world.ours, world.servers, world.hook
    table: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}
    for name in OURS:
        table[f"{name} killed"] = (lambda one=ours[name]: one.end(), lambda one=ours[name]: one.start())  # type: ignore[misc]
    table["all killed"] = (lambda: _each(ours, Server.end), lambda: _each(ours, Server.start))
    for name, server in made.items():
        table[f"{name} away"] = (lambda one=server: one.end(_how(one.name)), lambda one=server: one.start())  # type: ignore[misc]
        table[f"{name} frozen"] = (lambda one=server: one.freeze(), lambda one=server: one.thaw())  # type: ignore[misc]
    table["disk full"] = (lambda: ours["ingest"].full_disk(True), lambda: ours["ingest"].full_disk(False))
    table["receiver away"] = (lambda: setattr(hook, "away", True), lambda: setattr(hook, "away", False))
    return table


def _how(name: str) -> signal.Signals:
    return signal.SIGINT if name == "database" else signal.SIGTERM


def _each(ours: Mapping[str, Server], what: Callable[[Server], object]) -> None:
    for one in ours.values():
        what(one)


def _live(world: World, seconds: float) -> Result:
    """Faults one after another until time is over, and GPUs that get hot in the middle of them."""
    table, begun_s = _faults(world), time.monotonic()
    names: list[str] = []
    told, lost, waits_s, asset = 0, [], [], 0
    said = Bar("chaos")
    while (at_s := time.monotonic() - begun_s) < seconds:
        said(at_s / seconds)
        names = names or [str(name) for name in world.rng.permutation(sorted(table))]  # each before any comes again
        name = names.pop()
        world.faults[name] += 1
        take, give = table[name]
        take()
        hot_s = time.monotonic()
        world.sender.hot, asset = asset, (asset + 1) % (NODES * GPUS)
        who = f"n{world.sender.hot // GPUS}g{world.sender.hot % GPUS}"
        before = world.hook.told("firing", who)
        time.sleep(float(world.rng.uniform(3, 12)))
        give()
        if eventually(lambda who=who, before=before: world.hook.told("firing", who) > before, TOLD_S):  # type: ignore[misc]
            told += 1
            waits_s.append(time.monotonic() - hot_s)
        else:
            lost.append(f"{who} while {name}")
        tell(f"icctwin: chaos: {name}: {'no page' if lost and lost[-1].startswith(who) else f'page after {waits_s[-1]:.1f} s'}")
        world.sender.hot = -1
        eventually(lambda: _up(world), UP_S)
        eventually(lambda who=who: world.hook.told("resolved", who) >= world.hook.told("firing", who), SETTLE_S)  # type: ignore[misc]
        _weigh(world)
    again = Counter(number for *_, number in world.hook.pages if number)
    return {
        "pages_expected_count": told + len(lost),
        "pages_lost_count": len(lost),
        "pages_lost": "; ".join(lost),
        "pages_delivered_again_count": sum(count - 1 for count in again.values()),
        "hot_to_page_worst_s": max(waits_s, default=0.0),
        "hot_to_page_median_s": float(np.median(waits_s)) if waits_s else 0.0,
    }


def _weigh(world: World) -> None:
    for name, server in world.ours.items():
        if server.process is not None:
            world.rss_bytes[name].append(server.process.memory_info().rss)


def _checked(world: World) -> Result:
    """Every acknowledged sample against what the store has, once all that waits has had time to get there."""
    wanted = world.sender.acknowledged
    missing = len(wanted)

    def all_there() -> bool:
        nonlocal missing
        _get(f"{world.store}/internal/force_flush")
        found = _stored(world.store)
        missing = sum(time_ms not in found or found[time_ms] != NODES * GPUS for time_ms in wanted)
        return missing == 0

    eventually(all_there, 120)
    values, again, wrong = _values(world.store)
    for time_ms, row in wanted.items():
        wrong += sum(values.get((time_ms, i)) not in (None, value) for i, value in enumerate(row))
    return {
        "acknowledged_samples_count": len(wanted) * NODES * GPUS,
        "refused_batches_count": world.sender.refused,
        "lost_batches_count": missing,
        "wrong_samples_count": wrong,
        "written_again_samples_count": again,
    }


def _series(store: str) -> Iterator[tuple[int, list[int], list[float]]]:
    """(GPU, times [ms], values) of each series of temperatures as it was sent, every write of it."""
    text = _get(f"{store}/api/v1/export?match[]=gpu_temp_c").decode()  # whether a value was doubted is a series of its own
    for line in text.splitlines():
        one = json.loads(line)
        if one["metric"].get("origin") != "measured":
            continue  # what physics expects of the same moment
        words = " ".join(str(word) for word in one["metric"].values())
        asset = next((i for i in range(NODES * GPUS) if f"n{i // GPUS}g{i % GPUS}" in words.split()), -1)
        if asset >= 0:
            yield asset, one["timestamps"], one["values"]


def _stored(store: str) -> Counter[int]:
    """How many GPUs have a value at each time."""
    count: Counter[int] = Counter()
    for _, times, _ in _series(store):
        count.update(set(times))
    return count


def _values(store: str) -> tuple[dict[tuple[int, int], float], int, int]:
    """The value of each (time, GPU), how often one was written again as it was, and how often as another."""
    values: dict[tuple[int, int], float] = {}
    again = wrong = 0
    for asset, times, column in _series(store):
        for time_ms, value in zip(times, column, strict=True):
            if (before := values.setdefault((time_ms, asset), value)) is not value:
                again, wrong = again + (before == value), wrong + (before != value)
    return values, again, wrong


def _memory(world: World) -> Result:
    """How much more the last third of a run took than the first, worst of the processes; and the most of each."""
    figures: Result = {f"rss_{name}_bytes": max(rows, default=0) for name, rows in world.rss_bytes.items()}
    grown = []
    for rows in world.rss_bytes.values():
        third = len(rows) // 3
        if third:
            grown.append(float(np.median(rows[-third:]) / np.median(rows[:third]) - 1))
    figures["rss_growth_frac"] = max(grown, default=0.0)
    return figures
