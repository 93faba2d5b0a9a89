"""The API, the exposition and health: the same numbers on every face, every bound with its sentence."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from faces_harness import NOW, Hands, add_work, alarm, feed, live_of, served, small_site
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ui.access.routes import Does, Table
from ui.faces import guard, push
from ui.faces.server import build_server
from ui.view import Live


@pytest.fixture
def live() -> Live:
    made = live_of(small_site(), Hands())
    feed(made)
    add_work(made)
    alarm(made)
    return made


@pytest.fixture
async def ask(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_server(live))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def samples(page: str) -> dict[tuple[str, str], float]:
    """Name and only label's value -> value. A name may be described once: Prometheus refuses a page that does it twice."""
    families = list(text_string_to_metric_families(page))
    described = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(set(described)) == len(described)
    return {(s.name, next(iter(s.labels.values()), "")): s.value for family in families for s in family.samples}


async def test_every_face_shows_the_same_number(ask: httpx.AsyncClient) -> None:
    seen = (await ask.get("/api/v1/view")).json()
    page = samples((await ask.get("/metrics")).text)
    for name, metric in (("pue", "icctwin_pue_ratio"), ("it_power", "icctwin_it_power_watts")):
        assert seen["centre"][name]["value"] == page[metric, "measured"]
    assert page["icctwin_gpus_total_count", "measured"] == 256
    assert page["icctwin_forecast_peak_p50_watts", "forecast"] == seen["peak"]["p50"]["value"]
    assert seen["centre"]["pue"]["origin"] == "measured"
    assert seen["time"] == "2026-03-10T06:30:00Z"
    assert seen["racks"]["top"][0]["supply_temp"]["unit"] == "c"


async def test_the_exposition_leaves_out_what_is_stale_and_keeps_its_age(live: Live, ask: httpx.AsyncClient) -> None:
    live.clock.skip(600)  # type: ignore[attr-defined]
    feed(live, skip=True, skip_sources=["src-plant"])
    page = samples((await ask.get("/metrics")).text)
    assert ("icctwin_pue_ratio", "measured") not in page
    assert page["icctwin_reading_age_seconds", "pue"] == 600
    assert page["icctwin_source_up", "src-plant"] == 0
    assert page["icctwin_source_up", "src-bmc"] == 1
    assert page["icctwin_source_age_seconds", "src-plant"] == 600
    assert page["icctwin_task_runs_total", "forecast"] == 900
    assert page["icctwin_source_errors_total", "src-bmc"] == 0
    assert page["process_resident_memory_bytes", ""] > 0


async def test_openmetrics_is_spoken_to_who_asks_for_it(ask: httpx.AsyncClient) -> None:
    answer = await ask.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_state_is_paged_columns_with_null_where_stale(live: Live, ask: httpx.AsyncClient) -> None:
    page = (
        await ask.get("/api/v1/state", params={"kind": "gpu", "metric": "temp_c,util_frac", "limit": 3, "offset": 2})
    ).json()
    ids = live.site.ids_of("gpu")
    assert (page["total"], page["assets"]) == (256, ids[2:5])
    assert page["metrics"]["temp_c"]["value"] == live.state.column("gpu", "temp_c", NOW)[2:5].tolist()
    assert page["metrics"]["temp_c"]["unit"] == "c"
    live.clock.skip(91)  # type: ignore[attr-defined]
    page = (await ask.get("/api/v1/state", params={"kind": "gpu", "limit": 1})).json()
    assert page["metrics"]["temp_c"] == {"unit": "c", "value": [None], "age_s": [91.0], "fresh": [False], "quality": ["good"]}
    never = (await ask.get("/api/v1/state", params={"kind": "gpu", "metric": "mem_temp_c", "limit": 1})).json()
    assert never["metrics"]["mem_temp_c"]["age_s"] == [None]


