"""Polling, judging and spooling: what the world does wrong is counted and shown, and the rest goes on."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from small import small_site

from ingest.collect import Collector
from ingest.judge import judge
from ingest.patience import MAX_AT_ONCE
from ingest.spool import Spool
from twin.condition import Condition
from twin.errors import SourceError
from twin.frame import Frame, Quality, frame_of
from twin.state import State
from ui.tasks import VirtualClock

START = datetime(2026, 11, 22, tzinfo=UTC)


class Scripted:
    """A source that does what its script says, poll by poll."""

    unmapped = 0

    def __init__(self, name: str, *script: object, every_s: float = 1.0) -> None:
        self.name, self.every_s, self._script, self.closed = name, every_s, list(script), False
        self.read = asyncio.Event()

    async def poll(self, now: datetime) -> Sequence[Frame]:
        act = self._script.pop(0) if self._script else "ok"
        if isinstance(act, Exception):
            raise act
        if act == "hang":
            await asyncio.Event().wait()
        self.read.set()
        return [frame_of("weather", now, 0, wet_bulb_c=20.0)]

    async def close(self) -> None:
        self.closed = True


def _collector(*sources: Scripted) -> tuple[Collector, State, VirtualClock]:
    site = small_site(*(f"id={source.name} kind=source" for source in sources if source.name not in ("s1", "s2")))
    state, clock = State(site), VirtualClock(START)

    def publish(frames: Sequence[Frame]) -> None:
        for frame in frames:
            state.absorb(frame, clock.now())

    return Collector(site, sources, clock, publish), state, clock


async def _run(collector: Collector, clock: VirtualClock, seconds: int) -> None:
    for _ in range(seconds):
        await collector.tick(clock.now())
        await collector.drain()
        clock.time += timedelta(seconds=1)
    await collector.tick(clock.now())
    await collector.drain()


async def test_a_source_that_fails_is_down_says_why_and_comes_back() -> None:
    no = SourceError("s1: nobody there")
    collector, state, clock = _collector(Scripted("s1", no, no), Scripted("s2"))
    await _run(collector, clock, 1)
    assert state.column("source", "up_flag", clock.now()).tolist() == [0, 1]
    assert collector.reasons == {"s1": "s1: nobody there"}
    await _run(collector, clock, 3)
    assert state.column("source", "up_flag", clock.now()).tolist() == [1, 1]
    assert state.column("source", "errors_count", clock.now()).tolist() == [2, 0]
    assert collector.reasons == {}


async def test_why_and_since_when_a_source_fails_is_told_without_what_is_secret() -> None:
    class Parts(Scripted):
        """Up, and one of its parts is not, as of the second poll."""

        unmapped, troubles = 12, {}
        unmapped_names = ('up{token="hunter2"}\nx', "n" * 100, *(f"m{i}" for i in range(10)))

        async def poll(self, now: datetime) -> Sequence[Frame]:
            self.troubles = {"cdu-2": "cdu-2: no answer"} if now > START else {}
            return await super().poll(now)

    said = 's1: http://bob:hunter2@bmc/?api_key=hunter2 said\n\x1b[2J "password": "hunter2", Bearer hunter2hunter2 \udc80'
    collector, _, clock = _collector(Scripted("s1", SourceError(said), SourceError("s1: " + "x" * 500)), Parts("s2"))
    assert collector.conditions() == {"s1": Condition(None), "s2": Condition(None)}, "nobody was asked yet"
    names = ('up{token="***"} | x', "n" * 79 + "…", *(f"m{i}" for i in range(8)))
    clean = 's1: http://***@bmc/?api_key=*** said | \\x1b[2J "password": "***", Bearer *** ?'
    await _run(collector, clock, 0)
    collector.health(clock.now())
    assert collector.conditions() == {"s1": Condition(False, clean, START), "s2": Condition(True, "", None, 12, names)}
    await _run(collector, clock, 1)
    second, part = START + timedelta(seconds=1), "1 of its parts fail: cdu-2: no answer"
    assert collector.conditions() == {
        "s1": Condition(False, "s1: " + "x" * 395 + "…", START), "s2": Condition(True, part, second, 12, names)
    }  # fmt: skip
    await _run(collector, clock, 2)
    assert collector.conditions() == {"s2": Condition(True, part, second, 12, names)}, "the other answers again"


async def test_the_delay_of_an_answer_is_as_old_as_the_answer() -> None:
    no = SourceError("s1: nobody there")
    collector, state, clock = _collector(Scripted("s1", "ok", *[no] * 9), Scripted("s2"))
    await _run(collector, clock, 6)
    dead_s, well_s = state.newest("source", "lag_s").time_s - START.timestamp()
    assert dead_s <= 1.0 < 5.0 <= well_s, "the wall says since when it is not heard"


async def test_a_source_that_hangs_ends_within_its_time_and_does_not_hold_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.collect.MAX_TIMEOUT_S", 0.05)
    monkeypatch.setattr("ingest.collect.MIN_TIMEOUT_S", 0.05)
    slow, quick = Scripted("s1", "hang"), Scripted("s2")
    collector, state, clock = _collector(slow, quick)
    await collector.tick(clock.now())
    for _ in range(3):
        await asyncio.sleep(0)
    assert state.one("weather", "wet_bulb_c", clock.now()) == 20
    await collector.drain()
    assert "no answer within 0.05 s" in collector.reasons["s1"]


@pytest.mark.parametrize("before", [SourceError("nobody there"), "ok"])
async def test_more_that_hang_than_are_asked_at_once_hold_up_none_that_answers(
    before: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoints that were dead before wait for each other alone; those of a row that loses its power just now wait a moment."""
    monkeypatch.setattr("ingest.patience.HOLD_S", 0.01)
    dead = [Scripted(f"d{i}", before, "hang", "hang") for i in range(MAX_AT_ONCE + 50)]
    live = Scripted("s1")
    collector, _, clock = _collector(*dead, live)
    for second in range(3):
        clock.time = START + timedelta(seconds=second)
        await collector.tick(clock.time)
        async with asyncio.timeout(5):
            await live.read.wait()
        live.read.clear()
        if second == 0:
            await collector.drain()
    await collector.close()


