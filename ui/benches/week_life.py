"""One life of the centre in the simulated week: from a start on what is on disk to a kill, a stop or the end of the week, on a
virtual clock, in a process of its own, so that a kill takes what was in memory and nothing else."""

import asyncio
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import psutil
from aiohttp import web
from numpy.typing import NDArray

from ingest.queues.tables import frames_of
from ingest.sources.simulated import plant_of
from ingest.sources.simulated.plant import Plant
from twin.errors import SourceError
from twin.frame import Frame
from twin.push import Push
from ui.app import TASK_NAMES, Centre, open_sources
from ui.benches.chaos_people import Acknowledged
from ui.benches.chaos_world import GPUS, HOT_C, NODES, TOKEN
from ui.benches.week_queue import StandIn, spares
from ui.config import load_config, site_of
from ui.memory import Tidy
from ui.tasks import Task, VirtualClock, run_virtual

PAST = ("grid", "weather")
POINTS = ("spool before", "spool after", "store before", "store after", "order before", "order after", "page taken", "step")
# tasks that cost most come once in so many steps: of five minutes, 288 are a day
SOON_S = 4.0  # all of a step comes together: what is read at the pace of the week would be old a minute later
SELDOM = {"forecasts": 72, "store": 12, "findings": 6, "placed": 12, "ledger": 12, "outside": 3}
HELD_EVERY = 12  # steps between two looks at what is held once garbage and what the allocator keeps have gone
WAITS_FRAC = 0.5  # of its fault, for the point at which it is to be killed; then anywhere
AHEAD_S, BEHIND_S = 3600.0, -600.0
LET_S = 900.0  # a GPU stays hot so long after its fault is over
SUBMIT_P = 0.04  # of a job, a minute
MARKED_P = 0.7


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong from ``at_s`` for ``for_s``; ``point``: of a kill, where. ``gpu`` gets hot in its middle."""

    name: str
    at_s: float
    for_s: float
    gpu: int
    point: str = ""

    @property
    def over_s(self) -> float:
        """Its end."""
        return self.at_s + self.for_s


@dataclass
class World:
    """What outlives the centre: plant, scheduler, sender and who is hot; carried from life to life."""

    queue: StandIn
    rng: np.random.Generator
    plant: Plant | None = None
    batches: int = 0
    refused: int = 0
    cpu_s: float = 0.0  # of the lives so far
    faults: Sequence[Fault] = ()
    done: set[Fault] = field(default_factory=set)  # kills and stops that came


class Skewed(VirtualClock):
    """The centre's clock, which may be set wrong."""

    skew_s = 0.0

    def now(self) -> datetime:
        """What it shows."""
        return self.time + timedelta(seconds=self.skew_s)


@dataclass(frozen=True, slots=True)
class Setting:
    """Of a life: configuration, where the receiver listens, from when to when, at what pace, ``without`` which tasks."""

    config: Path
    port: int
    start_s: float
    end_s: float
    pace_s: float
    first: bool
    without: frozenset[str] = frozenset()