async def test_series_come_in_the_bounds_asked_for(live: Live, ask: httpx.AsyncClient) -> None:
    question = {
        "kind": "site",
        "metric": "it_power_w",
        "start": "2026-03-10T04:00:00+00:00",
        "end": "2026-03-10T13:00:00+08:00",
    }
    found = (await ask.get("/api/v1/series", params=question | {"step_s": 600})).json()
    assert (found["time"][0], len(found["time"]), found["assets"]) == ("2026-03-10T04:00:00Z", 6, ["Yangtze AI Centre"])
    assert (
        found["metrics"]["it_power_w"][0]
        == live.store.series("site", ["it_power_w"], NOW - timedelta(hours=2.5), NOW - timedelta(hours=1.5), 600)
        .values["it_power_w"][:, 0]
        .tolist()
    )
    free = (await ask.get("/api/v1/series", params={"kind": "site", "metric": "it_power_w"})).json()
    assert (free["step_s"], len(free["time"])) == (7.0, 515), "an hour in about 500 steps"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/v1/series?kind=gpus&metric=x", "There is no kind 'gpus'; kinds are site, hall"),
        ("/api/v1/series?kind=gpu&metric=heat_w", "There is no metric 'heat_w' of kind 'gpu'; known: power_w"),
        ("/api/v1/series?kind=rack&metric=power_w&asset=R99", "There is no rack 'R99' in this site; /api/v1/site?kind=rack"),
        ("/api/v1/series?kind=rack&metric=power_w&asset=T1", "There is no rack 'T1'"),
        (
            "/api/v1/series?kind=gpu&metric=power_w&step_s=1",
            "This asks for 921856 values, at most 200000 are given; take fewer",
        ),
        ("/api/v1/series?kind=site&metric=it_power_w&start=2026-03-10T01:00:00", "start: input should have timezone info"),
        ("/api/v1/series?kind=site&metric=it_power_w&start=2027-03-10T01:00:00Z", "start must lie before end"),
        ("/api/v1/series?kind=site&metric=it_power_w&start=2020-03-10T01:00:00Z", "at most 400 days apart"),
        ("/api/v1/series?kind=pv&metric=power_w", "This asks for no value at all"),
        ("/api/v1/series?kind=site", "metric: field required"),
        ("/api/v1/state?kind=gpu&limit=10001", "limit: input should be less than or equal to 10000"),
        ("/api/v1/state?kind=gpu&origin=guessed", "origin: input should be 'measured', 'modelled'"),
        ("/api/v1/jobs?state=happy", "There is no job state 'happy'; states are pending, running"),
        ("/api/v1/site?kind=ship", "There is no kind 'ship'"),
    ],
)
async def test_a_bad_question_gets_one_sentence(ask: httpx.AsyncClient, path: str, says: str) -> None:
    answer = await ask.get(path)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert says in detail
    assert "\n" not in detail


async def test_the_site_in_pages(live: Live, ask: httpx.AsyncClient) -> None:
    site = live.site
    page = (await ask.get("/api/v1/site", params={"kind": "rack", "limit": 2, "offset": 1})).json()
    assert (page["total"], page["counts"]["gpu"], page["timezone"]) == (16, 256, "Asia/Shanghai")
    assert page["assets"][0] == {
        "id": "R01-02",
        "kind": "rack",
        "parent": "hall-1",
        "attributes": {"rated_w": 72000.0, "x_m": 0.75, "y_m": 0.0},
    }
    every = (await ask.get("/api/v1/site", params={"limit": 10000})).json()
    assert [asset["id"] for asset in every["assets"]] == list(site.ids)


