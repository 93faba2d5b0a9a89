"""The table of tasks on a virtual and on the real clock."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from servers import needs
from small import small_site

from ui.benches.skew import Clock
from ui.tasks import MAX_THREADS, Alarm, Health, RealClock, Task, VirtualClock, run_virtual

START = datetime(2026, 11, 22, tzinfo=UTC)


def _health(*tasks: Task) -> Health:
    return Health(small_site(*(f"id=task/{task.name} kind=task" for task in tasks)), tasks)


def _reading(health: Health, column: str) -> list[float]:
    return health.frame(START).values[column].tolist()


def test_a_virtual_day_runs_everything_in_order_and_counts_what_fails() -> None:
    seen: list[tuple[float, str]] = []

    def note(name: str, *, fail: bool = False):
        def run(now: datetime) -> None:
            seen.append(((now - START).total_seconds(), name))
            if fail:
                raise RuntimeError("planted")

        return run

    async def waits(now: datetime) -> None:
        await asyncio.sleep(0)
        seen.append(((now - START).total_seconds(), "c"))

    tasks = [Task("a", note("a"), 10), Task("b", note("b", fail=True), 15), Task("c", waits, 30, first_s=5)]
    health, clock, loop = _health(*tasks), VirtualClock(START), asyncio.new_event_loop()
    run_virtual(tasks, clock, START + timedelta(seconds=31), health, loop)
    loop.close()
    assert seen == [(0, "a"), (0, "b"), (5, "c"), (10, "a"), (15, "b"), (20, "a"), (30, "a"), (30, "b")]
    assert _reading(health, "runs_count") == [4, 3, 1]
    assert _reading(health, "errors_count") == [0, 3, 0]
    assert _reading(health, "failing_flag") == [0, 1, 0]
    assert clock.now() == START + timedelta(seconds=31)


def test_the_real_alarm_never_runs_a_task_twice_at_once_and_counts_what_it_leaves_out() -> None:
    release, entered = threading.Event(), threading.Event()
    inside: list[int] = []
    most = 0

    def slow(now: datetime) -> None:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        entered.set()
        release.wait(10)
        inside.pop()

    tasks = [Task("slow", slow, 0.1)]
    health, loop = _health(*tasks), asyncio.new_event_loop()
    alarm = Alarm(tasks, RealClock(), health, loop, 1.0)
    alarm.start()
    assert entered.wait(10)
    deadline = time.monotonic() + 10
    while _reading(health, "overlaps_count")[0] < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    release.set()
    alarm.stop()
    loop.close()
    assert most == 1
    assert _reading(health, "overlaps_count")[0] >= 2
    assert _reading(health, "runs_count")[0] >= 1


def test_whatever_tasks_wait_for_the_others_go_on() -> None:
    """More that wait on the loop, and more that compute, than there are threads for long work."""
    many, ticks = MAX_THREADS + 2, threading.Semaphore(0)
    loop, begun = asyncio.new_event_loop(), threading.Semaphore(0)
    release, released = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def waits(now: datetime) -> None:
        begun.release()
        await released.wait()

    def computes(now: datetime) -> None:
        begun.release()
        release.wait(30)

    async def ticks_on_the_loop(now: datetime) -> None:
        ticks.release()

    tasks = [
        *(Task(f"waits-{i}", waits, 60) for i in range(many)),
        *(Task(f"computes-{i}", computes, 60, heavy=True) for i in range(many)),
        Task("collect", ticks_on_the_loop, 0.25, first_s=0.2),
        Task("alerts", lambda now: ticks.release(), 0.25, first_s=0.2),
    ]
    alarm = Alarm(tasks, RealClock(), _health(*tasks), loop, 1.0)
    alarm.start()
    try:
        assert all(begun.acquire(timeout=20) for _ in range(many + MAX_THREADS))
        while ticks.acquire(blocking=False):
            pass
        assert all(ticks.acquire(timeout=20) for _ in range(6))
        assert not begun.acquire(blocking=False), "long work waits for its like"
    finally:
        release.set()
        loop.call_soon_threadsafe(released.set)
        alarm.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_faster_clock_keeps_its_speed() -> None:
    clock = RealClock(speed=3600)
    first = clock.now()
    time.sleep(0.05)
    assert (clock.now() - first).total_seconds() >= 0.05 * 3600


_TICKS = """
import asyncio, sys
from tests.small import small_site
from ui.tasks import MAX_THREADS, Alarm, Health, RealClock, Task

tasks = [Task("tick", lambda now: print(now.isoformat(), flush=True), 0.1)]
health = Health(small_site("id=task/tick kind=task"), tasks)
alarm = Alarm(tasks, RealClock(), health, asyncio.new_event_loop(), 1.0)
alarm.start()
sys.stdin.read()
alarm.stop()
"""


def test_a_day_that_was_passed_over_is_one_run_and_no_list_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ran = [], threading.Event()
    told = IntervalTrigger.get_next_fire_time
    monkeypatch.setattr(IntervalTrigger, "get_next_fire_time", lambda self, *times: asked.append(1) or told(self, *times))
    task = Task("a", lambda _: ran.set(), 1.0, first_s=3600.0)
    health, loop = _health(task), asyncio.new_event_loop()
    alarm = Alarm([task], RealClock(), health, loop, 1.0)
    alarm.start()
    alarm._scheduler.modify_job("a", next_run_time=datetime.now(UTC) - timedelta(days=1))
    assert ran.wait(20)
    alarm.stop()
    loop.close()
    assert 1 <= _reading(health, "runs_count")[0] < 5
    assert len(asked) < 10, "there were 86,400"


@needs("faketime", "faketime")
def test_a_machine_whose_clock_is_set_forward_and_back_goes_on_with_its_tasks(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    fake = {**os.environ, **clock.environment, "FAKETIME_NO_CACHE": "1"}
    command = [sys.executable, "-c", _TICKS]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, env=fake, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        end = threading.Timer(30, child.kill)
        end.start()
        ticks = iter(child.stdout.readline, "")
        for off_s in (0, 3600, 0, -600, 0):
            clock.set(off_s)
            for _ in range(300):
                told = datetime.fromisoformat(next(ticks).strip())
                if abs((told - datetime.now(UTC)).total_seconds() - off_s) < 30:
                    break
            else:
                raise AssertionError(f"its tasks never see a clock that is {off_s} s off")
        child.stdin.close()
        assert child.wait(20) == 0
        end.cancel()
        end.join()
