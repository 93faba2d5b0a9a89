"""``icctwin bench chaos``: the three processes of a centre on real servers, under faults by a seed, with a checker.

Every so often something is taken away and given back: a process of ours killed with SIGKILL, all of them at once, the store,
the broker, the database, Slurm's controller or its REST stopped or frozen, the receiver of pages away, the disk full, the
centre's clock set an hour forward or a day back. All the while a sender pushes samples and remembers those that were
taken, GPUs get hot one after another, each of which somebody must be told of, and owners submit jobs of mixed consent that
icctwin may move. Afterwards the checker looks for every acknowledged sample in the store, for a page of every hot GPU, and for
each change that Slurm saw in the audit. The last two thirds of the time spare our own processes, to see whether their memory
grows.

What is promised, and so what is checked: `docs/faults.md`. A store that is killed with SIGKILL loses what it had told us was
taken and had not yet written; that is its own promise, so it is ended with SIGTERM or frozen here.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from energy.notes import TOPIC
from ingest.stores.postgres import PostgresRecords, Session
from twin.errors import SourceError
from ui.benches import Result
from ui.benches.chaos_check import Kept, Scale, held, life_of, memory, orders, samples
from ui.benches.chaos_people import JOB_LISTED_S, Hook, Owners, Sender
from ui.benches.chaos_world import GPUS, NODES, SETTLE_S, Server, centre, eventually, servers, write_past
from ui.benches.skew import Clock
from ui.benches.slurm_server import SlurmServer, lacking
from ui.commands import tell
from ui.progress import Bar
from ui.switch import Wish, wish
from ui.tasks import RealClock

SEED, UP_S, TOLD_S = 1, 180.0, 180.0
OURS = ("ingest", "tasks", "wall")
CALM_FRAC = 2 / 3  # of the time, at its end, in which no process of ours is killed
WARM_S = 600.0  # after its start a process is not weighed: plans, forecasts and garbage have come for the first time by then
AHEAD_S = 3600
BEHIND_S = -86_400  # further back than a run lasts: what is stored as of its arrival shares no moment with what was sent then
TAKEN_BACK_S = 90.0
MAX_AUDIT = 100_000

Fault = tuple[Callable[[], object], Callable[[], object]]  # how it is taken away, and how it is given back


@dataclass
class World:
    """Everything that runs."""

    folder: Path
    servers: Mapping[str, Server]
    ours: Mapping[str, Server]
    ports: Mapping[str, int]
    said: Mapping[str, str]
    clock: Clock
    slurm: SlurmServer | None
    sender: Sender
    hook: Hook
    owners: Owners | None
    scale: Scale
    rng: np.random.Generator
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Who lives beside the centre."""
        self.people = [one for one in (self.sender, self.owners, self.scale) if one is not None]


def bench_chaos(options: argparse.Namespace) -> Result:
    """Faults for ``options.seconds``, then what the checker found; ``SourceError`` where the centre does not come up."""
    with tempfile.TemporaryDirectory(prefix="icctwin-chaos-") as folder, _world(Path(folder)) as world:
        told, calm_s = _live(world, options.seconds)
        for one in world.people:
            one.stop()
        figures = told | _samples(world) | _orders(world) | memory(world.scale.rows, calm_s)
        codes = {name: server.end(signal.SIGTERM) for name, server in world.ours.items()}
        figures["ended_badly_count"] = sum(code != 0 for code in codes.values())
        slurm, skewed = world.slurm is not None, world.clock.there
    figures |= {f"faults_{name.replace(' ', '_')}_count": count for name, count in sorted(world.faults.items())}
    conditions = {"seconds": options.seconds, "seed": SEED, "processes": 3, "gpus": NODES * GPUS}
    conditions |= {"slurm": slurm or lacking(), "clock": skewed or "libfaketime is not here (Debian: apt-get install faketime)"}
    return {"bench": "chaos", "figures": figures, "against": {}, "conditions": conditions}


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        made, said = servers(folder)
        hook, clock, slurm = Hook(), Clock(folder), None
        stack.callback(hook.close)
        if not lacking():
            slurm = SlurmServer(folder / "slurm", 20_000 + os.getpid() % 400 * 20, NODES, ended_s=JOB_LISTED_S)
            stack.callback(slurm.stop)
            slurm.start()
        ours, ports = centre(folder, said, hook.port, slurm, clock)
        stack.callback(_end_all, [*ours.values(), *made.values()])
        for server in made.values():
            server.start()
        if not eventually(lambda: _get(f"{said['store']}/health") != b"", 60):
            raise SourceError("the store does not come up")
        write_past(folder / "tasks.toml")
        for server in ours.values():
            server.start()
        rng = np.random.Generator(np.random.PCG64(SEED))
        owners = Owners(slurm, rng.spawn(1)[0]) if slurm is not None else None
        sender, scale = Sender(ports["ingest"]), Scale(ours)
        world = World(folder, made, ours, ports, said, clock, slurm, sender, hook, owners, scale, rng)
        if not eventually(lambda: _up(world), UP_S):
            raise SourceError(f"the centre does not come up; its words: {_words(folder)}")
        for one in world.people:
            stack.callback(one.stop)
            one.start()
        yield world