async def test_alerts_jobs_forecasts_plans_and_sources(live: Live, ask: httpx.AsyncClient) -> None:
    alerts = (await ask.get("/api/v1/alerts")).json()
    assert len(alerts) == 6
    assert alerts[0]["summary"]["sentence"] == "GPU at 88 °C, limit 85 °C"
    assert alerts[0]["resolved"] is None
    jobs = (await ask.get("/api/v1/jobs", params={"state": "running", "limit": 1})).json()
    assert (jobs["total"], jobs["jobs"][0]["name"], jobs["jobs"][0]["end"]) == (16, "llama-405b-sft", None)
    forecast = (await ask.get("/api/v1/forecasts")).json()[0]
    assert len(forecast["time"]) == len(forecast["p90"]) == 96
    assert forecast["asset"] == "Yangtze AI Centre"
    plan = (await ask.get("/api/v1/plans")).json()[0]
    assert (plan["allowed"], plan["effect"]["value"], plan["effect_low"]["value"]) == (False, -142e3, -190e3)
    sources = (await ask.get("/api/v1/sources")).json()
    assert {source["status"] for source in sources} == {"up"}


TABLE = Table()
FILES = (
    ".png",
    ".glb",
    ".usdc",
    "/export",
    "/scene",
    "/scene/frame",
    "/forecasts/picture",
    "/reports/{report}/{format}",
)  # answered as bytes, not as JSON
COMPUTED = {"/api/v1/simulate", "/api/v1/replay", "/api/v1/what-if"}  # a question in the body; they change nothing


async def test_openapi_describes_every_answer(ask: httpx.AsyncClient) -> None:
    described = (await ask.get("/openapi.json")).json()
    # where Prometheus writes is named by Prometheus
    ours = {path: methods for path, methods in described["paths"].items() if path.startswith("/api/v1")}
    paths = {path: methods for path, methods in ours.items() if path != "/api/v1/write"}
    assert len(paths) >= 10
    for path, methods in paths.items():
        for method in set(methods) - {"get"}:
            row = TABLE.find(method.upper(), path)
            assert row is not None
            assert row.does is not Does.LOOK, f"{path} can do more than read"
        assert all(method["description"] for method in methods.values()), path
        asks = "post" if path in COMPUTED else "get"
        if asks not in methods or path.endswith(FILES):
            continue
        assert methods[asks]["responses"]["200"]["content"]["application/json"]["schema"] != {}, path
    number = described["components"]["schemas"]["Reading"]["properties"]["value"]
    assert {"type": "null"} in number["anyOf"], "a value may be null, and the description says so"


async def test_health_is_the_process_and_readiness_its_work(live: Live, ask: httpx.AsyncClient) -> None:
    assert (await ask.get("/healthz")).json() == {"status": "ok"}
    assert (await ask.get("/readyz")).json() == {"ready": True, "reasons": []}
    live.clock.skip(31)  # type: ignore[attr-defined]
    live.store.broken = True  # type: ignore[attr-defined]
    answer = await ask.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the store does not answer: disk gone", "no source reported for 31 s"]
    assert (await ask.get("/healthz")).status_code == 200


async def test_a_centre_that_never_heard_anything_is_not_ready() -> None:
    transport = httpx.ASGITransport(build_server(live_of(small_site(), Hands())))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["no source has reported yet"])


async def test_answers_are_guarded(ask: httpx.AsyncClient) -> None:
    page = await ask.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "https://" not in page.text, "the page asks no third party"
    nowhere = await ask.get("/api/v1/nothing")
    assert (nowhere.status_code, "There is nothing at /api/v1/nothing" in nowhere.json()["detail"]) == (404, True)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (guard.BODY_BYTES // 32)

    for body in (b"x" * (guard.BODY_BYTES + 1), drip()):
        refused = await ask.post("/forecast/_dash-update-component", content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 413
        assert refused.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def url(live: Live) -> Iterator[str]:
    with served(live) as here:
        yield here.replace("http", "ws") + "/live"


def heard(socket: Any) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=10))
    return message


def left_with(socket: Any) -> int:
    """The code with which the server ends the conversation."""
    try:
        for _ in range(30):
            heard(socket)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0
    return -1


