"""The one table of what runs when, and the two clocks that can drive it: the wall's and a virtual one.

APScheduler is the alarm clock, no more. What goes wrong with a task (an error, a run that came too late, a run left out because
the one before was still going) becomes a reading of the task's own asset, and so an alert like any other.
"""

import asyncio
import heapq
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from twin.errors import SourceError
from twin.frame import Frame
from twin.ports import Clock
from twin.site import Site
from ui.own import TASK

log = logging.getLogger(__name__)

MAX_THREADS = 4  # for tasks that compute for long; they share these, and no other task waits for them
MIN_EVERY_S = 0.25  # of real time, however fast the clock runs
LOOK_S = 1.0
PASSED = 10  # times of a task: what is overdue by more counts from now


@dataclass(frozen=True, slots=True)
class Task:
    """``run(now)`` every ``every_s`` seconds of the centre's clock, first after ``first_s``; coroutines on the ingest loop.
    ``heavy``: it computes for long and may wait for its like; every other task has a thread to itself."""

    name: str
    run: Callable[[datetime], Awaitable[None] | None]
    every_s: float
    first_s: float = 0.0
    heavy: bool = False


class RealClock:
    """The machine's clock; with ``speed`` other than 1 it runs that many times faster from when it was made."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start, self._mark_s = datetime.now(UTC), time.monotonic()

    def now(self) -> datetime:
        """Aware UTC."""
        if self.speed == 1.0:
            return datetime.now(UTC)
        return self._start + timedelta(seconds=(time.monotonic() - self._mark_s) * self.speed)


class VirtualClock:
    """Stands still until it is set; for tests, replay and everything that must come out the same twice."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def now(self) -> datetime:
        """Aware UTC."""
        return self.time


class Health:
    """How each task does, as columns over the tasks in their order."""

    def __init__(self, site: Site, tasks: Sequence[Task]) -> None:
        self.rows = np.array([site.row(f"{TASK}{task.name}") for task in tasks], dtype=np.int32)
        self._position = {task.name: i for i, task in enumerate(tasks)}
        n = len(tasks)
        self._columns = {
            "duration_s": np.full(n, np.nan),
            "runs_count": np.zeros(n),
            "errors_count": np.zeros(n),
            "missed_count": np.zeros(n),
            "overlaps_count": np.zeros(n),
            "failing_flag": np.full(n, np.nan),
        }

    def count(self, task: str, column: str) -> None:
        """One more of ``column``."""
        self._columns[column][self._position[task]] += 1

    def ran(self, task: str, duration_s: float, *, failed: bool) -> None:
        """A run has ended."""
        i = self._position[task]
        self._columns["duration_s"][i] = duration_s
        self._columns["runs_count"][i] += 1
        self._columns["errors_count"][i] += failed
        self._columns["failing_flag"][i] = failed

    def frame(self, now: datetime) -> Frame:
        """All of it, as a measured frame of kind ``task``."""
        return Frame("task", now, self.rows, {name: column.copy() for name, column in self._columns.items()}, source="icctwin")


def run_once(task: Task, now: datetime, health: Health, loop: asyncio.AbstractEventLoop | None) -> None:
    """Run ``task`` and keep the books. A task that breaks is logged and counted, with its trace where it is not the world that
    said no; it never takes others along.

    ``loop``: where a coroutine runs; None runs it to its end on the loop of this thread's own.
    """
    started_s = time.perf_counter()
    failed = True
    try:
        result = task.run(now)
        if inspect.iscoroutine(result):
            if loop is None:
                asyncio.get_event_loop().run_until_complete(result)
            else:
                asyncio.run_coroutine_threadsafe(result, loop).result()
        failed = False
    except SourceError as error:
        log.error("task %s failed: %s", task.name, error)
    except Exception:
        log.exception("task %s failed", task.name)
    health.ran(task.name, time.perf_counter() - started_s, failed=failed)


