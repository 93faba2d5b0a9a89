"""A day of faults on the virtual clock: real endpoints that fail in every way that does not need waiting, by a seed; what they
served well is published once and unchanged, what they did not is counted, and nobody takes another along."""

import gzip
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from small import small_site

from ingest.collect import Collector
from ingest.sources.prometheus import Options, build
from twin.frame import Quality
from twin.state import State
from ui.tasks import VirtualClock

START = datetime(2026, 11, 22, tzinfo=UTC)
EVERY_S, POLLS, SOURCES = 240, 360, 3  # a day
TEXT = {"Content-Type": "text/plain"}
GOOD = ("plain", "gzip", "new labels", "reset", "repeat", "ahead", "behind")
SICK = (
    "status",
    "garbage",
    "cut",
    "type",
    "redirect",
    "bomb",
    "oversize",
    "charset",
    "too many",
    "no end",
    "times",
    "nothing ours",
)


class Plant:
    """An endpoint that answers by its script and writes down what it served. Its power is a number of its own each time."""

    def __init__(self, rng, number):
        self.rng, self.number = rng, number
        self.served: list[tuple[float, str]] = []
        self.wrong: Counter[str] = Counter()
        self.count, self.grown = 0, 0.0
        self.now = START

    def page(self, mood):
        if mood != "repeat" or not self.served:
            self.count += 1
        power = 100 + self.number * 100 + self.count / 1000
        self.grown = 0.0 if mood == "reset" else self.grown + 1000
        shift_s = {"ahead": 3600, "behind": -3600}.get(mood)
        time = "" if shift_s is None else f" {int((self.now.timestamp() + shift_s) * 1000)}"
        pod = f',pod="{self.count}"' if mood == "new labels" else ""
        self.served.append((power, mood))
        return (
            f'DCGM_FI_DEV_POWER_USAGE{{gpu="0"{pod}}} {power}{time}\n'
            f'DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{gpu="0"{pod}}} {self.grown}{time}\n'
        )

    async def answer(self, request):
        mood = str(self.rng.choice(GOOD if self.rng.random() < 0.6 else SICK))
        if mood in GOOD:
            body = self.page(mood).encode()
            packed = {"Content-Encoding": "gzip"} if mood == "gzip" else {}
            return web.Response(body=gzip.compress(body) if packed else body, headers={**TEXT, **packed})
        self.wrong[mood] += 1
        return await self.fail(mood, request)

    async def fail(self, mood, request):
        if mood == "cut":
            response = web.StreamResponse(headers={**TEXT, "Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"a 1\n")
            request.transport.abort()
            return response
        line = 'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 666'
        return {
            "status": lambda: web.Response(status=500),
            "garbage": lambda: web.Response(text=f"{line}\nwhat is this\n", headers=TEXT),
            "type": lambda: web.Response(text=f"{line}\n", content_type="text/html"),
            "redirect": lambda: web.Response(status=302, headers={"Location": "http://127.0.0.2/metrics"}),
            "bomb": lambda: web.Response(body=gzip.compress(b"\n" * 10**6), headers={**TEXT, "Content-Encoding": "gzip"}),
            "oversize": lambda: web.Response(text="# x\n" * 50_000, headers=TEXT),
            "charset": lambda: web.Response(
                body=f"{line}\n".encode("utf-16"), headers={"Content-Type": "text/plain; charset=utf-16"}
            ),
            "too many": lambda: web.Response(text="".join(f'a{{b="{i}"}} 1\n' for i in range(60)), headers=TEXT),
            "no end": lambda: web.Response(text=line, headers=TEXT),
            "times": lambda: web.Response(text=f"{line} 1{'9' * 30}\n", headers=TEXT),
            "nothing ours": lambda: web.Response(text='DCGM_FI_DEV_POWER_USAGE{gpu="77"} 666\n', headers=TEXT),
        }[mood]()


@pytest.mark.parametrize("seed", [1])
async def test_a_day_of_faults_loses_nothing_that_was_served_and_takes_nothing_that_was_not(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    nodes = ["r1n1", "r1n2", "r2n1"]
    site = small_site(*(f"id=x{i} kind=source" for i in range(SOURCES)))
    state, clock, published = State(site), VirtualClock(START), []
    plants = [Plant(rng, i) for i in range(SOURCES)]
    servers, sources = [], []
    for i, plant in enumerate(plants):
        app = web.Application()
        app.router.add_get("/metrics", plant.answer)
        servers.append(TestServer(app, host="127.0.0.1"))
        await servers[-1].start_server()
        options = Options(
            targets=f"127.0.0.1:{servers[-1].port}",
            node=nodes[i],
            mapping="dcgm",
            every_s=EVERY_S,
            max_body_bytes=100_000,
            max_samples=50,
        )
        sources += build(f"x{i}", options, site).sources

    def publish(frames):
        published.extend(frame for frame in frames if frame.kind == "gpu")
        for frame in frames:
            state.absorb(frame, clock.now())

    collector = Collector(site, sources, clock, publish)
    ups = []
    for _ in range(POLLS):
        for plant in plants:
            plant.now = clock.now()
        before = [len(plant.served) for plant in plants]
        await collector.tick(clock.now())
        await collector.drain()
        health = collector.health(clock.now()).values
        up = [float(len(plant.served) > had) for plant, had in zip(plants, before, strict=True)]
        asked = [plant.served or plant.wrong for plant in plants]
        assert [u for u, yes in zip(health["up_flag"][-SOURCES:].tolist(), asked, strict=True) if yes] == [
            u for u, yes in zip(up, asked, strict=True) if yes
        ]
        ups.append(up)
        clock.time += timedelta(seconds=EVERY_S)
    await collector.close()
    for server in servers:
        await server.close()

    health = collector.health(clock.now()).values
    for i, plant in enumerate(plants):
        row = site.row(f"{nodes[i]}g0")
        told = [(f.time, float(f.values["power_w"][f.rows == row][0])) for f in published if row in f.rows]
        assert [value for _, value in told] == [power for power, _ in plant.served], (
            "everything that was served, once, as it was"
        )
        assert int(health["errors_count"][-SOURCES:][i]) == plant.wrong.total()
        assert set(plant.wrong) == set(SICK), "each fault came"
        assert {mood for _, mood in plant.served} == set(GOOD)
        ahead = sum(mood == "ahead" for _, mood in plant.served)
        doubted = [f for f in published if row in f.rows and (f.quality.get("power_w", np.zeros(1)) == Quality.SUSPECT).any()]
        assert len(doubted) == ahead, "a clock ahead is doubted, one behind is only late"
        behind = sum(mood == "behind" for _, mood in plant.served)
        assert sum((clock.now() - when).total_seconds() > 3600 for when, _ in told) >= behind
    assert 0 < state.newest("gpu", "power_w").value[site.row("r1n1g0")] < 600, "nothing of a refused page is ever shown"