def _end_all(them: list[Server]) -> None:
    for server in them:
        server.thaw()
        server.end(signal.SIGKILL)


def _words(folder: Path) -> str:
    return " ".join(path.read_text()[-300:] for path in sorted(folder.glob("*.log")))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - an address of ours
        body: bytes = answer.read()
    return body


def _up(world: World) -> bool:
    return all(_get(f"http://127.0.0.1:{world.ports[name]}/healthz") != b"" for name in ("ingest", "wall"))


def _faults(world: World) -> Mapping[str, Fault]:
    """Name -> how it is taken away, and how it is given back."""
    ours, hook = world.ours, world.hook
    table: dict[str, Fault] = {f"{name} killed": (one.end, one.start) for name, one in ours.items()}
    table["all killed"] = (lambda: _each(ours, Server.end), lambda: _each(ours, Server.start))
    for name, server in world.servers.items():
        table[f"{name} away"] = (lambda one=server: one.end(_how(one.name)), server.start)  # type: ignore[misc]
        table[f"{name} frozen"] = (server.freeze, server.thaw)
    full: Callable[[bool], object] = lambda yes: _each(ours, lambda one: one.full_disk(yes))  # noqa: E731
    table["disk full"] = (lambda: full(True), lambda: full(False))
    table["receiver away"] = (lambda: setattr(hook, "away", True), lambda: setattr(hook, "away", False))
    if world.clock.there:
        table["clock ahead"] = (lambda: _skew(world, AHEAD_S), lambda: _skew(world, 0))
        table["clock behind"] = (lambda: _skew(world, BEHIND_S), lambda: _skew(world, 0))
    if world.slurm is not None:
        table |= _slurm_faults(world.slurm)
    return table


def _slurm_faults(slurm: SlurmServer) -> Mapping[str, Fault]:
    def back(part: str) -> Callable[[], object]:
        return lambda: slurm.start_part(part)

    def signalled(how: signal.Signals) -> Callable[[], object]:
        return lambda: os.kill(slurm.pid(), how)

    return {
        "slurmctld killed": (lambda: slurm.end_part("slurmctld", signal.SIGKILL), back("slurmctld")),
        "slurmctld away": (lambda: slurm.end_part("slurmctld"), back("slurmctld")),
        "slurmctld frozen": (signalled(signal.SIGSTOP), signalled(signal.SIGCONT)),
        "slurmrestd away": (lambda: slurm.end_part("rest"), back("rest")),
    }


def _how(name: str) -> signal.Signals:
    return signal.SIGINT if name == "database" else signal.SIGTERM


def _each(ours: Mapping[str, Server], what: Callable[[Server], object]) -> None:
    for one in ours.values():
        what(one)


def _skew(world: World, off_s: int) -> None:
    """Set the clock of all our processes; whichever of the two times a sample meets while it is taken over, is known."""
    world.sender.skews_s |= {float(off_s)}
    world.clock.set(off_s)
    time.sleep(2.5)
    world.sender.skews_s = frozenset({float(off_s)})