def test_a_page_gets_a_greeting_the_whole_and_then_what_changed(live: Live, url: str) -> None:
    with connect(f"{url}?lang=zh") as socket:
        hello, whole = heard(socket), heard(socket)
        assert (hello["is"], hello["body"]["words"]["IT power"]) == ("hello", "IT 功率")
        assert hello["body"]["plan"]["ids"] == live.site.ids_of("rack")
        assert (whole["is"], whole["body"]["n.it_power"]) == ("whole", {"n": "8.40", "u": "MW", "f": "ok"})
        live.clock.skip(1)  # type: ignore[attr-defined]
        feed(live, 9.1e6)
        change = heard(socket)
        while "n.it_power" not in change["body"]:  # a push that had left already
            change = heard(socket)
        assert (change["is"], change["body"]["n.it_power"]["n"]) == ("change", "9.10")
        assert "n.gpus_total" not in change["body"], "only what changed"
        assert "t.site" not in change["body"]


def test_a_page_opens_with_what_its_records_say_and_waits_for_no_slow_ones(
    live: Live, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def past(page: str) -> list[str]:
        with connect(f"{url}?page={page}", open_timeout=60) as socket:
            assert heard(socket)["is"] == "hello"
            told = []
            while "ok" not in told:
                body = heard(socket)["body"]
                told += [body["p.past"]["f"]] if "p.past" in body else []
                if told:
                    go.set()  # the page stands without what is still being read
        return told

    monkeypatch.setattr(push, "FIRST_S", 60.0)
    assert past("findings") == ["ok"]
    go.clear()
    monkeypatch.setattr(push, "FIRST_S", 0.1)
    live.records.read = lambda *asked, **more: go.wait(60) and []  # type: ignore[method-assign]
    assert past("alerts") == ["none", "ok"]


def test_all_pages_of_a_language_get_the_same_bytes_of_one_view(live: Live, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = push.shell_table  # a part of every page's table
    monkeypatch.setattr(push, "shell_table", lambda view, words: made.append((id(view), words.language)) or real(view, words))
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(url)) for _ in range(8)]
        for socket in sockets:
            heard(socket), heard(socket)
        made.clear()
        pushes = [[socket.recv(timeout=10) for _ in range(2)] for socket in sockets]
    numbers = [{json.loads(text)["no"]: text for text in texts} for texts in pushes]
    for other in numbers[1:]:
        assert all(numbers[0][no] == text for no, text in other.items() if no in numbers[0])
    assert len(made) <= 4, "one text a push, however many pages"


def test_a_site_that_was_replaced_is_greeted_anew(live: Live, url: str) -> None:
    with connect(url) as socket:
        heard(socket), heard(socket)
        other = live_of(small_site(racks=3), live.clock)  # type: ignore[arg-type]
        feed(other)
        live.site, live.state = other.site, other.state
        message = heard(socket)
        while message["is"] != "hello":
            message = heard(socket)
        assert len(message["body"]["plan"]["ids"]) == 3
        assert heard(socket)["is"] == "whole"


def test_strangers_and_talkers_are_shown_the_door(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(url, origin="https://elsewhere.example"):  # type: ignore[arg-type]
        pass
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus), connect(url.replace("/live", "/_dash-ws-callback")):
        pass
    mine = url.replace("ws", "http").removesuffix("/live")
    with connect(url, origin=mine) as socket:  # type: ignore[arg-type]
        assert heard(socket)["is"] == "hello"
        socket.send("let me in")
        assert left_with(socket) == 1008


def test_one_page_too_many_is_told_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "MAX_CLIENTS", 1)
    with connect(url) as first:
        assert heard(first)["is"] == "hello"
        with connect(url) as second, pytest.raises(ConnectionClosed) as closed:
            heard(second)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "1 walls are open already")


async def test_a_view_that_fails_is_logged_and_comes_back(
    live: Live, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("planted")

    def listen() -> int:
        with connect(url) as socket:
            heard(socket), heard(socket)
            with monkeypatch.context() as patch:
                patch.setattr(push, "view", broken)
                return left_with(socket)

    assert await asyncio.to_thread(listen) == 1011
    assert "the wall's view failed" in caplog.text
    with connect(url) as socket:
        assert heard(socket)["is"] == "hello"