class _Steady(BackgroundScheduler):  # type: ignore[misc]  # untyped
    """APScheduler's runs are due at times of the machine's clock. ``latest_s``: job -> in how many seconds it is due at the
    latest; what is due later than that was planned by a clock that has been set back since, and would stay undone for as long.
    It may be set back while nothing is due, so it is looked at every ``LOOK_S``. Of what is long overdue, as after a clock that
    was set forward or a machine that slept, APScheduler would list every time that was passed over, to run it once."""

    def __init__(self, latest_s: Mapping[str, float], **options: Any) -> None:
        super().__init__(**options)
        self._latest_s = latest_s

    def _process_jobs(self) -> float:
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if job.next_run_time < now - PASSED * job.trigger.interval:
                self.modify_job(job.id, next_run_time=now)
            latest = now + timedelta(seconds=self._latest_s[job.id])
            if job.next_run_time > latest + timedelta(seconds=LOOK_S):
                self.modify_job(job.id, next_run_time=latest)
        return min(super()._process_jobs() or LOOK_S, LOOK_S)


class Alarm:
    """Runs the table on the real clock until it is stopped."""

    def __init__(
        self, tasks: Sequence[Task], clock: Clock, health: Health, loop: asyncio.AbstractEventLoop, speed: float
    ) -> None:
        every_s = {task.name: max(task.every_s / speed, MIN_EVERY_S) for task in tasks}
        latest_s = {task.name: max(every_s[task.name], task.first_s / speed) for task in tasks}
        light = sum(not task.heavy for task in tasks)
        # a task runs once at a time, so that whatever one of them waits for, the next finds a thread
        pools = {"default": ThreadPoolExecutor(max(light, 1)), "heavy": ThreadPoolExecutor(MAX_THREADS)}
        self._scheduler = _Steady(latest_s, executors=pools, timezone=UTC)
        self._health = health
        self._under_way: set[str] = set()
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # what it would say is counted here, and shown
        for task in tasks:

            def run(task: Task = task) -> None:
                self._under_way.add(task.name)
                try:
                    run_once(task, clock.now(), health, loop)
                finally:
                    self._under_way.discard(task.name)

            self._scheduler.add_job(
                run,
                "interval",
                seconds=every_s[task.name],
                id=task.name,
                executor="heavy" if task.heavy else "default",
                next_run_time=datetime.now(UTC) + timedelta(seconds=task.first_s / speed),
                max_instances=1,
                coalesce=True,
                misfire_grace_time=max(1, int(every_s[task.name])),
            )
        self._scheduler.add_listener(self._event, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self, within_s: float | None = None) -> frozenset[str]:
        """No new run begins; waits for those under way, and gives the names of those that do not end ``within_s``."""
        ending = threading.Thread(target=self._scheduler.shutdown, name="alarm", daemon=True)
        ending.start()
        ending.join(within_s)
        return frozenset(self._under_way) if ending.is_alive() else frozenset()

    def _event(self, event: JobEvent) -> None:
        self._health.count(event.job_id, "missed_count" if event.code == EVENT_JOB_MISSED else "overlaps_count")


def run_virtual(
    tasks: Sequence[Task], clock: VirtualClock, until: datetime, health: Health, loop: asyncio.AbstractEventLoop
) -> None:
    """Run the table from the clock's time to ``until``, one task after the other, in order of time and of the table.

    ``loop`` must not be running: coroutines are run to their end on it.
    """
    asyncio.set_event_loop(loop)
    start = clock.now()
    due = [(start + timedelta(seconds=task.first_s), i) for i, task in enumerate(tasks)]
    heapq.heapify(due)
    while due and due[0][0] < until:
        when, i = heapq.heappop(due)
        clock.time = when
        run_once(tasks[i], when, health, None)
        heapq.heappush(due, (when + timedelta(seconds=tasks[i].every_s), i))
    clock.time = until