class Life:
    """The life itself; what the world sees of it goes through ``out`` as it happens, a pickled tuple each."""

    def __init__(self, setting: Setting, world: World, out: IO[bytes]) -> None:
        self._setting, self._world, self._out = setting, world, out
        self.clock = Skewed(datetime.fromtimestamp(setting.start_s, UTC))
        self._loop = asyncio.new_event_loop()
        self._now: Mapping[str, Fault] = {}
        self._armed: Fault | None = None
        self._pid, self._tidy, self._steps = psutil.Process(), Tidy(), 0
        world.queue.die = self.reach
        self._loop.run_until_complete(self._listen())
        self.centre = self._begin()

    def _begin(self) -> Centre:
        config = load_config(self._setting.config)
        site = site_of(config, TASK_NAMES)
        opened = open_sources(config, site)
        at = next(i for i, one in enumerate(config.sources) if one.type == "simulated")
        plant = plant_of(opened[at])
        if self._world.plant is not None:  # the world goes on from where it was
            vars(plant).update(vars(self._world.plant))
        else:
            plant.outside._rng = _Calm(self._world.rng.spawn(1)[0])  # type: ignore[assignment]
        self._world.plant = plant
        opened[at] = replace(opened[at], queues=[self._world.queue])
        centre = Centre(config, self.clock, wait=True, pace_s=self._setting.pace_s, opened=opened)
        past = opened[at].history
        if self._setting.first and past is not None:
            centre.make_history(replace(opened[at], queues=[], history=lambda end: map(_outside, past(end))))
        self._between(centre)
        return centre

    def _between(self, centre: Centre) -> None:
        """Put the world's moods between the centre and its store, and a kill beside what it writes."""
        spool, store = centre.spool, centre.store
        put, append, series = spool.put, store.append, store.series

        def putting(frames: Sequence[Any]) -> None:
            self.reach("spool before")
            put(frames)
            self.reach("spool after")

        def appending(frames: Sequence[Any]) -> None:
            if "store away" in self._now or "store refusing" in self._now:
                raise SourceError("the store does not take it")
            self.reach("store before")
            append(frames)
            self.reach("store after")

        def asking(*words: Any, **more: Any) -> Any:
            if "store away" in self._now:
                raise SourceError("the store does not answer")
            return series(*words, **more)

        spool.put, spool._append = putting, appending  # type: ignore[method-assign]
        store.series = asking  # type: ignore[method-assign]

    # the world's step

    async def step(self, _: datetime) -> None:
        """What the world does before the centre looks: moods, jobs, samples, and what it notes of the centre."""
        world, now_s = self._world, self.clock.time.timestamp()
        self._now = {one.name: one for one in world.faults if one.at_s <= now_s < one.over_s and one not in world.done}
        self.clock.skew_s = AHEAD_S * ("clock ahead" in self._now) + BEHIND_S * ("clock behind" in self._now)
        hard = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if "disk full" in self._now else hard, hard))
        world.queue.away, world.queue.clock_s = "queue away" in self._now, now_s
        if world.rng.random() < SUBMIT_P * self._setting.pace_s / 60:
            world.queue.submit(now_s, bool(world.rng.random() < MARKED_P))
        world.queue.advance(now_s)
        if not world.queue.away:  # as an adapter does beside each list
            now, queue = self.clock.now(), world.queue
            said = await queue.jobs(now), await queue.cluster(now)
            self.centre.publish(frames_of(*said, self.centre.site, queue.name, now, queue.name))
        ends = self._now.get("stopped")
        if ends is not None:
            self._stop(ends)
        self._armed = self._now.get("killed")
        if self._armed is not None and now_s > self._armed.at_s + WAITS_FRAC * self._armed.for_s:
            self._die()
        self.reach("step")
        await self._push(now_s)
        self._weigh(now_s)

    def _weigh(self, now_s: float) -> None:
        self._tell("weight", now_s, self._pid.memory_info().rss)
        self._steps += 1
        if self._steps % HELD_EVERY == 0:
            self._tidy.run()
            self._tell("held", now_s, self._pid.memory_info().rss, sys.getallocatedblocks())

    async def _push(self, now_s: float) -> None:
        world = self._world
        world.batches += 1
        hot = {one.gpu for one in world.faults if one.at_s + one.for_s / 2 <= now_s < one.over_s + LET_S}
        n = NODES * GPUS
        values = tuple(
            (HOT_C if i in hot else 30.0) + (world.batches * (1 if i in hot else n) + i) % 4096 / 1024 for i in range(n)
        )
        time_ms = int(now_s * 1000) + 1 + world.batches % 997  # beside the centre's own seconds, whatever its clock shows
        lines = [
            f"DCGM_FI_DEV,gpu={i % GPUS},Hostname=gpu{i // GPUS + 1:02d} GPU_TEMP={value} {time_ms}"
            for i, value in enumerate(values)
        ]
        answer = await self.centre.gate.push(Push("line", TOKEN, "\n".join(lines).encode(), precision="ms"))
        if answer.status == 204:
            self._tell("taken", time_ms, Acknowledged(values, frozenset({self.clock.skew_s})))
        else:
            world.refused += 1

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._page)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._setting.port, reuse_address=True).start()

    async def _page(self, request: web.Request) -> web.Response:
        if "receiver away" in self._now:
            return web.Response(status=503)
        body = await request.json()
        number = request.headers.get("Idempotency-Key") or request.headers.get("webhook-id") or ""
        said = self.clock.time.timestamp(), body["status"], tuple(one["labels"]["asset"] for one in body["alerts"]), number
        self._tell("page", *said)
        self.reach("page taken")
        return web.Response()

    # ends

    def _tell(self, *what: Any) -> None:
        rest = memoryview(pickle.dumps(what))
        while rest:
            rest = rest[self._out.write(rest) :]

    def reach(self, point: str) -> None:
        """A kill that waits for this point comes."""
        if self._armed is not None and self._armed.point == point:
            self._die()

    def _die(self) -> NoReturn:
        """As SIGKILL would: nothing is written any more, files end where they are."""
        assert self._armed is not None  # noqa: S101 - nobody else dies
        self._world.done.add(self._armed)
        self._leave("killed")

    def _leave(self, how: str) -> NoReturn:
        self._world.queue.die = spares
        self._world.cpu_s += time.process_time()
        self._tell(how, self.clock.time.timestamp(), self._world)
        os._exit(0)

    def _stop(self, why: Fault) -> None:
        """An end in good order."""
        self._world.done.add(why)
        raise Stopped

    def live(self) -> NoReturn:
        """To the end."""
        centre, health = self.centre, self.centre.health
        centre.gate.open(self._loop)
        world = Task("world", self.step, self._setting.pace_s)
        pace_s = self._setting.pace_s
        skewed = [
            replace(
                task,
                run=self._by_our_clock(task.run),
                every_s=max(task.every_s, pace_s * SELDOM.get(task.name, 1)),
                first_s=min(task.first_s, SOON_S),
            )
            for task in centre.tasks
            if task.name not in self._setting.without
        ]
        run = _Table([world, *skewed], health)
        how = "ended"
        try:
            run_virtual(run.tasks, self.clock, datetime.fromtimestamp(self._setting.end_s, UTC), run, self._loop)  # type: ignore[arg-type]
        except Stopped:
            how = "stopped"
        self._now = {}
        self._loop.run_until_complete(centre.collector.close())
        self._loop.run_until_complete(centre.delivery.close())
        for _ in range(100 if how == "ended" else 0):
            if centre.spool.waiting:
                centre.spool.flush()
        centre.close()
        self._leave(how)

    def _by_our_clock(self, run: Callable[[datetime], Any]) -> Callable[[datetime], Any]:
        return lambda _: run(self.clock.now())


def _outside(frames: Sequence[Frame]) -> Sequence[Frame]:
    """Of a past, what is foreseen from the first day on: weather and grid. The centre's own grows with the week."""
    return [frame for frame in frames if frame.kind in PAST]


class _Calm:
    """Chance of the weather and the grid, a tenth of the usual: days are alike enough for jobs to be moved on most of them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def standard_normal(self, n: int) -> NDArray[np.float64]:
        """As a generator's."""
        return 0.1 * self._rng.standard_normal(n)


class Stopped(BaseException):
    """The centre is told to end."""


class _Table:
    """The tasks, and what keeps the books on them: the world's own is not in the site."""

    def __init__(self, tasks: Sequence[Task], health: Any) -> None:
        self.tasks, self._health = tasks, health

    def ran(self, task: str, duration_s: float, *, failed: bool) -> None:
        """A run has ended; the world's own must not fail."""
        if task != "world":
            self._health.ran(task, duration_s, failed=failed)
        elif failed:
            raise RuntimeError("the world broke")
