"""What lives for months holds no more after a long time than after a short one: objects are counted, not bytes."""

import asyncio
import gc
import subprocess
import sys
import tracemalloc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiomqtt
import numpy as np
import pytest
from energy_house import NOW, MemoryRecords
from small import small_site

from analytics import replay as replaying
from analytics.models import all_models
from analytics.replay import Memory, replay
from energy.ledger_seen import Watcher
from ingest import judge
from ingest.broker import MAX_WAITING, Address, Broker, Codec, _Heard
from ingest.spool import Spool
from ingest.spool_log import SpoolLog, _Reader
from ingest.stores import open_store
from ingest.stores.embedded import names
from twin.errors import SourceError
from twin.frame import Floats, Frame, frame_of
from twin.job import Jobs, JobState
from twin.metrics import METRICS
from twin.order import Terms
from ui.memory import LEARNT, Tidy

HOUR_S, DAY = 3600.0, 24


@pytest.fixture
def _thawed() -> Iterator[None]:
    gc.disable()  # only what is tested looks for garbage
    yield
    gc.enable()
    gc.unfreeze()


def load(days: int) -> Floats:
    hours = np.arange(24.0 * days)
    return 1 + 0.3 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(1).normal(0, 0.05, len(hours))


def test_what_models_said_is_kept_as_long_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new hour asks for the moments of the hour before, and for those of its own; what no hour asks for any more goes."""
    baselines = [model for model in all_models() if model.baseline][:2]
    monkeypatch.setattr(replaying, "all_models", lambda: baselines)
    monkeypatch.setattr(replaying, "MAX_REMEMBERED", 80)  # 37 moments each
    series, memory, made = load(36), Memory(), set()
    for n in range(30 * DAY, 36 * DAY, 13):
        replay(series[:n], DAY, HOUR_S, memory=memory)
        made |= set(memory.said)
        assert len(memory.said) <= 80
    assert len(made) > 100, "it had to let go of something"
    known = set(memory.said)
    replay(series[:n], DAY, HOUR_S, memory=memory)
    assert set(memory.said) == known, "asked again, nothing is worked out anew"


def jobs(*ids: str, state: JobState = JobState.PENDING) -> Jobs:
    n = len(ids)
    nan, none = np.full(n, np.nan), np.empty(0, np.int32)
    flags = np.zeros(n, np.uint8)
    terms = Terms(nan, flags, flags, flags, nan)
    states, gpus = np.full(n, state, np.uint8), np.full(n, 8, np.int32)
    submit_s = np.full(n, NOW.timestamp())
    words = ["x"] * n
    return Jobs(ids, words, words, words, states, gpus, submit_s, nan, nan, nan, nan, flags, none, none, terms)


def test_jobs_that_are_cancelled_while_they_wait_leave_nothing_behind() -> None:
    watcher = Watcher(MemoryRecords())
    for k in range(50):
        watcher.see("slurm", jobs(f"{k}", f"{k + 1}"), NOW)
        watcher.see("other", jobs("7"), NOW)
    assert set(watcher._own) == {("slurm", "49"), ("slurm", "50"), ("other", "7")}


async def test_a_process_that_hears_more_than_it_can_look_at_keeps_the_newest() -> None:
    dropped: list[None] = []
    heard: asyncio.Queue[int] = partial(_Heard, dropped=partial(dropped.append, None))(maxsize=MAX_WAITING)
    for k in range(5 * MAX_WAITING):
        heard.put_nowait(k)
    assert heard.qsize() == MAX_WAITING
    assert len(dropped) == 4 * MAX_WAITING
    assert await heard.get() == 4 * MAX_WAITING, "the oldest went"


class Client:
    """One that has messages of others and of our own."""

    def __init__(self, *payloads: tuple[str, bytes]) -> None:
        self._payloads = payloads

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        for topic, payload in self._payloads:
            yield aiomqtt.Message(topic, payload, 0, False, 0, None)


@pytest.mark.usefixtures("_thawed")
async def test_what_was_heard_dies_as_soon_as_it_was_looked_at() -> None:
    site, took = small_site(), Counter[str]()
    broker = Broker(Address("127.0.0.1"), site, "me", lambda frames: took.update(one.source for one in frames))
    said = {name: Codec(site).pack([frame_of("grid", NOW, 0, source=name, price_per_mwh=5.0)]) for name in ("me", "you")}
    client = Client(*((f"icctwin/{site.name}/frames/{name}", body) for name, body in said.items() for _ in range(100)))
    gc.collect()
    await broker._listen(client)
    assert took == {"you": 100}
    assert gc.collect() < 50


def test_sets_of_assets_that_never_come_again_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_ELEMENTS", 50 * names.SET_ELEMENTS)
    site = small_site()
    rng, store, n = np.random.default_rng(1), open_store(tmp_path, site), site.count("gpu")
    told = {}
    for k in range(400):
        rows = np.sort(rng.choice(n, size=int(rng.integers(1, n // 2)), replace=False)).astype(np.int32)
        store.append([Frame("gpu", NOW + timedelta(seconds=k), rows, {"power_w": rng.uniform(1, 700, len(rows))})])
        told[k] = len(rows)
    assert len(store._names._sets) <= 51
    series = store.series("gpu", ["power_w"], NOW, NOW + timedelta(hours=1))
    store.close()
    assert np.count_nonzero(np.isfinite(series.values["power_w"])) == sum(told.values()), "and nothing is lost for it"


def test_shapes_of_frames_that_never_come_again_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "MAX_LIMITS", 20)
    judging, rng, known = judge.Judge(small_site()), np.random.default_rng(1), list(METRICS["gpu"])
    for k in range(200):
        names = rng.permutation(known)[: 1 + k % len(known)]
        wrong = frame_of("gpu", NOW + timedelta(seconds=k), 0, **dict.fromkeys(names.tolist(), 1e18))
        judged = set(judging.judge(wrong, NOW + timedelta(seconds=k)).quality)
        assert judged == {name for name in names if METRICS["gpu"][name].high < 1e18}, "each is still judged"
    assert len(judging._limits) <= 20


class Knot:
    """Holds itself, as a connection and its parser do."""

    def __init__(self) -> None:
        self.own = self


@pytest.mark.usefixtures("_thawed")
def test_a_spool_with_nothing_behind_it_holds_nothing_of_its_log(tmp_path: Path) -> None:
    """While the store is away what waits is read from disk; the file that it came from is up to 16 MB."""
    site, here = small_site(), False

    def take(_: Sequence[Frame]) -> None:
        if not here:
            raise SourceError("the store is away")

    def readers() -> int:
        return sum(isinstance(thing, _Reader) for thing in gc.get_objects())

    spool = Spool(take, disk=SpoolLog(tmp_path, site))
    for k in range(50):
        spool.put([frame_of("gpu", NOW + timedelta(seconds=k), k % 8, power_w=300.0)])
        spool.flush()
    here = True
    assert spool.flush(), "the first portion, which is all of it"
    assert (spool.waiting, readers()) == (0, 1)
    assert spool.flush()
    assert readers() == 0


def test_what_waits_costs_no_more_behind_much_that_was_written(tmp_path: Path) -> None:
    """A file goes on for hours where little is told, and each outage reads what waits from it: its bytes, and nothing besides
    for each record from before."""
    site, peaks = small_site(), list[int]()
    for name, records in (("short", 100), ("long", 4_000)):
        log = SpoolLog(tmp_path / name, site)
        for k in range(records):
            row = k % 8
            span = log.write([frame_of("gpu", NOW + timedelta(seconds=k), row, power_w=300.0)])
        tracemalloc.start()
        frames, _ = log.read(span, 10)
        peaks.append(tracemalloc.get_traced_memory()[1] - log.end)
        tracemalloc.stop()
        assert [(frame.time, frame.rows.tolist()) for frame in frames] == [(NOW + timedelta(seconds=records - 1), [row])]
    assert abs(peaks[1] - peaks[0]) < 20_000, "some 140 bytes a record before"


def test_what_died_in_a_knot_goes_and_so_does_a_centre_that_another_replaced() -> None:
    tidy = Tidy()
    knot, centre, early = Knot(), Knot(), Knot()
    gone, replaced, begun = weakref.ref(knot), weakref.ref(centre), weakref.ref(early)
    tidy.run()  # from here on what is there is left alone
    assert gc.get_freeze_count() > 0
    young = Knot()
    died = weakref.ref(young)
    del young, early
    tidy.run()
    assert died() is None
    assert begun() is not None
    for _ in range(LEARNT - 1):  # what was there when it began is looked through once more
        tidy.run()
    assert begun() is None
    del knot, centre
    tidy.run()
    assert gone() is not None
    Tidy().run()
    assert (gone(), replaced()) == (None, None)


@pytest.mark.parametrize("first", ["import pyarrow; ", ""])
def test_arrow_keeps_no_memory_for_threads_that_are_gone(first: str) -> None:
    """Whether it was there before or comes later: its own allocator holds megabytes for each."""
    asked = (
        "from ui.memory import look_seldom; look_seldom(); import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", first + asked], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["system"]
