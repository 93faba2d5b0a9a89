"""The 3D twin over HTTP and its socket: one body for all, honest refusals, what-if runs, bounds."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from faces_harness import Hands, served
from scene_site import SITE, fed, feed_scene, forecast_of
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.ports import Store
from twin.site import without
from ui.access.role import NOBODY, Identity, Role, Sort
from ui.faces import api_scene, scene_push
from ui.faces.api_twin import Runner
from ui.faces.scene_push import SceneFeed
from ui.faces.scene_studio import Ask, Studio
from ui.faces.server import build_server
from ui.oncall.service import ALERT_LOG
from ui.scene.export import bytes_of
from ui.scene.geometry import geometry
from ui.scene.paint import SILENT
from ui.scene.wire import unpacked
from ui.view import Live

DEMO = geometry(SITE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path / "store", SITE)
    yield made
    made.close()


@asynccontextmanager
async def asking(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_server(live))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1") as client:
        yield client


async def test_the_scene_is_sent_once_and_then_known_by_its_tag() -> None:
    async with asking(fed()) as ask:
        sizes = {}
        for coding in ("br", "gzip", "identity"):
            answer = await ask.get("/scene", headers={"accept-encoding": coding})
            sizes[coding] = int(answer.headers["content-length"])
            body = answer.content if coding != "br" else b""
            if body:
                assert unpacked(body)[0]["hash"] == DEMO.hash
        assert sizes["br"] < sizes["gzip"] < sizes["identity"]
        again = await ask.get("/scene", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_slider_gives_back_the_stored_past_and_the_present(store: Store) -> None:
    live = fed(store=store)
    async with asking(live) as ask:
        then = live.clock.now()
        first = (await ask.get("/scene/frame", params={"colour": "temp_c"})).content
        live.clock.skip(3600)  # type: ignore[attr-defined]
        feed_scene(live, seed=9)
        past = (await ask.get("/scene/frame", params={"colour": "temp_c", "time": then.isoformat()})).content
        assert [bytes(part) for part in bytes_of(DEMO, past)[1:]] == [bytes(part) for part in bytes_of(DEMO, first)[1:]]
        assert past != (await ask.get("/scene/frame", params={"colour": "temp_c"})).content
        ahead = (then + timedelta(hours=9)).isoformat()
        wrong = await ask.get("/scene/frame", params={"time": ahead})
        assert (wrong.status_code, "ask for the origin forecast" in wrong.json()["detail"]) == (422, True)


async def test_what_was_firing_then_is_read_from_the_log_of_alerts(tmp_path: Path, store: Store) -> None:
    live = fed(store=store)
    live.records = open_records(tmp_path / "records.db")
    then = live.clock.now()
    rack, gpu = SITE.ids_of("rack")[2], SITE.ids_of("gpu")[9]
    log = [
        (-300, rack, "warning", "firing"),
        (-200, gpu, "critical", "firing"),
        (-100, rack, "warning", "resolved"),
        (60, gpu, "critical", "resolved"),
    ]
    for after_s, asset, severity, phase in log:
        record = {"key": f"hot:{asset}", "asset": asset, "severity": severity, "phase": phase}
        live.records.append(ALERT_LOG, then + timedelta(seconds=after_s), record)
    live.clock.skip(600)  # type: ignore[attr-defined]
    async with asking(live) as ask:
        for after_s, said in ((-250, [(rack, 2)]), (-150, [(rack, 2), (gpu, 3)]), (0, [(gpu, 3)]), (90, [])):
            time = (then + timedelta(seconds=after_s)).isoformat()
            head, data = unpacked((await ask.get("/scene/frame", params={"colour": "alerts", "time": time})).content)
            words = np.frombuffer(data[len(data) - 4 * head["pulses"] :], "<u4")
            found = {(SITE.ids[DEMO.asset[word >> 2]], int(word & 3)) for word in words.tolist()}
            assert found == set(said), after_s
    live.records.close()


async def test_what_is_foreseen_is_shown_by_lead_and_by_time_and_follows_new_forecasts() -> None:
    live = fed()
    live.forecasts = (forecast_of(live, np.linspace(1.0, 0.5, 24)),)
    racks = DEMO.box_of[SITE.of_kind("rack")]
    async with asking(live) as ask:

        async def sum_of(**asked: Any) -> float:
            answer = await ask.get("/scene/frame", params={"origin": "forecast", **asked})
            head, tints, _ = bytes_of(DEMO, answer.content)
            return float(tints[racks].astype(float).sum() / 250 * head["scales"]["rack"][1])

        early, late = await sum_of(lead_h=1), await sum_of(lead_h=20)
        assert late / early == pytest.approx((1 - 0.5 * 20 / 23) / (1 - 0.5 / 23), rel=0.03)
        assert await sum_of(time=(live.clock.now() + timedelta(hours=20)).isoformat()) == late
        live.forecasts = (forecast_of(live, np.full(24, 1.0)),)
        assert await sum_of(lead_h=20) > 1.5 * late
        beyond = await ask.get(
            "/scene/frame", params={"origin": "forecast", "time": (live.clock.now() + timedelta(hours=30)).isoformat()}
        )
        assert "is foreseen up to 24 h ahead" in beyond.json()["detail"]


BAD = [
    ({"colour": "beauty_frac"}, "'beauty_frac' is no metric"),
    ({"origin": "forecast"}, "nothing is foreseen yet"),
    ({"run": "gone"}, "there is no run 'gone' any more"),
    ({"halls": "1,x"}, "halls are at most 64 numbers"),
    ({"levels": "9"}, "levels: input should be less than or equal to 3"),
]


@pytest.mark.parametrize(("asked", "says"), BAD, ids=[says for _, says in BAD])
async def test_a_bad_question_gets_one_sentence(asked: dict[str, str], says: str) -> None:
    async with asking(fed()) as ask:
        answer = await ask.get("/scene/frame", params=asked)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


async def test_a_what_if_is_shown_by_its_result_and_by_its_difference() -> None:
    async with asking(fed()) as ask:
        trip = {"name": "trip", "fault": [{"asset": "h1-a-cdu1", "what": "trip", "start_s": 3600}]}
        run = (await ask.post("/scene/runs", json={"scenario": trip, "hours": 2, "step_s": 60})).json()
        assert [one["run"] for one in (await ask.get("/scene/runs")).json()] == [run["run"]]
        about = {"run": run["run"], "colour": "return_temp_c", "against": "true"}
        before = (await ask.get("/scene/frame", params=about | {"time": run["start"]})).content
        after = (await ask.get("/scene/frame", params=about | {"time": run["end"]})).content
        racks = DEMO.box_of[SITE.of_kind("rack")]
        head, tints, _ = bytes_of(DEMO, before)
        assert set(tints[racks].tolist()) == {125}, "no difference before the fault"
        head, tints, _ = bytes_of(DEMO, after)
        low, high = head["scales"]["rack"]
        assert low == -high
        assert (tints[racks] > 125).all(), "their only CDU stands still: all racks are warmer than without the fault"
        assert head["pulses"] > 0, "and pass a limit"
        wrong = {"scenario": {"fault": [{"asset": "moon"}]}}
        answer = await ask.post("/scene/runs", json=wrong)
        assert (answer.status_code, "moon" in answer.json()["detail"]) == (422, True)


async def test_what_can_be_shown_is_listed() -> None:
    async with asking(fed()) as ask:
        listed = {one["name"]: one for one in (await ask.get("/scene/colours")).json()}
    assert listed["temp_c"]["origins"] == ["best", "measured"]
    assert "gpu" in listed["temp_c"]["kinds"]
    assert listed["power_w"]["run"]
    assert listed["alerts"]["origins"] == ["best"]
    assert "ecc_corrected_count" not in listed, "nobody reads it here"


def _url(base: str, **asked: Any) -> str:
    return f"{base.replace('http', 'ws')}/live/scene?{httpx.QueryParams(asked)}"


async def test_pages_that_look_at_the_same_share_one_frame_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_push, "EVERY_S", 0.15)
    live = fed(clock=Hands(running=True))
    with served(live) as base:
        async with connect(_url(base, colour="temp_c")) as one, connect(_url(base, colour="temp_c")) as two:
            await one.recv()
            await two.recv()
            for _ in range(3):
                left, right = await one.recv(), await two.recv()
                assert isinstance(left, bytes)
                assert left == right, "the very same bytes, made once"
            head, tints, _ = bytes_of(DEMO, left)
            assert (head["colour"], head["origin"]) == ("temp_c", "best")
            assert (tints[DEMO.box_of[SITE.of_kind("gpu")]] != SILENT).all()
            small = unpacked(await _first(_url(base, levels=1)))[0]
            assert small["pieces"] == [[0, int(DEMO.span[1, :, 1].max())]]


async def _first(url: str) -> bytes:
    async with connect(url) as socket:
        said = await socket.recv()
        assert isinstance(said, bytes)
        return said


async def test_a_socket_that_asks_for_nonsense_is_told_so_and_one_that_speaks_is_shown_the_door() -> None:
    with served(fed()) as base:
        for asked, says in (({"colour": "beauty_frac"}, "is no metric"), ({"levels": 7}, "levels from 0 to 3")):
            async with connect(_url(base, **asked)) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            assert says in closed.value.rcvd.reason
        async with connect(_url(base)) as socket:
            await socket.recv()
            await socket.send("hello")
            await asyncio.wait_for(socket.wait_closed(), 10)
            assert socket.close_code == 1008


class _Socket:
    """Implements what a feed asks of a websocket; ``closed`` is the code that it was closed with."""

    client = None

    def __init__(self, who: Identity = NOBODY) -> None:
        self.scope = {"identity": who}
        self.closed: int | None = None
        self.frames: list[bytes] = []
        self.done = asyncio.Event()  # closed, or fed three times

    async def accept(self) -> None:
        return None

    async def close(self, code: int, reason: str = "") -> None:
        self.closed = code
        self.done.set()

    async def send_bytes(self, body: bytes) -> None:
        self.frames.append(body)
        if len(self.frames) == 3:
            self.done.set()

    async def receive(self) -> dict[str, str]:
        await asyncio.Event().wait()
        return {}


async def test_more_pages_or_more_pictures_than_there_may_be_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_push, "EVERY_S", 0.02)
    monkeypatch.setattr(scene_push, "MAX_CLIENTS", 4)
    monkeypatch.setattr(scene_push, "MAX_LOOKS", 2)
    live = fed()
    feed = SceneFeed(Studio(live, Runner(live)))
    sockets = [_Socket() for _ in range(6)]
    asks = [Ask("power_w"), Ask("power_w"), Ask("temp_c"), Ask("util_frac"), Ask("power_w"), Ask("power_w")]
    tasks = [asyncio.create_task(feed.serve(socket, ask)) for socket, ask in zip(sockets, asks, strict=True)]  # type: ignore[arg-type]
    await asyncio.gather(*(asyncio.wait_for(socket.done.wait(), 10) for socket in sockets))
    assert [socket.closed for socket in sockets] == [None, None, None, 1013, None, 1013]
    assert feed.made < sum(len(socket.frames) for socket in sockets), "made once a beat for all who look at the same"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert feed.clients == 0


async def test_one_kiosk_takes_no_more_than_its_own_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_push, "EVERY_S", 0.02)
    live = fed()
    feed = SceneFeed(Studio(live, Runner(live)))
    first, second = (Identity("root", "hall", Role.VIEWER, sort=Sort.KIOSK, ref=ref) for ref in ("k1", "k2"))
    sockets = [_Socket(first) for _ in range(21)] + [_Socket(second)]
    tasks = [asyncio.create_task(feed.serve(socket, Ask("power_w"))) for socket in sockets]  # type: ignore[arg-type]
    await asyncio.gather(*(asyncio.wait_for(socket.done.wait(), 10) for socket in sockets))
    assert [socket.closed for socket in sockets] == [None] * 20 + [1013, None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_changed_site_is_another_scene() -> None:
    live = fed()
    studio = Studio(live, Runner(live))
    before = unpacked(await studio.frame(Ask()))[0]["hash"]
    live.site = without(SITE, ["h1-a08"])
    live.state = type(live.state)(live.site)
    after = unpacked(await studio.frame(Ask()))[0]["hash"]
    assert before != after == geometry(live.site).hash
    assert np.array_equal((await studio.geometry()).box_of >= 0, geometry(live.site).box_of >= 0)


async def test_frames_of_the_past_are_kept_within_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui.faces import scene_studio

    live = fed(store=store)
    studio = Studio(live, Runner(live))
    size = len(await studio.frame(Ask(time_s=live.clock.now().timestamp())))
    monkeypatch.setattr(scene_studio, "MAX_KEPT_BYTES", 3 * size)
    for k in range(8):
        await studio.frame(Ask(time_s=live.clock.now().timestamp() - k))
    assert sum(len(body) for body in studio._frames.values()) <= 3 * size + 100


async def test_one_export_is_worked_out_at_a_time_and_kept_for_those_who_ask_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, forms = threading.Event(), []

    def child(what: object, geometry: object, body: bytes, form: str) -> bytes:
        forms.append(form)
        gate.wait(30)
        return form.encode()

    monkeypatch.setattr(api_scene, "apart", child)
    transport = httpx.ASGITransport(build_server(fed()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1") as client:
        asked = [asyncio.create_task(client.get(f"/scene.{form}")) for form in ("glb", "usdc", "glb", "glb") * 2]
        try:
            ended = asyncio.as_completed(asked, timeout=20)
            early = [(await next(ended)).status_code for _ in range(7)]
        finally:
            gate.set()
        assert (early, (await next(ended)).status_code) == ([429] * 7, 200)
        assert len(forms) == 1, "one child"
        again = await client.get(f"/scene.{forms[0]}")
        assert (again.content, len(forms)) == (forms[0].encode(), 1), "what was made a moment ago is given again"
        monkeypatch.setattr(api_scene, "EXPORT_KEPT_S", 0.0)
        assert (await client.get(f"/scene.{forms[0]}")).status_code == 200
        assert len(forms) == 2
