"""What several sources each tell a part of is one sum: shown, kept, believed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from small import small_site

from ingest.collect import Collector
from twin.frame import Frame, frame_of
from ui.tasks import VirtualClock

START = datetime(2026, 11, 22, tzinfo=UTC)


class Servers:
    """A source of inference servers, all of the first node; ``rates``: what each of them generates now."""

    unmapped, every_s = 0, 1.0

    def __init__(self, name: str, *rates: float) -> None:
        self.name, self.rates = name, rates

    async def poll(self, now: datetime) -> Sequence[Frame]:
        return [frame_of("node", now, 0, tokens_per_s=rate, source=self.name) for rate in self.rates]

    async def close(self) -> None: ...


async def _sums(*sources: Servers, seconds: int) -> list[tuple[float, float]]:
    """(second, sum) of all that is published; ``rates`` of the last source fall to none after half of it."""
    clock, told = VirtualClock(START), list[tuple[float, float]]()

    def publish(frames: Sequence[Frame]) -> None:
        for frame in frames:
            for value in frame.values.get("tokens_per_s", np.empty(0)):
                assert not frame.quality
                if value == value:
                    told.append(((frame.time - START).total_seconds(), float(value)))

    collector = Collector(small_site(*(f"id={one.name} kind=source" for one in sources)), sources, clock, publish)
    for second in range(seconds):
        clock.time = START + timedelta(seconds=second)
        if second == seconds // 2:
            sources[-1].rates = ()
        await collector.tick(clock.now())
        await collector.drain()
    await collector.close()
    return told


@pytest.mark.parametrize("few", [0, 32])
async def test_the_servers_of_a_node_count_together_whichever_source_reads_them(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.collect.FEW", few)
    told = await _sums(Servers("v0", 1000), Servers("v1", 3000, 500), seconds=6)
    assert told == [(second, 4500) for second in range(1, 6)], "the first waits until each has spoken"


async def test_one_source_of_many_targets_waits_for_nobody() -> None:
    assert await _sums(Servers("v0", 1000, 3000), seconds=4) == [(0, 4000), (1, 4000)]


async def test_a_server_that_is_gone_leaves_the_sum_when_it_would_no_longer_be_shown() -> None:
    told = dict(await _sums(Servers("v0", 1000), Servers("v1", 3000), seconds=240))
    assert {value for second, value in told.items() if second < 210} == {4000}
    assert {value for second, value in told.items() if second >= 210} == {1000}
    assert len(told) == 239