async def test_a_frame_that_breaks_us_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.collect.FEW", 0)

    class Odd(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            return [frame_of("rack", now, 0, unheard_of_w=1.0)]

    collector, state, clock = _collector(Odd("s1"), Scripted("s2"))
    await collector.tick(clock.now())
    with pytest.raises(ExceptionGroup, match="frames broke"):
        await collector.drain()
    assert state.one("weather", "wet_bulb_c", clock.now()) == 20


async def test_time_in_which_we_were_held_up_ourselves_is_not_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand pages that are read for the first time hold the loop for longer than the second that an answer may take."""
    monkeypatch.setattr("ingest.collect.MAX_TIMEOUT_S", 0.1)
    monkeypatch.setattr("ingest.collect.MIN_TIMEOUT_S", 0.1)
    loop = asyncio.get_running_loop()

    class InTime(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            answered = asyncio.Event()
            loop.call_later(0.05, answered.set)
            await answered.wait()
            return await super().poll(now)

    collector, state, clock = _collector(InTime("s1"), Scripted("s2", "hang"))
    await collector.tick(clock.now())
    loop.call_later(0.02, time.sleep, 0.3)
    await collector.drain()
    assert state.one("weather", "wet_bulb_c", clock.now()) == 20
    assert collector.reasons == {"s2": "s2: no answer within 0.1 s; the endpoint or the network is slow"}


async def test_a_fault_of_ours_is_raised_once_and_stops_nobody() -> None:
    collector, state, clock = _collector(Scripted("s1", ZeroDivisionError("planted")), Scripted("s2"))
    with pytest.raises(ExceptionGroup, match="sources broke"):
        await collector.tick(clock.now())
    assert collector.reasons == {"s1": "s1: ZeroDivisionError: planted"}
    clock.time += timedelta(seconds=1)
    await _run(collector, clock, 1)
    assert state.column("source", "up_flag", clock.now()).tolist() == [1, 1]


async def test_polls_keep_to_their_interval_and_are_spread() -> None:
    polled: dict[str, list[float]] = {"s1": [], "s2": []}

    class Noting(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            polled[self.name].append((now - START).total_seconds())
            return []

    collector, _, clock = _collector(Noting("s1", every_s=10), Noting("s2", every_s=10))
    await _run(collector, clock, 40)
    assert polled["s1"] == [0, 10, 20, 30, 40]
    assert polled["s2"] == [0, 5, 15, 25, 35]


async def test_no_poll_falls_out_where_ticks_come_sooner_and_later() -> None:
    polled: dict[str, int] = {}

    class Counting(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            polled[self.name] = polled.get(self.name, 0) + 1
            return []

    rng = np.random.default_rng(1)
    collector, _, clock = _collector(*(Counting(f"s{i}", every_s=1) for i in (1, 2)))
    start = clock.time
    for k in range(300):
        clock.time = start + timedelta(seconds=k + float(rng.uniform(-0.2, 0.2)))
        await collector.tick(clock.now())
        await collector.drain()
    assert polled == {"s1": 300, "s2": 300}


async def test_a_source_that_answers_late_is_read_again_at_once_and_one_that_fails_is_not() -> None:
    polled: dict[str, list[float]] = {"s1": [], "s2": []}
    answers = {"s1": asyncio.Event(), "s2": asyncio.Event()}

    class Late(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            polled[self.name].append((now - START).total_seconds())
            await answers[self.name].wait()
            return await super().poll(now)

    collector, _, clock = _collector(Late("s1"), Late("s2", SourceError("s2: nobody there")))
    for _ in range(3):
        await collector.tick(clock.now())
        clock.time += timedelta(seconds=1)
    for answer in answers.values():
        answer.set()
    await collector.drain()
    assert polled == {"s1": [0, 2], "s2": [0]}  # once, as of when it was last due
    await collector.tick(clock.now())
    await collector.drain()
    assert polled == {"s1": [0, 2, 3], "s2": [0, 3]}


async def test_a_clock_that_is_set_forward_and_back_leaves_no_source_unread() -> None:
    polled: list[float] = []

    class Noting(Scripted):
        async def poll(self, now: datetime) -> Sequence[Frame]:
            polled.append((now - START).total_seconds())
            return []

    collector, _, clock = _collector(Noting("s1", every_s=10))
    await _run(collector, clock, 15)
    clock.time += timedelta(hours=1)
    await _run(collector, clock, 15)
    clock.time -= timedelta(hours=1)
    await _run(collector, clock, 30)
    back = [at_s for at_s in polled if at_s < 3600][2:]
    assert (polled[2], back) == (3620 - 5, [30, 40, 50, 60]), polled


async def test_closing_ends_polls_under_way_and_closes_every_source() -> None:
    sources = Scripted("s1", "hang"), Scripted("s2")
    collector, _, clock = _collector(*sources)
    await collector.tick(clock.now())
    await collector.close()
    assert [source.closed for source in sources] == [True, True]


async def test_the_frames_of_many_sources_become_few_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.collect.FEW", 2)
    monkeypatch.setattr("ingest.collect.GATHER_S", 0.5)
    passed_on = asyncio.Event()
    site = small_site(*(f"id=t{i} kind=source" for i in range(16)))

    class One(Scripted):
        """Tells of one GPU; the last two of the same one."""

        async def poll(self, now: datetime) -> Sequence[Frame]:
            i = min(int(self.name[1:]), 14)
            xid = 79.0 if i == 7 and now > START else 0.0
            values = {"power_w": np.array([100.0 + i]), "temp_c": np.array([np.nan if i == 3 else 50.0])}
            return [Frame("gpu", now, np.array([i], dtype=np.int32), {**values, "xid_code": np.array([xid])})]

    state, clock, published, events = State(site), VirtualClock(START), [], []

    def publish(frames: Sequence[Frame]) -> None:
        published.extend(frame for frame in frames if frame.kind == "gpu")
        if published:
            passed_on.set()
        for frame in frames:
            state.absorb(frame, clock.now())

    collector = Collector(site, [One(f"t{i}") for i in range(16)], clock, publish, events.extend)
    await collector.tick(clock.now())
    for _ in range(3):
        await asyncio.sleep(0)
    assert published == [], "they wait for each other"
    await asyncio.wait_for(passed_on.wait(), 10)
    assert [len(frame.rows) for frame in published] == [15, 1], "two sources spoke of one GPU"
    assert state.column("gpu", "power_w", clock.now())[:15].tolist() == [100.0 + i for i in range(15)]
    clock.time += timedelta(seconds=1)
    await collector.tick(clock.now())
    await collector.drain()
    assert [(event.asset, event.code, event.source) for event in events] == [("r1n2g3", "xid/79", "t7")]
    samples = collector.health(clock.now()).values["samples_count"]
    assert samples.tolist() == [4.0 if i == 3 else 6.0 for i in range(16)]
    await collector.close()


def test_an_impossible_value_is_bad_and_never_shown_but_kept() -> None:
    site = small_site()
    state = State(site)
    good = Frame("rack", START, site.all_rows("rack"), {"power_w": np.array([10e3, 20e3])})
    state.absorb(judge(good, START), START)
    later = START + timedelta(seconds=1)
    odd = judge(Frame("rack", later, site.all_rows("rack"), {"power_w": np.array([-5.0, 21e3])}), later)
    assert odd.quality["power_w"].tolist() == [Quality.BAD, Quality.GOOD]
    assert odd.values["power_w"].tolist() == [-5.0, 21e3]
    state.absorb(odd, later)
    assert state.column("rack", "power_w", later).tolist() == [10e3, 21e3]
    assert state.age_s("rack", "power_w", later).tolist() == [1, 0]


def test_a_clock_that_runs_ahead_is_taken_as_of_now_and_suspect() -> None:
    frame = judge(frame_of("weather", START + timedelta(hours=8), 0, wet_bulb_c=20.0), START)
    assert frame.time == START
    assert frame.quality["wet_bulb_c"].tolist() == [Quality.SUSPECT]
    near = frame_of("weather", START + timedelta(seconds=2), 0, wet_bulb_c=20.0)
    assert judge(near, START) is near


def test_a_store_that_refuses_loses_nothing_until_the_bound_and_then_the_oldest() -> None:
    taken: list[float] = []
    full = True

    def append(frames: Sequence[Frame]) -> None:
        if full:
            raise SourceError("disk full")
        taken.extend(float(frame.values["wet_bulb_c"][0]) for frame in frames)

    spool = Spool(append, max_samples=3)
    for i in range(5):
        spool.put([frame_of("weather", START + timedelta(seconds=i), 0, wet_bulb_c=float(i))])
        assert not spool.flush()
    full = False
    assert spool.flush()
    assert (taken, spool.dropped, spool.waiting, spool.stored) == ([2.0, 3.0, 4.0], 2, 0, 3)