def _live(world: World, seconds: float) -> tuple[Result, float]:
    """Faults one after another until time is over, and GPUs that get hot in the middle of them. With when the calm began."""
    begun_s = time.monotonic()
    calm_s = begun_s + (1 - CALM_FRAC) * seconds
    names: list[str] = []
    lost: list[str] = []
    waits_s: list[float] = []
    said, table = Bar("chaos"), _faults(world)
    while (at_s := time.monotonic() - begun_s) < seconds:
        said(at_s / seconds)
        if time.monotonic() > calm_s:
            table = {name: fault for name, fault in table.items() if name.partition(" ")[0] not in (*OURS, "all")}
            names = [name for name in names if name in table]
        names = names or [str(name) for name in world.rng.permutation(sorted(table))]  # each before any comes again
        name = names.pop()
        who = _asset(sum(world.faults.values()) % (NODES * GPUS))
        world.faults[name] += 1
        wait_s = _round(world, table[name], who)
        tell(f"icctwin: chaos: {name}: {'no page' if wait_s is None else f'page after {wait_s:.1f} s'}")
        if wait_s is None:
            lost.append(f"{who} while {name}")
        else:
            waits_s.append(wait_s)
    again = Counter(number for *_, number in world.hook.pages if number)
    figures = {
        "pages_expected_count": len(waits_s) + len(lost),
        "pages_lost_count": len(lost),
        "pages_lost": "; ".join(lost),
        "pages_delivered_again_count": sum(count - 1 for count in again.values()),
        "hot_to_page_worst_s": max(waits_s, default=0.0),
        "hot_to_page_median_s": float(np.median(waits_s)) if waits_s else 0.0,
        "refused_batches_count": world.sender.refused,
    }
    return figures, calm_s + WARM_S


def _asset(i: int) -> str:
    return f"n{i // GPUS}g{i % GPUS}"


def _round(world: World, fault: Fault, who: str) -> float | None:
    """One fault, and one GPU that is hot from its middle until somebody was told: how long that took [s], None for never."""
    take, give = fault
    hook, sender = world.hook, world.sender
    take()
    hot_s, before = time.monotonic(), hook.told("firing", who)
    sender.hot = next(i for i in range(NODES * GPUS) if _asset(i) == who)
    time.sleep(float(world.rng.uniform(3, 12)))
    give()
    eventually(lambda: _up(world), UP_S)  # a hot GPU of which nobody can be told yet is none of the time that telling takes
    told = eventually(lambda: hook.told("firing", who) > before, TOLD_S)
    took_s = time.monotonic() - hot_s
    sender.hot = -1
    eventually(lambda: hook.told("resolved", who) >= hook.told("firing", who), SETTLE_S)
    return took_s if told else None


def _samples(world: World) -> Result:
    """Every acknowledged sample against what the store has, once all that waits has had time to get there."""
    found: dict[str, int | str] = {}

    def kept(more: str = "") -> Kept:
        text = _get(f"{world.said['store']}/api/v1/export?match[]=gpu_temp_c{more}").decode()
        return Kept(iter(text.splitlines()))

    def all_there() -> bool:
        _get(f"{world.said['store']}/internal/force_flush")
        found.update(samples(world.sender.acknowledged, kept()))
        return found["lost_samples_count"] == 0

    eventually(all_there, 120)
    # as they lie, before the server's own deduplication: a body that it took half of is sent again whole
    writes = kept("&reduce_mem_usage=1")
    return {**samples(world.sender.acknowledged, kept()), "written_again_samples_count": writes.again}


def _listed(slurm: SlurmServer) -> Sequence[Mapping[str, Any]] | None:
    """Jobs as the controller has them, None where it does not answer."""
    with suppress(subprocess.SubprocessError):
        jobs: Sequence[Mapping[str, Any]] = json.loads(slurm.run("squeue", "--json"))["jobs"]
        return jobs
    return None


def _orders(world: World) -> Result:
    """What Slurm saw against what was agreed and written down; then all must be let go once somebody says so."""
    slurm, owners = world.slurm, world.owners
    if slurm is None or owners is None:
        return {}
    records = PostgresRecords(Session(world.said["database"], None))
    try:
        eventually(lambda: _listed(slurm) is not None, TAKEN_BACK_S)  # what was taken away last may not be back yet
        wish(records, Wish("stop", "chaos", why="the end of the bench"), RealClock().now())
        left: list[str] = []

        def let_go() -> bool:
            nonlocal left
            if (queue := _listed(slurm)) is None:
                return False
            left = held(owners.jobs, queue, RealClock().now().timestamp())
            return not left

        eventually(let_go, TAKEN_BACK_S)
        noted = records.read(TOPIC, limit=MAX_AUDIT, newest=True)
        audit = [{**record, "noted_s": at.timestamp()} for _, at, record in noted]
    finally:
        records.close()
    log = (slurm.folder / "slurmctld.log").read_text(errors="replace")
    lives = "; ".join(life_of(number, owners.jobs, audit, log) for number in left)
    return {**orders(owners.jobs, audit, log), "orders_left_in_force_count": len(left), "orders_left_in_force": lives}
